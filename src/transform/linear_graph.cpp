#include "transform/linear_graph.h"

#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/pad.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "transform/node_map.h"
#include "transform/slices.h"

namespace tenon::transform {

namespace {

std::uint64_t oldest_of(std::span<const Tensor> tensors) {
    std::uint64_t oldest = ~std::uint64_t{0};
    for (const Tensor& t : tensors) oldest = std::min(oldest, t.node()->order);
    return oldest;
}

std::uint64_t youngest_of(std::span<const Tensor> tensors) {
    std::uint64_t youngest = 0;
    for (const Tensor& t : tensors)
        if (t.defined()) youngest = std::max(youngest, t.node()->order);
    return youngest;
}

/// The nodes on which some outputs depend, and whether each depends on a source.
struct Dependence {
    std::vector<Node*> order;  // those that do, but for the sources, operands first
    NodeMap<bool> depends;

    bool varies(const Node* n) const {
        const bool* does = depends.find(n);
        return does && *does;
    }
};

Dependence dependence(std::span<const Tensor> sources, std::span<const Tensor> outputs) {
    struct Frame {
        Node* node;
        std::size_t next;
    };
    const std::uint64_t oldest = oldest_of(sources);
    Dependence d{{}, NodeMap<bool>(oldest, youngest_of(outputs))};
    std::vector<Frame> stack;
    for (const Tensor& s : sources) d.depends[s.node()] = true;
    // A node older than every source depends on none. This skips the history of a loop whose values were never read.
    const auto enter = [&](Node* n) {
        if (n->order < oldest || d.depends.contains(n)) return;
        stack.push_back({n, 0});
        d.depends[n] = false;
    };
    for (const Tensor& out : outputs) {
        if (!out.defined()) continue;
        enter(out.node());
        while (!stack.empty()) {
            Frame& top = stack.back();
            Node* n = top.node;
            if (top.next < n->inputs.size()) {
                enter(n->inputs[top.next++]);
                continue;
            }
            stack.pop_back();
            if (std::none_of(n->inputs.begin(), n->inputs.end(), [&](Node* in) { return d.varies(in); })) continue;
            d.depends[n] = true;
            d.order.push_back(n);
        }
    }
    return d;
}

/// Tensors of nodes that are kept alive elsewhere. References are not counted, which would take as long as recording.
class Borrowed {
  public:
    Borrowed() = default;
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() { clear(); }

    void clear() {
        for (Tensor& t : all_) t.detach();
        all_.clear();
    }
    void assign(const Borrowed& o) {
        clear();
        for (const Tensor& t : o.all_) push_back(t.node());
    }
    void push_back(Node* n) { all_.push_back(Tensor::adopt(n)); }
    void set(std::size_t i, const Tensor& t) {
        all_[i].detach();
        all_[i] = Tensor::adopt(t.node());
    }
    const Tensor& operator[](std::size_t i) const { return all_[i]; }
    std::size_t size() const { return all_.size(); }
    operator std::span<const Tensor>() const { return all_; }

  private:
    std::vector<Tensor> all_;
};

bool linear_in(const Primitive& p, std::size_t operand) { return (p.linear >> std::min<std::size_t>(operand, 31)) & 1; }

class Linearizer {
  public:
    Linearizer(std::span<const Tensor> outputs, std::span<const Tensor> inputs, std::span<const Tensor> tangents)
        : tangent_(oldest_of(inputs), youngest_of(outputs)), again_(oldest_of(inputs), youngest_of(outputs)) {
        for (std::size_t i = 0; i < inputs.size(); ++i)
            if (is_floating(inputs[i].dtype())) tangent_[inputs[i].node()] = tangents[i];
    }

    Tensor tangent(Node* n) const {
        const Tensor* t = tangent_.find(n);
        return t ? *t : Tensor();
    }

    void visit(Node* n) {
        if (!is_floating(n->dtype)) return;
        in_.clear(), d_.clear();
        bool varies = false;
        for (Node* i : n->inputs) {
            const Tensor* t = tangent_.find(i);
            d_.push_back(t ? t->node() : nullptr);
            varies = varies || d_[d_.size() - 1].defined();
        }
        if (!varies) return;
        for (std::size_t i = 0; i < n->inputs.size(); ++i) in_.push_back(operand(*n, i));
        Tensor t = rule(*n);
        tangent_[n] = std::move(t);
        views_.clear();
    }

  private:
    static bool recomputed(const Node* n, std::uint32_t region) {
        return n->region != 0 && n->region == region && !n->inputs.empty();
    }

