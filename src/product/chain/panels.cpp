#include "product/chain/panels.h"

#include <algorithm>
#include <array>

#include "product/chain/cost.h"
#include "product/chain/lanes_plan.h"
#include "product/dense/nontemporal.h"
#include "product/dense/units.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

using dense::ceil_div;
using dense::Write;

/// Tasks for each thread, so that a thread that is held up leaves its share to the others.
constexpr std::int64_t kTasksPerThread = 2;
/// Multiply-adds below which a task is not worth a thread: some 20 us. Two tasks in all would be finished before a
/// sleeping thread is awake.
constexpr std::int64_t kTaskWork = 1 << 20;
/// Bytes of packed weights beyond which a strip reads them from the last level of cache. Each thread then has a single
/// strip, if that is all the work there is.
constexpr std::size_t kNearWeights = std::size_t{1} << 20;
constexpr std::int64_t kHalfRows = kPanelRows / 2;
/// Strips from which these have whole panels, and the last strip what is left.
constexpr std::int64_t kManyStrips = 5;
constexpr std::int64_t kMinRows = 48;  // for each thread
/// The most bytes of a panel. 28 KiB are most of a nearest cache of 32 KiB; on a Zen 4 a panel of twice as much runs at
/// 0.93 of the speed of lanes. Where that cache has 48 KiB and L2 is small and fast, one of 56 KiB takes 0.92 of the
/// time of lanes in float32 (Zen 5, rank 2 of 4,096 columns; 1.04 on two threads) and 0.84 in bfloat16 (rank 4; 0.93).
std::int64_t panel_bytes(bool pairs) {
    const Caches& c = caches();
    const bool large = !c.large_l2() && c.l1 >= 48 << 10 && (pairs || num_threads() == 1);
    return large ? c.l1 * 5 / 4 : 28 << 10;
}
/// For the z of a strip. All weights pass a strip, and what does not stay of a small L2 comes from a last level that is
/// near: rank 2 of 4,096 columns in strips of 28 rows takes 0.97 of the time of 14 rows, rank 4 in bfloat16 0.98 (Zen
/// 5).
std::int64_t panels_strip_bytes() { return caches().large_l2() ? strip_bytes() : caches().l2 / 8 * 7; }
/// Groups of the second product's k in a part: those of 28 KiB of a panel, which stay while all columns of a chunk read
/// them. Rank 2 of 4,096 columns takes 0.96 of the time of whole panels (Zen 5, 512 and 2,048 rows; 128 rows 0.98).
constexpr std::int64_t kPartGroups = 64;
static_assert(kBlockK % (2 * kPartGroups) == 0, "a chain begins with a part, in pairs too");

template <class In, class Acc>
struct PanelsPlan {
    static constexpr std::int64_t kColumns = kPanelBytes / std::int64_t{sizeof(In)};
    /// Elements from one k2 of a panel to the next.
    static constexpr std::int64_t kStep = kPanelRows * kColumns;

    LanesPlan<In, Acc> lanes;
    std::int64_t tokens, strips, panels;  // tokens in a strip; number of strips; panels in a strip
    std::int64_t k2, chunks, columns;  // groups; chunks of z; columns of the first product, rounded up to whole vectors
    std::int64_t k_part;  // of the second product, for all columns of a chunk before what follows
    bool nontemporal;  // the output goes past the caches
    /// What is prefetched: x; and the weights and the output. With a small L2, fast beside the last level, the latter
    /// take 2 to 5 % of the time in float32 and up to 12 % in bfloat16 (Zen 5).
    bool fetches_x, fetches_rest;

    std::int64_t z_panel() const { return k2 * kStep; }
    std::int64_t z_chunk() const { return panels * z_panel(); }
    /// Sums that wait for the next part of k: of a row, and of a chunk's columns.
    std::int64_t sums_row() const { return round_up(lanes.columns, lanes.nr()); }
    std::int64_t sums() const { return k_part < kBlockK ? kColumns * kPanelRows * sums_row() : 0; }
};

/// Whether slices come in pairs that follow each other in what the second product sums, from an even position.
bool are_pairs(const LanesForm& form) {
    const IntermediateAxis& last = form.k2.back();
    if (form.slices.empty() || form.slices.back().z != 1 || last.z != 1 || last.extent % 2 != 0) return false;
    const auto even = [](const IntermediateAxis& axis) { return axis.z % 2 == 0; };
    return std::all_of(form.outer.begin(), form.outer.end(), even) &&
           std::all_of(form.slices.begin(), form.slices.end() - 1, even);
}

