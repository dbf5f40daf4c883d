#include "schedule/hidden.h"

#include <algorithm>
#include <optional>

#include "cuda/chain/hidden.h"
#include "primitive/contract.h"
#include "product/axes.h"
#include "schedule/device_operands.h"

namespace tenon::schedule {

struct HiddenTask {
    cuda::HiddenFunctions functions;
};

namespace {

constexpr std::int64_t kInner = cuda::kHiddenInner, kOuter = cuda::kHiddenOuter;

/// An axis of a product: its extent, and its strides in the operand that has the rows, in the other one and in the
/// result; 0 where it is not there.
struct Want {
    std::int64_t extent, first, second, out;
};
struct Product {
    Want batch, rows, columns, summed;
};

/// A draft that is nothing but a product, rounded, and perhaps then cast to float32.
struct Found {
    std::size_t draft;
    Source first, second;
};

const Want* only(const product::AxisList& axes, bool swapped, Want& room) {
    const product::Axis* one = nullptr;
    for (const product::Axis& x : axes) {
        if (x.extent == 1) continue;
        if (one) return nullptr;
        one = &x;
    }
    if (!one) return nullptr;
    room = {one->extent, swapped ? one->b : one->a, swapped ? one->a : one->b, one->out};
    return &room;
}
bool is(const Want& a, const Want& b) {
    return a.extent == b.extent && a.first == b.first && a.second == b.second && a.out == b.out;
}

bool is_cast(const tape::Tape& t) {
    return t.inputs.size() == 1 && t.code.size() == 1 && t.code[0].op == tape::Opcode::cast;
}

/// Which drafts compute a number from numbers alone: these may come first, so their readers may come anywhere.
std::vector<bool> numbers_in(const Program& p, const std::vector<Draft>& drafts) {
    std::vector<bool> is_given(p.bases.size()), all;  // by what is no number
    for (const Draft& d : drafts) {
        const bool is_number = d.out_layouts.size() == 1 && d.out_layouts[0].count() == 1 &&
                               std::ranges::none_of(d.in, [&](const Source& s) { return is_given[s.base]; });
        for (const Index o : d.out) is_given[o] = !is_number;
        all.push_back(is_number);
    }
    return all;
}

class Joiner {
  public:
    Joiner(const Program& p, std::vector<Draft>& drafts) : p_(p), drafts_(drafts), gone_(drafts.size()) {}

    /// Joins what it can. If any were joined, tasks that compute numbers then come first, so their readers may come
    /// anywhere.
    void run() {
        for (std::size_t i = 0; i < drafts_.size(); ++i) consider(i);
        if (std::ranges::none_of(gone_, [](bool gone) { return gone; })) return;
        std::vector<Draft> all;
        for (const bool numbers : {true, false})
            for (std::size_t i = 0; i < drafts_.size(); ++i)
                if (!gone_[i] && is_number_[i] == numbers) all.push_back(std::move(drafts_[i]));
        drafts_ = std::move(all);
    }

  private:
    /// The axes of a draft that is a product of bfloat16, its operands in either order.
    std::optional<Product> product_of(const Draft& d, bool swapped) const {
        const Task& t = d.task;
        const bool alone = t.kind == Task::Kind::kernel ||
                           (t.kind == Task::Kind::product && !t.prologues && (t.tape.code.empty() || is_cast(t.tape)));
        const Node& n = p_.node(t.node);
        if (!alone || d.in.size() != 2 || d.out.size() != 1 || !is_contract(n) || n.dtype != DType::bfloat16) return {};
        View in[2];
        for (std::size_t k = 0; k < 2; ++k) {
            in[k] = {nullptr, p_.dtype(d.in[k].base), d.in[k].layout};
            if (in[k].dtype != DType::bfloat16 || in[k].layout.offset != 0) return {};
        }
        const ContractLabels l = contract_labels(n);
        const View out{nullptr, n.dtype, Layout::contiguous(n.shape)};
        const product::AxisRoles r = product::assign_roles(in[0], in[1], out, {l.a, l.b, l.out});
        Product p{};
        const auto &rows = swapped ? r.columns : r.rows, &columns = swapped ? r.rows : r.columns;
        if (!only(r.batch, swapped, p.batch) || !only(rows, swapped, p.rows) || !only(columns, swapped, p.columns) ||
            !only(r.summed, swapped, p.summed))
            return {};
        return p;
    }
    std::optional<Found> find(std::size_t at, const Product& want) const {
        for (const bool swapped : {false, true}) {
            const Draft& d = drafts_[at];
            const auto p = product_of(d, swapped);
            if (p && is(p->batch, want.batch) && is(p->rows, want.rows) && is(p->columns, want.columns) &&
                is(p->summed, want.summed))
                return Found{at, d.in[swapped], d.in[!swapped]};
        }
        return {};
    }

