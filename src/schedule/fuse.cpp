#include "schedule/fuse.h"

#include <algorithm>

#include "base/text.h"
#include "primitive/primitive.h"
#include "product/epilogue.h"
#include "schedule/build.h"
#include "schedule/domain.h"

namespace tenon::schedule {
namespace {

constexpr std::size_t kMaxMembers = 96;
constexpr std::size_t kMaxOperands = 48;
/// A walk between two groups gives up after this many groups: what they share would have left the cache by then.
constexpr std::size_t kLongestWalk = 256;

class Fuser {
  public:
    Fuser(const Program& p, const Options& options) : p_(p), options_(options), readers_(readers_of(p)) {
        g_.of.resize(p.bases.size());
        for (Index i = 0; i < p.bases.size(); ++i) {
            const Base& b = p.bases[i];
            if (!b.needed || !is_computed(b.kind)) continue;
            g_.of[i] = static_cast<std::uint32_t>(g_.groups.size());
            Group group;
            group.members = {i};
            if (p.apart[i]) group.alone = "fused, the peak of memory would be higher than without fusion";
            if (auto domain = domain_of(p, group.members)) group.domain = std::move(*domain);
            g_.groups.push_back(std::move(group));
            newest_.push_back(i);
        }
    }

    Groups run() {
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (p_.bases[i].needed && joins(i)) join_operands(i);
        for (std::uint32_t at = 0; at < g_.groups.size(); ++at) move_to_readers(at);
        if (options_.epilogue)
            for (Index i = 0; i < p_.bases.size(); ++i)
                if (p_.bases[i].needed && p_.bases[i].kind == Kind::product) give_epilogue(i);
        compact(g_);
        return std::move(g_);
    }

  private:
    bool joins(Index i) const {
        if (p_.apart[i]) return false;
        const Kind k = p_.bases[i].kind;
        if (is_elementwise(k)) return options_.pointwise;
        return k == Kind::reduction && options_.rows;
    }
    std::uint32_t group_of(Index base) const { return g_.of[base]; }

    void join_operands(Index i) {
        for (const Source& s : p_.bases[i].operands) {
            if (!is_computed(p_.bases[s.base].kind) || !joins(s.base)) continue;
            if (group_of(s.base) != group_of(i)) join(group_of(s.base), group_of(i));
        }
    }

    void join(std::uint32_t producer, std::uint32_t consumer) {
        Group &a = g_.groups[producer], &b = g_.groups[consumer];
        if (a.members.size() + b.members.size() > kMaxMembers) return refuse(b, "the region would be too long");
        std::vector<Index> all;
        std::merge(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(), std::back_inserter(all));
        std::string_view why;
        auto domain = domain_of(p_, all, &why);
        if (!domain) return refuse(b, why);
        if (domain->by_rows && !options_.rows) return refuse(b, "fusing rows is switched off");
        if (keeps_recomputed(all)) return refuse(b, "it is computed again, when it is needed");
        if (operands_of(all) > kMaxOperands) return refuse(b, "the region would read too much");
        if (reaches(producer, consumer))
            return refuse(b, "something between them is computed apart, or they are far apart");
        for (const Index m : a.members) g_.of[m] = consumer;
        b.members = std::move(all);
        b.domain = std::move(*domain);
        a.members.clear();
        raise(consumer, newest_[producer]);
    }

    /// Lets a group know of a newer base that it depends on, and the groups that read it.
    void raise(std::uint32_t group, Index newest) {
        newest_[group] = std::max(newest_[group], newest);
        std::vector<std::uint32_t> stack{group};
        while (!stack.empty()) {
            const std::uint32_t at = stack.back();
            stack.pop_back();
            for (const Index m : g_.groups[at].members)
                for (const Index r : readers_[m]) {
                    const std::uint32_t next = group_of(r);
                    if (next == at || newest_[next] >= newest_[at]) continue;
                    newest_[next] = newest_[at];
                    stack.push_back(next);
                }
        }
    }

