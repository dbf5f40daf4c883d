// Hidden values and their gradients against the definition in f64, with all intermediates rounded to bf16.
#include <cmath>

#include "cuda/chain/chain_gpu_testing.h"
#include "cuda/chain/hidden_testing.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kGroups = 128, kInner = kHiddenInner, kOuter = kHiddenOuter;

struct Problem {
    std::int64_t rows;
    Halves z, b, a, dw;
    double s = 0.75, t = -1.25;

    explicit Problem(std::int64_t n, unsigned seed) : rows(n) {
        std::mt19937 random(seed);
        z = random_halves(kGroups * kInner * n, random, 1);
        b = random_halves(kGroups * kOuter * kInner, random, 0.15);
        a = random_halves(kGroups * kOuter * kInner, random, 0.1);
        dw = random_halves(kGroups * kInner * n, random, 1);
    }
    // Indices of elements, by their axes.
    double z_at(std::int64_t f, std::int64_t g, std::int64_t i) const { return at(z, (f * kInner + g) * rows + i); }
    double dw_at(std::int64_t c, std::int64_t f, std::int64_t i) const { return at(dw, (c * kGroups + f) * rows + i); }
    double b_at(std::int64_t f, std::int64_t q, std::int64_t g) const { return at(b, (f * kOuter + q) * kInner + g); }
    double a_at(std::int64_t c, std::int64_t f, std::int64_t q) const { return at(a, (c * kGroups + f) * kOuter + q); }
    double value(double h) const { return widen(narrow(h * s * std::erf(h))); }
    double slope(double h, double dv) const { return widen(narrow(dv * std::exp(-h * h) + dv * t * std::erf(h))); }

    static double at(const Halves& x, std::int64_t i) { return widen(x[static_cast<std::size_t>(i)]); }
};

class HiddenGpuTest : public CudaChainTest {
  protected:
    struct Results {
        Halves h, w, dz;
        std::vector<float> da, db;
    };
    Results run_on(const Problem& p, bool stores_h = true) const {
        const HiddenFunctions f = testing::functions();
        const Buffer z(*gpu, p.z), b(*gpu, p.b), a(*gpu, p.a), dw(*gpu, p.dw), h(*gpu, p.rows * kGroups * kOuter * 2),
            w(*gpu, p.rows * kGroups * kInner * 2), dz(*gpu, p.rows * kGroups * kInner * 2),
            da(*gpu, kGroups * kInner * kOuter * 4), db(*gpu, kGroups * kInner * kOuter * 4), numbers(*gpu, 8);
        const float st[] = {static_cast<float>(p.s), static_cast<float>(p.t)};
        gpu->to_device(numbers.data(), st, sizeof st);
        const void* scalars[] = {numbers.data(), static_cast<const float*>(numbers.data()) + 1};
        const auto pass = [&](void* h_or_none) {
            run(*gpu, f, HiddenPass{p.rows, kGroups, z.data(), b.data(), a.data(), h_or_none, w.data(), {scalars, 1}});
        };
        pass(h.data());
        if (!stores_h) {
            gpu->fill_bytes(w.data(), 0xff, p.rows * kGroups * kInner * 2);
            pass(nullptr);
        }
        run(*gpu, f,
            HiddenGradients{p.rows, kGroups, dw.data(), z.data(), h.data(), b.data(), a.data(), dz.data(), da.data(),
                            db.data(), DType::float32, scalars});
        return {h.read<std::uint16_t>(), w.read<std::uint16_t>(), dz.read<std::uint16_t>(), da.read<float>(),
                db.read<float>()};
    }
};

TEST_F(HiddenGpuTest, IsTheDefinition) {
    const Problem p(448, 3);
    const Results r = run_on(p);
    const auto sum = [](std::int64_t n, auto&& term) {
        double s = 0;
        for (std::int64_t i = 0; i < n; ++i) s += term(i);
        return s;
    };
    std::vector<double> got[5], want[5];
    const auto compare = [&](int which, double have, double expected) {
        got[which].push_back(have), want[which].push_back(expected);
    };
    for (const std::int64_t f : {0, 1, 77, 127}) {
        const auto h_at = [&](std::int64_t i, std::int64_t q) {
            return Problem::at(r.h, (i * kGroups + f) * kOuter + q);
        };
        std::vector<double> dh(static_cast<std::size_t>(p.rows * kOuter));
        for (std::int64_t i = 0; i < p.rows; ++i)
            for (std::int64_t q = 0; q < kOuter; ++q) {
                const double dv = sum(kInner, [&](std::int64_t c) { return p.dw_at(c, f, i) * p.a_at(c, f, q); });
                dh[static_cast<std::size_t>(i * kOuter + q)] = p.slope(h_at(i, q), widen(narrow(dv)));
            }
        const auto dh_at = [&](std::int64_t i, std::int64_t q) { return dh[static_cast<std::size_t>(i * kOuter + q)]; };
        for (std::int64_t i = 0; i < p.rows; i += 13)
            for (std::int64_t k = 0; k < kInner; k += 3) {
                compare(0, h_at(i, 2 * k),
                        sum(kInner, [&](std::int64_t g) { return p.z_at(f, g, i) * p.b_at(f, 2 * k, g); }));
                compare(1, Problem::at(r.w, (k * kGroups + f) * p.rows + i),
                        sum(kOuter, [&](std::int64_t q) { return p.value(h_at(i, q)) * p.a_at(k, f, q); }));
                compare(2, Problem::at(r.dz, (f * kInner + k) * p.rows + i),
                        sum(kOuter, [&](std::int64_t q) { return dh_at(i, q) * p.b_at(f, q, k); }));
            }
        for (std::int64_t k = 0; k < kInner; k += 5)
            for (std::int64_t q = 0; q < kOuter; q += 3) {
                compare(3, r.da[static_cast<std::size_t>((k * kGroups + f) * kOuter + q)],
                        sum(p.rows, [&](std::int64_t i) { return p.dw_at(k, f, i) * p.value(h_at(i, q)); }));
                compare(4, r.db[static_cast<std::size_t>((f * kOuter + q) * kInner + k)],
                        sum(p.rows, [&](std::int64_t i) { return dh_at(i, q) * p.z_at(f, k, i); }));
            }
    }
    constexpr double kMost[] = {kHalf, kHalf, kHalf, kHalf, kHalf};
    for (int i = 0; i < 5; ++i) EXPECT_LT(relative_error(got[i], want[i]), kMost[i]) << "of h, w, dz, da, db: " << i;
}

TEST_F(HiddenGpuTest, HasItsBitsEachTime) {
    const Problem p(64, 4);
    const Results one = run_on(p), two = run_on(p);
    EXPECT_EQ(one.h, two.h);
    EXPECT_EQ(one.w, two.w);
    EXPECT_EQ(one.dz, two.dz);
    EXPECT_EQ(one.da, two.da);
    EXPECT_EQ(one.db, two.db);
    EXPECT_EQ(run_on(p, false).w, one.w) << "h is not stored";
}

}  // namespace
}  // namespace tenon::cuda
