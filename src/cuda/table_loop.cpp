#include "cuda/table_loop.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <span>

#include "base/text.h"
#include "cuda/print_tape.h"

namespace tenon::cuda {
namespace {

constexpr int kLow = kTableLow, kSpan = kTableSpan;
constexpr int kMinSaved = 40;  // instructions for an element that a table must save, roughly

/// Roughly how many instructions an operation takes in float32.
int cost_of(const tape::Instruction& c) {
    using tape::Opcode;
    switch (c.op) {
        case Opcode::exp:
        case Opcode::expm1:
        case Opcode::log:
        case Opcode::log1p:
        case Opcode::sin:
        case Opcode::cos:
        case Opcode::atan:
        case Opcode::tanh:
        case Opcode::erf:
        case Opcode::logistic:
        case Opcode::pow:
            return 40;
        case Opcode::divide:
        case Opcode::reciprocal:
        case Opcode::sqrt:
        case Opcode::rsqrt:
            return 10;
        default:
            return 1;
    }
}

class Planner {
  public:
    Planner(const tape::Tape& tape, const std::vector<bool>& scalar)
        : tape_(tape), scalar_(scalar), inputs_(tape.inputs.size()), registers_(inputs_ + tape.code.size()) {}

    std::optional<TablePlan> run() {
        std::optional<TablePlan> best;
        int most = kMinSaved - 1;
        for (std::size_t at = 0; at < registers_; ++at) {
            if (tape::type_of(tape_, at) != DType::bfloat16 || (at < inputs_ && scalar_[at])) continue;
            TablePlan plan;
            if (const int saved = try_at(at, plan); saved > most) most = saved, best = std::move(plan);
        }
        if (best) print_table(*best);
        return best;
    }

  private:
    enum class Of : std::uint8_t { others, scalars, value };

    const tape::Instruction& code(std::size_t reg) const { return tape_.code[reg - inputs_]; }
    std::span<const std::uint8_t> operands(std::size_t reg) const {
        return {code(reg).operands, static_cast<std::size_t>(tape::arity(code(reg).op))};
    }

    /// For each register, whether it depends on scalars alone, also on the value at `at`, or on other elements.
    std::vector<Of> dependence(std::size_t at) const {
        std::vector<Of> of(registers_, Of::others);
        for (std::size_t i = 0; i < inputs_; ++i)
            if (scalar_[i]) of[i] = Of::scalars;
        for (std::size_t r = inputs_; r < registers_; ++r) {
            if (r == at) continue;
            const auto all = operands(r);
            of[r] = Of::scalars;
            for (const std::uint8_t o : all) {
                const Of from = o == at ? Of::value : of[o];
                if (from == Of::others) {
                    of[r] = Of::others;
                    break;
                }
                if (from == Of::value) of[r] = Of::value;
            }
        }
        of[at] = Of::value;
        return of;
    }

    /// How many instructions are saved by looking up what follows from the value at `at` and scalars. Plans that table.
    int try_at(std::size_t at, TablePlan& plan) const {
        const std::vector<Of> of = dependence(at);
        // The cost of a register with all that it needs, given the value.
        std::vector<int> own(registers_);
        for (std::size_t r = inputs_; r < registers_; ++r) {
            if (of[r] == Of::others || r == at) continue;
            own[r] = cost_of(code(r));
            for (const std::uint8_t o : operands(r)) own[r] += o == at ? 0 : own[o];
        }
        std::vector<bool> used(registers_);
        for (const std::uint8_t o : tape_.outputs) used[o] = true;
        for (std::size_t r = inputs_; r < registers_; ++r)
            if (of[r] == Of::others || r == at)
                for (const std::uint8_t o : operands(r)) used[o] = true;
        for (std::size_t r = inputs_; r < registers_; ++r) {
            if (of[r] != Of::value || r == at || !used[r] || own[r] < kMinSaved) continue;
            const DType t = tape::type_of(tape_, r);
            if (t != DType::float32 && t != DType::bfloat16) return 0;
            plan.found.push_back(r);
        }
        if (plan.found.empty() || plan.found.size() > 2) return 0;
        plan.at = at;
        plan.computed.assign(registers_, false);
        std::vector<bool> needed(registers_);
        for (const std::uint8_t o : tape_.outputs) needed[o] = true;
        needed[at] = true;
        int saved = 0;
        for (std::size_t r = registers_; r-- > inputs_;) {
            if (is_found(plan, r) || !needed[r]) {
                saved += cost_of(code(r));
                continue;
            }
            plan.computed[r] = true;
            for (const std::uint8_t o : operands(r)) needed[o] = true;
        }
        return saved;
    }

