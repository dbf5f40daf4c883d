// Generated kernels against the law, bit for bit, and within their operands.
#include "product/dense/generated.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/caches.h"
#include "product/product_testing.h"

namespace tenon::product::dense {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::matrix;
using testing::Storage;
using testing::WithSetting;

bool generates() { return supported(Isa::avx512); }

TEST(Generated, KernelsAreKeptAndHaveLimits) {
    Generated g{4, 7, 5, 1, 3, 3, 8, 8, 8, 8, 20, 28, 28};
    if (!generates()) {
        EXPECT_EQ(generated_kernel(g), nullptr);
        GTEST_SKIP() << "no AVX-512";
    }
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    const GeneratedKernel kernel = generated_kernel(g);
    ASSERT_NE(kernel, nullptr);
    EXPECT_EQ(generated_kernel(g), kernel);
    Generated other = g;
    other.c_step = 32;
    EXPECT_NE(generated_kernel(other), kernel);
    other.c_step = std::int64_t{1} << 40;
    EXPECT_EQ(generated_kernel(other), nullptr) << "steps are of 32 bits";
    other = g, other.k = 65;
    EXPECT_EQ(generated_kernel(other), nullptr);
    const WithSetting narrow({Isa::avx2, Dot::always}, 1);
    EXPECT_EQ(generated_kernel(g), nullptr) << "another instruction set is in force";
}

/// What is prefetched lies beyond the operands, where nothing is read or written.
TEST(Generated, PrefetchingALaterProductChangesNothing) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    for (const std::int64_t m : {3, 16, 31})
        for (const std::int64_t n : {9, 16, 30, 33})
            for (const std::int64_t k : {1, 4, 16, 37, 40}) {
                Generated g = tiled(8, m, n, k);
                g.loop_steps = k % 3 == 1 ? 2 : 4;
                g.a_step = 8 * k, g.b_step = 8 * n, g.c_step = 8 * n;
                Array a(DType::float64, {m, k}), b(DType::float64, {k, n}), c(DType::float64, {m, n}),
                    again(DType::float64, {m, n});
                a.randomize(1), b.randomize(2);
                const GeneratedKernel plain = generated_kernel(g);
                g.a_next = 8 * m * k, g.b_next = 8 * k * n, g.c_next = 8 * m * n;
                const GeneratedKernel fetching = generated_kernel(g);
                ASSERT_TRUE(plain && fetching && plain != fetching);
                plain(nullptr, a.view().data, b.view().data, c.view().data);
                fetching(nullptr, a.view().data, b.view().data, again.view().data);
                ASSERT_EQ(first_difference(again, c, DType::float64), -1) << m << "x" << n << "x" << k;
            }
}

// The environment is read once, so each value needs a process of its own: this program, running the test below
// whatever this process's part of the tests is.
int status_under(const std::string& value, const char* test) {
    std::ifstream cmdline("/proc/self/cmdline");
    std::string program;
    std::getline(cmdline, program, '\0');
    const std::string command = "env -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX TENON_GENERATE='" + value + "' '" +
                                program + "' --gtest_filter=Generated." + test + " >/dev/null 2>&1";
    return std::system(command.c_str());
}

TEST(Generated, AreMadeUnlessTheEnvironmentSaysOff) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    const char* word = std::getenv("TENON_GENERATE");
    const bool is_off = word && std::string_view(word) == "off";
    EXPECT_EQ(generated_kernel({4, 7, 5, 1, 3, 3, 8, 8, 8, 8, 20, 28, 28}) == nullptr, is_off);
}

TEST(Generated, EnvironmentIsObeyed) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    for (const char* word : {"", "on", "off"})
        EXPECT_EQ(status_under(word, "AreMadeUnlessTheEnvironmentSaysOff"), 0) << word;
    EXPECT_NE(status_under("of", "AreMadeUnlessTheEnvironmentSaysOff"), 0);
}

/// Kernels for rows that share vectors, and for rows that are spread in registers, against the same product's without.
void same_bits(const Generated& g, DType type, std::int64_t m) {
    Array a(type, {m, g.k}), b(type, {g.k, g.n}), c(type, {m, g.n}), again(type, {m, g.n});
    a.randomize(1), b.randomize(2);
    Generated usual = g;
    usual.shared = usual.spread = 0;
    const GeneratedKernel kernel = generated_kernel(g), other = generated_kernel(usual);
    ASSERT_TRUE(kernel && other && kernel != other);
    kernel(nullptr, a.view().data, b.view().data, c.view().data);
    other(nullptr, a.view().data, b.view().data, again.view().data);
    ASSERT_EQ(c.bytes(), again.bytes()) << name(type) << " " << m << "x" << g.n << "x" << g.k;
}

