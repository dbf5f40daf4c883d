// Two-factor layers of 128 groups of 128 at ranks 1 and 2 (ring.cuh). Registers hold the cores of both products:
// warpgroups 0 and 1 have the first product's, 2 and 3 the second's, for half of the columns each.
#include "cuda/chain/ring.cuh"

constexpr int kAtOnce = RANK == 1 && !GRADIENT ? 64 : 32;  // rows of a product, as many as registers allow

__device__ __forceinline__ void first_product(const Here& h, const Arguments& args) {
    const int half = h.group;
    const uint32_t outs = h.outs + half * kOuts * kBox, full = h.out_full + half * kOuts * 8,
                   empty = h.out_empty + half * kOuts * 8;
    uint32_t operands[RANK][8][4];
    const long long stride = K_CONTIGUOUS ? args.a.strides.other : args.a.strides.inner;
#pragma unroll
    for (int rank = 0; rank < RANK; ++rank)
#pragma unroll
        for (int k = 0; k < 2; ++k)
            load_operands(operands[rank] + 4 * k, element(args.a, blockIdx.x, half * 64, rank, k * 64), stride, outs,
                          h);
    group_sync(h.group);  // All warps have read the scratch memory.
#pragma unroll 1
    for (int tile = 0; tile < args.tiles; ++tile) {
        const int slot = tile % kXs;
        barrier_wait(h.x_full + slot * 8, tile / kXs & 1);
#pragma unroll
        for (int rank = 0; rank < RANK; ++rank) {
            const int n = tile * RANK + rank, buffer = n % kOuts;
#pragma unroll
            for (int row = 0; row < kRows; row += kAtOnce) {
                float sums[kAtOnce / 2];
                const uint32_t from = h.xs + slot * kStage + row * 128;
                __syncwarp();
                products_begin();
#pragma unroll
                for (int k = 0; k < 8; ++k)
                    wgmma<0>(sums, operands[rank][k],
                             descriptor(from + k / 4 * kBox + k % 4 * 32, 1024, Swizzle::bytes128), k > 0);
                products_end();
                if (rank == RANK - 1 && row == kRows - kAtOnce && h.lane == 0) barrier_arrive(h.x_empty + slot * 8);
                if (row == 0 && n >= kOuts) barrier_wait(empty + buffer * 8, (n / kOuts + 1) & 1);
                clear_beyond(h, sums, tile, row, args);
                stage_columns(h, sums, row, outs + buffer * kBox);
            }
            fence_copies();
            __syncwarp();
            if (h.lane == 0) barrier_arrive(full + buffer * 8);
        }
    }
}

#if GRADIENT
__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// Adds a tile's products of the other operand's columns, of which the warpgroup has half, with the lines.
__device__ __forceinline__ void add_products(float (&d)[64], uint32_t in, int half) {
#pragma unroll
    for (int k = 0; k < kRows / 16; ++k)
        wgmma<1, 0>(d, descriptor(in + kStage + half * kBox + k * 2048, 1024, Swizzle::bytes128),
                    descriptor(in + k * 32, 1024, Swizzle::bytes128), 1);
}

__device__ __forceinline__ void store_gradient(const Here& h, const float (&d)[64], int half, const Arguments& args) {
    OUT* to = args.gradient + h.second * args.strides.group;
#pragma unroll
    for (int i = 0; i < 64; ++i) {
        const int column = half * 64 + 16 * h.warp + h.lane / 4 + i / 2 % 2 * 8,
                  line = i / 4 * 8 + 2 * (h.lane % 4) + i % 2;
        put(to + line * args.strides.other + column * args.strides.inner, d[i]);
    }
}
#endif

__device__ __forceinline__ void second_product(const Here& h, const TensorMap* y, const Arguments& args) {
    const int half = h.group - 2;
    const uint32_t ys = h.ys + half * kYs * kBox;
    const uint64_t policy = evict_first();
    uint32_t operands[8 * RANK][4];
    load_second(operands, args.b, h.second, half, ys, h);
#if GRADIENT
    float d[64] = {};
#endif
#pragma unroll 1
    for (int tile = 0; tile < args.tiles; ++tile) {
        const int n = tile * RANK;
#pragma unroll
        for (int rank = 0; rank < RANK; ++rank) barrier_wait(h.in_full + (n + rank) % kIns * 8, (n + rank) / kIns & 1);
        if (half == 0 && h.thread == 0) count<false>(args.freed + tile);
        const uint32_t out = ys + tile % kYs * kBox;
#pragma unroll
        for (int row = 0; row < kRows; row += kAtOnce) {
            float sums[kAtOnce / 2];
            __syncwarp();
            products_begin();
#pragma unroll
            for (int i = 0; i < 8 * RANK; ++i)
                wgmma<1>(
                    sums, operands[i],
                    descriptor(h.ins + (n + i / 8) % kIns * kInStage + row * 2 + i % 8 * 2048, 1024, Swizzle::bytes128),
                    i > 0);
#if GRADIENT
            if (row == kRows - kAtOnce) add_products(d, h.ins + n % kIns * kInStage, half);
#endif
            products_end();
            if (row == kRows - kAtOnce && h.lane < RANK) barrier_arrive(h.in_empty + (n + h.lane) % kIns * 8);
            if (row == 0) {
                if (h.thread == 0) stores_read<kYs - 1>();
                group_sync(h.group);
            }
            stage_rows(h, sums, row, out);
        }
        fence_copies();
        group_sync(h.group);
        if (h.thread == 0) {
            store_box(y, out, 0, tile * kRows, h.second * 2 + half, policy);
            stores_commit();
        }
    }
    if (h.thread == 0) stores_done();
#if GRADIENT
    store_gradient(h, d, half, args);
#endif
}

extern "C" __global__ void __launch_bounds__(640, 1)
    ring(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap z_out,
         const __grid_constant__ TensorMap z_in, const __grid_constant__ TensorMap y,
         const __grid_constant__ TensorMap other, const Arguments args) {
    extern __shared__ unsigned char memory[];
    const Here h = locate(memory);
    begin(h, &x, args.tiles);
    if (h.group == 4) {
        if constexpr (RANK > 1 || GRADIENT) give_registers<32>();
        move_tiles(h, &x, &z_out, &z_in, &other, args);
    } else if (h.group < 2) {
        if constexpr (RANK > 1) take_registers<112>();
        if constexpr (GRADIENT) give_registers<80>();
        first_product(h, args);
    } else {
        if constexpr (RANK > 1) take_registers<112>();
        if constexpr (GRADIENT) take_registers<144>();
        second_product(h, &y, args);
    }
}
