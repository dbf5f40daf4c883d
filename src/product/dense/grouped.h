// Several products in one parallel region, so that threads are woken and waited for once.
// Their tiles form one list of pieces; or the tiles with one index are one piece, and then a product's epilogue can
// read an earlier product's elements from cache. A product that is not cut into tiles runs by itself.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "product/dense/ways.h"
#include "tenon/threads.h"

namespace tenon::product::dense {

/// Whether two plans cut the same elements of the output into the same tiles, so that the second epilogue can read what
/// the first product stored, tile by tile.
template <class In, class Acc>
bool same_tiles(const Plan<In, Acc>& x, const Plan<In, Acc>& y) {
    const auto same = [](const AxisList& p, const AxisList& q) {
        return std::equal(p.begin(), p.end(), q.begin(), q.end(),
                          [](const Axis& a, const Axis& b) { return a.extent == b.extent && a.out == b.out; });
    };
    return x.row_tasks == y.row_tasks && x.column_tasks == y.column_tasks && x.family.mr == y.family.mr &&
           x.family.nr == y.family.nr && x.batch_inner == y.batch_inner && same(x.p.roles.batch, y.p.roles.batch) &&
           same(x.p.roles.rows, y.p.roles.rows) && same(x.p.roles.columns, y.p.roles.columns);
}

template <class In, class Acc>
class Grouped {
  public:
    /// `by_tile`: some epilogue reads the output of an earlier plan.
    Grouped(std::vector<Plan<In, Acc>> plans, bool by_tile) : plans_(std::move(plans)), by_tile_(by_tile) {
        for (Plan<In, Acc>& plan : plans_) {
            cut(plan);
            if (why_) return;
        }
        if (by_tile_) cut_alike();
    }

    /// Why they run one after the other; null if they run together.
    const char* declines() const { return why_; }
    /// The estimated time of running them one after the other.
    double seconds() const { return seconds_; }

    /// Whether threads share the work of each product.
    bool is_shared() const { return shared_; }

    void run(Subnormals subnormals) const { by_tile_ ? run_by_tile(subnormals) : run_in_turn(subnormals); }

  private:
    void cut(Plan<In, Acc>& plan) {
        const int at = choose_way(plan);
        const WayEntry<In, Acc>* row = at < 0 ? nullptr : &kWays<In, Acc>[at];
        if (!row || !row->cut) return decline("one of them runs by a row that has no tiles");
        const Rates rates = rates_for(plan);
        const Work work = row->work(plan, rates);
        seconds_ += seconds_of(work, rates);
        shared_ = shared_ && rates.threads > 1 && work.pieces > 1;
        if (!row->cut(plan)) decline("one of them runs by segments of k");
    }
    void decline(const char* why) { why_ = why; }

    void cut_alike() {
        std::int64_t rows = 1, columns = 1;
        for (const auto& plan : plans_) {
            rows = std::max(rows, plan.row_tasks);
            columns = std::max(columns, plan.column_tasks);
        }
        for (auto& plan : plans_) {
            cut_as(plan, rows, columns);
            if (!same_tiles(plans_[0], plan)) return decline("their tiles are not the same");
        }
    }

    /// Runs the tiles of all products, one product after the other.
    void run_in_turn(Subnormals subnormals) const {
        std::int64_t all = 0;
        for (const auto& plan : plans_) all += plan.tiles();
        const auto run = [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(subnormals);
            std::int64_t first = 0;
            for (const auto& plan : plans_) {
                const std::int64_t from = std::max(begin - first, std::int64_t{0}),
                                   to = std::min(end - first, plan.tiles());
                if (from < to) run_tiles(plan, from, to);
                first += plan.tiles();
            }
        };
        parallel_for(all, 1, run, Pieces::unlike);
    }
    void run_by_tile(Subnormals subnormals) const {
        parallel_for(plans_[0].tiles(), 1, [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(subnormals);
            for (std::int64_t i = begin; i < end; ++i)
                for (const auto& plan : plans_) run_tiles(plan, i, i + 1);
        });
    }
    static void run_tiles(const Plan<In, Acc>& plan, std::int64_t from, std::int64_t to) {
        Worker<In, Acc> worker(plan);
        for (std::int64_t i = from; i < to; ++i) worker.run(tile_at(plan, i));
    }

    std::vector<Plan<In, Acc>> plans_;
    bool by_tile_;
    const char* why_ = nullptr;
    bool shared_ = true;
    double seconds_ = 0;
};

}  // namespace tenon::product::dense
