// Triangular products and systems against their order law, bit for bit, and against long double within their bounds.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::first_difference;
using testing::matrix;
using testing::message_of;
using testing::settings;
using testing::Storage;
using testing::WithSetting;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kSizes[] = {0, 1, 2, 31, 32, 33, 64, 65, 129, 200, 327};
constexpr Storage kStorages[] = {Storage::row_major, Storage::column_major, Storage::padded, Storage::reversed};

struct Problem {
    DType type;
    Side side;
    Triangle triangle;
    Diagonal diagonal;
    std::int64_t n, other;  // A's rows; the other extent of B
    Storage a, b;
    double alpha;
    unsigned seed;

    bool left() const { return side == Side::left; }
    std::int64_t rows() const { return left() ? n : other; }
    std::int64_t columns() const { return left() ? other : n; }
    bool stored(std::int64_t i, std::int64_t j) const {
        return i == j ? diagonal == Diagonal::stored : (j < i) == (triangle == Triangle::lower);
    }

    /// Well conditioned: off the diagonal small. NaN where nothing may be read.
    Array matrix_a() const {
        Array x = std::move(Array(type, {1, n, n}, a, seed).randomize(seed));
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                const double value = x.get(i * n + j) / 16;
                x.set(i * n + j, !stored(i, j) ? kNaN : i == j ? 1.5 + value : value);
            }
        return x;
    }
    Array matrix_b() const { return std::move(Array(type, {1, rows(), columns()}, b, seed).randomize(seed + 1)); }

    std::string name() const {
        return text(tenon::name(type), left() ? " left" : " right", triangle == Triangle::lower ? " lower" : " upper",
                    diagonal == Diagonal::unit ? " unit" : " stored", " n ", n, " other ", other, " storage ", int(a),
                    int(b), " alpha ", alpha, " seed ", seed);
    }
};

Problem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const double scales[] = {1, 1, -1, 0.7, 2};
    Problem p{random() % 2 == 0 ? DType::float32 : DType::float64,
              random() % 2 == 0 ? Side::left : Side::right,
              random() % 2 == 0 ? Triangle::lower : Triangle::upper,
              random() % 2 == 0 ? Diagonal::stored : Diagonal::unit,
              pick(kSizes),
              pick(kSizes),
              pick(kStorages),
              pick(kStorages),
              pick(scales),
              seed};
    return p;
}

/// The law of the header, one element after the other, on copies: a lower triangle L on the left of X, rows and columns
/// counted from the last where the problem's triangle is an upper one.
template <class T>
class Law {
  public:
    explicit Law(const Problem& p) : n_(p.n), m_(p.other), unit_(p.diagonal == Diagonal::unit) {
        Array a = p.matrix_a(), b = p.matrix_b();
        reversed_ = (p.triangle == Triangle::upper) == p.left();
        for (std::int64_t i = 0; i < n_; ++i)
            for (std::int64_t j = 0; j < n_; ++j) {
                const std::int64_t r = from(i), c = from(j);
                l_.push_back(static_cast<T>(a.get(p.left() ? r * n_ + c : c * n_ + r)));
            }
        for (std::int64_t i = 0; i < n_; ++i)
            for (std::int64_t j = 0; j < m_; ++j) x_.push_back(static_cast<T>(b.get(position(p, i, j))));
    }

    std::int64_t position(const Problem& p, std::int64_t i, std::int64_t j) const {
        return p.left() ? from(i) * m_ + j : j * n_ + from(i);
    }
    T at(std::int64_t i, std::int64_t j) const { return x_[static_cast<std::size_t>(i * m_ + j)]; }

    void multiply(T alpha) {
        constexpr std::int64_t kRows = 384;
        for (std::int64_t first = (n_ - 1) / kRows * kRows; first >= 0; first -= kRows) {
            const std::int64_t rows = std::min(kRows, n_ - first);
            for (std::int64_t i = first + rows - 1; i >= first; --i)
                for (std::int64_t j = 0; j < m_; ++j) {
                    T sum = 0;
                    for (std::int64_t k = first; k < i; ++k) sum = std::fma(l(i, k), x(k, j), sum);
                    x(i, j) = alpha * std::fma(unit_ ? T(1) : l(i, i), x(i, j), sum);
                }
            for (std::int64_t k = first - kRows; k >= 0; k -= kRows) add_product(first, rows, k, kRows, alpha, 1);
        }
    }

