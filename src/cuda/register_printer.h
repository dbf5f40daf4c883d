// The printer of kernels that hold rows in registers. The printer of rows with sums of columns (print_row_sums.cpp)
// derives from it.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {

inline constexpr int kBatchElements = 16;  // a thread's elements whose loads are issued before any of them is stored

class RegisterPrinter : protected RowPrinter {
  public:
    RegisterPrinter(const tape::RowTape& tape, const RegisterForm& form)
        : RowPrinter(tape, kept_packed(tape)), form_(form) {}

    std::string print() {
        head();
        for (std::size_t p = 0; p < plan_.phases.size(); ++p) phase(plan_.phases[p]);
        tail();
        return std::move(out_).str();
    }

  protected:
    void head() {
        line("#include \"cuda/register_rows.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n");
        line("constexpr int kAxes = ", form_.axes, ", kTeam = ", form_.team, ", kAccess = ", form_.access,
             ", kSteps = ", form_.steps, ", kThreads = ", form_.threads,
             ", kOperands = ", tape_.outputs.size() + inputs_,
             ";\nconstexpr bool kAll = ", form_.all ? "true" : "false", ";");
        constexpr int kMostWithAllBarriers = 4;  // blocks of a multiprocessor
        line("using Team = RowTeam<kTeam, kAccess", form_.blocks > kMostWithAllBarriers ? ", true>;" : ">;");
        out_ << R"(constexpr int kWidth = Team::kWidth, kTeams = kThreads / kTeam;
template <DType D>
using Packs = Pack<Stored<D>, kAccess>[kWidth / kAccess];
)" << kRowParameters
             << "extern \"C\" __global__ void __launch_bounds__(kThreads"
             << (form_.blocks > 0 ? text(", ", form_.blocks) : "") << R"() run(const __grid_constant__ Parameters p) {
    wait_for_turn();
    const int thread = threadIdx.x % Team::kThreads, team = threadIdx.x / kTeam;
    const int warp = threadIdx.x % kTeam / 32, first_step = warp * kSteps;  // of the team, and its part of the row
    const long long asked = blockIdx.x * static_cast<long long>(kTeams) + team, columns = p.columns;
    // Teams of a warp stay together: those without a row of their own take the last one, and store nothing.
    const bool inside = asked < p.rows;
    if (kTeam >= 32 && !inside) return;
    const long long row = inside ? asked : p.rows - 1;
)";
        pointers();
        keep();
    }

    void keep() {
        for (const std::size_t r : plan_.kept)
            line("    ", r < inputs_ ? text("Packs<", type(r), ">") : text("Wide<", type(r), ">"), " k", r,
                 r < inputs_ ? "[kSteps];" : "[kSteps][kWidth];");
    }

    void phase(const RowPhase& plan) {
        row_values(plan);
        if (!plan.visits_columns()) return;
        for (const std::size_t k : plan.reductions) {
            line("    ", accumulator(k), " a", k, "[kWidth];\n    for (auto& a : a", k, ") a = neutral<", operation(k),
                 ", ", accumulator(k), ">();");
            if (passes_on(k) && !kept(tape_.code[k].instruction.operands[0]))
                line("    Wide<", type(tape_.code[k].instruction.operands[0]), "> v", k, "[kSteps][kWidth];");
        }
        if (in_pairs(plan)) {
            extremes_of_pairs(plan);
            return finish(plan);
        }
        const bool usual = has_usual_forms(plan);
        const std::optional<Below> below = usual && form_.access % 2 == 0 ? below_maximum(plan) : std::nullopt;
        const int batch = plan.outputs.empty() && !usual
                              ? form_.steps
                              : std::min(form_.steps, std::max(1, kBatchElements / (64 / std::min(form_.team, 32))));
        if (usual) divisors(plan);
        line("#pragma unroll\n    for (int s = 0; s < kSteps; s += ", batch, ") {");
        if (!form_.all) line("        if (s > 0 && (first_step + s) * 64 >= columns) break;");
        loads(plan, batch);
        for (const std::size_t o : plan.outputs)
            line("        Packs<", type(tape_.outputs[o]), "> o", o, "[", batch, "];");
        if (below)
            by_least(plan, batch, *below);
        else if (usual)
            twice(plan, batch);
        else
            elements(plan, batch, false);
        for (const std::size_t o : plan.outputs) {
            in_batch(batch);
            line("            ", form_.team < 32 ? "if (inside) " : "", "Team::store<kAll>(o", o, "[i - s], y", o,
                 ", first_step, i, thread, columns",
                 form_.operands[o] == Along::contiguous ? ");" : text(", p.operands[", o, "].column);"), "\n        }");
        }
        line("    }");
        finish(plan);
    }

    /// Prints elements in the forms for usual operands, and again in the exact forms for where an operand was not
    /// usual.
    void twice(const RowPhase& plan, int batch) {
        line("        bool unusual = unusual", number_, ";");
        for (const std::size_t k : plan.reductions)
            line("        ", accumulator(k), " b", k,
                 "[kWidth];\n#pragma unroll\n        for (int j = 0; j < kWidth; ++j) b", k, "[j] = a", k, "[j];");
        elements(plan, batch, true);
        line("        if (unusual) {");
        for (const std::size_t k : plan.reductions)
            line("#pragma unroll\n        for (int j = 0; j < kWidth; ++j) a", k, "[j] = b", k, "[j];");
        exactly(plan, batch);
        line("        }");
    }
    void exactly(const RowPhase& plan, int batch) {
        exactly_ = true;
        elements(plan, batch, false);
        exactly_ = false;
    }
    /// Prints elements in both forms, of which the kernel takes one by the least element.
    void by_least(const RowPhase& plan, int batch, const Below& below) {
        const std::string from = kept(below.input) ? text("k", below.input, "[i]") : text("l", below.input, "[i - s]");
        line("        Twins<", type(below.input), "> twins[", batch, " * kWidth / 2];");
        in_batch(batch);
        line("            unpack(twins, i - s, ", from, ");\n        }");
        if (form_.steps % batch != 0)
            line("        for (int i = (kSteps - s) * kWidth / 2; i < ", batch,
                 " * kWidth / 2; ++i) twins[i] = twins[0];");
        line("        if (is_usual_below(twins, r", below.maximum, ")) {\n            bool unusual = false;");
        elements(plan, batch, true);
        line("        } else {");
        exactly(plan, batch);
        line("        }");
    }

    /// Whether a phase needs only extremes of 16-bit inputs, which are computed two at a time.
    bool in_pairs(const RowPhase& plan) const {
        return form_.all && form_.access % 2 == 0 && plan.outputs.empty() && !plan.reductions.empty() &&
               std::all_of(plan.keeps.begin(), plan.keeps.end(), [&](std::size_t r) { return r < inputs_; }) &&
               std::all_of(plan.reductions.begin(), plan.reductions.end(),
                           [&](std::size_t k) { return pairs_of(k).has_value(); });
    }
    void extremes_of_pairs(const RowPhase& plan) {
        line("    {\n        constexpr int s = 0;");
        loads(plan, form_.steps);
        for (const std::size_t k : plan.reductions) {
            const std::size_t from = *pairs_of(k);
            line("    extremes_of<", operation(k), ", ", type(from), ">(a", k, ", ", kept(from) ? "k" : "l", from,
                 ");");
        }
        line("    }");
    }

    /// Whether the lanes of a reduction are passed from warp to warp: where several warps share a row, in order. A warp
    /// computes its values before it receives the lanes.
    bool passes_on(std::size_t k) const { return form_.team > 32 && in_order(k); }

    void finish(const RowPhase& plan) {
        std::vector<std::size_t> passed;
        for (const std::size_t k : plan.reductions)
            if (passes_on(k)) passed.push_back(k);
        for (const std::size_t k : passed) line("    __shared__ ", accumulator(k), " w", k, "[kTeams][kWidth][32];");
        if (!passed.empty()) {
            line("    for (int w = 0; w < Team::kWarps; ++w) {\n        if (warp == w) {");
            for (const std::size_t k : passed) pass(k);
            line("        }\n        Team::sync();\n    }");
        }
        for (const std::size_t k : plan.reductions) {
            std::string joined = text("Team::join<", operation(k), ">(a", k, ")");
            if (passes_on(k)) {
                line("#pragma unroll\n    for (int j = 0; j < kWidth; ++j) a", k, "[j] = w", k, "[team][j][thread];");
            } else if (form_.team > 32) {
                line("    __shared__ ", accumulator(k), " w", k, "[kTeams][Team::kWarps];");
                joined = text("Team::join_warps<", operation(k), ">(a", k, ", w", k, "[team], warp)");
            }
            line("    const Wide<", type(inputs_ + k), "> r", inputs_ + k, " = reduced<", type(inputs_ + k), ">(",
                 joined, ");");
        }
    }

    /// Prints how a warp adds its values to the lanes that it receives.
    void pass(std::size_t k) {
        const std::size_t from = tape_.code[k].instruction.operands[0];
        const std::string lanes = text("w", k, "[team][j][thread]"), a = text("a", k, "[j]");
        line("#pragma unroll\n            for (int j = 0; j < kWidth; ++j) {\n                if (w > 0) ", a, " = ",
             lanes,
             ";\n#pragma unroll\n                for (int i = 0; i < kSteps; ++i)\n                    if (kAll || "
             "(first_step + i) * "
             "64 + Team::at(thread, j) < columns) ",
             a, " = combine<", operation(k), ">(", a, ", accumulable<", type(from), ">(", values_of(k),
             "));\n                ", lanes, " = ", a, ";\n            }");
    }
    /// The expression for the value of step i and element j that goes into the lanes.
    std::string values_of(std::size_t k) const {
        const std::size_t from = tape_.code[k].instruction.operands[0];
        if (!kept(from)) return text("v", k, "[i][j]");
        return from >= inputs_ ? text("k", from, "[i][j]")
                               : text("widen_at<", type(from), ">(k", from, "[i][j / kAccess], j % kAccess)");
    }

    void in_batch(int steps) {
        line("#pragma unroll\n        for (int i = s; i < s + ", steps, " && i < kSteps; ++i) {");
    }

    /// Prints the loads of all steps of a batch, before anything is computed.
    void loads(const RowPhase& plan, int batch) {
        std::vector<std::size_t> from_memory;
        for (const std::size_t r : plan.loads)
            if (r < inputs_ && !before(r, plan)) from_memory.push_back(r);
        if (from_memory.empty()) return;
        for (const std::size_t r : from_memory)
            if (!kept(r)) line("        Packs<", type(r), "> l", r, "[", batch, "];");
        in_batch(batch);
        for (const std::size_t r : from_memory) load(r);
        line("        }");
    }

    /// Prints the values of a batch, either in the forms for usual operands, which set `unusual`, or in the exact
    /// forms.
    void elements(const RowPhase& plan, int batch, bool usual) {
        const std::vector<std::string> names = this->names();
        std::vector<std::size_t> skipped;  // quotients that are rounded to 16 bits at once, and the casts that do so
        for (const std::size_t o : plan.outputs)
            if (usual && narrowed(plan, o)) skipped.insert(skipped.end(), {*narrowed(plan, o), tape_.outputs[o]});
        if (!skipped.empty()) line("        unsigned nearest = ~0u;");
        in_batch(batch);
        for (const std::size_t o : plan.outputs)
            line("            Wide<", type(tape_.outputs[o]), "> f", o, "[kWidth];");
        line("#pragma unroll\n            for (int j = 0; j < kWidth; ++j) {");
        for (const std::size_t r : plan.loads)
            line("                const Wide<", type(r), "> r", r, " = ", loaded(r), ";");
        for (const std::size_t r : plan.computes) {
            if (std::find(skipped.begin(), skipped.end(), r) != skipped.end()) continue;
            const RowTape::Code& c = tape_.code[r - inputs_];
            const bool corrects =
                exactly_ && std::ranges::any_of(plan.outputs, [&](std::size_t o) { return narrowed(plan, o) == r; });
            line("                const Wide<", type(r), "> r", r, " = ",
                 c.kind == Kind::repeat ? names[c.instruction.operands[0]]
                 : corrects             ? corrected(c, names)
                                        : value(c, names, usual),
                 ";");
        }
        for (const std::size_t r : plan.keeps)
            if (r >= inputs_) line("                k", r, "[i][j] = r", r, ";");
        for (const std::size_t o : plan.outputs) {
            const std::size_t r = tape_.outputs[o];
            if (const auto q = usual ? narrowed(plan, o) : std::nullopt) {
                const RowTape::Code& c = tape_.code[*q - inputs_];
                const std::string inverse = text(number_, "_", *divisor(c));
                line("                f", o, "[j] = r", int{c.instruction.operands[0]}, " * i", inverse, ";");
                continue;
            }
            line("                f", o, "[j] = r", rounded_from(plan, r).value_or(r), ";");
        }
        for (const std::size_t k : plan.reductions) {
            const std::size_t from = tape_.code[k].instruction.operands[0];
            if (passes_on(k)) {
                if (!kept(from)) line("                v", k, "[i][j] = r", from, ";");
                continue;
            }
            line("                if (kAll || (first_step + i) * 64 + Team::at(thread, j) < columns) a", k,
                 "[j] = combine<", operation(k), ">(a", k, "[j], accumulable<", type(from), ">(r", from, "));");
        }
        line("            }");
        for (const std::size_t o : plan.outputs) {
            const std::size_t r = tape_.outputs[o];
            if (usual && narrowed(plan, o)) {
                line("            narrow_quotients(o", o, "[i - s], nearest, f", o, ");");
                continue;
            }
            line("            narrow_all<", type(r), ", ", rounded_from(plan, r) ? "true" : "false", ">(o", o,
                 "[i - s], f", o, ");");
        }
        line("        }");
        if (!skipped.empty()) line("        unusual |= is_near_half(nearest);");
    }

    /// A quotient where a product with the inverse may round wrongly to 16 bits. That is so for one element in 13,000
    /// of which nearly none needs a division.
    std::string corrected(const RowTape::Code& c, const std::vector<std::string>& names) const {
        const std::size_t by = *divisor(c);
        return text("any_quotient<", type_name(c.instruction.type), ">(unusual", number_, ", ",
                    names[c.instruction.operands[0]], ", r", by, ", i", number_, "_", by, ")");
    }

    /// The float32 register that an output rounds to bfloat16, if this phase computes that. It is then rounded as it is
    /// packed.
    std::optional<std::size_t> rounded_from(const RowPhase& plan, std::size_t r) const {
        if (r < inputs_ || std::find(plan.computes.begin(), plan.computes.end(), r) == plan.computes.end())
            return std::nullopt;
        const RowTape::Code& c = tape_.code[r - inputs_];
        const bool casts = c.kind == Kind::apply && c.instruction.op == tape::Opcode::cast &&
                           c.instruction.type == DType::float32 && c.instruction.result == DType::bfloat16;
        return casts ? std::optional<std::size_t>(c.instruction.operands[0]) : std::nullopt;
    }

    /// The quotient by a value of the row that an output rounds to bfloat16, if nothing else reads the quotient.
    std::optional<std::size_t> narrowed(const RowPhase& plan, std::size_t output) const {
        const std::size_t r = tape_.outputs[output];
        const std::optional<std::size_t> q = rounded_from(plan, r);
        if (!q || *q < inputs_ || std::find(plan.computes.begin(), plan.computes.end(), *q) == plan.computes.end())
            return std::nullopt;
        const RowTape::Code& c = tape_.code[*q - inputs_];
        if (!has_usual_form(c) || !divisor(c)) return std::nullopt;
        std::size_t readers = 0;
        for (const RowTape::Code& reader : tape_.code)
            for (int i = 0; i < tape::operands_of(reader); ++i)
                if (const std::size_t from = reader.instruction.operands[i]; from == *q || from == r) ++readers;
        const bool is_output = std::find(tape_.outputs.begin(), tape_.outputs.end(), *q) != tape_.outputs.end();
        return readers == 1 && !is_output ? q : std::nullopt;
    }

    void load(std::size_t r) {
        const std::size_t operand = tape_.outputs.size() + r;
        const std::string to = kept(r) ? text("k", r, "[i]") : text("l", r, "[i - s]");
        line("            Team::load<kAll>(", to, ", x", r, ", first_step, i, thread, columns",
             form_.operands[operand] == Along::contiguous ? ");" : text(", p.operands[", operand, "].column);"));
    }

    std::string loaded(std::size_t r) const {
        if (r >= inputs_) return text("k", r, "[i][j]");
        return text("widen_at<", type(r), ">(", kept(r) ? text("k", r, "[i]") : text("l", r, "[i - s]"),
                    "[j / kAccess], j % kAccess)");
    }

    void tail() {
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) {
            const std::size_t r = tape_.outputs[o];
            if (rows(r))
                line("    if (inside && thread == 0 && warp == 0) *y", o, " = narrow<", type(r), ">(r", r, ");");
        }
        line("}");
    }

    const RegisterForm& form_;
};

}  // namespace tenon::cuda
