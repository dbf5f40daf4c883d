// Compiled and node by node give the same bits: random graphs, replayed on other values, at several thread counts, with
// the arena poisoned, whatever is switched off; their gradients too. TENON_RANDOM_GRAPHS=100000 (and TENON_RANDOM_SEED)
// runs more of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/text.h"
#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/compile.h"
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

/// How a graph's values are computed from leaves, whose last handles may be given up. Empty if something has no
/// derivative.
using Evaluation = std::function<std::optional<std::vector<Tensor>>(const RandomGraph&, std::vector<Tensor> leaves)>;

/// The outputs; others of the graph's values go as soon as they are recorded.
std::vector<Tensor> recorded_outputs(const RandomGraph& g, const std::vector<Tensor>& leaves) {
    std::vector<Tensor> out;
    const std::vector<Tensor> all = g.record(leaves);
    for (const std::size_t o : g.outputs) out.push_back(all[o]);
    return out;
}

std::optional<std::vector<Tensor>> outputs_of(const RandomGraph& g, std::vector<Tensor> leaves) {
    const std::vector<Tensor> out = recorded_outputs(g, leaves);
    leaves.clear();
    eval({out.back()});
    // An output that the last one needed has got its value with it.
    eval(out);
    return out;
}

Tree tree_of(const std::vector<Tensor>& leaves) {
    Tree t;
    for (std::size_t i = 0; i < leaves.size(); ++i) t.set(text("v", 100 + i), leaves[i]);
    return t;
}

/// Gradients of the sum of the outputs, and that sum.
std::vector<Tensor> recorded_gradients(const RandomGraph& g, const Tree& at) {
    auto [value, grads] = value_and_grad_at(
        [&](const Tree& t) {
            Tensor total = zeros({});
            for (const Tensor& out : recorded_outputs(g, t.leaves()))
                if (is_floating(out.dtype())) total = total + sum(astype(out, DType::float32));
            return total;
        },
        at);
    std::vector<Tensor> all = grads.leaves();
    all.push_back(value);
    return all;
}

std::optional<std::vector<Tensor>> gradients_of(const RandomGraph& g, std::vector<Tensor> leaves) {
    try {
        std::vector<Tensor> all = recorded_gradients(g, tree_of(leaves));
        leaves.clear();
        eval(all);
        return all;
    } catch (const Error&) {  // something has no derivative
        return {};
    }
}

/// The same by a compiled function, which lives as long as the evaluation.
Evaluation by_function(bool gradients) {
    using Function = std::function<std::vector<Tensor>(const Tree&)>;
    const auto graph = std::make_shared<RandomGraph>();
    const auto compiled = std::make_shared<Compiled<Function>>(Function([graph, gradients](const Tree& t) {
        return gradients ? recorded_gradients(*graph, t) : recorded_outputs(*graph, t.leaves());
    }));
    return [graph, compiled, gradients](const RandomGraph& g,
                                        std::vector<Tensor> leaves) -> std::optional<std::vector<Tensor>> {
        *graph = g;
        Tree at = tree_of(leaves);
        leaves.clear();
        try {
            return (*compiled)(std::move(at));
        } catch (const ValueError&) {
            if (!gradients) throw;
            return {};
        }
    };
}

Options random_options(std::uint64_t seed) {
    Options o;
    o.poison = o.verify = o.grouped = true;
    o.ignore_cost = seed % 4 != 0;  // these graphs are small: few chains pay
    if (seed % 5 == 0) o.guarded_bytes = 0;
    if (seed % 3 != 0) return o;
    Random r(seed);
    for (bool* b :
         {&o.simplify, &o.pointwise, &o.rows, &o.epilogue, &o.chain, &o.prologue, &o.grouped, &o.in_place, &o.reuse})
        *b = r() % 3 != 0;
    return o;
}

/// The leaves, and what else somebody may see of their memory.
struct Seen {
    std::vector<Tensor> leaves, views, copies;

