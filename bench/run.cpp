#include "bench/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "bench/team.h"
#include "tenon/machine.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

// A sample lasts this long, or one call if that is longer.
constexpr double kSampleSeconds = 0.002, kWakeSeconds = 0.008, kDeviceSampleSeconds = 0.02;
// Untimed calls before a sample, unless they take this long. After one, lines of the library before are still in the
// last level: of layers of 8 MB, the library whose turn is first after those with operands of their own takes 1.07 to
// 1.1 times as long, after two 1.01 (Zen 5, 32 MiB).
constexpr std::int64_t kWarmCalls = 3;
constexpr double kWarmSeconds = 0.02;
constexpr int kMaxSamples = 51, kMinSamples = 7;

/// The set of operands whose turn it is. All libraries share one such counter: if each had its own, a library would
/// find in the last-level cache the set that another has just used.
class Turn {
  public:
    explicit Turn(std::size_t sets) : sets_(sets) {}
    std::size_t set() const { return set_; }
    void pass() { set_ = (set_ + 1) % sets_; }

  private:
    std::size_t sets_, set_ = 0;
};

/// A library on a problem: one prepared product for each set of operands.
struct Entry {
    const Peer* peer;
    Turn* turn;
    std::vector<Prepared> prepared;
    std::vector<double> samples;
    Row row;

    void run(std::int64_t calls) {
        if (prepared.size() == 1) return prepared.front().run(calls);
        for (std::int64_t i = 0; i < calls; ++i, turn->pass()) prepared[turn->set()].run(1);
    }
    double time(std::int64_t calls) {
        if (prepared.front().renew) return time_renewed(calls);
        if (prepared.front().seconds) return time_elsewhere(calls);
        const auto start = Clock::now();
        run(calls);
        return std::chrono::duration<double>(Clock::now() - start).count();
    }
    double time_elsewhere(std::int64_t calls) {
        if (prepared.size() == 1) return prepared.front().seconds(calls);
        double seconds = 0;
        for (std::int64_t i = 0; i < calls; ++i, turn->pass()) seconds += prepared[turn->set()].seconds(1);
        return seconds;
    }
    double time_renewed(std::int64_t calls) {
        double seconds = 0;
        for (std::int64_t i = 0; i < calls; ++i) {
            prepared[turn->set()].renew();
            const auto start = Clock::now();
            run(1);
            seconds += std::chrono::duration<double>(Clock::now() - start).count();
        }
        return seconds;
    }
};

/// How many sets are together twice as large as the last-level cache, so that each has left it when its turn comes.
std::size_t sets_of(const Problem& problem, bool cold) {
    constexpr std::int64_t kMaxSets = 1024;
    if (!cold) return 1;
    return static_cast<std::size_t>(
        std::clamp<std::int64_t>(2 * tenon::machine().cache_bytes[2] / problem.bytes() + 2, 2, kMaxSets));
}

/// Runs the product once, with a C that is filled with NaN. Throws what the library throws.
void compute(const Prepared& prepared, const Operands& operands) {
    std::memset(operands.c.data(), 0xff, static_cast<std::size_t>(operands.c.bytes()));
    if (prepared.renew) prepared.renew();
    prepared.run(1);
    if (prepared.fetch) prepared.fetch();
}

/// The expected result of a problem: Tenon's, once that is known to be right.
class Check {
  public:
    Check(const Problem& problem, const Operands& operands)
        : problem_(problem), operands_(operands), expected_(operands.c.bytes()) {}

    /// What is wrong with C; empty if nothing is.
    std::string operator()(bool tenon) {
        std::string wrong = compare_with_float64(problem_, operands_);
        if (wrong.empty() && have_expected_) wrong = compare(problem_, operands_, expected_);
        if (tenon && wrong.empty()) {
            std::memcpy(expected_.data(), operands_.c.data(), static_cast<std::size_t>(expected_.bytes()));
            have_expected_ = true;
        }
        return wrong.empty() ? wrong : "wrong result: " + wrong;
    }

  private:
    const Problem& problem_;
    const Operands& operands_;
    Buffer expected_;
    bool have_expected_ = false;
};

std::vector<Entry> entries_of(const Problem& problem, const std::vector<Peer>& peers, const std::vector<Operands>& sets,
                              const Row& common, Turn& turn) {
    std::vector<Entry> entries;
    Check check(problem, sets.front());
    for (const Peer& peer : peers) {
        if (!peer.supports(problem).empty()) continue;
        Entry entry{&peer, &turn, {}, {}, common};
        entry.row.library = peer.name, entry.row.version = peer.version;
        try {
            for (const Operands& operands : sets) entry.prepared.push_back(peer.prepare(problem, operands));
            compute(entry.prepared.front(), sets.front());
            entry.row.error = check(&peer == peers.data());
        } catch (const Unsupported&) {
            continue;
        } catch (const std::exception& error) {
            entry.row.error = error.what();
        }
        entries.push_back(std::move(entry));
    }
    return entries;
}

