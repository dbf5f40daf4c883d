#include "cuda/chain/chain.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

#include "base/text.h"
#include "cuda/chain/maps.h"
#include "cuda/chain/ring.h"
#include "cuda/launch.h"
#include "cuda/wgmma.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr int kTileRows = 32,
              kStepRows = 128;  // of the passes, and of the gradients' steps, as chain/stationary.cuh has them
constexpr int kSharedLimit = 227 << 10;

/// How a shape is laid over a cluster; the kernel derives the same from its macros.
struct Plan {
    int wide;  // groups of 64 columns
    int cluster;  // blocks
    int first, second;  // wide groups of each product in a block (of the second, in a pass)
    int shared_bytes;
};

Plan plan_of(const ChainShape& s) {
    Plan p{};
    p.wide = static_cast<int>(s.width() / 64);
    p.cluster = s.block == 32 ? 2 * s.rank : s.rank == 1 ? 8 : 16;
    p.first = p.wide / p.cluster;
    p.second = 8 / s.rank;
    const int xs = p.first == 8 ? 2 : 3, line = kTileRows * 128;
    p.shared_bytes = 1024 + xs * p.first * line + 3 * 32768 + 2 * p.second * line + 16 * (xs + 3);
    return p;
}

std::int64_t tiles_of(const ChainShape& s) {  // whole steps of the gradients
    return (s.rows + kStepRows - 1) / kStepRows * (kStepRows / kTileRows);
}

/// Clusters that the device holds at a time; the driver takes microseconds to say.
std::int64_t clusters_held(Gpu& gpu, const Kernel& kernel, const Launch& how) {
    thread_local std::unordered_map<const Kernel*, int> known;
    const auto [at, is_new] = known.try_emplace(&kernel, 0);
    if (is_new) at->second = clusters(gpu, kernel, how);
    if (at->second < 1) throw ValueError(text("cuda chain: the device holds no cluster of ", how.cluster.x, " blocks"));
    return at->second;
}

/// Boxes of a tile: columns, then rows in the order in which a thread's sums of a column are rows side by side (column
/// 8j + 2q + e of wgmma is row 8q + 2j + e), then wide groups.
TensorMap permuted_rows(const ChainShape& s, const Plan& p, const void* x) {
    const auto row = static_cast<std::uint64_t>(s.width() * 2);
    return map_of<5>(x, {64, 2, static_cast<std::uint64_t>(s.rows) / 8, 4, static_cast<std::uint64_t>(p.wide)},
                     {row, 8 * row, 2 * row, 128}, {64, 2, 4, 4, static_cast<std::uint32_t>(p.first)});
}

TensorMap rows_of(const ChainShape& s, const Plan& p, const void* y, std::uint32_t rows, std::uint32_t groups) {
    const auto row = static_cast<std::uint64_t>(s.width() * 2);
    return map_of<3>(y, {64, static_cast<std::uint64_t>(s.rows), static_cast<std::uint64_t>(p.wide)}, {row, 128},
                     {64, rows, groups});
}

/// Parts of the rows that fill the device with the blocks of one core's gradient. The number follows from the shape, so
/// the bits do.
std::int32_t parts_of(const ChainShape& s) { return s.block == 32 ? 8 : 2; }

bool is_aligned(const Core& c) {
    const auto in_eights = [](std::int64_t stride) { return stride == 1 || stride % 8 == 0; };
    const CoreStrides& s = c.strides;
    return reinterpret_cast<std::uintptr_t>(c.data) % 16 == 0 && in_eights(s.group) && in_eights(s.other) &&
           in_eights(s.rank) && in_eights(s.inner);
}

/// Whether elements that a sum meets in turn lie side by side in both cores.
bool is_k_contiguous(const Pass& p) { return p.first.strides.inner == 1 && p.second.strides.other == 1; }
bool is_m_contiguous(const Pass& p) { return p.first.strides.other == 1 && p.second.strides.inner == 1; }

/// Whether the cores fill the device, not a cluster.
bool is_ring(const ChainShape& s) { return s.block == ring::kBlock; }

}  // namespace

Unit pass_unit(const ChainShape& s, bool k_contiguous, bool keep) {
    if (is_ring(s)) return ring::pass_unit(s, k_contiguous, keep);
    Unit u = unit("cuda/chain/stationary.cu",
                  {text("-DBLOCK=", s.block), text("-DRANK=", s.rank), text("-DCLUSTER=", plan_of(s).cluster),
                   text("-DK_CONTIGUOUS=", k_contiguous ? 1 : 0), text("-DKEEP=", keep ? 1 : 0)});
    u.text = print_wgmma(32, LeftOperand::registers) + u.text;
    return u;
}

Unit gradient_unit(const ChainShape& s, DType dtype) {
    if (is_ring(s)) return ring::gradient_unit(s, dtype);
    Unit u = unit("cuda/chain/gradient.cu", {text("-DBLOCK=", s.block), text("-DRANK=", s.rank),
                                             text("-DOUT=", dtype == DType::float32 ? "float" : "bf16")});
    u.text = print_wgmma(64 * s.rank, LeftOperand::shared) + u.text;
    return u;
}

Unit unpack_unit(const ChainShape& s) {
    if (is_ring(s)) return ring::unpack_unit(s);
    return unit("cuda/chain/unpack.cu", {text("-DBLOCK=", s.block), text("-DRANK=", s.rank)});
}

