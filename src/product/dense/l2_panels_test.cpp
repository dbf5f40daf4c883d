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

/// One product in every setting, plain and packed. Several threads share rows, columns or both. All columns are
/// multiplied, or the first four fifths of each row.
void expect_the_law(const testing::Types& types, const Shape3& s, bool part, std::initializer_list<int> threads) {
    auto sets = testing::settings();
    if (supported(Isa::avx512)) sets.push_back({Isa::avx512, Dot::slow});
    Array a(types.a, {1, s.m, s.k}), b(types.b, {1, s.k, s.n}), before(types.c, {1, s.m, s.n});
    a.randomize(1), b.randomize(2), before.randomize(3);
    const std::int64_t columns = part ? s.n - s.n / 5 : s.n;
    const bool adds = is_floating(types.c) && part;
    const GemmOptions options{.alpha = adds ? -1.0 : 1.0, .beta = adds ? 1.0 : 0};
    Array expected = before;
    View vb = b.view(), vc = expected.view();
    vb.layout.shape = {1, s.k, columns}, vc.layout.shape = {1, s.m, columns};
    contract_reference(a.view(), vb, vc, Equation("bmk,bkn->bmn").labels(), {options.alpha, options.beta, 0, 0});
    Matrix right = matrix(b);
    right.columns = columns;
    for (const auto& setting : sets)
        for (const int n : threads) {
            const WithSetting with(setting, n);
            for (const bool packed : {false, true}) {
                Array c = before;
                Matrix out = matrix(c);
                out.columns = columns;
                packed ? gemm(matrix(a), pack(right), out, options) : gemm(matrix(a), right, out, options);
                ASSERT_EQ(first_difference(c, expected, types.c), -1)
                    << (packed ? "packed " : "plain ") << name(setting.isa) << " " << name(types.a) << " "
                    << name(types.c) << " " << s.m << "x" << columns << "x" << s.k << ", " << n << " threads";
            }
        }
}

void expect_the_law(std::initializer_list<int> threads) {
    for (const auto& types : kTypes)
        for (const Shape3& s : kShapes)
            for (const bool part : {false, true}) expect_the_law(types, s, part, threads);
}

TEST(L2Panels, PlainAndPackedEqualTheLaw) { expect_the_law({1}); }
TEST(L2Panels, SharedByThreadsEqualTheLaw) { expect_the_law({2, 3, 16}); }

}  // namespace
}  // namespace tenon::product::dense
