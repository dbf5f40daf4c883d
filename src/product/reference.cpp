// The order law of contract.h, spelt out for one output element at a time.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "product/axes.h"
#include "product/float_environment.h"
#include "product/flush.h"

namespace tenon::product {
namespace {

/// Where the summed elements of one output element are, relative to the first.
struct SummedOffsets {
    std::vector<std::int64_t> a, b;
};

/// Calls visit(a, b, out) with the offsets of every index of `axes`, the last axis fastest.
template <class Visit>
void for_each_index(const AxisList& axes, Visit visit) {
    std::array<std::int64_t, 2 * kMaxRank> index{};
    std::int64_t a = 0, b = 0, out = 0;
    for (std::int64_t left = axes.count(); left > 0; --left) {
        visit(a, b, out);
        for (int i = axes.size - 1; i >= 0; --i) {
            const Axis& axis = axes.axes[static_cast<std::size_t>(i)];
            std::int64_t& position = index[static_cast<std::size_t>(i)];
            const bool wraps = ++position == axis.extent;
            const std::int64_t steps = wraps ? 1 - axis.extent : 1;
            a += steps * axis.a;
            b += steps * axis.b;
            out += steps * axis.out;
            if (!wraps) break;
            position = 0;
        }
    }
}

template <class T>
constexpr bool kIsFloating = std::is_floating_point_v<T> || std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>;

/// The type of accumulation: float64 for itself, float32 for narrower ones; integers modulo 2^64 are exact modulo any
/// output's width.
template <class T>
using Accumulator =
    std::conditional_t<std::is_same_v<T, double>, double, std::conditional_t<kIsFloating<T>, float, std::uint64_t>>;

template <class T>
Accumulator<T> widen(T x) {
    if constexpr (std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>)
        return to_float(x);
    else
        return static_cast<Accumulator<T>>(x);
}

template <class Out, class Acc>
Out narrow(Acc x) {
    if constexpr (std::is_same_v<Out, float16>)
        return to_float16(x);
    else if constexpr (std::is_same_v<Out, bfloat16>)
        return to_bfloat16(x);
    else
        return static_cast<Out>(x);
}

/// The zero points of an element's row and column.
struct Zeros {
    std::int32_t a, b;
};

template <class T, class U>
class Element {
  public:
    using Acc = Accumulator<T>;

    Element(const SummedOffsets& summed, Zeros zeros, const T* a, const U* b)
        : summed_(summed), zeros_(zeros), a_(a), b_(b) {}

    Acc sum() const {
        const auto n = static_cast<std::int64_t>(summed_.a.size());
        return n == 0 ? Acc{0} : segments(0, (n + kSplitK - 1) / kSplitK);
    }

  private:
    /// The tree: the left part is the largest power of two that is smaller than the number of segments.
    Acc segments(std::int64_t first, std::int64_t n) const {
        if (n == 1) return segment(first * kSplitK);
        std::int64_t left = 1;
        while (2 * left < n) left *= 2;
        return add(segments(first, left), segments(first + left, n - left));
    }

    Acc segment(std::int64_t begin) const {
        const auto end = std::min(begin + kSplitK, static_cast<std::int64_t>(summed_.a.size()));
        Acc sum = chain(begin, std::min(begin + kBlockK, end));
        for (std::int64_t k = begin + kBlockK; k < end; k += kBlockK)
            sum = add(sum, chain(k, std::min(k + kBlockK, end)));
        return sum;
    }

    Acc chain(std::int64_t begin, std::int64_t end) const {
        Acc sum{0};
        if constexpr (std::is_same_v<T, bfloat16>) {
            for (std::int64_t k = begin; k < end; k += 2) {
                sum = k + 1 < end ? flush_fma(flush(a(k + 1)), flush(b(k + 1)), sum) : flush_fma(0.0f, 0.0f, sum);
                sum = flush_fma(flush(a(k)), flush(b(k)), sum);
            }
        } else {
            for (std::int64_t k = begin; k < end; ++k) sum = fma(a(k), b(k), sum);
        }
        return sum;
    }

    static float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
    static double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
    static std::uint64_t fma(std::uint64_t x, std::uint64_t y, std::uint64_t z) { return x * y + z; }

    static Acc add(Acc x, Acc y) {
        if constexpr (std::is_same_v<T, bfloat16>)
            return flush_add(x, y);
        else
            return x + y;
    }

    static Acc without(Acc x, std::int32_t zero) {
        if constexpr (std::is_integral_v<Acc>)
            return x - static_cast<Acc>(std::int64_t{zero});
        else
            return x;
    }
    Acc a(std::int64_t k) const { return without(widen(a_[summed_.a[static_cast<std::size_t>(k)]]), zeros_.a); }
    Acc b(std::int64_t k) const { return without(widen(b_[summed_.b[static_cast<std::size_t>(k)]]), zeros_.b); }

