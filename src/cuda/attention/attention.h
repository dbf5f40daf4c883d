// Attention on a device, of product::Attention's meaning on views of the device's memory: by cuDNN in one pass, or,
// where that declines, as products with the weights of a chunk of queries in memory. Memory is in proportion to the
// lengths either way, beside a sixteenth of the device's for chunks of gradients. The order is the device's own:
// repeated runs have the same bits (except of gradients under SumOrder::any, tenon/policy.h). Where a value that takes
// no part is NaN or infinite, results may be NaN. Float32 sums for bfloat16 and float16.
#pragma once

#include <string>

#include "cuda/device.h"
#include "product/attention/attention.h"

namespace tenon::cuda {

/// Why cuDNN declines the problem; empty if it accepts.
std::string cudnn_declines(Gpu& gpu, const product::Attention& a);

/// `out` (batch, queries, heads, e) is row-major. `logsumexp` (batch, heads, queries), of the dtype computed in: the
/// logarithm of each row's sum, +infinity for rows none of whose keys takes part. A length outside [0, keys] is thrown
/// as a ValueError at the next synchronisation.
void attend(Gpu& gpu, const product::Attention& a, const View& out, void* logsumexp);
/// Gradients are row-major; `out` and `logsumexp` are what attend wrote.
void attention_gradient(Gpu& gpu, const product::Attention& a, const View& out, const void* logsumexp, const View& ct,
                        const product::AttentionGradients& gradients);
void attention_tangent(Gpu& gpu, const product::Attention& a, const void* logsumexp,
                       const product::AttentionTangents& tangents, const View& tangent);

namespace detail {
/// Both by products, which accept any problem.
void attend_by_products(Gpu& gpu, const product::Attention& a, const View& out, void* logsumexp);
void gradient_by_products(Gpu& gpu, const product::Attention& a, const View& out, const void* logsumexp, const View& ct,
                          const product::AttentionGradients& gradients);
/// cuDNN's gradients, in parts of so many heads of keys and queries of one element of the batch, or the largest that
/// memory is for (0). The reason, and nothing done, where it declines.
std::string gradient_in_parts(Gpu& gpu, const product::Attention& a, const View& out, const void* logsumexp,
                              const View& ct, const product::AttentionGradients& gradients, std::int64_t heads,
                              std::int64_t queries);
}  // namespace detail

}  // namespace tenon::cuda
