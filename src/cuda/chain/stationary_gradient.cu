// A pass of blocks of 64 that also computes the gradient of its second core (Pass::beside). It runs backward: its
// intermediate is the gradient of the layer's intermediate, which goes from block to block once for both results. Six
// of the first product's eight units, and the sums of the gradient (core_sums.cuh), stay in registers; the other cores
// stay in shared memory.
//
// Macros: those of core_sums.cuh, with SIDES 1 and GROUPS 1; K_CONTIGUOUS, which is 1 where consecutive elements of k
// are adjacent in the cores' memory, and 0 where those of m are.
#include "cuda/chain/core_sums.cuh"

constexpr int kUnitBytes = 64 * 128, kSecondBytes = 8 * kUnitBytes;  // a unit, and the second product's cores
// Units of the first product that registers hold, and the bytes of the others, in shared memory.
constexpr int kHeldUnits = 6, kFirstBytes = (kMine - kHeldUnits) * kUnitBytes;
constexpr int kUnitStep = K_CONTIGUOUS ? 32 : 16 * 128;  // bytes from 16 elements of k to the next 16

struct Arguments {
    int tiles, rows, parts, pass;
    float4* sums;  // each part's, in the order in which threads hold them
    Core a, b;
};

/// Starts the second product of one wide group.
__device__ __forceinline__ void multiply(float (&sums)[16], uint64_t cores, uint64_t lines, int part) {
#pragma unroll
    for (int block = 0; block < RANK; ++block)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int unit = part * RANK + block;
            wgmma<1 - K_CONTIGUOUS, 1>(sums, advanced(cores, unit * kUnitBytes + k * kUnitStep),
                                       advanced(lines, unit * 4096 + k * 1024), k > 0 || block > 0);
        }
}

/// What the last two warpgroups do, each for its own wide groups of the second product. A tile of the result is staged
/// in the buffer of the other operand's tile, once that has been read.
__device__ __forceinline__ void take_tiles(const Here& h, float (&d)[kProducts][kSums], const Other& o, uint32_t core,
                                           const TensorMap* y, const TensorMap* const (&x)[1], int rows,
                                           uint64_t policy) {
    constexpr int kGroups = kSecond / 2;  // wide groups of this warpgroup
    const uint32_t ins = h.zs + h.half * (kZBytes / 2);
    const uint64_t tiles = descriptor(ins, 512, Swizzle::bytes64),
                   columns = descriptor(o.tiles, 1024, Swizzle::bytes128),
                   cores = descriptor(core, 1024, Swizzle::bytes128);
    Turn z, other;
    float sums[16];
    uint32_t rounded[kGroups][8];
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        if (h.half == 0 && h.thread == 0)
            load_next(h, x, n, policy);  // Tile n of x is read before tile n of the intermediate is complete.
        const uint64_t lines = advanced(tiles, z.slot * kZBytes);
        barrier_wait(h.z_full + z.slot * 8, z.parity);
        fence_copies();  // The tensor cores read what peers have stored.
        clear_beyond(h, ins + z.slot * kZBytes, h.tile(n), rows);
        __syncwarp();
#pragma unroll
        for (int part = 0; part < kGroups; ++part) {
            products_begin();
            multiply(sums, cores, lines, part);
            products_commit();
            if (part == kGroups - 1) {
                barrier_wait(o.full + other.slot * 8, other.parity);
                __syncwarp();
                products_begin();
                add_products(d, lines, advanced(columns, other.slot * kOtherBytes));
                products_commit();
                products_wait<1>();
            } else {
                products_wait<0>();
            }
            round_pairs(rounded[part], sums);
        }
        if (h.thread == 0 && n > 0 && n + 1 < h.count) {
            stores_read<0>();  // The previous tile of the result has left the buffer.
            load_other(h, o, n + 1, policy);
        }
        products_wait<0>();
        tell_read(h, h.z_empty + z.slot * 8);
        const uint32_t out = o.tiles + other.slot * kOtherBytes;
        group_sync(h.group);  // All warps' products have read the other operand's tile.
#pragma unroll
        for (int part = 0; part < kGroups; ++part) stage(h, rounded[part], out + part * (kRows * 128));
        fence_copies();
        group_sync(h.group);
        if (h.thread == 0) {
            store_box(y, out, 0, h.tile(n) * kRows, o.group, policy);
            stores_commit();
        }
        z.next(kZs), other.next(kOthers);
    }
    if (h.thread == 0) stores_done();
}

