// Right operands that recur: a graph's weight is packed once, and the packed form is kept with its memory. The
// product's bits are the same as without.
//
// The second evaluation that multiplies by the same elements of the same storage packs them. If the memory is
// overwritten or freed, its packed form is dropped. Memory that belongs to somebody else (Storage::adopt) is never
// packed, because it may change without notice.
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

/// The most bytes of a weight that products read in place, and rows from which packing it in each call costs next to
/// nothing.
inline constexpr std::int64_t kWeightBytes = 32 << 10, kWeightRows = 512;

struct PackedWeight;

/// The packed form of b, whose owner is set; null if there is none or it is not worth it. Packs b if it recurs. A
/// failure to pack (no memory) is not an error. Two threads must not call it for one storage at once.
std::shared_ptr<const PackedWeight> packed_weight(const AxisRoles& roles, const View& a, const View& b,
                                                  const View& out);
const dense::PackedB& panels(const PackedWeight& weight);

/// An operand in the order of other kernels, in bytes.
struct PackedForm {
    using Offsets = std::initializer_list<const std::vector<std::int64_t>*>;
    const void* kernels;
    Offsets offsets;  // of the elements that the form contains; they distinguish views of one storage
    std::int64_t bytes;
};
/// The same for such a form; `pack` writes it to memory aligned to a cache line.
std::shared_ptr<const PackedWeight> packed_weight(const View& b, const PackedForm& form,
                                                  FunctionRef<void(std::byte*)> pack);
const std::byte* data(const PackedWeight& weight);

/// Begins another evaluation: an operand that is seen twice within one does not recur.
TENON_API void next_evaluation();

struct WeightStatistics {
    std::int64_t packed, reused, dropped;  // dropped to make room, not together with their storages
    std::int64_t weights, bytes;  // in memory now
};
WeightStatistics weight_statistics();

/// The most bytes of packed weights. If there is no room, those that no recent evaluation used are dropped; if none can
/// be, nothing is packed. Initially TENON_PACKED_WEIGHTS (bytes; 0 or off: none), otherwise the smaller of 1 GiB and an
/// eighth of the machine's memory. Throws ValueError below 0.
void set_packed_weights_limit(std::int64_t bytes);

}  // namespace tenon::product