    void solve(std::int64_t first, std::int64_t n, T alpha) {
        if (n > 64) {
            const std::int64_t h = (n / 2 + 63) / 64 * 64;
            solve(first, h, alpha);
            add_product(first + h, n - h, first, h, -1, alpha);
            return solve(first + h, n - h, 1);
        }
        for (std::int64_t i = first; i < first + n; ++i)
            for (std::int64_t j = 0; j < m_; ++j) {
                T sum = alpha * x(i, j);
                for (std::int64_t k = first; k < i; ++k) sum = std::fma(-l(i, k), x(k, j), sum);
                x(i, j) = unit_ ? sum : sum / l(i, i);
            }
    }

  private:
    std::int64_t from(std::int64_t i) const { return reversed_ ? n_ - 1 - i : i; }
    T l(std::int64_t i, std::int64_t j) const { return l_[static_cast<std::size_t>(i * n_ + j)]; }
    T& x(std::int64_t i, std::int64_t j) { return x_[static_cast<std::size_t>(i * m_ + j)]; }

    /// Chains of 384 terms, from the first of the problem's own rows on.
    void add_product(std::int64_t to, std::int64_t rows, std::int64_t first, std::int64_t h, T alpha, T beta) {
        for (std::int64_t i = to; i < to + rows; ++i)
            for (std::int64_t j = 0; j < m_; ++j) {
                T sum = 0, chain = 0;
                for (std::int64_t e = 0; e < h; ++e) {
                    const std::int64_t k = first + (reversed_ ? h - 1 - e : e);
                    chain = std::fma(l(i, k), x(k, j), chain);
                    if ((e + 1) % kBlockK == 0 || e + 1 == h) sum = e < kBlockK ? chain : sum + chain, chain = 0;
                }
                x(i, j) = std::fma(alpha, sum, beta * x(i, j));
            }
    }

    std::int64_t n_, m_;
    bool unit_, reversed_ = false;
    std::vector<T> l_, x_;
};

template <class T>
void expect_the_law(const Problem& p, bool solves) {
    Law<T> law(p);
    Array a = p.matrix_a(), b = p.matrix_b(), expected = b;
    if (solves)
        law.solve(0, p.n, static_cast<T>(p.alpha));
    else
        law.multiply(static_cast<T>(p.alpha));
    for (std::int64_t i = 0; i < p.n; ++i)
        for (std::int64_t j = 0; j < p.other; ++j) {
            const T value = law.at(i, j);
            std::memcpy(expected.at(law.position(p, i, j)), &value, sizeof value);
        }
    (solves ? trsm : trmm)(p.side, p.triangle, p.diagonal, p.alpha, matrix(a), matrix(b));
    ASSERT_TRUE(b.bytes() == expected.bytes()) << (solves ? "trsm " : "trmm ") << p.name();
}

void expect_the_law_of_type(const Problem& p, bool solves) {
    if (p.type == DType::float32)
        expect_the_law<float>(p, solves);
    else
        expect_the_law<double>(p, solves);
}

TEST(Triangular, EqualsTheLawForEveryLayoutAndSetting) {
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 600; ++seed) {
        const Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 8));
        for (const bool solves : {false, true}) expect_the_law_of_type(p, solves);
        if (HasFatalFailure()) return;
    }
}

/// A is one row or one column repeated, or one element: the bits are those of a copy with strides.
TEST(Triangular, OfRepeatedRowsOrColumns) {
    constexpr std::array<std::int64_t, 2> strides[] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}, {0, 2}, {2, 0}, {0, 0}};
    unsigned seed = 0;
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t n : {2, 17, 70, 200})
            for (const auto& [row, column] : strides)
                for (const Storage storage : {Storage::row_major, Storage::column_major})
                    for (const Side side : {Side::left, Side::right})
                        for (const Triangle triangle : {Triangle::lower, Triangle::upper})
                            for (const bool solves : {false, true}) {
                                const std::int64_t other = ++seed % 2 == 0 ? 24 : 130;
                                const bool left = side == Side::left;
                                Array line(type, {1, 1, 4 * n}), all(type, {1, n, n});
                                line.randomize(seed);
                                const auto at = [&, r = row, c = column](std::int64_t i, std::int64_t j) {
                                    return 2 * n + i * r + j * c;
                                };
                                for (std::int64_t i = 0; i < 4 * n; ++i) line.set(i, line.get(i) / 16);
                                for (std::int64_t i = 0; i < n; ++i)
                                    for (std::int64_t j = 0; j < n; ++j) all.set(i * n + j, line.get(at(i, j)));
                                Array x(type, {1, left ? n : other, left ? other : n}, storage);
                                x.randomize(seed);
                                Array y = x;
                                const Matrix repeated{line.at(2 * n), type, n, n, row, column};
                                const auto run = solves ? trsm : trmm;
                                run(side, triangle, Diagonal::unit, 0.5, repeated, matrix(x));
                                run(side, triangle, Diagonal::unit, 0.5, matrix(all), matrix(y));
                                ASSERT_EQ(first_difference(x, y, type), -1)
                                    << (solves ? "trsm " : "trmm ") << tenon::name(type) << " n " << n << " other "
                                    << other << " strides " << row << " " << column << " left " << left << " upper "
                                    << (triangle == Triangle::upper) << " storage " << int(storage);
                            }
}

