// Batches of small products, c = a b, each matrix read once: a warp takes a product, or kColumns columns of one,
// straight from memory into the operands of mma.m16n8k16 (PTX ISA 7.0, section 9.7.13.5.8). There is no shared memory
// and no barrier: many warps, each with the loads of its whole right operand in flight, keep the memory busy.
//
// Every access is 16 bytes. That is possible because rows, columns and summed elements may be taken in any order: of a
// block of 32 along a contiguous axis a thread reads eight neighbours, 8 t to 8 t + 7, and these are taken for elements
// 2 t and 2 t + 1 of four groups of eight. A matrix that is contiguous along the other axis is transposed in blocks of
// eight by eight (movmatrix).
//
// Macros: TENON_K: the number of summed elements, a multiple of 32; TENON_COLUMNS: 32 or 64, those of a warp;
// TENON_A_TRANSPOSED: a is contiguous along its rows (m), else along k; TENON_B_TRANSPOSED: b is contiguous along k,
// else along its columns (n); TENON_TYPE: bfloat16 or float16; TENON_OUT: the same or float32.
#include "cuda/wide.cuh"

using namespace tenon;
using namespace tenon::cuda;

constexpr int kK = TENON_K, kColumns = TENON_COLUMNS, kSteps = kK / 16, kTiles = kColumns / 8, kThreads = 128;
constexpr bool kATransposed = TENON_A_TRANSPOSED, kBTransposed = TENON_B_TRANSPOSED;
constexpr int kRows = kATransposed ? 32 : 16;  // at a time
constexpr DType kType = DType::TENON_TYPE, kOut = DType::TENON_OUT;

struct Problem {
    const unsigned short *a, *b;
    Stored<kOut>* c;
    long long m, n, k;
    long long a_leading, b_leading, c_leading;
    long long inner;  // products of the inner batch axis
    long long a_outer, b_outer, c_outer, a_inner, b_inner, c_inner;
    long long items, column_blocks;
};

__forceinline__ unsigned transposed(unsigned x) {
    unsigned y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}
__forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    if constexpr (kType == DType::bfloat16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Eight contiguous elements, or zeros outside the matrix.
__forceinline__ uint4 eight(const unsigned short* matrix, long long leading, int line, int lines, int at, int length) {
    if (line < lines && at < length) return *reinterpret_cast<const uint4*>(matrix + line * leading + at);
    return {0, 0, 0, 0};
}
__forceinline__ unsigned word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

/// The line of a block of 32 that is taken for line `g` of group `group`.
__forceinline__ int line_of(int g, int group) { return 8 * (g / 2) + 2 * group + g % 2; }

/// What a thread reads of kRows rows of a, in the order of memory.
struct Raw {
    uint4 at[kK / 32][kATransposed ? 4 : 2];
};
__forceinline__ Raw load_a(const Problem& p, const unsigned short* a, int row, int g, int t) {
    Raw raw;
#pragma unroll
    for (int block = 0; block < kK / 32; ++block)
#pragma unroll
        for (int i = 0; i < (kATransposed ? 4 : 2); ++i)
            raw.at[block][i] = kATransposed ? eight(a, p.a_leading, block * 32 + line_of(g, i), p.k, row + 8 * t, p.m)
                                            : eight(a, p.a_leading, row + g + 8 * i, p.m, block * 32 + 8 * t, p.k);
    return raw;
}

/// The right operands of the products, for all summed elements.
using Right = unsigned[kSteps][kTiles][2];
struct RawRight {
    uint4 at[kK / 32][kColumns / 32][4];
};
__forceinline__ RawRight load_b(const Problem& p, const unsigned short* b, int column, int g, int t) {
    RawRight raw;
#pragma unroll
    for (int block = 0; block < kK / 32; ++block)
#pragma unroll
        for (int part = 0; part < kColumns / 32; ++part)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                raw.at[block][part][i] =
                    kBTransposed
                        ? eight(b, p.b_leading, column + part * 32 + line_of(g, i), p.n, block * 32 + 8 * t, p.k)
                        : eight(b, p.b_leading, block * 32 + line_of(g, i), p.k, column + part * 32 + 8 * t, p.n);
    return raw;
}
__forceinline__ void order(Right& right, const RawRight& raw) {
#pragma unroll
    for (int block = 0; block < kK / 32; ++block)
#pragma unroll
        for (int part = 0; part < kColumns / 32; ++part)
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    // A group of summed elements is half group % 2 of step group / 2.
                    const unsigned w = word(raw.at[block][part][i], j);
                    if constexpr (kBTransposed)
                        right[block * 2 + j / 2][part * 4 + i][j % 2] = w;
                    else
                        right[block * 2 + i / 2][part * 4 + j][i % 2] = transposed(w);
                }
}

