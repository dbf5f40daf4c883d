// The kernels of attention.cu, and their arguments.
#pragma once

#include "cuda/device.h"
#include "product/attention/attention.h"

namespace tenon::cuda::rows {

inline constexpr int kThreads = 256;

// As attention.cu declares them.
struct View3 {
    const void* data = nullptr;
    std::int64_t strides[3]{};
};
/// `scale` is a double for float64, else a float with as many bytes after it.
struct Problem {
    View3 bias, mask;
    const std::int64_t* length = nullptr;
    std::int64_t heads = 0, queries = 0, keys = 0, first = 0, count = 0;
    std::uint64_t scale = 0;
    std::int64_t left = -1, right = -1;
};

/// Element `b` of a view (batch, heads, queries, keys).
View3 of_batch(const View& v, std::int64_t b);
Problem problem_of(const product::Attention& a, std::int64_t b, std::int64_t first, std::int64_t count);
const Kernel& kernel(Gpu& gpu, const char* name, DType dtype);

/// Lengths as two arrays of int32, of queries and of keys. Lengths outside [0, keys] are replaced, and reported by a
/// throw at the next synchronisation. Null without lengths.
struct Lengths {
    std::shared_ptr<Storage> storage;
    void *of_queries = nullptr, *of_keys = nullptr;
};
Lengths lengths_of(Gpu& gpu, const product::Attention& a);
inline void check_lengths(Gpu& gpu, const product::Attention& a) { lengths_of(gpu, a); }

/// Bias and mask as one float32 bias of these extents (each 1 or the whole axis), row-major: -infinity where the mask
/// is false.
std::shared_ptr<Storage> additive(Gpu& gpu, const product::Attention& a, const std::int64_t (&extents)[4]);

/// Sets rows without a key that takes part: out to 0 and kept to +infinity. `bias` is (batch, heads, queries, keys) or
/// has no data.
void clear_empty(Gpu& gpu, const product::Attention& a, const View& out, void* logsumexp, const Lengths& lengths,
                 const View& bias);

}  // namespace tenon::cuda::rows
