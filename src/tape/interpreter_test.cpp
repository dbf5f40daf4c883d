// Tapes over strided views: against the reference, in every instruction set, with several threads, in place; the
// printer; errors.
#include "tape/testing.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::tape {
namespace {

using namespace testing;

constexpr DType kF32 = DType::float32;

Instruction make(Opcode op, DType type, std::initializer_list<std::uint8_t> operands) {
    Instruction code{op, type, result_type(op, type)};
    std::copy(operands.begin(), operands.end(), code.operands);
    return code;
}

/// gelu(x y) and whether x < y: several registers, two outputs, a cast, a select.
Tape long_tape() {
    Tape t;
    t.inputs = {kF32, kF32, kF32};
    t.code = {make(Opcode::multiply, kF32, {0, 1}), make(Opcode::multiply, kF32, {3, 2}),
              make(Opcode::erf, kF32, {4}),         make(Opcode::fma, kF32, {3, 5, 3}),
              make(Opcode::less, kF32, {0, 1}),     make(Opcode::select, kF32, {7, 6, 0})};
    t.code.push_back({Opcode::cast, kF32, DType::bfloat16, {8}});
    t.code.push_back({Opcode::cast, DType::bfloat16, kF32, {9}});
    t.code.push_back(make(Opcode::add, kF32, {10, 3}));
    t.outputs = {11, 7, 9};
    return t;
}

/// Runs over the views with every set and 1, 2 and 5 threads; all give the reference's bits.
void expect_reference(const Tape& tape, const std::vector<View>& inputs, std::vector<Array>& outputs,
                      const std::vector<Layout>& layouts) {
    std::vector<Array> want = outputs;
    const auto views = [&](std::vector<Array>& arrays) {
        std::vector<View> v;
        for (std::size_t i = 0; i < arrays.size(); ++i) v.push_back(arrays[i].view(layouts[i]));
        return v;
    };
    run_reference(tape, inputs, views(want));
    for (const Isa set : supported_isas()) {
        const WithIsa forced(set);
        for (const int threads : {1, 2, 5}) {
            set_num_threads(threads);
            std::vector<Array> got = outputs;
            run(tape, inputs, views(got));
            for (std::size_t i = 0; i < got.size(); ++i)
                EXPECT_TRUE(same_bits(got[i], want[i]))
                    << "output " << i << ", " << name(set) << ", " << threads << " threads";
        }
    }
    set_num_threads(0);
}

std::vector<Array> outputs_for(const Tape& tape, const Shape& shape) {
    std::vector<Array> v;
    for (const std::uint8_t r : tape.outputs)
        v.emplace_back(r < tape.inputs.size() ? tape.inputs[r] : tape.code[r - tape.inputs.size()].result, shape);
    return v;
}

void expect_reference_dense(const Tape& tape, const std::vector<View>& inputs, const Shape& shape) {
    std::vector<Array> outputs = outputs_for(tape, shape);
    expect_reference(tape, inputs, outputs, std::vector<Layout>(outputs.size(), Layout::contiguous(shape)));
}

TEST(Interpreter, DenseOperandsOfAllLengths) {
    for (const std::int64_t n : {0, 1, 2, 7, 31, 33, 1023, 1024, 1025, 5000, 100'003}) {
        Array a = filled(kF32, {n}, 0), b = filled(kF32, {n}, 1), c = filled(kF32, {n}, 2);
        expect_reference_dense(long_tape(), {a.view(), b.view(), c.view()}, {n});
    }
}

TEST(Interpreter, BroadcastAndStridedOperands) {
    for (const Shape& shape :
         {Shape{3, 5}, Shape{70, 300}, Shape{1, 1}, Shape{400, 3}, Shape{9, 2000}, Shape{130, 129}}) {
        const std::int64_t m = shape[0], n = shape[1];
        Array scalar = filled(kF32, {}, 0), row = filled(kF32, {n}, 1), column = filled(kF32, {m, 1}, 0, 5);
        Array whole = filled(kF32, {m, n}, 0, 3), transposed = filled(kF32, {n, m}, 1, 4),
              wide = filled(kF32, {2 * m, 3 * n}, 0);
        const View transposed_view = transposed.view(Layout::contiguous({n, m}).transpose({1, 0}));
        const View sliced = wide.view(Layout::contiguous({2 * m, 3 * n}).slice({2 * m - 1, 1}, {m, n}, {-2, 3}));
        const View scalar_view = scalar.view(Layout::contiguous({}).broadcast(shape));
        const View row_view = row.view(Layout::contiguous({n}).broadcast(shape));
        const View column_view = column.view(Layout::contiguous({m, 1}).broadcast(shape));
        expect_reference_dense(long_tape(), {whole.view(), transposed_view, scalar_view}, shape);
        expect_reference_dense(long_tape(), {row_view, sliced, column_view}, shape);
        expect_reference_dense(long_tape(), {scalar_view, row_view, scalar_view}, shape);
        // Single instructions take the same paths.
        const DType types[] = {kF32, kF32};
        expect_reference_dense(single(Opcode::add, types, kF32), {transposed_view, row_view}, shape);
    }
}

TEST(Interpreter, StridedOutputs) {
    const Shape shape{40, 70};
    Array a = filled(kF32, shape, 0), b = filled(kF32, shape, 1), c = filled(kF32, shape, 0, 9);
    std::vector<Array> outputs = outputs_for(long_tape(), {90, 160});
    const Layout whole = Layout::contiguous({90, 160});
    const std::vector<Layout> layouts = {whole.slice({0, 0}, {70, 40}, {1, 4}).transpose({1, 0}),
                                         whole.slice({80, 3}, shape, {-2, 1}), whole.slice({0, 0}, shape, {1, 1})};
    expect_reference(long_tape(), {a.view(), b.view(), c.view()}, outputs, layouts);
}

TEST(Interpreter, ManySmallAxes) {
    const Shape shape{6, 3, 5, 2, 4, 3};
    Array a = filled(kF32, {3, 4, 2, 5, 3, 6}, 0), b = filled(kF32, {5, 1, 4, 1}, 1), c = filled(kF32, shape, 0, 4);
    const View transposed = a.view(Layout::contiguous({3, 4, 2, 5, 3, 6}).transpose({5, 4, 3, 2, 1, 0}));
    const View spread = b.view(Layout::contiguous({5, 1, 4, 1}).broadcast(shape));
    expect_reference_dense(long_tape(), {transposed, spread, c.view()}, shape);
}

TEST(Interpreter, InPlace) {
    const Shape shape{4000};
    // r2 = r0 + r1 replaces r0, which r3 = r2 r0 still reads.
    Tape t;
    t.inputs = {kF32, kF32};
    t.code = {make(Opcode::add, kF32, {0, 1}), make(Opcode::multiply, kF32, {2, 0})};
    t.outputs = {2, 3};
    Array a = filled(kF32, shape, 0), b = filled(kF32, shape, 1), want_sum(kF32, shape), want_product(kF32, shape);
    run_reference(t, std::vector{a.view(), b.view()}, std::vector{want_sum.view(), want_product.view()});
    run(t, std::vector{a.view(), b.view()}, std::vector{a.view(), b.view()});
    EXPECT_TRUE(same_bits(a, want_sum));
    EXPECT_TRUE(same_bits(b, want_product));
    // Exchanging two arrays.
    Tape exchange;
    exchange.inputs = {kF32, kF32};
    exchange.outputs = {1, 0};
    run(exchange, std::vector{a.view(), b.view()}, std::vector{a.view(), b.view()});
    EXPECT_TRUE(same_bits(b, want_sum));
    EXPECT_TRUE(same_bits(a, want_product));
    // A cast to a type of the same width, and a strided one.
    const DType types[] = {kF32};
    Array ints(DType::int32, shape), strided = a;
    run_reference(single(Opcode::cast, types, DType::int32), std::vector{a.view()}, std::vector{ints.view()});
    Array raw = a;
    raw.dtype = DType::int32;
    run(single(Opcode::cast, types, DType::int32), std::vector{View{raw.bytes.data(), kF32, Layout::contiguous(shape)}},
        std::vector{raw.view()});
    EXPECT_TRUE(same_bits(raw, ints));
    const Layout half = Layout::contiguous(shape).slice({1}, {2000}, {2});
    Array want = strided;
    run_reference(single(Opcode::exp, types, kF32), std::vector{strided.view(half)}, std::vector{want.view(half)});
    run(single(Opcode::exp, types, kF32), std::vector{strided.view(half)}, std::vector{strided.view(half)});
    EXPECT_TRUE(same_bits(strided, want));
}

TEST(Interpreter, ManyRegisters) {
    Tape t;
    t.inputs = {kF32, kF32};
    for (std::uint8_t k = 0; k < 250; ++k)
        t.code.push_back(make(k % 3 == 0   ? Opcode::add
                              : k % 3 == 1 ? Opcode::multiply
                                           : Opcode::tanh,
                              kF32, {static_cast<std::uint8_t>(k + 1), static_cast<std::uint8_t>(k / 2)}));
    t.outputs = {251, 100, 0};
    const Shape shape{1500};
    Array a = filled(kF32, shape, 0), b = filled(kF32, shape, 1);
    expect_reference_dense(t, {a.view(), b.view()}, shape);
}

TEST(Interpreter, TapeFusedOrNotGivesTheSameBits) {
    const Shape shape{3000};
    for (const DType type : {DType::float16, DType::bfloat16, kF32, DType::float64}) {
        Array a = filled(type, shape, 0), b = filled(type, shape, 1), fused(type, shape), sum(type, shape),
              steps(type, shape);
        Tape t;
        t.inputs = {type, type};
        t.code = {make(Opcode::add, type, {0, 1}), make(Opcode::exp, type, {2})};
        t.outputs = {3};
        run(t, std::vector{a.view(), b.view()}, std::vector{fused.view()});
        const DType two[] = {type, type};
        run(single(Opcode::add, two, type), std::vector{a.view(), b.view()}, std::vector{sum.view()});
        run(single(Opcode::exp, std::span(two, 1), type), std::vector{sum.view()}, std::vector{steps.view()});
        EXPECT_TRUE(same_bits(fused, steps)) << name(type);
    }
}

TEST(Tape, PrintsItself) {
    const DType types[] = {kF32};
    EXPECT_EQ(to_string(single(Opcode::cast, types, DType::int8)),
              "r0:float32 = input\nr1:int8 = cast r0\noutput r1\n");
}

TEST(Tape, RefusesWhatDoesNotFit) {
    const DType types[] = {kF32, kF32};
    Array a(kF32, {3}), b(kF32, {4}), d(DType::float64, {3});
    const Tape add = single(Opcode::add, types, kF32);
    EXPECT_THROW(run(add, std::vector{a.view(), b.view()}, std::vector{a.view()}), ShapeError);
    EXPECT_THROW(run(add, std::vector{a.view(), d.view()}, std::vector{a.view()}), TypeError);
    EXPECT_THROW(run(add, std::vector{a.view()}, std::vector{a.view()}), ValueError);
    EXPECT_THROW(single(Opcode::exp, types, kF32), TypeError);
    const DType ints[] = {DType::int32};
    Array i(DType::int32, {3});
    EXPECT_THROW(run(single(Opcode::exp, ints, DType::int32), std::vector{i.view()}, std::vector{i.view()}), TypeError);
    Tape early = add;
    early.code[0].operands[1] = 2;
    EXPECT_THROW(run(early, std::vector{a.view(), a.view()}, std::vector{a.view()}), ValueError);
}

}  // namespace
}  // namespace tenon::tape
