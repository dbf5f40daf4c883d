// The ways to compute a product, as rows of a table. Each accepts a plan or declines it with a reason, and counts its
// work, from which its time is estimated (cost.h). A tuned or forced way runs; otherwise the first that accepts. If
// that is a way for few rows, a later one whose estimate is clearly lower runs instead. All give the same bits.
#pragma once

#include "base/parallel.h"
#include "base/thread_count.h"
#include "product/dense/blocked.h"
#include "product/dense/cost.h"
#include "product/dense/direct_batch.h"
#include "product/dense/interleaved.h"
#include "product/dense/l2_panels.h"
#include "product/dense/widened_batch.h"
#include "product/dense/worker.h"
#include "product/float_environment.h"
#include "product/rank_update.h"

namespace tenon::product::dense {

/// Columns from which it pays to read B in memory order and keep all sums in the nearest cache.
inline constexpr std::int64_t kSweepColumns = 128;
/// Columns shorter than this are not worth transposing.
inline constexpr std::int64_t kDotDepth = 4;

template <class In, class Acc>
struct WayEntry {
    const char* name;
    const char* what;
    /// The reason why not; null if it runs.
    const char* (*declines)(const Plan<In, Acc>&);
    void (*run)(Plan<In, Acc>&, Subnormals);
    /// The work it would do. Afterwards the plan's tasks are cut for this way.
    Work (*work)(Plan<In, Acc>&, const Rates&);
    bool few = false;  // only for few rows: a later way may be faster
    /// Cuts the plan into tiles for a Worker. Returns false, or is null, if the way's pieces are not tiles.
    bool (*cut)(Plan<In, Acc>&) = nullptr;
};

template <class In, class Acc>
Rates rates_for(const Plan<In, Acc>& plan) {
    const int group = plan.kernels->group;
    const DType bytes = sizeof(In) == 8 ? DType::int64
                        : group > 1     ? DType::int8
                                        : DType::int32,
                real = sizeof(In) == 8 ? DType::float64
                       : group > 1     ? DType::bfloat16
                                       : DType::float32;
    return rates_of(std::is_integral_v<Acc> ? bytes : real, vector_bytes() / static_cast<int>(sizeof(In)) * group,
                    threads_here());
}

template <class In, class Acc>
bool has_prologue(const Plan<In, Acc>& plan) {
    return plan.prologue_a || plan.prologue_b;
}
inline constexpr const char* kReadsInPlace = "an operand comes through a tape";
inline constexpr const char* kOneTriangle = "one triangle of the output is wanted";

template <class In, class Acc>
const char* dot_declines(const Plan<In, Acc>& plan) {
    const AxisList& k = plan.p.roles.summed;
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.part != Part::whole) return kOneTriangle;
    if (plan.p.m > kDotRows) return "more than 4 rows";
    if (k.size != 1 || k.axes[0].b != 1) return "b's columns do not run along k";
    if (k.axes[0].extent < kDotDepth) return "k is less than 4";
    return plan.kernels->dot[static_cast<int>(plan.source_b)][0] ? nullptr : "no kernel for this dtype";
}

/// Whether one product has work for several threads.
template <class In, class Acc>
bool is_worth_threads(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    return p.batches == 1 && p.m * p.n * p.k >= kDirectWork && threads_here() > 1;
}

template <class In, class Acc>
const char* direct_declines(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const bool in_l2 = takes_l2_panels(plan);
    if (plan.packed && !in_l2) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.part != Part::whole) return kOneTriangle;
    if (!plan.one_block()) return "k is more than one block";
    if (!interleaved_declines(plan))
        return "batches lie interleaved, and are packed as they are multiplied or not at all";
    if (!in_l2 && !direct_form(plan)) return "an operand or the output does not serve where it is, or is too large";
    if (!in_l2 && is_worth_threads(plan)) return "it is worth several threads";
    // Measured: packing B and reading it again takes 1.1 to 1.6 times as long.
    const std::int64_t turns = plan.kernels->group > 1 ? 128 : 64;
    if (p.batches == 1 && p.k >= turns && !dot_declines(plan))
        return "b's columns are transposed in registers for less";
    return nullptr;
}

