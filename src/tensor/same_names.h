// Looks at trees without making paths or copies of their leaves.
#pragma once

#include <vector>

#include "tenon/tree.h"

namespace tenon {

bool same_names(const Tree& a, const Tree& b);

/// The leaves in order, where they are in the tree.
std::vector<const Tensor*> leaves_in(const Tree& t);

}  // namespace tenon
