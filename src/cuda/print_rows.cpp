#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "cuda/print_tape.h"
#include "tape/row_timing.h"

namespace tenon::cuda {
namespace {

using tape::RowTape;
using Kind = RowTape::Kind;

std::string stored(DType type) { return text("Stored<", type_name(type), ">"); }

constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};

/// What a phase reads and gives, by register.
struct PhasePlan {
    std::vector<std::size_t> rows;  // codes of rows
    std::vector<std::size_t> reductions;  // codes
    std::vector<std::size_t> outputs;  // positions
    std::vector<std::size_t> keeps;  // registers computed here that later phases read
};

class Printer {
  public:
    Printer(const RowTape& tape, const RowForm& form)
        : tape_(tape), form_(form), timing_(tape::timing_of(tape)), inputs_(tape.inputs.size()) {}

    std::string print() {
        plan();
        head();
        for (std::size_t p = 0; p < phases_.size(); ++p) phase(static_cast<int>(p));
        tail();
        return std::move(out_).str();
    }

  private:
    bool is_input(std::size_t r) const { return r < inputs_; }
    const RowTape::Code& code(std::size_t r) const { return tape_.code[r - inputs_]; }
    bool rows(std::size_t r) const { return tape::per_row(tape_, r); }
    DType type(std::size_t r) const { return tape::type_of(tape_, r); }
    std::string stored_type(std::size_t r) const { return stored(type(r)); }

    void plan() {
        phases_.resize(static_cast<std::size_t>(timing_.phases));
        for (const std::size_t k : timing_.order) {
            PhasePlan& at = phases_[static_cast<std::size_t>(tape::running_phase(timing_, tape_, k))];
            if (tape::with_rows(tape_.code[k])) at.rows.push_back(k);
            if (tape_.code[k].kind == Kind::reduce) at.reductions.push_back(k);
        }
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o)
            if (!rows(tape_.outputs[o]))
                phases_[static_cast<std::size_t>(timing_.phase[tape_.outputs[o]])].outputs.push_back(o);
        if (!form_.keep) return;
        for (const std::size_t r : kept_registers(tape_)) {
            kept_.insert(r);
            const int first = is_input(r) ? first_use(r) : timing_.phase[r];
            phases_[static_cast<std::size_t>(first)].keeps.push_back(r);
        }
    }

    /// The phase in which an input of elements is read first.
    int first_use(std::size_t r) const {
        int first = timing_.phases;
        for (std::size_t k = 0; k < tape_.code.size(); ++k)
            for (int i = 0; i < tape::operands_of(tape_.code[k]); ++i)
                if (tape_.code[k].instruction.operands[i] == r)
                    first = std::min(first, tape::running_phase(timing_, tape_, k));
        return first;
    }

    void line(const auto&... parts) { out_ << text(parts..., "\n"); }

    std::string row_offset(std::size_t operand, const std::string& row) const {
        if (form_.axes == 0) return "0";
        if (form_.axes == 1) return text(row, " * p.operands[", operand, "].rows[0]");
        return text("offset_of(p, p.operands[", operand, "], ", row, ")");
    }

