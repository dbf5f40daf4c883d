// Reduction to tridiagonal and to bidiagonal form, and the secular equation with what divide and conquer makes of it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "lapack/lapack.h"
#include "lapack/lapack_testing.h"
#include "lapack/secular.h"
#include "tenon/error.h"

namespace tenon::lapack::testing {
namespace {

template <class T>
class Spectral : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Spectral, Types);

template <class T>
constexpr double kEpsilon = std::numeric_limits<T>::epsilon();

/// x -= tau v (v^T x), in float64; v has a one before what is stored.
void reflect(double tau, const std::vector<double>& v, std::vector<double>& x, std::size_t first) {
    double sum = 0;
    for (std::size_t i = 0; i < v.size(); ++i) sum += v[i] * x[first + i];
    for (std::size_t i = 0; i < v.size(); ++i) x[first + i] -= tau * sum * v[i];
}

/// max |B - Q^T A P| / (n eps max |A|), B by the diagonals.
template <class T>
double off_bidiagonal(const Matrix<T>& a, const Matrix<T>& reduced, const std::vector<T>& d, const std::vector<T>& e,
                      const std::vector<T>& tauq, const std::vector<T>& taup) {
    const int m = a.rows, n = a.columns, k = std::min(m, n);
    const bool upper = m >= n;
    // By rows.
    std::vector<std::vector<double>> x(m, std::vector<double>(n));
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) x[i][j] = a(i, j);
    const auto left = [&](int i, int first) {
        if (first >= m) return;
        std::vector<double> v{1}, column(m);
        for (int r = first + 1; r < m; ++r) v.push_back(reduced(r, i));
        for (int j = 0; j < n; ++j) {
            for (int r = 0; r < m; ++r) column[r] = x[r][j];
            reflect(tauq[i], v, column, first);
            for (int r = 0; r < m; ++r) x[r][j] = column[r];
        }
    };
    const auto right = [&](int i, int first) {
        if (first >= n) return;
        std::vector<double> v{1};
        for (int c = first + 1; c < n; ++c) v.push_back(reduced(i, c));
        for (auto& row : x) reflect(taup[i], v, row, first);
    };
    for (int i = 0; i < k; ++i) {
        if (upper)
            left(i, i), right(i, i + 1);
        else
            right(i, i), left(i, i + 1);
    }
    double most = 0, scale = largest(a);
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            double expected = i == j ? static_cast<double>(d[i]) : 0.0;
            if (upper && j == i + 1 && i + 1 < k) expected = e[i];
            if (!upper && i == j + 1 && j + 1 < k) expected = e[j];
            most = std::max(most, std::abs(x[i][j] - expected));
        }
    return scale > 0 ? most / (scale * std::max(m, n) * kEpsilon<T>) : most;
}

TYPED_TEST(Spectral, MatricesBecomeBidiagonal) {
    using T = TypeParam;
    const auto check = [](Matrix<T> a) {
        const Matrix<T> given = a;
        const int k = std::max(1, std::min(a.rows, a.columns));
        std::vector<T> d(k), e(k), tauq(k), taup(k);
        Workspace<T> work;
        ASSERT_EQ(work.run([&](T* w, int l) {
            return gebrd(a.rows, a.columns, a.data.data(), a.ld, d.data(), e.data(), tauq.data(), taup.data(), w, l);
        }),
                  0);
        SCOPED_TRACE(::testing::Message() << a.rows << 'x' << a.columns);
        EXPECT_TRUE(a.marks_intact());
        EXPECT_LT(off_bidiagonal(given, a, d, e, tauq, taup), 4);
        for (int i = 0; i < std::min(a.rows, a.columns); ++i) {
            EXPECT_EQ(a(i, i), d[i]);
        }
    };
    for (const auto& [m, n] : {std::pair(0, 0), std::pair(1, 1), std::pair(2, 1), std::pair(1, 2), std::pair(5, 5),
                               std::pair(16, 16), std::pair(17, 17), std::pair(40, 33), std::pair(64, 1),
                               std::pair(90, 89), std::pair(33, 60), std::pair(140, 170), std::pair(300, 260)})
        for (const int pad : {0, 3}) check(random<T>(m, n, 9, pad));
    // Columns and rows of zeros, and numbers whose squares vanish or whose reciprocals overflow.
    auto zeros = random<T>(40, 35, 3);
    for (int i = 0; i < 40; ++i) zeros(i, 0) = zeros(i, 7) = 0;
    for (int j = 0; j < 35; ++j) zeros(3, j) = zeros(11, j) = 0;
    check(zeros);
    check(Matrix<T>(20, 20));
    auto tiny = random<T>(30, 30, 3);
    for (T& x : tiny.data) x *= std::numeric_limits<T>::min() * 1024;
    check(tiny);
    check(identity<T>(50));
    // Products of two of which overflow; one large row or column among small ones.
    auto huge = random<T>(30, 30, 3);
    for (T& x : huge.data) x *= std::numeric_limits<T>::max() / 1000;
    check(huge);
    // Of rank one, whose rest is roundings: products just above and below what overflows.
    for (int power = 0; power <= std::numeric_limits<T>::max_exponent - 4; ++power) {
        Matrix<T> one(33, 32);
        const auto left = random<T>(33, 1, 3), right = random<T>(32, 1, 4);
        for (int j = 0; j < 32; ++j)
            for (int i = 0; i < 33; ++i) one(i, j) = std::ldexp(left(i, 0) * right(j, 0), power);
        if (sizeof(T) == 4 || power % 8 == 0) check(one);
    }
    auto graded = random<T>(40, 30, 3);
    for (int j = 0; j < 30; ++j) graded(5, j) *= std::numeric_limits<T>::max() / 1000;
    check(graded);
    graded = random<T>(40, 30, 3);
    for (int j = 0; j < 30; ++j)
        for (int i = 0; i < 40; ++i) graded(i, j) *= std::pow(T(0.01), T(j)) * std::numeric_limits<T>::max() / 1000;
    check(graded);
}