    // Operand i of a node as its rule may use it. What a checkpoint of the library's own gives a product is computed
    // again where it is large and the product's gradient needs it: the checkpoint's operand is kept in its place.
    Node* operand(const Node& n, std::size_t i) {
        constexpr std::int64_t kLarge = std::int64_t{1} << 20;
        Node* in = n.inputs[i];
        const auto plain = [&] { return primal(in, n.region); };
        if (n.primitive->role != Role::product || n.region != 0 || in->place() != Device::cpu()) return plain();
        bool needed = false;
        for (std::size_t k = 0; k < d_.size(); ++k) needed = needed || (k != i && d_[k].defined());
        if (!needed) return plain();
        std::vector<Node*> views;
        Node* from = in;
        for (; from->region == 0 && from->primitive->view && from->inputs.size() == 1; from = from->inputs[0])
            views.push_back(from);
        const bool is_large = count(from->shape) * static_cast<std::int64_t>(size_of(from->dtype)) >= kLarge;
        if (!is_large || (from->region & kLibraryRegion) == 0 || !recomputed(from, from->region)) return plain();
        Tensor again = tensor_of(primal(from, from->region));
        for (; !views.empty(); views.pop_back()) again = record_again(*views.back(), {&again, 1});
        views_.push_back(again);
        return again.node();
    }

    // The value a rule may use. A node of a checkpoint is recorded again for the sake of the nodes beside it, after its
    // operands; with a stack of our own, as the region may be a long chain.
    Node* primal(Node* root, std::uint32_t region) {
        if (!recomputed(root, region)) return root;
        const struct Scope {
            std::uint32_t outer = current_region;
            ~Scope() { current_region = outer; }
        } scope;
        if (region & kLibraryRegion) current_region = region | kRecomputedRegion;
        std::vector<Node*> stack{root};
        while (!stack.empty()) {
            Node* n = stack.back();
            const std::size_t size = stack.size();
            if (!again_.contains(n))
                for (Node* i : n->inputs)
                    if (recomputed(i, region) && !again_.contains(i)) stack.push_back(i);
            if (stack.size() > size) continue;
            stack.pop_back();
            if (again_.contains(n)) continue;
            operands_.clear();
            for (Node* i : n->inputs) operands_.push_back(recomputed(i, region) ? again_.find(i)->node() : i);
            Tensor t = record_again(*n, operands_);
            again_[n] = std::move(t);
        }
        return again_.find(root)->node();
    }

    /// The tangent of a node by its rule; its operands are in in_, their tangents in d_.
    Tensor rule(const Node& n) {
        const Primitive& p = *n.primitive;
        switch (p.derivative) {
            case Derivative::unset:
                throw ValueError(text(p.name, ": no derivative is given"));
            case Derivative::none:
                return {};
            case Derivative::rule:
                return p.tangent({n, tensor_of(primal(const_cast<Node*>(&n), n.region)), in_, d_});
            case Derivative::linear: {
                std::vector<Tensor> zeros;
                zeros.reserve(in_.size());
                operands_.assign(in_);
                for (std::size_t i = 0; i < in_.size(); ++i) {
                    if (!linear_in(p, i)) continue;
                    if (!d_[i].defined()) zeros.push_back(zeros_of(in_[i].shape(), in_[i].dtype()));
                    operands_.set(i, d_[i].defined() ? d_[i] : zeros.back());
                }
                Tensor t = record_again(n, operands_);
                operands_.clear();
                return t;
            }
            case Derivative::multilinear: {
                Tensor sum;
                for (std::size_t i = 0; i < in_.size(); ++i) {
                    if (!d_[i].defined()) continue;
                    operands_.assign(in_);
                    operands_.set(i, d_[i]);
                    Tensor term = record_again(n, operands_);
                    sum = sum.defined() ? add(sum, term) : std::move(term);
                }
                return sum;
            }
        }
        return {};
    }

