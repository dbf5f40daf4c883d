// Level 2 against its definition in extended precision: full, packed and banded storage, increments, options,
// interfaces.

#include "base/by_isa.h"
#include "blas/blas_testing.h"
#include "blas/vectors.h"

namespace tenon::blas::testing {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 2, 3, 5, 8, 17, 33, 64, 100, 257};
constexpr char kTriangles[] = {'U', 'L'}, kDiagonals[] = {'N', 'U'}, kOps[] = {'N', 'T', 'C'};
constexpr Stored kStorages[] = {Stored::full, Stored::packed, Stored::band};

template <class T>
class Level2 : public Typed<T> {};
TYPED_TEST_SUITE(Level2, Types);

template <class T>
void forget(Array<T>& y, T beta) {
    if (beta != T(0)) return;
    for (std::size_t i = 0; i < y.data.size(); ++i)
        if (y.element[i] >= 0) y.data[i] = nan<T>();
    for (Wide& x : y.value.elements) x = 0;
}

/// alpha A x + beta y against what is found.
template <class T>
::testing::AssertionResult is_product(const Array<T>& found, const Array<T>& before, const Dense& a, const Dense& x,
                                      T alpha, T beta) {
    const Dense wanted = wide(alpha) * (a * x) + wide(beta) * before.value;
    const Dense sizes =
        Wide(std::abs(wide(alpha))) * (a.sizes() * x.sizes()) + Wide(std::abs(wide(beta))) * before.value.sizes();
    return equals(found, before, wanted, sizes, 2 * a.columns);
}

TYPED_TEST(Level2, GeneralProducts) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 400; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.pick(kSizes), n = random.pick(kSizes), kl = random.below(6), ku = random.below(6);
        const char op = random.pick(kOps);
        const bool band = random.coin();
        auto a = make<T>(random, way.by_rows(), m, n, Kind::general, 'U', band ? Stored::band : Stored::full, kl, ku);
        auto x = make_vector<T>(random, op == 'N' ? n : m), y = make_vector<T>(random, op == 'N' ? m : n);
        const T alpha = random_scale<T>(random), beta = random_scale<T>(random);
        // Without a row or column nothing is scaled.
        if (m == 0 || n == 0) continue;
        forget(y, beta);
        const Array<T> before = y;
        if (band)
            invoke<T>(way, "gbmv", Option{op}, Int{m}, Int{n}, Int{kl}, Int{ku}, Number<T>{alpha}, a.begin(), Int{a.ld},
                      x.begin(), Int{x.inc}, Number<T>{beta}, y.begin(), Int{y.inc});
        else
            invoke<T>(way, "gemv", Option{op}, Int{m}, Int{n}, Number<T>{alpha}, a.begin(), Int{a.ld}, x.begin(),
                      Int{x.inc}, Number<T>{beta}, y.begin(), Int{y.inc});
        ASSERT_TRUE(is_product<T>(y, before, a.value.op(op), x.value, alpha, beta))
            << "seed " << seed << " band " << band;
    }
}

// One order law for a row alone and in a product, whichever loops add the columns.
TYPED_TEST(Level2, GeneralProductsHaveTheBitsOfProducts) {
    using T = TypeParam;
    if constexpr (!kComplex<T>) {
        for (const std::int64_t m : {1, 15, 16, 17, 100, 4101})
            for (const std::int64_t n : {1, 7, 8, 13, 384, 389, 800, 6200}) {
                if (m * n > 4000000) continue;
                Random random(static_cast<unsigned>(m + n));
                auto a = make<T>(random, false, m, n, Kind::general, 'U', Stored::full, 0, 0);
                auto x = make<T>(random, false, n, 1, Kind::general, 'U', Stored::full, 0, 0),
                     y = make<T>(random, false, m, 1, Kind::general, 'U', Stored::full, 0, 0);
                for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {0.7, 0.0}, {1.0, 1.0}, {-0.3, 1.25}}) {
                    std::vector<T> of_vector(y.begin(), y.begin() + m), of_matrix = of_vector;
                    invoke<T>({}, "gemv", Option{'N'}, Int{m}, Int{n}, Number<T>{T(alpha)}, a.begin(), Int{a.ld},
                              x.begin(), Int{1}, Number<T>{T(beta)}, of_vector.data(), Int{1});
                    invoke<T>({}, "gemm", Option{'N'}, Option{'N'}, Int{m}, Int{1}, Int{n}, Number<T>{T(alpha)},
                              a.begin(), Int{a.ld}, x.begin(), Int{x.ld}, Number<T>{T(beta)}, of_matrix.data(), Int{m});
                    ASSERT_EQ(of_vector, of_matrix) << m << ' ' << n << ' ' << alpha << ' ' << beta;
                }
            }
    }
}

