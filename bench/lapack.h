// Routines of LAPACK, real ones, through their Fortran interface: Tenon's by its library, as any program would call it.
#pragma once

#include <string>
#include <vector>

#include "bench/operands.h"
#include "bench/peer.h"
#include "bench/problem.h"

namespace bench {

/// Their names, without the type's letter. Shapes are m x 1 x k: the matrix A is (m, k), its columns contiguous, and
/// what is checked is A times the vector B, by the factors. Triangles are lower; syevd and gesdd compute vectors too.
const std::vector<std::string>& factorization_names();
/// Whether a routine has such operands: m >= k, and m = k where it wants a square.
bool factorization_takes(const std::string& name, const Shape& shape);
/// As LAPACK counts them (LAWN 41); of syevd the reduction, the merging of vectors and the transformation back, 14/3
/// n^3, and of gesdd the same, 28/3 n^3 of a square.
double factorization_operations(const std::string& name, const Shape& shape);
/// Elements that must be read and written.
std::int64_t factorization_elements(const std::string& name, const Shape& shape);

/// Makes A what the routine takes: symmetric, positive definite, triangular.
void settle_factorization(const Problem& problem, const Operands& operands);

/// Tenon's library, and those of the others that have LAPACK.
std::vector<Peer> factorization_peers(const std::vector<Peer>& others);

}  // namespace bench
