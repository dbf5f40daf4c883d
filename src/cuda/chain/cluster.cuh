// How a cluster of CLUSTER blocks computes the first product of tiles of rows, and sends it to the blocks that own its
// columns. stationary.cu, stationary_gradient.cu and core_gradients.cu share it.
//
// The cluster holds the cores as left operands of wgmma for the kernel's life. The layer's rows are the columns of
// wgmma; a tile has 32 of them. Warpgroups 0 to GROUPS - 1 compute the first product of a tile and send it, rounded,
// through distributed shared memory. Two more warpgroups do what follows with the tiles that arrive. The copy engine
// loads tiles of x in a permuted order of rows, so that the 8 rows that a thread holds of a column are adjacent in the
// intermediate's memory.
//
// Barriers of a block, one for each buffer: x_full says that a tile of x has arrived, x_empty that this block's
// warpgroups have read it. z_full says that all blocks of the cluster have sent this block its part of a tile of the
// intermediate, z_empty that all blocks of the cluster have read their parts, so that this block may send the next
// tile.
//
// SIDES is 2 where the first products of two layers are computed together (a layer's, and that of its gradient); each
// then has half of the registers and of the memory.
//
// Macros: BLOCK, RANK, CLUSTER, SIDES; GROUPS, the number of warpgroups of the first product; XS and ZS, the numbers of
// buffers for tiles of x and of the intermediate.
#pragma once

#include "cuda/chain/stationary.cuh"

// A unit is 64 x 64 elements of cores, the left operands of four wgmma; a block has eight for the first product.
constexpr int kFirst = kWide / CLUSTER;  // wide groups of the first product in a block
constexpr int kUnits = 8 / SIDES / kFirst;  // units of one of them in a pass
constexpr int kSecond = 8 / SIDES / RANK;  // wide groups of the second product in a block, in a pass
// Groups of the second product in a pass, and those of them that a block owns.
constexpr int kPass = kSecond * CLUSTER * kCores, kOwned = kSecond * kCores;
constexpr int kSideBytes = kFirst * kRows * 128, kXBytes = SIDES * kSideBytes, kZBytes = SIDES * kSecond * kKept;
constexpr int kMine = 8 / GROUPS;  // units of a warpgroup of the first product
constexpr int kXs = XS, kZs = ZS;  // numbers of buffers
static_assert(kZBytes == 32768);

/// Addresses in this block's shared memory, the thread's indices, and the tiles of its cluster.
struct Here {
    uint32_t xs, zs, x_full, x_empty, z_full, z_empty, behind;
    uint32_t rank;  // of the block in its cluster
    int thread, group, warp, lane;  // thread in its warpgroup, the warpgroup, warp in the warpgroup, thread in its warp
    int half;  // 0 or 1, which of the last two warpgroups this is; also of the first product's, where it has two
    int begin, step, count;  // the cluster's tiles: begin, begin + step, ...
    __device__ __forceinline__ int tile(int n) const { return begin + n * step; }
};

/// All of Here but the tiles. `bytes` bytes lie between the tiles of the intermediate and the barriers; `behind` is the
/// address behind the barriers.
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

/// One thread calls it, before barriers_ready.
__device__ __forceinline__ void init_barriers(const Here& h) {
    for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 4 * GROUPS);
    for (int i = 0; i < kZs; ++i) barrier_init(h.z_full + i * 8, 1), barrier_init(h.z_empty + i * 8, 8 * CLUSTER);
}

/// Address of element (m, k) of a unit. In the first product, m is a column of the intermediate and k runs along x's
/// axis; in the second one, m runs along y's axis and k is a line of the intermediate. `wide` is a wide group of the
/// unit's own product.
__device__ __forceinline__ const uint16_t* element(const Core& core, bool first, int wide, int pass_group, int unit,
                                                   int m, int k) {
    const int column = unit % kUnits * BLOCK + m % BLOCK;
    const int rank = first ? column / kPass : unit % RANK;
    const int other = first ? pass_group * kCores + column % kPass : k % BLOCK;
    const CoreStrides& s = core.strides;
    return core.data + (wide * kCores + m / BLOCK) * s.group + other * s.other + rank * s.rank +
           (first ? k : m) % BLOCK * s.inner;
}

/// Where a unit is read from. In memory either consecutive elements of k are adjacent, or those of m.
struct Unit {
    const Core& core;
    bool first;
    int wide, pass_group, unit;
    __device__ __forceinline__ bool k_contiguous() const {
        return (first ? core.strides.inner : core.strides.other) == 1;
    }
};

/// Piece n of a unit's 512, of 16 bytes each. It is zero where its row and its column are of different cores.
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

/// Loads a unit from 8 KB of scratch memory into registers, as the left operands of four wgmma.
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

/// The side of unit `u` of the block's eight of the first product, its wide group, and its index among the group's
/// units.
__device__ __forceinline__ int side_of(int u) { return u / (8 / SIDES); }
__device__ __forceinline__ int wide_of(const Here& h, int u) { return h.rank * kFirst + u % (8 / SIDES) / kUnits; }
__device__ __forceinline__ int unit_of(int u) { return u % kUnits; }

