// Rows in the registers of a team of threads. Step i is the 64 elements from 64 i on, one for each lane of a reduction;
// a thread has kWidth of them, in groups of kAccess contiguous ones. A team of several warps cuts the row into as many
// parts: the chain of a lane goes from warp to warp.
#pragma once

#include "cuda/wide.cuh"

namespace tenon::cuda {

template <int team, int access>
struct RowTeam {
    static constexpr int kWarps = team > 32 ? team / 32 : 1, kThreads = team / kWarps;  // of a step
    static constexpr int kWidth = 64 / kThreads;  // elements of a step, a thread
    static_assert(kWidth % access == 0);

    /// The position of the thread's element j in a step, which is its lane.
    static __forceinline__ int at(int thread, int j) {
        return j / access * (kThreads * access) + thread * access + j % access;
    }

    /// Step `first + step` of a row, of which the compiler knows `step`: addresses are the thread's and a constant.
    /// Elements from `columns` on become T().
    template <bool all, class T>
    static __forceinline__ void load(Pack<T, access> (&to)[kWidth / access], const T* row, int first, int step,
                                     int thread, long long columns) {
        const int own = first * 64 + at(thread, 0);
        row += own;
#pragma unroll
        for (int g = 0; g < kWidth / access; ++g) {
            const int e = step * 64 + at(0, g * access);
            if (all || own + e + access <= columns)
                to[g] = load_pack<T, access>(row + e);
            else
                to[g] = load_pack<T, access>(row + e, static_cast<int>(columns - own - e));
        }
    }
    template <bool all, class T>
    static __forceinline__ void load(Pack<T, access> (&to)[kWidth / access], const T* row, int first, int step,
                                     int thread, long long columns, long long stride) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
            const int e = (first + step) * 64 + at(thread, j);
            to[j / access].at[j % access] = all || e < columns ? row[e * stride] : T();
        }
    }
    template <bool all, class T>
    static __forceinline__ void store(const Pack<T, access> (&from)[kWidth / access], T* row, int first, int step,
                                      int thread, long long columns) {
        const int own = first * 64 + at(thread, 0);
        row += own;
#pragma unroll
        for (int g = 0; g < kWidth / access; ++g) {
            const int e = step * 64 + at(0, g * access);
            if (all || own + e + access <= columns)
                store_pack<T, access>(row + e, from[g]);
            else
                store_pack<T, access>(row + e, from[g], static_cast<int>(columns - own - e));
        }
    }
    template <bool all, class T>
    static __forceinline__ void store(const Pack<T, access> (&from)[kWidth / access], T* row, int first, int step,
                                      int thread, long long columns, long long stride) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
            const int e = (first + step) * 64 + at(thread, j);
            if (all || e < columns) row[e * stride] = from[j / access].at[j % access];
        }
    }

    /// Waits for the warps of the team.
    static __forceinline__ void sync() {
        asm volatile("bar.sync %0, %1;" ::"r"(1 + static_cast<int>(threadIdx.x) / team), "n"(team) : "memory");
    }

    /// Combines the lanes in the fixed tree, l with l + 32, then with l + 16, ...; every thread of the warp's part of
    /// the team gets the result. Operations give the same bits with their operands exchanged.
    template <Reduction op, class A>
    static __forceinline__ A join(A (&a)[kWidth]) {
        if constexpr (kThreads == 32 && access == 2) {  // a thread keeps one of two values: fewer exchanges
            const bool upper = threadIdx.x % 32 >= 16;
            A own = upper ? a[1] : a[0];
            own = combine<op>(own, shuffle_xor(upper ? a[0] : a[1], 16));
#pragma unroll
            for (int bits = 8; bits > 0; bits /= 2) own = combine<op>(own, shuffle_xor(own, bits));
            return combine<op>(own, shuffle_xor(own, 16));
        }
        constexpr int kRun = kThreads * access;  // lanes from one access to the next
#pragma unroll
        for (int half = 32; half > 0; half /= 2) {
            if (half >= kRun) {
                const int apart = half / kRun * access;
#pragma unroll
                for (int j = 0; j < apart; ++j) a[j] = combine<op>(a[j], a[j + apart]);
            } else if (half >= access) {
#pragma unroll
                for (int j = 0; j < access; ++j) a[j] = combine<op>(a[j], shuffle_xor(a[j], half / access));
            } else {
#pragma unroll
                for (int j = 0; j < half; ++j) a[j] = combine<op>(a[j], a[j + half]);
            }
        }
        return a[0];
    }
    /// The same over the warps of the team, for an operation whose order is free.
    template <Reduction op, class A>
    static __forceinline__ A join_warps(A (&a)[kWidth], A (&parts)[kWarps], int warp) {
        const A own = join<op>(a);
        if (threadIdx.x % 32 == 0) parts[warp] = own;
        sync();
        A all = parts[0];
#pragma unroll
        for (int i = 1; i < kWarps; ++i) all = combine<op>(all, parts[i]);
        return all;
    }
};

