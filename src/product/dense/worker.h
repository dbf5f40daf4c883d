// One thread's part of a blocked product: the loops over columns, blocks of k, panels of rows and panels of columns.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"

namespace tenon::product::dense {

/// A rectangle of one batch's output.
struct Tile {
    std::int64_t batch;
    Range rows, columns;
};

template <class T>
Tile tile_at(const Plan<T>& plan, std::int64_t index) {
    std::int64_t batch = 0;
    const auto next = [&index](std::int64_t n) {
        const std::int64_t digit = index % n;
        index /= n;
        return digit;
    };
    if (plan.batch_inner) batch = next(plan.p.batches);
    const std::int64_t nr = plan.family.nr;
    const Range panels = part(plan.panels(), plan.column_tasks, next(plan.column_tasks));
    const Range rows = part(plan.p.m, plan.row_tasks, next(plan.row_tasks));
    if (!plan.batch_inner) batch = index;
    return {batch, rows, {panels.begin * nr, std::min(panels.end * nr, plan.p.n)}};
}

/// Sums waiting in scratch: rows `ld` apart, as many as the tile has, columns up to whole panels.
template <class T>
struct Partial {
    T* sums;
    std::int64_t ld;
};

/// Columns of B, packed or in place: row k of the panel is at data + k * pitch.
template <class T>
struct Panel {
    const T* data;
    std::int64_t pitch;
};

template <class T>
class Worker {
  public:
    explicit Worker(const Plan<T>& plan)
        : plan_(plan), p_(plan.p), nr_(plan.family.nr), mr_(plan.family.mr), scratch_(bytes(plan)) {
        packed_b_ = scratch_.take<T>(kBlockK * plan.chunk);
        packed_a_ = scratch_.take<T>(kRowPitch * mr_);
        panels_ = scratch_.take<Panel<T>>(plan.chunk / nr_);
        tile_ = scratch_.take<T>(2 * mr_ * nr_);
        for (auto* offsets : {&k_a_, &k_b_}) *offsets = scratch_.take<std::int64_t>(kBlockK);
        for (auto* offsets : {&columns_b_, &columns_out_}) *offsets = scratch_.take<std::int64_t>(plan.chunk);
        for (auto* offsets : {&rows_a_, &rows_out_}) *offsets = scratch_.take<std::int64_t>(mr_);
        if (!plan.in_output && !plan.split_k) partial_ = scratch_.take<T>(partial_size(plan));
    }

    /// All segments of a tile, into the output.
    void run(const Tile& tile) {
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            if (plan_.in_output) {
                sum_segment(tile, 0, nullptr);
                continue;
            }
            const Partial<T> stack{partial_, padded(columns_.size())};
            join_segments(tile, stack);
            store(tile, stack);
        }
    }

