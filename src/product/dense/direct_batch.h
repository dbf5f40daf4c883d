// Batches of small products: how one follows the other, and what is packed and prefetched meanwhile.
#pragma once

#include "product/dense/direct.h"
#include "product/dense/nontemporal.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"

namespace tenon::product::dense {

/// Bytes ahead of products below kFetchWork, if all their vectors of columns are masked: the hardware prefetcher
/// follows such loads and stores badly where they cross lines. 40,000 of 7 x 11 x 13 take 0.36 of the time in float32,
/// 600,000 of 3^3 in float64 0.52 (Zen 5).
inline constexpr std::int64_t kFetchAhead = 4096;

/// Runs a range of the batch.
template <class In, class Acc>
class DirectBatch {
  public:
    DirectBatch(const Plan<In, Acc>& plan, DirectForm how) : plan_(plan), how_(how), one_(make_direct(plan, how)) {
        steps_ = batch_steps();
        one_.block.nontemporal = nontemporal();
        if (one_.block.nontemporal) one_.block.in_cache = true;
        // A generated kernel comes first where it prefetches itself, or the hardware does.
        const bool masked = one_.whole_columns == 0 && one_.nr <= plan.kernels->narrow.nr;
        const ToLater next = masked || one_.nr > plan.kernels->narrow.nr ? later() : ToLater{};
        follows_ = follows() && (caches().large_l2() || (is_far() && !next));
        if (runs_in_place() && !one_.block.nontemporal && plan.p.batches >= kGeneratedBatches &&
            plan.p.batches * plan.p.m * plan.p.n * plan.p.k >= kGeneratedWork)
            generated_ = generated_for(plan, how, one_, next);
        if (!generated_) follows_ = follows();
        fetches_ = masked && !next && !follows_ && waits_for_memory();
        if (!how.in_place()) generate_mixed();
        follows_rows_ = follows_rows();
    }

    void run(std::int64_t begin, std::int64_t end) const {
        const Lowered& p = plan_.p;
        if (runs_in_place()) return run_in_place(begin, end);
        Scratch scratch(bytes());
        const Buffers buffers(*this, scratch);
        for (std::int64_t i = begin; i < end; ++i) {
            const Place at = place(i);
            if (buffers.a) plan_.pack_a(buffers.a, pitch(), {at.a, buffers.rows_a, buffers.k_a, p.m, p.k});
            if (buffers.b) pack(buffers, at.b);
            const In* const a = buffers.a ? buffers.a : reinterpret_cast<const In*>(at.a);
            const In* const b = buffers.b ? buffers.b : reinterpret_cast<const In*>(at.b);
            Acc* const c = buffers.sums ? buffers.sums : reinterpret_cast<Acc*>(at.out);
            if (follows_ && i + 1 < end) {
                Next next = lines_of(place(i + 1));
                one_.fetching(a, b, c, [&] { return next.first(); });
            } else if (follows_rows_ && i + 1 < end) {
                PrefetchLines next = lines_of(place(i + 1).a, steps_.a);
                one_.fetching(a, b, c, [&] { return next.left > 0 ? &next : nullptr; });
            } else if (generated_) {
                generated_(nullptr, a, b, c);
            } else {
                one_(a, b, c);
            }
            if (buffers.sums) store(buffers, at.out);
        }
        if (one_.block.nontemporal) store_fence();
    }

  private:
    /// Steps in bytes from one product to the next, if the batch is one axis.
    struct Steps {
        bool one_axis;
        std::int64_t a, b, out;
    };
    struct Place {
        const std::byte *a, *b;
        std::byte* out;
    };
    /// What is prefetched of the next product.
    struct Next {
        PrefetchLines operands[3];
        PrefetchLines* first() {
            for (PrefetchLines& each : operands)
                if (each.left > 0) return &each;
            return nullptr;
        }
    };
    /// Offsets of elements and scratch memory for operands that are not read in place; otherwise null.
    struct Buffers {
        std::int64_t *columns_out, *k_a, *rows_a, *k_b, *columns_b;
        std::byte* room;
        In *a = nullptr, *b = nullptr;
        Acc* sums = nullptr;

