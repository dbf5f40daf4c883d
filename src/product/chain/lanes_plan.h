// What all strips of tokens share: the cut, the offsets, the packed weights.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "product/chain/kernel_sets.h"
#include "product/chain/lanes.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"
#include "product/float_environment.h"
#include "product/weights.h"

namespace tenon::product::chain {

template <class In, class Acc>
struct LanesKernels {
    CrossKernels<In, Acc> cross;
    dense::PackAcross<In> across;
    int group;
    /// Rows of In that a word of `cross.transpose` becomes: two for bfloat16 as float32, the odd element first.
    int rows_per_word = 1;
    int pair() const { return group * rows_per_word; }
};

inline std::int64_t round_up(std::int64_t n, std::int64_t to) { return dense::ceil_div(n, to) * to; }

template <class In, class Acc>
struct LanesPlan {
    const Chain* chain;
    const LanesForm* form;
    LanesKernels<In, Acc> kernels;
    LanesCut cut;
    std::int64_t size;  // of a stored element
    std::int64_t pitch;  // tokens in a vector of z
    std::int64_t k1, k2, columns;
    std::int64_t rows, row_z, f_inner;  // f_inner: f for each index of the axis that is cut
    std::vector<std::int64_t> slice_x, slice_z, outer_z, f_z, f_out;  // elements
    std::vector<std::int64_t> slice_w, f_c;  // index of the packed slice
    std::vector<std::int64_t> f_kept[2], k2_kept[2];  // in what is kept
    std::vector<std::int64_t> k1_x, k1_w, k2_c;  // along the summed axes, in x, w and c
    std::vector<std::int64_t> w_lines, w_first, c_lines, c_first;  // of the columns of a slice, and of the slices
    std::int64_t w_pitch, w_slice, w_slices, c_pitch, c_slice, c_slices;  // elements of In
    /// Packed weights stand in groups of columns, [group][k][column]; a pitch is a group's, and the last group may have
    /// fewer vectors. Groups of the first product's begin anew with each run of columns, padded to whole vectors.
    std::int64_t w_run, w_padded;
    const void* order;  // what distinguishes this order of packed weights from others
    const In *w = nullptr, *c = nullptr;  // packed

