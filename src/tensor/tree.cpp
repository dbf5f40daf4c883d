#include "tenon/tree.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

namespace {

void check_distinct(const std::vector<Tree::Child>& children) {
    std::vector<std::string_view> names;
    for (const Tree::Child& c : children) names.push_back(c.first);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) throw ValueError(text("Tree: there are two children \"", *twice, "\""));
}

}  // namespace

Tree::Tree(std::vector<Child> children) : children_(std::move(children)) { check_distinct(children_); }

Tree Tree::list(std::span<const Tree> items) {
    Tree t;
    for (std::size_t i = 0; i < items.size(); ++i) t.children_.emplace_back(std::to_string(i), items[i]);
    return t;
}

const Tensor& Tree::tensor() const {
    if (!is_leaf()) throw ValueError(text("Tree: a node with ", children_.size(), " children is not a tensor"));
    return leaf_;
}

const Tree* Tree::find(std::string_view path) const {
    for (const Child& c : children_) {
        const std::string_view name = c.first;
        if (path == name) return &c.second;
        // Names may hold dots themselves: any prefix that ends at a dot may be one.
        if (path.size() > name.size() && path[name.size()] == '.' && path.starts_with(name))
            if (const Tree* t = c.second.find(path.substr(name.size() + 1))) return t;
    }
    return nullptr;
}

const Tree& Tree::operator[](const std::string& path) const {
    if (const Tree* t = find(path)) return *t;
    throw ValueError(text("Tree: there is no \"", path, "\""));
}

bool Tree::contains(const std::string& path) const { return find(path) != nullptr; }

void Tree::set(const std::string& name, Tree child) {
    if (is_leaf()) throw ValueError(text("Tree: set(\"", name, "\"): a leaf has no children"));
    for (Child& c : children_)
        if (c.first == name) {
            c.second = std::move(child);
            return;
        }
    children_.emplace_back(name, std::move(child));
}

std::vector<std::pair<std::string, Tensor>> Tree::flatten() const {
    if (is_leaf()) return {{"", leaf_}};
    std::vector<std::pair<std::string, Tensor>> all;
    for (const Child& c : children_)
        for (auto& [path, t] : c.second.flatten())
            all.emplace_back(path.empty() ? c.first : c.first + "." + path, std::move(t));
    return all;
}

std::vector<Tensor> Tree::leaves() const {
    if (is_leaf()) return {leaf_};
    std::vector<Tensor> all;
    for (const Child& c : children_)
        for (Tensor& t : c.second.leaves()) all.push_back(std::move(t));
    return all;
}

namespace {

Tree rebuild(const Tree& t, std::span<const Tensor>& leaves) {
    if (t.is_leaf()) {
        if (leaves.empty()) throw ValueError("Tree: fewer leaves than the structure has");
        Tensor leaf = leaves.front();
        leaves = leaves.subspan(1);
        return leaf;
    }
    std::vector<Tree::Child> children;
    for (const auto& [name, child] : t.children()) children.emplace_back(name, rebuild(child, leaves));
    return children;
}

}  // namespace

Tree Tree::with_leaves(std::span<const Tensor> leaves) const {
    Tree t = rebuild(*this, leaves);
    if (!leaves.empty()) throw ValueError(text("Tree: ", leaves.size(), " more leaves than the structure has"));
    return t;
}

Tree Tree::map(const std::function<Tensor(const Tensor&)>& f) const {
    std::vector<Tensor> all = leaves();
    for (Tensor& t : all) t = f(t);
    return with_leaves(all);
}

Tree tree_map(const std::function<Tensor(const Tensor&, const Tensor&)>& f, const Tree& a, const Tree& b) {
    const auto left = a.flatten(), right = b.flatten();
    if (left.size() != right.size()) throw ValueError(text("Tree: ", left.size(), " leaves against ", right.size()));
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (left[i].first != right[i].first)
            throw ValueError(text("Tree: \"", left[i].first, "\" against \"", right[i].first, "\""));
        all.push_back(f(left[i].second, right[i].second));
    }
    return a.with_leaves(all);
}

void eval(const Tree& tree) { eval(tree.leaves()); }

}  // namespace tenon
