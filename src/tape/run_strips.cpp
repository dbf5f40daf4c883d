#include "tape/run_strips.h"

#include <algorithm>

#include "base/parallel.h"
#include "tape/scratch.h"
#include "tape/strips.h"
#include "tape/walk.h"

namespace tenon::tape {
namespace {

constexpr std::int64_t kGrain = 32 * kBlock;
constexpr std::int64_t kFarElements = std::int64_t{1}
                                      << 18;  // operands of so many are not in the second level of cache
constexpr std::int64_t kElementsAhead = 512;  // rows so far ahead are asked for
constexpr std::int64_t kFewest = 4;  // strips: with fewer elements, planning outweighs the work of one run

struct Plan {
    const StripTable* table;
    Walk walk;
    std::vector<Operand> operands;  // outputs, then inputs: the places of the program
    std::size_t outputs;
    std::int64_t elements;
    StripProgram program;
    std::vector<std::size_t>
        ahead;  // operands of which the next block is prefetched; their places follow the operands'
    bool streams = false;
    bool by_rows = false;  // the elements of a row are contiguous or one value, so that tiles of a row run as one
    // By rows: columns of whole strips, each of which runs down all rows at a time, as one run whose elements are a
    // part of the distance between rows apart. What rows are fetched ahead then.
    bool down = false;
    std::int64_t rows_ahead = 0;
    bool any_rows = false;  // by rows, as the operands' views have them: it serves any number of rows
};

Operand operand_of(const View& v) {
    Operand o{v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), v.layout.strides};
    for (std::int64_t& s : o.strides) s *= o.size;
    return o;
}

std::vector<StripInstruction> instructions_of(const Tape& tape) {
    std::vector<StripInstruction> code;
    for (std::size_t k = 0; k < tape.code.size(); ++k)
        code.push_back({false, {}, tape.code[k], static_cast<int>(tape.inputs.size() + k)});
    return code;
}

/// Whether the outputs are results of instructions, each of them once.
bool plain_outputs(const Tape& tape) {
    for (std::size_t o = 0; o < tape.outputs.size(); ++o)
        if (tape.outputs[o] < tape.inputs.size() ||
            std::count(tape.outputs.begin(), tape.outputs.end(), tape.outputs[o]) > 1)
            return false;
    return true;
}

/// Whether an input in the output's memory is still read after the output's value is known, so that storing it has to
/// wait.
bool is_late(const Tape& tape, std::span<const View> inputs, const View& out, std::size_t reg) {
    const std::size_t writes = reg - tape.inputs.size();
    for (std::size_t k = writes; k < tape.code.size(); ++k)
        for (int o = 0; o < arity(tape.code[k].op); ++o) {
            const std::size_t in = tape.code[k].operands[o];
            if (in < inputs.size() && inputs[in].data == out.data && (k > writes || inputs[in].dtype != out.dtype))
                return true;
        }
    return false;
}

/// Whether all elements of a block are one value.
bool repeats(const Walk& walk, const Operand& o) {
    if (!walk.tiles || walk.tile_rows != 1) return std::ranges::all_of(o.strides, [](auto s) { return s == 0; });
    return o.strides.back() == 0;
}

/// Whether the tiles are parts of rows of which nothing is copied. Rows of a few whole strips, which the walk would
/// copy together, are made tiles of their own.
bool is_by_rows(Walk& walk, std::span<const Operand> operands, std::int64_t width) {
    const auto in_place = [](const Operand& o) { return o.strides[1] == o.size || o.strides[1] == 0; };
    if (!walk.tiles || walk.shape.rank() != 2 || !std::ranges::all_of(operands, in_place)) return false;
    if (walk.tile_rows != 1 && walk.shape[1] % width == 0) walk.tile_rows = 1, walk.blocks = walk.shape[0];
    return walk.tile_rows == 1;
}

/// Whether strips can go down the rows: a row is a few whole strips, and strides between rows divide into their
/// elements.
bool goes_down(const Walk& walk, std::span<const Operand> operands, std::int64_t width) {
    return walk.shape[1] < kBlock && walk.shape[1] % width == 0 && std::ranges::all_of(operands, [&](const Operand& o) {
               return o.strides[1] != 0 ? o.strides[0] % width == 0 : o.strides[0] == 0;
           });
}

/// Whether the hardware does not fetch an operand in time: its rows are short and far apart. A product's output and
/// residual, of which its tape has some columns.
bool is_parted(const Walk& walk, const Operand& o) {
    return o.strides[1] == o.size && o.strides[0] != 0 && o.strides[0] != walk.shape[1] * o.size;
}

Plan make_plan(const KernelTable& table, const Tape& tape, std::span<const StripInstruction> code,
               std::span<const View> inputs, std::span<const View> outputs) {
    Plan plan{&table.strips, {}, {}, outputs.size(), outputs[0].layout.count(), {}, {}};
    for (const View& v : outputs) plan.operands.push_back(operand_of(v));
    for (const View& v : inputs) plan.operands.push_back(operand_of(v));
    plan.walk = plan_walk(outputs[0].shape(), plan.operands);
    plan.by_rows = is_by_rows(plan.walk, plan.operands, table.strips.width);
    plan.down = plan.by_rows && goes_down(plan.walk, plan.operands, table.strips.width);
    if (plan.down) plan.rows_ahead = (kElementsAhead + plan.walk.shape[1] - 1) / plan.walk.shape[1];
    const View& out = outputs[0];
    plan.any_rows = plan.by_rows && plan.elements < kFarElements && out.shape() == plan.walk.shape &&
                    out.shape()[0] > 1 && std::abs(out.layout.strides[0]) > std::abs(out.layout.strides[1]);
    std::vector<StripRegister> registers;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        registers.push_back({tape.inputs[i], StripRegister::In::memory, static_cast<int>(outputs.size() + i),
                             repeats(plan.walk, plan.operands[outputs.size() + i]), false, false});
    for (const Instruction& c : tape.code) registers.push_back({c.result, {}, -1, false, false, false});
    for (std::size_t o = 0; o < outputs.size(); ++o) {
        const std::size_t reg = tape.outputs[o];
        const bool large = outputs[o].layout.count() * plan.operands[o].size >= kStreamBytes;
        const bool stream =
            large && outputs[o].dtype == DType::float32 && always_contiguous(plan.walk, plan.operands[o]);
        registers[reg] = {outputs[o].dtype,
                          StripRegister::In::result,
                          static_cast<int>(o),
                          false,
                          is_late(tape, inputs, outputs[o], reg),
                          stream};
        plan.streams = plan.streams || stream;
    }
    const auto operands = static_cast<int>(plan.operands.size());
    std::vector<StripAhead> ahead;
    for (std::size_t i = 0; i < plan.operands.size(); ++i) {
        const Operand& o = plan.operands[i];
        const bool far = plan.elements >= kFarElements && plan.walk.tile_rows == 1 && i >= outputs.size() &&
                         always_contiguous(plan.walk, o) && (plan.walk.shape[0] == 1 || o.strides[0] != 0);
        if (plan.down ? !is_parted(plan.walk, o) : !far) continue;
        ahead.push_back({operands + static_cast<int>(plan.ahead.size()), o.size});
        plan.ahead.push_back(i);
    }
    plan.program = make_strips(table, registers, code, operands + static_cast<int>(ahead.size()), ahead);
    return plan;
}

/// Runs blocks one after the other, on one thread.
class Runner {
  public:
    explicit Runner(const Plan& plan)
        : plan_(plan),
          scratch_(scratch(StripRun::bytes(plan.program) + plan.operands.size() * kBuffer)),
          run_(*plan.table, plan.program, scratch_ + plan.operands.size() * kBuffer),
          held_(plan.operands.size()) {}
    ~Runner() {
        if (plan_.streams) plan_.table->fence();
    }

