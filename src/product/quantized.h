// The last step of a product of 8-bit integers whose output is not the sums themselves: scales, bias and rounding, as
// the tape that tenon/product.h describes (Quantization).
#pragma once

#include "product/epilogue.h"
#include "tenon/product.h"

namespace tenon::product {

/// Whether the product needs this step: 8-bit integers into anything except int32.
bool is_scaled(DType a, DType c);

/// An epilogue for the roles of a product of matrices. It holds pointers into itself and to the caller's scales and
/// bias.
class Scaling {
  public:
    Scaling(DType c, const Quantization& q);
    Scaling(const Scaling&) = delete;
    Scaling& operator=(const Scaling&) = delete;

    const LoweredEpilogue* epilogue() const { return &lowered_; }

  private:
    std::uint8_t input(const float* data, std::int64_t row, std::int64_t column);
    std::uint8_t step(tape::Opcode op, DType from, DType to, std::uint8_t x, std::uint8_t y = 0);

    Quantization q_;
    float zero_c_;
    tape::Tape tape_;
    LoweredEpilogue lowered_;
};

/// Calls f(epilogue): that of Scaling if the product needs one, otherwise null.
template <class F>
auto with_scaling(const Matrix& a, const Matrix& c, const GemmOptions& options, F f) {
    if (!is_scaled(a.dtype, c.dtype)) return f(static_cast<const LoweredEpilogue*>(nullptr));
    const Scaling scaling(c.dtype, options.quantization);
    return f(scaling.epilogue());
}

}  // namespace tenon::product
