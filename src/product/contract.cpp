#include "product/contract.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/storage.h"
#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/weights.h"
#include "tenon/error.h"
#include "tenon/export.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

/// The part of their time that products must save to run together.
constexpr double kMinGain = 0.01;
constexpr const char *kOneThread = "one thread computes each of them",
                     *kNoWaits = "waiting for threads is next to nothing of them";

/// Whether a role's axes merge to a single axis in a, b and the output, as lower() merges them.
bool merges(const AxisList& unordered) {
    const AxisList axes = in_output_order(unordered);
    const Axis* outer = nullptr;
    for (const Axis& axis : axes) {
        if (axis.extent == 1) continue;
        if (outer && (outer->a != axis.a * axis.extent || outer->b != axis.b * axis.extent ||
                      outer->out != axis.out * axis.extent))
            return false;
        outer = &axis;
    }
    return true;
}

/// The stride of that axis in `input`, whose axes are at the positions `position`; returns false if it has none.
bool merge_stride(const AxisList& unordered, const View& input, std::int8_t Axis::*position, std::int64_t& stride) {
    const AxisList axes = in_output_order(unordered);
    stride = 0;
    bool first = true;
    for (const Axis& axis : axes) {
        if (axis.extent == 1) continue;
        const std::int64_t step = input.layout.strides[axis.*position];
        if (!first && stride != step * axis.extent) return false;
        stride = step;
        first = false;
    }
    return true;
}

bool lower_epilogue(const AxisRoles& roles, const Epilogue& epilogue, LoweredEpilogue& lowered) {
    if (epilogue.inputs.size() > kMaxEpilogueInputs) return false;
    if (!merges(roles.batch) || !merges(roles.rows) || !merges(roles.columns)) return false;
    lowered.tape = &epilogue.tape;
    for (const View& v : epilogue.inputs) {
        LoweredEpilogue::Input& input = lowered.inputs[lowered.count++];
        input.data = v.data;
        input.type = v.dtype;
        if (!merge_stride(roles.batch, v, &Axis::position, input.batch) ||
            !merge_stride(roles.rows, v, &Axis::position, input.row) ||
            !merge_stride(roles.columns, v, &Axis::position, input.column))
            return false;
    }
    return true;
}

/// Lowers the prologue of the operand whose axes have the positions `position`, and whose lines are `lines`.
bool lower_prologue(const AxisRoles& roles, const AxisList& lines, std::int8_t Axis::*position, const View& operand,
                    const Prologue& prologue, LoweredPrologue& lowered) {
    if (prologue.inputs.size() + 1 > kMaxPrologueInputs) return false;
    if (!merges(roles.batch) || !merges(lines) || !merges(roles.summed)) return false;
    lowered.tape = &prologue.tape;
    const auto add = [&](const View& v) {
        LoweredPrologue::Input& input = lowered.inputs[lowered.count++];
        input.data = v.data;
        input.type = v.dtype;
        return merge_stride(roles.batch, v, position, input.batch) && merge_stride(lines, v, position, input.line) &&
               merge_stride(roles.summed, v, position, input.k);
    };
    return add(operand) && std::all_of(prologue.inputs.begin(), prologue.inputs.end(), add);
}

void check_prologue(const char* which, const Prologue& prologue, const View& operand) {
    const tape::Tape& tape = prologue.tape;
    const auto fail = [&](const char* rule) {
        throw ValueError(text("contract: ", rule, "; the prologue of ", which, " has ", prologue.inputs.size(),
                              " inputs, ", which, " is ", name(operand.dtype), " ", to_string(operand.shape())));
    };
    if (tape.inputs.size() != prologue.inputs.size() + 1 || tape.outputs.size() != 1)
        fail("a prologue takes the operand and its inputs, and gives one output");
    if (tape.inputs[0] != operand.dtype) fail("a prologue's tape takes the operand's dtype");
    for (std::size_t i = 0; i < prologue.inputs.size(); ++i) {
        if (!(prologue.inputs[i].shape() == operand.shape())) fail("a prologue's inputs have the operand's shape");
        if (prologue.inputs[i].dtype != tape.inputs[i + 1]) fail("a prologue's inputs have the dtypes its tape says");
    }
}

