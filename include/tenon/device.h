// Where tensors live and are computed. A tensor made from host values is on the CPU; `to_device` moves it; what is
// computed from tensors stands where they do.
#pragma once

#include <cstdint>
#include <string>

#include "tenon/export.h"

namespace tenon {

/// A place of computation: the CPU, or a CUDA device by its number.
struct Device {
    enum class Kind : std::uint8_t { cpu, cuda };
    Kind kind = Kind::cpu;
    std::uint8_t index = 0;

    static constexpr Device cpu() { return {}; }
    /// The device of that number as the driver counts them (CUDA_VISIBLE_DEVICES applies).
    static constexpr Device cuda(int index = 0) { return {Kind::cuda, static_cast<std::uint8_t>(index)}; }
    friend constexpr bool operator==(Device, Device) = default;
};

/// "cpu", "cuda:0".
TENON_API std::string to_string(Device device);
/// The inverse; "cuda" is cuda:0. Throws ValueError.
TENON_API Device device_of(const std::string& name);

}  // namespace tenon
