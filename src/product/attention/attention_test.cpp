// Attention: near the composition in float64; the reference's bits with every instruction set, number of threads,
// stride and place in a batch; masks, shared heads, ragged and empty sizes, NaN and infinity.
#include "product/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "product/attention/exp2.h"
#include "product/attention/products.h"
#include "product/attention/testing.h"
#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::AttentionCase;
using testing::AttentionOperands;
using testing::AttentionResult;
using testing::first_difference;
using testing::message_of;
using testing::Setting;
using testing::settings;
using testing::Storage;
using testing::WithSetting;
using testing::WrittenOut;

void attend_and_back(AttentionOperands& x, AttentionResult& r, bool reference) {
    const Attention a = x.attention();
    const View logsumexp = r.logsumexp.view();
    (reference ? attend_reference : attend)(a, r.out.view(), logsumexp.data);
    (reference ? attention_gradient_reference : attention_gradient)(a, r.out.view(), logsumexp.data, x.ct.view(),
                                                                    r.gradients());
}

/// Where the two differ; empty if nowhere.
std::string difference(AttentionResult& x, AttentionResult& y, DType dtype) {
    const DType wide = dtype == DType::float64 ? DType::float64 : DType::float32;
    struct Part {
        const char* name;
        Array AttentionResult::*array;
        DType dtype;
    };
    for (const Part& p : {Part{"out", &AttentionResult::out, dtype}, Part{"kept", &AttentionResult::logsumexp, wide},
                          Part{"dq", &AttentionResult::dq, dtype}, Part{"dk", &AttentionResult::dk, dtype},
                          Part{"dv", &AttentionResult::dv, dtype}}) {
        const std::int64_t at = first_difference(x.*p.array, y.*p.array, p.dtype);
        if (at >= 0) return text(p.name, "[", at, "] is ", (y.*p.array).get(at), ", not ", (x.*p.array).get(at));
    }
    return "";
}

std::vector<AttentionCase> cases() {
    std::vector<AttentionCase> all;
    const auto add = [&](AttentionCase c) {
        for (const DType t : {DType::float32, DType::bfloat16, DType::float64}) {
            c.dtype = t;
            c.seed = static_cast<unsigned>(all.size()) + 1;
            all.push_back(c);
        }
    };
    add({});
    add({.queries = 1, .keys = 1, .heads = 1, .depth = 1, .value_depth = 1});
    add({.batch = 2, .queries = 33, .keys = 50, .heads = 4, .kv_heads = 2, .depth = 16, .value_depth = 24});
    add({.queries = 17, .keys = 400, .heads = 2, .kv_heads = 2, .depth = 64, .value_depth = 64});
    add({.queries = 3,
         .keys = 1000,
         .heads = 3,
         .kv_heads = 1,
         .depth = 7,
         .value_depth = 5,
         .storage = Storage::shuffled});
    // Few rows with long keys, which are read where they are.
    for (const std::int64_t queries : {1, 2})
        for (const std::int64_t group : {1, 3, 4}) {
            add({.batch = 2, .queries = queries, .keys = 801, .heads = 2 * group, .kv_heads = 2, .depth = 64});
            add({.queries = queries, .keys = 433, .heads = group, .kv_heads = 1, .depth = 33, .value_depth = 47});
        }
    add({.queries = 2, .keys = 500, .heads = 2, .depth = 400, .value_depth = 70, .causal = true});
    // More threads than key heads, in blocks of 128.
    add({.queries = 300, .keys = 400, .heads = 2, .kv_heads = 1, .depth = 8, .value_depth = 9, .causal = true});
    add({.queries = 140, .keys = 130, .heads = 1, .depth = 33, .value_depth = 40, .causal = true});
    add({.queries = 150,
         .keys = 411,
         .heads = 2,
         .depth = 8,
         .value_depth = 3,
         .causal = true,
         .storage = Storage::reversed});
    add({.queries = 411, .keys = 150, .heads = 1, .depth = 8, .causal = true});
    add({.queries = 420, .keys = 800, .heads = 1, .depth = 4, .value_depth = 4, .left = 17, .right = 9});
    add({.queries = 60, .keys = 60, .heads = 2, .causal = true, .left = 5});
    add({.queries = 20, .keys = 45, .heads = 2, .bias = true});
    add({.queries = 20, .keys = 45, .heads = 2, .mask = true});
    add({.batch = 3, .queries = 9, .keys = 37, .lengths = true, .storage = Storage::padded});
    add({.batch = 2,
         .queries = 30,
         .keys = 400,
         .heads = 4,
         .kv_heads = 2,
         .causal = true,
         .bias = true,
         .mask = true,
         .lengths = true});
    add({.queries = 6, .keys = 9, .heads = 1, .depth = 800, .value_depth = 2});
    add({.queries = 6, .keys = 40, .causal = true, .scale = -0.7});
    add({.queries = 6, .keys = 40, .causal = true, .scale = 0});
    return all;
}

