#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "cuda/column_sums.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/print_tape.h"
#include "tape/reduce_axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using tape::Axis;
using tape::Reduction;

constexpr const char* kNames[] = {"sum", "prod", "max", "min"};

// As declared in reduction.cuh.
struct Problem {
    const void* in;
    void* out;
    void *partial, *places;
    std::int64_t outputs, length, chunks, chunk, kept_count, reduced_count;
    Axis kept[kMaxRank], reduced[kMaxRank];
};
static_assert(kMaxRank == 12);

Problem problem_of(const View& in, const Axes& axes, const View& out) {
    std::vector<Axis> kept, reduced;
    for (int d = 0, o = 0; d < in.layout.rank(); ++d) {
        const std::int64_t extent = in.shape()[d], stride = in.layout.strides[d];
        if (std::ranges::find(axes, d) != axes.end())
            reduced.push_back({extent, stride, 0});
        else
            kept.push_back({extent, stride, out.layout.strides[o++]});
    }
    Problem p{in.data, out.data, nullptr, nullptr, product(kept), product(reduced), 1, 0, 0, 0, {}, {}};
    join_axes(reduced);
    std::ranges::stable_sort(kept, [](const Axis& a, const Axis& b) { return std::abs(a.in) > std::abs(b.in); });
    join_axes(kept);
    if (reduced.empty()) reduced.push_back({1, 0, 0});
    p.kept_count = static_cast<std::int64_t>(kept.size());
    p.reduced_count = static_cast<std::int64_t>(reduced.size());
    std::copy(kept.begin(), kept.end(), p.kept);
    std::copy(reduced.begin(), reduced.end(), p.reduced);
    return p;
}

// As declared in reduce.cu. One launch joins the lanes of several sums of one dtype.
constexpr std::size_t kMaxJoins = 8;
struct Joins {
    const void* partial[kMaxJoins];
    void* out[kMaxJoins];
    std::int64_t outputs, chunks;
};

constexpr std::int64_t kMaxTiles = 1024;  // the most tiles of results in reduce_lanes, which counts the blocks of each

/// How columns are reduced. A thread reads `wide` adjacent columns at once, and a block has `across` such threads for
/// each of its lanes. It has all lanes (reduce_columns), or some of them (reduce_lanes).
struct Across {
    int wide = 0, across = 0;
    bool some_lanes = false;
};

const char* source_of(std::string_view function) {
    if (function == "arg_extreme" || function == "join_extremes") return "cuda/arguments.cu";
    const bool runs = function.starts_with("cumulate") || function == "totals" || function == "run_totals";
    return runs ? "cuda/running.cu" : "cuda/reduce.cu";
}

const Kernel& kernel_of(Gpu& gpu, Reduction op, DType type, const char* function, const Across& how = {}) {
    const std::string key = text("reduce ", function, ' ', kNames[static_cast<int>(op)], ' ', static_cast<int>(type),
                                 ' ', how.wide, ' ', how.across);
    const auto make = [&] {
        std::string wanted = text("-DTENON_", function);
        std::ranges::transform(wanted, wanted.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
        return unit(source_of(function), {text("-DTENON_REDUCTION=", kNames[static_cast<int>(op)]),
                                          "-DTENON_TYPE=" + type_name(type).substr(sizeof "DType::" - 1), wanted,
                                          text("-DTENON_WIDE=", how.wide), text("-DTENON_ACROSS=", how.across),
                                          text("-DTENON_TILES=", kMaxTiles), text("-DTENON_JOINS=", kMaxJoins)});
    };
    return gpu.printed(key, make, function);
}

void start(Gpu& gpu, Reduction op, DType type, const char* function, std::int64_t blocks, std::uint32_t threads,
           const Problem& p, const Across& how = {}) {
    if (blocks > INT32_MAX) throw ValueError(text("cuda: ", kNames[static_cast<int>(op)], ": too many results"));
    launch(gpu, kernel_of(gpu, op, type, function, how),
           {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {threads}, .overlaps_previous = true}, p);
}

/// Starts a kernel with a warp for each item. Blocks have few warps where otherwise multiprocessors would have no work.
void start_warps(Gpu& gpu, Reduction op, DType type, const char* function, std::int64_t items, const Problem& p) {
    const std::int64_t warps = std::clamp<std::int64_t>(items / gpu.multiprocessors(), 1, 8);
    start(gpu, op, type, function, ceil_div(items, warps), static_cast<std::uint32_t>(32 * warps), p);
}

/// The size in bytes of an accumulator.
std::int64_t accumulator_bytes(DType type) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(size_of(type)), is_floating(type) ? 4 : 1);
}

