// What the tests of attention share: problems with operands of any strides, and attention written out in float64.
#pragma once

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/text.h"
#include "product/attention/attention.h"
#include "product/testing.h"

namespace tenon::product::testing {

struct AttentionCase {
    std::int64_t batch = 1, queries = 5, keys = 7, heads = 2, kv_heads = 1, depth = 8, value_depth = 8;
    bool causal = false;
    std::int64_t left = -1, right = -1;
    bool bias = false, mask = false, lengths = false;
    DType dtype = DType::float32;
    Storage storage = Storage::row_major;
    double scale = 0.3;
    unsigned seed = 1;

    std::string describe() const {
        return text("batch ", batch, ", queries ", queries, ", keys ", keys, ", heads ", heads, "/", kv_heads, ", d ",
                    depth, ", e ", value_depth, causal ? ", causal" : "", ", window ", left, ":", right,
                    bias ? ", bias" : "", mask ? ", mask" : "", lengths ? ", lengths, " : ", ", name(dtype),
                    ", storage ", int(storage), ", scale ", scale, ", seed ", seed);
    }
};

/// Operands, results and the cotangent of a case.
class AttentionOperands {
  public:
    explicit AttentionOperands(const AttentionCase& c)
        : c_(c),
          q(c.dtype, {c.batch, c.queries, c.heads, c.depth}, c.storage, c.seed),
          k(c.dtype, {c.batch, c.keys, c.kv_heads, c.depth}, c.storage, c.seed + 1),
          v(c.dtype, {c.batch, c.keys, c.kv_heads, c.value_depth}, c.storage, c.seed + 2),
          ct(c.dtype, {c.batch, c.queries, c.heads, c.value_depth}, c.storage, c.seed + 3),
          bias(wide(), {1, c.heads, c.queries, c.keys}),
          mask(DType::boolean, {c.batch, 1, c.queries, c.keys}),
          lengths(DType::int64, {c.batch}) {
        q.randomize(c.seed), k.randomize(c.seed + 4), v.randomize(c.seed + 5), ct.randomize(c.seed + 6);
        for (std::int64_t i = 0; i < q.count(); ++i) q.set(i, 4 * q.get(i));
        bias.randomize(c.seed + 7);
        std::mt19937 random(c.seed);
        for (std::int64_t i = 0; i < mask.count(); ++i) mask.set(i, random() % 3 != 0);
        for (std::int64_t i = 0; i < c.batch; ++i)
            lengths.set(i, static_cast<double>(random() % static_cast<unsigned>(c.keys + 1)));
    }

    DType wide() const { return c_.dtype == DType::float64 ? DType::float64 : DType::float32; }

    Attention attention() {
        Attention a;
        a.q = q.view(), a.k = k.view(), a.v = v.view();
        const Shape all{c_.batch, c_.heads, c_.queries, c_.keys};
        const auto repeated = [&](Array& x) {
            const View view = x.view();
            return with_layout(view, view.layout.broadcast(all));
        };
        if (c_.bias) a.bias = repeated(bias);
        if (c_.mask) a.mask = repeated(mask);
        if (c_.lengths) a.lengths = lengths.view();
        a.scale = c_.scale, a.causal = c_.causal, a.left = c_.left, a.right = c_.right;
        return a;
    }

  private:
    const AttentionCase c_;