/// The number of calls that take as long as a sample lasts.
std::int64_t calibrated_calls(Entry& entry) {
    const double least = entry.peer->on_device ? kDeviceSampleSeconds : kSampleSeconds;
    std::int64_t calls = 1;
    for (double time = entry.time(1); time < least; time = entry.time(calls)) {
        const double factor = time > 0 ? 1.2 * least / time : 16;
        calls = static_cast<std::int64_t>(std::ceil(static_cast<double>(calls) * std::clamp(factor, 1.2, 16.0)));
    }
    return calls;
}

/// Waits until the workers of the library before stop spinning (see peer.cpp); with one thread there are none.
void let_idle_workers_sleep(int threads) {
    if (threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

/// The untimed calls before a sample wake the library's threads and, if calls repeat, bring its operands back into the
/// caches. The system may wake a thread on another thread's CPU, and moves it within some milliseconds. On a device
/// they are as many as in a sample.
void warm_up(Entry& entry, int threads) {
    if (entry.peer->on_device) return static_cast<void>(entry.time(entry.row.calls));
    const double least = threads > 1 ? kWakeSeconds : 0;
    const std::int64_t some = 1 + entry.row.calls / 8;
    double seconds = 0;
    for (std::int64_t calls = 0; seconds < least || (calls < kWarmCalls && seconds < kWarmSeconds); calls += some)
        seconds += entry.time(some);
}

void sample_in_turn(std::vector<Entry*>& entries, int threads, const Settings& settings) {
    double round = 0;
    for (Entry* entry : entries) {
        let_idle_workers_sleep(threads);
        entry->row.calls = calibrated_calls(*entry);
        round += entry->time(entry->row.calls);
    }
    const double possible = settings.seconds * static_cast<double>(entries.size()) / round;
    const int fewest = possible < settings.samples ? kMinSamples : settings.samples;
    const int samples = static_cast<int>(std::clamp(possible, double{kMinSamples}, double{kMaxSamples}));
    for (int i = 0; i < std::max(samples, fewest); ++i)
        for (Entry* entry : entries) {
            let_idle_workers_sleep(threads);
            warm_up(*entry, threads);
            entry->samples.push_back(entry->time(entry->row.calls) / static_cast<double>(entry->row.calls));
        }
}

void summarise(Entry& entry, const tenon::Ceilings& ceilings) {
    std::vector<double>& samples = entry.samples;
    std::sort(samples.begin(), samples.end());
    Row& row = entry.row;
    row.samples = static_cast<int>(samples.size());
    row.seconds = quantile(samples, 0.5);
    row.lower_quartile = quantile(samples, 0.25), row.upper_quartile = quantile(samples, 0.75);
    row.rate = row.problem.operations() / row.seconds;
    const auto bytes = static_cast<double>(row.problem.bytes());
    const tenon::DType type = traits(row.problem.type).b;
    const tenon::MemoryLevel level = row.cold ? tenon::MemoryLevel::memory : ceilings.level_of(bytes);
    row.peak = ceilings.peak(type);
    row.roofline = ceilings.roofline(type, row.problem.operations(), bytes, level);
}

std::vector<Row> measure(const Problem& problem, const std::vector<Peer>& peers, const tenon::Ceilings& ceilings,
                         const Settings& settings) {
    Row common;
    common.problem = problem, common.threads = ceilings.threads, common.cold = settings.cold;
    const std::size_t count = sets_of(problem, settings.cold);
    std::vector<Operands> sets;
    sets.reserve(count);
    for (std::size_t i = 0; i < count; ++i) sets.push_back(make_operands(problem));
    // The pages of C are touched here, so that the first library does not have the page faults.
    for (const Operands& operands : sets)
        std::memset(operands.c.data(), 0, static_cast<std::size_t>(operands.c.bytes()));
    Turn turn(count);
    std::vector<Entry> entries = entries_of(problem, peers, sets, common, turn);
    std::vector<Entry*> right;
    for (Entry& entry : entries)
        if (entry.row.error.empty()) right.push_back(&entry);
    sample_in_turn(right, ceilings.threads, settings);
    for (Entry* entry : right) summarise(*entry, ceilings);
    std::vector<Row> rows;
    for (const Entry& entry : entries) rows.push_back(entry.row);
    return rows;
}

}  // namespace

double quantile(const std::vector<double>& sorted, double q) {
    const double at = q * static_cast<double>(sorted.size() - 1);
    const auto i = static_cast<std::size_t>(at);
    if (i + 1 >= sorted.size()) return sorted.back();
    return sorted[i] + (at - static_cast<double>(i)) * (sorted[i + 1] - sorted[i]);
}

void run(const std::vector<Problem>& problems, const std::vector<Peer>& peers, const tenon::Ceilings& ceilings,
         const Settings& settings, const Sink& sink) {
    set_team(ceilings.threads);
    for (const Peer& peer : peers) peer.set_threads(ceilings.threads);
    for (const Problem& problem : problems) sink(measure(problem, peers, ceilings, settings));
}

}  // namespace bench