const char* unsupported(const LanesForm& form, const Chain& chain) {
    if (form.unsupported) return form.unsupported;
    const DType t = chain.a.dtype;
    const bool brain = t == DType::bfloat16, wide = t == DType::float64;
    if (!brain &&
        !(wide ? cross_kernels().f64.panel_first[0] != nullptr : cross_kernels().f32.panel_first[0] != nullptr))
        return "no kernels for this dtype here";
    if (chain.between || chain.kept_product || chain.kept_intermediate) return "the intermediate is wanted apart";
    const AxisList& k1 = form.intermediate->summed;
    if (k1.size != 1 || k1.axes[0].*form.x_stride() != 1) return "x does not lie along what is summed";
    if (k1.axes[0].extent > kBlockK) return "a sum of several blocks";
    if (brain && k1.axes[0].extent % 2 != 0) return "an odd sum of pairs";
    const bool same_order =
        form.rows.size() == form.f.size() && std::equal(form.rows.begin(), form.rows.end(), form.f.begin(),
                                                        [](const IntermediateAxis& x, const IntermediateAxis& y) {
                                                            return x.z == y.z && x.extent == y.extent;
                                                        });
    if (!same_order) return "the first product's columns are not the second one's batch";
    if (count_of(form.slices) % 2 != 0) return "an odd number of slices";
    if (brain && !are_pairs(form)) return "two slices are no pair of the second product";
    if (chain.out.dtype != (wide ? t : DType::float32) &&
        (!brain || chain.out.dtype != t || count_of(form.k2) > kBlockK))
        return "the sums are rounded apart";
    return nullptr;
}

/// Whether float64 runs in panels rather than in lanes. Zen 5: one thread 0.88 to 0.93 of the time, two 0.88 to 0.91;
/// on two with weights that only the last level holds, which each strip reads again, 1.07. Not measured with a large
/// L2.
bool takes_wide(const LanesForm& form) {
    return !caches().large_l2() && (num_threads() == 1 || form.weights <= caches().l2);
}

const char* unprofitable(const LanesForm& form, const Chain& chain) {
    if (form.too_little && !form.small) return form.too_little;
    // 64 rows of 1,024 columns on two threads run at 0.91 of the speed of separate products, in bfloat16 at 1.1 of it.
    if (chain.a.dtype != DType::bfloat16 && num_threads() > 1 && form.token.extent < kMinRows * num_threads())
        return "too few rows for each thread to pay for packing the weights";
    const bool wide = chain.a.dtype == DType::float64;
    if (wide && !takes_wide(form)) return "lanes are as fast";
    const std::int64_t columns = count_of(form.f), vector = 2 * kPanelBytes / (wide ? 8 : 4);
    if (8 * columns < 7 * round_up(columns, vector)) return "the columns do not fill their vectors";
    const bool pairs = chain.a.dtype == DType::bfloat16 && dense::multiplies_pairs();
    const std::int64_t groups = count_of(form.k2) / (pairs ? 2 : 1);
    if (groups * kPanelRows * kPanelBytes > panel_bytes(pairs)) return "a panel does not stay in the nearest cache";
    return nullptr;
}

/// Whether whole lines of an output are stored that would not stay in the caches.
template <class In, class Acc>
bool nontemporal(const LanesPlan<In, Acc>& p) {
    const View& out = p.chain->out;
    const auto aligned = [&](std::int64_t elements) { return elements % p.kernels.cross.lanes == 0; };
    return out.dtype != DType::bfloat16 && p.k2 <= kBlockK &&
           out.layout.count() * std::int64_t{sizeof(Acc)} >= dense::nontemporal_bytes() &&
           reinterpret_cast<std::uintptr_t>(out.data) % 64 == 0 && aligned(p.form->token.out) && aligned(p.columns) &&
           std::all_of(p.f_out.begin(), p.f_out.end(), aligned);
}

