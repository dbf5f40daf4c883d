// The kernels of the instruction set in use.
#pragma once

#include "base/by_isa.h"
#include "product/chain/kernels.h"

namespace tenon::product::chain {

inline const IsaCrossKernels& cross_kernels() { return TENON_BY_ISA(isa(), kKernels); }

}  // namespace tenon::product::chain
