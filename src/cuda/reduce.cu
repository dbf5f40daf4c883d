// Reductions over axes: tape::reduce on the device, with the same lanes and trees.
#include "cuda/reduction.cuh"

__forceinline__ void finish(const Problem& p, long long o, long long chunk, A a, long long out) {
    if (p.chunks == 1)
        static_cast<S*>(p.out)[out] = baseline::store<kType>(a);
    else
        p.partial[chunk * p.outputs + o] = a;
}

#ifdef TENON_REDUCE_ALONG
/// A warp reduces a chunk of one result. A block may have any number of warps up to 8.
extern "C" __global__ void __launch_bounds__(256) reduce_along(const __grid_constant__ Problem p) {
    wait_for_turn();
    const long long item = blockIdx.x * (blockDim.x / 32ll) + threadIdx.x / 32;
    if (item >= p.outputs * p.chunks) return;
    const long long o = item / p.chunks, chunk = item % p.chunks, begin = chunk * kChunk;
    const int lane = threadIdx.x % 32;
    const int n = static_cast<int>(p.length - begin < kChunk ? p.length - begin : kChunk);
    const Place at = place_of(p, o);
    const S* x = p.in + at.in;
    A low = neutral<kOp, A>(), high = low;
    int i = lane;
    const bool pairs = p.reduced_count == 1 && p.reduced[0].in == 1 && n % 2 == 0 &&
                       reinterpret_cast<unsigned long long>(x + begin) % (2 * sizeof(S)) == 0;
    if (pairs) {
        // Thread l loads pairs of elements, which belong to lanes 2 l and 2 l + 1. The lanes join in the same tree.
        x += begin;
#pragma unroll 16
        for (i = 2 * lane; i < n; i += 64) {
            const Pack<S, 2> two = load_pack<S, 2>(x + i);
            low = combine<kOp>(low, baseline::load<kType>(two.at[0]));
            high = combine<kOp>(high, baseline::load<kType>(two.at[1]));
        }
        for (int half = 16; half > 0; half /= 2) {
            low = combine<kOp>(low, shuffle_down(low, half));
            high = combine<kOp>(high, shuffle_down(high, half));
        }
        const A a = combine<kOp>(low, high);
        if (lane == 0) finish(p, o, chunk, a, at.out);
        return;
    }
    if (p.reduced_count == 1) {
        const long long stride = p.reduced[0].in;
        x += begin * stride;
#pragma unroll 8
        for (; i + 32 < n; i += 64) {
            low = combine<kOp>(low, baseline::load<kType>(x[i * stride]));
            high = combine<kOp>(high, baseline::load<kType>(x[(i + 32) * stride]));
        }
        if (i < n) low = combine<kOp>(low, baseline::load<kType>(x[i * stride]));
    } else {
#pragma unroll 2
        for (; i + 32 < n; i += 64) {
            low = combine<kOp>(low, baseline::load<kType>(x[offset_of(p, begin + i)]));
            high = combine<kOp>(high, baseline::load<kType>(x[offset_of(p, begin + i + 32)]));
        }
        if (i < n) low = combine<kOp>(low, baseline::load<kType>(x[offset_of(p, begin + i)]));
    }
    const A a = join_lanes<kOp>(low, high);
    if (lane == 0) finish(p, o, chunk, a, at.out);
}
#endif

#ifdef TENON_REDUCE_ACROSS
/// A block reduces a chunk of each of 32 results that are adjacent along the last kept axis. A thread of warp y has
/// lanes y and y + 32 of one of them.
extern "C" __global__ void __launch_bounds__(1024) reduce_across(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ A lanes[32][33];
    const Axis last = p.kept[p.kept_count - 1];
    const long long tiles = (last.extent + 31) / 32;
    const long long chunk = blockIdx.x % p.chunks, tile = blockIdx.x / p.chunks, begin = chunk * kChunk;
    const int column = threadIdx.x % 32, y = threadIdx.x / 32;
    const long long inner = tile % tiles * 32 + column;
    const bool inside = inner < last.extent;
    const long long o = tile / tiles * last.extent + inner;
    const int n = static_cast<int>(p.length - begin < kChunk ? p.length - begin : kChunk);
    Place at{0, 0};
    A low = neutral<kOp, A>(), high = low;
    if (inside) {
        at = place_of(p, o);
        const S* x = p.in + at.in;
        int i = y;
        if (p.reduced_count == 1) {
            const long long stride = p.reduced[0].in;
            x += begin * stride;
#pragma unroll 8
            for (; i + 32 < n; i += 64) {
                low = combine<kOp>(low, baseline::load<kType>(x[i * stride]));
                high = combine<kOp>(high, baseline::load<kType>(x[(i + 32) * stride]));
            }
            if (i < n) low = combine<kOp>(low, baseline::load<kType>(x[i * stride]));
        } else {
            for (; i + 32 < n; i += 64) {
                low = combine<kOp>(low, baseline::load<kType>(x[offset_of(p, begin + i)]));
                high = combine<kOp>(high, baseline::load<kType>(x[offset_of(p, begin + i + 32)]));
            }
            if (i < n) low = combine<kOp>(low, baseline::load<kType>(x[offset_of(p, begin + i)]));
        }
    }
    lanes[y][column] = combine<kOp>(low, high);
    for (int half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (y < half) lanes[y][column] = combine<kOp>(lanes[y][column], lanes[y + half][column]);
    }
    if (y == 0 && inside) finish(p, o, chunk, lanes[0][column], at.out);
}
#endif

