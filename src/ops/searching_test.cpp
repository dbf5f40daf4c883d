// Searching, sorting and indexing against plain loops; bad indices.

#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

TEST(Searching, ArgmaxTakesTheFirstOfEquals) {
    const Tensor x = Tensor::from<double>({1, 5, 5, 7, 0, 7}, {2, 3});
    EXPECT_EQ(argmax(x).item<std::int64_t>(), 3);
    EXPECT_EQ(argmin(x).item<std::int64_t>(), 4);
    expect_values(argmax(x, 1), {2}, {1, 0});
    expect_values(argmin(x, -2, true), {1, 3}, {0, 1, 0});
    EXPECT_EQ(argmax(x, {}, true).shape(), (Shape{1, 1}));
    EXPECT_EQ(argmax(x, 0).dtype(), DType::int64);
    EXPECT_EQ(argmax(vec({1, kNaN, 9})).item<std::int64_t>(), 1);
    expect_error<ShapeError>([&] { argmax(x, 2); }, {"argmax", "2"});
    expect_error<ShapeError>([] { argmax(zeros({0})); }, {"argmax", "(0,)"});
}

TEST(Searching, NonzeroIsRowMajor) {
    const auto found = nonzero(ints({0, 3, 0, 1, 0, -1}, {2, 3}));
    expect_values(found[0], {3}, {0, 1, 1});
    expect_values(found[1], {3}, {1, 0, 2});
    EXPECT_EQ(nonzero(zeros({0, 4})).size(), 2u);
    expect_error<ShapeError>([] { nonzero(Tensor(1)); }, {"nonzero", "()"});
}

TEST(Searching, SortIsStableAndPutsNaNLast) {
    const Tensor x = Tensor::from<double>({3, kNaN, 1, 2, 1, 3, -kInf, 0}, {2, 4});
    expect_values(sort(x), {2, 4}, {1, 2, 3, kNaN, -kInf, 0, 1, 3});
    expect_values(sort(x, 1, true), {2, 4}, {3, 2, 1, kNaN, 3, 1, 0, -kInf});
    expect_values(sort(x, 0), {2, 4}, {1, 3, -kInf, 0, 3, kNaN, 1, 2});
    expect_values(argsort(ints({2, 1, 2, 1})), {4}, {1, 3, 0, 2});
    expect_values(argsort(ints({2, 1, 2, 1}), 0, true), {4}, {0, 2, 1, 3});
    // Every dtype keeps its own order: uint64 beyond int64.
    const Tensor words = Tensor::from<std::uint64_t>({1, 0xFFFFFFFFFFFFFFFF, 0x8000000000000000});
    EXPECT_EQ(argsort(words).to<std::int64_t>(), (std::vector<std::int64_t>{0, 2, 1}));
    EXPECT_EQ(sort(zeros({2, 0})).shape(), (Shape{2, 0}));
    const Tensor many = draw({5, 40, 3}, 3);
    auto expected = many.to<double>();
    for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t k = 0; k < 3; ++k) {
            std::vector<double> column;
            for (std::size_t j = 0; j < 40; ++j) column.push_back(expected[(i * 40 + j) * 3 + k]);
            std::sort(column.begin(), column.end());
            for (std::size_t j = 0; j < 40; ++j) expected[(i * 40 + j) * 3 + k] = column[j];
        }
    expect_values(sort(many, 1), {5, 40, 3}, expected);
    expect_error<ShapeError>([] { sort(Tensor(1.0)); }, {"sort"});
}

TEST(Searching, TopK) {
    const Tensor x = Tensor::from<double>({4, 9, 1, 9, 5, 6, 7, 8}, {2, 4});
    const auto [values, indices] = topk(x, 2);
    expect_values(values, {2, 2}, {9, 9, 8, 7});
    expect_values(indices, {2, 2}, {1, 3, 3, 2});
    expect_values(topk(x, 1, 0, false).first, {1, 4}, {4, 6, 1, 8});
    EXPECT_EQ(topk(x, 0).first.shape(), (Shape{2, 0}));
    expect_error<ShapeError>([&] { topk(x, 5); }, {"topk", "(2, 4)", "5"});
}

