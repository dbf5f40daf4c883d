// Many rows, for which operands are packed or pass a part at a time, have the bits of few rows, for which they are not.
#include <gtest/gtest.h>

#include <utility>

#include "base/caches.h"
#include "product/product_testing.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::is_integral;
using testing::kTypes;
using testing::matrix;
using testing::Problem;
using testing::settings;
using testing::Storage;
using testing::Types;
using testing::WithSetting;

std::int64_t columns_of(const Matrix& b) { return b.columns; }
std::int64_t columns_of(const PackedMatrix& b) { return b.columns(); }

/// The problem's product into `c`, `rows` rows at a time; `b` is the right operand or its packed form.
template <class B>
void gemm_by_rows(const Problem& p, Array& a, const B& b, Array& c, std::int64_t rows) {
    for (std::int64_t i = 0; i < p.m; i += rows) {
        Matrix some = matrix(a), out = matrix(c);
        some.data = a.at(i * p.k), some.rows = rows;
        out.data = c.at(i * p.n), out.rows = rows, out.columns = columns_of(b);
        gemm(some, b, out, p.options);
    }
}

/// One panel of columns, and rows from memory: B is packed first, or was before.
TEST(Gemm, TallProductsOfOnePanelOfColumns) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Types& t : {kTypes[0], kTypes[1], kTypes[3], kTypes[4]})
            for (const Storage weights : {Storage::row_major, Storage::column_major}) {
                const WithSetting with(setting, weights == Storage::row_major ? 1 : 2);
                const std::int64_t lanes = (setting.isa == Isa::avx512 ? 16 : 8) * 4 / (t.a == DType::float64 ? 8 : 4);
                const std::int64_t n = setting.isa == Isa::avx512 ? 4 * lanes - 1 : 2 * lanes;
                Problem p{t, 1, 2060, n, 4102, Storage::row_major, weights, Storage::padded, {}, 5};
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output(), e = p.output();
                gemm(matrix(a), matrix(b), matrix(c));
                gemm(matrix(a), pack(matrix(b)), matrix(d));
                gemm_by_rows(p, a, matrix(b), e, 412);
                ASSERT_EQ(first_difference(c, e, t.c), -1) << p.name();
                ASSERT_EQ(first_difference(d, e, t.c), -1) << "packed " << p.name();
            }
    }
}

/// Columns that could be read in place are packed for many rows, whole panels by the kernels of the first ones, but not
/// for few.
TEST(Gemm, ManyRowsHaveTheBitsOfFew) {
    const std::pair<double, double> factors[] = {{1, 0}, {-1, 1}, {0.75, 2}};
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Types& t : {kTypes[0], kTypes[1]})
            for (const std::int64_t k : {100, 900})
                for (const auto& [alpha, beta] : factors) {
                    const WithSetting with(setting, 1 + threads++ % 5);
                    Problem p{t, 1, 1300, 300, k, Storage::padded, Storage::row_major, Storage::padded, {}, 7};
                    p.options.alpha = alpha, p.options.beta = beta;
                    Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                    gemm(matrix(a), matrix(b), matrix(c), p.options);
                    gemm_by_rows(p, a, matrix(b), d, 130);
                    ASSERT_TRUE(c.bytes() == d.bytes()) << name(setting.isa) << " " << p.name();
                }
    }
}

/// Columns are packed by the kernels of the first rows, which are turned, or before: both as they were packed
/// beforehand.
TEST(Gemm, ManyTurnedRowsHaveTheBitsOfPackedWeights) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Types& t : {kTypes[0], kTypes[1]})
            for (const std::int64_t n : {512, 500}) {
                const WithSetting with(setting, n == 500 ? 1 : 3);
                Problem p{t, 1, 700, n, 900, Storage::column_major, Storage::row_major, Storage::row_major, {}, 17};
                p.options.beta = n == 500 ? 1 : 0;
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c), p.options);
                gemm(matrix(a), pack(matrix(b)), matrix(d), p.options);
                ASSERT_TRUE(c.bytes() == d.bytes()) << name(setting.isa) << " " << p.name();
            }
    }
}

/// Columns of weights beyond L2 pass in place, are packed as the first rows pass (rows of B 4 KB apart), or are
/// widened.
TEST(Gemm, RowsByLargeWeightsHaveTheBitsOfFew) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Types& t : {kTypes[0], kTypes[1], kTypes[3], kTypes[4]})
            for (const auto& [m, n] : {std::pair{20, 816}, {70, 816}, {110, 816}, {60, 1024}, {110, 1024}}) {
                const WithSetting with(setting, 1 + m / 50);
                const bool wide = n == 1024;
                Problem p{t,
                          1,
                          m,
                          n,
                          wide ? 816 : 1100,
                          Storage::row_major,
                          Storage::row_major,
                          wide ? Storage::row_major : Storage::padded,
                          {},
                          9};
                if (m == 110 && !is_integral(t)) p.options.alpha = -1, p.options.beta = 1;
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                Matrix right = matrix(b), all = matrix(c);
                if (wide) right.columns = all.columns = 1004;
                gemm(matrix(a), right, all, p.options);
                gemm_by_rows(p, a, right, d, 10);
                ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name();
            }
    }
}

