// Level 3 against its definition in extended precision: random shapes, leading dimensions, options, scales, interfaces.

#include "blas/blas_testing.h"

namespace tenon::blas::testing {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 2, 3, 5, 8, 13, 17, 33, 64, 70, 97, 130, 200};
constexpr char kTriangles[] = {'U', 'L'}, kSides[] = {'L', 'R'}, kDiagonals[] = {'N', 'U'}, kOps[] = {'N', 'T', 'C'};

template <class T>
class Level3 : public Typed<T> {};
TYPED_TEST_SUITE(Level3, Types);

/// alpha op(A) op(B) + beta C, of which what is beyond a triangle is not asked for; C with NaN where beta is 0.
template <class T>
struct Sum {
    T alpha, beta;
    Dense product, sizes;

    void add(const Dense& a, const Dense& b, T factor) {
        const Dense p = wide(factor) * (a * b), s = Wide(std::abs(wide(factor))) * (a.sizes() * b.sizes());
        product = product.elements.empty() ? p : product + p;
        sizes = sizes.elements.empty() ? s : sizes + s;
    }
    Dense wanted(const Dense& c) const { return product + wide(beta) * c; }
    Dense bound(const Dense& c) const { return sizes + Wide(std::abs(wide(beta))) * c.sizes(); }
};

template <class T>
void forget(Array<T>& c, T beta) {
    if (beta != T(0)) return;
    for (std::size_t i = 0; i < c.data.size(); ++i)
        if (c.element[i] >= 0) c.data[i] = nan<T>();
    for (Wide& x : c.value.elements) x = 0;
}

TYPED_TEST(Level3, Gemm) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 150; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.pick(kSizes), n = random.pick(kSizes), k = random.pick(kSizes);
        const char ta = random.pick(kOps), tb = random.pick(kOps);
        auto a = ta == 'N' ? make<T>(random, way.by_rows(), m, k) : make<T>(random, way.by_rows(), k, m);
        auto b = tb == 'N' ? make<T>(random, way.by_rows(), k, n) : make<T>(random, way.by_rows(), n, k);
        auto c = make<T>(random, way.by_rows(), m, n);
        Sum<T> sum{random_scale<T>(random), random_scale<T>(random), {}, {}};
        forget(c, sum.beta);
        sum.add(a.value.op(ta), b.value.op(tb), sum.alpha);
        const Array<T> before = c;
        invoke<T>(way, "gemm", Option{ta}, Option{tb}, Int{m}, Int{n}, Int{k}, Number<T>{sum.alpha}, a.begin(),
                  Int{a.ld}, b.begin(), Int{b.ld}, Number<T>{sum.beta}, c.begin(), Int{c.ld});
        ASSERT_TRUE(equals(c, before, sum.wanted(before.value), sum.bound(before.value), 2 * k)) << "seed " << seed;
    }
}

TYPED_TEST(Level3, GemmBatchStrided) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 20; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.below(20), n = random.below(20), k = random.below(20), batch = random.below(4);
        auto a = make<T>(random, way.by_rows(), m, k * 4), b = make<T>(random, way.by_rows(), k * 4, n);
        auto c = make<T>(random, way.by_rows(), m * 4, n);
        // Products of blocks of three matrices.
        const std::int64_t step_a = way.by_rows() ? k : k * a.ld, step_b = way.by_rows() ? k * b.ld : k,
                           step_c = way.by_rows() ? m * c.ld : m;
        const Array<T> before = c;
        const T one(1), beta = random_scale<T>(random);
        auto block = [&](const Dense& x, std::int64_t i0, std::int64_t j0, std::int64_t rows, std::int64_t columns) {
            Dense out(rows, columns);
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < columns; ++j) out.at(i, j) = x.at(i0 + i, j0 + j);
            return out;
        };
        Dense wanted = c.value, sizes = c.value.sizes();
        for (std::int64_t p = 0; p < batch; ++p) {
            const Dense x = block(a.value, 0, p * k, m, k), y = block(b.value, p * k, 0, k, n), z = x * y,
                        s = x.sizes() * y.sizes();
            for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                    wanted.at(p * m + i, j) = z.at(i, j) + wide(beta) * wanted.at(p * m + i, j);
                    sizes.at(p * m + i, j) += s.at(i, j);
                }
        }
        invoke<T>(way, "gemm_batch_strided", Option{'N'}, Option{'N'}, Int{m}, Int{n}, Int{k}, Number<T>{one},
                  a.begin(), Int{a.ld}, Int{step_a}, b.begin(), Int{b.ld}, Int{step_b}, Number<T>{beta}, c.begin(),
                  Int{c.ld}, Int{step_c}, Int{batch});
        ASSERT_TRUE(equals(c, before, wanted, sizes, 2 * k)) << "seed " << seed;
    }
}

