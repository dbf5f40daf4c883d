#include <algorithm>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "primitive/contract.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "product/axes.h"
#include "schedule/evaluate.h"
#include "schedule/kept_rows.h"
#include "schedule/program.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kFoldedElements = 64;
constexpr std::int64_t kConstantBytes = std::int64_t{256} << 10;

/// Equal nodes among those that have been seen.
class EqualNodes {
  public:
    explicit EqualNodes(const Graph& graph) : graph_(graph), hash_(graph.nodes.size()) {
        while (mask_ < 2 * graph.nodes.size()) mask_ = 2 * mask_ + 1;
        table_.resize(mask_ + 1);
    }

    /// The first node that is equal, reads the same elements and is `fit`, or -1; the node is seen then. Checkpoints
    /// are apart: their nodes are there to be computed again.
    template <class F>
    std::int64_t find_or_add(Index i, const std::vector<Source>& source, const F& fit) {
        const Node& n = *graph_.nodes[i];
        if (n.payload || is_run_time_scalar(n)) return -1;
        std::uint64_t h = mix(local_hash(n), n.region);
        for (const Node* in : n.inputs) {
            const Source& s = source[in->visit_index];
            h = mix(mix(h, s.base), static_cast<std::uint64_t>(s.layout.offset));
        }
        std::size_t at = h & mask_;
        for (; table_[at] != 0; at = (at + 1) & mask_)
            if (const Index c = table_[at] - 1; hash_[c] == h && are_equal(c, i, source) && fit(c)) return c;
        table_[at] = i + 1, hash_[i] = h;
        return -1;
    }

  private:
    bool are_equal(Index a, Index b, const std::vector<Source>& source) const {
        const Node &m = *graph_.nodes[a], &n = *graph_.nodes[b];
        return m.primitive == n.primitive && m.dtype == n.dtype && m.shape == n.shape && m.region == n.region &&
               m.attributes == n.attributes &&
               std::equal(
                   m.inputs.begin(), m.inputs.end(), n.inputs.begin(), n.inputs.end(),
                   [&](const Node* x, const Node* y) { return source[x->visit_index] == source[y->visit_index]; });
    }

    const Graph& graph_;
    std::vector<std::uint64_t> hash_;  // by node
    std::vector<Index> table_;  // nodes, from 1; the next place is the next one's
    std::size_t mask_ = 1;
};

bool is_fixed(const Node& n) {
    if (!n.inputs.empty()) return false;
    if (is_constant(n)) return true;
    return is_iota(n) && count(n.shape) <= kConstantBytes / static_cast<std::int64_t>(size_of(n.dtype));
}

bool is_leaf(const Node& n) { return n.value() || n.primitive->device || (n.inputs.empty() && is_argument(n)); }
/// For a leaf on another device, the layout that it will have once moved.
Layout layout_of_leaf(const Node& n) {
    if (n.value()) return n.value()->view.layout;
    return is_argument(n) ? layout_of_argument(n) : Layout::contiguous(n.shape);
}

/// Whether each node's elements are those of a value that somebody gets, through views and equal nodes only.
std::vector<bool> escapes_of(const Graph& graph, const Options& options) {
    std::vector<Source> source(graph.nodes.size());
    EqualNodes equal(graph);
    for (Index i = 0; i < graph.nodes.size(); ++i) {
        const Node& n = *graph.nodes[i];
        source[i].base = i;
        if (is_leaf(n)) {
            source[i].layout = layout_of_leaf(n);
        } else if (is_fixed(n)) {
            source[i].layout = Layout::contiguous(n.shape);
        } else if (n.primitive->view) {
            const Source& in = source[n.inputs[0]->visit_index];
            if (n.primitive->view(n, in.layout, source[i].layout))
                source[i].base = in.base;
            else
                source[i].layout = Layout::contiguous(n.shape);
        } else {
            const std::int64_t other = options.simplify ? equal.find_or_add(i, source, [](Index) { return true; }) : -1;
            if (other >= 0)
                source[i] = source[static_cast<std::size_t>(other)];
            else
                source[i].layout = Layout::contiguous(n.shape);
        }
    }
    std::vector<bool> base(graph.nodes.size()), escapes(graph.nodes.size());
    for (Index i = 0; i < graph.nodes.size(); ++i)
        if (graph.held[i]) base[source[i].base] = true;
    for (Index i = 0; i < graph.nodes.size(); ++i) escapes[i] = base[source[i].base];
    return escapes;
}

bool is_concatenation(const Node& n) { return std::string_view(n.primitive->name) == "concatenate"; }

