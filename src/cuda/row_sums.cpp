#include "cuda/row_sums.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/text.h"
#include "cuda/axes.h"
#include "cuda/column_sums.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/print_tape.h"
#include "tape/reduce_axes.h"
#include "tape/row_timing.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using From = RowSumsForm::Input::From;

constexpr std::int64_t kLanes = 64, kMaxColumns = 1024, kColumnsStep = 256;
constexpr int kMaxSlots = 6, kMaxWords = 160;  // the most slots; the most registers for what a thread keeps of a row

struct Place {
    const std::byte* data;
    std::int64_t size, column;
    std::vector<std::int64_t> rows;
};

Place place_of(const View& v, bool per_row) {
    Place p{v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), 0, {}};
    p.rows.assign(v.layout.strides.begin(), v.layout.strides.end());
    if (per_row) return p;
    p.column = p.rows.back();
    p.rows.pop_back();
    return p;
}

bool lies_alike(const Place& a, const Place& b) {
    return a.data == b.data && a.size == b.size && a.column == b.column && a.rows == b.rows;
}
bool is_of_columns(const Place& p) {
    return p.column == 1 && std::ranges::all_of(p.rows, [](std::int64_t s) { return s == 0; });
}
/// Whether a row's elements are contiguous and every row starts at a multiple of so many bytes.
bool is_aligned(const Place& p, std::int64_t bytes) {
    return p.column == 1 && reinterpret_cast<std::uintptr_t>(p.data) % static_cast<std::uintptr_t>(bytes) == 0 &&
           std::ranges::all_of(p.rows, [&](std::int64_t s) { return s * p.size % bytes == 0; });
}

struct Choice {
    RowSumsForm form;
    std::vector<Place> operands;  // the kernel's, but for where the sums' lanes go
    std::vector<std::int64_t> axes;
    std::int64_t rows = 1, columns = 1, chunks = 1, shared = 0;
};

/// The kernel's form and operands, as far as the row tape decides them; nothing if one pass cannot run it.
std::optional<Choice> choose_rows(const Gpu& gpu, const tape::RowTape& rows, std::span<const View> inputs,
                                  std::span<const View> outputs) {
    Choice c;
    const Shape* shape = nullptr;
    for (std::size_t o = 0; o < outputs.size(); ++o) {
        c.operands.push_back(place_of(outputs[o], tape::per_row(rows, rows.outputs[o])));
        if (!tape::per_row(rows, rows.outputs[o])) shape = &outputs[o].shape();
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        c.operands.push_back(place_of(inputs[i], rows.inputs[i].per_row));
        if (!rows.inputs[i].per_row) shape = &inputs[i].shape();
    }
    if (gpu.major() != 9 || shape == nullptr) return std::nullopt;
    c.axes.assign(shape->begin(), shape->end());
    c.columns = c.axes.back();
    c.axes.pop_back();
    for (const std::int64_t n : c.axes) c.rows *= n;
    c.chunks = (c.rows + tape::kReduceChunk - 1) / tape::kReduceChunk;
    if (!may_take_one_pass(c.rows, c.columns) || 4 * c.chunks * kLanes < 3 * gpu.multiprocessors()) return std::nullopt;
    const int steps = static_cast<int>(c.columns / kLanes);
    const int words = std::max(1, kept_words(rows, false)) * 2 * steps;
    if (words > kMaxWords) return std::nullopt;
    c.form.rows = {32, 2, steps, true, 0, 0, {}};
    std::int64_t row_bytes = 0;
    for (std::size_t k = 0; k < c.operands.size(); ++k) {
        const Place& p = c.operands[k];
        const bool is_input = k >= outputs.size();
        const bool per_row = is_input ? rows.inputs[k - outputs.size()].per_row : tape::per_row(rows, rows.outputs[k]);
        c.form.rows.operands.push_back(per_row ? Along::repeated : Along::contiguous);
        if (!per_row && !is_aligned(p, 16)) return std::nullopt;
        if (!is_input) continue;
        c.form.brought.push_back(!per_row && !is_of_columns(p));
        if (c.form.brought.back()) row_bytes += c.columns * p.size;
    }
    if (row_bytes == 0) return std::nullopt;
    constexpr std::int64_t kOwn = 4 << 10;  // bytes for barriers and values of rows
    const auto slots_of = [&](int teams) {
        return static_cast<int>(
            std::min<std::int64_t>((gpu.shared_bytes_per_block() - kOwn) / (teams * row_bytes), kMaxSlots));
    };
    // Sixteen rows at a time, if shared memory has room for three turns of them, and registers for what their threads
    // keep. A block has 20 or 12 warps, and the warps of rows take registers from the others.
    const bool many = slots_of(16) >= 3 && words <= 72;
    c.form.teams = many ? 16 : 8;
    c.form.row_registers = many ? 104 : 208;
    c.form.column_registers = many ? 48 : 88;
    c.form.slots = slots_of(c.form.teams);
    if (c.form.slots < 2) return std::nullopt;
    c.shared = c.form.slots * c.form.teams * row_bytes;
    return c;
}