TEST(Triangular, LargeProductsEqualTheLaw) {
    // Several blocks of rows, the last one short, and a triangle that is transposed at once.
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 8; ++seed) {
        Problem p = random_problem(seed);
        p.side = seed % 2 == 0 ? Side::left : Side::right;
        p.triangle = seed / 2 % 2 == 0 ? Triangle::lower : Triangle::upper;
        p.n = seed % 4 < 2 ? 837 : 321, p.other = 320 + seed;
        const WithSetting setting(sets[sets.size() - 1 - seed / 4 % sets.size()], 1 + static_cast<int>(seed % 3));
        expect_the_law_of_type(p, false);
        if (HasFatalFailure()) return;
    }
}

/// alpha times row i of A times column j of B (A on the left), or row i of B times column j of A; and its magnitude.
struct Sum {
    long double value = 0, magnitude = 0;
};
Sum product_at(const Problem& p, Array& a, Array& b, std::int64_t i, std::int64_t j) {
    Sum s;
    for (std::int64_t k = 0; k < p.n; ++k) {
        const std::int64_t row = p.left() ? i : k, column = p.left() ? k : j;
        if (row != column && !p.stored(row, column)) continue;
        const long double element = p.stored(row, column) ? a.get(row * p.n + column) : 1;
        const long double term = element * b.get(p.left() ? k * p.columns() + j : i * p.columns() + k);
        s.value += term, s.magnitude += std::abs(term);
    }
    return s;
}

TEST(Triangular, ProductsOfManyAndOfFewColumnsEqualTheLaw) {
    // So many that they pass in slices, and rows of B so short that they are copied.
    for (const DType type : {DType::float32, DType::float64})
        for (const Side side : {Side::left, Side::right})
            for (const Triangle triangle : {Triangle::lower, Triangle::upper})
                for (const std::int64_t other : {1, 5, 30, 3000}) {
                    Problem p = random_problem(static_cast<unsigned>(7 + other));
                    p.type = type, p.side = side, p.triangle = triangle, p.other = other;
                    const bool many = other == 3000;
                    p.n = many ? 40 : 450;
                    p.b = (side == Side::left) == many ? Storage::column_major : Storage::row_major;
                    const WithSetting setting(settings().back(), 1);
                    expect_the_law_of_type(p, false);
                    if (HasFatalFailure()) return;
                }
}

