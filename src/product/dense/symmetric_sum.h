// The last step of syr2k: one triangle of alpha P + alpha P^T + beta C, with the product P in memory.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// One triangle of C, and a square P. Rows are contiguous, those of C `ldc` apart and those of P `pitch` apart.
/// Computes `rows` rows of C from `first`.
template <class T>
struct SymmetricSum {
    const T* p;
    T* c;
    std::int64_t n, pitch, ldc, first, rows;
    T alpha, beta;
    bool lower;
};

/// c = fma(alpha, P^T, fma(alpha, P, beta c)). If beta is 0, the term beta c is left out and c is not read.
struct IsaSymmetricSum {
    void (*f32)(const SymmetricSum<float>&);
    void (*f64)(const SymmetricSum<double>&);
};

// clang-format off
namespace baseline { extern const IsaSymmetricSum kSymmetricSum; }
namespace avx2 { extern const IsaSymmetricSum kSymmetricSum; }
namespace avx512 { extern const IsaSymmetricSum kSymmetricSum; }
namespace neon { extern const IsaSymmetricSum kSymmetricSum; }
// clang-format on

}  // namespace tenon::product::dense
