// Each element of a tile is one chain of fused multiply-adds; lanes and neighbouring vectors are other columns. Several
// rows are computed together, so that what they share is loaded once.
#include "product/dense/triangular.h"

#include <cassert>

#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

constexpr int kRowsTogether = int{kTriangleGroup};
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
/// Vectors for a tile's last columns, if this many hold them.
constexpr int kFewVectors = 2;

/// z - x y, rounded once. Written as an intrinsic: a compiler that sees a negated broadcast negates the element, so
/// that the broadcast no longer folds into a load.
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

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

/// Whether vectors hold dividends alone: no exponent is an extreme one (triangular.h).
template <class T>
class Dividends {
  public:
    using Reg = typename Vector<T>::Reg;
#if defined(__AVX2__)
    static constexpr bool kTold = true;
#else
    static constexpr bool kTold = false;
#endif

    template <int NV>
    TENON_INLINE void add(const Reg (&x)[NV]) {
        // Adding 1 to the second bit of an exponent sets its first one where the two differ.
        constexpr Bits<T> kSecond = Bits<T>{1} << (sizeof(T) * 8 - 3);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) first_ &= reinterpret_cast<Lanes>(x[v]) + kSecond;
    }
    TENON_INLINE bool all() const {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4)
            return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(first_), _mm512_set1_epi32(1 << 30)) == 0xffff;
        else
            return _mm512_test_epi64_mask(reinterpret_cast<__m512i>(first_), _mm512_set1_epi64(1ll << 62)) == 0xff;
#elif defined(__AVX2__)
        const Lanes sign = first_ + first_;
        if constexpr (sizeof(T) == 4)
            return _mm256_movemask_ps(reinterpret_cast<__m256>(sign)) == 0xff;
        else
            return _mm256_movemask_pd(reinterpret_cast<__m256d>(sign)) == 0xf;
#else
        return false;
#endif
    }

  private:
    typedef Bits<T> Lanes __attribute__((vector_size(sizeof(Reg))));
    Lanes first_ = ~Lanes{};
};

/// R rows of the tile from row `first`, NV vectors wide from column `b`.
template <class T, int R, int NV>
struct Rows {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    static constexpr std::int64_t kWidth = NV * V::kLanes;
    static_assert(kKernelBytes % (kWidth * std::int64_t{sizeof(T)}) == 0);

    Reg x[R][NV] = {};

    TENON_INLINE void load(const T* b, std::int64_t first, std::int64_t step) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) x[r][v] = V::load(b + (first + r) * step + v * V::kLanes);
    }
    TENON_INLINE void store(T* b, std::int64_t first, std::int64_t step) const {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) V::store(b + (first + r) * step + v * V::kLanes, x[r][v]);
    }
    /// Row r, of dividends, divided by d.
    TENON_INLINE void divide(int r, T d, T inverse) {
        const Reg divisor = V::broadcast(d), factor = V::broadcast(inverse);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            const Reg quotient = x[r][v] * factor;
            x[r][v] = V::fma(fnma<T>(divisor, quotient, x[r][v]), factor, quotient);
        }
    }
    /// Row r, whatever it holds, divided by d.
    TENON_INLINE void divide_any(int r, T d, T inverse) {
        Dividends<T> dividends;
        dividends.add(x[r]);
        if (inverse != 0 && dividends.all()) return divide(r, d, inverse);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) x[r][v] /= d;
    }
    /// Adds a times the vectors of one row to row r, or subtracts it.
    template <bool kNegative>
    TENON_INLINE void add_product(int r, T a, const Reg (&row)[NV]) {
        const Reg factor = V::broadcast(a);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            x[r][v] = kNegative ? fnma<T>(factor, row[v], x[r][v]) : V::fma(factor, row[v], x[r][v]);
    }
    /// Adds to all rows n elements times that many rows of b, or subtracts them. `at` is the first row's first element;
    /// the other rows' elements are `next` elements apart, the following ones `step` elements on.
    template <bool kNegative>
    TENON_INLINE void add_products(const T* at, std::int64_t step, const T* b, std::int64_t pitch, std::int64_t n,
                                   std::int64_t next = 1) {
        const auto one = [&]() __attribute__((always_inline)) {
            Reg row[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) add_product<kNegative>(r, at[r * next], row);
            at += step, b += pitch;
        };
        assert(step != 0 || n < 4);
        // The end of a short loop is predicted.
        const T* const end = at + n / 4 * 4 * step;
        while (at != end) one(), one(), one(), one();
        for (std::int64_t k = n / 4 * 4; k < n; ++k) one();
    }
    TENON_INLINE void multiply(T a) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) x[r][v] *= a;
    }
    TENON_INLINE void subtract_from(const Rows& other) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) x[r][v] = other.x[r][v] - x[r][v];
    }
};