    /// Blocks [begin, end).
    void run(std::int64_t begin, std::int64_t end) {
        if (plan_.down) return run_down(begin, end);
        if (plan_.by_rows) return run_rows(begin, end);
        for (std::int64_t i = begin; i < end; ++i) run(block_at(plan_.walk, i));
    }

  private:
    static constexpr std::size_t kBuffer = static_cast<std::size_t>(kBlock + kMaxStrip) * 8;  // a block, of any dtype

    std::byte* buffer(std::size_t i) const { return scratch_ + i * kBuffer; }

    /// Rows [begin, end), the columns of a strip before the next ones: a strip's part of the next row is as many
    /// elements away as it has. A row at a time would take half as long again as the work.
    void run_down(std::int64_t begin, std::int64_t end) {
        const std::int64_t width = plan_.table->width;
        for (std::int64_t column = 0; column < plan_.walk.shape[1]; column += width) {
            const auto at = [&](const Operand& o) { return o.data + begin * o.strides[0] + column * o.strides[1]; };
            for (std::size_t i = 0; i < plan_.operands.size(); ++i) {
                const Operand& o = plan_.operands[i];
                if (o.strides[1] != 0)
                    run_.bind(static_cast<int>(i), {at(o), o.strides[0] / width}, o.size);
                else
                    part_of_row(i, at(o));
            }
            for (std::size_t k = 0; k < plan_.ahead.size(); ++k) {
                const Operand& o = plan_.operands[plan_.ahead[k]];
                run_.bind(static_cast<int>(plan_.operands.size() + k),
                          {at(o) + plan_.rows_ahead * o.strides[0], o.strides[0] / width});
            }
            run_.run(0, (end - begin) * width);
        }
    }

