#include <algorithm>
#include <queue>

#include "base/text.h"
#include "schedule/arena.h"
#include "schedule/build.h"
#include "schedule/chain.h"
#include "schedule/prologue.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

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
        find_lives();
        share_in_place();
        place_buffers();
        for (Draft& d : drafts_) bind(d);
        add_results();
        count_bytes();
        return std::move(e_);
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
            for (const Source& s : drafts_[t].in)
                if (is_computed(p_.bases[s.base].kind)) life_[s.base].last = at;
            for (const Index o : drafts_[t].out) life_[o] = {bytes_of(o), at, at};
        }
    }

    /// A result takes the memory of an operand that is read for the last time, where every read of an element comes
    /// before it is written.
    void share_in_place() {
        if (!options_.in_place || !options_.reuse) return;
        for (std::size_t t = 0; t < drafts_.size(); ++t) {
            const Draft& d = drafts_[t];
            if (d.task.kind != Task::Kind::tape && d.task.kind != Task::Kind::rows) continue;
            std::vector<bool> taken(d.in.size());
            for (std::size_t o = 0; o < d.out.size(); ++o)
                for (std::size_t i = 0; i < d.in.size(); ++i)
                    if (!taken[i] && may_share(d, i, o, static_cast<std::int64_t>(t))) {
                        taken[i] = true;
                        shares_[d.out[o]] = d.in[i].base;
                        break;
                    }
        }
    }

    bool may_share(const Draft& d, std::size_t i, std::size_t o, std::int64_t t) const {
        const Index in = d.in[i].base, out = d.out[o];
        if (!is_computed(p_.bases[in].kind) || p_.bases[in].escapes || p_.bases[out].escapes) return false;
        if (life_[in].last != t || life_[in].bytes != life_[out].bytes || !is_whole(p_, d.in[i])) return false;
        if (size_of(p_.dtype(in)) != size_of(p_.dtype(out)) || d.in[i].layout != d.out_layouts[o]) return false;
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
        std::vector<Lifetime> lives;
        for (const Draft& d : drafts_)
            for (const Index o : d.out) {
                if (p_.bases[o].escapes) {
                    at_[o] = {Location::In::own, static_cast<std::uint32_t>(e_->own.size()), 0};
                    e_->own.push_back(life_[o].bytes);
                    continue;
                }
                const Index of = owner(o);
                if (slot[of] == kNone) {
                    slot[of] = static_cast<std::uint32_t>(lives.size());
                    lives.push_back({life_[of].bytes, life_[of].first, life_[of].last});
                    e_->buffers.push_back({of, life_[of].bytes, 0, 0, 0});
                }
                Lifetime& l = lives[slot[of]];
                l.last = std::max(l.last, life_[o].last);
                slot[o] = slot[of];
            }
        if (!options_.reuse)
            for (Lifetime& l : lives) l.first = 0, l.last = static_cast<std::int64_t>(drafts_.size());
        e_->arena_bytes = place(lives);
        e_->least_bytes = least_bytes(lives);
        for (std::size_t i = 0; i < lives.size(); ++i)
            e_->buffers[i].first = lives[i].first, e_->buffers[i].last = lives[i].last,
            e_->buffers[i].offset = lives[i].offset;
        for (const Draft& d : drafts_)
            for (const Index o : d.out)
                if (!p_.bases[o].escapes) at_[o] = {Location::In::arena, 0, lives[slot[o]].offset};
        for (Index i = 0; i < p_.bases.size(); ++i) {
            if (!p_.bases[i].needed) continue;
            if (p_.bases[i].kind == Kind::leaf) at_[i] = {Location::In::leaf, i, 0};
            if (p_.bases[i].kind == Kind::constant) {
                at_[i] = {Location::In::constant, static_cast<std::uint32_t>(e_->constants.size()), 0};
                e_->constants.push_back(p_.constants[i]);
            }
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
        std::size_t bytes =
            sizeof(Executable) + e_->results.size() * sizeof(Result) + e_->buffers.size() * sizeof(Buffer);
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
    std::vector<Lifetime> life_;  // by base
    std::vector<Index> shares_;  // the base whose memory this one takes
    std::vector<Location> at_;  // by base
};

}  // namespace

std::unique_ptr<Executable> compile(const Graph& graph, const Options& options) {
    const Program p = simplify(graph, options);
    return Compiler(p, options).run();
}

}  // namespace tenon::schedule
