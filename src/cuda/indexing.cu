// Rows picked, replaced and increased by index. All arrays are row-major; `indices` are int64. An index outside [0,
// rows) is reported in `fault` (host memory, with the members of IndexFault: {set, index, rows, operation}), and
// nothing is done for it.
#include "cuda/tape.cuh"

using namespace tenon;
using namespace tenon::cuda;

using S = Stored<DType::TENON_TYPE>;
constexpr DType kType = DType::TENON_TYPE;

/// As IndexFault counts them.
enum Operation { kGather, kScatter, kScatterAdd };

__forceinline__ bool inside(Operation operation, long long index, long long rows, volatile long long* fault) {
    if (index >= 0 && index < rows) return true;
    fault[1] = index;
    fault[2] = rows;
    fault[3] = operation;
    __threadfence_system();
    fault[0] = 1;
    return false;
}

/// A thread takes one element of the result. Row i of x begins `stride` elements after row i - 1 and is contiguous.
extern "C" __global__ void __launch_bounds__(256)
    gather(S* out, const S* x, const long long* indices, long long n, long long rows, long long columns,
           long long stride, volatile long long* fault) {
    wait_for_turn();
    const long long e = blockIdx.x * 256ll + threadIdx.x;
    if (e >= n * columns) return;
    const long long i = e / columns, c = e - i * columns, index = indices[i];
    if (inside(kGather, index, rows, fault)) out[e] = x[index * stride + c];
}

/// A warp takes one update. Of several to one row the last one stays.
extern "C" __global__ void __launch_bounds__(256)
    scatter(S* out, const S* updates, const long long* indices, long long n, long long rows, long long columns,
            volatile long long* fault) {
    wait_for_turn();
    const long long i = blockIdx.x * 8ll + threadIdx.x / 32;
    if (i >= n) return;
    const int lane = threadIdx.x % 32;
    const long long index = indices[i];
    if (!inside(kScatter, index, rows, fault)) return;
    for (long long j = i + 1; j < n; j += 32) {
        const bool later = j + lane < n && indices[j + lane] == index;
        if (__any_sync(0xffffffffu, later)) return;
    }
    for (long long c = lane; c < columns; c += 32) out[index * columns + c] = updates[i * columns + c];
}

/// A warp takes one update: the first of those to a row adds them all, in their order.
extern "C" __global__ void __launch_bounds__(256)
    scatter_add(S* out, const S* updates, const long long* indices, long long n, long long rows, long long columns,
                volatile long long* fault) {
    wait_for_turn();
    const long long i = blockIdx.x * 8ll + threadIdx.x / 32;
    if (i >= n) return;
    const int lane = threadIdx.x % 32;
    const long long index = indices[i];
    if (!inside(kScatterAdd, index, rows, fault)) return;
    for (long long j = 0; j < i; j += 32) {
        const bool earlier = j + lane < i && indices[j + lane] == index;
        if (__any_sync(0xffffffffu, earlier)) return;
    }
    for (long long j = i; j < n; j += 32) {
        unsigned matches = __ballot_sync(0xffffffffu, j + lane < n && indices[j + lane] == index);
        while (matches != 0) {
            const long long update = j + __ffs(static_cast<int>(matches)) - 1;
            matches &= matches - 1;
            for (long long c = lane; c < columns; c += 32)
                if constexpr (kType != DType::boolean)
                    out[index * columns + c] =
                        tenon::cuda::apply<Opcode::add, kType>(out[index * columns + c], updates[update * columns + c]);
        }
    }
}
