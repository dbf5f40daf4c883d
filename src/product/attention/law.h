// The law of attention.h, one element at a time. The reference runs it, and so do the fast kernels where a masked value
// that is not finite must not be touched.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "product/attention/attention.h"
#include "product/attention/exp2.h"
#include "product/dense/plan.h"
#include "product/flush.h"

namespace tenon::product::attention {

using dense::Range;

template <class T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
Sum<T> widened(T x) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_float(x);
    else
        return x;
}
template <class T>
T rounded(Sum<T> x) {
    if constexpr (std::is_same_v<T, bfloat16>)
        return to_bfloat16(x);
    else
        return x;
}

/// Lane i + lane i + 8, 4, 2, 1.
template <class Acc>
Acc sum_of_lanes(Acc (&lanes)[kLanes]) {
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    return lanes[0];
}

/// The keys that causality, window and length leave for query i.
inline Range keys_of(const Attention& a, std::int64_t length, std::int64_t i) {
    std::int64_t end = length;
    if (a.causal) end = std::min(end, i + 1);
    if (a.right >= 0 && a.right < end - 1 - i) end = i + a.right + 1;
    const std::int64_t begin = a.left >= 0 ? std::max<std::int64_t>(0, i - a.left) : 0;
    return {begin, std::max(begin, end)};
}

inline std::int64_t length_of(const Attention& a, std::int64_t batch) {
    return a.lengths.data ? a.lengths.as<const std::int64_t>()[batch * a.lengths.layout.strides[0]] : a.keys();
}

/// A row's running maximum (of t, to base 2) and sum.
template <class Acc>
struct RowState {
    Acc largest = -std::numeric_limits<Acc>::infinity();
    Acc sum = 0;
};
/// The new maximum, the factor for what was summed before, and what to subtract from each t.
template <class Acc>
struct Rescale {
    Acc factor, shift;
};
template <class Acc>
Rescale<Acc> raise(RowState<Acc>& row, Acc largest) {
    const Acc before = row.largest;
    row.largest = largest > before ? largest : before;
    const Acc shift = row.largest == -std::numeric_limits<Acc>::infinity() ? Acc(0) : row.largest;
    return {exp2(before - shift), shift};
}
template <class Acc>
Acc logsumexp_of(const RowState<Acc>& row) {
    if (row.sum == 0) return std::numeric_limits<Acc>::infinity();
    return tape::TENON_ISA::fma(tape::TENON_ISA::log(row.sum), static_cast<Acc>(kLog2E), row.largest);
}

template <class T>
class Law {
  public:
    using Acc = Sum<T>;

    explicit Law(const Attention& a)
        : a_(a), scale_(static_cast<Acc>(a.scale)), scale2_(static_cast<Acc>(a.scale * kLog2E)) {}

    Acc scale() const { return scale_; }
    Acc scale2() const { return scale2_; }

    const T* query(std::int64_t b, std::int64_t i, std::int64_t h) const { return row(a_.q, b, i, h); }
    const T* key(std::int64_t b, std::int64_t j, std::int64_t h) const { return row(a_.k, b, j, h / a_.group()); }
    const T* value(std::int64_t b, std::int64_t j, std::int64_t h) const { return row(a_.v, b, j, h / a_.group()); }

    /// Whether key j takes part, among those that keys_of leaves.
    bool takes_part(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
        return !a_.mask.data || element<bool>(a_.mask, b, h, i, j);
    }

    Acc logit(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
        const Acc s = dot(a_.depth(), query(b, i, h), a_.q.layout.strides[3], key(b, j, h), a_.k.layout.strides[3]);
        return a_.bias.data
                   ? tape::TENON_ISA::fma(element<Acc>(a_.bias, b, h, i, j), static_cast<Acc>(kLog2E), s * scale2_)
                   : s * scale2_;
    }

