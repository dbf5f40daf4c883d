// The argument that all kernels of reductions take, as reduce.cpp fills it. Files that include this are compiled for
// one dtype (TENON_TYPE), one operation (TENON_REDUCTION) and one kernel at a time, because compiling all would take
// long.
#pragma once

#include "cuda/tape.cuh"

using namespace tenon;
using namespace tenon::cuda;

constexpr DType kType = DType::TENON_TYPE;
constexpr Reduction kOp = Reduction::TENON_REDUCTION;
using A = Accumulator<kType>;
using S = Stored<kType>;

struct Axis {
    long long extent, in, out;
};
struct Problem {
    const S* in;
    void* out;
    A* partial;  // [chunks][outputs]
    long long* places;  // the indices of extremes, for each element of `partial`
    long long outputs, length, chunks, chunk;  // `chunk` is the length of a chunk in kernels that do not use kChunk
    long long kept_count, reduced_count;
    Axis kept[12], reduced[12];
};

/// The offsets of result `o` in the input and in the output.
struct Place {
    long long in, out;
};
__forceinline__ Place place_of(const Problem& p, long long o) {
    Place at{0, 0};
    for (int d = static_cast<int>(p.kept_count) - 1; d >= 0; --d) {
        const long long i = o % p.kept[d].extent;
        o /= p.kept[d].extent;
        at.in += i * p.kept[d].in;
        at.out += i * p.kept[d].out;
    }
    return at;
}
/// The offset of element `e` of a reduction, whose elements are counted row-major.
__forceinline__ long long offset_of(const Problem& p, long long e) {
    if (p.reduced_count == 1) return e * p.reduced[0].in;
    long long at = 0;
    for (int d = static_cast<int>(p.reduced_count) - 1; d >= 0; --d) {
        at += e % p.reduced[d].extent * p.reduced[d].in;
        e /= p.reduced[d].extent;
    }
    return at;
}
