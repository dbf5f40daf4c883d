// Loops on the device have the host's bits, for every opcode, dtype and form.
#include "cuda/loops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <functional>
#include <thread>

#include "base/text.h"
#include "cuda/arrays_testing.h"
#include "cuda/gpu_testing.h"
#include "tape/rows_testing.h"
#include "tape/testing.h"

namespace tenon::cuda {
namespace {

using tape::Opcode;
using tape::Reduction;
using tape::testing::Array;
using tape::testing::same_bits;
using testing::OnDevice;

using LoopsGpuTest = testing::GpuTest;

/// Calls f(0), ..., f(n - 1) on several threads, as the compiler takes nearly all of the time.
void in_turn(std::size_t n, const std::function<void(std::size_t)>& f) {
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < std::min(16u, std::max(1u, std::thread::hardware_concurrency())); ++t)
        threads.emplace_back([&] {
            for (std::size_t i = next++; i < n; i = next++) try {
                    f(i);
                } catch (const std::exception& e) {
                    ADD_FAILURE() << i << ": " << e.what();
                }
        });
    for (std::thread& t : threads) t.join();
}

/// Runs a tape on host and device over views of these layouts (null for contiguous), and compares the bits of all of
/// the outputs' memory.
void compare(const tape::Tape& t, std::vector<Array> in, const std::vector<Layout>& layouts, const Shape& shape,
             const std::string& what) {
    std::vector<Array> out, expected;
    for (const std::uint8_t o : t.outputs) out.emplace_back(tape::type_of(t, o), shape);
    expected = out;
    std::vector<OnDevice> in_device, out_device;
    for (const Array& a : in) in_device.emplace_back(a);
    for (const Array& a : out) out_device.emplace_back(a);
    std::vector<View> host_in, host_out, device_in, device_out;
    for (std::size_t i = 0; i < in.size(); ++i) {
        host_in.push_back(in[i].view(layouts[i]));
        device_in.push_back(in_device[i].view(layouts[i]));
    }
    for (std::size_t o = 0; o < out.size(); ++o) {
        host_out.push_back(expected[o].view());
        device_out.push_back(out_device[o].view());
    }
    tape::run(t, host_in, host_out);
    run(Gpu::at(0), t, device_in, device_out);
    for (std::size_t o = 0; o < out.size(); ++o)
        EXPECT_TRUE(same_bits(out_device[o].back(), expected[o])) << what << " output " << o << "\n" << to_string(t);
}

/// A tape with every opcode of a dtype and its casts, all of which are stored. It is one tape because each kernel takes
/// a compilation.
tape::Tape every_opcode(DType type) {
    tape::Tape t;
    t.inputs = {type, type, type, DType::boolean};
    const auto add = [&](const tape::Instruction& c) {
        t.code.push_back(c);
        t.outputs.push_back(static_cast<std::uint8_t>(3 + t.code.size()));
    };
    for (int i = 0; i < tape::kOpcodeCount; ++i) {
        const auto op = static_cast<Opcode>(i);
        if (op == Opcode::cast || !tape::accepts(op, type)) continue;
        if (op == Opcode::select)
            add({op, type, type, {3, 0, 1}});
        else
            add({op, type, tape::result_type(op, type), {0, 1, 2}});
    }
    for (const DType to : tape::testing::kDTypes) add({Opcode::cast, type, to, {0, 0, 0}});
    return t;
}

void compare_every_opcode(DType type, const Shape& shape) {
    std::vector<Array> in;
    in.reserve(4);
    for (int k = 0; k < 3; ++k) in.push_back(tape::testing::filled(type, shape, k));
    in.push_back(tape::testing::filled(DType::boolean, shape, 0));
    compare(every_opcode(type), in, std::vector<Layout>(4, Layout::contiguous(shape)), shape, text(name(type)));
}

TEST_F(LoopsGpuTest, EveryOpcodeOfEveryDtype) {
    for (const DType type : tape::testing::kDTypes)
        for (const Shape& shape : {Shape{40001}, Shape{600000}}) compare_every_opcode(type, shape);
}

void compare_views(const std::vector<Shape>& shapes) {
    const tape::Tape t{{DType::bfloat16, DType::float32},
                       {{Opcode::cast, DType::bfloat16, DType::float32, {0, 0, 0}},
                        {Opcode::multiply, DType::float32, DType::float32, {1, 2, 0}}},
                       {3, 2}};
    for (const Shape& shape : shapes) {
        const Layout whole = Layout::contiguous(shape);
        const Array x = tape::testing::random_array(DType::bfloat16, shape, 1),
                    y = tape::testing::random_array(DType::float32, shape, 2);
        Layout transposed = Layout::contiguous({shape[2], shape[1], shape[0]});
        std::swap(transposed.shape[0], transposed.shape[2]);
        std::swap(transposed.strides[0], transposed.strides[2]);
        Layout back = whole;
        back.offset = shape[2] - 1;
        back.strides[2] = -1;
        Layout row = whole, column = whole, one = whole;
        row.strides[0] = row.strides[1] = 0;
        column.strides[2] = column.strides[1] = 0;
        one.strides[0] = one.strides[1] = one.strides[2] = 0;
        for (const Layout& a : {whole, transposed, back})
            for (const Layout& b : {whole, transposed, row, column, one})
                compare(t, {x, y}, {a, b}, shape, text(to_string(shape), ' ', to_string(a), ' ', to_string(b)));
    }
}

TEST_F(LoopsGpuTest, ViewsOfAnyStrides) { compare_views({{6, 40, 96}, {5, 33, 77}, {64, 64, 64}}); }

/// Inputs that are contiguous along another axis than the last.
void compare_transposed(DType type, const Shape& shape) {
    const Array x = tape::testing::random_array(type, shape, 1), y = tape::testing::random_array(type, shape, 2);
    const Layout whole = Layout::contiguous(shape);
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) {
        Shape exchanged = shape;
        std::swap(exchanged[axis], exchanged[shape.rank() - 1]);
        Layout transposed = Layout::contiguous(exchanged);
        transposed.shape = shape;
        std::swap(transposed.strides[axis], transposed.strides[shape.rank() - 1]);
        const tape::Tape t{{type, type}, {{Opcode::add, type, type, {0, 1, 0}}}, {2}};
        for (const Layout& other : {whole, transposed})
            compare(t, {x, y}, {transposed, other}, shape, text(name(type), ' ', to_string(shape), ' ', axis));
    }
}

