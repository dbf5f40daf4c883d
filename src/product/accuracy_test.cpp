// The stated error of products over 10,000 random problems of every floating type and layout: at every element
// |c - A B| <= (k + 2) u |A| |B|, and one rounding of a narrow output.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>

#include "product/product_testing.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::matrix;
using testing::Storage;
using testing::WithSetting;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned kProblems = 1000;
#else
constexpr unsigned kProblems = 10'000;
#endif

constexpr std::array<DType, 2> kTypes[] = {{DType::float32, DType::float32},  {DType::float64, DType::float64},
                                           {DType::bfloat16, DType::float32}, {DType::bfloat16, DType::bfloat16},
                                           {DType::float16, DType::float32},  {DType::float16, DType::float16}};

struct Problem {
    DType type, out;
    std::int64_t batch, m, n, k;
    Storage a, b, c;
    dense::Choice choice;

    std::string name() const {
        return text(tenon::name(type), " -> ", tenon::name(out), " ", batch, "@", m, "x", n, "x", k, " storage ",
                    int(a), int(b), int(c), " row ", choice.way);
    }
};

/// Sizes around those of kernels and blocks of k; now and then a tree of segments, or several panels of rows.
Problem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const std::int64_t sizes[] = {1, 1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 16, 17, 28, 29, 31, 32, 33, 47, 48, 64, 65},
                       large[] = {100, 129, 150, 201, 257, 400},
                       trees[] = {6143, 6144, 6145, 12289, 18433, 20000, 31000},
                       summed[] = {1,   2,   3,   4,   6,   7,   16,  31,  32,  33,  64,   100,
                                   127, 200, 300, 383, 384, 385, 500, 767, 768, 800, 1153, 1537};
    const Storage storages[] = {Storage::row_major, Storage::row_major, Storage::column_major,
                                Storage::padded,    Storage::reversed,  Storage::shuffled};
    const auto [type, out] = pick(kTypes);
    Problem p{type,
              out,
              random() % 5 == 0 ? 3 : 1,
              pick(sizes),
              pick(sizes),
              pick(summed),
              pick(storages),
              pick(storages),
              pick(storages),
              {}};
    if (random() % 50 == 0)
        p.k = pick(trees), p.batch = 1, p.m = std::min<std::int64_t>(p.m, 17), p.n = std::min<std::int64_t>(p.n, 17);
    if (random() % 10 == 0) (random() % 2 == 0 ? p.m : p.n) = pick(large);
    p.choice.way = static_cast<int>(random() % (dense::kWayCount + 1)) - 1;
    p.choice.chunk_bytes = random() % 2 == 0 ? 0 : 512;
    return p;
}

template <class T>
std::vector<T> elements_of(Array& x) {
    std::vector<T> all;
    for (std::int64_t i = 0; i < x.count(); ++i) all.push_back(static_cast<T>(x.get(i)));
    return all;
}

/// The largest error of an element, of its bound. T sums with a hundred times the product's precision, or more.
template <class T>
double worst_of_bound(const Problem& p, Array& a, Array& b, Array& c) {
    const std::vector<T> x = elements_of<T>(a), y = elements_of<T>(b);
    const double u = p.type == DType::float64 ? 0x1p-53 : 0x1p-24;
    const double rounding = p.out == DType::bfloat16 ? 0x1p-8 : p.out == DType::float16 ? 0x1p-11 : 0;
    const double least = p.out == DType::bfloat16 ? 0x1p-134 : p.out == DType::float16 ? 0x1p-25 : 0;  // subnormal
    const auto n = static_cast<std::size_t>(p.n), k = static_cast<std::size_t>(p.k);
    double worst = 0;
    std::vector<T> sum(n), magnitude(n);
    for (std::int64_t row = 0; row < p.batch * p.m; ++row) {
        std::fill(sum.begin(), sum.end(), T(0)), std::fill(magnitude.begin(), magnitude.end(), T(0));
        const T* left = x.data() + static_cast<std::size_t>(row) * k;
        const T* right = y.data() + static_cast<std::size_t>(row / p.m) * k * n;
        for (std::size_t e = 0; e < k; ++e, right += n)
            for (std::size_t j = 0; j < n; ++j) {
                const T term = left[e] * right[j];
                sum[j] += term, magnitude[j] += std::abs(term);
            }
        for (std::size_t j = 0; j < n; ++j) {
            const double exact = static_cast<double>(sum[j]);
            const double bound = static_cast<double>(p.k + 2) * u * static_cast<double>(magnitude[j]) +
                                 rounding * std::abs(exact) * 1.01 + least;
            const double error =
                std::abs(static_cast<double>(static_cast<T>(c.get(row * p.n + static_cast<std::int64_t>(j))) - sum[j]));
            worst = std::max(worst, error / bound);
        }
    }
    return worst;
}

TEST(Accuracy, TheErrorIsWithinOneRoundingATerm) {
    const auto sets = testing::settings();
    std::map<DType, double> worst;
    int trees = 0, blocks = 0;
    for (unsigned seed = 1; seed <= kProblems; ++seed) {
        const Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 3));
        Array a(p.type, {p.batch, p.m, p.k}, p.a, seed), b(p.type, {p.batch, p.k, p.n}, p.b, seed + 1),
            c(p.out, {p.batch, p.m, p.n}, p.c, seed + 2);
        a.randomize(seed), b.randomize(seed + 1);
        {
            const dense::ForcedChoice forced(p.choice);
            gemm(matrix(a), matrix(b), matrix(c), {.batch = p.batch});
        }
        const double ratio =
            p.type == DType::float64 ? worst_of_bound<long double>(p, a, b, c) : worst_of_bound<double>(p, a, b, c);
        ASSERT_LE(ratio, 1) << p.name() << ", seed " << seed;
        worst[p.type] = std::max(worst[p.type], ratio);
        trees += p.k > kSplitK, blocks += p.k > kBlockK;
    }
    // The problems are what they are meant to be.
    EXPECT_EQ(worst.size(), 4u);
    EXPECT_GT(trees, kProblems / 200);
    EXPECT_GT(blocks, kProblems / 10);
    for (const auto& [type, ratio] : worst) {
        EXPECT_GT(ratio, 0.01) << name(type);
        RecordProperty(text("worst_of_bound_", name(type)), text(ratio));
    }
}

}  // namespace
}  // namespace tenon::product
