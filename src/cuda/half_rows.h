// A few rows of 16-bit operands times a wide matrix, which is read only once, by a kernel of our own for compute
// capability 9.0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "cuda/matrices.h"

namespace tenon::cuda {

/// c[m, n] = sum over k of a[m, k] b[k, n] in float32, rounded to the operands' dtype. a is contiguous along k, c along
/// n, and b along either. Strides are in elements.
struct HalfRows {
    DType type;
    std::int64_t m, n, k;
    const void *a, *b;
    void* c;
    std::int64_t a_row, b_line, c_row;
    bool across;  // whether b is contiguous along n; b_line is then its stride along k, else along n
};

/// A product of matrices as such a product, as it is or exchanged, so that the operand with few rows is the left one.
/// `a`, `b` and `c` have the same dtype. Nothing where the matrices are not contiguous as they must be.
std::optional<HalfRows> half_rows_of(DType type, const Extent& m, const Extent& n, const Extent& k, const void* a,
                                     const void* b, void* c);

/// Why the kernel takes it on no device; empty where it does. That depends only on the extents and the dtype: the
/// kernel has its own order of summation, and the bits may not depend on the operands' addresses and leading
/// dimensions.
std::string declines(const HalfRows& p);
/// Why the kernel does not take it on this device; empty where it does.
std::string declines(const Gpu& gpu, const HalfRows& p);
Unit unit_of(const HalfRows& p);
/// Operands whose addresses or lines are not aligned to 16 bytes are copied first. So is the result afterwards, where
/// its rows are not aligned to four elements.
void run(Gpu& gpu, const HalfRows& p);

}  // namespace tenon::cuda
