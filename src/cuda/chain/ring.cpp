#include "cuda/chain/ring.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/chain/maps.h"
#include "cuda/wgmma.h"

namespace tenon::cuda::ring {
namespace {

constexpr int kTileRows = 64;  // as in chain/ring.cuh
constexpr int kBoxBytes = 64 * 128;
constexpr int kCountsBehind = 32;  // counters behind the last tile's that a warp may read

/// What the kernels derive from RANK and GRADIENT, too.
struct Plan {
    int threads;
    int passes;  // each for kBlock / passes groups of the second product
    int window;  // tiles of the ring: few enough to stay in the L2, and enough for blocks not to wait for each other
    int shared_bytes;
};

Plan plan_of(const ChainShape& s, bool gradient) {
    const bool wide = s.rank == 4;
    const int core = wide ? 8 : 0, xs = wide || gradient ? 3 : 4, outs = 4,
              ins = gradient      ? 3
                    : s.rank == 1 ? 5
                    : s.rank == 2 ? 6
                                  : 4,
              ys = wide ? 2 : 4, in = gradient ? 4 : 2;
    return {wide ? 512 : 640, wide ? 2 : 1, s.rank == 1 ? 8 : 5,
            1024 + (core + 2 * xs + outs + in * ins + ys) * kBoxBytes + 8 * (2 * (xs + outs + ins) + 1)};
}

std::int64_t tiles_of(const ChainShape& s) { return (s.rows + kTileRows - 1) / kTileRows; }

/// The size in bytes of a tile of the intermediate with so many groups of the second product.
std::int64_t tile_bytes(const ChainShape& s, int groups) {
    return std::int64_t{kTileRows} * kBlock * s.rank * groups * 2;
}

TensorMap rows_of(const ChainShape& s, const void* x, std::uint32_t columns) {
    const auto row = static_cast<std::uint64_t>(s.width() * 2);
    return map_of<3>(x, {64, static_cast<std::uint64_t>(s.rows), static_cast<std::uint64_t>(s.width() / 64)},
                     {row, 128}, {64, kTileRows, columns / 64});
}

/// The map of the intermediate, [slot][group of the second product][line][row]. A box has `lines` lines of each of
/// `at_once` groups.
TensorMap intermediate(const ChainShape& s, const void* z, int groups, std::int64_t slots, std::uint32_t lines,
                       std::uint32_t at_once) {
    return map_of<4>(z,
                     {kTileRows, static_cast<std::uint64_t>(kBlock * s.rank), static_cast<std::uint64_t>(groups),
                      static_cast<std::uint64_t>(slots)},
                     {kTileRows * 2, static_cast<std::uint64_t>(tile_bytes(s, 1)),
                      static_cast<std::uint64_t>(tile_bytes(s, groups))},
                     {kTileRows, lines, at_once, 1});
}

/// How many lines of the intermediate a block of chain/ring_gradient.cu takes.
int lines_at_once(const ChainShape& s) { return s.rank == 1 ? 128 : 256; }

}  // namespace

Unit pass_unit(const ChainShape& s, bool k_contiguous, bool keep, const DType* gradient) {
    Unit u = unit(s.rank == 4 ? "cuda/chain/ring_wide.cu" : "cuda/chain/ring.cu",
                  {text("-DRANK=", s.rank), text("-DK_CONTIGUOUS=", k_contiguous ? 1 : 0),
                   text("-DKEEP=", keep ? 1 : 0), text("-DGRADIENT=", gradient ? 1 : 0),
                   text("-DOUT=", gradient && *gradient == DType::bfloat16 ? "bf16" : "float")});
    u.text = print_wgmma(s.rank == 2 || gradient ? 32 : 64, LeftOperand::registers) + u.text;
    if (s.rank == 4) u.text = print_wgmma(64, LeftOperand::shared) + u.text;
    if (gradient) u.text = print_wgmma(kBlock, LeftOperand::shared) + u.text;
    return u;
}

Unit gradient_unit(const ChainShape& s, DType dtype) {
    Unit u = unit("cuda/chain/ring_gradient.cu",
                  {text("-DRANK=", s.rank), text("-DOUT=", dtype == DType::float32 ? "float" : "bf16")});
    u.text = print_wgmma(lines_at_once(s), LeftOperand::shared) + u.text;
    return u;
}

Unit unpack_unit(const ChainShape& s) { return unit("cuda/chain/ring_unpack.cu", {text("-DRANK=", s.rank)}); }

std::int64_t kept_bytes(const ChainShape& s) { return tiles_of(s) * tile_bytes(s, kBlock); }

void run(Gpu& gpu, const Pass& p, bool k_contiguous) {
    struct Arguments {
        std::int32_t tiles, rows, slots, window, pass_group;
        Core first, second;
        std::int32_t *ready, *freed;
        void* gradient;
        CoreStrides strides;
    };
    const ChainShape& s = p.shape;
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const bool keep = p.kept != nullptr;
    const DType* gradient = p.beside.gradient ? &p.beside.dtype : nullptr;
    const Plan plan = plan_of(s, gradient != nullptr);
    const Kernel& kernel = gpu.printed(
        text("chain ring ", s.rank, " ", k_contiguous, " ", keep, " ", gradient ? name(*gradient) : ""),
        [&] { return ring::pass_unit(s, k_contiguous, keep, gradient); }, "ring");
    const std::int64_t tiles = tiles_of(s), slots = keep ? tiles : std::min<std::int64_t>(tiles, plan.window);
    const int pass_groups = kBlock / plan.passes, groups = keep ? kBlock : pass_groups;
    const std::int64_t counts = tiles + kCountsBehind;
    const auto counters = gpu.allocate(2 * plan.passes * counts * static_cast<std::int64_t>(sizeof(std::int32_t)));
    gpu.fill_bytes(counters->data(), 0, counters->bytes());
    const auto storage = keep ? nullptr : gpu.allocate(slots * tile_bytes(s, groups));
    const void* z = keep ? p.kept : storage->data();
    const TensorMap x = rows_of(s, p.x, kBlock), y = rows_of(s, p.y, 64),
                    other = gradient ? rows_of(s, p.beside.other, kBlock) : x;
    const TensorMap out = intermediate(s, z, groups, slots, 1, 64), in = intermediate(s, z, groups, slots, kBlock, 1);
    Launch how;
    how.grid = {kBlock};
    how.block = {static_cast<std::uint32_t>(plan.threads)};
    how.shared_bytes = static_cast<std::uint32_t>(plan.shared_bytes);
    how.cooperative = true;
    auto* ready = static_cast<std::int32_t*>(counters->data());
    for (int pass = 0; pass < plan.passes; ++pass, ready += 2 * counts)
        launch(gpu, kernel, how, x, out, in, y, other,
               Arguments{static_cast<std::int32_t>(tiles), static_cast<std::int32_t>(s.rows),
                         static_cast<std::int32_t>(slots), plan.window, pass * pass_groups, p.first, p.second, ready,
                         ready + counts, p.beside.gradient, p.beside.strides});
}

void run(Gpu& gpu, const CoreGradient& g) {
    struct Arguments {
        std::int32_t tiles;
        void* gradient;
        CoreStrides strides;
    };
    const ChainShape& s = g.shape;
    const Gpu::Scope scope(gpu);
    const int lines = lines_at_once(s), stages = s.rank == 1 ? 6 : 4;
    const Kernel& kernel = gpu.printed(
        text("chain ring gradient ", s.rank, " ", name(g.dtype)), [&] { return ring::gradient_unit(s, g.dtype); },
        "core_gradient");
    Launch how;
    how.grid = {static_cast<std::uint32_t>(kBlock * kBlock * s.rank / lines)};
    how.block = {288};
    how.shared_bytes = static_cast<std::uint32_t>(1024 + stages * (2 * kBoxBytes + lines * 128 + 16));
    launch(gpu, kernel, how, rows_of(s, g.x, kBlock),
           intermediate(s, g.kept, kBlock, tiles_of(s), static_cast<std::uint32_t>(lines), 1),
           Arguments{static_cast<std::int32_t>(tiles_of(s)), g.gradient, g.strides});
}

void unpack(Gpu& gpu, const ChainShape& s, const void* kept, void* to, std::int64_t row_stride, const CoreStrides& z) {
    const Kernel& kernel = gpu.printed(
        text("chain ring unpack ", s.rank), [&] { return ring::unpack_unit(s); }, "unpack");
    Launch how;
    how.block = {256};
    how.grid = {static_cast<std::uint32_t>(tiles_of(s)), kBlock};
    launch(gpu, kernel, how, kept, to, s.rows, row_stride, z);
}

}  // namespace tenon::cuda::ring
