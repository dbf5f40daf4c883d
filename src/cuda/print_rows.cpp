#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "cuda/print_tape.h"
#include "cuda/row_plan.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {
namespace {

using tape::RowTape;
using Kind = RowTape::Kind;

constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};

/// Whether a reduction must keep the order of the lanes: sums and products of floating values. All others have the same
/// result in any order.
bool in_order(const RowTape::Code& c) {
    return (c.reduction == tape::Reduction::sum || c.reduction == tape::Reduction::prod) &&
           is_floating(c.instruction.type);
}

/// The values that are in shared memory, one for each element: those that are kept from phase to phase, and those that
/// reductions read. A value may take the slot of another one of its size from the phase on in which that one is read
/// for the last time. That is safe, because a thread reads an element of the old value before it writes that of the new
/// one, and the warps that reduce run after a barrier.
struct Shared {
    std::set<std::size_t> kept;  // registers
    std::map<std::size_t, int> slot_of_register, slot_of_buffer;  // the latter by index of the reduction's code
    struct Slot {
        std::int64_t size;  // bytes of an element
        int free_from;  // the first phase in which another value may take the slot
    };
    std::vector<Slot> slots;
};

Shared shared_of(const RowTape& tape, const RowForm& form, const tape::Timing& timing) {
    struct Value {
        std::size_t index;
        bool buffer;
        std::int64_t size;
        int first, free_from;
    };
    Shared s;
    if (!form.spread)
        for (const std::size_t r : kept_registers(tape)) s.kept.insert(r);
    const auto through_memory = [&](const RowTape::Code& c) {
        return c.kind == Kind::reduce && (!form.one_row || in_order(c));
    };
    std::vector<Value> values;
    // An instruction that reads a value runs in the phase that needs its result, which may be later than the first
    // phase in which it could run.
    const RowPlan plan = plan_of(tape, {s.kept.begin(), s.kept.end()});
    for (std::size_t i = 0; i < plan.kept.size(); ++i) {
        const std::size_t r = plan.kept[i];
        Value v{r, false, static_cast<std::int64_t>(size_of(tape::type_of(tape, r))), plan.first[i], plan.last[i]};
        for (std::size_t k = 0; k < tape.code.size(); ++k)
            if (through_memory(tape.code[k]) && tape.code[k].instruction.operands[0] == r)
                v.free_from = std::max(v.free_from, tape::running_phase(timing, tape, k) + 1);
        values.push_back(v);
    }
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        const RowTape::Code& c = tape.code[k];
        if (!through_memory(c) || s.kept.contains(c.instruction.operands[0])) continue;
        const int at = tape::running_phase(timing, tape, k);
        values.push_back({k, true, static_cast<std::int64_t>(size_of(c.instruction.type)), at, at + 1});
    }
    std::stable_sort(values.begin(), values.end(), [](const Value& x, const Value& y) { return x.first < y.first; });
    for (const Value& v : values) {
        const auto fits = std::find_if(s.slots.begin(), s.slots.end(), [&](const Shared::Slot& slot) {
            return slot.size == v.size && slot.free_from <= v.first;
        });
        const auto at = fits - s.slots.begin();
        if (fits == s.slots.end())
            s.slots.push_back({v.size, v.free_from});
        else
            fits->free_from = v.free_from;
        (v.buffer ? s.slot_of_buffer : s.slot_of_register)[v.index] = static_cast<int>(at);
    }
    return s;
}

class Printer {
  public:
    Printer(const RowTape& tape, const RowForm& form)
        : tape_(tape),
          form_(form),
          timing_(tape::timing_of(tape)),
          shared_(shared_of(tape, form, timing_)),
          inputs_(tape.inputs.size()),
          phases_(plan_of(tape, {shared_.kept.begin(), shared_.kept.end()}).phases) {}

    std::string print() {
        preamble();
        if (form_.spread) {
            for (int p = 0; p < phases(); ++p) {
                if (joins(p)) join_kernel(p);
                if (at(p).visits_columns()) elements_kernel(p);
            }
            return std::move(out_).str();
        }
        head();
        for (int p = 0; p < phases(); ++p) phase(p);
        tail();
        return std::move(out_).str();
    }

