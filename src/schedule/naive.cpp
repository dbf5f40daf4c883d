#include "schedule/naive.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "cuda/loops.h"
#include "cuda/plain.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "schedule/place.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

const View& view_on_gpu(const char* op, const Tensor& t) {
    const Array& a = *t.eval().node()->value();
    if (a.storage->device() == Device::cpu())
        throw ValueError(text(op, ": ", described(t), " is on the CPU; a naive kernel takes tensors on a CUDA device"));
    return a.view;
}

Array made(const Shape& shape, DType dtype, Device device) {
    const Layout layout = Layout::contiguous(shape);
    auto storage = allocate(device, layout.count() * static_cast<std::int64_t>(size_of(dtype)));
    void* data = storage->data();
    return {std::move(storage), {data, dtype, layout}};
}

}  // namespace

Tensor contract_naively(const Tensor& a, const std::vector<std::uint8_t>& a_labels, const Tensor& b,
                        const std::vector<std::uint8_t>& b_labels, const std::vector<std::uint8_t>& out_labels) {
    const View &x = view_on_gpu("contract_naively", a), &y = view_on_gpu("contract_naively", b);
    Shape shape;
    for (const std::uint8_t label : out_labels)
        for (const auto& [labels, view] : {std::pair(&a_labels, &x), std::pair(&b_labels, &y)}) {
            const auto at = std::find(labels->begin(), labels->end(), label);
            if (at == labels->end()) continue;
            shape.push_back(view->shape()[static_cast<int>(at - labels->begin())]);
            break;
        }
    Array out = made(shape, x.dtype, a.device());
    cuda::contract_plainly(cuda::Gpu::at(a.device().index), x, y, out.view, {a_labels, b_labels, out_labels});
    return input(std::move(out));
}

Tensor copy_naively(const Tensor& x) {
    const View& from = view_on_gpu("copy_naively", x);
    Array out = made(from.shape(), from.dtype, x.device());
    cuda::copy(cuda::Gpu::at(x.device().index), from, out.view);
    return input(std::move(out));
}

}  // namespace tenon::schedule
