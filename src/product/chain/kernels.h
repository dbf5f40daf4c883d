// What a chain needs from an instruction set besides dense/kernels.h: micro-kernels whose rows of A are adjacent, as
// the first product leaves them if its lanes are the second product's rows. Included by kernels compiled for any
// instruction set, so it must not define a function.
#pragma once

#include <cstdint>

#include "product/dense/kernels.h"

namespace tenon::product::chain {

using dense::PrefetchLines;

template <class In, class Acc>
struct CrossBlock {
    std::int64_t kc;
    std::int64_t lda, ldb, ldc;  // lda and ldb: elements from one k to the next; ldc: from one row of c to the next
    std::int64_t columns;  // of a tail kernel: touches nothing beyond in c
    dense::Write write;
    PrefetchLines* ahead;
    /// Only whole kernels of the form "panels": stores go past the caches. c is aligned to vectors, and `write` is
    /// store.
    bool nontemporal = false;
    /// Only kernels of the form "panels": the sums of whole vectors that the chains continue, `before_row` elements
    /// from one row to the next; or null.
    const Acc* before = nullptr;
    std::int64_t before_row = 0;
};

/// c[i * ldc + j] from a[k * lda + i] and b[k * ldb + j], one chain for each element, k ascending.
template <class In, class Acc>
using CrossKernel = void (*)(const CrossBlock<In, Acc>&, const In* a, const In* b, Acc* c);

/// dst[k * pitch + line] for lines of k elements (In) each, `step` bytes apart. Lines are padded to whole vectors.
template <class In>
using TransposeLines = void (*)(In* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t lines,
                                std::int64_t k);

/// Rows of k bfloat16, `step` bytes apart, k even, widened to In; the odd one of each pair comes first.
template <class In>
using WidenRows = void (*)(In* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t rows,
                           std::int64_t k);

/// Copies `rows` rows of `bytes` bytes, `pitch` bytes apart, to offsets[i] * size bytes from `to`.
using CopyRows = void (*)(char* to, const std::int64_t* offsets, std::int64_t size, const char* from,
                          std::int64_t pitch, std::int64_t rows, std::int64_t bytes);

/// Rows of the second product that the form "panels" (panels.h) keeps together, and bytes of each row in a chunk of
/// columns.
inline constexpr int kPanelRows = 14, kPanelBytes = 32;

/// Two slices of x, read in place, with their weights. For each row, the sums of whole vectors of columns are stored as
/// In at z + column / c * z_chunk + column % c + row * z_row, with c columns in kPanelBytes. Sums narrower than In
/// share one, the second slice in its upper part; otherwise the second slice is `z_slice` further.
struct PanelBlock {
    std::int64_t kc;
    std::int64_t row, slice;  // bytes, in x
    std::int64_t w_row, w_slice;  // elements from one k to the next, and from one slice to the other
    std::int64_t z_chunk, z_row, z_slice;  // elements
    PrefetchLines* ahead;  // prefetches two lines at each step
};
template <class In>
using PanelKernel = void (*)(const PanelBlock&, const In* x, const In* w, In* z);

/// By the number of vectors of columns - 1; the kernel of r rows is at [r - 1].
template <class In, class Acc>
struct CrossKernels {
    int mr = 0, lanes = 0;
    const CrossKernel<In, Acc>*whole[2] = {}, *tail[2] = {};
    /// The same, rounding the sums to bfloat16 as they are stored (c is then bfloat16); or null. They do not add.
    const CrossKernel<In, Acc>*narrow[2] = {}, *narrow_tail[2] = {};
    /// For tails of at most half a vector of columns, on a CPU that starts two half-vector multiply-adds at once; or
    /// null.
    const CrossKernel<In, Acc>* half = nullptr;
    TransposeLines<In> transpose = nullptr;
    CopyRows copy = nullptr;
    /// Only for bfloat16 that is multiplied as float32. `round` gives each of n numbers its bfloat16 value; it touches
    /// whole vectors.
    WidenRows<In> widen = nullptr;
    void (*round)(In* x, std::int64_t n) = nullptr;
    /// Of the form "panels": kPanelRows / 2 and kPanelRows rows; or null. The second product's rows of A are
    /// kPanelBytes apart, and its kernels prefetch two lines at each step.
    const PanelKernel<In>* panel_first[2] = {};
    const CrossKernel<In, Acc>*panel_whole[2] = {}, *panel_tail[2] = {};
    const CrossKernel<In, Acc>*panel_narrow[2] = {}, *panel_narrow_tail[2] = {};
    const CrossKernel<In, Acc>* panel_half = nullptr;
};

struct IsaCrossKernels {
    CrossKernels<float, float> f32;
    CrossKernels<double, double> f64;
    /// bfloat16 as float32, the odd element of each pair first: `transpose` takes pairs and gives two rows for each;
    /// the first product of the form "panels" rounds what it stores. Has no rows if there are no such kernels.
    CrossKernels<float, float> bf16;
};

// clang-format off
namespace baseline { extern const IsaCrossKernels kKernels; }
namespace avx2 { extern const IsaCrossKernels kKernels; }
namespace avx512 { extern const IsaCrossKernels kKernels; }
namespace avx512_dot { extern const CrossKernels<std::uint32_t, float> kKernels; }
namespace neon { extern const IsaCrossKernels kKernels; }
// clang-format on

}  // namespace tenon::product::chain
