// Joins the lanes of a reduction, in vectors, to one number: half with half, as the kernels of tape::reduce do.
#pragma once

#include <utility>

#include "tape/kernels.h"
#include "tape/operations.h"
#include "tape/pack.h"
#include "tape/reduction.h"

#if defined(TENON_STRIP_VECTOR)
namespace tenon::tape::TENON_ISA {
namespace {

constexpr int kLaneVectors = kLanes / kVector;

/// combine of two vectors.
template <Reduction op, class Vector>
TENON_INLINE Vector combine_vectors(Vector a, Vector b) {
    using Mask = decltype(a == b);
    if constexpr (op == Reduction::sum) {
        return a + b;
    } else if constexpr (op == Reduction::prod) {
        return a * b;
    } else {
        const auto x = reinterpret_cast<Mask>(a), y = reinterpret_cast<Mask>(b);
        const Mask equal = a == b;
        const Vector other = ((op == Reduction::max ? a > b : a < b) | (a != a)) ? a : b;
        return equal ? reinterpret_cast<Vector>(op == Reduction::max ? x & y : x | y) : other;
    }
}
template <int n>
struct VectorOf {
    typedef float Type __attribute__((vector_size(4 * n)));
};
template <int first, class Vector, int... i>
TENON_INLINE auto part(Vector x, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(x, x, (first + i)...);
}
/// Joins the halves of n lanes in registers.
template <Reduction op, int n>
TENON_INLINE float join_halves(typename VectorOf<n>::Type x) {
    if constexpr (n == 2) {
        return combine<op>(float{x[0]}, float{x[1]});
    } else {
        constexpr std::make_integer_sequence<int, n / 2> kHalf;
        return join_halves<op, n / 2>(combine_vectors<op>(part<0>(x, kHalf), part<n / 2>(x, kHalf)));
    }
}
template <Reduction op>
TENON_INLINE float join(V* x) {
    for (int half = kLaneVectors / 2; half > 0; half /= 2)
        for (int v = 0; v < half; ++v) x[v] = combine_vectors<op>(x[v], x[v + half]);
    return join_halves<op, kVector>(x[0]);
}

}  // namespace
}  // namespace tenon::tape::TENON_ISA
#endif