/// max |T - Q^T A Q| / (n eps max |A|).
template <class T>
double off_tridiagonal(char uplo, const Matrix<T>& a, const Matrix<T>& reduced, const std::vector<T>& d,
                       const std::vector<T>& e, const std::vector<T>& tau) {
    const int n = a.rows;
    std::vector<std::vector<double>> x(n, std::vector<double>(n));
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) x[i][j] = (uplo == 'L') == (i >= j) ? a(i, j) : a(j, i);
    for (int step = 0; step + 1 < n; ++step) {
        const int i = uplo == 'L' ? step : n - 2 - step;
        std::vector<double> v(n, 0.0);
        v[uplo == 'L' ? i + 1 : i] = 1;
        if (uplo == 'L')
            for (int r = i + 2; r < n; ++r) v[r] = reduced(r, i);
        else
            for (int r = 0; r < i; ++r) v[r] = reduced(r, i + 1);
        for (auto& row : x) reflect(tau[i], v, row, 0);
        for (int j = 0; j < n; ++j) {
            std::vector<double> column(n);
            for (int r = 0; r < n; ++r) column[r] = x[r][j];
            reflect(tau[i], v, column, 0);
            for (int r = 0; r < n; ++r) x[r][j] = column[r];
        }
    }
    double most = 0;
    const double scale = largest(a);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            double expected = i == j ? static_cast<double>(d[i]) : 0.0;
            if (std::abs(i - j) == 1) expected = e[std::min(i, j)];
            most = std::max(most, std::abs(x[i][j] - expected));
        }
    return scale > 0 ? most / (scale * n * kEpsilon<T>) : most;
}

TYPED_TEST(Spectral, SymmetricMatricesBecomeTridiagonal) {
    using T = TypeParam;
    const auto check = [](char uplo, Matrix<T> a) {
        const Matrix<T> given = a;
        const int n = a.rows;
        std::vector<T> d(n + 1), e(n + 1), tau(n + 1);
        Workspace<T> work;
        ASSERT_EQ(work.run([&](T* w, int l) {
            return sytrd(uplo, n, a.data.data(), a.ld, d.data(), e.data(), tau.data(), w, l);
        }),
                  0);
        SCOPED_TRACE(::testing::Message() << n << uplo);
        EXPECT_TRUE(a.marks_intact());
        EXPECT_LT(off_tridiagonal(uplo, given, a, d, e, tau), 4);
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < n; ++i)
                if (uplo == 'L' ? i < j : i > j) {
                    ASSERT_EQ(a(i, j), given(i, j));
                }
    };
    for (const char uplo : {'L', 'U'}) {
        for (const int n : {0, 1, 2, 3, 15, 16, 17, 33, 60, 130, 290})
            for (const int pad : {0, 3}) check(uplo, random<T>(n, n, 9, pad));
        check(uplo, Matrix<T>(20, 20));
        check(uplo, identity<T>(50));
        auto tiny = random<T>(30, 30, 3);
        for (T& x : tiny.data) x *= std::numeric_limits<T>::min() * 1024;
        check(uplo, tiny);
    }
}

TYPED_TEST(Spectral, NaNIsSeenInBidiagonals) {
    using T = TypeParam;
    auto a = random<T>(60, 50, 3);
    a(30, 40) = std::numeric_limits<T>::quiet_NaN();
    std::vector<T> d(50), e(50), tauq(50), taup(50);
    Workspace<T> work;
    work.run([&](T* w, int l) {
        return gebrd(60, 50, a.data.data(), a.ld, d.data(), e.data(), tauq.data(), taup.data(), w, l);
    });
    EXPECT_TRUE(std::isnan(d[49]));
}

