// The gradient of one core of a two-factor layer, or of both (SIDES 2), with the intermediate computed again: db from
// x, a and dy, and da from dy, b and x. Only x, dy and the cores are read from memory, never an intermediate. The first
// product is that of a pass (cluster.cuh). The last two warpgroups keep the sums in registers (core_sums.cuh).
//
// Macros: those of core_sums.cuh.
#include "cuda/chain/core_sums.cuh"

struct Arguments {
    int tiles, rows, parts, pass;
    float4* sums;  // each part's, in the order in which threads hold them
    Core cores[SIDES];  // the first product's core of each side
};

__device__ __forceinline__ void add_tiles(const Here& h, float (&d)[kProducts][kSums], const Other& o,
                                          const TensorMap* const (&x)[SIDES], int rows, uint64_t policy) {
    const uint32_t ins = h.zs + h.half * (kZBytes / 2);
    const uint64_t lines = descriptor(ins, 512, Swizzle::bytes64),
                   columns = descriptor(o.tiles, 1024, Swizzle::bytes128);
    Turn z, other;
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        if (h.half == 0 && h.thread == 0)
            load_next(h, x, n, policy);  // Tile n of x is read before tile n of the intermediate is complete.
        barrier_wait(o.full + other.slot * 8, other.parity);
        barrier_wait(h.z_full + z.slot * 8, z.parity);
        fence_copies();  // The tensor cores read what peers have stored.
        clear_beyond(h, ins + z.slot * kZBytes, h.tile(n), rows);
        __syncwarp();
        products_begin();
        add_products(d, advanced(lines, z.slot * kZBytes), advanced(columns, other.slot * kOtherBytes));
        products_end();
        tell_read(h, h.z_empty + z.slot * 8);
        if (h.lane == 0) barrier_arrive(o.empty + other.slot * 8);
        if (h.thread == 0 && n + kOthers < h.count) {
            barrier_wait(o.empty + other.slot * 8, other.parity);
            load_other(h, o, n + kOthers, policy);
        }
        z.next(kZs), other.next(kOthers);
    }
}

/// `x` of a side is the operand of its first product, with rows in the order of a pass. `other` is the other operand of
/// its gradient, which is the other side's x.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    core_gradients(const __grid_constant__ TensorMap x0, const __grid_constant__ TensorMap other0,
                   const __grid_constant__ TensorMap x1, const __grid_constant__ TensorMap other1,
                   const __grid_constant__ Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory, 2 * kOthers * kOtherBytes);
    const int part = blockIdx.x / CLUSTER;
    take_part(h, args.tiles, part, args.parts);
    const TensorMap* xs[SIDES];
    xs[0] = &x0;
    if constexpr (SIDES == 2) xs[1] = &x1;
    const int pass_group = args.pass * kSecond * CLUSTER;
    Other o;
    o.map = SIDES == 2 && h.half ? &other1 : &other0;
    o.tiles = h.zs + kZs * kZBytes + h.half * (kOthers * kOtherBytes);
    o.full = h.behind + h.half * (2 * kOthers * 8), o.empty = o.full + kOthers * 8;
    o.group = pass_group + h.rank * kSecond + (SIDES == 2 ? 0 : h.half * kOwn);
    const uint64_t policy = evict_normal();  // The other side, or the other gradient's kernel, reads the same tensors.
    if (threadIdx.x == 0) {
        init_barriers(h);
        for (int i = 0; i < 2 * 2 * kOthers; ++i) barrier_init(h.behind + i * 8, i / kOthers & 1 ? 4 : 1);
        barriers_ready();
    }
    begin_tiles(h, xs, o, policy);
    // The first product's cores go to registers through 64 KB of shared memory, the tiles of the intermediate.
    constexpr int kPieces = (8 * 512 + kThreads - 1) / kThreads;  // of a thread, whose loads are in flight together
    uint4 pieces[kPieces];
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
        if (const int n = threadIdx.x + j * kThreads; n < 8 * 512)
            pieces[j] = load_piece(
                {args.cores[side_of(n / 512)], true, wide_of(h, n / 512), pass_group, unit_of(n / 512)}, n % 512);
#pragma unroll
    for (int j = 0; j < kPieces; ++j)
        if (const int n = threadIdx.x + j * kThreads; n < 8 * 512)
            store_piece(h.zs + n / 512 * 8192, n % 512, pieces[j]);
    __syncthreads();
    if (h.group < GROUPS) {
        if constexpr (GROUPS == 1) take_registers<184>();
        uint32_t units[kMine][4][4];
#pragma unroll
        for (int i = 0; i < kMine; ++i) {
            const int u = h.group * kMine + i;
            load_operands(units[i], h.zs + u * 8192, args.cores[side_of(u)].strides.inner == 1, h);
        }
        cluster_sync();  // All blocks have made their barriers and no longer use the tiles' memory as scratch.
        first_product(
            h, [&](float(&sums)[16], int unit, int k, uint64_t rows) { wgmma<0>(sums, units[unit][k], rows, k > 0); },
            [](int) {});
        cluster_sync();  // No block may exit while a peer can still send to it.
    } else {
        if constexpr (GROUPS == 1) give_registers<160>();
        float d[kProducts][kSums];
#pragma unroll
        for (int i = 0; i < kProducts; ++i)
#pragma unroll
            for (int j = 0; j < kSums; ++j) d[i][j] = 0;
        cluster_sync();
        add_tiles(h, d, o, xs, args.rows, policy);
        cluster_sync();
        write_sums(h, d, args.sums, part, args.pass);
    }
}
