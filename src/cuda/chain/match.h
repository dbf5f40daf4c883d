// From the products of a graph to the kernels of chain.h: which chains are two-factor layers or their gradients.
#pragma once

#include "cuda/chain/chain.h"
#include "cuda/chain/kronecker.h"
#include "product/chain/chain.h"

namespace tenon::cuda {

/// Where the elements of a layer's intermediate are in the graph's own tensor.
struct IntermediateStrides {
    std::int64_t row;
    CoreStrides z;  // `group` the second product's, `other` the first's; `inner` is 0
    friend bool operator==(const IntermediateStrides&, const IntermediateStrides&) = default;
};

struct MatchedPass {
    Pass pass;  // without `kept`
    IntermediateStrides kept{};  // of chain.kept_product, where there is one
    bool x_is_a = true;  // of the chain's first operands; the other is the core
};

/// A chain as a pass, or null and why it is none. Does not look at memory.
const char* match(const product::Chain& chain, MatchedPass& matched);

/// A chain as a Kronecker layer, or null and why it is none. `x_is_a` as above.
const char* match(const product::Chain& chain, KroneckerPass& matched, bool& x_is_a);

/// A product out = z * x over the rows as the gradient of a core, where `z` of its operands is the intermediate that a
/// pass of `shape` keeps, as a tensor of these strides. False where it is another.
bool match(const View& a, const View& b, const View& out, const product::Labels& labels, bool z_is_a,
           const ChainShape& shape, const IntermediateStrides& intermediate, CoreGradient& matched);

}  // namespace tenon::cuda
