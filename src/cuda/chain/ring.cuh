// Both products of a two-factor layer of 128 groups of 128 in one pass over the rows. The cores take the shared memory
// and registers of the whole device: each of 128 thread blocks keeps the cores of one group of each product for the
// kernel's life. The intermediate goes from block to block through a ring of tiles in global memory that is small
// enough to stay in the L2. With KEEP there is a slot for every tile instead, and all of them stay for the gradients.
//
// The layer's rows are the columns of wgmma; a tile has 64 of them. One or two warpgroups compute the first product of
// a tile, two compute the second one, and the last warpgroup moves data: warp 0 stores the intermediate, warp 1 loads
// it, and warps 2 and 3 load x and tell the other blocks what is stored. Two counters in global memory belong to each
// tile: `ready` counts the blocks that have stored their part of it, `freed` those that have read theirs. Blocks wait
// for each other, so all of them must be resident at the same time.
//
// The intermediate is [tile][group of the second product][128 RANK lines][64 rows], with lines ordered by (r, g).
//
// ring.cu (ranks 1 and 2) and ring_wide.cu (rank 4) share this file. At rank 4 the cores of only 64 groups of the
// second product fit, so there are two passes. In each, two blocks share a group and take every other tile.
//
// With GRADIENT (rank 1) a block also multiplies the lines of the intermediate that it reads with another operand's
// rows. That is the gradient of the second core; its sums stay in registers.
//
// Macros: RANK; GRADIENT; OUT, the type of the gradient's elements, float or bf16; K_CONTIGUOUS, which is 1 where
// consecutive elements of k are adjacent in the cores' memory, and 0 where those of m are; KEEP.
#pragma once

#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

using bf16 = unsigned short;

constexpr bool kIsWide = RANK == 4;
constexpr int kBlock = 128;  // groups, and columns of a group
constexpr int kRows = 64;  // rows of a tile
constexpr int kBox = 64 * 128;  // bytes of 64 lines of 64 elements; the swizzle spans 128 bytes
constexpr int kStage = 2 * kBox;  // bytes of a block's tile of x, or of 128 lines of the intermediate
constexpr int kTurns = kIsWide ? 2 : 1;  // blocks that share a group of the second product, and alternate its tiles
constexpr int kHalves = kIsWide ? 1 : 2;  // warpgroups of the first product; each has its own output buffers
// Numbers of buffers: tiles of x; a warpgroup's outputs of the first product; inputs and outputs of the second one.
constexpr int kXs = kIsWide || GRADIENT ? 3 : 4, kOuts = 4 / kHalves;
constexpr int kIns = GRADIENT ? 3 : RANK == 1 ? 5 : RANK == 2 ? 6 : 4;
constexpr int kInStage = (1 + GRADIENT) * kStage;  // bytes: lines of the intermediate, and the other operand's columns
constexpr int kYs = kIsWide ? 1 : 2;
constexpr int kCoreBytes = kIsWide ? 8 * kBox : 0;  // the first product's core, where registers do not hold it

struct Arguments {
    int tiles, rows;
    int slots;  // tiles that the ring holds
    int window;  // tiles by which the first product may be ahead of the second, at least 2; `slots` where slots recur
    int pass_group;  // first group of the second product in this pass
    Core a, b;
    int *ready, *freed;  // counters of each tile, initially 0; 32 unused ones follow, because a warp reads 32 at a time
    OUT* gradient;
    CoreStrides strides;
};

/// Addresses in this block's shared memory, and the thread's indices.
struct Here {
    uint32_t core, xs, outs, ins, ys;
    uint32_t x_full, x_empty, out_full, out_empty, in_full, in_empty;
    uint32_t stored;  // address of the number of tiles whose part of the intermediate this block has stored
    int thread, group, warp, lane;  // thread in its warpgroup, the warpgroup, warp in the warpgroup, thread in its warp
    int second, turn;  // the block's group of the second product within the pass, and its first tile
};

