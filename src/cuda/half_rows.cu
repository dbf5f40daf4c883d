// A product of a few rows of 16-bit numbers, at most 8 * EIGHTS, and a wide matrix, which is read once: c[m, n] = sum
// over k of a[m, k] b[k, n]. A block computes 64 columns of c; the blocks of a cluster share out k. A warp takes 64
// elements of k at a time: the copy engine loads the warp's own tiles of b and a, and the next ones as soon as these
// are read, so that no warp waits for another. The columns are the rows of mma.m16n8k16, and the rows its columns. A
// warp's sums are chains over its part of k; the sums of the warps are added in order, and then those of the blocks. So
// the bits depend only on n and k.
//
// Macros: TYPE: bf16 or f16; EIGHTS: 1, 2 or 4; ACROSS: columns are contiguous in b, else k is.
#include "cuda/hopper.cuh"

constexpr int kWarps = 8, kSlots = 2, kThreads = 32 * kWarps;
constexpr int kAhead = 2;  // tiles that a warp prefetches
constexpr int kColumns = 64, kStep = 64, kRows = 8 * EIGHTS;
constexpr int kBytesB = kColumns * kStep * 2, kBytesA = kRows * kStep * 2, kSlot = kBytesB + kBytesA;
constexpr int kLine = kColumns + 4;  // the pitch of sums, which puts a warp's four rows into different banks
constexpr int kTiles = kColumns / 16, kFours = kRows * kColumns / 4;
static_assert(kRows * kLine * 4 <= kSlot);  // a warp's sums replace its tiles

struct Arguments {
    int m, n, k;
    uint16_t* c;
    long long c_row;
};

#define TEXT_OF(x) #x
#define MULTIPLY(type) "mma.sync.aligned.m16n8k16.row.col.f32." TEXT_OF(type) "." TEXT_OF(type) ".f32 "
#define ROUND(type) "cvt.rn." TEXT_OF(type) "x2.f32 %0, %1, %2;"

__device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(MULTIPLY(TYPE) "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t rounded(float low, float high) {
    uint32_t r;
    asm(ROUND(TYPE) : "=r"(r) : "f"(high), "f"(low));
    return r;
}
/// The address of 16 bytes of a tile, in the 128-byte swizzle.
__device__ __forceinline__ uint32_t piece(uint32_t tile, int line, int at) {
    return tile + line * 128 + ((at ^ (line & 7)) << 4);
}

/// The operands of the rows for 32 elements of k: for each sixteen, two registers for each eight rows.
__device__ __forceinline__ void load_rows(uint32_t (&rows)[2][2 * EIGHTS], uint32_t a, int half, int lane) {
    const int line = lane % 8, matrix = lane / 8;
    if constexpr (EIGHTS == 1) {
        uint32_t r[4];
        load_matrices<false>(r, piece(a, line, 4 * half + matrix));
        rows[0][0] = r[0], rows[0][1] = r[1], rows[1][0] = r[2], rows[1][1] = r[3];
    } else {
#pragma unroll
        for (int s = 0; s < 2; ++s)
#pragma unroll
            for (int e = 0; e < EIGHTS / 2; ++e) {
                uint32_t r[4];
                load_matrices<false>(r, piece(a, 16 * e + matrix / 2 * 8 + line, 4 * half + 2 * s + matrix % 2));
#pragma unroll
                for (int i = 0; i < 4; ++i) rows[s][4 * e + i] = r[i];
            }
    }
}

using Sums = float[kTiles][EIGHTS][4];

__device__ __forceinline__ void add(Sums& sums, uint32_t b, uint32_t a, int lane) {
    const int line = lane % 8, matrix = lane / 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        uint32_t rows[2][2 * EIGHTS];
        load_rows(rows, a, half, lane);
#pragma unroll
        for (int s = 0; s < 2; ++s)
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile) {
                uint32_t columns[4];
                if constexpr (ACROSS)
                    load_matrices<true>(columns,
                                        piece(b, 32 * half + 16 * s + matrix / 2 * 8 + line, 2 * tile + matrix % 2));
                else
                    load_matrices<false>(columns,
                                         piece(b, 16 * tile + matrix % 2 * 8 + line, 4 * half + 2 * s + matrix / 2));
#pragma unroll
                for (int e = 0; e < EIGHTS; ++e) multiply(sums[tile][e], columns, rows[s][2 * e], rows[s][2 * e + 1]);
            }
    }
}

