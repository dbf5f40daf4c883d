// Products of two operands: labels for `contract`.
#include <algorithm>

#include "ops/ops.h"
#include "ops/terms.h"

namespace tenon {
namespace {

bool has(const Labels& labels, std::uint8_t l) { return std::find(labels.begin(), labels.end(), l) != labels.end(); }

int find(const Labels& labels, std::uint8_t l) {
    const auto at = std::find(labels.begin(), labels.end(), l);
    return at == labels.end() ? -1 : static_cast<int>(at - labels.begin());
}

// The term without the axes for which `drop` is true, by summing over them; axes of extent 1 are reshaped away.
template <class Drop>
Term reduced(const Term& t, const Drop& drop) {
    Axes summed;
    Shape rest;
    Labels labels;
    for (int i = 0; i < t.tensor.rank(); ++i) {
        const std::uint8_t l = t.labels[static_cast<std::size_t>(i)];
        const std::int64_t n = t.tensor.shape()[i];
        if (!drop(i, l)) {
            rest.push_back(n);
            labels.push_back(l);
        } else if (n != 1) {
            summed.push_back(i);
        }
    }
    return {reshape(reduce_sum(t.tensor, summed), rest), labels};
}

[[noreturn]] void misfit(const char* op, const Tensor& a, const Tensor& b, std::string_view rule) {
    throw ShapeError(text(op, " of ", to_string(a.shape()), " and ", to_string(b.shape()), ": ", rule));
}

// Labels first + 0, first + 1, ... of `n` batch axes, counted from the last.
void append_batch(Labels& labels, int n, int first) {
    for (int i = n - 1; i >= 0; --i) labels.push_back(static_cast<std::uint8_t>(first + i));
}

// The leading axes of a and b, all but the last `a_core` and `b_core`, broadcast.
void check_batch(const char* op, const Tensor& a, int a_core, const Tensor& b, int b_core) {
    for (int i = 0; i < std::min(a.rank() - a_core, b.rank() - b_core); ++i) {
        const std::int64_t m = a.shape()[a.rank() - a_core - 1 - i], n = b.shape()[b.rank() - b_core - 1 - i];
        if (m != n && m != 1 && n != 1) misfit(op, a, b, "the leading axes do not broadcast");
    }
}

}  // namespace

Tensor contracted(const Term& first, const Term& second, const Labels& out) {
    // Drops an axis of extent 1 that the other operand has with a larger extent: its one element serves all of them.
    const auto stretched = [](const Term& t, const Term& other) {
        return reduced(t, [&](int i, std::uint8_t l) {
            const int j = find(other.labels, l);
            return j >= 0 && t.tensor.shape()[i] == 1 && other.tensor.shape()[j] != 1;
        });
    };
    Term a = stretched(first, second), b = stretched(second, first);
    a = reduced(a, [&](int, std::uint8_t l) { return !has(b.labels, l) && !has(out, l); });
    b = reduced(b, [&](int, std::uint8_t l) { return !has(a.labels, l) && !has(out, l); });
    // At most 24 labels are in use here.
    Labels known;
    const auto renumbered = [&](const Labels& labels) {
        Labels small;
        for (std::uint8_t l : labels) {
            if (!has(known, l)) known.push_back(l);
            small.push_back(static_cast<std::uint8_t>(find(known, l)));
        }
        return small;
    };
    const Labels x = renumbered(a.labels), y = renumbered(b.labels), z = renumbered(out);
    return contract(a.tensor, x, b.tensor, y, z);
}

Tensor arranged(const Term& a, const Labels& out) {
    const Term kept = reduced(a, [&](int, std::uint8_t l) { return !has(out, l); });
    Axes order;
    for (std::uint8_t l : out) order.push_back(find(kept.labels, l));
    return transpose(kept.tensor, order);
}

Tensor matmul(const Tensor& a, const Tensor& b) {
    promoted("matmul", a, b);
    if (a.rank() == 0 || b.rank() == 0) misfit("matmul", a, b, "a scalar is no matrix; use multiply");
    if (a.shape().back() != b.shape()[std::max(b.rank() - 2, 0)]) misfit("matmul", a, b, "the inner extents differ");
    const int a_core = std::min(a.rank(), 2), b_core = std::min(b.rank(), 2);
    check_batch("matmul", a, a_core, b, b_core);
    constexpr std::uint8_t kRow = 0, kInner = 1, kColumn = 2;
    constexpr int kBatch = 3;
    Labels x, y, out;
    append_batch(x, a.rank() - a_core, kBatch);
    append_batch(y, b.rank() - b_core, kBatch);
    append_batch(out, std::max(a.rank() - a_core, b.rank() - b_core), kBatch);
    if (a_core == 2) {
        x.push_back(kRow);
        out.push_back(kRow);
    }
    x.push_back(kInner);
    y.push_back(kInner);
    if (b_core == 2) {
        y.push_back(kColumn);
        out.push_back(kColumn);
    }
    return contracted({a, x}, {b, y}, out);
}

Tensor tensordot(const Tensor& a, const Tensor& b, int axes) {
    promoted("tensordot", a, b);
    if (axes < 0 || axes > std::min(a.rank(), b.rank()))
        misfit("tensordot", a, b, text("they do not have ", axes, " axes to sum over"));
    Axes last, first;
    for (int i = 0; i < axes; ++i) {
        last.push_back(a.rank() - axes + i);
        first.push_back(i);
    }
    return tensordot(a, b, last, first);
}

Tensor tensordot(const Tensor& a, const Tensor& b, const Axes& a_axes, const Axes& b_axes) {
    promoted("tensordot", a, b);
    if (a_axes.rank() != b_axes.rank()) misfit("tensordot", a, b, "as many axes of the one as of the other");
    normalized(a_axes, a.shape(), "tensordot");
    normalized(b_axes, b.shape(), "tensordot");
    Labels x, y, out;
    for (int i = 0; i < a.rank(); ++i) x.push_back(static_cast<std::uint8_t>(i));
    for (int i = 0; i < b.rank(); ++i) y.push_back(static_cast<std::uint8_t>(kMaxRank + i));
    for (int i = 0; i < a_axes.rank(); ++i) {
        const int j = normalized(a_axes[i], a.shape(), "tensordot"), k = normalized(b_axes[i], b.shape(), "tensordot");
        if (a.shape()[j] != b.shape()[k]) misfit("tensordot", a, b, text("axes ", j, " and ", k, " differ"));
        y[static_cast<std::size_t>(k)] = x[static_cast<std::size_t>(j)];
    }
    for (std::uint8_t l : x)
        if (!has(y, l)) out.push_back(l);
    for (std::uint8_t l : y)
        if (!has(x, l)) out.push_back(l);
    if (out.size() > kMaxRank) misfit("tensordot", a, b, text("the result would have ", out.size(), " axes"));
    return contracted({a, x}, {b, y}, out);
}

Tensor vecdot(const Tensor& a, const Tensor& b, int axis) {
    promoted("vecdot", a, b);
    if (axis >= 0 || -axis > std::min(a.rank(), b.rank()))
        misfit("vecdot", a, b, text("axis ", axis, " is not a negative axis of both"));
    if (a.extent(axis) != b.extent(axis)) misfit("vecdot", a, b, text("axis ", axis, " differs"));
    const auto axis_last = [&](const Tensor& t) { return with_axis_moved(t, t.rank() + axis, t.rank() - 1); };
    const Tensor x = axis_last(a), y = axis_last(b);
    check_batch("vecdot", x, 1, y, 1);
    Labels s, t, out;
    append_batch(s, x.rank() - 1, 1);
    append_batch(t, y.rank() - 1, 1);
    append_batch(out, std::max(x.rank(), y.rank()) - 1, 1);
    s.push_back(0);
    t.push_back(0);
    return contracted({x, s}, {y, t}, out);
}

Tensor outer(const Tensor& a, const Tensor& b) {
    check_operands("outer", a, b);
    if (a.rank() != 1 || b.rank() != 1) misfit("outer", a, b, "two vectors");
    return reshape(a, {a.size(), 1}) * b;
}

// In the flattened matrix, the elements of a diagonal are one row and one column apart.
Tensor trace(const Tensor& x, std::int64_t k, std::optional<DType> dtype) {
    check_defined("trace", x);
    if (x.rank() < 2) throw ShapeError(text("trace of ", to_string(x.shape()), ": a matrix has two axes"));
    return sum(diagonal(x, k), -1, false, dtype);
}

}  // namespace tenon
