// The gradients of one core of a two-factor layer, or of both (SIDES 2), with the intermediate computed again: of b from x, a and
// the gradient of y, of a from the gradient of y, b and x. Memory sees x and the gradient of y, and no intermediate. The first
// product is that of a pass (cluster.cuh); the last two warpgroups multiply what has come of a tile with the other operand's rows
// and keep the sums in registers.
//
// A cluster has one of `parts` parts of the rows: a sum is one chain over the part's rows, in order. sum_parts adds the parts by
// a tree of eight chains. So the bits follow from the shape alone.
//
// Macros: BLOCK, RANK, CLUSTER, SIDES; PASSES; GROUPS; OUT, the element of the gradients: float or bf16.
#include "cuda/chain/cluster.cuh"

constexpr int kThreads = 128 * (GROUPS + 2);
constexpr int kOthers = RANK == 1 ? 2 : 3;  // buffers of a warpgroup
constexpr int kOwn = 4 / RANK;  // wide groups of the second product of a warpgroup: of a side, or half of the block's
constexpr int kOtherBytes = kOwn * kRows * 128;
// A product is columns of the other operand by lines of the intermediate. At b = 32 only columns and lines of the same core are
// wanted: from rank 2 on the 64 rows of a product are lines of one core, and its columns that core's 32; at rank 1 half of the
// sums are of no use.
constexpr bool kByLines = BLOCK == 32 && RANK > 1;
constexpr int kLines = kByLines || RANK == 1 ? 64 : 128;  // of a product
constexpr int kProducts = kOwn * 64 * RANK / kLines, kSums = kByLines ? 16 : kLines / 2;  // of a warpgroup; of a thread
constexpr int kHeld = BLOCK == 64 ? 128 : 64;  // sums of a thread that are wanted
constexpr int kParts = 2 * CLUSTER * PASSES;  // warpgroups of all passes; each has kHeld / 4 times 128 vectors of a part

using bf16 = unsigned short;
using Out = OUT;

struct Arguments {
    int tiles, rows, parts, pass;
    float4* sums;  // of each part, in the order in which threads have them
    Core cores[SIDES];  // of the first products
};

/// The tiles of a warpgroup's other operand.
struct Other {
    const TensorMap* map;
    uint32_t tiles, full, empty;
    int group;  // its first wide group
};

__device__ __forceinline__ void load_other(const Here& h, const Other& o, int n, uint64_t policy) {
    const int slot = n % kOthers;
    barrier_expect(o.full + slot * 8, kOtherBytes);
    load_box(o.tiles + slot * kOtherBytes, o.map, o.full + slot * 8, 0, h.tile(n) * kRows, o.group, policy);
}

/// Adds a tile's products: d is [column][line], or [line][column] where kByLines.
__device__ __forceinline__ void add_products(float (&d)[kProducts][kSums], uint32_t in, uint32_t other) {
    constexpr int kOfWide = 64 * RANK / kLines, kOfCore = RANK > 1 ? kOfWide / kCores : 1;  // products
#pragma unroll
    for (int i = 0; i < kProducts; ++i)
#pragma unroll
        for (int k = 0; k < kRows / 16; ++k) {
            const uint64_t lines = descriptor(in + i * (kLines * 64) + k * 32, 512, Swizzle::bytes64);
            const uint32_t columns = other + i / kOfWide * (kRows * 128) + k * 2048;
            if constexpr (kByLines)
                wgmma<0, 1>(d[i], lines, descriptor(columns + i % kOfWide / kOfCore * 64, 1024, Swizzle::bytes128), 1);
            else
                wgmma<1, 0>(d[i], descriptor(columns, 1024, Swizzle::bytes128), lines, 1);
        }
}

