// Functions of linalg: against their definitions in float64, derivatives against finite differences.
#include "tenon/linalg.h"

#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;
using linalg::MatrixNorm;

constexpr DType kDouble = DType::float64;

Tensor identity_matrix(std::int64_t n) { return eye(n, {}, 0, kDouble); }

/// Well conditioned, not symmetric.
Tensor regular(const Shape& shape, std::uint64_t seed) {
    return draw(shape, seed) + 2 * eye(shape[shape.rank() - 2], shape.back(), 0, kDouble);
}
Tensor definite(const Tensor& x) { return matmul(x, matrix_transpose(x)) + identity_matrix(x.extent(-2)); }

void expect_equal(const Tensor& a, const Tensor& b, double tolerance, const std::string& what = "") {
    ASSERT_EQ(a.shape(), b.shape()) << what << " " << to_string(a.shape()) << " " << to_string(b.shape());
    ASSERT_EQ(a.dtype(), b.dtype()) << what;
    const auto x = a.to<double>(), y = b.to<double>();
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_LE(std::fabs(x[i] - y[i]), tolerance * (1 + std::fabs(y[i]))) << what << " element " << i;
}

TEST(Factorizations, HaveTheArrayApisShapes) {
    const Tensor x = draw({2, 1, 5, 3}, 1), wide = draw({3, 5}, 2);
    const auto [q, r] = linalg::qr(x);
    expect_equal(matmul(q, r), x, 1e-14, "qr");
    EXPECT_EQ(q.shape(), (Shape{2, 1, 5, 3}));
    const auto complete = linalg::qr(x, linalg::QrMode::complete);
    EXPECT_EQ(complete.q.shape(), (Shape{2, 1, 5, 5}));
    EXPECT_EQ(complete.r.shape(), (Shape{2, 1, 5, 3}));
    expect_equal(matmul(complete.q, complete.r), x, 1e-14, "complete");
    for (const auto mode : {linalg::QrMode::reduced, linalg::QrMode::complete}) {
        const auto w = linalg::qr(wide, mode);
        EXPECT_EQ(w.q.shape(), (Shape{3, 3}));
        EXPECT_EQ(w.r.shape(), (Shape{3, 5}));
        expect_equal(matmul(w.q, w.r), wide, 1e-14, "wide");
        expect_equal(tril(w.r, -1), zeros({3, 5}, kDouble), 0);
    }
    for (const bool full : {true, false}) {
        const auto [u, s, vh] = linalg::svd(x, full);
        EXPECT_EQ(u.shape(), (Shape{2, 1, 5, full ? 5 : 3}));
        EXPECT_EQ(s.shape(), (Shape{2, 1, 3}));
        EXPECT_EQ(vh.shape(), (Shape{2, 1, 3, 3}));
        const Tensor first = slice(u, {0, 0, 0, 0}, {2, 1, 5, 3}, {1, 1, 1, 1});
        expect_equal(matmul(first * expand_dims(s, -2), vh), x, 1e-14, "svd");
        expect_equal(linalg::svdvals(x), s, 1e-14);
        const auto w = linalg::svd(wide, full);
        EXPECT_EQ(w.u.shape(), (Shape{3, 3}));
        EXPECT_EQ(w.vh.shape(), (Shape{full ? 5 : 3, 5}));
    }
    const auto [p, l, u] = linalg::lu(x);
    EXPECT_EQ(p.shape(), (Shape{2, 1, 5, 5}));
    expect_equal(matmul(p, matmul(l, u)), x, 1e-14, "lu");
    const auto [pw, lw, uw] = linalg::lu(wide);
    expect_equal(matmul(pw, matmul(lw, uw)), wide, 1e-14, "lu wide");
    const Tensor a = definite(draw({4, 4}, 3));
    const Tensor c = linalg::cholesky(a), up = linalg::cholesky(a, true);
    expect_equal(matmul(c, matrix_transpose(c)), a, 1e-14);
    expect_equal(up, matrix_transpose(c), 0);
    const auto [w, v] = linalg::eigh(a);
    expect_equal(matmul(v * w, matrix_transpose(v)), a, 1e-13);
    expect_equal(linalg::eigvalsh(a), w, 1e-14);
}

TEST(Factorizations, KeepFloat32) {
    const Tensor a = astype(regular({6, 6}, 1), DType::float32);
    EXPECT_EQ(linalg::solve(a, a).dtype(), DType::float32);
    EXPECT_EQ(linalg::expm(a).dtype(), DType::float32);
    EXPECT_EQ(linalg::det(a).dtype(), DType::float32);
    EXPECT_EQ(linalg::pinv(a).dtype(), DType::float32);
    EXPECT_EQ(linalg::cond(a).dtype(), DType::float32);
    EXPECT_EQ(linalg::solve(a, astype(a, kDouble)).dtype(), kDouble);
}

