// to_device: the elements in another device's memory.
#include "primitive/operands.h"
#include "primitive/view_of.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

Device device_at(const Attributes& a, std::size_t i) {
    return {static_cast<Device::Kind>(a[i]), static_cast<std::uint8_t>(a[i + 1])};
}

constexpr Primitive kToDevice{
    .name = "to_device",
    .doc = "The elements in another device's memory.",
    .role = Role::opaque,
    .infer = infer_alike,
    .derivative = Derivative::linear,
    .linear = 1,
    .adjoint = [](const AdjointContext& c) { return to_device(c.ct, device_at(c.node.attributes, 2)); },
    .cost =
        [](const Node& n) {
            return Cost{0, 2.0 * static_cast<double>(count(n.shape)) * static_cast<double>(size_of(n.dtype))};
        },
    .device = [](const Attributes& a) { return device_at(a, 0); },
    .reference = [](const Node&, std::span<const View> in, const View& out) { copy(in[0], out); },
    .samples =
        [] {
            return std::vector{Sample{{{3, 2}}, -1, 1, [](std::span<const Tensor> in) {
                                          return record(kToDevice, {in[0]}, {0, 0, 0, 0});  // from the CPU to it
                                      }}};
        },
};
const Register registered(kToDevice);

}  // namespace

Tensor to_device(const Tensor& x, Device device) {
    check_defined("to_device", x);
    const std::optional<Device> now = x.node()->device;
    if (now == device) return x;
    static constexpr auto kind = [](Device d) { return static_cast<std::int64_t>(d.kind); };
    const Device from = now.value_or(Device::cpu());  // for the adjoint, whose placeholders have no device
    return record(kToDevice, {x}, {kind(device), device.index, kind(from), from.index});
}

}  // namespace tenon
