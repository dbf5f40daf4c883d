// The function of hidden values that tests use, with its slope.
#pragma once

#include "cuda/chain/hidden.h"

namespace tenon::cuda::testing {

/// v = h s erf(h) and dh = dv (exp(-h h) + t erf(h)), with numbers s and t. The second is not the derivative of the
/// first, which the kernels do not require.
inline HiddenFunctions functions() {
    using tape::Opcode;
    constexpr DType h = DType::bfloat16, f = DType::float32;
    HiddenFunctions all;
    all.value = {{h, f},
                 {{Opcode::cast, h, f, {0, 0, 0}},
                  {Opcode::erf, f, f, {2, 0, 0}},
                  {Opcode::multiply, f, f, {2, 1, 0}},
                  {Opcode::multiply, f, f, {3, 4, 0}},
                  {Opcode::cast, f, h, {5, 0, 0}}},
                 {6}};
    all.value_numbers = {0}, all.slope_numbers = {1};
    all.slope = tape::Tape{{h, h, f},
                           {{Opcode::cast, h, f, {0, 0, 0}},  // 3: h
                            {Opcode::cast, h, f, {1, 0, 0}},  // 4: dv
                            {Opcode::erf, f, f, {3, 0, 0}},
                            {Opcode::multiply, f, f, {5, 2, 0}},  // 6
                            {Opcode::multiply, f, f, {3, 3, 0}},
                            {Opcode::negative, f, f, {7, 0, 0}},
                            {Opcode::exp, f, f, {8, 0, 0}},  // 9
                            {Opcode::multiply, f, f, {4, 9, 0}},
                            {Opcode::multiply, f, f, {4, 6, 0}},
                            {Opcode::add, f, f, {10, 11, 0}},
                            {Opcode::cast, f, h, {12, 0, 0}}},
                           {13}};
    return all;
}

}  // namespace tenon::cuda::testing