    /// Rows of In; an even number for bfloat16 as float32.
    std::int64_t groups(std::int64_t k) const { return dense::ceil_div(k, kernels.pair()) * kernels.rows_per_word; }
    /// Whether z is stored in the type of its sums; otherwise it is narrower.
    bool stores_sums() const { return size == std::int64_t{sizeof(Acc)}; }
    std::int64_t nr() const { return 2 * kernels.cross.lanes; }
    std::int64_t c_padded() const { return round_up(columns, kernels.cross.lanes); }
    std::int64_t w_runs() const { return static_cast<std::int64_t>(w_lines.size()) / w_run; }
    /// Vectors of columns in all runs.
    std::int64_t w_blocks() const { return w_runs() * dense::ceil_div(w_run, kernels.cross.lanes); }
    /// With the vector that begins at the last rows of the last slice: it may end beyond them.
    std::int64_t w_elements() const { return w_slices * w_slice + kernels.cross.lanes; }
    std::int64_t c_elements() const { return c_slices * c_slice; }
    std::size_t packed_bytes() const {
        return static_cast<std::size_t>(w_elements() + c_elements()) * sizeof(In) + 256;
    }
};

/// The offsets of all indices of nested axes, the last axis the fastest. stride(axis) is an axis's step.
template <class Stride>
std::vector<std::int64_t> offsets_of(const std::vector<IntermediateAxis>& axes, Stride stride) {
    std::vector<std::int64_t> offsets{0};
    for (const IntermediateAxis& axis : axes) {
        std::vector<std::int64_t> next;
        next.reserve(offsets.size() * static_cast<std::size_t>(axis.extent));
        for (const std::int64_t offset : offsets)
            for (std::int64_t i = 0; i < axis.extent; ++i) next.push_back(offset + i * stride(axis));
        offsets = std::move(next);
    }
    return offsets;
}

/// For the indices of `axes`, some of which the operand has: which of its own slices each one uses, and the offsets of
/// the slices.
template <class Has, class Stride>
void slices_of(const std::vector<IntermediateAxis>& axes, Has has, Stride stride, std::vector<std::int64_t>& which,
               std::vector<std::int64_t>& first) {
    std::vector<IntermediateAxis> own;
    for (const IntermediateAxis& axis : axes)
        if (has(axis)) own.push_back(axis);
    first = offsets_of(own, stride);
    std::vector<IntermediateAxis> numbered = axes;
    std::int64_t step = 1;
    for (auto axis = numbered.rbegin(); axis != numbered.rend(); ++axis) {
        axis->z = has(*axis) ? step : 0;
        if (has(*axis)) step *= axis->extent;
    }
    which = offsets_of(numbered, [](const IntermediateAxis& axis) { return axis.z; });
}

/// `beside`: the columns of packed weights that stand side by side, those of one kernel; 0: all.
template <class In, class Acc>
LanesPlan<In, Acc> plan_lanes(const Chain& chain, const LanesForm& form, const LanesKernels<In, Acc>& kernels,
                              int threads, std::int64_t beside = 0) {
    LanesPlan<In, Acc> p{};
    p.chain = &chain, p.form = &form, p.kernels = kernels;
    p.size = static_cast<std::int64_t>(size_of(chain.a.dtype));
    p.cut = cut_lanes(form, p.size, kernels.cross.lanes, threads);
    p.pitch = round_up(p.cut.tokens, kernels.cross.lanes);
    p.k1 = form.intermediate->summed.count(), p.k2 = count_of(form.k2), p.columns = form.column.extent;
    p.rows = count_of(form.rows), p.row_z = form.rows.empty() ? 0 : form.rows.back().z * p.pitch;
    p.f_inner = count_of(form.f) / form.f[0].extent;

    const auto z = [&](const IntermediateAxis& axis) { return axis.z * p.pitch; };
    const auto x = [&](const IntermediateAxis& axis) { return form.x(axis); };
    const auto w = [&](const IntermediateAxis& axis) { return form.w(axis); };
    const auto c = [](const IntermediateAxis& axis) { return axis.c; };
    p.slice_x = offsets_of(form.slices, x), p.slice_z = offsets_of(form.slices, z);
    p.outer_z = offsets_of(form.outer, z), p.f_z = offsets_of(form.f, z);
    for (std::size_t i = 0; i < 2; ++i) {
        const auto kept = [i](const IntermediateAxis& axis) { return axis.kept[i]; };
        p.f_kept[i] = offsets_of(form.f, kept), p.k2_kept[i] = offsets_of(form.k2, kept);
    }
    p.f_out = offsets_of(form.f, [](const IntermediateAxis& axis) { return axis.out; });
    slices_of(
        form.slices, [&](const IntermediateAxis& axis) { return form.x_is_a ? axis.in_b : axis.in_a; }, w, p.slice_w,
        p.w_first);
    slices_of(
        form.f, [](const IntermediateAxis& axis) { return axis.in_c; }, c, p.f_c, p.c_first);
    std::vector<IntermediateAxis> outs = form.outer;
    outs.insert(outs.end(), form.rows.begin(), form.rows.end());
    p.w_lines = offsets_of(outs, w);
    p.k2_c = offsets_of(form.k2, c);
    for (std::int64_t j = 0; j < p.columns; ++j) p.c_lines.push_back(j * form.column.c);
    for (auto* k : {&p.k1_x, &p.k1_w}) k->resize(static_cast<std::size_t>(p.k1));
    dense::fill_offsets(form.intermediate->summed, form.x_stride(), 0, p.k1, p.k1_x.data());
    dense::fill_offsets(form.intermediate->summed, form.w_stride(), 0, p.k1, p.k1_w.data());

    p.order = beside ? kernels.cross.panel_whole[0] : kernels.cross.whole[0];
    p.w_run = beside ? p.rows : static_cast<std::int64_t>(p.w_lines.size());
    p.w_pitch = beside ? beside : round_up(p.w_run, kernels.cross.lanes);
    p.c_pitch = beside ? beside : p.c_padded();
    p.w_padded = round_up(p.w_run, kernels.cross.lanes);
    p.w_slice = p.groups(p.k1) * p.w_runs() * p.w_padded, p.c_slice = p.groups(p.k2) * p.c_padded();
    p.w_slices = static_cast<std::int64_t>(p.w_first.size()), p.c_slices = static_cast<std::int64_t>(p.c_first.size());
    return p;
}

/// The order of k that `across` of a plan takes: for bfloat16 as float32, the odd element of a pair first.
inline void order_pairs(std::int64_t* k, std::int64_t count, int rows_per_word) {
    if (rows_per_word == 2)
        for (std::int64_t i = 0; i + 1 < count; i += 2) std::swap(k[i], k[i + 1]);
}

/// Packs lines as [k][line], with any offsets; those of k are in the plan's order.
template <class In, class Acc>
void pack_across(const LanesPlan<In, Acc>& p, In* to, std::int64_t pitch, const dense::PackSource& from) {
    if (p.kernels.rows_per_word == 1 || from.k % 2 == 0) return p.kernels.across(to, pitch, from);
    // A pair that lacks its odd element, which would come first.
    const std::int64_t even = from.k - 1;
    p.kernels.across(to, pitch, {from.data, from.line_offsets, from.k_offsets, from.lines, even});
    std::fill_n(to + even * pitch, round_up(from.lines, p.kernels.cross.lanes), In{});
    p.kernels.across(to + (even + 1) * pitch, pitch,
                     {from.data, from.line_offsets, from.k_offsets + even, from.lines, 1});
}

/// Packs some lines of an operand as [k][line], in groups.
template <class In, class Acc>
void pack_lines(const LanesPlan<In, Acc>& p, In* to, std::int64_t pitch, const std::byte* from,
                const std::int64_t* lines, std::int64_t n, const std::vector<std::int64_t>& k) {
    const auto count = static_cast<std::int64_t>(k.size());
    const std::int64_t step = n > 1 ? lines[1] - lines[0] : 0;
    if (count % p.kernels.pair() == 0 && dense::is_affine(k.data(), count, 1) && dense::is_affine(lines, n, step)) {
        p.kernels.cross.transpose(to, pitch, from + (lines[0] + k[0]) * p.size, step * p.size, n,
                                  count / p.kernels.pair());
    } else {
        std::vector<std::int64_t> ordered = k;
        order_pairs(ordered.data(), count, p.kernels.rows_per_word);
        pack_across(p, to, pitch, {from, lines, ordered.data(), n, count});
    }
}

template <class In, class Acc>
const View& first_weights(const LanesPlan<In, Acc>& p) {
    return p.form->x_is_a ? p.chain->b : p.chain->a;
}

/// Packs a vector of columns of the first product's weights, in all slices; usually these are adjacent.
template <class In, class Acc>
void pack_w(const LanesPlan<In, Acc>& p, In* to, std::int64_t block) {
    const std::int64_t lanes = p.kernels.cross.lanes, blocks = dense::ceil_div(p.w_run, lanes);
    const std::int64_t run = block / blocks, column = block % blocks * lanes, first = run * p.w_run + column;
    const std::int64_t n = std::min(lanes, p.w_run - column), group = column / p.w_pitch * p.w_pitch;
    In* const at = to + (run * p.w_padded + group) * p.groups(p.k1) + column - group;
    const std::int64_t pitch = std::min(p.w_pitch, p.w_padded - group);
    const auto* data = static_cast<const std::byte*>(first_weights(p).data);
    for (std::int64_t slice = 0; slice < p.w_slices; ++slice)
        pack_lines(p, at + slice * p.w_slice, pitch, data + p.w_first[static_cast<std::size_t>(slice)] * p.size,
                   p.w_lines.data() + first, n, p.k1_w);
}

/// Packs one slice of the second product's weights.
template <class In, class Acc>
void pack_c(const LanesPlan<In, Acc>& p, In* to, std::int64_t slice) {
    const auto* data =
        static_cast<const std::byte*>(p.chain->c.data) + p.c_first[static_cast<std::size_t>(slice)] * p.size;
    for (std::int64_t j = 0; j < p.columns; j += p.c_pitch)
        pack_lines(p, to + slice * p.c_slice + j * p.groups(p.k2), std::min(p.c_pitch, p.c_padded() - j), data,
                   p.c_lines.data() + j, std::min(p.c_pitch, p.columns - j), p.k2_c);
}

/// Bytes of weights from which several threads pack them; these threads are then awake for the strips.
inline constexpr std::int64_t kPackBytes = 128 << 10;

/// Packs both products' weights to the given places; null: not those.
template <class In, class Acc>
void pack_weights(const LanesPlan<In, Acc>& p, In* w, In* c, Subnormals subnormals) {
    const std::int64_t w_tasks = w ? p.w_blocks() : 0, tasks = w_tasks + (c ? p.c_slices : 0);
    const bool together = p.packed_bytes() >= static_cast<std::size_t>(kPackBytes);
    if (w) std::fill_n(w + p.w_slices * p.w_slice, p.kernels.cross.lanes, In{});
    parallel_for(tasks, together ? 1 : tasks, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        for (std::int64_t i = begin; i < end; ++i) i < w_tasks ? pack_w(p, w, i) : pack_c(p, c, i - w_tasks);
    });
}

