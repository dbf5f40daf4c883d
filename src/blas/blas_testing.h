// The library as programs see it: loaded by its file name and called by its symbols, Fortran's and C's, with integers
// of either width; and stored matrices beside the mathematical ones.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace tenon::blas::testing {

template <class T>
struct IsComplex : std::false_type {};
template <class R>
struct IsComplex<std::complex<R>> : std::true_type {};
template <class T>
inline constexpr bool kComplex = IsComplex<T>::value;
template <class T>
using Real = decltype(std::abs(T()));
template <class T>
inline constexpr char kLetter = sizeof(T) == 4    ? 's'
                                : sizeof(T) == 16 ? 'z'
                                : kComplex<T>     ? 'c'
                                                  : 'd';

inline void* library() {
    static void* const handle = [] {
        void* h = dlopen(TENON_BINARY_DIR "/libtenon_blas.so", RTLD_NOW | RTLD_LOCAL);
        if (!h) throw std::runtime_error(dlerror());
        return h;
    }();
    return handle;
}
inline void* symbol(const std::string& name) {
    void* address = dlsym(library(), name.c_str());
    if (!address) throw std::runtime_error("no symbol " + name);
    return address;
}
template <class Function>
Function* function(const std::string& name) {
    return reinterpret_cast<Function*>(symbol(name));
}

/// The interface through which a routine is called.
enum class Interface { fortran, c_columns, c_rows };
struct Way {
    Interface interface = Interface::fortran;
    bool wide = false;

    bool by_rows() const { return interface == Interface::c_rows; }
};

// Arguments of a routine, before an interface determines their form.
struct Option {
    char letter;
};
struct Int {
    std::int64_t value;
};
template <class T>
struct Number {
    T value;
};

inline int constant(char letter) {
    switch (letter) {
        case 'N':
            return 111;
        case 'T':
            return 112;
        case 'C':
            return 113;
        case 'U':
            return 121;
        case 'L':
            return 122;
        default:
            return -1;
    }
}
/// For diagonals and sides, whose letters also mean other constants.
struct DiagonalOption {
    char letter;
};
struct SideOption {
    char letter;
};

template <class I, bool kC>
struct Form {
    template <class P>
    static P* of(P*& p) {
        return p;
    }
    static auto of(Option& o) {
        if constexpr (kC)
            return constant(o.letter);
        else
            return static_cast<const char*>(&o.letter);
    }
    static auto of(DiagonalOption& o) {
        if constexpr (kC)
            return o.letter == 'N' ? 131 : o.letter == 'U' ? 132 : -1;
        else
            return static_cast<const char*>(&o.letter);
    }
    static auto of(SideOption& o) {
        if constexpr (kC)
            return o.letter == 'L' ? 141 : o.letter == 'R' ? 142 : -1;
        else
            return static_cast<const char*>(&o.letter);
    }
    template <class T>
    static auto of(Number<T>& n) {
        if constexpr (kC && !kComplex<T>)
            return n.value;
        else
            return static_cast<const T*>(&n.value);
    }
};

template <class I, bool kC, class A>
auto formed(A& argument, I& room) {
    if constexpr (std::is_same_v<A, Int>) {
        room = static_cast<I>(argument.value);
        if constexpr (kC)
            return room;
        else
            return static_cast<const I*>(&room);
    } else {
        return Form<I, kC>::of(argument);
    }
}

/// `layout` 0: a C function without a layout, of level 1.
template <class I, bool kC, class... A>
void invoke_as(const std::string& name, int layout, A... arguments) {
    std::tuple<A...> all(arguments...);
    I rooms[sizeof...(A)] = {};
    [&]<std::size_t... i>(std::index_sequence<i...>) {
        if (kC && layout != 0)
            function<void(int, decltype(formed<I, kC>(std::get<i>(all), rooms[i]))...)>(name)(
                layout, formed<I, kC>(std::get<i>(all), rooms[i])...);
        else
            function<void(decltype(formed<I, kC>(std::get<i>(all), rooms[i]))...)>(name)(
                formed<I, kC>(std::get<i>(all), rooms[i])...);
    }
    (std::index_sequence_for<A...>{});
}

/// Calls a routine of this type.
template <class T, class... A>
void invoke(Way way, const std::string& routine, A... arguments) {
    const std::string name = kLetter<T> + routine;
    const int layout = way.by_rows() ? 101 : 102;
    if (way.interface == Interface::fortran) {
        if (way.wide)
            invoke_as<std::int64_t, false>(name + "_64_", 0, arguments...);
        else
            invoke_as<std::int32_t, false>(name + "_", 0, arguments...);
    } else if (way.wide) {
        invoke_as<std::int64_t, true>("cblas_" + name + "_64", layout, arguments...);
    } else {
        invoke_as<std::int32_t, true>("cblas_" + name, layout, arguments...);
    }
}