    /// One segment of a tile, into scratch shared by the segments.
    void run_segment(const Tile& tile, std::int64_t segment, T* sums) {
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            const Partial<T> partial{sums + (n - tile.columns.begin), padded(tile.columns.size())};
            sum_segment(tile, segment, &partial);
        }
    }

    /// The last step of a tile whose segments were tasks: sums of segment s start at sums + s * stride.
    void join_and_store(const Tile& tile, T* sums, std::int64_t stride) {
        const std::int64_t ld = padded(tile.columns.size()), size = tile.rows.size() * ld;
        for (std::int64_t d = 1; d < plan_.segments; d *= 2)
            for (std::int64_t s = 0; s + d < plan_.segments; s += 2 * d)
                plan_.kernels->add_to(sums + s * stride, sums + (s + d) * stride, size);
        for (std::int64_t n = tile.columns.begin; n < tile.columns.end; n += plan_.chunk) {
            begin_chunk(tile, {n, std::min(n + plan_.chunk, tile.columns.end)});
            store(tile, {sums + (n - tile.columns.begin), ld});
        }
    }

    static std::int64_t tile_size(const Plan<T>& plan) {
        return ceil_div(plan.p.m, plan.row_tasks) * ceil_div(plan.panels(), plan.column_tasks) * plan.family.nr;
    }

  private:
    /// Segments waiting to be joined are at most one for each bit of their number.
    static std::int64_t depth(const Plan<T>& plan) {
        return std::max<std::int64_t>(1, std::bit_width(static_cast<std::uint64_t>(plan.segments)));
    }
    static std::int64_t partial_size(const Plan<T>& plan) {
        return depth(plan) * ceil_div(plan.p.m, plan.row_tasks) * plan.chunk;
    }
    static std::size_t bytes(const Plan<T>& plan) {
        const auto size = [](std::int64_t n, std::size_t element) {
            return Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        const std::int64_t mr = plan.family.mr, nr = plan.family.nr;
        return size(kBlockK * plan.chunk, sizeof(T)) + size(kRowPitch * mr, sizeof(T)) + size(2 * mr * nr, sizeof(T)) +
               size(plan.chunk / nr, sizeof(Panel<T>)) + 2 * (size(kBlockK, 8) + size(plan.chunk, 8) + size(mr, 8)) +
               (plan.in_output || plan.split_k ? 0 : size(partial_size(plan), sizeof(T)));
    }

    std::int64_t padded(std::int64_t columns) const { return ceil_div(columns, nr_) * nr_; }

    template <class P>
    P* advance(P* base, std::int64_t elements, DType type) const {
        using Byte = std::conditional_t<std::is_const_v<P>, const std::byte, std::byte>;
        return static_cast<Byte*>(base) + elements * static_cast<std::int64_t>(size_of(type));
    }

    void begin_chunk(const Tile& tile, Range columns) {
        a_ = advance(p_.a, offset_of(p_.roles.batch, &Axis::a, tile.batch), p_.type);
        b_ = advance(p_.b, offset_of(p_.roles.batch, &Axis::b, tile.batch), p_.type);
        out_ = advance(p_.out, offset_of(p_.roles.batch, &Axis::out, tile.batch), p_.out_type);
        if (columns == columns_) return;
        columns_ = columns;
        fill_offsets(p_.roles.columns, &Axis::b, columns.begin, columns.size(), columns_b_);
        fill_offsets(p_.roles.columns, &Axis::out, columns.begin, columns.size(), columns_out_);
    }

    void join_segments(const Tile& tile, const Partial<T>& stack) {
        const std::int64_t size = tile.rows.size() * stack.ld;
        if (plan_.segments == 0) std::fill_n(stack.sums, size, T(0));
        T* top = stack.sums;  // one past the sums waiting
        const auto join = [&] {
            top -= size;
            plan_.kernels->add_to(top - size, top, size);
        };
        for (std::int64_t s = 0; s < plan_.segments; ++s) {
            const Partial<T> partial{top, stack.ld};
            sum_segment(tile, s, &partial);
            top += size;
            for (std::int64_t bits = s; bits & 1; bits >>= 1) join();
        }
        while (top - stack.sums > size) join();
    }

    /// The block sums of a segment, added in order in `partial`, or in the output where that is null.
    void sum_segment(const Tile& tile, std::int64_t segment, const Partial<T>* partial) {
        const std::int64_t begin = segment * kSplitK, end = std::min(begin + kSplitK, p_.k);
        const std::int64_t row_panels = ceil_div(tile.rows.size(), mr_);
        for (std::int64_t k = begin; k < end; k += kBlockK) {
            const std::int64_t kc = std::min(kBlockK, end - k);
            begin_block({k, k + kc});
            if (!dot_) pack_columns(kc, row_panels);
            for (std::int64_t i = 0; i < row_panels; ++i) {
                Range rows = part(tile.rows.size(), row_panels, i);
                const Partial<T> below =
                    partial ? Partial<T>{partial->sums + rows.begin * partial->ld, partial->ld} : Partial<T>{};
                rows.begin += tile.rows.begin, rows.end += tile.rows.begin;
                pack_rows(rows, kc);
                prefetch_rows({rows.end, std::min(rows.end + mr_, tile.rows.end)});
                for (std::int64_t j = 0; j < columns_.size(); j += nr_)
                    multiply(rows.size(), j, k == begin ? Write::store : Write::add, partial ? &below : nullptr);
            }
        }
    }

    void begin_block(Range block) {
        if (block == block_) return;
        block_ = block;
        fill_offsets(p_.roles.summed, &Axis::a, block.begin, block.size(), k_a_);
        fill_offsets(p_.roles.summed, &Axis::b, block.begin, block.size(), k_b_);
        kc_ = plan_.pairs ? block.size() + block.size() % 2 : block.size();
        k_pitch_ = block.size() > 1 ? k_b_[1] - k_b_[0] : 0;
        k_affine_ = plan_.same_source && is_affine(k_b_, block.size(), k_pitch_);
        dot_ = plan_.dot && is_affine(k_b_, block.size(), 1) ? plan_.dot : nullptr;
        k_unit_ = plan_.same_source && is_affine(k_a_, block.size(), 1);
    }

    /// Packs the chunk's panels, but for those that may be read where they are: whole ones of consecutive columns that
    /// are used once, or that are as small as a packed one.
    void pack_columns(std::int64_t kc, std::int64_t row_panels) {
        const bool compact = std::llabs(k_pitch_) * kc * std::int64_t{sizeof(T)} <= kCompactBytes;
        const bool may_stay = k_affine_ && (row_panels == 1 || (row_panels <= 4 && compact));
        for (std::int64_t j = 0; j < columns_.size(); j += nr_) {
            const std::int64_t columns = std::min(nr_, columns_.size() - j);
            Panel<T>& panel = panels_[j / nr_];
            if (may_stay && columns == family_for(plan_, columns).nr && is_affine(columns_b_ + j, columns, 1)) {
                panel = {static_cast<const T*>(b_) + k_b_[0] + columns_b_[j], k_pitch_};
                continue;
            }
            T* packed = packed_b_ + j * kBlockK;
            panel = {packed, nr_};
            plan_.pack(packed, nr_, b_, k_b_, kc, columns_b_ + j, columns);
            if (kc < kc_) std::fill_n(packed + kc * nr_, nr_, T(0));
        }
    }

    void pack_rows(Range rows, std::int64_t kc) {
        fill_offsets(p_.roles.rows, &Axis::a, rows.begin, rows.size(), rows_a_);
        fill_offsets(p_.roles.rows, &Axis::out, rows.begin, rows.size(), rows_out_);
        a_panel_ = packed_a_;
        if (rows.size() == 1 && k_unit_)
            a_panel_ = static_cast<const T*>(a_) + rows_a_[0] + k_a_[0];
        else
            plan_.pack(packed_a_, kRowPitch, a_, rows_a_, rows.size(), k_a_, kc);
    }

    /// The next rows of A, which often lie too far apart for the hardware to see them coming.
    void prefetch_rows(Range rows) {
        if (!k_unit_ || rows.size() < 2 || std::llabs(p_.roles.rows.end()[-1].a) * std::int64_t{sizeof(T)} < kFarBytes)
            return;
        for (std::int64_t i = rows.begin; i < rows.end; ++i)
            prefetch<0>(static_cast<const T*>(a_) + offset_of(p_.roles.rows, &Axis::a, i) + k_a_[0], kc_);
    }

    template <int kWrite>
    static void prefetch(const T* p, std::int64_t n) {
        constexpr std::int64_t kLine = 64 / sizeof(T);
        for (std::int64_t i = 0; i < n; i += kLine) __builtin_prefetch(p + i, kWrite);
    }

    /// One micro-kernel: `rows` packed rows with the panel that starts at column j of the chunk.
    void multiply(std::int64_t rows, std::int64_t j, Write write, const Partial<T>* partial) {
        const std::int64_t columns = std::min(nr_, columns_.size() - j);
        const KernelFamily<T>& family = family_for(plan_, columns);
        const TileTarget target{out_, rows_out_, columns_out_ + j, rows, columns};
        if (dot_) {
            T* sums = partial ? partial->sums + j : tile_;
            dot_[rows - 1](block_.size(), a_panel_,
                           static_cast<const std::byte*>(b_) + k_b_[0] * static_cast<std::int64_t>(size_of(p_.type)),
                           columns_b_ + j, columns, sums, partial ? partial->ld : nr_, partial ? write : Write::store);
            return partial ? void() : finish(target, write);
        }
        const MicroKernel<T> kernel = family.by_rows[rows - 1];
        const Panel<T> b = panels_[j / nr_];
        if (partial) return kernel(kc_, a_panel_, b.data, b.pitch, partial->sums + j, partial->ld, write);

        const std::int64_t pitch = rows > 1 ? rows_out_[1] - rows_out_[0] : 0;
        if (plan_.sums_fit && columns == family.nr && is_affine(target.column_offsets, columns, 1) &&
            is_affine(rows_out_, rows, pitch))
            return kernel(kc_, a_panel_, b.data, b.pitch,
                          static_cast<T*>(out_) + rows_out_[0] + target.column_offsets[0], pitch, write);
        kernel(kc_, a_panel_, b.data, b.pitch, tile_, nr_, Write::store);
        finish(target, write);
    }

    /// A block's sums in tile_, to the output's strides and dtype.
    void finish(const TileTarget& target, Write write) {
        T* sums = tile_;
        if (write == Write::add) {
            sums += mr_ * nr_;
            std::fill_n(sums, target.rows * nr_, T(0));
            load_tile(sums, nr_, target);
            plan_.kernels->add_to(sums, tile_, target.rows * nr_);
        }
        plan_.store(sums, nr_, target);
    }

    void store(const Tile& tile, const Partial<T>& partial) {
        for (std::int64_t i = 0; i < tile.rows.size(); i += mr_) {
            const std::int64_t rows = std::min(mr_, tile.rows.size() - i);
            fill_offsets(p_.roles.rows, &Axis::out, tile.rows.begin + i, rows, rows_out_);
            plan_.store(partial.sums + i * partial.ld, partial.ld,
                        {out_, rows_out_, columns_out_, rows, columns_.size()});
        }
    }

    const Plan<T>& plan_;
    const Lowered& p_;
    const std::int64_t nr_, mr_;
    Scratch scratch_;
    Panel<T>* panels_;
    const DotKernel<T>* dot_ = nullptr;  // the plan's, where the block in hand allows it
    const T* a_panel_ = nullptr;
    T *packed_a_, *packed_b_, *tile_, *partial_ = nullptr;
    std::int64_t *k_a_, *k_b_, *columns_b_, *columns_out_, *rows_a_, *rows_out_;
    const void *a_ = nullptr, *b_ = nullptr;
    void* out_ = nullptr;
    Range columns_{0, 0}, block_{0, 0};
    std::int64_t kc_ = 0, k_pitch_ = 0;  // of the block in hand: its padded length, B's step along k
    bool k_affine_ = false, k_unit_ = false;  // B's panels, a row of A, may be read in place
};

}  // namespace tenon::product::dense
