// Pointwise work before a product becomes its prologue, and the bits are those of node by node.
#include "schedule/prologue.h"

#include <gtest/gtest.h>

#include "schedule/compile_testing.h"
#include "tenon/explain.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"

namespace tenon::schedule {
namespace {

using testing::compiled;
using testing::expect_same_bits;
using testing::values;

std::int64_t prologues(const Tensor& t, const Options& options = {}) {
    const auto e = compiled({t}, options);
    std::int64_t n = 0;
    for (const Task& task : e->tasks)
        if (task.prologues) n += !task.prologues->a.outputs.empty() + !task.prologues->b.outputs.empty();
    return n;
}

Options regardless() {
    Options o;
    o.ignore_cost = true;
    return o;
}

TEST(Prologue, PointwiseWorkBeforeAProductIsInside) {
    const Tensor x = values({4600, 700}), scale = values({700}, 2), mask = values({4600, 700}, 3),
                 w = values({700, 64}, 4);
    const auto a = [&] { return matmul(tanh(x * scale) * mask, w); };
    EXPECT_EQ(prologues(a()), 1) << explain(a());
    EXPECT_EQ(compiled({a()})->tasks.size(), 1u);
    EXPECT_NE(explain(a()).find("prologue of a: multiply tanh multiply"), std::string::npos) << explain(a());
    expect_same_bits(a);
    // The bias follows as before.
    const auto with_epilogue = [&] { return relu(matmul(x * mask, w) + 1.0); };
    EXPECT_EQ(prologues(with_epilogue()), 1) << explain(with_epilogue());
    expect_same_bits(with_epilogue);
    Options off;
    off.prologue = false;
    EXPECT_EQ(prologues(a(), off), 0);
    const auto cached = [&] { return matmul(slice(x, {0, 0}, {900, 700}, {1, 1}) * scale, w); };
    EXPECT_NE(explain(cached()).find("no prologue: what the work gives stays in cache"), std::string::npos);
    const auto thin = [&] { return matmul(x * mask, slice(w, {0, 0}, {700, 8}, {1, 1})); };
    EXPECT_NE(explain(thin()).find("no prologue: too few multiply-adds"), std::string::npos) << explain(thin());
}

TEST(Prologue, ViewsOfTheWorkAreFollowed) {
    const Tensor x = values({60, 15, 700}), mask = values({60, 15, 700}, 3), w = values({700, 300}, 4),
                 g = values({900, 300}, 5);
    const Options every = regardless();
    const auto merged = [&] { return matmul(reshape(relu(x) * mask, {900, 700}), w); };
    EXPECT_EQ(prologues(merged(), every), 1);
    expect_same_bits(merged, every);
    const auto transposed = [&] { return matmul(transpose(reshape(x * mask, {900, 700}), {1, 0}), g); };
    EXPECT_EQ(prologues(transposed(), every), 1);
    expect_same_bits(transposed, every);
    const auto cut = [&] { return matmul(slice(reshape(x * mask, {900, 700}), {3, 0}, {800, 700}, {2, 1}), w); };
    EXPECT_EQ(prologues(cut(), every), 0);
    const auto both = [&] { return matmul(reshape(x * mask, {900, 700}), exp(w) - 1.0); };
    EXPECT_EQ(prologues(both(), every), 2);
    expect_same_bits(both, every);
}

TEST(Prologue, ConversionsAreInside) {
    const Tensor x = astype(values({900, 700}), DType::bfloat16).eval(), w = values({700, 300}, 4);
    const auto f = [&] { return matmul(astype(x, DType::float32), w); };
    const Options every = regardless();
    EXPECT_EQ(prologues(f(), every), 1);
    expect_same_bits(f, every);
    const auto narrow = [&] { return matmul(x, astype(w, DType::bfloat16)); };
    EXPECT_EQ(prologues(narrow(), every), 1);
    expect_same_bits(narrow, every);
}

TEST(Prologue, WhatIsReadElsewhereIsStored) {
    const Tensor x = values({900, 700}), w = values({700, 300}, 4);
    const Options every = regardless();
    const auto twice = [&] {
        const Tensor y = tanh(x);
        return matmul(y, w) + sum(y);
    };
    EXPECT_EQ(prologues(twice(), every), 0);
    const Tensor held = tanh(x);
    EXPECT_EQ(prologues(matmul(held, w), every), 0);
    const auto square = [&] {
        const Tensor y = tanh(x);
        return matmul(transpose(y, {1, 0}), y);
    };
    EXPECT_EQ(prologues(square(), every), 0);
}

}  // namespace
}  // namespace tenon::schedule
