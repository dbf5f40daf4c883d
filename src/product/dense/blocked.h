// The blocked product: any contraction, on packed panels.
#pragma once

#include <span>
#include <vector>

#include "base/cpu.h"
#include "product/axes.h"
#include "product/dense/choice.h"
#include "product/dense/cost.h"
#include "product/dense/kernels.h"
#include "product/dense/packed.h"
#include "product/dense/plan.h"
#include "product/epilogue.h"
#include "product/finish.h"
#include "product/prologue.h"
#include "tenon/product.h"

namespace tenon::product::dense {

struct Extra {
    const PackedB* packed = nullptr;  // b in the kernels' order (pack_b); b.data is not read then
    const LoweredEpilogue* epilogue = nullptr;
    const LoweredPrologue *prologue_a = nullptr, *prologue_b = nullptr;  // then a's dtype, b's is what the tape gives
    Part part = Part::whole;  // of one output matrix, without tapes and integers
    // Not whole: the operand, of float or double, one batch and no tapes, is symmetric, and this triangle of it is
    // given.
    Part symmetric_a = Part::whole, symmetric_b = Part::whole;
};

/// The operands whose tapes no row takes, or whose other triangle is not completed on the way: nothing was computed,
/// and that is to be done first.
struct Declined {
    bool a = false, b = false;
};

Declined contract_blocked(const AxisRoles& roles, const View& a, const View& b, const View& out, const Finish& finish,
                          const Extra& extra);

/// One of several products that run together (grouped.h).
struct Call {
    AxisRoles roles;
    View a, b, out;
    Extra extra;  // no prologues
    bool reads_earlier = false;  // its epilogue reads what one before it gives, at the element that it gives itself
};
/// What is to be said of products, of one pair of dtypes, that may run in one region. `seconds` are expected of all,
/// one after the other; `waits` of them are spared.
struct Joint {
    const char* declines;  // why, or null
    double seconds, waits;
};
Joint describe_grouped(std::span<const Call> calls);
/// Computes them, or nothing where describe_grouped gives a reason; whether it did.
bool contract_grouped(std::span<const Call> calls);

/// The kernels whose operands are widened to the type that sums them.
const IsaKernels& kernels_of(Isa isa);

/// Whether the CPU multiplies narrow elements in groups (AVX-512 BF16 and VNNI) and the instruction set in force is
/// AVX-512.
bool uses_dot_instructions();
/// Whether many products of bfloat16 are those of the dot instruction; else operands are widened to float32 and the two
/// elements of a pair multiplied one after the other, with the same bits: the instruction may be the slower way.
bool multiplies_pairs();
/// Tests choose: as is fast here (usual), the instructions wherever they are, bfloat16 as on a CPU whose own is slow,
/// none of them.
enum class Dot : std::uint8_t { usual, always, slow, never };
void force_dot(Dot dot);

/// The rows (rows.h) in the order in which they are asked; none for a product without elements.
struct Candidate {
    const char *name, *what;
    const char* declines;  // why, or null
    bool runs, tuned;
    // Where it does not decline: the estimate, and what it is made of.
    double seconds;
    Work work;
    Rates rates;
};
std::vector<Candidate> candidates(const AxisRoles& roles, const View& a, const View& b, const View& out,
                                  const Finish& finish, const Extra& extra);
inline constexpr int kRowCount = 7;

/// What a tuned choice for this product is kept under.
ProblemKey problem_key(const AxisRoles& roles, const View& a, const View& b, const View& out, const Extra& extra);

/// While it lives, products called from this thread are computed so, where the row does not decline.
class ForcedChoice {
  public:
    explicit ForcedChoice(const Choice& choice);
    ~ForcedChoice();
    ForcedChoice(const ForcedChoice&) = delete;
    ForcedChoice& operator=(const ForcedChoice&) = delete;

  private:
    Choice choice_;
    const Choice* before_;
};

/// How b (k rows, n columns) is packed for products with an `a` of type `a_type`: everything but the memory.
PackedB packed_layout(DType a_type, DType b_type, std::int64_t k, std::int64_t n);
std::int64_t packed_bytes(const PackedB& layout);
/// Whether a product is faster with b packed beforehand: not where the operands are exchanged (lower.h), nor where more
/// than one row reads b in place.
bool packing_pays(const AxisRoles& roles, const View& a, const View& b, const View& out);
/// Fills p.data and the sums of columns. `b` has two axes, k and n.
void pack_b(const PackedB& p, const View& b, std::int32_t* column_sums);

/// Fills `prepared` where the product needs no working space; else returns false and leaves it.
bool prepare_direct(const AxisRoles& roles, const View& a, const View& b, const View& out, const Finish& finish,
                    PreparedGemm& prepared);

}  // namespace tenon::product::dense