/// How columns are reduced that are adjacent in memory and aligned to what a thread reads at once. A thread reads up to
/// 16 bytes, and less where that makes more blocks. `wide` is 0 for other columns.
Across across_of(const Gpu& gpu, const Problem& p, std::int64_t size) {
    const Axis& last = p.kept[p.kept_count - 1];
    if (p.reduced_count != 1 || last.in != 1) return {};
    std::int64_t wide = std::min<std::int64_t>(16 / size, 8);
    const auto fits = [&](std::int64_t n) {
        if (last.extent % n != 0 ||
            reinterpret_cast<std::uintptr_t>(p.in) % static_cast<std::uintptr_t>(n * size) != 0 ||
            p.reduced[0].in % n != 0)
            return false;
        return std::all_of(p.kept, p.kept + p.kept_count - 1, [n](const Axis& a) { return a.in % n == 0; });
    };
    while (wide > 1 && !fits(wide)) wide /= 2;
    int across = 8;
    const auto blocks = [&] { return p.outputs / last.extent * ceil_div(last.extent, wide * across) * p.chunks; };
    if (blocks() >= 2 * gpu.multiprocessors()) return {static_cast<int>(wide), across};
    if (constexpr std::int64_t kLong = 2048; p.length >= kLong && blocks() <= kMaxTiles)
        return {static_cast<int>(std::min(wide, std::max<std::int64_t>(1, 4 / size))), 32, true};
    // A block still reads whole sectors of memory, which have 32 bytes.
    while (across > 1 && wide * across * size > 32 && blocks() < 2 * gpu.multiprocessors()) across /= 2;
    return {static_cast<int>(wide), across};
}

/// Fills the output with the result of reducing no elements, which the host computes.
void fill_empty(Gpu& gpu, Reduction op, const View& out) {
    std::uint64_t bits = 0;
    const View none{nullptr, out.dtype, Layout::contiguous({0})}, one{&bits, out.dtype, {}};
    tape::reduce(op, none, {0}, one);
    fill(gpu, bits, out);
}

}  // namespace

void reduce(Gpu& gpu, Reduction op, const View& in, const Axes& axes, const View& out) {
    Problem p = problem_of(in, axes, out);
    if (p.outputs == 0) return;
    if (p.length == 0) return fill_empty(gpu, op, out);
    p.chunks = ceil_div(p.length, tape::kReduceChunk);
    const bool across =
        p.kept_count > 0 && std::abs(p.kept[p.kept_count - 1].in) < std::abs(p.reduced[p.reduced_count - 1].in);
    const Across how = across ? across_of(gpu, p, static_cast<std::int64_t>(size_of(in.dtype))) : Across{};
    std::shared_ptr<Storage> partial;
    if (p.chunks > 1 || how.some_lanes) {
        partial = gpu.allocate(p.chunks * (how.some_lanes ? 64 : 1) * p.outputs * accumulator_bytes(in.dtype));
        p.partial = partial->data();
    }
    if (how.some_lanes) {
        const std::int64_t last = p.kept[p.kept_count - 1].extent;
        const Dimensions grid{8, static_cast<std::uint32_t>(p.chunks),
                              static_cast<std::uint32_t>(p.outputs / last * ceil_div(last, how.wide * how.across))};
        // With more blocks than multiprocessors, blocks that start while the previous kernel ends would be spread
        // unevenly over the multiprocessors.
        const bool overlaps = grid.count() <= static_cast<std::uint64_t>(gpu.multiprocessors());
        return launch(gpu, kernel_of(gpu, op, in.dtype, "reduce_lanes", how),
                      {.grid = grid, .block = {256}, .overlaps_previous = overlaps}, p);
    }
    if (how.wide > 0) {
        const std::int64_t last = p.kept[p.kept_count - 1].extent;
        start(gpu, op, in.dtype, "reduce_columns", p.outputs / last * ceil_div(last, how.wide * how.across) * p.chunks,
              static_cast<std::uint32_t>(64 * how.across), p, how);
    } else if (across) {
        const std::int64_t last = p.kept[p.kept_count - 1].extent;
        start(gpu, op, in.dtype, "reduce_across", p.outputs / last * ceil_div(last, 32) * p.chunks, 1024, p);
    } else {
        start_warps(gpu, op, in.dtype, "reduce_along", p.outputs * p.chunks, p);
    }
    if (p.chunks == 1) return;
    constexpr std::int64_t kManyChunks = 16;
    if (p.chunks >= kManyChunks && p.outputs <= 4 * gpu.multiprocessors())
        start(gpu, op, in.dtype, "join_long", p.outputs, 256, p);
    else
        start(gpu, op, in.dtype, "join_chunks", ceil_div(p.outputs, 128), 128, p);
}

