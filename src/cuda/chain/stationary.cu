// Both products of a two-factor layer in one pass over the rows, the cores stationary in registers: a cluster of CLUSTER blocks
// holds all cores of a pass as left operands of wgmma for the kernel's life, and the intermediate goes from block to block
// through distributed shared memory. Memory sees x once a pass, and y and the cores once.
//
// Rows are the columns of wgmma: a tile is 32 of them. Warpgroups 0 and 1 compute the first product of a tile and send it,
// rounded, to the blocks that own its columns; 2 and 3 compute the second product of what has come, and the copy engine stores
// it. Tiles of x come in a permuted order of rows, such that the 8 rows that a thread has of a column lie side by side.
//
// Macros: BLOCK, RANK, CLUSTER; K_CONTIGUOUS 1 where the cores' elements that a sum meets in turn lie side by side, else 0,
// where those of neighbouring sums do; KEEP 1 to store the intermediate too.
#include "cuda/chain/stationary.cuh"

constexpr int kFirst = kWide / CLUSTER;  // wide groups of the first product in a block
constexpr int kUnits = 8 / kFirst;  // units of 64 x 64 of one of them in a pass
constexpr int kSecond = 8 / RANK;  // wide groups of the second product in a block, in a pass
constexpr int kPass = kSecond * CLUSTER * kCores, kOwned = kSecond * kCores;  // groups of the second product in a pass, in a block
constexpr int kXBytes = kFirst * kRows * 128, kZBytes = kSecond * kKept, kYBytes = kSecond * kRows * 128;
constexpr int kXs = kFirst == 8 ? 2 : 3, kZs = 3, kYs = 2;  // buffers
static_assert(kZBytes == 32768);

struct Arguments {
    int tiles;
    int pass_group;  // first wide group of the second product in this pass
    Core a, b;
    char* kept;
};

/// Element (m, k) of a unit: of the first product m counts columns and k the axis of x, of the second k counts lines and m the
/// axis of y. `wide` is a wide group of its product.
__device__ __forceinline__ const uint16_t* element(const Core& core, bool first, int wide, int pass_group, int unit, int m,
                                                   int k) {
    const int column = unit % kUnits * BLOCK + m % BLOCK;
    const int rank = first ? column / kPass : unit % RANK;
    const int other = first ? pass_group * kCores + column % kPass : k % BLOCK;
    const CoreStrides& s = core.strides;
    return core.data + (wide * kCores + m / BLOCK) * s.group + other * s.other + rank * s.rank + (first ? k : m) % BLOCK * s.inner;
}

/// A unit as the left operands of four products, through 8 KB of scratch memory.
__device__ __forceinline__ void load_unit(uint32_t (&products)[4][4], const Core& core, bool first, int wide, int pass_group,
                                          int unit, uint32_t scratch, int thread, int group) {
    group_sync(group);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int n = thread + i * 128, line = n / 8, piece = n % 8;
        const int m = K_CONTIGUOUS ? line : piece * 8, k = K_CONTIGUOUS ? piece * 8 : line;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (m / BLOCK == k / BLOCK)
            v = *reinterpret_cast<const uint4*>(element(core, first, wide, pass_group, unit, m, k));
        asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(scratch + line * 128 + ((piece ^ (line & 7)) << 4)),
                     "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                     : "memory");
    }
    group_sync(group);
    const int warp = thread / 32, matrix = thread % 32 / 8, row = thread % 8;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int line = K_CONTIGUOUS ? 16 * warp + 8 * (matrix & 1) + row : k * 16 + 8 * (matrix / 2) + row;
        const int piece = K_CONTIGUOUS ? k * 2 + matrix / 2 : 2 * warp + (matrix & 1);
        load_matrices<!K_CONTIGUOUS>(products[k], scratch + line * 128 + ((piece ^ (line & 7)) << 4));
    }
}

/// Where things are in this block, and who this thread is.
struct Here {
    uint32_t xs, zs, ys, x_full, x_empty, z_full, z_empty;
    uint32_t rank;
    int thread, group, warp, lane;  // thread of a warpgroup; its warps
    int cluster, clusters, count;  // tiles of this cluster
};

__device__ __forceinline__ void load_x(const Here& h, const TensorMap* x, int n, uint64_t policy) {
    const int slot = n % kXs;
    barrier_expect(h.x_full + slot * 8, kXBytes);
    load_box(h.xs + slot * kXBytes, x, h.x_full + slot * 8, 0, 0, (h.cluster + n * h.clusters) * (kRows / 8), 0,
             h.rank * kFirst, policy);
}

/// Sends the sums of a unit to the blocks that own their columns.
__device__ __forceinline__ void send(const Here& h, const float (&sums)[16], int wide, int unit, uint32_t to, uint32_t full) {
    const int part = h.lane & 3, g = BLOCK == 64 ? wide : 2 * wide + h.warp / 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int column = unit * BLOCK + h.warp % (BLOCK / 16) * 16 + half * 8 + h.lane / 4;
        const int f = column % kPass, line = (f % kOwned * RANK + column / kPass) * BLOCK + g;
        const uint32_t owner = f / kOwned;
        const float* d = sums + 2 * half;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[4], d[5]), pack(d[8], d[9]), pack(d[12], d[13])};
        store_at_peer(at_peer(to + line * 64 + ((part ^ (line >> 1 & 3)) << 4), owner), v, at_peer(full, owner));
    }
}

