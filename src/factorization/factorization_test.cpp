// Every factorization gives its matrix back, orthogonal where it should be, in every instruction set, and the bits are
// the reference's: alone, in a batch, beside NaN, on any number of threads.
#include "factorization/factorization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "tenon/threads.h"

namespace tenon::factorization {
namespace {

template <class T>
constexpr DType kDType = sizeof(T) == 4 ? DType::float32 : DType::float64;
template <class T>
constexpr double kUnit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;

using Batch = std::vector<double>;  // matrices one behind the other

/// What is called: its name, the extents it takes, how large a result is.
struct Routine {
    std::string name;
    bool square, tall, lower;  // lower: of the matrix, the lower triangle is read
    std::function<std::int64_t(std::int64_t m, std::int64_t n)> size;
    std::function<void(const View&, const View&, bool reference)> call;
};

std::vector<Routine> routines() {
    const auto square_size = [](std::int64_t, std::int64_t n) { return n * n; };
    std::vector<Routine> all;
    all.push_back({"cholesky", true, true, true, square_size, [](const View& a, const View& out, bool reference) {
                       View square = out;
                       square.layout = Layout::contiguous(a.shape());
                       cholesky(a, square, reference);
                   }});
    all.push_back({"lu", false, false, false, lu_size, lu});
    for (const bool full : {false, true}) {
        all.push_back({full ? "qr full" : "qr", false, true, false,
                       [full](std::int64_t m, std::int64_t n) { return qr_size(m, n, full); },
                       [full](const View& a, const View& out, bool reference) { qr(a, out, full, reference); }});
        all.push_back({full ? "svd full" : "svd", false, false, false,
                       [full](std::int64_t m, std::int64_t n) { return svd_size(m, n, true, full); },
                       [full](const View& a, const View& out, bool reference) { svd(a, out, true, full, reference); }});
    }
    all.push_back({"svdvals", false, false, false,
                   [](std::int64_t m, std::int64_t n) { return svd_size(m, n, false, false); },
                   [](const View& a, const View& out, bool reference) { svd(a, out, false, false, reference); }});
    for (const bool vectors : {true, false})
        all.push_back(
            {vectors ? "eigh" : "eigvalsh", true, true, true,
             [vectors](std::int64_t, std::int64_t n) { return eigh_size(n, vectors); },
             [vectors](const View& a, const View& out, bool reference) { eigh(a, out, vectors, reference); }});
    return all;
}

const Routine& routine(std::string_view name) {
    static const std::vector<Routine> all = routines();
    return *std::find_if(all.begin(), all.end(), [&](const Routine& r) { return r.name == name; });
}

template <class T>
std::vector<T> computed(const Routine& r, const std::vector<T>& a, std::int64_t batch, std::int64_t m, std::int64_t n,
                        bool reference = false) {
    const std::int64_t size = r.size(m, n);
    std::vector<T> out(static_cast<std::size_t>(batch * size), T(-77));
    const View in{const_cast<T*>(a.data()), kDType<T>, Layout::contiguous({batch, m, n})};
    r.call(in, {out.data(), kDType<T>, Layout::contiguous({batch, size})}, reference);
    return out;
}

template <class T>
std::vector<T> draw(std::int64_t batch, std::int64_t m, std::int64_t n, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::vector<T> v(static_cast<std::size_t>(batch * m * n));
    for (T& x : v) x = static_cast<T>(static_cast<double>(engine() >> 11) * 0x1p-52 - 1);
    return v;
}

/// Symmetric; where `definite`, positive definite as well.
template <class T>
std::vector<T> symmetric(std::int64_t batch, std::int64_t n, std::uint64_t seed, bool definite) {
    std::vector<T> v = draw<T>(batch, n, n, seed);
    for (std::int64_t b = 0; b < batch; ++b) {
        T* a = v.data() + b * n * n;
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = 0; j < i; ++j) a[j * n + i] = a[i * n + j];
            if (definite) a[i * n + i] += static_cast<T>(n);
        }
    }
    return v;
}