    /// The tiles of a row together: finding out where a tile is takes as long as a tenth of the work on it.
    void run_rows(std::int64_t begin, std::int64_t end) {
        const Walk& walk = plan_.walk;
        const std::int64_t columns = walk.shape[1], across = (columns + walk.tile_columns - 1) / walk.tile_columns;
        std::int64_t row = begin / across, tile = begin % across;
        for (std::int64_t left = end - begin; left > 0; ++row) {
            const std::int64_t tiles = std::min(left, across - tile), first = tile * walk.tile_columns;
            const std::int64_t n = std::min(columns, (tile + tiles) * walk.tile_columns) - first;
            const auto at = [&](const Operand& o) { return o.data + row * o.strides[0] + first * o.strides[1]; };
            for (std::size_t i = 0; i < plan_.operands.size(); ++i) part_of_row(i, at(plan_.operands[i]));
            for (std::size_t k = 0; k < plan_.ahead.size(); ++k) {
                const Operand& o = plan_.operands[plan_.ahead[k]];
                run_.bind(static_cast<int>(plan_.operands.size() + k), {at(o) + kBlock * o.size, o.size});
            }
            run_.run(0, n);
            left -= tiles, tile = 0;
        }
    }
    void part_of_row(std::size_t i, std::byte* from) {
        const Operand& o = plan_.operands[i];
        Held& held = held_[i];
        const auto place = static_cast<int>(i);
        const bool first = !held.from;
        if (held.from == from) return;
        held.from = from;
        if (o.strides[1] != 0) return first ? run_.bind(place, {from, o.size}, o.size) : run_.move_to(place, from);
        if (first) run_.bind(place, {buffer(i), 0});
        fill(o, from, buffer(i));
    }
    /// A strip of one value.
    void fill(const Operand& o, std::byte* from, std::byte* to) const {
        const std::int64_t n = plan_.table->width;
        gather({{1, n}, true, kBlock, 1, n, 1}, {from, o.size, {0, 0}}, {n, 1, n, {0, 0}}, to);
    }

    void run(const Block& block) {
        for (std::size_t i = 0; i < plan_.operands.size(); ++i) i < plan_.outputs ? output(i, block) : input(i, block);
        // A single instruction accesses few of the streams, and a block ends where the hardware prefetcher would have
        // continued.
        for (std::size_t k = 0; k < plan_.ahead.size(); ++k) {
            const Operand& o = plan_.operands[plan_.ahead[k]];
            run_.bind(static_cast<int>(plan_.operands.size() + k), {address(o, block) + block.n * o.size, o.size});
        }
        run_.run(0, block.n);
        for (std::size_t i = 0; i < plan_.outputs; ++i)
            if (!contiguous(plan_.walk, plan_.operands[i], block))
                scatter(plan_.walk, plan_.operands[i], block, buffer(i));
    }

