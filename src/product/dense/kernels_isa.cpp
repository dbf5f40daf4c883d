// Micro-kernels and packing, one source for all instruction sets.
#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

/// Operands as they are stored.
struct Half {
    using Lane = std::uint16_t;
};
struct Brain {
    using Lane = std::uint16_t;
};
template <class T>
struct Plain {
    using Lane = T;
};

// --- micro-kernels ---

/// One k: rank-1 update of the MR x NV vectors.
template <class V, int MR, int NV>
TENON_INLINE void update(typename V::Reg (&acc)[MR][NV], const typename V::Element* a, const typename V::Element* b) {
    typename V::Reg columns[NV];
#pragma GCC unroll 16
    for (int j = 0; j < NV; ++j) columns[j] = V::load(b + j * V::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        const typename V::Reg row = V::broadcast(a[i * kRowPitch]);
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) acc[i][j] = V::fma(row, columns[j], acc[i][j]);
    }
}

template <class V, int MR, int NV, bool kPairs>
void micro_kernel(std::int64_t kc, const typename V::Element* a, const typename V::Element* b, std::int64_t ldb,
                  typename V::Element* c, std::int64_t ldc, Write write) {
    typename V::Reg acc[MR][NV] = {};
    if constexpr (kPairs) {
        for (std::int64_t k = 0; k < kc; k += 2, a += 2, b += 2 * ldb) {
            update<V, MR, NV>(acc, a + 1, b + ldb);
            update<V, MR, NV>(acc, a, b);
        }
    } else {
        for (std::int64_t k = 0; k < kc; ++k, ++a, b += ldb) update<V, MR, NV>(acc, a, b);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < NV; ++j) {
            typename V::Element* p = c + i * ldc + j * V::kLanes;
            V::store(p, write == Write::add ? V::add(V::load(p), acc[i][j]) : acc[i][j]);
        }
    }
}

template <class V, int MR, int NV, bool kPairs>
struct Family {
    template <class>
    struct Table;
    template <int... R>
    struct Table<std::integer_sequence<int, R...>> {
        static constexpr MicroKernel<typename V::Element> by_rows[MR] = {micro_kernel<V, R + 1, NV, kPairs>...};
    };
    static constexpr KernelFamily<typename V::Element> value = {MR, NV* V::kLanes,
                                                                Table<std::make_integer_sequence<int, MR>>::by_rows};
};

template <class V>
void add_to(typename V::Element* dst, const typename V::Element* src, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) V::store(dst + i, V::add(V::load(dst + i), V::load(src + i)));
    typename V::Element tail[2 * V::kLanes] = {};
    for (std::int64_t j = i; j < n; ++j) tail[j - i] = dst[j], tail[V::kLanes + j - i] = src[j];
    V::store(tail, V::add(V::load(tail), V::load(tail + V::kLanes)));
    for (std::int64_t j = i; j < n; ++j) dst[j] = tail[j - i];
}

// --- packing ---

template <class V, class S>
struct Packed {
    using Lane = typename S::Lane;
    using Reg = typename V::Reg;
    typedef Lane Lanes __attribute__((vector_size(V::kLanes * sizeof(Lane))));
    typedef Lane Memory __attribute__((vector_size(V::kLanes * sizeof(Lane)), aligned(alignof(Lane)), may_alias));
    typedef std::uint32_t Bits __attribute__((vector_size(V::kLanes * sizeof(std::uint32_t))));

