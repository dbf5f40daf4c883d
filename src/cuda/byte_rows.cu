// A product of at most 16 * TALL rows of bytes and a wide matrix of bytes, which is read once: c[m, n] = tape(sum over
// k of a[m, k] b[n, k]). A block computes 128 columns of c over a part of k; the blocks of a cluster share out k. Each
// of 8 warps takes 64 elements of k at a time, from memory directly into the operands of mma.m16n8k32. Sums are modulo
// 2^32, so they may be added in any order: first those of the warps, then those of the blocks. In matrix product j of a
// warp, column g of the eight is column 16 g + j of the block. So the 16 bytes that a thread reads of a row of b, if
// columns are contiguous, belong to 16 products; four such rows are transposed in registers.
//
// Macros: TALL: 1 or 2; ACROSS: columns are contiguous in b, else k is; A_SIGN, B_SIGN: s8 or u8. Printed before:
// kOutSize, Inputs, Loaded, load, and epilogue of four columns.
#include "cuda/hopper.cuh"

constexpr int kThreads = 256, kWarps = kThreads / 32, kColumns = 128, kStep = 64, kProducts = kColumns / 8;

struct Arguments {
    int m, n, k;
    const unsigned char *a, *b;
    long long a_row, b_line;  // strides; a line of b is contiguous in memory
    long long a_batch, b_batch;
    void* c;
    long long c_row, c_batch;
    Inputs inputs;
};

__device__ __forceinline__ uint4 sixteen(const unsigned char* from, bool inside) {
    return inside ? *reinterpret_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
}

__device__ __forceinline__ void multiply(int (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#define TEXT_OF(x) #x
#define MULTIPLY(left, right) "mma.sync.aligned.m16n8k32.row.col.s32." TEXT_OF(left) "." TEXT_OF(right) ".s32 "
    asm volatile(MULTIPLY(A_SIGN, B_SIGN) "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Transposes four by four bytes.
__device__ __forceinline__ void transpose(uint32_t (&w)[4]) {
    const uint32_t low01 = __byte_perm(w[0], w[1], 0x5140), high01 = __byte_perm(w[0], w[1], 0x7362),
                   low23 = __byte_perm(w[2], w[3], 0x5140), high23 = __byte_perm(w[2], w[3], 0x7362);
    w[0] = __byte_perm(low01, low23, 0x5410), w[1] = __byte_perm(low01, low23, 0x7632);
    w[2] = __byte_perm(high01, high23, 0x5410), w[3] = __byte_perm(high01, high23, 0x7632);
}
__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// What a thread reads for 64 elements of k: 16 of them, for 16 columns and, of a, for two rows for each TALL.
struct Raw {
    uint4 b[16], a[2 * TALL];

    __device__ __forceinline__ void read(const Arguments& p, const unsigned char* from_a, const unsigned char* from_b,
                                         int k, int column) {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        const bool inside = k + 16 * t < p.k;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const int line = ACROSS ? k + 16 * t + i : column + 16 * g + i,
                      along = ACROSS ? column + 16 * g : k + 16 * t;
            b[i] = sixteen(from_b + line * p.b_line + along, inside && (ACROSS ? along : line) < p.n);
        }
#pragma unroll
        for (int i = 0; i < 2 * TALL; ++i)
            a[i] = sixteen(from_a + (g + 8 * i) * p.a_row + k + 16 * t, inside && g + 8 * i < p.m);
    }
};

using Sums = int[TALL][kProducts][4];

/// Both operands have the same order of k within the 64: for half h, elements 8 h to 8 h + 3 of a thread's 16, then the
/// next four.
__device__ __forceinline__ void add(Sums& sums, const Raw& raw) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int four = 0; four < 4; ++four) {  // products 4 * four to 4 * four + 3
            uint32_t first[4], second[4];
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (ACROSS)
                    first[i] = word(raw.b[8 * half + i], four), second[i] = word(raw.b[8 * half + 4 + i], four);
                else
                    first[i] = word(raw.b[4 * four + i], 2 * half), second[i] = word(raw.b[4 * four + i], 2 * half + 1);
            if (ACROSS) transpose(first), transpose(second);
#pragma unroll
            for (int tall = 0; tall < TALL; ++tall) {
                const uint4 &upper = raw.a[2 * tall], &lower = raw.a[2 * tall + 1];
                const uint32_t left[4] = {word(upper, 2 * half), word(lower, 2 * half), word(upper, 2 * half + 1),
                                          word(lower, 2 * half + 1)};
#pragma unroll
                for (int i = 0; i < 4; ++i) multiply(sums[tall][4 * four + i], left, first[i], second[i]);
            }
        }
    }
}

