// What a thread of a blocked product works on: a batch's operands, a chunk of columns, a block of k.
#pragma once

#include <cstdint>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_output.h"
#include "product/dense/worker_scratch.h"

namespace tenon::product::dense {

template <class In, class Acc>
struct CurrentBlock {
    const Plan<In, Acc>& plan;
    std::int64_t *k_a, *k_b, *columns_b;  // offsets of the block's k and of the chunk's columns
    std::int64_t batch = 0;
    const void *a = nullptr, *b = nullptr;
    Range columns{0, 0}, block{0, 0};
    std::int64_t groups = 0, k_pitch = 0;  // of the block: its length in groups, and B's step along k
    bool k_unit = false, a_stays = false;  // A's rows are contiguous along k; A's rows can be read in place

    CurrentBlock(const Plan<In, Acc>& p, Scratch& scratch)
        : plan(p),
          k_a(scratch.take<std::int64_t>(k_at_once(p))),
          k_b(scratch.take<std::int64_t>(k_at_once(p))),
          columns_b(scratch.take<std::int64_t>(p.chunk)) {}

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
        fill_offsets(summed, &Axis::a, block.begin, block.size(), k_a);
        fill_offsets(summed, &Axis::b, block.begin, block.size(), k_b);
        groups = PackedB::rows(block.size(), plan.kernels->group, plan.pairs);
        k_pitch = block.size() > 1 ? k_b[1] - k_b[0] : 0;
        k_unit = summed.size == 1 ? block.size() == 1 || summed.axes[0].a == 1 : is_affine(k_a, block.size(), 1);
        a_stays = plan.a_is_in && k_unit && groups * plan.kernels->group == block.size();
    }
    /// The next block; it may be empty.
    Range next_block() const { return {block.end, std::min(block.end + plan.block, plan.p.k)}; }
};

}  // namespace tenon::product::dense
