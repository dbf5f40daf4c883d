// Two-factor layers (Monarch, block tensor train) in one pass over the rows on a GPU of compute
// capability 9.0, forward and backward, in bf16 with f32 sums: what the structured layers of the whole library become
// on a device.
//
//     z[i, f, r, g] = sum_p x[i, g, p] a[f, r, g, p]        rounded to bf16
//     y[i, f, q]    = sum_{r, g} z[i, f, r, g] b[f, q, r, g]
//
// with f, g, p and q of one extent `block` and r of `rank`: a linear map's TwoFactor (map.h) with alpha = gamma =
// epsilon = phi and beta = delta = 1; for few rows, of any extents; and, forward, of rank 1 from 64 groups of 64 to 128
// of 128. x and y have `rows` rows and lie row-major without gaps; cores may have strides.
//
// Law: each sum is the tensor cores' over k in order, rounded once; so the bits are those of two products by the same
// instructions, on this kind of device (class `device`), and do not depend on the number of rows or on a row's place.
#pragma once

#include <array>
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

/// Extents of g, p, f and q.
struct BlockSizes {
    int groups = 0, inner = 0, others = 0, outer = 0;
    friend bool operator==(const BlockSizes&, const BlockSizes&) = default;
};

struct ChainShape {
    std::int64_t rows = 0;
    int block = 0;
    int rank = 1;
    BlockSizes unequal{};  // of a layer whose extents differ, whose `block` is 0

    BlockSizes sizes() const { return block ? BlockSizes{block, block, block, block} : unequal; }
    friend bool operator==(const ChainShape&, const ChainShape&) = default;
    std::int64_t width() const { return std::int64_t{block} * block; }
    /// Columns of x and of y; `width` where blocks are equal.
    std::int64_t in() const { return std::int64_t{sizes().groups} * sizes().inner; }
    std::int64_t out() const { return std::int64_t{sizes().others} * sizes().outer; }
    std::int64_t core_elements() const { return width() * block * rank; }  // of a, of b
    /// Row-major a [f][r][g][p] and b [f][q][r][g].
    CoreStrides a_strides() const { return {block, width() * rank, width(), 1}; }
    CoreStrides b_strides() const { return {width() * rank, 1, block, std::int64_t{block} * rank}; }
};

/// A core in the device's memory: at an address that is a multiple of 16, with strides that are 1 or multiples of 8. A
/// `group` of 0 is a core that all groups share.
struct Core {
    const void* data;
    CoreStrides strides;
};

/// y = (x . first) . second. Forward, `first` is a and `second` b, and a sum reads neighbouring elements of both: the
/// strides `inner` of a and `other` of b are 1. The gradient of x is the pass from dy with `first` b and `second` a, of
/// which `other` of `first` and `inner` of `second` are 1. `kept` (kept_bytes, or null) gets z, or
/// its gradient.
/// `beside`, where takes_gradient_beside: the gradient of the second core from the intermediate and `other`, whose
/// gradient y is (of a from x, in the pass that gives the gradient of x), as CoreGradient has it.
struct BesidePass {
    const void* other = nullptr;
    DType dtype = DType::float32;
    void* gradient = nullptr;  // null: none
    CoreStrides strides{};
};
struct Pass {
    ChainShape shape;
    const void* x;
    Core first, second;
    void* y;
    void* kept = nullptr;
    BesidePass beside{};
};

/// The gradient of one core of blocks of 128, row-major in `strides`, from what a pass kept: of a from x and the kept
/// gradient of z, of b from the gradient of y and the kept z. Of bfloat16 or float32.
struct CoreGradient {
    ChainShape shape;
    const void* x;
    const void* kept;
    DType dtype;
    void* gradient;
    CoreStrides strides;
};

/// The gradient of one core with the intermediate computed again, for blocks of 32 and 64: of b from x, a and the
/// gradient of y (`other`), of a from the gradient of y, b and x. `core` is as the first of a pass from `x`; the
/// gradient is row-major in `strides`.
struct RecomputedGradient {
    const void* x;
    Core core;
    const void* other;
    void* gradient;
    CoreStrides strides;
};
/// Of one core, or of both at a time (rank 1, or blocks of 32), which reads x and the gradient of y once.
struct CoreGradients {
    ChainShape shape;
    DType dtype;  // bfloat16 or float32
    std::array<RecomputedGradient, 2> of;
    int count = 1;
};

/// The kernels' sources.
/// `gradient`: of the pass beside which it is computed, or null.
Unit pass_unit(const ChainShape& shape, bool k_contiguous, bool keep, const DType* gradient = nullptr);
Unit gradient_unit(const ChainShape& shape, DType dtype);
Unit gradients_unit(const ChainShape& shape, DType dtype, int count);
Unit unpack_unit(const ChainShape& shape);

/// Whether a pass may compute a core's gradient beside its result.
bool takes_gradient_beside(const ChainShape& shape);

/// Why no kernel takes a pass, on any device; null where one does.
const char* declines(const Pass& pass);
/// The same on this device.
const char* declines(const Gpu& gpu, const Pass& pass);
/// The same of gradients with the intermediate computed again, on a device whose kernel takes the pass.
const char* declines(const CoreGradients& gradients);

/// Why two products are as fast as a pass that a kernel takes; null where they are not.
const char* does_not_pay(const ChainShape& shape);

/// Bytes that a pass leaves of its intermediate.
std::int64_t kept_bytes(const ChainShape& shape);

/// Any number of rows; those beyond the last eight are few rows, where blocks are 32 and 64.
/// Cost: x read once (rank / 2 times where block is 64 or 128 and rank above 2), y and the cores once. Where block is
/// 128 the intermediate goes through 20 MB of the device's cache, or through `kept`. Throws ValueError with declines.
void run(Gpu& gpu, const Pass& pass);
/// Cost: x and the kept intermediate read once (x twice where block is 128 and rank 4).
void run(Gpu& gpu, const CoreGradient& gradient);
/// Cost: what the gradients read once (twice `x` where block is 64 and rank 4), and partial sums of the cores' size for
/// some 7 to 66 parts of the rows, which stay in the cache.
void run(Gpu& gpu, const CoreGradients& gradients);
/// What a pass kept as a tensor: element (row, group, rank, other) at the strides of `z` and row * `row_stride` from
/// `to`, where `group` is the second product's and `other` the first's.
void unpack(Gpu& gpu, const ChainShape& shape, const void* kept, void* to, std::int64_t row_stride,
            const CoreStrides& z);

}  // namespace tenon::cuda
