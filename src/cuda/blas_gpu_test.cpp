// Products on the device against float64, for contractions of any axes and strides. Bits are the same each time.
#include "cuda/blas.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "base/text.h"
#include "cuda/gpu_testing.h"
#include "cuda/loops.h"
#include "tape/testing.h"

namespace tenon::cuda {
namespace {

using tape::testing::Array;

class BlasGpuTest : public testing::GpuTest {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (!IsSkipped() && !blas_absent().empty()) GTEST_SKIP() << blas_absent();
    }
};

std::vector<std::uint8_t> labels_of(const std::string& letters) {
    std::vector<std::uint8_t> l;
    for (const char c : letters) l.push_back(static_cast<std::uint8_t>(c - 'a'));
    return l;
}

Array as_doubles(Array& a, const View& v) {
    Array d(DType::float64, v.shape());
    const View to = d.view();
    const DType type = a.dtype;
    tape::run(type == DType::float64 ? tape::Tape{{type}, {}, {0}}
                                     : tape::single(tape::Opcode::cast, {&type, 1}, DType::float64),
              {&v, 1}, {&to, 1});
    return d;
}

struct Placed {
    Array host;
    std::shared_ptr<Storage> storage;
    Layout layout;
    View device() const { return with_layout({storage->data(), host.dtype, layout}, layout); }
    View on_host() { return host.view(layout); }
};

/// An operand whose axes are stored in the order of `order` (slowest first), with `gap` elements after the last one.
Placed placed(DType dtype, const std::string& letters, const std::string& order,
              const std::map<char, std::int64_t>& extents, std::int64_t gap, unsigned seed) {
    Shape shape;
    for (const char c : letters) shape.push_back(extents.at(c));
    Layout layout{shape, Strides(shape.rank(), 0), 0};
    std::int64_t stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
        layout.strides[static_cast<int>(letters.find(order[i]))] = stride;
        stride *= extents.at(order[i]) + (i + 1 == order.size() ? gap : 0);
    }
    Placed p{tape::testing::random_array(dtype, {std::max<std::int64_t>(stride, 1)}, seed), nullptr, layout};
    p.storage = Gpu::at(0).allocate(static_cast<std::int64_t>(p.host.bytes.size()));
    Gpu::at(0).to_device(p.storage->data(), p.host.bytes.data(), p.storage->bytes());
    return p;
}

