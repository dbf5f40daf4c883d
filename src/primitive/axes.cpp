#include "primitive/axes.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

int normalized(std::int64_t axis, int rank, const char* op) {
    const std::int64_t a = axis < 0 ? axis + rank : axis;
    if (a < 0 || a >= rank) throw ShapeError(text(op, ": axis ", axis, " is out of bounds for ", rank, " axes"));
    return static_cast<int>(a);
}

Axes normalized(const Axes& axes, int rank, const char* op) {
    Axes a = axes;
    for (std::int64_t& v : a) v = normalized(v, rank, op);
    std::sort(a.begin(), a.end());
    if (std::adjacent_find(a.begin(), a.end()) != a.end())
        throw ShapeError(text(op, ": an axis stands twice in ", to_string(axes)));
    return a;
}

}  // namespace tenon
