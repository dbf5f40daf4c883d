// Launching kernels: arguments by value as the kernel declares them, clusters, and tensor maps for the bulk copy
// engine.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "cuda/device.h"
#include "tenon/dtype.h"

namespace tenon::cuda {

struct Dimensions {
    std::uint32_t x = 1, y = 1, z = 1;
    std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

/// The number of blocks of `each` that hold n.
inline std::int64_t ceil_div(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

struct Launch {
    Dimensions grid, block;
    std::uint32_t shared_bytes = 0;  // dynamic; at most Gpu::shared_bytes_per_block() less the kernel's static ones
    Dimensions cluster{};  // blocks; divides the grid. 1 x 1 x 1 launches without clusters
    /// The kernel may start while the one before it in the stream ends: it waits for its results by
    /// griddepcontrol.wait.
    bool overlaps_previous = false;
    /// All blocks must be on the device at the same time, so that they may wait for each other. The launch fails if
    /// they do not fit.
    bool cooperative = false;
};

/// CUtensorMap: 128 opaque bytes at a multiple of 64, passed by value as `const __grid_constant__`.
struct alignas(64) TensorMap {
    std::uint64_t words[16];
};
static_assert(sizeof(TensorMap) == 128);

enum class Swizzle : int { none, bytes32, bytes64, bytes128 };

/// A view of up to five axes, the innermost first and contiguous, and the box that one copy moves.
struct TensorMapLayout {
    std::span<const std::uint64_t> extents;  // elements
    std::span<const std::uint64_t> strides;  // bytes, of all axes but the first; multiples of 16
    std::span<const std::uint32_t> box;  // elements, at most 256 each
    Swizzle swizzle = Swizzle::none;
    int l2_promotion = 2;  // none, 64, 128, 256 bytes
};

/// Elements outside the extents are read as zero and are not written. Throws ValueError if the driver refuses the
/// layout, or has no tensor maps (compute capability below 9.0).
TensorMap encode(DType dtype, void* data, const TensorMapLayout& layout);

namespace detail {
void launch(Gpu& gpu, const Kernel& kernel, const Launch& how, void** arguments);
}

/// Enqueues the kernel. The arguments' types must be the kernel's parameters' (a pointer for a pointer, std::int64_t
/// for a long long, a TensorMap for a tensor map), because their bytes are copied. Throws MemoryError or ValueError
/// with the driver's message. An error while the kernel runs is reported at the next synchronisation.
template <class... Arguments>
void launch(Gpu& gpu, const Kernel& kernel, const Launch& how, const Arguments&... arguments) {
    std::array<void*, sizeof...(Arguments)> addresses{
        const_cast<void*>(static_cast<const void*>(std::addressof(arguments)))...};
    detail::launch(gpu, kernel, how, addresses.data());
}

/// The number of blocks with these threads and bytes that one multiprocessor holds at a time.
int blocks_per_multiprocessor(const Gpu& gpu, const Kernel& kernel, int threads, int shared_bytes);
/// How many clusters of the launch the device holds at a time. The driver takes microseconds to answer, and is asked
/// once.
int clusters(const Gpu& gpu, const Kernel& kernel, const Launch& how);

}  // namespace tenon::cuda