TEST(Solve, VectorsMatricesAndBatches) {
    const Tensor a = regular({3, 4, 4}, 1), b = draw({4, 2}, 2), v = draw({4}, 3);
    expect_equal(matmul(a, linalg::solve(a, b)), broadcast_to(b, {3, 4, 2}), 1e-13);
    expect_equal(matmul(a, expand_dims(linalg::solve(a, v), -1)), broadcast_to(expand_dims(v, -1), {3, 4, 1}), 1e-13);
    const Tensor many = draw({5, 1, 4, 2}, 4);
    expect_equal(matmul(a, linalg::solve(a, many)), broadcast_to(many, {5, 3, 4, 2}), 1e-13);
    expect_equal(linalg::lu_solve(linalg::lu_factor(a), b), linalg::solve(a, b), 0);
    expect_equal(matmul(linalg::inv(a), a), broadcast_to(identity_matrix(4), {3, 4, 4}), 1e-13);
    const Tensor s = definite(draw({2, 4, 4}, 5)), l = linalg::cholesky(s);
    expect_equal(linalg::cholesky_solve(l, b), linalg::solve(s, b), 1e-13);
    expect_equal(linalg::cholesky_solve(matrix_transpose(l), v, true), linalg::solve(s, v), 1e-13);
}

TEST(Solve, SharesNothingBetweenRows) {
    // A singular matrix harms no other.
    const Tensor a = Tensor::from<double>({1, 2, 2, 4, /**/ 2, 0, 0, 4}, {2, 2, 2}), b = Tensor::from<double>({2, 4});
    const auto x = linalg::solve(a, b).to<double>();
    EXPECT_FALSE(std::isfinite(x[0]) && std::isfinite(x[1]));
    EXPECT_EQ(x[2], 1);
    EXPECT_EQ(x[3], 1);
}

TEST(Compiled, HasTheSameBits) {
    const auto f = [](const Tensor& a, const Tensor& b) {
        const auto [u, s, vh] = linalg::svd(a);
        return linalg::solve(a, b) + matmul(u * expand_dims(s, -2), vh) +
               linalg::eigh(a + matrix_transpose(a)).eigenvectors;
    };
    const auto compiled = compile(f);
    const Tensor a = regular({3, 5, 5}, 1), b = draw({3, 5, 5}, 2);
    const auto expected = f(a, b).to<double>();
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(compiled(a, b).to<double>(), expected);
        EXPECT_EQ(f(a, b).to<double>(), expected);
    }
}

