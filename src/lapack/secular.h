// Roots of the secular equation of divide and conquer (Cuppen 1981): 1 / rho + sum z_j^2 / (d_j - x) = 0 for
// eigenvalues, and in squares, sum z_j^2 / (d_j^2 - x^2), for singular values. Between its poles the equation is
// modelled by two of them, which match the value and the slope of the sums on either side (Bunch, Nielsen and Sorensen
// 1978; Li 1993, LAPACK Working Note 89, "the middle way"); a bracket with bisection holds what the model does not. x
// counts from the nearest pole, so that all differences d_j - x are right to their last digits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "lapack/products.h"
#include "lapack/threads.h"

namespace tenon::lapack {

/// Differences whose computation is worth a thread.
inline constexpr int kSharedPoles = 1 << 13;

/// Runs f(i), each over n elements, on several threads.
template <class F>
void for_each_root(int count, int n, F f) {
    share(count, std::max(1, kSharedPoles / std::max(n, 1)), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) f(static_cast<int>(i));
    });
}

/// Elements of memory for n poles or weights.
template <class T>
constexpr std::int64_t padded_poles(std::int64_t n) {
    return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}
/// `from`, followed by the padding that kernels read.
template <class T>
void copy_padded(std::int64_t n, const T* from, T fill, T* to) {
    std::copy_n(from, n, to);
    std::fill(to + n, to + padded_poles<T>(n), fill);
}

/// Poles and weights, padded, and the power of two that scales the largest quantity on which the roots depend to near
/// 1.
template <class T>
struct Poles {
    T *d, *z, scale, rho;

    /// `most` is in the poles' unit; `power` is that of rho's unit.
    Poles(int n, const T* poles, const T* weights, T factor, T most, int power, T* memory)
        : d(memory), z(memory + padded_poles<T>(n)) {
        int exponent = 0;
        std::frexp(most, &exponent);
        const bool finite = most > 0 && most <= std::numeric_limits<T>::max();
        scale = finite ? std::ldexp(T(1), std::clamp(exponent, -kMaxPower, kMaxPower)) : T(1);
        const T down = 1 / scale;
        copy_padded(n, poles, std::numeric_limits<T>::infinity(), d);
        copy_padded(n, weights, T(0), z);
        for (int i = 0; i < n; ++i) d[i] *= down;
        rho = factor * down;
        if (power == 2) rho *= down;
    }
    static constexpr int kMaxPower = sizeof(T) == 4 ? 100 : 1000;
    static std::int64_t elements(std::int64_t n) { return 2 * padded_poles<T>(n); }
};

template <class T, bool kSquares>
class SecularEquation {
  public:
    /// n >= 2 poles, strictly ascending, and their weights, both padded (infinity, 0).
    SecularEquation(int n, const T* d, const T* z, T rho)
        : n_(n),
          d_(d),
          z_(z),
          rho_(rho),
          poles_(kSquares ? kernels().of<T>().squared_poles : kernels().of<T>().poles) {}

    /// Root i, counted from 0, above pole i; `minus` becomes d_j - x, and in squares `plus` becomes d_j + x. Returns
    /// false if there is none, for numbers that are not finite.
    bool solve(int i, T* minus, T* plus, T* root) const {
        State s{minus, plus, i + 1 < n_ ? i : n_ - 2, i + 1 == n_};
        if (!begin(s)) return false;
        constexpr int kMost = 200;
        T before = std::numeric_limits<T>::infinity();
        int slow = 0;
        for (int step = 0; step < kMost && !is_zero(s); ++step) {
            if (!(s.value == s.value)) return false;
            (s.value < 0 ? s.low : s.high) = s.tau;
            slow = std::abs(s.value) > before / 2 ? slow + 1 : 0;
            before = std::abs(s.value);
            T next = slow < 2 ? moved(s) : s.low;
            if (!inside(s, next)) next = middle(s.low, s.high), slow = 0;
            // No number is in between.
            if (!inside(s, next) || next == s.tau) break;
            s.tau = next;
            evaluate(s);
        }
        *root = d_[s.origin] + s.tau;
        return s.value == s.value;
    }

  private:
    struct State {
        T *minus, *plus;
        int left;  // of the two poles of the model
        bool last;
        int origin = 0;
        T low = 0, high = 0, tau = 0;  // a bracket, and where the sums below were computed
        T value = 0, slope_below = 0, slope_above = 0, noise = 0;
    };

    static bool is_zero(const State& s) {
        return std::abs(s.value) <= s.noise && s.noise < std::numeric_limits<T>::infinity();
    }
    static bool inside(const State& s, T tau) { return tau > s.low && tau < s.high; }

    /// The midpoint by magnitude, for brackets near a pole at 0.
    static T middle(T low, T high) {
        if (low == 0) return high / 8;
        if (high == 0) return low / 8;
        if (low > 0 && high > 16 * low) return std::sqrt(low) * std::sqrt(high);
        if (high < 0 && low < 16 * high) return -std::sqrt(-low) * std::sqrt(-high);
        return low + (high - low) / 2;
    }

    /// D of pole j.
    T difference(const State& s, int j) const { return kSquares ? s.minus[j] * s.plus[j] : s.minus[j]; }

