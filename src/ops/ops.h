// What the composed functions share.
#pragma once

#include <optional>
#include <string_view>

#include "base/text.h"
#include "primitive/axes.h"
#include "primitive/leaf.h"
#include "primitive/pointwise.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/functions.h"

namespace tenon {

/// Throws ValueError unless x is defined, TypeError unless it is floating.
void check_floating(const char* op, const Tensor& x);

/// The dtype in which functions of more than one rounding are computed: float32 for float16 and bfloat16, else t.
inline DType wide(DType t) { return t == DType::float16 || t == DType::bfloat16 ? DType::float32 : t; }

/// While one lives, the nodes that are recorded form a checkpoint, if it is `wanted` and they are not in one already.
class CheckpointIf {
  public:
    explicit CheckpointIf(bool wanted) {
        if (wanted && current_region == 0) region_.emplace(kLibraryRegion);
    }

  private:
    std::optional<Region> region_;
};

/// A checkpoint around a function that is computed in a wider dtype than its operands have: an intermediate takes twice
/// the memory of an operand, and recomputing it from the operands is faster than reading it.
class CheckpointIfWidened : public CheckpointIf {
  public:
    explicit CheckpointIfWidened(DType t) : CheckpointIf(wide(t) != t) {}
};

/// f(x) computed in the wide dtype, rounded back at the end.
template <class F>
Tensor widened(const char* op, const Tensor& x, const F& f) {
    check_floating(op, x);
    const DType t = x.dtype();
    if (wide(t) == t) return f(x);
    const CheckpointIfWidened checkpoint(t);
    return astype(f(astype(x, wide(t))), t);
}

/// f(a, b) of operands of one shape and dtype, computed in the wide dtype.
template <class F>
Tensor widened(const char* op, const Tensor& a, const Tensor& b, const F& f) {
    Tensor x = a, y = b;
    harmonize(op, x, y);
    check_floating(op, x);
    const DType t = x.dtype();
    const CheckpointIfWidened checkpoint(t);
    return astype(f(astype(x, wide(t)), astype(y, wide(t))), t);
}

/// The dtype of a sum of x: that given, else int64 or uint64 for integers.
DType sum_dtype(const Tensor& x, std::optional<DType> dtype);

/// 0, 1, ... along one of `rank` axes, as int64.
Tensor positions(std::int64_t n, int axis, int rank);

/// The indices as int64; at evaluation, ValueError for one outside [0, n). `site` is where the function was called.
Tensor checked_positions(const char* op, const Tensor& indices, std::int64_t n, const void* site);

/// x with axis `from` moved to `to`, both in [0, rank).
Tensor with_axis_moved(const Tensor& x, int from, int to);

}  // namespace tenon
