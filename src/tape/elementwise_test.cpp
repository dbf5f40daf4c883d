// Every opcode in every dtype against a plain scalar expectation; all instruction sets against the reference, bit for
// bit.
#include <string>

#include "tape/kernels.h"
#include "tape/testing.h"

namespace tenon::tape {
namespace {

using namespace testing;

constexpr Opcode kOpcodes[] = {
#define X(op, arity, types) Opcode::op,
    TENON_OPCODES(X)
#undef X
};

/// A float as the machine rounds it, to ulps of `T`; `exact` is in a wider type.
template <class T>
double ulps(T got, double exact) {
    const double value = static_cast<double>(widen(got));
    const double nearest = static_cast<double>(widen(narrow<T>(exact)));
    if (std::isnan(value) || std::isnan(exact)) return std::isnan(value) && std::isnan(exact) ? 0 : HUGE_VAL;
    if (value == nearest) return value != 0 || std::signbit(value) == std::signbit(exact) ? 0 : HUGE_VAL;
    if (std::isinf(value) || std::isinf(nearest)) return HUGE_VAL;
    constexpr int digits = std::is_same_v<T, float16>    ? 11
                           : std::is_same_v<T, bfloat16> ? 8
                           : std::is_same_v<T, float>    ? 24
                                                         : 53;
    constexpr int lowest = std::is_same_v<T, float16>    ? -24
                           : std::is_same_v<T, bfloat16> ? -133
                           : std::is_same_v<T, float>    ? -149
                                                         : -1074;
    int exponent = 0;
    (void)std::frexp(nearest == 0 ? exact : nearest, &exponent);
    return std::fabs(value - exact) / std::ldexp(1.0, std::max(exponent - digits, lowest));
}

/// What an opcode computes, by the C library in C (float, or double for float64); functions in double.
template <class C>
double expected_floating(Opcode op, C a, C b, C c) {
    const C nan = std::numeric_limits<C>::quiet_NaN();
    const double x = a;
    switch (op) {
        case Opcode::negative:
            return -a;
        case Opcode::abs:
            return std::fabs(a);
        case Opcode::sign:
            return std::isnan(a) || a == 0 ? a : a > 0 ? 1 : -1;
        case Opcode::square:
            return C(a * a);
        case Opcode::reciprocal:
            return C(1 / a);
        case Opcode::exp:
            return std::exp(x);
        case Opcode::expm1:
            return std::expm1(x);
        case Opcode::log:
            return std::log(x);
        case Opcode::log1p:
            return std::log1p(x);
        case Opcode::sqrt:
            return std::sqrt(a);
        case Opcode::rsqrt:
            return 1 / std::sqrt(x);
        case Opcode::sin:
            return std::sin(x);
        case Opcode::cos:
            return std::cos(x);
        case Opcode::atan:
            return std::atan(x);
        case Opcode::tanh:
            return std::tanh(x);
        case Opcode::erf:
            return std::erf(x);
        case Opcode::logistic:
            return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
        case Opcode::floor:
            return std::floor(a);
        case Opcode::ceil:
            return std::ceil(a);
        case Opcode::round:
            return std::nearbyint(a);
        case Opcode::trunc:
            return std::trunc(a);
        case Opcode::add:
            return C(a + b);
        case Opcode::subtract:
            return C(a - b);
        case Opcode::multiply:
            return C(a * b);
        case Opcode::divide:
            return C(a / b);
        case Opcode::remainder: {
            const C r = std::fmod(a, b);
            return r == 0 ? std::copysign(r, b) : (r < 0) != (b < 0) ? C(r + b) : r;
        }
        case Opcode::floor_divide: {
            if (b == 0) return C(a / b);
            const C r = std::fmod(a, b);
            C q = C(a - r) / b;
            if (r != 0 && (r < 0) != (b < 0)) q -= 1;
            const C whole =
                q == 0 ? std::copysign(C(0), C(a / b)) : std::floor(q) + (q - std::floor(q) > C(0.5) ? 1 : 0);
            return whole == 0 ? std::copysign(C(0), C(a / b)) : whole;
        }
        case Opcode::pow:
            return std::pow(x, static_cast<double>(b));
        case Opcode::copysign:
            return std::copysign(a, b);
        case Opcode::maximum:
            return std::isnan(a) || std::isnan(b) ? nan : a == b ? (std::signbit(a) ? b : a) : std::fmax(a, b);
        case Opcode::minimum:
            return std::isnan(a) || std::isnan(b) ? nan : a == b ? (std::signbit(a) ? a : b) : std::fmin(a, b);
        case Opcode::fma:
            return std::fma(a, b, c);
        default:
            ADD_FAILURE() << "no expectation for " << name(op);
            return nan;
    }
}

/// Of the bound of the function in float or double, and, for a half type, of rounding once more.
template <class T>
double tolerance(Opcode op) {
    const bool function = (op >= Opcode::exp && op <= Opcode::log1p) || (op >= Opcode::rsqrt && op <= Opcode::logistic);
    constexpr bool kHalf = std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>;
    if (op == Opcode::pow) return std::is_same_v<T, double> ? 2 : 0.51;
    return !function ? 0 : kHalf ? 0.51 : 3;
}

bool predicate(Opcode op, double a, double b) {
    switch (op) {
        case Opcode::isnan:
            return std::isnan(a);
        case Opcode::isfinite:
            return std::isfinite(a);
        case Opcode::equal:
            return a == b;
        case Opcode::not_equal:
            return a != b;
        case Opcode::less:
            return a < b;
        default:
            return a <= b;
    }
}

/// Exact integers first, then reduced modulo 2^bits.
__extension__ using Wide = __int128;

Wide floor_quotient(Wide a, Wide b) { return b == 0 ? 0 : a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0); }

template <class T>
T expected_integer(Opcode op, T x, T y) {
    const Wide a = x, b = y;
    constexpr int kBits = 8 * static_cast<int>(sizeof(T));
    switch (op) {
        case Opcode::negative:
            return static_cast<T>(-a);
        case Opcode::abs:
            return static_cast<T>(a < 0 ? -a : a);
        case Opcode::sign:
            return static_cast<T>(a > 0 ? 1 : a < 0 ? -1 : 0);
        case Opcode::square:
            return static_cast<T>(static_cast<std::uint64_t>(x) * static_cast<std::uint64_t>(x));
        case Opcode::bitwise_invert:
            return static_cast<T>(~a);
        case Opcode::add:
            return static_cast<T>(a + b);
        case Opcode::subtract:
            return static_cast<T>(a - b);
        case Opcode::multiply:
            return static_cast<T>(static_cast<std::uint64_t>(x) * static_cast<std::uint64_t>(y));
        case Opcode::floor_divide:
            return static_cast<T>(floor_quotient(a, b));
        case Opcode::remainder:
            return static_cast<T>(b == 0 ? 0 : a - b * floor_quotient(a, b));
        case Opcode::pow: {
            if (b < 0) return static_cast<T>(a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0);
            std::uint64_t result = 1, base = static_cast<std::uint64_t>(x);
            for (auto e = static_cast<std::uint64_t>(y); e != 0; e /= 2, base *= base)
                if (e % 2 == 1) result *= base;
            return static_cast<T>(result);
        }
        case Opcode::maximum:
            return std::max(x, y);
        case Opcode::minimum:
            return std::min(x, y);
        case Opcode::bitwise_and:
            return static_cast<T>(a & b);
        case Opcode::bitwise_or:
            return static_cast<T>(a | b);
        case Opcode::bitwise_xor:
            return static_cast<T>(a ^ b);
        case Opcode::bitwise_left_shift:
            return b < 0 || b >= kBits ? T(0) : static_cast<T>(static_cast<std::uint64_t>(x) << static_cast<int>(b));
        case Opcode::bitwise_right_shift:
            return static_cast<T>(b < 0 || b >= kBits ? (a < 0 ? -1 : 0) : a >> static_cast<int>(b));
        default:
            ADD_FAILURE() << "no expectation for " << name(op);
            return 0;
    }
}

template <class T>
void check_element(Opcode op, Array* in, Array& out, std::int64_t i) {
    const T x = in[0].at<T>(i);
    const T y = arity(op) > 1 ? in[1].at<T>(i) : T{};
    const T z = arity(op) > 2 ? in[2].at<T>(i) : T{};
    if (result_type(op, in[0].dtype) == DType::boolean && op != Opcode::cast && in[0].dtype != DType::boolean) {
        const bool integers = std::is_integral_v<T>;
        const auto a = widen(x), b = widen(y);
        const bool want = integers && op != Opcode::isnan
                              ? (op == Opcode::equal       ? a == b
                                 : op == Opcode::not_equal ? a != b
                                 : op == Opcode::less      ? a < b
                                                           : a <= b)
                              : predicate(op, static_cast<double>(a), static_cast<double>(b));
        EXPECT_EQ(out.at<bool>(i), want) << static_cast<double>(a) << " " << static_cast<double>(b);
    } else if constexpr (std::is_same_v<T, bool>) {
        const int a = x, b = y;
        const bool want = op == Opcode::bitwise_invert ? a == 0
                          : op == Opcode::bitwise_and  ? (a & b) != 0
                          : op == Opcode::bitwise_or   ? (a | b) != 0
                          : op == Opcode::bitwise_xor  ? a != b
                                                       : predicate(op, a, b);
        EXPECT_EQ(out.at<bool>(i), want);
    } else if constexpr (std::is_integral_v<T>) {
        EXPECT_EQ(out.at<T>(i), expected_integer(op, x, y)) << +x << " " << +y;
    } else {
        const auto a = widen(x), b = widen(y), c = widen(z);
        EXPECT_LE(ulps(out.at<T>(i), expected_floating(op, a, b, c)), tolerance<T>(op))
            << a << " " << b << " " << c << " -> " << widen(out.at<T>(i)) << " want " << expected_floating(op, a, b, c);
    }
}

/// Operands whose special values meet each other, and then random ones; the length leaves a tail in every set.
std::vector<Array> operands(Opcode op, DType type, std::int64_t n) {
    std::vector<Array> v;
    for (int i = 0; i < arity(op); ++i) {
        v.push_back(filled(op == Opcode::select && i == 0 ? DType::boolean : type, {n}, i % 2, i == 2 ? 5 : 1));
    }
    if (op == Opcode::fma) fill(v[2], 0, 9);
    return v;
}

std::vector<View> views(std::vector<Array>& arrays) {
    std::vector<View> v;
    for (Array& a : arrays) v.push_back(a.view());
    return v;
}

class EachOpcode : public ::testing::TestWithParam<Opcode> {};

TEST_P(EachOpcode, GivesWhatItsDefinitionSays) {
    const Opcode op = GetParam();
    if (op == Opcode::cast || op == Opcode::select || op == Opcode::nextafter) return;  // tests of their own, below
    for (const DType type : kDTypes) {
        if (!accepts(op, type)) continue;
        SCOPED_TRACE(std::string(name(op)) + " of " + std::string(name(type)));
        std::vector<Array> in = operands(op, type, 3001);
        Array out(result_type(op, type), {3001});
        run(single(op, std::vector<DType>(static_cast<std::size_t>(arity(op)), type), out.dtype), views(in),
            std::vector{out.view()});
        visit(type, [&](auto tag) {
            for (std::int64_t i = 0; i < out.size(); ++i) {
                check_element<decltype(tag)>(op, in.data(), out, i);
                if (::testing::Test::HasFailure()) break;
            }
        });
    }
}

TEST_P(EachOpcode, GivesTheSameBitsInEveryInstructionSet) {
    const Opcode op = GetParam();
    for (const DType type : kDTypes) {
        if (!accepts(op, type)) continue;
        for (const DType to : kDTypes) {
            const DType result = op == Opcode::cast ? to : result_type(op, type);
            if (op != Opcode::cast && to != result) continue;
            std::vector<Array> in = operands(op, type, 4003);
            std::vector<DType> types;
            for (const Array& a : in) types.push_back(a.dtype);
            const Tape tape = single(op, types, result);
            Array want(result, {4003});
            run_reference(tape, views(in), std::vector{want.view()});
            for (const Isa set : supported_isas()) {
                const WithIsa forced(set);
                for (const std::int64_t n : {1, 5, 64, 77, 4003}) {
                    Array got = want;
                    std::memset(got.bytes.data(), 0, static_cast<std::size_t>(n) * size_of(result));
                    std::vector<View> in_views = views(in);
                    for (View& v : in_views) v.layout = Layout::contiguous({n});
                    run(tape, in_views, std::vector{got.view(Layout::contiguous({n}))});
                    EXPECT_TRUE(same_bits(got, want))
                        << name(op) << " " << name(type) << " " << name(result) << " " << name(set);
                }
            }
        }
    }
}

TEST_P(EachOpcode, HasKernelsForExactlyWhatItAccepts) {
    const Opcode op = GetParam();
    if (op == Opcode::cast) return;  // its kernels stand in a table of their own
    for (const DType type : kDTypes)
        EXPECT_EQ(kernels().elementwise[static_cast<int>(op)][static_cast<int>(type)] != nullptr, accepts(op, type))
            << name(type);
}

INSTANTIATE_TEST_SUITE_P(Elementwise, EachOpcode, ::testing::ValuesIn(kOpcodes),
                         [](const auto& p) { return std::string(name(p.param)); });

TEST(Elementwise, SelectTakesWhatTheConditionSays) {
    for (const DType type : kDTypes) {
        Array c = filled(DType::boolean, {1003}, 0), a = filled(type, {1003}, 0), b = filled(type, {1003}, 1),
              out(type, {1003});
        const DType types[] = {DType::boolean, type, type};
        run(single(Opcode::select, types, type), std::vector{c.view(), a.view(), b.view()}, std::vector{out.view()});
        for (std::int64_t i = 0; i < 1003; ++i) EXPECT_TRUE(same_element(out, c.at<bool>(i) ? a : b, i)) << name(type);
    }
}

TEST(Elementwise, NextafterSteps) {
    const auto check = [](auto tag) {
        using T = decltype(tag);
        Array a = filled(dtype_for<T>, {4000}, 0), b = filled(dtype_for<T>, {4000}, 1), out(dtype_for<T>, {4000});
        const DType types[] = {dtype_for<T>, dtype_for<T>};
        run(single(Opcode::nextafter, types, dtype_for<T>), std::vector{a.view(), b.view()}, std::vector{out.view()});
        for (std::int64_t i = 0; i < 4000; ++i) {
            const T x = a.at<T>(i), y = b.at<T>(i);
            const auto got = widen(out.at<T>(i));
            if constexpr (std::is_floating_point_v<T>) {
                EXPECT_LE(ulps(out.at<T>(i), std::nextafter(x, y)), 0) << x << " " << y << " " << got;
            } else if (std::isnan(widen(x)) || std::isnan(widen(y))) {
                EXPECT_TRUE(std::isnan(got));
            } else if (widen(x) == widen(y)) {
                EXPECT_EQ(out.at<T>(i), y);
            } else {
                // Nothing of the format lies between, and it is on y's side.
                EXPECT_NE(got, widen(x));
                EXPECT_EQ(got > widen(x), widen(y) > widen(x));
                const T middle = narrow<T>((static_cast<double>(got) + static_cast<double>(widen(x))) / 2);
                EXPECT_TRUE(widen(middle) == got || widen(middle) == widen(x) || std::isinf(widen(x)) ||
                            std::isinf(got));
            }
        }
    };
    check(float16{});
    check(bfloat16{});
    check(float{});
    check(double{});
}

/// From a value exactly representable in long double, rounded once to T.
template <class T, class V>
T expected_cast(V v) {
    const auto x = static_cast<long double>(v);
    if constexpr (std::is_same_v<T, bool>) {
        return x != 0;
    } else if constexpr (std::is_integral_v<T>) {
        if (std::is_integral_v<V>) return static_cast<T>(v);
        if (std::isnan(x)) return 0;
        if (x >= static_cast<long double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
        if (x <= static_cast<long double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
        return static_cast<T>(v);
    } else if constexpr (std::is_floating_point_v<T>) {
        return static_cast<T>(v);
    } else {
        // The half types by hand: scale so that the last place is 1, round to even there.
        if (std::isnan(x) || std::isinf(x) || x == 0) return narrow<T>(static_cast<float>(x));
        constexpr bool kHalf = std::is_same_v<T, float16>;
        int exponent = 0;
        (void)std::frexp(x, &exponent);
        const int last = std::max(exponent - (kHalf ? 11 : 8), kHalf ? -24 : -133);
        return narrow<T>(static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(x, -last)), last)));
    }
}

