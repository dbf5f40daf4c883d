// Elements of an operand that come through a tape (prologue.h): some lines and some k at a time, they are staged in a
// buffer of the nearest cache and packed from there.
#pragma once

#include <algorithm>

#include "product/dense/kernels.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/float_environment.h"

namespace tenon::product::dense {

/// Runs the tape over lines x k of an operand, into memory with these strides (in elements of the result). `kept` is
/// the plan of the previous run: planning takes as long as some hundred elements of an activation.
inline void run_prologue(const LoweredPrologue& p, DType result, std::int64_t batch, Range lines, Range k, void* to,
                         std::int64_t line_stride, std::int64_t k_stride, tape::CachedPlan& kept) {
    const FloatEnvironment environment(Subnormals::keep);
    View views[kMaxPrologueInputs + 1];
    const auto fill = [&](View& v, void* data, DType type, std::int64_t line, std::int64_t step) {
        v.data = data;
        v.dtype = type;
        v.layout.shape = {lines.size(), k.size()};
        v.layout.strides = {line, step};
    };
    for (int i = 0; i < p.count; ++i) {
        const LoweredPrologue::Input& input = p.inputs[i];
        const std::int64_t at = batch * input.batch + lines.begin * input.line + k.begin * input.k;
        fill(views[i], static_cast<std::byte*>(input.data) + at * static_cast<std::int64_t>(size_of(input.type)),
             input.type, input.line, input.k);
    }
    View& out = views[p.count];
    fill(out, to, result, line_stride, k_stride);
    tape::run(*p.tape, {views, static_cast<std::size_t>(p.count)}, {&out, 1}, &kept);
}

/// A thread's buffer for staged elements: line after line, or k after k if lines are adjacent.
class Staging {
  public:
    /// For at most this many lines times k at once, neither of them above `longest`.
    static std::size_t bytes(std::int64_t elements, DType type, std::int64_t longest) {
        return Scratch::aligned(static_cast<std::size_t>(elements) * size_of(type)) +
               2 * Scratch::aligned(static_cast<std::size_t>(longest) * 8);
    }
    Staging() = default;
    Staging(Scratch& scratch, std::int64_t elements, DType type, std::int64_t longest)
        : type_(type),
          data_(scratch.take<std::byte>(elements * static_cast<std::int64_t>(size_of(type)))),
          unit_(scratch.take<std::int64_t>(longest)),
          steps_(scratch.take<std::int64_t>(longest)) {
        for (std::int64_t i = 0; i < longest; ++i) unit_[i] = i;
    }

    void run(const LoweredPrologue& p, std::int64_t batch, Range lines, Range k, bool adjacent) {
        adjacent_ = adjacent;
        k_ = k.size();
        const std::int64_t pitch = adjacent ? lines.size() : k_;
        for (std::int64_t i = 0; i < (adjacent ? k_ : lines.size()); ++i) steps_[i] = i * pitch;
        run_prologue(p, type_, batch, lines, k, data_, adjacent ? 1 : pitch, adjacent ? pitch : 1, kept);
    }

    /// What was run last, as a source of packing: `lines` lines from index `first`.
    PackSource source(std::int64_t first, std::int64_t lines) const {
        return adjacent_ ? PackSource{data_, unit_ + first, steps_, lines, k_}
                         : PackSource{data_, steps_ + first, unit_, lines, k_};
    }

    tape::CachedPlan kept;  // of the operand's tape

  private:
    DType type_ = DType::float32;
    std::byte* data_ = nullptr;
    std::int64_t *unit_ = nullptr, *steps_ = nullptr;
    bool adjacent_ = false;
    std::int64_t k_ = 0;
};

}  // namespace tenon::product::dense
