// The arithmetic of several matrices at once, one in each lane of a vector, and of a single one. Factorizations are
// written once for both: elements of a matrix are only combined with elements of the same matrix, so its bits depend
// neither on the number of lanes nor on the other lanes. Everything is in an unnamed namespace: each *_isa.cpp object
// has its own copy.
#pragma once

#include "product/dense/simd.h"

namespace tenon::factorization {
namespace {

template <class T>
struct Limits;
template <>
struct Limits<float> {
    using Bits = std::uint32_t;
    static constexpr Bits kExponent = 0x7f800000u, kSign = 0x80000000u;
    /// Half the distance from 1 to the next number.
    static constexpr float kEpsilon = 0x1p-24f, kNormal = 0x1p-126f, kNaN = __builtin_nanf("");
    /// Squares of smaller numbers lose digits or vanish: such numbers are multiplied by kUp first.
    static constexpr float kSmall = 0x1p-50f, kUp = 0x1p60f;
    /// Anything smaller, compared with 1, counts as zero.
    static constexpr float kNothing = 0x1p-100f;
};
template <>
struct Limits<double> {
    using Bits = std::uint64_t;
    static constexpr Bits kExponent = 0x7ff0000000000000u, kSign = 0x8000000000000000u;
    static constexpr double kEpsilon = 0x1p-53, kNormal = 0x1p-1022, kNaN = __builtin_nan("");
    static constexpr double kSmall = 0x1p-450, kUp = 0x1p500;
    static constexpr double kNothing = 0x1p-900;
};

/// A matrix in each lane.
template <class T>
struct Many {
    using Element = T;
    using V = product::dense::Vector<T>;
    using Reg = typename V::Reg;
    using Mask = decltype(Reg{} < Reg{});
    typedef typename Limits<T>::Bits Bits __attribute__((vector_size(product::dense::kVectorBytes)));
    static constexpr int kLanes = V::kLanes;
#if defined(__AVX512F__)
    static constexpr int kTile = 4;
#elif defined(__AVX2__) || defined(__aarch64__)
    static constexpr int kTile = 3;
#else
    static constexpr int kTile = 2;
#endif

    TENON_INLINE static Reg load(const T* p) { return V::load(p); }
    TENON_INLINE static void store(T* p, Reg x) { V::store(p, x); }
    /// Stores to memory that is not read soon: past the caches if the CPU can. `p` is a multiple of a vector.
    TENON_INLINE static void stream(T* p, Reg x) {
#if defined(__AVX512F__)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(x));
#elif defined(__AVX2__)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(x));
#else
        V::store(p, x);
#endif
    }
    /// Ends a sequence of such stores: other threads then see them.
    TENON_INLINE static void fence() {
#if defined(__x86_64__)
        _mm_sfence();
#endif
    }
#if defined(__AVX512F__)
    /// x with the lanes of `mask` from memory; and stores only these lanes.
    TENON_INLINE static Reg insert(Reg x, unsigned mask, const T* p) {
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(
                _mm512_mask_loadu_ps(reinterpret_cast<__m512>(x), static_cast<__mmask16>(mask), p));
        else
            return reinterpret_cast<Reg>(
                _mm512_mask_loadu_pd(reinterpret_cast<__m512d>(x), static_cast<__mmask8>(mask), p));
    }
    TENON_INLINE static void extract(T* p, unsigned mask, Reg x) {
        if constexpr (sizeof(T) == 4)
            _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), reinterpret_cast<__m512>(x));
        else
            _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), reinterpret_cast<__m512d>(x));
    }
#endif
    TENON_INLINE static Reg set(T x) { return V::broadcast(x); }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) { return V::fma(x, y, z); }
    TENON_INLINE static Reg sqrt(Reg x) {
#if defined(__AVX512F__)
        // All lanes: g++ 12 reports the unmasked intrinsic's undefined operand as an uninitialised variable.
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(x)));
        else
            return reinterpret_cast<Reg>(_mm512_maskz_sqrt_pd(0xff, reinterpret_cast<__m512d>(x)));
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
        else
            return reinterpret_cast<Reg>(_mm256_sqrt_pd(reinterpret_cast<__m256d>(x)));