const char* declines(const Gpu& gpu, const Pass& p) {
    const ChainShape& s = p.shape;
    if (gpu.major() != 9 || gpu.minor() != 0) return "the kernel is of compute capability 9.0 alone (wgmma, clusters)";
    if (s.block != 32 && s.block != 64 && !is_ring(s))
        return "cores of blocks other than 32, 64 and 128 do not stay on the device";
    if (s.rank != 1 && s.rank != 2 && s.rank != 4) return "ranks other than 1, 2 and 4";
    if (is_ring(s) && gpu.multiprocessors() < ring::kBlock)
        return "the device does not hold the blocks of 128 groups at a time";
    if (s.rows % 8 != 0 && !is_ring(s)) return "rows come in eights";
    if (s.rows > INT32_MAX - kStepRows) return "more rows than 2^31";
    if (!is_k_contiguous(p) && !is_m_contiguous(p)) return "elements of the cores do not lie side by side";
    if (!is_aligned(p.first) || !is_aligned(p.second)) return "the cores' elements do not come in aligned eights";
    if (gpu.shared_bytes_per_block() < kSharedLimit) return "a block needs 227 KiB of shared memory";
    return nullptr;
}

std::int64_t kept_bytes(const ChainShape& s) {
    return is_ring(s) ? ring::kept_bytes(s) : tiles_of(s) * kTileRows * s.width() * s.rank * 2;
}

void run(Gpu& gpu, const Pass& p) {
    const ChainShape& s = p.shape;
    if (const char* why = declines(gpu, p))
        throw ValueError(text("cuda chain: block ", s.block, ", rank ", s.rank, ", ", s.rows, " rows: ", why));
    if (s.rows == 0) return;
    if (is_ring(s)) return ring::run(gpu, p, is_k_contiguous(p));
    struct Arguments {
        std::int32_t tiles, pass_group;
        Core first, second;
        void* kept;
    };
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const Plan plan = plan_of(s);
    const bool k_contiguous = is_k_contiguous(p), keep = p.kept != nullptr;
    const Kernel& kernel = gpu.printed(
        text("chain pass ", s.block, " ", s.rank, " ", k_contiguous, " ", keep),
        [&] { return pass_unit(s, k_contiguous, keep); }, "stationary");
    const TensorMap in = permuted_rows(s, plan, p.x);
    const TensorMap out = rows_of(s, plan, p.y, kTileRows, static_cast<std::uint32_t>(plan.second / 2));
    Launch how;
    how.block = {512};
    how.cluster = {static_cast<std::uint32_t>(plan.cluster)};
    how.grid = how.cluster;
    how.shared_bytes = static_cast<std::uint32_t>(plan.shared_bytes);
    const std::int64_t tiles = tiles_of(s);
    how.grid.x *= static_cast<std::uint32_t>(std::min(clusters_held(gpu, kernel, how), tiles));
    for (std::int32_t group = 0; group < plan.wide; group += plan.second * plan.cluster)
        launch(gpu, kernel, how, in, out,
               Arguments{static_cast<std::int32_t>(tiles), group, p.first, p.second, p.kept});
}

void run(Gpu& gpu, const CoreGradient& g) {
    const ChainShape& s = g.shape;
    if (g.dtype != DType::bfloat16 && g.dtype != DType::float32)
        throw TypeError(text("cuda chain: the gradient of a core in ", name(g.dtype), "; it is bfloat16 or float32"));
    const std::int64_t elements = s.core_elements();
    if (s.rows == 0) return gpu.fill_bytes(g.gradient, 0, elements * static_cast<std::int64_t>(size_of(g.dtype)));
    if (is_ring(s)) return ring::run(gpu, g);
    struct Arguments {
        std::int32_t steps, parts;
        const void* kept;
        void* sums;
        CoreStrides strides;
        std::int64_t part;
    };
    const Gpu::Scope scope(gpu);
    const Plan plan = plan_of(s);
    const std::int32_t parts = parts_of(s);
    const auto sums = gpu.allocate(parts * elements * static_cast<std::int64_t>(sizeof(float)));
    const auto kernel = [&](const char* function) -> const Kernel& {
        return gpu.printed(
            text("chain gradient ", s.block, " ", s.rank, " ", name(g.dtype), " ", function),
            [&] { return gradient_unit(s, g.dtype); }, function);
    };
    Launch how;
    how.grid = {static_cast<std::uint32_t>(plan.wide * parts)};
    how.block = {160};
    const int stages = s.rank == 1 ? 6 : s.rank == 2 ? 4 : 2;
    how.shared_bytes = static_cast<std::uint32_t>(1024 + stages * (kStepRows * 128 * (1 + s.rank) + 16));
    launch(gpu, kernel("core_gradient"), how, rows_of(s, plan, g.x, kStepRows, 1),
           Arguments{static_cast<std::int32_t>(tiles_of(s) * kTileRows / kStepRows), parts, g.kept, sums->data(),
                     g.strides, elements});
    Launch sum;
    sum.block = {256};
    sum.grid = {static_cast<std::uint32_t>((elements + 255) / 256)};
    launch(gpu, kernel("sum_parts"), sum, static_cast<const float*>(sums->data()), g.gradient, parts,
           static_cast<std::int32_t>(elements));
}

void unpack(Gpu& gpu, const ChainShape& s, const void* kept, void* to, std::int64_t row_stride, const CoreStrides& z) {
    if (s.rows == 0) return;
    if (is_ring(s)) return ring::unpack(gpu, s, kept, to, row_stride, z);
    const Kernel& kernel = gpu.printed(
        text("chain unpack ", s.block, " ", s.rank), [&] { return unpack_unit(s); }, "unpack");
    Launch how;
    how.block = {256};
    how.grid = {static_cast<std::uint32_t>((s.rows + kTileRows - 1) / kTileRows), static_cast<std::uint32_t>(s.block)};
    launch(gpu, kernel, how, kept, to, s.rows, row_stride, z);
}

}  // namespace tenon::cuda
