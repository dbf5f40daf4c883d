// Structured layers on a device against their definition in f64, with the intermediate rounded to bf16 as the law says.
#include "cuda/chain/chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "cuda/chain/chain_gpu_testing.h"
#include "cuda/chain/kronecker.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

struct Layer {
    ChainShape shape;
    CoreStrides a_strides, b_strides;
    Halves x, a, b, dy;

    double a_at(int f, int r, int g, int p) const { return at(a, a_strides, g, f, r, p); }
    double b_at(int f, int q, int r, int g) const { return at(b, b_strides, f, g, r, q); }
    double x_at(std::int64_t row, int g, int p) const {
        return widen(x[static_cast<std::size_t>((row * shape.block + g) * shape.block + p)]);
    }
    double dy_at(std::int64_t row, int f, int q) const {
        return widen(dy[static_cast<std::size_t>((row * shape.block + f) * shape.block + q)]);
    }
    Core a_core(const Buffer& on) const { return {on.data(), a_strides}; }
    Core b_core(const Buffer& on) const { return {on.data(), b_strides}; }
    /// Index of an element of a row of z, or of its gradient.
    std::size_t z(int f, int r, int g) const {
        return static_cast<std::size_t>((f * shape.rank + r) * shape.block + g);
    }

  private:
    static double at(const Halves& core, const CoreStrides& s, int group, int other, int rank, int inner) {
        return widen(
            core[static_cast<std::size_t>(group * s.group + other * s.other + rank * s.rank + inner * s.inner)]);
    }
};

Layer random_layer(const ChainShape& s, unsigned seed, bool shared = false) {
    std::mt19937 random(seed);
    const double scale = 1 / std::sqrt(static_cast<double>(s.block));
    Layer l{s,
            s.a_strides(),
            s.b_strides(),
            random_halves(s.rows * s.width(), random, 1),
            random_halves(s.core_elements(), random, scale),
            random_halves(s.core_elements(), random, scale),
            random_halves(s.rows * s.width(), random, 1)};
    if (shared) l.a_strides.group = l.b_strides.group = 0;
    return l;
}

/// The intermediate of a row, whose element (f, r, g) is the sum of term(f, r, g, p) over p. It is computed for every
/// `step`-th group of either product; the other elements are 0.
template <class Term>
std::vector<double> intermediate_of(const Layer& l, int step, Term&& term) {
    const int n = l.shape.block;
    std::vector<double> z(static_cast<std::size_t>(n * n * l.shape.rank));
    for (int f = 0; f < n; f += step)
        for (int r = 0; r < l.shape.rank; ++r)
            for (int g = 0; g < n; g += step) {
                double sum = 0;
                for (int p = 0; p < n; ++p) sum += term(f, r, g, p);
                z[l.z(f, r, g)] = widen(narrow(sum));
            }
    return z;
}

/// A row of z.
std::vector<double> first_of(const Layer& l, std::int64_t row, int step = 1) {
    return intermediate_of(l, step, [&](int f, int r, int g, int p) { return l.x_at(row, g, p) * l.a_at(f, r, g, p); });
}

/// A row of z's gradient.
std::vector<double> first_gradient_of(const Layer& l, std::int64_t row, int step = 1) {
    return intermediate_of(l, step,
                           [&](int f, int r, int g, int q) { return l.dy_at(row, f, q) * l.b_at(f, q, r, g); });
}

/// Some of the rows, the first and last among them.
std::vector<std::int64_t> some_rows(std::int64_t rows) {
    std::vector<std::int64_t> some;
    for (std::int64_t i = 0; i<rows; i += rows> 64 ? 37 : 5) some.push_back(i);
    some.push_back(rows - 1);
    return some;
}

std::vector<ChainShape> shapes() {
    std::vector<ChainShape> all;
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4})
            for (const std::int64_t rows : {8, 136, 1000})
                if (block < 128 || rows < 1000) all.push_back({rows, block, rank});  // Others would take too long.
    all.push_back({77, 128, 1});
    return all;
}

