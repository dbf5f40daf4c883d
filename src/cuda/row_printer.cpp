#include "cuda/row_printer.h"

#include <algorithm>

#include "tape/operations.h"

namespace tenon::cuda {

constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};

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
    const std::string a = names[n.operands[0]], t = type_name(n.type);
    if (const std::optional<std::size_t> by = divisor(c))
        return exactly_ ? text("exactly<Opcode::divide, ", t, ">(", a, ", ", names[n.operands[1]], ")")
                        : text("usual_quotient<", t, ">(unusual, ", a, ", r", *by, ", i", number_, "_", *by, ")");
    return exactly_ ? text("exactly<Opcode::", name(n.op), ", ", t, ">(", a, ")")
                    : text("usual_wide<Opcode::", name(n.op), ", ", t, ">(unusual, ", a, ")");
}

void RowPrinter::pointers(const char* first_column) {
    const auto pointer = [&](const char* letter, std::size_t number, std::size_t r, std::size_t operand) {
        line("    Stored<", type(r), ">* const ", letter, number, " = static_cast<Stored<", type(r), ">*>(p.operands[",
             operand, "].data) + offset_of(p, p.operands[", operand, "], row)",
             rows(r) ? ";" : text(" + ", first_column, " * p.operands[", operand, "].column;"));
    };
    for (std::size_t o = 0; o < tape_.outputs.size(); ++o) pointer("y", o, tape_.outputs[o], o);
    for (std::size_t i = 0; i < inputs_; ++i) pointer("x", i, i, tape_.outputs.size() + i);
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

bool in_order(const tape::RowTape::Code& c) {
    return is_floating(c.instruction.type) &&
           (c.reduction == tape::Reduction::sum || c.reduction == tape::Reduction::prod);
}

}  // namespace tenon::cuda
