// The kernel of long rows of bfloat16 of which a maximum is taken first, and then a sum in order. A block takes row
// after row. Its warps take the parts of all of these rows in turn, as one sequence: while a warp sums a part, the
// maximum of the next row is found already, and nothing waits where a row ends. The copy engine loads the parts in the
// same sequence, into slots that are used in rotation.
//
// Printed before this: the constants of the form, `Parameters`, `offset_of`, `summand` and `finish`.
#pragma once

#include "cuda/hopper.cuh"
#include "cuda/register_rows.cuh"

namespace tenon::cuda::ahead {

constexpr DType kType = DType::bfloat16;
constexpr int kPart = kSteps * kLanes, kPartBytes = kPart * static_cast<int>(sizeof(Stored<kType>)),
              kPartsOfChunk = kChunk / kPart, kChunks = (kParts + kPartsOfChunk - 1) / kPartsOfChunk,
              kWhole = kParts / kPartsOfChunk, kRest = kParts % kPartsOfChunk;
// The maximum of a part is found kMargin parts before the part of the same place in the row before it is summed, so
// that a row's maximum is known when its first part is summed.
constexpr int kAhead = kParts + kMargin;
// Rows under way at a time. What they leave in shared memory has so many places. A part is loaded only when the slot's
// part before it has been read, so with this many places all readers of a place are done before it is written again.
constexpr int kRows = kSlots <= 3 * kParts ? 4 : 8;
static_assert(kSteps % 4 == 0 && kSlots > kAhead && kSlots <= (kRows - 1) * kParts &&
              (kRows - 1) * kParts >= kWarps + kMargin && kParts <= 64);

/// The part that comes at a place. Neighbours have different chunks, so that few warps wait for lanes of the same one.
__forceinline__ int part_at(int place) {
    if (place < kRest * kChunks) return place % kChunks * kPartsOfChunk + place / kChunks;
    place -= kRest * kChunks;
    return place % kWhole * kPartsOfChunk + kRest + place / kWhole;
}

// What is where in static shared memory, in bytes. First the barriers. Of each slot: that a part has arrived; that it
// has been read for the last time.
constexpr int kFull = 0, kEmpty = kFull + 8 * kSlots;
// Of each row under way: that lanes may go on to a part; that the maximum is known; that the sums of all chunks are
// there; that these have been read.
constexpr int kPassed = kEmpty + 8 * kSlots, kKnown = kPassed + 8 * kRows * kParts, kEnded = kKnown + 8 * kRows,
              kDone = kEnded + 8 * kRows;
// Of each part of a row under way, by place, the most and the least, as `sortable`. Of each chunk its 64 lanes, and its
// sum with the row's maximum.
constexpr int kExtremes = kDone + 8 * kRows, kLanesAt = kExtremes + 8 * kRows * kParts,
              kSums = kLanesAt + 256 * kRows * kChunks;
// By place: a part's elements, index and chunk, and 1 for the first of a chunk + 2 for the last; its first byte in the
// row, and bytes.
constexpr int kFacts = (kSums + 8 * kRows * kChunks + 15) / 16 * 16, kBytes = kFacts + 16 * kParts,
              kSharedBytes = kBytes + 8 * kParts;

/// An integer that is ordered as the float is; a NaN is beyond infinity.
__forceinline__ int sortable(float x) {
    const int b = static_cast<int>(bits(x));
    return b ^ (b >> 31 & 0x7fffffff);
}
__forceinline__ float from_sortable(int x) { return from_bits(static_cast<unsigned>(x ^ (x >> 31 & 0x7fffffff))); }

/// A part in the sequence, and the slot that it has.
struct Cursor {
    int place, row, slot;
    uint32_t parity;
    explicit __forceinline__ Cursor(int i)
        : place(i % kParts), row(i / kParts), slot(i % kSlots), parity(i / kSlots % 2) {}
    __forceinline__ void next() {
        for (place += kWarps; place >= kParts; place -= kParts) ++row;
        if ((slot += kWarps) >= kSlots) slot -= kSlots, parity ^= 1;
    }
};

/// A thread that computes. Addresses are of shared memory.
struct Worker {
    // Of static shared memory, of the slots, and of the 16 bytes there that the thread reads first.
    uint32_t shared, slots, own;
    int thread;

