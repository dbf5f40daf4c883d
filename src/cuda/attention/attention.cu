// The parts of attention that are no products: rows of weights and of their gradients, if the weights are in memory,
// and what cuDNN cannot do. Compiled for one dtype of queries, keys and values (TENON_TYPE).
#include "cuda/wide.cuh"

using namespace tenon;
using namespace tenon::cuda;

constexpr DType kType = DType::TENON_TYPE;
using S = Stored<kType>;
using A = std::conditional_t<kType == DType::float64, double, float>;

struct View3 {
    const void* data;  // null: none
    long long strides[3];  // of heads, queries, keys
};
/// A part of one element of the batch: queries from `first` on, as many as the launch has, and all heads.
struct Problem {
    View3 bias, mask;
    const long long* length;  // null: all keys
    long long heads, queries, keys, first, count;
    A scale;
    long long left, right;  // below 0: no bound
};
struct Row {
    long long head, i, begin, end;
};

__forceinline__ Row row_of(const Problem& p, long long row) {
    Row r{row / p.count, p.first + row % p.count, 0, p.keys};
    if (p.length) r.end = max(0ll, min(r.end, *p.length));
    if (p.right >= 0) r.end = min(r.end, r.i + p.right + 1);
    if (p.left >= 0) r.begin = max(0ll, r.i - p.left);
    return r;
}
/// The logit of key j, from its product; -infinity if the key takes no part.
__forceinline__ A logit(const Problem& p, const Row& r, long long j, A product) {
    const A none = -kInfinity<A>;
    if (j < r.begin || j >= r.end) return none;
    const auto at = [&](const View3& v) { return r.head * v.strides[0] + r.i * v.strides[1] + j * v.strides[2]; };
    if (p.mask.data && !static_cast<const unsigned char*>(p.mask.data)[at(p.mask)]) return none;
    product *= p.scale;
    return p.bias.data ? product + static_cast<const A*>(p.bias.data)[at(p.bias)] : product;
}

constexpr int kThreads = 256;

/// Reduces the values of all threads of the block, in a fixed tree.
template <class F>
__forceinline__ A of_block(A x, F f) {
    __shared__ A parts[kThreads / 32];
    for (int by = 16; by > 0; by /= 2) x = f(x, __shfl_xor_sync(~0u, x, by));
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
    for (int i = 1; i < kThreads / 32; ++i) x = f(x, parts[i]);
    return x;
}
__forceinline__ A sum_of_block(A x) {
    return of_block(x, [](A a, A b) { return a + b; });
}
__forceinline__ A max_of_block(A x) {
    return of_block(x, [](A a, A b) { return b > a ? b : a; });
}

/// A block replaces a row of products by weights, and keeps the logarithm of its sum (+infinity if there is no key).
extern "C" __global__ void __launch_bounds__(kThreads)
    weights(const A* products, S* out, A* kept, const __grid_constant__ Problem p) {
    const Row r = row_of(p, blockIdx.x);
    const A* in = products + blockIdx.x * p.keys;
    A largest = -kInfinity<A>;
    for (long long j = threadIdx.x; j < p.keys; j += kThreads) {
        const A t = logit(p, r, j, in[j]);
        largest = t > largest ? t : largest;
    }
    largest = max_of_block(largest);
    const A shift = largest == -kInfinity<A> ? A(0) : largest;
    A sum = 0;
    for (long long j = threadIdx.x; j < p.keys; j += kThreads) sum += baseline::exp(logit(p, r, j, in[j]) - shift);
    sum = sum_of_block(sum);
    const A by = sum == 0 ? A(1) : sum;
    for (long long j = threadIdx.x; j < p.keys; j += kThreads)
        out[blockIdx.x * p.keys + j] = narrow<kType>(rounded<kType>(baseline::exp(logit(p, r, j, in[j]) - shift) / by));
    if (threadIdx.x == 0) kept[r.head * p.queries + r.i] = sum == 0 ? kInfinity<A> : shift + baseline::log(sum);
}

/// The weight of key j, recomputed.
__forceinline__ A weight(const Problem& p, const Row& r, long long j, A product, A kept) {
    return baseline::exp(logit(p, r, j, product) - kept);
}

/// Rows of weights, and of the gradient of the products: scale p (dp - the sum of ct out).
extern "C" __global__ void __launch_bounds__(kThreads)
    gradients(const A* products, const A* dp, S* out, S* ds, const A* kept, const S* result, const S* ct,
              long long result_head, long long result_query, long long ct_head, long long ct_query, long long ct_depth,
              long long depth, const __grid_constant__ Problem p) {
    const Row r = row_of(p, blockIdx.x);
    A both = 0;
    for (long long e = threadIdx.x; e < depth; e += kThreads)
        both += static_cast<A>(widen<kType>(result[r.head * result_head + r.i * result_query + e])) *
                static_cast<A>(widen<kType>(ct[r.head * ct_head + r.i * ct_query + e * ct_depth]));
    both = sum_of_block(both);
    const A own = kept[r.head * p.queries + r.i];
    for (long long j = threadIdx.x; j < p.keys; j += kThreads) {
        const long long at = blockIdx.x * p.keys + j;
        const A x = weight(p, r, j, products[at], own);
        out[at] = narrow<kType>(rounded<kType>(x));
        ds[at] = narrow<kType>(rounded<kType>(x == 0 ? A(0) : x * (dp[at] - both) * p.scale));
    }
}

