// Layouts that the kernels of stationary.cu, stationary_gradient.cu, core_gradients.cu and unpack.cu share. BLOCK (32
// or 64) and RANK (1, 2 or 4) are macros.
//
// The layer is y = (x . a) . b, as chain.h defines it. The intermediate's columns of one group of the first product are
// ordered by (r, f). A group of the second product sums over its "lines", which are ordered by (r, g).
//
// A "wide" group is 64 neighbouring columns of x or y. It is one group where BLOCK is 64, and two where BLOCK is 32,
// whose cores then lie on the diagonal of a 64 x 64 matrix. So one program serves both sizes. The zeros off the
// diagonal cost arithmetic, but arithmetic does not limit these kernels.
//
// The intermediate, kept or in shared memory, is [tile of 32 rows][wide group of the second product][64 RANK lines][32
// rows], in the 64-byte swizzle in which the tensor cores read it.
#pragma once

#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kRows = 32;  // of a tile
constexpr int kWide = BLOCK * BLOCK / 64;  // wide groups
constexpr int kCores = 64 / BLOCK;  // groups in a wide group
constexpr int kKept = 64 * RANK * kRows * 2;  // bytes of a wide group in a tile
