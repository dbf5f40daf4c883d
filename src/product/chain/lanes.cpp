#include "product/chain/lanes.h"

#include <algorithm>

#include "product/chain/cost.h"
#include "product/chain/lanes_strip.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

using dense::ceil_div;

/// Tasks for each thread, so that a thread that is held up leaves its share to the others.
constexpr std::int64_t kTasksPerThread = 2;
/// Multiply-adds below which a task is not worth a thread.
constexpr std::int64_t kTaskWork = 1 << 21;

const IntermediateAxis* token_axis(const Intermediate& m) {
    const IntermediateAxis* best = nullptr;
    for (const IntermediateAxis& axis : m.axes)
        if (!axis.summed() && !axis.in_c && axis.in_a != axis.in_b && (!best || axis.extent > best->extent))
            best = &axis;
    return best;
}

/// The longest run of weight axes that a single step of z walks becomes `rows`.
void sort_outs(LanesForm& form, const std::vector<IntermediateAxis>& outs) {
    std::vector<std::vector<IntermediateAxis>> runs;
    for (const IntermediateAxis& out : outs) {
        if (!runs.empty() && runs.back().back().z == out.z * out.extent)
            runs.back().push_back(out);
        else
            runs.push_back({out});
    }
    const auto longest = std::max_element(runs.begin(), runs.end(),
                                          [](const auto& x, const auto& y) { return count_of(x) < count_of(y); });
    for (auto run = runs.begin(); run != runs.end(); ++run) {
        auto& to = run == longest ? form.rows : form.outer;
        to.insert(to.end(), run->begin(), run->end());
    }
    if (!form.rows.empty() && !form.f.empty() && form.rows[0].z == form.f[0].z && !form.rows[0].summed())
        form.rows_per_f = count_of(form.rows) / form.rows[0].extent;
}

constexpr const char* kTooFew = "too few rows to pay for packing the weights";

/// Packing the weights takes time that the tokens must pay for, more if it exceeds the nearest caches. Those of a graph
/// that comes back are packed once, which in bfloat16 pays (Zen 5, rank 2 of 11,008 columns, 8.8 MB: 14 rows in panels
/// 0.39 of the time of products apart, 24 rows 0.55, 64 rows 0.9, 127 rows 0.75).
const char* too_small(const LanesForm& form, const Chain& chain) {
    constexpr std::int64_t kFew = 48, kFewNarrow = 12, kFewLarge = 128;
    const std::int64_t weights = form.weights;
    const bool brain = chain.a.dtype == DType::bfloat16 && dense::multiplies_pairs();
    const std::int64_t large = (brain ? 4 : 2) << 20;
    const bool once = (form.x_is_a ? chain.b : chain.a).owner && chain.c.owner && !form.keeps && !caches().large_l2();
    const bool costs = weights >= large && !(brain && once);
    const std::int64_t fewest = costs ? kFewLarge : brain ? kFewNarrow : kFew;
    if (weights > most_weights(chain)) return kWeightsTooLarge;
    return form.token.extent < fewest ? kTooFew : nullptr;
}

/// With a small L2, products apart are faster than lanes where there is much weight for the rows, and where the
/// intermediate is kept, of which only the reading is saved. Zen 5, one thread, apart against in lanes: gradients of
/// 1,024 columns, 512 rows 0.89 of the time, of 4,096 columns 128 rows 0.87, 512 rows 0.95, 2,048 rows 1.0; 512 rows of
/// 4,096 columns of rank 2 in float64 0.82; these on two threads 0.82 to 0.86 even of 2,048 rows, and in float32 128
/// rows 0.86 to 0.98, 512 rows 0.92 to 0.99, 1,024 rows 0.98, 2,048 rows 1.02 to 1.09.
const char* too_small_for_lanes(const LanesForm& form, const Chain& chain) {
    constexpr std::int64_t kFewKept = 1024, kFewHuge = 2048;
    const std::int64_t l2 = caches().l2;
    if (caches().large_l2() || chain.a.dtype == DType::bfloat16) return nullptr;
    const bool shares = num_threads() > 1, wide = chain.a.dtype == DType::float64;
    const bool much = form.weights > (form.keeps || (shares && !wide) ? 3 : 6) * l2,
               some = form.keeps && form.weights >= l2 / 8;
    if (much && shares && wide) return kWeightsTooLarge;
    return form.token.extent < (much ? kFewHuge : some ? kFewKept : 0) ? kTooFew : nullptr;
}

