#include "tape/opcode.h"

namespace tenon::tape {
namespace {

struct Row {
    std::string_view name;
    int arity;
    char types;
};

constexpr Row kRows[] = {
#define X(op, arity, types) {#op, arity, #types[0]},
    TENON_OPCODES(X)
#undef X
};

const Row& row(Opcode op) { return kRows[static_cast<int>(op)]; }

}  // namespace

std::string_view name(Opcode op) { return row(op).name; }

int arity(Opcode op) { return row(op).arity; }

bool accepts(Opcode op, DType type) {
    const char types = row(op).types;
    if (is_floating(type)) return types == 'F' || types == 'N' || types == 'A';
    if (is_integer(type)) return types != 'F' && types != 'B';
    return type == DType::boolean && (types == 'B' || types == 'J' || types == 'A');
}

DType result_type(Opcode op, DType operand) {
    const bool predicate = op == Opcode::isnan || op == Opcode::isfinite || op == Opcode::equal ||
                           op == Opcode::not_equal || op == Opcode::less || op == Opcode::less_equal;
    return predicate ? DType::boolean : operand;
}

}  // namespace tenon::tape
