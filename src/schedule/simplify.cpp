#include <algorithm>
#include <string_view>
#include <unordered_map>

#include "base/hash.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "schedule/evaluate.h"
#include "schedule/program.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kFoldedElements = 64;
constexpr std::int64_t kConstantBytes = std::int64_t{256} << 10;

std::uint64_t hash_of(const Source& s, std::uint64_t h) {
    h = mix(mix(h, s.base), static_cast<std::uint64_t>(s.layout.offset));
    for (int i = 0; i < s.layout.rank(); ++i)
        h = mix(mix(h, static_cast<std::uint64_t>(s.layout.shape[i])), static_cast<std::uint64_t>(s.layout.strides[i]));
    return h;
}

class Simplifier {
  public:
    /// `escapes` says of each node whether its elements are those of a value that somebody gets; such a value lies as
    /// it does when it is computed node by node. Null for the first pass, which finds that out.
    Simplifier(const Graph& graph, const Options& options, const std::vector<bool>* escapes)
        : graph_(graph), options_(options), escapes_(escapes) {
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
        if (n.value()) return base(i, Kind::leaf, n.value()->view.layout);
        if (is_argument(n)) return base(i, Kind::leaf, layout_of_argument(n));
        if (n.primitive->device) return base(i, Kind::leaf, Layout::contiguous(n.shape));  // will have been moved
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
        std::vector<Source> operands;
        for (const Node* in : n.inputs) operands.push_back(p_.source[in->visit_index]);
        // On a device rows are picked before they are cast, where they are cast all together: few of many.
        if (options_.simplify && n.place() != Device::cpu() && std::string_view(n.primitive->name) == "gather")
            operands[0] = before_cast(operands[0]);
        if (merged(i, operands)) return;
        const Role role = n.primitive->role;
        p_.bases[i].operands = std::move(operands);
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

    /// The elements of which a cast makes the operand's, where they lie alike.
    Source before_cast(Source s) const {
        const Base& b = p_.bases[s.base];
        if (b.kind != Kind::pointwise || graph_.nodes[s.base]->primitive->opcode != tape::Opcode::cast) return s;
        const Source& from = b.operands[0];
        if (!from.layout.is_contiguous() || from.layout.count() != count(b.shape)) return s;
        s.base = from.base;
        s.layout.offset += from.layout.offset;
        return s;
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

    static bool is_fixed(const Node& n) {
        if (is_constant(n)) return true;
        return is_iota(n) && count(n.shape) <= kConstantBytes / static_cast<std::int64_t>(size_of(n.dtype));
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

    /// Whether nobody sees how the node's elements lie.
    bool may_differ(Index i) const { return options_.simplify && escapes_ && !(*escapes_)[i]; }

    /// An equal node that stands before this one. Checkpoints are apart: their nodes are there to be computed again.
    bool merged(Index i, const std::vector<Source>& operands) {
        const Node& n = *graph_.nodes[i];
        if (!options_.simplify || n.payload || is_run_time_scalar(n)) return false;
        std::uint64_t h = mix(n.hash, n.region);
        for (const Source& s : operands) h = hash_of(s, h);
        const auto [first, last] = equal_.equal_range(h);
        for (auto at = first; at != last; ++at) {
            const Candidate& c = at->second;
            const Node& m = *graph_.nodes[c.node];
            if (m.primitive != n.primitive || m.dtype != n.dtype || m.shape != n.shape || m.region != n.region ||
                !(m.attributes == n.attributes) || c.operands != operands)
                continue;
            if (escapes_ && (*escapes_)[i] != (*escapes_)[c.node]) continue;
            p_.source[i] = p_.source[c.node];
            return true;
        }
        equal_.insert({h, {i, operands}});
        return false;
    }

    /// The operand that the node gives back bit for bit: x * 1 and x / 1.
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

    struct Candidate {
        Index node;
        std::vector<Source> operands;
    };

    const Graph& graph_;
    const Options& options_;
    const std::vector<bool>* escapes_;
    Program p_;
    std::unordered_multimap<std::uint64_t, Candidate> equal_;
};

void mark_needed(Program& p) {
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
    Program first = Simplifier(graph, options, nullptr).run();
    mark_needed(first);
    std::vector<bool> escapes(graph.nodes.size());
    for (Index i = 0; i < graph.nodes.size(); ++i) escapes[i] = first.bases[first.source[i].base].escapes;
    Program p = Simplifier(graph, options, &escapes).run();
    mark_needed(p);
    return p;
}

}  // namespace tenon::schedule
