#include "schedule/repeats.h"

#include <algorithm>
#include <unordered_map>

#include "base/hash.h"
#include "primitive/primitive.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = Repeats::kNone;
constexpr std::size_t kMinLayers = 5, kMaxTried = 4, kMaxReaders = 64;
/// Layers at either end of the program that stay. The last of the head stands for those in the gap; its neighbours on
/// both sides must be layers whose neighbours are.
constexpr std::uint32_t kTail = 2, kHeads[] = {2, 3};

bool is_node_like(const Node& a, const Node& b) {
    constexpr std::uint32_t kFlags = kLibraryRegion | kRecomputedRegion;
    return a.primitive == b.primitive && a.payload == b.payload && (a.region == 0) == (b.region == 0) &&
           (a.region & kFlags) == (b.region & kFlags) && a.attributes == b.attributes;
}

bool is_like(const Program& p, Index a, Index b) {
    const Base &x = p.bases[a], &y = p.bases[b];
    if (x.kind != y.kind || x.needed != y.needed || x.escapes != y.escapes || p.dtype(a) != p.dtype(b) ||
        x.shape != y.shape || x.operands.size() != y.operands.size())
        return false;
    if (is_computed(x.kind) && !is_node_like(p.node(a), p.node(b))) return false;
    for (std::size_t i = 0; i < x.operands.size(); ++i)
        if (x.operands[i].layout != y.operands[i].layout) return false;
    return true;
}

/// Whether operands and readers are as Repeats says.
bool is_exact(const Program& p, const Lists& readers, const Repeats& r) {
    std::vector<std::uint32_t> known(p.bases.size());  // readers that are found where they belong
    const std::uint32_t middle = r.layers / 2;
    for (std::uint32_t o = 0; o < r.orbits(); ++o) {
        const std::vector<Source>& of_model = p.bases[r.at(o, middle)].operands;
        for (std::size_t i = 0; i < of_model.size(); ++i) {
            const Repeats::Place from = r.of[of_model[i].base];
            const std::int64_t step = std::int64_t{from.layer} - middle;
            if (from.orbit != kNone && (step < -1 || step > 1)) return false;
            for (std::uint32_t layer = 0; layer < r.layers; ++layer) {
                const Index operand = p.bases[r.at(o, layer)].operands[i].base;
                if (from.orbit == kNone) {
                    if (operand != of_model[i].base) return false;
                    continue;
                }
                const std::int64_t to = layer + step;
                if (to < 0 || to >= r.layers) continue;
                if (operand != r.at(from.orbit, static_cast<std::uint32_t>(to))) return false;
                ++known[operand];
            }
        }
    }
    for (std::uint32_t o = 0; o < r.orbits(); ++o)
        for (std::uint32_t layer = 1; layer + 1 < r.layers; ++layer) {
            const Index base = r.at(o, layer), model = r.at(o, middle);
            std::size_t others = 0, of_model = 0;
            for (const Index reader : readers[base]) others += r.of[reader].orbit == kNone;
            for (const Index reader : readers[model]) of_model += r.of[reader].orbit == kNone;
            if (others != of_model || known[base] + others != readers[base].size()) return false;
        }
    return true;
}

class Finder {
  public:
    explicit Finder(const Program& p) : p_(p), readers_(readers_of(p)) {}

    Repeats run() {
        Repeats best;
        for (const auto& [a, b] : seeds()) {
            Repeats r = from(a, b);
            if (r.layers >= kMinLayers && r.bases.size() > best.bases.size()) best = std::move(r);
            if (2 * best.bases.size() > p_.bases.size()) break;
        }
        return best;
    }

  private:
    using Pair = std::pair<Index, Index>;

    std::uint64_t key(Index i, int depth) const {
        std::uint64_t h = mix(local_hash(p_.node(i)), p_.bases[i].escapes);
        for (const Source& s : p_.bases[i].operands)
            h = mix(h, depth > 0 && is_computed(p_.bases[s.base].kind) ? key(s.base, depth - 1) : 1);
        return h;
    }

