// The public products against the law, bit for bit.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cfenv>
#include <cmath>
#include <limits>
#include <thread>

#include "product/product_testing.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::is_integral;
using testing::kTypes;
using testing::matrix;
using testing::message_of;
using testing::Problem;
using testing::settings;
using testing::Storage;
using testing::Types;
using testing::WithSetting;

Problem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
    const std::int64_t sizes[] = {1, 2, 3, 4, 5, 8, 13, 14, 15, 16, 17, 29, 31, 32, 33, 65, 100, 118, 150, 201};
    const std::int64_t summed[] = {0, 1, 2, 3, 4, 6, 7, 16, 31, 64, 100, 383, 384, 385, 800, 1537};
    const Storage storages[] = {Storage::row_major, Storage::row_major, Storage::column_major,
                                Storage::padded,    Storage::reversed,  Storage::shuffled};
    const double scales[] = {0, 1, 1, -1, 0.75, 2};
    Problem p{pick(kTypes),
              random() % 4 == 0 ? 3 : 1,
              pick(sizes),
              pick(sizes),
              pick(summed),
              pick(storages),
              pick(storages),
              pick(storages),
              {},
              seed};
    p.options.batch = p.batch;
    if (is_integral(p.types)) {
        if (random() % 2 == 0) p.options.zero_a = static_cast<int>(random() % 255) - 127;
        if (random() % 2 == 0) p.options.zero_b = static_cast<int>(random() % 255) - 127;
    } else if (random() % 2 == 0) {
        p.options.alpha = pick(scales);
        p.options.beta = pick(scales);
    }
    return p;
}

Array by_the_law(const Problem& p) {
    Array a = p.left(), b = p.right(), c = p.output();
    const GemmOptions& o = p.options;
    contract_reference(a.view(), b.view(), c.view(), Equation("bmk,bkn->bmn").labels(),
                       {o.alpha, o.beta, o.zero_a, o.zero_b});
    return c;
}

TEST(Gemm, EqualsTheLawForEveryTypeLayoutAndSetting) {
    const auto sets = settings();
    for (unsigned seed = 1; seed <= 3000; ++seed) {
        const Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 3));
        Array a = p.left(), b = p.right(), c = p.output(), expected = by_the_law(p);
        // Every row that does not decline, and the usual choice.
        const dense::Choice choice{static_cast<int>(seed / 7 % (dense::kWayCount + 1)) - 1, seed % 2 == 0 ? 0 : 512,
                                   static_cast<int>(seed % 3)};
        {
            const dense::ForcedChoice forced(choice);
            gemm(matrix(a), matrix(b), matrix(c), p.options);
        }
        ASSERT_EQ(first_difference(c, expected, p.types.c), -1)
            << name(sets[seed % sets.size()].isa) << " " << p.name();
        // Nothing is written between the elements, or beyond them.
        ASSERT_EQ(c.bytes(), expected.bytes()) << p.name();
    }
}

TEST(Gemm, PackedAndPreparedProductsEqualPlainOnes) {
    auto sets = settings();
    if (supported(Isa::avx512)) sets.push_back({Isa::avx512, dense::Dot::slow});
    for (unsigned seed = 1; seed <= 1500; ++seed) {
        Problem p = random_problem(seed);
        const WithSetting setting(sets[seed % sets.size()], 1 + static_cast<int>(seed / sets.size() % 3));
        Array a = p.left(), b = p.right(), expected = p.output(), prepared = p.output();
        Matrix right = matrix(b);
        gemm(matrix(a), right, matrix(expected), p.options);
        prepare(matrix(a), right, matrix(prepared), p.options)(matrix(a).data, right.data, matrix(prepared).data);
        ASSERT_EQ(first_difference(prepared, expected, p.types.c), -1) << "prepared " << p.name();

        // One weight for all of the batch.
        right.batch_stride = 0;
        Array packed = p.output();
        expected = p.output();
        gemm(matrix(a), right, matrix(expected), p.options);
        gemm(matrix(a), pack(right), matrix(packed), p.options);
        ASSERT_EQ(first_difference(packed, expected, p.types.c), -1) << "packed " << p.name();
    }
}

