// The symbols of BLAS and CBLAS with 64-bit integers: dgemm_64_, cblas_dgemm_64.
#define TENON_WIDE 1
#include "blas/symbols.h"
