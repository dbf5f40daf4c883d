// What the tests of products share: arrays with any strides, filled with random values, and contractions written as
// text.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "product/contract.h"

namespace tenon::product::testing {

/// The dtypes of a, b and c.
struct Types {
    DType a, b, c;
};
inline constexpr Types kTypes[] = {
    {DType::float32, DType::float32, DType::float32},   {DType::float64, DType::float64, DType::float64},
    {DType::bfloat16, DType::bfloat16, DType::float32}, {DType::bfloat16, DType::bfloat16, DType::bfloat16},
    {DType::float16, DType::float16, DType::float32},   {DType::float16, DType::float16, DType::float16},
    {DType::uint8, DType::int8, DType::int32},          {DType::int8, DType::int8, DType::int32},
    {DType::int8, DType::uint8, DType::int32},          {DType::uint8, DType::uint8, DType::int32}};

inline double to_double(const void* p, DType t) {
    const auto read = [p]<class T>(T x) {
        std::memcpy(&x, p, sizeof x);
        return x;
    };
    switch (t) {
        case DType::int8:
            return read(std::int8_t{});
        case DType::int16:
            return read(std::int16_t{});
        case DType::int32:
            return read(std::int32_t{});
        case DType::int64:
            return static_cast<double>(read(std::int64_t{}));
        case DType::uint8:
            return read(std::uint8_t{});
        case DType::uint16:
            return read(std::uint16_t{});
        case DType::uint32:
            return read(std::uint32_t{});
        case DType::uint64:
            return static_cast<double>(read(std::uint64_t{}));
        case DType::float16:
            return to_float(read(float16{}));
        case DType::bfloat16:
            return to_float(read(bfloat16{}));
        case DType::float32:
            return read(0.0f);
        default:
            return read(0.0);
    }
}

inline void from_double(double x, void* p, DType t) {
    const auto write = [p]<class T>(T v) { std::memcpy(p, &v, sizeof v); };
    switch (t) {
        case DType::float16:
            return write(to_float16(static_cast<float>(x)));
        case DType::bfloat16:
            return write(to_bfloat16(static_cast<float>(x)));
        case DType::float32:
            return write(static_cast<float>(x));
        case DType::float64:
            return write(x);
        default: {
            const auto i = static_cast<std::int64_t>(x);
            std::memcpy(p, &i, size_of(t));  // little-endian: the low bytes
        }
    }
}

/// The memory order of an array's axes. `interleaved`: the first two exchanged, as rows of a batch side by side.
enum class Storage { row_major, column_major, padded, reversed, shuffled, interleaved };

/// Memory of its own, seen through a layout. The gaps between elements are filled with 0xff bytes (NaN).
class Array {
  public:
    Array() : Array(DType::float32, {0}) {}
    Array(DType dtype, const Shape& shape, Storage storage = Storage::row_major, unsigned seed = 0) : dtype_(dtype) {
        std::vector<int> order(static_cast<std::size_t>(shape.rank()));
        for (int i = 0; i < shape.rank(); ++i) order[static_cast<std::size_t>(i)] = shape.rank() - 1 - i;
        if (storage == Storage::column_major) std::reverse(order.begin(), order.end());
        if (storage == Storage::interleaved && shape.rank() > 1) std::swap(order.back(), *(order.end() - 2));
        if (storage == Storage::shuffled) std::shuffle(order.begin(), order.end(), std::mt19937(seed));
        layout_.shape = shape;
        layout_.strides = Strides(shape.rank(), 0);
        std::int64_t extent = storage == Storage::padded ? 2 : 1;
        for (const int axis : order) {
            layout_.strides[axis] = extent;
            extent *= shape[axis] + (storage == Storage::padded ? 3 : 0);
        }
        bytes_.assign(static_cast<std::size_t>(extent) * size_of(dtype) + 64, 0xff);
        if (storage == Storage::reversed)
            for (int i = 0; i < shape.rank(); ++i)
                if (shape[i] > 0) {
                    start_ += layout_.strides[i] * (shape[i] - 1);
                    layout_.strides[i] *= -1;
                }
    }

    View view() { return {at_position(0), dtype_, layout_}; }
    const Layout& layout() const { return layout_; }
    const std::vector<unsigned char>& bytes() const { return bytes_; }

