#include "bench/loops.h"

#include <cmath>

#include "bench/by_hand.h"
#include "bench/rows.h"
#include "bench/team.h"
#include "bench/ways.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/random.h"

namespace bench {
namespace {

using tenon::Tensor;

/// How many elements a thread takes at a time, as in Tenon's own loops.
constexpr std::int64_t kGrain = 1 << 15;

struct Operands {
    Tensor x, r, w, b, mask, labels;
};

struct Loop {
    const char* name;
    Tensor (*tenon)(const Operands&);
    void (*by_hand)(const by_hand::Row&);
    double bytes;  // an element
    bool to_one;  // a row gives one number, of which the mean is taken
};

const Loop kLoops[] = {
    {"softmax", [](const Operands& o) { return tenon::softmax(o.x); }, by_hand::softmax, 8, false},
    {"layer_norm", [](const Operands& o) { return tenon::layer_norm(o.x, o.w, o.b); }, by_hand::layer_norm, 8, false},
    {"gelu-bias-dropout-residual",
     [](const Operands& o) { return o.r + tenon::where(o.mask, tenon::gelu(o.x + o.b) * (1 / 0.9), 0.0); },
     by_hand::gelu_bias_dropout_residual, 13, false},
    {"cross-entropy", [](const Operands& o) { return tenon::cross_entropy(o.x, o.labels); }, by_hand::cross_entropy, 4,
     true},
};

struct Size {
    std::int64_t rows, columns;
    bool in_l2;
};
constexpr Size kSizes[] = {{64, 768, true}, {16384, 1024, false}};
constexpr Size kClasses[] = {{4, 50000, true}, {512, 50000, false}};

Operands operands_of(const Size& s) {
    const auto values = [](const tenon::Shape& shape, unsigned seed) {
        return tenon::random::normal(tenon::random::Key(seed), shape).eval();
    };
    return {values({s.rows, s.columns}, 1),
            values({s.rows, s.columns}, 2),
            values({s.columns}, 3),
            values({s.columns}, 4),
            (values({s.rows, s.columns}, 5) < 1.28).eval(),
            tenon::random::randint(tenon::random::Key(6), {s.rows}, 0, s.columns).eval()};
}

std::string difference(const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(std::fabs(a[i] - b[i]) <= 2e-5f * (1 + std::fabs(a[i]))))
            return "wrong result: element " + std::to_string(i) + " is " + std::to_string(b[i]) + ", not " +
                   std::to_string(a[i]);
    return {};
}

void run_loop(const Loop& loop, const Size& size, int threads, const Settings& settings, double bandwidth,
              const LoopSink& sink) {
    const Operands o = operands_of(size);
    LoopRow common;
    common.problem = std::string(loop.name) + ' ' + std::to_string(size.rows) + 'x' + std::to_string(size.columns);
    common.threads = threads, common.in_l2 = size.in_l2, common.rows = size.rows, common.columns = size.columns;
    common.bytes = loop.bytes * static_cast<double>(size.rows * size.columns);
    common.bandwidth = bandwidth;
    std::vector<Way<LoopRow>> ways(3, {common, {}, {}});
    ways[0].row.library = "tenon", ways[1].row.library = "tenon compiled", ways[2].row.library = "by hand";
    ways[0].run = [&] { loop.tenon(o).eval(); };
    const auto compiled = tenon::compile([&](const Tensor& x, const Tensor& r, const Tensor& w, const Tensor& b,
                                             const Tensor& mask, const Tensor& labels) {
        return loop.tenon({x, r, w, b, mask, labels});
    });
    ways[1].run = [&] { (void)compiled(o.x, o.r, o.w, o.b, o.mask, o.labels); };
    const std::vector<std::int64_t> labels = o.labels.to<std::int64_t>();
    std::vector<float> y(static_cast<std::size_t>(loop.to_one ? size.rows : size.rows * size.columns));
    const float *x = o.x.data<float>().data(), *r = o.r.data<float>().data(), *w = o.w.data<float>().data(),
                *b = o.b.data<float>().data();
    const auto* mask = reinterpret_cast<const unsigned char*>(o.mask.data<bool>().data());
    ways[2].run = [&] {
        const std::int64_t n = size.columns;
        const auto some = [&](std::int64_t from, std::int64_t to) {
            for (std::int64_t i = from; i < to; ++i)
                loop.by_hand({x + i * n, r + i * n, w, b, mask + i * n, labels[static_cast<std::size_t>(i)],
                              y.data() + (loop.to_one ? i : i * n), n});
        };
        // A loop that is too short for several threads runs on one, Tenon's as well as the one by hand.
        if (size.rows * n <= kGrain)
            some(0, size.rows);
        else
            share(size.rows, some);
    };
    for (const auto& way : ways)
        for (int i = 0; i < 3; ++i) way.run();
    std::vector<float> got = y;
    if (loop.to_one) {
        double total = 0;
        for (const float each : got) total += each;
        got = {static_cast<float>(total / static_cast<double>(got.size()))};
    }
    const std::string wrong = difference(loop.tenon(o).to<float>(), got);
    if (wrong.empty())
        measure(ways, settings);
    else
        for (auto& way : ways) way.row.error = wrong;
    sink({ways[0].row, ways[1].row, ways[2].row});
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"problem", 37, true}, {"threads", 7},         {"where", 6, true},
                                                 {"library", 14, true}, {"median", 9},          {"spread", 7},
                                                 {"GB/s", 7},           {"% of bandwidth", 14}, {"of by hand", 10}};
    return all;
}

}  // namespace

