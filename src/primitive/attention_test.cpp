// dot_product_attention as users call it: its rules, its errors, and the same bits eager and compiled.
#include "tenon/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

Tensor normal(std::uint64_t seed, const Shape& shape, DType t = DType::float32) {
    return astype(random::normal(random::Key(seed), shape), t).eval();
}

/// As a composition, for as many key heads as heads.
Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
    const Axes heads_first{0, 2, 1, 3};
    const Tensor s = matmul(transpose(q, heads_first), transpose(k, {0, 2, 3, 1})) * scale;
    return transpose(matmul(softmax(s), transpose(v, heads_first)), heads_first);
}

double distance(const Tensor& a, const Tensor& b) {
    const auto x = a.to<double>(), y = b.to<double>();
    EXPECT_EQ(a.shape(), b.shape());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::fabs(x[i] - y[i]));
    return worst;
}

TEST(DotProductAttention, IsTheCompositionAndHasItsGradient) {
    const Tensor q = normal(1, {2, 30, 3, 16}), k = normal(2, {2, 410, 3, 16}), v = normal(3, {2, 410, 3, 8});
    EXPECT_LT(distance(dot_product_attention(q, k, v), composed(q, k, v, 0.25)), 1e-5);
    const auto loss = [](bool one) {
        return [one](const Tree& x) {
            const auto in = x.leaves();
            const Tensor y = one ? dot_product_attention(in[0], in[1], in[2]) : composed(in[0], in[1], in[2], 0.25);
            return sum(y * y);
        };
    };
    const std::vector<Tree> items{Tree(q), Tree(k), Tree(v)};
    const Tree at = Tree::list(items);
    const auto mine = value_and_grad_at(loss(true), at).second.leaves();
    const auto wanted = value_and_grad_at(loss(false), at).second.leaves();
    for (std::size_t i = 0; i < 3; ++i) EXPECT_LT(distance(mine[i], wanted[i]), 1e-4);
}

TEST(DotProductAttention, PartsOfOneTensorHaveTheGradientsOfTensorsApart) {
    const Shape shape{2, 150, 3, 2, 16}, own{2, 150, 2, 16};
    const Tensor all = normal(1, shape);
    const auto part = [&](const Tensor& x, std::int64_t i) {
        return reshape(slice(x, {0, 0, i, 0, 0}, {2, 150, i + 1, 2, 16}, {1, 1, 1, 1, 1}), own);
    };
    const auto attend = [](const Tensor& q, const Tensor& k, const Tensor& v) {
        return sum(square(dot_product_attention(q, k, v, {.is_causal = true}) + 1.0));
    };
    const auto joined = value_and_grad([&](const Tensor& x) { return attend(part(x, 0), part(x, 1), part(x, 2)); });
    const std::vector<Tree> items{Tree(part(all, 0).eval()), Tree(part(all, 1).eval()), Tree(part(all, 2).eval())};
    const auto apart =
        value_and_grad_at([&](const Tree& x) { return attend(x.leaves()[0], x.leaves()[1], x.leaves()[2]); },
                          Tree::list(items))
            .second.leaves();
    for (int round = 0; round < 3; ++round) {
        const Tensor gradient = joined(all).second;
        for (std::int64_t i = 0; i < 3; ++i)
            EXPECT_EQ(part(gradient, i).to<float>(), apart[static_cast<std::size_t>(i)].to<float>()) << i;
    }
    // Its derivative along a direction, by differences of the gradient.
    const Tensor along = normal(2, shape);
    const auto of = [&](double step) { return joined(all + along * step).second; };
    const auto slope = grad([&](const Tensor& x) { return sum(joined(x).second * along); })(all);
    EXPECT_LT(distance(slope, (of(1e-2) - of(-1e-2)) / 2e-2), 2e-2);
}

TEST(DotProductAttention, TakesEveryFloatingDType) {
    const Tensor q = normal(1, {1, 5, 2, 8}), k = normal(2, {1, 7, 2, 8}), v = normal(3, {1, 7, 2, 8});
    const Tensor exact =
        dot_product_attention(astype(q, DType::float64), astype(k, DType::float64), astype(v, DType::float64));
    for (const auto& [t, bound] :
         {std::pair{DType::float32, 1e-6}, std::pair{DType::float16, 3e-3}, std::pair{DType::bfloat16, 3e-2}}) {
        const Tensor y = dot_product_attention(astype(q, t), astype(k, t), astype(v, t));
        EXPECT_EQ(y.dtype(), t);
        EXPECT_LT(distance(y, exact), bound) << name(t);
    }
}

TEST(DotProductAttention, SharesKeysAmongHeadsInARow) {
    const Tensor q = normal(1, {1, 9, 4, 8}), k = normal(2, {1, 9, 2, 8}), v = normal(3, {1, 9, 2, 8});
    const auto repeated = [](const Tensor& x) {
        return reshape(broadcast_to(reshape(x, {1, 9, 2, 1, 8}), {1, 9, 2, 2, 8}), {1, 9, 4, 8});
    };
    EXPECT_EQ(distance(dot_product_attention(q, k, v), dot_product_attention(q, repeated(k), repeated(v))), 0);
}