void check_epilogue(const Epilogue& epilogue, const View& out) {
    const tape::Tape& tape = epilogue.tape;
    const auto fail = [&](const char* rule) {
        throw ValueError(text("contract: ", rule, "; the epilogue has ", epilogue.inputs.size(),
                              " inputs, the output is ", name(out.dtype), " ", to_string(out.shape())));
    };
    if (tape.inputs.size() != epilogue.inputs.size() + 1 || tape.outputs.size() != 1)
        fail("an epilogue takes the product and its inputs, and gives one output");
    for (std::size_t i = 0; i < epilogue.inputs.size(); ++i) {
        if (!(epilogue.inputs[i].shape() == out.shape())) fail("an epilogue's inputs have the output's shape");
        if (epilogue.inputs[i].dtype != tape.inputs[i + 1]) fail("an epilogue's inputs have the dtypes its tape says");
    }
}

/// A view of new memory, without gaps, with the axes in the memory order of v's.
View allocate_like(const View& v, DType dtype, std::shared_ptr<Storage>& memory) {
    const std::int64_t bytes = v.layout.count() * static_cast<std::int64_t>(size_of(dtype));
    memory = Storage::allocate(bytes);
    View fresh{memory->data(), dtype, v.layout};
    int order[kMaxRank];
    const int rank = v.layout.rank();
    for (int i = 0; i < rank; ++i) order[i] = i;
    std::stable_sort(order, order + rank,
                     [&](int x, int y) { return std::llabs(v.layout.strides[x]) > std::llabs(v.layout.strides[y]); });
    std::int64_t stride = 1;
    for (int i = rank - 1; i >= 0; stride *= v.shape()[order[i]], --i) fresh.layout.strides[order[i]] = stride;
    return fresh;
}

/// Runs the prologue over the whole operand, into new memory.
View run_apart(const View& operand, const Prologue& prologue, std::shared_ptr<Storage>& memory) {
    const View result = allocate_like(operand, prologue.result(), memory);
    std::vector<View> inputs{operand};
    inputs.insert(inputs.end(), prologue.inputs.begin(), prologue.inputs.end());
    tape::run(prologue.tape, inputs, {&result, 1});
    return result;
}

/// The operand as the product reads it.
View as_read(const char* which, const View& operand, const Prologue* prologue) {
    View v = operand;
    if (!prologue) return v;
    check_prologue(which, *prologue, operand);
    v.dtype = prologue->result();
    return v;
}

/// A product and those of its tapes that can run inside.
struct LoweredTapes {
    View left, right, product;
    AxisRoles roles;
    LoweredEpilogue epilogue;
    LoweredPrologue a, b;
    bool epilogue_inside = false;
    dense::Declined apart;
    dense::Extra extra;

    LoweredTapes(const View& from_a, const View& from_b, const View& out, const Labels& labels, const Epilogue* after,
                 const Prologues& prologues)
        : left(as_read("a", from_a, prologues.a)), right(as_read("b", from_b, prologues.b)), product(out) {
        if (after) {
            check_epilogue(*after, out);
            product.dtype = after->tape.inputs[0];
        }
        roles = assign_roles(left, right, product, labels);
        epilogue_inside = !after || lower_epilogue(roles, *after, epilogue);
        if (after && epilogue_inside) extra.epilogue = &epilogue;
        if (prologues.a) apart.a = !lower_prologue(roles, roles.rows, &Axis::position_a, from_a, *prologues.a, a);
        if (prologues.b) apart.b = !lower_prologue(roles, roles.columns, &Axis::position_b, from_b, *prologues.b, b);
        if (prologues.a && !apart.a) extra.prologue_a = &a;
        if (prologues.b && !apart.b) extra.prologue_b = &b;
    }
    LoweredTapes(const LoweredTapes&) = delete;
    LoweredTapes& operator=(const LoweredTapes&) = delete;

    void drop_prologues() {
        apart = {};
        extra.prologue_a = extra.prologue_b = nullptr;
    }
    std::vector<dense::Candidate> candidates() const {
        return dense::candidates(roles, left, right, product, {}, extra);
    }
};

void contract_with_tapes(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish,
                         const Epilogue* epilogue, Prologues prologues) {
    LoweredTapes tapes(a, b, out, labels, epilogue, prologues);
    if (epilogue && finish.beta != 0)
        throw ValueError("contract: a product with an epilogue does not add to its output");
    if (finish.alpha == 0) prologues = {}, tapes.drop_prologues();  // neither operand is read
    View left = tapes.left, right = tapes.right, product = tapes.product;
    dense::Declined apart = tapes.apart;
    if (tapes.epilogue_inside && !apart.a && !apart.b) {
        const auto weight = prologues.b ? nullptr : packed_weight(tapes.roles, left, right, product);
        if (weight) tapes.extra.packed = &panels(*weight);
        apart = dense::contract_blocked(tapes.roles, left, right, out, finish, tapes.extra);
        if (!apart.a && !apart.b) return;
    }
    std::shared_ptr<Storage> memory_a, memory_b, memory;
    if (apart.a || apart.b) {
        if (apart.a) left = run_apart(a, *prologues.a, memory_a), prologues.a = nullptr;
        if (apart.b) right = run_apart(b, *prologues.b, memory_b), prologues.b = nullptr;
        return contract(prologues.a ? a : left, prologues.b ? b : right, out, labels, finish, epilogue, prologues);
    }
    product = allocate_like(out, product.dtype, memory);
    contract(prologues.a ? a : left, prologues.b ? b : right, product, labels, finish, nullptr, prologues);
    std::vector<View> inputs{product};
    inputs.insert(inputs.end(), epilogue->inputs.begin(), epilogue->inputs.end());
    tape::run(epilogue->tape, inputs, {&out, 1});
}

