#include "cuda/chain/hidden.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/chain/maps.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"
#include "cuda/table_loop.h"
#include "cuda/wgmma.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kRows = 64, kBoxBytes = 64 * 128;  // as in chain/hidden.cuh
constexpr std::int64_t kValues = 2 * (kTableSpan + 4);
constexpr int kThreads = 512;
constexpr std::size_t kMaxNumbers = 24;
/// The kernel of the gradients has one block for each group; with fewer groups there are too few blocks.
constexpr std::int64_t kMinGroups = 96;

using Names = std::vector<std::string>;

/// The length of the list of numbers.
std::size_t numbers_of(const HiddenFunctions& f) {
    std::size_t n = 0;
    for (const auto* all : {&f.value_numbers, &f.slope_numbers})
        for (const std::size_t at : *all) n = std::max(n, at + 1);
    return n;
}

std::vector<bool> slope_scalars(const HiddenFunctions& f) {
    std::vector<bool> scalar(f.slope->inputs.size(), true);
    scalar[f.slope_h] = scalar[f.slope_dv] = false;
    return scalar;
}

/// The names of a tape's inputs in the printed code. `own` names those that are not numbers; numbers are members of
/// `s`.
Names inputs_of(const tape::Tape& t, const std::vector<std::pair<std::size_t, std::string>>& own,
                const std::vector<std::size_t>& numbers) {
    Names names(t.inputs.size());
    for (const auto& [at, name] : own) names[at] = name;
    std::size_t next = 0;
    for (std::string& n : names)
        if (n.empty()) n = text("s.s", numbers[next++]);
    return names;
}
Names inputs_of_value(const HiddenFunctions& f) { return inputs_of(f.value, {{f.value_h, "h"}}, f.value_numbers); }
Names inputs_of_slope(const HiddenFunctions& f) {
    return inputs_of(*f.slope, {{f.slope_h, "h"}, {f.slope_dv, "dv"}}, f.slope_numbers);
}

std::string wide(DType t) { return text("Wide<", type_name(t), ">"); }

std::string print(const tape::Instruction& c, const Names& names, std::size_t r) {
    return text("    const ", wide(c.result), " r", r, " = ", expression(c, names, true), ";\n");
}
/// Prints all instructions of a tape. `names` has the names of its inputs, and gets those of its results.
std::string print_code(const tape::Tape& t, Names& names) {
    std::string code;
    for (const tape::Instruction& c : t.code) {
        code += print(c, names, names.size());
        names.push_back(text("r", names.size()));
    }
    return code;
}

std::string print_value(const HiddenFunctions& f) {
    Names names = inputs_of_value(f);
    const std::string code = print_code(f.value, names);
    return text("__forceinline__ float value_of(float h, const Fixed& s) {\n", code, "    return ",
                names[f.value.outputs[0]], ";\n}\n");
}

/// Prints `Found`, which holds what follows from h alone, `find`, which computes it, and `slope`, which does the rest.
std::string print_slope(const HiddenFunctions& f, const TablePlan& plan) {
    const tape::Tape& t = *f.slope;
    Names names = inputs_of_slope(f), of_table{"h"};
    for (const std::size_t i : plan.scalars) of_table.push_back(names[i]);
    const std::string find = print_code(plan.table, of_table);
    std::string members, results, code;
    for (std::size_t i = 0; i < plan.found.size(); ++i) {
        members += text(i ? ", f" : "float f", i);
        results += text(i ? ", " : "", of_table[plan.table.outputs[i]]);
    }
    for (std::size_t r = t.inputs.size(); r < t.inputs.size() + t.code.size(); ++r) {
        const auto found = std::find(plan.found.begin(), plan.found.end(), r);
        if (plan.computed[r]) code += print(t.code[r - t.inputs.size()], names, r);
        names.push_back(found != plan.found.end() ? text("found.f", found - plan.found.begin()) : text("r", r));
    }
    return text("struct alignas(", 4 * plan.found.size(), ") Found {\n    ", members,
                ";\n};\n__forceinline__ Found find(float h, const Fixed& s) {\n", find, "    return {", results,
                "};\n}\n__forceinline__ float slope(float h, float dv, const Found& found, const Fixed& s) {\n", code,
                "    return ", names[t.outputs[0]], ";\n}\n");
}

