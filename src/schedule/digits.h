// The axes of what is between two tasks, followed through views. An index is a number whose digits are the axes; a view
// that visits each element once is another order of the digits, some of them split.
#pragma once

#include <optional>
#include <vector>

#include "primitive/contract.h"
#include "schedule/program.h"

namespace tenon::schedule {

/// A part of a buffer's index. `z` is its step in the buffer that the first task writes, row-major.
struct Digit {
    std::int64_t extent, z;
};
/// A buffer's index in memory order, slowest first. No extent is 1.
using Digits = std::vector<Digit>;

/// For a row-major buffer.
Digits digits_of(const Shape& shape);

/// The digits of each axis of a layout over the buffer; a digit is split if an axis begins or ends within it. Empty if
/// the layout is not a permutation of them.
std::optional<std::vector<Digits>> read(Digits buffer, const Layout& layout);

/// The digits of all axes, in order.
Digits joined(const std::vector<Digits>& axes);

/// Another operand that is read along with a buffer, element by element.
class Side {
  public:
    Side(const Source& s, const std::vector<Digits>& axes);
    Index base() const { return source_.base; }
    /// The operand under these digits, each of them a part of one that the axes had.
    Source under(const Digits& digits) const;

  private:
    struct Part {
        Digit digit;
        std::int64_t stride;
    };
    Source source_;
    std::vector<Part> parts_;
};

/// A contraction's axes under new labels, some of them in parts. Axes with one element have no label.
class Relabelled {
  public:
    /// Adds the next part, inwards, of an axis.
    void add(std::uint8_t old, std::int64_t extent) {
        if (extent != 1) parts_[old].push_back({next_++, extent});
    }
    /// Adds all parts of an axis; returns false if it already has other parts.
    bool add(std::uint8_t old, const Digits& digits);
    /// Adds the axes of an operand that have no parts yet, whole.
    void add_others(const AxisLabels& labels, const Shape& shape);
    /// Whether a view can have this many axes.
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
