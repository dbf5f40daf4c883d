#include "bench.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdio>

#include "bench/blas.h"
#include "bench/device_layers.h"
#include "bench/device_suites.h"
#include "bench/factorizations.h"
#include "bench/lapack.h"
#include "bench/loops.h"
#include "bench/peer.h"
#include "bench/report.h"
#include "bench/rows.h"
#include "bench/run.h"
#include "bench/suites.h"
#include "bench/three_way.h"
#include "bench/train.h"
#include "files.h"
#include "shapes.h"
#include "tenon/error.h"
#include "tenon/machine.h"
#include "tenon/threads.h"
#include "text.h"

namespace cli {
namespace {

// The load average above which other processes count as disturbing. This process on one thread brings it to 1.
constexpr double kQuietLoad = 1.5;

/// The numbers of threads given; by default one and, if the machine has two CPUs, two.
std::vector<int> thread_counts(const std::string& list) {
    if (list.empty()) return tenon::num_threads() > 1 ? std::vector<int>{1, 2} : std::vector<int>{1};
    std::vector<int> counts;
    for (const std::string& item : split(list, ',')) {
        int n = 0;
        const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), n);
        if (error != std::errc() || end != item.data() + item.size() || n < 1 || n > tenon::kMaxThreads)
            throw tenon::ValueError("--threads " + list + ": not whole numbers from 1 to " +
                                    std::to_string(tenon::kMaxThreads) + ", with commas between");
        counts.push_back(n);
    }
    return counts;
}

bench::Selection selection_of(const BenchArguments& arguments) {
    bench::Selection selection;
    selection.shapes = shapes_of(arguments.shapes);
    if (!arguments.types.empty())
        for (const std::string& item : split(arguments.types, ',')) selection.types.push_back(bench::type_named(item));
    if (!arguments.weights.empty())
        for (const std::string& item : split(arguments.weights, ','))
            selection.weights.push_back(bench::parse_weights(item));
    if (!arguments.routines.empty()) selection.routines = split(arguments.routines, ',');
    return selection;
}

bench::Settings settings_of(const BenchArguments& arguments) {
    if (arguments.samples < 7)
        throw tenon::ValueError("--samples " + std::to_string(arguments.samples) + ": at least 7 are needed");
    if (!(arguments.seconds > 0 && arguments.seconds <= 3600))
        throw tenon::ValueError("--seconds " + shortest(arguments.seconds) + ": not above 0 and up to 3600");
    return {arguments.samples, arguments.seconds, arguments.cold};
}

std::vector<bench::Peer> libraries_of(const std::string& names, const bench::Problem& problem) {
    std::vector<std::string> missing, others = split(names, ',');
    const bool dense = problem.structure && std::erase(others, bench::kDense) > 0;
    std::vector<bench::Peer> libraries = bench::load_peers(dense ? others.empty() ? "none" : join(others, ",") : names,
                                                           missing, problem.structure || problem.attention);
    for (const std::string& line : missing) std::fprintf(stderr, "tenon: %s\n", line.c_str());
    if (problem.structure) return bench::layer_peers(libraries, dense);
    if (problem.attention) return bench::attention_peers(libraries);
    if (problem.linear) return bench::linear_peers(libraries);
    if (problem.routine) return bench::routine_peers(libraries);
    if (problem.factorization) return bench::factorization_peers(libraries);
    libraries.insert(libraries.begin(), bench::tenon_peer());
    return libraries;
}

