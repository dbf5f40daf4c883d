// Two products with reductions of rows between: out = c * rows(a * b), as softmax(scale q k^T + mask) v written out.
// For a block of rows of one batch the first product is computed into a buffer that stays in L2, the rows' tape runs
// over it there (twice or three times over each row), and the second product is computed out of it.
//
// Law: the bits of the first product, the rows' tape and the second product run one after the other.
#pragma once

#include <cstdint>
#include <span>

#include "product/contract.h"
#include "tape/rows.h"

namespace tenon::product {

struct RowChain {
    /// z = a * b, rounded to `product`; its last axis is the rows' columns, which the second product sums.
    View a, b;
    Labels first;
    DType product = DType::float32;
    /// Inputs of the tape in its order, with z's shape or, of rows, that without its last axis; the one at `z_input` is
    /// z and has no view here. One output, of elements: what the second product reads.
    const tape::RowTape* rows = nullptr;
    std::span<const View> inputs;
    std::size_t z_input = 0;
    /// out = z * c, or c * z. The labels of z are in the order of its axes.
    View c;
    bool z_is_a = true;
    Labels second;
    View out;
};

/// Why it is not run in one pass; null where it is expected to pay. Throws what contract throws.
const char* declines(const RowChain& chain);
/// Why it cannot be run in one pass; null where it can.
const char* cannot(const RowChain& chain);
/// Bytes that are written and read in addition where the three run one after the other.
double middle_bytes(const RowChain& chain);
/// Runs it in one pass. Throws ValueError where it cannot be.
void run(const RowChain& chain);

}  // namespace tenon::product
