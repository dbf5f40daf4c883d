// The gradients of what hidden.cu computes, from dw, the gradient of its result, with the values v computed again from
// h:
//
//     dv[i, f, q] = sum_c dw[c, f, i] a[c, f, q]        dh = slope(h, dv)      v = value_of(h)
//     dz[f, g, i] = sum_q dh[i, f, q] b[f, q, g]
//     da[c, f, q] = sum_i dw[c, f, i] v[i, f, q]        db[f, q, g] = sum_i dh[i, f, q] z[f, g, i]
//
// A block has one group and all rows, in tiles of 64. Warpgroup 0 loads. Warpgroups 1 and 2 take the tiles in turn and
// compute v, dz, and dh, which overwrites h. Warpgroup 3 adds up the gradients of both cores in registers, in the order
// of the rows.
//
// Barriers: v_full and v_empty say that dh and v of a tile are written, and that warpgroup 3 has read them; full and
// empty do so for the buffers of dw, z and h, which both sides read.
//
// Macro: OUT, the type of the cores' gradients, float or uint16_t (for bfloat16).
#include "cuda/chain/hidden.cuh"

constexpr int kSlots = 3, kTeams = 2;  // buffers for tiles, and warpgroups that take them in turn
constexpr int kSlot = 4 * kBox;  // bytes of dw, z and h of a tile

struct Arguments {
    int tiles, groups;
    OUT *da, *db;
    Numbers numbers;
};

constexpr int kWider = sizeof(Found) / 2;  // from offsets in a table of 16-bit numbers to those in a table of Found
/// Addresses of the tables.
struct Tables {
    uint32_t values;  // the function; unused where it is computed from what the other table has
    uint32_t found;  // what its slope is computed from
};

/// Overwrites h with dh, and computes v. Words with an element that is not in the tables are left as h and dv at first,
/// and are computed once the warp has written all its words.
__device__ __forceinline__ void evaluate(const Who& who, const float (&dv)[64], uint32_t hs, uint32_t vs,
                                         const Tables& tables, const Fixed& fixed) {
    constexpr int kAtOnce = 8;  // words whose look-ups overlap
    uint32_t words_beyond = 0;
#pragma unroll
    for (int j = 0; j < 16; j += kAtOnce / 2) {
        uint32_t words[2][4], values[2][4];
#pragma unroll
        for (int n = 0; n < 2; ++n) load_matrices<false>(words[n], who.matrices(hs, j + 2 * n));
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            const uint32_t h = words[n / 4][n % 4], d = pack(dv[4 * j + 2 * n], dv[4 * j + 2 * n + 1]);
            const Offsets at(h);
            const Found low = found_at<Found>(tables.found + at.low() * kWider),
                        high = found_at<Found>(tables.found + at.high() * kWider);
            const uint32_t dh =
                together(slope(low_of(h), low_of(d), low, fixed), slope(high_of(h), high_of(d), high, fixed));
            uint32_t value;
            if constexpr (kValueOfFound)
                value = together(value_with(low_of(h), low, fixed), value_with(high_of(h), high, fixed));
            else
                value = values_at(tables.values, at);
            const bool is_beyond = at.beyond();
            words_beyond |= static_cast<uint32_t>(is_beyond) << (2 * j + n);
            words[n / 4][n % 4] = is_beyond ? h : dh, values[n / 4][n % 4] = is_beyond ? d : value;
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            store_matrices<false>(who.matrices(hs, j + 2 * n), words[n]);
            store_matrices<false>(who.matrices(vs, j + 2 * n), values[n]);
        }
    }
    if (!__any_sync(~0u, words_beyond != 0)) return;
    __syncwarp();
