#include "product/dense/plan.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "base/caches.h"
#include "base/thread_count.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {
namespace {

/// Multiply-adds below which a task is not worth a thread: some 10 us of the slowest supported core.
constexpr double kTaskWork = 1 << 18;
/// Bytes of the sums of a sweep, which stay in the nearest cache. One row may have more (kRowSweepBytes): it waits for
/// memory, and longer runs of B's rows are faster.
constexpr std::int64_t kSweepBytes = 16 << 10;
/// Columns packed at a time for few rows: whole cache lines of B's rows, and no more than stays in L2.
constexpr std::int64_t kFewColumns = 256;
/// Bytes of a packed strip of B: it, the next strip in memory, and the rows stay in L2. Few rows wait for memory, and
/// wider strips read more of each page.
constexpr std::int64_t kStripBytes = 48 << 10, kFewStripBytes = 96 << 10, kAlongColumns = 1024;
/// The most columns of a chunk; scratch memory grows with them.
constexpr std::int64_t kMaxColumns = 1 << 20;
/// Groups of k in a block of 8-bit integers, for few rows.
constexpr std::int64_t kFewBytesBlock = 96;
/// The most bytes of rows of A that stay in L2 while strips of B pass.
std::int64_t rows_bytes() { return std::min<std::int64_t>(caches().l2 / 4 * 3, 768 << 10); }
/// The same if panels pass in place.
std::int64_t passing_bytes() { return rows_bytes() / 2; }
/// Bytes between lines that share a set of the nearest cache.
constexpr std::int64_t kSetStep = 4096, kLine = 64;
/// The fewest panels of columns that are packed for many rows although they could be read in place.
constexpr std::int64_t kManyPanels = 4;

/// What a plan takes from the caches.
struct CacheModel {
    std::int64_t chunk_bytes;  // of a row of a chunk of B
    std::int64_t many_rows;  // rows of a share from which columns that could be read in place are packed
    std::int64_t far_step, far_bytes, many_far_rows;  // the same if rows of B are this far apart, or B is this large
    bool across_too;  // packed also if rows of A are transposed as they are packed, and few pass at a time
};
/// Chunks that stream from the last level: a core that starts one multiply-add in a cycle (Zen 4) reads it faster than
/// the kernels use it.
constexpr CacheModel kFromLastLevel = {kChunkBytes, 640,  16 << 10, std::numeric_limits<std::int64_t>::max(),
                                       384,         false};

/// Two multiply-adds in a cycle use B about as fast as the last level gives it, or faster: chunks are half of L2.
const CacheModel& cache_model() {
    constexpr std::int64_t kLeast = 512;
    static const CacheModel model =
        !units().two_fma_units ? kFromLastLevel
                               : CacheModel{std::max(caches().l2 / 2 / kBlockK / kLeast, std::int64_t{1}) * kLeast,
                                            320,
                                            4 << 10,
                                            caches().l2,
                                            96,
                                            true};
    return model;
}

/// Bytes of packed float64 columns, and rows of a share, from which it pays to bring each panel only once.
constexpr std::int64_t kNearPanelBytes = 16 << 20, kNearPanelRows = 1024;
/// Rows of a share from which B passes often enough to be read from the nearest caches.
constexpr std::int64_t kShareRows = 64;
/// The most bytes of segment sums that are kept at once if segments are tasks.
constexpr double kSplitBytes = 64 << 20;
/// The most bytes of segment sums if threads share segments rather than rows and columns.
constexpr std::int64_t kNearSums = 4 << 20;

/// Whether rows, no more than the registers hold sums of, are multiplied by bfloat16 columns in place. k has whole
/// pairs, and B's lines are a whole number of float32 apart.
template <class In, class Acc>
bool widens_on_load(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    return plan.kernels->widen_on_load.mr >= p.m && p.m > kDotRows &&
           plan.block * std::int64_t{sizeof(In)} == kWidenOnLoadPitch && plan.source_b == Source::bfloat16 &&
           !plan.packed && !plan.prologue_a && !plan.prologue_b && plan.part == Part::whole &&
           plan.symmetric == Part::whole && r.columns.size == 1 && r.columns.axes[0].b == 1 && r.summed.size == 1 &&
           r.summed.axes[0].b % 2 == 0 && p.k % 2 == 0 && p.n >= kLongSide && p.k >= kLongSide;
}

/// Whether few rows wait for packed weights that the hardware alone asks for: always if the last level is slow; with
/// two units, a single panel of rows with weights that stay in the last level (Zen 5: one row takes 0.86 to 0.95 of the
/// time), and one row of any, whose panels are then far apart.
template <class In, class Acc>
bool waits_for_weights(const Plan<In, Acc>& plan) {
    return caches().large_l2() ||
           (units().two_fma_units &&
            (plan.p.m == 1 || (plan.p.m <= plan.kernels->wide.mr && plan.bytes_of_b() <= far_bytes())));
}

/// Whether one block of adjacent columns is packed as the first rows are multiplied, a panel at a time for all rows: if
/// the sets of the nearest cache that lines so far apart fall on do not hold a panel, so that each kernel would read it
/// from L2 again.
template <class In, class Acc>
bool packs_one_block(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (!units().two_fma_units || !plan.kernels->packing_wide || !plan.one_block() || plan.few_rows()) return false;
    if (plan.packed || plan.prologue_a || plan.prologue_b || plan.sweep || plan.reads_along()) return false;
    if (plan.first == Write::subtract) return false;
    if (!plan.b_is_in || plan.part != Part::whole || plan.symmetric != Part::whole) return false;
    if (r.columns.size != 1 || r.columns.axes[0].b != 1 || r.summed.size != 1) return false;
    const std::int64_t size = sizeof(In), nr = plan.kernels->wide.nr, step = std::llabs(r.summed.axes[0].b) * size;
    if (step % kLine != 0 || p.n < kManyPanels * nr || p.m * p.k * size > passing_bytes()) return false;
    if (p.k * nr * size > caches().l1 / 4 * 3) return false;
    const std::int64_t lines = nr * size / kLine,
                       sets = std::min(kSetStep / std::gcd(step, kSetStep) * lines, kSetStep / kLine),
                       ways = caches().l1 / kSetStep;
    return p.k * lines > sets * ways;
}

template <class In, class Acc>
KernelFamily<In, Acc> choose_family(const Plan<In, Acc>& plan) {
    const KernelSet<In, Acc>& kernels = *plan.kernels;
    const std::int64_t m = plan.p.m, n = plan.p.n;
    const AxisList& columns = plan.p.roles.columns;
    const bool adjacent = columns.size == 1 && columns.axes[0].b == 1;
    if (plan.reads_along()) return kernels.narrow;
    if (plan.widen_on_load) return kernels.widen_on_load;
    if (takes_adjacent_rows(plan)) return kernels.adjacent;
    if (packs_one_block(plan)) return kernels.wide;
    // Two panels of packed weights at once for few rows that wait for them: a single run of memory keeps fewer lines
    // under way; with two panels of rows, the first prefetches for the second.
    const bool two_panels = kernels.wide.nr == 2 * kernels.standard.nr && m <= 2 * kernels.wide.mr &&
                            n >= kernels.wide.nr && waits_for_weights(plan);
    if (plan.packed && plan.few_rows()) return two_panels ? kernels.wide : kernels.standard;
    if (!plan.packed && n <= kernels.narrow.nr) return kernels.narrow;
    if (m <= kernels.wide.mr && n >= kernels.wide.nr) return kernels.wide;
    // A line of 64 bytes is packed in one go.
    const bool line = is_byte(plan.p.b_type) && kernels.group == 4 && adjacent;
    if (plan.few_rows() && !line) return kernels.standard;
    // Rows that are transposed as they are packed gain nothing on a core with one FMA unit.
    const bool across = units().two_fma_units && plan.a_runs_across();
    return plan.a_runs_along() || across || n < 2 * kernels.wide.nr ? panels_family(kernels, n, plan.p.k)
                                                                    : kernels.standard;
}

std::int64_t inner_stride(const AxisList& axes, std::int64_t Axis::*stride) {
    return axes.size == 0 ? std::numeric_limits<std::int64_t>::max() : std::llabs(axes.end()[-1].*stride);
}

/// The smallest stride of a batch axis.
std::int64_t nearest(const AxisList& batch, std::int64_t Axis::*stride) {
    std::int64_t step = std::numeric_limits<std::int64_t>::max();
    for (const Axis& axis : batch)
        if (axis.*stride != 0) step = std::min<std::int64_t>(step, std::llabs(axis.*stride));
    return step;
}

/// Whether the output's lines, or A's, hold elements of several batches.
bool interleaves(const AxisRoles& roles) {
    const auto within = [&](std::int64_t Axis::*stride, const AxisList& x, const AxisList& y) {
        return nearest(roles.batch, stride) < std::min(inner_stride(x, stride), inner_stride(y, stride));
    };
    return within(&Axis::out, roles.rows, roles.columns) || within(&Axis::a, roles.rows, roles.summed);
}

/// Bytes of a packed row of A, or column of B, in a block of k.
template <class In, class Acc>
std::int64_t depth_bytes(const Plan<In, Acc>& plan) {
    const std::int64_t groups = ceil_div(std::min(plan.block, plan.p.k), plan.kernels->group);
    return std::max<std::int64_t>(groups, 1) * std::int64_t{sizeof(In)};
}

/// Whether what is summed is a single axis for B, with equal steps.
bool is_even_in_b(const AxisList& summed) {
    for (std::size_t i = 1; i < static_cast<std::size_t>(summed.size); ++i)
        if (summed.axes[i - 1].b != summed.axes[i].b * summed.axes[i].extent) return false;
    return true;
}

/// Whether rows of B are so far apart that the nearest cache keeps none of a panel for the next rows of A.
template <class In, class Acc>
bool falls_on_few_sets(const Plan<In, Acc>& plan) {
    return plan.p.roles.summed.axes[0].b * std::int64_t{sizeof(In)} % kSetStep == 0;
}

/// Whether the rows stay in L2 while panels of B pass, each brought once from the last level.
template <class In, class Acc>
bool passes(const Plan<In, Acc>& plan, std::int64_t rows, std::int64_t step) {
    const std::int64_t most = rows < cache_model().many_far_rows || step % 64 == 0 ? passing_bytes() : 0;
    return plan.part == Part::whole && !plan.prologue_a && plan.p.roles.summed.size == 1 && !plan.one_block() &&
           !plan.few_rows() && rows * depth_bytes(plan) <= most;
}

/// Whether columns are adjacent, and the kernels can read them as they are stored.
template <class In, class Acc>
bool has_plain_columns(const Plan<In, Acc>& plan) {
    const AxisRoles& r = plan.p.roles;
    return plan.b_is_in && plan.kernels->group == 1 && !plan.pairs && !plan.prologue_b &&
           plan.symmetric == Part::whole && r.columns.size == 1 && r.columns.axes[0].b == 1 && is_even_in_b(r.summed);
}

/// Whether the kernels of the first rows pack plain columns. Their loads are hidden then: float64 takes 0.98 of the
/// time and float32 0.99 (Zen 5, 1024 to 2048 rows). A slow last level is read in longer runs (kFarPackRows).
template <class In, class Acc>
bool packs_by_kernels(const Plan<In, Acc>& plan) {
    return plan.panels_b == Panels::chunks && has_plain_columns(plan) && units().two_fma_units && !caches().large_l2();
}

/// Whether all rows of A fill a quarter of the last level at most.
template <class In, class Acc>
bool rows_are_near(const Plan<In, Acc>& plan) {
    return 4 * plan.p.m * plan.p.k * std::int64_t{sizeof(In)} <= caches().l3_of_one_core();
}

/// Whether chunks of float32 and float64 columns that are packed before the first kernels are read as columns that were
/// packed beforehand are. Columns along k take 0.95 to 1.0 of the time (Zen 5, 8192 x 256 x 64, 512 to 2048 rows), but
/// 1.03 to 1.1 where rows of A fill half of the last level: the smaller chunks bring them more often.
template <class In, class Acc>
bool packs_before_kernels(const Plan<In, Acc>& plan) {
    return plan.panels_b == Panels::chunks && plan.kernels->group == 1 && plan.b_is_in && !plan.prologue_b &&
           plan.symmetric == Part::whole && rows_are_near(plan);
}

/// How many blocks of k of a tile are computed at a time: as many as, of a panel of columns and the rows that share it,
/// stay in three eighths of L2. 0 if A is not read in place, the sums are added to a scaled output, or the caches are
/// others.
///
/// Of the time of one block of k for all columns before the next one, products of 512 to 2048 rows, columns and k take
/// 0.95 to 0.97 in bfloat16, 0.97 to 0.98 in 8-bit integers, 0.96 to 0.99 in float32 (one thread of a Zen 5). More
/// blocks were no faster in float32 of 2048 rows. Where L2 is large it was not measured.
template <class In, class Acc>
std::int64_t blocks_at_once(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    const std::int64_t group = plan.kernels->group, size = sizeof(In);
    if (!units().two_fma_units || caches().large_l2()) return 0;
    // Sums that wait in scratch are not added to the output here: its lines, which the other loops ask for, would be
    // waited for (float32, float64 with beta = 1 and k of 1024 take 1.02 of the time).
    if (!plan.in_output && (plan.segments != 1 || plan.finish.beta != 0)) return 0;
    if (plan.part != Part::whole || plan.prologue_a || plan.few_rows() || p.n <= plan.family.nr) return 0;
    if (!plan.a_runs_along() || r.rows.size != 1 || PackedB::rows(p.k, plan.kernels->group, plan.pairs) * group != p.k)
        return 0;
    if (!fit_sets(plan.family.mr, r.rows.axes[0].a * size / group)) return 0;
    const std::int64_t block = (plan.family.nr + most_together(plan) * plan.family.mr) * plan.block / group * size;
    return std::max<std::int64_t>(caches().l2 / 8 * 3 / block, 1);
}

/// Rows from which columns are packed in chunks of several blocks of k, or one, if B is at most twice as large as L2:
/// 512 to 1024 rows, columns and k of narrow elements take 0.97 to 0.99 of the time of strips (one thread of a Zen 5),
/// float32 and float64 along k 0.97 to 1.0, and with short k on two threads 0.95 to 1.0. Larger columns, whose packing
/// then waits for the last level, take up to 1.07 of it, and with 256 rows up to 1.1.
constexpr std::int64_t kBlocksRows = 512;
/// Whether columns are packed so.
template <class In, class Acc>
bool packs_for_many_rows(const Plan<In, Acc>& plan, std::int64_t rows) {
    const Lowered& p = plan.p;
    return (plan.kernels->group > 1 || (plan.b_is_in && rows_are_near(plan))) && !plan.packed && !plan.prologue_b &&
           plan.symmetric == Part::whole && rows >= kBlocksRows && blocks_at_once(plan) > 0 &&
           p.k * p.n * static_cast<std::int64_t>(size_of(p.b_type)) <= 2 * caches().l2;
}

/// Whether plain columns are packed for fewer rows, too, as the first of them are multiplied, and read as columns that
/// were packed beforehand are. On one thread of a Zen 5, 120 to 300 rows, with columns and k of 100 to 1000, take 0.82
/// to 1.0 of the time. Threads share columns then, and not rows: there have to be enough panels, or as many for each.
template <class In, class Acc>
bool packs_for_fewer_rows(const Plan<In, Acc>& plan) {
    const int threads = threads_here();
    return blocks_at_once(plan) > 0 &&
           (threads == 1 || plan.panels() % (kTasksPerThread * threads) == 0 || plan.panels() >= 8 * threads);
}

/// Adjacent columns that the kernels can read as they are stored are read in place, and prefetched by the kernels of
/// their neighbours, except for many rows. Tapes need much at a time, and so do more rows than stay in L2.
template <class In, class Acc>
Panels panels_of_b(const Plan<In, Acc>& plan) {
    const AxisRoles& r = plan.p.roles;
    if (plan.packed && !plan.widen) return Panels::packed;
    if (plan.sweep || plan.reads_along() || plan.widen_on_load) return Panels::in_place;
    if (plan.prologue_b || plan.symmetric != Part::whole) return Panels::chunks;
    const std::int64_t rows = ceil_div(plan.p.m, plan.row_tasks);
    if (has_plain_columns(plan)) {
        const std::int64_t step = r.summed.size == 0 ? 0 : std::llabs(r.summed.axes[0].b) * std::int64_t{sizeof(In)};
        const CacheModel& model = cache_model();
        const bool beyond = plan.p.k * plan.p.n * std::int64_t{sizeof(In)} >= model.far_bytes,
                   far = beyond || step >= model.far_step;
        // In float64 a panel is packed by the first of many rows, and asked for before (packed_panels.h), in 0.93 to
        // 0.99 of the time of passing (Zen 5, 100 to 128 rows); in float32 in 1.02 to 1.06 of it.
        const bool packs = std::is_same_v<Acc, double> && rows >= model.many_far_rows && blocks_at_once(plan) > 0;
        if ((beyond && !packs && passes(plan, rows, step)) || packs_one_block(plan)) return Panels::passing;
        const std::int64_t least = far || packs_for_fewer_rows(plan) ? model.many_far_rows : model.many_rows;
        const bool many = rows >= least && plan.panels() >= kManyPanels;
        return many && (plan.a_runs_along() || model.across_too) ? Panels::chunks : Panels::in_place;
    }
    const bool rows_stay = rows * depth_bytes(plan) <= rows_bytes() && !packs_for_many_rows(plan, rows);
    return rows_stay && !plan.prologue_a ? Panels::strips : Panels::chunks;
}

/// Bytes of packed panels from which it pays to bring each only once. In float64 it takes 0.98 of the time (Emerald
/// Rapids, Zen 5); in float32 1.00 to 1.03 of it where the last level is slow (Emerald Rapids), and elsewhere 0.98 to
/// 0.99 for panels that come from memory (Zen 5, 4096 x 4096 x 4096).
template <class In, class Acc>
std::int64_t near_panel_bytes() {
    constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
    if (std::is_same_v<Acc, double>) return kNearPanelBytes;
    return std::is_same_v<In, float> && !caches().large_l2() ? caches().l3_of_one_core() + 1 : kNever;
}

/// Whether panels that were packed beforehand are taken as many at a time as stay in L2, like those packed here: each
/// then comes from the last level, or memory, once for all rows. Only with two multiply-adds in a cycle.
template <class In, class Acc>
bool keeps_in_l2(const Plan<In, Acc>& plan) {
    return plan.panels_b == Panels::packed && units().two_fma_units && plan.part == Part::whole && !plan.narrow() &&
           plan.p.k * plan.p.n * std::int64_t{sizeof(In)} >= near_panel_bytes<In, Acc>() &&
           ceil_div(plan.p.m, plan.row_tasks) >= kNearPanelRows;
}

/// The fewest chunks of columns for which rows of A are copied, and rows of a task.
constexpr std::int64_t kCopiedChunks = 4, kCopiedShare = 512;

/// How much of k passes for all columns before the next part. If rows of float64 come from memory for each chunk, of
/// which there are many, a part of them that stays in half of the last level takes 0.94 to 0.97 of the time (Zen 5,
/// 4096 rows, columns and k), although the output passes more often. In float32, whose chunks have twice the
/// columns, 1.00 to 1.04. Tasks of other rows share that level: on two threads a part by all rows takes 0.975 of the
/// time of one by a task's. Where the last level is slow it was not measured.
template <class In, class Acc>
std::int64_t part_of_k(const Plan<In, Acc>& plan) {
    if (plan.copied_rows > 0) return plan.block;
    const std::int64_t rows = ceil_div(plan.p.m, plan.row_tasks), size = sizeof(In),
                       near = caches().l3_of_one_core() / 2, block = plan.p.m * plan.block * size;
    const bool pays = std::is_same_v<Acc, double> && plan.in_output && plan.part == Part::whole &&
                      (plan.packed_in_chunks || plan.panels_b == Panels::chunks) && units().two_fma_units &&
                      !caches().large_l2() && rows * plan.p.k * size > 2 * near && plan.p.n >= 4 * plan.chunk;
    return pays ? std::max<std::int64_t>(near / block, 1) * plan.block : std::max<std::int64_t>(plan.p.k, 1);
}

/// Whether it may pay to copy rows of A, a block of k at a time, for all columns. If A is larger than the last level,
/// it is brought for each chunk, and its rows, as the output's, are in more pages than the TLB holds. A copy is in
/// large pages and stays in the last level, though the output passes once for each block. On one thread of a Zen 5
/// products of 2048 and 4096 rows, columns and k take 0.91 to 0.93 of the time in float64, 4096 in float32 0.94; on two
/// threads 0.93 to 0.98 in float64. A that stays in the last level (1024 in float64) takes 1.0. Where that level is
/// slow it was not measured.
template <class In, class Acc>
bool may_copy_rows(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    return units().two_fma_units && !caches().large_l2() && plan.in_output && plan.part == Part::whole &&
           !plan.prologue_a && plan.kernels->group == 1 && plan.a_runs_along() && p.roles.rows.size == 1 &&
           p.k > plan.block && p.m * p.k * std::int64_t{sizeof(In)} >= caches().l3_of_one_core();
}

/// The most rows that are copied at once, of which half of the last level holds those of all threads; 0 if rows are
/// read in place.
template <class In, class Acc>
std::int64_t rows_to_copy(const Plan<In, Acc>& plan) {
    const bool chunks = plan.packed_in_chunks || (plan.panels_b == Panels::chunks && plan.blocks == 0);
    if (!chunks || !may_copy_rows(plan) || plan.column_tasks > 1 || plan.p.n < kCopiedChunks * plan.chunk) return 0;
    const std::int64_t rows = ceil_div(plan.p.m, plan.row_tasks), size = sizeof(In),
                       most = std::max<std::int64_t>(far_bytes() / threads_here() / (plan.block * size), 1);
    return ceil_div(rows, ceil_div(rows, most));
}

/// Chooses the columns at a time, a strip of them, and the rows that stay meanwhile.
template <class In, class Acc>
void choose_columns(Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const std::int64_t nr = plan.family.nr, columns = ceil_div(plan.panels(), plan.column_tasks) * nr;
    plan.panels_b = panels_of_b(plan);
    // If panels are packed, several panels of rows share a pass, so they may come from the last level in any case.
    plan.packed_in_chunks = keeps_in_l2(plan);
    const bool chunks = plan.packed_in_chunks || plan.panels_b == Panels::chunks;
    const std::int64_t packed = plan.prologue_a || (plan.a_runs_across() && !plan.takes_adjacent())
                                    ? std::max(cache_model().chunk_bytes, kRepeatedChunkBytes)
                                    : cache_model().chunk_bytes,
                       usual = chunks || (!plan.in_output && blocks_at_once(plan) > 0) ? packed : kChunkBytes;
    // Beside a chunk, rows from memory are asked for better by the other loops: float32 of 4096 rows and k takes 0.93
    // of the time there (Zen 5), float64 0.97 to 1.0.
    const bool near = p.m * p.k * std::int64_t{sizeof(In)} < caches().l3_of_one_core();
    const bool blocks =
        plan.panels_b == Panels::packed
            ? !plan.packed_in_chunks
            : (near && packs_by_kernels(plan)) || packs_before_kernels(plan) ||
                  (plan.panels_b == Panels::chunks && packs_for_many_rows(plan, ceil_div(p.m, plan.row_tasks)));
    plan.blocks = blocks ? blocks_at_once(plan) : 0;
    const std::int64_t chunk_bytes = plan.choice.chunk_bytes > 0 ? plan.choice.chunk_bytes : usual;
    std::int64_t whole = std::max<std::int64_t>(nr, chunk_bytes / std::int64_t{sizeof(In)} / nr * nr);
    if (plan.packs_blocks())
        whole = std::max(
            nr, caches().l2 / 2 / (std::min(plan.blocks, ceil_div(p.k, plan.block)) * depth_bytes(plan)) / nr * nr);
    const bool few = plan.few_rows();
    // Columns contiguous along k are in pages of their own: for few rows, no more of them than the TLB holds.
    const bool along = p.roles.summed.size == 1 && p.roles.summed.axes[0].b == 1;
    plan.strip = 0;
    if (plan.sweep)
        plan.chunk = ceil_div(p.m == 1 ? kRowSweepBytes : kSweepBytes / p.m, std::int64_t{sizeof(Acc)} * nr) * nr;
    else if (plan.reads_along())
        plan.chunk = plan.in_output ? columns : kAlongColumns / nr * nr;
    else if (plan.panels_b == Panels::chunks)
        plan.chunk = few ? ceil_div(kFewColumns, nr) * nr : whole;
    else if (plan.panels_b == Panels::packed)
        plan.chunk = few ? columns : whole;
    else
        plan.chunk = along && few ? kAlongColumns / nr * nr : few || plan.in_output ? columns : whole;
    if (plan.panels_b == Panels::passing) plan.strip = nr;
    plan.packing = nullptr;
    const bool passes_packing = plan.panels_b == Panels::passing && (falls_on_few_sets(plan) || plan.one_block());
    if (packs_by_kernels(plan) || passes_packing)
        plan.packing = plan.takes_adjacent()             ? plan.kernels->packing_adjacent
                       : nr == plan.kernels->wide.nr     ? plan.kernels->packing_wide
                       : nr == plan.kernels->standard.nr ? plan.kernels->packing
                                                         : nullptr;
    if ((plan.panels_b == Panels::strips || plan.panels_b == Panels::chunks) && p.n % nr == 0 && packs_groups(plan))
        plan.packing = plan.kernels->packing_groups[static_cast<int>(plan.source_b)];
    if (plan.panels_b == Panels::strips) {
        const std::int64_t line = 64 / static_cast<std::int64_t>(size_of(p.b_type));
        plan.strip =
            ceil_div(std::max((few && !along ? kFewStripBytes : kStripBytes) / depth_bytes(plan), line), nr) * nr;
    }
    plan.chunk = std::min({plan.chunk, columns, ceil_div(kMaxColumns, nr) * nr});
    // Chunks of equal size: each brings all rows of A again, which a small last one would not be worth.
    if (chunks && !few) plan.chunk = ceil_div(columns / nr, ceil_div(columns, plan.chunk)) * nr;
    // A tape runs down whole strips of columns; others it would copy.
    if (plan.epilogue && chunks && !few && plan.chunk > kTapeColumns && kTapeColumns % nr == 0)
        plan.chunk = plan.chunk / kTapeColumns * kTapeColumns;
    plan.strip = std::min(plan.strip, plan.chunk);
    plan.copied_rows = rows_to_copy(plan);
    plan.k_part = part_of_k(plan);
    const auto size = [](DType type) { return static_cast<std::int64_t>(size_of(type)); };
    const std::int64_t bytes =
        p.m * p.k * size(p.a_type) + p.k * p.n * size(p.b_type) + p.m * p.n * std::int64_t{sizeof(Acc)};
    plan.in_cache = plan.packed ? plan.waits_for_panels() && 2 * p.m * p.n * std::int64_t{sizeof(Acc)} <= caches().l2
                                : plan.one_block() && 2 * bytes * p.batches <= caches().l2;
}

/// 8-bit integers with adjacent columns, packed in strips for few rows: blocks of fewer k, and wider strips. Rows of B
/// are often a multiple of 4 KB apart and share few sets of L2, which then hold a strip until it is packed.
template <class In, class Acc>
void choose_block(Plan<In, Acc>& plan) {
    if constexpr (std::is_same_v<Acc, std::uint32_t>) {
        const int group = plan.kernels->group;
        if (group != 4) return;
        const AxisList& columns = plan.p.roles.columns;
        const bool adjacent = columns.size == 1 && columns.axes[0].b == 1;
        plan.block = kBlockK * group;
        if (adjacent && plan.few_rows() && !plan.packed && !plan.sweep && !plan.reads_along() && !plan.one_block() &&
            units().two_fma_units)
            plan.block = kFewBytesBlock * group;
    }
}

/// Halves the rows or the columns until there are enough tiles.
template <class In, class Acc>
void cut_tiles(Plan<In, Acc>& plan, double wanted) {
    const Lowered& p = plan.p;
    const std::int64_t mr = plan.family.mr, nr = plan.family.nr;
    const Panels panels = panels_of_b(plan);
    const bool copies = panels == Panels::chunks && may_copy_rows(plan);
    const bool b_serves = panels == Panels::packed || panels == Panels::in_place;
    while (static_cast<double>(plan.tiles()) < wanted) {
        const std::int64_t rows = p.m / plan.row_tasks, columns = p.n / plan.column_tasks;
        // Cutting the columns brings rows of A for fewer of them, which is a copy at worst. Cutting the rows packs B
        // again, which may transpose it, or only reads it again if it is read in place. Running a tape again costs
        // several copies. Rows that are copied are copied once.
        const bool rows_first = (b_serves && rows >= 2 * kShareRows) || (copies && rows >= 2 * kCopiedShare);
        const std::int64_t a_again = rows * (plan.prologue_a ? 4 : 1),
                           b_again = 2 * columns * (plan.prologue_b ? 4 : 1);
        if (columns >= 2 * nr && !rows_first && (a_again <= b_again || rows < 2 * mr))
            plan.column_tasks *= 2;
        else if (rows >= 2 * mr)
            plan.row_tasks *= 2;
        else
            break;
    }
}

/// Few rows wait for packed weights, which are read best in long runs: two threads of a Zen 5 multiply 16 rows by 4096
/// x 4096 in 0.93 to 0.96 of the time in float32 and 0.98 to 1.0 in bfloat16. Tasks are powers of two.
template <class In, class Acc>
int usual_tasks(const Plan<In, Acc>& plan, int threads) {
    return plan.packed && plan.few_rows() && std::has_single_bit(static_cast<unsigned>(threads)) ? 1 : kTasksPerThread;
}

/// Whether threads share segments of k rather than rows and columns: each then brings all lines of one part of k, while
/// halves of the rows would all bring the columns again. Only if all threads are busy for four fifths of the time and
/// the sums stay in cache.
template <class In, class Acc>
bool splits_first(const Plan<In, Acc>& plan, int threads, double wanted) {
    if (wanted < threads || threads == 1 || plan.tiles() > 1 || plan.part != Part::whole) return false;
    const std::int64_t rounds = ceil_div(plan.segments, threads),
                       sums = plan.segments * plan.p.m * plan.panels() * plan.family.nr * std::int64_t{sizeof(Acc)};
    return plan.segments > 1 && 5 * plan.p.k >= 4 * rounds * threads * plan.segment && sums <= kNearSums;
}

}  // namespace

