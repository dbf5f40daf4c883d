// random_bits: uniform random 32- or 64-bit words, a function of a key and the element's position alone.

#include "base/philox.h"
#include "base/text.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

constexpr std::uint64_t kBitsDomain = 0;

constexpr Primitive kRandomBits{
    .name = "random_bits",
    .doc = "Random words drawn from a key (Philox4x32-10).",
    .role = Role::leaf,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            if (in[0].dtype() != DType::uint64 || in[0].rank() != 0)
                throw TypeError(text("random_bits: the key is ", to_string(in[0].shape()), " ", name(in[0].dtype()),
                                     ", not a uint64 scalar"));
            Shape s;
            for (std::size_t i = 1; i < a.size(); ++i) s.push_back(a[i]);
            return Signature{s, static_cast<DType>(a[0])};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node& n, std::span<const View> in, const View& out) {
            const std::size_t words =
                static_cast<std::size_t>(count(n.shape)) * (size_of(out.dtype) / sizeof(std::uint32_t));
            philox_fill(*in[0].as<std::uint64_t>(), kBitsDomain, 0, {out.as<std::uint32_t>(), words});
        },
};
const Register registered(kRandomBits);

}  // namespace

Tensor random_bits(const Tensor& key, const Shape& shape, DType dtype) {
    if (dtype != DType::uint32 && dtype != DType::uint64)
        throw TypeError(text("random_bits: ", name(dtype), " is neither uint32 nor uint64"));
    std::int64_t words[1 + kMaxRank] = {static_cast<std::int64_t>(dtype)};
    std::copy(shape.begin(), shape.end(), words + 1);
    return record(kRandomBits, {key},
                  Attributes(std::span<const std::int64_t>(words, 1 + static_cast<std::size_t>(shape.rank()))));
}

}  // namespace tenon
