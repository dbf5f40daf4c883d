// Tapes on a device: printed as CUDA C++ (print_tape.h), compiled, and launched on views of its memory. Bits are those
// of the host's interpreter, whose scalar sources the kernels are made of; reductions have the same lanes and trees.
#pragma once

#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// tape::run. Views are checked by the caller.
void run(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// tape::run_rows, of any number of columns.
void run_rows(Gpu& gpu, const tape::RowTape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// tape::reduce, tape::argreduce, tape::cumulative. Running sums and products of floating numbers along more than 2,048
/// elements are of another order than the host's, which depends on the length alone.
void reduce(Gpu& gpu, tape::Reduction op, const View& in, const Axes& axes, const View& out);
void argreduce(Gpu& gpu, tape::Reduction op, const View& in, const Axes& axes, const View& out);
void cumulative(Gpu& gpu, tape::Reduction op, const View& in, int axis, const View& out);

/// 0, 1, 2, ... and the words of base/philox.h, whose key is one uint64; outputs are contiguous.
void iota(Gpu& gpu, const View& out);
void random_bits(Gpu& gpu, const View& key, std::uint64_t domain, const View& out);

/// Rows of x by index, into a contiguous output. An index outside the rows is thrown as a ValueError at the next
/// synchronisation.
void gather(Gpu& gpu, const View& x, const View& indices, const View& out);
/// x with rows replaced (the last of several stays) or increased (in the order of the indices), into a contiguous
/// output; false, and nothing done, for more updates than it takes.
bool scatter(Gpu& gpu, bool add, const View& x, const View& indices, const View& updates, const View& out);

/// Every element of `out` becomes the value whose dtype is out's and whose bits are the low ones of `bits`.
void fill(Gpu& gpu, std::uint64_t bits, const View& out);
/// Elements from one view to another of the same shape and dtype.
void copy(Gpu& gpu, const View& in, const View& out);

/// The contents of a view of the device's memory, row-major in the host's, and the way back.
void copy_to_host(Gpu& gpu, const View& in, void* to);
void copy_to_device(Gpu& gpu, const void* from, const View& out);

}  // namespace tenon::cuda
