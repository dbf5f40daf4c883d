// Both products of a Kronecker layer of two 64 x 64 cores in one pass over the rows. A row is a matrix of 64 x 64, and
//
//     z[m, n] = sum_k first[m, k] x[n, k]  (x[k, n] where SUM_FIRST)        y[m, l] = sum_n z[m, n] second[l, n]
//
// Both cores stay in shared memory. The rounded sums of the first product are the left operands of the second one in
// the same registers. So nothing goes from warpgroup to warpgroup; each takes rows of its own.
//
// The first core could stay in registers, but ptxas 13.0 then allocates the left operands of the second product to the
// same registers, although the first core's are needed in every iteration of the loop. From a warpgroup's second row
// on, the first product then used the wrong core (where z was not stored in between).
//
// Macros: SUM_FIRST, which is 1 where the first product sums over the first axis of a row's matrix, and 0 where it sums
// over the last; Y_TRANSPOSED, which is 1 where y is stored as [l][m], and 0 for [m][l]; KEEP, which is 0, or where z
// is stored, too, 1 for [m][n] and 2 for [n][m].
#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kSide = 64, kMatrix = kSide * kSide * 2;  // bytes
constexpr int kGroups = 4;  // warpgroups
constexpr int kXs = 3, kOuts = 3;  // a warpgroup's buffers for rows of x, and for results

struct Operand {
    const uint16_t* data;
    long long outer, summed;  // strides, in elements
};
struct Arguments {
    int rows;
    Operand first, second;
};

struct Here {
    uint32_t first, second, xs, outs, x_full;
    int group, thread, warp, lane;
};

__device__ __forceinline__ Here locate(const unsigned char* memory) {
    Here h;
    h.group = threadIdx.x / 128, h.thread = threadIdx.x % 128, h.warp = h.thread / 32, h.lane = threadIdx.x % 32;
    h.first = (shared_address(memory) + 1023) & ~1023u;  // the 128-byte swizzle repeats after 1024 bytes
    h.second = h.first + kMatrix;
    h.xs = h.second + kMatrix + h.group * (kXs + kOuts) * kMatrix;
    h.outs = h.xs + kXs * kMatrix;
    h.x_full = h.first + (2 + kGroups * (kXs + kOuts)) * kMatrix + h.group * kXs * 8;
    return h;
}

__device__ __forceinline__ uint32_t two(const Operand& o, int outer, int summed) {
    const uint16_t* at = o.data + outer * o.outer + summed * o.summed;
    return at[0] | static_cast<uint32_t>(at[o.summed]) << 16;
}

/// Copies a core to shared memory, 16 bytes a thread. The summed axis runs along the lines.
__device__ __forceinline__ void load_core(const Operand& core, uint32_t to) {
    const int line = threadIdx.x / 8, piece = threadIdx.x % 8;
    uint32_t v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = two(core, line, 8 * piece + 2 * i);
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to + line * 128 + ((piece ^ (line & 7)) << 4)),
                 "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                 : "memory");
}

/// Writes rounded sums to shared memory, with a line for each m, or transposed, with a line for each index of the other
/// axis.
template <bool transposed>
__device__ __forceinline__ void stage(const Here& h, const uint32_t (&pairs)[16], uint32_t to) {
    const int matrix = h.lane / 8;
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        const int line = transposed ? 8 * (j + matrix / 2) + h.lane % 8 : 16 * h.warp + 8 * (matrix & 1) + h.lane % 8;
        const int piece = transposed ? 2 * h.warp + (matrix & 1) : j + matrix / 2;
        const uint32_t v[4] = {pairs[2 * j], pairs[2 * j + 1], pairs[2 * j + 2], pairs[2 * j + 3]};
        store_matrices<transposed>(to + line * 128 + ((piece ^ (line & 7)) << 4), v);
    }
}

/// Stores a row's rounded sums through one of the warpgroup's buffers; n counts the warpgroup's stores.
template <bool transposed>
__device__ __forceinline__ void store(const Here& h, const uint32_t (&pairs)[16], const TensorMap* map, int row, int n,
                                      uint64_t policy) {
    const uint32_t out = h.outs + n % kOuts * kMatrix;
    if (h.thread == 0) stores_read<kOuts - 1>();
    group_sync(h.group);
    stage<transposed>(h, pairs, out);
    fence_copies();
    group_sync(h.group);
    if (h.thread == 0) {
        store_box(map, out, 0, 0, row, policy);
        stores_commit();
    }
}

__device__ __forceinline__ void round_sums(uint32_t (&pairs)[16], const float (&sums)[32]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) pairs[i] = pack(sums[2 * i], sums[2 * i + 1]);
}

extern "C" __global__ void __launch_bounds__(128 * kGroups, 1)
    kronecker(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap y,
              const __grid_constant__ TensorMap z, const Arguments args) {
    extern __shared__ unsigned char memory[];
    const Here h = locate(memory);
    const int begin = blockIdx.x * kGroups + h.group, step = gridDim.x * kGroups;
    const uint64_t policy = evict_first();
    if (h.thread == 0) {
        for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    const auto load = [&](int n) {
        const int row = begin + n * step, slot = n % kXs;
        if (row >= args.rows) return;
        barrier_expect(h.x_full + slot * 8, kMatrix);
        load_box(h.xs + slot * kMatrix, &x, h.x_full + slot * 8, 0, 0, row, policy);
    };
    if (h.thread == 0)
        for (int n = 0; n < kXs; ++n) load(n);
    load_core(args.first, h.first);
    load_core(args.second, h.second);
    fence_copies();
    __syncthreads();
    int stored = 0;
#pragma unroll 1
    for (int n = 0, row = begin; row < args.rows; ++n, row += step) {
        const uint32_t in = h.xs + n % kXs * kMatrix;
        barrier_wait(h.x_full + n % kXs * 8, n / kXs & 1);
        float sums[32];
        __syncwarp();
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<0, SUM_FIRST>(sums, descriptor(h.first + k * 32, 1024, Swizzle::bytes128),
                                descriptor(in + k * (SUM_FIRST ? 2048 : 32), 1024, Swizzle::bytes128), k > 0);
        products_end();
        group_sync(h.group);  // All four warps have read x; its buffer can be filled again.
        if (h.thread == 0) load(n + kXs);
        uint32_t pairs[16];
        round_sums(pairs, sums);
        if constexpr (KEEP != 0) store<KEEP == 2>(h, pairs, &z, row, stored++, policy);
        uint32_t left[4][4];
#pragma unroll
        for (int i = 0; i < 16; ++i) left[i / 4][i % 4] = pairs[i];
        __syncwarp();  // Thread 0 may still be in load; wgmma needs the warp converged.
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<0>(sums, left[k], descriptor(h.second + k * 32, 1024, Swizzle::bytes128), k > 0);
        products_end();
        round_sums(pairs, sums);
        store<Y_TRANSPOSED != 0>(h, pairs, &y, row, stored++, policy);
    }
    if (h.thread == 0) stores_done();
}
