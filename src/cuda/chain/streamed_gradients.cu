// The gradient of one core of a layer of 32 groups of 32 at rank 4, or of both cores, with the intermediate computed
// again: db from x, a and dy, and da from dy, b and x. A block has 8 of the 32 groups of the second product. It keeps
// their part of the first product's core, and their sums, and tiles of 64 rows stream past. Warpgroup 0 computes the
// first product, 16 groups at a time. Warpgroups 1 and 2 multiply it with the other operand, and warpgroup 3 loads.
// Nothing goes from block to block; four blocks read the same x, from the L2.
//
// A sum is one sequence of multiply-adds over a part of the rows, in order, and the parts are added in a fixed order
// (sum_parts.cuh). So the bits depend on the shape alone.
//
// Macros: OUT, the type of the gradients' elements, float or bf16.
#include "cuda/chain/core.cuh"
#include "cuda/chain/sum_parts.cuh"
#include "cuda/hopper.cuh"

using Out = OUT;

constexpr int kRows = 64;  // rows of a tile
constexpr int kOwned = 8, kKinds = 4;  // groups of the second product in a block; blocks that have all groups together
constexpr int kBox = 64 * 128;  // bytes of 64 rows of 64 columns
constexpr int kCoreBytes = 32 * 2048;  // a block's part of the first core: [group][its 8 groups, 4 ranks][32]
constexpr int kPieces = 8, kPieceBytes = kCoreBytes / kPieces;  // pieces of 4 groups, which products use together
constexpr int kXs = 4, kXBytes = 2 * kBox;  // buffers of x, each for 4 groups of a tile
constexpr int kZBytes = 8 * kBox;  // half of the intermediate: [group of the second product][row][4 ranks, 16 groups]
constexpr int kOtherBytes = 4 * kBox;
constexpr int kVectors = 32;  // a thread's vectors of 4 sums

struct Arguments {
    int tiles, rows, parts, sides;
    float4* sums;  // each part's, in the order in which threads hold them
    const char* cores;  // as pack_first lays them out
};

/// Lays out the first product's core for each side and each kind of block, in the 64-byte swizzle; a thread copies 16
/// bytes.
extern "C" __global__ void __launch_bounds__(256) pack_first(const Core one, const Core two, uint4* to) {
    let_next_start();
    wait_for_previous();
    const int at = blockIdx.x * 256 + threadIdx.x, kind = at / 4096 % kKinds, line = at / 4 % 32;
    const Core& core = at / 4096 < kKinds ? one : two;
    to[at] = load_eight(core, at / 128 % 32, kind * kOwned + line / 8 * 2 + line % 2, line % 8 / 2,
                        (at % 4 ^ (line >> 1 & 3)) * 8);
}

/// Addresses in this block's shared memory, the thread's indices, and the block's tiles.
struct Here {
    uint32_t core, xs, z, other;
    uint32_t core_full, x_full, x_empty, z_full, z_empty, other_full, other_empty;
    int thread, group, warp, lane;
    int begin, count;  // the part's first tile, and the number of its tiles
};

__device__ __forceinline__ Here locate(const unsigned char* memory) {
    Here h;
    const uint32_t thread = pinned(threadIdx.x);
    h.core = uniform(shared_address(memory) + 1023 & ~1023u);
    h.xs = h.core + kCoreBytes;
    h.z = h.xs + kXs * kXBytes;
    h.other = h.z + kZBytes;
    h.core_full = h.other + kOtherBytes;
    h.x_full = h.core_full + kPieces * 8, h.x_empty = h.x_full + kXs * 8;
    h.z_full = h.x_empty + kXs * 8, h.z_empty = h.z_full + 8;
    h.other_full = h.z_empty + 8, h.other_empty = h.other_full + 8;
    h.group = uniform(thread / 128), h.thread = thread % 128, h.warp = uniform(thread % 128 / 32), h.lane = thread % 32;
    return h;
}

