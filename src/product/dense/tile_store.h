// From sums to the output's strides and dtype; each element is rounded once.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "base/view.h"
#include "tape/kernels.h"
#include "tenon/dtype.h"

namespace tenon::product::dense {

inline bool is_affine(const std::int64_t* offsets, std::int64_t n, std::int64_t step) {
    std::int64_t gaps = 0;
    for (std::int64_t i = 1; i < n; ++i) gaps |= offsets[i] - offsets[i - 1] - step;
    return gaps == 0;
}

/// Scatters `n` adjacent elements of `size` bytes; with kGather, gathers them.
template <bool kGather>
void move_elements(std::byte* spread, const std::int64_t* offsets, std::byte* dense, std::int64_t n, std::size_t size) {
    const auto move = [&]<class T>(T) {
        T* there = reinterpret_cast<T*>(spread);
        T* here = reinterpret_cast<T*>(dense);
        for (std::int64_t i = 0; i < n; ++i)
            if constexpr (kGather)
                here[i] = there[offsets[i]];
            else
                there[offsets[i]] = here[i];
    };
    switch (size) {
        case 1:
            return move(std::uint8_t{});
        case 2:
            return move(std::uint16_t{});
        case 4:
            return move(std::uint32_t{});
        default:
            return move(std::uint64_t{});
    }
}

/// The dtype of sums of type Acc in memory. Integers are the same bits whatever their sign.
template <class Acc>
constexpr DType sum_type() {
    if constexpr (std::is_same_v<Acc, float>) return DType::float32;
    if constexpr (std::is_same_v<Acc, double>) return DType::float64;
    if constexpr (std::is_same_v<Acc, std::uint32_t>) return DType::int32;
    return DType::int64;
}

/// A row of the output: elements at data + offsets[i].
struct OutputRow {
    std::byte* data;
    const std::int64_t* offsets;
    std::int64_t n;
    DType type;
    bool unit;  // offsets are consecutive
};

/// sums -> out. `room` holds n elements of 8 bytes.
template <class Acc>
void store_row(const Acc* sums, const OutputRow& out, std::byte* room) {
    constexpr DType kFrom = sum_type<Acc>();
    const std::size_t size = size_of(out.type);
    std::byte* first = out.data + out.offsets[0] * static_cast<std::int64_t>(size);
    const void* in[] = {sums};
    // Integers keep their low bits whatever the sign.
    if (size == sizeof(Acc)) {
        if (out.unit)
            __builtin_memcpy(first, sums, static_cast<std::size_t>(out.n) * size);
        else
            move_elements<false>(out.data, out.offsets, reinterpret_cast<std::byte*>(const_cast<Acc*>(sums)), out.n,
                                 size);
        return;
    }
    const tape::Kernel cast = tape::kernels().cast[static_cast<int>(kFrom)][static_cast<int>(out.type)];
    cast(out.unit ? first : room, in, out.n);
    if (!out.unit) move_elements<false>(out.data, out.offsets, room, out.n, size);
}

/// out -> c, exactly. `room` as above.
template <class Acc>
void load_row(Acc* c, const OutputRow& out, std::byte* room) {
    const std::size_t size = size_of(out.type);
    const void* in[] = {out.data + out.offsets[0] * static_cast<std::int64_t>(size)};
    std::byte* to = size == sizeof(Acc) ? reinterpret_cast<std::byte*>(c) : room;
    if (!out.unit) {
        move_elements<true>(out.data, out.offsets, to, out.n, size);
        in[0] = to;
    } else if (size == sizeof(Acc)) {
        __builtin_memcpy(c, in[0], static_cast<std::size_t>(out.n) * size);
    }
    if (size != sizeof(Acc))
        tape::kernels().cast[static_cast<int>(out.type)][static_cast<int>(sum_type<Acc>())](c, in, out.n);
}

/// Rounds rows of sums, `ld` apart, to a narrower type in place; a rounded row ends before the next row begins. `room`
/// holds one row.
template <class Acc>
void narrow_rows(Acc* sums, std::int64_t ld, std::int64_t rows, std::int64_t columns, DType type, std::byte* room) {
    const tape::Kernel cast = tape::kernels().cast[static_cast<int>(sum_type<Acc>())][static_cast<int>(type)];
    for (std::int64_t i = 0; i < rows; ++i) {
        const void* in[] = {sums + i * ld};
        cast(room, in, columns);
        __builtin_memcpy(sums + i * ld, room, static_cast<std::size_t>(columns) * size_of(type));
    }
}

/// A block of a matrix, for a tape; strides count elements.
inline View block_view(void* data, DType type, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                       std::int64_t column_stride) {
    View v;
    v.data = data;
    v.dtype = type;
    v.layout.shape = {rows, columns};
    v.layout.strides = {row_stride, column_stride};
    return v;
}

}  // namespace tenon::product::dense
