#include "product/dense/blocked.h"

#include <atomic>
#include <cmath>
#include <optional>

#include "base/by_isa.h"
#include "base/parallel.h"
#include "product/dense/grouped.h"
#include "product/dense/tuning.h"
#include "product/dense/units.h"
#include "product/dense/ways.h"
#include "tenon/threads.h"

namespace tenon::product::dense {
namespace {

/// Integers are exact in any order: their blocks have as many groups as a float's.
template <class Acc>
std::int64_t block_of(int group) {
    return std::is_integral_v<Acc> ? kBlockK * group : kBlockK;
}
/// Columns whose sums are one task.
constexpr std::int64_t kSumColumns = 256;
static_assert(kBlockK % 16 == 0 && kSplitK % kBlockK == 0);

/// With at most this many rows or columns, a bfloat16 product is bound by moving its operands: packed twice as wide,
/// 16^3 runs at 0.77 of the speed, 32^3 at 1.6 (Emerald Rapids).
constexpr std::int64_t kFewWidened = 28;
/// The same for packed weights: 16 x 4096 x 4096 takes about 0.9 of the time of pairs, 5 x 4096 x 4096 takes 1.2
/// (Emerald Rapids).
constexpr std::int64_t kFewPacked = 12;

std::atomic<Dot> forced_dot{Dot::usual};
thread_local const Choice* forced = nullptr;

bool has_dot_instructions() {
#if defined(__x86_64__)
    static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
    return has;
#else
    return false;
#endif
}

Source source_of(DType t) {
    switch (t) {
        case DType::float16:
            return Source::float16;
        case DType::bfloat16:
            return Source::bfloat16;
        case DType::int8:
            return Source::int8;
        case DType::uint8:
            return Source::uint8;
        case DType::int16:
            return Source::int16;
        case DType::uint16:
            return Source::uint16;
        default:
            return Source::same;
    }
}

template <class Acc>
bool sums_fit(const Lowered& p) {
    return size_of(p.out_type) == sizeof(Acc);
}

/// A group of k, as it is stored, is one In of the kernels.
template <class In, class Acc>
bool stored_as_in(const KernelSet<In, Acc>& kernels, DType type, DType wanted_byte) {
    if (kernels.group == 4) return type == wanted_byte;
    return (kernels.group == 2 && !is_byte(type)) || source_of(type) == Source::same;
}

template <class In, class Acc>
Plan<In, Acc> make_plan(const Lowered& p, const KernelSet<In, Acc>& kernels, const Finish& finish, const Extra& extra,
                        bool pairs) {
    Plan<In, Acc> plan;
    plan.p = p;
    plan.finish = finish;
    plan.kernels = &kernels;
    plan.packed = extra.packed;
#if defined(__x86_64__)
    if (extra.packed && kernels.group < extra.packed->group) plan.widen = avx512_dot::kKernels.widen;
#endif
    plan.epilogue = extra.epilogue;
    plan.prologue_a = extra.prologue_a, plan.prologue_b = extra.prologue_b;
    plan.part = extra.part, plan.symmetric = extra.symmetric_b;
    plan.pairs = pairs;
    const Source a = source_of(p.a_type), b = source_of(p.b_type);
    plan.source_b = b;
    plan.pack_a = kernels.lines[static_cast<int>(a)];
    plan.pack_b = kernels.across[static_cast<int>(b)];
    plan.transposed_a = kernels.transposed_a[static_cast<int>(a)];
    plan.a_is_in = stored_as_in(kernels, p.a_type, DType::uint8);
    plan.b_is_in = stored_as_in(kernels, p.b_type, DType::int8);
    if (is_byte(p.a_type) && is_byte(p.b_type)) {
        const bool groups = kernels.group == 4;
        plan.shift_a = groups && p.a_type == DType::int8 ? 128 : 0;
        plan.shift_b = groups && p.b_type == DType::uint8 ? -128 : 0;
        plan.offsets_a = finish.zeros_a || plan.offset_a(0) != 0;
        plan.offsets_b = finish.zeros_b || plan.offset_b(0) != 0;
    }
    plan.block = block_of<Acc>(kernels.group);
    plan.segment = kSplitK / kBlockK * plan.block;
    plan.segments = ceil_div(p.k, plan.segment);
    const bool affine = p.roles.rows.size <= 1 && p.roles.columns.size <= 1 &&
                        (p.roles.columns.size == 0 || p.roles.columns.axes[0].out == 1);
    const bool adds = std::abs(finish.alpha) == 1 && finish.beta == 1 && plan.one_block() && !extra.epilogue &&
                      !plan.offsets_a && !plan.offsets_b;
    plan.plain = !finish.scales() && !extra.epilogue && !plan.offsets_a && !plan.offsets_b;
    plan.in_output = plan.segments == 1 && sums_fit<Acc>(p) && affine && (plan.plain || adds);
    plan.first = !adds || !plan.in_output ? Write::store : finish.alpha == 1 ? Write::add : Write::subtract;
    return plan;
}

/// The forced choice, or a tuned one, in a plan that has the usual one.
template <class In, class Acc>
void find_choice(Plan<In, Acc>& plan) {
    if (forced)
        plan.choice = *forced;
    else
        find_tuned(plan.p, plan.packed != nullptr, plan.choice);
}

template <class In, class Acc>
Declined run(const Lowered& p, const KernelSet<In, Acc>& kernels, const Finish& finish, const Extra& extra, bool pairs,
             Subnormals subnormals) {
    Plan<In, Acc> plan = make_plan(p, kernels, finish, extra, pairs);
    if (extra.symmetric_a != Part::whole) return {.a = true};
    if (extra.symmetric_b != Part::whole) {
        run_blocked(plan, subnormals);
        return {};
    }
    find_choice(plan);
    if (const int row = choose_way(plan); row >= 0) {
        kWays<In, Acc>[row].run(plan, subnormals);
        return {};
    }
    choose_tasks(plan, threads_here());
    const PrologueReasons reasons = prologue_reasons(plan);
    return {reasons.a != nullptr, reasons.b != nullptr};
}

/// Whether bfloat16 is widened as it is packed, on a CPU that multiplies float32 faster than pairs: if there is enough
/// arithmetic for it. Few rows are read from memory, or in place; packed weights are pairs in one run of memory.
bool widens_bfloat16(const AxisRoles& roles, Elements a, Elements b, Elements out, const Extra& extra) {
    if (a.dtype != DType::bfloat16 || multiplies_pairs()) return false;
    if (extra.packed) return extra.packed->group == 2 && roles.rows.count() > kFewPacked;
    // Fewer rows, too, if adjacent columns are long: their packing waits for memory, whatever it writes.
    const AxisList &columns = roles.columns, &summed = roles.summed;
    const bool by_side = columns.size > 0 && columns.end()[-1].b == 1;
    if (by_side && columns.count() >= kLongSide && summed.count() >= kLongSide) {
        // As they are read, without packing (widens_on_load in plan.cpp).
        const bool widen_on_load = summed.size == 1 && columns.end()[-1].out == 1 && summed.axes[0].b % 2 == 0 &&
                                   summed.count() % 2 == 0 && roles.rows.count() > kDotRows && !extra.prologue_a &&
                                   !extra.prologue_b;
        if (widen_on_load || roles.rows.count() > kFewPacked) return true;
    }
    return std::min(roles.rows.count(), roles.columns.count()) > kFewWidened ||
           (roles.batch.count() > 1 && out.dtype == DType::float32 && !extra.epilogue && !extra.prologue_a &&
            !extra.prologue_b && extra.part == Part::whole && are_small_runs(lower(roles, a, b, out, 0)));
}

/// Calls f(kernels, pairs, subnormals) with the set for operands of these types. `widens`: not the set of the bfloat16
/// dot product, even if there is one.
template <class F>
auto with_kernels(DType a, DType b, bool widens, F f) {
    const IsaKernels& kernels = kernels_of(isa());
#if defined(__x86_64__)
    if (uses_dot_instructions()) {
        // The instruction flushes by itself; sums of blocks are plain additions.
        if (a == DType::bfloat16 && !widens) return f(avx512_dot::kKernels.bf16, false, Subnormals::flush);
        if (is_byte(a) && is_byte(b)) return f(avx512_dot::kKernels.int8, false, Subnormals::keep);
    }
#endif
    if (is_byte(a) && is_byte(b)) return f(kernels.bytes, false, Subnormals::keep);
    switch (a) {
        case DType::float64:
            return f(kernels.f64, false, Subnormals::keep);
        case DType::bfloat16:
            return f(kernels.bf16, true, Subnormals::flush);
        case DType::float16:
        case DType::float32:
            return f(kernels.f32, false, Subnormals::keep);
        case DType::int64:
        case DType::uint64:
            return f(kernels.u64, false, Subnormals::keep);
        default:
            return f(kernels.u32, false, Subnormals::keep);
    }
}

/// Exchanges what belongs to operands that lower() has exchanged. `epilogue` is memory for the exchanged epilogue.
void exchange(Finish& f, Extra& e, std::optional<LoweredEpilogue>& epilogue) {
    std::swap(f.zero_a, f.zero_b);
    std::swap(f.zeros_a, f.zeros_b);
    std::swap(e.prologue_a, e.prologue_b);
    const auto turn = [](Part& part) {
        if (part != Part::whole) part = part == Part::lower ? Part::upper : Part::lower;
    };
    turn(e.part), turn(e.symmetric_a), turn(e.symmetric_b);
    std::swap(e.symmetric_a, e.symmetric_b);
    if (!e.epilogue) return;
    epilogue = *e.epilogue;
    for (auto& input : epilogue->inputs) std::swap(input.row, input.column);
    e.epilogue = &*epilogue;
}

/// Calls use(Grouped, subnormals); for products without elements, or that need different kernels, returns the reason.
template <class F>
GroupEstimate with_grouped(std::span<const Call> calls, F use) {
    for (const Call& c : calls)
        if (c.a.dtype != calls[0].a.dtype || c.b.dtype != calls[0].b.dtype)
            return {"their dtypes are not the same", 0, 0};
    return with_kernels(calls[0].a.dtype, calls[0].b.dtype, false,
                        [&]<class In, class Acc>(const KernelSet<In, Acc>& kernels, bool pairs, Subnormals subnormals) {
                            std::vector<Plan<In, Acc>> plans;
                            std::vector<std::optional<LoweredEpilogue>> exchanged(calls.size());
                            bool by_tile = false;
                            for (std::size_t i = 0; i < calls.size(); ++i) {
                                const Call& c = calls[i];
                                const Lowered p =
                                    lower(c.roles, c.a, c.b, c.out, c.extra.packed ? 0 : kernels.narrow.nr);
                                if (p.batches == 0 || p.m == 0 || p.n == 0)
                                    return GroupEstimate{"one of them has no elements", 0, 0};
                                Finish f;
                                Extra e = c.extra;
                                if (p.exchanged) exchange(f, e, exchanged[i]);
                                plans.push_back(make_plan(p, kernels, f, e, pairs));
                                find_choice(plans.back());
                                by_tile = by_tile || c.reads_earlier;
                            }
                            return use(Grouped(std::move(plans), by_tile), subnormals);
                        });
}

template <class In, class Acc>
void run_prepared(const PreparedGemm& self, const void* a, const void* b, void* c) {
    const auto& d = *reinterpret_cast<const Direct<In, Acc>*>(self.direct_);
    d(static_cast<const In*>(a), static_cast<const In*>(b), static_cast<Acc*>(c));
}
/// One panel of rows and one of columns: only the kernel.
template <class In, class Acc>
void run_prepared_panel(const PreparedGemm& self, const void* a, const void* b, void* c) {
    const auto& d = *reinterpret_cast<const Direct<In, Acc>*>(self.direct_);
    d.whole[0](d.block, static_cast<const In*>(a), static_cast<const In*>(b), static_cast<Acc*>(c));
}

}  // namespace

bool prepare_direct(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                    PreparedGemm& prepared) {
    return with_kernels(a.dtype, b.dtype, false,
                        [&]<class In, class Acc>(const KernelSet<In, Acc>& kernels, bool pairs, Subnormals) {
                            const Lowered p = lower(roles, a, b, out, 0);
                            if (p.batches != 1 || p.m == 0 || p.n == 0 || finish.alpha == 0 || pairs) return false;
                            const Plan<In, Acc> plan = make_plan(p, kernels, finish, {}, pairs);
                            const DirectForm form = direct_form(plan);
                            if (!plan.in_output || !form.in_place()) return false;
                            Direct<In, Acc> d = make_direct(plan, form);
                            static_assert(sizeof(Direct<In, Acc>) <= sizeof(prepared.direct_) &&
                                          std::is_trivially_copyable_v<Direct<In, Acc>>);
                            if (const GeneratedKernel kernel = generated_for(plan, form, d)) {
                                static_assert(sizeof(kernel) == sizeof(prepared.run_));
                                __builtin_memcpy(&prepared.run_, &kernel, sizeof(kernel));
                                return true;
                            }
                            const bool panel = d.one_panel();
                            if (panel && d.whole_columns == 0) d.whole[0] = d.tail[0], d.block = d.tail_block;
                            __builtin_memcpy(prepared.direct_, &d, sizeof(d));
                            prepared.run_ = panel ? run_prepared_panel<In, Acc> : run_prepared<In, Acc>;
                            return true;
                        });
}

const IsaKernels& kernels_of(Isa isa) { return TENON_BY_ISA(isa, kKernels); }

bool uses_dot_instructions() {
    return isa() == Isa::avx512 && has_dot_instructions() && forced_dot.load(std::memory_order_relaxed) != Dot::never;
}
ForcedChoice::ForcedChoice(const Choice& choice) : choice_(choice), before_(forced) { forced = &choice_; }
ForcedChoice::~ForcedChoice() { forced = before_; }
bool multiplies_pairs() {
    if (!uses_dot_instructions()) return false;
    const Dot dot = forced_dot.load(std::memory_order_relaxed);
    return dot == Dot::always || (dot == Dot::usual && !units().slow_dot_bfloat16);
}
void force_dot(Dot dot) { forced_dot.store(dot, std::memory_order_relaxed); }

Declined contract_blocked(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                          const Extra& extra) {
    const bool widens = widens_bfloat16(roles, a, b, out, extra);
    return with_kernels(a.dtype, b.dtype, widens, [&](const auto& kernels, bool pairs, Subnormals subnormals) {
        Lowered p = lower(roles, a, b, out, extra.packed ? 0 : kernels.narrow.nr);
        if (p.batches == 0 || p.m == 0 || p.n == 0) return Declined{};
        Finish f = finish;
        Extra e = extra;
        std::optional<LoweredEpilogue> exchanged;
        if (p.exchanged) exchange(f, e, exchanged);
        if (f.alpha == 0) p.k = 0;
        const Declined declined = run(p, kernels, f, e, pairs, subnormals);
        return p.exchanged ? Declined{declined.b, declined.a} : declined;
    });
}

GroupEstimate describe_grouped(std::span<const Call> calls) {
    return with_grouped(calls, [&](const auto& group, Subnormals) {
        const double waits = group.is_shared() ? static_cast<double>(calls.size() - 1) * kWake * 1e-9 : 0;
        return GroupEstimate{group.declines(), group.seconds(), waits};
    });
}

bool contract_grouped(std::span<const Call> calls) {
    const GroupEstimate done = with_grouped(calls, [&](const auto& group, Subnormals subnormals) {
        if (!group.declines()) group.run(subnormals);
        return GroupEstimate{group.declines(), 0, 0};
    });
    return !done.declines;
}

ProblemKey problem_key(const AxisRoles& roles, Elements a, Elements b, Elements out, const Extra& extra) {
    const bool widens = widens_bfloat16(roles, a, b, out, extra);
    return with_kernels(a.dtype, b.dtype, widens, [&](const auto& kernels, bool, Subnormals) {
        return key_of(lower(roles, a, b, out, extra.packed ? 0 : kernels.narrow.nr), extra.packed != nullptr,
                      num_threads());
    });
}

std::vector<Candidate> candidates(const AxisRoles& roles, Elements a, Elements b, Elements out, const Finish& finish,
                                  const Extra& extra) {
    return with_kernels(a.dtype, b.dtype, widens_bfloat16(roles, a, b, out, extra),
                        [&]<class In, class Acc>(const KernelSet<In, Acc>& kernels, bool pairs, Subnormals) {
                            Lowered p = lower(roles, a, b, out, extra.packed ? 0 : kernels.narrow.nr);
                            if (p.batches == 0 || p.m == 0 || p.n == 0) return std::vector<Candidate>();
                            Finish f = finish;
                            Extra e = extra;
                            std::optional<LoweredEpilogue> exchanged;
                            if (p.exchanged) exchange(f, e, exchanged);
                            if (f.alpha == 0) p.k = 0;
                            Plan<In, Acc> plan = make_plan(p, kernels, f, e, pairs);
                            find_choice(plan);
                            const Rates rates = rates_for(plan);
                            std::vector<Candidate> all;
                            for (const WayEntry<In, Acc>& row : kWays<In, Acc>) {
                                const char* declines = row.declines(plan);
                                const Work work = declines ? Work{} : row.work(plan, rates);
                                const double seconds = declines ? 0 : seconds_of(work, rates);
                                all.push_back({row.name, row.what, declines, false, false, seconds, work, rates});
                            }
                            if (const int row = choose_way(plan); row >= 0) {
                                Candidate& chosen = all[static_cast<std::size_t>(row)];
                                chosen.runs = true;
                                chosen.tuned = plan.choice != Choice{};
                            }
                            return all;
                        });
}

PackedB packed_layout(DType a_type, DType b_type, std::int64_t k, std::int64_t n) {
    return with_kernels(
        a_type, b_type, false, [&]<class In, class Acc>(const KernelSet<In, Acc>& kernels, bool, Subnormals) {
            return PackedB{b_type,   k,       n,      block_of<Acc>(kernels.group), kernels.group, kernels.standard.nr,
                           &kernels, nullptr, nullptr};
        });
}

bool packing_pays(const AxisRoles& roles, Elements a, Elements b, Elements out) {
    return with_kernels(a.dtype, b.dtype, false, [&](const auto& kernels, bool, Subnormals) {
        const Lowered p = lower(roles, a, b, out, kernels.narrow.nr);
        const AxisList& columns = p.roles.columns;
        // Columns in place are as good for few rows, and where L2 is large. Elsewhere packed ones take 0.89 to 0.96 of
        // the time (Zen 5, 16 to 128 rows).
        const bool serves = p.m <= kDotRows || caches().large_l2() || !units().two_fma_units;
        const bool in_place = serves && kernels.group == 1 && stored_as_in(kernels, p.b_type, DType::int8) &&
                              columns.size == 1 && columns.axes[0].b == 1 && p.m > 1;
        return !p.exchanged && !in_place;
    });
}

std::int64_t packed_bytes(const PackedB& p) {
    const std::int64_t whole = p.k / p.block, rest = p.k % p.block;
    // A last odd group is padded to two, whether the kernels need it or not.
    const std::int64_t rows = whole * PackedB::rows(p.block, p.group, true) + PackedB::rows(rest, p.group, true);
    return rows * p.panels() * p.nr *
           (p.type == DType::float64 || p.type == DType::int64 || p.type == DType::uint64 ? 8 : 4);
}

void pack_b(const PackedB& p, const View& b, std::int32_t* column_sums) {
    with_kernels(p.type, p.type, false,
                 [&]<class In, class Acc>(const KernelSet<In, Acc>& kernels, bool pairs, Subnormals subnormals) {
                     const std::int64_t k_stride = b.layout.strides[0], n_stride = b.layout.strides[1];
                     const std::int64_t blocks = ceil_div(p.k, p.block), panels = p.panels();
                     const PackAcross<In> pack = kernels.across[static_cast<int>(source_of(p.type))];
                     parallel_for(blocks * panels, 4, [&](std::int64_t begin, std::int64_t end) {
                         const FloatEnvironment environment(subnormals);
                         Scratch scratch(static_cast<std::size_t>(p.block + p.nr + 16) * 8);
                         auto* const k = scratch.take<std::int64_t>(p.block);
                         auto* const lines = scratch.take<std::int64_t>(p.nr);
                         for (std::int64_t i = begin; i < end; ++i) {
                             const std::int64_t first = i / panels * p.block, kc = std::min(p.block, p.k - first);
                             const std::int64_t j = i % panels * p.nr, columns = std::min<std::int64_t>(p.nr, p.n - j);
                             for (std::int64_t e = 0; e < kc; ++e) k[e] = (first + e) * k_stride;
                             for (std::int64_t e = 0; e < columns; ++e) lines[e] = (j + e) * n_stride;
                             const std::int64_t rows = PackedB::rows(kc, p.group, pairs);
                             In* to = reinterpret_cast<In*>(p.data) +
                                      (PackedB::rows(first, p.group, pairs) * panels + i % panels * rows) * p.nr;
                             std::fill_n(to, rows * p.nr, In(0));
                             pack(to, p.nr, {b.data, lines, k, columns, kc});
                         }
                     });
                     if (!column_sums) return;
                     AxisList summed;
                     summed.push_back({p.k, 0, k_stride, 0});
                     parallel_for(p.n, kSumColumns, [&](std::int64_t begin, std::int64_t end) {
                         std::int64_t lines[kSumColumns];
                         for (std::int64_t j = begin; j < end; j += kSumColumns) {
                             const std::int64_t columns = std::min(kSumColumns, end - j);
                             for (std::int64_t e = 0; e < columns; ++e) lines[e] = (j + e) * n_stride;
                             sum_lines(b.data, p.type, lines, columns, summed, &Axis::b, column_sums + j);
                         }
                     });
                 });
}

}  // namespace tenon::product::dense
