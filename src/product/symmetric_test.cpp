// Symmetric products against gemm, bit for bit: the whole memory of the output, so that nothing else was written.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::matrix;
using testing::message_of;
using testing::settings;
using testing::Storage;
using testing::WithSetting;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kSizes[] = {0, 1, 2, 31, 32, 33, 64, 65, 129, 200};
constexpr Storage kStorages[] = {Storage::row_major, Storage::column_major, Storage::padded, Storage::reversed};

struct Types {
    DType a, c;
};
constexpr Types kTypes[] = {{DType::float32, DType::float32},   {DType::float64, DType::float64},
                            {DType::bfloat16, DType::bfloat16}, {DType::bfloat16, DType::float32},
                            {DType::float16, DType::float16},   {DType::float16, DType::float32}};

bool within(Triangle t, std::int64_t i, std::int64_t j) { return t == Triangle::lower ? j <= i : j >= i; }

Array random_array(DType t, std::int64_t rows, std::int64_t columns, Storage storage, unsigned seed) {
    return std::move(Array(t, {1, rows, columns}, storage, seed).randomize(seed));
}

/// Elements of a square matrix outside `triangle`.
void poison_outside(Array& x, std::int64_t n, Triangle triangle) {
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j)
            if (!within(triangle, i, j)) x.set(i * n + j, kNaN);
}

void mirror(Array& x, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < i; ++j) x.set(j * n + i, x.get(i * n + j));
}

struct Problem {
    Types types;
    std::int64_t n, k;
    Storage a, b, c;
    Triangle triangle;
    Side side;
    SymmetricOptions options;
    unsigned seed;

    std::string name() const {
        return text(tenon::name(types.a), " ", tenon::name(types.c), " n ", n, " k ", k, " storage ", int(a), int(b),
                    int(c), " upper ", triangle == Triangle::upper, " right ", side == Side::right, " alpha ",
                    options.alpha, " beta ", options.beta, " seed ", seed);
    }
};

Problem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const std::int64_t summed[] = {0, 1, 2, 31, 64, 65, 384, 385, 800};
    const double scales[] = {0, 1, 1, -1, 0.75};
    return {pick(kTypes),
            pick(kSizes),
            pick(summed),
            pick(kStorages),
            pick(kStorages),
            pick(kStorages),
            random() % 2 == 0 ? Triangle::lower : Triangle::upper,
            random() % 2 == 0 ? Side::left : Side::right,
            {pick(scales), pick(scales)},
            seed};
}

/// Runs `product` on C with NaN outside the triangle, and holds all its memory against `whole`'s triangle.
void expect_triangle(const Problem& p, const std::function<void(const Matrix&)>& product,
                     const std::function<void(const Matrix&)>& whole) {
    Array c = random_array(p.types.c, p.n, p.n, p.c, p.seed + 2), all = c;
    whole(matrix(all));
    poison_outside(c, p.n, p.triangle);
    Array expected = c;
    for (std::int64_t i = 0; i < p.n; ++i)
        for (std::int64_t j = 0; j < p.n; ++j)
            if (within(p.triangle, i, j))
                std::memcpy(expected.at(i * p.n + j), all.at(i * p.n + j), size_of(p.types.c));
    product(matrix(c));
    ASSERT_TRUE(c.bytes() == expected.bytes()) << p.name();
}

TEST(Symmetric, UpdatesHaveTheBitsOfGemmInTheirTriangle) {
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 500; ++seed) {
        const Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 8));
        Array a = random_array(p.types.a, p.n, p.k, p.a, seed), b = random_array(p.types.a, p.n, p.k, p.b, seed + 1);
        const Matrix ma = matrix(a), mb = matrix(b);
        const double alpha = p.options.alpha, beta = p.options.beta;
        expect_triangle(
            p, [&](const Matrix& c) { syrk(ma, c, p.triangle, p.options); },
            [&](const Matrix& c) { gemm(ma, ma.transpose(), c, {.alpha = alpha, .beta = beta}); });
        if (HasFatalFailure()) return;
        expect_triangle(
            p, [&](const Matrix& c) { gemmt(ma, mb.transpose(), c, p.triangle, p.options); },
            [&](const Matrix& c) { gemm(ma, mb.transpose(), c, {.alpha = alpha, .beta = beta}); });
        if (HasFatalFailure()) return;
        expect_triangle(
            p, [&](const Matrix& c) { syr2k(ma, mb, c, p.triangle, p.options); },
            [&](const Matrix& c) {
                gemm(ma, mb.transpose(), c, {.alpha = alpha, .beta = beta});
                gemm(mb, ma.transpose(), c, {.alpha = alpha, .beta = 1});
            });
        if (HasFatalFailure()) return;
    }
}

