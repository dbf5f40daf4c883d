// What the compiler makes of pending work, as text. See docs/graphs.md.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tenon/export.h"
#include "tenon/tensor.h"

namespace tenon {

/// How the tensors would be computed together when the same graph recurs. One line for each task: `kernel` (a
/// primitive's own), `tape` (pointwise work in one pass), `rows` (with reductions of rows), `product` or `chain` (two
/// products in one pass); the primitives in it, its results, FLOPs, and bytes read and written. Below it, the way that
/// computes a product or the form of a chain; the prologue, the work in between and the epilogue, as instructions; and
/// why it was not joined with what it reads. Then memory: the peak in addition to what is there already, as the arena
/// of intermediates and the results; the least that any placement of the arena needs, and the ratio; the largest
/// intermediates alive at the peak; how many results may take the memory of inputs that die. Nothing is computed.
/// Intermediates that somebody holds are results too. Costs a compilation.
///
/// ```cpp
/// const Tensor x = random::normal(random::Key(1), {64, 128}).eval();
/// const Tensor y = softmax(x);
/// assert(explain(y).find("rows") != std::string::npos);  // one region: row reductions and what uses them
/// ```
TENON_API std::string explain(const Tensor& t);
TENON_API std::string explain(std::span<const Tensor> tensors);
inline std::string explain(std::initializer_list<Tensor> tensors) {
    return explain(std::span<const Tensor>(tensors.begin(), tensors.size()));
}

/// Why the last new graph was not found: its first difference from the remembered graph that is most like it. A node's
/// primitive, shape, dtype, operands, attributes (an input's strides), whether somebody holds it, its checkpoint, or
/// the number of nodes. Empty where no graph is remembered.
///
/// ```cpp
/// const auto f = [](const Tensor& x) { return sum(tanh(x) * x); };
/// f(ones({5, 3})).eval();
/// f(ones({6, 3})).eval();
/// assert(why_recompiled().find("shape") != std::string::npos);
/// ```
TENON_API std::string why_recompiled();

/// How many graphs of this process run node by node, with the same results, because the compiler met a fault of its
/// own. Anything but 0 is worth a report: such a graph is slower than it should be, and nothing else tells.
///
/// ```cpp
/// const Tensor x = ones({4, 3});
/// for (int i = 0; i < 2; ++i) softmax(x * 2.0).eval();
/// assert(compiler_faults() == 0);
/// ```
TENON_API std::int64_t compiler_faults();

}  // namespace tenon
