// Where tensors live and are computed. A tensor made from host values is on the CPU, and `to_device`
// (tenon/primitives.h) moves it; what is computed from tensors is where they are, and operands on different devices are
// a ValueError. Numbers, constants (zeros, arange) and random tensors have no place of their own: they are made where
// they are used. Reading (to, item, printing, saving) copies from the device; data() and host() do not.
//
// A device works through what is recorded in order, while the host runs ahead: eval returns once the work is enqueued,
// and only reading waits. An error there is reported by the next read or synchronize.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
/// The inverse; "cuda" is cuda:0. Throws ValueError for any other text; whether there is such a device is not asked.
TENON_API Device device_of(const std::string& name);

/// Why no CUDA device can be used: no driver, no run-time compiler (NVRTC), no device, or one that is too old. Empty
/// where cuda:0 can. The first call loads the driver.
TENON_API std::string cuda_absent();

struct DeviceProperties {
    std::string name;
    std::string architecture;  // "sm_90a"
    int multiprocessors;
    std::int64_t memory_bytes;
    int driver;  // 13000 is CUDA 13.0
    std::string compiler;  // "NVRTC 13.0"
};
/// Of a CUDA device. Throws ValueError with the reason where it cannot be used.
TENON_API DeviceProperties device_properties(Device device);
/// How many CUDA devices the driver shows; 0 without one.
TENON_API int cuda_device_count();

/// Returns once everything enqueued on the device is done; immediately for the CPU. Throws ValueError with the error
/// that occurred there, or with the reason where the device cannot be used, as the functions below do.
TENON_API void synchronize(Device device);

/// Bytes of tensors on the device, and what is kept for reuse.
struct DeviceMemory {
    std::int64_t in_use;
    std::int64_t peak_in_use;  // since the start or reset_peak_device_memory
    std::int64_t cached;
};
/// Of a CUDA device; the CPU is a ValueError.
TENON_API DeviceMemory device_memory_statistics(Device device);
/// The peak starts again from what is in use. The CPU is a ValueError.
TENON_API void reset_peak_device_memory(Device device);
/// Gives memory kept for reuse back to the system, once what is enqueued is done; on the CPU, what the allocator keeps.
TENON_API void trim_device_memory(Device device);

}  // namespace tenon
