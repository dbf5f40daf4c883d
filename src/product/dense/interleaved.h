// Batches that are interleaved in B, short rows of each adjacent for every k: the gradients of the weights of
// structured layers and of attention heads. One batch alone would read a line or two of each of many rows, far apart,
// which the hardware prefetcher does not follow and which share few cache sets. So B is packed for a block of k while
// the first rows of A are multiplied, and later lines are prefetched. Where there is no such kernel, a few adjacent
// batches are taken together, and their rows of B, long runs of memory, are packed beforehand. Rows of A are read in
// place or copied.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>

#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// The smallest k: below it packing costs more than it saves.
inline constexpr std::int64_t kInterleavedK = 128;
/// The most columns and rows of a batch: beyond, its own panels are long enough runs of memory.
inline constexpr std::int64_t kInterleavedColumns = 256, kInterleavedRows = 512;
/// How many steps of k ahead a row of B is prefetched: some 400 cycles.
inline constexpr std::int64_t kStepsAhead = 32;
/// Bytes of B's panels for a block of k of some batches, and of the part of A that is read with them. They stay in L2.
inline std::int64_t group_bytes() { return std::min<std::int64_t>(caches().l2 / 2, 512 << 10); }

/// The plan with A and B exchanged, if A's rows are adjacent and B's columns are not. (lower() exchanges in favour of
/// the output; here the output is written once, at the end.)
template <class In, class Acc>
Plan<In, Acc> with_b_across(Plan<In, Acc> plan) {
    Lowered& p = plan.p;
    const auto across = [](const AxisList& lines, std::int64_t Axis::*stride) {
        return lines.size == 1 && lines.axes[0].*stride == 1;
    };
    if (across(p.roles.columns, &Axis::b) || !across(p.roles.rows, &Axis::a)) return plan;
    std::swap(p.a, p.b), std::swap(p.a_type, p.b_type), std::swap(p.m, p.n);
    std::swap(p.roles.rows, p.roles.columns);
    for (AxisList* list : {&p.roles.batch, &p.roles.rows, &p.roles.columns, &p.roles.summed})
        for (Axis& axis : *list) std::swap(axis.a, axis.b);
    const AxisRoles& r = p.roles;
    plan.in_output = plan.in_output && r.rows.size <= 1 && r.columns.axes[0].out == 1;
    return plan;
}

template <class In, class Acc>
const char* interleaved_declines(const Plan<In, Acc>& given) {
    if (given.packed) return "b is packed";
    if (given.prologue_a || given.prologue_b) return "an operand comes through a tape";
    if (given.kernels->group != 1 || given.pairs || !given.a_is_in || !given.b_is_in)
        return "an operand is not stored as the kernels read it";
    if (!given.plain || size_of(given.p.out_type) != sizeof(Acc)) return "the output is not the sums alone";
    if (given.p.batches == 1) return "there is no batch";
    if (given.p.k < kInterleavedK) return "k is less than 128";
    if (given.segments > 1) return "k is more than one segment";
    const Plan<In, Acc> plan = with_b_across(given);
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (r.batch.size != 1 || r.columns.size != 1 || r.summed.size != 1 || r.columns.axes[0].b != 1)
        return "b's columns are not adjacent in memory, or batch and k are several axes";
    const std::int64_t step = r.batch.axes[0].b, k = r.summed.axes[0].b;
    if (step < p.n || k < 2 * step) return "b's batches do not lie interleaved";
    if (p.n > kInterleavedColumns || p.m > kInterleavedRows) return "a batch's own rows are long runs";
    return nullptr;
}

/// Whether B's whole panels are packed while the first rows are multiplied.
template <class In, class Acc>
bool packs_on_the_way(const Plan<In, Acc>& plan) {
    return plan.kernels->packing && plan.p.n >= plan.kernels->standard.nr;
}
/// Whether this way takes the product.
template <class In, class Acc>
bool packs_interleaved(const Plan<In, Acc>& given) {
    return !interleaved_declines(given) && packs_on_the_way(with_b_across(given));
}

/// Runs the product, a few batches at a time.
template <class In, class Acc>
class Interleaved {
  public:
    explicit Interleaved(const Plan<In, Acc>& plan, int threads)
        : plan_(plan),
          p_(plan.p),
          family_(p_.n <= plan.kernels->narrow.nr ? plan.kernels->narrow : plan.kernels->standard),
          nr_(family_.nr),
          panels_(ceil_div(p_.n, nr_)),
          row_panels_(ceil_div(p_.m, family_.mr)) {
        const AxisRoles& r = p_.roles;
        a_along_ = r.summed.axes[0].a == 1;
        on_the_way_ = packs_on_the_way(plan);
        const std::int64_t lines = panels_ * nr_ + (a_along_ ? 0 : p_.m);
        group_ = std::max<std::int64_t>(1, group_bytes() / (kBlockK * lines * std::int64_t{sizeof(In)}));
        if (threads > 1) group_ = std::min(group_, ceil_div(p_.batches, kTasksPerThread * threads));
        group_ = on_the_way_ ? 1 : std::min(group_, p_.batches);
    }

