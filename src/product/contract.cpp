#include "product/contract.h"

#include <algorithm>
#include <cstdlib>

#include "base/storage.h"
#include "base/text.h"
#include "product/dense/blocked.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

/// The stride of one axis that stands for all of a role's, as lower() merges them; false where none does.
bool merge_stride(AxisList axes, const View& input, std::int64_t& stride) {
    std::stable_sort(axes.begin(), axes.end(),
                     [](const Axis& x, const Axis& y) { return std::llabs(x.out) > std::llabs(y.out); });
    const Axis* outer = nullptr;
    stride = 0;
    for (const Axis& axis : axes) {
        if (axis.extent == 1) continue;
        const std::int64_t step = input.layout.strides[axis.position];
        if (outer && (outer->out != axis.out * axis.extent || stride != step * axis.extent)) return false;
        outer = &axis;
        stride = step;
    }
    return true;
}

/// Whether a, b and the output have the axis merged too.
bool merges(AxisList axes) {
    std::stable_sort(axes.begin(), axes.end(),
                     [](const Axis& x, const Axis& y) { return std::llabs(x.out) > std::llabs(y.out); });
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

bool lower_epilogue(const AxisRoles& roles, const Epilogue& epilogue, LoweredEpilogue& lowered) {
    if (epilogue.inputs.size() > kMaxEpilogueInputs) return false;
    if (!merges(roles.batch) || !merges(roles.rows) || !merges(roles.columns)) return false;
    lowered.tape = &epilogue.tape;
    for (const View& v : epilogue.inputs) {
        LoweredEpilogue::Input& input = lowered.inputs[lowered.count++];
        input.data = v.data;
        input.type = v.dtype;
        if (!merge_stride(roles.batch, v, input.batch) || !merge_stride(roles.rows, v, input.row) ||
            !merge_stride(roles.columns, v, input.column))
            return false;
    }
    return true;
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

void contract_with_epilogue(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish,
                            const Epilogue& epilogue) {
    check_epilogue(epilogue, out);
    View product = out;
    product.dtype = epilogue.tape.inputs[0];
    const AxisRoles roles = assign_roles(a, b, product, labels);
    if (finish.beta != 0) throw ValueError("contract: a product with an epilogue does not add to its output");
    LoweredEpilogue lowered;
    if (lower_epilogue(roles, epilogue, lowered))
        return dense::contract_blocked(roles, a, b, out, finish, {nullptr, &lowered});
    const auto memory = Storage::allocate(product.layout.count() * static_cast<std::int64_t>(size_of(product.dtype)));
    product.data = memory->data();
    product.layout = Layout::contiguous(out.shape());
    contract(a, b, product, labels, finish);
    std::vector<View> inputs{product};
    inputs.insert(inputs.end(), epilogue.inputs.begin(), epilogue.inputs.end());
    tape::run(epilogue.tape, inputs, {&out, 1});
}

}  // namespace

void contract(const View& a, const View& b, const View& out, const Labels& labels, const Finish& finish,
              const Epilogue* epilogue) {
    if (epilogue) return contract_with_epilogue(a, b, out, labels, finish, *epilogue);
    dense::contract_blocked(assign_roles(a, b, out, labels), a, b, out, finish, {});
}

}  // namespace tenon::product
