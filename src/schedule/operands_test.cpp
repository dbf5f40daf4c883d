#include "schedule/operands.h"

#include <gtest/gtest.h>

#include "schedule/compile_testing.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"

namespace tenon::schedule {
namespace {

Operand operand(Location::In in, std::uint32_t index, std::int64_t offset, DType dtype, const Layout& layout) {
    return {{in, index, offset}, {nullptr, dtype, layout}};
}

void expect_next(OperandReader& reader, const Operand& o) {
    View v{nullptr, DType::boolean, Layout::contiguous({9, 9, 9}), nullptr};
    EXPECT_EQ(reader.next(v), o.at.offset);
    EXPECT_EQ(v.dtype, o.view.dtype);
    EXPECT_EQ(v.layout, o.view.layout);
}

TEST(Operands, AreReadAsTheyWerePacked) {
    Task first{}, number{}, second{};
    first.in = {operand(Location::In::leaf, ~std::uint32_t{0}, 0, DType::float32, Layout::contiguous({3, 4})),
                operand(Location::In::constant, 7, 1 << 20, DType::uint8, {})};
    first.out = {operand(Location::In::own, 1, 0, DType::complex128, Layout::contiguous({5}).broadcast({2, 5}))};
    number.is_number = true;
    number.out = {operand(Location::In::arena, 3, 64, DType::float64, {})};
    Layout every = Layout::contiguous(Shape(kMaxRank, 2));
    every.strides[0] = -every.strides[0];
    second.in = {operand(Location::In::arena, 2, -8, DType::bfloat16, every)};
    const PackedOperands packed = packed_operands({first, number, second});
    ASSERT_EQ(packed.locations.size(), 4u);
    EXPECT_EQ(packed.locations[1].index, 7u);
    EXPECT_EQ(packed.locations[1].in, Location::In::constant);
    OperandReader reader(packed);
    reader.fetch();
    for (const Task* t : {&first, &second}) {
        for (const Operand& o : t->in) expect_next(reader, o);
        for (const Operand& o : t->out) expect_next(reader, o);
    }
    reader.fetch();  // of nothing
}

TEST(Operands, OfOtherExtentsFollowFromThePlanOfOne) {
    const auto f = [](std::int64_t n) {
        const Tensor x = testing::values({n, 6}, 1), w = testing::values({5, 6}, 2);
        return softmax(matmul(x, matrix_transpose(w)) + 1.0, -1) * 2.0;
    };
    Options by_node;
    by_node.compile = false;
    for (const std::int64_t n : {3, 4, 5, 6, 17, 6, 3}) {
        const Tensor expected = [&] {
            const WithOptions scope(by_node);
            return f(n).eval();
        }();
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(testing::same_bits(f(n).eval(), expected)) << n;
    }
}

}  // namespace
}  // namespace tenon::schedule
