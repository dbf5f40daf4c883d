// Products that share an operand, as one task.
#pragma once

#include <span>
#include <vector>

#include "product/contract.h"
#include "schedule/build.h"

namespace tenon::schedule {

/// Joins products that read the same elements (queries, keys and values; a gate and what it gates; gradients of
/// weights), and products whose epilogue adds another's output (the gradient of what they shared), if none of them
/// waits for another otherwise and it is expected to pay. If one stays separate, `Group::ungrouped` says why.
void join_grouped(const Program& program, const Options& options, Groups& groups);

/// Calls f(std::span<const product::GroupedProduct>) for a task of products on these views.
template <class F>
decltype(auto) with_grouped(const Task& t, std::span<const View> in, std::span<const View> out, F&& f) {
    const std::vector<GroupedTask>& all = *t.grouped;
    std::vector<product::Epilogue> epilogues;
    epilogues.reserve(all.size());
    std::vector<product::GroupedProduct> products;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const GroupedTask& one = all[i];
        epilogues.push_back({one.tape, in.subspan(2, one.inputs)});
        products.push_back({in[0],
                            in[1],
                            out[i],
                            {one.labels.a, one.labels.b, one.labels.out},
                            one.tape.outputs.empty() ? nullptr : &epilogues.back(),
                            one.reads_earlier});
        in = in.subspan(2 + one.inputs);
    }
    return f(std::span<const product::GroupedProduct>(products));
}

}  // namespace tenon::schedule