template <class In, class Acc>
PanelsPlan<In, Acc> plan_panels(const Chain& chain, const LanesForm& form, const LanesKernels<In, Acc>& kernels) {
    const int threads = num_threads();
    PanelsPlan<In, Acc> p{
        plan_lanes(chain, form, kernels, threads, 2 * kernels.cross.lanes), 0, 0, 0, 0, 0, 0, 0, false, false, false};
    const std::int64_t n = form.token.extent, f = count_of(form.f), k2 = count_of(form.k2);
    const std::int64_t most = std::clamp<std::int64_t>(
        panels_strip_bytes() * kernels.group / (f * k2 * std::int64_t{sizeof(In)}), kPanelRows, kMaxTokens);
    const std::int64_t work = n * f * k2 * (form.intermediate->summed.count() + form.column.extent);
    const std::int64_t tasks = p.lanes.packed_bytes() > kNearWeights ? 1 : kTasksPerThread;
    const std::int64_t wanted = threads == 1 ? 1 : std::min(tasks * threads, work / kTaskWork);
    p.strips = std::max(ceil_div(n, most), std::min(wanted, ceil_div(n, kHalfRows)));
    // As many for each thread, if they are few: five on two threads would be three for one of them. Monarch of 300 rows
    // of 1,024 columns takes 0.84 of the time in six (Zen 5).
    if (p.strips > threads && p.strips < kManyStrips * threads) p.strips = round_up(p.strips, threads);
    p.tokens = std::max<std::int64_t>(ceil_div(n, std::max<std::int64_t>(p.strips, 1)), 1);
    // Whole panels, where no thread waits for another one's longer strip, and a shorter last strip costs little.
    if (threads == 1 && p.strips >= kManyStrips) p.tokens = most / kPanelRows * kPanelRows;
    p.strips = ceil_div(n, p.tokens);
    p.panels = ceil_div(p.tokens, kPanelRows);
    p.k2 = p.lanes.groups(k2);
    p.columns = round_up(f, kernels.cross.lanes);
    p.chunks = p.columns / PanelsPlan<In, Acc>::kColumns;
    p.k_part = p.k2 <= kPartGroups ? kBlockK : kPartGroups * kernels.group;
    p.nontemporal = nontemporal(p.lanes);
    const auto bytes_of = [](const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); };
    p.fetches_x = !is_near(bytes_of(form.x_is_a ? chain.a : chain.b) + bytes_of(chain.out));
    p.fetches_rest = caches().large_l2();
    return p;
}

template <class In, class Acc>
class PanelsStrip {
    using Plan = PanelsPlan<In, Acc>;

  public:
    explicit PanelsStrip(const Plan& plan, const LanesForm& form)
        : p_(plan),
          form_(form),
          out_size_(static_cast<std::int64_t>(size_of(plan.lanes.chain->out.dtype))),
          widens_(plan.lanes.kernels.cross.widen != nullptr),
          x_pitch_(round_up(plan.lanes.k1, plan.lanes.kernels.cross.lanes)),
          scratch_(static_cast<std::size_t>(plan.chunks * plan.z_chunk()) * sizeof(In) + 256 +
                   static_cast<std::size_t>(plan.sums()) * sizeof(Acc) +
                   (widens_ ? static_cast<std::size_t>(2 * plan.tokens * x_pitch_) * sizeof(In) : 0)),
          z_(scratch_.take<In>(plan.chunks * plan.z_chunk())) {
        if (widens_) widened_ = scratch_.take<In>(2 * plan.tokens * x_pitch_);
        if (plan.sums() > 0) sums_ = scratch_.take<Acc>(plan.sums());
        std::fill_n(sums_, plan.sums(), Acc(0));  // beyond the columns, too
    }

    void run(std::int64_t strip) {
        const std::int64_t token = strip * p_.tokens;
        tokens_ = std::min(p_.tokens, form_.token.extent - token);
        cut_panels();
        const Chain& chain = *p_.lanes.chain;
        x_ = static_cast<const std::byte*>((form_.x_is_a ? chain.a : chain.b).data) +
             token * form_.x(form_.token) * size();
        out_ = static_cast<std::byte*>(chain.out.data) + token * form_.token.out * out_size_;
        first_product();
        second_product();
        if (p_.nontemporal) dense::store_fence();
    }

