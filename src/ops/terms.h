// An operand of a product with its labels, one for each axis.
#pragma once

#include <cstdint>
#include <vector>

#include "tenon/tensor.h"

namespace tenon {

/// Below 64: einsum has 52 letters, and 12 axes of an ellipsis.
using Labels = std::vector<std::uint8_t>;

struct Term {
    Tensor tensor;
    Labels labels;
};

/// The contraction of two terms, whose labels are renumbered for it. Axes of extent 1 broadcast against their labels
/// without being stretched; labels of one operand alone are summed first.
Tensor contracted(const Term& a, const Term& b, const Labels& out);

/// The term with its axes in this order; labels that `out` lacks are summed.
Tensor arranged(const Term& a, const Labels& out);

}  // namespace tenon
