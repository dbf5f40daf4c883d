#include "primitive/reduction.h"

namespace tenon {

Tensor expand_reduced(const Tensor& reduced, const Attributes& axes, const Shape& shape) {
    Shape ones = shape;
    for (std::int64_t a : axes) ones[static_cast<int>(a)] = 1;
    return broadcast_to(reshape(reduced, ones), shape);
}

Tensor reduce_over(const Primitive& p, const Tensor& x, const Axes& axes) {
    check_defined(p.name, x);
    const Axes a = normalized(axes, x.shape(), std::string(p.name).c_str());
    if (a.empty()) return x;
    const Attributes attributes = attributes_of({&a});
    return record_of(p, x, p.infer(p, {&x, 1}, attributes).shape, attributes, __builtin_return_address(0));
}

Tensor extreme_tangent(const TangentContext& c) {
    const Shape& shape = c.in[0].shape();
    const Tensor attains = astype(equal(c.in[0], expand_reduced(c.out, c.node.attributes, shape)), c.out.dtype());
    const Axes axes = part(c.node.attributes, 0, 1);
    return reduce_sum(c.d[0] * attains, axes) / reduce_sum(attains, axes);
}

}  // namespace tenon
