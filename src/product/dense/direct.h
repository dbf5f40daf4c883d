// Products that need no blocking: k is one block, and the operands serve where they are, or are packed at once into a
// buffer that stays in the nearest caches. What remains is the micro-kernel's work. For small products and batches of
// them.
#pragma once

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// B, and A where it is packed, span no more than this.
inline constexpr std::int64_t kDirectBytes = 32 << 10;

/// Batches of more bytes than this, of products as long in k, are fetched ahead.
inline constexpr std::int64_t kFetchBytes = 1 << 20, kFetchK = 64;

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
        run(a, b, c, [] { return nullptr; });
    }
    /// `lines()` gives what each kernel fetches on the way, or null.
    template <class F>
    void run(const In* a, const In* b, Acc* c, F lines) const {
        Block whole_block = block, tail_block = block;
        tail_block.columns = n - whole_columns;
        for (std::int64_t i = 0; i < panels; ++i) {
            const bool less = i >= tall;
            std::int64_t j = 0;
            for (; j < whole_columns; j += nr) {
                whole_block.lines = lines();
                whole[less](whole_block, a, b + j * b_step, c + j);
            }
            if (j < n) {
                tail_block.lines = lines();
                tail[less](tail_block, a, b + j * b_step, c + j);
            }
            const std::int64_t step = rows - (less ? 1 : 0);
            a = reinterpret_cast<const In*>(reinterpret_cast<const char*>(a) + step * a_step);
            c += step * c_step;
        }
    }
    /// One panel of rows, one of columns: nothing but a kernel.
    bool one_panel() const { return panels == 1 && n <= nr; }
    std::int64_t b_step = 1;  // elements from one column to the next: 1 in place, rows of a panel packed
};

/// Groups from one packed row of A to the next: whole vectors of any instruction set.
inline std::int64_t direct_pitch(std::int64_t groups) { return ceil_div(groups, 16) * 16; }

/// How an operand is had.
enum class Had : std::uint8_t { no, in_place, packed };
struct DirectForm {
    Had a = Had::no, b = Had::no;
    explicit operator bool() const { return a != Had::no && b != Had::no; }
    bool in_place() const { return a == Had::in_place && b == Had::in_place; }
};

/// Whether the plan's product is of this kind, for operands of these strides along k (elements).
template <class In, class Acc>
DirectForm direct_form(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (!plan.one_block() || plan.packed || p.k == 0) return {};
    if (!plan.in_output && (!plan.plain || p.m * p.n * std::int64_t{sizeof(Acc)} > 2 * kDirectBytes)) return {};
    if (r.rows.size > 1 || r.columns.size > 1 || r.summed.size > 1) return {};
    const Axis k = r.summed.size == 0 ? Axis{1, 1, 1, 0} : r.summed.axes[0];
    const std::int64_t groups = PackedB::rows(p.k, plan.kernels->group, plan.pairs);
    const auto fits = [](std::int64_t lines, std::int64_t pitch) {
        return lines * pitch * std::int64_t{sizeof(In)} <= kDirectBytes;
    };
    const bool whole_groups = groups * plan.kernels->group == p.k;
    const auto span = [](std::int64_t stride, std::int64_t n) { return (stride < 0 ? -stride : stride) * n; };
    const std::int64_t b_columns = r.columns.size == 0 ? 1 : r.columns.axes[0].b, nr = plan.kernels->narrow.nr;
    DirectForm form;
    if (plan.a_is_in && k.a == 1 && whole_groups)
        form.a = Had::in_place;
    else if (plan.pack_a && fits(p.m, direct_pitch(groups)))
        form.a = Had::packed;
    if (plan.kernels->group == 1 && plan.b_is_in && b_columns == 1 && whole_groups && fits(span(k.b, p.k), 1))
        form.b = Had::in_place;
    else if (plan.pack_b && fits(ceil_div(p.n, nr) * nr, groups))
        form.b = Had::packed;
    return form;
}

