// Functions that are recorded once. A call of a compiled function binds its arguments to what the first call made: no
// operation is recorded, nothing is looked up node by node.
//
// ```cpp
// const auto loss_fn = [](const Tree& p, const Tensor& x) { return mean(square(matmul(x, p["w"].tensor()))); };
// const auto step = compile([&](const Tree& params, const Tensor& x, const Tensor& rate) {
//     auto [loss, grads] = value_and_grad(loss_fn)(params, x);
//     return std::pair(loss, tree_map([&](const Tensor& p, const Tensor& g) { return p - rate * g; }, params, grads));
// });
// random::Key key(1);
// Tree params({{"w", random::normal(key.next(), {4, 2})}});
// const Tensor x = random::normal(key.next(), {8, 4});
// Tensor loss;
// for (int i = 0; i < 3; ++i) std::tie(loss, params) = step(std::move(params), x, 0.01 / (i + 1));
// assert(step.signatures() == 1);  // the function has run once
// assert(loss.item<float>() > 0);
// ```
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "tenon/transform.h"
#include "tenon/tree.h"

namespace tenon {

/// The executables of a compiled function, by signature. What compile() is made of; copies share.
class TENON_API CompiledCalls {
  public:
    CompiledCalls();
    /// f(args), computed.
    Tree call(const TreeFunction& f, Tree args) const;
    std::size_t signatures() const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

namespace detail {

/// Conversion of a compiled function's result to a tree and back.
template <class R>
struct Packed {
    static_assert(std::is_same_v<R, Tree>, "a compiled function gives tensors, trees, or pairs and tuples of them");
    static Tree to_tree(R r) { return r; }
    static R from_tree(Tree t) { return t; }
};
template <>
struct Packed<Tensor> {
    static Tree to_tree(Tensor t) { return t; }
    static Tensor from_tree(Tree t) { return std::move(t).tensor(); }
};
template <>
struct Packed<std::vector<Tensor>> {
    static Tree to_tree(const std::vector<Tensor>& v) { return Tree::list(std::vector<Tree>(v.begin(), v.end())); }
    static std::vector<Tensor> from_tree(Tree t) { return t.leaves(); }
};
template <class... R>
struct Packed<std::tuple<R...>> {
    static Tree to_tree(std::tuple<R...> r) {
        return std::apply([](auto&... x) { return Tree::list(std::vector<Tree>{Packed<R>::to_tree(std::move(x))...}); },
                          r);
    }
    static std::tuple<R...> from_tree(Tree t) { return from(std::move(t).children(), std::index_sequence_for<R...>()); }

  private:
    template <std::size_t... I>
    static std::tuple<R...> from(std::vector<Tree::Child> all, std::index_sequence<I...>) {
        return {Packed<R>::from_tree(std::move(all[I].second))...};
    }
};
template <class A, class B>
struct Packed<std::pair<A, B>> {
    static Tree to_tree(std::pair<A, B> r) { return Packed<std::tuple<A, B>>::to_tree(std::move(r)); }
    static std::pair<A, B> from_tree(Tree t) {
        auto [a, b] = Packed<std::tuple<A, B>>::from_tree(std::move(t));
        return {std::move(a), std::move(b)};
    }
};

/// A tensor (or a number) or a tree.
template <class A>
using Argument = std::conditional_t<std::is_convertible_v<A, Tensor>, Tensor, Tree>;

template <class A>
const A& argument_of(const Tree& t) {
    if constexpr (std::is_same_v<A, Tensor>)
        return t.tensor();
    else
        return t;
}

}  // namespace detail

template <class F>
class Compiled {
  public:
    explicit Compiled(F f) : f_(std::move(f)) {}

    template <class... Args>
    requires(std::is_invocable_v<const F&, const detail::Argument<Args>&...>) auto operator()(Args&&... args) const {
        using Result = std::decay_t<std::invoke_result_t<const F&, const detail::Argument<Args>&...>>;
        std::vector<Tree> all;
        all.reserve(sizeof...(Args));
        (all.emplace_back(detail::Argument<Args>(std::forward<Args>(args))), ...);
        const auto f = [this](const Tree& t) {
            return apply<detail::Argument<Args>...>(t, std::index_sequence_for<Args...>());
        };
        return detail::Packed<Result>::from_tree(calls_.call(std::cref(f), Tree::list(std::move(all))));
    }

    /// How many signatures are remembered: those for which the function has run, without those that were dropped.
    std::size_t signatures() const { return calls_.signatures(); }

  private:
    template <class... As, std::size_t... I>
    Tree apply(const Tree& t, std::index_sequence<I...>) const {
        using Result = std::decay_t<std::invoke_result_t<const F&, const As&...>>;
        return detail::Packed<Result>::to_tree(f_(detail::argument_of<As>(t.children()[I].second)...));
    }

    F f_;
    CompiledCalls calls_;
};

/// f compiled: a callable from tensors, trees and numbers to a Tensor, a Tree, a std::vector<Tensor>, or a pair or
/// tuple of these. A call computes its arguments and its results. The bits are those of f; on a GPU the last bits of
/// products may differ (docs/cuda.md, "The first run of a graph").
///
/// - *Signature.* f runs once for each signature: the names of the arguments' leaves, their shapes and dtypes, the
///   strides of those that are not row-major, and whether they are numbers. A new signature is compiled when it first
///   occurs. Any number of them is allowed; the executables of one function take at most 64 MiB, the least recently
///   used go first.
/// - *While f runs* its arguments have no elements: reading what depends on one (item, to, eval, printing) throws
///   ValueError, and so does reading it later where f let it out (assigned it to a captured variable). What else f does
///   (printing, counting, drawing keys) happens in that run only.
/// - *Captured tensors* are constants: f's graph keeps a handle to them, so assigning to the variable later changes
///   nothing. What depends on captured tensors alone is computed once, but for a cast to a wider dtype that a pass of
///   elements or rows does as it reads. Captured numbers are fixed too; a number that changes is an argument, which
///   takes the dtype of what it meets, as ever (ValueError for one that does not fit). An optimizer's update
///   (tenon/optim.h) takes its step from the state, a random::Key from a tensor.
/// - *Donation.* An argument given up with std::move whose tensors have no other handle, nor share memory with one,
///   gives its memory to results or intermediates. Where the call fails it may be gone.
/// - *Transforms.* grad, jvp and checkpoint inside f are recorded with it. Inside a function that is differentiated or
///   compiled, a compiled function is simply f.
///
/// Errors of f come through, and leave nothing behind; those of its operations name where they were recorded. Where
/// memory runs out before an argument is overwritten, or the graph cannot be compiled, f runs as if it were not.
template <class F>
Compiled<F> compile(F f) {
    detail::check_callable("compile", f);
    return Compiled<F>(std::move(f));
}

}  // namespace tenon
