// Both products of a layer of 32 groups of 32 in one pass over the rows, with the rows stationary. A block keeps a tile
// of 64 rows of x, and the cores stream past from the L2, in slices of the second product's groups. The intermediate
// goes neither from block to block nor through shared memory: the rounded sums of the first product are the left
// operands of the second one in the same registers.
//
// A slice is 16 columns of each group's first product: 16 / RANK groups of the second product, with all ranks. Two
// warpgroups take the slices in turn. Two warps of a third warpgroup load the cores, one for each of them, and another
// loads x.
//
// Registers can pass from sums to operands because the columns are permuted. Let c be a thread's index modulo 4. Of
// each 8 columns of sums, wgmma gives the thread columns 2c and 2c + 1. Of each 8 elements of k of a left operand, it
// needs elements 2c and 2c + 1 from the thread, so four of 16. In the second product, k runs over the groups of the
// first one. So of every 16 groups, the thread must have the same column of four. The columns are permuted so that in
// group 4a + b the thread holds column (c - a) modulo 4 of each four columns. Then it has each column for the four
// groups of one a, and only four registers, one for each a, remain to be rotated by c. pack_cores permutes the cores
// accordingly, and lays them out in the order in which the products read them.
//
// Macros: RANK.
#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kBlock = 32, kRows = 64;  // columns of a group, rows of a tile
constexpr int kOwned = 16 / RANK, kSlices = kBlock / kOwned;  // groups of the second product in a slice
// The cores are loaded in stages of so many bytes; the numbers of stages of one product, and of both, in a slice.
constexpr int kStage = 8192, kOfProduct = 4, kOfSlice = 2 * kOfProduct;
constexpr int kStages = 4;  // buffers of a warpgroup for stages of the cores
constexpr int kBoxes = 2;  // buffers of a warpgroup for boxes of y
constexpr int kMine = kSlices / 2;  // slices of a warpgroup
constexpr int kChunk = 32768, kChunks = 4;  // bytes of 8 groups of a tile of x, and how many of these a tile has
constexpr int kBox = 8192;  // bytes of 64 rows of 64 columns

/// Column m of a slice's 16 is rank m % RANK of the slice's group m / RANK. In the sums of group 4a + b (modulo 16), a
/// thread holds the column whose index modulo 4 is rotated(c, a). Conversely, of a column whose index modulo 4 is t, it
/// holds the groups with a = rotated(c, t).
__device__ __forceinline__ int rotated(int c, int a) { return (c - a) & 3; }

/// Lays out the cores; a thread copies 16 bytes. A slice has the operands of the first product, [group][16
/// columns][32], and then those of the second one, [column][half of the groups][16][32].
extern "C" __global__ void __launch_bounds__(256) pack_cores(const Core first, const Core second, uint4* to) {
    let_next_start();
    wait_for_previous();
    const int at = blockIdx.x * 256 + threadIdx.x, slice = at / (kOfSlice * 512), in = at % (kOfSlice * 512);
    const int of = in / 64 % 32, line = in / 4 % 16, piece = in % 4 ^ (line >> 1 & 3);  // the 64-byte swizzle
    if (in < kOfProduct * 512) {
        const int m = (line / 8 * 2 + line % 2) * 4 + rotated(line % 8 / 2, of / 4 % 4);
        to[at] = load_eight(first, of, slice * kOwned + m / RANK, m % RANK, piece * 8);
    } else {
        const int m = of / 2, a = rotated(line / 2 % 4, m % 4), group = of % 2 * 16 + a * 4 + line / 8 * 2 + line % 2;
        to[at] = load_eight(second, slice * kOwned + m / RANK, group, m % RANK, piece * 8);
    }
}

struct Here {
    uint32_t xs, stages, y;  // addresses in shared memory; stages and y are the warpgroup's own
    uint32_t x_full, x_empty, full, empty;  // barriers; full and empty are those of the warpgroup's stages
    int thread, group, warp, lane;
};

__device__ __forceinline__ Here locate(const unsigned char* memory, int group) {
    Here h;
    const uint32_t thread = pinned(threadIdx.x);
    h.xs = uniform(shared_address(memory) + 1023 & ~1023u);
    const uint32_t stages = h.xs + kChunks * kChunk, ys = stages + 2 * kStages * kStage,
                   barriers = ys + 2 * kBoxes * kBox;
    h.group = uniform(group);
    h.stages = stages + h.group * (kStages * kStage), h.y = ys + h.group * (kBoxes * kBox);
    h.x_full = barriers, h.x_empty = h.x_full + kChunks * 8;
    h.full = h.x_empty + kChunks * 8 + h.group * (2 * kStages * 8), h.empty = h.full + kStages * 8;
    h.thread = thread % 128, h.warp = uniform(h.thread / 32), h.lane = thread % 32;
    return h;
}

