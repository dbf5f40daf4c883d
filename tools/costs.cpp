// The cost model of products against the clock (src/product/dense/cost.h). It times every way that accepts, over a grid
// of shapes, dtypes and layouts, and reports for how many products the first way in order, and the one that the model
// takes, are the fastest, and what is lost where they are not. With --fit it fits the prices to the timings and prints
// them as cost.cpp holds them (one thread only).
//
//     tenon_costs [--threads N] [--seconds S] [--cold] [--fit] [--lines]
//
// Warm, the same operands again and again; --cold, after others filled the caches, products beyond L2 only. A product
// counts as in `tenon tune`: warm, or with --cold the root of warm times cold. --lines prints all timings.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "product/dense/blocked.h"
#include "product/matrices.h"
#include "tenon/threads.h"

namespace {

using namespace tenon;
using namespace tenon::product;
using Clock = std::chrono::steady_clock;

constexpr int kSamples = 7;
constexpr double kSampleSeconds = 3e-4;
constexpr std::size_t kFlushBytes = 64 << 20, kColdBytes = 1 << 20;

struct Types {
    const char* name;
    DType a, b, c;
};
constexpr Types kTypes[] = {{"f32", DType::float32, DType::float32, DType::float32},
                            {"bf16", DType::bfloat16, DType::bfloat16, DType::float32},
                            {"f64", DType::float64, DType::float64, DType::float64},
                            {"u8s8", DType::uint8, DType::int8, DType::int32}};

struct Sizes {
    std::int64_t batch, m, n, k;
};

std::vector<Sizes> grid() {
    std::vector<Sizes> all;
    for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 20, 24, 28, 29, 32, 40, 48, 64, 96, 128})
        for (const auto& [n, k] : std::initializer_list<std::pair<std::int64_t, std::int64_t>>{
                 {64, 64},     {64, 256},    {128, 128},  {256, 256},  {256, 384},  {256, 64},   {100, 300},
                 {384, 384},   {512, 512},   {768, 768},  {1024, 256}, {256, 1024}, {768, 3072}, {3072, 768},
                 {1000, 1000}, {2048, 2048}, {4096, 512}, {64, 4096},  {64, 20000}, {16, 60000}, {4096, 4096}})
            all.push_back({1, m, n, k});
    for (const std::int64_t n : {2,  3,  4,  5,  6,   7,   8,   10,  12,  13,  16,  20,  23,  24,  32,  40,  48,  56,
                                 64, 72, 80, 96, 100, 112, 128, 160, 192, 200, 256, 320, 384, 385, 400, 512, 768, 1024})
        all.push_back({1, n, n, n});
    for (const Sizes& s : std::initializer_list<Sizes>{
             {1, 8192, 256, 64},  {1, 4096, 64, 4096},  {1, 2000, 16, 16},   {1, 5000, 8, 8},     {1, 10000, 3, 3},
             {1, 20000, 3, 16},   {1, 20000, 2, 64},    {1, 50000, 4, 4},    {1, 1000, 100, 10},  {1, 1000, 10, 100},
             {1, 100, 1000, 10},  {1, 300, 4, 300},     {1, 300, 300, 4},    {1, 3000, 40, 200},  {1, 40, 3000, 200},
             {1, 512, 64, 64},    {1, 512, 64, 128},    {1, 512, 128, 64},   {1, 1024, 32, 384},  {1, 64, 64, 60000},
             {1, 8, 8, 100000},   {1, 128, 128, 20000}, {1, 200, 10, 12000}, {1, 10, 200, 12000}, {1, 33, 65, 7000},
             {1, 256, 256, 8192}, {512, 32, 32, 32},    {1024, 64, 64, 64},  {64, 128, 128, 64},  {4096, 16, 16, 16},
             {1000, 7, 11, 13},   {20000, 3, 3, 3},     {64, 8, 64, 64},     {64, 1, 64, 64},     {16, 1, 512, 512},
             {16, 4, 512, 512},   {96, 128, 64, 128},   {96, 128, 128, 64},  {12, 512, 64, 512},  {12, 512, 512, 64},
             {8, 100, 100, 100},  {100, 20, 20, 300},   {1000, 4, 4, 4},     {300, 2, 40, 40},    {32, 256, 256, 256},
             {32, 64, 384, 384},  {10, 10, 1000, 10},   {10, 1000, 10, 10}})
        all.push_back(s);
    return all;
}

