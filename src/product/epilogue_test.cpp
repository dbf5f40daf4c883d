// A product with an epilogue has the bits of the product stored and the tape run over it.
#include "product/epilogue.h"

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "product/testing.h"
#include "tape/tape.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

using tape::Opcode;
using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::Storage;

/// tanh(product + bias) * scale + residual, computed in float32 and stored in `stored`.
tape::Tape activation(DType product, DType stored) {
    constexpr DType f = DType::float32;
    tape::Tape t;
    t.inputs = {product, f, f};
    std::uint8_t next = 3, wide = 0;
    const auto add = [&](Opcode op, DType type, DType result, std::uint8_t x, std::uint8_t y = 0) {
        t.code.push_back({op, type, result, {x, y, 0}});
        return next++;
    };
    if (product != f) wide = add(Opcode::cast, product, f, 0);
    const std::uint8_t sum = add(Opcode::add, f, f, wide, 1), y = add(Opcode::tanh, f, f, sum);
    std::uint8_t last = add(Opcode::add, f, f, y, 2);
    if (stored != f) last = add(Opcode::cast, f, stored, last);
    t.outputs = {last};
    return t;
}

View broadcast_row(Array& row, const Shape& shape, int axis) {
    View v = row.view();
    v.layout.shape = shape;
    v.layout.strides = Strides(shape.rank(), 0);
    v.layout.strides[axis] = row.layout().strides[0];
    return v;
}

struct Case {
    const char* equation;
    std::vector<std::pair<char, std::int64_t>> extents;
    DType operands, product, stored;
    Storage out;
};

void expect_fused(const Case& c, int threads) {
    const Equation equation(c.equation);
    Array a(c.operands, equation.shape_a(c.extents)), b(c.operands, equation.shape_b(c.extents));
    a.randomize(1), b.randomize(2);
    const Shape shape = equation.shape_out(c.extents);
    Array bias(DType::float32, {shape.back()}), residual(DType::float32, shape, Storage::padded);
    bias.randomize(3), residual.randomize(4);
    const View inputs[] = {broadcast_row(bias, shape, shape.rank() - 1), residual.view()};
    const tape::Tape t = activation(c.product, c.stored);

    Array fused(c.stored, shape, c.out), product(c.product, shape), apart(c.stored, shape, c.out);
    const Epilogue epilogue{t, inputs};
    set_num_threads(threads);
    contract(a.view(), b.view(), fused.view(), equation.labels(), {}, &epilogue);
    contract(a.view(), b.view(), product.view(), equation.labels());
    const View all[] = {product.view(), inputs[0], inputs[1]}, to = apart.view();
    tape::run(t, all, {&to, 1});
    set_num_threads(0);
    EXPECT_EQ(first_difference(fused, apart, c.stored), -1)
        << c.equation << " " << name(c.operands) << " " << name(c.product) << " " << name(c.stored) << " k "
        << c.extents.back().second << ", " << threads << " threads";
}

TEST(Epilogue, HasTheBitsOfTheProductAndTheTapeApart) {
    const DType types[][3] = {{DType::float32, DType::float32, DType::float32},
                              {DType::float32, DType::float32, DType::bfloat16},
                              {DType::bfloat16, DType::bfloat16, DType::bfloat16},
                              {DType::bfloat16, DType::float32, DType::float32},
                              {DType::float16, DType::float16, DType::float32}};
    const char* const equations[] = {"mk,kn->mn",    "km,nk->mn",   "bmk,bkn->bmn",
                                     "mbk,bkn->mbn", "apk,kq->paq", "mk,kn->nm"};
    for (const Isa set : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::neon}) {
        if (!supported(set)) continue;
        const Isa before = isa();
        force_isa(set);
        for (const auto& t : types)
            for (const char* equation : equations)
                for (const std::int64_t k : {5, 400, 7000})
                    for (const Storage out : {Storage::row_major, Storage::shuffled})
                        expect_fused({equation,
                                      {{'a', 3}, {'p', 11}, {'q', 37}, {'b', 2}, {'m', 29}, {'n', 70}, {'k', k}},
                                      t[0],
                                      t[1],
                                      t[2],
                                      out},
                                     1 + static_cast<int>(k % 3));
        force_isa(before);
    }
}

