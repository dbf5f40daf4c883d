// The kernels of an instruction set whose operands are widened to the type that sums them, or in pairs of bytes to a
// word of it.
#include "product/dense/byte_pairs.h"
#include "product/dense/micro.h"
#include "product/dense/pack.h"
#include "product/dense/packing_kernel.h"
#include "product/dense/part_kernel.h"

namespace tenon::product::dense {
namespace {

/// Operands in their stored type.
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

/// Loads and widens; a group is one element.
template <class V, class S>
struct Widened {
    using Lane = typename S::Lane;
    using In = typename V::In;
    using Reg = typename V::InReg;
    static constexpr int kGroup = 1;
    typedef Lane Lanes __attribute__((vector_size(V::kLanes * sizeof(Lane))));
    typedef Lane Memory __attribute__((vector_size(V::kLanes * sizeof(Lane)), aligned(alignof(Lane)), may_alias));
    typedef std::uint32_t Bits __attribute__((vector_size(V::kLanes * sizeof(std::uint32_t))));

    /// In one instruction if there is one, which the compiler does not find by itself.
    TENON_INLINE static Bits bits_of(Lanes x) {
#if defined(__AVX512F__)
        // With a mask: see WidenOnLoadVector.
        if constexpr (sizeof(Lanes) == 32)
            return reinterpret_cast<Bits>(_mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(x)));
#elif defined(__AVX2__)
        if constexpr (sizeof(Lanes) == 16)
            return reinterpret_cast<Bits>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(x)));
#endif
        return __builtin_convertvector(x, Bits);
    }
    TENON_INLINE static Reg widen(Lanes x) {
        if constexpr (__is_same(S, Half)) {
            // Exponent and significand are moved into place, then 2^112 corrects the bias, including subnormals;
            // infinities and NaNs get the largest exponent.
            const Bits bits = bits_of(x), magnitude = (bits & 0x7fffu) << 13;
            const Reg scaled = reinterpret_cast<Reg>(magnitude) * 0x1p112f;
            const Bits special = reinterpret_cast<Bits>(magnitude >= 0x0f800000u) & 0x7f800000u;
            return reinterpret_cast<Reg>(reinterpret_cast<Bits>(scaled) | special | (bits & 0x8000u) << 16);
        } else if constexpr (__is_same(S, Brain)) {
            const Bits bits = bits_of(x);
#if defined(__x86_64__)
            // The floating-point environment makes subnormals zeros of their sign.
            return reinterpret_cast<Reg>(bits << 16);
#else
            const Bits kept = reinterpret_cast<Bits>((bits & 0x7f80u) != 0u) | 0x8000u;
            return reinterpret_cast<Reg>((bits & kept) << 16);
#endif
        } else if constexpr (__is_same(Lanes, Reg)) {
            return x;
        } else {
            return __builtin_convertvector(x, Reg);
        }
    }

    TENON_INLINE static Reg along(const Lane* p) { return widen(*reinterpret_cast<const Memory*>(p)); }

    TENON_INLINE static Reg along_first(const Lane* p, std::int64_t n) {
        if constexpr (sizeof(Lane) >= 4 && sizeof(Lane) == sizeof(In)) {
            return reinterpret_cast<Reg>(Vector<Lane>::load(p, Vector<Lane>::first(n)));
        } else {
#if defined(__AVX512F__)
            if constexpr (sizeof(Lanes) == 32 && sizeof(Lane) == 2)
                return widen(reinterpret_cast<Lanes>(
                    _mm256_maskz_loadu_epi16(static_cast<std::uint16_t>((1u << (n < 16 ? n : 16)) - 1), p)));
#endif
            Lane lanes[V::kLanes] = {};
            for (std::int64_t i = 0; i < n && i < V::kLanes; ++i) lanes[i] = p[i];
            return along(lanes);
        }
    }

    TENON_INLINE static Reg across(const Lane* p, const std::int64_t* k, int) { return along(p + k[0]); }
    TENON_INLINE static Reg across_first(const Lane* p, const std::int64_t* k, int, std::int64_t lines) {
        return along_first(p + k[0], lines);
    }
    TENON_INLINE static In element(const Lane* p, const std::int64_t* k, int) { return widen(Lanes{p[k[0]]})[0]; }
};

