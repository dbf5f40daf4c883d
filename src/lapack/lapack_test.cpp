// Every routine of lapack.h does what LAPACK's of that name does: arguments arrive in their places.
#include "lapack/lapack.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "lapack/lapack_testing.h"
#include "tenon/error.h"

namespace tenon::lapack::testing {
namespace {

template <class T>
class Lapack : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!available()) GTEST_SKIP() << "built without LAPACK";
    }
};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Lapack, Types);

constexpr int n = 37, m = 50, pad = 3;

template <class T>
Matrix<T> positive(int order) {
    const auto a = random<T>(order, order, 5);
    auto s = product('T', 'N', a, a);
    for (int i = 0; i < order; ++i) s(i, i) += 1;
    return s;
}
template <class T>
Matrix<T> symmetric(int order) {
    auto a = random<T>(order, order, 6);
    for (int j = 0; j < order; ++j)
        for (int i = 0; i < j; ++i) a(i, j) = a(j, i);
    return a;
}
template <class T>
Matrix<T> diagonal(const std::vector<T>& d, int rows, int columns) {
    Matrix<T> a(rows, columns);
    for (int i = 0; i < std::min(rows, columns); ++i) a(i, i) = d[i];
    return a;
}
template <class T>
Matrix<T> columns_of(const Matrix<T>& a, int count) {
    Matrix<T> b(a.rows, count);
    for (int j = 0; j < count; ++j)
        for (int i = 0; i < a.rows; ++i) b(i, j) = a(i, j);
    return b;
}
template <class T>
Matrix<T> rows_of(const Matrix<T>& a, int count) {
    Matrix<T> b(count, a.columns);
    for (int j = 0; j < a.columns; ++j)
        for (int i = 0; i < count; ++i) b(i, j) = a(i, j);
    return b;
}
template <class T>
Matrix<T> padded(const Matrix<T>& a) {
    Matrix<T> b(a.rows, a.columns, pad);
    for (int j = 0; j < a.columns; ++j)
        for (int i = 0; i < a.rows; ++i) b(i, j) = a(i, j);
    return b;
}
template <class T>
double reciprocal_condition(const Matrix<T>& a, const Matrix<T>& inverse) {
    const auto norm = [](const Matrix<T>& x) {
        double most = 0;
        for (int j = 0; j < x.columns; ++j) {
            double sum = 0;
            for (int i = 0; i < x.rows; ++i) sum += std::abs(static_cast<double>(x(i, j)));
            most = std::max(most, sum);
        }
        return most;
    };
    return 1 / (norm(a) * norm(inverse));
}
template <class T>
T one_norm(const Matrix<T>& a) {
    return static_cast<T>(reciprocal_condition(identity<T>(1), a) > 0 ? 1 / reciprocal_condition(identity<T>(1), a)
                                                                      : 0);
}

#if defined(__x86_64__)
TYPED_TEST(Lapack, APlainProblemRaisesNoTrap) {
    using T = TypeParam;
    constexpr unsigned kMaskTraps = 0x1f80, kInvalid = 0x80, kByZero = 0x200, kOverflow = 0x400;
    const auto with = [](unsigned mode, auto&& f) {
        const unsigned before = _mm_getcsr();
        _mm_setcsr(mode);
        f();
        _mm_setcsr(before);
    };
    for (const int order : {16, 37, 150})
        for (const char uplo : {'U', 'L'}) {
            const auto results = [&](unsigned mode) {
                Matrix<T> a = positive<T>(order), v = symmetric<T>(order);
                std::vector<T> w(order);
                std::vector<int> iwork(3 + 5 * order);
                Workspace<T> work;
                with(mode, [&] { potrf(uplo, order, a.data.data(), a.ld); });
                with(mode, [&] {
                    work.run([&](T* memory, int size) {
                        return syevd('V', uplo, order, v.data.data(), v.ld, w.data(), memory, size, iwork.data(),
                                     size == -1 ? -1 : static_cast<int>(iwork.size()));
                    });
                });
                return std::vector{a.data, v.data, w};
            };
            EXPECT_EQ(results(kMaskTraps & ~(kInvalid | kByZero | kOverflow)), results(kMaskTraps)) << order << uplo;
        }
}
#endif

