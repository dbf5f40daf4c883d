// What a product would do, as text.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "product/dense/blocked.h"
#include "product/matrices.h"
#include "product/quantized.h"
#include "tenon/machine.h"
#include "tenon/product.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

/// Operations a second of one type, from the measured peak of float32 or float64: AVX-512 BF16 and VNNI do two and four
/// times as many in an instruction.
double peak_of(DType t, int threads) {
    const double peak =
        measure_peak(machine().instruction_set, t == DType::float64 ? DType::float64 : DType::float32, threads);
    if (!dense::uses_dot_instructions()) return peak;
    return peak * (t == DType::bfloat16 ? 2 : size_of(t) == 1 ? 4 : 1);
}

}  // namespace

std::string explain(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
    check_gemm(a, b, c, options);
    const auto count = [&](const Matrix& m) {
        const bool repeated = m.batch_stride == 0;
        return static_cast<double>(m.rows) * static_cast<double>(m.columns) * static_cast<double>(size_of(m.dtype)) *
               static_cast<double>(repeated ? 1 : options.batch);
    };
    const double operations = 2.0 * static_cast<double>(options.batch) * static_cast<double>(c.rows) *
                              static_cast<double>(c.columns) * static_cast<double>(a.columns);
    const double bytes = count(a) + count(b) + count(c) * (options.beta != 0 ? 2 : 1);
    const int threads = num_threads();
    const double peak = peak_of(a.dtype, threads), bandwidth = measure_bandwidth(threads).read;
    const double intensity = bytes > 0 ? operations / bytes : 0, roof = std::min(peak, intensity * bandwidth);

    std::string s = text(name(a.dtype), " (", c.rows, ", ", c.columns, ") = (", a.rows, ", ", a.columns, ") (", b.rows,
                         ", ", b.columns, ")", options.batch > 1 ? text(", ", options.batch, " times") : "", ", ",
                         threads, threads == 1 ? " thread\n" : " threads\n");
    s += text("  ", static_cast<std::int64_t>(operations), " operations, ", static_cast<std::int64_t>(bytes),
              " bytes, ", std::floor(intensity * 10) / 10, " operations a byte\n");
    s += text("  from memory at most ", static_cast<std::int64_t>(roof / 1e9),
              " GFLOP/s: ", roof < peak ? "bound by memory" : "bound by arithmetic", " (peak ",
              static_cast<std::int64_t>(peak / 1e9), " GFLOP/s, memory ", static_cast<std::int64_t>(bandwidth / 1e9),
              " GB/s)\n");
    bool chosen = false;
    const auto rows = with_scaling(a, c, options, [&](const LoweredEpilogue* epilogue) {
        return dense::candidates(roles_of(a, b, c, options.batch), view_of(a), view_of(b), view_of(c),
                                 finish_of(options), {nullptr, epilogue});
    });
    for (const dense::Candidate& row : rows) {
        const bool runs = !row.declines && !chosen;
        chosen = chosen || runs;
        s += text(runs ? "  > " : "    ", row.name, ": ", row.what,
                  row.declines ? text("; declines: ", row.declines)
                  : runs       ? ""
                               : "; would do as well",
                  "\n");
    }
    return s;
}

}  // namespace tenon::product