TEST(Generated, RowsThatShareVectorsHaveTheBitsOfOthers) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t n : {2, 4})
            for (std::int64_t m = 2; m <= 64; ++m) {
                const auto element = static_cast<std::int64_t>(size_of(type)), row = n * element;
                Generated g = tiled(element, m, n, n);
                g.a_step = g.b_step = g.c_step = row;
                ASSERT_EQ(rows_share_vectors(g), m * row % std::max<std::int64_t>(16, 2 * row) == 0) << m << " " << n;
                g.shared = 1;
                if (rows_share_vectors(g)) same_bits(g, type, m);
                g.c_step += element;
                EXPECT_FALSE(rows_share_vectors(g)) << "rows of C that are not adjacent";
            }
}

TEST(Generated, SpreadElementsHaveTheBitsOfOthers) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t loop : {0, 2, 3, 4})
            for (const std::int64_t m : {1, 3, 6, 16, 41})
                for (const std::int64_t k : {1, 3, 4, 13, 24}) {
                    const auto element = static_cast<std::int64_t>(size_of(type)), n = 40 / element;
                    Generated g = tiled(element, m, n, k);
                    g.a_step = k * element, g.b_step = g.c_step = n * element;
                    g.loop_steps = loop, g.spread = 3;
                    same_bits(g, type, m);
                    g.n = 16 / element, g.width = g.rest_width = g.lanes = g.rest_lanes = g.n;
                    g.b_step = g.c_step = g.n * element;
                    same_bits(g, type, m);
                }
    Generated g{4, 7, 5, 1, 3, 3, 16, 16, 16, 16, 20, 28, 28};
    g.spread = 3, g.a_k = 12;
    EXPECT_EQ(generated_kernel(g), nullptr) << "elements that are not side by side";
}

TEST(Generated, RowsAreSpreadOnlyWhereTheyCanBe) {
    if (!generates()) GTEST_SKIP() << "no AVX-512";
    const WithSetting setting({Isa::avx512, Dot::always}, 1);
    for (const DType type : {DType::float32, DType::float64})
        for (const std::int64_t m : {1, 2, 16, 24, 41})
            for (std::int64_t n = 1; n <= 64; n += 7)
                for (const std::int64_t k : {1, 4, 16, 19}) {
                    const auto element = static_cast<std::int64_t>(size_of(type));
                    Generated g = tiled(element, m, n, k);
                    g.a_step = k * element, g.a_k = element, g.b_step = g.c_step = n * element;
                    spread_rows(g);
                    ASSERT_TRUE(generated_kernel(g)) << m << " " << n << " " << k;
                    EXPECT_TRUE(g.spread == 0 || n * element <= 64) << "more than one vector";
                    if (g.spread != 0) same_bits(g, type, m);
                    g.spread = 0, g.a_step = element, g.a_k = 2 * m * element;
                    spread_rows(g);
                    EXPECT_EQ(g.spread, 0) << "elements that are not side by side";
                    EXPECT_EQ(g.a_k, 2 * m * element);
                }
}

Array by_the_law(Array& a, Array& b, DType type, const Shape& shape) {
    Array c(type, shape);
    contract_reference(a.view(), b.view(), c.view(), Equation("bmk,bkn->bmn").labels(), {});
    return c;
}

/// One product by a prepared call, or a batch.
void equals_the_law(DType type, std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k, Storage storage) {
    Array a(type, {batch, m, k}, storage), b(type, {batch, k, n}, storage), c(type, {batch, m, n}, storage);
    a.randomize(1), b.randomize(2);
    a.set(0, -0.0), b.set(0, 1e-40);
    Array expected = by_the_law(a, b, type, {batch, m, n});
    const Matrix ma = matrix(a), mb = matrix(b), mc = matrix(c);
    const GemmOptions options{.batch = batch};
    if (batch == 1)
        prepare(ma, mb, mc, options)(ma.data, mb.data, mc.data);
    else
        gemm(ma, mb, mc, options);
    ASSERT_EQ(first_difference(c, expected, type), -1)
        << name(type) << " " << batch << "@" << m << "x" << n << "x" << k;
    // Nothing is written between the elements, or beyond them.
    Array again(type, {batch, m, n}, storage);
    for (std::int64_t i = 0; i < c.count(); ++i) std::memcpy(again.at(i), c.at(i), size_of(type));
    ASSERT_EQ(c.bytes(), again.bytes()) << m << "x" << n << "x" << k;
}

