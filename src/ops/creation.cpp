// Creation of tensors. Constants are scalars that are broadcast, and so take no memory.
#include <cmath>

#include "ops/ops.h"

namespace tenon {
namespace {

void check_dtype(const char* op, const Shape& shape, DType dtype) {
    checked_count(op, shape);
    if (dtype >= DType::complex64)
        throw TypeError(text(op, " of ", to_string(shape), " ", name(dtype), ": complex dtypes are reserved"));
}

Tensor constant_of(const char* op, double value, const Shape& shape, DType dtype) {
    check_dtype(op, shape, dtype);
    return broadcast_to(constant(value, dtype), shape);
}

// The number must fit the dtype, as it must beside a tensor: an integer dtype takes no fraction.
Tensor number_of(const char* op, Scalar value, const Shape& shape, DType dtype) {
    check_dtype(op, shape, dtype);
    check_fits(op, value, dtype);
    return broadcast_to(scalar(value, dtype), shape);
}

// True for the elements (i, j) of the matrices for which j - i compares so with k.
Tensor diagonal_mask(const char* op, const Tensor& x, std::int64_t k, Tensor (*compare)(const Tensor&, const Tensor&)) {
    if (x.rank() < 2) throw ShapeError(text(op, " of ", to_string(x.shape()), ": a matrix has two axes"));
    return compare(positions(x.extent(-1), 1, 2) - positions(x.extent(-2), 0, 2), Tensor(k));
}

}  // namespace

Tensor positions(std::int64_t n, int axis, int rank) {
    Shape s(rank, 1);
    s[axis] = n;
    return reshape(iota(n, DType::int64), s);
}

Tensor zeros(const Shape& shape, DType dtype) { return constant_of("zeros", 0, shape, dtype); }

Tensor ones(const Shape& shape, DType dtype) { return constant_of("ones", 1, shape, dtype); }

Tensor full(const Shape& shape, Scalar value, std::optional<DType> dtype) {
    return number_of("full", value, shape, dtype.value_or(value.dtype()));
}

Tensor zeros_like(const Tensor& x, std::optional<DType> dtype) {
    check_defined("zeros_like", x);
    return constant_of("zeros_like", 0, x.shape(), dtype.value_or(x.dtype()));
}

Tensor ones_like(const Tensor& x, std::optional<DType> dtype) {
    check_defined("ones_like", x);
    return constant_of("ones_like", 1, x.shape(), dtype.value_or(x.dtype()));
}

Tensor full_like(const Tensor& x, Scalar value, std::optional<DType> dtype) {
    check_defined("full_like", x);
    return number_of("full_like", value, x.shape(), dtype.value_or(x.dtype()));
}

Tensor arange(Scalar start, Scalar stop, Scalar step, std::optional<DType> dtype) {
    if (start.is_integer() && stop.is_integer() && step.is_integer()) {
        for (const Scalar& v : {start, stop, step}) check_fits("arange", v, DType::int64);
        const std::int64_t a = start.as_integer(), b = stop.as_integer(), s = step.as_integer();
        if (s == 0) throw ValueError("arange: a step of 0");
        const bool some = s > 0 ? a < b : b < a;
        // As unsigned numbers, so that no difference overflows.
        const auto span = s > 0 ? static_cast<std::uint64_t>(b) - static_cast<std::uint64_t>(a)
                                : static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b);
        const auto stride = s > 0 ? static_cast<std::uint64_t>(s) : 0 - static_cast<std::uint64_t>(s);
        const auto n = some ? static_cast<std::int64_t>((span - 1) / stride + 1) : 0;
        const Tensor values = iota(n, DType::int64) * scalar(step, DType::int64) + scalar(start, DType::int64);
        return astype(values, dtype.value_or(DType::int64));
    }
    const double a = start.as_double(), b = stop.as_double(), s = step.as_double();
    if (s == 0 || !std::isfinite(a) || !std::isfinite(b) || !std::isfinite(s))
        throw ValueError(text("arange: from ", a, " to ", b, " by ", s, ": finite numbers and a step that is not 0"));
    const double n = std::max(0.0, std::ceil((b - a) / s));
    if (!(n < 0x1p62)) throw ValueError(text("arange: from ", a, " to ", b, " by ", s, ": too many elements"));
    const Tensor values =
        iota(static_cast<std::int64_t>(n), DType::float64) * scalar(s, DType::float64) + scalar(a, DType::float64);
    return astype(values, dtype.value_or(DType::float32));
}

Tensor arange(Scalar stop) { return arange(stop.kind() == Scalar::Kind::floating ? Scalar(0.0) : Scalar(0), stop); }

Tensor linspace(double start, double stop, std::int64_t num, DType dtype, bool endpoint) {
    if (num < 0) throw ValueError(text("linspace: num = ", num, " is negative"));
    const auto steps =
        static_cast<double>(endpoint ? std::max<std::int64_t>(num - 1, 1) : std::max<std::int64_t>(num, 1));
    const Tensor t = iota(num, DType::float64) / constant(steps, DType::float64);
    // At t = 0 and t = 1 exactly start and stop.
    return astype((1 - t) * scalar(start, DType::float64) + t * scalar(stop, DType::float64), dtype);
}

Tensor eye(std::int64_t rows, std::optional<std::int64_t> columns, std::int64_t k, DType dtype) {
    const std::int64_t m = columns.value_or(rows);
    checked_count("eye", {rows, m});
    return astype(equal(positions(m, 1, 2) - positions(rows, 0, 2), Tensor(k)), dtype);
}

Tensor tril(const Tensor& x, std::int64_t k) {
    check_defined("tril", x);
    return select(diagonal_mask("tril", x, k, less_equal), x, constant(0, x.dtype()));
}

Tensor triu(const Tensor& x, std::int64_t k) {
    check_defined("triu", x);
    return select(diagonal_mask("triu", x, k, greater_equal), x, constant(0, x.dtype()));
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& vectors, std::string_view indexing) {
    if (indexing != "xy" && indexing != "ij")
        throw ValueError(text("meshgrid: indexing \"", indexing, "\" is neither \"xy\" nor \"ij\""));
    const int rank = static_cast<int>(vectors.size());
    for (const Tensor& v : vectors) check_defined("meshgrid", v);
    const bool exchanged = indexing == "xy" && rank > 1;
    const auto axis_of = [&](int i) { return exchanged && i < 2 ? 1 - i : i; };
    Shape shape(rank, 0);
    for (int i = 0; i < rank; ++i) {
        const Tensor& v = vectors[static_cast<std::size_t>(i)];
        if (v.rank() != 1) throw ShapeError(text("meshgrid: ", to_string(v.shape()), " is not a vector"));
        shape[axis_of(i)] = v.size();
    }
    std::vector<Tensor> grids;
    for (int i = 0; i < rank; ++i) {
        const Tensor& v = vectors[static_cast<std::size_t>(i)];
        Shape along(rank, 1);
        along[axis_of(i)] = v.size();
        grids.push_back(broadcast_to(reshape(v, along), shape));
    }
    return grids;
}

}  // namespace tenon
