// One product whose operands stay in L2, a panel of columns after the other.
#include "product/dense/l2_panels.h"

#include <gtest/gtest.h>

#include "product/product_testing.h"

namespace tenon::product::dense {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::kTypes;
using testing::matrix;
using testing::Storage;
using testing::WithSetting;

struct Shape3 {
    std::int64_t m, n, k;
};
/// One to several panels of rows and of columns, the last of every width; k of whole groups, and not.
constexpr Shape3 kShapes[] = {{1, 64, 64},   {3, 33, 8},     {16, 256, 96}, {30, 96, 128},
                              {31, 100, 64}, {40, 140, 36},  {64, 129, 12}, {64, 128, 30},
                              {61, 47, 256}, {70, 368, 384}, {150, 90, 64}, {40, 70, 100}};

/// Several threads share rows, columns or both.
void expect_the_law(int threads) {
    auto sets = testing::settings();
    if (supported(Isa::avx512)) sets.push_back({Isa::avx512, Dot::slow});
    for (const auto& setting : sets)
        for (const auto& types : kTypes)
            for (const Shape3& s : kShapes) {
                const WithSetting with(setting, threads);
                // All columns, or the first four fifths of each row.
                for (const bool part : {false, true}) {
                    Array a(types.a, {1, s.m, s.k}), b(types.b, {1, s.k, s.n});
                    a.randomize(1), b.randomize(2);
                    const std::int64_t columns = part ? s.n - s.n / 5 : s.n;
                    const bool floating = is_floating(types.c);
                    const GemmOptions options{.alpha = floating && part ? -1.0 : 1.0,
                                              .beta = floating && part ? 1.0 : 0};
                    Array c[3] = {Array(types.c, {1, s.m, s.n}), Array(types.c, {1, s.m, s.n}),
                                  Array(types.c, {1, s.m, s.n})};
                    for (Array& x : c) x.randomize(3);
                    Matrix right = matrix(b), out[3] = {matrix(c[0]), matrix(c[1]), matrix(c[2])};
                    right.columns = columns;
                    for (Matrix& x : out) x.columns = columns;
                    gemm(matrix(a), right, out[0], options);
                    gemm(matrix(a), pack(right), out[1], options);
                    View vb = b.view(), vc = c[2].view();
                    vb.layout.shape = {1, s.k, columns}, vc.layout.shape = {1, s.m, columns};
                    contract_reference(a.view(), vb, vc, Equation("bmk,bkn->bmn").labels(),
                                       {options.alpha, options.beta, 0, 0});
                    for (int i = 0; i < 2; ++i)
                        ASSERT_EQ(first_difference(c[i], c[2], types.c), -1)
                            << (i == 0 ? "plain " : "packed ") << name(setting.isa) << " " << name(types.a) << " "
                            << name(types.c) << " " << s.m << "x" << columns << "x" << s.k << ", " << threads
                            << " threads";
                }
            }
}

TEST(L2Panels, PlainAndPackedEqualTheLaw) { expect_the_law(1); }
TEST(L2Panels, SharedByThreadsEqualTheLaw) {
    for (const int threads : {2, 3, 16}) expect_the_law(threads);
}

}  // namespace
}  // namespace tenon::product::dense
