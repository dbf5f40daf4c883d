// How a blocked product is divided: kernels, blocks, tasks. Every plan gives the same bits.
//
// The cache model. The law fixes a block of k at kBlockK elements of a floating type (integers are exact in any order
// and take as many bytes). A panel of A is mr x kBlockK, at most 43 KB; it is read again and again and stays in the
// nearest caches. What a panel of B costs depends on where it comes from (Panels):
//   packed   read once for each panel of A, panel after panel, from L2 and for the rest from the last level, which is
//            ahead of the arithmetic (a panel of B feeds 2 mr operations for each element).
//   in place the same, a line or two of each row of B at a time. Each kernel prefetches the neighbour's lines, and a
//            few panels of A share a pass. This saves the copy. On a Zen 4 it takes 0.83 to 0.99 of the time of packing
//            (f32, f64) up to 512 rows, and loses from some 640 on: rows of B are in pages, and often in cache sets, of
//            their own. There packing in chunks takes 0.92 to 0.98 of the time with 768 to 4096 rows, if A need not be
//            transposed for each chunk.
//   passing  in place too, with such kernels and a B that is larger than L2: all rows of A stay in L2, and during the
//   kernels of a panel the next
//            panel is prefetched, a line at each step, so that B is brought once and not copied.
//   strips   B has to come from memory and be packed. All rows of A stay in L2; a strip is packed from L2, where the
//            kernels of the previous strip have prefetched it, and used at once. It takes 0.4 to 1.0 of the time of
//            packing chunks from memory: the fewer rows, the less (Zen 4).
//   chunks   kBlockK x kChunkBytes, 1.5 MiB to 3 MiB, if A is too large for L2 or B comes through a tape. Half of L2 if
//            two multiply-adds start in a cycle, because the kernels then use B as fast as the last level gives it
//            (CacheModel in plan.cpp): on an Emerald Rapids a product of 2048^3 takes 0.63 of the time in f32, one of
//            1024^3 0.49 in f64; on a Zen 5, one of 512^3 0.93 and 0.89.
// The output is read and written once for each block of k.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/caches.h"
#include "product/dense/choice.h"
#include "product/dense/kernels.h"
#include "product/dense/lower.h"
#include "product/dense/packed.h"
#include "product/dense/units.h"
#include "product/epilogue.h"
#include "product/prologue.h"

