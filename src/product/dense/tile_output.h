// From sums to the output: scaled, corrected for zero points, through the epilogue, to the output's strides and dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile.h"
#include "product/dense/tile_store.h"
#include "product/dense/zero_points.h"
#include "product/float_environment.h"
#include "tape/kept_plans.h"

namespace tenon::product::dense {

template <class P>
P* advance(P* base, std::int64_t elements, DType type) {
    using Byte = std::conditional_t<std::is_const_v<P>, const std::byte, std::byte>;
    return static_cast<Byte*>(base) + elements * static_cast<std::int64_t>(size_of(type));
}

/// The output of one thread's tiles, one chunk of columns at a time.
template <class In, class Acc>
class TileOutput {
  public:
    TileOutput(const Plan<In, Acc>& plan, Scratch& scratch) : plan_(plan), p_(plan.p) {
        columns_out_ = scratch.take<std::int64_t>(plan.chunk);
        row_ = scratch.take<Acc>(plan.chunk);
        room_ = scratch.take<std::byte>(8 * plan.chunk);
        column_sums_ = scratch.take<std::int32_t>(plan.chunk);
        if (plan.epilogue) epilogue_ = tape::take_plan(*plan.epilogue->tape);
    }
    ~TileOutput() {
        if (plan_.epilogue) tape::keep_plan(*plan_.epilogue->tape, std::move(epilogue_));
    }
    TileOutput(const TileOutput&) = delete;
    TileOutput& operator=(const TileOutput&) = delete;

    /// Begins a chunk of a batch's columns. `a` and `b` are the batch's operands; `columns_b` has the offsets of the
    /// chunk's columns in B.
    void begin(std::int64_t batch, const void* a, const void* b, Range columns, const std::int64_t* columns_b) {
        batch_ = batch;
        a_ = a;
        out_ = advance(p_.out, offset_of(p_.roles.batch, &Axis::out, batch), p_.out_type);
        if (columns != columns_) {
            columns_ = columns;
            fill_offsets(p_.roles.columns, &Axis::out, columns.begin, columns.size(), columns_out_);
            columns_unit_ = is_affine(columns_out_, columns.size(), 1);
        }
        b_ = b;
        columns_b_ = columns_b;
        has_column_sums_ = false;
    }

    /// Where sums go that the output takes unchanged: the address of a row, from column j of the chunk.
    Acc* sums(std::int64_t row, std::int64_t j) const {
        return static_cast<Acc*>(out_) + row * step() + columns_out_[j];
    }
    /// The batch's first element.
    Acc* first() const { return static_cast<Acc*>(out_); }
    /// The stride between these rows.
    std::int64_t step() const { return p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].out; }

    /// The output and the inputs of the epilogue, besides the sums; 0 if there is none.
    int epilogue_operands() const { return plan_.epilogue ? 1 + plan_.epilogue->count : 0; }
    /// Lines of memory that the epilogue of some rows and columns of the chunk reads or writes, besides the sums: of
    /// its output (i is 0) or its input i - 1; none if elements of a row are not side by side, or all rows share them.
    PrefetchLines epilogue_lines(int i, Range rows, Range columns) const {
        const std::int64_t first = columns_.begin + columns.begin;
        if (i == 0) {
            const auto size = static_cast<std::int64_t>(size_of(p_.out_type));
            if (!columns_unit_) return {};
            return lines_of(advance(out_, rows.begin * step() + columns_out_[columns.begin], p_.out_type), rows.size(),
                            columns.size() * size, step() * size);
        }
        const LoweredEpilogue::Input& input = plan_.epilogue->inputs[i - 1];
        const auto size = static_cast<std::int64_t>(size_of(input.type));
        if (input.column != 1 || input.row == 0) return {};
        const void* at = advance(input.data, batch_ * input.batch + rows.begin * input.row + first, input.type);
        return lines_of(at, rows.size(), columns.size() * size, input.row * size);
    }

    /// Prefetches the output's elements that `store` adds sums to: their rows are pages or more apart, and the hardware
    /// does not follow them. An epilogue's come one at a step of a kernel (epilogue_lines.h).
    void prefetch(Range rows, Range columns) const {
        if (!columns_unit_ || plan_.epilogue) return;
        const std::int64_t bytes = columns.size() * static_cast<std::int64_t>(size_of(p_.out_type));
        for (std::int64_t row = rows.begin; row < rows.end; ++row) {
            const auto* line = static_cast<const std::byte*>(
                advance(out_, offset_of(p_.roles.rows, &Axis::out, row) + columns_out_[columns.begin], p_.out_type));
            for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(line + i, 1, 2);
        }
    }