/// Finds the source of a concatenation whose operands are neighbouring slices of one base, together row-major.
bool joined(const Node& n, const std::vector<Source>& operands, Source& all) {
    const auto axis = static_cast<int>(n.attributes[0]);
    Layout whole = Layout::contiguous(n.shape);
    whole.offset = operands[0].layout.offset;
    std::int64_t next = whole.offset;
    for (const Source& s : operands) {
        if (s.base != operands[0].base || s.layout.offset != next) return false;
        for (int d = 0; d < n.shape.rank(); ++d)
            if (s.layout.shape[d] > 1 && s.layout.strides[d] != whole.strides[d]) return false;
        next += s.layout.shape[axis] * whole.strides[axis];
    }
    all = {operands[0].base, whole};
    return true;
}

class Simplifier {
  public:
    Simplifier(const Graph& graph, const Options& options)
        : graph_(graph), options_(options), escapes_(escapes_of(graph, options)), equal_(graph) {
        p_.graph = &graph;
        p_.source.resize(graph.nodes.size());
        p_.bases.resize(graph.nodes.size());
        p_.constants.resize(graph.nodes.size());
        p_.folded.resize(graph.nodes.size());
        p_.pinned.resize(graph.nodes.size());
    }

    Program run() {
        for (Index i = 0; i < graph_.nodes.size(); ++i) visit(i);
        return std::move(p_);
    }

  private:
    void visit(Index i) {
        const Node& n = *graph_.nodes[i];
        if (is_leaf(n)) return base(i, Kind::leaf, layout_of_leaf(n));
        if (is_fixed(n)) return constant(i, compute(n));
        if (n.primitive->view) {
            const Source& in = p_.source[n.inputs[0]->visit_index];
            Layout out;
            if (n.primitive->view(n, in.layout, out)) {
                p_.source[i] = {in.base, out};
                return;
            }
            p_.bases[i].operands = {in};
            base(i, Kind::copy, Layout::contiguous(in.layout.shape));
            p_.source[i].layout = Layout::contiguous(n.shape);
            return;
        }
        visit_computed(i);
    }

    void visit_computed(Index i) {
        const Node& n = *graph_.nodes[i];
        if (merged(i)) return;
        std::vector<Source>& operands = p_.bases[i].operands;
        operands.reserve(n.inputs.size());
        for (const Node* in : n.inputs) operands.push_back(p_.source[in->visit_index]);
        // On a device rows are picked before they are cast, where they are cast all together: few of many.
        if (options_.simplify && n.place() != Device::cpu() && std::string_view(n.primitive->name) == "gather")
            operands[0] = before_cast(operands[0]);
        if (options_.simplify && graph_.device != Device::cpu() && is_contract(n)) sum_bytes(n, operands);
        if (may_differ(i) && is_concatenation(n) && joined(n, operands, p_.source[i])) {
            p_.bases[i] = {};
            return;
        }
        const Role role = n.primitive->role;
        if (role == Role::pointwise) return pointwise(i);
        const Kind kind = n.primitive->reduction  ? Kind::reduction
                          : role == Role::product ? Kind::product
                                                  : Kind::opaque;
        base(i, kind, Layout::contiguous(n.shape));
    }

    void pointwise(Index i) {
        const Node& n = *graph_.nodes[i];
        std::vector<Source>& operands = p_.bases[i].operands;
        Shape shape = n.shape;
        if (may_differ(i)) {
            if (const Source* same = unchanged(n, operands)) {
                p_.source[i] = *same;
                p_.bases[i] = {};
                return;
            }
            shape = without_repetition(n.shape, operands);
        }
        for (Source& s : operands) s.layout.shape = shape;
        const Layout own = Layout::contiguous(shape);
        const bool fixed = std::all_of(operands.begin(), operands.end(),
                                       [&](const Source& s) { return p_.bases[s.base].kind == Kind::constant; });
        if (fixed && options_.simplify && count(shape) <= kFoldedElements) {
            p_.folded[i] = operands;
            constant(i, folded(n, operands, own));
        } else {
            base(i, Kind::pointwise, own);
        }
        if (count(shape) != count(n.shape)) p_.source[i].layout = own.broadcast(n.shape);
    }

    /// The elements from which a cast makes the operand's, if both have the same layout.
    Source before_cast(Source s) const {
        const Base& b = p_.bases[s.base];
        if (b.kind != Kind::pointwise || graph_.nodes[s.base]->primitive->opcode != tape::Opcode::cast) return s;
        const Source& from = b.operands[0];
        if (!from.layout.is_contiguous() || from.layout.count() != count(b.shape)) return s;
        s.base = from.base;
        s.layout.offset += from.layout.offset;
        return s;
    }

