#include "cuda/row_plan.h"

#include <algorithm>
#include <cstdint>
#include <set>

namespace tenon::cuda {
namespace {

using tape::RowTape;
using Kind = RowTape::Kind;

bool has(const std::vector<std::size_t>& list, std::size_t r) {
    return std::find(list.begin(), list.end(), r) != list.end();
}

/// Adds to a phase what it has to load and compute for a register of elements.
void need(const RowPlan& plan, const RowTape& tape, std::size_t r, RowPhase& phase) {
    if (tape::per_row(tape, r) || has(phase.loads, r) || has(phase.computes, r)) return;
    const bool stored_before = has(plan.kept, r) && !has(phase.keeps, r);
    if (r < tape.inputs.size() || stored_before) {
        phase.loads.push_back(r);
        return;
    }
    const RowTape::Code& c = tape.code[r - tape.inputs.size()];
    for (int i = 0; i < tape::operands_of(c); ++i) need(plan, tape, c.instruction.operands[i], phase);
    phase.computes.push_back(r);
}

using Phases = std::set<int>;

/// The phases that need the elements of each register, which are those of its readers. A register that is kept is
/// computed only in the first of them.
std::vector<Phases> wanted_in(const RowTape& tape, const tape::Timing& timing, const auto& keeps) {
    const std::size_t inputs = tape.inputs.size();
    std::vector<Phases> wanted(inputs + tape.code.size());
    for (const std::uint8_t o : tape.outputs)
        if (!tape::per_row(tape, o)) wanted[o].insert(timing.phase[o]);
    for (std::size_t k = tape.code.size(); k-- > 0;) {
        const RowTape::Code& c = tape.code[k];
        Phases own = wanted[inputs + k];
        if (c.kind == Kind::reduce) own = {tape::running_phase(timing, tape, k)};
        if (tape::per_row(tape, inputs + k) && c.kind != Kind::reduce) continue;
        if (!own.empty() && keeps(inputs + k, own)) own = {*own.begin()};
        for (int i = 0; i < tape::operands_of(c); ++i)
            if (const std::size_t r = c.instruction.operands[i]; !tape::per_row(tape, r))
                wanted[r].insert(own.begin(), own.end());
    }
    return wanted;
}

}  // namespace

RowPlan plan_of(const RowTape& tape, std::vector<std::size_t> kept) {
    RowPlan plan{tape::timing_of(tape), {}, std::move(kept), {}, {}};
    const tape::Timing& timing = plan.timing;
    plan.phases.resize(static_cast<std::size_t>(timing.phases));
    const auto at = [&](int phase) -> RowPhase& { return plan.phases[static_cast<std::size_t>(phase)]; };
    for (const std::size_t k : timing.order) {
        RowPhase& phase = at(tape::running_phase(timing, tape, k));
        if (tape::with_rows(tape.code[k])) phase.rows.push_back(k);
        if (tape.code[k].kind == Kind::reduce) phase.reductions.push_back(k);
    }
    for (std::size_t o = 0; o < tape.outputs.size(); ++o)
        if (!tape::per_row(tape, tape.outputs[o])) at(timing.phase[tape.outputs[o]]).outputs.push_back(o);
    const auto wanted = wanted_in(tape, timing, [&](std::size_t r, const Phases&) { return has(plan.kept, r); });
    for (const std::size_t r : plan.kept) {
        plan.first.push_back(*wanted[r].begin());
        plan.last.push_back(*wanted[r].rbegin());
        at(plan.first.back()).keeps.push_back(r);
    }
    for (RowPhase& phase : plan.phases) {
        for (const std::size_t r : phase.keeps) need(plan, tape, r, phase);
        for (const std::size_t k : phase.reductions) need(plan, tape, tape.code[k].instruction.operands[0], phase);
        for (const std::size_t o : phase.outputs) need(plan, tape, tape.outputs[o], phase);
    }
    return plan;
}

std::vector<std::size_t> kept_registers(const RowTape& tape) {
    const auto wanted =
        wanted_in(tape, tape::timing_of(tape), [](std::size_t, const Phases& p) { return p.size() > 1; });
    std::vector<std::size_t> kept;
    for (std::size_t r = 0; r < wanted.size(); ++r) {
        const bool repeats = r >= tape.inputs.size() && tape.code[r - tape.inputs.size()].kind == Kind::repeat;
        if (wanted[r].size() > 1 && !repeats) kept.push_back(r);
    }
    return kept;
}

std::vector<std::size_t> kept_packed(const RowTape& tape) {
    std::set<std::size_t> kept;
    for (const std::size_t r : kept_registers(tape)) {
        const bool has_extreme = std::any_of(tape.code.begin(), tape.code.end(), [&](const RowTape::Code& c) {
            return c.kind == Kind::reduce && c.instruction.operands[0] == r &&
                   (c.reduction == tape::Reduction::max || c.reduction == tape::Reduction::min);
        });
        const RowTape::Code* const c = r < tape.inputs.size() ? nullptr : &tape.code[r - tape.inputs.size()];
        const bool widens = c != nullptr && c->kind == Kind::apply && c->instruction.op == tape::Opcode::cast &&
                            c->instruction.result == DType::float32 &&
                            c->instruction.operands[0] < tape.inputs.size() &&
                            size_of(tape::type_of(tape, c->instruction.operands[0])) == 2 &&
                            is_floating(tape::type_of(tape, c->instruction.operands[0]));
        kept.insert(has_extreme && widens ? c->instruction.operands[0] : r);
    }
    return {kept.begin(), kept.end()};
}

}  // namespace tenon::cuda
