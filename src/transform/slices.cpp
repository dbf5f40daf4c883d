#include "transform/slices.h"

#include <algorithm>
#include <vector>

#include "primitive/pad.h"
#include "tenon/primitives.h"

namespace tenon::transform {
namespace {

/// Pads that are adjacent along an axis: the parts to be concatenated, and where they begin and end.
struct Run {
    std::vector<Tensor> parts;
    Extents low, high;  // `high` is one past the last element
    int axis = -1;  // unknown as long as there is one part
};

Run run_of(const Tensor& pad) {
    Node* in = pad.node()->inputs[0];
    Run run{{tensor_of(in)}, pad_low(*pad.node()), {}};
    run.high = run.low;
    for (int i = 0; i < run.low.rank(); ++i) run.high[i] += in->shape[i];
    return run;
}

/// The axis along which `next` begins where the run ends, if they agree along all others; else -1.
int axis_between(const Run& run, const Run& next) {
    int axis = -1;
    for (int i = 0; i < run.low.rank(); ++i) {
        if (run.low[i] == next.low[i] && run.high[i] == next.high[i]) continue;
        if (axis >= 0 || run.high[i] != next.low[i]) return -1;
        axis = i;
    }
    return axis;
}

Tensor padded(const Run& run, const Shape& to) {
    Extents after = run.high;
    for (int i = 0; i < after.rank(); ++i) after[i] = to[i] - after[i];
    return pad(run.parts.size() == 1 ? run.parts[0] : concat(run.parts, run.axis), run.low, after);
}

}  // namespace

Tensor sum_of_pads(std::span<const Tensor> pads) {
    if (pads.size() == 1) return pads[0];
    std::vector<Run> all;
    for (const Tensor& p : pads) all.push_back(run_of(p));
    std::stable_sort(all.begin(), all.end(), [](const Run& a, const Run& b) {
        return std::lexicographical_compare(a.low.begin(), a.low.end(), b.low.begin(), b.low.end());
    });
    Tensor sum;
    for (std::size_t i = 0, next = 0; i < all.size(); i = next) {
        Run& run = all[i];
        for (next = i + 1; next < all.size(); ++next) {
            const int axis = axis_between(run, all[next]);
            if (axis < 0 || (run.axis >= 0 && axis != run.axis)) break;
            run.axis = axis;
            run.high[axis] = all[next].high[axis];
            run.parts.push_back(all[next].parts[0]);
        }
        Tensor term = padded(run, pads[0].shape());
        sum = sum.defined() ? add(sum, term) : std::move(term);
    }
    return sum;
}

}  // namespace tenon::transform