template <class In, class Acc>
Direct<In, Acc> make_direct(const Plan<In, Acc>& plan, DirectForm how) {
    const Lowered& p = plan.p;
    const KernelSet<In, Acc>& set = *plan.kernels;
    const bool halves = how.b == Had::in_place && set.half.mr > 0;
    const std::int64_t narrow = set.narrow.nr + (halves && p.n > set.narrow.nr ? set.half.nr : 0);
    // Wide kernels write the output in the order of memory, where they need not load more than they multiply.
    const bool wide = p.n >= set.wide.nr && (p.m <= set.wide.mr || (p.n % set.wide.nr == 0 && set.wide.mr >= 6));
    const KernelFamily<In, Acc>& family = halves && p.n <= set.half.nr ? set.half
                                          : p.n <= narrow              ? set.narrow
                                          : wide                       ? set.wide
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
        const bool same_rows = d.whole_columns > 0 && family.mr == set.narrow.mr;
        const KernelFamily<In, Acc>& last = same_rows && halves && rest <= set.half.nr ? set.half
                                            : same_rows && rest <= set.narrow.nr       ? set.narrow
                                                                                       : family;
        d.tail[less] = last.tail[rows - 1];
    }
    const AxisRoles& r = p.roles;
    const std::int64_t groups = PackedB::rows(p.k, set.group, plan.pairs);
    d.a_step = how.a == Had::packed ? direct_pitch(groups) * std::int64_t{sizeof(In)}
               : r.rows.size == 0   ? 0
                                    : r.rows.axes[0].a * static_cast<std::int64_t>(size_of(p.a_type));
    d.c_step = r.rows.size == 0 ? 0 : r.rows.axes[0].out;
    const std::int64_t ldb = how.b == Had::packed ? d.nr : r.summed.size == 0 ? 0 : r.summed.axes[0].b;
    d.b_step = how.b == Had::packed ? groups : 1;
    if (!plan.in_output) d.c_step = (p.n + 15) / 16 * 16;
    d.block = {groups, d.a_step, ldb, d.c_step, d.nr, plan.first, 0};
    return d;
}

/// Some of the batches.
template <class In, class Acc>
class DirectBatch {
  public:
    DirectBatch(const Plan<In, Acc>& plan, DirectForm how) : plan_(plan), how_(how), one_(make_direct(plan, how)) {
        steps_ = batch_steps();
        follows_ = follows();
    }

    void run(std::int64_t begin, std::int64_t end) const {
        const Lowered& p = plan_.p;
        if (how_.in_place() && plan_.in_output && !follows_ && steps_.one_axis && one_.one_panel())
            return run_panels(begin, end);
        Scratch scratch(bytes());
        const Buffers buffers(*this, scratch);
        for (std::int64_t i = begin; i < end; ++i) {
            const Place at = place(i);
            if (buffers.a) plan_.pack_a(buffers.a, pitch(), {at.a, buffers.rows_a, buffers.k_a, p.m, p.k});
            if (buffers.b) pack(buffers, at.b);
            const In* const a = buffers.a ? buffers.a : reinterpret_cast<const In*>(at.a);
            const In* const b = buffers.b ? buffers.b : reinterpret_cast<const In*>(at.b);
            Acc* const c = buffers.sums ? buffers.sums : reinterpret_cast<Acc*>(at.out);
            if (follows_ && i + 1 < end) {
                Next next = lines_of(place(i + 1));
                one_.run(a, b, c, [&] { return next.first(); });
            } else {
                one_(a, b, c);
            }
            if (buffers.sums) store(buffers, at.out);
        }
    }

  private:
    /// Steps in bytes from one product to the next, where the batch is one axis.
    struct Steps {
        bool one_axis;
        std::int64_t a, b, out;
    };
    struct Place {
        const std::byte *a, *b;
        std::byte* out;
    };
    /// What of the next product is fetched with this one.
    struct Next {
        Ahead operands[2];
        Ahead* first() {
            for (Ahead& each : operands)
                if (each.left > 0) return &each;
            return nullptr;
        }
    };
    /// Offsets of elements, and working space for what does not serve where it is; else null.
    struct Buffers {
        std::int64_t *columns_out, *k_a, *rows_a, *k_b, *columns_b;
        std::byte* room;
        In *a = nullptr, *b = nullptr;
        Acc* sums = nullptr;

        Buffers(const DirectBatch& batch, Scratch& scratch) {
            const Lowered& p = batch.plan_.p;
            if (!batch.plan_.in_output) {
                columns_out = offsets(p.roles.columns, &Axis::out, p.n, scratch);
                sums = scratch.take<Acc>(p.m * batch.one_.c_step);
                room = scratch.take<std::byte>(8 * p.n);
            }
            if (batch.how_.a == Had::packed) {
                a = scratch.take<In>(p.m * batch.pitch());
                k_a = offsets(p.roles.summed, &Axis::a, p.k, scratch);
                rows_a = offsets(p.roles.rows, &Axis::a, p.m, scratch);
            }
            if (batch.how_.b == Had::packed) {
                b = scratch.take<In>(batch.packed_columns());
                k_b = offsets(p.roles.summed, &Axis::b, p.k, scratch);
                columns_b = offsets(p.roles.columns, &Axis::b, p.n, scratch);
            }
        }
        static std::int64_t* offsets(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t n,
                                     Scratch& scratch) {
            auto* const to = scratch.take<std::int64_t>(n);
            fill_offsets(axes, stride, 0, n, to);
            return to;
        }
    };

