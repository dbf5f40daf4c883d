// The last step of syr2k: a triangle of alpha P + alpha P^T + beta C, of a product P in memory.
#pragma once

#include <cstdint>

namespace tenon::product::dense {

/// One triangle of C, with rows `ldc` apart and contiguous, and a square P with rows `pitch` apart; of C the rows from
/// `first` on, `rows` of them.
template <class T>
struct Fold {
    const T* p;
    T* c;
    std::int64_t n, pitch, ldc, first, rows;
    T alpha, beta;
    bool lower;
};

/// c = fma(alpha, P^T, fma(alpha, P, beta c)); without beta the innermost term is not there, and c not read.
struct IsaFold {
    void (*f32)(const Fold<float>&);
    void (*f64)(const Fold<double>&);
};

// clang-format off
namespace baseline { extern const IsaFold kFold; }
namespace avx2 { extern const IsaFold kFold; }
namespace avx512 { extern const IsaFold kFold; }
namespace neon { extern const IsaFold kFold; }
// clang-format on

}  // namespace tenon::product::dense