/// Starts the copy of the cluster's n-th tile of x into its buffer; `x` has a map for each side.
__device__ __forceinline__ void load_x(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    const int slot = n % kXs;
    barrier_expect(h.x_full + slot * 8, kXBytes);
#pragma unroll
    for (int side = 0; side < SIDES; ++side)
        load_box(h.xs + slot * kXBytes + side * kSideBytes, x[side], h.x_full + slot * 8, 0, 0, h.tile(n) * (kRows / 8),
                 0, h.rank * kFirst, policy);
}

/// Fills all buffers of x. One thread calls it.
__device__ __forceinline__ void load_first_tiles(const Here& h, const TensorMap* const (&x)[SIDES], uint64_t policy) {
    for (int n = 0; n < kXs && n < h.count; ++n) load_x(h, x, n, policy);
}

constexpr int kTurns = kPass > BLOCK ? kPass / BLOCK : 1;  // units after which the owners of the columns repeat

/// Where a thread's two columns of a unit are sent. The blocks that own them are the same for all units, or for every
/// kTurns-th.
struct Peers {
    uint32_t zs[kTurns][2];  // tiles of the intermediate, in the shared memory of the columns' owners
    // For the first column in the warpgroup's first unit: byte offset of its line in a tile, and which 16 bytes of it.
    uint32_t line, piece;
};

// From a thread's first column to its second, 8 groups on: their distance in lines where one block owns both.
constexpr int kLinesBetween = kOwned > 8 ? 8 * RANK* BLOCK : 0;

/// The swizzle of a thread's lines depends on the wide group alone.
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

/// Rounds a thread's sums of 64 columns and 32 rows, two neighbouring rows to a register.
__device__ __forceinline__ void round_pairs(uint32_t (&v)[8], const float (&sums)[16]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = pack(sums[2 * i], sums[2 * i + 1]);
}

/// Sends the rounded sums of a warpgroup's unit to the blocks that own their columns, `at` bytes from the start of
/// their tiles; they count at the barrier `full` bytes from there. Offsets within a block are the same in its peers.
__device__ __forceinline__ void send(const Peers& p, const uint32_t (&rounded)[8], int unit, uint32_t at,
                                     uint32_t full) {
    const int wide = unit % (8 / SIDES) / kUnits;  // wide groups after that of the warpgroup's first unit
    const uint32_t line = p.line + (unit_of(unit) * (BLOCK / kPass) * BLOCK + wide * kCores) * 64;
    const uint32_t to = at + line + ((p.piece ^ swizzle_of(wide)) << 4);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const uint32_t v[4] = {rounded[i], rounded[2 + i], rounded[4 + i], rounded[6 + i]};
        const uint32_t zs = p.zs[unit_of(unit) % kTurns][i];
        store_at_peer(zs + to + i * kLinesBetween * 64, v, zs + full);
    }
}

/// Waits until tile n of x has been read, and starts the copy of the tile that takes its buffer. One thread calls it.
__device__ __forceinline__ void load_next(const Here& h, const TensorMap* const (&x)[SIDES], int n, uint64_t policy) {
    if (n + kXs >= h.count) return;
    barrier_wait(h.x_empty + n % kXs * 8, n / kXs & 1);
    load_x(h, x, n + kXs, policy);
}

/// Computes the first product of all tiles and sends it. A unit's products run while the previous unit is sent.
/// `multiply` starts the products of 16 elements of k of a unit; `after` is called once a tile of x has been read.
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
        // Once every block, this one among them, has read the buffer's previous tile, z_full's previous phase is over,
        // and the bytes that are expected here belong to the next phase.
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

/// Clears the rows beyond the last one in a warpgroup's half of a tile of the intermediate that has arrived. They were
/// computed from rows of zeros, so they are NaN where a core has an infinity. The number of rows is a multiple of 8.
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

/// Tells all blocks of the cluster that this warp has read a tile of the intermediate. All threads of the warp call it.
__device__ __forceinline__ void tell_read(const Here& h, uint32_t z_empty) {
    if (h.lane < CLUSTER) arrive_at_peer(at_peer(z_empty, h.lane));
}

/// Writes rounded sums to shared memory, in the layout of the box that the copy engine stores: 64 columns of a row are
/// a line.
__device__ __forceinline__ void stage(const Here& h, const uint32_t (&v)[8], uint32_t to) {
    const int matrix = h.lane / 8;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        const int row = 8 * (j + matrix / 2) + h.lane % 8, piece = 2 * h.warp + (matrix & 1);
        const uint32_t of[4] = {v[2 * j], v[2 * j + 1], v[2 * j + 2], v[2 * j + 3]};
        store_matrices<true>(to + row * 128 + ((piece ^ (row & 7)) << 4), of);
    }
}