    /// Whether a region would compute something that a checkpoint computes again, together with its operands, and so
    /// long before it is needed.
    bool keeps_recomputed(const std::vector<Index>& members) const {
        const auto is_recomputed = [&](Index m) { return (p_.node(m).region & kRecomputedRegion) != 0; };
        return std::ranges::any_of(members, [&](Index m) {
            return is_recomputed(m) && std::ranges::any_of(p_.bases[m].operands, [&](const Source& s) {
                       return is_computed(p_.bases[s.base].kind) && !is_recomputed(s.base) &&
                              std::binary_search(members.begin(), members.end(), s.base);
                   });
        });
    }

    static void refuse(Group& g, std::string_view why) { g.alone = why; }

    /// Moves members that only one other group reads, and that could not be joined with it, to that group if less is
    /// stored then: gelu's factors to the gradient, which reads gelu's operand instead of them. No task waits longer,
    /// since the other group waits for this one either way.
    void move_to_readers(std::uint32_t at) {
        if (g_.groups[at].members.size() < 2) return;
        std::vector<std::uint32_t> readers;
        for (const Index m : g_.groups[at].members)
            for (const Index r : readers_[m])
                if (const std::uint32_t to = group_of(r); to != at && joins(r)) readers.push_back(to);
        std::sort(readers.begin(), readers.end());
        readers.erase(std::unique(readers.begin(), readers.end()), readers.end());
        for (const std::uint32_t to : readers) move_to_reader(at, to);
    }

    void move_to_reader(std::uint32_t at, std::uint32_t to) {
        Group &g = g_.groups[at], &reader = g_.groups[to];
        // Readers come after what they read.
        std::vector<Index> moved, left;
        const auto is_moved = [&](Index m) { return std::find(moved.begin(), moved.end(), m) != moved.end(); };
        for (auto m = g.members.rbegin(); m != g.members.rend(); ++m) {
            const bool moves = !p_.bases[*m].escapes && std::ranges::all_of(readers_[*m], [&](Index r) {
                return group_of(r) == to || is_moved(r);
            });
            (moves ? moved : left).push_back(*m);
        }
        if (moved.empty() || left.empty() || !stores_less(g, moved, left)) return;
        std::reverse(moved.begin(), moved.end()), std::reverse(left.begin(), left.end());
        std::vector<Index> all;
        std::merge(moved.begin(), moved.end(), reader.members.begin(), reader.members.end(), std::back_inserter(all));
        auto domain = domain_of(p_, all), rest = domain_of(p_, left);
        if (!domain || !rest || all.size() > kMaxMembers || operands_of(all) > kMaxOperands) return;
        if (keeps_recomputed(all)) return;
        for (const Index m : moved) g_.of[m] = to;
        g.members = std::move(left), reader.members = std::move(all);
        g.domain = std::move(*rest), reader.domain = std::move(*domain);
    }

    /// Whether what a group stores when some of its members are left out is smaller than what it stores of these.
    bool stores_less(const Group& g, const std::vector<Index>& moved, const std::vector<Index>& left) const {
        const auto bytes = [&](Index m) {
            return static_cast<double>(count(p_.bases[m].shape)) * static_cast<double>(size_of(p_.dtype(m)));
        };
        double less = 0;
        for (const Index m : moved) less += is_output(g, m) ? bytes(m) : 0;
        for (const Index m : left) {
            const bool is_read = std::ranges::any_of(
                readers_[m], [&](Index r) { return std::find(moved.begin(), moved.end(), r) != moved.end(); });
            if (is_read && !is_output(g, m)) less -= bytes(m);
        }
        return less > 0;
    }

    std::size_t operands_of(const std::vector<Index>& members) const {
        std::size_t n = 0;
        for (const Index m : members) {
            for (const Source& s : p_.bases[m].operands)
                n += !std::binary_search(members.begin(), members.end(), s.base);
            n += p_.bases[m].escapes;
        }
        return n;
    }

