// The public products: matrices in, the engine's contraction out.
#include <sys/mman.h>

#include <cmath>
#include <new>

#include "base/text.h"
#include "product/contract.h"
#include "product/dense/blocked.h"
#include "product/matrices.h"
#include "product/overlap.h"
#include "product/quantized.h"
#include "tenon/error.h"
#include "tenon/product.h"

namespace tenon::product {
namespace {

template <class E>
[[noreturn]] void fail(const char* rule, const Matrix& a, const Matrix& b, const Matrix& c) {
    refuse<E>("gemm", rule, {{"a", a}, {"b", b}, {"c", c}});
}

/// The alignment of large pages, which pay for packed weights: these are streamed, and each small page costs a TLB
/// miss.
constexpr std::align_val_t kAlignment{2 << 20};

bool takes(DType a, DType b, DType c) {
    if (is_byte(a))
        return is_byte(b) &&
               (is_byte(c) || c == DType::int32 || c == DType::float32 || c == DType::float16 || c == DType::bfloat16);
    return a == b && sums_into(a, c);
}

bool in_range(std::int32_t zero, DType byte) {
    return byte == DType::uint8 ? zero >= 0 && zero <= 255 : zero >= -128 && zero <= 127;
}

/// Checks the options that only integer products may have.
void check_integers(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& o) {
    const Quantization& q = o.quantization;
    if (!is_byte(a.dtype)) {
        if (o.zero_a != 0 || o.zero_b != 0 || o.zeros_a || o.zeros_b || q != Quantization{})
            fail<ValueError>("zero points and quantization are for 8-bit operands", a, b, c);
        return;
    }
    if (o.alpha != 1 || o.beta != 0) fail<ValueError>("alpha is 1 and beta is 0 for integers", a, b, c);
    if ((o.zeros_a && o.zero_a != 0) || (o.zeros_b && o.zero_b != 0) || (q.scales_a && q.scale_a != 1) ||
        (q.scales_b && q.scale_b != 1))
        fail<ValueError>("a scale or a zero point is one number or one for each row or column, not both", a, b, c);
    if (c.dtype == DType::int32 && q != Quantization{})
        fail<ValueError>("an int32 c is the sums: scales and bias want a floating-point or 8-bit c", a, b, c);
    if (!is_byte(c.dtype) && (q.scale_c != 1 || q.zero_c != 0))
        fail<ValueError>("scale_c and zero_c are for an 8-bit c", a, b, c);
    if (is_byte(c.dtype) && (!(q.scale_c > 0 && std::isfinite(q.scale_c)) || !in_range(q.zero_c, c.dtype)))
        fail<ValueError>("scale_c is positive and finite, and zero_c a number of c's dtype", a, b, c);
}

/// If alpha = 0, the operands are not read and may overlap anything.
void check_overlap(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& o, bool packed) {
    if (o.alpha == 0) return;
    if (share_memory(a, c, o.batch) || (!packed && share_memory(b, c, o.batch)))
        fail<ValueError>("c shares memory with an operand", a, b, c);
}

}  // namespace

void check_gemm(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& o) {
    if (a.rows < 0 || a.columns < 0 || b.rows < 0 || b.columns < 0 || c.rows < 0 || c.columns < 0)
        fail<ShapeError>("extents are not negative", a, b, c);
    if (!is_countable(a) || !is_countable(b) || !is_countable(c))
        fail<ShapeError>("the bytes of a matrix do not fit 63 bits", a, b, c);
    if (o.batch < 0) fail<ShapeError>(text("the batch is not negative: ", o.batch).c_str(), a, b, c);
    if (a.columns != b.rows || a.rows != c.rows || b.columns != c.columns)
        fail<ShapeError>("a (m, k) times b (k, n) is c (m, n)", a, b, c);
    if (!takes(a.dtype, b.dtype, c.dtype))
        fail<TypeError>(
            "a and b share float64, float32, float16 or bfloat16 and c has it too (or float32 for the last two), "
            "or they are 8-bit integers and c is int32, float32, float16, bfloat16, int8 or uint8",
            a, b, c);
    check_integers(a, b, c, o);
    if (overlaps_itself(c) || batch_overlaps_itself(c, o.batch))
        fail<ValueError>("elements of c do not share memory", a, b, c);
}

void gemm(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check_gemm(a, b, c, options);
    check_overlap(a, b, c, options, false);
    with_scaling(a, c, options, [&](const LoweredEpilogue* epilogue) {
        dense::contract_blocked(roles_of(a, b, c, options.batch), elements_of(a), elements_of(b), elements_of(c),
                                finish_of(options), {nullptr, epilogue});
    });
}

/// The panels and their layout.
struct PackedMatrix::Data {
    dense::PackedB layout;
    std::unique_ptr<std::byte[], void (*)(std::byte*)> memory;
    std::unique_ptr<std::int32_t[]> column_sums;
};

std::int64_t PackedMatrix::rows() const { return data_->layout.k; }
std::int64_t PackedMatrix::columns() const { return data_->layout.n; }
DType PackedMatrix::dtype() const { return data_->layout.type; }
std::int64_t PackedMatrix::bytes() const { return dense::packed_bytes(data_->layout); }

PackedMatrix pack(const Matrix& b) {
    if (!takes(b.dtype, b.dtype, b.dtype))
        throw TypeError(text("pack: gemm has no operand of this dtype; ", describe("b", b)));
    if (b.rows < 0 || b.columns < 0) throw ShapeError(text("pack: extents are not negative; ", describe("b", b)));
    if (!is_countable(b)) throw ShapeError(text("pack: the bytes do not fit 63 bits; ", describe("b", b)));
    dense::PackedB layout = dense::packed_layout(b.dtype, b.dtype, b.rows, b.columns);
    const auto bytes = static_cast<std::size_t>(dense::packed_bytes(layout));
    auto* memory = static_cast<std::byte*>(::operator new(bytes + 1, kAlignment, std::nothrow));
    if (!memory) throw MemoryError(text("pack: no memory for ", bytes, " bytes; ", describe("b", b)));
    auto data = std::make_shared<PackedMatrix::Data>(
        PackedMatrix::Data{layout, {memory, [](std::byte* p) { ::operator delete(p, kAlignment); }}, nullptr});
#if defined(MADV_HUGEPAGE)
    if (bytes >= static_cast<std::size_t>(kAlignment)) ::madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    if (is_byte(b.dtype)) data->column_sums = std::make_unique<std::int32_t[]>(static_cast<std::size_t>(b.columns));
    data->layout.data = memory;
    data->layout.column_sums = data->column_sums.get();
    View v;
    v.data = b.data;
    v.dtype = b.dtype;
    v.layout.shape = {b.rows, b.columns};
    v.layout.strides = {b.row_stride, b.column_stride};
    dense::pack_b(data->layout, v, data->column_sums.get());
    return PackedMatrix(std::move(data));
}

void gemm(const Matrix& a, const PackedMatrix& b, const Matrix& c, const GemmOptions& options) {
    const dense::PackedB& packed = b.data().layout;
    const Matrix like{nullptr, packed.type, packed.k, packed.n, packed.n, 1, 0};
    check_gemm(a, like, c, options);
    check_overlap(a, like, c, options, true);
    if (dense::packed_layout(a.dtype, packed.type, packed.k, packed.n).kernels != packed.kernels)
        throw ValueError("gemm: b was packed for another instruction set than the one in force");
    with_scaling(a, c, options, [&](const LoweredEpilogue* epilogue) {
        dense::contract_blocked(roles_of(a, like, c, options.batch), elements_of(a), elements_of(like), elements_of(c),
                                finish_of(options), {&packed, epilogue});
    });
}

PreparedGemm prepare(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check_gemm(a, b, c, options);
    PreparedGemm p;
    p.a_ = a, p.b_ = b, p.c_ = c, p.options_ = options;
    if (!is_scaled(a.dtype, c.dtype) && dense::prepare_direct(roles_of(a, b, c, options.batch), elements_of(a),
                                                              elements_of(b), elements_of(c), finish_of(options), p))
        return p;
    p.run_ = [](const PreparedGemm& self, const void* x, const void* y, void* z) {
        Matrix ma = self.a_, mb = self.b_, mc = self.c_;
        ma.data = const_cast<void*>(x), mb.data = const_cast<void*>(y), mc.data = z;
        gemm(ma, mb, mc, self.options_);
    };
    return p;
}

}  // namespace tenon::product
