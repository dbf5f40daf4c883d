// Searching, sorting and indexing by integer tensors. All are made of gather, which picks along the first axis, by
// moving axes and computing positions.
#include "ops/ops.h"
#include "primitive/indexing.h"

namespace tenon {
namespace {

Tensor arg_extreme(const char* op, Tensor (*along)(const Tensor&, int), const Tensor& x, std::optional<int> axis,
                   bool keepdims) {
    check_defined(op, x);
    const Tensor found = axis ? along(x, normalized(*axis, x.shape(), op)) : along(reshape(x, {-1}), 0);
    if (!keepdims) return found;
    Shape s = axis ? x.shape() : Shape(x.rank(), 1);
    if (axis) s[normalized(*axis, x.shape(), op)] = 1;
    return reshape(found, s);
}

void check_integers(const char* op, const Tensor& indices) {
    if (!is_integer(indices.dtype()))
        throw TypeError(
            text(op, ": indices of ", to_string(indices.shape()), " are ", name(indices.dtype()), ", not integers"));
}

}  // namespace

Tensor checked_positions(const char* op, const Tensor& indices, std::int64_t n, const void* site) {
    check_integers(op, indices);
    // A gather from n zeros (one zero, broadcast) refuses indices that are out of bounds.
    const Tensor zeros = gather_for(op, broadcast_to(Tensor(std::int64_t{0}), {n}), indices, site);
    const Tensor at = astype(indices, DType::int64);
    return select(less(at, Tensor(std::int64_t{0})), at + Tensor(n), at) + zeros;
}

Tensor argmax(const Tensor& x, std::optional<int> axis, bool keepdims) {
    return arg_extreme("argmax", argmax_along, x, axis, keepdims);
}

Tensor argmin(const Tensor& x, std::optional<int> axis, bool keepdims) {
    return arg_extreme("argmin", argmin_along, x, axis, keepdims);
}

std::vector<Tensor> nonzero(const Tensor& x) {
    check_defined("nonzero", x);
    if (x.rank() == 0) throw ShapeError("nonzero of (): a scalar has no positions; see expand_dims");
    const std::vector<std::uint8_t> set = astype(x, DType::boolean).to<std::uint8_t>();
    std::vector<std::vector<std::int64_t>> found(static_cast<std::size_t>(x.rank()));
    for (std::size_t i = 0; i < set.size(); ++i) {
        if (!set[i]) continue;
        auto rest = static_cast<std::int64_t>(i);
        for (int axis = x.rank() - 1; axis >= 0; --axis) {
            found[static_cast<std::size_t>(axis)].push_back(rest % x.shape()[axis]);
            rest /= x.shape()[axis];
        }
    }
    std::vector<Tensor> result;
    for (const auto& f : found)
        result.push_back(to_device(Tensor::from(f, {static_cast<std::int64_t>(f.size())}), x.device()));
    return result;
}

Tensor argsort(const Tensor& x, int axis, bool descending) {
    check_defined("argsort", x);
    const int a = normalized(axis, x.shape(), "argsort"), last = x.rank() - 1;
    return with_axis_moved(argsort_last(with_axis_moved(x, a, last), descending), last, a);
}

Tensor sort(const Tensor& x, int axis, bool descending) {
    check_defined("sort", x);
    const int a = normalized(axis, x.shape(), "sort");
    return take_along_axis(x, argsort(x, a, descending), a);
}

std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis, bool largest) {
    check_defined("topk", x);
    const int a = normalized(axis, x.shape(), "topk");
    if (k < 0 || k > x.shape()[a])
        throw ShapeError(
            text("topk of ", to_string(x.shape()), ": k = ", k, " is not within 0 and the extent of axis ", axis));
    Extents stop = x.shape();
    stop[a] = k;
    const Tensor indices = slice(argsort(x, a, largest), Extents(x.rank(), 0), stop, Extents(x.rank(), 1));
    return {take_along_axis(x, indices, a), indices};
}

