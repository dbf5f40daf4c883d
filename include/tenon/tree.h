// A tree of tensors: the parameters of a network, the state of an optimizer, the arguments of a function.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/tensor.h"

namespace tenon {

/// A tensor, or named children in the order they were given. A value: copies share tensors, not structure.
class [[nodiscard, gnu::visibility("default")]] Tree {
  public:
    using Child = std::pair<std::string, Tree>;

    Tree() = default;  // no children
    Tree(Tensor leaf) : leaf_(std::move(leaf)) {}  // NOLINT: converts by design
    /// Throws ValueError for a name that appears twice.
    Tree(std::vector<Child> children);  // NOLINT
    /// Children named "0", "1", ...
    static Tree list(std::span<const Tree> items);
    static Tree list(std::vector<Tree> && items);

    bool is_leaf() const { return leaf_.defined(); }
    /// Throws ValueError if this is not a leaf.
    const Tensor& tensor() const&;
    Tensor tensor()&& { return std::as_const(*this).tensor(), std::move(leaf_); }
    const std::vector<Child>& children() const& { return children_; }
    std::vector<Child> children()&& { return std::move(children_); }
    /// The child of a name, or at a path with dots: tree["block0.up.weight"]. Throws ValueError if there is none.
    const Tree& operator[](const std::string& path) const;
    const Tree& operator[](const char* path) const { return (*this)[std::string(path)]; }
    bool contains(const std::string& path) const;
    /// Appends or replaces a child. Throws ValueError for a leaf.
    void set(const std::string& name, Tree child);

    /// Leaves in order, named by their paths, with dots between the names; a lone leaf has the empty path.
    std::vector<std::pair<std::string, Tensor>> flatten() const;
    /// The leaves alone.
    std::vector<Tensor> leaves() const;
    /// The same structure with other leaves, in order. Throws ValueError unless their number agrees.
    Tree with_leaves(std::span<const Tensor> leaves) const;
    Tree with_leaves(std::vector<Tensor> && leaves) const;
    /// f of each leaf. Throws ValueError for an empty function, as tree_map does.
    Tree map(const std::function<Tensor(const Tensor&)>& f) const;

  private:
    const Tree* find(std::string_view path) const;

    Tensor leaf_;
    std::vector<Child> children_;
};

/// f of corresponding leaves. Throws ValueError if the structures differ.
TENON_API Tree tree_map(const std::function<Tensor(const Tensor&, const Tensor&)>& f, const Tree& a, const Tree& b);
/// Computes every leaf.
TENON_API void eval(const Tree& tree);

}  // namespace tenon
