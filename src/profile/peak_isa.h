// Loops that keep the arithmetic, or the memory, of one CPU busy: one copy for each instruction set.
#pragma once

#include <cstdint>

namespace tenon::profile {

struct PeakLoops {
    /// Independent chains of fused multiply-adds, `steps` long; returns their sum. `flops_per_step` counts all chains.
    float (*f32)(std::int64_t steps, float factor, float addend);
    double (*f64)(std::int64_t steps, double factor, double addend);
    std::int64_t f32_flops_per_step, f64_flops_per_step;
    /// The same with pairs of 8-bit integers (product/dense/byte_pairs.h); null if there is no such instruction.
    std::uint32_t (*bytes)(std::int64_t steps, std::uint32_t factor, std::uint32_t addend);
    std::int64_t bytes_operations_per_step;
    /// The sum of n elements; n is a multiple of kBandwidthGrain.
    double (*read)(const double* x, std::int64_t n);
    /// a = b + s * c, n as above.
    void (*triad)(double* a, const double* b, const double* c, double s, std::int64_t n);
};

constexpr std::int64_t kBandwidthGrain = 1024;

namespace baseline {
extern const PeakLoops kPeakLoops;
}
namespace avx2 {
extern const PeakLoops kPeakLoops;
}
namespace avx512 {
extern const PeakLoops kPeakLoops;
}
namespace neon {
extern const PeakLoops kPeakLoops;
}

}  // namespace tenon::profile
