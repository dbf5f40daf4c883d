// Quantized products: against plain loops over the stored integers, bit for bit, and against float64 within the bound
// that docs/products.md derives.
#include "product/quantized.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::first_difference;
using testing::matrix;
using testing::message_of;
using testing::settings;
using testing::Storage;
using testing::WithSetting;

constexpr DType kBytes[] = {DType::uint8, DType::int8};
constexpr DType kOutputs[] = {DType::float32, DType::float16, DType::bfloat16, DType::uint8, DType::int8, DType::int32};

/// Operands, numbers of rows and columns, and options that point at them.
struct Problem {
    DType a, b, c;
    std::int64_t batch, m, n, k;
    Storage storage[3];
    std::vector<float> scales_a, scales_b, bias;
    std::vector<std::int32_t> zeros_a, zeros_b;
    GemmOptions options;
    unsigned seed;

    Array left() const { return std::move(Array(a, {batch, m, k}, storage[0], seed).randomize(seed)); }
    Array right() const { return std::move(Array(b, {batch, k, n}, storage[1], seed + 1).randomize(seed + 1)); }
    Array output() const { return std::move(Array(c, {batch, m, n}, storage[2], seed + 2).randomize(seed + 2)); }
    std::string name() const {
        const Quantization& q = options.quantization;
        return text(tenon::name(a), " ", tenon::name(b), " ", tenon::name(c), " ", batch, "@", m, "x", n, "x", k,
                    " scales ", q.scales_a ? "rows" : text(q.scale_a), " ", q.scales_b ? "columns" : text(q.scale_b),
                    q.bias ? " bias" : "", " zeros ", options.zeros_a ? "rows" : text(options.zero_a), " ",
                    options.zeros_b ? "columns" : text(options.zero_b), " seed ", seed);
    }
};

/// Into `p`, whose vectors the options point at.
void random_problem(unsigned seed, Problem& p) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const auto zero_of = [&](DType t) {
        return static_cast<std::int32_t>(random() % 256) - (t == DType::int8 ? 128 : 0);
    };
    const auto scale = [&] {
        return std::ldexp(static_cast<float>(random() % 1000 + 1), -static_cast<int>(random() % 16));
    };
    const std::int64_t sizes[] = {1, 2, 3, 4, 5, 8, 13, 15, 16, 17, 31, 33, 65, 100, 150};
    const std::int64_t summed[] = {0, 1, 2, 3, 5, 8, 31, 64, 383, 385, 800, 1537};
    const Storage storages[] = {Storage::row_major, Storage::row_major, Storage::column_major,
                                Storage::padded,    Storage::reversed,  Storage::shuffled};
    p = {pick(kBytes),
         pick(kBytes),
         pick(kOutputs),
         random() % 4 == 0 ? 3 : 1,
         pick(sizes),
         pick(sizes),
         pick(summed),
         {pick(storages), pick(storages), pick(storages)},
         {},
         {},
         {},
         {},
         {},
         {},
         seed};
    const auto lines = [&](auto& list, std::int64_t n, auto next) {
        for (std::int64_t i = 0; i < n; ++i) list.push_back(next());
        return list.data();
    };
    GemmOptions& o = p.options;
    Quantization& q = o.quantization;
    o.batch = p.batch;
    if (random() % 3 == 0)
        o.zeros_a = lines(p.zeros_a, p.m, [&] { return zero_of(p.a); });
    else if (random() % 2 == 0)
        o.zero_a = zero_of(p.a);
    if (random() % 3 == 0)
        o.zeros_b = lines(p.zeros_b, p.n, [&] { return zero_of(p.b); });
    else if (random() % 2 == 0)
        o.zero_b = zero_of(p.b);
    if (p.c == DType::int32) return;
    if (random() % 2 == 0)
        q.scales_a = lines(p.scales_a, p.m, scale);
    else if (random() % 2 == 0)
        q.scale_a = scale();
    if (random() % 2 == 0)
        q.scales_b = lines(p.scales_b, p.n, scale);
    else if (random() % 2 == 0)
        q.scale_b = scale();
    if (random() % 2 == 0) q.bias = lines(p.bias, p.n, [&] { return scale() - 10; });
    if (!is_byte(p.c)) return;
    if (random() % 4 != 0) q.scale_c = scale() * 100;
    if (random() % 4 != 0) q.zero_c = zero_of(p.c);
}

