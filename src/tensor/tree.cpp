#include "tenon/tree.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"
#include "tensor/same_names.h"

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

Tree Tree::list(std::span<const Tree> items) { return list(std::vector<Tree>(items.begin(), items.end())); }

Tree Tree::list(std::vector<Tree>&& items) {
    Tree t;
    t.children_.reserve(items.size());
    for (Tree& item : items) t.children_.emplace_back(std::to_string(t.children_.size()), std::move(item));
    return t;
}

const Tensor& Tree::tensor() const& {
    if (children_.empty() && !is_leaf())
        throw ValueError("Tree: a tensor is asked for where there is an undefined one, or a tree without children");
    if (!is_leaf()) throw ValueError(text("Tree: a node with ", children_.size(), " children is not a tensor"));
    return leaf_;
}

const Tree* Tree::find(std::string_view path) const {
    for (const Child& c : children_) {
        const std::string_view name = c.first;
        if (path == name) return &c.second;
        // Names may contain dots: any prefix of the path that ends at a dot may be a name.
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

namespace {

/// `path` is the path of t. Empty names at its end, those beyond `end`, are left out.
void append(std::vector<std::pair<std::string, Tensor>>& all, const Tree& t, std::string& path, std::size_t end,
            bool is_root) {
    if (t.is_leaf()) {
        all.emplace_back(path.substr(0, end), t.tensor());
        return;
    }
    const std::size_t size = path.size();
    for (const auto& [name, child] : t.children()) {
        if (!is_root) path += '.';
        path += name;
        append(all, child, path, name.empty() ? end : path.size(), false);
        path.resize(size);
    }
}

void append(std::vector<const Tensor*>& all, const Tree& t) {
    if (t.is_leaf()) all.push_back(&t.tensor());
    for (const Tree::Child& c : t.children()) append(all, c.second);
}

}  // namespace

bool same_names(const Tree& a, const Tree& b) {
    if (a.is_leaf() != b.is_leaf() || a.children().size() != b.children().size()) return false;
    return std::equal(a.children().begin(), a.children().end(), b.children().begin(), [](const auto& x, const auto& y) {
        return x.first == y.first && same_names(x.second, y.second);
    });
}

std::vector<const Tensor*> leaves_in(const Tree& t) {
    constexpr std::size_t kUsual = 64;
    std::vector<const Tensor*> all;
    all.reserve(t.is_leaf() ? 1 : kUsual);
    append(all, t);
    return all;
}

std::vector<std::pair<std::string, Tensor>> Tree::flatten() const {
    std::vector<std::pair<std::string, Tensor>> all;
    std::string path;
    append(all, *this, path, 0, true);
    return all;
}

std::vector<Tensor> Tree::leaves() const {
    std::vector<Tensor> all;
    const std::vector<const Tensor*> in_place = leaves_in(*this);
    all.reserve(in_place.size());
    for (const Tensor* t : in_place) all.push_back(*t);
    return all;
}

Tree Tree::with_leaves(std::span<const Tensor> leaves) const {
    return with_leaves(std::vector<Tensor>(leaves.begin(), leaves.end()));
}

Tree Tree::with_leaves(std::vector<Tensor>&& leaves) const {
    std::span<Tensor> left = leaves;
    const auto rebuild = [&left](const auto& self, const Tree& t) -> Tree {
        if (t.is_leaf()) {
            if (left.empty()) throw ValueError("Tree: fewer leaves than the structure has");
            Tensor& leaf = left.front();
            left = left.subspan(1);
            return std::move(leaf);
        }
        Tree made;
        made.children_.reserve(t.children_.size());
        for (const auto& [name, child] : t.children_) made.children_.emplace_back(name, self(self, child));
        return made;
    };
    Tree t = rebuild(rebuild, *this);
    if (!left.empty()) throw ValueError(text("Tree: ", left.size(), " more leaves than the structure has"));
    return t;
}

Tree Tree::map(const std::function<Tensor(const Tensor&)>& f) const {
    if (!f) throw ValueError("Tree::map: the function is empty");
    std::vector<Tensor> all = leaves();
    for (Tensor& t : all) t = f(t);
    return with_leaves(std::move(all));
}

Tree tree_map(const std::function<Tensor(const Tensor&, const Tensor&)>& f, const Tree& a, const Tree& b) {
    if (!f) throw ValueError("tree_map: the function is empty");
    if (same_names(a, b)) {
        std::vector<Tensor> all = a.leaves();
        const std::vector<Tensor> other = b.leaves();
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = f(all[i], other[i]);
        return a.with_leaves(std::move(all));
    }
    const auto left = a.flatten(), right = b.flatten();
    if (left.size() != right.size())
        throw ValueError(text("tree_map: one tree has ", left.size(), " leaves, the other ", right.size()));
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (left[i].first != right[i].first)
            throw ValueError(text("tree_map: leaf \"", right[i].first, "\" where \"", left[i].first, "\" belongs"));
        all.push_back(f(left[i].second, right[i].second));
    }
    return a.with_leaves(all);
}

void eval(const Tree& tree) { eval(tree.leaves()); }

}  // namespace tenon
