// Whether a product's output shares memory with an operand.
#pragma once

#include "tenon/product.h"

namespace tenon::product {

/// Of `batch` matrices each. True means that some byte is an element of both. It is found where the memory that they
/// span has no gaps, and for two single matrices of the same strides (blocks of one matrix); other matrices whose spans
/// cross, strided through each other, count as apart. A few nanoseconds where the spans do not meet.
bool share_memory(const Matrix& x, const Matrix& y, std::int64_t batch);

/// Whether two matrices of a batch share an element; each by itself does not (overlaps_itself). Exact. A few
/// nanoseconds where strides nest, as those of matrices one after the other, side by side, or interleaved element by
/// element do.
bool batch_overlaps_itself(const Matrix& m, std::int64_t batch);

}  // namespace tenon::product
