// contract against contract_reference, bit for bit: shapes, strides, dtypes, instruction sets, thread counts.
#include "product/contract.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/caches.h"
#include "base/cpu.h"
#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/dense/generated.h"
#include "product/testing.h"
#include "tenon/threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::Storage;
using Extents = std::vector<std::pair<char, std::int64_t>>;

std::vector<Isa> isas() {
    std::vector<Isa> all;
    for (const Isa i : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon})
        if (supported(i)) all.push_back(i);
    return all;
}

/// Restores the best instruction set and the default number of threads.
struct Settings {
    Isa before = isa();
    ~Settings() {
        force_isa(before);
        set_num_threads(0);
    }
};

const DType kDTypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16, DType::int8,  DType::uint8,
                         DType::int16,   DType::uint16,  DType::int32,    DType::uint32,  DType::int64, DType::uint64};

DType wide_output(DType t) {
    if (t == DType::float16 || t == DType::bfloat16) return DType::float32;
    return t == DType::int8 || t == DType::uint8 ? DType::int32 : t;
}

struct Case {
    Equation equation;
    Extents extents;
    DType dtype = DType::float32, out = DType::float32;
    Storage a = Storage::row_major, b = Storage::row_major, c = Storage::row_major;
    unsigned seed = 1;

    Array operand_a() const { return std::move(Array(dtype, equation.shape_a(extents), a, seed).randomize(seed)); }
    Array operand_b() const {
        return std::move(Array(dtype, equation.shape_b(extents), b, seed + 1).randomize(seed + 1));
    }
    Array output() const { return {out, equation.shape_out(extents), c, seed + 2}; }
};

std::string describe(const Case& c) {
    std::string s =
        text(name(c.dtype), " -> ", name(c.out), ", storage ", int(c.a), int(c.b), int(c.c), ", seed ", c.seed);
    for (const auto& [letter, extent] : c.extents) s += text(" ", letter, "=", extent);
    return s;
}

/// One reference, then every setting.
void expect_equal(const Case& c, const std::vector<Isa>& sets, const std::vector<int>& threads) {
    const Settings settings;
    Array a = c.operand_a(), b = c.operand_b(), expected = c.output();
    contract_reference(a.view(), b.view(), expected.view(), c.equation.labels());
    for (const Isa set : sets)
        for (const int n : threads) {
            force_isa(set);
            set_num_threads(n);
            Array out = c.output();
            contract(a.view(), b.view(), out.view(), c.equation.labels());
            ASSERT_EQ(first_difference(out, expected, c.out), -1)
                << name(set) << " threads " << n << " " << describe(c);
            // What lies between the elements is untouched: the rest of both buffers is the same.
            if (is_integer(c.out)) {
                ASSERT_EQ(out.bytes(), expected.bytes()) << describe(c);
            }
        }
}

const std::int64_t kSizes[] = {0, 1, 2, 3, 5, 7, 8, 13, 15, 16, 17, 31, 33, 64, 65, 129};

TEST(Contract, EqualsTheReferenceForEveryShape) {
    const Equation matmul("mk,kn->mn"), transposed("mk,nk->mn");
    for (const Isa set : isas())
        for (const std::int64_t m : kSizes)
            for (const std::int64_t n : kSizes)
                for (const std::int64_t k : kSizes) {
                    const bool odd = (m + n + k) % 2 != 0;
                    Case c{odd ? matmul : transposed, {{'m', m}, {'n', n}, {'k', k}}};
                    c.dtype = c.out = (m + n) % 3 == 0 ? DType::float64 : DType::float32;
                    ASSERT_NO_FATAL_FAILURE(expect_equal(c, {set}, {odd ? 1 : 2}));
                }
}

TEST(Contract, EqualsTheReferenceAroundBlocksOfK) {
    const std::int64_t around[] = {kBlockK, 2 * kBlockK, kSplitK, 2 * kSplitK, 3 * kSplitK + kBlockK, 5 * kSplitK};
    for (const DType t : kDTypes)
        for (const std::int64_t base : around)
            for (const std::int64_t k : {base - 1, base, base + 1}) {
                const bool wide = k % 2 != 0;
                const Case c{Equation(wide ? "km,nk->mn" : "mk,kn->mn"),
                             {{'m', 1 + k % 17}, {'n', 1 + k % 35}, {'k', k}},
                             t,
                             wide ? wide_output(t) : t};
                ASSERT_NO_FATAL_FAILURE(expect_equal(c, isas(), {1, 3}));
            }
}

