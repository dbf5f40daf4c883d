// What the tests of primitives share, on the host and on a GPU: operands for a sample.
#pragma once

#include <random>
#include <vector>

#include "primitive/primitive.h"
#include "tenon/primitives.h"

namespace tenon {

/// Evaluated operands of the sample's shapes, drawn evenly from its range; integer dtypes round towards zero.
inline std::vector<Tensor> draw(const Sample& s, DType dtype, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::uniform_real_distribution<double> uniform(s.low, s.high);
    std::vector<Tensor> in;
    for (const Shape& shape : s.shapes) {
        std::vector<double> v(static_cast<std::size_t>(count(shape)));
        for (double& x : v) x = uniform(engine);
        in.push_back(astype(Tensor::from(v, shape), dtype).eval());
    }
    return in;
}

}  // namespace tenon
