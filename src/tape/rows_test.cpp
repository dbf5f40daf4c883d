// Tapes over rows have the bits of their instructions and reductions apart.
#include "tape/rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/text.h"
#include "tape/rows_testing.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::tape {
namespace {

using Kind = RowTape::Kind;
constexpr DType f = DType::float32;

/// softmax(x + bias) * rows: a maximum, a sum, and an operand of each sort.
RowTape softmax_tape() {
    RowTape t = testing::scaled_rows(f, Reduction::max, Opcode::exp);
    t.outputs = {11, 8};
    return t;
}

struct Values {
    std::vector<float> v;
    View view;
    Values(const Shape& s, unsigned seed) : v(static_cast<std::size_t>(count(s))) {
        for (float& x : v) x = static_cast<float>((seed = seed * 1664525 + 1013904223) >> 8) / 4e6f - 2;
        view = {v.data(), f, Layout::contiguous(s)};
    }
};

void expect_same(const Values& a, const Values& b, const std::string& what) {
    if (!a.v.empty()) {
        EXPECT_EQ(std::memcmp(a.v.data(), b.v.data(), a.v.size() * sizeof(float)), 0) << what;
    }
}

void one(Opcode op, std::vector<View> in, const View& out) {
    std::vector<DType> types(in.size(), f);
    run(single(op, types, f), in, {&out, 1});
}

View repeated(const View& rows, const Shape& s) {
    View v = rows;
    v.layout.shape = s;
    v.layout.strides.push_back(0);
    return v;
}

struct Shapes {
    Shape rows;
    std::int64_t columns;
};

TEST(Rows, HaveTheBitsOfTheirPartsApart) {
    for (const auto& [rows, columns] :
         {Shapes{{7}, 1}, Shapes{{3, 5}, 10}, Shapes{{40}, 64}, Shapes{{5}, 1023}, Shapes{{2}, 1025}, Shapes{{3}, 5000},
          Shapes{{2}, 16385}, Shapes{{1}, 40000}, Shapes{{}, 300}, Shapes{{0}, 4}}) {
        Shape s = rows;
        s.push_back(columns);
        Values x(s, 1), bias({columns}, 2), scale(rows, 3);
        View biases = bias.view;
        biases.layout.shape = s;
        biases.layout.strides = Strides(s.rank(), 0);
        biases.layout.strides[s.rank() - 1] = 1;
        Values sum(s, 4), most(rows, 5), e(s, 6), total(rows, 7), factor(rows, 8), y(s, 9);
        const Axes last{s.rank() - 1};
        one(Opcode::add, {x.view, biases}, sum.view);
        reduce(Reduction::max, sum.view, last, most.view);
        one(Opcode::subtract, {sum.view, repeated(most.view, s)}, e.view);
        one(Opcode::exp, {e.view}, e.view);
        reduce(Reduction::sum, e.view, last, total.view);
        one(Opcode::divide, {scale.view, total.view}, factor.view);
        one(Opcode::multiply, {e.view, repeated(factor.view, s)}, y.view);
        for (const int threads : {1, 3}) {
            set_num_threads(threads);
            Values got(s, 10), got_total(rows, 11);
            const View in[] = {x.view, biases, scale.view}, out[] = {got.view, got_total.view};
            run_rows(softmax_tape(), in, out);
            const std::string what = text(to_string(s), ", ", threads, " threads");
            expect_same(got, y, what);
            expect_same(got_total, total, what);
        }
        set_num_threads(0);
    }
}

/// Sums of squares and of exponentials, which loops over whole rows compute, with a value taken away or none, the
/// elements read again or not, and with what the loops leave to slower forms: NaN, infinities, zeros, exponentials that
/// underflow.
struct SumTape {
    Opcode op;
    bool less, keep;
};
RowTape tape_of(const SumTape& which) {
    RowTape t;
    t.inputs = {{f, false}};
    const auto add = [&](Kind kind, Reduction r, Opcode op, std::size_t a, std::size_t b) {
        t.code.push_back({kind,
                          kind == Kind::reduce,
                          r,
                          {op, f, f, {static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b), 0}}});
        return t.code.size();  // the register, as there is one input
    };
    std::size_t x = 0;
    if (which.less) {
        const std::size_t most = add(Kind::reduce, Reduction::max, {}, 0, 0);
        x = add(Kind::apply, {}, Opcode::subtract, 0, add(Kind::repeat, {}, {}, most, 0));
    }
    const std::size_t y = add(Kind::apply, {}, which.op, x, x), total = add(Kind::reduce, Reduction::sum, {}, y, 0);
    t.outputs = {static_cast<std::uint8_t>(total)};
    if (which.keep) {
        const std::size_t repeat = add(Kind::repeat, {}, {}, total, 0);
        t.outputs.push_back(static_cast<std::uint8_t>(add(Kind::apply, {}, Opcode::divide, y, repeat)));
    }
    return t;
}

