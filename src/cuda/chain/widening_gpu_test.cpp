// Layers that widen against the definition in f64, with the intermediate rounded to bf16.
#include <algorithm>

#include "cuda/chain/chain.h"
#include "cuda/chain/chain_gpu_testing.h"

namespace tenon::cuda {
namespace {

TEST_F(CudaChainTest, LayersThatWidenAreTheDefinition) {
    constexpr int kIn = 64, kOut = 128;  // groups and columns of each product
    constexpr std::int64_t kWidth = kIn * kIn, kWider = kOut * kOut, kCore = kIn * kIn * kOut;
    const ChainShape s{1133, 0, 1, {kIn, kIn, kOut, kOut}};
    std::mt19937 random(23);
    const Halves x = random_halves(s.rows * kWidth, random, 1), a = random_halves(kCore, random, 0.125),
                 b = random_halves(2 * kCore, random, 0.125);
    const Buffer on_x(*gpu, x), on_a(*gpu, a), on_b(*gpu, b), y(*gpu, s.rows * kWider * 2);
    // Forward the cores are a[f][g][p] and b[f][q][g]; in the gradient of a layer that narrows, [g][p][f] and
    // [f][g][q].
    const CoreStrides forward_a{kIn, kWidth, 0, 1}, forward_b{kIn * kOut, 1, 0, kIn}, back_a{kIn * kOut, 1, 0, kOut},
        back_b{kIn * kOut, kOut, 0, 1};
    for (const bool back : {false, true}) {
        const CoreStrides &of_a = back ? back_a : forward_a, &of_b = back ? back_b : forward_b;
        const auto rows = [&](std::int64_t from, std::int64_t count) {
            const auto* at = static_cast<const std::uint16_t*>(on_x.data()) + from * kWidth;
            gpu->fill_bytes(y.data(), 0xFF, y.storage->bytes());
            run(*gpu, Pass{{count, 0, 1, s.unequal}, at, {on_a.data(), of_a}, {on_b.data(), of_b}, y.data()});
            return y.read<std::uint16_t>();
        };
        const auto all = rows(0, s.rows);
        const auto core = [](const Halves& c, const CoreStrides& t, int group, int other, int inner) {
            return double{widen(c[static_cast<std::size_t>(group * t.group + other * t.other + inner * t.inner)])};
        };
        std::vector<double> have, want;
        for (const std::int64_t row : {0, 500, 1132})
            for (int f = 0; f < kOut; f += 3) {
                double z[kIn];
                for (int g = 0; g < kIn; ++g) {
                    z[g] = 0;
                    for (int i = 0; i < kIn; ++i)
                        z[g] += widen(x[static_cast<std::size_t>(row * kWidth + g * kIn + i)]) * core(a, of_a, g, f, i);
                    z[g] = widen(narrow(z[g]));
                }
                for (int q = 0; q < kOut; ++q) {
                    double sum = 0;
                    for (int g = 0; g < kIn; ++g) sum += z[g] * core(b, of_b, f, g, q);
                    want.push_back(sum);
                    have.push_back(widen(all[static_cast<std::size_t>(row * kWider + f * kOut + q)]));
                }
            }
        EXPECT_LT(relative_error(have, want), kHalf) << back;
        for (const auto& [from, count] : {std::pair(0, 16), {1117, 16}, {3, 5}, {7, 41}, {1, 1029}}) {
            const auto got = rows(from, count);
            const auto end = got.begin() + count * kWider;
            EXPECT_TRUE(std::equal(got.begin(), end, all.begin() + from * kWider))
                << back << ": " << from << ", " << count;
            EXPECT_TRUE(std::all_of(end, got.end(), [](std::uint16_t v) { return v == 0xFFFF; }));
        }
    }
}

/// So few rows that compute-sanitizer ends in time.
TEST_F(CudaChainTest, LayersThatWidenHaveTheirBitsEachTime) {
    const ChainShape s{24, 0, 1, {64, 64, 128, 128}};
    std::mt19937 random(24);
    const Buffer x(*gpu, random_halves(s.rows * s.in(), random, 1)),
        a(*gpu, random_halves(64 * 64 * 128, random, 0.125)), b(*gpu, random_halves(64 * 128 * 128, random, 0.125)),
        y(*gpu, s.rows * s.out() * 2);
    const auto once = [&] {
        run(*gpu, Pass{s, x.data(), {a.data(), {64, 4096, 0, 1}}, {b.data(), {8192, 1, 0, 64}}, y.data()});
        return y.read<std::uint16_t>();
    };
    EXPECT_EQ(once(), once());
}

}  // namespace
}  // namespace tenon::cuda