    /// The element at row-major position i.
    void* at(std::int64_t i) {
        std::int64_t position = 0;
        for (int axis = layout_.rank() - 1; axis >= 0; i /= layout_.shape[axis], --axis)
            position += i % layout_.shape[axis] * layout_.strides[axis];
        return at_position(position);
    }
    /// Passes the elements in row-major order without a division for each.
    class Walk {
      public:
        explicit Walk(Array& of) : of_(of) {}
        void* element() const { return of_.at_position(position_); }
        void next() {
            const Layout& layout = of_.layout_;
            for (int axis = layout.rank() - 1; axis >= 0; --axis) {
                std::int64_t& own = index_[static_cast<std::size_t>(axis)];
                position_ += layout.strides[axis];
                if (++own < layout.shape[axis]) return;
                position_ -= own * layout.strides[axis];
                own = 0;
            }
        }

      private:
        Array& of_;
        std::array<std::int64_t, kMaxRank> index_{};
        std::int64_t position_ = 0;
    };
    double get(std::int64_t i) { return to_double(at(i), dtype_); }
    void set(std::int64_t i, double x) { from_double(x, at(i), dtype_); }
    std::int64_t count() const { return layout_.count(); }

    /// Floating types: uniform in [-1, 1) in steps of 2^-24 (2^-52 for float64), so that products and sums round.
    /// Integers: any bits.
    Array& randomize(unsigned seed) {
        std::mt19937_64 random(seed);
        Walk walk(*this);
        for (std::int64_t i = 0; i < count(); ++i, walk.next()) {
            if (is_integer(dtype_)) {
                const std::uint64_t bits = random();
                std::memcpy(walk.element(), &bits, size_of(dtype_));
            } else if (dtype_ == DType::float64) {
                const std::int64_t steps = static_cast<std::int64_t>(random() >> 11) - (std::int64_t{1} << 52);
                from_double(static_cast<double>(steps) * 0x1p-52, walk.element(), dtype_);
            } else {
                const std::int64_t steps = static_cast<std::int64_t>(random() >> 39) - (1 << 24);
                from_double(static_cast<double>(steps) * 0x1p-24, walk.element(), dtype_);
            }
        }
        return *this;
    }

  private:
    void* at_position(std::int64_t p) {
        return bytes_.data() + (start_ + p) * static_cast<std::int64_t>(size_of(dtype_));
    }

    DType dtype_;
    Layout layout_;
    std::int64_t start_ = 0;
    std::vector<unsigned char> bytes_;
};

/// "bmk,bkn->bmn": one letter for each axis.
class Equation {
  public:
    explicit Equation(std::string_view text) {
        const auto comma = text.find(','), arrow = text.find("->");
        a_ = {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(comma)};
        b_ = {text.begin() + static_cast<std::ptrdiff_t>(comma) + 1, text.begin() + static_cast<std::ptrdiff_t>(arrow)};
        out_ = {text.begin() + static_cast<std::ptrdiff_t>(arrow) + 2, text.end()};
    }
    Labels labels() const { return {a_, b_, out_}; }

    /// The shapes that follow from the letters' extents.
    Shape shape_a(const std::vector<std::pair<char, std::int64_t>>& extents) const { return shape(a_, extents); }
    Shape shape_b(const std::vector<std::pair<char, std::int64_t>>& extents) const { return shape(b_, extents); }
    Shape shape_out(const std::vector<std::pair<char, std::int64_t>>& extents) const { return shape(out_, extents); }

  private:
    static Shape shape(const std::vector<std::uint8_t>& letters,
                       const std::vector<std::pair<char, std::int64_t>>& extents) {
        Shape s;
        for (const std::uint8_t letter : letters)
            for (const auto& [name, extent] : extents)
                if (name == letter) s.push_back(extent);
        return s;
    }

    std::vector<std::uint8_t> a_, b_, out_;
};

inline bool is_nan(const void* p, DType t) { return is_floating(t) && to_double(p, t) != to_double(p, t); }

/// -1 if the bits are equal, otherwise the first position that differs. NaNs are equal, since their sign and payload
/// are outside the law.
inline std::int64_t first_difference(Array& x, Array& y, DType t) {
    Array::Walk p(x), q(y);
    for (std::int64_t i = 0; i < x.count(); ++i, p.next(), q.next())
        if (std::memcmp(p.element(), q.element(), size_of(t)) != 0 &&
            !(is_nan(p.element(), t) && is_nan(q.element(), t)))
            return i;
    return -1;
}

}  // namespace tenon::product::testing