TYPED_TEST(Level2, WithoutRowsOrColumnsNothingIsScaled) {
    using T = TypeParam;
    T y[3] = {T(1), T(2), T(3)}, a[4] = {}, x[3] = {};
    invoke<T>({}, "gemv", Option{'N'}, Int{3}, Int{0}, Number<T>{T(1)}, a, Int{3}, x, Int{1}, Number<T>{T(0)}, y,
              Int{1});
    EXPECT_EQ(y[1], T(2));
}

TYPED_TEST(Level2, SymmetricProducts) {
    using T = TypeParam;
    const char* const names[] = {kComplex<T> ? "hemv" : "symv", kComplex<T> ? "hpmv" : "spmv",
                                 kComplex<T> ? "hbmv" : "sbmv"};
    for (unsigned seed = 1; seed <= 300; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t n = random.pick(kSizes), k = random.below(6);
        const char ul = random.pick(kTriangles);
        const Stored stored = random.pick(kStorages);
        auto a =
            make<T>(random, way.by_rows(), n, n, kComplex<T> ? Kind::hermitian : Kind::symmetric, ul, stored, k, k);
        auto x = make_vector<T>(random, n), y = make_vector<T>(random, n);
        const T alpha = random_scale<T>(random), beta = random_scale<T>(random);
        forget(y, beta);
        const Array<T> before = y;
        const std::string name = names[static_cast<int>(stored)];
        const Option uplo{ul};
        const Number<T> a_scale{alpha}, y_scale{beta};
        if (stored == Stored::full)
            invoke<T>(way, name, uplo, Int{n}, a_scale, a.begin(), Int{a.ld}, x.begin(), Int{x.inc}, y_scale, y.begin(),
                      Int{y.inc});
        else if (stored == Stored::packed)
            invoke<T>(way, name, uplo, Int{n}, a_scale, a.begin(), x.begin(), Int{x.inc}, y_scale, y.begin(),
                      Int{y.inc});
        else
            invoke<T>(way, name, uplo, Int{n}, Int{k}, a_scale, a.begin(), Int{a.ld}, x.begin(), Int{x.inc}, y_scale,
                      y.begin(), Int{y.inc});
        ASSERT_TRUE(is_product<T>(y, before, a.value, x.value, alpha, beta)) << name << " seed " << seed;
    }
}

// Orders from 512 on are shared out, whoever computes the shares.
TYPED_TEST(Level2, SymmetricProductsOfSharedColumns) {
    using T = TypeParam;
    constexpr std::int64_t n = 601;
    for (const char ul : kTriangles) {
        Random random(7);
        auto a = make<T>(random, false, n, n, kComplex<T> ? Kind::hermitian : Kind::symmetric, ul, Stored::full, 0, 0);
        auto x = make_vector<T>(random, n), y = make_vector<T>(random, n);
        const T alpha(2), beta(1);
        const Array<T> before = y;
        invoke<T>({}, kComplex<T> ? "hemv" : "symv", Option{ul}, Int{n}, Number<T>{alpha}, a.begin(), Int{a.ld},
                  x.begin(), Int{x.inc}, Number<T>{beta}, y.begin(), Int{y.inc});
        ASSERT_TRUE(is_product<T>(y, before, a.value, x.value, alpha, beta)) << ul;
    }
}

