// What a chain takes from an instruction set, beside what blocked products take (dense/kernels.h): micro-kernels whose
// rows of A lie side by side, which is how the first product leaves them where its lanes are the second one's rows.
// Included by kernels compiled for any instruction set, so nothing here defines a function.
#pragma once

#include <cstdint>

#include "product/dense/kernels.h"

namespace tenon::product::chain {

using dense::Ahead;

template <class In, class Acc>
struct CrossBlock {
    std::int64_t kc;
    std::int64_t lda, ldb, ldc;  // elements, from one k to the next and from one row of c to the next
    std::int64_t columns;  // of a tail kernel: nothing beyond is touched in c
    dense::Write write;
    Ahead* ahead;
};

/// c[i * ldc + j] from a[k * lda + i] and b[k * ldb + j], one chain an element, k ascending.
template <class In, class Acc>
using CrossKernel = void (*)(const CrossBlock<In, Acc>&, const In* a, const In* b, Acc* c);

/// dst[k * pitch + line] for lines `step` bytes apart of k elements (In) each. Lines are filled up to whole vectors.
template <class In>
using TransposeLines = void (*)(In* dst, std::int64_t pitch, const void* src, std::int64_t step, std::int64_t lines,
                                std::int64_t k);

/// By the number of vectors of columns - 1; a kernel of r rows at [r - 1].
template <class In, class Acc>
struct CrossKernels {
    int mr = 0, lanes = 0;
    const CrossKernel<In, Acc>*whole[2] = {}, *tail[2] = {};
    /// The same, which round their sums to bfloat16 as they store them (c is in fact of those); or null. They do not
    /// add.
    const CrossKernel<In, Acc>*narrow[2] = {}, *narrow_tail[2] = {};
    TransposeLines<In> transpose = nullptr;
};

struct IsaCrossKernels {
    CrossKernels<float, float> f32;
    CrossKernels<double, double> f64;
};

// clang-format off
namespace baseline { extern const IsaCrossKernels kKernels; }
namespace avx2 { extern const IsaCrossKernels kKernels; }
namespace avx512 { extern const IsaCrossKernels kKernels; }
namespace avx512_dot { extern const CrossKernels<std::uint32_t, float> kKernels; }
namespace neon { extern const IsaCrossKernels kKernels; }
// clang-format on

}  // namespace tenon::product::chain
