// What libtenon_blas.so exports: the symbols of BLAS, and no C++.
#pragma once

#define TENON_BLAS_API __attribute__((visibility("default")))
/// A program's own definition replaces it.
#define TENON_BLAS_WEAK __attribute__((visibility("default"), weak))
