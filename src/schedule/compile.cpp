#include <algorithm>
#include <queue>

#include "schedule/build.h"
#include "schedule/chain.h"
#include "schedule/memory.h"
#include "schedule/prologue.h"

namespace tenon::schedule {
namespace {

/// Groups in an order in which operands come first; of those that may run, the one that was recorded first. A
/// checkpoint's second computation so stays beside its reader.
std::vector<std::uint32_t> order_of(const Program& p, const Groups& g) {
    std::vector<std::vector<std::uint32_t>> readers(g.groups.size());
    std::vector<std::size_t> waits(g.groups.size());
    for (std::uint32_t at = 0; at < g.groups.size(); ++at) {
        std::vector<std::uint32_t> from;
        for (const Index m : g.groups[at].members)
            for (const Source& s : p.bases[m].operands)
                if (is_computed(p.bases[s.base].kind) && g.of[s.base] != at) from.push_back(g.of[s.base]);
        std::sort(from.begin(), from.end());
        from.erase(std::unique(from.begin(), from.end()), from.end());
        waits[at] = from.size();
        for (const std::uint32_t f : from) readers[f].push_back(at);
    }
    const auto later = [&](std::uint32_t a, std::uint32_t b) {
        return g.groups[a].members.back() > g.groups[b].members.back();
    };
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(later)> ready(later);
    for (std::uint32_t at = 0; at < g.groups.size(); ++at)
        if (waits[at] == 0) ready.push(at);
    std::vector<std::uint32_t> order;
    while (!ready.empty()) {
        const std::uint32_t at = ready.top();
        ready.pop();
        order.push_back(at);
        for (const std::uint32_t r : readers[at])
            if (--waits[r] == 0) ready.push(r);
    }
    if (order.size() != g.groups.size()) throw std::logic_error("compile: groups in a circle");
    return order;
}

class Compiler {
  public:
    Compiler(const Program& p, const Options& options) : p_(p), options_(options), e_(std::make_unique<Executable>()) {}

    std::unique_ptr<Executable> run() {
        Groups groups = fuse(p_, options_);
        join_chains(p_, options_, groups);
        join_prologues(p_, options_, groups);
        const std::vector<bool> is_result = results_of(p_, groups);
        for (const std::uint32_t at : order_of(p_, groups)) drafts_.push_back(draft(p_, groups.groups[at], is_result));
        at_ = plan_memory(p_, drafts_, options_, *e_);
        for (Draft& d : drafts_) bind(d);
        add_results();
        count_bytes();
        return std::move(e_);
    }

  private:
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
            bytes += sizeof(Task) + (t.in.size() + t.out.size()) * sizeof(Operand) + t.nodes.size() * sizeof(Index) +
                     t.tape.code.size() * sizeof(tape::Instruction) + t.rows.code.size() * sizeof(tape::RowTape::Code) +
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

std::unique_ptr<Executable> compile(const Graph& graph, const Options& options) {
    const Program p = simplify(graph, options);
    return Compiler(p, options).run();
}

}  // namespace tenon::schedule
