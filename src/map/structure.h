// Structures that other maps are made of, and helpers that structures share.
#pragma once

#include "tenon/map.h"

namespace tenon::map {

/// The structure's own adjoint, or the default.
StructurePtr adjoint_of(const StructurePtr& s);
/// True where `adjoint_of` has to differentiate.
bool has_default_adjoint(const Structure& s);

StructurePtr dense(std::int64_t out, std::int64_t in);
StructurePtr diagonal(std::int64_t size);
bool is_diagonal(const Structure& s);
bool is_dense(const Structure& s);
/// True for an elementwise product that forms both matrices in each application.
bool forms_matrices(const Structure& s);

/// The dtype of the first parameter, float32 if there is none.
DType dtype_of(const Tree& parameters);
/// The number of elements of all parameters.
std::int64_t count_of(const Tree& parameters);
/// The product of sizes; throws ValueError where it does not fit 63 bits.
std::int64_t product_of(std::initializer_list<std::int64_t> factors);
/// A cost whose bytes count input, output and parameters once, and `intermediate` elements a row twice.
Cost make_cost(const Tree& parameters, std::int64_t rows, std::int64_t in, std::int64_t out,
               std::int64_t multiply_adds_per_row, std::int64_t intermediate = 0);
/// The sizes of a map, each at least 1; throws ShapeError naming `what`.
void check_sizes(std::string_view what, std::int64_t out, std::int64_t in);

/// x with its last axis zero-padded, or cut, to `width`.
Tensor fit_last(const Tensor& x, std::int64_t width);
/// The n x n identity.
Tensor identity(std::int64_t n, DType dtype);
/// a (m, n)^T.
Tensor transposed(const Tensor& a);

/// A float64 scalar that has its value already.
Tensor number(double value);
/// The learning-rate factor of one of a map's cores; shapes are {out, in}.
Tensor learning_rate(RateRule rule, const Shape& map, const Shape& core, std::int64_t cores);
/// The standard deviation a core starts with, seen as a core_out x core_in matrix.
double initial_deviation(std::int64_t core_out, std::int64_t core_in);

}  // namespace tenon::map
