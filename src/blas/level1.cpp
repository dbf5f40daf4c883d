#include "blas/level1.h"

#include <algorithm>
#include <cmath>

#include "base/by_isa.h"
#include "base/caches.h"
#include "base/cpu.h"

namespace tenon::blas {

// A prefetch instruction occupies one of the few buffers in which a core waits for lines. It pays for a matrix that
// comes from memory, where L2 is small: symv in float64 of order 4096 takes 7 % longer without on a Zen 5 (of 128 to
// 2048, 5 to 22 % less). The hardware that prefetches into a large L2 has buffers of its own: symv of order 1024 to
// 4096 on an Emerald Rapids takes 1.2 to 1.5 times as long with prefetch instructions.
const IsaVectors& vectors(std::int64_t bytes) {
    // The last level of these machines is 16 to 32 times as large as L2.
    constexpr std::int64_t kLastLevel = 32;
    const bool fetches = !caches().large_l2() && bytes > kLastLevel * caches().l2;
    return TENON_BY_ISA(isa(), kVectors)[fetches ? 1 : 0];
}

const IsaVectors& fetching_vectors() { return TENON_BY_ISA(isa(), kVectors)[1]; }

namespace {

/// The largest part of an element.
template <class T>
double largest(std::int64_t n, const T* x, std::int64_t incx) {
    double most = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const T e = x[i * incx];
        if constexpr (kComplex<T>)
            most = std::max({most, std::abs(static_cast<double>(e.re)), std::abs(static_cast<double>(e.im))});
        else
            most = std::max(most, std::abs(static_cast<double>(e)));
    }
    return most;
}

}  // namespace

template <class T>
Real<T> nrm2(std::int64_t n, const T* x, std::int64_t incx) {
    if (n < 1) return 0;
    x = start(x, n, incx);
    const auto sum_of_squares = vectors().of<T>().sum_of_squares;
    const double sum = sum_of_squares(n, 1, x, incx);
    // If a square may have underflowed or overflowed, elements are scaled by a power of two; float32 never needs that.
    constexpr double kLeast = 0x1p-900;
    if ((sum >= kLeast && std::isfinite(sum)) || std::isnan(sum)) return static_cast<Real<T>>(std::sqrt(sum));
    const double most = largest(n, x, incx);
    if (most == 0 || !std::isfinite(most)) return static_cast<Real<T>>(most);
    const int exponent = std::clamp(std::ilogb(most), -1000, 1000);
    return static_cast<Real<T>>(
        std::ldexp(std::sqrt(sum_of_squares(n, std::ldexp(1.0, -exponent), x, incx)), exponent));
}

template <class R>
void rotg(R* a, R* b, R* c, R* s) {
    const R x = *a, y = *b;
    if (y == 0) {
        *c = 1, *s = 0, *b = 0;
        return;
    }
    if (x == 0) {
        *c = 0, *s = 1, *a = y, *b = 1;
        return;
    }
    const R sign = std::copysign(R(1), std::abs(x) > std::abs(y) ? x : y);
    const R r = sign * std::hypot(x, y);
    *c = x / r, *s = y / r;
    *b = std::abs(x) > std::abs(y) ? *s : *c != 0 ? 1 / *c : 1;
    *a = r;
}

template <class R>
void rotg(Complex<R>* a, const Complex<R>* b, R* c, Complex<R>* s) {
    const Complex<R> f = *a, g = *b;
    const R size_f = std::hypot(f.re, f.im), size_g = std::hypot(g.re, g.im);
    if (size_g == 0) {
        *c = 1, *s = {0, 0};
        return;
    }
    if (size_f == 0) {
        *c = 0, *s = {g.re / size_g, -g.im / size_g}, *a = {size_g, 0};
        return;
    }
    const R d = std::hypot(size_f, size_g);
    const Complex<R> direction = {f.re / size_f, f.im / size_f}, other = {g.re / d, -g.im / d};
    *c = size_f / d;
    *s = direction * other;
    *a = {direction.re * d, direction.im * d};
}

