// Any einsum of two operands over strided views, without copying an operand first.
//
// The order law: the bits of an output element depend on K, the values and the dtypes alone, not on threads, cache
// blocking, the instruction set, the strides or the other elements.
//  1. The K summed elements are counted through their axes as `a` lists them (the last is the fastest).
//     They are cut into segments of kSplitK, and a segment into blocks of kBlockK;
//     the last segment and the last block may be shorter.
//  2. A block is one chain of fused multiply-adds: s = +0, then s = fma(a[k], b[k], s) for k ascending.
//  3. A segment is the sum of its blocks in order: ((s0 + s1) + s2) + ...
//  4. Segments join in a tree:
//     the sum of the first 2^p, the largest power of two below their number, plus the sum of the others,
//     and so on within both parts.
//  5. float64 is summed in float64; float32 and float16 (widened first) in float32.
//     The result is rounded to the output's dtype once, at the end.
//     A sum of nothing is +0.
//  6. bfloat16 follows the hardware dot product: in float32, for each pair of k (2i, 2i + 1), the odd element is
//     accumulated before the even one; a missing odd element counts as +0 * +0. Subnormal operands are read as zeros of
//     their sign, and every result, of fma and of the sums in 3 and 4, that is subnormal becomes a zero of its sign
//     (see flush.h).
//  7. Integers are exact modulo 2^bits of the output. Sign and payload of a NaN are outside the law.
#pragma once

#include <cstdint>
#include <span>

#include "base/view.h"
#include "product/epilogue.h"
#include "product/finish.h"
#include "product/prologue.h"

namespace tenon::product {

inline constexpr std::int64_t kBlockK = 384;
inline constexpr std::int64_t kSplitK = 16 * kBlockK;

/// A label for each axis. A label in `a`, `b` and the output is a batch axis. A label in both operands but not the
/// output is summed, in the order in which `a` lists its axes, the first slowest. A label in one operand and the output
/// is a row axis (a) or a column axis (b). No label repeats within an operand, and none appears in one operand alone.
/// Extents with the same label agree.
struct Labels {
    std::span<const std::uint8_t> a, b, out;
};

/// The operands have the same dtype (8-bit integers may differ in signedness, with an int32 output). The output has
/// this dtype too, or float32 for float16 and bfloat16 operands, or int32 for 8-bit ones. It must not overlap an
/// operand. With an epilogue, the output's rules apply to the tape's input 0, and the output has the dtype that the
/// tape gives. With a prologue, the operand's rules apply to what the tape gives. Tapes run inside the product if the
/// rows of dense/ways.h take them; otherwise before and after it, in memory of their own.
void contract(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish = {},
              const Epilogue* epilogue = nullptr, const Prologues& prologues = {});
/// Why the product would run a prologue into memory first; null if both run while it packs its operands.
const char* prologues_decline(const View& a, const View& b, const View& out, const Labels& labels,
                              const Epilogue* epilogue, const Prologues& prologues);
/// The way (dense/ways.h) by which contract would compute these views, unless tuning chose another, and what it does.
/// Tapes that run separately do not affect it.
struct WayName {
    const char *name, *what;
};
WayName way_of(const View& a, const View& b, const View& out, const Labels& labels, const Epilogue* epilogue,
               const Prologues& prologues);
/// One of several products that run together.
struct GroupedProduct {
    View a, b, out;
    Labels labels;
    const Epilogue* epilogue = nullptr;
    /// Its epilogue reads an earlier product's output, element by element.
    bool reads_earlier = false;
};
/// Computes products that do not read each other's outputs, except as `reads_earlier` says. They run in one parallel
/// region, whose threads wait once; where one reads another's output, this happens tile by tile, from cache. The bits
/// are those of calling contract for one after the other, and that is what happens if they cannot run together.
void contract_grouped(std::span<const GroupedProduct> group);
/// Why products would not run together, or would gain nothing; null if they would. Without `judged`, only the former.
const char* grouped_declines(std::span<const GroupedProduct> group, bool judged);
/// Why no group with a product of this many operations would gain anything; null if one may.
const char* grouping_declines(double flops);
/// The law, one output element at a time.
void contract_reference(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish = {});

}  // namespace tenon::product
