#include "schedule/prologue.h"

#include <algorithm>
#include <optional>

#include "base/caches.h"
#include "product/contract.h"
#include "schedule/digits.h"

namespace tenon::schedule {
namespace {

/// A result that stays in the last level of cache is stored and read again at less cost than a prologue, because a
/// product with a prologue cannot read that operand in place. Two threads of a Zen 4, stored relative to joined: 0.6 to
/// 1.0 of the time for 4 MB, 1.0 to 1.14 for 16 MB; with 16 multiply-adds for each element, 0.86 to 1.05 for 16 MB. One
/// thread of an Emerald Rapids, 12 MB of gelu for 384 columns: 0.90 to 0.96. Both count on 32 MiB.
double cached_bytes() { return static_cast<double>(caches().l3_of_one_core()) * 3 / 8; }
constexpr double kMinUses = 32;

/// Calls f with contract's arguments.
template <class F>
decltype(auto) with_tapes(const Task& t, std::span<const View> in, const View& out, F&& f) {
    const PrologueTask& p = *t.prologues;
    const product::Prologue a{p.a, in.subspan(2, p.a_inputs)}, b{p.b, in.subspan(2 + p.a_inputs, p.b_inputs)};
    const product::Epilogue epilogue{t.tape, in.subspan(2 + p.a_inputs + p.b_inputs)};
    const product::Prologues prologues{p.a.outputs.empty() ? nullptr : &a, p.b.outputs.empty() ? nullptr : &b};
    return f(in[0], in[1], out, product::Labels{p.labels.a, p.labels.b, p.labels.out},
             t.tape.outputs.empty() ? nullptr : &epilogue, prologues);
}

/// The tape, with one of its inputs moved to the front.
tape::Tape with_first(tape::Tape t, std::size_t first) {
    std::rotate(t.inputs.begin(), t.inputs.begin() + static_cast<std::ptrdiff_t>(first),
                t.inputs.begin() + static_cast<std::ptrdiff_t>(first) + 1);
    const auto now = [&](std::uint8_t r) {
        return r == first ? std::uint8_t{0} : r < first ? static_cast<std::uint8_t>(r + 1) : r;
    };
    for (tape::Instruction& code : t.code)
        for (int i = 0; i < tape::arity(code.op); ++i) code.operands[i] = now(code.operands[i]);
    for (std::uint8_t& r : t.outputs) r = now(r);
    return t;
}

/// The work that gives an operand, and how the product reads its result.
struct Work {
    std::uint32_t group;
    Draft draft;
    std::vector<Digits> axes;

    const char* declines(double multiply_adds, DType type) const {
        const auto elements = static_cast<double>(count(draft.out_layouts[0].shape));
        if (elements * static_cast<double>(size_of(type)) <= cached_bytes())
            return "what the work gives stays in cache";
        return multiply_adds < kMinUses * elements ? "too few multiply-adds for each element" : nullptr;
    }
    /// The input that replaces the operand: the first one that does not repeat, if there is one.
    std::size_t stored() const {
        for (std::size_t i = 0; i < draft.in.size(); ++i) {
            const Layout& l = draft.in[i].layout;
            bool repeats = false;
            for (int d = 0; d < l.rank(); ++d) repeats = repeats || (l.strides[d] == 0 && l.shape[d] > 1);
            if (!repeats) return i;
        }
        return 0;
    }
};

class Joiner {
  public:
    Joiner(const Program& p, const Options& options, Groups& groups)
        : p_(p), options_(options), g_(groups), is_result_(results_of(p, groups)), readers_(readers_of(p)) {}

    void run() {
        for (Index i = 0; i < p_.bases.size(); ++i)
            if (p_.bases[i].needed && !p_.apart[i] && p_.bases[i].kind == Kind::product && is_contract(p_.node(i)) &&
                !g_.groups[g_.of[i]].ready)
                consider(i);
        compact(g_);
    }