    /// A device's products of bytes are summed in int32 by itself: no operand is cast before.
    void sum_bytes(const Node& n, std::vector<Source>& operands) const {
        if (n.dtype != DType::int32) return;
        const Source a = before_cast(operands[0]), b = before_cast(operands[1]);
        if (!product::is_byte(p_.dtype(a.base)) || !product::is_byte(p_.dtype(b.base))) return;
        operands = {a, b};
    }

    void base(Index i, Kind kind, const Layout& layout) {
        p_.bases[i].kind = kind;
        p_.bases[i].shape = layout.shape;
        p_.source[i] = {i, layout};
    }

    void constant(Index i, Array value) {
        p_.bases[i].operands.clear();
        p_.constants[i] = std::move(value.storage);
        base(i, Kind::constant, value.view.layout);
    }

    Array folded(const Node& n, const std::vector<Source>& operands, const Layout& layout) {
        std::vector<View> in;
        for (const Source& s : operands)
            in.push_back(with_layout({p_.constants[s.base]->data(), p_.dtype(s.base), {}}, s.layout));
        auto storage = Storage::allocate(layout.count() * static_cast<std::int64_t>(size_of(n.dtype)));
        const View out{storage->data(), n.dtype, layout};
        n.primitive->run(n, in, out);
        return {std::move(storage), out};
    }

    /// Whether nobody sees the layout of the node's elements: a value that somebody gets has the layout that it has
    /// when computed node by node.
    bool may_differ(Index i) const { return options_.simplify && !escapes_[i]; }

    bool merged(Index i) {
        if (!options_.simplify) return false;
        const std::int64_t other =
            equal_.find_or_add(i, p_.source, [&](Index c) { return escapes_[c] == escapes_[i]; });
        if (other >= 0) p_.source[i] = p_.source[static_cast<std::size_t>(other)];
        return other >= 0;
    }

    /// The operand that the node returns bit for bit: x * 1 and x / 1.
    const Source* unchanged(const Node& n, const std::vector<Source>& operands) {
        const bool product = n.primitive->opcode == tape::Opcode::multiply;
        if (!product && n.primitive->opcode != tape::Opcode::divide) return nullptr;
        if (is_one(operands[1])) return &operands[0];
        return product && is_one(operands[0]) ? &operands[1] : nullptr;
    }

    void pin(Index constant) {
        p_.pinned[constant] = true;
        for (const Source& s : p_.folded[constant]) pin(s.base);
    }

    bool is_one(const Source& s) {
        if (p_.bases[s.base].kind != Kind::constant || count(p_.bases[s.base].shape) != 1) return false;
        const View v{p_.constants[s.base]->data(), p_.dtype(s.base), {}};
        double value;
        const View out{&value, DType::float64, {}};
        tape::run(v.dtype == out.dtype ? tape::Tape{{v.dtype}, {}, {0}}
                                       : tape::single(tape::Opcode::cast, {&v.dtype, 1}, out.dtype),
                  {&v, 1}, {&out, 1});
        if (value == 1) pin(s.base);
        return value == 1;
    }

    /// The shape without the axes along which every operand repeats.
    static Shape without_repetition(Shape shape, const std::vector<Source>& operands) {
        if (count(shape) == 0) return shape;
        for (int d = 0; d < shape.rank(); ++d) {
            const bool repeats = std::all_of(operands.begin(), operands.end(),
                                             [&](const Source& s) { return s.layout.strides[d] == 0; });
            if (repeats) shape[d] = 1;
        }
        return shape;
    }

    const Graph& graph_;
    const Options& options_;
    std::vector<bool> escapes_;
    Program p_;
    EqualNodes equal_;
};

void mark_needed(Program& p) {
    for (Base& b : p.bases) b.needed = false;
    for (Index i = 0; i < p.source.size(); ++i)
        if (p.graph->held[i]) p.bases[p.source[i].base].escapes = p.bases[p.source[i].base].needed = true;
    for (std::size_t i = p.bases.size(); i-- > 0;)
        if (p.bases[i].needed)
            for (const Source& s : p.bases[i].operands) p.bases[s.base].needed = true;
}

}  // namespace

bool is_whole(const Program& p, const Source& s) {
    return s.layout.offset == 0 && s.layout.is_contiguous() && s.layout.count() == count(p.bases[s.base].shape);
}

Program simplify(const Graph& graph, const Options& options) {
    Program p = Simplifier(graph, options).run();
    mark_needed(p);
    if (options.simplify && graph.device != Device::cpu() && keep_values_of_rows(p)) mark_needed(p);
    return p;
}

}  // namespace tenon::schedule
