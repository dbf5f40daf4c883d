// The machine Tenon runs on: what the CPU is and can do, and how fast it is, measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/export.h"

namespace tenon {

struct Machine {
    /// The CPU's name, as the system gives it; else the architecture.
    std::string cpu;
    /// Logical CPUs online, those that this process's affinity mask allows, and those cut by its cgroups' quota
    /// (rounded up).
    int cpus = 1, cpus_allowed = 1, cpus_usable = 1;
    /// Bytes of memory that the system has for new work now, cut by the limit of the process's cgroups; 0 where the
    /// system does not tell.
    std::int64_t memory_available = 0;
    /// The instruction set in force (TENON_ISA, else the best), and all that this build has kernels for and the CPU
    /// runs, the simplest first.
    std::string instruction_set;
    std::vector<std::string> instruction_sets;
    /// Extensions of the CPU that bear on matrix products, used or not ("avx512f", "avx512_bf16", ...), as Linux spells
    /// them.
    std::vector<std::string> features;
};

/// Throws ValueError where TENON_ISA names no instruction set of this CPU.
TENON_API Machine machine();

/// Floating-point operations a second of independent chains of fused multiply-adds that stay in registers (a fused
/// multiply-add counts two): what no product can exceed. The best of several runs, all threads together; takes about
/// 50 ms. The instruction set `baseline` of x86-64 has no fused multiply-add and calls the C library's.
/// Throws ValueError for an instruction set that machine() does not list or a thread count below 1, TypeError for a
/// dtype other than float32 and float64.
TENON_API double measure_peak(const std::string& instruction_set, DType dtype, int threads);

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

/// The best of several runs, all threads together, in the instruction set in force; takes about a second and three
/// arrays. Throws ValueError for a thread count below 1, MemoryError where the arrays cannot be had.
TENON_API Bandwidth measure_bandwidth(int threads);

}  // namespace tenon
