// What a blocked product needs from an instruction set: micro-kernels, packing, addition of partial sums, rounding.
// Included by kernels that are compiled for any instruction set, so it must not define a function.
//
// A kernel reads operands of type In and sums in type Acc. An In holds `group` consecutive elements of k: one float,
// two bfloat16 (AVX-512 BF16), two bytes widened to 16 bits, four bytes (AVX-512 VNNI). Lengths of k count groups here;
// a last group is filled up with zeros.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// What happens to a block's sums: the first block is stored, the next ones are added; or a single block is subtracted.
enum class Write : std::uint8_t { store, add, subtract };

/// Lines of memory that will be needed soon. A kernel prefetches one at each step of k, so that none is waited for and
/// none delays a load. `run` lines are `step` bytes apart; then the start moves by `jump`.
struct PrefetchLines {
    const char* at = nullptr;
    std::int64_t step = 0, jump = 0, run = 0;
    std::int64_t left_in_run = 0, left = 0;
    std::int64_t second = 64;  // distance to the second line of a step, for kernels that prefetch two
    // one line every kSpreadSteps steps instead, so that line buffers stay free for ordinary loads
    bool spread = false;
    bool two = false;  // two lines at each step, by kernels of standard width
};

/// kRowSteps for KernelSet::panel.
inline constexpr int kSpreadSteps = 4, kRowSteps = 3;
/// Bytes between rows of A in KernelSet::widen_on_load, as packed for a block of k. It is a constant because a kernel
/// of so many rows has no registers for their addresses.
inline constexpr std::int64_t kWidenOnLoadPitch = 384 * 4;

/// What the calls of a micro-kernel over one block share.
struct Block {
    std::int64_t kc;
    std::int64_t lda;  // bytes from one row to the next
    std::int64_t ldb, ldc;  // elements
    std::int64_t columns;  // of a tail kernel: reads no column of b and touches no column of c beyond these
    Write write;
    std::int64_t ahead;  // elements from a row of b to the next data to prefetch into L2; 0 for none
    PrefetchLines* lines = nullptr;  // more lines to prefetch, or null
    std::int64_t gap = 0;  // elements from the first to the third vector of b's columns; 0: all are adjacent
    bool in_cache = false;  // c is in the nearest caches, or written once: its rows are not prefetched
    bool nontemporal = false;  // whole, aligned vectors of c are stored past the caches; only for kernels that store
};

/// c[i * ldc + j] from a[i * lda + k] and b[k * ldb + j], one chain an element, k ascending.
template <class In, class Acc>
using MicroKernel = void (*)(const Block&, const In* a, const In* b, Acc* c);

/// The same; it also stores what it reads of b at packed[k * nr + j] for the next rows of a, and prefetches each row of
/// b `ahead` elements before it is read, since b's rows are far apart.
template <class In, class Acc>
using PackingKernel = void (*)(const Block&, const In* a, const In* b, In* packed, Acc* c);

/// Part of a block of k, so short that its panel of B stays in the nearest cache.
struct PartBlock {
    std::int64_t kc;
    std::int64_t lda;  // bytes from one row to the next
    std::int64_t a_step, ldb, ldc;  // elements: from one k of a to the next; of b where it is read in place; of c
    bool resumes;  // the chains go on from c, and are stored there
    Write write;  // otherwise: store or add
    PrefetchLines* lines;  // prefetches two at each step; or null
};
/// c[i * ldc + j] from a[i * lda + k * a_step] and b[k * ldb + j], for whole vectors of columns. One that packs stores
/// what it reads of b at packed[k * nr + j]; the others read it there, and not b.
template <class In, class Acc>
using PartKernel = void (*)(const PartBlock&, const In* a, const In* b, In* packed, Acc* c);
/// By rows - 1.
template <class In, class Acc>
struct PartKernels {
    const PartKernel<In, Acc>*packing, *packed;
};