/// Products of a batch in a piece, at least: as many for each thread, if there are pieces for all.
inline std::int64_t batch_grain(const Lowered& p) {
    const std::int64_t least = std::max<std::int64_t>(1, kDirectWork / (p.m * p.n * p.k)), threads = threads_here(),
                       pieces = ceil_div(p.batches, least);
    return ceil_div(p.batches, pieces < threads ? pieces : pieces / threads * threads);
}

template <class In, class Acc>
void run_direct(Plan<In, Acc>& plan, Subnormals subnormals) {
    const Lowered& p = plan.p;
    const auto run = [&](const auto& batch) {
        parallel_for(p.batches, batch_grain(p), [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(subnormals);
            batch.run(begin, end);
        });
    };
    if (takes_l2_panels(plan) && (plan.packed || is_worth_threads(plan) || !direct_form(plan)))
        return run_l2_panels(plan, subnormals);
    if constexpr (std::is_same_v<In, float> && std::is_same_v<Acc, float>)
        if (const WidenedBatch<In, Acc> widened(plan); widened) return run(widened);
    run(DirectBatch<In, Acc>(plan, direct_form(plan)));
}

template <class In, class Acc>
Work direct_work(Plan<In, Acc>& plan, const Rates& rates) {
    const Lowered& p = plan.p;
    return Counter<In, Acc>(plan, rates)
        .direct(!plan.packed && direct_form(plan).b != OperandAccess::in_place,
                std::max<std::int64_t>(1, kDirectWork / (p.m * p.n * p.k)));
}

template <class In, class Acc>
bool adjacent(const Plan<In, Acc>& plan) {
    return plan.p.roles.columns.size == 1 && plan.p.roles.columns.axes[0].b == 1;
}

template <class In, class Acc>
const char* sweep_declines(const Plan<In, Acc>& plan) {
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.part != Part::whole) return kOneTriangle;
    if (plan.p.m > kDotRows) return "more than 4 rows";
    if (!adjacent(plan)) return "b's columns are not adjacent in memory";
    if (plan.p.n < kSweepColumns) return "fewer than 128 columns";
    if (!plan.kernels->sweep[static_cast<int>(plan.source_b)][0]) return "no kernel for this dtype";
    // A sweep gains little from groups of four bytes: 2 to 4 rows from L2 take 0.8 to 0.87 of the time in panels.
    if (plan.kernels->group == 4 && plan.p.m > 1 && level_of(operand_bytes(plan.p), rates_for(plan)) <= MemoryLevel::l2)
        return "panels are as near, for more than one row";
    if (!plan.b_is_in || plan.kernels->group != 1) return nullptr;
    // Measured: panels of B in place take 0.6 to 0.99 of a sweep's time for 2 rows or more, and 0.7 to 0.95 for one row
    // from the caches; from memory they take 1.1 to 1.3 of it.
    if (plan.p.m > 1) return "b serves where it is, for more than one row";
    if (level_of(operand_bytes(plan.p), rates_for(plan)) != MemoryLevel::memory)
        return "b serves where it is, from a cache";
    return nullptr;
}

/// Columns of B shorter than the first are not worth the storing of the sums; nor those shorter than the second if half
/// of a vector of rows is empty; nor those shorter than the third if a quarter of two or more is.
inline constexpr std::int64_t kTransposedDepth = 128, kHalfTransposedDepth = 1536, kTwoTransposedDepth = 768;
/// With fewer columns than this, two vectors of rows have too few independent sums.
inline constexpr std::int64_t kTwoTransposedColumns = 32;

