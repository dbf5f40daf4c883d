#include "cuda/chain/chain.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "cuda/chain/few_rows.h"
#include "cuda/chain/maps.h"
#include "cuda/chain/ring.h"
#include "cuda/chain/streamed.h"
#include "cuda/chain/sum_parts.h"
#include "cuda/launch.h"
#include "cuda/wgmma.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr int kTileRows = 32;  // as in chain/stationary.cuh
constexpr std::int64_t kMaxAtOnce = 128;  // how far beyond the last row a kernel may count, in 32 bits
constexpr int kSharedLimit = 227 << 10;

/// Whether the layer is of rank 1 and goes from 64 groups of 64 to 128 groups of 128 (width 4096 to 16384). That is
/// also the gradient of the input of a layer that narrows. There are two passes, each for 64 of the 128 columns of
/// every group of the second product. A cluster holds the cores of the first product and of these columns.
bool widens(const ChainShape& s) { return s.block == 0 && s.unequal == BlockSizes{64, 64, 128, 128} && s.rank == 1; }
constexpr int kParts = 2;

/// How a shape is distributed over a cluster that computes one first product, or two (`sides`; see cluster.cuh). The
/// kernels derive the same numbers from their macros.
struct Plan {
    int wide;  // groups of 64 columns
    int cluster;  // blocks of a cluster
    int first, second;  // wide groups of each product in a block (of the second, in a pass)
    int passes;
    int xs, zs;  // buffers for tiles of x and of the intermediate
    int tile_bytes;  // shared memory for these and the barriers, but not for y or for a gradient's other operand
};

/// `beside` is for a pass that also computes a core's gradient; cores then take the shared memory of some buffers.
Plan plan_of(const ChainShape& s, int sides = 1, bool beside = false) {
    Plan p{};
    if (widens(s)) {
        p = {64, 16, 4, 8, kParts, 3, 3, 0};
        p.tile_bytes = 1024 + p.xs * p.first * kTileRows * 128 + p.zs * 32768 + 16 * (p.xs + p.zs);
        return p;
    }
    p.wide = static_cast<int>(s.width() / 64);
    p.cluster = sides * (s.block == 32 ? 2 * s.rank : s.rank == 1 ? 8 : 16);
    p.first = p.wide / p.cluster;
    p.second = 8 / sides / s.rank;
    p.passes = p.wide / (p.second * p.cluster);
    const int x = sides * p.first * kTileRows * 128;
    p.xs = beside || x == 32768 ? 2 : 3, p.zs = beside && s.rank == 2 ? 2 : p.xs + 1;
    p.tile_bytes = 1024 + p.xs * x + p.zs * 32768 + 16 * (p.xs + p.zs);
    return p;
}

/// The macros of chain/cluster.cuh, and more of them.
std::vector<std::string> macros(const ChainShape& s, const Plan& p, int sides, int first_groups,
                                std::vector<std::string> more) {
    for (const auto& [name, value] : {std::pair{"BLOCK", s.sizes().groups},
                                      {"RANK", s.rank},
                                      {"CLUSTER", p.cluster},
                                      {"SIDES", sides},
                                      {"GROUPS", first_groups},
                                      {"XS", p.xs},
                                      {"ZS", p.zs}})
        more.push_back(text("-D", name, "=", value));
    return more;
}

std::int64_t tiles_of(const ChainShape& s) { return (s.rows + kTileRows - 1) / kTileRows; }

/// The number of clusters that the device holds at a time.
std::int64_t clusters_held(Gpu& gpu, const Kernel& kernel, const Launch& how) {
    const int held = clusters(gpu, kernel, how);
    if (held < 1) throw ValueError(text("cuda chain: the device holds no cluster of ", how.cluster.x, " blocks"));
    return held;
}

/// How many passes over the rows one launch makes, each by a part of the clusters. A pass first loads its cores into
/// registers, which takes as long as about three tiles, and then computes the tiles of one cluster.
std::int32_t passes_at_once(int passes, std::int64_t tiles, std::int64_t clusters) {
    constexpr std::int64_t kStart = 3;
    if (clusters < passes) return 1;
    const auto time = [&](std::int64_t of) { return kStart + (tiles + of - 1) / of; };
    return time(clusters / passes) < passes * time(clusters) ? passes : 1;
}