/// The left operands of kRows rows of a.
using Left = unsigned[kRows / 16][kSteps][4];
__forceinline__ void order(Left& left, const Raw& raw) {
#pragma unroll
    for (int block = 0; block < kK / 32; ++block)
#pragma unroll
        for (int i = 0; i < (kATransposed ? 4 : 2); ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const unsigned w = word(raw.at[block][i], j);
                if constexpr (kATransposed)
                    left[j / 2][block * 2 + i / 2][i % 2 * 2 + j % 2] = transposed(w);
                else
                    left[0][block * 2 + j / 2][j % 2 * 2 + i] = w;
            }
}

/// Stores the sums of sixteen rows. A thread has columns of two of them, line_at(0) and line_at(1).
template <class Line>
__forceinline__ void store(const Problem& p, Stored<kOut>* c, const float (&sums)[kTiles][4], Line line_at, int column,
                           int t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int line = line_at(half);
        if (line >= p.m) continue;
#pragma unroll
        for (int part = 0; part < kColumns / 32; ++part) {
            const int at = column + part * 32 + 8 * t;
            if (at >= p.n) continue;
            Pack<Stored<kOut>, 8> pack;
#pragma unroll
            for (int j = 0; j < 8; ++j)
                pack.at[j] = narrow<kOut>(rounded<kOut>(sums[part * 4 + j / 2][half * 2 + j % 2]));
            store_pack(c + line * p.c_leading + at, pack);
        }
    }
}

extern "C" __global__ void __launch_bounds__(kThreads) small_products(const __grid_constant__ Problem p) {
    let_next_begin();
    wait_for_turn();
    const long long item = blockIdx.x * static_cast<long long>(kThreads / 32) + threadIdx.x / 32;
    if (item >= p.items) return;
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const long long product = item / p.column_blocks, outer = product / p.inner, inner = product - outer * p.inner;
    const int column = static_cast<int>(item - product * p.column_blocks) * kColumns;
    const unsigned short *a = p.a + outer * p.a_outer + inner * p.a_inner,
                         *b = p.b + outer * p.b_outer + inner * p.b_inner;
    Stored<kOut>* const c = p.c + outer * p.c_outer + inner * p.c_inner;

    const RawRight raw_b = load_b(p, b, column, g, t);
    Raw raw = load_a(p, a, 0, g, t);
    Right right;
    order(right, raw_b);
    for (int row = 0; row < p.m; row += kRows) {
        Left left;
        order(left, raw);
        if (row + kRows < p.m) raw = load_a(p, a, row + kRows, g, t);
#pragma unroll
        for (int q = 0; q < kRows / 16; ++q) {
            float sums[kTiles][4]{};
#pragma unroll
            for (int step = 0; step < kSteps; ++step)
#pragma unroll
                for (int tile = 0; tile < kTiles; ++tile) multiply(sums[tile], left[q][step], right[step][tile]);
            store(
                p, c, sums, [&](int half) { return row + (kATransposed ? line_of(g, 2 * q + half) : g + 8 * half); },
                column, t);
        }
    }
}
