#include "product/quantized.h"

#include "product/axes.h"

namespace tenon::product {
namespace {

constexpr DType kFloat = DType::float32;

}  // namespace

bool is_scaled(DType a, DType c) { return is_byte(a) && c != DType::int32; }

/// In a tape, inputs are numbered before instructions, so all are declared first. A factor of 1 changes no bit and is
/// left out.
Scaling::Scaling(DType c, const Quantization& q) : q_(q), zero_c_(static_cast<float>(q.zero_c)) {
    constexpr std::uint8_t kNone = 0;  // register 0 is the sum
    tape_.inputs = {DType::int32};
    const auto factor = [&](const float* each, const float& one, std::int64_t row, std::int64_t column) {
        return each ? input(each, row, column) : one != 1 ? input(&one, 0, 0) : kNone;
    };
    const std::uint8_t scale_a = factor(q_.scales_a, q_.scale_a, 1, 0), scale_b = factor(q_.scales_b, q_.scale_b, 0, 1),
                       bias = q_.bias ? input(q_.bias, 0, 1) : kNone, scale_c = factor(nullptr, q_.scale_c, 0, 0),
                       zero_c = q_.zero_c != 0 ? input(&zero_c_, 0, 0) : kNone;

    using tape::Opcode;
    std::uint8_t x = step(Opcode::cast, DType::int32, kFloat, 0);
    if (scale_a != kNone) x = step(Opcode::multiply, kFloat, kFloat, x, scale_a);
    if (scale_b != kNone) x = step(Opcode::multiply, kFloat, kFloat, x, scale_b);
    if (bias != kNone) x = step(Opcode::add, kFloat, kFloat, x, bias);
    if (is_byte(c)) {
        if (scale_c != kNone) x = step(Opcode::divide, kFloat, kFloat, x, scale_c);
        x = step(Opcode::round, kFloat, kFloat, x);
        if (zero_c != kNone) x = step(Opcode::add, kFloat, kFloat, x, zero_c);
    }
    if (c != kFloat) x = step(Opcode::cast, kFloat, c, x);
    tape_.outputs = {x};
    lowered_.tape = &tape_;
}

std::uint8_t Scaling::input(const float* data, std::int64_t row, std::int64_t column) {
    lowered_.inputs[lowered_.count++] = {const_cast<float*>(data), kFloat, 0, row, column};
    tape_.inputs.push_back(kFloat);
    return static_cast<std::uint8_t>(tape_.inputs.size() - 1);
}

std::uint8_t Scaling::step(tape::Opcode op, DType from, DType to, std::uint8_t x, std::uint8_t y) {
    tape_.code.push_back({op, from, to, {x, y, 0}});
    return static_cast<std::uint8_t>(tape_.inputs.size() + tape_.code.size() - 1);
}

}  // namespace tenon::product