/// The map of x. A box is a tile: columns, then rows in a permuted order, then wide groups. Column 8j + 2q + e of wgmma
/// is row 8q + 2j + e, so that a thread's sums of a column belong to consecutive rows.
TensorMap permuted_rows(const ChainShape& s, const Plan& p, const void* x) {
    const auto row = static_cast<std::uint64_t>(s.in() * 2);
    return map_of<5>(x, {64, 2, static_cast<std::uint64_t>(s.rows) / 8, 4, static_cast<std::uint64_t>(p.wide)},
                     {row, 8 * row, 2 * row, 128}, {64, 2, 4, 4, static_cast<std::uint32_t>(p.first)});
}

TensorMap rows_of(const ChainShape& s, const Plan& p, const void* y, std::uint32_t rows, std::uint32_t groups) {
    const auto row = static_cast<std::uint64_t>(s.width() * 2);
    return map_of<3>(y, {64, static_cast<std::uint64_t>(s.rows), static_cast<std::uint64_t>(p.wide)}, {row, 128},
                     {64, rows, groups});
}

/// The map of y for a layer that widens; a box has one part of each group's columns.
TensorMap parts_of_rows(const ChainShape& s, const Plan& p, const void* y) {
    const auto group = static_cast<std::uint64_t>(s.sizes().outer * 2);
    return map_of<4>(y, {64, kParts, static_cast<std::uint64_t>(s.rows), static_cast<std::uint64_t>(s.sizes().others)},
                     {128, static_cast<std::uint64_t>(s.out() * 2), group},
                     {64, 1, kTileRows, static_cast<std::uint32_t>(p.second / 2)});
}

/// Whether the address, and all strides but those of 1, are multiples of 16 bytes.
bool is_aligned(const Core& c) {
    const auto in_eights = [](std::int64_t stride) { return stride == 1 || stride % 8 == 0; };
    const CoreStrides& s = c.strides;
    return reinterpret_cast<std::uintptr_t>(c.data) % 16 == 0 && in_eights(s.group) && in_eights(s.other) &&
           in_eights(s.rank) && in_eights(s.inner);
}

/// Whether consecutive elements of k (of m) are adjacent in memory in both cores.
bool is_k_contiguous(const Pass& p) { return p.first.strides.inner == 1 && p.second.strides.other == 1; }
bool is_m_contiguous(const Pass& p) { return p.first.strides.other == 1 && p.second.strides.inner == 1; }

/// The number of a warpgroup's buffers for the other operand of a gradient.
int others_of(const ChainShape& s, bool beside = false) { return beside || s.rank == 1 ? 2 : 3; }

std::string out_of(DType gradient) { return text("-DOUT=", gradient == DType::float32 ? "float" : "bf16"); }

/// What core_gradients.cu derives, too: the number of warpgroups of the first product, and of columns of the gradients'
/// right operand.
int first_groups_of(const ChainShape& s) { return s.block == 32 && s.rank > 1 ? 2 : 1; }
int columns_of(const ChainShape& s) { return s.block == 32 && s.rank > 1 ? 32 : s.rank == 1 ? 64 : 128; }

/// The number of parts of the rows that core_gradients.cu sums apart: about as many as a device of 132 multiprocessors
/// holds clusters. It follows from the shape alone, and so do the bits.
std::int32_t parts_of(const ChainShape& s, int cluster) {
    const int clusters = cluster == 2 ? 66 : cluster == 4 ? 30 : cluster == 8 ? 15 : 7;
    return static_cast<std::int32_t>(std::min<std::int64_t>(clusters, tiles_of(s)));
}

void check_dtype(DType gradient) {
    if (gradient != DType::bfloat16 && gradient != DType::float32)
        throw TypeError(text("cuda chain: the gradient of a core in ", name(gradient), "; it is bfloat16 or float32"));
}