#else
        for (int i = 0; i < kLanes; ++i) {
            if constexpr (sizeof(T) == 4)
                x[i] = __builtin_sqrtf(x[i]);
            else
                x[i] = __builtin_sqrt(x[i]);
        }
        return x;
#endif
    }
    TENON_INLINE static Reg select(Mask m, Reg x, Reg y) { return m ? x : y; }
    TENON_INLINE static Mask both(Mask a, Mask b) { return a & b; }
    TENON_INLINE static Mask either(Mask a, Mask b) { return a | b; }
    TENON_INLINE static Mask negated(Mask a) { return ~a; }
    TENON_INLINE static Mask none() { return Mask{}; }
    TENON_INLINE static bool any(Mask m) {
#if defined(__AVX512F__)
        return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(m), reinterpret_cast<__m512i>(m)) != 0;
#elif defined(__AVX2__)
        return _mm256_testz_si256(reinterpret_cast<__m256i>(m), reinterpret_cast<__m256i>(m)) == 0;
#else
        for (int i = 0; i < kLanes; ++i)
            if (m[i]) return true;
        return false;
#endif
    }
    TENON_INLINE static Reg abs(Reg x) {
        return reinterpret_cast<Reg>(reinterpret_cast<Bits>(x) & ~(Bits{} + Limits<T>::kSign));
    }
    TENON_INLINE static Reg copysign(Reg x, Reg sign) {
        const Bits s = Bits{} + Limits<T>::kSign;
        return reinterpret_cast<Reg>((reinterpret_cast<Bits>(x) & ~s) | (reinterpret_cast<Bits>(sign) & s));
    }
    /// The power of two at or below |x|; infinite if x is not finite, 0 if it is subnormal.
    TENON_INLINE static Reg power(Reg x) {
        return reinterpret_cast<Reg>(reinterpret_cast<Bits>(x) & (Bits{} + Limits<T>::kExponent));
    }
};

/// One matrix.
template <class T>
struct One {
    using Element = T;
    using Reg = T;
    using Mask = bool;
    using Bits = typename Limits<T>::Bits;
    static constexpr int kLanes = 1, kTile = 2;

    TENON_INLINE static Reg load(const T* p) { return *p; }
    TENON_INLINE static void store(T* p, Reg x) { *p = x; }
    TENON_INLINE static Reg set(T x) { return x; }
    TENON_INLINE static Reg fma(Reg x, Reg y, Reg z) {
        if constexpr (sizeof(T) == 4)
            return __builtin_fmaf(x, y, z);
        else
            return __builtin_fma(x, y, z);
    }
    TENON_INLINE static Reg sqrt(Reg x) {
        if constexpr (sizeof(T) == 4)
            return __builtin_sqrtf(x);
        else
            return __builtin_sqrt(x);
    }
    TENON_INLINE static Reg select(Mask m, Reg x, Reg y) { return m ? x : y; }
    TENON_INLINE static Mask both(Mask a, Mask b) { return a && b; }
    TENON_INLINE static Mask either(Mask a, Mask b) { return a || b; }
    TENON_INLINE static Mask negated(Mask a) { return !a; }
    TENON_INLINE static Mask none() { return false; }
    TENON_INLINE static bool any(Mask m) { return m; }
    TENON_INLINE static Bits bits(Reg x) {
        Bits b;
        __builtin_memcpy(&b, &x, sizeof b);
        return b;
    }
    TENON_INLINE static Reg of_bits(Bits b) {
        Reg x;
        __builtin_memcpy(&x, &b, sizeof x);
        return x;
    }
    TENON_INLINE static Reg abs(Reg x) { return of_bits(bits(x) & ~Limits<T>::kSign); }
    TENON_INLINE static Reg copysign(Reg x, Reg sign) {
        return of_bits((bits(x) & ~Limits<T>::kSign) | (bits(sign) & Limits<T>::kSign));
    }
    TENON_INLINE static Reg power(Reg x) { return of_bits(bits(x) & Limits<T>::kExponent); }
};

/// Matrices of equal extents, one in each lane: the elements (i, j) of all of them are contiguous.
template <class L>
struct Matrices {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    T* data;
    std::int64_t step;  // elements from one row to the next, odd, so that columns do not share few sets of a cache

