// argsort: the positions that sort each row of the last axis; stable, NaN last.
#include <algorithm>
#include <numeric>
#include <vector>

#include "primitive/primitive.h"
#include "primitive/view_of.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

// Keys that can be compared: floating numbers as double (exact for every floating dtype), integers as int64, uint64 as
// itself.
template <class T>
void sort_rows(const View& x, DType as, bool descending, std::int64_t* out) {
    const std::int64_t n = x.shape().back(), rows = n ? x.layout.count() / n : 0;
    std::vector<T> keys(static_cast<std::size_t>(rows * n));
    const View packed{keys.data(), as, Layout::contiguous(x.shape())};
    tape::run(tape::single(tape::Opcode::cast, {&x.dtype, 1}, as), {&x, 1}, {&packed, 1});
    for (std::int64_t r = 0; r < rows; ++r) {
        const T* k = keys.data() + r * n;
        std::int64_t* order = out + r * n;
        std::iota(order, order + n, std::int64_t{0});
        const auto nan = [&](std::int64_t i) { return k[i] != k[i]; };
        const auto* last = std::stable_partition(order, order + n, [&](auto i) { return !nan(i); });
        std::stable_sort(order, const_cast<std::int64_t*>(last),
                         [&](auto i, auto j) { return descending ? k[j] < k[i] : k[i] < k[j]; });
    }
}

constexpr Primitive kArgsort{
    .name = "argsort",
    .doc = "The positions that sort the last axis; stable, NaN last.",
    .role = Role::indexing,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            if (in[0].rank() == 0) throw ShapeError("argsort: a scalar has no axis to sort");
            return Signature{in[0].shape(), DType::int64};
        },
    .derivative = Derivative::none,
    .reference =
        [](const Node& n, std::span<const View> in, const View& out) {
            auto* to = out.as<std::int64_t>();
            const bool descending = n.attributes[0] != 0;
            if (is_floating(in[0].dtype)) return sort_rows<double>(in[0], DType::float64, descending, to);
            if (in[0].dtype == DType::uint64) return sort_rows<std::uint64_t>(in[0], DType::uint64, descending, to);
            sort_rows<std::int64_t>(in[0], DType::int64, descending, to);
        },
    .refuses_nothing = true,
    .samples =
        [] {
            return std::vector{
                Sample{{{3, 9}}, -1, 1, [](std::span<const Tensor> in) { return argsort_last(in[0], false); }}};
        },
};
const Register registered(kArgsort);

}  // namespace

Tensor argsort_last(const Tensor& x, bool descending) { return record(kArgsort, {x}, {descending}); }

}  // namespace tenon