/// Prints rows as they arrive.
class Printer {
  public:
    Printer(bool json, bool cold, const std::vector<bench::Peer>& libraries) : json_(json) {
        if (json_) {
            std::printf("[");
            return;
        }
        for (const bench::Peer& each : libraries) std::printf("%s %s\n", each.name.c_str(), each.version.c_str());
        std::printf("%s; threads are not pinned\n",
                    cold ? "cold: operands beyond the last-level cache" : "warm: the same operands again and again");
        double load = 0;
        if (getloadavg(&load, 1) == 1 && load > kQuietLoad)
            std::printf("the machine is busy (load %.1f): libraries whose threads wait by spinning suffer most\n",
                        load);
    }
    void ceilings(const tenon::Ceilings& ceilings) const {
        if (json_) return;
        std::printf("%s\n\n%s\n", bench::ceilings_text(ceilings).c_str(), bench::table_header().c_str());
        std::fflush(stdout);
    }
    void rows(const std::vector<bench::Row>& rows) {
        if (!json_) {
            std::printf("%s\n", bench::table_lines(rows).c_str());
        } else {
            for (const bench::Row& row : rows) {
                std::printf("%s\n%s", first_ ? "" : ",", bench::json_object(row).c_str());
                first_ = false;
            }
        }
        std::fflush(stdout);
    }
    void end() const {
        if (json_) std::printf("\n]\n");
    }

  private:
    bool json_, first_ = true;
};

/// Options for products, which other suites decline.
void refuse_product_options(const BenchArguments& arguments) {
    const std::string suite = "bench " + arguments.suite;
    for (const auto& [option, given] :
         {std::pair("--dtype", &arguments.types), std::pair("--weights", &arguments.weights),
          std::pair("--routines", &arguments.routines), std::pair("--report", &arguments.report),
          std::pair("--roofline", &arguments.roofline)})
        if (!given->empty()) throw tenon::ValueError(suite + ": takes no " + option);
    if (arguments.cold) throw tenon::ValueError(suite + ": takes no --cold");
}

/// Calls run(threads, settings, sink) for each number of threads, and prints the rows as they arrive.
template <class Row, class Run, class Lines>
void bench_whole(const BenchArguments& arguments, const std::string& header, Run&& run, Lines&& lines) {
    refuse_product_options(arguments);
    const std::vector<int> counts = thread_counts(arguments.threads);
    const bench::Settings settings = settings_of(arguments);
    bool headed = arguments.json;  // the header is printed with the first row
    const char* before = "[\n";
    for (const int threads : counts) {
        tenon::set_num_threads(threads);
        run(threads, settings, [&](const std::vector<Row>& rows) {
            if (!headed) std::printf("%s\n", header.c_str());
            headed = true;
            if (!arguments.json) std::printf("%s\n", lines(rows).c_str());
            for (const Row& row : rows) {
                if (!arguments.json) break;
                std::printf("%s%s", before, bench::json_object(row).c_str());
                before = ",\n";
            }
            std::fflush(stdout);
        });
    }
    if (arguments.json) std::printf("\n]\n");
}

void bench_loops(const BenchArguments& arguments) {
    if (!arguments.shapes.empty()) throw tenon::ValueError("bench loop: takes no --shapes");
    bench_whole<bench::LoopRow>(arguments, bench::loop_header(), bench::run_loops, bench::loop_lines);
}

void bench_factorizations(const BenchArguments& arguments) {
    if (!arguments.shapes.empty()) throw tenon::ValueError("bench small-factorizations: takes no --shapes");
    bench_whole<bench::FactorizationRow>(
        arguments, bench::factorization_header(),
        [&](int threads, const bench::Settings& settings, const bench::FactorizationSink& sink) {
            bench::run_factorizations(arguments.peers, threads, settings, sink);
        },
        bench::factorization_lines);
}

void bench_train(const BenchArguments& arguments) {
    const bool on_gpu = arguments.device == "cuda";
    const std::vector<bench::TrainProblem> problems = bench::train_problems(arguments.shapes, on_gpu);
    BenchArguments own = arguments;
    if (on_gpu) own.threads = "1";
    bench_whole<bench::TrainRow>(
        own, bench::train_header(on_gpu),
        [&](int threads, const bench::Settings& settings, const bench::TrainSink& sink) {
            bench::run_train(problems, arguments.peers, threads, settings, sink);
        },
        bench::train_lines);
}

