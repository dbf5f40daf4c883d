// Routines of BLAS, real ones of levels 2 and 3, through CBLAS: Tenon's by its library, as any program would call it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/operands.h"
#include "bench/peer.h"
#include "bench/problem.h"

namespace bench {

/// Their names, without the type's letter; "-t" transposes, "-rt" is the right side and the transpose, "-u" the upper
/// triangle; triangles are lower else, columns contiguous. A is (m, k), B (k, n), C (m, n); triangular and symmetric
/// operands are A, triangular results begin as B.
const std::vector<std::string>& routine_names();
/// Whether a routine has such operands: trsm wants k = m, syrk m = n, gemv n = 1, ger k = 1.
bool routine_takes(const std::string& routine, const Shape& shape);
double routine_operations(const std::string& routine, const Shape& shape);
/// Elements that must be read and written, each once: of one triangle where one is stored.
std::int64_t routine_elements(const std::string& routine, const Shape& shape);

/// Triangles whose systems have solutions of the operands' size, however often they are solved.
void settle_routine(const Problem& problem, const Operands& operands);
/// What element i of the result is, from the operands and, for a system, the other elements; nothing where the routine
/// leaves it.
std::optional<double> routine_element(const Problem& problem, const Operands& operands, std::int64_t i);

/// libtenon_blas.so, beside the command as built or where it is installed, with its threads; its symbols, or those of
/// the library `name` that stands on it. Throws tenon::ValueError.
Peer tenon_library(const std::string& name);
/// Tenon's library, and those of the others that have the routine.
std::vector<Peer> routine_peers(const std::vector<Peer>& others);

}  // namespace bench