template <class T>
std::vector<T> operand(const Routine& r, std::int64_t batch, std::int64_t m, std::int64_t n, std::uint64_t seed) {
    return r.lower ? symmetric<T>(batch, n, seed, r.name == "cholesky") : draw<T>(batch, m, n, seed);
}

/// A matrix in float64, with the few operations that checks need.
struct Dense {
    std::int64_t m, n;
    std::vector<double> v;

    Dense(std::int64_t rows, std::int64_t columns) : m(rows), n(columns), v(static_cast<std::size_t>(m * n)) {}
    template <class T>
    Dense(const T* from, std::int64_t rows, std::int64_t columns) : m(rows), n(columns), v(from, from + m * n) {}
    double& operator()(std::int64_t i, std::int64_t j) { return v[static_cast<std::size_t>(i * n + j)]; }
    double operator()(std::int64_t i, std::int64_t j) const { return v[static_cast<std::size_t>(i * n + j)]; }
    Dense transpose() const {
        Dense t(n, m);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) t(j, i) = (*this)(i, j);
        return t;
    }
    friend Dense operator*(const Dense& a, const Dense& b) {
        Dense c(a.m, b.n);
        for (std::int64_t i = 0; i < a.m; ++i)
            for (std::int64_t k = 0; k < a.n; ++k)
                for (std::int64_t j = 0; j < b.n; ++j) c(i, j) += a(i, k) * b(k, j);
        return c;
    }
    double largest() const {
        double x = 0;
        for (double e : v) x = std::isnan(e) ? e : std::max(x, std::fabs(e));
        return x;
    }
};

double distance(const Dense& a, const Dense& b) {
    Dense d = a;
    for (std::size_t i = 0; i < d.v.size(); ++i) d.v[i] -= b.v[i];
    return d.largest();
}

Dense unit(std::int64_t n) {
    Dense d(n, n);
    for (std::int64_t i = 0; i < n; ++i) d(i, i) = 1;
    return d;
}

/// Columns of length 1 at right angles, to a few units.
void expect_orthonormal(const Dense& q, double u, const std::string& what) {
    EXPECT_LT(distance(q.transpose() * q, unit(q.n)), 12 * u * std::sqrt(static_cast<double>(q.m)) + 2 * u) << what;
}

/// What `a` was, from the results of a matrix; orthogonality and order are checked on the way.
template <class T>
Dense rebuilt(const std::string& name, const T* out, std::int64_t m, std::int64_t n, const std::string& what) {
    const std::int64_t k = std::min(m, n);
    const double u = kUnit<T>;
    if (name == "cholesky") {
        const Dense l(out, n, n);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = i + 1; j < n; ++j) EXPECT_EQ(l(i, j), 0) << what;
        return l * l.transpose();
    }
    if (name == "lu") {
        const Dense both(out, m, n);
        Dense l(m, k), r(k, n), a(m, n);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                if (j < i) {
                    EXPECT_LE(std::fabs(both(i, j)), 1) << what;
                    l(i, j) = both(i, j);
                } else {
                    r(i, j) = both(i, j);
                }
                if (i == j) l(i, i) = 1;
            }
        const Dense product = l * r;
        for (std::int64_t i = 0; i < m; ++i) {
            const auto row = static_cast<std::int64_t>(out[m * n + i]);
            for (std::int64_t j = 0; j < n; ++j) a(row, j) = product(i, j);
        }
        return a;
    }
    if (name == "qr" || name == "qr full") {
        const std::int64_t columns = name == "qr" ? n : m;
        const Dense q(out, m, columns), r(out + m * columns, n, n);
        expect_orthonormal(q, u, what);
        Dense first(m, n);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) first(i, j) = q(i, j);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < i; ++j) EXPECT_EQ(r(i, j), 0) << what;
        return first * r;
    }
    if (name == "eigh") {
        const Dense v(out + n, n, n);
        expect_orthonormal(v, u * (1 + static_cast<double>(n) / 4), what);
        Dense scaled = v;
        for (std::int64_t j = 0; j < n; ++j) {
            EXPECT_LE(out[std::max<std::int64_t>(j - 1, 0)], out[j]) << what;
            for (std::int64_t i = 0; i < n; ++i) scaled(i, j) *= static_cast<double>(out[j]);
        }
        return scaled * v.transpose();
    }
    const bool full = name == "svd full";
    const std::int64_t left = full ? m : k, right = full ? n : k;
    const Dense left_vectors(out + k, m, left), right_vectors(out + k + m * left, right, n);
    expect_orthonormal(left_vectors, u * (1 + static_cast<double>(n) / 4), what + " U");
    expect_orthonormal(right_vectors.transpose(), u * (1 + static_cast<double>(n) / 4), what + " V");
    Dense a(m, n);
    for (std::int64_t j = 0; j < k; ++j) {
        EXPECT_GE(out[j], 0) << what;
        EXPECT_LE(out[j], out[std::max<std::int64_t>(j - 1, 0)]) << what;
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t l = 0; l < n; ++l)
                a(i, l) += left_vectors(i, j) * static_cast<double>(out[j]) * right_vectors(j, l);
    }
    return a;
}

