// The machine Tenon runs on: what the CPU is and can do, and how fast it is, measured.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/export.h"

namespace tenon {

struct Machine {
    /// The CPU's name, as the system gives it; else the architecture.
    std::string cpu;
    /// Logical CPUs online, those that this process's affinity mask allows, and of these as many as its cgroups' quota
    /// allows (rounded up).
    int cpus = 1, cpus_allowed = 1, cpus_usable = 1;
    /// Bytes of memory that the system has for new work now, at most the limit of the process's cgroups; 0 if the
    /// system does not say.
    std::int64_t memory_available = 0;
    /// Bytes of the data caches that one CPU reads through: its own of the first two levels, and the last level, shared
    /// or not. Typical sizes where the system does not tell.
    std::array<std::int64_t, 3> cache_bytes{};
    /// The instruction set in use (TENON_ISA, otherwise the best), and all sets that this build has kernels for and the
    /// CPU supports, simplest first.
    std::string instruction_set;
    std::vector<std::string> instruction_sets;
    /// Extensions of the CPU that bear on matrix products, used or not ("avx512f", "avx512_bf16", ...), as Linux spells
    /// them.
    std::vector<std::string> features;
};

/// Throws ValueError where TENON_ISA names no instruction set of this CPU.
TENON_API Machine machine();

/// Operations a second of independent chains of multiply-adds that stay in registers (a multiply-add counts two): what
/// no product can exceed. float32 and float64 by fused multiply-adds; bfloat16 by the dot-product instruction of
/// avx512_bf16; int8 (uint8 times int8, summed in int32) by that of avx512_vnni, on other x86 by pairs widened to 16
/// bits (pmaddwd and an addition). The best of several runs, all threads together; takes about 50 ms. The instruction
/// set `baseline` of x86-64 has no fused multiply-add and calls the C library's. Throws ValueError for an instruction
/// set that machine() does not list or a thread count below 1, TypeError for a dtype of which the instruction set has
/// no such instruction.
TENON_API double measure_peak(DType dtype, int threads, const std::string& instruction_set);

/// Bytes a second from and to main memory.
struct Bandwidth {
    /// The sum of an array.
    double read = 0;
    /// a = b + s * c over three arrays, counted as STREAM does: each array once.
    double triad = 0;
    /// The size of one array: beyond the last-level cache where memory allows (at least 64 MiB, at most 256 MiB, at
    /// most a sixteenth of the memory).
    std::int64_t array_bytes = 0;
};

/// The best of several runs, all threads together, in the instruction set in use; takes about a second and three
/// arrays. Throws ValueError for a thread count below 1, MemoryError if there is no memory for the arrays.
TENON_API Bandwidth measure_bandwidth(int threads);

/// Bytes a second that are read, each thread an array of its own of so many bytes (rounded to 8 KiB), again and again:
/// from the nearest cache that holds it. The best of several runs, all threads together; takes about 50 ms. Throws
/// ValueError for an instruction set that machine() does not list and for bytes or a thread count below 1, MemoryError.
TENON_API double measure_read(std::int64_t bytes, int threads, const std::string& instruction_set);

/// Where operands are read from.
enum class MemoryLevel : std::uint8_t { l1, l2, l3, memory };
inline constexpr int kMemoryLevels = 4;
/// "L1", "L2", "L3" or "memory".
TENON_API const char* name(MemoryLevel level);

/// What no product on so many threads can exceed: the roofline of Williams, Waterman and Patterson (CACM 52, 2009).
struct TENON_API Ceilings {
    int threads = 1;
    /// Operations a second of instructions that stay in registers, by the dtype of the operands. bfloat16 has at
    /// least the peak of float32, to which it may be widened: its own instruction may be missing, or slow; int8 has
    /// none (NaN) on other CPUs than x86.
    double float32 = 0, float64 = 0, bfloat16 = 0, int8 = 0;
    /// Bytes a second that are read from each level, and the bytes that it holds for so many threads.
    std::array<double, kMemoryLevels> read{}, capacity{};

    /// float16 is computed in float32; integers of 8 bits have the peak of int8, others NaN.
    double peak(DType operands) const;
    /// The nearest level that holds so many bytes.
    MemoryLevel level_of(double bytes) const;
    /// Operations a second: the lesser of the peak and what the bandwidth of a level allows where `bytes` are moved for
    /// `operations`; of the bandwidth alone where there is no peak.
    double roofline(DType operands, double operations, double bytes, MemoryLevel level) const;
};

/// The best of several rounds, of an instruction set that machine() lists, or of the best; takes about three seconds.
/// Of more threads than usable CPUs the ceilings are those of as many threads as there are CPUs. Throws what
/// measure_peak and measure_bandwidth throw.
TENON_API Ceilings measure_ceilings(int threads, const std::string& instruction_set = {});

}  // namespace tenon
