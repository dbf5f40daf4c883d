#include "bench/by_hand.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace bench::by_hand {
namespace {

// Sums and maxima in several lanes: the compiler may not reorder one.
constexpr std::int64_t kLanes = 64;

inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

/// Abramowitz and Stegun 7.1.26, of x >= 0: 1 - erf(x).
inline float complement(float x) {
    const float t = 1.0f / (1.0f + 0.3275911f * x);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return p * t * exponential(-x * x);
}

template <class Combine, class Value>
inline float reduced(std::int64_t n, float neutral, Combine combine, Value value) {
    float lanes[kLanes];
    for (float& lane : lanes) lane = neutral;
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = combine(lanes[l], value(i + l));
    for (std::int64_t l = 0; i < n; ++i, ++l) lanes[l] = combine(lanes[l], value(i));
    for (std::int64_t width = kLanes / 2; width > 0; width /= 2)
        for (std::int64_t l = 0; l < width; ++l) lanes[l] = combine(lanes[l], lanes[l + width]);
    return lanes[0];
}
inline float plus(float a, float b) { return a + b; }
inline float larger(float a, float b) { return a < b ? b : a; }

}  // namespace

void softmax(const Row& row) {
    const float* const x = row.x;
    float* const y = row.y;
    const float most =
        reduced(row.n, -std::numeric_limits<float>::infinity(), larger, [=](std::int64_t i) { return x[i]; });
    const float total = reduced(row.n, 0, plus, [=](std::int64_t i) { return y[i] = exponential(x[i] - most); });
    const float scale = 1 / total;
    for (std::int64_t i = 0; i < row.n; ++i) y[i] *= scale;
}

void layer_norm(const Row& row) {
    const float *const x = row.x, *const w = row.w, *const b = row.b;
    float* const y = row.y;
    const auto n = static_cast<float>(row.n);
    const float mean = reduced(row.n, 0, plus, [=](std::int64_t i) { return x[i]; }) / n;
    const float variance = reduced(row.n, 0, plus, [=](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / n;
    const float scale = 1 / std::sqrt(variance + 1e-5f);
    for (std::int64_t i = 0; i < row.n; ++i) y[i] = (x[i] - mean) * scale * w[i] + b[i];
}

void gelu_bias_dropout_residual(const Row& row) {
    const float *const x = row.x, *const r = row.r, *const b = row.b;
    const unsigned char* const mask = row.mask;
    float* const y = row.y;
    for (std::int64_t i = 0; i < row.n; ++i) {
        const float v = x[i] + b[i], tail = complement(std::fabs(v) * 0.70710678f);
        const float gelu = 0.5f * v * (v < 0 ? tail : 2 - tail);
        y[i] = r[i] + (mask[i] ? gelu * (1 / 0.9f) : 0.0f);
    }
}

void cross_entropy(const Row& row) {
    const float* const x = row.x;
    const float most =
        reduced(row.n, -std::numeric_limits<float>::infinity(), larger, [=](std::int64_t i) { return x[i]; });
    const float total = reduced(row.n, 0, plus, [=](std::int64_t i) { return exponential(x[i] - most); });
    row.y[0] = most + std::log(total) - x[row.label];
}

}  // namespace bench::by_hand