void check(DType dtype, const std::string& a, const std::string& a_order, const std::string& b,
           const std::string& b_order, const std::string& out, const std::string& out_order,
           const std::map<char, std::int64_t>& extents, std::int64_t gap = 0) {
    const std::string what = text(name(dtype), ' ', a_order, ',', b_order, "->", out_order, " gap ", gap);
    Placed x = placed(dtype, a, a_order, extents, gap, 1), y = placed(dtype, b, b_order, extents, gap, 2),
           z = placed(dtype, out, out_order, extents, gap, 3);
    const auto la = labels_of(a), lb = labels_of(b), lo = labels_of(out);
    const product::Labels labels{la, lb, lo};
    ASSERT_TRUE(contract(Gpu::at(0), x.device(), y.device(), z.device(), labels)) << what;
    Array first = z.host, second = z.host;
    Gpu::at(0).to_host(first.bytes.data(), z.storage->data(), z.storage->bytes());
    contract(Gpu::at(0), x.device(), y.device(), z.device(), labels);
    Gpu::at(0).to_host(second.bytes.data(), z.storage->data(), z.storage->bytes());
    EXPECT_EQ(first.bytes, second.bytes) << what;

    Array dx = as_doubles(x.host, x.on_host()), dy = as_doubles(y.host, y.on_host());
    Array expected(DType::float64, z.layout.shape), magnitude = expected;
    product::contract(dx.view(), dy.view(), expected.view(), labels);
    for (Array* d : {&dx, &dy})
        for (std::int64_t i = 0; i < d->size(); ++i) d->at<double>(i) = std::abs(d->at<double>(i));
    product::contract(dx.view(), dy.view(), magnitude.view(), labels);
    Array got = as_doubles(first, first.view(z.layout));
    const double rounding = dtype == DType::float64   ? 1e-13
                            : dtype == DType::float32 ? 1e-5
                            : dtype == DType::float16 ? 1e-3
                                                      : 8e-3;
    for (std::int64_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(got.at<double>(i), expected.at<double>(i), rounding * magnitude.at<double>(i))
            << what << " at " << i;
}

const std::map<char, std::int64_t> kExtents{{'a', 4},  {'b', 3}, {'m', 65}, {'n', 48},
                                            {'k', 96}, {'p', 5}, {'q', 7},  {'o', 1}};

TEST_F(BlasGpuTest, MatricesInEveryOrder) {
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
        for (const char* a : {"mk", "km"})
            for (const char* b : {"kn", "nk"})
                for (const char* out : {"mn", "nm"})
                    for (const std::int64_t gap : {0, 8, 3}) check(dtype, "mk", a, "kn", b, "mn", out, kExtents, gap);
}

TEST_F(BlasGpuTest, VectorsAndExtentsOfOne) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        check(dtype, "k", "k", "kn", "kn", "n", "n", kExtents);
        check(dtype, "mk", "mk", "k", "k", "m", "m", kExtents);
        check(dtype, "k", "k", "k", "k", "", "", kExtents);
        check(dtype, "m", "m", "n", "n", "mn", "mn", kExtents);
        check(dtype, "mo", "mo", "on", "on", "mn", "nm", kExtents);
        check(dtype, "ok", "ok", "kn", "nk", "on", "on", kExtents);
        check(dtype, "am", "am", "am", "am", "am", "am", kExtents);
        check(dtype, "amk", "amk", "ak", "ka", "am", "ma", kExtents);
    }
}

TEST_F(BlasGpuTest, BatchesAndManyAxes) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        check(dtype, "amk", "amk", "akn", "akn", "amn", "amn", kExtents);
        check(dtype, "amk", "mak", "akn", "kan", "amn", "man", kExtents);
        check(dtype, "abmk", "ambk", "abkn", "abkn", "abmn", "ambn", kExtents);
        check(dtype, "abmk", "mkab", "abkn", "nkba", "abmn", "nbma", kExtents);
        check(dtype, "pmk", "pmk", "kn", "nk", "pmn", "pmn", kExtents);
        check(dtype, "pmk", "mpk", "knq", "qkn", "pmnq", "qmpn", kExtents);
        check(dtype, "mkp", "mkp", "kpn", "kpn", "mn", "mn", kExtents);
        check(dtype, "mkp", "pmk", "kpn", "npk", "mn", "mn", kExtents);
        check(dtype, "mkpq", "qmkp", "kpnq", "kqnp", "mn", "nm", kExtents, 3);
    }
}

TEST_F(BlasGpuTest, BatchesOfSmallProducts) {
    using Extents = std::map<char, std::int64_t>;
    for (const auto& e :
         {Extents{{'a', 540}, {'m', 64}, {'n', 64}, {'k', 64}}, Extents{{'a', 540}, {'m', 32}, {'n', 32}, {'k', 32}},
          Extents{{'a', 270}, {'m', 48}, {'n', 64}, {'k', 128}}, Extents{{'a', 540}, {'m', 40}, {'n', 56}, {'k', 88}}})
        for (const char* a : {"amk", "akm"})
            for (const char* b : {"akn", "ank"})
                check(e.at('k') == 32 ? DType::float16 : DType::bfloat16, "amk", a, "akn", b, "amn",
                      e.at('k') == 64 ? "anm" : "amn", e);
    const Extents two{{'a', 40}, {'b', 16}, {'m', 48}, {'n', 32}, {'k', 64}};
    check(DType::bfloat16, "abmk", "ambk", "abkn", "bakn", "abmn", "ambn", two);
    check(DType::bfloat16, "abmk", "abmk", "bkn", "bnk", "abmn", "banm", two);
}

