// Squares of vectors of P and of its mirror image, which is transposed in registers.
#include "product/dense/symmetric_sum.h"

#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// At most a square: `rows` rows and `columns` columns of C from (i, j), at `c`, with rows `ldc` apart. `crosses`:
/// nothing beyond the diagonal is written.
template <class T>
TENON_INLINE void symmetric_sum_square(const SymmetricSum<T>& f, std::int64_t i, std::int64_t j, std::int64_t rows,
                                       std::int64_t columns, T* c, std::int64_t ldc, bool crosses) {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    constexpr int n = V::kLanes;
    const Reg alpha = V::broadcast(f.alpha), beta = V::broadcast(f.beta), nothing = V::broadcast(-T(0));
    Reg mirror[n];
    if (rows == n && columns == n) {
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) mirror[r] = V::load(f.p + (j + r) * f.pitch + i);
    } else {
        const typename V::Mask mask = V::first(rows);
        for (int r = 0; r < n; ++r) mirror[r] = r < columns ? V::load(f.p + (j + r) * f.pitch + i, mask) : Reg{};
    }
    transpose<n / 2, n>(mirror);
    const T* p = f.p + i * f.pitch + j;
    for (int r = 0; r < n; ++r, p += f.pitch, c += ldc) {
        if (r == rows) break;
        const typename V::Mask mask = V::first(crosses ? r + 1 : columns);
        const Reg old = f.beta != 0 ? V::fma(beta, V::load(c, mask), nothing) : nothing;
        V::store(c, V::fma(alpha, mirror[r], V::fma(alpha, V::load(p, mask), old)), mask);
    }
}

/// A square on the diagonal of an upper triangle: what precedes the diagonal is neither written nor read.
template <class T>
void symmetric_sum_upper(const SymmetricSum<T>& f, std::int64_t i, std::int64_t size) {
    constexpr std::int64_t n = Vector<T>::kLanes;
    T square[n * n] = {}, *const c = f.c + i * f.ldc + i;
    for (std::int64_t r = 0; r < size && f.beta != 0; ++r)
        for (std::int64_t e = r; e < size; ++e) square[r * n + e] = c[r * f.ldc + e];
    symmetric_sum_square(f, i, i, size, size, square, n, false);
    for (std::int64_t r = 0; r < size; ++r)
        for (std::int64_t e = r; e < size; ++e) c[r * f.ldc + e] = square[r * n + e];
}

template <class T>
void symmetric_sum(const SymmetricSum<T>& f) {
    constexpr std::int64_t n = Vector<T>::kLanes;
    const std::int64_t end = f.first + f.rows;
    for (std::int64_t i = f.first; i < end; i += n) {
        const std::int64_t rows = end - i < n ? end - i : n;
        if (!f.lower) symmetric_sum_upper(f, i, rows);
        for (std::int64_t j = f.lower ? 0 : i + n; j < (f.lower ? i + rows : f.n); j += n)
            symmetric_sum_square(f, i, j, rows, f.n - j < n ? f.n - j : n, f.c + i * f.ldc + j, f.ldc, j == i);
    }
}

}  // namespace

namespace TENON_ISA {
extern const IsaSymmetricSum kSymmetricSum;
constexpr IsaSymmetricSum kSymmetricSum = {symmetric_sum<float>, symmetric_sum<double>};
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
