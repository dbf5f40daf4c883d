// scalar: a C++ number beside a tensor. Its value is an input of the graph, never part of its identity.
#include <bit>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {
namespace {

// attributes: dtype, weak. A floating scalar keeps a double's bits, the others an int64.
void write(const Node& n, std::span<const View>, const View& out) {
    double f = std::bit_cast<double>(n.scalar);
    auto i = std::bit_cast<std::int64_t>(n.scalar);
    const View value = is_floating(n.dtype) ? View{&f, DType::float64, {}} : View{&i, DType::int64, {}};
    const DType type = value.dtype;
    tape::run(tape::single(tape::Opcode::cast, {&type, 1}, out.dtype), {&value, 1}, {&out, 1});
}

constexpr Primitive kScalar{
    .name = "scalar",
    .doc = "A number given at run time.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes& a) {
            return Signature{{}, static_cast<DType>(a[0])};
        },
    .derivative = Derivative::none,
    .reference = write,
};
const Register registered(kScalar);

Tensor make(Scalar value, DType dtype, bool weak) {
    Tensor t = record(kScalar, {}, {static_cast<std::int64_t>(dtype), weak});
    t.node()->scalar = is_floating(dtype) ? std::bit_cast<std::uint64_t>(value.as_double())
                                          : std::bit_cast<std::uint64_t>(value.as_integer());
    return t;
}

}  // namespace

Tensor scalar(Scalar value, DType dtype) { return make(value, dtype, false); }

Tensor::Tensor(Scalar value) : Tensor(make(value, value.dtype(), true)) {}

bool is_run_time_scalar(const Node& n) { return n.primitive == &kScalar; }

bool is_weak_scalar(const Tensor& t) { return t.node()->primitive == &kScalar && t.node()->attributes[1]; }

void check_fits(std::string_view op, Scalar value, DType dtype) {
    using enum Scalar::Kind;
    const bool fits = value.kind() == floating  ? is_floating(dtype)
                      : value.kind() == boolean ? true
                                                : dtype != DType::boolean;
    if (!fits)
        throw TypeError(text(op, ": a ", name(value.dtype()), " number does not fit ", name(dtype), "; use astype"));
    if (!value.is_integer() || !is_integer(dtype)) return;
    const int bits = 8 * static_cast<int>(size_of(dtype)) - (is_signed_integer(dtype) ? 1 : 0);
    const bool large = value.kind() == unsigned_integer;
    const std::int64_t v = value.as_integer();
    // Above 63 bits only uint64 has numbers, below 0 only the signed ones, and -v - 1 takes the bits that v does.
    const bool in_range = large   ? bits == 64
                          : v < 0 ? is_signed_integer(dtype) && (-(v + 1)) >> bits == 0
                                  : bits >= 63 || v >> bits == 0;
    if (in_range) return;
    const std::string shown = large ? text(static_cast<std::uint64_t>(v)) : text(v);
    throw ValueError(text(op, ": the number ", shown, " is out of range for ", name(dtype)));
}

Tensor scalar_as(const Tensor& weak, DType dtype, std::string_view op) {
    const Node& n = *weak.node();
    if (n.dtype == dtype) return weak;
    const auto bits = std::bit_cast<std::int64_t>(n.scalar);
    const Scalar value = is_floating(n.dtype)        ? Scalar(std::bit_cast<double>(n.scalar))
                         : n.dtype == DType::uint64  ? Scalar(n.scalar)
                         : n.dtype == DType::boolean ? Scalar(bits != 0)
                                                     : Scalar(bits);
    if (n.dtype == DType::boolean && dtype != DType::boolean)
        throw TypeError(text(op, ": a bool number does not fit a ", name(dtype), " tensor; use astype"));
    check_fits(op, value, dtype);
    return scalar(value, dtype);
}

}  // namespace tenon
