// What the compiler's tests share.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/random_graph_testing.h"
#include "tenon/random.h"

namespace tenon::schedule::testing {

inline Tensor values(const Shape& s, unsigned seed = 1) { return random::normal(random::Key(seed), s).eval(); }

inline std::unique_ptr<Executable> compiled(const std::vector<Tensor>& roots, const Options& options = {}) {
    std::vector<Node*> nodes;
    for (const Tensor& t : roots) nodes.push_back(t.node());
    const Graph graph = collect(nodes);
    auto e = compile(graph, options);
    verify(*e, graph);
    return e;
}

/// Compiled as for a device, whether there is one or not: column sums are tasks, and products read no prologues.
inline std::unique_ptr<Executable> compiled_for(Device device, const std::vector<Tensor>& roots) {
    std::vector<Node*> nodes;
    for (const Tensor& t : roots) nodes.push_back(t.node());
    Options o;
    o.column_sums = o.verify = true;
    o.prologue = false;
    Graph graph = collect(nodes, 0);
    graph.device = device;
    auto e = compile(graph, o);
    verify(*e, graph);
    return e;
}

/// Compiled, more than once, and node by node.
inline void expect_same_bits(const std::function<Tensor()>& f, Options options = {}) {
    Options by_node;
    by_node.compile = false;
    Tensor expected;
    {
        const WithOptions scope(by_node);
        expected = f().eval();
    }
    options.verify = options.poison = true;
    const WithOptions scope(options);
    const Statistics before = statistics();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(f().eval(), expected));
    EXPECT_GE(statistics().compiled_runs - before.compiled_runs, 2);
}

}  // namespace tenon::schedule::testing
