// Times the ways to compute a product: the only place in this folder that reads a clock.
#include <algorithm>
#include <chrono>
#include <functional>

#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/tuning.h"
#include "product/matrices.h"
#include "product/quantized.h"
#include "tenon/error.h"
#include "tenon/machine.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

constexpr int kSamples = 7;
/// A sample repeats a short call until it takes about this long.
constexpr double kSampleSeconds = 1e-3;
/// Bytes that, once written, leave nothing else in the last-level cache.
std::size_t flush_bytes() {
    constexpr std::int64_t kMin = 96 << 20, kMax = 1 << 30;
    return static_cast<std::size_t>(std::clamp(2 * machine().cache_bytes[2], kMin, kMax));
}

double seconds_of(const std::function<void()>& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> times) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

struct Candidate {
    dense::Choice choice;
    std::string name;
    double estimated;
    bool usual;
    int repeats = 1;
    std::vector<double> warm, cold;
};

std::vector<Candidate> candidates_of(const std::vector<dense::Candidate>& rows) {
    std::vector<Candidate> all;
    for (int row = 0; row < static_cast<int>(rows.size()); ++row) {
        const dense::Candidate& r = rows[static_cast<std::size_t>(row)];
        if (r.declines) continue;
        const auto add = [&](const dense::Choice& choice, const std::string& name) {
            const bool usual = r.runs && choice.chunk_bytes == 0 && choice.tasks == 0;
            all.push_back({choice, name, r.seconds, usual, 1, {}, {}});
        };
        add({row, 0, 0}, r.name);
        if (std::string_view(r.name) == "direct") continue;
        for (const std::int64_t bytes : {1024, 2048, 4096})
            add({row, bytes, 0}, text(r.name, ", chunks of ", bytes, " bytes"));
        if (num_threads() > 1)
            for (const int tasks : {1, 2})
                add({row, 0, tasks}, text(r.name, ", ", tasks, tasks == 1 ? " task" : " tasks", " a thread"));
    }
    return all;
}

}  // namespace

std::vector<Timing> tune(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check_gemm(a, b, c, options);
    if (options.beta != 0) throw ValueError("tune: beta is not 0, and c would grow from call to call");
    const AxisRoles roles = roles_of(a, b, c, options.batch);
    const dense::ForcedChoice untuned({});
    std::vector<Candidate> all = with_scaling(a, c, options, [&](const LoweredEpilogue* epilogue) {
        return candidates_of(dense::candidates(roles, elements_of(a), elements_of(b), elements_of(c),
                                               finish_of(options), {nullptr, epilogue}));
    });
    if (all.empty()) throw ValueError("tune: the product has no elements");
    std::vector<char> other(flush_bytes(), 1);
    const auto call = [&] { gemm(a, b, c, options); };
    for (Candidate& candidate : all) {
        const dense::ForcedChoice forced(candidate.choice);
        call();
        candidate.repeats = static_cast<int>(std::clamp(kSampleSeconds / std::max(seconds_of(call), 1e-9), 1.0, 1e5));
    }
    // In turn, so that a disturbance of the machine affects all of them alike.
    for (int sample = 0; sample < kSamples; ++sample)
        for (Candidate& candidate : all) {
            const dense::ForcedChoice forced(candidate.choice);
            call();
            candidate.warm.push_back(seconds_of([&] {
                                         for (int i = 0; i < candidate.repeats; ++i) call();
                                     }) /
                                     candidate.repeats);
            for (std::size_t i = 0; i < other.size(); i += 64) other[i] = static_cast<char>(other[i] + 1);
            candidate.cold.push_back(seconds_of(call));
        }
    std::vector<Timing> timings;
    std::size_t best = 0;
    for (const Candidate& candidate : all) {
        timings.push_back({candidate.name, median(candidate.warm), median(candidate.cold), false, candidate.estimated,
                           candidate.usual});
        const Timing &now = timings.back(), &before = timings[best];
        if (now.warm * now.cold < before.warm * before.cold) best = timings.size() - 1;
    }
    timings[best].best = true;
    dense::remember(dense::problem_key(roles, elements_of(a), elements_of(b), elements_of(c), {}), all[best].choice);
    return timings;
}

std::string save_tuning() {
    dense::save_tuning();
    return dense::tuning_path();
}

}  // namespace tenon::product
