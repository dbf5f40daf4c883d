// The law of attention.h as code: one row after the other.
#include <vector>

#include "base/text.h"
#include "product/attention/law.h"
#include "product/float_environment.h"
#include "tenon/error.h"

namespace tenon::product {
namespace attention {

void check_lengths(const Attention& a) {
    if (!a.lengths.data) return;
    for (std::int64_t b = 0; b < a.batch(); ++b)
        if (const std::int64_t n = length_of(a, b); n < 0 || n > a.keys())
            throw ValueError(text("dot_product_attention: key_value_seq_lengths[", b, "] is ", n, ", not in [0, ",
                                  a.keys(), "], the keys"));
}

namespace {

template <class T>
[[gnu::noinline]] void attend_rows(const Attention& a, const View& out, Sum<T>* logsumexp) {
    using Acc = Sum<T>;
    const Law<T> law(a);
    const std::int64_t e = a.value_depth();
    std::vector<Acc> o(static_cast<std::size_t>(e));
    for (std::int64_t b = 0; b < a.batch(); ++b)
        for (std::int64_t i = 0; i < a.queries(); ++i)
            for (std::int64_t h = 0; h < a.heads(); ++h) {
                RowState<Acc> state;
                std::fill(o.begin(), o.end(), Acc(0));
                const Range own = keys_of(a, length_of(a, b), i);
                for (std::int64_t first = 0; first < own.end; first += kKeyBlock) {
                    const Range keys{std::max(first, own.begin), std::min(first + kKeyBlock, own.end)};
                    if (keys.begin < keys.end) law.block(b, h, i, keys, first, state, o.data());
                }
                T* to = Law<T>::row(out, b, i, h);
                for (std::int64_t x = 0; x < e; ++x)
                    to[x * out.layout.strides[3]] =
                        rounded<T>(state.sum == 0 ? Acc(0) : o[static_cast<std::size_t>(x)] / state.sum + Acc(0));
                logsumexp[(b * a.queries() + i) * a.heads() + h] = logsumexp_of(state);
            }
}

template <class T>
void store(const View& to, std::int64_t b, std::int64_t i, std::int64_t h, const Sum<T>* from, Sum<T> scale) {
    T* x = Law<T>::row(to, b, i, h);
    for (std::int64_t e = 0; e < to.shape()[3]; ++e)
        x[e * to.layout.strides[3]] = rounded<T>(from[e] * scale + Sum<T>(0));
}

/// All heads of one key head.
template <class T>
[[gnu::noinline]] void gradient_of(const Attention& a, std::int64_t b, std::int64_t kv, const View& out,
                                   const Sum<T>* logsumexp, const View& ct, const AttentionGradients& to) {
    using Acc = Sum<T>;
    const Law<T> law(a);
    const std::int64_t n = a.queries(), depth = a.depth(), value_depth = a.value_depth(), group = a.group();
    const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
    std::vector<Acc> dq(size(group * n * depth)), dk(size(a.keys() * depth)), dv(size(a.keys() * value_depth));
    std::vector<Acc> own(size(group * n)), d(size(group * n));
    for (std::int64_t g = 0; g < group; ++g)
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t h = kv * group + g;
            own[size(g * n + i)] = logsumexp[(b * n + i) * a.heads() + h];
            d[size(g * n + i)] = law.row_dot(ct, out, b, i, h);
        }
    for (std::int64_t j = 0; j < a.keys(); j += kGradientBlock)
        for (std::int64_t g = 0; g < group; ++g)
            for (std::int64_t i = 0; i < n; i += kGradientBlock)
                law.gradient(b, kv * group + g, {i, std::min(i + kGradientBlock, n)},
                             {j, std::min(j + kGradientBlock, a.keys())}, &own[size(g * n + i)], &d[size(g * n + i)],
                             ct, {dq.data() + (g * n + i) * depth, depth}, {dk.data() + j * depth, depth},
                             {dv.data() + j * value_depth, value_depth});
    for (std::int64_t g = 0; g < group; ++g)
        for (std::int64_t i = 0; i < n; ++i)
            store<T>(to.dq, b, i, kv * group + g, dq.data() + (g * n + i) * depth, law.scale());
    for (std::int64_t j = 0; j < a.keys(); ++j) {
        store<T>(to.dk, b, j, kv, dk.data() + j * depth, law.scale());
        store<T>(to.dv, b, j, kv, dv.data() + j * value_depth, Acc(1));
    }
}

template <class T>
[[gnu::noinline]] void tangent_rows(const Attention& a, const Sum<T>* logsumexp, const AttentionTangents& tangents,
                                    const View& to) {
    using Acc = Sum<T>;
    const Law<T> law(a);
    const auto own_head = [&](std::int64_t h) { return h / a.group(); };
    const auto dot_of = [&](const T* x, const View& xs, const T* y, const View& ys) {
        return Law<T>::dot(a.depth(), x, xs.layout.strides[3], y, ys.layout.strides[3]);
    };
    std::vector<Acc> p, ds, sum(static_cast<std::size_t>(a.value_depth()));
    for (std::int64_t b = 0; b < a.batch(); ++b)
        for (std::int64_t i = 0; i < a.queries(); ++i)
            for (std::int64_t h = 0; h < a.heads(); ++h) {
                const Range own = keys_of(a, length_of(a, b), i);
                p.assign(static_cast<std::size_t>(own.size()), 0), ds.assign(p.size(), 0);
                Acc mean = 0;
                for (std::int64_t j = own.begin; j < own.end; ++j) {
                    if (!law.takes_part(b, h, i, j)) continue;
                    const auto at = static_cast<std::size_t>(j - own.begin);
                    p[at] = exp2(law.logit(b, h, i, j) - logsumexp[(b * a.queries() + i) * a.heads() + h]);
                    Acc s = 0;
                    if (tangents.dq.data)
                        s += dot_of(Law<T>::row(tangents.dq, b, i, h), tangents.dq, law.key(b, j, h), a.k);
                    if (tangents.dk.data)
                        s += dot_of(law.query(b, i, h), a.q, Law<T>::row(tangents.dk, b, j, own_head(h)), tangents.dk);
                    s *= law.scale();
                    if (tangents.dbias.data) s += Law<T>::template element<Acc>(tangents.dbias, b, h, i, j);
                    ds[at] = s;
                    if (p[at] != 0) mean += p[at] * s;
                }
                std::fill(sum.begin(), sum.end(), Acc(0));
                for (std::int64_t j = own.begin; j < own.end; ++j) {
                    const auto at = static_cast<std::size_t>(j - own.begin);
                    if (p[at] == 0) continue;
                    const Acc w = p[at] * (ds[at] - mean);
                    const T* v = law.value(b, j, h);
                    const T* dv = tangents.dv.data ? Law<T>::row(tangents.dv, b, j, own_head(h)) : nullptr;
                    for (std::int64_t e = 0; e < a.value_depth(); ++e) {
                        sum[static_cast<std::size_t>(e)] += w * widened(v[e * a.v.layout.strides[3]]);
                        if (dv)
                            sum[static_cast<std::size_t>(e)] += p[at] * widened(dv[e * tangents.dv.layout.strides[3]]);
                    }
                }
                T* x = Law<T>::row(to, b, i, h);
                for (std::int64_t e = 0; e < a.value_depth(); ++e)
                    x[e * to.layout.strides[3]] = rounded<T>(sum[static_cast<std::size_t>(e)]);
            }
}

}  // namespace
}  // namespace attention

