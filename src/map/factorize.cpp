// Two factors of a width.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "tenon/error.h"
#include "tenon/map.h"

namespace tenon::map {
namespace {

using Factors = std::array<std::int64_t, 2>;

constexpr std::int64_t kGreedyRatio = 4, kBalancedRatio = 2;
constexpr std::int64_t kLargestWidth = std::int64_t{1} << 31;

Factors sorted(std::int64_t a, std::int64_t b) { return {std::min(a, b), std::max(a, b)}; }

Factors greedy(std::int64_t n) {
    Factors f{1, 1};
    for (std::int64_t p = 2; n > 1;) {
        if (p * p > n) p = n;
        if (n % p != 0) {
            ++p;
            continue;
        }
        n /= p;
        (f[0] <= f[1] ? f[0] : f[1]) *= p;
    }
    return sorted(f[0], f[1]);
}

Factors most_balanced(std::int64_t n) {
    std::int64_t small = 1;
    for (std::int64_t p = 1; p * p <= n; ++p)
        if (n % p == 0) small = p;
    return {small, n / small};
}

// nullopt if neither split is balanced enough.
std::optional<Factors> exact(std::int64_t n) {
    if (const Factors f = greedy(n); f[1] <= kGreedyRatio * f[0]) return f;
    if (const Factors f = most_balanced(n); f[1] <= kBalancedRatio * f[0]) return f;
    return {};
}

// The most balanced factors whose product is at most 15 % above n: the first that fit, starting at the square.
std::optional<Factors> padded(std::int64_t n) {
    auto small = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(n))));
    for (; small >= 1; --small) {
        const std::int64_t large = std::max(small, (n + small - 1) / small);
        if (large > kGreedyRatio * small) break;
        if (100 * (small * large - n) <= 15 * n) return Factors{small, large};
    }
    return {};
}

}  // namespace

std::array<std::int64_t, 2> factorize(std::int64_t width) {
    if (width < 1 || width > kLargestWidth)
        throw ShapeError(text("factorize: the width ", width, " is not between 1 and ", kLargestWidth));
    if (const auto f = exact(width)) return *f;
    if (const auto f = padded(width)) return *f;
    throw ShapeError(text("factorize: neither ", width, " nor a width up to 15 % above it has two balanced factors"));
}

}  // namespace tenon::map
