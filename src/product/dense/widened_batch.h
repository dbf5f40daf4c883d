// Batches of small bfloat16 products whose operands follow each other in memory. A few products' operands at a time are
// widened to float32 in the nearest cache, one run of memory each, and multiplied there like operands in place. The
// kernels follow the law of pairs: the odd element of a pair first.
#pragma once

#include <algorithm>

#include "product/dense/direct.h"
#include "product/dense/tile.h"

namespace tenon::product::dense {

/// Bytes of such products that are widened at once: more would leave the nearest cache, less would make short runs. And
/// bytes of one product from which A is widened one panel at a time.
inline constexpr std::int64_t kWidenedBytes = 16 << 10, kPanelsBytes = 20 << 10;

/// Whether each operand is one run of memory, the products' parts one after the other, with columns of B adjacent.
inline bool are_runs(const Lowered& p) {
    const AxisRoles& r = p.roles;
    if (r.batch.size != 1 || r.rows.size > 1 || r.columns.size > 1 || r.summed.size > 1) return false;
    const auto step = [](const AxisList& axes, std::int64_t Axis::*stride, std::int64_t usual) {
        return axes.size == 0 || axes.axes[0].*stride == usual;
    };
    return step(r.summed, &Axis::a, 1) && step(r.rows, &Axis::a, p.k) && r.batch.axes[0].a == p.m * p.k &&
           step(r.columns, &Axis::b, 1) && step(r.summed, &Axis::b, p.n) && r.batch.axes[0].b == p.k * p.n;
}

/// The same for products that a generated kernel may take; their k may be odd.
inline bool are_small_runs(const Lowered& p) {
    return p.n <= kMaxGenerated && p.k > 0 && p.k <= kMaxGenerated &&
           (p.m + p.n) * p.k * std::int64_t{sizeof(float)} <= kDirectBytes && are_runs(p);
}

template <class In, class Acc>
class WidenedBatch {
  public:
    /// For a plan that the way "direct" takes.
    explicit WidenedBatch(const Plan<In, Acc>& plan) : given_(plan.p), plan_(plan) {
        if (!plan.kernels->widen_run || !are_runs(plan.p) || !plan.in_output || plan.p.k == 0) return;
        plan_.p.a_type = plan_.p.b_type = DType::float32;
        plan_.a_is_in = plan_.b_is_in = true;
        const DirectForm form{OperandAccess::in_place, OperandAccess::in_place};
        one_ = make_direct(plan_, form);
        by_panels_ = plan.p.k % 2 == 0 && (plan.p.m + plan.p.n) * plan.p.k * std::int64_t{sizeof(In)} > kPanelsBytes;
        if (!by_panels_) generated_ = generated_for(plan_, form, one_);
        far_ = plan.p.batches * direct_bytes(plan.p) > fetch_bytes();
        asks_ = far_ && std::min(plan.p.m, plan.p.n) * plan.p.k * kStored >= kAskedBytes;
        runs_ = generated_ || plan_.p.k % 2 == 0;
    }
    explicit operator bool() const { return runs_; }

    void run(std::int64_t begin, std::int64_t end) const {
        if (by_panels_) return run_by_panels(begin, end);
        const std::int64_t a = given_.m * given_.k, b = given_.k * given_.n,
                           most = std::clamp<std::int64_t>(kWidenedBytes / ((a + b) * std::int64_t{sizeof(In)}), 1,
                                                           end - begin);
        Scratch scratch(static_cast<std::size_t>(most * (a + b) + 2 * kRoom) * sizeof(In));
        In* const wide_a = scratch.take<In>(most * a);
        In* const wide_b = scratch.take<In>(most * b);
        const auto* from_a = static_cast<const std::uint16_t*>(given_.a) + begin * a;
        const auto* from_b = static_cast<const std::uint16_t*>(given_.b) + begin * b;
        const std::int64_t step = given_.roles.batch.axes[0].out;
        Acc* c = static_cast<Acc*>(given_.out) + begin * step;
        for (std::int64_t i = begin; i < end; i += most) {
            const std::int64_t n = std::min(most, end - i);
            plan_.kernels->widen_run(wide_a, from_a, n * a);
            plan_.kernels->widen_run(wide_b, from_b, n * b);
            from_a += n * a, from_b += n * b;
            for (std::int64_t j = 0; j < n; ++j, c += step) {
                if (asks_) ask(from_a + j * a), ask(from_b + j * b), ask(c + step);
                multiply(wide_a + j * a, wide_b + j * b, c);
            }
        }
    }

  private:
    /// Widens all of B, and A one panel of rows before its kernels: both copies and the output together would leave the
    /// nearest cache. The next product's operands are prefetched meanwhile, if they come from beyond L2.
    void run_by_panels(std::int64_t begin, std::int64_t end) const {
        const std::int64_t k = given_.k, b = k * given_.n, step = given_.roles.batch.axes[0].out;
        Scratch scratch(static_cast<std::size_t>(one_.rows * k + b + 2 * kRoom) * sizeof(In));
        In* const wide_a = scratch.take<In>(one_.rows * k);
        In* const wide_b = scratch.take<In>(b);
        const auto* from_a = static_cast<const std::uint16_t*>(given_.a) + begin * given_.m * k;
        const auto* from_b = static_cast<const std::uint16_t*>(given_.b) + begin * b;
        Acc* c = static_cast<Acc*>(given_.out) + begin * step;
        for (std::int64_t i = begin; i < end; ++i, c += step) {
            plan_.kernels->widen_run(wide_b, from_b, b);
            from_b += b;
            const bool fetches = far_ && i + 1 < end;
            PrefetchLines next[] = {
                fetches ? lines_of(from_a + given_.m * k, 1, given_.m * k * kStored, 0) : PrefetchLines{},
                fetches ? lines_of(from_b, 1, b * kStored, 0) : PrefetchLines{}};
            Acc* rows = c;
            for (std::int64_t panel = 0; panel < one_.panels; ++panel) {
                const std::int64_t n = one_.panel_rows(panel);
                plan_.kernels->widen_run(wide_a, from_a, n * k);
                one_.panel(panel, wide_a, wide_b, rows, [&] { return &next[next[0].left > 0 ? 0 : 1]; });
                from_a += n * k, rows += n * one_.c_step;
            }
        }
    }

    static constexpr std::int64_t kStored = 2;  // bytes of an element
    /// Bytes of one product's operand from which the next product's lines are prefetched.
    static constexpr std::int64_t kAskedBytes = 1 << 10;
    static constexpr std::int64_t kRoom = 16;  // of alignment

    /// Prefetches only the first lines of what is needed next: the hardware prefetcher follows, which otherwise waits
    /// for the first accesses to a page. All lines at once would delay the loads of cached data.
    static void ask(const void* next) {
        for (std::int64_t line = 0; line < 8; ++line)
            __builtin_prefetch(static_cast<const std::byte*>(next) + 64 * line, 0, 2);
    }
    void multiply(const In* a, const In* b, Acc* c) const {
        if (generated_) return generated_(nullptr, a, b, c);
        one_(a, b, c);
    }

    const Lowered& given_;
    Plan<In, Acc> plan_;
    Direct<In, Acc> one_{};
    GeneratedKernel generated_ = nullptr;
    bool runs_ = false, by_panels_ = false, far_ = false, asks_ = false;
};

}  // namespace tenon::product::dense
