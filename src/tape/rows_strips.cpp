#include "tape/rows_strips.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/parallel.h"
#include "tape/row_strip_plan.h"
#include "tape/scratch.h"

namespace tenon::tape {
namespace {

using namespace rows;
using namespace row_strips;

/// Visits blocks of rows, on one thread.
class Runner {
  public:
    explicit Runner(const Plan& plan)
        : plan_(plan), p_(*plan.p), table_(*plan.table), scratch_(scratch(static_cast<std::size_t>(plan.bytes))) {
        std::byte* at = scratch_ + plan.program;
        phases_.reserve(plan.phases.size());
        for (const PhasePlan& f : plan.phases) {
            phases_.emplace_back(f, StripRun(table_.strips, f.program, at));
            at += StripRun::bytes(f.program);
        }
        for (Bound& b : phases_) bind(b);
        for (std::size_t i = 0; i < plan_.at.inputs; ++i) {
            if (!p_.inputs[i].per_row) continue;
            if (stands_still(p_.inputs[i]))
                gather_rows(p_, p_.inputs[i], 0, plan_.block_rows, values(i));
            else
                row_inputs_.push_back(i);
        }
    }
    ~Runner() {
        if (plan_.streams) table_.strips.fence();
    }

    /// Rows [begin, end), in blocks of about equal size.
    void run(std::int64_t begin, std::int64_t end) {
        const std::int64_t blocks = (end - begin + plan_.block_rows - 1) / plan_.block_rows;
        for (std::int64_t b = 0; b < blocks; ++b) {
            const std::int64_t row = begin + (end - begin) * b / blocks;
            run_block(row, begin + (end - begin) * (b + 1) / blocks - row);
        }
    }

  private:
    void run_block(std::int64_t row, std::int64_t rows) {
        row_ = row, rows_ = rows;
        for (const std::size_t i : row_inputs_) gather_rows(p_, p_.inputs[i], row_, rows_, values(i));
        for (Bound& b : phases_) visit(b);
        for (std::size_t o = 0; o < p_.outputs.size(); ++o)
            if (p_.outputs[o].per_row) scatter_rows(p_, p_.outputs[o], row_, rows_, values(p_.tape->outputs[o]));
    }

    /// A place that differs from row to row.
    struct Moving {
        enum class What : std::uint8_t {
            direct,  // the operand's own row
            ahead,  // that of the next block
            buffer,  // a row that is kept, or that is stored afterwards
            strided,  // an operand's row, copied to a buffer
            one,  // an operand's value for the row
            repeat,  // a result's value for the row
        } what;
        bool whole;  // one value, with which a strip is filled
        std::size_t reg;
        int place;
        const rows::Place* operand;
        std::int64_t size;  // of an element
        /// Of a block's rows, if a step leads from one to the next: where the first one is.
        std::byte* first = nullptr;
        std::int64_t step = 0;
    };
    struct Bound {
        Bound(const PhasePlan& f, StripRun r) : plan(&f), run(std::move(r)) {}

        const PhasePlan* plan;
        StripRun run;
        std::vector<Moving> moving;
        const Moving *x = nullptr, *keep = nullptr, *ahead = nullptr;  // of the loop; null if it does not move
        std::vector<std::size_t> stored;  // results that are copied to their memory
    };

    static bool stands_still(const rows::Place& o) {
        return std::all_of(o.rows.begin(), o.rows.end(), [](auto s) { return s == 0; });
    }
    std::byte* values(std::size_t reg) const { return scratch_ + plan_.buffer[reg]; }
    std::byte* lanes(std::size_t k) const { return scratch_ + plan_.lanes + static_cast<std::int64_t>(k) * kLanes * 4; }
    /// The rows' values that a register repeats.
    std::byte* repeated(std::size_t reg) const {
        return values(code_of(plan_, reg - plan_.at.inputs).instruction.operands[0]);
    }
    std::int64_t size_of_register(std::size_t reg) const { return bytes_of(type_of(plan_, reg)); }
    /// Row r of a buffer.
    std::byte* buffered(std::size_t reg, std::int64_t r) const {
        return values(reg) + r * (p_.columns + kMaxStrip) * size_of_register(reg);
    }
    std::byte* address(const rows::Place& o, std::int64_t row) const {
        if (p_.axes.rank() == 1) return o.data + row * o.rows[0];
        return o.data + offset_of(p_, o, row);
    }