TEST(Rows, LoopsOverWholeRowsHaveTheBitsOfTheirPartsApart) {
    constexpr float kInfinite = HUGE_VALF;
    const float kNone = std::nanf("");
    for (const std::int64_t columns : {256, 300, 1000, 20000})
        for (const float odd : {1.0f, kNone, kInfinite, -kInfinite, -0.0f, -1000.0f, -95.0f})
            for (const SumTape& which : {SumTape{Opcode::exp, true, true}, SumTape{Opcode::exp, true, false},
                                         SumTape{Opcode::exp, false, true}, SumTape{Opcode::multiply, true, false},
                                         SumTape{Opcode::square, true, true}, SumTape{Opcode::square, false, false}}) {
                const Shape s{3, columns}, rows{3};
                Values x(s, 1), y(s, 2), most(rows, 3), total(rows, 4), quotient(s, 5), got(rows, 6), got_all(s, 7);
                x.v[5] = x.v[static_cast<std::size_t>(2 * columns - 1)] = odd;
                if (odd == 0)  // whose maximum is a zero
                    for (std::int64_t i = 0; i < columns; ++i) x.v[static_cast<std::size_t>(i)] = i % 7 == 3 ? 0 : odd;
                reduce(Reduction::max, x.view, {1}, most.view);
                const View* in = &x.view;
                if (which.less) {
                    one(Opcode::subtract, {x.view, repeated(most.view, s)}, y.view);
                    in = &y.view;
                }
                one(which.op, std::vector<View>(which.op == Opcode::multiply ? 2 : 1, *in), y.view);
                reduce(Reduction::sum, y.view, {1}, total.view);
                one(Opcode::divide, {y.view, repeated(total.view, s)}, quotient.view);
                const View out[] = {got.view, got_all.view};
                run_rows(tape_of(which), {&x.view, 1}, std::span(out, which.keep ? 2 : 1));
                const std::string what =
                    text(name(which.op), ' ', which.less, which.keep, ", ", columns, " columns, ", odd);
                const auto same = [](float a, float b) {
                    return (a != a && b != b) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
                };
                for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(same(got.v[i], total.v[i])) << what;
                for (std::size_t i = 0; which.keep && i < got_all.v.size(); ++i)
                    ASSERT_TRUE(same(got_all.v[i], quotient.v[i])) << what << " at " << i;
            }
}

TEST(Rows, ReadAndWriteAnyStrides) {
    const Shape s{6, 4, 37};
    Values x(s, 1), bias({37}, 2), scale({6, 4}, 3), y(s, 4), total({6, 4}, 5), wide({4, 37, 12}, 6);
    View biases = bias.view;
    biases.layout = {s, {0, 0, 1}, 0};
    const View in[] = {x.view, biases, scale.view}, out[] = {y.view, total.view};
    run_rows(softmax_tape(), in, out);
    // The operand as (4, 37, 6) in memory, backwards; the result with gaps.
    Values transposed({4, 37, 6}, 7);
    View strided = transposed.view;
    strided.layout = {s, {-1, 37 * 6, 6}, 0};
    strided.data = transposed.v.data() + 5;
    run(Tape{{f}, {}, {0}}, {&x.view, 1}, {&strided, 1});
    View gaps = wide.view;
    gaps.layout = {s, {2, 37 * 12, 12}, 0};
    const View in2[] = {strided, biases, scale.view}, out2[] = {gaps, total.view};
    run_rows(softmax_tape(), in2, out2);
    Values packed(s, 8);
    run(Tape{{f}, {}, {0}}, {&gaps, 1}, {&packed.view, 1});
    expect_same(packed, y, "strided");
}

TEST(Rows, AResultMayTakeTheMemoryOfWhatIsReadBefore) {
    const RowTape t = softmax_tape();
    EXPECT_TRUE(may_overwrite(t, 0, 0));
    EXPECT_FALSE(may_overwrite(t, 2, 0));
    RowTape again = t;  // the operand is read once more at the end
    again.code.push_back({Kind::apply, false, {}, {Opcode::add, f, f, {11, 0, 0}}});
    EXPECT_FALSE(may_overwrite(again, 0, 0));
    for (const std::int64_t columns : {33, 3000}) {
        const Shape s{5, columns};
        Values x(s, 1), bias(s, 2), scale({5}, 3), y(s, 4), total({5}, 5);
        const View in[] = {x.view, bias.view, scale.view}, out[] = {y.view, total.view}, over[] = {x.view, total.view};
        run_rows(t, in, out);
        run_rows(t, in, over);
        expect_same(x, y, text(columns));
    }
}

TEST(Rows, RefuseWhatDoesNotFit) {
    const RowTape t = softmax_tape();
    Values x({4, 8}, 1), scale({4}, 3), total({4}, 5), other({5}, 6);
    const View in[] = {x.view, x.view, scale.view}, out[] = {x.view, total.view};
    EXPECT_THROW(run_rows(t, std::span(in, 2), out), ValueError);
    const View rows_differ[] = {x.view, x.view, repeated(other.view, {5, 1})};
    EXPECT_THROW(run_rows(t, rows_differ, out), ShapeError);
    RowTape mixed = t;
    mixed.code[1].instruction.operands[0] = 2;  // a reduction of what has no elements
    EXPECT_THROW(run_rows(mixed, in, out), ValueError);
    RowTape early = t;
    early.code[0].instruction.operands[0] = 9;
    EXPECT_THROW(run_rows(early, in, out), ValueError);
}

}  // namespace
}  // namespace tenon::tape
