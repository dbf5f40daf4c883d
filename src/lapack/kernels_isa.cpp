#include "lapack/kernels.h"

#include "lapack/secular_kernels.h"
#include "product/dense/simd.h"

namespace tenon::lapack {
namespace {

using product::dense::Vector;

// A block of C in registers: vectors of rows by columns.
#if defined(__AVX512F__)
constexpr int kVectors = 3, kColumns = 8, kSums = 4;
#elif defined(__aarch64__)
constexpr int kVectors = 3, kColumns = 8, kSums = 2;
#else
constexpr int kVectors = 3, kColumns = 4, kSums = 2;
#endif
static_assert(kBlock % kColumns == 0);

/// One element of B after the other along a row.
template <class T>
struct Right {
    const T* b;
    std::int64_t row, column;
};

/// `acc` -= A B for C columns and V vectors of rows, of which the last has `last` elements.
template <class T, int C, int V>
TENON_INLINE void accumulate(std::int64_t k, const T* a, std::int64_t lda, Right<T> b, typename Vector<T>::Mask last,
                             typename Vector<T>::Reg (&acc)[C][V]) {
    using Vec = Vector<T>;
    for (std::int64_t p = 0; p < k; ++p, a += lda, b.b += b.row) {
        typename Vec::Reg column[V];
#pragma GCC unroll 4
        for (int v = 0; v < V - 1; ++v) column[v] = -Vec::load(a + v * Vec::kLanes);
        column[V - 1] = -Vec::load(a + (V - 1) * Vec::kLanes, last);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) {
            const auto factor = Vec::broadcast(b.b[j * b.column]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) acc[j][v] = Vec::fma(column[v], factor, acc[j][v]);
        }
    }
}

template <class T, int C, int V>
TENON_INLINE void load_block(const T* c, std::int64_t ldc, typename Vector<T>::Mask last,
                             typename Vector<T>::Reg (&acc)[C][V]) {
    using Vec = Vector<T>;
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < V - 1; ++v) acc[j][v] = Vec::load(c + j * ldc + v * Vec::kLanes);
        acc[j][V - 1] = Vec::load(c + j * ldc + (V - 1) * Vec::kLanes, last);
    }
}
template <class T, int C, int V>
TENON_INLINE void store_block(T* c, std::int64_t ldc, typename Vector<T>::Mask last,
                              const typename Vector<T>::Reg (&acc)[C][V]) {
    using Vec = Vector<T>;
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
#pragma GCC unroll 4
        for (int v = 0; v < V - 1; ++v) Vec::store(c + j * ldc + v * Vec::kLanes, acc[j][v]);
        Vec::store(c + j * ldc + (V - 1) * Vec::kLanes, acc[j][V - 1], last);
    }
}

/// Calls f.template operator()<V>(first row, mask of the last vector) for blocks of rows from `begin` to m.
template <class T, class F>
TENON_INLINE void for_rows(std::int64_t begin, std::int64_t m, F f) {
    using Vec = Vector<T>;
    constexpr std::int64_t kStep = kVectors * Vec::kLanes;
    const auto all = Vec::first(Vec::kLanes);
    std::int64_t i = begin;
    for (; i + kStep <= m; i += kStep) f.template operator()<kVectors>(i, all);
    const std::int64_t rest = m - i;
    if (rest > 2 * Vec::kLanes)
        f.template operator()<3>(i, Vec::first(rest - 2 * Vec::kLanes));
    else if (rest > Vec::kLanes)
        f.template operator()<2>(i, Vec::first(rest - Vec::kLanes));
    else if (rest > 0)
        f.template operator()<1>(i, Vec::first(rest));
}

template <class T, int C>
void subtract_columns(std::int64_t m, std::int64_t k, const T* a, std::int64_t lda, Right<T> b, T* c,
                      std::int64_t ldc) {
    for_rows<T>(0, m, [&]<int V>(std::int64_t i, typename Vector<T>::Mask last) {
        typename Vector<T>::Reg acc[C][V];
        load_block<T, C, V>(c + i, ldc, last, acc);
        accumulate<T, C, V>(k, a + i, lda, b, last, acc);
        store_block<T, C, V>(c + i, ldc, last, acc);
    });
}

template <class T>
void subtract(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
              std::int64_t row, std::int64_t column, T* c, std::int64_t ldc) {
    std::int64_t j = 0;
    for (; j + kColumns <= n; j += kColumns)
        subtract_columns<T, kColumns>(m, k, a, lda, {b + j * column, row, column}, c + j * ldc, ldc);
    if constexpr (kColumns > 4)
        for (; j + 4 <= n; j += 4)
            subtract_columns<T, 4>(m, k, a, lda, {b + j * column, row, column}, c + j * ldc, ldc);
    for (; j + 2 <= n; j += 2) subtract_columns<T, 2>(m, k, a, lda, {b + j * column, row, column}, c + j * ldc, ldc);
    for (; j < n; ++j) subtract_columns<T, 1>(m, k, a, lda, {b + j * column, row, column}, c + j * ldc, ldc);
}

