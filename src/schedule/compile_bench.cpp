// What compiling costs: a training step of a transformer, by its layers. Recording, walking and looking it up, all of a
// compilation.
#include <benchmark/benchmark.h>

#include <chrono>
#include <tuple>

#include "primitive/leaf.h"
#include "schedule/executable.h"
#include "schedule/family.h"
#include "schedule/layers_testing.h"
#include "schedule/plan.h"
#include "tenon/attention.h"
#include "tenon/functions.h"
#include "tenon/module.h"
#include "tenon/nn.h"
#include "tenon/optim.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kWidth = 64, kHeads = 2, kLength = 32;

Tree layer_parameters(random::Key& key) {
    const auto weight = [&](std::int64_t out, std::int64_t in) {
        return Tree((random::normal(key.next(), {out, in}) * 0.05).eval());
    };
    const auto vector = [&](double v, std::int64_t n) { return Tree(full({n}, v, DType::float32).eval()); };
    Tree t;
    for (const char* norm : {"norm1", "norm2"}) {
        t.set(std::string(norm) + "_weight", vector(1, kWidth));
        t.set(std::string(norm) + "_bias", vector(0, kWidth));
    }
    for (const char* name : {"query", "key", "value", "out"}) t.set(name, weight(kWidth, kWidth));
    t.set("up", weight(4 * kWidth, kWidth)), t.set("up_bias", vector(0, 4 * kWidth));
    t.set("down", weight(kWidth, 4 * kWidth)), t.set("down_bias", vector(0, kWidth));
    return t;
}

Tree parameters(int layers) {
    random::Key key(1);
    Tree t;
    for (int i = 0; i < layers; ++i) t.set("layer" + std::to_string(i), layer_parameters(key));
    return t;
}

Tensor heads(const Tensor& x) {
    const std::int64_t batch = x.extent(0);
    return permute_dims(reshape(x, {batch, kLength, kHeads, kWidth / kHeads}), {0, 2, 1, 3});
}

Tensor layer(const Tree& p, const Tensor& x) {
    const auto at = [&](const char* name) { return p[name].tensor(); };
    const auto linear = [&](const Tensor& v, const char* name) { return matmul(v, matrix_transpose(at(name))); };
    const Tensor n = layer_norm(x, at("norm1_weight"), at("norm1_bias"));
    const Tensor a =
        dot_product_attention(heads(linear(n, "query")), heads(linear(n, "key")), heads(linear(n, "value")));
    const Tensor y = x + linear(reshape(permute_dims(a, {0, 2, 1, 3}), x.shape()), "out");
    const Tensor m = layer_norm(y, at("norm2_weight"), at("norm2_bias"));
    return y + (linear(gelu(linear(m, "up") + at("up_bias")), "down") + at("down_bias"));
}

/// The loss and the next parameters, not computed.
std::vector<Tensor> step(const Tree& params, const Tensor& x) {
    const auto [loss, grads] = testing::loss_and_gradients(layer, params, x);
    const std::vector<Tensor> p = params.leaves(), g = grads.leaves();
    std::vector<Tensor> all{loss};
    for (std::size_t i = 0; i < p.size(); ++i) all.push_back(p[i] - g[i] * 0.01);
    return all;
}

Tensor batch(std::int64_t n) { return random::normal(random::Key(2), {n, kLength, kWidth}).eval(); }

Graph graph_of(const std::vector<Tensor>& roots) {
    std::vector<Node*> nodes;
    for (const Tensor& t : roots) nodes.push_back(t.node());
    return collect(nodes);
}

void layers(benchmark::internal::Benchmark* b) { b->Arg(1)->Arg(6)->Arg(24)->Unit(benchmark::kMillisecond); }

void BM_RecordStep(benchmark::State& state) {
    const Tree params = parameters(static_cast<int>(state.range(0)));
    const Tensor x = batch(4);
    for (auto _ : state) benchmark::DoNotOptimize(step(params, x));
}
BENCHMARK(BM_RecordStep)->Apply(layers);

void BM_LookUpStep(benchmark::State& state) {
    const std::vector<Tensor> roots = step(parameters(static_cast<int>(state.range(0))), batch(4));
    PlanCache cache(std::size_t{64} << 20);
    for (auto _ : state) benchmark::DoNotOptimize(cache.find(graph_of(roots)));
    state.counters["nodes"] = static_cast<double>(graph_of(roots).nodes.size());
}
BENCHMARK(BM_LookUpStep)->Apply(layers);

void BM_CompileStep(benchmark::State& state) {
    const std::vector<Tensor> roots = step(parameters(static_cast<int>(state.range(0))), batch(4));
    const Graph graph = graph_of(roots);
    for (auto _ : state) benchmark::DoNotOptimize(compile(graph, {}));
}
BENCHMARK(BM_CompileStep)->Apply(layers);

