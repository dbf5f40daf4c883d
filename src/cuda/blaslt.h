// cuBLASLt, found at run time ($TENON_CUBLASLT names a file; otherwise libcublasLt.so.13 or .12, by the loader's rules
// and in the toolkit's directories): one call for a batch of products of matrices in its storage order.
#pragma once

#include <cstdint>
#include <string>

#include "cuda/device.h"
#include "tenon/dtype.h"

namespace tenon::cuda {

/// A matrix as the library stores it, column by column.
struct LtMatrix {
    std::int64_t rows, columns, leading;
    int transposed;
    std::int64_t batch_stride;
    const std::byte* data;
};

/// What happens to the sums before they are stored: a number for each of the library's rows is added, or a matrix of
/// d's extents; values of at most 0 become 0.
struct LtEpilogue {
    const void* bias = nullptr;
    const void* addend = nullptr;
    std::int64_t addend_leading = 0;
    bool relu = false;
};

/// Why there is no cuBLASLt; empty if there is.
const std::string& blas_absent();

/// Whether the library is used for products of this dtype.
bool is_lt_type(DType t);

/// d = x y over a batch; with `tf32`, of float32 operands read as TF32. With an epilogue, of one product, by the
/// algorithm that the product alone has, so that the bits are those of the epilogue over what that would have stored;
/// false, and nothing done, where that algorithm has no such epilogue, or is not known yet and d is the addend.
bool multiply(Gpu& gpu, const LtMatrix& x, const LtMatrix& y, const LtMatrix& d, DType in, DType out,
              std::int64_t batch, bool tf32, const LtEpilogue* epilogue = nullptr);

}  // namespace tenon::cuda
