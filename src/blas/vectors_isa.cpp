#include "blas/column_kernels.h"

namespace tenon::blas {
namespace {

template <class R>
constexpr int kRegisters = kLanes<R> / Vector<R>::kLanes;

/// The lanes of a sum.
template <class R>
struct Sums {
    using V = Vector<R>;
    using Reg = typename V::Reg;
    Reg lanes[kRegisters<R>] = {};

    R total() const {
        alignas(64) R sum[kLanes<R>];
        for (int v = 0; v < kRegisters<R>; ++v) V::store(sum + v * V::kLanes, lanes[v]);
        for (int half = kLanes<R> / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
        return sum[0];
    }
    /// The sums of the real and of the imaginary parts, which alternate in the lanes.
    Complex<R> totals() const {
        alignas(64) R sum[kLanes<R>];
        for (int v = 0; v < kRegisters<R>; ++v) V::store(sum + v * V::kLanes, lanes[v]);
        for (int half = kLanes<R> / 2; half > 1; half /= 2)
            for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
        return {sum[0], sum[1]};
    }
};

/// kLanes reals of a vector from element `first` on: in place, or gathered into `room` with zeros past the end.
template <class T>
TENON_INLINE const Real<T>* lanes_of(std::int64_t n, const T* x, std::int64_t incx, std::int64_t first, Real<T>* room) {
    using R = Real<T>;
    constexpr std::int64_t kCount = kLanes<R> * std::int64_t{sizeof(R)} / std::int64_t{sizeof(T)};
    if (incx == 1 && first + kCount <= n) return reinterpret_cast<const R*>(x + first);
    const std::int64_t count = n - first < kCount ? n - first : kCount;
    T* to = reinterpret_cast<T*>(room);
    for (std::int64_t i = 0; i < count; ++i) to[i] = x[(first + i) * incx];
    for (std::int64_t i = count; i < kCount; ++i) to[i] = of<T>(0);
    return room;
}

/// Calls f(x's lanes) for all elements, in order.
template <class T, class F>
TENON_INLINE void for_lanes(std::int64_t n, const T* x, std::int64_t incx, F f) {
    using R = Real<T>;
    alignas(64) R room[kLanes<R>];
    for (std::int64_t i = 0; i < n; i += std::int64_t{kLanes<R>} * std::int64_t{sizeof(R)} / std::int64_t{sizeof(T)})
        f(lanes_of(n, x, incx, i, room));
}
template <class T, class F>
TENON_INLINE void for_lanes(std::int64_t n, const T* x, std::int64_t incx, const T* y, std::int64_t incy, F f) {
    using R = Real<T>;
    alignas(64) R room_x[kLanes<R>], room_y[kLanes<R>];
    for (std::int64_t i = 0; i < n; i += std::int64_t{kLanes<R>} * std::int64_t{sizeof(R)} / std::int64_t{sizeof(T)})
        f(lanes_of(n, x, incx, i, room_x), lanes_of(n, y, incy, i, room_y));
}

/// The sums of a dot product: for complex numbers, those of products of equal parts and of unequal parts.
template <class T>
struct Dot {
    using R = Real<T>;
    using V = Vector<R>;
    Sums<R> same, cross;