__device__ __forceinline__ void add_tiles(const Here& h, float (&d)[kProducts][kSums], const Other& o,
                                          const TensorMap* const (&x)[SIDES], int rows, uint64_t policy) {
#pragma unroll 1
    for (int n = 0; n < h.count; ++n) {
        const int z_slot = n % kZs, slot = n % kOthers;
        const uint32_t in = h.zs + z_slot * kZBytes + h.half * (kZBytes / 2), other = o.tiles + slot * kOtherBytes;
        if (h.half == 0 && h.thread == 0) load_next(h, x, n, policy);  // its first product ends before this tile is whole
        barrier_wait(o.full + slot * 8, n / kOthers & 1);
        barrier_wait(h.z_full + z_slot * 8, n / kZs & 1);
        fence_copies();  // what peers stored is read by the tensor cores
        clear_beyond(h, in, h.tile(n), rows);
        __syncwarp();
        products_begin();
        add_products(d, in, other);
        products_end();
        tell_read(h, h.z_empty + z_slot * 8);
        if (h.lane == 0) barrier_arrive(o.empty + slot * 8);
        if (h.thread == 0 && n + kOthers < h.count) {
            barrier_wait(o.empty + slot * 8, n / kOthers & 1);
            load_other(h, o, n + kOthers, policy);
        }
    }
}

/// Vector i of a thread's sums, of those that are wanted.
__device__ __forceinline__ float4 held(const float (&d)[kProducts][kSums], int i, bool second_core) {
    constexpr int kVectors = kSums / 4, kOfCore = 4;  // of a product, of a core of a wide group (at b = 32 and rank 1)
    const auto vector = [&](int v) {
        const float* at = d[v / kVectors] + v % kVectors * 4;
        return make_float4(at[0], at[1], at[2], at[3]);
    };
    if constexpr (BLOCK == 64 || kByLines) return vector(i);
    const int a = i / kOfCore * kVectors + i % kOfCore;
    const float4 one = vector(a), two = vector(a + kOfCore);
    return second_core ? two : one;
}