#pragma unroll 1
    for (; words_beyond; words_beyond &= words_beyond - 1) {
        const int n = __ffs(words_beyond) - 1;
        const uint32_t to_h = who.own(hs, n / 2, n % 2), to_v = who.own(vs, n / 2, n % 2), h = load_word(to_h),
                       d = load_word(to_v);
        uint32_t dh = 0, value = 0;
#pragma unroll 1
        for (int half = 0; half < 2; ++half) {
            const float x = half ? high_of(h) : low_of(h), dx = half ? high_of(d) : low_of(d);
            const uint32_t s = __float_as_uint(slope(x, dx, find(x, fixed), fixed)),
                           v = __float_as_uint(value_of(x, fixed));
            // The first element moves to the lower half as the second one enters the upper half.
            dh = __byte_perm(dh, s, 0x7632), value = __byte_perm(value, v, 0x7632);
        }
        store_word(to_h, dh), store_word(to_v, value);
    }
}

/// Stores a word's two bfloat16, the second one `second` elements after the first.
__device__ __forceinline__ void put(float* to, uint32_t word, int second) {
    to[0] = low_of(word), to[second] = high_of(word);
}
__device__ __forceinline__ void put(uint16_t* to, uint32_t word, int second) {
    to[0] = static_cast<uint16_t>(word), to[second] = static_cast<uint16_t>(word >> 16);
}
/// Rounds the sums to bfloat16 and stores that of each line and column at to[line * of_line + column * of_column].
__device__ __forceinline__ void write(const Who& who, const float (&sums)[64], OUT* to, long long of_line,
                                      int of_column) {
#pragma unroll
    for (int n = 0; n < 32; ++n) {
        const int line = 16 * who.warp + 8 * (n % 2) + who.lane / 4, column = 8 * (n / 2) + who.lane % 4 * 2;
        put(to + line * of_line + column * of_column, pack(sums[2 * n], sums[2 * n + 1]), of_column);
    }
}

struct Places {
    uint32_t bs, as, slots, vs, outs, full, empty, v_full, v_empty, cores;
};

__device__ __forceinline__ void gradients_of_rows(const Who& who, const Places& at, const TensorMap* dz,
                                                  const Tables& tables, const Fixed& fixed, int count, int group) {
    const uint32_t team = who.group - 1, vs = at.vs + team * 2 * kBox, out = at.outs + team * kBox;
    const uint64_t policy = evict_normal();
#pragma unroll 1
    for (int n = team; n < count; n += kTeams) {
        const uint32_t slot = n % kSlots, dw = at.slots + slot * kSlot, hs = dw + 2 * kBox;
        barrier_wait(at.full + 8 * slot, n / kSlots & 1);
        __syncwarp();
        float sums[64];
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<1, 1>(sums, advanced(lines_of(dw), k * kAcross), advanced(across_boxes(at.as), k * kAcross), k > 0);
        products_end();
        barrier_wait(at.v_empty + 8 * team, (n / kTeams & 1) ^ 1);
        __syncwarp();
        evaluate(who, sums, hs, vs, tables, fixed);
        fence_copies();
        group_sync(who.group);
        barrier_arrive(at.v_full + 8 * team);
        float of_z[32];
        products_begin();
#pragma unroll
        for (int k = 0; k < 8; ++k)
            wgmma<0, 1>(of_z, advanced(lines_of(hs + k / 4 * kBox), k % 4 * kAlong),
                        advanced(lines_of(at.bs), k * kAcross), k > 0);
        products_end();
        barrier_arrive(at.empty + 8 * slot);
        store_transposed<0>(who, of_z, out, dz, n * kRows, group, policy);
    }
    if (who.thread == 0) stores_done();
}

__device__ __forceinline__ void gradients_of_cores(const Who& who, const Places& at, const Arguments& p, int group) {
    float da[64], db[64];
#pragma unroll 1
    for (int n = 0; n < p.tiles; ++n) {
        const uint32_t slot = n % kSlots, team = n % kTeams, dw = at.slots + slot * kSlot, z = dw + kBox, dh = z + kBox,
                       v = at.vs + team * 2 * kBox;
        barrier_wait(at.full + 8 * slot, n / kSlots & 1);
        barrier_wait(at.v_full + 8 * team, n / kTeams & 1);
        __syncwarp();
        products_begin();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<0, 1>(da, advanced(lines_of(dw), k * kAlong), advanced(across_boxes(v), k * kAcross), n > 0 || k > 0);
#pragma unroll
        for (int k = 0; k < 4; ++k)
            wgmma<0, 1>(db, advanced(lines_of(z), k * kAlong), advanced(across_boxes(dh), k * kAcross), n > 0 || k > 0);
        products_end();
        barrier_arrive(at.v_empty + 8 * team), barrier_arrive(at.empty + 8 * slot);
    }
    write(who, da, p.da + group * 128, p.groups * 128, 1);
    write(who, db, p.db + static_cast<long long>(group) * 128 * 64, 1, 64);
}

