#include "product/chain/rows.h"

#include <algorithm>
#include <type_traits>

#include "base/caches.h"
#include "base/parallel.h"
#include "product/chain/cost.h"
#include "product/chain/kernel_sets.h"
#include "product/dense/blocked.h"
#include "product/dense/generated.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"
#include "product/dense/units.h"
#include "product/float_environment.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

using dense::ceil_div;

/// Bytes of z in a block; the block's parts of x and of the output share L2 with it.
std::int64_t rows_bytes() { return caches().l2 / 8; }
/// A kept intermediate of at least this size is not in L2, and its lines are prefetched: with 8 MB that takes 0.95 of
/// the time, with 2 MB it would take 1.03.
constexpr std::int64_t kFarKept = 4 << 20;
/// The most steps of k for which a kernel of two vectors is written at run time.
constexpr std::int64_t kShortK = 16;
constexpr std::int64_t kTasksPerThread = 4;
/// Multiply-adds for each weight from which packing it pays.
constexpr std::int64_t kMinUses = 48;

const char* fill(RowsForm& form, const Chain& chain) {
    const Intermediate& m = *form.intermediate;
    if (m.declines) return m.declines;
    const DType t = chain.a.dtype;
    const bool brain = t == DType::bfloat16;
    if (brain ? !dense::multiplies_pairs() && !cross_kernels().bf16.round : t != DType::float32 && t != DType::float64)
        return "no kernels for this dtype";
    if (chain.between || chain.epilogue || chain.finish.scales()) return "there is more than the two products";
    if (chain.product != t || chain.c.dtype != t) return "the intermediate has another dtype than the operands";
    if (m.columns.size() != 1) return "the second product's weights have no columns, or several axes of them";
    form.column = m.columns[0];
    const IntermediateAxis* token = nullptr;
    for (const IntermediateAxis& axis : m.axes) {
        if (axis.in_a && axis.in_b) return "the first product is a batch";
        if (!axis.summed() && axis.in_c) return "the second product is a batch";
        // The slowest axis of both products: the rows.
        if (!axis.summed() && (!token || axis.out > token->out)) token = &axis;
    }
    if (!token) return "no axis is a row of both products";
    form.token = *token;
    form.x_is_a = token->in_a;
    std::vector<const IntermediateAxis*> others;
    for (const IntermediateAxis& axis : m.axes)
        if (&axis != token) others.push_back(&axis);
    if (others.empty() || others.size() > 2) return "the intermediate has more axes than rows, lanes and another";
    // The lanes: the output's lanes if the output is contiguous along an axis of z; otherwise the last axis that the
    // second product sums.
    const auto along_output =
        std::find_if(others.begin(), others.end(), [](const auto* axis) { return !axis->summed() && axis->out == 1; });
    form.second_by_token = along_output != others.end();
    if (!form.second_by_token && form.column.out != 1) return "the output runs along none of its axes";
    const auto lane = form.second_by_token
                          ? along_output
                          : std::find_if(others.begin(), others.end(), [&](auto* axis) { return axis->summed(); });
    if (lane == others.end()) return "the second product sums nothing";
    form.lane = **lane;
    others.erase(lane);
    if (!others.empty()) form.other = *others[0];
    if (form.other.extent > 1 && form.other.summed() == form.lane.summed())
        return "both products would have the same axes";
    const AxisList& k1 = m.summed;
    if (k1.size != 1 || k1.axes[0].extent > kBlockK || m.summed_count() > kBlockK) return "a sum is not one block";
    const bool lane_in_x = form.x_is_a ? form.lane.in_a : form.lane.in_b;
    const bool other_in_x = form.x_is_a ? form.other.in_a : form.other.in_b;
    if (form.other.extent > 1 && lane_in_x == other_in_x) return "an operand of the first product has no columns";
    form.first_by_token = lane_in_x;
    const std::int64_t k1_x = form.x_is_a ? k1.axes[0].a : k1.axes[0].b;
    if (form.first_by_token ? form.x(form.lane) != 1 : k1_x != 1) return "x lies neither along k nor along the lanes";
    // All tokens at once need a single step from row to row.
    const std::int64_t n = form.other.extent;
    if (!form.first_by_token && n > 1 && form.x(form.token) != form.x(form.other) * n) return "x's rows have gaps";
    if (!form.second_by_token && n > 1 && form.token.out != form.other.out * n) return "the output's rows have gaps";
    const std::int64_t pitch =
        (n > 1 ? form.x(form.other) : form.x(form.token)) * static_cast<std::int64_t>(size_of(t));
    if (!form.first_by_token && pitch % 4096 == 0) return "x's rows fall on few sets of the nearest cache";
    if (!brain) return nullptr;
    // Two rows of z are a pair of the second product's k.
    if (form.first_by_token || !form.second_by_token) return "the intermediate's rows are no pairs";
    if (k1.axes[0].extent % 2 != 0 || form.other.extent % 2 != 0) return "an odd sum of pairs";
    if (chain.kept_product || chain.kept_intermediate) return "the intermediate is wanted apart";
    return nullptr;
}

