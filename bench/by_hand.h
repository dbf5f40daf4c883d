// Loops fused by hand, each for one purpose, compiled for the machine that they run on. x, r, w and b have n elements;
// y gets n, or one.
#pragma once

#include <cstdint>

namespace bench::by_hand {

struct Row {
    const float *x, *r, *w, *b;
    const unsigned char* mask;
    std::int64_t label;
    float* y;
    std::int64_t n;
};

void softmax(const Row& row);
void layer_norm(const Row& row);
/// y = r + (mask ? gelu(x + b) / 0.9 : 0).
void gelu_bias_dropout_residual(const Row& row);
/// y[0] = log of the sum of exp(x), less x[label].
void cross_entropy(const Row& row);

}  // namespace bench::by_hand
