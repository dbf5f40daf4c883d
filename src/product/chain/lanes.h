// The strip form whose lanes are the rows of a layer ("tokens"): for the structures with a transpose between the
// factors.
//
// The first product multiplies, for each slice of x (an axis that the second product sums, or a batch of the first), a
// packed slice of the weights with the strip's part of x, transposed in registers to [k][token]. Its sums, a vector of
// tokens each, go to z[f][k2][token], where f counts what the second product does not sum and k2 what it does. There
// they lie as the second product's A, rows side by side, whatever transpose stands between the factors: the index map
// costs nothing. The second product's lanes are the output's columns.
//
// What is far apart, the rows of the next slice of x and of the next piece of the output, is fetched along with the
// arithmetic, a line a step of k.
#pragma once

#include <vector>

#include "base/caches.h"
#include "product/chain/middle.h"

namespace tenon::product::chain {

/// Half of the second cache, for z of a strip.
inline std::int64_t strip_bytes() { return caches().l2 / 2; }
/// Bytes of z up to which it stays in cache as it is.
inline constexpr std::int64_t kSmallBytes = 1 << 20;
/// Most tokens of a strip.
inline constexpr std::int64_t kMostTokens = 64;

/// The axes of a chain by their part in this form. In all of them MiddleAxis::z is the step in a strip's z, in tokens'
/// vectors: z is [f][k2][tokens].
struct LanesForm : Verdict {
    const Middle* middle = nullptr;
    MiddleAxis token;
    bool x_is_a = true;  // x, the operand with the tokens, is the first product's a
    std::vector<MiddleAxis> slices;  // the other axes of x: all are summed by the second product
    /// The axes of the weights alone. `rows` are those that one step walks, the longest run; the others are outside.
    std::vector<MiddleAxis> outer, rows;
    std::vector<MiddleAxis> f;  // those of `outer` and `rows` that the second product does not sum, in the order of z
    std::vector<MiddleAxis> k2;  // all that it sums, slowest first
    ColumnAxis column;
    /// Rows for each index of f[0], where `rows` begin with it: then f may be cut. Else 0.
    std::int64_t rows_a_f = 0;
    bool small = false;  // all of z stays in L2
    bool keeps = false;  // others read the intermediate
    std::int64_t weights = 0;  // bytes of both products'

    std::int64_t x(const MiddleAxis& axis) const { return x_is_a ? axis.a : axis.b; }
    std::int64_t w(const MiddleAxis& axis) const { return x_is_a ? axis.b : axis.a; }
    std::int64_t Axis::*x_stride() const { return x_is_a ? &Axis::a : &Axis::b; }
    std::int64_t Axis::*w_stride() const { return x_is_a ? &Axis::b : &Axis::a; }
};

LanesForm lanes_form(const Chain& chain, const Middle& middle);

/// How the work is cut: strips of tokens, and pieces of f[0].
struct LanesCut {
    std::int64_t tokens = 0, strips = 1;  // tokens of a strip
    std::int64_t f = 0, pieces = 1;  // indices of f[0] of a piece
    std::int64_t tasks() const { return strips * pieces; }
};
/// `element` is the size of one of z, `lanes` what a vector of sums holds.
LanesCut cut_lanes(const LanesForm& form, std::int64_t element, std::int64_t lanes, int threads);

void run_lanes(const Chain& chain, const LanesForm& form);

std::int64_t count_of(const std::vector<MiddleAxis>& axes);

}  // namespace tenon::product::chain
