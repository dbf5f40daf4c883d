#include <sstream>

#include "base/text.h"
#include "cuda/print_tape.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {
namespace {

std::string load(Along along, const std::string& type, std::size_t operand) {
    const std::string at = text("static_cast<const ", type, "*>(p.operands[", operand,
                                "].data) + offset_of(p, p.operands[", operand, "], row)");
    if (along == Along::repeated) return text("load_repeated<", type, ", kWidth>(", at, ")");
    if (along == Along::contiguous) return text("load_pack<", type, ", kWidth>(", at, " + column)");
    return text("load_strided<", type, ", kWidth>(", at, " + column * p.operands[", operand, "].column, p.operands[",
                operand, "].column, kWidth)");
}

}  // namespace

/// In the kernel, a thread has one of the 64 lanes of a chunk for kWidth columns. `block_rows` is the number of chunks.
std::string print(const tape::Tape& tape, const ColumnForm& form) {
    std::ostringstream out = classic_stream();
    const auto line = [&](const auto&... parts) { out << text(parts..., "\n"); };
    const std::size_t sums = tape.outputs.size();
    const auto type = [&](std::size_t sum) { return type_name(tape::type_of(tape, tape.outputs[sum])); };
    line("#include \"cuda/wide.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n\nconstexpr int kAxes = ",
         form.axes, ", kWidth = ", form.width, ", kLanesOfBlock = ", form.lanes,
         ", kOperands = ", sums + tape.inputs.size(), ";");
    out << kRowParameters << R"(
extern "C" __global__ void __launch_bounds__(32 * kLanesOfBlock) run(const __grid_constant__ Parameters p) {
    wait_for_turn();
    constexpr int kBlocksOfChunk = kLanes / kLanesOfBlock;
    const long long rest = blockIdx.x / kBlocksOfChunk, chunk = rest % p.block_rows,
                    column = (rest / p.block_rows * 32 + threadIdx.x % 32) * kWidth, begin = chunk * kChunk;
    const int lane = blockIdx.x % kBlocksOfChunk * kLanesOfBlock + threadIdx.x / 32;
    if (column >= p.columns) return;
    const int n = static_cast<int>(p.rows - begin < kChunk ? p.rows - begin : kChunk);
)";
    for (std::size_t s = 0; s < sums; ++s)
        line("    Accumulator<", type(s), "> a", s, "[kWidth];\n#pragma unroll\n    for (int j = 0; j < kWidth; ++j) a",
             s, "[j] = neutral<Reduction::sum, Accumulator<", type(s), ">>();");
    line("#pragma unroll 4\n    for (int i = lane; i < n; i += kLanes) {\n        const long long row = begin + i;");
    std::vector<std::string> registers;
    for (std::size_t i = 0; i < tape.inputs.size(); ++i) {
        line("        const auto x", i, " = ", load(form.inputs[i], stored(tape.inputs[i]), sums + i), ";");
        registers.push_back(text("widen<", type_name(tape.inputs[i]), ">(x", i, ".at[j])"));
    }
    line("#pragma unroll\n        for (int j = 0; j < kWidth; ++j) {");
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        const std::string name = text("r", tape.inputs.size() + k);
        line("            const Wide<", type_name(tape.code[k].result), "> ", name, " = ",
             expression(tape.code[k], registers, true), ";");
        registers.push_back(name);
    }
    for (std::size_t s = 0; s < sums; ++s)
        line("            a", s, "[j] = combine<Reduction::sum>(a", s, "[j], accumulable<", type(s), ">(",
             registers[tape.outputs[s]], "));");
    line("        }\n    }");
    for (std::size_t s = 0; s < sums; ++s)
        line("#pragma unroll\n    for (int j = 0; j < kWidth; ++j)\n        static_cast<Accumulator<", type(s),
             ">*>(p.operands[", s, "].data)[(chunk * kLanes + lane) * p.columns + column + j] = a", s, "[j];");
    line("}");
    return std::move(out).str();
}

}  // namespace tenon::cuda
