// What a plan is expected to take: its work counted, and a price for each kind of work. The prices were fitted to
// timings by tools/costs.cpp, which also says how often the least estimate is the fastest way.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "product/dense/plan.h"
#include "tenon/machine.h"

namespace tenon::product::dense {

/// Kinds of work. The first four have a price in nanoseconds; the others count vectors, and have one in multiply-adds
/// of a vector, so that it goes with the machine's peak.
enum Item : std::uint8_t {
    kCall,  // once
    kTile,  // tiles, or products of a batch
    kBlock,  // of k, in each chunk of columns
    kKernel,  // calls of kernels
    kCycle,  // multiply-adds, or what the kernel waits for instead
    kSide,  // B packed where its columns lie side by side
    kTurn,  // B transposed: its columns run along k, or lie elsewhere
    kPackedA,  // A packed
    kSums,  // sums written by kernels, for each block of k
    kStore,  // sums brought to the output by a pass of their own
    kVisit,  // sums of a sweep, read and written for each few k
    kItems
};
inline constexpr int kFixedItems = kCycle;

/// Ways that share their prices. Panels for few rows wait for B, side by side or to be turned; others for arithmetic.
enum class Cost : std::uint8_t { direct, sweep, dot, few, few_turned, panels };
inline constexpr int kCosts = 6;

struct Work {
    Cost cost = Cost::direct;
    bool plain = true;  // B is stored as the kernels read it, an element a lane
    std::array<double, kItems> items{};
    double bytes = 0;  // of B (of all operands for small products), read from the level that holds the operands
    double pieces_of_rows = 0;  // bytes read in place, some of each row of B, of more rows than stay under way
    double operands = 0;  // bytes of all three, each once
    std::int64_t pieces = 1;  // that threads may take
};

struct Prices {
    std::array<double, kItems> items;
    // Of the time that reading takes at the level's bandwidth.
    std::array<double, kMemoryLevels> bytes;
    double pieces_of_rows;  // from memory, on top
};
/// The machine, a nanosecond and a thread.
struct Rates {
    int threads;
    double multiply_adds;  // of vectors
    std::array<double, kMemoryLevels> read;  // bytes, by level, while all threads read
    std::array<double, kMemoryLevels> capacity;  // bytes, for all threads
};
/// As measured where tuning.h holds that, else a typical machine of the instruction set in force.
Rates rates_of(std::size_t in_size, int group, int threads);
/// Bytes of a vector of the instruction set in force.
int vector_bytes();

/// The nearest level that holds the operands.
MemoryLevel level_of(const Work& work, const Rates& rates);
/// Seconds, with the operands in a level.
double seconds_of(const Work& work, const Rates& rates, MemoryLevel level);
/// With them in the nearest level that holds them.
double seconds_of(const Work& work, const Rates& rates);
/// By which ways are compared: as tune does, warm times cold where the operands are beyond L2, else warm squared.
double score_of(const Work& work, const Rates& rates);

/// Kernels `nr` columns wide, and a last one for the rest, over all panels of rows: multiply-adds of vectors for one
/// group of k, and calls. `chains` sums have to be under way lest each waits for the one before.
struct KernelWork {
    double cycles = 0, calls = 0;
};
KernelWork kernel_work(std::int64_t rows, int mr, std::int64_t columns, int nr, int lanes, double chains);

/// Counts the work of one plan. Leaves its tasks cut for the row that was counted.
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
          blocks_(static_cast<double>(std::max<std::int64_t>(1, ceil_div(p_.k, plan.block)))),
          b_bytes_(batches_ * bytes(p_.k, p_.n, p_.b_type)) {
        work_.operands = b_bytes_ + batches_ * (bytes(p_.m, p_.k, p_.a_type) + bytes(p_.m, p_.n, p_.out_type));
        work_.plain = plan.b_is_in && plan.kernels->group == 1;
        work_.items[kCall] = 1;
        const double sums = batches_ * static_cast<double>(p_.m * ceil_div(p_.n, lanes_));
        work_.items[kSums] = sums * blocks_;
        if (!plan.in_output) work_.items[kStore] = sums;
    }

    Work direct(bool packed, std::int64_t grain) {
        const KernelSet<In, Acc>& set = *plan_.kernels;
        const KernelFamily<In, Acc>& family = p_.n <= set.narrow.nr                        ? set.narrow
                                              : p_.m <= set.wide.mr && p_.n >= set.wide.nr ? set.wide
                                                                                           : set.standard;
        const KernelWork kernels = kernel_work(p_.m, family.mr, p_.n, family.nr, lanes_, chains_);
        work_.items[kTile] = batches_;
        work_.items[kKernel] = batches_ * kernels.calls;
        work_.items[kCycle] = batches_ * kernels.cycles * groups_;
        if (packed) work_.items[turned()] = batches_ * packed_vectors(family.nr);
        work_.bytes = work_.operands;
        work_.pieces = ceil_div(p_.batches, grain);
        return work_;
    }

