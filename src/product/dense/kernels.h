// What the blocked product takes from an instruction set: micro-kernels, packing, and the addition of partial sums.
// Included by kernels compiled for any instruction set, so nothing here defines a function.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// Packed rows of A are this many elements apart: kBlockK, a constant, so that one register addresses a whole panel.
inline constexpr std::int64_t kRowPitch = 384;

/// How a block's sums meet the tile: the first block stores, the next ones add.
enum class Write : std::uint8_t { store, add };

/// The tile's sums over kc elements of k, one chain each: c[i * ldc + j] from a[i * kRowPitch + k] and b[k * ldb + j].
/// For bfloat16 kc is even, and the odd element of a pair comes first.
template <class T>
using MicroKernel = void (*)(std::int64_t kc, const T* a, const T* b, std::int64_t ldb, T* c, std::int64_t ldc,
                             Write write);

/// Kernels nr columns wide; by_rows[r - 1] takes r rows, 1 <= r <= mr.
template <class T>
struct KernelFamily {
    int mr, nr;
    const MicroKernel<T>* by_rows;
};

/// Packs dst[o * ld + i] = widened src[outer_offsets[o] + inner_offsets[i]]. Each row of dst is filled up with zeros to
/// a multiple of the vector length.
template <class T>
using Pack = void (*)(T* dst, std::int64_t ld, const void* src, const std::int64_t* outer_offsets, std::int64_t outer,
                      const std::int64_t* inner_offsets, std::int64_t inner);

/// The sums of a few rows with columns of B that run along k in memory, transposed in registers and packed nowhere:
/// c[i * ldc + j] for j < columns, filled up to whole vectors. k offsets are consecutive from b + column_offsets[j].
template <class T>
using DotKernel = void (*)(std::int64_t kc, const T* a, const void* b, const std::int64_t* column_offsets,
                           std::int64_t columns, T* c, std::int64_t ldc, Write write);
inline constexpr int kDotRows = 4;

/// dst[i] += src[i].
template <class T>
using AddTo = void (*)(T* dst, const T* src, std::int64_t n);

/// The operand types a kernel accumulates in T, in the order of KernelSet::pack.
enum class Source : std::uint8_t { same, float16, bfloat16, int8, uint8, int16, uint16 };
inline constexpr int kSourceCount = 7;

/// `narrow` is half as wide as `standard`, for few columns; `wide` is for few rows.
template <class T>
struct KernelSet {
    KernelFamily<T> narrow, standard, wide;
    AddTo<T> add_to;
    Pack<T> pack[kSourceCount];  // null where T does not accumulate the source
    DotKernel<T> dot[kSourceCount][kDotRows];  // by rows - 1; null for integers
};

struct IsaKernels {
    KernelSet<float> f32;
    KernelSet<float> bf16;  // odd element of a pair first, subnormals flushed
    KernelSet<double> f64;
    KernelSet<std::uint32_t> u32;
    KernelSet<std::uint64_t> u64;
};

// clang-format off
namespace baseline { extern const IsaKernels kKernels; }
namespace avx2 { extern const IsaKernels kKernels; }
namespace avx512 { extern const IsaKernels kKernels; }
namespace neon { extern const IsaKernels kKernels; }
// clang-format on

}  // namespace tenon::product::dense
