// The symbols of BLAS as libtenon has them, for LAPACK in it: tenon_dgemm_, which no other library sees.
#define TENON_WIDE 0
#define TENON_PREFIX tenon_
#include "blas/symbols.h"
