// The tape's instructions on the device: the scalar sources of src/tape, so that host and device give the same bits,
// and what printed kernels need around them.
#pragma once

#include "tape/combine.h"
#include "tape/convert.h"
#include "tape/operations.h"

namespace tenon::cuda {

using namespace tenon::tape;
using namespace tenon::tape::baseline;

// Kernels that may start while the one before ends (Launch::overlaps_previous), on compute capability 9.0.

/// Before a kernel reads or writes what others do: until all before it are done.
__forceinline__ void wait_for_turn() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// From here on the next kernel's blocks may take what room there is; else as blocks of this one end. Early ones take
/// places unevenly, and softmax of 4,096 bfloat16 columns took 7 % longer.
__forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// One element through one instruction, from and to what memory holds: every result is rounded to its dtype.
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

/// `n` elements side by side.
template <class T, int n>
struct Pack {
    T at[n];
};

/// The largest piece of memory that one access moves: 16 bytes at most.
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

/// How a pack is moved: words of that many bytes.
template <class T, int n>
inline constexpr int kWordBytes = sizeof(T) * n < 16 ? sizeof(T) * n : 16;
/// A pack of the words that `word` gives, by number.
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
/// The first `valid` of a pack that memory may end in.
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
/// Elements `stride` apart; 0 repeats one.
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

/// A value of a warp's thread `lane + offset`.
template <class T>
__forceinline__ T shuffle_down(T x, int offset) {
    if constexpr (sizeof(T) == 8) {
        return __builtin_bit_cast(T, __shfl_down_sync(0xffffffffu, __builtin_bit_cast(unsigned long long, x), offset));
    } else if constexpr (sizeof(T) == 4) {
        return __builtin_bit_cast(T, __shfl_down_sync(0xffffffffu, __builtin_bit_cast(unsigned, x), offset));
    } else {
        return static_cast<T>(__shfl_down_sync(0xffffffffu, static_cast<int>(x), offset));
    }
}
/// A value of the warp's thread whose number differs in these bits.
template <class T>
__forceinline__ T shuffle_xor(T x, int bits) {
    if constexpr (sizeof(T) == 8) {
        return __builtin_bit_cast(T, __shfl_xor_sync(0xffffffffu, __builtin_bit_cast(unsigned long long, x), bits));
    } else if constexpr (sizeof(T) == 4) {
        return __builtin_bit_cast(T, __shfl_xor_sync(0xffffffffu, __builtin_bit_cast(unsigned, x), bits));
    } else {
        return static_cast<T>(__shfl_xor_sync(0xffffffffu, static_cast<int>(x), bits));
    }
}

/// The 64 virtual lanes of a reduction join in the fixed tree: l with l + 32, then l + 16, ... A thread of the warp
/// holds lanes l and l + 32; thread 0 gets the result.
template <Reduction op, class A>
__forceinline__ A join_lanes(A low, A high) {
    A a = combine<op>(low, high);
#pragma unroll
    for (int half = 16; half > 0; half /= 2) a = combine<op>(a, shuffle_down(a, half));
    return a;
}

inline constexpr int kLanes = 64;
inline constexpr int kChunk = 16384;  // kReduceChunk

}  // namespace tenon::cuda