TEST_F(CudaChainTest, ForwardIsTheDefinition) {
    for (const ChainShape& s : shapes())
        for (const bool shared : {false, true}) {
            const Layer l = random_layer(s, 1, shared);
            const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2);
            run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), nullptr});
            const auto got = y.read<std::uint16_t>();
            const int n = s.block;
            std::vector<double> have, want;
            for (const std::int64_t row : some_rows(s.rows)) {
                const auto z = first_of(l, row);
                for (int f = 0; f < n; ++f)
                    for (int q = 0; q < n; ++q) {
                        double sum = 0;
                        for (int r = 0; r < s.rank; ++r)
                            for (int g = 0; g < n; ++g) sum += z[l.z(f, r, g)] * l.b_at(f, q, r, g);
                        want.push_back(sum);
                        have.push_back(widen(got[static_cast<std::size_t>((row * n + f) * n + q)]));
                    }
            }
            EXPECT_LT(relative_error(have, want), kHalf) << n << " " << s.rank << " " << s.rows << " " << shared;
        }
}

TEST_F(CudaChainTest, InputGradientIsTheTransposedProduct) {
    for (const ChainShape& s : shapes())
        for (const bool shared : {false, true}) {
            const Layer l = random_layer(s, 2, shared);
            const Buffer dy(*gpu, l.dy), a(*gpu, l.a), b(*gpu, l.b), dx(*gpu, s.rows * s.width() * 2);
            run(*gpu, Pass{s, dy.data(), l.b_core(b), l.a_core(a), dx.data(), nullptr});
            const auto got = dx.read<std::uint16_t>();
            const int n = s.block;
            std::vector<double> have, want;
            for (const std::int64_t row : some_rows(s.rows)) {
                const auto dz = first_gradient_of(l, row);
                for (int g = 0; g < n; ++g)
                    for (int p = 0; p < n; ++p) {
                        double sum = 0;
                        for (int f = 0; f < n; ++f)
                            for (int r = 0; r < s.rank; ++r) sum += dz[l.z(f, r, g)] * l.a_at(f, r, g, p);
                        want.push_back(sum);
                        have.push_back(widen(got[static_cast<std::size_t>((row * n + g) * n + p)]));
                    }
            }
            EXPECT_LT(relative_error(have, want), kHalf) << n << " " << s.rank << " " << s.rows << " " << shared;
        }
}

/// The gradients of some groups of both cores by the definition, by an element's index in its core.
struct GroupsGradients {
    std::map<std::size_t, double> a, b;
};

GroupsGradients gradients_of(const Layer& l) {
    const ChainShape& s = l.shape;
    const int n = s.block, step = n == 32 ? 5 : n / 3;  // groups that are checked
    GroupsGradients want;
    for (std::int64_t row = 0; row < s.rows; ++row) {
        const auto zs = first_of(l, row, step), dzs = first_gradient_of(l, row, step);
        for (int f = 0; f < n; f += step)
            for (int r = 0; r < s.rank; ++r)
                for (int g = 0; g < n; g += step)
                    for (int i = 0; i < n; ++i) {
                        want.a[static_cast<std::size_t>(((f * s.rank + r) * n + g) * n + i)] +=
                            l.x_at(row, g, i) * dzs[l.z(f, r, g)];
                        want.b[static_cast<std::size_t>(((f * n + i) * s.rank + r) * n + g)] +=
                            l.dy_at(row, f, i) * zs[l.z(f, r, g)];
                    }
    }
    return want;
}

std::vector<double> values(const Buffer& of, DType dtype) {
    std::vector<double> v;
    if (dtype == DType::float32)
        for (const float f : of.read<float>()) v.push_back(f);
    else
        for (const std::uint16_t h : of.read<std::uint16_t>()) v.push_back(widen(h));
    return v;
}

double error_of_some(const std::vector<double>& got, const std::map<std::size_t, double>& want) {
    std::vector<double> have, sums;
    for (const auto& [at, sum] : want) have.push_back(got[at]), sums.push_back(sum);
    return relative_error(have, sums);
}

/// A layer on the device, with room for its gradients.
struct OnDevice {
    OnDevice(Gpu& device, const Layer& layer, DType gradients)
        : gpu(device),
          l(layer),
          dtype(gradients),
          x(gpu, l.x),
          dy(gpu, l.dy),
          a(gpu, l.a),
          b(gpu, l.b),
          da(gpu, bytes()),
          db(gpu, bytes()) {}
    std::int64_t bytes() const { return l.shape.core_elements() * static_cast<std::int64_t>(size_of(dtype)); }

