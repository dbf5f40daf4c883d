#include "cuda/attention/graphs.h"

#include <limits>
#include <utility>

namespace tenon::cuda::cudnn {
namespace {

Extents4 transposed(Extents4 e) {
    std::swap(e[2], e[3]);
    return e;
}

/// The operations that cuDNN's graphs for the forward pass and for the gradients share.
class Builder {
  public:
    explicit Builder(const AttentionForm& form)
        : f(form),
          weights{f.batch, f.heads, f.queries, f.keys},
          row{f.batch, f.heads, f.queries, 1},
          row_strides{f.heads * f.queries, f.queries, 1, 1} {
        if (f.has_lengths) {
            query_lengths = g.memory(kQueryLengths, Type::int32, {f.batch, 1, 1, 1}, {1, 1, 1, 1});
            key_lengths = g.memory(kKeyLengths, Type::int32, {f.batch, 1, 1, 1}, {1, 1, 1, 1});
        }
        q = g.memory(kQuery, f.type, {f.batch, f.heads, f.queries, f.depth}, f.query);
        k = g.memory(kKey, f.type, {f.batch, f.kv_heads, f.depth, f.keys}, transposed(f.key));
        scale = g.number(f.scale);
    }

    const Tensor* queries() const { return f.has_lengths ? &query_lengths : nullptr; }
    const Tensor* keys() const { return f.has_lengths ? &key_lengths : nullptr; }

    Tensor index(int axis) {
        const Tensor y = g.between(Type::int32, weights);
        g.pointwise(Pointwise::index, indexed_, nullptr, nullptr, y, Type::float32, axis);
        return y;
    }
    Tensor compared(Pointwise mode, const Tensor& a, const Tensor& b) {
        const Tensor y = g.between(Type::boolean, weights);
        g.pointwise(mode, a, &b, nullptr, y, Type::boolean);
        return y;
    }
    /// x where a condition holds, else -infinity.
    Tensor where(const Tensor& condition, const Tensor& x) {
        const Tensor none = g.number(-std::numeric_limits<float>::infinity()), y = g.between(Type::float32, weights);
        g.pointwise(Pointwise::select, x, &none, &condition, y);
        return y;
    }

    /// scale q k^T + bias, with -infinity beyond the lengths.
    Tensor logits() {
        Tensor s = g.between(Type::float32, weights);
        g.product(q, k, s, {.rows = queries(), .columns = keys(), .pads = f.has_lengths && pads_});
        s = g.pointwise(Pointwise::multiply, s, scale);
        if (f.has_bias) {
            const Tensor bias = g.memory(kBias, Type::float32, f.bias_extents, f.bias);
            s = g.pointwise(Pointwise::add, s, bias);
        }
        if (!f.has_lengths) return s;
        indexed_ = s;
        const Tensor i = index(2), j = index(3);
        const Tensor in_rows = compared(Pointwise::less, i, query_lengths),
                     in_columns = compared(Pointwise::less, j, key_lengths);
        return where(compared(Pointwise::logical_and, in_rows, in_columns), s);
    }
    /// The scores with -infinity where causality and the window leave elements out.
    Tensor in_window(Tensor s) {
        if (f.right != kUnbounded) {
            indexed_ = s;
            Tensor i = index(2);
            const Tensor j = index(3);
            if (f.right != 0) {
                const Tensor by = g.number(static_cast<std::int32_t>(f.right)),
                             shifted = g.between(Type::int32, weights);
                g.pointwise(Pointwise::add, i, &by, nullptr, shifted, Type::int32);
                i = shifted;
            }
            s = where(compared(Pointwise::greater_equal, i, j), s);
        }
        if (f.left != kUnbounded) {
            indexed_ = s;
            const Tensor i = index(2), j = index(3), by = g.number(static_cast<float>(f.left + 1)),
                         shifted = g.between(Type::float32, weights);
            g.pointwise(Pointwise::add, j, &by, nullptr, shifted, Type::float32);
            s = where(compared(Pointwise::greater, shifted, i), s);
        }
        return s;
    }

