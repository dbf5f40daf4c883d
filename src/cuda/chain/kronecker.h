// Kronecker layers of two 64 x 64 cores in one pass over the rows on a GPU of compute capability 9.0, in bf16 with f32
// sums. A row of x is a matrix of 64 x 64, and each product sums over one of its axes:
//
//     z[i, m, n] = sum_k x[i, n, k] first[m, k]   or   sum_k x[i, k, n] first[m, k]        rounded to bf16
//     y[i, m, l] = sum_n z[i, m, n] second[l, n]
//
// Law: as in chain.h.
#pragma once

#include <cstdint>

#include "base/view.h"
#include "cuda/compiler.h"
#include "cuda/device.h"
#include "product/contract.h"
#include "tenon/dtype.h"

namespace tenon::cuda {

/// A core in the device's memory. `outer` and `summed` are the strides, in elements, of the axis that the product keeps
/// and of the one over which it sums.
struct SquareCore {
    const void* data = nullptr;
    std::int64_t outer = 0, summed = 0;
};

struct KroneckerPass {
    std::int64_t rows = 0;
    bool sums_first = false;  // whether the first product sums over the first axis of a row's matrix, not the last
    bool y_transposed = false;  // whether y is stored as [l][m], not [m][l]
    bool keeps = false, kept_transposed = false;  // whether z is stored, too, and whether as [n][m], not [m][n]
    const void* x = nullptr;  // contiguous rows of 64 x 64; its address is a multiple of 16, as are those of y and z
    SquareCore first, second;
    void* y = nullptr;
    void* kept = nullptr;
};

Unit unit_of(const KroneckerPass& pass);
/// Why the kernel does not take the pass; null where it does.
const char* declines(const Gpu& gpu, const KroneckerPass& pass);
/// Cost: x is read once, and y (and z, where it is kept) is written once.
void run(Gpu& gpu, const KroneckerPass& pass);

/// The gradient of a core: out[m, n] = sum over rows i and k of left_i[m, k] right_i[k, n], with rows as in a pass.
struct SquareGradient {
    std::int64_t rows = 0;
    bool left_transposed = false;  // whether a row of `left` is stored as [k][m], not [m][k]
    bool right_transposed = false;  // whether a row of `right` is stored as [n][k], not [k][n]
    const void *left = nullptr, *right = nullptr;
    DType dtype = DType::float32;  // or bfloat16
    void* out = nullptr;
    std::int64_t row = 0, column = 0;  // strides of out
};

Unit unit_of(const SquareGradient& gradient);
/// Recognizes a contraction that is such a gradient; false where it is not.
bool match(const View& a, const View& b, const View& out, const product::Labels& labels, SquareGradient& matched);
bool takes(const Gpu& gpu, const SquareGradient& gradient);
/// Cost: both operands are read once; 4 MB of partial sums stay in the cache.
void run(Gpu& gpu, const SquareGradient& gradient);

}  // namespace tenon::cuda
