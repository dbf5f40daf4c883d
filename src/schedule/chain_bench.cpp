// Structured layers and perceptrons compiled with their two products apart and as one chain, forward and backward.
//   tenon_bench --benchmark_filter=JoinedPair --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "base/text.h"
#include "schedule/options.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

using Function = std::function<Tensor(const Tensor&)>;

struct Case {
    std::string name;
    std::int64_t rows, in, out;
    std::function<Function()> make;
    bool backward;
};

Tensor values(const Shape& s, unsigned seed) { return (random::normal(random::Key(seed), s) * 0.1).eval(); }

Function layer(const LinearMap& map) {
    return [map](const Tensor& x) { return map(x); };
}

Function perceptron(std::int64_t in, std::int64_t hidden, std::int64_t out, Tensor (*activation)(const Tensor&)) {
    const Tensor w = values({in, hidden}, 2), b = values({hidden}, 3), v = values({hidden, out}, 4);
    return [=](const Tensor& x) { return matmul(activation ? activation(matmul(x, w) + b) : matmul(x, w), v); };
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const std::int64_t rows : {64, 128, 256, 512, 4096})
        for (const std::int64_t d : {1000, 1024, 4096}) {
            const auto add = [&](const char* name, const char* structure, const map::Options& options) {
                const auto make = [=] { return layer(map::random(structure, random::Key(3), d, d, options)); };
                all.push_back({text(name, "/", rows, "x", d), rows, d, d, make, true});
            };
            if (rows * d > 4096 * 1024) continue;
            add("lowrank16", "low-rank", {.rank = 16});
            add("lowrank64", "low-rank", {.rank = 64});
            add("kronecker", "kronecker", {});
            add("tt2", "tensor-train", {.rank = 2});
            if (d % 32 == 0) add("monarch", "monarch", {.blocks = 32});
            if (d % 32 == 0) add("btt2", "btt", {.rank = 2});
        }
    for (const auto& [rows, in, hidden, out] : {std::array<std::int64_t, 4>{4096, 64, 256, 64},
                                                {4096, 256, 1024, 256},
                                                {16384, 32, 128, 32},
                                                {16384, 16, 512, 16},
                                                {1024, 512, 2048, 512}}) {
        const std::string size = text(rows, "x", in, "x", hidden);
        const auto add = [&, r = rows, h = hidden, i = in, o = out](const char* name,
                                                                    Tensor (*activation)(const Tensor&)) {
            all.push_back({text(name, size), r, i, o, [=] { return perceptron(i, h, o, activation); }, false});
        };
        add("mlp_none/", nullptr), add("mlp_relu/", relu), add("mlp_gelu/", gelu);
    }
    return all;
}

void pair(benchmark::State& state, const Case& c, bool joined, bool backward) {
    Options options;
    options.chain = joined;
    const WithOptions scope(options);
    const Function forward = c.make();
    const Tensor x = values({c.rows, c.in}, 1), ct = values({c.rows, c.out}, 5);
    const auto once = [&] {
        if (!backward) {
            forward(x).eval();
            return;
        }
        auto [value, pull] = vjp([&](const Tree& t) { return Tree(forward(t.tensor())); }, Tree(x));
        value = Tree();
        pull(Tree(ct)).tensor().eval();
    };
    for (int i = 0; i < 3; ++i) once();
    for (auto _ : state) once();
}

const bool registered = [] {
    static const std::vector<Case> all = cases();
    for (const Case& c : all)
        for (const bool backward : {false, true})
            for (const bool joined : {false, true})
                if (c.backward || !backward)
                    benchmark::RegisterBenchmark(
                        text("JoinedPair/", c.name, backward ? "/input_gradient" : "/forward",
                             joined ? "/joined" : "/apart")
                            .c_str(),
                        [&c, joined, backward](benchmark::State& state) { pair(state, c, joined, backward); })
                        ->UseRealTime();
    return true;
}();

}  // namespace
}  // namespace tenon::schedule