    std::int64_t pitch() const { return direct_pitch(one_.block.kc); }
    std::int64_t packed_columns() const { return ceil_div(one_.n, one_.nr) * one_.nr * one_.block.kc; }
    std::size_t bytes() const {
        const Lowered& p = plan_.p;
        const std::int64_t packed = (how_.a == Had::packed ? p.m * pitch() : 0) +
                                    (how_.b == Had::packed ? packed_columns() : 0),
                           sums = plan_.in_output ? 0 : p.m * one_.c_step;
        return static_cast<std::size_t>(packed) * sizeof(In) + static_cast<std::size_t>(sums) * sizeof(Acc) +
               static_cast<std::size_t>(2 * p.k + 3 * p.n + p.m + 64) * 8;
    }

    Steps batch_steps() const {
        const Lowered& p = plan_.p;
        const AxisList& axes = p.roles.batch;
        if (axes.size > 1) return {false, 0, 0, 0};
        const Axis axis = axes.size == 0 ? Axis{1, 0, 0, 0} : axes.axes[0];
        return {true, axis.a * size(p.a_type), axis.b * size(p.b_type), axis.out * size(p.out_type)};
    }
    Place place(std::int64_t i) const {
        const Lowered& p = plan_.p;
        const auto at = [&](std::int64_t step, std::int64_t Axis::*stride, DType type) {
            return steps_.one_axis ? i * step : offset_of(p.roles.batch, stride, i) * size(type);
        };
        return {static_cast<const std::byte*>(p.a) + at(steps_.a, &Axis::a, p.a_type),
                static_cast<const std::byte*>(p.b) + at(steps_.b, &Axis::b, p.b_type),
                static_cast<std::byte*>(p.out) + at(steps_.out, &Axis::out, p.out_type)};
    }
    void run_panels(std::int64_t begin, std::int64_t end) const {
        Block block = one_.block;
        block.columns = one_.n;
        const auto kernel = one_.whole_columns > 0 ? one_.whole[0] : one_.tail[0];
        Place at = place(begin);
        for (std::int64_t i = begin; i < end; ++i, at.a += steps_.a, at.b += steps_.b, at.out += steps_.out)
            kernel(block, reinterpret_cast<const In*>(at.a), reinterpret_cast<const In*>(at.b),
                   reinterpret_cast<Acc*>(at.out));
    }
    static std::int64_t size(DType type) { return static_cast<std::int64_t>(size_of(type)); }

    /// Whether the batch comes from beyond L2 and its operands, without gaps, serve where they are: then those of the
    /// next product are fetched with the steps of this one. Packing reads in the order of memory, which the hardware
    /// follows by itself; so does the output. Products of fewer steps lose more than they gain.
    bool follows() const {
        const Lowered& p = plan_.p;
        return steps_.one_axis && how_.in_place() && p.k >= kFetchK && steps_.a == p.m * p.k * size(p.a_type) &&
               steps_.b == p.k * p.n * size(p.b_type) && p.batches * (steps_.a + steps_.b + steps_.out) > kFetchBytes;
    }
    Next lines_of(const Place& next) const {
        const auto lines = [](const std::byte* from, std::int64_t bytes) {
            const std::int64_t n = ceil_div(bytes, 64);
            return Ahead{reinterpret_cast<const char*>(from), 64, 0, n, n, n};
        };
        return {{lines(next.a, steps_.a), lines(next.b, steps_.b)}};
    }

    void store(const Buffers& buffers, std::byte* out) const {
        const Lowered& p = plan_.p;
        const std::int64_t step = p.roles.rows.size == 0 ? 0 : p.roles.rows.axes[0].out;
        const bool unit = p.roles.columns.size == 0 || p.roles.columns.axes[0].out == 1;
        for (std::int64_t i = 0; i < p.m; ++i)
            store_row(buffers.sums + i * one_.c_step,
                      OutputRow{out + i * step * size(p.out_type), p.out_type, buffers.columns_out, p.n, unit},
                      buffers.room);
    }

    void pack(const Buffers& buffers, const void* b) const {
        const std::int64_t filled = ceil_div(plan_.p.k, plan_.kernels->group);
        In* to = buffers.b;
        for (std::int64_t j = 0; j < one_.n; j += one_.nr, to += one_.nr * one_.block.kc) {
            const std::int64_t columns = std::min(one_.nr, one_.n - j);
            plan_.pack_b(to, one_.nr, {b, buffers.columns_b + j, buffers.k_b, columns, plan_.p.k});
            if (filled < one_.block.kc) std::fill_n(to + filled * one_.nr, one_.nr, In(0));
        }
    }

    const Plan<In, Acc>& plan_;
    DirectForm how_;
    Direct<In, Acc> one_;
    Steps steps_;
    bool follows_;
};

}  // namespace tenon::product::dense
