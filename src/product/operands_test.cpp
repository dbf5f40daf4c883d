// What operands may be: NaN and infinities, any offset and stride, at the edge of what may be read, elements further
// apart than 2^31; and that a call leaves the floating-point environment as it was.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <limits>

#include "product/product_testing.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::matrix;
using testing::Storage;
using testing::WithSetting;

struct Types {
    DType a, b, c;
};
constexpr Types kTypes[] = {{DType::float32, DType::float32, DType::float32},
                            {DType::float64, DType::float64, DType::float64},
                            {DType::bfloat16, DType::bfloat16, DType::float32},
                            {DType::bfloat16, DType::bfloat16, DType::bfloat16},
                            {DType::float16, DType::float16, DType::float16},
                            {DType::uint8, DType::int8, DType::int32},
                            {DType::int8, DType::int8, DType::int32}};
constexpr int kFloating = 5;

/// Every row, and the usual choice.
template <class F>
void for_each_row(F f) {
    for (int row = -1; row < dense::kWayCount; ++row) {
        const dense::ForcedChoice forced({row, 0, 0});
        f(row);
    }
}

TEST(Operands, NaNAndInfinityReachTheirRowOrColumnAndNoOther) {
    const auto sets = testing::settings();
    const double specials[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity()};
    for (unsigned seed = 1; seed <= 300; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
        const std::int64_t sizes[] = {1, 2, 3, 4, 7, 15, 16, 17, 33, 65, 130},
                           ks[] = {1, 5, 16, 100, 384, 385, 900, 6200};
        const Storage storages[] = {Storage::row_major, Storage::column_major, Storage::padded, Storage::reversed};
        const Types t = kTypes[random() % kFloating];
        const std::int64_t m = pick(sizes), n = pick(sizes), k = pick(ks);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed % 2));
        Array a(t.a, {1, m, k}, pick(storages)), b(t.b, {1, k, n}, pick(storages)), expected(t.c, {1, m, n});
        a.randomize(seed), b.randomize(seed + 1);
        std::vector<bool> row(static_cast<std::size_t>(m)), column(static_cast<std::size_t>(n));
        for (unsigned i = random() % 4; i > 0; --i) {
            const auto at = static_cast<std::int64_t>(random());
            if (random() % 2 == 0)
                a.set(at % (m * k), pick(specials)), row[static_cast<std::size_t>(at % (m * k) / k)] = true;
            else
                b.set(at % (k * n), pick(specials)), column[static_cast<std::size_t>(at % (k * n) % n)] = true;
        }
        contract_reference(a.view(), b.view(), expected.view(), Equation("bmk,bkn->bmn").labels());
        for_each_row([&](int forced) {
            Array c(t.c, {1, m, n});
            gemm(matrix(a), matrix(b), matrix(c));
            ASSERT_EQ(first_difference(c, expected, t.c), -1) << name(t.a) << " row " << forced << " seed " << seed;
            for (std::int64_t i = 0; i < m * n; ++i)
                ASSERT_EQ(std::isfinite(c.get(i)),
                          !row[static_cast<std::size_t>(i / n)] && !column[static_cast<std::size_t>(i % n)])
                    << name(t.a) << " row " << forced << " seed " << seed << " element " << i;
        });
    }
}