    /// The kernels of a tape whose rows are spread over blocks, in the order in which they run.
    std::vector<SpreadStep> steps() const {
        std::vector<SpreadStep> steps;
        for (int p = 0; p < phases(); ++p) {
            if (joins(p)) steps.push_back({text("join", p), true});
            if (at(p).visits_columns()) steps.push_back({text("elements", p), false});
        }
        return steps;
    }

  private:
    int phases() const { return static_cast<int>(phases_.size()); }
    const RowPhase& at(int p) const { return phases_[static_cast<std::size_t>(p)]; }
    bool joins(int p) const { return !at(p).rows.empty() || (p > 0 && !at(p - 1).reductions.empty()); }

    bool is_input(std::size_t r) const { return r < inputs_; }
    const RowTape::Code& code(std::size_t r) const { return tape_.code[r - inputs_]; }
    bool rows(std::size_t r) const { return tape::per_row(tape_, r); }
    DType type(std::size_t r) const { return tape::type_of(tape_, r); }
    std::string stored_type(std::size_t r) const { return stored(type(r)); }

    void line(const auto&... parts) { out_ << text(parts..., "\n"); }

    std::string row_offset(std::size_t operand, const std::string& row) const {
        if (form_.axes == 0) return "0";
        if (form_.axes == 1) return text(row, " * p.operands[", operand, "].rows[0]");
        return text("offset_of(p, p.operands[", operand, "], ", row, ")");
    }