  private:
    std::int64_t size() const { return p_.lanes.size; }
    const dense::Range& tokens_of(std::int64_t panel) const { return cut_[static_cast<std::size_t>(panel)]; }
    /// Divisions take as long as a short kernel's steps.
    void cut_panels() {
        panels_ = ceil_div(tokens_, kPanelRows), halves_ = 0;
        for (std::int64_t i = 0; i < panels_; ++i) {
            const dense::Range panel = cut_[static_cast<std::size_t>(i)] = dense::part(tokens_, panels_, i);
            const std::int64_t n = ceil_div(panel.size(), kHalfRows);
            for (std::int64_t h = 0; h < n; ++h) {
                const dense::Range half = dense::part(panel.size(), n, h);
                half_[static_cast<std::size_t>(halves_++)] = {panel.begin + half.begin,
                                                              i * p_.z_panel() + half.begin * Plan::kColumns,
                                                              static_cast<std::size_t>(half.size())};
            }
        }
    }

    /// Bytes prefetched at each step: two lines, or one if a step takes half the time. With more, the kernel's reads
    /// from L2 would wait behind lines from the last level.
    static std::int64_t step_bytes() { return dense::units().two_fma_units ? 64 : 128; }
    /// The lines of `row_bytes` in each of some rows.
    static PrefetchLines lines_of(const std::byte* first, std::int64_t step, std::int64_t rows,
                                  std::int64_t row_bytes) {
        const std::int64_t bytes = step_bytes();
        return {reinterpret_cast<const char*>(first), step,      bytes - rows * step, rows, rows,
                rows * ceil_div(row_bytes, bytes),    bytes - 64};
    }
    const std::byte* slice(std::size_t s) const { return x_ + p_.lanes.slice_x[s] * size(); }
    PrefetchLines lines_of_slice(std::size_t s) const {
        return lines_of(slice(s), form_.x(form_.token) * size(), tokens_, p_.lanes.k1 * size());
    }

    /// The lines of contiguous elements.
    static PrefetchLines lines_of(const In* first, const In* end) {
        const std::int64_t bytes = step_bytes(), all = (end - first) * std::int64_t{sizeof(In)};
        const std::int64_t steps = end > first ? all / bytes : 0;
        return {reinterpret_cast<const char*>(first), bytes, 0, steps + 1, steps + 1, steps, bytes - 64};
    }
    /// The first product's weights of slices s and s + 1.
    PrefetchLines lines_of_weights(std::size_t s) const {
        const LanesPlan<In, Acc>& p = p_.lanes;
        if (!p_.fetches_rest || s + 1 >= p.slice_w.size() || p.slice_w[s + 1] != p.slice_w[s] + 1) return {};
        const In* const w = p.w + p.slice_w[s] * p.w_slice;
        return lines_of(w, w + 2 * p.w_slice);
    }
    /// The second product's weights from f to end.
    PrefetchLines lines_of_weights(std::int64_t f, std::int64_t end) const {
        const LanesPlan<In, Acc>& p = p_.lanes;
        const std::int64_t last = std::min(end, static_cast<std::int64_t>(p.f_c.size())) - 1;
        if (!p_.fetches_rest || last < f) return {};
        const std::int64_t first = p.f_c[static_cast<std::size_t>(f)];
        if (p.f_c[static_cast<std::size_t>(last)] - first != last - f) return {};
        return lines_of(p.c + first * p.c_slice, p.c + (first + last - f + 1) * p.c_slice);
    }

    void first_product() {
        const LanesPlan<In, Acc>& p = p_.lanes;
        const std::int64_t row = form_.x(form_.token) * size();
        for (std::size_t s = 0; s < p.slice_x.size(); s += 2) {
            // Both halves of what is used two slices later.
            const bool fetches = p_.fetches_x && s + 2 < p.slice_x.size();
            PrefetchLines ahead = fetches ? lines_of_slice(s + 2) : PrefetchLines{};
            if (fetches && p.slice_x[s + 3] - p.slice_x[s + 2] == p.k1)
                ahead = lines_of(slice(s + 2), row, tokens_, 2 * p.k1 * size());
            const In* w = p.w + p.slice_w[s] * p.w_slice;
            const std::int64_t k2 = p.slice_z[s] / p.pitch;
            PanelBlock block{
                p.groups(p.k1),
                widens_ ? x_pitch_ * std::int64_t{sizeof(In)} : row,
                widens_ ? tokens_ * x_pitch_ * std::int64_t{sizeof(In)} : (p.slice_x[s + 1] - p.slice_x[s]) * size(),
                0,
                (p.slice_w[s + 1] - p.slice_w[s]) * p.w_slice,
                p_.z_chunk(),
                Plan::kColumns,
                (p.slice_z[s + 1] - p.slice_z[s]) / p.pitch * Plan::kStep,
                &ahead};
            const std::byte* x = slice(s);
            if (widens_) x = widen(s, block);
            PrefetchLines weights =
                s + 2 < p.slice_x.size() ? lines_of_weights(s + 2) : lines_of_weights(0, Plan::kColumns);
            for (const std::int64_t outer : p.outer_z) {
                In* z = z_ + (k2 + outer / p.pitch) / p.kernels.group * Plan::kStep;
                if (widens_) z += Plan::kStep;
                multiply_slices(block, x, w, z, ahead, weights);
                w += p.w_padded * block.kc;
            }
        }
    }