    Work dot() {
        work_.cost = Cost::dot;
        cut(true);
        const double panels = batches_ * static_cast<double>(ceil_div(p_.n, lanes_)),
                     squares = static_cast<double>(ceil_div(p_.k, lanes_ * plan_.kernels->group));
        work_.items[kKernel] = panels * blocks_;
        work_.items[kTurn] = panels * squares * lanes_;
        work_.items[kCycle] = panels * squares * lanes_ * static_cast<double>(p_.m);
        return work_;
    }

    Work sweep() {
        work_.cost = Cost::sweep;
        cut(true);
        const double vectors = batches_ * static_cast<double>(ceil_div(p_.n, lanes_)) * groups_,
                     rows = static_cast<double>(p_.m);
        work_.items[kCycle] = vectors * rows;
        work_.items[kVisit] = vectors / (work_.plain ? 8 : 4) * rows;
        if (!work_.plain) work_.items[kSide] = vectors;
        return work_;
    }

    Work panels(bool split) {
        cut(split);
        const std::int64_t rows = ceil_div(p_.m, plan_.row_tasks), nr = plan_.family.nr,
                           columns = std::min(ceil_div(plan_.panels(), plan_.column_tasks) * nr, p_.n),
                           row_panels = ceil_div(rows, plan_.family.mr);
        const double tiles = work_.items[kTile];
        const KernelWork kernels = kernel_work(rows, plan_.family.mr, columns, plan_.family.nr, lanes_, chains_);
        work_.items[kKernel] = tiles * kernels.calls * blocks_;
        work_.items[kCycle] = tiles * kernels.cycles * groups_;
        const std::int64_t line = k_step() * static_cast<std::int64_t>(size_of(p_.b_type));
        const bool compact = line * std::min(p_.k, plan_.block) <= kCompactBytes;
        const bool stays =
            !plan_.packed && work_.plain && side_by_side() && (row_panels <= 2 || (row_panels <= 4 && compact));
        if (!plan_.packed && !stays)
            work_.items[turned()] = tiles / static_cast<double>(plan_.column_tasks) * packed_vectors(nr);
        if (!rows_stay(rows, columns))
            work_.items[kPackedA] = tiles * static_cast<double>(ceil_div(columns, plan_.chunk) * rows) * groups_ /
                                    lanes_ * (along_k(&Axis::a) ? 1 : kTurnedRows);
        work_.bytes *= static_cast<double>(plan_.row_tasks);
        if (stays && blocks_ > kBlocksUnderWay) work_.pieces_of_rows = work_.bytes;
        work_.cost = p_.m > kDotRows ? Cost::panels : side_by_side() ? Cost::few : Cost::few_turned;
        return work_;
    }

  private:
    static constexpr double kLatency = 1.08;  // nanoseconds of a multiply-add: 4 cycles
    static constexpr double kBlocksUnderWay = 2;  // found by timing: as fast as any from there
    static constexpr double kTurnedRows = 10;  // of packing rows that do not run along k, to those that do

    static double bytes(std::int64_t rows, std::int64_t columns, DType type) {
        return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(size_of(type));
    }
    bool side_by_side() const { return p_.roles.columns.size == 1 && p_.roles.columns.axes[0].b == 1; }
    bool along_k(std::int64_t Axis::*stride) const {
        return p_.roles.summed.size == 1 && p_.roles.summed.axes[0].*stride == 1;
    }
    std::int64_t k_step() const { return p_.roles.summed.size == 1 ? std::llabs(p_.roles.summed.axes[0].b) : 0; }
    Item turned() const { return side_by_side() ? kSide : kTurn; }
    double packed_vectors(std::int64_t nr) const {
        return static_cast<double>(ceil_div(p_.n, nr) * nr) * groups_ / lanes_;
    }
    bool rows_stay(std::int64_t rows, std::int64_t columns) const {
        if (!plan_.a_is_in || !along_k(&Axis::a)) return false;
        const std::int64_t line = p_.k * static_cast<std::int64_t>(size_of(p_.a_type));
        return rows == 1 || (columns <= 4 * plan_.family.nr && line % 512 != 0);
    }

    /// Tiles, chunks and what threads may take, of the row whose kernels the plan has.
    void cut(bool may_split) {
        choose_tasks(plan_, threads_);
        const std::int64_t columns = ceil_div(plan_.panels(), plan_.column_tasks) * plan_.family.nr;
        work_.items[kTile] = static_cast<double>(plan_.tiles());
        work_.items[kBlock] = work_.items[kTile] * blocks_ * static_cast<double>(ceil_div(columns, plan_.chunk));
        work_.pieces = plan_.tiles() * (may_split && plan_.split_k ? plan_.segments : 1);
        work_.bytes = b_bytes_;
    }

    Plan<In, Acc>& plan_;
    const Lowered& p_;
    const int threads_, lanes_;
    const double chains_, batches_, groups_, blocks_, b_bytes_;
    Work work_;
};

}  // namespace tenon::product::dense