/// Loads the stages of a warpgroup's slices, all of them again for each tile. One thread calls it.
__device__ __forceinline__ void load_cores(const Here& h, const char* cores, int tiles) {
    int n = 0;
#pragma unroll 1
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x)
#pragma unroll 1
        for (int i = 0; i < kMine; ++i)
#pragma unroll 1
            for (int stage = 0; stage < kOfSlice; ++stage, ++n) {
                const int slot = n % kStages;
                if (n >= kStages) barrier_wait(h.empty + slot * 8, (n / kStages + 1) & 1);
                barrier_expect(h.full + slot * 8, kStage);
                load_bytes(h.stages + slot * kStage, cores + ((i * 2 + h.group) * kOfSlice + stage) * kStage, kStage,
                           h.full + slot * 8);
            }
}

/// Loads the tiles of x. One thread calls it.
__device__ __forceinline__ void load_rows(const Here& h, const TensorMap* x, int tiles) {
    const uint64_t policy = evict_first();
    int n = 0;
#pragma unroll 1
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++n)
#pragma unroll 1
        for (int chunk = 0; chunk < kChunks; ++chunk) {
            if (n) barrier_wait(h.x_empty + chunk * 8, (n + 1) & 1);
            barrier_expect(h.x_full + chunk * 8, kChunk);
            load_box(h.xs + chunk * kChunk, x, h.x_full + chunk * 8, 0, tile * kRows, chunk * 4, policy);
        }
}

/// Reorders a thread's four registers, one for each a, by their column's index modulo 4: v[rotated(c, a)] becomes the
/// old v[a].
__device__ __forceinline__ void rotate(uint32_t (&v)[4], int c) {
    uint32_t t[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) t[i] = c & 1 ? v[(i + 1) & 3] : v[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[-i & 3] = c & 2 ? t[(i + 2) & 3] : t[i];
}

/// The stages of the cores, as the warpgroup that uses them sees them. Several may be in use.
struct Stream {
    Turn next, oldest;
    /// Waits for the next stage, and returns its offset in bytes from the first buffer.
    __device__ __forceinline__ int wait(const Here& h) {
        const int at = next.slot * kStage;
        barrier_wait(h.full + next.slot * 8, next.parity);
        next.next(kStages);
        return at;
    }
    /// Gives the oldest stage in use back.
    __device__ __forceinline__ void release(const Here& h) {
        if (h.lane == 0) barrier_arrive(h.empty + oldest.slot * 8);
        oldest.next(kStages);
    }
};

/// Computes the first product of a slice, four groups at a time, as left operands of the second one: z[half of the
/// groups][quarter of the columns][register of the operand][column of the quarter].
__device__ __forceinline__ void first_product(const Here& h, uint32_t (&z)[2][4][4][4], Stream& stream, int n,
                                              bool is_first, bool is_last) {
    float sums[2][4][8];
    const uint64_t xs = descriptor(h.xs, 1024, Swizzle::bytes128), stages = descriptor(h.stages, 512, Swizzle::bytes64);
    uint64_t core = stages;
    const auto start = [&](int batch) {
        if (batch % 2 == 0) {
            if (is_first) barrier_wait(h.x_full + batch / 2 * 8, n & 1);
            core = advanced(stages, stream.wait(h));
            __syncwarp();
        }
        products_begin();
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                const int group = batch % 2 * 4 + i;
                wgmma<0, 0>(sums[batch & 1][i],
                            advanced(xs, batch / 2 * kChunk + group / 2 * kBox + group % 2 * 64 + k * 32),
                            advanced(core, group * 1024 + k * 32), k > 0);
            }
        products_commit();
    };
    start(0);
#pragma unroll
    for (int batch = 0; batch < 8; ++batch) {
        if (batch % 2 == 0) {
            start(batch + 1);
            products_wait<1>();
        } else {
            products_wait<0>();
            stream.release(h);
            if (is_last && h.lane == 0) barrier_arrive(h.x_empty + batch / 2 * 8);
            if (batch < 7) start(batch + 1);
        }
        const auto& d = sums[batch & 1];
#pragma unroll
        for (int q = 0; q < 4; ++q)
#pragma unroll
            for (int i = 0; i < 4; ++i) {  // register of the operand: rows 8 (i & 1) further on, b from 2 (i / 2) on
                const int at = q / 2 * 4 + q % 2 + (i & 1) * 2;
                z[batch / 4][q][i][batch % 4] = pack(d[i / 2 * 2][at], d[i / 2 * 2 + 1][at]);
            }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int q = 0; q < 4; ++q)
#pragma unroll
            for (int i = 0; i < 4; ++i) rotate(z[half][q][i], h.lane & 3);
}

