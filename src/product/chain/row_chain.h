// Two products with reductions of rows between them: out = c * rows(a * b), as in softmax(scale q k^T + mask) v written
// out. For a block of rows of one batch, the first product is computed into a buffer that stays in L2, the row tape
// runs over it there (two or three times over each row), and the second product is computed out of it.
//
// Law: the bits of running the first product, the row tape and the second product one after the other.
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
    /// The tape's inputs in order: those of elements with z's shape, those of rows without its last axis; the input at
    /// `z_input` is z and has no view here. The tape has one output, of elements: what the second product reads.
    const tape::RowTape* rows = nullptr;
    std::span<const View> inputs;
    std::size_t z_input = 0;
    /// out = z * c, or c * z. The labels of z are in the order of its axes.
    View c;
    bool z_is_a = true;
    Labels second;
    View out;
};

/// Why it does not run in one pass; null if that is expected to pay. Throws what contract throws.
const char* declines(const RowChain& chain);
/// Why it cannot run in one pass; null if it can.
const char* unsupported(const RowChain& chain);
/// Bytes that are written and read in addition if the three run one after the other.
double intermediate_bytes(const RowChain& chain);
/// Runs it in one pass. Throws ValueError if it cannot.
void run(const RowChain& chain);

}  // namespace tenon::product
