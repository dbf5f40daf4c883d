// The kernels of the instruction set in force.
#pragma once

#include "base/cpu.h"
#include "product/chain/kernels.h"

namespace tenon::product::chain {

inline const IsaCrossKernels& cross_kernels() {
    switch (isa()) {
#if defined(__x86_64__)
        case Isa::avx2:
            return avx2::kKernels;
        case Isa::avx512:
            return avx512::kKernels;
#elif defined(__aarch64__)
        case Isa::neon:
            return neon::kKernels;
#endif
        default:
            return baseline::kKernels;
    }
}

}  // namespace tenon::product::chain
