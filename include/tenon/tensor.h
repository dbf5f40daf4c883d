// The tensor: a value that may not have been computed yet. An operation records a node and returns at once; reading a
// value (to, item, data, printing, eval) computes what is pending. Tensors never change: copies share, nothing aliases.
#pragma once

#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/device.h"
#include "tenon/dtype.h"
#include "tenon/export.h"
#include "tenon/layout.h"

namespace tenon {

struct Node;

/// A C++ number beside a tensor. It takes the tensor's dtype, as a Python number does in the Array API: an integer
/// fits any numeric tensor, a floating number only a floating tensor, a bool only a boolean one; otherwise TypeError.
/// An integer outside the range of an integer tensor's dtype is a ValueError. Its value is an input of the graph, never
/// part of its identity: a learning rate that changes costs nothing.
class Scalar {
  public:
    /// `unsigned_integer` is for those that int64 does not hold.
    enum class Kind : std::uint8_t { boolean, integer, unsigned_integer, floating };

    Scalar(bool v) : kind_(Kind::boolean), integer_(v) {}  // NOLINT: converts by design
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    Scalar(T v) : kind_(std::is_floating_point_v<T> ? Kind::floating : Kind::integer) {  // NOLINT
        if constexpr (std::is_floating_point_v<T>)
            floating_ = static_cast<double>(v);
        else
            integer_ = static_cast<std::int64_t>(v);
        if constexpr (std::is_unsigned_v<T> && sizeof(T) == sizeof(std::int64_t))
            if (v > static_cast<T>(INT64_MAX)) kind_ = Kind::unsigned_integer;
    }

    Kind kind() const { return kind_; }
    bool is_integer() const { return kind_ == Kind::integer || kind_ == Kind::unsigned_integer; }
    double as_double() const {
        if (kind_ == Kind::unsigned_integer) return static_cast<double>(static_cast<std::uint64_t>(integer_));
        return kind_ == Kind::floating ? floating_ : static_cast<double>(integer_);
    }
    /// An unsigned integer's bits.
    std::int64_t as_integer() const {
        return kind_ == Kind::floating ? static_cast<std::int64_t>(floating_) : integer_;
    }
    /// The dtype of the number alone: boolean, int64, uint64 (where int64 does not hold it) or float32 (the default
    /// floating dtype).
    DType dtype() const {
        constexpr DType of[] = {DType::boolean, DType::int64, DType::uint64, DType::float32};
        return of[static_cast<int>(kind_)];
    }

  private:
    Kind kind_;
    union {
        std::int64_t integer_;
        double floating_;
    };
};

/// A range of one axis, as Python's start:stop:step; negative positions count from the end.
struct Slice {
    std::optional<std::int64_t> start, stop;
    std::int64_t step = 1;
};

/// An axis of an indexing expression: an integer (the axis is removed), or a Slice (it is kept).
class Index {
  public:
    Index(std::int64_t i) : integer_(i), is_integer_(true) {}  // NOLINT: converts by design
    Index(int i) : Index(static_cast<std::int64_t>(i)) {}  // NOLINT
    Index(Slice s) : slice_(s) {}  // NOLINT

    bool is_integer() const { return is_integer_; }
    std::int64_t integer() const { return integer_; }
    const Slice& slice() const { return slice_; }

  private:
    std::int64_t integer_ = 0;
    Slice slice_;
    bool is_integer_ = false;
};

/// Where a tensor's elements are in host memory; valid while the tensor (or a copy) lives. Strides count elements.
struct HostView {
    const void* data;
    DType dtype;
    Shape shape;
    Strides strides;
};

/// A tensor is a counted handle of one pointer: copying and moving cost a few nanoseconds and touch no element. What an
/// operation finds only among its values (an index out of bounds) is thrown by the call that computes them, as are
/// MemoryError and a device's errors. An operation changes nothing but what it returns, so compilers warn where a
/// tensor, a Tree or a LinearMap that is returned is not used.
class [[nodiscard, gnu::visibility("default")]] Tensor {
  public:
    /// No tensor: only assignment, copying and `defined` are allowed; all else throws ValueError.
    Tensor() = default;
    /// A rank-0 tensor of the number's own dtype.
    Tensor(Scalar value);  // NOLINT: converts by design
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    Tensor(T value) : Tensor(Scalar(value)) {}  // NOLINT
    Tensor(const Tensor& o) noexcept;
    Tensor(Tensor && o) noexcept : node_(std::exchange(o.node_, nullptr)) {}
    Tensor& operator=(const Tensor& o) noexcept { return *this = Tensor(o); }
    Tensor& operator=(Tensor&& o) noexcept {
        std::swap(node_, o.node_);
        return *this;
    }
    ~Tensor() {
        if (node_) give_up(node_);
    }