    TENON_INLINE static Reg widen(Lanes x) {
        if constexpr (__is_same(S, Half)) {
            // Exponent and significand moved into place, then 2^112 corrects the bias, subnormals included; infinities
            // and NaNs get the largest exponent.
            const Bits bits = __builtin_convertvector(x, Bits), magnitude = (bits & 0x7fffu) << 13;
            const Reg scaled = reinterpret_cast<Reg>(magnitude) * 0x1p112f;
            const Bits special = reinterpret_cast<Bits>(magnitude >= 0x0f800000u) & 0x7f800000u;
            return reinterpret_cast<Reg>(reinterpret_cast<Bits>(scaled) | special | (bits & 0x8000u) << 16);
        } else if constexpr (__is_same(S, Brain)) {
            // Subnormals are read as zeros of their sign.
            const Bits bits = __builtin_convertvector(x, Bits);
            const Bits kept = reinterpret_cast<Bits>((bits & 0x7f80u) != 0u) | 0x8000u;
            return reinterpret_cast<Reg>((bits & kept) << 16);
        } else if constexpr (__is_same(Lanes, Reg)) {
            return x;
        } else {
            return __builtin_convertvector(x, Reg);
        }
    }

    TENON_INLINE static Reg load(const Lane* p) { return widen(*reinterpret_cast<const Memory*>(p)); }

    /// The first `n` elements at p, then zeros; reads nothing beyond them.
    TENON_INLINE static Reg load_first(const Lane* p, std::int64_t n) {
#if defined(__AVX512F__)
        const auto mask = static_cast<std::uint16_t>((1u << n) - 1);
        if constexpr (sizeof(Lanes) == 64 && sizeof(Lane) == 4)
            return widen(reinterpret_cast<Lanes>(_mm512_maskz_loadu_epi32(mask, p)));
        else if constexpr (sizeof(Lanes) == 64 && sizeof(Lane) == 8)
            return widen(reinterpret_cast<Lanes>(_mm512_maskz_loadu_epi64(static_cast<std::uint8_t>(mask), p)));
        else if constexpr (sizeof(Lanes) == 32 && sizeof(Lane) == 2)
            return widen(reinterpret_cast<Lanes>(_mm256_maskz_loadu_epi16(mask, p)));
#elif defined(__AVX2__)
        const __m256i below = _mm256_set1_epi32(static_cast<int>(n));
        if constexpr (sizeof(Lanes) == 32 && sizeof(Lane) == 4) {
            const __m256i mask = _mm256_cmpgt_epi32(below, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            return widen(reinterpret_cast<Lanes>(_mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask)));
        } else if constexpr (sizeof(Lanes) == 32 && sizeof(Lane) == 8) {
            const __m256i mask = _mm256_cmpgt_epi32(below, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
            return widen(reinterpret_cast<Lanes>(_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), mask)));
        }
#endif
        Lane lanes[V::kLanes] = {};
        for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[i];
        return load(lanes);
    }

    TENON_INLINE static Reg gather_first(const Lane* p, const std::int64_t* offsets, std::int64_t n) {
        Lane lanes[V::kLanes] = {};
        for (std::int64_t i = 0; i < n; ++i) lanes[i] = p[offsets[i]];
        return load(lanes);
    }
};

TENON_INLINE bool is_unit(const std::int64_t* offsets, std::int64_t n) {
    std::int64_t gaps = 0;
    for (std::int64_t i = 1; i < n; ++i) gaps |= offsets[i] - offsets[i - 1] - 1;
    return gaps == 0;
}

/// Source lines run along dst's rows.
template <class V, class S>
void pack_rows(typename V::Element* dst, std::int64_t ld, const typename S::Lane* src,
               const std::int64_t* outer_offsets, std::int64_t outer, std::int64_t inner) {
    for (std::int64_t o = 0; o < outer; ++o, dst += ld) {
        const typename S::Lane* line = src + outer_offsets[o];
        std::int64_t i = 0;
        for (; i + V::kLanes <= inner; i += V::kLanes) V::store(dst + i, Packed<V, S>::load(line + i));
        if (i < inner) V::store(dst + i, Packed<V, S>::load_first(line + i, inner - i));
    }
}

