#include <algorithm>
#include <optional>
#include <stdexcept>

#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "schedule/alike.h"
#include "schedule/build.h"
#include "schedule/chain.h"
#include "schedule/column_sums.h"
#include "schedule/device_chain.h"
#include "schedule/device_primitives.h"
#include "schedule/grouped.h"
#include "schedule/hidden.h"
#include "schedule/memory.h"
#include "schedule/operands.h"
#include "schedule/order.h"
#include "schedule/prologue.h"
#include "schedule/regroup.h"
#include "schedule/repeats.h"

namespace tenon::schedule {
namespace {

constexpr int kMaxDeclined = 16, kMaxTried = 6;

/// The passes after fusion: groups that run as one task.
void join_tasks(const Program& p, const Options& options, Groups& groups) {
    if (options.verify) verify(p, groups);
    join_chains(p, options, groups);
    if (options.verify) verify(p, groups);
    join_prologues(p, options, groups);
    if (options.verify) verify(p, groups);
    join_grouped(p, options, groups);
    if (options.verify) verify(p, groups);
}

Groups passes(const Program& p, const Options& options) {
    Groups groups = fuse(p, options);
    join_tasks(p, options, groups);
    return groups;
}

/// The groups of a program, and those that they were made from, of the program without most of the layers that repeat.
struct MadeGroups {
    Groups all;
    std::optional<Groups> some;
};

MadeGroups grouped(const Program& p, const Options& options, Repeats& repeats) {
    std::optional<Groups> some;
    const auto of = [&](const Program& program) { return some = passes(program, options); };
    repeats.head = 0;
    if (repeats.layers > 0)
        if (std::optional<Groups> all = group_repeats(p, repeats, of)) {
            if (options.verify) verify(p, *all);
            return {std::move(*all), std::move(some)};
        }
    return {passes(p, options), {}};
}

Options without_fusion(Options o) {
    o.pointwise = o.rows = o.epilogue = o.chain = o.prologue = o.grouped = o.column_sums = false;
    return o;
}

struct Grouping {
    Groups groups;
    Order order;
    Repeats repeats;  // those that the groups were made by
    std::optional<Groups> some;  // of those layers
};

Grouping ordered(const Program& p, const Options& options, Repeats repeats) {
    MadeGroups groups = grouped(p, options, repeats);
    std::optional<Order> order = order_of(p, groups.all);
    if (!order && repeats.layers > 0) {
        // The groups of one layer, used for all, may wait for each other across layers.
        repeats = {};
        groups = grouped(p, options, repeats);
        order = order_of(p, groups.all);
    }
    if (!order) throw std::logic_error("compile: groups in a circle");
    if (options.verify) verify(p, groups.all, order->groups);
    return {std::move(groups.all), std::move(*order), std::move(repeats), std::move(groups.some)};
}

/// The groups that compute the same as one, of operands of the same shapes.
std::vector<std::uint32_t> equal_to(const Program& p, const Groups& g, std::uint32_t at) {
    const auto same = [&](Index a, Index b) {
        return p.node(a).primitive == p.node(b).primitive && p.dtype(a) == p.dtype(b) &&
               p.bases[a].shape == p.bases[b].shape && p.node(a).attributes == p.node(b).attributes;
    };
    std::vector<std::uint32_t> all;
    const std::vector<Index>& members = g.groups[at].members;
    for (std::uint32_t other = 0; other < g.groups.size(); ++other)
        if (std::ranges::equal(members, g.groups[other].members, same)) all.push_back(other);
    return all;
}

/// The fusions that the options allow, without those that raise the peak of memory above that of no fusion: a fused
/// task waits for the operands of the whole task, and all its results are stored from then on.
class Grouper {
  public:
    Grouper(Program& p, const Options& options) : p_(p), options_(options) {}

    Grouping run() {
        p_.apart.assign(p_.bases.size(), false);
        Grouping now = ordered(p_, options_, options_.repeats ? find_repeats(p_) : Repeats{});
        if (now.order.peak <= options_.guarded_bytes) return now;
        const std::int64_t most = peak_without_fusion(p_);
        is_guarded_ = now.order.peak > most;
        for (int i = 0; i < kMaxDeclined && now.order.peak > most; ++i)
            if (!decline_one(now) && !decline_all(now)) break;
        if (now.order.peak > most) now = ordered(p_, without_fusion(options_), now.repeats);
        return now;
    }

