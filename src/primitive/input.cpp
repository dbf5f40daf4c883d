// input: a value given from outside the graph, and Tensor's constructors from one.
#include <cstring>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {
namespace {

void no_value(const Node&, std::span<const View>, const View&) {
    throw ValueError("input: a placeholder has no value: a linear map was evaluated before its variables were bound");
}

constexpr Primitive kInput{
    .name = "input",
    .doc = "A value given from outside.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes& a) {
            Shape s;
            for (std::size_t i = 1; i < a.size(); ++i) s.push_back(a[i]);
            return Signature{s, static_cast<DType>(a[0])};
        },
    .derivative = Derivative::none,
    .reference = no_value,
};
const Register registered(kInput);

constexpr Primitive kGivenUp{
    .name = "given_up",
    .doc = "A value whose memory went to an evaluation that failed.",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor>, const Attributes&) {
            return Signature{{}, DType::float32};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node&, std::span<const View>, const View&) {
            throw ValueError(
                "input: the value, to which no handle was left, was overwritten by an evaluation that failed");
        },
};

}  // namespace

void give_up(Node& leaf) {
    leaf.withdraw();
    leaf.primitive = &kGivenUp;
    leaf.attributes.clear();
}

Tensor placeholder(const Shape& shape, DType dtype) {
    std::int64_t words[1 + kMaxRank] = {static_cast<std::int64_t>(dtype)};
    std::copy(shape.begin(), shape.end(), words + 1);
    return record(kInput, {},
                  Attributes(std::span<const std::int64_t>(words, 1 + static_cast<std::size_t>(shape.rank()))));
}

Tensor input(Array array) {
    // A number has no device of its own: it is computed wherever it is read.
    const Device device = array.storage->device();
    const bool is_placed = array.view.layout.rank() > 0 || device != Device::cpu();
    Tensor t = record_known(kInput, array.view.shape(), array.view.dtype,
                            is_placed ? std::optional(device) : std::nullopt, {}, {}, __builtin_return_address(0));
    t.node()->publish(std::move(array));
    return t;
}

Tensor Tensor::copy_of(const void* values, std::size_t n, DType dtype, const Shape& shape) {
    if (static_cast<std::int64_t>(n) != checked_count("Tensor::from", shape))
        throw ShapeError(text("Tensor::from: ", n, " values do not fill shape ", to_string(shape)));
    const std::size_t bytes = n * size_of(dtype);
    auto storage = Storage::allocate(static_cast<std::int64_t>(bytes));
    if (bytes) std::memcpy(storage->data(), values, bytes);
    void* data = storage->data();
    return input({std::move(storage), {data, dtype, Layout::contiguous(shape)}});
}

Tensor Tensor::wrap(void* data, DType dtype, const Layout& layout, std::function<void()> release) {
    const std::int64_t n = checked_count("Tensor::wrap", layout.shape);
    if (layout.strides.size() != layout.shape.size())
        throw ShapeError(text("Tensor::wrap: ", layout.strides.size(), " strides for shape ", to_string(layout.shape)));
    if (!data && n > 0) throw ValueError("Tensor::wrap: a null pointer for shape " + to_string(layout.shape));
    auto storage = Storage::adopt(data, n * static_cast<std::int64_t>(size_of(dtype)), std::move(release));
    Layout l = layout;
    l.offset = 0;
    return input({std::move(storage), {data, dtype, l}});
}

}  // namespace tenon