/// What the kernels of one machine or another make of some columns of a lower triangle.
template <class T>
std::vector<T> of_columns(const Vectors<T>& kernels) {
    constexpr std::int64_t n = 321;
    std::vector<T> a(static_cast<std::size_t>(n * kTogether)), x(static_cast<std::size_t>(n)), y(x);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<T>(static_cast<int>(i * 37 % 101) - 50) / T(7);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(1) / static_cast<T>(i + 3);
    for (int count = 1; count <= kTogether; ++count) {
        TriangleColumns<T> columns;
        T factors[kTogether], sums[kTogether];
        const T* whole[kTogether];
        columns.n = n, columns.column = 0;
        for (int c = 0; c < count; ++c) {
            columns.diagonal[c] = whole[c] = a.data() + c * n;
            columns.diagonal[c] += c, columns.rest[c] = columns.diagonal[c] + 1;
            columns.first[c] = c + 1, columns.count[c] = n - 1 - c;
            factors[c] = x[static_cast<std::size_t>(c)];
        }
        kernels.symmetric[count - 1](columns, T(1), factors, x.data(), y.data());
        kernels.dots[count - 1](n, whole, x.data(), false, sums);
        for (int c = 0; c < count; ++c) y[static_cast<std::size_t>(c)] += sums[c];
    }
    kernels.axpy(n, T(-0.5), x.data(), 1, y.data(), 1);
    return y;
}

TEST(Level2, AskingForColumnsChangesNothing) {
    const IsaVectors* both = TENON_BY_ISA(isa(), kVectors);
    EXPECT_EQ(of_columns(both[0].s), of_columns(both[1].s));
    EXPECT_EQ(of_columns(both[0].d), of_columns(both[1].d));
    EXPECT_EQ(of_columns(both[0].d), of_columns(baseline::kVectors[1].d));
}

TYPED_TEST(Level2, TriangularProductsAndSystems) {
    using T = TypeParam;
    const char* const products[] = {"trmv", "tpmv", "tbmv"};
    const char* const systems[] = {"trsv", "tpsv", "tbsv"};
    for (unsigned seed = 1; seed <= 400; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t n = random.pick(kSizes), k = random.below(6);
        const char ul = random.pick(kTriangles), op = random.pick(kOps), diag = random.pick(kDiagonals);
        const Stored stored = random.pick(kStorages);
        const bool solve = random.coin();
        auto a = make<T>(random, way.by_rows(), n, n, diag == 'U' ? Kind::unit : Kind::triangular, ul, stored, k, k);
        for (T& e : a.data) e *= static_cast<Real<T>>(1.0 / 32);  // so that solutions do not grow
        for (Wide& e : a.value.elements) e /= 32;
        if (diag == 'U')
            for (std::int64_t i = 0; i < n; ++i) a.value.at(i, i) = 1;
        auto x = make_vector<T>(random, n);
        const Array<T> before = x;
        const std::string name = (solve ? systems : products)[static_cast<int>(stored)];
        const Option uplo{ul}, trans{op};
        const DiagonalOption diagonal{diag};
        if (stored == Stored::full)
            invoke<T>(way, name, uplo, trans, diagonal, Int{n}, a.begin(), Int{a.ld}, x.begin(), Int{x.inc});
        else if (stored == Stored::packed)
            invoke<T>(way, name, uplo, trans, diagonal, Int{n}, a.begin(), x.begin(), Int{x.inc});
        else
            invoke<T>(way, name, uplo, trans, diagonal, Int{n}, Int{k}, a.begin(), Int{a.ld}, x.begin(), Int{x.inc});
        const Dense factor = a.value.op(op);
        if (!solve) {
            ASSERT_TRUE(is_product<T>(x, before, factor, before.value, T(1), T(0))) << name << " seed " << seed;
            continue;
        }
        Dense found = before.value;
        for (std::size_t i = 0; i < x.data.size(); ++i)
            if (x.element[i] >= 0) found.elements[static_cast<std::size_t>(x.element[i])] = wide(x.data[i]);
        const Dense residual = factor * found + Wide(-1) * before.value,
                    sizes = factor.sizes() * found.sizes() + before.value.sizes();
        const long double unit = std::numeric_limits<Real<T>>::epsilon() * static_cast<long double>(8 * n + 16);
        for (std::size_t i = 0; i < residual.elements.size(); ++i)
            ASSERT_LE(std::abs(residual.elements[i]), unit * std::abs(sizes.elements[i])) << name << " seed " << seed;
    }
}