template <class T>
void expect_rebuilds(const std::string& name, const std::vector<T>& a, std::int64_t batch, std::int64_t m,
                     std::int64_t n) {
    const Routine& r = routine(name);
    const std::vector<T> out = computed(r, a, batch, m, n);
    for (std::int64_t b = 0; b < batch; ++b) {
        const std::string what = name + " " + std::to_string(m) + "x" + std::to_string(n) + " of " +
                                 std::to_string(batch) + ", " + std::to_string(b) + (sizeof(T) == 4 ? " f32" : " f64");
        const Dense expected(a.data() + b * m * n, m, n);
        const Dense back = rebuilt(name, out.data() + b * r.size(m, n), m, n, what);
        const double size = static_cast<double>(std::max(m, n));
        EXPECT_LE(distance(back, expected), 12 * kUnit<T> * size * expected.largest()) << what;
    }
}

const char* const kWhole[] = {"cholesky", "lu", "qr", "qr full", "eigh", "svd", "svd full"};

class ForEachIsa : public testing::TestWithParam<Isa> {
  protected:
    void SetUp() override {
        if (!supported(GetParam())) GTEST_SKIP() << name(GetParam()) << " is not supported here";
        before_ = isa();
        force_isa(GetParam());
    }
    void TearDown() override {
        if (supported(GetParam())) force_isa(before_);
    }

  private:
    Isa before_ = Isa::baseline;
};

template <class T>
void expect_all_rebuild() {
    const std::pair<std::int64_t, std::int64_t> extents[] = {
        {1, 1},   {2, 2},   {3, 3}, {4, 4}, {5, 5},  {7, 7},  {8, 8},   {16, 16}, {31, 31}, {32, 32},
        {33, 33}, {40, 40}, {5, 3}, {3, 5}, {32, 1}, {1, 32}, {32, 17}, {9, 32},  {40, 12}, {12, 40}};
    for (const auto& [m, n] : extents)
        for (const char* each : kWhole) {
            const Routine& r = routine(each);
            if ((r.square && m != n) || (r.tall && m < n)) continue;
            const std::int64_t batch = m == 4 ? 19 : 3;
            expect_rebuilds(each, operand<T>(r, batch, m, n, static_cast<std::uint64_t>(m * 64 + n)), batch, m, n);
        }
}

TEST_P(ForEachIsa, MatricesComeBack) {
    expect_all_rebuild<float>();
    expect_all_rebuild<double>();
}