/// Row `first` of a triangle, and the columns of that row's group before it and from it on.
template <class T>
TENON_INLINE const T* row_of(const T* a, std::int64_t first) {
    return a + first / kTriangleGroup * kTriangleGroup * kTriangleRows + first % kTriangleGroup;
}

/// Whether quotients by all of R numbers may be had from their reciprocals.
template <class T, int R>
TENON_INLINE bool are_known(const T* inverses) {
    // As integers, which leave the ports of multiply-adds alone.
    Bits<T> bits[R], known = 1;
    __builtin_memcpy(bits, inverses, sizeof(bits));
    for (int r = 0; r < R; ++r) known &= bits[r] != 0;
    return known != 0;
}

/// Prefetches the share of the runs that belongs to the rows from `first`, of n.
template <class T>
TENON_INLINE void prefetch(const PrefetchedRuns<T>& runs, std::int64_t first, std::int64_t n) {
    if (runs.count == 0) return;
    const std::int64_t each = (runs.count * kRowsTogether + n - 1) / n, begin = first / kRowsTogether * each,
                       end = runs.count < begin + each ? runs.count : begin + each;
    for (std::int64_t j = begin; j < end; ++j)
        for (std::int64_t i = 0; i < runs.length; i += 64 / std::int64_t{sizeof(T)})
            __builtin_prefetch(runs.data + j * runs.step + i, 1, 3);
}

/// kQuick, not for a diagonal of ones, takes all that is divided for dividends and looks at the end whether it was
/// right; if not, it returns false and has stored nothing.
template <class T, int R, int NV, bool kQuick>
TENON_INLINE bool solve_rows(const TriangularTile<T>& p, T* b, T* memory, std::int64_t first, T alpha) {
    if (kQuick && !are_known<T, R>(p.inverses + first)) return false;
    Rows<T, R, NV> x, sum;
    Dividends<T> dividends;
    if (const EarlierRows<T>& e = p.earlier; e.k > 0)
        sum.template add_products<false>(e.a + first * e.a_row, e.a_step, e.b + (b - p.b), e.pitch, e.k, e.a_row);
    if (memory) {
        x.load(memory, first, p.step);
        // Prefetches the next rows, too, while these are summed.
        constexpr int kLine = 64 / int{sizeof(T)};
        const T* next = memory + (first + R) * p.step;
        if (first + R < p.n)
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r, next += p.step)
#pragma GCC unroll 4
                for (int v = 0; v < Rows<T, R, NV>::kWidth; v += kLine) __builtin_prefetch(next + v, 1, 3);
    } else
        x.load(b, first, p.pitch);
    if (alpha != 1) x.multiply(alpha);
    if (p.earlier.k > 0) {
        sum.subtract_from(x);
        x = sum;
    }
    const T *const row = row_of(p.a, first), *const square = row + first * kTriangleGroup;
    x.template add_products<true>(row, kTriangleGroup, b, p.pitch, first);
#pragma GCC unroll 4
    for (int s = 0; s < R; ++s) {
        const T d = square[s * kTriangleGroup + s];
        if (kQuick) {
            dividends.add(x.x[s]);
            x.divide(s, d, p.inverses[first + s]);
        } else if (!p.unit) {
            x.divide_any(s, d, p.inverses[first + s]);
        }
#pragma GCC unroll 4
        for (int r = s + 1; r < R; ++r) x.template add_product<true>(r, square[s * kTriangleGroup + r], x.x[s]);
    }
    if (kQuick && !dividends.all()) return false;
    x.store(b, first, p.pitch);
    if (memory) x.store(memory, first, p.step);
    return true;
}

/// Apart from the quick ones, which leave it few registers.
template <class T, int NV>
[[gnu::noinline]] void solve_slowly(const TriangularTile<T>& p, T* b, T* memory, std::int64_t i, T alpha) {
    const std::int64_t whole = p.n / kRowsTogether * kRowsTogether;
    for (; i < whole; i += kRowsTogether) solve_rows<T, kRowsTogether, NV, false>(p, b, memory, i, alpha);
    for (; i < p.n; ++i) solve_rows<T, 1, NV, false>(p, b, memory, i, alpha);
}