namespace {

/// H before it is stored. Its flag is -1, 0 or 1, as in the reference.
template <class R>
struct Modified {
    R flag, h11, h21, h12, h22;

    /// From now on all four elements are used.
    void complete() {
        if (flag == 0) h11 = 1, h22 = 1;
        if (flag > 0) h21 = -1, h12 = 1;
        flag = -1;
    }
};

/// Keeps d within [1 / gamma^2, gamma^2], gamma = 4096; x, if it is given, and the row of H are scaled to match.
template <class R>
void rescale(Modified<R>& h, R& d, R* x, R& first, R& second) {
    constexpr R kGamma = 4096, kSquare = kGamma * kGamma, kInverse = 1 / kSquare;
    if (d == 0 || !std::isfinite(d)) return;
    while (std::abs(d) <= kInverse || std::abs(d) >= kSquare) {
        h.complete();
        const bool small = std::abs(d) <= kInverse;
        const R up = small ? kGamma : 1 / kGamma;
        d = small ? d * kSquare : d * kInverse;
        if (x) *x /= up;
        first /= up, second /= up;
    }
}

}  // namespace

template <class R>
void rotmg(R* d1, R* d2, R* x1, R y1, R* param) {
    Modified<R> h{};
    const auto give_up = [&] {
        h = {-1, 0, 0, 0, 0};
        *d1 = *d2 = *x1 = 0;
    };
    if (*d1 < 0) {
        give_up();
    } else {
        const R p2 = *d2 * y1;
        if (p2 == 0) {
            param[0] = -2;
            return;
        }
        const R p1 = *d1 * *x1, q2 = p2 * y1, q1 = p1 * *x1;
        if (std::abs(q1) > std::abs(q2)) {
            h.h21 = -y1 / *x1, h.h12 = p2 / p1;
            const R u = 1 - h.h12 * h.h21;
            if (u > 0)
                h.flag = 0, *d1 /= u, *d2 /= u, *x1 *= u;
            else
                give_up();
        } else if (q2 < 0) {
            give_up();
        } else {
            h.flag = 1, h.h11 = p1 / p2, h.h22 = *x1 / y1;
            const R u = 1 + h.h11 * h.h22, d = *d2 / u;
            *d2 = *d1 / u, *d1 = d, *x1 = y1 * u;
        }
        rescale(h, *d1, x1, h.h11, h.h12);
        rescale(h, *d2, static_cast<R*>(nullptr), h.h21, h.h22);
    }
    param[0] = h.flag;
    if (h.flag <= 0) param[2] = h.h21, param[3] = h.h12;
    if (h.flag != 0) param[1] = h.h11, param[4] = h.h22;
}

template <class R>
void rotm(std::int64_t n, R* x, std::int64_t incx, R* y, std::int64_t incy, const R* param) {
    const R flag = param[0];
    if (n < 1 || flag == -2) return;
    R h[4] = {1, 1, -1, 1};  // h11, h12, h21, h22
    if (flag <= 0) h[1] = param[3], h[2] = param[2];
    if (flag != 0) h[0] = param[1], h[3] = param[4];
    const auto apply = [&](auto run) { run(n, start(x, n, incx), incx, start(y, n, incy), incy, h); };
    if constexpr (sizeof(R) == 4)
        apply(vectors().srotm);
    else
        apply(vectors().drotm);
}

template float nrm2(std::int64_t, const float*, std::int64_t);
template double nrm2(std::int64_t, const double*, std::int64_t);
template float nrm2(std::int64_t, const Complex<float>*, std::int64_t);
template double nrm2(std::int64_t, const Complex<double>*, std::int64_t);
#define TENON_INSTANTIATE(R)                                             \
    template void rotg(R*, R*, R*, R*);                                  \
    template void rotg(Complex<R>*, const Complex<R>*, R*, Complex<R>*); \
    template void rotmg(R*, R*, R*, R, R*);                              \
    template void rotm(std::int64_t, R*, std::int64_t, R*, std::int64_t, const R*);
TENON_INSTANTIATE(float)
TENON_INSTANTIATE(double)
#undef TENON_INSTANTIATE

}  // namespace tenon::blas