TYPED_TEST(Lapack, PositiveDefinite) {
    using T = TypeParam;
    const auto a = positive<T>(n), x = random<T>(n, 4, 1);
    for (const char uplo : {'U', 'L'}) {
        auto f = padded(a);
        ASSERT_EQ(potrf(uplo, n, f.data.data(), f.ld), 0);
        const auto t = triangle(f, uplo, 'N', n, n);
        EXPECT_LT(distance(uplo == 'U' ? product('T', 'N', t, t) : product('N', 'T', t, t), a), 1);
        auto b = padded(product('N', 'N', a, x));
        ASSERT_EQ(potrs(uplo, n, 4, f.data.data(), f.ld, b.data.data(), b.ld), 0);
        EXPECT_LT(distance(b, x), 1000);
        T rcond = 0;
        std::vector<T> work(3 * n);
        std::vector<int> iwork(n);
        ASSERT_EQ(pocon(uplo, n, f.data.data(), f.ld, one_norm(a), &rcond, work.data(), iwork.data()), 0);
        ASSERT_EQ(potri(uplo, n, f.data.data(), f.ld), 0);
        Matrix<T> inverse(n, n);
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < n; ++i) inverse(i, j) = (uplo == 'U') == (i < j) || i == j ? f(i, j) : f(j, i);
        EXPECT_LT(distance(product('N', 'N', a, inverse), identity<T>(n)), 1000);
        EXPECT_NEAR(rcond / reciprocal_condition(a, inverse), 1.0, 0.7);
        EXPECT_TRUE(f.marks_intact() && b.marks_intact());
    }
    auto indefinite = padded(a);
    indefinite(20, 20) = -1;
    EXPECT_EQ(potrf('L', n, indefinite.data.data(), indefinite.ld), 21);
}

TYPED_TEST(Lapack, Triangular) {
    using T = TypeParam;
    auto a = random<T>(n, n, 2, pad);
    for (int i = 0; i < n; ++i) a(i, i) = T(8) + a(i, i);
    const auto x = random<T>(n, 3, 1);
    const auto t = triangle(a, 'L', 'N', n, n);
    auto b = padded(product('T', 'N', t, x));
    ASSERT_EQ(trtrs('L', 'T', 'N', n, 3, a.data.data(), a.ld, b.data.data(), b.ld), 0);
    EXPECT_LT(distance(b, x), 10);
    T rcond = 0;
    std::vector<T> work(3 * n);
    std::vector<int> iwork(n);
    ASSERT_EQ(trcon('1', 'L', 'N', n, a.data.data(), a.ld, &rcond, work.data(), iwork.data()), 0);
    ASSERT_EQ(trtri('L', 'N', n, a.data.data(), a.ld), 0);
    const auto inverse = triangle(a, 'L', 'N', n, n);
    EXPECT_LT(distance(product('N', 'N', t, inverse), identity<T>(n)), 10);
    EXPECT_NEAR(rcond / reciprocal_condition(t, inverse), 1.0, 0.7);
    a(7, 7) = 0;
    EXPECT_EQ(trtri('L', 'N', n, a.data.data(), a.ld), 8);
}

TYPED_TEST(Lapack, General) {
    using T = TypeParam;
    const auto a = random<T>(n, n, 3), x = random<T>(n, 4, 1);
    auto f = padded(a);
    std::vector<int> pivots(n);
    ASSERT_EQ(getrf(n, n, f.data.data(), f.ld, pivots.data()), 0);
    auto lu = product('N', 'N', triangle(f, 'L', 'U', n, n), triangle(f, 'U', 'N', n, n));
    auto permuted = a;
    laswp(n, permuted.data.data(), permuted.ld, 1, n, pivots.data(), 1);
    EXPECT_LT(distance(lu, permuted), 1);
    auto b = padded(product('T', 'N', a, x));
    ASSERT_EQ(getrs('T', n, 4, f.data.data(), f.ld, pivots.data(), b.data.data(), b.ld), 0);
    EXPECT_LT(distance(b, x), 1000);
    T rcond = 0;
    std::vector<T> work(4 * n);
    std::vector<int> iwork(n);
    ASSERT_EQ(gecon('1', n, f.data.data(), f.ld, one_norm(a), &rcond, work.data(), iwork.data()), 0);
    Workspace<T> space;
    ASSERT_EQ(space.run([&](T* w, int lwork) { return getri(n, f.data.data(), f.ld, pivots.data(), w, lwork); }), 0);
    EXPECT_LT(distance(product('N', 'N', a, f), identity<T>(n)), 1000);
    EXPECT_NEAR(rcond / reciprocal_condition(a, f), 1.0, 0.7);
    EXPECT_TRUE(f.marks_intact() && b.marks_intact());
}

