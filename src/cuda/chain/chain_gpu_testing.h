// What the GPU tests of structured layers share: operands on the device, and the distance of results from the
// definition.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "cuda/device.h"
#include "cuda/gpu_testing.h"

namespace tenon::cuda {

using Halves = std::vector<std::uint16_t>;

inline float widen(std::uint16_t h) {
    const std::uint32_t bits = std::uint32_t{h} << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}
inline std::uint16_t narrow(double d) {
    const auto f = static_cast<float>(d);
    std::uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline Halves random_halves(std::int64_t n, std::mt19937& random, double scale) {
    std::normal_distribution<double> normal(0, scale);
    Halves h(static_cast<std::size_t>(n));
    for (auto& v : h) v = narrow(normal(random));
    return h;
}

/// One of the layer's operands on the device.
struct Buffer {
    Buffer(Gpu& device, std::int64_t bytes) : gpu(device), storage(gpu.allocate(bytes)) {
        gpu.fill_bytes(data(), 0xFF, bytes);
    }
    Buffer(Gpu& device, const Halves& h) : Buffer(device, static_cast<std::int64_t>(h.size() * 2)) {
        gpu.to_device(data(), h.data(), storage->bytes());
    }
    void* data() const { return storage->data(); }
    template <class T>
    std::vector<T> read() const {
        std::vector<T> v(static_cast<std::size_t>(storage->bytes()) / sizeof(T));
        gpu.to_host(v.data(), data(), storage->bytes());
        return v;
    }
    Gpu& gpu;
    std::shared_ptr<Storage> storage;
};

inline double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
    double d = 0, w = 0;
    for (std::size_t i = 0; i < want.size(); ++i) d += (got[i] - want[i]) * (got[i] - want[i]), w += want[i] * want[i];
    return std::sqrt(d / w);
}

inline constexpr double kHalf = 2.5e-3;  // the mean relative error by bf16's rounding of intermediate and result

class CudaChainTest : public testing::GpuTest {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (IsSkipped()) return;
        gpu = &Gpu::at(0);
        if (gpu->major() != 9) GTEST_SKIP() << "the kernels are of compute capability 9.0";
    }
    Gpu* gpu = nullptr;
};

}  // namespace tenon::cuda
