// One product whose operands stay in L2: a panel of columns after the other, which all rows of A take where they are.
// The panels were packed by the caller, or each is packed into the nearest cache just before. There is nothing to fetch
// and next to nothing to plan, which is a good part of the time of a few microseconds.
#pragma once

#include "base/caches.h"
#include "product/dense/direct.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"

namespace tenon::product::dense {

/// Whether the plan's product is one of these. Of columns that have to be packed, bytes: four rows of them are
/// combined, which strips do no better.
template <class In, class Acc>
bool takes_l2_panels(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    const KernelSet<In, Acc>& set = *plan.kernels;
    if (p.batches != 1 || p.k == 0 || !plan.one_block() || !plan.in_output) return false;
    if (plan.part != Part::whole || plan.symmetric != Part::whole || plan.prologue_a || plan.prologue_b) return false;
    if (r.rows.size > 1 || r.columns.size > 1 || r.summed.size != 1 || r.summed.axes[0].a != 1) return false;
    if (!plan.a_is_in || PackedB::rows(p.k, set.group, plan.pairs) * set.group != p.k) return false;
    if (2 * direct_bytes(p) > caches().l2) return false;
    if (plan.packed) return !plan.widen && plan.packed->group == set.group && plan.packed->nr == set.standard.nr;
    return set.group == 4 && plan.pack_b && !plan.few_rows() && p.n >= set.standard.nr;
}

template <class In, class Acc>
void run_l2_panels(Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    // Short sums too take wide kernels: their calls are next to nothing here.
    plan.family = panels_family(*plan.kernels, p.n, kWideK * plan.kernels->group);
    const std::int64_t nr = plan.family.nr, rest = p.n % nr;
    Direct<In, Acc> d = make_direct<In, Acc>(plan, {OperandAccess::in_place, OperandAccess::packed},
                                             {&plan.family, rest > 0 ? &family_for(plan, rest) : &plan.family},
                                             ceil_div(p.m, plan.family.mr));
    const std::int64_t groups = d.block.kc;
    const auto run = [&](std::int64_t pitch, std::int64_t gap, const auto& find) {
        for (Block* block : {&d.block, &d.tail_block}) block->ldb = pitch, block->gap = gap, block->in_cache = true;
        d.by_columns(static_cast<const In*>(p.a), static_cast<Acc*>(p.out), find);
    };
    if (plan.packed) {
        const PackedB& b = *plan.packed;
        return run(b.nr, nr > b.nr ? groups * b.nr : 0,
                   [&](std::int64_t j, std::int64_t) { return reinterpret_cast<const In*>(b.data) + j * groups; });
    }
    Scratch scratch(Scratch::aligned(static_cast<std::size_t>(nr * groups) * sizeof(In)) +
                    static_cast<std::size_t>(p.k + p.n + 32) * 8);
    In* const to = scratch.take<In>(nr * groups);
    auto* const k = scratch.take<std::int64_t>(p.k);
    auto* const lines = scratch.take<std::int64_t>(p.n);
    fill_offsets(p.roles.summed, &Axis::b, 0, p.k, k);
    fill_offsets(p.roles.columns, &Axis::b, 0, p.n, lines);
    run(nr, 0, [&](std::int64_t j, std::int64_t columns) {
        plan.pack_b(to, nr, {p.b, lines + j, k, columns, p.k});
        return to;
    });
}

}  // namespace tenon::product::dense
