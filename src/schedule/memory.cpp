#include "schedule/memory.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "schedule/arena.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

constexpr double kMoreThanBefore = 1.05;  // of an arrangement's part that is lost between buffers

/// Placed as before, if that takes little more over the least possible than it did; else by a search.
std::int64_t placed(std::vector<Lifetime>& lives, const Arrangement& like, double most) {
    const std::int64_t bytes = like.place(lives);
    if (static_cast<double>(bytes) <= most * static_cast<double>(least_bytes(lives))) return bytes;
    std::vector<Lifetime> searched = lives;
    const std::int64_t other = place(searched);
    if (other >= bytes) return bytes;
    lives = std::move(searched);
    return other;
}

std::vector<Lifetime> lives_of(const Executable& e) {
    std::vector<Lifetime> lives;
    lives.reserve(e.buffers.size());
    for (const Buffer& b : e.buffers) lives.push_back({b.bytes, b.first, b.last, b.offset});
    return lives;
}

/// The lifetimes of the buffers that do not lie in the memory of leaves.
std::vector<Lifetime> lives_beside_leaves(const Executable& e) {
    std::vector<Lifetime> rest;
    if (!e.spare) return rest;
    for (std::size_t b = 0; b < e.buffers.size(); ++b)
        if (e.spare->leaves[b] == kNone)
            rest.push_back({e.buffers[b].bytes, e.buffers[b].first, e.buffers[b].last, e.spare->offsets[b]});
    return rest;
}

void place_in_arena(Executable& e, const Arrangements* like = nullptr) {
    std::vector<Lifetime> lives = lives_of(e);
    e.arena_bytes = like ? placed(lives, like->in_arena, like->most) : place(lives);
    e.least_bytes = least_bytes(lives);
    for (std::size_t i = 0; i < lives.size(); ++i) e.buffers[i].offset = lives[i].offset;
}

/// Places what does not lie in leaves; where that takes no less of the arena, there is no other placement.
void place_beside_leaves(Executable& e, const Arrangements* like = nullptr) {
    Spare& spare = *e.spare;
    std::vector<Lifetime> rest = lives_beside_leaves(e);
    spare.arena_bytes = like ? placed(rest, like->beside_leaves, like->most) : place(rest);
    for (std::size_t b = 0, r = 0; b < e.buffers.size(); ++b)
        if (spare.leaves[b] == kNone) spare.offsets[b] = rest[r++].offset;
    if (spare.arena_bytes >= e.arena_bytes) e.spare.reset();
}

class Planner {
  public:
    Planner(const Program& p, const std::vector<Draft>& drafts, const Options& options, Executable& e)
        : p_(p), drafts_(drafts), options_(options), e_(e) {}

    std::vector<Location> run() {
        find_lives();
        share_in_place();
        place_buffers();
        if (options_.reuse) {
            donate_to_results();
            donate_to_arena();
        }
        return std::move(at_);
    }

  private:
    std::int64_t bytes_of(Index base) const {
        std::int64_t bytes;
        if (__builtin_mul_overflow(count(p_.bases[base].shape), static_cast<std::int64_t>(size_of(p_.dtype(base))),
                                   &bytes))
            throw MemoryError("compile: more than 2^63 bytes");
        return bytes;
    }

    void find_lives() {
        life_.resize(p_.bases.size(), {0, -1, -1});
        shares_.resize(p_.bases.size(), kNone);
        for (std::size_t t = 0; t < drafts_.size(); ++t) {
            const auto at = static_cast<std::int64_t>(t);
            for (const Source& s : drafts_[t].in) life_[s.base].last = at;
            for (const Index o : drafts_[t].out) life_[o] = {bytes_of(o), at, at};
        }
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (p_.bases[i].kind == Kind::leaf && p_.bases[i].needed) life_[i].bytes = bytes_of(i);
    }

    /// A result takes the memory of an operand that is read for the last time, where every read of an element comes
    /// before it is written.
    void share_in_place() {
        if (!options_.in_place || !options_.reuse) return;
        for (std::size_t t = 0; t < drafts_.size(); ++t) {
            const Draft& d = drafts_[t];
            std::vector<bool> taken(d.in.size());
            for (std::size_t o = 0; o < d.out.size(); ++o)
                for (std::size_t i = 0; i < d.in.size(); ++i)
                    if (!taken[i] && is_computed(p_.bases[d.in[i].base].kind) && !p_.bases[d.out[o]].escapes &&
                        may_share(d, i, o, static_cast<std::int64_t>(t))) {
                        taken[i] = true;
                        shares_[d.out[o]] = d.in[i].base;
                        break;
                    }
        }
    }