/// `x` of a side is what its first product reads, in the order of a pass, and `other` the other operand, which is the other
/// side's x.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    core_gradients(const __grid_constant__ TensorMap x0, const __grid_constant__ TensorMap other0,
                   const __grid_constant__ TensorMap x1, const __grid_constant__ TensorMap other1,
                   const __grid_constant__ Arguments args) {
    extern __shared__ unsigned char memory[];
    Here h = locate(memory, 2 * kOthers * kOtherBytes);
    const int part = blockIdx.x / CLUSTER;
    h.begin = static_cast<long long>(args.tiles) * part / args.parts, h.step = 1;
    h.count = static_cast<int>(static_cast<long long>(args.tiles) * (part + 1) / args.parts) - h.begin;
    const TensorMap* xs[SIDES];
    xs[0] = &x0;
    if constexpr (SIDES == 2) xs[1] = &x1;
    const int pass_group = args.pass * kSecond * CLUSTER;
    Other o;
    o.map = SIDES == 2 && h.half ? &other1 : &other0;
    o.tiles = h.zs + kZs * kZBytes + h.half * (kOthers * kOtherBytes);
    o.full = h.behind + h.half * (2 * kOthers * 8), o.empty = o.full + kOthers * 8;
    o.group = pass_group + h.rank * kSecond + (SIDES == 2 ? 0 : h.half * kOwn);
    const uint64_t policy = evict_normal();  // the other side, or the other gradient, reads the same
    if (threadIdx.x == 0) {
        init_barriers(h);
        for (int i = 0; i < 2 * 2 * kOthers; ++i) barrier_init(h.behind + i * 8, i / kOthers & 1 ? 4 : 1);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (h.group >= GROUPS && h.thread == 0) {
        if (h.half == 0) load_first_tiles(h, xs, policy);
        for (int n = 0; n < kOthers && n < h.count; ++n) load_other(h, o, n, policy);
    }
    // The operands of the first product, through 64 KB of shared memory.
#pragma unroll 1
    for (int i = threadIdx.x; i < 8 * 512; i += 4 * kThreads) {
        uint4 pieces[4];
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (const int n = i + j * kThreads; n < 8 * 512)
                pieces[j] = load_piece({args.cores[side_of(n / 512)], true, wide_of(h, n / 512), pass_group, unit_of(n / 512)},
                                       n % 512);
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (const int n = i + j * kThreads; n < 8 * 512) store_piece(h.zs + n / 512 * 8192, n % 512, pieces[j]);
    }
    __syncthreads();
    if (h.group < GROUPS) {
        if constexpr (GROUPS == 1) take_registers<184>();
        uint32_t units[kMine][4][4];
#pragma unroll
        for (int i = 0; i < kMine; ++i) {
            const int u = h.group * kMine + i;
            load_operands(units[i], h.zs + u * 8192, args.cores[side_of(u)].strides.inner == 1, h);
        }
        cluster_sync();  // every peer's barriers stand, and nobody's scratch is in use
        first_product(h, units, [](int) {});
        cluster_sync();  // nobody leaves while a peer still sends to it
    } else {
        if constexpr (GROUPS == 1) give_registers<160>();
        float d[kProducts][kSums];
#pragma unroll
        for (int i = 0; i < kProducts; ++i)
#pragma unroll
            for (int j = 0; j < kSums; ++j) d[i][j] = 0;
        cluster_sync();
        add_tiles(h, d, o, xs, args.rows, policy);
        cluster_sync();
        const int place = part * kParts + (args.pass * CLUSTER + static_cast<int>(h.rank)) * 2 + h.half;
        float4* to = args.sums + place * (kHeld / 4 * 128) + h.thread;
#pragma unroll
        for (int i = 0; i < kHeld / 4; ++i) to[i * 128] = held(d, i, h.warp > 1);
    }
}

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// The gradient of a core.
struct Gradient {
    Out* data;
    CoreStrides strides;
};
struct Gradients {
    Gradient of[SIDES];
};

/// 32 vectors a block: each of 8 warps adds every eighth part, in order, and the first adds what they have.
extern "C" __global__ void __launch_bounds__(256)
    sum_parts(const float4* parts, int count, const __grid_constant__ Gradients gradients) {
    __shared__ float4 chains[8][32];
    const int chain = threadIdx.x / 32, at = blockIdx.x * 32 + threadIdx.x % 32;
    constexpr int kPart = kParts * kHeld / 4 * 128;
    let_next_start();
    wait_for_previous();
    float4 s = make_float4(0, 0, 0, 0);
    const auto add = [&](const float4& v) { s = make_float4(s.x + v.x, s.y + v.y, s.z + v.z, s.w + v.w); };
#pragma unroll 4
    for (int p = chain; p < count; p += 8) add(parts[static_cast<long long>(p) * kPart + at]);
    chains[chain][threadIdx.x % 32] = s;
    __syncthreads();
    if (chain) return;
#pragma unroll
    for (int c = 1; c < 8; ++c) add(chains[c][threadIdx.x]);
    // Whose sums these are.
    const int thread = at % 128, warp = thread / 32, lane = thread % 32, i = at / 128 % (kHeld / 4), of = at / 128 / (kHeld / 4);
    const int half = of % 2, rank = of / 2 % CLUSTER, pass = of / (2 * CLUSTER);
    constexpr int kOfWide = kHeld / 4 / kOwn;  // vectors of a wide group
    const int wide = (pass * CLUSTER + rank) * kSecond + (SIDES == 2 ? 0 : half * kOwn) + i / kOfWide;
    const int core = BLOCK == 64 ? 0 : kByLines ? i % kOfWide / (kOfWide / 2) : warp / 2;
    const Gradient& to = gradients.of[SIDES == 2 ? half : 0];
    const float v[4] = {s.x, s.y, s.z, s.w};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        // Of the core; products have 16 rows a warp.
        const int row = 16 * warp + lane / 4 + e / 2 * 8, side = 2 * (lane % 4) + e % 2;
        const int line = kByLines ? i % (kOfWide / 2) / 4 * 64 + row : i % kOfWide * 8 + side;
        const int column = kByLines ? i % 4 * 8 + side : row % BLOCK;
        put(to.data + (wide * kCores + core) * to.strides.group + line % BLOCK * to.strides.other +
                line / BLOCK * to.strides.rank + column * to.strides.inner,
            v[e]);
    }
}
