// One product whose operands stay in L2: a panel of columns after the other, which all rows of A take where they are.
// The panels were packed by the caller, or each is packed into the nearest cache just before. There is nothing to fetch
// and next to nothing to plan, which is a good part of the time of a few microseconds.
#pragma once

#include "base/caches.h"
#include "product/dense/direct.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"

namespace tenon::product::dense {

/// Whether the plan's product is one of these. Of columns that have to be packed, bytes: four rows of them are
/// combined, which strips do no better. Not on a core with a small L2, where this is not measured.
template <class In, class Acc>
bool takes_near_panels(const Plan<In, Acc>& plan) {
    const Lowered& p = plan.p;
    const AxisRoles& r = p.roles;
    const KernelSet<In, Acc>& set = *plan.kernels;
    if (!caches().large_l2() || p.batches != 1 || p.k == 0 || !plan.one_block() || !plan.in_output) return false;
    if (plan.part != Part::whole || plan.symmetric != Part::whole || plan.prologue_a || plan.prologue_b) return false;
    if (r.rows.size > 1 || r.columns.size > 1 || r.summed.size != 1 || r.summed.axes[0].a != 1) return false;
    if (!plan.a_is_in || PackedB::rows(p.k, set.group, plan.pairs) * set.group != p.k) return false;
    if (2 * direct_bytes(p) > caches().l2) return false;
    if (plan.packed) return !plan.widen && plan.packed->group == set.group && plan.packed->nr == set.standard.nr;
    return set.group == 4 && plan.pack_b && !plan.few_rows() && p.n >= set.standard.nr;
}

template <class In, class Acc>
class NearPanels {
  public:
    explicit NearPanels(Plan<In, Acc>& plan)
        : plan_(plan), p_(plan.p), groups_(PackedB::rows(p_.k, plan.kernels->group, plan.pairs)) {
        // Short sums too take wide kernels: their calls are next to nothing here.
        plan.family = panels_family(*plan.kernels, p_.n, kWideK * plan.kernels->group);
        lda_ = p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].a * static_cast<std::int64_t>(size_of(p_.a_type));
        ldc_ = p_.roles.rows.size == 0 ? 0 : p_.roles.rows.axes[0].out;
    }

    void run() const {
        if (plan_.packed) {
            const PackedB& b = *plan_.packed;
            for_each_panel([&](std::int64_t j, std::int64_t) {
                return Panel{reinterpret_cast<const In*>(b.data) + j * groups_, b.nr,
                             plan_.family.nr > b.nr ? groups_ * b.nr : 0};
            });
            return;
        }
        const std::int64_t nr = plan_.family.nr;
        Scratch scratch(Scratch::aligned(static_cast<std::size_t>(nr * groups_) * sizeof(In)) +
                        static_cast<std::size_t>(p_.k + p_.n + 32) * 8);
        In* const to = scratch.take<In>(nr * groups_);
        auto* const k = scratch.take<std::int64_t>(p_.k);
        auto* const lines = scratch.take<std::int64_t>(p_.n);
        fill_offsets(p_.roles.summed, &Axis::b, 0, p_.k, k);
        fill_offsets(p_.roles.columns, &Axis::b, 0, p_.n, lines);
        for_each_panel([&](std::int64_t j, std::int64_t columns) {
            plan_.pack_b(to, nr, {p_.b, lines + j, k, columns, p_.k});
            return Panel{to, nr, 0};
        });
    }

  private:
    struct Panel {
        const In* data;
        std::int64_t pitch, gap;
    };

    template <class Find>
    void for_each_panel(Find find) const {
        const std::int64_t nr = plan_.family.nr, panels = ceil_div(p_.m, plan_.family.mr);
        for (std::int64_t j = 0; j < p_.n; j += nr) {
            const std::int64_t columns = std::min(nr, p_.n - j);
            const Panel b = find(j, columns);
            const KernelFamily<In, Acc>& family = columns == nr ? plan_.family : family_for(plan_, columns);
            const MicroKernel<In, Acc>* const kernels = columns == family.nr ? family.whole : family.tail;
            const Block block{groups_, lda_, b.pitch, ldc_, columns, plan_.first, 0, nullptr, b.gap, true};
            Acc* const out = static_cast<Acc*>(p_.out) + j;
            for (std::int64_t i = 0; i < panels; ++i) {
                const Range rows = part(p_.m, panels, i);
                kernels[rows.size() - 1](
                    block, reinterpret_cast<const In*>(static_cast<const std::byte*>(p_.a) + rows.begin * lda_), b.data,
                    out + rows.begin * ldc_);
            }
        }
    }

    const Plan<In, Acc>& plan_;
    const Lowered& p_;
    const std::int64_t groups_;
    std::int64_t lda_, ldc_;
};

}  // namespace tenon::product::dense
