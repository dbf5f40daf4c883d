// Both products of a two-factor layer in one pass over the rows, the cores stationary in registers (cluster.cuh): a cluster of
// CLUSTER blocks holds all cores of a pass, and the intermediate goes from block to block through distributed shared memory.
// Memory sees x once a pass, and y and the cores once. Warpgroups 2 and 3 compute the second product of a tile of the
// intermediate, and the copy engine stores it.
//
// Macros: BLOCK, RANK, CLUSTER; SIDES 1; GROUPS 2; KEEP 1 to store the intermediate too.
#include "cuda/chain/cluster.cuh"

constexpr int kYBytes = kSecond * kRows * 128;
constexpr int kYs = 2;  // buffers

struct Arguments {
    int tiles, rows;
    int pass_group;  // first wide group of the second product in this pass
    Core a, b;
    char* kept;
};

/// To shared memory, in the box that the copy engine stores: lines of 64 columns, one a row.
__device__ __forceinline__ void stage(const Here& h, const float (&sums)[16], uint32_t to) {
    const int matrix = h.lane / 8;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        const int row = 8 * (j + matrix / 2) + h.lane % 8, piece = 2 * h.warp + (matrix & 1);
        const float* d = sums + 4 * j;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[2], d[3]), pack(d[4], d[5]), pack(d[6], d[7])};
        store_matrices<true>(to + row * 128 + ((piece ^ (row & 7)) << 4), v);
    }
}

__device__ __forceinline__ void second_product(const Here& h, const uint32_t (&units)[4][4][4], const TensorMap* y, uint32_t ys,
                                               const Arguments& args, uint64_t policy) {
    constexpr int kAtOnce = RANK == 4 ? 1 : 2, kParts = kSecond / 2 / kAtOnce;  // wide groups of this warpgroup
    const int half = h.half, group = args.pass_group + h.rank * kSecond + half * (kSecond / 2);
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const int z_slot = n % kZs, tile = h.tile(n);
        const uint32_t in = h.zs + z_slot * kZBytes + half * (kZBytes / 2);
        const uint32_t out = ys + n % kYs * kYBytes + half * (kYBytes / 2);
        barrier_wait(h.z_full + z_slot * 8, n / kZs & 1);
        fence_copies();  // what peers stored is read by the tensor cores and by the copy engine
        if (KEEP) clear_beyond(h, in, tile, args.rows);
        if (KEEP && h.thread == 0) {
            store_bytes(args.kept + (static_cast<long long>(tile) * kWide + group) * kKept, in, kZBytes / 2);
            stores_commit();
        }
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
            float sums[kAtOnce][16];
            __syncwarp();
            products_begin();
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i)
#pragma unroll
                for (int block = 0; block < RANK; ++block) {
                    const int f = part * kAtOnce + i;
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        const int line = BLOCK == 64 ? (f * RANK + block) * 64 + k * 16
                                                     : f * 64 * RANK + k / 2 * 32 * RANK + block * 32 + k % 2 * 16;
                        wgmma<1>(sums[i], units[f * RANK + block][k], descriptor(in + line * 64, 512, Swizzle::bytes64),
                                 k > 0 || block > 0);
                    }
                }
            products_end();
            if (part == kParts - 1 && (!KEEP || h.warp)) tell_read(h, h.z_empty + z_slot * 8);
            if (part == 0) {
                if (h.thread == 0) stores_read<(KEEP + 1) * kYs - 1>();
                group_sync(h.group);
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) stage(h, sums[i], out + (part * kAtOnce + i) * (kRows * 128));
        }
        fence_copies();
        group_sync(h.group);
        if (h.thread == 0) {
            store_box(y, out, 0, tile * kRows, group, policy);
            stores_commit();
            if (KEEP) stores_read<1>();
        }
        if (KEEP && h.warp == 0) {
            __syncwarp();
            tell_read(h, h.z_empty + z_slot * 8);
        }
    }
}

extern "C" __global__ void __launch_bounds__(512, 1)
    stationary(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap y, const Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory, kYs * kYBytes);
    const uint32_t ys = h.zs + kZs * kZBytes;
    h.begin = blockIdx.x / CLUSTER, h.step = gridDim.x / CLUSTER;
    h.count = (args.tiles - h.begin + h.step - 1) / h.step;
    const TensorMap* const xs[1] = {&x};
    const uint64_t policy = evict_first();  // x and y pass the cache once; the cores stay
    if (threadIdx.x == 0) {
        init_barriers(h);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (threadIdx.x == 0) load_first_tiles(h, xs, policy);

    uint32_t units[4][4][4];
    const bool first = h.group < 2;
    const Core core = first ? args.a : args.b;
    const uint32_t scratch = h.zs + h.group * 16384;
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
        const auto unit = [&](int u) {
            const int wide = first ? wide_of(h, h.group * kMine + u)
                                   : args.pass_group + h.rank * kSecond + h.half * kSecond / 2 + u / RANK;
            return Unit{core, first, wide, args.pass_group, u};
        };
        uint4 pieces[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) pieces[i] = load_piece(unit(pair + i / 4), h.thread + i % 4 * 128);
        group_sync(h.group);
#pragma unroll
        for (int i = 0; i < 8; ++i) store_piece(scratch + i / 4 * 8192, h.thread + i % 4 * 128, pieces[i]);
        group_sync(h.group);
#pragma unroll
        for (int i = 0; i < 2; ++i) load_operands(units[pair + i], scratch + i * 8192, unit(pair).k_contiguous(), h);
    }
    cluster_sync();  // every peer's barriers stand, and nobody's scratch is in use
    if (first)
        first_product(h, units, [&](int n) {
            if (threadIdx.x == 0) load_next(h, xs, n, policy);
        });
    else
        second_product(h, units, &y, ys, args, policy);
    if (h.thread == 0) stores_done();
    cluster_sync();  // nobody leaves while a peer still sends to it
}