/// The kernel for this number of rows: half a vector, one or two; null if a large part of it would be empty.
template <class In, class Acc>
TransposedKernel<In, Acc> transposed_kernel(const KernelSet<In, Acc>& set, std::int64_t rows) {
    if (2 * rows <= set.lanes && set.transposed[0]) return set.transposed[0];
    if (rows <= set.lanes) return 2 * rows >= set.lanes ? set.transposed[1] : nullptr;
    return rows <= 2 * set.lanes && 4 * rows > 5 * set.lanes ? set.transposed[2] : nullptr;
}

template <class In, class Acc>
const char* transposed_declines(const Plan<In, Acc>& plan) {
    const AxisList &k = plan.p.roles.summed, &columns = plan.p.roles.columns;
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.part != Part::whole) return kOneTriangle;
    if (plan.p.m <= kDotRows) return "at most 4 rows";
    if (!transposed_kernel(*plan.kernels, plan.p.m))
        return "rows do not fill a vector or two, or no kernel for this dtype";
    if (k.size != 1 || k.axes[0].b != 1 || columns.size != 1) return "b's columns do not run along k";
    if (!plan.b_is_in || plan.p.k % plan.kernels->group != 0) return "b is not stored as the kernels read it";
    const std::int64_t m = plan.p.m, lanes = plan.kernels->lanes;
    const bool half = 2 * m <= lanes && !plan.kernels->transposed[0], two = m > lanes;
    if (half && plan.p.k < kHalfTransposedDepth) return "k is less than 1,536, for rows that fill half a vector";
    if (two && sizeof(In) == 4 && 2 * m <= 3 * lanes && plan.p.k < kTwoTransposedDepth)
        return "k is less than 768, for rows that fill three quarters of two vectors";
    if (two && plan.p.n < kTwoTransposedColumns) return "fewer than 32 columns, for two vectors of rows";
    if (plan.p.k < kTransposedDepth) return "k is less than 128";
    return packs_interleaved(plan) ? "batches lie interleaved, and are packed as they are multiplied" : nullptr;
}

template <class In, class Acc>
void run_interleaved(Plan<In, Acc>& given, Subnormals subnormals) {
    const Plan<In, Acc> plan = with_b_across(given);
    const Interleaved<In, Acc> batches(plan);
    parallel_for(plan.p.batches, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Scratch scratch(batches.bytes());
        batches.run(begin, end, scratch);
    });
}

/// Bytes of a row of either operand, which are adjacent rows of A and columns of B, from which both are copied for all
/// of the output. Steps of k then are pages apart, often on few sets of the caches. On one thread of a Zen 5, of the
/// time in place: 0.95 in float64 with sides of 1536 and 2048, 0.91 to 0.93 with 4096; in float32 1.02 with 1536, 0.99
/// with 2048, 0.96 with 3072. On two threads 0.97 to 1.0 in float64.
inline constexpr std::int64_t kRankBytes = 12 << 10;

template <class In, class Acc>
const char* rank_declines(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisList& k = p.roles.summed;
    if (!std::is_same_v<In, Acc> || !std::is_floating_point_v<Acc>) return "the kernels are not of float32 or float64";
    if (plan.packed) return "b is packed";
    if (has_prologue(plan)) return kReadsInPlace;
    if (plan.part != Part::whole) return kOneTriangle;
    if (p.batches != 1 || !plan.in_output) return "sums are not stored as they are, or there are several products";
    if (!plan.a_runs_across() || !plan.b_is_in || !adjacent(plan) || k.axes[0].a <= 0 || k.axes[0].b <= 0)
        return "a's rows and b's columns are not both adjacent in memory";
    if (std::min(p.m, p.n) * std::int64_t{sizeof(In)} < kRankBytes) return "a side is shorter than 12 KiB";
    return units().two_fma_units && !caches().large_l2() ? nullptr : "not measured with these caches";
}

