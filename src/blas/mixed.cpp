#include "blas/mixed.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>

#include "product/dense/scratch.h"
#include "product/overlap.h"
#include "tenon/product.h"

namespace tenon::blas {
namespace {

using product::Matrix;
using product::dense::Scratch;

Matrix matrix(DType type, const void* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, char op) {
    const bool transposed = transposes(op);
    const Matrix m{const_cast<void*>(data), type, transposed ? columns : rows, transposed ? rows : columns, 1, ld, 0};
    return transposed ? m.transpose() : m;
}

bool accepts_gemm(const Caller& caller, int shift, bool offset, char transa, char transb, std::int64_t m,
                  std::int64_t n, std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t ldc) {
    // With an offset there is one argument more before m, and one after each operand.
    return accepts(caller, {{1, transa != 0},
                            {2, transb != 0},
                            {3, offset},
                            {3 + shift, m >= 0},
                            {4 + shift, n >= 0},
                            {5 + shift, k >= 0},
                            {8 + shift, holds_rows(lda, transposes(transa) ? k : m)},
                            {10 + 2 * shift, holds_rows(ldb, transposes(transb) ? n : k)},
                            {13 + 3 * shift, holds_rows(ldc, m)}});
}

/// An operand or, if it shares memory with the result, a copy that is made before the result changes.
class Operand {
  public:
    Operand(const Matrix& stored, const Matrix& result) : matrix_(stored) {
        if (!product::share_memory(stored, result, 1)) return;
        const auto size = static_cast<std::int64_t>(size_of(stored.dtype));
        const bool by_rows = stored.column_stride == 1;
        const std::int64_t lines = by_rows ? stored.rows : stored.columns;
        const std::int64_t length = by_rows ? stored.columns : stored.rows;
        std::int64_t& ld = by_rows ? matrix_.row_stride : matrix_.column_stride;
        copy_.emplace(static_cast<std::size_t>(lines * length * size));
        for (std::int64_t i = 0; i < lines; ++i)
            std::memcpy(copy_->data() + i * length * size, static_cast<const std::byte*>(stored.data) + i * ld * size,
                        static_cast<std::size_t>(length * size));
        matrix_.data = copy_->data(), ld = length;
    }
    const Matrix& matrix() const { return matrix_; }

  private:
    Matrix matrix_;
    std::optional<Scratch> copy_;
};

void multiply(const Matrix& left, const Matrix& right, const Matrix& out, const product::GemmOptions& options) {
    if (options.alpha == 0) return product::gemm(left, right, out, options);
    const Operand a(left, out), b(right, out);
    product::gemm(a.matrix(), b.matrix(), out, options);
}

std::int32_t saturated(double x) {
    constexpr double kLeast = std::numeric_limits<std::int32_t>::min(),
                     kMost = std::numeric_limits<std::int32_t>::max();
    return std::isnan(x) ? 0 : static_cast<std::int32_t>(std::clamp(std::nearbyint(x), kLeast, kMost));
}

}  // namespace

void gemm_bfloat16(const Caller& caller, char transa, char transb, std::int64_t m, std::int64_t n, std::int64_t k,
                   float alpha, const void* a, std::int64_t lda, const void* b, std::int64_t ldb, float beta,
                   DType c_type, void* c, std::int64_t ldc) {
    if (!accepts_gemm(caller, 0, true, transa, transb, m, n, k, lda, ldb, ldc)) return;
    if (m == 0 || n == 0 || ((alpha == 0 || k == 0) && beta == 1)) return;
    multiply(matrix(DType::bfloat16, a, m, k, lda, transa), matrix(DType::bfloat16, b, k, n, ldb, transb),
             matrix(c_type, c, m, n, ldc, 'N'), {.alpha = alpha, .beta = beta});
}

void gemm_int8(const Caller& caller, char transa, char transb, char offset, std::int64_t m, std::int64_t n,
               std::int64_t k, float alpha, DType a_type, const void* a, std::int64_t lda, int ao, DType b_type,
               const void* b, std::int64_t ldb, int bo, float beta, std::int32_t* c, std::int64_t ldc,
               const std::int32_t* oc) {
    if (!accepts_gemm(caller, 1, offset != 0, transa, transb, m, n, k, lda, ldb, ldc)) return;
    if (m == 0 || n == 0) return;
    const Matrix left = matrix(a_type, a, m, k, lda, transa), right = matrix(b_type, b, k, n, ldb, transb);
    Matrix sums = matrix(DType::int32, c, m, n, ldc, 'N');
    const bool scales = alpha != 1 || beta != 0;
    std::optional<Scratch> room;
    if (scales) {
        room.emplace(static_cast<std::size_t>(m * n) * sizeof(std::int32_t));
        sums = matrix(DType::int32, room->data(), m, n, m, 'N');
    }
    if (alpha == 0)
        std::fill_n(static_cast<std::int32_t*>(sums.data), m * n, 0);
    else
        multiply(left, right, sums, {.zero_a = -ao, .zero_b = -bo});
    const auto* from = static_cast<const std::int32_t*>(sums.data);
    const std::int64_t row = offset == 'C' ? 1 : 0, column = offset == 'R' ? 1 : 0;
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = 0; i < m; ++i) {
            const std::int32_t plus = oc[i * row + j * column], sum = from[i + j * sums.column_stride];
            std::int32_t& out = c[i + j * ldc];
            if (scales)
                out = saturated(static_cast<double>(alpha) * sum + (beta == 0 ? 0.0 : static_cast<double>(beta) * out) +
                                plus);
            else  // modulo 2^32, like the sum
                out = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum) + static_cast<std::uint32_t>(plus));
        }
}

}  // namespace tenon::blas
