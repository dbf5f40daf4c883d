// Graphs of operations that cuDNN runs as one kernel, through its back-end interface. The library is found at run time
// ($TENON_CUDNN names a file; else libcudnn.so.9, by the loader's rules and in the toolkit's directories); the
// declarations are ours, after the documentation of the back-end interface and of which graphs are attention.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda/device.h"

namespace tenon::cuda::cudnn {

/// Why there is no cuDNN; empty if there is.
const std::string& absent();

/// cudnnDataType_t.
enum class Type : int { float32 = 0, float64 = 1, float16 = 2, int32 = 4, bfloat16 = 9, int64 = 10, boolean = 11 };

/// cudnnPointwiseMode_t.
enum class Pointwise : int {
    add = 0,
    multiply = 1,
    divide = 6,
    subtract = 9,
    exp = 13,
    log = 15,
    identity = 21,
    greater = 302,
    greater_equal = 303,
    less = 304,
    logical_and = 400,
    index = 501,
    select = 601,
};
/// cudnnReduceTensorOp_t.
enum class Reduce : int { sum = 0, max = 3 };

using Descriptor = void*;
using Extents4 = std::array<std::int64_t, 4>;

/// A tensor of a graph. Its memory is given when the graph runs; a tensor that only passes from one operation to
/// another has none.
struct Tensor {
    Descriptor descriptor = nullptr;
    Extents4 extents{};
    Extents4 strides{};
};

/// Lengths, one for each element of the batch, to which the tensors of a product are cut; with `pads` the rest is zero.
struct Lengths {
    const Tensor *rows = nullptr, *columns = nullptr, *summed = nullptr;
    bool pads = false;
};

class Plan;

/// Operations in the order in which they are added; errors reported by cuDNN are thrown as ValueError.
class Graph {
  public:
    Graph();
    ~Graph();
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    /// Memory that `Plan::run` is given under that number (from 1 on), at a multiple of 16 bytes.
    Tensor memory(std::int64_t number, Type type, const Extents4& extents, const Extents4& strides);
    /// A tensor that passes between operations; strides are row-major unless given.
    Tensor between(Type type, const Extents4& extents);
    Tensor between(Type type, const Extents4& extents, const Extents4& strides);
    Tensor number(float value);
    Tensor number(std::int32_t value);

    void pointwise(Pointwise mode, const Tensor& x, const Tensor* b, const Tensor* t, const Tensor& y,
                   Type compute = Type::float32, int axis = -1);
    Tensor pointwise(Pointwise mode, const Tensor& x, const Tensor& b);
    Tensor pointwise(Pointwise mode, const Tensor& x);
    /// Of the last two axes.
    void product(const Tensor& a, const Tensor& b, const Tensor& c, const Lengths& lengths = {});
    void reduce(Reduce op, const Tensor& x, const Tensor& y);
    void reshape(const Tensor& x, const Tensor& y);

    /// The library's first choice for this device. Throws ValueError if it has none.
    std::unique_ptr<Plan> plan(Gpu& gpu);

  private:
    Descriptor make(int kind);
    void add(Descriptor operation);
    Tensor tensor(std::int64_t number, Type type, const Extents4& extents, const Extents4& strides, bool passes,
                  bool by_value);

    std::vector<Descriptor> all_, operations_;
    std::int64_t next_ = 1000;  // numbers of what has no memory
    std::map<std::int64_t, std::array<std::byte, 4>> numbers_;
};

/// A compiled graph. Repeated runs have the same bits if `same_bits`.
class Plan {
  public:
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    bool same_bits() const { return same_bits_; }
    void run(Gpu& gpu, std::span<const std::pair<std::int64_t, void*>> memory) const;

  private:
    friend class Graph;
    Plan() = default;
    std::vector<Descriptor> owned_;
    Descriptor plan_ = nullptr;
    std::int64_t workspace_ = 0;
    bool same_bits_ = true;
    std::map<std::int64_t, std::array<std::byte, 4>> numbers_;
};

}  // namespace tenon::cuda::cudnn
