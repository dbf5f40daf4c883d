// Axes that are joined reach the same elements in the same order.
#include "cuda/axes.h"

#include <gtest/gtest.h>

namespace tenon::cuda {
namespace {

using Extents = std::vector<std::int64_t>;
struct Operand {
    Extents strides;
};

Extents places(const Extents& extents, const Extents& strides) {
    Extents all{0};
    for (std::size_t d = 0; d < extents.size(); ++d) {
        Extents next;
        for (const std::int64_t at : all)
            for (std::int64_t i = 0; i < extents[d]; ++i) next.push_back(at + i * strides[d]);
        all = next;
    }
    return all;
}

TEST(JoinAxes, ReachesTheSameElementsInTheSameOrder) {
    struct Case {
        std::vector<Extents> strides;
        Extents joined;
    };
    const Extents extents{2, 3, 4, 5};
    const Case cases[] = {
        {{{60, 20, 5, 1}, {60, 20, 5, 1}}, {120}},     {{{60, 20, 5, 1}, {0, 0, 0, 1}}, {24, 5}},
        {{{60, 20, 5, 1}, {0, 20, 5, 1}}, {2, 60}},    {{{60, 20, 5, 1}, {60, 5, 15, 1}}, {2, 3, 4, 5}},
        {{{1, 2, 6, 24}, {0, 0, 0, 0}}, {2, 3, 4, 5}}, {{{-60, -20, -5, -1}}, {120}}};
    for (const Case& c : cases) {
        Extents now = extents;
        std::vector<Operand> operands;
        for (const Extents& s : c.strides) operands.push_back({s});
        join_axes(now, operands, &Operand::strides);
        EXPECT_EQ(now, c.joined);
        for (std::size_t i = 0; i < operands.size(); ++i)
            EXPECT_EQ(places(now, operands[i].strides), places(extents, c.strides[i])) << i;
    }
    Extents none;
    std::vector<Operand> nothing{{{}}};
    join_axes(none, nothing, &Operand::strides);
    EXPECT_TRUE(none.empty());
}

}  // namespace
}  // namespace tenon::cuda
