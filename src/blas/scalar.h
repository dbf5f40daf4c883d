// The four types of BLAS, and the arithmetic of complex numbers, which are pairs of reals as in Fortran and C. A file
// of kernels includes this, so it defines nothing that a linker could share between instruction sets.
#pragma once

#include <cstdint>

namespace tenon::blas {

template <class R>
struct Complex {
    R re, im;
};

template <class T>
struct Traits {
    using Real = T;
    static constexpr bool kComplex = false;
    static constexpr T of(Real x) { return x; }
};
template <class R>
struct Traits<Complex<R>> {
    using Real = R;
    static constexpr bool kComplex = true;
    static constexpr Complex<R> of(R x) { return {x, R(0)}; }
};
template <class T>
using Real = typename Traits<T>::Real;
template <class T>
inline constexpr bool kComplex = Traits<T>::kComplex;

namespace {

/// A real number as a value of type T.
template <class T>
constexpr T of(Real<T> x) {
    return Traits<T>::of(x);
}

template <class R>
constexpr Complex<R> operator+(Complex<R> x, Complex<R> y) {
    return {x.re + y.re, x.im + y.im};
}
template <class R>
constexpr Complex<R> operator-(Complex<R> x) {
    return {-x.re, -x.im};
}
template <class R>
constexpr Complex<R> operator*(Complex<R> x, Complex<R> y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
template <class R>
constexpr bool operator==(Complex<R> x, Complex<R> y) {
    return x.re == y.re && x.im == y.im;
}
/// By the larger part of the divisor, so that nothing overflows on the way (Smith, Algorithm 116, CACM 1962).
template <class R>
constexpr Complex<R> operator/(Complex<R> x, Complex<R> y) {
    const R re = y.re < 0 ? -y.re : y.re, im = y.im < 0 ? -y.im : y.im;
    if (re >= im) {
        const R ratio = y.im / y.re, d = y.re + ratio * y.im;
        return {(x.re + ratio * x.im) / d, (x.im - ratio * x.re) / d};
    }
    const R ratio = y.re / y.im, d = y.im + ratio * y.re;
    return {(ratio * x.re + x.im) / d, (ratio * x.im - x.re) / d};
}

template <class T>
constexpr T conj(T x) {
    if constexpr (kComplex<T>)
        return {x.re, -x.im};
    else
        return x;
}
template <class T>
constexpr T conj_if(bool condition, T x) {
    return condition ? conj(x) : x;
}
template <class T>
constexpr Real<T> real_part(T x) {
    if constexpr (kComplex<T>)
        return x.re;
    else
        return x;
}

inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
/// x y + z, for complex numbers as two chains of two multiply-adds, the real part of x first.
template <class R>
constexpr Complex<R> fma(Complex<R> x, Complex<R> y, Complex<R> z) {
    return {fma(-x.im, y.im, fma(x.re, y.re, z.re)), fma(x.im, y.re, fma(x.re, y.im, z.im))};
}

}  // namespace
}  // namespace tenon::blas
