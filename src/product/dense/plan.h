// How a blocked product is cut: which kernels, which tasks. Any plan gives the same bits.
//
// The cache model. A block of k is fixed by the law at kBlockK elements of a floating type (integers, exact in any
// order, take as many bytes). A panel of A is mr x kBlockK, at most 43 KB: read again and again, it stays in the
// nearest caches. What a panel of B costs depends on how it is had (Panels):
//   packed   read once for each panel of A, panel after panel, from L2 and for the rest from L3, which is ahead of the
//            arithmetic (a panel of B feeds 2 mr operations a byte).
//   in place the same, a line or two of each row of B at a time; each kernel asks for its neighbour's lines on the way,
//            and a few panels of A share a pass. It saves the copy: 0.83 to 0.99 of the time of packing (f32, f64) for
//            up to 512 rows, and from some 640 on loses: rows of B lie in pages, and often in sets of the caches, of
//            their own. Packed in chunks 768 to 4096 rows take 0.92 to 0.98 of the time, if A need not be transposed
//            for each chunk.
//   passing  in place too, from a last level that is far: all rows of A stay in L2, and with the kernels of a panel the
//            next one is fetched, a line a step, so that B is brought once and copied nowhere. But where its rows are a
//            multiple of 4 KB apart, in a page each and on few sets of L1: there the kernels of the first rows store
//            what they read as a packed panel for the others, 0.78 to 0.97 of the time of neither (32 to 256 rows).
//   strips   B, packed, must be had from memory and copied. All rows of A stay in L2; a strip is packed from L2, where
//            the kernels of the strip before have fetched it line by line, and used at once: 0.4 to 1.0 of the time of
//            packing chunks from memory, the less the fewer the rows.
//   chunks   kBlockK x kChunkBytes, 1.5 MiB to 3 MiB, where A is too large for L2 or B comes through a tape; half of L2
//            where that is 2 MiB, as behind it the last level is slow (CacheModel in plan.cpp): on such a core (Emerald
//            Rapids) a product of 2048 a side takes 0.63 of the time in f32, one of 1024 0.49 in f64.
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

/// Bytes of a row of a chunk of B, where the last level of cache is near.
inline constexpr std::int64_t kChunkBytes = 8192;
/// Groups of k that are packed of all columns before the next: so many rows of B, or a few times, are read side by
/// side.
inline constexpr std::int64_t kPackRows = 24;
/// The same of columns that are copied from a far last level: longer runs of each row are what the hardware follows.
inline constexpr std::int64_t kFarPackRows = 8;

/// Pieces of work for each thread, so that one that is held up leaves its share to the others.
inline constexpr int kTasksAThread = 2;
/// Sums of a sweep of one row (plan.cpp) at once.
inline constexpr std::int64_t kRowSweepBytes = 32 << 10;
/// Most rows whose sums wait in scratch for later segments; B is packed again for the next ones.
inline constexpr std::int64_t kScratchRows = 1024;
/// Where batches interleave, rows are taken so many at a time that their part of all batches stays in L2.
inline constexpr std::int64_t kInterleavedBytes = 512 << 10;

/// Columns and elements summed from which bfloat16 is widened for few rows too.
inline constexpr std::int64_t kLongSide = 512;

/// Groups of k from which wide kernels are worth their calls; of more than one element, where two multiply-adds start
/// in a cycle, fewer.
inline constexpr std::int64_t kWideK = 96, kWideKOfTwo = 64;

/// A panel of B that spans no more than this, and so stays in L1 or the nearest part of L2, is as good as a packed one.
inline constexpr std::int64_t kCompactBytes = 32 << 10;

struct Range {
    std::int64_t begin, end;
    std::int64_t size() const { return end - begin; }
    friend bool operator==(const Range&, const Range&) = default;
};

/// Part i of [0, n) cut into `parts` as equal as can be.
inline Range part(std::int64_t n, std::int64_t parts, std::int64_t i) { return {n * i / parts, n * (i + 1) / parts}; }

inline Range part(Range range, std::int64_t parts, std::int64_t i) {
    const Range within = part(range.size(), parts, i);
    return {range.begin + within.begin, range.begin + within.end};
}