    /// Copies row-major values. Throws ShapeError unless values.size() == count(shape).
    template <class T>
    static Tensor from(std::span<const T> values, const Shape& shape) {
        return copy_of(values.data(), values.size(), dtype_for<T>, shape);
    }
    template <class T>
    static Tensor from(const std::vector<T>& values, const Shape& shape) {
        if constexpr (std::is_same_v<T, bool>) {  // a bit for each element
            const std::vector<std::uint8_t> bytes(values.begin(), values.end());
            return copy_of(bytes.data(), bytes.size(), DType::boolean, shape);
        } else {
            return copy_of(values.data(), values.size(), dtype_for<T>, shape);
        }
    }
    template <class T>
    static Tensor from(std::initializer_list<T> values, const Shape& shape) {
        return copy_of(values.begin(), values.size(), dtype_for<T>, shape);
    }
    /// A rank-1 tensor.
    template <class T>
    static Tensor from(std::initializer_list<T> values) {
        return copy_of(values.begin(), values.size(), dtype_for<T>, {static_cast<std::int64_t>(values.size())});
    }
    /// Memory that belongs to the caller, not copied; it must not change until `release` is called. `data` points at
    /// the element whose indices are all zero; strides count elements. Null, or strides of another rank, throw Error.
    static Tensor wrap(void* data, DType dtype, const Layout& layout, std::function<void()> release);

    bool defined() const { return node_ != nullptr; }
    const Shape& shape() const;
    int rank() const { return shape().rank(); }
    /// The extent of an axis; negative axes count from the end. Throws ShapeError.
    std::int64_t extent(int axis) const;
    /// The number of elements.
    std::int64_t size() const { return count(shape()); }
    DType dtype() const;
    /// The device of its operands, on which it will be computed (tenon/device.h); the CPU for a tensor made of numbers
    /// alone, which is computed wherever it is used.
    Device device() const;

    /// Computes this tensor now; on a device the call returns once the work is enqueued. See also tenon::eval.
    const Tensor& eval() const;
    /// The elements row-major, converted to T by the rules of `astype`; copied from the device where they are on one.
    template <class T>
    std::vector<T> to() const {
        if constexpr (std::is_same_v<T, bool>) {
            auto bytes = to<std::uint8_t>();
            return std::vector<bool>(bytes.begin(), bytes.end());
        } else {
            std::vector<T> values(static_cast<std::size_t>(size()));
            copy_to(values.data(), dtype_for<T>);
            return values;
        }
    }
    /// The only element, converted to T. Throws ShapeError if there is not exactly one.
    template <class T>
    T item() const {
        T value;
        copy_item(&value, dtype_for<T>);
        return value;
    }
    /// The elements in place, without a copy, when they lie row-major without gaps; else ShapeError (see host, to).
    /// Throws TypeError if T is not the dtype, ValueError if the tensor is on a device.
    template <class T>
    std::span<const T> data() const {
        return {static_cast<const T*>(contiguous_data(dtype_for<T>)), static_cast<std::size_t>(size())};
    }
    /// The elements in place, without a copy, whatever their layout. Throws ValueError if the tensor is on a device.
    HostView host() const;

    /// NumPy's basic indexing: x.at({0, Slice{1, 3}}); missing trailing axes are whole. A view: no element
    /// moves. Throws ShapeError for an integer out of bounds, more indices than axes, and a step of 0.
    Tensor at(std::initializer_list<Index> index) const;
    /// x[i] is x.at({i}).
    Tensor operator[](std::int64_t i) const { return at({i}); }

    /// The graph's node, which the tensor keeps: for the library itself.
    Node* node() const { return node_; }
    /// Gives up the reference to whoever calls.
    Node* detach() { return std::exchange(node_, nullptr); }
    /// Takes over one reference.
    static Tensor adopt(Node * node) {
        Tensor t;
        t.node_ = node;
        return t;
    }

  private:
    static Tensor copy_of(const void* values, std::size_t n, DType dtype, const Shape& shape);
    void copy_to(void* out, DType dtype) const;
    void copy_item(void* out, DType dtype) const;
    const void* contiguous_data(DType dtype) const;
    static void give_up(Node * node) noexcept;

    Node* node_ = nullptr;
};

/// Computes several tensors together, so that what they share is computed once.
TENON_API void eval(std::span<const Tensor> tensors);
inline void eval(std::initializer_list<Tensor> tensors) {
    eval(std::span<const Tensor>(tensors.begin(), tensors.size()));
}

/// Computes the tensor and prints it as NumPy does: nested brackets, an ellipsis in long tensors.
TENON_API std::ostream& operator<<(std::ostream& out, const Tensor& t);
TENON_API std::string to_string(const Tensor& t);

}  // namespace tenon