  private:
    void consider(Index product) {
        const std::uint32_t own = g_.of[product];
        const std::vector<Source>& operands = p_.bases[product].operands;
        if (std::none_of(operands.begin(), operands.end(), [&](const Source& s) { return is_work(s.base); })) return;
        const Draft plain = draft(p_, g_.groups[own], is_result_);
        for (int o = 0; o < 2; ++o)
            if (plain.in[static_cast<std::size_t>(o)].layout.count() == 0) return;
        std::optional<Work> work[2];
        for (std::size_t o = 0; o < 2; ++o) work[o] = work_of(plain, o, own);
        if (!work[0] && !work[1]) return;
        const char* why = nullptr;
        for (const bool both : {true, false})
            for (std::size_t o = 0; o < (both ? 1 : 2); ++o) {
                const Work *a = both || o == 0 ? of(work[0]) : nullptr, *b = both || o == 1 ? of(work[1]) : nullptr;
                if ((both && !(a && b)) || (!a && !b)) continue;
                if (auto joined = join(product, plain, a, b, why)) return merge(own, std::move(joined), a, b);
            }
        g_.groups[own].before = why;
    }
    static const Work* of(const std::optional<Work>& w) { return w ? &*w : nullptr; }

    /// Whether the base is computed by pointwise work.
    bool is_work(Index base) const {
        if (!is_computed(p_.bases[base].kind) || p_.bases[base].escapes) return false;
        const Group& g = g_.groups[g_.of[base]];
        return !g.ready && !g.has_product && !g.domain.by_rows && is_elementwise(p_.bases[g.members[0]].kind);
    }

    /// Empty if the operand is not pointwise work that is done only for this product.
    std::optional<Work> work_of(const Draft& plain, std::size_t operand, std::uint32_t reader) const {
        const Source& read_as = plain.in[operand];
        const Index base = read_as.base;
        if (!is_work(base)) return {};
        const std::uint32_t at = g_.of[base];
        const Group& g = g_.groups[at];
        const auto reads =
            std::count_if(plain.in.begin(), plain.in.end(), [&](const Source& s) { return s.base == base; });
        const std::span<const Index> readers = readers_[base];
        if (reads != 1 ||
            std::any_of(readers.begin(), readers.end(), [&](Index r) { return g_.of[r] != at && g_.of[r] != reader; }))
            return {};
        Draft d = draft(p_, g, is_result_);
        if (d.out.size() != 1 || d.task.tape.code.empty()) return {};
        auto axes = read(digits_of(d.out_layouts[0].shape), read_as.layout);
        if (!axes) return {};
        return Work{at, std::move(d), std::move(*axes)};
    }

