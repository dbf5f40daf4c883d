// gather: rows of the operand (elements of its first axis) picked by index.
#include <cstring>

#include "base/text.h"
#include "primitive/indexing.h"
#include "primitive/pointwise.h"
#include "tenon/error.h"

namespace tenon {
namespace {

// The name of the function in errors: in the payload, if another function gathers.
const char* op_of(const Node& n) { return n.payload ? static_cast<const char*>(n.payload.get()) : "gather"; }

void reference(const Node& n, std::span<const View> in, const View& out) {
    const View& x = in[0];
    const std::vector<std::int64_t> rows = checked_indices(op_of(n), in[1], x.shape()[0]);
    const RowSlices from(x), to(with_rows(out, in[1].shape().rank()));
    for (std::size_t i = 0; i < rows.size(); ++i) copy(from.row(rows[i]), to.row(static_cast<std::int64_t>(i)));
}

// Contiguous rows are copied as bytes. Rows of one element are common (take_along_axis).
template <class Element>
void copy_elements(const std::vector<std::int64_t>& rows, const View& x, const View& out) {
    const auto* from = x.as<Element>();
    auto* to = out.as<Element>();
    const std::int64_t stride = x.layout.strides[0];
    for (std::size_t i = 0; i < rows.size(); ++i) to[i] = from[rows[i] * stride];
}

void run(const Node& n, std::span<const View> in, const View& out) {
    const View& x = in[0];
    const RowSlices from(x);
    const View row = from.row(0);
    if (!row.layout.is_contiguous()) return reference(n, in, out);
    const std::vector<std::int64_t> rows = checked_indices(op_of(n), in[1], x.shape()[0]);
    const auto bytes = static_cast<std::size_t>(row.layout.count()) * size_of(x.dtype);
    if (bytes == 4 && row.layout.count() == 1) return copy_elements<std::uint32_t>(rows, x, out);
    if (bytes == 8 && row.layout.count() == 1) return copy_elements<std::uint64_t>(rows, x, out);
    auto* to = static_cast<std::byte*>(out.data);
    if (bytes == 0) return;
    for (std::int64_t r : rows) {
        std::memcpy(to, from.row(r).data, bytes);
        to += bytes;
    }
}

constexpr Primitive kGather{
    .name = "gather",
    .doc = "Rows of the operand picked by index.",
    .role = Role::indexing,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            if (in[0].rank() == 0) throw ShapeError("gather: the operand has no axes");
            check_index_dtype("gather", in[1]);
            Shape s = in[1].shape();
            if (s.rank() + in[0].rank() - 1 > kMaxRank)
                throw ShapeError(text("gather of ", described(in[0]), " by indices ", described(in[1]),
                                      ": a tensor has at most ", kMaxRank, " axes"));
            for (int i = 1; i < in[0].rank(); ++i) s.push_back(in[0].shape()[i]);
            return Signature{s, in[0].dtype()};
        },
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint =
        [](const AdjointContext& c) { return scatter_add(zeros_of(c.in[0].shape(), c.ct.dtype()), c.in[1], c.ct); },
    .reference = reference,
    .run = run,
    .checked_rows = 1,
    .samples =
        [] {
            return std::vector{Sample{{{4, 3}},
                                      -1,
                                      1,
                                      [](std::span<const Tensor> in) {
                                          return gather(in[0], Tensor::from<std::int64_t>({2, 0, 2, 3, 1, 2}, {2, 3}));
                                      }},
                               Sample{{{6}}, -1, 1, [](std::span<const Tensor> in) {
                                          return gather(flip(in[0], {0}), Tensor::from<std::int64_t>({5, 0, 3}));
                                      }}};
        },
};
const Register registered(kGather);

}  // namespace

Tensor gather(const Tensor& x, const Tensor& indices) { return record(kGather, {x, indices}); }

Tensor gather_for(const char* op, const Tensor& x, const Tensor& indices, const void* site) {
    Tensor t = record(kGather, {x, indices}, {}, site);
    t.node()->payload = std::shared_ptr<const void>(std::shared_ptr<const void>(), op);  // owns nothing
    return t;
}

}  // namespace tenon