/// The part of a square that `height` and `width` leave. Panels of A are all of this kind: no more rows than a kernel
/// has.
template <class V, class S>
TENON_INLINE void pack_corner(typename V::Element* dst, std::int64_t ld, const typename S::Lane* src,
                              std::int64_t height, const std::int64_t* inner_offsets, std::int64_t width) {
    constexpr int n = V::kLanes;
    typename V::Reg square[n];
    if (width >= n) {
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r) square[r] = Packed<V, S>::load_first(src + inner_offsets[r], height);
    } else {
#pragma GCC unroll 16
        for (int r = 0; r < n; ++r)
            square[r] = r < width ? Packed<V, S>::load_first(src + inner_offsets[r], height) : typename V::Reg{};
    }
    transpose<n / 2, n>(square);
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r)
        if (r < height) V::store(dst + r * ld, square[r]);
}

/// Source lines run along dst's columns: squares are transposed in registers.
template <class V, class S>
void pack_columns(typename V::Element* dst, std::int64_t ld, const typename S::Lane* src, std::int64_t outer,
                  const std::int64_t* inner_offsets, std::int64_t inner) {
    constexpr int n = V::kLanes;
    std::int64_t o = 0;
    for (; o + n <= outer; o += n) {
        std::int64_t i = 0;
        for (; i + n <= inner; i += n) {
            typename V::Reg square[n];
#pragma GCC unroll 16
            for (int r = 0; r < n; ++r) square[r] = Packed<V, S>::load(src + inner_offsets[i + r] + o);
            transpose<n / 2, n>(square);
#pragma GCC unroll 16
            for (int r = 0; r < n; ++r) V::store(dst + (o + r) * ld + i, square[r]);
        }
        if (i < inner) pack_corner<V, S>(dst + o * ld + i, ld, src + o, n, inner_offsets + i, inner - i);
    }
    for (std::int64_t i = 0; o < outer && i < inner; i += n)
        pack_corner<V, S>(dst + o * ld + i, ld, src + o, outer - o, inner_offsets + i, inner - i < n ? inner - i : n);
}

template <class V, class S>
void pack(typename V::Element* dst, std::int64_t ld, const void* source, const std::int64_t* outer_offsets,
          std::int64_t outer, const std::int64_t* inner_offsets, std::int64_t inner) {
    const auto* src = static_cast<const typename S::Lane*>(source);
    if (is_unit(inner_offsets, inner))
        return pack_rows<V, S>(dst, ld, src + inner_offsets[0], outer_offsets, outer, inner);
    if (is_unit(outer_offsets, outer))
        return pack_columns<V, S>(dst, ld, src + outer_offsets[0], outer, inner_offsets, inner);
    for (std::int64_t o = 0; o < outer; ++o, dst += ld)
        for (std::int64_t i = 0; i < inner; i += V::kLanes) {
            const std::int64_t n = inner - i < V::kLanes ? inner - i : V::kLanes;
            V::store(dst + i, Packed<V, S>::gather_first(src + outer_offsets[o], inner_offsets + i, n));
        }
}

// --- few rows ---

template <class V, class S, int MR, bool kPairs>
TENON_INLINE void dot_square(typename V::Reg (&acc)[MR], const typename V::Element* a, typename V::Reg* square,
                             std::int64_t kc) {
    constexpr int n = V::kLanes;
    transpose<n / 2, n>(square);
#pragma GCC unroll 16
    for (int step = 0; step < n; ++step) {
        const int k = kPairs ? step ^ 1 : step;
        if (step >= kc) break;
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) acc[i] = V::fma(V::broadcast(a[i * kRowPitch + k]), square[k], acc[i]);
    }
}