struct Shape3 {
    std::int64_t m, n, k;
};
/// Problems on both sides of the limits of each way.
constexpr Shape3 kShapes[] = {{1, 1, 1},     {16, 16, 16},   {17, 33, 65}, {1, 300, 300}, {3, 129, 385}, {14, 32, 384},
                              {50, 70, 400}, {8, 9, 12'500}, {2, 40, 37},  {5, 3, 2},     {2, 300, 700}};

#if defined(__x86_64__)
TEST(Operands, TheFloatingPointEnvironmentStaysAndPlaysNoPart) {
    const unsigned before = _mm_getcsr();
    for (const testing::Setting& set : testing::settings())
        for (const Types& t : kTypes)
            for (const auto& [m, n, k] : kShapes)
                for (const bool transposed : {false, true}) {
                    const WithSetting setting(set, 2);
                    Array a(t.a, {1, m, k}), b(t.b, {1, k, n}, transposed ? Storage::column_major : Storage::row_major),
                        expected(t.c, {1, m, n});
                    a.randomize(1), b.randomize(2);
                    gemm(matrix(a), matrix(b), matrix(expected));
                    const PackedMatrix packed = pack(matrix(b));
                    // As it is at the start, with subnormals flushed, rounding up; no flag is set, not even inexact.
                    for (const unsigned mode : {0x1f80u, 0x1f80u | 0x8040u, 0x1f80u | 0x4000u}) {
                        Array c(t.c, {1, m, n}), d(t.c, {1, m, n});
                        _mm_setcsr(mode);
                        gemm(matrix(a), matrix(b), matrix(c));
                        gemm(matrix(a), packed, matrix(d));
                        const unsigned after = _mm_getcsr();
                        _mm_setcsr(before);
                        ASSERT_EQ(after, mode) << name(t.a) << " " << m << "x" << n << "x" << k;
                        ASSERT_EQ(first_difference(c, expected, t.c), -1) << name(t.a) << " " << m << "x" << n;
                        ASSERT_EQ(first_difference(d, expected, t.c), -1) << name(t.a) << " " << m << "x" << n;
                    }
                }
}
#endif

/// Memory between pages that may not be touched.
class Guarded {
  public:
    /// `at_end`: the last byte is followed by such a page; else the first comes after one.
    Guarded(std::size_t bytes, bool at_end) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t inside = (bytes + page - 1) / page * page;
        size_ = inside + 2 * page;
        base_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_ + page, inside, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
        data_ = base_ + page + (at_end ? inside - bytes : 0);
    }
    ~Guarded() { munmap(base_, size_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    std::byte* data() const { return data_; }

  private:
    std::byte *base_, *data_;
    std::size_t size_;
};

/// The elements of an array, row-major.
void copy_to(Array& from, std::byte* to, DType t) {
    for (std::int64_t i = 0; i < from.count(); ++i)
        std::memcpy(to + i * static_cast<std::int64_t>(size_of(t)), from.at(i), size_of(t));
}

TEST(Operands, NothingBeyondTheirElementsIsTouched) {
    for (const testing::Setting& set : testing::settings())
        for (const Types& t : kTypes)
            for (const auto& [m, n, k] : kShapes)
                for (int which = 0; which < 4; ++which) {
                    const bool transposed = which % 2 != 0, at_end = which < 2;
                    const WithSetting setting(set, 1 + which % 2);
                    const auto bytes = [](std::int64_t x, std::int64_t y, DType type) {
                        return static_cast<std::size_t>(x * y) * size_of(type);
                    };
                    const Guarded ga(bytes(m, k, t.a), at_end), gb(bytes(k, n, t.b), at_end),
                        gc(bytes(m, n, t.c), at_end);
                    Array a(t.a, {1, m, k}), b(t.b, {1, transposed ? n : k, transposed ? k : n}), c(t.c, {1, m, n});
                    a.randomize(1), b.randomize(2), c.randomize(3);
                    copy_to(a, ga.data(), t.a), copy_to(b, gb.data(), t.b);
                    const auto maybe_transposed = [&](const Matrix& x) { return transposed ? x.transpose() : x; };
                    const Matrix left = row_major(ga.data(), t.a, m, k), out = row_major(gc.data(), t.c, m, n),
                                 right = maybe_transposed(
                                     row_major(gb.data(), t.b, transposed ? n : k, transposed ? k : n));
                    const bool adds = t.c != DType::int32 && which % 3 == 0;
                    const GemmOptions options{.beta = adds ? 1.0 : 0.0};
                    gemm(matrix(a), maybe_transposed(matrix(b)), matrix(c), options);
                    const PackedMatrix packed = pack(right);
                    for_each_row([&, m = m, n = n, k = k](int row) {
                        c.randomize(3);
                        copy_to(c, gc.data(), t.c);
                        gemm(left, right, out, options);
                        gemm(matrix(a), maybe_transposed(matrix(b)), matrix(c), options);
                        ASSERT_EQ(std::memcmp(gc.data(), c.at(0), bytes(m, n, t.c)), 0)
                            << name(t.a) << " row " << row << " " << m << "x" << n << "x" << k;
                    });
                    gemm(left, packed, out, {});
                    prepare(left, right, out, {})(left.data, right.data, out.data);
                }
}

TEST(Operands, AnyOffsetGivesTheSameBits) {
    for (const testing::Setting& set : testing::settings())
        for (const Types& t : kTypes)
            for (const auto& [m, n, k] : {Shape3{5, 37, 41}, {1, 200, 300}, {33, 65, 400}})
                for (std::int64_t offset = 0; offset < 17; ++offset) {
                    const WithSetting setting(set, 1);
                    // Columns of a wider array: rows and bases at any multiple of an element.
                    Array a(t.a, {1, m, k + 17}), b(t.b, {1, k, n + 17}), c(t.c, {1, m, n + 17}), x(t.a, {1, m, k}),
                        y(t.b, {1, k, n}), expected(t.c, {1, m, n});
                    a.randomize(1), b.randomize(2);
                    const auto columns = [&](Array& from, std::int64_t first, std::int64_t count) {
                        Matrix part = matrix(from);
                        part.data = from.at(first), part.columns = count;
                        return part;
                    };
                    for (std::int64_t i = 0; i < m * k; ++i) x.set(i, a.get(i / k * (k + 17) + offset + i % k));
                    for (std::int64_t i = 0; i < k * n; ++i) y.set(i, b.get(i / n * (n + 17) + 16 - offset + i % n));
                    gemm(columns(a, offset, k), columns(b, 16 - offset, n), columns(c, offset * 7 % 17, n));
                    gemm(matrix(x), matrix(y), matrix(expected));
                    for (std::int64_t i = 0; i < m * n; ++i)
                        ASSERT_EQ(c.get(i / n * (n + 17) + offset * 7 % 17 + i % n), expected.get(i))
                            << name(t.a) << " offset " << offset;
                }
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Operands, ElementsMayLieFurtherApartThan2To31) {
    constexpr std::int64_t kStep = (std::int64_t{1} << 31) + 5, m = 3, n = 4, k = 3;
    const auto reserve = [](std::int64_t bytes) {
        return mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    };
    // Pages that nobody touches take no memory.
    auto* a = static_cast<std::uint8_t*>(reserve((m - 1) * kStep + k));
    auto* b = static_cast<std::int8_t*>(reserve((n - 1) * kStep + k));
    auto* c = static_cast<std::int32_t*>(reserve(((m - 1) * kStep + n) * 4));
    if (a == MAP_FAILED || b == MAP_FAILED || c == MAP_FAILED) GTEST_SKIP() << "40 GB of addresses cannot be had";
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t e = 0; e < k; ++e) a[i * kStep + e] = static_cast<std::uint8_t>(10 * i + e + 1);
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t e = 0; e < k; ++e) b[j * kStep + e] = static_cast<std::int8_t>(7 * j - 3 * e - 9);
    for (const testing::Setting& set : testing::settings())
        for_each_row([&](int row) {
            const WithSetting setting(set, 1);
            for (std::int64_t i = 0; i < m * n; ++i) c[i / n * kStep + i % n] = -1;
            gemm({a, DType::uint8, m, k, kStep, 1, 0}, {b, DType::int8, k, n, 1, kStep, 0},
                 {c, DType::int32, m, n, kStep, 1, 0});
            for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                    std::int32_t sum = 0;
                    for (std::int64_t e = 0; e < k; ++e) sum += a[i * kStep + e] * b[j * kStep + e];
                    ASSERT_EQ(c[i * kStep + j], sum) << "row " << row << " element " << i << ", " << j;
                }
        });
    munmap(a, static_cast<std::size_t>((m - 1) * kStep + k)), munmap(b, static_cast<std::size_t>((n - 1) * kStep + k));
    munmap(c, static_cast<std::size_t>(((m - 1) * kStep + n) * 4));
}
#endif

}  // namespace
}  // namespace tenon::product
