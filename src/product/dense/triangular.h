// Small triangular products and systems on dense tiles: the innermost step of trmm and trsm.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// Most rows of a triangle. Part of the order law (tenon/product.h).
inline constexpr std::int64_t kTriangleRows = 64;
/// A row of a tile of B: two to eight kernels wide.
inline constexpr std::int64_t kTileBytes = 512;

/// The lower triangle `a`, rows kTriangleRows apart, and `n` rows of a tile, kTileBytes apart. Columns beyond `columns`
/// may be computed too, up to the end of the tile.
template <class T>
struct TriangularTile {
    const T* a;
    T* b;
    std::int64_t n, columns;
    double alpha;
    bool unit;
};

template <class T>
struct TriangularKernels {
    void (*multiply)(const TriangularTile<T>&);
    void (*solve)(const TriangularTile<T>&);
};

struct IsaTriangular {
    TriangularKernels<float> f32;
    TriangularKernels<double> f64;
};

// clang-format off
namespace baseline { extern const IsaTriangular kTriangular; }
namespace avx2 { extern const IsaTriangular kTriangular; }
namespace avx512 { extern const IsaTriangular kTriangular; }
namespace neon { extern const IsaTriangular kTriangular; }
// clang-format on

}  // namespace tenon::product::dense
