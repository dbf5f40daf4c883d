// The tape's instructions on the device, and what else printed kernels use. The scalar functions are compiled from the
// same sources as the host's (src/tape), so host and device give the same bits.
#pragma once

#include "tape/combine.h"
#include "tape/convert.h"
#include "tape/operations.h"

namespace tenon::cuda {

using namespace tenon::tape;
using namespace tenon::tape::baseline;

// On compute capability 9.0 a kernel may start while the previous one ends (Launch::overlaps_previous).

/// Waits until all previous kernels are done. A kernel calls it before it accesses memory that they read or write.
__forceinline__ void wait_for_turn() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets the next kernel's blocks start wherever there is room; without it they start when this kernel's blocks end. Not
/// every kernel calls it, because blocks that start early are spread unevenly over the multiprocessors: softmax of
/// 4,096 bfloat16 columns took 7 % longer with it.
__forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// One instruction on one element. Operands and results have the type in which memory holds them, so every result is
/// rounded to its dtype.
template <Opcode op, DType D>
__forceinline__ auto apply(Stored<D> x) {
    if constexpr (op == Opcode::sin) {
        return Element<D>::store(baseline::sin(Element<D>::load(x)));
    } else if constexpr (op == Opcode::cos) {
        return Element<D>::store(baseline::cos(Element<D>::load(x)));
    } else {
        const auto y = unary<op>(Element<D>::load(x));
        if constexpr (std::is_same_v<decltype(unary<op>(Value<D>{})), bool>)
            return Element<DType::boolean>::store(y);
        else
            return Element<D>::store(y);
    }
}
template <Opcode op, DType D>
__forceinline__ auto apply(Stored<D> a, Stored<D> b) {
    if constexpr (op == Opcode::nextafter) {
        using U = std::make_unsigned_t<std::conditional_t<sizeof(Stored<D>) == 2, short,
                                                          std::conditional_t<sizeof(Stored<D>) == 4, int, long long>>>;
        constexpr U kInf = D == DType::float16    ? static_cast<U>(0x7c00u)
                           : D == DType::bfloat16 ? static_cast<U>(0x7f80u)
                           : D == DType::float32  ? static_cast<U>(Real<float>::kInfinity)
                                                  : static_cast<U>(Real<double>::kInfinity);
        return __builtin_bit_cast(Stored<D>, next_after<U>(__builtin_bit_cast(U, a), __builtin_bit_cast(U, b), kInf));
    } else {
        const auto y = binary<op>(Element<D>::load(a), Element<D>::load(b));
        if constexpr (std::is_same_v<decltype(binary<op>(Value<D>{}, Value<D>{})), bool>)
            return Element<DType::boolean>::store(y);
        else
            return Element<D>::store(y);
    }
}
template <DType D>
__forceinline__ Stored<D> select(unsigned char condition, Stored<D> a, Stored<D> b) {
    return condition != 0 ? a : b;
}
template <DType D>
__forceinline__ Stored<D> fused(Stored<D> a, Stored<D> b, Stored<D> c) {
    return Element<D>::store(baseline::fma(Element<D>::load(a), Element<D>::load(b), Element<D>::load(c)));
}

/// `n` adjacent elements.
template <class T, int n>
struct Pack {
    T at[n];
};

/// The type by which so many bytes are loaded or stored in one access; 16 at most.
template <int bytes>
struct Word;
template <>
struct Word<1> {
    using Type = unsigned char;
};
template <>
struct Word<2> {
    using Type = unsigned short;
};
template <>
struct Word<4> {
    using Type = unsigned;
};
template <>
struct Word<8> {
    using Type = uint2;
};
template <>
struct Word<16> {
    using Type = uint4;
};

/// The size in bytes of the words in which a pack is loaded and stored.
template <class T, int n>
inline constexpr int kWordBytes = sizeof(T) * n < 16 ? sizeof(T) * n : 16;
/// A pack whose word i is word(i).
template <class T, int n, class F>
__forceinline__ Pack<T, n> pack_of(F word) {
    constexpr int kWords = sizeof(T) * n / kWordBytes<T, n>;
    union {
        typename Word<kWordBytes<T, n>>::Type words[kWords];
        Pack<T, n> pack;
    } u;
#pragma unroll
    for (int i = 0; i < kWords; ++i) u.words[i] = word(i);
    return u.pack;
}
template <class T, int n>
__forceinline__ Pack<T, n> load_pack(const T* from) {
    return pack_of<T, n>(
        [&](int i) { return reinterpret_cast<const typename Word<kWordBytes<T, n>>::Type*>(from)[i]; });
}
template <class T, int n>
__forceinline__ void store_pack(T* to, const Pack<T, n>& pack) {
    constexpr int kBytes = sizeof(T) * n, kPiece = kBytes < 16 ? kBytes : 16, kPieces = kBytes / kPiece;
    using W = typename Word<kPiece>::Type;
    union {
        W words[kPieces];
        Pack<T, n> pack;
    } u;
    u.pack = pack;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) reinterpret_cast<W*>(to)[i] = u.words[i];
}
/// Loads the first `valid` elements of a pack; memory may end behind them.
template <class T, int n>
__forceinline__ Pack<T, n> load_pack(const T* from, int valid) {
    if (valid >= n) return load_pack<T, n>(from);
    Pack<T, n> pack;
#pragma unroll
    for (int i = 0; i < n; ++i) pack.at[i] = i < valid ? from[i] : T();
    return pack;
}
template <class T, int n>
__forceinline__ void store_pack(T* to, const Pack<T, n>& pack, int valid) {
    if (valid >= n) return store_pack(to, pack);
#pragma unroll
    for (int i = 0; i < n; ++i)
        if (i < valid) to[i] = pack.at[i];
}
/// Loads elements that are `stride` apart, in elements. A stride of 0 repeats one.
template <class T, int n>
__forceinline__ Pack<T, n> load_strided(const T* from, long long stride, int valid) {
    Pack<T, n> pack;
#pragma unroll
    for (int i = 0; i < n; ++i) pack.at[i] = i < valid ? from[i * stride] : T();
    return pack;
}
template <class T, int n>
__forceinline__ Pack<T, n> load_repeated(const T* from) {
    const T x = *from;
    Pack<T, n> pack;
#pragma unroll
    for (int i = 0; i < n; ++i) pack.at[i] = x;
    return pack;
}
template <class T, int n>
__forceinline__ void store_strided(T* to, long long stride, const Pack<T, n>& pack, int valid) {
#pragma unroll
    for (int i = 0; i < n; ++i)
        if (i < valid) to[i * stride] = pack.at[i];
}