void bench_three_way(const BenchArguments& arguments) {
    if (!arguments.weights.empty() || !arguments.routines.empty() || !arguments.roofline.empty() || arguments.cold)
        throw tenon::ValueError("bench three-way: takes no --weights, --routines, --roofline or --cold");
    const std::vector<bench::Problem> problems = bench::three_way_problems(selection_of(arguments));
    const bench::Settings settings = settings_of(arguments);
    if (!arguments.report.empty()) check_file("--report", arguments.report);
    std::vector<std::string> missing;
    const std::vector<bench::Peer> ways = bench::three_ways(bench::load_peers(arguments.peers, missing));
    const std::vector<int> counts =
        arguments.threads.empty() ? std::vector<int>{tenon::num_threads()} : thread_counts(arguments.threads);
    bench::Results results{arguments.suite, arguments.command, false, {}, {}, {}};
    for (const bench::Peer& way : ways) results.libraries.emplace_back(way.name, way.version);
    if (!arguments.json) std::printf("%s\n", bench::three_way_header(ways).c_str());
    const char* before = "[\n";
    for (const int threads : counts) {
        results.ceilings.push_back(tenon::measure_ceilings(threads));
        bench::run(problems, ways, results.ceilings.back(), settings, [&](const std::vector<bench::Row>& rows) {
            if (!arguments.json) std::printf("%s", bench::three_way_line(rows).c_str());
            for (const bench::Row& row : rows) {
                if (!arguments.json) break;
                std::printf("%s%s", before, bench::json_object(row).c_str());
                before = ",\n";
            }
            std::fflush(stdout);
            results.rows.insert(results.rows.end(), rows.begin(), rows.end());
        });
    }
    if (arguments.json) std::printf("\n]\n");
    if (!arguments.report.empty()) replace_file("--report", arguments.report, bench::three_way_html(results));
}

void bench_device(const BenchArguments& arguments) {
    if (arguments.device != "cuda") throw tenon::ValueError("bench: --device " + arguments.device + ": cpu, or cuda");
    if (arguments.suite == bench::kTrainSuite) return bench_train(arguments);
    if (arguments.suite == bench::kThreeWaySuite) return bench_three_way(arguments);
    BenchArguments once = arguments;
    once.threads = "1";
    if (bench::has_device_suite(arguments.suite)) {
        const std::vector<bench::DeviceProblem> problems =
            bench::device_problems(arguments.suite, arguments.shapes, arguments.types);
        once.types.clear();
        return bench_whole<bench::DeviceRow>(
            once, bench::device_header(),
            [&](int, const bench::Settings& settings, const bench::DeviceSink& sink) {
                bench::run_device_problems(problems, arguments.peers, settings, sink);
            },
            bench::device_lines);
    }
    if (arguments.suite != "chain")
        throw tenon::ValueError(
            "bench " + arguments.suite +
            ": takes no --device; chain, train, three-way, loop, batched, product and attention do");
    const std::vector<bench::DeviceLayer> layers = bench::device_layers(arguments.shapes, arguments.routines);
    once.routines.clear();
    bench_whole<bench::DeviceLayerRow>(
        once, bench::device_layer_header(),
        [&](int, const bench::Settings& settings, const bench::DeviceLayerSink& sink) {
            bench::run_device_layers(layers, arguments.peers, settings, sink);
        },
        bench::device_layer_lines);
}

}  // namespace