Case random_case(unsigned seed) {
    static const char* const equations[] = {
        "mk,kn->mn",    "km,kn->mn",      "mk,nk->nm",      "bmk,bkn->bmn", "mbk,bnk->mnb",
        "kbm,bkn->nbm", "mpq,qpn->mn",    "apb,cpd->cadb",  "bk,bk->b",     "m,n->mn",
        "k,k->",        "xbyk,kbz->zyxb", "pmqb,bpnq->bmn", "m,->m",        "bm,bn->bmn",
    };
    std::mt19937 random(seed);
    const auto pick = [&](auto& list) { return list[random() % std::size(list)]; };
    const Storage storages[] = {Storage::row_major, Storage::column_major, Storage::padded, Storage::reversed,
                                Storage::shuffled};
    const std::string_view equation = pick(equations);
    const int sizes[] = {1, 2, 3, 5, 8, 13, 16, 17, 31, 40};
    Case c{Equation(equation), {}};
    for (char letter = 'a'; letter <= 'z'; ++letter)
        if (equation.find(letter) != std::string_view::npos) c.extents.emplace_back(letter, pick(sizes));
    if (random() % 4 == 0 && c.extents.size() <= 3)
        c.extents[random() % c.extents.size()].second = 100 + random() % 400;
    c.dtype = pick(kDTypes);
    c.out = random() % 2 ? c.dtype : wide_output(c.dtype);
    c.a = pick(storages), c.b = pick(storages), c.c = pick(storages);
    c.seed = seed;
    return c;
}

TEST(Contract, EqualsTheReferenceForRandomContractions) {
    const auto sets = isas();
    for (unsigned seed = 1; seed <= 2500; ++seed)
        ASSERT_NO_FATAL_FAILURE(
            expect_equal(random_case(seed), {sets[seed % sets.size()]}, {1 + static_cast<int>(seed % 4)}));
}

TEST(Contract, EqualsTheReferenceOnLargeProductsWithAnyThreads) {
    const Case cases[] = {
        {Equation("mk,nk->mn"), {{'m', 200}, {'n', 700}, {'k', 500}}},
        {Equation("km,kn->mn"), {{'m', 130}, {'n', 70}, {'k', 900}}, DType::bfloat16, DType::bfloat16},
        {Equation("mk,kn->mn"), {{'m', 1500}, {'n', 40}, {'k', 100}}, DType::float64, DType::float64},
        {Equation("mk,kn->mn"), {{'m', 1}, {'n', 3000}, {'k', 800}}},
        {Equation("mk,nk->mn"), {{'m', 3000}, {'n', 1}, {'k', 800}}, DType::float16, DType::float32},
        {Equation("km,kn->mn"), {{'m', 24}, {'n', 40}, {'k', 40000}}, DType::bfloat16, DType::float32},
        {Equation("km,kn->nm"), {{'m', 600}, {'n', 20}, {'k', 7000}}, DType::float16, DType::float16},
        {Equation("bmk,bkn->bmn"), {{'b', 64}, {'m', 32}, {'n', 32}, {'k', 32}}},
        {Equation("mbk,bnk->mbn"), {{'b', 48}, {'m', 65}, {'n', 33}, {'k', 40}}, DType::bfloat16, DType::bfloat16},
    };
    for (const Case& c : cases) ASSERT_NO_FATAL_FAILURE(expect_equal(c, {isa()}, {1, 2, 3, 4}));
}

View broadcast(Array& array, int axis, std::int64_t extent) {
    View v = array.view();
    v.layout.shape[axis] = extent;
    v.layout.strides[axis] = 0;
    return v;
}

TEST(Contract, TakesBroadcastOperands) {
    for (const int axis : {0, 1}) {
        Array a(DType::float32, {axis == 0 ? 1 : 37, axis == 1 ? 1 : 50}),
            b(DType::float32, {axis == 0 ? 1 : 50, axis == 1 ? 1 : 21});
        a.randomize(1), b.randomize(2);
        const View x = broadcast(a, axis, axis == 0 ? 37 : 50), y = broadcast(b, axis, axis == 0 ? 50 : 21);
        Array out(DType::float32, {37, 21}), expected(DType::float32, {37, 21});
        contract(x, y, out.view(), Equation("mk,kn->mn").labels());
        contract_reference(x, y, expected.view(), Equation("mk,kn->mn").labels());
        EXPECT_EQ(first_difference(out, expected, DType::float32), -1);
    }
}

