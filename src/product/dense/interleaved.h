// Batches that are interleaved in B, short rows of each adjacent for every k: the gradients of the weights of
// structured layers and of attention heads. A batch reads a line or two of each of many rows, far apart, which the
// hardware prefetcher does not follow and which share few cache sets. So its columns are packed while the first rows of
// A are multiplied, part of a block of k at a time, and the lines of the next part are prefetched meanwhile. Sums pause
// between the parts. Rows of A are read in place where they lie along k, or are adjacent.
#pragma once

#include <algorithm>
#include <numeric>

#include "base/caches.h"
#include "product/dense/direct.h"
#include "product/dense/generated.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// The smallest k without generated kernels.
inline constexpr std::int64_t kInterleavedK = 48;
/// The most columns and rows of a batch: beyond, its own panels are long enough runs of memory.
inline constexpr std::int64_t kInterleavedColumns = 256, kInterleavedRows = 512;
/// The shortest part of a block of k: reading and writing the sums takes a tenth of its time.
inline constexpr std::int64_t kShortestPart = 48;

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

/// Of both operands.
template <class In>
std::int64_t interleaved_bytes(const Lowered& p) {
    return p.batches * (p.m + p.n) * p.k * std::int64_t{sizeof(In)};
}

/// The most bytes of both operands that generated kernels read where they are. Columns that fill no whole vectors are
/// packed and stored apart otherwise, so more of a small L2 pays for them: Monarch's gradients of 64 rows and 1,152
/// columns take 0.91 of the time, those of 1,024, which are whole, 1.02 (Zen 5).
template <class In, class Acc>
std::int64_t generated_bytes(const Plan<In, Acc>& plan) {
    const bool whole = plan.p.n % plan.kernels->narrow.nr == 0;
    return caches().l2 / 8 * (whole || caches().large_l2() ? 2 : 5);
}

/// Whether a batch is one generated kernel that reads both operands where they are. It prefetches nothing.
template <class In, class Acc>
bool generates_batches(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    return std::is_same_v<In, Acc> && std::is_floating_point_v<In> && generates_kernels() && p.k <= kMaxGenerated &&
           p.n <= kMaxGenerated && p.m > kDotRows && interleaved_bytes<In>(p) <= generated_bytes(plan) &&
           p.roles.rows.size == 1 && p.roles.summed.axes[0].a == 1;
}

/// Whether a quarter of the columns' vectors is empty, while the rows fill theirs and are adjacent in the output:
/// `direct` takes them as columns and generates its kernels. The gradients of 64 rows of 1,152 columns take 0.94 of the
/// time, of rank 2 too (Zen 5).
template <class In, class Acc>
bool fills_vectors_exchanged(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    const std::int64_t nr = plan.kernels->narrow.nr;
    return generates_kernels() && !caches().large_l2() && p.k <= kMaxGenerated && p.m <= kMaxGenerated &&
           p.m % nr == 0 && 4 * ceil_div(p.n, nr) * nr >= 5 * p.n && r.rows.size == 1 && r.rows.axes[0].out == 1 &&
           r.columns.axes[0].out != 1 && p.batches * direct_bytes(p) <= far_bytes();
}

template <class In, class Acc>
const char* interleaved_declines(const Plan<In, Acc>& given) {
    if (given.packed) return "b is packed";
    if (given.prologue_a || given.prologue_b) return "an operand comes through a tape";
    if (given.kernels->group != 1 || given.pairs || !given.a_is_in || !given.b_is_in || !given.kernels->part[0].packed)
        return "an operand is not stored as the kernels read it";
    if (!given.plain || size_of(given.p.out_type) != sizeof(Acc)) return "the output is not the sums alone";
    if (given.p.batches == 1) return "there is no batch";
    if (given.segments > 1) return "k is more than one segment";
    const Plan<In, Acc> plan = with_b_across(given);
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    if (r.batch.size != 1 || r.columns.size != 1 || r.summed.size != 1 || r.columns.axes[0].b != 1)
        return "b's columns are not adjacent in memory, or batch and k are several axes";
    const std::int64_t step = r.batch.axes[0].b, k = r.summed.axes[0].b;
    if (step < p.n || k < 2 * step) return "b's batches do not lie interleaved";
    if (fills_vectors_exchanged(plan)) return "the rows fill vectors, and the columns do not";
    if (p.n > kInterleavedColumns || p.m > kInterleavedRows) return "a batch's own rows are long runs";
    if (p.k < kInterleavedK && !generates_batches(plan)) return "k is less than 48, and no kernel is generated";
    return nullptr;
}

