// Passes over several columns of a matrix at once, part of vectors_isa.cpp. Everything is in an unnamed namespace: see
// simd.h.
#pragma once

#include "blas/vectors.h"
#include "product/dense/simd.h"

namespace tenon::blas {
namespace {

using product::dense::Vector;

/// Real and imaginary parts change places.
template <class R, int... I>
TENON_INLINE typename Vector<R>::Reg exchange_parts(typename Vector<R>::Reg x, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, x, (I ^ 1)...);
}
template <class R>
TENON_INLINE typename Vector<R>::Reg exchange_parts(typename Vector<R>::Reg x) {
    return exchange_parts<R>(x, std::make_integer_sequence<int, Vector<R>::kLanes>{});
}

/// A factor of a multiply-add of vectors of T.
template <class T>
struct Factor {
    using R = Real<T>;
    using V = Vector<R>;
    using Reg = typename V::Reg;
    Reg re, im{};

    TENON_INLINE explicit Factor(T alpha) {
        if constexpr (kComplex<T>) {
            re = V::broadcast(alpha.re);
            for (int i = 0; i < V::kLanes; ++i) im[i] = i % 2 == 0 ? -alpha.im : alpha.im;
        } else {
            re = V::broadcast(alpha);
        }
    }
    TENON_INLINE Reg fma(Reg x, Reg y) const {
        y = V::fma(re, x, y);
        if constexpr (kComplex<T>) y = V::fma(im, exchange_parts<R>(x), y);
        return y;
    }
};

/// Columns whose sums and factors the registers hold.
template <class T>
constexpr int kAtOnce = Vector<Real<T>>::kLanes* int{sizeof(Real<T>)} == 64 && !kComplex<T> ? 8 : 4;
/// Bytes of a column from what is read to what is fetched, where a pass also updates and where it only reads: into L2,
/// from memory, where that gains a tenth to a third (Zen 4, measured with 1, 2 and 4 KB).
constexpr int kFetchUpdated = 1024, kFetchRead = 2048;

/// Of two vectors of segments of S lanes: each segment's first half and its second one added, a's before b's.
template <class R, int S, int... I>
TENON_INLINE typename Vector<R>::Reg added_halves(typename Vector<R>::Reg a, typename Vector<R>::Reg b,
                                                  std::integer_sequence<int, I...>) {
    constexpr int kHalf = S / 2;
    return __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf)...) +
           __builtin_shufflevector(a, b, (I / kHalf * S + kHalf + I % kHalf)...);
}
/// N vectors, each of segments of S lanes: lanes added in halves until `left` of each segment are, in order to `to`.
template <class R, int S, int kLeft, int N>
TENON_INLINE void add_lanes(const typename Vector<R>::Reg (&sums)[N], R* to) {
    using V = Vector<R>;
    if constexpr (S > kLeft) {
        constexpr int kPairs = (N + 1) / 2;
        typename V::Reg halves[kPairs];
#pragma GCC unroll 8
        for (int i = 0; i < kPairs; ++i)
            halves[i] = added_halves<R, S>(sums[2 * i], sums[2 * i + 1 < N ? 2 * i + 1 : 2 * i],
                                           std::make_integer_sequence<int, V::kLanes>{});
        add_lanes<R, S / 2, kLeft, kPairs>(halves, to);
    } else {
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) V::store(to + i * V::kLanes, sums[i]);
    }
}

/// The sums of C columns, with kNarrowLanes: of products of equal parts and, for complex numbers, of unequal ones.
template <class T, int C>
struct ColumnSums {
    using R = Real<T>;
    using V = Vector<R>;
    static constexpr int kRegs = kNarrowLanes<R> / V::kLanes;
    // Of real numbers there is no `cross`: what is made and not used would be set to zero all the same.
    typename V::Reg same[kRegs][C] = {}, cross[kComplex<T> ? kRegs : 1][kComplex<T> ? C : 1] = {};