TYPED_TEST(Level3, ResultsOfABatchThatCrossAreComputedInOrder) {
    using T = TypeParam;
    constexpr std::int64_t n = 6, batch = 4;
    Random random(11);
    std::vector<T> a(batch * n * n), c(batch * n * n);
    for (auto* each : {&a, &c})
        for (T& x : *each) x = random.number<T>();
    const Number<T> alpha{T(0.5)}, beta{T(0.75)};
    for (const std::int64_t step : {std::int64_t{0}, std::int64_t{1}, n, n * n - 1}) {
        std::vector<T> together = c, one_by_one = c;
        invoke<T>({}, "gemm_batch_strided", Option{'N'}, Option{'T'}, Int{n}, Int{n}, Int{n}, alpha, a.data(), Int{n},
                  Int{n * n}, a.data(), Int{n}, Int{0}, beta, together.data(), Int{n}, Int{step}, Int{batch});
        for (std::int64_t i = 0; i < batch; ++i)
            invoke<T>({}, "gemm", Option{'N'}, Option{'T'}, Int{n}, Int{n}, Int{n}, alpha, a.data() + i * n * n, Int{n},
                      a.data(), Int{n}, beta, one_by_one.data() + i * step, Int{n});
        EXPECT_EQ(together, one_by_one) << step;
    }
}

// Each product multiplies what the one before gave, in memory with gaps.
TYPED_TEST(Level3, ABatchWhoseOperandsAreItsResultsIsComputedInOrder) {
    using T = TypeParam;
    constexpr std::int64_t n = 300, ld = n + 1, step = ld * n, batch = 8;
    Random random(12);
    std::vector<T> b(n * n), together((batch + 1) * step);
    for (auto* each : {&b, &together})
        for (T& x : *each) x = random.number<T>() * static_cast<Real<T>>(1.0 / 8);
    std::vector<T> one_by_one = together;
    const Number<T> alpha{T(0.5)}, beta{T(0.75)};
    const Option plain{'N'};
    const int threads = function<int()>("tenon_blas_get_num_threads")();
    function<void(int)>("tenon_blas_set_num_threads")(4);
    invoke<T>({}, "gemm_batch_strided", plain, plain, Int{n}, Int{n}, Int{n}, alpha, together.data(), Int{ld},
              Int{step}, b.data(), Int{n}, Int{0}, beta, together.data() + step, Int{ld}, Int{step}, Int{batch});
    function<void(int)>("tenon_blas_set_num_threads")(threads);
    for (std::int64_t i = 0; i < batch; ++i)
        invoke<T>({}, "gemm", plain, plain, Int{n}, Int{n}, Int{n}, alpha, one_by_one.data() + i * step, Int{ld},
                  b.data(), Int{n}, beta, one_by_one.data() + (i + 1) * step, Int{ld});
    EXPECT_TRUE(together == one_by_one);
}

TYPED_TEST(Level3, Gemmt) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 80; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t n = random.pick(kSizes), k = random.pick(kSizes);
        const char ul = random.pick(kTriangles), ta = random.pick(kOps), tb = random.pick(kOps);
        auto a = ta == 'N' ? make<T>(random, way.by_rows(), n, k) : make<T>(random, way.by_rows(), k, n);
        auto b = tb == 'N' ? make<T>(random, way.by_rows(), k, n) : make<T>(random, way.by_rows(), n, k);
        auto c = make<T>(random, way.by_rows(), n, n, Kind::triangular, ul);
        Sum<T> sum{random_scale<T>(random), random_scale<T>(random), {}, {}};
        forget(c, sum.beta);
        sum.add(a.value.op(ta), b.value.op(tb), sum.alpha);
        const Array<T> before = c;
        invoke<T>(way, random.coin() ? "gemmt" : "gemmtr", Option{ul}, Option{ta}, Option{tb}, Int{n}, Int{k},
                  Number<T>{sum.alpha}, a.begin(), Int{a.ld}, b.begin(), Int{b.ld}, Number<T>{sum.beta}, c.begin(),
                  Int{c.ld});
        ASSERT_TRUE(equals(c, before, sum.wanted(before.value), sum.bound(before.value), 2 * k)) << "seed " << seed;
    }
}

