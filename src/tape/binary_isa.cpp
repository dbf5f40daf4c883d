// The loops of the opcodes of two and three operands.
#include "tape/loops_isa.h"
#include "tape/operations.h"

namespace tenon::tape::TENON_ISA {
namespace {

template <Opcode op, DType D>
void loop(void* out, const void* const* in, std::int64_t n) {
    using Result = decltype(binary<op>(Value<D>{}, Value<D>{}));
    constexpr DType kOut = std::is_same_v<Result, bool> ? DType::boolean : D;
    const auto* a = static_cast<const Stored<D>*>(in[0]);
    const auto* b = static_cast<const Stored<D>*>(in[1]);
    auto* y = static_cast<Stored<kOut>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i)
        y[i] = Element<kOut>::store(binary<op>(Element<D>::load(a[i]), Element<D>::load(b[i])));
}

/// The neighbour in the stored format, which float32 arithmetic could not give.
template <DType D>
void nextafter_loop(void* out, const void* const* in, std::int64_t n) {
    using U = std::conditional_t<sizeof(Stored<D>) == 2, std::uint16_t,
                                 std::conditional_t<sizeof(Stored<D>) == 4, std::uint32_t, std::uint64_t>>;
    constexpr U kInf = D == DType::float16    ? static_cast<U>(0x7c00u)
                       : D == DType::bfloat16 ? static_cast<U>(0x7f80u)
                       : D == DType::float32  ? static_cast<U>(Real<float>::kInfinity)
                                              : static_cast<U>(Real<double>::kInfinity);
    const auto* a = static_cast<const Stored<D>*>(in[0]);
    const auto* b = static_cast<const Stored<D>*>(in[1]);
    auto* y = static_cast<Stored<D>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i)
        y[i] = __builtin_bit_cast(Stored<D>,
                                  next_after<U>(__builtin_bit_cast(U, a[i]), __builtin_bit_cast(U, b[i]), kInf));
}

template <DType D>
void select_loop(void* out, const void* const* in, std::int64_t n) {
    const auto* c = static_cast<const std::uint8_t*>(in[0]);
    const auto* a = static_cast<const Stored<D>*>(in[1]);
    const auto* b = static_cast<const Stored<D>*>(in[2]);
    auto* y = static_cast<Stored<D>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i) {
        const auto u = a[i], v = b[i];
        y[i] = c[i] != 0 ? u : v;
    }
}

template <DType D>
void fma_loop(void* out, const void* const* in, std::int64_t n) {
    const auto* a = static_cast<const Stored<D>*>(in[0]);
    const auto* b = static_cast<const Stored<D>*>(in[1]);
    const auto* c = static_cast<const Stored<D>*>(in[2]);
    auto* y = static_cast<Stored<D>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i)
        y[i] = Element<D>::store(fma(Element<D>::load(a[i]), Element<D>::load(b[i]), Element<D>::load(c[i])));
}

template <Opcode op, int arity, DType... D>
void fill(KernelTable& t, Types<D...>) {
    constexpr int i = static_cast<int>(op);
    if constexpr (op == Opcode::select)
        ((t.elementwise[i][static_cast<int>(D)] = &select_loop<D>), ...);
    else if constexpr (op == Opcode::fma)
        ((t.elementwise[i][static_cast<int>(D)] = &fma_loop<D>), ...);
    else if constexpr (op == Opcode::nextafter)
        ((t.elementwise[i][static_cast<int>(D)] = &nextafter_loop<D>), ...);
    else if constexpr (arity == 2)
        ((t.elementwise[i][static_cast<int>(D)] = &loop<op, D>), ...);
}

}  // namespace

void fill_binary(KernelTable& t) {
#define X(op, arity, types) fill<Opcode::op, arity>(t, Types##types{});
    TENON_OPCODES(X)
#undef X
}

}  // namespace tenon::tape::TENON_ISA
