// What a thread of a blocked product works on: a batch's operands, a chunk of columns, a block of k.
#pragma once

#include <algorithm>
#include <cstdint>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_output.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {

template <class In, class Acc>
struct CurrentBlock {
    const Plan<In, Acc>& plan;
    std::int64_t* columns_b;  // offsets of the chunk's columns
    std::int64_t batch = 0;
    const void *a = nullptr, *b = nullptr;
    Range columns{0, 0}, block{0, 0};
    std::int64_t first_a = 0, first_b = 0;  // offsets of the block's first k
    std::int64_t groups = 0, k_pitch = 0;  // of the block: its length in groups, and B's step along k
    bool k_unit = false, a_stays = false;  // A's rows are contiguous along k; A's rows can be read in place

    const In* copied = nullptr;  // the block of rows of A, side by side (Plan::copied_rows), from this row on
    std::int64_t copied_from = 0;

    CurrentBlock(const Plan<In, Acc>& p, Scratch& scratch)
        : plan(p),
          columns_b(scratch.take<std::int64_t>(p.chunk)),
          k_a_{scratch.take<std::int64_t>(k_at_once(p))},
          k_b_{scratch.take<std::int64_t>(k_at_once(p))} {}

    DType stored_a() const { return plan.prologue_a ? plan.prologue_a->inputs[0].type : plan.p.a_type; }

    void begin_chunk(std::int64_t new_batch, Range new_columns) {
        const Lowered& p = plan.p;
        batch = new_batch;
        a = advance(p.a, offset_of(p.roles.batch, &Axis::a, batch), stored_a());
        b = advance(p.b, offset_of(p.roles.batch, &Axis::b, batch), p.b_type);
        if (new_columns == columns) return;
        columns = new_columns;
        if (!plan.packed) fill_offsets(p.roles.columns, &Axis::b, columns.begin, columns.size(), columns_b);
    }

    void begin_block(Range new_block) {
        if (new_block == block) return;
        block = new_block;
        const AxisList& summed = plan.p.roles.summed;
        first_a = offset_of(summed, &Axis::a, block.begin), first_b = offset_of(summed, &Axis::b, block.begin);
        groups = PackedB::rows(block.size(), plan.kernels->group, plan.pairs);
        k_pitch = block.size() > 1 ? offset_of(summed, &Axis::b, block.begin + 1) - first_b : 0;
        k_unit = summed.size == 1 ? block.size() == 1 || summed.axes[0].a == 1 : is_affine(k_a(), block.size(), 1);
        a_stays = plan.a_is_in && k_unit && groups * plan.kernels->group == block.size();
    }
    /// Copies a block of k of some rows of A, for all chunks. `offsets` has room for those that share a pass.
    void copy_rows(Range rows, Range of_k, In* to, std::int64_t* offsets) {
        begin_block(of_k);
        copied = to, copied_from = rows.begin;
        const std::int64_t most = most_together(plan) * plan.family.mr, step = plan.p.roles.rows.axes[0].a;
        for (std::int64_t r = rows.begin; r < rows.end; r += most) {
            const std::int64_t n = std::min(most, rows.end - r);
            for (std::int64_t i = 0; i < n; ++i) offsets[i] = (r + i) * step;
            plan.pack_a(to + (r - rows.begin) * groups, groups, {a, offsets, k_a(), n, of_k.size()});
        }
    }
    const In* copied_row(std::int64_t row) const { return copied + (row - copied_from) * groups; }
    /// The next block; it may be empty.
    Range next_block() const { return {block.end, std::min(block.end + plan.block, plan.p.k)}; }

    /// The offsets of the block's k. They are found when they are first asked for: operands in place need none, and all
    /// of them were 2 % of products of 64 columns.
    const std::int64_t* k_a() const { return k_a_.of(plan.p.roles.summed, &Axis::a, block); }
    const std::int64_t* k_b() const { return k_b_.of(plan.p.roles.summed, &Axis::b, block); }
    /// Of any k.
    const std::int64_t* k_a(Range k) const { return k_a_.of(plan.p.roles.summed, &Axis::a, k); }

  private:
    struct Offsets {
        std::int64_t* room;
        Range known{0, 0};

        const std::int64_t* of(const AxisList& summed, std::int64_t Axis::*stride, Range k) {
            if (known != k) fill_offsets(summed, stride, k.begin, k.size(), room), known = k;
            return room;
        }
    };
    mutable Offsets k_a_, k_b_;
};

}  // namespace tenon::product::dense
