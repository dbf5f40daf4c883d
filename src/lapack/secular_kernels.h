// The loops of the secular equation, part of kernels_isa.cpp. Everything is in an unnamed namespace: see simd.h.
#pragma once

#include "lapack/kernels.h"
#include "product/dense/simd.h"

namespace tenon::lapack {
namespace {

/// Adds lanes in halves, for four sums at once.
template <class T, int R>
TENON_INLINE void add_lanes(const typename product::dense::Vector<T>::Reg (&sums)[4][R], T* to) {
    using Vec = product::dense::Vector<T>;
    typedef T Half __attribute__((vector_size(32)));
    typedef T Quarter __attribute__((vector_size(16)));
    for (int s = 0; s < 4; ++s) {
        alignas(64) T lanes[kLanes<T>];
        for (int r = 0; r < R; ++r) Vec::store(lanes + r * Vec::kLanes, sums[s][r]);
        Half halves[2];
        __builtin_memcpy(halves, lanes, sizeof(lanes));
        const Half half = halves[0] + halves[1];
        Quarter quarters[2];
        __builtin_memcpy(quarters, &half, sizeof(half));
        const Quarter quarter = quarters[0] + quarters[1];
        if constexpr (sizeof(T) == 4)
            to[s] = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
        else
            to[s] = quarter[0] + quarter[1];
    }
}

template <class T, bool kSquares>
void sum_poles(const PolesAt<T>& at, PoleSums<T>& sums) {
    using Vec = product::dense::Vector<T>;
    using Reg = typename Vec::Reg;
    constexpr int R = kLanes<T> / Vec::kLanes;
    const Reg origin = Vec::broadcast(at.origin), tau = Vec::broadcast(at.tau);
    Reg all[4][R] = {};  // value and slope of the poles below, value and slope of the others
    const auto add = [&](int first, int r, Reg z, Reg quotient) __attribute__((always_inline)) {
        all[first][r] = Vec::fma(z, quotient, all[first][r]);
        all[first + 1][r] = Vec::fma(quotient, quotient, all[first + 1][r]);
    };
    for (std::int64_t i = 0; i < at.n; i += kLanes<T>)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            const std::int64_t j = i + r * Vec::kLanes, left = at.n - j;
            const Reg d = Vec::load(at.d + j), z = Vec::load(at.z + j), minus = (d - origin) - tau;
            const auto mask = Vec::first(left > 0 ? left : 0);
            Reg difference = minus;
            if constexpr (kSquares) {
                const Reg plus = (d + origin) + tau;
                Vec::store(at.plus + j, plus, mask);
                difference = minus * plus;
            }
            Vec::store(at.minus + j, minus, mask);
            const Reg quotient = z / difference;
            if (j + Vec::kLanes <= at.split) {
                add(0, r, z, quotient);
            } else if (j >= at.split) {
                add(2, r, z, quotient);
            } else {
                alignas(64) T memory[Vec::kLanes];
                Vec::store(memory, quotient);
                const Reg below = Vec::load(memory, Vec::first(at.split - j));
                add(0, r, z, below), add(2, r, z, quotient - below);
            }
        }
    T total[4];
    add_lanes<T, R>(all, total);
    sums = {total[0], total[1], total[2], total[3]};
}

/// The loop over vectors of n elements: f(i, mask).
template <class T, class F>
TENON_INLINE void for_vectors(std::int64_t n, F f) {
    using Vec = product::dense::Vector<T>;
    for (std::int64_t i = 0; i < n; i += Vec::kLanes) f(i, Vec::first(n - i));
}

template <class T>
void multiply_ratios(std::int64_t n, const T* minus, const T* plus, const T* d, T pole, T* w) {
    using Vec = product::dense::Vector<T>;
    const auto p = Vec::broadcast(pole);
    for_vectors<T>(n, [&](std::int64_t i, typename Vec::Mask mask) {
        const auto x = Vec::load(d + i, mask);
        auto above = Vec::load(minus + i, mask), below = x - p;
        if (plus) above *= Vec::load(plus + i, mask), below *= x + p;
        Vec::store(w + i, Vec::load(w + i, mask) * (above / below), mask);
    });
}

template <class T>
void divide_by_poles(std::int64_t n, const T* w, const T* minus, const T* plus, T* x) {
    using Vec = product::dense::Vector<T>;
    for_vectors<T>(n, [&](std::int64_t i, typename Vec::Mask mask) {
        auto below = Vec::load(minus + i, mask);
        if (plus) below *= Vec::load(plus + i, mask);
        Vec::store(x + i, Vec::load(w + i, mask) / below, mask);
    });
}

}  // namespace
}  // namespace tenon::lapack
