// The loops of the one-operand opcodes.
#include "tape/loops_isa.h"
#include "tape/operations.h"

namespace tenon::tape::TENON_ISA {
namespace {

template <Opcode op, DType D>
void loop(void* out, const void* const* in, std::int64_t n) {
    using Result = decltype(unary<op>(Value<D>{}));
    constexpr DType kOut = std::is_same_v<Result, bool> ? DType::boolean : D;
    const auto* x = static_cast<const Stored<D>*>(in[0]);
    auto* y = static_cast<Stored<kOut>*>(out);
    TENON_INDEPENDENT
    for (std::int64_t i = 0; i < n; ++i) y[i] = Element<kOut>::store(unary<op>(Element<D>::load(x[i])));
}

/// A function with a faster form for usual operands: short pieces, so that few elements share one element's slow form.
template <Opcode op, DType D>
void usual_loop(void* out, const void* const* in, std::int64_t n) {
    constexpr std::int64_t kPiece = 64;
    const auto* x = static_cast<const Stored<D>*>(in[0]);
    auto* y = static_cast<Stored<D>*>(out);
    for (std::int64_t start = 0; start < n; start += kPiece) {
        const std::int64_t end = start + kPiece < n ? start + kPiece : n;
        int unusual = 0;
        for (std::int64_t i = start; i < end; ++i) unusual |= is_usual<op>(Element<D>::load(x[i])) ? 0 : 1;
        if (unusual == 0) {
            TENON_INDEPENDENT
            for (std::int64_t i = start; i < end; ++i) y[i] = Element<D>::store(usual<op>(Element<D>::load(x[i])));
        } else {
            TENON_INDEPENDENT
            for (std::int64_t i = start; i < end; ++i) y[i] = Element<D>::store(unary<op>(Element<D>::load(x[i])));
        }
    }
}

template <Opcode op, int arity, DType... D>
void fill(KernelTable& t, Types<D...>) {
    if constexpr (has_usual(op))
        ((t.elementwise[static_cast<int>(op)][static_cast<int>(D)] = &usual_loop<op, D>), ...);
    else if constexpr (arity == 1 && op != Opcode::cast)
        ((t.elementwise[static_cast<int>(op)][static_cast<int>(D)] = &loop<op, D>), ...);
}

}  // namespace

void fill_unary(KernelTable& t) {
#define X(op, arity, types) fill<Opcode::op, arity>(t, Types##types{});
    TENON_OPCODES(X)
#undef X
}

}  // namespace tenon::tape::TENON_ISA