        Buffers(const DirectBatch& batch, Scratch& scratch) {
            const Lowered& p = batch.plan_.p;
            if (!batch.plan_.in_output) {
                columns_out = offsets(p.roles.columns, &Axis::out, p.n, scratch);
                sums = scratch.take<Acc>(p.m * batch.one_.c_step);
                room = scratch.take<std::byte>(8 * p.n);
            }
            if (batch.how_.a == OperandAccess::packed) {
                a = scratch.take<In>(p.m * batch.pitch());
                k_a = offsets(p.roles.summed, &Axis::a, p.k, scratch);
                rows_a = offsets(p.roles.rows, &Axis::a, p.m, scratch);
            }
            if (batch.how_.b == OperandAccess::packed) {
                b = scratch.take<In>(batch.packed_columns());
                k_b = offsets(p.roles.summed, &Axis::b, p.k, scratch);
                columns_b = offsets(p.roles.columns, &Axis::b, p.n, scratch);
            }
        }
        static std::int64_t* offsets(const AxisList& axes, std::int64_t Axis::*stride, std::int64_t n,
                                     Scratch& scratch) {
            auto* const to = scratch.take<std::int64_t>(n);
            fill_offsets(axes, stride, 0, n, to);
            return to;
        }
    };

    /// Of a batch whose operands are packed, if only one panel of B: a generated kernel, which reads A where it is
    /// whatever its strides.
    void generate_mixed() {
        constexpr Arithmetic kArithmetic = std::is_floating_point_v<In>    ? Arithmetic::real
                                           : std::is_floating_point_v<Acc> ? Arithmetic::brain
                                                                           : Arithmetic::bytes;
        if constexpr (sizeof(In) == sizeof(Acc) && (kArithmetic != Arithmetic::bytes || sizeof(In) == 4)) {
            const Lowered& p = plan_.p;
            if (kArithmetic == Arithmetic::bytes && plan_.kernels->group != 4) return;
            if (plan_.pairs || !plan_.in_output || plan_.first != Write::store || one_.block.nontemporal || follows_)
                return;
            const std::int64_t groups = one_.block.kc;
            if (!direct_in_cache(p) || p.n > kMaxGenerated || groups > kMaxGenerated) return;
            if (p.batches < kGeneratedBatches || p.batches * p.m * p.n * p.k < kGeneratedWork) return;
            if (how_.b == OperandAccess::packed && p.n > one_.nr) return;
            const std::int64_t element = sizeof(In), k = p.roles.summed.size == 0 ? 0 : p.roles.summed.axes[0].a;
            Generated g = tiled(element, p.m, p.n, groups);
            g.loop_steps = loop_steps(p), g.arithmetic = kArithmetic;
            // There are few steps before the stores of a tile, which come in a burst.
            if (kArithmetic != Arithmetic::real) g.panels = one_.panels, g.rows = one_.rows, g.tall = one_.tall;
            g.a_step = one_.a_step, g.b_step = one_.block.ldb * element, g.c_step = one_.c_step * element;
            const bool strided =
                std::is_floating_point_v<In> && how_.a != OperandAccess::in_place && plan_.a_is_in && k != 0;
            if (strided) {
                g.a_step = p.roles.rows.size == 0 ? 0 : p.roles.rows.axes[0].a * element;
                g.a_k = k * element;
            }
            generated_ = generated_kernel(g);
            if (generated_ && strided) how_.a = OperandAccess::in_place;
        }
    }

    /// Whether the batch comes from memory, without gaps, and two units are done with a product sooner than the
    /// hardware prefetcher has brought the next one.
    bool waits_for_memory() const {
        const Lowered& p = plan_.p;
        return steps_.one_axis && steps_.a == p.m * p.k * size(p.a_type) && steps_.b == p.k * p.n * size(p.b_type) &&
               steps_.out == p.m * p.n * size(p.out_type) && is_far() && units().two_fma_units && !caches().large_l2();
    }
    /// The product whose lines are prefetched by a generated kernel. Of more than a vector of columns, float64 16^3
    /// takes 0.83 of the time (Zen 5). From the last level it takes 1.00 to 1.03.
    ToLater later() const {
        const std::int64_t work = plan_.p.m * plan_.p.n * plan_.p.k;
        if (work < kFetchWork || !waits_for_memory()) return {};
        const std::int64_t products = std::max<std::int64_t>(1, kArrivedWork / work);
        return {products * steps_.a, products * steps_.b, products * steps_.out};
    }