void clear(Gpu& gpu, const ChainShape& s, DType dtype, void* gradient) {
    gpu.fill_bytes(gradient, 0, s.core_elements() * static_cast<std::int64_t>(size_of(dtype)));
}

/// Whether the cores are distributed over the whole device, and not over a cluster (ring.cuh).
bool is_ring(const ChainShape& s) { return s.block == ring::kBlock; }

struct GradientOut {
    void* data;
    CoreStrides strides;
};

/// Adds the partial sums that an earlier launch has written. The kernel is one of the unit that `unit_of` gives; `key`
/// names it among printed kernels.
template <class F, class G>
void add_parts(Gpu& gpu, const std::string& key, F unit_of, const Storage& sums, std::int32_t parts, std::int64_t part,
               const G& gradients) {
    Launch sum;
    sum.block = {256};
    sum.overlaps_previous = true;
    sum.grid = {sum_blocks(part, parts)};
    launch(gpu, gpu.printed(key + " sum", unit_of, "sum_parts"), sum, static_cast<const void*>(sums.data()), parts,
           gradients);
}

/// Runs a pass that also computes the gradient of its second core.
void run_beside(Gpu& gpu, const Pass& p, bool k_contiguous) {
    struct Arguments {
        std::int32_t tiles, rows, parts, pass;
        void* sums;
        Core first, second;
    };
    const ChainShape& s = p.shape;
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const Plan plan = plan_of(s, 1, true);
    const auto tiles = static_cast<std::int32_t>(tiles_of(s)), parts = parts_of(s, plan.cluster);
    const auto sums = gpu.allocate(parts * s.core_elements() * static_cast<std::int64_t>(sizeof(float)));
    const std::string key = text("chain beside ", s.block, " ", s.rank, " ", k_contiguous, " ", name(p.beside.dtype));
    const auto unit_of = [&] { return pass_unit(s, k_contiguous, false, &p.beside.dtype); };
    const Kernel& kernel = gpu.printed(key, unit_of, "stationary_gradient");
    const int others = others_of(s, true), own = 4 / s.rank;
    constexpr int kUnitsInMemory = 2 + 8, kUnitBytes = 64 * 128;  // units of cores in shared memory, as in the kernel
    Launch how;
    how.block = {384};
    how.overlaps_previous = true;
    how.cluster = {static_cast<std::uint32_t>(plan.cluster)};
    how.grid = {static_cast<std::uint32_t>(plan.cluster * parts)};
    how.shared_bytes = static_cast<std::uint32_t>(plan.tile_bytes + kUnitsInMemory * kUnitBytes +
                                                  2 * others * own * kTileRows * 128 + 2 * others * 8);
    const auto groups = static_cast<std::uint32_t>(own);
    for (std::int32_t pass = 0; pass < plan.passes; ++pass)
        launch(gpu, kernel, how, permuted_rows(s, plan, p.x), rows_of(s, plan, p.y, kTileRows, groups),
               rows_of(s, plan, p.beside.other, kTileRows, groups),
               Arguments{tiles, static_cast<std::int32_t>(s.rows), parts, pass, sums->data(), p.first, p.second});
    add_parts(gpu, key, unit_of, *sums, parts, s.core_elements(), GradientOut{p.beside.gradient, p.beside.strides});
}

}  // namespace

Unit pass_unit(const ChainShape& s, bool k_contiguous, bool keep, const DType* gradient) {
    if (is_ring(s)) return ring::pass_unit(s, k_contiguous, keep, gradient);
    if (gradient) {
        const Plan plan = plan_of(s, 1, true);
        Unit u = unit("cuda/chain/stationary_gradient.cu",
                      macros(s, plan, 1, 1,
                             {text("-DPASSES=", plan.passes), text("-DOTHERS=", others_of(s, true)), out_of(*gradient),
                              text("-DK_CONTIGUOUS=", k_contiguous ? 1 : 0)}));
        u.text = print_wgmma(32, LeftOperand::registers) + print_wgmma(32, LeftOperand::shared) +
                 print_wgmma(columns_of(s), LeftOperand::shared) + u.text;
        return u;
    }
    Unit u =
        unit("cuda/chain/stationary.cu",
             macros(s, plan_of(s), 1, 2, {text("-DKEEP=", keep ? 1 : 0), text("-DPARTS=", widens(s) ? kParts : 1)}));
    u.text = print_wgmma(32, LeftOperand::registers) + u.text;
    return u;
}

