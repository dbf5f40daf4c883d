// Which sums of columns are computed from recomputed values; no GPU is needed.
#include "schedule/column_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "schedule/compile_testing.h"
#include "tenon/functions.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

std::unique_ptr<Executable> compiled(const std::vector<Tensor>& roots) {
    return testing::compiled_for(Device::cuda(0), roots);
}

std::vector<Task> tasks_of(const Executable& e, Task::Kind kind) {
    std::vector<Task> all;
    std::ranges::copy_if(e.tasks, std::back_inserter(all), [&](const Task& t) { return t.kind == kind; });
    return all;
}

/// The gradients of layer_norm with respect to its operand, weight and bias.
std::vector<Tensor> norm_gradients(const Shape& shape, DType dtype) {
    const Shape last{shape.back()};
    const auto draw = [&](const Shape& s, unsigned seed) { return astype(testing::values(s, seed), dtype).eval(); };
    const Tree at({{"x", draw(shape, 1)}, {"w", draw(last, 2)}, {"b", draw(last, 3)}});
    const auto [y, back] =
        vjp([](const Tree& t) { return Tree(layer_norm(t["x"].tensor(), t["w"].tensor(), t["b"].tensor())); }, at);
    return back(Tree(draw(shape, 4))).leaves();
}

TEST(ColumnSums, GradientsOfANormAreOneTask) {
    for (const Shape& shape : {Shape{20000, 512}, Shape{3, 8192, 256}})
        for (const DType dtype : {DType::float32, DType::bfloat16}) {
            const auto e = compiled(norm_gradients(shape, dtype));
            const auto sums = tasks_of(*e, Task::Kind::column_sums);
            ASSERT_EQ(sums.size(), 1u) << name(dtype);
            EXPECT_EQ(e->regions, e->tasks.size()) << "no layer repeats";
            EXPECT_TRUE(tasks_of(*e, Task::Kind::rows).empty());
            const Task& t = sums[0];
            const auto elements = [&](const Operand& o) { return o.view.layout.count() == count(shape); };
            EXPECT_EQ(std::ranges::count_if(t.out, elements), 1) << "the gradient of x alone is stored";
            EXPECT_EQ(t.out.size(), t.rows.outputs.size() + 2);
            EXPECT_EQ(t.product_operands, t.rows.inputs.size());
            ASSERT_EQ(t.sum_operands.size(), t.tape.inputs.size());
            for (std::size_t i = 0; i < t.sum_operands.size(); ++i) {
                const std::size_t at = t.sum_operands[i];
                ASSERT_LT(at, t.in.size() + t.rows.outputs.size());
                const Operand& o = at < t.in.size() ? t.in[at] : t.out[at - t.in.size()];
                EXPECT_EQ(o.view.dtype, t.tape.inputs[i]);
                if (at >= t.in.size()) {
                    EXPECT_EQ(o.view.layout.count(), count(shape) / shape.back()) << "of rows";
                }
            }
            EXPECT_TRUE(std::ranges::none_of(
                e->tasks, [](const Task& k) { return k.kind == Task::Kind::kernel && !k.in.empty(); }));
        }
}

TEST(ColumnSums, WhereNoPassTakesBothTheSumsAreATaskOfTheirOwn) {
    for (const Shape& shape : {Shape{4096, 512}, Shape{17000, 384}}) {
        const auto e = compiled(norm_gradients(shape, DType::bfloat16));
        const auto sums = tasks_of(*e, Task::Kind::column_sums), rows = tasks_of(*e, Task::Kind::rows);
        ASSERT_EQ(sums.size(), 1u);
        ASSERT_EQ(rows.size(), 1u);
        EXPECT_TRUE(sums[0].rows.code.empty());
        EXPECT_EQ(sums[0].out.size(), 2u);
        for (const Operand& o : rows[0].out)
            EXPECT_TRUE(o.view.layout.count() == count(shape) || o.view.layout.count() == shape[0]);
    }
}

TEST(ColumnSums, FewElementsAndWhatOthersReadAreStored) {
    EXPECT_TRUE(tasks_of(*compiled(norm_gradients({512, 512}, DType::float32)), Task::Kind::column_sums).empty());
    const Tensor x = testing::values({4096, 512}, 1), w = testing::values({512, 512}, 2);
    const auto read_by = [&](const std::function<std::vector<Tensor>(const Tensor&)>& f) {
        std::vector<Tensor> roots;
        {
            const Tensor y = exp(x) * x;  // which nobody holds afterwards
            roots = f(y);
        }
        return compiled(roots);
    };
    const auto joined = [](const auto& e) { return !tasks_of(*e, Task::Kind::column_sums).empty(); };
    EXPECT_FALSE(joined(read_by([&](const Tensor& y) { return std::vector{sum(y, {0}), matmul(y, w)}; })));
    EXPECT_FALSE(joined(read_by([](const Tensor& y) { return std::vector{sum(y, {0}), y}; })));
    EXPECT_FALSE(joined(read_by([](const Tensor& y) { return std::vector{sum(y, {0}), max(y, {0})}; })));
    EXPECT_FALSE(joined(compiled({sum(x, {0})})));
    const auto e = read_by([](const Tensor& y) { return std::vector{sum(y, {0})}; });
    ASSERT_EQ(e->tasks.size(), 1u) << "nothing is stored";
    EXPECT_EQ(e->tasks[0].kind, Task::Kind::column_sums);
}

}  // namespace
}  // namespace tenon::schedule
