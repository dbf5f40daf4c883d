#include "cuda/chain/chain.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

#include "base/text.h"
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

const Kernel& pass_kernel(Gpu& gpu, const ChainShape& s, bool backward, bool keep) {
    return gpu.printed(
        text("chain pass ", s.block, " ", s.rank, " ", backward, " ", keep),
        [&] { return pass_unit(s, backward, keep); }, "stationary");
}

const Kernel& gradients_kernel(Gpu& gpu, const ChainShape& s, DType dtype, const char* function) {
    return gpu.printed(
        text("chain gradients ", s.block, " ", s.rank, " ", name(dtype), " ", function),
        [&] { return gradients_unit(s, dtype); }, function);
}

/// Clusters that the device holds at a time; the driver takes microseconds to say.
std::int64_t clusters_held(Gpu& gpu, const Kernel& kernel, const Launch& how) {
    thread_local std::unordered_map<const Kernel*, int> known;
    const auto [at, is_new] = known.try_emplace(&kernel, 0);
    if (is_new) at->second = clusters(gpu, kernel, how);
    if (at->second < 1) throw ValueError(text("cuda chain: the device holds no cluster of ", how.cluster.x, " blocks"));
    return at->second;
}

template <std::size_t n>
TensorMap map_of(const void* data, const std::array<std::uint64_t, n>& extents,
                 const std::array<std::uint64_t, n - 1>& strides, const std::array<std::uint32_t, n>& box) {
    return encode(DType::bfloat16, const_cast<void*>(data), {extents, strides, box, Swizzle::bytes128, 0});
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

void check_taken(const Gpu& gpu, const ChainShape& s, const Core& a, const Core& b) {
    if (const std::string why = declines_stationary(gpu, s, a, b); !why.empty())
        throw ValueError(text("cuda chain: block ", s.block, ", rank ", s.rank, ", ", s.rows, " rows: ", why));
}

struct PassArguments {
    std::int32_t tiles, pass_group;
    Core a, b;
    void* kept;
};

/// The kernel on x -> (x . a) . b; backward, x is the output's gradient and a the core of the second product.
void pass(Gpu& gpu, const ChainShape& s, bool backward, const void* x, const Core& a, const Core& b, void* y,
          void* kept) {
    if (s.rows == 0) return;
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const Plan p = plan_of(s);
    const Kernel& kernel = pass_kernel(gpu, s, backward, kept != nullptr);
    const TensorMap in = permuted_rows(s, p, x),
                    out = rows_of(s, p, y, kTileRows, static_cast<std::uint32_t>(p.second / 2));
    Launch how;
    how.block = {512};
    how.cluster = {static_cast<std::uint32_t>(p.cluster)};
    how.grid = how.cluster;
    how.shared_bytes = static_cast<std::uint32_t>(p.shared_bytes);
    const std::int64_t tiles = tiles_of(s);
    how.grid.x *= static_cast<std::uint32_t>(std::min(clusters_held(gpu, kernel, how), tiles));
    for (std::int32_t group = 0; group < p.wide; group += p.second * p.cluster)
        launch(gpu, kernel, how, in, out, PassArguments{static_cast<std::int32_t>(tiles), group, a, b, kept});
}

/// Of 32 wide blocks four parts of the rows fill the device. The number follows from the shape, so the bits do.
std::int32_t parts_of(const ChainShape& s) { return s.block == 32 ? 4 : 1; }

bool is_aligned(const Core& c) {
    const auto in_eights = [](std::int64_t stride) { return stride == 1 || stride % 8 == 0; };
    const CoreStrides& s = c.strides;
    return reinterpret_cast<std::uintptr_t>(c.data) % 16 == 0 && in_eights(s.group) && in_eights(s.other) &&
           in_eights(s.rank) && in_eights(s.inner);
}

}  // namespace

Unit pass_unit(const ChainShape& s, bool backward, bool keep) {
    Unit u = unit("cuda/chain/stationary.cu",
                  {text("-DBLOCK=", s.block), text("-DRANK=", s.rank), text("-DCLUSTER=", plan_of(s).cluster),
                   text("-DK_CONTIGUOUS=", backward ? 0 : 1), text("-DKEEP=", keep ? 1 : 0)});
    u.text = print_wgmma(32, LeftOperand::registers) + u.text;
    return u;
}