    std::int64_t tasks() const { return ceil_div(p_.batches, group_); }
    std::size_t bytes() const {
        const auto size = [](std::int64_t n, std::size_t element) {
            return Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        return size(group_ * panels_ * nr_ * kBlockK, sizeof(In)) + size(family_.mr * kBlockK, sizeof(In)) +
               size(plan_.in_output ? 0 : group_ * p_.m * panels_ * nr_, sizeof(Acc)) +
               7 * size(std::max({kBlockK, p_.m, p_.n}), 8) + size(p_.n, 8) + 64;
    }

    void run(std::int64_t task, Scratch& scratch) const {
        const std::int64_t begin = task * group_, end = std::min(begin + group_, p_.batches);
        Task t(begin, end - begin, scratch, *this);
        for (std::int64_t k = 0; k < p_.k; k += kBlockK) {
            const std::int64_t kc = std::min(kBlockK, p_.k - k);
            pack_b(t, k, kc);
            for (std::int64_t g = 0; g < t.batches; ++g) multiply(t, g, k, kc);
        }
        if (!plan_.in_output)
            for (std::int64_t g = 0; g < t.batches; ++g) store(t, g);
    }

  private:
    struct Task {
        std::int64_t first, batches;
        In *b, *a;
        Acc* sums = nullptr;
        std::int64_t *k_b, *k_a, *columns, *rows, *columns_out, *transposed, *across;
        std::byte* room;

        Task(std::int64_t from, std::int64_t n, Scratch& scratch, const Interleaved& of) : first(from), batches(n) {
            const Lowered& p = of.p_;
            b = scratch.take<In>(of.group_ * of.panels_ * of.nr_ * kBlockK);
            a = scratch.take<In>(of.family_.mr * kBlockK);
            if (!of.plan_.in_output) sums = scratch.take<Acc>(of.group_ * p.m * of.panels_ * of.nr_);
            const std::int64_t most = std::max({kBlockK, p.m, p.n});
            for (auto* offsets : {&k_b, &k_a, &columns, &rows, &columns_out, &transposed, &across})
                *offsets = scratch.take<std::int64_t>(most);
            room = scratch.take<std::byte>(8 * p.n);
            fill_offsets(p.roles.columns, &Axis::b, 0, p.n, columns);
            fill_offsets(p.roles.columns, &Axis::out, 0, p.n, columns_out);
            fill_offsets(p.roles.rows, &Axis::a, 0, p.m, rows);
        }
    };

    const In* b_of(std::int64_t batch) const { return static_cast<const In*>(p_.b) + batch * p_.roles.batch.axes[0].b; }
    const In* a_of(std::int64_t batch) const { return static_cast<const In*>(p_.a) + batch * p_.roles.batch.axes[0].a; }

    /// Packs the rows of the group's batches, a slice of k of all of them before the next slice, and prefetches the
    /// following ones. If whole panels are packed by the kernels, packs only the columns that fill no panel.
    void pack_b(Task& t, std::int64_t k, std::int64_t kc) const {
        if (on_the_way_ && p_.n % nr_ == 0) return;
        fill_offsets(p_.roles.summed, &Axis::b, k, kc, t.k_b);
        const std::int64_t begin = on_the_way_ ? p_.n / nr_ : 0;
        constexpr std::int64_t kLine = 64 / std::int64_t{sizeof(In)};
        for (std::int64_t e = 0; e < kc; e += kPackRows)
            for (std::int64_t g = 0; g < t.batches; ++g) {
                const In* const from = b_of(t.first + g);
                for (std::int64_t j = begin; j < panels_; ++j)
                    plan_.pack_b(t.b + (g * panels_ + j) * nr_ * kBlockK + e * nr_, nr_,
                                 {from, t.columns + j * nr_, t.k_b + e, std::min(nr_, p_.n - j * nr_),
                                  std::min(kPackRows, kc - e)});
                for (std::int64_t next = e + kPackRows; next < std::min(e + 2 * kPackRows, kc); ++next)
                    for (std::int64_t i = begin * nr_; i < p_.n; i += kLine)
                        __builtin_prefetch(from + t.k_b[next] + i, 0, 2);
            }
    }

    /// Rows of A are read in place, unless they would share few sets of the nearest cache.
    bool rows_stay(std::int64_t rows) const {
        if (!a_along_ || p_.roles.rows.size > 1) return false;
        if (rows == 1 || p_.roles.rows.size == 0) return true;
        constexpr std::int64_t kSets = 64, kRowsInSet = 7;
        const std::int64_t step = p_.roles.rows.axes[0].a * std::int64_t{sizeof(In)};
        return step % 64 == 0 && rows <= kSets / std::gcd(step / 64, kSets) * kRowsInSet;
    }

    /// The lines of a panel of rows; a kernel prefetches one at each step of k.
    PrefetchLines lines_of(const In* a, Range rows, std::int64_t kc) const {
        if (!a_along_ || p_.roles.rows.size != 1 || rows.size() == 0) return {};
        const std::int64_t step = p_.roles.rows.axes[0].a * std::int64_t{sizeof(In)};
        const std::int64_t lines = ceil_div(kc * std::int64_t{sizeof(In)}, 64), n = rows.size();
        return {reinterpret_cast<const char*>(a + rows.begin * p_.roles.rows.axes[0].a),
                step,
                64 - n * step,
                n,
                n,
                n * lines};
    }

    void multiply(Task& t, std::int64_t g, std::int64_t k, std::int64_t kc) const {
        const std::int64_t batch = t.first + g;
        fill_offsets(p_.roles.summed, &Axis::a, k, kc, t.k_a);
        const std::int64_t size = sizeof(In), ldc = plan_.in_output ? row_step() : panels_ * nr_;
        Acc* const sums =
            plan_.in_output ? static_cast<Acc*>(p_.out) + batch * p_.roles.batch.axes[0].out : t.sums + g * p_.m * ldc;
        for (std::int64_t i = 0; i < row_panels_; ++i) {
            const Range rows = part(p_.m, row_panels_, i);
            const In* a = a_of(batch) + t.rows[rows.begin] + t.k_a[0];
            std::int64_t pitch = p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].a * size;
            if (!rows_stay(rows.size())) {
                plan_.pack_a(t.a, kBlockK, {a_of(batch), t.rows + rows.begin, t.k_a, rows.size(), kc});
                a = t.a, pitch = kBlockK * size;
            }
            const bool last = i + 1 == row_panels_;
            PrefetchLines ahead =
                last ? (g + 1 < t.batches ? lines_of(a_of(batch + 1) + t.k_a[0], part(p_.m, row_panels_, 0), kc)
                                          : PrefetchLines{})
                     : lines_of(a_of(batch) + t.k_a[0], part(p_.m, row_panels_, i + 1), kc);
            for (std::int64_t j = 0; j < panels_; ++j) {
                const std::int64_t columns = std::min(nr_, p_.n - j * nr_), ldb = p_.roles.summed.axes[0].b;
                In* const b = t.b + (g * panels_ + j) * nr_ * kBlockK;
                Acc* const c = sums + rows.begin * ldc + j * nr_;
                Block block{kc,      pitch,
                            nr_,     ldc,
                            columns, k == 0 ? Write::store : Write::add,
                            0,       ahead.left > 0 ? &ahead : nullptr};
                if (on_the_way_ && i == 0 && columns == nr_) {
                    block.ldb = ldb, block.ahead = kStepsAhead * ldb;
                    plan_.kernels->packing[rows.size() - 1](block, a, b_of(batch) + k * ldb + j * nr_, b, c);
                } else {
                    kernel_of(columns, rows.size())(block, a, b, c);
                }
            }
        }
    }