void attend_reference(const Attention& a, const View& out, void* logsumexp) {
    attention::check_lengths(a);
    const FloatEnvironment environment(Subnormals::keep);
    attention::with_type(
        a, [&]<class T>() { attention::attend_rows<T>(a, out, static_cast<attention::Sum<T>*>(logsumexp)); });
}

void attention_gradient_reference(const Attention& a, const View& out, const void* logsumexp, const View& ct,
                                  const AttentionGradients& gradients) {
    attention::check_lengths(a);
    const FloatEnvironment environment(Subnormals::keep);
    attention::with_type(a, [&]<class T>() {
        for (std::int64_t b = 0; b < a.batch(); ++b)
            for (std::int64_t kv = 0; kv < a.kv_heads(); ++kv)
                attention::gradient_of<T>(a, b, kv, out, static_cast<const attention::Sum<T>*>(logsumexp), ct,
                                          gradients);
    });
}

void attention_tangent(const Attention& a, const void* logsumexp, const AttentionTangents& tangents,
                       const View& tangent) {
    attention::check_lengths(a);
    const FloatEnvironment environment(Subnormals::keep);
    attention::with_type(a, [&]<class T>() {
        attention::tangent_rows<T>(a, static_cast<const attention::Sum<T>*>(logsumexp), tangents, tangent);
    });
}

double attention_pairs(std::int64_t queries, std::int64_t keys, bool causal, std::int64_t left, std::int64_t right) {
    Attention a;
    a.causal = causal, a.left = left, a.right = right;
    double pairs = 0;
    for (std::int64_t i = 0; i < queries; ++i) pairs += static_cast<double>(attention::keys_of(a, keys, i).size());
    return pairs;
}

}  // namespace tenon::product
