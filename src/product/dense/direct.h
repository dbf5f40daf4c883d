// Products that need no blocking: k is one block, and the operands serve where they are, or B is packed at once into a
// buffer that stays in the nearest caches. What remains is the micro-kernel's work. For small products and batches of
// them.
#pragma once

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// B in place or packed spans no more than this.
inline constexpr std::int64_t kDirectBytes = 32 << 10;

/// Batches of more bytes than this, of products with more multiply-adds, are fetched ahead.
inline constexpr std::int64_t kFetchBytes = 1 << 20, kFetchWork = 16 * 16 * 16;

/// One product's panels. A value without pointers to memory of its own: `prepare` keeps it between calls.
template <class In, class Acc>
struct Direct {
    using Kernel = MicroKernel<In, Acc>;
    Kernel whole[2], tail[2];  // of panels of `rows` rows, and of one less
    Block block;
    std::int64_t n, whole_columns, nr;  // columns in whole panels
    std::int64_t rows, panels, tall;  // row panels, of which `tall` have all `rows`
    std::int64_t a_step, c_step;  // bytes and elements from one row to the next

    void operator()(const In* a, const In* b, Acc* c) const {
        run(a, b, c, [](std::int64_t) {});
    }
    /// `before(i)` is called before panel i of rows.
    template <class F>
    void run(const In* a, const In* b, Acc* c, F before) const {
        Block tail_block = block;
        tail_block.columns = n - whole_columns;
        for (std::int64_t i = 0; i < panels; ++i) {
            before(i);
            const bool less = i >= tall;
            std::int64_t j = 0;
            for (; j < whole_columns; j += nr) whole[less](block, a, b + j * b_step, c + j);
            if (j < n) tail[less](tail_block, a, b + j * b_step, c + j);
            const std::int64_t step = rows - (less ? 1 : 0);
            a = reinterpret_cast<const In*>(reinterpret_cast<const char*>(a) + step * a_step);
            c += step * c_step;
        }
    }
    /// One panel of rows, one of columns: nothing but a kernel.
    bool one_panel() const { return panels == 1 && n <= nr; }
    std::int64_t b_step = 1;  // elements from one column to the next: 1 in place, rows of a panel packed
};

/// How b is had.
enum class DirectB : std::uint8_t { no, in_place, packed };

/// Whether the plan's product is of this kind, for operands of these strides along k (elements).
template <class In, class Acc>
DirectB direct_b(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (!plan.one_block() || plan.packed || p.k == 0) return DirectB::no;
    if (!plan.in_output && (!plan.plain || p.m * p.n * std::int64_t{sizeof(Acc)} > 2 * kDirectBytes))
        return DirectB::no;
    if (r.rows.size > 1 || r.columns.size > 1 || r.summed.size > 1) return DirectB::no;
    const Axis k = r.summed.size == 0 ? Axis{1, 1, 1, 0} : r.summed.axes[0];
    const bool a_stays = plan.a_is_in && k.a == 1 && p.k % plan.kernels->group == 0 && !(plan.pairs && p.k % 2 != 0);
    if (!a_stays) return DirectB::no;
    const std::int64_t b_columns = r.columns.size == 0 ? 1 : r.columns.axes[0].b;
    const auto span = [](std::int64_t stride, std::int64_t n) { return (stride < 0 ? -stride : stride) * n; };
    if (plan.kernels->group == 1 && plan.b_is_in && b_columns == 1 &&
        span(k.b, p.k) * std::int64_t{sizeof(In)} <= kDirectBytes)
        return DirectB::in_place;
    const std::int64_t groups = ceil_div(p.k, plan.kernels->group);
    const bool fits =
        ceil_div(p.n, plan.kernels->narrow.nr) * plan.kernels->narrow.nr * groups * std::int64_t{sizeof(In)} <=
        kDirectBytes;
    return fits && plan.pack_b ? DirectB::packed : DirectB::no;
}