    /// Two neighbours in the middle of each class of products that look alike, of the smallest classes.
    std::vector<Pair> seeds() const {
        std::unordered_map<std::uint64_t, std::size_t> number;
        std::vector<std::vector<Index>> classes;
        for (Index i = 0; i < p_.bases.size(); ++i) {
            if (p_.bases[i].kind != Kind::product || !p_.bases[i].needed) continue;
            const auto [at, is_new] = number.emplace(key(i, 2), classes.size());
            if (is_new) classes.emplace_back();
            classes[at->second].push_back(i);
        }
        std::erase_if(classes, [](const auto& c) { return c.size() < kMinLayers; });
        std::stable_sort(classes.begin(), classes.end(), [](auto& x, auto& y) { return x.size() < y.size(); });
        if (classes.size() > kMaxTried) classes.resize(kMaxTried);
        std::vector<Pair> all;
        for (const auto& c : classes) all.emplace_back(c[c.size() / 2], c[c.size() / 2 + 1]);
        return all;
    }

    /// The repetition that follows if one base corresponds to another.
    Repeats from(Index a, Index b) {
        next_.assign(p_.bases.size(), kNone);
        before_.assign(p_.bases.size(), kNone);
        pairs_.clear();
        pair(a, b);
        for (std::size_t i = 0; i < pairs_.size(); ++i) follow(pairs_[i].first, pairs_[i].second);
        return aligned(a);
    }

    bool pair(Index a, Index b) {
        if (a == b || next_[a] != kNone || before_[b] != kNone) return next_[a] == b;
        if (!is_like(p_, a, b)) return false;
        next_[a] = b, before_[b] = a;
        pairs_.emplace_back(a, b);
        return true;
    }

    void follow(Index a, Index b) {
        const Base &x = p_.bases[a], &y = p_.bases[b];
        for (std::size_t i = 0; i < x.operands.size(); ++i) pair(x.operands[i].base, y.operands[i].base);
        if (!is_computed(x.kind)) return;
        // Readers take each other's place in the order of the program; what one alone has is passed over.
        const std::span<const Index> of_a = readers_[a], of_b = readers_[b];
        if (of_a.size() > kMaxReaders) return;
        std::size_t at = 0;
        for (const Index r : of_a)
            for (std::size_t i = at; i < of_b.size(); ++i)
                if (pair(r, of_b[i])) {
                    at = i + 1;
                    break;
                }
    }

    /// Orbits and layers; the base's orbit tells which layer is which.
    Repeats aligned(Index seed) {
        Repeats r;
        r.of.resize(p_.bases.size());
        std::vector<Index> first;
        std::vector<std::uint32_t> length;
        for (const auto& [a, b] : pairs_) {
            if (before_[a] != kNone) continue;
            Index at = a;
            std::uint32_t n = 0;
            for (; at != kNone; at = next_[at]) r.of[at] = {static_cast<std::uint32_t>(first.size()), n++};
            first.push_back(a), length.push_back(n);
        }
        if (first.empty() || r.of[seed].orbit == kNone) return {};
        std::vector<std::int64_t> start = starts(r, first, length, r.of[seed].orbit);
        put_in_time(r, first, length, start);
        const std::uint32_t most = *std::max_element(length.begin(), length.end());
        std::vector<bool> is_in(first.size());
        std::int64_t low = 0, high = std::int64_t{1} << 40;
        for (std::size_t o = 0; o < first.size(); ++o) {
            if (start[o] == kUnknown || length[o] + 2 < most) continue;
            is_in[o] = true;
            low = std::max(low, start[o]);
            high = std::min(high, start[o] + length[o]);
        }
        if (high - low < static_cast<std::int64_t>(kMinLayers)) return {};
        r.layers = static_cast<std::uint32_t>(high - low);
        std::fill(r.of.begin(), r.of.end(), Repeats::Place{});
        for (std::size_t o = 0; o < first.size(); ++o) {
            if (!is_in[o]) continue;
            const auto orbit = static_cast<std::uint32_t>(r.bases.size() / r.layers);
            std::int64_t layer = start[o] - low;
            for (Index at = first[o]; layer < r.layers; at = next_[at], ++layer) {
                if (layer < 0) continue;
                r.of[at] = {orbit, static_cast<std::uint32_t>(layer)};
                r.bases.push_back(at);
            }
        }
        return is_exact(p_, readers_, r) ? std::move(r) : Repeats{};
    }

