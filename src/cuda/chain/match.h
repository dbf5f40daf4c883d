// Recognizes the chains of a graph that are two-factor layers or Kronecker layers, and products that are gradients of
// their cores, for the kernels of chain.h and kronecker.h.
#pragma once

#include "cuda/chain/chain.h"
#include "cuda/chain/kronecker.h"
#include "product/chain/chain.h"

namespace tenon::cuda {

/// The strides of a layer's intermediate in the graph's own tensor, in elements.
struct IntermediateStrides {
    std::int64_t row;
    CoreStrides z;  // `group` is the second product's, `other` the first's, and `inner` is 0
    friend bool operator==(const IntermediateStrides&, const IntermediateStrides&) = default;
};

struct MatchedPass {
    Pass pass;  // without `kept`
    IntermediateStrides kept{};  // those of chain.kept_product, where there is one
    bool x_is_a = true;  // whether x is the chain's first operand, a; the other one is the core
};

/// Recognizes a chain as a pass. Returns null where it is one, else the reason. Does not access the operands' memory.
const char* match(const product::Chain& chain, MatchedPass& matched);

/// Recognizes a chain as a Kronecker layer. Returns null where it is one, else the reason. `x_is_a` is as above.
const char* match(const product::Chain& chain, KroneckerPass& matched, bool& x_is_a);

/// Recognizes a product over the rows as the gradient of a core. One of its operands, a if `z_is_a`, is the
/// intermediate that a pass of `shape` keeps, as a tensor with the strides of `intermediate`. False where the product
/// is another one.
bool match(const View& a, const View& b, const View& out, const product::Labels& labels, bool z_is_a,
           const ChainShape& shape, const IntermediateStrides& intermediate, CoreGradient& matched);

}  // namespace tenon::cuda