TYPED_TEST(Level2, GeneralUpdates) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 150; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.pick(kSizes), n = random.pick(kSizes);
        const bool conjugate = kComplex<T> && random.coin();
        auto a = make<T>(random, way.by_rows(), m, n);
        auto x = make_vector<T>(random, m), y = make_vector<T>(random, n);
        const T alpha = random_scale<T>(random);
        const Array<T> before = a;
        invoke<T>(way,
                  !kComplex<T> ? "ger"
                  : conjugate  ? "gerc"
                               : "geru",
                  Int{m}, Int{n}, Number<T>{alpha}, x.begin(), Int{x.inc}, y.begin(), Int{y.inc}, a.begin(), Int{a.ld});
        const Dense row = y.value.op(conjugate ? 'C' : 'T'), wanted = wide(alpha) * (x.value * row) + before.value;
        ASSERT_TRUE(equals(a, before, wanted,
                           Wide(std::abs(wide(alpha))) * (x.value.sizes() * row.sizes()) + before.value.sizes(), 4))
            << "seed " << seed;
    }
}

TYPED_TEST(Level2, SymmetricUpdates) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 240; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t n = random.pick(kSizes);
        const bool packed = random.coin(), two = random.coin();
        const char ul = random.pick(kTriangles);
        auto a = make<T>(random, way.by_rows(), n, n, kComplex<T> ? Kind::hermitian : Kind::symmetric, ul,
                         packed ? Stored::packed : Stored::full);
        auto x = make_vector<T>(random, n), y = make_vector<T>(random, n);
        T alpha = random_scale<T>(random);
        if (!two) alpha = std::real(alpha);
        if (alpha == T(0)) continue;  // the diagonal keeps its imaginary part
        const Array<T> before = a;
        const std::string name = std::string(kComplex<T> ? "h" : "s") +
                                 (packed        ? "p"
                                  : kComplex<T> ? "e"
                                                : "y") +
                                 "r" + (two ? "2" : "");
        const Number<Real<T>> real{std::real(alpha)};
        const Number<T> scale{alpha};
        if (two && packed)
            invoke<T>(way, name, Option{ul}, Int{n}, scale, x.begin(), Int{x.inc}, y.begin(), Int{y.inc}, a.begin());
        else if (two)
            invoke<T>(way, name, Option{ul}, Int{n}, scale, x.begin(), Int{x.inc}, y.begin(), Int{y.inc}, a.begin(),
                      Int{a.ld});
        else if (packed)
            invoke<T>(way, name, Option{ul}, Int{n}, real, x.begin(), Int{x.inc}, a.begin());
        else
            invoke<T>(way, name, Option{ul}, Int{n}, real, x.begin(), Int{x.inc}, a.begin(), Int{a.ld});
        const char other = kComplex<T> ? 'C' : 'T';
        const Dense& first = x.value;
        const Dense& second = two ? y.value : x.value;
        Dense wanted = wide(alpha) * (first * second.op(other)) + before.value;
        Dense sizes = Wide(std::abs(wide(alpha))) * (first.sizes() * second.sizes().op('T')) + before.value.sizes();
        if (two) {
            wanted = wanted + std::conj(wide(alpha)) * (second * first.op(other));
            sizes = sizes + Wide(std::abs(wide(alpha))) * (second.sizes() * first.sizes().op('T'));
        }
        ASSERT_TRUE(equals(a, before, wanted, sizes, 8)) << name << " seed " << seed;
    }
}

