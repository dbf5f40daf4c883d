// Functions composed of the primitives (tenon/primitives.h), with the names and semantics of the Python Array API,
// version 2023.12: broadcasting, axes, keepdims, dtypes. Negative axes count from the end. Nothing is computed when a
// function is called, save where it says that it evaluates: its result's shape depends on values.
//
// Derivatives of any order follow from the primitives'. Functions of more than one rounding take float16 and bfloat16
// to float32 and round once, at the end. Shapes that do not fit throw ShapeError, dtypes TypeError, numbers outside
// their range ValueError, when recorded; the message names the function and the shapes. Where cost is not stated, it is
// that of a few passes over the operands.
#pragma once

#include <concepts>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/primitives.h"

namespace tenon {

namespace random {
class Key;
}

// Elementwise
// -----------

/// x.
TENON_API Tensor positive(const Tensor& x);
/// x * x.
TENON_API Tensor square(const Tensor& x);
/// 1 / x, of floating tensors.
TENON_API Tensor reciprocal(const Tensor& x);
/// 2 to the power x.
TENON_API Tensor exp2(const Tensor& x);
/// Logarithms to base 2 and 10.
TENON_API Tensor log2(const Tensor& x);
TENON_API Tensor log10(const Tensor& x);
/// log(exp(a) + exp(b)), without overflow.
TENON_API Tensor logaddexp(const Tensor& a, const Tensor& b);
/// Tangent of radians.
TENON_API Tensor tan(const Tensor& x);
/// Inverse sine and cosine, in radians; NaN outside [-1, 1].
TENON_API Tensor asin(const Tensor& x);
TENON_API Tensor acos(const Tensor& x);
/// The angle of the point (x, y), in radians from -pi to pi; zeros count with their signs, as in IEEE 754.
TENON_API Tensor atan2(const Tensor& y, const Tensor& x);
/// Hyperbolic sine and cosine; infinite where exp(|x|) is.
TENON_API Tensor sinh(const Tensor& x);
TENON_API Tensor cosh(const Tensor& x);
/// Inverses of the hyperbolic functions; NaN outside their domains.
TENON_API Tensor asinh(const Tensor& x);
TENON_API Tensor acosh(const Tensor& x);
TENON_API Tensor atanh(const Tensor& x);
/// sqrt(a * a + b * b) without overflow or underflow on the way; infinite where either is, even beside NaN.
TENON_API Tensor hypot(const Tensor& a, const Tensor& b);
/// True where x is infinite; never for integers.
TENON_API Tensor isinf(const Tensor& x);
/// True where the sign bit is set: also of -0 and of some NaNs. Integers: where negative.
TENON_API Tensor signbit(const Tensor& x);
/// x, limited to [`min`, `max`], each of which may be left out; NaN stays NaN. The result has x's dtype. Within the
/// bounds, ends included, the derivative is that of x.
TENON_API Tensor clip(const Tensor& x, const std::optional<Tensor>& min = {}, const std::optional<Tensor>& max = {});
/// Logic; of other dtypes than bool, what is not zero counts as true.
TENON_API Tensor logical_not(const Tensor& x);
TENON_API Tensor logical_and(const Tensor& a, const Tensor& b);
TENON_API Tensor logical_or(const Tensor& a, const Tensor& b);
TENON_API Tensor logical_xor(const Tensor& a, const Tensor& b);
/// True where a > b, and where a >= b.
TENON_API Tensor greater(const Tensor& a, const Tensor& b);
TENON_API Tensor greater_equal(const Tensor& a, const Tensor& b);
/// a where the condition holds, else b: the primitive `select` under its Array API name. A derivative never comes from
/// the branch not taken, unless that branch's own derivative is infinite or NaN: give such a branch a harmless operand.
TENON_API Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

// What the operators of C++ call.
inline Tensor operator~(const Tensor& x) { return bitwise_invert(x); }
inline Tensor operator&(const Tensor& a, const Tensor& b) { return bitwise_and(a, b); }
inline Tensor operator|(const Tensor& a, const Tensor& b) { return bitwise_or(a, b); }
inline Tensor operator^(const Tensor& a, const Tensor& b) { return bitwise_xor(a, b); }
inline Tensor operator%(const Tensor& a, const Tensor& b) { return remainder(a, b); }
inline Tensor operator<(const Tensor& a, const Tensor& b) { return less(a, b); }
inline Tensor operator<=(const Tensor& a, const Tensor& b) { return less_equal(a, b); }
inline Tensor operator>(const Tensor& a, const Tensor& b) { return greater(a, b); }
inline Tensor operator>=(const Tensor& a, const Tensor& b) { return greater_equal(a, b); }

namespace detail {
/// a becomes `result`, what `op` made of it.
TENON_API Tensor& assign(const char* op, Tensor& a, const Tensor& result);
}  // namespace detail

// In-place operators of the Array API: the left operand becomes the result, copies of it keep their values. Where that
// would change its shape or dtype they throw ShapeError or TypeError and leave it as it was; a tensor made of a C++
// number may become anything, as a number in Python does.
inline Tensor& operator+=(Tensor& a, const Tensor& b) { return detail::assign("+=", a, add(a, b)); }
inline Tensor& operator-=(Tensor& a, const Tensor& b) { return detail::assign("-=", a, subtract(a, b)); }
inline Tensor& operator*=(Tensor& a, const Tensor& b) { return detail::assign("*=", a, multiply(a, b)); }
inline Tensor& operator/=(Tensor& a, const Tensor& b) { return detail::assign("/=", a, divide(a, b)); }
inline Tensor& operator%=(Tensor& a, const Tensor& b) { return detail::assign("%=", a, remainder(a, b)); }
inline Tensor& operator&=(Tensor& a, const Tensor& b) { return detail::assign("&=", a, bitwise_and(a, b)); }
inline Tensor& operator|=(Tensor& a, const Tensor& b) { return detail::assign("|=", a, bitwise_or(a, b)); }
inline Tensor& operator^=(Tensor& a, const Tensor& b) { return detail::assign("^=", a, bitwise_xor(a, b)); }

// Creation
// --------

/// Zeros and ones: one number broadcast, whatever the shape costs.
TENON_API Tensor zeros(const Shape& shape, DType dtype = DType::float32);
TENON_API Tensor ones(const Shape& shape, DType dtype = DType::float32);
/// `value` everywhere, in memory of one element; by default in the number's own dtype. The value is an input of the
/// graph.
TENON_API Tensor full(const Shape& shape, Scalar value, std::optional<DType> dtype = {});
/// The same of x's shape and, by default, dtype.
TENON_API Tensor zeros_like(const Tensor& x, std::optional<DType> dtype = {});
TENON_API Tensor ones_like(const Tensor& x, std::optional<DType> dtype = {});
TENON_API Tensor full_like(const Tensor& x, Scalar value, std::optional<DType> dtype = {});
/// start, start + step, ... before stop: ceil((stop - start) / step) elements, computed in int64 or float64. By default
/// int64 where all numbers are integers, else float32. Throws ValueError for a step of 0 and numbers that are not
/// finite.
TENON_API Tensor arange(Scalar start, Scalar stop, Scalar step = 1, std::optional<DType> dtype = {});
/// 0, 1, ... before stop.
TENON_API Tensor arange(Scalar stop);
/// `num` numbers from start to stop, evenly spaced; the last is stop itself, unless `endpoint` is false: then stop
/// would be the next. Computed in float64.
TENON_API Tensor linspace(double start, double stop, std::int64_t num, DType dtype = DType::float32,
                          bool endpoint = true);
/// Ones on the k-th diagonal (above the main one for k > 0), zeros elsewhere; square where `columns` is not given.
TENON_API Tensor eye(std::int64_t rows, std::optional<std::int64_t> columns = {}, std::int64_t k = 0,
                     DType dtype = DType::float32);
/// The matrices of the last two axes with zeros above (tril) or below (triu) the k-th diagonal.
TENON_API Tensor tril(const Tensor& x, std::int64_t k = 0);
TENON_API Tensor triu(const Tensor& x, std::int64_t k = 0);
/// Coordinate grids of vectors, broadcast without memory. "xy" (the first two axes exchanged) or "ij". Throws
/// ValueError for another indexing.
TENON_API std::vector<Tensor> meshgrid(const std::vector<Tensor>& vectors, std::string_view indexing = "xy");

// Statistics
// ----------

/// The axes that a reduction is over: all (std::nullopt, the default), one (`-1`) or a list (`{0, 1}`; `{}` is none).
class ReductionAxes {
  public:
    ReductionAxes(std::nullopt_t) {}  // NOLINT: converts by design
    ReductionAxes(std::int64_t axis) : axes_(Axes{axis}) {}  // NOLINT
    ReductionAxes(std::initializer_list<std::int64_t> axes) : axes_(Axes(axes)) {}  // NOLINT
    ReductionAxes(const Axes& axes) : axes_(axes) {}  // NOLINT

