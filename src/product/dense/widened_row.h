// One row of bfloat16 with columns contiguous along k, on a CPU whose dot product of pairs is slow (units.h): pairs are
// transposed as words, then split into float32 and multiplied by two multiply-adds a pair, as the law says. The
// dot-product instruction shares its unit with the shuffles: it would take 96 cycles for a KB of columns, this way some
// 75 (Emerald Rapids). For AVX-512; everything is in an unnamed namespace: see simd.h.
#pragma once

#include "product/dense/micro.h"

namespace tenon::product::dense {
namespace {

struct WidenedRow {
    using Floats = Vector<float>;
    using Words = Vector<std::uint32_t>;
    using Pairs = Words::Reg;
    static constexpr int kLines = 16, kStep = 32;  // columns; elements of a column at a time

    TENON_INLINE static Floats::Reg even(Pairs x) { return reinterpret_cast<Floats::Reg>(x << 16); }
    TENON_INLINE static Floats::Reg odd(Pairs x) { return reinterpret_cast<Floats::Reg>(x & 0xffff0000u); }

    /// Eight pairs of sixteen columns, as vectors of columns. Lines i and i + 8 share a vector, which is loaded in
    /// halves: this saves a quarter of the shuffles.
    TENON_INLINE static void across(Pairs* pairs, const std::uint16_t* const* lines, std::int64_t k) {
        Pairs x[8], u[8];
        const auto half = [](const std::uint16_t* p) {
            return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        };
#pragma GCC unroll 16
        for (int i = 0; i < 8; ++i)
            x[i] = reinterpret_cast<Pairs>(
                _mm512_inserti64x4(_mm512_castsi256_si512(half(lines[i] + k)), half(lines[8 + i] + k), 1));
#pragma GCC unroll 16
        for (int g = 0; g < 8; g += 4) {
            const Pairs low01 = interleave_low(x[g], x[g + 1]), high01 = interleave_high(x[g], x[g + 1]);
            const Pairs low23 = interleave_low(x[g + 2], x[g + 3]), high23 = interleave_high(x[g + 2], x[g + 3]);
            u[g] = interleave_pairs_low(low01, low23), u[g + 1] = interleave_pairs_high(low01, low23);
            u[g + 2] = interleave_pairs_low(high01, high23), u[g + 3] = interleave_pairs_high(high01, high23);
        }
        // 128 bits of u[c] hold columns 0 to 3 of pair c and of pair 4 + c, and columns 8 to 11 likewise; those of u[4
        // + c] hold columns 4 to 7 and 12 to 15.
#pragma GCC unroll 16
        for (int c = 0; c < 4; ++c) {
            pairs[c] =
                __builtin_shufflevector(u[c], u[4 + c], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
            pairs[4 + c] =
                __builtin_shufflevector(u[c], u[4 + c], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        }
    }

    /// Sixteen pairs of a chain.
    TENON_INLINE static Floats::Reg square(Floats::Reg acc, const float* a, const std::uint16_t* const* lines,
                                           std::int64_t k) {
        Pairs pairs[16];
        across(pairs, lines, k), across(pairs + 8, lines, k + 16);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            acc = Floats::fma(Floats::broadcast(a[k + 2 * i + 1]), odd(pairs[i]), acc);
            acc = Floats::fma(Floats::broadcast(a[k + 2 * i]), even(pairs[i]), acc);
        }
        return acc;
    }

    /// The last pairs of a chain. The missing odd element of the last pair counts as zero in both operands.
    static Floats::Reg rest(Floats::Reg acc, const float* a, const std::uint16_t* const* lines, std::int64_t k,
                            std::int64_t end) {
        for (; k < end; k += 2) {
            std::uint32_t pairs[kLines];
            for (int r = 0; r < kLines; ++r)
                pairs[r] = lines[r][k] | (k + 1 < end ? std::uint32_t{lines[r][k + 1]} << 16 : 0u);
            const Pairs x = Words::load(pairs);
            acc = Floats::fma(Floats::broadcast(a[k + 1]), odd(x), acc);
            acc = Floats::fma(Floats::broadcast(a[k]), even(x), acc);
        }
        return acc;
    }

    /// Adds the blocks from k on of kSets times kLines columns to their sums.
    template <int kSets>
    static void blocks(Floats::Reg (&sums)[kSets], const DotBlock<std::uint32_t, float>& block,
                       const std::uint16_t* const* lines, std::int64_t k) {
        const float* const a = block.widened;
        for (; k < block.k; k += block.block) {
            const std::int64_t end = least_of(k + block.block, block.k), whole = k + (end - k) / kStep * kStep;
            Floats::Reg acc[kSets] = {};
            for (std::int64_t at = k; at < whole; at += kStep)
#pragma GCC unroll 2
                for (int set = 0; set < kSets; ++set) acc[set] = square(acc[set], a, lines + set * kLines, at);
            for (int set = 0; set < kSets; ++set) {
                if (whole < end) acc[set] = rest(acc[set], a, lines + set * kLines, whole, end);
                sums[set] = k == 0 ? acc[set] : sums[set] + acc[set];
            }
        }
    }

    /// The sums of columns. Two independent chains hide each other's latency: those of two blocks or, for the last
    /// block, those of two sets of columns.
    template <int kSets>
    static void columns(Floats::Reg (&sums)[kSets], const DotBlock<std::uint32_t, float>& block,
                        const std::uint16_t* const* lines) {
        const std::int64_t two = 2 * block.block, whole = block.k / two * two;
        for (int set = 0; set < kSets; ++set) {
            const std::uint16_t* const* const own = lines + set * kLines;
            Floats::Reg sum{};
            for (std::int64_t k = 0; k < whole; k += two) {
                Floats::Reg first{}, second{};
                for (std::int64_t at = k; at < k + block.block; at += kStep) {
                    first = square(first, block.widened, own, at);
                    second = square(second, block.widened, own, at + block.block);
                }
                sum = (k == 0 ? first : sum + first) + second;
            }
            sums[set] = sum;
        }
        blocks(sums, block, lines, whole);
    }

    static void run(const DotBlock<std::uint32_t, float>& block) {
        for (std::int64_t g = 0; 2 * g < block.k; ++g) {
            block.widened[2 * g] = __builtin_bit_cast(float, block.a[g] << 16);
            // Past the last element a group holds zero, or whatever the caller has there.
            block.widened[2 * g + 1] = __builtin_bit_cast(float, 2 * g + 1 < block.k ? block.a[g] & 0xffff0000u : 0u);
        }
        std::int64_t j = 0;
        for (; j + kLines < block.columns; j += 2 * kLines) some_columns<2>(block, j);
        if (j < block.columns) some_columns<1>(block, j);
    }

  private:
    template <int kSets>
    static void some_columns(const DotBlock<std::uint32_t, float>& block, std::int64_t j) {
        const std::uint16_t* lines[kSets * kLines];
        find_lines(lines, block, j);
        Floats::Reg sums[kSets] = {};
        columns(sums, block, lines);
        for (int set = 0; set < kSets; ++set) {
            const std::int64_t at = j + set * kLines;
            const Floats::Reg sum = block.write == Write::subtract ? -sums[set] : sums[set];
            const Floats::Mask mask = Floats::first(block.columns - at);
            float* const c = block.c + at;
            Floats::store(c, block.write == Write::store ? sum : Floats::load(c, mask) + sum, mask);
        }
    }
};

/// One row of bfloat16, by whichever way the caller has scratch for.
template <class V, class L>
void pairs_row_kernel(const DotBlock<std::uint32_t, float>& block) {
    block.widened ? WidenedRow::run(block) : dot_kernel<V, L, 1, false>(block);
}

}  // namespace
}  // namespace tenon::product::dense
