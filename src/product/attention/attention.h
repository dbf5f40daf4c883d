// Attention in one pass: out = softmax(scale * q k^T + bias) v, and its gradient. Memory is proportional to the
// lengths, because only the weights of one block of keys exist at a time (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Rabe and Staats, 2021; Dao et al., "FlashAttention", 2022).
//
// The order law: the bits of a row of the output depend on the row's own elements, its keys and values, the options and
// kKeyBlock only: not on threads, other rows, heads or batches, strides, or the instruction set.
//  1. The keys are cut into blocks of kKeyBlock, counted from key 0 whatever the mask. A key that is masked takes no
//     part: nothing is read of it into a result, and a block of which no key takes part changes nothing.
//  2. s[j] is the sum over q[i, d] k[j, d] in the order of contract.h.
//     t[j] = s[j] * (scale * log2 e), both rounded;
//     with a bias t[j] = fma(bias[j], log2 e, s[j] * (scale * log2 e)).
//  3. Of a block: m' = the largest of m and the t[j] (NaN is passed over), c = 2^(m - m'), p[j] = 2^(t[j] - m'), where
//     m' is replaced by 0 while it is -inf. Before the first block m = -inf, l = 0, o = 0. 2^x is exp2.h's.
//  4. l = fma(l, c, sum), the p[j] summed in 16 lanes, lane (j - first) mod 16, then lane i + lane i + 8, 4, 2, 1.
//  5. o = fma(o, c, chain), the chain over p[j] v[j, e] for j ascending, as a block of contract.h.
//     For bfloat16 the p[j] are rounded to bfloat16
//     first, but not in 4.
//  6. out = o / l + 0, rounded to the dtype; +0 where l = 0, the rows none of whose keys takes part. Kept for the
//     gradient: m + log(l) log2 e, or +inf for such rows.
//
// The gradient (of D[i], the sum over ct[i, e] out[i, e] in 16 lanes of fused multiply-adds; P the weights found again
// from what was kept, p = 2^(t - kept)): ds[i, j] = p (ct[i] . v[j] - D[i]), 0 where p = 0; for bfloat16, p and
// ds are rounded before they are multiplied, subnormals to zero. Sums go over blocks of kGradientBlock rows or keys,
// each a chain of contract.h, added in order: dq[i] over keys; dv[j] and dk[j] over heads that share the key, then
// rows. dq and dk are multiplied by the scale at the end; 0 is added to all three and they are rounded.
//
// float32 and bfloat16 are computed in float32, float64 in float64. The bias has that dtype.
#pragma once

#include <cstdint>

#include "base/view.h"
#include "product/contract.h"
#include "tenon/export.h"

namespace tenon::product {

inline constexpr std::int64_t kKeyBlock = 384, kGradientBlock = 128;

struct Attention {
    View q, k, v;  // (batch, queries, heads, d), (batch, keys, kv_heads, d), (batch, keys, kv_heads, e)
    /// Without data if there is none. Of shape (batch, heads, queries, keys), with strides 0 where they repeat.
    View bias, mask;  // mask: bool, true if the key takes part
    View lengths;  // (batch,), int64, in [0, keys]: keys from there on are masked
    double scale = 1;
    bool causal = false;  // key j is masked for query i if j > i
    /// Keys j < i - left and j > i + right are masked; negative: no bound.
    std::int64_t left = -1, right = -1;
    /// Gradients may be summed in any order, which can differ from run to run. The host keeps its order anyway.
    bool any_order = false;

    std::int64_t batch() const { return q.shape()[0]; }
    std::int64_t queries() const { return q.shape()[1]; }
    std::int64_t heads() const { return q.shape()[2]; }
    std::int64_t depth() const { return q.shape()[3]; }
    std::int64_t keys() const { return k.shape()[1]; }
    std::int64_t kv_heads() const { return k.shape()[2]; }
    std::int64_t value_depth() const { return v.shape()[3]; }
    /// Heads that share keys and values.
    std::int64_t group() const { return kv_heads() == 0 ? 0 : heads() / kv_heads(); }
};

/// The largest d, which is summed in one segment of contract.h.
inline constexpr std::int64_t kMaxHeadDepth = kSplitK;

/// out (batch, queries, heads, e). `logsumexp` (batch, queries, heads) has the dtype computed in, and no gaps. Throws
/// ValueError for a length outside [0, keys].
TENON_API void attend(const Attention& a, const View& out, void* logsumexp);
void attend_reference(const Attention& a, const View& out, void* logsumexp);

struct AttentionGradients {
    View dq, dk, dv;
};
/// `ct` is the cotangent of `out`. The gradients have the shapes of q, k and v.
TENON_API void attention_gradient(const Attention& a, const View& out, const void* logsumexp, const View& ct,
                                  const AttentionGradients& gradients);
void attention_gradient_reference(const Attention& a, const View& out, const void* logsumexp, const View& ct,
                                  const AttentionGradients& gradients);

struct AttentionTangents {
    View dq, dk, dv, dbias;  // zero if without data
};
/// The derivative of `out` along the tangents, one row after the other: the sum over j of p[j] (ds[j] - sum of p ds)
/// v[j] + p[j] dv[j].
void attention_tangent(const Attention& a, const void* logsumexp, const AttentionTangents& tangents,
                       const View& tangent);

/// Why the fast kernels do not take it; null if they do.
const char* attention_declines(const Attention& a);

/// Pairs of a query and a key that take part, over all heads and batches, ignoring `mask`.
TENON_API double attention_pairs(std::int64_t queries, std::int64_t keys, bool causal, std::int64_t left,
                                 std::int64_t right);

}  // namespace tenon::product