    /// Slices s and s + 1 as the kernels read them; the odd one's sums come first.
    const std::byte* widen(std::size_t s, PanelBlock& block) const {
        const LanesPlan<In, Acc>& p = p_.lanes;
        for (std::size_t i = 0; i < 2; ++i)
            p.kernels.cross.widen(widened_ + static_cast<std::int64_t>(i) * tokens_ * x_pitch_, x_pitch_, slice(s + i),
                                  form_.x(form_.token) * size(), tokens_, p.k1);
        block.z_slice = -block.z_slice;
        return reinterpret_cast<const std::byte*>(widened_);
    }

    void multiply_slices(PanelBlock& block, const std::byte* x, const In* w, In* z, PrefetchLines& ahead,
                         PrefetchLines& weights) const {
        const auto& cross = p_.lanes.kernels.cross;
        for (std::int64_t j = 0; j < p_.columns; j += 2 * cross.lanes) {
            const bool two = p_.columns - j > cross.lanes;
            const auto* kernels = cross.panel_first[two ? 1 : 0];
            block.w_row = two ? 2 * cross.lanes : cross.lanes;
            In* const chunk = z + j / Plan::kColumns * p_.z_chunk();
            for (std::int64_t i = 0; i < halves_; ++i) {
                const Half& half = half_[static_cast<std::size_t>(i)];
                block.ahead = ahead.left > 0 ? &ahead : &weights;
                kernels[half.rows - 1](block, reinterpret_cast<const In*>(x + half.token * block.row), w + j * block.kc,
                                       chunk + half.z);
            }
        }
    }

    void second_product() {
        const auto f_end = static_cast<std::int64_t>(p_.lanes.f_z.size());
        // Once: the compiler clears it by stores of other sizes than the kernel's loads, which then wait.
        CrossBlock<In, Acc> block{0, Plan::kStep, 0, form_.token.out, 0, Write::store, nullptr, p_.nontemporal};
        for (std::int64_t f = 0; f < f_end; f += Plan::kColumns) {
            PrefetchLines weights = lines_of_weights(f + Plan::kColumns, f + 2 * Plan::kColumns);
            for (std::int64_t i = 0; i < panels_; ++i) {
                const dense::Range& tokens = tokens_of(i);
                const In* z = z_ + f / Plan::kColumns * p_.z_chunk() + i * p_.z_panel();
                for (std::int64_t k = 0; k < p_.lanes.k2; k += p_.k_part)
                    for (std::int64_t g = f; g < std::min(f + Plan::kColumns, f_end); ++g)
                        multiply(block, z + g - f, g, k, i, tokens, weights);
            }
        }
    }

    std::byte* output(std::int64_t f, std::int64_t token) const {
        return out_ + (token * form_.token.out + p_.lanes.f_out[static_cast<std::size_t>(f)]) * out_size_;
    }

