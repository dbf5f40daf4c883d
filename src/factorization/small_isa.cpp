#include "factorization/lanes_kernels.h"

namespace tenon::factorization::TENON_ISA {

extern const IsaKernels kFactorization;
constexpr IsaKernels kFactorization = kAll;

}  // namespace tenon::factorization::TENON_ISA
