// Kernels generated at run time for fixed extents and strides. For small products, loops and address computations are a
// large part of a compiled kernel's time. Each element is one chain of fused multiply-adds from +0, for k ascending or
// by pairs, as in the compiled kernels.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// What is multiplied and added: real numbers; in 32 bits, four 8-bit integers of A without sign and of B with sign, or
/// two bfloat16 as the instruction for them does (contract.h).
enum class Arithmetic : std::int64_t { real, bytes, brain };

/// A whole product of float32 or float64 with operands in place, or of groups in 32 bits, of which k counts the groups;
/// cut like a Direct: the first `tall` panels of rows
/// have `rows` rows, the others one less. Columns are in tiles of `width`, then `rest_width`. Widths are whole vectors,
/// of `lanes` and `rest_lanes` columns each.
struct Generated {
    std::int64_t element_bytes;  // 4 or 8
    std::int64_t n, k, panels, rows, tall;
    std::int64_t width, lanes, rest_width, rest_lanes;
    std::int64_t a_step, b_step, c_step;  // bytes from one row to the next
    std::int64_t pairs = 0;  // 1: of each two k, the odd one first; a missing last one counts as zero
    std::int64_t a_k = 0;  // bytes from one k of a row to the next; 0: side by side
    // Steps of k in a loop, even where there are pairs; 0: no loop unless the code would be too long. Hardware that
    // prefetches by the addresses of single instructions learns them only from a loop.
    std::int64_t loop_steps = 0;
    Arithmetic arithmetic = Arithmetic::real;
    // Bytes from the operands and the output to those of a later product, which are prefetched by the loops; 0: none.
    // Rows are then adjacent.
    std::int64_t a_next = 0, b_next = 0, c_next = 0;
    // Of a tile one vector wide: rows of A that are loaded 16 bytes at a time and spread in registers. Each other
    // element is a load, so that with B there are more loads than multiply-adds, and two of either in a cycle. Of real
    // numbers side by side, for whole 16 bytes.
    std::int64_t spread = 0;
    // 1: each vector holds as many whole rows as fit. See rows_share_vectors.
    std::int64_t shared = 0;

    bool operator==(const Generated&) const = default;
};

/// A product of rows whose operands are in the nearest caches, cut into tiles with sums enough; its steps are still to
/// be set.
Generated tiled(std::int64_t element_bytes, std::int64_t rows, std::int64_t n, std::int64_t k);

/// Sets `spread` of a product one vector wide, whose steps are set, where there are too few units that load.
void spread_rows(Generated& product);

/// Whether adjacent rows can share vectors: B is 2 x 2 or 4 x 4, and C is whole vectors of two rows or more. All of A
/// is then spread in registers.
bool rows_share_vectors(const Generated& product);

/// The first argument is unused.
using GeneratedKernel = void (*)(const void* unused, const void* a, const void* b, void* c);

/// Returns the kernel, generated now or earlier. Null if it would be too long, a step needs more than 32 bits, there is
/// no AVX-512, or the system gives no memory for code. Kernels are kept, up to kGeneratedBytes in all.
GeneratedKernel generated_kernel(const Generated& product);
/// Whether kernels are generated here at all.
bool generates_kernels();
/// The most columns, and the most steps of k, of one kernel; and of one with loops.
inline constexpr std::int64_t kMaxGenerated = 64, kMaxLooped = 256;
inline constexpr std::int64_t kGeneratedBytes = 16 << 20;

}  // namespace tenon::product::dense
