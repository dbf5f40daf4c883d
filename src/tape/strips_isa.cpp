// The steps of strips. Each takes the strip in vector registers, works on it as an array that the compiler keeps in
// those registers, and calls the next step as its last action: a jump.
#include "tape/strips.h"

#include "tape/convert.h"
#include "tape/join_lanes.h"
#include "tape/loops_isa.h"
#include "tape/operations.h"
#include "tape/pack.h"

namespace tenon::tape::TENON_ISA {

#if defined(TENON_STRIP_VECTOR)
namespace {

constexpr int kWidth = kStripVectors * kVector;
constexpr int kLanesOfStrip = kWidth < kLanes ? kWidth : static_cast<int>(kLanes);
static_assert(kLanes % kLanesOfStrip == 0 && kWidth % kLanesOfStrip == 0 && kReduceChunk % kWidth == 0);
static_assert(kWidth <= kMaxStrip);

using Step = void (*)(const StripStep* s, std::int64_t i, V a, V b, V c, V d, V e, V f, V g, V h);

#define TENON_STEP(name) void name(const StripStep* s, std::int64_t i, V a, V b, V c, V d, V e, V f, V g, V h)
#define TENON_NEXT return reinterpret_cast<Step>(s[1].handler)(s + 1, i, a, b, c, d, e, f, g, h)

/// The strip as an array, and back.
struct alignas(TENON_STRIP_VECTOR) Strip {
    float x[kWidth];
};
// Vectors are copied one by one: a copy of the whole array would go through memory.
TENON_INLINE void copy(void* to, const void* from) { __builtin_memcpy(to, from, sizeof(V)); }

#define TENON_READ(x)                                                                                \
    (copy(&a, x), copy(&b, (x) + kVector), copy(&c, (x) + 2 * kVector), copy(&d, (x) + 3 * kVector), \
     copy(&e, (x) + 4 * kVector), copy(&f, (x) + 5 * kVector), copy(&g, (x) + 6 * kVector),          \
     copy(&h, (x) + 7 * kVector))
#define TENON_WRITE(y)                                                                               \
    (copy(y, &a), copy((y) + kVector, &b), copy((y) + 2 * kVector, &c), copy((y) + 3 * kVector, &d), \
     copy((y) + 4 * kVector, &e), copy((y) + 5 * kVector, &f), copy((y) + 6 * kVector, &g),          \
     copy((y) + 7 * kVector, &h))

template <class T>
TENON_INLINE T* at(const StripPlace& p, std::int64_t i) {
    return reinterpret_cast<T*>(p.base + i * p.step);
}

TENON_STEP(end) { static_cast<void>(s), static_cast<void>(i), static_cast<void>(a + b + c + d + e + f + g + h); }

/// A kernel on memory; the registers are unchanged.
TENON_STEP(any) {
    const void* const in[3] = {at<std::byte>(s->at[0], i), at<std::byte>(s->at[1], i), at<std::byte>(s->at[2], i)};
    s->kernel(at<std::byte>(s->at[3], i), in, kWidth);
    TENON_NEXT;
}

TENON_STEP(prefetch) {
    const auto* p = at<const char>(s->at[0], i);
    for (std::int64_t l = 0; l < s->at[1].step; l += 64) __builtin_prefetch(p + l);
    TENON_NEXT;
}

template <DType D>
TENON_STEP(load) {
    const auto* x = at<const Stored<D>>(s->at[0], i);
    if constexpr (D == DType::float32) {
        TENON_READ(x);
    } else {
        Strip t;
        for (int l = 0; l < kWidth; ++l) t.x[l] = convert<D, DType::float32>(x[l]);
        TENON_READ(t.x);
    }
    TENON_NEXT;
}
#if defined(__AVX512F__)
/// As convert: towards 0, saturated, NaN to 0. The compiler takes twice the instructions.
template <DType D>
TENON_INLINE void store_bytes(Stored<D>* y, V x) {
    constexpr __mmask16 kAll = 0xFFFF;
    const __m512 low = _mm512_set1_ps(static_cast<float>(kLowest<Stored<D>>)),
                 high = _mm512_set1_ps(static_cast<float>(kHighest<Stored<D>>));
    const __mmask16 numbers = D == DType::uint8 ? kAll : _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    const __m512 inside = _mm512_maskz_min_ps(kAll, _mm512_maskz_max_ps(kAll, x, low), high);
    const __m128i bytes = _mm512_maskz_cvtepi32_epi8(kAll, _mm512_maskz_cvttps_epi32(numbers, inside));
    __builtin_memcpy(y, &bytes, sizeof bytes);
}
#endif

template <DType D>
TENON_STEP(store) {
    auto* y = at<Stored<D>>(s->at[3], i);
    if constexpr (D == DType::float32) {
        TENON_WRITE(y);
#if defined(__AVX512F__)
    } else if constexpr (D == DType::uint8 || D == DType::int8) {
        int v = 0;
        for (const V x : {a, b, c, d, e, f, g, h}) store_bytes<D>(y + kVector * v++, x);
#endif
    } else {
        Strip t;
        TENON_WRITE(t.x);
        for (int l = 0; l < kWidth; ++l) y[l] = convert<DType::float32, D>(t.x[l]);
    }
    TENON_NEXT;
}

#if defined(__x86_64__)
/// Stores past the caches, to an address aligned to the vector.
TENON_INLINE void stream_vector(float* y, V x) {
#if defined(__clang__)
    __builtin_nontemporal_store(x, reinterpret_cast<V*>(y));
#elif TENON_STRIP_VECTOR == 64
    __builtin_ia32_movntps512(y, x);
#else
    __builtin_ia32_movntps256(y, x);
#endif
}
#endif

/// Stores past the caches if the instruction set can and the place is aligned.
TENON_STEP(stream) {
    auto* y = at<float>(s->at[3], i);
#if defined(__x86_64__)
    if (reinterpret_cast<std::uintptr_t>(y) % sizeof(V) == 0) {
        stream_vector(y, a);
        stream_vector(y + kVector, b);
        stream_vector(y + 2 * kVector, c);
        stream_vector(y + 3 * kVector, d);
        stream_vector(y + 4 * kVector, e);
        stream_vector(y + 5 * kVector, f);
        stream_vector(y + 6 * kVector, g);
        stream_vector(y + 7 * kVector, h);
        TENON_NEXT;
    }
#endif
    TENON_WRITE(y);
    TENON_NEXT;
}

/// Functions with long chains of dependent operations.
constexpr bool has_packs(Opcode op) {
    return op == Opcode::exp || op == Opcode::tanh || op == Opcode::erf || op == Opcode::logistic;
}
/// The function of some vectors, a pack.
template <Opcode op, class... Vectors>
TENON_INLINE void pack(Vectors&... vectors) {
    Pack<sizeof...(vectors)> x(vectors...);
    if constexpr (has_usual(op))
        x = usual<op>(x);
    else
        x = unary<op>(x);
    int i = 0;
    ((vectors = x.v[i++]), ...);
}
/// Whether the magnitude of an element is `limit` or more, or it is NaN.
template <class... Vectors>
TENON_INLINE bool any_reaches(float limit, Vectors... vectors) {
    VBits worst{};
    const auto enter = [&](V x) {
        const VBits magnitude = reinterpret_cast<VBits>(x) & ~Real<float>::kSign;
        worst = magnitude > worst ? magnitude : worst;
    };
    (enter(vectors), ...);
    return reaches(worst, bits(limit));
}

template <Opcode op>
[[gnu::noinline]] void unusual_strip(float* x) {
    for (int l = 0; l < kWidth; ++l) x[l] = unary<op>(x[l]);
}
template <Opcode op>
TENON_STEP(alone) {
    Strip t;
    if constexpr (has_packs(op)) {
        if constexpr (has_usual(op))
            if (any_reaches(Real<float>::kExpNormal, a, b, c, d, e, f, g, h)) [[unlikely]] {
                TENON_WRITE(t.x);
                unusual_strip<op>(t.x);
                TENON_READ(t.x);
                TENON_NEXT;
            }
        constexpr int kVectors = op == Opcode::erf ? kLongPack : kPack;
        if constexpr (kVectors == 8)
            pack<op>(a, b, c, d, e, f, g, h);
        else if constexpr (kVectors == 4)
            pack<op>(a, b, c, d), pack<op>(e, f, g, h);
        else
            pack<op>(a, b), pack<op>(c, d), pack<op>(e, f), pack<op>(g, h);
        TENON_NEXT;
    }
    TENON_WRITE(t.x);
    if constexpr (std::is_same_v<decltype(unary<op>(0.0f)), bool>) {
        auto* y = at<std::uint8_t>(s->at[3], i);
        for (int l = 0; l < kWidth; ++l) y[l] = unary<op>(t.x[l]);
    } else if constexpr (has_usual(op)) {
        int unusual = 0;
        for (int l = 0; l < kWidth; ++l) unusual |= is_usual<op>(t.x[l]) ? 0 : 1;
        if (unusual == 0) {
            for (int l = 0; l < kWidth; ++l) t.x[l] = usual<op>(t.x[l]);
            TENON_READ(t.x);
        } else {
            Strip u;  // separate, so that the usual case stays in registers
            TENON_WRITE(u.x);
            unusual_strip<op>(u.x);
            TENON_READ(u.x);
        }
    } else {
        for (int l = 0; l < kWidth; ++l) t.x[l] = unary<op>(t.x[l]);
        TENON_READ(t.x);
    }
    TENON_NEXT;
}

/// Where an operand is: in the registers, in memory, or one value in memory for all elements.
enum class Operand { registers, memory, one };
template <Operand where>
TENON_INLINE float element(float x, const float* m, float one, int l) {
    if constexpr (where == Operand::registers)
        return x;
    else if constexpr (where == Operand::memory)
        return m[l];
    else
        return one;
}

template <Opcode op, Operand left, Operand right>
TENON_STEP(two) {
    Strip t;
    TENON_WRITE(t.x);
    constexpr bool kFirst = left != Operand::registers;  // the right operand is at[1]
    const auto *m = at<const float>(s->at[0], i), *n = at<const float>(s->at[kFirst], i);
    const float p = left == Operand::one ? m[0] : 0.0f, q = right == Operand::one ? n[0] : 0.0f;
    if constexpr (std::is_same_v<decltype(binary<op>(0.0f, 0.0f)), bool>) {
        auto* y = at<std::uint8_t>(s->at[3], i);
        for (int l = 0; l < kWidth; ++l)
            y[l] = binary<op>(element<left>(t.x[l], m, p, l), element<right>(t.x[l], n, q, l));
    } else {
        for (int l = 0; l < kWidth; ++l)
            t.x[l] = binary<op>(element<left>(t.x[l], m, p, l), element<right>(t.x[l], n, q, l));
        TENON_READ(t.x);
    }
    TENON_NEXT;
}

#if defined(__x86_64__)
/// Bits of 2^-60 and 2^60. A magnitude between, by a divisor between: neither the quotient nor a remainder is beyond
/// what normal numbers hold exactly.
constexpr std::uint32_t kMinDividend = (127u - 60) << 23, kMaxDividend = (127u + 60) << 23;

/// Whether each element is zero or between the two.
template <class... Vectors>
TENON_INLINE bool are_usual_dividends(Vectors... vectors) {
    VBits largest{}, least_but_one = ~VBits{};  // of the magnitudes; zero less one is above all
    const auto enter = [&](V x) {
        const VBits magnitude = reinterpret_cast<VBits>(x) & ~Real<float>::kSign, less = magnitude - 1;
        largest = magnitude > largest ? magnitude : largest;
        least_but_one = less < least_but_one ? less : least_but_one;
    };
    (enter(vectors), ...);
    return !reaches(largest, kMaxDividend + 1) && !reaches(~least_but_one, ~(kMinDividend - 2));
}
/// Whether sums are rounded to nearest. Sums say so: reading the control register waits for all arithmetic before it.
TENON_INLINE bool rounds_to_nearest() {
    float one = 1;
    asm volatile("" : "+x"(one));
    return one + 0x1p-25f == 1 && one - 0x1p-26f == 1;
}
/// Division by one divisor for all elements: a product with its reciprocal and one correction gives the bits of
/// division (Markstein 1990; it holds too if the first product is off by up to two units in the last place: tried for
/// every divisor with the dividends whose quotients lie nearest to the middle of two numbers). A division of 512-bit
/// vectors takes 6 to 10 cycles on an Emerald Rapids, this 2 to 3. For rounding to nearest only, on which the
/// reciprocal depends, and positive divisors: of a zero, the remainder has then the sign that keeps the quotient's.
template <Operand left>
TENON_STEP(divide_by_one) {
    if constexpr (left == Operand::memory) {
        const auto* x = at<const float>(s->at[0], i);
        TENON_READ(x);
    }
    const float by = at<const float>(s->at[left == Operand::memory], i)[0];
    const bool by_usual = bits(by) - kMinDividend <= kMaxDividend - kMinDividend;
    const V divisor = by - V{};  // keeps the sign of zero
    if (by_usual && rounds_to_nearest() && are_usual_dividends(a, b, c, d, e, f, g, h)) [[likely]] {
        const V reciprocal = V{} + 1 / by;
        const auto divide = [&](V& x) {
            const V q = x * reciprocal, excess = fma_vector(q, divisor, -x);
            x = fma_vector(-excess, reciprocal, q);
        };
        divide(a), divide(b), divide(c), divide(d), divide(e), divide(f), divide(g), divide(h);
    } else {
        a /= divisor, b /= divisor, c /= divisor, d /= divisor;
        e /= divisor, f /= divisor, g /= divisor, h /= divisor;
    }
    TENON_NEXT;
}
#endif

/// at[0] ? registers : other, or the reverse.
template <bool first, Operand other>
TENON_STEP(select) {
    Strip t;
    TENON_WRITE(t.x);
    const auto* when = at<const std::uint8_t>(s->at[0], i);
    const auto* m = at<const float>(s->at[1], i);
    const float one = m[0];
    for (int l = 0; l < kWidth; ++l) {
        const float v = element<other>(0.0f, m, one, l);
        t.x[l] = (when[l] != 0) == first ? t.x[l] : v;
    }
    TENON_READ(t.x);
    TENON_NEXT;
}

/// The registers times at[0] plus at[1].
TENON_STEP(multiply_add) {
    Strip t;
    TENON_WRITE(t.x);
    const auto *x = at<const float>(s->at[0], i), *y = at<const float>(s->at[1], i);
    for (int l = 0; l < kWidth; ++l) t.x[l] = fma(t.x[l], x[l], y[l]);
    TENON_READ(t.x);
    TENON_NEXT;
}

template <bool first>
TENON_STEP(times_scaled) {
    Strip t;
    TENON_WRITE(t.x);
    const auto* x = at<const float>(s->at[0], i);
    const float by = at<const float>(s->at[1], i)[0];
    for (int l = 0; l < kWidth; ++l) t.x[l] = first ? (x[l] * by) * t.x[l] : t.x[l] * (x[l] * by);
    TENON_READ(t.x);
    TENON_NEXT;
}

template <Reduction op>
TENON_STEP(reduce) {
    Strip t;
    TENON_WRITE(t.x);
    auto* lanes = reinterpret_cast<float*>(s->at[3].base) + i % kLanes;
    for (int at_lane = 0; at_lane < kLanesOfStrip; at_lane += kVector) {
        alignas(TENON_STRIP_VECTOR) float u[kVector];
        copy(u, lanes + at_lane);
        for (int first = at_lane; first < kWidth; first += kLanesOfStrip)
            for (int l = 0; l < kVector; ++l) u[l] = combine<op>(u[l], t.x[first + l]);
        copy(lanes + at_lane, u);
    }
    TENON_NEXT;
}
template <Reduction op>
TENON_STEP(reduce_part) {
    Strip t;
    TENON_WRITE(t.x);
    auto* lanes = reinterpret_cast<float*>(s->at[3].base);
    for (std::int64_t l = 0; l < s->at[0].step; ++l) {
        float& lane = lanes[(i + l) % kLanes];
        lane = combine<op>(lane, t.x[l]);
    }
    TENON_NEXT;
}

template <Reduction op>
float join_memory(const float* lanes) {
    V x[kLaneVectors];
    for (int v = 0; v < kLaneVectors; ++v) copy(&x[v], lanes + v * kVector);
    return join<op>(x);
}

void run(const StripStep* steps, std::int64_t begin, std::int64_t last) {
    for (std::int64_t i = begin; i < last; i += kWidth)
        reinterpret_cast<Step>(steps->handler)(steps, i, V{}, V{}, V{}, V{}, V{}, V{}, V{}, V{});
#if defined(__AVX2__)
    // Steps take vectors, so the compiler does not clear the registers' upper halves, and Intel's CPUs run code without
    // VEX encoding (everything around the kernels) slowly until they are cleared.
    __builtin_ia32_vzeroupper();
#endif
}

void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

StripHandler handler(Step s) { return reinterpret_cast<StripHandler>(s); }

/// Opcodes whose loops have branches remain with their kernels.
constexpr bool in_registers(Opcode op) {
    return op != Opcode::floor_divide && op != Opcode::remainder && op != Opcode::pow && op != Opcode::nextafter &&
           op != Opcode::cast && op != Opcode::select && op != Opcode::fma;
}

template <Opcode op, int arity>
void fill(StripTable& t) {
    constexpr auto o = static_cast<int>(op);
    if constexpr (arity == 1 && in_registers(op)) {
        t.unary[o] = handler(&alone<op>);
    } else if constexpr (arity == 2 && in_registers(op)) {
        using enum Operand;
        const auto set = [&](Operand l, Operand r, Step step) {
            t.binary[o][static_cast<int>(l)][static_cast<int>(r)] = handler(step);
        };
        set(registers, registers, &two<op, registers, registers>);
        set(registers, memory, &two<op, registers, memory>);
        set(registers, one, &two<op, registers, one>);
        set(memory, registers, &two<op, memory, registers>);
        set(memory, memory, &two<op, memory, memory>);
        set(memory, one, &two<op, memory, one>);
        set(one, registers, &two<op, one, registers>);
        set(one, memory, &two<op, one, memory>);
#if defined(__x86_64__)
        if constexpr (op == Opcode::divide) {
            set(registers, one, &divide_by_one<registers>);
            set(memory, one, &divide_by_one<memory>);
        }
#endif
    }
}
template <DType... D>
void fill_casts(StripTable& t, Types<D...>) {
    ((t.load[static_cast<int>(D)] = handler(&load<D>), t.store[static_cast<int>(D)] = handler(&store<D>)), ...);
}
template <Reduction op>
void fill_reduction(StripTable& t) {
    constexpr auto o = static_cast<int>(op);
    t.reduce[o] = handler(&reduce<op>);
    t.reduce_part[o] = handler(&reduce_part<op>);
    t.join[o] = &join_memory<op>;
}

template <char types>
constexpr bool takes_float() {
    return types == 'F' || types == 'N' || types == 'A';
}

}  // namespace

void fill_strips(KernelTable& table) {
    StripTable& t = table.strips;
    t.width = kWidth;
    t.run = &run;
    t.fence = &fence;
    t.end = handler(&end);
    t.any = handler(&any);
    t.prefetch = handler(&prefetch);
    t.stream = handler(&stream);
    t.fma = handler(&multiply_add);
    t.times_scaled[0] = handler(&times_scaled<false>);
    t.times_scaled[1] = handler(&times_scaled<true>);
    t.select[0][0] = handler(&select<true, Operand::memory>);
    t.select[0][1] = handler(&select<true, Operand::one>);
    t.select[1][0] = handler(&select<false, Operand::memory>);
    t.select[1][1] = handler(&select<false, Operand::one>);
#define X(op, arity, types) \
    if constexpr (takes_float<#types[0]>()) fill<Opcode::op, arity>(t);
    TENON_OPCODES(X)
#undef X
    fill_casts(t, TypesA{});
    fill_reduction<Reduction::sum>(t);
    fill_reduction<Reduction::prod>(t);
    fill_reduction<Reduction::max>(t);
    fill_reduction<Reduction::min>(t);
}

#else
void fill_strips(KernelTable&) {}
#endif

}  // namespace tenon::tape::TENON_ISA