TYPED_TEST(Lapack, SymmetricIndefinite) {
    using T = TypeParam;
    const auto a = symmetric<T>(n), x = random<T>(n, 2, 1);
    auto f = padded(a), b = padded(product('N', 'N', a, x));
    std::vector<int> pivots(n);
    Workspace<T> space;
    ASSERT_EQ(space.run([&](T* w, int lwork) { return sytrf('U', n, f.data.data(), f.ld, pivots.data(), w, lwork); }),
              0);
    ASSERT_EQ(sytrs('U', n, 2, f.data.data(), f.ld, pivots.data(), b.data.data(), b.ld), 0);
    EXPECT_LT(distance(b, x), 1000);
}

TYPED_TEST(Lapack, Orthogonal) {
    using T = TypeParam;
    const auto a = random<T>(m, n, 3);
    Workspace<T> work;
    std::vector<T> tau(n);
    auto f = padded(a);
    ASSERT_EQ(work.run([&](T* w, int l) { return geqrf(m, n, f.data.data(), f.ld, tau.data(), w, l); }), 0);
    auto qr = triangle(f, 'U', 'N', m, n), q = f;
    ASSERT_EQ(work.run([&](T* w, int l) {
        return ormqr('L', 'N', m, n, n, f.data.data(), f.ld, tau.data(), qr.data.data(), qr.ld, w, l);
    }),
              0);
    EXPECT_LT(distance(qr, a), 10);
    ASSERT_EQ(work.run([&](T* w, int l) { return orgqr(m, n, n, q.data.data(), q.ld, tau.data(), w, l); }), 0);
    EXPECT_LT(distance(product('T', 'N', q, q), identity<T>(n)), 10);

    const auto wide = random<T>(n, m, 4);
    auto g = padded(wide);
    ASSERT_EQ(work.run([&](T* w, int l) { return gelqf(n, m, g.data.data(), g.ld, tau.data(), w, l); }), 0);
    auto lq = triangle(g, 'L', 'N', n, m), p = g;
    ASSERT_EQ(work.run([&](T* w, int l) {
        return ormlq('R', 'N', n, m, n, g.data.data(), g.ld, tau.data(), lq.data.data(), lq.ld, w, l);
    }),
              0);
    EXPECT_LT(distance(lq, wide), 10);
    ASSERT_EQ(work.run([&](T* w, int l) { return orglq(n, m, n, p.data.data(), p.ld, tau.data(), w, l); }), 0);
    EXPECT_LT(distance(product('N', 'T', p, p), identity<T>(n)), 10);

    auto h = padded(a);
    std::vector<int> order(n, 0);
    ASSERT_EQ(work.run([&](T* w, int l) { return geqp3(m, n, h.data.data(), h.ld, order.data(), tau.data(), w, l); }),
              0);
    for (int i = 1; i < n; ++i) EXPECT_LE(std::abs(h(i, i)), std::abs(h(i - 1, i - 1)) * T(1.0001));
    auto permuted = a;
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) permuted(i, j) = a(i, order[j] - 1);
    auto r = triangle(h, 'U', 'N', m, n);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return ormqr('L', 'N', m, n, n, h.data.data(), h.ld, tau.data(), r.data.data(), r.ld, w, l);
    }),
              0);
    EXPECT_LT(distance(r, permuted), 10);
}