/// A part of the rows at a time whose output stays in the last level while blocks of k pass.
template <class In, class Acc>
void run_rank(Plan<In, Acc>& plan, Subnormals) {
    if constexpr (std::is_same_v<In, Acc> && std::is_floating_point_v<Acc>) {
        const Lowered& p = plan.p;
        const Axis &k = p.roles.summed.axes[0], &rows = p.roles.rows.axes[0];
        const std::int64_t parts = ceil_div(p.m * p.n * std::int64_t{sizeof(Acc)}, caches().l3_of_one_core());
        for (std::int64_t i = 0; i < parts; ++i) {
            const Range some = part(p.m, parts, i);
            const Matrix a{const_cast<void*>(advance(p.a, some.begin, p.a_type)), p.a_type, some.size(), p.k, 1, k.a},
                b{const_cast<void*>(p.b), p.b_type, p.n, p.k, 1, k.b},
                c{advance(p.out, some.begin * rows.out, p.out_type), p.out_type, some.size(), p.n, rows.out};
            RankUpdate<Acc>(a, b, c, Part::whole, plan.first).run();
        }
    }
}

template <class In, class Acc>
const char* split_declines(const Plan<In, Acc>& plan) {
    if (plan.segments < 2) return "k is one segment";
    if (threads_here() == 1) return "one thread";
    Plan<In, Acc> copy = plan;
    choose_tasks(copy, threads_here());
    if (const PrologueReasons reasons = prologue_reasons(copy); reasons.a || reasons.b)
        return reasons.a ? reasons.a : reasons.b;
    return copy.split_k ? nullptr : "rows and columns give every thread work, or the sums would take too much memory";
}

/// Segments as tasks: their sums are kept until all are there.
template <class In, class Acc>
void run_split(Plan<In, Acc>& plan, Subnormals subnormals) {
    choose_tasks(plan, threads_here());
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
    choose_tasks(copy, threads_here(), false);
    const PrologueReasons reasons = prologue_reasons(copy);
    return reasons.a ? reasons.a : reasons.b;
}

template <class In, class Acc>
bool cut_blocked(Plan<In, Acc>& plan) {
    choose_tasks(plan, threads_here(), false);
    plan.split_k = false;
    return true;
}

template <class In, class Acc>
void run_tiles(const Plan<In, Acc>& plan, Subnormals subnormals) {
    const auto run = [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<In, Acc> worker(plan);
        for (std::int64_t i = begin; i < end; ++i) worker.run(tile_at(plan, i));
    };
    parallel_for(plan.tiles(), 1, run, plan.part == Part::whole ? Pieces::alike : Pieces::unlike);
}

/// The most bytes of a single panel of columns that are packed before many rows.
inline constexpr std::int64_t kPackedFirstBytes = 4 << 20;

/// A single panel of columns is read once for each share of the rows, in memory order if all of it is packed
/// beforehand.
template <class In, class Acc>
bool packs_first(const Plan<In, Acc>& plan) {
    const AxisRoles& r = plan.p.roles;
    return plan.narrow() && plan.a_is_far() && !plan.packed && !std::is_integral_v<Acc> && !has_prologue(plan) &&
           plan.part == Part::whole && plan.symmetric == Part::whole && plan.p.batches == 1 && r.columns.size == 1 &&
           r.summed.size == 1 &&
           plan.p.k * plan.family.nr * std::int64_t{sizeof(In)} <= kPackedFirstBytes * plan.kernels->group;
}

template <class In, class Acc>
void run_blocked(Plan<In, Acc>& plan, Subnormals subnormals) {
    cut_blocked(plan);
    if (!packs_first(plan)) return run_tiles(plan, subnormals);
    const Lowered& p = plan.p;
    PackedB b = packed_layout(p.a_type, p.b_type, p.k, p.n);
    Scratch scratch(static_cast<std::size_t>(packed_bytes(b)));
    b.data = scratch.data();
    View given;
    given.data = const_cast<void*>(p.b);
    given.dtype = p.b_type;
    given.layout.shape = {p.k, p.n};
    given.layout.strides = {p.roles.summed.axes[0].b, p.roles.columns.axes[0].b};
    pack_b(b, given, nullptr);
    plan.packed = &b;
    cut_blocked(plan);
    run_tiles(plan, subnormals);
    plan.packed = nullptr;
}