namespace tenon::product::dense {

/// Bytes of a row of a chunk of B, if the last-level cache is fast.
inline constexpr std::int64_t kChunkBytes = 8192;
/// The least bytes of a row of a chunk if A comes through a tape, or is transposed as it is packed: both are done again
/// for each chunk.
inline constexpr std::int64_t kRepeatedChunkBytes = 2560;
/// Rows of B that are asked for before those that are packed on the way.
inline constexpr std::int64_t kPackStepsAhead = 8;
/// Groups of k that are packed for all columns before the next ones: this many rows of B, or a few times as many, are
/// read at once.
inline constexpr std::int64_t kPackRows = 24;
/// The same for columns that are copied from a slow last level: the hardware prefetcher wants longer runs of each row.
inline constexpr std::int64_t kFarPackRows = 8;

/// Columns that an epilogue runs over fast: whole strips of a tape.
inline constexpr std::int64_t kTapeColumns = 128;

/// Tasks for each thread, so that a thread that is held up leaves its share to the others.
inline constexpr int kTasksPerThread = 2;
/// Bytes of sums that a sweep of one row (plan.cpp) keeps at once.
inline constexpr std::int64_t kRowSweepBytes = 32 << 10;
/// The most rows whose sums wait in scratch for later segments; B is packed again for the next rows.
inline constexpr std::int64_t kScratchRows = 1024;
/// If batches interleave, as many rows are taken at a time as let their part of all batches stay in L2.
inline std::int64_t interleaved_bytes() { return std::min<std::int64_t>(caches().l2 / 2, 512 << 10); }

/// Columns and elements of k from which bfloat16 is widened for few rows, too.
inline constexpr std::int64_t kLongSide = 512;

/// Groups of k from which wide kernels are worth their calls; fewer for narrow elements on a core with two FMA units.
inline constexpr std::int64_t kWideK = 96, kWideKOfTwo = 64;

/// A panel of B that spans no more than this stays in L1 or L2, and is as good as a packed one.
inline constexpr std::int64_t kCompactBytes = 32 << 10;

struct Range {
    std::int64_t begin, end;
    std::int64_t size() const { return end - begin; }
    friend bool operator==(const Range&, const Range&) = default;
};

/// Part i of [0, n), divided into `parts` parts of nearly equal size.
inline Range part(std::int64_t n, std::int64_t parts, std::int64_t i) { return {n * i / parts, n * (i + 1) / parts}; }

inline Range part(Range range, std::int64_t parts, std::int64_t i) {
    const Range within = part(range.size(), parts, i);
    return {range.begin + within.begin, range.begin + within.end};
}

inline std::int64_t ceil_div(std::int64_t n, std::int64_t d) { return (n + d - 1) / d; }

/// Where the panels of B come from: packed by the caller; read in place; read in place, each once for all rows of A,
/// which stay in L2; packed a strip at a time, with the rows staying too; packed a chunk at a time. The last two also
/// widen packed pairs.
enum class Panels : std::uint8_t { packed, in_place, passing, strips, chunks };

/// The part of a square output that is computed, in the order after lower(): all of it, or one triangle with its
/// diagonal. The other triangle is neither read nor written.
enum class Part : std::uint8_t { whole, lower, upper };
enum class Cover : std::uint8_t { outside, crosses, inside };

/// Whether a rectangle is inside the part, outside it, or crosses its diagonal.
inline Cover cover(Part part, Range rows, Range columns) {
    if (part == Part::whole) return Cover::inside;
    if (part == Part::upper) return cover(Part::lower, columns, rows);
    if (columns.begin >= rows.end) return Cover::outside;
    return columns.end - 1 <= rows.begin ? Cover::inside : Cover::crosses;
}
/// The columns, of some, that belong to the part in a row.
inline Range within(Part part, std::int64_t row, Range columns) {
    if (part == Part::lower) columns.end = std::min(columns.end, row + 1);
    if (part == Part::upper) columns.begin = std::max(columns.begin, row);
    return columns;
}

/// Rows of A that stay in cache while all of k passes, if B is a single panel of columns.
inline constexpr std::int64_t kNarrowRows = 108;
/// A larger operand comes from memory.
inline std::int64_t far_bytes() { return caches().l3_of_one_core() / 2; }

template <class In, class Acc>
struct Plan {
    Lowered p;
    Finish finish;
    Choice choice;
    const KernelSet<In, Acc>* kernels = nullptr;
    KernelFamily<In, Acc> family{};  // of the panels; the last one may use a narrower kernel
    Source source_b = Source::same;
    PackLines<In> pack_a = nullptr;
    PackAcross<In> pack_b = nullptr;
    const DotKernel<In, Acc>* dot =
        nullptr;  // by rows - 1, for few rows and columns of B contiguous along k; otherwise null
    TransposedKernel<In, Acc> transposed = nullptr;  // for a few more rows; otherwise null
    PackAcross<In> transposed_a = nullptr;
    const SweepKernel<In, Acc>* sweep = nullptr;  // for few rows and adjacent columns of B; otherwise null
    const PackedB* packed = nullptr;  // B's panels, or null
    WidenPairs widen = nullptr;  // if the panels are pairs of bfloat16 and the kernels need float32; otherwise null
    const LoweredEpilogue* epilogue = nullptr;  // or null
    const LoweredPrologue *prologue_a = nullptr, *prologue_b = nullptr;  // or null
    bool a_is_in = false, b_is_in = false;  // the operand is stored as the kernels read it, a group in one In
    Part part = Part::whole;
    Part symmetric = Part::whole;  // if not whole, b is symmetric and only this triangle is given
    bool plain = false;  // the sums are only rounded to the output's dtype, not scaled
    Write first =
        Write::store;  // of a segment's blocks; not store only if alpha is 1 or -1, beta is 1 and there is one block
    bool in_output = false;  // blocks are added in the output itself, not in scratch
    bool pairs = false;  // bfloat16 by widened elements: their number is even
    bool split_k = false;  // a segment is a task
    bool batch_inner = false;  // batches are interleaved in memory: all of them for some rows, then the next rows
    std::int64_t block = 0, segment = 0;  // of k, in elements
    std::int64_t shift_a = 0, shift_b = 0;  // shifts of 8-bit integers: see Worker::correct
    bool offsets_a = false, offsets_b = false;  // some row's, or column's, offset is not 0
    std::int64_t segments = 0, row_tasks = 0, column_tasks = 0, chunk = 0;
    std::int64_t k_part = 0;  // of k, in elements, for which all columns pass before the next; k if it is all of it
    // Of A, at most, whose part of a block of k is copied for all columns; 0: none are.
    std::int64_t copied_rows = 0;
    Panels panels_b = Panels::packed;
    std::int64_t blocks = 0;  // of k of a tile before the next tile, of panels that are packed (packed_panels.h); or 0
    std::int64_t strip = 0;  // columns at a time, for Panels::strips and passing
    const PackingKernel<In, Acc>* packing =
        nullptr;  // whole panels are packed as the first rows are multiplied; or null
    bool widen_on_load = false;  // few rows with bfloat16 columns that are widened as they are loaded
    bool packed_in_chunks =
        false;  // packed beforehand, from a slow last level, and taken as many at a time as stay in L2
    bool in_cache = false;  // rows of the output need no prefetch: one block, and all operands fill at most half of L2;
                            // or so does the output, and panels take all prefetches

