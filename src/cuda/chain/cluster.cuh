// How a cluster of CLUSTER blocks computes the first product of tiles of rows and brings it to the blocks that own its
// columns: what stationary.cu and core_gradients.cu share.
//
// The cluster holds the cores as left operands of wgmma for the kernel's life. Rows are the columns of wgmma: a tile is
// 32 of them. Some warpgroups compute the first product of a tile and send it, rounded, through distributed shared
// memory; two others do the rest with what has come. Tiles of x come in a permuted order of rows, such that the 8 rows
// that a thread has of a column lie side by side.
//
// SIDES is 2 where two layers' first products are computed at a time (a layer forward, and its gradient): then each has
// half of the registers and of the memory.
//
// Macros: BLOCK, RANK, CLUSTER, SIDES; GROUPS, warpgroups of the first product; XS and ZS, buffers of tiles of
// x and of the intermediate.
#pragma once

#include "cuda/chain/stationary.cuh"

constexpr int kFirst = kWide / CLUSTER;  // wide groups of the first product in a block
constexpr int kUnits = 8 / SIDES / kFirst;  // units of 64 x 64 of one of them in a pass
constexpr int kSecond = 8 / SIDES / RANK;  // wide groups of the second product in a block, in a pass
constexpr int kPass = kSecond * CLUSTER * kCores,
              kOwned = kSecond * kCores;  // groups of the second product in a pass, in a block
constexpr int kSideBytes = kFirst * kRows * 128, kXBytes = SIDES * kSideBytes, kZBytes = SIDES * kSecond * kKept;
constexpr int kMine = 8 / GROUPS;  // units of a warpgroup
constexpr int kXs = XS, kZs = ZS;  // buffers
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

/// Without the tiles. The barriers lie behind `bytes` more than the tiles of x and of the intermediate; `behind` is
/// behind them.
__device__ __forceinline__ Here locate(const unsigned char* memory, int bytes) {
    Here h;
    h.xs = uniform(shared_address(memory) + 1023 & ~1023u);  // the 128-byte swizzle repeats after 1024 bytes
    h.zs = h.xs + kXs * kXBytes;
    h.x_full = h.zs + kZs * kZBytes + bytes;
    h.x_empty = h.x_full + kXs * 8;
    h.z_full = h.x_empty + kXs * 8;
    h.z_empty = h.z_full + kZs * 8;
    h.behind = h.z_empty + kZs * 8;
    const uint32_t thread = pinned(threadIdx.x);
    h.rank = uniform(cluster_rank());
    h.group = uniform(thread / 128), h.thread = thread % 128, h.warp = uniform(thread % 128 / 32), h.lane = thread % 32;
    h.half = GROUPS == 2 || h.group == 0 ? h.group & 1 : h.group - 1;
    return h;
}

/// By one thread, before barriers_ready.
__device__ __forceinline__ void init_barriers(const Here& h) {
    for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 4 * GROUPS);
    for (int i = 0; i < kZs; ++i) barrier_init(h.z_full + i * 8, 1), barrier_init(h.z_empty + i * 8, 8 * CLUSTER);
}

/// Element (m, k) of a unit: of the first product m counts columns and k the axis of x, of the second k counts lines
/// and m the axis of y. `wide` is a wide group of its product.
__device__ __forceinline__ const uint16_t* element(const Core& core, bool first, int wide, int pass_group, int unit,
                                                   int m, int k) {
    const int column = unit % kUnits * BLOCK + m % BLOCK;
    const int rank = first ? column / kPass : unit % RANK;
    const int other = first ? pass_group * kCores + column % kPass : k % BLOCK;
    const CoreStrides& s = core.strides;
    return core.data + (wide * kCores + m / BLOCK) * s.group + other * s.other + rank * s.rank +
           (first ? k : m) % BLOCK * s.inner;
}