template <class V, class S, int MR, bool kPairs>
void dot_kernel(std::int64_t kc, const typename V::Element* a, const void* source, const std::int64_t* column_offsets,
                std::int64_t columns, typename V::Element* c, std::int64_t ldc, Write write) {
    constexpr int n = V::kLanes;
    const auto* b = static_cast<const typename S::Lane*>(source);
    for (std::int64_t j = 0; j < columns; j += n) {
        const typename S::Lane* lines[n];  // past the last column, that one again
        for (int r = 0; r < n; ++r) lines[r] = b + column_offsets[j + r < columns ? j + r : columns - 1];
        typename V::Reg acc[MR] = {}, square[n];
        std::int64_t k = 0;
        for (; k + n <= kc; k += n) {
#pragma GCC unroll 16
            for (int r = 0; r < n; ++r) square[r] = Packed<V, S>::load(lines[r] + k);
            dot_square<V, S, MR, kPairs>(acc, a + k, square, n);
        }
        if (k < kc) {
            for (int r = 0; r < n; ++r) square[r] = Packed<V, S>::load_first(lines[r] + k, kc - k);
            // The missing odd element of a last pair counts as zero, on both sides.
            dot_square<V, S, MR, kPairs>(acc, a + k, square, kPairs ? (kc - k + 1) / 2 * 2 : kc - k);
        }
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i) {
            typename V::Element* p = c + i * ldc + j;
            V::store(p, write == Write::add ? V::add(V::load(p), acc[i]) : acc[i]);
        }
    }
}

template <class V, bool kPairs = false>
constexpr KernelSet<typename V::Element> kernel_set() {
    KernelSet<typename V::Element> set = {};
    set.narrow = Family<V, kStandardRows, (kStandardVectors + 1) / 2, kPairs>::value;
    set.standard = Family<V, kStandardRows, kStandardVectors, kPairs>::value;
    set.wide = Family<V, kWideRows, kWideVectors, kPairs>::value;
    set.add_to = add_to<V>;
    return set;
}

template <class V, class S>
constexpr void accept(KernelSet<typename V::Element>& set, Source source) {
    set.pack[static_cast<int>(source)] = pack<V, S>;
}

template <class V, class S, bool kPairs, int... R>
constexpr void accept_dot(KernelSet<typename V::Element>& set, Source source, std::integer_sequence<int, R...>) {
    ((set.dot[static_cast<int>(source)][R] = dot_kernel<V, S, R + 1, kPairs>), ...);
}

template <class V, class S, bool kPairs = false>
constexpr void accept_floating(KernelSet<typename V::Element>& set, Source source) {
    accept<Vector<typename V::Element>, S>(set, source);
    accept_dot<V, S, kPairs>(set, source, std::make_integer_sequence<int, kDotRows>{});
}

constexpr IsaKernels isa_kernels() {
    using F32 = Vector<float>;
    using F64 = Vector<double>;
    using U32 = Vector<std::uint32_t>;
    using U64 = Vector<std::uint64_t>;
    IsaKernels all = {};
    all.f32 = kernel_set<F32>();
    accept_floating<F32, Plain<float>>(all.f32, Source::same);
    accept_floating<F32, Half>(all.f32, Source::float16);
    all.bf16 = kernel_set<FlushedVector, true>();
    accept_floating<FlushedVector, Brain, true>(all.bf16, Source::bfloat16);
    all.f64 = kernel_set<F64>();
    accept_floating<F64, Plain<double>>(all.f64, Source::same);
    all.u32 = kernel_set<U32>();
    accept<U32, Plain<std::uint32_t>>(all.u32, Source::same);
    accept<U32, Plain<std::int8_t>>(all.u32, Source::int8);
    accept<U32, Plain<std::uint8_t>>(all.u32, Source::uint8);
    accept<U32, Plain<std::int16_t>>(all.u32, Source::int16);
    accept<U32, Plain<std::uint16_t>>(all.u32, Source::uint16);
    all.u64 = kernel_set<U64>();
    accept<U64, Plain<std::uint64_t>>(all.u64, Source::same);
    return all;
}

}  // namespace

namespace TENON_ISA {
extern const IsaKernels kKernels;
constexpr IsaKernels kKernels = isa_kernels();
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
