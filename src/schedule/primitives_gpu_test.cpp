// Every primitive on the device, from the registry alone: the host's bits on its samples, in every floating dtype, node
// by node; products within the rounding of their dtype.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda/gpu_testing.h"
#include "primitive/primitive.h"
#include "primitive/testing.h"
#include "schedule/evaluate.h"
#include "schedule/place.h"
#include "schedule/random_graph_testing.h"
#include "tenon/error.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace tenon::schedule {
namespace {

using PrimitivesGpuTest = cuda::testing::GpuTest;

constexpr Device kGpu = Device::cuda(0);
constexpr DType kDTypes[] = {DType::float32, DType::bfloat16, DType::float16, DType::float64, DType::int64,
                             DType::int32,   DType::int8,     DType::uint8,   DType::uint64,  DType::boolean};

/// Leaves, which have no operands to sample, and what is tested by itself.
const std::set<std::string_view> kNoSamples{"input", "given_up", "argument",    "scalar",       "constant",
                                            "iota",  "custom",   "random_bits", "custom_linear"};
/// What has no device code: it is computed on the host.
const std::set<std::string_view> kOnHost{"argsort",          "cholesky",  "eigh",    "lu",      "qr",      "svd",
                                         "triangular_solve", "eigh_part", "lu_part", "qr_part", "svd_part"};

/// The node's value from operands moved to the device, back on the host.
Array on_device(const Node& n) {
    std::vector<Array> moved;
    std::vector<View> in;
    for (Node* i : n.inputs) {
        tensor_of(i).eval();
        moved.push_back(move_to(*i->value(), kGpu));
        in.push_back(moved.back().view);
    }
    Layout layout;
    if (n.primitive->view && n.primitive->view(n, in[0].layout, layout))
        return move_to({moved[0].storage, with_layout(in[0], layout)}, Device::cpu());
    const std::int64_t bytes = count(n.shape) * static_cast<std::int64_t>(size_of(n.dtype));
    auto storage = allocate(kGpu, bytes);
    const View out{storage->data(), n.dtype, Layout::contiguous(n.shape)};
    run_node(kGpu, n, in, out);
    return move_to({storage, out}, Device::cpu());
}

Tensor tensor_of_array(const Array& a) {
    const auto keep = a.storage;
    return Tensor::wrap(a.view.data, a.view.dtype, a.view.layout, [keep] {});
}

TEST_F(PrimitivesGpuTest, Samples) {
    struct Case {
        const Primitive* primitive;
        DType dtype;
        Tensor t, want;
        std::optional<Array> got;
        std::string error;
    };
    std::vector<Case> cases;
    std::set<std::string_view> seen;
    for (const Primitive* p : primitives()) {
        if (!p->samples || p->name == "to_device" || p->name == "custom_linear") continue;
        for (const Sample& s : p->samples())
            for (const DType dtype : kDTypes) {
                try {
                    const Tensor t = s.apply(draw(s, dtype, 7));
                    for (Node* i : t.node()->inputs) tensor_of(i).eval();
                    cases.push_back({p, dtype, t, tensor_of_array(compute(*t.node())), {}, {}});
                    seen.insert(t.node()->primitive->name);
                } catch (const Error&) {  // not of this dtype, or a map that the host does not compute either
                }
            }
    }
    // Nearly all of the time is the compiler's, so threads take cases in turn.
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::min(16u, std::max(1u, std::thread::hardware_concurrency())); ++i)
        threads.emplace_back([&] {
            for (std::size_t c = next++; c < cases.size(); c = next++) try {
                    cases[c].got = on_device(*cases[c].t.node());
                } catch (const std::exception& e) {
                    cases[c].error = e.what();
                }
        });
    for (std::thread& t : threads) t.join();
    for (const Case& c : cases) {
        const Primitive* p = c.primitive;
        if (!c.got) {
            ADD_FAILURE() << p->name << ' ' << name(c.dtype) << ": " << c.error;
            continue;
        }
        const Tensor got = tensor_of_array(*c.got);
        if (c.t.node()->primitive->role != Role::product || !is_floating(c.dtype)) {
            EXPECT_TRUE(testing::same_bits(got, c.want)) << p->name << ' ' << name(c.dtype) << "\n"
                                                         << to_string(got) << "\n"
                                                         << to_string(c.want);
            continue;
        }
        const double error = c.dtype == DType::float64 ? 1e-12 : c.dtype == DType::float32 ? 1e-5 : 2e-2;
        const auto a = got.to<double>(), b = c.want.to<double>();
        for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], error * (1 + std::abs(b[i]))) << p->name;
    }
    for (const Primitive* p : primitives())
        EXPECT_TRUE(p->samples || kNoSamples.contains(p->name)) << p->name << " has no samples";
    EXPECT_GT(seen.size(), 50u);
    for (const std::string& name : computed_on_host())
        EXPECT_TRUE(kOnHost.contains(name)) << name << " has no device code";
}