    void head() {
        const std::size_t operands = tape_.outputs.size() + inputs_;
        line("#include \"cuda/tape.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n");
        line("constexpr int kAxes = ", form_.axes, ", kWidth = ", form_.width, ", kThreads = ", form_.threads,
             ", kOperands = ", operands, ";");
        out_ << R"(struct Operand {
    void* data;
    long long column;
    long long rows[kAxes + 1];
};
struct Parameters {
    long long extents[kAxes + 1], rows, columns, block_rows, piece;
    Operand operands[kOperands];
};

__forceinline__ long long offset_of(const Parameters& p, const Operand& o, long long row) {
    long long at = 0;
    for (int d = kAxes - 1; d >= 0; --d) {
        at += row % p.extents[d] * o.rows[d];
        row /= p.extents[d];
    }
    return at;
}
template <class T>
__forceinline__ T* take(unsigned char*& next, long long n) {
    T* at = reinterpret_cast<T*>(next);
    next += (n * static_cast<long long>(sizeof(T)) + 15) / 16 * 16;
    return at;
}

extern "C" __global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Parameters p) {
    extern __shared__ __align__(16) unsigned char memory[];
    unsigned char* next = memory;
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const long long first = blockIdx.x * p.block_rows, columns = p.columns;
    const int rows = static_cast<int>(p.rows - first < p.block_rows ? p.rows - first : p.block_rows);
)";
        for (const std::size_t r : kept_)
            line("    auto* const s", r, " = take<", stored_type(r), ">(next, p.block_rows * columns);");
        for (std::size_t k = 0; k < tape_.code.size(); ++k)
            if (needs_buffer(k))
                line("    auto* const b", k, " = take<", stored_type(tape_.code[k].instruction.operands[0]), ">(next, ",
                     form_.one_row ? "p.piece" : "p.block_rows * columns", ");");
        for (std::size_t r = 0; r < inputs_ + tape_.code.size(); ++r)
            if (rows(r)) line("    auto* const v", r, " = take<", stored_type(r), ">(next, p.block_rows);");
        for (std::size_t i = 0; i < inputs_; ++i)
            if (rows(i))
                line("    for (int r = thread; r < rows; r += kThreads) v", i, "[r] = static_cast<const ",
                     stored_type(i), "*>(p.operands[", tape_.outputs.size() + i, "].data)[",
                     row_offset(tape_.outputs.size() + i, "(first + r)"), "];");
        line("    __syncthreads();");
    }

    /// A reduction's operand goes through shared memory, where it is not kept there anyway.
    bool needs_buffer(std::size_t k) const {
        return tape_.code[k].kind == Kind::reduce && !kept_.contains(tape_.code[k].instruction.operands[0]);
    }

    void row_codes(const PhasePlan& plan) {
        if (plan.rows.empty()) return;
        line("    for (int r = thread; r < rows; r += kThreads) {");
        std::vector<std::string> names(inputs_ + tape_.code.size());
        for (std::size_t r = 0; r < names.size(); ++r)
            if (rows(r)) names[r] = text("v", r, "[r]");
        for (const std::size_t k : plan.rows)
            line("        v", inputs_ + k, "[r] = ", expression(tape_.code[k].instruction, names), ";");
        line("    }\n    __syncthreads();");
    }

    /// Registers in the order in which phase `p` computes them, and the inputs and kept ones that it loads.
    void need(std::size_t r, int p, std::vector<std::size_t>& loads, std::vector<std::size_t>& computes) const {
        const auto has = [r](const std::vector<std::size_t>& list) {
            return std::find(list.begin(), list.end(), r) != list.end();
        };
        if (rows(r) || has(loads) || has(computes)) return;
        const bool stored_before = kept_.contains(r) && !first_here(r, p);
        if (is_input(r) || stored_before) return loads.push_back(r);
        for (int i = 0; i < tape::operands_of(code(r)); ++i) need(code(r).instruction.operands[i], p, loads, computes);
        computes.push_back(r);
    }
    bool first_here(std::size_t r, int p) const {
        const auto& keeps = phases_[static_cast<std::size_t>(p)].keeps;
        return std::find(keeps.begin(), keeps.end(), r) != keeps.end();
    }

    void phase(int number) {
        const PhasePlan& plan = phases_[static_cast<std::size_t>(number)];
        row_codes(plan);
        std::vector<std::size_t> loads, computes;
        for (const std::size_t r : plan.keeps) need(r, number, loads, computes);
        for (const std::size_t k : plan.reductions)
            need(tape_.code[k].instruction.operands[0], number, loads, computes);
        for (const std::size_t o : plan.outputs) need(tape_.outputs[o], number, loads, computes);
        if (plan.keeps.empty() && plan.reductions.empty() && plan.outputs.empty()) return;
        line("    {  // phase ", number);
        if (form_.one_row) {
            for (const std::size_t k : plan.reductions) {
                const RowTape::Code& c = tape_.code[k];
                line("    Accumulator<", type_name(c.instruction.type), "> low", k, ", high", k, ", total", k, "{};");
            }
            line(
                "    for (long long column = 0; column < columns; column += p.piece) {\n"
                "    const int n = static_cast<int>(columns - column < p.piece ? columns - column : p.piece);");
        } else {
            line("    const int n = rows * static_cast<int>(columns);");
        }
        elements(plan, number, loads, computes);
        if (!plan.reductions.empty()) {
            line("    __syncthreads();");
            int index = 0;
            for (const std::size_t k : plan.reductions) reduction(k, index++);
        }
        // What is written to shared memory is read by other threads, and buffers are written again.
        line("    __syncthreads();");
        if (form_.one_row) line("    }");
        line("    }");
    }

    void elements(const PhasePlan& plan, int number, const std::vector<std::size_t>& loads,
                  const std::vector<std::size_t>& computes) {
        line("    for (int e = thread * kWidth; e < n; e += kThreads * kWidth) {");
        if (form_.one_row)
            line(
                "        const int r = 0;\n        const long long c = column + e, at = c;\n        const int piece_at "
                "= e;");
        else
            line(
                "        const int r = e / static_cast<int>(columns);\n        const long long c = e - r * "
                "columns;\n        const int at = e, piece_at = e;");
        line("        const int valid = kWidth;");
        for (const std::size_t r : loads) load(r, number);
        std::set<std::size_t> packs;
        for (const std::size_t r : plan.keeps)
            if (!is_input(r)) packs.insert(r);
        for (const std::size_t k : plan.reductions)
            if (needs_buffer(k)) packs.insert(tape_.code[k].instruction.operands[0]);
        for (const std::size_t o : plan.outputs) packs.insert(tape_.outputs[o]);
        for (const std::size_t r : loads) packs.erase(r);
        for (const std::size_t r : packs) line("        Pack<", stored_type(r), ", kWidth> x", r, ";");
        line("#pragma unroll\n        for (int j = 0; j < kWidth; ++j) {");
        std::vector<std::string> names(inputs_ + tape_.code.size());
        for (std::size_t r = 0; r < names.size(); ++r) names[r] = rows(r) ? text("v", r, "[r]") : text("r", r);
        for (const std::size_t r : loads) names[r] = text("x", r, ".at[j]");
        for (const std::size_t r : computes) {
            const RowTape::Code& c = code(r);
            const std::string value =
                c.kind == Kind::repeat ? names[c.instruction.operands[0]] : expression(c.instruction, names);
            line("            const ", stored_type(r), " r", r, " = ", value, ";");
        }
        for (const std::size_t r : packs) line("            x", r, ".at[j] = r", r, ";");
        line("        }");
        for (const std::size_t r : plan.keeps) line("        store_pack(s", r, " + at, x", r, ");");
        for (const std::size_t k : plan.reductions)
            if (needs_buffer(k))
                line("        store_pack(b", k, " + piece_at, x", int{tape_.code[k].instruction.operands[0]}, ");");
        for (const std::size_t o : plan.outputs) store(o);
        line("    }");
    }

    std::string address(std::size_t operand, std::size_t reg) const {
        return text("static_cast<", stored_type(reg), "*>(p.operands[", operand, "].data) + ",
                    row_offset(operand, "(first + r)"), " + c * p.operands[", operand, "].column");
    }

    void load(std::size_t r, int number) {
        const std::string pack = text("        const auto x", r, " = ");
        if (kept_.contains(r) && !first_here(r, number))
            return line(pack, "load_pack<", stored_type(r), ", kWidth>(s", r, " + at);");
        const std::size_t operand = tape_.outputs.size() + r;
        const std::string arguments = text("<", stored_type(r), ", kWidth>(", address(operand, r));
        if (form_.operands[operand] == Along::contiguous)
            line(pack, "load_pack", arguments, ", valid);");
        else if (form_.operands[operand] == Along::repeated)
            line(pack, "load_repeated", arguments, ");");
        else
            line(pack, "load_strided", arguments, ", p.operands[", operand, "].column, valid);");
    }

    void store(std::size_t o) {
        const std::size_t r = tape_.outputs[o];
        if (form_.operands[o] == Along::contiguous)
            line("        store_pack(", address(o, r), ", x", r, ");");
        else
            line("        store_strided(", address(o, r), ", p.operands[", o, "].column, x", r, ", valid);");
    }

    void reduction(std::size_t k, int index) {
        const RowTape::Code& c = tape_.code[k];
        const std::string op = text("Reduction::", kReductions[static_cast<int>(c.reduction)]),
                          type = type_name(c.instruction.type), result = text("v", inputs_ + k);
        const std::size_t operand = c.instruction.operands[0];
        const std::string from = needs_buffer(k) ? text("b", k) : text("s", operand);
        const std::string combine = text("combine<", op, ">("), load = text("baseline::load<", type, ">(");
        const std::string neutral = text("neutral<", op, ", Accumulator<", type, ">>()");
        if (!form_.one_row) {
            line("    for (int r = warp; r < rows; r += kThreads / 32) {\n        const auto* x = ", from,
                 " + r * columns;\n        const int length = static_cast<int>(columns);\n        auto low = ", neutral,
                 ", high = low;");
            accumulate("low", "high", "length", combine, load);
            line("        const auto total = join_lanes<", op, ">(low, high);\n        if (lane == 0) ", result,
                 "[r] = baseline::store<", type, ">(total);\n    }");
            return;
        }
        line("    if (warp == ", index, " % (kThreads / 32)) {\n        const auto* x = ", from,
             needs_buffer(k) ? "" : " + column", ";\n        if (column % kChunk == 0) low", k, " = high", k, " = ",
             neutral, ";");
        accumulate(text("low", k), text("high", k), "n", combine, load);
        line(
            "        if (column + n == columns || (column + n) % kChunk == 0) {\n            const auto joined = "
            "join_lanes<",
            op, ">(low", k, ", high", k, ");\n            total", k, " = column < kChunk ? joined : ", combine, "total",
            k, ", joined);\n            if (column + n == columns && lane == 0) ", result, "[0] = baseline::store<",
            type, ">(total", k, ");\n        }\n    }");
    }

    void accumulate(const std::string& low, const std::string& high, const char* n, const std::string& combine,
                    const std::string& load) {
        line("        int i = lane;\n#pragma unroll 4\n        for (; i + 32 < ", n, "; i += 64) {\n            ", low,
             " = ", combine, low, ", ", load, "x[i]));\n            ", high, " = ", combine, high, ", ", load,
             "x[i + 32]));\n        }\n        if (i < ", n, ") ", low, " = ", combine, low, ", ", load, "x[i]));");
    }

    void tail() {
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) {
            const std::size_t r = tape_.outputs[o];
            if (!rows(r)) continue;
            line("    for (int r = thread; r < rows; r += kThreads) static_cast<", stored_type(r), "*>(p.operands[", o,
                 "].data)[", row_offset(o, "(first + r)"), "] = v", r, "[r];");
        }
        line("}");
    }

    const RowTape& tape_;
    const RowForm& form_;
    tape::Timing timing_;
    std::size_t inputs_;
    std::vector<PhasePlan> phases_;
    std::set<std::size_t> kept_;
    std::ostringstream out_;
};

}  // namespace

