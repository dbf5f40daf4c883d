#include "base/text.h"
#include "tenon/nn.h"

namespace tenon::nn {
namespace {

constexpr std::int64_t kExpansion = 4;

Linear layer(LinearMap map, const MlpOptions& o) {
    return o.bias ? Linear::with_bias(std::move(map), o.dtype) : Linear{std::move(map)};
}

Linear structured(const random::Key& key, std::int64_t out, std::int64_t in, const MlpOptions& o, bool zero_last) {
    return layer(map::random(o.structure, key, out, in,
                             {.rank = o.rank, .blocks = o.blocks, .zero_last = zero_last, .dtype = o.dtype}),
                 o);
}

MlpBlock random_block(const random::Key& key, const MlpOptions& o) {
    const std::vector<random::Key> keys = key.split(2);
    const std::int64_t wide = kExpansion * o.width;
    return {LayerNorm(o.width, 1e-5, o.dtype),
            structured(keys[0], wide, o.width, o, false),
            structured(keys[1], o.width, wide, o, true),
            {o.dropout}};
}

void check(const MlpOptions& o) {
    if (o.in < 1 || o.width < 1 || o.classes < 1)
        throw ShapeError(
            text("Mlp: ", o.in, " inputs, width ", o.width, ", ", o.classes, " classes; each is at least 1"));
    if (o.depth < 0) throw ValueError(text("Mlp: depth ", o.depth, " is below 0"));
    if (!(o.dropout >= 0 && o.dropout < 1))
        throw ValueError(text("Mlp: a dropout rate of ", o.dropout, " is not in [0, 1)"));
    if (o.base_width < 1) throw ValueError(text("Mlp: base width ", o.base_width, " is below 1"));
    if (!(o.input_learning_rate >= 0))
        throw ValueError(text("Mlp: an input learning rate of ", o.input_learning_rate, " is negative"));
}

Tree scaled(const Tree& rates, double factor) {
    return rates.map([factor](const Tensor& t) { return Tensor::from<double>({t.item<double>() * factor}, {}); });
}

// The factors of norms and biases stay 1.
Tree linear_rates(const Linear& l, RateRule rule, double factor) {
    Tree rates({{"weight", scaled(l.weight.learning_rates(rule), factor)}});
    if (l.bias) rates.set("bias", Tensor::from<double>({1}, {}));
    return rates;
}

}  // namespace

Tensor MlpBlock::operator()(const Tensor& x) const { return x + down(gelu(up(norm(x)))); }

Tensor MlpBlock::operator()(const Tensor& x, const random::Key& key) const {
    return x + dropout(down(gelu(up(norm(x)))), key);
}

Mlp Mlp::random(const random::Key& key, const MlpOptions& o) {
    check(o);
    const std::vector<random::Key> keys = key.split(2);
    const bool dense_input = o.structure == "low-rank";
    Linear input = dense_input ? layer(map::Dense::random(keys[0], o.width, o.in, {.dtype = o.dtype}), o)
                               : structured(keys[0], o.width, o.in, o, false);
    std::vector<MlpBlock> blocks;
    for (std::int64_t i = 0; i < o.depth; ++i)
        blocks.push_back(random_block(keys[1].fold_in(static_cast<std::uint64_t>(i)), o));
    Linear head = layer(map::Dense::random(keys[0], o.classes, o.width, {.zero_last = true, .dtype = o.dtype}), o);
    return {o, std::move(input), std::move(blocks), LayerNorm(o.width, 1e-5, o.dtype), std::move(head)};
}

Tensor Mlp::operator()(const Tensor& images) const {
    Tensor x = input(images);
    for (const MlpBlock& block : blocks) x = block(x);
    return head(norm(x));
}

Tensor Mlp::operator()(const Tensor& images, const random::Key& key) const {
    Tensor x = input(images);
    for (std::size_t i = 0; i < blocks.size(); ++i) x = blocks[i](x, key.fold_in(i));
    return head(norm(x));
}

map::Cost Mlp::cost(std::int64_t images) const {
    map::Cost all = input.weight.cost(images);
    const auto add = [&](const Linear& l) {
        const map::Cost c = l.weight.cost(images);
        all = {all.multiply_adds + c.multiply_adds, all.parameters + c.parameters, all.bytes + c.bytes};
    };
    for (const MlpBlock& block : blocks) add(block.up), add(block.down);
    add(head);
    return all;
}

Tree Mlp::learning_rates(RateRule rule) const {
    const double hidden =
        rule == RateRule::adam ? static_cast<double>(options.base_width) / static_cast<double>(options.width) : 1;
    std::vector<Tree> each;
    for (const MlpBlock& block : blocks)
        each.push_back(Tree({{"norm", tenon::learning_rates(block.norm)},
                             {"up", linear_rates(block.up, rule, hidden)},
                             {"down", linear_rates(block.down, rule, hidden)}}));
    Tree all({{"input", linear_rates(input, rule, options.input_learning_rate)}});
    if (!each.empty()) all.set("blocks", Tree::list(each));
    all.set("norm", tenon::learning_rates(norm));
    all.set("head", linear_rates(head, rule, hidden));
    return all;
}

}  // namespace tenon::nn