/// Warp 0 loads x, warp 1 the core and the other operand.
__device__ __forceinline__ void load(const Here& h, const TensorMap* x, const TensorMap* other, const char* core,
                                     int kind) {
    const uint64_t policy = evict_normal();  // Other blocks read the same boxes.
    if (h.warp == 0) {
        for (int i = 0, n = 0; i < h.count; ++i)
            for (int part = 0; part < 8; ++part, ++n) {
                const int slot = n % kXs;
                if (n >= kXs) barrier_wait(h.x_empty + slot * 8, (n / kXs + 1) & 1);
                barrier_expect(h.x_full + slot * 8, kXBytes);
                load_box(h.xs + slot * kXBytes, x, h.x_full + slot * 8, 0, (h.begin + i) * kRows, part * 2, policy);
            }
    } else if (h.warp == 1) {
        for (int i = 0; i < kPieces; ++i) {
            barrier_expect(h.core_full + i * 8, kPieceBytes);
            load_bytes(h.core + i * kPieceBytes, core + i * kPieceBytes, kPieceBytes, h.core_full + i * 8);
        }
        for (int i = 0; i < h.count; ++i) {
            if (i) barrier_wait(h.other_empty, (i + 1) & 1);
            barrier_expect(h.other_full, kOtherBytes);
            load_box(h.other, other, h.other_full, 0, (h.begin + i) * kRows, kind * 4, policy);
        }
    }
}

/// Stores the sums of 8 groups of the first product in shared memory, with zeros for rows beyond the last one; a core's
/// infinity would have made those NaN. Of a row, a rank and a group of the second product a thread has all 8 groups,
/// which are adjacent in a line.
__device__ __forceinline__ void store_first(const Here& h, const uint32_t (&rounded)[2][2][kOwned][2], int eight,
                                            int rows) {
    const int row = 16 * h.warp + h.lane / 4;
    const uint32_t to = h.z + row * 128 + ((((h.lane & 3) * 2 + eight) ^ (row & 7)) << 4);
#pragma unroll
    for (int below = 0; below < 2; ++below) {
        const uint32_t mask = row + 8 * below < rows ? ~0u : 0;
#pragma unroll
        for (int f = 0; f < kOwned; ++f)
            asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to + f * kBox + below * 1024),
                         "r"(rounded[0][below][f][0] & mask), "r"(rounded[0][below][f][1] & mask),
                         "r"(rounded[1][below][f][0] & mask), "r"(rounded[1][below][f][1] & mask)
                         : "memory");
    }
    fence_copies();
}

/// Computes the first product of all tiles, four groups at a time. The next products start as soon as the sums are
/// rounded, and run while those are stored.
__device__ __forceinline__ void first_product(const Here& h, int rows) {
    const uint64_t xs = descriptor(h.xs, 1024, Swizzle::bytes128), core = descriptor(h.core, 512, Swizzle::bytes64);
    float sums[4][16];
    const auto start = [&](int n, int eight, int four) {  // n counts halves of tiles, of 16 groups each
        const int slot = eight * 2 + four;
        barrier_wait(h.core_full + (n % 2 * 4 + slot) * 8, 0);  // The core is loaded only once.
        barrier_wait(h.x_full + slot * 8, n & 1);
        __syncwarp();
        const uint64_t of_groups = advanced(core, n % 2 * (kCoreBytes / 2));
        products_begin();
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int k = 0; k < 2; ++k)
                wgmma<0, 0>(sums[i], advanced(xs, slot * kXBytes + i / 2 * kBox + i % 2 * 64 + k * 32),
                            advanced(of_groups, (eight * 8 + four * 4 + i) * 2048 + k * 32), k > 0);
        products_commit();
    };
    const auto finish = [&](int n, auto more) {
#pragma unroll
        for (int eight = 0; eight < 2; ++eight) {
            uint32_t rounded[2][2][kOwned][2];
#pragma unroll
            for (int four = 0; four < 2; ++four) {
                products_wait<0>();
#pragma unroll
                for (int below = 0; below < 2; ++below)
#pragma unroll
                    for (int f = 0; f < kOwned; ++f)
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            const int at = f / 2 * 4 + f % 2 + below * 2;
                            rounded[four][below][f][i] = pack(sums[2 * i][at], sums[2 * i + 1][at]);
                        }
                if (h.lane == 0) barrier_arrive(h.x_empty + (eight * 2 + four) * 8);
                if (four == 0)
                    start(n, eight, 1);
                else if (eight == 0)
                    start(n, 1, 0);
                else if constexpr (more)
                    start(n + 1, 0, 0);
            }
            if (eight == 0 && n > 0) barrier_wait(h.z_empty, (n + 1) & 1);
            store_first(h, rounded, eight, rows - (h.begin + n / 2) * kRows);
        }
        barrier_arrive(h.z_full);
    };
    start(0, 0, 0);
