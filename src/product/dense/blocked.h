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
    const PackedB* packed = nullptr;  // b in the order the kernels read (pack_b); b.data is then not read
    const LoweredEpilogue* epilogue = nullptr;
    // if set, the dtype of a or b is what its tape gives
    const LoweredPrologue *prologue_a = nullptr, *prologue_b = nullptr;
    Part part = Part::whole;  // which part of the output matrix; not for tapes, integers or several outputs
    // If not whole, the operand is symmetric and only this triangle of it is given. Only for float or double, one batch
    // and no tapes.
    Part symmetric_a = Part::whole, symmetric_b = Part::whole;
};

/// The operands whose tapes no way takes, or whose missing triangle no way completes while it reads. Nothing was
/// computed; the caller has to prepare these operands and call again.
struct Declined {
    bool a = false, b = false;
};

Declined contract_blocked(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                          const Extra& extra);

/// One of several products that run together (grouped.h).
struct Call {
    AxisRoles roles;
    View a, b, out;
    Extra extra;  // no prologues
    bool reads_earlier = false;  // its epilogue reads an earlier product's output, element by element
};
/// What is known about products of one pair of dtypes that may run in one parallel region. `seconds` is the estimate
/// for running all of them one after the other; `waits` is how many waits for threads are saved.
struct GroupEstimate {
    const char* declines;  // why, or null
    double seconds, waits;
};
GroupEstimate describe_grouped(std::span<const Call> calls);
/// Computes all of them and returns true; or computes nothing and returns false, where describe_grouped gives a reason.
bool contract_grouped(std::span<const Call> calls);

/// The kernels that widen their operands to the type they sum in.
const IsaKernels& kernels_of(Isa isa);

/// Whether the CPU multiplies narrow elements in groups (AVX-512 BF16 and VNNI) and the instruction set in force is
/// AVX-512.
bool uses_dot_instructions();
/// Whether large bfloat16 products use the dot-product instruction. Otherwise operands are widened to float32 and the
/// two elements of a pair are multiplied one after the other, with the same bits: on some CPUs the instruction is
/// slower.
bool multiplies_pairs();
/// For tests: as the library would choose (usual), the instructions wherever the CPU has them (always), as on a CPU
/// whose bfloat16 instruction is slow (slow), no dot-product instructions (never).
enum class Dot : std::uint8_t { usual, always, slow, never };
void force_dot(Dot dot);

/// The ways (ways.h) in the order in which they are tried; empty for a product without elements.
struct Candidate {
    const char *name, *what;
    const char* declines;  // why, or null
    bool runs, tuned;
    // If it does not decline: the estimate, and what it consists of.
    double seconds;
    Work work;
    Rates rates;
};
std::vector<Candidate> candidates(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                                  const Extra& extra);
inline constexpr int kWayCount = 8;

/// The key under which a tuned choice for this product is stored.
ProblemKey problem_key(const AxisRoles& roles, Elements a, Elements b, Elements out, const Extra& extra);

/// During its lifetime, products called from this thread use this choice, unless that row declines.
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

/// The layout of b (k rows, n columns) packed for products with an `a` of type `a_type`. It has no memory yet.
PackedB packed_layout(DType a_type, DType b_type, std::int64_t k, std::int64_t n);
std::int64_t packed_bytes(const PackedB& layout);
/// Whether packing b beforehand makes the product faster. It does not where the operands are exchanged (lower.h), nor
/// where b is read in place for more than one row.
bool packing_pays(const AxisRoles& roles, Elements a, Elements b, Elements out);
/// Fills p.data and the column sums. `b` has two axes, k and n.
void pack_b(const PackedB& p, const View& b, std::int32_t* column_sums);

/// Fills `prepared` if the product needs no scratch memory; otherwise returns false and leaves it unchanged.
bool prepare_direct(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                    PreparedGemm& prepared);

}  // namespace tenon::product::dense
