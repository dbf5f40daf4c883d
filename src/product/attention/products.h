// The products inside attention, on the micro-kernels and packing of blocked products (dense/kernels.h).
#pragma once

#include <cstring>
#include <optional>
#include <span>

#include "base/by_isa.h"
#include "product/attention/kernels.h"
#include "product/attention/law.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile.h"
#include "product/float_environment.h"
#include "tape/kernels.h"

namespace tenon::product::attention {

using dense::ceil_div;
using dense::Write;

inline std::int64_t round_up(std::int64_t n, std::int64_t to) { return ceil_div(n, to) * to; }

/// The kernels that multiply a stored type.
template <class In, class Acc>
struct KernelChoice {
    const dense::KernelSet<In, Acc>* set;
    dense::Source source;
    const Passes<Acc>* passes;
    dense::PackLines<In> tile_lines;  // packs what the passes stored
    bool pairs;  // the bfloat16 law by widened elements: k is even
    Subnormals subnormals;  // in products
};

/// Packed columns of a right operand: panels of nr columns, each [k][nr].
template <class In>
struct Panels {
    In* data;
    std::int64_t stride;  // from one panel to the next
};

/// Lines of memory that will be read or written later, for the kernels of earlier products to prefetch: of some rows
/// each.
class PrefetchQueue {
  public:
    void clear() { count_ = at_ = 0; }
    void add(const void* first, std::int64_t rows, std::int64_t bytes, std::int64_t step) {
        if (count_ == kMost) return;
        lines_[count_] = dense::lines_of(first, rows, bytes, step);
        lines_[count_++].spread = true;
    }
    /// What to prefetch next; null if nothing is left.
    dense::PrefetchLines* next() {
        while (at_ < count_ && lines_[at_].left <= 0) ++at_;
        return at_ < count_ ? &lines_[at_] : nullptr;
    }

  private:
    static constexpr int kMost = 8;
    dense::PrefetchLines lines_[kMost];
    int count_ = 0, at_ = 0;
};

/// Rows of a left operand, no more than a kernel takes; the columns that they meet, from the beginning of a panel; and
/// the groups of k that are summed.
struct Band {
    Range rows, columns, k;
};

/// The environment of a product inside that of a task, which keeps subnormals. If the product keeps them too, nothing
/// is read or set, because that would wait for all earlier arithmetic.
class ProductEnvironment {
  public:
    explicit ProductEnvironment(Subnormals subnormals) {
        if (subnormals == Subnormals::flush) flush_.emplace(subnormals);
    }

  private:
    std::optional<FloatEnvironment> flush_;
};

/// Code that runs for each kernel has no divisions: one takes as long as some 30 multiply-adds.
template <class T, class In>
class Products {
  public:
    using Acc = Sum<T>;

    explicit Products(const KernelChoice<In, Acc>& choice)
        : choice_(choice),
          set_(*choice.set),
          shift_(set_.group == 2 ? 1 : 0),
          mr_(set_.standard.mr),
          nr_(set_.standard.nr) {}

    std::int64_t mr() const { return mr_; }
    std::int64_t nr() const { return nr_; }
    const Passes<Acc>& passes() const { return *choice_.passes; }
    /// How many elements of In hold k stored elements.
    std::int64_t groups(std::int64_t k) const { return choice_.pairs ? round_up(k, 2) : (k + shift_) >> shift_; }
    /// The distance between packed lines of k, in elements of In: whole vectors, and one more to keep lines out of each
    /// other's cache sets.
    std::int64_t line_pitch(std::int64_t k) const { return round_up(groups(k), kLanes) + kLanes; }
    /// Stored elements in the place of one sum of a tile.
    std::int64_t elements_per_sum() const { return set_.group; }
    std::int64_t panel_stride(std::int64_t k) const { return groups(k) * nr(); }
    std::int64_t panels_size(std::int64_t columns, std::int64_t k) const {
        return ceil_div(columns, nr()) * panel_stride(k);
    }

    void lines(In* dst, const T* src, const std::int64_t* line_offsets, const std::int64_t* k_offsets,
               std::int64_t count, std::int64_t k) const {
        set_.lines[static_cast<int>(choice_.source)](dst, line_pitch(k), {src, line_offsets, k_offsets, count, k});
    }
    /// Packs a tile that the passes stored: its rows are k, its columns become lines. Offsets count the elements of a
    /// tile's row: elements of T if In is a group of them.
    void tile_lines(In* dst, const Acc* tile, const std::int64_t* line_offsets, const std::int64_t* k_offsets,
                    std::int64_t count, std::int64_t k) const {
        choice_.tile_lines(dst, line_pitch(k), {tile, line_offsets, k_offsets, count, k});
        if (choice_.pairs && k % 2 == 1)
            for (std::int64_t i = 0; i < count; ++i) dst[i * line_pitch(k) + k] = In{};
    }
    Panels<In> across(In* dst, const T* src, const std::int64_t* line_offsets, const std::int64_t* k_offsets,
                      std::int64_t columns, std::int64_t k) const {
        const std::int64_t n = nr(), stride = panel_stride(k);
        for (std::int64_t j = 0; j < columns; j += n) {
            In* panel = dst + j / n * stride;
            set_.across[static_cast<int>(choice_.source)](
                panel, n, {src, line_offsets + j, k_offsets, std::min(n, columns - j), k});
            if (choice_.pairs && k % 2 == 1) std::fill_n(panel + k * n, n, In{});
        }
        return {dst, stride};
    }

