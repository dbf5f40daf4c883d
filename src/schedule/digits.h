// The axes of what lies between two tasks, followed through views: an index is a number whose digits the axes are, and
// a view that visits each element once is another order of the digits, some of them split.
#pragma once

#include <optional>
#include <vector>

#include "primitive/contract.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// A part of a buffer's index: `z` is its step in the buffer that the first of the tasks writes, row-major.
struct Digit {
    std::int64_t extent, z;
};
/// A buffer's index as its elements lie, slowest first. No extent is 1.
using Digits = std::vector<Digit>;

/// Of a row-major buffer.
Digits digits_of(const Shape& shape);

/// The digits of each axis of a layout over the buffer, which get split where an axis begins or ends within one. Empty
/// where the layout is no permutation of them.
std::optional<std::vector<Digits>> read(Digits buffer, const Layout& layout);

/// Those of all axes, in order.
Digits joined(const std::vector<Digits>& axes);

/// Another operand that is read along with a buffer, element by element.
class Side {
  public:
    Side(const Source& s, const std::vector<Digits>& axes);
    Index base() const { return source_.base; }
    /// Under these digits, each of them a part of one that the axes had.
    Source under(const Digits& digits) const;

  private:
    struct Part {
        Digit digit;
        std::int64_t stride;
    };
    Source source_;
    std::vector<Part> parts_;
};

/// A contraction's axes under new labels, some of them in parts. Axes of one element have none.
class Relabelled {
  public:
    /// The next part, inwards, of an axis.
    void add(std::uint8_t old, std::int64_t extent) {
        if (extent != 1) parts_[old].push_back({next_++, extent});
    }
    /// All parts of an axis; false where it has other parts already.
    bool add(std::uint8_t old, const Digits& digits);
    /// Whole, those of an operand that have no parts yet.
    void add_others(const AxisLabels& labels, const Shape& shape);
    /// Whether a view can have as many axes.
    bool fits(const AxisLabels& labels) const;
    std::vector<std::uint8_t> labels(const AxisLabels& old) const;
    Layout layout(const AxisLabels& old, const Layout& l) const;

  private:
    struct Part {
        std::uint8_t label;
        std::int64_t extent;
    };
    std::vector<Part> parts_[32];
    std::uint8_t next_ = 0;
};

}  // namespace tenon::schedule