/// Exchanges a value of up to 8 bytes by `shuffle`, which takes and returns an integer of 4 or 8 bytes.
template <class T, class F>
__forceinline__ T shuffled(T x, F shuffle) {
    if constexpr (sizeof(T) == 8)
        return __builtin_bit_cast(T, shuffle(__builtin_bit_cast(unsigned long long, x)));
    else if constexpr (sizeof(T) == 4)
        return __builtin_bit_cast(T, shuffle(__builtin_bit_cast(unsigned, x)));
    else
        return static_cast<T>(shuffle(static_cast<int>(x)));
}
/// The value that the warp's thread `lane + offset` has.
template <class T>
__forceinline__ T shuffle_down(T x, int offset) {
    return shuffled(x, [&](auto v) { return __shfl_down_sync(0xffffffffu, v, offset); });
}
/// The value that the warp's thread `lane - offset` has, or the thread's own value where there is no such thread.
template <class T>
__forceinline__ T shuffle_up(T x, int offset) {
    return shuffled(x, [&](auto v) { return __shfl_up_sync(0xffffffffu, v, offset); });
}
/// The value that the warp's thread `lane ^ bits` has.
template <class T>
__forceinline__ T shuffle_xor(T x, int bits) {
    return shuffled(x, [&](auto v) { return __shfl_xor_sync(0xffffffffu, v, bits); });
}

/// Joins the 64 lanes of a reduction in the fixed tree: lane l with lane l + 32, then with l + 16, and so on. Thread l
/// of the warp holds lanes l and l + 32. Thread 0 gets the result.
template <Reduction op, class A>
__forceinline__ A join_lanes(A low, A high) {
    A a = combine<op>(low, high);
#pragma unroll
    for (int half = 16; half > 0; half /= 2) a = combine<op>(a, shuffle_down(a, half));
    return a;
}

/// Joins the results of a line's n chunks, which are `stride` elements apart in memory, in order, or in any order where
/// that gives the same bits. All threads of the block call it, and thread 0 gets the result.
template <Reduction op, bool in_order, int threads, class A>
__forceinline__ A join_line(const A* x, long long n, long long stride) {
    constexpr int kTile = 1024;
    static_assert(threads <= kTile);
    __shared__ A tile[kTile];
    const int thread = threadIdx.x;
    A all = neutral<op, A>();
    for (long long first = 0; first < n; first += kTile) {
        const int count = static_cast<int>(n - first < kTile ? n - first : kTile);
        for (int i = thread; i < count; i += threads) tile[i] = x[(first + i) * stride];
        __syncthreads();
        if constexpr (in_order) {
            if (thread == 0) {
                constexpr int kAtOnce = 16;  // loads that are issued together, so that they do not wait for the sum
                int i = 0;
                if (first == 0) all = tile[i++];
                for (; i + kAtOnce <= count; i += kAtOnce) {
                    A next[kAtOnce];
#pragma unroll
                    for (int j = 0; j < kAtOnce; ++j) next[j] = tile[i + j];
#pragma unroll
                    for (int j = 0; j < kAtOnce; ++j) all = combine<op>(all, next[j]);
                }
                for (; i < count; ++i) all = combine<op>(all, tile[i]);
            }
        } else {
            for (int i = thread; i < count; i += threads) all = combine<op>(all, tile[i]);
        }
        __syncthreads();
    }
    if constexpr (!in_order) {
        tile[thread] = all;
        for (int half = threads / 2; half > 0; half /= 2) {
            __syncthreads();
            if (thread < half) tile[thread] = combine<op>(tile[thread], tile[thread + half]);
        }
        if (thread == 0) all = tile[0];
        __syncthreads();
    }
    return all;
}

inline constexpr int kLanes = 64;
inline constexpr int kChunk = 16384;  // kReduceChunk of the host

}  // namespace tenon::cuda
