// The estimated time of a way to compute a product: a roofline, plus the work around the kernels.
//
//     seconds = call + kernel * calls of kernels + packed * vectors brought to the kernels' order / peak
//               + max(cycle * multiply-adds of vectors / peak, read * bytes / bandwidth)
//
// Peak and bandwidths are the machine's. The six prices of a way (kPrices in cost.cpp) are ratios to them, except two
// in nanoseconds. tools/costs.cpp fits them to timings and reports how often the lowest estimate is the fastest way.
// Only B, the weights, counts as read (all three operands of a small product): the others stay in the nearest caches or
// are hidden behind the arithmetic. Threads share everything except the call.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "product/dense/plan.h"
#include "tenon/machine.h"

namespace tenon::product::dense {

/// Ways that share prices. Panels for few rows wait for B; all others for arithmetic.
enum class CostClass : std::uint8_t { direct, sweep, dot, transposed, few, panels };
inline constexpr int kCostClasses = 6;

struct Work {
    CostClass cost_class = CostClass::direct;
    double kernels = 0, packed = 0, cycles = 0, bytes = 0;
    double operands = 0;  // bytes of all three operands, each once: they decide the memory level
    std::int64_t pieces = 1;  // that threads can share
};

/// Nanoseconds to wake the other threads, hand them work and wait for them.
inline constexpr double kWake = 3000;

struct Prices {
    double call, kernel;  // nanoseconds
    double packed, cycle;  // in units of a multiply-add at the peak
    double cache, memory;  // in units of the time to read at the level's bandwidth
};

/// What the machine does in a nanosecond.
struct Rates {
    int threads;
    double multiply_adds;  // vectors of them, for each thread
    std::array<double, kMemoryLevels> read;  // bytes, by level, for each thread while all threads read
    std::array<double, kMemoryLevels> capacity;  // bytes, by level, for all threads together
};
/// Measured rates if tuning.h has them; otherwise those of one core of a Zen 4 with the instruction set in use.
/// `operands` is the dtype whose peak the kernels have; a vector holds `elements` of them.
Rates rates_of(DType operands, int elements, int threads);
/// Bytes of a vector of the instruction set in use.
int vector_bytes();

/// The nearest level with this capacity.
MemoryLevel level_of(double bytes, const Rates& rates);
/// The estimate with the operands in a given level.
double seconds_of(const Work& work, const Rates& rates, MemoryLevel level);
/// The estimate with the operands in the nearest level that holds them.
double seconds_of(const Work& work, const Rates& rates);
/// The score by which ways are compared, the same as in tune: warm time times cold time if the operands exceed L2,
/// otherwise the square of the warm time.
double score_of(const Work& work, const Rates& rates);

/// Bytes of both operands and the output, each once.
double operand_bytes(const Lowered& p);

/// The work of kernels nr columns wide, with a last one for the remaining columns, over all panels of rows: calls, and
/// vector multiply-adds for one group of k, or the latency that the kernel waits for instead. `chains` independent sums
/// are needed to hide that latency.
struct KernelWork {
    double cycles = 0, calls = 0;
};
KernelWork kernel_work(std::int64_t rows, int mr, std::int64_t columns, int nr, int lanes, double chains);

/// Counts the work of one plan. Leaves the plan's tasks cut for the way that was counted last.
template <class In, class Acc>
class Counter {
  public:
    Counter(Plan<In, Acc>& plan, const Rates& rates)
        : plan_(plan),
          p_(plan.p),
          threads_(rates.threads),
          lanes_(vector_bytes() / static_cast<int>(sizeof(In))),
          chains_(kLatency * rates.multiply_adds),
          batches_(static_cast<double>(p_.batches)),
          groups_(static_cast<double>(ceil_div(p_.k, plan.kernels->group))),
          blocks_(static_cast<double>(std::max<std::int64_t>(1, ceil_div(p_.k, plan.block)))) {
        work_.operands = operand_bytes(p_);
    }

