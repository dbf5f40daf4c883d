// Two-factor layers of 128 groups of 128 at rank 4, one of two passes (ring.cuh). Warpgroup 0 computes the first
// product; the columns of its core that this pass needs are in shared memory. Warpgroups 1 and 2 compute the second
// product, for half of the columns each; its core is in registers.
#include "cuda/chain/ring.cuh"

static_assert(RANK == 4 && kOuts == RANK && kIns == RANK);  // Each rank has a buffer of its own.

/// The left operand k of a rank's 64 columns. These are 64 x 128 elements in two boxes, with a line for each m where
/// K_CONTIGUOUS, else for each k.
__device__ __forceinline__ uint64_t core_operand(const Here& h, int rank, int k) {
    const int at = K_CONTIGUOUS ? k / 4 * kBox + k % 4 * 32 : k * 2048;
    return descriptor(h.core + rank * 2 * kBox + at, 1024, Swizzle::bytes128);
}

__device__ __forceinline__ void load_first(const Here& h, const Arguments& args) {
    const long long stride = K_CONTIGUOUS ? args.a.strides.other : args.a.strides.inner;
#pragma unroll 1
    for (int i = 0; i < 2 * RANK; ++i)
        load_block(element(args.a, blockIdx.x, args.pass_group, i / 2, i % 2 * 64), stride, h.core + i * kBox,
                   h.thread);
    fence_copies();  // The tensor cores read the core from shared memory.
    group_sync(h.group);
}

__device__ __forceinline__ void first_product(const Here& h, const Arguments& args) {
    load_first(h, args);
#pragma unroll 1
    for (int tile = 0; tile < args.tiles; ++tile) {
        const int slot = tile % kXs;
        const uint32_t from = h.xs + slot * kStage;
        barrier_wait(h.x_full + slot * 8, tile / kXs & 1);
        float sums[2][32];  // of the rank whose products run, and of the one that is stored meanwhile
        __syncwarp();
#pragma unroll
        for (int next = 0; next <= RANK; ++next) {
            if (next < RANK) {
                products_begin();
#pragma unroll
                for (int k = 0; k < 8; ++k)
                    wgmma<!K_CONTIGUOUS, 0>(sums[next & 1], core_operand(h, next, k),
                                            descriptor(from + k / 4 * kBox + k % 4 * 32, 1024, Swizzle::bytes128),
                                            k > 0);
                products_commit();
            }
            if (next == 0) continue;
            if (next < RANK) {
                products_wait<1>();
            } else {
                products_wait<0>();
                if (h.lane == 0) barrier_arrive(h.x_empty + slot * 8);
            }
            const int rank = next - 1;
            if (tile > 0) barrier_wait(h.out_empty + rank * 8, (tile + 1) & 1);
            clear_beyond(h, sums[rank & 1], tile, 0, args);
            stage_columns(h, sums[rank & 1], 0, h.outs + rank * kBox);
            fence_copies();
            __syncwarp();
            if (h.lane == 0) barrier_arrive(h.out_full + rank * 8);
        }
    }
}

__device__ __forceinline__ void second_product(const Here& h, const TensorMap* y, const Arguments& args) {
    const int half = h.group - 1, group = args.pass_group + h.second;
    const uint32_t out = h.ys + half * kBox;
    const uint64_t policy = evict_first();
    uint32_t operands[8 * RANK][4];
    load_second(operands, args.b, group, half, out, h);
    int parity = 0;
#pragma unroll 1
    for (int tile = h.turn; tile < args.tiles; tile += kTurns, parity ^= 1) {
        float sums[32];
#pragma unroll
        for (int rank = 0; rank < RANK; ++rank) {
            barrier_wait(h.in_full + rank * 8, parity);
            if (rank == 0) __syncwarp();
            products_begin();
#pragma unroll
            for (int k = 0; k < 8; ++k)
                wgmma<1>(sums, operands[8 * rank + k],
                         descriptor(h.ins + rank * kInStage + k * 2048, 1024, Swizzle::bytes128), rank > 0 || k > 0);
            products_commit();
            if (rank == 0) continue;
            products_wait<1>();
            if (h.lane == 0) barrier_arrive(h.in_empty + (rank - 1) * 8);
        }
        products_wait<0>();
        if (h.lane == 0) barrier_arrive(h.in_empty + (RANK - 1) * 8);
        if (half == 0 && h.thread == 0) count<false>(args.freed + tile);
        if (h.thread == 0) stores_read<0>();
        group_sync(h.group);
        stage_rows(h, sums, 0, out);
        fence_copies();
        group_sync(h.group);
        if (h.thread == 0) {
            store_box(y, out, 0, tile * kRows, group * 2 + half, policy);
            stores_commit();
        }
    }
    if (h.thread == 0) stores_done();
}

extern "C" __global__ void __launch_bounds__(512, 1)
    ring(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap z_out,
         const __grid_constant__ TensorMap z_in, const __grid_constant__ TensorMap y,
         const __grid_constant__ TensorMap other, const Arguments args) {
    extern __shared__ unsigned char memory[];
    const Here h = locate(memory);
    begin(h, &x, args.tiles);
    if (h.group == 3) {
        give_registers<32>();
        move_tiles(h, &x, &z_out, &z_in, &other, args);
    } else if (h.group == 0) {
        give_registers<96>();
        first_product(h, args);
    } else {
        take_registers<192>();
        second_product(h, &y, args);
    }
}
