// The memory that an epilogue will read and write besides the sums, for the kernels of the sums to prefetch: a residual
// and the output come from beyond L2, in short rows that the hardware does not follow.
#pragma once

#include "product/dense/tile_output.h"

namespace tenon::product::dense {

template <class In, class Acc>
class EpilogueLines {
  public:
    explicit EpilogueLines(const TileOutput<In, Acc>& output) : output_(output) {}

    /// Other lines are asked for from now on, and nothing for the epilogue.
    void end() { left_ = 0, asks_ = false; }
    /// Next, those of some rows and columns of the current chunk.
    void begin(Range rows, Range columns) { rows_ = rows, columns_ = columns, left_ = output_.epilogue_operands(); }
    /// Continues with further lines once the previous ones have been requested. They come before other lines, which
    /// continue after them.
    void refill(PrefetchLines& next) {
        if (left_ > 0 && !asks_) others_ = next, next.left = 0, asks_ = true;
        if (!asks_ || next.left > 0) return;
        while (next.left <= 0 && left_ > 0) next = output_.epilogue_lines(--left_, rows_, columns_);
        if (next.left <= 0) next = others_, asks_ = false;
    }

  private:
    const TileOutput<In, Acc>& output_;
    Range rows_{0, 0}, columns_{0, 0};
    PrefetchLines others_;
    int left_ = 0;
    bool asks_ = false;
};

}  // namespace tenon::product::dense