    /// Finds which drafts read and compute each base, and which are numbers; done only once a product fits.
    void look_around() {
        if (!readers_.empty()) return;
        readers_.resize(p_.bases.size()), giver_.resize(p_.bases.size());
        is_number_ = numbers_in(p_, drafts_);
        for (std::size_t i = 0; i < drafts_.size(); ++i) note(i);
    }
    void note(std::size_t at) {
        for (const Source& s : drafts_[at].in) {
            std::vector<std::size_t>& all = readers_[s.base];
            const auto place = std::ranges::lower_bound(all, at);
            if (place == all.end() || *place != at) all.insert(place, at);
        }
        for (const Index o : drafts_[at].out) giver_[o] = at;
    }
    void forget(std::size_t at) {
        for (const Source& s : drafts_[at].in) std::erase(readers_[s.base], at);
        for (const Index o : drafts_[at].out) giver_[o].reset();
    }
    const std::vector<std::size_t>& readers_of(Index base) const { return readers_[base]; }

    /// A loop of one result over whole values, each read once, and scalars; the numbers of the inputs that are these.
    bool is_function(const Draft& d, std::span<const Index> of, std::vector<std::size_t>& at) const {
        if (d.task.kind != Task::Kind::tape || d.out.size() != 1 || p_.bases[d.out[0]].escapes) return false;
        at.assign(of.size(), d.in.size());
        for (std::size_t i = 0; i < d.in.size(); ++i) {
            const Source& s = d.in[i];
            const auto which = static_cast<std::size_t>(std::ranges::find(of, s.base) - of.begin());
            if (which < of.size()) {
                if (at[which] != d.in.size() || !is_whole(p_, s)) return false;
                at[which] = i;
            } else if (std::ranges::any_of(s.layout.strides.begin(), s.layout.strides.end(),
                                           [](std::int64_t n) { return n != 0; })) {
                return false;
            }
        }
        return std::ranges::none_of(at, [&](std::size_t i) { return i == d.in.size(); });
    }

    /// The first place among the members' where all that is read is there, but for numbers, if nobody reads a result
    /// before.
    std::optional<std::size_t> place_of(const Draft& d, std::vector<std::size_t> members) const {
        std::ranges::sort(members);
        std::size_t after = 0;
        for (const Source& s : d.in)
            if (const auto from = giver_[s.base]; from && !is_number_[*from] && !std::ranges::count(members, *from))
                after = std::max(after, *from + 1);
        for (const std::size_t at : members) {
            if (at < after) continue;
            for (const Index o : d.out)
                for (const std::size_t r : readers_of(o))
                    if (r < at && !std::ranges::count(members, r)) return {};
            return at;
        }
        return {};
    }

    Draft joined(Task::Kind kind, const std::vector<std::size_t>& members) const {
        Draft d;
        d.task.kind = kind;
        d.task.node = drafts_[members[0]].task.node;
        for (const std::size_t m : members) {
            const Task& t = drafts_[m].task;
            d.task.nodes.insert(d.task.nodes.end(), t.nodes.begin(), t.nodes.end());
            d.task.cost.flops += t.cost.flops;
        }
        std::ranges::sort(d.task.nodes);
        return d;
    }
    void finish(Draft& d, const std::vector<std::size_t>& results) const {
        for (const std::size_t m : results) {
            d.out.push_back(drafts_[m].out[0]);
            d.out_layouts.push_back(drafts_[m].out_layouts[0]);
        }
        d.task.cost.bytes = cost_of(p_, d.task.nodes, d).bytes;
    }
    void put(Draft d, std::size_t at, const std::vector<std::size_t>& members) {
        for (const std::size_t m : members) forget(m), gone_[m] = true;
        gone_[at] = false;
        drafts_[at] = std::move(d);
        note(at);
    }

    /// The inputs of a loop but those that are values: numbers, of which each of `all` stands once. Their places there.
    static std::vector<std::size_t> numbers_of(const Draft& loop, std::initializer_list<std::size_t> values,
                                               std::vector<Source>& all) {
        std::vector<std::size_t> places;
        for (std::size_t i = 0; i < loop.in.size(); ++i) {
            if (std::ranges::count(values, i)) continue;
            const auto at = std::ranges::find_if(all, [&](const Source& s) {
                return s.base == loop.in[i].base && s.layout.offset == loop.in[i].layout.offset;
            });
            places.push_back(static_cast<std::size_t>(at - all.begin()));
            if (at == all.end()) all.push_back(loop.in[i]);
        }
        return places;
    }