    /// Sums in scratch, and B's columns, have room for whole panels.
    MicroKernel<In, Acc> kernel_of(std::int64_t columns, std::int64_t rows) const {
        const KernelSet<In, Acc>& set = *plan_.kernels;
        const KernelFamily<In, Acc>& family = columns <= set.half.nr && rows <= set.half.mr ? set.half
                                              : columns <= set.narrow.nr                    ? set.narrow
                                                                                            : family_;
        return (columns == family.nr || !plan_.in_output ? family.whole : family.tail)[rows - 1];
    }

    std::int64_t row_step() const { return p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].out; }

    /// If the output is contiguous along its rows, it is stored transposed, a square at a time.
    void store(Task& t, std::int64_t g) const {
        const std::int64_t batch = t.first + g, ld = panels_ * nr_, out_batch = p_.roles.batch.axes[0].out;
        Acc* const sums = t.sums + g * p_.m * ld;
        Acc* const out = static_cast<Acc*>(p_.out) + batch * out_batch;
        const AxisList &rows = p_.roles.rows, &columns = p_.roles.columns;
        // Transposing writes whole vectors.
        if constexpr (std::is_same_v<In, Acc>)
            if (rows.size == 1 && rows.axes[0].out == 1 && p_.m % 16 == 0) {
                const PackLines<In> turn = plan_.kernels->lines[static_cast<int>(Source::same)];
                for (std::int64_t i = 0; i < p_.m; ++i) t.transposed[i] = i * ld;
                for (std::int64_t j = 0; j < p_.n; ++j) t.across[j] = j;
                return turn(out, columns.axes[0].out, {sums, t.across, t.transposed, p_.n, p_.m});
            }
        for (std::int64_t i = 0; i < p_.m; ++i) {
            auto* to = reinterpret_cast<std::byte*>(out + offset_of(p_.roles.rows, &Axis::out, i));
            store_row(sums + i * ld, OutputRow{to, p_.out_type, t.columns_out, p_.n, columns.axes[0].out == 1}, t.room);
        }
    }

    const Plan<In, Acc>& plan_;
    const Lowered& p_;
    const KernelFamily<In, Acc>& family_;
    const std::int64_t nr_, panels_, row_panels_;
    std::int64_t group_ = 1;
    bool a_along_ = false, on_the_way_ = false;
};

}  // namespace tenon::product::dense
