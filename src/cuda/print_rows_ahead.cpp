#include <algorithm>

#include "base/text.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {
namespace {

using tape::RowTape;
using Kind = RowTape::Kind;

/// The two phases that visit the columns of such a tape: one for the maximum, one for the sum.
struct Visits {
    RowPhase maximum, sum;
};

/// Prints what rows_ahead.cuh needs to know of a tape: the summand of an element, and the values of a row.
class AheadPrinter : RowPrinter {
  public:
    AheadPrinter(const RowTape& tape, const AheadForm& form) : RowPrinter(tape, {}), form_(form) {}

    /// The phases, if the tape is one for this kernel: the maximum of an input of bfloat16, and then nothing but the
    /// sum of something that is computed from exponentials of the input minus that maximum.
    std::optional<Visits> visits() const {
        std::vector<RowPhase> all;
        for (const RowPhase& phase : plan_.phases)
            if (phase.visits_columns()) all.push_back(phase);
        if (!keeps_parts(tape_) || all[0].reductions.size() != 1 || all[1].reductions.size() != 1 ||
            !all[1].outputs.empty())
            return std::nullopt;
        const RowTape::Code &first = tape_.code[all[0].reductions[0]], &second = tape_.code[all[1].reductions[0]];
        const std::optional<Below> below = below_maximum(all[1]);
        const bool fits = below && below->maximum == inputs_ + all[0].reductions[0] &&
                          below->input == all[0].loads[0] && tape::type_of(tape_, below->input) == DType::bfloat16 &&
                          first.reduction == tape::Reduction::max && second.reduction == tape::Reduction::sum &&
                          second.instruction.type == DType::float32;
        // Elements need no other value of the row than the maximum.
        const bool alone = std::all_of(all[1].computes.begin(), all[1].computes.end(), [&](std::size_t r) {
            const RowTape::Code& c = tape_.code[r - inputs_];
            return c.kind != Kind::repeat || c.instruction.operands[0] == inputs_ + all[0].reductions[0];
        });
        if (!fits || !alone) return std::nullopt;
        return Visits{std::move(all[0]), std::move(all[1])};
    }

    std::string print() {
        const Visits visits = *this->visits();
        const std::size_t input = visits.sum.loads[0], maximum = inputs_ + visits.maximum.reductions[0],
                          sum = inputs_ + visits.sum.reductions[0];
        line(
            "#include \"cuda/register_rows.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n\nconstexpr "
            "int kAxes = ",
            form_.axes, ", kOperands = ", tape_.outputs.size() + inputs_, ", kInput = ", tape_.outputs.size() + input,
            ", kSteps = ", kLongPiece / 64, ", kParts = ", form_.parts, ", kSlots = ", form_.slots,
            ", kWarps = ", form_.warps, ", kMargin = ", form_.margin, ";\n", kRowParameters);
        summand(visits.sum, input, maximum, tape_.code[sum - inputs_].instruction.operands[0]);
        finish(maximum, sum);
        line("#include \"cuda/rows_ahead.cuh\"");
        return std::move(out_).str();
    }

  private:
    /// Prints what is summed, of an element and the row's maximum; with `usual` in the form for usual operands.
    void summand(const RowPhase& plan, std::size_t input, std::size_t maximum, std::size_t result) {
        line("template <bool usual>\n__forceinline__ float summand(Wide<", type(input), "> r", input, ", Wide<",
             type(maximum), "> r", maximum, ") {\n    bool unusual = false;");
        const std::vector<std::string> names = this->names();
        for (const std::size_t r : plan.computes) {
            const RowTape::Code& c = tape_.code[r - inputs_];
            if (c.kind == Kind::repeat)
                line("    const Wide<", type(r), "> r", r, " = r", int{c.instruction.operands[0]}, ";");
            else if (has_usual_form(c))
                line("    Wide<", type(r), "> r", r, ";\n    if constexpr (usual)\n        r", r, " = ",
                     value(c, names, true), ";\n    else\n        r", r, " = ", value(c, names, false), ";");
            else
                line("    const Wide<", type(r), "> r", r, " = ", value(c, names, false), ";");
        }
        line("    return accumulable<", type(result), ">(r", result, ");\n}");
    }

    /// Prints how a warp computes the row's own values of the maximum and the sum, and stores them.
    void finish(std::size_t maximum, std::size_t sum) {
        line(
            "__forceinline__ void finish(const Parameters& p, long long row, float maximum, float sum, bool stores) {");
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) pointer("y", o, tape_.outputs[o], o);
        for (std::size_t i = 0; i < inputs_; ++i)
            if (rows(i)) pointer("x", i, i, tape_.outputs.size() + i);
        row_inputs();
        line("    const Wide<", type(maximum), "> r", maximum, " = reduced<", type(maximum),
             ">(maximum);\n    const Wide<", type(sum), "> r", sum, " = reduced<", type(sum), ">(sum);");
        for (const RowPhase& phase : plan_.phases) row_values(phase);
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) {
            const std::size_t r = tape_.outputs[o];
            line("    if (stores) *y", o, " = narrow<", type(r), ">(r", r, ");");
        }
        line("}");
    }

    const AheadForm& form_;
};

}  // namespace

std::string print(const RowTape& tape, const AheadForm& form) { return AheadPrinter(tape, form).print(); }

bool runs_ahead(const RowTape& tape) { return AheadPrinter(tape, {}).visits().has_value(); }

}  // namespace tenon::cuda
