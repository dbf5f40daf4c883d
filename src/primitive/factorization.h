// What the factorizations share. A node has one result, but most factorizations have several. So one node, which has no
// derivative, computes them all, those of one matrix after the other in one vector. The results are views of it, and
// each has its own derivative: a result that nobody differentiates costs nothing, and a derivative that does not exist
// harms only its own result.
#pragma once

#include <string_view>

#include "primitive/primitive.h"
#include "primitive/view_of.h"

namespace tenon {

/// Throws unless x is a batch of matrices of float32 or float64: ValueError, TypeError, ShapeError naming `op`.
void check_matrices(std::string_view op, const Tensor& x);
/// The same for square matrices.
void check_square(std::string_view op, const Tensor& x);
/// The batch that those of both matrices broadcast to. Throws ShapeError naming `op`, both shapes and the rule.
Shape check_batches(std::string_view op, const Tensor& a, const Tensor& b);

/// The cost of a factorization that takes `flops` for each element times the lesser extent. It reads and writes the
/// elements once.
Cost factorization_cost(const Node& n, double flops);

/// The batch axes of x, then `core`.
Shape with_batch_of(const Tensor& x, std::initializer_list<std::int64_t> core);

/// Where a result lies in the vector of all results, and its shape; columns = -1 for a vector.
struct Part {
    std::int64_t which, offset, rows, columns, flags = 0;
};

Tensor record_part(const Primitive& p, const Tensor& all, const Tensor& x, const Part& part);
inline std::int64_t which_part(const Node& n) { return n.attributes[0]; }
inline std::int64_t flags_of_part(const Node& n) { return n.attributes[4]; }

Signature infer_part(const Primitive&, std::span<const Tensor> in, const Attributes& a);
bool view_part(const Node& n, const Layout& in, Layout& out);

/// A factorization's results as a primitive: a view of the vector of all, with a derivative.
constexpr Primitive part(std::string_view name, std::string_view doc, Tensor (*tangent)(const TangentContext&),
                         std::vector<Sample> (*samples)()) {
    return {.name = name,
            .doc = doc,
            .role = Role::view,
            .infer = infer_part,
            .derivative = Derivative::rule,
            .tangent = tangent,
            .view = view_part,
            .reference = copy_view,
            .samples = samples};
}

/// (x + x^T) / 2.
Tensor symmetric_part(const Tensor& x);

/// 1 / x, and 0 where x is 0.
Tensor inverse_or_zero(const Tensor& x);

/// x x^T + shift I of square x: positive definite for samples.
Tensor definite(const Tensor& x, double shift);

}  // namespace tenon
