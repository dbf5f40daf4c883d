// The steps of strips. Each takes the strip in four vector registers, works on it as an array that the compiler keeps
// in those registers, and calls the next step as its last act: a jump.
#include "tape/strips.h"

#include "tape/convert.h"
#include "tape/loops_isa.h"
#include "tape/operations.h"

#if defined(__AVX512F__)
#define TENON_STRIP_VECTOR 64
#elif defined(__AVX2__)
#define TENON_STRIP_VECTOR 32
#elif defined(__aarch64__)
#define TENON_STRIP_VECTOR 16
#endif

namespace tenon::tape::TENON_ISA {

#if defined(TENON_STRIP_VECTOR)
namespace {

typedef float V __attribute__((vector_size(TENON_STRIP_VECTOR)));
constexpr int kVector = TENON_STRIP_VECTOR / 4, kWidth = 4 * kVector;
static_assert(kLanes % kWidth == 0 && kReduceChunk % kWidth == 0);

using Step = void (*)(const StripStep* s, std::int64_t i, V a, V b, V c, V d);

#define TENON_STEP(name) void name(const StripStep* s, std::int64_t i, V a, V b, V c, V d)
#define TENON_NEXT return reinterpret_cast<Step>(s[1].handler)(s + 1, i, a, b, c, d)

/// The strip as an array, and back.
struct alignas(TENON_STRIP_VECTOR) Strip {
    float x[kWidth];
};
// Vectors are copied one by one: a copy of the whole array would go through memory.
TENON_INLINE void read(const float* x, V& a, V& b, V& c, V& d) {
    __builtin_memcpy(&a, x, sizeof a);
    __builtin_memcpy(&b, x + kVector, sizeof b);
    __builtin_memcpy(&c, x + 2 * kVector, sizeof c);
    __builtin_memcpy(&d, x + 3 * kVector, sizeof d);
}
TENON_INLINE void write(float* y, V a, V b, V c, V d) {
    __builtin_memcpy(y, &a, sizeof a);
    __builtin_memcpy(y + kVector, &b, sizeof b);
    __builtin_memcpy(y + 2 * kVector, &c, sizeof c);
    __builtin_memcpy(y + 3 * kVector, &d, sizeof d);
}

template <class T>
TENON_INLINE T* at(const StripPlace& p, std::int64_t i) {
    return reinterpret_cast<T*>(p.base + i * p.step);
}

TENON_STEP(end) { static_cast<void>(s), static_cast<void>(i), static_cast<void>(a + b + c + d); }

/// A kernel on memory; what is in registers stays there.
TENON_STEP(any) {
    const void* const in[3] = {at<std::byte>(s->at[0], i), at<std::byte>(s->at[1], i), at<std::byte>(s->at[2], i)};
    s->kernel(at<std::byte>(s->at[3], i), in, kWidth);
    TENON_NEXT;
}

TENON_STEP(prefetch) {
    const auto* p = at<const char>(s->at[0], i);
    for (std::int64_t l = 0; l < kWidth * s->at[0].step; l += 64) __builtin_prefetch(p + l);
    TENON_NEXT;
}

template <DType D>
TENON_STEP(load) {
    const auto* x = at<const Stored<D>>(s->at[0], i);
    if constexpr (D == DType::float32) {
        read(x, a, b, c, d);
    } else {
        Strip t;
        for (int l = 0; l < kWidth; ++l) t.x[l] = convert<D, DType::float32>(x[l]);
        read(t.x, a, b, c, d);
    }
    TENON_NEXT;
}
template <DType D>
TENON_STEP(store) {
    auto* y = at<Stored<D>>(s->at[3], i);
    if constexpr (D == DType::float32) {
        write(y, a, b, c, d);
    } else {
        Strip t;
        write(t.x, a, b, c, d);
        for (int l = 0; l < kWidth; ++l) y[l] = convert<DType::float32, D>(t.x[l]);
    }
    TENON_NEXT;
}

/// Past the caches where the instruction set can and the place is aligned.
TENON_STEP(stream) {
    auto* y = at<float>(s->at[3], i);
#if defined(__x86_64__) && TENON_STRIP_VECTOR == 64
    if (reinterpret_cast<std::uintptr_t>(y) % 64 == 0) {
        __builtin_ia32_movntps512(y, a);
        __builtin_ia32_movntps512(y + kVector, b);
        __builtin_ia32_movntps512(y + 2 * kVector, c);
        __builtin_ia32_movntps512(y + 3 * kVector, d);
        TENON_NEXT;
    }
#elif defined(__x86_64__)
    if (reinterpret_cast<std::uintptr_t>(y) % 32 == 0) {
        __builtin_ia32_movntps256(y, a);
        __builtin_ia32_movntps256(y + kVector, b);
        __builtin_ia32_movntps256(y + 2 * kVector, c);
        __builtin_ia32_movntps256(y + 3 * kVector, d);
        TENON_NEXT;
    }
#endif
    write(y, a, b, c, d);
    TENON_NEXT;
}

template <Opcode op>
TENON_STEP(one) {
    Strip t;
    write(t.x, a, b, c, d);
    if constexpr (std::is_same_v<decltype(unary<op>(0.0f)), bool>) {
        auto* y = at<std::uint8_t>(s->at[3], i);
        for (int l = 0; l < kWidth; ++l) y[l] = unary<op>(t.x[l]);
    } else {
        for (int l = 0; l < kWidth; ++l) t.x[l] = unary<op>(t.x[l]);
        read(t.x, a, b, c, d);
    }
    TENON_NEXT;
}

enum Side { kLeft, kRight, kBoth };  // where the registers stand

template <Opcode op, Side side>
TENON_INLINE auto combined(float x, const float* m, int l) {
    if constexpr (side == kLeft)
        return binary<op>(x, m[l]);
    else if constexpr (side == kRight)
        return binary<op>(m[l], x);
    else
        return binary<op>(x, x);
}
template <Opcode op, Side side>
TENON_STEP(two) {
    Strip t;
    write(t.x, a, b, c, d);
    const auto* m = at<const float>(s->at[0], i);
    if constexpr (std::is_same_v<decltype(binary<op>(0.0f, 0.0f)), bool>) {
        auto* y = at<std::uint8_t>(s->at[3], i);
        for (int l = 0; l < kWidth; ++l) y[l] = combined<op, side>(t.x[l], m, l);
    } else {
        for (int l = 0; l < kWidth; ++l) t.x[l] = combined<op, side>(t.x[l], m, l);
        read(t.x, a, b, c, d);
    }
    TENON_NEXT;
}

template <bool first>
TENON_STEP(select) {
    Strip t;
    write(t.x, a, b, c, d);
    const auto* when = at<const std::uint8_t>(s->at[0], i);
    const auto* m = at<const float>(s->at[1], i);
    for (int l = 0; l < kWidth; ++l) {
        const float other = m[l];
        t.x[l] = (when[l] != 0) == first ? t.x[l] : other;
    }
    read(t.x, a, b, c, d);
    TENON_NEXT;
}

/// Of the registers, at[0] and at[1].
TENON_STEP(multiply_add) {
    Strip t;
    write(t.x, a, b, c, d);
    const auto *x = at<const float>(s->at[0], i), *y = at<const float>(s->at[1], i);
    for (int l = 0; l < kWidth; ++l) t.x[l] = fma(t.x[l], x[l], y[l]);
    read(t.x, a, b, c, d);
    TENON_NEXT;
}

template <Reduction op>
TENON_STEP(reduce) {
    Strip t, u;
    write(t.x, a, b, c, d);
    auto* lanes = reinterpret_cast<float*>(s->at[3].base) + i % kLanes;
    V e, f, g, h;
    read(lanes, e, f, g, h);
    write(u.x, e, f, g, h);
    for (int l = 0; l < kWidth; ++l) u.x[l] = combine<op>(u.x[l], t.x[l]);
    read(u.x, e, f, g, h);
    write(lanes, e, f, g, h);
    TENON_NEXT;
}
template <Reduction op>
TENON_STEP(reduce_part) {
    Strip t;
    write(t.x, a, b, c, d);
    auto* lanes = reinterpret_cast<float*>(s->at[3].base) + i % kLanes;
    for (std::int64_t l = 0; l < s->at[0].step; ++l) lanes[l] = combine<op>(lanes[l], t.x[l]);
    TENON_NEXT;
}

template <Reduction op>
float join(const float* lanes) {
    alignas(64) float x[kLanes];
    __builtin_memcpy(x, lanes, sizeof x);
    const auto halve = [&](std::int64_t half) {
        for (std::int64_t l = 0; l < half; ++l) x[l] = combine<op>(x[l], x[l + half]);
    };
    halve(32), halve(16), halve(8), halve(4), halve(2), halve(1);
    return x[0];
}

void run(const StripStep* steps, std::int64_t begin, std::int64_t last) {
    for (std::int64_t i = begin; i < last; i += kWidth)
        reinterpret_cast<Step>(steps->handler)(steps, i, V{}, V{}, V{}, V{});
}

void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

StripHandler handler(Step s) { return reinterpret_cast<StripHandler>(s); }

/// Opcodes whose loops have branches stay with their kernels.
constexpr bool in_registers(Opcode op) {
    return op != Opcode::sin && op != Opcode::cos && op != Opcode::floor_divide && op != Opcode::remainder &&
           op != Opcode::pow && op != Opcode::nextafter && op != Opcode::cast && op != Opcode::select &&
           op != Opcode::fma;
}

template <Opcode op, int arity>
void fill(StripTable& t) {
    constexpr auto o = static_cast<int>(op);
    if constexpr (arity == 1 && in_registers(op)) {
        t.unary[o] = handler(&one<op>);
    } else if constexpr (arity == 2 && in_registers(op)) {
        t.binary[o][kLeft] = handler(&two<op, kLeft>);
        t.binary[o][kRight] = handler(&two<op, kRight>);
        t.binary[o][kBoth] = handler(&two<op, kBoth>);
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
    t.join[o] = &join<op>;
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
    t.select[0] = handler(&select<true>);
    t.select[1] = handler(&select<false>);
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
