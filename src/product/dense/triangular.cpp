#include "product/dense/triangular.h"

#include "base/by_isa.h"

namespace tenon::product::dense {

template <>
const TriangularKernels<float>& triangular_kernels<float>() {
    return TENON_BY_ISA(isa(), kTriangular).f32;
}
template <>
const TriangularKernels<double>& triangular_kernels<double>() {
    return TENON_BY_ISA(isa(), kTriangular).f64;
}

}  // namespace tenon::product::dense
