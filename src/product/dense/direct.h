// Small products and batches of them, which need no blocking: k is one block, and the operands are read in place or
// packed once into a buffer that stays in the nearest caches. Only the work of the micro-kernels remains.
#pragma once

#include "base/caches.h"
#include "base/thread_count.h"
#include "product/dense/generated.h"
#include "product/dense/plan.h"
#include "product/dense/units.h"

namespace tenon::product::dense {

/// Multiply-adds below which a small product, or several products of a batch, is one task.
inline constexpr std::int64_t kDirectWork = 1 << 18;
/// The most bytes that B spans, and A if it is packed.
inline constexpr std::int64_t kDirectBytes = 32 << 10;

/// Bytes of one product's operands and output.
inline std::int64_t direct_bytes(const Lowered& p) {
    const auto size = [](DType type) { return static_cast<std::int64_t>(size_of(type)); };
    return p.m * p.k * size(p.a_type) + p.k * p.n * size(p.b_type) + p.m * p.n * size(p.out_type);
}

/// Products of a batch for each thread from which even large ones are shared out evenly.
inline constexpr std::int64_t kManyBatches = 8;

/// The same limit for batches, and for one product that fills at most half of L2: such a product gains nothing from
/// blocking. Nor do those of a batch that fit a small L2: 64 x 256 x 256 takes 0.8 of the time in bfloat16, 0.84 in
/// float32, 96^3 0.83, in float64 0.7 (Zen 5).
inline std::int64_t direct_span(const Lowered& p) {
    if (p.batches > 1) {
        const bool fit = !caches().large_l2() && direct_bytes(p) <= caches().l2;
        return fit && p.batches >= kManyBatches * threads_here() ? caches().l2 / 4
                                                                 : std::max(kDirectBytes, caches().l2 / 32);
    }
    return 2 * direct_bytes(p) <= caches().l2 ? 8 * kDirectBytes : kDirectBytes;
}

/// Batches larger than this, of products with at least this k, are prefetched.
inline std::int64_t fetch_bytes() { return std::min<std::int64_t>(caches().l2, 1 << 20); }
inline constexpr std::int64_t kFetchK = 64;

/// The panels of one product. A value without pointers to its own memory: `prepare` keeps it between calls.
template <class In, class Acc>
struct Direct {
    using Kernel = MicroKernel<In, Acc>;
    Kernel whole[2], tail[2];  // for panels of `rows` rows, and of one row less
    Block block, tail_block;
    std::int64_t n, whole_columns, nr;  // whole_columns: columns in whole panels
    std::int64_t rows, panels, tall;  // row panels; the first `tall` have `rows` rows, the others one less
    std::int64_t a_step, c_step;  // from one row to the next: bytes of A, elements of C
    std::int64_t b_step;  // elements from one column to the next: 1 in place, the rows of a panel if packed

    void operator()(const In* a, const In* b, Acc* c) const {
        run(block, tail_block, a, b, c, [] {});
    }

    /// `lines()` returns what the kernel prefetches meanwhile, or null.
    template <class F>
    void fetching(const In* a, const In* b, Acc* c, F lines) const {
        Block whole_block = block, last_block = tail_block;
        run(whole_block, last_block, a, b, c, [&] { whole_block.lines = last_block.lines = lines(); });
    }
    /// The i-th panel of rows alone, which begins at `a` and `c`.
    std::int64_t panel_rows(std::int64_t i) const { return rows - (i >= tall ? 1 : 0); }
    template <class F>
    void panel(std::int64_t i, const In* a, const In* b, Acc* c, F lines) const {
        Block whole_block = block, last_block = tail_block;
        columns(i >= tall, whole_block, last_block, a, b, c, [&] { whole_block.lines = last_block.lines = lines(); });
    }
    /// Where a panel of columns is, and whether the first panel of rows was multiplied with it as it was packed.
    struct Found {
        const In* panel;
        bool multiplied = false;
    };
    /// The same for some panels of rows and some columns, from a whole panel on, with all of these rows for a panel of
    /// columns before the next: `find(j, columns, a, c)` gives the panel at column j; a and c are those of the first
    /// panel of rows.
    template <class Find>
    void by_columns(Range row_panels, Range columns, const In* a, Acc* c, Find find) const {
        const std::int64_t before = row_panels.begin * rows - std::max<std::int64_t>(row_panels.begin - tall, 0);
        const char* const first_a = reinterpret_cast<const char*>(a) + before * a_step;
        c += before * c_step;
        for (std::int64_t j = columns.begin; j < columns.end; j += nr) {
            const bool is_last = j == whole_columns;
            const char* rows_a = first_a;
            Acc* to = c + j;
            const Found found = find(j, std::min(nr, n - j), reinterpret_cast<const In*>(first_a), to);
            for (std::int64_t i = row_panels.begin; i < row_panels.end; ++i) {
                const bool less = i >= tall;
                if (i > row_panels.begin || !found.multiplied)
                    (is_last ? tail : whole)[less](is_last ? tail_block : block, reinterpret_cast<const In*>(rows_a),
                                                   found.panel, to);
                rows_a += panel_rows(i) * a_step, to += panel_rows(i) * c_step;
            }
        }
    }
    /// A single kernel call: one panel of rows, one panel of columns.
    bool one_panel() const { return panels == 1 && n <= nr; }