/// Of many rows the columns are shared out, not the rows.
TEST(Symmetric, LargeTrianglesHaveTheBitsOfGemm) {
    int threads = 0;
    for (const auto& set : settings()) {
        if (set.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Triangle triangle : {Triangle::lower, Triangle::upper})
            for (const double beta : {0.0, 1.0})
                for (const std::int64_t k : {70, 500}) {
                    const Problem p{
                        kTypes[threads % 2], 1300,     k,          Storage::row_major, Storage::column_major,
                        Storage::padded,     triangle, Side::left, {1, beta},          9};
                    const WithSetting setting(set, 1 + threads++ % 5);
                    Array a = random_array(p.types.a, p.n, k, p.a, 9), b = random_array(p.types.a, p.n, k, p.b, 10);
                    const Matrix ma = matrix(a), mb = matrix(b).transpose();
                    expect_triangle(
                        p, [&](const Matrix& c) { gemmt(ma, mb, c, triangle, p.options); },
                        [&](const Matrix& c) { gemm(ma, mb, c, {.alpha = 1, .beta = beta}); });
                    if (HasFatalFailure()) return;
                }
    }
}

/// Rows that are adjacent in memory: in place, and packed, some columns at a time.
TEST(Symmetric, UpdatesByColumnsHaveTheBitsOfGemm) {
    int count = 0;
    for (const auto& set : settings()) {
        if (set.isa == Isa::baseline) continue;
        for (const std::int64_t n : {70, 256, 515, 1100})
            for (const std::int64_t k : {64, 400, 900}) {
                const Types types = kTypes[count % 2];
                const Triangle triangle = count % 4 < 2 ? Triangle::lower : Triangle::upper;
                const double alpha = count % 3 == 0 ? -1 : 1, beta = count % 5 < 2 ? 1 : 0;
                const Storage c = count % 7 < 3 ? Storage::row_major : Storage::column_major;
                const Problem p{types, n,        k,          Storage::column_major, Storage::column_major,
                                c,     triangle, Side::left, {alpha, beta},         11};
                const WithSetting setting(set, 1 + count++ % 5);
                Array a = random_array(types.a, n, k, p.a, 11), b = random_array(types.a, n, k, p.b, 12);
                const Matrix ma = matrix(a), mb = matrix(b);
                expect_triangle(
                    p, [&](const Matrix& x) { syrk(ma, x, triangle, p.options); },
                    [&](const Matrix& x) { gemm(ma, ma.transpose(), x, {.alpha = alpha, .beta = beta}); });
                if (HasFatalFailure()) return;
                expect_triangle(
                    p, [&](const Matrix& x) { syr2k(ma, mb, x, triangle, p.options); },
                    [&](const Matrix& x) {
                        gemm(ma, mb.transpose(), x, {.alpha = alpha, .beta = beta});
                        gemm(mb, ma.transpose(), x, {.alpha = alpha, .beta = 1});
                    });
                if (HasFatalFailure()) return;
            }
    }
}

/// Squares that are cut, and sums between their halves that are added in parts.
TEST(Symmetric, CutSquaresHaveTheBitsOfGemm) {
    constexpr std::int64_t kDeep = 390;
    const Types types = kTypes[1];
    ASSERT_EQ(types.a, DType::float64);
    for (const auto& [n, triangle, storage, options] :
         {std::tuple{std::int64_t{2950}, Triangle::upper, Storage::column_major, SymmetricOptions{1, 1}},
          {std::int64_t{2950}, Triangle::lower, Storage::row_major, SymmetricOptions{0.5, 0}},
          {std::int64_t{4200}, Triangle::lower, Storage::column_major, SymmetricOptions{1, 0}}}) {
        const Problem p{types, n, kDeep, storage, storage, Storage::row_major, triangle, Side::left, options, 13};
        const WithSetting setting(settings().back(), 2);
        Array a = random_array(types.a, n, kDeep, p.a, 13), b = random_array(types.a, n, kDeep, p.b, 14);
        const Matrix ma = matrix(a), mb = matrix(b);
        expect_triangle(
            p, [&](const Matrix& c) { syr2k(ma, mb, c, triangle, options); },
            [&](const Matrix& c) {
                gemm(ma, mb.transpose(), c, {.alpha = options.alpha, .beta = options.beta});
                gemm(mb, ma.transpose(), c, {.alpha = options.alpha, .beta = 1});
            });
        if (HasFatalFailure()) return;
    }
}

