// Both products of a two-factor layer in one pass over the rows, with the cores stationary in registers (cluster.cuh).
// A cluster of CLUSTER blocks holds all cores of a pass, and the intermediate goes from block to block through
// distributed shared memory. x is read from memory once in each pass, the cores once by each cluster, and y is written
// once. Warpgroups 0 and 1 compute the first product. Warpgroups 2 and 3 compute the second one, for half of the
// block's wide groups each, and the copy engine stores y.
//
// Where PARTS is more than 1 the layer widens: the second product has kPass groups, more than the first one, of PARTS
// times 64 columns of y each, and a pass computes one part of each group.
//
// Macros: those of cluster.cuh, with SIDES 1 and GROUPS 2; PARTS; KEEP, which is 1 to store the intermediate, too.
#include "cuda/chain/cluster.cuh"

constexpr int kYBytes = kSecond * kRows * 128;
constexpr int kYs = 2;  // buffers of tiles of y

struct Arguments {
    int tiles, rows;
    // The first wide group of the second product in this launch's passes (where PARTS > 1, the first part), and the
    // number of passes. Each cluster runs one of them.
    int pass_group, passes;
    Core a, b;
    char* kept;
};

/// Computes the second product of all tiles, a wide group at a time. A group's products run while the previous group is
/// rounded and staged, also from the last group of a tile to the first one of the next.
__device__ __forceinline__ void second_product(const Here& h, const uint32_t (&units)[4][4][4], const TensorMap* y,
                                               uint32_t ys, const Arguments& args, int pass_group, int of_group,
                                               uint64_t policy) {
    constexpr int kParts = kSecond / 2;  // wide groups of this warpgroup
    const int group = pass_group + h.rank * kSecond + h.half * kParts;
    const uint32_t ins = h.zs + h.half * (kZBytes / 2), outs = ys + h.half * (kYBytes / 2);
    const uint64_t lines = descriptor(ins, 512, Swizzle::bytes64);
    float sums[16];
    Turn z;  // the buffer of the tile whose products were started last
    const auto await_tile = [&](int n) {
        barrier_wait(h.z_full + z.slot * 8, z.parity);
        fence_copies();  // The tensor cores and the copy engine read what peers have stored.
        if (KEEP) {
            const uint32_t in = ins + z.slot * kZBytes;
            clear_beyond(h, in, h.tile(n), args.rows);
            if (h.thread == 0) {
                store_bytes(args.kept + (static_cast<long long>(h.tile(n)) * kWide + group) * kKept, in, kZBytes / 2);
                stores_commit();
            }
        }
        __syncwarp();
    };
    const auto start = [&](int part) {
        const uint64_t tile = advanced(lines, z.slot * kZBytes);
        products_begin();
#pragma unroll
        for (int block = 0; block < RANK; ++block)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int line = BLOCK == 64 ? (part * RANK + block) * 64 + k * 16
                                             : part * 64 * RANK + k / 2 * 32 * RANK + block * 32 + k % 2 * 16;
                wgmma<1>(sums, units[part * RANK + block][k], advanced(tile, line * 64), k > 0 || block > 0);
            }
        products_commit();
    };
    const auto finish = [&](int n, auto more) {  // `more`: another tile follows
        const uint32_t z_empty = h.z_empty + z.slot * 8, out = outs + n % kYs * kYBytes;
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
            products_wait<0>();
            uint32_t rounded[8];
            round_pairs(rounded, sums);
            if (part + 1 < kParts) {
                start(part + 1);
            } else {
                if (!KEEP || h.warp) tell_read(h, z_empty);
                if constexpr (more) {
                    z.next(kZs);
                    await_tile(n + 1);
                    start(0);
                }
            }
            stage(h, rounded, out + part * (kRows * 128));
        }
        fence_copies();
        if (h.thread == 0) stores_read<KEEP>();  // The previous tile of y, whose buffer the next one takes, is read.
        group_sync(h.group);
        if (h.thread == 0) {
            if constexpr (PARTS > 1)
                store_box(y, out, 0, of_group, h.tile(n) * kRows, group, policy);
            else
                store_box(y, out, 0, h.tile(n) * kRows, group, policy);
            stores_commit();
            // Waits until this tile of z is read: where a tile follows, three groups have been committed since.
            if (KEEP) stores_read<3>();
        }
        if (KEEP && h.warp == 0) {
            __syncwarp();
            tell_read(h, z_empty);
        }
    };
    await_tile(0), start(0);
#pragma unroll 1
    for (int n = 0; n < h.count - 1; ++n) finish(n, Constant<true>{});
    finish(h.count - 1, Constant<false>{});
}

extern "C" __global__ void __launch_bounds__(512, 1)
    stationary(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap y, const Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory, kYs * kYBytes);
    const uint32_t ys = h.zs + kZs * kZBytes;
    const int cluster = blockIdx.x / CLUSTER, pass = cluster % args.passes;
    const int pass_group = PARTS > 1 ? 0 : args.pass_group + pass * (kSecond * CLUSTER);
    const int part = PARTS > 1 ? args.pass_group + pass : 0;
    h.begin = cluster / args.passes, h.step = gridDim.x / CLUSTER / args.passes;
    h.count = uniform((args.tiles - h.begin + h.step - 1) / h.step);
    const TensorMap* const xs[1] = {&x};
    const uint64_t policy = evict_first();  // x and y are used once; the cores should stay in the L2.
    if (h.group == 0 && h.thread == 0) {
        init_barriers(h);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    const bool loads = h.group == 0 && h.thread == 0;
    if (loads) load_first_tiles(h, xs, policy);

    // Each warpgroup loads its four units of cores into registers, through 16 KB of the tiles' memory, two at a time.
    uint32_t units[4][4][4];
    const bool first = h.group < 2;
    Core core = first ? args.a : args.b;
    if (PARTS > 1 && !first) core.data += part * 64 * core.strides.inner;
    const uint32_t scratch = h.zs + h.group * 16384;
    const auto unit = [&](int u) {
        const int wide =
            first ? wide_of(h, h.group * kMine + u) : pass_group + h.rank * kSecond + h.half * kSecond / 2 + u / RANK;
        return Unit{core, first, wide, pass_group, u};
    };
    uint4 pieces[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) pieces[i] = load_piece(unit(i / 4), h.thread + i % 4 * 128);
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
        if (pair) group_sync(h.group);
#pragma unroll
        for (int i = 0; i < 8; ++i) store_piece(scratch + i / 4 * 8192, h.thread + i % 4 * 128, pieces[pair * 4 + i]);
        group_sync(h.group);
#pragma unroll
        for (int i = 0; i < 2; ++i) load_operands(units[pair + i], scratch + i * 8192, unit(pair).k_contiguous(), h);
    }
    cluster_sync();  // All blocks have made their barriers and no longer use the tiles' memory as scratch.
    const auto multiply = [&](float(&sums)[16], int unit, int k, uint64_t rows) {
        wgmma<0>(sums, units[unit][k], rows, k > 0);
    };
    if (first)
        first_product(h, multiply, [&](int n) {
            if (loads) load_next(h, xs, n, policy);
        });
    else
        second_product(h, units, &y, ys, args, pass_group, part, policy);
    if (h.thread == 0) stores_done();
    cluster_sync();  // No block may exit while a peer can still send to it.
}