    /// Whether groups were split for memory.
    bool is_guarded() const { return is_guarded_; }

  private:
    std::vector<std::uint32_t> fused_at_peak(const Grouping& g) const {
        std::vector<std::uint32_t> all = alive_at_peak(p_, g.groups, g.order);
        std::erase_if(all, [&](std::uint32_t at) { return g.groups.groups[at].members.size() < 2; });
        return all;
    }

    /// Splits one region and those equal to it, since otherwise the next of a network's equal layers would be at the
    /// peak.
    bool decline_one(Grouping& now) {
        std::vector<std::uint32_t> all = fused_at_peak(now);
        for (int i = 0; !all.empty() && i < kMaxTried; ++i) {
            const std::vector<std::uint32_t> equal = equal_to(p_, now.groups, all[0]);
            if (decline(now, equal)) return true;
            std::erase_if(all, [&](std::uint32_t at) { return std::ranges::find(equal, at) != equal.end(); });
        }
        return false;
    }
    bool decline_all(Grouping& now) { return decline(now, fused_at_peak(now)); }

    bool decline(Grouping& now, const std::vector<std::uint32_t>& groups) {
        const std::vector<bool> before = p_.apart;
        for (const std::uint32_t g : groups)
            for (const Index m : now.groups.groups[g].members) p_.apart[m] = true;
        Grouping next = ordered(p_, options_, now.repeats);
        if (next.order.peak < now.order.peak) {
            now = std::move(next);
            return true;
        }
        p_.apart = before;
        return false;
    }

    Program& p_;
    const Options& options_;
    bool is_guarded_ = false;
};

bool is_number(const Task& t, const Node& n) {
    return t.kind == Task::Kind::kernel && (is_run_time_scalar(n) || is_constant(n)) && n.shape.rank() == 0 &&
           t.out.size() == 1 && t.out[0].at.in == Location::In::arena && t.out[0].at.offset == 0;
}

class Compiler {
  public:
    Compiler(const Program& p, const Options& options) : p_(p), options_(options), e_(std::make_unique<Executable>()) {}

    std::unique_ptr<Executable> run(Grouping& g) {
        const std::vector<bool> is_result = results_of(p_, g.groups);
        make_drafts(g, is_result);
        if (options_.column_sums) join_column_sums(p_, g.groups, g.order.groups, is_result, drafts_);
        if (options_.recompute) {
            recompute_intermediates(p_, drafts_);
            join_hidden(p_, drafts_);
        }
        e_->by_memory = g.order.by_memory;
        at_ = plan_memory(p_, drafts_, options_, *e_);
        for (Draft& d : drafts_) bind(d);
        if (p_.graph->device != Device::cpu()) mark_zeros(*e_);
        e_->alike = first_alike(e_->tasks);
        e_->kept.resize(e_->tasks.size());
        add_results();
        count_bytes();
        return std::move(e_);
    }

  private:
    /// Makes the drafts. Those of layers that repeat come from the first of these, which may come last in the order.
    void make_drafts(Grouping& g, const std::vector<bool>& is_result) {
        std::vector<Group>& groups = g.groups.groups;
        std::vector<std::uint32_t> position(groups.size());
        for (std::uint32_t i = 0; i < groups.size(); ++i) position[g.order.groups[i]] = i;
        drafts_.resize(groups.size());
        for (std::uint32_t at = 0; at < groups.size(); ++at) {  // before those that are like it
            Group& group = groups[at];
            Draft& d = drafts_[position[at]];
            if (group.drafted) {
                d = std::move(*group.drafted);
                d.task.apart = group.apart, d.task.before = group.before, d.task.ungrouped = group.ungrouped;
                group.drafted = nullptr;
            } else if (group.like == Group::kNone || group.ready) {
                d = draft(p_, group, is_result);
            } else {
                d = moved(g.repeats, drafts_[position[group.like]], group.layers);
            }
            d.repeated = group.like != Group::kNone;
        }
    }

