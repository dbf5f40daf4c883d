// The tape's instruction set: one table of name, number of operands, and the dtypes taken.
//
// Integers wrap modulo 2^bits. floor_divide and remainder follow Python (the remainder has the divisor's sign); an
// integer divided by zero gives 0. Shifts by a count outside [0, bits) give 0, or the sign for a signed right shift. An
// integer to a negative power gives what truncates towards zero. maximum and minimum propagate NaN and order -0 below
// +0. sign of NaN is NaN, of a zero itself. round takes ties to even. cast truncates floating values to integers and
// saturates, NaN gives 0; integers wrap into narrower ones; to boolean is x != 0; everything else rounds to nearest,
// once.
#pragma once

#include <cstdint>
#include <string_view>

#include "tenon/dtype.h"

namespace tenon::tape {

// clang-format off
// X(opcode, operands, dtypes): dtypes are F floating, I integer, N = F and I, B boolean, A = all, J = I and B.
#define TENON_OPCODES(X)                                                                        \
    X(negative, 1, N) X(abs, 1, N) X(sign, 1, N) X(square, 1, N) X(reciprocal, 1, F)            \
    X(exp, 1, F) X(expm1, 1, F) X(log, 1, F) X(log1p, 1, F) X(sqrt, 1, F) X(rsqrt, 1, F)        \
    X(sin, 1, F) X(cos, 1, F) X(atan, 1, F) X(tanh, 1, F) X(erf, 1, F) X(logistic, 1, F)       \
    X(floor, 1, F) X(ceil, 1, F) X(round, 1, F) X(trunc, 1, F) X(isnan, 1, F) X(isfinite, 1, F) \
    X(bitwise_invert, 1, J)                                                                     \
    X(add, 2, N) X(subtract, 2, N) X(multiply, 2, N) X(divide, 2, F)                            \
    X(floor_divide, 2, N) X(remainder, 2, N) X(pow, 2, N) X(copysign, 2, F) X(nextafter, 2, F)  \
    X(maximum, 2, N) X(minimum, 2, N)                                                           \
    X(bitwise_and, 2, J) X(bitwise_or, 2, J) X(bitwise_xor, 2, J)                               \
    X(bitwise_left_shift, 2, I) X(bitwise_right_shift, 2, I)                                    \
    X(equal, 2, A) X(not_equal, 2, A) X(less, 2, A) X(less_equal, 2, A)                         \
    X(select, 3, A) X(fma, 3, F) X(cast, 1, A)
// clang-format on

enum class Opcode : std::uint8_t {
#define X(op, arity, types) op,
    TENON_OPCODES(X)
#undef X
};

#define X(op, arity, types) +1
inline constexpr int kOpcodeCount = TENON_OPCODES(X);
#undef X

std::string_view name(Opcode op);
int arity(Opcode op);
bool accepts(Opcode op, DType type);
/// Comparisons, isnan and isfinite give booleans; everything else its operands' dtype (select: of operands 1 and 2).
DType result_type(Opcode op, DType operand);

}  // namespace tenon::tape