TEST(Gemm, WidenedBfloat16EqualsTheLawPlainAndPacked) {
    for (const std::int64_t m : {13, 40, 130, 600})
        for (const std::int64_t n : {7, 16, 33, 64, 100, 200})
            for (const std::int64_t k : {1, 5, 383, 384, 385, 770, 6200}) {
                if (m * n * k > 3'000'000) continue;
                for (const Types& t : {kTypes[2], kTypes[3]}) {
                    Problem p{t,
                              1,
                              m,
                              n,
                              k,
                              Storage::padded,
                              n % 2 == 0 ? Storage::row_major : Storage::column_major,
                              Storage::row_major,
                              {},
                              5};
                    if (k == 385) p.options.alpha = 0.5, p.options.beta = 1;
                    const WithSetting with({supported(Isa::avx512) ? Isa::avx512 : Isa::baseline, dense::Dot::slow},
                                           1 + static_cast<int>(n % 2));
                    Array a = p.left(), b = p.right(), expected = by_the_law(p), plain = p.output(),
                          packed = p.output();
                    gemm(matrix(a), matrix(b), matrix(plain), p.options);
                    ASSERT_EQ(first_difference(plain, expected, t.c), -1) << p.name();
                    gemm(matrix(a), pack(matrix(b)), matrix(packed), p.options);
                    ASSERT_EQ(first_difference(packed, expected, t.c), -1) << "packed " << p.name();
                }
            }
}

TEST(Gemm, LongKOfOperandsThatAreTurnedEqualsTheLaw) {
    for (const auto& setting : settings())
        for (const Types& t : kTypes)
            for (const std::int64_t m : {5, 33, 40})
                for (const Storage b_storage : {Storage::row_major, Storage::column_major}) {
                    Problem p{t,  1, m, 70, m == 33 ? 6200 : 1600, Storage::column_major, b_storage, Storage::row_major,
                              {}, 7};
                    if (m == 40 && !is_integral(t)) p.options.alpha = -1, p.options.beta = 1;
                    Array a = p.left(), b = p.right(), c = p.output(), expected = by_the_law(p);
                    const WithSetting with(setting, 1 + static_cast<int>(m % 2));
                    gemm(matrix(a), matrix(b), matrix(c), p.options);
                    ASSERT_EQ(first_difference(c, expected, t.c), -1) << p.name();
                }
}

TEST(Gemm, FewRowsWithColumnsAlongKEqualTheLawInEveryRow) {
    for (const auto& setting : settings())
        for (const std::int64_t k : {64, 130, 770, 6200, 13000})
            for (const Types& t : {kTypes[0], kTypes[1], kTypes[2], kTypes[3], kTypes[6], kTypes[7]})
                for (const std::int64_t m : {1, 4, 7, 16, 27}) {
                    // Rows far apart, columns that lie along k, one of which is left over.
                    const std::int64_t n = m == 1 ? 47 : 15;
                    Problem p{t, 1, m, n, k, Storage::padded, Storage::column_major, Storage::row_major, {}, 3};
                    if (k == 130 && !is_integral(t)) p.options.alpha = -1, p.options.beta = 1;
                    Array a = p.left(), b = p.right(), expected = by_the_law(p);
                    const WithSetting with(setting, 1 + static_cast<int>(m % 3));
                    for (int row = -1; row < dense::kWayCount; ++row) {
                        Array c = p.output();
                        const dense::ForcedChoice forced({row, 0, 0});
                        gemm(matrix(a), matrix(b), matrix(c), p.options);
                        ASSERT_EQ(first_difference(c, expected, t.c), -1)
                            << name(setting.isa) << " row " << row << " " << p.name();
                    }
                }
}