TEST(Triangular, ErrorIsWithinTheBound) {
    for (unsigned seed = 1; seed <= 60; ++seed) {
        Problem p = random_problem(seed + 10'000);
        if (seed % 2 == 0) p.n = 200;
        p.other = std::min<std::int64_t>(p.other, 65);
        const bool wide = p.type == DType::float64;
        const long double u = wide ? 0x1p-53 : 0x1p-24, alpha = wide ? p.alpha : static_cast<float>(p.alpha);
        Array a = p.matrix_a(), b = p.matrix_b(), product = b, x = b;
        trmm(p.side, p.triangle, p.diagonal, p.alpha, matrix(a), matrix(product));
        trsm(p.side, p.triangle, p.diagonal, p.alpha, matrix(a), matrix(x));
        for (std::int64_t i = 0; i < p.rows(); ++i)
            for (std::int64_t j = 0; j < p.columns(); ++j) {
                const auto bound = static_cast<long double>(p.n + 2) * u;
                const std::int64_t at = i * p.columns() + j;
                const Sum exact = product_at(p, a, b, i, j), residual = product_at(p, a, x, i, j);
                ASSERT_LE(std::abs(product.get(at) - alpha * exact.value), bound * std::abs(alpha) * exact.magnitude)
                    << p.name() << " at " << i << ", " << j;
                const long double right = alpha * b.get(at);
                ASSERT_LE(std::abs(residual.value - right), bound * residual.magnitude + u * std::abs(right))
                    << p.name() << " at " << i << ", " << j;
            }
    }
}

TEST(Triangular, EveryNumberOfThreadsAndInstructionSetGivesTheSameBits) {
    for (const bool solves : {false, true})
        for (unsigned seed = 1; seed <= 8; ++seed) {
            Problem p = random_problem(seed);
            p.type = seed % 2 == 0 ? DType::float32 : DType::float64;
            // Sums of more than one block; shares of columns for each thread.
            p.n = seed <= 4 ? 833 : 130, p.other = seed <= 4 ? 140 : 1100;
            Array a = p.matrix_a(), first;
            for (const auto& set : settings())
                for (int threads = 1; threads <= 8; threads += set.isa == Isa::baseline ? 7 : 1) {
                    const WithSetting setting(set, threads);
                    Array b = p.matrix_b();
                    (solves ? trsm : trmm)(p.side, p.triangle, p.diagonal, p.alpha, matrix(a), matrix(b));
                    if (first.count() == 0) first = b;
                    ASSERT_TRUE(b.bytes() == first.bytes())
                        << name(set.isa) << " " << threads << " threads, " << p.name();
                }
        }
}

TEST(Triangular, SharesThatAreTilesGiveTheBitsOfOneThread) {
    Problem p = random_problem(2);
    p.n = 150;
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t other : {128, 131, 250})
            for (const Side side : {Side::left, Side::right})
                for (const Triangle triangle : {Triangle::lower, Triangle::upper})
                    for (const auto call : {trmm, trsm}) {
                        p.type = type, p.other = other, p.side = side, p.triangle = triangle;
                        Array a = p.matrix_a();
                        Array one;
                        for (const int threads : {1, 2, 4}) {
                            const WithSetting setting(settings().back(), threads);
                            Array b = p.matrix_b();
                            call(p.side, p.triangle, p.diagonal, p.alpha, matrix(a), matrix(b));
                            if (threads == 1) one = b;
                            ASSERT_TRUE(b.bytes() == one.bytes()) << threads << " threads, " << p.name();
                        }
                    }
}

TEST(Triangular, AlphaZeroReadsNothing) {
    Problem p = random_problem(1);
    p.n = 70, p.other = 30, p.alpha = 0;
    for (const auto call : {trmm, trsm}) {
        Array a = p.matrix_a(), b = p.matrix_b();
        for (std::int64_t i = 0; i < a.count(); ++i) a.set(i, kNaN);
        for (std::int64_t i = 0; i < b.count(); ++i) b.set(i, kNaN);
        call(p.side, p.triangle, p.diagonal, 0, matrix(a), matrix(b));
        for (std::int64_t i = 0; i < b.count(); ++i) ASSERT_EQ(b.get(i), 0);
    }
}

TEST(Triangular, AnInfinityReachesOnlyWhatItsTriangleMultiplies) {
    Problem p = random_problem(3);
    p.side = Side::left, p.triangle = Triangle::lower, p.diagonal = Diagonal::stored, p.n = 65, p.other = 3;
    Array a = p.matrix_a(), b = p.matrix_b();
    b.set(40 * p.other, std::numeric_limits<double>::infinity());
    trmm(p.side, p.triangle, p.diagonal, 1, matrix(a), matrix(b));
    for (std::int64_t i = 0; i < b.count(); ++i)
        ASSERT_EQ(std::isfinite(b.get(i)), i % p.other != 0 || i / p.other < 40) << i;
}

TEST(Triangular, ZerosOnTheDiagonalAreDividedBy) {
    const double a[] = {0, kNaN, 1, 1};
    double b[] = {1, 0, -1, 0, 0, 0};
    trsm(Side::left, Triangle::lower, Diagonal::stored, 1, row_major(a, DType::float64, 2, 2),
         row_major(b, DType::float64, 2, 3));
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    EXPECT_EQ(b[0], kInfinity);
    EXPECT_EQ(b[2], -kInfinity);
    EXPECT_EQ(b[3], -kInfinity);
    EXPECT_EQ(b[5], kInfinity);
    EXPECT_TRUE(std::isnan(b[1]) && std::isnan(b[4]));
}

/// Of any bits, or an exponent among the usual ones; so are their mantissas, which are often nearly 1 or 2.
template <class T>
T any_number(std::mt19937_64& random, bool usual) {
    constexpr int kBits = std::numeric_limits<T>::digits - 1, kMost = std::numeric_limits<T>::max_exponent - 1;
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const Bits mantissas = (Bits{1} << kBits) - 1, few = static_cast<Bits>(random() % 4);
    const Bits mantissa = std::array<Bits, 3>{static_cast<Bits>(random()), few, ~few}[random() % 3] & mantissas;
    const auto exponent =
        static_cast<Bits>(usual ? kMost - 8 + static_cast<int>(random() % 16)
                                : static_cast<int>(random() % (2 * static_cast<unsigned>(kMost) + 2)));
    return std::bit_cast<T>(static_cast<Bits>((random() << (8 * sizeof(T) - 1)) | (exponent << kBits) | mantissa));
}

