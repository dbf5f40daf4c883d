// What a blocked product takes from an instruction set: micro-kernels, packing, addition of partial sums, rounding.
// Included by kernels compiled for any instruction set, so nothing here defines a function.
//
// A kernel reads operands of type In and sums in type Acc. An In holds `group` consecutive elements of k: one float,
// two bfloat16 (AVX-512 BF16), two bytes widened to 16 bits, four bytes (AVX-512 VNNI). Lengths of k count groups here;
// a last group is filled up with zeros.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// How a block's sums meet the tile: the first block stores, the next ones add; or one block is subtracted.
enum class Write : std::uint8_t { store, add, subtract };

/// Lines of memory that are wanted soon: a kernel asks for one at each step of k, so that none of them waits and none
/// crowds out a load. `run` of them lie `step` bytes apart; then the first moves on by `jump`.
struct Ahead {
    const char* at = nullptr;
    std::int64_t step = 0, jump = 0, run = 0;
    std::int64_t left_in_run = 0, left = 0;
    std::int64_t second = 64;  // from a line to the other one of a step, of a kernel that asks for two
    bool spread = false;  // one with every kSpreadSteps steps instead: others' loads find free buffers
};

/// kRowSteps for KernelSet::panel.
inline constexpr int kSpreadSteps = 4, kRowSteps = 3;
/// Bytes from one row of A to the next of KernelSet::beside: as packed for a block of k. So many rows as it has want
/// more registers for addresses than there are.
inline constexpr std::int64_t kBesidePitch = 384 * 4;

/// What the calls of a micro-kernel over a block share.
struct Block {
    std::int64_t kc;
    std::int64_t lda;  // bytes
    std::int64_t ldb, ldc;  // elements
    std::int64_t columns;  // of a tail kernel: nothing beyond is read in b or touched in c
    Write write;
    std::int64_t ahead;  // elements from a row of b to what the caller wants in L2 next; 0 for nothing
    Ahead* lines = nullptr;  // wanted as well; or null
    std::int64_t gap = 0;  // elements from columns of b to those two vectors on; 0: they lie side by side
    bool near = false;  // c is in the nearest caches, or written once: its rows are not fetched
    bool past = false;  // whole vectors of c, aligned, are stored past the caches; of a kernel that stores
};

/// c[i * ldc + j] from a[i * lda + k] and b[k * ldb + j], one chain an element, k ascending.
template <class In, class Acc>
using MicroKernel = void (*)(const Block&, const In* a, const In* b, Acc* c);

/// The same, which stores what it reads of b at packed[k * nr + j], for the next rows of a, and asks for each row of b
/// `ahead` elements before: b's rows lie far apart. `write` stores or adds.
template <class In, class Acc>
using PackingKernel = void (*)(const Block&, const In* a, const In* b, In* packed, Acc* c);

/// Kernels nr columns wide; whole[r - 1] and tail[r - 1] take r rows, 1 <= r <= mr.
template <class In, class Acc>
struct KernelFamily {
    int mr, nr;
    const MicroKernel<In, Acc>*whole, *tail;
};

/// Packs lines of an operand in groups of k. `lines` are its rows (A) or columns (B), whose offsets count stored
/// elements, as do those of k.
struct PackSource {
    const void* data;
    const std::int64_t *line_offsets, *k_offsets;
    std::int64_t lines, k;
};
/// dst[line * pitch + group]; the rest of a last vector of each line is zero.
template <class In>
using PackLines = void (*)(In* dst, std::int64_t pitch, const PackSource& source);
/// dst[group * pitch + line]; filled up with zeros to a multiple of the vector length in each row.
template <class In>
using PackAcross = void (*)(In* dst, std::int64_t pitch, const PackSource& source);

/// `n` stored elements side by side, each as an In.
template <class In>
using WidenRun = void (*)(In* to, const void* from, std::int64_t n);

/// The sums of a few rows with columns of B that run along k in memory, transposed in registers and packed nowhere:
/// c[i * ldc + j] for j < columns. k offsets are consecutive from b + column_offsets[j]. Every `block` elements are a
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
    Acc* widened = nullptr;  // of one row of pairs of bfloat16: room for its elements, multiplied as float32; or null
};
template <class In, class Acc>
using DotKernel = void (*)(const DotBlock<In, Acc>&);
inline constexpr int kDotRows = 4;