/// Rows from memory pass with all columns for a part of k, and then for the next; few rows do not.
TEST(Gemm, ManyLongRowsHaveTheBitsOfFew) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        const WithSetting with(setting, 1);
        for (const double alpha : {1.0, 0.5}) {
            Problem p{kTypes[1], 1, 1100, 600, 4100, Storage::row_major, Storage::row_major, Storage::padded, {}, 19};
            p.options.alpha = alpha;
            Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
            gemm(matrix(a), matrix(b), matrix(c), p.options);
            gemm_by_rows(p, a, matrix(b), d, 110);
            ASSERT_EQ(first_difference(c, d, p.types.c), -1) << name(setting.isa) << " " << p.name();
        }
    }
}

/// Kernels ask for the sums' lines some steps before the end of a block, or at its start where it is short.
TEST(Gemm, LastBlocksOfManyLengthsEqualTheLaw) {
    for (const testing::Setting& setting : settings())
        for (const Types& t : {kTypes[0], kTypes[1], kTypes[2], kTypes[6]})
            for (const std::int64_t rest : {63, 64, 65, 126, 127, 128, 129, 130, 192}) {
                const WithSetting with(setting, 1);
                const std::int64_t k = (384 + rest) * (is_integral(t) ? 4 : 1);
                Problem p{t, 1, 30, 200, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 23};
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output(), expected = p.output();
                contract_reference(a.view(), b.view(), expected.view(), Equation("bmk,bkn->bmn").labels(),
                                   {1, 0, 0, 0});
                gemm(matrix(a), matrix(b), matrix(c));
                gemm(matrix(a), pack(matrix(b)), matrix(d));
                ASSERT_EQ(first_difference(c, expected, t.c), -1) << name(setting.isa) << " " << p.name();
                ASSERT_EQ(first_difference(d, expected, t.c), -1) << name(setting.isa) << " packed " << p.name();
            }
}

/// So many packed columns pass a part at a time for many rows, and all at once for few.
TEST(Gemm, ManyRowsByLargePackedWeightsHaveTheBitsOfFew) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const auto& [t, n] : {std::pair{kTypes[0], 8210}, {kTypes[1], 2050}}) {
            const WithSetting with(setting, 1);
            Problem p{t, 1, 1030, n, 1030, Storage::row_major, Storage::row_major, Storage::padded, {}, 11};
            Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
            const PackedMatrix packed = pack(matrix(b));
            gemm(matrix(a), packed, matrix(c), p.options);
            gemm_by_rows(p, a, packed, d, 103);
            ASSERT_EQ(first_difference(c, d, p.types.c), -1) << name(setting.isa) << " " << p.name();
        }
    }
}

/// One row and columns that stay in the last level: two chains at a time, and what remains.
TEST(Gemm, OneRowOfNearColumnsHasTheBitsOfPackedWeights) {
    for (const testing::Setting& setting : settings())
        for (const Types& t : {kTypes[0], kTypes[2]})
            for (const std::int64_t k : {767, 768, 770, 1152, 2000, 6144 + 800}) {
                const WithSetting with(setting, 1 + static_cast<int>(k) % 2);
                Problem p{t, 1, 1, 37, k, Storage::row_major, Storage::column_major, Storage::row_major, {}, 9};
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c));
                gemm(matrix(a), pack(matrix(b)), matrix(d));
                ASSERT_EQ(first_difference(c, d, DType::float32), -1) << name(setting.isa) << " " << p.name();
            }
}

/// One row with packed columns, of which two panels that are half of the columns apart are read at a time, and what
/// remains.
TEST(Gemm, OneRowOfPackedColumnsHasTheBitsOfTwo) {
    int threads = 0;
    for (const testing::Setting& setting : settings())
        for (const Types& t : kTypes)
            for (const std::int64_t n : {64, 161, 192, 1001})
                for (const std::int64_t k : {7, 1000, 6144 + 1700})
                    for (const double beta : {0.0, 1.0}) {
                        if ((beta != 0 && is_integral(t)) || (setting.isa == Isa::baseline && n * k > 100000)) continue;
                        const WithSetting with(setting, 1 + threads++ % 2);
                        Problem p{t, 1, 2, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 17};
                        p.options.beta = beta, p.options.alpha = n == 192 && !is_integral(t) ? -1 : 1;
                        Array a = p.left(), right = p.right(), c = p.output(), d = p.output();
                        const PackedMatrix b = pack(matrix(right));
                        gemm(matrix(a), b, matrix(c), p.options);
                        gemm_by_rows(p, a, b, d, 1);
                        ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name();
                    }
}