__device__ __forceinline__ Here locate(const unsigned char* memory) {
    Here h;
    h.core = (shared_address(memory) + 1023) & ~1023u;  // the 128-byte swizzle repeats after 1024 bytes
    h.xs = h.core + kCoreBytes;
    h.outs = h.xs + kXs * kStage;
    h.ins = h.outs + kHalves * kOuts * kBox;
    h.ys = h.ins + kIns * kInStage;
    h.x_full = h.ys + 2 * kYs * kBox;
    h.x_empty = h.x_full + kXs * 8;
    h.out_full = h.x_empty + kXs * 8;
    h.out_empty = h.out_full + kHalves * kOuts * 8;
    h.in_full = h.out_empty + kHalves * kOuts * 8;
    h.in_empty = h.in_full + kIns * 8;
    h.stored = h.in_empty + kIns * 8;
    h.group = threadIdx.x / 128, h.thread = threadIdx.x % 128, h.warp = h.thread / 32, h.lane = threadIdx.x % 32;
    h.second = blockIdx.x / kTurns, h.turn = blockIdx.x % kTurns;
    return h;
}

/// Raises a word of shared memory that other threads of the block wait for. Both sides use atomics, so that racecheck
/// reports no race.
__device__ __forceinline__ void post(uint32_t at, int v) {
    asm volatile("red.release.cta.shared::cta.max.s32 [%0], %1;" ::"r"(at), "r"(v) : "memory");
}
__device__ __forceinline__ int posted(uint32_t at) {
    int v;
    asm volatile("atom.acquire.cta.shared::cta.max.s32 %0, [%1], 0;" : "=r"(v) : "r"(at) : "memory");
    return v;
}

/// Adds one to a tile's counter. With release semantics, whoever sees the new count also sees what this block has
/// stored.
template <bool release>
__device__ __forceinline__ void count(int* at) {
    if constexpr (release)
        asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(at) : "memory");
    else
        asm volatile("red.relaxed.gpu.global.add.s32 [%0], 1;" ::"l"(at) : "memory");
}

/// Waits until a tile's counter, and those of all earlier tiles, have reached `blocks`. The tiles before `known` are
/// known to have done so. All threads of a warp call it, and read 32 counters at a time.
template <bool acquire>
__device__ __forceinline__ void wait_for_count(const int* counts, int tile, int blocks, int& known) {
    if (known > tile) return;
    do {
        const int* at = counts + known + threadIdx.x % 32;
        int v;
        if constexpr (acquire)
            asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
        else
            asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
        const unsigned missing = __ballot_sync(~0u, v < blocks);
        known += missing ? __ffs(missing) - 1 : 32;
    } while (known <= tile);
    fence_global_copies();
    __syncwarp();
}

__device__ __forceinline__ void load_x(const Here& h, const TensorMap* x, int tile, uint64_t policy) {
    const int slot = tile % kXs;
    barrier_expect(h.x_full + slot * 8, kStage);
    load_box(h.xs + slot * kStage, x, h.x_full + slot * 8, 0, tile * kRows, blockIdx.x * 2, policy);
}

/// Makes the barriers and starts the first copies of x. All threads of the block call it.
__device__ __forceinline__ void begin(const Here& h, const TensorMap* x, int tiles) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 4 * kHalves);
        for (int i = 0; i < kHalves * kOuts; ++i)
            barrier_init(h.out_full + i * 8, 4), barrier_init(h.out_empty + i * 8, 1);
        for (int i = 0; i < kIns; ++i) barrier_init(h.in_full + i * 8, 1), barrier_init(h.in_empty + i * 8, 8);
        barriers_ready();
        asm volatile("st.shared.s32 [%0], 0;" ::"r"(h.stored) : "memory");
    }
    __syncthreads();
    if (threadIdx.x == 0)
        for (int tile = 0; tile < kXs && tile < tiles; ++tile) load_x(h, x, tile, evict_first());
}