    struct Gradients {
        Found of_v, of_z, of_a, of_b;
        std::size_t slope, h, dv;  // the loop, and the inputs that are these
        std::vector<std::size_t> members() const { return {of_v.draft, slope, of_z.draft, of_b.draft, of_a.draft}; }
    };
    /// The gradients of values v, which `of_a` reads.
    std::optional<Gradients> gradients_of(Index h, const Source& z, const Source& b, const Source& a, const Found& of_a,
                                          std::int64_t rows, std::int64_t groups) const {
        Gradients g{};
        g.of_a = of_a;
        const std::int64_t wide = groups * kOuter;
        const auto& again = readers_of(of_a.first.base);
        const auto of_v = std::ranges::find_if(again, [&](std::size_t r) {
            const auto found = find(r, {{groups, rows, kOuter, kOuter},
                                        {rows, 1, 0, wide},
                                        {kOuter, 0, 1, 1},
                                        {kInner, groups * rows, wide, 0}});
            if (found && found->first.base == of_a.first.base && found->second.base == a.base) g.of_v = *found;
            return found && found->second.base == a.base;
        });
        if (of_v == again.end()) return {};
        const Index dv = drafts_[*of_v].out[0];
        const auto& slope = readers_of(dv);
        std::vector<std::size_t> at;
        const Index both[] = {h, dv};
        if (slope.size() != 1 || p_.bases[dv].escapes || !is_function(drafts_[slope[0]], both, at)) return {};
        g.slope = slope[0], g.h = at[0], g.dv = at[1];
        const auto& readers = readers_of(drafts_[g.slope].out[0]);
        if (readers.size() != 2) return {};
        int found = 0;
        for (const std::size_t r : readers) {
            if (const auto of_z = find(r, {{groups, kOuter, kOuter * kInner, kInner * rows},
                                           {rows, wide, 0, 1},
                                           {kInner, 0, 1, rows},
                                           {kOuter, 1, kInner, 0}});
                of_z && of_z->second.base == b.base)
                g.of_z = *of_z, found |= 1;
            if (const auto of_b = find(r, {{groups, kOuter, kInner * rows, kOuter * kInner},
                                           {kOuter, 1, 0, kInner},
                                           {kInner, 0, rows, 1},
                                           {rows, wide, 1, 0}});
                of_b && of_b->second.base == z.base)
                g.of_b = *of_b, found |= 2;
        }
        if (found != 3 || p_.dtype(drafts_[g.of_a.draft].out[0]) != p_.dtype(drafts_[g.of_b.draft].out[0])) return {};
        return g;
    }

    /// A product from whose result hidden values come.
    void consider(std::size_t at) {
        if (gone_[at]) return;
        const auto shape = product_of(drafts_[at], false);
        if (!shape) return;
        const std::int64_t groups = shape->batch.extent;
        std::optional<Found> before;
        std::int64_t rows = 0;
        for (const std::int64_t n : {shape->rows.extent, shape->columns.extent}) {
            const std::int64_t wide = groups * kOuter;
            if (before) break;
            rows = n;
            before = find(at, {{groups, kInner * n, kOuter * kInner, kOuter},
                               {n, 1, 0, wide},
                               {kOuter, 0, kInner, 1},
                               {kInner, n, 1, 0}});
        }
        if (!before || drafts_[at].task.kind != Task::Kind::kernel) return;
        look_around();
        const Index h = drafts_[at].out[0];
        for (const std::size_t value : std::vector(readers_of(h))) {
            std::vector<std::size_t> h_at;
            if (!is_function(drafts_[value], {&h, 1}, h_at)) continue;
            if (join(*before, value, h_at[0], rows, groups)) return;
        }
    }