#if defined(TENON_REDUCE_COLUMNS) || defined(TENON_REDUCE_LANES)
constexpr int kWide = TENON_WIDE;
/// Adds one lane of kWide adjacent columns: rows `lane`, lane + 64, ... below n.
template <int unrolled>
__forceinline__ void add_lane(A (&a)[kWide], const S* x, long long stride, int lane, int n) {
#pragma unroll unrolled
    for (int i = lane; i < n; i += kLanes) {
        const Pack<S, kWide> pack = load_pack<S, kWide>(x + i * stride);
#pragma unroll
        for (int j = 0; j < kWide; ++j) a[j] = combine<kOp>(a[j], baseline::load<kType>(pack.at[j]));
    }
}
#endif

#ifdef TENON_REDUCE_COLUMNS
/// For results whose elements are adjacent in memory. A thread has one lane of kWide results, a block all lanes of
/// kWide * kAcross results.
constexpr int kAcross = TENON_ACROSS, kColumns = kWide * kAcross;
extern "C" __global__ void __launch_bounds__(kLanes* kAcross) reduce_columns(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ A lanes[kLanes][kColumns + 1];
    const Axis last = p.kept[p.kept_count - 1];
    const long long tiles = (last.extent + kColumns - 1) / kColumns;
    const long long chunk = blockIdx.x % p.chunks, tile = blockIdx.x / p.chunks, begin = chunk * kChunk;
    const int column = threadIdx.x % kAcross * kWide, lane = threadIdx.x / kAcross;
    const long long inner = tile % tiles * kColumns, first = tile / tiles * last.extent + inner;
    const int n = static_cast<int>(p.length - begin < kChunk ? p.length - begin : kChunk);
    const Place at = place_of(p, first);
    A a[kWide];
#pragma unroll
    for (int j = 0; j < kWide; ++j) a[j] = neutral<kOp, A>();
    if (inner + column < last.extent) {
        const long long stride = p.reduced[0].in;
        add_lane<16>(a, p.in + at.in + column + begin * stride, stride, lane, n);
    }
#pragma unroll
    for (int j = 0; j < kWide; ++j) lanes[lane][column + j] = a[j];
    for (int half = kLanes / 2; half > 0; half /= 2) {
        __syncthreads();
        for (int e = threadIdx.x; e < half * kColumns; e += kLanes * kAcross) {
            A& low = lanes[e / kColumns][e % kColumns];
            low = combine<kOp>(low, lanes[e / kColumns + half][e % kColumns]);
        }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < kColumns && inner + c < last.extent; c += kLanes * kAcross)
        finish(p, first + c, chunk, lanes[0][c], at.out + c * last.out);
}
#endif

#ifdef TENON_REDUCE_LANES
/// For few results whose elements are adjacent in memory. A block takes 8 of a chunk's lanes for 128 bytes of columns,
/// so that there are 8 times as many blocks. The last block to arrive for the same results joins the lanes in the tree
/// and the chunks in order.
constexpr int kColumns = 32 * kWide, kOfBlock = 8, kBlocksOfChunk = kLanes / kOfBlock;
constexpr int kAhead = 32;  // rows whose loads are in flight while as many others are added

__device__ unsigned arrived[TENON_TILES];  // how many blocks of a tile have arrived; 0 between launches

