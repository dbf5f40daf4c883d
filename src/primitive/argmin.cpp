// argmin: the position of the smallest element along an axis; the first of equals, NaN wins.
#include "primitive/arg_extreme.h"

namespace tenon {
namespace {

constexpr Primitive kPrimitive = arg_extreme<
    tape::Reduction::min>("argmin", "The position of the smallest element along an axis.", [] {
    return std::vector{Sample{{{3, 4, 5}}, -1, 1, [](std::span<const Tensor> in) { return argmin_along(in[0], 1); }}};
});
const Register registered(kPrimitive);

}  // namespace

Tensor argmin_along(const Tensor& x, int axis) {
    check_defined("argmin", x);
    return record(kPrimitive, {x}, {normalized(axis, x.shape(), "argmin")});
}

}  // namespace tenon
