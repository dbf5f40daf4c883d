// How a cluster of CLUSTER blocks computes the first product of tiles of rows and brings it to the blocks that own its columns:
// what stationary.cu and core_gradients.cu share.
//
// The cluster holds the cores as left operands of wgmma for the kernel's life. Rows are the columns of wgmma: a tile is 32 of
// them. Some warpgroups compute the first product of a tile and send it, rounded, through distributed shared memory; two others
// do the rest with what has come. Tiles of x come in a permuted order of rows, such that the 8 rows that a thread has of a column
// lie side by side.
//
// SIDES is 2 where two layers' first products are computed at a time (a layer forward, and its gradient): then each has half of
// the registers and of the memory.
//
// Macros: BLOCK, RANK, CLUSTER, SIDES; GROUPS, warpgroups of the first product.
#pragma once

#include "cuda/chain/stationary.cuh"

constexpr int kFirst = kWide / CLUSTER;  // wide groups of the first product in a block
constexpr int kUnits = 8 / SIDES / kFirst;  // units of 64 x 64 of one of them in a pass
constexpr int kSecond = 8 / SIDES / RANK;  // wide groups of the second product in a block, in a pass
constexpr int kPass = kSecond * CLUSTER * kCores, kOwned = kSecond * kCores;  // groups of the second product in a pass, in a block
constexpr int kSideBytes = kFirst * kRows * 128, kXBytes = SIDES * kSideBytes, kZBytes = SIDES * kSecond * kKept;
constexpr int kMine = 8 / GROUPS;  // units of a warpgroup
constexpr int kXs = kXBytes == 32768 ? 2 : 3, kZs = kXs + 1;  // buffers
static_assert(kZBytes == 32768);

/// Where things are in this block, and who this thread is.
struct Here {
    uint32_t xs, zs, x_full, x_empty, z_full, z_empty, behind;
    uint32_t rank;
    int thread, group, warp, lane;  // thread of a warpgroup; its warps
    int half;  // of the warpgroups of the rest, and of those of the first product where there are two
    int begin, step, count;  // tiles of this cluster
    __device__ __forceinline__ int tile(int n) const { return begin + n * step; }
};

/// Without the tiles. The barriers lie behind `bytes` more than the tiles of x and of the intermediate; `behind` is behind them.
__device__ __forceinline__ Here locate(const unsigned char* memory, int bytes) {
    Here h;
    h.xs = (shared_address(memory) + 1023) & ~1023u;  // the 128-byte swizzle repeats after 1024 bytes
    h.zs = h.xs + kXs * kXBytes;
    h.x_full = h.zs + kZs * kZBytes + bytes;
    h.x_empty = h.x_full + kXs * 8;
    h.z_full = h.x_empty + kXs * 8;
    h.z_empty = h.z_full + kZs * 8;
    h.behind = h.z_empty + kZs * 8;
    h.rank = cluster_rank();
    h.group = threadIdx.x / 128, h.thread = threadIdx.x % 128, h.warp = h.thread / 32, h.lane = threadIdx.x % 32;
    h.half = GROUPS == 2 || h.group == 0 ? h.group & 1 : h.group - 1;
    return h;
}

/// By one thread, before barriers_ready.
__device__ __forceinline__ void init_barriers(const Here& h) {
    for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 4 * GROUPS);
    for (int i = 0; i < kZs; ++i) barrier_init(h.z_full + i * 8, 1), barrier_init(h.z_empty + i * 8, 8 * CLUSTER);
}

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

/// Where a unit comes from. Elements lie side by side that a sum meets in turn (k), or those of neighbouring sums (m).
struct Unit {
    const Core& core;
    bool first;
    int wide, pass_group, unit;
    __device__ __forceinline__ bool k_contiguous() const { return (first ? core.strides.inner : core.strides.other) == 1; }
};

