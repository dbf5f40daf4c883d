// Attention on the device, by cuDNN and by products, against attention written out in float64.
#include "cuda/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda/attention/cudnn.h"
#include "cuda/gpu_testing.h"
#include "cuda/loops.h"
#include "product/attention/testing.h"

namespace tenon::cuda {
namespace {

using product::Attention;
using product::testing::Array;
using product::testing::AttentionCase;
using product::testing::AttentionOperands;
using product::testing::WrittenOut;

using AttentionGpuTest = testing::GpuTest;

/// A view's elements in the device's memory, row-major.
class Moved {
  public:
    explicit Moved(Gpu& gpu, const View& v) : gpu_(gpu) {
        Layout l = v.layout;
        const std::int64_t bytes = count(v.shape()) * static_cast<std::int64_t>(size_of(v.dtype));
        storage_ = gpu.allocate(bytes);
        view = {storage_->data(), v.dtype, Layout::contiguous(l.shape)};
        std::vector<std::byte> packed(static_cast<std::size_t>(bytes));
        if (bytes > 0) {
            const View to{packed.data(), v.dtype, view.layout};
            const DType t = v.dtype;
            tape::run(tape::Tape{{t}, {}, {0}}, {&v, 1}, {&to, 1});
            copy_to_device(gpu, packed.data(), view);
        }
    }
    Moved(Gpu& gpu, DType dtype, const Shape& shape) : gpu_(gpu) {
        const std::int64_t bytes = count(shape) * static_cast<std::int64_t>(size_of(dtype));
        storage_ = gpu.allocate(bytes);
        if (bytes > 0) gpu.fill_bytes(storage_->data(), 0xff, bytes);
        view = {storage_->data(), dtype, Layout::contiguous(shape)};
    }
    std::vector<double> values() const {
        const std::size_t size = size_of(view.dtype);
        std::vector<std::byte> raw(static_cast<std::size_t>(count(view.shape())) * size);
        if (!raw.empty()) gpu_.to_host(raw.data(), view.data, static_cast<std::int64_t>(raw.size()));
        std::vector<double> v;
        for (std::size_t i = 0; i < raw.size(); i += size)
            v.push_back(product::testing::to_double(raw.data() + i, view.dtype));
        return v;
    }
    View view;

  private:
    Gpu& gpu_;
    std::shared_ptr<Storage> storage_;
};

struct Problem {
    Problem(Gpu& g, const AttentionCase& c)
        : gpu(g),
          host(c),
          q(g, host.q.view()),
          k(g, host.k.view()),
          v(g, host.v.view()),
          ct(g, host.ct.view()),
          bias(g, host.bias.view()),
          mask(g, host.mask.view()),
          lengths(g, host.lengths.view()),
          out(g, c.dtype, {c.batch, c.queries, c.heads, c.value_depth}),
          logsumexp(g, host.wide(), {c.batch, c.heads, c.queries}),
          dq(g, c.dtype, {c.batch, c.queries, c.heads, c.depth}),
          dk(g, c.dtype, {c.batch, c.keys, c.kv_heads, c.depth}),
          dv(g, c.dtype, {c.batch, c.keys, c.kv_heads, c.value_depth}) {
        a.q = q.view, a.k = k.view, a.v = v.view;
        const Shape all{c.batch, c.heads, c.queries, c.keys};
        if (c.bias) a.bias = with_layout(bias.view, bias.view.layout.broadcast(all));
        if (c.mask) a.mask = with_layout(mask.view, mask.view.layout.broadcast(all));
        if (c.lengths) a.lengths = lengths.view;
        a.scale = c.scale, a.causal = c.causal, a.left = c.left, a.right = c.right;
    }
    product::AttentionGradients gradients() { return {dq.view, dk.view, dv.view}; }

    Gpu& gpu;
    AttentionOperands host;
    Moved q, k, v, ct, bias, mask, lengths, out, logsumexp, dq, dk, dv;
    Attention a;
};

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double error, const char* what) {
    ASSERT_EQ(got.size(), want.size());
    double largest = 0, off = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        largest = std::max(largest, std::abs(want[i]));
        if (!(std::abs(got[i] - want[i]) <= off)) off = std::abs(got[i] - want[i]);
    }
    EXPECT_LE(off, error * (largest + 1e-30) + 1e-30) << what;
}

double error_of(DType t) {
    return t == DType::float64 ? 1e-12 : t == DType::float32 ? 1e-5 : t == DType::float16 ? 5e-3 : 3e-2;
}

