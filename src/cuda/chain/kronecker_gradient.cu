// The gradient of a core of a Kronecker layer of two 64 x 64 cores: out[m, n] is the sum over rows i and over k of
// left_i[m, k] right_i[k, n], where a row of either operand is a matrix of 64 x 64. There are PARTS warpgroups. Each
// takes every PARTS-th row and keeps the sums in registers, and a second kernel adds the parts in a fixed tree.
//
// Macros: LEFT_TRANSPOSED, which is 1 where a row of the left operand is stored as [k][m], and 0 for [m][k];
// RIGHT_TRANSPOSED, which is 1 where a row of the right operand is stored as [n][k], and 0 for [k][n]; PARTS; OUT,
// float or bf16.
#include "cuda/hopper.cuh"

using bf16 = uint16_t;

constexpr int kMatrix = 64 * 64 * 2;  // bytes
constexpr int kGroups = 2, kStages = 6;

extern "C" __global__ void __launch_bounds__(128 * kGroups, 1)
    kronecker_gradient(const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right, int rows,
                       float* parts) {
    extern __shared__ unsigned char memory[];
    const int group = threadIdx.x / 128, thread = threadIdx.x % 128, warp = thread / 32, lane = threadIdx.x % 32;
    const int part = blockIdx.x * kGroups + group;
    const uint32_t base = (shared_address(memory) + 1023) & ~1023u, mine = base + group * kStages * 2 * kMatrix;
    const uint32_t full = base + kGroups * kStages * 2 * kMatrix + group * kStages * 8;
    const uint64_t policy = evict_first();
    if (thread == 0) {
        for (int i = 0; i < kStages; ++i) barrier_init(full + i * 8, 1);
        barriers_ready();
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    const auto load = [&](int n) {
        const int row = part + n * PARTS, slot = n % kStages;
        if (row >= rows) return;
        barrier_expect(full + slot * 8, 2 * kMatrix);
        load_box(mine + slot * 2 * kMatrix, &left, full + slot * 8, 0, 0, row, policy);
        load_box(mine + slot * 2 * kMatrix + kMatrix, &right, full + slot * 8, 0, 0, row, policy);
    };
    if (thread == 0)
        for (int n = 0; n < kStages; ++n) load(n);
    float sums[32] = {};
#pragma unroll 1
    for (int n = 0, row = part; row < rows; ++n, row += PARTS) {
        const uint32_t a = mine + n % kStages * 2 * kMatrix, b = a + kMatrix;
        barrier_wait(full + n % kStages * 8, n / kStages & 1);
        __syncwarp();
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<LEFT_TRANSPOSED, !RIGHT_TRANSPOSED>(
                sums, descriptor(a + k * (LEFT_TRANSPOSED ? 2048 : 32), 1024, Swizzle::bytes128),
                descriptor(b + k * (RIGHT_TRANSPOSED ? 32 : 2048), 1024, Swizzle::bytes128), 1);
        products_end();
        group_sync(group);
        if (thread == 0) load(n + kStages);
    }
    float* const to = parts + part * (64 * 64) + (16 * warp + lane / 4) * 64 + 2 * (lane % 4);
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
            *reinterpret_cast<float2*>(to + half * 8 * 64 + j * 8) =
                make_float2(sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]);
}

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// Adds the parts of 32 elements a block. For each element, eight threads add every eighth part in order, and a tree
/// adds their sums.
extern "C" __global__ void __launch_bounds__(256)
    sum_parts(const float* parts, OUT* out, long long row, long long column) {
    __shared__ float sums[8][32];
    const int lane = threadIdx.x % 32, eighth = threadIdx.x / 32, element = blockIdx.x * 32 + lane;
    let_next_start();
    wait_for_previous();
    float sum = 0;
    for (int part = eighth; part < PARTS; part += 8) sum += parts[part * (64 * 64) + element];
    sums[eighth][lane] = sum;
    for (int half = 4; half > 0; half /= 2) {
        __syncthreads();
        if (eighth < half) sums[eighth][lane] += sums[eighth + half][lane];
    }
    if (eighth == 0) put(out + element / 64 * row + element % 64 * column, sums[0][lane]);
}