using Wide = std::complex<long double>;

template <class T>
Wide wide(T x) {
    if constexpr (kComplex<T>)
        return {x.real(), x.imag()};
    else
        return {x, 0};
}

/// A matrix in the mathematical sense.
struct Dense {
    std::int64_t rows = 0, columns = 0;
    std::vector<Wide> elements;

    Dense() = default;
    Dense(std::int64_t m, std::int64_t n) : rows(m), columns(n), elements(static_cast<std::size_t>(m * n)) {}
    Wide& at(std::int64_t i, std::int64_t j) { return elements[static_cast<std::size_t>(i * columns + j)]; }
    const Wide& at(std::int64_t i, std::int64_t j) const { return elements[static_cast<std::size_t>(i * columns + j)]; }

    Dense op(char trans) const {
        if (trans == 'N') return *this;
        Dense out(columns, rows);
        for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < columns; ++j) out.at(j, i) = trans == 'C' ? std::conj(at(i, j)) : at(i, j);
        return out;
    }
    /// The magnitudes of the elements.
    Dense sizes() const {
        Dense out = *this;
        for (Wide& x : out.elements) x = std::abs(x);
        return out;
    }
};

inline Dense operator*(const Dense& a, const Dense& b) {
    Dense c(a.rows, b.columns);
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t k = 0; k < a.columns; ++k)
            for (std::int64_t j = 0; j < b.columns; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
    return c;
}
inline Dense operator*(Wide alpha, Dense a) {
    for (Wide& x : a.elements) x *= alpha;
    return a;
}
inline Dense operator+(Dense a, const Dense& b) {
    for (std::size_t i = 0; i < a.elements.size(); ++i) a.elements[i] += b.elements[i];
    return a;
}

/// What a stored matrix is, which also determines what of it is stored.
enum class Kind { general, symmetric, hermitian, triangular, unit };
enum class Stored { full, packed, band };

/// Memory, the matrix that it represents, and the element at each place of it (-1: none; must not be touched).
template <class T>
struct Array {
    std::vector<T> data;
    std::int64_t ld = 1;
    Dense value;
    std::vector<std::int64_t> element;

    T* begin() { return data.data(); }
};

class Random {
  public:
    explicit Random(unsigned seed) : engine_(seed) {}
    std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(engine_() % static_cast<unsigned>(n)); }
    bool coin() { return engine_() % 2 == 0; }
    template <class L>
    auto pick(const L& list) {
        return list[static_cast<std::size_t>(below(static_cast<std::int64_t>(std::size(list))))];
    }
    template <class T>
    T number() {
        std::uniform_real_distribution<Real<T>> uniform(-1, 1);
        if constexpr (kComplex<T>) {
            const Real<T> re = uniform(engine_);
            return {re, uniform(engine_)};
        } else {
            return uniform(engine_);
        }
    }

  private:
    std::mt19937 engine_;
};

template <class T>
T nan() {
    return std::numeric_limits<Real<T>>::quiet_NaN();
}