    void preamble() {
        const std::size_t operands = tape_.outputs.size() + inputs_ + (form_.spread ? 1 : 0);
        line("#include \"cuda/tape.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n");
        line("constexpr int kAxes = ", form_.axes, ", kWidth = ", form_.width, ", kThreads = ", form_.threads,
             ", kOperands = ", operands, ";");
        out_ << kRowParameters << R"(template <class T>
__forceinline__ T* take(unsigned char*& next, long long n) {
    T* at = reinterpret_cast<T*>(next);
    next += (n * static_cast<long long>(sizeof(T)) + 15) / 16 * 16;
    return at;
}
)";
    }

    void begin(const std::string& kernel) {
        line("\nextern \"C\" __global__ void __launch_bounds__(kThreads) ", kernel,
             "(const __grid_constant__ Parameters p) {\n    wait_for_turn();\n    const int thread = threadIdx.x, warp "
             "= "
             "thread / 32, lane = thread % 32;");
    }

    /// Prints pointers to the values in shared memory, of `count` elements each.
    void shared_memory(const char* count) {
        line("    extern __shared__ __align__(16) unsigned char memory[];\n    unsigned char* next = memory;");
        for (std::size_t i = 0; i < shared_.slots.size(); ++i)
            line("    unsigned char* const m", i, " = take<unsigned char>(next, ", count, " * ", shared_.slots[i].size,
                 ");");
        for (const auto& [r, slot] : shared_.slot_of_register)
            line("    auto* const s", r, " = reinterpret_cast<", stored_type(r), "*>(m", slot, ");");
        for (const auto& [k, slot] : shared_.slot_of_buffer)
            line("    auto* const b", k, " = reinterpret_cast<", stored(tape_.code[k].instruction.type), "*>(m", slot,
                 ");");
    }

    void head() {
        begin("run");
        out_ << R"(    const long long first = blockIdx.x * p.block_rows, columns = p.columns;
    const int rows = static_cast<int>(p.rows - first < p.block_rows ? p.rows - first : p.block_rows);
)";
        shared_memory("p.block_rows * columns");
        for (std::size_t r = 0; r < inputs_ + tape_.code.size(); ++r)
            if (rows(r)) line("    auto* const v", r, " = take<", stored_type(r), ">(next, p.block_rows);");
        for (std::size_t k = 0; k < tape_.code.size(); ++k)
            if (tape_.code[k].kind == Kind::reduce && form_.one_row)
                line("    __shared__ ", accumulator(k), " w", k, "[32];");
        for (std::size_t i = 0; i < inputs_; ++i)
            if (rows(i))
                line("    for (int r = thread; r < rows; r += kThreads) v", i, "[r] = static_cast<const ",
                     stored_type(i), "*>(p.operands[", tape_.outputs.size() + i, "].data)[",
                     row_offset(tape_.outputs.size() + i, "(first + r)"), "];");
        line("    __syncthreads();");
    }

    bool needs_buffer(std::size_t k) const { return shared_.slot_of_buffer.contains(k); }
    /// Whether the threads reduce in their registers, and only join through shared memory.
    bool in_registers(std::size_t k) const { return form_.one_row && !in_order(tape_.code[k]); }
    std::string accumulator(std::size_t k) const {
        return text("Accumulator<", type_name(tape_.code[k].instruction.type), ">");
    }
    std::string operation(std::size_t k) const {
        return text("Reduction::", kReductions[static_cast<int>(tape_.code[k].reduction)]);
    }
    std::string neutral(std::size_t k) const { return text("neutral<", operation(k), ", ", accumulator(k), ">()"); }

    void row_codes(const RowPhase& plan) {
        if (plan.rows.empty()) return;
        line("    for (int r = thread; r < rows; r += kThreads) {");
        std::vector<std::string> names(inputs_ + tape_.code.size());
        for (std::size_t r = 0; r < names.size(); ++r)
            if (rows(r)) names[r] = text("v", r, "[r]");
        for (const std::size_t k : plan.rows)
            line("        v", inputs_ + k, "[r] = ", expression(tape_.code[k].instruction, names), ";");
        line("    }\n    __syncthreads();");
    }

    bool first_here(std::size_t r, int p) const {
        const auto& keeps = phases_[static_cast<std::size_t>(p)].keeps;
        return std::find(keeps.begin(), keeps.end(), r) != keeps.end();
    }

    void phase(int number) {
        const RowPhase& plan = at(number);
        row_codes(plan);
        if (!plan.visits_columns()) return;
        line("    {  // phase ", number);
        for (const std::size_t k : plan.reductions)
            if (in_registers(k)) line("    ", accumulator(k), " a", k, " = ", neutral(k), ";");
        line("    constexpr long long column = 0;\n    const int n = ", form_.one_row ? "" : "rows * ",
             "static_cast<int>(columns);");
        elements(plan, number);
        int index = 0;
        bool synchronized = false;
        for (const std::size_t k : plan.reductions) {
            if (in_registers(k)) continue;
            if (!synchronized) line("    __syncthreads();");
            synchronized = true;
            reduction(k, index++);
        }
        finish(plan);
        line("    __syncthreads();\n    }");
    }

    /// Prints how the warps' parts of reductions are joined.
    void finish(const RowPhase& plan) {
        if (!form_.one_row || plan.reductions.empty()) return;
        for (const std::size_t k : plan.reductions)
            if (in_registers(k)) join_warp(k);
        line("    __syncthreads();");
        int index = 0;
        for (const std::size_t k : plan.reductions) {
            const std::string result =
                text("v", inputs_ + k, "[0] = baseline::store<", type_name(tape_.code[k].instruction.type), ">(a);");
            if (in_registers(k))
                join_warps(k, index++, result);
            else
                line("    if (thread == ", index++, " % (kThreads / 32) * 32) {\n        auto a = w", k,
                     "[0];\n        for (int c = 1; c * static_cast<long long>(kChunk) < columns; ++c) a = combine<",
                     operation(k), ">(a, w", k, "[c]);\n        ", result, "\n    }");
        }
    }

    /// Print how a reduction in any order is joined: first in each warp, then by one warp, which runs `result` with the
    /// joined value `a`.
    void join_warp(std::size_t k) {
        line("    for (int half = 16; half > 0; half /= 2)\n        a", k, " = combine<", operation(k), ">(a", k,
             ", shuffle_down(a", k, ", half));\n    if (lane == 0) w", k, "[warp] = a", k, ";");
    }
    void join_warps(std::size_t k, int index, const std::string& result) {
        line("    if (warp == ", index, " % (kThreads / 32)) {\n        auto a = lane < kThreads / 32 ? w", k,
             "[lane] : ", neutral(k), ";\n        for (int half = 16; half > 0; half /= 2) a = combine<", operation(k),
             ">(a, shuffle_down(a, half));\n        if (lane == 0) ", result, "\n    }");
    }

    // --- Spread rows: a block takes a chunk of a row. The last operand is memory for results that later kernels need,
    // of 8 bytes each. It has first, for each code of rows, the values of all rows, and then, for each reduction, the
    // results of all chunks, row after row.

    std::string value_at(std::size_t r, const char* row) const {
        return text("reinterpret_cast<", stored_type(r),
                    "*>(static_cast<unsigned char*>(p.operands[kOperands - 1].data) + ",
                    8 * index_of(r, [&](std::size_t k) { return tape_.code[k].per_row; }), " * p.rows)[", row, "]");
    }
    std::string partials_of(std::size_t k, const char* row) const {
        const std::size_t values = index_of(inputs_ + tape_.code.size(),
                                            [&](std::size_t c) { return tape_.code[c].per_row; }),
                          before =
                              index_of(inputs_ + k, [&](std::size_t c) { return tape_.code[c].kind == Kind::reduce; });
        return text("reinterpret_cast<", accumulator(k),
                    "*>(static_cast<unsigned char*>(p.operands[kOperands - 1].data) + 8 * (", values, " * p.rows + ",
                    before, " * p.rows * chunks)) + ", row, " * chunks");
    }
    /// The number of codes before register r for which `such` holds.
    std::size_t index_of(std::size_t r, const auto& such) const {
        std::size_t n = 0;
        for (std::size_t k = 0; inputs_ + k < r; ++k) n += such(k);
        return n;
    }

    std::string row_input(std::size_t i, const char* row) const {
        return text("static_cast<const ", stored_type(i), "*>(p.operands[", tape_.outputs.size() + i, "].data)[",
                    row_offset(tape_.outputs.size() + i, row), "]");
    }

    void elements_kernel(int number) {
        const RowPhase& plan = at(number);
        begin(text("elements", number));
        line(
            "    const long long columns = p.columns, chunks = p.block_rows, first = blockIdx.x / chunks,\n"
            "                    chunk = blockIdx.x % chunks, begin = chunk * kChunk,\n"
            "                    end = columns - begin < kChunk ? columns : begin + kChunk;");
        shared_memory("p.piece");
        for (std::size_t r = 0; r < inputs_ + tape_.code.size(); ++r)
            if (rows(r) && (is_input(r) || timing_.phase[r] <= number))
                line("    const ", stored_type(r), " v", r, "[1] = {",
                     is_input(r) ? row_input(r, "first") : value_at(r, "first"), "};");
        for (const std::size_t k : plan.reductions) {
            if (in_registers(k))
                line("    __shared__ ", accumulator(k), " w", k, "[32];\n    ", accumulator(k), " a", k, " = ",
                     neutral(k), ";");
            else
                line("    ", accumulator(k), " low", k, " = ", neutral(k), ", high", k, " = low", k, ";");
        }
        line(
            "    for (long long column = begin; column < end; column += p.piece) {\n"
            "    const int n = static_cast<int>(end - column < p.piece ? end - column : p.piece);");
        elements(plan, number);
        int index = 0;
        for (const std::size_t k : plan.reductions)
            if (!in_registers(k)) piece_of_reduction(k, index++);
        line(index > 0 ? "    __syncthreads();\n    }" : "    }");
        for (const std::size_t k : plan.reductions)
            if (in_registers(k)) join_warp(k);
        if (!plan.reductions.empty()) line("    __syncthreads();");
        for (const std::size_t k : plan.reductions)
            if (in_registers(k)) join_warps(k, index++, text("(", partials_of(k, "first"), ")[chunk] = a;"));
        line("}");
    }

    /// Prints how a warp adds a piece's elements to the lanes of the chunk, and stores the result after the last piece.
    void piece_of_reduction(std::size_t k, int index) {
        if (index == 0) line("    __syncthreads();");
        line("    if (warp == ", index, " % (kThreads / 32)) {\n        const auto* x = b", k, ";");
        accumulate(text("low", k), text("high", k), "n", text("combine<", operation(k), ">("),
                   text("baseline::load<", type_name(tape_.code[k].instruction.type), ">("));
        line("        if (column + n == end) {\n            const auto joined = join_lanes<", operation(k), ">(low", k,
             ", high", k, ");\n            if (lane == 0) (", partials_of(k, "first"),
             ")[chunk] = joined;\n        }\n    }");
    }

    /// Prints a kernel in which a block joins the chunks of a row and computes the row's values of the phase.
    void join_kernel(int number) {
        begin(text("join", number));
        line("    const long long row = blockIdx.x, chunks = p.block_rows;");
        for (std::size_t r = 0; r < inputs_ + tape_.code.size(); ++r)
            if (rows(r)) line("    __shared__ ", stored_type(r), " v", r, "[1];");
        if (number > 0)
            for (const std::size_t k : at(number - 1).reductions)
                line("    {\n        const auto a = join_line<", operation(k), ", ",
                     in_order(tape_.code[k]) ? "true" : "false", ", kThreads>(", partials_of(k, "row"),
                     ", chunks, 1);\n        if (thread == 0) v", inputs_ + k, "[0] = baseline::store<",
                     type_name(tape_.code[k].instruction.type), ">(a);\n    }");
        line("    if (thread > 0) return;\n    constexpr int r = 0;");
        for (std::size_t r = 0; r < inputs_ + tape_.code.size(); ++r)
            if (rows(r) && (is_input(r) || timing_.phase[r] < number))
                line("    v", r, "[0] = ", is_input(r) ? row_input(r, "row") : value_at(r, "row"), ";");
        std::vector<std::size_t> computed;
        if (number > 0)
            for (const std::size_t k : at(number - 1).reductions) computed.push_back(inputs_ + k);
        std::vector<std::string> names(inputs_ + tape_.code.size());
        for (std::size_t r = 0; r < names.size(); ++r)
            if (rows(r)) names[r] = text("v", r, "[r]");
        for (const std::size_t k : at(number).rows) {
            line("    v", inputs_ + k, "[0] = ", expression(tape_.code[k].instruction, names), ";");
            computed.push_back(inputs_ + k);
        }
        for (const std::size_t r : computed) {
            line("    ", value_at(r, "row"), " = v", r, "[0];");
            for (std::size_t o = 0; o < tape_.outputs.size(); ++o)
                if (tape_.outputs[o] == r)
                    line("    static_cast<", stored_type(r), "*>(p.operands[", o, "].data)[", row_offset(o, "row"),
                         "] = v", r, "[0];");
        }
        line("}");
    }

    void elements(const RowPhase& plan, int number) {
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
        for (const std::size_t r : plan.loads) load(r, number);
        std::set<std::size_t> packs;
        for (const std::size_t r : plan.keeps)
            if (!is_input(r)) packs.insert(r);
        for (const std::size_t k : plan.reductions)
            if (needs_buffer(k)) packs.insert(tape_.code[k].instruction.operands[0]);
        for (const std::size_t o : plan.outputs) packs.insert(tape_.outputs[o]);
        for (const std::size_t r : plan.loads) packs.erase(r);
        for (const std::size_t r : packs) line("        Pack<", stored_type(r), ", kWidth> x", r, ";");
        line("#pragma unroll\n        for (int j = 0; j < kWidth; ++j) {");
        std::vector<std::string> names(inputs_ + tape_.code.size());
        for (std::size_t r = 0; r < names.size(); ++r) names[r] = rows(r) ? text("v", r, "[r]") : text("r", r);
        for (const std::size_t r : plan.loads) names[r] = text("x", r, ".at[j]");
        for (const std::size_t r : plan.computes) {
            const RowTape::Code& c = code(r);
            const std::string value =
                c.kind == Kind::repeat ? names[c.instruction.operands[0]] : expression(c.instruction, names);
            line("            const ", stored_type(r), " r", r, " = ", value, ";");
        }
        for (const std::size_t r : packs) line("            x", r, ".at[j] = r", r, ";");
        for (const std::size_t k : plan.reductions)
            if (in_registers(k))
                line("            a", k, " = combine<", operation(k), ">(a", k, ", baseline::load<",
                     type_name(tape_.code[k].instruction.type), ">(", names[tape_.code[k].instruction.operands[0]],
                     "));");
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
        if (shared_.kept.contains(r) && !first_here(r, number))
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
        const std::string op = operation(k), type = type_name(c.instruction.type), result = text("v", inputs_ + k);
        const std::string from = needs_buffer(k) ? text("b", k) : text("s", int{c.instruction.operands[0]});
        const std::string combine = text("combine<", op, ">("), load = text("baseline::load<", type, ">(");
        if (!form_.one_row) {
            line("    for (int r = warp; r < rows; r += kThreads / 32) {\n        const auto* x = ", from,
                 " + r * columns;\n        const int length = static_cast<int>(columns);\n        auto low = ",
                 neutral(k), ", high = low;");
            accumulate("low", "high", "length", combine, load);
            line("        const auto total = join_lanes<", op, ">(low, high);\n        if (lane == 0) ", result,
                 "[r] = baseline::store<", type, ">(total);\n    }");
        } else {
            line("    for (int c = (warp + kThreads / 32 - ", index,
                 " % (kThreads / 32)) % (kThreads / 32); "
                 "c * static_cast<long long>(kChunk) < columns; c += kThreads / 32) {\n        const auto* x = ",
                 from,
                 " + c * kChunk;\n        const int left = static_cast<int>(columns) - c * kChunk, length = left < "
                 "kChunk ? "
                 "left : kChunk;\n        auto low = ",
                 neutral(k), ", high = low;");
            accumulate("low", "high", "length", combine, load);
            line("        const auto total = join_lanes<", op, ">(low, high);\n        if (lane == 0) w", k,
                 "[c] = total;\n    }");
        }
    }

    void accumulate(const std::string& low, const std::string& high, const char* n, const std::string& combine,
                    const std::string& load) {
        line("        int i = lane;\n#pragma unroll 8\n        for (; i + 32 < ", n, "; i += 64) {\n            ", low,
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
    Shared shared_;
    std::size_t inputs_;
    std::vector<RowPhase> phases_;
    std::ostringstream out_ = classic_stream();
};

}  // namespace

std::int64_t shared_bytes(const RowTape& tape, const RowForm& form, std::int64_t elements, std::int64_t rows) {
    const auto rounded = [](std::int64_t bytes) { return (bytes + 15) / 16 * 16; };
    std::int64_t bytes = 0;
    for (const Shared::Slot& slot : shared_of(tape, form, tape::timing_of(tape)).slots)
        bytes += rounded(elements * slot.size);
    for (std::size_t r = 0; r < tape.inputs.size() + tape.code.size(); ++r)
        if (tape::per_row(tape, r) && !form.spread)
            bytes += rounded(rows * static_cast<std::int64_t>(size_of(tape::type_of(tape, r))));
    return bytes;
}

std::string print(const RowTape& tape, const RowForm& form) { return Printer(tape, form).print(); }

std::vector<SpreadStep> spread_steps(const RowTape& tape, const RowForm& form) { return Printer(tape, form).steps(); }

std::int64_t spread_words(const RowTape& tape, std::int64_t rows, std::int64_t chunks) {
    std::int64_t words = 0;
    for (const RowTape::Code& c : tape.code)
        words += (c.per_row ? rows : 0) + (c.kind == Kind::reduce ? rows * chunks : 0);
    return words;
}

}  // namespace tenon::cuda
