// What gather and scatter share: checked indices, and rows as views.
#pragma once

#include <vector>

#include "primitive/primitive.h"
#include "primitive/view_of.h"

namespace tenon {

/// gather with errors that name `op`, a string of static storage, and `site`, the address of the call.
Tensor gather_for(const char* op, const Tensor& x, const Tensor& indices, const void* site);

/// Throws TypeError unless the indices are integers.
void check_index_dtype(const char* op, const Tensor& indices);

/// The indices row-major; throws ValueError for one outside [0, n).
std::vector<std::int64_t> checked_indices(const char* op, const View& indices, std::int64_t n);

/// `v` with its first `axes` axes, between which there are no gaps, merged into one.
View with_rows(const View& v, int axes);

/// The slices of a view along its first axis.
class RowSlices {
  public:
    explicit RowSlices(const View& v) : row_(v), stride_(v.layout.strides[0]) {
        row_.layout.shape.erase(0);
        row_.layout.strides.erase(0);
    }
    View row(std::int64_t i) const {
        View r = row_;
        r.data = static_cast<std::byte*>(r.data) + i * stride_ * static_cast<std::int64_t>(size_of(r.dtype));
        return r;
    }

  private:
    View row_;
    std::int64_t stride_;
};

}  // namespace tenon