    void output(std::size_t i, const Block& block) {
        const Operand& o = plan_.operands[i];
        const bool in_place = contiguous(plan_.walk, o, block);
        run_.bind(static_cast<int>(i), {in_place ? address(o, block) : buffer(i), o.size}, in_place ? o.size : 0);
    }

    void input(std::size_t i, const Block& block) {
        const Operand& o = plan_.operands[i];
        std::byte* from = address(o, block);
        const bool repeated = repeats(plan_.walk, o);
        if (!repeated && contiguous(plan_.walk, o, block))
            return run_.bind(static_cast<int>(i), {from, o.size}, o.size);
        run_.bind(static_cast<int>(i), {buffer(i), repeated ? 0 : o.size});
        Held& held = held_[i];
        const bool same = held.from == from &&
                          (repeated || (plan_.walk.tiles && held.columns == block.columns && held.rows >= block.rows));
        if (same) return;
        held = {from, block.rows, block.columns};
        if (!repeated) return gather(plan_.walk, o, block, buffer(i));
        fill(o, from, buffer(i));
    }

    /// The contents of a buffer, remembered so that what blocks share is copied once.
    struct Held {
        const std::byte* from = nullptr;
        std::int64_t rows = 0, columns = 0;
    };

    const Plan& plan_;
    std::byte* scratch_;
    StripRun run_;
    std::vector<Held> held_;
};

void run_plan(const Plan& plan) {
    const std::int64_t block_size = std::max<std::int64_t>(1, plan.elements / plan.walk.blocks);
    const std::int64_t grain = std::max<std::int64_t>(1, kGrain / block_size);
    parallel_for(plan.walk.blocks, even_grain(plan.walk.blocks, grain),
                 [&](std::int64_t begin, std::int64_t end) { Runner(plan).run(begin, end); });
}

struct KeptPlan {
    PlannedFor operands;
    Plan plan;
};

}  // namespace

bool run_strips(const KernelTable& table, const Tape& tape, std::span<const View> inputs, std::span<const View> outputs,
                CachedPlan* kept) {
    const std::int64_t n = outputs[0].layout.count();
    if (table.strips.width == 0) return false;
    // A single instruction is as fast by its kernel, and few elements are faster that way, unless the plan is kept.
    if (!kept && (tape.code.size() < 2 || n < kFewest * table.strips.width)) return false;
    const std::vector<StripInstruction> code = instructions_of(tape);
    if (!suits_strips(table.strips, code) || !plain_outputs(tape)) return false;
    Plan plan = make_plan(table, tape, code, inputs, outputs);
    run_plan(plan);
    if (kept) *kept = std::make_shared<KeptPlan>(KeptPlan{{table, inputs, outputs}, std::move(plan)});
    return true;
}

bool run_cached_strips(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                       const CachedPlan* kept) {
    if (!kept || !*kept) return false;
    KeptPlan& k = *static_cast<KeptPlan*>(kept->get());
    if (!k.operands.fits(table, inputs, outputs, k.plan.any_rows && outputs[0].layout.count() < kFarElements))
        return false;
    if (k.plan.any_rows && k.plan.walk.shape[0] != outputs[0].shape()[0]) {
        const std::int64_t tiles = k.plan.walk.blocks / k.plan.walk.shape[0], rows = outputs[0].shape()[0];
        k.plan.walk.shape[0] = rows, k.plan.walk.blocks = rows * tiles, k.plan.elements = outputs[0].layout.count();
    }
    for (std::size_t o = 0; o < outputs.size(); ++o) set_address(k.plan.operands[o].data, outputs[o]);
    for (std::size_t i = 0; i < inputs.size(); ++i) set_address(k.plan.operands[outputs.size() + i].data, inputs[i]);
    run_plan(k.plan);
    return true;
}

}  // namespace tenon::tape
