// The last step of a core's gradient: sums over parts of the rows are added in a fixed order.
#pragma once

#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

using bf16 = unsigned short;

__device__ __forceinline__ void put(float* to, float v) { *to = v; }
__device__ __forceinline__ void put(bf16* to, float v) { *to = static_cast<bf16>(pack(v, 0)); }

/// Where the gradient of a core is stored.
template <class T>
struct Gradient {
    T* data;
    CoreStrides strides;
};

/// Up to so many parts, one thread adds all parts of a vector, and a block adds 256 vectors. With more parts eight
/// threads share a vector, and a block adds 32. sum_parts.h has the same number for the host.
constexpr int kFewParts = 8;

/// Adds `count` parts of `part` vectors each: eight chains of additions, chain c over parts c, c + 8, ... in order, and
/// then the chains' sums in order. A block of 256 threads calls it. It returns true to the threads that get a vector's
/// sum; `at` is that vector's index.
__device__ __forceinline__ bool sum_parts_at(float4& s, int& at, const float4* parts, int count, int part) {
    let_next_start();
    wait_for_previous();
    const auto add = [&](const float4& v) { s = make_float4(s.x + v.x, s.y + v.y, s.z + v.z, s.w + v.w); };
    s = make_float4(0, 0, 0, 0);
    if (count <= kFewParts) {  // A chain has at most one part.
        at = blockIdx.x * 256 + threadIdx.x;
        float4 of[kFewParts];
#pragma unroll
        for (int p = 0; p < kFewParts; ++p) of[p] = parts[static_cast<long long>(min(p, count - 1)) * part + at];
#pragma unroll
        for (int p = 0; p < kFewParts; ++p)
            if (p < count) add(of[p]);
        return true;
    }
    __shared__ float4 chains[8][32];
    const int chain = threadIdx.x / 32;
    at = blockIdx.x * 32 + threadIdx.x % 32;
#pragma unroll 4
    for (int p = chain; p < count; p += 8) add(parts[static_cast<long long>(p) * part + at]);
    chains[chain][threadIdx.x % 32] = s;
    __syncthreads();
    if (chain) return false;
#pragma unroll
    for (int c = 1; c < 8; ++c) add(chains[c][threadIdx.x]);
    return true;
}