/// Whether this way takes the product, and packs whole panels while the first rows are multiplied or packs nothing.
template <class In, class Acc>
bool packs_interleaved(const Plan<In, Acc>& given) {
    return !interleaved_declines(given) && with_b_across(given).p.n >= given.kernels->narrow.nr;
}

template <class In, class Acc>
class Interleaved {
  public:
    explicit Interleaved(const Plan<In, Acc>& plan)
        : plan_(plan),
          p_(plan.p),
          standard_(p_.n > plan.kernels->narrow.nr),
          nr_(standard_ ? plan.kernels->standard.nr : plan.kernels->narrow.nr),
          panels_(ceil_div(p_.n, nr_)),
          a_along_(p_.roles.summed.axes[0].a == 1 && p_.roles.rows.size <= 1),
          a_across_(!a_along_ && p_.roles.rows.size == 1 && p_.roles.rows.axes[0].a == 1 &&
                    p_.roles.summed.axes[0].a != 0),
          row_panels_(ceil_div(p_.m, most_rows())),
          part_(part_length()),
          in_output_(plan.in_output && (whole_vectors() || generates_batches(plan))),
          prefetches_(interleaved_bytes<In>(p_) > caches().l2 / 4),
          batch_(generates_batches(plan) ? generated() : nullptr) {
        in_output_ = in_output_ && (whole_vectors() || batch_);
    }

    std::size_t bytes() const {
        const auto size = [](std::int64_t n, std::size_t element) {
            return Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        return size(panels_ * nr_ * part_, sizeof(In)) + size(plan_.kernels->standard.mr * part_, sizeof(In)) +
               2 * size(p_.m * panels_ * nr_, sizeof(Acc)) + 7 * size(std::max({kBlockK, p_.m, p_.n}), 8) +
               size(p_.n, 8) + 64;
    }

    /// Some batches, one after the other.
    void run(std::int64_t begin, std::int64_t end, Scratch& scratch) const {
        Task t(scratch, *this);
        for (Piece piece = first_of(begin, 0); piece.batch < end;) {
            const Piece next = after(piece);
            multiply(t, piece, next, next.batch < end && prefetches_);
            if (next.batch != piece.batch && !in_output_) store(t, piece.batch);
            piece = next;
        }
    }

  private:
    static constexpr std::int64_t kSize = sizeof(In);

    /// Part of a block of k of a batch.
    struct Piece {
        std::int64_t batch, k, kc;
        bool begins() const { return k % kBlockK == 0; }
    };
    Piece first_of(std::int64_t batch, std::int64_t k) const {
        return {batch, k, std::min({part_, kBlockK - k % kBlockK, p_.k - k})};
    }
    Piece after(const Piece& piece) const {
        const std::int64_t k = piece.k + piece.kc;
        return k < p_.k ? first_of(piece.batch, k) : first_of(piece.batch + 1, 0);
    }

    struct Task {
        In *b, *a;
        Acc *sums, *block;  // of a batch, and of a later block of k
        std::int64_t *k_b, *k_a, *columns, *rows, *columns_out, *transposed, *across;
        std::byte* room;

        Task(Scratch& scratch, const Interleaved& of) {
            const Lowered& p = of.p_;
            b = scratch.take<In>(of.panels_ * of.nr_ * of.part_);
            a = scratch.take<In>(of.plan_.kernels->standard.mr * of.part_);
            sums = scratch.take<Acc>(p.m * of.panels_ * of.nr_);
            block = scratch.take<Acc>(p.m * of.panels_ * of.nr_);
            const std::int64_t most = std::max({kBlockK, p.m, p.n});
            for (auto* offsets : {&k_b, &k_a, &columns, &rows, &columns_out, &transposed, &across})
                *offsets = scratch.take<std::int64_t>(most);
            room = scratch.take<std::byte>(8 * p.n);
            fill_offsets(p.roles.columns, &Axis::b, 0, p.n, columns);
            fill_offsets(p.roles.columns, &Axis::out, 0, p.n, columns_out);
            fill_offsets(p.roles.rows, &Axis::a, 0, p.m, rows);
            for (std::int64_t i = 0; i < p.m; ++i) transposed[i] = i * of.panels_ * of.nr_;
            for (std::int64_t j = 0; j < p.n; ++j) across[j] = j;
        }
    };

    const In* b_of(std::int64_t batch) const { return static_cast<const In*>(p_.b) + batch * p_.roles.batch.axes[0].b; }
    const In* a_of(std::int64_t batch) const { return static_cast<const In*>(p_.a) + batch * p_.roles.batch.axes[0].a; }
    std::int64_t ldb() const { return p_.roles.summed.axes[0].b; }
    /// Bytes from one row of A to the next.
    std::int64_t lda() const { return p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].a * kSize; }

