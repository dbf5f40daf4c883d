// Each element of a tile is one chain of fused multiply-adds; lanes and neighbouring vectors are other columns.
#include "product/dense/triangular.h"

#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// Vectors in flight at once: enough to hide the latency of a multiply-add.
constexpr int kVectors = 8;

template <class T>
struct Columns {
    using V = Vector<T>;
    using Reg = typename V::Reg;
    static constexpr std::int64_t kStep = kTileBytes / std::int64_t{sizeof(T)}, kWidth = kVectors * V::kLanes;
    static_assert(kStep % kWidth == 0);

    Reg x[kVectors];

    TENON_INLINE void load(const T* row) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) x[v] = V::load(row + v * V::kLanes);
    }
    TENON_INLINE void store(T* row) const {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) V::store(row + v * V::kLanes, x[v]);
    }
    TENON_INLINE void add_product(T a, const T* row) {
        const Reg factor = V::broadcast(a);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) x[v] = V::fma(factor, V::load(row + v * V::kLanes), x[v]);
    }
    TENON_INLINE void multiply(T a) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) x[v] *= a;
    }
    TENON_INLINE void divide(T a) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) x[v] /= a;
    }
};

/// From the last row to the first: a row's product overwrites nothing that a later one reads.
template <class T>
void multiply(const TriangularTile<T>& p) {
    using C = Columns<T>;
    const T alpha = static_cast<T>(p.alpha);
    for (T* b = p.b; b < p.b + p.columns; b += C::kWidth)
        for (std::int64_t i = p.n - 1; i >= 0; --i) {
            const T* a = p.a + i * kTriangleRows;
            C sum{};
            for (std::int64_t k = 0; k < i; ++k) sum.add_product(a[k], b + k * C::kStep);
            sum.add_product(p.unit ? T(1) : a[i], b + i * C::kStep);
            sum.multiply(alpha);
            sum.store(b + i * C::kStep);
        }
}

template <class T>
void solve(const TriangularTile<T>& p) {
    using C = Columns<T>;
    const T alpha = static_cast<T>(p.alpha);
    for (T* b = p.b; b < p.b + p.columns; b += C::kWidth)
        for (std::int64_t i = 0; i < p.n; ++i) {
            const T* a = p.a + i * kTriangleRows;
            C x;
            x.load(b + i * C::kStep);
            x.multiply(alpha);
            for (std::int64_t k = 0; k < i; ++k) x.add_product(-a[k], b + k * C::kStep);
            if (!p.unit) x.divide(a[i]);
            x.store(b + i * C::kStep);
        }
}

}  // namespace

namespace TENON_ISA {
extern const IsaTriangular kTriangular;
constexpr IsaTriangular kTriangular = {{multiply<float>, solve<float>}, {multiply<double>, solve<double>}};
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
