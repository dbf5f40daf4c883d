// Random graphs for tests: leaves of many shapes, dtypes and strides, and operations on existing values. A graph is a
// list that can be reduced, recorded again on other values, and printed as C++.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tenon/tensor.h"

namespace tenon::schedule::testing {

using Random = std::mt19937_64;

/// A tensor with a value. `strided`: transposed and reversed in memory.
struct RandomLeaf {
    Shape shape;
    DType dtype;
    bool strided;
    bool special;  // some elements are NaN, infinite, subnormal or -0
};

/// An operation on values. Values are numbered: leaves first, then operations.
struct RandomNode {
    std::string op;
    std::vector<std::size_t> operands;
    std::vector<std::int64_t> numbers;
};

struct RandomGraph {
    std::vector<RandomLeaf> leaves;
    std::vector<RandomNode> nodes;
    std::vector<std::size_t> outputs;  // values that somebody keeps

    std::vector<Tensor> values(std::uint64_t seed) const;
    /// Records the operations on the leaves; returns all values, leaves first.
    std::vector<Tensor> record(const std::vector<Tensor>& leaves) const;
};

RandomGraph random_graph(std::uint64_t seed);

/// Records one operation.
Tensor apply(const std::string& op, const std::vector<Tensor>& operands, const std::vector<std::int64_t>& numbers);

/// Smaller graphs that differ from this one by one reduction: an output less, an operation that became a leaf, or the
/// operands of an output's operation as outputs instead.
std::vector<RandomGraph> cuts(const RandomGraph& g);

/// C++ that makes its leaves, as `values(seed)`, and records it with `apply`.
std::string to_string(const RandomGraph& g, std::uint64_t seed);

/// Whether the elements are equal bit by bit; NaN equals NaN.
bool same_bits(const Tensor& a, const Tensor& b);

}  // namespace tenon::schedule::testing
