// Routines of BLAS, real ones of levels 2 and 3, through CBLAS: Tenon's by its library, as any program would call it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/operands.h"
#include "bench/peer.h"
#include "bench/problem.h"

namespace bench {

/// The routines' names, without the type's letter; "-t" transposes, "-rt" is the right side and the transpose, "-u" the
/// upper triangle. Otherwise triangles are lower. Columns are contiguous. A is (m, k), B (k, n), C (m, n); triangular
/// and symmetric operands are A, triangular results begin as B.
const std::vector<std::string>& routine_names();
/// Whether a routine takes operands of these extents: trsm wants k = m, syrk m = n, gemv n = 1, ger k = 1.
bool routine_takes(const std::string& routine, const Shape& shape);
double routine_operations(const std::string& routine, const Shape& shape);
/// The elements that must be read and written, each once; if one triangle is stored, those of the triangle.
std::int64_t routine_elements(const std::string& routine, const Shape& shape);

/// Makes triangles whose systems have solutions as large as the right sides, however often they are solved.
void settle_routine(const Problem& problem, const Operands& operands);
/// The value of element i of the result, from the operands and, for a system, the other elements; nullopt if the
/// routine does not write it.
std::optional<double> routine_element(const Problem& problem, const Operands& operands, std::int64_t i);

/// How far an element may lie from the same in another library, or from one in float64: twice (k + 2) u |A| |B|, the
/// error of a sum of k products in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
/// 3.5), with the sum of |A| |B| bounded by the norms of A's rows and B's columns. Of a triangle as settle_routine
/// leaves it |A| |B| is at most 5/4, and an element of the solution has |A^-1| |A| |X|, at most 20/9.
class RoutineBound {
  public:
    RoutineBound(const Problem& problem, const Operands& operands);
    double operator()(std::int64_t i) const;

  private:
    template <class T>
    void fill(const Problem& problem, const Operands& operands);
    std::int64_t m_;
    double scale_ = 0;
    std::vector<double> rows_, columns_;
    bool twice_ = false;  // A B^T + B A^T
};

/// libtenon_blas.so, beside the command as built or where it is installed, with its threads; its symbols, or those of
/// the library `name` that stands on it. Throws tenon::ValueError.
Peer tenon_library(const std::string& name);
/// Tenon's library, and those of the others that have the routine.
std::vector<Peer> routine_peers(const std::vector<Peer>& others);

}  // namespace bench