    void from_kept() const {
        const ChainShape& s = l.shape;
        const Buffer y(gpu, s.rows * s.width() * 2), z(gpu, kept_bytes(s)), dz(gpu, kept_bytes(s));
        run(gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), z.data()});
        run(gpu, Pass{s, dy.data(), l.b_core(b), l.a_core(a), y.data(), dz.data()});
        run(gpu, CoreGradient{s, x.data(), dz.data(), dtype, da.data(), s.a_strides()});
        run(gpu, CoreGradient{s, dy.data(), z.data(), dtype, db.data(), s.b_strides()});
    }
    RecomputedGradient of_a() const { return {dy.data(), l.b_core(b), x.data(), da.data(), l.shape.a_strides()}; }
    RecomputedGradient of_b() const { return {x.data(), l.a_core(a), dy.data(), db.data(), l.shape.b_strides()}; }
    void recomputed() const {
        run(gpu, CoreGradients{l.shape, dtype, {of_a()}, 1});
        run(gpu, CoreGradients{l.shape, dtype, {of_b()}, 1});
    }
    /// Computes da in the pass that computes dx, which is returned, and db by another kernel.
    Halves beside() const {
        const ChainShape& s = l.shape;
        const Buffer y(gpu, s.rows * s.width() * 2), z(gpu, kept_bytes(s));
        if (s.block == 128) {
            run(gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), z.data()});
            run(gpu, CoreGradient{s, dy.data(), z.data(), dtype, db.data(), s.b_strides()});
        } else {
            run(gpu, CoreGradients{s, dtype, {of_b()}, 1});
        }
        const BesidePass of_a{x.data(), dtype, da.data(), s.a_strides()};
        run(gpu, Pass{s, dy.data(), l.b_core(b), l.a_core(a), y.data(), nullptr, of_a});
        return y.read<std::uint16_t>();
    }
    void together() const { run(gpu, CoreGradients{l.shape, dtype, {of_b(), of_a()}, 2}); }

    Gpu& gpu;
    const Layer& l;
    DType dtype;
    Buffer x, dy, a, b, da, db;
};

bool may_be_together(const ChainShape& s) { return s.block == 32 || (s.block == 64 && s.rank == 1); }

TEST_F(CudaChainTest, CoreGradientsAreTheSumsOverTheRows) {
    for (const ChainShape& s : shapes())
        for (const DType dtype : {DType::float32, DType::bfloat16}) {
            if (s.rows > 136) continue;  // The definition would take too long.
            const Layer l = random_layer(s, 3);
            const GroupsGradients want = gradients_of(l);
            const OnDevice d(*gpu, l, dtype);
            const auto check = [&](const char* how) {
                for (const auto& [got, sums] : {std::pair{&d.da, &want.a}, {&d.db, &want.b}}) {
                    EXPECT_LT(error_of_some(values(*got, dtype), *sums), dtype == DType::float32 ? 1e-4 : kHalf)
                        << how << (got == &d.da ? " a " : " b ") << s.block << " " << s.rank << " " << s.rows;
                    gpu->fill_bytes(got->data(), 0xFF, d.bytes());
                }
            };
            if (s.block == 128) {
                d.from_kept();
                check("kept");
            } else {
                d.recomputed();
                check("recomputed");
            }
            if (takes_gradient_beside(s)) {
                d.beside();
                check("beside a pass");
            }
            if (!may_be_together(s)) continue;
            d.together();
            check("together");
        }
}

TEST_F(CudaChainTest, CoreGradientsHaveTheirBitsEachTime) {
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4}) {
            const ChainShape s{block == 128 ? 512 : 4096, block, rank};
            const Layer l = random_layer(s, 7);
            const OnDevice d(*gpu, l, DType::float32);
            const auto both = [&] {
                block == 128 ? d.from_kept() : d.recomputed();
                return std::pair(d.da.read<std::uint32_t>(), d.db.read<std::uint32_t>());
            };
            const auto once = both();
            EXPECT_EQ(once, both()) << block << " " << rank;
        }
}

/// Every kernel of a shape on as few rows as it takes, so that compute-sanitizer ends in time.
class CudaChainKernelsTest : public CudaChainTest, public ::testing::WithParamInterface<ChainShape> {};

