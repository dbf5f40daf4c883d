// Matrix products without a graph, on memory that the caller owns: C = alpha A B + beta C.
//
// The bits of an element of C depend on the summed extent, its operands' values and the dtypes alone: not on threads,
// strides, packing, the batch, the instruction set or which kernel ran (docs/products.md states the order).
//
// ```cpp
// const std::vector<float> a(2 * 3, 2.0f), weights(4 * 3, 0.5f);  // weights are stored (out, in)
// std::vector<float> c(2 * 4), again(2 * 4);
// const product::Matrix left = product::row_major(a.data(), DType::float32, 2, 3);
// const product::Matrix right = product::row_major(weights.data(), DType::float32, 4, 3).transpose();
// product::gemm(left, right, product::row_major(c.data(), DType::float32, 2, 4), {.alpha = 2});
// assert(c[0] == 6.0f);
//
// const product::PackedMatrix packed = product::pack(right);  // once, for many products
// product::gemm(left, packed, product::row_major(again.data(), DType::float32, 2, 4), {.alpha = 2});
// assert(again == c);
// ```
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tenon/dtype.h"
#include "tenon/export.h"

namespace tenon::product {

/// A matrix in memory, or a batch of equal ones. Strides count elements and may have any sign; an operand's may be 0
/// (a repeated row, column or matrix), an output's may not. A transpose is the same memory with extents and strides
/// exchanged. Operands are only read.
struct Matrix {
    void* data = nullptr;
    DType dtype = DType::float32;
    std::int64_t rows = 0, columns = 0;
    std::int64_t row_stride = 0, column_stride = 1;
    std::int64_t batch_stride = 0;

    Matrix transpose() const { return {data, dtype, columns, rows, column_stride, row_stride, batch_stride}; }
};

/// Rows one after the other.
inline Matrix row_major(const void* data, DType dtype, std::int64_t rows, std::int64_t columns) {
    // Unsigned, since a product has to refuse extents whose product does not fit, after this.
    const auto elements = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(columns);
    return {const_cast<void*>(data), dtype, rows, columns, columns, 1, static_cast<std::int64_t>(elements)};
}

/// Quantized products: 8-bit integers that represent real numbers scale * (q - zero), as in oneDNN's matmul and ONNX's
/// QLinearMatMul. The zero points are those of GemmOptions. For element (i, j), whose sum over k is exact in int32:
///  1. x = the sum, rounded to float32; then x = x * scale_a, x = x * scale_b, x = x + bias[j], each rounded to
///     float32.
///  2. A floating-point C is x rounded to its dtype. A C of 8-bit integers, which stands for scale_c (c - zero_c), is
///     x / scale_c, rounded to float32 and then to an integer, ties to even, plus zero_c, saturated; of a NaN, 0.
/// The scales of a batch are the same for all its products. Arrays are read by the call that computes: those of
/// `prepare` must live as long as what it gave.
///
/// ```cpp
/// const std::vector<std::uint8_t> a{130, 126, 128, 129};  // (2, 2), around 128
/// const std::vector<std::int8_t> b{1, 2, 3, 4};
/// const std::vector<float> scales{0.5f, 0.25f};  // of the columns of b
/// std::vector<float> c(4);
/// product::gemm(product::row_major(a.data(), DType::uint8, 2, 2), product::row_major(b.data(), DType::int8, 2, 2),
///               product::row_major(c.data(), DType::float32, 2, 2),
///               {.zero_a = 128, .quantization = {.scale_a = 2, .scales_b = scales.data()}});
/// assert((c == std::vector<float>{-4, -2, 3, 2}));
/// ```
///
/// Error, u = 2^-24, S the exact integer sum: |x - (scale_a scale_b S + bias)| <= 3.01 u |scale_a scale_b S| + u |x|,
/// barring overflow and underflow; docs/products.md derives it, and the error of the quantization itself.
struct Quantization {
    /// Of A: one number, or scales_a[i] for each row i instead.
    float scale_a = 1;
    const float* scales_a = nullptr;
    /// Of B: one number, or scales_b[j] for each column j (the channels of a weight) instead.
    float scale_b = 1;
    const float* scales_b = nullptr;
    /// bias[j] for each column j; null for none.
    const float* bias = nullptr;
    /// For a C of 8-bit integers.
    float scale_c = 1;
    std::int32_t zero_c = 0;

