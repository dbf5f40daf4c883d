// Random graphs of other extents: planned with the groups of the first, and then from a plan that serves all, they give
// the bits of node by node, by the tasks of a whole compilation.
#include "schedule/regroup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tenon/error.h"

namespace tenon::schedule::testing {
namespace {

/// The graph with another number in place of an extent, and of its multiples: most operations then still fit.
RandomGraph resized(RandomGraph g, std::int64_t from, std::int64_t to) {
    const auto resize = [&](std::int64_t& n) {
        if (n >= from && n % from == 0) n = n / from * to;
    };
    for (RandomLeaf& l : g.leaves)
        for (std::int64_t& e : l.shape) resize(e);
    for (RandomNode& n : g.nodes)
        if (n.op == "reshape" || n.op == "broadcast_to" || n.op == "slice")
            for (std::int64_t& number : n.numbers) resize(number);
    return g;
}

/// An extent of the first leaf that has one of at least 4; 0 if none has.
std::int64_t some_extent(const RandomGraph& g) {
    for (const RandomLeaf& l : g.leaves)
        for (const std::int64_t e : l.shape)
            if (e >= 4) return e;
    return 0;
}

std::optional<std::vector<Tensor>> outputs(const RandomGraph& g, const std::vector<Tensor>& leaves) {
    try {
        std::vector<Tensor> out;
        const std::vector<Tensor> all = g.record(leaves);
        for (const std::size_t o : g.outputs) out.push_back(all[o]);
        return out;
    } catch (const Error&) {  // an operation that does not fit these extents
        return {};
    }
}

Options strict(std::uint64_t seed) {
    Options o;
    o.verify = o.poison = true;
    o.ignore_cost = o.grouped = seed % 2 != 0;
    return o;
}

TEST(Regroup, RandomGraphsOfOtherExtentsHaveTheBitsOfNodeByNode) {
    constexpr std::uint64_t kFirst = 5000, kGraphs = 400;
    const std::int64_t before = statistics().planned_again;
    for (std::uint64_t seed = kFirst; seed < kFirst + kGraphs; ++seed) {
        const RandomGraph first = random_graph(seed);
        const std::int64_t e = some_extent(first);
        if (e == 0) continue;
        for (const std::int64_t to : {e, e, 2 * e, 3 * e, e + 1, 7 * e, 2 * e}) {
            const RandomGraph g = resized(first, e, to);
            const std::vector<Tensor> leaves = g.values(seed);
            std::optional<std::vector<Tensor>> got, expected;
            {
                const WithOptions scope(strict(seed));
                if (!(got = outputs(g, leaves))) continue;
                eval(*got);
            }
            Options by_node;
            by_node.compile = false;
            const WithOptions scope(by_node);
            expected = outputs(g, leaves);
            eval(*expected);
            for (std::size_t i = 0; i < got->size(); ++i)
                ASSERT_TRUE(same_bits((*got)[i], (*expected)[i])) << to_string(g, seed) << "\noutput " << i;
        }
    }
    EXPECT_GT(statistics().planned_again - before, 600);
}

std::vector<std::vector<std::uint32_t>> tasks_of(const Executable& e) {
    std::vector<std::vector<std::uint32_t>> all;
    for (const Task& t : e.tasks) all.push_back(t.nodes);
    std::sort(all.begin(), all.end());
    return all;
}

/// What costs and equal extents decide may differ: some graphs in a hundred.
TEST(Regroup, TasksAreThoseOfAWholeCompilation) {
    int equal = 0, all = 0, none = 0;
    for (std::uint64_t seed = 6000; seed < 6400; ++seed) {
        const RandomGraph first = random_graph(seed);
        const std::int64_t e = some_extent(first);
        if (e == 0) continue;
        const RandomGraph other = resized(first, e, 3 * e);
        const auto a = outputs(first, first.values(seed)), b = outputs(other, other.values(seed));
        if (!a || !b) continue;
        const auto graph = [](const std::vector<Tensor>& roots) {
            std::vector<Node*> nodes;
            for (const Tensor& t : roots) nodes.push_back(t.node());
            return collect(nodes);
        };
        const Graph from = graph(*a), to = graph(*b);
        if (from.nodes.empty() || from.nodes.size() != to.nodes.size()) continue;
        std::shared_ptr<const KeptGroups> kept;
        compile(from, strict(seed), &kept);
        const auto again = kept ? compile_again(to, strict(seed), *kept) : nullptr;
        ++all;
        if (!again) {
            ++none;
            continue;
        }
        verify(*again, to);
        equal += tasks_of(*again) == tasks_of(*compile(to, strict(seed)));
    }
    EXPECT_GT(all, 150);
    EXPECT_LT(none, all / 10);
    EXPECT_GE(equal, (all - none) * 95 / 100);
    RecordProperty("graphs", all), RecordProperty("compiled_whole", none), RecordProperty("equal", equal);
}

}  // namespace
}  // namespace tenon::schedule::testing
