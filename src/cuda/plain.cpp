#include "cuda/plain.h"

#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/print_tape.h"
#include "product/axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kThreads = 256;

/// As in plain.cu.
struct Arguments {
    struct Axis {
        std::int64_t extent, a, b, out;
    };
    Axis result[2 * kMaxRank], summed[2 * kMaxRank];
    std::int32_t results = 0, sums = 0;
};

Arguments::Axis axis_of(const product::Axis& x) { return {x.extent, x.a, x.b, x.out}; }

}  // namespace

void contract_plainly(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels) {
    if (a.dtype != b.dtype || a.dtype != out.dtype)
        throw TypeError(
            text("cuda: a contraction of ", name(a.dtype), " and ", name(b.dtype), " to ", name(out.dtype)));
    const product::AxisRoles roles = product::assign_roles(a, b, out, labels);
    const std::int64_t n = out.layout.count();
    if (n == 0) return;
    if (roles.summed.count() == 0) return fill(gpu, 0, out);
    product::AxisList of_result = roles.batch;
    for (const auto* list : {&roles.rows, &roles.columns})
        for (const product::Axis& x : *list) of_result.push_back(x);
    Arguments p{};
    for (const product::Axis& x : product::in_output_order(of_result)) p.result[p.results++] = axis_of(x);
    for (const product::Axis& x : roles.summed) p.summed[p.sums++] = axis_of(x);
    if (p.sums == 0) p.summed[p.sums++] = {1, 0, 0, 0};
    const std::int64_t blocks = (n + kThreads - 1) / kThreads;
    if (blocks > INT32_MAX) throw ValueError(text("cuda: ", n, " elements are too many for one kernel"));
    const Kernel& kernel = gpu.printed(
        text("contract plainly ", static_cast<int>(a.dtype)),
        [&] { return unit("cuda/plain.cu", {"-DTENON_TYPE=" + type_name(a.dtype).substr(sizeof "DType::" - 1)}); },
        "contract");
    launch(gpu, kernel, {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {kThreads}}, out.data,
           static_cast<const void*>(a.data), static_cast<const void*>(b.data), n, p);
}

}  // namespace tenon::cuda