/// Lines that are needed soon, prefetched a few at a time between kernels. Those of one token are contiguous.
struct Fetch {
    const char* token = nullptr;
    std::int64_t step = 0, lines = 0, line = 0, tokens = 0, each = 0;
    Fetch* also = nullptr;

    void some() {
        for (std::int64_t n = each; n > 0 && tokens > 0; --n) {
            __builtin_prefetch(token + 64 * line, 0, 2);
            if (++line == lines) line = 0, token += step, --tokens;
        }
        if (also) also->some();
    }
};

/// In holds one element or, if it is narrower than its sum (Acc), two consecutive elements of k.
template <class In, class Acc>
struct RowsPlan {
    static constexpr bool kSame = std::is_same_v<In, Acc>;
    static constexpr std::int64_t kGroup = kSame ? 1 : 2;

    const Chain* chain;
    const RowsForm* form;
    const dense::KernelSet<In, Acc>* kernels;
    const PanelKernel<In>* pairs[2] = {};  // of the first product if it stores pairs
    TransposeLines<In> transpose = nullptr;  // otherwise
    void (*round)(In* x, std::int64_t n) = nullptr;  // if bfloat16 is multiplied as float32: rounds z
    std::int64_t size;  // of a stored element
    dense::Source source = dense::Source::same;
    std::int64_t block, blocks;  // tokens
    std::int64_t k1, k2, other, lanes, z_row;  // k1, k2, other: groups; z_row: from one row of z to the next
    std::int64_t w_pitch, c_pitch;
    In *w, *c;  // [k][column], or [row][k] if the weights are A
};

/// Sums of some rows of A with all columns of B.
template <class In, class Acc>
struct Gemm {
    const dense::KernelSet<In, Acc>& kernels;
    std::int64_t rows, columns, k, a_row, ldb, ldc;  // a_row: bytes
    dense::GeneratedKernel all = nullptr;  // all of it

    /// Written at run time, where columns are one vector, or `two`, and calls are short; else it stays null.
    void generate(bool two) {
        if constexpr (std::is_same_v<In, Acc> && std::is_floating_point_v<In>) {
            const bool are_few =
                columns <= kernels.narrow.nr || (two && columns <= 2 * kernels.narrow.nr && k <= kShortK);
            if (!are_few || k > dense::kMaxGenerated) return;
            constexpr std::int64_t element = sizeof(In);
            dense::Generated g = dense::tiled(element, rows, columns, k);
            g.a_step = a_row, g.b_step = ldb * element, g.c_step = ldc * element;
            dense::spread_rows(g);
            all = dense::generated_kernel(g);
        }
    }

    std::int64_t panels() const { return ceil_div(rows, kernels.standard.mr); }
    std::int64_t calls() const { return all ? 1 : panels() * ceil_div(columns, kernels.standard.nr); }

