// Both products of a two-factor layer for few rows, with any extents. A block, or a cluster of SPLIT blocks, computes
// the columns of y of one group f. It needs only z[i, f, :, :] of the intermediate, which follows from x and the cores
// of f. So nothing goes from group to group, and each core is read once. Every group's blocks read all of x, which
// costs little for a few rows and too much for many. A block of a cluster computes z for its part of the first
// product's groups, from a part of x, and then its part of y's columns. It reads the rest of z from its peer's shared
// memory.
//
// Products are mma.m16n8k16. The layer's rows are its 16 rows. Its columns are ranks in the first product, and columns
// of y in the second one.
//
// Where a tile reaches beyond x or the ranks, operands are read from the last row or rank instead, and the results are
// not stored. A condition on each load would keep the loads from being in flight together.
//
// Macros: GROUPS and INNER, the axes of x; OTHERS and OUTER, those of y; RANK; WARPS; SPLIT, the blocks of a group, 1
// or 2; STAGED, which is 1 where x starts at a multiple of 16 bytes and goes through shared memory, and 0 where
// operands are read from global memory; CONTIGUOUS, which is 1 where consecutive elements of k are adjacent in the
// cores' memory. INNER and GROUPS are multiples of 16, OUTER is a multiple of 8.
#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kRows = 16, kRankTiles = (RANK + 7) / 8, kSummed = RANK * GROUPS;
constexpr int kGroups = GROUPS / SPLIT;  // groups of the first product in a block
// Tiles of 8 columns of the second product: of a group, and of a block, which has a warp for each.
constexpr int kTiles = OUTER / 8, kMyTiles = (kTiles + SPLIT - 1) / SPLIT;
constexpr int kWarps = WARPS, kThreads = 32 * kWarps;
constexpr int kPitch = kSummed + 8;  // in elements; the 8 put the rows of an operand into different banks
constexpr int kXPitch = kGroups * INNER + 8;
constexpr int kOfWarp = (kGroups + kWarps - 1) / kWarps;  // groups of the first product of a warp
/// Whether registers hold the first cores of all of a warp's groups, so that they are loaded before x has arrived. Else
/// they are loaded for kAtOnce groups at a time.
constexpr bool kAhead = kOfWarp * (INNER / 16) * kRankTiles * 2 <= 32;
constexpr int kAtOnce = 4;
static_assert(kWarps >= kMyTiles);

struct Arguments {
    const uint16_t* x;
    uint16_t* y;
    long long rows;
    Core a, b;
};

/// Two consecutive elements of k of a core, `stride` elements apart.
__device__ __forceinline__ uint32_t two(const uint16_t* at, long long stride) {
    if constexpr (CONTIGUOUS) return *reinterpret_cast<const uint32_t*>(at);
    return at[0] | static_cast<uint32_t>(at[stride]) << 16;
}
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

struct Here {
    int warp, lane, line, column;  // line and column: the thread's place in an operand
    long long row;  // the block's first row
    int f, part, first;  // the group of y, the block's index in its cluster, its first group of x
    uint32_t left;  // the line of a left operand whose address the thread gives to ldmatrix
};

/// Copies the block's part of its rows of x to shared memory, and synchronizes the block.
__device__ __forceinline__ void stage_rows(const Here& h, const Arguments& p, uint16_t* xs) {
    constexpr int kPieces = kGroups * INNER / 8, kOfThread = 8;  // pieces of 16 bytes: of a row; in flight together
    const int pieces = static_cast<int>(min(static_cast<long long>(kRows), p.rows - h.row)) * kPieces;
    const uint16_t* const from = p.x + h.row * (GROUPS * INNER) + h.first * INNER;
#pragma unroll 1
    for (int at = threadIdx.x; at < pieces; at += kOfThread * kThreads) {
        uint4 v[kOfThread];
#pragma unroll
        for (int i = 0; i < kOfThread; ++i)
            if (const int n = at + i * kThreads; n < pieces)
                v[i] = *reinterpret_cast<const uint4*>(from + n / kPieces * (GROUPS * INNER) + n % kPieces * 8);
#pragma unroll
        for (int i = 0; i < kOfThread; ++i)
            if (const int n = at + i * kThreads; n < pieces)
                *reinterpret_cast<uint4*>(xs + n / kPieces * kXPitch + n % kPieces * 8) = v[i];
    }
    __syncthreads();
}

using FirstCore = uint32_t[INNER / 16][kRankTiles][2];  // the first core of a group and f, as right operands