    void bind(Bound& b) {
        const PhasePlan& f = *b.plan;
        b.moving.reserve(f.repeats.size() + f.inputs.size() + f.results.size() + f.ahead.size());
        for (const std::size_t k : f.reductions) b.run.bind(plan_.at.lanes(k), {lanes(k), 0});
        for (const std::size_t k : f.repeats) add(b, Moving::What::repeat, plan_.at.inputs + k, nullptr, 0);
        for (const std::size_t reg : f.inputs) {
            if (reg >= plan_.at.inputs) {
                bind_result(b, reg);
                continue;
            }
            const rows::Place& o = p_.inputs[reg];
            const auto what = plan_.buffer[reg] < 0 ? Moving::What::direct
                              : is_one_value(o)     ? Moving::What::one
                                                    : Moving::What::strided;
            add(b, what, reg, &o, what == Moving::What::one ? 0 : size_of_register(reg));
        }
        for (const std::size_t reg : f.results) {
            bind_result(b, reg);
            if (plan_.output[reg] >= 0 && plan_.buffer[reg] >= 0) b.stored.push_back(reg);
        }
        for (const std::size_t i : f.ahead) {
            b.run.bind(plan_.at.ahead(i), {nullptr, size_of_register(i)});
            b.moving.push_back({Moving::What::ahead, false, i, plan_.at.ahead(i), &p_.inputs[i], size_of_register(i)});
        }
        if (f.loop.kind == RowLoop::Kind::none) return;
        for (const Moving& m : b.moving)
            if (m.what == Moving::What::ahead)
                b.ahead = &m;
            else if (m.reg == f.loop.x)
                b.x = &m;
            else if (m.reg == f.loop.keep)
                b.keep = &m;
    }
    void bind_result(Bound& b, std::size_t reg) {
        if (plan_.buffer[reg] >= 0) return add(b, Moving::What::buffer, reg, nullptr, size_of_register(reg));
        add(b, Moving::What::direct, reg, &p_.outputs[static_cast<std::size_t>(plan_.output[reg])],
            size_of_register(reg));
    }
    void add(Bound& b, Moving::What what, std::size_t reg, const rows::Place* operand, std::int64_t step) {
        const auto place = static_cast<int>(reg);
        const bool direct = what == Moving::What::direct;
        b.run.bind(place, {plan_.buffer[reg] < 0 ? scratch_ : values(reg), step}, direct ? step : 0);
        Moving m{what, b.plan->program.whole[reg] != 0, reg, place, operand, size_of_register(reg)};
        if (!operand || !stands_still(*operand)) return b.moving.push_back(m);
        start(m);
        move(b.run, m, 0);
    }

    /// Finds where the first row of a block is.
    void start(Moving& m) const {
        switch (m.what) {
            case Moving::What::direct:
            case Moving::What::one:
                m.first = address(*m.operand, row_);
                m.step = p_.axes.rank() == 1 ? m.operand->rows[0] : 0;
                return;
            case Moving::What::repeat:
                m.first = repeated(m.reg), m.step = m.size;
                return;
            default:
                m.first = buffered(m.reg, 0), m.step = buffered(m.reg, 1) - m.first;
        }
    }

