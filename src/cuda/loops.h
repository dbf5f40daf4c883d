// Runs tapes on a device. A tape is printed as CUDA C++ (print_tape.h), compiled, and launched on views of the device's
// memory. The bits are those of the host's interpreter: scalar functions are compiled from the same sources, and
// reductions have the same lanes and trees.
#pragma once

#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/rows.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// tape::run on the device. The caller has checked the views.
void run(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// tape::run_rows on the device, for any number of columns.
void run_rows(Gpu& gpu, const tape::RowTape& tape, std::span<const View> inputs, std::span<const View> outputs);

/// tape::reduce, tape::argreduce and tape::cumulative on the device. Running sums and products of floating numbers
/// along more than 2,048 elements have another order than the host's; it depends on the length alone.
void reduce(Gpu& gpu, tape::Reduction op, const View& in, const Axes& axes, const View& out);
void argreduce(Gpu& gpu, tape::Reduction op, const View& in, const Axes& axes, const View& out);
void cumulative(Gpu& gpu, tape::Reduction op, const View& in, int axis, const View& out);

/// Fill a contiguous output with 0, 1, 2, ... and with the words of base/philox.h, whose key is one uint64.
void iota(Gpu& gpu, const View& out);
void random_bits(Gpu& gpu, const View& key, std::uint64_t domain, const View& out);

/// Copies rows of x by index into a contiguous output. An index out of range is thrown as a ValueError at the next
/// synchronization.
void gather(Gpu& gpu, const View& x, const View& indices, const View& out);
/// Stores x in a contiguous output, with rows replaced (where an index occurs several times, the last update stays) or,
/// if `add`, increased (in the order of the indices). False, with nothing done, for more updates than the kernels take.
bool scatter(Gpu& gpu, bool add, const View& x, const View& indices, const View& updates, const View& out);

/// Sets every element of `out` to the value of its dtype whose bits are the low bits of `bits`.
void fill(Gpu& gpu, std::uint64_t bits, const View& out);
/// Copies elements from one view to another of the same shape and dtype.
void copy(Gpu& gpu, const View& in, const View& out);

/// Copy between a view of the device's memory and row-major elements in the host's memory.
void copy_to_host(Gpu& gpu, const View& in, void* to);
void copy_to_device(Gpu& gpu, const void* from, const View& out);

}  // namespace tenon::cuda