/// An m by n matrix stored by columns or rows; a square one may be a triangle, packed, or a band of `kl` diagonals
/// below and `ku` above. What is not read holds NaN.
template <class T>
Array<T> make(Random& random, bool by_rows, std::int64_t m, std::int64_t n, Kind kind = Kind::general, char uplo = 'U',
              Stored stored = Stored::full, std::int64_t kl = 0, std::int64_t ku = 0) {
    Array<T> out;
    out.value = Dense(m, n);
    const bool general = kind == Kind::general, upper = uplo == 'U';
    // In memory order, a row is a column of the transpose.
    const bool memory_upper = by_rows ? !upper : upper;
    std::int64_t memory_rows = by_rows ? n : m, memory_columns = by_rows ? m : n;
    std::int64_t below = by_rows ? ku : kl, above = by_rows ? kl : ku;
    if (!general) below = memory_upper ? 0 : kl, above = memory_upper ? kl : 0;
    const std::int64_t least = stored == Stored::band ? below + above + 1 : std::max<std::int64_t>(1, memory_rows);
    out.ld = least + random.below(3);
    const std::int64_t places =
        stored == Stored::packed ? memory_rows * (memory_rows + 1) / 2 : out.ld * memory_columns;
    out.data.assign(static_cast<std::size_t>(places + 1), nan<T>());
    out.element.assign(static_cast<std::size_t>(places + 1), -1);
    std::int64_t packed = 0;
    for (std::int64_t j = 0; j < memory_columns; ++j)
        for (std::int64_t i = 0; i < memory_rows; ++i) {
            if (!general && (memory_upper ? i > j : i < j)) continue;
            if (stored == Stored::band && (i - j > below || j - i > above)) continue;
            const std::int64_t place = stored == Stored::packed ? packed++
                                       : stored == Stored::band ? j * out.ld + above + i - j
                                                                : j * out.ld + i;
            if (kind == Kind::unit && i == j) {
                out.value.at(i, j) = 1;
                continue;
            }
            T x = random.number<T>();
            // A diagonal with which systems can be solved.
            if (kind == Kind::triangular && i == j) x += x == T(0) || std::real(x) > 0 ? T(2) : T(-2);
            if ((kind == Kind::triangular || kind == Kind::unit) && i != j) x *= static_cast<Real<T>>(0.25);
            if (kind == Kind::hermitian && i == j) x = std::real(x);
            const std::int64_t row = by_rows ? j : i, column = by_rows ? i : j;
            out.data[static_cast<std::size_t>(place)] = x;
            if constexpr (kComplex<T>)
                if (kind == Kind::hermitian && i == j) out.data[static_cast<std::size_t>(place)] = {x.real(), 7};
            out.element[static_cast<std::size_t>(place)] = row * n + column;
            out.value.at(row, column) = wide(x);
            if (kind == Kind::symmetric) out.value.at(column, row) = wide(x);
            if (kind == Kind::hermitian) out.value.at(column, row) = std::conj(wide(x));
        }
    return out;
}

/// n numbers `inc` apart, as a matrix of one column.
template <class T>
struct Vector : Array<T> {
    std::int64_t inc = 1;
};
template <class T>
Vector<T> make_vector(Random& random, std::int64_t n) {
    constexpr std::int64_t kIncrements[] = {1, 1, 2, -1, -3};
    Vector<T> out;
    out.inc = random.pick(kIncrements);
    out.value = Dense(n, 1);
    const std::int64_t step = std::abs(out.inc), places = n > 0 ? (n - 1) * step + 2 : 2;
    out.data.assign(static_cast<std::size_t>(places), nan<T>());
    out.element.assign(static_cast<std::size_t>(places), -1);
    for (std::int64_t i = 0; i < n; ++i) {
        const auto place = static_cast<std::size_t>(out.inc > 0 ? i * step : (n - 1 - i) * step);
        out.data[place] = random.number<T>();
        out.element[place] = i;
        out.value.at(i, 0) = wide(out.data[place]);
    }
    return out;
}

/// Compares memory with a matrix of results: elements within `terms` roundings of `sizes`, all other places unchanged.
template <class T>
::testing::AssertionResult equals(const Array<T>& found, const Array<T>& before, const Dense& wanted,
                                  const Dense& sizes, std::int64_t terms) {
    const long double unit = std::numeric_limits<Real<T>>::epsilon() * static_cast<long double>(terms + 8) * 2;
    for (std::size_t i = 0; i < found.data.size(); ++i) {
        if (found.element[i] < 0) {
            if (std::memcmp(&found.data[i], &before.data[i], sizeof(T)) != 0)
                return ::testing::AssertionFailure() << "place " << i << " is no element and was written";
            continue;
        }
        const auto e = static_cast<std::size_t>(found.element[i]);
        const long double error = std::abs(wide(found.data[i]) - wanted.elements[e]);
        if (!(error <= unit * std::abs(sizes.elements[e]) + std::numeric_limits<Real<T>>::min()))
            return ::testing::AssertionFailure() << "element " << e << " is " << found.data[i] << ", not "
                                                 << std::complex<double>(wanted.elements[e]) << "; error " << error;
    }
    return ::testing::AssertionSuccess();
}

template <class T>
class Typed : public ::testing::Test {};
using Types = ::testing::Types<float, double, std::complex<float>, std::complex<double>>;

inline Way random_way(Random& random) {
    constexpr Interface kInterfaces[] = {Interface::fortran, Interface::c_columns, Interface::c_rows};
    return {random.pick(kInterfaces), random.coin()};
}
template <class T>
T random_scale(Random& random) {
    const std::int64_t kind = random.below(5);
    return kind == 0 ? T(0) : kind == 1 ? T(1) : kind == 2 ? T(-1) : random.number<T>();
}

}  // namespace tenon::blas::testing
