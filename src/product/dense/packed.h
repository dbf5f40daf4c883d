// A right operand in the order in which the kernels read it: for each block of k, panel after panel; in each panel, row
// after row. A product reads it from front to back once for each panel of rows.
#pragma once

#include <cstdint>

#include "product/dense/scratch.h"
#include "tenon/dtype.h"

namespace tenon::product::dense {

struct PackedB {
    DType type;  // as it was before packing
    std::int64_t k, n;
    std::int64_t block;  // elements of k
    int group, nr;
    const void* kernels;  // the kernel set that reads it
    std::byte* data;
    const std::int32_t* column_sums;  // of 8-bit integers, before shifting; otherwise null

    std::int64_t panels() const { return (n + nr - 1) / nr; }
    /// Rows of a block of k: groups, rounded up to an even number if `pairs`.
    static std::int64_t rows(std::int64_t elements, int group, bool pairs) {
        const std::int64_t groups = (elements + group - 1) / group;
        return pairs ? (groups + 1) / 2 * 2 : groups;
    }
};

}  // namespace tenon::product::dense
