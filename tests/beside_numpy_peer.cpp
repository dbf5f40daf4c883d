// What beside_numpy_test.py calls of libtenon: C functions over a product and a factorization.
#include <tenon/linalg.h>
#include <tenon/product.h>

#include <algorithm>

extern "C" {

#define EXPORT __attribute__((visibility("default")))

/// C = A B, rows one after the other, all n by n.
EXPORT void peer_gemm(const double* a, const double* b, double* c, std::int64_t n) {
    const auto matrix = [n](const double* x) { return tenon::product::row_major(x, tenon::DType::float64, n, n); };
    tenon::product::gemm(matrix(a), matrix(b), matrix(c));
}

/// Eigenvalues of a symmetric matrix, ascending.
EXPORT void peer_eigvalsh(const double* a, double* values, std::int64_t n) {
    const auto x = tenon::Tensor::from(std::vector<double>(a, a + n * n), {n, n});
    const auto found = tenon::linalg::eigvalsh(x).to<double>();
    std::copy(found.begin(), found.end(), values);
}
}
