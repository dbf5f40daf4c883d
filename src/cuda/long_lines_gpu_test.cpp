// A few long lines, which many blocks share: arguments of extremes and running results.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/text.h"
#include "cuda/arrays_testing.h"
#include "cuda/gpu_testing.h"
#include "cuda/loops.h"

namespace tenon::cuda {
namespace {

using tape::Reduction;
using tape::testing::Array;
using tape::testing::same_bits;
using testing::OnDevice;

using LongLinesGpuTest = testing::GpuTest;

void compare_arguments(Array x, int axis, const std::string& what) {
    Shape left = x.shape;
    left.erase(axis);
    const OnDevice in(x);
    for (const Reduction op : {Reduction::max, Reduction::min}) {
        Array expected(DType::int64, left);
        const OnDevice out(expected);
        tape::argreduce(op, x.view(), Axes{axis}, expected.view());
        argreduce(Gpu::at(0), op, in.view(), Axes{axis}, out.view());
        EXPECT_TRUE(same_bits(out.back(), expected)) << what << ' ' << name(x.dtype) << ' ' << static_cast<int>(op);
    }
}

TEST_F(LongLinesGpuTest, ArgumentsOfExtremes) {
    for (const DType type : {DType::int8, DType::float32, DType::bfloat16, DType::float64})
        for (const Shape& shape : {Shape{1'000'003}, Shape{3, 70'000}, Shape{1500, 2}, Shape{100'001, 3}}) {
            const int axis = shape[0] > 1000 ? 0 : 1;
            compare_arguments(tape::testing::random_array(type, shape, 4), axis, to_string(shape));
        }
}

/// The first of equal elements wins, and so does the first NaN, wherever chunks begin.
TEST_F(LongLinesGpuTest, ArgumentsOfEqualsAndNaN) {
    constexpr std::int64_t kLength = 400'000;
    for (const std::int64_t first :
         {std::int64_t{0}, std::int64_t{1023}, std::int64_t{1024}, kLength / 2, kLength - 2}) {
        Array x(DType::float32, {kLength});
        x.at<float>(first) = x.at<float>(kLength - 1) = 2;
        compare_arguments(x, 0, text("equal, first at ", first));
        x.at<float>(first) = x.at<float>(kLength - 1) = NAN;
        x.at<float>(3) = first == 3 ? NAN : INFINITY;
        compare_arguments(x, 0, text("NaN, first at ", first));
    }
}

Array running(Reduction op, const Array& x, int axis) {
    const OnDevice in(x), out(Array(x.dtype, x.shape));
    cumulative(Gpu::at(0), op, in.view(), axis, out.view());
    return out.back();
}

TEST_F(LongLinesGpuTest, RunningResultsThatAnyOrderGives) {
    for (const DType type : {DType::int8, DType::int64, DType::bfloat16, DType::float64})
        for (const Shape& shape : {Shape{2048}, Shape{2049}, Shape{100'001}, Shape{3, 5000}, Shape{40'000, 3}})
            for (const Reduction op : {Reduction::sum, Reduction::prod, Reduction::max, Reduction::min}) {
                if (is_floating(type) && (op == Reduction::sum || op == Reduction::prod)) continue;
                const int axis = shape[0] > 1000 ? 0 : 1;
                Array x = tape::testing::random_array(type, shape, 6), expected(type, shape);
                tape::cumulative(op, x.view(), axis, expected.view());
                EXPECT_TRUE(same_bits(running(op, x, axis), expected))
                    << name(type) << ' ' << to_string(shape) << ' ' << static_cast<int>(op);
            }
}

TEST_F(LongLinesGpuTest, RunningSums) {
    for (const Shape& shape : {Shape{2049}, Shape{5, 100'001}, Shape{40'000, 3}}) {
        const int axis = shape[0] > 1000 ? 0 : 1;
        Array x = tape::testing::random_array(DType::float32, shape, 8);
        Array got = running(Reduction::sum, x, axis);
        EXPECT_TRUE(same_bits(running(Reduction::sum, x, axis), got)) << "again, " << to_string(shape);
        const Layout layout = Layout::contiguous(shape);
        const std::int64_t lines = shape.rank() == 1 ? 1 : shape[1 - axis], length = shape[axis];
        const std::int64_t across = shape.rank() == 1 ? 0 : layout.strides[1 - axis], along = layout.strides[axis];
        for (std::int64_t l = 0; l < lines; ++l) {
            double sum = 0, magnitude = 0;
            Array line(DType::float32, {length});
            for (std::int64_t i = 0; i < length; ++i) {
                const std::int64_t at = l * across + i * along;
                line.at<float>(i) = x.at<float>(at);
                sum += static_cast<double>(x.at<float>(at));
                magnitude += std::fabs(static_cast<double>(x.at<float>(at)));
                ASSERT_NEAR(got.at<float>(at), sum, 2e-6 * magnitude) << to_string(shape) << ' ' << l << ' ' << i;
            }
            // A line by itself has the same bits.
            Array alone = running(Reduction::sum, line, 0);
            for (std::int64_t i = 0; i < length; ++i)
                ASSERT_EQ(alone.at<float>(i), got.at<float>(l * across + i * along)) << l << ' ' << i;
        }
    }
}

TEST_F(LongLinesGpuTest, RunningResultsInPlaceAndBackwards) {
    const Shape shape{2, 30'000};
    const Array x = tape::testing::random_array(DType::float32, shape, 8);
    const OnDevice in(x);
    Layout back = Layout::contiguous(shape);
    back.offset = shape[1] - 1;
    back.strides[1] = -1;
    Array reversed = x;
    for (std::int64_t r = 0; r < shape[0]; ++r)
        std::reverse(&reversed.at<float>(r * shape[1]), &reversed.at<float>(r * shape[1]) + shape[1]);
    cumulative(Gpu::at(0), Reduction::sum, in.view(back), 1, in.view(back));
    Array got = in.back(), want = running(Reduction::sum, reversed, 1);
    for (std::int64_t r = 0; r < shape[0]; ++r)
        std::reverse(&got.at<float>(r * shape[1]), &got.at<float>(r * shape[1]) + shape[1]);
    EXPECT_TRUE(same_bits(got, want));
}

/// Every kernel once, of so few elements that compute-sanitizer ends in seconds (tools/on-gpu).
TEST_F(LongLinesGpuTest, Small) {
    for (const DType type : {DType::bfloat16, DType::float32, DType::int64}) {
        Array x = tape::testing::random_array(type, {2, 4100}, 3), expected(type, x.shape);
        compare_arguments(x, 1, "small");
        tape::cumulative(Reduction::max, x.view(), 1, expected.view());
        EXPECT_TRUE(same_bits(running(Reduction::max, x, 1), expected)) << name(type);
    }
}

}  // namespace
}  // namespace tenon::cuda