TEST_F(LoopsGpuTest, TransposedInputs) {
    for (const DType type : {DType::int8, DType::bfloat16, DType::float32, DType::float64})
        for (const Shape& shape : {Shape{200, 300}, Shape{3, 129, 66}, Shape{64, 5, 128}, Shape{2, 70, 3, 71}})
            compare_transposed(type, shape);
}

TEST_F(LoopsGpuTest, OutputsInPlaceAndStrided) {
    Gpu& gpu = Gpu::at(0);
    const Array a = tape::testing::random_array(DType::float32, {300, 100}, 3);
    const OnDevice x(a);
    const DType types[] = {DType::float32, DType::float32};
    const View operands[] = {x.view(), x.view()};
    run(gpu, tape::single(Opcode::add, types, DType::float32), operands, {operands, 1});
    Array expected = a;
    const View host[] = {expected.view(), expected.view()};
    tape::run(tape::single(Opcode::add, types, DType::float32), host, {host, 1});
    EXPECT_TRUE(same_bits(x.back(), expected));

    Array wide(DType::float32, {300, 250});
    const OnDevice target(wide);
    const Layout part = Layout::contiguous({300, 250}).slice({0, 51}, {300, 100}, {1, 1});
    copy(gpu, x.view(), target.view(part));
    const View from = expected.view(), to = wide.view(part);
    tape::run(tape::Tape{{DType::float32}, {}, {0}}, {&from, 1}, {&to, 1});
    EXPECT_TRUE(same_bits(target.back(), wide));
}

