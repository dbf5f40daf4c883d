// Leaves of the graph that other units make.
#pragma once

#include <functional>
#include <memory>

#include "tensor/node.h"

namespace tenon {

/// A value given from outside the graph.
Tensor input(Array array);
/// A tensor of this shape without a value: the variable of a linear map that is only transposed, never computed.
Tensor placeholder(const Shape& shape, DType dtype);
/// Removes the value of a leaf whose memory an evaluation that failed has overwritten: from now on evaluating the leaf
/// throws ValueError. The caller guarantees that nobody reads it meanwhile.
void give_up(Node& leaf);
/// One recording of a compiled function (tenon/compile.h), which its arguments share.
struct RecordedFunction {
    mutable bool is_bound = false;  // its numbers have the values of a call
};
using RecordedFunctionPtr = std::shared_ptr<const RecordedFunction>;
/// The argument at `place` of a function that is being recorded: it has this dtype and layout, and its elements come at
/// each call, on this device. Evaluating it throws ValueError.
Tensor argument(DType dtype, const Layout& layout, std::optional<Device> device, std::int64_t place,
                RecordedFunctionPtr function);
bool is_argument(const Node& n);
Layout layout_of_argument(const Node& n);
/// A number as an argument: a weak scalar, and the scalars made of it, without a value until it is bound.
Tensor number_argument(Scalar like, std::int64_t place, RecordedFunctionPtr function);
/// The place of the argument that a scalar is made of, or -1.
std::int64_t place_of_number(const Node& n);
/// Whether a tensor is an argument of a function that is being compiled, or a number that follows from one.
bool is_symbolic(const Node& n);
inline bool is_symbolic(const Tensor& t) { return is_symbolic(*t.node()); }
/// The recording that a symbolic node belongs to.
RecordedFunctionPtr function_of(const Node& symbolic);
/// A scalar that follows from a symbolic tensor of one element: f of it, on the host, at each call. Throws ValueError
/// for a tensor of another kind; what f throws comes from the call.
Tensor derived_number(const Tensor& from, DType dtype, std::function<Scalar(Scalar)> f);
bool is_derived_number(const Node& n);
/// f of the argument's value.
Scalar derived_value(const Node& n, Scalar argument);
/// The number of a weak scalar.
Scalar number_of(const Node& weak);
/// Gives a scalar that is made of a number argument its value, which counts while the recording is bound. Throws as
/// check_fits does.
void bind_number(Node& n, Scalar value);
/// A rank-0 run-time scalar: its value is an input, not part of the graph's identity.
Tensor scalar(Scalar value, DType dtype);
/// True for a tensor made from a C++ number, which takes the dtype of what it meets.
bool is_weak_scalar(const Node& n);
inline bool is_weak_scalar(const Tensor& t) { return is_weak_scalar(*t.node()); }
/// Throws TypeError naming `op` where a number's kind does not fit `dtype`, ValueError where its value does not.
void check_fits(std::string_view op, Scalar value, DType dtype);
/// The number as a scalar of `dtype`; throws as check_fits does.
Tensor scalar_as(const Tensor& weak, DType dtype, std::string_view op);
/// A rank-0 constant: its value is part of the graph's identity, so that simplification may rely on it.
Tensor constant(double value, DType dtype);
// What simplification asks: whether a node is a constant, an iota, or a scalar whose value is not part of the graph.
bool is_constant(const Node& n);
bool is_iota(const Node& n);
bool is_run_time_scalar(const Node& n);
/// Zeros of a shape and dtype: one constant, broadcast, which takes no memory.
Tensor zeros_of(const Shape& shape, DType dtype);

}  // namespace tenon
