// Each element of a tile is one chain of fused multiply-adds; lanes and neighbouring vectors are other columns. Some
// rows are computed side by side, so that what they share is loaded once.
#include "product/dense/triangular.h"

#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRowsTogether = 4, kVectors = 4;
#else
constexpr int kRowsTogether = 4, kVectors = 2;
#endif

/// z - x y, rounded once. By name: a compiler that sees a broadcast negated negates the element, which costs the
/// broadcast its place in a load.
template <class T>
TENON_INLINE typename Vector<T>::Reg fnma(typename Vector<T>::Reg x, typename Vector<T>::Reg y,
                                          typename Vector<T>::Reg z) {
    using Reg [[maybe_unused]] = typename Vector<T>::Reg;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<Reg>(
            _mm512_fnmadd_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y), reinterpret_cast<__m512>(z)));
    else
        return reinterpret_cast<Reg>(
            _mm512_fnmadd_pd(reinterpret_cast<__m512d>(x), reinterpret_cast<__m512d>(y), reinterpret_cast<__m512d>(z)));
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4)
        return reinterpret_cast<Reg>(
            _mm256_fnmadd_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(y), reinterpret_cast<__m256>(z)));
    else
        return reinterpret_cast<Reg>(
            _mm256_fnmadd_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y), reinterpret_cast<__m256d>(z)));
#else
    return Vector<T>::fma(-x, y, z);
#endif
}

/// Whether no element's exponent is an extreme one (triangular.h).
template <class T>
TENON_INLINE bool are_dividends(const typename Vector<T>::Reg (&x)[kVectors]) {
    [[maybe_unused]] constexpr T kLow = power_of_two<T>(-kDividendExponent<T>);
    [[maybe_unused]] constexpr T kHigh = power_of_two<T>(kDividendExponent<T>);
    constexpr unsigned kAll = (1u << Vector<T>::kLanes) - 1;
    unsigned all = kAll;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) {
            const __m512 size = _mm512_abs_ps(reinterpret_cast<__m512>(x[v]));
            all &= _mm512_cmp_ps_mask(size, _mm512_set1_ps(kLow), _CMP_GE_OQ);
            all &= _mm512_cmp_ps_mask(size, _mm512_set1_ps(kHigh), _CMP_LE_OQ);
        } else {
            const __m512d size = _mm512_abs_pd(reinterpret_cast<__m512d>(x[v]));
            all &= _mm512_cmp_pd_mask(size, _mm512_set1_pd(kLow), _CMP_GE_OQ);
            all &= _mm512_cmp_pd_mask(size, _mm512_set1_pd(kHigh), _CMP_LE_OQ);
        }
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), reinterpret_cast<__m256>(x[v])),
                         between = _mm256_and_ps(_mm256_cmp_ps(size, _mm256_set1_ps(kLow), _CMP_GE_OQ),
                                                 _mm256_cmp_ps(size, _mm256_set1_ps(kHigh), _CMP_LE_OQ));
            all &= static_cast<unsigned>(_mm256_movemask_ps(between));
        } else {
            const __m256d size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), reinterpret_cast<__m256d>(x[v])),
                          between = _mm256_and_pd(_mm256_cmp_pd(size, _mm256_set1_pd(kLow), _CMP_GE_OQ),
                                                  _mm256_cmp_pd(size, _mm256_set1_pd(kHigh), _CMP_LE_OQ));
            all &= static_cast<unsigned>(_mm256_movemask_pd(between));
        }
#else
        (void)x[v];
        all = 0;
#endif
    }
    return all == kAll;
}

/// R rows of the tile from row `first` on, kVectors wide from column `b` on.
template <class T, int R>
struct Rows {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    static constexpr std::int64_t kStep = kTileBytes / std::int64_t{sizeof(T)}, kWidth = kVectors * V::kLanes;
    static_assert(kStep % kWidth == 0 && kKernelBytes % (kWidth * std::int64_t{sizeof(T)}) == 0);

    Reg x[R][kVectors] = {};

