// Derivatives. A function records a graph; `linearize` gives its tangent map as a graph of linear primitives, `adjoint`
// transposes that graph. Reverse mode is linearize, then adjoint; forward mode is linearize; they compose to any order.
// (JAX: Frostig et al., "Decomposing reverse-mode automatic differentiation", 2021.)
#pragma once

#include <functional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/tree.h"

namespace tenon {

/// Where a function is asked for, an empty one (a std::function or a pointer to none) is a ValueError.
using TreeFunction = std::function<Tree(const Tree&)>;

namespace detail {

/// Throws the ValueError that names `op`.
[[noreturn]] TENON_API void refuse_empty(const char* op);

template <class F>
struct MayBeEmpty : std::is_pointer<F> {};
template <class Signature>
struct MayBeEmpty<std::function<Signature>> : std::true_type {};

template <class F>
void check_callable(const char* op, const F& f) {
    if constexpr (MayBeEmpty<F>::value)
        if (!f) refuse_empty(op);
}

}  // namespace detail

/// A function's value at a point, and its tangent map there, which may be applied and transposed any number of times.
/// Tangents and cotangents have the names, shapes and dtypes of the leaves they belong to; otherwise ValueError,
/// ShapeError or TypeError. Leaves that are not floating have no tangent: tangents for them are ignored, whatever their
/// dtype, and returned as zeros.
struct TENON_API Linearized {
    Tree value;
    TreeFunction tangent;  // tangents of the arguments -> tangents of the value
    TreeFunction pullback;  // cotangents of the value -> cotangents of the arguments
};

/// Runs f once. Costs a small multiple of recording f; nothing is computed.
TENON_API Linearized linearize(const TreeFunction& f, const Tree& at);

/// (f(x), f'(x) dx). Costs a small multiple of f, throws as Linearized says.
TENON_API std::pair<Tree, Tree> jvp(const TreeFunction& f, const Tree& x, const Tree& dx);
/// (f(x), ct -> f'(x)^T ct). A call of the pullback costs a small multiple of f, whatever the number of arguments, and
/// keeps the intermediate values that it needs. Throws as Linearized says.
TENON_API std::pair<Tree, TreeFunction> vjp(const TreeFunction& f, const Tree& x);
/// (f(x), gradient) for f to a scalar; throws ShapeError otherwise, TypeError if it is not floating.
TENON_API std::pair<Tensor, Tree> value_and_grad_at(const std::function<Tensor(const Tree&)>& f, const Tree& x);
/// The Jacobian of a function of one tensor: shape of the value, then shape of the argument. One pullback an element of
/// the value. Throws TypeError if the value is not floating, ValueError if it or x is not defined.
TENON_API Tensor jacobian(const std::function<Tensor(const Tensor&)>& f, const Tensor& x);
/// H(x) v for f to a scalar: the tangent of the gradient. Costs a small multiple of f.
TENON_API Tree hessian_vector_product(const std::function<Tensor(const Tree&)>& f, const Tree& x, const Tree& v);

/// f, recomputed when its derivative is taken instead of keeping its intermediate values (Chen et al., 2016).
TENON_API TreeFunction checkpoint(TreeFunction f);

/// (carry, y) = f(carry, x) for each x along the leading axis of xs; returns the last carry and the stacked ys (nothing
/// for no steps). The loop is unrolled as it is recorded: it costs what the steps cost, and has derivatives of any
/// order. `length` is for loops without xs. The carry, and y from step to step, keep their names, shapes and dtypes:
/// otherwise ShapeError (ValueError for a name of the carry).
TENON_API std::pair<Tree, Tree> scan(const std::function<std::pair<Tree, Tree>(const Tree& carry, const Tree& x)>& f,
                                     const Tree& init, const Tree& xs, std::int64_t length = -1);

/// f with a custom tangent rule: rule(args, out, tangents) -> tangent of out. It has out's shape and dtype (otherwise
/// ShapeError, TypeError) and is linear in the tangents (otherwise ValueError: what is added to them or used in their
/// place must be zero, as a number, as stored zeros or as a product with these).
TENON_API std::function<Tensor(std::span<const Tensor>)> custom_jvp(
    std::function<Tensor(std::span<const Tensor>)> f,
    std::function<Tensor(std::span<const Tensor> args, const Tensor& out, std::span<const Tensor> d)> rule);
/// f with a pullback of the caller's own: rule(args, out, ct) -> cotangents of args, with their shapes and dtypes (else
/// ShapeError, TypeError); an undefined one counts as zero. Such a function has no forward-mode derivative: evaluating
/// one throws ValueError.
TENON_API std::function<Tensor(std::span<const Tensor>)> custom_vjp(
    std::function<Tensor(std::span<const Tensor>)> f,
    std::function<std::vector<Tensor>(std::span<const Tensor> args, const Tensor& out, const Tensor& ct)> rule);

/// (loss, gradient) of f(x, rest...) in its first argument, a tensor (or a number) or a Tree:
/// `auto [loss, grads] = value_and_grad(loss_fn)(params, batch);`
template <class F>
auto value_and_grad(F f) {
    detail::check_callable("value_and_grad", f);
    return [f = std::move(f)]<class X, class... Rest>(const X& x, const Rest&... rest) {
        static_assert(std::is_constructible_v<Tree, const X&>, "the first argument is a tensor or a tree of tensors");
        // Whether f takes a tree is not asked where x is a tensor: of a generic lambda that would compile its body.
        if constexpr (std::conjunction_v<std::negation<std::is_convertible<const X&, Tensor>>,
                                         std::is_invocable<const F&, const Tree&, const Rest&...>>) {
            return value_and_grad_at([&](const Tree& t) -> Tensor { return f(t, rest...); }, x);
        } else {
            auto [value, grad] =
                value_and_grad_at([&](const Tree& t) -> Tensor { return f(t.tensor(), rest...); }, Tree(x));
            return std::pair<Tensor, Tensor>(std::move(value), grad.tensor());
        }
    };
}

/// The gradient alone.
template <class F>
auto grad(F f) {
    detail::check_callable("grad", f);
    return [g = value_and_grad(std::move(f))](const auto&... args) { return g(args...).second; };
}

}  // namespace tenon