__device__ __forceinline__ float4 sum_of(const float4& a, const float4& b) {
    return float4{a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
/// The place of four neighbouring columns, in floats.
__device__ __forceinline__ int place(int four) { return four / (kColumns / 4) * kLine + four % (kColumns / 4) * 4; }

__device__ __forceinline__ float4 at_rank(uint32_t address, uint32_t rank) {
    uint32_t v[4];
    load_at_peer(v, at_peer(address, rank));
    return float4{__uint_as_float(v[0]), __uint_as_float(v[1]), __uint_as_float(v[2]), __uint_as_float(v[3])};
}

__device__ __forceinline__ void store(const Arguments& p, int column, int four, const float4& v) {
    const int row = four / (kColumns / 4), to = column + four % (kColumns / 4) * 4;
    if (row < p.m && to < p.n)
        *reinterpret_cast<uint2*>(p.c + row * p.c_row + to) = uint2{rounded(v.x, v.y), rounded(v.z, v.w)};
}

/// Stores a warp's sums over its tiles.
__device__ __forceinline__ void keep(const Sums& sums, float* mine, int lane) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int e = 0; e < EIGHTS; ++e)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                mine[(8 * e + lane % 4 * 2 + i % 2) * kLine + 16 * tile + lane / 4 + i / 2 * 8] = sums[tile][e][i];
}

/// Adds the warps' sums in order. They are stored to c if the block has all of k, else over the first warp's.
__device__ __forceinline__ void join_warps(const Arguments& p, int column, int parts, float* all) {
    for (int i = threadIdx.x; i < kFours; i += kThreads) {
        float* const at = all + place(i);
        float4 v = *reinterpret_cast<const float4*>(at);
#pragma unroll
        for (int w = 1; w < kWarps; ++w) v = sum_of(v, *reinterpret_cast<const float4*>(at + w * (kSlots * kSlot / 4)));
        if (parts == 1)
            store(p, column, i, v);
        else
            *reinterpret_cast<float4*>(at) = v;
    }
}

/// Adds the blocks' sums in order; each block of the cluster stores some of them.
__device__ __forceinline__ void join_blocks(const Arguments& p, int column, int parts, int part, uint32_t base) {
    cluster_sync();
    for (int i = part * kThreads + threadIdx.x; i < kFours; i += parts * kThreads) {
        const uint32_t at = base + 4 * place(i);
        float4 v = at_rank(at, 0);
        for (int rank = 1; rank < parts; ++rank) v = sum_of(v, at_rank(at, rank));
        store(p, column, i, v);
    }
    cluster_sync();  // no block ends while its sums are read
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    half_rows(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
              const __grid_constant__ Arguments p) {
    extern __shared__ unsigned char memory[];
    __shared__ __align__(8) uint64_t barriers[kWarps * kSlots];
    const uint32_t start = shared_address(memory),
                   base = (start + 1023) & ~1023u;  // the swizzle repeats after 1024 bytes
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, parts = gridDim.y, part = blockIdx.y;
    const int column = blockIdx.x * kColumns, steps = (p.k + kStep - 1) / kStep, stride = kWarps * parts;
    const uint32_t own = base + warp * kSlots * kSlot, full = shared_address(barriers + warp * kSlots);
    if (threadIdx.x < kWarps * kSlots) barrier_init(shared_address(barriers + threadIdx.x), 32);
    let_next_start();
    const int first = warp * parts + part;
    // Into the L2, b may be prefetched before the writes of the kernels before this one are complete.
    if (lane == 0)
        for (int i = 0; i < kAhead && first + i * stride < steps; ++i)
            prefetch_box(&map_b, ACROSS ? column : (first + i * stride) * kStep,
                         ACROSS ? (first + i * stride) * kStep : column, 0);
    barriers_ready();
    __syncthreads();
    wait_for_previous();
    const uint64_t passes_by = evict_first(), stays = evict_last();  // all blocks read a
    const auto ask = [&](int step, uint32_t slot) {
        const uint32_t to = own + slot * kSlot, barrier = full + 8 * slot;
        if (lane != 0) return barrier_arrive(barrier);
        barrier_expect(barrier, kSlot);
        load_box(to, &map_b, barrier, ACROSS ? column : step * kStep, ACROSS ? step * kStep : column, 0, passes_by);
        load_box(to + kBytesB, &map_a, barrier, step * kStep, 0, 0, stays);
    };
#pragma unroll
    for (int i = 0; i < kSlots; ++i)
        if (first + i * stride < steps) ask(first + i * stride, i);
    Sums sums = {};
    Turn turn;
#pragma unroll 1
    for (int step = first; step < steps; step += stride) {
        barrier_wait(full + 8 * turn.slot, turn.parity);
        const uint32_t b = own + turn.slot * kSlot;
        add(sums, b, b + kBytesB, lane);
        __syncwarp();
        if (step + kSlots * stride < steps) ask(step + kSlots * stride, turn.slot);
        turn.next(kSlots);
    }
    keep(sums, reinterpret_cast<float*>(memory + (own - start)), lane);
    __syncthreads();
    join_warps(p, column, parts, reinterpret_cast<float*>(memory + (base - start)));
    if (parts > 1) join_blocks(p, column, parts, part, base);
}
