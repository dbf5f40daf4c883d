// What the public products share: checks of their operands, and blocks of a matrix.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <string>

#include "base/text.h"
#include "base/view.h"
#include "product/axes.h"
#include "product/finish.h"
#include "tenon/product.h"

namespace tenon::product {

struct Operand {
    const char* name;
    const Matrix& matrix;
};

inline std::string describe(const char* which, const Matrix& m) {
    return text(which, " is ", name(m.dtype), " (", m.rows, ", ", m.columns, ") with strides (", m.row_stride, ", ",
                m.column_stride, ")");
}

template <class E>
[[noreturn]] void refuse(const char* operation, const char* rule, std::initializer_list<Operand> operands) {
    std::string message = text(operation, ": ", rule);
    const char* separator = "; ";
    for (const Operand& o : operands) {
        message += separator + describe(o.name, o.matrix);
        separator = ", ";
    }
    throw E(message);
}

/// Whether floating-point operands of type `operand` can be summed into a matrix of type `c`.
inline bool sums_into(DType operand, DType c) {
    if (operand == DType::float16 || operand == DType::bfloat16) return c == operand || c == DType::float32;
    return (operand == DType::float32 || operand == DType::float64) && c == operand;
}

/// Whether the bytes of all elements, in panels padded with zeros, are a number that fits 63 bits.
inline bool is_countable(const Matrix& m) {
    constexpr std::int64_t kPadding = 64;  // elements; no less than a panel is wide
    std::int64_t bytes = 8;
    return !__builtin_add_overflow(m.rows, kPadding, &bytes) &&
           !__builtin_mul_overflow(bytes, std::int64_t{8}, &bytes) &&
           m.columns <= std::numeric_limits<std::int64_t>::max() / bytes - kPadding;
}

/// Whether two elements of C share memory: i rs = j cs for some i < rows and j < columns, not both 0.
inline bool overlaps_itself(const Matrix& c) {
    if (c.rows <= 0 || c.columns <= 0) return false;
    const std::int64_t rows = std::abs(c.row_stride), columns = std::abs(c.column_stride), g = std::gcd(rows, columns);
    if (g == 0) return c.rows > 1 || c.columns > 1;
    return columns / g < c.rows && rows / g < c.columns;
}

/// `rows` by `columns` elements; the first one is at (row, column).
inline Matrix block(const Matrix& m, std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns) {
    const std::int64_t offset = row * m.row_stride + column * m.column_stride;
    Matrix part = m;
    part.data = static_cast<std::byte*>(m.data) + offset * static_cast<std::int64_t>(size_of(m.dtype));
    part.rows = rows, part.columns = columns;
    return part;
}

/// One axis with its strides in a, b and c.
inline AxisList axis(std::int64_t extent, std::int64_t a, std::int64_t b, std::int64_t c) {
    AxisList list;
    list.push_back({extent, a, b, c});
    return list;
}

inline AxisRoles roles_of(const Matrix& a, const Matrix& b, const Matrix& c, std::int64_t batch) {
    return {axis(batch, a.batch_stride, b.batch_stride, c.batch_stride), axis(c.rows, a.row_stride, 0, c.row_stride),
            axis(c.columns, 0, b.column_stride, c.column_stride), axis(a.columns, a.column_stride, b.row_stride, 0)};
}

inline Elements elements_of(const Matrix& m) { return {m.data, m.dtype}; }

inline Finish finish_of(const GemmOptions& o) { return {o.alpha, o.beta, o.zero_a, o.zero_b, o.zeros_a, o.zeros_b}; }

/// Throws what gemm throws for these operands.
void check_gemm(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options);

}  // namespace tenon::product
