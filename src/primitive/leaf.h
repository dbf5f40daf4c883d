// Leaves of the graph that other units make.
#pragma once

#include "tensor/node.h"

namespace tenon {

/// A value that is there already.
Tensor input(Array array);
/// A tensor of this shape without a value: the variable of a linear map that is only transposed, never computed.
Tensor placeholder(const Shape& shape, DType dtype);
/// A rank-0 run-time scalar: its value is an input, not part of the graph's identity.
Tensor scalar(Scalar value, DType dtype);
/// True for a tensor made from a C++ number, which takes the dtype of what it meets.
bool is_weak_scalar(const Tensor& t);
/// Throws TypeError naming `op` where a number's kind does not fit `dtype`, ValueError where its value does not.
void check_fits(std::string_view op, Scalar value, DType dtype);
/// The number as a scalar of `dtype`; throws as check_fits does.
Tensor scalar_as(const Tensor& weak, DType dtype, std::string_view op);
/// A rank-0 constant: its value is part of the graph's identity, so that simplification may rely on it.
Tensor constant(double value, DType dtype);
/// What graphs are simplified by: a constant, an iota, and a scalar, whose value is no part of the graph.
bool is_constant(const Node& n);
bool is_iota(const Node& n);
bool is_run_time_scalar(const Node& n);
/// Zeros or ones of a shape and dtype: a constant broadcast, no memory.
Tensor zeros_of(const Shape& shape, DType dtype);

}  // namespace tenon