    Work direct(bool packed, std::int64_t products_per_task) {
        const KernelSet<In, Acc>& set = *plan_.kernels;
        const KernelFamily<In, Acc>& family = p_.n <= set.narrow.nr                        ? set.narrow
                                              : p_.m <= set.wide.mr && p_.n >= set.wide.nr ? set.wide
                                                                                           : set.standard;
        const KernelWork kernels = kernel_work(p_.m, family.mr, p_.n, family.nr, lanes_, chains_);
        work_.cost_class = CostClass::direct;
        work_.kernels = batches_ * kernels.calls;
        work_.cycles = batches_ * kernels.cycles * groups_;
        work_.packed = packed ? batches_ * packed_vectors(family.nr) : 0;
        work_.bytes = work_.operands;
        work_.pieces = ceil_div(p_.batches, products_per_task);
        return work_;
    }

    Work dot() {
        cut(CostClass::dot, true);
        const double panels = batches_ * static_cast<double>(ceil_div(p_.n, lanes_)),
                     squares = static_cast<double>(ceil_div(p_.k, lanes_ * plan_.kernels->group));
        work_.kernels = panels * blocks_;
        work_.packed = panels * squares * lanes_;
        work_.cycles = work_.packed * static_cast<double>(p_.m);
        return work_;
    }

    Work transposed() {
        cut(CostClass::transposed, true);
        constexpr double kColumns = 8;
        const bool half = 2 * p_.m <= lanes_ && plan_.kernels->transposed[0];
        const double vectors = half ? 0.5 : static_cast<double>(ceil_div(p_.m, lanes_));
        work_.kernels = batches_ * std::ceil(static_cast<double>(p_.n) / kColumns) * blocks_;
        work_.cycles = batches_ * static_cast<double>(p_.n) * groups_ * std::max(vectors, chains_ / kColumns);
        return work_;
    }

    Work sweep() {
        cut(CostClass::sweep, true);
        const double vectors = batches_ * static_cast<double>(ceil_div(p_.n, lanes_)) * groups_;
        work_.packed = plain() ? 0 : vectors;
        work_.cycles = vectors * static_cast<double>(p_.m);
        return work_;
    }

    Work panels(bool split) {
        cut(p_.m > kDotRows ? CostClass::panels : CostClass::few, split);
        const std::int64_t rows = ceil_div(p_.m, plan_.row_tasks), nr = plan_.family.nr,
                           columns = std::min(ceil_div(plan_.panels(), plan_.column_tasks) * nr, p_.n);
        const double tiles = static_cast<double>(plan_.tiles());
        const KernelWork kernels = kernel_work(rows, plan_.family.mr, columns, plan_.family.nr, lanes_, chains_);
        work_.kernels = tiles * kernels.calls * blocks_;
        work_.cycles = tiles * kernels.cycles * groups_;
        if (plan_.panels_b == Panels::strips || plan_.panels_b == Panels::chunks)
            work_.packed = tiles / static_cast<double>(plan_.column_tasks) * packed_vectors(nr);
        work_.bytes *= static_cast<double>(plan_.row_tasks);
        return work_;
    }

  private:
    static constexpr double kLatency = 1.08;  // nanoseconds of latency of a multiply-add: 4 cycles at 3.7 GHz

    /// B is stored as the kernels read it, one element for each lane.
    bool plain() const { return plan_.b_is_in && plan_.kernels->group == 1; }
    double packed_vectors(std::int64_t nr) const {
        return static_cast<double>(ceil_div(p_.n, nr) * nr) * groups_ / lanes_;
    }
    void cut(CostClass cost_class, bool may_split) {
        choose_tasks(plan_, threads_, may_split);
        work_.cost_class = cost_class;
        work_.pieces = plan_.tiles() * (may_split && plan_.split_k ? plan_.segments : 1);
        work_.bytes =
            batches_ * static_cast<double>(p_.k) * static_cast<double>(p_.n) * static_cast<double>(size_of(p_.b_type));
    }

    Plan<In, Acc>& plan_;
    const Lowered& p_;
    const int threads_, lanes_;
    const double chains_, batches_, groups_, blocks_;
    Work work_;
};

}  // namespace tenon::product::dense
