// Checks of operands, and how error messages show them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "tenon/tensor.h"

namespace tenon {

/// "(2, 3) float32".
std::string described(const Tensor& x);

/// Throws ValueError naming `op` where the operand is not defined.
void check_defined(std::string_view op, const Tensor& x);

/// Throws ValueError naming `op`, both shapes, dtypes and devices where two defined operands are on different devices.
void check_same_device(std::string_view op, const Tensor& a, const Tensor& b);

/// Throws as check_defined and check_same_device do.
void check_operands(std::string_view op, const Tensor& a, const Tensor& b);

/// The dtype that both promote to. Throws as check_operands does, and TypeError naming `op`, both shapes and dtypes.
DType promoted(std::string_view op, const Tensor& a, const Tensor& b);

/// The shape that both broadcast to. Throws ShapeError naming `op`, both shapes and dtypes.
Shape broadcast_of(std::string_view op, const Tensor& a, const Tensor& b);

/// The number of elements. Throws ShapeError naming `op` if they cannot be counted.
std::int64_t checked_count(std::string_view op, const Shape& shape);

}  // namespace tenon
