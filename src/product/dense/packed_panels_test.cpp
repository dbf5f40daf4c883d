// Columns that were packed beforehand, of which several blocks of k pass at a time.
#include "product/dense/packed_panels.h"

#include <gtest/gtest.h>

#include "product/product_testing.h"

namespace tenon::product::dense {
namespace {

using testing::Array;
using testing::first_difference;
using testing::is_integral;
using testing::kTypes;
using testing::matrix;
using testing::Problem;
using testing::settings;
using testing::Storage;
using testing::Types;
using testing::WithSetting;

struct Shape3 {
    std::int64_t m, n, k;
};

/// Parts of k of several blocks, the last of them short, and of one; groups of rows and panels of unequal height; last
/// columns of every width, or whole panels. Operands that fit L2 and others.
TEST(PackedPanels, HaveTheBitsOfPlainColumns) {
    constexpr Shape3 kShapes[] = {{70, 300, 1300}, {131, 257, 1924}, {115, 640, 768},
                                  {29, 530, 3900}, {200, 101, 6144}, {400, 70, 1024}};
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take minutes
        for (const Types& t : kTypes)
            for (const Shape3& s : kShapes) {
                const WithSetting with(setting, 1 + threads++ % 3);
                Problem p{t, 1, s.m, s.n, s.k, Storage::padded, Storage::row_major, Storage::padded, {}, 21};
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c), p.options);
                gemm(matrix(a), pack(matrix(b)), matrix(d), p.options);
                ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name();
            }
    }
}

/// Sums that wait in scratch, since they are scaled and added to an output of the same type, or rounded to a narrow
/// one.
TEST(PackedPanels, ScaledAndNarrowOnesHaveTheBitsOfFewRows) {
    constexpr Shape3 kShapes[] = {{78, 1100, 1924}, {325, 600, 768}, {520, 300, 260}, {520, 130, 3900}};
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (Types t : kTypes)
            for (const bool packs : {false, true})
                for (const Shape3& s : kShapes) {
                    if (is_integral(t)) continue;
                    const WithSetting with(setting, 1 + threads++ % 3);
                    if (threads % 2 == 0) t.c = t.a;
                    Problem p{t, 1, s.m, s.n, s.k, Storage::padded, Storage::row_major, Storage::row_major, {}, 29};
                    p.options.alpha = 0.5, p.options.beta = threads % 4 < 2 ? -2 : 0;
                    Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                    if (packs)
                        gemm(matrix(a), pack(matrix(b)), matrix(c), p.options);
                    else
                        gemm(matrix(a), matrix(b), matrix(c), p.options);
                    for (std::int64_t i = 0; i < s.m; i += 13) {
                        Matrix some = matrix(a), out = matrix(d);
                        some.data = a.at(i * s.k), some.rows = out.rows = 13, out.data = d.at(i * s.n);
                        gemm(some, matrix(b), out, p.options);
                    }
                    ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name() << " " << packs;
                }
    }
}

/// One block is added to the output, or subtracted from it.
TEST(PackedPanels, AddAndSubtractOneBlock) {
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (const Types& t : {kTypes[0], kTypes[1], kTypes[3]})
            for (const double alpha : {1.0, -1.0}) {
                const WithSetting with(setting, 1);
                Problem p{t, 1, 640, 900, 200, Storage::padded, Storage::row_major, Storage::padded, {}, 23};
                p.options.alpha = alpha, p.options.beta = 1;
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c), p.options);
                gemm(matrix(a), pack(matrix(b)), matrix(d), p.options);
                ASSERT_TRUE(c.bytes() == d.bytes()) << name(setting.isa) << " " << p.name();
            }
    }
}

/// Columns are packed for several blocks of k, or one, if there are many rows: before they are multiplied, or whole
/// panels of float32 and float64 by the first kernels. Many rows of short k, too.
TEST(PackedPanels, ManyRowsHaveTheBitsOfFew) {
    constexpr Shape3 kShapes[] = {{520, 300, 1700},  {520, 1030, 260}, {780, 130, 6144},
                                  {1040, 700, 1028}, {520, 512, 800},  {2080, 150, 100}};
    int turn = 0;
    for (const Types& t : kTypes)
        for (const Storage weights : {Storage::row_major, Storage::column_major})
            for (const Shape3& s : kShapes) {
                Problem p{t, 1, s.m, s.n, s.k, Storage::padded, weights, Storage::row_major, {}, 25};
                Array a = p.left(), b = p.right(), few = p.output();
                // Few rows have the same bits in every setting (gemm_test.cpp).
                for (std::int64_t i = 0; i < s.m; i += 65) {
                    Matrix some = matrix(a), out = matrix(few);
                    some.data = a.at(i * s.k), some.rows = out.rows = 65, out.data = few.at(i * s.n);
                    gemm(some, matrix(b), out, p.options);
                }
                for (const testing::Setting& setting : settings()) {
                    if (setting.isa == Isa::baseline) continue;
                    const WithSetting with(setting, 1 + (turn + turn / 3) % 3);
                    ++turn;
                    Array c = p.output();
                    gemm(matrix(a), matrix(b), matrix(c), p.options);
                    ASSERT_EQ(first_difference(c, few, t.c), -1) << name(setting.isa) << " " << p.name();
                }
            }
}

/// Adjacent columns of narrow elements, whose groups the kernels of the first rows put together: in strips, and in
/// chunks; k of whole and short blocks.
TEST(PackedPanels, NarrowColumnsThatKernelsPackHaveTheBitsOfFewRows) {
    constexpr Shape3 kShapes[] = {{39, 192, 1540}, {117, 640, 768}, {299, 128, 3076}, {546, 448, 1804}};
    int threads = 0;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa != Isa::avx512) continue;
        for (const Types& t : kTypes)
            for (const Shape3& s : kShapes) {
                if (size_of(t.b) > 2) continue;
                const WithSetting with(setting, 1 + threads++ % 3);
                Problem p{t, 1, s.m, s.n, s.k, Storage::padded, Storage::padded, Storage::row_major, {}, 33};
                Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c), p.options);
                for (std::int64_t i = 0; i < s.m; i += 13) {
                    Matrix some = matrix(a), out = matrix(d);
                    some.data = a.at(i * s.k), some.rows = out.rows = 13, out.data = d.at(i * s.n);
                    gemm(some, matrix(b), out, p.options);
                }
                ASSERT_EQ(first_difference(c, d, t.c), -1) << name(setting.isa) << " " << p.name();
            }
    }
}

}  // namespace
}  // namespace tenon::product::dense