    Index in_middle(Index first, std::uint32_t length) const {
        for (std::uint32_t n = 0; n < length / 2; ++n) first = next_[first];
        return first;
    }

    /// Moves orbits by layers, so that no base reads one of a layer that the program computes after its own: with
    /// layers taken out in between, the operand would come after its reader. (The sum of a norm may be in the layer of
    /// what it sums, or in that of its quotient.) Nothing moves where that would not come to an end.
    void put_in_time(const Repeats& r, const std::vector<Index>& first, const std::vector<std::uint32_t>& length,
                     std::vector<std::int64_t>& start) const {
        const std::vector<std::int64_t> before = start;
        bool moved = true;
        for (std::size_t round = 0; moved && round < first.size(); ++round) {
            moved = false;
            for (std::uint32_t o = 0; o < first.size(); ++o) {
                if (start[o] == kUnknown) continue;
                const std::int64_t layer = start[o] + length[o] / 2;
                for (const Source& s : p_.bases[in_middle(first[o], length[o])].operands) {
                    const Repeats::Place& at = r.of[s.base];
                    if (at.orbit == kNone || at.orbit == o || start[at.orbit] == kUnknown) continue;
                    const std::int64_t step = start[at.orbit] + at.layer - layer;
                    const bool later = next_[first[at.orbit]] > first[at.orbit] ? step > 0 : step < 0;
                    if (!later) continue;
                    start[at.orbit] -= step;
                    moved = true;
                }
            }
        }
        if (moved) start = before;
        const std::int64_t least = *std::min_element(start.begin(), start.end());
        for (std::int64_t& s : start)
            if (s != kUnknown) s -= least;
    }

    /// The layer in which each orbit starts, counted from that of the seed: what reads or is read by a base in the
    /// middle of an orbit, and is in none yet of which that is known, is in its layer.
    std::vector<std::int64_t> starts(const Repeats& r, const std::vector<Index>& first,
                                     const std::vector<std::uint32_t>& length, std::uint32_t seed) const {
        std::vector<std::int64_t> start(first.size(), kUnknown);
        std::vector<std::uint32_t> queue{seed};
        start[seed] = 0;
        const auto visit = [&](Index base, std::int64_t layer) {
            const Repeats::Place& at = r.of[base];
            if (at.orbit == kNone || start[at.orbit] != kUnknown) return;
            start[at.orbit] = layer - at.layer;
            queue.push_back(at.orbit);
        };
        for (std::size_t i = 0; i < queue.size(); ++i) {
            const std::uint32_t o = queue[i];
            const Index at = in_middle(first[o], length[o]);
            const std::int64_t layer = start[o] + length[o] / 2;
            for (const Source& s : p_.bases[at].operands) visit(s.base, layer);
            if (is_computed(p_.bases[at].kind))
                for (const Index reader : readers_[at]) visit(reader, layer);
        }
        return start;
    }

    static constexpr std::int64_t kUnknown = std::int64_t{1} << 50;

    const Program& p_;
    Lists readers_;
    std::vector<Index> next_, before_;
    std::vector<Pair> pairs_;
};

/// Without some of the orbits, whose bases are then none of any layer's.
Repeats without(const Repeats& r, const std::vector<bool>& orbits) {
    Repeats left{r.layers, std::vector<Repeats::Place>(r.of.size()), {}};
    for (std::uint32_t o = 0; o < r.orbits(); ++o) {
        if (orbits[o]) continue;
        const std::uint32_t orbit = left.orbits();
        for (std::uint32_t layer = 0; layer < r.layers; ++layer) {
            left.of[r.at(o, layer)] = {orbit, layer};
            left.bases.push_back(r.at(o, layer));
        }
    }
    return left.bases.empty() ? Repeats{} : left;
}

