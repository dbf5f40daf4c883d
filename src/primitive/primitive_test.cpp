// Every primitive, from the registry alone: it has all its parts; its kernel gives the reference's bits in every dtype;
// its derivatives agree with finite differences, its adjoint with its tangent.
#include "primitive/primitive.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "primitive/leaf.h"
#include "primitive/testing.h"
#include "schedule/evaluate.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

class PrimitiveTest : public testing::TestWithParam<const Primitive*> {};

// Row-major memory of its own.
Tensor copied(const Tensor& x) {
    const Tensor flat = reshape(x, {-1});
    return reshape(slice(concat(std::vector<Tensor>{flat, flat}).eval(), {0}, {x.size()}, {1}), x.shape()).eval();
}

// Any bits for one half of the elements, small numbers for the other: those that shifts and powers take.
std::vector<std::int64_t> integers(std::int64_t n, std::mt19937_64& engine) {
    std::vector<std::int64_t> v(static_cast<std::size_t>(n));
    for (std::int64_t& x : v) {
        const auto word = static_cast<std::int64_t>(engine());
        x = word & 1 ? word : word % 5;
    }
    return v;
}

// The elements in memory of another order: turned round, every second one, one repeated along the first axis.
Tensor in_layout(const Tensor& x, int layout) {
    const int rank = x.rank();
    if (rank == 0 || layout == 0) return x;
    Axes axes;
    Extents none(rank, 0), two(rank, 1), stop(rank, 0);
    for (int i = 0; i < rank; ++i) axes.push_back(rank - 1 - i);
    if (layout == 1) return transpose(copied(transpose(x, axes)), axes).eval();
    if (layout == 2) return flip(copied(flip(x, {rank - 1})), {rank - 1}).eval();
    const Tensor spread = copied(pad(x, none, none, two));
    for (int i = 0; i < rank; ++i) {
        two[i] = 2;
        stop[i] = spread.shape()[i];
    }
    if (layout == 3) return slice(spread, none, stop, two).eval();
    for (int i = 0; i < rank; ++i) two[i] = 1, stop[i] = x.shape()[i];
    stop[0] = std::min<std::int64_t>(1, stop[0]);
    return broadcast_to(slice(x, none, stop, two), x.shape()).eval();
}

double dot(const Tensor& a, const Tensor& b) {
    const auto x = a.to<double>(), y = b.to<double>();
    double s = 0;
    for (std::size_t i = 0; i < x.size(); ++i) s += x[i] * y[i];
    return s;
}

Tensor like(const Tensor& t, std::uint64_t seed) { return draw({{t.shape()}, -1, 1, nullptr}, t.dtype(), seed)[0]; }

Tree tree_of(const std::vector<Tensor>& in) {
    const std::vector<Tree> items(in.begin(), in.end());
    return Tree::list(items);
}

TreeFunction function_of(const Sample& s) {
    return [&s](const Tree& t) { return Tree(s.apply(t.leaves())); };
}

// Differentiable samples: floating results of floating arguments.
bool differentiable(const Sample& s) {
    try {
        return is_floating(s.apply(draw(s, DType::float64, 1)).dtype());
    } catch (const TypeError&) {
        return false;  // an operation on integers
    }
}

std::vector<Sample> samples_of(const Primitive& p) { return p.samples ? p.samples() : std::vector<Sample>{}; }

TEST_P(PrimitiveTest, HasAllItsParts) {
    const Primitive& p = *GetParam();
    EXPECT_FALSE(p.doc.empty());
    EXPECT_TRUE(p.infer);
    EXPECT_TRUE(p.reference);
    EXPECT_NE(p.derivative, Derivative::unset);
    EXPECT_EQ(p.derivative == Derivative::rule, p.tangent != nullptr);
    EXPECT_EQ(p.linear != 0, p.adjoint != nullptr);
    if (p.derivative == Derivative::linear || p.derivative == Derivative::multilinear) {
        EXPECT_NE(p.linear, 0u);
    }
    EXPECT_EQ(p.role == Role::view, p.view != nullptr);
    // Leaves have no operands to sweep; custom_linear is reached through custom and cannot be computed.
    EXPECT_TRUE(p.samples || p.role == Role::leaf || p.name == "custom_linear");
}