    TENON_INLINE void totals(bool conjugate, T* to) const {
        constexpr int kParts = kComplex<T> ? 2 : 1;
        // Those of whole vectors, of which the last may be in part.
        constexpr int kRoom = (C * kParts + 2 * V::kLanes) / V::kLanes * V::kLanes;
        alignas(64) R s[kRoom], x[kRoom];
        add_registers<kRegs, kParts>(same, s);
        if constexpr (kComplex<T>) {
            add_registers<kRegs, kParts>(cross, x);
            for (int c = 0; c < C; ++c)
                to[c] = conjugate ? T{s[2 * c] + s[2 * c + 1], x[2 * c] - x[2 * c + 1]}
                                  : T{s[2 * c] - s[2 * c + 1], x[2 * c] + x[2 * c + 1]};
        } else {
            static_cast<void>(conjugate), static_cast<void>(x);
            for (int c = 0; c < C; ++c) to[c] = s[c];
        }
    }

  private:
    template <int N, int kLeft>
    TENON_INLINE static void add_registers(const typename V::Reg (&lanes)[N][C], R* to) {
        if constexpr (N == 1) {
            add_lanes<R, V::kLanes, kLeft, C>(lanes[0], to);
        } else {
            typename V::Reg halves[N / 2][C];
#pragma GCC unroll 4
            for (int u = 0; u < N / 2; ++u)
#pragma GCC unroll 8
                for (int c = 0; c < C; ++c) halves[u][c] = lanes[u][c] + lanes[u + N / 2][c];
            add_registers<N / 2, kLeft>(halves, to);
        }
    }
};

/// Lanes begin, ..., end - 1 of a vector, within it or not.
template <class R>
class Some {
  public:
    using V = Vector<R>;
    using Reg = typename V::Reg;

#if defined(__AVX512F__)
    TENON_INLINE Some(std::int64_t begin, std::int64_t end)
        : mask_(static_cast<typename V::Mask>(V::first(end < 0 ? 0 : end) & ~V::first(begin < 0 ? 0 : begin))) {}
    /// Those of p, and zeros; nothing else is read.
    TENON_INLINE Reg load(const R* p) const { return V::load(p, mask_); }
    TENON_INLINE Reg select(Reg x, Reg other) const {
        if constexpr (sizeof(R) == 4)
            return reinterpret_cast<Reg>(
                _mm512_mask_mov_ps(reinterpret_cast<__m512>(other), mask_, reinterpret_cast<__m512>(x)));
        else
            return reinterpret_cast<Reg>(_mm512_mask_mov_pd(
                reinterpret_cast<__m512d>(other), static_cast<std::uint8_t>(mask_), reinterpret_cast<__m512d>(x)));
    }

  private:
    typename V::Mask mask_;
#elif defined(__AVX2__)
    TENON_INLINE Some(std::int64_t begin, std::int64_t end)
        : mask_(_mm256_andnot_si256(V::first(begin < 0 ? 0 : begin), V::first(end < 0 ? 0 : end))) {}
    TENON_INLINE Reg load(const R* p) const { return V::load(p, mask_); }
    TENON_INLINE Reg select(Reg x, Reg other) const {
        return reinterpret_cast<Reg>(
            _mm256_blendv_epi8(reinterpret_cast<__m256i>(other), reinterpret_cast<__m256i>(x), mask_));
    }

  private:
    __m256i mask_;
#else
    TENON_INLINE Some(std::int64_t begin, std::int64_t end) : begin_(within(begin)), end_(within(end)) {}
    TENON_INLINE Reg load(const R* p) const {
        Reg x{};
        for (std::int64_t i = begin_; i < end_; ++i) x[i] = p[i];
        return x;
    }
    TENON_INLINE Reg select(Reg x, Reg other) const {
        for (std::int64_t i = begin_; i < end_; ++i) other[i] = x[i];
        return other;
    }