    TENON_INLINE T* at(std::int64_t i, std::int64_t j) const { return data + (i * step + j) * L::kLanes; }
    TENON_INLINE Reg get(std::int64_t i, std::int64_t j) const { return L::load(at(i, j)); }
    TENON_INLINE void set(std::int64_t i, std::int64_t j, Reg x) const { L::store(at(i, j), x); }
};

inline std::int64_t step_of(std::int64_t columns) { return columns | 1; }

/// Allocates parts of scratch memory.
template <class L>
class Memory {
  public:
    explicit Memory(typename L::Element* p) : at_(p) {}
    Matrices<L> matrices(std::int64_t rows, std::int64_t columns) {
        const Matrices<L> m{at_, step_of(columns)};
        at_ += rows * m.step * L::kLanes;
        return m;
    }
    /// A vector in each lane.
    typename L::Element* vector(std::int64_t n) {
        typename L::Element* const v = at_;
        at_ += n * L::kLanes;
        return v;
    }

  private:
    typename L::Element* at_;
};

/// Loads one element for each lane, from the lanes' pointers plus `offset`, to vectors; and stores them, or zeros.
/// Separate functions, because an array that is also indexed by a variable would not stay in registers.
template <class L>
TENON_INLINE void load_square(const typename L::Element* const* from, std::int64_t offset, typename L::Element* to,
                              std::int64_t step) {
    constexpr int N = L::kLanes;
    typename L::Reg square[N];
#pragma GCC unroll 16
    for (int lane = 0; lane < N; ++lane) square[lane] = L::V::load(from[lane] + offset);
    product::dense::transpose<N / 2, N>(square);
#pragma GCC unroll 16
    for (int c = 0; c < N; ++c) L::V::store(to + c * step, square[c]);
}
template <class L>
TENON_INLINE void store_square(typename L::Element* const* to, std::int64_t offset, const typename L::Element* from,
                               std::int64_t step, bool zeros) {
    constexpr int N = L::kLanes;
    if (zeros) {
#pragma GCC unroll 16
        for (int lane = 0; lane < N; ++lane) L::V::store(to[lane] + offset, typename L::Reg{});
        return;
    }
    typename L::Reg square[N];
#pragma GCC unroll 16
    for (int c = 0; c < N; ++c) square[c] = L::V::load(from + c * step);
    product::dense::transpose<N / 2, N>(square);
#pragma GCC unroll 16
    for (int lane = 0; lane < N; ++lane) L::V::store(to[lane] + offset, square[lane]);
}

/// Loads `count` consecutive elements from each lane's pointer (plus `offset`), to vectors `step` elements apart.
template <class L>
TENON_INLINE void load_runs(const typename L::Element* const* from, std::int64_t offset, std::int64_t count,
                            typename L::Element* to, std::int64_t step) {
    if constexpr (L::kLanes == 1) {
        for (std::int64_t j = 0; j < count; ++j) to[j * step] = from[0][offset + j];
    } else {
        using V = typename L::V;
        constexpr int N = L::kLanes;
        std::int64_t j = 0;
        for (; j + N <= count; j += N) load_square<L>(from, offset + j, to + j * step, step);
        if (j == count) return;
        typename L::Reg square[N];
        const auto mask = V::first(count - j);
#pragma GCC unroll 16
        for (int lane = 0; lane < N; ++lane) square[lane] = V::load(from[lane] + offset + j, mask);
        product::dense::transpose<N / 2, N>(square);
        for (std::int64_t c = 0; c < count - j; ++c) V::store(to + (j + c) * step, square[c]);
    }
}

/// Elements [begin, end) of a run that are zeros, whatever there is to store: whole vectors, or up to the run's end.
struct Zeros {
    std::int64_t begin = 0, end = 0;
};

