// Shapes and their errors; that views stay views.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

TEST(Manipulation, AxesInOtherOrders) {
    const Tensor x = reshape(arange(24), {2, 3, 4});
    EXPECT_EQ(permute_dims(x, {2, 0, 1}).shape(), (Shape{4, 2, 3}));
    expect_values(matrix_transpose(ints({1, 2, 3, 4, 5, 6}, {2, 3})), {3, 2}, {1, 4, 2, 5, 3, 6});
    EXPECT_EQ(moveaxis(x, {0}, {-1}).shape(), (Shape{3, 4, 2}));
    EXPECT_EQ(moveaxis(x, {-1}, {0}).shape(), (Shape{4, 2, 3}));
    EXPECT_EQ(moveaxis(x, {0, 1}, {1, 0}).shape(), (Shape{3, 2, 4}));
    EXPECT_EQ(moveaxis(x, {2, 0}, {0, 2}).shape(), (Shape{4, 3, 2}));
    EXPECT_EQ(moveaxis(x, {0}, {2}).at({1, 2, 1}).item<int>(), x.at({1, 1, 2}).item<int>());
    EXPECT_EQ(moveaxis(x, {0}, {2}).host().data, x.host().data);
    expect_error<ShapeError>([&] { moveaxis(x, {0, 1}, {0}); }, {"moveaxis", "(2, 3, 4)"});
    expect_error<ShapeError>([&] { moveaxis(x, {0, 0}, {0, 1}); }, {"moveaxis", "twice"});
    expect_error<ShapeError>([] { matrix_transpose(vec({1})); }, {"matrix_transpose", "(1,)"});
}

TEST(Manipulation, AxesOfExtentOne) {
    const Tensor x = zeros({2, 3});
    EXPECT_EQ(expand_dims(x).shape(), (Shape{1, 2, 3}));
    EXPECT_EQ(expand_dims(x, -1).shape(), (Shape{2, 3, 1}));
    EXPECT_EQ(expand_dims(x, 1).shape(), (Shape{2, 1, 3}));
    EXPECT_EQ(squeeze(zeros({1, 2, 1}), {0, -1}).shape(), (Shape{2}));
    EXPECT_EQ(flatten(x).shape(), (Shape{6}));
    EXPECT_EQ(flatten(Tensor(1)).shape(), (Shape{1}));
    EXPECT_EQ(flatten(zeros({0, 2})).shape(), (Shape{0}));
    expect_error<ShapeError>([&] { squeeze(x, {1}); }, {"squeeze", "(2, 3)"});
    expect_error<ShapeError>([&] { expand_dims(x, 3); }, {"expand_dims", "3"});
}

TEST(Manipulation, FlipAndRoll) {
    const Tensor x = reshape(arange(6), {2, 3});
    expect_values(flip(x), {2, 3}, {5, 4, 3, 2, 1, 0});
    expect_values(roll(x, 2), {2, 3}, {4, 5, 0, 1, 2, 3});
    expect_values(roll(x, {1}, {1}), {2, 3}, {2, 0, 1, 5, 3, 4});
    expect_values(roll(x, {-1, 1}, {1, 0}), {2, 3}, {4, 5, 3, 1, 2, 0});
    expect_values(roll(x, {7}, {-1}), {2, 3}, {2, 0, 1, 5, 3, 4});
    EXPECT_EQ(roll(zeros({0, 3}), {2}, {0}).shape(), (Shape{0, 3}));
    expect_error<ShapeError>([&] { roll(x, {1, 2}, {0}); }, {"roll", "(2, 3)"});
}

TEST(Manipulation, JoinAndPart) {
    const Tensor a = ints({1, 2}), b = ints({3, 4});
    expect_values(stack({a, b}), {2, 2}, {1, 2, 3, 4});
    expect_values(stack({a, b}, -1), {2, 2}, {1, 3, 2, 4});
    expect_values(concat({a, b, a}), {6}, {1, 2, 3, 4, 1, 2});
    expect_values(concat(std::vector<Tensor>{eye(2), zeros({1})}, std::nullopt), {5}, {1, 0, 0, 1, 0});
    const Tensor x = reshape(arange(12), {2, 6});
    const auto thirds = split(x, 3, 1);
    ASSERT_EQ(thirds.size(), 3u);
    expect_values(thirds[1], {2, 2}, {2, 3, 8, 9});
    const auto parts = split(x, std::vector<std::int64_t>{1, 1, 4}, -1);
    ASSERT_EQ(parts.size(), 4u);
    EXPECT_EQ(parts[1].shape(), (Shape{2, 0}));
    expect_values(parts[3], {2, 2}, {4, 5, 10, 11});
    expect_values(concat(parts, 1), {2, 6}, x.to<double>());
    const auto rows = unstack(x);
    ASSERT_EQ(rows.size(), 2u);
    expect_values(rows[1], {6}, {6, 7, 8, 9, 10, 11});
    EXPECT_EQ(unstack(x, 1).size(), 6u);
    expect_error<ShapeError>([&] { split(x, 4, 1); }, {"split", "(2, 6)", "4"});
    expect_error<ShapeError>([&] { split(x, std::vector<std::int64_t>{4, 2}, 1); }, {"split", "(2, 6)"});
    expect_error<ShapeError>([&] { stack({a, x}); }, {"stack", "(2,)", "(2, 6)"});
    expect_error<ValueError>([] { stack(std::vector<Tensor>{}); }, {"stack"});
}

