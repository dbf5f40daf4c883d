#include "cuda/print_tape.h"

#include "base/text.h"

namespace tenon::cuda {
namespace {

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

std::string stored(DType type) { return text("Stored<", type_name(type), ">"); }

std::string expression(const tape::Instruction& code, const std::vector<std::string>& registers, bool wide) {
    using tape::Opcode;
    std::string operands;
    for (int i = 0; i < tape::arity(code.op); ++i) operands += text(i ? ", " : "", registers[code.operands[i]]);
    const std::string type = type_name(code.type), end = text(">(", operands, ")");
    const char* const how = wide ? "_wide<" : "<";
    switch (code.op) {
        case Opcode::cast:
            return text("convert", how, type, ", ", type_name(code.result), end);
        case Opcode::select:
            return text("tenon::cuda::select", how, type, end);
        case Opcode::fma:
            return text("fused", how, type, end);
        default:
            return text("apply", how, "Opcode::", name(code.op), ", ", type, end);
    }
}

namespace {

class LoopPrinter {
  public:
    LoopPrinter(const tape::Tape& tape, const LoopForm& form)
        : tape_(tape), form_(form), outputs_(tape.outputs.size()), inputs_(tape.inputs.size()) {}

    std::string print() {
        head();
        if (form_.tile_axis < 0) {
            place();
            body("    ");
        } else {
            tiles();
        }
        out_ << "}\n";
        return std::move(out_).str();
    }

  private:
    int last() const { return form_.rank - 1; }

    void head() {
        out_ << "#include \"cuda/wide.cuh\"\nusing namespace tenon;\nusing namespace tenon::cuda;\n\n"
             << "constexpr int kRank = " << form_.rank << ", kWidth = " << form_.width
             << ", kOperands = " << outputs_ + inputs_ << ", kTile = " << kTile
             << ";\nusing Index = " << (form_.wide_index ? "unsigned long long" : "unsigned") << ";\n"
             << R"(struct Operand {
    void* data;
    long long strides[kRank];
};
struct Parameters {
    unsigned long long extents[kRank], row_groups, groups;
    Operand operands[kOperands];
};

extern "C" __global__ void __launch_bounds__()"
             << kLoopThreads << ") run(const __grid_constant__ Parameters p) {\n    wait_for_turn();\n";
    }

    /// Prints how the rest of the index is split into the indices of the given axes, those outside a row or a tile.
    void outer(const std::vector<int>& axes) {
        for (std::size_t i = axes.size(); i-- > 0;) {
            const int d = axes[i];
            if (i == 0)
                out_ << "    const long long i" << d << " = rest;\n";
            else
                out_ << "    const long long i" << d << " = rest % static_cast<Index>(p.extents[" << d
                     << "]);\n    rest /= static_cast<Index>(p.extents[" << d << "]);\n";
        }
    }

    void place() {
        out_ << "    const Index group = static_cast<Index>(blockIdx.x) * " << kLoopThreads
             << "u + threadIdx.x;\n    if (group >= static_cast<Index>(p.groups)) return;\n"
             << "    Index rest = group / static_cast<Index>(p.row_groups);\n    const long long i" << last()
             << " = static_cast<long long>(group - rest * static_cast<Index>(p.row_groups)) * kWidth;\n";
        std::vector<int> axes;
        for (int d = 0; d < last(); ++d) axes.push_back(d);
        outer(axes);
    }

    /// Prints the loop over squares. Transposed inputs are loaded along the tile axis into shared memory, with a line
    /// for each index of the last axis, and then read across the lines. Padding of the lines avoids bank conflicts.
    void tiles() {
        const int r = form_.tile_axis;
        out_ << "    constexpr int kSide = kTile / kWidth, kPitch = kTile + (kWidth > 1 ? kWidth : 1), kEach = kTile * "
                "kSide / "
             << kLoopThreads
             << ";\n    const Index tiles = (static_cast<Index>(p.extents[kRank - 1]) + kTile - 1) / kTile,"
             << " across = (static_cast<Index>(p.extents[" << r << "]) + kTile - 1) / kTile;\n"
             << "    Index rest = static_cast<Index>(blockIdx.x);\n"
             << "    const long long first = static_cast<long long>(rest % tiles) * kTile;\n    rest /= tiles;\n"
             << "    const long long first_across = static_cast<long long>(rest % across) * kTile;\n    rest /= "
                "across;\n";
        std::vector<int> axes;
        for (int d = 0; d < last(); ++d)
            if (d != r) axes.push_back(d);
        outer(axes);
        for (std::size_t i = 0; i < inputs_; ++i) {
            if (form_.operands[outputs_ + i] != Along::transposed) continue;
            const std::string type = stored(tape_.inputs[i]);
            out_ << "    __shared__ " << type << " t" << i << "[kTile * kPitch];\n    {\n        Pack<" << type
                 << ", kWidth> packs[kEach];\n#pragma unroll\n        for (int e = 0; e < kEach; ++e) {\n"
                 << "            const int item = e * " << kLoopThreads
                 << " + threadIdx.x;\n            const long long i" << r
                 << " = first_across + item % kSide * kWidth, i" << last() << " = first + item / kSide, left = i"
                 << last() << " < static_cast<long long>(p.extents[kRank - 1]) ? static_cast<long long>(p.extents[" << r
                 << "]) - i" << r << " : 0;\n            packs[e] = load_pack<" << type << ", kWidth>("
                 << address(outputs_ + i, tape_.inputs[i])
                 << ", left < 0 ? 0 : left < kWidth ? static_cast<int>(left) : kWidth);\n        }\n"
                 << "#pragma unroll\n        for (int e = 0; e < kEach; ++e) {\n            const int item = e * "
                 << kLoopThreads << " + threadIdx.x;\n            store_pack<" << type << ", kWidth>(t" << i
                 << " + item / kSide * kPitch + item % kSide * kWidth, packs[e]);\n        }\n    }\n";
        }
        out_ << "    __syncthreads();\n#pragma unroll 4\n    for (int e = 0; e < kEach; ++e) {\n        const int item "
                "= e * "
             << kLoopThreads << " + threadIdx.x, column = item % kSide * kWidth, line = item / kSide;\n"
             << "        const long long i" << last() << " = first + column, i" << r << " = first_across + line;\n"
             << "        if (i" << last() << " >= static_cast<long long>(p.extents[kRank - 1]) || i" << r
             << " >= static_cast<long long>(p.extents[" << r << "])) continue;\n";
        body("        ");
        out_ << "    }\n";
    }

