// argmax: the position of the largest element along an axis; the first of equals, NaN wins.
#include "primitive/arg_extreme.h"

namespace tenon {
namespace {

constexpr Primitive kPrimitive = arg_extreme<
    tape::Reduction::max>("argmax", "The position of the largest element along an axis.", [] {
    return std::vector{Sample{{{3, 4, 5}}, -1, 1, [](std::span<const Tensor> in) { return argmax_along(in[0], 1); }}};
});
const Register registered(kPrimitive);

}  // namespace

Tensor argmax_along(const Tensor& x, int axis) {
    check_defined("argmax", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "argmax")});
}

}  // namespace tenon