TEST_P(CudaChainKernelsTest, HaveTheirBitsEachTime) {
    const ChainShape s = GetParam();
    const Layer l = random_layer(s, 19);
    const OnDevice d(*gpu, l, DType::float32);
    const auto all = [&] {
        const Buffer y(*gpu, s.rows * s.width() * 2);
        run(*gpu, Pass{s, d.x.data(), l.a_core(d.a), l.b_core(d.b), y.data(), nullptr});
        std::vector<Halves> passes{y.read<std::uint16_t>()};
        std::vector<std::vector<std::uint32_t>> gradients;
        const auto read = [&] {
            gradients.push_back(d.da.read<std::uint32_t>());
            gradients.push_back(d.db.read<std::uint32_t>());
        };
        s.block == 128 ? d.from_kept() : d.recomputed();
        read();
        if (takes_gradient_beside(s)) passes.push_back(d.beside()), read();
        if (may_be_together(s)) d.together(), read();
        return std::pair(passes, gradients);
    };
    const auto once = all();
    EXPECT_EQ(once, all());
    for (const std::vector<std::uint32_t>& of : once.second)
        for (const std::uint32_t bits : of) ASSERT_NE(bits & 0x7F800000u, 0x7F800000u) << "a number";
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaChainKernelsTest,
                         ::testing::Values(ChainShape{24, 32, 1}, ChainShape{24, 32, 2}, ChainShape{24, 32, 4},
                                           ChainShape{4104, 32, 1}, ChainShape{4104, 32, 4}, ChainShape{24, 64, 1},
                                           ChainShape{24, 64, 2}, ChainShape{24, 64, 4}, ChainShape{72, 128, 1},
                                           ChainShape{72, 128, 2}, ChainShape{72, 128, 4}),
                         [](const auto& of) {
                             const ChainShape& s = of.param;
                             return std::to_string(s.rows) + "x" + std::to_string(s.block) + "r" +
                                    std::to_string(s.rank);
                         });

TEST_F(CudaChainTest, APassHasItsBitsWhateverIsComputedBeside) {
    for (const ChainShape& s :
         {ChainShape{4104, 32, 1}, {4104, 32, 2}, {4104, 32, 4}, {1000, 64, 2}, {1000, 64, 4}, {328, 128, 1}}) {
        const Layer l = random_layer(s, 9);
        const OnDevice d(*gpu, l, DType::float32);
        const Buffer dx(*gpu, s.rows * s.width() * 2), kept(*gpu, kept_bytes(s));
        const auto pass = [&](void* z) {
            run(*gpu, Pass{s, d.dy.data(), l.b_core(d.b), l.a_core(d.a), dx.data(), z});
            return dx.read<std::uint16_t>();
        };
        const Halves alone = pass(nullptr);
        EXPECT_EQ(alone, pass(kept.data())) << s.block << " " << s.rank;
        if (!takes_gradient_beside(s)) continue;
        EXPECT_EQ(alone, d.beside()) << s.block << " " << s.rank;
        const auto gradient = d.da.read<std::uint32_t>();
        d.beside();
        EXPECT_EQ(gradient, d.da.read<std::uint32_t>()) << s.block << " " << s.rank;
    }
}

TEST_F(CudaChainTest, AnInfinityInACoreLeavesNoTraceOfRowsBeyondTheLast) {
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4}) {
            const ChainShape s{block == 128 ? 77 : 40, block, rank};
            Layer l = random_layer(s, 8);
            l.x.assign(l.x.size(), 0x3F80);  // Ones, so that no row has a 0 that meets the infinity.
            l.dy.assign(l.dy.size(), 0x3F80);
            l.a[0] = l.b[0] = 0x7F80;
            const OnDevice d(*gpu, l, DType::float32);
            const auto check = [&] {
                for (const Buffer* of : {&d.da, &d.db}) {
                    const auto v = values(*of, DType::float32);
                    EXPECT_EQ(std::count_if(v.begin(), v.end(), [](double x) { return std::isnan(x); }), 0)
                        << block << " " << rank << (of == &d.da ? " a" : " b");
                    EXPECT_GT(std::count_if(v.begin(), v.end(), [](double x) { return std::isinf(x); }), 0);
                }
            };
            block == 128 ? d.from_kept() : d.recomputed();
            check();
            if (takes_gradient_beside(s)) {
                d.beside();
                check();
            }
            if (!may_be_together(s)) continue;
            d.together();
            check();
        }
}

TEST_F(CudaChainTest, ARowHasItsBitsWhereverItStands) {
    for (const int block : {32, 64, 128}) {
        const ChainShape s{block == 32 ? 4112 : 1000, block, 2};  // At 32, fewer rows have another kernel.
        const Layer l = random_layer(s, 4);
        const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2);
        run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), nullptr});
        const auto all = y.read<std::uint16_t>();
        run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), nullptr});
        EXPECT_EQ(all, y.read<std::uint16_t>()) << "a second time";
        const ChainShape few{16, block, 2};
        const std::int64_t from = 504 * s.width();
        run(*gpu, Pass{few, static_cast<const std::uint16_t*>(x.data()) + from, l.a_core(a), l.b_core(b), y.data()});
        const auto part = y.read<std::uint16_t>();
        EXPECT_TRUE(std::equal(part.begin(), part.begin() + few.rows * few.width(), all.begin() + from)) << block;
    }
}

