// The functions of tenon/device.h about CUDA devices.
#include "base/storage.h"
#include "base/text.h"
#include "cuda/device.h"
#include "cuda/driver.h"
#include "tenon/device.h"
#include "tenon/error.h"

namespace tenon {
namespace {

cuda::Gpu& gpu_of(Device device, const char* op) {
    if (device.kind != Device::Kind::cuda) throw ValueError(text(op, ": ", to_string(device), " is no CUDA device"));
    return cuda::Gpu::at(device.index);
}

}  // namespace

std::string cuda_absent() {
    try {
        cuda::Gpu::at(0);
        return {};
    } catch (const Error& e) {
        constexpr std::string_view kPrefix = "cuda: ";
        const std::string_view what = e.what();
        return std::string(what.starts_with(kPrefix) ? what.substr(kPrefix.size()) : what);
    }
}

int cuda_device_count() { return cuda::Gpu::count(); }

DeviceProperties device_properties(Device device) {
    const cuda::Gpu& gpu = gpu_of(device, "device_properties");
    const auto& compiler = cuda::nvrtc();
    return {gpu.name(),         gpu.architecture(),     gpu.multiprocessors(),
            gpu.memory_bytes(), cuda::driver().version, text("NVRTC ", compiler.major, ".", compiler.minor)};
}

void synchronize(Device device) {
    if (device.kind == Device::Kind::cuda) gpu_of(device, "synchronize").synchronize();
}

DeviceMemory device_memory_statistics(Device device) {
    const cuda::PoolStatistics s = gpu_of(device, "device_memory_statistics").memory_statistics();
    return {s.in_use, s.peak_in_use, s.cached};
}

void reset_peak_device_memory(Device device) { gpu_of(device, "reset_peak_device_memory").reset_peak_memory(); }

void trim_device_memory(Device device) {
    if (device == Device::cpu()) return trim_memory();
    cuda::Gpu& gpu = gpu_of(device, "trim_device_memory");
    gpu.synchronize();
    gpu.trim_memory();
}

}  // namespace tenon