// Bisection for all values at once. The first `low` elements lie before the value; none from `high` on does.
Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
    check_operands("searchsorted", sorted, values);
    if (sorted.rank() != 1) throw ShapeError(text("searchsorted: ", to_string(sorted.shape()), " is not a vector"));
    const std::int64_t n = sorted.size();
    const DType t = promoted("searchsorted", sorted, values);
    const Tensor keys = astype(sorted, t), v = astype(values, t);
    Tensor low = zeros(values.shape(), DType::int64), high = full(values.shape(), n);
    for (std::int64_t width = n; width > 0; width /= 2) {
        const Tensor open = less(low, high);
        const Tensor middle = bitwise_right_shift(low + high, Tensor(1));
        // A search that has ended may be at n, where there is no element.
        const Tensor at = gather(keys, select(open, middle, Tensor(0)));
        Tensor below = right ? less_equal(at, v) : less(at, v);
        // NaN is sorted last: after every number, and equal to itself.
        if (is_floating(t)) below = below | (right ? isnan(v) : isnan(v) & logical_not(isnan(at)));
        const Tensor before = open & below;
        low = select(before, middle + 1, low);
        high = select(open & logical_not(before), middle, high);
    }
    return low;
}

Tensor take(const Tensor& x, const Tensor& indices, int axis) {
    check_operands("take", x, indices);
    const int a = normalized(axis, x.shape(), "take");
    check_integers("take", indices);
    const Tensor picked = gather_for("take", with_axis_moved(x, a, 0), indices, __builtin_return_address(0));
    // The axes of the indices, then those before the axis, then those after it: the first two change places.
    Axes order;
    const int k = indices.rank();
    for (int i = 0; i < a; ++i) order.push_back(k + i);
    for (int i = 0; i < k; ++i) order.push_back(i);
    for (int i = k + a; i < picked.rank(); ++i) order.push_back(i);
    return transpose(picked, order);
}

Tensor take_along_axis(const Tensor& x, const Tensor& indices, int axis) {
    check_operands("take_along_axis", x, indices);
    const int a = normalized(axis, x.shape(), "take_along_axis");
    const std::int64_t n = x.shape()[a];
    check_integers("take_along_axis", indices);
    if (indices.rank() != x.rank())
        throw ShapeError(text("take_along_axis of ", to_string(x.shape()), " and ", to_string(indices.shape()),
                              ": the ranks differ"));
    Shape from = x.shape(), to = indices.shape();
    from[a] = to[a] = 1;
    Shape common = broadcast_shapes(from, to, "take_along_axis");
    Shape source = common, target = common;
    source[a] = n;
    target[a] = indices.shape()[a];
    // Where the element lies among the elements of x, row-major.
    Tensor at = broadcast_to(checked_positions("take_along_axis", indices, n, __builtin_return_address(0)), target);
    std::int64_t stride = 1;
    for (int i = x.rank() - 1; i >= 0; --i) {
        if (i == a && stride != 1) at = at * Tensor(stride);
        stride *= source[i];
    }
    stride = 1;
    for (int i = x.rank() - 1; i >= 0; --i) {
        if (i != a && source[i] > 1) at = at + positions(source[i], i, x.rank()) * Tensor(stride);
        stride *= source[i];
    }
    return gather(reshape(broadcast_to(x, source), {-1}), at);
}

Tensor unique_values(const Tensor& x) {
    check_defined("unique_values", x);
    const Tensor sorted = sort(reshape(x, {-1}));
    const std::int64_t n = sorted.size();
    if (n < 2) return sorted;
    // The first of each run of equals.
    const Tensor differs = not_equal(slice(sorted, {1}, {n}, {1}), slice(sorted, {0}, {n - 1}, {1}));
    return gather(sorted, nonzero(concat({ones({1}, DType::boolean), differs}))[0]);
}

}  // namespace tenon
