#include "cuda/row_sums.h"

#include <gtest/gtest.h>

#include "cuda/gpu_testing.h"
#include "tape/testing.h"

namespace tenon::cuda {
namespace {

using RowSumsGpuTest = testing::GpuTest;
using tape::Opcode;
using tape::Reduction;
using tape::testing::Array;
using tape::testing::same_bits;
using Kind = tape::RowTape::Kind;

struct There {
    std::shared_ptr<Storage> storage;
    View view;
};
There moved(const Array& a) {
    There t{Gpu::at(0).allocate(static_cast<std::int64_t>(a.bytes.size())), {}};
    Gpu::at(0).to_device(t.storage->data(), a.bytes.data(), t.storage->bytes());
    t.view = {t.storage->data(), a.dtype, Layout::contiguous(a.shape)};
    return t;
}

/// Inputs are x, dy, w and a value for each row. There are two reductions one after the other; elements and both values
/// of rows are stored.
tape::RowTape rows_tape(DType f) {
    tape::RowTape t;
    t.inputs = {{f, false}, {f, false}, {f, false}, {f, true}};
    const auto apply = [&](Opcode op, std::uint8_t a, std::uint8_t b, bool per_row = false) {
        t.code.push_back({Kind::apply, per_row, {}, {op, f, f, {a, b, 0}}});
    };
    const auto sum = [&](std::uint8_t a) {
        t.code.push_back({Kind::reduce, true, Reduction::sum, {{}, f, f, {a, 0, 0}}});
    };
    const auto repeat = [&](std::uint8_t a) { t.code.push_back({Kind::repeat, false, {}, {{}, f, f, {a, 0, 0}}}); };
    sum(0);  // r4
    apply(Opcode::multiply, 4, 3, true);  // r5
    repeat(5);  // r6
    apply(Opcode::subtract, 0, 6);  // r7
    apply(Opcode::multiply, 1, 2);  // r8
    apply(Opcode::multiply, 7, 8);  // r9
    sum(9);  // r10
    repeat(10);  // r11
    apply(Opcode::multiply, 7, 11);  // r12
    apply(Opcode::subtract, 8, 12);  // r13
    t.outputs = {13, 5, 10};
    return t;
}

/// Sums of (x - r5) r10 w + r3 and of dy, with operands of every kind.
tape::Tape sums_tape(DType f) {
    return {{f, f, f, f, f, f},
            {{Opcode::subtract, f, f, {0, 1, 0}},
             {Opcode::multiply, f, f, {6, 2, 0}},
             {Opcode::multiply, f, f, {7, 3, 0}},
             {Opcode::add, f, f, {8, 4, 0}}},
            {9, 5}};
}

void compare(DType type, const Shape& shape) {
    Gpu& gpu = Gpu::at(0);
    const int last = shape.rank() - 1;
    Shape rows = shape;
    rows.erase(last);
    const Layout whole = Layout::contiguous(shape);
    Layout of_columns = whole, of_rows = whole;
    for (int d = 0; d < last; ++d) of_columns.strides[d] = 0, of_rows.strides[d] = whole.strides[d] / shape[last];
    of_rows.strides[last] = 0;
    std::vector<Array> in{tape::testing::random_array(type, shape, 1), tape::testing::random_array(type, shape, 2),
                          tape::testing::random_array(type, {shape[last]}, 3),
                          tape::testing::random_array(type, rows, 4)};
    std::vector<Array> out{Array(type, shape), Array(type, rows), Array(type, rows), Array(type, {shape[last]}),
                           Array(type, {shape[last]})};
    std::vector<There> in_there, out_there;
    for (const Array& a : in) in_there.push_back(moved(a));
    for (const Array& a : out) {
        out_there.push_back(moved(a));
        gpu.fill_bytes(out_there.back().storage->data(), 0xff, out_there.back().storage->bytes());
    }
    const auto views = [&](auto&& of) {
        struct {
            std::vector<View> rows_in, sums_in, rows_out, sums_out;
        } v;
        v.rows_in = {of(true, 0), of(true, 1), with_layout(of(true, 2), of_columns), of(true, 3)};
        v.sums_in = {v.rows_in[0], with_layout(of(false, 1), of_rows), with_layout(of(false, 2), of_rows),
                     v.rows_in[2], with_layout(of(true, 3), of_rows),  v.rows_in[1]};
        v.rows_out = {of(false, 0), of(false, 1), of(false, 2)};
        v.sums_out = {of(false, 3), of(false, 4)};
        return v;
    };
    const tape::RowTape t = rows_tape(type);
    const tape::Tape s = sums_tape(type);
    const auto host = views([&](bool input, std::size_t i) { return (input ? in : out)[i].view(); });
    tape::run_rows(t, host.rows_in, host.rows_out);
    std::vector<Array> elements(2, Array(type, shape));
    const View of_elements[] = {elements[0].view(), elements[1].view()};
    tape::run(s, host.sums_in, of_elements);
    Axes axes;
    for (int d = 0; d < last; ++d) axes.push_back(d);
    for (std::size_t i = 0; i < 2; ++i) tape::reduce(Reduction::sum, of_elements[i], axes, host.sums_out[i]);
    const auto device = views([&](bool input, std::size_t i) { return (input ? in_there : out_there)[i].view; });
    run_rows_and_sums(gpu, t, s, device.rows_in, device.sums_in, device.rows_out, device.sums_out);
    for (std::size_t o = 0; o < out.size(); ++o) {
        Array got = out[o];
        gpu.to_host(got.bytes.data(), out_there[o].storage->data(), out_there[o].storage->bytes());
        EXPECT_TRUE(same_bits(got, out[o])) << name(type) << ' ' << to_string(shape) << " output " << o;
    }
}

TEST_F(RowSumsGpuTest, BitsAreThoseOfRowsAndReductions) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float16})
        for (const Shape& shape :
             {Shape{16400, 256}, Shape{2, 8300, 512}, Shape{16390, 768}, Shape{20011, 1024}, Shape{30001, 256}})
            compare(type, shape);
    compare(DType::float64, {16500, 256});
}

TEST_F(RowSumsGpuTest, OtherRowsAreTwoPasses) {
    for (const Shape& shape : {Shape{700, 96}, Shape{1, 1024}, Shape{300, 512}, Shape{17000, 40}, Shape{3, 6000, 100}})
        for (const DType type : {DType::float32, DType::bfloat16}) compare(type, shape);
}

}  // namespace
}  // namespace tenon::cuda