TEST_P(PrimitiveTest, KernelGivesTheBitsOfTheReference) {
    for (const Sample& s : samples_of(*GetParam())) {
        for (int t = 0; t < 5 * static_cast<int>(DType::complex64); ++t) {
            const auto dtype = static_cast<DType>(t / 5);
            std::vector<Tensor> operands = draw(s, dtype, 7);
            std::mt19937_64 engine(8);
            for (Tensor& x : operands) {
                if (is_integer(dtype)) x = astype(Tensor::from(integers(x.size(), engine), x.shape()), dtype).eval();
                x = in_layout(x, t % 5);
            }
            Tensor out;
            try {
                out = s.apply(operands);
            } catch (const TypeError&) {
                continue;  // not for this dtype
            }
            Node* root = out.node();
            if (root->value()) continue;
            for (Node* n : schedule::collect({&root, 1}).nodes) {
                if (n->value()) continue;
                const Array law = schedule::compute(*n, true), fast = schedule::compute(*n, false);
                const Tensor a = input(law), b = input(fast);
                const auto width = size_of(n->dtype) * static_cast<std::size_t>(count(n->shape));
                // Gather both into contiguous bytes: views may be strided.
                const auto bytes = [&](const Tensor& x) {
                    const Tensor packed = concat(std::vector<Tensor>{reshape(x, {-1}), reshape(x, {-1})}).eval();
                    const auto* at = static_cast<const std::byte*>(packed.host().data);
                    return std::vector<std::byte>(at, at + width);
                };
                EXPECT_EQ(bytes(a), bytes(b)) << n->primitive->name << " " << name(dtype);
                n->publish(fast);
            }
        }
    }
}

TEST_P(PrimitiveTest, GradientAgreesWithFiniteDifferences) {
    for (const Sample& s : samples_of(*GetParam())) {
        if (!differentiable(s)) continue;
        const auto in = draw(s, DType::float64, 3);
        const Tensor weights = like(s.apply(in), 4);
        const auto loss = [&](const std::vector<Tensor>& x) { return dot(s.apply(x), weights); };
        const auto [value, pullback] = vjp(function_of(s), tree_of(in));
        const auto grads = pullback(Tree(weights)).leaves();
        for (std::size_t k = 0; k < in.size(); ++k) {
            const auto x = in[k].to<double>(), g = grads[k].to<double>();
            double error = 0, size = 1e-3;
            for (std::size_t i = 0; i < x.size(); ++i) {
                constexpr double h = 1e-5;
                const auto at = [&](double step) {
                    auto moved = x;
                    moved[i] += step;
                    auto args = in;
                    args[k] = Tensor::from(moved, in[k].shape());
                    return loss(args);
                };
                const double expected = GetParam()->name == "stop_gradient" ? 0 : (at(h) - at(-h)) / (2 * h);
                error = std::max(error, std::fabs(g[i] - expected));
                size = std::max(size, std::fabs(expected));
            }
            EXPECT_LT(error / size, 1e-6) << "operand " << k;
        }
    }
}

TEST_P(PrimitiveTest, TangentAndAdjointAreTransposes) {
    for (const Sample& s : samples_of(*GetParam())) {
        if (!differentiable(s) || GetParam()->name == "custom") continue;
        const auto in = draw(s, DType::float64, 5);
        std::vector<Tensor> d;
        for (std::size_t k = 0; k < in.size(); ++k) d.push_back(like(in[k], 10 + k));
        const Linearized l = linearize(function_of(s), tree_of(in));
        const Tensor tangent = l.tangent(tree_of(d)).tensor(), ct = like(tangent, 20);
        const auto cts = l.pullback(Tree(ct)).leaves();
        double right = 0;
        for (std::size_t k = 0; k < in.size(); ++k) right += dot(d[k], cts[k]);
        const double left = dot(tangent, ct);
        EXPECT_NEAR(left, right, 1e-12 * (1 + std::fabs(left)));
        // Forward mode on its own gives the same tangent.
        const auto direct = jvp(function_of(s), tree_of(in), tree_of(d)).second.tensor().to<double>();
        EXPECT_EQ(direct, tangent.to<double>());
    }
}