    Seen(const RandomGraph& g, std::uint64_t seed) : leaves(g.values(seed)) {
        for (std::size_t i = seed % 3; i < leaves.size(); i += 3) {
            views.push_back(flip(leaves[i]).eval());
            copies.push_back((leaves[i].dtype() == DType::boolean ? logical_not(leaves[i]) : leaves[i] + 0).eval());
        }
    }
    bool unchanged() const {
        for (std::size_t i = 0; i < views.size(); ++i) {
            const Tensor now = flip(views[i]);
            if (!same_bits(now.dtype() == DType::boolean ? logical_not(now) : now + 0, copies[i])) return false;
        }
        return true;
    }
};

/// The first difference of what `law`, node by node, and `evaluate`, compiled, make of the graph, or nothing.
std::string difference(const RandomGraph& g, std::uint64_t seed, const Evaluation& law, const Evaluation& evaluate) {
    Options by_node;
    by_node.compile = false;
    const Options compiled = random_options(seed);
    for (int run = 0; run < 4; ++run) {
        Seen seen(g, seed + static_cast<std::uint64_t>(run) / 2);
        std::optional<std::vector<Tensor>> expected, got;
        {
            const WithOptions scope(by_node);
            expected = law(g, seen.leaves);
        }
        if (!expected) return "";
        set_num_threads(1 + static_cast<int>((seed + static_cast<std::uint64_t>(run)) % 4));
        {
            const WithOptions scope(compiled);
            // Half of the times the leaves die with the evaluation, but for those of which a view is kept.
            got = (seed + static_cast<std::uint64_t>(run)) % 2 == 0 ? evaluate(g, seen.leaves)
                                                                    : evaluate(g, std::exchange(seen.leaves, {}));
        }
        set_num_threads(0);
        if (!got) return "the compiled graph failed";
        for (std::size_t i = 0; i < expected->size(); ++i)
            if (!same_bits((*expected)[i], (*got)[i])) return text("result ", i, ", run ", run);
        if (!seen.unchanged()) return text("an input that is still seen was overwritten, run ", run);
    }
    return "";
}

/// A way to evaluate, made anew for each graph.
struct Way {
    Evaluation law;
    std::function<Evaluation()> make;
};

/// The graph on leaves where another extent stands for one that some have; empty where its operations do not take that.
std::optional<RandomGraph> resized(const RandomGraph& g, std::int64_t from, std::int64_t to) {
    RandomGraph r = g;
    for (RandomLeaf& l : r.leaves)
        for (std::int64_t& e : l.shape)
            if (e == from) e = to;
    try {
        r.record(r.values(1));
        return r;
    } catch (const Error&) {
        return {};
    }
}

/// Layers that are each this graph: what one gives, of the shape of one of its leaves, is that leaf of the next one.
/// Some of the other leaves are each layer's own. Empty where it gives nothing of such a shape.
std::optional<RandomGraph> repeated(const RandomGraph& g, std::uint64_t seed) {
    Random r(seed);
    const std::vector<Tensor> all = g.record(g.values(1));
    const std::size_t leaves = g.leaves.size(), input = r() % leaves, layers = 5 + r() % 4;
    std::size_t output = 0;
    for (std::size_t v = leaves; v < all.size(); ++v)
        if (all[v].shape() == all[input].shape() && all[v].dtype() == all[input].dtype()) output = v;
    if (output == 0) return {};
    RandomGraph many{g.leaves, {}, {}};
    std::vector<std::vector<std::size_t>> at(layers, std::vector<std::size_t>(all.size()));
    for (std::size_t l = 0; l < leaves; ++l) {
        const bool own = l != input && r() % 2 == 0;
        for (std::size_t k = 0; k < layers; ++k) {
            at[k][l] = k > 0 && own ? many.leaves.size() : l;
            if (k > 0 && own) many.leaves.push_back(g.leaves[l]);
        }
    }
    for (std::size_t k = 0; k < layers; ++k) {
        if (k > 0) at[k][input] = at[k - 1][output];
        for (std::size_t n = 0; n < g.nodes.size(); ++n) {
            at[k][leaves + n] = many.leaves.size() + many.nodes.size();
            many.nodes.push_back(g.nodes[n]);
            for (std::size_t& o : many.nodes.back().operands) o = at[k][o];
        }
    }
    if (r() % 3 == 0)
        for (const std::size_t o : g.outputs) many.outputs.push_back(at[r() % layers][o]);
    many.outputs.push_back(at[layers - 1][output]);
    return many;
}