template <class In, class Acc>
Direct<In, Acc> make_direct(const Plan<In, Acc>& plan, DirectB how) {
    const Lowered& p = plan.p;
    const KernelSet<In, Acc>& set = *plan.kernels;
    const KernelFamily<In, Acc>& family = p.n <= set.narrow.nr                       ? set.narrow
                                          : p.m <= set.wide.mr && p.n >= set.wide.nr ? set.wide
                                                                                     : set.standard;
    Direct<In, Acc> d{};
    d.n = p.n;
    d.nr = family.nr;
    d.whole_columns = p.n / d.nr * d.nr;
    d.panels = ceil_div(p.m, family.mr);
    d.rows = ceil_div(p.m, d.panels);
    d.tall = p.m - d.panels * (d.rows - 1);
    for (int less = 0; less < 2; ++less) {
        const std::int64_t rows = std::max<std::int64_t>(d.rows - less, 1);
        d.whole[less] = family.whole[rows - 1];
        const std::int64_t rest = p.n - d.whole_columns;
        const KernelFamily<In, Acc>& last =
            d.whole_columns > 0 && rest <= set.narrow.nr && family.mr == set.narrow.mr ? set.narrow : family;
        d.tail[less] = last.tail[rows - 1];
    }
    const AxisRoles& r = p.roles;
    d.a_step = r.rows.size == 0 ? 0 : r.rows.axes[0].a * static_cast<std::int64_t>(size_of(p.a_type));
    d.c_step = r.rows.size == 0 ? 0 : r.rows.axes[0].out;
    const std::int64_t groups = PackedB::rows(p.k, set.group, plan.pairs);
    const std::int64_t ldb = how == DirectB::packed ? d.nr : r.summed.size == 0 ? 0 : r.summed.axes[0].b;
    d.b_step = how == DirectB::packed ? groups : 1;
    if (!plan.in_output) d.c_step = (p.n + 15) / 16 * 16;
    d.block = {groups, d.a_step, ldb, d.c_step, d.nr, plan.add_first ? Write::add : Write::store, 0};
    return d;
}

/// Some of the batches, each for some of the rows.
template <class In, class Acc>
class DirectBatch {
  public:
    DirectBatch(const Plan<In, Acc>& plan, DirectB how) : plan_(plan), how_(how), one_(make_direct(plan, how)) {}

    std::int64_t packed_elements() const { return ceil_div(one_.n, one_.nr) * one_.nr * one_.block.kc; }

    void run(std::int64_t begin, std::int64_t end) const {
        const Lowered& p = plan_.p;
        const std::int64_t sums_size = plan_.in_output ? 0 : p.m * one_.c_step;
        Scratch scratch(static_cast<std::size_t>(how_ == DirectB::packed ? packed_elements() : 0) * sizeof(In) +
                        static_cast<std::size_t>(sums_size) * sizeof(Acc) +
                        static_cast<std::size_t>(p.k + 3 * p.n + 64) * 8);
        Acc* const sums = plan_.in_output ? nullptr : scratch.take<Acc>(sums_size);
        auto* const columns_out = scratch.take<std::int64_t>(p.n);
        auto* const room = scratch.take<std::byte>(8 * p.n);
        fill_offsets(p.roles.columns, &Axis::out, 0, p.n, columns_out);
        std::int64_t *k = nullptr, *lines = nullptr;
        In* packed = nullptr;
        if (how_ == DirectB::packed) {
            packed = scratch.take<In>(packed_elements());
            k = scratch.take<std::int64_t>(p.k), lines = scratch.take<std::int64_t>(p.n);
            fill_offsets(p.roles.summed, &Axis::b, 0, p.k, k);
            fill_offsets(p.roles.columns, &Axis::b, 0, p.n, lines);
        }
        const Batch offsets = batch();
        const bool follows = streams(offsets);
        if (!packed && !sums && !follows && offsets.one_axis && one_.one_panel())
            return run_panels(offsets, begin, end);
        for (std::int64_t i = begin; i < end; ++i) {
            const Place at = place(offsets, i);
            if (how_ == DirectB::packed) pack(packed, at.b, k, lines);
            const In* const a = reinterpret_cast<const In*>(at.a);
            const In* const b = packed ? packed : reinterpret_cast<const In*>(at.b);
            Acc* const c = sums ? sums : reinterpret_cast<Acc*>(at.out);
            if (follows && i + 1 < end) {
                const Place next = place(offsets, i + 1);
                one_.run(a, b, c, [&](std::int64_t panel) { fetch(next, panel); });
            } else {
                one_(a, b, c);
            }
            if (sums) store(sums, at.out, columns_out, room);
        }
    }