    friend bool operator==(const Quantization&, const Quantization&) = default;
};

struct GemmOptions {
    /// As in BLAS: if beta is 0, C is not read; if alpha is 0, neither A nor B is. Applied once, after the sum, in the
    /// type of the sum: fma(alpha, sum, beta C), with the product beta C rounded first. Floating-point products only.
    double alpha = 1, beta = 0;
    /// Integer products only: the sum is over (a - zero_a) (b - zero_b). Instead of the numbers, zeros_a[i] for each
    /// row i of A, zeros_b[j] for each column j of B. Zero points of the operands' dtypes keep the sum within int32 up
    /// to k = 33,025 (without zero points, and for uint8 with int8: 65,793).
    std::int32_t zero_a = 0, zero_b = 0;
    const std::int32_t *zeros_a = nullptr, *zeros_b = nullptr;
    /// The number of products; matrix i of an operand starts batch_stride * i elements after the first.
    std::int64_t batch = 1;
    /// Integer products only, where C is not int32.
    Quantization quantization = {};
};

/// C = alpha A B + beta C. A is (m, k), B is (k, n), C is (m, n) and overlaps neither. A call is refused if C and an
/// operand overlap; this is not detected of matrices of which neither rows nor columns are contiguous, nor of batches
/// with gaps. If alpha is 0 they may overlap. A call is also refused if two elements of C, or of its batch, share
/// memory.
///
/// | A, B                             | summed in | C                                                      |
/// | float64; float32                 | the same  | the same                                               |
/// | float16; bfloat16                | float32   | the same, float32                                      |
/// | uint8 or int8, either            | int32     | int32; by Quantization float32, float16, bfloat16,     |
/// |                                  |           | uint8, int8                                            |
///
/// Integers are exact modulo 2^32. Cost: 2 m n k operations for each product. Below a measured size a call wakes no
/// thread, allocates nothing (except in the few steps of a quantized product) and makes no system call. Throws
/// ShapeError, TypeError or ValueError, which name the operands and the rule, before anything is written; MemoryError
/// if there is no scratch memory.
TENON_API void gemm(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options = {});

/// One way to compute a product, before anything runs.
struct Way {
    std::string name, what;
    std::string declines;  // why it cannot run; empty if it can
    /// The estimate, with the operands in the nearest cache that holds them; NaN if it declines.
    double seconds = 0;
    bool runs = false;
    bool tuned = false;  // it runs because it was the fastest when timed
};

/// The ways in the order in which they are tried. One of them runs; the list is empty for a product without elements.
/// Throws what gemm throws.
TENON_API std::vector<Way> ways(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options = {});

/// What gemm would do, as text: operations, bytes (each operand and C once), their ratio, and the roofline, from the
/// peak of this machine and the bandwidth of the nearest level that holds the operands; then each way with its
/// estimated time and percent of the roofline, or the reason why it declines. ">" marks the one that runs. It measures
/// the machine once in a process and number of threads, which takes about three seconds. Throws what gemm throws.
TENON_API std::string explain(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options = {});

/// One way to compute a product, timed: seconds a call, warm (the same operands again) and cold (the caches held
/// others).
struct Timing {
    std::string way;
    double warm = 0, cold = 0;
    bool best = false;
    double estimated = 0;  // as in Way
    bool usual = false;  // what runs if nothing is tuned
};

/// Times the ways to compute a product, and from then on uses the best (the least warm time times cold time) for
/// products with these extents, dtypes, layouts and number of threads. It changes time, never bits. Overwrites c; beta
/// must be 0. Takes some hundred calls. Throws what gemm throws, and ValueError for a product without elements.
TENON_API std::vector<Timing> tune(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options = {});

/// Measures the peaks and bandwidths of this machine for the current number of threads, which takes about three
/// seconds; from then on the estimates of ways use them. Otherwise they use those of a typical machine.
TENON_API void tune_machine();

/// Keeps what was tuned for later processes on this machine with this version of the library: in the file
/// $TENON_TUNING, otherwise tenon/tuning.json in the user's cache directory ($XDG_CACHE_HOME, ~/.cache). The file is
/// read when the first sufficiently large product runs. Returns the path. Throws FileError.
TENON_API std::string save_tuning();

/// A right operand (a weight) in the kernels' own order, packed once and used often. A value; copies share the memory.
/// It is a copy: later changes of the source do not affect it. About as large as the source. It fits the instruction
/// set that was in use when it was packed.
class [[nodiscard, gnu::visibility("default")]] PackedMatrix {
  public:
    std::int64_t rows() const;
    std::int64_t columns() const;
    DType dtype() const;
    std::int64_t bytes() const;