TEST_P(PrimitiveTest, SecondDerivativeAgreesWithFiniteDifferences) {
    for (const Sample& s : samples_of(*GetParam())) {
        if (!differentiable(s) || GetParam()->derivative == Derivative::none) continue;
        const auto in = draw(s, DType::float64, 6);
        const Tensor weights = like(s.apply(in), 7);
        // Squared, so that linear primitives have a second derivative too.
        const auto loss = [&](const Tree& x) {
            const Tensor y = s.apply(x.leaves());
            Axes all;
            for (int i = 0; i < y.rank(); ++i) all.push_back(i);
            return reduce_sum(y * y * weights, all);
        };
        std::vector<Tensor> v;
        for (std::size_t k = 0; k < in.size(); ++k) v.push_back(like(in[k], 30 + k));
        if (GetParam()->name == "custom" && in.size() == 2) continue;  // a pullback has no forward mode
        const auto hv = hessian_vector_product(loss, tree_of(in), tree_of(v)).leaves();
        constexpr double h = 1e-5;
        const auto gradient_at = [&](double step) {
            std::vector<Tensor> x;
            for (std::size_t k = 0; k < in.size(); ++k) x.push_back(in[k] + step * v[k]);
            return value_and_grad_at(loss, tree_of(x)).second.leaves();
        };
        const auto up = gradient_at(h), down = gradient_at(-h);
        for (std::size_t k = 0; k < in.size(); ++k) {
            const auto a = up[k].to<double>(), b = down[k].to<double>(), exact = hv[k].to<double>();
            double error = 0, size = 1e-3;
            for (std::size_t i = 0; i < a.size(); ++i) {
                const double expected = (a[i] - b[i]) / (2 * h);
                error = std::max(error, std::fabs(exact[i] - expected));
                size = std::max(size, std::fabs(expected));
            }
            EXPECT_LT(error / size, 1e-6) << "operand " << k;
        }
    }
}

std::vector<double> slopes(const std::function<Tensor(const Tensor&)>& f, std::initializer_list<double> at) {
    return grad([&](const Tensor& x) { return reduce_sum(f(x), {0}); })(Tensor::from<double>(at)).to<double>();
}

TEST(Pow, OfANumberByANumberHasADerivative) {
    const auto root = [](const Tensor& x) { return pow(reduce_sum(x, {0}), 0.5); };
    EXPECT_EQ(grad(root)(Tensor::from<float>({1, 3})).to<float>(), (std::vector<float>{0.25f, 0.25f}));
    const Tensor product = Tensor(3.0f) * 2;
    EXPECT_EQ(product.dtype(), DType::float32);
    EXPECT_EQ(product.item<float>(), 6);
}

