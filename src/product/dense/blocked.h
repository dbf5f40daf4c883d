// The blocked product: GotoBLAS loops around a micro-kernel (Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", 2008), bitwise equal to contract_reference.
#pragma once

#include "product/axes.h"

namespace tenon::product::dense {

void contract_blocked(const AxisRoles& roles, const View& a, const View& b, const View& out);

}  // namespace tenon::product::dense
