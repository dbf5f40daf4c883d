// The gradient of a core, from x (or the gradient of y) and what a pass kept (stationary.cuh): one block a wide group and a part
// of the rows. A sum is one chain over the part's rows, in order; sum_parts adds the parts, in order. So the bits follow from the
// shape alone.
//
// Macros: BLOCK, RANK; OUT, the element of the gradient: float or bf16.
#include "cuda/chain/stationary.cuh"

constexpr int kStep = 128;  // rows
constexpr int kInBytes = kStep * 128, kKeptBytes = kStep / kRows * kKept, kStage = kInBytes + kKeptBytes;
constexpr int kStages = RANK == 1 ? 6 : RANK == 2 ? 4 : 2;

using bf16 = unsigned short;
using Out = OUT;

struct Arguments {
    int steps, parts;
    const char* kept;
    float* sums;  // a core's size for each part
    CoreStrides strides;
    long long part;  // elements from one to the next
};

/// 64 columns of x against all columns of the wide group's intermediate: d[column][line] = sum over rows.
__device__ __forceinline__ void add_step(float (&d)[32 * RANK], uint32_t in) {
    __syncwarp();
    products_begin();
#pragma unroll
    for (int tile = 0; tile < kStep / kRows; ++tile)
#pragma unroll
        for (int k = 0; k < kRows / 16; ++k)
            wgmma<1, 0>(d, descriptor(in + (tile * 2 + k) * 2048, 1024, Swizzle::bytes128),
                        descriptor(in + kInBytes + tile * kKept + k * 32, 512, Swizzle::bytes64), 1);
    products_end();
}

extern "C" __global__ void __launch_bounds__(160, 1)
    core_gradient(const __grid_constant__ TensorMap x, const Arguments args) {
    extern __shared__ unsigned char memory[];
    const uint32_t stages = (shared_address(memory) + 1023) & ~1023u, full = stages + kStages * kStage,
                   empty = full + kStages * 8;
    const int part = blockIdx.x / kWide, wide = blockIdx.x % kWide;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int begin = static_cast<long long>(args.steps) * part / args.parts;
    const int end = static_cast<long long>(args.steps) * (part + 1) / args.parts;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; ++i) barrier_init(full + i * 8, 1), barrier_init(empty + i * 8, 4);
        barriers_ready();
    }
    __syncthreads();
    if (warp == 4) {
        if (lane) return;
        const uint64_t policy = evict_first();
        for (int step = begin, slot = 0, parity = 1; step < end; ++step) {
            const uint32_t to = stages + slot * kStage, barrier = full + slot * 8;
            barrier_wait(empty + slot * 8, parity);
            barrier_expect(barrier, kStage);
            load_box(to, &x, barrier, 0, step * kStep, wide, policy);
            for (int tile = 0; tile < kStep / kRows; ++tile) {
                const long long at = static_cast<long long>(step) * (kStep / kRows) + tile;
                load_bytes(to + kInBytes + tile * kKept, args.kept + (at * kWide + wide) * kKept, kKept, barrier);
            }
            if (++slot == kStages) slot = 0, parity ^= 1;
        }
        return;
    }
    float d[32 * RANK];
#pragma unroll
    for (int i = 0; i < 32 * RANK; ++i) d[i] = 0;
#pragma unroll 1
    for (int step = begin, slot = 0, parity = 0; step < end; ++step) {
        barrier_wait(full + slot * 8, parity);
        add_step(d, stages + slot * kStage);
        if (lane == 0) barrier_arrive(empty + slot * 8);
        if (++slot == kStages) slot = 0, parity ^= 1;
    }
    float* sums = args.sums + part * args.part;
    const CoreStrides& strides = args.strides;
#pragma unroll
    for (int i = 0; i < 32 * RANK; ++i) {
        const int column = 16 * warp + lane / 4 + i / 2 % 2 * 8, line = i / 4 * 8 + 2 * (lane % 4) + i % 2;
        if (column / BLOCK != line / (BLOCK * RANK)) continue;  // of two cores, the one against the other
        sums[(wide * kCores + column / BLOCK) * strides.group + line % BLOCK * strides.other +
             line / BLOCK % RANK * strides.rank + column % BLOCK * strides.inner] = d[i];
    }
}

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

extern "C" __global__ void sum_parts(const float* parts, Out* sums, int count, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = parts[i];
    for (int p = 1; p < count; ++p) s += parts[static_cast<long long>(p) * n + i];
    put(sums + i, s);
}