/// Where a unit comes from. Elements lie side by side that a sum meets in turn (k), or those of neighbouring sums (m).
struct Unit {
    const Core& core;
    bool first;
    int wide, pass_group, unit;
    __device__ __forceinline__ bool k_contiguous() const {
        return (first ? core.strides.inner : core.strides.other) == 1;
    }
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
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(scratch + line * 128 + ((piece ^ (line & 7)) << 4)),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

/// A unit in 8 KB of scratch memory as the left operands of four products.
__device__ __forceinline__ void load_operands(uint32_t (&products)[4][4], uint32_t scratch, bool k_contiguous,
                                              const Here& h) {
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

/// Of unit `u` of the block's eight of the first product: its side, its wide group, and which of that group's units it
/// is.
__device__ __forceinline__ int side_of(int u) { return u / (8 / SIDES); }
__device__ __forceinline__ int wide_of(const Here& h, int u) { return h.rank * kFirst + u % (8 / SIDES) / kUnits; }
__device__ __forceinline__ int unit_of(int u) { return u % kUnits; }

/// `x` has a map for each side.
__device__ __forceinline__ void load_x(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    const int slot = n % kXs;
    barrier_expect(h.x_full + slot * 8, kXBytes);
#pragma unroll
    for (int side = 0; side < SIDES; ++side)
        load_box(h.xs + slot * kXBytes + side * kSideBytes, x[side], h.x_full + slot * 8, 0, 0, h.tile(n) * (kRows / 8),
                 0, h.rank * kFirst, policy);
}

/// By one thread.
__device__ __forceinline__ void load_first_tiles(const Here& h, const TensorMap* const (&x)[SIDES], uint64_t policy) {
    for (int n = 0; n < kXs && n < h.count; ++n) load_x(h, x, n, policy);
}

constexpr int kTurns = kPass > BLOCK ? kPass / BLOCK : 1;  // units in turn whose columns have owners of their own

/// Where a thread's two columns of a unit go. The groups of the second product that own them are the same for all
/// units, or every kTurns-th.
struct Peers {
    uint32_t zs[kTurns][2];  // the tiles of the intermediate in the blocks that own the columns
    uint32_t line,
        piece;  // of the warpgroup's first unit, of the first column: address in a tile, and place in the line
};

constexpr int kLinesBetween = kOwned > 8 ? 8 * RANK* BLOCK : 0;  // of the two columns, which are 8 groups apart

/// A line's swizzle follows from its wide group.
__device__ constexpr int swizzle_of(int wide) { return (BLOCK == 64 ? wide >> 1 : wide) & 3; }

__device__ __forceinline__ Peers peers_of(const Here& h, int first_unit) {
    static_assert((BLOCK % kPass == 0 || kPass % BLOCK == 0) && (kOwned > 8 || 8 % kOwned == 0));
    const int column = h.warp % (BLOCK / 16) * 16 + h.lane / 4, f = column % kPass, wide = wide_of(h, first_unit);
    Peers p;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
        const int at = f + turn * BLOCK;
        p.zs[turn][0] = at_peer(h.zs, at / kOwned), p.zs[turn][1] = at_peer(h.zs, (at + 8) / kOwned);
    }
    p.line = ((f % kOwned * RANK + column / kPass) * BLOCK + (BLOCK == 64 ? 0 : h.warp / 2) + wide * kCores) * 64;
    p.piece = (h.lane & 3) ^ swizzle_of(wide);
    return p;
}

/// The sums of a unit of 64 x 32, rounded: neighbouring rows in a register.
__device__ __forceinline__ void round_pairs(uint32_t (&v)[8], const float (&sums)[16]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = pack(sums[2 * i], sums[2 * i + 1]);
}

/// Sends the rounded sums of a warpgroup's unit to the blocks that own their columns, `at` from their tiles on. (An
/// address of a peer's memory is linear in that of ours.)
__device__ __forceinline__ void send(const Peers& p, const uint32_t (&rounded)[8], int unit, uint32_t at,
                                     uint32_t full) {
    const int wide = unit % (8 / SIDES) / kUnits;  // from the first unit's
    const uint32_t line = p.line + (unit_of(unit) * (BLOCK / kPass) * BLOCK + wide * kCores) * 64;
    const uint32_t to = at + line + ((p.piece ^ swizzle_of(wide)) << 4);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const uint32_t v[4] = {rounded[i], rounded[2 + i], rounded[4 + i], rounded[6 + i]};
        const uint32_t zs = p.zs[unit_of(unit) % kTurns][i];
        store_at_peer(zs + to + i * kLinesBetween * 64, v, zs + full);
    }
}

