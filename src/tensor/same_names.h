// Whether trees have the same structure, without paths.
#pragma once

#include "tenon/tree.h"

namespace tenon {

bool same_names(const Tree& a, const Tree& b);

}  // namespace tenon
