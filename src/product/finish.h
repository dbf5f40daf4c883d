// What happens to a product's sums before they are stored.
#pragma once

#include <cstdint>

namespace tenon::product {

/// out = alpha * sum + beta * out, rounded once in the type of the sums: fma(alpha, sum, beta * out). If beta is 0 the
/// output is not read; if alpha is 0 neither operand is. For floating types only. For 8-bit integers, the sum is over
/// (a - zero_a) * (b - zero_b). If given, zeros_a[i] is the zero point of row i and zeros_b[j] that of column j, for at
/// most one axis of each.
struct Finish {
    double alpha = 1, beta = 0;
    std::int32_t zero_a = 0, zero_b = 0;
    const std::int32_t *zeros_a = nullptr, *zeros_b = nullptr;

    bool scales() const { return alpha != 1 || beta != 0; }
};

}  // namespace tenon::product