/// Loads data that are read only once, without allocating a line of the L1 for them.
template <class P>
__forceinline__ P load_once(const S* from) {
    if constexpr (sizeof(P) == 4) {
        unsigned w;
        asm volatile("ld.global.L1::no_allocate.b32 %0, [%1];" : "=r"(w) : "l"(from));
        return __builtin_bit_cast(P, w);
    } else if constexpr (sizeof(P) == 8) {
        unsigned long long w;
        asm volatile("ld.global.L1::no_allocate.b64 %0, [%1];" : "=l"(w) : "l"(from));
        return __builtin_bit_cast(P, w);
    } else {
        return load_pack<S, kWide>(from);
    }
}
/// Adds one lane of kWide adjacent columns. The next kAhead rows are requested before those that have arrived are
/// added.
__forceinline__ void add_lane_ahead(A (&a)[kWide], const S* x, long long stride, int lane, int n) {
    const int rows = n > lane ? (n - lane + kLanes - 1) / kLanes : 0, batches = rows / kAhead;
    const long long step = kLanes * stride;
    x += lane * stride;
    Pack<S, kWide> packs[kAhead];
    if (batches > 0)
#pragma unroll
        for (int i = 0; i < kAhead; ++i) packs[i] = load_once<Pack<S, kWide>>(x + i * step);
    for (int b = 0; b < batches; ++b) {
        Pack<S, kWide> next[kAhead];
        x += kAhead * step;
        if (b + 1 < batches)
#pragma unroll
            for (int i = 0; i < kAhead; ++i) next[i] = load_once<Pack<S, kWide>>(x + i * step);
#pragma unroll
        for (int i = 0; i < kAhead; ++i)
#pragma unroll
            for (int j = 0; j < kWide; ++j) a[j] = combine<kOp>(a[j], baseline::load<kType>(packs[i].at[j]));
#pragma unroll
        for (int i = 0; i < kAhead; ++i) packs[i] = next[i];
    }
#pragma unroll 4
    for (int i = batches * kAhead; i < rows; ++i, x += step) {
        const Pack<S, kWide> pack = load_once<Pack<S, kWide>>(x);
#pragma unroll
        for (int j = 0; j < kWide; ++j) a[j] = combine<kOp>(a[j], baseline::load<kType>(pack.at[j]));
    }
}

extern "C" __global__ void __launch_bounds__(32 * kOfBlock) reduce_lanes(const __grid_constant__ Problem p) {
    wait_for_turn();
    const Axis last = p.kept[p.kept_count - 1];
    // The first loads wait for this arithmetic. So it divides in 32 bits, and does without place_of for one kept axis.
    const unsigned tile = blockIdx.z, tiles = static_cast<unsigned>((last.extent + kColumns - 1) / kColumns);
    const long long chunk = blockIdx.y, begin = chunk * kChunk;
    const int column = threadIdx.x % 32 * kWide, y = threadIdx.x / 32, lane = blockIdx.x * kOfBlock + y;
    const long long inner = static_cast<long long>(tile % tiles) * kColumns + column,
                    first = tile / tiles * last.extent + inner;
    const bool inside = inner < last.extent;
    const bool flat = p.kept_count == 1;
    const Place at = flat ? Place{first * last.in, first * last.out} : place_of(p, first);
    if (inside) {
        const int n = static_cast<int>(p.length - begin < kChunk ? p.length - begin : kChunk);
        const long long stride = p.reduced[0].in;
        A a[kWide];
#pragma unroll
        for (int j = 0; j < kWide; ++j) a[j] = neutral<kOp, A>();
        add_lane_ahead(a, p.in + at.in + begin * stride, stride, lane, n);
#pragma unroll
        for (int j = 0; j < kWide; ++j) p.partial[(chunk * kLanes + lane) * p.outputs + first + j] = a[j];
    }
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    const unsigned blocks = static_cast<unsigned>(p.chunks * kBlocksOfChunk);
    if (threadIdx.x == 0) is_last = atomicInc(arrived + tile, blocks - 1) == blocks - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    __shared__ A lanes[kOfBlock][kColumns];
    A all[kWide];
#pragma unroll 1
    for (long long c = 0; c < p.chunks; ++c) {
        A a[kBlocksOfChunk][kWide];  // lanes y, y + 8, y + 16, ...
        if (inside)
#pragma unroll
            for (int k = 0; k < kBlocksOfChunk; ++k)
#pragma unroll
                for (int j = 0; j < kWide; ++j)
                    a[k][j] = __ldcg(p.partial + (c * kLanes + k * kOfBlock + y) * p.outputs + first + j);
#pragma unroll
        for (int half = kBlocksOfChunk / 2; half > 0; half /= 2)
#pragma unroll
            for (int k = 0; k < half; ++k)
#pragma unroll
                for (int j = 0; j < kWide; ++j) a[k][j] = combine<kOp>(a[k][j], a[k + half][j]);
#pragma unroll
        for (int j = 0; j < kWide; ++j) lanes[y][column + j] = a[0][j];
        for (int half = kOfBlock / 2; half > 0; half /= 2) {
            __syncthreads();
            if (y < half)
#pragma unroll
                for (int j = 0; j < kWide; ++j)
                    lanes[y][column + j] = combine<kOp>(lanes[y][column + j], lanes[y + half][column + j]);
        }
        if (y == 0)
#pragma unroll
            for (int j = 0; j < kWide; ++j)
                all[j] = c == 0 ? lanes[0][column + j] : combine<kOp>(all[j], lanes[0][column + j]);
        __syncthreads();
    }
    if (y == 0 && inside)
#pragma unroll
        for (int j = 0; j < kWide; ++j) static_cast<S*>(p.out)[at.out + j * last.out] = baseline::store<kType>(all[j]);
}
#endif