/// What the header says, one element after the other.
Array by_the_rule(const Problem& p) {
    Array a = p.left(), b = p.right(), c = p.output();
    const GemmOptions& o = p.options;
    const Quantization& q = o.quantization;
    for (std::int64_t e = 0; e < c.count(); ++e) {
        const std::int64_t batch = e / (p.m * p.n), i = e / p.n % p.m, j = e % p.n;
        const int zero_a = o.zeros_a ? o.zeros_a[i] : o.zero_a, zero_b = o.zeros_b ? o.zeros_b[j] : o.zero_b;
        std::int64_t sum = 0;
        for (std::int64_t k = 0; k < p.k; ++k)
            sum += (static_cast<int>(a.get((batch * p.m + i) * p.k + k)) - zero_a) *
                   (static_cast<int>(b.get((batch * p.k + k) * p.n + j)) - zero_b);
        if (p.c == DType::int32) {
            c.set(e, static_cast<double>(sum));
            continue;
        }
        float x = static_cast<float>(sum);
        x = x * (q.scales_a ? q.scales_a[i] : q.scale_a);
        x = x * (q.scales_b ? q.scales_b[j] : q.scale_b);
        if (q.bias) x = x + q.bias[j];
        if (is_byte(p.c)) {
            const double low = p.c == DType::int8 ? -128 : 0, y = std::nearbyint(x / q.scale_c);
            c.set(e, std::clamp(y + q.zero_c, low, low + 255));
        } else {
            c.set(e, x);
        }
    }
    return c;
}

TEST(Quantized, EqualsTheRuleForEveryTypeLayoutAndSetting) {
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 1500; ++seed) {
        Problem p;
        random_problem(seed, p);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 4));
        Array a = p.left(), b = p.right(), c = p.output(), expected = by_the_rule(p);
        const dense::Choice choice{static_cast<int>(seed / 7 % (dense::kWayCount + 1)) - 1, seed % 2 == 0 ? 0 : 512,
                                   static_cast<int>(seed % 3)};
        {
            const dense::ForcedChoice forced(choice);
            gemm(matrix(a), matrix(b), matrix(c), p.options);
        }
        ASSERT_EQ(first_difference(c, expected, p.c), -1) << name(sets[seed % sets.size()].isa) << " " << p.name();

        Array prepared = p.output();
        prepare(matrix(a), matrix(b), matrix(prepared), p.options)(matrix(a).data, matrix(b).data,
                                                                   matrix(prepared).data);
        ASSERT_EQ(first_difference(prepared, expected, p.c), -1) << "prepared " << p.name();
        if (p.batch > 1) continue;
        Array packed = p.output();
        gemm(matrix(a), pack(matrix(b)), matrix(packed), p.options);
        ASSERT_EQ(first_difference(packed, expected, p.c), -1) << "packed " << p.name();
    }
}

TEST(Quantized, LongSumsAndSeveralThreads) {
    for (const DType a : kBytes)
        for (const DType c : {DType::float32, DType::uint8})
            for (const testing::Setting& setting : settings()) {
                Problem p;
                random_problem(5, p);
                p.a = a, p.c = c, p.batch = 1, p.m = 6, p.n = 40, p.k = 30000;
                std::vector<std::int32_t> zeros_a(6, 3), zeros_b(40, -2);
                p.options = {.zeros_a = zeros_a.data(), .zeros_b = zeros_b.data(), .quantization = {.scale_a = 0.01f}};
                zeros_a[2] = 7, zeros_b[39] = 100;
                const Array expected_once = by_the_rule(p);
                for (int threads = 1; threads <= 4; ++threads) {
                    const WithSetting with(setting, threads);
                    Array x = p.left(), y = p.right(), z = p.output(), expected = expected_once;
                    gemm(matrix(x), matrix(y), matrix(z), p.options);
                    ASSERT_EQ(first_difference(z, expected, c), -1) << name(a) << " " << threads << " threads";
                }
            }
}

