// Sums of a core's gradient in the registers of a cluster, and what is done with them: what core_gradients.cu and
// stationary_gradient.cu share. The last two warpgroups of a block multiply what has come of a tile with the other
// operand's rows.
//
// A cluster has one of `parts` parts of the rows: a sum is one chain over the part's rows, in order. The parts are
// added by a tree of eight chains (sum_parts.cuh). So the bits follow from the shape alone.
//
// Macros: those of cluster.cuh; PASSES; OUT, the element of the gradients: float or bf16; OTHERS, buffers of the other
// operand.
#pragma once

#include "cuda/chain/cluster.cuh"
#include "cuda/chain/sum_parts.cuh"

using Out = OUT;

constexpr int kThreads = 128 * (GROUPS + 2);
constexpr int kOthers = OTHERS;  // of a warpgroup
constexpr int kOwn = 4 / RANK;  // wide groups of the second product of a warpgroup: of a side, or half of the block's
constexpr int kOtherBytes = kOwn * kRows * 128;
// A product is columns of the other operand by lines of the intermediate. At b = 32 only columns and lines of the same
// core are wanted: from rank 2 on the 64 rows of a product are lines of one core, and its columns that core's 32; at
// rank 1 half of the sums are of no use.
constexpr bool kByLines = BLOCK == 32 && RANK > 1;
constexpr int kLines = kByLines || RANK == 1 ? 64 : 128;  // of a product
constexpr int kProducts = kOwn * 64 * RANK / kLines, kSums = kByLines ? 16 : kLines / 2;  // of a warpgroup; of a thread
constexpr int kHeld = BLOCK == 64 ? 128 : 64;  // sums of a thread that are wanted
constexpr int kParts =
    2 * CLUSTER * PASSES;  // warpgroups of all passes; each has kHeld / 4 times 128 vectors of a part

/// The tiles of a warpgroup's other operand.
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

/// Once the barriers are ready: the first tiles of both, as soon as the launch before has written them.
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

/// Adds a tile's products: d is [column][line], or [line][column] where kByLines.
__device__ __forceinline__ void add_products(float (&d)[kProducts][kSums], uint64_t lines, uint64_t columns) {
    constexpr int kOfWide = 64 * RANK / kLines, kOfCore = RANK > 1 ? kOfWide / kCores : 1;  // products
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

/// Vector i of a thread's sums, of those that are wanted.
__device__ __forceinline__ float4 held(const float (&d)[kProducts][kSums], int i, bool second_core) {
    constexpr int kVectors = kSums / 4, kOfCore = 4;  // of a product, of a core of a wide group (at b = 32 and rank 1)
    const auto vector = [&](int v) {
        const float* at = d[v / kVectors] + v % kVectors * 4;
        return make_float4(at[0], at[1], at[2], at[3]);
    };
    if constexpr (BLOCK == 64 || kByLines) return vector(i);
    const int a = i / kOfCore * kVectors + i % kOfCore;
    const float4 one = vector(a), two = vector(a + kOfCore);
    return second_core ? two : one;
}

/// The sums of a thread in place of those of its part.
__device__ __forceinline__ void write_sums(const Here& h, const float (&d)[kProducts][kSums], float4* sums, int part,
                                           int pass) {
    const int place = part * kParts + (pass * CLUSTER + static_cast<int>(h.rank)) * 2 + h.half;
    float4* to = sums + place * (kHeld / 4 * 128) + h.thread;
#pragma unroll
    for (int i = 0; i < kHeld / 4; ++i) to[i * 128] = held(d, i, h.warp > 1);
}

/// The tiles of a part of the rows.
__device__ __forceinline__ void take_part(Here& h, int tiles, int part, int parts) {
    h.begin = static_cast<long long>(tiles) * part / parts, h.step = 1;
    h.count = uniform(static_cast<int>(static_cast<long long>(tiles) * (part + 1) / parts) - h.begin);
}

struct Gradients {
    Gradient<Out> of[SIDES];
};

extern "C" __global__ void __launch_bounds__(256)
    sum_parts(const float4* parts, int count, const __grid_constant__ Gradients gradients) {
    int at;
    float4 s;
    if (!sum_parts_at(s, at, parts, count, kParts * kHeld / 4 * 128)) return;
    // Whose sums these are.
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
        // Of the core; products have 16 rows a warp.
        const int row = 16 * warp + lane / 4 + e / 2 * 8, side = 2 * (lane % 4) + e % 2;
        const int line = kByLines ? i % (kOfWide / 2) / 4 * 64 + row : i % kOfWide * 8 + side;
        const int column = kByLines ? i % 4 * 8 + side : row % BLOCK;
        put(to.data + (wide * kCores + core) * to.strides.group + line % BLOCK * to.strides.other +
                line / BLOCK * to.strides.rank + column * to.strides.inner,
            v[e]);
    }
}