    /// Keys `block` (at most kKeyBlock, all inside keys_of) of a row; `first` is where the law's block begins.
    void block(std::int64_t b, std::int64_t h, std::int64_t i, Range keys, std::int64_t first, RowState<Acc>& state,
               Acc* o) const {
        Acc t[kKeyBlock], lanes[kLanes] = {}, largest = -std::numeric_limits<Acc>::infinity();
        bool part[kKeyBlock] = {}, any = false;
        for (std::int64_t j = keys.begin; j < keys.end; ++j) {
            if (!takes_part(b, h, i, j)) continue;
            any = part[j - first] = true;
            const Acc x = t[j - first] = logit(b, h, i, j);
            largest = x > largest ? x : largest;
        }
        if (!any) return;
        const Rescale<Acc> rescale = raise(state, largest);
        Acc weights[kKeyBlock + 1] = {};
        for (std::int64_t j = 0; j < kKeyBlock; ++j) {
            if (!part[j]) continue;
            const Acc p = exp2(t[j] - rescale.shift);
            lanes[j % kLanes] += p;
            weights[j] = widened(factor(p));
        }
        state.sum = tape::TENON_ISA::fma(state.sum, rescale.factor, sum_of_lanes(lanes));
        const std::int64_t step = a_.v.layout.strides[1];
        const T* v = value(b, first, h);
        for (std::int64_t e = 0; e < a_.value_depth(); ++e)
            o[e] = tape::TENON_ISA::fma(
                o[e], rescale.factor,
                chain(keys.begin - first, keys.end - first, weights, part, v + e * a_.v.layout.strides[3], step));
    }

    /// The sum over ct out of a row.
    Acc row_dot(const View& ct, const View& out, std::int64_t b, std::int64_t i, std::int64_t h) const {
        const T *x = row(ct, b, i, h), *y = row(out, b, i, h);
        Acc lanes[kLanes] = {};
        for (std::int64_t e = 0; e < a_.value_depth(); ++e) {
            Acc& lane = lanes[e % kLanes];
            lane =
                tape::TENON_ISA::fma(widened(x[e * ct.layout.strides[3]]), widened(y[e * out.layout.strides[3]]), lane);
        }
        return sum_of_lanes(lanes);
    }

    /// The sums of a gradient, and the stride from one row or key to the next.
    struct Sums {
        Acc* data;
        std::int64_t pitch;
    };