TEST(Elementwise, CastRoundsOnceAndSaturates) {
    for (const DType from : kDTypes)
        for (const DType to : kDTypes) {
            visit(from, [&](auto from_tag) {
                using A = decltype(from_tag);
                Array in = filled(from, {6000}, 0), out(to, {6000});
                // Ties and near-ties of narrower formats, and the edges of integers.
                std::mt19937_64 random(3);
                for (std::int64_t i = 3000; i < 6000; ++i) {
                    const auto bits = std::uint64_t{1} << random() % 63, low = std::uint64_t{1} << random() % 63;
                    const std::uint64_t mix =
                        bits | bits >> 8 | bits >> (7 + random() % 5) | (random() % 2 != 0 ? low : 0);
                    if constexpr (std::is_same_v<A, bool>)
                        in.at<A>(i) = mix % 2 != 0;
                    else if constexpr (std::is_integral_v<A>)
                        in.at<A>(i) = static_cast<A>(random() % 2 != 0 ? mix : -mix);
                    else
                        in.at<A>(i) =
                            narrow<A>(std::ldexp(static_cast<double>(mix), -static_cast<int>(random() % 200)));
                }
                const DType types[] = {from};
                run(single(Opcode::cast, types, to), std::vector{in.view()}, std::vector{out.view()});
                visit(to, [&](auto to_tag) {
                    using B = decltype(to_tag);
                    Array want(to, {6000});
                    for (std::int64_t i = 0; i < 6000; ++i) {
                        if constexpr (std::is_same_v<A, B>)
                            want.at<B>(i) = in.at<A>(i);
                        else
                            want.at<B>(i) = expected_cast<B>(widen(in.at<A>(i)));
                        if (!same_element(out, want, i)) {
                            ADD_FAILURE()
                                << name(from) << " to " << name(to) << ": " << static_cast<double>(widen(in.at<A>(i)))
                                << " gives " << static_cast<double>(widen(out.at<B>(i)));
                            break;
                        }
                    }
                });
            });
        }
}

TEST(Opcode, TableAnswers) {
    EXPECT_EQ(name(Opcode::logistic), "logistic");
    EXPECT_EQ(arity(Opcode::fma), 3);
    EXPECT_TRUE(accepts(Opcode::add, DType::int8));
    EXPECT_FALSE(accepts(Opcode::add, DType::boolean));
    EXPECT_FALSE(accepts(Opcode::exp, DType::int32));
    EXPECT_FALSE(accepts(Opcode::add, DType::complex64));
    EXPECT_EQ(result_type(Opcode::less, DType::float64), DType::boolean);
    EXPECT_EQ(result_type(Opcode::add, DType::float64), DType::float64);
}

}  // namespace
}  // namespace tenon::tape
