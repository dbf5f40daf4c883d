// What a product would do, as text.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <map>
#include <mutex>

#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/dense/tuning.h"
#include "product/matrices.h"
#include "product/quantized.h"
#include "tenon/machine.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

/// Measured once for each instruction set. Other callers wait meanwhile.
Ceilings ceilings_of(int threads) {
    static std::mutex mutex;
    static std::map<std::pair<int, std::string>, Ceilings> measured;
    const std::string set = machine().instruction_set;
    const std::lock_guard lock(mutex);
    const auto found = measured.find({threads, set});
    return found != measured.end() ? found->second : measured[{threads, set}] = measure_ceilings(threads, set);
}

/// Three digits, with a prefix of 1000: "1.23 G".
std::string si(double x) {
    constexpr const char* kPrefixes[] = {"n", "u", "m", "", "k", "M", "G", "T", "P"};
    int power = 3;
    for (; x >= 999.5 && power < 8; ++power) x /= 1000;
    for (; x < 0.9995 && power > 0; --power) x *= 1000;
    return text(std::setprecision(3), x, " ", kPrefixes[power]);
}

/// A whole number, which may be too large for any integer type.
std::string whole(double x) { return text(std::fixed, std::setprecision(0), x); }

double bytes_of(const Matrix& m, std::int64_t batch) {
    return static_cast<double>(m.rows) * static_cast<double>(m.columns) * static_cast<double>(size_of(m.dtype)) *
           static_cast<double>(m.batch_stride == 0 ? 1 : batch);
}

std::string estimate(const Way& way, double operations, double roof) {
    if (operations == 0) return text("; about ", si(way.seconds), "s");
    // The model's rates are those of the CPU it was fitted on: it may promise more than this one can.
    const double seconds = way.tuned ? way.seconds : std::max(way.seconds, operations / roof);
    const double rate = operations / seconds;
    return text("; about ", si(seconds), "s, ", si(rate), "FLOP/s, ", std::lround(100 * rate / roof),
                " % of the roofline");
}

}  // namespace

std::vector<Way> ways(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check_gemm(a, b, c, options);
    std::vector<Way> all;
    const auto rows = with_scaling(a, c, options, [&](const LoweredEpilogue* epilogue) {
        return dense::candidates(roles_of(a, b, c, options.batch), elements_of(a), elements_of(b), elements_of(c),
                                 finish_of(options), {nullptr, epilogue});
    });
    for (const dense::Candidate& row : rows)
        all.push_back({row.name, row.what, row.declines ? row.declines : "",
                       row.declines ? std::numeric_limits<double>::quiet_NaN() : row.seconds, row.runs, row.tuned});
    return all;
}

std::string explain(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    const std::vector<Way> all = ways(a, b, c, options);
    const double operations = 2.0 * static_cast<double>(options.batch) * static_cast<double>(c.rows) *
                              static_cast<double>(c.columns) * static_cast<double>(a.columns);
    const double bytes = bytes_of(a, options.batch) + bytes_of(b, options.batch) +
                         bytes_of(c, options.batch) * (options.beta != 0 ? 2 : 1);
    const int threads = num_threads();
    std::string s = text(name(a.dtype), " (", c.rows, ", ", c.columns, ") = (", a.rows, ", ", a.columns, ") (", b.rows,
                         ", ", b.columns, ")", options.batch > 1 ? text(", ", options.batch, " times") : "", ", ",
                         threads, threads == 1 ? " thread\n" : " threads\n");
    if (all.empty()) return s += "  nothing to compute\n";
    const Ceilings ceilings = ceilings_of(threads);
    const MemoryLevel level = ceilings.level_of(bytes);
    const double peak = ceilings.peak(b.dtype), read = ceilings.read[static_cast<std::size_t>(level)],
                 roof = ceilings.roofline(b.dtype, operations, bytes, level);
    s += text("  ", whole(operations), " operations, ", whole(bytes), " bytes, ",
              std::trunc(operations / bytes * 10) / 10, " operations a byte\n");
    s += text("  roofline ", si(roof), "FLOP/s: bound by ", roof < peak || std::isnan(peak) ? "reading" : "arithmetic",
              " (peak ", std::isnan(peak) ? "unknown" : si(peak) + "FLOP/s", ", ", tenon::name(level), " ", si(read),
              "B/s)\n");
    for (const Way& way : all)
        s += text(way.runs ? "  > " : "    ", way.name, ": ", way.what,
                  way.declines.empty() ? estimate(way, operations, roof) : text("; declines: ", way.declines),
                  way.runs && way.tuned ? "; tuned" : "", "\n");
    return s;
}

void tune_machine() { dense::remember(measure_ceilings(num_threads(), machine().instruction_set)); }

}  // namespace tenon::product
