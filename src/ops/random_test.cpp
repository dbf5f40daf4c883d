// Keys, and what is drawn from them: moments and distributions at fixed seeds, bounds, independence of threads.
#include <map>
#include <set>

#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;
using random::Key;

// Kolmogorov and Smirnov's statistic times sqrt(n): above 2 with probability 0.0007 if the distribution is right.
double deviation_from(std::vector<double> v, const std::function<double(double)>& distribution) {
    std::sort(v.begin(), v.end());
    const auto n = static_cast<double>(v.size());
    double d = 0;
    for (std::size_t i = 0; i < v.size(); ++i) {
        const double p = distribution(v[i]), k = static_cast<double>(i);
        d = std::max({d, p - k / n, (k + 1) / n - p});
    }
    return d * std::sqrt(n);
}

double mean_of(const std::vector<double>& v, int power) {
    double s = 0;
    for (double x : v) s += std::pow(x, power);
    return s / static_cast<double>(v.size());
}

double normal_distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

TEST(Key, DerivedKeysAreDistinct) {
    Key key(7);
    std::set<std::uint64_t> values = {key.value()};
    for (const Key& k : key.split(100)) values.insert(k.value());
    for (std::uint64_t i = 0; i < 100; ++i) values.insert(key.fold_in(i).value());
    for (int i = 0; i < 100; ++i) {
        values.insert(key.next().value());
        values.insert(key.value());
    }
    EXPECT_EQ(values.size(), 401u);
}

TEST(Key, IsAValue) {
    Key a(7), b(7);
    EXPECT_EQ(a.next(), b.next());
    EXPECT_EQ(a, b);
    EXPECT_EQ(Key(a.value()), a);
    EXPECT_EQ(a.split(3), b.split(3));
    EXPECT_EQ(a.split(2)[1], a.split(5)[1]);
    EXPECT_EQ(a.tensor().item<std::uint64_t>(), a.value());
    EXPECT_NE(Key(7), a);
    EXPECT_THROW(a.split(-1), ValueError);
}

TEST(Random, UniformFillsTheInterval) {
    for (DType dtype : {DType::float32, DType::float64}) {
        const auto v = random::uniform(Key(1), {200, 100}, 0, 1, dtype).to<double>();
        EXPECT_LT(deviation_from(v, [](double x) { return x; }), 2) << name(dtype);
        EXPECT_NEAR(mean_of(v, 1), 0.5, 0.01);
        EXPECT_NEAR(mean_of(v, 2), 1.0 / 3, 0.01);
        EXPECT_GE(*std::min_element(v.begin(), v.end()), 0);
        EXPECT_LT(*std::max_element(v.begin(), v.end()), 1);
    }
    const auto v = random::uniform(Key(2), {20000}, -3, 5).to<double>();
    EXPECT_LT(deviation_from(v, [](double x) { return (x + 3) / 8; }), 2);
}

TEST(Random, UniformStaysBelowItsEnd) {
    for (DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
        for (auto [low, high] : {std::pair{0.0, 1.0}, {1.0, 1.0625}, {-2.0, -1.0}, {-1.0, 0.0}, {100.0, 101.0}}) {
            const auto v = random::uniform(Key(3), {20000}, low, high, dtype).to<double>();
            EXPECT_GE(*std::min_element(v.begin(), v.end()), low) << name(dtype) << low;
            EXPECT_LT(*std::max_element(v.begin(), v.end()), high) << name(dtype) << low;
        }
    }
    // The interval [1, next number after 1) holds only 1.
    const float after = std::nextafter(1.0f, 2.0f);
    for (float x : random::uniform(Key(3), {100}, 1, after).to<float>()) EXPECT_EQ(x, 1);
    expect_error<ValueError>([] { random::uniform(Key(1), {2}, 1, 1); }, {"uniform", "(2,)"});
    expect_error<ValueError>([] { random::uniform(Key(1), {2}, 1, 1 + 1e-12); }, {"uniform", "float32"});
    expect_error<ValueError>([] { random::uniform(Key(1), {2}, 0, kInf); }, {"uniform"});
    expect_error<ValueError>([] { random::uniform(Key(1), {2}, -3e38, 3e38); }, {"uniform"});
    expect_error<TypeError>([] { random::uniform(Key(1), {2}, 0, 1, DType::int32); }, {"uniform", "int32"});
    expect_error<ShapeError>([] { random::uniform(Key(1), {-2}); }, {"uniform", "(-2,)"});
}

TEST(Random, NormalIsNormal) {
    for (DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
        const auto v = random::normal(Key(4), {150, 200}, 0, 1, dtype).to<double>();
        if (size_of(dtype) > 2) {
            EXPECT_LT(deviation_from(v, normal_distribution), 2) << name(dtype);
        }
        EXPECT_NEAR(mean_of(v, 1), 0, 0.02) << name(dtype);
        EXPECT_NEAR(mean_of(v, 2), 1, 0.03) << name(dtype);
        EXPECT_NEAR(mean_of(v, 3), 0, 0.07) << name(dtype);
        EXPECT_NEAR(mean_of(v, 4), 3, 0.17) << name(dtype);
        for (double x : v) EXPECT_LE(std::fabs(x), 9.5);
    }
    const auto v = random::normal(Key(5), {30001}, 10, 3).to<double>();
    EXPECT_EQ(v.size(), 30001u);
    EXPECT_LT(deviation_from(v, [](double x) { return normal_distribution((x - 10) / 3); }), 2);
    // The two numbers that Box and Muller's transform makes of one pair are not correlated.
    double product = 0;
    const auto z = random::normal(Key(6), {40000}).to<double>();
    for (std::size_t i = 0; i < 20000; ++i) product += z[i] * z[i + 20000] / 20000;
    EXPECT_NEAR(product, 0, 0.03);
    EXPECT_EQ(random::normal(Key(1), {}).shape(), (Shape{}));
    EXPECT_EQ(random::normal(Key(1), {0, 3}).shape(), (Shape{0, 3}));
    expect_error<ValueError>([] { random::normal(Key(1), {2}, 0, -1); }, {"normal", "(2,)", "-1"});
}

