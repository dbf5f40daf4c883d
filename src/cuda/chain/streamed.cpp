#include "cuda/chain/streamed.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/chain/maps.h"
#include "cuda/chain/sum_parts.h"
#include "cuda/wgmma.h"

namespace tenon::cuda::streamed {
namespace {

constexpr int kBlock = 32, kTileRows = 64, kStages = 4, kBoxes = 2, kStageBytes = 8192;  // as in chain/streamed.cu
constexpr int kSharedBytes = 1024 + kTileRows * kBlock * kBlock * 2 + 2 * kStages * kStageBytes +
                             2 * kBoxes * kTileRows * 128 + 8 * (2 * 4 + 4 * kStages);
constexpr std::int64_t kLeastRows = 4096;

constexpr int kGradientsSharedBytes = 1024 + 28 * 8192 + 8 * (8 + 2 * 4 + 4);
constexpr std::int32_t kKinds = 4;  // as in chain/streamed_gradients.cu: blocks that have all groups together

TensorMap rows_of(const ChainShape& s, const void* x, std::uint32_t wide_groups) {
    const auto row = static_cast<std::uint64_t>(s.width() * 2);
    return map_of<3>(x, {64, static_cast<std::uint64_t>(s.rows), static_cast<std::uint64_t>(s.width() / 64)},
                     {row, 128}, {64, kTileRows, wide_groups});
}

}  // namespace

Unit pass_unit(const ChainShape& s) {
    Unit u = unit("cuda/chain/streamed.cu", {text("-DRANK=", s.rank)});
    u.text = print_wgmma(16, LeftOperand::shared) + print_wgmma(32, LeftOperand::registers) + u.text;
    return u;
}

bool takes(const ChainShape& s) { return s.block == kBlock && s.rows >= kLeastRows; }

void run(Gpu& gpu, const Pass& p) {
    const ChainShape& s = p.shape;
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const auto kernel = [&](const char* function) -> const Kernel& {
        return gpu.printed(
            text("chain streamed ", s.rank, " ", function), [&] { return pass_unit(s); }, function);
    };
    const auto cores = gpu.allocate(2 * s.core_elements() * 2);
    Launch pack;
    pack.block = {256};
    pack.grid = {static_cast<std::uint32_t>(cores->bytes() / 16 / 256)};
    pack.overlaps_previous = true;
    launch(gpu, kernel("pack_cores"), pack, p.first, p.second, cores->data());
    const auto tiles = static_cast<std::int32_t>((s.rows + kTileRows - 1) / kTileRows);
    Launch how;
    how.block = {384};
    how.grid = {static_cast<std::uint32_t>(std::min(tiles, static_cast<std::int32_t>(gpu.multiprocessors())))};
    how.shared_bytes = kSharedBytes;
    how.overlaps_previous = true;
    launch(gpu, kernel("streamed"), how, rows_of(s, p.x, 4), rows_of(s, p.y, 1),
           static_cast<const void*>(cores->data()), tiles);
}

Unit gradients_unit(DType dtype) {
    Unit u = unit("cuda/chain/streamed_gradients.cu", {text("-DOUT=", dtype == DType::float32 ? "float" : "bf16")});
    u.text = print_wgmma(32, LeftOperand::shared) + u.text;
    return u;
}

bool takes_gradients(const ChainShape& s) { return s.block == kBlock && s.rank == 4; }

void run(Gpu& gpu, const CoreGradients& g) {
    struct Arguments {
        std::int32_t tiles, rows, parts, sides;
        void* sums;
        const void* cores;
    };
    struct Gradient {
        void* data;
        CoreStrides strides;
    };
    const ChainShape& s = g.shape;
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const auto kernel = [&](const char* function) -> const Kernel& {
        return gpu.printed(
            text("chain streamed gradients ", name(g.dtype), " ", function), [&] { return gradients_unit(g.dtype); },
            function);
    };
    const auto tiles = static_cast<std::int32_t>((s.rows + kTileRows - 1) / kTileRows);
    // About as many parts as a device of 132 multiprocessors runs at a time. The number follows from the shape alone,
    // and so do the bits.
    const std::int32_t parts = std::min(g.count == 2 ? 16 : 33, tiles);
    const std::int64_t elements = g.count * s.core_elements();
    const auto cores = gpu.allocate(elements * 2);
    const auto sums = gpu.allocate(parts * elements * static_cast<std::int64_t>(sizeof(float)));
    const RecomputedGradient &one = g.of[0], &two = g.of[g.count == 2 ? 1 : 0];
    Launch pack;
    pack.block = {256};
    pack.grid = {static_cast<std::uint32_t>(elements / 8 / 256)};
    pack.overlaps_previous = true;
    launch(gpu, kernel("pack_first"), pack, one.core, two.core, cores->data());
    Launch how;
    how.block = {512};
    how.grid = {static_cast<std::uint32_t>(kKinds * g.count * parts)};
    how.shared_bytes = kGradientsSharedBytes;
    how.overlaps_previous = true;
    launch(gpu, kernel("streamed_gradients"), how, rows_of(s, one.x, 2), rows_of(s, one.other, 4), rows_of(s, two.x, 2),
           rows_of(s, two.other, 4),
           Arguments{tiles, static_cast<std::int32_t>(s.rows), parts, g.count, sums->data(), cores->data()});
    Launch sum;
    sum.block = {256};
    sum.grid = {sum_blocks(elements, parts)};
    sum.overlaps_previous = true;
    launch(gpu, kernel("sum_streamed"), sum, static_cast<const void*>(sums->data()), parts,
           static_cast<std::int32_t>(g.count), Gradient{one.gradient, one.strides},
           Gradient{two.gradient, two.strides});
}

}  // namespace tenon::cuda::streamed