    /// Row r of a place.
    std::byte* row_of(const Moving& m, std::int64_t r) const {
        switch (m.what) {
            case Moving::What::direct:
            case Moving::What::one:
                return p_.axes.rank() > 1 ? address(*m.operand, row_ + r) : m.first + r * m.step;
            case Moving::What::ahead:  // beyond the last row it would do no harm
                return address(*m.operand, std::min(row_ + r + plan_.block_rows, p_.rows - 1));
            case Moving::What::strided:
                rows::move(m.size, m.first + r * m.step, m.size, address(*m.operand, row_ + r), m.operand->column,
                           p_.columns);
                [[fallthrough]];
            default:
                return m.first + r * m.step;
        }
    }

    void move(StripRun& run, const Moving& m, std::int64_t r) const {
        std::byte* const from = row_of(m, r);
        if (m.what != Moving::What::one && m.what != Moving::What::repeat) return run.move_to(m.place, from);
        if (!m.whole && m.size == 4)
            std::memcpy(values(m.reg), from, 4);
        else
            rows::move(m.size, values(m.reg), m.size, from, 0, m.whole ? table_.strips.width : 1);
    }

    void visit(Bound& b) {
        const PhasePlan& f = *b.plan;
        for (const std::size_t k : f.rows) apply_rows(k);
        if (!f.elements) return;
        for (Moving& m : b.moving) start(m);
        if (f.loop.kind != RowLoop::Kind::none) return loop(b);
        const bool reduces = !f.reductions.empty() || !f.after.empty();
        for (std::int64_t r = 0; r < rows_; ++r) {
            for (const Moving& m : b.moving) move(b.run, m, r);
            if (reduces)
                reduce_strips(b, r);
            else
                b.run.run(0, p_.columns);
            for (const std::size_t reg : b.stored) store(reg, r);
        }
    }

    void apply_rows(std::size_t k) {
        const Instruction& code = code_of(plan_, k).instruction;
        const void* in[3];
        for (int i = 0; i < arity(code.op); ++i) in[i] = values(code.operands[i]);
        kernel_of(table_, code)(values(plan_.at.inputs + k), in, rows_);
    }

    void store(std::size_t reg, std::int64_t r) const {
        const rows::Place& o = p_.outputs[static_cast<std::size_t>(plan_.output[reg])];
        const std::int64_t size = bytes_of(o.type);
        rows::move(size, address(o, row_ + r), o.column, buffered(reg, r), size, p_.columns);
    }

