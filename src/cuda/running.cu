// Running sums and the like: tape::cumulative on the device.
#include "cuda/reduction.cuh"

#ifdef TENON_CUMULATE
/// A thread runs through a line in order. `reduced[0].out` is the output's stride along the line.
extern "C" __global__ void __launch_bounds__(128) cumulate(const __grid_constant__ Problem p) {
    wait_for_turn();
    const long long o = blockIdx.x * 128ll + threadIdx.x;
    if (o >= p.outputs) return;
    const Place at = place_of(p, o);
    const S* x = p.in + at.in;
    S* y = static_cast<S*>(p.out) + at.out;
    const Axis along = p.reduced[0];
    A a = neutral<kOp, A>();
    constexpr int kAtOnce = 16;  // elements that are loaded before any is stored, as the output may be the input
    long long i = 0;
    for (; i + kAtOnce <= p.length; i += kAtOnce) {
        S own[kAtOnce];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) own[j] = x[(i + j) * along.in];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j)
            y[(i + j) * along.out] = baseline::store<kType>(a = combine<kOp>(a, baseline::load<kType>(own[j])));
    }
    for (; i < p.length; ++i)
        y[i * along.out] = baseline::store<kType>(a = combine<kOp>(a, baseline::load<kType>(x[i * along.in])));
}
#endif

// Long lines are cut into pieces of 2,048 elements. A thread runs through 16 neighbouring elements in order, and a
// fixed tree gives the total of what comes before them in the piece. The totals of pieces are run through in the same
// way, 2,048 at a time. So the bits depend on the length alone. Three kernels follow each other: `totals`, `run_totals`
// and `cumulate_pieces`.
#ifndef TENON_CUMULATE
constexpr int kThreads = 128, kEach = 16, kPiece = kThreads * kEach;
constexpr int kPlaces = kPiece + kThreads;  // elements of shared memory, with the padding

/// The index of a piece's element in shared memory. One element of padding after every 16 avoids bank conflicts between
/// threads that each read 16 neighbouring elements.
__forceinline__ int place_in_piece(int e) { return e + e / kEach; }
struct Piece {
    A own[kEach];  // running results of the thread's own elements
    A before;  // the total of the elements before them in the piece
    /// The total of the whole piece, in the last thread.
    __forceinline__ A total() const { return combine<kOp>(before, own[kEach - 1]); }
};
/// Writes 16 neighbouring elements for each thread, which `own` gives by their index, to their places.
template <class F>
__forceinline__ void place_own(A* elements, F own) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) elements[place_in_piece(kEach * static_cast<int>(threadIdx.x) + j)] = own(j);
}
/// Runs through n elements, which `element` gives by index; `elements` is shared memory for them. All threads of the
/// block call it.
template <class F>
__forceinline__ Piece run_through(A* elements, int n, F element) {
    __shared__ A warps[kThreads / 32];
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
        const int e = thread + j * kThreads;
        elements[place_in_piece(e)] = e < n ? element(e) : neutral<kOp, A>();
    }
    __syncthreads();
    Piece piece;
    piece.own[0] = elements[place_in_piece(kEach * thread)];
#pragma unroll
    for (int j = 1; j < kEach; ++j)
        piece.own[j] = combine<kOp>(piece.own[j - 1], elements[place_in_piece(kEach * thread + j)]);
    A up_to = piece.own[kEach - 1];  // the total from the warp's first element to the thread's last
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        const A left = shuffle_up(up_to, distance);
        if (lane >= distance) up_to = combine<kOp>(left, up_to);
    }
    if (lane == 31) warps[warp] = up_to;
    const A left = shuffle_up(up_to, 1);
    __syncthreads();
    piece.before = neutral<kOp, A>();
    for (int w = 0; w < warp; ++w) piece.before = combine<kOp>(piece.before, warps[w]);
    if (lane > 0) piece.before = combine<kOp>(piece.before, left);
    return piece;
}

/// The piece of a block: block b takes piece b / outputs of line b % outputs.
struct Cut {
    long long line, number, begin;
    int n;
    __forceinline__ explicit Cut(const Problem& p)
        : line(blockIdx.x % p.outputs),
          number(blockIdx.x / p.outputs),
          begin(number * kPiece),
          n(static_cast<int>(p.length - begin < kPiece ? p.length - begin : kPiece)) {}
    __forceinline__ Piece run(const Problem& p, A* elements) const {
        const long long stride = p.reduced[0].in;
        const S* x = p.in + place_of(p, line).in + begin * stride;
        return run_through(elements, n, [&](int e) { return baseline::load<kType>(x[e * stride]); });
    }
};
#endif

#ifdef TENON_TOTALS
extern "C" __global__ void __launch_bounds__(kThreads) totals(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ A elements[kPlaces];
    const Cut cut(p);
    const Piece piece = cut.run(p, elements);
    if (threadIdx.x == kThreads - 1) p.partial[cut.line * p.chunks + cut.number] = piece.total();
}
#endif

#ifdef TENON_RUN_TOTALS
/// Replaces the total of each piece of a line by the total of all pieces before it. A block takes a line.
extern "C" __global__ void __launch_bounds__(kThreads) run_totals(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ A elements[kPlaces], total;
    A* const line = p.partial + blockIdx.x * p.chunks;
    A before = neutral<kOp, A>();
    for (long long first = 0; first < p.chunks; first += kPiece) {
        const int n = static_cast<int>(p.chunks - first < kPiece ? p.chunks - first : kPiece);
        const Piece piece = run_through(elements, n, [&](int e) { return line[first + e]; });
        const A own = combine<kOp>(before, piece.before);
        place_own(elements, [&](int j) { return j == 0 ? own : combine<kOp>(own, piece.own[j - 1]); });
        if (threadIdx.x == kThreads - 1) total = piece.total();
        __syncthreads();
        for (int e = threadIdx.x; e < n; e += kThreads) line[first + e] = elements[place_in_piece(e)];
        before = combine<kOp>(before, total);
        __syncthreads();
    }
}
#endif

#ifdef TENON_CUMULATE_PIECES
extern "C" __global__ void __launch_bounds__(kThreads) cumulate_pieces(const __grid_constant__ Problem p) {
    wait_for_turn();
    __shared__ A elements[kPlaces];
    const Cut cut(p);
    const Piece piece = cut.run(p, elements);
    const A before = combine<kOp>(p.partial[cut.line * p.chunks + cut.number], piece.before);
    place_own(elements, [&](int j) { return combine<kOp>(before, piece.own[j]); });
    __syncthreads();
    const long long stride = p.reduced[0].out;
    S* y = static_cast<S*>(p.out) + place_of(p, cut.line).out + cut.begin * stride;
#pragma unroll
    for (int j = 0; j < kEach; ++j)
        if (const int e = static_cast<int>(threadIdx.x) + j * kThreads; e < cut.n)
            y[e * stride] = baseline::store<kType>(elements[place_in_piece(e)]);
}
#endif