    Operand operand(Index base, Layout layout) const {
        Operand o{at_[base], {nullptr, p_.dtype(base), {}}};
        o.at.offset += layout.offset * static_cast<std::int64_t>(size_of(o.view.dtype));
        layout.offset = 0;
        o.view.layout = std::move(layout);
        return o;
    }

    void bind(Draft& d) {
        for (const Source& s : d.in) d.task.in.push_back(operand(s.base, s.layout));
        for (std::size_t o = 0; o < d.out.size(); ++o) d.task.out.push_back(operand(d.out[o], d.out_layouts[o]));
        d.task.is_number = is_number(d.task, p_.node(d.task.node));
        e_->regions += !d.repeated;
        e_->tasks.push_back(std::move(d.task));
    }

    void add_results() {
        for (Index i = 0; i < p_.source.size(); ++i) {
            if (!p_.graph->held[i]) continue;
            Operand o = operand(p_.source[i].base, p_.source[i].layout);
            e_->results.push_back({i, o.at, o.view.layout});
        }
    }

    void count_bytes() {
        std::size_t bytes = sizeof(Executable) + e_->results.size() * sizeof(Result) +
                            e_->buffers.size() * sizeof(Buffer) + e_->ends.size() * sizeof(LeafEnd) +
                            e_->receivers.size() * (sizeof(Receiver) + sizeof(std::uint32_t));
        if (e_->spare) bytes += e_->buffers.size() * (sizeof(std::int64_t) + sizeof(std::uint32_t));
        for (const Task& t : e_->tasks)
            bytes += sizeof(Task) + sizeof(tape::CachedPlan) + sizeof(std::uint32_t) +
                     (t.in.size() + t.out.size()) * (sizeof(Operand) + kUsualPackedBytes) +
                     t.nodes.size() * sizeof(Index) + t.tape.code.size() * sizeof(tape::Instruction) +
                     t.rows.code.size() * sizeof(tape::RowTape::Code) +
                     (t.grouped ? t.grouped->size() * sizeof(GroupedTask) : 0) +
                     (t.chain ? sizeof(ChainTask) + t.chain->between.code.size() * sizeof(tape::Instruction) : 0);
        for (const auto& c : e_->constants) bytes += static_cast<std::size_t>(c->bytes());
        e_->bytes = bytes;
    }

    const Program& p_;
    const Options& options_;
    std::unique_ptr<Executable> e_;
    std::vector<Draft> drafts_;
    std::vector<Location> at_;  // by base
};

}  // namespace

std::unique_ptr<Executable> compile(const Graph& graph, const Options& options,
                                    std::shared_ptr<const KeptGroups>* kept) {
    Program p = simplify(graph, options);
    if (options.verify) verify(p);
    Grouper grouper(p, options);
    Grouping groups = grouper.run();
    std::unique_ptr<Executable> e = Compiler(p, options).run(groups);
    if (kept && !grouper.is_guarded())
        *kept = groups.some ? std::make_shared<const KeptGroups>(p, std::move(*groups.some), std::move(groups.repeats))
                            : std::make_shared<const KeptGroups>(p, std::move(groups.groups), Repeats{});
    return e;
}

std::unique_ptr<Executable> compile_again(const Graph& graph, const Options& options, const KeptGroups& kept) {
    Program p = simplify(graph, options);
    if (options.verify) verify(p);
    p.apart.assign(p.bases.size(), false);
    if (!kept.fit(p)) return nullptr;
    const auto of = [&](const Program& program) {
        std::optional<Groups> groups = kept.of(program);
        if (groups) join_tasks(program, options, *groups);
        return groups;
    };
    Repeats repeats = kept.repeats();
    std::optional<Groups> groups = repeats.layers > 0 ? group_repeats(p, repeats, of) : of(p);
    if (!groups) return nullptr;
    if (options.verify) verify(p, *groups);
    std::optional<Order> order = order_of(p, *groups);
    if (!order) return nullptr;
    if (order->peak > options.guarded_bytes && order->peak > peak_without_fusion(p)) return nullptr;
    if (options.verify) verify(p, *groups, order->groups);
    Grouping all{std::move(*groups), std::move(*order), std::move(repeats), {}};
    return Compiler(p, options).run(all);
}

}  // namespace tenon::schedule
