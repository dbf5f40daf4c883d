#include "tape/row_timing.h"

#include <algorithm>

namespace tenon::tape {

int operands_of(const RowTape::Code& c) { return c.kind == RowTape::Kind::apply ? arity(c.instruction.op) : 1; }

int running_phase(const Timing& t, const RowTape& tape, std::size_t k) {
    const int p = t.phase[tape.inputs.size() + k];
    return tape.code[k].kind == RowTape::Kind::reduce ? p - 1 : p;
}

bool with_rows(const RowTape::Code& c) { return c.kind == RowTape::Kind::apply && c.per_row; }

Timing timing_of(const RowTape& tape) {
    const std::size_t inputs = tape.inputs.size();
    Timing t;
    t.phase.assign(inputs + tape.code.size(), 0);
    t.last_phase.assign(inputs + tape.code.size(), -1);
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        const RowTape::Code& c = tape.code[k];
        int p = 0;
        for (int i = 0; i < operands_of(c); ++i) p = std::max(p, t.phase[c.instruction.operands[i]]);
        for (int i = 0; i < operands_of(c); ++i) {
            int& last = t.last_phase[c.instruction.operands[i]];
            last = std::max(last, p);
        }
        t.phase[inputs + k] = p + (c.kind == RowTape::Kind::reduce);
        t.phases = std::max(t.phases, t.phase[inputs + k] + 1);
        t.order.push_back(k);
    }
    std::stable_sort(t.order.begin(), t.order.end(), [&](std::size_t a, std::size_t b) {
        const auto key = [&](std::size_t k) { return 2 * running_phase(t, tape, k) + !with_rows(tape.code[k]); };
        return key(a) < key(b);
    });
    return t;
}

DType type_of(const RowTape& tape, std::size_t reg) {
    return reg < tape.inputs.size() ? tape.inputs[reg].type : tape.code[reg - tape.inputs.size()].instruction.result;
}
bool per_row(const RowTape& tape, std::size_t reg) {
    return reg < tape.inputs.size() ? tape.inputs[reg].per_row : tape.code[reg - tape.inputs.size()].per_row;
}
bool is_kept(const RowTape& tape, const Timing& t, std::size_t reg) {
    return reg >= tape.inputs.size() && !per_row(tape, reg) &&
           tape.code[reg - tape.inputs.size()].kind == RowTape::Kind::apply && t.last_phase[reg] > t.phase[reg];
}

}  // namespace tenon::tape
