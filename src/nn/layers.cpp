#include "tenon/nn.h"

namespace tenon::nn {

Linear Linear::with_bias(LinearMap weight, DType dtype) {
    const std::int64_t out = weight.out();
    return {std::move(weight), zeros({out}, dtype)};
}

Tensor Linear::operator()(const Tensor& x) const {
    const Tensor y = weight(x);
    return bias ? y + *bias : y;
}

LayerNorm::LayerNorm(std::int64_t d, double epsilon, DType dtype)
    : weight(ones({d}, dtype)), bias(zeros({d}, dtype)), eps(epsilon) {}

Tensor LayerNorm::operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }

RMSNorm::RMSNorm(std::int64_t d, double epsilon, DType dtype) : weight(ones({d}, dtype)), eps(epsilon) {}

Tensor RMSNorm::operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }

Tensor Dropout::operator()(const Tensor& x, const random::Key& key) const {
    return rate == 0 ? x : dropout(x, rate, key);
}

Embedding Embedding::random(const random::Key& key, std::int64_t n, std::int64_t d, DType dtype) {
    return {tenon::random::normal(key, {n, d}, 0, 1, dtype)};
}

Tensor Embedding::operator()(const Tensor& indices) const { return gather(weight, indices); }

}  // namespace tenon::nn
