// What pointwise primitives share: an opcode, its dtype rule, promotion and broadcasting of operands.
#pragma once

#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "tenon/primitives.h"

namespace tenon {

Signature infer_pointwise(const Primitive& p, std::span<const Tensor> in, const Attributes&);
void run_pointwise(const Node& n, std::span<const View> in, const View& out);
void reference_pointwise(const Node& n, std::span<const View> in, const View& out);

constexpr Primitive pointwise(std::string_view name, tape::Opcode op, std::string_view doc) {
    return {.name = name,
            .doc = doc,
            .role = Role::pointwise,
            .opcode = op,
            .infer = infer_pointwise,
            .reference = reference_pointwise,
            .run = run_pointwise};
}

/// With a rule for the tangent.
constexpr Primitive with_tangent(Primitive p, Tensor (*tangent)(const TangentContext&)) {
    p.derivative = Derivative::rule;
    p.tangent = tangent;
    return p;
}

constexpr Primitive with_adjoint(Primitive p, Derivative derivative, std::uint32_t linear,
                                 Tensor (*adjoint)(const AdjointContext&)) {
    p.derivative = derivative;
    p.linear = linear;
    p.adjoint = adjoint;
    return p;
}

/// With a tangent of zero: piecewise constant, or not of floating numbers.
constexpr Primitive without_derivative(Primitive p) {
    p.derivative = Derivative::none;
    return p;
}

constexpr Primitive with_samples(Primitive p, std::vector<Sample> (*samples)()) {
    p.samples = samples;
    return p;
}

/// One operand of shape (3, 5), drawn uniformly from [low, high].
template <Tensor (*f)(const Tensor&)>
Sample unary_sample(double low, double high) {
    return {{{3, 5}}, low, high, [](std::span<const Tensor> in) { return f(in[0]); }};
}
/// Two operands that broadcast, drawn uniformly from [low, high].
template <Tensor (*f)(const Tensor&, const Tensor&)>
Sample binary_sample(double low, double high) {
    return {{{3, 5}, {5}}, low, high, [](std::span<const Tensor> in) { return f(in[0], in[1]); }};
}

/// True for a defined tensor of integers, which need no rounding and are finite.
inline bool is_integer_tensor(const Tensor& x) { return x.defined() && is_integer(x.dtype()); }

/// Records p(x).
Tensor apply(const Primitive& p, const Tensor& x, const void* site = __builtin_return_address(0));
/// Records p(a, b) after promotion and broadcasting; a C++ number takes the other operand's dtype.
Tensor apply(const Primitive& p, Tensor a, Tensor b, const void* site = __builtin_return_address(0));

/// The operands' common dtype and shape, as `apply` gives them.
void harmonize(std::string_view op, Tensor& a, Tensor& b);

/// a + b, where an undefined tensor counts as zero.
Tensor sum_of(const Tensor& a, const Tensor& b);

}  // namespace tenon