inline std::int64_t ceil_div(std::int64_t n, std::int64_t d) { return (n + d - 1) / d; }

/// How the panels of B are had: packed by the caller; where they are; where they are, each passing once for all rows of
/// A, which stay in L2; packed a strip at a time, the rows staying too; packed a chunk at a time. Of packed pairs that
/// are widened, the last two widen.
enum class Panels : std::uint8_t { packed, in_place, passing, strips, chunks };

/// Of a square output, row by column after lower(): all of it, or one triangle with the diagonal; the other is neither
/// read nor written.
enum class Part : std::uint8_t { whole, lower, upper };
enum class Cover : std::uint8_t { outside, crosses, inside };

/// How a rectangle lies to the part.
inline Cover cover(Part part, Range rows, Range columns) {
    if (part == Part::whole) return Cover::inside;
    if (part == Part::upper) return cover(Part::lower, columns, rows);
    if (columns.begin >= rows.end) return Cover::outside;
    return columns.end - 1 <= rows.begin ? Cover::inside : Cover::crosses;
}
/// Of some columns, those that belong to the part in a row.
inline Range within(Part part, std::int64_t row, Range columns) {
    if (part == Part::lower) columns.end = std::min(columns.end, row + 1);
    if (part == Part::upper) columns.begin = std::max(columns.begin, row);
    return columns;
}

/// Rows that stay while all of k passes, where B is one panel of columns.
inline constexpr std::int64_t kNarrowRows = 108;
/// What is larger comes from memory.
inline constexpr std::int64_t kFarBytes = 16 << 20;

template <class In, class Acc>
struct Plan {
    Lowered p;
    Finish finish;
    Choice choice;
    const KernelSet<In, Acc>* kernels;
    KernelFamily<In, Acc> family;  // of the panels; the last one may take a narrower kernel
    Source source_b;
    PackLines<In> pack_a;
    PackAcross<In> pack_b;
    const DotKernel<In, Acc>* dot;  // by rows - 1, for few rows where B's columns run along k; else null
    TurnedKernel<In, Acc> turned;  // for a few more; else null
    PackAcross<In> turned_a;
    const SweepKernel<In, Acc>* sweep;  // the same where they lie side by side
    const PackedB* packed;  // B's panels, or null
    WidenPairs widen;  // where they are pairs of bfloat16 and the kernels want float32; else null
    const LoweredEpilogue* epilogue;  // or null
    const LoweredPrologue *prologue_a, *prologue_b;  // or null
    bool a_is_in, b_is_in;  // the operand is stored as In (a group of it)
    Part part;
    Part symmetric;  // not whole: b is symmetric, and this triangle of it is given
    bool plain;  // sums are only rounded to the output's dtype
    Write first;  // of a segment's blocks; where alpha is 1 or -1, beta 1 and there is one block, not store
    bool in_output;  // block sums are added in the output itself, else in scratch
    bool pairs;  // the bfloat16 law by widened elements: an even number of them
    bool split_k;  // a segment is a task of its own
    bool batch_inner;  // batches lie interleaved in memory: all of them for some rows, then the next rows
    std::int64_t block, segment;  // of k, in elements
    std::int64_t shift_a, shift_b;  // 8-bit integers: see Worker::correct
    bool offsets_a, offsets_b;  // some row's, column's offset is not 0
    std::int64_t segments, row_tasks, column_tasks, chunk;
    Panels panels_b;
    std::int64_t strip;  // of Panels::strips and passing: columns at a time
    const PackingKernel<In, Acc>* packing;  // whole panels are packed as the first rows are multiplied; or null
    bool beside;  // few rows by columns of bfloat16 that are widened as they are read
    bool near_panels;  // packed before, from a far last level, and taken as many at a time as stay in L2
    bool near;  // one block, and all operands in half of L2: no row of the output has to be asked for

