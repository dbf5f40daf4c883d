// Rows in the registers of a team of threads. Step i is the elements 64 i to 64 i + 63, one for each lane of a
// reduction. A thread has kWidth elements of a step, in groups of `access` contiguous ones. A team of several warps
// divides the row into as many parts, and the lanes of a sum are passed from warp to warp, so that each lane is added
// in order.
#pragma once

#include "cuda/wide.cuh"

namespace tenon::cuda {

/// With `numbered` the barriers of a block's teams, four at most, have constant numbers. Where a number is in a
/// register, the compiler reserves all 16 barriers for a block, and then a multiprocessor has no more than four blocks.
template <int team, int access, bool numbered = false>
struct RowTeam {
    static constexpr int kWarps = team > 32 ? team / 32 : 1, kThreads = team / kWarps;  // kThreads share a step
    static constexpr int kWidth = 64 / kThreads;  // a thread's elements of a step
    static_assert(kWidth % access == 0);

    /// The position of the thread's element j in a step, which is its lane.
    static __forceinline__ int at(int thread, int j) {
        return j / access * (kThreads * access) + thread * access + j % access;
    }

    /// Loads step `first + step` of a row. `step` is known at compile time, so that an address is one register of the
    /// thread and a constant. Elements from `columns` on become T().
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

    /// Synchronizes the warps of the team.
    static __forceinline__ void sync() {
        const int own = static_cast<int>(threadIdx.x) / team;
        if constexpr (!numbered) {
            asm volatile("bar.sync %0, %1;" ::"r"(1 + own), "n"(team) : "memory");
        } else {
            const int number = __shfl_sync(~0u, own, 0);  // lets the compiler know that a warp takes one branch
            if (number == 0)
                asm volatile("bar.sync 1, %0;" ::"n"(team) : "memory");
            else if (number == 1)
                asm volatile("bar.sync 2, %0;" ::"n"(team) : "memory");
            else if (number == 2)
                asm volatile("bar.sync 3, %0;" ::"n"(team) : "memory");
            else
                asm volatile("bar.sync 4, %0;" ::"n"(team) : "memory");
        }
    }

    /// Joins the lanes in the fixed tree: lane l with l + 32, then with l + 16, and so on. Each of the kThreads threads
    /// gets the result, because operations give the same bits with their operands exchanged.
    template <Reduction op, class A>
    static __forceinline__ A join(A (&a)[kWidth]) {
        if constexpr (kThreads == 32 && access == 2) {  // A thread keeps one of its two values: fewer exchanges.
            const bool upper = threadIdx.x % 32 >= 16;
            A own = upper ? a[1] : a[0];
            own = combine<op>(own, shuffle_xor(upper ? a[0] : a[1], 16));
#pragma unroll
            for (int bits = 8; bits > 0; bits /= 2) own = combine<op>(own, shuffle_xor(own, bits));
            return combine<op>(own, shuffle_xor(own, 16));
        }
        constexpr int kRun = kThreads * access;  // lanes from one of a thread's groups to the next
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
    /// Joins the lanes of all warps of the team, for an operation whose order is free.
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

/// The extremes of two pairs of 16-bit floating numbers, element by element, with NaN as `combine` treats it.
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

/// Loads a pack by its 32-bit address in shared memory. From a pointer the compiler would compute the address every
/// time.
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
/// Stores a pack of 4, 8 or 16 bytes by its 32-bit address in shared memory.
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

/// Two contiguous elements. 16-bit floating numbers are held as one word.
template <DType D>
struct Twins {
    std::conditional_t<kHalfWidth<D>, unsigned, Pack<Stored<D>, 2>> both{};

    /// Loads them from shared memory.
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

/// Writes the words of a step to their place among those of several steps.
template <DType D, int n, int access, int groups>
__forceinline__ void unpack(Twins<D> (&to)[n], int step, const Pack<Stored<D>, access> (&from)[groups]) {
#pragma unroll
    for (int g = 0; g < groups; ++g) {
        const auto words = __builtin_bit_cast(Pack<unsigned, access / 2>, from[g]);
#pragma unroll
        for (int i = 0; i < access / 2; ++i) to[(step * groups + g) * (access / 2) + i].both = words.at[i];
    }
}
/// For each of a thread's `width` elements of a step, the extreme over the steps of a row. Two elements are computed at
/// a time.
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

/// Whether exp(x - maximum) can take the form for usual operands (wide.cuh) for all these x, none of which is above the
/// maximum. False if an x or the maximum is NaN.
template <DType D, int n>
__forceinline__ bool is_usual_below(const Twins<D> (&x)[n], float maximum) {
    constexpr int kChains = n < 4 ? n : 4;  // independent minima, so that few operations wait for each other
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
