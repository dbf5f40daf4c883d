// A two-factor layer that widens, a function of one value at a time, and a layer that narrows. The second product of
// the first layer has the same groups as the first product of the second layer. These two products run in one pass, and
// their gradients in another, on compute capability 9.0, in bf16 with f32 sums. The function's values are not stored.
//
//     h[i, f, q] = sum_g z[f, g, i] b[f, q, g]     v = value(h)     w[c, f, i] = sum_q v[i, f, q] a[c, f, q]
//
// where g and c run over 64, q over 128 and f over `groups`. All tensors are row-major in the order of the axes here.
// h and v are rounded to bf16, as they would be if they were stored.
//
// Law: each sum is computed by the tensor cores over k in order, and rounded once. The sums of the cores' gradients run
// over all rows.
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

/// The function and its slope, as tapes of one result each. Input `value_h` of `value` and input `slope_h` of `slope`
/// are h, and input `slope_dv` is the gradient of v; `slope` gives the gradient of h. All other inputs are numbers.
/// `value_numbers` and `slope_numbers` say, in the order of these inputs, where each is in a list that both share.
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
    void *h, *w;  // h may be null and is then not stored
    std::span<const void* const> numbers;
};

struct HiddenGradients {
    std::int64_t rows, groups;
    const void *dw, *z, *h, *b, *a;
    void *dz, *da, *db;
    DType dtype;  // of da and db: float32 or bfloat16; the sums are rounded to bfloat16 in both cases
    std::span<const void* const> numbers;
};

/// Why no kernel takes such a pass; empty where one does.
std::string hidden_declines(std::int64_t rows, std::int64_t groups, const HiddenFunctions& functions);

Unit hidden_unit(const HiddenFunctions& functions, bool keeps_h);
Unit hidden_gradients_unit(const HiddenFunctions& functions, DType dtype);

/// Operands start at multiples of 16 bytes. Cost: z and the cores are read once, h and w are written once.
void run(Gpu& gpu, const HiddenFunctions& functions, const HiddenPass& pass);
/// Cost: dw, z, h and the cores are read once, dz and the gradients are written once.
void run(Gpu& gpu, const HiddenFunctions& functions, const HiddenGradients& gradients);

}  // namespace tenon::cuda