TYPED_TEST(Lapack, LeastSquares) {
    using T = TypeParam;
    const auto a = random<T>(m, n, 3), x = random<T>(n, 2, 1), b = product('N', 'N', a, x);
    Workspace<T> work;
    int rank = 0;
    {
        auto f = padded(a), c = padded(b);
        ASSERT_EQ(
            work.run([&](T* w, int l) { return gels('N', m, n, 2, f.data.data(), f.ld, c.data.data(), c.ld, w, l); }),
            0);
        EXPECT_LT(distance(rows_of(c, n), x), 100);
    }
    {
        auto f = padded(a), c = padded(b);
        std::vector<int> order(n, 0);
        ASSERT_EQ(work.run([&](T* w, int l) {
            return gelsy(m, n, 2, f.data.data(), f.ld, c.data.data(), c.ld, order.data(), T(1e-5), &rank, w, l);
        }),
                  0);
        EXPECT_EQ(rank, n);
        EXPECT_LT(distance(rows_of(c, n), x), 100);
    }
    auto f = padded(a), c = padded(b);
    std::vector<T> s(n);
    std::vector<int> iwork(1);
    ASSERT_EQ(work.run([&](T* w, int l) {
        if (l != -1) iwork.resize(static_cast<std::size_t>(iwork[0]));
        return gelsd(m, n, 2, f.data.data(), f.ld, c.data.data(), c.ld, s.data(), T(1e-5), &rank, w, l, iwork.data());
    }),
              0);
    EXPECT_EQ(rank, n);
    EXPECT_LT(distance(rows_of(c, n), x), 100);
    EXPECT_TRUE(std::is_sorted(s.rbegin(), s.rend()));
}

TYPED_TEST(Lapack, SymmetricEigenproblem) {
    using T = TypeParam;
    const auto a = symmetric<T>(n);
    Workspace<T> work;
    std::vector<T> w(n), e(n), tau(n), other(n);
    auto v = padded(a);
    int liwork = 0;
    std::vector<int> iwork(1);
    ASSERT_EQ(work.run([&](T* s, int l) {
        if (l != -1) iwork.resize(static_cast<std::size_t>(liwork = iwork[0]));
        return syevd('V', 'U', n, v.data.data(), v.ld, w.data(), s, l, iwork.data(), l == -1 ? -1 : liwork);
    }),
              0);
    EXPECT_TRUE(std::is_sorted(w.begin(), w.end()));
    EXPECT_LT(distance(product('N', 'T', product('N', 'N', v, diagonal(w, n, n)), v), a), 10);
    EXPECT_LT(distance(product('T', 'N', v, v), identity<T>(n)), 10);

    auto f = padded(a);
    Matrix<T> z(n, n, pad);
    int found = 0;
    std::vector<int> support(2 * n);
    ASSERT_EQ(work.run([&](T* s, int l) {
        if (l != -1) iwork.resize(static_cast<std::size_t>(liwork = iwork[0]));
        return syevr('V', 'I', 'L', n, f.data.data(), f.ld, T(0), T(0), 2, 9, T(0), &found, other.data(), z.data.data(),
                     z.ld, support.data(), s, l, iwork.data(), l == -1 ? -1 : liwork);
    }),
              0);
    ASSERT_EQ(found, 8);
    for (int i = 0; i < found; ++i)
        EXPECT_NEAR(other[i], w[i + 1], 100 * std::numeric_limits<T>::epsilon() * std::abs(w[n - 1]));

    auto q = padded(a);
    ASSERT_EQ(
        work.run([&](T* s, int l) { return sytrd('L', n, q.data.data(), q.ld, w.data(), e.data(), tau.data(), s, l); }),
        0);
    ASSERT_EQ(work.run([&](T* s, int l) { return orgtr('L', n, q.data.data(), q.ld, tau.data(), s, l); }), 0);
    Matrix<T> t = diagonal(w, n, n);
    for (int i = 0; i + 1 < n; ++i) t(i, i + 1) = t(i + 1, i) = e[i];
    EXPECT_LT(distance(product('N', 'T', product('N', 'N', q, t), q), a), 10);
}

TYPED_TEST(Lapack, SingularValues) {
    using T = TypeParam;
    const auto a = random<T>(m, n, 3);
    Workspace<T> work;
    std::vector<T> s(n), other(n), e(n), tauq(n), taup(n);
    std::vector<int> iwork(8 * n);
    Matrix<T> u(m, n, pad), vt(n, n, pad);
    auto f = padded(a);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return gesdd('S', m, n, f.data.data(), f.ld, s.data(), u.data.data(), u.ld, vt.data.data(), vt.ld, w, l,
                     iwork.data());
    }),
              0);
    EXPECT_TRUE(std::is_sorted(s.rbegin(), s.rend()));
    EXPECT_LT(distance(product('N', 'N', product('N', 'N', u, diagonal(s, n, n)), vt), a), 10);
    EXPECT_TRUE(u.marks_intact() && vt.marks_intact());
    auto g = padded(a);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return gesvd('S', 'S', m, n, g.data.data(), g.ld, other.data(), u.data.data(), u.ld, vt.data.data(), vt.ld, w,
                     l);
    }),
              0);
    for (int i = 0; i < n; ++i) EXPECT_NEAR(other[i], s[i], 100 * std::numeric_limits<T>::epsilon() * s[0]);
    EXPECT_LT(distance(product('N', 'N', product('N', 'N', u, diagonal(s, n, n)), vt), a), 10);
    auto h = padded(a);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return gebrd(m, n, h.data.data(), h.ld, s.data(), e.data(), tauq.data(), taup.data(), w, l);
    }),
              0);
    double squares = 0, all = 0;
    for (int i = 0; i < n; ++i) squares += double(s[i]) * s[i] + (i + 1 < n ? double(e[i]) * e[i] : 0);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) all += double(a(i, j)) * a(i, j);
    EXPECT_NEAR(squares / all, 1, 100 * std::numeric_limits<T>::epsilon());
}

