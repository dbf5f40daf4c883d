// Kernels whose extents and strides are part of their code, written at run time: of small products even the loops and
// the addresses of a compiled kernel are a large part. One chain of fused multiply-adds an element, k ascending from
// +0 or by pairs, as in the compiled ones.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// A whole product of float32 or float64 on operands where they are, cut like a Direct: panels of rows, of which the
/// first `tall` have `rows` and the others one less; columns in tiles of `width`, then `rest_width` for what is left.
/// Widths are whole vectors, of `lanes` and `rest_lanes` columns each.
struct Generated {
    std::int64_t element_bytes;  // 4 or 8
    std::int64_t n, k, panels, rows, tall;
    std::int64_t width, lanes, rest_width, rest_lanes;
    std::int64_t a_step, b_step, c_step;  // bytes from one row to the next
    std::int64_t pairs = 0;  // 1: of each two k the odd one first; of a last pair that lacks it, a zero
    std::int64_t a_k = 0;  // bytes from one k of a row to the next; 0: side by side

    bool operator==(const Generated&) const = default;
};

/// A product of rows whose operands are in the nearest caches, cut into tiles with sums enough; its steps are still to
/// be set.
Generated tiled(std::int64_t element_bytes, std::int64_t rows, std::int64_t n, std::int64_t k);

/// The first argument plays no part.
using GeneratedKernel = void (*)(const void* unused, const void* a, const void* b, void* c);

/// The kernel, from what was generated before if it is there; null where it would be long, its steps are not of 32
/// bits, there is no AVX-512 or the system gives no memory for code. Kernels stay, of up to kGeneratedBytes together.
GeneratedKernel generated_kernel(const Generated& product);
/// Whether kernels are generated here at all.
bool generates_kernels();
/// Columns and steps of k of one at most.
inline constexpr std::int64_t kMostGenerated = 64;
inline constexpr std::int64_t kGeneratedBytes = 16 << 20;

}  // namespace tenon::product::dense