/// The same, and on other extents, as a new batch size.
std::string differences(const RandomGraph& g, std::uint64_t seed, const Way& way) {
    const Evaluation evaluate = way.make();
    std::string what = difference(g, seed, way.law, evaluate);
    std::int64_t extent = 0;
    for (const RandomLeaf& l : g.leaves)
        for (const std::int64_t e : l.shape)
            if (e > 1 && e < 200) extent = e;
    if (extent == 0) return what;
    for (const std::int64_t other : {2 * extent, extent + 1, 2 * extent + 1, extent + 2}) {
        if (!what.empty()) return what;
        if (const auto r = resized(g, extent, other)) what = difference(*r, seed, way.law, evaluate);
        if (!what.empty()) what += text(", with ", other, " for ", extent);
    }
    return what;
}

std::string difference_or_error(const RandomGraph& g, std::uint64_t seed, const Way& way) {
    try {
        return differences(g, seed, way);
    } catch (const std::exception& e) {
        set_num_threads(0);
        return e.what();
    }
}

/// The smallest graph found that still differs.
RandomGraph shrunk(RandomGraph g, std::uint64_t seed, const Way& way) {
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (const RandomGraph& c : cuts(g)) {
            if (difference_or_error(c, seed, way).empty()) continue;
            g = c;
            smaller = true;
            break;
        }
    }
    return g;
}

void check(const RandomGraph& g, std::uint64_t seed, const Way& way) {
    const std::string what = difference_or_error(g, seed, way);
    if (what.empty()) return;
    const RandomGraph small = shrunk(g, seed, way);
    ADD_FAILURE() << "seed " << seed << ": " << what << "; cut down: " << difference_or_error(small, seed, way) << "\n"
                  << to_string(small, seed);
}

const Way kOutputs{outputs_of, [] { return Evaluation(outputs_of); }},
    kGradients{gradients_of, [] { return Evaluation(gradients_of); }},
    kOutputsOfFunction{outputs_of, [] { return by_function(false); }},
    kGradientsOfFunction{gradients_of, [] { return by_function(true); }};

// Of code that can be compiled where these headers are: the text in the test below is what it runs.
TEST(RandomGraphs, ArePrintedAsCpp) {
    const RandomGraph g{{{{2, 3}, DType::float32, true, false}, {{}, DType::boolean, false, false}},
                        {{"tanh", {0}, {}}, {"add", {2, 0}, {}}},
                        {2, 3}};
    EXPECT_EQ(
        to_string(g, 7),
        R"(const RandomGraph leaves{{{{2, 3}, DType::float32, true, false}, {{}, DType::boolean, false, false}}, {}, {}};
const std::vector<Tensor> values = leaves.values(7);
Tensor v0 = values[0];
Tensor v1 = values[1];
Tensor v2 = apply("tanh", {v0}, {});
Tensor v3 = apply("add", {v2, v0}, {});
eval({v2, v3});
)");
    const RandomGraph leaves{{{{2, 3}, DType::float32, true, false}, {{}, DType::boolean, false, false}}, {}, {}};
    const std::vector<Tensor> values = leaves.values(7);
    Tensor v0 = values[0];
    Tensor v1 = values[1];
    Tensor v2 = apply("tanh", {v0}, {});
    Tensor v3 = apply("add", {v2, v0}, {});
    eval({v2, v3});
    EXPECT_TRUE(same_bits(v3, g.record(g.values(7))[3]));
}

