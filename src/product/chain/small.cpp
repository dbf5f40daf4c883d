#include "product/chain/small.h"

#include <algorithm>

#include "product/chain/lanes_plan.h"
#include "product/dense/generated.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

using dense::ceil_div;
using dense::Generated;
using dense::GeneratedKernel;

/// Multiply-adds below which a task is not worth handing to a thread.
constexpr std::int64_t kTaskWork = 1 << 20;
/// Rows below which packing the weights costs more than is gained.
constexpr std::int64_t kMinRows = 16;

/// Kernels are written for AVX-512.
constexpr std::int64_t kVectorBytes = 64;
std::int64_t lanes_of(const Chain& chain) { return kVectorBytes / static_cast<std::int64_t>(size_of(chain.a.dtype)); }

/// Strides are cut and counted in elements, of z too.
std::int64_t z_row(const LanesForm& form, const Chain& chain) {
    const std::int64_t f = count_of(form.f), row = count_of(form.k2) * f;
    // Rows a multiple of 4 KB apart would fall on few sets of the nearest cache.
    return row * static_cast<std::int64_t>(size_of(chain.a.dtype)) % 4096 == 0 ? row + f : row;
}

/// Tokens of a strip: whole vectors of them, whose z stays in the nearest cache beside the lines of x and the output.
std::int64_t strip_tokens(const LanesForm& form, const Chain& chain) {
    const std::int64_t bytes = z_row(form, chain) * static_cast<std::int64_t>(size_of(chain.a.dtype)),
                       lanes = lanes_of(chain), fits = caches().l1 * 3 / 4 / bytes / lanes * lanes;
    return std::clamp<std::int64_t>(fits, lanes, round_up(form.token.extent, lanes));
}

/// Both products of a strip of so many tokens.
struct Kernels {
    GeneratedKernel first = nullptr, second = nullptr;
};
Kernels kernels_of(const Chain& chain, const LanesForm& form, std::int64_t tokens, std::int64_t w_pitch,
                   std::int64_t c_pitch) {
    const auto element = static_cast<std::int64_t>(size_of(chain.a.dtype));
    const std::int64_t f = count_of(form.f), k2 = count_of(form.k2), z = z_row(form, chain) * element;
    Generated first = dense::tiled(element, tokens, f, form.intermediate->summed.count());
    first.a_step = form.x(form.token) * element, first.b_step = w_pitch * element, first.c_step = z;
    first.a_k = form.intermediate->summed.axes[0].*form.x_stride() * element;
    Generated second = dense::tiled(element, tokens, form.column.extent, k2);
    second.a_step = z, second.a_k = f * element, second.b_step = c_pitch * element;
    second.c_step = form.token.out * element;
    dense::spread_rows(first), dense::spread_rows(second);
    return {generated_kernel(first), generated_kernel(second)};
}

const char* unsupported(const LanesForm& form, const Chain& chain) {
    if (form.unsupported) return form.unsupported;
    if (!dense::generates_kernels()) return "no kernels are generated here";
    if (chain.a.dtype != DType::float32 && chain.a.dtype != DType::float64) return "no kernels for this dtype";
    if (chain.out.dtype != chain.a.dtype || chain.between) return "there is more than the two products";
    const AxisList& k1 = form.intermediate->summed;
    if (k1.size != 1 || k1.axes[0].*form.x_stride() == 0) return "the first product does not sum along one axis of x";
    const bool same_order =
        form.rows.size() == form.f.size() && std::equal(form.rows.begin(), form.rows.end(), form.f.begin(),
                                                        [](const IntermediateAxis& x, const IntermediateAxis& y) {
                                                            return x.z == y.z && x.extent == y.extent;
                                                        });
    if (!same_order) return "the first product's columns are not the second one's batch";
    for (const std::int64_t n :
         {count_of(form.f), count_of(form.k2), form.column.extent, form.intermediate->summed.count()})
        if (n > dense::kMaxGenerated) return "a factor is too large";
    return nullptr;
}

const char* unprofitable(const LanesForm& form, const Chain& chain) {
    if (form.token.extent < kMinRows) return "too few rows to pay for packing the weights";
    const auto element = static_cast<std::int64_t>(size_of(chain.a.dtype));
    if (z_row(form, chain) * element * lanes_of(chain) > caches().l1)
        return "a strip does not stay in the nearest cache";
    // An Emerald Rapids, gradients of rank 2, 64 and 128 rows of 256 columns: 0.9 of the speed; of rank 1 0.98 to 1.05.
    const bool keeps = chain.kept_product || chain.kept_intermediate;
    if (keeps && strip_tokens(form, chain) < std::min(2 * lanes_of(chain), form.token.extent))
        return "others read the intermediate, and few rows of it stay in the nearest cache";
    const auto bytes_of = [](const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); };
    // Kernels ask for nothing ahead.
    if (bytes_of(form.x_is_a ? chain.a : chain.b) + bytes_of(chain.out) + form.weights > caches().l2)
        return "the operands come from beyond L2";
    return nullptr;
}

template <class T>
class Strips {
  public:
    Strips(const LanesPlan<T, T>& plan, std::int64_t tokens)
        : p_(plan),
          form_(*plan.form),
          row_(z_row(form_, *plan.chain)),
          tokens_(tokens),
          f_(count_of(form_.f)),
          keeps_(plan.chain->kept_product || plan.chain->kept_intermediate) {
        const std::int64_t last = form_.token.extent % tokens;
        if (form_.token.extent >= tokens) whole_ = of(tokens);
        if (last > 0) last_ = of(last);
    }
    bool has_kernels() const {
        const bool whole = form_.token.extent < tokens_ || (whole_.first && whole_.second);
        return whole && (form_.token.extent % tokens_ == 0 || (last_.first && last_.second));
    }
    std::size_t z_bytes() const { return static_cast<std::size_t>(tokens_ * row_) * sizeof(T); }

