// Elementwise functions. Where a formula has two branches, each branch is smooth at the boundary, and a comparison,
// which has no derivative, chooses between them. So derivatives are right at the boundary too; with abs, sign or
// maximum they would not be.
#include <limits>
#include <numbers>

#include "ops/ops.h"
#include "primitive/operands.h"

namespace tenon {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor negated_where(const Tensor& condition, const Tensor& x) { return select(condition, negative(x), x); }

// An odd function, from its values for numbers of positive sign.
template <class F>
Tensor odd(const Tensor& x, const F& f) {
    const Tensor flipped = signbit(x);
    return negated_where(flipped, f(negated_where(flipped, x)));
}

// sqrt(1 - x^2) without cancellation near 1; NaN beyond. With two roots the derivative at 1 is infinite, not NaN.
Tensor cosine_of_sine(const Tensor& x) { return sqrt(1 - x) * sqrt(1 + x); }

// The inverse cosine of x >= 0. Two roots, for the derivative at 1.
Tensor acos_of_positive(const Tensor& x) { return 2 * atan(sqrt(1 - x) / sqrt(1 + x)); }

// log(x + sqrt(x^2 - 1)) for x >= 1. Beyond 1e9 the 1 no longer counts, and 2 x may overflow.
Tensor acosh_of(const Tensor& x) {
    const Tensor large = less(Tensor(1e9), x);
    const Tensor above = select(large, Tensor(1.0), x - 1), b = select(large, x, Tensor(1.0));
    return select(large, log(b) + std::numbers::ln2, log1p(above + sqrt(above) * sqrt(above + 2)));
}

// log(x + sqrt(x^2 + 1)) for x >= 0. Squares overflow beyond 1e9, where the 1 no longer counts.
Tensor asinh_of_positive(const Tensor& x) {
    const Tensor large = less(Tensor(1e9), x);
    const Tensor a = select(large, Tensor(1.0), x), b = select(large, x, Tensor(1.0));
    const Tensor square_of_a = a * a;
    return select(large, log(b) + std::numbers::ln2, log1p(a + square_of_a / (1 + sqrt(1 + square_of_a))));
}

Tensor angle(const Tensor& y, const Tensor& x) {
    const Tensor y_negative = signbit(y), x_negative = signbit(x);
    const Tensor ay = negated_where(y_negative, y), ax = negated_where(x_negative, x);
    const Tensor steep = less(ax, ay);
    const Tensor low = select(steep, ax, ay), high = select(steep, ay, ax);
    // 0 / 0 counts as 0, infinity / infinity as 1.
    const Tensor infinite = isinf(low) & isinf(high), zero = equal(high, 0);
    const Tensor ratio = select(infinite, Tensor(1.0), low) / select(infinite | zero, Tensor(1.0), high);
    const Tensor first = atan(ratio);
    const Tensor quadrant = select(steep, std::numbers::pi / 2 - first, first);
    return negated_where(y_negative, select(x_negative, std::numbers::pi - quadrant, quadrant));
}

Tensor distance(const Tensor& a, const Tensor& b) {
    const Tensor x = negated_where(signbit(a), a), y = negated_where(signbit(b), b);
    const Tensor steep = less(x, y), infinite = isinf(x) | isinf(y);
    const Tensor low = select(steep, x, y), high = select(steep, y, x);
    const Tensor ratio = select(infinite, Tensor(0.0), low) / select(infinite | equal(high, 0), Tensor(1.0), high);
    return select(infinite, Tensor(kInfinity), high * sqrt(1 + ratio * ratio));
}

}  // namespace

void check_floating(const char* op, const Tensor& x) {
    check_defined(op, x);
    if (!is_floating(x.dtype())) throw TypeError(text(op, " of ", described(x), ": floating dtypes only; use astype"));
}

Tensor positive(const Tensor& x) {
    check_defined("positive", x);
    return x;
}

Tensor& detail::assign(const char* op, Tensor& a, const Tensor& result) {
    const bool number = is_weak_scalar(a);
    if (!number && a.shape() != result.shape())
        throw ShapeError(
            text(op, " of ", described(a), ": the result would be ", described(result), ", another shape"));
    if (!number && a.dtype() != result.dtype())
        throw TypeError(text(op, " of ", described(a), ": the result would be ", described(result), ", another dtype"));
    return a = result;
}

Tensor square(const Tensor& x) { return x * x; }

Tensor reciprocal(const Tensor& x) {
    check_floating("reciprocal", x);
    return 1 / x;
}

Tensor exp2(const Tensor& x) {
    check_floating("exp2", x);
    return pow(Tensor(2.0), x);
}