// One in the middle of those that outputs need.
std::string needed_operation(const RandomGraph& g) {
    const std::size_t leaves = g.leaves.size();
    std::set<std::size_t> needed(g.outputs.begin(), g.outputs.end());
    for (std::size_t n = g.nodes.size(); n-- > 0;)
        if (needed.count(leaves + n)) needed.insert(g.nodes[n].operands.begin(), g.nodes[n].operands.end());
    needed.erase(needed.begin(), needed.lower_bound(leaves));
    return g.nodes[*std::next(needed.begin(), static_cast<std::ptrdiff_t>(needed.size() / 2)) - leaves].op;
}

TEST(RandomGraphs, AreCutDownToWhatMatters) {
    const auto has = [](const RandomGraph& g, const std::string& op) {
        return std::any_of(g.nodes.begin(), g.nodes.end(), [&](const RandomNode& n) { return n.op == op; });
    };
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        RandomGraph g = random_graph(seed);
        const std::string op = needed_operation(g);
        for (bool smaller = true; smaller;) {
            smaller = false;
            for (const RandomGraph& c : cuts(g))
                if (has(c, op)) {
                    g = c, smaller = true;
                    break;
                }
        }
        EXPECT_EQ(g.nodes.size(), 1u) << to_string(g, seed);
        EXPECT_EQ(g.outputs.size(), 1u) << to_string(g, seed);
    }
}

std::uint64_t first_seed() { return number_of("TENON_RANDOM_SEED", 1); }
std::uint64_t graphs() { return number_of("TENON_RANDOM_GRAPHS", 500); }

void check(std::uint64_t seed, const Way& way) { check(random_graph(seed), seed, way); }

TEST(RandomGraph, CompiledHasTheBitsOfNodeByNode) {
    const std::uint64_t n = graphs();
    const Statistics before = statistics();
    for (std::uint64_t i = 0; i < n && !HasFailure(); ++i) check(first_seed() + i, kOutputs);
    const Statistics after = statistics();
    // Each graph is compiled once and runs so at least twice more.
    EXPECT_GE(after.compiled - before.compiled, static_cast<std::int64_t>(n) * 9 / 10);
    EXPECT_GE(after.compiled_runs - before.compiled_runs, static_cast<std::int64_t>(n) * 2);
    // Half of the graphs have two products with something between.
    EXPECT_GE(after.chains - before.chains, static_cast<std::int64_t>(n) / 4);
    // The fourth size and those after it have the plan of the first three, where it serves all.
    EXPECT_GE(after.planned_again - before.planned_again, static_cast<std::int64_t>(n) / 10);
}

TEST(RandomGraph, SoHaveItsGradients) {
    for (std::uint64_t i = 0; i < graphs() / 4 && !HasFailure(); ++i) check(first_seed() + 1000000 + i, kGradients);
}

// Few graphs are cut so that tasks are those of layers that were not compiled: the sample goes on until one was, at
// most to twenty times its size.
TEST(RandomGraph, SoHaveLayersThatRepeat) {
    const std::uint64_t n = graphs() / 8;
    const auto repeats = [before = statistics().repeated] { return statistics().repeated > before; };
    for (std::uint64_t i = 0; (i < n || (!repeats() && i < 20 * n)) && !HasFailure(); ++i)
        if (const auto g = repeated(random_graph(first_seed() + 4000000 + i), i))
            check(*g, i, i % 4 == 0 ? kGradients : kOutputs);
    EXPECT_TRUE(repeats() || n == 0);
}

TEST(RandomGraph, SoHaveCompiledFunctions) {
    const Statistics before = statistics();
    for (std::uint64_t i = 0; i < graphs() / 2 && !HasFailure(); ++i)
        check(first_seed() + 2000000 + i, kOutputsOfFunction);
    for (std::uint64_t i = 0; i < graphs() / 8 && !HasFailure(); ++i)
        check(first_seed() + 3000000 + i, kGradientsOfFunction);
    // Each once, and four runs.
    EXPECT_GE(statistics().compiled_runs - before.compiled_runs, static_cast<std::int64_t>(graphs() / 2) * 4);
}

}  // namespace
}  // namespace tenon::schedule::testing
