// Shapes and layouts: values, compared and copied like integers. Sizes are 64-bit everywhere.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tenon/export.h"

namespace tenon {

/// The most axes a tensor can have.
inline constexpr int kMaxRank = 12;

/// Up to kMaxRank 64-bit integers: the extents of a tensor, the strides of a layout, a list of axes.
class Extents {
  public:
    constexpr Extents() = default;
    Extents(std::initializer_list<std::int64_t> v) : Extents(std::span<const std::int64_t>(v.begin(), v.size())) {}
    /// Throws ShapeError for more than kMaxRank values.
    TENON_API explicit Extents(std::span<const std::int64_t> v);
    /// `rank` times `fill`. Throws ShapeError unless 0 <= rank <= kMaxRank.
    TENON_API Extents(int rank, std::int64_t fill);

    int rank() const { return rank_; }
    int size() const { return rank_; }
    bool empty() const { return rank_ == 0; }
    std::int64_t operator[](int i) const { return v_[static_cast<std::size_t>(i)]; }
    std::int64_t& operator[](int i) { return v_[static_cast<std::size_t>(i)]; }
    std::int64_t back() const { return (*this)[rank_ - 1]; }
    const std::int64_t* begin() const { return v_.data(); }
    const std::int64_t* end() const { return v_.data() + rank_; }
    std::int64_t* begin() { return v_.data(); }
    std::int64_t* end() { return v_.data() + rank_; }

    /// At the end, before position `at`, and away from it. Throws ShapeError beyond kMaxRank and for a position that is
    /// not there.
    TENON_API void push_back(std::int64_t value);
    TENON_API void insert(int at, std::int64_t value);
    TENON_API void erase(int at);

    friend bool operator==(const Extents& a, const Extents& b) {
        if (a.rank_ != b.rank_) return false;
        for (int i = 0; i < a.rank_; ++i)
            if (a[i] != b[i]) return false;
        return true;
    }

  private:
    std::array<std::int64_t, kMaxRank> v_{};
    std::int32_t rank_ = 0;
};

using Shape = Extents;
using Strides = Extents;
using Axes = Extents;

/// "(2, 3)", "(4,)", "()".
TENON_API std::string to_string(const Extents& e);

/// The number of elements; 1 for a scalar. Throws ShapeError if an extent is negative or the product leaves 63 bits.
TENON_API std::int64_t count(const Shape& s);

/// The shape two operands broadcast to (NumPy's rule). Throws ShapeError naming `op` and both shapes.
TENON_API Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);

/// Where the element at an index lives: offset + sum of index * stride, counted in elements. A stride may be zero
/// (broadcast) or negative (reversed). Every view operation is a function from layout to layout, which throws
/// ShapeError, naming the operation and the shapes, where they do not fit.
struct TENON_API Layout {
    Shape shape;
    Strides strides;
    std::int64_t offset = 0;

    /// Row-major, without gaps.
    static Layout contiguous(const Shape& shape);

    int rank() const { return shape.rank(); }
    std::int64_t count() const { return tenon::count(shape); }
    /// Row-major without gaps; axes of extent 1 may have any stride, an empty layout always qualifies.
    bool is_contiguous() const;
    /// The position of the element at `index`.
    std::int64_t at(std::span<const std::int64_t> index) const;

    /// Axis i of the result is axis perm[i] of this.
    Layout transpose(const Axes& perm) const;
    /// Strides of zero for new and stretched axes; `to` must be a shape this one broadcasts to.
    Layout broadcast(const Shape& to) const;
    /// Elements start[i], start[i] + step[i], ... of each axis, `extent[i]` of them. Steps may be negative.
    Layout slice(const Extents& start, const Extents& extent, const Extents& step) const;
    /// Sets `out` and returns true where the reshaped tensor can be addressed without a copy. Throws unless `to` has as
    /// many elements.
    bool reshape(const Shape& to, Layout& out) const;
    /// The same elements in the same order, with as few axes as possible.
    Layout coalesce() const;

    friend bool operator==(const Layout&, const Layout&) = default;
};

TENON_API std::string to_string(const Layout& l);

}  // namespace tenon