    void operator()(const In* a, const In* b, Acc* c, Fetch& fetch) const {
        if (all) {
            fetch.some();
            return all(nullptr, a, b, c);
        }
        const auto &standard = kernels.standard, &narrow = kernels.narrow, &half = kernels.half;
        const std::int64_t n = panels(), less = rows / n, more = rows - less * n;
        // Once: the compiler clears it by stores of other sizes than the kernel's loads, which then wait.
        dense::Block block{k, a_row, ldb, ldc, columns, dense::Write::store, 0};
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t here = less + (i < more ? 1 : 0);
            for (std::int64_t j = 0; j < columns; j += standard.nr) {
                fetch.some();
                const std::int64_t left = columns - j;
                const auto& family = left <= half.nr && here <= half.mr       ? half
                                     : left <= narrow.nr && here <= narrow.mr ? narrow
                                                                              : standard;
                const auto kernel = (left >= family.nr ? family.whole : family.tail)[here - 1];
                block.columns = left;
                kernel(block, a, b + j, c + j);
            }
            a = reinterpret_cast<const In*>(reinterpret_cast<const char*>(a) + here * a_row);
            c += here * ldc;
        }
    }
};

template <class In, class Acc>
class RowsBlock {
    using Plan = RowsPlan<In, Acc>;

  public:
    explicit RowsBlock(const Plan& plan)
        : p_(plan),
          form_(*plan.form),
          out_size_(static_cast<std::int64_t>(size_of(plan.chain->out.dtype))),
          rounds_(out_size_ != std::int64_t{sizeof(Acc)}),
          keeps_far_(form_.intermediate->elements * plan.size >= kFarKept),
          x_pitch_(plan.round ? ceil_div(plan.k1, plan.kernels->narrow.nr) * plan.kernels->narrow.nr : 0),
          scratch_(static_cast<std::size_t>(plan.block * plan.other * plan.z_row + 64) * sizeof(In)),
          widened_(plan.round ? static_cast<std::size_t>(plan.other * x_pitch_) * sizeof(In) : 64),
          tile_(rounds_ ? static_cast<std::size_t>(form_.column.extent * plan.lanes) * sizeof(Acc) : 64),
          z_(reinterpret_cast<In*>(scratch_.data())) {
        if (!p_.round) return;
        for (std::int64_t i = 0; i < p_.other; ++i) x_lines_.push_back(i * form_.x(form_.other));
        for (std::int64_t i = 0; i < p_.k1; ++i) x_k_.push_back(i);
    }

    void run(std::int64_t index) {
        const std::int64_t begin = index * p_.block, tokens = std::min(p_.block, form_.token.extent - begin);
        const auto* x = static_cast<const std::byte*>((form_.x_is_a ? p_.chain->a : p_.chain->b).data) +
                        begin * form_.x(form_.token) * p_.size;
        std::byte* out = static_cast<std::byte*>(p_.chain->out.data) + begin * form_.token.out * out_size_;
        const std::int64_t left = form_.token.extent - begin - tokens;
        const std::int64_t x_bytes = form_.x(form_.token) * p_.size, out_bytes = form_.token.out * out_size_;
        // With a small L2 the output only beside a kept intermediate: of 512 rows of 4,096 columns those prefetches
        // take 3 % of the time (Zen 5).
        const bool near = is_near((x_bytes + out_bytes) * form_.token.extent),
                   fetches_out =
                       caches().large_l2() || (!near && (p_.chain->kept_product || p_.chain->kept_intermediate));
        Fetch of_out = fetch_of(out, out_bytes, fetches_out ? tokens : 0, out_span() * out_size_);
        Fetch of_x = fetch_of(x + tokens * x_bytes, x_bytes,
                              !near && index + 1 < p_.blocks ? std::min(tokens, left) : 0, x_span() * p_.size);
        Fetch of_kept = keeps_far_ ? lines_of_kept(begin, tokens) : Fetch{};
        of_out.also = &of_kept;
        first(x, tokens, of_out);
        if (!form_.second_by_token || !keeps_far_) keep(begin, 0, tokens);
        second(out, begin, tokens, of_x);
    }

