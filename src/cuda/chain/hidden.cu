// The second product of a layer that widens, a function of one value at a time, and the first product of the layer that
// narrows after it. Both products have the same groups, so nothing goes from group to group:
//
//     h[i, f, q] = sum_g z[f, g, i] b[f, q, g]     v = value_of(h)     w[c, f, i] = sum_q v[i, f, q] a[c, f, q]
//
// where g and c run over 64 and q over 128. A block has the cores of one group and one of `parts` parts of the rows, in
// tiles of 64. Warpgroup 0 loads z; warpgroups 1 to 3 take the tiles in turn. h is stored where it is read again
// (KEEPS_H); v never leaves the block. The function of usual values is looked up in a table in shared memory, which the
// block fills first.
#include "cuda/chain/hidden.cuh"

// Buffers for tiles of z, warpgroups that compute, and boxes of each of these: two for h, two for v, one for w.
constexpr int kSlots = 6, kTeams = 3, kTeamBoxes = 5;

struct Arguments {
    int tiles;
    Numbers numbers;
};

/// Rounds the sums of h and looks up their values, and writes both to shared memory. Values that are not in the table
/// are computed afterwards, from h in shared memory.
__device__ __forceinline__ void evaluate(const Who& who, const float (&h)[64], uint32_t hs, uint32_t vs, uint32_t table,
                                         const Fixed& fixed) {
    constexpr int kAtOnce = 8;  // words whose look-ups overlap
    bool is_beyond = false;
#pragma unroll
    for (int j = 0; j < 16; j += kAtOnce / 2) {
        uint32_t words[2][4], values[2][4];
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            const uint32_t word = pack(h[4 * j + 2 * n], h[4 * j + 2 * n + 1]);
            const Offsets at(word);
            is_beyond |= at.beyond();
            words[n / 4][n % 4] = word;
            values[n / 4][n % 4] = values_at(table, at);
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            store_matrices<false>(who.matrices(hs, j + 2 * n), words[n]);
            store_matrices<false>(who.matrices(vs, j + 2 * n), values[n]);
        }
    }
    if (!__any_sync(~0u, is_beyond)) return;
    __syncwarp();
#pragma unroll 1
    for (int n = 0; n < 32; ++n) {
        const uint32_t word = load_word(who.own(hs, n / 2, n % 2));
        if (!Offsets(word).beyond()) continue;
        const float low = value_of(low_of(word), fixed);
        store_word(who.own(vs, n / 2, n % 2), together(low, value_of(high_of(word), fixed)));
    }
}

extern "C" __global__ void __launch_bounds__(512, 1)
    hidden(const __grid_constant__ TensorMap z, const __grid_constant__ TensorMap h,
           const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap b,
           const __grid_constant__ TensorMap a, const __grid_constant__ Arguments p) {
    extern __shared__ unsigned char memory[];
    const uint32_t start = shared_address(memory), bs = start + 1023 & ~1023u, as = bs + 2 * kBox,
                   slots = as + 2 * kBox, teams = slots + kSlots * kBox, values = teams + kTeams * kTeamBoxes * kBox,
                   full = values + kValues * 2, empty = full + 8 * kSlots, cores = empty + 8 * kSlots;
    auto* const table = reinterpret_cast<uint16_t*>(memory + (values - start));
    const Who who;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kSlots; ++i) barrier_init(full + 8 * i, 1), barrier_init(empty + 8 * i, 128);
        barrier_init(cores, 1);
        barriers_ready();
    }
    let_next_start();
    wait_for_previous();
    __syncthreads();
    const int group = blockIdx.x, parts = gridDim.y,
              count = (p.tiles - static_cast<int>(blockIdx.y) + parts - 1) / parts;
    const auto row_of = [&](int n) { return (static_cast<int>(blockIdx.y) + n * parts) * kRows; };
    const uint64_t policy = evict_normal();
    if (who.group == 0) {
        give_registers<40>();
        if (who.thread > 0) return;
        barrier_expect(cores, 4 * kBox);
        load_box(bs, &b, cores, 0, 0, group, policy);
        load_box(as, &a, cores, 0, 0, group, policy), load_box(as + kBox, &a, cores, 64, 0, group, policy);
        Turn turn;
        for (int n = 0; n < count; ++n, turn.next(kSlots)) {
            barrier_wait(empty + 8 * turn.slot, turn.parity ^ 1);
            barrier_expect(full + 8 * turn.slot, kBox);
            load_box(slots + turn.slot * kBox, &z, full + 8 * turn.slot, row_of(n), 0, group, policy);
        }
        return;
    }
    take_registers<152>();
    const uint32_t hs = teams + (who.group - 1) * kTeamBoxes * kBox, vs = hs + 2 * kBox, ws = vs + 2 * kBox;
    const Fixed fixed = fixed_of(p.numbers);
    for (int i = threadIdx.x - 128; i < kValues; i += 128 * kTeams)
        table[i] = static_cast<uint16_t>(__float_as_uint(value_of(usual_value(i), fixed)) >> 16);
    teams_sync<kTeams>();
    barrier_wait(cores, 0);
#pragma unroll 1
    for (int n = who.group - 1; n < count; n += kTeams) {
        const uint32_t slot = n % kSlots;
        barrier_wait(full + 8 * slot, n / kSlots & 1);
        __syncwarp();
        float sums[64];
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<1, 0>(sums, advanced(lines_of(slots + slot * kBox), k * kAcross), advanced(lines_of(bs), k * kAlong),
                        k > 0);
        products_end();
        barrier_arrive(empty + 8 * slot);
        if (KEEPS_H && who.thread == 0) stores_read<1>();  // The store of the previous tile's h has read its boxes.
        group_sync(who.group);
        evaluate(who, sums, hs, vs, values, fixed);
        fence_copies();
        group_sync(who.group);
        if (KEEPS_H && who.thread == 0) {
            store_box(&h, hs, 0, row_of(n), group, policy), store_box(&h, hs + kBox, 64, row_of(n), group, policy);
            stores_commit();
        }
        float out[32];
        products_begin();
#pragma unroll
        for (int k = 0; k < 8; ++k)
            wgmma<0, 0>(out, advanced(lines_of(vs + k / 4 * kBox), k % 4 * kAlong),
                        advanced(lines_of(as + k / 4 * kBox), k % 4 * kAlong), k > 0);
        products_end();
        store_transposed<KEEPS_H>(who, out, ws, &w, row_of(n), group, policy);
    }
    if (who.thread == 0) stores_done();
}
