// The tape: a short list of register-machine instructions on blocks that fit L1. An eager elementwise operation is a
// tape with one instruction, so fused and unfused work is the same code and gives the same bits.
//
// Every instruction rounds its result to its dtype: float16 and bfloat16 are computed in float32 and rounded after each
// instruction, so fusing never changes a bit. The kernels are scalar sources (*_isa.cpp), compiled once for each
// instruction set; IEEE arithmetic and explicit fused multiply-adds make them agree bit for bit.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/view.h"
#include "tape/opcode.h"
#include "tape/reduction.h"

namespace tenon::tape {

/// Registers are numbered: inputs first, then one for each instruction.
struct Instruction {
    Opcode op;
    DType type;  // of the operands; for select, of operands 1 and 2 (operand 0 is boolean)
    DType result;  // for cast, the target; else result_type(op, type)
    std::uint8_t operands[3]{};  // registers
};

/// Single assignment; at most 255 registers.
struct Tape {
    std::vector<DType> inputs;
    std::vector<Instruction> code;
    std::vector<std::uint8_t> outputs;  // registers that are stored, in order
};

/// The dtype of a register; throws std::out_of_range if the tape has no such register.
DType type_of(const Tape& tape, std::size_t reg);

/// A tape of one instruction over the inputs.
Tape single(Opcode op, std::span<const DType> inputs, DType result);

/// The plan of a run, for the next run of the same tape, by one thread at a time. If the operands' layouts differ, it
/// is replaced. Empty at first.
using CachedPlan = std::shared_ptr<void>;

/// Runs over all elements. Inputs and outputs have one shape (an input is broadcast by strides of zero) and the dtypes
/// that the tape says. An output may share the memory of an input with the same layout; otherwise it must not overlap
/// one.
void run(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs, CachedPlan* kept = nullptr);

/// The law: one element at a time, in the baseline build of the same scalar source.
void run_reference(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// One line for each input, instruction ("r2:float32 = multiply r0 r1") and output.
std::string to_string(const Tape& tape);

/// Reduces `axes` of `in` into `out`, whose shape is that of `in` with those axes removed. dtypes are equal. The order
/// depends on the shape alone: the reduced elements, counted row-major, are cut into chunks of kReduceChunk; a chunk's
/// go to 64 virtual lanes round robin, the lanes join in a fixed binary tree (l with l + 32, then l + 16, ...), and the
/// chunks' results join in order. Lanes start from the neutral value (-0 for floating sums, so that a sum of -0 is -0).
/// float16 and bfloat16 accumulate in float32 and round once. The sum of nothing is 0, the product 1; max and min
/// propagate NaN, and of nothing give the dtype's lowest and highest value (infinities). Booleans take max (any) and
/// min (all).
void reduce(Reduction op, const View& in, const Axes& axes, const View& out);
/// The same, one element at a time.
void reduce_reference(Reduction op, const View& in, const Axes& axes, const View& out);

inline constexpr std::int64_t kReduceChunk = 16384;

/// The position of the extreme (op is max or min): the row-major index, int64, over the reduced axes. The first of
/// equal elements; a NaN wins over everything else, and the first NaN over others. Throws ValueError if nothing is
/// reduced to an index.
void argreduce(Reduction op, const View& in, const Axes& axes, const View& out);

/// The running result along `axis`, each element included in its own; `out` has the shape and dtype of `in` and may
/// share its memory with the same layout. float16 and bfloat16 run in float32 and round each result.
void cumulative(Reduction op, const View& in, int axis, const View& out);

}  // namespace tenon::tape