  private:
    /// Elements from the first to the last of a token.
    std::int64_t x_span() const {
        const Axis& k = form_.intermediate->summed.axes[0];
        std::int64_t span = 1 + (k.extent - 1) * std::abs(form_.x_is_a ? k.a : k.b);
        for (const IntermediateAxis* axis : {&form_.other, &form_.lane})
            span += (axis->extent - 1) * std::abs(form_.x(*axis));
        return span;
    }
    std::int64_t out_span() const {
        std::int64_t span = 1 + (form_.column.extent - 1) * std::abs(form_.column.out);
        for (const IntermediateAxis* axis : {&form_.other, &form_.lane})
            span += (axis->extent - 1) * std::abs(axis->out);
        return span;
    }
    static Fetch fetch_of(const std::byte* first, std::int64_t step, std::int64_t tokens, std::int64_t span) {
        return {reinterpret_cast<const char*>(first), step, ceil_div(span, 64), 0, tokens, 0};
    }
    static void spread(Fetch& fetch, std::int64_t calls) {
        fetch.each = ceil_div(fetch.tokens * fetch.lines, std::max<std::int64_t>(calls, 1));
        if (fetch.also) spread(*fetch.also, calls);
    }
    /// Where the first product is kept, if each token's part is one run of memory.
    Fetch lines_of_kept(std::int64_t begin, std::int64_t tokens) const {
        const View* kept = p_.chain->kept_product;
        if (!kept) return {};
        const auto step = [](const IntermediateAxis& axis) { return std::abs(axis.kept[0]); };
        const std::int64_t span =
            1 + (form_.other.extent - 1) * step(form_.other) + (form_.lane.extent - 1) * step(form_.lane);
        if (span > form_.other.extent * form_.lane.extent) return {};
        const std::int64_t token = form_.token.kept[0] * p_.size;
        return fetch_of(static_cast<const std::byte*>(kept->data) + begin * token, token, tokens, span * p_.size);
    }

    void first(const std::byte* x, std::int64_t tokens, Fetch& fetch) const {
        const Axis& k = form_.intermediate->summed.axes[0];
        const auto* elements = reinterpret_cast<const In*>(x);
        const std::int64_t step = (form_.other.extent > 1 ? form_.x(form_.other) : form_.x(form_.token)) * p_.size;
        if constexpr (!Plan::kSame) {
            first_in_pairs(x, step, tokens * p_.other, fetch);
        } else if (p_.round) {
            first_widened(x, tokens, fetch);
        } else if (form_.first_by_token) {
            Gemm<In, Acc> gemm{
                *p_.kernels, p_.other, p_.lanes, p_.k1, p_.w_pitch * std::int64_t{sizeof(In)}, form_.x_is_a ? k.a : k.b,
                p_.z_row};
            gemm.generate(false);
            spread(fetch, tokens * gemm.calls());
            for (std::int64_t t = 0; t < tokens; ++t) gemm(p_.w, elements + t * form_.x(form_.token), z_of(t), fetch);
        } else {
            Gemm<In, Acc> of_token{*p_.kernels, p_.other, p_.lanes, p_.k1, step, p_.w_pitch, p_.z_row};
            of_token.generate(false);
            if (of_token.all && p_.other > 1) {
                spread(fetch, tokens);
                for (std::int64_t t = 0; t < tokens; ++t)
                    of_token(elements + t * form_.x(form_.token), p_.w, z_of(t), fetch);
                return;
            }
            const Gemm<In, Acc> gemm{*p_.kernels, tokens * p_.other, p_.lanes, p_.k1, step, p_.w_pitch, p_.z_row};
            spread(fetch, gemm.calls());
            gemm(elements, p_.w, z_, fetch);
        }
    }

    /// Widens a token's rows to float32, which stay in the nearest cache, and rounds their sums.
    void first_widened(const std::byte* x, std::int64_t tokens, Fetch& fetch) const {
        auto* const wide = reinterpret_cast<In*>(widened_.data());
        const Gemm<In, Acc> gemm{*p_.kernels, p_.other, p_.lanes, p_.k1, x_pitch_ * std::int64_t{sizeof(In)},
                                 p_.w_pitch,  p_.z_row};
        spread(fetch, tokens * gemm.calls());
        for (std::int64_t t = 0; t < tokens; ++t, x += form_.x(form_.token) * p_.size) {
            p_.kernels->lines[static_cast<int>(p_.source)](wide, x_pitch_,
                                                           {x, x_lines_.data(), x_k_.data(), p_.other, p_.k1});
            if constexpr (Plan::kSame) {
                gemm(wide, p_.w, z_of(t), fetch);
                p_.round(z_of(t), p_.other * p_.z_row);
            }
        }
    }