/// Rows of weights, and of their derivative along that of the products (and of the bias): p (ds - the sum of p ds).
extern "C" __global__ void __launch_bounds__(kThreads)
    tangents(const A* products, const A* ds, const __grid_constant__ View3 dbias, S* out, S* dp, const A* kept,
             const __grid_constant__ Problem p) {
    const Row r = row_of(p, blockIdx.x);
    const A own = kept[r.head * p.queries + r.i];
    const auto along = [&](long long j) {
        const A x = ds[blockIdx.x * p.keys + j] * p.scale;
        if (!dbias.data) return x;
        return x + static_cast<const A*>(
                       dbias.data)[r.head * dbias.strides[0] + r.i * dbias.strides[1] + j * dbias.strides[2]];
    };
    A sum = 0;
    for (long long j = threadIdx.x; j < p.keys; j += kThreads) {
        const A x = weight(p, r, j, products[blockIdx.x * p.keys + j], own);
        if (x != 0) sum += x * along(j);
    }
    sum = sum_of_block(sum);
    for (long long j = threadIdx.x; j < p.keys; j += kThreads) {
        const long long at = blockIdx.x * p.keys + j;
        const A x = weight(p, r, j, products[at], own);
        out[at] = narrow<kType>(rounded<kType>(x));
        dp[at] = narrow<kType>(rounded<kType>(x == 0 ? A(0) : x * (along(j) - sum)));
    }
}

/// The mask as a bias: -infinity where it is false. For the row-major `out` and its extents.
struct Additive {
    const unsigned char* mask;
    const A* bias;  // null: 0
    long long extents[4], mask_strides[4], bias_strides[4];
};
extern "C" __global__ void __launch_bounds__(kThreads)
    additive(A* out, long long n, const __grid_constant__ Additive p) {
    const long long at = blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x;
    if (at >= n) return;
    long long rest = at, of_mask = 0, of_bias = 0;
    for (int d = 3; d >= 0; --d) {
        const long long i = rest % p.extents[d];
        rest /= p.extents[d];
        of_mask += i * p.mask_strides[d], of_bias += i * p.bias_strides[d];
    }
    const bool part = !p.mask || p.mask[of_mask];
    out[at] = part ? p.bias ? p.bias[of_bias] : A(0) : -kInfinity<A>;
}

/// Lengths in the form that cuDNN takes. A length outside [0, keys] is reported in `fault` (host memory, IndexFault)
/// and clamped.
extern "C" __global__ void lengths(const long long* in, long long stride, int* of_queries, int* of_keys,
                                   long long batch, long long queries, long long keys, volatile long long* fault) {
    const long long b = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (b >= batch) return;
    const long long n = in[b * stride];
    of_queries[b] = static_cast<int>(queries);
    of_keys[b] = static_cast<int>(max(0ll, min(n, keys)));
    if (n >= 0 && n <= keys) return;
    fault[1] = n, fault[2] = keys + 1, fault[3] = 3;
    __threadfence_system();
    fault[0] = 1;
}

/// Sets rows without a key that takes part to 0, and what they keep to +infinity. A warp takes a row. `p` is that of
/// the first element of the batch; bias_batch and mask are those of the others.
extern "C" __global__ void __launch_bounds__(kThreads)
    clear_empty(S* out, A* kept, const int* key_lengths, long long batch, long long bias_batch, long long depth,
                const __grid_constant__ Problem p) {
    const long long row = (blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x) / 32;
    const int lane = threadIdx.x % 32;
    if (row >= batch * p.heads * p.queries) return;
    const long long b = row / (p.heads * p.queries);
    Row r = row_of(p, row - b * p.heads * p.queries);
    if (key_lengths) r.end = min(r.end, static_cast<long long>(key_lengths[b]));
    bool any = r.begin < r.end;
    if (any && p.bias.data) {
        any = false;
        const A* bias =
            static_cast<const A*>(p.bias.data) + b * bias_batch + r.head * p.bias.strides[0] + r.i * p.bias.strides[1];
        for (long long j = r.begin; j < r.end && !any; j += 32)
            any = __any_sync(~0u, j + lane < r.end && !(bias[(j + lane) * p.bias.strides[2]] == -kInfinity<A>));
    }
    if (any) return;
    for (long long e = lane; e < depth; e += 32)
        out[((b * p.queries + r.i) * p.heads + r.head) * depth + e] = narrow<kType>(0);
    if (lane == 0) kept[row] = kInfinity<A>;
}
