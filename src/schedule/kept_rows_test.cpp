// What the gradients of norms read from the forward pass, in graphs compiled for a device; no GPU is needed.
#include "schedule/kept_rows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "schedule/compile_testing.h"
#include "tenon/functions.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

/// The reductions of each task on rows, in order.
std::vector<std::ptrdiff_t> reductions(const std::vector<Tensor>& roots, Device device) {
    const auto e = testing::compiled_for(device, roots);
    std::vector<std::ptrdiff_t> all;
    for (const Task& t : e->tasks)
        if (!t.rows.code.empty())
            all.push_back(std::ranges::count_if(
                t.rows.code, [](const tape::RowTape::Code& c) { return c.kind == tape::RowTape::Kind::reduce; }));
    return all;
}

/// A norm's gradients and, if asked for, its result.
std::vector<Tensor> gradients(bool with_result) {
    const Shape shape{2048, 1024}, last{1024};
    const auto draw = [](const Shape& s, unsigned seed) {
        return astype(testing::values(s, seed), DType::bfloat16).eval();
    };
    const Tree at({{"x", draw(shape, 1)}, {"w", draw(last, 2)}, {"b", draw(last, 3)}});
    const auto [y, back] =
        vjp([](const Tree& t) { return Tree(layer_norm(t["x"].tensor(), t["w"].tensor(), t["b"].tensor())); }, at);
    std::vector<Tensor> all = back(Tree(draw(shape, 4))).leaves();
    if (with_result) all.insert(all.begin(), y.tensor());  // the forward pass comes first
    return all;
}

TEST(KeptRows, TheGradientReadsMeansAndDeviationsOfTheForwardPass) {
    const std::vector<std::ptrdiff_t> kept = reductions(gradients(true), Device::cuda(0)),
                                      again = reductions(gradients(true), Device::cpu());
    ASSERT_EQ(kept.size(), 2u);
    ASSERT_EQ(again.size(), 2u);
    EXPECT_EQ(kept, (std::vector<std::ptrdiff_t>{2, 2}));
    EXPECT_EQ(again, (std::vector<std::ptrdiff_t>{2, 4})) << "on the host they are computed again";
}

TEST(KeptRows, NothingIsComputedForThemAlone) {
    EXPECT_EQ(reductions(gradients(false), Device::cuda(0)), reductions(gradients(false), Device::cpu()));
}

}  // namespace
}  // namespace tenon::schedule