  public:
    Array q, k, v, ct, bias, mask, lengths;
};

/// Outputs and what is kept for the gradient.
struct AttentionResult {
    explicit AttentionResult(const AttentionCase& c, Storage storage = Storage::row_major)
        : out(c.dtype, {c.batch, c.queries, c.heads, c.value_depth}, storage, c.seed + 8),
          logsumexp(c.dtype == DType::float64 ? DType::float64 : DType::float32, {c.batch, c.queries, c.heads}),
          dq(c.dtype, {c.batch, c.queries, c.heads, c.depth}, storage, c.seed + 9),
          dk(c.dtype, {c.batch, c.keys, c.kv_heads, c.depth}, storage, c.seed + 9),
          dv(c.dtype, {c.batch, c.keys, c.kv_heads, c.value_depth}, storage, c.seed + 9) {}
    Array out, logsumexp, dq, dk, dv;
    AttentionGradients gradients() { return {dq.view(), dk.view(), dv.view()}; }
};

/// Attention as a composition of its steps, in float64.
class WrittenOut {
  public:
    WrittenOut(const AttentionCase& c, AttentionOperands& x) : c_(c), x_(x) {
        const std::int64_t group = c.heads / c.kv_heads;
        const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
        out.assign(size(c.batch * c.queries * c.heads * c.value_depth), 0);
        dq.assign(size(x.q.count()), 0), dk.assign(size(x.k.count()), 0), dv.assign(size(x.v.count()), 0);
        for (std::int64_t b = 0; b < c.batch; ++b)
            for (std::int64_t h = 0; h < c.heads; ++h)
                for (std::int64_t i = 0; i < c.queries; ++i) row(b, h, i, h / group);
    }
    std::vector<double> out, dq, dk, dv;

  private:
    bool takes_part(std::int64_t b, std::int64_t i, std::int64_t j) {
        if (c_.causal && j > i) return false;
        if (c_.left >= 0 && j < i - c_.left) return false;
        if (c_.right >= 0 && j > i + c_.right) return false;
        if (c_.lengths && static_cast<double>(j) >= x_.lengths.get(b)) return false;
        return !c_.mask || *static_cast<const bool*>(x_.mask.at((b * c_.queries + i) * c_.keys + j));
    }
    void row(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t kv) {
        const std::int64_t q0 = ((b * c_.queries + i) * c_.heads + h) * c_.depth;
        const std::int64_t o0 = ((b * c_.queries + i) * c_.heads + h) * c_.value_depth;
        const auto key = [&](std::int64_t j) { return ((b * c_.keys + j) * c_.kv_heads + kv); };
        std::vector<double> z(static_cast<std::size_t>(c_.keys), -std::numeric_limits<double>::infinity());
        double largest = z.empty() ? 0 : z[0], total = 0;
        for (std::int64_t j = 0; j < c_.keys; ++j) {
            if (!takes_part(b, i, j)) continue;
            double s = 0;
            for (std::int64_t d = 0; d < c_.depth; ++d) s += x_.q.get(q0 + d) * x_.k.get(key(j) * c_.depth + d);
            z[static_cast<std::size_t>(j)] =
                s * c_.scale + (c_.bias ? x_.bias.get((h * c_.queries + i) * c_.keys + j) : 0);
            largest = std::max(largest, z[static_cast<std::size_t>(j)]);
        }
        if (std::isinf(largest)) return;
        for (double& p : z) total += p = std::exp(p - largest);
        double mean = 0;
        std::vector<double> dp(z.size());
        for (std::int64_t j = 0; j < c_.keys; ++j) {
            double& p = z[static_cast<std::size_t>(j)];
            p /= total;
            if (!takes_part(b, i, j)) continue;
            for (std::int64_t e = 0; e < c_.value_depth; ++e) {
                const double v = x_.v.get(key(j) * c_.value_depth + e), g = x_.ct.get(o0 + e);
                out[static_cast<std::size_t>(o0 + e)] += p * v;
                dv[static_cast<std::size_t>(key(j) * c_.value_depth + e)] += p * g;
                dp[static_cast<std::size_t>(j)] += v * g;
            }
            mean += p * dp[static_cast<std::size_t>(j)];
        }
        for (std::int64_t j = 0; j < c_.keys; ++j) {
            if (!takes_part(b, i, j)) continue;
            const double ds = z[static_cast<std::size_t>(j)] * (dp[static_cast<std::size_t>(j)] - mean) * c_.scale;
            for (std::int64_t d = 0; d < c_.depth; ++d) {
                dq[static_cast<std::size_t>(q0 + d)] += ds * x_.k.get(key(j) * c_.depth + d);
                dk[static_cast<std::size_t>(key(j) * c_.depth + d)] += ds * x_.q.get(q0 + d);
            }
        }
    }

    const AttentionCase c_;
    AttentionOperands& x_;
};

}  // namespace tenon::product::testing
