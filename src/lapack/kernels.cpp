#include "lapack/kernels.h"

#include "base/by_isa.h"
#include "lapack/fortran.h"

namespace tenon::lapack {

const IsaKernels& kernels() { return TENON_BY_ISA(isa(), kKernels); }

}  // namespace tenon::lapack
