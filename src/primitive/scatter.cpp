// scatter: rows of the operand replaced by, or increased by, rows of updates, one index after the other.
#include "base/text.h"
#include "primitive/indexing.h"
#include "primitive/pointwise.h"
#include "tenon/error.h"

namespace tenon {
namespace {

Signature infer(const Primitive& p, std::span<const Tensor> in, const Attributes&) {
    const std::string op(p.name);
    if (in[0].rank() == 0) throw ShapeError(op + ": the operand has no axes");
    check_index_dtype(op.c_str(), in[1]);
    Shape expected = in[1].shape();
    for (int i = 1; i < in[0].rank(); ++i) expected.push_back(in[0].shape()[i]);
    if (in[2].shape() != expected || in[2].dtype() != in[0].dtype())
        throw ShapeError(text(op, ": updates of ", to_string(in[2].shape()), " ", name(in[2].dtype()), " for ",
                              to_string(in[0].shape()), " ", name(in[0].dtype()), " and indices ",
                              to_string(in[1].shape()), "; expected ", to_string(expected)));
    return {in[0].shape(), in[0].dtype()};
}

Signature infer_add(const Primitive& p, std::span<const Tensor> in, const Attributes& a) {
    if (in[0].dtype() == DType::boolean) throw TypeError("scatter_add: not defined for dtype bool");
    return infer(p, in, a);
}

template <bool add>
void reference(const Node& n, std::span<const View> in, const View& out) {
    const auto rows = checked_indices(std::string(n.primitive->name).c_str(), in[1], in[0].shape()[0]);
    copy(in[0], out);
    const RowSlices to(out);
    // The leading axes of the updates are walked as one. If they cannot be merged, the updates are copied.
    std::vector<std::byte> buffer;
    View updates = in[2];
    if (!updates.layout.is_contiguous()) {
        buffer.resize(static_cast<std::size_t>(updates.layout.count()) * size_of(updates.dtype));
        const View packed{buffer.data(), updates.dtype, Layout::contiguous(updates.shape())};
        copy(updates, packed);
        updates = packed;
    }
    const RowSlices from(with_rows(updates, in[1].shape().rank()));
    const DType types[2] = {out.dtype, out.dtype};
    const tape::Tape sum = tape::single(tape::Opcode::add, types, out.dtype);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const View target = to.row(rows[i]), update = from.row(static_cast<std::int64_t>(i));
        if constexpr (add) {
            const View operands[2] = {target, update};
            tape::run(sum, operands, {&target, 1});
        } else {
            copy(update, target);
        }
    }
}

// Rows of one element, as in the adjoint of take_along_axis: a plain loop that gives the bits of the tape.
template <class T>
bool add_elements(const std::vector<std::int64_t>& rows, const View& updates, const View& out) {
    if (out.dtype != dtype_for<T> || out.layout.count() != out.shape()[0] || !updates.layout.is_contiguous())
        return false;
    const T* from = updates.as<T>();
    T* to = out.as<T>();
    for (std::size_t i = 0; i < rows.size(); ++i) to[rows[i]] += from[i];
    return true;
}

void run_add(const Node& n, std::span<const View> in, const View& out) {
    const bool elements = in[0].shape().rank() == 1 && (out.dtype == DType::float32 || out.dtype == DType::float64);
    if (!elements) return reference<true>(n, in, out);
    const auto rows = checked_indices("scatter_add", in[1], in[0].shape()[0]);
    copy(in[0], out);
    if (add_elements<float>(rows, in[2], out) || add_elements<double>(rows, in[2], out)) return;
    reference<true>(n, in, out);
}

// If several updates go to one row the last one remains, and only it has a derivative.
Tensor last_writer(const Tensor& indices, std::int64_t rows) {
    const Tensor ids = reshape(iota(indices.size(), DType::int64), indices.shape());
    const Tensor winners = scatter(zeros_of({rows}, DType::int64), indices, ids);
    return equal(gather(winners, indices), ids);
}

Tensor replace_adjoint(const AdjointContext& c) {
    const Tensor& indices = c.in[1];
    if (c.operand == 0) return scatter(c.ct, indices, zeros_of(c.in[2].shape(), c.ct.dtype()));
    Shape s = indices.shape();
    for (int i = 1; i < c.ct.rank(); ++i) s.push_back(1);
    const Tensor wins = reshape(last_writer(indices, c.ct.shape()[0]), s);
    return select(wins, gather(c.ct, indices), zeros_of({}, c.ct.dtype()));
}

const Tensor& sample_indices() {
    static const Tensor i = Tensor::from<std::int64_t>({1, 3, 1});
    return i;
}

constexpr Primitive kScatter{
    .name = "scatter",
    .doc = "Rows of the operand replaced by updates; the last of several stays.",
    .role = Role::indexing,
    .infer = infer,
    .derivative = Derivative::linear,
    .linear = 0b101,
    .adjoint = replace_adjoint,
    .reference = reference<false>,
    .checked_rows = 1,
    .samples =
        [] {
            return std::vector{Sample{{{4, 2}, {3, 2}}, -1, 1, [](std::span<const Tensor> in) {
                                          return scatter(in[0], sample_indices(), in[1]);
                                      }}};
        },
};
const Register registered(kScatter);

constexpr Primitive kScatterAdd{
    .name = "scatter_add",
    .doc = "Updates added to rows of the operand, one after the other.",
    .role = Role::indexing,
    .infer = infer_add,
    .derivative = Derivative::linear,
    .linear = 0b101,
    .adjoint = [](const AdjointContext& c) { return c.operand == 0 ? c.ct : gather(c.ct, c.in[1]); },
    .reference = reference<true>,
    .run = run_add,
    .checked_rows = 1,
    .samples =
        [] {
            return std::vector{
                Sample{{{4, 2}, {3, 2}},
                       -1,
                       1,
                       [](std::span<const Tensor> in) { return scatter_add(in[0], sample_indices(), in[1]); }},
                Sample{{{4}, {3}}, -1, 1, [](std::span<const Tensor> in) {
                           return scatter_add(in[0], sample_indices(), in[1]);
                       }}};
        },
};
const Register registered_add(kScatterAdd);

}  // namespace

Tensor scatter(const Tensor& x, const Tensor& indices, const Tensor& updates) {
    return record(kScatter, {x, indices, updates});
}

Tensor scatter_add(const Tensor& x, const Tensor& indices, const Tensor& updates) {
    return record(kScatterAdd, {x, indices, updates});
}

}  // namespace tenon
