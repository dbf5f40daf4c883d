// A contraction of views as products of matrices. Axes that run together are joined; axes that are left over become
// batch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/view.h"
#include "cuda/blaslt.h"
#include "product/axes.h"

namespace tenon::cuda {

/// An axis's extent, and its strides in a, b and out.
struct Extent {
    std::int64_t n = 1, a = 0, b = 0, out = 0;
};

/// A contraction as products of matrices, with one axis each for rows, columns and the sum. All others are batch.
struct Problem {
    Extent m, n, k;
    std::vector<Extent> batch;
};

/// `summed` receives the summed axes, joined; one of them is the problem's k.
Problem problem_of(const product::AxisRoles& roles, std::vector<Extent>& summed);

/// Whether an operand with these two axes is contiguous along one of them, and its lines do not overlap.
bool is_matrix(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride);

/// The operand x[i, j] as the library describes it; i is the library's row.
LtMatrix matrix_of(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride,
                   std::int64_t batch_stride, const std::byte* data);

/// The stride of a view with the result's axes along the joined axes of a role; nothing where they do not run together.
std::optional<std::int64_t> stride_along(const product::AxisList& role, const Layout& layout);

}  // namespace tenon::cuda
