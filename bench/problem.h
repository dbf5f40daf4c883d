// What is timed: one matrix product, or a batch of equal ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tenon/dtype.h"

namespace bench {

/// The types of the operands; C is float32, float32, int32 and float64. A product of bfloat16 gives float32, because
/// every library with such a product offers that.
enum class Type { f32, bf16, u8s8, f64 };
inline constexpr int kTypes = 4;

struct TypeTraits {
    const char* name;
    tenon::DType a, b, c;
};
const TypeTraits& traits(Type type);
/// Throws tenon::ValueError.
Type type_named(const std::string& name);

struct Shape {
    std::int64_t m = 0, n = 0, k = 0;
    std::int64_t batch = 1;
};
/// "512x768x3072" (m x n x k), "64x(128x128x64)" or "64@128x128x64". Throws tenon::ValueError.
Shape parse_shape(const std::string& text);

/// How the right operand is given.
struct Weights {
    /// Reordered once, outside the timing.
    bool packed = false;
    /// Stored as (n, k), as layers store weights; else as (k, n).
    bool transposed = false;
};
/// "plain", "packed", "plain-wt" or "packed-wt". Throws tenon::ValueError.
Weights parse_weights(const std::string& text);

/// A layer of two factors, as a linear map has them: x (rows, gamma, beta, alpha), A (phi, delta, rho, gamma, alpha), B
/// (phi, epsilon, rho, gamma, beta), y (rows, phi, epsilon, delta). Its weights are A, then B. With the backward pass
/// the cotangent of y follows x in memory, and the gradients of x, A and B follow y.
struct Structure {
    std::string name;
    bool backward = false;
    std::int64_t alpha = 1, beta = 1, gamma = 1, delta = 1, epsilon = 1, phi = 1, rho = 1;

    std::int64_t a_elements() const { return phi * delta * rho * gamma * alpha; }
    std::int64_t b_elements() const { return phi * epsilon * rho * gamma * beta; }
    /// Elements of a row of the intermediate between the factors.
    std::int64_t z_elements() const { return phi * delta * rho * gamma * beta; }
};
/// "monarch", "btt-r2" (or another rank), "kronecker", with sizes as near the square root as divide, or "low-rank-32"
/// (or another); then perhaps "-backward", forward and backward. Throws tenon::ValueError.
Structure structure_named(const std::string& name, std::int64_t out, std::int64_t in);

/// Attention of `batch` heads, m queries, n keys and depth k: A holds the queries, B the keys and then the values, each
/// (heads, length, depth).
struct AttentionKind {
    std::string name;
    bool causal = false, backward = false;
};
/// "attention", "causal", "backward" (with the forward) or "causal-backward". Throws tenon::ValueError.
AttentionKind attention_named(const std::string& name);

/// A linear layer as networks call it: y = act(x W + b) + r. W, b (n) and r (m, n) stand one after the other in B. In
/// u8s8 x and y are uint8 with scales and zero points, W has a scale for each column, and there is no r (linear.h).
struct LinearKind {
    std::string name;
    enum class Act : std::uint8_t { none, relu, gelu, gelu_tanh, silu } act;
};
/// "bias" (no activation), "relu", "gelu", "gelu-tanh" or "silu". Throws tenon::ValueError.
LinearKind linear_named(const std::string& name);

/// Strides of operands that are not dense, in elements: from one stored row to the next, and from one product of the
/// batch to the next.
struct Steps {
    std::int64_t lda, a, ldb, b, ldc, c;
};

/// C = A B with A (m, k), B (k, n) and C (m, n), all dense; with a structure, C = layer(A), m rows of k to n.
struct Problem {
    std::string suite;
    Type type = Type::f32;
    Shape shape;
    Weights weights;
    /// A is stored as (k, m), as for the gradient of weights.
    bool a_transposed = false;
    /// The problem's name says whether the weights are packed.
    bool names_weights = false;
    /// The same product is repeated on data in the first-level cache.
    bool repeated = false;
    std::optional<Structure> structure;
    std::optional<AttentionKind> attention;
    /// A routine of BLAS (blas.h), columns contiguous.
    std::optional<std::string> routine;
    /// A routine of LAPACK (lapack.h).
    std::optional<std::string> factorization;
    std::optional<LinearKind> linear;
    // Only for the parts of a composition.
    std::optional<Steps> steps;
    /// A bfloat16 product is rounded to bfloat16.
    bool narrow = false;

    /// "512x768x768 packed wt".
    std::string name() const;
    /// Floating-point operations; a multiply-add counts as two.
    double operations() const;
    bool backward() const { return structure && structure->backward; }
    std::int64_t a_elements() const { return shape.batch * shape.m * (shape.k + (backward() ? shape.n : 0)); }
    std::int64_t b_elements() const {
        if (attention) return 2 * shape.batch * shape.k * shape.n;
        if (linear && type != Type::u8s8) return (shape.k + 1 + shape.m) * shape.n;
        return structure ? structure->a_elements() + structure->b_elements() : shape.batch * shape.k * shape.n;
    }
    std::int64_t c_elements() const {
        if (backward()) return shape.m * (shape.n + shape.k) + b_elements();
        return shape.batch * shape.m * (attention ? shape.k : shape.n);
    }
    /// The outputs of attention and of linear layers have the operands' dtype.
    tenon::DType c_dtype() const { return attention || linear ? traits(type).a : traits(type).c; }
    /// Bytes of all three matrices, each once.
    std::int64_t bytes() const;
    /// Elements from one stored row to the next.
    std::int64_t lda() const { return steps ? steps->lda : a_transposed ? shape.m : shape.k; }
    std::int64_t ldb() const { return steps ? steps->ldb : weights.transposed ? shape.k : shape.n; }
    std::int64_t ldc() const { return steps ? steps->ldc : shape.n; }
    /// Elements from one product of the batch to the next.
    std::int64_t step_a() const { return steps ? steps->a : shape.m * shape.k; }
    std::int64_t step_b() const { return steps ? steps->b : shape.k * shape.n; }
    std::int64_t step_c() const { return steps ? steps->c : shape.m * shape.n; }
};

}  // namespace bench