  private:
    static std::int64_t within(std::int64_t i) { return i < 0 ? 0 : i < V::kLanes ? i : V::kLanes; }
    std::int64_t begin_, end_;
#endif
};

/// The pass of C columns of a triangle, from column `first` of those given on: their sums. Lane i of a sum has the
/// rows i, i + kNarrowLanes, ... of the matrix, so that vectors of y lie where those of the pass before do.
template <class T, bool kFetches, int C>
TENON_INLINE void symmetric_pass(const TriangleColumns<T>& a, int first, const T* factors, const T* x, T* y,
                                 T* totals) {
    using R = Real<T>;
    using V = Vector<R>;
    using Reg = typename V::Reg;
    constexpr std::int64_t kParts = kComplex<T> ? 2 : 1, kBlock = kNarrowLanes<R>;
    constexpr int kRegs = ColumnSums<T, C>::kRegs;
    const auto factor = [&]<int... c>(std::integer_sequence<int, c...>) {
        struct {
            Factor<T> of[C];
        } all{{Factor<T>(factors[first + c])...}};
        return all;
    }
    (std::make_integer_sequence<int, C>{});
    ColumnSums<T, C> sums;
    // Everything in reals. All columns have the rows from `low` to `high`.
    const std::int64_t n = a.n * kParts;
    std::int64_t begin[C], end[C];
    for (int c = 0; c < C; ++c) begin[c] = a.first[first + c] * kParts, end[c] = begin[c] + a.count[first + c] * kParts;
    const std::int64_t least = begin[0], low = begin[C - 1], high = end[0], most = end[C - 1];
    const auto* right = reinterpret_cast<const R*>(x);
    auto* const out = reinterpret_cast<R*>(y);
    const auto add = [&](int c, int u, Reg e, Reg b, Reg swapped, Reg& sum, auto keep) __attribute__((always_inline)) {
        sum = keep(factor.of[c].fma(e, sum), sum);
        sums.same[u][c] = keep(V::fma(e, b, sums.same[u][c]), sums.same[u][c]);
        if constexpr (kComplex<T>) sums.cross[u][c] = keep(V::fma(e, swapped, sums.cross[u][c]), sums.cross[u][c]);
    };
    const auto ragged = [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; i += V::kLanes) {
            const int u = static_cast<int>(i % kBlock / V::kLanes);
            const bool whole = i + V::kLanes <= n;
            const Reg b = whole ? V::load(right + i) : V::load(right + i, V::first(n - i)),
                      swapped = kComplex<T> ? exchange_parts<R>(b) : b;
            Reg sum = whole ? V::load(out + i) : V::load(out + i, V::first(n - i));
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) {
                const Some<R> some(begin[c] - i, end[c] - i);
                const Reg e = some.load(reinterpret_cast<const R*>(a.rest[first + c]) + (i - begin[c]));
                add(c, u, e, b, swapped, sum, [&](Reg now, Reg before) { return some.select(now, before); });
            }
            whole ? V::store(out + i, sum) : V::store(out + i, sum, V::first(n - i));
        }
    };
    const std::int64_t start = least / kBlock * kBlock, after = (low + kBlock - 1) / kBlock * kBlock;
    const std::int64_t last = high / kBlock * kBlock;
    if (after >= last) {
        ragged(start, most);
    } else {
        ragged(start, after);
        const R* columns[C];
        for (int c = 0; c < C; ++c)
            columns[c] = reinterpret_cast<const R*>(a.rest[first + c]) + (after - begin[c]) - after;
        for (std::int64_t i = after; i < last; i += kBlock)
#pragma GCC unroll 4
            for (int u = 0; u < kRegs; ++u) {
                const std::int64_t at = i + u * V::kLanes;
                const Reg b = V::load(right + at), swapped = kComplex<T> ? exchange_parts<R>(b) : b;
                Reg sum = V::load(out + at);
#pragma GCC unroll 8
                for (int c = 0; c < C; ++c) {
                    if (kFetches && u * V::kLanes * int{sizeof(R)} % 64 == 0)
                        __builtin_prefetch(columns[c] + at + kFetchUpdated / int{sizeof(R)}, 0, 2);
                    add(c, u, V::load(columns[c] + at), b, swapped, sum, [](Reg now, Reg) { return now; });
                }
                V::store(out + at, sum);
            }
        ragged(last, most);
    }
    sums.totals(true, totals);
}