    /// Stores the sums of some columns of the chunk, from scratch, with the output's strides and dtype.
    void store(Range rows, Range columns, const Partial<Acc>& partial) {
        if constexpr (std::is_same_v<Acc, std::uint32_t>) {
            find_column_sums();
            if (plan_.offsets_a || plan_.offsets_b)
                subtract_offsets(plan_, a_, rows, {columns_.begin + columns.begin, columns_.begin + columns.end},
                                 column_sums_ + columns.begin, partial.at(0, columns.begin), partial.ld);
        }
        // A tape alone takes the sums as they are.
        const std::int64_t apart = plan_.epilogue && !plan_.finish.scales() ? 0 : rows.size();
        for (std::int64_t i = 0; i < apart; ++i) {
            const std::int64_t row = rows.begin + i, at = columns_.begin;
            const Range own = within(plan_.part, row, {at + columns.begin, at + columns.end});
            if (own.size() <= 0) continue;
            Acc* sums = partial.at(i, own.begin - at);
            const OutputRow out = row_of_output(row, {own.begin - at, own.end - at});
            if (only_adds() && out.unit) {
                plan_.kernels->add_to(reinterpret_cast<Acc*>(out.data) + out.offsets[0], sums, out.n);
                continue;
            }
            if (plan_.finish.scales()) {
                const Acc* c = plan_.finish.beta != 0 ? row_ : nullptr;
                if (c && out.unit && size_of(out.type) == sizeof(Acc))
                    c = reinterpret_cast<const Acc*>(out.data) + out.offsets[0];
                else if (c)
                    load_row(row_, out, room_);
                plan_.kernels->scale(sums, c, out.n, static_cast<Acc>(plan_.finish.alpha),
                                     static_cast<Acc>(plan_.finish.beta));
            }
            if (!plan_.epilogue) store_row(sums, out, room_);
        }
        if (plan_.epilogue) run_epilogue(rows, columns, partial);
    }

  private:
    /// Whether sums are added to the output as they are: fma(1, sum, 1 * out) is one addition.
    bool only_adds() const {
        return std::is_same_v<In, Acc> && std::is_floating_point_v<Acc> && plan_.finish.alpha == 1 &&
               plan_.finish.beta == 1 && p_.out_type == sum_type<Acc>() && !plan_.epilogue;
    }

    /// Column sums cover all of k: they are computed once for each chunk that is stored, not for each segment.
    void find_column_sums() {
        if (!plan_.offsets_a || has_column_sums_) return;
        sums_of_columns(plan_, b_, columns_b_, columns_, column_sums_);
        has_column_sums_ = true;
    }

    OutputRow row_of_output(std::int64_t row, Range columns) const {
        auto* data = static_cast<std::byte*>(advance(out_, offset_of(p_.roles.rows, &Axis::out, row), p_.out_type));
        return {data, columns_out_ + columns.begin, columns.size(), p_.out_type, columns_unit_};
    }

    void run_epilogue(Range rows, Range columns, const Partial<Acc>& partial) {
        const FloatEnvironment environment(Subnormals::keep);
        const LoweredEpilogue& e = *plan_.epilogue;
        const DType product = e.tape->inputs[0];
        const auto row_of = [](const AxisList& axes, std::int64_t Axis::*s) {
            return axes.size == 0 ? 0 : axes.axes[0].*s;
        };
        Acc* const sums = partial.at(0, columns.begin);
        View views[1 + kMaxEpilogueInputs];
        std::int64_t pitch = partial.ld;
        if (size_of(product) != sizeof(Acc)) {
            narrow_rows(sums, partial.ld, rows.size(), columns.size(), product, room_);
            pitch *= static_cast<std::int64_t>(sizeof(Acc) / size_of(product));
        }
        views[0] = block_view(sums, product, rows.size(), columns.size(), pitch, 1);
        const std::int64_t first = columns_.begin + columns.begin;
        for (int i = 0; i < e.count; ++i) {
            const LoweredEpilogue::Input& input = e.inputs[i];
            void* data =
                advance(input.data, batch_ * input.batch + rows.begin * input.row + first * input.column, input.type);
            views[1 + i] = block_view(data, input.type, rows.size(), columns.size(), input.row, input.column);
        }
        void* out =
            advance(out_, offset_of(p_.roles.rows, &Axis::out, rows.begin) + columns_out_[columns.begin], p_.out_type);
        const View to = block_view(out, p_.out_type, rows.size(), columns.size(), row_of(p_.roles.rows, &Axis::out),
                                   row_of(p_.roles.columns, &Axis::out));
        tape::run(*e.tape, {views, static_cast<std::size_t>(1 + e.count)}, {&to, 1}, &epilogue_);
    }

    const Plan<In, Acc>& plan_;
    const Lowered& p_;
    std::int64_t* columns_out_;
    Acc* row_;
    std::byte* room_;  // scratch, 8 bytes for each column of a chunk
    std::int32_t* column_sums_;
    tape::CachedPlan epilogue_;  // the plan made for the last tile
    const void* a_ = nullptr;
    const void* b_ = nullptr;
    const std::int64_t* columns_b_ = nullptr;
    bool has_column_sums_ = false;
    void* out_ = nullptr;
    std::int64_t batch_ = 0;
    Range columns_{0, 0};
    bool columns_unit_ = false;
};

}  // namespace tenon::product::dense