    NodeMap<Tensor> tangent_, again_;
    // Operands and tangents of the current node; members, so that their memory is reused.
    Borrowed in_, d_, operands_;
    std::vector<Tensor> views_;  // operands that were recorded for this node alone
};

}  // namespace

std::vector<Node*> between(std::span<const Tensor> sources, std::span<const Tensor> outputs) {
    return dependence(sources, outputs).order;
}

std::vector<Tensor> linearize(std::span<const Tensor> outputs, std::span<const Tensor> inputs,
                              std::span<const Tensor> tangents) {
    Linearizer l(outputs, inputs, tangents);
    for (Node* n : between(inputs, outputs)) l.visit(n);
    std::vector<Tensor> d;
    for (const Tensor& out : outputs) d.push_back(l.tangent(out.node()));
    return d;
}

std::vector<Tensor> adjoint(std::span<const Tensor> outputs, std::span<const Tensor> variables,
                            std::span<const Tensor> cotangents) {
    NodeMap<Tensor> ct(oldest_of(variables), youngest_of(outputs));
    std::unordered_map<const Node*, std::vector<Tensor>> pads;  // of the slices of one node, to be summed together
    const auto add_to = [&](const Node* n, Tensor c) {
        Tensor& to = ct[n];
        if (c.defined() && is_plain_pad(*c.node()))
            pads[n].push_back(std::move(c));
        else if (!to.defined())
            to = std::move(c);
        else if (c.defined())
            to = add(to, c);
    };
    const auto add_pads = [&](const Node* n) {
        const auto at = pads.find(n);
        if (at == pads.end()) return;
        Tensor& to = ct[n];
        Tensor sum = sum_of_pads(at->second);
        to = to.defined() ? add(to, sum) : std::move(sum);
        pads.erase(at);
    };
    for (std::size_t i = 0; i < outputs.size(); ++i)
        if (outputs[i].defined() && cotangents[i].defined()) add_to(outputs[i].node(), cotangents[i]);
    const Dependence dependent = dependence(variables, outputs);
    Borrowed in;
    for (auto n = dependent.order.rbegin(); n != dependent.order.rend(); ++n) {
        const Node& node = **n;
        if (!ct.contains(&node)) continue;
        add_pads(&node);
        const Tensor cotangent = std::exchange(ct[&node], {});
        if (!cotangent.defined()) continue;
        in.clear();
        for (Node* i : node.inputs) in.push_back(i);
        for (std::size_t i = 0; i < in.size(); ++i) {
            if (!dependent.varies(in[i].node())) continue;
            if (!linear_in(*node.primitive, i))
                throw ValueError(text("adjoint: ", node.primitive->name, " is not linear in operand ", i));
            add_to(in[i].node(), node.primitive->adjoint({node, in, static_cast<int>(i), cotangent}));
        }
    }
    std::vector<Tensor> result;
    for (const Tensor& v : variables) {
        add_pads(v.node());
        result.push_back(ct[v.node()]);
    }
    return result;
}

namespace {

/// Whether a value is known to be zero: a number or stored elements that are zero, or linear in such. It visits at most
/// `looks` nodes, and if more are needed the answer is no.
bool is_zero(Node* n, int& looks) {
    const auto is_zero_number = [](std::uint64_t bits) { return bits << 1 == 0; };  // of either sign
    if (--looks < 0) return false;
    if (is_constant(*n)) return is_zero_number(static_cast<std::uint64_t>(n->attributes[1]));
    if (is_run_time_scalar(*n)) return place_of_number(*n) < 0 && is_zero_number(n->scalar);
    if (n->inputs.empty()) {
        if (!n->value()) return false;
        const std::vector<double> all = tensor_of(n).to<double>();
        return std::all_of(all.begin(), all.end(), [](double x) { return x == 0; });
    }
    // A product is zero where one of its factors is, a sum where all of its terms are.
    const bool is_product = n->primitive->derivative == Derivative::multilinear;
    if (!is_product && n->primitive->derivative != Derivative::linear) return false;
    for (std::size_t i = 0; i < n->inputs.size(); ++i)
        if (linear_in(*n->primitive, i) && is_zero(n->inputs[i], looks) == is_product) return is_product;
    return !is_product;
}

bool is_zero(Node* n) {
    int looks = 256;
    return is_zero(n, looks);
}

}  // namespace

bool is_linear(std::span<const Tensor> variables, const Tensor& output) {
    const Dependence dependent = dependence(variables, {&output, 1});
    if (!dependent.varies(output.node())) return is_zero(output.node());
    return std::all_of(dependent.order.begin(), dependent.order.end(), [&](const Node* n) {
        // What a sum adds beside the variables is zero, or the whole is affine.
        const bool is_sum = n->primitive->derivative == Derivative::linear;
        int operands = 0;
        for (std::size_t i = 0; i < n->inputs.size(); ++i) {
            if (!dependent.varies(n->inputs[i])) {
                if (is_sum && linear_in(*n->primitive, i) && !is_zero(n->inputs[i])) return false;
                continue;
            }
            if (!linear_in(*n->primitive, i)) return false;
            ++operands;
        }
        return operands == 1 || n->primitive->derivative != Derivative::multilinear;
    });
}

}  // namespace tenon::transform