TEST(Generated, EqualsTheLaw) {
    const WithSetting setting(testing::settings().back(), 1);
    const std::int64_t summed[] = {1, 2, 7, 13, 16};
    for (const DType type : {DType::float32, DType::float64}) {
        for (std::int64_t m = 1; m <= 26; ++m)
            for (std::int64_t n = 1; n <= 35; ++n)
                equals_the_law(type, 1, m, n, summed[(m + n) % 5], n % 2 == 0 ? Storage::padded : Storage::row_major);
        for (const std::int64_t n : {9, 16, 40, 48, 50, 63, 64})
            for (const std::int64_t m : {5, 30, 64}) equals_the_law(type, 1, m, n, n, Storage::padded);
        // Loops of two steps, over products that are too large to be unrolled.
        for (const std::int64_t n : {47, 65, 100, 128, 256})
            for (const std::int64_t m : {3, 14, 41})
                for (const std::int64_t k : {5, 64, 99}) equals_the_law(type, 16, m, n, k, Storage::row_major);
        equals_the_law(type, 16, 9, 24, 256, Storage::row_major);
        for (const std::int64_t n : {2, 4})
            for (const std::int64_t m : {2, 3, 4, 12, 64})
                for (const std::int64_t batch : {1, 700}) equals_the_law(type, batch, m, n, n, Storage::row_major);
        for (std::int64_t n = 1; n <= 20; ++n)
            equals_the_law(type, 4000 / (n * n) + 20, n + n % 3, n, n + 1,
                           n % 2 == 0 ? Storage::padded : Storage::row_major);
    }
}

/// Rows of less than a vector, in products that are prefetched between kernels or, larger ones, in their loops.
TEST(Generated, BatchesFromMemoryEqualTheLaw) {
    const WithSetting setting(testing::settings().back(), 1);
    for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{7, 11, 13}, {3, 3, 3}, {20, 13, 24}})
        for (const DType type : {DType::float32, DType::float64}) {
            const auto bytes = static_cast<std::int64_t>(size_of(type)) * (m * k + k * n + m * n);
            equals_the_law(type, caches().l3_of_one_core() / 2 / bytes + 100, m, n, k, Storage::row_major);
        }
}

/// A is read by its strides, and B, packed, by those of its panel.
TEST(Generated, BatchesOfTransposedOperandsEqualTheLaw) {
    const WithSetting setting(testing::settings().back(), 1);
    for (const char* equation : {"kbm,bkn->bmn", "bkm,bnk->bmn", "bmk,bnk->bmn", "kbm,bnk->bmn", "bkm,kbn->mbn"})
        for (const DType type : {DType::float32, DType::float64, DType::float16})
            for (const std::int64_t n : {3, 16, 17, 32, 40, 64})
                for (const std::int64_t m : {1, 5, 16, 33})
                    for (const std::int64_t k : {2, 16, 33, 64}) {
                        const std::vector<std::pair<char, std::int64_t>> extents{
                            {'b', 24 + 40000 / (m * n * k)}, {'m', m}, {'n', n}, {'k', k}};
                        const Equation e(equation);
                        const DType out = type == DType::float16 ? DType::float32 : type;
                        Array a(type, e.shape_a(extents)), b(type, e.shape_b(extents)), c(out, e.shape_out(extents)),
                            expected(out, e.shape_out(extents));
                        a.randomize(1), b.randomize(2);
                        contract_reference(a.view(), b.view(), expected.view(), e.labels(), {});
                        contract(a.view(), b.view(), c.view(), e.labels());
                        ASSERT_EQ(first_difference(c, expected, out), -1)
                            << name(type) << " " << equation << " " << m << "x" << n << "x" << k;
                    }
}