/// Calls f<NV>(j) for the columns of a tile, NV vectors from column j.
template <class T, class F>
TENON_INLINE void for_columns(std::int64_t columns, F f) {
    constexpr std::int64_t kWidth = kVectors * Vector<T>::kLanes, kFew = kFewVectors * Vector<T>::kLanes;
    std::int64_t j = 0;
    for (; columns - j > kFew; j += kWidth) f.template operator()<kVectors>(j);
    if (j < columns) f.template operator()<kFewVectors>(j);
}

/// Quickly up to the first rows that hold something extreme: a zero that is no chance is seldom alone.
template <class T>
void solve(const TriangularTile<T>& p) {
    const T alpha = static_cast<T>(p.alpha);
    const std::int64_t whole = p.n / kRowsTogether * kRowsTogether;
    for_columns<T>(
        p.columns, [&]<int NV>(std::int64_t j) __attribute__((always_inline)) {
            T *const b = p.b + j, *const memory = p.memory ? p.memory + j : nullptr;
            std::int64_t i = 0;
            if (Dividends<T>::kTold && !p.unit)
                while (i < whole && solve_rows<T, kRowsTogether, NV, true>(p, b, memory, i, alpha)) {
                    if (j == 0) prefetch(p.next, i, p.n);
                    i += kRowsTogether;
                }
            solve_slowly<T, NV>(p, b, memory, i, alpha);
        });
}

template <class T, int R, int NV>
TENON_INLINE void multiply_panel(const ProductRows<T>& p, std::int64_t j) {
    using V = Vector<T>;
    Rows<T, R, NV> sum;
    constexpr int kLine = 64 / int{sizeof(T)};
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < Rows<T, R, NV>::kWidth; v += kLine) __builtin_prefetch(p.c + r * p.step + j + v, 1, 3);
    sum.template add_products<false>(p.a, p.a_step, p.b + j, p.pitch, p.before, p.a_row);
    const T *a = p.a + p.before * p.a_step, *b = p.b + p.before * p.pitch + j;
#pragma GCC unroll 8
    for (int s = 0; s < R; ++s, a += p.a_step, b += p.pitch) {
        typename V::Reg row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::kLanes);
#pragma GCC unroll 8
        for (int r = s; r < R; ++r) sum.template add_product<false>(r, r == s && p.unit ? T(1) : a[r * p.a_row], row);
    }
    if (p.alpha != 1) sum.multiply(p.alpha);
    sum.store(p.c + j, 0, p.step);
}

template <class T, int R>
void multiply_panels(const ProductRows<T>& p) {
    for_columns<T>(
        p.columns, [&]<int NV>(std::int64_t j) __attribute__((always_inline)) { multiply_panel<T, R, NV>(p, j); });
}

template <class T>
void multiply_rows(const ProductRows<T>& p) {
    static_assert(kPanelRows == 6);
    static constexpr void (*kOfRows[])(const ProductRows<T>&) = {multiply_panels<T, 1>, multiply_panels<T, 2>,
                                                                 multiply_panels<T, 3>, multiply_panels<T, 4>,
                                                                 multiply_panels<T, 5>, multiply_panels<T, 6>};
    kOfRows[p.rows - 1](p);
}

/// Some lanes of a vector: the first ones or, `from`, those from one on.
template <class T>
struct SomeLanes {
    using V = Vector<T>;
    using Reg = typename V::Reg;
#if defined(__AVX512F__)
    std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8> mask;

    TENON_INLINE static SomeLanes first(std::int64_t n) { return {static_cast<decltype(mask)>(V::first(n))}; }
    TENON_INLINE static SomeLanes from(std::int64_t n) { return {static_cast<decltype(mask)>(~V::first(n))}; }
    /// fma(x, y, z) in these lanes; z in the others.
    TENON_INLINE Reg fma(Reg x, Reg y, Reg z) const {
        if constexpr (sizeof(T) == 4)
            return reinterpret_cast<Reg>(_mm512_mask3_fmadd_ps(reinterpret_cast<__m512>(x), reinterpret_cast<__m512>(y),
                                                               reinterpret_cast<__m512>(z), mask));
        else
            return reinterpret_cast<Reg>(_mm512_mask3_fmadd_pd(
                reinterpret_cast<__m512d>(x), reinterpret_cast<__m512d>(y), reinterpret_cast<__m512d>(z), mask));
    }
#else
    typedef Bits<T> Lanes __attribute__((vector_size(kVectorBytes)));
    Lanes mask;