/// Widened as they are read; one row by several threads, which share blocks of k.
TEST(Gemm, FewRowsByLongRowsOfWeightsEqualTheLaw) {
    const auto sets = settings();
    unsigned seed = 0;
    for (const Types& t : {kTypes[2], kTypes[3], kTypes[6]})
        for (const Storage storage : {Storage::row_major, Storage::padded})
            for (const std::int64_t k : {898, 1025})
                for (const std::int64_t m : {1, 5, 12, 16}) {
                    Problem p{t, 1, m, 1030, k, Storage::row_major, storage, Storage::padded, {}, ++seed};
                    if (seed % 5 == 0 && !is_integral(t)) p.options.alpha = -1, p.options.beta = 1;
                    Array a = p.left(), b = p.right(), expected = by_the_law(p);
                    for (const auto& setting : sets) {
                        if (setting.isa == Isa::baseline) continue;  // whose emulated multiply-adds take long
                        const WithSetting with(setting, 1 + static_cast<int>(seed % 4));
                        Array c = p.output();
                        gemm(matrix(a), matrix(b), matrix(c), p.options);
                        ASSERT_EQ(first_difference(c, expected, t.c), -1) << name(setting.isa) << " " << p.name();
                        ASSERT_EQ(c.bytes(), expected.bytes()) << p.name();
                    }
                }
}

/// Large outputs of operands whose rows and columns are adjacent, as in gradients of weights: both are copied, for
/// parts of the rows, where that pays.
TEST(Gemm, LargeOutputsOfAdjacentRowsAndColumnsHaveTheBitsOfPanels) {
    struct Case {
        Types t;
        std::int64_t m, n, k;
        double alpha, beta;
    };
    const Case cases[] = {{kTypes[1], 2110, 2003, 500, 1, 0},
                          {kTypes[1], 1537, 1600, 200, -1, 1},
                          {kTypes[0], 3085, 3080, 390, 1, 0},
                          {kTypes[1], 1540, 1540, 390, 2, 0}};
    unsigned seed = 40;
    for (const testing::Setting& setting : settings()) {
        if (setting.isa == Isa::baseline) continue;
        for (const Case& s : cases) {
            const WithSetting with(setting, 1 + static_cast<int>(++seed % 3));
            Problem p{s.t, 1, s.m, s.n, s.k, Storage::column_major, Storage::row_major, Storage::row_major, {}, seed};
            p.options.alpha = s.alpha, p.options.beta = s.beta;
            Array a = p.left(), b = p.right(), c = p.output(), d = p.output();
            for (const Way& way : ways(matrix(a), matrix(b), matrix(c), p.options))
                if (way.name == "rank" && way.declines.empty()) {
                    EXPECT_TRUE(way.runs) << p.name();
                }
            gemm(matrix(a), matrix(b), matrix(c), p.options);
            const dense::ForcedChoice blocked({dense::kWayCount - 1, 0, 0});
            gemm(matrix(a), matrix(b), matrix(d), p.options);
            ASSERT_TRUE(c.bytes() == d.bytes()) << name(setting.isa) << " " << p.name();
        }
    }
}

TEST(Gemm, BetaZeroDoesNotReadCAndAlphaZeroNeitherOperand) {
    constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
    for (const Types& t : kTypes) {
        if (is_integral(t)) continue;
        for (const std::int64_t k : {5, 500}) {
            Problem p{t, 1, 20, 37, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 1};
            Array a = p.left(), b = p.right(), c = p.output();
            for (std::int64_t i = 0; i < c.count(); ++i) c.set(i, kNaN);
            gemm(matrix(a), matrix(b), matrix(c), {.alpha = 2, .beta = 0});
            for (std::int64_t i = 0; i < c.count(); ++i) ASSERT_FALSE(std::isnan(c.get(i)));

            for (Array* x : {&a, &b})
                for (std::int64_t i = 0; i < x->count(); ++i) x->set(i, kNaN);
            Array scaled = p.output();
            gemm(matrix(a), matrix(b), matrix(scaled), {.alpha = 0, .beta = 0.5});
            Array before = p.output();
            for (std::int64_t i = 0; i < c.count(); ++i) ASSERT_NEAR(scaled.get(i), 0.5 * before.get(i), 0x1p-8);
            gemm(matrix(a), matrix(b), matrix(scaled), {.alpha = 0, .beta = 0});
            for (std::int64_t i = 0; i < c.count(); ++i) ASSERT_EQ(scaled.get(i), 0);
        }
    }
}