/// Warps 2 and 3, for alternate tiles: load x, and count a tile as ready once warp 0 has stored it. Two warps, because
/// a release waits for all memory operations of its thread.
__device__ __forceinline__ void feed(const Here& h, const TensorMap* x, const Arguments& args) {
    if (h.lane) return;
    const uint64_t policy = evict_first();
#pragma unroll 1
    for (int tile = h.warp - 2; tile < args.tiles; tile += 2) {
        if (tile + kXs < args.tiles) {
            barrier_wait(h.x_empty + tile % kXs * 8, tile / kXs & 1);
            load_x(h, x, tile + kXs, policy);
        }
        while (posted(h.stored) <= tile) {
        }
        count<true>(args.ready + tile);
    }
}

/// Warp 0: stores the intermediate. A box has one line for each of 64 groups of the second product. A slot of the ring
/// is overwritten once all blocks have read the tile in it.
__device__ __forceinline__ void store_intermediate(const Here& h, const TensorMap* z, const Arguments& args) {
    const uint64_t policy = KEEP ? evict_normal() : evict_last();
    const int first = KEEP ? args.pass_group : 0;
    int known = 0, n = 0, slot = 0;
#pragma unroll 1
    for (int tile = 0; tile < args.tiles; ++tile) {
        if (tile >= args.window) wait_for_count<false>(args.freed, tile - args.window, kBlock / kTurns, known);
        if (h.lane == 0) {
#pragma unroll 1
            for (int rank = 0; rank < RANK; ++rank, ++n) {
                const int buffer = n % kOuts, before = (n + kOuts - 1) % kOuts;
#pragma unroll 1
                for (int half = 0; half < kHalves; ++half) {
                    const int at = half * kOuts + buffer;
                    barrier_wait(h.out_full + at * 8, n / kOuts & 1);
                    store_box(z, h.outs + at * kBox, 0, rank * kBlock + blockIdx.x, first + half * 64, slot, policy);
                }
                stores_commit();
                if (n == 0) continue;
                stores_read<1>();
                for (int half = 0; half < kHalves; ++half) barrier_arrive(h.out_empty + (half * kOuts + before) * 8);
                if (rank == 0) {
                    stores_done<1>();
                    post(h.stored, tile);
                }
            }
        }
        __syncwarp();
        if (++slot == args.slots) slot = 0;
    }
    if (h.lane) return;
    stores_done();
    post(h.stored, args.tiles);
}

/// Warp 1: loads the lines of the block's group, 128 lines of a rank at a time, once all blocks have stored the tile.
__device__ __forceinline__ void load_intermediate(const Here& h, const TensorMap* z, const TensorMap* other,
                                                  const Arguments& args) {
    const uint64_t policy = KEEP ? evict_first() : evict_last();
    const int group = (KEEP ? args.pass_group : 0) + h.second;
    int known = 0, n = 0;
#pragma unroll 1
    for (int tile = h.turn; tile < args.tiles; tile += kTurns) {
        wait_for_count<true>(args.ready, tile, kBlock, known);
        if (h.lane == 0) {
            const int slot = tile % args.slots;
#pragma unroll 1
            for (int rank = 0; rank < RANK; ++rank, ++n) {
                const int in = n % kIns;
                if (n >= kIns) barrier_wait(h.in_empty + in * 8, (n / kIns + 1) & 1);
                barrier_expect(h.in_full + in * 8, kInStage);
                load_box(h.ins + in * kInStage, z, h.in_full + in * 8, 0, rank * kBlock, group, slot, policy);
                if (GRADIENT)
                    load_box(h.ins + in * kInStage + kStage, other, h.in_full + in * 8, 0, tile * kRows, group * 2,
                             evict_first());
            }
        }
        __syncwarp();
    }
}

__device__ __forceinline__ void move_tiles(const Here& h, const TensorMap* x, const TensorMap* z_out,
                                           const TensorMap* z_in, const TensorMap* other, const Arguments& args) {
    if (h.warp == 0)
        store_intermediate(h, z_out, args);
    else if (h.warp == 1)
        load_intermediate(h, z_in, other, args);
    else
        feed(h, x, args);
}

/// Address of an element of a core.
__device__ __forceinline__ const uint16_t* element(const Core& core, int group, int other, int rank, int inner) {
    const CoreStrides& s = core.strides;
    return core.data + group * s.group + other * s.other + rank * s.rank + inner * s.inner;
}

