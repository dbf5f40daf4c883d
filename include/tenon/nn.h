// Layers and networks, as modules (tenon/module.h): values with a call operator. They act on the last axis, whatever
// axes come before it. A call costs and throws what the functions do that it is composed of (tenon/functions.h), or its
// linear map (tenon/map.h): ShapeError and TypeError when it is recorded.
//
// ```cpp
// const nn::Mlp model = nn::Mlp::random(random::Key(7), {.in = 20, .width = 16, .classes = 3, .structure = "btt"});
// const auto loss_fn = [&](const Tree& p, const Tensor& x, const Tensor& y) {
//     return cross_entropy(with_parameters(model, p)(x), y);
// };
// const Tensor x = random::normal(random::Key(8), {4, 20}), y = Tensor::from<std::int64_t>({0, 2, 1, 1});
// auto [loss, grads] = value_and_grad(loss_fn)(parameters(model), x, y);
// assert(grads.leaves().size() == parameters(model).leaves().size());
// ```
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tenon/functions.h"
#include "tenon/module.h"
#include "tenon/random.h"

namespace tenon::nn {

/// map(x) + bias, of any linear map: (..., in) -> (..., out).
struct TENON_API Linear {
    LinearMap weight;
    std::optional<Tensor> bias = {};  // (out,)

    /// With a bias of zeros.
    static Linear with_bias(LinearMap weight, DType dtype = DType::float32);

    Tensor operator()(const Tensor& x) const;
    template <class V>
    void visit(V&& v) {
        v("weight", weight);
        v("bias", bias);
    }
};

/// (x - mean) / sqrt(variance + eps) * weight + bias (Ba et al., 2016): (..., d) -> (..., d).
struct TENON_API LayerNorm {
    Tensor weight, bias;  // (d,), ones and zeros at first
    double eps = 1e-5;

    explicit LayerNorm(std::int64_t d, double eps = 1e-5, DType dtype = DType::float32);

    Tensor operator()(const Tensor& x) const;
    template <class V>
    void visit(V&& v) {
        v("weight", weight);
        v("bias", bias);
    }
};

/// x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, 2019): (..., d) -> (..., d).
struct TENON_API RMSNorm {
    Tensor weight;  // (d,), ones at first
    double eps = 1e-5;

    explicit RMSNorm(std::int64_t d, double eps = 1e-5, DType dtype = DType::float32);

    Tensor operator()(const Tensor& x) const;
    template <class V>
    void visit(V&& v) {
        v("weight", weight);
    }
};

/// Elements set to zero with probability `rate`, the others divided by 1 - rate; the identity where no key is given.
/// With one, a rate outside [0, 1] is a ValueError.
struct TENON_API Dropout {
    double rate = 0;

    Tensor operator()(const Tensor& x) const { return x; }
    Tensor operator()(const Tensor& x, const random::Key& key) const;
    template <class V>
    void visit(V&&) {}
};

/// Rows of a table picked by integers: (...) -> (..., d). Indices outside the table are a ValueError at evaluation.
struct TENON_API Embedding {
    Tensor weight;  // (n, d)

    /// Standard normal.
    static Embedding random(const random::Key& key, std::int64_t n, std::int64_t d, DType dtype = DType::float32);

    Tensor operator()(const Tensor& indices) const;
    template <class V>
    void visit(V&& v) {
        v("weight", weight);
    }
};

/// x + down(gelu(up(norm(x)))), with dropout before the sum: a residual block of width d, d -> 4 d -> d.
struct TENON_API MlpBlock {
    LayerNorm norm;
    Linear up, down;
    Dropout dropout;

    Tensor operator()(const Tensor& x) const;
    Tensor operator()(const Tensor& x, const random::Key& key) const;
    template <class V>
    void visit(V&& v) {
        v("norm", norm);
        v("up", up);
        v("down", down);
    }
};

struct MlpOptions {
    std::int64_t in = 784, width = 256, depth = 3, classes = 10;
    /// See map::random. The head is dense; so is the input layer of "low-rank".
    std::string structure = "dense";
    std::optional<std::int64_t> rank = {};  // low-rank, tensor-train, btt; see map::Options
    std::optional<std::int64_t> blocks = {};  // monarch
    bool bias = false;
    double dropout = 0;
    /// Learning rates are given for this width, and fall as base_width / width (maximal update parametrization).
    std::int64_t base_width = 64;
    /// The factor of the input layer's learning rate, whose fan-in does not grow with the width.
    double input_learning_rate = 0.1;
    DType dtype = DType::float32;
};

/// The residual MLP of "Compute Better Spent" (arXiv 2406.06248): an input layer in -> width, `depth` MlpBlocks, a
/// LayerNorm, a dense head of `classes`. The head and the last core of each block's `down` start at zero, so that the
/// network starts as a constant. Of in = 3072, depth 3 and 100 classes, without biases: dense, width 2048: 107,159,552
/// multiply-adds an image; btt of rank 1, width 16384: 79,101,952.
struct TENON_API Mlp {
    MlpOptions options;
    Linear input;
    std::vector<MlpBlock> blocks;
    LayerNorm norm;
    Linear head;

    /// Throws ValueError for a depth below 0, a dropout rate outside [0, 1), a base width below 1, a negative learning
    /// rate, and what map::random does not know; ShapeError for sizes below 1 and a width that the structure cannot
    /// take.
    static Mlp random(const random::Key& key, const MlpOptions& options);

    /// images (..., in) -> logits (..., classes). With a key: in training, with dropout.
    Tensor operator()(const Tensor& images) const;
    Tensor operator()(const Tensor& images, const random::Key& key) const;

    /// Of `images` images: the linear maps alone, norms and biases are not counted.
    map::Cost cost(std::int64_t images = 1) const;
    /// Those of the maps, for Adam times base_width / width, or input_learning_rate in the input layer; 1 for norms and
    /// biases.
    Tree learning_rates(RateRule rule = RateRule::adam) const;

    template <class V>
    void visit(V&& v) {
        v("input", input);
        v("blocks", blocks);
        v("norm", norm);
        v("head", head);
    }
};

}  // namespace tenon::nn
