// A layer that widens, gelu, and one that narrows, and their gradients.
#pragma once

#include <vector>

#include "tenon/device.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule::testing {

struct HiddenBlock {
    Device device;
    LinearMap up, down;

    explicit HiddenBlock(Device d, std::int64_t width = 4096, std::int64_t wider = 16384, std::int64_t rank = 1)
        : device(d),
          up(there(map::BlockTensorTrain::random(random::Key(1), wider, width, {.rank = rank}))),
          down(there(map::BlockTensorTrain::random(random::Key(2), width, wider, {.rank = rank}))) {}

    Tensor draw(unsigned seed, std::int64_t rows) const {
        return there(random::normal(random::Key(seed), {rows, up.shape()[1]}));
    }
    /// The gradients of the parameters and of x, and the block's result.
    template <class Function = Tensor (*)(const Tensor&)>
    std::vector<Tensor> step(const Tensor& x, const Tensor& dy, Function&& function = gelu) const {
        const Tree at({{"up", up.parameters()}, {"down", down.parameters()}, {"x", x}});
        const auto [y, back] = vjp(
            [&](const Tree& t) {
                const LinearMap one = up.with_parameters(t["up"]), two = down.with_parameters(t["down"]);
                return Tree(two(function(one(t["x"].tensor()))));
            },
            at);
        std::vector<Tensor> all = back(Tree(dy)).leaves();
        all.push_back(y.tensor());
        return all;
    }

  private:
    Tensor there(const Tensor& t) const {
        const Tensor half = astype(t, DType::bfloat16);
        return (device == Device::cpu() ? half : to_device(half, device)).eval();
    }
    LinearMap there(const LinearMap& map) const {
        return map.with_parameters(map.parameters().map([&](const Tensor& t) { return there(t); }));
    }
};

}  // namespace tenon::schedule::testing