  private:
    /// Steps in bytes from one product to the next, where the batch is one axis.
    struct Batch {
        bool one_axis;
        std::int64_t a, b, out;
    };
    struct Place {
        const std::byte *a, *b;
        std::byte* out;
    };

    Batch batch() const {
        const Lowered& p = plan_.p;
        const AxisList& axes = p.roles.batch;
        if (axes.size > 1) return {false, 0, 0, 0};
        const Axis axis = axes.size == 0 ? Axis{1, 0, 0, 0} : axes.axes[0];
        return {true, axis.a * bytes(p.a_type), axis.b * bytes(p.b_type), axis.out * bytes(p.out_type)};
    }
    Place place(const Batch& steps, std::int64_t i) const {
        const Lowered& p = plan_.p;
        const auto at = [&](std::int64_t step, std::int64_t Axis::*stride, DType type) {
            return steps.one_axis ? i * step : offset_of(p.roles.batch, stride, i) * bytes(type);
        };
        return {static_cast<const std::byte*>(p.a) + at(steps.a, &Axis::a, p.a_type),
                static_cast<const std::byte*>(p.b) + at(steps.b, &Axis::b, p.b_type),
                static_cast<std::byte*>(p.out) + at(steps.out, &Axis::out, p.out_type)};
    }
    void run_panels(const Batch& steps, std::int64_t begin, std::int64_t end) const {
        Block block = one_.block;
        block.columns = one_.n;
        const auto kernel = one_.whole_columns > 0 ? one_.whole[0] : one_.tail[0];
        Place at = place(steps, begin);
        for (std::int64_t i = begin; i < end; ++i, at.a += steps.a, at.b += steps.b, at.out += steps.out)
            kernel(block, reinterpret_cast<const In*>(at.a), reinterpret_cast<const In*>(at.b),
                   reinterpret_cast<Acc*>(at.out));
    }
    static std::int64_t bytes(DType type) { return static_cast<std::int64_t>(size_of(type)); }

    /// Whether the batch comes from beyond L2, operands and output without gaps: then the next product is fetched along
    /// with the arithmetic of this one.
    bool streams(const Batch& steps) const {
        const Lowered& p = plan_.p;
        return steps.one_axis && steps.a == p.m * p.k * bytes(p.a_type) && steps.b == p.k * p.n * bytes(p.b_type) &&
               steps.out == p.m * p.n * bytes(p.out_type) && p.m * p.n * p.k >= kFetchWork &&
               p.batches * (steps.a + steps.b + steps.out) > kFetchBytes;
    }
    void fetch(const Place& next, std::int64_t panel) const {
        const Lowered& p = plan_.p;
        const auto lines = [&](const std::byte* from, std::int64_t size) {
            const Range range = part((size + 63) / 64, one_.panels, panel);
            for (std::int64_t i = range.begin; i < range.end; ++i) __builtin_prefetch(from + i * 64, 0, 2);
        };
        lines(next.a, p.m * p.k * bytes(p.a_type));
        lines(next.b, p.k * p.n * bytes(p.b_type));
        lines(next.out, p.m * p.n * bytes(p.out_type));
    }

    void store(const Acc* sums, std::byte* out, const std::int64_t* columns, std::byte* room) const {
        const Lowered& p = plan_.p;
        const std::int64_t step = p.roles.rows.size == 0 ? 0 : p.roles.rows.axes[0].out;
        for (std::int64_t i = 0; i < p.m; ++i, sums += one_.c_step)
            store_row(sums,
                      OutputRow{out + i * step * static_cast<std::int64_t>(size_of(p.out_type)), p.out_type, columns,
                                p.n, p.roles.columns.size == 0 || p.roles.columns.axes[0].out == 1},
                      room);
    }

    void pack(In* to, const void* b, const std::int64_t* k, const std::int64_t* lines) const {
        for (std::int64_t j = 0; j < one_.n; j += one_.nr, to += one_.nr * one_.block.kc) {
            const std::int64_t columns = std::min(one_.nr, one_.n - j);
            plan_.pack_b(to, one_.nr, {b, lines + j, k, columns, plan_.p.k});
        }
    }

    const Plan<In, Acc>& plan_;
    DirectB how_;
    Direct<In, Acc> one_;
};

}  // namespace tenon::product::dense