    /// Whether all that was packed across is finite: `columns` of k elements.
    bool all_finite(const Panels<In>& x, std::int64_t columns, std::int64_t k) const {
        const std::int64_t n = nr(), all = groups(k);
        bool finite = true;
        for (std::int64_t j = 0; finite && j < columns; j += n) {
            const In* const panel = x.data + j / n * x.stride;
            if (columns - j >= n) {
                finite = passes().finite(panel, all * n);
                continue;
            }
            // Columns beyond the last are not defined.
            for (std::int64_t g = 0; g < all; ++g) finite = passes().finite(panel + g * n, columns - j) && finite;
        }
        return finite;
    }

    /// c = a b or c += a b. `b` already begins at the first k, and kc counts groups. With more than one block of
    /// contract.h, sums are added.
    void multiply(const In* a, std::int64_t lda, std::int64_t rows, const Panels<In>& b, std::int64_t columns,
                  std::int64_t kc, Acc* c, std::int64_t ldc, Write write, PrefetchQueue& wanted) const {
        const ProductEnvironment environment(choice_.subnormals);
        const std::int64_t parts = rows <= mr_ ? 1 : ceil_div(rows, mr_);
        const In* panel = b.data;
        dense::Block to = block_of(lda, ldc, kc, write);
        for (std::int64_t j = 0; j < columns; j += nr_, panel += b.stride)
            for (std::int64_t i = 0; i < parts; ++i) {
                const Range part = parts == 1 ? Range{0, rows} : dense::part(rows, parts, i);
                to.columns = columns - j, to.lines = wanted.next();
                multiply_panel(to, a + part.begin * lda, part.size(), panel, kc, c + part.begin * ldc + j);
            }
    }

    /// The same for bands of rows, each with its own columns and groups of k; the rest of c is unchanged.
    void multiply(const In* a, std::int64_t lda, std::span<const Band> bands, const Panels<In>& b, Acc* c,
                  std::int64_t ldc, Write write, PrefetchQueue& wanted) const {
        const ProductEnvironment environment(choice_.subnormals);
        std::int64_t columns = 0;
        for (const Band& band : bands) columns = std::max(columns, band.columns.end);
        const In* panel = b.data;
        dense::Block to = block_of(lda, ldc, 0, write);
        for (std::int64_t j = 0; j < columns; j += nr_, panel += b.stride)
            for (const Band& band : bands)
                if (band.columns.begin <= j && j < band.columns.end) {
                    to.kc = std::min(band.k.size(), kBlockK >> shift_);
                    to.columns = band.columns.end - j, to.lines = wanted.next();
                    multiply_panel(to, a + band.rows.begin * lda + band.k.begin, band.rows.size(),
                                   panel + band.k.begin * nr_, band.k.size(), c + band.rows.begin * ldc + j);
                }
    }

    /// Whether the following products have kernels.
    bool has_in_place() const {
        const auto source = static_cast<int>(choice_.source);
        return set_.dot[source][dense::kDotRows - 1] && (kStored || set_.sweep[source][dense::kDotRows - 1]);
    }
    /// c = a b, with b's columns of k contiguous elements each, read in place. Offsets are those of the columns.
    void multiply_along(const In* a, std::int64_t lda, std::int64_t rows, const T* b, const std::int64_t* offsets,
                        std::int64_t columns, std::int64_t k, Acc* c, std::int64_t ldc) const {
        const ProductEnvironment environment(choice_.subnormals);
        for (std::int64_t i = 0; i < rows; i += dense::kDotRows) {
            const std::int64_t some = std::min<std::int64_t>(dense::kDotRows, rows - i);
            for (std::int64_t first = 0; first < k; first += kBlockK)
                set_.dot[static_cast<int>(choice_.source)][some - 1](
                    {std::min(kBlockK, k - first), a + i * lda + first / set_.group,
                     lda * static_cast<std::int64_t>(sizeof(In)), b + first, offsets, columns, c + i * ldc, ldc,
                     first == 0 ? Write::store : Write::add});
        }
    }
    /// c = a b over one block of k, with b's columns adjacent in memory and read in place: element e of k is at offset
    /// e * step.
    void multiply_across(const In* a, std::int64_t lda, std::int64_t rows, const T* b, const std::int64_t* offsets,
                         std::int64_t columns, std::int64_t k, Acc* c, std::int64_t ldc) const {
        const ProductEnvironment environment(choice_.subnormals);
        const std::int64_t lda_bytes = lda * static_cast<std::int64_t>(sizeof(In));
        if constexpr (kStored) {
            for (std::int64_t j = 0; j < columns; j += nr()) {
                const std::int64_t left = columns - j;
                const auto& family = left <= set_.narrow.nr ? set_.narrow : set_.standard;
                const auto* kernels = left >= family.nr ? family.whole : family.tail;
                for (std::int64_t i = 0; i < rows; i += mr())
                    kernels[std::min(mr(), rows - i) - 1](
                        {k, lda_bytes, k > 1 ? offsets[1] - offsets[0] : 0, ldc, left, Write::store, 0}, a + i * lda,
                        b + j, c + i * ldc + j);
            }
        } else {
            for (std::int64_t i = 0; i < rows; i += dense::kDotRows) {
                const std::int64_t some = std::min<std::int64_t>(dense::kDotRows, rows - i);
                set_.sweep[static_cast<int>(choice_.source)][some - 1](
                    {k, a + i * lda, lda_bytes, b, offsets, columns, c + i * ldc, ldc});
            }
        }
    }

