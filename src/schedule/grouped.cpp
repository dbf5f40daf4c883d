#include "schedule/grouped.h"

#include <algorithm>
#include <optional>

#include "primitive/contract.h"

namespace tenon::schedule {
namespace {

constexpr std::size_t kMost = 8;
/// A walk between two products gives up after so many groups: what they share would have left the cache by then.
constexpr std::size_t kLongestWalk = 64;

class Joiner {
  public:
    Joiner(const Program& p, const Options& options, Groups& groups)
        : p_(p), options_(options), g_(groups), is_result_(results_of(p, groups)), readers_(readers_of(p)) {}

    void run() {
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (p_.bases[i].needed && p_.bases[i].kind == Kind::product && is_contract(p_.node(i)) && !p_.apart[i] &&
                !g_.groups[g_.of[i]].ready && may_pay(i))
                products_.push_back(i);
        if (products_.size() < 2) return;
        find_newest();
        std::vector<Candidate> all;
        for (const Index i : products_)
            for (std::size_t operand = 0; operand <= kSums; ++operand)
                if (const std::size_t size = group_of({i, operand, 0}).size(); size > 1)
                    all.push_back({i, operand, size});
        std::stable_sort(all.begin(), all.end(), [](auto& x, auto& y) { return x.size > y.size; });
        for (const Candidate& c : all) {
            if (!product_of(g_.of[c.product])) continue;  // taken
            if (const auto groups = group_of(c); groups.size() > 1) merge(groups);
        }
        compact(g_);
    }

  private:
    std::optional<Index> product_of(std::uint32_t at) const {
        const Group& g = g_.groups[at];
        if (g.ready || g.members.empty()) return {};
        if (g.has_product) return g.product;
        const Index only = g.members[0];
        if (g.members.size() == 1 && p_.bases[only].kind == Kind::product && is_contract(p_.node(only))) return only;
        return {};
    }

    /// The products that read an operand of one, from it on; or, in place of a third operand, those whose sums its
    /// epilogue reads.
    struct Candidate {
        Index product;
        std::size_t operand, size;
    };
    static constexpr std::size_t kSums = 2;

    std::vector<std::uint32_t> group_of(const Candidate& c) {
        return c.operand == kSums ? summed(c.product) : readers(c.product, p_.bases[c.product].operands[c.operand]);
    }

    /// False, with the reason where another product reads the same, where the cost model knows without the others.
    bool may_pay(Index product) const {
        const char* why =
            options_.ignore_cost ? nullptr : product::grouping_declines(tenon::cost_of(p_.node(product)).flops);
        if (!why) return true;
        for (const Source& s : p_.bases[product].operands)
            for (const Index r : readers_[s.base])
                if (r != product && p_.bases[r].kind == Kind::product && reads_same(r, s))
                    g_.groups[g_.of[product]].ungrouped = why;
        return false;
    }
    bool reads_same(Index product, const Source& s) const {
        const std::vector<Source>& operands = p_.bases[product].operands;
        return std::find(operands.begin(), operands.end(), s) != operands.end();
    }
    bool is_candidate(Index product) const { return std::binary_search(products_.begin(), products_.end(), product); }

    std::vector<std::uint32_t> readers(Index product, const Source& shared) {
        std::vector<std::uint32_t> all{g_.of[product]};
        for (const Index r : readers_[shared.base]) {
            if (r <= product || !is_candidate(r) || !product_of(g_.of[r]) || !reads_same(r, shared)) continue;
            if (std::find(all.begin(), all.end(), g_.of[r]) == all.end()) add(all, g_.of[r]);
        }
        return all;
    }

    std::vector<std::uint32_t> summed(Index product) {
        std::vector<std::uint32_t> all{g_.of[product]};
        for (std::size_t i = 0; i < all.size(); ++i) {
            const Index own = *product_of(all[i]);
            for (const Index m : g_.groups[all[i]].members)
                for (const Source& s : p_.bases[m].operands) {
                    if (m == own || !is_computed(p_.bases[s.base].kind)) continue;
                    const std::uint32_t at = g_.of[s.base];
                    const auto other = product_of(at);
                    if (other && is_candidate(*other) && std::find(all.begin(), all.end(), at) == all.end())
                        add(all, at);
                }
        }
        return all;
    }