#ifdef TENON_JOIN_COLUMNS
/// Joins the partial sums over rows that other kernels have stored: lanes in the tree, chunks in order. blockIdx.y is
/// the index of the sum.
struct Joins {
    const A* partial[TENON_JOINS];  // [chunks][64][outputs]
    S* out[TENON_JOINS];
    long long outputs, chunks;
};
extern "C" __global__ void __launch_bounds__(1024) join_columns(const __grid_constant__ Joins p) {
    wait_for_turn();
    constexpr int kAtOnce = 4;  // chunks whose lanes are loaded together
    __shared__ A lanes[kAtOnce][32][33];
    const int column = threadIdx.x % 32, y = threadIdx.x / 32;
    const long long first = blockIdx.x * 32ll, o = first + column;
    const A* x = p.partial[blockIdx.y] + y * p.outputs + o;
    A all{};
    for (long long chunk = 0; chunk < p.chunks; chunk += kAtOnce, x += kAtOnce * kLanes * p.outputs) {
        const int many = p.chunks - chunk < kAtOnce ? static_cast<int>(p.chunks - chunk) : kAtOnce;
        A low[kAtOnce]{}, high[kAtOnce]{};
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i)
            if (o < p.outputs && i < many)
                low[i] = x[i * kLanes * p.outputs], high[i] = x[(i * kLanes + 32) * p.outputs];
        if (chunk > 0) __syncthreads();
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) lanes[i][y][column] = combine<kOp>(low[i], high[i]);
        __syncthreads();
        // Now each warp has the lanes of one column.
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            A a = lanes[i][column][y];
            for (int half = 16; half > 0; half /= 2) a = combine<kOp>(a, shuffle_down(a, half));
            if (i < many) all = chunk + i == 0 ? a : combine<kOp>(all, a);
        }
    }
    if (column == 0 && first + y < p.outputs) p.out[blockIdx.y][first + y] = baseline::store<kType>(all);
}
#endif

#ifdef TENON_JOIN_CHUNKS
/// Joins chunks in order; a thread has one result.
extern "C" __global__ void __launch_bounds__(128) join_chunks(const __grid_constant__ Problem p) {
    wait_for_turn();
    const long long o = blockIdx.x * 128ll + threadIdx.x;
    if (o >= p.outputs) return;
    A a = p.partial[o];
#pragma unroll 8
    for (long long c = 1; c < p.chunks; ++c) a = combine<kOp>(a, p.partial[c * p.outputs + o]);
    static_cast<S*>(p.out)[place_of(p, o).out] = baseline::store<kType>(a);
}
#endif

#ifdef TENON_JOIN_LONG
/// Joins the chunks of few results, a block for each.
extern "C" __global__ void __launch_bounds__(256) join_long(const __grid_constant__ Problem p) {
    wait_for_turn();
    const long long o = blockIdx.x;
    constexpr bool kInOrder = kFloating<A> && (kOp == Reduction::sum || kOp == Reduction::prod);
    const A a = join_line<kOp, kInOrder, 256>(p.partial + o, p.chunks, p.outputs);
    if (threadIdx.x == 0) static_cast<S*>(p.out)[place_of(p, o).out] = baseline::store<kType>(a);
}
#endif
