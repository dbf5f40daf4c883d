// Sums of columns of what a tape computes, which is not stored.
#pragma once

#include <memory>
#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// Each output is the sum of an output of the tape over all axes but the last. One pass over the inputs, which have one
/// shape and any strides, computes all of them, and a small pass joins 64 partial sums for each 16,384 rows. Outputs
/// are contiguous, with as many elements as the last axis, which is not empty. The bits are those of tape::run and
/// tape::reduce.
void sum_columns(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

namespace detail {
/// Joins the lanes of sums. `partial` has [chunks][64][out] for each of the outputs, which all have the same number of
/// elements.
void join_lanes(Gpu& gpu, std::span<const std::shared_ptr<Storage>> partial, std::int64_t chunks,
                std::span<const View> outputs);
}  // namespace detail

}  // namespace tenon::cuda
