// How precise products must be, and whether sums keep their order: as is asked for, unless a policy of the thread
// allows less.
//
// ```cpp
// const Tensor x = full({2, 3}, 1.5f), w = full({3, 4}, 0.25f);
// Tensor y;
// {
//     const WithPolicy less_precise({.lowest_precision = Precision::tf32});
//     y = matmul(x, w);  // on a GPU as TF32, whenever it is computed
// }
// assert(policy().lowest_precision == Precision::float32);
// assert(y.to<float>() == std::vector<float>(8, 1.125f));
// ```
#pragma once

#include <cstdint>

#include "tenon/export.h"

namespace tenon {

/// How a product reads float32 operands. `tf32`: rounded to 11 bits of significand (relative error up to 2^-10, the
/// exponents of float32), summed in float32, by a GPU's tensor cores (docs/benchmarks/h100.md says how fast).
enum class Precision : std::uint8_t { float32, tf32 };

/// In what order a kernel may add. `fixed`: in one that follows from the problem, so that each run has the same bits.
/// `any`: in the order in which terms come, another in each run, so that last bits differ.
enum class SumOrder : std::uint8_t { fixed, any };

struct Policy {
    /// The least that contractions of float32 may use (matmul, einsum, linear maps); others are as precise as their
    /// dtype. CPUs have float32 alone, with its bits: there it changes nothing.
    Precision lowest_precision = Precision::float32;
    /// Of the gradients of attention on a GPU, where cuDNN computes them: with `any` the query's is a sum of atomic
    /// additions, and takes less time and memory (docs/cuda.md). All else keeps its order.
    SumOrder sum_order = SumOrder::fixed;
    friend bool operator==(const Policy&, const Policy&) = default;
};

/// The policy of this thread: that of the innermost WithPolicy, or Policy{}.
TENON_API const Policy& policy();

/// Holds on this thread while it lives, of what is recorded then: an operation keeps its policy wherever and whenever
/// it is computed, and its derivatives have the same. A compiled function is recorded for each policy under which it
/// is called. Results under a policy with a fixed order are as reproducible as others: the same bits at each run of a
/// problem on one kind of device.
class [[nodiscard, gnu::visibility("default")]] WithPolicy {
  public:
    explicit WithPolicy(const Policy& p);
    ~WithPolicy();
    WithPolicy(const WithPolicy&) = delete;
    WithPolicy& operator=(const WithPolicy&) = delete;

  private:
    Policy before_;
};

}  // namespace tenon