TEST(Random, Bernoulli) {
    for (double p : {0.0, 0.01, 0.5, 0.9, 1.0}) {
        const Tensor b = random::bernoulli(Key(8), p, {40000});
        EXPECT_EQ(b.dtype(), DType::boolean);
        EXPECT_NEAR(static_cast<double>(count_nonzero(b).item<std::int64_t>()) / 40000, p,
                    4.5 * std::sqrt(p * (1 - p) / 40000));
    }
    const auto rows = count_nonzero(random::bernoulli(Key(9), vec({0, 1}), {1000, 2}), 0).to<std::int64_t>();
    EXPECT_EQ(rows, (std::vector<std::int64_t>{0, 1000}));
    expect_error<ShapeError>([] { random::bernoulli(Key(8), vec({0, 1}), {3}); }, {"bernoulli", "(2,)", "(3,)"});
    expect_error<TypeError>([] { random::bernoulli(Key(8), 1, {3}); }, {"bernoulli", "int64"});
}

TEST(Random, Integers) {
    const auto v = random::randint(Key(10), {60000}, -2, 4).to<std::int64_t>();
    for (std::int64_t k = -2; k < 4; ++k)
        EXPECT_NEAR(static_cast<double>(std::count(v.begin(), v.end(), k)), 10000, 400);
    EXPECT_EQ(*std::min_element(v.begin(), v.end()), -2);
    EXPECT_EQ(*std::max_element(v.begin(), v.end()), 3);
    const auto bytes = random::randint(Key(11), {20000}, 0, 256, DType::uint8);
    EXPECT_EQ(bytes.dtype(), DType::uint8);
    EXPECT_EQ(max(bytes).item<int>(), 255);
    EXPECT_EQ(min(bytes).item<int>(), 0);
    const std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
    for (std::int64_t x : random::randint(Key(12), {100}, lowest, -1).to<std::int64_t>()) EXPECT_LT(x, -1);
    expect_error<ValueError>([] { random::randint(Key(1), {2}, 3, 3); }, {"randint", "[3, 3)"});
    expect_error<ValueError>([] { random::randint(Key(1), {2}, 0, 257, DType::uint8); }, {"randint", "uint8"});
    expect_error<ValueError>([] { random::randint(Key(1), {2}, -1, 5, DType::uint64); }, {"randint", "uint64"});
    expect_error<ValueError>([&] { random::randint(Key(1), {2}, lowest, 5); }, {"randint"});
    expect_error<TypeError>([] { random::randint(Key(1), {2}, 0, 5, DType::float32); }, {"randint", "float32"});
}

TEST(Random, PermutationsHoldEveryNumber) {
    const auto p = random::permutation(Key(13), 1000).to<std::int64_t>();
    EXPECT_EQ(std::set<std::int64_t>(p.begin(), p.end()).size(), 1000u);
    EXPECT_EQ(*std::max_element(p.begin(), p.end()), 999);
    EXPECT_NE(p, random::permutation(Key(14), 1000).to<std::int64_t>());
    EXPECT_EQ(random::permutation(Key(1), 0).shape(), (Shape{0}));
    // All six orders of three, equally often.
    std::map<std::vector<std::int64_t>, int> orders;
    for (std::uint64_t i = 0; i < 1200; ++i) ++orders[random::permutation(Key(15).fold_in(i), 3).to<std::int64_t>()];
    ASSERT_EQ(orders.size(), 6u);
    for (const auto& [order, times] : orders) EXPECT_NEAR(times, 200, 60);
    expect_error<ValueError>([] { random::permutation(Key(1), -1); }, {"permutation", "-1"});
}

TEST(Random, NumbersDoNotDependOnThreads) {
    std::vector<std::vector<double>> runs;
    for (int threads = 1; threads <= 4; ++threads) {
        set_num_threads(threads);
        auto v = random::normal(Key(16), {300, 301}).to<double>();
        for (const Tensor& t : {random::uniform(Key(16), {70001}), random::permutation(Key(16), 5000),
                                random::bernoulli(Key(16), 0.4, {70001}), random::randint(Key(16), {70001}, 0, 1000)}) {
            const auto more = t.to<double>();
            v.insert(v.end(), more.begin(), more.end());
        }
        runs.push_back(v);
    }
    set_num_threads(0);
    for (const auto& r : runs) EXPECT_EQ(r, runs[0]);
}

TEST(Random, AreTheSameEverywhere) {
    // Fixed for ever: a saved key must draw the same numbers in every later version.
    EXPECT_EQ(Key(1).fold_in(2).value(), 6522733656294768213u);
    EXPECT_EQ(random::randint(Key(1), {4}, 0, 1000).to<std::int64_t>(), (std::vector<std::int64_t>{448, 384, 91, 47}));
}

}  // namespace
}  // namespace tenon
