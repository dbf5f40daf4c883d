#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "base/text.h"
#include "primitive/contract.h"
#include "primitive/leaf.h"
#include "product/axes.h"
#include "schedule/executable.h"
#include "schedule/order.h"
#include "schedule/plan.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

[[noreturn]] void fail(const auto&... what) { throw std::logic_error(text("verify: ", what...)); }

/// The elements that a view touches, from its pointer on. Their bytes may be more than can be counted.
struct Range {
    std::int64_t low = 0, high = 0;
};
Range range_of(const View& v) {
    Range r;
    if (v.layout.count() == 0) return r;
    for (int d = 0; d < v.layout.rank(); ++d) {
        const std::int64_t span = (v.layout.shape[d] - 1) * v.layout.strides[d];
        (span < 0 ? r.low : r.high) += span;
    }
    ++r.high;
    return r;
}

/// Whether a view that begins at byte `offset` of a memory lies in it.
bool lies_in(const View& v, std::int64_t offset, std::int64_t bytes) {
    const auto size = static_cast<std::int64_t>(size_of(v.dtype));
    const Range r = range_of(v);
    return 0 <= offset && offset <= bytes && -r.low <= offset / size && r.high <= (bytes - offset) / size;
}

/// Whether the elements of a result are all of its memory's, in any order.
bool fills(const View& v) {
    if (v.layout.is_contiguous()) return true;
    for (int d = 0; d < v.layout.rank(); ++d)
        if (v.layout.shape[d] > 1 && v.layout.strides[d] <= 0) return false;
    const Range r = range_of(v);
    return r.low == 0 && r.high == v.layout.count();
}

class Verifier {
  public:
    Verifier(const Executable& e, const Graph& g) : e_(e), g_(g), written_(e.own.size()) {}

    void run() {
        buffers();
        donated();
        for (std::size_t t = 0; t < e_.tasks.size(); ++t) task(t);
        for (const Result& r : e_.results) result(r);
    }

  private:
    void buffers() const {
        for (std::size_t i = 0; i < e_.buffers.size(); ++i) {
            const Buffer& a = e_.buffers[i];
            if (a.offset < 0 || a.offset + a.bytes > e_.arena_bytes) fail("buffer ", i, " is outside the arena");
            for (std::size_t j = 0; j < i; ++j) {
                const Buffer& b = e_.buffers[j];
                if (alive_together(a, b) && meet(a.offset, a.bytes, b.offset, b.bytes))
                    fail("buffers ", j, " and ", i, " overlap");
            }
        }
        if (e_.least_bytes > e_.arena_bytes) fail("the arena is below its bound");
    }

    static bool alive_together(const Buffer& a, const Buffer& b) { return a.first <= b.last && b.first <= a.last; }
    static bool meet(std::int64_t a, std::int64_t a_bytes, std::int64_t b, std::int64_t b_bytes) {
        return a < b + b_bytes && b < a + a_bytes && a_bytes && b_bytes;
    }

    /// The task that reads a leaf last, -1 where none does.
    std::int64_t last_read(std::uint32_t leaf) const {
        for (std::size_t t = e_.tasks.size(); t-- > 0;)
            for (const Operand& o : e_.tasks[t].in)
                if (o.at.in == Location::In::leaf && o.at.index == leaf) return static_cast<std::int64_t>(t);
        return -1;
    }
    std::int64_t bytes_of_leaf(std::uint32_t leaf) const {
        const Node& n = *g_.nodes[leaf];
        return count(n.shape) * static_cast<std::int64_t>(size_of(n.dtype));
    }

    void is_no_result(std::uint32_t leaf) const {
        for (const Result& r : e_.results)
            if (r.at.in == Location::In::leaf && r.at.index == leaf) fail("a leaf that may be overwritten is a result");
    }

