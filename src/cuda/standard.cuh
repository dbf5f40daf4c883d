// Those parts of the standard library that sources shared by host and device use. NVRTC has no standard headers; it is
// given this file under their names.
#pragma once

#define TENON_API
#define __builtin_clzll(x) ::__clzll(x)

using size_t = decltype(sizeof(0));

namespace std {

using size_t = ::size_t;
using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;

template <bool condition, class A, class B>
struct conditional {
    using type = A;
};
template <class A, class B>
struct conditional<false, A, B> {
    using type = B;
};
template <bool condition, class A, class B>
using conditional_t = typename conditional<condition, A, B>::type;

template <class A, class B>
inline constexpr bool is_same_v = false;
template <class A>
inline constexpr bool is_same_v<A, A> = true;
template <class T>
inline constexpr bool is_floating_point_v = is_same_v<T, float> || is_same_v<T, double>;
template <class T>
inline constexpr bool is_signed_v = static_cast<T>(-1) < static_cast<T>(0);

template <class T>
struct make_unsigned {
    using type = T;
};
template <class T>
struct make_signed {
    using type = T;
};
#define TENON_PAIR(S, U)      \
    template <>               \
    struct make_unsigned<S> { \
        using type = U;       \
    };                        \
    template <>               \
    struct make_signed<U> {   \
        using type = S;       \
    };
TENON_PAIR(signed char, unsigned char)
TENON_PAIR(short, unsigned short)
TENON_PAIR(int, unsigned)
TENON_PAIR(long, unsigned long)
TENON_PAIR(long long, unsigned long long)
#undef TENON_PAIR
template <class T>
using make_unsigned_t = typename make_unsigned<T>::type;
template <class T>
using make_signed_t = typename make_signed<T>::type;

/// Only names it: no device code uses one.
class string_view;

}  // namespace std