TEST_F(BlasGpuTest, FewRowsOfHalves) {
    for (const std::int64_t m : {1, 7, 16, 17, 32})
        for (const char* b : {"kn", "nk"}) {
            const std::map<char, std::int64_t> extents{{'m', m}, {'n', 1032}, {'k', 1096}};
            check(DType::bfloat16, "mk", "mk", "kn", b, "mn", "mn", extents);
            check(m == 16 ? DType::float16 : DType::bfloat16, "kn", b, "mk", "mk", "mn", "mn", extents, 8);
        }
    check(DType::bfloat16, "mk", "mk", "kn", "kn", "mn", "mn", {{'m', 9}, {'n', 4104}, {'k', 1032}});
    check(DType::bfloat16, "mk", "mk", "kn", "kn", "mn", "mn", {{'m', 9}, {'n', 1024}, {'k', 4104}});
}

TEST_F(BlasGpuTest, RowsOfHalvesHaveTheirBitsAtAnyPlace) {
    const auto lb = labels_of("kn"), la = labels_of("mk"), lo = labels_of("mn");
    constexpr std::int64_t kN = 2056, kK = 4104, kM = 32;
    const std::map<char, std::int64_t> extents{{'m', kM}, {'n', kN}, {'k', kK}};
    const Placed x = placed(DType::bfloat16, "mk", "mk", extents, 0, 1),
                 y = placed(DType::bfloat16, "kn", "kn", extents, 0, 2),
                 z = placed(DType::bfloat16, "mn", "mn", extents, 0, 3);
    const auto rows = [&](std::int64_t from, std::int64_t count) {
        View a = x.device(), c = z.device();
        a.data = static_cast<std::byte*>(a.data) + from * kK * 2;
        a.layout.shape[0] = c.layout.shape[0] = count;
        EXPECT_TRUE(contract(Gpu::at(0), a, y.device(), c, {la, lb, lo}));
        std::vector<std::byte> bytes(static_cast<std::size_t>(count * kN * 2));
        Gpu::at(0).to_host(bytes.data(), z.storage->data(), static_cast<std::int64_t>(bytes.size()));
        return bytes;
    };
    const auto all = rows(0, kM);
    for (const auto& [from, count] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {31, 1}, {5, 8}, {3, 16}, {8, 24}}) {
        const auto got = rows(from, count);
        EXPECT_TRUE(std::equal(got.begin(), got.end(), all.begin() + from * kN * 2)) << from << ", " << count;
    }
}

/// Operands and results with any alignment, and any leading dimension.
TEST_F(BlasGpuTest, FewRowsOfHalvesHaveTheirBitsAtAnyAlignment) {
    const auto la = labels_of("mk"), lb = labels_of("kn"), lo = labels_of("mn");
    for (const std::int64_t m : {1, 16})
        for (const char* b_order : {"kn", "nk"}) {
            const std::map<char, std::int64_t> extents{{'m', m}, {'n', 1032}, {'k', 1096}};
            const Placed x = placed(DType::bfloat16, "mk", "mk", extents, 0, 1),
                         y = placed(DType::bfloat16, "kn", b_order, extents, 0, 2),
                         z = placed(DType::bfloat16, "mn", "mn", extents, 0, 3);
            const auto result = [&](const View& a, const View& b, const View& c) {
                EXPECT_TRUE(contract(Gpu::at(0), a, b, c, {la, lb, lo}));
                copy(Gpu::at(0), c, z.device());
                std::vector<std::byte> bytes(z.host.bytes.size());
                Gpu::at(0).to_host(bytes.data(), z.storage->data(), z.storage->bytes());
                return bytes;
            };
            const auto expected = result(x.device(), y.device(), z.device());
            for (const std::int64_t gap : {0, 3, 8})
                for (const std::int64_t start : {0, 1, 4}) {
                    std::vector<std::shared_ptr<Storage>> storage;
                    const auto moved = [&](const Placed& from, const char* order, const char* letters) {
                        Placed to = placed(DType::bfloat16, letters, order, extents, gap, 4);
                        to.layout.offset = 0;
                        storage.push_back(Gpu::at(0).allocate(to.storage->bytes() + 16));
                        View v = to.device();
                        v.data = static_cast<std::byte*>(storage.back()->data()) + 2 * start;
                        copy(Gpu::at(0), from.device(), v);
                        return v;
                    };
                    EXPECT_EQ(result(moved(x, "mk", "mk"), moved(y, b_order, "kn"), moved(z, "mn", "mn")), expected)
                        << m << ' ' << b_order << ", gap " << gap << ", start " << start;
                }
        }
}