    /// Pairs of rows, whole vectors of columns: z has room for them.
    void first_in_pairs(const std::byte* x, std::int64_t step, std::int64_t pairs, Fetch& fetch) const {
        constexpr std::int64_t kMost = kPanelRows / 2, kChunk = kPanelBytes / std::int64_t{sizeof(In)};
        const std::int64_t vector = p_.kernels->narrow.nr, panels = ceil_div(pairs, kMost);
        PrefetchLines none;
        const PanelBlock block{p_.k1, 2 * step, step, p_.w_pitch, 0, kChunk, p_.z_row, 0, &none};
        spread(fetch, panels * ceil_div(p_.lanes, 2 * vector));
        for (std::int64_t i = 0; i < panels; ++i) {
            const dense::Range part = dense::part(pairs, panels, i);
            for (std::int64_t j = 0; j < p_.lanes; j += 2 * vector) {
                fetch.some();
                p_.pairs[p_.lanes - j > vector ? 1 : 0][part.size() - 1](
                    block, reinterpret_cast<const In*>(x + part.begin * 2 * step), p_.w + j,
                    z_ + part.begin * p_.z_row + j);
            }
        }
    }

    /// Keeps tokens from index t of the block, which begins at `begin`.
    void keep(std::int64_t begin, std::int64_t t, std::int64_t tokens) const {
        for (const Kept which : {Kept::product, Kept::intermediate}) {
            const View* kept = kept_view(*p_.chain, which);
            if (!kept || keep_transposed(*kept, which, begin, t, tokens)) continue;
            KeptPart part;
            part.add(tokens, p_.other * p_.z_row, form_.token, which);
            part.add(p_.other, p_.z_row, form_.other, which);
            part.add(p_.lanes, 1, form_.lane, which);
            part.copy(*kept, (begin + t) * form_.token.kept[static_cast<std::size_t>(which)], z_of(t));
        }
    }

    /// If the other axis is the fastest, in squares of vectors. Returns false if these do not fit.
    bool keep_transposed([[maybe_unused]] const View& kept, [[maybe_unused]] Kept which,
                         [[maybe_unused]] std::int64_t begin, [[maybe_unused]] std::int64_t t,
                         [[maybe_unused]] std::int64_t tokens) const {
        if constexpr (Plan::kSame) {
            const auto at = static_cast<std::size_t>(which);
            if (form_.other.kept[at] != 1 || p_.other % p_.kernels->narrow.nr != 0) return false;
            auto* to = static_cast<In*>(kept.data) + (begin + t) * form_.token.kept[at];
            for (const std::int64_t end = t + tokens; t < end; ++t, to += form_.token.kept[at])
                p_.transpose(to, form_.lane.kept[at], z_of(t), p_.z_row * std::int64_t{sizeof(In)}, p_.other, p_.lanes);
            return true;
        }
        return false;
    }
    In* z_of(std::int64_t t) const { return z_ + t * p_.other * p_.z_row; }