    TENON_INLINE void load(const T* b, std::int64_t first, std::int64_t step = kStep) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) x[r][v] = V::load(b + (first + r) * step + v * V::kLanes);
    }
    TENON_INLINE void store(T* b, std::int64_t first, std::int64_t step = kStep) const {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) V::store(b + (first + r) * step + v * V::kLanes, x[r][v]);
    }
    /// Row r divided by d.
    TENON_INLINE void divide(int r, T d, T inverse) {
        if (inverse != 0 && are_dividends<T>(x[r])) {
            const Reg divisor = V::broadcast(d), factor = V::broadcast(inverse);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const Reg quotient = x[r][v] * factor;
                x[r][v] = V::fma(fnma<T>(divisor, quotient, x[r][v]), factor, quotient);
            }
            return;
        }
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) x[r][v] /= d;
    }
    /// Row r gets a times the vectors of one row, or the negative of that.
    template <bool kNegative>
    TENON_INLINE void add_product(int r, T a, const Reg (&row)[kVectors]) {
        const Reg factor = V::broadcast(a);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
            x[r][v] = kNegative ? fnma<T>(factor, row[v], x[r][v]) : V::fma(factor, row[v], x[r][v]);
    }
    /// All rows get their elements of the triangle's columns 0, ..., first - 1, or the negatives, times those rows.
    template <bool kNegative>
    TENON_INLINE void add_before(const T* a, const T* b, std::int64_t first) {
        for (std::int64_t k = 0; k < first; ++k) {
            Reg row[kVectors];
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) row[v] = V::load(b + k * kStep + v * V::kLanes);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) add_product<kNegative>(r, a[(first + r) * kTriangleRows + k], row);
        }
    }
    TENON_INLINE void multiply(T a) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) x[r][v] *= a;
    }
};

/// `memory` is where the column `b` of the tile lies, or null.
template <class T, int R>
TENON_INLINE void multiply_rows(const TriangularTile<T>& p, T* b, T* memory, std::int64_t first, T alpha) {
    Rows<T, R> sum, old;
    sum.template add_before<false>(p.a, b, first);
    old.load(b, first);
#pragma GCC unroll 4
    for (int s = 0; s < R; ++s)
#pragma GCC unroll 4
        for (int r = s; r < R; ++r)
            sum.template add_product<false>(r, r == s && p.unit ? T(1) : p.a[(first + r) * kTriangleRows + first + s],
                                            old.x[s]);
    if (alpha != 1) sum.multiply(alpha);
    if (memory)
        sum.store(memory, first, p.step);
    else
        sum.store(b, first);
}

template <class T, int R>
TENON_INLINE void solve_rows(const TriangularTile<T>& p, T* b, T* memory, std::int64_t first, T alpha) {
    Rows<T, R> x;
    if (memory)
        x.load(memory, first, p.step);
    else
        x.load(b, first);
    if (alpha != 1) x.multiply(alpha);
    x.template add_before<true>(p.a, b, first);
#pragma GCC unroll 4
    for (int s = 0; s < R; ++s) {
        if (!p.unit) x.divide(s, p.a[(first + s) * kTriangleRows + first + s], p.inverses[first + s]);
#pragma GCC unroll 4
        for (int r = s + 1; r < R; ++r)
            x.template add_product<true>(r, p.a[(first + r) * kTriangleRows + first + s], x.x[s]);
    }
    x.store(b, first);
    if (memory) x.store(memory, first, p.step);
}

/// From the last rows to the first: a product overwrites nothing that a later one reads.
template <class T>
void multiply(const TriangularTile<T>& p) {
    const T alpha = static_cast<T>(p.alpha);
    const std::int64_t whole = p.n / kRowsTogether * kRowsTogether;
    for (std::int64_t j = 0; j < p.columns; j += Rows<T, 1>::kWidth) {
        T *const b = p.b + j, *const memory = p.memory ? p.memory + j : nullptr;
        for (std::int64_t i = p.n - 1; i >= whole; --i) multiply_rows<T, 1>(p, b, memory, i, alpha);
        for (std::int64_t i = whole - kRowsTogether; i >= 0; i -= kRowsTogether)
            multiply_rows<T, kRowsTogether>(p, b, memory, i, alpha);
    }
}