    __forceinline__ uint32_t full(int slot) const { return shared + kFull + 8 * slot; }
    __forceinline__ uint32_t empty(int slot) const { return shared + kEmpty + 8 * slot; }
    __forceinline__ uint32_t known(int set) const { return shared + kKnown + 8 * set; }
    __forceinline__ uint32_t ended(int set) const { return shared + kEnded + 8 * set; }
    __forceinline__ uint32_t done(int set) const { return shared + kDone + 8 * set; }
    __forceinline__ uint32_t passed(int set, int part) const { return shared + kPassed + 8 * (set * kParts + part); }
    __forceinline__ uint32_t extremes_of(int set, int place) const {
        return shared + kExtremes + 8 * (set * kParts + place);
    }
    __forceinline__ uint32_t lanes(int set, int chunk) const {
        return shared + kLanesAt + 256 * (set * kChunks + chunk) + 8 * thread;
    }
    __forceinline__ uint32_t sums(int set, int chunk) const { return shared + kSums + 8 * (set * kChunks + chunk); }
    __forceinline__ uint32_t facts(int place) const { return shared + kFacts + 16 * place; }

    /// Finds the extremes of a part.
    __forceinline__ void find(const Cursor& at) const {
        barrier_wait(full(at.slot), at.parity);
        const int n = load_shared<int, 1>(facts(at.place)).at[0];
        const uint32_t from = own + at.slot * kPartBytes;
        unsigned most[2] = {0xff80ff80u, 0xff80ff80u}, least[2] = {0x7f807f80u, 0x7f807f80u};
        const auto some = [&](uint32_t at) {
            const auto x = load_shared<unsigned, 4>(at);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                most[i / 2] = extremes<Reduction::max, kType>(most[i / 2], x.at[i]);
                least[i / 2] = extremes<Reduction::min, kType>(least[i / 2], x.at[i]);
            }
        };
        if (n == kPart) {
#pragma unroll
            for (int i = 0; i < kSteps / 4; ++i) some(from + 512 * i);
        } else {
#pragma unroll 1
            for (int i = 0; 256 * i + 8 * thread < n; ++i) some(from + 512 * i);
        }
        most[0] = extremes<Reduction::max, kType>(most[0], most[1]);
        least[0] = extremes<Reduction::min, kType>(least[0], least[1]) ^ 0x80008000u;
        // The most of x in the lower half, and of -x in the upper one.
        const unsigned both = extremes<Reduction::max, kType>(__byte_perm(most[0], least[0], 0x5410),
                                                              __byte_perm(most[0], least[0], 0x7632));
        const int high = __reduce_max_sync(~0u, sortable(from_bits(both << 16))),
                  low = ~__reduce_max_sync(~0u, sortable(from_bits(both & 0xffff0000u)));
        if (thread == 0) store_shared(extremes_of(at.row % kRows, at.place), Pack<int, 2>{high, low});
        barrier_arrive(known(at.row % kRows));
    }

    /// The maximum of a row.
    __forceinline__ float maximum(int set, uint32_t parity) const {
        barrier_wait(known(set), parity);
        int high = load_shared<int, 1>(extremes_of(set, min(thread, kParts - 1))).at[0];
        if (kParts > 32) high = max(high, load_shared<int, 1>(extremes_of(set, min(thread + 32, kParts - 1))).at[0]);
        return from_sortable(__reduce_max_sync(~0u, high));
    }