/// In one pass, or in two one after the other, which gives the same.
template <class T, bool kFetches, int C>
void symmetric(const TriangleColumns<T>& a, T alpha, const T* factors, const T* x, T* y) {
    T totals[C];
    if constexpr (C <= 4 || C == kAtOnce<T>) {
        symmetric_pass<T, kFetches, C>(a, 0, factors, x, y, totals);
    } else {
        symmetric_pass<T, kFetches, 4>(a, 0, factors, x, y, totals);
        symmetric_pass<T, kFetches, C - 4>(a, 4, factors, x, y, totals + 4);
    }
    for (int c = 0; c < C; ++c) {
        T& element = y[a.column + c];
        element = fma(alpha, fma(of<T>(real_part(*a.diagonal[c])), x[a.column + c], totals[c]), element);
    }
}

/// The sums of C whole columns and x.
template <class T, bool kFetches, int C>
TENON_INLINE void dots_pass(std::int64_t n, const T* const* a, const T* x, bool conjugate, T* totals) {
    using R = Real<T>;
    using V = Vector<R>;
    using Reg = typename V::Reg;
    constexpr int kParts = kComplex<T> ? 2 : 1, kRegs = ColumnSums<T, C>::kRegs;
    ColumnSums<T, C> sums;
    const R* columns[C];
    for (int c = 0; c < C; ++c) columns[c] = reinterpret_cast<const R*>(a[c]);
    const auto* right = reinterpret_cast<const R*>(x);
    const std::int64_t reals = n * kParts;
    const auto step = [&](std::int64_t i, int u, auto load) __attribute__((always_inline)) {
        const Reg b = load(right + i), swapped = kComplex<T> ? exchange_parts<R>(b) : b;
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            if (kFetches && u * V::kLanes * int{sizeof(R)} % 64 == 0)
                __builtin_prefetch(columns[c] + i + kFetchRead / int{sizeof(R)}, 0, 2);
            const Reg e = load(columns[c] + i);
            sums.same[u][c] = V::fma(e, b, sums.same[u][c]);
            if constexpr (kComplex<T>) sums.cross[u][c] = V::fma(e, swapped, sums.cross[u][c]);
        }
    };
    std::int64_t i = 0;
    for (; i + kNarrowLanes<R> <= reals; i += kNarrowLanes<R>)
#pragma GCC unroll 4
        for (int u = 0; u < kRegs; ++u)
            step(
                i + u * V::kLanes, u, [](const R* p) __attribute__((always_inline)) { return V::load(p); });
#pragma GCC unroll 4
    for (int u = 0; u < kRegs; ++u)
        if (const std::int64_t left = reals - i - u * V::kLanes; left > 0) {
            const typename V::Mask mask = V::first(left);
            step(
                i + u * V::kLanes, u, [&](const R* p) __attribute__((always_inline)) { return V::load(p, mask); });
        }
    sums.totals(conjugate, totals);
}
template <class T, bool kFetches, int C>
void dots(std::int64_t n, const T* const* a, const T* x, bool conjugate, T* totals) {
    if constexpr (C <= 4 || C == kAtOnce<T>) {
        dots_pass<T, kFetches, C>(n, a, x, conjugate, totals);
    } else {
        dots_pass<T, kFetches, 4>(n, a, x, conjugate, totals);
        dots_pass<T, kFetches, C - 4>(n, a + 4, x, conjugate, totals + 4);
    }
}

}  // namespace
}  // namespace tenon::blas