TEST(Gemm, ARowAloneAndInAnyBatchHasTheSameBits) {
    for (const Types& t : kTypes) {
        const std::int64_t m = 67, n = 75, k = 500;
        Problem p{t, 1, m, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 3};
        Array a = p.left(), b = p.right(), c = p.output();
        gemm(matrix(a), matrix(b), matrix(c));
        const PackedMatrix packed = pack(matrix(b));
        for (std::int64_t rows = 1; rows < m; rows += 3)
            for (std::int64_t first = 0; first + rows <= m; first += rows + 5) {
                Array part(t.c, {1, rows, n}), again(t.c, {1, rows, n});
                Matrix left = matrix(a);
                left.data = a.at(first * k), left.rows = rows;
                gemm(left, matrix(b), matrix(part));
                gemm(left, packed, matrix(again));
                const auto bytes = static_cast<std::size_t>(rows * n) * size_of(t.c);
                ASSERT_EQ(std::memcmp(part.at(0), c.at(first * n), bytes), 0) << name(t.a) << " rows " << rows;
                ASSERT_EQ(std::memcmp(again.at(0), c.at(first * n), bytes), 0) << name(t.a) << " rows " << rows;
            }
    }
}

TEST(Gemm, BatchesBeyondTheNearestCachesEqualTheLaw) {
    const std::int64_t shapes[][4] = {{40, 64, 64, 64}, {50, 20, 128, 100}, {3000, 7, 11, 13}, {60, 64, 70, 65}};
    for (const auto& setting : settings())
        for (const auto& [batch, m, n, k] : shapes)
            for (const Types& t : {kTypes[0], kTypes[2], kTypes[6]}) {
                Problem p{t, batch, m, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 9};
                p.options.batch = batch;
                const WithSetting with(setting, 1);
                Array a = p.left(), b = p.right(), c = p.output(), expected = by_the_law(p);
                gemm(matrix(a), matrix(b), matrix(c), p.options);
                ASSERT_EQ(first_difference(c, expected, t.c), -1) << name(setting.isa) << " " << p.name();
            }
}

/// Outputs of 12 MB and more, at addresses of whole lines, go past the caches; beside them, one that is not aligned.
TEST(Gemm, BatchesWhoseOutputGoesPastTheCachesEqualTheLaw) {
    const std::int64_t shapes[][5] = {{200, 128, 128, 8, 1}, {450, 65, 112, 5, 1}, {800, 64, 64, 4, 2}};
    for (const auto& [batch, m, n, k, threads] : shapes)
        for (const Types& t : {kTypes[2], kTypes[6]}) {
            Problem p{t, batch, m, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 9};
            p.options.batch = batch;
            Array a = p.left(), b = p.right(), expected = by_the_law(p);
            const auto bytes = static_cast<std::size_t>(batch * m * n) * size_of(t.c);
            std::vector<unsigned char> memory(bytes + 192);
            unsigned char* const line = memory.data() + 64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
            for (const auto& setting : settings())
                for (unsigned char* const at : {line, line + 4}) {
                    const WithSetting with(setting, static_cast<int>(threads));
                    std::fill(memory.begin(), memory.end(), static_cast<unsigned char>(0xff));
                    gemm(matrix(a), matrix(b), {at, t.c, m, n, n, 1, m * n}, p.options);
                    ASSERT_EQ(std::memcmp(at, expected.at(0), bytes), 0) << name(setting.isa) << " " << p.name();
                    ASSERT_TRUE(at[-1] == 0xff && at[bytes] == 0xff) << p.name();
                }
        }
}

TEST(Gemm, EveryNumberOfThreadsGivesTheSameBits) {
    const std::int64_t shapes[][3] = {{300, 200, 500}, {1, 3000, 700},  {16, 1000, 900},
                                      {12, 40, 13000}, {40, 40, 20000}, {2000, 33, 65}};
    for (const auto& [m, n, k] : shapes)
        for (const Types& t : {kTypes[0], kTypes[3], kTypes[6]}) {
            Problem p{t, 1, m, n, k, Storage::row_major, Storage::column_major, Storage::row_major, {}, 5};
            Array a = p.left(), b = p.right(), expected = p.output();
            set_num_threads(1);
            gemm(matrix(a), matrix(b), matrix(expected));
            const PackedMatrix packed = pack(matrix(b));
            for (int threads = 2; threads <= 16; ++threads) {
                set_num_threads(threads);
                Array c = p.output(), d = p.output();
                gemm(matrix(a), matrix(b), matrix(c));
                gemm(matrix(a), packed, matrix(d));
                ASSERT_EQ(first_difference(c, expected, t.c), -1) << threads << " threads, " << p.name();
                ASSERT_EQ(first_difference(d, expected, t.c), -1) << threads << " threads, packed, " << p.name();
            }
            set_num_threads(0);
        }
}

