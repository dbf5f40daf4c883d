// Products of two operands against loops, with exact integers; broadcasting, shapes, errors, derivatives.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

Tensor whole(const Shape& s, std::uint64_t seed) { return astype(draw(s, seed, -9, 9), DType::int64); }

std::int64_t at(const Tensor& t, std::int64_t i) { return flatten(t).at({i}).item<std::int64_t>(); }

// The product of stacks of matrices that have been broadcast already.
std::vector<std::int64_t> matrix_products(const Tensor& a, const Tensor& b) {
    const std::int64_t n = a.extent(-2), k = a.extent(-1), m = b.extent(-1), batch = a.size() / (n * k);
    const auto x = a.to<std::int64_t>(), y = b.to<std::int64_t>();
    std::vector<std::int64_t> out;
    for (std::int64_t s = 0; s < batch; ++s)
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < m; ++j) {
                std::int64_t sum = 0;
                for (std::int64_t l = 0; l < k; ++l)
                    sum += x[static_cast<std::size_t>((s * n + i) * k + l)] *
                           y[static_cast<std::size_t>((s * k + l) * m + j)];
                out.push_back(sum);
            }
    return out;
}

TEST(Products, MatmulBroadcastsLeadingAxes) {
    const std::pair<Shape, Shape> cases[] = {
        {{3, 4}, {4, 5}},          {{2, 3, 4}, {4, 5}},    {{3, 4}, {2, 4, 5}},         {{2, 3, 4}, {2, 4, 5}},
        {{2, 1, 3, 4}, {6, 4, 5}}, {{1, 3, 4}, {6, 4, 5}}, {{7, 1, 3, 4}, {1, 2, 4, 5}}};
    for (const auto& [s, t] : cases) {
        const Tensor a = whole(s, 1), b = whole(t, 2), c = matmul(a, b);
        Shape batch_a = s, batch_b = t;
        for (Shape* x : {&batch_a, &batch_b}) x->erase(x->rank() - 1), x->erase(x->rank() - 1);
        const Shape batch = broadcast_shapes(batch_a, batch_b, "test");
        Shape full_a = batch, full_b = batch, full_c = batch;
        full_a.push_back(3), full_a.push_back(4);
        full_b.push_back(4), full_b.push_back(5);
        full_c.push_back(3), full_c.push_back(5);
        EXPECT_EQ(c.shape(), full_c);
        EXPECT_EQ(c.to<std::int64_t>(), matrix_products(broadcast_to(a, full_a), broadcast_to(b, full_b)))
            << to_string(s) << to_string(t);
    }
}

TEST(Products, MatmulOfVectors) {
    const Tensor m = whole({2, 3, 4}, 1), v = whole({4}, 2), w = whole({3}, 3);
    EXPECT_EQ(matmul(m, v).shape(), (Shape{2, 3}));
    EXPECT_EQ(matmul(m, v).to<std::int64_t>(), squeeze(matmul(m, reshape(v, {4, 1})), {2}).to<std::int64_t>());
    EXPECT_EQ(matmul(w, m).to<std::int64_t>(), squeeze(matmul(reshape(w, {1, 3}), m), {1}).to<std::int64_t>());
    EXPECT_EQ(matmul(v, v).shape(), (Shape{}));
    EXPECT_EQ(matmul(ints({1, 2, 3}), ints({4, 5, 6})).item<std::int64_t>(), 32);
    expect_values(matmul(zeros({2, 0}), zeros({0, 2})), {2, 2}, {0, 0, 0, 0});
}

TEST(Products, MatmulErrorsNameTheShapes) {
    expect_error<ShapeError>([] { matmul(zeros({2, 3}), zeros({2, 3})); }, {"matmul", "(2, 3)", "inner"});
    expect_error<ShapeError>([] { matmul(zeros({2, 3}), zeros({1, 4})); }, {"matmul", "(2, 3)", "(1, 4)"});
    expect_error<ShapeError>([] { matmul(zeros({2, 2, 2}), zeros({3, 2, 2})); }, {"matmul", "(2, 2, 2)", "(3, 2, 2)"});
    expect_error<ShapeError>([] { matmul(zeros({2, 3}), Tensor(1.0)); }, {"matmul", "(2, 3)", "()"});
    expect_error<TypeError>([] { matmul(ones({2, 2}, DType::boolean), ones({2, 2}, DType::boolean)); }, {"bool"});
}

TEST(Products, MatmulPromotesAndKeepsNarrowDtypes) {
    EXPECT_EQ(matmul(zeros({2, 3}), zeros({3, 2}, DType::float64)).dtype(), DType::float64);
    const Tensor a = ones({1, 4096}, DType::bfloat16);
    EXPECT_EQ(matmul(a, matrix_transpose(a)).item<float>(), 4096);
    EXPECT_EQ(matmul(a, matrix_transpose(a)).dtype(), DType::bfloat16);
}