/// Sums that wait in scratch: of some blocks of k at a time, of strips that are stored a part of the rows at a time, of
/// several chunks of columns.
TEST(Epilogue, ManyRowsHaveTheBitsOfTheTapeApart) {
    const DType types[][3] = {{DType::float32, DType::float32, DType::float32},
                              {DType::bfloat16, DType::bfloat16, DType::bfloat16},
                              {DType::float64, DType::float64, DType::float32}};
    const std::int64_t shapes[][3] = {{520, 300, 1700}, {1100, 330, 900}, {200, 1100, 1000},
                                      {900, 200, 64},   {600, 700, 300},  {110, 2100, 500}};
    int threads = 0;
    for (const Isa set : {Isa::avx2, Isa::avx512, Isa::neon}) {
        if (!supported(set)) continue;
        const Isa before = isa();
        force_isa(set);
        for (const auto& t : types)
            for (const auto& [m, n, k] : shapes)
                for (const char* equation : {"mk,kn->mn", "mk,nk->mn"})
                    expect_fused({equation,
                                  {{'m', m}, {'n', n}, {'k', k}},
                                  t[0],
                                  t[1],
                                  t[2],
                                  threads % 4 == 3 ? Storage::shuffled : Storage::row_major},
                                 1 + threads++ % 3);
        force_isa(before);
    }
}

/// Threads keep plans of tapes from one call to the next.
TEST(Epilogue, CallsInTurnDoNotMixTheirTapes) {
    constexpr DType f = DType::float32;
    Array a(f, {40, 50}), b(f, {50, 300}), bias(f, {300}), other(f, {300});
    a.randomize(1), b.randomize(2), bias.randomize(3), other.randomize(4);
    const Shape shape{40, 300};
    Array product(f, shape);
    contract(a.view(), b.view(), product.view(), Equation("mk,kn->mn").labels());
    for (int turn = 0; turn < 30; ++turn) {
        const bool rows = turn % 3 != 0;  // else the whole output is read as it is written
        const Opcode op = turn % 2 == 0 ? Opcode::add : Opcode::multiply;
        Array out(f, shape), apart(f, shape);
        out.randomize(5), apart.randomize(5);
        // The second instruction has the number of turns in it, so that plans give way.
        tape::Tape t;
        t.inputs = {f, f};
        t.code = {{op, f, f, {0, 1, 0}}};
        for (int i = 0; i < turn % 12; ++i)
            t.code.push_back({Opcode::square, f, f, {static_cast<std::uint8_t>(2 + i)}});
        t.outputs = {static_cast<std::uint8_t>(2 + turn % 12)};
        const View in = rows ? broadcast_row(turn % 5 == 0 ? bias : other, shape, 1) : out.view(), to = apart.view();
        const View all[] = {product.view(), rows ? in : apart.view()};
        const Epilogue epilogue{t, {&in, 1}};
        tape::run(t, all, {&to, 1});
        contract(a.view(), b.view(), out.view(), Equation("mk,kn->mn").labels(), {}, &epilogue);
        ASSERT_EQ(first_difference(out, apart, f), -1) << "turn " << turn;
    }
}

/// Few columns at a time, whose sums are stored together.
TEST(Epilogue, StripsOfColumnsHaveTheBitsOfTheTapeApart) {
    for (const DType type : {DType::float32, DType::bfloat16})
        for (const std::int64_t m : {16, 100, 130})
            for (const std::int64_t k : {300, 1000})
                for (const std::int64_t n : {257, 1024, 1100})
                    expect_fused(
                        {"mk,kn->mn", {{'m', m}, {'n', n}, {'k', k}}, type, DType::float32, type, Storage::row_major},
                        1 + static_cast<int>(n % 2));
}

TEST(Epilogue, BadOnesAreRefusedByName) {
    Array a(DType::float32, {2, 3}), b(DType::float32, {3, 4}), out(DType::float32, {2, 4}), bias(DType::float32, {4});
    const tape::Tape t = activation(DType::float32, DType::float32);
    const View wrong[] = {bias.view(), out.view()};
    const Epilogue few{t, {wrong, 1}}, shape{t, wrong};
    const auto refuses = [&](const Epilogue& e, const Finish& finish, const char* part) {
        try {
            contract(a.view(), b.view(), out.view(), Equation("mk,kn->mn").labels(), finish, &e);
            ADD_FAILURE() << "accepted";
        } catch (const ValueError& error) {
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    };
    refuses(few, {}, "takes the product and its inputs");
    refuses(shape, {}, "have the output's shape");
    const View right[] = {out.view(), out.view()};
    refuses({t, right}, {.beta = 1}, "does not add to its output");
}

}  // namespace
}  // namespace tenon::product