TEST(Quantized, SumsOfManyExtremeBytesAreExact) {
    constexpr std::int64_t m = 5, n = 1100, k = 2051;
    for (const testing::Setting& setting : settings())
        for (const bool across : {false, true}) {
            const WithSetting with(setting, 1);
            const std::vector<std::uint8_t> a(m * k, 255);
            const std::vector<std::int8_t> b(k * n, -128);
            std::vector<std::int32_t> c(m * n);
            // The rows of A and the columns of B along memory, or adjacent.
            const Matrix x = across ? row_major(a.data(), DType::uint8, k, m).transpose()
                                    : row_major(a.data(), DType::uint8, m, k),
                         y = across ? row_major(b.data(), DType::int8, k, n)
                                    : row_major(b.data(), DType::int8, n, k).transpose();
            gemm(x, y, row_major(c.data(), DType::int32, m, n), {.zero_a = 1, .zero_b = 3});
            ASSERT_EQ(std::count(c.begin(), c.end(), 254 * -131 * k), m * n) << across;
        }
}

/// A real matrix as integers: q = round(x / scale) + zero, in range.
Array quantize(Array& x, DType type, float scale, int zero) {
    Array q(type, x.layout().shape);
    for (std::int64_t e = 0; e < x.count(); ++e) q.set(e, std::nearbyint(x.get(e) / scale) + zero);
    return q;
}

TEST(Quantized, ErrorIsWithinTheDerivedBound) {
    const std::int64_t m = 20, n = 30, k = 500;
    constexpr double u = 0x1p-24;
    for (unsigned seed = 1; seed <= 40; ++seed) {
        Array x(DType::float64, {1, m, k}), y(DType::float64, {1, k, n}), bias(DType::float32, {n});
        x.randomize(seed), y.randomize(seed + 100), bias.randomize(seed + 200);
        // x in [-1, 1) by 254 steps around 127; y by 254 steps around 0.
        const float scale_a = 1.0f / 127, scale_b = 1.0f / 127, scale_c = 0.25f;
        const int zero_a = 127;
        Array a = quantize(x, DType::uint8, scale_a, zero_a), b = quantize(y, DType::int8, scale_b, 0);
        GemmOptions o{.zero_a = zero_a,
                      .quantization = {.scale_a = scale_a, .scale_b = scale_b, .bias = bias.view().as<float>()}};
        Array real(DType::float32, {1, m, n}), narrow(DType::bfloat16, {1, m, n}), bytes(DType::int8, {1, m, n});
        gemm(matrix(a), matrix(b), matrix(real), o);
        gemm(matrix(a), matrix(b), matrix(narrow), o);
        o.quantization.scale_c = scale_c;
        gemm(matrix(a), matrix(b), matrix(bytes), o);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                double exact = bias.get(j), stored = 0, quantization = 0;
                for (std::int64_t e = 0; e < k; ++e) {
                    const double p = x.get(i * k + e), r = y.get(e * n + j);
                    const double ap = double{scale_a} * (a.get(i * k + e) - zero_a),
                                 br = double{scale_b} * b.get(e * n + j);
                    exact += p * r, stored += ap * br;
                    quantization += std::abs(ap) * scale_b / 2 + std::abs(br) * scale_a / 2 + scale_a * scale_b / 4;
                }
                const std::int64_t at = i * n + j;
                const double got = real.get(at), sum = stored + bias.get(j);
                const double arithmetic = 3.01 * u * std::abs(stored) + u * std::abs(got);
                ASSERT_LE(std::abs(got - sum), arithmetic + 1e-12);  // 1e-12: the float64 sums of this test
                ASSERT_LE(std::abs(got - exact), quantization * (1 + 1e-6) + arithmetic);
                ASSERT_LE(std::abs(narrow.get(at) - sum), arithmetic + 0x1p-8 * std::abs(got) + 1e-12);
                ASSERT_LT(std::abs(got), 31) << "the case saturates";
                ASSERT_LE(std::abs(scale_c * bytes.get(at) - sum),
                          arithmetic + u * std::abs(got) + scale_c / 2 + 1e-12);
            }
    }
}