    /// Adds one where the products can run together, else it has the reason.
    void add(std::vector<std::uint32_t>& all, std::uint32_t more) {
        if (all.size() == kMost) return;
        std::vector<std::uint32_t> with = all;
        with.push_back(more);
        const char* why = nullptr;
        if (!put_in_order(with))
            why = "one of them waits for another";
        else if (makes_circle(with))
            why = "what one of them gives leads to what another reads, or they are far apart";
        if (!why)
            all = std::move(with);
        else
            g_.groups[more].ungrouped = why;
    }

    /// How a group's product reads what another gives.
    enum class Reads { nothing, by_element, otherwise };
    Reads reads(std::uint32_t at, std::uint32_t from) const {
        const Index product = *product_of(at);
        Reads now = Reads::nothing;
        for (const Index m : g_.groups[at].members)
            for (const Source& s : p_.bases[m].operands) {
                if (!is_computed(p_.bases[s.base].kind) || g_.of[s.base] != from) continue;
                const bool same = m != product && is_whole(p_, s) &&
                                  p_.bases[s.base].shape == p_.bases[product].shape &&
                                  s.layout.shape == p_.bases[product].shape;
                if (!same) return Reads::otherwise;
                now = Reads::by_element;
            }
        return now;
    }

    /// Each after those that it reads; false where that is impossible, or one reads another's elements elsewhere.
    bool put_in_order(std::vector<std::uint32_t>& all) const {
        std::vector<std::uint32_t> done;
        while (!all.empty()) {
            const auto next = std::find_if(all.begin(), all.end(), [&](std::uint32_t at) {
                return std::all_of(all.begin(), all.end(),
                                   [&](std::uint32_t o) { return o == at || reads(at, o) == Reads::nothing; });
            });
            if (next == all.end()) return false;
            for (const std::uint32_t d : done)
                if (reads(*next, d) == Reads::otherwise) return false;
            done.push_back(*next);
            all.erase(next);
        }
        all = std::move(done);
        return true;
    }

    /// Finds a bound for each group: neither it nor any group that it depends on has newer members.
    void find_newest() {
        newest_.assign(g_.groups.size(), 0);
        std::vector<std::uint32_t> stack;
        for (std::uint32_t root = 0; root < g_.groups.size(); ++root) {
            stack.push_back(root);
            while (!stack.empty()) {
                const std::uint32_t at = stack.back();
                if (newest_[at] != 0 || g_.groups[at].members.empty()) {
                    stack.pop_back();
                    continue;
                }
                Index newest = g_.groups[at].members.back() + 1;
                const std::size_t before = stack.size();
                for_operands(at, [&](std::uint32_t from) {
                    if (newest_[from] == 0)
                        stack.push_back(from);
                    else
                        newest = std::max(newest, newest_[from]);
                });
                if (stack.size() > before) continue;
                newest_[at] = newest;
                stack.pop_back();
            }
        }
    }
    template <class F>
    void for_operands(std::uint32_t at, F f) const {
        for (const Index m : g_.groups[at].members)
            for (const Source& s : p_.bases[m].operands)
                if (is_computed(p_.bases[s.base].kind) && g_.of[s.base] != at) f(g_.of[s.base]);
    }

    /// Whether a path leads from one of the groups to another through a third, as far as a short walk tells.
    bool makes_circle(const std::vector<std::uint32_t>& all) {
        const auto is_own = [&](std::uint32_t g) { return std::find(all.begin(), all.end(), g) != all.end(); };
        Index oldest = ~Index{0};
        for (const std::uint32_t g : all) oldest = std::min(oldest, g_.groups[g].members.front());
        std::vector<std::uint32_t> stack;
        seen_.resize(g_.groups.size());
        ++walk_;
        const auto visit = [&](std::uint32_t g) {
            if (is_own(g) || seen_[g] == walk_ || newest_[g] <= oldest) return;
            seen_[g] = walk_;
            stack.push_back(g);
        };
        for (const std::uint32_t g : all) for_operands(g, visit);
        bool circle = false;
        for (std::size_t steps = 0; !stack.empty() && !circle; ++steps) {
            if (steps == kLongestWalk) return true;
            const std::uint32_t at = stack.back();
            stack.pop_back();
            for_operands(at, [&](std::uint32_t from) {
                circle = circle || is_own(from);
                visit(from);
            });
        }
        return circle;
    }