    void second(std::byte* out, std::int64_t begin, std::int64_t tokens, Fetch& fetch) const {
        if (form_.second_by_token) {
            const std::int64_t ldc = rounds_ ? p_.lanes : form_.column.out;
            Gemm<In, Acc> gemm{
                *p_.kernels, form_.column.extent, p_.lanes, p_.k2, p_.c_pitch * std::int64_t{sizeof(In)}, p_.z_row,
                ldc};
            if (!p_.round) gemm.generate(!dense::units().three_loads);
            spread(fetch, tokens * gemm.calls());
            for (std::int64_t t = 0; t < tokens; ++t, out += form_.token.out * out_size_) {
                gemm(p_.c, z_of(t), reinterpret_cast<Acc*>(rounds_ ? tile_.data() : out), fetch);
                if (rounds_) round_rows(out);
                if (keeps_far_) keep(begin, t, 1);
            }
            return;
        }
        if constexpr (Plan::kSame) {
            const std::int64_t step = p_.other > 1 ? form_.other.out : form_.token.out;
            const Gemm<In, Acc> gemm{*p_.kernels,
                                     tokens * p_.other,
                                     form_.column.extent,
                                     p_.k2,
                                     p_.z_row * std::int64_t{sizeof(In)},
                                     p_.c_pitch,
                                     step};
            spread(fetch, gemm.calls());
            gemm(z_, p_.c, reinterpret_cast<Acc*>(out), fetch);
        }
    }

    /// Rounds the tile to the output's dtype.
    void round_rows(std::byte* out) const {
        const tape::Kernel cast =
            tape::kernels().cast[static_cast<int>(dense::sum_type<Acc>())][static_cast<int>(p_.chain->out.dtype)];
        for (std::int64_t i = 0; i < form_.column.extent; ++i) {
            const void* in[] = {reinterpret_cast<const Acc*>(tile_.data()) + i * p_.lanes};
            cast(out + i * form_.column.out * out_size_, in, p_.lanes);
        }
    }

    const Plan& p_;
    const RowsForm& form_;
    const std::int64_t out_size_;
    const bool rounds_;  // a token's sums are rounded to the output
    const bool keeps_far_;  // what is kept is prefetched, and stored token by token
    const std::int64_t x_pitch_;  // of a token's rows as float32
    dense::Scratch scratch_, widened_, tile_;
    In* z_;
    std::vector<std::int64_t> x_lines_, x_k_;
};

/// An operand of one product with `lines` columns: as A [line][k], or as B [k][line].
template <class In, class Acc>
void pack(const RowsPlan<In, Acc>& p, In* to, std::int64_t pitch, const void* from, std::int64_t lines,
          std::int64_t line, std::int64_t k, std::int64_t k_step, bool as_a) {
    std::vector<std::int64_t> line_offsets(static_cast<std::size_t>(lines)), k_offsets(static_cast<std::size_t>(k));
    for (std::int64_t i = 0; i < lines; ++i) line_offsets[static_cast<std::size_t>(i)] = i * line;
    for (std::int64_t i = 0; i < k; ++i) k_offsets[static_cast<std::size_t>(i)] = i * k_step;
    const auto source = static_cast<int>(p.source);
    const dense::PackSource s{from, line_offsets.data(), k_offsets.data(), lines, k};
    as_a ? p.kernels->lines[source](to, pitch, s) : p.kernels->across[source](to, pitch, s);
}

