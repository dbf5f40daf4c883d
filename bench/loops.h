// Loops that keep the arithmetic or the loads of one CPU busy.
#pragma once

#include <cstdint>

namespace bench {

/// Independent chains of dot-product instructions in registers: pairs of bfloat16, fours of uint8 and int8. They need
/// avx512_bf16 and avx512_vnni; null in builds for other machines.
struct DotLoop {
    void (*run)(std::int64_t steps);
    std::int64_t operations_per_step;
};
extern const DotLoop kBf16Loop, kU8s8Loop;

/// Reads n doubles, a multiple of 256; with the widest loads of the instruction set.
using ReadLoop = void(const double* x, std::int64_t n);
ReadLoop* read_loop(const char* instruction_set);

}  // namespace bench
