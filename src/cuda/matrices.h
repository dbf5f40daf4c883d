// A contraction of views as matrices: axes that run together are joined, what is left over is batch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/view.h"
#include "cuda/blaslt.h"
#include "product/axes.h"

namespace tenon::cuda {

/// Strides of one axis in a, b and out.
struct Extent {
    std::int64_t n = 1, a = 0, b = 0, out = 0;
};

/// A contraction as matrices: rows, columns and the summed axis are one each, the rest is batch.
struct Problem {
    Extent m, n, k;
    std::vector<Extent> batch;
};

/// `summed` gets what is summed, joined; one axis of it is the problem's k.
Problem problem_of(const product::AxisRoles& roles, std::vector<Extent>& summed);

/// Whether an operand of these two axes is stored with one of them side by side and no overlap.
bool is_matrix(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride);

/// The operand x[i, j] (i the library's row) under its storage.
LtMatrix matrix_of(std::int64_t rows, std::int64_t row_stride, std::int64_t columns, std::int64_t column_stride,
                   std::int64_t batch_stride, const std::byte* data);

/// The one stride of a view of the result's axes along those of a role together; empty where they do not run together.
std::optional<std::int64_t> stride_along(const product::AxisList& role, const Layout& layout);

}  // namespace tenon::cuda