template <class T>
constexpr int kRegisters = kLanes<T> / Vector<T>::kLanes;

/// K columns of A with N of B.
template <class T, int K, int N>
void products_of(std::int64_t m, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T* w, std::int64_t ldw) {
    using Vec = Vector<T>;
    constexpr int R = kRegisters<T>;
    typename Vec::Reg sums[K][N][R] = {};
    std::int64_t i = 0;
    const auto step = [&](auto load) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            typename Vec::Reg left[K];
#pragma GCC unroll 4
            for (int p = 0; p < K; ++p) left[p] = load(a + p * lda + i, r);
#pragma GCC unroll 4
            for (int j = 0; j < N; ++j) {
                const auto right = load(b + j * ldb + i, r);
#pragma GCC unroll 4
                for (int p = 0; p < K; ++p) sums[p][j][r] = Vec::fma(left[p], right, sums[p][j][r]);
            }
        }
    };
    for (; i + kLanes<T> <= m; i += kLanes<T>) step([](const T* x, int r) { return Vec::load(x + r * Vec::kLanes); });
    if (i < m) {
        const std::int64_t rest = m - i;
        step([rest](const T* x, int r) {
            const std::int64_t count = rest - r * Vec::kLanes;
            return Vec::load(x + r * Vec::kLanes, Vec::first(count > 0 ? count : 0));
        });
    }
    for (int p = 0; p < K; ++p)
        for (int j = 0; j < N; ++j) {
            alignas(64) T lanes[kLanes<T>];
            for (int r = 0; r < R; ++r) Vec::store(lanes + r * Vec::kLanes, sums[p][j][r]);
            for (int half = kLanes<T> / 2; half > 0; half /= 2)
                for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
            w[p + j * ldw] = lanes[0];
        }
}

template <class T, int K>
void products_rows(std::int64_t m, std::int64_t n, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T* w,
                   std::int64_t ldw) {
    std::int64_t j = 0;
    for (; j + kSums <= n; j += kSums) products_of<T, K, kSums>(m, a, lda, b + j * ldb, ldb, w + j * ldw, ldw);
    for (; j < n; ++j) products_of<T, K, 1>(m, a, lda, b + j * ldb, ldb, w + j * ldw, ldw);
}

template <class T>
void products(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
              std::int64_t ldb, T* w, std::int64_t ldw) {
    std::int64_t p = 0;
    for (; p + kSums <= k; p += kSums) products_rows<T, kSums>(m, n, a + p * lda, lda, b, ldb, w + p, ldw);
    for (; p < k; ++p) products_rows<T, 1>(m, n, a + p * lda, lda, b, ldb, w + p, ldw);
}

/// C columns from j on.
template <class T, int C>
void pass_columns(const BidiagonalPass<T>& p, std::int64_t j) {
    T dots[C], factors[C];
    const T* const a = p.a + j * p.lda;
    products_of<T, C, 1>(p.m, a, p.lda, p.u, 0, dots, C);
    for (int c = 0; c < C; ++c) {
        p.y[j + c] = p.tau * (dots[c] + p.taken[j + c]);
        p.t[j + c] = p.known[j + c] - p.y[j + c];
        factors[c] = -p.t[j + c];
    }
    subtract_columns<T, 1>(p.m, C, a, p.lda, {factors, 1, 0}, p.sums, p.m);
}

template <class T>
void bidiagonal(const BidiagonalPass<T>& p) {
    for (std::int64_t i = 0; i < p.m; ++i) p.sums[i] = 0;
    std::int64_t j = 0;
    for (; j + 4 <= p.n; j += 4) pass_columns<T, 4>(p, j);
    for (; j < p.n; ++j) pass_columns<T, 1>(p, j);
}

template <class T>
TENON_INLINE T root(T x) {
    if constexpr (sizeof(T) == 4)
        return __builtin_sqrtf(x);
    else
        return __builtin_sqrt(x);
}
template <class T>
TENON_INLINE T multiply_add(T x, T y, T z) {
    if constexpr (sizeof(T) == 4)
        return __builtin_fmaf(x, y, z);
    else
        return __builtin_fma(x, y, z);
}