/// Kernels are chosen by columns and rows: every choice, alone, in a batch, and in a batch too large for the caches.
TEST(Gemm, SmallProductsOfEveryWidth) {
    const std::int64_t rows[] = {1, 2, 4, 5, 7, 9, 13, 16, 22};
    for (const testing::Setting& setting : settings()) {
        const WithSetting with(setting);
        const auto equals_the_law = [](const Types& t, std::int64_t batch, std::int64_t m, std::int64_t n,
                                       std::int64_t k) {
            Problem p{t, batch, m, n, k, Storage::row_major, Storage::row_major, Storage::row_major, {}, 11};
            p.options.batch = batch;
            Array a = p.left(), b = p.right(), c = p.output(), d = p.output(), expected = by_the_law(p);
            gemm(matrix(a), matrix(b), matrix(c), p.options);
            ASSERT_EQ(first_difference(c, expected, t.c), -1) << p.name();
            ASSERT_EQ(c.bytes(), expected.bytes()) << p.name();
            if (batch > 1) return;
            prepare(matrix(a), matrix(b), matrix(d), p.options)(matrix(a).data, matrix(b).data, matrix(d).data);
            ASSERT_EQ(first_difference(d, expected, t.c), -1) << "prepared " << p.name();
        };
        for (const Types& t : {kTypes[0], kTypes[1], kTypes[2], kTypes[6]})
            for (std::int64_t n = 1; n <= 66; ++n)
                for (const std::int64_t m : rows) equals_the_law(t, n % 3 == 0 ? 2 : 1, m, n, n % 2 == 0 ? 4 : 9);
        if (setting.isa == Isa::avx512 && setting.dot == dense::Dot::always)
            equals_the_law(kTypes[0], 500, 11, 112, 64);
    }
}

TEST(Gemm, FiniteOperandsRaiseNoExceptionButInexact) {
    for (const testing::Setting& setting : settings()) {
        const WithSetting with(setting);
        for (unsigned seed = 1; seed <= 60; ++seed) {
            Problem p = random_problem(7000 + seed);
            p.options = {.batch = p.batch};
            Array a = p.left(), b = p.right(), c = p.output();
            const PreparedGemm prepared = prepare(matrix(a), matrix(b), matrix(c), p.options);
            std::feclearexcept(FE_ALL_EXCEPT);
            gemm(matrix(a), matrix(b), matrix(c), p.options);
            prepared(matrix(a).data, matrix(b).data, matrix(c).data);
            ASSERT_EQ(std::fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW), 0) << p.name();
        }
    }
}

/// Eight threads compute p at once, plain and packed.
void call_at_once(const Problem& p) {
    Array a = p.left(), b = p.right(), expected = p.output();
    Matrix right = matrix(b);
    if (p.batch > 1) right.batch_stride = 0;  // one weight for all of the batch
    gemm(matrix(a), right, matrix(expected), p.options);
    const PackedMatrix packed = pack(right);
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 6; ++i) {
                Array c = p.output();
                if ((t + i) % 2 != 0)
                    gemm(matrix(a), right, matrix(c), p.options);
                else
                    gemm(matrix(a), packed, matrix(c), p.options);
                wrong += first_difference(c, expected, p.types.c) != -1;
            }
        });
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(wrong, 0) << p.name();
}