/// Piece `n` of the 512 of a unit.
__device__ __forceinline__ uint4 load_piece(const Unit& u, int n) {
    const int line = n / 8, piece = n % 8;
    const int m = u.k_contiguous() ? line : piece * 8, k = u.k_contiguous() ? piece * 8 : line;
    if (m / BLOCK != k / BLOCK) return make_uint4(0, 0, 0, 0);
    return *reinterpret_cast<const uint4*>(element(u.core, u.first, u.wide, u.pass_group, u.unit, m, k));
}
__device__ __forceinline__ void store_piece(uint32_t scratch, int n, const uint4& v) {
    const int line = n / 8, piece = n % 8;
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(scratch + line * 128 + ((piece ^ (line & 7)) << 4)), "r"(v.x),
                 "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

/// A unit in 8 KB of scratch memory as the left operands of four products.
__device__ __forceinline__ void load_operands(uint32_t (&products)[4][4], uint32_t scratch, bool k_contiguous, const Here& h) {
    const int matrix = h.lane / 8, row = h.lane % 8;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        if (k_contiguous) {
            const int line = 16 * h.warp + 8 * (matrix & 1) + row, piece = k * 2 + matrix / 2;
            load_matrices<false>(products[k], scratch + line * 128 + ((piece ^ (line & 7)) << 4));
        } else {
            const int line = k * 16 + 8 * (matrix / 2) + row, piece = 2 * h.warp + (matrix & 1);
            load_matrices<true>(products[k], scratch + line * 128 + ((piece ^ (line & 7)) << 4));
        }
    }
}

/// Of unit `u` of the block's eight of the first product: its side, its wide group, and which of that group's units it is.
__device__ __forceinline__ int side_of(int u) { return u / (8 / SIDES); }
__device__ __forceinline__ int wide_of(const Here& h, int u) { return h.rank * kFirst + u % (8 / SIDES) / kUnits; }
__device__ __forceinline__ int unit_of(int u) { return u % kUnits; }

/// `x` has a map for each side.
__device__ __forceinline__ void load_x(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    const int slot = n % kXs;
    barrier_expect(h.x_full + slot * 8, kXBytes);
#pragma unroll
    for (int side = 0; side < SIDES; ++side)
        load_box(h.xs + slot * kXBytes + side * kSideBytes, x[side], h.x_full + slot * 8, 0, 0, h.tile(n) * (kRows / 8), 0,
                 h.rank * kFirst, policy);
}

/// By one thread.
__device__ __forceinline__ void load_first_tiles(const Here& h, const TensorMap* const (&x)[SIDES], uint64_t policy) {
    for (int n = 0; n < kXs && n < h.count; ++n) load_x(h, x, n, policy);
}

/// Where a thread's two columns of a unit go. The groups of the second product that own them are the same for all units.
struct Peers {
    uint32_t zs[2];  // the tiles of the intermediate in the blocks that own the columns
    int line;  // of a unit 0 of wide group 0, of the first column
};

constexpr int kLinesBetween = kOwned > 8 ? 8 * RANK * BLOCK : 0;  // of the two columns, which are 8 groups apart

__device__ __forceinline__ Peers peers_of(const Here& h) {
    static_assert(BLOCK % kPass == 0 && (kOwned > 8 || 8 % kOwned == 0));
    const int column = h.warp % (BLOCK / 16) * 16 + h.lane / 4, f = column % kPass;
    Peers p;
    p.zs[0] = at_peer(h.zs, f / kOwned), p.zs[1] = at_peer(h.zs, (f + 8) / kOwned);
    p.line = (f % kOwned * RANK + column / kPass) * BLOCK + (BLOCK == 64 ? 0 : h.warp / 2);
    return p;
}