/// W <= kColumns columns from `first` on: the block on the diagonal, then each row below it once.
template <class T, int W>
int cholesky_columns(int n, int first, T* a, std::int64_t lda) {
    using Vec = Vector<T>;
    T* const diagonal = a + first + first * lda;
    const Right<T> right{a + first, lda, 1};
    subtract_columns<T, W>(W, first, a + first, lda, right, diagonal, lda);
    T reciprocal[W];
    for (int j = 0; j < W; ++j) {
        const T d = diagonal[j + j * lda];
        if (!(d > 0)) return first + j + 1;
        const T r = root(d);
        diagonal[j + j * lda] = r;
        reciprocal[j] = T(1) / r;
        for (int i = j + 1; i < W; ++i) diagonal[i + j * lda] *= reciprocal[j];
        for (int c = j + 1; c < W; ++c)
            for (int i = c; i < W; ++i)
                diagonal[i + c * lda] =
                    multiply_add(-diagonal[i + j * lda], diagonal[c + j * lda], diagonal[i + c * lda]);
    }
    for_rows<T>(first + W, n, [&]<int V>(std::int64_t i, typename Vec::Mask last) {
        typename Vec::Reg acc[W][V];
        T* const c = a + i + first * lda;
        load_block<T, W, V>(c, lda, last, acc);
        accumulate<T, W, V>(first, a + i, lda, right, last, acc);
#pragma GCC unroll 8
        for (int j = 0; j < W; ++j) {
            const auto by = Vec::broadcast(reciprocal[j]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) acc[j][v] *= by;
#pragma GCC unroll 8
            for (int later = j + 1; later < W; ++later) {
                const auto factor = Vec::broadcast(diagonal[later + j * lda]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) acc[later][v] = Vec::fma(-acc[j][v], factor, acc[later][v]);
            }
        }
        store_block<T, W, V>(c, lda, last, acc);
    });
    return 0;
}

template <class T>
int cholesky(int n, T* a, std::int64_t lda) {
    int j = 0;
    for (; j + kColumns <= n; j += kColumns)
        if (const int info = cholesky_columns<T, kColumns>(n, j, a, lda); info != 0) return info;
    for (; j < n; ++j)
        if (const int info = cholesky_columns<T, 1>(n, j, a, lda); info != 0) return info;
    return 0;
}

template <class T>
TENON_INLINE T magnitude(T x) {
    return x < 0 ? -x : x;
}

/// The first of the largest elements. NaN never compares as larger, but counts if it is first.
template <class T>
std::int64_t largest(std::int64_t n, const T* x) {
    // Whether a stretch holds a larger element is checked quickly; only then is its position searched.
    constexpr std::int64_t kStretch = 256;
    std::int64_t best = 0;
    T most = magnitude(x[0]);
    for (std::int64_t begin = 1; begin < n; begin += kStretch) {
        const std::int64_t end = begin + kStretch < n ? begin + kStretch : n;
        bool any = false;
        for (std::int64_t i = begin; i < end; ++i) any |= magnitude(x[i]) > most;
        if (!any) continue;
        for (std::int64_t i = begin; i < end; ++i)
            if (magnitude(x[i]) > most) most = magnitude(x[i]), best = i;
    }
    return best;
}

/// Divides x by a pivot.
template <class T>
void divide(std::int64_t n, T pivot, T* x) {
    constexpr T kSmallest = sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022);
    if (magnitude(pivot) < kSmallest) {
        for (std::int64_t i = 0; i < n; ++i) x[i] /= pivot;
        return;
    }
    const T by = T(1) / pivot;
    for (std::int64_t i = 0; i < n; ++i) x[i] *= by;
}

template <class T>
int lu(std::int64_t m, int n, T* a, std::int64_t lda, int* pivots) {
    int info = 0;
    for (int first = 0; first < n; first += kBlock) {
        const int width = n - first < kBlock ? n - first : kBlock;
        T* const block = a + first * lda;
        for (int p = 0; p + 1 < first; ++p)
            subtract<T>(first - p - 1, width, 1, a + p + 1 + p * lda, lda, block + p, 1, lda, block + p + 1, lda);
        subtract<T>(m - first, width, first, a + first, lda, block, 1, lda, block + first, lda);
        for (int j = first; j < first + width; ++j) {
            T* const x = a + j * lda;
            for (int p = first; p < j; ++p)
                for (int i = p + 1; i < j; ++i) x[i] = multiply_add(-a[i + p * lda], x[p], x[i]);
            if (j > first)
                subtract_columns<T, 1>(m - j, j - first, a + j + first * lda, lda, {x + first, 1, lda}, x + j, lda);
            const std::int64_t pivot = j + largest(m - j, x + j);
            pivots[j] = static_cast<int>(pivot + 1);
            if (x[pivot] == 0) {
                if (info == 0) info = j + 1;
                continue;
            }
            if (pivot != j)
                for (int c = 0; c < n; ++c) {
                    const T other = a[j + c * lda];
                    a[j + c * lda] = a[pivot + c * lda];
                    a[pivot + c * lda] = other;
                }
            divide(m - j - 1, x[j], x + j + 1);
        }
    }
    return info;
}

template <class T>
constexpr Kernels<T> kOf = {subtract<T>,       products<T>,         cholesky<T>,        lu<T>,
                            bidiagonal<T>,     sum_poles<T, false>, sum_poles<T, true>, multiply_ratios<T>,
                            divide_by_poles<T>};

}  // namespace

namespace TENON_ISA {
extern const IsaKernels kKernels;
constexpr IsaKernels kKernels = {kOf<float>, kOf<double>};
}  // namespace TENON_ISA

}  // namespace tenon::lapack