/// Kernels nr columns wide; whole[r - 1] and tail[r - 1] take r rows, 1 <= r <= mr.
template <class In, class Acc>
struct KernelFamily {
    int mr, nr;
    const MicroKernel<In, Acc>*whole, *tail;
};

/// What packing reads: lines of an operand, i.e. its rows (A) or columns (B). Offsets of lines and of k count stored
/// elements.
struct PackSource {
    const void* data;
    const std::int64_t *line_offsets, *k_offsets;
    std::int64_t lines, k;
};
/// dst[line * pitch + group]; the remainder of each line's last vector is zero.
template <class In>
using PackLines = void (*)(In* dst, std::int64_t pitch, const PackSource& source);
/// dst[group * pitch + line]; each row is padded with zeros to a whole vector.
template <class In>
using PackAcross = void (*)(In* dst, std::int64_t pitch, const PackSource& source);

/// Widens `n` contiguous stored elements to one In each.
template <class In>
using WidenRun = void (*)(In* to, const void* from, std::int64_t n);

/// The sums of a few rows with columns of B that are contiguous along k, transposed in registers and not packed: c[i *
/// ldc + j] for j < columns. Consecutive elements of k begin at b + column_offsets[j]. Every `block` elements form a
/// chain, and the chains of a column are added in order.
template <class In, class Acc>
struct DotBlock {
    std::int64_t k;  // elements, not groups
    const In* a;
    std::int64_t lda;  // bytes
    const void* b;
    const std::int64_t* column_offsets;
    std::int64_t columns;
    Acc* c;
    std::int64_t ldc;
    Write write;
    std::int64_t block = std::int64_t{1} << 62;
    Acc* widened = nullptr;  // scratch for one row of bfloat16 pairs, multiplied as float32; or null
    bool far = false, from_memory = false;  // where columns come from: beyond L2, beyond the last level
    bool two_chains = false;  // one row takes two blocks at a time
};
template <class In, class Acc>
using DotKernel = void (*)(const DotBlock<In, Acc>&);
inline constexpr int kDotRows = 4;

/// The same sums for as many rows as vectors have lanes. A is packed, its rows adjacent for each group of k; elements
/// of B, stored as groups, are broadcast from where they are. Lengths of k count groups.
template <class In, class Acc>
struct TransposedBlock {
    std::int64_t k, block, rows;
    const In* a;
    std::int64_t pitch;  // from one k of A to the next
    const In* b;
    std::int64_t step;  // bytes from one column to the next
    std::int64_t columns;
    Acc* c;
    std::int64_t ldc;
    Write write;
    bool ten;  // columns at a time, not eight, for one vector of rows
    bool ask;  // for the lines of the columns that come next, which come from memory
};
template <class In, class Acc>
using TransposedKernel = void (*)(const TransposedBlock<In, Acc>&);

/// The sums of a few rows with adjacent columns of B, read in memory order and not packed: all columns for some k, then
/// for the next. c[i * ldc + j] starts at zero; element e of k is at b + k_offsets[e].
template <class In, class Acc>
struct SweepBlock {
    std::int64_t k;  // elements
    const In* a;
    std::int64_t lda;  // bytes
    const void* b;
    const std::int64_t* k_offsets;
    std::int64_t columns;
    Acc* c;
    std::int64_t ldc;
    bool fetch = true;  // prefetches the following rows of B; not of one row whose B is stored as it is read
    bool many_rows = true;  // such a row takes eight rows of B at a time, not four with longer runs of each
};
template <class In, class Acc>
using SweepKernel = void (*)(const SweepBlock<In, Acc>&);

/// dst[i] += src[i].
template <class Acc>
using AddTo = void (*)(Acc* dst, const Acc* src, std::int64_t n);

/// sums[i] = fma(alpha, sums[i], beta * c[i]); alpha * sums[i] where c is null.
template <class Acc>
using Scale = void (*)(Acc* sums, const Acc* c, std::int64_t n, Acc alpha, Acc beta);

