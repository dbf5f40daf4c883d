// Reductions with the Array API's axis, keepdims and dtypes.
#include <limits>

#include "ops/ops.h"
#include "primitive/reduction.h"

namespace tenon {
namespace {

// Ascending and checked.
Axes axes_of(const char* op, const Tensor& x, const ReductionAxes& axis) {
    check_defined(op, x);
    if (axis.axes()) return normalized(*axis.axes(), x.shape(), op);
    Axes all;
    for (int i = 0; i < x.rank(); ++i) all.push_back(i);
    return all;
}

Tensor with_ones(Tensor reduced, const Axes& axes, bool keepdims) {
    if (!keepdims || axes.empty()) return reduced;
    Shape s = reduced.shape();
    for (std::int64_t a : axes) s.insert(static_cast<int>(a), 1);
    return reshape_known(std::move(reduced), s);
}

void check_not_boolean(const char* op, const Tensor& x) {
    if (x.dtype() == DType::boolean)
        throw TypeError(
            text(op, " of ", to_string(x.shape()), " bool: numeric dtypes only; see count_nonzero, all and any"));
}

using Reducer = Tensor (*)(const Tensor&, const Axes&);

Tensor reduced(const char* op, Reducer reduce, const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    const Axes axes = axes_of(op, x, axis);
    check_not_boolean(op, x);
    return with_ones(reduce(x, axes), axes, keepdims);
}

Tensor accumulated(const char* op, Reducer reduce, const Tensor& x, const ReductionAxes& axis, bool keepdims,
                   std::optional<DType> dtype) {
    const Axes axes = axes_of(op, x, axis);
    check_not_boolean(op, x);
    return with_ones(reduce(astype(x, sum_dtype(x, dtype)), axes), axes, keepdims);
}

double extent_of(const Tensor& x, const Axes& axes) {
    double n = 1;
    for (std::int64_t a : axes) n *= static_cast<double>(x.shape()[static_cast<int>(a)]);
    return n;
}

Tensor mean_over(const Tensor& x, const Axes& axes, bool keepdims) {
    return with_ones(reduce_sum(x, axes), axes, keepdims) / constant(extent_of(x, axes), x.dtype());
}

Tensor variance_over(const Tensor& x, const Axes& axes, double correction, bool keepdims) {
    const double n = extent_of(x, axes) - correction;
    const Tensor centered = x - mean_over(x, axes, true);
    const Tensor squares = with_ones(reduce_sum(centered * centered, axes), axes, keepdims);
    return squares / constant(n > 0 ? n : std::numeric_limits<double>::quiet_NaN(), x.dtype());
}

using Scanner = Tensor (*)(const Tensor&, int);

Tensor scanned(const char* op, Scanner scan, double initial, const Tensor& x, std::optional<int> axis,
               std::optional<DType> dtype, bool include_initial) {
    check_defined(op, x);
    if (!axis && x.rank() != 1) throw ShapeError(text(op, " of ", to_string(x.shape()), ": which axis must be said"));
    check_not_boolean(op, x);
    const int a = normalized(axis.value_or(0), x.shape(), op);
    const Tensor sums = scan(astype(x, sum_dtype(x, dtype)), a);
    if (!include_initial) return sums;
    Extents low(x.rank(), 0);
    low[a] = 1;
    return pad(sums, low, Extents(x.rank(), 0), {}, initial);
}

}  // namespace

DType sum_dtype(const Tensor& x, std::optional<DType> dtype) {
    if (dtype) return *dtype;
    return is_signed_integer(x.dtype()) ? DType::int64 : is_unsigned_integer(x.dtype()) ? DType::uint64 : x.dtype();
}

Tensor sum(const Tensor& x, const ReductionAxes& axis, bool keepdims, std::optional<DType> dtype) {
    return accumulated("sum", reduce_sum, x, axis, keepdims, dtype);
}

Tensor prod(const Tensor& x, const ReductionAxes& axis, bool keepdims, std::optional<DType> dtype) {
    return accumulated("prod", reduce_prod, x, axis, keepdims, dtype);
}

Tensor max(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    return reduced("max", reduce_max, x, axis, keepdims);
}

Tensor min(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    return reduced("min", reduce_min, x, axis, keepdims);
}

Tensor mean(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    const Axes axes = axes_of("mean", x, axis);
    return widened("mean", x, [&](const Tensor& v) { return mean_over(v, axes, keepdims); });
}

Tensor var(const Tensor& x, const ReductionAxes& axis, double correction, bool keepdims) {
    const Axes axes = axes_of("var", x, axis);
    return widened("var", x, [&](const Tensor& v) { return variance_over(v, axes, correction, keepdims); });
}

Tensor std(const Tensor& x, const ReductionAxes& axis, double correction, bool keepdims) {
    const Axes axes = axes_of("std", x, axis);
    return widened("std", x, [&](const Tensor& v) {
        // sqrt has an infinite derivative at 0, so that of equal elements is taken as 0.
        const Tensor variance = variance_over(v, axes, correction, keepdims), none = equal(variance, 0);
        return select(none, Tensor(0.0), sqrt(select(none, Tensor(1.0), variance)));
    });
}

Tensor cumulative_sum(const Tensor& x, std::optional<int> axis, std::optional<DType> dtype, bool include_initial) {
    return scanned("cumulative_sum", cumulative_sum_along, 0, x, axis, dtype, include_initial);
}

Tensor cumulative_prod(const Tensor& x, std::optional<int> axis, std::optional<DType> dtype, bool include_initial) {
    return scanned("cumulative_prod", cumulative_prod_along, 1, x, axis, dtype, include_initial);
}

// As bytes of 0 and 1. Of nothing, min gives 255 and max 0.
Tensor all(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    const Axes axes = axes_of("all", x, axis);
    const Tensor bytes = astype(astype(x, DType::boolean), DType::uint8);
    return astype(with_ones(reduce_min(bytes, axes), axes, keepdims), DType::boolean);
}

Tensor any(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    const Axes axes = axes_of("any", x, axis);
    const Tensor bytes = astype(astype(x, DType::boolean), DType::uint8);
    return astype(with_ones(reduce_max(bytes, axes), axes, keepdims), DType::boolean);
}

Tensor count_nonzero(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    const Axes axes = axes_of("count_nonzero", x, axis);
    return with_ones(reduce_sum(astype(astype(x, DType::boolean), DType::int64), axes), axes, keepdims);
}

}  // namespace tenon