__device__ __forceinline__ void load_first_core(const Here& h, const Arguments& p, int g, FirstCore& right) {
    const uint16_t* const a = p.a.data + h.f * p.a.strides.other + g * p.a.strides.group + h.column * p.a.strides.inner;
#pragma unroll
    for (int k = 0; k < INNER / 16; ++k)
#pragma unroll
        for (int tile = 0; tile < kRankTiles; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                right[k][tile][i] =
                    two(a + min(tile * 8 + h.line, RANK - 1) * p.a.strides.rank + (16 * k + 8 * i) * p.a.strides.inner,
                        p.a.strides.inner);
}

/// Computes z[i, f, r, g] for a group g, and stores it in shared memory.
__device__ __forceinline__ void first_product(const Here& h, const Arguments& p, const uint16_t* xs, uint16_t* z, int g,
                                              const FirstCore& right) {
    const auto row = [&](int i) {
        return p.x + min(h.row + h.line + 8 * i, p.rows - 1) * (GROUPS * INNER) + g * INNER + h.column;
    };
    float sums[kRankTiles][4]{};
#pragma unroll
    for (int k = 0; k < INNER / 16; ++k) {
        uint32_t left[4];
        if constexpr (STAGED) {
            load_matrices<false>(left, shared_address(xs) + h.left * (kXPitch * 2) +
                                           ((g - h.first) * INNER + 16 * k) * 2 + h.lane / 16 * 16);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) left[i] = *reinterpret_cast<const uint32_t*>(row(i % 2) + 16 * k + i / 2 * 8);
        }
#pragma unroll
        for (int tile = 0; tile < kRankTiles; ++tile) multiply(sums[tile], left, right[k][tile]);
    }
#pragma unroll
    for (int tile = 0; tile < kRankTiles; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t both = pack(sums[tile][2 * half], sums[tile][2 * half + 1]);
            const int r = tile * 8 + h.column;
            uint16_t* const to = z + (h.line + 8 * half) * kPitch + g;
            if (r < RANK) to[r * GROUPS] = static_cast<uint16_t>(both);
            if (r + 1 < RANK) to[(r + 1) * GROUPS] = static_cast<uint16_t>(both >> 16);
        }
}

/// Completes z, whose other part is copied from the peer that computed it, and synchronizes the block.
__device__ __forceinline__ void gather(const Here& h, uint16_t* z) {
    if constexpr (SPLIT == 1) {
        __syncthreads();
    } else {
#if __CUDA_ARCH__ >= 900
        constexpr int kPieces = kGroups / 8;  // of 16 bytes, of a row and rank
        const int other = 1 - h.part;
        cluster_sync();
        for (int n = threadIdx.x; n < kRows * RANK * kPieces; n += kThreads) {
            const int row = n / (RANK * kPieces), r = n / kPieces % RANK;
            uint16_t* const to = z + row * kPitch + r * GROUPS + other * kGroups + n % kPieces * 8;
            uint32_t v[4];
            load_at_peer(v, at_peer(shared_address(to), other));
            *reinterpret_cast<uint4*>(to) = make_uint4(v[0], v[1], v[2], v[3]);
        }
        cluster_arrive();
        __syncthreads();
#endif
    }
}

extern "C" __global__ void __launch_bounds__(kThreads) few_rows(const Arguments p) {
    __shared__ __align__(16) uint16_t z[kRows * kPitch];
    extern __shared__ __align__(16) uint16_t xs[];
    Here h;
    h.warp = threadIdx.x / 32, h.lane = threadIdx.x % 32, h.line = h.lane / 4, h.column = 2 * (h.lane % 4),
    h.left = h.lane % 16;
    h.row = blockIdx.y * static_cast<long long>(kRows);
    h.f = blockIdx.x / SPLIT, h.part = blockIdx.x % SPLIT, h.first = h.part * kGroups;
#if __CUDA_ARCH__ >= 900
    let_next_start();
    wait_for_previous();
#endif
    const int tile = h.part * kMyTiles + h.warp;
    const bool has_tile = h.warp < kMyTiles && tile < kTiles;
    // The second core's loads are in flight while the first product is computed.
    uint32_t right[kSummed / 16][2];
    if (has_tile) {
        const uint16_t* const b =
            p.b.data + h.f * p.b.strides.group + (8 * tile + h.line) * p.b.strides.inner + h.column * p.b.strides.other;
#pragma unroll
        for (int step = 0; step < kSummed / 16; ++step)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                right[step][i] =
                    two(b + step * 16 / GROUPS * p.b.strides.rank + (step * 16 % GROUPS + 8 * i) * p.b.strides.other,
                        p.b.strides.other);
    }
    const auto group = [&](int i) { return h.first + h.warp + i * kWarps; };
    if constexpr (kAhead) {
        FirstCore cores[kOfWarp];
#pragma unroll
        for (int i = 0; i < kOfWarp; ++i) load_first_core(h, p, min(group(i), GROUPS - 1), cores[i]);
        if constexpr (STAGED) stage_rows(h, p, xs);
#pragma unroll
        for (int i = 0; i < kOfWarp; ++i)
            if (group(i) < h.first + kGroups) first_product(h, p, xs, z, group(i), cores[i]);
    } else {
        if constexpr (STAGED) stage_rows(h, p, xs);
#pragma unroll kAtOnce
        for (int g = group(0); g < h.first + kGroups; g += kWarps) {
            FirstCore core;
            load_first_core(h, p, g, core);
            first_product(h, p, xs, z, g, core);
        }
    }
    gather(h, z);
    if (has_tile) {
        float sums[4]{};
#pragma unroll
        for (int step = 0; step < kSummed / 16; ++step) {
            uint32_t left[4];
            load_matrices<false>(left, shared_address(z) + h.left * (kPitch * 2) + step * 32 + h.lane / 16 * 16);
            multiply(sums, left, right[step]);
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const long long row = h.row + h.line + 8 * half;
            if (row < p.rows)
                *reinterpret_cast<uint32_t*>(p.y + (row * OTHERS + h.f) * OUTER + 8 * tile + h.column) =
                    pack(sums[2 * half], sums[2 * half + 1]);
        }
    }
#if __CUDA_ARCH__ >= 900
    if constexpr (SPLIT > 1) cluster_wait();  // No block may exit before its peer has read its z.
#endif
}
