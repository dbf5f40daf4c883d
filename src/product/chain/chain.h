// Two products in one pass: out = c * tape(a * b), where the intermediate of a block of rows stays in cache and never
// reaches memory, but where others read it too: then it is written once, from cache. The structured layers (a transpose
// between the factors), the MLP, low rank.
//
// Law: the result has the bits of the two products run one after the other with the tape between them: each sum in the
// order of contract.h, the intermediate rounded to its dtype. So a chain changes time, never a result.
//
// The strip form: an axis that the first product does not sum and the second does not sum either (the rows of a layer)
// is cut into strips, such that the intermediate of a strip stays in L2. The first product is computed once.
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
    /// Runs on z; its inputs have z's shape. It gives the intermediate its dtype. Null: z stays as it is.
    const Epilogue* between = nullptr;
    /// What others read of the intermediate too (the backward pass): memory that gets z as the first product gives it,
    /// and as the tape gives it, each once. Of z's shape and any strides; null where nobody does.
    const View *kept_product = nullptr, *kept_middle = nullptr;
    /// How the second product reads z: strides (in elements) and offset over the memory z would have, were it stored
    /// row-major and contiguous. Transposes and reshapes of z are other strides here. Empty (rank 0 of a z that has
    /// axes): as it is.
    Layout reading;
    /// out = z * c, or c * z, by `second`; which of its operands is z says how its sums are ordered, as in contract.h.
    View c;
    bool z_is_a = true;
    Labels second;
    View out;
    Finish finish;
    /// Of the second product.
    const Epilogue* epilogue = nullptr;
    /// In one pass wherever that is possible, whether or not it is expected to pay (for tests).
    bool always = false;
};

/// What the cost model needs. Bytes are counted once for each operand; the intermediate's are those that running one
/// product after the other writes and reads on top.
// Exported for `tenon bench`, which links the shared library; no public header has them.

struct ChainCost {
    double operations = 0;  // of both products; a multiply-add counts two
    double bytes = 0;  // of a, b, c, the output and the tapes' inputs
    double middle_bytes = 0;  // z, written and read; of what is kept read alone
};

/// Why the two products are not run as one; null where they are. Throws what contract throws where labels, extents or
/// dtypes do not fit.
TENON_API const char* declines(const Chain& chain);
TENON_API ChainCost cost(const Chain& chain);
/// How run would run it: "small", "panels", "lanes", "rows" or "blocks" (docs/products-design.md), or "one product
/// after the other".
const char* form_of(const Chain& chain);

/// Runs the chain, in strips or, where it declines, one product after the other. The output must not overlap an operand
/// or a tape's input. Weights whose views have an owner are packed once and kept with it (weights.h), others each time.
TENON_API void run(const Chain& chain);
/// One product after the other, the intermediate in memory: the law.
TENON_API void run_unfused(const Chain& chain);

/// The shape of z.
Shape middle_shape(const Chain& chain);

}  // namespace tenon::product