void detail::join_lanes(Gpu& gpu, std::span<const std::shared_ptr<Storage>> partial, std::int64_t chunks,
                        std::span<const View> outputs) {
    for (std::size_t first = 0; first < outputs.size();) {
        const DType type = outputs[first].dtype;
        Joins joins{{}, {}, outputs[first].layout.count(), chunks};
        std::uint32_t n = 0;
        for (; first < outputs.size() && n < kMaxJoins && outputs[first].dtype == type; ++first, ++n)
            joins.partial[n] = partial[first]->data(), joins.out[n] = outputs[first].data;
        const auto blocks = static_cast<std::uint32_t>(ceil_div(joins.outputs, 32));
        launch(gpu, kernel_of(gpu, Reduction::sum, type, "join_columns"),
               {.grid = {blocks, n}, .block = {1024}, .overlaps_previous = true}, joins);
    }
}

void argreduce(Gpu& gpu, Reduction op, const View& in, const Axes& axes, const View& out) {
    Problem p = problem_of(in, axes, out);
    if (p.outputs == 0) return;
    // Any cut gives the same result. There are half as many warps as the device holds, each with 1,024 elements or
    // more.
    constexpr std::int64_t kWarps = 32, kLeast = 1024;
    const std::int64_t wanted = ceil_div(kWarps * gpu.multiprocessors(), p.outputs);
    p.chunk = std::max(kLeast, ceil_div(ceil_div(p.length, wanted), 32) * 32);
    p.chunks = std::max<std::int64_t>(1, ceil_div(p.length, p.chunk));
    const std::int64_t items = p.outputs * p.chunks;
    std::shared_ptr<Storage> partial, places;
    if (p.chunks > 1) {
        partial = gpu.allocate(items * accumulator_bytes(in.dtype));
        places = gpu.allocate(items * static_cast<std::int64_t>(sizeof(std::int64_t)));
        p.partial = partial->data(), p.places = places->data();
    }
    start_warps(gpu, op, in.dtype, "arg_extreme", items, p);
    if (p.chunks > 1) start(gpu, op, in.dtype, "join_extremes", p.outputs, 1024, p);
}

void cumulative(Gpu& gpu, Reduction op, const View& in, int axis, const View& out) {
    constexpr std::int64_t kPiece = 2048;  // as in running.cu
    View kept_out = out;
    kept_out.layout.shape.erase(axis);
    kept_out.layout.strides.erase(axis);
    Problem p = problem_of(in, Axes{axis}, kept_out);
    if (p.outputs == 0 || p.length == 0) return;
    p.reduced[0] = {p.length, in.layout.strides[axis], out.layout.strides[axis]};
    p.reduced_count = 1;
    // The length alone decides the order, so that the bits of a line do not depend on the lines beside it.
    if (p.length <= kPiece) return start(gpu, op, in.dtype, "cumulate", ceil_div(p.outputs, 128), 128, p);
    p.chunks = ceil_div(p.length, kPiece);
    const auto partial = gpu.allocate(p.outputs * p.chunks * accumulator_bytes(in.dtype));
    p.partial = partial->data();
    start(gpu, op, in.dtype, "totals", p.outputs * p.chunks, 128, p);
    start(gpu, op, in.dtype, "run_totals", p.outputs, 128, p);
    start(gpu, op, in.dtype, "cumulate_pieces", p.outputs * p.chunks, 128, p);
}

}  // namespace tenon::cuda