template <class T>
void expect_bits_of_reference() {
    for (const Routine& r : routines())
        for (const auto& [m, n] :
             {std::pair<std::int64_t, std::int64_t>{1, 1}, {6, 6}, {32, 32}, {11, 4}, {4, 11}, {34, 34}}) {
            if ((r.square && m != n) || (r.tall && m < n)) continue;
            const std::int64_t batch = m > 32 ? 2 : 21, size = r.size(m, n);
            std::vector<T> a = operand<T>(r, batch, m, n, 5);
            // Matrices whose iterations end early, late, or never begin, in the midst of the others.
            for (std::int64_t i = 0; i < m * n; ++i) {
                a[static_cast<std::size_t>(i)] = i % (n + 1) ? T(0) : T(1);
                if (batch > 4) {
                    a[static_cast<std::size_t>(2 * m * n + i)] = T(0);
                    a[static_cast<std::size_t>(3 * m * n + i)] *= static_cast<T>(sizeof(T) == 4 ? 1e30 : 1e300);
                    a[static_cast<std::size_t>(4 * m * n + i)] = std::numeric_limits<T>::infinity();
                }
            }
            const std::vector<T> law = computed(r, a, batch, m, n, true);
            const auto same = [&, m = m, n = n](const std::vector<T>& x, std::int64_t first) {
                for (std::size_t i = 0; i < x.size(); ++i) {
                    const T e = law[static_cast<std::size_t>(first * size) + i];
                    const bool equal = std::memcmp(&x[i], &e, sizeof(T)) == 0 || (std::isnan(x[i]) && std::isnan(e));
                    ASSERT_TRUE(equal) << r.name << " " << m << "x" << n << " element " << i << " from " << first
                                       << ": " << x[i] << ", not " << e;
                }
            };
            for (const int threads : {1, 2, 5}) {
                set_num_threads(threads);
                same(computed(r, a, batch, m, n), 0);
            }
            set_num_threads(0);
            for (std::int64_t b = 0; b < batch; ++b) {
                const auto* one = a.data() + b * m * n;
                same(computed(r, std::vector<T>(one, one + m * n), 1, m, n), b);
            }
        }
}

TEST_P(ForEachIsa, BitsAreTheReferences) {
    expect_bits_of_reference<float>();
    expect_bits_of_reference<double>();
}