    /// Whether a path leads from one group to another through a third, or may do so as far as a walk of limited length
    /// can tell.
    bool reaches(std::uint32_t from, std::uint32_t to) {
        const Index oldest = g_.groups[from].members.front();
        std::vector<std::uint32_t>& stack = begin_walk();
        visit(to);
        for (std::size_t steps = 0; !stack.empty(); ++steps) {
            if (steps == kLongestWalk) return true;
            const std::uint32_t at = stack.back();
            stack.pop_back();
            const Group& g = g_.groups[at];
            for (const Index m : g.members) {
                for (const Source& s : p_.bases[m].operands) {
                    if (!is_computed(p_.bases[s.base].kind)) continue;
                    const std::uint32_t next = group_of(s.base);
                    if (next == from && at != to) return true;
                    if (next == from || newest_[next] < oldest) continue;
                    visit(next);
                }
            }
        }
        return false;
    }

    std::vector<std::uint32_t>& begin_walk() {
        stack_.clear();
        seen_.resize(g_.groups.size());
        ++walk_;
        return stack_;
    }
    void visit(std::uint32_t group) {
        if (seen_[group] == walk_) return;
        seen_[group] = walk_;
        stack_.push_back(group);
    }

    bool outside(const Group& g, Index base) const {
        return !std::binary_search(g.members.begin(), g.members.end(), base);
    }

    bool is_output(const Group& g, Index m) const {
        return p_.bases[m].escapes ||
               std::any_of(readers_[m].begin(), readers_[m].end(), [&](Index r) { return outside(g, r); });
    }

    /// Finds the epilogue of a product: the whole group of its readers if that has one result, otherwise the members
    /// that lead from the product to a result of the group with no other reader on the way.
    void give_epilogue(Index product) {
        const Node& n = p_.node(product);
        if (!n.primitive->run_with_epilogue || p_.bases[product].escapes || readers_[product].empty()) return;
        if (p_.apart[product] || p_.apart[readers_[product].front()]) return;
        const std::uint32_t at = group_of(readers_[product].front());
        Group& g = g_.groups[at];
        if (g.has_product || g.domain.by_rows || !is_elementwise(p_.bases[g.members[0]].kind)) return;
        if (std::any_of(readers_[product].begin(), readers_[product].end(), [&](Index r) { return outside(g, r); }))
            return;
        std::vector<Index> all = g.members;
        const auto outputs = std::count_if(all.begin(), all.end(), [&](Index m) { return is_output(g, m); });
        if (outputs != 1 || !fits(product, g, all)) all = chain_of(product, g);
        if (all.empty() || makes_circle(g, all, product)) return;
        split(at, all, product);
    }

    std::vector<Index> chain_of(Index product, const Group& g) const {
        std::vector<Index> chain;
        for (Index next = product; next == product || !is_output(g, next); next = chain.back()) {
            const std::span<const Index> readers = readers_[next];
            const bool one = std::all_of(readers.begin(), readers.end(), [&](Index r) { return r == readers[0]; });
            if (!one || p_.bases[readers[0]].kind != Kind::pointwise) return {};
            chain.push_back(readers[0]);
            if (!fits(product, g, chain)) return {};
        }
        return chain;
    }

    /// Whether a part of the group may be the product's epilogue: it reads nothing of the rest.
    bool fits(Index product, const Group& g, const std::vector<Index>& chain) const {
        const auto is_in = [&](Index b) { return std::find(chain.begin(), chain.end(), b) != chain.end(); };
        for (const Index m : chain)
            for (const Source& s : p_.bases[m].operands)
                if (s.base != product && !is_in(s.base) && !outside(g, s.base)) return false;
        return fits_product(p_, product, chain);
    }

    /// The chain's other operands must not depend on the product's group's rest.
    bool makes_circle(const Group& g, const std::vector<Index>& chain, Index product) {
        for (const Index m : chain)
            for (const Source& s : p_.bases[m].operands)
                if (s.base != product && is_computed(p_.bases[s.base].kind) && outside(g, s.base) &&
                    depends(s.base, product))
                    return true;
        return false;
    }

