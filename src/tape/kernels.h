// The loops behind the tape, one set for each instruction set, as tables of plain functions. They are compiled from the
// *_isa.cpp files of this folder. Sets differ in speed, never in bits (NaN payloads aside).
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tape/opcode.h"
#include "tape/tape.h"

namespace tenon::tape {

/// n elements, each array contiguous. `out` may be one of `in` if their dtypes are equal; otherwise it overlaps none.
using Kernel = void (*)(void* out, const void* const* in, std::int64_t n);

/// For each of some columns, a reduction keeps kLanes accumulators: `lanes` is an array [kLanes][columns] of the dtype,
/// or of float32 for float16 and bfloat16.
inline constexpr std::int64_t kLanes = 64;

struct ReduceKernels {
    /// Fills `n` accumulators with the neutral value.
    void (*fill)(void* lanes, std::int64_t n);
    /// Adds row i of x (contiguous columns, rows `stride` elements apart) to lane (first + i) mod kLanes.
    void (*accumulate)(void* lanes, std::int64_t columns, const void* x, std::int64_t stride, std::int64_t rows,
                       std::int64_t first);
    /// a[i] = op(a[i], b[i]): joins halves of the lanes, and chunks.
    void (*join)(void* a, const void* b, std::int64_t n);
    /// Converts accumulators to the dtype.
    void (*store)(void* out, const void* a, std::int64_t n);
    /// The running result over rows, where `a` has the accumulators of the columns: y[i] = a = op(a, x[i]).
    void (*cumulate)(void* a, std::int64_t columns, const void* x, std::int64_t x_stride, void* y,
                     std::int64_t y_stride, std::int64_t rows);
};

/// The positions of extremes: rows from `first` are compared with `best`, an array of accumulators, and `index`. Row 0
/// initialises both.
using ArgKernel = void (*)(void* best, std::int64_t* index, std::int64_t columns, const void* x, std::int64_t stride,
                           std::int64_t rows, std::int64_t first);

struct StripStep;
inline constexpr int kStripVectors = 8, kMaxStrip = 128;
/// The function of a step; only its instruction set knows the type.
using StripHandler = void (*)();

/// The steps of strips (strips.h). Values in registers are float32; other dtypes are read and written through a cast.
struct StripTable {
    std::int64_t width;  // elements of a strip, at most kMaxStrip; 0 if the set has none
    /// Elements [begin, end), whole strips.
    void (*run)(const StripStep* steps, std::int64_t begin, std::int64_t end);
    StripHandler end, any, prefetch, stream, fma;
    StripHandler load[kDTypeCount], store[kDTypeCount];  // at[0] to registers; registers to at[3]
    StripHandler unary[kOpcodeCount];  // predicates write booleans to at[3] and leave the registers unchanged
    /// By where each operand is: in registers, in memory, or one value in memory for all elements. Operands outside
    /// registers are at[0] and then at[1]; null if both are one value. Predicates write as unary ones do.
    StripHandler binary[kOpcodeCount][3][3];
    StripHandler select[2][2];  // by at[0]: registers or at[1]; at[1] or registers; at[1] in memory or one value
    /// Registers and at[0] times the one value at[1], multiplied: by whether the latter is the first factor.
    StripHandler times_scaled[2];
    StripHandler reduce[4], reduce_part[4];  // into the kLanes at at[3]; a part has at[0].step elements
    /// Makes streaming stores visible to threads that are signalled afterwards.
    void (*fence)();
    /// Joins kLanes lanes to one.
    float (*join[4])(const float* lanes);
};

/// Loops that reduce n contiguous float32 elements of a row, at most a chunk, in kLanes lanes, and the lanes to one;
/// null if the set has none (row_kernels_isa.cpp).
enum class RowFunction : std::uint8_t { square, exp };
struct RowKernels {
    float (*reduce[4])(const float* x, std::int64_t n);  // by Reduction
    /// By RowFunction: the sum of f(x - less). The values of f are also written to `keep`, unless it is null; the same
    /// number of elements at `ahead`, unless it is null, is prefetched.
    float (*sum_of[2])(const float* x, float less, std::int64_t n, float* keep, const char* ahead);
};

struct KernelTable {
    Kernel elementwise[kOpcodeCount][kDTypeCount];  // by the dtype of the operands; null if not accepted
    Kernel cast[kDTypeCount][kDTypeCount];  // from, to
    ReduceKernels reduce[4][kDTypeCount];  // by Reduction
    ArgKernel arg[2][kDTypeCount];  // max, min
    StripTable strips;
    RowKernels row_kernels;
};

/// Throws ValueError for a set that this build lacks.
const KernelTable& kernels(Isa isa);
/// The table of the set in use.
inline const KernelTable& kernels() { return kernels(isa()); }

}  // namespace tenon::tape
