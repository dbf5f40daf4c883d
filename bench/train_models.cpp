#include "bench/train_models.h"

#include "cli/json.h"
#include "tenon/attention.h"
#include "tenon/device.h"
#include "tenon/nn.h"
#include "tenon/random.h"

namespace bench {
namespace {

using tenon::Shape;
using tenon::Tensor;
using tenon::Tree;
namespace nn = tenon::nn;

constexpr std::int64_t kHeadWidth = 64, kTokens = 256;
constexpr int kWarmSteps = 3;

/// Logits as the loss reads them, in every precision of the network.
Tensor wide(const Tensor& logits) { return tenon::astype(logits, tenon::DType::float32); }

/// The structure of a model: a loss that keeps it keeps no weights.
template <class Model>
Model without_weights(const Model& model) {
    return tenon::with_parameters(
        model, tenon::parameters(model).map([](const Tensor& t) { return tenon::zeros(t.shape(), t.dtype()); }));
}

TrainModel residual_mlp(const TrainProblem& p) {
    nn::MlpOptions options;
    options.width = p.width, options.depth = p.depth;
    if (p.is_btt()) options.structure = "btt", options.rank = p.name.ends_with("-r1") ? 1 : 2;
    tenon::random::Key key(1);
    const nn::Mlp model = nn::Mlp::random(key.next(), options);
    TrainModel m{tenon::parameters(model),
                 tenon::random::normal(key.next(), {p.batch, options.in}).eval(),
                 tenon::random::randint(key.next(), {p.batch}, 0, options.classes).eval(),
                 [model = without_weights(model)](const Tree& params, const Tensor& x, const Tensor& y) {
                     return tenon::cross_entropy(wide(tenon::with_parameters(model, params)(x)), y);
                 },
                 6 * static_cast<double>(model.cost(p.batch).multiply_adds),
                 {}};
    cli::JsonObject spec;
    m.spec = spec.add("model", "mlp").add("depth", p.depth).add("warm", kWarmSteps).text();
    return m;
}

struct Block {
    nn::LayerNorm before, middle;
    nn::Linear qkv, out, up, down;

    Tensor operator()(const Tensor& x, std::int64_t heads) const {
        const std::int64_t batch = x.extent(0), length = x.extent(1), width = x.extent(2);
        const Tensor all = tenon::reshape(qkv(before(x)), {batch, length, 3, heads, width / heads});
        const auto part = [&](std::int64_t i) {
            return tenon::reshape(
                tenon::slice(all, {0, 0, i, 0, 0}, {batch, length, i + 1, heads, width / heads}, {1, 1, 1, 1, 1}),
                {batch, length, heads, width / heads});
        };
        const Tensor y = tenon::dot_product_attention(part(0), part(1), part(2), {.is_causal = true});
        const Tensor mixed = x + out(tenon::reshape(y, {batch, length, width}));
        return mixed + down(tenon::gelu(up(middle(mixed))));
    }
    template <class V>
    void visit(V&& v) {
        v("before", before), v("middle", middle);
        v("qkv", qkv), v("out", out), v("up", up), v("down", down);
    }
};

struct Transformer {
    nn::Embedding tokens;
    Tensor positions;
    std::vector<Block> blocks;
    nn::LayerNorm norm;
    nn::Linear head;

    Tensor operator()(const Tensor& x, std::int64_t heads) const {
        Tensor v = tokens(x) + positions;
        for (const Block& b : blocks) v = b(v, heads);
        return head(norm(v));
    }
    template <class V>
    void visit(V&& v) {
        v("tokens", tokens), v("positions", positions), v("blocks", blocks), v("norm", norm), v("head", head);
    }
};

TrainModel transformer(const TrainProblem& p) {
    tenon::random::Key key(2);
    const auto linear = [&](std::int64_t out, std::int64_t in) {
        return nn::Linear{tenon::map::Dense::random(key.next(), out, in)};
    };
    const std::int64_t d = p.width, heads = d / kHeadWidth;
    Transformer model{nn::Embedding::random(key.next(), kTokens, d),
                      tenon::random::normal(key.next(), {p.length, d}).eval(),
                      {},
                      nn::LayerNorm(d),
                      linear(kTokens, d)};
    for (std::int64_t i = 0; i < p.depth; ++i)
        model.blocks.push_back(
            {nn::LayerNorm(d), nn::LayerNorm(d), linear(3 * d, d), linear(d, d), linear(4 * d, d), linear(d, 4 * d)});
    const auto rows = static_cast<double>(p.batch * p.length), width = static_cast<double>(d);
    const double weights = static_cast<double>(p.depth) * 12 * width * width + static_cast<double>(kTokens) * width;
    const double pairs = rows * static_cast<double>(p.length + 1) / 2;  // of queries and keys that are not masked
    TrainModel m{tenon::parameters(model),
                 tenon::random::randint(key.next(), {p.batch, p.length}, 0, kTokens).eval(),
                 tenon::random::randint(key.next(), {p.batch, p.length}, 0, kTokens).eval(),
                 [model = without_weights(model), heads](const Tree& params, const Tensor& x, const Tensor& y) {
                     return tenon::cross_entropy(wide(tenon::with_parameters(model, params)(x, heads)), y);
                 },
                 6 * weights * rows + 3.5 * 4 * pairs * width * static_cast<double>(p.depth),
                 {}};
    cli::JsonObject spec;
    m.spec = spec.add("model", "transformer").add("depth", p.depth).add("heads", heads).add("warm", kWarmSteps).text();
    return m;
}

/// The parameters and the batch moved to cuda:0, the network in bfloat16.
void move_to_gpu(TrainModel& m) {
    const tenon::Device gpu = tenon::Device::cuda(0);
    const auto moved = [gpu](const Tensor& t) { return tenon::to_device(t, gpu); };
    const auto narrow = [](const Tensor& t) {
        return tenon::is_floating(t.dtype()) ? tenon::astype(t, tenon::DType::bfloat16) : t;
    };
    m.params = m.params.map(moved);
    m.x = moved(m.x).eval(), m.y = moved(m.y).eval();
    tenon::eval(m.params);
    m.loss = [loss = m.loss, narrow](const Tree& params, const Tensor& x, const Tensor& y) {
        return loss(params.map(narrow), narrow(x), y);
    };
}

}  // namespace

TrainModel train_model(const TrainProblem& p) {
    TrainModel m = p.name == "transformer" ? transformer(p) : residual_mlp(p);
    if (p.on_gpu) move_to_gpu(m);
    return m;
}

}  // namespace bench
