// A product of matrices in tiles of 128 x COLUMNS. Its sums pass through a tape (printed as `epilogue`) before they are
// stored. k is contiguous in both operands. One warp makes the copy engine load 128 bytes of each line at a time; two
// warpgroups add up 64 lines of the tile each, in registers. A block takes one tile after the other, and the next one
// is loaded while this one is stored: rounded sums go through shared memory, so that each thread reads the tape's
// operands and writes the result 16 bytes at a time.
//
// Macros: COLUMNS; STAGES; CLUSTER: 1, or 2 for two blocks whose tiles are neighbours along m. Printed before: wgmma,
// Sum, store_two, kProductSize, kOutSize, kMostLoads, Inputs, Loaded, load and epilogue.
#include "cuda/hopper.cuh"

constexpr int kLines = 128, kLine = 128;  // of a tile; bytes of a line in a stage
constexpr int kA = kLines * kLine, kB = COLUMNS * kLine, kStage = kA + kB;
constexpr int kPiece = 16 / kProductSize;  // elements that a thread takes at once
constexpr int kPart = 256 / kProductSize;  // columns that are staged at a time
constexpr int kStaging = 64 * 256;  // of a warpgroup
constexpr int kSteps = 8 / kMostLoads;
constexpr int kBand =
    16 / CLUSTER;  // tiles along m that follow each other, so that what both operands bring stays in the L2

struct Arguments {
    int m, n, pieces, tiles_m, tiles_n, batch;
    int a_batched, b_batched;  // 0: the same for all
    int per_line;  // elements in kLine bytes
    void* c;
    long long c_row, c_batch;
    Inputs inputs;
};

struct Tile {
    int batch, m, n;
};
__device__ __forceinline__ Tile tile_of(int t, const Arguments& p) {
    const int each = p.tiles_m * p.tiles_n;
    Tile tile;
    tile.batch = t / each;
    const int at = t % each, band = at / (kBand * p.tiles_n), lines = min(kBand, p.tiles_m - band * kBand);
    const int rest = at - band * kBand * p.tiles_n;
    tile.m = band * kBand + rest % lines, tile.n = rest / lines;
    return tile;
}

/// The two blocks of a cluster have the same columns: each brings half of their lines to both.
__device__ __forceinline__ void bring(const TensorMap* a, const TensorMap* b, const Arguments& p, uint32_t stages,
                                      uint32_t full, uint32_t empty, int tiles, int rank) {
    const uint64_t policy = evict_normal();
    Turn turn;
    for (int t = blockIdx.x / CLUSTER; t < tiles; t += gridDim.x / CLUSTER) {
        const Tile tile = tile_of(t, p);
        for (int i = 0; i < p.pieces; ++i) {
            barrier_wait(empty + turn.slot * 8, turn.parity ^ 1);
            const uint32_t at = stages + turn.slot * kStage, barrier = full + turn.slot * 8;
            barrier_expect(barrier, kStage);
            load_box(at, a, barrier, i * p.per_line, (tile.m * CLUSTER + rank) * kLines, p.a_batched ? tile.batch : 0,
                     policy);
            const int column = tile.n * COLUMNS + rank * (COLUMNS / CLUSTER), batch = p.b_batched ? tile.batch : 0;
            if constexpr (CLUSTER == 1)
                load_box(at + kA, b, barrier, i * p.per_line, column, batch, policy);
            else
                load_box_to(3, at + kA + rank * (kB / CLUSTER), b, barrier, i * p.per_line, column, batch, policy);
            turn.next(STAGES);
        }
    }
}

/// The address of a piece of 16 bytes of a staged line. The banks differ from line to line.
__device__ __forceinline__ uint32_t staged(uint32_t staging, int line, int piece) {
    return staging + line * 256 + ((piece ^ (line & 7)) << 4);
}