    struct Data;
    explicit PackedMatrix(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
    const Data& data() const { return *data_; }

  private:
    std::shared_ptr<const Data> data_;
};

/// Packs the right operand of a product. Throws TypeError for a dtype gemm does not take, MemoryError.
TENON_API PackedMatrix pack(const Matrix& b);

/// The same as with the matrix that was packed, bit for bit. In a batch it is the right operand of every product, and
/// only A and C have batch strides. Throws ValueError if the instruction set has changed.
TENON_API void gemm(const Matrix& a, const PackedMatrix& b, const Matrix& c, const GemmOptions& options = {});

/// One product with fixed shapes, strides and dtypes: all choices are made in advance, and a call only computes. For
/// products of a few rows and columns, where choosing takes longer than computing. A value. It keeps the
/// instruction set it was prepared for, and computes in the caller's rounding and subnormal modes.
class [[nodiscard, gnu::visibility("default")]] PreparedGemm {
  public:
    /// The pointers given to `prepare` do not matter. The caller ensures that c overlaps neither a nor b. A call that
    /// notices that it does, or has no scratch memory, throws what gemm throws.
    void operator()(const void* a, const void* b, void* c) const { run_(*this, a, b, c); }

    /// Used by `prepare`.
    void (*run_)(const PreparedGemm&, const void*, const void*, void*) = nullptr;
    alignas(8) std::byte direct_[320]{};
    Matrix a_, b_, c_;
    GemmOptions options_;
};

/// Throws what gemm throws.
TENON_API PreparedGemm prepare(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options = {});

/// The triangle of a square matrix that is used. Elements outside it are neither read nor written, NaN included.
enum class Triangle : std::uint8_t { lower, upper };
/// The side of the product on which the symmetric or triangular matrix is.
enum class Side : std::uint8_t { left, right };
/// A unit diagonal is not read: it counts as ones.
enum class Diagonal : std::uint8_t { stored, unit };

struct SymmetricOptions {
    double alpha = 1, beta = 0;  // as in GemmOptions
};

/// One triangle of C = alpha A A^T + beta C. A is (n, k), C is (n, n) and does not overlap it. Only that triangle of C
/// is read (if beta is not 0) and written, including its diagonal. A^T A is syrk of a.transpose(). Batch strides are
/// ignored.
///
/// Dtypes are those of gemm's floating-point products, and the bits those that gemm(a, a.transpose(), c, ...) leaves in
/// the triangle. Cost: (n + 64) n k operations, half of gemm's. Throws as gemm does, before anything is written.
TENON_API void syrk(const Matrix& a, const Matrix& c, Triangle triangle, const SymmetricOptions& options = {});

/// One triangle of C = alpha A B^T + alpha B A^T + beta C. A and B are (n, k), C as for syrk. The bits are those of two
/// calls of gemm: with A B^T, alpha and beta, and then with B A^T, alpha and beta = 1 (so C is rounded to its dtype in
/// between). Cost: twice syrk's. Throws as gemm does, before anything is written.
TENON_API void syr2k(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle,
                     const SymmetricOptions& options = {});

/// One triangle of C = alpha A B + beta C, whatever A B is (LAPACK's gemmtr). A is (n, k), B is (k, n), C as for syrk.
/// The bits are those that gemm leaves in the triangle. Cost: syrk's. Throws as gemm does, before anything is written.
TENON_API void gemmt(const Matrix& a, const Matrix& b, const Matrix& c, Triangle triangle,
                     const SymmetricOptions& options = {});

/// C = alpha A B + beta C (left) or alpha B A + beta C (right), with A symmetric: only that triangle of A is read, and
/// nothing of it if alpha is 0. B and C are (m, n); A is (m, m) on the left and (n, n) on the right; C overlaps
/// neither. Batch strides are ignored.
///
/// Dtypes are those of gemm's floating-point products, and the bits those of gemm with all of A. Cost: as gemm, and a
/// copy of A, at most 512 rows of it at a time. Throws as gemm does, before anything is written.
TENON_API void symm(Side side, Triangle triangle, const Matrix& a, const Matrix& b, const Matrix& c,
                    const SymmetricOptions& options = {});

/// B = alpha A B (left) or alpha B A (right), in place, with A triangular: only that triangle of A is read; if alpha is
/// 0, neither A nor B is. B is (m, n); A is (m, m) on the left and (n, n) on the right, and does not overlap B. float32
/// or float64, the same for both. Batch strides are ignored. A product with A^T takes a.transpose() and the other
/// triangle: the transpose of a lower matrix is an upper one.
///
/// The order of additions, for A lower on the left (the right is the left of the transposes; an upper A is a lower one
/// with rows and columns counted from the last): rows are cut into blocks of 384, the last one shorter. For block i,
///  1. row r of A times a column of B is one chain of fused multiply-adds from +0, for k from the block's first row to
///     r; then times alpha;
///  2. then, for j = i - 1, ..., 0, B_i = alpha A_ij B_j + B_i as gemm sums and finishes it (beta = 1; rows and columns
///     are counted from the first for an upper A, too), all with the values that B had before the call.
///
/// So the bits depend on shapes, dtypes and values alone. What A holds as zeros within its triangle is multiplied.
///
/// Cost: m m n or n n m operations, half of gemm's. Throws ShapeError, TypeError or ValueError naming the operands and
/// the rule, before anything is written; MemoryError where working space cannot be had.
TENON_API void trmm(Side side, Triangle triangle, Diagonal diagonal, double alpha, const Matrix& a, const Matrix& b);

/// Solves A X = alpha B (left) or X A = alpha B (right) for X, in place of B, A triangular. Shapes, dtypes, transposes,
/// cost and errors are those of trmm. A zero on the diagonal is divided by, as IEEE 754 says: nothing is checked. With
/// alpha = 0, X is 0.
///
/// The order, said as for trmm: B is multiplied by alpha and rounded. n <= 64 rows: for row i, B's element is the start
/// of one chain x = fma(-a[i, k], x[k], x) for k = 0, ..., i - 1, and is then divided by the diagonal. Otherwise A and
/// B are cut into A11, A21, A22 and B1, B2 after n / 2 rows, rounded down and then up to a multiple of 64: X1 solves
/// A11 X1 = B1, B2 = -A21 X1 + B2 as gemm sums and finishes it, and X2 solves A22 X2 = B2.
///
/// Componentwise |A X - alpha B| <= (n + 2) u |A| |X| + u |alpha B|, n rows of A, u the unit roundoff (Higham, Accuracy
/// and Stability of Numerical Algorithms, 8.1), barring underflow and overflow.
TENON_API void trsm(Side side, Triangle triangle, Diagonal diagonal, double alpha, const Matrix& a, const Matrix& b);

}  // namespace tenon::product
