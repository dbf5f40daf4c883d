// Losses, and what goes with them.
#include <array>

#include "ops/ops.h"
#include "primitive/custom.h"
#include "tenon/random.h"

namespace tenon {
namespace {

/// Whether a label is each of the classes, compared as numbers of a dtype that holds them all.
Tensor is_class(const Tensor& labels, std::int64_t classes, DType number) {
    return equal(expand_dims(astype(labels, number), -1), iota(classes, number));
}

/// One element of each row: x[i, columns[i]].
Tensor picked(const Tensor& x, const Tensor& columns) {
    const std::int64_t rows = x.extent(0), all = x.extent(1);
    const Tensor y = gather(reshape(x, {-1}), columns + iota(rows, DType::int64) * Tensor(all));
    if (x.device() != Device::cpu()) return y;
    // As the tangent of a sum of rows whose other elements are 0: its transpose joins the one pass over rows that gives
    // the gradient of what else is computed of them. That of the gather would be a scatter to zeros in memory.
    const std::array<Tensor, 2> args{x, columns};
    return with_custom_tangent(y, args, [all](std::span<const Tensor> in, const Tensor&, std::span<const Tensor> d) {
        constexpr std::int64_t kExact = std::int64_t{1} << 24;
        const DType number = in[0].dtype() == DType::float32 && all <= kExact ? DType::float32 : DType::int64;
        return sum(select(is_class(in[1], all, number), d[0], Tensor(0.0)), -1);
    });
}

}  // namespace

Tensor one_hot(const Tensor& labels, std::int64_t classes, DType dtype) {
    check_defined("one_hot", labels);
    if (!is_integer(labels.dtype()))
        throw TypeError(
            text("one_hot: labels of ", to_string(labels.shape()), " are ", name(labels.dtype()), ", not integers"));
    if (classes < 0)
        throw ValueError(text("one_hot of ", to_string(labels.shape()), ": classes = ", classes, " is negative"));
    Shape shape = labels.shape();
    shape.insert(normalized_new(-1, shape, "one_hot"), classes);
    checked_count("one_hot", shape);
    return astype(is_class(labels, classes, DType::int64), dtype);
}

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing) {
    check_operands("cross_entropy", logits, labels);
    check_floating("cross_entropy", logits);
    const std::string operands =
        text("cross_entropy of ", to_string(logits.shape()), " and labels ", to_string(labels.shape()));
    if (!is_integer(labels.dtype()))
        throw TypeError(text(operands, ": labels are ", name(labels.dtype()), ", not integers"));
    Shape rows = logits.shape();
    if (rows.rank() > 0) rows.erase(rows.rank() - 1);
    if (logits.rank() == 0 || labels.shape() != rows)
        throw ShapeError(text(operands, ": one label for each row of logits"));
    if (!(label_smoothing >= 0 && label_smoothing <= 1))
        throw ValueError(text(operands, ": a label smoothing of ", label_smoothing, " is outside [0, 1]"));
    const std::int64_t classes = logits.shape().back(), n = labels.size();
    const void* site = __builtin_return_address(0);
    return widened("cross_entropy", logits, [&](const Tensor& v) {
        const Tensor columns = checked_positions("cross_entropy", reshape(labels, {n}), classes, site);
        // log_softmax is computed for the labels' elements alone: that of all classes would have to be stored.
        const Tensor x = reshape(v, {n, classes}), largest = stop_gradient(max(x, -1, true));
        const Tensor shifted = x - largest, total = log(sum(exp(shifted), -1, true));
        const Tensor of_labels = picked(x, columns) - reshape(largest, {n}) - reshape(total, {n});
        const Tensor loss = negative(mean(of_labels));
        if (label_smoothing == 0) return loss;
        return (1 - label_smoothing) * loss - label_smoothing * mean(shifted - total);
    });
}

Tensor mse(const Tensor& prediction, const Tensor& target) {
    return widened("mse", prediction, target, [](const Tensor& x, const Tensor& y) {
        const Tensor difference = x - y;
        return mean(difference * difference);
    });
}

Tensor dropout(const Tensor& x, double rate, const random::Key& key) {
    check_defined("dropout", x);
    if (!(rate >= 0 && rate <= 1))
        throw ValueError(text("dropout of ", to_string(x.shape()), ": a rate of ", rate, " is outside [0, 1]"));
    if (rate == 0) return x;
    if (rate == 1) return zeros_like(x);
    return widened("dropout", x, [&](const Tensor& v) {
        const Tensor bits = random_bits(key.tensor(), v.shape(), DType::uint32);
        const auto threshold = std::min(static_cast<std::int64_t>(rate * 0x1p32), std::int64_t{0xFFFFFFFF});
        return select(less(bits, Tensor(threshold)), constant(0, v.dtype()), v / (1 - rate));
    });
}

}  // namespace tenon
