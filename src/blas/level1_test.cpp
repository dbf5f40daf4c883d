// Level 1 against its definition: lengths around the lanes of a sum, increments of either sign and 0, the ends of the
// range.
#include <cstring>

#include "blas/blas_testing.h"

namespace tenon::blas::testing {
namespace {

template <class T>
class Level1 : public Typed<T> {};
TYPED_TEST_SUITE(Level1, Types);

constexpr std::int64_t kLengths[] = {0, 1, 2, 7, 15, 16, 31, 32, 33, 63, 64, 65, 100, 128, 129, 1000};

/// Names that begin with the real type's letter: scnrm2, dzasum; and with both, the other way: csscal, zdrot.
template <class T>
std::string real_of(const char* name) {
    const char real = sizeof(Real<T>) == 4 ? 's' : 'd';
    return kComplex<T> ? std::string{real, kLetter<T>} + name : std::string{real} + name;
}
template <class T>
std::string by_real(const char* name) {
    return kComplex<T> ? std::string{kLetter<T>, sizeof(Real<T>) == 4 ? 's' : 'd'} + name
                       : std::string{kLetter<T>} + name;
}

template <class T>
T dot(const std::string& kind, std::int64_t n, Vector<T>& x, Vector<T>& y, bool c) {
    const auto length = static_cast<int>(n), incx = static_cast<int>(x.inc), incy = static_cast<int>(y.inc);
    const std::string name = kLetter<T> + kind;
    if (!c) {
        return function<T(const int*, const T*, const int*, const T*, const int*)>(name + "_")(&length, x.begin(),
                                                                                               &incx, y.begin(), &incy);
    } else if constexpr (kComplex<T>) {
        T result;
        function<void(int, const T*, int, const T*, int, T*)>("cblas_" + name + "_sub")(length, x.begin(), incx,
                                                                                        y.begin(), incy, &result);
        return result;
    } else {
        return function<T(int, const T*, int, const T*, int)>("cblas_" + name)(length, x.begin(), incx, y.begin(),
                                                                               incy);
    }
}

TYPED_TEST(Level1, Dot) {
    using T = TypeParam;
    unsigned seed = 0;
    for (const std::int64_t n : kLengths)
        for (int kind = 0; kind < 4; ++kind) {
            Random random(++seed);
            auto x = make_vector<T>(random, n), y = make_vector<T>(random, n);
            const bool conjugate = kComplex<T> && kind % 2 == 1;
            const T found = dot(std::string(!kComplex<T> ? "dot"
                                            : conjugate  ? "dotc"
                                                         : "dotu"),
                                n, x, y, kind / 2 == 1);
            const Dense row = x.value.op(conjugate ? 'C' : 'T');
            Wide wanted = 0, size = 0;
            if (n > 0) wanted = (row * y.value).at(0, 0), size = (row.sizes() * y.value.sizes()).at(0, 0);
            ASSERT_LE(std::abs(wide(found) - wanted),
                      std::numeric_limits<Real<T>>::epsilon() * static_cast<long double>(n + 4) * std::abs(size))
                << "n " << n;
        }
}

TYPED_TEST(Level1, ScaledElementsDependOnNoPlaceInTheVector) {
    using T = TypeParam;
    const std::string name = kLetter<T> + std::string("scal_");
    auto* scal = function<void(const int*, const T*, T*, const int*)>(name);
    Random random(9);
    std::vector<T> x(64);
    for (T& e : x) e = random.number<T>();
    const T alpha = random.number<T>();
    const int one = 1;
    std::vector<T> alone = x;
    for (T& e : alone) scal(&one, &alpha, &e, &one);
    for (int first = 0; first < 24; ++first)
        for (int n = 1; first + n <= 64; ++n) {
            std::vector<T> together = x;
            scal(&n, &alpha, together.data() + first, &one);
            ASSERT_EQ(
                std::memcmp(together.data() + first, alone.data() + first, static_cast<std::size_t>(n) * sizeof(T)), 0)
                << first << ' ' << n;
        }
}

TYPED_TEST(Level1, ElementByElement) {
    using T = TypeParam;
    using R = Real<T>;
    unsigned seed = 100;
    for (const std::int64_t n : kLengths)
        for (int repeat = 0; repeat < 3; ++repeat) {
            Random random(++seed);
            const Way way = {random.coin() ? Interface::fortran : Interface::c_columns, false};
            auto x = make_vector<T>(random, n), y = make_vector<T>(random, n);
            const auto x0 = x, y0 = y;
            const std::string l(1, kLetter<T>);
            const auto call = [&](const std::string& name, auto... arguments) {
                if (way.interface == Interface::fortran)
                    invoke_as<int, false>(name + "_", 0, arguments...);
                else
                    invoke_as<int, true>("cblas_" + name, 0, arguments...);
            };
            const T alpha = random.number<T>();
            call(l + "axpy", Int{n}, Number<T>{alpha}, x.begin(), Int{x.inc}, y.begin(), Int{y.inc});
            ASSERT_TRUE(
                equals(y, y0, wide(alpha) * x0.value + y0.value, Wide(2) * x0.value.sizes() + y0.value.sizes(), 4));
            y = y0;
            call(l + "copy", Int{n}, x.begin(), Int{x.inc}, y.begin(), Int{y.inc});
            ASSERT_TRUE(equals(y, y0, x0.value, Dense(n, 1), 0));
            y = y0;
            call(l + "swap", Int{n}, x.begin(), Int{x.inc}, y.begin(), Int{y.inc});
            ASSERT_TRUE(equals(y, y0, x0.value, Dense(n, 1), 0));
            ASSERT_TRUE(equals(x, x0, y0.value, Dense(n, 1), 0));
            x = x0, y = y0;
            // Nothing is scaled by an increment that is not positive.
            const Wide factor = x.inc > 0 ? wide(alpha) : Wide(1), real = x.inc > 0 ? Wide(std::real(alpha)) : Wide(1);
            call(l + "scal", Int{n}, Number<T>{alpha}, x.begin(), Int{x.inc});
            ASSERT_TRUE(equals(x, x0, factor * x0.value, Wide(2) * x0.value.sizes(), 4));
            x = x0;
            call(by_real<T>("scal"), Int{n}, Number<R>{std::real(alpha)}, x.begin(), Int{x.inc});
            ASSERT_TRUE(equals(x, x0, real * x0.value, x0.value.sizes(), 4));
            x = x0;
            const R c = std::real(random.number<T>()), s = std::real(random.number<T>());
            call(by_real<T>("rot"), Int{n}, x.begin(), Int{x.inc}, y.begin(), Int{y.inc}, Number<R>{c}, Number<R>{s});
            const Dense sizes = x0.value.sizes() + y0.value.sizes();
            ASSERT_TRUE(equals(x, x0, Wide(c) * x0.value + Wide(s) * y0.value, sizes, 4));
            ASSERT_TRUE(equals(y, y0, Wide(c) * y0.value + Wide(-s) * x0.value, sizes, 4));
        }
}

TYPED_TEST(Level1, Norms) {
    using T = TypeParam;
    using R = Real<T>;
    const auto norm = function<R(int, const T*, int)>("cblas_" + real_of<T>("nrm2")),
               sum = function<R(int, const T*, int)>("cblas_" + real_of<T>("asum"));
    unsigned seed = 200;
    const R tiny = std::numeric_limits<R>::min() * 4, huge = std::numeric_limits<R>::max() / 64;
    for (const std::int64_t n : kLengths)
        for (const R scale : {R(1), tiny, huge}) {
            Random random(++seed);
            auto x = make_vector<T>(random, n);
            x.inc = std::abs(x.inc);
            long double squares = 0, sizes = 0;
            for (std::size_t i = 0; i < x.data.size(); ++i) {
                if (x.element[i] < 0) continue;
                if (n > 100 && scale == huge) x.data[i] /= R(64);
                x.data[i] *= scale;
                const Wide e = wide(x.data[i]);
                squares += std::norm(e), sizes += std::abs(e.real()) + std::abs(e.imag());
            }
            const long double wanted = std::sqrt(squares), unit = std::numeric_limits<R>::epsilon();
            ASSERT_LE(std::abs(norm(static_cast<int>(n), x.begin(), static_cast<int>(x.inc)) - wanted),
                      unit * static_cast<long double>(n + 4) * wanted)
                << n << " " << scale;
            if (scale != R(1)) continue;
            ASSERT_LE(std::abs(sum(static_cast<int>(n), x.begin(), static_cast<int>(x.inc)) - sizes),
                      unit * static_cast<long double>(n + 4) * sizes);
        }
    T x[3] = {T(3), std::numeric_limits<R>::infinity(), T(4)};
    EXPECT_EQ(norm(3, x, 1), std::numeric_limits<R>::infinity());
    EXPECT_EQ(norm(2, x, 2), R(5));
    EXPECT_EQ(norm(2, x, -2), R(5));
    x[0] = nan<T>();
    EXPECT_TRUE(std::isnan(norm(3, x, 1)));
    EXPECT_EQ(sum(3, x, -1), R(0));
}

TYPED_TEST(Level1, FirstOfTheLargest) {
    using T = TypeParam;
    const std::string l(1, kLetter<T>);
    const auto fortran = function<int(const int*, const T*, const int*)>("i" + l + "amax_");
    const auto c = function<std::size_t(int, const T*, int)>("cblas_i" + l + "amax");
    for (const std::int64_t n : kLengths)
        for (const int inc : {1, 3}) {
            std::vector<T> x(static_cast<std::size_t>(n * inc + 1), T(0.5));
            const auto length = static_cast<int>(n);
            EXPECT_EQ(fortran(&length, x.data(), &inc), n > 0 ? 1 : 0);
            if (n < 3) continue;
            const std::int64_t at = n - 2;
            x[static_cast<std::size_t>(at * inc)] = T(-1), x[static_cast<std::size_t>((n - 1) * inc)] = T(1);
            if (at > 1) x[static_cast<std::size_t>(inc)] = nan<T>();
            EXPECT_EQ(fortran(&length, x.data(), &inc), at + 1);
            EXPECT_EQ(c(length, x.data(), inc), static_cast<std::size_t>(at));
        }
    T x[1] = {T(1)};
    const int one = 1, zero = 0;
    EXPECT_EQ(fortran(&one, x, &zero), 0);
}

TYPED_TEST(Level1, RotationsTurnTheSecondToZero) {
    using T = TypeParam;
    using R = Real<T>;
    const std::string l(1, kLetter<T>);
    const auto rotg = function<void(T*, T*, R*, T*)>(l + "rotg_");
    Random random(1);
    const R scales[] = {R(1), std::numeric_limits<R>::min() * 16, std::numeric_limits<R>::max() / 16};
    for (int i = 0; i < 60; ++i) {
        const T a0 = i % 5 == 1 ? T(0) : random.number<T>() * scales[i % 3],
                b0 = i % 7 == 1 ? T(0) : random.number<T>() * scales[i % 3];
        T a = a0, b = b0, s{};
        R c = 0;
        rotg(&a, &b, &c, &s);
        const Wide wa = wide(a0), wb = wide(b0), ws = wide(s), wc = c;
        const long double size = std::hypot(std::abs(wa), std::abs(wb)), unit = 16 * std::numeric_limits<R>::epsilon();
        ASSERT_LE(std::abs(wc * wa + ws * wb - wide(a)), unit * size + std::numeric_limits<R>::denorm_min()) << i;
        ASSERT_LE(std::abs(-std::conj(ws) * wa + wc * wb), unit * size + std::numeric_limits<R>::denorm_min()) << i;
        ASSERT_NEAR(static_cast<double>(std::norm(wc) + std::norm(ws)), 1.0, 1e-5);
    }
}

template <class R>
void modified_rotations() {
    const std::string l(1, kLetter<R>);
    const auto rotmg = function<void(R*, R*, R*, const R*, R*)>(l + "rotmg_");
    const auto rotm = function<void(const int*, R*, const int*, R*, const int*, const R*)>(l + "rotm_");
    Random random(2);
    for (int i = 0; i < 80; ++i) {
        const R shrink = i % 4 == 3 ? R(1e-9) : R(1);
        const R d1 = std::abs(random.number<R>()) * shrink, d2 = std::abs(random.number<R>()), x1 = random.number<R>(),
                y1 = i % 6 == 5 ? R(0) : random.number<R>();
        R e1 = d1, e2 = d2, x = x1, param[5] = {};
        rotmg(&e1, &e2, &x, &y1, param);
        // H takes (x1, y1) to (x, 0), and the weighted length stays.
        R u[3] = {x1, 7, x1}, v[3] = {y1, 8, y1};
        const int two = 2, inc = 2;
        rotm(&two, u, &inc, v, &inc, param);
        const double length = double(d1) * x1 * x1 + double(d2) * y1 * y1,
                     unit = 64 * std::numeric_limits<R>::epsilon();
        EXPECT_NEAR(double(e1) * u[0] * u[0] + double(e2) * v[0] * v[0], length, unit * length) << i;
        EXPECT_NEAR(u[2], y1 == 0 ? u[2] : x, unit * std::abs(x)) << i;
        EXPECT_LE(double(e2) * v[2] * v[2], unit * length) << i;
        EXPECT_EQ(u[1], 7);
    }
}
TEST(Level1, ModifiedRotations) {
    modified_rotations<float>();
    modified_rotations<double>();
}

TEST(Level1, FloatsSummedInDouble) {
    const auto dsdot = function<double(int, const float*, int, const float*, int)>("cblas_dsdot");
    const auto sdsdot = function<float(int, float, const float*, int, const float*, int)>("cblas_sdsdot");
    Random random(3);
    for (const std::int64_t n : kLengths) {
        auto x = make_vector<float>(random, n), y = make_vector<float>(random, n);
        const auto length = static_cast<int>(n), incx = static_cast<int>(x.inc), incy = static_cast<int>(y.inc);
        long double wanted = 0;
        for (std::size_t i = 0; i < x.value.elements.size(); ++i)
            wanted += x.value.elements[i].real() * y.value.elements[i].real();
        EXPECT_NEAR(dsdot(length, x.begin(), incx, y.begin(), incy), static_cast<double>(wanted), 1e-12);
        EXPECT_EQ(sdsdot(length, 0.5f, x.begin(), incx, y.begin(), incy),
                  static_cast<float>(0.5 + dsdot(length, x.begin(), incx, y.begin(), incy)));
    }
}

/// Netlib's C half calls functions of its Fortran half as subroutines.
TEST(Level1, FunctionsAreSubroutinesToo) {
    using C = std::complex<double>;
    const int n = 5, inc = 2;
    std::vector<double> x(10), y(10);
    std::vector<float> u(10), v(10);
    std::vector<C> z(10), w(10);
    for (int i = 0; i < 10; ++i) {
        x[i] = i - 3, y[i] = 2 * i + 1, z[i] = {x[i], y[i]}, w[i] = {y[i], -x[i]};
        u[i] = static_cast<float>(x[i]), v[i] = static_cast<float>(y[i]);
    }
    double dot = 0, wide = 0, asum = 0, nrm2 = 0, cabs1 = 0;
    float narrow = 0;
    const float half = 0.5F;
    C dotc, wanted;
    int iamax = 0;
    function<void(const int*, const double*, const int*, const double*, const int*, double*)>("ddotsub_")(
        &n, x.data(), &inc, y.data(), &inc, &dot);
    EXPECT_EQ(dot, function<double(int, const double*, int, const double*, int)>("cblas_ddot")(n, x.data(), inc,
                                                                                               y.data(), inc));
    function<void(const int*, const float*, const int*, const float*, const int*, double*)>("dsdotsub_")(
        &n, u.data(), &inc, v.data(), &inc, &wide);
    EXPECT_EQ(wide, dot);
    function<void(const int*, const float*, const float*, const int*, const float*, const int*, float*)>("sdsdotsub_")(
        &n, &half, u.data(), &inc, v.data(), &inc, &narrow);
    EXPECT_EQ(narrow, static_cast<float>(dot) + half);
    function<void(const int*, const C*, const int*, const C*, const int*, C*)>("zdotcsub_")(&n, z.data(), &inc,
                                                                                            w.data(), &inc, &dotc);
    function<void(int, const C*, int, const C*, int, C*)>("cblas_zdotc_sub")(n, z.data(), inc, w.data(), inc, &wanted);
    EXPECT_EQ(dotc, wanted);
    using Norm = void(const int*, const C*, const int*, double*);
    function<Norm>("dzasumsub_")(&n, z.data(), &inc, &asum);
    EXPECT_EQ(asum, function<double(int, const C*, int)>("cblas_dzasum")(n, z.data(), inc));
    function<Norm>("dznrm2sub_")(&n, z.data(), &inc, &nrm2);
    EXPECT_EQ(nrm2, function<double(int, const C*, int)>("cblas_dznrm2")(n, z.data(), inc));
    function<void(const C*, double*)>("dcabs1sub_")(&z[4], &cabs1);
    EXPECT_EQ(cabs1, 10);
    function<void(const int*, const C*, const int*, int*)>("izamaxsub_")(&n, z.data(), &inc, &iamax);
    EXPECT_EQ(iamax, 5);
}

}  // namespace
}  // namespace tenon::blas::testing
