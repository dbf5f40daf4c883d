// The intermediate of a chain: its axes, split until each is one axis of both products.
#pragma once

#include <array>
#include <vector>

#include "product/axes.h"
#include "product/chain/chain.h"

namespace tenon::product::chain {

/// An axis of z, and its stride in everything that has it (elements; 0 if a view lacks it).
struct IntermediateAxis {
    std::int64_t extent = 1;
    std::int64_t z = 0;  // in a row-major z
    std::int64_t a = 0, b = 0, c = 0, out = 0;
    std::array<std::int64_t, kMaxEpilogueInputs> inputs{};  // of the tape between
    std::array<std::int64_t, kMaxEpilogueInputs> after{};  // of the second product's epilogue
    std::array<std::int64_t, 2> kept{};  // in the kept product and the kept intermediate
    bool in_a = false, in_b = false, in_c = false, in_out = false;
    int order = -1;  // if the second product sums it: its position among the summed axes, 0 the slowest

    bool summed() const { return !in_out; }
};

/// An axis that c and the output have and z lacks.
struct ColumnAxis {
    std::int64_t extent = 1, c = 0, out = 0;
    std::array<std::int64_t, kMaxEpilogueInputs> after{};
};

struct Intermediate {
    const char* declines = nullptr;  // why the second product's reading is not a permutation of axes, or null
    std::vector<IntermediateAxis>
        axes;  // in the order of z, neighbours merged if every stride allows it; no extent is 1
    AxisList summed;  // of the first product (strides a and b), in its order
    std::vector<ColumnAxis> columns;
    std::int64_t elements = 1;  // of z

    std::int64_t summed_count() const;  // of the second product
    std::int64_t column_count() const;
};

/// Whether a form takes a chain. Forms hold pointers to the intermediate and the chain, which must outlive them.
struct Applicability {
    const char* unsupported = nullptr;  // why it cannot run the chain, or null
    const char* unprofitable = nullptr;  // why one product after the other is expected to be as fast, or null

    const char* declines() const { return unsupported ? unsupported : unprofitable; }
};

/// Throws what contract throws.
Intermediate analyse(const Chain& chain);

/// The kept views, and their indices in IntermediateAxis::kept.
enum class Kept : std::uint8_t { product, intermediate };
inline const View* kept_view(const Chain& chain, Kept which) {
    return which == Kept::product ? chain.kept_product : chain.kept_intermediate;
}

/// Part of a kept view from a block of z: axes with these extents, `steps` apart in the block (elements).
struct KeptPart {
    std::vector<std::int64_t> extents, steps, strides;
    void add(std::int64_t extent, std::int64_t step, const IntermediateAxis& axis, Kept which) {
        extents.push_back(extent), steps.push_back(step), strides.push_back(axis.kept[static_cast<std::size_t>(which)]);
    }
    /// The block begins at offset `first` of the view.
    void copy(const View& to, std::int64_t first, const void* block) const;
};

/// The dtype of the intermediate as the second product reads it.
DType intermediate_dtype(const Chain& chain);
/// z without data: as the first product gives it, and as the second reads it.
View product_view(const Chain& chain);
View reading_view(const Chain& chain);

}  // namespace tenon::product::chain