/// Pairs, where k may be odd, with products that are flushed to zeros of either sign.
TEST(Generated, BatchesOfBfloat16EqualTheLaw) {
    for (const testing::Setting& s : testing::settings()) {
        if (s.isa == Isa::baseline || s.dot == (s.isa == Isa::avx512 ? Dot::always : Dot::never)) continue;
        const WithSetting setting(s, 1);
        for (std::int64_t n = 1; n <= 34; ++n)
            for (const std::int64_t m : {n, n + n % 5}) {
                const std::int64_t k = 1 + (n * 7 + m) % 30, batch = 3000 / (m * n) + 18;
                Array a(DType::bfloat16, {batch, m, k}), b(DType::bfloat16, {batch, k, n}),
                    c(DType::float32, {batch, m, n}), expected(DType::float32, {batch, m, n});
                a.randomize(1), b.randomize(2);
                for (std::int64_t i = 0; i < a.count(); i += 3) a.set(i, i % 2 == 0 ? 0x1p-70 : -0x1p-70);
                for (std::int64_t i = 0; i < b.count() / 2; ++i) b.set(i, i % 5 == 0 ? 0x1p-130 : -0x1p-64);
                // A sum of -0, which the missing odd element of a last pair makes +0.
                for (std::int64_t e = 0; e < k; ++e) a.set(e, e + 1 < k ? 0x1p-70 : 0.0), b.set(e * n, -0x1p-64);
                contract_reference(a.view(), b.view(), expected.view(), Equation("bmk,bkn->bmn").labels(), {});
                gemm(matrix(a), matrix(b), matrix(c), {.batch = batch});
                ASSERT_EQ(first_difference(c, expected, DType::float32), -1)
                    << batch << "@" << m << "x" << n << "x" << k;
                ASSERT_EQ(c.bytes(), expected.bytes()) << batch << "@" << m << "x" << n << "x" << k;
            }
    }
}

/// Groups of four, where k may be no multiple of four, of either sign.
TEST(Generated, BatchesOfBytesEqualTheLaw) {
    const WithSetting setting(testing::settings().back(), 1);
    for (const auto& [a_type, b_type] :
         {std::pair{DType::uint8, DType::int8}, {DType::int8, DType::int8}, {DType::uint8, DType::uint8}})
        for (const std::int64_t n : {1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64})
            for (const std::int64_t m : {n, n + n % 5})
                for (const std::int64_t k : {3, 8, 30, 32, 64}) {
                    const std::int64_t batch = 40000 / (m * n * k) + 18;
                    Array a(a_type, {batch, m, k}), b(b_type, {batch, k, n}), c(DType::int32, {batch, m, n}),
                        expected(DType::int32, {batch, m, n});
                    a.randomize(1), b.randomize(2);
                    contract_reference(a.view(), b.view(), expected.view(), Equation("bmk,bkn->bmn").labels(), {});
                    gemm(matrix(a), matrix(b), matrix(c), {.batch = batch});
                    ASSERT_EQ(first_difference(c, expected, DType::int32), -1)
                        << name(a_type) << " " << name(b_type) << " " << batch << "@" << m << "x" << n << "x" << k;
                }
}

/// A copy of `bytes` bytes whose last one is followed by memory that may not be touched.
class Guarded {
  public:
    explicit Guarded(std::size_t bytes) : bytes_(bytes) {
        base_ = static_cast<std::byte*>(
            mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        mprotect(base_ + 3 * kPage, kPage, PROT_NONE);
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() { munmap(base_, 4 * kPage); }
    void* data() const { return base_ + 3 * kPage - bytes_; }

  private:
    static constexpr std::size_t kPage = 4096;
    std::size_t bytes_;
    std::byte* base_;
};

TEST(Generated, StaysWithinItsOperands) {
    for (const DType type : {DType::float32, DType::float64})
        for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{7, 11, 13},
                                      {3, 3, 3},
                                      {1, 1, 1},
                                      {13, 13, 13},
                                      {5, 2, 9},
                                      {2, 2, 2},
                                      {8, 4, 4},
                                      {6, 10, 7}}) {
            const auto bytes = [&](std::int64_t count) { return static_cast<std::size_t>(count) * size_of(type); };
            const Guarded a(bytes(m * k)), b(bytes(k * n)), c(bytes(m * n));
            std::memset(a.data(), 0, bytes(m * k)), std::memset(b.data(), 0, bytes(k * n));
            std::memset(c.data(), 0xff, bytes(m * n));
            prepare(row_major(a.data(), type, m, k), row_major(b.data(), type, k, n), row_major(c.data(), type, m, n))(
                a.data(), b.data(), c.data());
            const std::vector<std::byte> zeros(bytes(m * n));
            EXPECT_EQ(std::memcmp(c.data(), zeros.data(), zeros.size()), 0);
        }
}

}  // namespace
}  // namespace tenon::product::dense
