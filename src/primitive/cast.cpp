// cast: the elements in another dtype. Floating to integer truncates and saturates, NaN gives 0; to boolean is != 0.
#include "base/text.h"
#include "primitive/pointwise.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr Primitive kCast{
    .name = "cast",
    .doc = "The elements converted to another dtype.",
    .role = Role::pointwise,
    .opcode = tape::Opcode::cast,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            const auto to = static_cast<DType>(a[0]);
            if (to >= DType::complex64 || in[0].dtype() >= DType::complex64)
                throw TypeError(
                    text("astype: ", name(in[0].dtype()), " to ", name(to), ": complex dtypes are reserved"));
            return Signature{in[0].shape(), to};
        },
    .derivative = Derivative::rule,
    .linear = 1,
    .tangent =
        [](const TangentContext& c) { return is_floating(c.node.dtype) ? astype(c.d[0], c.node.dtype) : Tensor(); },
    .adjoint = [](const AdjointContext& c) { return astype(c.ct, c.in[0].dtype()); },
    .reference = reference_pointwise,
    .run = run_pointwise,
    .samples =
        [] {
            return std::vector{
                Sample{{{3, 5}}, -9, 9, [](std::span<const Tensor> in) { return astype(in[0], DType::float64); }},
                Sample{{{3, 5}}, -9, 9, [](std::span<const Tensor> in) { return astype(in[0], DType::int32); }}};
        },
};
const Register registered(kCast);

}  // namespace

Tensor astype(const Tensor& x, DType dtype) {
    check_defined("astype", x);
    if (x.dtype() == dtype) return x;
    return record(kCast, {&x, 1}, {static_cast<std::int64_t>(dtype)});
}

}  // namespace tenon