/// The extremes of two pairs of 16-bit floating numbers, of the first and of the second: as `combine` has them.
template <Reduction op, DType D>
__forceinline__ unsigned extremes(unsigned a, unsigned b) {
    static_assert(kHalfWidth<D> && (op == Reduction::max || op == Reduction::min));
    unsigned x;
    if constexpr (D == DType::bfloat16 && op == Reduction::max)
        asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(x) : "r"(a), "r"(b));
    else if constexpr (D == DType::bfloat16)
        asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(x) : "r"(a), "r"(b));
    else if constexpr (op == Reduction::max)
        asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(x) : "r"(a), "r"(b));
    else
        asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(x) : "r"(a), "r"(b));
    return x;
}

/// A pack of shared memory, by its address there: from a pointer the compiler would compute it every time.
template <class T, int n>
__forceinline__ Pack<T, n> load_shared(unsigned from) {
    constexpr int kBytes = kWordBytes<T, n>;
    return pack_of<T, n>([&](int i) {
        typename Word<kBytes>::Type w;
        const unsigned at = from + 16 * i;
        if constexpr (kBytes == 16)
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
                         : "r"(at));
        else if constexpr (kBytes == 8)
            asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(w.x), "=r"(w.y) : "r"(at));
        else if constexpr (kBytes == 4)
            asm volatile("ld.shared.u32 %0, [%1];" : "=r"(w) : "r"(at));
        else if constexpr (kBytes == 2)
            asm volatile("ld.shared.u16 %0, [%1];" : "=h"(w) : "r"(at));
        else {
            unsigned wide;
            asm volatile("ld.shared.u8 %0, [%1];" : "=r"(wide) : "r"(at));
            w = static_cast<unsigned char>(wide);
        }
        return w;
    });
}
/// Of 4, 8 or 16 bytes.
template <class T, int n>
__forceinline__ void store_shared(unsigned to, const Pack<T, n>& pack) {
    constexpr int kBytes = sizeof(T) * n;
    static_assert(kBytes == 16 || kBytes == 8 || kBytes == 4);
    const auto w = __builtin_bit_cast(typename Word<kBytes>::Type, pack);
    if constexpr (kBytes == 16)
        asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w)
                     : "memory");
    else if constexpr (kBytes == 8)
        asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(to), "r"(w.x), "r"(w.y) : "memory");
    else
        asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(w) : "memory");
}

/// Two contiguous elements; 16-bit floating numbers as one word.
template <DType D>
struct Twins {
    std::conditional_t<kHalfWidth<D>, unsigned, Pack<Stored<D>, 2>> both{};

    /// From shared memory.
    __forceinline__ void load(unsigned from) {
        if constexpr (kHalfWidth<D>)
            both = load_shared<unsigned, 1>(from).at[0];
        else
            both = load_shared<Stored<D>, 2>(from);
    }
    __forceinline__ Wide<D> at(int j) const {
        if constexpr (D == DType::bfloat16)
            return from_bits(j == 0 ? both << 16 : both & 0xffff0000u);
        else if constexpr (kHalfWidth<D>)
            return widen<D>(static_cast<Stored<D>>(both >> 16 * j));
        else
            return widen<D>(both.at[j]);
    }
};

/// The words of a step, at their place among those of many.
template <DType D, int n, int access, int groups>
__forceinline__ void unpack(Twins<D> (&to)[n], int step, const Pack<Stored<D>, access> (&from)[groups]) {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
        const auto words = __builtin_bit_cast(Pack<unsigned, access / 2>, from[g]);
#pragma unroll
        for (int i = 0; i < access / 2; ++i) to[(step * groups + g) * (access / 2) + i].both = words.at[i];
    }
}
/// The extremes of the steps of a row, for each of a step's `width` elements; computed two elements at a time.
template <Reduction op, DType D, int width, int steps, int access, int groups>
__forceinline__ void extremes_of(float (&a)[width], const Pack<Stored<D>, access> (&x)[steps][groups]) {
    static_assert(width == access * groups);
    Twins<D> all[width / 2];
    unpack(all, 0, x[0]);
#pragma unroll
    for (int i = 1; i < steps; ++i) {
        Twins<D> step[width / 2];
        unpack(step, 0, x[i]);
#pragma unroll
        for (int w = 0; w < width / 2; ++w) all[w].both = extremes<op, D>(all[w].both, step[w].both);
    }
#pragma unroll
    for (int w = 0; w < width / 2; ++w) a[2 * w] = all[w].at(0), a[2 * w + 1] = all[w].at(1);
}

/// Whether exp(x - maximum) has the usual form (wide.cuh) for all these x, none of which is above the maximum. False if
/// an x or the maximum is NaN.
template <DType D, int n>
__forceinline__ bool is_usual_below(const Twins<D> (&x)[n], float maximum) {
    constexpr int kChains = n < 4 ? n : 4;  // so that few operations depend on each other
    Twins<D> least[kChains];
#pragma unroll
    for (int i = 0; i < n; ++i)
        least[i % kChains].both =
            i < kChains ? x[i].both : extremes<Reduction::min, D>(least[i % kChains].both, x[i].both);
#pragma unroll
    for (int i = 1; i < kChains; ++i) least[0].both = extremes<Reduction::min, D>(least[0].both, least[i].both);
    return combine<Reduction::min>(least[0].at(0), least[0].at(1)) - maximum > -Real<float>::kExpNormal;
}

}  // namespace tenon::cuda
