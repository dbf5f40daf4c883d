// Passes over several columns of a matrix at once, part of vectors_isa.cpp. Everything is in an unnamed namespace: see
// simd.h.
#pragma once

#include "blas/vectors.h"
#include "product/dense/simd.h"

namespace tenon::blas {
namespace {

using product::dense::Vector;

/// Swaps real and imaginary parts.
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

/// The number of columns whose sums and factors fit the registers.
template <class T>
constexpr int kAtOnce = Vector<Real<T>>::kLanes* int{sizeof(Real<T>)} == 64 && !kComplex<T> ? 8 : 4;
/// How many bytes ahead in a column to prefetch into L2, if a pass also updates and if it only reads. From memory this
/// gains a tenth to a third (Zen 4, measured with 1, 2 and 4 KB).
constexpr int kFetchUpdated = 1024, kFetchRead = 2048;

/// For two vectors with segments of S lanes: adds each segment's first half to its second half, a's before b's.
template <class R, int S, int... I>
TENON_INLINE typename Vector<R>::Reg added_halves(typename Vector<R>::Reg a, typename Vector<R>::Reg b,
                                                  std::integer_sequence<int, I...>) {
    constexpr int kHalf = S / 2;
    return __builtin_shufflevector(a, b, (I / kHalf * S + I % kHalf)...) +
           __builtin_shufflevector(a, b, (I / kHalf * S + kHalf + I % kHalf)...);
}
/// N vectors, each with segments of S lanes: adds lanes in halves until `left` of each segment remain, in order, to
/// `to`.
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
    // Real numbers need no `cross`: an unused array would still be set to zero.
    typename V::Reg same[kRegs][C] = {}, cross[kComplex<T> ? kRegs : 1][kComplex<T> ? C : 1] = {};