Unit gradients_unit(const ChainShape& s, DType dtype, int count) {
    if (streamed::takes_gradients(s)) return streamed::gradients_unit(dtype);
    const Plan plan = plan_of(s, count);
    Unit u = unit("cuda/chain/core_gradients.cu",
                  macros(s, plan, count, first_groups_of(s),
                         {text("-DPASSES=", plan.passes), text("-DOTHERS=", others_of(s)), out_of(dtype)}));
    u.text = print_wgmma(32, LeftOperand::registers) + print_wgmma(columns_of(s), LeftOperand::shared) + u.text;
    return u;
}

Unit gradient_unit(const ChainShape& s, DType dtype) { return ring::gradient_unit(s, dtype); }

Unit unpack_unit(const ChainShape& s) {
    if (is_ring(s)) return ring::unpack_unit(s);
    return unit("cuda/chain/unpack.cu", {text("-DBLOCK=", s.block), text("-DRANK=", s.rank)});
}

bool takes_gradient_beside(const ChainShape& s) { return is_ring(s) ? s.rank == 1 : s.block == 64 && s.rank > 1; }

namespace {

const char* stay_declines(const Pass& p) {
    const ChainShape& s = p.shape;
    if (widens(s)) {
        if (p.kept || p.beside.gradient) return "of a layer that widens nothing is kept";
    } else if (s.block == 0) {
        return "the layer's blocks are not equal, and the rows not few";
    } else if (s.block != 32 && s.block != 64 && !is_ring(s)) {
        return "cores of blocks other than 32, 64 and 128 do not stay on the device";
    }
    if (s.rank != 1 && s.rank != 2 && s.rank != 4) return "ranks other than 1, 2 and 4";
    if (s.rows % 8 != 0 && !is_ring(s) && (p.kept || p.beside.gradient)) return "what is kept of rows comes in eights";
    if (s.rows > INT32_MAX - kMaxAtOnce) return "more rows than 2^31";
    if (p.beside.gradient && !takes_gradient_beside(s))
        return "a core's gradient beside blocks of 32, blocks of 64 at rank 1, or blocks of 128 at others";
    if (!is_k_contiguous(p) && !is_m_contiguous(p)) return "elements of the cores do not lie side by side";
    if (!is_aligned(p.first) || !is_aligned(p.second)) return "the cores' elements do not come in aligned eights";
    return nullptr;
}

/// Why no kernel whose cores stay on the chip takes the pass on this device; null where one does.
const char* stay_declines(const Gpu& gpu, const Pass& p) {
    if (gpu.major() != 9 || gpu.minor() != 0) return "the kernel is of compute capability 9.0 alone (wgmma, clusters)";
    if (const char* why = stay_declines(p)) return why;
    if (is_ring(p.shape) && gpu.multiprocessors() < ring::kBlock)
        return "the device does not hold the blocks of 128 groups at a time";
    if (gpu.shared_bytes_per_block() < kSharedLimit) return "a block needs 227 KiB of shared memory";
    return nullptr;
}

/// Whether few_rows.cu runs the pass. It does not for blocks of 128, whose cores are distributed over all
/// multiprocessors anyway: even one row is no slower by ring.cu.
bool is_few(const Gpu& gpu, const Pass& p) {
    return few_rows::takes(p) && !(is_ring(p.shape) && !stay_declines(gpu, p));
}

}  // namespace

const char* does_not_pay(const ChainShape& s) {
    constexpr std::int64_t kMinWidening = 1024, kMaxFew = 16;  // rows
    return widens(s) && s.rows > kMaxFew && s.rows < kMinWidening ? "the layer widens, and its rows are too few to pay"
                                                                  : nullptr;
}