    TENON_INLINE static Lanes lanes() {
        Lanes x{};
#pragma GCC unroll 16
        for (int i = 0; i < V::kLanes; ++i) x[i] = static_cast<Bits<T> >(i);
        return x;
    }
    TENON_INLINE static SomeLanes first(std::int64_t n) {
        return {reinterpret_cast<Lanes>(lanes() < static_cast<Bits<T> >(n))};
    }
    TENON_INLINE static SomeLanes from(std::int64_t n) { return {~first(n).mask}; }
    TENON_INLINE Reg fma(Reg x, Reg y, Reg z) const {
        const auto all = reinterpret_cast<Lanes>(V::fma(x, y, z));
        return reinterpret_cast<Reg>((all & mask) | (reinterpret_cast<Lanes>(z) & ~mask));
    }
#endif
};

/// `width` rows of the panel from `begin` of its vectors, for R columns of B.
template <class T, int R, int NV>
TENON_INLINE void multiply_lanes(const ProductColumns<T>& p, std::int64_t begin, std::int64_t width) {
    using V = Vector<T>;
    constexpr std::int64_t kLanes = V::kLanes, kAll = NV * kLanes;
    Rows<T, R, NV> sum;
    // From R lines on, a next call finds its operands.
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < kAll; v += 64 / int{sizeof(T)})
            __builtin_prefetch(p.c + (R + r) * p.line + begin + v, 0, 2);
    const std::int64_t rest = p.count - begin, whole = p.before + (p.down ? (rest > kAll ? rest - kAll : 0) : begin);
    const T *a = p.a + begin, *b = p.b;
    sum.template add_products<false>(b, p.b_step, a, p.a_step, whole, p.line);
    a += whole * p.a_step, b += whole * p.b_step;
    // One column of A: one vector in some lanes, others as a whole.
    const auto add = [&]<int kSome, int kBegin, int kEnd>(SomeLanes<T> some) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const auto x = V::broadcast(b[r * p.line]);
            sum.x[r][kSome] = some.fma(V::load(a + kSome * kLanes), x, sum.x[r][kSome]);
#pragma GCC unroll 4
            for (int v = kBegin; v < kEnd; ++v) sum.x[r][v] = V::fma(V::load(a + v * kLanes), x, sum.x[r][v]);
        }
        a += p.a_step, b += p.b_step;
    };
    const auto step = [&]<int v>(std::integral_constant<int, v>) __attribute__((always_inline)) {
        if (p.down) {
            constexpr int u = NV - 1 - v;
            const std::int64_t left = rest - u * kLanes;
            for (std::int64_t n = left < kLanes ? left : kLanes; n > 0; --n)
                add.template operator()<u, 0, u>(SomeLanes<T>::first(n));
        } else {
            const std::int64_t left = width - v * kLanes, n = left < kLanes ? left : kLanes;
            for (std::int64_t l = 0; l < n; ++l) add.template operator()<v, v + 1, NV>(SomeLanes<T>::from(l));
        }
    };
    [&]<int... v>(std::integer_sequence<int, v...>) __attribute__((always_inline)) {
        (step(std::integral_constant<int, v>{}), ...);
    }
    (std::make_integer_sequence<int, NV>{});
    if (p.alpha != 1) sum.multiply(p.alpha);
    if (width == kAll) return sum.store(p.c + begin, 0, p.line);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            if (width > v * kLanes)
                V::store(p.c + begin + r * p.line + v * kLanes, sum.x[r][v], V::first(width - v * kLanes));
}

/// From the last rows to the first: a product overwrites nothing that a later one reads.
template <class T, int R>
void multiply_column_panel(const ProductColumns<T>& p) {
    constexpr std::int64_t kWidth = kVectors * Vector<T>::kLanes, kFew = kFewVectors * Vector<T>::kLanes;
    const std::int64_t groups = (p.count + kWidth - 1) / kWidth;
    for (std::int64_t i = 0; i < groups; ++i) {
        const std::int64_t begin = (p.down ? i : groups - 1 - i) * kWidth, rest = p.count - begin,
                           width = rest < kWidth ? rest : kWidth;
        if (width > kFew)
            multiply_lanes<T, R, kVectors>(p, begin, width);
        else
            multiply_lanes<T, R, kFewVectors>(p, begin, width);
    }
}