TYPED_TEST(Spectral, WrongArgumentsAreRefused) {
    using T = TypeParam;
    T a[4] = {}, d[2], e[2], q[2], p[2];
    EXPECT_THROW(sytrd('X', 2, a, 2, d, e, q, p, 2), Error);
    EXPECT_THROW(sytrd('L', -1, a, 2, d, e, q, p, 2), Error);
    EXPECT_THROW(sytrd('L', 2, a, 1, d, e, q, p, 2), Error);
    EXPECT_THROW(sytrd('L', 2, a, 2, d, e, q, p, 0), Error);
    EXPECT_THROW(gebrd(-1, 2, a, 2, d, e, q, p, a, 2), Error);
    EXPECT_THROW(gebrd(2, -1, a, 2, d, e, q, p, a, 2), Error);
    EXPECT_THROW(gebrd(2, 2, a, 1, d, e, q, p, a, 2), Error);
    EXPECT_THROW(gebrd(2, 2, a, 2, d, e, q, p, a, 1), Error);
}

/// The root above pole i by bisection in long double.
template <class T>
long double root_by_bisection(const std::vector<T>& d, const std::vector<T>& z, T rho, std::size_t i, bool squares) {
    const std::size_t n = d.size();
    const auto power = [&](long double x) { return squares ? x * x : x; };
    long double most = 0;
    for (const T x : z) most += static_cast<long double>(x) * x;
    const bool last = i + 1 == n;
    // From the nearer pole.
    long double low = 0, high = last ? (squares ? std::sqrt(power(d[i]) + rho * most * 2) - d[i] : rho * most * 2)
                                     : static_cast<long double>(d[i + 1]) - d[i];
    const auto value = [&](long double origin, long double tau) {
        long double sum = 1 / static_cast<long double>(rho);
        for (std::size_t j = 0; j < n; ++j) {
            const long double minus = (d[j] - origin) - tau, plus = (d[j] + origin) + tau;
            sum += static_cast<long double>(z[j]) * z[j] / (squares ? minus * plus : minus);
        }
        return sum;
    };
    long double origin = d[i];
    if (!last && value(origin, high / 2) <= 0) origin = d[i + 1], low = -high, high = 0;
    for (int step = 0; step < 120; ++step) {
        const long double tau = low + (high - low) / 2;
        (value(origin, tau) < 0 ? low : high) = tau;
    }
    return origin + low;
}

template <class T, bool kSquares>
void check_roots(const std::vector<T>& d, std::vector<T> z, T rho) {
    const int n = static_cast<int>(d.size());
    double length = 0;
    for (const T x : z) length += static_cast<double>(x) * x;
    for (T& x : z) x = static_cast<T>(x / std::sqrt(length));
    std::vector<T> memory(static_cast<std::size_t>(Poles<T>::elements(n))), minus(d.size()), plus(d.size());
    const Poles<T> p(n, d.data(), z.data(), rho, T(1), 1, memory.data());
    ASSERT_EQ(p.scale, T(2));
    const SecularEquation<T, kSquares> equation(n, p.d, p.z, kSquares ? p.rho / 2 : p.rho);
    for (int i = 0; i < n; ++i) {
        T root = 0;
        ASSERT_TRUE(equation.solve(i, minus.data(), plus.data(), &root)) << i;
        const long double expected = root_by_bisection(d, z, rho, static_cast<std::size_t>(i), kSquares);
        const double scale = std::max({1.0, static_cast<double>(std::abs(d[0])), static_cast<double>(d[d.size() - 1])});
        EXPECT_NEAR(static_cast<double>(root * p.scale - expected), 0, 8 * scale * kEpsilon<T>) << i << " of " << n;
        // Roots and poles alternate, and the differences say so.
        EXPECT_LT(minus[i], 0);
        if (i + 1 < n) {
            EXPECT_GT(minus[i + 1], 0);
        }
        for (int j = 0; j < n; ++j) {
            const auto exact = static_cast<double>(d[j] - expected);
            EXPECT_NEAR(static_cast<double>(minus[j] * p.scale), exact, 16 * scale * kEpsilon<T>);
        }
    }
}