/// The tile that comes in the place of tile n of x, once that has been read. By one thread.
__device__ __forceinline__ void load_next(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    if (n + kXs >= h.count) return;
    barrier_wait(h.x_empty + n % kXs * 8, n / kXs & 1);
    load_x(h, x, n + kXs, policy);
}

/// Computes units and sends them; the products of a unit run while the one before is sent. `multiply` starts the
/// products of 16 elements of k of a unit, `after` is called when a tile of x has been read.
template <class M, class F>
__device__ __forceinline__ void first_product(const Here& h, M&& multiply, F&& after) {
    const int base = GROUPS == 1 ? 0 : h.group * kMine;
    const Peers peers = peers_of(h, base);
    const uint64_t tiles =
        descriptor(h.xs + side_of(base) * kSideBytes + (wide_of(h, base) - h.rank * kFirst) * (kRows * 128), 1024,
                   Swizzle::bytes128);
    float sums[16];
    Turn x, z;
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const uint32_t z_full = h.z_full + z.slot * 8;
        const uint64_t tile = advanced(tiles, x.slot * kXBytes);
        const auto start = [&](int unit) {
            const int from = side_of(unit) * kSideBytes + unit % (8 / SIDES) / kUnits * (kRows * 128);
            products_begin();
#pragma unroll
            for (int k = 0; k < 4; ++k) multiply(sums, unit, k, advanced(tile, from + k * 32));
            products_commit();
        };
        barrier_wait(h.x_full + x.slot * 8, x.parity);
        __syncwarp();
        start(0);
        // Only now is the barrier's last phase over: the bytes announced next are of the next.
        if (n >= kZs) barrier_wait(h.z_empty + z.slot * 8, z.parity ^ 1);
        if (h.group == 0 && h.thread == 0) barrier_expect(z_full, kZBytes);
#pragma unroll
        for (int unit = 0; unit < kMine; ++unit) {
            products_wait<0>();
            uint32_t rounded[8];
            round_pairs(rounded, sums);
            if (unit < kMine - 1) {
                start(unit + 1);
            } else {
                if (h.lane == 0) barrier_arrive(h.x_empty + x.slot * 8);
            }
            send(peers, rounded, unit, z.slot * kZBytes + (side_of(base) + side_of(unit)) * (kZBytes / SIDES),
                 z_full - h.zs);
        }
        after(n);
        x.next(kXs), z.next(kZs);
    }
}

/// Clears rows beyond the last in a warpgroup's half of a tile that has come: they are of rows of zeros, and NaN where
/// a core has an infinity. Rows come in eights.
__device__ __forceinline__ void clear_beyond(const Here& h, uint32_t in, int tile, int rows) {
    const int there = rows - tile * kRows;
    if (there >= kRows) return;
    for (int line = h.thread; line < kZBytes / 2 / 64; line += 128)
        for (int piece = there / 8; piece < kRows / 8; ++piece)
            asm volatile(
                "st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(in + line * 64 + ((piece ^ (line >> 1 & 3)) << 4)),
                "r"(0)
                : "memory");
    fence_copies();
    group_sync(h.group);
}

/// By a warp: a tile of the intermediate has been read here.
__device__ __forceinline__ void tell_read(const Here& h, uint32_t z_empty) {
    if (h.lane < CLUSTER) arrive_at_peer(at_peer(z_empty, h.lane));
}

/// To shared memory, in the box that the copy engine stores: lines of 64 columns, one a row.
__device__ __forceinline__ void stage(const Here& h, const uint32_t (&v)[8], uint32_t to) {
    const int matrix = h.lane / 8;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        const int row = 8 * (j + matrix / 2) + h.lane % 8, piece = 2 * h.warp + (matrix & 1);
        const uint32_t of[4] = {v[2 * j], v[2 * j + 1], v[2 * j + 2], v[2 * j + 3]};
        store_matrices<true>(to + row * 128 + ((piece ^ (row & 7)) << 4), of);
    }
}
