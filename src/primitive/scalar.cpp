// scalar: a C++ number beside a tensor. Its value is an input of the graph, never part of its identity.
#include <bit>
#include <memory>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {
namespace {

/// The payload of a derived number. That of any other number made of an argument is the recording.
struct Derived {
    std::function<Scalar(Scalar)> f;
    RecordedFunctionPtr function;
};

const Derived& derived(const Node& n) { return *static_cast<const Derived*>(n.payload.get()); }

// Attributes: the dtype, and whether the scalar is weak. A scalar made of an argument also has the argument's place; a
// derived number has a 1 after that. Floating scalars store the bits of a double, the others an int64.
void write(const Node& n, std::span<const View>, const View& out) {
    if (place_of_number(n) >= 0 && !function_of(n)->is_bound)
        throw ValueError("compile: a number that is an argument of a compiled function was read while it was recorded");
    double f = std::bit_cast<double>(n.scalar);
    if (out.dtype == DType::float32) {  // the most common dtype skips the preparations of a tape
        *out.as<float>() = static_cast<float>(f);
        return;
    }
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

std::uint64_t bits_of(Scalar value, DType dtype) {
    return is_floating(dtype) ? std::bit_cast<std::uint64_t>(value.as_double())
                              : std::bit_cast<std::uint64_t>(value.as_integer());
}

Tensor make(Scalar value, DType dtype, bool weak, std::int64_t place = -1,
            std::shared_ptr<const void> payload = nullptr) {
    const std::int64_t attributes[] = {static_cast<std::int64_t>(dtype), weak, place};
    Tensor t = record_known(kScalar, {}, dtype, std::nullopt, {}, std::span(attributes, place < 0 ? 2 : 3),
                            __builtin_return_address(0));
    t.node()->scalar = bits_of(value, dtype);
    t.node()->payload = std::move(payload);
    return t;
}

}  // namespace

Tensor scalar(Scalar value, DType dtype) { return make(value, dtype, false); }

Tensor::Tensor(Scalar value) : Tensor(make(value, value.dtype(), true)) {}

bool is_run_time_scalar(const Node& n) { return n.primitive == &kScalar; }

bool is_weak_scalar(const Node& n) { return n.primitive == &kScalar && n.attributes[1]; }

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
    // Only uint64 holds numbers of 64 bits, only signed dtypes hold negative ones, and v < 0 needs as many bits as
    // -v - 1.
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
    const Scalar value = number_of(n);
    if (n.dtype == DType::boolean && dtype != DType::boolean)
        throw TypeError(text(op, ": a bool number does not fit a ", name(dtype), " tensor; use astype"));
    check_fits(op, value, dtype);
    return make(value, dtype, false, place_of_number(n), n.payload);
}

Scalar number_of(const Node& n) {
    const auto bits = std::bit_cast<std::int64_t>(n.scalar);
    if (is_floating(n.dtype)) return std::bit_cast<double>(n.scalar);
    if (n.dtype == DType::uint64) return n.scalar;
    return n.dtype == DType::boolean ? Scalar(bits != 0) : Scalar(bits);
}

Tensor number_argument(Scalar like, std::int64_t place, RecordedFunctionPtr function) {
    return make(like, like.dtype(), true, place, std::move(function));
}

std::int64_t place_of_number(const Node& n) {
    return is_run_time_scalar(n) && n.attributes.size() > 2 ? n.attributes[2] : -1;
}

void bind_number(Node& n, Scalar value) {
    if (is_derived_number(n)) value = derived_value(n, value);
    check_fits("compile", value, n.dtype);
    n.scalar = bits_of(value, n.dtype);
}

bool is_symbolic(const Node& n) { return is_argument(n) || place_of_number(n) >= 0; }

RecordedFunctionPtr function_of(const Node& n) {
    if (is_derived_number(n)) return derived(n).function;
    return std::static_pointer_cast<const RecordedFunction>(n.payload);
}

Tensor derived_number(const Tensor& from, DType dtype, std::function<Scalar(Scalar)> f) {
    const Node& n = *from.node();
    if (!is_symbolic(from) || from.size() != 1)
        throw ValueError(text("compile: a ", n.primitive->name, " of shape ", to_string(n.shape),
                              " gives no number while a function is recorded; an argument of one element does"));
    const std::int64_t place = is_argument(n) ? static_cast<std::int64_t>(n.scalar) : place_of_number(n);
    Tensor t = record(kScalar, {}, {static_cast<std::int64_t>(dtype), false, place, 1});
    if (is_derived_number(n))
        f = [inner = derived(n).f, outer = std::move(f)](Scalar value) { return outer(inner(value)); };
    t.node()->payload = std::make_shared<const Derived>(Derived{std::move(f), function_of(n)});
    return t;
}

bool is_derived_number(const Node& n) { return is_run_time_scalar(n) && n.attributes.size() > 3; }

Scalar derived_value(const Node& n, Scalar argument) { return derived(n).f(argument); }

}  // namespace tenon
