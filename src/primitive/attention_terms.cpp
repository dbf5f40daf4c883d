#include "primitive/attention_terms.h"

#include <limits>

#include "primitive/leaf.h"
#include "primitive/pointwise.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

enum : std::uint8_t { kBatch, kQuery, kHead, kGroup, kKey, kDepth };

constexpr std::uint8_t kOfQuery[] = {kBatch, kQuery, kHead, kGroup, kDepth}, kOfKey[] = {kBatch, kKey, kHead, kDepth},
                       kOfWeights[] = {kBatch, kHead, kGroup, kQuery, kKey};

Tensor row_sum(const Tensor& x) {
    Shape s = x.shape();
    s[4] = 1;
    return reshape(reduce_sum(x, {4}), s);
}

/// An undefined tensor counts as zero.
Tensor times(const Tensor& a, const Tensor& b) { return a.defined() && b.defined() ? a * b : Tensor(); }

/// Which keys take part in some row, (batch, keys, kv_heads, 1); `part` is (batch, kv_heads, group, queries, keys).
Tensor taken(const Tensor& part) {
    const Tensor any = reduce_max(astype(part, DType::uint8), {2, 3});
    const Shape& s = any.shape();
    return reshape(transpose(astype(any, DType::boolean), {0, 2, 1}), {s[0], s[2], s[1], 1});
}

/// Which keys take part, (batch, heads, queries, keys) or a shape that broadcasts to it; undefined if all do.
Tensor taking_part(const AttentionAttributes& a, std::int64_t queries, std::int64_t keys, const Tensor& mask,
                   const Tensor& lengths) {
    const Tensor i = reshape(iota(queries, DType::int64), {queries, 1}),
                 j = reshape(iota(keys, DType::int64), {1, keys});
    Tensor part = mask;
    const auto both = [&](const Tensor& x) { part = part.defined() ? bitwise_and(part, x) : x; };
    if (a.is_causal) both(less_equal(j, i));
    if (a.left >= 0) both(less_equal(i - j, Tensor(a.left)));
    if (a.right >= 0) both(less_equal(j - i, Tensor(a.right)));
    if (lengths.defined()) both(less(j, reshape(lengths, {lengths.size(), 1, 1, 1})));
    return part;
}

}  // namespace

AttentionTerms::AttentionTerms(const AttentionAttributes& attributes, const AttentionOperands& x, const Tensor& mask,
                               const Tensor& lengths)
    : attributes_(attributes),
      x_(x),
      kv_heads_(x.k.shape()[2]),
      group_(kv_heads_ == 0 ? 0 : x.q.shape()[2] / kv_heads_) {
    const std::int64_t batch = x.q.shape()[0], queries = x.q.shape()[1], keys = x.k.shape()[1];
    const Shape all{batch, x.q.shape()[2], queries, keys}, in_groups{batch, kv_heads_, group_, queries, keys};
    if (const Tensor part = taking_part(attributes, queries, keys, mask, lengths); part.defined()) {
        part_ = reshape(broadcast_to(part, all), in_groups);
        // Keys in which no row takes part may be NaN, and a product with their weights of zero would be NaN.
        const Tensor some = taken(part_), zero = zeros_of({}, x.k.dtype());
        x_.k = select(some, x.k, zero);
        x_.v = select(some, x.v, zero);
    }
    Tensor z = logits(x_.q, x_.k);
    if (x.bias.defined()) z = z + reshape(broadcast_to(x.bias, all), in_groups);
    const Tensor none = constant(-std::numeric_limits<double>::infinity(), z.dtype());
    if (part_.defined()) z = select(part_, z, none);
    Shape rows = in_groups;
    rows[4] = 1;
    const Tensor largest = stop_gradient(reshape(reduce_max(z, {4}), rows));
    const Tensor e = exp(z - select(equal(largest, none), zeros_of({}, z.dtype()), largest));
    const Tensor sum = row_sum(e);
    p_ = e / select(equal(sum, zeros_of({}, z.dtype())), constant(1, z.dtype()), sum);
}

Tensor AttentionTerms::grouped(const Tensor& x) const {
    if (!x.defined()) return x;
    const Shape& s = x.shape();
    return reshape(x, {s[0], s[1], kv_heads_, group_, s[3]});
}

Tensor AttentionTerms::of_pairs(const Tensor& x) const {
    return x.defined() && part_.defined() ? select(part_, x, zeros_of({}, x.dtype())) : x;
}

Tensor AttentionTerms::logits(const Tensor& q, const Tensor& k) const {
    if (!q.defined() || !k.defined()) return {};
    return contract(grouped(q), kOfQuery, k, kOfKey, kOfWeights) * Tensor(attributes_.scale);
}

