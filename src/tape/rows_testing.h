// What tests of tapes over rows share: a tape that has every sort of step.
#pragma once

#include "tape/rows.h"

namespace tenon::tape::testing {

/// x + bias less its largest (or its sum) along a row, a function of that, and each row times its number over the sum
/// of the function: softmax(x + bias) * rows with max and exp. Registers 3, 8 and 11 hold the sum x + bias, the rows'
/// sums and the result; the caller says which are outputs.
inline RowTape scaled_rows(DType f, Reduction first, Opcode function) {
    using Kind = RowTape::Kind;
    RowTape t;
    t.inputs = {{f, false}, {f, false}, {f, true}};
    const auto apply = [&](Opcode op, std::uint8_t a, std::uint8_t b = 0) {
        t.code.push_back({Kind::apply, false, {}, {op, f, f, {a, b, 0}}});
    };
    const auto row = [&](Kind kind, Reduction r, std::uint8_t a) {
        t.code.push_back({kind, kind == Kind::reduce, r, {{}, f, f, {a, 0, 0}}});
    };
    apply(Opcode::add, 0, 1);  // r3
    row(Kind::reduce, first, 3);  // r4
    row(Kind::repeat, {}, 4);  // r5
    apply(Opcode::subtract, 3, 5);  // r6
    apply(function, 6);  // r7
    row(Kind::reduce, Reduction::sum, 7);  // r8
    t.code.push_back({Kind::apply, true, {}, {Opcode::divide, f, f, {2, 8, 0}}});  // r9
    row(Kind::repeat, {}, 9);  // r10
    apply(Opcode::multiply, 7, 10);  // r11
    return t;
}

}  // namespace tenon::tape::testing