const char* declines(const Pass& p) { return few_rows::takes(p) ? nullptr : stay_declines(p); }

const char* declines(const Gpu& gpu, const Pass& p) { return few_rows::takes(p) ? nullptr : stay_declines(gpu, p); }

std::int64_t kept_bytes(const ChainShape& s) {
    return is_ring(s) ? ring::kept_bytes(s) : tiles_of(s) * kTileRows * s.width() * s.rank * 2;
}

void run(Gpu& gpu, const Pass& p) {
    const ChainShape& s = p.shape;
    if (const char* why = declines(gpu, p))
        throw ValueError(text("cuda chain: block ", s.block, ", rank ", s.rank, ", ", s.rows, " rows: ", why));
    if (p.beside.gradient) check_dtype(p.beside.dtype);
    if (s.rows == 0) {
        if (p.beside.gradient) clear(gpu, s, p.beside.dtype, p.beside.gradient);
        return;
    }
    if (is_few(gpu, p)) return few_rows::run(gpu, p);
    if (is_ring(s)) return ring::run(gpu, p, is_k_contiguous(p));
    if (const std::int64_t rest = s.rows % 8) {  // The kernels below take multiples of 8 rows.
        Pass whole = p, last = p;
        whole.shape.rows -= rest, last.shape.rows = rest;
        last.x = static_cast<const std::byte*>(p.x) + whole.shape.rows * s.in() * 2;
        last.y = static_cast<std::byte*>(p.y) + whole.shape.rows * s.out() * 2;
        run(gpu, whole);
        return run(gpu, last);
    }
    if (p.beside.gradient) return run_beside(gpu, p, is_k_contiguous(p));
    if (!p.kept && streamed::takes(s)) return streamed::run(gpu, p);
    struct Arguments {
        std::int32_t tiles, rows, pass_group, passes;
        Core first, second;
        void* kept;
    };
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const Plan plan = plan_of(s);
    const bool keep = p.kept != nullptr;
    const Kernel& kernel = gpu.printed(
        text("chain pass ", s.block, " ", s.rank, " ", keep, " ", plan.passes),
        [&] { return pass_unit(s, true, keep); }, "stationary");
    const TensorMap in = permuted_rows(s, plan, p.x);
    const TensorMap out = widens(s) ? parts_of_rows(s, plan, p.y)
                                    : rows_of(s, plan, p.y, kTileRows, static_cast<std::uint32_t>(plan.second / 2));
    const std::int32_t of_pass = widens(s) ? 1 : plan.second * plan.cluster;
    Launch how;
    how.block = {512};
    how.overlaps_previous = true;
    how.cluster = {static_cast<std::uint32_t>(plan.cluster)};
    how.grid = how.cluster;
    how.shared_bytes = static_cast<std::uint32_t>(plan.tile_bytes + 2 * plan.second * kTileRows * 128);
    const std::int64_t tiles = tiles_of(s), held = clusters_held(gpu, kernel, how);
    const std::int32_t at_once = passes_at_once(plan.passes, tiles, held);
    how.grid.x *= static_cast<std::uint32_t>(at_once * std::min(held / at_once, tiles));
    for (std::int32_t pass = 0; pass < plan.passes; pass += at_once)
        launch(gpu, kernel, how, in, out,
               Arguments{static_cast<std::int32_t>(tiles), static_cast<std::int32_t>(s.rows), pass * of_pass, at_once,
                         p.first, p.second, p.kept});
}

const char* declines(const CoreGradients& g) {
    const ChainShape& s = g.shape;
    if (s.block != 32 && s.block != 64) return "cores of blocks other than 32 and 64 do not stay in a cluster";
    if (s.rank != 1 && s.rank != 2 && s.rank != 4) return "ranks other than 1, 2 and 4";
    if (g.count == 2 && s.block == 64 && s.rank > 1)
        return "both cores' sums do not stay in a cluster, or are no faster there";
    if (s.rows % 8 != 0) return "rows come in eights";
    if (s.rows > INT32_MAX - kMaxAtOnce) return "more rows than 2^31";
    for (int i = 0; i < g.count; ++i) {
        const CoreStrides& c = g.of[static_cast<std::size_t>(i)].core.strides;
        if (c.inner != 1 && c.other != 1) return "elements of the cores do not lie side by side";
        if (!is_aligned(g.of[static_cast<std::size_t>(i)].core))
            return "the cores' elements do not come in aligned eights";
    }
    return nullptr;
}