/// A draft of which a function tells the bases.
template <class F>
Draft moved_draft(Draft d, const F& to) {
    d.task.node = to(d.task.node);
    for (Index& n : d.task.nodes) n = to(n);
    std::sort(d.task.nodes.begin(), d.task.nodes.end());
    for (Source& s : d.in) s.base = to(s.base);
    for (Index& o : d.out) o = to(o);
    if (d.task.grouped) {
        auto grouped = *d.task.grouped;
        for (GroupedTask& t : grouped) t.node = to(t.node);
        d.task.grouped = std::make_shared<const std::vector<GroupedTask>>(std::move(grouped));
    }
    return d;
}

/// A program from which layers are taken out: those before the gap come to stand beside those after it.
class Shortened {
  public:
    Shortened(const Program& p, const Repeats& r, std::uint32_t head)
        : p_(p), r_(r), head_(head), gap_(r.layers - head - kTail) {}

    bool is_alike() const {
        for (std::uint32_t o = 0; o < r_.orbits(); ++o)
            for (std::uint32_t layer = head_; layer < head_ + gap_; ++layer)
                if (p_.apart[r_.at(o, layer)] != p_.apart[r_.at(o, head_ - 1)]) return false;
        return true;
    }

    /// Empty where an operand would come after its reader.
    std::optional<Program> program() const {
        Program some;
        some.graph = p_.graph;
        some.apart = p_.apart;
        some.bases.resize(p_.bases.size());
        for (Index i = 0; i < p_.bases.size(); ++i) {
            const Repeats::Place at = r_.of[i];
            if (!p_.bases[i].needed || is_in_gap(at)) continue;
            Base& b = some.bases[i] = p_.bases[i];
            for (Source& s : b.operands) {
                const Repeats::Place from = r_.of[s.base];
                if (!is_in_gap(from)) continue;
                if (at.orbit == kNone) {  // what is not computed here
                    Base& gap = some.bases[s.base];
                    gap.kind = Kind::leaf, gap.shape = p_.bases[s.base].shape, gap.needed = true;
                    continue;
                }
                s.base = r_.at(from.orbit, at.layer < head_ ? head_ + gap_ : head_ - 1);
                if (s.base >= i) return {};
            }
        }
        return some;
    }

    /// The groups of all layers; else `across` has the orbits of a group that no layer has for itself, if that is why.
    std::optional<Groups> spread(const Groups& some, std::vector<bool>& across) const {
        Groups all;
        all.of.resize(p_.bases.size(), kNone);
        std::size_t members = 0, needed = 0;
        for (const Group& g : some.groups)
            if (!add(all, g)) {
                for (const Index m : g.members)
                    if (r_.of[m].orbit != kNone) across[r_.of[m].orbit] = true;
                return {};
            }
        for (const Group& g : all.groups) members += g.members.size();
        for (Index i = 0; i < p_.bases.size(); ++i) {
            if (!p_.bases[i].needed || !is_computed(p_.bases[i].kind)) continue;
            ++needed;
            if (all.of[i] == kNone) return {};
        }
        if (members != needed) return {};  // the groups of two layers share a base
        return all;
    }

  private:
    bool is_in_gap(const Repeats::Place& at) const {
        return at.orbit != kNone && at.layer >= head_ && at.layer < head_ + gap_;
    }
    std::uint32_t rank(std::uint32_t layer) const { return layer < head_ ? layer : layer - gap_; }

