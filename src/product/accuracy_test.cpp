// The stated error of products over 10,000 random problems of every floating type and layout, also with rows, columns
// or matrices that are one, repeated, or that share elements: at every element |c - A B| <= (k + 2) u |A| |B|, and one
// rounding of a narrow output.
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

/// What is made of an operand's strides: those along one axis 0, or those of rows and columns equal (a Hankel matrix).
enum class Shared : std::uint8_t { nothing, rows, columns, matrices, diagonals };

Matrix with_shared(Matrix x, Shared what) {
    if (what == Shared::rows) x.row_stride = 0;
    if (what == Shared::columns) x.column_stride = 0;
    if (what == Shared::matrices) x.batch_stride = 0;
    if (what == Shared::diagonals) {
        const bool rows_are_near = std::abs(x.row_stride) < std::abs(x.column_stride);
        x.row_stride = x.column_stride = rows_are_near ? x.row_stride : x.column_stride;
    }
    return x;
}

struct Problem {
    DType type, out;
    std::int64_t batch, m, n, k;
    Storage a, b, c;
    dense::Choice choice;
    Shared shared_a, shared_b;

    std::string name() const {
        return text(tenon::name(type), " -> ", tenon::name(out), " ", batch, "@", m, "x", n, "x", k, " storage ",
                    int(a), int(b), int(c), " shared ", int(shared_a), int(shared_b), " row ", choice.way);
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
    const Storage storages[] = {Storage::row_major, Storage::row_major, Storage::column_major, Storage::padded,
                                Storage::reversed,  Storage::shuffled,  Storage::interleaved};
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
              {},
              Shared::nothing,
              Shared::nothing};
    if (random() % 50 == 0)
        p.k = pick(trees), p.batch = 1, p.m = std::min<std::int64_t>(p.m, 17), p.n = std::min<std::int64_t>(p.n, 17);
    if (random() % 10 == 0) (random() % 2 == 0 ? p.m : p.n) = pick(large);
    p.choice.way = static_cast<int>(random() % (dense::kWayCount + 1)) - 1;
    p.choice.chunk_bytes = random() % 2 == 0 ? 0 : 512;
    constexpr Shared kinds[] = {Shared::rows, Shared::columns, Shared::columns, Shared::matrices, Shared::diagonals};
    if (random() % 4 == 0) p.shared_a = pick(kinds);
    if (random() % 4 == 0) p.shared_b = pick(kinds);
    // What repeats along k is adjacent otherwise, as what is read in place is, and the other operand fills wide tiles.
    constexpr std::int64_t wide[] = {64, 128, 192};
    if (p.shared_a == Shared::columns && random() % 2 == 0) p.a = Storage::column_major, p.n = pick(wide);
    if (p.shared_b == Shared::rows && random() % 2 == 0) p.b = Storage::row_major, p.m = pick(wide);
    return p;
}

/// Of a batch, row-major.
template <class T>
std::vector<T> elements_of(const Matrix& x, std::int64_t batch) {
    std::vector<T> all;
    const char* const first = static_cast<const char*>(x.data);
    for (std::int64_t b = 0; b < batch; ++b)
        for (std::int64_t i = 0; i < x.rows; ++i)
            for (std::int64_t j = 0; j < x.columns; ++j) {
                const std::int64_t at = b * x.batch_stride + i * x.row_stride + j * x.column_stride;
                all.push_back(static_cast<T>(
                    testing::to_double(first + at * static_cast<std::int64_t>(size_of(x.dtype)), x.dtype)));
            }
    return all;
}

/// The largest error of an element, of its bound. T sums with a hundred times the product's precision, or more.
template <class T>
double worst_of_bound(const Problem& p, const Matrix& a, const Matrix& b, Array& c) {
    const std::vector<T> x = elements_of<T>(a, p.batch), y = elements_of<T>(b, p.batch),
                         z = elements_of<T>(matrix(c), p.batch);
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
            const double error = std::abs(static_cast<double>(z[static_cast<std::size_t>(row) * n + j] - sum[j]));
            worst = std::max(worst, error / bound);
        }
    }
    return worst;
}

TEST(Accuracy, TheErrorIsWithinOneRoundingATerm) {
    const auto sets = testing::settings();
    std::map<DType, double> worst;
    int trees = 0, blocks = 0, repeated = 0;
    for (unsigned seed = 1; seed <= kProblems; ++seed) {
        const Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 3));
        Array a(p.type, {p.batch, p.m, p.k}, p.a, seed), b(p.type, {p.batch, p.k, p.n}, p.b, seed + 1),
            c(p.out, {p.batch, p.m, p.n}, p.c, seed + 2);
        a.randomize(seed), b.randomize(seed + 1);
        const Matrix left = with_shared(matrix(a), p.shared_a), right = with_shared(matrix(b), p.shared_b);
        {
            const dense::ForcedChoice forced(p.choice);
            gemm(left, right, matrix(c), {.batch = p.batch});
        }
        const double ratio = p.type == DType::float64 ? worst_of_bound<long double>(p, left, right, c)
                                                      : worst_of_bound<double>(p, left, right, c);
        ASSERT_LE(ratio, 1) << p.name() << ", seed " << seed;
        worst[p.type] = std::max(worst[p.type], ratio);
        trees += p.k > kSplitK, blocks += p.k > kBlockK;
        repeated += p.shared_a == Shared::columns || p.shared_b == Shared::rows;  // one element for all of k
    }
    // The problems are what they are meant to be.
    EXPECT_EQ(worst.size(), 4u);
    EXPECT_GT(trees, kProblems / 200);
    EXPECT_GT(blocks, kProblems / 10);
    EXPECT_GT(repeated, kProblems / 10);
    for (const auto& [type, ratio] : worst) {
        EXPECT_GT(ratio, 0.01) << name(type);
        RecordProperty(text("worst_of_bound_", name(type)), text(ratio));
    }
}

/// Rows of A and columns of B adjacent, both longer than 12 KiB, which are copied once for all of C.
TEST(Accuracy, OfLargeOutputsFromAdjacentRows) {
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t k : {3, 385, 800}) {
            const std::int64_t m = type == DType::float32 ? 3079 : 1543, n = type == DType::float32 ? 3073 : 1537;
            Array a(type, {1, m, k}, Storage::column_major), b(type, {1, k, n}), c(type, {1, m, n});
            a.randomize(1), b.randomize(2);
            gemm(matrix(a), matrix(b), matrix(c));
            for (const std::int64_t row : {std::int64_t{0}, m / 2, m - 8, m - 1}) {
                Matrix one = matrix(a);
                one.data = a.at(row * k), one.rows = 1;
                Array of_row(type, {1, 1, n});
                std::memcpy(of_row.at(0), c.at(row * n), static_cast<std::size_t>(n) * size_of(type));
                const Problem p{.type = type,
                                .out = type,
                                .batch = 1,
                                .m = 1,
                                .n = n,
                                .k = k,
                                .a = {},
                                .b = {},
                                .c = {},
                                .choice = {},
                                .shared_a = {},
                                .shared_b = {}};
                const double ratio = type == DType::float64 ? worst_of_bound<long double>(p, one, matrix(b), of_row)
                                                            : worst_of_bound<double>(p, one, matrix(b), of_row);
                ASSERT_LE(ratio, 1) << name(type) << " k " << k << " row " << row;
            }
        }
}

}  // namespace
}  // namespace tenon::product