    void run(std::int64_t strip, T* z) const {
        const std::int64_t token = strip * tokens_, n = std::min(tokens_, form_.token.extent - token);
        const Kernels& kernels = n == tokens_ ? whole_ : last_;
        const Chain& chain = *p_.chain;
        const T* const x =
            static_cast<const T*>((form_.x_is_a ? chain.a : chain.b).data) + token * form_.x(form_.token);
        for (std::size_t s = 0; s < p_.slice_x.size(); ++s) {
            const T* w = p_.w + p_.slice_w[s] * p_.w_slice;
            for (const std::int64_t outer : p_.outer_z) {
                kernels.first(nullptr, x + p_.slice_x[s], w, z + (p_.slice_z[s] + outer) / p_.pitch * f_);
                w += p_.rows;
            }
        }
        if (keeps_)
            for (const Kept which : {Kept::product, Kept::intermediate}) keep(which, token, n, z);
        T* const out = static_cast<T*>(chain.out.data) + token * form_.token.out;
        for (std::size_t f = 0; f < p_.f_z.size(); ++f)
            kernels.second(nullptr, z + f, p_.c + p_.f_c[f] * p_.c_slice, out + p_.f_out[f]);
    }

  private:
    Kernels of(std::int64_t tokens) const { return kernels_of(*p_.chain, form_, tokens, p_.w_pitch, p_.c_pitch); }

    /// As squares of vectors where the tokens are adjacent in memory.
    void keep(Kept which, std::int64_t token, std::int64_t n, const T* z) const {
        const View* const view = kept_view(*p_.chain, which);
        if (!view) return;
        const auto at = static_cast<std::size_t>(which);
        const std::int64_t first = token * form_.token.kept[at];
        if (form_.token.kept[at] == 1 && n % p_.kernels.cross.lanes == 0 && form_.f.size() == 1) {
            T* const to = static_cast<T*>(view->data) + first;
            for (std::size_t k = 0; k < p_.k2_kept[at].size(); ++k)
                p_.kernels.cross.transpose(to + p_.k2_kept[at][k], form_.f[0].kept[at],
                                           z + static_cast<std::int64_t>(k) * f_, row_ * std::int64_t{sizeof(T)}, n,
                                           f_);
            return;
        }
        KeptPart part;
        part.add(n, row_, form_.token, which);
        for (const IntermediateAxis& axis : form_.k2) part.add(axis.extent, axis.z * f_, axis, which);
        std::int64_t step = f_;
        for (const IntermediateAxis& axis : form_.f) part.add(axis.extent, step /= axis.extent, axis, which);
        part.copy(*view, first, z);
    }

    const LanesPlan<T, T>& p_;
    const LanesForm& form_;
    const std::int64_t row_, tokens_, f_;
    const bool keeps_;
    Kernels whole_, last_;
};

/// What a form keeps from run to run.
template <class T>
struct SmallPlan {
    LanesPlan<T, T> lanes;
    Strips<T> strips;
    std::int64_t tokens, grain;

    SmallPlan(const Chain& chain, const LanesForm& form, const LanesKernels<T, T>& kernels)
        : lanes(plan_lanes(chain, form, kernels, 1)),
          strips(lanes, strip_tokens(form, chain)),
          tokens(strip_tokens(form, chain)) {
        const std::int64_t work =
            tokens * count_of(form.f) * count_of(form.k2) * (form.intermediate->summed.count() + form.column.extent);
        grain = ceil_div(kTaskWork, work);
    }
};

/// False without kernels.
template <class T>
bool run_with(const Chain& chain, SmallForm& form, const LanesKernels<T, T>& kernels) {
    if (!form.plan) form.plan = std::make_shared<SmallPlan<T>>(chain, form.lanes, kernels);
    auto& plan = *static_cast<SmallPlan<T>*>(form.plan.get());
    if (!plan.strips.has_kernels()) return false;
    plan.lanes.chain = &chain, plan.lanes.w = plan.lanes.c = nullptr;
    const auto weights = hold_weights(plan.lanes, Subnormals::keep);
    parallel_for(ceil_div(form.lanes.token.extent, plan.tokens), plan.grain, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(Subnormals::keep);
        dense::Scratch scratch(plan.strips.z_bytes());
        for (std::int64_t i = begin; i < end; ++i) plan.strips.run(i, reinterpret_cast<T*>(scratch.data()));
    });
    return true;
}

}  // namespace

SmallForm small_form(const Chain& chain, const LanesForm& lanes) {
    SmallForm form;
    form.lanes = lanes;
    form.unsupported = unsupported(lanes, chain);
    if (!form.unsupported) form.unprofitable = unprofitable(lanes, chain);
    return form;
}

void run_small(const Chain& chain, SmallForm& form) {
    bool done = false;
    with_lanes_kernels(chain.a.dtype, [&]<class In, class Acc>(const LanesKernels<In, Acc>& kernels, Subnormals) {
        if constexpr (std::is_same_v<In, Acc>) done = run_with(chain, form, kernels);
    });
    if (!done) run_lanes(chain, form.lanes);
}

}  // namespace tenon::product::chain