/// Products in the form that the ways take; `memory` holds their lowered epilogues.
struct LoweredGroup {
    std::vector<std::unique_ptr<LoweredTapes>> memory;
    std::vector<std::shared_ptr<const PackedWeight>> weights;
    std::vector<dense::Call> calls;

    /// Packed weights are looked up only if a product is about to run.
    LoweredGroup(std::span<const GroupedProduct> group, bool runs) {
        for (const GroupedProduct& p : group) {
            memory.push_back(std::make_unique<LoweredTapes>(p.a, p.b, p.out, p.labels, p.epilogue, Prologues{}));
            LoweredTapes& tapes = *memory.back();
            if (!tapes.epilogue_inside) return;
            weights.push_back(runs ? packed_weight(tapes.roles, p.a, p.b, tapes.product) : nullptr);
            if (weights.back()) tapes.extra.packed = &panels(*weights.back());
            calls.push_back({tapes.roles, p.a, p.b, p.out, tapes.extra, p.reads_earlier});
        }
    }
    bool inside() const { return calls.size() == memory.size(); }
};

}  // namespace

void contract_grouped(std::span<const GroupedProduct> group) {
    if (const LoweredGroup lowered(group, true); lowered.inside() && dense::contract_grouped(lowered.calls)) return;
    for (const GroupedProduct& p : group) contract(p.a, p.b, p.out, p.labels, {}, p.epilogue);
}

const char* grouped_declines(std::span<const GroupedProduct> group, bool judged) {
    const LoweredGroup lowered(group, false);
    if (!lowered.inside()) return "an epilogue does not fit the rows and columns of its product";
    const dense::GroupEstimate joint = dense::describe_grouped(lowered.calls);
    if (joint.declines) return joint.declines;
    if (judged && joint.waits < kMinGain * joint.seconds) return joint.waits == 0 ? kOneThread : kNoWaits;
    return nullptr;
}

const char* grouping_declines(double flops) {
    const int threads = num_threads(), lanes = dense::vector_bytes() / 4;
    if (threads == 1) return kOneThread;
    const double most = dense::rates_of(DType::float32, lanes, threads).multiply_adds * 2 * lanes * threads;
    return dense::kWake < kMinGain * flops / most ? kNoWaits : nullptr;
}

const char* prologues_decline(const View& a, const View& b, const View& out, const Labels& labels,
                              const Epilogue* epilogue, const Prologues& prologues) {
    LoweredTapes tapes(a, b, out, labels, epilogue, prologues);
    if (tapes.apart.a || tapes.apart.b) return "its axes are not one each of batch, rows or columns, and k";
    const char* reason = nullptr;
    for (const dense::Candidate& row : tapes.candidates()) {
        if (!row.declines) return nullptr;
        reason = row.declines;
    }
    return reason;
}

WayName way_of(const View& a, const View& b, const View& out, const Labels& labels, const Epilogue* epilogue,
               const Prologues& prologues) {
    LoweredTapes tapes(a, b, out, labels, epilogue, prologues);
    for (int tried = 0; tried < 2; ++tried, tapes.drop_prologues())
        for (const dense::Candidate& row : tapes.candidates())
            if (!row.declines) return {row.name, row.what};
    return {"none", ""};
}

// Exported for `tenon bench`.
TENON_API void contract(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish,
                        const Epilogue* epilogue, const Prologues& prologues) {
    if (epilogue || prologues.a || prologues.b)
        return contract_with_tapes(a, b, out, labels, finish, epilogue, prologues);
    const AxisRoles roles = assign_roles(a, b, out, labels);
    const auto weight = packed_weight(roles, a, b, out);
    dense::contract_blocked(roles, a, b, out, finish, {weight ? &panels(*weight) : nullptr});
}

}  // namespace tenon::product