    static bool is_found(const TablePlan& plan, std::size_t r) {
        return std::find(plan.found.begin(), plan.found.end(), r) != plan.found.end();
    }

    /// Builds the tape that computes the table's entries from the value and the scalars.
    void print_table(TablePlan& plan) const {
        const std::vector<Of> of = dependence(plan.at);
        std::vector<bool> needed(registers_);
        for (const std::size_t r : plan.found) needed[r] = true;
        for (std::size_t r = registers_; r-- > inputs_;)
            if (needed[r] && r != plan.at)
                for (const std::uint8_t o : operands(r)) needed[o] = true;
        std::map<std::size_t, std::uint8_t> to{{plan.at, 0}};
        plan.table.inputs = {DType::bfloat16};
        for (std::size_t i = 0; i < inputs_; ++i) {
            if (!needed[i] || i == plan.at) continue;
            to[i] = static_cast<std::uint8_t>(plan.table.inputs.size());
            plan.table.inputs.push_back(tape_.inputs[i]);
            plan.scalars.push_back(i);
        }
        for (std::size_t r = inputs_; r < registers_; ++r) {
            if (!needed[r] || r == plan.at || of[r] == Of::others) continue;
            tape::Instruction c = code(r);
            for (int i = 0; i < tape::arity(c.op); ++i) c.operands[i] = to.at(c.operands[i]);
            to[r] = static_cast<std::uint8_t>(plan.table.inputs.size() + plan.table.code.size());
            plan.table.code.push_back(c);
        }
        for (const std::size_t r : plan.found) plan.table.outputs.push_back(to.at(r));
    }

    const tape::Tape& tape_;
    const std::vector<bool>& scalar_;
    std::size_t inputs_, registers_;
};

std::string wide(DType t) { return text("Wide<", type_name(t), ">"); }

bool is_costly(const tape::Tape& tape) {
    return std::any_of(tape.code.begin(), tape.code.end(),
                       [](const tape::Instruction& c) { return cost_of(c) >= kMinSaved; });
}

/// Prints the function that computes an entry of the table from the value and the scalars.
std::string print_find(const TablePlan& plan) {
    const tape::Tape& t = plan.table;
    std::string parameters, passed, code;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < t.inputs.size(); ++i) {
        names.push_back(text("x", i));
        parameters += text(i ? ", " : "", wide(t.inputs[i]), " x", i);
        passed += text(i ? ", x" : "x", i);
    }
    for (const tape::Instruction& c : t.code) {
        code += text("    const ", wide(c.result), " r", names.size(), " = ", expression(c, names, true), ";\n");
        names.push_back(text("r", names.size()));
    }
    std::string members, results;
    for (std::size_t f = 0; f < t.outputs.size(); ++f) {
        members += text(f ? ", f" : "float f", f);
        results += text(f ? ", " : "", names[t.outputs[f]]);
    }
    return text("struct alignas(", 4 * t.outputs.size(), ") Found {\n    ", members,
                ";\n};\n__forceinline__ Found find(", parameters, ") {\n", code, "    return {", results,
                "};\n}\n__noinline__ Found find_unusual(", parameters, ") {\n    return find(", passed, ");\n}\n");
}

}  // namespace

std::optional<TablePlan> table_of(const tape::Tape& tape, const std::vector<bool>& scalar) {
    return Planner(tape, scalar).run();
}

bool has_table(const tape::Tape& tape, const std::vector<bool>& scalar) {
    if (!is_costly(tape)) return false;
    static auto& mutex = *new std::mutex;
    static auto& known = *new std::map<std::string, bool>;
    std::string key;
    for (const bool s : scalar) key += s ? 'r' : 'c';
    key += words_of(tape);
    const std::lock_guard lock(mutex);
    const auto [at, is_new] = known.try_emplace(std::move(key), false);
    if (is_new) at->second = table_of(tape, scalar).has_value();
    return at->second;
}