TEST_F(CudaChainTest, FewRowsHaveTheBitsOfMany) {
    for (const int block : {32, 64, 128})
        for (const int rank : {1, 2, 4})
            for (const bool back : {false, true}) {
                const ChainShape s{72, block, rank};
                const Layer l = random_layer(s, 14);
                const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2);
                const auto rows = [&](std::int64_t from, std::int64_t count) {
                    const auto* at = static_cast<const std::uint16_t*>(x.data()) + from * s.width();
                    gpu->fill_bytes(y.data(), 0xFF, y.storage->bytes());
                    const Core first = back ? l.b_core(b) : l.a_core(a), second = back ? l.a_core(a) : l.b_core(b);
                    run(*gpu, Pass{{count, block, rank}, at, first, second, y.data()});
                    return y.read<std::uint16_t>();
                };
                const auto all = rows(0, 72);
                for (const auto& [from, count] : {std::pair(0, 1), {71, 1}, {3, 5}, {7, 16}, {2, 21}, {1, 39}}) {
                    const auto got = rows(from, count);
                    const auto end = got.begin() + count * s.width();
                    EXPECT_TRUE(std::equal(got.begin(), end, all.begin() + from * s.width()))
                        << block << " " << rank << " " << back << ": " << count << " rows from " << from;
                    EXPECT_TRUE(std::all_of(end, got.end(), [](std::uint16_t v) { return v == 0xFFFF; }));
                }
            }
}

TEST_F(CudaChainTest, FewRowsOfOtherBlocksAndRanks) {
    for (const ChainShape& s : {ChainShape{5, 16, 3}, {16, 48, 1}, {3, 64, 9}, {2, 256, 1}}) {
        const Layer l = random_layer(s, 15);
        const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2);
        run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data()});
        const auto got = y.read<std::uint16_t>();
        const int n = s.block;
        std::vector<double> have, want;
        const auto z = first_of(l, s.rows - 1);
        for (int f = 0; f < n; ++f)
            for (int q = 0; q < n; ++q) {
                double sum = 0;
                for (int r = 0; r < s.rank; ++r)
                    for (int g = 0; g < n; ++g) sum += z[l.z(f, r, g)] * l.b_at(f, q, r, g);
                want.push_back(sum);
                have.push_back(widen(got[static_cast<std::size_t>(((s.rows - 1) * n + f) * n + q)]));
            }
        EXPECT_LT(relative_error(have, want), kHalf) << n << " " << s.rank;
    }
}

TEST_F(CudaChainTest, KroneckerPassesAreTheDefinition) {
    std::mt19937 random(16);
    const Halves a = random_halves(4096, random, 0.125), b = random_halves(4096, random, 0.125);
    const Buffer first(*gpu, a), second(*gpu, b);
    for (const std::int64_t rows : {1, 200, 1000, 2500}) {
        const Halves xs = random_halves(rows * 4096, random, 1);
        const Buffer x(*gpu, xs), y(*gpu, rows * 8192), z(*gpu, rows * 8192);
        for (int form = 0; form < 8; ++form) {
            KroneckerPass p;
            p.rows = rows, p.sums_first = form & 1, p.y_transposed = form & 2, p.keeps = form & 4,
            p.kept_transposed = form & 1;
            p.x = x.data(), p.y = y.data(), p.kept = p.keeps ? z.data() : nullptr;
            p.first = {first.data(), 64, 1}, p.second = {second.data(), 64, 1};
            gpu->fill_bytes(y.data(), 0xFF, rows * 8192);
            run(*gpu, p);
            const auto got = y.read<std::uint16_t>();
            std::vector<double> have, want;
            for (const std::int64_t row : some_rows(rows))
                for (int m = 0; m < 64; m += 7) {
                    double zs[64];
                    for (int n = 0; n < 64; ++n) {
                        double sum = 0;
                        for (int k = 0; k < 64; ++k)
                            sum += widen(a[static_cast<std::size_t>(m * 64 + k)]) *
                                   widen(xs[static_cast<std::size_t>(row * 4096 +
                                                                     (p.sums_first ? k * 64 + n : n * 64 + k))]);
                        zs[n] = widen(narrow(sum));
                    }
                    for (int l = 0; l < 64; ++l) {
                        double sum = 0;
                        for (int n = 0; n < 64; ++n) sum += zs[n] * widen(b[static_cast<std::size_t>(l * 64 + n)]);
                        want.push_back(sum);
                        have.push_back(widen(
                            got[static_cast<std::size_t>(row * 4096 + (p.y_transposed ? l * 64 + m : m * 64 + l))]));
                    }
                }
            EXPECT_LT(relative_error(have, want), kHalf) << rows << " rows, form " << form;
        }
    }
}

