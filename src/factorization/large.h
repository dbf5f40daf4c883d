// Factorizations of one matrix at a time by LAPACK.
#pragma once

#include "factorization/small.h"

namespace tenon::factorization {

/// For groups of one matrix that is not empty; scratch is not used. Only if lapack::available().
extern const Kernels<float> kLargeFloat;
extern const Kernels<double> kLargeDouble;

}  // namespace tenon::factorization
