// Normalisation over axes. The largest element is subtracted before exp; as the result does not depend on it, it is a
// constant to every derivative.
#include <limits>

#include "ops/ops.h"

namespace tenon {
namespace {

Tensor less_its_maximum(const char* op, const Tensor& x, int axis) {
    return x - stop_gradient(max(x, normalized(axis, x.shape(), op), true));
}

Tensor scaled(const char* op, const Tensor& y, const std::optional<Tensor>& by,
              Tensor (*f)(const Tensor&, const Tensor&)) {
    if (!by) return y;
    check_operands(op, y, *by);
    if (broadcast_shapes(y.shape(), by->shape(), op) != y.shape())
        throw ShapeError(
            text(op, " of ", to_string(y.shape()), ": ", to_string(by->shape()), " does not broadcast to it"));
    const bool fits = by->dtype() == y.dtype() || is_weak_scalar(*by);
    return fits ? f(y, *by) : f(y, astype(*by, y.dtype()));
}

/// Whether x is so large that storing and reading its intermediates takes longer than computing them again.
bool is_large(const Tensor& x) {
    constexpr std::int64_t kLarge = std::int64_t{1} << 20;
    return x.device() == Device::cpu() && x.size() * static_cast<std::int64_t>(size_of(x.dtype())) >= kLarge;
}

void check_last_axis(const char* op, const Tensor& x) {
    check_defined(op, x);
    if (x.rank() == 0) throw ShapeError(text(op, " of (): there is no last axis"));
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
    return widened("softmax", x, [&](const Tensor& v) {
        const Tensor e = exp(less_its_maximum("softmax", v, axis));
        return e / sum(e, axis, true);
    });
}

Tensor log_softmax(const Tensor& x, int axis) {
    return widened("log_softmax", x, [&](const Tensor& v) {
        const Tensor shifted = less_its_maximum("log_softmax", v, axis);
        return shifted - log(sum(exp(shifted), axis, true));
    });
}

Tensor logsumexp(const Tensor& x, const ReductionAxes& axis, bool keepdims) {
    return widened("logsumexp", x, [&](const Tensor& v) {
        // An infinite or NaN maximum is not subtracted; the sum passes it on.
        const Tensor largest = stop_gradient(max(v, axis, true));
        const Tensor shift = select(isfinite(largest), largest, Tensor(0.0));
        const Tensor total = sum(exp(v - shift), axis, true);
        // Neither log 0 nor its derivative may be computed.
        const Tensor none = equal(total, 0);
        const Tensor value = log(select(none, Tensor(1.0), total)) + shift;
        const Tensor result = select(none, Tensor(-std::numeric_limits<double>::infinity()), value);
        return keepdims ? result : reshape(result, sum(v, axis).shape());
    });
}

Tensor layer_norm(const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, Scalar eps) {
    check_last_axis("layer_norm", x);
    const CheckpointIf checkpoint(is_large(x));
    return widened("layer_norm", x, [&](const Tensor& v) {
        const Tensor centered = v - mean(v, -1, true);
        const Tensor y = centered * rsqrt(mean(centered * centered, -1, true) + eps);
        return scaled("layer_norm", scaled("layer_norm", y, weight, multiply), bias, add);
    });
}

Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight, Scalar eps) {
    check_last_axis("rms_norm", x);
    const CheckpointIf checkpoint(is_large(x));
    return widened("rms_norm", x, [&](const Tensor& v) {
        return scaled("rms_norm", v * rsqrt(mean(v * v, -1, true) + eps), weight, multiply);
    });
}

}  // namespace tenon