    bool depends(Index base, Index on) {
        std::vector<std::uint32_t>& stack = begin_walk();
        visit(group_of(base));
        while (!stack.empty()) {
            const Group& g = g_.groups[stack.back()];
            stack.pop_back();
            if (g.has_product && g.product == on) return true;
            for (const Index m : g.members) {
                if (m == on) return true;
                for (const Source& s : p_.bases[m].operands) {
                    if (!is_computed(p_.bases[s.base].kind)) continue;
                    const std::uint32_t next = group_of(s.base);
                    if (newest_[next] >= on) visit(next);
                }
            }
        }
        return false;
    }

    void split(std::uint32_t at, const std::vector<Index>& chain, Index product) {
        const std::uint32_t with = group_of(product);
        Group& g = g_.groups[at];
        std::erase_if(g.members, [&](Index m) { return std::find(chain.begin(), chain.end(), m) != chain.end(); });
        Group& p = g_.groups[with];
        p.has_product = true;
        p.product = product;
        p.domain = {false, p_.bases[product].shape};
        for (const Index m : chain) {
            p.members.push_back(m);
            g_.of[m] = with;
        }
        std::sort(p.members.begin(), p.members.end());
        raise(with, newest_[at]);
        if (g.members.empty()) return;
        if (auto domain = domain_of(p_, g.members)) g.domain = std::move(*domain);
    }

    const Program& p_;
    const Options& options_;
    Lists readers_;
    /// A bound for each group: none of its members, nor of those of any group that it depends on, is newer. (A group
    /// may hold a base that is older than what another of its members depends on.)
    std::vector<Index> newest_;
    std::vector<std::uint32_t> stack_, seen_;  // of a walk through groups, and the walk that was last at each
    std::uint32_t walk_ = 0;
    Groups g_;
};

}  // namespace

std::vector<bool> results_of(const Program& p, const Groups& g) {
    std::vector<bool> is_result(p.bases.size());
    for (Index i = 0; i < p.bases.size(); ++i) {
        const Base& b = p.bases[i];
        if (!b.needed || !is_computed(b.kind)) continue;
        if (b.escapes) is_result[i] = true;
        for (const Source& s : b.operands)
            if (is_computed(p.bases[s.base].kind) && g.of[s.base] != g.of[i]) is_result[s.base] = true;
    }
    return is_result;
}

Lists readers_of(const Program& p) {
    return {p.bases.size(), [&](auto&& add) {
                for (Index i = 0; i < p.bases.size(); ++i)
                    if (p.bases[i].needed && is_computed(p.bases[i].kind))
                        for (const Source& s : p.bases[i].operands) add(s.base, i);
            }};
}

bool fits_product(const Program& p, Index product, std::span<const Index> members) {
    const Shape& shape = p.bases[product].shape;
    std::vector<const Source*> more;
    for (const Index m : members) {
        if (p.bases[m].shape != shape) return false;
        for (const Source& s : p.bases[m].operands) {
            if (s.base == product || std::find(members.begin(), members.end(), s.base) != members.end()) {
                if (!is_whole(p, s)) return false;
                continue;
            }
            if (std::none_of(more.begin(), more.end(), [&](const Source* o) { return *o == s; })) more.push_back(&s);
        }
    }
    return more.size() <= std::size_t{product::kMaxEpilogueInputs};
}

void join(Groups& groups, std::span<const std::uint32_t> some, std::shared_ptr<const Draft> ready) {
    Group& first = groups.groups[some[0]];
    std::vector<Group> parts{first};
    for (const std::uint32_t at : some.subspan(1)) {
        parts.push_back(groups.groups[at]);
        groups.groups[at].members.clear();
    }
    first.members = ready->task.nodes;
    for (const Index m : first.members) groups.of[m] = some[0];
    first.parts = std::move(parts), first.ready = std::move(ready), first.drafted = nullptr;
}

void compact(Groups& groups) {
    std::vector<Group> kept;
    for (Group& g : groups.groups) {
        if (g.members.empty()) continue;
        for (const Index m : g.members) groups.of[m] = static_cast<std::uint32_t>(kept.size());
        kept.push_back(std::move(g));
    }
    groups.groups = std::move(kept);
}

Groups fuse(const Program& program, const Options& options) { return Fuser(program, options).run(); }

}  // namespace tenon::schedule
