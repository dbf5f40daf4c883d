// A few rows of 16-bit operands times a wide matrix, which is read once, by a kernel of our own on compute
// capability 9.0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "cuda/matrices.h"

namespace tenon::cuda {

/// c[m, n] = sum over k of a[m, k] b[k, n] in float32, rounded to the operands' dtype. What is summed is adjacent in
/// memory in a, columns in c, and one of both in b. Strides are in elements.
struct HalfRows {
    DType type;
    std::int64_t m, n, k;
    const void *a, *b;
    void* c;
    std::int64_t a_row, b_line, c_row;
    bool across;  // columns are adjacent in memory in b, and b_line is from one summed element to the next
};

/// The product of matrices as it is or transposed, where few rows are in either operand; `a` and `b` are of one
/// dtype, which the result has. Nothing where they do not lie so.
std::optional<HalfRows> half_rows_of(DType type, const Extent& m, const Extent& n, const Extent& k, const void* a,
                                     const void* b, void* c);

/// Why the kernel does not take it, on any device; empty where it does. That follows from the extents and the dtype:
/// the sums' order is its own, and must be the same wherever the operands start and however long their lines are.
std::string declines(const HalfRows& p);
/// The same, and of this device.
std::string declines(const Gpu& gpu, const HalfRows& p);
Unit unit_of(const HalfRows& p);
/// Operands that do not lie at multiples of 16 bytes are copied, and the result is where it does not lie in fours.
void run(Gpu& gpu, const HalfRows& p);

}  // namespace tenon::cuda