/// The ways for few rows.
enum class Few : std::uint8_t { sweep, dot, transposed };

template <class In, class Acc>
void use_few(Plan<In, Acc>& plan, Few way) {
    if (way == Few::sweep) plan.sweep = plan.kernels->sweep[static_cast<int>(plan.source_b)];
    if (way == Few::dot) plan.dot = plan.kernels->dot[static_cast<int>(plan.source_b)];
    if (way == Few::transposed) plan.transposed = transposed_kernel(*plan.kernels, plan.p.m);
}

/// One row, swept by several threads: they share blocks of k and not columns, so that each reads long runs of B, which
/// a slow last level needs.
template <class In, class Acc>
bool shares_blocks(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    return plan.sweep && p.m == 1 && p.batches == 1 && plan.in_output && plan.first == Write::store &&
           !plan.one_block() && plan.column_tasks > 1 && p.n * std::int64_t{sizeof(Acc)} <= kRowSweepBytes &&
           caches().large_l2();
}

/// The sums of all blocks are kept and added in order. Shares are cut in memory order.
template <class In, class Acc>
void run_shared_blocks(Plan<In, Acc>& plan, Subnormals subnormals) {
    const Lowered& p = plan.p;
    const std::int64_t pieces = plan.column_tasks, n = p.n, ld = ceil_div(n, 64) * 64;
    cut_as(plan, 1, 1);
    Scratch scratch(static_cast<std::size_t>(ceil_div(p.k, plan.block) * ld) * sizeof(Acc));
    Acc* const sums = reinterpret_cast<Acc*>(scratch.data());
    struct Cut {
        std::int64_t k, column;
    };
    const auto cut = [&](std::int64_t i) -> Cut {
        if (i == pieces) return {p.k, 0};
        const std::int64_t at = p.k * n / pieces * i, k = at / (plan.block * n) * plan.block;
        return {k, (at - k * n) / std::min(plan.block, p.k - k) / 64 * 64};
    };
    parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        Worker<In, Acc> worker(plan);
        const Cut last = cut(end);
        for (Cut c = cut(begin); c.k < last.k || (c.k == last.k && c.column < last.column); c = {c.k + plan.block, 0}) {
            const Range columns{c.column, c.k == last.k ? last.column : n};
            if (columns.size() <= 0) continue;
            worker.run_block(columns, {c.k, std::min(c.k + plan.block, p.k)}, sums + c.k / plan.block * ld + c.column);
        }
    });
    const FloatEnvironment environment(subnormals);
    Acc* const out = static_cast<Acc*>(p.out);
    std::copy_n(sums, n, out);
    for (std::int64_t k = plan.block; k < p.k; k += plan.block)
        plan.kernels->add_to(out, sums + k / plan.block * ld, n);
}

template <class In, class Acc>
void run_few(Plan<In, Acc>& plan, Subnormals subnormals, Few way) {
    use_few(plan, way);
    if (plan.sweep && plan.p.m == 1 && threads_here() > 1) {
        cut_blocked(plan);
        if (shares_blocks(plan)) return run_shared_blocks(plan, subnormals);
    }
    if (!split_declines(plan)) return run_split(plan, subnormals);
    run_blocked(plan, subnormals);
}

template <class In, class Acc>
bool cut_few(Plan<In, Acc>& plan, Few way) {
    use_few(plan, way);
    return split_declines(plan) && cut_blocked(plan);
}

template <class In, class Acc>
Work few_work(Plan<In, Acc>& plan, const Rates& rates, Few way) {
    use_few(plan, way);
    Counter<In, Acc> counter(plan, rates);
    const Work work = way == Few::sweep ? counter.sweep() : way == Few::dot ? counter.dot() : counter.transposed();
    plan.sweep = nullptr, plan.dot = nullptr, plan.transposed = nullptr;
    return work;
}