extern "C" __global__ void __launch_bounds__(512, 1)
    hidden_gradients(const __grid_constant__ TensorMap dw, const __grid_constant__ TensorMap z,
                     const __grid_constant__ TensorMap h, const __grid_constant__ TensorMap dz,
                     const __grid_constant__ TensorMap b, const __grid_constant__ TensorMap a,
                     const __grid_constant__ Arguments p) {
    extern __shared__ unsigned char memory[];
    const uint32_t start = shared_address(memory);
    Places at;
    at.bs = start + 1023 & ~1023u, at.as = at.bs + 2 * kBox, at.slots = at.as + 2 * kBox,
    at.vs = at.slots + kSlots * kSlot;
    at.outs = at.vs + kTeams * 2 * kBox;
    const uint32_t found_begin = at.outs + kTeams * kBox, values_begin = found_begin + kValues * sizeof(Found);
    at.full = values_begin + kValues * 2, at.empty = at.full + 8 * kSlots, at.v_full = at.empty + 8 * kSlots;
    at.v_empty = at.v_full + 8 * kTeams, at.cores = at.v_empty + 8 * kTeams;
    auto* const found = reinterpret_cast<Found*>(memory + (found_begin - start));
    auto* const values = reinterpret_cast<uint16_t*>(memory + (values_begin - start));
    const Who who;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kSlots; ++i) barrier_init(at.full + 8 * i, 1), barrier_init(at.empty + 8 * i, 2 * 128);
        for (int i = 0; i < kTeams; ++i) barrier_init(at.v_full + 8 * i, 128), barrier_init(at.v_empty + 8 * i, 128);
        barrier_init(at.cores, 1);
        barriers_ready();
    }
    let_next_start();
    wait_for_previous();
    __syncthreads();
    const int group = blockIdx.x;
    if (who.group == 0) {
        give_registers<40>();
        if (who.thread > 0) return;
        const uint64_t policy = evict_normal();
        barrier_expect(at.cores, 4 * kBox);
        load_box(at.bs, &b, at.cores, 0, 0, group, policy);
        load_box(at.as, &a, at.cores, 0, 0, group, policy), load_box(at.as + kBox, &a, at.cores, 64, 0, group, policy);
        Turn turn;
        for (int n = 0; n < p.tiles; ++n, turn.next(kSlots)) {
            const uint32_t to = at.slots + turn.slot * kSlot, barrier = at.full + 8 * turn.slot;
            barrier_wait(at.empty + 8 * turn.slot, turn.parity ^ 1);
            barrier_expect(barrier, kSlot);
            load_box(to, &dw, barrier, n * kRows, 0, group, policy);
            load_box(to + kBox, &z, barrier, n * kRows, 0, group, policy);
            load_box(to + 2 * kBox, &h, barrier, 0, n * kRows, group, policy);
            load_box(to + 3 * kBox, &h, barrier, 64, n * kRows, group, policy);
        }
        return;
    }
    if (who.group == 3) {
        take_registers<168>();
        return gradients_of_cores(who, at, p, group);
    }
    take_registers<152>();
    const Fixed fixed = fixed_of(p.numbers);
    for (int i = threadIdx.x - 128; i < kValues; i += 128 * kTeams) {
        const float x = usual_value(i);
        found[i] = find(x, fixed);
        if constexpr (!kValueOfFound) values[i] = static_cast<uint16_t>(__float_as_uint(value_of(x, fixed)) >> 16);
    }
    teams_sync<kTeams>();
    barrier_wait(at.cores, 0);
    gradients_of_rows(who, at, &dz, {values_begin, found_begin}, fixed, p.tiles, group);
}
