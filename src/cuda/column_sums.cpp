#include "cuda/column_sums.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "cuda/axes.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"
#include "tape/reduce_axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

struct Operand {
    const std::byte* data;
    std::int64_t size, column;
    std::vector<std::int64_t> rows;
};

struct Problem {
    std::vector<std::int64_t> axes;  // extents of the rows' axes
    std::int64_t rows = 1, columns = 1;
    std::vector<Operand> inputs;
};

/// Axes of the rows that run together in all inputs are joined.
Problem problem_of(std::span<const View> inputs) {
    Problem p;
    const Shape& shape = inputs[0].shape();
    p.axes.assign(shape.begin(), shape.end());
    p.columns = p.axes.back();
    p.axes.pop_back();
    for (const std::int64_t n : p.axes) p.rows *= n;
    for (const View& v : inputs) {
        Operand o{
            v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), v.layout.strides[shape.rank() - 1], {}};
        for (int d = 0; d + 1 < shape.rank(); ++d) o.rows.push_back(v.layout.strides[d]);
        p.inputs.push_back(std::move(o));
    }
    join_axes(p.axes, p.inputs, &Operand::rows);
    return p;
}

/// The most columns, up to 4 and up to 16 bytes, that one access of every contiguous input can take at the input's
/// alignment.
int width_of(const Problem& p) {
    const auto fits = [&](int width) {
        if (p.columns % width != 0) return false;
        return std::ranges::all_of(p.inputs, [&](const Operand& o) {
            const std::int64_t bytes = width * o.size;
            if (o.column != 1) return true;
            return bytes <= 16 && reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(bytes) == 0 &&
                   std::ranges::all_of(o.rows, [&](std::int64_t s) { return s % width == 0; });
        });
    };
    int width = 4;
    while (width > 1 && !fits(width)) width /= 2;
    return width;
}

std::string key_of(const tape::Tape& tape, const ColumnForm& form) {
    std::string key = text("columns ", form.width, ' ', form.lanes, ' ', form.axes, ' ');
    for (const Along a : form.inputs) key += static_cast<char>(a);
    return key + words_of(tape);
}

}  // namespace

void sum_columns(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    const Problem p = problem_of(inputs);
    constexpr std::int64_t kLanes = 64;
    const std::int64_t chunks = std::max<std::int64_t>(1, (p.rows + tape::kReduceChunk - 1) / tape::kReduceChunk);
    ColumnForm form{width_of(p), 8, static_cast<int>(p.axes.size()), {}};
    for (const Operand& o : p.inputs)
        form.inputs.push_back(o.column == 0 ? Along::repeated : o.column == 1 ? Along::contiguous : Along::strided);
    const std::int64_t tiles = (p.columns + 32 * form.width - 1) / (32 * form.width);
    while (form.lanes > 1 && tiles * chunks * (kLanes / form.lanes) < 2 * gpu.multiprocessors()) form.lanes /= 2;
    const std::int64_t blocks = tiles * chunks * (kLanes / form.lanes);
    std::vector<std::shared_ptr<Storage>> partial;
    std::vector<std::int64_t> arguments(p.axes);
    arguments.insert(arguments.end(), {1, p.rows, p.columns, chunks, 0});
    const auto add = [&](const void* data, std::int64_t column, std::vector<std::int64_t> rows) {
        arguments.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data)));
        arguments.push_back(column);
        rows.resize(p.axes.size() + 1);
        arguments.insert(arguments.end(), rows.begin(), rows.end());
    };
    for (const View& out : outputs) {
        const auto size =
            std::max<std::int64_t>(static_cast<std::int64_t>(size_of(out.dtype)), is_floating(out.dtype) ? 4 : 1);
        partial.push_back(gpu.allocate(chunks * kLanes * p.columns * size));
        add(partial.back()->data(), 1, {});
    }
    for (const Operand& o : p.inputs) add(o.data, o.column, o.rows);
    if (blocks > INT32_MAX || arguments.size() * 8 > 4000)
        throw ValueError(text("cuda: sums of columns: ", p.rows, " rows of ", p.columns, " columns of ", inputs.size(),
                              " operands are too many"));
    const Kernel& kernel = gpu.printed(key_of(tape, form), [&] { return Unit{"columns.cu", print(tape, form)}; });
    void* parameters[] = {arguments.data()};
    detail::launch(gpu, kernel,
                   {.grid = {static_cast<std::uint32_t>(blocks)},
                    .block = {static_cast<std::uint32_t>(32 * form.lanes)},
                    .overlaps_previous = true},
                   parameters);
    detail::join_lanes(gpu, partial, chunks, outputs);
}

}  // namespace tenon::cuda
