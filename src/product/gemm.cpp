// The public products: matrices in, the engine's contraction out.
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>

#include "base/text.h"
#include "product/contract.h"
#include "product/dense/blocked.h"
#include "product/matrices.h"
#include "tenon/error.h"
#include "tenon/machine.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

template <class E>
[[noreturn]] void fail(const char* rule, const Matrix& a, const Matrix& b, const Matrix& c) {
    refuse<E>("gemm", rule, {{"a", a}, {"b", b}, {"c", c}});
}

/// Of large pages, which packed weights are worth: they are streamed, and small pages cost a look-up each.
constexpr std::align_val_t kAlignment{2 << 20};

bool is_byte(DType t) { return t == DType::int8 || t == DType::uint8; }

bool takes(DType a, DType b, DType c) {
    if (is_byte(a)) return is_byte(b) && c == DType::int32;
    return a == b && sums_into(a, c);
}

void check(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& o) {
    if (a.rows < 0 || a.columns < 0 || b.rows < 0 || b.columns < 0 || c.rows < 0 || c.columns < 0 || o.batch < 0)
        fail<ShapeError>("extents are not negative", a, b, c);
    if (a.columns != b.rows || a.rows != c.rows || b.columns != c.columns)
        fail<ShapeError>("a (m, k) times b (k, n) is c (m, n)", a, b, c);
    if (!takes(a.dtype, b.dtype, c.dtype))
        fail<TypeError>(
            "a and b share float64, float32, float16 or bfloat16 and c has it too (or float32 for the last two), "
            "or they are 8-bit integers and c is int32",
            a, b, c);
    if (is_byte(a.dtype) && (o.alpha != 1 || o.beta != 0))
        fail<ValueError>("alpha is 1 and beta is 0 for integers", a, b, c);
    if (overlaps_itself(c) || (o.batch > 1 && c.batch_stride == 0 && c.rows > 0 && c.columns > 0))
        fail<ValueError>("elements of c do not share memory", a, b, c);
}

/// `strides` of a, b and c along one axis.
AxisList axis(std::int64_t extent, std::int64_t a, std::int64_t b, std::int64_t c) {
    AxisList list;
    list.push_back({extent, a, b, c});
    return list;
}

AxisRoles roles_of(const Matrix& a, const Matrix& b, const Matrix& c, std::int64_t batch) {
    return {axis(batch, a.batch_stride, b.batch_stride, c.batch_stride), axis(c.rows, a.row_stride, 0, c.row_stride),
            axis(c.columns, 0, b.column_stride, c.column_stride), axis(a.columns, a.column_stride, b.row_stride, 0)};
}

View view_of(const Matrix& m) {
    View v;
    v.data = m.data;
    v.dtype = m.dtype;
    return v;
}

Finish finish_of(const GemmOptions& o) { return {o.alpha, o.beta, o.zero_a, o.zero_b}; }

}  // namespace

void gemm(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check(a, b, c, options);
    dense::contract_blocked(roles_of(a, b, c, options.batch), view_of(a), view_of(b), view_of(c), finish_of(options),
                            {});
}

namespace {

/// Operations a second of one type, from the measured peak of float32 or float64: AVX-512 BF16 and VNNI do two and four
/// times as many in an instruction.
double peak_of(DType t, int threads) {
    const double peak =
        measure_peak(machine().instruction_set, t == DType::float64 ? DType::float64 : DType::float32, threads);
    if (!dense::uses_dot_instructions()) return peak;
    return peak * (t == DType::bfloat16 ? 2 : is_byte(t) ? 4 : 1);
}

}  // namespace

std::string explain(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check(a, b, c, options);
    const auto count = [&](const Matrix& m) {
        const bool repeated = m.batch_stride == 0;
        return static_cast<double>(m.rows) * static_cast<double>(m.columns) * static_cast<double>(size_of(m.dtype)) *
               static_cast<double>(repeated ? 1 : options.batch);
    };
    const double operations = 2.0 * static_cast<double>(options.batch) * static_cast<double>(c.rows) *
                              static_cast<double>(c.columns) * static_cast<double>(a.columns);
    const double bytes = count(a) + count(b) + count(c) * (options.beta != 0 ? 2 : 1);
    const int threads = num_threads();
    static std::map<std::pair<DType, int>, double> peaks;
    static std::map<int, double> bandwidths;
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    if (!peaks.contains({a.dtype, threads})) peaks[{a.dtype, threads}] = peak_of(a.dtype, threads);
    if (!bandwidths.contains(threads)) bandwidths[threads] = measure_bandwidth(threads).read;
    const double peak = peaks[{a.dtype, threads}], bandwidth = bandwidths[threads];
    const double intensity = bytes > 0 ? operations / bytes : 0, roof = std::min(peak, intensity * bandwidth);

    std::string s = text(name(a.dtype), " (", c.rows, ", ", c.columns, ") = (", a.rows, ", ", a.columns, ") (", b.rows,
                         ", ", b.columns, ")", options.batch > 1 ? text(", ", options.batch, " times") : "", ", ",
                         threads, threads == 1 ? " thread\n" : " threads\n");
    s += text("  ", static_cast<std::int64_t>(operations), " operations, ", static_cast<std::int64_t>(bytes),
              " bytes, ", static_cast<std::int64_t>(intensity * 10) / 10.0, " operations a byte\n");
    s += text("  from memory at most ", static_cast<std::int64_t>(roof / 1e9),
              " GFLOP/s: ", roof < peak ? "bound by memory" : "bound by arithmetic", " (peak ",
              static_cast<std::int64_t>(peak / 1e9), " GFLOP/s, memory ", static_cast<std::int64_t>(bandwidth / 1e9),
              " GB/s)\n");
    bool chosen = false;
    for (const dense::Candidate& row : dense::candidates(roles_of(a, b, c, options.batch), view_of(a), view_of(b),
                                                         view_of(c), finish_of(options), {})) {
        const bool runs = !row.declines && !chosen;
        chosen = chosen || runs;
        s += text(runs ? "  > " : "    ", row.name, ": ", row.what,
                  row.declines ? text("; declines: ", row.declines)
                  : runs       ? ""
                               : "; would do as well",
                  "\n");
    }
    return s;
}

/// The panels and what they are made of.
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
    const bool known = is_byte(b.dtype) || takes(b.dtype, b.dtype, b.dtype);
    if (!known) throw TypeError(text("pack: no product takes ", describe("b", b)));
    if (b.rows < 0 || b.columns < 0) throw ShapeError(text("pack: extents are not negative; ", describe("b", b)));
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
    check(a, like, c, options);
    if (dense::packed_layout(a.dtype, packed.type, packed.k, packed.n).kernels != packed.kernels)
        throw ValueError("gemm: b was packed for another instruction set than the one in force");
    dense::contract_blocked(roles_of(a, like, c, options.batch), view_of(a), view_of(like), view_of(c),
                            finish_of(options), {&packed, nullptr});
}

PreparedGemm prepare(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check(a, b, c, options);
    PreparedGemm p;
    p.a_ = a, p.b_ = b, p.c_ = c, p.options_ = options;
    if (dense::prepare_direct(roles_of(a, b, c, options.batch), view_of(a), view_of(b), view_of(c), finish_of(options),
                              p))
        return p;
    p.run_ = [](const PreparedGemm& self, const void* x, const void* y, void* z) {
        Matrix ma = self.a_, mb = self.b_, mc = self.c_;
        ma.data = const_cast<void*>(x), mb.data = const_cast<void*>(y), mc.data = z;
        gemm(ma, mb, mc, self.options_);
    };
    return p;
}

}  // namespace tenon::product
