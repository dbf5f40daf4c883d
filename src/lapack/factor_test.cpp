// The routines of src/lapack that stand in the place of the reference's, beside the reference's own.
#include <algorithm>
#include <cstring>
#include <limits>

#include "base/cpu.h"
#include "lapack/fortran.h"
#include "lapack/lapack.h"
#include "lapack/lapack_testing.h"
#include "lapack/products.h"
#include "tenon/error.h"
#include "tenon/threads.h"

// The reference's, over our BLAS; made for tests alone.
extern "C" {
void reference_spotrf_(const char*, const int*, float*, const int*, int*, std::size_t);
void reference_dpotrf_(const char*, const int*, double*, const int*, int*, std::size_t);
void reference_sgetrf_(const int*, const int*, float*, const int*, int*, int*);
void reference_dgetrf_(const int*, const int*, double*, const int*, int*, int*);
void reference_sgeqrf_(const int*, const int*, float*, const int*, float*, float*, const int*, int*);
void reference_dgeqrf_(const int*, const int*, double*, const int*, double*, double*, const int*, int*);
void reference_slaswp_(const int*, float*, const int*, const int*, const int*, const int*, const int*);
void reference_dlaswp_(const int*, double*, const int*, const int*, const int*, const int*, const int*);
#define DECLARE(name, T)                                                                                       \
    void name##trtri_(const char*, const char*, const int*, T*, const int*, int*, std::size_t, std::size_t);   \
    void name##larft_(const char*, const char*, const int*, const int*, const T*, const int*, const T*, T*,    \
                      const int*, std::size_t, std::size_t);                                                   \
    void name##larfb_(const char*, const char*, const char*, const char*, const int*, const int*, const int*,  \
                      const T*, const int*, const T*, const int*, T*, const int*, T*, const int*, std::size_t, \
                      std::size_t, std::size_t, std::size_t);
#define DECLARE_APPLY(name, T)                                                                                  \
    void name(const char*, const char*, const int*, const int*, const int*, const T*, const int*, const T*, T*, \
              const int*, T*, const int*, int*, std::size_t, std::size_t);
