// What the kernels for row tapes whose values are wide (wide.cuh) print in common.
#pragma once

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/text.h"
#include "cuda/print_tape.h"
#include "cuda/row_plan.h"

namespace tenon::cuda {

/// Their arguments, and where a row of an operand begins.
inline constexpr const char* kRowParameters = R"(struct Operand {
    void* data;
    long long column;
    long long rows[kAxes + 1];
};
struct Parameters {
    long long extents[kAxes + 1], rows, columns, block_rows, piece;
    Operand operands[kOperands];
};
__forceinline__ long long offset_of(const Parameters& p, const Operand& o, long long row) {
    if (kAxes == 0) return 0;
    if (kAxes == 1) return row * o.rows[0];
    long long at = 0;
    for (int d = kAxes - 1; d >= 0; --d) {
        at += row % p.extents[d] * o.rows[d];
        row /= p.extents[d];
    }
    return at;
}

)";

class RowPrinter {
  protected:
    using RowTape = tape::RowTape;
    using Kind = RowTape::Kind;

    RowPrinter(const RowTape& tape, std::vector<std::size_t> kept)
        : tape_(tape), plan_(plan_of(tape, std::move(kept))), inputs_(tape.inputs.size()) {}

    bool rows(std::size_t r) const { return tape::per_row(tape_, r); }
    std::string type(std::size_t r) const { return type_name(tape::type_of(tape_, r)); }
    bool kept(std::size_t r) const { return std::find(plan_.kept.begin(), plan_.kept.end(), r) != plan_.kept.end(); }
    void line(const auto&... parts) { out_ << text(parts..., "\n"); }

    /// The address of the row, letter and number.
    void pointer(const char* letter, std::size_t number, std::size_t r, std::size_t operand);
    /// Those of all operands, and the inputs of rows.
    void pointers();
    std::string accumulator(std::size_t k) const;
    std::string operation(std::size_t k) const;
    /// Kept from an earlier phase.
    bool before(std::size_t r, const RowPhase& plan) const;
    /// The values of rows that a phase begins with.
    void row_values(const RowPhase& plan);
    std::vector<std::string> names() const;
    /// Sums and products of floating values have the lanes' order; all else is the same in any.
    bool in_order(std::size_t k) const;

    /// The input of 16-bit floating numbers whose extremes, or those of its values as float32, a reduction takes.
    std::optional<std::size_t> pairs_of(std::size_t k) const;
    /// An input of 16-bit numbers and the register of its maximum.
    struct Below {
        std::size_t input, maximum;
    };
    /// Where all that has a usual form is exp(x - maximum) in float32: the least x tells whether all are usual.
    std::optional<Below> below_maximum(const RowPhase& plan) const;

    /// exp, sin and cos, and division by a value of the row.
    bool has_usual_form(const RowTape::Code& c) const;
    bool has_usual_forms(const RowPhase& plan) const;
    /// The register of rows by which a division divides all elements of a row.
    std::optional<std::size_t> divisor(const RowTape::Code& c) const;
    /// Before the elements of a phase with usual forms: `unusual` and a number, and the inverses of divisors.
    void divisors(const RowPhase& plan);
    std::string value(const RowTape::Code& c, const std::vector<std::string>& names, bool usual) const;

    const RowTape& tape_;
    RowPlan plan_;
    std::size_t inputs_;
    int number_ = 0;  // of the phases that have usual forms
    bool exactly_ = false;
    std::ostringstream out_ = classic_stream();
};

}  // namespace tenon::cuda