INSTANTIATE_TEST_SUITE_P(All, ForEachIsa, testing::Values(Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(Large, BitsDoNotDependOnThreads) {
    for (const char* each : kWhole) {
        const Routine& r = routine(each);
        const std::int64_t m = 150, n = r.square ? 150 : 110;
        const std::vector<double> a = operand<double>(r, 2, m, n, 8);
        set_num_threads(1);
        const auto expected = computed(r, a, 2, m, n);
        for (const int threads : {2, 3, 16}) {
            set_num_threads(threads);
            EXPECT_EQ(computed(r, a, 2, m, n), expected) << each << threads;
        }
        set_num_threads(0);
        expect_rebuilds(each, a, 2, m, n);
    }
}

TEST(Large, ResultsPastTheCachesAreTheSame) {
    // 4 MB of results and more, against the same matrices in parts; extents whose rows are whole vectors and not.
    for (const char* each : kWhole)
        for (const std::int64_t n : {7, 32}) {
            const Routine& r = routine(each);
            const std::int64_t batch = (std::int64_t{5} << 20) / (n * n * 8), part = batch / 8;
            const std::vector<double> a = operand<double>(r, batch, n, n, 8);
            const auto all = computed(r, a, batch, n, n);
            const std::int64_t size = r.size(n, n);
            for (const std::int64_t first : {std::int64_t{0}, part + 3}) {
                const std::vector<double> some(a.begin() + first * n * n, a.begin() + (first + part) * n * n);
                const auto got = computed(r, some, part, n, n);
                EXPECT_TRUE(std::equal(got.begin(), got.end(), all.begin() + first * size)) << each << n;
            }
        }
}

/// Of another size, and of rank r.
template <class T>
void expect_hard_ones(std::int64_t n) {
    const double small = sizeof(T) == 4 ? 1e-30 : 1e-290, large = sizeof(T) == 4 ? 1e30 : 1e290;
    for (const char* each : kWhole) {
        const Routine& r = routine(each);
        for (const double scale : {small, large}) {
            std::vector<T> a = operand<T>(r, 2, n, n, 3);
            // Cholesky's pivots are differences of squares: their roots are far from the ends.
            for (T& x : a) x = static_cast<T>(x * scale);
            expect_rebuilds(each, a, 2, n, n);
        }
        if (r.name == "cholesky") continue;
        std::vector<T> low(static_cast<std::size_t>(n * n));
        const std::vector<T> x = draw<T>(1, n, 2, 4), y = draw<T>(1, n, 2, r.lower ? 4 : 9);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t k = 0; k < 2; ++k)
                    low[static_cast<std::size_t>(i * n + j)] +=
                        x[static_cast<std::size_t>(2 * i + k)] * y[static_cast<std::size_t>(2 * j + k)];
        expect_rebuilds(each, low, 1, n, n);
        std::vector<T> graded = operand<T>(r, 1, n, n, 6);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j)
                graded[static_cast<std::size_t>(i * n + j)] *=
                    static_cast<T>(std::ldexp(1.0, static_cast<int>(-2 * (i + j))));
        expect_rebuilds(each, graded, 1, n, n);
        expect_rebuilds(each, std::vector<T>(static_cast<std::size_t>(n * n)), 1, n, n);
        std::vector<T> diagonal(static_cast<std::size_t>(n * n)), ones(static_cast<std::size_t>(n * n), T(1));
        for (std::int64_t i = 0; i < n; ++i)
            diagonal[static_cast<std::size_t>(i * (n + 1))] = static_cast<T>(i % 3 - 1);
        expect_rebuilds(each, diagonal, 1, n, n);
        expect_rebuilds(each, ones, 1, n, n);
        // Wilkinson's: pairs of eigenvalues that agree to many digits.
        std::vector<T> wilkinson(static_cast<std::size_t>(n * n));
        for (std::int64_t i = 0; i < n; ++i) {
            wilkinson[static_cast<std::size_t>(i * (n + 1))] = static_cast<T>(std::abs(i - n / 2));
            if (i > 0)
                wilkinson[static_cast<std::size_t>(i * n + i - 1)] =
                    wilkinson[static_cast<std::size_t>((i - 1) * n + i)] = 1;
        }
        expect_rebuilds(each, wilkinson, 1, n, n);
    }
}

TEST(Hard, ScalesRanksAndTies) {
    for (const std::int64_t n : {6, 21, 32, 37}) {
        expect_hard_ones<float>(n);
        expect_hard_ones<double>(n);
    }
}

TEST(Cholesky, IsNanWhereNotPositiveDefiniteAndReadsOneTriangle) {
    const double nan = std::nan("");
    const std::vector<double> a{4, nan, 2, 5, /**/ 1, 2, 2, 1, /**/ 0, 0, 0, 0, /**/ nan, 0, 0, 1, /**/ 9, nan, 3, 2};
    const auto l = computed(routine("cholesky"), a, 5, 2, 2);
    const std::vector<double> first{2, 0, 1, 2}, last{3, 0, 1, 1};
    EXPECT_TRUE(std::equal(first.begin(), first.end(), l.begin()));
    EXPECT_TRUE(std::equal(last.begin(), last.end(), l.begin() + 16));
    for (std::size_t b = 1; b < 4; ++b)
        for (const std::size_t i : {0u, 2u, 3u}) {
            EXPECT_TRUE(std::isnan(l[4 * b + i])) << b << " " << i;
            EXPECT_EQ(l[4 * b + 1], 0);
        }
}

TEST(Lu, TakesTheFirstLargestPivotAndLeavesColumnsOfZeros) {
    const std::vector<double> a{0, 1, 2, -2, 3, 1, 2, 5, 7};
    const auto out = computed(routine("lu"), a, 1, 3, 3);
    EXPECT_EQ(out[9], 1);
    EXPECT_EQ(out[10], 2);
    EXPECT_EQ(out[11], 0);
    const auto zero = computed(routine("lu"), std::vector<double>(9), 1, 3, 3);
    EXPECT_EQ(zero, (std::vector<double>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2}));
}