#define DECLARE_THREE(name, T)     \
    DECLARE_APPLY(name##ormqr_, T) \
    DECLARE_APPLY(name##ormlq_, T) \
    DECLARE_APPLY(name##ormql_, T)
DECLARE_THREE(reference_s, float)
DECLARE_THREE(reference_d, double)
DECLARE_THREE(tenon_s, float)
DECLARE_THREE(tenon_d, double)
#define DECLARE_PACKED(name, T)                                                                                  \
    void name(const char*, const char*, const char*, const char*, const char*, const int*, const int*, const T*, \
              const T*, T*, const int*, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t);
DECLARE_PACKED(reference_stfsm_, float)
DECLARE_PACKED(reference_dtfsm_, double)
DECLARE_PACKED(tenon_stfsm_, float)
DECLARE_PACKED(tenon_dtfsm_, double)
void reference_strttf_(const char*, const char*, const int*, const float*, const int*, float*, int*, std::size_t,
                       std::size_t);
void reference_dtrttf_(const char*, const char*, const int*, const double*, const int*, double*, int*, std::size_t,
                       std::size_t);
DECLARE(reference_s, float)
DECLARE(reference_d, double)
DECLARE(tenon_s, float)
DECLARE(tenon_d, double)
#undef DECLARE
}

namespace tenon::lapack::testing {
namespace {

/// A routine of ours and of the reference, for a type.
#define PAIR(name)                              \
    template <class T, class... A>              \
    void reference_##name(A... arguments) {     \
        if constexpr (sizeof(T) == 4)           \
            reference_s##name##_(arguments...); \
        else                                    \
            reference_d##name##_(arguments...); \
    }
PAIR(potrf)
PAIR(getrf)
PAIR(geqrf)
PAIR(laswp)
PAIR(trtri)
PAIR(larft)
PAIR(larfb)
PAIR(tfsm)
PAIR(trttf)
#undef PAIR
template <class T, class... A>
void our_tfsm(A... arguments) {
    if constexpr (sizeof(T) == 4)
        tenon_stfsm_(arguments...);
    else
        tenon_dtfsm_(arguments...);
}
template <class T, class... A>
void our_larft(A... arguments) {
    if constexpr (sizeof(T) == 4)
        tenon_slarft_(arguments...);
    else
        tenon_dlarft_(arguments...);
}
template <class T, class... A>
void our_larfb(A... arguments) {
    if constexpr (sizeof(T) == 4)
        tenon_slarfb_(arguments...);
    else
        tenon_dlarfb_(arguments...);
}

template <class T>
class Factors : public ::testing::Test {};
using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Factors, Types);

constexpr int kOrders[] = {0, 1, 2, 7, 8, 9, 24, 31, 33, 64, 65, 100, 127, 128, 129, 150, 200, 321};
/// potrf and getrf take columns by blocks.
constexpr int kByBlocks = 1600;

template <class T>
Matrix<T> positive(int n, int pad) {
    auto a = random<T>(n, n, 5, pad);
    for (int j = 0; j < n; ++j) {
        for (int i = 0; i < j; ++i) a(i, j) = a(j, i);
        a(j, j) = static_cast<T>(n) + 1;
    }
    return a;
}

template <class T>
bool same_bits(const Matrix<T>& a, const Matrix<T>& b) {
    return a.data.size() == b.data.size() && std::memcmp(a.data.data(), b.data.data(), a.data.size() * sizeof(T)) == 0;
}

TYPED_TEST(Factors, CholeskyIsTheReferences) {
    using T = TypeParam;
    std::vector<int> orders(std::begin(kOrders), std::end(kOrders));
    orders.push_back(kByBlocks);
    for (const int n : orders)
        for (const char uplo : {'U', 'L', 'l'})
            for (const int pad : {0, 5}) {
                SCOPED_TRACE(::testing::Message() << n << uplo << pad);
                const auto a = positive<T>(n, pad);
                auto ours = a, theirs = a;
                int info = -1;
                ASSERT_EQ(potrf(uplo, n, ours.data.data(), ours.ld), 0);
                reference_potrf<T>(&uplo, &n, theirs.data.data(), &theirs.ld, &info, std::size_t{1});
                ASSERT_EQ(info, 0);
                EXPECT_LT(distance(ours, theirs), 4);
                EXPECT_TRUE(ours.marks_intact());
                for (int j = 0; j < n; ++j)
                    for (int i = 0; i < n; ++i)
                        if (uplo == 'U' ? i > j : i < j) {
                            ASSERT_EQ(ours(i, j), a(i, j));
                        }
            }
}

TYPED_TEST(Factors, CholeskySaysWhichMinorIsNotPositive) {
    using T = TypeParam;
    for (const int n : {5, 40, 128, 200, 321, kByBlocks})
        for (const char uplo : {'U', 'L'})
            for (const T bad : {T(-1), T(0), std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::infinity()})
                for (const int at : {0, n / 3, n - 1}) {
                    auto ours = positive<T>(n, 3);
                    ours(at, at) = bad;
                    auto theirs = ours;
                    int info = -1;
                    reference_potrf<T>(&uplo, &n, theirs.data.data(), &theirs.ld, &info, std::size_t{1});
                    EXPECT_EQ(info, at + 1);
                    EXPECT_EQ(potrf(uplo, n, ours.data.data(), ours.ld), info);
                    EXPECT_TRUE(ours.marks_intact());
                }
}

TYPED_TEST(Factors, NaNBesideTheDiagonalIsFound) {
    using T = TypeParam;
    for (const int n : {9, 130, 200}) {
        auto a = positive<T>(n, 0);
        a(n - 1, 1) = std::numeric_limits<T>::quiet_NaN();
        EXPECT_EQ(potrf('L', n, a.data.data(), a.ld), n);
    }
}

TYPED_TEST(Factors, LuIsTheReferences) {
    using T = TypeParam;
    for (const int m : kOrders)
        for (const int n : {0, 1, 5, 8, 31, 33, 64, 100, 129, 200})
            for (const int pad : {0, 5}) {
                SCOPED_TRACE(::testing::Message() << m << 'x' << n << ' ' << pad);
                auto ours = random<T>(m, n, 7, pad), theirs = ours;
                std::vector<int> p(std::max(1, std::min(m, n))), q = p;
                int info = -1;
                ASSERT_EQ(getrf(m, n, ours.data.data(), ours.ld, p.data()), 0);
                reference_getrf<T>(&m, &n, theirs.data.data(), &theirs.ld, q.data(), &info);
                ASSERT_EQ(info, 0);
                EXPECT_EQ(p, q);
                EXPECT_LT(distance(ours, theirs), 100);
                EXPECT_TRUE(ours.marks_intact());
            }
}

TYPED_TEST(Factors, LuByBlocksIsTheReferences) {
    using T = TypeParam;
    for (const auto& [m, n] : {std::pair(kByBlocks, kByBlocks), std::pair(kByBlocks + 50, kByBlocks - 20)}) {
        // Diagonals that leave no doubt about pivots.
        auto ours = random<T>(m, n, 7, 3);
        for (int j = 0; j < n; ++j) ours((j * 7 + 3) % n, j) += T(n);
        auto theirs = ours;
        std::vector<int> p(n), q(n);
        int info = -1;
        ASSERT_EQ(getrf(m, n, ours.data.data(), ours.ld, p.data()), 0);
        reference_getrf<T>(&m, &n, theirs.data.data(), &theirs.ld, q.data(), &info);
        EXPECT_EQ(p, q);
        EXPECT_LT(distance(ours, theirs), 10);
        EXPECT_TRUE(ours.marks_intact());
    }
    Matrix<T> zero = identity<T>(kByBlocks);
    std::vector<int> p(kByBlocks);
    zero(700, 700) = zero(1300, 1300) = 0;
    EXPECT_EQ(getrf(kByBlocks, kByBlocks, zero.data.data(), zero.ld, p.data()), 701);
}

TYPED_TEST(Factors, LuOfSingularMatrices) {
    using T = TypeParam;
    for (const int n : {4, 40, 150}) {
        // Whole numbers, so that what is zero is so exactly: rank one, a column of zeros, nothing but zeros.
        for (const int kind : {0, 1, 2}) {
            Matrix<T> ours(n, n, 2);
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < n; ++i)
                    ours(i, j) = kind == 0                 ? T(1 << (i % 4)) * T(1 << (j % 3))
                                 : kind == 1 && j != n / 2 ? T((i * 7 + j * 3) % 5 == 0) + T(i == j) * 8
                                                           : T(0);
            auto theirs = ours;
            std::vector<int> p(n), q(n);
            int info = 0;
            reference_getrf<T>(&n, &n, theirs.data.data(), &theirs.ld, q.data(), &info);
            EXPECT_GT(info, 0);
            EXPECT_EQ(getrf(n, n, ours.data.data(), ours.ld, p.data()), info);
            EXPECT_EQ(p, q);
            EXPECT_LT(distance(ours, theirs), 10);
        }
    }
}

TYPED_TEST(Factors, NaNAndTinyPivots) {
    using T = TypeParam;
    constexpr int n = 40;
    auto a = random<T>(n, n, 3);
    a(7, 2) = std::numeric_limits<T>::quiet_NaN();
    std::vector<int> p(n);
    getrf(n, n, a.data.data(), a.ld, p.data());
    EXPECT_TRUE(std::isnan(a(n - 1, n - 1)));
    // A pivot whose reciprocal overflows.
    Matrix<T> b(2, 2);
    b(0, 0) = std::numeric_limits<T>::denorm_min() * 8, b(1, 0) = std::numeric_limits<T>::denorm_min() * 4;
    b(1, 1) = 1;
    EXPECT_EQ(getrf(2, 2, b.data.data(), b.ld, p.data()), 0);
    EXPECT_EQ(b(1, 0), T(0.5));
    // And whole matrices of such numbers.
    auto q = random<T>(n, n, 3);
    for (T& x : q.data) x *= std::numeric_limits<T>::min();
    std::vector<T> tau(n);
    auto theirs = q;
    Workspace<T> work;
    ASSERT_EQ(work.run([&](T* w, int l) { return geqrf(n, n, q.data.data(), q.ld, tau.data(), w, l); }), 0);
    std::vector<T> room(64 * n), other(n);
    const int size = 64 * n;
    int info = 0, order = n;
    reference_geqrf<T>(&order, &order, theirs.data.data(), &theirs.ld, other.data(), room.data(), &size, &info);
    for (int i = 0; i < n; ++i) EXPECT_NEAR(tau[i], other[i], 0.05);
}

TYPED_TEST(Factors, InversesOfTrianglesAreTheReferences) {
    using T = TypeParam;
    for (const int n : kOrders)
        for (const char uplo : {'U', 'L', 'l'})
            for (const char diag : {'N', 'U', 'u'}) {
                SCOPED_TRACE(::testing::Message() << n << uplo << diag);
                auto ours = random<T>(n, n, 7, 3);
                for (int j = 0; j < n; ++j)
                    for (int i = 0; i < n; ++i) ours(i, j) = i == j ? T(2) + ours(i, j) : ours(i, j) / T(n);
                const auto given = ours;
                auto theirs = ours;
                int info = -1;
                ASSERT_EQ(trtri(uplo, diag, n, ours.data.data(), ours.ld), 0);
                reference_trtri<T>(&uplo, &diag, &n, theirs.data.data(), &theirs.ld, &info, std::size_t{1},
                                   std::size_t{1});
                ASSERT_EQ(info, 0);
                EXPECT_LT(distance(ours, theirs), 10);
                EXPECT_TRUE(ours.marks_intact());
                for (int j = 0; j < n; ++j)
                    for (int i = 0; i < n; ++i)
                        if ((uplo == 'U' ? i > j : i < j) || (i == j && diag != 'N')) {
                            ASSERT_EQ(ours(i, j), given(i, j));
                        }
            }
    // What is singular is left.
    for (const int at : {0, 70, 149}) {
        auto a = positive<T>(150, 0);
        a(at, at) = 0;
        const auto given = a;
        EXPECT_EQ(trtri('L', 'N', 150, a.data.data(), a.ld), at + 1);
        EXPECT_TRUE(same_bits(a, given));
        EXPECT_EQ(trtri('U', 'U', 150, a.data.data(), a.ld), 0);
    }
}

TYPED_TEST(Factors, SolvesWithPackedTrianglesHaveTheBitsOfTrsm) {
    using T = TypeParam;
    const std::size_t one = 1;
    for (const int m : {0, 1, 2, 7, 50, 129})
        for (const int n : {0, 1, 6, 33, 100})
            for (const char* options : {"NLLNN", "NLUNU", "NLLTU", "NLUTN", "NRLNN", "NRUNU", "NRLTU", "NRUTN", "TLLNU",
                                        "TLUNN", "TLLTN", "TLUTU", "TRLNU", "TRUNN", "TRLTN", "truTU"}) {
                SCOPED_TRACE(::testing::Message() << m << " " << n << " " << options);
                const char *transr = options, *side = options + 1, *uplo = options + 2, *trans = options + 3,
                           *diag = options + 4;
                const int order = upper(*side) == 'L' ? m : n;
                auto a = random<T>(order, order, 3);
                for (int j = 0; j < order; ++j)
                    for (int i = 0; i < order; ++i) a(i, j) = i == j ? T(2) + a(i, j) : a(i, j) / T(order);
                std::vector<T> packed(static_cast<std::size_t>(order) * (order + 1) / 2 + 1);
                int info = -1;
                reference_trttf<T>(transr, uplo, &order, a.data.data(), &a.ld, packed.data(), &info, one, one);
                ASSERT_EQ(info, 0);
                for (const T alpha : {T(0), T(1), T(-0.75)}) {
                    auto ours = random<T>(m, n, 4, 3);
                    auto theirs = ours, whole = ours;
                    our_tfsm<T>(transr, side, uplo, trans, diag, &m, &n, &alpha, packed.data(), ours.data.data(),
                                &ours.ld, one, one, one, one, one);
                    reference_tfsm<T>(transr, side, uplo, trans, diag, &m, &n, &alpha, packed.data(),
                                      theirs.data.data(), &theirs.ld, one, one, one, one, one);
                    trsm(*side, *uplo, *trans, *diag, m, n, alpha, a.data.data(), a.ld, whole.data.data(), whole.ld);
                    EXPECT_TRUE(same_bits(ours, whole));
                    EXPECT_LT(distance(ours, theirs), 10);
                }
            }
}

TYPED_TEST(Factors, QrIsTheReferences) {
    using T = TypeParam;
    for (const int m : kOrders)
        for (const int n : {0, 1, 5, 8, 9, 31, 33, 64, 100, 129, 200})
            for (const int pad : {0, 5}) {
                SCOPED_TRACE(::testing::Message() << m << 'x' << n << ' ' << pad);
                auto ours = random<T>(m, n, 7, pad), theirs = ours;
                std::vector<T> p(std::max(1, std::min(m, n)), T(-1)), q = p, room(64 * std::max(1, n));
                int info = -1;
                const int size = static_cast<int>(room.size());
                Workspace<T> work;
                ASSERT_EQ(work.run([&](T* w, int l) { return geqrf(m, n, ours.data.data(), ours.ld, p.data(), w, l); }),
                          0);
                reference_geqrf<T>(&m, &n, theirs.data.data(), &theirs.ld, q.data(), room.data(), &size, &info);
                ASSERT_EQ(info, 0);
                EXPECT_LT(distance(ours, theirs), 200);
                for (std::size_t i = 0; i < p.size(); ++i)
                    EXPECT_NEAR(p[i], q[i], T(200 * (n + 1)) * std::numeric_limits<T>::epsilon());
                EXPECT_TRUE(ours.marks_intact());
            }
}

TYPED_TEST(Factors, QrOfColumnsOfZerosAndOfNaN) {
    using T = TypeParam;
    constexpr int m = 70, n = 40;
    auto a = random<T>(m, n, 7, 1);
    for (int i = 0; i < m; ++i) a(i, 0) = a(i, 20) = 0;
    const auto given = a;
    std::vector<T> tau(n);
    Workspace<T> work;
    ASSERT_EQ(work.run([&](T* w, int l) { return geqrf(m, n, a.data.data(), a.ld, tau.data(), w, l); }), 0);
    EXPECT_EQ(tau[0], 0);
    auto qr = triangle(a, 'U', 'N', m, n);
    ASSERT_EQ(work.run([&](T* w, int l) {
        return ormqr('L', 'N', m, n, n, a.data.data(), a.ld, tau.data(), qr.data.data(), qr.ld, w, l);
    }),
              0);
    EXPECT_LT(distance(qr, given), 10);
    auto bad = given;
    bad(3, 30) = std::numeric_limits<T>::quiet_NaN();
    ASSERT_EQ(work.run([&](T* w, int l) { return geqrf(m, n, bad.data.data(), bad.ld, tau.data(), w, l); }), 0);
    EXPECT_FALSE(std::isnan(bad(29, 29)));
    EXPECT_TRUE(std::isnan(bad(30, 30)) && std::isnan(bad(n - 1, n - 1)));
}

TYPED_TEST(Factors, BlocksOfReflectorsAreTheReferences) {
    using T = TypeParam;
    constexpr std::size_t one = 1;
    for (const auto& [order, k] : {std::pair(9, 9), std::pair(45, 7), std::pair(150, 32)})
        for (const char direct : {'F', 'B'})
            for (const char storev : {'C', 'R'}) {
                const int rows = storev == 'C' ? order : k, others = 23;
                const auto v = random<T>(rows, storev == 'C' ? k : order, 3, 2);
                auto tau = random<T>(k, 1, 4).data;
                for (T& x : tau) x /= T(order);
                tau[2] = 0;
                Matrix<T> ours(k, k, 1), theirs(k, k, 1);
                our_larft<T>(&direct, &storev, &order, &k, v.data.data(), &v.ld, tau.data(), ours.data.data(), &ours.ld,
                             one, one);
                reference_larft<T>(&direct, &storev, &order, &k, v.data.data(), &v.ld, tau.data(), theirs.data.data(),
                                   &theirs.ld, one, one);
                SCOPED_TRACE(::testing::Message() << order << ' ' << k << direct << storev);
                EXPECT_LT(distance(ours, theirs), 10);
                EXPECT_TRUE(ours.marks_intact());
                for (const char side : {'L', 'R'})
                    for (const char trans : {'N', 'T'}) {
                        const int m = side == 'L' ? order : others, n = side == 'L' ? others : order, room = others;
                        auto c = random<T>(m, n, 5, 3), d = c;
                        std::vector<T> work(static_cast<std::size_t>(room) * k);
                        our_larfb<T>(&side, &trans, &direct, &storev, &m, &n, &k, v.data.data(), &v.ld,
                                     theirs.data.data(), &theirs.ld, c.data.data(), &c.ld, work.data(), &room, one, one,
                                     one, one);
                        reference_larfb<T>(&side, &trans, &direct, &storev, &m, &n, &k, v.data.data(), &v.ld,
                                           theirs.data.data(), &theirs.ld, d.data.data(), &d.ld, work.data(), &room,
                                           one, one, one, one);
                        EXPECT_LT(distance(c, d), 10) << side << trans;
                        EXPECT_TRUE(c.marks_intact());
                    }
            }
}

template <class T>
using Apply = void (*)(const char*, const char*, const int*, const int*, const int*, const T*, const int*, const T*, T*,
                       const int*, T*, const int*, int*, std::size_t, std::size_t);
/// Ours and the reference's, of QR, LQ and QL.
template <class T>
std::vector<std::pair<Apply<T>, Apply<T>>> appliers() {
    if constexpr (sizeof(T) == 4)
        return {
            {tenon_sormqr_, reference_sormqr_}, {tenon_sormlq_, reference_sormlq_}, {tenon_sormql_, reference_sormql_}};
    else
        return {
            {tenon_dormqr_, reference_dormqr_}, {tenon_dormlq_, reference_dormlq_}, {tenon_dormql_, reference_dormql_}};
}

TYPED_TEST(Factors, OrthogonalFactorsAreAppliedAsByTheReference) {
    using T = TypeParam;
    const auto all = appliers<T>();
    for (std::size_t kind = 0; kind < all.size(); ++kind)
        for (const auto& [order, k] : {std::pair(1, 1), std::pair(9, 4), std::pair(150, 64), std::pair(170, 150),
                                       std::pair(140, 140), std::pair(1600, 200)}) {
            const bool by_rows = kind == 1;
            const auto a = random<T>(by_rows ? k : order, by_rows ? order : k, 3, 2);
            auto tau = random<T>(k, 1, 4).data;
            for (T& x : tau) x /= T(order);
            for (const char side : {'L', 'r'})
                for (const char trans : {'n', 'T'}) {
                    SCOPED_TRACE(::testing::Message() << kind << ' ' << order << ' ' << k << side << trans);
                    const int others = 23, m = side == 'L' ? order : others, n = side == 'L' ? others : order;
                    auto c = random<T>(m, n, 5, 3), d = c;
                    int size = -1, info = -1;
                    T best = 0;
                    all[kind].first(&side, &trans, &m, &n, &k, a.data.data(), &a.ld, tau.data(), c.data.data(), &c.ld,
                                    &best, &size, &info, std::size_t{1}, std::size_t{1});
                    EXPECT_EQ(info, 0);
                    std::vector<T> work(static_cast<std::size_t>(best));
                    size = static_cast<int>(best);
                    all[kind].first(&side, &trans, &m, &n, &k, a.data.data(), &a.ld, tau.data(), c.data.data(), &c.ld,
                                    work.data(), &size, &info, std::size_t{1}, std::size_t{1});
                    EXPECT_EQ(info, 0);
                    all[kind].second(&side, &trans, &m, &n, &k, a.data.data(), &a.ld, tau.data(), d.data.data(), &d.ld,
                                     work.data(), &size, &info, std::size_t{1}, std::size_t{1});
                    EXPECT_LT(distance(c, d), 10);
                    EXPECT_TRUE(c.marks_intact());
                }
        }
    T a[4] = {}, tau[2] = {}, c[4] = {};
    EXPECT_THROW(ormqr('X', 'N', 2, 2, 2, a, 2, tau, c, 2, c, 2), Error);
    EXPECT_THROW(ormqr('L', 'X', 2, 2, 2, a, 2, tau, c, 2, c, 2), Error);
    EXPECT_THROW(ormqr('L', 'N', 2, 2, 3, a, 2, tau, c, 2, c, 2), Error);
    EXPECT_THROW(ormqr('L', 'N', 2, 2, 2, a, 1, tau, c, 2, c, 2), Error);
    EXPECT_THROW(ormqr('L', 'N', 2, 2, 2, a, 2, tau, c, 1, c, 2), Error);
    EXPECT_THROW(ormqr('L', 'N', 2, 2, 2, a, 2, tau, c, 2, c, 1), Error);
}

TYPED_TEST(Factors, RowsAreExchangedInEitherOrder) {
    using T = TypeParam;
    constexpr int n = 11, rows = 20, k1 = 3, k2 = 9;
    for (const int incx : {1, 2, -1, -3, 0}) {
        auto ours = random<T>(rows, n, 7, 2), theirs = ours;
        std::vector<int> pivots(64);
        for (std::size_t i = 0; i < pivots.size(); ++i) pivots[i] = static_cast<int>((i * 7 + 3) % rows) + 1;
        int columns = n, first = k1, last = k2, step = incx;
        laswp(n, ours.data.data(), ours.ld, k1, k2, pivots.data(), incx);
        reference_laswp<T>(&columns, theirs.data.data(), &theirs.ld, &first, &last, pivots.data(), &step);
        EXPECT_TRUE(same_bits(ours, theirs)) << incx;
    }
}

TYPED_TEST(Factors, WrongArgumentsAreRefused) {
    using T = TypeParam;
    T a[4] = {}, tau[2];
    int p[2];
    EXPECT_THROW(potrf('X', 2, a, 2), Error);
    EXPECT_THROW(potrf('L', -1, a, 2), Error);
    EXPECT_THROW(potrf('L', 2, a, 1), Error);
    EXPECT_THROW(getrf(-1, 2, a, 2, p), Error);
    EXPECT_THROW(getrf(2, -1, a, 2, p), Error);
    EXPECT_THROW(getrf(2, 2, a, 1, p), Error);
    EXPECT_THROW(trtri('X', 'N', 2, a, 2), Error);
    EXPECT_THROW(trtri('L', 'X', 2, a, 2), Error);
    EXPECT_THROW(trtri('L', 'N', -1, a, 2), Error);
    EXPECT_THROW(trtri('L', 'N', 2, a, 1), Error);
    EXPECT_THROW(geqrf(-1, 2, a, 2, tau, a, 2), Error);
    EXPECT_THROW(geqrf(2, -1, a, 2, tau, a, 2), Error);
    EXPECT_THROW(geqrf(2, 2, a, 1, tau, a, 2), Error);
    EXPECT_THROW(geqrf(2, 2, a, 2, tau, a, 1), Error);
}

/// FNV-1a.
template <class T>
void add(std::uint64_t& hash, const std::vector<T>& data) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
    for (std::size_t i = 0; i < data.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
}

/// Of all results of one type, for matrices that several threads share.
template <class T>
std::uint64_t hash_of_results() {
    constexpr int n = 333, m = 421;
    std::uint64_t hash = 14695981039346656037u;
    Workspace<T> work;
    for (const char uplo : {'U', 'L'}) {
        auto a = positive<T>(kByBlocks, 1);
        potrf(uplo, kByBlocks, a.data.data(), a.ld);
        add(hash, a.data);
    }
    {
        auto a = random<T>(kByBlocks, kByBlocks, 1);
        std::vector<int> p(kByBlocks);
        getrf(kByBlocks, kByBlocks, a.data.data(), a.ld, p.data());
        add(hash, a.data), add(hash, p);
    }
    {
        // Passes of several shares.
        constexpr int order = 520;
        auto a = random<T>(order + 3, order, 1);
        std::vector<T> d(order), e(order), q(order), p(order);
        work.run([&](T* w, int l) {
            return gebrd(a.rows, order, a.data.data(), a.ld, d.data(), e.data(), q.data(), p.data(), w, l);
        });
        add(hash, a.data), add(hash, d), add(hash, q), add(hash, p);
    }
    for (const char uplo : {'U', 'L'}) {
        auto a = positive<T>(n, 1);
        potrf(uplo, n, a.data.data(), a.ld);
        trtri(uplo, 'N', n, a.data.data(), a.ld);
        add(hash, a.data);
    }
    auto lu = random<T>(m, n, 1), qr = lu, svd = lu;
    std::vector<int> pivots(n), iwork(8 * n);
    getrf(m, n, lu.data.data(), lu.ld, pivots.data());
    add(hash, lu.data), add(hash, pivots);
    std::vector<T> tau(n), values(n);
    work.run([&](T* w, int l) { return geqrf(m, n, qr.data.data(), qr.ld, tau.data(), w, l); });
    add(hash, qr.data), add(hash, tau);
    work.run([&](T* w, int l) { return orgqr(m, n, n, qr.data.data(), qr.ld, tau.data(), w, l); });
    add(hash, qr.data);
    auto eigen = positive<T>(n, 0);
    int liwork = 0;
    work.run([&](T* w, int l) {
        if (l != -1) iwork.resize(static_cast<std::size_t>(liwork = iwork[0]));
        return syevd('V', 'L', n, eigen.data.data(), eigen.ld, values.data(), w, l, iwork.data(),
                     l == -1 ? -1 : liwork);
    });
    add(hash, eigen.data), add(hash, values);
    iwork.resize(8 * n);
    Matrix<T> u(m, n), vt(n, n);
    work.run([&](T* w, int l) {
        return gesdd('S', m, n, svd.data.data(), svd.ld, values.data(), u.data.data(), u.ld, vt.data.data(), vt.ld, w,
                     l, iwork.data());
    });
    add(hash, values), add(hash, u.data), add(hash, vt.data);
    return hash;
}

TYPED_TEST(Factors, BitsDependOnNoThreadsAndNoInstructionSet) {
    using T = TypeParam;
    const int threads = num_threads();
    const Isa best = isa();
    set_num_threads(1);
    const std::uint64_t expected = hash_of_results<T>();
    for (const int count : {2, 3, 7, 16}) {
        set_num_threads(count);
        EXPECT_EQ(hash_of_results<T>(), expected) << count << " threads";
    }
    for (const Isa other : {Isa::avx2, Isa::avx512, Isa::neon}) {
        if (!supported(other)) continue;
        force_isa(other);
        EXPECT_EQ(hash_of_results<T>(), expected) << name(other);
    }
    force_isa(best);
    set_num_threads(threads);
}

}  // namespace
}  // namespace tenon::lapack::testing