    std::int64_t offset_a(std::int64_t row) const {
        return shift_a + (finish.zeros_a ? finish.zeros_a[row] : finish.zero_a);
    }
    std::int64_t offset_b(std::int64_t column) const {
        return shift_b + (finish.zeros_b ? finish.zeros_b[column] : finish.zero_b);
    }
    std::int64_t panels() const { return ceil_div(p.n, family.nr); }
    std::int64_t tiles() const { return p.batches * row_tasks * column_tasks; }
    bool one_block() const { return segments == 1 && p.k <= block; }
    /// Columns of B are contiguous along k and read in place, one segment at a time.
    bool reads_along() const { return dot || transposed; }
    /// So few rows that the product waits for memory.
    bool few_rows() const { return p.m <= 2 * kernels->standard.mr; }
    /// Rows of A can be read in place: each is contiguous along k.
    bool a_runs_along() const { return a_is_in && p.roles.summed.size == 1 && p.roles.summed.axes[0].a == 1; }
    /// Rows of A are adjacent, and each step of k is in another line.
    /// Kernels for them end at the address where k ends, so k has a stride.
    bool a_runs_across() const {
        const AxisRoles& r = p.roles;
        return a_is_in && kernels->group == 1 && r.rows.size == 1 && r.summed.size == 1 && r.rows.axes[0].a == 1 &&
               r.summed.axes[0].a != 0;
    }
    /// The kernels are those for adjacent rows of A, which are read in place.
    bool takes_adjacent() const { return kernels->adjacent.mr > 0 && family.whole == kernels->adjacent.whole; }
    /// Rows of A stay in cache while columns pass.
    bool rows_stay() const { return panels_b == Panels::strips || panels_b == Panels::passing; }
    /// There is one panel of columns, or little more: some rows stay in cache through all of k, as do their pages in
    /// the TLB.
    bool narrow() const {
        return p.n <= family.nr && 4 * p.n > 3 * family.nr && !one_block() && !sweep && !reads_along();
    }
    /// One panel of columns, packed beforehand, with rows from memory: the panel stays in cache, and the rows are what
    /// the kernel waits for. Two units without a large L2: 4096 x 64 x 4096 takes 0.83 of the time in float32 (Zen 5).
    bool waits_for_rows() const {
        return packed && (caches().large_l2() || units().two_fma_units) && narrow() && a_is_far();
    }
    std::int64_t bytes_of_b() const { return p.k * p.n * std::int64_t{sizeof(In)} / kernels->group; }
    /// Few rows with panels that were packed beforehand, from memory: kernels ask for all lines of the next panel. Each
    /// line that is not asked for is waited for: 16 rows of 4096 columns and k take 0.73 of the time with two thirds of
    /// the lines in bfloat16, 0.75 to 0.8 in float32 and float64; 2 to 14 rows 0.4 to 0.98 of the time with none (Zen
    /// 5). From the last level a single panel of rows takes 1.03 to 1.15. Where L2 is large, the hardware reads ahead.
    bool waits_for_panels() const {
        return packed && few_rows() && units().two_fma_units && !caches().large_l2() && bytes_of_b() > far_bytes() &&
               family.nr == kernels->standard.nr;
    }
    /// One row with panels that were packed beforehand: two at a time, half of the columns apart. Two long runs of
    /// memory come faster than one, or than two that are near each other: to loops that only load 32 MB, 81 GB/s and
    /// not 58 and 66, and 50 and not 43 and 47 from memory; with prefetch instructions 55 (one thread of a Zen 5).
    bool takes_far_panels() const {
        return packed && p.m == 1 && panels_b == Panels::packed && !widen && part == Part::whole &&
               family.nr == 2 * packed->nr && units().two_fma_units && !caches().large_l2();
    }
    bool a_is_far() const { return p.m * p.k * std::int64_t{sizeof(In)} >= far_bytes() * kernels->group; }
    /// How far ahead of its steps a kernel that packs asks for rows of B, in stored elements.
    std::int64_t pack_ahead(std::int64_t pitch) const { return kPackStepsAhead * kernels->group * pitch; }
    /// A chunk is packed for several blocks of k, or one, and then read as columns that were packed beforehand are.
    bool packs_blocks() const { return panels_b == Panels::chunks && blocks > 0; }
};

/// The kernels for many rows. If the registers hold wide kernels of 6 rows (AVX-512), these are used: 6 rows of A, and
/// of the output, fit the sets of the nearest cache and need no copy. They are not used for short sums, which should
/// have few calls, nor if the last columns would be largely masked work.
template <class In, class Acc>
const KernelFamily<In, Acc>& panels_family(const KernelSet<In, Acc>& kernels, std::int64_t n, std::int64_t k) {
    const std::int64_t rest = n % kernels.wide.nr, standard = kernels.standard.nr;
    const bool masked = rest > standard && rest <= standard + kernels.narrow.nr && n < 8 * kernels.wide.nr,
               wide = kernels.wide.mr >= 6 && n >= kernels.wide.nr &&
                      k >= (kernels.group > 1 && units().two_fma_units ? kWideKOfTwo : kWideK) * kernels.group;
    return wide && !masked ? kernels.wide : kernels.standard;
}

/// Whether rows of A that are adjacent in memory are multiplied where they are, and not transposed into panels first,
/// which takes 12 cycles a vector. Each step of k then reads another line, which the next panels find in a nearer
/// cache. On a Zen 5 products of 1024 x 64 x 64 take 0.69 of the time, 1024 x 64 x 512 0.8, 1024 x 1024 x 1024 0.98
/// to 1.0. Not if the last columns would be largely masked work.
template <class In, class Acc>
bool takes_adjacent_rows(const Plan<In, Acc>& plan) {
    const std::int64_t n = plan.p.n, nr = plan.kernels->adjacent.nr;
    if (nr == 0 || !plan.a_runs_across() || plan.prologue_a || plan.few_rows() || plan.part != Part::whole)
        return false;
    const std::int64_t rest = n % nr;
    return units().two_fma_units && n >= nr && (rest == 0 || rest > nr - plan.kernels->narrow.nr || n >= 8 * nr);
}

/// Whether the kernels of the first rows pack whole panels of narrow columns that are adjacent: they put the groups of
/// the wide kernels' columns together. Where L2 is large it was not measured.
template <class In, class Acc>
bool packs_groups(const Plan<In, Acc>& plan) {
    const AxisRoles& r = plan.p.roles;
    return plan.kernels->packing_groups[static_cast<int>(plan.source_b)] && units().two_fma_units &&
           !caches().large_l2() && plan.family.nr == plan.kernels->wide.nr && plan.p.k % plan.kernels->group == 0 &&
           !plan.packed && !plan.prologue_b && plan.part == Part::whole && plan.symmetric == Part::whole &&
           r.columns.size == 1 && r.columns.axes[0].b == 1 && r.summed.size == 1;
}

/// The narrowest family whose panels hold `columns`, among those no wider than the plan's.
template <class In, class Acc>
const KernelFamily<In, Acc>& family_for(const Plan<In, Acc>& plan, std::int64_t columns) {
    if (plan.widen_on_load || plan.takes_adjacent()) return plan.family;
    for (const KernelFamily<In, Acc>* family : {&plan.kernels->half, &plan.kernels->narrow, &plan.kernels->standard})
        if (columns <= family->nr && family->nr <= plan.family.nr) return *family;
    return plan.family;
}

/// Why the operands' tapes should rather run into memory first; null if they run as the operands are packed.
struct PrologueReasons {
    const char *a = nullptr, *b = nullptr;
};

/// For a plan whose tasks are chosen. A tape costs several times as much as packing, so it must run once for each
/// element. Otherwise it runs first: storing its result costs about as much as half a run.
template <class In, class Acc>
PrologueReasons prologue_reasons(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const auto small = [&](std::int64_t lines, DType type) {
        return lines * p.k * static_cast<std::int64_t>(size_of(type)) <= kCompactBytes;
    };
    const auto in_all_batches = [&](const LoweredPrologue& tape) {
        for (int i = 0; i < tape.count; ++i)
            if (tape.inputs[i].batch != 0) return false;
        return p.batches > 1;
    };
    PrologueReasons reasons;
    if (const LoweredPrologue* tape = plan.prologue_a) {
        const std::int64_t columns = ceil_div(plan.panels(), plan.column_tasks) * plan.family.nr;
        if (plan.offsets_b)
            reasons.a = "zero points ask for sums of a, which comes through a tape";
        else if (p.m <= kDotRows || small(p.m, p.a_type))
            reasons.a = "a is small, and what its tape gives stored at next to no cost";
        else if (plan.column_tasks > 1 || columns > plan.chunk || in_all_batches(*tape))
            reasons.a = "a's tape would run again for each chunk of columns; it is cheaper to store what it gives";
    }
    if (const LoweredPrologue* tape = plan.prologue_b) {
        if (plan.offsets_a)
            reasons.b = "zero points ask for sums of b, which comes through a tape";
        else if (small(p.n, p.b_type))
            reasons.b = "b is small, and what its tape gives stored at next to no cost";
        else if (plan.row_tasks > 1 || in_all_batches(*tape))
            reasons.b = "b's tape would run again for each share of the rows; it is cheaper to store what it gives";
    }
    return reasons;
}

/// Makes the choices that depend on sizes and on the number of threads. `may_split`: segments may be tasks.
template <class In, class Acc>
void choose_tasks(Plan<In, Acc>& plan, int threads, bool may_split = true);

/// Changes the number of tasks of a plan whose tasks are chosen.
template <class In, class Acc>
void cut_as(Plan<In, Acc>& plan, std::int64_t row_tasks, std::int64_t column_tasks);

extern template void choose_tasks(Plan<float, float>&, int, bool);
extern template void choose_tasks(Plan<double, double>&, int, bool);
extern template void choose_tasks(Plan<std::uint32_t, float>&, int, bool);
extern template void choose_tasks(Plan<std::uint32_t, std::uint32_t>&, int, bool);
extern template void choose_tasks(Plan<std::uint64_t, std::uint64_t>&, int, bool);
extern template void cut_as(Plan<float, float>&, std::int64_t, std::int64_t);
extern template void cut_as(Plan<double, double>&, std::int64_t, std::int64_t);
extern template void cut_as(Plan<std::uint32_t, float>&, std::int64_t, std::int64_t);
extern template void cut_as(Plan<std::uint32_t, std::uint32_t>&, std::int64_t, std::int64_t);
extern template void cut_as(Plan<std::uint64_t, std::uint64_t>&, std::int64_t, std::int64_t);

}  // namespace tenon::product::dense