#if defined(__AVX512F__)
/// float32 with bfloat16 columns that are widened as they are loaded. The floating-point environment makes subnormals
/// zeros.
struct WidenOnLoadVector : FlushedVector {
    static constexpr std::int64_t kPitch = kWidenOnLoadPitch;
    typedef std::uint32_t Bits __attribute__((vector_size(64)));
    TENON_INLINE static InReg widened(__m256i x) {
        // With a mask, because g++ 12 warns about its own intrinsic without one; the compiler drops it.
        return reinterpret_cast<InReg>(reinterpret_cast<Bits>(_mm512_maskz_cvtepu16_epi32(0xffff, x)) << 16);
    }
    TENON_INLINE static InReg load_in(const In* p) {
        return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    TENON_INLINE static InReg load_in(const In* p, Mask mask) { return widened(_mm256_maskz_loadu_epi16(mask, p)); }
};
#endif

void widen_run(float* to, const void* from, std::int64_t n) {
    using V = FlushedVector;
    using L = Widened<V, Brain>;
    const auto* x = static_cast<const L::Lane*>(from);
    std::int64_t i = 0;
    for (; i + 4 * V::kLanes <= n; i += 4 * V::kLanes)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) V::store(to + i + j * V::kLanes, L::along(x + i + j * V::kLanes));
    for (; i + V::kLanes <= n; i += V::kLanes) V::store(to + i, L::along(x + i));
    if (i < n) V::store(to + i, L::along_first(x + i, n - i), V::first(n - i));
}

template <class V, class S, bool kPairs = false>
constexpr void accept_floating(KernelSet<typename V::In, typename V::Acc>& set, Source source) {
    accept<V, Widened<V, S>>(set, source);
    accept_few<V, Widened<V, S>, kPairs>(set, source, std::make_integer_sequence<int, kDotRows>{});
}

template <class V, class S>
constexpr void accept_integer(KernelSet<typename V::In, typename V::Acc>& set, Source source) {
    accept<V, Widened<V, Plain<S>>>(set, source);
}

#if defined(__x86_64__)
template <class T>
constexpr void accept_bytes(KernelSet<std::uint32_t, std::uint32_t>& set, Source source) {
    accept<BytePairs, WidenedPairs<T>>(set, source);
    accept_few<BytePairs, WidenedPairs<T>, false>(set, source, std::make_integer_sequence<int, kDotRows>{});
}
#endif

constexpr IsaKernels isa_kernels() {
    using F32 = Vector<float>;
    using F64 = Vector<double>;
    using U32 = Vector<std::uint32_t>;
    using U64 = Vector<std::uint64_t>;
    IsaKernels all = {};
    all.f32 = kernel_set<F32>();
    accept_floating<F32, Plain<float>>(all.f32, Source::same);
    accept_floating<F32, Half>(all.f32, Source::float16);
    accept_transposed<F32>(all.f32);
    accept_packing<F32>(all.f32);
    accept_parts<F32>(all.f32);
    all.bf16 = kernel_set<FlushedVector, true>();
    accept_floating<FlushedVector, Brain, true>(all.bf16, Source::bfloat16);
    all.bf16.widen_run = widen_run;
    all.f64 = kernel_set<F64>();
    accept_floating<F64, Plain<double>>(all.f64, Source::same);
    accept_transposed<F64>(all.f64);
    accept_packing<F64>(all.f64);
    accept_parts<F64>(all.f64);
#if defined(__AVX512F__)
    all.bf16.widen_on_load = Family<WidenOnLoadVector, kWidenOnLoadRows, 1, true>::value;
    all.f32.transposed[0] = transposed_kernel<HalfVector<float>, 1>;
    all.f64.transposed[0] = transposed_kernel<HalfVector<double>, 1>;
    all.f32.half = Family<HalfVector<float>, kStandardRows, 1, false>::value;
    all.f64.half = Family<HalfVector<double>, kStandardRows, 1, false>::value;
    all.f32.quarter = Family<QuarterVector<float>, kQuarterRows, 1, false>::value;
    all.f64.quarter = Family<QuarterVector<double>, kQuarterRows, 1, false>::value;
    all.f32.triple = Family<F32, kTripleRows, 3, false>::value;
    all.f64.triple = Family<F64, kTripleRows, 3, false>::value;
    accept_adjacent<F32>(all.f32);
    accept_adjacent<F64>(all.f64);
#endif
    all.u32 = kernel_set<U32>();
    accept_parts<U32>(all.u32);
    accept_integer<U32, std::uint32_t>(all.u32, Source::same);
    accept_integer<U32, std::int16_t>(all.u32, Source::int16);
    accept_integer<U32, std::uint16_t>(all.u32, Source::uint16);
#if defined(__x86_64__)
    all.bytes = kernel_set<BytePairs>(WidenedPairs<std::int8_t>::kGroup);
    accept_bytes<std::int8_t>(all.bytes, Source::int8);
    accept_bytes<std::uint8_t>(all.bytes, Source::uint8);
#else
    all.bytes = kernel_set<U32>();
    accept_integer<U32, std::int8_t>(all.bytes, Source::int8);
    accept_integer<U32, std::uint8_t>(all.bytes, Source::uint8);
#endif
    all.u64 = kernel_set<U64>();
    accept_parts<U64>(all.u64);
    accept_integer<U64, std::uint64_t>(all.u64, Source::same);
    return all;
}

}  // namespace

namespace TENON_ISA {
extern const IsaKernels kKernels;
constexpr IsaKernels kKernels = isa_kernels();
}  // namespace TENON_ISA

}  // namespace tenon::product::dense