const char* fill(LanesForm& form, const Chain& chain) {
    const Intermediate& m = *form.intermediate;
    if (m.declines) return m.declines;
    const IntermediateAxis* token = token_axis(m);
    if (!token) return "no axis is a row of both products";
    form.token = *token;
    form.x_is_a = token->in_a;
    std::vector<IntermediateAxis> f, k2;
    for (const IntermediateAxis& axis : m.axes) {
        if (&axis == token) continue;
        const bool in_x = form.x_is_a ? axis.in_a : axis.in_b;
        if (in_x && !axis.summed()) return "an axis of the rows' operand is not summed by the second product";
        (axis.summed() ? k2 : f).push_back(axis);
    }
    if (f.empty()) return "the second product has no batch";
    std::sort(k2.begin(), k2.end(),
              [](const IntermediateAxis& x, const IntermediateAxis& y) { return x.order < y.order; });
    std::int64_t step = 1;
    for (auto* axes : {&k2, &f}) {
        for (auto axis = axes->rbegin(); axis != axes->rend(); ++axis) axis->z = step, step *= axis->extent;
        // One vector more: rows of sums a multiple of 4 KB apart would share few sets of the nearest cache.
        ++step;
    }
    form.f = f, form.k2 = k2;
    std::vector<IntermediateAxis> outs = f;
    for (const IntermediateAxis& axis : k2) {
        const bool in_x = form.x_is_a ? axis.in_a : axis.in_b;
        (in_x ? form.slices : outs).push_back(axis);
    }
    sort_outs(form, outs);
    if (m.columns.size() != 1 || m.columns[0].out != 1) return "the output's columns are not adjacent in memory";
    form.column = m.columns[0];
    if (m.summed.count() > kSplitK || m.summed_count() > kSplitK) return "a sum is longer than a segment";
    const AxisList& k1 = m.summed;
    const bool along = k1.size == 0 || k1.end()[-1].*form.x_stride() == 1;
    if (!along && form.x(form.token) != 1) return "neither the rows nor what is summed is adjacent in memory";
    if (chain.epilogue || chain.finish.scales()) return "the output is not the product alone";
    if (intermediate_dtype(chain) != chain.a.dtype || chain.product != chain.a.dtype || chain.c.dtype != chain.a.dtype)
        return "the intermediate has another dtype than the operands";
    const DType t = chain.a.dtype;
    if (t == DType::bfloat16 && m.summed.count() > kBlockK) return "a narrow sum of several blocks";
    if (t == DType::bfloat16)
        return dense::multiplies_pairs() || cross_kernels().bf16.mr ? nullptr : "no kernels for bfloat16 here";
    return t == DType::float32 || t == DType::float64 ? nullptr : "no kernels for this dtype";
}

}  // namespace

std::int64_t count_of(const std::vector<IntermediateAxis>& axes) {
    std::int64_t n = 1;
    for (const IntermediateAxis& axis : axes) n *= axis.extent;
    return n;
}

LanesForm lanes_form(const Chain& chain, const Intermediate& intermediate) {
    LanesForm form;
    form.intermediate = &intermediate;
    form.unsupported = fill(form, chain);
    if (form.unsupported) return form;
    form.keeps = chain.kept_product || chain.kept_intermediate;
    const auto bytes_of = [](const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); };
    form.weights = bytes_of(form.x_is_a ? chain.b : chain.a) + bytes_of(chain.c);
    form.too_little = too_small(form, chain);
    form.unprofitable = form.too_little ? form.too_little : too_small_for_lanes(form, chain);
    const std::int64_t z = intermediate.elements * static_cast<std::int64_t>(size_of(chain.a.dtype));
    // Transposing x costs as much as storing z in L2; for narrow dtypes separate products take longer.
    form.small = chain.a.dtype != DType::bfloat16 && z <= small_bytes(form.keeps);
    if (!form.unprofitable && form.small) form.unprofitable = "the intermediate stays in cache as it is";
    return form;
}

LanesCut cut_lanes(const LanesForm& form, std::int64_t element, std::int64_t lanes, int threads) {
    LanesCut cut;
    const std::int64_t f = form.f[0].extent;
    const std::int64_t token_bytes = count_of(form.f) * count_of(form.k2) * element;
    const bool cuts = form.rows_per_f > 0;
    // Two vectors of tokens. Four for a narrow dtype, if longer runs are kept, and if weights exceed L2 and would be
    // read from a slow last level by twice as many strips. Fewer if z would not stay in cache.
    const bool four = element < 4 || form.keeps || (caches().large_l2() && form.weights > caches().l2 / 2);
    cut.tokens = std::min<std::int64_t>(kMaxTokens, four ? 4 * lanes : 2 * lanes);
    while (cut.tokens > lanes && cut.tokens * token_bytes > strip_bytes()) cut.tokens /= 2;
    const auto bytes = [&] { return cut.tokens * token_bytes / cut.pieces; };
    while (cuts && bytes() > strip_bytes() && cut.pieces * 2 <= f) cut.pieces *= 2;
    const auto strips = [&] { return ceil_div(form.token.extent, cut.tokens); };
    const std::int64_t work = form.token.extent * count_of(form.f) * count_of(form.k2) *
                              (form.intermediate->summed.count() + form.column.extent);
    const std::int64_t wanted = threads == 1 ? 1 : std::min(kTasksPerThread * threads, work / kTaskWork);
    while (strips() * cut.pieces < wanted) {
        if (cuts && cut.pieces * 2 <= f && (cut.pieces < threads || cut.tokens <= lanes))
            cut.pieces *= 2;
        else if (cut.tokens > lanes)
            cut.tokens /= 2;
        else
            break;
    }
    cut.strips = strips();
    cut.f = ceil_div(f, cut.pieces);
    cut.pieces = ceil_div(f, cut.f);
    return cut;
}

void run_lanes(const Chain& chain, const LanesForm& form) {
    with_lanes_kernels(chain.a.dtype,
                       [&]<class In, class Acc>(const LanesKernels<In, Acc>& kernels, Subnormals subnormals) {
                           LanesPlan<In, Acc> plan = plan_lanes(chain, form, kernels, num_threads());
                           const auto weights = hold_weights(plan, subnormals);
                           parallel_for(plan.cut.tasks(), 1, [&](std::int64_t begin, std::int64_t end) {
                               const FloatEnvironment environment(subnormals);
                               LanesStrip<In, Acc> strip(plan);
                               for (std::int64_t i = begin; i < end; ++i) strip.run(i);
                           });
                       });
}

}  // namespace tenon::product::chain