    TENON_INLINE void totals(bool conjugate, T* to) const {
        constexpr int kParts = kComplex<T> ? 2 : 1;
        // Room for whole vectors, the last of which may be partly used.
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

/// The index of a lane's row, as wide as an element.
template <class R>
using Row = std::conditional_t<sizeof(R) == 4, std::int32_t, std::int64_t>;

/// The lanes of a vector of rows i, i + 1, ... that hold rows begin, ..., end - 1.
template <class R>
class Some {
  public:
    using V = Vector<R>;
    using Reg = typename V::Reg;

#if defined(__AVX2__)
    typedef Row<R> Rows __attribute__((vector_size(sizeof(Reg))));
    TENON_INLINE static Rows rows_from(Row<R> i) {
        return [&]<int... lane>(std::integer_sequence<int, lane...>) { return Rows{Row<R>{lane}...} + i; }
        (std::make_integer_sequence<int, V::kLanes>{});
    }
#endif
#if defined(__AVX512F__)
    TENON_INLINE Some(Row<R> i, Row<R> begin, Row<R> end) {
        const auto rows = reinterpret_cast<__m512i>(rows_from(i));
        if constexpr (sizeof(R) == 4)
            mask_ = _mm512_mask_cmpgt_epi32_mask(_mm512_cmpge_epi32_mask(rows, _mm512_set1_epi32(begin)),
                                                 _mm512_set1_epi32(end), rows);
        else
            mask_ = _mm512_mask_cmpgt_epi64_mask(_mm512_cmpge_epi64_mask(rows, _mm512_set1_epi64(begin)),
                                                 _mm512_set1_epi64(end), rows);
    }
    /// Loads these lanes of p, and zeros for the others; reads nothing else.
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
    TENON_INLINE Some(Row<R> i, Row<R> begin, Row<R> end) {
        const Rows rows = rows_from(i);
        mask_ = reinterpret_cast<__m256i>((rows >= begin) & (rows < end));
    }
    TENON_INLINE Reg load(const R* p) const { return V::load(p, mask_); }
    TENON_INLINE Reg select(Reg x, Reg other) const {
        return reinterpret_cast<Reg>(
            _mm256_blendv_epi8(reinterpret_cast<__m256i>(other), reinterpret_cast<__m256i>(x), mask_));
    }

  private:
    __m256i mask_;
#else
    TENON_INLINE Some(Row<R> i, Row<R> begin, Row<R> end) : begin_(within(begin - i)), end_(within(end - i)) {}
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

/// Calls pass.operator()<N>(first) for C columns, N of them from `first`: all at once or, if the registers hold only
/// four, some after the others, with the same result.
template <class T, int C, class F>
TENON_INLINE void in_passes(F pass) {
    if constexpr (C <= 4 || C == kAtOnce<T>) {
        pass.template operator()<C>(0);
    } else {
        pass.template operator()<4>(0);
        pass.template operator()<C - 4>(4);
    }
}

/// C columns of a triangle and the vectors that they meet, in reals and from one row on: column c has the rows
/// begin[c],
/// ..., end[c] - 1, element i of it at columns[c] + i. A column of 2^31 rows would have as many beside it, and no
/// memory holds those.
template <class R, int C>
struct Columns {
    const R* columns[C];
    Row<R> begin[C], end[C];
    std::int64_t n;
    const R* x;
    R* y;
};

/// Rows from, ..., to - 1, which some columns have and others may not: add(c, u, e, b, swapped, sum, keep) for elements
/// e of column c, in register u of the sums; keep(now, before) stores the new ones.
template <class T, int C, class F>
TENON_INLINE void ragged_rows(const Columns<Real<T>, C>& a, std::int64_t from, std::int64_t to, F add) {
    using R = Real<T>;
    using V = Vector<R>;
    using Reg = typename V::Reg;
    for (std::int64_t i = from; i < to; i += V::kLanes) {
        const int u = static_cast<int>(i % kNarrowLanes<R> / V::kLanes);
        const bool whole = i + V::kLanes <= a.n;
        const Reg b = whole ? V::load(a.x + i) : V::load(a.x + i, V::first(a.n - i)),
                  swapped = kComplex<T> ? exchange_parts<R>(b) : b;
        Reg sum = whole ? V::load(a.y + i) : V::load(a.y + i, V::first(a.n - i));
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const Some<R> some(static_cast<Row<R>>(i), a.begin[c], a.end[c]);
            add(c, u, some.load(a.columns[c] + i), b, swapped, sum,
                [&](Reg now, Reg before) { return some.select(now, before); });
        }
        whole ? V::store(a.y + i, sum) : V::store(a.y + i, sum, V::first(a.n - i));
    }
}

/// A number that is loaded by itself. A vector of several would wait until the caller's stores, one for each, have
/// reached the cache.
template <class I>
TENON_INLINE I alone(I x) {
    asm("" : "+r"(x));
    return x;
}

/// The pass of C columns of a triangle, from column `first` of those given: their sums. Lane i of a sum has the rows i,
/// i + kNarrowLanes, ... of the matrix, so that vectors of y are aligned with those of the previous pass.
template <class T, bool kFetches, int C>
TENON_INLINE void symmetric_pass(const TriangleColumns<T>& triangle, int first, const T* factors, const T* x, T* y,
                                 T* totals) {
    using R = Real<T>;
    using V = Vector<R>;
    using Reg = typename V::Reg;
    constexpr std::int64_t kParts = kComplex<T> ? 2 : 1, kBlock = kNarrowLanes<R>;
    const auto factor = [&]<int... c>(std::integer_sequence<int, c...>) {
        struct {
            Factor<T> of[C];
        } all{{Factor<T>(factors[first + c])...}};
        return all;
    }
    (std::make_integer_sequence<int, C>{});
    ColumnSums<T, C> sums;
    const std::int64_t start = alone(triangle.first[first]) * kParts / kBlock * kBlock;
    Columns<R, C> a;
    a.n = triangle.n * kParts - start;
    a.x = reinterpret_cast<const R*>(x) + start, a.y = reinterpret_cast<R*>(y) + start;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
        const std::int64_t begin = alone(triangle.first[first + c]) * kParts - start;
        a.columns[c] = reinterpret_cast<const R*>(alone(triangle.rest[first + c])) - begin;
        a.begin[c] = static_cast<Row<R>>(begin);
        a.end[c] = static_cast<Row<R>>(begin + alone(triangle.count[first + c]) * kParts);
    }
    const auto add = [&](int c, int u, Reg e, Reg b, Reg swapped, Reg& sum, auto keep) __attribute__((always_inline)) {
        sum = keep(factor.of[c].fma(e, sum), sum);
        sums.same[u][c] = keep(V::fma(e, b, sums.same[u][c]), sums.same[u][c]);
        if constexpr (kComplex<T>) sums.cross[u][c] = keep(V::fma(e, swapped, sums.cross[u][c]), sums.cross[u][c]);
    };
    const auto ragged = [&](std::int64_t from, std::int64_t to) { ragged_rows<T, C>(a, from, to, add); };
    // All columns have the rows from `low` to `high`.
    const std::int64_t low = a.begin[C - 1], high = a.end[0], most = a.end[C - 1];
    const std::int64_t after = (low + kBlock - 1) / kBlock * kBlock, last = high / kBlock * kBlock;
    if (after >= last) {
        ragged(0, most);
    } else {
        ragged(0, after);
        for (std::int64_t i = after; i < last; i += kBlock)
#pragma GCC unroll 4
            for (int u = 0; u < ColumnSums<T, C>::kRegs; ++u) {
                const std::int64_t at = i + u * V::kLanes;
                const Reg b = V::load(a.x + at), swapped = kComplex<T> ? exchange_parts<R>(b) : b;
                Reg sum = V::load(a.y + at);
#pragma GCC unroll 8
                for (int c = 0; c < C; ++c) {
                    if (kFetches && u * V::kLanes * int{sizeof(R)} % 64 == 0)
                        __builtin_prefetch(a.columns[c] + at + kFetchUpdated / int{sizeof(R)}, 0, 2);
                    add(c, u, V::load(a.columns[c] + at), b, swapped, sum, [](Reg now, Reg) { return now; });
                }
                V::store(a.y + at, sum);
            }
        ragged(last, most);
    }
    sums.totals(true, totals);
}

template <class T, bool kFetches, int C>
void symmetric(const TriangleColumns<T>& a, T alpha, const T* factors, const T* x, T* y) {
    T totals[C];
    in_passes<T, C>([&]<int N>(int first) __attribute__((always_inline)) {
        symmetric_pass<T, kFetches, N>(a, first, factors, x, y, totals + first);
    });
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
    in_passes<T, C>([&]<int N>(int first) __attribute__((always_inline)) {
        dots_pass<T, kFetches, N>(n, a + first, x, conjugate, totals + first);
    });
}

}  // namespace
}  // namespace tenon::blas