/// Owns the packed weights of a plan during a call.
struct HeldWeights {
    std::shared_ptr<const PackedWeight> w, c;  // kept by a graph
    std::unique_ptr<dense::Scratch> scratch;  // of the call
};

/// Rows from which packing the weights in each call costs next to nothing.
inline constexpr std::int64_t kKeptRows = 4096;

/// The kept packed form of an operand, packed now if it recurs; null if there is none. pack(to) packs it.
template <class In, class Acc, class Pack>
std::shared_ptr<const PackedWeight> kept_weights(const LanesPlan<In, Acc>& p, const View& v, std::int64_t elements,
                                                 PackedForm::Offsets offsets, Pack pack) {
    if (!v.owner || p.form->token.extent >= kKeptRows) return nullptr;
    const auto to = [&](std::byte* bytes) { pack(reinterpret_cast<In*>(bytes)); };
    return packed_weight(v, {p.order, offsets, elements * std::int64_t{sizeof(In)}}, to);
}

/// Sets p.w and p.c; the result must outlive the plan.
template <class In, class Acc>
HeldWeights hold_weights(LanesPlan<In, Acc>& p, Subnormals subnormals) {
    HeldWeights held;
    held.w = kept_weights(p, first_weights(p), p.w_elements(), {&p.w_lines, &p.w_first, &p.k1_w},
                          [&](In* to) { pack_weights<In, Acc>(p, to, nullptr, subnormals); });
    held.c = kept_weights(p, p.chain->c, p.c_elements(), {&p.c_lines, &p.c_first, &p.k2_c},
                          [&](In* to) { pack_weights<In, Acc>(p, nullptr, to, subnormals); });
    if (held.w) p.w = reinterpret_cast<const In*>(data(*held.w));
    if (held.c) p.c = reinterpret_cast<const In*>(data(*held.c));
    if (p.w && p.c) return held;
    held.scratch = std::make_unique<dense::Scratch>(p.packed_bytes());
    In* const w = p.w ? nullptr : held.scratch->template take<In>(p.w_elements());
    In* const c = p.c ? nullptr : held.scratch->template take<In>(p.c_elements());
    pack_weights(p, w, c, subnormals);
    if (w) p.w = w;
    if (c) p.c = c;
    return held;
}