double error_bound(const AttentionCase& c) {
    // Logits of about 4 d scale, weights and sums.
    const double u = c.dtype == DType::float64 ? 0x1p-53 : c.dtype == DType::float32 ? 0x1p-24 : 0x1p-8;
    const double own = c.dtype == DType::bfloat16 ? 8 : 40 + 8 * std::fabs(c.scale) * static_cast<double>(c.depth);
    return own * u;
}

double worst(Array& found, const std::vector<double>& wanted) {
    double error = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i)
        error = std::max(error, std::fabs(found.get(static_cast<std::int64_t>(i)) - wanted[i]));
    return error;
}

double size_of_all(const std::vector<double>& x) {
    double size = 1;
    for (const double v : x) size = std::max(size, std::fabs(v));
    return size;
}

TEST(Attention, IsNearTheCompositionInFloat64) {
    for (const AttentionCase& c : cases()) {
        AttentionOperands x(c);
        AttentionResult r(c);
        attend_and_back(x, r, true);
        const WrittenOut exact(c, x);
        const double bound = error_bound(c);
        EXPECT_LE(worst(r.out, exact.out), bound) << c.describe();
        EXPECT_LE(worst(r.dv, exact.dv), 4 * bound * size_of_all(exact.dv)) << c.describe();
        EXPECT_LE(worst(r.dq, exact.dq), 8 * bound * size_of_all(exact.dq)) << c.describe();
        EXPECT_LE(worst(r.dk, exact.dk), 8 * bound * size_of_all(exact.dk)) << c.describe();
    }
}

TEST(Attention, HasTheBitsOfTheReference) {
    for (const AttentionCase& c : cases()) {
        AttentionOperands x(c);
        AttentionResult law(c);
        attend_and_back(x, law, true);
        for (const Setting& s : settings())
            for (const int threads : {1, 3}) {
                const WithSetting with(s, threads);
                AttentionResult r(c, c.storage);
                attend_and_back(x, r, false);
                EXPECT_EQ(difference(law, r, c.dtype), "")
                    << c.describe() << ", " << name(s.isa) << (s.dot == dense::Dot::never ? " without dot" : "")
                    << ", threads " << threads;
            }
    }
}

