// What the tests of composed functions share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tenon/tenon.h"

namespace tenon::testing_ops {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline const double kNaN = std::numeric_limits<double>::quiet_NaN();

inline Tensor vec(const std::vector<double>& v) { return Tensor::from(v, {static_cast<std::int64_t>(v.size())}); }

inline Tensor ints(const std::vector<std::int64_t>& v, const Shape& s) { return Tensor::from(v, s); }
inline Tensor ints(const std::vector<std::int64_t>& v) { return ints(v, {static_cast<std::int64_t>(v.size())}); }

/// Evenly from [low, high), float64.
inline Tensor draw(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1) {
    std::mt19937_64 engine(seed);
    std::vector<double> v(static_cast<std::size_t>(count(shape)));
    for (double& x : v) x = low + (high - low) * static_cast<double>(engine() >> 11) * 0x1p-53;
    return Tensor::from(v, shape);
}

/// Equal shapes, and elements that differ by at most `tolerance` relative to max(1, |expected|); NaN equals NaN, and an
/// infinity or a zero only itself, sign included.
inline void expect_close(const Tensor& actual, const std::vector<double>& expected, double tolerance,
                         const std::string& what = "") {
    const auto v = actual.to<double>();
    ASSERT_EQ(v.size(), expected.size()) << what;
    for (std::size_t i = 0; i < v.size(); ++i) {
        const double e = expected[i];
        if (std::isnan(e)) {
            EXPECT_TRUE(std::isnan(v[i])) << what << " element " << i << ": " << v[i];
        } else if (std::isinf(e) || e == 0) {
            EXPECT_TRUE(v[i] == e || (e == 0 && std::fabs(v[i]) <= tolerance))
                << what << " element " << i << ": " << v[i] << ", not " << e;
            if (v[i] == 0 && e == 0) {
                EXPECT_EQ(std::signbit(v[i]), std::signbit(e)) << what << " element " << i;
            }
        } else {
            EXPECT_LE(std::fabs(v[i] - e), tolerance * std::max(1.0, std::fabs(e)))
                << what << " element " << i << ": " << v[i] << ", not " << e;
        }
    }
}

inline void expect_values(const Tensor& actual, const Shape& shape, const std::vector<double>& expected,
                          double tolerance = 0, const std::string& what = "") {
    EXPECT_EQ(actual.shape(), shape) << what << " " << to_string(actual.shape());
    expect_close(actual, expected, tolerance, what);
}

inline Tree tree_of(const std::vector<Tensor>& in) {
    const std::vector<Tree> items(in.begin(), in.end());
    return Tree::list(items);
}

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

/// The gradient of sum(w f(x)^2 + u f(x)) and its derivative along a direction against central differences in float64.
inline void expect_derivatives(const Function& f, const std::vector<Tensor>& at, const std::string& what = "") {
    const Shape out = f(at).shape();
    const Tensor u = draw(out, 101), w = draw(out, 102);
    const auto loss = [&](const Tree& t) {
        const Tensor y = f(t.leaves());
        return sum(w * y * y + u * y);
    };
    constexpr double kStep = 1e-5, kTolerance = 1e-6;
    const auto moved = [&](const std::vector<Tensor>& d, double step) {
        std::vector<Tensor> x;
        for (std::size_t k = 0; k < at.size(); ++k) x.push_back(at[k] + step * d[k]);
        return tree_of(x);
    };
    const auto gradient = [&](const Tree& x) { return value_and_grad_at(loss, x).second.leaves(); };
    const auto compare = [&](const std::vector<double>& exact, const std::vector<double>& expected, const char* order) {
        double error = 0, size = 1e-2;
        for (std::size_t i = 0; i < exact.size(); ++i) {
            ASSERT_TRUE(std::isfinite(exact[i])) << what << " " << order;
            error = std::max(error, std::fabs(exact[i] - expected[i]));
            size = std::max(size, std::fabs(expected[i]));
        }
        EXPECT_LT(error / size, kTolerance) << what << " " << order;
    };
    const auto g = gradient(tree_of(at));
    std::vector<Tensor> direction;
    for (std::size_t k = 0; k < at.size(); ++k) direction.push_back(draw(at[k].shape(), 200 + k));
    for (std::size_t k = 0; k < at.size(); ++k) {
        std::vector<double> expected;
        for (std::int64_t i = 0; i < at[k].size(); ++i) {
            std::vector<Tensor> unit;
            for (std::size_t j = 0; j < at.size(); ++j) unit.push_back(zeros_like(at[j]));
            std::vector<double> e(static_cast<std::size_t>(at[k].size()));
            e[static_cast<std::size_t>(i)] = 1;
            unit[k] = Tensor::from(e, at[k].shape());
            expected.push_back((loss(moved(unit, kStep)).item<double>() - loss(moved(unit, -kStep)).item<double>()) /
                               (2 * kStep));
        }
        compare(g[k].to<double>(), expected, "gradient");
    }
    const auto hv = hessian_vector_product(loss, tree_of(at), tree_of(direction)).leaves();
    const auto up = gradient(moved(direction, kStep)), down = gradient(moved(direction, -kStep));
    for (std::size_t k = 0; k < at.size(); ++k) {
        const auto a = up[k].to<double>(), b = down[k].to<double>();
        std::vector<double> expected;
        for (std::size_t i = 0; i < a.size(); ++i) expected.push_back((a[i] - b[i]) / (2 * kStep));
        compare(hv[k].to<double>(), expected, "second derivative");
    }
}

/// The gradient of the sum of f.
inline std::vector<double> slopes(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
    return grad([&](const Tensor& t) { return sum(f(t)); })(x).template to<double>();
}

/// The error's message contains each of the parts.
template <class E, class F>
void expect_error(const F& f, const std::vector<std::string>& parts) {
    try {
        f();
        ADD_FAILURE() << "no error naming " << parts[0];
    } catch (const E& e) {
        for (const std::string& p : parts)
            EXPECT_NE(std::string(e.what()).find(p), std::string::npos) << e.what() << " lacks " << p;
    }
}

}  // namespace tenon::testing_ops