TEST_F(LoopsGpuTest, Fill) {
    const OnDevice x(Array(DType::float64, {1000}));
    fill(Gpu::at(0), 0x3ff0000000000000u, x.view());
    Array back = x.back();
    for (std::int64_t i = 0; i < 1000; ++i) ASSERT_EQ(back.at<double>(i), 1.0);
    const Layout columns = Layout::contiguous({20, 50}).slice({0, 3}, {20, 10}, {1, 2});
    for (const DType type : {DType::float64, DType::float32, DType::bfloat16, DType::uint8}) {
        const OnDevice y(Array(type, {20, 50}));
        const std::uint64_t all = 0x0706050403020100u;
        fill(Gpu::at(0), all, y.view());
        fill(Gpu::at(0), ~all, y.view(columns));
        back = y.back();
        for (std::int64_t i = 0; i < 1000; ++i) {
            const std::int64_t c = i % 50;
            const std::uint64_t want = c >= 3 && c < 23 && (c - 3) % 2 == 0 ? ~all : all;
            const auto size = static_cast<std::int64_t>(size_of(type));
            ASSERT_EQ(std::memcmp(static_cast<const std::byte*>(back.view().data) + i * size, &want, size_of(type)), 0)
                << name(type) << ' ' << i;
        }
    }
}

tape::RowTape rows_tape(DType f, bool softmax) {
    tape::RowTape t = tape::testing::scaled_rows(f, softmax ? Reduction::max : Reduction::sum,
                                                 softmax ? Opcode::exp : Opcode::square);
    t.code.push_back({tape::RowTape::Kind::apply, false, {}, {Opcode::multiply, f, f, {11, 1, 0}}});  // r12
    t.outputs = {12, 8, 3};
    return t;
}

void compare_rows(const tape::RowTape& t, const Shape& shape, const Layout& second, const std::string& what) {
    const DType f = t.inputs[0].type;
    Shape rows = shape;
    rows.erase(rows.rank() - 1);
    std::vector<Array> in{tape::testing::random_array(f, shape, 5), tape::testing::random_array(f, shape, 6),
                          tape::testing::random_array(f, rows, 7)};
    std::vector<Array> out{Array(f, shape), Array(f, rows), Array(f, shape)};
    std::vector<OnDevice> in_device(in.begin(), in.end()), out_device(out.begin(), out.end());
    const View host_in[] = {in[0].view(), in[1].view(second), in[2].view()};
    const View device_in[] = {in_device[0].view(), in_device[1].view(second), in_device[2].view()};
    std::vector<View> host_out, device_out;
    for (std::size_t o = 0; o < out.size(); ++o) {
        host_out.push_back(out[o].view());
        device_out.push_back(out_device[o].view());
    }
    tape::run_rows(t, host_in, host_out);
    run_rows(Gpu::at(0), t, device_in, device_out);
    for (std::size_t o = 0; o < out.size(); ++o)
        EXPECT_TRUE(same_bits(out_device[o].back(), out[o])) << what << " output " << o;
}

TEST_F(LoopsGpuTest, RowsOfEveryLength) {
    struct Case {
        DType type;
        bool softmax;
        std::int64_t columns;
    };
    std::vector<Case> cases;
    for (const std::int64_t columns :
         {3000001, 100000, 50000, 20000, 16385, 16384, 8200, 8192, 4096, 2049, 2048, 1024, 1000, 128, 65, 64, 10, 3, 1})
        for (const DType type : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
            for (const bool softmax : {true, false}) {
                // Each kernel takes a compilation, so the other dtypes run only one of the two tapes.
                if (softmax != (type == DType::float16) && type != DType::float32 && type != DType::bfloat16) continue;
                cases.push_back({type, softmax, columns});
            }
    in_turn(cases.size(), [&](std::size_t i) {
        for (const std::int64_t rows : {1, 7, 300}) {
            const Case& c = cases[i];
            if (rows * c.columns > 6'000'000) continue;
            const Shape shape{rows, c.columns};
            compare_rows(rows_tape(c.type, c.softmax), shape, Layout::contiguous(shape),
                         text(name(c.type), ' ', c.softmax, ' ', rows, 'x', c.columns));
        }
    });
}

/// What cross-entropy computes of rows of logits.
tape::RowTape logits_tape(DType type) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32;
    tape::RowTape t;
    t.inputs = {{type, false}};
    t.code = {{Kind::apply, false, {}, {type == f ? Opcode::negative : Opcode::cast, type, f, {0, 0, 0}}},
              {Kind::reduce, true, Reduction::max, {{}, f, f, {1, 0, 0}}},
              {Kind::repeat, false, {}, {{}, f, f, {2, 0, 0}}},
              {Kind::apply, false, {}, {Opcode::subtract, f, f, {1, 3, 0}}},
              {Kind::apply, false, {}, {Opcode::exp, f, f, {4, 0, 0}}},
              {Kind::reduce, true, Reduction::sum, {{}, f, f, {5, 0, 0}}},
              {Kind::apply, true, {}, {Opcode::log, f, f, {6, 0, 0}}}};
    t.outputs = {2, 7, 6};
    return t;
}