    bool add(Groups& all, const Group& g) const {
        std::uint32_t low = kNone, high = 0;
        bool others = false;
        for (const Index m : g.members) {
            const Repeats::Place at = r_.of[m];
            others = others || at.orbit == kNone;
            if (at.orbit != kNone) low = std::min(low, rank(at.layer)), high = std::max(high, rank(at.layer));
        }
        const std::uint32_t model = head_ - 1;
        if (low == kNone || (high < model && !others)) return push(all, g);
        if (others && low <= model && high >= model) return false;
        if (high < model) return push(all, g);
        if (low > model)
            return push(all, moved(g, [&](const Repeats::Place& at) {
                            return at.layer == model ? at.layer + gap_ : at.layer;
                        }));
        if (high == model && low + 1 == model) return push(all, shifted(g, 0));
        if (low != model || high > model + 1) return false;
        const auto like = static_cast<std::uint32_t>(all.groups.size());
        for (std::uint32_t shift = 0; shift <= gap_; ++shift) {
            Group copy = shifted(g, shift);
            if (shift > 0) copy.like = like, copy.layers = shift;
            push(all, std::move(copy));
        }
        return true;
    }

    /// The group of layers as far from those before the gap.
    Group shifted(const Group& g, std::uint32_t shift) const {
        return moved(g, [&](const Repeats::Place& at) { return rank(at.layer) + shift; });
    }

    /// A group whose bases are those of other layers, which a function of their places tells.
    template <class F>
    Group moved(Group g, const F& layer) const {
        const auto to = [&](Index base) {
            const Repeats::Place at = r_.of[base];
            return at.orbit == kNone ? base : r_.at(at.orbit, layer(at));
        };
        for (Index& m : g.members) m = to(m);
        std::sort(g.members.begin(), g.members.end());
        if (g.has_product) g.product = to(g.product);
        if (g.ready) g.ready = std::make_shared<const Draft>(moved_draft(*g.ready, to));
        for (Group& part : g.parts) part = moved(std::move(part), layer);
        return g;
    }

    static bool push(Groups& all, Group g) {
        for (const Index m : g.members) all.of[m] = static_cast<std::uint32_t>(all.groups.size());
        g.drafted = nullptr;  // it may read what is another base in the shortened program
        all.groups.push_back(std::move(g));
        return true;
    }

    const Program& p_;
    const Repeats& r_;
    std::uint32_t head_, gap_;
};

}  // namespace

Repeats find_repeats(const Program& program) { return Finder(program).run(); }

bool holds(const Program& program, const Repeats& r) {
    for (std::uint32_t o = 0; o < r.orbits(); ++o)
        for (std::uint32_t layer = 1; layer < r.layers; ++layer)
            if (!is_like(program, r.at(o, 0), r.at(o, layer))) return false;
    return true;
}

std::optional<Groups> group_repeats(const Program& program, Repeats& repeats,
                                    const std::function<std::optional<Groups>(const Program&)>& group) {
    for (std::size_t tries = 0; tries < kMaxTried; ++tries) {
        std::vector<bool> across(repeats.orbits());
        for (const std::uint32_t head : kHeads) {
            if (repeats.head != 0 && repeats.head != head) continue;
            if (repeats.layers < head + kTail + 1) break;
            const Shortened shortened(program, repeats, head);
            if (!shortened.is_alike()) break;
            const std::optional<Program> some = shortened.program();
            if (!some) break;
            const std::optional<Groups> groups = group(*some);
            if (!groups) break;
            if (auto all = shortened.spread(*groups, across)) {
                repeats.head = head;
                return all;
            }
            if (std::ranges::find(across, true) != across.end()) break;
        }
        if (std::ranges::find(across, true) == across.end() || repeats.head != 0) break;
        repeats = without(repeats, across);
        if (!is_exact(program, readers_of(program), repeats)) repeats = {};
        if (repeats.layers == 0) break;
    }
    return {};
}

Draft moved(const Repeats& repeats, const Draft& draft, std::int64_t layers) {
    return moved_draft(draft, [&](Index base) {
        const Repeats::Place at = repeats.of[base];
        return at.orbit == kNone ? base : repeats.at(at.orbit, static_cast<std::uint32_t>(at.layer + layers));
    });
}

}  // namespace tenon::schedule
