// The blocked product: any contraction, on packed panels.
#pragma once

#include <vector>

#include "product/axes.h"
#include "product/dense/packed.h"
#include "product/epilogue.h"
#include "product/finish.h"
#include "tenon/product.h"

namespace tenon::product::dense {

struct Extra {
    const PackedB* packed = nullptr;  // b in the kernels' order (pack_b); b.data is not read then
    const LoweredEpilogue* epilogue = nullptr;
};

void contract_blocked(const AxisRoles& roles, const View& a, const View& b, const View& out, const Finish& finish,
                      const Extra& extra);

/// Whether the CPU multiplies narrow elements in groups (AVX-512 BF16 and VNNI) and the instruction set in force is
/// AVX-512. Tests turn it off.
bool uses_dot_instructions();
void allow_dot_instructions(bool allowed);

/// The rows (rows.h) in the order in which they are asked; the first that does not decline runs.
struct Candidate {
    const char *name, *what;
    const char* declines;  // why, or null
};
std::vector<Candidate> candidates(const AxisRoles& roles, const View& a, const View& b, const View& out,
                                  const Finish& finish, const Extra& extra);
/// Products called from this thread take this row where it does not decline; -1 for the usual choice.
void force_row(int row);
inline constexpr int kRowCount = 5;

/// How b (k rows, n columns) is packed for products with an `a` of type `a_type`: everything but the memory.
PackedB packed_layout(DType a_type, DType b_type, std::int64_t k, std::int64_t n);
std::int64_t packed_bytes(const PackedB& layout);
/// Fills p.data and the sums of columns. `b` has two axes, k and n.
void pack_b(const PackedB& p, const View& b, std::int32_t* column_sums);

/// Fills `prepared` where the product needs no working space; else returns false and leaves it.
bool prepare_direct(const AxisRoles& roles, const View& a, const View& b, const View& out, const Finish& finish,
                    PreparedGemm& prepared);

}  // namespace tenon::product::dense