TYPED_TEST(Spectral, RootsOfTheSecularEquationAreThoseOfBisection) {
    using T = TypeParam;
    std::mt19937 generator(5);
    const auto uniform = [&] { return static_cast<T>(static_cast<double>(generator()) / 4294967296.0); };
    for (const int n : {2, 3, 4, 7, 8, 9, 16, 17, 33, 70}) {
        for (const int kind : {0, 1, 2, 3}) {
            std::vector<T> d(n), z(n);
            for (int i = 0; i < n; ++i) {
                // Spread; near one another; weights of all sizes; both.
                d[i] = (static_cast<T>(i) + T(0.5) * uniform()) / static_cast<T>(n);
                if (kind % 2 == 1)
                    d[i] = static_cast<T>(i) * 64 * std::numeric_limits<T>::epsilon() + T(i >= n / 2) / 2;
                z[i] = kind >= 2 ? std::pow(T(0.5), static_cast<T>(generator() % 16)) : uniform() + T(0.01);
                if (generator() % 2 == 0) z[i] = -z[i];
            }
            for (const T rho : {T(1), T(0.01)}) {
                SCOPED_TRACE(::testing::Message() << n << " kind " << kind << " rho " << rho);
                check_roots<T, false>(d, z, rho);
                check_roots<T, true>(d, z, rho);
            }
        }
    }
}

TYPED_TEST(Spectral, NoRootOfWhatIsNotFinite) {
    using T = TypeParam;
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
        std::vector<T> d{0, T(0.25), T(0.5)}, z{T(0.5), bad, T(0.5)}, memory(64), minus(3), plus(3);
        const Poles<T> p(3, d.data(), z.data(), T(1), T(1), 1, memory.data());
        T root = 0;
        EXPECT_FALSE((SecularEquation<T, false>(3, p.d, p.z, p.rho).solve(0, minus.data(), plus.data(), &root)));
    }
}

/// Matrices that divide and conquer finds hard or easy.
template <class T>
Matrix<T> hard(int kind, int m, int n) {
    Matrix<T> a(m, n);
    std::mt19937 generator(static_cast<unsigned>(kind + n));
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            const T x = static_cast<T>(static_cast<double>(generator()) / 2147483648.0 - 1.0);
            const bool beside = std::abs(i - j) == 1;
            const T grade = std::pow(T(0.7), static_cast<T>(i + j));
            switch (kind) {
                case 0:  // the second difference
                    a(i, j) = i == j ? T(2) : T(beside);
                    break;
                case 1:  // Wilkinson's: pairs that are nearly equal
                    a(i, j) = i == j ? static_cast<T>(std::abs(n / 2 - i)) : T(beside);
                    break;
                case 2:
                    a(i, j) = 1;
                    break;
                case 3:
                    a(i, j) = T(i == j) + (beside ? T(1e-3) * x : T(0));
                    break;
                case 4:
                    a(i, j) = grade * x;
                    break;
                case 5:
                    a(i, j) = x * std::numeric_limits<T>::min() * 100;
                    break;
                default:
                    a(i, j) = x;
            }
        }
    return a;
}

TYPED_TEST(Spectral, VectorsOfHardMatricesAreOrthogonal) {
    using T = TypeParam;
    constexpr double kMost = 4;
    for (const int n : {26, 33, 52, 77, 150})
        for (int kind = 0; kind <= 6; ++kind) {
            SCOPED_TRACE(::testing::Message() << n << " kind " << kind);
            Matrix<T> a = hard<T>(kind, n, n);
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < j; ++i) a(i, j) = a(j, i);
            auto z = a;
            std::vector<T> values(n), s(n);
            std::vector<int> iwork(8 * n);
            int liwork = 0;
            Workspace<T> work;
            ASSERT_EQ(work.run([&](T* w, int l) {
                if (l != -1) iwork.resize(static_cast<std::size_t>(liwork = iwork[0]));
                return syevd('V', 'L', n, z.data.data(), z.ld, values.data(), w, l, iwork.data(),
                             l == -1 ? -1 : liwork);
            }),
                      0);
            EXPECT_LT(distance(product('T', 'N', z, z), identity<T>(n)), kMost);
            auto scaled = z;
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < n; ++i) scaled(i, j) *= values[j];
            EXPECT_LT(distance(product('N', 'T', scaled, z), a), 2 * n * kMost);
            iwork.resize(8 * n);
            const Matrix<T> given = hard<T>(kind, n + kind % 2 * 5, n);
            auto b = given;
            Matrix<T> u(b.rows, n), vt(n, n);
            ASSERT_EQ(work.run([&](T* w, int l) {
                return gesdd('S', b.rows, n, b.data.data(), b.ld, s.data(), u.data.data(), u.ld, vt.data.data(), vt.ld,
                             w, l, iwork.data());
            }),
                      0);
            EXPECT_LT(distance(product('T', 'N', u, u), identity<T>(n)), kMost);
            EXPECT_LT(distance(product('N', 'T', vt, vt), identity<T>(n)), kMost);
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < b.rows; ++i) u(i, j) *= s[j];
            EXPECT_LT(distance(product('N', 'N', u, vt), given), 2 * n * kMost);
        }
}

}  // namespace
}  // namespace tenon::lapack::testing