    std::int64_t pitch() const { return direct_pitch(one_.block.kc); }
    std::int64_t packed_columns() const { return ceil_div(one_.n, one_.nr) * one_.nr * one_.block.kc; }
    std::size_t bytes() const {
        const Lowered& p = plan_.p;
        const std::int64_t packed = (how_.a == OperandAccess::packed ? p.m * pitch() : 0) +
                                    (how_.b == OperandAccess::packed ? packed_columns() : 0),
                           sums = plan_.in_output ? 0 : p.m * one_.c_step;
        return static_cast<std::size_t>(packed) * sizeof(In) + static_cast<std::size_t>(sums) * sizeof(Acc) +
               static_cast<std::size_t>(2 * p.k + 3 * p.n + p.m + 64) * 8;
    }

    /// Whether the batch comes from memory.
    bool is_far() const { return plan_.p.batches * (steps_.a + steps_.b + steps_.out) > far_bytes(); }

    Steps batch_steps() const {
        const Lowered& p = plan_.p;
        const AxisList& axes = p.roles.batch;
        if (axes.size > 1) return {false, 0, 0, 0};
        const Axis axis = axes.size == 0 ? Axis{1, 0, 0, 0} : axes.axes[0];
        return {true, axis.a * size(p.a_type), axis.b * size(p.b_type), axis.out * size(p.out_type)};
    }
    Place place(std::int64_t i) const {
        const Lowered& p = plan_.p;
        const auto at = [&](std::int64_t step, std::int64_t Axis::*stride, DType type) {
            return steps_.one_axis ? i * step : offset_of(p.roles.batch, stride, i) * size(type);
        };
        return {static_cast<const std::byte*>(p.a) + at(steps_.a, &Axis::a, p.a_type),
                static_cast<const std::byte*>(p.b) + at(steps_.b, &Axis::b, p.b_type),
                static_cast<std::byte*>(p.out) + at(steps_.out, &Axis::out, p.out_type)};
    }
    bool runs_in_place() const { return how_.in_place() && plan_.in_output && !follows_ && steps_.one_axis; }
    void run_in_place(std::int64_t begin, std::int64_t end) const {
        if (generated_)
            return each_in_place(begin, end, [&](const In* a, const In* b, Acc* c) { generated_(nullptr, a, b, c); });
        if (!one_.one_panel()) return each_in_place(begin, end, one_);
        const Block& block = one_.whole_columns > 0 ? one_.block : one_.tail_block;
        const auto kernel = one_.whole_columns > 0 ? one_.whole[0] : one_.tail[0];
        each_in_place(begin, end, [&](const In* a, const In* b, Acc* c) { kernel(block, a, b, c); });
    }
    template <class Multiply>
    void each_in_place(std::int64_t begin, std::int64_t end, const Multiply& multiply) const {
        Place at = place(begin);
        const Steps steps = steps_;
        if (fetches_) return each_fetching(at, end - begin, multiply);
        for (std::int64_t i = begin; i < end; ++i, at.a += steps.a, at.b += steps.b, at.out += steps.out)
            multiply(reinterpret_cast<const In*>(at.a), reinterpret_cast<const In*>(at.b),
                     reinterpret_cast<Acc*>(at.out));
    }
    /// The same; the lines of what comes kFetchAhead bytes later are prefetched.
    template <class Multiply>
    void each_fetching(Place at, std::int64_t products, const Multiply& multiply) const {
        const Steps steps = steps_;
        const auto ask = [](const std::byte* from, std::int64_t bytes) {
            for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + kFetchAhead + i, 0, 2);
        };
        for (; products > 0; --products, at.a += steps.a, at.b += steps.b, at.out += steps.out) {
            ask(at.a, steps.a), ask(at.b, steps.b), ask(at.out, steps.out);
            multiply(reinterpret_cast<const In*>(at.a), reinterpret_cast<const In*>(at.b),
                     reinterpret_cast<Acc*>(at.out));
        }
    }
    static std::int64_t size(DType type) { return static_cast<std::int64_t>(size_of(type)); }

    /// Narrow elements and several kernels' worth of columns: much data for little arithmetic. If the output is not
    /// written in memory order, its rows are more than the hardware prefetcher follows.
    bool moves_much() const { return plan_.kernels->group > 1 && one_.n > one_.nr; }