void run(Gpu& gpu, const CoreGradients& g) {
    const ChainShape& s = g.shape;
    check_dtype(g.dtype);
    if (const char* why = declines(g))
        throw ValueError(
            text("cuda chain: core gradients, block ", s.block, ", rank ", s.rank, ", ", s.rows, " rows: ", why));
    const std::int64_t elements = s.core_elements();
    if (s.rows == 0) {
        for (int i = 0; i < g.count; ++i) clear(gpu, s, g.dtype, g.of[static_cast<std::size_t>(i)].gradient);
        return;
    }
    if (streamed::takes_gradients(s)) return streamed::run(gpu, g);
    struct Arguments {
        std::int32_t tiles, rows, parts, pass;
        void* sums;
        std::array<Core, 2> cores;  // The kernel for one side takes Arguments1.
    };
    struct Arguments1 {
        std::int32_t tiles, rows, parts, pass;
        void* sums;
        Core core;
    };
    const Gpu::Scope scope(gpu);
    const Plan plan = plan_of(s, g.count);
    const std::int32_t parts = parts_of(s, plan.cluster), tiles = static_cast<std::int32_t>(tiles_of(s)),
                       rows = static_cast<std::int32_t>(s.rows);
    const std::int64_t part = g.count * elements;
    const auto sums = gpu.allocate(parts * part * static_cast<std::int64_t>(sizeof(float)));
    const std::string key = text("chain gradients ", s.block, " ", s.rank, " ", g.count, " ", name(g.dtype));
    const auto unit_of = [&] { return gradients_unit(s, g.dtype, g.count); };
    const Kernel& kernel = gpu.printed(key, unit_of, "core_gradients");
    const int own = 4 / s.rank, others = others_of(s);
    Launch how;
    how.block = {static_cast<std::uint32_t>(128 * (first_groups_of(s) + 2))};
    how.overlaps_previous = true;
    how.cluster = {static_cast<std::uint32_t>(plan.cluster)};
    how.grid = {static_cast<std::uint32_t>(plan.cluster * parts)};
    how.shared_bytes =
        static_cast<std::uint32_t>(plan.tile_bytes + 2 * others * own * kTileRows * 128 + 2 * 2 * others * 8);
    const RecomputedGradient &one = g.of[0], &two = g.of[g.count == 2 ? 1 : 0];
    const auto other = [&](const void* at) { return rows_of(s, plan, at, kTileRows, static_cast<std::uint32_t>(own)); };
    for (std::int32_t pass = 0; pass < plan.passes; ++pass) {
        const auto start = [&](const auto& arguments) {
            launch(gpu, kernel, how, permuted_rows(s, plan, one.x), other(one.other), permuted_rows(s, plan, two.x),
                   other(two.other), arguments);
        };
        if (g.count == 2)
            start(Arguments{tiles, rows, parts, pass, sums->data(), {one.core, two.core}});
        else
            start(Arguments1{tiles, rows, parts, pass, sums->data(), one.core});
    }
    if (g.count == 2)
        add_parts(gpu, key, unit_of, *sums, parts, part,
                  std::array<GradientOut, 2>{{{one.gradient, one.strides}, {two.gradient, two.strides}}});
    else
        add_parts(gpu, key, unit_of, *sums, parts, part, GradientOut{one.gradient, one.strides});
}

void run(Gpu& gpu, const CoreGradient& g) {
    check_dtype(g.dtype);
    const ChainShape& s = g.shape;
    if (!is_ring(s)) throw ValueError(text("cuda chain: core gradients from what was kept, block ", s.block));
    if (s.rows == 0) return clear(gpu, s, g.dtype, g.gradient);
    ring::run(gpu, g);
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