    std::unique_ptr<Plan> attention(Gpu& gpu) {
        pads_ = true;
        const Tensor v = g.memory(kValue, f.type, {f.batch, f.kv_heads, f.keys, f.value_depth}, f.value);
        const Tensor s = in_window(logits());
        const Tensor largest = g.between(Type::float32, row, row_strides), sum = of_rows(), logarithm = of_rows();
        const Tensor statistics = g.memory(kStatistics, Type::float32, row, row_strides);
        g.reduce(Reduce::max, s, largest);
        const Tensor e = g.pointwise(Pointwise::exp, g.pointwise(Pointwise::subtract, s, largest));
        g.reduce(Reduce::sum, e, sum);
        g.pointwise(Pointwise::log, sum, nullptr, nullptr, logarithm);
        g.pointwise(Pointwise::add, largest, &logarithm, nullptr, statistics);
        const Tensor p = g.between(f.type, weights);
        g.pointwise(Pointwise::divide, e, &sum, nullptr, p);
        const Tensor o = g.memory(kOutput, f.type, {f.batch, f.heads, f.queries, f.value_depth}, f.output);
        g.product(p, v, o, {.rows = queries(), .summed = keys()});
        return g.plan(gpu);
    }

    std::unique_ptr<Plan> gradient(Gpu& gpu) {
        const Tensor v = g.memory(kValue, f.type, {f.batch, f.kv_heads, f.value_depth, f.keys}, transposed(f.value));
        const Extents4 output{f.batch, f.heads, f.queries, f.value_depth};
        const Tensor o = g.memory(kOutput, f.type, output, f.output),
                     ct = g.memory(kCotangent, f.type, output, f.cotangent),
                     statistics = g.memory(kStatistics, Type::float32, row, row_strides), one = g.number(1.0f),
                     products = g.memory(kProducts, Type::float32, row, row_strides);
        // The sum over each row of ct times out.
        const Tensor both = g.pointwise(Pointwise::multiply, ct, o), total = of_rows();
        g.reduce(Reduce::sum, both, total);
        g.pointwise(Pointwise::multiply, total, &one, nullptr, products);
        // The weights, and dv.
        const Tensor s = in_window(g.pointwise(Pointwise::subtract, logits(), statistics));
        const Tensor p = g.pointwise(Pointwise::exp, s);
        by_keys(p, ct, kValueGradient, f.value_depth, f.value_gradient);
        // ds, and dk.
        const Tensor dp = g.between(Type::float32, weights);
        g.product(ct, v, dp, {.rows = queries(), .columns = keys()});
        const Tensor ds =
            g.pointwise(Pointwise::multiply,
                        g.pointwise(Pointwise::multiply, g.pointwise(Pointwise::subtract, dp, products), p), scale);
        by_keys(ds, q, kKeyGradient, f.depth, f.key_gradient);
        // dq.
        const Tensor straight = g.between(f.type, {f.batch, f.kv_heads, f.keys, f.depth}, f.key);
        g.reshape(k, straight);
        const Extents4 extents{f.batch, f.heads, f.queries, f.depth};
        const Tensor dq = g.memory(kQueryGradient, f.type, extents, f.query_gradient);
        const Lengths lengths{.rows = queries(), .summed = keys()};
        if (f.sums_anywhere) {
            const Tensor sums = g.memory(kSums, Type::float32, extents,
                                         {f.heads * f.queries * f.depth, f.queries * f.depth, f.depth, 1});
            g.product(ds, straight, sums, lengths);
            g.pointwise(Pointwise::identity, sums, nullptr, nullptr, dq);
        } else {
            g.product(ds, straight, dq, lengths);
        }
        return g.plan(gpu);
    }

  private:
    Tensor of_rows() { return g.between(Type::float32, row, row_strides); }

    /// The gradient x^T y of the keys or values, summed over the heads that share them.
    void by_keys(const Tensor& x, const Tensor& y, Operand number, std::int64_t depth, const Extents4& strides) {
        const Tensor across =
            g.between(f.type, transposed(weights), {f.heads * f.queries * f.keys, f.queries * f.keys, 1, f.keys});
        g.reshape(x, across);
        const Tensor out = g.memory(number, f.type, {f.batch, f.kv_heads, f.keys, depth}, strides);
        const Lengths lengths{.rows = keys(), .summed = queries()};
        if (f.heads == f.kv_heads) return g.product(across, y, out, lengths);
        const Tensor of_all = g.between(f.type, {f.batch, f.heads, f.keys, depth});
        g.product(across, y, of_all, lengths);
        g.reduce(Reduce::sum, of_all, out);
    }

    const AttentionForm& f;
    const Extents4 weights, row, row_strides;
    Graph g;
    Tensor q, k, query_lengths, key_lengths, scale;
    Tensor indexed_;  // the tensor for whose elements cuDNN generates indices
    bool pads_ = false;
};

}  // namespace

std::unique_ptr<Plan> attention_plan(Gpu& gpu, const AttentionForm& form) { return Builder(form).attention(gpu); }
std::unique_ptr<Plan> gradient_plan(Gpu& gpu, const AttentionForm& form) { return Builder(form).gradient(gpu); }

}  // namespace tenon::cuda::cudnn