/// Few rows, and columns from memory that are a multiple of 4 KB apart, which are read from different places.
TEST(Gemm, FewRowsOfFarColumnsHaveTheBitsOfPackedWeights) {
    for (const auto& [t, k] : {std::pair{kTypes[0], 1024}, {kTypes[0], 3072}, {kTypes[0], 8192}, {kTypes[2], 10240}}) {
        const WithSetting with(settings().back(), k == 3072 ? 2 : 1);
        const std::int64_t column = k * static_cast<std::int64_t>(size_of(t.b)),
                           n = caches().l3_of_one_core() / column + 37;
        Problem p{
            t,  1, k == 1024 || k == 10240 ? 1 : 3, n, k, Storage::padded, Storage::column_major, Storage::row_major,
            {}, 9};
        Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
        gemm(matrix(a), matrix(b), matrix(c));
        gemm(matrix(a), pack(matrix(b)), matrix(d));
        ASSERT_EQ(first_difference(c, d, t.c), -1) << p.name();
    }
}

/// Rows as lanes of vectors, with columns along k where they are: any number of them, from a cache or from memory.
TEST(Gemm, RowsAsLanesHaveTheBitsOfPackedWeights) {
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (const Types& t : kTypes) {
            const std::int64_t k = 2056,
                               far = caches().l3_of_one_core() / 2 / k / static_cast<std::int64_t>(size_of(t.b)) + 19;
            for (const std::int64_t rows : {8, 13, 16, 29}) {
                const std::int64_t some[] = {8, 10, 16, 18, 26, 37, 131, rows % 8 == 0 ? far : 62};
                for (const std::int64_t n : some) {
                    const WithSetting with(setting, 1 + threads++ % 2);
                    Problem p{t, 1, rows, n, k, Storage::row_major, Storage::column_major, Storage::row_major, {}, 33};
                    Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                    gemm(matrix(a), matrix(b), matrix(c));
                    gemm(matrix(a), pack(matrix(b)), matrix(d));
                    ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name();
                }
            }
        }
    }
}

/// Few rows with packed columns from memory, whose panels are asked for, and many rows.
TEST(Gemm, FewRowsOfFarPackedWeightsHaveTheBitsOfMany) {
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (const Types& t : kTypes) {
            const std::int64_t n = 3001,
                               k = caches().l3_of_one_core() / 2 / n / static_cast<std::int64_t>(size_of(t.b)) + 9;
            const WithSetting with(setting, 1 + threads++ % 2);
            Problem p{t, 1, 112, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 29};
            Array a = p.left(), right = p.right(), c = p.output(), d = p.output();
            const PackedMatrix b = pack(matrix(right));
            gemm(matrix(a), b, matrix(c));
            for (const std::int64_t rows : {2, 7, 14, 16, 28}) {
                gemm_by_rows(p, a, b, d, rows);
                ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << rows << " " << p.name();
            }
        }
    }
}

/// A larger than the last level, whose rows are copied for all columns of a block of k, a part of them at a time.
TEST(Gemm, CopiedRowsHaveTheBitsOfRowsInPlace) {
    struct Case {
        Types t;
        std::int64_t m, n, k, few;
    };
    const Case cases[] = {
        {kTypes[1], 1207, 600, 3500, 71}, {kTypes[1], 5500, 520, 780, 500}, {kTypes[0], 2301, 1100, 3700, 177}};
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (const Case& s : cases) {
            const WithSetting with(setting, 1 + threads++ % 4 / 3);
            Problem p{s.t, 1, s.m, s.n, s.k, Storage::padded, Storage::row_major, Storage::padded, {}, 31};
            Array a = p.left(), right = p.right(), c = p.output(), d = p.output(), e = p.output();
            const PackedMatrix b = pack(matrix(right));
            gemm(matrix(a), matrix(right), matrix(c));
            gemm(matrix(a), b, matrix(d));
            gemm_by_rows(p, a, b, e, s.few);
            ASSERT_EQ(first_difference(c, e, s.t.c), -1) << name(setting.isa) << " " << p.name();
            ASSERT_EQ(first_difference(d, e, s.t.c), -1) << name(setting.isa) << " packed " << p.name();
        }
    }
}

}  // namespace
}  // namespace tenon::product