TEST(Products, Tensordot) {
    const Tensor a = whole({3, 4, 5}, 1), b = whole({4, 5, 2}, 2);
    const Tensor expected = matmul(reshape(a, {3, 20}), reshape(b, {20, 2}));
    expect_values(tensordot(a, b), {3, 2}, expected.to<double>());
    expect_values(tensordot(a, b, {1, -1}, {0, 1}), {3, 2}, expected.to<double>());
    expect_values(tensordot(a, permute_dims(b, {1, 2, 0}), {2, 1}, {0, 2}), {3, 2}, expected.to<double>());
    const Tensor none = tensordot(ints({1, 2}), ints({3, 4}), 0);
    expect_values(none, {2, 2}, {3, 4, 6, 8});
    EXPECT_EQ(tensordot(a, a, 3 - 3).rank(), 6);
    expect_error<ShapeError>([&] { tensordot(a, b, {0}, {0}); }, {"tensordot", "(3, 4, 5)", "(4, 5, 2)"});
    expect_error<ShapeError>([&] { tensordot(a, ones({1, 5}, DType::int64), {1}, {0}); }, {"tensordot", "(1, 5)"});
    expect_error<ShapeError>([&] { tensordot(a, b, 4); }, {"tensordot", "4"});
}

TEST(Products, VecdotAndOuter) {
    const Tensor a = whole({2, 1, 3}, 1), b = whole({4, 3}, 2);
    const Tensor c = vecdot(a, b);
    EXPECT_EQ(c.shape(), (Shape{2, 4}));
    EXPECT_EQ(c.to<std::int64_t>(), sum(a * b, -1).to<std::int64_t>());
    EXPECT_EQ(vecdot(whole({3, 2}, 1), whole({3, 2}, 2), -2).to<std::int64_t>(),
              sum(whole({3, 2}, 1) * whole({3, 2}, 2), 0).to<std::int64_t>());
    EXPECT_EQ(vecdot(ints({1, 2}), ints({3, 4})).item<std::int64_t>(), 11);
    expect_values(outer(ints({1, 2}), ints({3, 4, 5})), {2, 3}, {3, 4, 5, 6, 8, 10});
    expect_error<ShapeError>([&] { vecdot(a, b, 0); }, {"vecdot", "(2, 1, 3)", "(4, 3)"});
    expect_error<ShapeError>([&] { vecdot(a, whole({2, 1}, 1)); }, {"vecdot", "(2, 1)"});
    expect_error<ShapeError>([&] { outer(a, b); }, {"outer", "(4, 3)"});
}

TEST(Products, DiagonalsAreViews) {
    const Tensor x = reshape(arange(24), {2, 3, 4}).eval();
    for (std::int64_t k = -4; k <= 5; ++k) {
        std::vector<double> expected;
        for (std::int64_t s = 0; s < 2; ++s)
            for (std::int64_t i = 0; i < 3; ++i)
                if (i + k >= 0 && i + k < 4) expected.push_back(static_cast<double>(at(x, s * 12 + i * 4 + i + k)));
        const Tensor d = diagonal(x, k);
        expect_values(d, {2, static_cast<std::int64_t>(expected.size()) / 2}, expected, 0, std::to_string(k));
    }
    EXPECT_EQ(diagonal(x, std::numeric_limits<std::int64_t>::min()).shape(), (Shape{2, 0}));
    EXPECT_EQ(diagonal(x).host().data, x.host().data);
    const Tensor turned = flip(matrix_transpose(x)), first = diagonal(turned);
    EXPECT_EQ(first.host().data, turned.host().data);
    EXPECT_EQ(first.host().strides.back(), turned.host().strides[1] + turned.host().strides[2]);
    EXPECT_EQ(trace(eye(5)).item<float>(), 5);
    EXPECT_EQ(trace(ones({2, 2}, DType::int8)).dtype(), DType::int64);
    expect_values(trace(x, 1), {2}, {18, 54});
    expect_error<ShapeError>([] { trace(vec({1})); }, {"trace", "(1,)"});
}

TEST(Products, Derivatives) {
    const std::vector<Tensor> pair = {draw({2, 1, 3, 4}, 1), draw({3, 4, 2}, 2)};
    expect_derivatives([](const auto& in) { return matmul(in[0], in[1]); }, pair, "matmul");
    expect_derivatives([](const auto& in) { return matmul(in[0], in[1]); }, {draw({2, 3}, 1), draw({3}, 2)},
                       "matmul of a vector");
    expect_derivatives([](const auto& in) { return tensordot(in[0], in[1]); }, {draw({2, 3, 4}, 1), draw({3, 4}, 2)},
                       "tensordot");
    expect_derivatives([](const auto& in) { return vecdot(in[0], in[1]); }, {draw({2, 1, 3}, 1), draw({4, 3}, 2)},
                       "vecdot");
    expect_derivatives([](const auto& in) { return outer(in[0], in[1]); }, {draw({2}, 1), draw({3}, 2)}, "outer");
    expect_derivatives([](const auto& in) { return diagonal(in[0], 1); }, {draw({2, 3, 4}, 1)}, "diagonal");
}

}  // namespace
}  // namespace tenon