/// Finds each input of the sums among the values that the kernel has; false if one is not there.
bool add_sums(Choice& c, const tape::RowTape& rows, std::span<const View> sums_inputs) {
    const std::size_t outputs = rows.outputs.size();
    const std::vector<Place> of_rows = c.operands;
    std::size_t column_values = 0;
    for (const View& v : sums_inputs) {
        const Place p = place_of(v, false);
        const auto found = std::ranges::find_if(of_rows, [&](const Place& o) { return lies_alike(o, p); });
        const auto at = static_cast<std::size_t>(found - of_rows.begin());
        if (is_of_columns(p)) {
            if (!is_aligned(p, 16)) return false;
            c.operands.push_back(p);
            c.form.inputs.push_back({From::columns, column_values++});
        } else if (found == of_rows.end()) {
            return false;
        } else if (at < outputs) {
            if (!tape::per_row(rows, rows.outputs[at])) return false;
            c.form.inputs.push_back({From::row, rows.outputs[at]});
        } else {
            const std::size_t input = at - outputs;
            c.form.inputs.push_back({rows.inputs[input].per_row ? From::row : From::brought, input});
        }
    }
    join_axes(c.axes, c.operands, &Place::rows);
    c.form.rows.axes = static_cast<int>(c.axes.size());
    return true;
}

std::string key_of(const tape::RowTape& rows, const tape::Tape& sums, const RowSumsForm& form) {
    std::string key = text("row sums ", form.rows.steps, ' ', form.rows.axes, ' ', form.slots, ' ', form.teams, ' ');
    for (const bool b : form.brought) key += b ? 'b' : '-';
    for (const RowSumsForm::Input& i : form.inputs) key += text(' ', static_cast<int>(i.from), ' ', i.at);
    return key + words_of(rows) + words_of(sums);
}

}  // namespace

bool may_take_one_pass(std::int64_t rows, std::int64_t columns) {
    return columns > 0 && columns % kColumnsStep == 0 && columns <= kMaxColumns && rows > tape::kReduceChunk;
}

void run_rows_and_sums(Gpu& gpu, const tape::RowTape& rows, const tape::Tape& sums, std::span<const View> inputs,
                       std::span<const View> sums_inputs, std::span<const View> outputs,
                       std::span<const View> sums_outputs) {
    std::optional<Choice> c = choose_rows(gpu, rows, inputs, outputs);
    if (!c || !add_sums(*c, rows, sums_inputs)) {
        run_rows(gpu, rows, inputs, outputs);
        return sum_columns(gpu, sums, sums_inputs, sums_outputs);
    }
    std::vector<std::int64_t> arguments(c->axes);
    arguments.insert(arguments.end(), {1, c->rows, c->columns, c->chunks, 0});
    const auto add = [&](const void* data, std::int64_t column, std::vector<std::int64_t> strides) {
        arguments.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data)));
        arguments.push_back(column);
        strides.resize(c->axes.size() + 1);
        arguments.insert(arguments.end(), strides.begin(), strides.end());
    };
    const std::size_t of_rows = inputs.size() + outputs.size();
    std::vector<std::shared_ptr<Storage>> partial;
    for (std::size_t k = 0; k < of_rows; ++k) add(c->operands[k].data, c->operands[k].column, c->operands[k].rows);
    for (const View& out : sums_outputs) {
        const auto size =
            std::max<std::int64_t>(static_cast<std::int64_t>(size_of(out.dtype)), is_floating(out.dtype) ? 4 : 1);
        partial.push_back(gpu.allocate(c->chunks * kLanes * c->columns * size));
        add(partial.back()->data(), 1, {});
    }
    for (std::size_t k = of_rows; k < c->operands.size(); ++k)
        add(c->operands[k].data, c->operands[k].column, c->operands[k].rows);
    if (arguments.size() * 8 > 4000)
        throw ValueError(text("cuda: rows and sums of columns: ", c->operands.size(), " operands are too many"));
    const Kernel& kernel = gpu.printed(key_of(rows, sums, c->form), [&] {
        return Unit{"row_sums.cu", print(rows, sums, c->form)};
    });
    void* parameters[] = {arguments.data()};
    detail::launch(
        gpu, kernel,
        {.grid = {static_cast<std::uint32_t>(std::min<std::int64_t>(c->chunks * kLanes, gpu.multiprocessors()))},
         .block = {static_cast<std::uint32_t>(32 * (c->form.teams + kRowSumsColumnWarps))},
         .shared_bytes = static_cast<std::uint32_t>(c->shared),
         .overlaps_previous = true},
        parameters);
    detail::join_lanes(gpu, partial, c->chunks, sums_outputs);
}

}  // namespace tenon::cuda