    /// For one head: rows x keys, both at most kGradientBlock. The block's sums are added to dq (for the rows), dk and
    /// dv (for the keys). `logsumexp` and `d` begin at the first row.
    void gradient(std::int64_t b, std::int64_t h, Range rows, Range keys, const Acc* logsumexp, const Acc* d,
                  const View& ct, const Sums& dq, const Sums& dk, const Sums& dv) const {
        const std::int64_t n = rows.size(), depth = a_.depth(), value_depth = a_.value_depth();
        std::vector<Acc> weights(static_cast<std::size_t>(n * keys.size())), slopes(weights.size());
        std::vector<char> parts(weights.size());
        for (std::int64_t j = keys.begin; j < keys.end; ++j)
            for (std::int64_t i = rows.begin; i < rows.end; ++i) {
                const Range own = keys_of(a_, length_of(a_, b), i);
                if (j < own.begin || j >= own.end || !takes_part(b, h, i, j)) continue;
                const auto at = static_cast<std::size_t>((j - keys.begin) * n + i - rows.begin);
                parts[at] = 1;
                const Acc p = exp2(logit(b, h, i, j) - logsumexp[i - rows.begin]);
                const Acc dp =
                    dot(value_depth, row(ct, b, i, h), ct.layout.strides[3], value(b, j, h), a_.v.layout.strides[3]);
                weights[at] = widened(factor(p));
                slopes[at] = widened(factor(p == 0 ? Acc(0) : p * (dp - d[i - rows.begin])));
            }
        const auto add = [&](Acc& to, std::int64_t count, std::size_t first, std::int64_t step,
                             const std::vector<Acc>& w, const T* x, std::int64_t x_step) {
            std::vector<Acc> line(static_cast<std::size_t>(count) + 1);
            std::vector<char> part(line.size());
            for (std::int64_t k = 0; k < count; ++k) {
                line[static_cast<std::size_t>(k)] = w[first + static_cast<std::size_t>(k * step)];
                part[static_cast<std::size_t>(k)] = parts[first + static_cast<std::size_t>(k * step)];
            }
            to = sum(to, chain(0, count, line.data(), part.data(), x, x_step));
        };
        for (std::int64_t j = 0; j < keys.size(); ++j) {
            const auto first = static_cast<std::size_t>(j * n);
            for (std::int64_t e = 0; e < value_depth; ++e)
                add(dv.data[j * dv.pitch + e], n, first, 1, weights,
                    row(ct, b, rows.begin, h) + e * ct.layout.strides[3], ct.layout.strides[1]);
            for (std::int64_t e = 0; e < depth; ++e)
                add(dk.data[j * dk.pitch + e], n, first, 1, slopes,
                    query(b, rows.begin, h) + e * a_.q.layout.strides[3], a_.q.layout.strides[1]);
        }
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t e = 0; e < depth; ++e)
                add(dq.data[i * dq.pitch + e], keys.size(), static_cast<std::size_t>(i), n, slopes,
                    key(b, keys.begin, h) + e * a_.k.layout.strides[3], a_.k.layout.strides[1]);
    }

    static T* row(const View& x, std::int64_t b, std::int64_t i, std::int64_t h) {
        const Strides& s = x.layout.strides;
        return x.as<T>() + b * s[0] + i * s[1] + h * s[2];
    }

    template <class E>
    static E element(const View& x, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
        const Strides& s = x.layout.strides;
        return x.as<const E>()[b * s[0] + h * s[1] + i * s[2] + j * s[3]];
    }

    static Acc sum(Acc x, Acc y) {
        if constexpr (std::is_same_v<T, bfloat16>)
            return flush_add(x, y);
        else
            return x + y;
    }

    /// The sum over n products in the order of contract.h; n is at most one segment.
    static Acc dot(std::int64_t n, const T* x, std::int64_t x_step, const T* y, std::int64_t y_step) {
        Acc total = 0;
        for (std::int64_t first = 0; first < n; first += kBlockK) {
            const std::int64_t end = std::min(first + kBlockK, n);
            Acc s = 0;
            const auto step = [&](std::int64_t k) { s = fma(widened(x[k * x_step]), widened(y[k * y_step]), s); };
            if constexpr (std::is_same_v<T, bfloat16>) {
                for (std::int64_t k = first; k < end; k += 2) {
                    if (k + 1 < end) step(k + 1);
                    step(k);
                }
            } else {
                for (std::int64_t k = first; k < end; ++k) step(k);
            }
            total = first == 0 ? s : sum(total, s);
        }
        return total;
    }

  private:
    /// Rounded as an operand of a product.
    static T factor(Acc x) {
        if constexpr (std::is_same_v<T, bfloat16>)
            return rounded<T>(flush(x));
        else
            return x;
    }

    static Acc fma(Acc x, Acc y, Acc z) {
        if constexpr (std::is_same_v<T, bfloat16>)
            return flush_fma(flush(x), flush(y), z);
        else
            return tape::TENON_ISA::fma(x, y, z);
    }

    /// The sum over w[k] x[k] for k in [begin, end) that take part, as a block of contract.h. Other k are left out,
    /// which differs from a product with zero in the sign of a zero at most.
    template <class Part>
    static Acc chain(std::int64_t begin, std::int64_t end, const Acc* w, const Part* part, const T* x,
                     std::int64_t x_step) {
        Acc s = 0;
        const auto step = [&](std::int64_t k) {
            if (part[k]) s = fma(w[k], widened(x[k * x_step]), s);
        };
        if constexpr (std::is_same_v<T, bfloat16>) {
            for (std::int64_t k = begin / 2 * 2; k < end; k += 2) {
                if (k + 1 < end) step(k + 1);
                if (k >= begin) step(k);
            }
        } else {
            for (std::int64_t k = begin; k < end; ++k) step(k);
        }
        return s;
    }

    const Attention& a_;
    const Acc scale_, scale2_;
};

/// Calls f.operator()<T>() for the dtype of q.
template <class F>
void with_type(const Attention& a, F f) {
    if (a.q.dtype == DType::float64) return f.template operator()<double>();
    if (a.q.dtype == DType::bfloat16) return f.template operator()<bfloat16>();
    f.template operator()<float>();
}

/// Throws ValueError for a length outside [0, keys].
void check_lengths(const Attention& a);

}  // namespace tenon::product::attention