/// The operand types that a kernel takes, in the order of KernelSet::lines.
enum class Source : std::uint8_t { same, float16, bfloat16, int8, uint8, int16, uint16 };
inline constexpr int kSourceCount = 7;

/// `narrow` is half as wide as `standard`, for few columns. `wide` is for few rows. `half` takes half a vector of
/// columns of B in place and has as many rows as `narrow`; `quarter` takes a quarter of a vector, `triple` three
/// vectors for few rows. `panel` is as large as `wide`, for a single panel of columns with rows from memory, which it
/// prefetches more often. The last four have 0 rows if the set lacks them.
template <class In, class Acc>
struct KernelSet {
    int group, lanes;
    KernelFamily<In, Acc> narrow, standard, wide, half, quarter, triple, panel;
    // For few rows and adjacent columns of bfloat16, which are widened as they are loaded. B is bfloat16, but its
    // pointer, pitch and distances are in units of In as everywhere. 0 rows if there is none.
    KernelFamily<In, Acc> widen_on_load;
    int in_cache_rows[4];  // rows of a tile of one to four vectors whose operands are in cache; 0: no limit
    AddTo<Acc> add_to;
    Scale<Acc> scale;  // null for integers
    // Null if the set does not take the source. Only the VNNI set depends on the signedness of bytes: it needs unsigned
    // lines and signed columns, and shifts others by 128 as it packs them.
    PackLines<In> lines[kSourceCount];
    PackAcross<In> across[kSourceCount];
    WidenRun<In> widen_run;  // of bfloat16 as float32; otherwise null
    // As large as `wide`, for rows of A that are adjacent: Block::lda is then from one k to the next. 0 rows if the set
    // lacks it.
    KernelFamily<In, Acc> adjacent;
    const PackingKernel<In, Acc>* packing_adjacent;
    // By the source of B and by rows - 1; null if there is none.
    DotKernel<In, Acc> dot[kSourceCount][kDotRows];
    SweepKernel<In, Acc> sweep[kSourceCount][kDotRows];
    // For rows that fill half a vector, one and two; and how A is packed for them. Null if there is none.
    TransposedKernel<In, Acc> transposed[3];
    PackAcross<In> transposed_a[kSourceCount];
    // Of the columns of `standard` and of `wide`, by rows - 1; or null.
    const PackingKernel<In, Acc>*packing, *packing_wide;
    // By the source of B, of the columns of `wide`: columns of narrow elements that are adjacent, whose groups it puts
    // together. Block::ldb and ahead count stored elements, and b points to them. Null if there is none.
    const PackingKernel<In, Acc>* packing_groups[kSourceCount];
    // Of the columns of `narrow` and of `standard`; null if there is none.
    PartKernels<In, Acc> part[2];
};

struct IsaKernels {
    KernelSet<float, float> f32;
    KernelSet<float, float> bf16;  // widened; odd element of a pair first, subnormals flushed
    KernelSet<double, double> f64;
    KernelSet<std::uint32_t, std::uint32_t> u32;
    KernelSet<std::uint32_t, std::uint32_t> bytes;
    KernelSet<std::uint64_t, std::uint64_t> u64;
};

/// Widens rows of packed bfloat16 pairs, this many vectors wide, to twice as many rows of float32; pitches in elements.
using WidenPairs = void (*)(float* to, std::int64_t pitch, const std::uint32_t* from, std::int64_t from_pitch,
                            std::int64_t rows, std::int64_t vectors);

/// Instructions that sum products of narrow elements.
struct DotKernels {
    KernelSet<std::uint32_t, float> bf16;
    KernelSet<std::uint32_t, std::uint32_t> int8;
    WidenPairs widen;
};

// clang-format off
namespace baseline { extern const IsaKernels kKernels; }
namespace avx2 { extern const IsaKernels kKernels; }
namespace avx512 { extern const IsaKernels kKernels; }
namespace avx512_dot { extern const DotKernels kKernels; }
namespace neon { extern const IsaKernels kKernels; }
// clang-format on

}  // namespace tenon::product::dense