/// For each register of a tape, the expression of its inputs that it holds, as text to be compared.
Names meanings_of(const tape::Tape& t, Names names) {
    for (const tape::Instruction& c : t.code) {
        std::string all = text(static_cast<int>(c.op), ' ', static_cast<int>(c.type), ' ', static_cast<int>(c.result));
        for (int i = 0; i < tape::arity(c.op); ++i) all += text(" (", names[c.operands[i]], ")");
        names.push_back(std::move(all));
    }
    return names;
}

bool is_costly(tape::Opcode op) {
    using tape::Opcode;
    return (op >= Opcode::exp && op <= Opcode::logistic) || op == Opcode::pow || op == Opcode::divide;
}

/// Prints `value_with`, which computes the value from what the slope's table holds, and `kValueOfFound`, which says
/// whether that needs no costly operation.
std::string print_value_with(const HiddenFunctions& f, const TablePlan& plan) {
    const tape::Tape& t = f.value;
    const Names slope = meanings_of(*f.slope, inputs_of_slope(f)), own = meanings_of(t, inputs_of_value(f));
    Names names = inputs_of_value(f);
    for (std::size_t r = names.size(); r < own.size(); ++r) {
        names.push_back(text("r", r));
        for (std::size_t k = 0; k < plan.found.size(); ++k)
            if (slope[plan.found[k]] == own[r]) names.back() = text("found.f", k);
    }
    std::vector<bool> needed(own.size());
    needed[t.outputs[0]] = true;
    bool costly = false;
    std::string code;
    for (std::size_t r = own.size(); r-- > t.inputs.size();) {
        const tape::Instruction& c = t.code[r - t.inputs.size()];
        if (!needed[r] || names[r][0] == 'f') continue;
        for (int i = 0; i < tape::arity(c.op); ++i) needed[c.operands[i]] = true;
        costly = costly || is_costly(c.op);
        code = print(c, names, r) + code;
    }
    return text("constexpr bool kValueOfFound = ", costly ? "false" : "true",
                ";\n__forceinline__ float value_with(float h, const Found& found, const Fixed& s) {\n", code,
                "    return ", names[t.outputs[0]], ";\n}\n");
}

/// Prints `Numbers`, the addresses of the numbers, `Fixed`, which holds them in registers, and `fixed_of`, which loads
/// them.
std::string print_fixed(const HiddenFunctions& f, bool gradients) {
    std::vector<std::string> types(numbers_of(f));
    const auto note = [&](const tape::Tape& t, const std::vector<std::size_t>& numbers, std::size_t h, std::size_t dv) {
        std::size_t next = 0;
        for (std::size_t i = 0; i < t.inputs.size(); ++i)
            if (i != h && i != dv) types[numbers[next++]] = type_name(t.inputs[i]);
    };
    note(f.value, f.value_numbers, f.value_h, f.value_h);
    if (gradients) note(*f.slope, f.slope_numbers, f.slope_h, f.slope_dv);
    std::string members, loads;
    for (std::size_t i = 0; i < types.size(); ++i) {
        if (types[i].empty()) continue;
        members += text("    Wide<", types[i], "> s", i, ";\n");
        loads += text("    s.s", i, " = widen<", types[i], ">(*static_cast<const Stored<", types[i], ">*>(from.at[", i,
                      "]));\n");
    }
    return text("struct Numbers {\n    const void* at[", kMaxNumbers, "];\n};\nstruct Fixed {\n", members,
                "};\n__forceinline__ Fixed fixed_of(const Numbers& from) {\n    Fixed s;\n", loads,
                "    return s;\n}\n");
}

