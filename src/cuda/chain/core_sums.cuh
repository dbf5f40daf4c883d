// The sums of a core's gradient in the registers of a cluster, and how the gradient is made of them. core_gradients.cu
// and stationary_gradient.cu share it. The last two warpgroups of a block multiply each tile of the intermediate that
// arrives with the same rows of the other operand.
//
// A cluster takes one of `parts` parts of the rows, and each sum is one sequence of multiply-adds over the part's rows,
// in order. The parts are added in a fixed order (sum_parts.cuh). So the bits depend on the shape alone.
//
// Macros: those of cluster.cuh; PASSES; OUT, the type of the gradients' elements, float or bf16; OTHERS, the number of
// a warpgroup's buffers for the other operand.
#pragma once

#include "cuda/chain/cluster.cuh"
#include "cuda/chain/sum_parts.cuh"

using Out = OUT;

constexpr int kThreads = 128 * (GROUPS + 2);
constexpr int kOthers = OTHERS;
// A warpgroup's wide groups of the second product: those of one side, or half of the block's.
constexpr int kOwn = 4 / RANK;
constexpr int kOtherBytes = kOwn * kRows * 128;
// A product multiplies columns of the other operand by lines of the intermediate. At b = 32 only those of the same core
// belong together. From rank 2 on the operands are exchanged: the 64 rows of a product are lines of one core, and its
// columns are that core's 32. At rank 1 half of the sums are not used.
constexpr bool kByLines = BLOCK == 32 && RANK > 1;
constexpr int kLines = kByLines || RANK == 1 ? 64 : 128;  // lines of a product
// Products of a warpgroup, and a thread's sums of each.
constexpr int kProducts = kOwn * 64 * RANK / kLines, kSums = kByLines ? 16 : kLines / 2;
constexpr int kHeld = BLOCK == 64 ? 128 : 64;  // sums of a thread that are used
// Warpgroups of a cluster, for all passes. Each has kHeld / 4 vectors of 4 sums for each of its 128 threads.
constexpr int kParts = 2 * CLUSTER * PASSES;

/// The tiles of a warpgroup's other operand: map, buffers and barriers.
struct Other {
    const TensorMap* map;
    uint32_t tiles, full, empty;
    int group;  // its first wide group
};

__device__ __forceinline__ void load_other(const Here& h, const Other& o, int n, uint64_t policy) {
    const int slot = n % kOthers;
    barrier_expect(o.full + slot * 8, kOtherBytes);
    load_box(o.tiles + slot * kOtherBytes, o.map, o.full + slot * 8, 0, h.tile(n) * kRows, o.group, policy);
}

/// Starts the copies of the first tiles of both operands, as soon as earlier kernels are done. All threads call it,
/// once the barriers are made.
__device__ __forceinline__ void begin_tiles(const Here& h, const TensorMap* const (&xs)[SIDES], const Other& o,
                                            uint64_t policy) {
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (h.group >= GROUPS && h.thread == 0) {
        if (h.half == 0) load_first_tiles(h, xs, policy);
        for (int n = 0; n < kOthers && n < h.count; ++n) load_other(h, o, n, policy);
    }
}

/// Adds a tile's products to the sums; d is [column][line], or [line][column] where kByLines.
__device__ __forceinline__ void add_products(float (&d)[kProducts][kSums], uint64_t lines, uint64_t columns) {
    constexpr int kOfWide = 64 * RANK / kLines, kOfCore = RANK > 1 ? kOfWide / kCores : 1;  // products of each
#pragma unroll
    for (int i = 0; i < kProducts; ++i)
#pragma unroll
        for (int k = 0; k < kRows / 16; ++k) {
            const uint64_t some = advanced(lines, i * (kLines * 64) + k * 32);
            const int from = i / kOfWide * (kRows * 128) + k * 2048;
            if constexpr (kByLines)
                wgmma<0, 1>(d[i], some, advanced(columns, from + i % kOfWide / kOfCore * 64), 1);
            else
                wgmma<1, 0>(d[i], advanced(columns, from), some, 1);
        }
}

/// Vector i of those of a thread's sums that are used.
__device__ __forceinline__ float4 held(const float (&d)[kProducts][kSums], int i, bool second_core) {
    constexpr int kVectors = kSums / 4, kOfCore = 4;  // vectors of a product, and of a core at b = 32 and rank 1
    const auto vector = [&](int v) {
        const float* at = d[v / kVectors] + v % kVectors * 4;
        return make_float4(at[0], at[1], at[2], at[3]);
    };
    if constexpr (BLOCK == 64 || kByLines) return vector(i);
    const int a = i / kOfCore * kVectors + i % kOfCore;
    const float4 one = vector(a), two = vector(a + kOfCore);
    return second_core ? two : one;
}

/// Writes a thread's sums to their place among the sums of the part.
__device__ __forceinline__ void write_sums(const Here& h, const float (&d)[kProducts][kSums], float4* sums, int part,
                                           int pass) {
    const int place = part * kParts + (pass * CLUSTER + static_cast<int>(h.rank)) * 2 + h.half;
    float4* to = sums + place * (kHeld / 4 * 128) + h.thread;
#pragma unroll
    for (int i = 0; i < kHeld / 4; ++i) to[i * 128] = held(d, i, h.warp > 1);
}

/// Gives the cluster the tiles of one part of the rows.
__device__ __forceinline__ void take_part(Here& h, int tiles, int part, int parts) {
    h.begin = static_cast<long long>(tiles) * part / parts, h.step = 1;
    h.count = uniform(static_cast<int>(static_cast<long long>(tiles) * (part + 1) / parts) - h.begin);
}

struct Gradients {
    Gradient<Out> of[SIDES];
};

/// Adds the parts and stores the gradients.
extern "C" __global__ void __launch_bounds__(256)
    sum_parts(const float4* parts, int count, const __grid_constant__ Gradients gradients) {
    int at;
    float4 s;
    if (!sum_parts_at(s, at, parts, count, kParts * kHeld / 4 * 128)) return;
    // The thread that held these sums.
    const int thread = at % 128, warp = thread / 32, lane = thread % 32, i = at / 128 % (kHeld / 4),
              of = at / 128 / (kHeld / 4);
    const int half = of % 2, rank = of / 2 % CLUSTER, pass = of / (2 * CLUSTER);
    constexpr int kOfWide = kHeld / 4 / kOwn;  // vectors of a wide group
    const int wide = (pass * CLUSTER + rank) * kSecond + (SIDES == 2 ? 0 : half * kOwn) + i / kOfWide;
    const int core = BLOCK == 64 ? 0 : kByLines ? i % kOfWide / (kOfWide / 2) : warp / 2;
    const Gradient<Out>& to = gradients.of[SIDES == 2 ? half : 0];
    const float v[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        // The element of the core. A warp of the product had 16 of its 64 rows.
        const int row = 16 * warp + lane / 4 + e / 2 * 8, side = 2 * (lane % 4) + e % 2;
        const int line = kByLines ? i % (kOfWide / 2) / 4 * 64 + row : i % kOfWide * 8 + side;
        const int column = kByLines ? i % 4 * 8 + side : row % BLOCK;
        put(to.data + (wide * kCores + core) * to.strides.group + line % BLOCK * to.strides.other +
                line / BLOCK * to.strides.rank + column * to.strides.inner,
            v[e]);
    }
}
