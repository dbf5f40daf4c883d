// Activation functions against float64 formulas, at the ends of the range, and their first two derivatives.
#include "ops/testing.h"
#include "tenon/transform.h"
#include "tensor/node.h"

namespace tenon {
namespace {

using namespace testing_ops;

struct Activation {
    const char* name;
    Tensor (*f)(const Tensor&);
    double (*reference)(double);
    double at_minus_infinity, at_infinity;
};

const Activation kActivations[] = {
    {"sigmoid", sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 0, 1},
    {"relu", relu, [](double x) { return x > 0 ? x : 0; }, 0, kInf},
    {"leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.2); }, [](double x) { return x < 0 ? 0.2 * x : x; },
     -kInf, kInf},
    {"elu", [](const Tensor& x) { return elu(x, 1.5); }, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }, -1.5,
     kInf},
    {"gelu", gelu, [](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }, kNaN, kInf},
    {"gelu_tanh", gelu_tanh,
     [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); },
     kNaN, kInf},
    {"silu", silu, [](double x) { return x / (1 + std::exp(-x)); }, kNaN, kInf},
    {"softplus", softplus, [](double x) { return std::log1p(std::exp(x)); }, 0, kInf},
};

TEST(Activation, AgreesWithTheFormula) {
    for (const Activation& a : kActivations) {
        const Tensor x = draw({300}, 1, -8, 8);
        std::vector<double> expected;
        for (double v : x.to<double>()) expected.push_back(a.reference(v));
        expect_close(a.f(x), expected, 3e-15, a.name);
        expect_close(a.f(astype(x, DType::float32)), expected, 2e-6, a.name);
        for (DType narrow : {DType::float16, DType::bfloat16}) {
            const Tensor xn = astype(x, narrow);
            std::vector<double> rounded;
            for (double v : xn.to<double>()) rounded.push_back(a.reference(v));
            EXPECT_EQ(a.f(xn).dtype(), narrow) << a.name;
            expect_close(a.f(xn), rounded, narrow == DType::float16 ? 0.51 / 1024 : 0.51 / 128, a.name);
        }
        expect_close(a.f(vec({-kInf, kInf, kNaN})), {a.at_minus_infinity, a.at_infinity, kNaN}, 0, a.name);
    }
}

TEST(Activation, Derivatives) {
    for (const Activation& a : kActivations)
        expect_derivatives([&](const auto& in) { return a.f(in[0]); }, {draw({9}, 4, -3, 3)}, a.name);
}

TEST(Activation, SlopesAtZeroAndFarOut) {
    EXPECT_EQ(slopes(relu, vec({-1, 0, 1})), (std::vector<double>{0, 0, 1}));
    EXPECT_EQ(slopes(softplus, vec({-800, 0, 800})), (std::vector<double>{0, 0.5, 1}));
    EXPECT_EQ(slopes([](const Tensor& x) { return elu(x); }, vec({0, 800})), (std::vector<double>{1, 1}));
    EXPECT_EQ(slopes(gelu, vec({-50, 0, 50})), (std::vector<double>{0, 0.5, 1}));
    EXPECT_EQ(slopes(silu, vec({-800, 0, 800})), (std::vector<double>{0, 0.5, 1}));
    expect_derivatives([](const auto& in) { return softplus(in[0]); }, {vec({0, 0})}, "softplus at 0");
    expect_error<TypeError>([] { gelu(arange(3)); }, {"gelu", "(3,)", "int64"});
}

TEST(Activation, WhatIsComputedWideIsComputedAgain) {
    const Tensor x = draw({300}, 1, -8, 8), narrow = astype(x, DType::bfloat16);
    EXPECT_NE(gelu(x).node()->region, 0u);
    EXPECT_EQ(silu(x).node()->region, 0u);
    EXPECT_NE(silu(narrow).node()->region, 0u);
    EXPECT_NE(gelu(narrow).node()->region, 0u);
    EXPECT_NE(gelu(narrow).node()->region, gelu(narrow).node()->region);
    // Part of a checkpoint, it is computed again with the rest.
    checkpoint([&](const Tree& t) {
        const Tensor outer = t.tensor() + 1;
        EXPECT_EQ(gelu(outer).node()->region, outer.node()->region);
        return Tree(outer);
    })(narrow);
    // The derivative is that of the intermediates as they were.
    const auto slope = [](const Tensor& v) { return astype(gelu(astype(v, DType::float32)), DType::bfloat16); };
    EXPECT_EQ(grad([](const Tensor& v) { return sum(gelu(v)); })(narrow).to<float>(),
              grad([&](const Tensor& v) { return sum(slope(v)); })(narrow).to<float>());
}

}  // namespace
}  // namespace tenon
