// One product whose operands stay in L2: a panel of columns after the other, which all rows of A take where they are.
// The panels were packed by the caller, or each is packed into the nearest cache just before. There is nothing to fetch
// and next to nothing to plan, which is a good part of the time of a few microseconds.
#pragma once

#include <algorithm>

#include "base/caches.h"
#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/dense/direct.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_output.h"
#include "product/float_environment.h"

namespace tenon::product::dense {

/// Whether the plan's product is one of these. Of columns that have to be packed, those of narrow elements: two or four
/// rows of them are combined, which strips do no better.
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
    return set.group > 1 && plan.pack_b && !plan.few_rows() && p.n >= set.standard.nr;
}

/// How many threads' tasks the product makes: shares of the rows if the columns are packed already; otherwise first of
/// the columns, since each share of the rows packs them again.
struct L2Shares {
    std::int64_t rows, columns;
    std::int64_t count() const { return rows * columns; }
};
/// Rows of a share that are worth packing the columns again.
inline constexpr std::int64_t kL2ShareRows = 64;

template <class In, class Acc>
L2Shares l2_shares(const Plan<In, Acc>& plan, std::int64_t row_panels, std::int64_t column_panels) {
    const Lowered& p = plan.p;
    // Shares are short and even: more of them than threads would only be begun more often.
    const std::int64_t wanted = std::clamp<std::int64_t>(p.m * p.n * p.k / kDirectWork, 1, std::max(threads_here(), 1));
    if (plan.packed) {
        const std::int64_t rows = std::min(wanted, row_panels);
        return {rows, std::min(wanted / rows, column_panels)};
    }
    const std::int64_t columns = std::min(wanted, column_panels), least = std::max<std::int64_t>(p.m / kL2ShareRows, 1);
    return {std::min({wanted / columns, row_panels, least}), columns};
}

template <class In, class Acc>
void run_l2_panels(Plan<In, Acc>& plan, Subnormals subnormals) {
    const Lowered& p = plan.p;
    // Short sums too take wide kernels: their calls are next to nothing here.
    plan.family = panels_family(*plan.kernels, p.n, kWideK * plan.kernels->group);
    const std::int64_t nr = plan.family.nr, rest = p.n % nr;
    Direct<In, Acc> d = make_direct<In, Acc>(plan, {OperandAccess::in_place, OperandAccess::packed},
                                             {&plan.family, rest > 0 ? &family_for(plan, rest) : &plan.family},
                                             ceil_div(p.m, plan.family.mr));
    const std::int64_t groups = d.block.kc;
    const PackedB* const b = plan.packed;
    for (Block* block : {&d.block, &d.tail_block}) {
        block->in_cache = true;
        block->ldb = b ? b->nr : nr, block->gap = b && nr > b->nr ? groups * b->nr : 0;
    }
    const std::int64_t pitch = p.roles.summed.axes[0].b;
    // Shorter kernels do not hide it (8-bit integers with k of 128 take 1.01 to 1.02 of the time).
    const PackingKernel<In, Acc>* const packing = packs_groups(plan) && groups >= kWideKOfTwo
                                                      ? plan.kernels->packing_groups[static_cast<int>(plan.source_b)]
                                                      : nullptr;
    Block packing_block = d.block;
    packing_block.ldb = pitch, packing_block.ahead = plan.pack_ahead(pitch);
    using Found = typename Direct<In, Acc>::Found;
    const L2Shares shares = l2_shares(plan, d.panels, plan.panels());
    const auto run = [&](std::int64_t share, const auto& find) {
        const Range panels = part(plan.panels(), shares.columns, share % shares.columns);
        d.by_columns(part(d.panels, shares.rows, share / shares.columns),
                     {panels.begin * nr, std::min(panels.end * nr, p.n)}, static_cast<const In*>(p.a),
                     static_cast<Acc*>(p.out), find);
    };
    parallel_for(shares.count(), 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        if (b) {
            for (std::int64_t i = begin; i < end; ++i)
                run(i, [&](std::int64_t j, std::int64_t, const In*, Acc*) {
                    return Found{reinterpret_cast<const In*>(b->data) + j * groups};
                });
            return;
        }
        Scratch scratch(Scratch::aligned(static_cast<std::size_t>(nr * groups) * sizeof(In)) +
                        static_cast<std::size_t>(p.k + p.n + 32) * 8);
        In* const to = scratch.take<In>(nr * groups);
        auto* const k = scratch.take<std::int64_t>(p.k);
        auto* const lines = scratch.take<std::int64_t>(p.n);
        fill_offsets(p.roles.summed, &Axis::b, 0, p.k, k);
        fill_offsets(p.roles.columns, &Axis::b, 0, p.n, lines);
        for (std::int64_t i = begin; i < end; ++i)
            run(i, [&](std::int64_t j, std::int64_t columns, const In* rows, Acc* sums) {
                if (packing && columns == nr) {
                    const std::int64_t first = part(d.panels, shares.rows, i / shares.columns).begin;
                    packing[d.panel_rows(first) - 1](
                        packing_block, rows, static_cast<const In*>(advance(p.b, lines[j], p.b_type)), to, sums);
                    return Found{to, true};
                }
                plan.pack_b(to, nr, {p.b, lines + j, k, columns, p.k});
                return Found{to};
            });
    });
}

}  // namespace tenon::product::dense
