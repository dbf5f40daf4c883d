#include "schedule/alike.h"

#include <algorithm>
#include <unordered_map>

#include "base/hash.h"

namespace tenon::schedule {
namespace {

bool same(const tape::Instruction& a, const tape::Instruction& b) {
    return a.op == b.op && a.type == b.type && a.result == b.result &&
           std::equal(a.operands, a.operands + 3, b.operands);
}
bool same(const tape::Tape& a, const tape::Tape& b) {
    return a.inputs == b.inputs && a.outputs == b.outputs &&
           std::equal(a.code.begin(), a.code.end(), b.code.begin(), b.code.end(),
                      [](const auto& x, const auto& y) { return same(x, y); });
}
bool same(const tape::RowTape& a, const tape::RowTape& b) {
    return a.outputs == b.outputs &&
           std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(),
                      [](const auto& x, const auto& y) { return x.type == y.type && x.per_row == y.per_row; }) &&
           std::equal(a.code.begin(), a.code.end(), b.code.begin(), b.code.end(), [](const auto& x, const auto& y) {
               return x.kind == y.kind && x.per_row == y.per_row && x.reduction == y.reduction &&
                      same(x.instruction, y.instruction);
           });
}
bool same(const TaskLabels& a, const TaskLabels& b) { return a.a == b.a && a.b == b.b && a.out == b.out; }
bool same(const std::vector<Operand>& a, const std::vector<Operand>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Operand& x, const Operand& y) {
        return same(x.at, y.at) && x.view.dtype == y.view.dtype && x.view.layout.rank() == y.view.layout.rank();
    });
}
bool same(const ChainTask* a, const ChainTask* b) {
    if (!a || !b) return a == b;
    return same(a->first, b->first) && same(a->second, b->second) && a->product == b->product &&
           same(a->between, b->between) && a->between_inputs == b->between_inputs && a->z_is_a == b->z_is_a &&
           a->reading.rank() == b->reading.rank() && a->keeps_product == b->keeps_product &&
           a->keeps_intermediate == b->keeps_intermediate && same(a->rows, b->rows) && a->row_input == b->row_input &&
           a->always == b->always;
}
bool same(const PrologueTask* a, const PrologueTask* b) {
    if (!a || !b) return a == b;
    return same(a->labels, b->labels) && same(a->a, b->a) && same(a->b, b->b) && a->a_inputs == b->a_inputs &&
           a->b_inputs == b->b_inputs;
}
bool same(const std::vector<GroupedTask>* a, const std::vector<GroupedTask>* b) {
    if (!a || !b) return a == b;
    return std::equal(a->begin(), a->end(), b->begin(), b->end(), [](const GroupedTask& x, const GroupedTask& y) {
        return x.node == y.node && same(x.labels, y.labels) && same(x.tape, y.tape) && x.inputs == y.inputs &&
               x.reads_earlier == y.reads_earlier;
    });
}

bool is_kept(const Task& t) { return t.kind == Task::Kind::tape || t.kind == Task::Kind::rows; }

std::uint64_t hash_of(const Task& t) {
    std::uint64_t h = static_cast<std::uint64_t>(t.kind);
    const auto add = [&](const tape::Instruction& c) {
        h = mix(h, static_cast<std::uint64_t>(c.op) << 40 | static_cast<std::uint64_t>(c.result) << 32 |
                       std::uint64_t{c.operands[0]} << 16 | std::uint64_t{c.operands[1]} << 8 | c.operands[2]);
    };
    for (const tape::Instruction& c : t.tape.code) add(c);
    for (const tape::RowTape::Code& c : t.rows.code) add(c.instruction);
    for (const auto* list : {&t.in, &t.out})
        for (const Operand& o : *list)
            for (int d = 0; d < o.view.layout.rank(); ++d)
                h = mix(h, static_cast<std::uint64_t>(o.view.layout.shape[d]));
    return h;
}

bool same_layouts(const std::vector<Operand>& a, const std::vector<Operand>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Operand& x, const Operand& y) {
        return x.view.dtype == y.view.dtype && x.view.layout == y.view.layout;
    });
}

bool is_alike(const Task& a, const Task& b) {
    if (a.kind != b.kind || !same_layouts(a.in, b.in) || !same_layouts(a.out, b.out) || !same(a.tape, b.tape) ||
        !same(a.rows, b.rows))
        return false;
    const auto one_place = [](const Operand& x, const Operand& y) {
        return same(x.at, y.at) && x.at.offset == y.at.offset;
    };
    for (std::size_t o = 0; o < a.out.size(); ++o)
        for (std::size_t i = 0; i < a.in.size(); ++i)
            if (one_place(a.in[i], a.out[o]) != one_place(b.in[i], b.out[o])) return false;
    return true;
}

}  // namespace

bool same(const Task& a, const Task& b) {
    return a.kind == b.kind && a.node == b.node && a.nodes == b.nodes && same(a.in, b.in) && same(a.out, b.out) &&
           a.product_operands == b.product_operands && a.sum_operands == b.sum_operands && same(a.tape, b.tape) &&
           same(a.rows, b.rows) && same(a.chain.get(), b.chain.get()) && same(a.prologues.get(), b.prologues.get()) &&
           same(a.grouped.get(), b.grouped.get());
}

std::vector<std::uint32_t> first_alike(const std::vector<Task>& tasks) {
    std::vector<std::uint32_t> first(tasks.size());
    std::unordered_multimap<std::uint64_t, std::uint32_t> seen;
    for (std::uint32_t t = 0; t < tasks.size(); ++t) {
        first[t] = t;
        if (!is_kept(tasks[t])) continue;
        const std::uint64_t h = hash_of(tasks[t]);
        const auto [begin, end] = seen.equal_range(h);
        const auto at = std::find_if(begin, end, [&](const auto& s) { return is_alike(tasks[s.second], tasks[t]); });
        if (at == end)
            seen.emplace(h, t);
        else
            first[t] = at->second;
    }
    return first;
}

}  // namespace tenon::schedule