    std::int64_t offset_a(std::int64_t row) const {
        return shift_a + (finish.zeros_a ? finish.zeros_a[row] : finish.zero_a);
    }
    std::int64_t offset_b(std::int64_t column) const {
        return shift_b + (finish.zeros_b ? finish.zeros_b[column] : finish.zero_b);
    }
    std::int64_t panels() const { return ceil_div(p.n, family.nr); }
    std::int64_t tiles() const { return p.batches * row_tasks * column_tasks; }
    bool one_block() const { return segments == 1 && p.k <= block; }
    /// Columns of B are read where they run along k, a segment at a time.
    bool reads_along() const { return dot || turned; }
    /// Few enough that memory is what there is to wait for.
    bool few_rows() const { return p.m <= 2 * kernels->standard.mr; }
    /// Rows of A may be read where they are: each runs along k.
    bool a_runs_along() const { return a_is_in && p.roles.summed.size == 1 && p.roles.summed.axes[0].a == 1; }
    /// Rows of A lie side by side, each step of k in a line of its own.
    bool a_runs_across() const {
        const AxisRoles& r = p.roles;
        return a_is_in && kernels->group == 1 && r.rows.size == 1 && r.summed.size == 1 && r.rows.axes[0].a == 1;
    }
    /// Rows of A stay while columns pass.
    bool rows_stay() const { return panels_b == Panels::strips || panels_b == Panels::passing; }
    /// Columns are one panel, or nearly: some rows after the other stay near through all of k, as do their pages.
    bool narrow() const {
        return p.n <= family.nr && 4 * p.n > 3 * family.nr && !one_block() && !sweep && !reads_along();
    }
    /// One panel of columns, packed before rows that come from memory: in a large L2 it is near, and the rows are
    /// waited for.
    bool waits_for_rows() const { return packed && caches().large_l2() && narrow() && a_is_far(); }
    bool a_is_far() const { return p.m * p.k * std::int64_t{sizeof(In)} >= kFarBytes * kernels->group; }
    /// Rows of sums held at once where they are not added in the output.
    std::int64_t scratch_rows() const { return one_block() ? family.mr : ceil_div(p.m, row_tasks); }
};

/// The kernels of many rows with n columns and k elements summed. Where registers hold wide ones of 6 rows (AVX-512),
/// these: rows of A, few enough for the sets of the nearest cache, serve where they are, and so do those of the output.
/// Not for short sums, which want few calls, nor where the last columns would be a large part of masked work.
template <class In, class Acc>
const KernelFamily<In, Acc>& panels_family(const KernelSet<In, Acc>& kernels, std::int64_t n, std::int64_t k) {
    const std::int64_t rest = n % kernels.wide.nr, standard = kernels.standard.nr;
    const bool masked = rest > standard && rest <= standard + kernels.narrow.nr && n < 8 * kernels.wide.nr,
               wide = kernels.wide.mr >= 6 && n >= kernels.wide.nr &&
                      k >= (kernels.group > 1 && units().two_multiply_adds ? kWideKOfTwo : kWideK) * kernels.group;
    return wide && !masked ? kernels.wide : kernels.standard;
}

/// The smallest family whose panels hold `columns`, of those no wider than the plan's.
template <class In, class Acc>
const KernelFamily<In, Acc>& family_for(const Plan<In, Acc>& plan, std::int64_t columns) {
    if (plan.beside) return plan.family;
    for (const KernelFamily<In, Acc>* family : {&plan.kernels->half, &plan.kernels->narrow, &plan.kernels->standard})
        if (columns <= family->nr && family->nr <= plan.family.nr) return *family;
    return plan.family;
}

/// Why the tapes of the operands would rather run into memory first; null where they run as the operands are packed.
struct PrologueReasons {
    const char *a = nullptr, *b = nullptr;
};

/// Of a plan whose tasks are chosen. A tape costs several times the copy that packing is, so it runs once an element,
/// or first: storing its result costs about as much as half a run.
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

/// Fills the choices that depend on sizes and on the number of threads.
/// `may_split`: segments may be tasks.
template <class In, class Acc>
void choose_tasks(Plan<In, Acc>& plan, int threads, bool may_split = true);

/// So many tasks instead, of a plan whose tasks are chosen.
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
