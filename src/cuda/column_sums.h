// Sums of columns of what a tape computes, without storing that.
#pragma once

#include <memory>
#include <span>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/tape.h"

namespace tenon::cuda {

/// Each output is the sum, over all axes but the last, of an output of the tape: all of them in one pass over the
/// inputs, which have one shape and any strides, and a small one over 64 partial sums for each 16,384 rows. Outputs are
/// contiguous, of as many elements as the last axis has, which is not empty. The bits are those of tape::run and
/// tape::reduce.
void sum_columns(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs);

namespace detail {
/// The sums whose lanes are in `partial`, [chunks][64][out] for each of the outputs, all of which have as many
/// elements.
void join_lanes(Gpu& gpu, std::span<const std::shared_ptr<Storage>> partial, std::int64_t chunks,
                std::span<const View> outputs);
}  // namespace detail

}  // namespace tenon::cuda