/// Stores columns first to first + kPart of the warpgroup's sums as lines of 256 bytes.
template <int first>
__device__ __forceinline__ void stage(const Sum (&sums)[COLUMNS / 2], uint32_t to) {
    const int warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
    const int line = 16 * warp + lane / 4, within = lane % 4 * 2 * kProductSize;
#pragma unroll
    for (int j = 0; j < kPart / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
            store_two(staged(to, line + 8 * half, (j * 8 * kProductSize + within) / 16) + within % 16,
                      sums[(first / 8 + j) * 4 + half * 2], sums[(first / 8 + j) * 4 + half * 2 + 1]);
}

template <int first>
__device__ __forceinline__ void store(const Sum (&sums)[COLUMNS / 2], uint32_t staging, int group, const Tile& tile,
                                      const Arguments& p) {
    group_sync(group);  // the part that was staged before has been read
    stage<first>(sums, staging);
    group_sync(group);
    const int thread = threadIdx.x % 128, piece = thread % 16;
    const int column = tile.n * COLUMNS + first + piece * kPiece;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        Loaded loaded[kMostLoads];
        const int line = step * kMostLoads * 8 + thread / 16, row = tile.m * kLines + 64 * group + line;
#pragma unroll
        for (int i = 0; i < kMostLoads; ++i)
            if (row + 8 * i < p.m && column < p.n) load(loaded[i], p.inputs, tile.batch, row + 8 * i, column);
#pragma unroll
        for (int i = 0; i < kMostLoads; ++i) {
            if (row + 8 * i >= p.m || column >= p.n) continue;
            uint4 sum;
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(sum.x), "=r"(sum.y), "=r"(sum.z), "=r"(sum.w)
                         : "r"(staged(staging, line + 8 * i, piece))
                         : "memory");
            const long long at = tile.batch * p.c_batch + (row + 8 * i) * p.c_row + column;
            epilogue(sum, loaded[i], static_cast<unsigned char*>(p.c) + at * kOutSize);
        }
    }
}

template <int first>
__device__ __forceinline__ void store_from(const Sum (&sums)[COLUMNS / 2], uint32_t staging, int group,
                                           const Tile& tile, const Arguments& p) {
    store<first>(sums, staging, group, tile, p);
    if constexpr (first + kPart < COLUMNS) store_from<first + kPart>(sums, staging, group, tile, p);
}

/// Tells both blocks that this warp has read a stage: it is filled again once all warps of both have.
__device__ __forceinline__ void tell_read(uint32_t empty, int rank) {
    barrier_arrive(empty);
    if constexpr (CLUSTER > 1) arrive_at_peer(at_peer(empty, rank ^ 1));
}

extern "C" __global__ void __launch_bounds__(384, 1)
    tiled_product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                  const __grid_constant__ Arguments p) {
    extern __shared__ unsigned char memory[];
    const uint32_t stages = (shared_address(memory) + 1023) & ~1023u;  // the 128-byte swizzle repeats after 1024 bytes
    const uint32_t staging = stages + STAGES * kStage, full = staging + 2 * kStaging, empty = full + STAGES * 8;
    const int tiles = p.tiles_m * p.tiles_n * p.batch, part = uniform(threadIdx.x / 128);
    const int rank = CLUSTER == 1 ? 0 : pinned(cluster_rank());
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) barrier_init(full + i * 8, 1), barrier_init(empty + i * 8, 8 * CLUSTER);
        barriers_ready();
    }
    __syncthreads();
    if constexpr (CLUSTER > 1) cluster_sync();
    let_next_start();
    wait_for_previous();
    if (part == 2) {
        give_registers<24>();
        if (threadIdx.x % 128 == 0) bring(&a, &b, p, stages, full, empty, tiles, rank);
        __syncwarp();
        if constexpr (CLUSTER > 1) cluster_sync();
        return;
    }
    take_registers<240>();
    Turn turn;
#pragma unroll 1
    for (int t = blockIdx.x / CLUSTER; t < tiles; t += gridDim.x / CLUSTER) {
        Sum sums[COLUMNS / 2];
        uint32_t before = 0;
#pragma unroll 1
        for (int i = 0; i < p.pieces; ++i) {
            barrier_wait(full + turn.slot * 8, turn.parity);
            __syncwarp();
            const uint64_t left = descriptor(stages + turn.slot * kStage + part * 64 * kLine, 1024, Swizzle::bytes128),
                           right = descriptor(stages + turn.slot * kStage + kA, 1024, Swizzle::bytes128);
            products_begin();
#pragma unroll
            for (int k = 0; k < 4; ++k) wgmma(sums, advanced(left, k * 32), advanced(right, k * 32), i > 0 || k > 0);
            products_commit();
            products_wait<1>();
            if (i > 0 && threadIdx.x % 32 == 0) tell_read(before, rank);
            before = empty + turn.slot * 8;
            turn.next(STAGES);
        }
        products_wait<0>();
        if (threadIdx.x % 32 == 0) tell_read(before, rank);
        Tile tile = tile_of(t, p);
        tile.m = tile.m * CLUSTER + rank;
        store_from<0>(sums, staging + part * kStaging, part, tile, p);
    }
    // Nobody leaves while its peer brings lines to both, or tells it what was read.
    if constexpr (CLUSTER > 1) cluster_sync();
}