TEST(Searching, SearchsortedIsTheLibrarysBound) {
    std::mt19937_64 engine(4);
    for (std::int64_t n : {0, 1, 2, 3, 7, 8, 9, 100}) {
        std::vector<std::int64_t> sorted, values;
        for (std::int64_t i = 0; i < n; ++i) sorted.push_back(static_cast<std::int64_t>(engine() % 50));
        std::sort(sorted.begin(), sorted.end());
        for (int i = -1; i < 51; ++i) values.push_back(i);
        const auto left = searchsorted(ints(sorted), ints(values)).to<std::int64_t>();
        const auto right = searchsorted(ints(sorted), ints(values), true).to<std::int64_t>();
        for (std::size_t i = 0; i < values.size(); ++i) {
            EXPECT_EQ(left[i], std::lower_bound(sorted.begin(), sorted.end(), values[i]) - sorted.begin())
                << n << " " << values[i];
            EXPECT_EQ(right[i], std::upper_bound(sorted.begin(), sorted.end(), values[i]) - sorted.begin())
                << n << " " << values[i];
        }
    }
    EXPECT_EQ(searchsorted(vec({1, 2}), draw({2, 3}, 1)).shape(), (Shape{2, 3}));
    expect_error<ShapeError>([] { searchsorted(eye(2), vec({1})); }, {"searchsorted", "(2, 2)"});
}

TEST(Searching, TakePicksAlongAnAxis) {
    const Tensor x = reshape(arange(12), {3, 4});
    expect_values(take(x, ints({2, 0}), 0), {2, 4}, {8, 9, 10, 11, 0, 1, 2, 3});
    expect_values(take(x, ints({3, 3, 0}), 1), {3, 3}, {3, 3, 0, 7, 7, 4, 11, 11, 8});
    const Tensor y = reshape(arange(24), {2, 3, 4}), at = ints({0, 1, 2, 1}, {2, 2}), picked = take(y, at, 1);
    EXPECT_EQ(picked.shape(), (Shape{2, 2, 2, 4}));
    for (std::int64_t i = 0; i < 2; ++i)
        for (std::int64_t j = 0; j < 2; ++j)
            for (std::int64_t k = 0; k < 2; ++k)
                EXPECT_EQ(picked.at({i, j, k}).to<std::int64_t>(),
                          y.at({i, at.at({j, k}).item<std::int64_t>()}).to<std::int64_t>());
    EXPECT_EQ(take(x, Tensor(1), -1).shape(), (Shape{3}));
    expect_error<ValueError>([&] { take(x, ints({4}), 1).eval(); }, {"4", "[0, 4)"});
    expect_error<TypeError>([&] { take(x, vec({1}), 1); }, {"take", "float64"});
}

TEST(Searching, TakeAlongAxisBroadcasts) {
    const Tensor x = reshape(arange(12), {3, 4});
    expect_values(take_along_axis(x, ints({3, 0, 1, 1, 2, 2}, {3, 2})), {3, 2}, {3, 0, 5, 5, 10, 10});
    expect_values(take_along_axis(x, ints({2, 1, 0, 0}, {1, 4}), 0), {1, 4}, {8, 5, 2, 3});
    expect_values(take_along_axis(x, ints({1, 2}, {1, 2}), 1), {3, 2}, {1, 2, 5, 6, 9, 10});
    expect_values(take_along_axis(ints({7, 8, 9}, {1, 3}), ints({2, 0}, {2, 1}), 1), {2, 1}, {9, 7});
    // An index outside its row is no element of the next one.
    expect_error<ValueError>([&] { take_along_axis(x, ints({4}, {1, 1})).eval(); }, {"4", "[0, 4)"});
    expect_error<ShapeError>([&] { take_along_axis(x, ints({1})); }, {"take_along_axis", "(3, 4)", "(1,)"});
}

TEST(Searching, UniqueValuesAscend) {
    expect_values(unique_values(ints({3, 1, 3, 2, 1, 1}, {2, 3})), {3}, {1, 2, 3});
    expect_values(unique_values(vec({kNaN, 2, kNaN, 2})), {3}, {2, kNaN, kNaN});
    expect_values(unique_values(zeros({0})), {0}, {});
    expect_values(unique_values(Tensor(5)), {1}, {5});
}

TEST(Searching, Derivatives) {
    const std::vector<Tensor> x = {draw({3, 4}, 8)};
    expect_derivatives([](const auto& in) { return sort(in[0], 0, true); }, x, "sort");
    expect_derivatives([](const auto& in) { return topk(in[0], 2).first; }, x, "topk");
    expect_derivatives([](const auto& in) { return take(in[0], ints({0, 0, 3}), 1); }, x, "take");
    expect_derivatives(
        [](const auto& in) {
            return take_along_axis(in[0], ints({0, 0, 3}, {1, 3}), 1);
        },
        x, "take_along_axis");
}

TEST(Searching, NanIsTheLargestInASortedVector) {
    const Tensor sorted = vec({1, 2, kNaN}), values = vec({kNaN, 3, 1});
    expect_values(searchsorted(sorted, values), {3}, {2, 2, 0});
    expect_values(searchsorted(sorted, values, true), {3}, {3, 2, 1});
}

}  // namespace
}  // namespace tenon