    /// Whether the output is aligned and too large to stay in the caches, and the kernels have no time to wait for its
    /// lines. It is then stored past the caches. With a small L2 this pays for one thread and one kernel of columns
    /// too: 1,024 of 64^3 take 0.77 of the time in bfloat16, 0.87 in 8-bit integers (Zen 5).
    bool nontemporal() const {
        const Lowered& p = plan_.p;
        const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p.out));
        const std::int64_t row = one_.c_step * std::int64_t{sizeof(Acc)};
        return plan_.kernels->group > 1 && plan_.in_output && plan_.first == Write::store && steps_.one_axis &&
               p.batches * steps_.out >= nontemporal_bytes() &&
               (moves_much() || threads_here() > 1 || !caches().large_l2()) && (address | row | steps_.out) % 64 == 0;
    }
    /// Whether the batch comes from beyond L2, without gaps, so that the next product is prefetched during the steps of
    /// this one. For operands in place, products need a minimum number of steps: with fewer, prefetching costs more
    /// than it gains. Packing reads in memory order, which the hardware prefetcher follows by itself, as it does an
    /// output written in that order; such operands are prefetched only where there is much data to move.
    bool follows() const {
        const Lowered& p = plan_.p;
        const bool gains = how_.in_place() ? p.k >= kFetchK : moves_much() || one_.block.nontemporal;
        return gains && steps_.one_axis && steps_.a == p.m * p.k * size(p.a_type) &&
               steps_.b == p.k * p.n * size(p.b_type) && p.batches * (steps_.a + steps_.b + steps_.out) > fetch_bytes();
    }
    /// Whether rows of A are adjacent and come from beyond a small L2, without gaps. A panel of rows reads a part of a
    /// line for each k, which the hardware prefetcher does not follow: 86 of 172 x 64 x 128 take 0.6 of the time (Zen
    /// 5).
    bool follows_rows() const {
        const Lowered& p = plan_.p;
        return how_.a == OperandAccess::adjacent && !generated_ && !caches().large_l2() && p.k >= kFetchK &&
               steps_.one_axis && steps_.a == p.m * p.k * size(p.a_type) && p.batches * steps_.a > fetch_bytes();
    }
    static PrefetchLines lines_of(const std::byte* from, std::int64_t bytes) {
        const std::int64_t n = ceil_div(bytes, 64);
        return {reinterpret_cast<const char*>(from), 64, 0, n, n, n};
    }
    Next lines_of(const Place& next) const {
        const bool output = moves_much() && !one_.block.nontemporal && plan_.in_output;
        return {{output ? lines_of(next.out, plan_.p.m * one_.c_step * std::int64_t{sizeof(Acc)}) : PrefetchLines{},
                 lines_of(next.a, steps_.a), lines_of(next.b, steps_.b)}};
    }

    void store(const Buffers& buffers, std::byte* out) const {
        const Lowered& p = plan_.p;
        const std::int64_t step = p.roles.rows.size == 0 ? 0 : p.roles.rows.axes[0].out;
        const bool unit = p.roles.columns.size == 0 || p.roles.columns.axes[0].out == 1;
        for (std::int64_t i = 0; i < p.m; ++i)
            store_row(buffers.sums + i * one_.c_step,
                      OutputRow{out + i * step * size(p.out_type), buffers.columns_out, p.n, p.out_type, unit},
                      buffers.room);
    }

    void pack(const Buffers& buffers, const void* b) const {
        const std::int64_t filled = ceil_div(plan_.p.k, plan_.kernels->group);
        In* to = buffers.b;
        for (std::int64_t j = 0; j < one_.n; j += one_.nr, to += one_.nr * one_.block.kc) {
            const std::int64_t columns = std::min(one_.nr, one_.n - j);
            plan_.pack_b(to, one_.nr, {b, buffers.columns_b + j, buffers.k_b, columns, plan_.p.k});
            if (filled < one_.block.kc) std::fill_n(to + filled * one_.nr, one_.nr, In(0));
        }
    }

    const Plan<In, Acc>& plan_;
    DirectForm how_;
    Direct<In, Acc> one_;
    Steps steps_;
    bool follows_ = false, follows_rows_ = false, fetches_ = false;
    GeneratedKernel generated_ = nullptr;
};

}  // namespace tenon::product::dense