void compare_logits(DType type, const Shape& shape, void (*change)(Array&) = nullptr) {
    constexpr DType f = DType::float32;
    const tape::RowTape t = logits_tape(type);
    Array x = tape::testing::random_array(type, shape, 5);
    if (change) change(x);
    std::vector<Array> out(3, Array(f, {shape[0]}));
    const OnDevice in(x);
    const std::vector<OnDevice> there(out.begin(), out.end());
    const View from = x.view(), device_from = in.view();
    const View to[] = {out[0].view(), out[1].view(), out[2].view()},
               device_to[] = {there[0].view(), there[1].view(), there[2].view()};
    tape::run_rows(t, {&from, 1}, to);
    run_rows(Gpu::at(0), t, {&device_from, 1}, device_to);
    for (std::size_t o = 0; o < out.size(); ++o)
        EXPECT_TRUE(same_bits(there[o].back(), out[o])) << name(type) << to_string(shape) << ' ' << o;
}

TEST_F(LoopsGpuTest, LogitsOfSeveralChunks) {
    for (const DType type : {DType::float32, DType::bfloat16})
        for (const std::int64_t rows : {1, 270}) compare_logits(type, {rows, 20488});
}

TEST_F(LoopsGpuTest, LogitsOfManyChunks) {
    for (const DType type : {DType::float32, DType::bfloat16}) {
        for (const std::int64_t columns : {16392, 32768, 50000, 50264}) compare_logits(type, {300, columns});
        compare_logits(type, {1, 100000});
    }
}

TEST_F(LoopsGpuTest, LogitsWithTheirExponentials) {
    const Shape shape{150, 20480};
    for (const DType type : {DType::float32, DType::bfloat16}) {
        tape::RowTape t = logits_tape(type);
        t.outputs = {5, 7};
        Array x = tape::testing::random_array(type, shape, 5), exponentials(DType::float32, shape),
              logs(DType::float32, {shape[0]});
        const OnDevice in(x), first(exponentials), second(logs);
        const View from = x.view(), device_from = in.view();
        const View to[] = {exponentials.view(), logs.view()}, device_to[] = {first.view(), second.view()};
        tape::run_rows(t, {&from, 1}, to);
        run_rows(Gpu::at(0), t, {&device_from, 1}, device_to);
        EXPECT_TRUE(same_bits(first.back(), exponentials)) << name(type);
        EXPECT_TRUE(same_bits(second.back(), logs)) << name(type);
    }
}

/// Rows of bfloat16 with infinities, NaN, zeros, only negative numbers and all bit patterns, in turn.
void make_special(Array& x) {
    const std::int64_t columns = x.view().shape()[1];
    for (std::int64_t i = 0; i < x.size(); ++i) {
        const std::int64_t row = i / columns, column = i % columns;
        auto& bits = x.at<std::uint16_t>(i);
        switch (row % 10) {
            case 0:
                bits |= 0x8000;
                break;
            case 1:
                bits = column % 1000 == row ? 0xff80 : bits;
                break;  // some -infinity
            case 2:
                bits = column == 7 * row ? 0x7f80 : bits;
                break;
            case 3:
                bits = column == 9 * row ? 0x7fc0 : bits;
                break;
            case 4:
                bits = column == columns - 1 ? 0xffff : bits;
                break;
            case 5:
                bits = 0xff80;
                break;
            case 6:
                bits = column % 3 == 0 ? 0x8000 : 0;
                break;
            case 7:
                bits = static_cast<std::uint16_t>(column * 40503 >> 3);
                break;  // any
            case 8:
                bits = column >= columns - 300 ? 0xff80 : bits;
                break;
            case 9:
                bits = static_cast<std::uint16_t>(0x3f80 + column % 8);
                break;
        }
    }
}

