// iota: 0, 1, ..., n - 1.
#include <numeric>
#include <vector>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr Primitive kIota{
    .name = "iota",
    .doc = "The numbers 0, 1, ..., n - 1.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes& a) {
            return Signature{{a[0]}, static_cast<DType>(a[1])};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node& n, std::span<const View>, const View& out) {
            std::vector<std::int64_t> values(static_cast<std::size_t>(n.attributes[0]));
            std::iota(values.begin(), values.end(), std::int64_t{0});
            const View v{values.data(), DType::int64, Layout::contiguous(out.shape())};
            const DType type = v.dtype;
            tape::run(tape::single(tape::Opcode::cast, {&type, 1}, out.dtype), {&v, 1}, {&out, 1});
        },
};
const Register registered(kIota);

}  // namespace

bool is_iota(const Node& n) { return n.primitive == &kIota; }

Tensor iota(std::int64_t n, DType dtype) {
    if (n < 0) throw ShapeError(text("iota: a length of ", n));
    if (!is_integer(dtype) && !is_floating(dtype))
        throw TypeError(text("iota of ", n, " numbers: ", name(dtype), " is not a numeric dtype"));
    return record(kIota, {}, {n, static_cast<std::int64_t>(dtype)});
}

}  // namespace tenon