TEST(Symmetric, ColumnsThatShareSetsOfCachesGiveTheBitsOfGemm) {
    constexpr std::int64_t kDeep = 400;
    int i = 0;
    for (const Types types : {kTypes[0], kTypes[1]})
        for (const Storage c : {Storage::row_major, Storage::column_major})
            for (const Triangle triangle : {Triangle::lower, Triangle::upper}) {
                // Columns of A and B are 4 KiB apart.
                const std::int64_t n = 4096 / static_cast<std::int64_t>(size_of(types.a));
                const Problem p{types,      n,         kDeep, Storage::column_major, Storage::column_major, c, triangle,
                                Side::left, {0.75, 0}, 9};
                const WithSetting setting(settings().back(), 1 + i++ % 3);
                Array a = random_array(types.a, n, kDeep, p.a, 9), b = random_array(types.a, n, kDeep, p.b, 10);
                const Matrix ma = matrix(a), mb = matrix(b);
                expect_triangle(
                    p, [&](const Matrix& to) { syrk(ma, to, triangle, p.options); },
                    [&](const Matrix& to) { gemm(ma, ma.transpose(), to, {.alpha = 0.75}); });
                expect_triangle(
                    p, [&](const Matrix& to) { syr2k(ma, mb, to, triangle, p.options); },
                    [&](const Matrix& to) {
                        gemm(ma, mb.transpose(), to, {.alpha = 0.75});
                        gemm(mb, ma.transpose(), to, {.alpha = 0.75, .beta = 1});
                    });
                if (HasFatalFailure()) return;
            }
}

TEST(Symmetric, SymmHasTheBitsOfGemmWithTheWholeMatrix) {
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 500; ++seed) {
        Problem p = random_problem(seed);
        // More rows than are completed at once or than a block of k has, now and then.
        if (seed % 25 == 0) p.n = seed % 50 == 0 ? 600 : 461;
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 8));
        const std::int64_t other = kSizes[seed / 7 % std::size(kSizes)];
        const bool left = p.side == Side::left;
        const std::int64_t m = left ? p.n : other, n = left ? other : p.n;
        Array a = random_array(p.types.a, p.n, p.n, p.a, seed), b = random_array(p.types.a, m, n, p.b, seed + 1);
        Array c = random_array(p.types.c, m, n, p.c, seed + 2), expected = c;
        mirror(a, p.n);
        const GemmOptions finish{.alpha = p.options.alpha, .beta = p.options.beta};
        if (left)
            gemm(matrix(a), matrix(b), matrix(expected), finish);
        else
            gemm(matrix(b), matrix(a), matrix(expected), finish);
        poison_outside(a, p.n, p.triangle);
        symm(p.side, p.triangle, matrix(a), matrix(b), matrix(c), p.options);
        ASSERT_TRUE(c.bytes() == expected.bytes()) << p.name() << " other " << other;
    }
}

TEST(Symmetric, EveryNumberOfThreadsAndInstructionSetGivesTheSameBits) {
    const std::int64_t n = 200, k = 400;
    for (const Types& t : kTypes) {
        Array a = random_array(t.a, n, k, Storage::row_major, 1), s = random_array(t.a, n, n, Storage::row_major, 2);
        const Array blank = random_array(t.c, n, n, Storage::row_major, 3),
                    wide = random_array(t.c, n, k, Storage::row_major, 4);
        Array square, product;
        bool first = true;
        for (const auto& set : settings())
            for (int threads = 1; threads <= 8; threads += set.isa == Isa::baseline ? 7 : 1) {
                const WithSetting setting(set, threads);
                Array c = blank, d = wide;
                syrk(matrix(a), matrix(c), Triangle::lower, {.alpha = 0.5, .beta = -1});
                symm(Side::left, Triangle::upper, matrix(s), matrix(a), matrix(d), {.beta = 1});
                if (first) square = c, product = d;
                first = false;
                ASSERT_TRUE(c.bytes() == square.bytes()) << name(set.isa) << " " << threads << " threads";
                ASSERT_TRUE(d.bytes() == product.bytes()) << name(set.isa) << " " << threads << " threads";
            }
    }
}

TEST(Symmetric, ErrorIsWithinOneRoundingATerm) {
    for (const DType t : {DType::float32, DType::float64})
        for (const std::int64_t n : kSizes) {
            const std::int64_t k = 97;
            Array a = random_array(t, n, k, Storage::row_major, 5), b = random_array(t, n, k, Storage::row_major, 6),
                  c = random_array(t, n, n, Storage::row_major, 7), once = c, twice = c;
            syrk(matrix(a), matrix(once), Triangle::lower, {.alpha = 0.5, .beta = 2});
            syr2k(matrix(a), matrix(b), matrix(twice), Triangle::lower, {.alpha = 0.5, .beta = 2});
            const double u = (t == DType::float64 ? 0x1p-53 : 0x1p-24) * static_cast<double>(k + 4);
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = 0; j <= i; ++j) {
                    const long double start = 2 * static_cast<long double>(c.get(i * n + j));
                    long double one = start, two = start, size = std::abs(start), size_two = size;
                    for (std::int64_t l = 0; l < k; ++l) {
                        const long double x = a.get(i * k + l), y = a.get(j * k + l), z = b.get(i * k + l),
                                          w = b.get(j * k + l);
                        one += x * y / 2, size += std::abs(x * y) / 2;
                        two += (x * w + z * y) / 2, size_two += (std::abs(x * w) + std::abs(z * y)) / 2;
                    }
                    ASSERT_LE(std::abs(once.get(i * n + j) - one), u * size) << n << " at " << i << ", " << j;
                    ASSERT_LE(std::abs(twice.get(i * n + j) - two), u * size_two) << n << " at " << i << ", " << j;
                }
        }
}