Unit gradients_unit(const ChainShape& s, DType dtype) {
    const std::string out = dtype == DType::float32 ? "float" : "bf16";
    Unit u = unit("cuda/chain/gradients.cu", {text("-DBLOCK=", s.block), text("-DRANK=", s.rank), "-DOUT=" + out,
                                              "-DPART=" + (parts_of(s) > 1 ? "float" : out)});
    u.text = print_wgmma(64 * s.rank, LeftOperand::shared) + u.text;
    return u;
}

std::string declines_stationary(const Gpu& gpu, const ChainShape& s, const Core& a, const Core& b) {
    if (gpu.major() != 9 || gpu.minor() != 0) return "the kernel is of compute capability 9.0 alone (wgmma, clusters)";
    if (s.block != 32 && s.block != 64)
        return "cores of blocks other than 32 and 64 do not stay in a cluster's registers";
    if (s.rank != 1 && s.rank != 2 && s.rank != 4) return "ranks other than 1, 2 and 4";
    if (s.rows % 8 != 0) return "rows come in eights";
    if (s.rows > INT32_MAX - kStepRows) return "more rows than 2^31";
    if (a.strides.inner != 1 || b.strides.other != 1 || !is_aligned(a) || !is_aligned(b))
        return "the cores' elements do not lie side by side in eights";
    if (gpu.shared_bytes_per_block() < kSharedLimit) return "a block needs 227 KiB of shared memory";
    return {};
}

std::int64_t kept_bytes(const ChainShape& s) { return tiles_of(s) * kTileRows * s.width() * s.rank * 2; }

void forward(Gpu& gpu, const ChainShape& s, const void* x, const Core& a, const Core& b, void* y, void* kept) {
    check_taken(gpu, s, a, b);
    pass(gpu, s, false, x, a, b, y, kept);
}

void input_gradient(Gpu& gpu, const ChainShape& s, const void* dy, const Core& a, const Core& b, void* dx, void* kept) {
    check_taken(gpu, s, a, b);
    pass(gpu, s, true, dy, b, a, dx, kept);
}

void core_gradients(Gpu& gpu, const ChainShape& s, const void* x, const void* dy, const void* kept_z,
                    const void* kept_dz, DType dtype, void* da, void* db) {
    check_taken(gpu, s, {nullptr, s.a_strides()}, {nullptr, s.b_strides()});
    if (dtype != DType::bfloat16 && dtype != DType::float32)
        throw TypeError(text("cuda chain: gradients of cores in ", name(dtype), "; they are bfloat16 or float32"));
    struct Arguments {
        std::int32_t steps, parts;
        const void *kept_dz, *kept_z;
        void *da, *db;
        CoreStrides a, b;
        std::int64_t part;
    };
    const std::int64_t elements = s.core_elements();
    if (s.rows == 0) {
        const auto bytes = elements * static_cast<std::int64_t>(size_of(dtype));
        gpu.fill_bytes(da, 0, bytes);
        return gpu.fill_bytes(db, 0, bytes);
    }
    const Gpu::Scope scope(gpu);
    const Plan p = plan_of(s);
    const std::int32_t parts = parts_of(s);
    const auto scratch =
        parts > 1 ? gpu.allocate(2 * parts * elements * static_cast<std::int64_t>(sizeof(float))) : nullptr;
    const auto part_of = [&](int i) { return static_cast<float*>(scratch->data()) + i * parts * elements; };
    const TensorMap xs = rows_of(s, p, x, kStepRows, 1), dys = rows_of(s, p, dy, kStepRows, 1);
    Launch how;
    how.grid = {static_cast<std::uint32_t>(2 * p.wide * parts)};
    how.block = {160};
    const int stages = s.rank == 1 ? 6 : s.rank == 2 ? 4 : 2;
    how.shared_bytes = static_cast<std::uint32_t>(1024 + stages * (kStepRows * 128 * (1 + s.rank) + 16));
    launch(gpu, gradients_kernel(gpu, s, dtype, "core_gradients"), how, xs, dys,
           Arguments{static_cast<std::int32_t>(tiles_of(s) * kTileRows / kStepRows), parts, kept_dz, kept_z,
                     scratch ? part_of(0) : da, scratch ? part_of(1) : db, s.a_strides(), s.b_strides(), elements});
    if (!scratch) return;
    Launch sum;
    sum.block = {256};
    sum.grid = {static_cast<std::uint32_t>((elements + 255) / 256)};
    const Kernel& kernel = gradients_kernel(gpu, s, dtype, "sum_parts");
    for (const int i : {0, 1})
        launch(gpu, kernel, sum, static_cast<const float*>(part_of(i)), i == 0 ? da : db, parts,
               static_cast<std::int32_t>(elements));
}

}  // namespace tenon::cuda