TEST_F(LoopsGpuTest, SpecialLogits) {
    for (const std::int64_t columns : {16392, 20480, 50000})
        compare_logits(DType::bfloat16, {600, columns}, make_special);
}

/// Softmax of 16-bit numbers as graphs compute it: in float32, rounded at the end. Every other row has numbers whose
/// exponentials differ by more than float32's range.
void compare_softmax(DType half, const Shape& shape, bool specials) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32;
    tape::RowTape t;
    t.inputs = {{half, false}};
    t.code = {{Kind::apply, false, {}, {Opcode::cast, half, f, {0, 0, 0}}},
              {Kind::reduce, true, Reduction::max, {{}, f, f, {1, 0, 0}}},
              {Kind::repeat, false, {}, {{}, f, f, {2, 0, 0}}},
              {Kind::apply, false, {}, {Opcode::subtract, f, f, {1, 3, 0}}},
              {Kind::apply, false, {}, {Opcode::exp, f, f, {4, 0, 0}}},
              {Kind::reduce, true, Reduction::sum, {{}, f, f, {5, 0, 0}}},
              {Kind::repeat, false, {}, {{}, f, f, {6, 0, 0}}},
              {Kind::apply, false, {}, {Opcode::divide, f, f, {5, 7, 0}}},
              {Kind::apply, false, {}, {Opcode::cast, f, half, {8, 0, 0}}}};
    t.outputs = {9};
    Array x = specials ? tape::testing::filled(half, shape, 1) : tape::testing::random_array(half, shape, 5);
    if (half == DType::bfloat16 && !specials)  // Make all magnitudes less than 4.
        for (std::int64_t i = 0; i < x.size(); ++i)
            if (auto& bits = x.at<std::uint16_t>(i); i / shape[1] % 2 == 0 && (bits & 0x7fff) >= 0x4080) bits &= 0xbfff;
    Array out(half, shape);
    const OnDevice in(x), there(out);
    const View from = x.view(), to = out.view(), device_from = in.view(), device_to = there.view();
    tape::run_rows(t, {&from, 1}, {&to, 1});
    run_rows(Gpu::at(0), t, {&device_from, 1}, {&device_to, 1});
    EXPECT_TRUE(same_bits(there.back(), out)) << name(half) << to_string(shape) << specials;
}

TEST_F(LoopsGpuTest, SoftmaxOfHalves) {
    const std::int64_t columns[] = {32, 40, 64, 100, 256, 1000, 1024, 1280, 2048, 4096, 4104, 8192, 16384, 20000};
    in_turn(std::size(columns), [&](std::size_t i) {
        for (const DType half : {DType::bfloat16, DType::float16})
            for (const bool specials : {false, true}) compare_softmax(half, {300, columns[i]}, specials);
    });
}

TEST_F(LoopsGpuTest, RowsOfViews) {
    for (const Shape& shape : {Shape{4, 50, 96}, Shape{3, 5, 7, 33}}) {
        const int last = shape.rank() - 1;
        Layout bias = Layout::contiguous(shape), transposed = bias, column = bias;
        for (int d = 0; d < last; ++d) bias.strides[d] = 0;
        column.strides[last] = 0;
        std::int64_t stride = 1;
        for (int d = 0; d <= last; ++d) transposed.strides[d] = stride, stride *= shape[d];
        for (const Layout& l : {bias, transposed, column})
            compare_rows(rows_tape(DType::float32, true), shape, l, text(to_string(shape), to_string(l)));
    }
}

TEST_F(LoopsGpuTest, RowsInPlace) {
    // Some of these rows are too long to be kept.
    for (const std::int64_t columns : {100, 4096, 70000, 200000}) {
        const Shape shape{20, columns};
        const tape::RowTape t = rows_tape(DType::float32, true);
        Array x = tape::testing::random_array(DType::float32, shape, 5),
              y = tape::testing::random_array(DType::float32, shape, 6),
              z = tape::testing::random_array(DType::float32, {20}, 7), sums(DType::float32, {20}),
              first(DType::float32, shape), second(DType::float32, shape);
        const OnDevice a(x), b(y), c(z), s(sums), other(second);
        const View host_in[] = {x.view(), y.view(), z.view()}, host_out[] = {first.view(), sums.view(), second.view()};
        tape::run_rows(t, host_in, host_out);
        const View device_in[] = {a.view(), b.view(), c.view()}, device_out[] = {b.view(), s.view(), other.view()};
        run_rows(Gpu::at(0), t, device_in, device_out);
        EXPECT_TRUE(same_bits(b.back(), first)) << columns;
        EXPECT_TRUE(same_bits(s.back(), sums)) << columns;
        EXPECT_TRUE(same_bits(other.back(), second)) << columns;
    }
}

