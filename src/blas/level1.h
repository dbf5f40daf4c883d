// Level 1: loops over vectors (vectors.h), and rotations.
#pragma once

#include "blas/caller.h"
#include "blas/vectors.h"

namespace tenon::blas {

/// The square root of the sum of squares, without overflow or underflow on the way; any increment.
template <class T>
Real<T> nrm2(std::int64_t n, const T* x, std::int64_t incx);

/// As the reference defines c, s, r (in a) and z (in b).
template <class R>
void rotg(R* a, R* b, R* c, R* s);
/// [c s; -conj(s) c] [a; b] = [r; 0], r in a.
template <class R>
void rotg(Complex<R>* a, const Complex<R>* b, R* c, Complex<R>* s);
/// The modified rotation H (in param, flag first) that makes the second component of (sqrt(d1) x1, sqrt(d2) y1) zero.
template <class R>
void rotmg(R* d1, R* d2, R* x1, R y1, R* param);
template <class R>
void rotm(std::int64_t n, R* x, std::int64_t incx, R* y, std::int64_t incy, const R* param);

/// From 1; 0 where there is none.
template <class T>
std::int64_t iamax(std::int64_t n, const T* x, std::int64_t incx) {
    return n < 1 || incx <= 0 ? 0 : vectors().of<T>().iamax(n, x, incx) + 1;
}
template <class T>
Real<T> asum(std::int64_t n, const T* x, std::int64_t incx) {
    return n < 1 || incx <= 0 ? Real<T>(0) : vectors().of<T>().asum(n, x, incx);
}
template <class T>
void scal(std::int64_t n, T alpha, T* x, std::int64_t incx) {
    if (n > 0 && incx > 0) vectors().of<T>().scal(n, alpha, x, incx);
}
template <class T>
void scal_real(std::int64_t n, Real<T> alpha, T* x, std::int64_t incx) {
    if (n > 0 && incx > 0) vectors().of<T>().scal_real(n, alpha, x, incx);
}
template <class T>
void axpy(std::int64_t n, T alpha, const T* x, std::int64_t incx, T* y, std::int64_t incy) {
    if (n > 0 && !(alpha == of<T>(0)))
        vectors().of<T>().axpy(n, alpha, start(x, n, incx), incx, start(y, n, incy), incy);
}
template <class T>
T dot(std::int64_t n, const T* x, std::int64_t incx, const T* y, std::int64_t incy, bool conjugate) {
    return n < 1 ? of<T>(0) : vectors().of<T>().dot(n, start(x, n, incx), incx, start(y, n, incy), incy, conjugate);
}
template <class T>
void swap(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy) {
    if (n > 0) vectors().of<T>().swap(n, start(x, n, incx), incx, start(y, n, incy), incy);
}
template <class T>
void copy(std::int64_t n, const T* x, std::int64_t incx, T* y, std::int64_t incy) {
    if (n > 0) vectors().of<T>().copy(n, start(x, n, incx), incx, start(y, n, incy), incy);
}
template <class T>
void rot(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy, Real<T> c, Real<T> s) {
    if (n > 0) vectors().of<T>().rot(n, start(x, n, incx), incx, start(y, n, incy), incy, c, s);
}
inline double mixed_dot(std::int64_t n, const float* x, std::int64_t incx, const float* y, std::int64_t incy) {
    return n < 1 ? 0 : vectors().mixed_dot(n, start(x, n, incx), incx, start(y, n, incy), incy);
}

}  // namespace tenon::blas