/// Another size with the groups of the first: what a second batch size costs.
void BM_CompileStepAgain(benchmark::State& state) {
    const Tree params = parameters(static_cast<int>(state.range(0)));
    const std::vector<Tensor> first = step(params, batch(4)), second = step(params, batch(6));
    std::shared_ptr<const KeptGroups> kept;
    compile(graph_of(first), {}, &kept);
    const Graph graph = graph_of(second);
    if (!kept || !compile_again(graph, {}, *kept)) return state.SkipWithError("the groups do not fit");
    for (auto _ : state) benchmark::DoNotOptimize(compile_again(graph, {}, *kept));
}
BENCHMARK(BM_CompileStepAgain)->Apply(layers);

/// A whole training step of the residual MLP of `tenon train` (width 256, depth 3, 128 images), and how much of it is
/// recording, and walking, hashing and looking up.
void BM_TrainMlp(benchmark::State& state) {
    const random::Key key(1);
    const nn::Mlp model = nn::Mlp::random(key, {.width = state.range(0)});
    const optim::AdamW adam;
    Tree params = tenon::parameters(model), optimizer_state = adam.init(params);
    eval(params);
    const Tensor images = random::normal(key, {128, 784}).eval(),
                 labels = Tensor::from(std::vector<std::int64_t>(128, 3), {128});
    const auto record = [&] {
        return value_and_grad_at(
            [&](const Tree& p) { return cross_entropy(with_parameters(model, p)(images), labels); }, params);
    };
    double recording = 0, looking = 0, all = 0;
    const auto seconds = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
    PlanCache cache(std::size_t{64} << 20);
    for (int i = 0; i < 3; ++i) {
        auto [loss, grads] = record();
        std::tie(params, optimizer_state) =
            adam.update(std::move(params), std::move(grads), std::move(optimizer_state), {loss});
    }
    for (auto _ : state) {
        const double start = seconds();
        auto [loss, grads] = record();
        std::vector<Tensor> next{loss};
        const std::vector<Tensor> p = params.leaves(), g = grads.leaves(), m = optimizer_state["m"].leaves(),
                                  v = optimizer_state["v"].leaves();
        const auto number = [](double x) { return scalar(x, DType::float32); };
        const Tensor beta1 = number(0.9), other1 = number(0.1), beta2 = number(0.99), other2 = number(0.01),
                     kept = number(0.99), rate = number(0.1), second = number(0.5), eps = number(1e-8);
        for (std::size_t i = 0; i < p.size(); ++i) {  // AdamW's nodes
            const Tensor a = m[i] * beta1 + g[i] * other1, b = v[i] * beta2 + g[i] * g[i] * other2;
            next.insert(next.end(), {a, b, p[i] * kept - a * rate / (sqrt(b) * second + eps)});
        }
        const double recorded = seconds();
        benchmark::DoNotOptimize(cache.find(graph_of(next)));
        const double found = seconds();
        next.clear();
        const double before = seconds();
        std::tie(params, optimizer_state) =
            adam.update(std::move(params), std::move(grads), std::move(optimizer_state), {loss});
        recording += recorded - start, looking += found - recorded;
        all += seconds() - before + recorded - start;  // the update is recorded twice
    }
    const auto n = static_cast<double>(state.iterations());
    state.counters["record_ms"] = 1e3 * recording / n;
    state.counters["look_up_ms"] = 1e3 * looking / n;
    state.counters["step_ms"] = 1e3 * all / n;
    state.counters["percent"] = 100 * (recording + looking) / all;
}
BENCHMARK(BM_TrainMlp)->Arg(64)->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);

/// A batch of another size: its plan from the family's, beside the whole of a compilation.
void BM_PlanStepAgain(benchmark::State& state) {
    const Tree params = parameters(static_cast<int>(state.range(0)));
    PlanCache cache(std::size_t{256} << 20);
    std::vector<std::vector<Tensor>> kept;
    const auto plan_of = [&](std::int64_t n) {
        kept.push_back(step(params, batch(n)));
        return std::pair(cache.find(graph_of(kept.back())), graph_of(kept.back()));
    };
    for (const std::int64_t n : {4, 8, 6}) {
        auto [plan, graph] = plan_of(n);
        plan->family->add(plan->steps, compile(graph, {}));
    }
    auto [plan, graph] = plan_of(12);
    if (!plan->family->is_general()) return state.SkipWithError("no plan serves all");
    for (auto _ : state) benchmark::DoNotOptimize(plan->family->instance(*plan->steps, graph));
    state.counters["tasks"] = static_cast<double>(plan->family->instance(*plan->steps, graph)->code().tasks.size());
}
BENCHMARK(BM_PlanStepAgain)->Apply(layers);

/// The first sight of another size: its plan in the cache, looked up in vain.
void BM_MissStep(benchmark::State& state) {
    const Tree params = parameters(static_cast<int>(state.range(0)));
    const std::vector<Tensor> a = step(params, batch(4));
    const Graph graph = graph_of(a);
    for (auto _ : state) {
        PlanCache cache(std::size_t{256} << 20);
        benchmark::DoNotOptimize(cache.find(graph));
    }
}
BENCHMARK(BM_MissStep)->Apply(layers);

}  // namespace
}  // namespace tenon::schedule