TEST(Pow, DerivativesAtZeroAndOfNegativeNumbers) {
    const auto slope = [](const Tensor& x, double n) {
        return grad([&](const Tensor& t) { return reduce_sum(pow(t, n), {0}); })(x);
    };
    const auto first = [&](double n) { return slopes([&](const Tensor& x) { return pow(x, n); }, {0, -2, 1e-320}); };
    const auto second = [&](double n) { return slopes([&](const Tensor& x) { return slope(x, n); }, {0, -2, 1e-320}); };
    EXPECT_EQ(first(0), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(first(1), (std::vector<double>{1, 1, 1}));
    EXPECT_EQ(first(2), (std::vector<double>{0, -4, 2e-320}));
    EXPECT_EQ(second(0), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(second(1), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(second(2), (std::vector<double>{2, 2, 2}));
    EXPECT_EQ(slopes([](const Tensor& x) { return pow(x, -1.0); }, {-2}), (std::vector<double>{-0.25}));
    // d/db d/da of a^b is 1 / a at b = 0.
    const Tensor a = Tensor::from<double>({4});
    EXPECT_EQ(
        slopes([&](const Tensor& b) { return grad([&](const Tensor& t) { return reduce_sum(pow(t, b), {0}); })(a); },
               {0}),
        (std::vector<double>{0.25}));
}

TEST(Maximum, TiesShareTheDerivativeAndNanHasIt) {
    const double nan = std::nan("");
    const Tensor b = Tensor::from<double>({1, 1, 1, 1});
    EXPECT_EQ(slopes([&](const Tensor& x) { return maximum(x, b); }, {0, 1, 2, nan}),
              (std::vector<double>{0, 0.5, 1, 1}));
    EXPECT_EQ(slopes([&](const Tensor& x) { return maximum(b, x); }, {0, 1, 2, nan}),
              (std::vector<double>{0, 0.5, 1, 1}));
    EXPECT_EQ(slopes([&](const Tensor& x) { return minimum(x, b); }, {0, 1, 2, nan}),
              (std::vector<double>{1, 0.5, 0, 1}));
    EXPECT_EQ(slopes([&](const Tensor& x) { return minimum(b, x); }, {0, 1, 2, nan}),
              (std::vector<double>{1, 0.5, 0, 1}));
}

TEST(Rounding, LeavesIntegersAsTheyAre) {
    for (int t = static_cast<int>(DType::int8); t <= static_cast<int>(DType::uint64); ++t) {
        const Tensor x = astype(Tensor::from<double>({1, 2, 100}), static_cast<DType>(t));
        for (auto* f : {floor, ceil, round, trunc}) {
            EXPECT_EQ(f(x).dtype(), x.dtype());
            EXPECT_EQ(f(x).to<int>(), (std::vector<int>{1, 2, 100}));
        }
        EXPECT_EQ(isnan(x).to<bool>(), (std::vector<bool>{false, false, false}));
        EXPECT_EQ(isfinite(x).to<bool>(), (std::vector<bool>{true, true, true}));
    }
    EXPECT_THROW(floor(Tensor::from<bool>({true})), TypeError);
    EXPECT_THROW(iota(3, DType::boolean), TypeError);
}

TEST(Extents, ThatDoNotFit63BitsAreShapeErrors) {
    const std::int64_t huge = std::int64_t{1} << 62;
    const Tensor x = Tensor::from<float>({1}), wide = broadcast_to(x, {huge});
    const auto expect = [](const std::function<void()>& f, std::string_view op) {
        try {
            f();
            ADD_FAILURE() << op;
        } catch (const ShapeError& e) {
            EXPECT_NE(std::string_view(e.what()).find(op), std::string_view::npos) << e.what();
        }
    };
    expect([&] { concat(std::vector<Tensor>{wide, wide}); }, "concat");
    expect([&] { pad(x, {INT64_MAX}, {5}); }, "pad");
    expect([&] { pad(Tensor::from<float>({1, 2, 3}), {0}, {0}, {INT64_MAX}); }, "pad");
    expect([&] { broadcast_to(x, {huge, 4}); }, "broadcast");
    expect([&] { reshape(wide, {huge, 1}) * reshape(wide, {1, huge}); }, "63 bits");
    EXPECT_THROW(concat(std::vector<Tensor>{x}, 7), ShapeError);
}

INSTANTIATE_TEST_SUITE_P(Registry, PrimitiveTest, testing::ValuesIn(primitives()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Registry, NamesAreUnique) {
    std::set<std::string_view> names;
    for (const Primitive* p : primitives()) EXPECT_TRUE(names.insert(p->name).second) << p->name;
    EXPECT_GT(names.size(), 50u);
}

}  // namespace
}  // namespace tenon