TYPED_TEST(Level2, AVectorThatSharesMemoryWithWhatChangesIsReadFirst) {
    using T = TypeParam;
    constexpr std::int64_t n = 21, ld = 23;
    Random random(5);
    std::vector<T> first(n * ld);
    for (T& e : first) e = random.number<T>();
    const Int size{n}, lda{ld}, one{1};
    const Number<T> alpha{T(2)}, beta{T(3)};
    const Option lower{'L'}, upper{'U'}, plain{'N'}, transposed{'T'};
    const DiagonalOption stored{'N'};
    const Int band{3};
    // Each call once with the vectors in the matrix (or in each other), once with copies of them.
    const auto compare = [&](const char* what, auto call) {
        std::vector<T> aliased = first, apart = first;
        std::vector<T> x(first.begin() + ld, first.begin() + 2 * ld), y(first.begin() + 2 * ld, first.begin() + 3 * ld);
        call(aliased.data(), aliased.data() + ld, aliased.data() + 2 * ld);
        call(apart.data(), x.data(), y.data());
        return std::tuple(what, aliased, apart, x, y);
    };
    const auto matrix_changes = [&](const char* what, auto call) {
        const auto [name, aliased, apart, x, y] = compare(what, call);
        EXPECT_EQ(aliased, apart) << name;
    };
    const auto vector_changes = [&](const char* what, auto call) {  // x does
        const auto [name, aliased, apart, x, y] = compare(what, call);
        EXPECT_EQ(std::vector<T>(aliased.begin() + ld, aliased.begin() + ld + n),
                  std::vector<T>(x.begin(), x.begin() + n))
            << name;
    };
    matrix_changes("ger", [&](T* a, T* x, T* y) {
        invoke<T>({}, kComplex<T> ? "geru" : "ger", size, size, alpha, x, one, y, one, a, lda);
    });
    matrix_changes("syr2", [&](T* a, T* x, T* y) {
        invoke<T>({}, kComplex<T> ? "her2" : "syr2", upper, size, alpha, x, one, y, one, a, lda);
    });
    for (const char* name : {"trmv", "trsv"})
        for (const Option& uplo : {lower, upper})
            for (const Option& trans : {plain, transposed})
                vector_changes(name,
                               [&](T* a, T* x, T*) { invoke<T>({}, name, uplo, trans, stored, size, a, lda, x, one); });
    for (const char* name : {"tbmv", "tbsv"})
        vector_changes(name,
                       [&](T* a, T* x, T*) { invoke<T>({}, name, lower, plain, stored, size, band, a, lda, x, one); });
    vector_changes("symv", [&](T* a, T* x, T* y) {
        invoke<T>({}, kComplex<T> ? "hemv" : "symv", lower, size, alpha, a, lda, y, one, beta, x, one);
    });
    vector_changes("gbmv", [&](T* a, T* x, T* y) {
        invoke<T>({}, "gbmv", plain, size, size, band, band, alpha, a, lda, y, one, beta, x, one);
    });
    // A vector that is both.
    std::vector<T> a = first, x(first.begin(), first.begin() + n), y = x, both = x;
    invoke<T>({}, kComplex<T> ? "hemv" : "symv", lower, size, alpha, a.data(), lda, x.data(), one, beta, y.data(), one);
    invoke<T>({}, kComplex<T> ? "hemv" : "symv", lower, size, alpha, a.data(), lda, both.data(), one, beta, both.data(),
              one);
    EXPECT_EQ(both, y);
}

}  // namespace
}  // namespace tenon::blas::testing