/// Stores the first `lanes` lanes; whole vectors past the caches if `stream`.
template <class L>
TENON_INLINE void store_runs(typename L::Element* const* to, std::int64_t lanes, std::int64_t offset,
                             std::int64_t count, const typename L::Element* from, std::int64_t step, bool stream,
                             const Zeros& zeros = {}) {
    using T = typename L::Element;
    if constexpr (L::kLanes == 1) {
        static_cast<void>(stream);
        for (std::int64_t j = 0; j < count; ++j)
            to[0][offset + j] = j >= zeros.begin && j < zeros.end ? T(0) : from[j * step];
    } else {
        using V = typename L::V;
        constexpr int N = L::kLanes;
        const auto transposed = [&](std::int64_t j, std::int64_t some, typename L::Reg(&square)[N]) {
            if (j >= zeros.begin && j < zeros.end) {
#pragma GCC unroll 16
                for (int c = 0; c < N; ++c) square[c] = typename L::Reg{};
                return;
            }
#pragma GCC unroll 16
            for (int c = 0; c < N; ++c) square[c] = c < some ? V::load(from + (j + c) * step) : typename L::Reg{};
            product::dense::transpose<N / 2, N>(square);
        };
        typename L::Reg square[N];
        std::int64_t j = 0;
        // Past the caches, long runs of memory are faster: those of a lane are written together.
        constexpr std::int64_t kRun = 32;
        std::uintptr_t bits = 0;
        for (std::int64_t lane = 0; lane < lanes; ++lane) bits |= reinterpret_cast<std::uintptr_t>(to[lane] + offset);
        while (stream && bits % product::dense::kVectorBytes == 0 && j + N <= count) {
            alignas(product::dense::kVectorBytes) T line[N][kRun];
            const std::int64_t whole = (count - j) / N * N, run = whole < kRun ? whole : kRun;
            for (std::int64_t b = 0; b < run; b += N) {
                transposed(j + b, N, square);
#pragma GCC unroll 16
                for (int lane = 0; lane < N; ++lane) V::store(line[lane] + b, square[lane]);
            }
            for (std::int64_t lane = 0; lane < lanes; ++lane)
                for (std::int64_t b = 0; b < run; b += N) L::stream(to[lane] + offset + j + b, V::load(line[lane] + b));
            j += run;
        }
        for (; lanes == N && j + N <= count; j += N)
            store_square<L>(to, offset + j, from + j * step, step, j >= zeros.begin && j < zeros.end);
        for (; j < count; j += N) {
            const std::int64_t some = count - j < N ? count - j : N;
            const auto mask = V::first(some);
            transposed(j, some, square);
            for (std::int64_t lane = 0; lane < lanes; ++lane) V::store(to[lane] + offset + j, square[lane], mask);
        }
    }
}

/// R x C elements of a product from (i, j): f(i, k) times g(k, j), summed over k in [0, n).
template <class L, int R, int C, class F, class G>
TENON_INLINE void multiply_tile(const Matrices<L>& out, std::int64_t i, std::int64_t j, std::int64_t n, const F& f,
                                const G& g) {
    typename L::Reg sum[R][C], left[R], right[C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[r][c] = L::set(0);
    for (std::int64_t k = 0; k < n; ++k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) right[c] = g(k, j + c);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            left[r] = f(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sum[r][c] = L::fma(left[r], right[c], sum[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) out.set(i + r, j + c, sum[r][c]);
}

/// The whole product (rows, columns) or, if `lower`, at least the part on and below the diagonal.
template <class L, class F, class G>
TENON_INLINE void multiply(const Matrices<L>& out, std::int64_t rows, std::int64_t columns, std::int64_t n, const F& f,
                           const G& g, bool lower = false) {
    constexpr int B = L::kTile;
    for (std::int64_t i = 0; i < rows; i += B)
        for (std::int64_t j = 0; j < (lower && i + B < columns ? i + B : columns); j += B) {
            if (i + B <= rows && j + B <= columns) {
                multiply_tile<L, B, B>(out, i, j, n, f, g);
                continue;
            }
            for (std::int64_t r = i; r < rows && r < i + B; ++r)
                for (std::int64_t c = j; c < columns && c < j + B; ++c) multiply_tile<L, 1, 1>(out, r, c, n, f, g);
        }
}

/// The larger; y if either is NaN.
template <class L>
TENON_INLINE typename L::Reg larger(typename L::Reg x, typename L::Reg y) {
    return L::select(x > y, x, y);
}

}  // namespace
}  // namespace tenon::factorization