TEST_F(PrimitivesGpuTest, IndicesOfEveryOrder) {
    const Tensor x = random::normal(random::Key(1), {50, 7}).eval();
    const Tensor indices = astype(floor(random::uniform(random::Key(2), {300}) * 50), DType::int64).eval();
    const Tensor updates = random::normal(random::Key(3), {300, 7}).eval();
    const auto moved = [](const Tensor& t) { return to_device(t, kGpu); };
    const auto back = [](const Tensor& t) { return to_device(t, Device::cpu()); };
    const auto placed = [](const Tensor& t) { return to_device(t, Device::cpu()); };
    const Tensor cx = placed(x), ci = placed(indices), cu = placed(updates);
    EXPECT_TRUE(testing::same_bits(back(gather(moved(x), moved(indices))), gather(cx, ci)));
    EXPECT_TRUE(testing::same_bits(back(scatter(moved(x), moved(indices), moved(updates))), scatter(cx, ci, cu)));
    EXPECT_TRUE(
        testing::same_bits(back(scatter_add(moved(x), moved(indices), moved(updates))), scatter_add(cx, ci, cu)));
    const Tensor small = astype(ci, DType::int32);
    EXPECT_TRUE(testing::same_bits(back(gather(transpose(moved(reshape(updates, {7, 300})), {1, 0}), moved(small))),
                                   gather(transpose(reshape(cu, {7, 300}), {1, 0}), small)));
}

TEST_F(PrimitivesGpuTest, AnIndexOutsideShowsWhenReadWithItsOperation) {
    const Tensor x = to_device(arange(10.0f), kGpu), at = to_device(Tensor::from<std::int64_t>({1, 10}), kGpu);
    const Tensor rows = to_device(Tensor::from<float>({5, 6}), kGpu);
    const std::pair<const char*, std::function<Tensor()>> all[] = {
        {"gather", [&] { return gather(x, at); }},
        {"scatter", [&] { return scatter(x, at, rows); }},
        {"scatter_add", [&] { return scatter_add(x, at, rows); }},
    };
    for (const auto& [op, f] : all) {
        try {
            f().to<float>();
            FAIL() << op;
        } catch (const ValueError& e) {
            EXPECT_NE(std::string(e.what()).find(std::string(op) + ": index 10 is outside [0, 10)"), std::string::npos)
                << e.what();
        }
    }
    EXPECT_EQ(x.to<float>()[9], 9) << "the device goes on";
}

TEST_F(PrimitivesGpuTest, RowsArePickedBeforeTheyAreCast) {
    const Tensor x = astype(random::normal(random::Key(1), {40, 300}), DType::bfloat16).eval();
    const Tensor labels = random::randint(random::Key(2), {40}, 0, 300).eval();
    const Tensor want = cross_entropy(x, labels).eval();
    const Tensor there = to_device(x, kGpu), at = to_device(labels, kGpu);
    for (int i = 0; i < 3; ++i)  // node by node, then compiled
        EXPECT_EQ(to_device(cross_entropy(there, at), Device::cpu()).to<float>(), want.to<float>());
}

/// How many rows there are says nothing about a device: they are one task, with the host's bits.
TEST_F(PrimitivesGpuTest, AFewRowsAreOneTask) {
    for (const Shape& shape : {Shape{4, 9000}, Shape{1, 600'000}, Shape{3, 140'001}}) {
        const Tensor x = random::normal(random::Key(1), shape).eval(), there = to_device(x, kGpu).eval();
        const auto f = [](const Tensor& t) { return softmax(t * 2); };
        const std::string why = explain(f(there));
        EXPECT_NE(why.find(" rows: "), std::string::npos) << why;
        for (const char* other : {" tape: ", " kernel: "}) EXPECT_EQ(why.find(other), std::string::npos) << why;
        const Tensor want = f(x).eval();
        for (int i = 0; i < 3; ++i)  // node by node, then compiled
            EXPECT_TRUE(testing::same_bits(to_device(f(there), Device::cpu()), want)) << to_string(shape);
    }
}

}  // namespace
}  // namespace tenon::schedule