std::string print_functions(const HiddenFunctions& f, bool gradients) {
    std::string functions = print_fixed(f, gradients) + print_value(f);
    if (gradients) {
        const TablePlan plan = *table_of(*f.slope, slope_scalars(f));
        functions += print_slope(f, plan) + print_value_with(f, plan);
    }
    return text("#include \"cuda/wide.cuh\"\nnamespace tenon::cuda {\n", functions,
                "}  // namespace tenon::cuda\nusing tenon::cuda::Numbers, tenon::cuda::Fixed, tenon::cuda::fixed_of, "
                "tenon::cuda::value_of;\n",
                gradients ? "using tenon::cuda::Found, tenon::cuda::find, tenon::cuda::slope, tenon::cuda::value_with, "
                            "tenon::cuda::kValueOfFound;\n"
                          : "",
                "constexpr int kLow = ", kTableLow, ", kSpan = ", kTableSpan, ";\n",
                print_wgmma(128, LeftOperand::shared), print_wgmma(64, LeftOperand::shared));
}

std::string key_of(const HiddenFunctions& f) {
    std::string key = text(f.value_h, ' ', words_of(f.value));
    for (const std::size_t n : f.value_numbers) key += text(' ', n);
    if (f.slope) key += text(" slope ", f.slope_h, ' ', f.slope_dv, ' ', words_of(*f.slope));
    for (const std::size_t n : f.slope_numbers) key += text(' ', n);
    return key;
}

std::uint64_t u(std::int64_t n) { return static_cast<std::uint64_t>(n); }

/// The map of z, [f][g][i]. A box has 64 columns of one group.
TensorMap before_of(const void* z, std::int64_t rows, std::int64_t groups) {
    return map_of<3>(z, {u(rows), u(kHiddenInner), u(groups)}, {u(rows * 2), u(kHiddenInner * rows * 2)},
                     {kRows, kHiddenInner, 1});
}
/// The map of w, [c][f][i], with boxes as for z.
TensorMap behind_of(const void* w, std::int64_t rows, std::int64_t groups) {
    return map_of<3>(w, {u(rows), u(kHiddenInner), u(groups)}, {u(groups * rows * 2), u(rows * 2)},
                     {kRows, kHiddenInner, 1});
}
/// The map of h, [i][f][q], or of the core a, [c][f][q]. A box has 64 of a group's 128 columns.
TensorMap wide_of(const void* h, std::int64_t lines, std::int64_t groups) {
    return map_of<3>(h, {u(kHiddenOuter), u(lines), u(groups)}, {u(groups * kHiddenOuter * 2), u(kHiddenOuter * 2)},
                     {64, 64, 1});
}
/// The map of the core b, [f][q][g]. A box is a group.
TensorMap core_of(const void* b, std::int64_t groups) {
    return map_of<3>(b, {u(kHiddenInner), u(kHiddenOuter), u(groups)},
                     {u(kHiddenInner * 2), u(kHiddenInner * kHiddenOuter * 2)}, {64, kHiddenOuter, 1});
}

struct Numbers {
    const void* at[kMaxNumbers];
};
Numbers numbers_from(std::span<const void* const> from) {
    Numbers s{};
    std::copy(from.begin(), from.end(), s.at);
    return s;
}

Launch launch_of(std::int64_t groups, std::int64_t parts, std::int64_t bytes) {
    Launch how;
    how.grid = {static_cast<std::uint32_t>(groups), static_cast<std::uint32_t>(parts)};
    how.block = {kThreads};
    how.shared_bytes = static_cast<std::uint32_t>(1024 + bytes);
    how.overlaps_previous = true;
    return how;
}

}  // namespace

