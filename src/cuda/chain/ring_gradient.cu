// The gradient of a core of 128 groups of 128, from x (or the gradient of y) and the intermediate that a pass kept
// (ring.cuh). A block computes it for some of the intermediate's lines of one group. Each sum is one sequence of
// multiply-adds over all rows, in order.
//
// Warpgroups 0 and 1 multiply, each with half of x's columns; one more warp loads.
//
// Macros: RANK; OUT, the type of the gradient's elements, float or bf16.
#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kBlock = 128, kRows = 64;  // columns of a group, rows of a tile
// Lines of a thread block, and the thread blocks that share a group.
constexpr int kLines = RANK == 1 ? 128 : 256, kParts = kBlock * RANK / kLines;
constexpr int kBox = kRows * 128, kInBytes = 2 * kBox, kStage = kInBytes + kLines * 128;
constexpr int kStages = RANK == 1 ? 6 : 4;

using bf16 = unsigned short;
using Out = OUT;

struct Arguments {
    int tiles;
    Out* gradient;
    CoreStrides strides;
};

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// Loads the tiles of x and of the block's lines of the intermediate. One thread calls it.
__device__ __forceinline__ void load_tiles(const TensorMap* x, const TensorMap* z, int tiles, uint32_t stages,
                                           uint32_t full, uint32_t empty) {
    const int part = blockIdx.x % kParts, group = blockIdx.x / kParts;
    const uint64_t once = evict_first(), shared = kParts == 1 ? once : evict_normal();
#pragma unroll 1
    for (int tile = 0, slot = 0, parity = 1; tile < tiles; ++tile) {
        const uint32_t to = stages + slot * kStage, barrier = full + slot * 8;
        barrier_wait(empty + slot * 8, parity);
        barrier_expect(barrier, kStage);
        load_box(to, x, barrier, 0, tile * kRows, group * 2, shared);
        load_box(to + kInBytes, z, barrier, 0, part * kLines, group, tile, once);
        if (++slot == kStages) slot = 0, parity ^= 1;
    }
}

extern "C" __global__ void __launch_bounds__(288, 1)
    core_gradient(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap z, const Arguments args) {
    extern __shared__ unsigned char memory[];
    const uint32_t stages = (shared_address(memory) + 1023) & ~1023u, full = stages + kStages * kStage,
                   empty = full + kStages * 8;
    const int half = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; ++i) barrier_init(full + i * 8, 1), barrier_init(empty + i * 8, 8);
        barriers_ready();
    }
    __syncthreads();
    if (half == 2) {
        if (lane == 0) load_tiles(&x, &z, args.tiles, stages, full, empty);
        return;
    }
    float d[kLines / 2];
#pragma unroll
    for (int i = 0; i < kLines / 2; ++i) d[i] = 0;
#pragma unroll 1
    for (int tile = 0, slot = 0, parity = 0; tile < args.tiles; ++tile) {
        const uint32_t in = stages + slot * kStage;
        barrier_wait(full + slot * 8, parity);
        __syncwarp();
        products_begin();
#pragma unroll
        for (int k = 0; k < kRows / 16; ++k)
            wgmma<1, 0>(d, descriptor(in + half * kBox + k * 2048, 1024, Swizzle::bytes128),
                        descriptor(in + kInBytes + k * 32, 1024, Swizzle::bytes128), 1);
        products_end();
        if (lane == 0) barrier_arrive(empty + slot * 8);
        if (++slot == kStages) slot = 0, parity ^= 1;
    }
    const CoreStrides& s = args.strides;
    const int part = blockIdx.x % kParts;
    Out* to = args.gradient + blockIdx.x / kParts * s.group;
#pragma unroll
    for (int i = 0; i < kLines / 2; ++i) {
        const int column = half * 64 + 16 * warp + lane / 4 + i / 2 % 2 * 8;
        const int line = part * kLines + i / 4 * 8 + 2 * (lane % 4) + i % 2;
        put(to + line % kBlock * s.other + line / kBlock * s.rank + column * s.inner, d[i]);
    }
}