TEST(Attention, HasTheBitsOfTheReferenceInRandomCases) {
    std::mt19937 random(5);
    const auto below = [&](int n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    for (int round = 0; round < 60; ++round) {
        AttentionCase c;
        c.batch = 1 + below(3), c.kv_heads = 1 + below(2), c.heads = c.kv_heads * (1 + below(3));
        c.queries = 1 + below(round % 2 == 0 ? 300 : 40);
        c.keys = 1 + below(round % 4 == 1 ? 900 : round % 4 == 2 ? 300 : 60);
        c.depth = 1 + below(70), c.value_depth = 1 + below(70);
        c.causal = below(3) == 0, c.left = below(3) == 0 ? below(50) : -1, c.right = below(3) == 0 ? below(50) : -1;
        c.bias = below(4) == 0, c.mask = below(4) == 0, c.lengths = below(3) == 0;
        constexpr DType types[] = {DType::float32, DType::bfloat16, DType::float64};
        c.dtype = types[below(3)], c.storage = static_cast<Storage>(below(5)), c.seed = static_cast<unsigned>(random());
        AttentionOperands x(c);
        AttentionResult law(c);
        attend_and_back(x, law, true);
        const std::vector<Setting> all = settings();
        const Setting& s = all[static_cast<std::size_t>(below(static_cast<int>(all.size())))];
        const WithSetting with(s, 1 + static_cast<int>(below(4)));
        AttentionResult r(c, static_cast<Storage>(below(5)));
        attend_and_back(x, r, false);
        EXPECT_EQ(difference(law, r, c.dtype), "") << c.describe() << ", " << name(s.isa);
    }
}

TEST(Attention, OfARowAloneHasItsBitsInTheBatch) {
    for (const DType t : {DType::float32, DType::bfloat16}) {
        const AttentionCase c{
            .batch = 2, .queries = 40, .keys = 500, .heads = 4, .kv_heads = 2, .depth = 32, .dtype = t};
        AttentionOperands x(c);
        AttentionResult all(c);
        const Attention a = x.attention();
        attend(a, all.out.view(), all.logsumexp.view().data);
        for (const std::int64_t b : {0, 1})
            for (const std::int64_t h : {0, 3})
                for (const std::int64_t i : {0, 13, 39}) {
                    const auto one = [](const View& v, std::int64_t b0, std::int64_t row, std::int64_t rows,
                                        std::int64_t head) {
                        const Layout& l = v.layout;
                        return with_layout(v, l.slice({b0, row, head, 0}, {1, rows, 1, l.shape[3]}, {1, 1, 1, 1}));
                    };
                    Attention alone = a;
                    alone.q = one(a.q, b, i, 1, h);
                    alone.k = one(a.k, b, 0, c.keys, h / 2), alone.v = one(a.v, b, 0, c.keys, h / 2);
                    Array out(t, {1, 1, 1, c.value_depth});
                    double logsumexp = 0;
                    attend(alone, out.view(), &logsumexp);
                    for (std::int64_t e = 0; e < c.value_depth; ++e)
                        EXPECT_EQ(out.get(e), all.out.get(((b * c.queries + i) * c.heads + h) * c.value_depth + e));
                }
    }
}

/// Elements that no row takes, or that only some do, are NaN or infinite.
TEST(Attention, ReadsNothingOfWhatIsMasked) {
    for (const DType t : {DType::float32, DType::bfloat16, DType::float64})
        for (const double special : {std::nan(""), std::numeric_limits<double>::infinity()})
            for (const bool causal : {false, true}) {
                AttentionCase c{.batch = 2, .queries = 50, .keys = 420, .heads = 2, .depth = 16, .dtype = t};
                c.causal = causal, c.lengths = !causal;
                AttentionOperands x(c), clean(c);
                x.lengths.set(0, 401), x.lengths.set(1, 33), clean.lengths.set(0, 401), clean.lengths.set(1, 33);
                for (std::int64_t b = 0; b < 2; ++b)
                    for (std::int64_t j = causal ? 31 : b == 0 ? 401 : 33; j < c.keys; ++j)
                        for (std::int64_t d = 0; d < 8; ++d)
                            x.k.set((b * c.keys + j) * 16 + 2 * d, special), x.v.set((b * c.keys + j) * 8 + d, special);
                AttentionResult plain(c), law(c);
                attend_and_back(clean, plain, true);
                attend_and_back(x, law, true);
                // Rows that take none of them are as without.
                for (std::int64_t i = 0; i < plain.out.count(); ++i) {
                    const std::int64_t row = i / 16 % c.queries;
                    if (!causal || row < 31) {
                        EXPECT_EQ(law.out.get(i), plain.out.get(i)) << c.describe();
                    }
                }
                for (const Setting& s : settings()) {
                    const WithSetting with(s, 2);
                    AttentionResult r(c);
                    attend_and_back(x, r, false);
                    EXPECT_EQ(difference(law, r, t), "") << c.describe() << ", " << name(s.isa);
                }
            }
}

TEST(Attention, CarriesNanAndInfinity) {
    const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
    for (const DType t : {DType::float32, DType::bfloat16, DType::float64})
        for (int what = 0; what < 6; ++what)
            for (const bool causal : {false, true}) {
                const AttentionCase c{.queries = 30, .keys = 400, .heads = 1, .causal = causal, .dtype = t};
                AttentionOperands x(c);
                if (what == 0) x.q.set(13, nan);
                if (what == 1) x.k.set(19, inf);
                if (what == 2) x.v.set(3, inf), x.v.set(11, -inf);
                if (what == 3) x.v.set(20, nan), x.ct.set(0, nan);
                if (what == 4) x.k.set(17, -inf), x.ct.set(9, inf);
                if (what == 5)
                    x.q.set(8, t == DType::float64 ? 1e300 : 1e38), x.k.set(0, t == DType::float64 ? 1e300 : 1e38);
                AttentionResult law(c);
                attend_and_back(x, law, true);
                if (what == 0) {
                    EXPECT_TRUE(std::isnan(law.out.get(8)));
                }
                if (what == 2 && !causal) {
                    EXPECT_TRUE(std::isnan(law.out.get(3)));
                }
                for (const Setting& s : settings()) {
                    const WithSetting with(s, 1);
                    AttentionResult r(c);
                    attend_and_back(x, r, false);
                    EXPECT_EQ(difference(law, r, t), "") << what << " " << c.describe() << ", " << name(s.isa);
                }
            }
}

TEST(Attention, OfTinyNumbersHasTheBitsOfTheReference) {
    for (const DType t : {DType::float32, DType::bfloat16}) {
        const AttentionCase c{.queries = 20, .keys = 50, .heads = 1, .causal = true, .dtype = t};
        AttentionOperands x(c);
        for (Array* y : {&x.q, &x.k, &x.v, &x.ct})
            for (std::int64_t i = 0; i < y->count(); ++i)
                y->set(i, std::ldexp(y->get(i), -static_cast<int>(i * 7 % 140)));
        AttentionResult law(c);
        attend_and_back(x, law, true);
        for (const Setting& s : settings()) {
            const WithSetting with(s, 1);
            AttentionResult r(c);
            attend_and_back(x, r, false);
            EXPECT_EQ(difference(law, r, t), "") << c.describe() << ", " << name(s.isa);
        }
    }
}

TEST(Attention, OfARowWithoutKeysIsZero) {
    // A window to the left of the first key, a length of zero, no keys at all.
    AttentionCase c{.queries = 4, .keys = 6, .heads = 1, .lengths = true};
    AttentionOperands x(c);
    x.lengths.set(0, 0);
    AttentionResult r(c);
    attend_and_back(x, r, false);
    for (std::int64_t i = 0; i < r.out.count(); ++i) EXPECT_EQ(r.out.get(i), 0);
    for (std::int64_t i = 0; i < r.dq.count(); ++i) EXPECT_EQ(r.dq.get(i), 0);
    for (std::int64_t i = 0; i < r.dv.count(); ++i) EXPECT_EQ(r.dv.get(i), 0);
    for (const AttentionCase& empty : {AttentionCase{.keys = 0}, AttentionCase{.queries = 0}, AttentionCase{.batch = 0},
                                       AttentionCase{.depth = 0}, AttentionCase{.value_depth = 0}}) {
        AttentionOperands y(empty);
        AttentionResult s(empty);
        attend_and_back(y, s, false);
        for (std::int64_t i = 0; empty.keys == 0 && i < s.out.count(); ++i) EXPECT_EQ(s.out.get(i), 0);
        if (empty.depth == 0) {
            const WrittenOut exact(empty, y);
            EXPECT_LT(worst(s.out, exact.out), 1e-6);
        }
    }
}

TEST(Attention, RefusesLengthsThatDoNotExist) {
    AttentionCase c{.batch = 2, .lengths = true};
    AttentionOperands x(c);
    AttentionResult r(c);
    for (const double n : {-1.0, 8.0}) {
        x.lengths.set(1, n);
        const std::string message = message_of<ValueError>([&] { attend_and_back(x, r, false); });
        EXPECT_NE(message.find("key_value_seq_lengths[1]"), std::string::npos) << message;
    }
}

TEST(Attention, PowersOfTwoAreNearAndExactAtIntegers) {
    for (int n = -126; n <= 0; ++n) EXPECT_EQ(attention::exp2(static_cast<float>(n)), std::ldexp(1.0f, n));
    EXPECT_EQ(attention::exp2(-std::numeric_limits<float>::infinity()), 0);
    EXPECT_TRUE(std::isnan(attention::exp2(std::numeric_limits<float>::quiet_NaN())));
    double error = 0, wide_error = 0;
    for (int i = 0; i < 1000000; ++i) {
        const float x = -126.0f * static_cast<float>(i) / 1000000;
        const double exact = std::exp2(static_cast<double>(x)), unit = std::ldexp(1.0, std::ilogb(exact) - 23);
        error = std::max(error, std::fabs(static_cast<double>(attention::exp2(x)) - exact) / unit);
        wide_error = std::max(wide_error, std::fabs(attention::exp2(static_cast<double>(x)) - exact) / unit * 0x1p29);
    }
    EXPECT_LT(error, 1.0);
    EXPECT_LT(wide_error, 2.0);
}

TEST(Attention, DividesToTheNearest) {
    // All exponents: subnormal quotients too, and ties among those.
    std::mt19937 random(1);
    constexpr int kCount = 64;
    for (const Setting& s : settings()) {
        const WithSetting with(s, 1);
        for (int i = 0; i < 3000; ++i) {
            const bool ties = i % 3 == 0;
            const float sum = ties ? static_cast<float>(2 + 2 * (i / 3))
                                   : std::ldexp(1 + static_cast<float>(random() % 10007) / 10007, i % 12);
            float o[kCount], law[kCount];
            for (int j = 0; j < kCount; ++j) {
                const auto any = static_cast<float>(random() % (1 << 24)) - (1 << 23);
                o[j] = ties ? std::ldexp(sum / 2 * static_cast<float>(2 * j + 1), -149)
                            : std::ldexp(any, static_cast<int>(random() % 277) - 172);
                law[j] = o[j] / sum + 0.0F;
            }
            attention::passes_of(isa()).f32.divide(o, kCount, sum);
            ASSERT_EQ(std::memcmp(o, law, sizeof o), 0) << name(s.isa) << ", by " << sum;
        }
    }
}

TEST(Attention, CountsItsPairs) {
    EXPECT_EQ(attention_pairs(4, 6, false, -1, -1), 24);
    EXPECT_EQ(attention_pairs(4, 6, true, -1, -1), 10);
    EXPECT_EQ(attention_pairs(4, 4, true, 1, -1), 7);
    EXPECT_EQ(attention_pairs(4, 6, false, 0, 1), 8);
}

}  // namespace
}  // namespace tenon::product
