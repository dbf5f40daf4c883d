// What hidden.cu and hidden_gradients.cu share. A tile has 64 rows. A group has 128 columns of hidden values, and 64
// columns of what the layers before and after them exchange with it. A box is 64 lines of 128 bytes, in the 128-byte
// swizzle; 128 columns are two boxes.
//
// All threads arrive at barriers, where one thread of a warp would do, because racecheck orders only the accesses of
// threads that arrive themselves.
//
// hidden.cpp prints before this file: kLow, kSpan, Numbers, Fixed, fixed_of and the functions of a hidden value.
#pragma once

#include "cuda/hopper.cuh"

constexpr int kRows = 64, kBox = 64 * 128;
/// A table has an entry for each usual bfloat16, that is for kSpan magnitudes from kLow on: first the positive ones,
/// then the negative ones. Behind those of each sign is an entry to which all other values are mapped (four entries, so
/// that what follows is aligned). kPlaces is the number of entries for a sign.
constexpr int kPlaces = kSpan + 4, kValues = 2 * kPlaces;

/// Address of the 16 bytes number `at` of a line of a box.
__device__ __forceinline__ uint32_t piece(uint32_t box, int line, int at) {
    return box + line * 128 + ((at ^ (line & 7)) << 4);
}

/// The descriptor of a box as either operand of a product.
__device__ __forceinline__ uint64_t lines_of(uint32_t box) { return descriptor(box, 1024, Swizzle::bytes128); }
/// The descriptor of two boxes as a right operand of 128 columns, where columns are adjacent in the lines.
__device__ __forceinline__ uint64_t across_boxes(uint32_t boxes) {
    // The leading dimension byte offset becomes kBox; `descriptor` sets its field to 1.
    return lines_of(boxes) + (static_cast<uint64_t>((kBox >> 4) - 1) << 16);
}
// Bytes from 16 summed elements to the next 16, where these run along a line, and where they run from line to line.
constexpr int kAlong = 32, kAcross = 16 * 128;

/// A thread of a warpgroup, and the addresses in boxes of its sums of a product.
struct Who {
    int group, thread, warp, lane;
    // Of the line that the thread addresses for ldmatrix and stmatrix: its index, and which 16 bytes of two. The four 8
    // x 8 matrices are two by two, the first two below each other.
    int line, at;

    __device__ __forceinline__ Who() {
        const uint32_t t = pinned(threadIdx.x);
        group = uniform(t / 128), thread = t % 128, warp = uniform(t % 128 / 32), lane = t % 32;
        line = 16 * warp + (lane & 8) + lane % 8, at = lane / 16;
    }
    /// Columns 8j to 8j + 15 of the warp's 16 lines, for j even: the address that the thread gives.
    __device__ __forceinline__ uint32_t matrices(uint32_t boxes, int j) const {
        return piece(boxes + j / 8 * kBox, line, j % 8 + at);
    }
    /// The same for a box of the transposed matrix, whose lines are columns.
    __device__ __forceinline__ uint32_t transposed(uint32_t box, int j) const {
        return piece(box, 8 * (j + at) + lane % 8, 2 * warp + (lane / 8 & 1));
    }
    /// The address of the thread's own two elements in columns 8j to 8j + 7; `half` is 1 for the line 8 further on,
    /// else 0.
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

/// The places of a word's two bfloat16 in a table of 16-bit numbers: their offsets in bytes, in the two halves of a
/// word.
struct Offsets {
    uint32_t without_sign, all;

    __device__ __forceinline__ explicit Offsets(uint32_t word) {
        constexpr uint32_t kBoth = 0x00010001u;
        without_sign = __viaddmin_u16x2(word << 1 & 0xfffefffeu, (0x10000u - 2 * kLow) * kBoth, 2 * kSpan * kBoth);
        all = (word >> 15 & kBoth) * (2 * kPlaces) + without_sign;
    }
    /// Whether one of the two is not in the table.
    __device__ __forceinline__ bool beyond() const {
        constexpr uint32_t kUp = 0x8000 - 2 * kSpan;
        return (without_sign + (kUp << 16 | kUp) & 0x80008000u) != 0;
    }
    __device__ __forceinline__ uint32_t low() const { return all & 0xffff; }
    __device__ __forceinline__ uint32_t high() const { return all >> 16; }
};
/// The bfloat16 to which an entry belongs.
__device__ __forceinline__ float usual_value(int place) {
    return __uint_as_float(static_cast<uint32_t>(place / kPlaces << 15 | (kLow + place % kPlaces)) << 16);
}
/// Loads an entry of a table that nobody writes any more. (Through a pointer the compiler would use generic loads.)
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
/// The entries at `at` of a table of bfloat16, as a word.
__device__ __forceinline__ uint32_t values_at(uint32_t table, const Offsets& at) {
    return found_at<uint16_t>(table + at.low()) | static_cast<uint32_t>(found_at<uint16_t>(table + at.high())) << 16;
}
__device__ __forceinline__ float low_of(uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_of(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }
/// Packs two floats that are bfloat16 values into a word.
__device__ __forceinline__ uint32_t together(float low, float high) {
    return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

/// Synchronizes `groups` warpgroups, those that fill the tables.
template <int groups>
__device__ __forceinline__ void teams_sync() {
    asm volatile("bar.sync 8, %0;" ::"n"(128 * groups) : "memory");
}

/// Rounds the sums of 64 columns, writes them transposed into a box, and has the copy engine store the box. The
/// previous store from this box has at most `newer` groups of stores after it. Synchronizes the warpgroup twice.
template <int newer>
__device__ __forceinline__ void store_transposed(const Who& who, const float (&sums)[32], uint32_t box,
                                                 const TensorMap* map, int row, int of_group, uint64_t policy) {
    if (who.thread == 0) stores_read<newer>();
    group_sync(who.group);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        const float* const s = sums + 4 * j;
        const uint32_t words[4] = {pack(s[0], s[1]), pack(s[2], s[3]), pack(s[4], s[5]), pack(s[6], s[7])};
        store_matrices<true>(who.transposed(box, j), words);
    }
    fence_copies();
    group_sync(who.group);
    if (who.thread == 0) {
        store_box(map, box, row, 0, of_group, policy);
        stores_commit();
    }
}
