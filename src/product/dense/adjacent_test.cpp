// Rows of A that are adjacent in memory are multiplied where they are; columns far apart are packed on the way.
#include <gtest/gtest.h>

#include "product/product_testing.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::kTypes;
using testing::matrix;
using testing::WithSetting;

struct Sizes {
    std::int64_t batch, m, n, k;
};
/// One panel of columns and several, whole and not, of one block of k and of more; rows of B a multiple of 4 KB apart.
constexpr Sizes kSizes[] = {{1, 64, 64, 64},    {1, 101, 128, 1},  {1, 130, 64, 385}, {1, 70, 113, 33},
                            {1, 40, 584, 20},   {1, 64, 1024, 64}, {1, 97, 1024, 13}, {1, 97, 1024, 12},
                            {1, 61, 1024, 400}, {1, 29, 512, 65},  {3, 40, 128, 70},  {20, 64, 64, 64},
                            {40, 100, 64, 72}};

TEST(AdjacentRows, EqualTheLaw) {
    for (const int threads : {1, 3})
        for (const auto& setting : testing::settings())
            for (const auto& types : kTypes) {
                if (types.a != DType::float32 && types.a != DType::float64) continue;
                for (const Sizes& s : kSizes)
                    for (const bool across : {false, true}) {
                        const WithSetting with(setting, threads);
                        Array a(types.a, across ? Shape{s.batch, s.k, s.m} : Shape{s.batch, s.m, s.k}),
                            b(types.b, {s.batch, s.k, s.n});
                        a.randomize(1), b.randomize(2);
                        Array c[2] = {Array(types.c, {s.batch, s.m, s.n}), Array(types.c, {s.batch, s.m, s.n})};
                        for (Array& x : c) x.randomize(3);
                        const bool subtracts = s.k % 2 != 0 && across;
                        const GemmOptions options{
                            .alpha = subtracts ? -1.0 : 1.0, .beta = s.k % 2 == 0 ? 0.0 : 1.0, .batch = s.batch};
                        gemm(across ? matrix(a).transpose() : matrix(a), matrix(b), matrix(c[0]), options);
                        contract_reference(a.view(), b.view(), c[1].view(),
                                           Equation(across ? "bkm,bkn->bmn" : "bmk,bkn->bmn").labels(),
                                           {options.alpha, options.beta, 0, 0});
                        ASSERT_EQ(first_difference(c[0], c[1], types.c), -1)
                            << name(setting.isa) << " " << name(types.a) << " " << s.batch << "@" << s.m << "x" << s.n
                            << "x" << s.k << (across ? " across" : " along") << ", " << threads << " threads";
                    }
            }
}

/// One column of A stands for all of them.
TEST(AdjacentRows, OfOneRepeatedColumn) {
    constexpr std::int64_t kM = 40, kN = 64;
    for (const auto& setting : testing::settings())
        for (const DType type : {DType::float32, DType::float64})
            for (const std::int64_t k : {33, 400}) {
                const WithSetting with(setting, 1);
                Array column(type, {1, 1, kM}), b(type, {1, k, kN});
                column.randomize(1), b.randomize(2);
                Array all(type, {1, k, kM}), c[2] = {Array(type, {1, kM, kN}), Array(type, {1, kM, kN})};
                for (std::int64_t i = 0; i < k * kM; ++i) all.set(i, column.get(i % kM));
                Matrix repeated = matrix(column).transpose();
                repeated.columns = k, repeated.column_stride = 0;
                gemm(repeated, matrix(b), matrix(c[0]));
                gemm(matrix(all).transpose(), matrix(b), matrix(c[1]));
                EXPECT_EQ(first_difference(c[0], c[1], type), -1) << name(setting.isa) << " " << name(type) << " " << k;
            }
}

}  // namespace
}  // namespace tenon::product