    /// One f of the second product for a panel of tokens, from k on. A chain that is not at its end waits in sums_.
    void multiply(CrossBlock<In, Acc>& block, const In* z, std::int64_t f, std::int64_t k, std::int64_t panel,
                  const dense::Range& tokens, PrefetchLines& weights) const {
        const LanesPlan<In, Acc>& p = p_.lanes;
        const auto& cross = p.kernels.cross;
        const std::int64_t at = k / p.kernels.group, k_end = std::min(k + p_.k_part, p.k2);
        const bool begins = k % kBlockK == 0, ends = k_end == p.k2 || k_end % kBlockK == 0;
        const bool narrow = ends && out_size_ != std::int64_t{sizeof(Acc)};
        const auto *const *whole = narrow ? cross.panel_narrow : cross.panel_whole, *const *tail =
                                                                                        narrow ? cross.panel_narrow_tail
                                                                                               : cross.panel_tail;
        const In* const c = p.c + p.f_c[static_cast<std::size_t>(f)] * p.c_slice;
        Acc* const sums = begins && ends ? nullptr : sums_ + f % Plan::kColumns * kPanelRows * p_.sums_row();
        std::byte* const out = ends ? output(f, tokens.begin) : reinterpret_cast<std::byte*>(sums);
        const std::int64_t element = ends ? out_size_ : std::int64_t{sizeof(Acc)};
        PrefetchLines ahead = ends ? lines_ahead(f, panel) : PrefetchLines{};
        block.kc = p.groups(k_end - k), block.write = k < kBlockK || !ends ? Write::store : Write::add;
        block.ldc = ends ? form_.token.out : p_.sums_row(), block.nontemporal = ends && p_.nontemporal;
        block.before_row = p_.sums_row();
        for (std::int64_t j = 0; j < p.columns; j += p.nr()) {
            block.columns = p.columns - j, block.before = begins ? nullptr : sums + j;
            block.ahead = ahead.left > 0 ? &ahead : &weights;
            const int vectors = block.columns > cross.lanes ? 2 : 1;
            block.ldb = vectors * cross.lanes;
            const bool half = cross.panel_half && !narrow && 2 * block.columns <= cross.lanes;
            const auto kernel =
                half ? cross.panel_half[tokens.size() - 1]
                     : (block.columns >= vectors * cross.lanes ? whole : tail)[vectors - 1][tokens.size() - 1];
            kernel(block, z + at * Plan::kStep, c + j * p_.k2 + at * block.ldb,
                   reinterpret_cast<Acc*>(out + j * element));
        }
    }

    /// The lines of the output that are written two steps later.
    PrefetchLines lines_ahead(std::int64_t f, std::int64_t panel) const {
        if (!p_.fetches_rest || p_.nontemporal) return {};
        const auto f_end = static_cast<std::int64_t>(p_.lanes.f_z.size());
        const std::int64_t first = f / Plan::kColumns * Plan::kColumns, end = std::min(first + Plan::kColumns, f_end);
        f += 2;
        if (f >= end) {
            f = first + f - end;
            if (++panel == panels_) panel = 0, f += Plan::kColumns;
            if (f >= f_end) return {};
        }
        const dense::Range tokens = tokens_of(panel);
        return lines_of(output(f, tokens.begin), form_.token.out * out_size_, tokens.size(),
                        p_.lanes.columns * out_size_);
    }

    const Plan& p_;
    const LanesForm& form_;
    const std::int64_t out_size_;
    const bool widens_;  // x is bfloat16 and is multiplied as float32
    const std::int64_t x_pitch_;  // from one token to the next, once x is widened
    dense::Scratch scratch_;
    In *z_, *widened_ = nullptr;
    Acc* sums_ = nullptr;
    /// Rows of a kernel of the first product: where they begin in x (tokens) and in z of a chunk (elements).
    struct Half {
        std::int64_t token, z;
        std::size_t rows;
    };
    static constexpr std::size_t kMaxPanels = (kMaxTokens + kPanelRows - 1) / kPanelRows;
    std::array<dense::Range, kMaxPanels> cut_;
    std::array<Half, 2 * kMaxPanels> half_;
    std::int64_t tokens_ = 0, panels_ = 0, halves_ = 0;
    const std::byte* x_ = nullptr;
    std::byte* out_ = nullptr;
};

}  // namespace

PanelsForm panels_form(const Chain& chain, const LanesForm& lanes) {
    PanelsForm form;
    form.lanes = lanes;
    form.unsupported = unsupported(form.lanes, chain);
    if (!form.unsupported) form.unprofitable = unprofitable(form.lanes, chain);
    return form;
}

void run_panels(const Chain& chain, const PanelsForm& form) {
    with_lanes_kernels(chain.a.dtype,
                       [&]<class In, class Acc>(const LanesKernels<In, Acc>& kernels, Subnormals subnormals) {
                           PanelsPlan<In, Acc> plan = plan_panels(chain, form.lanes, kernels);
                           const auto weights = hold_weights(plan.lanes, subnormals);
                           parallel_for(plan.strips, 1, [&](std::int64_t begin, std::int64_t end) {
                               const FloatEnvironment environment(subnormals);
                               PanelsStrip<In, Acc> strip(plan, form.lanes);
                               for (std::int64_t i = begin; i < end; ++i) strip.run(i);
                           });
                       });
}

}  // namespace tenon::product::chain
