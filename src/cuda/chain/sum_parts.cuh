// Sums over parts of the rows, added in a fixed tree: what the kernels of gradients share.
#pragma once

#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

using bf16 = unsigned short;

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// The gradient of a core.
template <class T>
struct Gradient {
    T* data;
    CoreStrides strides;
};

/// By a block of 256 threads, of 32 vectors: each of 8 warps adds every eighth of `count` parts, in order, and the first adds what
/// they have. True for its threads, which get the vector `at` of a part of `part` vectors.
__device__ __forceinline__ bool sum_parts_at(float4& s, const float4* parts, int count, int part, int at) {
    __shared__ float4 chains[8][32];
    const int chain = threadIdx.x / 32;
    let_next_start();
    wait_for_previous();
    s = make_float4(0, 0, 0, 0);
    const auto add = [&](const float4& v) { s = make_float4(s.x + v.x, s.y + v.y, s.z + v.z, s.w + v.w); };
#pragma unroll 4
    for (int p = chain; p < count; p += 8) add(parts[static_cast<long long>(p) * part + at]);
    chains[chain][threadIdx.x % 32] = s;
    __syncthreads();
    if (chain) return false;
#pragma unroll
    for (int c = 1; c < 8; ++c) add(chains[c][threadIdx.x]);
    return true;
}
