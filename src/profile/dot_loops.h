// Loops that keep the dot-product instructions of one CPU busy.
#pragma once

#include <cstdint>

namespace tenon::profile {

/// Independent chains in registers: pairs of bfloat16, fours of uint8 and int8. They need avx512_bf16 and avx512_vnni;
/// null in builds for other machines.
struct DotLoop {
    void (*run)(std::int64_t steps);
    std::int64_t operations_per_step;
};
extern const DotLoop kBf16Loop, kU8s8Loop;

}  // namespace tenon::profile
