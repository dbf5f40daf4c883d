// Compiled and node by node give the same bits: random graphs, replayed on other values, at several thread counts, with
// the arena poisoned, whatever is switched off; their gradients too. TENON_RANDOM_GRAPHS=100000 (and TENON_RANDOM_SEED)
// runs more of them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/threads.h"
#include "tenon/transform.h"
#include "tensor/node.h"

namespace tenon::schedule::testing {
namespace {

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
    const char* given = std::getenv(variable);
    return given ? std::strtoull(given, nullptr, 10) : otherwise;
}

/// The outputs, evaluated together; others of the graph's values go as soon as they are recorded.
std::vector<Tensor> outputs_of(const RandomGraph& g, const std::vector<Tensor>& leaves) {
    std::vector<Tensor> out;
    {
        const std::vector<Tensor> all = g.record(leaves);
        for (const std::size_t o : g.outputs) out.push_back(all[o]);
    }
    eval({out.back()});
    // An output that the last one needed has got its value with it.
    eval(out);
    return out;
}

/// Gradients of the sum of the outputs, and that sum.
std::optional<std::vector<Tensor>> gradients_of(const RandomGraph& g, const std::vector<Tensor>& leaves) {
    Tree at;
    for (std::size_t i = 0; i < leaves.size(); ++i) at.set(text("v", 100 + i), leaves[i]);
    try {
        auto [value, grads] = value_and_grad_at(
            [&](const Tree& t) {
                const std::vector<Tensor> all = g.record(t.leaves());
                Tensor total = zeros({});
                for (const std::size_t o : g.outputs)
                    if (is_floating(all[o].dtype())) total = total + sum(astype(all[o], DType::float32));
                return total;
            },
            at);
        std::vector<Tensor> all = grads.leaves();
        all.push_back(value);
        eval(all);
        return all;
    } catch (const Error&) {  // something has no derivative
        return {};
    }
}

using Evaluation = std::function<std::optional<std::vector<Tensor>>(const RandomGraph&, const std::vector<Tensor>&)>;

Options random_options(std::uint64_t seed) {
    Options o;
    o.poison = o.verify = true;
    o.ignore_cost = seed % 4 != 0;  // these graphs are small: few chains pay
    if (seed % 3 != 0) return o;
    Random r(seed);
    for (bool* b : {&o.simplify, &o.pointwise, &o.rows, &o.epilogue, &o.chain, &o.prologue, &o.in_place, &o.reuse})
        *b = r() % 3 != 0;
    return o;
}

/// The first difference, or nothing.
std::string difference(const RandomGraph& g, std::uint64_t seed, const Evaluation& evaluate) {
    Options by_node;
    by_node.compile = false;
    const Options compiled = random_options(seed);
    for (int run = 0; run < 4; ++run) {
        const std::vector<Tensor> leaves = g.values(seed + static_cast<std::uint64_t>(run) / 2);
        std::optional<std::vector<Tensor>> expected, got;
        {
            const WithOptions scope(by_node);
            expected = evaluate(g, leaves);
        }
        if (!expected) return "";
        set_num_threads(1 + (run + static_cast<int>(seed)) % 4);
        {
            const WithOptions scope(compiled);
            got = evaluate(g, leaves);
        }
        set_num_threads(0);
        if (!got) return "the compiled graph failed";
        for (std::size_t i = 0; i < expected->size(); ++i)
            if (!same_bits((*expected)[i], (*got)[i])) return text("result ", i, ", run ", run);
    }
    return "";
}

std::string difference_or_error(const RandomGraph& g, std::uint64_t seed, const Evaluation& evaluate) {
    try {
        return difference(g, seed, evaluate);
    } catch (const std::exception& e) {
        set_num_threads(0);
        return e.what();
    }
}

/// The smallest graph found that still differs.
RandomGraph shrunk(RandomGraph g, std::uint64_t seed, const Evaluation& evaluate) {
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (const RandomGraph& c : cuts(g)) {
            if (difference_or_error(c, seed, evaluate).empty()) continue;
            g = c;
            smaller = true;
            break;
        }
    }
    return g;
}

void check(std::uint64_t seed, const Evaluation& evaluate) {
    const RandomGraph g = random_graph(seed);
    const std::string what = difference_or_error(g, seed, evaluate);
    if (what.empty()) return;
    const RandomGraph small = shrunk(g, seed, evaluate);
    ADD_FAILURE() << "seed " << seed << ": " << what << "; cut down: " << difference_or_error(small, seed, evaluate)
                  << "\n"
                  << to_string(small);
}

TEST(RandomGraph, CompiledHasTheBitsOfNodeByNode) {
    const std::uint64_t first = number_of("TENON_RANDOM_SEED", 1), n = number_of("TENON_RANDOM_GRAPHS", 500);
    const Statistics before = statistics();
    for (std::uint64_t i = 0; i < n && !HasFailure(); ++i)
        check(first + i, [](const RandomGraph& g, const std::vector<Tensor>& leaves) {
            return std::optional(outputs_of(g, leaves));
        });
    const Statistics after = statistics();
    // Each graph is compiled once and runs so at least twice more.
    EXPECT_GE(after.compiled - before.compiled, static_cast<std::int64_t>(n) * 9 / 10);
    EXPECT_GE(after.compiled_runs - before.compiled_runs, static_cast<std::int64_t>(n) * 2);
    // Half of the graphs have two products with something between.
    EXPECT_GE(after.chains - before.chains, static_cast<std::int64_t>(n) / 4);
}

TEST(RandomGraph, SoHaveItsGradients) {
    const std::uint64_t first = number_of("TENON_RANDOM_SEED", 1), n = number_of("TENON_RANDOM_GRAPHS", 500) / 4;
    for (std::uint64_t i = 0; i < n && !HasFailure(); ++i) check(first + 1000000 + i, gradients_of);
}

}  // namespace
}  // namespace tenon::schedule::testing
