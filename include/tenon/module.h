// Modules are values: structs of tensors, linear maps and other modules. A module type lists its named members once,
//
//   template <class V> void visit(V&& v) { v("norm", norm); v("up", up); }
//
// and `parameters`, `with_parameters` and `learning_rates` follow. A member may be a Tensor, a LinearMap, another
// module, or a std::optional or std::vector of these (elements are named "0", "1", ...). Members without parameters are
// left out of trees.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "tenon/error.h"
#include "tenon/map.h"

namespace tenon {

template <class M>
Tree parameters(const M& module);
template <class M>
M with_parameters(M module, const Tree& parameters);
template <class M>
Tree learning_rates(const M& module, RateRule rule = RateRule::adam);

namespace nn {

struct AnyMember {
    template <class T>
    void operator()(const std::string&, T&) const {}
};

/// A type that lists its members by `visit`.
template <class M>
concept Module = requires(M& m) {
    m.visit(AnyMember{});
};

namespace members {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

inline bool is_empty(const Tree& t) { return !t.is_leaf() && t.children().empty(); }

/// What the walk takes from a member: its parameters,
struct TakeParameters {
    Tree operator()(const Tensor& t) const { return t.defined() ? Tree(t) : Tree(); }
    Tree operator()(const LinearMap& m) const { return m.defined() ? m.parameters() : Tree(); }
};

/// or their learning rates, which a module may know better than its members: then it has `Tree learning_rates(RateRule)
/// const`.
struct TakeLearningRates {
    TENON_API Tree operator()(const Tensor& t) const;
    TENON_API Tree operator()(const LinearMap& m) const;
    template <Module M>
    requires requires(const M& m, RateRule r) { m.learning_rates(r); }
    Tree operator()(const M& module) const { return module.learning_rates(rule); }
    RateRule rule = RateRule::adam;
};

template <class T, class Take>
Tree tree_of(T& member, const Take& take) {
    std::vector<Tree::Child> children;
    const auto add = [&](const std::string& name, auto& child) {
        if (Tree t = tree_of(child, take); !is_empty(t)) children.emplace_back(name, std::move(t));
    };
    if constexpr (std::is_invocable_v<Take, const T&>) {
        return take(member);
    } else if constexpr (IsOptional<T>::value) {
        return member ? tree_of(*member, take) : Tree();
    } else if constexpr (IsVector<T>::value) {
        for (std::size_t i = 0; i < member.size(); ++i) add(std::to_string(i), member[i]);
        return children;
    } else {
        static_assert(Module<T>,
                      "a member of a module is a Tensor, a LinearMap, a module, or an optional or vector of these");
        member.visit(add);
        return children;
    }
}

/// Throws ShapeError naming `path` unless the shapes agree.
TENON_API void replace(Tensor& member, const Tree& with, const std::string& path);
TENON_API void replace(LinearMap& member, const Tree& with, const std::string& path);
/// Throws ValueError unless the leaves' names agree.
TENON_API void check_names(const Tree& expected, const Tree& given);

template <class T>
void assign(T& member, const Tree& with, const std::string& path) {
    const auto child = [&](const std::string& name, auto& m) {
        if (with.contains(name)) assign(m, with[name], path.empty() ? name : path + "." + name);
    };
    if constexpr (std::is_same_v<T, Tensor> || std::is_same_v<T, LinearMap>) {
        replace(member, with, path);
    } else if constexpr (IsOptional<T>::value) {
        if (member) assign(*member, with, path);
    } else if constexpr (IsVector<T>::value) {
        for (std::size_t i = 0; i < member.size(); ++i) child(std::to_string(i), member[i]);
    } else {
        member.visit(child);
    }
}

}  // namespace members
}  // namespace nn

/// The tensors of a module as a tree of its members' names.
template <class M>
Tree parameters(const M& module) {
    M copy = module;
    return nn::members::tree_of(copy, nn::members::TakeParameters{});
}

/// The module with other tensors. Throws ValueError or ShapeError unless names and shapes agree.
template <class M>
M with_parameters(M module, const Tree& parameters) {
    nn::members::check_names(tenon::parameters(module), parameters);
    nn::members::assign(module, parameters, "");
    return module;
}

/// Factors of the learning rate, float64 scalars in the tree of `parameters`: those of LinearMap::learning_rates, 1 for
/// other tensors, unless the module has a member `learning_rates` itself.
template <class M>
Tree learning_rates(const M& module, RateRule rule) {
    M copy = module;
    return nn::members::tree_of(copy, nn::members::TakeLearningRates{rule});
}

}  // namespace tenon