/// Sends the sums of a unit to the blocks that own their columns, `at` from their tiles on. (An address of a peer's memory is
/// linear in that of ours.)
__device__ __forceinline__ void send(const Here& h, const Peers& p, const float (&sums)[16], int wide, int unit, uint32_t at,
                                     uint32_t full) {
    const int line = p.line + unit * (BLOCK / kPass) * BLOCK + wide * kCores;
    const int piece = (h.lane & 3) ^ (BLOCK == 64 ? wide >> 1 & 3 : wide & 3);  // a line's swizzle follows from its group
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const float* d = sums + 2 * i;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[4], d[5]), pack(d[8], d[9]), pack(d[12], d[13])};
        store_at_peer(p.zs[i] + at + (line + i * kLinesBetween) * 64 + (piece << 4), v, p.zs[i] + full);
    }
}

/// The tile that comes in the place of tile n of x, once that has been read. By one thread.
__device__ __forceinline__ void load_next(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    if (n + kXs >= h.count) return;
    barrier_wait(h.x_empty + n % kXs * 8, n / kXs & 1);
    load_x(h, x, n + kXs, policy);
}

/// Where registers allow it, the products of a unit run while the one before is sent.
constexpr bool kAhead = GROUPS == 2;

/// Computes units and sends them. `after` is called when a tile of x has been read.
template <class F>
__device__ __forceinline__ void first_product(const Here& h, const uint32_t (&units)[kMine][4][4], F&& after) {
    const int base = GROUPS == 1 ? 0 : h.group * kMine;
    const Peers peers = peers_of(h);
    float sums[kAhead ? 2 : 1][16];
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const int x_slot = n % kXs, z_slot = n % kZs;
        const uint32_t z_full = h.z_full + z_slot * 8;
        const auto start = [&](int unit) {
            const int u = base + unit;
            const uint32_t from =
                h.xs + x_slot * kXBytes + side_of(u) * kSideBytes + (wide_of(h, u) - h.rank * kFirst) * (kRows * 128);
            products_begin();
#pragma unroll
            for (int k = 0; k < 4; ++k)
                wgmma<0>(sums[kAhead ? unit & 1 : 0], units[unit][k], descriptor(from + k * 32, 1024, Swizzle::bytes128), k > 0);
            products_commit();
        };
        barrier_wait(h.x_full + x_slot * 8, n / kXs & 1);
        __syncwarp();
#pragma unroll
        for (int unit = 0; unit < kMine; ++unit) {
            if (!kAhead || unit == 0) start(unit);
            if (unit == 0) {
                // Only now is the barrier's last phase over: the bytes announced next are of the next.
                if (n >= kZs) barrier_wait(h.z_empty + z_slot * 8, (n / kZs + 1) & 1);
                if (threadIdx.x == 0) barrier_expect(z_full, kZBytes);
            }
            if (kAhead && unit < kMine - 1) {
                start(unit + 1);
                products_wait<1>();
            } else {
                products_wait<0>();
            }
            if (unit == kMine - 1) {
                if (h.lane == 0) barrier_arrive(h.x_empty + x_slot * 8);
                after(n);
            }
            const int u = base + unit;
            send(h, peers, sums[kAhead ? unit & 1 : 0], wide_of(h, u), unit_of(unit),
                 z_slot * kZBytes + side_of(u) * (kZBytes / SIDES), z_full - h.zs);
        }
    }
}

/// Clears rows beyond the last in a warpgroup's half of a tile that has come: they are of rows of zeros, and NaN where a core has
/// an infinity. Rows come in eights.
__device__ __forceinline__ void clear_beyond(const Here& h, uint32_t in, int tile, int rows) {
    const int there = rows - tile * kRows;
    if (there >= kRows) return;
    for (int line = h.thread; line < kZBytes / 2 / 64; line += 128)
        for (int piece = there / 8; piece < kRows / 8; ++piece)
            asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(in + line * 64 + ((piece ^ (line >> 1 & 3)) << 4)),
                         "r"(0)
                         : "memory");
    fence_copies();
    group_sync(h.group);
}

/// By a warp: a tile of the intermediate has been read here.
__device__ __forceinline__ void tell_read(const Here& h, uint32_t z_empty) {
    if (h.lane < CLUSTER) arrive_at_peer(at_peer(z_empty, h.lane));
}
