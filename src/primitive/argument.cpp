// argument: what a compiled function takes, while it is recorded.
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {
namespace {

// Attributes: the dtype, the extents, the strides.
Layout layout_of(const Attributes& a) {
    const std::span<const std::int64_t> words = a;
    const std::size_t rank = (a.size() - 1) / 2;
    return {Shape(words.subspan(1, rank)), Strides(words.subspan(1 + rank)), 0};
}

constexpr Primitive kArgument{
    .name = "argument",
    .doc = "An argument of a compiled function, while it is recorded.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes& a) {
            return Signature{layout_of(a).shape, static_cast<DType>(a[0])};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node&, std::span<const View>, const View&) {
            throw ValueError(
                "compile: what depends on an argument of a compiled function has no value while the function is "
                "recorded, nor outside it: return it instead of reading it");
        },
};
const Register registered(kArgument);

}  // namespace

Tensor argument(DType dtype, const Layout& layout, std::optional<Device> device, std::int64_t place,
                RecordedFunctionPtr function) {
    std::vector<std::int64_t> words{static_cast<std::int64_t>(dtype)};
    words.insert(words.end(), layout.shape.begin(), layout.shape.end());
    words.insert(words.end(), layout.strides.begin(), layout.strides.end());
    Tensor t = record(kArgument, {}, Attributes(std::span<const std::int64_t>(words)));
    t.node()->device = device;
    t.node()->scalar = static_cast<std::uint64_t>(place);
    t.node()->payload = std::move(function);
    return t;
}

bool is_argument(const Node& n) { return n.primitive == &kArgument; }

Layout layout_of_argument(const Node& n) { return layout_of(n.attributes); }

}  // namespace tenon
