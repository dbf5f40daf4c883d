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
    return lower(roles_of(a, b, c, 1), elements_of(a), elements_of(b), elements_of(c), 16).exchanged;
}

/// Exchanged, operands serve where they are. Few rows beside many columns would become few columns.
TEST(Lower, ColumnMajorOutputs) {
    EXPECT_TRUE(exchanged(16, 16));
    EXPECT_TRUE(exchanged(3, 3));
    EXPECT_TRUE(exchanged(2, 3));
    EXPECT_TRUE(exchanged(3, 2));
    EXPECT_FALSE(exchanged(3, 16));
}

TEST(Lower, ListsOfAnyLengthAreCopied) {
    for (int size = 0; size <= 3; ++size) {
        AxisList axes, assigned;
        for (int i = 0; i < size; ++i) axes.push_back({i + 2, 3 * i + 1, 5 * i + 1, 7 * i + 1});
        if (size > 0) axes.axes[0].position_b = 4;
        assigned.push_back({9, 9, 9, 9}), assigned.push_back({9, 9, 9, 9});
        assigned = axes;
        const AxisList made = axes;
        for (const AxisList* list : {static_cast<const AxisList*>(&assigned), &made}) {
            ASSERT_EQ(list->size, size);
            for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
                const Axis &x = list->axes[i], &y = axes.axes[i];
                EXPECT_TRUE(x.extent == y.extent && x.a == y.a && x.b == y.b && x.out == y.out) << size << " " << i;
                EXPECT_EQ(x.position_b, y.position_b);
            }
        }
    }
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