    /// Rows whose lines of A the nearest cache holds, beside B's, in the sets that they fall on.
    std::int64_t rows_in_cache() const {
        constexpr std::int64_t kLine = 64, kWay = 4096, kSets = kWay / kLine;
        if (!a_along_ || p_.roles.rows.size == 0 || lda() % kLine != 0) return p_.m;
        const std::int64_t sets = kSets / std::gcd(lda() / kLine, kSets);
        return std::max<std::int64_t>(sets * (caches().l1 / kWay - 1), 1);
    }
    std::int64_t most_rows() const { return std::min<std::int64_t>(rows_in_cache(), plan_.kernels->standard.mr); }
    /// All of a batch; null if there is no such kernel.
    GeneratedKernel generated() const {
        Generated g = tiled(kSize, p_.m, p_.n, p_.k);
        g.panels = std::max(g.panels, ceil_div(p_.m, rows_in_cache())), g.rows = ceil_div(p_.m, g.panels);
        g.tall = p_.m - g.panels * (g.rows - 1);
        g.a_step = lda(), g.b_step = ldb() * kSize, g.c_step = ld_of_sums() * kSize;
        spread_rows(g);
        return generated_kernel(g);
    }
    /// Two parts' rows of B stay in L2 while one of them is multiplied: rows far apart share its sets.
    std::int64_t part_length() const {
        const std::int64_t fit = caches().l2 / (std::abs(ldb()) * kSize);
        for (const std::int64_t parts : {1, 2, 3, 4, 6})
            if (kBlockK / parts <= fit) return kBlockK / parts;
        return kShortestPart;
    }

    /// The lines of some rows, each of `bytes` bytes, `step` bytes apart: two for each step of a kernel.
    static PrefetchLines lines_of(const In* first, std::int64_t step, std::int64_t rows, std::int64_t bytes) {
        const auto* at = reinterpret_cast<const char*>(first);
        if (bytes <= 64) return {at, 2 * step, 0, rows + 1, rows + 1, (rows + 1) / 2, step};
        const std::int64_t pairs = ceil_div(bytes, 128);
        return {at, 128, step - 128 * pairs, pairs, pairs, rows * pairs, 64};
    }
    PrefetchLines lines_of_a(const Piece& piece) const {
        const Axis& k = p_.roles.summed.axes[0];
        if (a_along_) return lines_of(a_of(piece.batch) + piece.k, lda(), p_.m, piece.kc * kSize);
        if (p_.roles.rows.size != 1 || p_.roles.rows.axes[0].a != 1) return {};
        return lines_of(a_of(piece.batch) + piece.k * k.a, k.a * kSize, piece.kc, p_.m * kSize);
    }

    /// Packs the columns that fill no vector, which are not read where they are.
    void pack_rest(const Task& t, const Piece& piece) const {
        const std::int64_t whole = p_.n / narrow() * narrow();
        if (whole == p_.n) return;
        fill_offsets(p_.roles.summed, &Axis::b, piece.k, piece.kc, t.k_b);
        const std::int64_t first = (p_.n - 1) / nr_ * nr_, width = p_.n - first > narrow() ? nr_ : narrow();
        plan_.pack_b(t.b + first * part_, width, {b_of(piece.batch), t.columns + first, t.k_b, p_.n - first, piece.kc});
    }
    std::int64_t narrow() const { return plan_.kernels->narrow.nr; }
    bool whole_vectors() const { return p_.n % narrow() == 0; }

