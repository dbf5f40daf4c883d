// Small dense matrices by columns, for tests of LAPACK: products in long double, and the errors of results.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace tenon::lapack::testing {

template <class T>
struct Matrix {
    int rows = 0, columns = 0;
    /// The leading dimension; elements between columns hold a mark that no routine may change.
    int ld = 0;
    std::vector<T> data;

    static constexpr T kMark = T(-777.25);

    Matrix(int m, int n, int pad = 0)
        : rows(m), columns(n), ld(std::max(1, m + pad)), data(static_cast<std::size_t>(ld) * std::max(n, 1), kMark) {
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < m; ++i) (*this)(i, j) = 0;
    }
    T& operator()(int i, int j) { return data[static_cast<std::size_t>(j) * ld + i]; }
    const T& operator()(int i, int j) const { return data[static_cast<std::size_t>(j) * ld + i]; }
    T* at(int i, int j) { return &(*this)(i, j); }
    bool marks_intact() const {
        for (int j = 0; j < columns; ++j)
            for (int i = rows; i < ld; ++i)
                if (!((*this)(i, j) == kMark)) return false;
        return true;
    }
};

/// Uniform in [-1, 1).
template <class T>
Matrix<T> random(int m, int n, unsigned seed, int pad = 0) {
    Matrix<T> a(m, n, pad);
    std::mt19937 generator(seed);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) a(i, j) = static_cast<T>(static_cast<double>(generator()) / 2147483648.0 - 1.0);
    return a;
}

/// op(A) op(B), op 'N' or 'T'.
template <class T>
Matrix<T> product(char opa, char opb, const Matrix<T>& a, const Matrix<T>& b) {
    const int m = opa == 'N' ? a.rows : a.columns, k = opa == 'N' ? a.columns : a.rows,
              n = opb == 'N' ? b.columns : b.rows;
    Matrix<T> c(m, n);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            double sum = 0;
            for (int l = 0; l < k; ++l)
                sum += static_cast<double>(opa == 'N' ? a(i, l) : a(l, i)) * (opb == 'N' ? b(l, j) : b(j, l));
            c(i, j) = static_cast<T>(sum);
        }
    return c;
}

template <class T>
Matrix<T> triangle(const Matrix<T>& a, char uplo, char diag, int m, int n) {
    Matrix<T> t(m, n);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            if (uplo == 'U' ? i < j : i > j) t(i, j) = a(i, j);
            if (i == j) t(i, j) = diag == 'U' ? T(1) : a(i, j);
        }
    return t;
}

template <class T>
Matrix<T> identity(int n) {
    Matrix<T> a(n, n);
    for (int i = 0; i < n; ++i) a(i, i) = 1;
    return a;
}

template <class T>
double largest(const Matrix<T>& a) {
    double most = 0;
    for (int j = 0; j < a.columns; ++j)
        for (int i = 0; i < a.rows; ++i)
            if (!(std::abs(static_cast<double>(a(i, j))) <= most)) most = std::abs(static_cast<double>(a(i, j)));
    return most;
}

/// max |A - B| / (n eps max |B|): of order one for a backward stable routine; NaN if either holds one.
template <class T>
double distance(const Matrix<T>& a, const Matrix<T>& b) {
    double most = 0;
    for (int j = 0; j < b.columns; ++j)
        for (int i = 0; i < b.rows; ++i) {
            const double off = std::abs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
            if (!(off <= most)) most = off;
        }
    const double scale = largest(b) * std::max({b.rows, b.columns, 1}) * std::numeric_limits<T>::epsilon();
    return scale > 0 ? most / scale : most;
}

}  // namespace tenon::lapack::testing