__device__ __forceinline__ void first_product(const Here& h, const uint32_t (&units)[4][4][4], const TensorMap* x,
                                              uint64_t policy) {
    const int half = h.group & 1;
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const int x_slot = n % kXs, z_slot = n % kZs;
        const uint32_t z_full = h.z_full + z_slot * 8;
        // Only now is the barrier's last phase over: the bytes announced next are of the next.
        if (n >= kZs) barrier_wait(h.z_empty + z_slot * 8, (n / kZs + 1) & 1);
        if (threadIdx.x == 0) barrier_expect(z_full, kZBytes);
        barrier_wait(h.x_full + x_slot * 8, n / kXs & 1);
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            float sums[2][16];
            __syncwarp();
            products_begin();
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int unit = 2 * pair + i;
                const uint32_t from = h.xs + x_slot * kXBytes + (half * kFirst / 2 + unit / kUnits) * (kRows * 128);
#pragma unroll
                for (int k = 0; k < 4; ++k)
                    wgmma<0>(sums[i], units[unit][k], descriptor(from + k * 32, 1024, Swizzle::bytes128), k > 0);
            }
            products_end();
            if (pair == 1 && h.lane == 0) barrier_arrive(h.x_empty + x_slot * 8);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int unit = 2 * pair + i;
                send(h, sums[i], h.rank * kFirst + half * kFirst / 2 + unit / kUnits, unit % kUnits, h.zs + z_slot * kZBytes,
                     z_full);
            }
        }
        if (threadIdx.x == 0 && n + kXs < h.count) {
            barrier_wait(h.x_empty + x_slot * 8, n / kXs & 1);
            load_x(h, x, n + kXs, policy);
        }
    }
}

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

__device__ __forceinline__ void tell_read(const Here& h, uint32_t z_empty) {
    if (h.lane < CLUSTER) arrive_at_peer(at_peer(z_empty, h.lane));
}

__device__ __forceinline__ void second_product(const Here& h, const uint32_t (&units)[4][4][4], const TensorMap* y,
                                               const Arguments& args, uint64_t policy) {
    constexpr int kAtOnce = RANK == 4 ? 1 : 2, kParts = kSecond / 2 / kAtOnce;  // wide groups of this warpgroup
    const int half = h.group & 1, group = args.pass_group + h.rank * kSecond + half * (kSecond / 2);
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const int z_slot = n % kZs, tile = h.cluster + n * h.clusters;
        const uint32_t in = h.zs + z_slot * kZBytes + half * (kZBytes / 2);
        const uint32_t out = h.ys + n % kYs * kYBytes + half * (kYBytes / 2);
        barrier_wait(h.z_full + z_slot * 8, n / kZs & 1);
        fence_copies();  // what peers stored is read by the tensor cores and by the copy engine
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
    Here h;
    h.xs = (shared_address(memory) + 1023) & ~1023u;  // the 128-byte swizzle repeats after 1024 bytes
    h.zs = h.xs + kXs * kXBytes;
    h.ys = h.zs + kZs * kZBytes;
    h.x_full = h.ys + kYs * kYBytes;
    h.x_empty = h.x_full + kXs * 8;
    h.z_full = h.x_empty + kXs * 8;
    h.z_empty = h.z_full + kZs * 8;
    h.rank = cluster_rank();
    h.group = threadIdx.x / 128, h.thread = threadIdx.x % 128, h.warp = h.thread / 32, h.lane = threadIdx.x % 32;
    h.cluster = blockIdx.x / CLUSTER, h.clusters = gridDim.x / CLUSTER;
    h.count = (args.tiles - h.cluster + h.clusters - 1) / h.clusters;
    const uint64_t policy = evict_first();  // x and y pass the cache once; the cores stay

    if (threadIdx.x == 0) {
        for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 8);
        for (int i = 0; i < kZs; ++i) barrier_init(h.z_full + i * 8, 1), barrier_init(h.z_empty + i * 8, 8 * CLUSTER);
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x == 0)
        for (int n = 0; n < kXs && n < h.count; ++n) load_x(h, &x, n, policy);

    uint32_t units[4][4][4];
    const bool first = h.group < 2;
    const uint32_t scratch = h.zs + h.group * 8192;
    const int half = h.group & 1;
    const Core core = first ? args.a : args.b;
#pragma unroll
    for (int u = 0; u < 4; ++u) {
        const int wide = first ? h.rank * kFirst + half * kFirst / 2 + u / kUnits
                               : args.pass_group + h.rank * kSecond + half * kSecond / 2 + u / RANK;
        load_unit(units[u], core, first, wide, args.pass_group, u, scratch, h.thread, h.group);
    }
    cluster_sync();  // every peer's barriers stand, and nobody's scratch is in use
    if (first)
        first_product(h, units, &x, policy);
    else
        second_product(h, units, &y, args, policy);
    if (h.thread == 0) stores_done();
    cluster_sync();  // nobody leaves while a peer still sends to it
}
