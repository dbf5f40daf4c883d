// Two-factor layers (Monarch, block tensor train) in one pass over the rows on a GPU of compute capability 9.0, forward
// and backward, in bf16 with f32 sums. The library's structured layers run by these kernels on a device.
//
//     z[i, f, r, g] = sum_p x[i, g, p] a[f, r, g, p]        rounded to bf16
//     y[i, f, q]    = sum_{r, g} z[i, f, r, g] b[f, q, r, g]
//
// where f, g, p and q have the same extent `block`, and r has the extent `rank`. That is a linear map's TwoFactor
// (map.h) with alpha = gamma = epsilon = phi and beta = delta = 1. The extents may differ for few rows, and, forward,
// for layers of rank 1 from 64 groups of 64 to 128 groups of 128. x and y have `rows` rows and are row-major without
// gaps; cores may have strides.
//
// Law: each sum is computed by the tensor cores over k in order, and rounded once. So on this kind of device (class
// `device`) the bits are those of two products by the same instructions. They do not depend on the number of rows or on
// a row's place.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "tenon/dtype.h"

namespace tenon::cuda {

/// The strides of a core's axes, in elements: its own product's group (g of a, f of b), the other product's group (f of
/// a, g of b), the rank, and the axis that it shares with x or y (p of a, q of b).
struct CoreStrides {
    std::int64_t group, other, rank, inner;
    friend bool operator==(const CoreStrides&, const CoreStrides&) = default;
};

/// The extents of g, p, f and q.
struct BlockSizes {
    int groups = 0, inner = 0, others = 0, outer = 0;
    friend bool operator==(const BlockSizes&, const BlockSizes&) = default;
};

struct ChainShape {
    std::int64_t rows = 0;
    int block = 0;
    int rank = 1;
    BlockSizes unequal{};  // the extents of a layer in which they differ; its `block` is 0

    BlockSizes sizes() const { return block ? BlockSizes{block, block, block, block} : unequal; }
    friend bool operator==(const ChainShape&, const ChainShape&) = default;
    std::int64_t width() const { return std::int64_t{block} * block; }
    /// The numbers of columns of x and of y; both are `width` where the extents are equal.
    std::int64_t in() const { return std::int64_t{sizes().groups} * sizes().inner; }
    std::int64_t out() const { return std::int64_t{sizes().others} * sizes().outer; }
    std::int64_t core_elements() const { return width() * block * rank; }  // of each core
    /// Row-major a [f][r][g][p] and b [f][q][r][g].
    CoreStrides a_strides() const { return {block, width() * rank, width(), 1}; }
    CoreStrides b_strides() const { return {width() * rank, 1, block, std::int64_t{block} * rank}; }
};

/// A core in the device's memory. Its address is a multiple of 16, and each stride is 1 or a multiple of 8. Where the
/// stride `group` is 0, all groups share one core.
struct Core {
    const void* data;
    CoreStrides strides;
};

/// A pass's gradient of its second core, computed from the intermediate and `other`. In the pass that computes dx, that
/// is da from dz and x.
struct BesidePass {
    const void* other = nullptr;
    DType dtype = DType::float32;
    void* gradient = nullptr;  // null for none
    CoreStrides strides{};
};
/// y = (x . first) . second. Forward, `first` is a and `second` is b; the strides `inner` of a and `other` of b are 1,
/// so that elements of k are adjacent in both. The gradient of x is the pass from dy in which `first` is b and `second`
/// is a, and the strides `other` of `first` and `inner` of `second` are 1. `kept`, which has kept_bytes or is null,
/// receives z or its gradient. `beside` is for shapes that takes_gradient_beside accepts.
struct Pass {
    ChainShape shape;
    const void* x;
    Core first, second;
    void* y;
    void* kept = nullptr;
    BesidePass beside{};
};

/// The gradient of one core of blocks of 128, from an intermediate that a pass kept: da from x and dz, or db from dy
/// and z, where dz or z is `kept`. It is stored by `strides`, as bfloat16 or float32.
struct CoreGradient {
    ChainShape shape;
    const void* x;
    const void* kept;
    DType dtype;
    void* gradient;
    CoreStrides strides;
};

/// The gradient of one core with the intermediate computed again, for blocks of 32 and 64: db from x, a and dy (as `x`,
/// `core` and `other`), or da from dy, b and x. `core` is given as the `first` of a pass from `x`. The gradient is
/// stored by `strides`.
struct RecomputedGradient {
    const void* x;
    Core core;
    const void* other;
    void* gradient;
    CoreStrides strides;
};
/// The gradient of one core, or of both together (at rank 1, or for blocks of 32), which reads x and dy only once.
struct CoreGradients {
    ChainShape shape;
    DType dtype;  // bfloat16 or float32
    std::array<RecomputedGradient, 2> of;
    int count = 1;
};

// The kernels' sources.

/// `gradient` is the dtype of the gradient that the pass computes beside its result, or null.
Unit pass_unit(const ChainShape& shape, bool k_contiguous, bool keep, const DType* gradient = nullptr);
Unit gradient_unit(const ChainShape& shape, DType dtype);
Unit gradients_unit(const ChainShape& shape, DType dtype, int count);
Unit unpack_unit(const ChainShape& shape);

/// Whether a pass of this shape may compute a core's gradient beside its result.
bool takes_gradient_beside(const ChainShape& shape);

/// Why no kernel takes a pass on any device; null where one does.
const char* declines(const Pass& pass);
/// Why no kernel takes a pass on this device; null where one does.
const char* declines(const Gpu& gpu, const Pass& pass);
/// Why no kernel takes gradients with the intermediate computed again, on a device with a kernel for the pass; null
/// where one does.
const char* declines(const CoreGradients& gradients);

/// Why two products are at least as fast as the pass, which a kernel takes; null where the pass is faster.
const char* does_not_pay(const ChainShape& shape);

/// The size in bytes of the intermediate that a pass keeps.
std::int64_t kept_bytes(const ChainShape& shape);

/// Takes any number of rows. For blocks of 32 and 64, rows beyond a multiple of 8 run by the kernel of few rows.
/// Cost: x is read once (rank / 2 times where block is 64 or 128 and rank is above 2), y and the cores once. Where
/// block is 128, the intermediate goes through 20 MB of the device's cache, or through `kept`. Throws ValueError where
/// `declines` names a reason.
void run(Gpu& gpu, const Pass& pass);
/// Cost: x and the kept intermediate are read once (x twice at rank 4).
void run(Gpu& gpu, const CoreGradient& gradient);
/// Cost: the operands are read once (`x` twice where block is 64 and rank is 4). The partial sums have the cores' size
/// for each of 7 to 66 parts of the rows, and stay in the cache.
void run(Gpu& gpu, const CoreGradients& gradients);
/// Copies an intermediate that a pass kept into a tensor. Element (row, group, rank, other) goes to the strides of `z`
/// plus row * `row_stride`, counted from `to`; `group` is the second product's, `other` the first's.
void unpack(Gpu& gpu, const ChainShape& shape, const void* kept, void* to, std::int64_t row_stride,
            const CoreStrides& z);

}  // namespace tenon::cuda