    TENON_INLINE void add(const R* x, const R* y) {
#pragma GCC unroll 16
        for (int v = 0; v < kRegisters<R>; ++v) {
            const auto a = V::load(x + v * V::kLanes), b = V::load(y + v * V::kLanes);
            same.lanes[v] = V::fma(a, b, same.lanes[v]);
            if constexpr (kComplex<T>) cross.lanes[v] = V::fma(a, exchange_parts<R>(b), cross.lanes[v]);
        }
    }
    T result(bool conjugate) const {
        if constexpr (kComplex<T>) {
            const T s = same.totals(), c = cross.totals();
            return conjugate ? T{s.re + s.im, c.re - c.im} : T{s.re - s.im, c.re + c.im};
        } else {
            return static_cast<void>(conjugate), same.total();
        }
    }
};

template <class T>
T dot(std::int64_t n, const T* x, std::int64_t incx, const T* y, std::int64_t incy, bool conjugate) {
    Dot<T> sums;
    for_lanes(n, x, incx, y, incy, [&](const Real<T>* a, const Real<T>* b) { sums.add(a, b); });
    return sums.result(conjugate);
}

/// How many bytes ahead a column that is only updated is prefetched: two pages, at whose ends the hardware stops.
constexpr int kFetchColumn = 8192;

template <class T, bool kFetches>
void axpy(std::int64_t n, T alpha, const T* x, std::int64_t incx, T* y, std::int64_t incy) {
    using V = Vector<Real<T>>;
    constexpr std::int64_t kStep = V::kLanes * std::int64_t{sizeof(Real<T>)} / std::int64_t{sizeof(T)};
    std::int64_t i = 0;
    if (incx == 1 && incy == 1) {
        const Factor<T> factor(alpha);
        const auto* from = reinterpret_cast<const Real<T>*>(x);
        auto* to = reinterpret_cast<Real<T>*>(y);
        for (; i + kStep <= n; i += kStep, from += V::kLanes, to += V::kLanes) {
            if (kFetches) __builtin_prefetch(reinterpret_cast<const char*>(to) + kFetchColumn, 1, 3);
            V::store(to, factor.fma(V::load(from), V::load(to)));
        }
    }
    for (; i < n; ++i) y[i * incy] = fma(alpha, x[i * incx], y[i * incy]);
}

template <class T>
void axpy_columns(std::int64_t n, const T* factors, const T* x, T* columns, std::int64_t step) {
    using R = Real<T>;
    using V = Vector<R>;
    constexpr std::int64_t kParts = kComplex<T> ? 2 : 1;
    const Factor<T> factor[kUpdated] = {Factor<T>(factors[0]), Factor<T>(factors[1]), Factor<T>(factors[2]),
                                        Factor<T>(factors[3])};
    static_assert(kUpdated == 4);
    const auto* from = reinterpret_cast<const R*>(x);
    auto* to = reinterpret_cast<R*>(columns);
    const std::int64_t whole = n * kParts / V::kLanes * V::kLanes;
    for (std::int64_t i = 0; i < whole; i += V::kLanes) {
        const auto e = V::load(from + i);
#pragma GCC unroll 4
        for (int c = 0; c < kUpdated; ++c) {
            R* const at = to + c * step * kParts + i;
            V::store(at, factor[c].fma(e, V::load(at)));
        }
    }
    for (int c = 0; c < kUpdated; ++c)
        for (std::int64_t i = whole / kParts; i < n; ++i)
            columns[c * step + i] = fma(factors[c], x[i], columns[c * step + i]);
}

template <class R, int C>
TENON_INLINE void add_columns_pass(std::int64_t n, const R* first, std::int64_t step, const R* factors, R* y) {
    using V = Vector<R>;
    using Reg = typename V::Reg;
    Reg factor[C];
    const R* columns[C];
    for (int c = 0; c < C; ++c) factor[c] = V::broadcast(factors[c]), columns[c] = first + c * step;
    std::int64_t i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) {
        Reg sum = V::load(y + i);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum = V::fma(factor[c], V::load(columns[c] + i), sum);
        V::store(y + i, sum);
    }
    if (i == n) return;
    const typename V::Mask mask = V::first(n - i);
    Reg sum = V::load(y + i, mask);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum = V::fma(factor[c], V::load(columns[c] + i, mask), sum);
    V::store(y + i, sum, mask);
}
template <class R>
void add_columns(std::int64_t n, std::int64_t count, const R* columns, std::int64_t step, const R* factors, R* y) {
    std::int64_t c = 0;
    const auto pass = [&]<int C>() __attribute__((always_inline)) {
        add_columns_pass<R, C>(n, columns + c * step, step, factors + c, y);
        c += C;
    };
    while (c + 8 <= count) pass.template operator()<8>();
    if (c + 4 <= count) pass.template operator()<4>();
    while (c < count) pass.template operator()<1>();
}

/// A complex product with its roundings written out: where g++ 12 vectorises the plain formula for float, it fuses
/// multiplications and additions although contraction is off, so an element's bits would depend on its position.
template <class T>
TENON_INLINE T times(T alpha, T x) {
    if constexpr (kComplex<T>)
        return {fma(alpha.re, x.re, -(alpha.im * x.im)), fma(alpha.re, x.im, alpha.im * x.re)};
    else
        return alpha * x;
}

template <class T>
void scal(std::int64_t n, T alpha, T* x, std::int64_t incx) {
    if (incx == 1)
        for (std::int64_t i = 0; i < n; ++i) x[i] = times(alpha, x[i]);
    else
        for (std::int64_t i = 0; i < n; ++i) x[i * incx] = times(alpha, x[i * incx]);
}

template <class T>
void scal_real(std::int64_t n, Real<T> alpha, T* x, std::int64_t incx) {
    for (std::int64_t i = 0; i < n; ++i) {
        T& element = x[i * incx];
        if constexpr (kComplex<T>)
            element = {alpha * element.re, alpha * element.im};
        else
            element = alpha * element;
    }
}

template <class T>
void swap(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy) {
    if (incx == 1 && incy == 1)
        for (std::int64_t i = 0; i < n; ++i) {
            const T t = x[i];
            x[i] = y[i], y[i] = t;
        }
    else
        for (std::int64_t i = 0; i < n; ++i) {
            const T t = x[i * incx];
            x[i * incx] = y[i * incy], y[i * incy] = t;
        }
}

template <class T>
void copy(std::int64_t n, const T* x, std::int64_t incx, T* y, std::int64_t incy) {
    if (incx == 1 && incy == 1)
        for (std::int64_t i = 0; i < n; ++i) y[i] = x[i];
    else
        for (std::int64_t i = 0; i < n; ++i) y[i * incy] = x[i * incx];
}

template <class R>
TENON_INLINE void rotate(R& x, R& y, R c, R s) {
    const R t = fma(c, x, s * y);
    y = fma(c, y, -(s * x));
    x = t;
}
template <class T>
void rot(std::int64_t n, T* x, std::int64_t incx, T* y, std::int64_t incy, Real<T> c, Real<T> s) {
    using R = Real<T>;
    constexpr std::int64_t kParts = kComplex<T> ? 2 : 1;
    auto *a = reinterpret_cast<R*>(x), *b = reinterpret_cast<R*>(y);
    if (incx == 1 && incy == 1)
        for (std::int64_t i = 0; i < n * kParts; ++i) rotate(a[i], b[i], c, s);
    else
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t part = 0; part < kParts; ++part)
                rotate(a[i * incx * kParts + part], b[i * incy * kParts + part], c, s);
}

template <class R>
void rotm(std::int64_t n, R* x, std::int64_t incx, R* y, std::int64_t incy, const R (&h)[4]) {
    for (std::int64_t i = 0; i < n; ++i) {
        const R a = x[i * incx], b = y[i * incy];
        x[i * incx] = fma(h[0], a, h[1] * b);
        y[i * incy] = fma(h[2], a, h[3] * b);
    }
}

template <class R>
TENON_INLINE R magnitude(R x) {
    return sizeof(R) == 4 ? static_cast<R>(__builtin_fabsf(static_cast<float>(x)))
                          : static_cast<R>(__builtin_fabs(static_cast<double>(x)));
}

template <class T>
Real<T> asum(std::int64_t n, const T* x, std::int64_t incx) {
    using R = Real<T>;
    using V = Vector<R>;
    Sums<R> sums;
    for_lanes(n, x, incx, [&](const R* a) {
#pragma GCC unroll 16
        for (int v = 0; v < kRegisters<R>; ++v) {
            const auto e = V::load(a + v * V::kLanes);
            sums.lanes[v] += e < 0 ? -e : e;
        }
    });
    return sums.total();
}

template <class T>
double sum_of_squares(std::int64_t n, double scale, const T* x, std::int64_t incx) {
    using R = Real<T>;
    using V = Vector<double>;
    constexpr int kParts = kLanes<R> / kLanes<double>;  // each with as many lanes as a sum
    Sums<double> sums;
    const auto factor = V::broadcast(scale);
    for_lanes(n, x, incx, [&](const R* a) {
        for (int part = 0; part < kParts; ++part) {
            alignas(64) double wide[kLanes<double>];
            for (int i = 0; i < kLanes<double>; ++i) wide[i] = static_cast<double>(a[part * kLanes<double> + i]);
#pragma GCC unroll 16
            for (int v = 0; v < kRegisters<double>; ++v) {
                const auto e = factor * V::load(wide + v * V::kLanes);
                sums.lanes[v] = V::fma(e, e, sums.lanes[v]);
            }
        }
    });
    return sums.total();
}

template <class T>
std::int64_t iamax(std::int64_t n, const T* x, std::int64_t incx) {
    const auto size = [&](std::int64_t i) {
        const T e = x[i * incx];
        if constexpr (kComplex<T>)
            return magnitude(e.re) + magnitude(e.im);
        else
            return magnitude(e);
    };
    // Whether a stretch holds a larger element is checked quickly; only then is its position searched.
    constexpr std::int64_t kStretch = 128;
    std::int64_t best = 0;
    Real<T> most = size(0);
    for (std::int64_t begin = 1; begin < n; begin += kStretch) {
        const std::int64_t end = begin + kStretch < n ? begin + kStretch : n;
        bool any = false;
        for (std::int64_t i = begin; i < end; ++i) any |= size(i) > most;
        if (!any) continue;
        for (std::int64_t i = begin; i < end; ++i)
            if (size(i) > most) most = size(i), best = i;
    }
    return best;
}

double mixed_dot(std::int64_t n, const float* x, std::int64_t incx, const float* y, std::int64_t incy) {
    using V = Vector<double>;
    Sums<double> sums;
    for_lanes(n, x, incx, y, incy, [&](const float* a, const float* b) {
        for (int part = 0; part < kLanes<float>; part += kLanes<double>) {
            alignas(64) double wide_a[kLanes<double>], wide_b[kLanes<double>];
            for (int i = 0; i < kLanes<double>; ++i)
                wide_a[i] = static_cast<double>(a[part + i]), wide_b[i] = static_cast<double>(b[part + i]);
            for (int v = 0; v < kRegisters<double>; ++v)
                sums.lanes[v] = V::fma(V::load(wide_a + v * V::kLanes), V::load(wide_b + v * V::kLanes), sums.lanes[v]);
        }
    });
    return sums.total();
}

template <class T, bool kFetches, int... C>
constexpr Vectors<T> vectors_of(std::integer_sequence<int, C...>) {
    return {axpy<T, kFetches>,
            axpy_columns<T>,
            dot<T>,
            {symmetric<T, kFetches, C + 1>...},
            {dots<T, kFetches, C + 1>...},
            scal<T>,
            scal_real<T>,
            swap<T>,
            copy<T>,
            rot<T>,
            asum<T>,
            sum_of_squares<T>,
            iamax<T>};
}
template <class T, bool kFetches>
constexpr Vectors<T> kOf = vectors_of<T, kFetches>(std::make_integer_sequence<int, kTogether>{});
template <bool kFetches>
constexpr IsaVectors kAll = {kOf<float, kFetches>,
                             kOf<double, kFetches>,
                             kOf<Complex<float>, kFetches>,
                             kOf<Complex<double>, kFetches>,
                             mixed_dot,
                             rotm<float>,
                             rotm<double>,
                             add_columns<float>,
                             add_columns<double>};

}  // namespace

namespace TENON_ISA {
extern const IsaVectors kVectors[2];
constexpr IsaVectors kVectors[2] = {kAll<false>, kAll<true>};
}  // namespace TENON_ISA

}  // namespace tenon::blas