TEST(Manipulation, TileAndRepeat) {
    const Tensor x = ints({1, 2, 3, 4}, {2, 2});
    expect_values(tile(x, {2}), {2, 4}, {1, 2, 1, 2, 3, 4, 3, 4});
    expect_values(tile(x, {2, 1}), {4, 2}, {1, 2, 3, 4, 1, 2, 3, 4});
    expect_values(tile(ints({1, 2}), {2, 2}), {2, 4}, {1, 2, 1, 2, 1, 2, 1, 2});
    EXPECT_EQ(tile(x, {0, 1}).shape(), (Shape{0, 2}));
    expect_values(repeat(x, 2), {8}, {1, 1, 2, 2, 3, 3, 4, 4});
    expect_values(repeat(x, 2, 0), {4, 2}, {1, 2, 1, 2, 3, 4, 3, 4});
    expect_values(repeat(x, 3, -1), {2, 6}, {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4});
    expect_error<ShapeError>([&] { repeat(x, -1, 0); }, {"repeat", "(2, 2)", "-1"});
    expect_error<ShapeError>([&] { tile(x, {-1}); }, {"tile", "(2, 2)"});
    EXPECT_THROW(tile(x, {std::int64_t{1} << 62}), ShapeError);
    EXPECT_THROW(repeat(x, std::int64_t{1} << 62, 0), ShapeError);
}

TEST(Manipulation, BroadcastArrays) {
    const auto all = broadcast_arrays({zeros({3, 1}), zeros({4}), Tensor(1)});
    for (const Tensor& t : all) EXPECT_EQ(t.shape(), (Shape{3, 4}));
    expect_error<ShapeError>([] { broadcast_arrays({zeros({3}), zeros({4})}); }, {"broadcast_arrays", "(3,)", "(4,)"});
}

TEST(Manipulation, Derivatives) {
    const std::vector<Tensor> x = {draw({2, 3}, 1)};
    expect_derivatives([](const auto& in) { return roll(moveaxis(in[0], {0}, {1}), {1, -1}, {0, 1}); }, x, "roll");
    expect_derivatives([](const auto& in) { return repeat(tile(in[0], {2, 2}), 2, 1); }, x, "tile");
    expect_derivatives([](const auto& in) { return stack({in[0], flip(in[0])}, 1); }, x, "stack");
    expect_derivatives([](const auto& in) { return concat(split(in[0], 3, 1), 0); }, x, "split");
}

TEST(Manipulation, RepeatTakesACountForEachElement) {
    const Tensor x = ints({1, 2, 3, 4, 5, 6}, {2, 3});
    expect_values(repeat(x, ints({2, 0, 1}), 1), {2, 3}, {1, 1, 3, 4, 4, 6});
    expect_values(repeat(x, ints({1, 2}), 0), {3, 3}, {1, 2, 3, 4, 5, 6, 4, 5, 6});
    expect_values(repeat(ints({7, 8}), ints({1, 3})), {4}, {7, 8, 8, 8});
    expect_values(repeat(x, ints({2}), 0), {4, 3}, {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6});
    expect_error<ShapeError>([&] { repeat(x, ints({1, 2, 3}), 0); }, {"repeat", "(2, 3)", "(3,)"});
    expect_error<ValueError>([&] { repeat(x, ints({1, -2}), 0); }, {"repeat", "-2"});
    expect_error<TypeError>([&] { repeat(x, vec({1, 2}), 0); }, {"repeat", "float64"});
    EXPECT_EQ(slopes(
                  [](const Tensor& t) {
                      return repeat(t, ints({3, 1}), 0);
                  },
                  vec({1, 2})),
              (std::vector<double>{3, 1}));
}

}  // namespace
}  // namespace tenon