    void multiply(Task& t, const Piece& piece, const Piece& next, bool prefetches) const {
        if (batch_) return batch_(nullptr, a_of(piece.batch), b_of(piece.batch), sums_of(t, piece.batch));
        pack_rest(t, piece);
        PrefetchLines next_b, next_a;
        if (prefetches) {
            next_b = lines_of(b_of(next.batch) + next.k * ldb(), ldb() * kSize, next.kc, p_.n * kSize);
            next_a = lines_of_a(next);
        }
        const bool alone = piece.begins() && (piece.kc == kBlockK || piece.k + piece.kc == p_.k),
                   apart = piece.k >= kBlockK && !alone;
        const std::int64_t ld = in_output_ && !apart ? row_step() : panels_ * nr_;
        Acc* const to = apart ? t.block : sums_of(t, piece.batch);
        PartBlock block{piece.kc, lda(),           a_across_ ? p_.roles.summed.axes[0].a : 1,        0,
                        ld,       !piece.begins(), piece.k > 0 && alone ? Write::add : Write::store, nullptr};
        const In* const from = a_of(piece.batch);
        const bool packs_a = !a_along_ && !a_across_;
        if (packs_a) fill_offsets(p_.roles.summed, &Axis::a, piece.k, piece.kc, t.k_a), block.lda = part_ * kSize;
        for (std::int64_t i = 0; i < row_panels_; ++i) {
            const Range rows = part(p_.m, row_panels_, i);
            const In* a = from + t.rows[rows.begin] + piece.k * block.a_step;
            if (packs_a) {
                plan_.pack_a(t.a, part_, {from, t.rows + rows.begin, t.k_a, rows.size(), piece.kc});
                a = t.a;
            }
            for (std::int64_t j = 0; j < p_.n; j += nr_) {
                const std::int64_t columns = std::min(nr_, p_.n - j);
                const bool wide = columns > narrow();
                const PartKernels<In, Acc>& kernels = plan_.kernels->part[wide];
                const bool packs = i == 0 && columns == (wide ? plan_.kernels->standard.nr : narrow());
                block.ldb = ldb();
                block.lines = next_b.left > 0 ? &next_b : &next_a;
                (packs ? kernels.packing : kernels.packed)[rows.size() - 1](
                    block, a, b_of(piece.batch) + piece.k * ldb() + j, t.b + j * part_, to + rows.begin * ld + j);
            }
        }
        if (apart && (next.batch != piece.batch || next.begins())) add(t, piece.batch);
    }

    std::int64_t row_step() const { return p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].out; }
    std::int64_t ld_of_sums() const { return in_output_ ? row_step() : panels_ * nr_; }
    Acc* sums_of(const Task& t, std::int64_t batch) const {
        return in_output_ ? static_cast<Acc*>(p_.out) + batch * p_.roles.batch.axes[0].out : t.sums;
    }
    /// Adds a later block of k to the sums.
    void add(const Task& t, std::int64_t batch) const {
        for (std::int64_t i = 0; i < p_.m; ++i)
            plan_.kernels->add_to(sums_of(t, batch) + i * ld_of_sums(), t.block + i * panels_ * nr_, p_.n);
    }

    /// If the output is contiguous along its rows, it is stored transposed, a square at a time.
    void store(const Task& t, std::int64_t batch) const {
        const std::int64_t ld = panels_ * nr_, out_batch = p_.roles.batch.axes[0].out;
        Acc* const out = static_cast<Acc*>(p_.out) + batch * out_batch;
        const AxisList &rows = p_.roles.rows, &columns = p_.roles.columns;
        // Transposing writes whole vectors, so the last rows are written with those before them that fill one.
        constexpr std::int64_t kVector = 16;
        if constexpr (std::is_same_v<In, Acc>)
            if (rows.size == 1 && rows.axes[0].out == 1 && p_.m >= kVector) {
                const PackLines<In> transpose = plan_.kernels->lines[static_cast<int>(Source::same)];
                const std::int64_t step = columns.axes[0].out, whole = p_.m / kVector * kVector, last = p_.m - kVector;
                transpose(out, step, {t.sums, t.across, t.transposed, p_.n, whole});
                if (whole < p_.m) transpose(out + last, step, {t.sums, t.across, t.transposed + last, p_.n, kVector});
                return;
            }
        for (std::int64_t i = 0; i < p_.m; ++i) {
            auto* to = reinterpret_cast<std::byte*>(out + offset_of(p_.roles.rows, &Axis::out, i));
            store_row(t.sums + i * ld, OutputRow{to, t.columns_out, p_.n, p_.out_type, columns.axes[0].out == 1},
                      t.room);
        }
    }

    const Plan<In, Acc>& plan_;
    const Lowered& p_;
    const bool standard_;
    const std::int64_t nr_, panels_;
    // Rows of A are read in place: along k, or adjacent. Kernels end at the address where k ends, so k has a stride.
    const bool a_along_, a_across_;
    const std::int64_t row_panels_, part_;
    bool in_output_;  // sums are stored there at once
    const bool prefetches_;
    const GeneratedKernel batch_;
};

}  // namespace tenon::product::dense