    void reduce_strips(Bound& b, std::int64_t r) {
        const PhasePlan& f = *b.plan;
        for (std::int64_t begin = 0; begin < p_.columns; begin += kReduceChunk) {
            const std::int64_t n = std::min(kReduceChunk, p_.columns - begin);
            for (const std::size_t k : f.reductions) kernels(k).fill(lanes(k), kLanes);
            b.run.run(begin, n);
            for (const std::size_t k : f.reductions) {
                const float value = table_.strips.join[static_cast<int>(code_of(plan_, k).reduction)](
                    reinterpret_cast<const float*>(lanes(k)));
                enter_chunk(k, r, begin == 0, value);
            }
            for (const AfterStrips& a : f.after) {
                const auto* x = reinterpret_cast<const float*>(b.run.place(static_cast<int>(a.x)).base) + begin;
                const auto reduction = static_cast<int>(code_of(plan_, a.code).reduction);
                enter_chunk(a.code, r, begin == 0, table_.row_kernels.reduce[reduction](x, n));
            }
        }
    }
    /// Combines a chunk's result with the row's.
    void enter_chunk(std::size_t k, std::int64_t r, bool first, float value) const {
        std::byte* total = values(plan_.at.inputs + k) + r * 4;
        if (first)
            std::memcpy(total, &value, 4);
        else
            kernels(k).join(total, &value, 1);
    }
    void loop(const Bound& b) const {
        const PhasePlan& f = *b.plan;
        const std::size_t k = f.reductions[0];
        const auto at_rest = [&](std::size_t reg) { return b.run.place(static_cast<int>(reg)).base; };
        std::byte *const x = at_rest(f.loop.x), *const keep = f.loop.keep ? at_rest(*f.loop.keep) : nullptr;
        const std::byte* const less = f.loop.less ? repeated(*f.loop.less) : nullptr;
        LoopRow row{};
        for (std::int64_t r = 0; r < rows_; ++r) {
            row.x = b.x ? row_of(*b.x, r) : x;
            row.keep = b.keep ? row_of(*b.keep, r) : keep;
            row.ahead = b.ahead ? row_of(*b.ahead, r) : nullptr;
            if (less) std::memcpy(&row.less, less + r * 4, 4);
            for (std::int64_t begin = 0; begin < p_.columns; begin += kReduceChunk)
                enter_chunk(k, r, begin == 0, loop_of_chunk(f, k, begin, row));
            for (const std::size_t reg : b.stored) store(reg, r);
        }
    }
    struct LoopRow {
        const std::byte *x, *ahead;
        std::byte* keep;
        float less;
    };
    float loop_of_chunk(const PhasePlan& f, std::size_t k, std::int64_t begin, const LoopRow& row) const {
        const std::int64_t n = std::min(kReduceChunk, p_.columns - begin);
        const auto at = [begin](auto* elements) { return elements ? elements + begin * 4 : nullptr; };
        const RowKernels& kernels = table_.row_kernels;
        const auto* from = reinterpret_cast<const float*>(at(row.x));
        if (f.loop.kind == RowLoop::Kind::reduction)
            return kernels.reduce[static_cast<int>(code_of(plan_, k).reduction)](from, n);
        return kernels.sum_of[static_cast<int>(f.loop.function)](
            from, row.less, n, reinterpret_cast<float*>(at(row.keep)), reinterpret_cast<const char*>(at(row.ahead)));
    }
    const ReduceKernels& kernels(std::size_t k) const {
        return table_.reduce[static_cast<int>(code_of(plan_, k).reduction)][static_cast<int>(DType::float32)];
    }

    const Plan& plan_;
    const Problem& p_;
    const KernelTable& table_;
    std::byte* scratch_;
    std::vector<Bound> phases_;
    std::vector<std::size_t> row_inputs_;
    std::int64_t row_ = 0, rows_ = 0;
};

void run_plan(const Plan& plan) {
    const Problem& p = *plan.p;
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / p.columns);
    parallel_for(p.rows, even_grain(p.rows, grain),
                 [&](std::int64_t begin, std::int64_t end) { Runner(plan).run(begin, end); });
}

struct CachedStripPlan : CachedRowPlan {
    CachedStripPlan(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                    const Problem& p, Plan made)
        : CachedRowPlan(table, inputs, outputs, p), plan(std::move(made)) {
        plan.p = &problem;
    }
    void run() const override { run_plan(plan); }

    Plan plan;
};

}  // namespace

bool run_row_strips(const KernelTable& table, const Problem& p, std::span<const View> inputs,
                    std::span<const View> outputs, CachedPlan* kept) {
    std::optional<Plan> plan = make_plan(table, p);
    if (!plan) return false;
    run_plan(*plan);
    if (!kept) return true;
    const std::shared_ptr<CachedRowPlan> made =
        std::make_shared<CachedStripPlan>(table, inputs, outputs, p, std::move(*plan));
    *kept = made;
    return true;
}

bool run_cached_rows(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                     const CachedPlan* kept) {
    if (!kept || !*kept) return false;
    CachedRowPlan& k = *static_cast<CachedRowPlan*>(kept->get());
    if (!k.operands.fits(table, inputs, outputs)) return false;
    for (std::size_t i = 0; i < inputs.size(); ++i) set_address(k.problem.inputs[i].data, inputs[i]);
    for (std::size_t o = 0; o < outputs.size(); ++o) set_address(k.problem.outputs[o].data, outputs[o]);
    k.run();
    return true;
}

}  // namespace tenon::tape