    void donated() const {
        for (const LeafEnd& end : e_.ends) {
            is_no_result(end.leaf);
            if (bytes_of_leaf(end.leaf) != end.bytes) fail("a leaf has other bytes");
            if (last_read(end.leaf) != end.last) fail("a leaf ends elsewhere");
        }
        for (const Receiver& r : e_.receivers)
            for (const std::uint32_t leaf : r.in_place) {
                is_no_result(leaf);
                if (bytes_of_leaf(leaf) != e_.own[r.own]) fail("a leaf in place has other bytes");
                if (last_read(leaf) != r.task) fail("a leaf in place is read elsewhere");
            }
        if (!e_.spare) return;
        const Spare& s = *e_.spare;
        for (std::size_t i = 0; i < e_.buffers.size(); ++i) {
            const Buffer& a = e_.buffers[i];
            if (s.leaves[i] == kNone) {
                if (s.offsets[i] < 0 || s.offsets[i] + a.bytes > s.arena_bytes) fail("buffer ", i, " leaves its arena");
            } else {
                is_no_result(s.leaves[i]);
                if (bytes_of_leaf(s.leaves[i]) < a.bytes) fail("buffer ", i, " is larger than its leaf");
                if (last_read(s.leaves[i]) >= a.first) fail("buffer ", i, " overwrites a leaf that is read");
            }
            for (std::size_t j = 0; j < i; ++j) {
                const bool one = s.leaves[i] == s.leaves[j];
                if (one && alive_together(a, e_.buffers[j]) &&
                    (s.leaves[i] == kNone ? meet(s.offsets[i], a.bytes, s.offsets[j], e_.buffers[j].bytes)
                                          : a.bytes && e_.buffers[j].bytes))
                    fail("buffers ", j, " and ", i, " overlap beside donated leaves");
            }
        }
    }

    /// The buffer of an operand, which task t uses.
    const Buffer& buffer_at(const Operand& o, std::size_t t) const {
        const Buffer& b = e_.buffers.at(o.at.index);
        if (b.first <= static_cast<std::int64_t>(t) && static_cast<std::int64_t>(t) <= b.last &&
            lies_in(o.view, o.at.offset, b.bytes))
            return b;
        fail("task ", t, " uses memory of no buffer");
    }

    void task(std::size_t t) {
        const Task& task = e_.tasks[t];
        if (task.out.empty()) fail("task ", t, " has no result");
        // A grouped product may read another's result.
        const auto is_own = [&](const Operand& in) {
            return task.grouped && std::any_of(task.out.begin(), task.out.end(), [&](const Operand& o) {
                       return o.at.in == in.at.in && o.at.index == in.at.index;
                   });
        };
        for (const Operand& o : task.in) {
            if (o.at.in == Location::In::own && !written_[o.at.index] && !is_own(o))
                fail("task ", t, " reads a result too early");
            if (o.at.in == Location::In::arena && o.view.layout.count() > 0) {
                const Buffer& b = buffer_at(o, t);
                if (b.first >= static_cast<std::int64_t>(t) && !is_own(o))
                    fail("task ", t, " reads a buffer before it is written");
            }
            if (o.at.in == Location::In::leaf && !g_.nodes[o.at.index]->value() && !is_argument(*g_.nodes[o.at.index]))
                fail("a leaf has no value");
            within(o);
        }
        for (const Operand& o : task.out) {
            if (o.at.in == Location::In::leaf || o.at.in == Location::In::constant) fail("task ", t, " writes a leaf");
            if (!fills(o.view)) fail("task ", t, " has a result with gaps");
            if (o.at.in == Location::In::own) written_[o.at.index] = true;
            if (o.at.in == Location::In::arena && o.view.layout.count() > 0) buffer_at(o, t);
            within(o);
        }
        types(task);
    }

    void within(const Operand& o) const {
        if (o.view.layout.count() == 0) return;
        const std::int64_t bytes = o.at.in == Location::In::own        ? e_.own[o.at.index]
                                   : o.at.in == Location::In::constant ? e_.constants[o.at.index]->bytes()
                                   : o.at.in == Location::In::arena    ? e_.buffers[o.at.index].bytes
                                                                       : -1;
        if (bytes >= 0 && !lies_in(o.view, o.at.offset, bytes)) fail("a view leaves its memory");
    }

    void types(const Task& task) const {
        if (task.kind == Task::Kind::kernel) {
            const Node& n = *g_.nodes[task.node];
            if (task.in.size() != n.inputs.size()) fail(n.primitive->name, ": operands are missing");
            // On a device the operand of a gather, and bytes that a contraction sums in int32, may still lack their
            // cast.
            const auto uncast = [&](std::size_t i) {
                if (i == 0 && n.place() != Device::cpu() && std::string_view(n.primitive->name) == "gather")
                    return true;
                return g_.device != Device::cpu() && is_contract(n) && product::is_byte(task.in[i].view.dtype);
            };
            for (std::size_t i = 0; i < n.inputs.size(); ++i)
                if ((task.in[i].view.dtype != n.inputs[i]->dtype && !uncast(i)) ||
                    task.in[i].view.shape() != n.inputs[i]->shape)
                    fail(n.primitive->name, ": operand ", i, " is another");
            if (task.out[0].view.dtype != n.dtype || task.out[0].view.shape() != n.shape)
                fail(n.primitive->name, ": the result is another");
        }
    }