#pragma unroll 1
    for (int n = 0; n < 2 * h.count - 1; ++n) finish(n, Constant<true>{});
    finish(2 * h.count - 1, Constant<false>{});
}

/// Adds the products of all tiles. d is [group of the second product][half of the first product's groups][4 ranks, 16
/// groups][32].
__device__ __forceinline__ void add_tiles(const Here& h, float (&d)[4][2][16]) {
    const int first = (h.group - 1) * 4;
    const uint64_t z = descriptor(h.z + first * kBox, 1024, Swizzle::bytes128),
                   other = descriptor(h.other + first / 2 * kBox, 1024, Swizzle::bytes128);
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        barrier_wait(h.other_full, n & 1);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            barrier_wait(h.z_full, half);
            __syncwarp();
            products_begin();
#pragma unroll
            for (int f = 0; f < 4; ++f)
#pragma unroll
                for (int k = 0; k < kRows / 16; ++k)
                    wgmma<1, 1>(d[f][half], advanced(z, f * kBox + k * 2048),
                                advanced(other, f / 2 * kBox + f % 2 * 64 + k * 2048), 1);
            products_end();
            if (h.lane == 0) barrier_arrive(h.z_empty);
        }
        if (h.lane == 0) barrier_arrive(h.other_empty);
    }
}

/// `x` of a side is the operand of its first product. `other` is the other operand of its gradient, which is the other
/// side's x.
extern "C" __global__ void __launch_bounds__(512, 1)
    streamed_gradients(const __grid_constant__ TensorMap x0, const __grid_constant__ TensorMap other0,
                       const __grid_constant__ TensorMap x1, const __grid_constant__ TensorMap other1,
                       const Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory);
    const int kinds = kKinds * args.sides, kind = blockIdx.x % kinds, part = blockIdx.x / kinds;
    h.begin = static_cast<long long>(args.tiles) * part / args.parts;
    h.count = uniform(static_cast<int>(static_cast<long long>(args.tiles) * (part + 1) / args.parts) - h.begin);
    if (threadIdx.x == 0) {
        for (int i = 0; i < kPieces; ++i) barrier_init(h.core_full + i * 8, 1);
        barrier_init(h.other_full, 1), barrier_init(h.other_empty, 8);
        for (int i = 0; i < kXs; ++i) barrier_init(h.x_full + i * 8, 1), barrier_init(h.x_empty + i * 8, 4);
        barrier_init(h.z_full, 128), barrier_init(h.z_empty, 8);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (h.group == 3) {
        give_registers<24>();
        const bool two = kind >= kKinds;
        if (h.lane == 0)
            load(h, two ? &x1 : &x0, two ? &other1 : &other0, args.cores + kind * kCoreBytes, kind % kKinds);
    } else if (h.group == 0) {
        take_registers<168>();
        first_product(h, args.rows);
    } else {
        take_registers<160>();
        float d[4][2][16];
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 16; ++j) d[i][0][j] = d[i][1][j] = 0;
        add_tiles(h, d);
        float4* to = args.sums + ((blockIdx.x * 2 + h.group - 1) * kVectors) * 128 + h.thread;
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
            const float* v = d[i / 8][i / 4 % 2] + i % 4 * 4;
            to[i * 128] = make_float4(v[0], v[1], v[2], v[3]);
        }
    }
}

/// Adds the parts and stores the gradients.
extern "C" __global__ void __launch_bounds__(256)
    sum_streamed(const float4* parts, int count, int sides, const Gradient<Out> one, const Gradient<Out> two) {
    int at;
    float4 s;
    if (!sum_parts_at(s, at, parts, count, sides * (kKinds * 2 * kVectors * 128))) return;
    const int thread = at % 128, warp = thread / 32, lane = thread % 32, i = at / 128 % kVectors, half = at / 4096 % 2,
              kind = at / 8192;
    const Gradient<Out>& to = kind < kKinds ? one : two;
    const float v[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
    for (int e = 0; e < 4; ++e)  // A warp has 16 rows of a product, which are those of one rank.
        put(to.data + (kind % kKinds * kOwned + half * 4 + i / 8) * to.strides.group +
                (i / 4 % 2 * 16 + lane / 4 + e / 2 * 8) * to.strides.other + warp * to.strides.rank +
                (i % 4 * 8 + 2 * (lane % 4) + e % 2) * to.strides.inner,
            v[e]);
}