TEST(Gemm, EightThreadsMayCallAtOnce) {
    // Batches of small products, few rows on either kind of weights, panels in place and packed in strips, long k.
    const std::int64_t shapes[][4] = {{200, 16, 16, 16}, {1, 1, 900, 500},   {1, 3, 300, 700},
                                      {1, 60, 200, 700}, {1, 200, 130, 400}, {1, 20, 40, 13000}};
    set_num_threads(3);
    for (const auto& [batch, m, n, k] : shapes)
        for (const Types& t : {kTypes[0], kTypes[2], kTypes[6]})
            for (const Storage weights : {Storage::row_major, Storage::column_major}) {
                Problem p{t, batch, m, n, k, Storage::row_major, weights, Storage::row_major, {}, 9};
                p.options.batch = batch;
                call_at_once(p);
            }
    set_num_threads(0);
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Gemm, OperandsOfMoreThan2To31Elements) {
    const std::int64_t k = (std::int64_t{1} << 31) + 77;
    // Untouched pages read as zeros and take no memory.
    void* memory = mmap(nullptr, static_cast<std::size_t>(k), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    auto* a = static_cast<std::uint8_t*>(memory);
    std::int32_t expected = 0;
    for (const std::int64_t at :
         {std::int64_t{0}, std::int64_t{1} << 30, (std::int64_t{1} << 31) - 1, std::int64_t{1} << 31, k - 1})
        a[at] = 200, expected -= 200 * 3;
    const std::int8_t b = -3;
    std::int32_t c = 0;
    const Matrix left{a, DType::uint8, 1, k, k, 1, 0}, right{const_cast<std::int8_t*>(&b), DType::int8, k, 1, 0, 0, 0},
        out{&c, DType::int32, 1, 1, 1, 1, 0};
    gemm(left, right, out);
    munmap(memory, static_cast<std::size_t>(k));
    EXPECT_EQ(c, expected);
}
#endif

TEST(Gemm, FewRowsByMillionsOfColumns) {
    const std::int64_t n = (std::int64_t{2} << 20) + 77;
    std::vector<float> b(static_cast<std::size_t>(2 * n)), c(static_cast<std::size_t>(3 * n));
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 1009);
    const float a[] = {1, 0, 0, 1, 1, 1};
    for (const bool packed : {false, true}) {
        const Matrix left = row_major(a, DType::float32, 3, 2), right = row_major(b.data(), DType::float32, 2, n),
                     out = row_major(c.data(), DType::float32, 3, n);
        packed ? gemm(left, pack(right), out) : gemm(left, right, out);
        for (std::int64_t j = 0; j < n; ++j) {
            const auto at = [&](std::int64_t row) { return c[static_cast<std::size_t>(row * n + j)]; };
            const float first = b[static_cast<std::size_t>(j)], second = b[static_cast<std::size_t>(n + j)];
            ASSERT_TRUE(at(0) == first && at(1) == second && at(2) == first + second) << j;
        }
    }
}

TEST(Gemm, AVeryLongSumOfShiftedBytesTakesTimeInProportion) {
    const std::int64_t k = (std::int64_t{1} << 24) + 77;  // 2,731 segments
    const std::vector<std::int8_t> a(static_cast<std::size_t>(k), -3);
    const std::int8_t b = 5;
    std::int32_t c = 0;
    set_num_threads(2);
    gemm(row_major(a.data(), DType::int8, 1, k), {const_cast<std::int8_t*>(&b), DType::int8, k, 1, 0, 0, 0},
         row_major(&c, DType::int32, 1, 1), {.zero_b = 1});
    set_num_threads(0);
    EXPECT_EQ(c, -12 * k);
}

TEST(Gemm, ExplainListsTheRowsWithTheirReasons) {
    float x[4096] = {};
    const auto square = [&](std::int64_t n) { return row_major(x, DType::float32, n, n); };
    const std::string small = explain(square(16), square(16), square(16));
    for (const char* part : {"float32 (16, 16) = (16, 16) (16, 16)", "8192 operations", "3072 bytes", "> direct",
                             "sweep", "more than 4 rows", "split", "k is one segment", "blocked"})
        EXPECT_NE(small.find(part), std::string::npos) << part << " in\n" << small;
    const std::string row = explain(row_major(x, DType::bfloat16, 1, 500), row_major(x, DType::bfloat16, 500, 200),
                                    row_major(x, DType::float32, 1, 200));
    EXPECT_NE(row.find("> sweep"), std::string::npos) << row;
    // More operations than an integer counts: 2^88.
    const std::int64_t huge = std::int64_t{1} << 29;
    const std::string more = explain(square(huge), square(huge), square(huge));
    EXPECT_NE(more.find("309485009821345068724781056 operations, 3458764513820540928 bytes"), std::string::npos)
        << more;
    const std::string none = explain(row_major(x, DType::float32, 3, 0), row_major(x, DType::float32, 0, 5),
                                     row_major(x, DType::float32, 3, 5));
    EXPECT_EQ(none.find("% of the roofline"), std::string::npos) << none;
}