TEST(Quantized, ANaNScaleIsANaNAndZeroAsAnInteger) {
    const std::uint8_t a = 3;
    const std::int8_t b = 2;
    float real = 0;
    std::int8_t integer = 5;
    const GemmOptions o{.quantization = {.scale_a = std::nanf("")}};
    const Matrix left = row_major(&a, DType::uint8, 1, 1), right = row_major(&b, DType::int8, 1, 1);
    gemm(left, right, row_major(&real, DType::float32, 1, 1), o);
    gemm(left, right, row_major(&integer, DType::int8, 1, 1), o);
    EXPECT_TRUE(std::isnan(real));
    EXPECT_EQ(integer, 0);
}

TEST(Quantized, ExplainSaysWhatRunsAndTuneTimesIt) {
    Problem p;
    random_problem(1, p);
    p.a = DType::uint8, p.b = DType::int8, p.c = DType::float32, p.batch = 1, p.m = 16, p.n = 32, p.k = 64;
    p.options = {.quantization = {.scale_a = 0.5f}};
    Array a = p.left(), b = p.right(), c = p.output();
    const std::string s = explain(matrix(a), matrix(b), matrix(c), p.options);
    EXPECT_EQ(s.find("> direct"), std::string::npos) << s;
    const std::vector<Timing> timings = tune(matrix(a), matrix(b), matrix(c), p.options);
    for (const Timing& t : timings) EXPECT_NE(t.way, "direct");
}

TEST(Quantized, BadCallsNameTheRule) {
    std::int8_t x[64] = {};
    float r[64] = {};
    std::int32_t sums[64] = {};
    const Matrix a = row_major(x, DType::int8, 2, 3), b = row_major(x, DType::int8, 3, 4),
                 real = row_major(r, DType::float32, 2, 4), integer = row_major(sums, DType::int32, 2, 4),
                 byte = row_major(x + 32, DType::int8, 2, 4);
    const auto refuses = [&](const Matrix& c, const GemmOptions& o, const char* part) {
        for (const std::string& message : {message_of<ValueError>([&] { gemm(a, b, c, o); }),
                                           message_of<ValueError>([&] { gemm(a, pack(b), c, o); }),
                                           message_of<ValueError>([&] { (void)prepare(a, b, c, o); })})
            EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    refuses(real, {.alpha = 2}, "alpha is 1 and beta is 0 for integers");
    refuses(real, {.beta = 1}, "alpha is 1 and beta is 0 for integers");
    refuses(integer, {.quantization = {.scale_a = 2}}, "an int32 c is the sums");
    refuses(integer, {.quantization = {.bias = r}}, "an int32 c is the sums");
    refuses(real, {.quantization = {.scale_a = 2, .scales_a = r}}, "not both");
    refuses(real, {.quantization = {.scale_b = 2, .scales_b = r}}, "not both");
    refuses(integer, {.zero_a = 1, .zeros_a = sums}, "not both");
    refuses(integer, {.zero_b = 1, .zeros_b = sums}, "not both");
    refuses(real, {.quantization = {.scale_c = 2}}, "for an 8-bit c");
    refuses(byte, {.quantization = {.scale_c = 0}}, "positive and finite");
    refuses(byte, {.quantization = {.scale_c = INFINITY}}, "positive and finite");
    refuses(byte, {.quantization = {.zero_c = 128}}, "a number of c's dtype");

    const Matrix f = row_major(r, DType::float32, 2, 3), g = row_major(r, DType::float32, 3, 4);
    for (const GemmOptions& o :
         {GemmOptions{.zero_a = 1}, GemmOptions{.zeros_b = sums}, GemmOptions{.quantization = {.scale_b = 2}}}) {
        const std::string message = message_of<ValueError>([&] { gemm(f, g, real, o); });
        EXPECT_NE(message.find("for 8-bit operands"), std::string::npos) << message;
    }
    Matrix wrong = real;
    wrong.dtype = DType::float64;
    const std::string message = message_of<TypeError>([&] { gemm(a, b, wrong); });
    EXPECT_NE(message.find("8-bit integers and c is int32, float32"), std::string::npos) << message;
}

}  // namespace
}  // namespace tenon::product
