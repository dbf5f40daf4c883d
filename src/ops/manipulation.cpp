// Shapes: views of views, and concatenation.
#include <algorithm>

#include "ops/ops.h"

namespace tenon {
namespace {

Tensor piece(const Tensor& x, int axis, std::int64_t start, std::int64_t stop) {
    Extents from(x.rank(), 0), to = x.shape();
    from[axis] = start;
    to[axis] = stop;
    return slice(x, from, to, Extents(x.rank(), 1));
}

Tensor rolled(const Tensor& x, std::int64_t shift, int axis) {
    const std::int64_t n = x.shape()[axis];
    const std::int64_t k = n ? (shift % n + n) % n : 0;
    return k == 0 ? x : concat({piece(x, axis, n - k, n), piece(x, axis, 0, n - k)}, axis);
}

}  // namespace

Tensor with_axis_moved(const Tensor& x, int from, int to) {
    Axes order;
    for (int i = 0; i < x.rank(); ++i)
        if (i != from) order.push_back(i);
    order.insert(to, from);
    return transpose(x, order);
}

Tensor permute_dims(const Tensor& x, const Axes& axes) { return transpose(x, axes); }

Tensor matrix_transpose(const Tensor& x) {
    check_defined("matrix_transpose", x);
    if (x.rank() < 2) throw ShapeError(text("matrix_transpose of ", to_string(x.shape()), ": a matrix has two axes"));
    return with_axis_moved(x, x.rank() - 1, x.rank() - 2);
}

Tensor moveaxis(const Tensor& x, const Axes& source, const Axes& destination) {
    check_defined("moveaxis", x);
    const int rank = x.rank();
    if (source.rank() != destination.rank())
        throw ShapeError(text("moveaxis of ", to_string(x.shape()), ": ", to_string(source), " to ",
                              to_string(destination), ": one destination for each source"));
    normalized(source, x.shape(), "moveaxis");
    normalized(destination, x.shape(), "moveaxis");
    Axes order(rank, -1);
    std::uint32_t moved = 0;
    for (int i = 0; i < source.rank(); ++i) {
        const int from = normalized(source[i], x.shape(), "moveaxis");
        order[normalized(destination[i], x.shape(), "moveaxis")] = from;
        moved |= 1u << from;
    }
    int next = 0;
    for (std::int64_t& place : order) {
        if (place >= 0) continue;
        while (moved >> next & 1) ++next;
        place = next++;
    }
    return transpose(x, order);
}

Tensor expand_dims(const Tensor& x, int axis) {
    check_defined("expand_dims", x);
    Shape s = x.shape();
    s.insert(normalized_new(axis, x.shape(), "expand_dims"), 1);
    return reshape(x, s);
}

Tensor squeeze(const Tensor& x, const Axes& axes) {
    check_defined("squeeze", x);
    const Axes a = normalized(axes, x.shape(), "squeeze");
    Shape s = x.shape();
    for (int i = a.rank() - 1; i >= 0; --i) {
        const int axis = static_cast<int>(a[i]);
        if (s[axis] != 1)
            throw ShapeError(text("squeeze of ", to_string(x.shape()), ": axis ", axis, " has an extent other than 1"));
        s.erase(axis);
    }
    return reshape(x, s);
}

Tensor flatten(const Tensor& x) {
    check_defined("flatten", x);
    return reshape(x, {x.size()});
}

Tensor flip(const Tensor& x) {
    check_defined("flip", x);
    Axes all;
    for (int i = 0; i < x.rank(); ++i) all.push_back(i);
    return flip(x, all);
}

Tensor roll(const Tensor& x, std::int64_t shift) {
    check_defined("roll", x);
    return reshape(rolled(flatten(x), shift, 0), x.shape());
}

Tensor roll(const Tensor& x, const Extents& shifts, const Axes& axes) {
    check_defined("roll", x);
    if (shifts.rank() != axes.rank())
        throw ShapeError(text("roll of ", to_string(x.shape()), ": shifts ", to_string(shifts), " for axes ",
                              to_string(axes), "; one shift for each axis"));
    Tensor y = x;
    for (int i = 0; i < axes.rank(); ++i) y = rolled(y, shifts[i], normalized(axes[i], x.shape(), "roll"));
    return y;
}

Tensor stack(std::span<const Tensor> tensors, int axis) {
    if (tensors.empty()) throw ValueError("stack: no tensors");
    for (const Tensor& t : tensors) promoted("stack", tensors[0], t);
    const int a = normalized_new(axis, tensors[0].shape(), "stack");
    std::vector<Tensor> parts;
    for (const Tensor& t : tensors) {
        if (t.shape() != tensors[0].shape())
            throw ShapeError(text("stack: ", to_string(tensors[0].shape()), " and ", to_string(t.shape()), " differ"));
        parts.push_back(expand_dims(t, a));
    }
    return concat(parts, a);
}

Tensor concat(std::span<const Tensor> tensors, std::nullopt_t) {
    std::vector<Tensor> flat;
    for (const Tensor& t : tensors) {
        check_defined("concat", t);
        flat.push_back(flatten(t));
    }
    return concat(flat, 0);
}

std::vector<Tensor> split(const Tensor& x, std::int64_t pieces, int axis) {
    check_defined("split", x);
    const int a = normalized(axis, x.shape(), "split");
    const std::int64_t n = x.shape()[a];
    if (pieces < 1 || n % pieces != 0)
        throw ShapeError(
            text("split of ", to_string(x.shape()), ": axis ", axis, " does not make ", pieces, " equal pieces"));
    std::vector<Tensor> parts;
    for (std::int64_t i = 0; i < pieces; ++i) parts.push_back(piece(x, a, i * (n / pieces), (i + 1) * (n / pieces)));
    return parts;
}

std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& starts, int axis) {
    check_defined("split", x);
    const int a = normalized(axis, x.shape(), "split");
    std::vector<Tensor> parts;
    std::int64_t from = 0;
    for (std::size_t i = 0; i <= starts.size(); ++i) {
        const std::int64_t to = i < starts.size() ? starts[i] : x.shape()[a];
        if (to < from || to > x.shape()[a])
            throw ShapeError(
                text("split of ", to_string(x.shape()), ": a piece of axis ", axis, " from ", from, " to ", to));
        parts.push_back(piece(x, a, from, to));
        from = to;
    }
    return parts;
}