TEST(Gemm, ExplainPromisesNoMoreThanTheRoofline) {
    float x[1] = {};  // operands are not read
    const std::string share = " % of the roofline";
    for (const std::int64_t m : {1, 16, 512})
        for (const DType type : {DType::float32, DType::float64, DType::bfloat16}) {
            const Matrix a = row_major(x, type, m, 4096), b = row_major(x, type, 4096, 4096);
            const std::string all = explain(a, b, row_major(x, type, m, 4096));
            for (std::size_t at = all.find(share); at != std::string::npos; at = all.find(share, at + 1))
                EXPECT_LE(std::stoi(all.substr(all.rfind(' ', at - 1))), 100) << all;
        }
}

TEST(Gemm, BadCallsNameTheRuleAndTheOperands) {
    float x[64] = {};
    const Matrix a = row_major(x, DType::float32, 2, 3), b = row_major(x, DType::float32, 3, 4),
                 c = row_major(x + 32, DType::float32, 2, 4);
    const auto has = [](const std::string& message, const char* part) {
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    has(message_of<ShapeError>([&] { gemm(a, a, c); }),
        "gemm: a (m, k) times b (k, n) is c (m, n); a is float32 (2, 3)");
    Matrix wrong = b;
    wrong.dtype = DType::float64;
    has(message_of<TypeError>([&] { gemm(a, wrong, c); }), "b is float64 (3, 4)");
    Matrix repeated = c;
    repeated.column_stride = 0;
    has(message_of<ValueError>([&] { gemm(a, b, repeated); }), "do not share memory");
    repeated = c;
    repeated.row_stride = 2, repeated.column_stride = 1;
    has(message_of<ValueError>([&] { gemm(a, b, repeated); }), "do not share memory");
    Matrix one = c;
    one.batch_stride = 0;
    has(message_of<ValueError>([&] { gemm(a, b, one, {.batch = 2}); }), "do not share memory");
    wrong = a;
    wrong.rows = -1;
    has(message_of<ShapeError>([&] { gemm(wrong, b, c); }), "not negative");
    const std::int64_t large = std::int64_t{1} << 32;
    for (const std::int64_t columns : {large, std::int64_t{1} << 62}) {
        const Matrix huge = row_major(nullptr, DType::float32, large, columns), none{};
        has(message_of<ShapeError>([&] { gemm(none, huge, none); }), "gemm: the bytes of a matrix do not fit 63 bits");
        has(message_of<ShapeError>([&] { (void)ways(huge, huge.transpose(), huge); }), "63 bits");
        has(message_of<ShapeError>([&] { (void)pack(huge); }), "pack: the bytes do not fit 63 bits; b is float32");
        has(message_of<ShapeError>([&] { (void)pack(huge.transpose()); }), "63 bits");
    }
    has(message_of<ShapeError>([&] { gemm(a, b, c, {.batch = -2}); }), "the batch is not negative: -2");
    wrong = b;
    wrong.dtype = DType::boolean;
    has(message_of<TypeError>([&] { (void)pack(wrong); }), "pack: gemm has no operand of this dtype; b is bool");
    if (supported(Isa::avx2) && supported(Isa::avx512)) {
        const PackedMatrix packed = pack(b);
        const WithSetting setting({Isa::avx2, dense::Dot::always});
        has(message_of<ValueError>([&] { gemm(a, packed, c); }), "another instruction set");
    }
}

}  // namespace
}  // namespace tenon::product
