// Norms of vectors and matrices, and the condition number.
#include <cmath>

#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/factorization.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/linalg.h"

namespace tenon::linalg {
namespace {

/// f(x) where x is not zero. Where it is, the value and the derivative are 0.
template <class F>
Tensor where_not_zero(const Tensor& x, const F& f) {
    const Tensor zero = equal(x, 0);
    return select(zero, constant(0, x.dtype()), f(select(zero, constant(1, x.dtype()), x)));
}

Tensor root_of_squares(const Tensor& x, const ReductionAxes& axes, bool keepdims) {
    return where_not_zero(sum(square(x), axes, keepdims), [](const Tensor& s) { return sqrt(s); });
}

Tensor with_axes_of_one(const Tensor& x) { return expand_dims(expand_dims(x, -1), -1); }

}  // namespace

Tensor vector_norm(const Tensor& x, const ReductionAxes& axis, bool keepdims, double ord) {
    check_defined("vector_norm", x);
    if (x.dtype() != DType::float32 && x.dtype() != DType::float64)
        throw TypeError(text("vector_norm of ", described(x), ": defined for float32 and float64"));
    if (std::isnan(ord))
        throw ValueError(text("vector_norm of ", described(x), ": ord is NaN, not a number or an infinity"));
    if (axis.axes()) normalized(*axis.axes(), x.shape(), "vector_norm");
    if (ord == 2) return root_of_squares(x, axis, keepdims);
    if (ord == 1) return sum(abs(x), axis, keepdims);
    if (std::isinf(ord)) {
        const Tensor chosen = ord > 0 ? max(abs(x), axis, keepdims) : min(abs(x), axis, keepdims);
        return ord > 0 && x.size() == 0 ? maximum(chosen, 0) : chosen;  // the largest of nothing is -infinity
    }
    if (ord == 0) return astype(count_nonzero(x, axis, keepdims), x.dtype());
    const Tensor total = sum(pow(abs(x), ord), axis, keepdims);
    if (ord < 0) return x.size() == 0 ? total : pow(total, 1 / ord);  // of infinities alone infinite, not 0
    return where_not_zero(total, [&](const Tensor& s) { return pow(s, 1 / ord); });
}

Tensor matrix_norm(const Tensor& x, bool keepdims, MatrixNorm ord) {
    check_matrices("matrix_norm", x);
    if (ord == MatrixNorm::fro) return root_of_squares(x, {-2, -1}, keepdims);
    if (ord != MatrixNorm::nuc && (x.extent(-1) == 0 || x.extent(-2) == 0))
        throw ShapeError(text("matrix_norm of ", described(x), ": nothing has no largest"));
    const auto of = [&]() -> Tensor {
        switch (ord) {
            case MatrixNorm::one:
                return max(sum(abs(x), -2), -1);
            case MatrixNorm::minus_one:
                return min(sum(abs(x), -2), -1);
            case MatrixNorm::inf:
                return max(sum(abs(x), -1), -1);
            case MatrixNorm::minus_inf:
                return min(sum(abs(x), -1), -1);
            case MatrixNorm::two:
                return max(svdvals(x), -1);
            case MatrixNorm::minus_two:
                return min(svdvals(x), -1);
            default:
                return sum(svdvals(x), -1);
        }
    };
    return keepdims ? with_axes_of_one(of()) : of();
}

Tensor cond(const Tensor& x, MatrixNorm ord) {
    check_matrices("cond", x);
    const double infinity = std::numeric_limits<double>::infinity();
    if (ord != MatrixNorm::two && ord != MatrixNorm::minus_two) {
        if (x.extent(-1) != x.extent(-2))
            throw ShapeError(text("cond of ", described(x), ": the matrix is not square"));
        if (ord != MatrixNorm::fro && ord != MatrixNorm::nuc && x.extent(-1) == 0)
            throw ShapeError(text("cond of ", described(x), ": nothing has no largest"));
        // The inverse of a singular matrix, and so its norm, may be NaN.
        const Tensor product = matrix_norm(x, false, ord) * matrix_norm(inv(x), false, ord);
        const Tensor singular = logical_and(isnan(product), logical_not(any(isnan(x), {-2, -1})));
        return select(singular, constant(infinity, x.dtype()), product);
    }
    if (x.extent(-1) == 0 || x.extent(-2) == 0)
        throw ShapeError(text("cond of ", described(x), ": nothing has no largest"));
    const Tensor s = svdvals(x), largest = max(s, -1), smallest = min(s, -1);
    const Tensor singular = equal(smallest, 0);
    const Tensor divisor = select(singular, constant(1, x.dtype()), smallest);
    if (ord == MatrixNorm::minus_two) return smallest / select(equal(largest, 0), constant(1, x.dtype()), largest);
    return select(singular, constant(infinity, x.dtype()), largest / divisor);
}

}  // namespace tenon::linalg