    bool may_share(const Draft& d, std::size_t i, std::size_t o, std::int64_t t) const {
        const Index in = d.in[i].base, out = d.out[o];
        if (d.task.kind != Task::Kind::tape && d.task.kind != Task::Kind::rows) return false;
        if (p_.bases[in].escapes || life_[in].last != t || life_[in].bytes != life_[out].bytes) return false;
        if (!is_whole(p_, d.in[i]) || d.in[i].layout != d.out_layouts[o]) return false;
        if (size_of(p_.dtype(in)) != size_of(p_.dtype(out))) return false;
        for (std::size_t k = 0; k < d.in.size(); ++k)
            if (k != i && d.in[k].base == in) return false;
        return d.task.kind == Task::Kind::tape || tape::may_overwrite(d.task.rows, i, o);
    }

    Index owner(Index base) const {
        while (shares_[base] != kNone) base = shares_[base];
        return base;
    }

    void place_buffers() {
        at_.resize(p_.bases.size());
        std::vector<std::uint32_t> slot(p_.bases.size(), kNone);
        for (const Draft& d : drafts_)
            for (const Index o : d.out) {
                if (p_.bases[o].escapes) {
                    at_[o] = {Location::In::own, static_cast<std::uint32_t>(e_.own.size()), 0};
                    e_.own.push_back(life_[o].bytes);
                    continue;
                }
                const Index of = owner(o);
                if (slot[of] == kNone) {
                    slot[of] = static_cast<std::uint32_t>(lives_.size());
                    lives_.push_back({life_[of].bytes, life_[of].first, life_[of].last});
                    e_.buffers.push_back({of, life_[of].bytes, 0, 0, 0});
                }
                Lifetime& l = lives_[slot[of]];
                l.last = std::max(l.last, life_[o].last);
                slot[o] = slot[of];
                at_[o] = {Location::In::arena, slot[of], 0};
            }
        if (!options_.reuse)
            for (Lifetime& l : lives_) l.first = 0, l.last = static_cast<std::int64_t>(drafts_.size());
        for (std::size_t i = 0; i < lives_.size(); ++i)
            e_.buffers[i].first = lives_[i].first, e_.buffers[i].last = lives_[i].last;
        place_in_arena(e_);
        for (Index i = 0; i < p_.bases.size(); ++i) {
            if (p_.pinned[i] && is_constant(p_.node(i))) e_.pinned.push_back(i);
            if (!p_.bases[i].needed) continue;
            if (p_.bases[i].kind == Kind::leaf) at_[i] = {Location::In::leaf, i, 0};
            if (p_.bases[i].kind == Kind::constant) {
                at_[i] = {Location::In::constant, static_cast<std::uint32_t>(e_.constants.size()), 0};
                e_.constants.push_back(p_.constants[i]);
                e_.fold_of.push_back(fold_of(i));
            }
        }
    }

    /// The recipe of a constant, after those of what it is computed from; kNone where one of these has none. A walk
    /// with a stack of its own, since constants may be computed one from the other any number of times.
    std::uint32_t fold_of(Index constant) {
        if (folds_.empty()) folds_.assign(p_.bases.size(), kNone);
        std::vector<Index> pending{constant};
        while (!pending.empty()) {
            const Index i = pending.back();
            if (folds_[i] == kNone && p_.folded[i].empty() && !is_constant(p_.node(i))) return kNone;
            const std::size_t depth = pending.size();
            Fold fold{i, {}, p_.bases[i].shape};
            for (const Source& s : p_.folded[i]) {
                if (folds_[s.base] == kNone) pending.push_back(s.base);
                fold.from.push_back({folds_[s.base], s.layout});
            }
            if (pending.size() > depth) continue;
            pending.pop_back();
            if (folds_[i] != kNone) continue;
            e_.folds.push_back(std::move(fold));
            folds_[i] = static_cast<std::uint32_t>(e_.folds.size() - 1);
        }
        return folds_[constant];
    }

    /// The last task that may refuse elements (an index out of bounds): no leaf is overwritten before it. A task that
    /// checks rows which an earlier one has checked, as a gather's gradient does, refuses nothing.
    std::int64_t last_that_may_refuse() const {
        std::int64_t last = -1;
        std::vector<std::pair<const Source*, std::int64_t>> checked;
        for (std::size_t t = 0; t < drafts_.size(); ++t) {
            if (drafts_[t].task.kind != Task::Kind::kernel) continue;
            const Node& n = p_.node(drafts_[t].task.node);
            const Primitive& primitive = *n.primitive;
            if (primitive.role != Role::indexing && primitive.role != Role::opaque) continue;
            if (primitive.refuses_nothing) continue;
            if (primitive.checked_rows >= 0) {
                const auto& operands = p_.bases[drafts_[t].task.node].operands;
                const Source& rows = operands[static_cast<std::size_t>(primitive.checked_rows)];
                const std::int64_t most = n.inputs[0]->shape[0];
                const bool again =
                    std::ranges::any_of(checked, [&](const auto& c) { return *c.first == rows && c.second == most; });
                if (again) continue;
                checked.emplace_back(&rows, most);
            }
            last = static_cast<std::int64_t>(t);
        }
        return last;
    }

