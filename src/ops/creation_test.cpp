// Tensors made from numbers: values, dtypes, and that a constant takes no memory.
#include "ops/testing.h"

namespace tenon {
namespace {

using namespace testing_ops;

TEST(Creation, ConstantsAreBroadcasts) {
    expect_values(zeros({2, 2}), {2, 2}, {0, 0, 0, 0});
    expect_values(ones({3}, DType::int8), {3}, {1, 1, 1});
    EXPECT_EQ(zeros({2}).dtype(), DType::float32);
    EXPECT_EQ(ones({2}, DType::boolean).to<bool>(), (std::vector<bool>{true, true}));
    const std::vector<bool> bits = {true, false, true};
    EXPECT_EQ(Tensor::from(bits, {3}).to<bool>(), bits);
    EXPECT_EQ(Tensor::from(bits, {3}).dtype(), DType::boolean);
    const Tensor huge = full({1000000, 1000000}, 2.5);
    EXPECT_EQ(huge.host().strides, (Strides{0, 0}));
    EXPECT_EQ(huge.at({7, -1}).item<float>(), 2.5f);
    EXPECT_EQ(full({2}, 7).dtype(), DType::int64);
    EXPECT_EQ(full({2}, 7, DType::float64).to<double>(), (std::vector<double>{7, 7}));
    EXPECT_EQ(full({2}, (std::int64_t{1} << 62) + 1).to<std::int64_t>()[1], (std::int64_t{1} << 62) + 1);
    const Tensor x = ints({1, 2, 3}, {1, 3});
    EXPECT_EQ(zeros_like(x).dtype(), DType::int64);
    expect_values(ones_like(x, DType::float32), {1, 3}, {1, 1, 1});
    expect_values(full_like(x, 4), {1, 3}, {4, 4, 4});
    expect_error<TypeError>([&] { full_like(x, 0.5); }, {"full_like", "float", "int64"});
    expect_error<ShapeError>([] { zeros({2, -1}); }, {"zeros", "(2, -1)"});
}

TEST(Creation, ArangeIsPythons) {
    expect_values(arange(4), {4}, {0, 1, 2, 3});
    EXPECT_EQ(arange(4).dtype(), DType::int64);
    expect_values(arange(2, 11, 3), {3}, {2, 5, 8});
    expect_values(arange(5, 0, -2), {3}, {5, 3, 1});
    expect_values(arange(5, 0), {0}, {});
    expect_values(arange(0, 1, 0.25), {4}, {0, 0.25, 0.5, 0.75});
    EXPECT_EQ(arange(0, 1, 0.25).dtype(), DType::float32);
    EXPECT_EQ(arange(3.0).dtype(), DType::float32);
    EXPECT_EQ(arange(0, 3, 1, DType::uint8).dtype(), DType::uint8);
    EXPECT_EQ(arange(std::int64_t{1} << 62, (std::int64_t{1} << 62) + 2).to<std::int64_t>()[1],
              (std::int64_t{1} << 62) + 1);
    expect_error<ValueError>([] { arange(0, 1, 0); }, {"arange", "0"});
    expect_error<ValueError>([] { arange(0.0, kInf); }, {"arange", "inf"});
}

TEST(Creation, LinspaceEndsExactly) {
    expect_values(linspace(0, 1, 5, DType::float64), {5}, {0, 0.25, 0.5, 0.75, 1});
    expect_values(linspace(0, 1, 4, DType::float64, false), {4}, {0, 0.25, 0.5, 0.75});
    expect_values(linspace(3, 9, 1), {1}, {3});
    expect_values(linspace(3, 9, 0), {0}, {});
    for (double stop : {0.1, 1.0 / 3, 1e9 + 0.7}) {
        const auto v = linspace(-0.7, stop, 7, DType::float64).to<double>();
        EXPECT_EQ(v.front(), -0.7);
        EXPECT_EQ(v.back(), stop);
    }
    expect_error<ValueError>([] { linspace(0, 1, -2); }, {"linspace", "-2"});
}

TEST(Creation, Triangles) {
    expect_values(eye(2), {2, 2}, {1, 0, 0, 1});
    expect_values(eye(2, 3, 1, DType::int32), {2, 3}, {0, 1, 0, 0, 0, 1});
    expect_values(eye(3, 2, -1), {3, 2}, {0, 0, 1, 0, 0, 1});
    const Tensor x = reshape(arange(1, 10), {3, 3});
    expect_values(tril(x), {3, 3}, {1, 0, 0, 4, 5, 0, 7, 8, 9});
    expect_values(triu(x), {3, 3}, {1, 2, 3, 0, 5, 6, 0, 0, 9});
    expect_values(tril(x, 1), {3, 3}, {1, 2, 0, 4, 5, 6, 7, 8, 9});
    expect_values(triu(x, -1), {3, 3}, {1, 2, 3, 4, 5, 6, 0, 8, 9});
    expect_values(tril(ones({2, 1, 2}, DType::boolean)), {2, 1, 2}, {1, 0, 1, 0});
    expect_error<ShapeError>([] { tril(vec({1})); }, {"tril", "(1,)"});
    EXPECT_EQ(slopes([](const Tensor& t) { return tril(t); }, draw({2, 2}, 1)), (std::vector<double>{1, 0, 1, 1}));
}

TEST(Creation, MeshgridsAreViews) {
    const auto xy = meshgrid({arange(3), arange(2)});
    expect_values(xy[0], {2, 3}, {0, 1, 2, 0, 1, 2});
    expect_values(xy[1], {2, 3}, {0, 0, 0, 1, 1, 1});
    const auto ij = meshgrid({arange(3), arange(2), vec({5})}, "ij");
    expect_values(ij[0], {3, 2, 1}, {0, 0, 1, 1, 2, 2});
    expect_values(ij[2], {3, 2, 1}, {5, 5, 5, 5, 5, 5});
    EXPECT_EQ(xy[0].host().strides[0], 0);
    expect_error<ValueError>([] { meshgrid({arange(2)}, "yx"); }, {"meshgrid", "yx"});
    expect_error<ShapeError>([] { meshgrid({eye(2)}); }, {"meshgrid", "(2, 2)"});
}

}  // namespace
}  // namespace tenon
