// Which operands change places, and where elements lie.
#include "product/dense/lower.h"

#include <gtest/gtest.h>

#include "product/matrices.h"

namespace tenon::product::dense {
namespace {

/// A product into a column-major output, in float32 on vectors of 16.
bool exchanged(std::int64_t m, std::int64_t n) {
    float element = 0;
    const auto column_major = [&](std::int64_t rows, std::int64_t columns) {
        Matrix matrix = row_major(&element, DType::float32, rows, columns);
        matrix.row_stride = 1, matrix.column_stride = rows;
        return matrix;
    };
    const Matrix a = column_major(m, 5), b = column_major(5, n), c = column_major(m, n);
    return lower(roles_of(a, b, c, 1), view_of(a), view_of(b), view_of(c), 16).exchanged;
}

/// Exchanged, operands serve where they are. Few rows beside many columns would become few columns.
TEST(Lower, ColumnMajorOutputs) {
    EXPECT_TRUE(exchanged(16, 16));
    EXPECT_TRUE(exchanged(3, 3));
    EXPECT_TRUE(exchanged(2, 3));
    EXPECT_TRUE(exchanged(3, 2));
    EXPECT_FALSE(exchanged(3, 16));
}

TEST(Lower, OffsetsOfSeveralAxes) {
    AxisList axes;
    std::int64_t offsets[5] = {1, 1, 1, 1, 1};
    fill_offsets(axes, &Axis::a, 3, 2, offsets);
    EXPECT_EQ(offsets[1], 0) << "no axis";
    axes.push_back({4, 100, 0, 0}), axes.push_back({3, -7, 0, 0});
    fill_offsets(axes, &Axis::a, 2, 5, offsets);
    const std::int64_t expected[] = {-14, 100, 93, 86, 200};
    for (int i = 0; i < 5; ++i) EXPECT_EQ(offsets[i], expected[i]) << i;
}

}  // namespace
}  // namespace tenon::product::dense