TEST(DotProductAttention, MasksAreTheSameHoweverTheyAreGiven) {
    const Tensor q = normal(1, {2, 40, 2, 8}), k = normal(2, {2, 40, 2, 8}), v = normal(3, {2, 40, 2, 8});
    const Tensor i = reshape(arange(40), {40, 1}), j = reshape(arange(40), {1, 40});
    const auto expect_equal = [&](const AttentionOptions& a, const AttentionOptions& b) {
        EXPECT_EQ(distance(dot_product_attention(q, k, v, a), dot_product_attention(q, k, v, b)), 0);
    };
    expect_equal({.is_causal = true}, {.mask = less_equal(j, i)});
    expect_equal({.local_window_size = std::pair<std::int64_t, std::int64_t>{3, 2}},
                 {.mask = less_equal(i - j, 3) & less_equal(j - i, 2)});
    const Tensor lengths = Tensor::from<std::int32_t>({17, 40});
    expect_equal({.key_value_seq_lengths = lengths}, {.mask = less(j, reshape(lengths, {2, 1, 1, 1}))});
    const Tensor none = dot_product_attention(q, k, v, {.key_value_seq_lengths = Tensor::from<std::int32_t>({0, 40})});
    EXPECT_EQ(sum(abs(none.at({0}))).item<double>(), 0);
}

TEST(DotProductAttention, DerivativesDoNotReadWhatTakesNoPart) {
    const double nan = std::nan("");
    const Tensor q = normal(1, {2, 6, 4, 3}, DType::float64), k = normal(2, {2, 5, 2, 3}, DType::float64),
                 v = normal(3, {2, 5, 2, 3}, DType::float64), bias = normal(4, {4, 1, 5}, DType::float64);
    const Tensor lengths = Tensor::from<std::int64_t>({3, 0});
    const Tensor padding = greater_equal(reshape(arange(5), {1, 5, 1, 1}), reshape(lengths, {2, 1, 1, 1}));
    const auto loss = [&](const Tree& x) {
        const auto in = x.leaves();
        return sum(square(dot_product_attention(in[0], in[1], in[2],
                                                {.bias = in[3], .is_causal = true, .key_value_seq_lengths = lengths})));
    };
    const auto derivatives = [&](const Tensor& keys, const Tensor& values) {
        const std::vector<Tree> items{Tree(q), Tree(keys), Tree(values), Tree(bias)};
        const Tree at = Tree::list(items), along = at.map([](const Tensor&x) { return ones_like(x); });
        auto all = value_and_grad_at(loss, at).second.leaves();
        for (const Tensor& x : hessian_vector_product(loss, at, along).leaves()) all.push_back(x);
        return all;
    };
    const auto wanted = derivatives(k, v), padded = derivatives(where(padding, nan, k), where(padding, nan, v));
    for (std::size_t i = 0; i < wanted.size(); ++i)
        EXPECT_EQ(padded[i].to<double>(), wanted[i].to<double>()) << "derivative " << i;
}

TEST(DotProductAttention, HasItsBitsCompiled) {
    const Tensor q = normal(1, {1, 50, 2, 16}), k = normal(2, {1, 50, 2, 16}), v = normal(3, {1, 50, 2, 16});
    const auto f = value_and_grad(
        [&](const Tensor& x) { return sum(square(dot_product_attention(x * 2.0, k, v, {.is_causal = true}) + 1.0)); });
    const auto first = f(q);
    const auto values = first.second.to<float>();
    for (int round = 0; round < 3; ++round) EXPECT_EQ(f(q).second.to<float>(), values);
}

template <class E, class F>
std::string message_of(F call) {
    try {
        call();
    } catch (const E& e) {
        return e.what();
    }
    return "no error";
}

TEST(DotProductAttention, RefusesWhatDoesNotFit) {
    const Tensor q = normal(1, {2, 5, 4, 8}), k = normal(2, {2, 7, 2, 8});
    const auto expect = [](const std::string& message, const char* part) {
        EXPECT_NE(message.find(part), std::string::npos) << message;
        EXPECT_NE(message.find("dot_product_attention"), std::string::npos) << message;
    };
    const auto shape_error = [&](const Tensor& x, const Tensor& y, const Tensor& z, const AttentionOptions& o = {}) {
        return message_of<ShapeError>([&] { dot_product_attention(x, y, z, o); });
    };
    expect(shape_error(q, k, normal(3, {2, 6, 2, 8})), "(2, 6, 2, 8): key and value have different lengths");
    expect(shape_error(q, normal(3, {2, 7, 3, 8}), normal(3, {2, 7, 3, 8})), "not a multiple");
    expect(shape_error(q, normal(3, {2, 7, 2, 4}), k), "different depths");
    expect(shape_error(q, normal(3, {1, 7, 2, 8}), normal(3, {1, 7, 2, 8})), "the batches differ");
    expect(shape_error(normal(1, {5, 4, 8}), k, k), "axes (batch, length, heads, depth)");
    expect(shape_error(q, k, k, {.bias = normal(1, {5, 5})}), "bias (5, 5) does not broadcast to (2, 4, 5, 7)");
    expect(shape_error(q, k, k, {.key_value_seq_lengths = Tensor::from<int>({1, 2, 3})}), "is not (2,), the batch");
    expect(message_of<TypeError>([&] { dot_product_attention(q, k, k, {.mask = normal(1, {5, 7})}); }), "not bool");
    expect(message_of<TypeError>([&] {
               const Tensor x = ones({1, 2, 1, 4}, DType::int32);
               dot_product_attention(x, x, x);
           }),
           "floating");
    expect(message_of<ValueError>([&] {
               dot_product_attention(q, k, k, {.local_window_size = std::pair<std::int64_t, std::int64_t>{-1, 2}});
           }),
           "negative");
    const Tensor late = dot_product_attention(q, k, k, {.key_value_seq_lengths = Tensor::from<int>({1, 9})});
    expect(message_of<ValueError>([&] { late.eval(); }), "key_value_seq_lengths[1] is 9");
}

}  // namespace
}  // namespace tenon
