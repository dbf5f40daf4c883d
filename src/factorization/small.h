// Factorizations of matrices in memory, a few at a time: the kernels, and the reference, which is the same arithmetic
// with one matrix at a time.
#pragma once

#include <cstdint>

namespace tenon::factorization {

/// `count` matrices, at most as many as the kernels have lanes. factorization.h says what an output holds.
template <class T>
struct Group {
    const T* const* a;
    T* const* out;
    std::int64_t count, rows, columns, row_stride, column_stride;
    bool vectors = true;  // eigh, svd: compute the vectors too
    bool full = false;  // qr, svd: square Q, U and Vh
    bool stream = false;  // results are stored past the caches
    T* scratch = nullptr;  // scratch_elements() for each lane, aligned to a cache line
    const T* const* next = nullptr;  // for cholesky: matrices to prefetch, `count` or more; or null
};

/// Strides of a matrix's rows and columns, in elements.
struct Steps {
    std::int64_t row, column;
};

/// Systems a x = b, with a (n, n) lower triangular and b and x (n, m). `upper`: rows and columns are counted from the
/// last.
template <class T>
struct Systems {
    const T *const *a, *const *b;
    T* const* x;
    std::int64_t count, n, m;
    Steps a_steps, b_steps, x_steps;
    bool upper, unit;
    T* scratch;  // scratch_elements(n, m) for each lane
};

constexpr std::int64_t scratch_elements(std::int64_t rows, std::int64_t columns) {
    const std::int64_t n = (rows > columns ? rows : columns) + 2;
    return 5 * n * n + 24 * n;
}

template <class T>
struct Kernels {
    int lanes;
    void (*cholesky)(const Group<T>&);
    void (*lu)(const Group<T>&);
    void (*qr)(const Group<T>&);
    void (*eigh)(const Group<T>&);
    void (*svd)(const Group<T>&);
    void (*solve)(const Systems<T>&);
};

struct IsaKernels {
    Kernels<float> f32, f32_one;
    Kernels<double> f64, f64_one;
};

// clang-format off
namespace baseline { extern const IsaKernels kFactorization; }
namespace avx2 { extern const IsaKernels kFactorization; }
namespace avx512 { extern const IsaKernels kFactorization; }
namespace neon { extern const IsaKernels kFactorization; }
// clang-format on

}  // namespace tenon::factorization
