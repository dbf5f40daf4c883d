// Random numbers, which the graph makes from random bits.
#include "tenon/random.h"

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/philox.h"
#include "ops/ops.h"

namespace tenon::random {
namespace {

// Domain 0 belongs to random_bits; see src/primitive/random_bits.cpp.
enum Domain : std::uint64_t { kSplit = 1, kFoldIn = 2, kNext = 3 };

void check(const char* op, const Shape& shape) {
    for (std::int64_t e : shape)
        if (e < 0) throw ShapeError(text("random::", op, ": ", to_string(shape), " is not a shape"));
    checked_count(text("random::", op), shape);
}

void check(const char* op, const Shape& shape, DType dtype) {
    check(op, shape);
    if (!is_floating(dtype)) throw TypeError(text("random::", op, ": ", name(dtype), " is not a floating dtype"));
}

// The bits of the significand, the leading one included.
int precision(DType t) { return t == DType::float64 ? 53 : t == DType::float32 ? 24 : t == DType::float16 ? 11 : 8; }

// The first `bits` bits of words, as integers in float32 or float64: exact.
Tensor leading_bits(const Tensor& words, int bits, DType dtype) {
    const int width = words.dtype() == DType::uint64 ? 64 : 32;
    return astype(bitwise_right_shift(words, constant(width - bits, words.dtype())), dtype);
}

DType words_for(DType t) { return t == DType::float64 ? DType::uint64 : DType::uint32; }

// In [0, 1), a multiple of 2^-precision; float16 and bfloat16 in float32.
Tensor unit_interval(const Tensor& words, DType dtype) {
    const int bits = precision(dtype);
    return leading_bits(words, bits, wide(dtype)) * constant(std::ldexp(1, -bits), wide(dtype));
}

double rounded(double x, DType t) {
    switch (t) {
        case DType::float16:
            return to_float(to_float16(static_cast<float>(x)));
        case DType::bfloat16:
            return to_float(to_bfloat16(static_cast<float>(x)));
        case DType::float32:
            return static_cast<float>(x);
        default:
            return x;
    }
}

// The largest number of the dtype below x, which is one of its numbers.
double below(double x, DType t) {
    if (t == DType::float64) return std::nextafter(x, -std::numeric_limits<double>::infinity());
    const auto f = static_cast<float>(x);
    const std::uint32_t ulp = t == DType::bfloat16 ? 1u << 16 : 1;
    if (t != DType::float16) {
        const auto bits = std::bit_cast<std::uint32_t>(f);
        if (f == 0) return std::bit_cast<float>(0x80000000u + ulp);
        return std::bit_cast<float>(f > 0 ? bits - ulp : bits + ulp);
    }
    const std::uint16_t bits = to_float16(f).bits;
    const int next = f == 0 ? 0x8001 : f > 0 ? bits - 1 : bits + 1;
    return to_float(float16{static_cast<std::uint16_t>(next)});
}

}  // namespace

Key::Key(const Tensor& tensor) {
    check_defined("random::Key", tensor);
    if (tensor.dtype() != DType::uint64 || tensor.rank() != 0)
        throw TypeError(text("random::Key: the tensor is ", to_string(tensor.shape()), " ", name(tensor.dtype()),
                             ", not a uint64 scalar"));
    if (is_symbolic(tensor))
        argument_ = tensor;
    else
        value_ = tensor.item<std::uint64_t>();
}

std::uint64_t Key::value() const {
    if (argument_.defined())
        throw ValueError("random::Key: an argument of a function that is being compiled has no value yet");
    return value_;
}

Key Key::derived(std::uint64_t domain, std::uint64_t number) const {
    if (!argument_.defined()) return Key(philox_derive(value_, domain, number));
    return Key(derived_number(argument_, DType::uint64, [=](Scalar key) -> Scalar {
        return philox_derive(static_cast<std::uint64_t>(key.as_integer()), domain, number);
    }));
}

Key Key::next() {
    const Key fresh = derived(kNext, 1);
    *this = derived(kNext, 0);
    return fresh;
}

std::vector<Key> Key::split(int n) const {
    if (n < 0) throw ValueError(text("random::Key::split: ", n, " keys; the number is not negative"));
    std::vector<Key> keys;
    for (int i = 0; i < n; ++i) keys.push_back(derived(kSplit, static_cast<std::uint64_t>(i)));
    return keys;
}

Key Key::fold_in(std::uint64_t number) const { return derived(kFoldIn, number); }

Tensor Key::tensor() const { return argument_.defined() ? argument_ : Tensor::from<std::uint64_t>({value_}, Shape{}); }

Tensor uniform(const Key& key, const Shape& shape, double low, double high, DType dtype) {
    check("uniform", shape, dtype);
    const double from = rounded(low, dtype), to = rounded(high, dtype);
    if (!(from < to) || !std::isfinite(rounded(to - from, wide(dtype))))
        throw ValueError(text("random::uniform of ", to_string(shape), " ", name(dtype), ": [", low, ", ", high,
                              ") is no interval"));
    const Tensor u = unit_interval(random_bits(key.tensor(), shape, words_for(dtype)), dtype);
    if (from == 0 && to == 1) return astype(u, dtype);
    const DType t = wide(dtype);
    const Tensor x = astype(u * scalar(to - from, t) + scalar(from, t), dtype);
    // Rounding may reach `high`, which does not belong to the interval.
    return minimum(x, scalar(below(to, dtype), dtype));
}

Tensor normal(const Key& key, const Shape& shape, double mean, double deviation, DType dtype) {
    check("normal", shape, dtype);
    if (!(deviation >= 0) || !std::isfinite(deviation) || !std::isfinite(mean))
        throw ValueError(text("random::normal of ", to_string(shape), ": a mean of ", mean, " and a deviation of ",
                              deviation, "; both are finite, and the deviation is not negative"));
    const DType t = wide(dtype);
    const std::int64_t n = count(shape), half = (n + 1) / 2;
    const Tensor words = random_bits(key.tensor(), {2, half}, words_for(t));
    // In (0, 1], of all bits, so that the tail is long: half a step above 0 at least.
    const double step = t == DType::float64 ? 0x1p-64 : 0x1p-32;
    const Tensor u = astype(words[0], t) * constant(step, t) + constant(step / 2, t);
    const Tensor radius = sqrt(constant(-2, t) * log(u));
    const Tensor angle = unit_interval(words[1], t) * constant(2 * std::numbers::pi, t);
    Tensor z = concat({radius * cos(angle), radius * sin(angle)});
    if (n % 2) z = slice(z, {0}, {n}, {1});
    if (deviation != 1) z = z * scalar(deviation, t);
    if (mean != 0) z = z + scalar(mean, t);
    return astype(reshape(z, shape), dtype);
}

Tensor bernoulli(const Key& key, const Tensor& p, const Shape& shape) {
    check("bernoulli", shape);
    check_floating("random::bernoulli", p);
    if (broadcast_shapes(p.shape(), shape, "random::bernoulli") != shape)
        throw ShapeError(text("random::bernoulli of ", to_string(shape), ": a probability of ", to_string(p.shape())));
    const Tensor words = astype(random_bits(key.tensor(), shape, DType::uint32), DType::float64);
    return less(words, broadcast_to(astype(p, DType::float64) * constant(0x1p32, DType::float64), shape));
}

Tensor randint(const Key& key, const Shape& shape, std::int64_t low, std::int64_t high, DType dtype) {
    check("randint", shape);
    if (!is_integer(dtype)) throw TypeError(text("random::randint: ", name(dtype), " is not an integer dtype"));
    const int bits = 8 * static_cast<int>(size_of(dtype)) - is_signed_integer(dtype);
    const bool fits = bits == 64 ? low >= 0
                                 : bits == 63 || ((high - 1) >> bits <= 0 &&
                                                  low >= (is_signed_integer(dtype) ? -(std::int64_t{1} << bits) : 0));
    std::int64_t range = 0;
    if (low >= high || __builtin_sub_overflow(high, low, &range) || !fits)
        throw ValueError(text("random::randint of ", to_string(shape), " ", name(dtype), ": [", low, ", ", high,
                              ") is no range of it"));
    const Tensor words = random_bits(key.tensor(), shape, DType::uint64);
    const Tensor offset = astype(remainder(words, scalar(range, DType::uint64)), DType::int64);
    return astype(offset + scalar(low, DType::int64), dtype);
}

Tensor permutation(const Key& key, std::int64_t n) {
    if (n < 0) throw ValueError(text("random::permutation: n = ", n, " is negative"));
    return argsort_last(random_bits(key.tensor(), {n}, DType::uint64), false);
}

}  // namespace tenon::random
