// The cost model: what is counted, that estimates grow with the work, and where the choice changes. No clock is read.
#include "product/dense/cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "product/dense/tuning.h"
#include "product/product_testing.h"

namespace tenon::product::dense {
namespace {

using testing::WithSetting;

/// Estimates for a typical machine, independent of what was measured on this one.
class CostModel : public ::testing::Test {
  protected:
    void SetUp() override {
        setenv("TENON_TUNING", "", 1);
        forget_tuning();
    }
    void TearDown() override {
        unsetenv("TENON_TUNING");
        forget_tuning();
    }
};

struct Sizes {
    std::int64_t m, n, k, batch = 1;
};

Rates float_rates(int threads) { return rates_of(DType::float32, vector_bytes() / 4, threads); }

/// The ways of a product that is never computed, so its memory is not read.
std::vector<Way> ways_of(DType a, DType b, DType c, const Sizes& s, bool transposed) {
    static std::byte memory[64];
    const Matrix right = transposed ? row_major(memory, b, s.n, s.k).transpose() : row_major(memory, b, s.k, s.n);
    return ways(row_major(memory, a, s.m, s.k), right, row_major(memory, c, s.m, s.n), {.batch = s.batch});
}
std::vector<Way> ways_of(DType t, const Sizes& s, bool transposed = false) { return ways_of(t, t, t, s, transposed); }

const Way& named(const std::vector<Way>& all, const std::string& name) {
    for (const Way& way : all)
        if (way.name == name) return way;
    throw std::runtime_error(name);
}
std::string chosen(const std::vector<Way>& all) {
    for (const Way& way : all)
        if (way.runs) return way.name;
    return "none";
}

TEST_F(CostModel, CountsKernels) {
    // 14 rows x 32 columns of 16 lanes: 28 sums a group of k; 2 rows: 2 vectors take longer to load than to multiply.
    KernelWork work = kernel_work(14, 14, 32, 32, 16, 4);
    EXPECT_EQ(work.calls, 1);
    EXPECT_EQ(work.cycles, 28);
    work = kernel_work(28, 14, 96, 32, 16, 4);
    EXPECT_EQ(work.calls, 6);
    EXPECT_EQ(work.cycles, 6 * 28);
    EXPECT_EQ(kernel_work(1, 14, 32, 32, 16, 0).cycles, 2.5);
    EXPECT_EQ(kernel_work(1, 14, 32, 32, 16, 4).cycles, 4);  // sums under way
    // A rest of at most half the columns takes the narrow kernel.
    EXPECT_EQ(kernel_work(14, 14, 48, 32, 16, 4).cycles, 28 + 14);
    EXPECT_EQ(kernel_work(14, 14, 49, 32, 16, 4).cycles, 28 + 28);
    EXPECT_EQ(kernel_work(14, 14, 48, 32, 16, 4).calls, 2);
}

TEST_F(CostModel, EstimatesAreAtLeastTheRoofline) {
    for (const testing::Setting& setting : testing::settings()) {
        const WithSetting with(setting, 1);
        const Rates rates = float_rates(1);
        for (const Sizes& s : {Sizes{16, 16, 16},
                               {1, 300, 300},
                               {4, 1000, 200},
                               {200, 300, 400},
                               {64, 64, 20000},
                               {1, 4096, 8192},
                               {32, 32, 32, 100},
                               {10000, 3, 3}})
            for (const bool transposed : {false, true}) {
                const double macs = static_cast<double>(s.batch) * static_cast<double>(s.m * s.n * s.k);
                const double b_bytes = static_cast<double>(s.batch * s.n * s.k) * 4;
                const double peak = macs / (vector_bytes() / 4) / rates.multiply_adds * 1e-9,
                             reading = b_bytes / rates.read[0] * 1e-9;
                for (const Way& way : ways_of(DType::float32, s, transposed)) {
                    EXPECT_EQ(std::isnan(way.seconds), !way.declines.empty()) << way.name;
                    if (!way.declines.empty()) continue;
                    EXPECT_GT(way.seconds, peak) << way.name << " " << s.m << "x" << s.n << "x" << s.k;
                    if (s.m == 1) {
                        EXPECT_GT(way.seconds, reading) << way.name;
                    }
                    EXPECT_LT(way.seconds, 1e-6 + 60 * (peak + reading)) << way.name << " " << s.m << "x" << s.n;
                }
            }
    }
}

TEST_F(CostModel, MoreWorkTakesLonger) {
    set_num_threads(1);  // more work is also more pieces, which more threads share
    for (const auto& [a, b, c] : {std::array{DType::float32, DType::float32, DType::float32},
                                  {DType::float64, DType::float64, DType::float64},
                                  {DType::bfloat16, DType::bfloat16, DType::float32},
                                  {DType::uint8, DType::int8, DType::int32}})
        for (const bool transposed : {false, true})
            for (const Sizes& s : {Sizes{4, 500, 500}, {100, 500, 500}, {1, 4000, 3000}}) {
                const auto less = ways_of(a, b, c, s, transposed),
                           more = ways_of(a, b, c, {s.m, 2 * s.n, 2 * s.k}, transposed);
                for (std::size_t i = 0; i < less.size(); ++i)
                    if (less[i].declines.empty() && more[i].declines.empty()) {
                        EXPECT_GT(more[i].seconds, 2 * less[i].seconds) << less[i].name << " " << name(a);
                    }
            }
    set_num_threads(0);
}

TEST_F(CostModel, ThreadsShareAllButTheCall) {
    Work work;
    work.cost_class = CostClass::panels;
    work.kernels = work.packed = 0, work.bytes = work.operands = 0;
    work.cycles = 1e9, work.pieces = 8;
    const Rates one = float_rates(1), four = float_rates(4);
    EXPECT_NEAR(seconds_of(work, one) / seconds_of(work, four), 4, 0.3);
    work.pieces = 1;
    EXPECT_EQ(seconds_of(work, one), seconds_of(work, four));
    work.pieces = 5;  // two rounds
    EXPECT_NEAR(seconds_of(work, one) / seconds_of(work, four), 2.5, 0.2);
}

TEST_F(CostModel, TheLevelIsTheNearestThatHoldsTheOperands) {
    const Rates rates = float_rates(1);
    EXPECT_EQ(level_of(1000, rates), MemoryLevel::l1);
    EXPECT_EQ(level_of(rates.capacity[0] + 1, rates), MemoryLevel::l2);
    EXPECT_EQ(level_of(rates.capacity[1] + 1, rates), MemoryLevel::l3);
    EXPECT_EQ(level_of(rates.capacity[2], rates), MemoryLevel::memory);  // others use a share of it
    Work work;
    work.cost_class = CostClass::few;
    work.bytes = work.operands = 1e9;
    EXPECT_GT(seconds_of(work, rates), 2 * seconds_of(work, rates, MemoryLevel::l2));
}

TEST_F(CostModel, WhereTheChoiceTurns) {
    if (!supported(Isa::avx512)) GTEST_SKIP() << "the prices are those of AVX-512";
    const WithSetting with({Isa::avx512, Dot::always}, 1);
    EXPECT_EQ(chosen(ways_of(DType::float32, {16, 16, 16})), "direct");
    // One row: B in place from the caches, in the order of memory beyond them.
    EXPECT_EQ(chosen(ways_of(DType::float32, {1, 512, 512})), "blocked");
    EXPECT_EQ(chosen(ways_of(DType::float32, {1, 4096, 4096})), "sweep");
    EXPECT_EQ(named(ways_of(DType::float32, {1, 512, 512}), "sweep").declines, "b serves where it is, from a cache");
    EXPECT_EQ(chosen(ways_of(DType::float32, {4, 1000, 1000}, true)), "dot");
    EXPECT_EQ(chosen(ways_of(DType::float32, {500, 500, 500})), "blocked");
    // Small products of few rows, columns along k: transposed in registers once they are long; of a batch, packed.
    EXPECT_EQ(chosen(ways_of(DType::float32, {3, 64, 32}, true)), "direct");
    EXPECT_EQ(chosen(ways_of(DType::float32, {3, 64, 64}, true)), "dot");
    EXPECT_EQ(chosen(ways_of(DType::float32, {3, 64, 64, 8}, true)), "direct");
    // Rows that leave vectors partly empty want longer columns, two vectors of them more of these.
    const auto bf16 = [](const Sizes& s) {
        return chosen(ways_of(DType::bfloat16, DType::bfloat16, DType::float32, s, true));
    };
    EXPECT_EQ(bf16({8, 1024, 1024}), "blocked");
    EXPECT_EQ(bf16({8, 1024, 2048}), "transposed");
    EXPECT_EQ(bf16({24, 512, 512}), "blocked");
    EXPECT_EQ(bf16({28, 512, 512}), "transposed");
    EXPECT_EQ(bf16({28, 16, 4096}), "blocked");
    // Few rows of bytes: panels from L2, a sweep from beyond.
    const auto bytes = [](const Sizes& s) {
        return chosen(ways_of(DType::uint8, DType::int8, DType::int32, s, false));
    };
    EXPECT_EQ(bytes({2, 768, 768}), "blocked");
    EXPECT_EQ(bytes({2, 2048, 2048}), "sweep");
    EXPECT_EQ(chosen(ways_of(DType::float32, {10000, 3, 3}, true)), "blocked");
    // A long output of short sums: the order says dot, but a vector of bytes is longer than the columns that it turns.
    const auto thin = ways_of(DType::uint8, DType::int8, DType::int32, {20000, 3, 16}, true);
    EXPECT_EQ(named(thin, "dot").declines, "");
    EXPECT_EQ(chosen(thin), "blocked");
}

TEST_F(CostModel, MeasuredCeilingsAreTaken) {
    Ceilings c;
    c.threads = 2;
    c.float32 = 64e9, c.float64 = 32e9, c.bfloat16 = 128e9, c.int8 = std::nan("");
    c.read = {400e9, 200e9, 100e9, 20e9}, c.capacity = {1e4, 1e6, 1e7, INFINITY};
    const double typical = rates_of(DType::int8, 64, 2).multiply_adds;
    remember(c);
    const Rates rates = rates_of(DType::float32, 16, 2);
    EXPECT_DOUBLE_EQ(rates.multiply_adds, 1);  // 64e9 / 2 threads / (2 x 16)
    EXPECT_DOUBLE_EQ(rates.read[3], 10);
    EXPECT_EQ(rates.capacity[1], 1e6);
    EXPECT_EQ(rates_of(DType::int8, 64, 2).multiply_adds, typical);  // not measured
    EXPECT_NE(rates_of(DType::float32, 16, 1).read[3], 10);  // of other threads
}

TEST_F(CostModel, ATunedOrForcedRowComesFirst) {
    const WithSetting with(testing::settings().back(), 1);
    const ForcedChoice forced({kWayCount - 1, 0, 0});
    const auto all = ways_of(DType::float32, {16, 16, 16});
    EXPECT_EQ(chosen(all), "blocked");
    EXPECT_TRUE(named(all, "blocked").tuned);
    EXPECT_TRUE(ways_of(DType::float32, {16, 0, 16}).empty());
}

}  // namespace
}  // namespace tenon::product::dense
