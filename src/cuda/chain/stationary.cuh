// What the kernels of stationary.cu, core_gradients.cu and unpack.cu agree on. BLOCK (32 or 64) and RANK (1, 2 or 4)
// are macros.
//
// The product is y = (x . a) . b, as chain.h has it. A group's columns of the intermediate are counted (r, f); a group
// of the second product sums over its lines, counted (r, g).
//
// A "wide" group is 64 neighbouring columns of x or y: one group where BLOCK is 64, two where it is 32, whose cores
// then stand on the diagonal of a 64 x 64 block. So both sizes are the same program; the zeros cost arithmetic, of
// which there is plenty.
//
// The intermediate, kept or in shared memory, is [tile of 32 rows][wide group of the second product][64 RANK lines][32
// rows], in the 64-byte swizzle in which the tensor cores read it.
#pragma once

#include "cuda/chain/core.cuh"
#include "cuda/hopper.cuh"

constexpr int kRows = 32;  // of a tile
constexpr int kWide = BLOCK * BLOCK / 64;  // wide groups
constexpr int kCores = 64 / BLOCK;  // in a wide group
constexpr int kKept = 64 * RANK * kRows * 2;  // bytes of a wide group in a tile
