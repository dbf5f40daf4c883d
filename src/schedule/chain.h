// Two products joined by views and pointwise work, as one task.
#pragma once

#include <span>
#include <utility>

#include "product/chain/chain.h"
#include "product/chain/row_chain.h"
#include "schedule/build.h"

namespace tenon::schedule {

/// Joins groups contract -> (views, pointwise work) -> contract, if src/product can run the pair in one pass and that
/// is expected to pay. If others also read the first product's result, or what the second one reads, it becomes a
/// result of the task. The pairs that save the most bytes are joined first. If a second product stays separate,
/// `Group::apart` says why.
void join_chains(const Program& program, const Options& options, Groups& groups);

/// Calls f(product::Chain) for a chain task on these views: the second product, then what is kept. The second product
/// reads the intermediate through `reading`.
template <class F>
decltype(auto) with_chain(const Task& t, const Layout& reading, std::span<const View> in, std::span<const View> out,
                          F&& f) {
    const ChainTask& c = *t.chain;
    const product::Epilogue between{c.between, in.subspan(3, c.between_inputs)},
        epilogue{t.tape, in.subspan(3 + c.between_inputs)};
    product::Chain chain;
    chain.a = in[0], chain.b = in[1], chain.c = in[2], chain.out = out[0];
    if (c.keeps_product) chain.kept_product = &out[1];
    if (c.keeps_intermediate) chain.kept_intermediate = &out.back();
    chain.first = {c.first.a, c.first.b, c.first.out};
    chain.second = {c.second.a, c.second.b, c.second.out};
    chain.product = c.product;
    chain.reading = reading;
    chain.z_is_a = c.z_is_a;
    if (!c.between.outputs.empty()) chain.between = &between;
    if (!t.tape.outputs.empty()) chain.epilogue = &epilogue;
    chain.always = c.always;
    return f(chain);
}
template <class F>
decltype(auto) with_chain(const Task& t, std::span<const View> in, std::span<const View> out, F&& f) {
    return with_chain(t, t.chain->reading, in, out, std::forward<F>(f));
}

/// Calls f(product::RowChain) for a chain whose work in between reduces rows.
template <class F>
decltype(auto) with_row_chain(const Task& t, std::span<const View> in, const View& out, F&& f) {
    const ChainTask& c = *t.chain;
    std::vector<View> inputs(in.begin() + 3, in.end());
    inputs.insert(inputs.begin() + static_cast<std::ptrdiff_t>(c.row_input), View{});
    return f(product::RowChain{in[0],
                               in[1],
                               {c.first.a, c.first.b, c.first.out},
                               c.product,
                               &c.rows,
                               inputs,
                               c.row_input,
                               in[2],
                               c.z_is_a,
                               {c.second.a, c.second.b, c.second.out},
                               out});
}

}  // namespace tenon::schedule
