// A layer of two factors that widens, a function of one value at a time, and one that narrows, where both have the same
// groups: the second product of the one and the first of the other in one pass, and their gradients in another, on
// compute capability 9.0, in bf16 with f32 sums. What the function gives is not stored.
//
//     h[i, f, q] = sum_g z[f, g, i] b[f, q, g]     v = value(h)     w[c, f, i] = sum_q v[i, f, q] a[c, f, q]
//
// with 64 g and c, 128 q, and `groups` f; all row-major as their axes stand here. Between the two, everything is
// rounded to bf16, as where it is stored.
//
// Law: each sum is the tensor cores' over k in order, those of the cores' gradients over all rows, rounded once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "tape/tape.h"

namespace tenon::cuda {

inline constexpr std::int64_t kHiddenInner = 64, kHiddenOuter = 128;

/// Input `h` of either tape is h, input `dv` of `slope` the gradient of v; the others are numbers, whose places in a
/// list that both tapes share stand in their order. `slope` gives the gradient of h. Each has one result.
struct HiddenFunctions {
    tape::Tape value;
    std::size_t value_h = 0;
    std::vector<std::size_t> value_numbers{};
    std::optional<tape::Tape> slope{};  // for gradients
    std::size_t slope_h = 0, slope_dv = 1;
    std::vector<std::size_t> slope_numbers{};
};

struct HiddenPass {
    std::int64_t rows, groups;
    const void *z, *b, *a;
    void *h, *w;  // h may be null: it is not stored then
    std::span<const void* const> numbers;
};

struct HiddenGradients {
    std::int64_t rows, groups;
    const void *dw, *z, *h, *b, *a;
    void *dz, *da, *db;
    DType dtype;  // of da and db: float32 or bfloat16, of sums rounded to bfloat16
    std::span<const void* const> numbers;
};

/// Why no kernel takes it; empty where one does.
std::string hidden_declines(std::int64_t rows, std::int64_t groups, const HiddenFunctions& functions);

Unit hidden_unit(const HiddenFunctions& functions, bool keeps_h);
Unit hidden_gradients_unit(const HiddenFunctions& functions, DType dtype);

/// Operands at multiples of 16 bytes. Cost: z and the cores read once, h and w written once.
void run(Gpu& gpu, const HiddenFunctions& functions, const HiddenPass& pass);
/// Cost: dw, z, h and the cores read once, dz and the gradients written once.
void run(Gpu& gpu, const HiddenFunctions& functions, const HiddenGradients& gradients);

}  // namespace tenon::cuda
