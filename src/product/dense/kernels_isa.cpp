// Micro-kernels and packing, one source for all instruction sets.
#include "product/dense/kernels.h"
#include "product/dense/simd.h"

namespace tenon::product::dense {
namespace {

struct Half {
    std::uint16_t bits;
};
struct Brain {
    std::uint16_t bits;
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

template <class T, class S>
TENON_INLINE T widen(S x) {
    return static_cast<T>(x);
}

/// Exponent and significand moved into place, then 2^112 corrects the bias, subnormals included; infinities and NaNs
/// get the largest exponent.
template <class T>
TENON_INLINE float widen(Half x) {
    const std::uint32_t magnitude = static_cast<std::uint32_t>(x.bits & 0x7fff) << 13;
    const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p112f;
    const std::uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
    return __builtin_bit_cast(
        float, __builtin_bit_cast(std::uint32_t, scaled) | special | static_cast<std::uint32_t>(x.bits & 0x8000) << 16);
}

/// Subnormals are read as zeros of their sign.
template <class T>
TENON_INLINE float widen(Brain x) {
    const std::uint32_t kept = (x.bits & 0x7f80) != 0 ? 0xffffu : 0x8000u;
    return __builtin_bit_cast(float, (x.bits & kept) << 16);
}

/// A vector of the first `n` elements at p, the others zero; reads nothing beyond them.
template <class V, class S>
TENON_INLINE typename V::Reg load_first(const S* p, std::int64_t n) {
    using T = typename V::Element;
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4 && sizeof(T) == 4)
        return reinterpret_cast<typename V::Reg>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1), p));
    else if constexpr (sizeof(S) == 8)
        return reinterpret_cast<typename V::Reg>(_mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), p));
#endif
    T lanes[V::kLanes] = {};
    for (std::int64_t i = 0; i < n; ++i) lanes[i] = widen<T>(p[i]);
    return V::load(lanes);
}

template <class V, class S>
TENON_INLINE typename V::Reg load_widened(const S* p) {
    using T = typename V::Element;
    if constexpr (__is_same(S, T)) {
        return V::load(p);
    } else {
        T lanes[V::kLanes];
        for (int i = 0; i < V::kLanes; ++i) lanes[i] = widen<T>(p[i]);
        return V::load(lanes);
    }
}

TENON_INLINE bool is_unit(const std::int64_t* offsets, std::int64_t n) {
    std::int64_t gaps = 0;
    for (std::int64_t i = 1; i < n; ++i) gaps |= offsets[i] - offsets[i - 1] - 1;
    return gaps == 0;
}

/// Source lines run along dst's rows.
template <class V, class S>
void pack_rows(typename V::Element* dst, std::int64_t ld, const S* src, const std::int64_t* outer_offsets,
               std::int64_t outer, std::int64_t inner) {
    for (std::int64_t o = 0; o < outer; ++o, dst += ld) {
        const S* line = src + outer_offsets[o];
        std::int64_t i = 0;
        for (; i + V::kLanes <= inner; i += V::kLanes) V::store(dst + i, load_widened<V>(line + i));
        if (i < inner) V::store(dst + i, load_first<V>(line + i, inner - i));
    }
}

/// Source lines run along dst's columns: squares are transposed in registers.
template <class V, class S>
void pack_columns(typename V::Element* dst, std::int64_t ld, const S* src, std::int64_t outer,
                  const std::int64_t* inner_offsets, std::int64_t inner) {
    constexpr int n = V::kLanes;
    typename V::Reg square[n];
    for (std::int64_t o = 0; o < outer; o += n) {
        const std::int64_t height = outer - o < n ? outer - o : n;
        for (std::int64_t i = 0; i < inner; i += n) {
            if (height == n && i + n <= inner) {
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) square[r] = load_widened<V>(src + inner_offsets[i + r] + o);
            } else {
                for (int r = 0; r < n; ++r)
                    square[r] =
                        i + r < inner ? load_first<V>(src + inner_offsets[i + r] + o, height) : typename V::Reg{};
            }
            transpose<n / 2, n>(square);
            if (height == n) {
#pragma GCC unroll 16
                for (int r = 0; r < n; ++r) V::store(dst + (o + r) * ld + i, square[r]);
            } else {
                for (int r = 0; r < height; ++r) V::store(dst + (o + r) * ld + i, square[r]);
            }
        }
    }
}

template <class V, class S>
void pack(typename V::Element* dst, std::int64_t ld, const void* source, const std::int64_t* outer_offsets,
          std::int64_t outer, const std::int64_t* inner_offsets, std::int64_t inner) {
    using T = typename V::Element;
    const S* src = static_cast<const S*>(source);
    if (is_unit(inner_offsets, inner))
        return pack_rows<V>(dst, ld, src + inner_offsets[0], outer_offsets, outer, inner);
    if (is_unit(outer_offsets, outer))
        return pack_columns<V>(dst, ld, src + outer_offsets[0], outer, inner_offsets, inner);
    for (std::int64_t o = 0; o < outer; ++o, dst += ld) {
        const S* line = src + outer_offsets[o];
        for (std::int64_t i = 0; i < inner; ++i) dst[i] = widen<T>(line[inner_offsets[i]]);
        for (std::int64_t i = inner; i % V::kLanes != 0; ++i) dst[i] = T(0);
    }
}

template <class V, bool kPairs = false>
constexpr KernelSet<typename V::Element> kernel_set() {
    KernelSet<typename V::Element> set = {};
    set.narrow = Family<V, kStandardRows, (kStandardVectors + 1) / 2, kPairs>::value;
    set.standard = Family<V, kStandardRows, kStandardVectors, kPairs>::value;
    set.wide = Family<V, kWideRows, kWideVectors, kPairs>::value;
    set.add_to = add_to<V>;
    set.pack[static_cast<int>(Source::same)] = pack<V, typename V::Element>;
    return set;
}

template <class V, class S>
constexpr void accept(KernelSet<typename V::Element>& set, Source source) {
    set.pack[static_cast<int>(source)] = pack<V, S>;
}

constexpr IsaKernels isa_kernels() {
    using F32 = Vector<float>;
    using U32 = Vector<std::uint32_t>;
    IsaKernels all = {};
    all.f32 = kernel_set<F32>();
    accept<F32, Half>(all.f32, Source::float16);
    all.bf16 = kernel_set<FlushedVector, true>();
    accept<FlushedVector, Brain>(all.bf16, Source::bfloat16);
    all.f64 = kernel_set<Vector<double>>();
    all.u32 = kernel_set<U32>();
    accept<U32, std::int8_t>(all.u32, Source::int8);
    accept<U32, std::uint8_t>(all.u32, Source::uint8);
    accept<U32, std::int16_t>(all.u32, Source::int16);
    accept<U32, std::uint16_t>(all.u32, Source::uint16);
    all.u64 = kernel_set<Vector<std::uint64_t>>();
    return all;
}

}  // namespace

namespace TENON_ISA {
extern const IsaKernels kKernels;
constexpr IsaKernels kKernels = isa_kernels();
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