    void evaluate(State& s) const {
        PoleSums<T> sums;
        poles_({n_, s.left + 1, d_, z_, d_[s.origin], s.tau, s.minus, s.plus}, sums);
        s.value = 1 / rho_ + (sums.below + sums.above);
        s.slope_below = sums.slope_below, s.slope_above = sums.slope_above;
        const T x = kSquares ? std::abs(s.tau) * (2 * d_[s.origin] + s.tau) : std::abs(s.tau);
        // The roundings of a sum with lanes and of its terms, and those of tau.
        const T terms = T(8) + static_cast<T>(n_) / 16;
        s.noise = std::numeric_limits<T>::epsilon() / 2 *
                  (terms * (std::abs(sums.below) + std::abs(sums.above)) + 2 / rho_ +
                   x * (sums.slope_below + sums.slope_above));
    }

    /// tau for an x, or x^2, that is `by` away from the origin's.
    T shifted(const State& s, T by) const {
        const T pole = d_[s.origin];
        return kSquares ? by / (pole + std::sqrt(pole * pole + by)) : by;
    }

    /// The first tau: where the model of two poles, with everything else as a constant, is zero.
    bool begin(State& s) const {
        const int l = s.left, r = l + 1;
        const T gap = kSquares ? (d_[r] - d_[l]) * (d_[r] + d_[l]) : d_[r] - d_[l];
        const T left = z_[l] * z_[l], right = z_[r] * z_[r];
        s.origin = s.last ? r : l;
        s.tau = s.last ? shifted(s, rho_ / 2) : (d_[r] - d_[l]) / 2;
        evaluate(s);
        if (!(s.value == s.value)) return false;
        const T rest = s.value - (left / difference(s, l) + right / difference(s, r));
        T a, b;
        bool smaller;  // of the roots of rest y^2 - a y + b
        if (s.last) {
            // Half as far again as possible, to allow for roundings.
            s.low = 0, s.high = shifted(s, rho_ * T(1.5));
            a = left + right - rest * gap, b = -right * gap, smaller = false;
        } else if (s.value > 0) {
            s.low = 0, s.high = s.tau;
            a = rest * gap + left + right, b = left * gap, smaller = true;
        } else {
            s.origin = r, s.low = -s.tau, s.high = 0, s.tau = -s.tau;
            a = left + right - rest * gap, b = -right * gap, smaller = true;
        }
        T next = shifted(s, root_of(rest, a, b, smaller));
        if (!inside(s, next)) next = middle(s.low, s.high);
        s.tau = next;
        evaluate(s);
        return true;
    }

    /// A root of c y^2 - a y + b: (a - s) / 2c, or the other, without cancellation.
    static T root_of(T c, T a, T b, bool smaller) {
        const T s = std::sqrt(std::max(a * a - 4 * b * c, T(0)));
        if (smaller) return a <= 0 ? (a - s) / (2 * c) : 2 * b / (a + s);
        return a >= 0 ? (a + s) / (2 * c) : 2 * b / (a - s);
    }

    /// The next tau by the model, or by Newton's method if the model moves the wrong way.
    T moved(const State& s) const {
        const T l = difference(s, s.left), r = difference(s, s.left + 1), slope = s.slope_below + s.slope_above;
        const T c = s.value - l * s.slope_below - r * s.slope_above, a = (l + r) * s.value - l * r * slope,
                b = l * r * s.value;
        T by = root_of(c, a, b, !s.last);
        if (!(s.value * by < 0)) by = -s.value / slope;
        if (!kSquares) return s.tau + by;
        const T x = d_[s.origin] + s.tau;
        return s.tau + by / (x + std::sqrt(std::max(x * x + by, T(0))));
    }

    int n_;
    const T *d_, *z_;
    T rho_;
    void (*poles_)(const PolesAt<T>&, PoleSums<T>&);
};

/// What a root's solution stores, root after root.
template <class T>
struct Differences {
    const T* data;
    std::int64_t ld;

    const T* at(std::int64_t i, std::int64_t j) const { return data ? data + i + j * ld : nullptr; }
};

/// Weights for which the k roots are exactly those found, with the signs of the given ones (Gu and Eisenstat 1994): w.
template <class T>
void find_weights(int k, Differences<T> minus, Differences<T> plus, const Poles<T>& p, T* w) {
    const Kernels<T>& kernel = kernels().of<T>();
    constexpr int kRows = kLanes<T>;
    for_each_root((k + kRows - 1) / kRows, k * kRows, [&](int block) {
        const int first = block * kRows, n = std::min(kRows, k - first);
        for (int i = first; i < first + n; ++i) w[i] = *minus.at(i, i) * (plus.data ? *plus.at(i, i) : T(1));
        for (int j = 0; j < k; ++j) {
            const bool own = j >= first && j < first + n;
            const T kept = own ? w[j] : T(0);
            kernel.multiply_ratios(n, minus.at(first, j), plus.at(first, j), p.d + first, p.d[j], w + first);
            if (own) w[j] = kept;
        }
        for (int i = first; i < first + n; ++i) w[i] = std::copysign(std::sqrt(std::abs(w[i])), p.z[i]);
    });
}

/// |x|, for numbers whose squares usually neither vanish nor overflow.
template <class T>
T length_of(int n, const T* x) {
    T sum = 0;
    kernels().of<T>().products(n, 1, 1, x, n, x, n, &sum, 1);
    constexpr T kLeast = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
    return sum > kLeast && sum <= std::numeric_limits<T>::max() ? std::sqrt(sum) : nrm2(n, x);
}

}  // namespace tenon::lapack
