// The products of a transformer's block that share an operand, in one region of threads and apart: graphs of both plans
// are run in turn, and the counter says how much of the time apart the grouped plan takes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "schedule/options.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/threads.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

struct Block {
    Tensor x, q, k, v, gate, up;

    Block(std::int64_t rows, std::int64_t width) {
        random::Key key(1);
        const auto made = [&](const Shape& s) { return (random::normal(key.next(), s) * 0.05).eval(); };
        x = made({rows, width});
        for (Tensor* w : {&q, &k, &v}) *w = made({width, width});
        for (Tensor* w : {&gate, &up}) *w = made({4 * width, width});
    }
    Tree parameters() const { return Tree({{"q", q}, {"k", k}, {"v", v}, {"gate", gate}, {"up", up}}); }
    std::vector<Tensor> forward(const Tree& p) const {
        const auto linear = [&](const char* name) { return matmul(x, matrix_transpose(p[name].tensor())); };
        const Tensor g = linear("gate");
        return {linear("q"), linear("k"), linear("v"), g * sigmoid(g) * linear("up")};
    }
    void run(bool gradients) const {
        if (!gradients) return eval(forward(parameters()));
        const auto loss = [&](const Tree& p) {
            Tensor sum_of_all = sum(square(forward(p)[0]));
            for (const Tensor& t : forward(p)) sum_of_all = sum_of_all + sum(square(t));
            return sum_of_all;
        };
        eval(grad(loss)(parameters()));
    }
};

void block(benchmark::State& state, bool gradients) {
    const Block b(state.range(0), state.range(1));
    set_num_threads(static_cast<int>(state.range(2)));
    Options apart;
    apart.grouped = false;
    const auto seconds = [&](const Options& o) {
        const WithOptions scope(o);
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        std::int64_t calls = 0;
        do b.run(gradients), ++calls;
        while (Clock::now() - start < std::chrono::milliseconds(4));
        return std::chrono::duration<double>(Clock::now() - start).count() / static_cast<double>(calls);
    };
    for (int i = 0; i < 3; ++i) seconds({}), seconds(apart);
    std::vector<double> one, other;
    for (auto _ : state) {
        one.push_back(seconds({}));
        other.push_back(seconds(apart));
    }
    set_num_threads(0);
    const auto median = [](std::vector<double>& v) {
        std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
        return v[v.size() / 2];
    };
    state.counters["apart_us"] = 1e6 * median(other);
    state.counters["grouped/apart"] = median(one) / median(other);
}

void sizes(benchmark::internal::Benchmark* b) {
    for (const std::int64_t rows : {1, 16, 64, 256}) b->Args({rows, 256, 2})->Args({rows, 1024, 2});
    b->Iterations(31)->UseRealTime();
}
BENCHMARK_CAPTURE(block, forward, false)->Apply(sizes);
BENCHMARK_CAPTURE(block, gradients, true)->Apply(sizes);

}  // namespace
}  // namespace tenon::schedule