    bool join(const Found& before, std::size_t value, std::size_t value_h, std::int64_t rows, std::int64_t groups) {
        const std::int64_t wide = groups * kOuter;
        const Index h = drafts_[before.draft].out[0], v = drafts_[value].out[0];
        std::optional<Found> behind, of_a;
        const std::vector<std::size_t>& readers = readers_of(v);
        for (const std::size_t r : readers) {
            if (const auto found = find(r, {{groups, kOuter, kOuter, rows},
                                            {rows, wide, 0, 1},
                                            {kInner, 0, wide, groups * rows},
                                            {kOuter, 1, 1, 0}}))
                behind = found;
            else if (const auto other = find(r, {{groups, rows, kOuter, kOuter},
                                                 {kInner, groups * rows, 0, wide},
                                                 {kOuter, 0, 1, 1},
                                                 {rows, 1, wide, 0}}))
                of_a = other;
        }
        if (!behind || drafts_[behind->draft].task.kind != Task::Kind::kernel ||
            readers.size() != 1u + of_a.has_value())
            return false;
        cuda::HiddenFunctions functions;
        std::vector<Source> numbers;
        functions.value = drafts_[value].task.tape, functions.value_h = value_h;
        functions.value_numbers = numbers_of(drafts_[value], {value_h}, numbers);
        const std::vector<Source> of_value = numbers;
        std::optional<Gradients> g;
        if (of_a) {
            g = gradients_of(h, before.first, before.second, behind->second, *of_a, rows, groups);
            if (!g) return false;
            functions.slope = drafts_[g->slope].task.tape;
            functions.slope_h = g->h, functions.slope_dv = g->dv;
            functions.slope_numbers = numbers_of(drafts_[g->slope], {g->h, g->dv}, numbers);
        }
        if (!cuda::hidden_declines(rows, groups, functions).empty()) return false;
        const auto task = std::make_shared<HiddenTask>(HiddenTask{functions});
        const Source h_whole{h, Layout::contiguous(p_.bases[h].shape)};
        const std::vector<std::size_t> members{before.draft, value, behind->draft};
        Draft forward = joined(Task::Kind::hidden, members);
        forward.task.hidden = task;
        forward.in = {before.first, before.second, behind->second};
        forward.in.insert(forward.in.end(), of_value.begin(), of_value.end());
        if (p_.bases[h].escapes || readers_of(h).size() > 1)
            finish(forward, {before.draft, behind->draft});
        else
            finish(forward, {behind->draft});
        const auto place = place_of(forward, members);
        if (!place) return false;
        if (g) {
            const auto back_members = g->members();
            Draft back = joined(Task::Kind::hidden_gradients, back_members);
            back.task.hidden = task;
            back.in = {of_a->first, before.first, h_whole, before.second, behind->second};
            back.in.insert(back.in.end(), numbers.begin(), numbers.end());
            finish(back, {g->of_z.draft, g->of_a.draft, g->of_b.draft});
            const auto back_place = place_of(back, back_members);
            if (!back_place || *back_place < *place) return false;
            put(std::move(back), *back_place, back_members);
        }
        put(std::move(forward), *place, members);
        return true;
    }

    const Program& p_;
    std::vector<Draft>& drafts_;
    std::vector<bool> gone_;
    std::vector<std::vector<std::size_t>> readers_;  // in order, by base
    std::vector<std::optional<std::size_t>> giver_;  // by base
    std::vector<bool> is_number_;  // by draft, none of which is joined
};

}  // namespace

void join_hidden(const Program& program, std::vector<Draft>& drafts) { Joiner(program, drafts).run(); }

bool is_hidden(const Program& program, std::vector<Draft> product_function_product) {
    join_hidden(program, product_function_product);
    return product_function_product.size() == 1;
}

void run_hidden(cuda::Gpu& gpu, const Task& t, std::span<const View> in, std::span<const View> out) {
    Aligned at(gpu);
    const bool gradients = t.kind == Task::Kind::hidden_gradients;
    const std::size_t operands = gradients ? 5 : 3;
    std::vector<const void*> from, numbers;
    for (const View& v : in.first(operands)) from.push_back(at.operand(v));
    for (const View& v : in.subspan(operands)) numbers.push_back(v.data);
    const std::int64_t groups = in[operands - 2].layout.count() / (kInner * kOuter),
                       rows = in[0].layout.count() / (kInner * groups);
    if (gradients)
        cuda::run(gpu, t.hidden->functions,
                  cuda::HiddenGradients{rows, groups, from[0], from[1], from[2], from[3], from[4], at.result(out[0]),
                                        at.result(out[1]), at.result(out[2]), out[1].dtype, numbers});
    else
        cuda::run(gpu, t.hidden->functions,
                  cuda::HiddenPass{rows, groups, from[0], from[1], from[2],
                                   out.size() > 1 ? at.result(out[0]) : nullptr, at.result(out.back()), numbers});
    at.finish();
}

}  // namespace tenon::schedule
