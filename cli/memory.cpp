#include "memory.h"

#include <tenon/error.h>
#include <tenon/machine.h>

#include <string>

#include "text.h"

namespace cli {
namespace {

using tenon::nn::Mlp;

// For each parameter: its value, its gradient and the optimizer's two moments.
constexpr double kBytesPerParameter = 4 * sizeof(float);
// Memory of a block's part of the graph of a step, whatever its width (measured: 150 to 240 kB).
constexpr double kGraphBytesABlock = 150e3;

double parameter_bytes(const Mlp& model) {
    double n = 0;
    for (const tenon::Tensor& leaf : tenon::parameters(model).leaves()) n += static_cast<double>(leaf.size());
    return n * kBytesPerParameter;
}

double width_bytes(const tenon::nn::Linear& layer) {
    return sizeof(float) * static_cast<double>(layer.weight.in() + layer.weight.out());
}

/// Bytes for one image: each map's input, output and twice its intermediate, as its cost counts them, and input and
/// output again for norms, activations and their gradients (measured for a block: 20 d and twice the intermediates).
double image_bytes(const Mlp& model) {
    double bytes = static_cast<double>(model.cost(2).bytes - model.cost(1).bytes);
    bytes += width_bytes(model.input) + width_bytes(model.head);
    for (const auto& block : model.blocks) bytes += width_bytes(block.up) + width_bytes(block.down);
    return bytes;
}

}  // namespace

void check_memory(const tenon::nn::MlpOptions& options, std::int64_t batch, tenon::Device device) {
    // All blocks are alike, so networks of one and two blocks determine the rest. They are recorded, never computed.
    auto small = options;
    const auto of_depth = [&](std::int64_t depth) {
        small.depth = depth;
        return Mlp::random(tenon::random::Key(0), small);
    };
    const Mlp one = of_depth(1), two = of_depth(2);
    const double more = static_cast<double>(options.depth - 1);
    const auto whole = [&](double of_one, double of_two) { return of_one + more * (of_two - of_one); };
    const auto available =
        static_cast<double>(device == tenon::Device::cpu() ? tenon::machine().memory_available
                                                           : tenon::device_properties(device).memory_bytes);
    const auto check = [&](double needed) {
        if (available > 0 && needed > available)
            throw tenon::MemoryError("--width " + std::to_string(options.width) + " --depth " +
                                     std::to_string(options.depth) + " --batch " + std::to_string(batch) + ": " +
                                     options.structure + " needs about " + si(needed, "B") +
                                     " of memory, and there are " + si(available, "B"));
    };
    const double fixed =
        whole(parameter_bytes(one), parameter_bytes(two)) + kGraphBytesABlock * static_cast<double>(options.depth);
    check(fixed);  // first: the counts below exceed 64 bits only if this exceeds any memory
    check(fixed + static_cast<double>(batch) * whole(image_bytes(one), image_bytes(two)));
}

}  // namespace cli