    const std::optional<Axes>& axes() const { return axes_; }

  private:
    std::optional<Axes> axes_;
};

/// Sum and product. Integers narrower than 64 bits are summed as int64 or uint64, unless a dtype is given; floating
/// tensors keep theirs (float16 and bfloat16 accumulate in float32). Of nothing: 0 and 1. Not of bool.
TENON_API Tensor sum(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false,
                     std::optional<DType> dtype = {});
TENON_API Tensor prod(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false,
                      std::optional<DType> dtype = {});
/// The largest and smallest element; NaN if any is. Of nothing: the dtype's lowest and highest value. The derivative of
/// equals is shared evenly.
TENON_API Tensor max(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
TENON_API Tensor min(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
/// Arithmetic mean of a floating tensor; of nothing: NaN.
TENON_API Tensor mean(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
/// Variance and standard deviation of a floating tensor about its mean, in two passes: the sum of squares is divided by
/// n - correction, where n is the number of elements; NaN unless that is positive. The derivative of the deviation of
/// equal elements is taken as 0. After `using namespace tenon`, write tenon::std: the name is also that of namespace
/// std.
TENON_API Tensor var(const Tensor& x, const ReductionAxes& axis = std::nullopt, double correction = 0,
                     bool keepdims = false);
TENON_API Tensor std(const Tensor& x, const ReductionAxes& axis = std::nullopt, double correction = 0,
                     bool keepdims = false);
/// Running sums and products along an axis, which a tensor of one axis need not name; dtypes as for sum.
/// include_initial puts a 0 (or 1) before the first.
TENON_API Tensor cumulative_sum(const Tensor& x, std::optional<int> axis = {}, std::optional<DType> dtype = {},
                                bool include_initial = false);
TENON_API Tensor cumulative_prod(const Tensor& x, std::optional<int> axis = {}, std::optional<DType> dtype = {},
                                 bool include_initial = false);
/// True where all, or any, elements are not zero. Of nothing: true and false.
TENON_API Tensor all(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
TENON_API Tensor any(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
/// How many elements are not zero, as int64.
TENON_API Tensor count_nonzero(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);

// Searching, sorting, indexing
// ----------------------------
// An index outside [0, n) is a ValueError at evaluation.

/// The position (int64) of the largest or smallest element along an axis, or in row-major order of all; the first of
/// equals, NaN before all. Throws ShapeError for an empty axis.
TENON_API Tensor argmax(const Tensor& x, std::optional<int> axis = {}, bool keepdims = false);
TENON_API Tensor argmin(const Tensor& x, std::optional<int> axis = {}, bool keepdims = false);
/// The positions of elements that are not zero: int64, one tensor for each axis, in row-major order. Evaluates x.
/// Throws ShapeError for a scalar.
TENON_API std::vector<Tensor> nonzero(const Tensor& x);
/// The elements in order along an axis, always stable; NaN comes last, also in descending order. O(n log n).
TENON_API Tensor sort(const Tensor& x, int axis = -1, bool descending = false);
/// The positions (int64) that sort the axis.
TENON_API Tensor argsort(const Tensor& x, int axis = -1, bool descending = false);
/// The k largest (or smallest) elements along an axis, in order, and their positions (int64); NaN counts as the last.
/// Throws ShapeError unless 0 <= k <= n.
TENON_API std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis = -1, bool largest = true);
/// For each value, its position in a sorted vector: before its equals (`right` false) or after them. int64. NaN counts
/// as the largest number, as in sort. O(log n) passes over the values.
TENON_API Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right = false);
/// Elements of an axis picked by integer indices of any shape, which takes the place of the axis.
TENON_API Tensor take(const Tensor& x, const Tensor& indices, int axis = 0);
/// out[.., i, ..] = x[.., indices[.., i, ..], ..]: the other axes broadcast.
TENON_API Tensor take_along_axis(const Tensor& x, const Tensor& indices, int axis = -1);
/// The distinct elements, ascending; NaNs are distinct. Evaluates x.
TENON_API Tensor unique_values(const Tensor& x);

// Manipulation
// ------------

/// The primitive `transpose` under its Array API name.
TENON_API Tensor permute_dims(const Tensor& x, const Axes& axes);
/// The last two axes exchanged.
TENON_API Tensor matrix_transpose(const Tensor& x);
/// Axis source[i] becomes axis destination[i]; the others keep their order.
TENON_API Tensor moveaxis(const Tensor& x, const Axes& source, const Axes& destination);
/// A new axis of extent 1 at position `axis` of the result.
TENON_API Tensor expand_dims(const Tensor& x, int axis = 0);
/// Without the named axes, each of extent 1.
TENON_API Tensor squeeze(const Tensor& x, const Axes& axes);
/// Rank 1, row-major.
TENON_API Tensor flatten(const Tensor& x);
/// Opposite order along every axis.
TENON_API Tensor flip(const Tensor& x);
/// Elements moved `shift` places forward along an axis, the last ones coming first; of all in row-major order without
/// an axis.
TENON_API Tensor roll(const Tensor& x, std::int64_t shift);
TENON_API Tensor roll(const Tensor& x, const Extents& shifts, const Axes& axes);
/// Tensors of one shape along a new axis.
TENON_API Tensor stack(std::span<const Tensor> tensors, int axis = 0);
inline Tensor stack(std::initializer_list<Tensor> tensors, int axis = 0) {
    return stack(std::span<const Tensor>(tensors.begin(), tensors.size()), axis);
}
inline Tensor concat(std::initializer_list<Tensor> tensors, int axis = 0) {
    return concat(std::span<const Tensor>(tensors.begin(), tensors.size()), axis);
}
/// All elements in one vector (axis=None of the Array API).
TENON_API Tensor concat(std::span<const Tensor> tensors, std::nullopt_t);
/// Equal pieces along an axis, whose extent must be a multiple of their number; or pieces that begin at 0 and at each
/// of `starts`, in ascending order.
TENON_API std::vector<Tensor> split(const Tensor& x, std::int64_t pieces, int axis = 0);
TENON_API std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& starts, int axis = 0);
/// The elements of an axis, each without it.
TENON_API std::vector<Tensor> unstack(const Tensor& x, int axis = 0);
/// Copies of the whole, side by side along each axis; counts for fewer axes than x has are for the last ones.
TENON_API Tensor tile(const Tensor& x, const Extents& counts);
/// Each element `count` times in a row along an axis, or of all in row-major order.
TENON_API Tensor repeat(const Tensor& x, std::int64_t count, std::optional<int> axis = {});
/// Each element as many times as its own count says: a vector of integers, one for each element of the axis, or a
/// single one. Evaluates the counts. Throws ValueError for a negative one.
TENON_API Tensor repeat(const Tensor& x, const Tensor& counts, std::optional<int> axis = {});
/// All broadcast to their common shape.
TENON_API std::vector<Tensor> broadcast_arrays(const std::vector<Tensor>& tensors);

// Products
// --------
// All are `contract` on views: a broadcast axis is never materialised. 2 FLOPs a multiply-add.

/// The matrix product of the last two axes, the others broadcast; a vector counts as a row on the left, a column on the
/// right, and its axis is removed. Throws ShapeError for scalars.
TENON_API Tensor matmul(const Tensor& a, const Tensor& b);
/// Summed over the last `axes` axes of a and the first of b; or over pairs of axes.
TENON_API Tensor tensordot(const Tensor& a, const Tensor& b, int axes = 2);
TENON_API Tensor tensordot(const Tensor& a, const Tensor& b, const Axes& a_axes, const Axes& b_axes);
/// Inner products along an axis, a negative one: it counts from the end of both; the other axes broadcast.
TENON_API Tensor vecdot(const Tensor& a, const Tensor& b, int axis = -1);
/// a[i] * b[j] of two vectors.
TENON_API Tensor outer(const Tensor& a, const Tensor& b);
/// The k-th diagonals of the last two axes, as the last axis; a view.
TENON_API Tensor diagonal(const Tensor& x, std::int64_t k = 0);
/// The sum of the k-th diagonal; dtypes as for sum.
TENON_API Tensor trace(const Tensor& x, std::int64_t k = 0, std::optional<DType> dtype = {});

/// NumPy's einsum: "ij,jk->ik", an output in alphabetical order of the labels that stand once where no "->" is given,
/// "..." for axes that broadcast, a label twice in one operand for its diagonal. An axis of extent 1 broadcasts against
/// its label. Labels of one operand alone are summed first. The order of the pairwise products is fixed when recorded,
/// from shapes alone, to least FLOPs (then least intermediate elements): the best of all orders for up to 6 operands,
/// else the cheapest pair first. The operands are promoted to one dtype, which the result has. Throws ValueError for a
/// specification that does not parse, ShapeError where it does not fit the shapes.
TENON_API Tensor einsum(std::string_view specification, std::span<const Tensor> operands);
template <std::convertible_to<Tensor>... T>
Tensor einsum(std::string_view specification, const T&... operands) {
    const Tensor all[] = {operands...};
    return einsum(specification, std::span<const Tensor>(all));
}
/// The order that einsum takes, for reading: one line a product, with its FLOPs.
TENON_API std::string einsum_path(std::string_view specification, std::span<const Tensor> operands);

// Networks
// --------

/// 1 / (1 + exp(-x)): the primitive `logistic`.
TENON_API Tensor sigmoid(const Tensor& x);
/// x where positive, else 0; NaN stays. The derivative at 0 is 0.
TENON_API Tensor relu(const Tensor& x);
/// x where not negative, else slope * x.
TENON_API Tensor leaky_relu(const Tensor& x, Scalar slope = 0.01);
/// x where positive, else alpha * (exp(x) - 1) (Clevert et al., 2016).
TENON_API Tensor elu(const Tensor& x, Scalar alpha = 1.0);
/// x times the normal distribution's probability below x: x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel, 2016).
/// As its formula: below -5.5 in float32 (-8.3 in float64) 1 + erf is 0, where the value is -1e-7 and smaller. gelu,
/// gelu_tanh and silu are NaN at -infinity, and their derivatives at both infinities, as products of 0 and infinity.
TENON_API Tensor gelu(const Tensor& x);
/// The same paper's approximation x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
TENON_API Tensor gelu_tanh(const Tensor& x);
/// x * sigmoid(x) (Elfwing et al., 2018).
TENON_API Tensor silu(const Tensor& x);
/// log(1 + exp(x)), without overflow.
TENON_API Tensor softplus(const Tensor& x);
/// exp(x) over its sum along an axis, and its logarithm; no finite x overflows. NaN where all are -inf.
TENON_API Tensor softmax(const Tensor& x, int axis = -1);
TENON_API Tensor log_softmax(const Tensor& x, int axis = -1);
/// log(sum(exp(x))), without overflow; -inf, with a derivative of 0, where all are -inf, and of nothing.
TENON_API Tensor logsumexp(const Tensor& x, const ReductionAxes& axis = std::nullopt, bool keepdims = false);
/// (x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba et al., 2016); weight and bias broadcast.
/// x's dtype. The squares of large elements overflow (beyond 1e19 in float32), and the result is 0 then.
TENON_API Tensor layer_norm(const Tensor& x, const std::optional<Tensor>& weight = {},
                            const std::optional<Tensor>& bias = {}, Scalar eps = 1e-5);
/// x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich, 2019). x's dtype. The squares of large
/// elements overflow, as in layer_norm.
TENON_API Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight = {}, Scalar eps = 1e-5);
/// A new last axis of `classes` elements: 1 where the integer label says, else 0; all 0 for a label outside [0,
/// classes).
TENON_API Tensor one_hot(const Tensor& labels, std::int64_t classes, DType dtype = DType::float32);
/// The mean of -log softmax(logits)[label] over all rows; logits (..., classes), integer labels (...). With label
/// smoothing e in [0, 1] the target is 1 - e on the label plus e / classes on every class (Szegedy et al., 2016). A
/// label outside [0, classes) is a ValueError at evaluation.
TENON_API Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing = 0);
/// The mean of (prediction - target)^2 over all elements.
TENON_API Tensor mse(const Tensor& prediction, const Tensor& target);
/// x with each element set to 0 with probability `rate` in [0, 1], the others divided by 1 - rate (Srivastava et al.,
/// 2014). The elements that stay depend on key and shape alone.
TENON_API Tensor dropout(const Tensor& x, double rate, const random::Key& key);

}  // namespace tenon