TEST(Symmetric, BetaZeroDoesNotReadCAndAlphaZeroNoOperand) {
    const std::int64_t n = 100, k = 20;
    const auto all = [](Array& x, double value) {
        for (std::int64_t i = 0; i < x.count(); ++i) x.set(i, value);
    };
    for (const Types& t : kTypes) {
        Array a = random_array(t.a, n, k, Storage::row_major, 1), s = random_array(t.a, n, n, Storage::row_major, 2);
        Array c(t.c, {1, n, n}), d(t.c, {1, n, k});
        all(c, kNaN), all(d, kNaN);
        syrk(matrix(a), matrix(c), Triangle::lower);
        symm(Side::left, Triangle::lower, matrix(s), matrix(a), matrix(d));
        for (std::int64_t i = 0; i < n * n; ++i)
            ASSERT_EQ(std::isnan(c.get(i)), !within(Triangle::lower, i / n, i % n));
        for (std::int64_t i = 0; i < n * k; ++i) ASSERT_FALSE(std::isnan(d.get(i)));

        all(a, kNaN), all(s, kNaN), all(c, 3), all(d, 3);
        syrk(matrix(a), matrix(c), Triangle::upper, {.alpha = 0, .beta = 0.5});
        symm(Side::left, Triangle::lower, matrix(s), matrix(a), matrix(d), {.alpha = 0, .beta = 0.5});
        for (std::int64_t i = 0; i < n * n; ++i) ASSERT_EQ(c.get(i), within(Triangle::upper, i / n, i % n) ? 1.5 : 3);
        for (std::int64_t i = 0; i < n * k; ++i) ASSERT_EQ(d.get(i), 1.5);
    }
}

TEST(Symmetric, BadCallsNameTheRuleAndTheOperandsAndWriteNothing) {
    float x[64] = {};
    const Matrix a = row_major(x, DType::float32, 2, 3), b = row_major(x, DType::float32, 3, 2),
                 c = row_major(x + 32, DType::float32, 2, 2);
    const auto has = [](const std::string& message, const char* part) {
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    has(message_of<ShapeError>([&] { syrk(b, c, Triangle::lower); }),
        "syrk: c is (n, n) for a (n, k); a is float32 (3, 2) with strides (2, 1), c is float32 (2, 2)");
    has(message_of<ShapeError>([&] { syr2k(a, b, c, Triangle::lower); }), "syr2k: a (n, k) and b (n, k)");
    has(message_of<ShapeError>([&] { gemmt(a, a, c, Triangle::lower); }), "gemmt: b is (k, n) for a (n, k)");
    has(message_of<ShapeError>([&] { symm(Side::left, Triangle::lower, a, a, a); }),
        "symm: a (m, m) stands on the left of b (m, n)");
    has(message_of<ShapeError>([&] { symm(Side::right, Triangle::lower, c, a, a); }), "on the right of b");
    has(message_of<ShapeError>([&] { symm(Side::left, Triangle::lower, c, a, b); }), "have the same shape");
    Matrix wrong = a;
    wrong.rows = -1;
    has(message_of<ShapeError>([&] { syrk(wrong, c, Triangle::lower); }), "not negative");
    wrong = a, wrong.dtype = DType::int8;
    has(message_of<TypeError>([&] { syrk(wrong, c, Triangle::lower); }), "syrk: operands share float64");
    wrong = a, wrong.dtype = DType::float64;
    has(message_of<TypeError>([&] { syr2k(a, wrong, c, Triangle::lower); }), "b is float64");
    has(message_of<TypeError>([&] { symm(Side::left, Triangle::lower, c, wrong, a); }), "b is float64");
    wrong = c, wrong.row_stride = 1;
    has(message_of<ValueError>([&] { syrk(a, wrong, Triangle::lower); }), "do not share memory");
    wrong = a, wrong.row_stride = 0;
    has(message_of<ValueError>([&] { symm(Side::left, Triangle::lower, c, a, wrong); }), "do not share memory");
    for (const float value : x) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace tenon::product