    void result(const Result& r) const {
        const Node& n = *g_.nodes[r.node];
        if (!g_.held[r.node]) fail("a node gets a value that nobody asked for");
        if (r.layout.shape != n.shape)
            fail("a value of shape ", to_string(r.layout.shape), " for ", to_string(n.shape));
        if (r.at.in == Location::In::arena) fail("a value in the arena");
        if (r.at.in == Location::In::own && !written_[r.at.index]) fail("a value that nothing computes");
    }

    const Executable& e_;
    const Graph& g_;
    std::vector<bool> written_;
};

}  // namespace

void verify(const Program& p) {
    for (Index i = 0; i < p.bases.size(); ++i) {
        const Base& b = p.bases[i];
        for (const Source& s : b.operands) {
            if (s.base >= i) fail("base ", i, " reads what comes later");
            const Base& from = p.bases[s.base];
            if (from.kind == Kind::none) fail("base ", i, " reads nothing");
            if (b.needed && !from.needed) fail("base ", i, " reads what is not needed");
            if (is_elementwise(b.kind) && s.layout.shape != b.shape) fail("base ", i, " reads another shape");
            if (!is_computed(from.kind) || s.layout.count() == 0) continue;
            const Range r = range_of({nullptr, p.dtype(s.base), s.layout});
            if (s.layout.offset + r.low < 0 || s.layout.offset + r.high > count(from.shape))
                fail("base ", i, " reads beyond base ", s.base);
        }
    }
    for (Index i = 0; i < p.source.size(); ++i) {
        if (!p.graph->held[i]) continue;
        const Base& b = p.bases[p.source[i].base];
        if (!b.escapes || !b.needed) fail("node ", i, " is held, and its elements are not");
        if (p.source[i].layout.shape != p.graph->nodes[i]->shape) fail("node ", i, " has another shape");
    }
}

void verify(const Program& p, const Groups& g) {
    std::vector<bool> seen(p.bases.size());
    for (std::uint32_t at = 0; at < g.groups.size(); ++at) {
        const Group& group = g.groups[at];
        if (group.members.empty() || !std::is_sorted(group.members.begin(), group.members.end()))
            fail("the members of group ", at, " are in no order");
        for (const Index m : group.members) {
            if (!p.bases[m].needed || !is_computed(p.bases[m].kind)) fail("base ", m, " has a group and no use");
            if (seen[m] || g.of[m] != at) fail("base ", m, " is in two groups");
            seen[m] = true;
        }
        const bool alone = group.members.size() == 1 || group.has_product || group.ready;
        if (!alone && !domain_of(p, group.members)) fail("group ", at, " has no domain");
        if (group.has_product && !group.ready && g.of[group.product] != at) fail("group ", at, " has lost its product");
    }
    for (Index i = 0; i < p.bases.size(); ++i)
        if (p.bases[i].needed && is_computed(p.bases[i].kind) && !seen[i]) fail("base ", i, " is in no group");
}

void verify(const Program& p, const Groups& g, const std::vector<std::uint32_t>& order) {
    std::vector<std::size_t> place(g.groups.size(), g.groups.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (place.at(order[i]) != g.groups.size()) fail("group ", order[i], " runs twice");
        place[order[i]] = i;
    }
    if (order.size() != g.groups.size()) fail("a group does not run");
    for (std::uint32_t at = 0; at < g.groups.size(); ++at)
        for (const Index m : g.groups[at].members)
            for (const Source& s : p.bases[m].operands)
                if (is_computed(p.bases[s.base].kind) && g.of[s.base] != at && place[g.of[s.base]] >= place[at])
                    fail("group ", at, " runs before what it reads");
}

void verify(const Executable& e, const Graph& g) {
    if (!e.like) return Verifier(e, g).run();
    const Executable all = expanded(e);
    Verifier(all, g).run();
}

}  // namespace tenon::schedule