template <class In, class Acc>
void run_with(const Chain& chain, const RowsForm& form, RowsPlan<In, Acc> p, Subnormals subnormals) {
    p.chain = &chain, p.form = &form;
    const std::int64_t vector = p.kernels->narrow.nr;
    const auto up = [&](std::int64_t n) { return ceil_div(n, vector) * vector; };
    const std::int64_t k1 = form.intermediate->summed.count(), k2 = form.intermediate->summed_count();
    p.k1 = ceil_div(k1, p.kGroup), p.k2 = ceil_div(k2, p.kGroup);
    p.other = ceil_div(form.other.extent, p.kGroup), p.lanes = form.lane.extent;
    // Rows of z that are B have no gap; as A they should not share few cache sets. Pairs are stored as whole vectors.
    p.z_row = !p.kSame ? up(p.lanes) : p.lanes % 1024 == 0 ? p.lanes + vector : p.lanes;
    const std::int64_t token_bytes = p.other * p.z_row * std::int64_t{sizeof(In)};
    p.block = std::clamp<std::int64_t>(rows_bytes() / token_bytes, 1, form.token.extent);
    const int threads = num_threads();
    while (threads > 1 && p.block > 1 && ceil_div(form.token.extent, p.block) < kTasksPerThread * threads)
        p.block = ceil_div(p.block, 2);
    p.blocks = ceil_div(form.token.extent, p.block);

    const std::int64_t w_lines = form.first_by_token ? p.other : p.lanes, columns = form.column.extent;
    p.w_pitch = up(form.first_by_token ? p.k1 : w_lines), p.c_pitch = up(form.second_by_token ? p.k2 : columns);
    const std::int64_t w_rows = form.first_by_token ? w_lines : p.k1, c_rows = form.second_by_token ? columns : p.k2;
    // Kernels of pairs read both vectors, whatever the number of columns.
    const std::int64_t w_size = p.w_pitch * w_rows + vector;
    dense::Scratch weights(static_cast<std::size_t>(w_size + p.c_pitch * c_rows) * sizeof(In) + 256);
    p.w = weights.take<In>(w_size), p.c = weights.take<In>(p.c_pitch * c_rows);
    const Axis& of_k1 = form.intermediate->summed.axes[0];
    const IntermediateAxis& summed = form.second_by_token ? form.other : form.lane;
    pack(p, p.w, p.w_pitch, (form.x_is_a ? chain.b : chain.a).data, w_lines,
         form.w(form.first_by_token ? form.other : form.lane), k1, form.x_is_a ? of_k1.b : of_k1.a,
         form.first_by_token);
    pack(p, p.c, p.c_pitch, chain.c.data, columns, form.column.c, k2, summed.c, form.second_by_token);
    parallel_for(p.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(subnormals);
        RowsBlock<In, Acc> block(p);
        for (std::int64_t i = begin; i < end; ++i) block.run(i);
    });
}

}  // namespace

RowsForm rows_form(const Chain& chain, const Intermediate& intermediate) {
    RowsForm form;
    form.intermediate = &intermediate;
    form.unsupported = fill(form, chain);
    if (form.unsupported) return form;
    // A weight of the first product is used for each token and the other axis of x; likewise in the second.
    const std::int64_t first = form.token.extent * (form.first_by_token ? form.lane : form.other).extent,
                       second = form.token.extent * (form.second_by_token ? form.lane : form.other).extent;
    if (std::min(first, second) < kMinUses) form.unprofitable = "too few rows to pay for packing the weights";
    // Of two plain products nothing else is gained. An Emerald Rapids, gradients of rank 64, 64 rows of 256 columns:
    // 0.85 of the speed in one pass.
    const std::int64_t z = intermediate.elements * static_cast<std::int64_t>(size_of(chain.a.dtype));
    if (!form.unprofitable && form.other.extent == 1 && z <= caches().l1)
        form.unprofitable = "the intermediate stays in cache as it is";
    return form;
}

void run_rows(const Chain& chain, const RowsForm& form) {
#if defined(__x86_64__)
    if (chain.a.dtype == DType::bfloat16 && !dense::multiplies_pairs()) {
        RowsPlan<float, float> plan{};
        plan.size = 2;
        plan.kernels = &dense::kernels_of(isa()).bf16, plan.source = dense::Source::bfloat16;
        plan.round = cross_kernels().bf16.round;
        return run_with(chain, form, plan, Subnormals::flush);
    }
    if (chain.a.dtype == DType::bfloat16) {
        RowsPlan<std::uint32_t, float> plan{};
        plan.size = 2;
        plan.kernels = &dense::avx512_dot::kKernels.bf16, plan.source = dense::Source::bfloat16;
        std::copy_n(avx512_dot::kKernels.panel_first, 2, plan.pairs);
        return run_with(chain, form, plan, Subnormals::flush);
    }
#endif
    if (chain.a.dtype == DType::float64) {
        RowsPlan<double, double> plan{};
        plan.size = 8;
        plan.kernels = &dense::kernels_of(isa()).f64, plan.transpose = cross_kernels().f64.transpose;
        return run_with(chain, form, plan, Subnormals::keep);
    }
    RowsPlan<float, float> plan{};
    plan.size = 4;
    plan.kernels = &dense::kernels_of(isa()).f32, plan.transpose = cross_kernels().f32.transpose;
    run_with(chain, form, plan, Subnormals::keep);
}

}  // namespace tenon::product::chain
