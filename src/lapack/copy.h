// Copies of matrices whose columns would share few sets of the cache.
#pragma once

#include <algorithm>

#include "lapack/products.h"
#include "lapack/threads.h"
#include "product/dense/scratch.h"

namespace tenon::lapack {

/// B (m, n) <- A.
template <class T>
void copy_columns(int m, int n, const T* a, std::int64_t lda, T* b, std::int64_t ldb) {
    constexpr int kShared = 1 << 15;  // elements whose copying is worth a thread
    share(n, std::max(1, kShared / std::max(m, 1)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t j = begin; j < end; ++j) std::copy_n(a + j * lda, m, b + j * ldb);
    });
}

/// C = A B + beta C. A (m, k) is copied first if its columns are a large power of two apart and there is enough to
/// compute.
template <class T>
void gemm_apart(int m, int n, int k, const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc) {
    constexpr std::size_t kApart = 1024;
    constexpr int kMany = 256;
    if (static_cast<std::size_t>(lda) * sizeof(T) % kApart != 0 || n < kMany || k < kMany || m < kMany)
        return gemm('N', 'N', m, n, k, T(1), a, lda, b, ldb, beta, c, ldc);
    const int ld = (m + 7) / 8 * 8 + 8;
    product::dense::Scratch room(static_cast<std::size_t>(ld) * static_cast<std::size_t>(k) * sizeof(T));
    T* const copy = room.take<T>(std::int64_t{ld} * k);
    copy_columns(m, k, a, lda, copy, ld);
    gemm('N', 'N', m, n, k, T(1), copy, ld, b, ldb, beta, c, ldc);
}

}  // namespace tenon::lapack
