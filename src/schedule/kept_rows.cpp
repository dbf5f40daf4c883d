#include "schedule/kept_rows.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/hash.h"
#include "primitive/primitive.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kShortestRow = 32;

class Keeper {
  public:
    explicit Keeper(Program& p) : p_(p), first_(p.bases.size()), kept_(p.bases.size()), is_of_rows_(p.bases.size()) {}

    bool run() {
        bool any = false;
        for (Index i = 0; i < p_.bases.size(); ++i) {
            first_[i] = kept_[i] = i;
            Base& b = p_.bases[i];
            if (!is_computed(b.kind) || !b.needed) continue;
            for (Source& s : b.operands) s.base = kept_[s.base];
            if (p_.node(i).region == 0 || (b.kind != Kind::pointwise && b.kind != Kind::reduction)) continue;
            is_of_rows_[i] = is_of_rows(i);
            look_up(i);
            if (first_[i] == i || !is_of_rows_[i] || !is_recomputed(i) || is_recomputed(first_[i]) || b.escapes)
                continue;
            kept_[i] = first_[i];
            any = true;
        }
        if (any)
            for (Source& s : p_.source) s.base = kept_[s.base];
        return any;
    }

  private:
    bool is_recomputed(Index i) const { return (p_.node(i).region & kRecomputedRegion) != 0; }

    bool is_of_rows(Index i) const {
        const Base& b = p_.bases[i];
        if (b.kind == Kind::reduction) return count(b.operands[0].layout.shape) >= kShortestRow * count(b.shape);
        bool any = false;
        for (const Source& s : b.operands) {
            if (is_of_rows_[s.base])
                any = true;
            else if (count(p_.bases[s.base].shape) != 1)
                return false;
        }
        return any;
    }

    /// The first base that computes the same, in the same checkpoint or again for it.
    void look_up(Index i) {
        const Node& n = p_.node(i);
        std::uint64_t h = mix(n.region & ~kRecomputedRegion, reinterpret_cast<std::uintptr_t>(n.primitive));
        for (const Source& s : p_.bases[i].operands)
            h = mix(mix(h, p_.constants[s.base] ? 0 : first_[s.base]), static_cast<std::uint64_t>(s.layout.offset));
        auto& alike = seen_[h];
        for (const Index other : alike)
            if (is_same(other, i)) {
                first_[i] = other;
                return;
            }
        alike.push_back(i);
    }

    bool is_same(Index a, Index b) const {
        const Node &m = p_.node(a), &n = p_.node(b);
        const Base &x = p_.bases[a], &y = p_.bases[b];
        return m.primitive == n.primitive && m.dtype == n.dtype && x.shape == y.shape && m.attributes == n.attributes &&
               ((m.region ^ n.region) & ~kRecomputedRegion) == 0 &&
               std::ranges::equal(x.operands, y.operands, [&](const Source& s, const Source& t) {
                   return (first_[s.base] == first_[t.base] || are_one_number(s.base, t.base)) && s.layout == t.layout;
               });
    }

    bool are_one_number(Index a, Index b) const {
        return p_.constants[a] && p_.constants[b] && p_.dtype(a) == p_.dtype(b) && count(p_.bases[a].shape) == 1 &&
               count(p_.bases[b].shape) == 1 &&
               std::memcmp(p_.constants[a]->data(), p_.constants[b]->data(), size_of(p_.dtype(a))) == 0;
    }

    Program& p_;
    std::vector<Index> first_;  // of each base the first that computes the same
    std::vector<Index> kept_;  // what is read in its place
    std::vector<bool> is_of_rows_;
    std::unordered_map<std::uint64_t, std::vector<Index>> seen_;
};

}  // namespace

bool keep_values_of_rows(Program& program) { return Keeper(program).run(); }

}  // namespace tenon::schedule
