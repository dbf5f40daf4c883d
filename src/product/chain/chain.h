// Two products in one pass: out = c * tape(a * b). The intermediate of a block of rows stays in cache and never reaches
// memory, unless others read it too: then it is written once, from cache. For structured layers (a transpose between
// the factors), the MLP, low rank.
//
// Law: the result has the bits of the two products run one after the other with the tape between them: each sum in the
// order of contract.h, the intermediate rounded to its dtype. A chain changes time, never a result.
//
// The strips: an axis that neither product sums (the rows of a layer) is cut so that the intermediate of a strip stays
// in L2. The first product is computed once.
#pragma once

#include <cstdint>

#include "product/contract.h"
#include "tenon/export.h"

namespace tenon::product {

struct Chain {
    /// z = a * b by `first`, rounded to `product`; `first.out` gives z its axes and their order.
    View a, b;
    Labels first;
    DType product = DType::float32;
    /// Runs on z; its inputs have z's shape. It determines the intermediate's dtype. Null: z is unchanged.
    const Epilogue* between = nullptr;
    /// Memory for what others read of the intermediate (the backward pass): z as the first product gives it, and as the
    /// tape gives it; each is written once. Of z's shape and any strides; null if nobody reads it.
    const View *kept_product = nullptr, *kept_intermediate = nullptr;
    /// How the second product reads z: strides (in elements) and offset in the memory z would have if it were stored
    /// row-major and contiguous. Transposes and reshapes of z are other strides here. Empty (rank 0, while z has axes):
    /// unchanged.
    Layout reading;
    /// out = z * c, or c * z, by `second`. Which of its operands is z decides the order of its sums, as in contract.h.
    View c;
    bool z_is_a = true;
    Labels second;
    View out;
    Finish finish;
    /// The epilogue of the second product.
    const Epilogue* epilogue = nullptr;
    /// In one pass wherever that is possible, even if it is not expected to pay (for tests).
    bool always = false;
};

/// What the cost model needs. Bytes count each operand once; those of the intermediate are what one product after the
/// other would write and read in addition.
struct ChainCost {
    double operations = 0;  // of both products; a multiply-add counts two
    double bytes = 0;  // of a, b, c, the output and the tapes' inputs
    double intermediate_bytes = 0;  // z, written and read; only read if it is kept
};

// What is exported below is for `tenon bench`, which links the shared library; no public header has it.

/// Why the two products do not run as one; null if they do. Throws what contract throws if labels, extents or dtypes do
/// not fit.
TENON_API const char* declines(const Chain& chain);
TENON_API ChainCost cost(const Chain& chain);
/// How run would run it: "small", "panels", "lanes", "rows" or "blocks" (docs/products-design.md), or "one product
/// after the other".
const char* form_of(const Chain& chain);

/// Runs the chain in strips, or one product after the other if it declines. The output must not overlap an operand or
/// an input of a tape. Weights whose views have an owner are packed once and kept with it (weights.h), others in each
/// call.
TENON_API void run(const Chain& chain);
/// One product after the other, with the intermediate in memory: the law.
TENON_API void run_unfused(const Chain& chain);

/// The shape of z.
Shape intermediate_shape(const Chain& chain);

}  // namespace tenon::product
