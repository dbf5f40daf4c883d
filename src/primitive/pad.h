// What the transforms need to know of a pad.
#pragma once

#include "tensor/node.h"

namespace tenon {

/// Whether the node is a pad by 0 with nothing between elements, as the adjoint of a slice with steps of 1 gives.
bool is_plain_pad(const Node& n);
/// What stands before the elements of each axis. Of a node for which is_plain_pad holds.
Extents pad_low(const Node& n);

}  // namespace tenon
