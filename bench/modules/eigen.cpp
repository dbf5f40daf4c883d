// Eigen's products as functions of C, compiled for this machine.
#include <Eigen/Core>

#include <cstdint>

namespace {

template <class T>
using Dynamic = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T, int n>
using Fixed = Eigen::Matrix<T, n, n, Eigen::RowMajor>;

/// A (m, k) or stored as (k, m), B (k, n) or stored as (n, k), rows so far apart.
template <class T>
void multiply(const T* a, const T* b, T* c, std::int64_t m, std::int64_t n, std::int64_t k, int transa, int transb,
              std::int64_t lda, std::int64_t ldb, std::int64_t ldc) {
    using Step = Eigen::OuterStride<>;
    using In = Eigen::Map<const Dynamic<T>, 0, Step>;
    Eigen::Map<Dynamic<T>, 0, Step> out(c, m, n, Step(ldc));
    const In left(a, transa ? k : m, transa ? m : k, Step(lda)), right(b, transb ? n : k, transb ? k : n, Step(ldb));
    if (transa && transb)
        out.noalias() = left.transpose() * right.transpose();
    else if (transa)
        out.noalias() = left.transpose() * right;
    else if (transb)
        out.noalias() = left * right.transpose();
    else
        out.noalias() = left * right;
}

template <class T, int n>
void multiply_fixed(const T* a, const T* b, T* c) {
    Eigen::Map<Fixed<T, n>>(c).noalias() = Eigen::Map<const Fixed<T, n>>(a) * Eigen::Map<const Fixed<T, n>>(b);
}

template <class T>
using Small = void (*)(const T*, const T*, T*);

/// The product of squares whose size is known to the compiler, as Eigen's users write it; null for other sizes.
template <class T, int... sizes>
Small<T> fixed(int n) {
    Small<T> found = nullptr;
    static_cast<void>(((n == sizes && (found = multiply_fixed<T, sizes>, true)) || ...));
    return found;
}

template <class T>
Small<T> fixed_square(int n) {
    return fixed<T, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 16>(n);
}

}  // namespace

extern "C" {

int tenon_eigen_version() { return EIGEN_WORLD_VERSION * 10000 + EIGEN_MAJOR_VERSION * 100 + EIGEN_MINOR_VERSION; }

void tenon_eigen_set_threads(int threads) { Eigen::setNbThreads(threads); }

void tenon_eigen_sgemm(const float* a, const float* b, float* c, std::int64_t m, std::int64_t n, std::int64_t k,
                       int transa, int transb, std::int64_t lda, std::int64_t ldb, std::int64_t ldc) {
    multiply(a, b, c, m, n, k, transa, transb, lda, ldb, ldc);
}

void tenon_eigen_dgemm(const double* a, const double* b, double* c, std::int64_t m, std::int64_t n, std::int64_t k,
                       int transa, int transb, std::int64_t lda, std::int64_t ldb, std::int64_t ldc) {
    multiply(a, b, c, m, n, k, transa, transb, lda, ldb, ldc);
}

Small<float> tenon_eigen_fixed_sgemm(int n) { return fixed_square<float>(n); }
Small<double> tenon_eigen_fixed_dgemm(int n) { return fixed_square<double>(n); }
}