    /// Adds a part of which all summands have the form for usual operands to the lanes.
    template <class Receive>
    __forceinline__ void add_usual(Pack<float, 2>& lanes, const uint32_t (&x)[kSteps / 4][4], float maximum,
                                   Receive receive) const {
        float v[kSteps][2];
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
            v[i][0] = summand<true>(from_bits(x[i / 4][i % 4] << 16), maximum);
            v[i][1] = summand<true>(from_bits(x[i / 4][i % 4] & 0xffff0000u), maximum);
        }
        // The values are to be computed before the lanes are waited for.
#pragma unroll
        for (int i = 0; i < kSteps; ++i) asm volatile("" : "+f"(v[i][0]), "+f"(v[i][1]));
        receive();
#pragma unroll
        for (int i = 0; i < kSteps; ++i)
#pragma unroll
            for (int j = 0; j < 2; ++j) lanes.at[j] = combine<Reduction::sum>(lanes.at[j], v[i][j]);
    }

    /// Adds n elements of any part to the lanes.
    template <bool usual>
    __forceinline__ void add(Pack<float, 2>& lanes, int slot, int n, float maximum) const {
        constexpr int kBatch = 4;
#pragma unroll 1
        for (int i = 0; i * kLanes < n; i += kBatch) {
            float v[kBatch][2];
#pragma unroll
            for (int k = 0; k < kBatch; ++k) {
                Twins<kType> x;
                x.load(slots + slot * kPartBytes + 128 * (i + k) + 4 * thread);
#pragma unroll
                for (int j = 0; j < 2; ++j) v[k][j] = summand<usual>(x.at(j), maximum);
            }
#pragma unroll
            for (int k = 0; k < kBatch; ++k)
#pragma unroll
                for (int j = 0; j < 2; ++j)
                    if ((i + k) * kLanes + 2 * thread < n) lanes.at[j] = combine<Reduction::sum>(lanes.at[j], v[k][j]);
        }
        barrier_arrive(empty(slot));
    }

    /// Sums a part of a row and passes its chunk's lanes on, or joins them. Once it has read the part, so that another
    /// one can be loaded in its place, it calls `meanwhile`.
    template <class Meanwhile>
    __forceinline__ void sum(int place, int slot, int set, uint32_t parity, float maximum, Meanwhile meanwhile) const {
        const auto part = load_shared<int, 4>(facts(place));
        const int n = part.at[0], index = part.at[1], chunk = part.at[2];
        const float least = from_sortable(load_shared<int, 2>(extremes_of(set, place)).at[1]);
        Pack<float, 2> a{neutral<Reduction::sum, float>(), neutral<Reduction::sum, float>()};
        const auto receive = [&] {
            if (part.at[3] & 1) return;
            barrier_wait(passed(set, index), parity);
            a = load_shared<float, 2>(lanes(set, chunk));
        };
        const bool usual = least - maximum > -Real<float>::kExpNormal;
        if (n == kPart && usual) {
            uint32_t x[kSteps / 4][4];
#pragma unroll
            for (int i = 0; i < kSteps / 4; ++i) load_matrices<false>(x[i], own + slot * kPartBytes + 512 * i);
            barrier_arrive(empty(slot));
            meanwhile();
            add_usual(a, x, maximum, receive);
        } else {
            meanwhile();
            receive();
            usual ? add<true>(a, slot, n, maximum) : add<false>(a, slot, n, maximum);
        }
        if (part.at[3] & 2) {
            const float total = RowTeam<32, 2>::join<Reduction::sum>(a.at);
            barrier_wait(done(set), parity ^ 1);
            if (thread == 0) store_shared(sums(set, chunk), Pack<float, 2>{total, maximum});
            barrier_arrive(ended(set));
        } else {
            store_shared(lanes(set, chunk), a);
            barrier_arrive(passed(set, index + 1));
        }
    }

    /// Takes every kWarps-th part of the block's rows.
    __forceinline__ void run(int warp, int rows) const {
#pragma unroll 1
        for (Cursor first(warp); first.row * kParts + first.place < kAhead; first.next())
            if (first.row < rows) find(first);
        Cursor ahead(warp + kAhead);
        int slot = warp;
#pragma unroll 1
        for (int row = 0, place = warp; row < rows; ++row, place -= kParts) {
            const int set = row % kRows;
            const uint32_t parity = row / kRows % 2;
            bool begins = true;
            float m;
#pragma unroll 1
            for (; place < kParts; place += kWarps) {
                if (begins) m = maximum(set, parity), begins = false;
                sum(place, slot, set, parity, m, [&] {
                    if (ahead.row < rows) find(ahead);
                    ahead.next();
                });
                if ((slot += kWarps) >= kSlots) slot -= kSlots;
            }
        }
    }

    /// Asks for the parts of all rows.
    __forceinline__ void load(const Parameters& p) const {
        if (!elected()) return;
        uint32_t barrier = full(0), to = slots, parity = 1;
        for (long long row = blockIdx.x; row < p.rows; row += gridDim.x) {
            const char* const x = static_cast<const char*>(p.operands[kInput].data) +
                                  sizeof(Stored<kType>) * offset_of(p, p.operands[kInput], row);
#pragma unroll 1
            for (int place = 0; place < kParts; ++place) {
                const auto bytes = load_shared<int, 2>(shared + kBytes + 8 * place);
                barrier_wait(barrier + 8 * kSlots, parity);
                barrier_expect(barrier, bytes.at[1]);
                load_bytes(to, x + bytes.at[0], bytes.at[1], barrier);
                barrier += 8, to += kPartBytes;
                if (to == slots + kSlots * kPartBytes) barrier = full(0), to = slots, parity ^= 1;
            }
        }
    }

    /// Computes and stores the rows' own values.
    __forceinline__ void finish_rows(const Parameters& p) const {
        int set = 0;
        uint32_t parity = 0;
        for (long long row = blockIdx.x; row < p.rows; row += gridDim.x) {
            barrier_wait(ended(set), parity);
            const auto first = load_shared<float, 2>(sums(set, 0));
            float total = first.at[0];
#pragma unroll
            for (int i = 1; i < kChunks; ++i)
                total = combine<Reduction::sum>(total, load_shared<float, 2>(sums(set, i)).at[0]);
            barrier_arrive(done(set));
            finish(p, row, first.at[1], total, thread == 0);
            if (++set == kRows) set = 0, parity ^= 1;
        }
    }
};

