// What hidden.cu and hidden_gradients.cu share: tiles of 64 rows, of whose hidden values a group has 128 columns, and
// of what is before and behind them 64. A box is 64 lines of 128 bytes, in the 128-byte swizzle; 128 columns are two
// boxes.
//
// All threads arrive at barriers, though one of a warp would do: racecheck orders only what threads do that arrive
// themselves.
//
// Printed before: kLow, kSpan, Numbers, Fixed, fixed_of and the functions of a hidden value (hidden.cpp).
#pragma once

#include "cuda/hopper.cuh"

constexpr int kRows = 64, kBox = 64 * 128;
/// Of a table: the usual bfloat16, positive ones first, and behind those of either sign a place for the others (four,
/// for what lies behind).
constexpr int kPlaces = kSpan + 4, kValues = 2 * kPlaces;

/// 16 bytes of a line.
__device__ __forceinline__ uint32_t piece(uint32_t box, int line, int at) {
    return box + line * 128 + ((at ^ (line & 7)) << 4);
}

/// Lines along either side of a product, 64 of what lies side by side in them.
__device__ __forceinline__ uint64_t lines_of(uint32_t box) { return descriptor(box, 1024, Swizzle::bytes128); }
/// Two boxes, whose 128 columns lie side by side, as a right operand of as many columns.
__device__ __forceinline__ uint64_t across_boxes(uint32_t boxes) {
    return lines_of(boxes) +
           (static_cast<uint64_t>((kBox >> 4) - 1) << 16);  // instead of the 1 that `descriptor` has there
}
constexpr int kAlong = 32,
              kAcross = 16 * 128;  // bytes from 16 summed elements to the next, along a line and from line to line

/// A thread of a warpgroup, and what of a product's sums it has.
struct Who {
    int group, thread, warp, lane;
    int line, at;  // of the line that it addresses of two by two 8 x 8 matrices, the first two below each other

    __device__ __forceinline__ Who() {
        const uint32_t t = pinned(threadIdx.x);
        group = uniform(t / 128), thread = t % 128, warp = uniform(t % 128 / 32), lane = t % 32;
        line = 16 * warp + (lane & 8) + lane % 8, at = lane / 16;
    }
    /// Columns 8j to 8j + 15 of the thread's warp, j even.
    __device__ __forceinline__ uint32_t matrices(uint32_t boxes, int j) const {
        return piece(boxes + j / 8 * kBox, line, j % 8 + at);
    }
    /// The same turned round, as a box of columns.
    __device__ __forceinline__ uint32_t turned(uint32_t box, int j) const {
        return piece(box, 8 * (j + at) + lane % 8, 2 * warp + (lane / 8 & 1));
    }
    /// The thread's own two elements of columns 8j to 8j + 7; `half` is 0, or 1 for the lines 8 further.
    __device__ __forceinline__ uint32_t own(uint32_t boxes, int j, int half) const {
        return piece(boxes + j / 8 * kBox, 16 * warp + 8 * half + lane / 4, j % 8) + lane % 4 * 4;
    }
};

__device__ __forceinline__ uint32_t load_word(uint32_t from) {
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(from) : "memory");
    return v;
}
__device__ __forceinline__ void store_word(uint32_t to, uint32_t v) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(v) : "memory");
}

/// Where a table of 16-bit numbers has those of two bfloat16, in bytes, each in its half.
struct Offsets {
    uint32_t without_sign, all;

    __device__ __forceinline__ explicit Offsets(uint32_t word) {
        constexpr uint32_t kBoth = 0x00010001u;
        without_sign = __viaddmin_u16x2(word << 1 & 0xfffefffeu, (0x10000u - 2 * kLow) * kBoth, 2 * kSpan * kBoth);
        all = (word >> 15 & kBoth) * (2 * kPlaces) + without_sign;
    }
    /// Whether a table lacks one of them.
    __device__ __forceinline__ bool odd() const {
        constexpr uint32_t kUp = 0x8000 - 2 * kSpan;
        return (without_sign + (kUp << 16 | kUp) & 0x80008000u) != 0;
    }
    __device__ __forceinline__ uint32_t low() const { return all & 0xffff; }
    __device__ __forceinline__ uint32_t high() const { return all >> 16; }
};
/// The value at a place.
__device__ __forceinline__ float usual_value(int place) {
    return __uint_as_float(static_cast<uint32_t>(place / kPlaces << 15 | (kLow + place % kPlaces)) << 16);
}
/// An element of a table, which nobody writes any more. (By a pointer the compiler reads it as it reads global memory.)
template <class T>
__device__ __forceinline__ T found_at(uint32_t address) {
    if constexpr (sizeof(T) == 2) {
        uint16_t v;
        asm("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address));
        return __builtin_bit_cast(T, v);
    } else if constexpr (sizeof(T) == 4) {
        uint32_t v;
        asm("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
        return __builtin_bit_cast(T, v);
    } else {
        uint2 v;
        asm("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address));
        return __builtin_bit_cast(T, v);
    }
}
/// Of a table of bfloat16, the two that `at` is of.
__device__ __forceinline__ uint32_t values_at(uint32_t table, const Offsets& at) {
    return found_at<uint16_t>(table + at.low()) | static_cast<uint32_t>(found_at<uint16_t>(table + at.high())) << 16;
}
__device__ __forceinline__ float low_of(uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_of(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }
/// Two numbers that are bfloat16.
__device__ __forceinline__ uint32_t together(float low, float high) {
    return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

/// Waits for the warpgroups that compute.
template <int groups>
__device__ __forceinline__ void teams_sync() {
    asm volatile("bar.sync 8, %0;" ::"n"(128 * groups) : "memory");
}

/// Sums of 64 columns, rounded, as a box of columns, by the copy engine, which has read the box when all but the newest
/// `newer` groups of stores have read theirs. Two waits of the warpgroup.
template <int newer>
__device__ __forceinline__ void store_turned(const Who& who, const float (&sums)[32], uint32_t box,
                                             const TensorMap* map, int row, int of_group, uint64_t policy) {
    if (who.thread == 0) stores_read<newer>();
    group_sync(who.group);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        const float* const s = sums + 4 * j;
        const uint32_t words[4] = {pack(s[0], s[1]), pack(s[2], s[3]), pack(s[4], s[5]), pack(s[6], s[7])};
        store_matrices<true>(who.turned(box, j), words);
    }
    fence_copies();
    group_sync(who.group);
    if (who.thread == 0) {
        store_box(map, box, row, 0, of_group, policy);
        stores_commit();
    }
}