Tensor AttentionTerms::logits_tangent(const AttentionOperands& d) const {
    const Tensor z = of_pairs(sum_of(logits(d.q, x_.k), logits(x_.q, d.k)));
    if (!d.bias.defined()) return z;
    const Shape& s = p_.shape();
    return sum_of(z, reshape(broadcast_to(d.bias, {s[0], s[1] * s[2], s[3], s[4]}), s));
}

Tensor AttentionTerms::weights_tangent(const Tensor& dz) const {
    return dz.defined() ? p_ * (dz - row_sum(p_ * dz)) : Tensor();
}

Tensor AttentionTerms::values(const Tensor& weights, const Tensor& v) const {
    if (!weights.defined() || !v.defined()) return {};
    const Tensor y = contract(weights, kOfWeights, v, kOfKey, kOfQuery);
    return reshape(y, {y.shape()[0], y.shape()[1], kv_heads_ * group_, y.shape()[4]});
}

Tensor AttentionTerms::weights_cotangent(const Tensor& ct, const Tensor& v) const {
    if (!ct.defined() || !v.defined()) return {};
    return of_pairs(contract(grouped(ct), kOfQuery, v, kOfKey, kOfWeights));
}

// With z the logits, z1 and z2 their tangents along each, z12 their second derivative: p1 = p (z1 - r(p z1)), r the sum
// of a row; p12 = p2 (z1 - r(p z1)) + p (z12 - r(p2 z1 + p z12)).
Tensor AttentionTerms::second_tangent(const AttentionOperands& first, const AttentionOperands& second) const {
    const Tensor z1 = logits_tangent(first), p2 = weights_tangent(logits_tangent(second));
    const Tensor z12 = of_pairs(sum_of(logits(first.q, second.k), logits(second.q, first.k)));
    Tensor p12;
    if (z1.defined() && p2.defined()) p12 = p2 * (z1 - row_sum(p_ * z1)) - p_ * row_sum(p2 * z1);
    if (z12.defined()) p12 = sum_of(p12, p_ * (z12 - row_sum(p_ * z12)));
    const Tensor y = sum_of(sum_of(values(p12, x_.v), values(weights_tangent(z1), second.v)), values(p2, first.v));
    return y.defined() ? y
                       : zeros_of({x_.q.shape()[0], x_.q.shape()[1], x_.q.shape()[2], x_.v.shape()[3]}, x_.v.dtype());
}

// dp = ct v^T, dz = p (dp - r(p dp)), dq = scale dz k, dk = scale dz^T q, dv = p^T ct, each a product to differentiate.
AttentionOperands AttentionTerms::gradient_tangent(const Tensor& ct, const AttentionOperands& d,
                                                   const Tensor& dct) const {
    const Tensor p1 = weights_tangent(logits_tangent(d));
    const Tensor dp = weights_cotangent(ct, x_.v),
                 dp1 = sum_of(weights_cotangent(dct, x_.v), weights_cotangent(ct, d.v));
    const Tensor centred = dp - row_sum(p_ * dp), dz = p_ * centred;
    Tensor dz1;
    if (p1.defined()) dz1 = p1 * centred - p_ * row_sum(p1 * dp);
    if (dp1.defined()) dz1 = sum_of(dz1, p_ * (dp1 - row_sum(p_ * dp1)));
    const auto of_query = [&](const Tensor& z, const Tensor& k) {
        return times(values(z, k), Tensor(attributes_.scale));
    };
    const auto of_key = [&](const Tensor& z, const Tensor& q) {
        return z.defined() && q.defined() ? contract(z, kOfWeights, grouped(q), kOfQuery, kOfKey) : Tensor();
    };
    const auto scaled = [&](const Tensor& x) { return x.defined() ? x * Tensor(attributes_.scale) : Tensor(); };
    return {sum_of(of_query(dz1, x_.k), of_query(dz, d.k)),
            scaled(sum_of(of_key(dz1, x_.q), of_key(dz, d.q))),
            sum_of(of_key(p1, ct), of_key(p_, dct)),
            {}};
}

Tensor AttentionTerms::bias_gradient(const Tensor& ct) const {
    const Tensor dp = weights_cotangent(ct, x_.v);
    const Shape& s = p_.shape();
    const Tensor dz = reshape(p_ * (dp - row_sum(p_ * dp)), {s[0], s[1] * s[2], s[3], s[4]});
    Axes repeated;
    for (int i = 0; i < 4; ++i) {
        const int own = i - 4 + x_.bias.rank();
        if (own < 0 || (x_.bias.shape()[own] == 1 && dz.shape()[i] != 1)) repeated.push_back(i);
    }
    return reshape(reduce_sum(dz, repeated), x_.bias.shape());
}

}  // namespace tenon