/// Calls f(kernels, subnormals) with the kernels for a dtype that this form takes.
template <class F>
void with_lanes_kernels(DType dtype, F f) {
#if defined(__x86_64__)
    if (dtype == DType::bfloat16 && !dense::multiplies_pairs()) {
        const auto source = static_cast<int>(dense::Source::bfloat16);
        return f(LanesKernels<float, float>{cross_kernels().bf16, dense::kernels_of(isa()).bf16.across[source], 1, 2},
                 Subnormals::flush);
    }
    if (dtype == DType::bfloat16) {
        const auto& set = dense::avx512_dot::kKernels.bf16;
        const auto source = static_cast<int>(dense::Source::bfloat16);
        return f(LanesKernels<std::uint32_t, float>{avx512_dot::kKernels, set.across[source], set.group},
                 Subnormals::flush);
    }
#endif
    const auto same = static_cast<int>(dense::Source::same);
    if (dtype == DType::float64)
        return f(LanesKernels<double, double>{cross_kernels().f64, dense::kernels_of(isa()).f64.across[same], 1},
                 Subnormals::keep);
    f(LanesKernels<float, float>{cross_kernels().f32, dense::kernels_of(isa()).f32.across[same], 1}, Subnormals::keep);
}

}  // namespace tenon::product::chain