std::string print_table_loop(const tape::Tape& tape, const std::vector<bool>& scalar) {
    const TablePlan plan = *table_of(tape, scalar);
    const std::size_t outputs = tape.outputs.size(), inputs = tape.inputs.size();
    std::string members, loads, scalars, passed, code, results, stores;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < inputs; ++i) {
        const std::string from =
            text("static_cast<const ", stored(tape.inputs[i]), "*>(p.operands[", outputs + i, "].data)");
        if (scalar[i]) {
            scalars += text("    const ", wide(tape.inputs[i]), " s", i, " = widen<", type_name(tape.inputs[i]), ">(*",
                            from, ");\n");
            names.push_back(text("s", i));
            continue;
        }
        members += text("    Pack<", stored(tape.inputs[i]), ", kWidth> x", i, ";\n");
        loads += text("    l.x", i, " = load_pack<", stored(tape.inputs[i]), ", kWidth>(", from, " + at);\n");
        names.push_back(text("widen_at<", type_name(tape.inputs[i]), ", kWidth>(now.x", i, ", j)"));
    }
    for (const std::size_t i : plan.scalars) passed += text(", s", i);
    const auto look_up = [&] {
        code += text("            const float value = ", names[plan.at],
                     ";\n            const unsigned half = bits(value) >> 16, from_low = (half & 0x7fff) - kLow;\n"
                     "            const Found found = from_low < kSpan ? usual[(half >> 15) * kSpan + from_low] : "
                     "find_unusual(value",
                     passed, ");\n");
    };
    if (plan.at < inputs) look_up();
    for (std::size_t r = inputs; r < inputs + tape.code.size(); ++r) {
        const auto found = std::find(plan.found.begin(), plan.found.end(), r);
        names.push_back(found != plan.found.end() ? text("found.f", found - plan.found.begin()) : text("r", r));
        if (!plan.computed[r]) continue;
        const tape::Instruction& c = tape.code[r - inputs];
        code += text("            const ", wide(c.result), " r", r, " = ", expression(c, names, true), ";\n");
        if (r == plan.at) look_up();
    }
    for (std::size_t o = 0; o < outputs; ++o) {
        const DType t = tape::type_of(tape, tape.outputs[o]);
        results += text("        ", wide(t), " y", o, "[kWidth];\n");
        code += text("            y", o, "[j] = ", names[tape.outputs[o]], ";\n");
        stores += text("        Pack<", stored(t), ", kWidth> z", o, "[1];\n        narrow_all<", type_name(t),
                       ", false>(z", o, ", y", o, ");\n        store_pack(static_cast<", stored(t), "*>(p.operands[", o,
                       "].data) + at, z", o, "[0]);\n");
    }
    return text(
        "#include \"cuda/wide.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n\nconstexpr int kWidth = ",
        kTableWidth, ", kThreads = ", kTableThreads, ", kLow = ", kLow, ", kSpan = ", kSpan, R"(;
struct Operand {
    void* data;
    long long stride;
};
struct Parameters {
    unsigned long long extent, row_groups, groups;
    Operand operands[)",
        outputs + inputs, "];\n};\nstruct Loaded {\n", members, "};\n", print_find(plan),
        "__forceinline__ void load(Loaded& l, const Parameters& p, unsigned group) {\n"
        "    const long long at = static_cast<long long>(group) * kWidth;\n",
        loads, R"(}

extern "C" __global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ Parameters p) {
    __shared__ Found usual[2 * kSpan];
)",
        scalars, R"(    const unsigned groups = static_cast<unsigned>(p.groups), step = gridDim.x * kThreads;
    unsigned group = blockIdx.x * kThreads + threadIdx.x;
    Loaded next;
    if (group < groups) load(next, p, group);
    for (int i = threadIdx.x; i < 2 * kSpan; i += kThreads)
        usual[i] = find(from_bits(static_cast<unsigned>(i / kSpan << 15 | (kLow + i % kSpan)) << 16))",
        passed, R"();
    __syncthreads();
#pragma unroll 1
    for (; group < groups; group += step) {
        const Loaded now = next;
        if (group + step < groups) load(next, p, group + step);
        const long long at = static_cast<long long>(group) * kWidth;
)",
        results, "#pragma unroll\n        for (int j = 0; j < kWidth; ++j) {\n", code, "        }\n", stores,
        "    }\n}\n");
}

}  // namespace tenon::cuda
