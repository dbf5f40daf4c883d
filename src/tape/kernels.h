// The loops behind the tape, one set of them for each instruction set, as tables of plain functions. All of a set comes
// from the *_isa.cpp files of this folder; sets differ in speed and never in bits (NaN payloads aside).
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tape/opcode.h"
#include "tape/tape.h"

namespace tenon::tape {

/// n elements, each array contiguous. `out` may be one of `in` where their dtypes are equal, and overlaps none
/// otherwise.
using Kernel = void (*)(void* out, const void* const* in, std::int64_t n);

/// Reductions keep, for each of some columns, kLanes accumulators: `lanes` is an array [kLanes][columns] of the dtype,
/// or float32 for float16 and bfloat16.
inline constexpr std::int64_t kLanes = 64;

struct ReduceKernels {
    /// Fills `n` accumulators with the neutral value.
    void (*fill)(void* lanes, std::int64_t n);
    /// Row i of x (contiguous columns, rows `stride` elements apart) enters lane (first + i) mod kLanes.
    void (*accumulate)(void* lanes, std::int64_t columns, const void* x, std::int64_t stride, std::int64_t rows,
                       std::int64_t first);
    /// a[i] = op(a[i], b[i]): halves of the lanes join, and chunks.
    void (*join)(void* a, const void* b, std::int64_t n);
    /// Accumulators to the dtype.
    void (*store)(void* out, const void* a, std::int64_t n);
    /// The running result over rows, `a` being the accumulators of the columns: y[i] = a = op(a, x[i]).
    void (*cumulate)(void* a, std::int64_t columns, const void* x, std::int64_t x_stride, void* y,
                     std::int64_t y_stride, std::int64_t rows);
};

/// The positions of extremes: rows from `first` on are compared with `best`, an array of accumulators, and `index`.
/// Row 0 initialises both.
using ArgKernel = void (*)(void* best, std::int64_t* index, std::int64_t columns, const void* x, std::int64_t stride,
                           std::int64_t rows, std::int64_t first);

struct StripStep;
inline constexpr int kStripVectors = 8, kMaxStrip = 128;
/// A step's function, of a type that only its instruction set knows.
using StripHandler = void (*)();

/// The steps of strips (strips.h). In registers all is float32; other dtypes are read and written through a cast.
struct StripTable {
    std::int64_t width;  // elements of a strip, at most kMaxStrip; 0 where the set has none
    /// Elements [begin, end), whole strips.
    void (*run)(const StripStep* steps, std::int64_t begin, std::int64_t end);
    StripHandler end, any, prefetch, stream, fma;
    StripHandler load[kDTypeCount], store[kDTypeCount];  // at[0] to registers; registers to at[3]
    StripHandler unary[kOpcodeCount];  // predicates write booleans to at[3] and leave the registers as they are
    /// By where the operands stand: in registers, in memory, or one value in memory for all elements. What is not in
    /// registers is at[0] and then at[1]; null where both are one value. Predicates write as unary ones do.
    StripHandler binary[kOpcodeCount][3][3];
    StripHandler select[2][2];  // by at[0]: registers or at[1], at[1] or registers; at[1] in memory, or one value
    StripHandler reduce[4], reduce_part[4];  // into the kLanes at at[3]; of a part, at[0].step elements
    /// Makes streamed stores visible to threads that are signalled afterwards.
    void (*fence)();
    /// Joins kLanes lanes to one.
    float (*join[4])(const float* lanes);
};

/// Loops that reduce n elements of a row of float32, side by side and no more than a chunk, in kLanes lanes and the
/// lanes to one; null where a set has none (row_kernels_isa.cpp).
enum class RowFunction : std::uint8_t { square, exp };
struct RowKernels {
    float (*reduce[4])(const float* x, std::int64_t n);  // by Reduction
    /// By RowFunction: the sum of f(x - less), which `keep` gets too unless it is null, while as many elements at
    /// `ahead`, unless that is null, are prefetched.
    float (*sum_of[2])(const float* x, float less, std::int64_t n, float* keep, const char* ahead);
};

struct KernelTable {
    Kernel elementwise[kOpcodeCount][kDTypeCount];  // by the dtype of the operands; null where not accepted
    Kernel cast[kDTypeCount][kDTypeCount];  // from, to
    ReduceKernels reduce[4][kDTypeCount];  // by Reduction
    ArgKernel arg[2][kDTypeCount];  // max, min
    StripTable strips;
    RowKernels row_kernels;
};

/// Throws ValueError for a set this build lacks.
const KernelTable& kernels(Isa isa);
/// Of the set in force.
inline const KernelTable& kernels() { return kernels(isa()); }

}  // namespace tenon::tape