TYPED_TEST(Lapack, GeneralEigenproblem) {
    using T = TypeParam;
    const auto a = random<T>(n, n, 3);
    Workspace<T> work;
    std::vector<T> wr(n), wi(n), tau(n);
    Matrix<T> v(n, n, pad), none(1, 1);
    auto f = padded(a);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return geev('N', 'V', n, f.data.data(), f.ld, wr.data(), wi.data(), none.data.data(), 1, v.data.data(), v.ld, w,
                    l);
    }),
              0);
    // A V = V W, a pair of conjugates in two columns.
    Matrix<T> w(n, n);
    for (int j = 0; j < n; ++j) {
        w(j, j) = wr[j];
        if (wi[j] > 0) w(j, j + 1) = wi[j], w(j + 1, j) = wi[j + 1];
    }
    EXPECT_LT(distance(product('N', 'N', v, w), product('N', 'N', a, v)), 20);

    auto h = padded(a);
    ASSERT_EQ(work.run([&](T* s, int l) { return gehrd(n, 1, n, h.data.data(), h.ld, tau.data(), s, l); }), 0);
    auto z = h;
    ASSERT_EQ(work.run([&](T* s, int l) { return orghr(n, 1, n, z.data.data(), z.ld, tau.data(), s, l); }), 0);
    for (int j = 0; j < n; ++j)
        for (int i = j + 2; i < n; ++i) h(i, j) = 0;
    EXPECT_LT(distance(product('N', 'T', product('N', 'N', z, h), z), a), 10);
    ASSERT_EQ(work.run([&](T* s, int l) {
        return hseqr('S', 'V', n, 1, n, h.data.data(), h.ld, wr.data(), wi.data(), z.data.data(), z.ld, s, l);
    }),
              0);
    EXPECT_LT(distance(product('N', 'T', product('N', 'N', z, h), z), a), 20);

    auto schur = padded(a);
    ASSERT_EQ(work.run([&](T* s, int l) {
        return gees('V', n, schur.data.data(), schur.ld, wr.data(), wi.data(), v.data.data(), v.ld, s, l);
    }),
              0);
    EXPECT_LT(distance(product('N', 'T', product('N', 'N', v, schur), v), a), 20);

    const auto c = random<T>(n, n, 8);
    auto x = padded(c);
    T scale = 0;
    auto shifted = schur;
    for (int i = 0; i < n; ++i) shifted(i, i) += 20;
    ASSERT_EQ(trsyl('N', 'T', 1, n, n, shifted.data.data(), shifted.ld, schur.data.data(), schur.ld, x.data.data(),
                    x.ld, &scale),
              0);
    auto left = product('N', 'N', shifted, x);
    const auto right = product('N', 'T', x, schur);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < n; ++i) left(i, j) = (left(i, j) + right(i, j)) / scale;
    EXPECT_LT(distance(left, c), 100);
}

TEST(LapackErrors, AWrongArgumentThrows) {
    if (!available()) GTEST_SKIP() << "built without LAPACK";
    double a[4] = {};
    EXPECT_THROW(potrf('X', 2, a, 2), Error);
    EXPECT_THROW(potrf('L', 2, a, 1), Error);
}

TEST(LapackErrors, WithoutTheLibraryCallsDecline) {
    if (available()) GTEST_SKIP() << "built with LAPACK";
    double a[4] = {};
    EXPECT_THROW(potrf('L', 2, a, 2), Error);
}

}  // namespace
}  // namespace tenon::lapack::testing
