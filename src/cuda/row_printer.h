// What the printers of row kernels with wide values (wide.cuh) share.
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

/// The kernels' argument, and a function for the offset of a row in an operand.
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

    /// Prints a pointer to the row's elements of an operand, named by `letter` and `number`.
    void pointer(const char* letter, std::size_t number, std::size_t r, std::size_t operand);
    /// Prints the pointers of all operands, and row_inputs: loads of inputs with one value for each row.
    void pointers();
    void row_inputs();
    std::string accumulator(std::size_t k) const;
    std::string operation(std::size_t k) const;
    /// Whether a register is kept from an earlier phase.
    bool before(std::size_t r, const RowPhase& plan) const;
    /// Prints the values of rows that a phase computes first.
    void row_values(const RowPhase& plan);
    std::vector<std::string> names() const;
    /// Whether a reduction must keep the order of the lanes: sums and products of floating values. All others have the
    /// same result in any order.
    bool in_order(std::size_t k) const;

    /// The 16-bit floating input of which a reduction takes extremes, directly or of its values as float32; nothing for
    /// other reductions.
    std::optional<std::size_t> pairs_of(std::size_t k) const;
    /// A 16-bit input, and the register of its maximum.
    struct Below {
        std::size_t input, maximum;
    };
    /// If the only operation of a phase that has a form for usual operands is exp(x - maximum) in float32, x and its
    /// maximum. The least x then tells whether all operands are usual.
    std::optional<Below> below_maximum(const RowPhase& plan) const;

    /// Whether a code has a form for usual operands: exp, sin, cos, and division by a value of the row.
    bool has_usual_form(const RowTape::Code& c) const;
    bool has_usual_forms(const RowPhase& plan) const;
    /// The register with the row's value by which a division divides all elements; nothing for other codes.
    std::optional<std::size_t> divisor(const RowTape::Code& c) const;
    /// Prints what comes before the elements of a phase with forms for usual operands: the variable `unusual` followed
    /// by the phase's number, and the inverses of divisors.
    void divisors(const RowPhase& plan);
    std::string value(const RowTape::Code& c, const std::vector<std::string>& names, bool usual) const;

    const RowTape& tape_;
    RowPlan plan_;
    std::size_t inputs_;
    int number_ = 0;  // counts the phases with forms for usual operands
    bool exactly_ = false;
    std::ostringstream out_ = classic_stream();
};

}  // namespace tenon::cuda
