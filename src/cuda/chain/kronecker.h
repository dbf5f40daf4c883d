// Kronecker layers of two squares of 64 in one pass over the rows on a GPU of compute capability 9.0, in bf16 with f32
// sums. A row of x is a matrix of 64 x 64, of which each product sums over one axis:
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

/// A core in the device's memory: distances, in elements, of the axis that the sums have and of the one they are over.
struct SquareCore {
    const void* data = nullptr;
    std::int64_t outer = 0, summed = 0;
};

struct KroneckerPass {
    std::int64_t rows = 0;
    bool sums_first = false;  // x's axis that the first product sums over lies first, else last
    bool y_transposed = false;  // y lies [l][m], else [m][l]
    bool keeps = false, kept_transposed = false;  // z is stored too, as [n][m], else [m][n]
    const void* x = nullptr;  // rows of 64 x 64 without gaps, at multiples of 16, as y and z
    SquareCore first, second;
    void* y = nullptr;
    void* kept = nullptr;
};

Unit unit_of(const KroneckerPass& pass);
/// Why the kernel does not take it; null where it does.
const char* declines(const Gpu& gpu, const KroneckerPass& pass);
/// Cost: x read once, y (and z, where it is kept) written once.
void run(Gpu& gpu, const KroneckerPass& pass);

/// out[m, n] = sum over rows i and k of left_i[m, k] right_i[k, n], with rows as in a pass: the gradient of a core.
struct SquareGradient {
    std::int64_t rows = 0;
    bool left_transposed = false;  // a row lies [k][m]
    bool right_transposed = false;  // a row lies [n][k]
    const void *left = nullptr, *right = nullptr;
    DType dtype = DType::float32;  // or bfloat16
    void* out = nullptr;
    std::int64_t row = 0, column = 0;  // strides of out
};

Unit unit_of(const SquareGradient& gradient);
/// A contraction as such a gradient; false where it is none.
bool match(const View& a, const View& b, const View& out, const product::Labels& labels, SquareGradient& matched);
bool takes(const Gpu& gpu, const SquareGradient& gradient);
/// Cost: both operands read once, and 4 MB of partial sums, which stay in the cache.
void run(Gpu& gpu, const SquareGradient& gradient);

}  // namespace tenon::cuda