std::vector<std::size_t> kept_registers(const RowTape& tape) {
    const tape::Timing timing = tape::timing_of(tape);
    std::vector<std::size_t> kept;
    for (std::size_t r = 0; r < tape.inputs.size() + tape.code.size(); ++r) {
        if (tape::per_row(tape, r)) continue;
        if (r >= tape.inputs.size()) {
            if (tape::is_kept(tape, timing, r)) kept.push_back(r);
            continue;
        }
        std::set<int> phases;
        for (std::size_t k = 0; k < tape.code.size(); ++k)
            for (int i = 0; i < tape::operands_of(tape.code[k]); ++i)
                if (tape.code[k].instruction.operands[i] == r) phases.insert(tape::running_phase(timing, tape, k));
        if (phases.size() > 1) kept.push_back(r);
    }
    return kept;
}

std::int64_t shared_bytes(const RowTape& tape, const RowForm& form, std::int64_t block_rows, std::int64_t columns,
                          std::int64_t piece) {
    const auto rounded = [](std::int64_t n, DType t) {
        return (n * static_cast<std::int64_t>(size_of(t)) + 15) / 16 * 16;
    };
    std::int64_t bytes = 0;
    std::set<std::size_t> kept;
    if (form.keep)
        for (const std::size_t r : kept_registers(tape)) kept.insert(r);
    for (const std::size_t r : kept) bytes += rounded(block_rows * columns, tape::type_of(tape, r));
    for (const RowTape::Code& c : tape.code)
        if (c.kind == Kind::reduce && !kept.contains(c.instruction.operands[0]))
            bytes += rounded(form.one_row ? piece : block_rows * columns, c.instruction.type);
    for (std::size_t r = 0; r < tape.inputs.size() + tape.code.size(); ++r)
        if (tape::per_row(tape, r)) bytes += rounded(block_rows, tape::type_of(tape, r));
    return bytes;
}

std::string print(const RowTape& tape, const RowForm& form) { return Printer(tape, form).print(); }

}  // namespace tenon::cuda