std::vector<AttentionCase> cases() {
    const AttentionCase c{.batch = 2,
                          .queries = 100,
                          .keys = 100,
                          .heads = 2,
                          .kv_heads = 2,
                          .depth = 64,
                          .value_depth = 64,
                          .dtype = DType::bfloat16,
                          .scale = 0.125};
    std::vector<AttentionCase> all{c};
    const auto with = [&](auto change) {
        AttentionCase x = c;
        change(x);
        x.seed = static_cast<unsigned>(all.size() + 1);
        all.push_back(x);
    };
    with([](auto& x) { x.causal = true, x.heads = 4; });
    with([](auto& x) { x.kv_heads = 1, x.keys = 96; });
    with([](auto& x) { x.depth = x.value_depth = 128, x.causal = true, x.queries = 128, x.keys = 160; });
    with([](auto& x) { x.causal = true, x.left = 30; });
    with([](auto& x) { x.left = 20, x.right = 12; });
    with([](auto& x) { x.left = 20, x.keys = 60; });  // rows without keys
    with([](auto& x) { x.lengths = true, x.causal = true, x.heads = 4; });
    with([](auto& x) { x.bias = true, x.causal = true, x.heads = 4; });
    with([](auto& x) { x.mask = true; });
    with([](auto& x) { x.mask = true, x.bias = true, x.lengths = true; });
    with([](auto& x) { x.depth = 72, x.value_depth = 40; });
    with([](auto& x) { x.queries = 1; });
    with([](auto& x) { x.dtype = DType::float16, x.causal = true; });
    with([](auto& x) { x.dtype = DType::float16, x.kv_heads = 1, x.bias = true; });
    with([](auto& x) { x.depth = 20, x.value_depth = 36; });
    with([](auto& x) { x.dtype = DType::float32, x.causal = true, x.kv_heads = 1; });
    with([](auto& x) { x.dtype = DType::float32, x.mask = true, x.bias = true, x.lengths = true; });
    with([](auto& x) { x.dtype = DType::float64, x.left = 7, x.keys = 90; });
    return all;
}

std::vector<std::vector<double>> results(const Problem& p) {
    return {p.out.values(), p.dq.values(), p.dk.values(), p.dv.values()};
}
void expect_near(const std::vector<std::vector<double>>& got, const WrittenOut& want, DType dtype, const char* way) {
    const double error = error_of(dtype);
    expect_near(got[0], want.out, error, way);
    expect_near(got[1], want.dq, error, way);
    expect_near(got[2], want.dk, error, way);
    expect_near(got[3], want.dv, error, way);
}

TEST_F(AttentionGpuTest, IsAttentionInFloat64) {
    Gpu& gpu = Gpu::at(0);
    for (const AttentionCase& c : cases()) {
        Problem p(gpu, c);
        const WrittenOut want(c, p.host);
        SCOPED_TRACE(c.describe() + "; cuDNN: " + cudnn_declines(gpu, p.a));
        const auto twice = [&](const char* way, const auto& run) {
            run();
            const auto got = results(p);
            expect_near(got, want, c.dtype, way);
            run();
            EXPECT_EQ(results(p), got) << way;  // NaN is not equal to itself
        };
        twice("as it comes", [&] {
            attend(gpu, p.a, p.out.view, p.logsumexp.view.data);
            attention_gradient(gpu, p.a, p.out.view, p.logsumexp.view.data, p.ct.view, p.gradients());
        });
        twice("products", [&] {
            detail::attend_by_products(gpu, p.a, p.out.view, p.logsumexp.view.data);
            detail::gradient_by_products(gpu, p.a, p.out.view, p.logsumexp.view.data, p.ct.view, p.gradients());
        });
        // What products keep of the forward pass serves the gradient by cuDNN, too, where cuDNN takes it.
        attention_gradient(gpu, p.a, p.out.view, p.logsumexp.view.data, p.ct.view, p.gradients());
        expect_near(results(p), want, c.dtype, "gradients of products' result");
    }
}

TEST_F(AttentionGpuTest, GradientsInParts) {
    Gpu& gpu = Gpu::at(0);
    for (AttentionCase c : cases()) {
        if (c.dtype != DType::bfloat16 || !c.causal || c.depth != 64) continue;
        Problem p(gpu, c);
        const WrittenOut want(c, p.host);
        SCOPED_TRACE(c.describe());
        attend(gpu, p.a, p.out.view, p.logsumexp.view.data);
        attention_gradient(gpu, p.a, p.out.view, p.logsumexp.view.data, p.ct.view, p.gradients());
        const auto whole = results(p);
        for (const std::int64_t queries : {c.queries, std::int64_t{48}}) {
            const std::string declines = detail::gradient_in_parts(gpu, p.a, p.out.view, p.logsumexp.view.data,
                                                                   p.ct.view, p.gradients(), 1, queries);
            if (!cudnn::absent().empty()) GTEST_SKIP() << declines;
            EXPECT_EQ(declines, "");
            expect_near(results(p), want, c.dtype, "parts");
            EXPECT_TRUE(queries < c.queries || results(p) == whole) << "heads by themselves have the bits of all";
        }
    }
}