/// Timing decides which algorithm is taken, so all of them must give the same bits.
TEST_F(BlasGpuTest, AlgorithmsThatAreTimedGiveTheSameBits) {
    struct Sizes {
        std::int64_t m, n, k, gap = 0;
    };
    const auto la = labels_of("mk"), lb = labels_of("kn"), lo = labels_of("mn");
    for (const Sizes& s : {Sizes{1024, 1024, 1024},
                           {256, 4096, 1024},
                           {16, 4096, 4096},
                           {1, 4096, 4096},
                           {2048, 512, 520},
                           {96, 80, 8192},
                           {300, 1000, 4104},
                           {512, 512, 512, 8}})
        for (const DType dtype : {DType::bfloat16, DType::float16})
            for (const char* b_order : {"kn", "nk"}) {
                const std::map<char, std::int64_t> extents{{'m', s.m}, {'n', s.n}, {'k', s.k}};
                const Placed x = placed(dtype, "mk", "mk", extents, s.gap, 1),
                             y = placed(dtype, "kn", b_order, extents, s.gap, 2),
                             z = placed(dtype, "mn", "mn", extents, 0, 3);
                Array first = z.host, now = z.host;
                for (detail::nth_algorithm = 0; detail::nth_algorithm < 8; ++detail::nth_algorithm) {
                    Gpu::at(0).fill_bytes(z.storage->data(), 0xff, z.storage->bytes());
                    contract(Gpu::at(0), x.device(), y.device(), z.device(), {la, lb, lo});
                    Array& got = detail::nth_algorithm == 0 ? first : now;
                    Gpu::at(0).to_host(got.bytes.data(), z.storage->data(), z.storage->bytes());
                    if (detail::nth_algorithm == 0) continue;
                    EXPECT_EQ(now.bytes, first.bytes) << name(dtype) << ' ' << s.m << 'x' << s.n << 'x' << s.k << ' '
                                                      << b_order << ", algorithm " << detail::nth_algorithm;
                }
                detail::nth_algorithm = -1;
                contract(Gpu::at(0), x.device(), y.device(), z.device(), {la, lb, lo});
                Gpu::at(0).to_host(now.bytes.data(), z.storage->data(), z.storage->bytes());
                EXPECT_EQ(now.bytes, first.bytes) << name(dtype) << ", timed";
            }
}

TEST_F(BlasGpuTest, NothingSummedGivesZero) {
    std::map<char, std::int64_t> extents = kExtents;
    extents['k'] = 0;
    check(DType::float32, "mk", "mk", "kn", "kn", "mn", "mn", extents);
    extents['m'] = 0;
    check(DType::float32, "mk", "mk", "kn", "kn", "mn", "mn", extents);
}

TEST_F(BlasGpuTest, IntegersAreLeftToTheHost) {
    const Array a(DType::int32, {2, 2});
    const View v{nullptr, DType::int32, Layout::contiguous({2, 2})};
    const std::uint8_t x[] = {0, 1}, y[] = {1, 2}, z[] = {0, 2};
    EXPECT_FALSE(contract(Gpu::at(0), v, v, v, {x, y, z}));
}

}  // namespace
}  // namespace tenon::cuda
