// Both products of a two-factor layer for few rows, any extents: a block computes the columns of y of one group f. What it needs
// of the intermediate is z[i, f, :, :], which comes from x and the cores of f alone, so blocks exchange nothing, and the cores
// are read once by all blocks together. Each block reads x whole: that is nothing for a few rows, and too much for many.
//
// mma.m16n8k16: rows of the layer are its 16 rows; the columns of the first product are ranks, of the second the columns of y.
//
// Operands outside x and the cores are read from the last row and rank instead: a condition on each load would keep them from being
// on the way together, and what comes of them is not stored.
//
// Macros: GROUPS, INNER: of x; OTHERS, OUTER: of y; RANK; WARPS, at least OUTER / 8; CONTIGUOUS 1 where elements that a sum meets in turn lie side by side in
// the cores. INNER and GROUPS are multiples of 16, OUTER of 8.
#include <cstdint>

#include "cuda/chain/core.cuh"

using std::uint16_t;
using std::uint32_t;

constexpr int kRows = 16, kRankTiles = (RANK + 7) / 8, kSummed = RANK * GROUPS;
constexpr int kTiles = OUTER / 8;  // of the second product, a warp each
constexpr int kWarps = WARPS;
constexpr int kPitch = kSummed + 8;  // elements: rows of an operand lie in different banks
constexpr int kAtOnce = 4;  // groups of a warp whose operands are on the way together

struct Arguments {
    const uint16_t* x;
    uint16_t* y;
    long long rows;
    Core a, b;
};

/// Two elements of a core that a sum meets in turn, `stride` apart.
__device__ __forceinline__ uint32_t two(const uint16_t* at, long long stride) {
    if constexpr (CONTIGUOUS) return *reinterpret_cast<const uint32_t*>(at);
    return at[0] | static_cast<uint32_t>(at[stride]) << 16;
}
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// Two sums rounded to bf16, the first in the lower half.
__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

struct Here {
    int warp, line, column;  // of the lane in an operand
    long long row;  // first of the block
    int f;
    const uint16_t* x[2];  // the lane's rows and column
};

/// z[i, f, r, g] of a group g.
__device__ __forceinline__ void first_product(const Here& h, const Arguments& p, int g, float (&sums)[kRankTiles][4]) {
    const uint16_t* const x[2] = {h.x[0] + g * INNER, h.x[1] + g * INNER};
    const uint16_t* const a =
        p.a.data + h.f * p.a.strides.other + g * p.a.strides.group + h.column * p.a.strides.inner;
#pragma unroll
    for (int k = 0; k < INNER; k += 16) {
        uint32_t left[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            left[i] = *reinterpret_cast<const uint32_t*>(x[i % 2] + k + i / 2 * 8);
#pragma unroll
        for (int tile = 0; tile < kRankTiles; ++tile) {
            const int r = min(tile * 8 + h.line, RANK - 1);
            uint32_t right[2];
#pragma unroll
            for (int i = 0; i < 2; ++i)
                right[i] = two(a + r * p.a.strides.rank + (k + 8 * i) * p.a.strides.inner, p.a.strides.inner);
            multiply(sums[tile], left, right);
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * kWarps) few_rows(const Arguments p) {
    __shared__ __align__(16) uint16_t z[kRows * kPitch];
    const int lane = threadIdx.x % 32;
    Here h{static_cast<int>(threadIdx.x) / 32, lane / 4, 2 * (lane % 4), blockIdx.y * static_cast<long long>(kRows),
           static_cast<int>(blockIdx.x), {}};
#pragma unroll
    for (int i = 0; i < 2; ++i) h.x[i] = p.x + min(h.row + h.line + 8 * i, p.rows - 1) * (GROUPS * INNER) + h.column;
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
    // The second core is on its way while the first product is computed.
    uint32_t right[kSummed / 16][2];
    if (h.warp < kTiles) {
        const uint16_t* const b = p.b.data + h.f * p.b.strides.group + (8 * h.warp + h.line) * p.b.strides.inner +
                                  h.column * p.b.strides.other;
#pragma unroll
        for (int step = 0; step < kSummed / 16; ++step)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                right[step][i] = two(b + step * 16 / GROUPS * p.b.strides.rank + (step * 16 % GROUPS + 8 * i) * p.b.strides.other,
                                     p.b.strides.other);
    }
#pragma unroll kAtOnce
    for (int g = h.warp; g < GROUPS; g += kWarps) {
        float sums[kRankTiles][4]{};
        first_product(h, p, g, sums);
#pragma unroll
        for (int tile = 0; tile < kRankTiles; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint32_t both = pack(sums[tile][2 * half], sums[tile][2 * half + 1]);
                const int r = tile * 8 + h.column;
                uint16_t* const to = z + (h.line + 8 * half) * kPitch + g;
                if (r < RANK) to[r * GROUPS] = static_cast<uint16_t>(both);
                if (r + 1 < RANK) to[(r + 1) * GROUPS] = static_cast<uint16_t>(both >> 16);
            }
    }
    __syncthreads();
    if (h.warp >= kTiles) return;
    float sums[4]{};
#pragma unroll
    for (int step = 0; step < kSummed / 16; ++step) {
        const uint16_t* const at = z + h.line * kPitch + step * 16 + h.column;
        uint32_t left[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            left[i] = *reinterpret_cast<const uint32_t*>(at + i % 2 * 8 * kPitch + i / 2 * 8);
        multiply(sums, left, right[step]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const long long row = h.row + h.line + 8 * half;
        if (row < p.rows)
            *reinterpret_cast<uint32_t*>(p.y + (row * OTHERS + h.f) * OUTER + 8 * h.warp + h.column) =
                pack(sums[2 * half], sums[2 * half + 1]);
    }
}