    /// Whether a leaf's memory is all of its elements, and nobody gets a value that lies in it.
    bool may_die(Index i) const {
        const Base& b = p_.bases[i];
        return b.kind == Kind::leaf && b.needed && !b.escapes && life_[i].bytes > 0 &&
               p_.source[i].layout.is_contiguous();
    }

    /// Plans which result that outlives the run may take the memory of which leaf, in place or of as many bytes that
    /// are not read any more. Which leaves die is known at the run only.
    void donate_to_results() {
        const std::int64_t barrier = last_that_may_refuse();
        in_place_.resize(p_.bases.size());
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (may_die(i)) e_.ends.push_back({i, life_[i].last, life_[i].bytes});
        std::stable_sort(e_.ends.begin(), e_.ends.end(),
                         [](const LeafEnd& a, const LeafEnd& b) { return a.last < b.last; });
        for (std::int64_t t = barrier + 1; t < static_cast<std::int64_t>(drafts_.size()); ++t) {
            const Draft& d = drafts_[static_cast<std::size_t>(t)];
            for (std::size_t o = 0; o < d.out.size(); ++o) {
                if (!p_.bases[d.out[o]].escapes || life_[d.out[o]].bytes == 0) continue;
                Receiver r{at_[d.out[o]].index, t, {}};
                for (std::size_t i = 0; i < d.in.size() && options_.in_place; ++i) {
                    if (!may_die(d.in[i].base) || !may_share(d, i, o, t)) continue;
                    r.in_place.push_back(d.in[i].base);
                    in_place_[d.in[i].base] = true;
                }
                e_.receivers.push_back(std::move(r));
            }
        }
        if (e_.ends.empty()) e_.receivers.clear();
    }

    /// Buffers lie in the memory of leaves that died when the graph was compiled, and serve for no result in place,
    /// where those have been read before, one at a time.
    void donate_to_arena() {
        const std::int64_t barrier = last_that_may_refuse();
        const std::vector<bool>& dies = p_.graph->dies;
        std::vector<Index> leaves;
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (i < dies.size() && dies[i] && may_die(i) && !in_place_[i]) leaves.push_back(i);
        if (leaves.empty() || lives_.empty()) return;
        std::stable_sort(leaves.begin(), leaves.end(),
                         [&](Index a, Index b) { return life_[a].bytes < life_[b].bytes; });
        std::vector<std::size_t> order(lives_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return lives_[a].bytes > lives_[b].bytes; });
        Spare spare{0, std::vector<std::int64_t>(lives_.size()), std::vector<std::uint32_t>(lives_.size(), kNone)};
        std::vector<std::vector<std::size_t>> in(leaves.size());
        for (const std::size_t b : order) {
            const Lifetime& l = lives_[b];
            if (l.bytes == 0 || l.first <= barrier) continue;
            for (std::size_t at = 0; at < leaves.size(); ++at) {
                const Lifetime& leaf = life_[leaves[at]];
                if (leaf.bytes < l.bytes || leaf.last >= l.first) continue;
                if (std::any_of(in[at].begin(), in[at].end(),
                                [&](std::size_t o) { return lives_[o].first <= l.last && l.first <= lives_[o].last; }))
                    continue;
                in[at].push_back(b);
                spare.leaves[b] = leaves[at];
                break;
            }
        }
        e_.spare = std::move(spare);
        place_beside_leaves(e_);
    }

    const Program& p_;
    const std::vector<Draft>& drafts_;
    const Options& options_;
    Executable& e_;
    std::vector<Lifetime> life_;  // by base
    std::vector<Index> shares_;  // the base whose memory this one takes
    std::vector<Lifetime> lives_;  // of the buffers
    std::vector<bool> in_place_;  // leaves whose memory a result may take in place
    std::vector<std::uint32_t> folds_;  // by base
    std::vector<Location> at_;  // by base
};

}  // namespace

Arrangements::Arrangements(const Executable& e)
    : in_arena(lives_of(e)),
      beside_leaves(lives_beside_leaves(e)),
      most(e.least_bytes == 0
               ? kMoreThanBefore
               : kMoreThanBefore * static_cast<double>(e.arena_bytes) / static_cast<double>(e.least_bytes)) {}

void place_again(Executable& e, const Arrangements& like) {
    place_in_arena(e, &like);
    if (!e.spare) return;
    std::unordered_map<std::uint32_t, std::int64_t> bytes;  // of leaves
    for (const LeafEnd& end : e.ends) bytes.emplace(end.leaf, end.bytes);
    for (std::size_t b = 0; b < e.buffers.size(); ++b) {
        const std::uint32_t leaf = e.spare->leaves[b];
        if (leaf == kNone) continue;
        const auto at = bytes.find(leaf);
        if (at != bytes.end() && at->second < e.buffers[b].bytes) return e.spare.reset();
    }
    place_beside_leaves(e, &like);
}

std::vector<Location> plan_memory(const Program& p, const std::vector<Draft>& drafts, const Options& options,
                                  Executable& e) {
    return Planner(p, drafts, options, e).run();
}

}  // namespace tenon::schedule