    std::shared_ptr<Draft> drafted(const std::vector<std::uint32_t>& all) const {
        auto d = std::make_shared<Draft>();
        auto grouped = std::make_shared<std::vector<GroupedTask>>();
        std::vector<std::uint32_t> before;
        for (const std::uint32_t at : all) {
            Draft one = draft(p_, g_.groups[at], is_result_);
            const ContractLabels labels = contract_labels(p_.node(*product_of(at)));
            const auto list = [](const AxisLabels& l) { return std::vector<std::uint8_t>(l.label, l.label + l.rank); };
            GroupedTask task{*product_of(at),
                             {list(labels.a), list(labels.b), list(labels.out)},
                             one.task.tape,
                             one.in.size() - 2,
                             false};
            for (const std::uint32_t b : before)
                task.reads_earlier = task.reads_earlier || reads(at, b) != Reads::nothing;
            grouped->push_back(std::move(task));
            d->in.insert(d->in.end(), one.in.begin(), one.in.end());
            d->out.push_back(one.out.at(0));
            d->out_layouts.push_back(one.out_layouts.at(0));
            d->task.nodes.insert(d->task.nodes.end(), one.task.nodes.begin(), one.task.nodes.end());
            before.push_back(at);
        }
        std::sort(d->task.nodes.begin(), d->task.nodes.end());
        d->task.kind = Task::Kind::grouped;
        d->task.node = grouped->back().node;
        d->task.grouped = std::move(grouped);
        d->task.cost = cost_of(p_, d->task.nodes, *d);
        return d;
    }

    const char* declines(const std::shared_ptr<Draft>& d, bool judged) const {
        std::vector<View> in, out;
        for (const Source& s : d->in) {
            in.push_back({nullptr, p_.dtype(s.base), s.layout});
            in.back().layout.offset = 0;
        }
        for (std::size_t i = 0; i < d->out.size(); ++i)
            out.push_back({nullptr, p_.dtype(d->out[i]), d->out_layouts[i]});
        return with_grouped(d->task, in, out, [&](auto group) { return product::grouped_declines(group, judged); });
    }

    /// Merges as many of them, from the first on, as run together.
    void merge(std::vector<std::uint32_t> all) {
        std::shared_ptr<Draft> d = drafted(all);
        while (const char* why = declines(d, !options_.ignore_cost)) {
            g_.groups[all.back()].ungrouped = why;
            all.pop_back();
            if (all.size() == 1) return;
            d = drafted(all);
        }
        for (const std::uint32_t at : all) g_.groups[at].ungrouped = {};
        join(g_, all, std::move(d));
        raise(all);
    }

    /// The bounds of groups that have become one, and of those that read it.
    void raise(const std::vector<std::uint32_t>& all) {
        for (const std::uint32_t at : all) newest_[all[0]] = std::max(newest_[all[0]], newest_[at]);
        std::vector<std::uint32_t> stack{all[0]};
        while (!stack.empty()) {
            const std::uint32_t at = stack.back();
            stack.pop_back();
            for (const Index m : g_.groups[at].members)
                for (const Index r : readers_[m])
                    if (const std::uint32_t next = g_.of[r]; newest_[next] < newest_[at]) {
                        newest_[next] = newest_[at];
                        stack.push_back(next);
                    }
        }
    }

    const Program& p_;
    const Options& options_;
    Groups& g_;
    std::vector<bool> is_result_;
    Lists readers_;
    std::vector<Index> products_, newest_;
    std::vector<std::uint32_t> seen_;
    std::uint32_t walk_ = 0;
};

}  // namespace

void join_grouped(const Program& program, const Options& options, Groups& groups) {
    if (options.grouped) Joiner(program, options, groups).run();
}

}  // namespace tenon::schedule