__forceinline__ void prepare(uint32_t shared, int columns) {
    constexpr int kBarriers = kExtremes / 8;
    for (int i = threadIdx.x; i < kBarriers; i += blockDim.x) {
        const int at = 8 * i;
        barrier_init(shared + at, at < kEmpty                   ? 1
                                  : at >= kKnown && at < kEnded ? 32 * kParts
                                  : at >= kEnded && at < kDone  ? 32 * kChunks
                                                                : 32);
    }
    for (int i = threadIdx.x; i < kParts; i += blockDim.x) {
        const int part = part_at(i), in_chunk = part % kPartsOfChunk, n = min(kPart, columns - part * kPart);
        const bool last = in_chunk == kPartsOfChunk - 1 || part == kParts - 1;
        store_shared(shared + kFacts + 16 * i, Pack<int, 4>{n, part, part / kPartsOfChunk, (in_chunk == 0) + 2 * last});
        store_shared(shared + kBytes + 8 * i,
                     Pack<int, 2>{part * kPartBytes, n * static_cast<int>(sizeof(Stored<kType>))});
    }
    barriers_ready();
    __syncthreads();
}

}  // namespace tenon::cuda::ahead

extern "C" __global__ void __launch_bounds__(32 * (kWarps + 2), 1) rows_ahead(const __grid_constant__ Parameters p) {
    using namespace tenon::cuda::ahead;
    extern __shared__ __align__(128) unsigned char memory[];
    __shared__ __align__(16) unsigned char places[kSharedBytes];
    const uint32_t shared = pinned(shared_address(places));
    prepare(shared, static_cast<int>(p.columns));
    wait_for_turn();
    const int thread = threadIdx.x % 32, warp = threadIdx.x / 32;
    // The shuffle keeps the address in a register; else it would be computed again and again.
    const uint32_t slots = shared_address(memory), own = __shfl_sync(~0u, slots + 16 * thread, thread);
    const Worker worker{shared, slots, own, thread};
    if (warp == kWarps)
        worker.load(p);
    else if (warp > kWarps)
        worker.finish_rows(p);
    else
        worker.run(warp, static_cast<int>((p.rows - blockIdx.x + gridDim.x - 1) / gridDim.x));
}
