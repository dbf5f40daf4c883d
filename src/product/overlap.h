// Whether a product's output shares memory with an operand.
#pragma once

#include "tenon/product.h"

namespace tenon::product {

/// For `batch` matrices each. True means that some byte belongs to elements of both. This is found if the memory that
/// they span has no gaps, and for two single matrices whose rows or columns are contiguous or whose strides are the
/// same. Others whose spans cross, strided through each other, count as separate. Takes a few nanoseconds if the spans
/// do not meet, and one for each row or column if they do.
bool share_memory(const Matrix& x, const Matrix& y, std::int64_t batch);

/// False only if no byte belongs to elements of both batches: compares the memory from the first to the last element of
/// each matrix of x with that of each of y. Takes about a nanosecond for each matrix.
bool may_share_memory(const Matrix& x, const Matrix& y, std::int64_t batch);

/// Whether two matrices of a batch share an element; each by itself does not (overlaps_itself). Exact. Takes a few
/// nanoseconds if strides nest, as those of matrices do that are one after the other, adjacent, or interleaved element
/// by element.
bool batch_overlaps_itself(const Matrix& m, std::int64_t batch);

}  // namespace tenon::product