/// `x` is the pass's operand, `y` its result, and `other` the other operand of the gradient.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    stationary_gradient(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap y,
                        const __grid_constant__ TensorMap other, const __grid_constant__ Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory, kFirstBytes + kSecondBytes + 2 * kOthers * kOtherBytes);
    const int part = blockIdx.x / CLUSTER;
    take_part(h, args.tiles, part, args.parts);
    const TensorMap* const xs[1] = {&x};
    const int pass_group = args.pass * kSecond * CLUSTER;
    const uint32_t firsts = h.zs + kZs * kZBytes, cores = firsts + kFirstBytes;
    Other o;
    o.map = &other;
    o.tiles = cores + kSecondBytes + h.half * (kOthers * kOtherBytes);
    o.full = h.behind + h.half * (kOthers * 8);
    const int own = pass_group + static_cast<int>(h.rank) * kSecond;
    o.group = own + h.half * kOwn;
    const uint64_t policy = evict_normal();  // The kernel of the other core's gradient reads the same tensors.
    if (threadIdx.x == 0) {
        init_barriers(h);
        for (int i = 0; i < 2 * kOthers; ++i) barrier_init(h.behind + i * 8, 1);
        barriers_ready();
    }
    begin_tiles(h, xs, o, policy);
    // All cores go to their places in shared memory. The units that registers hold pass through the tiles' memory.
    const auto place = [&](int u) -> uint32_t {
        return u >= 8           ? cores + (u - 8) * kUnitBytes
               : u < kHeldUnits ? h.zs + u * kUnitBytes
                                : firsts + (u - kHeldUnits) * kUnitBytes;
    };
    constexpr int kAtOnce = 11;  // loads of a thread in flight together, half of its loads
#pragma unroll 1
    for (int i = threadIdx.x; i < 16 * 512; i += kAtOnce * kThreads) {
        uint4 pieces[kAtOnce];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j)
            if (const int n = i + j * kThreads, u = n / 512; u < 8)
                pieces[j] = load_piece({args.a, true, wide_of(h, u), pass_group, unit_of(u)}, n % 512);
            else if (u < 16)
                pieces[j] = load_piece({args.b, false, own + (u - 8) / RANK, pass_group, u - 8}, n % 512);
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j)
            if (const int n = i + j * kThreads; n < 16 * 512) store_piece(place(n / 512), n % 512, pieces[j]);
    }
    fence_copies();
    __syncthreads();
    if (h.group < GROUPS) {
        give_registers<152>();
        uint32_t units[kHeldUnits][4][4];
#pragma unroll
        for (int i = 0; i < kHeldUnits; ++i) load_operands(units[i], place(i), K_CONTIGUOUS, h);
        cluster_sync();  // All blocks have made their barriers and no longer use the tiles' memory as scratch.
        const uint64_t others = descriptor(firsts, 1024, Swizzle::bytes128);
        const auto multiply = [&](float(&sums)[16], int unit, int k, uint64_t rows) {
            if (unit < kHeldUnits)
                wgmma<0>(sums, units[unit][k], rows, k > 0);
            else
                wgmma<1 - K_CONTIGUOUS, 0>(sums, advanced(others, (unit - kHeldUnits) * kUnitBytes + k * kUnitStep),
                                           rows, k > 0);
        };
        first_product(h, multiply, [](int) {});
        cluster_sync();  // No block may exit while a peer can still send to it.
    } else {
        take_registers<176>();
        float d[kProducts][kSums];
#pragma unroll
        for (int i = 0; i < kProducts; ++i)
#pragma unroll
            for (int j = 0; j < kSums; ++j) d[i][j] = 0;
        cluster_sync();
        take_tiles(h, d, o, cores + h.half * (kSecondBytes / 2), &y, xs, args.rows, policy);
        cluster_sync();
        write_sums(h, d, args.sums, part, args.pass);
    }
}
