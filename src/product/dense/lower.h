// Lowers a contraction to batch x (rows, columns, summed): axes are merged where strides allow, and the operands are
// exchanged if that gives the output unit stride along its columns. Neither changes a bit: fma(a, b, c) = fma(b, a, c).
#pragma once

#include "product/axes.h"
#include "product/finish.h"

namespace tenon::product::dense {

struct Lowered {
    AxisRoles roles;
    const void *a = nullptr, *b = nullptr;
    void* out = nullptr;
    DType a_type = DType::float32, b_type = DType::float32, out_type = DType::float32;
    bool exchanged = false;
    std::int64_t batches = 1, m = 1, n = 1, k = 1;
};

/// With fewer than `wide` columns and many rows, rows and columns are exchanged; 0 leaves the operands as they are.
Lowered lower(const AxisRoles& roles, Elements a, Elements b, Elements out, std::int64_t wide);

/// The offsets of elements first, first + 1, ... of the merged axes; the last axis is the fastest.
void fill_offsets(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t first, std::int64_t count,
                  std::int64_t* offsets);

/// The offset of one element.
std::int64_t offset_of(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t index);

}  // namespace tenon::product::dense