void run_loops(int threads, const Settings& settings, const LoopSink& sink) {
    set_team(threads);
    const tenon::Ceilings ceilings = tenon::measure_ceilings(threads);
    const tenon::Bandwidth memory = tenon::measure_bandwidth(threads);
    for (const Loop& loop : kLoops)
        for (const Size& size : loop.to_one ? kClasses : kSizes) {
            const double l2 = ceilings.read[static_cast<std::size_t>(tenon::MemoryLevel::l2)];
            run_loop(loop, size, threads, settings, size.in_l2 ? l2 : loop.to_one ? memory.read : memory.triad, sink);
        }
}

std::string loop_header() { return cli::header(columns()); }

std::string loop_lines(const std::vector<LoopRow>& rows) {
    std::string out;
    for (const LoopRow& row : rows) {
        const std::vector<std::string> head{row.problem, std::to_string(row.threads), row.in_l2 ? "L2" : "memory",
                                            row.library};
        if (!row.error.empty()) {
            out += cli::row({columns().begin(), columns().begin() + 4}, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        cells.insert(cells.end(),
                     {time_text(row.seconds), cli::fixed(100 * row.spread(), 1) + " %",
                      cli::fixed(row.bytes / row.seconds * 1e-9, 2), cli::fixed(100 * row.of_bandwidth(), 1),
                      cli::fixed(row.seconds / rows.back().seconds, 2)});
        out += cli::row(columns(), cells) + '\n';
    }
    return out;
}

std::string json_object(const LoopRow& row) {
    const auto number = [&](double x) { return row.error.empty() ? x : std::nan(""); };
    cli::JsonObject o;
    o.add("suite", kLoopSuite).add("problem", row.problem).add("dtype", "f32").add("threads", row.threads);
    o.add("library", row.library).add("seconds_median", number(row.seconds)).add("gflops", std::nan(""));
    o.add("percent_of_peak", std::nan("")).add("percent_of_roofline", number(100 * row.of_bandwidth()));
    o.add("rows", row.rows).add("columns", row.columns).add("where", row.in_l2 ? "L2" : "memory");
    o.add("bytes", row.bytes).add("bandwidth", row.bandwidth).add("samples", row.samples);
    o.add("calls_per_sample", row.calls).add("spread_percent", number(100 * row.spread()));
    if (!row.error.empty()) o.add("error", row.error);
    return o.text();
}

}  // namespace bench
