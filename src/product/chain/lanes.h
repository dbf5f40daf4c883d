// The form whose lanes are the rows of a layer ("tokens"), for structures with a transpose between the factors.
//
// For each slice of x (an axis that the second product sums, or a batch axis of the first), the first product
// multiplies a packed slice of the weights by the strip's part of x, transposed in registers to [k][token]. Its sums,
// vectors of tokens, go to z[f][k2][token], where f counts what the second product does not sum and k2 what it does.
// There they are the second product's A, with adjacent rows, whatever transpose is between the factors: the index map
// costs nothing. The second product's lanes are the output's columns.
//
// Rows of the next slice of x and of the next piece of the output are far apart; they are prefetched during the
// arithmetic, a line at each step of k.
#pragma once

#include <vector>

#include "base/caches.h"
#include "product/chain/intermediate.h"

namespace tenon::product::chain {

/// Half of L2, for the z of a strip.
inline std::int64_t strip_bytes() { return caches().l2 / 2; }
/// The most bytes of a z that stays in cache anyway. One that others read competes for a small L2 with the operands,
/// and with their own reading (Zen 5, 1 MiB, gradients apart against in lanes: up to 512 KB 0.87 to 1.04 of the time,
/// of 1 MB 0.89 to 1.19).
inline std::int64_t small_bytes(bool keeps) {
    return keeps && !caches().large_l2() ? caches().l2 / 2 : std::int64_t{1} << 20;
}
/// The most tokens of a strip.
inline constexpr std::int64_t kMaxTokens = 64;

/// The axes of a chain by their part in this form. In each, IntermediateAxis::z is the step in a strip's z, in vectors
/// of tokens: z is [f][k2][tokens].
struct LanesForm : Applicability {
    const Intermediate* intermediate = nullptr;
    IntermediateAxis token;
    bool x_is_a = true;  // x, the operand with the tokens, is a of the first product
    std::vector<IntermediateAxis> slices;  // the other axes of x; the second product sums them all
    /// The axes that only the weights have. `rows` are those that a single stride walks, the longest run; the others
    /// are `outer`.
    std::vector<IntermediateAxis> outer, rows;
    std::vector<IntermediateAxis>
        f;  // those of `outer` and `rows` that the second product does not sum, in the order of z
    std::vector<IntermediateAxis> k2;  // all that the second product sums, slowest first
    ColumnAxis column;
    /// Rows for each index of f[0], if `rows` begin with it: f may then be cut. Otherwise 0.
    std::int64_t rows_per_f = 0;
    const char* too_little = nullptr;  // why no form of this order pays, though z is not small; or null
    bool small = false;  // all of z stays in L2
    bool keeps = false;  // others read the intermediate
    std::int64_t weights = 0;  // bytes of both products' weights

    std::int64_t x(const IntermediateAxis& axis) const { return x_is_a ? axis.a : axis.b; }
    std::int64_t w(const IntermediateAxis& axis) const { return x_is_a ? axis.b : axis.a; }
    std::int64_t Axis::*x_stride() const { return x_is_a ? &Axis::a : &Axis::b; }
    std::int64_t Axis::*w_stride() const { return x_is_a ? &Axis::b : &Axis::a; }
};

LanesForm lanes_form(const Chain& chain, const Intermediate& intermediate);

/// How the work is cut: strips of tokens, and pieces of f[0].
struct LanesCut {
    std::int64_t tokens = 0, strips = 1;  // tokens of a strip; number of strips
    std::int64_t f = 0, pieces = 1;  // indices of f[0] in a piece; number of pieces
    std::int64_t tasks() const { return strips * pieces; }
};
/// `element` is the size of an element of z, `lanes` the number of sums in a vector.
LanesCut cut_lanes(const LanesForm& form, std::int64_t element, std::int64_t lanes, int threads);

void run_lanes(const Chain& chain, const LanesForm& form);

std::int64_t count_of(const std::vector<IntermediateAxis>& axes);

}  // namespace tenon::product::chain