std::string hidden_declines(std::int64_t rows, std::int64_t groups, const HiddenFunctions& f) {
    if (rows % kRows != 0) return text("its rows are no multiple of ", kRows);
    if (groups < kMinGroups) return "too few groups";
    const auto is_of_halves = [](const tape::Tape& t, std::size_t own) {
        return t.outputs.size() == 1 && t.inputs[own] == DType::bfloat16 &&
               tape::type_of(t, t.outputs[0]) == DType::bfloat16;
    };
    if (!is_of_halves(f.value, f.value_h)) return "the function's values are not bfloat16";
    if (numbers_of(f) > kMaxNumbers) return "the function reads too many numbers";
    if (!f.slope) return {};
    if (!is_of_halves(*f.slope, f.slope_h) || f.slope->inputs[f.slope_dv] != DType::bfloat16)
        return "the function's values are not bfloat16";
    const auto plan = table_of(*f.slope, slope_scalars(f));
    if (!plan || plan->at != f.slope_h) return "a table of the function's slope gains nothing";
    return {};
}

Unit hidden_unit(const HiddenFunctions& f, bool keeps_h) {
    Unit unit_ = unit("cuda/chain/hidden.cu", {text("-DKEEPS_H=", int{keeps_h})});
    unit_.text = print_functions(f, false) + unit_.text;
    return unit_;
}

Unit hidden_gradients_unit(const HiddenFunctions& f, DType dtype) {
    Unit unit_ =
        unit("cuda/chain/hidden_gradients.cu", {text("-DOUT=", dtype == DType::float32 ? "float" : "uint16_t")});
    unit_.text = print_functions(f, true) + unit_.text;
    return unit_;
}

void run(Gpu& gpu, const HiddenFunctions& f, const HiddenPass& p) {
    struct Arguments {
        std::int32_t tiles;
        Numbers numbers;
    };
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const bool keeps_h = p.h != nullptr;
    const Kernel& kernel = gpu.printed(
        text(keeps_h ? "hidden " : "hidden alone ", key_of(f)), [&] { return hidden_unit(f, keeps_h); }, "hidden");
    constexpr std::int64_t kBoxes = 4 + 6 + 3 * 5;  // as in hidden.cu
    const std::int64_t tiles = p.rows / kRows,
                       parts = std::clamp<std::int64_t>(gpu.multiprocessors() / p.groups, 1, tiles);
    launch(gpu, kernel, launch_of(p.groups, parts, kBoxes * kBoxBytes + kValues * 2 + 8 * 13),
           before_of(p.z, p.rows, p.groups), keeps_h ? wide_of(p.h, p.rows, p.groups) : TensorMap{},
           behind_of(p.w, p.rows, p.groups), core_of(p.b, p.groups), wide_of(p.a, kHiddenInner, p.groups),
           Arguments{static_cast<std::int32_t>(tiles), numbers_from(p.numbers)});
}

void run(Gpu& gpu, const HiddenFunctions& f, const HiddenGradients& p) {
    struct Arguments {
        std::int32_t tiles, groups;
        void *da, *db;
        Numbers numbers;
    };
    const Gpu::Scope scope(gpu);
    const Kernel& kernel = gpu.printed(
        text("hidden gradients ", name(p.dtype), " ", key_of(f)), [&] { return hidden_gradients_unit(f, p.dtype); },
        "hidden_gradients");
    constexpr std::int64_t kBoxes = 4 + 3 * 4 + 2 * 2 + 2;  // as in hidden_gradients.cu
    const auto found = static_cast<std::int64_t>(4 * table_of(*f.slope, slope_scalars(f))->found.size());
    launch(gpu, kernel, launch_of(p.groups, 1, kBoxes * kBoxBytes + kValues * (found + 2) + 8 * 11),
           behind_of(p.dw, p.rows, p.groups), before_of(p.z, p.rows, p.groups), wide_of(p.h, p.rows, p.groups),
           before_of(p.dz, p.rows, p.groups), core_of(p.b, p.groups), wide_of(p.a, kHiddenInner, p.groups),
           Arguments{static_cast<std::int32_t>(p.rows / kRows), static_cast<std::int32_t>(p.groups), p.da, p.db,
                     numbers_from(p.numbers)});
}

}  // namespace tenon::cuda