/// Rounds sums and writes them to shared memory, in the layout of the box that the copy engine stores: 64 columns of a
/// row are a line.
__device__ __forceinline__ void stage(const Here& h, const float (&sums)[16], uint32_t to, int first_piece) {
    const int matrix = h.lane / 8, row = 16 * h.warp + 8 * (matrix & 1) + h.lane % 8;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        const int piece = first_piece + j + matrix / 2;
        const float* d = sums + 4 * j;
        const uint32_t v[4] = {pack(d[0], d[1]), pack(d[2], d[3]), pack(d[4], d[5]), pack(d[6], d[7])};
        store_matrices<false>(to + row * 128 + ((piece ^ (row & 7)) << 4), v);
    }
}

__device__ __forceinline__ void second_product(const Here& h, const uint32_t (&z)[2][4][4][4], Stream& stream,
                                               const TensorMap* y, int tile, int slice, uint64_t policy) {
    // Groups whose products run together: a stage, or half of one at rank 1. Those of the next ones run meanwhile.
    constexpr int kAtOnce = RANK == 4 ? 1 : 2;
    float sums[2][kAtOnce][16];
    const uint64_t stages = descriptor(h.stages, 512, Swizzle::bytes64);
    uint64_t core = stages;
    const auto start = [&](int f) {
        if (f * RANK % 4 == 0) core = advanced(stages, stream.wait(h));
        __syncwarp();
        products_begin();
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i)
#pragma unroll
            for (int r = 0; r < RANK; ++r)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int m = (f + i) * RANK + r;
                    const uint32_t left[4] = {z[half][m / 4][0][m % 4], z[half][m / 4][1][m % 4],
                                              z[half][m / 4][2][m % 4], z[half][m / 4][3][m % 4]};
                    wgmma<1>(sums[f / kAtOnce & 1][i], left, advanced(core, (m % 4 * 2 + half) * 1024),
                             r > 0 || half > 0);
                }
        products_commit();
    };
    start(0);
#pragma unroll
    for (int f = 0; f < kOwned; f += kAtOnce) {
        if (f + kAtOnce < kOwned) {
            start(f + kAtOnce);
            products_wait<1>();
        } else {
            products_wait<0>();
        }
        if ((f + kAtOnce) * RANK % 4 == 0) stream.release(h);
        const uint32_t box = h.y + f / 2 % kBoxes * kBox;
        if (f % 2 == 0) {
            if (h.thread == 0) stores_read<kBoxes - 1>();
            group_sync(h.group);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) stage(h, sums[f / kAtOnce & 1][i], box, (f + i) % 2 * 4);
        if ((f + kAtOnce) % 2) continue;
        fence_copies();
        group_sync(h.group);
        if (h.thread == 0) {
            store_box(y, box, 0, tile * kRows, (slice * kOwned + f) / 2, policy);
            stores_commit();
        }
    }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    streamed(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap y, const char* cores, int tiles) {
    extern __shared__ unsigned char memory[];
    const int group = uniform(threadIdx.x / 128), warp = threadIdx.x / 32 % 4;
    const Here h = locate(memory, group < 2 ? group : warp % 2);  // Warps 0 and 1 of the third load for the other two.
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2 * 2 * kStages; ++i) barrier_init(h.full + i * 8, i / kStages % 2 ? 4 : 1);
        for (int i = 0; i < kChunks; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 8);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (group == 2) {
        give_registers<24>();
        if (h.lane == 0) {
            if (warp < 2) load_cores(h, cores, tiles);
            if (warp == 2) load_rows(h, &x, tiles);
        }
    } else {
        take_registers<240>();
        const uint64_t policy = evict_first();
        Stream stream;
        int n = 0;
#pragma unroll 1
        for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++n)
#pragma unroll 1
            for (int i = 0; i < kMine; ++i) {
                uint32_t z[2][4][4][4];
                first_product(h, z, stream, n, i == 0, i == kMine - 1);
                second_product(h, z, stream, &y, tile, i * 2 + group, policy);
            }
        if (h.thread == 0) stores_done();
    }
}
