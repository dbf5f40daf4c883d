// The ways to compute a product, as rows: each accepts a plan or declines it with a reason. The first row that accepts
// runs, or the one that was tuned or forced; all give the same bits.
#pragma once

#include "base/parallel.h"
#include "product/dense/blocked.h"
#include "product/dense/direct.h"
#include "product/dense/worker.h"
#include "product/float_environment.h"
#include "tenon/threads.h"

namespace tenon::product::dense {

/// Multiply-adds below which a small product, or so many of a batch, is one task.
inline constexpr std::int64_t kDirectWork = 1 << 18;
/// Columns from which reading B in the order of memory is worth keeping the sums in the nearest cache.
inline constexpr std::int64_t kSweepColumns = 128;

template <class In, class Acc>
struct Row {
    const char* name;
    const char* what;
    /// Why not; null where it runs.
    const char* (*declines)(const Plan<In, Acc>&);
    void (*run)(Plan<In, Acc>&, Subnormals);
};

template <class In, class Acc>
bool has_prologue(const Plan<In, Acc>& plan) {
    return plan.prologue_a || plan.prologue_b;
}
inline constexpr const char* kReadsInPlace = "an operand comes through a tape";

template <class In, class Acc>
const char* direct_declines(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (!plan.one_block()) return "k is more than one block";
    if (!direct_form(plan)) return "an operand or the output does not serve where it is, or is too large";
    if (p.batches == 1 && p.m * p.n * p.k >= kDirectWork && num_threads() > 1) return "it is worth several threads";
    return nullptr;
}

template <class In, class Acc>
void run_direct(Plan<In, Acc>& plan, Subnormals subnormals) {
    const Lowered& p = plan.p;
    const DirectBatch<In, Acc> batch(plan, direct_form(plan));
    parallel_for(p.batches, std::max<std::int64_t>(1, kDirectWork / (p.m * p.n * p.k)),
                 [&](std::int64_t begin, std::int64_t end) {
                     const FloatEnvironment environment(subnormals);
                     batch.run(begin, end);
                 });
}

template <class In, class Acc>
bool side_by_side(const Plan<In, Acc>& plan) {
    return plan.p.roles.columns.size == 1 && plan.p.roles.columns.axes[0].b == 1;
}

template <class In, class Acc>
const char* sweep_declines(const Plan<In, Acc>& plan) {
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.p.m > kDotRows) return "more than 4 rows";
    if (!side_by_side(plan)) return "b's columns do not lie side by side";
    // Measured: from 2 rows on, panels of B in place take 0.6 to 0.99 of a sweep's time.
    if (plan.p.m > 1 && plan.b_is_in && plan.kernels->group == 1) return "b serves where it is, for more than one row";
    if (plan.p.n < kSweepColumns) return "fewer than 128 columns";
    return plan.kernels->sweep[static_cast<int>(plan.source_b)][0] ? nullptr : "no kernel for this dtype";
}

template <class In, class Acc>
const char* dot_declines(const Plan<In, Acc>& plan) {
    const AxisList& k = plan.p.roles.summed;
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.p.m > kDotRows) return "more than 4 rows";
    if (k.size != 1 || k.axes[0].b != 1) return "b's columns do not run along k";
    return plan.kernels->dot[static_cast<int>(plan.source_b)][0] ? nullptr : "no kernel for this dtype";
}

template <class In, class Acc>
const char* split_declines(const Plan<In, Acc>& plan) {
    if (plan.segments < 2) return "k is one segment";
    if (num_threads() == 1) return "one thread";
    Plan<In, Acc> copy = plan;
    choose_tasks(copy, num_threads());
    if (const PrologueReasons reasons = prologue_reasons(copy); reasons.a || reasons.b)
        return reasons.a ? reasons.a : reasons.b;
    return copy.split_k ? nullptr : "rows and columns give every thread work, or the sums would take too much memory";
}

/// Segments as tasks: their sums are kept until all are there.
template <class In, class Acc>
void run_split(Plan<In, Acc>& plan, Subnormals subnormals) {
    choose_tasks(plan, num_threads());
    plan.split_k = true;
    const std::int64_t stride = Worker<In, Acc>::tile_size(plan);
    Scratch scratch(static_cast<std::size_t>(plan.tiles() * plan.segments * stride) * sizeof(Acc));
    Acc* sums = reinterpret_cast<Acc*>(scratch.data());
    parallel_for(plan.tiles() * plan.segments, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<In, Acc> worker(plan);
        for (std::int64_t i = begin; i < end; ++i)
            worker.run_segment(tile_at(plan, i / plan.segments), i % plan.segments, sums + i * stride);
    });
    const FloatEnvironment environment(subnormals);
    Worker<In, Acc> worker(plan);
    for (std::int64_t i = 0; i < plan.tiles(); ++i)
        worker.join_and_store(tile_at(plan, i), sums + i * plan.segments * stride, stride);
}

template <class In, class Acc>
const char* blocked_declines(const Plan<In, Acc>& plan) {
    if (!has_prologue(plan)) return nullptr;
    Plan<In, Acc> copy = plan;
    choose_tasks(copy, num_threads());
    const PrologueReasons reasons = prologue_reasons(copy);
    return reasons.a ? reasons.a : reasons.b;
}

template <class In, class Acc>
void run_blocked(Plan<In, Acc>& plan, Subnormals subnormals) {
    choose_tasks(plan, num_threads());
    plan.split_k = false;
    const std::int64_t grain = std::max<std::int64_t>(1, plan.tiles() / (8 * num_threads()));
    parallel_for(plan.tiles(), grain, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<In, Acc> worker(plan);
        for (std::int64_t i = begin; i < end; ++i) worker.run(tile_at(plan, i));
    });
}

template <class In, class Acc>
void run_few(Plan<In, Acc>& plan, Subnormals subnormals, bool sweep) {
    if (sweep)
        plan.sweep = plan.kernels->sweep[static_cast<int>(plan.source_b)];
    else
        plan.dot = plan.kernels->dot[static_cast<int>(plan.source_b)];
    if (!split_declines(plan)) return run_split(plan, subnormals);
    run_blocked(plan, subnormals);
}

template <class In, class Acc>
inline constexpr Row<In, Acc> kRows[kRowCount] = {
    {"direct", "micro-kernels on the operands where they are, or packed whole", direct_declines<In, Acc>,
     run_direct<In, Acc>},
    {"sweep", "few rows, B read once in the order of memory", sweep_declines<In, Acc>,
     [](Plan<In, Acc>& plan, Subnormals s) { run_few(plan, s, true); }},
    {"dot", "few rows, B's columns transposed in registers", dot_declines<In, Acc>,
     [](Plan<In, Acc>& plan, Subnormals s) { run_few(plan, s, false); }},
    {"split", "packed panels, segments of k as tasks", split_declines<In, Acc>, run_split<In, Acc>},
    {"blocked", "packed panels", blocked_declines<In, Acc>, run_blocked<In, Acc>},
};

}  // namespace tenon::product::dense
