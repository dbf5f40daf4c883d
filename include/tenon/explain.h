// What the compiler makes of pending work, as text. See docs/graphs.md.
#pragma once

#include <span>
#include <string>

#include "tenon/export.h"
#include "tenon/tensor.h"

namespace tenon {

/// How the tensors would be computed together when the same graph comes back: each task with the primitives that run in
/// it, the shape of its results, FLOPs and bytes, and why it was not joined with what it reads; then the memory of
/// intermediates: the arena, the least that any placement needs, and the largest alive at the peak. Nothing is
/// computed. Intermediates that somebody holds are results too. Costs a compilation.
///
/// ```cpp
/// const Tensor x = random::normal(random::Key(1), {64, 128}).eval();
/// const Tensor y = softmax(x);
/// assert(explain(y).find("rows") != std::string::npos);  // one region: row reductions and what uses them
/// ```
TENON_API std::string explain(const Tensor& t);
TENON_API std::string explain(std::span<const Tensor> tensors);

/// Why the last graph that was new was so: the first difference to the remembered graph that is most like it. Empty
/// where no graph is remembered.
TENON_API std::string why_recompiled();

}  // namespace tenon