TEST_F(CudaChainTest, NonFiniteValuesStayInTheirRow) {
    const ChainShape s{64, 64, 1};
    Layer l = random_layer(s, 5);
    l.x[static_cast<std::size_t>(33 * s.width() + 5)] = 0x7FC0;
    const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2);
    run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), nullptr});
    const auto got = y.read<std::uint16_t>();
    for (std::int64_t i = 0; i < s.rows * s.width(); ++i)
        ASSERT_EQ(std::isnan(widen(got[static_cast<std::size_t>(i)])), i / s.width() == 33) << i;
}

TEST_F(CudaChainTest, UnpacksWhatWasKept) {
    for (const ChainShape& s : shapes()) {
        if (s.rows > 136) continue;
        const Layer l = random_layer(s, 6);
        const Buffer x(*gpu, l.x), a(*gpu, l.a), b(*gpu, l.b), y(*gpu, s.rows * s.width() * 2),
            kept(*gpu, kept_bytes(s)), z(*gpu, s.rows * s.width() * s.rank * 2);
        run(*gpu, Pass{s, x.data(), l.a_core(a), l.b_core(b), y.data(), kept.data()});
        const std::int64_t row = s.width() * s.rank;
        unpack(*gpu, s, kept.data(), z.data(), row, {std::int64_t{s.rank} * s.block, 1, s.block, 0});
        const auto got = z.read<std::uint16_t>();
        std::vector<double> have, want;
        for (const std::int64_t i : some_rows(s.rows)) {
            const auto zs = first_of(l, i);
            want.insert(want.end(), zs.begin(), zs.end());
            for (std::int64_t k = 0; k < row; ++k) have.push_back(widen(got[static_cast<std::size_t>(i * row + k)]));
        }
        // The definition adds in another order, so its sums are sometimes rounded to the other neighbour.
        EXPECT_LT(relative_error(have, want), 1e-4) << s.block << " " << s.rank << " " << s.rows;
    }
}

TEST_F(CudaChainTest, DeclinesWithTheReason) {
    const auto why = [&](const ChainShape& s, std::int64_t inner = 1) {
        CoreStrides a = s.a_strides();
        a.inner = inner;
        const char* reason = declines(*gpu, {s, nullptr, {nullptr, a}, {nullptr, s.b_strides()}, nullptr});
        return std::string(reason ? reason : "");
    };
    EXPECT_EQ(why({64, 64, 1}), "");
    if (gpu->multiprocessors() >= 128)
        EXPECT_EQ(why({63, 128, 4}), "");
    else
        EXPECT_NE(why({63, 128, 4}).find("at a time"), std::string::npos);
    EXPECT_NE(why({64, 256, 1}).find("blocks other than"), std::string::npos);
    EXPECT_NE(why({64, 64, 3}).find("ranks"), std::string::npos);
    EXPECT_EQ(why({63, 64, 1}), "");
    EXPECT_NE(why({64, 64, 1}, 8).find("side by side"), std::string::npos);
    const ChainShape odd{63, 64, 1};
    std::byte kept;
    const Pass keeps{odd, nullptr, {nullptr, odd.a_strides()}, {nullptr, odd.b_strides()}, nullptr, &kept};
    EXPECT_NE(std::string(declines(*gpu, keeps)).find("eights"), std::string::npos);
    EXPECT_THROW(run(*gpu, keeps), ValueError);
}

TEST_F(CudaChainTest, NoRowsNoWork) {
    const ChainShape s{0, 64, 1};
    EXPECT_NO_THROW(run(*gpu, Pass{s, nullptr, {nullptr, s.a_strides()}, {nullptr, s.b_strides()}, nullptr}));
    const Buffer da(*gpu, s.core_elements() * 4);
    run(*gpu, CoreGradients{
                  s, DType::float32, {{{nullptr, {nullptr, s.b_strides()}, nullptr, da.data(), s.a_strides()}}}, 1});
    for (const float v : da.read<float>()) ASSERT_EQ(v, 0);
}

}  // namespace
}  // namespace tenon::cuda
