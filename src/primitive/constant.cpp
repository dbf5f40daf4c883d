// constant: a rank-0 value that is part of the graph's identity.
#include <bit>

#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kConstant{
    .name = "constant",
    .doc = "A fixed number.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes& a) {
            return Signature{{}, static_cast<DType>(a[0])};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node& n, std::span<const View>, const View& out) {
            double value = std::bit_cast<double>(n.attributes[1]);
            const View v{&value, DType::float64, {}};
            const DType type = v.dtype;
            tape::run(tape::single(tape::Opcode::cast, {&type, 1}, out.dtype), {&v, 1}, {&out, 1});
        },
};
const Register registered(kConstant);

}  // namespace

Tensor constant(double value, DType dtype) {
    const Attributes attributes{static_cast<std::int64_t>(dtype), std::bit_cast<std::int64_t>(value)};
    return record_known(kConstant, {}, dtype, std::nullopt, {}, attributes, __builtin_return_address(0));
}

bool is_constant(const Node& n) { return n.primitive == &kConstant; }

Tensor zeros_of(const Shape& shape, DType dtype) { return broadcast_to(constant(0, dtype), shape); }

}  // namespace tenon
