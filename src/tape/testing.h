// What the tape's tests share: arrays of any dtype, random and special values, comparison of bits.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/view.h"
#include "tape/tape.h"

namespace tenon::tape::testing {

inline constexpr DType kDTypes[] = {DType::boolean,  DType::int8,    DType::int16,  DType::int32,  DType::int64,
                                    DType::uint8,    DType::uint16,  DType::uint32, DType::uint64, DType::float16,
                                    DType::bfloat16, DType::float32, DType::float64};

/// Calls f with a value of the C++ type of a dtype.
template <class F>
auto visit(DType type, F&& f) {
    switch (type) {
        case DType::boolean:
            return f(bool{});
        case DType::int8:
            return f(std::int8_t{});
        case DType::int16:
            return f(std::int16_t{});
        case DType::int32:
            return f(std::int32_t{});
        case DType::int64:
            return f(std::int64_t{});
        case DType::uint8:
            return f(std::uint8_t{});
        case DType::uint16:
            return f(std::uint16_t{});
        case DType::uint32:
            return f(std::uint32_t{});
        case DType::uint64:
            return f(std::uint64_t{});
        case DType::float16:
            return f(float16{});
        case DType::bfloat16:
            return f(bfloat16{});
        case DType::float32:
            return f(float{});
        default:
            return f(double{});
    }
}

/// The value that is computed with: float for the half-precision types.
template <class T>
auto widen(T x) {
    if constexpr (std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>)
        return to_float(x);
    else
        return x;
}
template <class T, class V>
T narrow(V x) {
    if constexpr (std::is_same_v<T, float16>)
        return to_float16(static_cast<float>(x));
    else if constexpr (std::is_same_v<T, bfloat16>)
        return to_bfloat16(static_cast<float>(x));
    else
        return static_cast<T>(x);
}

struct Array {
    DType dtype = DType::float32;
    Shape shape;
    std::vector<std::byte> bytes;

    Array() = default;
    Array(DType type, const Shape& s)
        : dtype(type), shape(s), bytes(static_cast<std::size_t>(count(s)) * size_of(type)) {}

    std::int64_t size() const { return count(shape); }
    View view() { return {bytes.data(), dtype, Layout::contiguous(shape)}; }
    /// The array's memory through a layout that may start anywhere in it.
    View view(const Layout& layout) { return with_layout({bytes.data(), dtype, layout}, layout); }
    template <class T>
    T& at(std::int64_t i) {
        return reinterpret_cast<T*>(bytes.data())[i];
    }
};

/// NaNs are equal to each other; everything else is compared by its bits.
inline bool same_element(const Array& a, const Array& b, std::int64_t i) {
    return visit(a.dtype, [&](auto tag) {
        using T = decltype(tag);
        const T &x = reinterpret_cast<const T*>(a.bytes.data())[i], &y = reinterpret_cast<const T*>(b.bytes.data())[i];
        if (std::memcmp(&x, &y, sizeof(T)) == 0) return true;  // NOLINT(bugprone-suspicious-memory-comparison)
        if constexpr (std::is_floating_point_v<decltype(widen(x))>)
            return std::isnan(widen(x)) && std::isnan(widen(y));
        else
            return false;
    });
}
inline ::testing::AssertionResult same_bits(const Array& a, const Array& b) {
    if (a.dtype != b.dtype || !(a.shape == b.shape)) return ::testing::AssertionFailure() << "other dtype or shape";
    for (std::int64_t i = 0; i < a.size(); ++i)
        if (!same_element(a, b, i))
            return ::testing::AssertionFailure() << "element " << i << " of " << a.size() << " differs";
    return ::testing::AssertionSuccess();
}

template <class T>
std::vector<T> special_values() {
    if constexpr (std::is_same_v<T, bool>) {
        return {false, true};
    } else if constexpr (std::is_integral_v<T>) {
        using L = std::numeric_limits<T>;
        return {0,
                1,
                2,
                3,
                7,
                static_cast<T>(8 * sizeof(T) - 1),
                static_cast<T>(8 * sizeof(T)),
                static_cast<T>(-1),
                static_cast<T>(-2),
                L::min(),
                static_cast<T>(L::min() + 1),
                L::max(),
                static_cast<T>(L::max() - 1)};
    } else {
        std::vector<T> v;
        const double bounds = std::is_same_v<T, float16> ? 65504 : 3.3e38;
        for (const double x :
             {0.0,  0.25,    0.5,   0.75,    1.0,   1.5,       2.0,    2.5,
              3.0,  3.5,     10.0,  88.0,    89.5,  104.0,     1e-3,   6e-8,
              1e-7, 1.2e-38, 5e-39, 1.5e-45, 300.0, 8388609.0, bounds, std::numeric_limits<double>::infinity()})
            for (const double s : {x, -x}) v.push_back(narrow<T>(s));
        v.push_back(narrow<T>(std::numeric_limits<float>::quiet_NaN()));
        return v;
    }
}

/// Element i: special values first (in an order that depends on `which`, so that they meet in all combinations), then
/// random ones.
inline void fill(Array& a, int which, unsigned seed = 1, bool with_specials = true) {
    std::mt19937_64 random(seed + 77u * static_cast<unsigned>(which));
    visit(a.dtype, [&](auto tag) {
        using T = decltype(tag);
        const auto specials = special_values<T>();
        const auto n = static_cast<std::int64_t>(specials.size());
        std::int64_t period = 1;
        for (int i = 0; i < which; ++i) period *= n;
        for (std::int64_t i = 0; i < a.size(); ++i) {
            if (with_specials && i < n * n) {
                a.at<T>(i) = specials[static_cast<std::size_t>(i / period % n)];
            } else if constexpr (std::is_same_v<T, bool>) {
                a.at<T>(i) = (random() & 1) != 0;
            } else if constexpr (std::is_integral_v<T>) {
                a.at<T>(i) = static_cast<T>(random() >> random() % 64);
            } else {
                const double scale = std::ldexp(1.0, static_cast<int>(random() % 12) - 6);
                a.at<T>(i) = narrow<T>(scale * std::normal_distribution<double>()(random));
            }
        }
    });
}

inline Array filled(DType type, const Shape& shape, int which, unsigned seed = 1) {
    Array a(type, shape);
    fill(a, which, seed);
    return a;
}

/// Random values only: sums of special values are mostly NaN, and so equal.
inline Array random_array(DType type, const Shape& shape, unsigned seed) {
    Array a(type, shape);
    fill(a, 0, seed, false);
    return a;
}

inline std::vector<Isa> supported_isas() {
    std::vector<Isa> v;
    for (const Isa i : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (supported(i)) v.push_back(i);
    return v;
}

/// Forces an instruction set for a scope.
class WithIsa {
  public:
    explicit WithIsa(Isa set) : before_(isa()) { force_isa(set); }
    ~WithIsa() { force_isa(before_); }
    WithIsa(const WithIsa&) = delete;
    WithIsa& operator=(const WithIsa&) = delete;

  private:
    Isa before_;
};

inline constexpr bool kSlowBuild =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
    true;
#else
    false;
#endif

}  // namespace tenon::tape::testing