    const SummedOffsets& summed_;
    Zeros zeros_;
    const T* a_;
    const U* b_;
};

/// alpha * sum + beta * out, as finish.h says.
template <class T, class Acc, class Out>
Acc scaled(Acc sum, const Out& out, const Finish& finish) {
    if constexpr (std::is_integral_v<Acc>) {
        return sum;
    } else {
        const auto alpha = static_cast<Acc>(finish.alpha), beta = static_cast<Acc>(finish.beta);
        if (!finish.scales()) return sum;
        if constexpr (std::is_same_v<T, bfloat16>)
            return finish.beta == 0 ? flush_wide_fma(alpha, sum, -0.0f)
                                    : flush_wide_fma(alpha, sum, flush_wide_fma(beta, widen(out), -0.0f));
        else if constexpr (std::is_same_v<Acc, double>)
            return finish.beta == 0 ? alpha * sum : __builtin_fma(alpha, sum, beta * widen(out));
        else
            return finish.beta == 0 ? alpha * sum : __builtin_fmaf(alpha, sum, beta * widen(out));
    }
}

template <class T, class U, class Out>
[[gnu::noinline]] void run(const AxisRoles& roles, const SummedOffsets& summed, const Finish& finish, const T* a,
                           const U* b, Out* out) {
    for_each_index(roles.batch, [&](std::int64_t a0, std::int64_t b0, std::int64_t out0) {
        std::int64_t i = 0;
        for_each_index(roles.rows, [&](std::int64_t a1, std::int64_t, std::int64_t out1) {
            std::int64_t j = 0;
            for_each_index(roles.columns, [&](std::int64_t, std::int64_t b1, std::int64_t out2) {
                const Zeros zeros{finish.zeros_a ? finish.zeros_a[i] : finish.zero_a,
                                  finish.zeros_b ? finish.zeros_b[j] : finish.zero_b};
                const auto sum = Element<T, U>(summed, zeros, a + a0 + a1, b + b0 + b1).sum();
                Out& to = out[out0 + out1 + out2];
                to = narrow<Out>(scaled<T>(sum, to, finish));
                ++j;
            });
            ++i;
        });
    });
}

template <class T, class U = T>
void run_output(const AxisRoles& roles, const SummedOffsets& summed, const Finish& finish, const View& a, const View& b,
                const View& out) {
    const auto with = [&](auto* to) { run(roles, summed, finish, a.as<const T>(), b.as<const U>(), to); };
    if constexpr (std::is_same_v<T, U>) {
        if (out.dtype == dtype_for<T>) return with(out.as<T>());
    }
    if constexpr (kIsFloating<T>)
        with(out.as<float>());
    else
        with(out.as<std::int32_t>());
}

}  // namespace

void contract_reference(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish) {
    const AxisRoles roles = assign_roles(a, b, out, labels);
    SummedOffsets summed;
    if (finish.alpha != 0)
        for_each_index(roles.summed, [&](std::int64_t ka, std::int64_t kb, std::int64_t) {
            summed.a.push_back(ka);
            summed.b.push_back(kb);
        });
    const FloatEnvironment environment(Subnormals::keep);
    if (a.dtype == DType::int8 && b.dtype == DType::uint8)
        return run_output<std::int8_t, std::uint8_t>(roles, summed, finish, a, b, out);
    if (a.dtype == DType::uint8 && b.dtype == DType::int8)
        return run_output<std::uint8_t, std::int8_t>(roles, summed, finish, a, b, out);
    switch (a.dtype) {
        case DType::int8:
            return run_output<std::int8_t>(roles, summed, finish, a, b, out);
        case DType::int16:
            return run_output<std::int16_t>(roles, summed, finish, a, b, out);
        case DType::int32:
            return run_output<std::int32_t>(roles, summed, finish, a, b, out);
        case DType::int64:
            return run_output<std::int64_t>(roles, summed, finish, a, b, out);
        case DType::uint8:
            return run_output<std::uint8_t>(roles, summed, finish, a, b, out);
        case DType::uint16:
            return run_output<std::uint16_t>(roles, summed, finish, a, b, out);
        case DType::uint32:
            return run_output<std::uint32_t>(roles, summed, finish, a, b, out);
        case DType::uint64:
            return run_output<std::uint64_t>(roles, summed, finish, a, b, out);
        case DType::float16:
            return run_output<float16>(roles, summed, finish, a, b, out);
        case DType::bfloat16:
            return run_output<bfloat16>(roles, summed, finish, a, b, out);
        case DType::float32:
            return run_output<float>(roles, summed, finish, a, b, out);
        case DType::float64:
            return run_output<double>(roles, summed, finish, a, b, out);
        default:
            return;  // assign_roles has rejected the others
    }
}

}  // namespace tenon::product