  private:
    /// What all kernels of a product share, once: a kernel that reads right away what was stored for it just before, in
    /// other pieces, waits until the stores of the kernel before have ended (a product of 64 elements of k: a tenth of
    /// its time).
    dense::Block block_of(std::int64_t lda, std::int64_t ldc, std::int64_t kc, Write write) const {
        return {std::min(kc, kBlockK >> shift_),
                lda * static_cast<std::int64_t>(sizeof(In)),
                nr_,
                ldc,
                0,
                write,
                0,
                nullptr,
                0,
                true};
    }

    /// Rows that one kernel takes, with a panel of columns; `to` is of the first block of k.
    void multiply_panel(const dense::Block& to, const In* a, std::int64_t rows, const In* panel, std::int64_t groups,
                        Acc* c) const {
        const auto& family = to.columns <= set_.narrow.nr ? set_.narrow : set_.standard;
        const auto kernel = (to.columns >= family.nr ? family.whole : family.tail)[rows - 1];
        kernel(to, a, panel, c);
        const std::int64_t block = kBlockK >> shift_;
        if (groups <= block) return;
        dense::Block next = to;
        next.write = Write::add;
        for (std::int64_t k = block; k < groups; k += block) {
            next.kc = std::min(block, groups - k);
            kernel(next, a + k, panel + k * nr_, c);
        }
    }

    /// Elements are stored as the kernels read them.
    static constexpr bool kStored = std::is_same_v<T, In>;

    KernelChoice<In, Acc> choice_;
    const dense::KernelSet<In, Acc>& set_;
    int shift_;  // log2 of the stored elements in a group, 0 to 2
    std::int64_t mr_, nr_;
};

inline const IsaPasses& passes_of(Isa isa) { return TENON_BY_ISA(isa, kPasses); }

/// Calls f(Products<T, In>) for the dtype and the instruction set in use. `few`: keys and values are read in place once
/// or twice, so that the product waits for memory.
template <class F>
void with_products(DType dtype, bool few, F f) {
    using dense::Source;
    const dense::IsaKernels& kernels = dense::kernels_of(isa());
    const IsaPasses& passes = passes_of(isa());
    const auto same = static_cast<int>(Source::same);
    if (dtype == DType::float64)
        return f(Products<double, double>(
            {&kernels.f64, Source::same, &passes.f64, kernels.f64.lines[same], false, Subnormals::keep}));
    if (dtype == DType::float32)
        return f(Products<float, float>(
            {&kernels.f32, Source::same, &passes.f32, kernels.f32.lines[same], false, Subnormals::keep}));
    const auto brain = static_cast<int>(Source::bfloat16);
#if defined(__x86_64__)
    if (dense::multiplies_pairs() || (few && dense::uses_dot_instructions())) {
        const auto& set = dense::avx512_dot::kKernels.bf16;
        return f(Products<bfloat16, std::uint32_t>(
            {&set, Source::bfloat16, &avx512_dot::kPasses, set.lines[brain], false, Subnormals::flush}));
    }
#endif
    f(Products<bfloat16, float>(
        {&kernels.bf16, Source::bfloat16, &passes.bf16, kernels.f32.lines[same], true, Subnormals::flush}));
}

/// The offsets i * stride.
inline std::vector<std::int64_t> offsets(std::int64_t n, std::int64_t stride) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) all[static_cast<std::size_t>(i)] = i * stride;
    return all;
}

/// Rounds a row of sums to the dtype and stores it with a stride.
template <class T>
void store_row(T* to, std::int64_t step, const Sum<T>* from, std::int64_t n) {
    if constexpr (std::is_same_v<T, Sum<T>>) {
        if (step == 1) {
            std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
            return;
        }
    } else {
        if (step == 1) {
            const void* in[] = {from};
            tape::kernels().cast[static_cast<int>(DType::float32)][static_cast<int>(DType::bfloat16)](to, in, n);
            return;
        }
    }
    for (std::int64_t i = 0; i < n; ++i) to[i * step] = rounded<T>(from[i]);
}

}  // namespace tenon::product::attention
