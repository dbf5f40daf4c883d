#include "cuda/row_printer.h"

#include <algorithm>

#include "tape/operations.h"

namespace tenon::cuda {

constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};

void RowPrinter::pointer(const char* letter, std::size_t number, std::size_t r, std::size_t operand) {
    line("    Stored<", type(r), ">* const ", letter, number, " = static_cast<Stored<", type(r), ">*>(p.operands[",
         operand, "].data) + offset_of(p, p.operands[", operand, "], row);");
}

std::string RowPrinter::accumulator(std::size_t k) const {
    return text("Accumulator<", type_name(tape_.code[k].instruction.type), ">");
}
std::string RowPrinter::operation(std::size_t k) const {
    return text("Reduction::", kReductions[static_cast<int>(tape_.code[k].reduction)]);
}

bool RowPrinter::has_usual_form(const RowTape::Code& c) const {
    if (c.kind != Kind::apply || c.per_row) return false;
    const DType t = c.instruction.type;
    const bool single = t == DType::float32 || t == DType::float16 || t == DType::bfloat16;
    return single && (tape::baseline::has_usual(c.instruction.op) || divisor(c));
}
bool RowPrinter::has_usual_forms(const RowPhase& plan) const {
    return std::any_of(plan.computes.begin(), plan.computes.end(),
                       [&](std::size_t r) { return has_usual_form(tape_.code[r - inputs_]); });
}
std::optional<std::size_t> RowPrinter::divisor(const RowTape::Code& c) const {
    const std::size_t by = c.instruction.operands[1];
    if (c.instruction.op != tape::Opcode::divide || by < inputs_) return std::nullopt;
    const RowTape::Code& from = tape_.code[by - inputs_];
    if (from.kind != Kind::repeat) return std::nullopt;
    return from.instruction.operands[0];
}

void RowPrinter::divisors(const RowPhase& plan) {
    ++number_;
    line("    bool unusual", number_, " = false;");
    std::vector<std::size_t> done;
    for (const std::size_t r : plan.computes) {
        const RowTape::Code& c = tape_.code[r - inputs_];
        const std::optional<std::size_t> by = has_usual_form(c) ? divisor(c) : std::nullopt;
        if (!by || std::find(done.begin(), done.end(), *by) != done.end()) continue;
        done.push_back(*by);
        line("    const float i", number_, "_", *by, " = 1 / r", *by, ";\n    unusual", number_,
             " |= !is_usual_divisor(r", *by, ");");
    }
}

std::string RowPrinter::value(const RowTape::Code& c, const std::vector<std::string>& names, bool usual) const {
    const tape::Instruction& n = c.instruction;
    if (!has_usual_form(c) || (!usual && !exactly_)) return expression(n, names, true);
    const std::string& a = names[n.operands[0]];
    const std::string t = type_name(n.type);
    if (const std::optional<std::size_t> by = divisor(c))
        return exactly_ ? text("exactly<Opcode::divide, ", t, ">(", a, ", ", names[n.operands[1]], ")")
                        : text("usual_quotient<", t, ">(unusual, ", a, ", r", *by, ", i", number_, "_", *by, ")");
    return exactly_ ? text("exactly<Opcode::", name(n.op), ", ", t, ">(", a, ")")
                    : text("usual_wide<Opcode::", name(n.op), ", ", t, ">(unusual, ", a, ")");
}

void RowPrinter::pointers() {
    for (std::size_t o = 0; o < tape_.outputs.size(); ++o) pointer("y", o, tape_.outputs[o], o);
    for (std::size_t i = 0; i < inputs_; ++i) pointer("x", i, i, tape_.outputs.size() + i);
    row_inputs();
}
void RowPrinter::row_inputs() {
    for (std::size_t i = 0; i < inputs_; ++i)
        if (rows(i)) line("    const Wide<", type(i), "> r", i, " = widen<", type(i), ">(*x", i, ");");
}

bool RowPrinter::before(std::size_t r, const RowPhase& plan) const {
    return kept(r) && std::find(plan.keeps.begin(), plan.keeps.end(), r) == plan.keeps.end();
}

std::vector<std::string> RowPrinter::names() const {
    std::vector<std::string> names(inputs_ + tape_.code.size());
    for (std::size_t r = 0; r < names.size(); ++r) names[r] = text("r", r);
    return names;
}

void RowPrinter::row_values(const RowPhase& plan) {
    for (const std::size_t k : plan.rows)
        line("    const Wide<", type(inputs_ + k), "> r", inputs_ + k, " = ",
             expression(tape_.code[k].instruction, names(), true), ";");
}

std::optional<std::size_t> RowPrinter::pairs_of(std::size_t k) const {
    const auto is_half = [&](std::size_t r) {
        const DType t = tape::type_of(tape_, r);
        return r < inputs_ && (t == DType::bfloat16 || t == DType::float16);
    };
    const RowTape::Code& c = tape_.code[k];
    const std::size_t from = c.instruction.operands[0];
    if (c.reduction != tape::Reduction::max && c.reduction != tape::Reduction::min) return std::nullopt;
    if (is_half(from)) return from;
    if (from < inputs_) return std::nullopt;
    const RowTape::Code& cast = tape_.code[from - inputs_];
    const bool exact = cast.kind == Kind::apply && cast.instruction.op == tape::Opcode::cast &&
                       cast.instruction.result == DType::float32;
    return exact && is_half(cast.instruction.operands[0]) ? std::optional<std::size_t>(cast.instruction.operands[0])
                                                          : std::nullopt;
}

std::optional<RowPrinter::Below> RowPrinter::below_maximum(const RowPhase& plan) const {
    std::optional<Below> all;
    const auto code = [&](std::size_t r) { return r < inputs_ ? nullptr : &tape_.code[r - inputs_]; };
    for (const std::size_t r : plan.computes) {
        const RowTape::Code* const exp = code(r);
        if (!has_usual_form(*exp)) continue;
        if (exp->instruction.op != tape::Opcode::exp || exp->instruction.type != DType::float32) return std::nullopt;
        const RowTape::Code* const difference = code(exp->instruction.operands[0]);
        if (difference == nullptr || difference->kind != Kind::apply ||
            difference->instruction.op != tape::Opcode::subtract)
            return std::nullopt;
        const RowTape::Code* const repeated = code(difference->instruction.operands[1]);
        if (repeated == nullptr || repeated->kind != Kind::repeat) return std::nullopt;
        const std::size_t maximum = repeated->instruction.operands[0];
        const RowTape::Code* const reduction = code(maximum);
        if (reduction == nullptr || reduction->kind != Kind::reduce || reduction->reduction != tape::Reduction::max ||
            reduction->instruction.operands[0] != difference->instruction.operands[0])
            return std::nullopt;
        const std::optional<std::size_t> input = pairs_of(maximum - inputs_);
        if (!input || (all && all->maximum != maximum)) return std::nullopt;
        all = Below{*input, maximum};
    }
    return all;
}

bool RowPrinter::in_order(std::size_t k) const {
    const RowTape::Code& c = tape_.code[k];
    return is_floating(c.instruction.type) &&
           (c.reduction == tape::Reduction::sum || c.reduction == tape::Reduction::prod);
}

}  // namespace tenon::cuda