struct Case {
    Shape shape;
    Axes axes;
};

void compare_reductions(DType type, Reduction op, const Case& c) {
    Array x = tape::testing::random_array(type, c.shape, 9);
    Shape left;
    for (int d = 0; d < c.shape.rank(); ++d)
        if (std::ranges::find(c.axes, d) == c.axes.end()) left.push_back(c.shape[d]);
    Array expected(type, left);
    const OnDevice in(x), out(expected);
    tape::reduce(op, x.view(), c.axes, expected.view());
    reduce(Gpu::at(0), op, in.view(), c.axes, out.view());
    EXPECT_TRUE(same_bits(out.back(), expected))
        << name(type) << ' ' << to_string(c.shape) << ' ' << to_string(c.axes) << ' ' << static_cast<int>(op);
}

TEST_F(LoopsGpuTest, ReductionsOverAnyAxes) {
    const Case cases[] = {{{1000}, {0}},         {{1}, {0}},           {{70000}, {0}},         {{1'000'000}, {0}},
                          {{3, 400'001}, {1}},   {{50, 300}, {1}},     {{50, 300}, {0}},       {{3, 20000}, {1}},
                          {{20000, 40}, {0}},    {{40000, 33}, {0}},   {{5, 6, 7}, {0, 2}},    {{5, 60, 70}, {1}},
                          {{31, 8, 9}, {1, 2}},  {{31, 8, 9}, {0, 1}}, {{4, 3, 5, 6}, {0, 2}}, {{700, 96}, {0}},
                          {{3, 500, 40}, {1}},   {{3, 5000, 40}, {1}}, {{0, 5}, {0}},          {{5, 0}, {0}},
                          {{2, 3, 4}, {0, 1, 2}}};
    struct Kind {
        DType type;
        Reduction op;
    };
    std::vector<Kind> kinds;
    for (const DType type : tape::testing::kDTypes)
        for (const Reduction op : {Reduction::sum, Reduction::prod, Reduction::max, Reduction::min})
            if (type != DType::boolean || op == Reduction::max || op == Reduction::min) kinds.push_back({type, op});
    in_turn(kinds.size(), [&](std::size_t i) {
        for (const Case& c : cases) compare_reductions(kinds[i].type, kinds[i].op, c);
    });
}

TEST_F(LoopsGpuTest, ReductionsOfViewsAndSpecialValues) {
    Array x = tape::testing::filled(DType::float32, {60, 70, 80}, 0);
    const OnDevice in(x);
    Layout transposed = Layout::contiguous({60, 70, 80});
    std::swap(transposed.shape[0], transposed.shape[2]);
    std::swap(transposed.strides[0], transposed.strides[2]);
    for (const Axes& axes : {Axes{0}, Axes{1}, Axes{2}, Axes{0, 2}})
        for (const Reduction op : {Reduction::sum, Reduction::max, Reduction::min}) {
            Shape left;
            for (int d = 0; d < 3; ++d)
                if (std::ranges::find(axes, d) == axes.end()) left.push_back(transposed.shape[d]);
            Array expected(DType::float32, left);
            const OnDevice out(expected);
            tape::reduce(op, x.view(transposed), axes, expected.view());
            reduce(Gpu::at(0), op, in.view(transposed), axes, out.view());
            EXPECT_TRUE(same_bits(out.back(), expected)) << to_string(axes) << static_cast<int>(op);
        }
}

void compare_arguments(DType type, Reduction op, const Case& c) {
    Array x = tape::testing::filled(type, c.shape, 0);
    const int axis = static_cast<int>(c.axes[0]);
    Shape left = c.shape;
    left.erase(axis);
    Array expected(DType::int64, left);
    const OnDevice in(x), out(expected);
    tape::argreduce(op, x.view(), c.axes, expected.view());
    argreduce(Gpu::at(0), op, in.view(), c.axes, out.view());
    EXPECT_TRUE(same_bits(out.back(), expected)) << name(type) << ' ' << to_string(c.shape);
    if (type == DType::boolean) return;
    for (const Reduction running : {Reduction::sum, Reduction::prod, op}) {
        Array y = tape::testing::random_array(type, c.shape, 3), all(type, c.shape);
        const OnDevice from(y), to(all);
        tape::cumulative(running, y.view(), axis, all.view());
        cumulative(Gpu::at(0), running, from.view(), axis, to.view());
        EXPECT_TRUE(same_bits(to.back(), all)) << name(type) << ' ' << to_string(c.shape);
    }
}

TEST_F(LoopsGpuTest, ArgumentsOfExtremesAndRunningResults) {
    for (const DType type : tape::testing::kDTypes)
        for (const Case& c :
             {Case{{40, 300}, {1}}, Case{{40, 300}, {0}}, Case{{5, 6, 2000}, {2}}, Case{{5, 700, 3}, {1}}})
            for (const Reduction op : {Reduction::max, Reduction::min}) compare_arguments(type, op, c);
}

TEST_F(LoopsGpuTest, CopiesOfStridedViews) {
    Array x = tape::testing::random_array(DType::bfloat16, {30, 40}, 1);
    const OnDevice in(x);
    Layout transposed = Layout::contiguous({30, 40});
    std::swap(transposed.shape[0], transposed.shape[1]);
    std::swap(transposed.strides[0], transposed.strides[1]);
    Array got(DType::bfloat16, {40, 30}), expected(DType::bfloat16, {40, 30});
    const View from = x.view(transposed), to = expected.view();
    tape::run(tape::Tape{{DType::bfloat16}, {}, {0}}, {&from, 1}, {&to, 1});
    copy_to_host(Gpu::at(0), in.view(transposed), got.bytes.data());
    EXPECT_TRUE(same_bits(got, expected));
    copy_to_device(Gpu::at(0), got.bytes.data(), in.view(transposed));
    EXPECT_TRUE(same_bits(in.back(), x));
}

// Every form of a kernel once, of so few elements that compute-sanitizer ends in seconds (tools/on-gpu).

TEST_F(LoopsGpuTest, SmallLoops) {
    for (const DType type : {DType::bfloat16, DType::float32, DType::int64}) compare_every_opcode(type, {1003});
    compare_views({{3, 10, 32}, {2, 5, 7}});
    for (const DType type : {DType::bfloat16, DType::float32})
        for (const Shape& shape : {Shape{70, 66}, Shape{2, 66, 3, 65}}) compare_transposed(type, shape);
}

TEST_F(LoopsGpuTest, SmallRows) {
    // Rows spread over blocks, in shared memory, in registers of several warps, of one warp, several rows to a warp;
    // and few columns.
    for (const std::int64_t columns : {50001, 16385, 4096, 1024, 1000, 65, 10, 3})
        for (const DType type : {DType::float32, DType::bfloat16})
            for (const bool softmax : {true, false})
                compare_rows(rows_tape(type, softmax), {5, columns}, Layout::contiguous({5, columns}), "small");
    for (const std::int64_t columns : {100, 1024, 4096}) compare_softmax(DType::bfloat16, {5, columns}, false);
}

TEST_F(LoopsGpuTest, SmallReductions) {
    for (const DType type : {DType::bfloat16, DType::float32, DType::int64})
        for (const Reduction op : {Reduction::sum, Reduction::max})
            for (const Case& c : {Case{{70000}, {0}}, Case{{50, 300}, {1}}, Case{{50, 300}, {0}}, Case{{3, 20000}, {1}},
                                  Case{{20000, 40}, {0}}, Case{{40000, 33}, {0}}, Case{{5, 6, 7}, {0, 2}},
                                  Case{{5, 60, 70}, {1}}, Case{{3, 5000, 40}, {1}}})
                compare_reductions(type, op, c);
    for (const DType type : {DType::bfloat16, DType::int64})
        for (const Case& c : {Case{{4, 300}, {1}}, Case{{40, 30}, {0}}, Case{{2, 3, 2000}, {2}}})
            compare_arguments(type, Reduction::max, c);
}

}  // namespace
}  // namespace tenon::cuda
