// One line for each primitive: the operations that carry their own derivative and kernels; everything else is composed
// of them (tenon/functions.h). Elementwise operations broadcast by NumPy's rule and promote by the Array API's; a C++
// number takes the tensor's dtype. Shapes that do not fit throw ShapeError, dtypes TypeError, when recorded. float16
// and bfloat16 are computed in float32 and rounded after each operation.
#pragma once

#include "tenon/tensor.h"

namespace tenon {

// Elementwise.
TENON_API Tensor negative(const Tensor& x);  // The negated elements.
TENON_API Tensor abs(const Tensor& x);  // Absolute values; an integer type's lowest value stays.
TENON_API Tensor sign(const Tensor& x);  // -1, 0 or 1 by sign; NaN stays NaN.
TENON_API Tensor exp(const Tensor& x);  // e to the power of each element.
TENON_API Tensor expm1(const Tensor& x);  // exp(x) - 1 without cancellation near zero.
TENON_API Tensor log(const Tensor& x);  // Natural logarithm.
TENON_API Tensor log1p(const Tensor& x);  // log(1 + x) without cancellation near zero.
TENON_API Tensor sqrt(const Tensor& x);  // Square root, correctly rounded.
TENON_API Tensor rsqrt(const Tensor& x);  // 1 / sqrt(x).
TENON_API Tensor sin(const Tensor& x);  // Sine of radians.
TENON_API Tensor cos(const Tensor& x);  // Cosine of radians.
TENON_API Tensor atan(const Tensor& x);  // Inverse tangent, in radians.
TENON_API Tensor tanh(const Tensor& x);  // Hyperbolic tangent.
TENON_API Tensor erf(const Tensor& x);  // The error function.
TENON_API Tensor logistic(const Tensor& x);  // 1 / (1 + exp(-x)), the sigmoid.
TENON_API Tensor floor(const Tensor& x);  // The largest integral value not above x; integers stay.
TENON_API Tensor ceil(const Tensor& x);  // The smallest integral value not below x; integers stay.
TENON_API Tensor round(const Tensor& x);  // The nearest integral value, halves to even; integers stay.
TENON_API Tensor trunc(const Tensor& x);  // The integral part, towards zero; integers stay.
TENON_API Tensor isnan(const Tensor& x);  // True where x is NaN; never for integers.
TENON_API Tensor isfinite(const Tensor& x);  // True where x is neither infinite nor NaN, as integers are.
TENON_API Tensor bitwise_invert(const Tensor& x);  // Every bit flipped; logical not of booleans.
TENON_API Tensor add(const Tensor& a, const Tensor& b);  // The sum of two tensors.
TENON_API Tensor subtract(const Tensor& a, const Tensor& b);  // The difference of two tensors.
TENON_API Tensor multiply(const Tensor& a, const Tensor& b);  // The elementwise product of two tensors.
TENON_API Tensor divide(const Tensor& a, const Tensor& b);  // The elementwise quotient of two floating tensors.
TENON_API Tensor floor_divide(const Tensor& a, const Tensor& b);  // floor(a / b); an integer divided by zero gives 0.
TENON_API Tensor remainder(const Tensor& a, const Tensor& b);  // a - b * floor(a / b): the sign is the divisor's.
TENON_API Tensor pow(const Tensor& a, const Tensor& b);  // a to the power b.
TENON_API Tensor copysign(const Tensor& a, const Tensor& b);  // The magnitude of a with the sign of b.
TENON_API Tensor nextafter(const Tensor& a, const Tensor& b);  // The next representable number after a towards b.
TENON_API Tensor maximum(const Tensor& a, const Tensor& b);  // The larger of two elements; NaN if either is.
TENON_API Tensor minimum(const Tensor& a, const Tensor& b);  // The smaller of two elements; NaN if either is.
TENON_API Tensor bitwise_and(const Tensor& a, const Tensor& b);  // Bitwise (of booleans: logical) and.
TENON_API Tensor bitwise_or(const Tensor& a, const Tensor& b);  // Bitwise (of booleans: logical) or.
TENON_API Tensor bitwise_xor(const Tensor& a, const Tensor& b);  // Bitwise (of booleans: logical) exclusive or.
TENON_API Tensor bitwise_left_shift(const Tensor& a,
                                    const Tensor& b);  // a times 2 to the power b, modulo 2^bits; 0 from the width on.
TENON_API Tensor bitwise_right_shift(const Tensor& a, const Tensor& b);  // a shifted right by b, keeping the sign.
TENON_API Tensor equal(const Tensor& a, const Tensor& b);  // True where the elements are equal.
TENON_API Tensor not_equal(const Tensor& a, const Tensor& b);  // True where the elements differ.
TENON_API Tensor less(const Tensor& a, const Tensor& b);  // True where a < b.
TENON_API Tensor less_equal(const Tensor& a, const Tensor& b);  // True where a <= b.
TENON_API Tensor astype(const Tensor& x,
                        DType dtype);  // Another dtype; floating to integer truncates and saturates, NaN gives 0.
TENON_API Tensor select(const Tensor& condition, const Tensor& a,
                        const Tensor& b);  // a where the condition holds, else b.

// Views: no element moves where strides can say it.
TENON_API Tensor reshape(const Tensor& x, const Shape& shape);  // The same elements row-major; one extent may be -1.
TENON_API Tensor transpose(const Tensor& x, const Axes& axes);  // Axis i of the result is axis axes[i] of x.
TENON_API Tensor broadcast_to(const Tensor& x, const Shape& shape);  // Repeated along new and stretched axes.
TENON_API Tensor slice(const Tensor& x, const Extents& start, const Extents& stop,
                       const Extents& step);  // start, start + step, ... before stop.
TENON_API Tensor flip(const Tensor& x, const Axes& axes);  // Opposite order along the axes.
TENON_API Tensor pad(const Tensor& x, const Extents& low, const Extents& high, const Extents& interior = {},
                     double value = 0);  // `value` before, after and between the elements.
TENON_API Tensor concat(std::span<const Tensor> tensors, int axis = 0);  // One after another along an axis.

// Reductions over axes, which are removed, in the operand's dtype and the fixed order of the tape. The Array API's sum,
// max, cumulative_sum and so on (keepdims, all axes by default, wide integer sums) are in tenon/functions.h.
TENON_API Tensor reduce_sum(const Tensor& x,
                            const Axes& axes);  // Of nothing: 0. float16 and bfloat16 accumulate in float32.
TENON_API Tensor reduce_prod(const Tensor& x, const Axes& axes);  // Of nothing: 1.
TENON_API Tensor reduce_max(const Tensor& x, const Axes& axes);  // NaN if any is; of nothing: the dtype's lowest value.
TENON_API Tensor reduce_min(const Tensor& x,
                            const Axes& axes);  // NaN if any is; of nothing: the dtype's highest value.
TENON_API Tensor argmax_along(const Tensor& x, int axis);  // int64; the first of equals; NaN wins.
TENON_API Tensor argmin_along(const Tensor& x, int axis);  // int64; the first of equals; NaN wins.
TENON_API Tensor cumulative_sum_along(const Tensor& x, int axis);  // Inclusive; on a CPU in sequence.
TENON_API Tensor cumulative_prod_along(const Tensor& x, int axis);  // Inclusive; on a CPU in sequence.
TENON_API Tensor cumulative_max(const Tensor& x, int axis);  // Inclusive; NaN stays.
TENON_API Tensor cumulative_min(const Tensor& x, int axis);  // Inclusive; NaN stays.

/// The sum of products over the labels that both operands and not the output have; labels are small numbers, one for
/// each axis (below 32). A label in both operands and the output is a batch axis. 2 FLOPs a multiply-add; float32 and
/// float64 results are chains of fused multiply-adds in an order that depends on the summed extent alone.
TENON_API Tensor contract(const Tensor& a, std::span<const std::uint8_t> a_labels, const Tensor& b,
                          std::span<const std::uint8_t> b_labels, std::span<const std::uint8_t> out_labels);

// Indexing along the first axis; an index outside [0, n) is a ValueError at evaluation.
TENON_API Tensor gather(const Tensor& x,
                        const Tensor& indices);  // Shape: that of indices, then x's without its first axis.
TENON_API Tensor scatter(const Tensor& x, const Tensor& indices,
                         const Tensor& updates);  // Rows replaced; the last of several stays.
TENON_API Tensor scatter_add(const Tensor& x, const Tensor& indices,
                             const Tensor& updates);  // Rows increased, in the order of the indices.
TENON_API Tensor argsort_last(const Tensor& x, bool descending);  // int64; sorts the last axis; stable, NaN last.

// Leaves.
TENON_API Tensor iota(std::int64_t n, DType dtype);  // 0, 1, ..., n - 1.
TENON_API Tensor random_bits(const Tensor& key, const Shape& shape,
                             DType dtype);  // uint32 or uint64 words of a uint64 key.
TENON_API Tensor to_device(const Tensor& x, Device device);  // The elements in another device's memory.
TENON_API Tensor identity(const Tensor& x);  // x, as a node of its own.
TENON_API Tensor stop_gradient(const Tensor& x);  // x, a constant to every derivative.

namespace detail {
TENON_API Tensor add(Tensor&& a, Tensor&& b);
TENON_API Tensor subtract(Tensor&& a, Tensor&& b);
TENON_API Tensor multiply(Tensor&& a, Tensor&& b);
TENON_API Tensor divide(Tensor&& a, Tensor&& b);
}  // namespace detail

// The operators of C++. They take over temporaries, which are then not counted up and down.
inline Tensor operator-(const Tensor& x) { return negative(x); }
inline Tensor operator+(Tensor a, Tensor b) { return detail::add(std::move(a), std::move(b)); }
inline Tensor operator-(Tensor a, Tensor b) { return detail::subtract(std::move(a), std::move(b)); }
inline Tensor operator*(Tensor a, Tensor b) { return detail::multiply(std::move(a), std::move(b)); }
inline Tensor operator/(Tensor a, Tensor b) { return detail::divide(std::move(a), std::move(b)); }

}  // namespace tenon