TYPED_TEST(Level3, SymmAndHemm) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 120; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.pick(kSizes), n = random.pick(kSizes);
        const char side = random.pick(kSides), ul = random.pick(kTriangles);
        const bool hermitian = kComplex<T> && random.coin();
        const std::int64_t order = side == 'L' ? m : n;
        auto a = make<T>(random, way.by_rows(), order, order, hermitian ? Kind::hermitian : Kind::symmetric, ul);
        auto b = make<T>(random, way.by_rows(), m, n), c = make<T>(random, way.by_rows(), m, n);
        Sum<T> sum{random_scale<T>(random), random_scale<T>(random), {}, {}};
        forget(c, sum.beta);
        sum.add(side == 'L' ? a.value : b.value, side == 'L' ? b.value : a.value, sum.alpha);
        const Array<T> before = c;
        invoke<T>(way, hermitian ? "hemm" : "symm", SideOption{side}, Option{ul}, Int{m}, Int{n}, Number<T>{sum.alpha},
                  a.begin(), Int{a.ld}, b.begin(), Int{b.ld}, Number<T>{sum.beta}, c.begin(), Int{c.ld});
        ASSERT_TRUE(equals(c, before, sum.wanted(before.value), sum.bound(before.value), 2 * order)) << "seed " << seed;
    }
}

TYPED_TEST(Level3, Updates) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 160; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t n = random.pick(kSizes), k = random.pick(kSizes);
        const bool hermitian = kComplex<T> && random.coin(), two = random.coin(), none = random.coin();
        const char ul = random.pick(kTriangles), other = hermitian ? 'C' : 'T', op = none ? 'N' : other;
        auto a = none ? make<T>(random, way.by_rows(), n, k) : make<T>(random, way.by_rows(), k, n);
        auto b = none ? make<T>(random, way.by_rows(), n, k) : make<T>(random, way.by_rows(), k, n);
        auto c = make<T>(random, way.by_rows(), n, n, hermitian ? Kind::hermitian : Kind::symmetric, ul);
        Sum<T> sum{random_scale<T>(random), random_scale<T>(random), {}, {}};
        if (hermitian) sum.beta = std::real(sum.beta);
        if (hermitian && !two) sum.alpha = std::real(sum.alpha);
        // Without a change the diagonal keeps its imaginary part.
        if (hermitian && sum.beta == T(1) && (sum.alpha == T(0) || k == 0)) continue;
        forget(c, sum.beta);
        const Dense x = a.value.op(op), y = b.value.op(op);
        if (two) {
            sum.add(x, y.op(other), sum.alpha);
            if constexpr (kComplex<T>)
                sum.add(y, x.op(other), hermitian ? std::conj(sum.alpha) : sum.alpha);
            else
                sum.add(y, x.op(other), sum.alpha);
        } else {
            sum.add(x, x.op(other), sum.alpha);
        }
        const Array<T> before = c;
        const std::string name = (hermitian ? std::string("her") : std::string("syr")) + (two ? "2k" : "k");
        const Number<Real<T>> real_alpha{std::real(sum.alpha)}, real_beta{std::real(sum.beta)};
        const Number<T> alpha{sum.alpha}, beta{sum.beta};
        if (!two && !hermitian)
            invoke<T>(way, name, Option{ul}, Option{op}, Int{n}, Int{k}, alpha, a.begin(), Int{a.ld}, beta, c.begin(),
                      Int{c.ld});
        else if (!two)
            invoke<T>(way, name, Option{ul}, Option{op}, Int{n}, Int{k}, real_alpha, a.begin(), Int{a.ld}, real_beta,
                      c.begin(), Int{c.ld});
        else if (!hermitian)
            invoke<T>(way, name, Option{ul}, Option{op}, Int{n}, Int{k}, alpha, a.begin(), Int{a.ld}, b.begin(),
                      Int{b.ld}, beta, c.begin(), Int{c.ld});
        else
            invoke<T>(way, name, Option{ul}, Option{op}, Int{n}, Int{k}, alpha, a.begin(), Int{a.ld}, b.begin(),
                      Int{b.ld}, real_beta, c.begin(), Int{c.ld});
        ASSERT_TRUE(equals(c, before, sum.wanted(before.value), sum.bound(before.value), 4 * k))
            << name << " seed " << seed;
    }
}