/// Copies 64 x 64 elements of a core to shared memory; a warpgroup calls it. There is a line for each m where
/// K_CONTIGUOUS, else for each k. Lines are `stride` elements apart in the core.
__device__ __forceinline__ void load_block(const uint16_t* from, long long stride, uint32_t to, int thread) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int n = thread + i * 128, line = n / 8, piece = n % 8;
        const uint4 v = *reinterpret_cast<const uint4*>(from + line * stride + piece * 8);
        asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to + line * 128 + ((piece ^ (line & 7)) << 4)),
                     "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                     : "memory");
    }
}

/// Loads 64 x 64 elements of a core into registers, through scratch memory, as the left operands of four wgmma.
__device__ __forceinline__ void load_operands(uint32_t (*products)[4], const uint16_t* from, long long stride,
                                              uint32_t scratch, const Here& h) {
    group_sync(h.group);
    load_block(from, stride, scratch, h.thread);
    group_sync(h.group);
    const int matrix = h.lane / 8, row = h.lane % 8;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int line = K_CONTIGUOUS ? 16 * h.warp + 8 * (matrix & 1) + row : k * 16 + 8 * (matrix / 2) + row;
        const int piece = K_CONTIGUOUS ? k * 2 + matrix / 2 : 2 * h.warp + (matrix & 1);
        load_matrices<!K_CONTIGUOUS>(products[k], scratch + line * 128 + ((piece ^ (line & 7)) << 4));
    }
}

/// Loads the second product's core for one half of a group's columns of y, in the order of the intermediate's lines.
__device__ __forceinline__ void load_second(uint32_t (&operands)[8 * RANK][4], const Core& core, int group, int half,
                                            uint32_t scratch, const Here& h) {
    const long long stride = K_CONTIGUOUS ? core.strides.inner : core.strides.other;
#pragma unroll
    for (int i = 0; i < 2 * RANK; ++i)
        load_operands(operands + 4 * i, element(core, group, i % 2 * 64, i / 2, half * 64), stride, scratch, h);
    group_sync(h.group);  // All warps have read the scratch memory.
}

/// Clears sums of rows beyond the last one, if they are kept or used for a gradient. They were computed from rows of
/// zeros, so they are NaN where a core has an infinity.
template <int n>
__device__ __forceinline__ void clear_beyond(const Here& h, float (&sums)[n], int tile, int row,
                                             const Arguments& args) {
    if (!(KEEP || GRADIENT) || tile < args.tiles - 1) return;
#pragma unroll
    for (int i = 0; i < n; ++i)
        if (tile * kRows + row + i / 4 * 8 + 2 * (h.lane % 4) + i % 2 >= args.rows) sums[i] = 0;
}

/// Rounds sums and writes them to shared memory as 64 lines, one for each column; `row` is the first row.
template <int n>
__device__ __forceinline__ void stage_columns(const Here& h, const float (&sums)[n], int row, uint32_t to) {
    const int matrix = h.lane / 8, line = 16 * h.warp + 8 * (matrix & 1) + h.lane % 8;
#pragma unroll
    for (int j = 0; j < n / 4; j += 2) {
        const float* d = sums + 4 * j;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[2], d[3]), pack(d[4], d[5]), pack(d[6], d[7])};
        store_matrices<false>(to + line * 128 + (((row / 8 + j + matrix / 2) ^ (line & 7)) << 4), v);
    }
}

/// Rounds sums and writes them to shared memory as lines of 64 columns, one for each row; `row` is the first row.
template <int n>
__device__ __forceinline__ void stage_rows(const Here& h, const float (&sums)[n], int row, uint32_t to) {
    const int matrix = h.lane / 8;
#pragma unroll
    for (int j = 0; j < n / 4; j += 2) {
        const int line = row + 8 * (j + matrix / 2) + h.lane % 8, piece = 2 * h.warp + (matrix & 1);
        const float* d = sums + 4 * j;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[2], d[3]), pack(d[4], d[5]), pack(d[6], d[7])};
        store_matrices<true>(to + line * 128 + ((piece ^ (line & 7)) << 4), v);
    }
}
