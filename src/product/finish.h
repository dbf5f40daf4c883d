// What is done to a product's sums before they are stored.
#pragma once

#include <cstdint>

namespace tenon::product {

/// out = alpha * sum + beta * out, once, in the type of the sums: fma(alpha, sum, beta * out). With beta = 0 the output
/// is not read, with alpha = 0 neither operand is. Floating types only. Integers of 8 bits: the sum is of (a - zero_a)
/// * (b - zero_b); where they are given, zeros_a[i] is that of row i and zeros_b[j] that of column j, for one axis of
/// each at most.
struct Finish {
    double alpha = 1, beta = 0;
    std::int32_t zero_a = 0, zero_b = 0;
    const std::int32_t *zeros_a = nullptr, *zeros_b = nullptr;

    bool scales() const { return alpha != 1 || beta != 0; }
};

}  // namespace tenon::product
