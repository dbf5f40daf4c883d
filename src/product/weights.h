// Right operands that recur: a weight of a graph is packed once, and the packed form is kept with its memory. The bits
// are those of the product without.
//
// The second evaluation that multiplies by the same elements of the same storage packs them; what is overwritten or
// given back takes its packed form along. Memory that belongs to somebody else (Storage::adopt) is never packed: it may
// change unseen.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "base/view.h"
#include "product/axes.h"
#include "product/dense/packed.h"
#include "tenon/export.h"

namespace tenon::product {

/// Bytes up to which products serve a weight where it is, and rows from which packing it for each call costs next to
/// nothing.
inline constexpr std::int64_t kWeightBytes = 32 << 10, kWeightRows = 512;

struct PackedWeight;

/// The packed form of b, whose owner is set; null where there is none, or it is not worth it. Packs it where it comes
/// back. What goes wrong in that (no memory) is no error. Not for two threads and one storage at once.
std::shared_ptr<const PackedWeight> packed_weight(const AxisRoles& roles, const View& a, const View& b,
                                                  const View& out);
const dense::PackedB& panels(const PackedWeight& weight);

/// An operand as somebody else's kernels read it, in bytes.
struct PackedForm {
    using Offsets = std::initializer_list<const std::vector<std::int64_t>*>;
    const void* kernels;
    Offsets offsets;  // of the elements that the form is made of: tell the views of a storage apart
    std::int64_t bytes;
};
/// The same for such a form, which `pack` writes to memory on a cache line.
std::shared_ptr<const PackedWeight> packed_weight(const View& b, const PackedForm& form,
                                                  FunctionRef<void(std::byte*)> pack);
const std::byte* data(const PackedWeight& weight);

/// Another evaluation begins: within one, an operand that is seen twice does not come back.
TENON_API void next_evaluation();

struct WeightStatistics {
    std::int64_t packed, reused, dropped;  // dropped to make room, not with their storages
    std::int64_t weights, bytes;  // held
};
WeightStatistics weight_statistics();

/// The most bytes of packed weights; where there is no room, those that no recent evaluation used go, else nothing is
/// packed. At the start TENON_PACKED_WEIGHTS (bytes; 0 or off: none), else the smaller of 1 GiB and an eighth of the
/// machine's memory. Throws ValueError below 0.
void set_packed_weights_limit(std::int64_t bytes);

}  // namespace tenon::product