template <class T>
void multiply_columns(const ProductColumns<T>& p) {
    static_assert(kPanelRows == 6);
    static constexpr void (*kOfColumns[])(const ProductColumns<T>&) = {
        multiply_column_panel<T, 1>, multiply_column_panel<T, 2>, multiply_column_panel<T, 3>,
        multiply_column_panel<T, 4>, multiply_column_panel<T, 5>, multiply_column_panel<T, 6>};
    kOfColumns[p.columns - 1](p);
}

template <class T, int R, int NV>
TENON_INLINE void panel_columns(const TriangularPanel<T>& p, std::int64_t j) {
    using V = Vector<T>;
    using Few = Rows<T, R, NV>;
    constexpr int kLine = 64 / int{sizeof(T)};
    T* c = p.c + j;
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < Few::kWidth; v += kLine) __builtin_prefetch(c + r * p.step + v, 1, 3);
    Few sum;
    sum.template add_products<false>(p.a, p.a_step, p.b + j, p.pitch, p.k);
    if (p.write == Write::store) return sum.store(c, 0, p.step);
    const bool adds = p.write == Write::add;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r, c += p.step)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            const auto old = V::load(c + v * V::kLanes);
            V::store(c + v * V::kLanes, adds ? old + sum.x[r][v] : old - sum.x[r][v]);
        }
}

template <class T, int R>
void panel_rows(const TriangularPanel<T>& p) {
    for_columns<T>(
        p.columns, [&]<int NV>(std::int64_t j) __attribute__((always_inline)) { panel_columns<T, R, NV>(p, j); });
}

template <class T>
void panel(const TriangularPanel<T>& p) {
    static_assert(kPanelRows == 6);
    // Not made anew on the stack by each call.
    static constexpr void (*kOfRows[])(const TriangularPanel<T>&) = {
        panel_rows<T, 1>, panel_rows<T, 2>, panel_rows<T, 3>, panel_rows<T, 4>, panel_rows<T, 5>, panel_rows<T, 6>};
    kOfRows[p.rows - 1](p);
}

template <class T>
void scale_sums(const T* sums, T* c, std::int64_t n, T alpha, T beta) {
    using V = Vector<T>;
    const auto a = V::broadcast(alpha), b = V::broadcast(beta);
    for (std::int64_t i = 0; i < n; i += V::kLanes) V::store(c + i, V::fma(a, V::load(sums + i), b * V::load(c + i)));
}

/// Copies squares between a tile and columns in memory, transposed on the way. Memory's rows run upwards; `down`: the
/// tile's run in the other direction.
template <class T, bool kIn>
void move(T* tile, std::int64_t pitch, T* columns, std::int64_t rows, std::int64_t count, std::int64_t step,
          bool down) {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    constexpr std::int64_t n = V::kLanes;
    for (std::int64_t j = 0; j < count; j += n) {
        const std::int64_t some = count - j < n ? count - j : n;
        for (std::int64_t i = 0; i < rows; i += n) {
            const std::int64_t high = rows - i < n ? rows - i : n;
            const typename V::Mask mask = V::first(high), across = V::first(some);
            // Rows i, ..., i + high - 1 of memory are these rows of the tile.
            const auto row = [&](std::int64_t r) { return tile + (down ? rows - 1 - i - r : i + r) * pitch + j; };
            Reg square[n];
            if (some == n && high == n) {
                // Without masks, all in registers.
                T *const first = row(0), *const corner = columns + i + j * step;
                const std::int64_t next = down ? -pitch : pitch;
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) square[r] = V::load(kIn ? corner + r * step : first + r * next);
                transpose<n / 2, n>(square);
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) V::store(kIn ? first + r * next : corner + r * step, square[r]);
            } else if constexpr (kIn) {
                for (std::int64_t c = 0; c < n; ++c)
                    square[c] = c < some ? V::load(columns + i + (j + c) * step, mask) : V::broadcast(1);
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
    // Runs that are prefetched: too short and too far apart for the hardware prefetcher.
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
constexpr TriangularKernels<T> kOf = {multiply_rows<T>, multiply_columns<T>, solve<T>,       panel<T>,
                                      scale_sums<T>,    move<T, true>,       move<T, false>, copy<T>};

}  // namespace

namespace TENON_ISA {
extern const IsaTriangular kTriangular;
constexpr IsaTriangular kTriangular = {kOf<float>, kOf<double>};
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