template <class In, class Acc, Few kWay>
constexpr WayEntry<In, Acc> few_way(const char* name, const char* what, const char* (*declines)(const Plan<In, Acc>&)) {
    return {name,
            what,
            declines,
            [](Plan<In, Acc>& plan, Subnormals s) { run_few(plan, s, kWay); },
            [](Plan<In, Acc>& plan, const Rates& r) { return few_work(plan, r, kWay); },
            true,
            [](Plan<In, Acc>& plan) { return cut_few(plan, kWay); }};
}

template <class In, class Acc>
inline constexpr WayEntry<In, Acc> kWays[kWayCount] = {
    {"direct", "micro-kernels on the operands where they are, or packed whole", direct_declines<In, Acc>,
     run_direct<In, Acc>, direct_work<In, Acc>},
    few_way<In, Acc, Few::sweep>("sweep", "few rows, B read once in the order of memory", sweep_declines<In, Acc>),
    few_way<In, Acc, Few::dot>("dot", "few rows, B's columns transposed in registers", dot_declines<In, Acc>),
    few_way<In, Acc, Few::transposed>("transposed", "few rows as lanes of vectors, B's columns where they are",
                                      transposed_declines<In, Acc>),
    {"interleaved", "batches that lie interleaved, packed part of a block of k at a time",
     interleaved_declines<In, Acc>, run_interleaved<In, Acc>,
     [](Plan<In, Acc>& plan, const Rates& r) { return Counter<In, Acc>(plan, r).panels(false); }},
    {"rank", "both operands copied, a block of k at a time", rank_declines<In, Acc>, run_rank<In, Acc>,
     [](Plan<In, Acc>& plan, const Rates& r) { return Counter<In, Acc>(plan, r).panels(false); }},
    {"split", "packed panels, segments of k as tasks", split_declines<In, Acc>, run_split<In, Acc>,
     [](Plan<In, Acc>& plan, const Rates& r) { return Counter<In, Acc>(plan, r).panels(true); }},
    {"blocked", "packed panels", blocked_declines<In, Acc>, run_blocked<In, Acc>,
     [](Plan<In, Acc>& plan, const Rates& r) { return Counter<In, Acc>(plan, r).panels(false); }, false,
     cut_blocked<In, Acc>},
};

/// Multiply-adds from which the estimate, some 100 ns, is worth its time.
inline constexpr double kEstimatedWork = 1 << 18;
/// How much faster a later way has to be. Nine of ten estimates are right within a factor of 1.3, and two are compared.
inline constexpr double kGain = 1.7;

/// The way that runs: a tuned or forced one if it accepts; otherwise the first that accepts, or, if that is a way for
/// few rows, a later one whose estimate is clearly lower. -1 if all decline.
template <class In, class Acc>
int choose_way(Plan<In, Acc>& plan) {
    const auto& rows = kWays<In, Acc>;
    if (const int wanted = plan.choice.way; wanted >= 0 && !rows[wanted].declines(plan)) return wanted;
    int first = 0;
    while (first < kWayCount && rows[first].declines(plan)) ++first;
    if (first == kWayCount) return -1;
    if (!rows[first].few) return first;
    // Estimates round, which must not affect the caller's flags and rounding mode.
    const FloatEnvironment environment(Subnormals::keep);
    const Lowered& p = plan.p;
    const double work =
        static_cast<double>(p.batches) * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    if (work < kEstimatedWork) return first;
    const Rates rates = rates_for(plan);
    int best = first;
    double least = score_of(rows[first].work(plan, rates), rates) / (kGain * kGain);
    for (int row = first + 1; row < kWayCount; ++row) {
        if (rows[row].declines(plan)) continue;
        const double score = score_of(rows[row].work(plan, rates), rates);
        if (score < least) least = score, best = row;
    }
    return best;
}

}  // namespace tenon::product::dense