/// The place of sum r of product j of a thread, in words: those of a warp are contiguous.
__device__ __forceinline__ int place(int tall, int j, int r, int thread) {
    return ((tall * kProducts + j) * 4 + r) * 32 + thread;
}

__device__ __forceinline__ uint32_t at_rank(uint32_t address, uint32_t rank) {
    uint32_t v;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(at_peer(address, rank)) : "memory");
    return v;
}

extern "C" __global__ void __launch_bounds__(kThreads, 1) byte_rows(const __grid_constant__ Arguments p) {
    extern __shared__ __align__(16) int memory[];  // [kWarps][TALL][kProducts][4][32]
    constexpr int kSums = TALL * kProducts * 4 * 32;
    const int warp = threadIdx.x / 32, thread = threadIdx.x % 32, parts = gridDim.y, part = blockIdx.y;
    const int column = blockIdx.x * kColumns;
    const long long batch = blockIdx.z;
    let_next_start();
    wait_for_previous();
    Sums sums = {};
    const unsigned char *const a = p.a + batch * p.a_batch, *const b = p.b + batch * p.b_batch;
    const int stride = parts * kWarps * kStep;
    int k = (part * kWarps + warp) * kStep;
    Raw raw;
    raw.read(p, a, b, k, column);
#pragma unroll 1
    while (k < p.k) {
        k += stride;
        if constexpr (TALL == 1) {  // the next elements are loaded while these are multiplied
            Raw next;
            next.read(p, a, b, k, column);
            add(sums, raw);
            raw = next;
        } else {
            add(sums, raw);
            raw.read(p, a, b, k, column);
        }
    }
#pragma unroll
    for (int tall = 0; tall < TALL; ++tall)
#pragma unroll
        for (int j = 0; j < kProducts; ++j)
#pragma unroll
            for (int r = 0; r < 4; ++r) memory[warp * kSums + place(tall, j, r, thread)] = sums[tall][j][r];
    __syncthreads();
    for (int i = threadIdx.x; i < kSums; i += kThreads) {
        int sum = memory[i];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum += memory[w * kSums + i];
        memory[i] = sum;
    }
    cluster_sync();
    // Four neighbouring columns are four products of one thread.
    for (int i = part * kThreads + threadIdx.x; i < kSums / 4; i += parts * kThreads) {
        const int of = i % 32, r = i / 32 % 4, four = i / 128 % 4, tall = i / 512;
        const int row = 16 * tall + of / 4 + r / 2 * 8, to = column + (of % 4 * 2 + r % 2) * 16 + 4 * four;
        if (row >= p.m || to >= p.n) continue;
        Loaded loaded;
        load(loaded, p.inputs, batch, row, to);
        uint32_t all[4] = {};
#pragma unroll 4
        for (int rank = 0; rank < parts; ++rank)
#pragma unroll
            for (int j = 0; j < 4; ++j)
                all[j] += at_rank(shared_address(memory + place(tall, 4 * four + j, r, of)), rank);
        epilogue(uint4{all[0], all[1], all[2], all[3]}, loaded,
                 static_cast<unsigned char*>(p.c) + (batch * p.c_batch + row * p.c_row + to) * kOutSize);
    }
    cluster_sync();  // no block ends while its sums are read
}