    std::string address(std::size_t operand, DType type) const {
        std::string sum;
        for (int d = 0; d < form_.rank; ++d)
            sum += text(d ? " + " : "", "i", d, " * p.operands[", operand, "].strides[", d, "]");
        return text("static_cast<", stored(type), "*>(p.operands[", operand, "].data) + ", sum);
    }
    static std::string stride(std::size_t operand) { return text("p.operands[", operand, "].strides[kRank - 1]"); }

    /// Prints how a group's elements are loaded, computed and stored.
    void body(const char* indent) {
        out_ << indent << "const long long left = static_cast<long long>(p.extents[kRank - 1]) - i" << last() << ";\n"
             << indent << "const int valid = left < kWidth ? static_cast<int>(left) : kWidth;\n";
        for (std::size_t i = 0; i < inputs_; ++i) {
            const DType type = tape_.inputs[i];
            const Along along = form_.operands[outputs_ + i];
            const std::string from = along == Along::transposed
                                         ? text("load_strided<", stored(type), ", kWidth>(t", i,
                                                " + column * kPitch + line, kPitch, kWidth)")
                                         : load(along, type, address(outputs_ + i, type), stride(outputs_ + i));
            out_ << indent << "const auto x" << i << " = " << from << ";\n";
        }
        for (std::size_t o = 0; o < outputs_; ++o)
            out_ << indent << "Pack<" << stored(tape::type_of(tape_, tape_.outputs[o])) << ", kWidth> y" << o << ";\n";
        out_ << "#pragma unroll\n" << indent << "for (int j = 0; j < kWidth; ++j) {\n";
        std::vector<std::string> registers;
        for (std::size_t i = 0; i < inputs_; ++i)
            registers.push_back(text("widen<", type_name(tape_.inputs[i]), ">(x", i, ".at[j])"));
        for (std::size_t k = 0; k < tape_.code.size(); ++k) {
            out_ << indent << "    const Wide<" << type_name(tape_.code[k].result) << "> r" << inputs_ + k << " = "
                 << expression(tape_.code[k], registers, true) << ";\n";
            registers.push_back(text("r", inputs_ + k));
        }
        for (std::size_t o = 0; o < outputs_; ++o)
            out_ << indent << "    y" << o << ".at[j] = narrow<" << type_name(tape::type_of(tape_, tape_.outputs[o]))
                 << ">(" << registers[tape_.outputs[o]] << ");\n";
        out_ << indent << "}\n";
        for (std::size_t o = 0; o < outputs_; ++o) {
            const DType type = tape::type_of(tape_, tape_.outputs[o]);
            if (form_.operands[o] == Along::contiguous)
                out_ << indent << "store_pack(" << address(o, type) << ", y" << o << ", valid);\n";
            else
                out_ << indent << "store_strided(" << address(o, type) << ", " << stride(o) << ", y" << o
                     << ", valid);\n";
        }
    }

    const tape::Tape& tape_;
    const LoopForm& form_;
    std::size_t outputs_, inputs_;
    std::ostringstream out_ = classic_stream();
};

}  // namespace

std::string print(const tape::Tape& tape, const LoopForm& form) { return LoopPrinter(tape, form).print(); }

std::string words_of(const tape::RowTape& tape) {
    std::string words;
    for (const tape::RowTape::Input& i : tape.inputs) words += text(' ', static_cast<int>(i.type), i.per_row);
    for (const tape::RowTape::Code& c : tape.code) {
        const tape::Instruction& n = c.instruction;
        for (const int word : {static_cast<int>(c.kind), int{c.per_row}, static_cast<int>(c.reduction),
                               static_cast<int>(n.op), static_cast<int>(n.type), static_cast<int>(n.result),
                               int{n.operands[0]}, int{n.operands[1]}, int{n.operands[2]}})
            words += static_cast<char>(word);
    }
    for (const std::uint8_t o : tape.outputs) words += static_cast<char>(o);
    return words;
}

std::string words_of(const tape::Tape& tape) {
    std::string words;
    for (const DType t : tape.inputs) words += static_cast<char>('A' + static_cast<int>(t));
    words += ';';
    for (const tape::Instruction& c : tape.code)
        for (const int word : {static_cast<int>(c.op), static_cast<int>(c.type), static_cast<int>(c.result),
                               int{c.operands[0]}, int{c.operands[1]}, int{c.operands[2]}})
            words += static_cast<char>(word);
    words += ';';
    for (const std::uint8_t o : tape.outputs) words += static_cast<char>(o);
    return words;
}

}  // namespace tenon::cuda