class Memory {
  public:
    Memory(std::int64_t elements, DType type) {
        constexpr std::size_t kPage = 2 << 20;
        const std::size_t bytes = (static_cast<std::size_t>(elements) * size_of(type) + kPage) / kPage * kPage;
        data_ = std::aligned_alloc(kPage, bytes);
        if (data_ == nullptr) std::abort();
        std::memset(data_, size_of(type) == 1 ? 3 : 0, bytes);
    }
    ~Memory() { std::free(data_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* data() const { return data_; }

  private:
    void* data_;
};

double seconds_of_call(const auto& call) {
    const auto start = Clock::now();
    call();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> times) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

struct Timed {
    dense::Candidate way;
    double warm = 0, cold = 0;
    double time() const { return cold > 0 ? std::sqrt(warm * cold) : warm; }
};

struct Result {
    std::string name;
    int threads;
    std::vector<Timed> ways;  // that accept, in order
};

Result measure(const Types& t, const Sizes& s, bool transposed, bool cold) {
    const Memory a(s.batch * s.m * s.k, t.a), b(s.batch * s.k * s.n, t.b), c(s.batch * s.m * s.n, t.c);
    const Matrix x = row_major(a.data(), t.a, s.m, s.k), z = row_major(c.data(), t.c, s.m, s.n);
    const Matrix y = transposed ? row_major(b.data(), t.b, s.n, s.k).transpose() : row_major(b.data(), t.b, s.k, s.n);
    const GemmOptions options{.batch = s.batch};
    Result result;
    char name[96];
    std::snprintf(name, sizeof name, "%s %ld@%ldx%ldx%ld%s", t.name, long(s.batch), long(s.m), long(s.n), long(s.k),
                  transposed ? " wt" : "");
    result.name = name;
    result.threads = num_threads();
    const auto rows =
        dense::candidates(roles_of(x, y, z, s.batch), view_of(x), view_of(y), view_of(z), finish_of(options), {});
    struct Series {
        dense::Choice choice;
        int repeats;
        std::vector<double> warm, cold;
    };
    std::vector<Series> all;
    const auto call = [&] { gemm(x, y, z, options); };
    for (int row = 0; row < static_cast<int>(rows.size()); ++row) {
        const dense::Candidate& way = rows[static_cast<std::size_t>(row)];
        if (way.declines) continue;
        result.ways.push_back({way});
        Series series{{row, 0, 0}, 1, {}, {}};
        const dense::ForcedChoice forced(series.choice);
        call();
        const double once = std::min(seconds_of_call(call), seconds_of_call(call));
        series.repeats = static_cast<int>(std::clamp(kSampleSeconds / std::max(once, 1e-9), 1.0, 1e5));
        all.push_back(std::move(series));
    }
    static std::vector<char> others(kFlushBytes, 1);
    const bool beyond = rows.front().work.operands > kColdBytes || rows.back().work.operands > kColdBytes;
    for (int sample = 0; sample < kSamples; ++sample)
        for (Series& series : all) {
            const dense::ForcedChoice forced(series.choice);
            call();
            const auto repeat = [&] {
                for (int i = 0; i < series.repeats; ++i) call();
            };
            series.warm.push_back(seconds_of_call(repeat) / series.repeats);
            if (!cold || !beyond) continue;
            for (std::size_t i = 0; i < others.size(); i += 64) others[i] = static_cast<char>(others[i] + 1);
            series.cold.push_back(seconds_of_call(call));
        }
    for (std::size_t i = 0; i < all.size(); ++i) {
        result.ways[i].warm = median(all[i].warm);
        if (!all[i].cold.empty()) result.ways[i].cold = median(all[i].cold);
    }
    return result;
}

// --- how well is chosen ---

struct Tally {
    int products = 0, best = 0, near = 0, tenth = 0;
    double loss = 0, worst = 0;

    void add(double ratio) {
        ++products;
        best += ratio <= 1;
        near += ratio <= 1.05;
        tenth += ratio > 1.1;
        loss += std::log(ratio);
        worst = std::max(worst, ratio);
    }
    void print(const char* who) const {
        std::printf(
            "%-18s fastest in %d of %d, within 5 %% in %d, lost above 10 %% in %d; on average %.2f %%, at most %.0f "
            "%%\n",
            who, best, products, near, tenth, 100 * (std::exp(loss / std::max(products, 1)) - 1), 100 * (worst - 1));
    }
};

void report(const std::vector<Result>& results) {
    Tally order, model, against;
    std::vector<std::pair<double, std::string>> worse;
    std::vector<double> errors;
    for (const Result& r : results) {
        for (const Timed& t : r.ways) errors.push_back(std::abs(std::log(t.way.seconds / t.warm)));
        if (r.ways.size() < 2) continue;
        const auto faster = [](const Timed& x, const Timed& y) { return x.time() < y.time(); };
        const double best = std::min_element(r.ways.begin(), r.ways.end(), faster)->time(),
                     first = r.ways.front().time();
        const auto chosen =
            std::find_if(r.ways.begin(), r.ways.end(), [](const Timed& t) { return t.way.runs; })->time();
        order.add(first / best);
        model.add(chosen / best);
        against.add(chosen / first);
        worse.emplace_back(chosen / first, r.name);
    }
    std::printf("products that more than one way computes:\n");
    order.print("the order");
    model.print("the model");
    std::sort(worse.rbegin(), worse.rend());
    std::printf("the model's choice takes %.3f of the order's time on average; more than 3 %% longer in %d:\n",
                std::exp(against.loss / std::max(against.products, 1)),
                static_cast<int>(std::count_if(worse.begin(), worse.end(), [](auto& w) { return w.first > 1.03; })));
    for (std::size_t i = 0; i < worse.size() && worse[i].first > 1.03 && i < 20; ++i)
        std::printf("    %s: %.2f\n", worse[i].second.c_str(), worse[i].first);
    std::sort(errors.begin(), errors.end());
    if (!errors.empty())
        std::printf("estimates, warm: off by a factor of %.2f in the middle, %.2f at the 90th percentile\n",
                    std::exp(errors[errors.size() / 2]), std::exp(errors[errors.size() * 9 / 10]));
}

// --- the fit ---

/// A timing as the model sees it: nanoseconds for each price, were it 1.
struct Sample {
    std::array<double, 3> around;  // call, kernel, packed
    double cycle, read;
    bool memory;
    double time;
};
constexpr std::size_t kPrices = 6;  // call, kernel, packed, cycle, cache, memory
using Prices = std::array<double, kPrices>;

Sample sample_of(const dense::Candidate& way, MemoryLevel level, double seconds) {
    const dense::Work& w = way.work;
    const double rate = way.rates.multiply_adds;
    return {{1, w.kernels, w.packed / rate},
            w.cycles / rate,
            w.bytes / way.rates.read[static_cast<std::size_t>(level)],
            level == MemoryLevel::memory,
            seconds * 1e9};
}

/// What the larger of arithmetic and reading leaves of a sample's columns.
Prices columns_of(const Sample& s, const Prices& price) {
    const double read = s.read * price[s.memory ? 5 : 4];
    Prices x{s.around[0], s.around[1], s.around[2], 0, 0, 0};
    if (s.cycle * price[3] > read)
        x[3] = s.cycle;
    else
        x[s.memory ? 5 : 4] = s.read;
    return x;
}

double estimate(const Prices& x, const Prices& price) {
    double sum = 1e-9;
    for (std::size_t j = 0; j < kPrices; ++j) sum += price[j] * x[j];
    return sum;
}

/// Non-negative prices of least error of the logarithm, in absolute value: weighted least squares by descent along each
/// price, the weights and the larger of arithmetic and reading taken from the round before. The best round counts.
Prices fit(const std::vector<Sample>& samples) {
    Prices price{300, 10, 5, 1, 1, 1}, best = price;  // to begin with
    double least = 1e300;
    for (int round = 0; round < 60; ++round) {
        std::vector<Prices> x;
        std::vector<double> weight, residual;
        double error = 0;
        for (const Sample& s : samples) {
            x.push_back(columns_of(s, price));
            const double p = estimate(x.back(), price), e = std::abs(std::log(p / s.time));
            error += std::min(e, 1.0);
            weight.push_back(1 / (p * s.time * std::max(e, 0.05)));
            residual.push_back(s.time - p);
        }
        if (error < least) least = error, best = price;
        for (int sweep = 0; sweep < 300; ++sweep)
            for (std::size_t j = 0; j < kPrices; ++j) {
                double with = 0, norm = 0;
                for (std::size_t i = 0; i < x.size(); ++i)
                    with += weight[i] * x[i][j] * residual[i], norm += weight[i] * x[i][j] * x[i][j];
                const double step = (norm == 0 ? 0 : std::max(price[j] + with / norm, 0.0)) - price[j];
                price[j] += step;
                for (std::size_t i = 0; i < x.size(); ++i) residual[i] -= step * x[i][j];
            }
    }
    return best;
}

void print_fit(const std::vector<Result>& results) {
    constexpr const char* kNames[dense::kCostClasses] = {"direct", "sweep", "dot", "transposed", "few", "panels"};
    for (int cost_class = 0; cost_class < dense::kCostClasses; ++cost_class) {
        std::vector<Sample> samples;
        for (const Result& r : results)
            for (const Timed& t : r.ways) {
                if (static_cast<int>(t.way.work.cost_class) != cost_class) continue;
                const MemoryLevel level = dense::level_of(t.way.work.operands, t.way.rates);
                samples.push_back(sample_of(t.way, level, t.warm));
                if (t.cold > 0) samples.push_back(sample_of(t.way, MemoryLevel::memory, t.cold));
            }
        if (samples.empty()) continue;
        const Prices p = fit(samples);
        std::printf("    {%.3g, %.3g, %.3g, %.3g, %.3g, %.3g},  // %s (%zu timings)\n", p[0], p[1], p[2], p[3], p[4],
                    p[5], kNames[cost_class], samples.size());
    }
}

}  // namespace

int main(int argc, char** argv) {
    int threads = 1;
    double seconds = 1e9;
    bool cold = false, fits = false, lines = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--threads" && i + 1 < argc)
            threads = std::atoi(argv[++i]);
        else if (option == "--seconds" && i + 1 < argc)
            seconds = std::atof(argv[++i]);
        else if (option == "--cold")
            cold = true;
        else if (option == "--fit")
            fits = true;
        else if (option == "--lines")
            lines = true;
        else
            return std::fprintf(stderr, "tenon_costs [--threads N] [--seconds S] [--cold] [--fit] [--lines]\n"), 2;
    }
    set_num_threads(threads);
    struct Case {
        const Types* types;
        Sizes shape;
        bool transposed;
    };
    std::vector<Case> cases;
    for (const Types& t : kTypes)
        for (const Sizes& s : grid())
            for (const bool transposed : {false, true}) cases.push_back({&t, s, transposed});
    // In a random order, so that what is cut by --seconds is a sample.
    std::shuffle(cases.begin(), cases.end(), std::mt19937(1));
    const auto start = Clock::now();
    std::vector<Result> results;
    for (const Case& c : cases) {
        if (std::chrono::duration<double>(Clock::now() - start).count() > seconds) break;
        results.push_back(measure(*c.types, c.shape, c.transposed, cold));
        if (!lines) continue;
        std::printf("%s, %d:", results.back().name.c_str(), threads);
        for (const Timed& t : results.back().ways)
            std::printf("  %s%s %.4g %.4g (%.4g)", t.way.runs ? ">" : "", t.way.name, t.warm * 1e6, t.cold * 1e6,
                        t.way.seconds * 1e6);
        std::printf("\n");
    }
    std::printf("%zu of %zu products, %d threads, %s\n", results.size(), cases.size(), threads,
                cold ? "warm and cold" : "warm");
    report(results);
    if (fits) print_fit(results);
}