/// A batch that repeats one element.
TEST_F(AttentionGpuTest, BitsDoNotDependOnThePlace) {
    Gpu& gpu = Gpu::at(0);
    for (AttentionCase c : cases()) {
        if (c.lengths || c.mask || c.seed % 4 != 1) continue;
        c.batch = 3;
        Problem p(gpu, c);
        for (View* v : {&p.a.q, &p.a.k, &p.a.v}) v->layout.strides[0] = 0;
        View ct = p.ct.view;
        ct.layout.strides[0] = 0;
        attend(gpu, p.a, p.out.view, p.logsumexp.view.data);
        attention_gradient(gpu, p.a, p.out.view, p.logsumexp.view.data, ct, p.gradients());
        for (const std::vector<double>& x : results(p)) {
            const auto n = static_cast<std::ptrdiff_t>(x.size() / 3);
            for (int b = 1; b < 3; ++b)
                EXPECT_TRUE(std::equal(x.begin(), x.begin() + n, x.begin() + b * n)) << c.describe() << ' ' << b;
        }
    }
}

/// Weights of 2 heads at this length are 4 GB.
TEST_F(AttentionGpuTest, MemoryDoesNotGrowWithTheWeights) {
    Gpu& gpu = Gpu::at(0);
    constexpr std::int64_t kLength = 32768, kBytes = kLength * 2 * 64 * 2, kChunks = std::int64_t{1} << 30;
    const std::int64_t parts = gpu.memory_bytes() / 16;
    const Shape shape{1, kLength, 2, 64};
    const Moved q(gpu, DType::bfloat16, shape), out(gpu, DType::bfloat16, shape), dq(gpu, DType::bfloat16, shape),
        dk(gpu, DType::bfloat16, shape), dv(gpu, DType::bfloat16, shape),
        logsumexp(gpu, DType::float32, {1, 2, kLength});
    gpu.fill_bytes(q.view.data, 0, kBytes);
    Attention a;
    a.q = a.k = a.v = q.view;
    a.causal = true, a.scale = 0.125;
    const auto growth = [&](const auto& run) {
        const std::int64_t before = gpu.memory_statistics().in_use;
        gpu.reset_peak_memory();
        run();
        gpu.synchronize();
        return gpu.memory_statistics().peak_in_use - before;
    };
    const bool cudnn = cudnn_declines(gpu, a).empty();
    EXPECT_LE(growth([&] { attend(gpu, a, out.view, logsumexp.view.data); }), cudnn ? 2 * kBytes : kChunks);
    EXPECT_LE(growth([&] {
                  attention_gradient(gpu, a, out.view, logsumexp.view.data, q.view, {dq.view, dk.view, dv.view});
              }),
              parts + kChunks / 4 + 8 * kBytes);
    EXPECT_LE(
        growth([&] {
            detail::gradient_by_products(gpu, a, out.view, logsumexp.view.data, q.view, {dq.view, dk.view, dv.view});
        }),
        kChunks);
    for (const Moved* x : {&out, &dq, &dk, &dv}) {
        const auto values = x->values();
        EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](double v) { return v == 0; }));
    }
}

TEST_F(AttentionGpuTest, ALengthOutsideShowsWhenRead) {
    Gpu& gpu = Gpu::at(0);
    for (const DType dtype : {DType::bfloat16, DType::float32}) {
        AttentionCase c{.dtype = dtype};
        c.lengths = true;
        Problem p(gpu, c);
        const std::int64_t long_one = 8;
        gpu.to_device(p.lengths.view.data, &long_one, 8);
        attend(gpu, p.a, p.out.view, p.logsumexp.view.data);
        try {
            gpu.synchronize();
            ADD_FAILURE() << name(dtype);
        } catch (const Error& e) {
            EXPECT_NE(std::string(e.what()).find("length 8 is outside [0, 8)"), std::string::npos) << e.what();
        }
    }
}

TEST_F(AttentionGpuTest, SaysWhyCudnnIsNotAsked) {
    if (!cudnn::absent().empty()) GTEST_SKIP() << cudnn::absent();
    Gpu& gpu = Gpu::at(0);
    AttentionCase c{.depth = 64, .value_depth = 64, .dtype = DType::bfloat16};
    EXPECT_EQ(cudnn_declines(gpu, Problem(gpu, c).a), "");
    c.depth = 20;
    EXPECT_NE(cudnn_declines(gpu, Problem(gpu, c).a).find("eights"), std::string::npos);
    c.depth = 64, c.dtype = DType::float32;
    EXPECT_NE(cudnn_declines(gpu, Problem(gpu, c).a).find("float32"), std::string::npos);
}

}  // namespace
}  // namespace tenon::cuda
