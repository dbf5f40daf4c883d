// Indices of extremes: tape::argreduce on the device.
#include "cuda/reduction.cuh"

/// Whether element (a, i) wins over element (b, j). The first of equal elements wins, and the first NaN wins over all
/// numbers. This is a total order, so any tree gives the same result.
__forceinline__ bool beats(A a, long long i, A b, long long j) {
    const bool a_nan = a != a, b_nan = b != b;
    if (a_nan || b_nan) return a_nan && (!b_nan || i < j);
    if (a == b) return i < j;
    return kOp == Reduction::max ? a > b : a < b;
}

struct Extreme {
    A value;
    long long index;
};
__forceinline__ void take(Extreme& best, A value, long long index) {
    if (beats(value, index, best.value, best.index)) best = {value, index};
}
/// The extreme of the warp's elements, in thread 0.
__forceinline__ Extreme best_of_warp(Extreme best) {
    for (int half = 16; half > 0; half /= 2) take(best, shuffle_down(best.value, half), shuffle_down(best.index, half));
    return best;
}

#ifdef TENON_ARG_EXTREME
/// The extreme of the elements of a chunk that a thread has met so far.
struct Met {
    A value;
    int index;
    /// Takes an element that comes after all that were met, so an equal one does not win.
    __forceinline__ void take(S element, int i) {
        const A v = baseline::load<kType>(element);
        const bool wins = kOp == Reduction::max ? v > value : v < value;
        if (wins || (v != v && value == value)) value = v, index = i;
    }
};
/// Takes n adjacent elements, of which the first is at a multiple of 16 bytes.
__forceinline__ void meet_adjacent(Met& best, const S* x, int n, int lane) {
    constexpr int kWide = 16 / sizeof(S), kStep = 32 * kWide, kAtOnce = 4;
    using Wide = Pack<S, kWide>;
    const auto take = [&](const Wide& pack, int i) {
#pragma unroll
        for (int j = 0; j < kWide; ++j) best.take(pack.at[j], i + j);
    };
    int i = lane * kWide;
    for (; i + (kAtOnce - 1) * kStep + kWide <= n; i += kAtOnce * kStep) {
        Wide packs[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) packs[k] = load_pack<S, kWide>(x + i + k * kStep);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) take(packs[k], i + k * kStep);
    }
    for (; i + kWide <= n; i += kStep) take(load_pack<S, kWide>(x + i), i);
    if (const int rest = n / kWide * kWide + lane; rest < n) best.take(x[rest], rest);
}

/// A warp takes a chunk of `p.chunk` elements of one result.
extern "C" __global__ void __launch_bounds__(256) arg_extreme(const __grid_constant__ Problem p) {
    wait_for_turn();
    const long long item = blockIdx.x * (blockDim.x / 32ll) + threadIdx.x / 32;
    if (item >= p.outputs * p.chunks) return;
    const long long o = item / p.chunks, begin = item % p.chunks * p.chunk;
    const int n = static_cast<int>(p.length - begin < p.chunk ? p.length - begin : p.chunk), lane = threadIdx.x % 32;
    const Place at = place_of(p, o);
    const S* x = p.in + at.in;
    const auto element = [&](int i) { return x[offset_of(p, begin + i)]; };
    Met met{baseline::load<kType>(element(0)), 0};
    const bool adjacent =
        p.reduced_count == 1 && p.reduced[0].in == 1 && reinterpret_cast<unsigned long long>(x + begin) % 16 == 0;
    if (adjacent) {
        meet_adjacent(met, x + begin, n, lane);
    } else {
        constexpr int kAtOnce = 8;
        int i = lane;
        for (; i + 32 * (kAtOnce - 1) < n; i += 32 * kAtOnce) {
            S elements[kAtOnce];
#pragma unroll
            for (int j = 0; j < kAtOnce; ++j) elements[j] = element(i + 32 * j);
#pragma unroll
            for (int j = 0; j < kAtOnce; ++j) met.take(elements[j], i + 32 * j);
        }
        for (; i < n; i += 32) met.take(element(i), i);
    }
    const Extreme best = best_of_warp({met.value, begin + met.index});
    if (lane > 0) return;
    if (p.chunks == 1)
        static_cast<long long*>(p.out)[at.out] = best.index;
    else
        p.partial[item] = best.value, p.places[item] = best.index;
}
#endif

#ifdef TENON_JOIN_EXTREMES
/// A block joins the chunks of one result.
constexpr int kThreads = 1024;
extern "C" __global__ void __launch_bounds__(kThreads) join_extremes(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ Extreme warps[kThreads / 32];
    const long long o = blockIdx.x, first = o * p.chunks;
    const int thread = threadIdx.x;
    const long long own = first + (thread < p.chunks ? thread : 0);
    Extreme best{p.partial[own], p.places[own]};
#pragma unroll 4
    for (long long c = thread + kThreads; c < p.chunks; c += kThreads)
        take(best, p.partial[first + c], p.places[first + c]);
    best = best_of_warp(best);
    if (thread % 32 == 0) warps[thread / 32] = best;
    __syncthreads();
    if (thread >= 32) return;
    best = best_of_warp(warps[thread]);
    if (thread == 0) static_cast<long long*>(p.out)[place_of(p, o).out] = best.index;
}
#endif
