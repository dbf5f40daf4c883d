#include "cuda/print_tape.h"

#include "base/text.h"

namespace tenon::cuda {
namespace {

/// The register's declared type is what memory holds.
std::string stored(DType type) { return text("Stored<", type_name(type), ">"); }

std::string load(Along along, DType type, const std::string& address, const std::string& stride) {
    const std::string arguments = text("<", stored(type), ", kWidth>(", address);
    switch (along) {
        case Along::contiguous:
            return text("load_pack", arguments, ", valid)");
        case Along::repeated:
            return text("load_repeated", arguments, ")");
        default:
            return text("load_strided", arguments, ", ", stride, ", valid)");
    }
}

}  // namespace

std::string type_name(DType type) {
    return text("DType::", type == DType::boolean ? std::string_view("boolean") : name(type));
}

std::string expression(const tape::Instruction& code, const std::vector<std::string>& registers) {
    using tape::Opcode;
    std::string operands;
    for (int i = 0; i < tape::arity(code.op); ++i) operands += text(i ? ", " : "", registers[code.operands[i]]);
    const std::string type = type_name(code.type);
    switch (code.op) {
        case Opcode::cast:
            return text("convert<", type, ", ", type_name(code.result), ">(", operands, ")");
        case Opcode::select:
            return text("tenon::cuda::select<", type, ">(", operands, ")");
        case Opcode::fma:
            return text("fused<", type, ">(", operands, ")");
        default:
            return text("apply<Opcode::", name(code.op), ", ", type, ">(", operands, ")");
    }
}

std::string print(const tape::Tape& tape, const LoopForm& form) {
    std::ostringstream out;
    const std::size_t outputs = tape.outputs.size(), inputs = tape.inputs.size();
    out << "#include \"cuda/tape.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n\n"
        << "constexpr int kRank = " << form.rank << ", kWidth = " << form.width << ", kOperands = " << outputs + inputs
        << ";\nusing Index = " << (form.wide_index ? "unsigned long long" : "unsigned") << ";\n"
        << R"(struct Operand {
    void* data;
    long long strides[kRank];
};
struct Parameters {
    unsigned long long extents[kRank], row_groups, groups;
    Operand operands[kOperands];
};

extern "C" __global__ void __launch_bounds__()"
        << kLoopThreads
        << ") run(const __grid_constant__ Parameters p) {\n    const Index group = static_cast<Index>(blockIdx.x) * "
        << kLoopThreads << "u + threadIdx.x;\n    if (group >= static_cast<Index>(p.groups)) return;\n"
        << "    Index rest = group / static_cast<Index>(p.row_groups);\n    const long long i" << form.rank - 1
        << " = static_cast<long long>(group - rest * static_cast<Index>(p.row_groups)) * kWidth;\n";
    for (int d = form.rank - 2; d >= 0; --d) {
        if (d == 0)
            out << "    const long long i0 = rest;\n";
        else
            out << "    const long long i" << d << " = rest % static_cast<Index>(p.extents[" << d
                << "]);\n    rest /= static_cast<Index>(p.extents[" << d << "]);\n";
    }
    out << "    const long long left = static_cast<long long>(p.extents[kRank - 1]) - i" << form.rank - 1
        << ";\n    const int valid = left < kWidth ? static_cast<int>(left) : kWidth;\n";
    const auto address = [&](std::size_t operand, DType type) {
        std::string sum;
        for (int d = 0; d < form.rank; ++d)
            sum += text(d ? " + " : "", "i", d, " * p.operands[", operand, "].strides[", d, "]");
        return text("static_cast<", stored(type), "*>(p.operands[", operand, "].data) + ", sum);
    };
    const auto stride = [&](std::size_t operand) { return text("p.operands[", operand, "].strides[kRank - 1]"); };
    for (std::size_t i = 0; i < inputs; ++i)
        out << "    const auto x" << i << " = "
            << load(form.operands[outputs + i], tape.inputs[i], address(outputs + i, tape.inputs[i]),
                    stride(outputs + i))
            << ";\n";
    for (std::size_t o = 0; o < outputs; ++o)
        out << "    Pack<" << stored(tape::type_of(tape, tape.outputs[o])) << ", kWidth> y" << o << ";\n";
    out << "#pragma unroll\n    for (int j = 0; j < kWidth; ++j) {\n";
    std::vector<std::string> registers;
    for (std::size_t i = 0; i < inputs; ++i) registers.push_back(text("x", i, ".at[j]"));
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        out << "        const " << stored(tape.code[k].result) << " r" << inputs + k << " = "
            << expression(tape.code[k], registers) << ";\n";
        registers.push_back(text("r", inputs + k));
    }
    for (std::size_t o = 0; o < outputs; ++o)
        out << "        y" << o << ".at[j] = " << registers[tape.outputs[o]] << ";\n";
    out << "    }\n";
    for (std::size_t o = 0; o < outputs; ++o) {
        const DType type = tape::type_of(tape, tape.outputs[o]);
        if (form.operands[o] == Along::contiguous)
            out << "    store_pack(" << address(o, type) << ", y" << o << ", valid);\n";
        else
            out << "    store_strided(" << address(o, type) << ", " << stride(o) << ", y" << o << ", valid);\n";
    }
    out << "}\n";
    return std::move(out).str();
}

}  // namespace tenon::cuda
