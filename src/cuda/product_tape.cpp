#include "cuda/product_tape.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "cuda/half_rows.h"
#include "cuda/loops.h"
#include "cuda/matrices.h"
#include "cuda/tiled_product.h"
#include "product/axes.h"

namespace tenon::cuda {
namespace {

using product::is_byte;

/// The strides of a view with the result's axes along the product's rows, columns and batch.
struct Strides {
    std::int64_t m = 0, n = 0, batch = 0;
};

/// A contraction in which each role is one axis.
struct Whole {
    product::AxisRoles roles;
    Extent m, n, k, batch;

    std::optional<Strides> of(const View& v) const {
        const auto m_stride = stride_along(roles.rows, v.layout), n_stride = stride_along(roles.columns, v.layout),
                   batch_stride = stride_along(roles.batch, v.layout);
        if (!m_stride || !n_stride || !batch_stride) return std::nullopt;
        return Strides{*m_stride, *n_stride, *batch_stride};
    }
};

std::optional<Whole> whole_of(const ProductTape& p) {
    View product = p.out;  // The tape may have changed the dtype.
    product.dtype = p.product;
    Whole w{product::assign_roles(p.a, p.b, product, p.labels), {}, {}, {}, {}};
    std::vector<Extent> summed;
    const Problem matrices = problem_of(w.roles, summed);
    if (summed.size() > 1 || matrices.batch.size() > 1) return std::nullopt;
    w.m = matrices.m, w.n = matrices.n, w.k = matrices.k;
    if (!matrices.batch.empty()) {
        if (w.roles.batch.count() == 1) return std::nullopt;  // It is an axis of rows or columns that did not join.
        w.batch = matrices.batch[0];
    }
    return w;
}

// --- cuBLASLt ---

constexpr const char* kOtherEpilogue =
    "cuBLASLt's epilogues of the same bits are a bias or a matrix that is added, and relu";

/// The tape's input that is added to the product, and whether relu follows.
struct Added {
    int input = 0;  // 0 for none
    bool relu = false;
};

/// Whether the tape's last two instructions are relu of the register x: select(x <= 0, 0, x).
bool is_relu(const ProductTape& p, std::size_t x) {
    const tape::Tape& t = p.tape;
    const std::size_t n = t.code.size(), registers = t.inputs.size() + n;
    if (n < 2 || t.outputs[0] != registers - 1) return false;
    const tape::Instruction &below = t.code[n - 2], &select = t.code[n - 1];
    const auto is_zero = [&](std::size_t r) { return r > 0 && r < t.inputs.size() && (p.zeros >> (r - 1) & 1) != 0; };
    return below.op == tape::Opcode::less_equal && below.operands[0] == x && is_zero(below.operands[1]) &&
           select.op == tape::Opcode::select && select.operands[0] == registers - 2 && is_zero(select.operands[1]) &&
           select.operands[2] == x;
}

std::optional<Added> added_by(const ProductTape& p) {
    const tape::Tape& t = p.tape;
    if (t.code.size() == 2 && is_relu(p, 0)) return Added{0, true};
    const bool relu = t.code.size() == 3;
    if ((t.code.size() != 1 && !relu) || t.code[0].op != tape::Opcode::add) return std::nullopt;
    const auto& o = t.code[0].operands;
    const int input = o[0] == 0 ? o[1] : o[1] == 0 ? o[0] : 0;
    const bool is_input = input > 0 && static_cast<std::size_t>(input) < t.inputs.size();
    if (!is_input || (relu && !is_relu(p, t.inputs.size()))) return std::nullopt;
    return Added{input, relu};
}

struct LtCall {
    LtMatrix x, y, d;
    LtEpilogue epilogue;
};

std::string lt_call(const ProductTape& p, LtCall& call) {
    const auto adds = added_by(p);
    if (!adds || p.out.dtype != p.product) return kOtherEpilogue;
    if (adds->input && size_of(p.product) == 2) return "the product is rounded before something is added";
    if (adds->relu && p.product == DType::float64) return "cuBLASLt has no relu in float64";
    call.epilogue.relu = adds->relu;
    const auto w = whole_of(p);
    if (!w || w->batch.n != 1) return "cuBLASLt's epilogues are of products of one matrix";
    if (!is_matrix(w->m.n, w->m.a, w->k.n, w->k.a) || !is_matrix(w->k.n, w->k.b, w->n.n, w->n.b) ||
        (w->n.out != 1 && w->m.out != 1))
        return "an operand is no matrix with one axis side by side";
    const auto few = half_rows_of(p.product, w->m, w->n, w->k, p.a.data, p.b.data, p.out.data);
    if (few && declines(*few).empty())
        return "a few rows have a kernel of their own, whose sums cuBLASLt's epilogues do not have";
    // The library's result is column-major; a row-major one is computed as its transpose.
    const bool swapped = w->n.out == 1;
    const auto *pa = p.a.as<std::byte>(), *pb = p.b.as<std::byte>();
    const std::int64_t rows = swapped ? w->n.n : w->m.n, columns = swapped ? w->m.n : w->n.n;
    call.x =
        swapped ? matrix_of(w->n.n, w->n.b, w->k.n, w->k.b, 0, pb) : matrix_of(w->m.n, w->m.a, w->k.n, w->k.a, 0, pa);
    call.y =
        swapped ? matrix_of(w->k.n, w->k.a, w->m.n, w->m.a, 0, pa) : matrix_of(w->k.n, w->k.b, w->n.n, w->n.b, 0, pb);
    const std::int64_t leading = swapped ? w->m.out : w->n.out;
    call.d = {rows, columns, columns == 1 ? rows : std::max(leading, rows), 0, 0, p.out.as<std::byte>()};
    if (!adds->input) return {};
    const View& matrix = p.inputs[static_cast<std::size_t>(adds->input - 1)];
    const auto strides = w->of(matrix);
    if (!strides || matrix.dtype != p.product) return "what is added does not lie as the result";
    const std::int64_t along = swapped ? strides->n : strides->m, across = swapped ? strides->m : strides->n;
    if (along != 1 || (across != 0 && across < rows)) return "what is added does not lie as the result";
    if (across == 0 && p.product == DType::float64) return "cuBLASLt has no bias in float64";
    if (across == 0)
        call.epilogue.bias = matrix.data;
    else
        call.epilogue.addend = matrix.data, call.epilogue.addend_leading = across;
    return {};
}

// --- our kernel ---

/// With more to sum, the time by which cuBLASLt's product is faster than ours is that of storing and reading the
/// product.
constexpr std::int64_t kMaxSummed = 1024;
/// With fewer elements our kernel, which does not split the sum, leaves multiprocessors idle.
constexpr std::int64_t kMinElements = std::int64_t{1} << 20;

/// For more elements, a tape with costly operations takes longer in our kernel, whose tensor cores wait for it, than in
/// a loop.
constexpr std::int64_t kMaxOfCostly = std::int64_t{1} << 25;
bool is_costly(const tape::Tape& t) {
    using tape::Opcode;
    return std::ranges::any_of(t.code, [](const tape::Instruction& c) {
        return (c.op >= Opcode::exp && c.op <= Opcode::logistic) || c.op == Opcode::pow || c.op == Opcode::divide;
    });
}

std::string tiled_of(const ProductTape& p, TiledProduct& t) {
    if (p.inputs.size() > std::size_t{product::kMaxEpilogueInputs}) return "the epilogue reads too much";
    const auto w = whole_of(p);
    if (!w) return "the axes do not run together as rows, columns and what is summed";
    const bool swapped = w->n.out != 1;
    if (swapped && w->m.out != 1) return "the result has no axis side by side";
    const Extent &m = swapped ? w->n : w->m, &n = swapped ? w->m : w->n;
    const View &a = swapped ? p.b : p.a, &b = swapped ? p.a : p.b;
    const auto in_a = [&](const Extent& e) { return swapped ? e.b : e.a; };
    const auto in_b = [&](const Extent& e) { return swapped ? e.a : e.b; };
    // For a few rows the other operand may be contiguous along either axis.
    const bool across = in_b(w->k) != 1 && in_b(n) == 1 && is_byte(a.dtype);
    if (in_a(w->k) != 1 || (in_b(w->k) != 1 && !across))
        return "what is summed does not lie side by side in both operands";
    t = {a.dtype, b.dtype,    p.out.dtype, m.n,     n.n,   w->k.n,         w->batch.n,     a.data,
         b.data,  p.out.data, in_a(m),     in_b(n), m.out, in_a(w->batch), in_b(w->batch), w->batch.out};
    if (across) t.b_across = true, t.b_row = in_b(w->k);
    t.tape = &p.tape;
    for (std::size_t i = 0; i < p.inputs.size(); ++i) {
        const auto s = w->of(p.inputs[i]);
        if (!s) return "an operand of the epilogue does not run together as the result does";
        t.inputs[i] = {p.inputs[i].data, p.inputs[i].dtype, swapped ? s->n : s->m, swapped ? s->m : s->n, s->batch};
    }
    if (product_type(t) != p.product) return "the product has another dtype than its sums";
    return declines(t);
}

std::string pays(const TiledProduct& t) {
    if (is_byte(t.a_type)) return {};
    if (t.k > kMaxSummed)
        return text("more than ", kMaxSummed, " summed: cuBLASLt's product and a loop over it are faster");
    if (t.m * t.n * t.batch > kMaxOfCostly && is_costly(*t.tape)) return "its operations are faster in a loop over it";
    if (t.m * t.n * t.batch < kMinElements) return "too little work for our kernel";
    return {};
}

bool is_hopper(const Gpu& gpu) { return gpu.major() == 9 && gpu.minor() == 0; }

// --- bytes ---

std::int64_t padded(std::int64_t n, std::int64_t by) { return (n + by - 1) / by * by; }

Layout lines_layout(const View& v, const product::AxisList& batch, const product::AxisList& lines,
                    const product::AxisList& summed, std::int8_t product::Axis::*position, std::int64_t line,
                    std::int64_t padded_lines) {
    Layout l = v.layout;
    l.offset = 0;
    std::int64_t stride = 1;
    const auto place = [&](const product::AxisList& axes) {
        const product::AxisList ordered = product::in_output_order(axes);
        for (int i = ordered.size; i-- > 0;) {
            const product::Axis& x = ordered.axes[static_cast<std::size_t>(i)];
            l.strides[x.*position] = stride;
            stride *= x.extent;
        }
    };
    // The summed axes may have any order, as long as it is the same in both operands.
    for (int i = summed.size; i-- > 0;) {
        const product::Axis& x = summed.axes[static_cast<std::size_t>(i)];
        l.strides[x.*position] = stride;
        stride *= x.extent;
    }
    stride = line;
    place(lines);
    stride = line * padded_lines;
    place(batch);
    return l;
}

}  // namespace

std::string declines(const ProductTape& p) {
    if (p.a.layout.count() == 0 || p.b.layout.count() == 0) return "nothing is summed";
    if (p.tape.outputs.size() != 1) return "the tape has several results";
    LtCall call;
    std::string why = is_byte(p.a.dtype) ? kOtherEpilogue : lt_call(p, call);
    TiledProduct t;
    if (why.empty() || p.product == DType::float32 || p.product == DType::float64) return why;
    if (std::string other = tiled_of(p, t); !other.empty()) return is_byte(p.a.dtype) ? other : why;
    return pays(t);
}

bool is_ours(const ProductTape& p) {
    LtCall call;
    return is_byte(p.a.dtype) || !lt_call(p, call).empty();
}

bool run(Gpu& gpu, const ProductTape& p) {
    if (!declines(p).empty()) return false;
    if (LtCall call; !is_byte(p.a.dtype) && lt_call(p, call).empty())
        return blas_absent().empty() &&
               multiply(gpu, call.x, call.y, call.d, p.product, p.product, 1, p.tf32, &call.epilogue);
    TiledProduct t;
    tiled_of(p, t);
    if (!declines(gpu, t).empty()) return false;
    run(gpu, t);
    return true;
}

bool contract_bytes(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels) {
    if (!is_byte(a.dtype) || !is_byte(b.dtype) || !is_integer(out.dtype) || size_of(out.dtype) > 4 || !is_hopper(gpu))
        return false;
    const tape::Tape as_it_is{{DType::int32}, {}, {0}};
    const DType sums = DType::int32;
    const tape::Tape cast = out.dtype == sums ? as_it_is : tape::single(tape::Opcode::cast, {&sums, 1}, out.dtype);
    TiledProduct t;
    if (tiled_of({a, b, out, labels, sums, cast, {}, 0}, t).empty()) {
        run(gpu, t);
        return true;
    }
    // Copies of the operands, and memory for the result, in which every role is one axis.
    constexpr std::int64_t kPiece = 16;
    const product::AxisRoles roles = product::assign_roles(a, b, out, labels);
    const std::int64_t m = roles.rows.count(), n = roles.columns.count(), k = roles.summed.count(),
                       batch = roles.batch.count();
    const std::int64_t line = padded(k, kPiece), columns = padded(n, kPiece),
                       size = static_cast<std::int64_t>(size_of(out.dtype));
    const auto a_copy = gpu.allocate(batch * m * line), b_copy = gpu.allocate(batch * columns * line),
               apart = gpu.allocate(batch * m * columns * size);
    using product::Axis;
    copy(gpu, a,
         {a_copy->data(), a.dtype, lines_layout(a, roles.batch, roles.rows, roles.summed, &Axis::position_a, line, m)});
    copy(gpu, b,
         {b_copy->data(), b.dtype,
          lines_layout(b, roles.batch, roles.columns, roles.summed, &Axis::position_b, line, columns)});
    t = {a.dtype,        b.dtype,       out.dtype, m,    columns, k,        batch,          a_copy->data(),
         b_copy->data(), apart->data(), line,      line, columns, m * line, columns * line, m * columns};
    t.tape = &cast;
    run(gpu, t);
    View result{apart->data(), out.dtype, out.layout};
    result.layout.offset = 0;
    std::int64_t stride = 1;
    for (const product::AxisList* role : {&roles.columns, &roles.rows, &roles.batch}) {
        const product::AxisList ordered = product::in_output_order(*role);
        for (int i = ordered.size; i-- > 0;) {
            const Axis& x = ordered.axes[static_cast<std::size_t>(i)];
            result.layout.strides[x.position] = stride;
            stride *= x.extent;
        }
        if (role == &roles.columns) stride = columns;
        if (role == &roles.rows) stride = m * columns;
    }
    copy(gpu, result, out);
    return true;
}

}  // namespace tenon::cuda