void declare(CLI::App& command, BenchArguments& a) {
    command.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    command
        .add_option("suite", a.suite,
                    join(bench::suite_names(), ", ") + ", " + bench::kLoopSuite + ", " + bench::kTrainSuite + ", " +
                        bench::kFactorizationSuite + ", " + bench::kThreeWaySuite)
        ->required();
    command.add_option("--shapes", a.shapes,
                       "Products instead of the suite's: m x n x k as in 512x768x3072, batches as in 64x(32x32x32) or "
                       "64@32x32x32, with commas between; or @FILE, with one a line");
    command.add_option("--dtype", a.types, "f32, bf16, u8s8, f64: only these, of the suite's");
    command.add_option("--weights", a.weights,
                       "plain, packed, plain-wt, packed-wt: only these, of the suite's; packed ones are reordered "
                       "outside the timing, -wt ones are stored as (n, k)");
    command.add_option(
        "--routines", a.routines,
        "gemm, potrf, gelu, btt-r2, causal, ...: only these, of the suites blas, lapack, linear, chain and "
        "attention");
    std::vector<std::string> peers, of_layers;
    for (const bench::PeerRow& row : bench::peer_rows()) (row.layers_alone ? of_layers : peers).emplace_back(row.name);
    command
        .add_option("--peers", a.peers,
                    "all, none, or of " + join(peers, ", ") + "; of chain and attention also " + join(of_layers, ", ") +
                        ", of chain dense")
        ->capture_default_str();
    command
        .add_option("--device", a.device,
                    "cpu, or cuda: beside PyTorch; suites chain, train, loop, batched, product, attention")
        ->capture_default_str();
    command.add_option("--threads", a.threads, "Counts, with commas between [1,2]");
    command.add_option("--samples", a.samples, "Of each library, at least")->capture_default_str();
    command.add_option("--seconds", a.seconds, "For each library on each problem; seven samples are taken anyway")
        ->capture_default_str();
    command.add_flag("--cold", a.cold, "Rotate through operands beyond the last-level cache");
    command.add_flag("--json", a.json, "A list of JSON objects");
    command.add_option("--report", a.report, "Write the tables to this file, as HTML");
    command.add_option("--roofline", a.roofline,
                       "Write the chart of all products under the roofline to this file, as HTML");
    command.footer(
        "With --json each object has suite, problem, dtype, threads, library, seconds_median, gflops, "
        "percent_of_peak and\npercent_of_roofline, and more (docs/cli.md). What the figures mean: "
        "docs/benchmarks.md.");
}

void bench(const BenchArguments& arguments) {
    if (arguments.device != "cpu") return bench_device(arguments);
    if (arguments.suite == bench::kThreeWaySuite) return bench_three_way(arguments);
    if (arguments.suite == bench::kLoopSuite) return bench_loops(arguments);
    if (arguments.suite == bench::kTrainSuite) return bench_train(arguments);
    if (arguments.suite == bench::kFactorizationSuite) return bench_factorizations(arguments);
    const std::vector<bench::Problem> problems = bench::problems_of(arguments.suite, selection_of(arguments));
    const std::vector<int> counts = thread_counts(arguments.threads);
    const bench::Settings settings = settings_of(arguments);
    if (!arguments.report.empty()) check_file("--report", arguments.report);
    if (!arguments.roofline.empty()) check_file("--roofline", arguments.roofline);
    const std::vector<bench::Peer> libraries = libraries_of(arguments.peers, problems.front());
    bench::Results results{arguments.suite, arguments.command, arguments.cold, {}, {}, {}};
    for (const bench::Peer& each : libraries) results.libraries.emplace_back(each.name, each.version);
    Printer printer(arguments.json, arguments.cold, libraries);
    for (const int threads : counts) {
        results.ceilings.push_back(tenon::measure_ceilings(threads));
        printer.ceilings(results.ceilings.back());
        bench::run(problems, libraries, results.ceilings.back(), settings, [&](const std::vector<bench::Row>& rows) {
            printer.rows(rows);
            results.rows.insert(results.rows.end(), rows.begin(), rows.end());
        });
    }
    printer.end();
    if (!arguments.report.empty()) replace_file("--report", arguments.report, bench::report_html(results));
    if (!arguments.roofline.empty()) replace_file("--roofline", arguments.roofline, bench::roofline_html(results));
}

}  // namespace cli