template <class T>
void solve(const TriangularTile<T>& p) {
    const T alpha = static_cast<T>(p.alpha);
    const std::int64_t whole = p.n / kRowsTogether * kRowsTogether;
    for (std::int64_t j = 0; j < p.columns; j += Rows<T, 1>::kWidth) {
        T *const b = p.b + j, *const memory = p.memory ? p.memory + j : nullptr;
        for (std::int64_t i = 0; i < whole; i += kRowsTogether) solve_rows<T, kRowsTogether>(p, b, memory, i, alpha);
        for (std::int64_t i = whole; i < p.n; ++i) solve_rows<T, 1>(p, b, memory, i, alpha);
    }
}

/// Squares of a tile and of columns that lie apart, transposed on the way. Memory's rows run upwards; `down` says that
/// the tile's run against them.
template <class T, bool kIn>
void move(T* tile, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step, bool down) {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    constexpr std::int64_t n = V::kLanes, kStep = kTileBytes / std::int64_t{sizeof(T)};
    for (std::int64_t j = 0; j < count; j += n) {
        const std::int64_t some = count - j < n ? count - j : n;
        for (std::int64_t i = 0; i < rows; i += n) {
            const std::int64_t high = rows - i < n ? rows - i : n;
            const typename V::Mask mask = V::first(high), across = V::first(some);
            // Rows i, ..., i + high - 1 of memory are these of the tile.
            const auto row = [&](std::int64_t r) { return tile + (down ? rows - 1 - i - r : i + r) * kStep + j; };
            Reg square[n];
            if (some == n && high == n) {
                // Without masks, all of it in registers.
                T *const first = row(0), *const corner = columns + i + j * step;
                const std::int64_t next = down ? -kStep : kStep;
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) square[r] = V::load(kIn ? corner + r * step : first + r * next);
                transpose<n / 2, n>(square);
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) V::store(kIn ? first + r * next : corner + r * step, square[r]);
            } else if constexpr (kIn) {
                for (std::int64_t c = 0; c < n; ++c)
                    square[c] = c < some ? V::load(columns + i + (j + c) * step, mask) : Reg{};
                transpose<n / 2, n>(square);
                for (std::int64_t r = 0; r < high; ++r) V::store(row(r), square[r]);
            } else {
                for (std::int64_t r = 0; r < n; ++r) square[r] = r < high ? V::load(row(r), across) : Reg{};
                transpose<n / 2, n>(square);
                for (std::int64_t c = 0; c < some; ++c) V::store(columns + i + (j + c) * step, square[c], mask);
            }
        }
    }
}

template <class T>
void copy(T* to, std::int64_t to_step, const T* from, std::int64_t from_step, std::int64_t rows, std::int64_t count) {
    using V = Vector<T>;
    // Runs that are fetched ahead: too short, and too far apart, for the hardware to follow.
    constexpr std::int64_t n = V::kLanes, kAhead = 8, kLine = 64 / std::int64_t{sizeof(T)};
    for (std::int64_t i = 0; i < rows; ++i, to += to_step, from += from_step) {
        if (i + kAhead < rows)
            for (std::int64_t j = 0; j < count; j += kLine) {
                __builtin_prefetch(from + kAhead * from_step + j, 0, 3);
                __builtin_prefetch(to + kAhead * to_step + j, 1, 3);
            }
        std::int64_t j = 0;
        for (; j + n <= count; j += n) V::store(to + j, V::load(from + j));
        if (j == count) continue;
        const typename V::Mask mask = V::first(count - j);
        V::store(to + j, V::load(from + j, mask), mask);
    }
}

template <class T>
constexpr TriangularKernels<T> kOf = {multiply<T>, solve<T>, move<T, true>, move<T, false>, copy<T>};

}  // namespace

namespace TENON_ISA {
extern const IsaTriangular kTriangular;
constexpr IsaTriangular kTriangular = {kOf<float>, kOf<double>};
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