template <class In, class Acc>
void choose_tasks(Plan<In, Acc>& plan, int threads, bool may_split) {
    const Lowered& p = plan.p;
    choose_block(plan);
    plan.widen_on_load = widens_on_load(plan);
    plan.family = choose_family(plan);
    if (plan.kernels->panel.mr == plan.family.mr && plan.kernels->panel.nr == plan.family.nr && caches().large_l2() &&
        plan.waits_for_rows())
        plan.family = plan.kernels->panel;
    const std::int64_t mr = plan.family.mr;
    const int tasks = plan.choice.tasks > 0 ? plan.choice.tasks : usual_tasks(plan, threads);
    const double work = static_cast<double>(p.batches) * static_cast<double>(p.m) * static_cast<double>(p.n) *
                        static_cast<double>(std::max<std::int64_t>(p.k, 1));
    const double wanted = threads == 1 ? 1 : std::clamp(work / kTaskWork, 1.0, static_cast<double>(tasks * threads));
    plan.row_tasks = plan.in_output || plan.one_block() ? 1 : ceil_div(p.m, kScratchRows);
    const Panels panels = panels_of_b(plan);
    if (plan.narrow() && (panels == Panels::in_place || (panels == Panels::packed && plan.a_is_far())))
        plan.row_tasks = ceil_div(p.m, kNarrowRows);
    plan.column_tasks = 1;
    plan.split_k = may_split && splits_first(plan, threads, wanted);
    plan.batch_inner = interleaves(p.roles);
    if (plan.split_k) {
        choose_columns(plan);
        return;
    }
    if (plan.batch_inner) {
        const std::int64_t size = static_cast<std::int64_t>(size_of(p.a_type));
        const std::int64_t row_bytes = p.batches * (p.n * size_of(p.out_type) + p.k * size);
        const std::int64_t rows =
            std::max(interleaved_bytes() / std::max<std::int64_t>(row_bytes, 1) / mr * mr, 2 * mr);
        plan.row_tasks = std::max(plan.row_tasks, ceil_div(p.m, rows));
    }
    if (plan.part != Part::whole) {
        // Only shares of the rows, or of the columns if they are packed, an even number: see share_of_triangle.
        const bool rows = panels != Panels::chunks;
        std::int64_t& shares = rows ? plan.row_tasks : plan.column_tasks;
        const std::int64_t least = rows ? 4 * mr : 4 * plan.family.nr;
        while (wanted > 1 && shares < 2 * threads && p.m >= least * shares) shares *= 2;
    } else {
        cut_tiles(plan, wanted);
    }
    choose_columns(plan);
    const double sums = static_cast<double>(plan.segments) * static_cast<double>(p.batches) * static_cast<double>(p.m) *
                        static_cast<double>(p.n + plan.column_tasks * plan.family.nr) * sizeof(Acc);
    plan.split_k = plan.segments > 1 && static_cast<double>(plan.tiles()) < std::min<double>(wanted, threads) &&
                   sums < kSplitBytes;
}

template <class In, class Acc>
void cut_as(Plan<In, Acc>& plan, std::int64_t row_tasks, std::int64_t column_tasks) {
    plan.row_tasks = row_tasks, plan.column_tasks = column_tasks;
    choose_columns(plan);
}

template void choose_tasks(Plan<float, float>&, int, bool);
template void choose_tasks(Plan<double, double>&, int, bool);
template void choose_tasks(Plan<std::uint32_t, float>&, int, bool);
template void choose_tasks(Plan<std::uint32_t, std::uint32_t>&, int, bool);
template void choose_tasks(Plan<std::uint64_t, std::uint64_t>&, int, bool);
template void cut_as(Plan<float, float>&, std::int64_t, std::int64_t);
template void cut_as(Plan<double, double>&, std::int64_t, std::int64_t);
template void cut_as(Plan<std::uint32_t, float>&, std::int64_t, std::int64_t);
template void cut_as(Plan<std::uint32_t, std::uint32_t>&, std::int64_t, std::int64_t);
template void cut_as(Plan<std::uint64_t, std::uint64_t>&, std::int64_t, std::int64_t);

}  // namespace tenon::product::dense