  private:
    template <class F>
    void columns(bool less, const Block& whole_block, const Block& last_block, const In* a, const In* b, Acc* c,
                 F before) const {
        for (std::int64_t j = whole_columns; j > 0; j -= nr, b += nr * b_step, c += nr) {
            before();
            whole[less](whole_block, a, b, c);
        }
        if (whole_columns == n) return;
        before();
        tail[less](last_block, a, b, c);
    }
    template <class F>
    void run(const Block& whole_block, const Block& last_block, const In* a, const In* b, Acc* c, F before) const {
        for (std::int64_t i = 0; i < panels; ++i) {
            columns(i >= tall, whole_block, last_block, a, b, c, before);
            const std::int64_t step = panel_rows(i);
            a = reinterpret_cast<const In*>(reinterpret_cast<const char*>(a) + step * a_step);
            c += step * c_step;
        }
    }
};

/// Rows of a generated kernel that is one vector wide. The number of products in a batch, and of their multiply-adds,
/// from which the cost of looking up a kernel is negligible.
inline constexpr std::int64_t kGeneratedRows = 24, kGeneratedBatches = 16, kGeneratedWork = 1 << 15;
/// Multiply-adds of one product above which wide tiles are as fast, with less code.
inline constexpr std::int64_t kOneVectorWork = 36 * 36 * 36;

/// The distance between packed rows of A, in groups: whole vectors of any instruction set.
inline std::int64_t direct_pitch(std::int64_t groups) { return ceil_div(groups, 16) * 16; }

/// How an operand is read. `adjacent`: in place, by kernels for rows of A that are adjacent.
enum class OperandAccess : std::uint8_t { no, in_place, adjacent, packed };
struct DirectForm {
    OperandAccess a = OperandAccess::no, b = OperandAccess::no;
    explicit operator bool() const { return a != OperandAccess::no && b != OperandAccess::no; }
    bool in_place() const { return a == OperandAccess::in_place && b == OperandAccess::in_place; }
};

/// Whether this way takes the plan's product, for operands with these strides along k (elements).
template <class In, class Acc>
DirectForm direct_form(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (!plan.one_block() || plan.packed || p.k == 0) return {};
    if (!plan.in_output && (!plan.plain || p.m * p.n * std::int64_t{sizeof(Acc)} > 2 * kDirectBytes)) return {};
    if (r.rows.size > 1 || r.columns.size > 1 || r.summed.size > 1) return {};
    const Axis k = r.summed.size == 0 ? Axis{1, 1, 1, 0} : r.summed.axes[0];
    const std::int64_t groups = PackedB::rows(p.k, plan.kernels->group, plan.pairs);
    // Operands that the kernels read as they are stored. Packing much of B for few rows is slower than other ways.
    const bool as_stored = plan.kernels->group == 1 && plan.a_is_in && plan.b_is_in, batches = p.batches > 1,
               many = batches || (as_stored && p.m > 2 * plan.kernels->lanes);
    const auto fits = [&p](std::int64_t lines, std::int64_t pitch, bool more) {
        const std::int64_t bytes = lines * pitch * std::int64_t{sizeof(In)};
        return bytes <= kDirectBytes || (more && bytes <= direct_span(p));
    };
    const bool whole_groups = groups * plan.kernels->group == p.k;
    const auto span = [](std::int64_t stride, std::int64_t n) { return (stride < 0 ? -stride : stride) * n; };
    const std::int64_t b_columns = r.columns.size == 0 ? 1 : r.columns.axes[0].b, nr = plan.kernels->narrow.nr;
    DirectForm form;
    if (plan.a_is_in && k.a == 1 && whole_groups)
        form.a = OperandAccess::in_place;
    else if (takes_adjacent_rows(plan))
        form.a = OperandAccess::adjacent;
    else if (plan.pack_a && fits(p.m, direct_pitch(groups), batches || as_stored))
        form.a = OperandAccess::packed;
    if (plan.kernels->group == 1 && plan.b_is_in && b_columns == 1 && whole_groups && fits(span(k.b, p.k), 1, true))
        form.b = OperandAccess::in_place;
    else if (plan.pack_b && fits(ceil_div(p.n, nr) * nr, groups, many))
        form.b = OperandAccess::packed;
    return form;
}

/// The kernels for whole panels of columns, and for the remaining columns.
template <class In, class Acc>
struct DirectColumns {
    const KernelFamily<In, Acc>*whole, *rest;
};

/// `parts`: kernels of half and a quarter of a vector may be used. `in_cache`: the operands are in the caches.
template <class In, class Acc>
DirectColumns<In, Acc> direct_columns(const KernelSet<In, Acc>& set, std::int64_t m, std::int64_t n, bool parts,
                                      bool in_cache) {
    if (parts && n == set.quarter.nr && m <= set.quarter.mr) return {&set.quarter, &set.quarter};
    if (parts && n <= set.half.nr) return {&set.half, &set.half};
    const std::int64_t lanes = set.narrow.nr, last = n % lanes;
    if (set.triple.mr > 0) {
        const KernelFamily<In, Acc>* const by_vectors[] = {&set.narrow, &set.standard, &set.triple, &set.wide};
        // No vector is left alone, which would wait for its own sums. Two and two of four vectors read A again from
        // cache, if two have enough sums.
        const bool two = in_cache && units().two_fma_units;
        const auto width = [in_cache, two](std::int64_t vectors) -> std::int64_t {
            if (vectors == 4 && in_cache && !two) return 2;
            return vectors <= 4 ? vectors : vectors == 5 || vectors == 6 || vectors == 9 ? 3 : 4;
        };
        const std::int64_t whole = n / lanes;
        if (parts && !two && last > 0 && last <= set.half.nr && whole % width(whole) == 0)
            return {by_vectors[width(whole) - 1], &set.half};
        const std::int64_t vectors = whole + (last > 0 ? 1 : 0), w = width(vectors), rest = vectors % w;
        return {by_vectors[w - 1], by_vectors[(rest > 0 ? rest : w) - 1]};
    }
    if (n <= lanes) return {&set.narrow, &set.narrow};
    // Wide kernels write the output in memory order, if that does not cost more loads than multiply-adds.
    const bool wide = n >= set.wide.nr && (m <= set.wide.mr || (n % set.wide.nr == 0 && set.wide.mr >= 6));
    const KernelFamily<In, Acc>& whole = wide ? set.wide : set.standard;
    const bool narrow = n >= whole.nr && whole.mr == set.narrow.mr && n % whole.nr <= lanes;
    return {&whole, narrow ? &set.narrow : &whole};
}

/// The number of row panels. If the operands are in cache, panels have as few rows as hide the latency of additions:
/// the stores of a larger tile come in a burst that the next tile waits for.
template <class In, class Acc>
std::int64_t direct_panels(const KernelSet<In, Acc>& set, const DirectColumns<In, Acc>& columns, std::int64_t m,
                           std::int64_t n, bool in_cache) {
    const KernelFamily<In, Acc>& family = *columns.whole;
    const std::int64_t vectors = family.nr / set.narrow.nr, most = std::min(family.mr, columns.rest->mr);
    if (!in_cache || vectors == 0 || set.in_cache_rows[vectors - 1] == 0) return ceil_div(m, most);
    if (units().two_fma_units) {
        // Enough rows for at least 12 sums; with one or two vectors, a single panel if the registers hold it.
        const std::int64_t rows = vectors <= 2 ? 8 : 6;
        return m <= most ? 1 : ceil_div(m, std::min(rows, most));
    }
    // Half a vector has half the latency to hide; masked stores are slow and do not come in a burst.
    const std::int64_t rows = vectors <= 2 && columns.rest == &set.half ? 8
                              : vectors == 2 && n < family.nr           ? 7
                                                                        : set.in_cache_rows[vectors - 1];
    const std::int64_t panels = ceil_div(m, rows);
    const bool fewer = panels > 1 && 8 * ceil_div(m, panels) < 7 * rows && ceil_div(m, panels - 1) <= most;
    return panels - (fewer ? 1 : 0);
}

/// Whether the operands come from the nearest caches.
inline bool direct_in_cache(const Lowered& p) {
    const std::int64_t bytes = direct_bytes(p);
    return bytes <= kDirectBytes || p.batches * bytes <= far_bytes();
}

template <class In, class Acc>
DirectColumns<In, Acc> columns_of(const Plan<In, Acc>& plan, DirectForm how) {
    const KernelSet<In, Acc>& set = *plan.kernels;
    if (how.a == OperandAccess::adjacent) return {&set.adjacent, &set.adjacent};
    return direct_columns(set, plan.p.m, plan.p.n, how.b == OperandAccess::in_place && set.half.mr > 0,
                          direct_in_cache(plan.p));
}

template <class In, class Acc>
Direct<In, Acc> make_direct(const Plan<In, Acc>& plan, DirectForm how, const DirectColumns<In, Acc>& columns,
                            std::int64_t panels) {
    const Lowered& p = plan.p;
    const KernelSet<In, Acc>& set = *plan.kernels;
    const KernelFamily<In, Acc>& family = *columns.whole;
    Direct<In, Acc> d{};
    d.n = p.n;
    d.nr = family.nr;
    d.whole_columns = p.n / d.nr * d.nr;
    const std::int64_t rest = p.n - d.whole_columns;
    d.panels = panels;
    d.rows = ceil_div(p.m, d.panels);
    d.tall = p.m - d.panels * (d.rows - 1);
    for (int less = 0; less < 2; ++less) {
        const std::int64_t rows = std::max<std::int64_t>(d.rows - less, 1);
        d.whole[less] = family.whole[rows - 1];
        if (rest > 0) d.tail[less] = (rest == columns.rest->nr ? columns.rest->whole : columns.rest->tail)[rows - 1];
    }
    const AxisRoles& r = p.roles;
    const std::int64_t groups = PackedB::rows(p.k, set.group, plan.pairs);
    d.a_step = how.a == OperandAccess::packed ? direct_pitch(groups) * std::int64_t{sizeof(In)}
               : r.rows.size == 0             ? 0
                                              : r.rows.axes[0].a * static_cast<std::int64_t>(size_of(p.a_type));
    d.c_step = r.rows.size == 0 ? 0 : r.rows.axes[0].out;
    const std::int64_t ldb = how.b == OperandAccess::packed ? d.nr : r.summed.size == 0 ? 0 : r.summed.axes[0].b;
    d.b_step = how.b == OperandAccess::packed ? groups : 1;
    if (!plan.in_output) d.c_step = (p.n + 15) / 16 * 16;
    const std::int64_t lda =
        how.a == OperandAccess::adjacent ? r.summed.axes[0].a * std::int64_t{sizeof(In)} : d.a_step;
    d.block = {groups, lda, ldb, d.c_step, d.nr, plan.first, 0};
    d.block.in_cache = p.batches * direct_bytes(p) <= fetch_bytes();
    d.tail_block = d.block;
    d.tail_block.columns = rest;
    return d;
}

template <class In, class Acc>
Direct<In, Acc> make_direct(const Plan<In, Acc>& plan, DirectForm how) {
    const DirectColumns<In, Acc> columns = columns_of(plan, how);
    return make_direct(plan, how, columns,
                       direct_panels(*plan.kernels, columns, plan.p.m, plan.p.n, direct_in_cache(plan.p)));
}

/// Steps of k in a loop of a generated kernel. From beyond the nearest cache a batch comes by the hardware's prefetch,
/// which follows single instructions: it learns them from a loop, while unrolled code has a thousand. 512 of 32^3 take
/// 0.85 of the time so, in float64 0.78 (Zen 5).
inline std::int64_t loop_steps(const Lowered& p) {
    const bool near = p.batches * direct_bytes(p) <= kDirectBytes;
    return p.batches == 1 || near || caches().large_l2() ? 0 : 2;
}

/// Bytes from a product of a batch to a later one.
struct ToLater {
    std::int64_t a = 0, b = 0, out = 0;
    explicit operator bool() const { return out != 0; }
};
/// Multiply-adds after which what is fetched during them has arrived; and of products that have time to fetch.
inline constexpr std::int64_t kArrivedWork = 1 << 15, kFetchWork = 1 << 12;

/// Rows whose elements are spread in registers where there are too few units that load.
inline constexpr std::int64_t kSpreadRows = 3;

/// The generated kernel of the same product, or null. If a later product is given, its lines are prefetched meanwhile.
template <class In, class Acc>
GeneratedKernel generated_for(const Plan<In, Acc>& plan, DirectForm how, const Direct<In, Acc>& d, ToLater later = {}) {
    if constexpr (std::is_floating_point_v<In> && std::is_same_v<In, Acc>) {
        const Lowered& p = plan.p;
        if (!how.in_place() || !plan.in_output || plan.first != Write::store || !(direct_in_cache(p) || later))
            return nullptr;
        const DirectColumns<In, Acc> columns = columns_of(plan, how);
        const std::int64_t lanes = plan.kernels->narrow.nr, element = sizeof(In);
        Generated g{};
        g.element_bytes = element, g.n = p.n, g.k = p.k;
        g.panels = d.panels, g.rows = d.rows, g.tall = d.tall;
        g.width = columns.whole->nr, g.rest_width = columns.rest->nr;
        const bool from_l2 = p.batches * direct_bytes(p) <= fetch_bytes(),
                   one_vector = units().three_loads && p.m * p.n * p.k <= kOneVectorWork,
                   two_loads = units().two_fma_units && !units().three_loads;
        if (from_l2 && two_loads && p.n > lanes) {
            // The stores of a tall tile come in a burst. Two panels of 7 and 6 rows take 0.89 of the time of one in
            // float64 13^3, four vectors of 3 rows 0.97 of that of 6 (Zen 5).
            const std::int64_t rows = g.width <= 2 * lanes ? 9 : 5;
            g.panels = ceil_div(p.m, rows), g.rows = ceil_div(p.m, g.panels);
            g.tall = p.m - g.panels * (g.rows - 1);
        }
        if (from_l2 && (one_vector || (two_loads && p.n <= lanes))) {
            // Loads of A are fused with the multiply-adds, as many as two FMA units can take: one vector wide, with as
            // many rows as there are registers for. With fewer loads in a cycle such tiles take 1.1 to 1.3 of the time
            // of wide ones (Zen 5). From beyond L2, wide tiles run in memory order.
            // Where only one vector is needed, the taller tile loads B less often: 16^3 takes 0.95 of the time in
            // float32, 20 x 16 x 20 0.92 (Zen 5).
            if (one_vector) g.width = g.rest_width = std::min(g.width, p.n <= lanes / 4 ? lanes / 4 : lanes);
            g.panels = ceil_div(p.m, kGeneratedRows), g.rows = ceil_div(p.m, g.panels);
            g.tall = p.m - g.panels * (g.rows - 1);
        }
        g.lanes = std::min(g.width, lanes), g.rest_lanes = std::min(g.rest_width, lanes);
        g.pairs = plan.pairs ? 1 : 0, g.loop_steps = loop_steps(p);
        g.a_next = later.a, g.b_next = later.b, g.c_next = later.out;
        g.a_step = d.a_step, g.b_step = d.block.ldb * element, g.c_step = d.block.ldc * element;
        // Float64 6^3 takes 0.85 of the time, float32 12^3 and 13^3 0.89, 16^3 0.94 (Zen 5).
        if (two_loads && !plan.pairs && g.rest_width == g.lanes) g.spread = kSpreadRows;
        if (two_loads && !later && rows_share_vectors(g)) g.shared = 1, g.loop_steps = 0;
        return generated_kernel(g);
    }
    return nullptr;
}

}  // namespace tenon::product::dense