TYPED_TEST(Level3, Triangular) {
    using T = TypeParam;
    for (unsigned seed = 1; seed <= 160; ++seed) {
        Random random(seed);
        const Way way = random_way(random);
        const std::int64_t m = random.pick(kSizes), n = random.pick(kSizes);
        const char side = random.pick(kSides), ul = random.pick(kTriangles), op = random.pick(kOps),
                   diag = random.pick(kDiagonals);
        const bool solve = random.coin();
        const std::int64_t order = side == 'L' ? m : n;
        auto a = make<T>(random, way.by_rows(), order, order, diag == 'U' ? Kind::unit : Kind::triangular, ul);
        for (T& x : a.data) x *= static_cast<Real<T>>(1.0 / 16);  // so that solutions do not grow
        for (Wide& x : a.value.elements) x /= 16;
        if (diag == 'U')
            for (std::int64_t i = 0; i < order; ++i) a.value.at(i, i) = 1;
        auto b = make<T>(random, way.by_rows(), m, n);
        const T alpha = random_scale<T>(random);
        if (alpha == T(0)) forget(b, T(0));
        const Array<T> before = b;
        invoke<T>(way, solve ? "trsm" : "trmm", SideOption{side}, Option{ul}, Option{op}, DiagonalOption{diag}, Int{m},
                  Int{n}, Number<T>{alpha}, a.begin(), Int{a.ld}, b.begin(), Int{b.ld});
        const Dense factor = a.value.op(op);
        const auto times = [&](const Dense& x) { return side == 'L' ? factor * x : x * factor; };
        const auto bound = [&](const Dense& x) {
            return side == 'L' ? factor.sizes() * x.sizes() : x.sizes() * factor.sizes();
        };
        Array<T> found = b;
        for (std::size_t i = 0; i < b.data.size(); ++i)
            if (b.element[i] >= 0) found.value.elements[static_cast<std::size_t>(b.element[i])] = wide(b.data[i]);
        const Wide scale = wide(alpha);
        if (solve) {
            // The residual: op(A) X against alpha B.
            const Dense left = times(found.value), right = scale * before.value;
            const Dense sizes = bound(found.value) + Wide(std::abs(scale)) * before.value.sizes();
            const long double unit = std::numeric_limits<Real<T>>::epsilon() * static_cast<long double>(8 * order + 16);
            for (std::size_t i = 0; i < left.elements.size(); ++i)
                ASSERT_LE(std::abs(left.elements[i] - right.elements[i]), unit * std::abs(sizes.elements[i]))
                    << "seed " << seed;
        } else {
            ASSERT_TRUE(
                equals(b, before, scale * times(before.value), Wide(std::abs(scale)) * bound(before.value), 4 * order))
                << "seed " << seed;
        }
    }
}

TYPED_TEST(Level3, AnOperandThatSharesMemoryWithTheResultIsReadFirst) {
    using T = TypeParam;
    const Number<T> alpha{T(2)}, beta{T(3)};
    const Option plain{'N'}, lower{'L'};
    const SideOption left{'L'};
    const DiagonalOption unit{'U'};
    for (unsigned seed = 1; seed <= 40; ++seed) {
        Random random(seed);
        // Square matrices whose columns are as far apart as may be, somewhere in one block of memory.
        const std::int64_t n = random.pick(kSizes), most = (n + 4) * n;
        const auto ld = [&] { return Int{n + random.below(5)}; };
        const auto offset = [&] { return random.below(most + 1); };
        const Int order{n}, lda = ld(), ldb = ld(), ldc = ld();
        const std::int64_t of_a = offset(), of_b = offset(), of_c = offset();
        std::vector<T> first(static_cast<std::size_t>(2 * most));
        for (T& e : first) e = random.number<T>() * static_cast<Real<T>>(1.0 / 64);
        const auto expect_as_apart = [&](const char* name, auto call) {
            std::vector<T> shared = first, a = first, b = first, c = first;
            call(shared.data() + of_a, shared.data() + of_b, shared.data() + of_c);
            call(a.data() + of_a, b.data() + of_b, c.data() + of_c);
            EXPECT_EQ(shared, c) << name << " seed " << seed;
        };
        expect_as_apart("gemm", [&](T* a, T* b, T* c) {
            invoke<T>({}, "gemm", plain, plain, order, order, order, alpha, a, lda, b, ldb, beta, c, ldc);
        });
        expect_as_apart("symm", [&](T* a, T* b, T* c) {
            invoke<T>({}, "symm", left, lower, order, order, alpha, a, lda, b, ldb, beta, c, ldc);
        });
        expect_as_apart("syr2k", [&](T* a, T* b, T* c) {
            invoke<T>({}, "syr2k", lower, plain, order, order, alpha, a, lda, b, ldb, beta, c, ldc);
        });
        if constexpr (kComplex<T>)
            expect_as_apart("her2k", [&](T* a, T* b, T* c) {
                invoke<T>({}, "her2k", lower, plain, order, order, alpha, a, lda, b, ldb, Number<Real<T>>{3}, c, ldc);
            });
        for (const char* name : {"trmm", "trsm"})
            expect_as_apart(name, [&](T* a, T*, T* c) {
                invoke<T>({}, name, left, lower, plain, unit, order, order, alpha, a, lda, c, ldc);
            });
    }
}

}  // namespace
}  // namespace tenon::blas::testing