TEST(Contract, RowAloneEqualsRowInBatch) {
    const std::int64_t m = 50, n = 45, k = 1000;
    for (const DType t : {DType::float32, DType::float64, DType::bfloat16}) {
        Array a(t, {m, k}), b(t, {n, k}), out(t, {m, n});
        a.randomize(1), b.randomize(2);
        const Equation equation("mk,nk->mn");
        contract(a.view(), b.view(), out.view(), equation.labels());
        for (std::int64_t i = 0; i < m; ++i) {
            Array row(t, {1, n});
            const View one = with_layout(a.view(), a.layout().slice({i, 0}, {1, k}, {1, 1}));
            contract(one, b.view(), row.view(), equation.labels());
            ASSERT_EQ(std::memcmp(row.at(0), out.at(i * n), static_cast<std::size_t>(n) * size_of(t)), 0)
                << name(t) << " row " << i;
        }
    }
}

TEST(Contract, NaNAndInfinityReachTheirRowOrColumnAndNoOther) {
    const std::int64_t n = 9;
    const Settings settings;
    for (const Isa set : isas())
        for (const DType t : {DType::float32, DType::float64, DType::bfloat16, DType::float16})
            for (const double special :
                 {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
                for (std::int64_t at = 0; at < 2 * n * n; ++at) {
                    force_isa(set);
                    Array a(t, {n, n}), b(t, {n, n}), out(t, {n, n}), expected(t, {n, n});
                    a.randomize(1), b.randomize(2);
                    (at < n * n ? a : b).set(at % (n * n), special);
                    contract(a.view(), b.view(), out.view(), Equation("mk,kn->mn").labels());
                    contract_reference(a.view(), b.view(), expected.view(), Equation("mk,kn->mn").labels());
                    ASSERT_EQ(first_difference(out, expected, t), -1);
                    for (std::int64_t i = 0; i < n; ++i)
                        for (std::int64_t j = 0; j < n; ++j) {
                            const bool hit = at < n * n ? i == at / n : j == at % n;
                            ASSERT_EQ(std::isfinite(out.get(i * n + j)), !hit) << name(t) << " at " << at;
                        }
                }
}

TEST(Contract, IgnoresWhatScratchHeldBefore) {
    // Scratch is kept between calls: NaNs of one call must not reach the next, smaller and ragged one.
    Array nan(DType::float32, {300, 800}), out(DType::float32, {300, 300});
    contract(nan.view(), nan.view(), out.view(), Equation("mk,nk->mn").labels());
    EXPECT_TRUE(std::isnan(out.get(0)));
    for (const std::int64_t k : {1, 37, 500, 6200})
        for (const DType t : {DType::float32, DType::bfloat16}) {
            const Case c{Equation("mk,nk->mn"), {{'m', 17}, {'n', 39}, {'k', k}}, t, t};
            ASSERT_NO_FATAL_FAILURE(expect_equal(c, isas(), {1}));
        }
}

TEST(Contract, SubnormalsAreKeptButForBfloat16) {
    for (const DType t : {DType::float32, DType::bfloat16}) {
        Array a(t, {20, 40}), b(t, {40, 30});
        std::mt19937 random(1);
        for (Array* x : {&a, &b})
            for (std::int64_t i = 0; i < x->count(); ++i)
                x->set(i, std::ldexp(static_cast<double>(random() % 255) - 127, -60 - static_cast<int>(random() % 80)));
        const Settings settings;
        std::int64_t subnormal = 0;
        for (const Isa set : isas()) {
            force_isa(set);
            Array out(DType::float32, {20, 30}), expected(DType::float32, {20, 30});
            contract(a.view(), b.view(), out.view(), Equation("mk,kn->mn").labels());
            contract_reference(a.view(), b.view(), expected.view(), Equation("mk,kn->mn").labels());
            EXPECT_EQ(first_difference(out, expected, DType::float32), -1) << name(t) << " " << name(set);
            for (std::int64_t i = 0; i < out.count(); ++i)
                subnormal += std::fpclassify(out.get(i)) == FP_SUBNORMAL ||
                             (out.get(i) != 0 && std::fabs(out.get(i)) < 0x1p-126);
        }
        EXPECT_EQ(subnormal > 0, t == DType::float32);
    }
}

#if defined(__x86_64__)
TEST(Contract, LeavesTheFloatingPointEnvironmentAsItWas) {
    Array a(DType::bfloat16, {30, 400}), b(DType::bfloat16, {400, 30}), out(DType::bfloat16, {30, 30});
    a.randomize(1), b.randomize(2);
    const unsigned before = _mm_getcsr();
    for (const unsigned mode : {0x1f80u, 0x1f80u | 0x8040u, 0x1f80u | 0x6000u}) {
        _mm_setcsr(mode);
        contract(a.view(), b.view(), out.view(), Equation("mk,kn->mn").labels());
        const unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        EXPECT_EQ(after, mode);
    }
}

TEST(Contract, BitsDoNotDependOnTheCallersRoundingMode) {
    const Case c{Equation("mk,kn->mn"), {{'m', 20}, {'n', 40}, {'k', 500}}};
    Array a = c.operand_a(), b = c.operand_b(), expected = c.output(), out = c.output();
    contract(a.view(), b.view(), expected.view(), c.equation.labels());
    const unsigned before = _mm_getcsr();
    _mm_setcsr(0x1f80u | 0x6000u | 0x8040u);
    contract(a.view(), b.view(), out.view(), c.equation.labels());
    _mm_setcsr(before);
    EXPECT_EQ(first_difference(out, expected, DType::float32), -1);
}
#endif

// k of two axes, one of which runs along memory: gradients of Kronecker factors.
TEST(Contract, SumsOverTwoAxesInRunsEqualTheReference) {
    for (const char* equation : {"tba,tdb->da", "tdb,tba->da", "tdb,teb->ed", "gtdb,tbag->gad"})
        for (const std::int64_t run : {7, 9, 16, 33, 100})
            for (const DType type : kDTypes)
                expect_equal({Equation(equation),
                              {{'t', 13}, {'b', run}, {'a', 21}, {'d', 19}, {'e', 5}, {'g', 2}},
                              type,
                              wide_output(type)},
                             isas(), {2});
}

// Gradients of weights: both operands, or one, have batches side by side for each k.
TEST(Contract, InterleavedBatchesEqualTheReference) {
    const auto declined = [](const Case& c) {
        Array a = c.operand_a(), b = c.operand_b(), out = c.output();
        const Labels labels = c.equation.labels();
        const AxisRoles roles = assign_roles(a.view(), b.view(), out.view(), labels);
        for (const dense::Candidate& row : dense::candidates(roles, a.view(), b.view(), out.view(), {}, {}))
            if (std::string(row.name) == "interleaved") return std::string(row.declines ? row.declines : "");
        return std::string("no such row");
    };
    for (const char* equation : {"kgm,kgn->gmn", "gmk,kgn->gmn", "gmk,kgn->gnm", "kgm,gnk->mgn", "kgm,kgn->ngm"})
        for (const auto& [g, m, n, k] : {std::array<std::int64_t, 4>{5, 8, 8, 128},
                                         {9, 33, 47, 385},
                                         {3, 64, 64, 900},
                                         {2, 2, 17, 400},
                                         {4, 15, 36, 385},
                                         {6, 36, 15, 64},
                                         {4, 86, 128, 64},
                                         {7, 17, 33, 64},
                                         {3, 40, 32, 512},
                                         {20, 48, 30, 130}})
            for (const DType type : {DType::float32, DType::float64}) {
                const Case c{Equation(equation), {{'g', g}, {'m', m}, {'n', n}, {'k', k}}, type, type};
                EXPECT_EQ(declined(c), "") << equation << " " << describe(c);
                expect_equal(c, isas(), {1, 3});
            }
    // Short sums, by generated kernels where the CPU runs them.
    for (const char* equation : {"gmk,kgn->gmn", "gmk,kgn->mgn", "gmk,kgn->gnm", "mgk,kgn->gmn"})
        for (const auto& [g, m, n, k] : {std::array<std::int64_t, 4>{16, 16, 16, 64},
                                         {5, 32, 32, 64},
                                         {3, 7, 47, 33},
                                         {4, 64, 64, 48},
                                         {12, 32, 36, 64},
                                         {3, 64, 20, 36},
                                         {2, 100, 17, 5}})
            for (const DType type : {DType::float32, DType::float64}) {
                const Case c{Equation(equation), {{'g', g}, {'m', m}, {'n', n}, {'k', k}}, type, type};
                // Rows that fill vectors become the columns of another way.
                const std::int64_t lanes = type == DType::float32 ? 16 : 8, columns = (n + lanes - 1) / lanes * lanes;
                const bool exchanged = std::string(equation) == "gmk,kgn->gnm" && m <= 64 && m % lanes == 0 &&
                                       4 * columns >= 5 * n && dense::generates_kernels() && !caches().large_l2();
                EXPECT_EQ(declined(c).empty(), !exchanged && (k >= 48 || dense::generates_kernels()))
                    << equation << " " << describe(c);
                expect_equal(c, isas(), {1, 3});
            }
    // What it declines.
    const Extents extents{{'g', 4}, {'m', 8}, {'n', 8}, {'k', 200}};
    EXPECT_NE(declined({Equation("gmk,gkn->gmn"), extents}), "");
    EXPECT_NE(declined({Equation("kgm,kgn->gmn"), {{'g', 4}, {'m', 8}, {'n', 8}, {'k', 6200}}}), "");
    EXPECT_NE(declined({Equation("kgm,kgn->gmn"), extents, DType::bfloat16, DType::float32}), "");
}

}  // namespace
}  // namespace tenon::product