Tensor log2(const Tensor& x) {
    return widened("log2", x, [](const Tensor& v) { return log(v) / std::numbers::ln2; });
}

Tensor log10(const Tensor& x) {
    return widened("log10", x, [](const Tensor& v) { return log(v) / std::numbers::ln10; });
}

Tensor logaddexp(const Tensor& a, const Tensor& b) {
    return widened("logaddexp", a, b, [](const Tensor& x, const Tensor& y) {
        const Tensor swap = less(x, y);
        const Tensor high = select(swap, y, x), low = select(swap, x, y);
        // For two equal infinities, which must not be subtracted, the result is that infinity.
        const Tensor infinite = isinf(high) & equal(low, high), zero(0.0);
        const Tensor difference = select(infinite, zero, low) - select(infinite, zero, high);
        return select(infinite, high, high + log1p(exp(difference)));
    });
}

Tensor tan(const Tensor& x) {
    return widened("tan", x, [](const Tensor& v) { return sin(v) / cos(v); });
}

Tensor asin(const Tensor& x) {
    return widened("asin", x, [](const Tensor& v) { return 2 * atan(v / (1 + cosine_of_sine(v))); });
}

Tensor acos(const Tensor& x) {
    return widened("acos", x, [](const Tensor& v) {
        const Tensor flipped = signbit(v), angle = acos_of_positive(negated_where(flipped, v));
        return select(flipped, std::numbers::pi - angle, angle);
    });
}

Tensor atan2(const Tensor& y, const Tensor& x) { return widened("atan2", y, x, angle); }

Tensor sinh(const Tensor& x) {
    return widened("sinh", x, [](const Tensor& v) { return 0.5 * (expm1(v) - expm1(negative(v))); });
}

Tensor cosh(const Tensor& x) {
    return widened("cosh", x, [](const Tensor& v) { return 0.5 * (exp(v) + exp(negative(v))); });
}

Tensor asinh(const Tensor& x) {
    return widened("asinh", x, [](const Tensor& v) { return odd(v, asinh_of_positive); });
}

Tensor acosh(const Tensor& x) { return widened("acosh", x, acosh_of); }

Tensor atanh(const Tensor& x) {
    return widened("atanh", x, [](const Tensor& v) {
        return odd(v, [](const Tensor& a) { return 0.5 * (log1p(a) - log1p(negative(a))); });
    });
}

Tensor hypot(const Tensor& a, const Tensor& b) { return widened("hypot", a, b, distance); }

Tensor isinf(const Tensor& x) {
    check_defined("isinf", x);
    if (is_integer(x.dtype())) return zeros(x.shape(), DType::boolean);
    check_floating("isinf", x);
    return equal(abs(x), constant(kInfinity, x.dtype()));
}

Tensor signbit(const Tensor& x) {
    check_defined("signbit", x);
    if (is_integer(x.dtype())) return less(x, 0);
    check_floating("signbit", x);
    return less(copysign(constant(1, x.dtype()), x), 0);
}

Tensor clip(const Tensor& x, const std::optional<Tensor>& min, const std::optional<Tensor>& max) {
    check_defined("clip", x);
    Tensor y = x;
    if (min) {
        Tensor low = *min;
        harmonize("clip", y, low);
        y = select(less(y, low), low, y);
    }
    if (max) {
        Tensor high = *max;
        harmonize("clip", y, high);
        y = select(less(high, y), high, y);
    }
    return astype(y, x.dtype());
}

Tensor logical_not(const Tensor& x) {
    check_defined("logical_not", x);
    return bitwise_invert(astype(x, DType::boolean));
}

Tensor logical_and(const Tensor& a, const Tensor& b) {
    check_operands("logical_and", a, b);
    return bitwise_and(astype(a, DType::boolean), astype(b, DType::boolean));
}

Tensor logical_or(const Tensor& a, const Tensor& b) {
    check_operands("logical_or", a, b);
    return bitwise_or(astype(a, DType::boolean), astype(b, DType::boolean));
}

Tensor logical_xor(const Tensor& a, const Tensor& b) {
    check_operands("logical_xor", a, b);
    return bitwise_xor(astype(a, DType::boolean), astype(b, DType::boolean));
}

Tensor greater(const Tensor& a, const Tensor& b) {
    Tensor x = a, y = b;
    harmonize("greater", x, y);
    return less(y, x);
}

Tensor greater_equal(const Tensor& a, const Tensor& b) {
    Tensor x = a, y = b;
    harmonize("greater_equal", x, y);
    return less_equal(y, x);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) { return select(condition, a, b); }

}  // namespace tenon
