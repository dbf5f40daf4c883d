// Two-factor layers (Monarch, block tensor train, Kronecker) in one pass over the rows on a GPU of compute
// capability 9.0, forward and backward, in bf16 with f32 sums: what the structured layers of the whole library become
// on a device.
//
//     z[i, f, r, g] = sum_p x[i, g, p] a[f, r, g, p]        rounded to bf16
//     y[i, f, q]    = sum_{r, g} z[i, f, r, g] b[f, q, r, g]
//
// with f, g, p and q of one extent `block` and r of `rank`: a linear map's TwoFactor (map.h) with alpha = gamma =
// epsilon = phi and beta = delta = 1. x and y have `rows` rows and lie row-major without gaps; cores may have strides.
//
// Law: each sum is the tensor cores' over k in order, rounded once; so the bits are those of two products by the same
// instructions, on this kind of device (class `device`), and do not depend on the number of rows or on a row's place.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "tenon/dtype.h"

namespace tenon::cuda {

/// Distances in a core, in elements: of its own group (g of a, f of b), of the other product's (f of a, g of b), of the
/// rank, and of the axis that x or y has (p of a, q of b).
struct CoreStrides {
    std::int64_t group, other, rank, inner;
    friend bool operator==(const CoreStrides&, const CoreStrides&) = default;
};

struct ChainShape {
    std::int64_t rows = 0;
    int block = 0;
    int rank = 1;

    std::int64_t width() const { return std::int64_t{block} * block; }
    std::int64_t core_elements() const { return width() * block * rank; }  // of a, of b
    /// Row-major a [f][r][g][p] and b [f][q][r][g].
    CoreStrides a_strides() const { return {block, width() * rank, width(), 1}; }
    CoreStrides b_strides() const { return {width() * rank, 1, block, std::int64_t{block} * rank}; }
};

/// A core in the device's memory. `inner` is 1 in a, `other` in b; the other strides are multiples of 8 (a `group` of 0
/// is a core that all groups share, as in a Kronecker product), the address one of 16.
struct Core {
    const void* data;
    CoreStrides strides;
};

/// The kernels' sources for a shape: the pass, forward or backward, and the gradients.
Unit pass_unit(const ChainShape& shape, bool backward, bool keep);
Unit gradients_unit(const ChainShape& shape, DType dtype);

/// Why the kernels do not take this; empty where they do.
std::string declines_stationary(const Gpu& gpu, const ChainShape& shape, const Core& a, const Core& b);

/// Bytes that a pass leaves of its intermediate for core_gradients.
std::int64_t kept_bytes(const ChainShape& shape);

/// y = (x . a) . b. `kept` (kept_bytes, or null) gets z. Cost: x read once a pass (twice where rank 4 meets block 64),
/// y and the cores once. Throws ValueError with declines_stationary.
void forward(Gpu& gpu, const ChainShape& shape, const void* x, const Core& a, const Core& b, void* y, void* kept);
/// dx = (dy . b^T) . a^T, the same kernel; `kept` gets the gradient of z.
void input_gradient(Gpu& gpu, const ChainShape& shape, const void* dy, const Core& a, const Core& b, void* dx,
                    void* kept);
/// da and db, row-major, of bfloat16 or float32, from what the two passes kept. Reads x, dy and both kept once.
void core_gradients(Gpu& gpu, const ChainShape& shape, const void* x, const void* dy, const void* kept_z,
                    const void* kept_dz, DType dtype, void* da, void* db);

}  // namespace tenon::cuda
