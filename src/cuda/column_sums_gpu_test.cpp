#include "cuda/column_sums.h"

#include <gtest/gtest.h>

#include "cuda/gpu_testing.h"
#include "schedule/evaluate.h"
#include "schedule/options.h"
#include "schedule/random_graph_testing.h"
#include "tape/testing.h"
#include "tenon/functions.h"
#include "tenon/random.h"
#include "tenon/transform.h"

namespace tenon::cuda {
namespace {

using ColumnSumsGpuTest = testing::GpuTest;
using tape::Opcode;
using tape::testing::Array;
using tape::testing::same_bits;

struct There {
    std::shared_ptr<Storage> storage;
    View view;
};
There moved(const Array& a, const Layout& layout) {
    There t{Gpu::at(0).allocate(static_cast<std::int64_t>(a.bytes.size())), {}};
    Gpu::at(0).to_device(t.storage->data(), a.bytes.data(), t.storage->bytes());
    t.view = with_layout({t.storage->data(), a.dtype, layout}, layout);
    return t;
}

/// Operands of elements, of rows and of columns. Two sums are of what is computed, one is of an operand.
TEST_F(ColumnSumsGpuTest, BitsAreThoseOfTapesAndReductions) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float64, DType::int32})
        for (const Shape& shape :
             {Shape{1, 1}, Shape{700, 33}, Shape{3, 70, 96}, Shape{20000, 40}, Shape{2, 9000, 64}}) {
            const int last = shape.rank() - 1;
            tape::Tape t{{type, type, type},
                         {{Opcode::subtract, type, type, {0, 1, 0}}, {Opcode::multiply, type, type, {3, 2, 0}}},
                         {4, 0, 3}};
            Array x = tape::testing::random_array(type, shape, 1), row = tape::testing::random_array(type, shape, 2),
                  column = tape::testing::random_array(type, {shape.back()}, 3);
            const Layout whole = Layout::contiguous(shape);
            Layout of_rows = whole, of_columns = whole;
            of_rows.strides[last] = 0;
            for (int d = 0; d < last; ++d) of_columns.strides[d] = 0;
            const View host[] = {x.view(), row.view(of_rows), column.view(of_columns)};
            const There a = moved(x, whole), b = moved(row, of_rows), c = moved(column, of_columns);
            const View device[] = {a.view, b.view, c.view};
            Axes axes;
            for (int d = 0; d < last; ++d) axes.push_back(d);
            std::vector<Array> elements(3, Array(type, shape)), sums(3, Array(type, {shape.back()}));
            std::vector<View> to;
            for (Array& e : elements) to.push_back(e.view());
            tape::run(t, host, to);
            std::vector<There> out;
            std::vector<View> out_views;
            for (std::size_t i = 0; i < 3; ++i) {
                tape::reduce(tape::Reduction::sum, elements[i].view(), axes, sums[i].view());
                out.push_back(moved(sums[i], Layout::contiguous({shape.back()})));
                Gpu::at(0).fill_bytes(out.back().storage->data(), 0xff, out.back().storage->bytes());
                out_views.push_back(out.back().view);
            }
            sum_columns(Gpu::at(0), t, device, out_views);
            for (std::size_t i = 0; i < 3; ++i) {
                Array got = sums[i];
                Gpu::at(0).to_host(got.bytes.data(), out[i].storage->data(), out[i].storage->bytes());
                EXPECT_TRUE(same_bits(got, sums[i])) << name(type) << ' ' << to_string(shape) << ' ' << i;
            }
        }
}

/// Gradients of norms and of a bias by graphs have the host's bits.
TEST_F(ColumnSumsGpuTest, GradientsOfNormsAndBiases) {
    const auto gradients = [](const Tree& at, const Tensor& dy, bool norm, bool forward) {
        const auto [y, back] = vjp(
            [&](const Tree& t) {
                const Tensor &x = t["x"].tensor(), &w = t["w"].tensor(), &b = t["b"].tensor();
                return Tree(norm ? rms_norm(layer_norm(x, w, b), w) : tanh(x + b) * w);
            },
            at);
        std::vector<Tensor> all = back(Tree(dy)).leaves();
        if (forward) all.insert(all.begin(), y.tensor());  // The gradients then read its means and deviations.
        return all;
    };
    for (const DType type : {DType::float32, DType::bfloat16})
        for (const Shape& shape :
             {Shape{2100, 512}, Shape{17000, 256}, Shape{30001, 256}, Shape{30001, 96}, Shape{2, 17000, 64}})
            for (const bool norm : {true, false}) {
                const auto draw = [&](unsigned seed, const Shape& s) {
                    return astype(random::normal(random::Key(seed), s), type).eval();
                };
                const bool forward = shape[0] % 2 == 0;
                const Shape last{shape.back()};
                const Tree at({{"x", draw(1, shape)}, {"w", draw(2, last)}, {"b", draw(3, last)}});
                const Tensor dy = draw(4, shape);
                const auto there = [](const Tensor& t) { return to_device(t, Device::cuda(0)).eval(); };
                std::vector<Tensor> want = gradients(at, dy, norm, forward), got;
                eval(want);
                schedule::Options o = schedule::options();
                o.verify = o.poison = true;
                const schedule::WithOptions with(o);
                const Tree moved_at = at.map(there);
                const Tensor moved_dy = there(dy);
                for (int i = 0; i < 3; ++i) {
                    got = gradients(moved_at, moved_dy, norm, forward);
                    eval(got);
                }
                for (std::size_t i = 0; i < want.size(); ++i)
                    EXPECT_TRUE(schedule::testing::same_bits(to_device(got[i], Device::cpu()), want[i]))
                        << name(type) << ' ' << to_string(shape) << norm << ' ' << i;
            }
}

}  // namespace
}  // namespace tenon::cuda
