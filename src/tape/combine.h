// Where reductions start, and how elements become accumulators.
#pragma once

#include "tape/operations.h"
#include "tape/reduction.h"

namespace tenon::tape::TENON_ISA {

/// The neutral element: combined with any x it gives x. For sums it is -0, so that a sum of negative zeros is -0.
template <Reduction op, class T>
constexpr T neutral() {
    if constexpr (op == Reduction::prod)
        return T(1);
    else if constexpr (kFloating<T>) {
        if constexpr (op == Reduction::sum)
            return -T(0);
        else
            return op == Reduction::max ? -kInfinity<T> : kInfinity<T>;
    } else {
        if constexpr (op == Reduction::sum)
            return T(0);
        else
            return op == Reduction::max ? kLowest<T> : kHighest<T>;
    }
}

/// Booleans reduce as bytes: max is any, min is all.
template <DType D>
using Accumulator = std::conditional_t<D == DType::boolean, std::uint8_t, Value<D>>;
template <DType D>
TENON_INLINE Accumulator<D> load(Stored<D> x) {
    if constexpr (D == DType::boolean)
        return x;
    else
        return Element<D>::load(x);
}
template <DType D>
TENON_INLINE Stored<D> store(Accumulator<D> a) {
    if constexpr (D == DType::boolean)
        return a;
    else
        return Element<D>::store(a);
}

}  // namespace tenon::tape::TENON_ISA
