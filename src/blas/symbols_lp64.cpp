// The symbols of BLAS and CBLAS with 32-bit integers: dgemm_, cblas_dgemm.
#define TENON_WIDE 0
#include "blas/symbols.h"
