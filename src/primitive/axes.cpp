#include "primitive/axes.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

int normalized(std::int64_t axis, const Shape& shape, const char* op) {
    const std::int64_t a = axis < 0 ? axis + shape.rank() : axis;
    if (a < 0 || a >= shape.rank())
        throw ShapeError(text(op, " of ", to_string(shape), ": axis ", axis, " is out of bounds"));
    return static_cast<int>(a);
}

Axes normalized(const Axes& axes, const Shape& shape, const char* op) {
    Axes a = axes;
    for (std::int64_t& v : a) v = normalized(v, shape, op);
    if (a.size() < 2) return a;
    std::sort(a.begin(), a.end());
    if (std::adjacent_find(a.begin(), a.end()) != a.end())
        throw ShapeError(text(op, " of ", to_string(shape), ": an axis stands twice in ", to_string(axes)));
    return a;
}

int normalized_new(std::int64_t axis, const Shape& shape, const char* op) {
    if (shape.rank() == kMaxRank)
        throw ShapeError(text(op, " of ", to_string(shape), ": a tensor has at most ", kMaxRank, " axes"));
    const std::int64_t a = axis < 0 ? axis + shape.rank() + 1 : axis;
    if (a < 0 || a > shape.rank())
        throw ShapeError(text(op, " of ", to_string(shape), ": a new axis ", axis, " is out of bounds"));
    return static_cast<int>(a);
}

}  // namespace tenon
