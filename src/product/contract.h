// Any two-operand einsum over strided views, without copying an operand first.
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

/// A label for each axis. A label in `a` and `b` and the output is a batch axis; in both operands but not the output,
/// it is summed, in the order in which `a` lists them (the first is the slowest); in one operand and the output, it is
/// a row (a) or column (b) axis. No label repeats within an operand, and none stands in one operand alone. Extents of a
/// label agree.
struct Labels {
    std::span<const std::uint8_t> a, b, out;
};

/// Operands share a dtype (8-bit integers may differ in sign, with an int32 output); the output has it too, or float32
/// for float16 and bfloat16 operands, or int32 for 8-bit ones. It must not overlap an operand. With an epilogue this
/// holds of the tape's input 0, and the output has what the tape gives. With a prologue it holds of what the tape
/// gives. Tapes run in the product where the rows of dense/rows.h take them, else before and after it, in memory of
/// their own.
void contract(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish = {},
              const Epilogue* epilogue = nullptr, const Prologues& prologues = {});
/// Why the product would run a prologue into memory first; null where both run as it packs its operands.
const char* prologues_decline(const View& a, const View& b, const View& out, const Labels& labels,
                              const Epilogue* epilogue, const Prologues& prologues);
/// The row of dense/rows.h by which contract would compute these views, unless tuning chose another, and what it does.
/// Tapes that run apart are none of its business.
struct RowName {
    const char *name, *what;
};
RowName row_of(const View& a, const View& b, const View& out, const Labels& labels, const Epilogue* epilogue,
               const Prologues& prologues);
/// One of several products that run together.
struct GroupedProduct {
    View a, b, out;
    Labels labels;
    const Epilogue* epilogue = nullptr;
    /// Its epilogue reads, element by element, what a product before it gives.
    bool reads_earlier = false;
};
/// Computes products of which none reads what another gives, but as `reads_earlier` says: in one region of threads,
/// which wait once, and where one reads what another gives tile by tile, from cache. The bits are those of contract for
/// one after the other, which is also what happens where that is impossible.
void contract_grouped(std::span<const GroupedProduct> group);
/// Why products would not run together, or gain nothing of it; null where they run so. Without `judged` the first
/// alone.
const char* grouped_declines(std::span<const GroupedProduct> group, bool judged);
/// Why no group with a product of so many operations would gain anything; null where one may.
const char* grouping_declines(double flops);
/// The law, one output element at a time.
void contract_reference(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish = {});

}  // namespace tenon::product