template <class T>
void expect_divisions() {
    // Rows by themselves, and four at once before and beside others.
    constexpr std::int64_t kColumns = 512, kRows[] = {1, 4, 11};
    const DType type = sizeof(T) == 4 ? DType::float32 : DType::float64;
    std::mt19937_64 random(5);
    const auto sets = settings();
    for (std::size_t i = 0; i < 600; ++i) {
        const WithSetting setting(sets[i / 3 % sets.size()], 1);
        const std::int64_t n = kRows[i % 3];
        const bool usual = i % 4 != 0;
        std::vector<T> a(static_cast<std::size_t>(n * n));
        for (std::int64_t r = 0; r < n; ++r)
            for (std::int64_t k = 0; k <= r; ++k)
                a[static_cast<std::size_t>(r * n + k)] =
                    k == r ? any_number<T>(random, usual) : static_cast<T>(static_cast<int>(random() % 5) - 2) / 8;
        std::vector<T> b(static_cast<std::size_t>(n * kColumns));
        // Now and then a zero or a number of any size among others, and columns of nothing else.
        for (std::size_t e = 0; e < b.size(); ++e) {
            b[e] = any_number<T>(random, e % kColumns < 256 && random() % 64 != 0);
            if (random() % 64 == 0) b[e] = std::copysign(T(0), b[e]);
        }
        std::vector<T> expected = b;
        const auto at = [](std::int64_t r, std::int64_t j) { return static_cast<std::size_t>(r * kColumns + j); };
        for (std::int64_t j = 0; j < kColumns; ++j)
            for (std::int64_t r = 0; r < n; ++r) {
                T& x = expected[at(r, j)];
                for (std::int64_t k = 0; k < r; ++k)
                    x = std::fma(-a[static_cast<std::size_t>(r * n + k)], expected[at(k, j)], x);
                x /= a[static_cast<std::size_t>(r * n + r)];
            }
        trsm(Side::left, Triangle::lower, Diagonal::stored, 1, row_major(a.data(), type, n, n),
             row_major(b.data(), type, n, kColumns));
        for (std::size_t e = 0; e < b.size(); ++e)
            ASSERT_TRUE(std::isnan(expected[e]) ? std::isnan(b[e]) : std::memcmp(&b[e], &expected[e], sizeof(T)) == 0)
                << "order " << n << ": " << expected[e] << ", not " << b[e];
    }
}

TEST(Triangular, QuotientsAreThoseOfDivision) {
    expect_divisions<float>();
    expect_divisions<double>();
}

TEST(Triangular, BadCallsNameTheRuleAndTheOperandsAndWriteNothing) {
    float x[64];
    std::fill_n(x, 64, 1.0f);
    const Matrix a = row_major(x, DType::float32, 2, 2), b = row_major(x + 32, DType::float32, 2, 3);
    const auto has = [](const std::string& message, const char* part) {
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    for (const auto call : {trmm, trsm}) {
        const std::string name = call == &trmm ? "trmm: " : "trsm: ";
        const auto run = [&](Side side, const Matrix& left, const Matrix& right) {
            call(side, Triangle::lower, Diagonal::stored, 1, left, right);
        };
        has(message_of<ShapeError>([&] { run(Side::right, a, b); }),
            (name + "a (n, n) stands on the right of b (m, n); a is float32 (2, 2) with strides (2, 1), b is").c_str());
        has(message_of<ShapeError>([&] { run(Side::left, b, b); }), "on the left of b");
        Matrix wrong = b;
        wrong.columns = -1;
        has(message_of<ShapeError>([&] { run(Side::left, a, wrong); }), "not negative");
        wrong = b, wrong.dtype = DType::float64;
        has(message_of<TypeError>([&] { run(Side::left, a, wrong); }), "b is float64");
        wrong = b, wrong.dtype = DType::float16;
        Matrix narrow = a;
        narrow.dtype = DType::float16;
        has(message_of<TypeError>([&] { run(Side::left, narrow, wrong); }), "share float32 or float64");
        wrong = b, wrong.row_stride = 2;
        has(message_of<ValueError>([&] { run(Side::left, a, wrong); }), "do not share memory");
    }
    for (const float value : x) EXPECT_EQ(value, 1);
}

}  // namespace
}  // namespace tenon::product