TEST(Qr, SignsAreLapacks) {
    const auto out = computed(routine("qr"), std::vector<double>{3, 1, 4, 2}, 1, 2, 2);
    EXPECT_DOUBLE_EQ(out[4], -5);
    EXPECT_DOUBLE_EQ(out[0], -0.6);
    EXPECT_DOUBLE_EQ(out[7], 0.4);  // one element is left as it is
}

TEST(NotFinite, IsNanForThatMatrixAlone) {
    for (const char* each : {"eigh", "eigvalsh", "svd", "svd full", "svdvals"}) {
        const Routine& r = routine(each);
        for (const double poison : {std::nan(""), std::numeric_limits<double>::infinity()}) {
            std::vector<double> a = operand<double>(r, 3, 4, 4, 1);
            const auto clean = computed(r, a, 3, 4, 4);
            a[16 + 9] = poison;
            const auto out = computed(r, a, 3, 4, 4);
            const std::size_t size = out.size() / 3;
            for (std::size_t i = 0; i < out.size(); ++i) {
                if (i / size == 1)
                    EXPECT_TRUE(std::isnan(out[i])) << each << i;
                else
                    EXPECT_EQ(out[i], clean[i]) << each << i;
            }
        }
    }
}

TEST(Layouts, AreReadWhereTheyLie) {
    for (const Routine& r : routines()) {
        const std::int64_t m = 6, n = r.tall && !r.square ? 4 : 6, batch = 20;
        const std::vector<double> a = operand<double>(r, batch, m, n, 2);
        const auto expected = computed(r, a, batch, m, n);
        // (4, 5) matrices, the batch's axes exchanged, columns contiguous, everything two elements apart.
        std::vector<double> spread(static_cast<std::size_t>(2 * batch * m * n), 99);
        View v{spread.data(), DType::float64, Layout::contiguous({4, 5, m, n})};
        v.layout.strides[0] = 2 * m * n;
        v.layout.strides[1] = 8 * m * n;
        v.layout.strides[2] = 2;
        v.layout.strides[3] = 2 * m;
        for (std::int64_t b = 0; b < batch; ++b)
            for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < n; ++j)
                    spread[static_cast<std::size_t>(b / 5 * 2 * m * n + b % 5 * 8 * m * n + 2 * i + 2 * m * j)] =
                        a[static_cast<std::size_t>((b * m + i) * n + j)];
        std::vector<double> out(expected.size());
        const std::int64_t size = r.size(m, n);
        if (r.name == "cholesky") {
            cholesky(v, {out.data(), DType::float64, Layout::contiguous({4, 5, n, n})}, false);
        } else {
            r.call(v, {out.data(), DType::float64, Layout::contiguous({4, 5, size})}, false);
        }
        EXPECT_EQ(out, expected) << r.name;
    }
}

TEST(Nothing, HasOrthogonalMatricesAllTheSame) {
    EXPECT_EQ(computed(routine("lu"), std::vector<double>{}, 2, 2, 0), (std::vector<double>{0, 1, 0, 1}));
    EXPECT_EQ(computed(routine("qr full"), std::vector<double>{}, 1, 2, 0), (std::vector<double>{1, 0, 0, 1}));
    EXPECT_EQ(computed(routine("svd full"), std::vector<double>{}, 1, 0, 2), (std::vector<double>{1, 0, 0, 1}));
    for (const Routine& r : routines()) {
        EXPECT_TRUE(computed(r, std::vector<double>{}, 0, 3, 3).empty()) << r.name;
        EXPECT_TRUE(computed(r, std::vector<double>{}, 3, 0, 0).empty()) << r.name;
    }
}

}  // namespace
}  // namespace tenon::factorization