TEST(TriangularSolve, BitsOfABatchAreThoseOfOne) {
    for (const std::int64_t n : {1, 6, 32, 33})
        for (const std::int64_t m : {1, 5, 32}) {
            const Tensor a = regular({19, n, n}, 1), left = draw({19, n, m}, 2), right = draw({19, m, n}, 3);
            for (int flags = 0; flags < 16; ++flags) {
                const linalg::TriangularSolveOptions o{(flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0,
                                                       (flags & 8) != 0};
                const Tensor& b = o.left_side ? left : right;
                // A transposed batch is a view.
                const Tensor flipped = matrix_transpose(matrix_transpose(b).eval());
                const Tensor all = linalg::triangular_solve(a, b, o), again = linalg::triangular_solve(a, flipped, o);
                EXPECT_EQ(all.to<double>(), again.to<double>()) << n << " " << m << " " << flags;
                for (const std::int64_t i : {0, 7, 18})
                    EXPECT_EQ(all[i].to<double>(), linalg::triangular_solve(a[i], b[i], o).to<double>())
                        << n << " " << m << " " << flags;
            }
        }
}

TEST(TriangularSolve, AllItsSides) {
    const Tensor a = regular({2, 3, 3}, 1), b = draw({3, 3}, 2);
    for (const bool lower : {true, false})
        for (const bool transpose : {true, false})
            for (const bool unit : {true, false})
                for (const bool left : {true, false}) {
                    Tensor t = lower ? tril(a, unit ? -1 : 0) : triu(a, unit ? 1 : 0);
                    if (unit) t = t + identity_matrix(3);
                    if (transpose) t = matrix_transpose(t);
                    const Tensor x = linalg::triangular_solve(a, b, {left, lower, transpose, unit});
                    expect_equal(left ? matmul(t, x) : matmul(x, t), broadcast_to(b, {2, 3, 3}), 1e-13);
                }
}

TEST(Determinant, SignsAndLogarithms) {
    const Tensor a = Tensor::from<double>({0, 2, 0, 3, 0, 0, 0, 0, 4, /**/ 2, 0, 0, 0, 3, 0, 0, 0, 5}, {2, 3, 3});
    expect_values(linalg::det(a), {2}, {-24, 30}, 1e-15);
    const auto [s, l] = linalg::slogdet(a);
    expect_values(s, {2}, {-1, 1});
    expect_values(l, {2}, {std::log(24), std::log(30)}, 1e-15);
    const Tensor zero = zeros({2, 2}, kDouble);
    EXPECT_EQ(linalg::det(zero).item<double>(), 0);
    EXPECT_EQ(linalg::slogdet(zero).sign.item<double>(), 0);
    EXPECT_EQ(linalg::slogdet(zero).logabsdet.item<double>(), -kInf);
    EXPECT_EQ(linalg::det(zeros({0, 0}, kDouble)).item<double>(), 1);
    EXPECT_EQ(linalg::slogdet(zeros({3, 0, 0}, kDouble)).logabsdet.to<double>(), (std::vector<double>{0, 0, 0}));
    // Every permutation of four rows.
    std::vector<int> order{0, 1, 2, 3};
    do {
        int swaps = 0;
        std::vector<double> p(16);
        for (std::size_t i = 0; i < 4; ++i) {
            p[4 * i + static_cast<std::size_t>(order[i])] = 1;
            for (std::size_t j = 0; j < i; ++j) swaps += order[j] > order[i];
        }
        EXPECT_EQ(linalg::det(Tensor::from(p, {4, 4})).item<double>(), swaps % 2 ? -1 : 1);
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST(LeastSquares, NormalEquationsAndLeastLength) {
    for (const auto method : {linalg::LeastSquares::svd, linalg::LeastSquares::qr}) {
        const Tensor tall = draw({2, 6, 3}, 1), b = draw({6, 2}, 2);
        const auto r = linalg::lstsq(tall, b, {}, method);
        const Tensor residual = matmul(tall, r.x) - b;
        expect_equal(matmul(matrix_transpose(tall), residual), zeros({2, 3, 2}, kDouble), 1e-13);
        expect_equal(r.residuals, sum(square(residual), -2), 1e-14);
        EXPECT_EQ(r.rank.to<int>(), (std::vector<int>{3, 3}));
        const Tensor wide = draw({3, 6}, 3), c = draw({3}, 4);
        const Tensor x = linalg::lstsq(wide, c, {}, method).x;
        EXPECT_EQ(x.shape(), (Shape{6}));
        expect_equal(matmul(wide, x), c, 1e-13);
        // The shortest solution is in the span of the rows.
        expect_equal(matmul(linalg::pinv(wide), matmul(wide, x)), x, 1e-13);
    }
    // Of rank 1.
    const Tensor low = Tensor::from<double>({1, 2, 2, 4, 3, 6}, {3, 2});
    const auto r = linalg::lstsq(low, Tensor::from<double>({1, 2, 3}));
    EXPECT_EQ(r.rank.item<int>(), 1);
    expect_values(r.x, {2}, {0.2, 0.4}, 1e-15);
    EXPECT_EQ(linalg::matrix_rank(low).item<int>(), 1);
    EXPECT_EQ(linalg::matrix_rank(low, 1e-30).item<int>() >= 1, true);
    // The default limit follows from the longer side: 100 times the distance from 1 to the next number.
    for (const double factor : {50., 200.}) {
        const Tensor second = eye(2, 100, 1, kDouble) * Tensor::from<double>({0, factor * 0x1p-52}, {2, 1});
        const Tensor first = eye(2, 100, 0, kDouble) * Tensor::from<double>({1, 0}, {2, 1});
        EXPECT_EQ(linalg::matrix_rank(first + second).item<int>(), factor < 100 ? 1 : 2);
    }
    EXPECT_EQ(linalg::matrix_rank(zeros({3, 2}, kDouble)).item<int>(), 0);
    const Tensor not_a_number = full({3, 2}, std::nan(""), kDouble);
    EXPECT_EQ(linalg::matrix_rank(not_a_number).item<int>(), 0);
    EXPECT_EQ(linalg::lstsq(not_a_number, ones({3}, kDouble)).rank.item<int>(), 0);
    expect_error<ShapeError>([&] { linalg::matrix_rank(ones({3}, kDouble)); }, {"matrix_rank"});
    EXPECT_EQ(linalg::matrix_rank(zeros({2, 3, 0}, kDouble)).to<int>(), (std::vector<int>{0, 0}));
}

TEST(Pinv, PenroseConditions) {
    const Tensor low = matmul(draw({2, 5, 2}, 1), draw({2, 2, 4}, 2));
    for (const Tensor& a : {low, draw({4, 6}, 3), draw({6, 4}, 4)}) {
        const Tensor p = linalg::pinv(a), ap = matmul(a, p), pa = matmul(p, a);
        expect_equal(matmul(ap, a), a, 1e-13);
        expect_equal(matmul(pa, p), p, 1e-13);
        expect_equal(matrix_transpose(ap), ap, 1e-13);
        expect_equal(matrix_transpose(pa), pa, 1e-13);
    }
    EXPECT_EQ(linalg::pinv(zeros({3, 2}, kDouble)).to<double>(), std::vector<double>(6));
    EXPECT_EQ(linalg::pinv(zeros({2, 0, 3}, kDouble)).shape(), (Shape{2, 3, 0}));
}

TEST(Norms, OfMatricesAndVectors) {
    const Tensor a = Tensor::from<double>({1, -2, 3, -4, 5, 6}, {2, 3});
    const auto norm = [&](MatrixNorm ord) { return linalg::matrix_norm(a, false, ord).item<double>(); };
    EXPECT_NEAR(norm(MatrixNorm::fro), std::sqrt(91), 1e-14);
    EXPECT_EQ(norm(MatrixNorm::one), 9);
    EXPECT_EQ(norm(MatrixNorm::minus_one), 5);
    EXPECT_EQ(norm(MatrixNorm::inf), 15);
    EXPECT_EQ(norm(MatrixNorm::minus_inf), 6);
    const auto s = linalg::svdvals(a).to<double>();
    EXPECT_EQ(norm(MatrixNorm::two), s[0]);
    EXPECT_EQ(norm(MatrixNorm::minus_two), s[1]);
    EXPECT_EQ(norm(MatrixNorm::nuc), s[0] + s[1]);
    for (const auto ord : {MatrixNorm::fro, MatrixNorm::nuc, MatrixNorm::one})
        EXPECT_EQ(linalg::matrix_norm(draw({4, 2, 3}, 1), true, ord).shape(), (Shape{4, 1, 1}));
    const auto vector = [&](double ord) { return linalg::vector_norm(a, std::nullopt, false, ord).item<double>(); };
    EXPECT_NEAR(vector(2), std::sqrt(91), 1e-14);
    EXPECT_EQ(vector(1), 21);
    EXPECT_EQ(vector(kInf), 6);
    EXPECT_EQ(vector(-kInf), 1);
    EXPECT_EQ(vector(0), 6);
    EXPECT_NEAR(vector(3), std::cbrt(1 + 8 + 27 + 64 + 125 + 216), 1e-13);
    EXPECT_NEAR(vector(-1), 1 / (1 + 1 / 2. + 1 / 3. + 1 / 4. + 1 / 5. + 1 / 6.), 1e-14);
    const auto infinite = Tensor::from<double>({kInf, -kInf}, {2});
    EXPECT_EQ(linalg::vector_norm(infinite, std::nullopt, false, -1).item<double>(), kInf);
    EXPECT_EQ(linalg::vector_norm(Tensor::from<double>({1, 0}, {2}), std::nullopt, false, -1).item<double>(), 0);
    EXPECT_EQ(linalg::vector_norm(a, 1, true).shape(), (Shape{2, 1}));
    EXPECT_EQ(slopes([](const Tensor& x) { return linalg::vector_norm(x); }, zeros({3}, kDouble)),
              (std::vector<double>{0, 0, 0}));
    const Tensor d = Tensor::from<double>({4, 0, 0, 2}, {2, 2});
    EXPECT_EQ(linalg::cond(d).item<double>(), 2);
    EXPECT_EQ(linalg::cond(d, MatrixNorm::minus_two).item<double>(), 0.5);
    EXPECT_EQ(linalg::cond(d, MatrixNorm::one).item<double>(), 2);
    for (const Tensor& singular :
         {Tensor::from<double>({4, 0, 0, 0}, {2, 2}), Tensor::from<double>({1, 2, 2, 4}, {2, 2}),
          zeros({3, 3}, kDouble), ones({40, 40}, kDouble)})
        for (const auto ord : {MatrixNorm::fro, MatrixNorm::nuc, MatrixNorm::one, MatrixNorm::minus_one,
                               MatrixNorm::inf, MatrixNorm::minus_inf})
            EXPECT_EQ(linalg::cond(singular, ord).item<double>(), kInf) << static_cast<int>(ord);
    EXPECT_EQ(linalg::cond(Tensor::from<double>({4, 0, 0, 0}, {2, 2})).item<double>(), kInf);
    EXPECT_EQ(linalg::cond(Tensor::from<double>({4, 0, 0, 0}, {2, 2}), MatrixNorm::minus_two).item<double>(), 0);
    EXPECT_EQ(linalg::cond(zeros({2, 2}, kDouble), MatrixNorm::minus_two).item<double>(), 0);
    const Tensor not_a_number = Tensor::from<double>({4, std::nan(""), 0, 0}, {2, 2});
    EXPECT_TRUE(std::isnan(linalg::cond(not_a_number, MatrixNorm::one).item<double>()));
    EXPECT_EQ(linalg::vector_norm(zeros({0}, kDouble), std::nullopt, false, kInf).item<double>(), 0);
    EXPECT_EQ(linalg::vector_norm(zeros({2, 0}, kDouble), 1, false, kInf).to<double>(), (std::vector<double>{0, 0}));
    const Tensor none = zeros({0, 0}, kDouble);
    for (const MatrixNorm ord : {MatrixNorm::fro, MatrixNorm::nuc}) {
        EXPECT_EQ(linalg::matrix_norm(none, false, ord).item<double>(), 0);
        EXPECT_EQ(linalg::cond(none, ord).item<double>(), 0);
    }
    for (const MatrixNorm ord : {MatrixNorm::one, MatrixNorm::minus_one, MatrixNorm::two, MatrixNorm::minus_two,
                                 MatrixNorm::inf, MatrixNorm::minus_inf}) {
        expect_error<ShapeError>([&] { linalg::matrix_norm(none, false, ord); }, {"matrix_norm", "0"});
        expect_error<ShapeError>([&] { linalg::cond(none, ord); }, {"0", "nothing"});
    }
}

TEST(Expm, AgainstItsSeriesRotationsAndScales) {
    // Of a nilpotent matrix the series ends.
    const Tensor n = Tensor::from<double>({0, 1, 2, 0, 0, 3, 0, 0, 0}, {3, 3});
    expect_equal(linalg::expm(n), identity_matrix(3) + n + 0.5 * matmul(n, n), 1e-14);
    for (const double angle : {1e-9, 0.5, 3.0, 40.0, 1000.0}) {
        const Tensor g = Tensor::from<double>({0, -angle, angle, 0}, {2, 2});
        expect_values(linalg::expm(g), {2, 2}, {std::cos(angle), -std::sin(angle), std::sin(angle), std::cos(angle)},
                      1e-15 * (10 + angle * 8));
    }
    // float32, below and above the bound of its approximant.
    for (const double angle : {3.9, 6.5}) {
        const Tensor g = Tensor::from<float>({0, float(-angle), float(angle), 0}, {2, 2});
        const double c = std::cos(float(angle)), s = std::sin(float(angle));
        expect_close(linalg::expm(g), {c, -s, s, c}, 4e-6);
    }
    // exp(V diag(w) V^T), each matrix with its own number of squarings.
    const Tensor a = definite(draw({3, 5, 5}, 1)) * Tensor::from<double>({0.01, 1, 10}, {3, 1, 1});
    const auto [w, v] = linalg::eigh(a);
    const Tensor expected = matmul(v * expand_dims(exp(w), -2), matrix_transpose(v));
    expect_equal(linalg::expm(a), expected, 1e-10);
    expect_equal(linalg::expm(a)[1], linalg::expm(a[1]), 0);
    const Tensor single = astype(a[1], DType::float32);
    expect_close(linalg::expm(single), expected[1].to<double>(), 2e-5);
    EXPECT_TRUE(std::isnan(linalg::expm(1e3 * n + 1e9, 16).to<double>()[0]));
    EXPECT_EQ(linalg::expm(zeros({2, 0, 0}, kDouble)).shape(), (Shape{2, 0, 0}));
}

TEST(Products, PowersCrossAndKron) {
    const Tensor a = regular({2, 3, 3}, 1);
    expect_equal(linalg::matrix_power(a, 5), matmul(a, matmul(a, matmul(a, matmul(a, a)))), 1e-12);
    expect_equal(linalg::matrix_power(a, 0), broadcast_to(identity_matrix(3), {2, 3, 3}), 0);
    expect_equal(linalg::matrix_power(a, -2), linalg::inv(matmul(a, a)), 1e-12);
    const Tensor x = Tensor::from<double>({1, 2, 3}), y = Tensor::from<double>({4, 5, 6, 7, 8, 10}, {2, 3});
    expect_values(linalg::cross(x, y), {2, 3}, {-3, 6, -3, -4, 11, -6});
    expect_values(linalg::cross(matrix_transpose(y), expand_dims(x, -1), -2), {3, 2}, {3, 4, -6, -11, 3, 6});
    const Tensor p = Tensor::from<double>({1, 2}, {1, 2}), q = Tensor::from<double>({1, 0, 3, 4}, {2, 2});
    expect_values(linalg::kron(p, q), {2, 4}, {1, 0, 2, 0, 3, 4, 6, 8});
}

TEST(Derivatives, AgreeWithDifferences) {
    const auto one = [](auto f) { return [f](const std::vector<Tensor>& x) { return f(x[0]); }; };
    const Tensor square = regular({2, 3, 3}, 1), tall = draw({4, 3}, 2), wide = draw({2, 2, 4}, 3), b = draw({3, 2}, 4);
    const auto solve = [](const std::vector<Tensor>& x) { return linalg::solve(x[0], x[1]); };
    expect_derivatives(solve, {square, b}, "solve");
    expect_derivatives(solve, {square, draw({3}, 5)}, "solve a vector");
    expect_derivatives(
        [](const std::vector<Tensor>& x) { return linalg::cholesky_solve(linalg::cholesky(definite(x[0])), x[1]); },
        {square, b}, "cholesky_solve");
    expect_derivatives(one([](const Tensor& x) { return linalg::inv(x); }), {square}, "inv");
    expect_derivatives(one([](const Tensor& x) { return linalg::det(x); }), {square}, "det");
    expect_derivatives(one([](const Tensor& x) { return linalg::slogdet(x).logabsdet; }), {square}, "slogdet");
    for (const Tensor& x : {square, tall, wide})
        expect_derivatives(one([](const Tensor& t) { return linalg::pinv(t); }), {x}, "pinv");
    for (const auto method : {linalg::LeastSquares::svd, linalg::LeastSquares::qr}) {
        const auto f = [=](const std::vector<Tensor>& x) { return linalg::lstsq(x[0], x[1], {}, method).x; };
        expect_derivatives(f, {tall, draw({4, 2}, 6)}, "lstsq tall");
        expect_derivatives(f, {wide, draw({2, 3}, 7)}, "lstsq wide");
    }
    expect_derivatives(one([](const Tensor& x) { return linalg::qr(x).r; }), {wide}, "qr wide");
    expect_derivatives(one([](const Tensor& x) { return linalg::qr(x).q; }), {wide}, "qr wide q");
    for (const auto ord : {MatrixNorm::fro, MatrixNorm::nuc, MatrixNorm::one, MatrixNorm::two})
        expect_derivatives(one([=](const Tensor& x) { return linalg::matrix_norm(x, false, ord); }), {square}, "norm");
    expect_derivatives(one([](const Tensor& x) { return linalg::vector_norm(x, -1, false, 3); }), {tall},
                       "vector_norm");
    const auto to_a_number = [](const Tensor& x) { return linalg::vector_norm(x, std::nullopt, false, 3); };
    expect_equal(grad(to_a_number)(Tensor::from<float>({2, 1}, {2})),
                 astype(grad(to_a_number)(Tensor::from<double>({2, 1}, {2})), DType::float32), 1e-6, "in float32");
    expect_derivatives(one([](const Tensor& x) { return linalg::cond(x); }), {square}, "cond");
    expect_derivatives(one([](const Tensor& x) { return linalg::expm(x); }), {0.3 * square}, "expm");
    expect_derivatives(one([](const Tensor& x) { return linalg::expm(x); }), {3 * square}, "expm, squared");
    expect_derivatives(one([](const Tensor& x) { return linalg::matrix_power(x, -3); }), {square}, "matrix_power");
}

TEST(Derivatives, OfEqualEigenvaluesInFunctionsThatDoNotChooseABasis) {
    // The pseudoinverse of an orthogonal matrix, all of whose singular values are 1.
    const Tensor rotation = Tensor::from<double>({0.6, -0.8, 0.8, 0.6}, {2, 2});
    expect_derivatives([](const std::vector<Tensor>& x) { return linalg::pinv(x[0]); }, {rotation}, "pinv");
    // tr(A^3) by eigenvalues, at A = I: 3 A^2.
    const auto cubes = [](const Tensor& x) { return sum(pow(linalg::eigvalsh(x), 3)); };
    expect_equal(grad(cubes)(identity_matrix(3)), 3 * identity_matrix(3), 1e-14);
    // The projector onto a space of two equal eigenvalues of three.
    const Tensor a = Tensor::from<double>({1, 0, 0, 0, 1, 0, 0, 0, 4}, {3, 3}), weights = draw({3, 3}, 1);
    const auto projector = [&](const Tensor& x) {
        const Tensor v = slice(linalg::eigh(x).eigenvectors, {0, 0}, {3, 2}, {1, 1});
        return sum(weights * matmul(v, matrix_transpose(v)));
    };
    const Tensor direction = draw({3, 3}, 2), d = direction + matrix_transpose(direction);
    const double h = 1e-6,
                 slope = (projector(a + h * d).item<double>() - projector(a - h * d).item<double>()) / (2 * h);
    EXPECT_NEAR(sum(grad(projector)(a) * d).item<double>(), slope, 1e-8);
    // V f(w) V^T is not one of these functions: the header says so.
    const auto square_of = [&](const Tensor& x) {
        const auto [w, v] = linalg::eigh(x);
        return sum(weights * matmul(v * square(w), matrix_transpose(v)));
    };
    const Tensor of_diagonal = diagonal(grad(square_of)(identity_matrix(3)));
    expect_equal(of_diagonal, 2 * diagonal(weights), 1e-14);
    // Zero singular values: the sum of squares has a derivative all the same.
    const auto energy = [](const Tensor& x) { return sum(square(linalg::svdvals(x))); };
    expect_equal(grad(energy)(zeros({2, 3}, kDouble)), zeros({2, 3}, kDouble), 0);
}

TEST(Derivatives, OfThirdOrder) {
    const Tensor a = definite(draw({3, 3}, 1)), d = draw({3, 3}, 2) + matrix_transpose(draw({3, 3}, 2));
    const auto check = [&](const std::function<Tensor(const Tensor&)>& f, const char* what) {
        const auto along = [&](const Tensor& t) { return f(a + t * d); };
        const auto first = [&](const Tensor& t) { return grad(along)(t); };
        const auto second = [&](const Tensor& t) { return grad(first)(t); };
        const double third = grad(second)(Tensor::from<double>({0}, {})).template item<double>();
        const double h = 1e-4;
        const double expected = (second(Tensor::from<double>({h}, {})).template item<double>() -
                                 second(Tensor::from<double>({-h}, {})).template item<double>()) /
                                (2 * h);
        EXPECT_NEAR(third, expected, 1e-5 * (1 + std::fabs(expected))) << what;
        EXPECT_GT(std::fabs(third), 1e-6) << what;
    };
    const Tensor w = draw({3, 3}, 3);
    check([&](const Tensor& x) { return sum(w * linalg::cholesky(x)); }, "cholesky");
    check([&](const Tensor& x) { return sum(w * linalg::lu_factor(x).lu); }, "lu");
    check([&](const Tensor& x) { return sum(w * linalg::qr(x).q); }, "qr");
    check([&](const Tensor& x) { return sum(w * square(linalg::eigh(x).eigenvectors)); }, "eigh");
    check([&](const Tensor& x) { return sum(w * square(linalg::svd(x).u)); }, "svd");
    check([&](const Tensor& x) { return sum(w * linalg::inv(x)); }, "inv");
    check([&](const Tensor& x) { return linalg::slogdet(x).logabsdet; }, "slogdet");
}

TEST(Derivatives, ThatDoNotExistSaySo) {
    const Tensor tall = draw({3, 2}, 1);
    const auto slope = [&](auto f) { return [=] { grad([=](const Tensor& x) { return sum(f(x)); })(tall); }; };
    expect_error<ValueError>(slope([](const Tensor& x) { return linalg::qr(x, linalg::QrMode::complete).q; }),
                             {"qr", "(3, 2)", "reduced"});
    expect_error<ValueError>(slope([](const Tensor& x) { return linalg::svd(x).u; }),
                             {"svd", "(3, 2)", "full_matrices"});
    EXPECT_NO_THROW(slope([](const Tensor& x) { return linalg::svd(x).s; })());
    EXPECT_NO_THROW(slope([](const Tensor& x) { return linalg::qr(x, linalg::QrMode::complete).r; })());
}

TEST(Gradients, OfSymmetricMatricesAreSymmetric) {
    const Tensor a = definite(draw({4, 4}, 1)), w = draw({4, 4}, 2);
    const Tensor g = grad([&](const Tensor& x) { return sum(w * linalg::cholesky(x)); })(a);
    expect_equal(g, matrix_transpose(g), 1e-14);
}

TEST(Errors, NameTheFunctionTheShapesAndTheRule) {
    const Tensor rectangle = draw({2, 3}, 1), square = draw({2, 2}, 2);
    expect_error<ShapeError>([&] { linalg::cholesky(rectangle); }, {"cholesky", "(2, 3)", "square"});
    expect_error<ShapeError>([&] { linalg::eigh(rectangle); }, {"eigh", "(2, 3)", "square"});
    expect_error<ShapeError>([&] { linalg::det(rectangle); }, {"det", "(2, 3)", "square"});
    expect_error<ShapeError>([&] { linalg::qr(draw({3}, 1)); }, {"qr", "(3,)", "two axes"});
    expect_error<ShapeError>([&] { linalg::svd(draw({}, 1)); }, {"svd", "()", "two axes"});
    expect_error<ShapeError>([&] { linalg::solve(square, draw({3}, 1)); }, {"solve", "(2, 2)", "(3,)", "rows"});
    const Tensor five = draw({5, 2, 2}, 1), three = draw({3, 2, 1}, 1);
    expect_error<ShapeError>([&] { linalg::solve(five, three); }, {"solve", "(5, 2, 2)", "(3, 2, 1)"});
    expect_error<ShapeError>([&] { linalg::cholesky_solve(five, three); }, {"cholesky_solve", "(5, 2, 2)"});
    expect_error<ShapeError>([&] { linalg::triangular_solve(five, three); }, {"triangular_solve", "(5, 2, 2)"});
    expect_error<ShapeError>([&] { linalg::lstsq(five, three); }, {"lstsq", "(5, 2, 2)", "(3, 2, 1)"});
    expect_error<ShapeError>([&] { linalg::kron(five, three); }, {"kron", "(5, 2, 2)", "(3, 2, 1)"});
    expect_error<ShapeError>([&] { linalg::cross(draw({5, 3}, 1), draw({2, 3}, 1)); }, {"cross", "(5, 3)", "(2, 3)"});
    expect_error<ShapeError>([&] { linalg::eigvalsh(rectangle); }, {"eigvalsh", "(2, 3)", "square"});
    for (const auto ord : {MatrixNorm::fro, MatrixNorm::one})
        expect_error<ShapeError>([&] { linalg::cond(rectangle, ord); }, {"cond", "(2, 3)", "square"});
    expect_error<ShapeError>(
        [&] {
            linalg::triangular_solve(square, draw({3, 1}, 1));
        },
        {"triangular_solve", "(3, 1)"});
    expect_error<ShapeError>([&] { linalg::lstsq(rectangle, draw({3}, 1)); }, {"lstsq", "(2, 3)", "rows"});
    expect_error<ShapeError>([&] { linalg::cross(square, square); }, {"cross", "extent 3"});
    expect_error<ShapeError>([&] { linalg::matrix_norm(draw({0, 2}, 1), false, MatrixNorm::one); }, {"matrix_norm"});
    expect_error<ShapeError>([&] { linalg::vector_norm(square, 2); }, {"vector_norm", "2", "(2, 2)"});
    expect_error<ValueError>([&] { linalg::expm(square, -1); }, {"expm", "max_squarings"});
    for (const DType t : {DType::bfloat16, DType::float16, DType::int32, DType::boolean}) {
        const Tensor x = zeros({2, 2}, t);
        expect_error<TypeError>([&] { linalg::cholesky(x); },
                                {"cholesky", std::string(name(t)), "float32 and float64"});
        expect_error<TypeError>([&] { linalg::lu_factor(x); }, {"lu", "float32 and float64"});
        expect_error<TypeError>([&] { linalg::qr(x); }, {"qr", "float32 and float64"});
        expect_error<TypeError>([&] { linalg::eigh(x); }, {"eigh", "float32 and float64"});
        expect_error<TypeError>([&] { linalg::svd(x); }, {"svd", "float32 and float64"});
        expect_error<TypeError>([&] { linalg::triangular_solve(x, x); }, {"triangular_solve", "float32 and float64"});
        expect_error<TypeError>([&] { linalg::vector_norm(x); }, {"vector_norm", "float32 and float64"});
    }
    EXPECT_THROW(linalg::svd(Tensor()), ValueError);
}

TEST(Factorizations, TakeLongAndWideMatrices) {
    constexpr std::int64_t n = 40000;
    const Tensor tall = draw({n, 2}, 1), b = draw({n, 1}, 2);
    const Tensor q = linalg::qr(tall).q, vectors = linalg::svd(tall, false).u;
    for (const Tensor& x : {q, vectors})
        expect_equal(matmul(matrix_transpose(x), x), identity_matrix(2), 1e-12, "orthonormal");
    const Tensor x = linalg::lstsq(tall, b).x;
    expect_equal(matmul(matrix_transpose(tall), matmul(tall, x) - b), zeros({2, 1}, kDouble), 1e-8, "residual");
    const auto lu = linalg::lu(matrix_transpose(tall));
    expect_equal(matmul(lu.p, matmul(lu.l, lu.u)), matrix_transpose(tall), 1e-14, "lu");
    expect_error<ValueError>([&] { linalg::qr(tall, linalg::QrMode::complete).q.eval(); }, {"(40000, 40000)", "32766"});
}

TEST(Nothing, HasShapesAndGradients) {
    EXPECT_EQ(linalg::lu_factor(zeros({100000, 0}, kDouble)).permutation.eval().shape(), (Shape{100000}));
    const Tensor none = zeros({0, 3, 3}, kDouble), flat = zeros({2, 0, 0}, kDouble);
    for (const Tensor& x : {none, flat}) {
        EXPECT_EQ(linalg::cholesky(x).eval().shape(), x.shape());
        EXPECT_EQ(linalg::inv(x).eval().shape(), x.shape());
        EXPECT_EQ(linalg::eigh(x).eigenvectors.eval().shape(), x.shape());
        EXPECT_EQ(linalg::svd(x).u.eval().shape(), x.shape());
        EXPECT_EQ(linalg::qr(x).q.eval().shape(), x.shape());
        EXPECT_EQ(linalg::lu(x).p.eval().shape(), x.shape());
        EXPECT_EQ(linalg::pinv(x).eval().shape(), x.shape());
        EXPECT_EQ(grad([](const Tensor& t) { return sum(linalg::inv(t)); })(x).eval().shape(), x.shape());
        EXPECT_EQ(grad([](const Tensor& t) { return sum(linalg::svd(t).u); })(x).eval().shape(), x.shape());
    }
}

}  // namespace
}  // namespace tenon