std::vector<Tensor> unstack(const Tensor& x, int axis) {
    check_defined("unstack", x);
    const int a = normalized(axis, x.shape(), "unstack");
    std::vector<Tensor> parts;
    for (std::int64_t i = 0; i < x.shape()[a]; ++i) parts.push_back(squeeze(piece(x, a, i, i + 1), {a}));
    return parts;
}

// (.., n, ..) as (.., 1, n, ..), broadcast and merged. Axes whose count is 1 are left alone, because the rank is
// limited.
Tensor tile(const Tensor& x, const Extents& counts) {
    check_defined("tile", x);
    Shape s = x.shape();
    while (s.rank() < counts.rank()) s.insert(0, 1);
    const auto parted = std::count_if(counts.begin(), counts.end(), [](std::int64_t n) { return n != 1; });
    if (s.rank() + parted > kMaxRank)
        throw ShapeError(text("tile of ", to_string(x.shape()), " by ", to_string(counts), ": ", s.rank() + parted,
                              " axes on the way, and ", kMaxRank, " is the most"));
    Shape apart, repeated, joined;
    for (int i = 0; i < s.rank(); ++i) {
        const int c = i - (s.rank() - counts.rank());
        const std::int64_t n = c < 0 ? 1 : counts[c];
        if (n < 0)
            throw ShapeError(
                text("tile of ", to_string(x.shape()), ": a count of ", to_string(counts), " is negative"));
        if (n != 1) {
            apart.push_back(1);
            repeated.push_back(n);
        }
        apart.push_back(s[i]);
        repeated.push_back(s[i]);
        joined.push_back(checked_count("tile", {n, s[i]}));
    }
    return reshape(broadcast_to(reshape(x, apart), repeated), joined);
}

Tensor repeat(const Tensor& x, std::int64_t count, std::optional<int> axis) {
    check_defined("repeat", x);
    if (!axis) return repeat(flatten(x), count, 0);
    const int a = normalized(*axis, x.shape(), "repeat");
    if (count < 0) throw ShapeError(text("repeat of ", to_string(x.shape()), ": count = ", count, " is negative"));
    normalized_new(a + 1, x.shape(), "repeat");
    Shape repeated = x.shape(), joined = x.shape();
    repeated.insert(a + 1, count);
    joined[a] = checked_count("repeat", {joined[a], count});
    return reshape(broadcast_to(expand_dims(x, a + 1), repeated), joined);
}

Tensor repeat(const Tensor& x, const Tensor& counts, std::optional<int> axis) {
    check_defined("repeat", x);
    check_defined("repeat", counts);
    if (!axis) return repeat(flatten(x), counts, 0);
    const int a = normalized(*axis, x.shape(), "repeat");
    const std::string operands = text("repeat of ", to_string(x.shape()), " by counts ", described(counts));
    if (!is_integer(counts.dtype())) throw TypeError(text(operands, ": the counts are integers"));
    const std::int64_t n = x.shape()[a];
    if (counts.rank() > 1 || (counts.size() != 1 && counts.size() != n))
        throw ShapeError(text(operands, ": one count, or one for each element of axis ", *axis));
    const auto each = counts.to<std::int64_t>();
    const auto times = [&](std::int64_t i) { return each[each.size() == 1 ? 0 : static_cast<std::size_t>(i)]; };
    Shape s = x.shape();
    s[a] = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        if (times(i) < 0) throw ValueError(text(operands, ": count ", times(i), " is negative"));
        if (__builtin_add_overflow(s[a], times(i), &s[a]))
            throw ShapeError(text(operands, ": the counts' sum does not fit 63 bits"));
    }
    checked_count("repeat", s);
    std::vector<std::int64_t> positions;
    try {
        positions.reserve(static_cast<std::size_t>(s[a]));
    } catch (const std::exception&) {
        throw MemoryError(text(operands, ": no memory for ", s[a], " positions"));
    }
    for (std::int64_t i = 0; i < n; ++i) positions.insert(positions.end(), static_cast<std::size_t>(times(i)), i);
    const Tensor at = Tensor::from(positions, {static_cast<std::int64_t>(positions.size())});
    return take(x, to_device(at, x.device()), a);
}

std::vector<Tensor> broadcast_arrays(const std::vector<Tensor>& tensors) {
    Shape s;
    for (const Tensor& t : tensors) check_defined("broadcast_arrays", t);
    for (const Tensor& t : tensors) s = broadcast_shapes(s, t.shape(), "broadcast_arrays");
    std::vector<Tensor> result;
    for (const Tensor& t : tensors) result.push_back(broadcast_to(t, s));
    return result;
}

}  // namespace tenon
