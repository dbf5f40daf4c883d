#include "tape/tape.h"

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::tape {

DType type_of(const Tape& tape, std::size_t reg) {
    const std::size_t inputs = tape.inputs.size();
    return reg < inputs ? tape.inputs[reg] : tape.code.at(reg - inputs).result;
}

Tape single(Opcode op, std::span<const DType> inputs, DType result) {
    if (static_cast<int>(inputs.size()) != arity(op))
        throw TypeError(text("tape: ", name(op), " takes ", arity(op), " operands, not ", inputs.size()));
    Tape tape;
    tape.inputs.assign(inputs.begin(), inputs.end());
    Instruction code{op, inputs[op == Opcode::select ? 1 : 0], result};
    for (std::uint8_t i = 0; i < inputs.size(); ++i) code.operands[i] = i;
    tape.code.push_back(code);
    tape.outputs.push_back(static_cast<std::uint8_t>(inputs.size()));
    return tape;
}

std::string to_string(const Tape& tape) {
    std::ostringstream out = classic_stream();
    std::size_t r = 0;
    for (const DType type : tape.inputs) out << "r" << r++ << ":" << name(type) << " = input\n";
    for (const Instruction& code : tape.code) {
        out << "r" << r++ << ":" << name(code.result) << " = " << name(code.op);
        for (int i = 0; i < arity(code.op); ++i) out << " r" << int{code.operands[i]};
        out << "\n";
    }
    for (const std::uint8_t output : tape.outputs) out << "output r" << int{output} << "\n";
    return std::move(out).str();
}

}  // namespace tenon::tape