    std::shared_ptr<Draft> join(Index product, const Draft& plain, const Work* a, const Work* b,
                                const char*& why) const {
        const ContractLabels labels = contract_labels(p_.node(product));
        Relabelled parts;
        const auto refuse = [&](const char* reason) {
            why = reason;
            return nullptr;
        };
        for (const auto& [work, of] : {std::pair(a, &labels.a), std::pair(b, &labels.b)})
            if (work)
                for (std::size_t i = 0; i < of->rank; ++i)
                    if (!parts.add(of->label[i], work->axes[i])) return refuse("both operands split an axis");
        parts.add_others(labels.a, plain.in[0].layout.shape);
        parts.add_others(labels.b, plain.in[1].layout.shape);
        for (const AxisLabels* l : {&labels.a, &labels.b, &labels.out})
            if (!parts.fits(*l)) return refuse("an operand would have too many axes");
        auto d = std::make_shared<Draft>();
        auto task = std::make_shared<PrologueTask>();
        task->labels = {parts.labels(labels.a), parts.labels(labels.b), parts.labels(labels.out)};
        std::vector<Source> more;
        const auto add = [&](const Work* work, std::size_t o, const AxisLabels& of, tape::Tape& tape,
                             std::size_t& inputs) {
            if (!work) return d->in.push_back({plain.in[o].base, parts.layout(of, plain.in[o].layout)});
            const std::size_t stored = work->stored();
            tape = with_first(work->draft.task.tape, stored);
            const Digits order = joined(work->axes);
            for (std::size_t i = 0; i < work->draft.in.size(); ++i) {
                const Source s = Side(work->draft.in[i], axes_of(*work)).under(order);
                if (i == stored)
                    d->in.push_back(s);
                else
                    more.push_back(s), ++inputs;
            }
        };
        add(a, 0, labels.a, task->a, task->a_inputs);
        add(b, 1, labels.b, task->b, task->b_inputs);
        d->in.insert(d->in.end(), more.begin(), more.end());
        for (std::size_t i = 2; i < plain.in.size(); ++i)
            d->in.push_back({plain.in[i].base, parts.layout(labels.out, plain.in[i].layout)});
        d->out = plain.out;
        d->out_layouts = {parts.layout(labels.out, Layout::contiguous(p_.bases[product].shape))};
        d->task.kind = Task::Kind::product;
        d->task.node = product;
        d->task.nodes = plain.task.nodes;
        for (const Work* w : {a, b})
            if (w) d->task.nodes.insert(d->task.nodes.end(), w->draft.task.nodes.begin(), w->draft.task.nodes.end());
        std::sort(d->task.nodes.begin(), d->task.nodes.end());
        d->task.alone = plain.task.alone;
        d->task.apart = plain.task.apart;
        d->task.tape = plain.task.tape;
        d->task.prologues = std::move(task);
        d->task.cost = cost_of(p_, d->task.nodes, *d);
        if (options_.ignore_cost) return d;
        const double multiply_adds = tenon::cost_of(p_.node(product)).flops / 2;
        for (const auto& [work, o] : {std::pair(a, 0), std::pair(b, 1)})
            if (work)
                if (const char* declined =
                        work->declines(multiply_adds, p_.dtype(plain.in[static_cast<std::size_t>(o)].base)))
                    return refuse(declined);
        if (const char* declined = declines(*d)) return refuse(declined);
        return d;
    }
    /// The digits of the work's own axes, split as the product reads them.
    static std::vector<Digits> axes_of(const Work& w) {
        Layout own = Layout::contiguous(w.draft.out_layouts[0].shape);
        std::vector<Digits> axes(static_cast<std::size_t>(own.rank()));
        Digits all = joined(w.axes);
        std::sort(all.begin(), all.end(), [](const Digit& x, const Digit& y) { return x.z > y.z; });
        for (const Digit& d : all)
            for (int i = 0; i < own.rank(); ++i)
                if (own.shape[i] != 1 && own.strides[i] <= d.z && d.z < own.strides[i] * own.shape[i])
                    axes[static_cast<std::size_t>(i)].push_back(d);
        return axes;
    }

    const char* declines(const Draft& d) const {
        std::vector<View> in;
        for (const Source& s : d.in) {
            in.push_back({nullptr, p_.dtype(s.base), s.layout});
            in.back().layout.offset = 0;
        }
        return with_tapes(d.task, in, View{nullptr, p_.dtype(d.out[0]), d.out_layouts[0]},
                          [](auto&&... call) { return product::prologues_decline(call...); });
    }

    void merge(std::uint32_t own, std::shared_ptr<Draft> joined, const Work* a, const Work* b) {
        std::vector<std::uint32_t> all{own};
        for (const Work* w : {a, b})
            if (w) all.push_back(w->group);
        schedule::join(g_, all, std::move(joined));
    }

    const Program& p_;
    const Options& options_;
    Groups& g_;
    std::vector<bool> is_result_;
    Lists readers_;
};

}  // namespace

void join_prologues(const Program& program, const Options& options, Groups& groups) {
    if (options.prologue) Joiner(program, options, groups).run();
}

product::WayName way_with_prologues(const Task& t, std::span<const View> in, const View& out) {
    return with_tapes(t, in, out, [](auto&&... call) { return product::way_of(call...); });
}

void run_with_prologues(const Task& t, std::span<const View> in, const View& out) {
    with_tapes(t, in, out,
               [](const View& a, const View& b, const View& to, const product::Labels& labels,
                  const product::Epilogue* epilogue, const product::Prologues& prologues) {
                   product::contract(a, b, to, labels, {}, epilogue, prologues);
               });
}

}  // namespace tenon::schedule