/// The same sums of as many rows as vectors have lanes: A is packed, its rows side by side for each group of k, and
/// columns of B, stored as groups, are broadcast from where they are. Lengths of k count groups.
template <class In, class Acc>
struct TurnedBlock {
    std::int64_t k, block, rows;
    const In* a;
    std::int64_t pitch;  // of A's rows, from one k to the next
    const In* b;
    std::int64_t step;  // bytes from one column to the next
    std::int64_t columns;
    Acc* c;
    std::int64_t ldc;
    Write write;
};
template <class In, class Acc>
using TurnedKernel = void (*)(const TurnedBlock<In, Acc>&);

/// The sums of a few rows with columns of B that lie side by side, read in the order of memory and packed nowhere: all
/// columns for some k, then for the next. c[i * ldc + j] starts at zero; element e of k is at b + k_offsets[e].
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
    bool fetch = true;  // the rows of B after those in hand are asked for
};
template <class In, class Acc>
using SweepKernel = void (*)(const SweepBlock<In, Acc>&);

/// dst[i] += src[i].
template <class Acc>
using AddTo = void (*)(Acc* dst, const Acc* src, std::int64_t n);

/// sums[i] = fma(alpha, sums[i], beta * c[i]); alpha * sums[i] where c is null.
template <class Acc>
using Scale = void (*)(Acc* sums, const Acc* c, std::int64_t n, Acc alpha, Acc beta);

/// The operand types a kernel takes, in the order of KernelSet::lines.
enum class Source : std::uint8_t { same, float16, bfloat16, int8, uint8, int16, uint16 };
inline constexpr int kSourceCount = 7;

/// `narrow` is half as wide as `standard`, for few columns; `wide` is for few rows; `half` takes half a vector of
/// columns of B in place, and has as many rows as `narrow`. `quarter` takes a quarter, `triple` three vectors, for few
/// rows. `panel` is as large as `wide`: for one panel of columns with rows from memory, which it asks for more often.
/// Where there is none of the last four, it has 0 rows.
template <class In, class Acc>
struct KernelSet {
    int group, lanes;
    KernelFamily<In, Acc> narrow, standard, wide, half, quarter, triple, panel;
    // For few rows with columns of bfloat16 side by side, read where they are. B is bfloat16 there, but its pointer,
    // pitch and distances are given in units of In as everywhere. 0 rows where there is none.
    KernelFamily<In, Acc> beside;
    int near_rows[4];  // of a tile of one to four vectors whose operands are near; 0: as many as there are
    AddTo<Acc> add_to;
    Scale<Acc> scale;  // null for integers
    // Null where the set does not take the source. The signedness of bytes matters to the VNNI set alone: it wants
    // unsigned lines and signed columns, and others are moved by 128 as they are packed.
    PackLines<In> lines[kSourceCount];
    PackAcross<In> across[kSourceCount];
    WidenRun<In> widen_run;  // of bfloat16 as float32; else null
    // By the source of B and rows - 1; null where there are none.
    DotKernel<In, Acc> dot[kSourceCount][kDotRows];
    SweepKernel<In, Acc> sweep[kSourceCount][kDotRows];
    // Of rows that fill half a vector, one and two, and how A is packed for them; null where there are none.
    TurnedKernel<In, Acc> turned[3];
    PackAcross<In> turned_a[kSourceCount];
    // Of the columns of `standard` and of `wide`, by rows - 1; or null.
    const PackingKernel<In, Acc>*packing, *packing_wide;
};

struct IsaKernels {
    KernelSet<float, float> f32;
    KernelSet<float, float> bf16;  // widened; odd element of a pair first, subnormals flushed
    KernelSet<double, double> f64;
    KernelSet<std::uint32_t, std::uint32_t> u32;
    KernelSet<std::uint32_t, std::uint32_t> bytes;
    KernelSet<std::uint64_t, std::uint64_t> u64;
};

/// Rows of packed pairs of bfloat16, so many vectors wide, as twice as many rows of float32; pitches in elements.
using WidenPairs = void (*)(float* to, std::int64_t pitch, const std::uint32_t* from, std::int64_t from_pitch,
                            std::int64_t rows, std::int64_t vectors);

/// Of instructions that sum products of narrow elements.
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
