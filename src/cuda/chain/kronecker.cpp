#include "cuda/chain/kronecker.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/chain/maps.h"
#include "cuda/launch.h"
#include "cuda/wgmma.h"
#include "product/axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kSide = 64;
constexpr int kMatrixBytes = 64 * 64 * 2;
constexpr int kGroups = 4, kBuffers = 6;  // as in chain/kronecker.cu
constexpr int kGradientGroups = 2, kGradientStages = 6, kParts = 256;  // as in chain/kronecker_gradient.cu
constexpr std::int64_t kMinRows = 256;  // of a gradient, so that each part has a row

bool is_hopper(const Gpu& gpu) { return gpu.major() == 9 && gpu.minor() == 0; }

TensorMap matrices(const void* data, std::int64_t rows) {
    return map_of<3>(data, {64, 64, static_cast<std::uint64_t>(rows)}, {128, kMatrixBytes}, {64, 64, 1});
}

bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

/// Whether these strides of a row's two axes of 64 elements are those of a contiguous matrix.
bool lies(std::int64_t inner, std::int64_t outer) { return inner == 1 && outer == kSide; }

}  // namespace

Unit unit_of(const KroneckerPass& p) {
    Unit u = unit("cuda/chain/kronecker.cu",
                  {text("-DSUM_FIRST=", p.sums_first ? 1 : 0), text("-DY_TRANSPOSED=", p.y_transposed ? 1 : 0),
                   text("-DKEEP=", !p.keeps            ? 0
                                   : p.kept_transposed ? 2
                                                       : 1)});
    u.text = print_wgmma(64, LeftOperand::shared) + print_wgmma(64, LeftOperand::registers) + u.text;
    return u;
}

const char* declines(const Gpu& gpu, const KroneckerPass& p) {
    if (!is_hopper(gpu)) return "the kernel is of compute capability 9.0 alone (wgmma)";
    if (p.rows > INT32_MAX / 2) return "more rows than 2^30";
    return nullptr;
}

void run(Gpu& gpu, const KroneckerPass& p) {
    if (const char* why = declines(gpu, p)) throw ValueError(text("cuda kronecker: ", p.rows, " rows: ", why));
    if (p.rows == 0) return;
    struct Arguments {
        std::int32_t rows;
        SquareCore first, second;
    };
    const Gpu::Scope scope(gpu);
    const Kernel& kernel = gpu.printed(
        text("kronecker ", p.sums_first, p.y_transposed, p.keeps, p.kept_transposed), [&] { return unit_of(p); },
        "kronecker");
    Launch how;
    how.grid = {
        static_cast<std::uint32_t>(std::min<std::int64_t>(gpu.multiprocessors(), (p.rows + kGroups - 1) / kGroups))};
    how.block = {128 * kGroups};
    how.shared_bytes = 1024 + (2 + kGroups * kBuffers) * kMatrixBytes + kGroups * kBuffers * 8;
    how.overlaps_previous = true;
    const TensorMap x = matrices(p.x, p.rows), y = matrices(p.y, p.rows);
    launch(gpu, kernel, how, x, y, p.keeps ? matrices(p.kept, p.rows) : y,
           Arguments{static_cast<std::int32_t>(p.rows), p.first, p.second});
}

Unit unit_of(const SquareGradient& g) {
    Unit u = unit(
        "cuda/chain/kronecker_gradient.cu",
        {text("-DLEFT_TRANSPOSED=", g.left_transposed ? 1 : 0), text("-DRIGHT_TRANSPOSED=", g.right_transposed ? 1 : 0),
         text("-DPARTS=", kParts), text("-DOUT=", g.dtype == DType::float32 ? "float" : "bf16")});
    u.text = print_wgmma(64, LeftOperand::shared) + u.text;
    return u;
}

bool match(const View& a, const View& b, const View& out, const product::Labels& labels, SquareGradient& g) {
    if (a.dtype != DType::bfloat16 || b.dtype != DType::bfloat16 ||
        (out.dtype != DType::bfloat16 && out.dtype != DType::float32))
        return false;
    const product::AxisRoles r = product::assign_roles(a, b, out, labels);
    const auto longer = [](const product::AxisList& axes) {
        std::vector<product::Axis> all;
        for (const product::Axis& x : axes)
            if (x.extent != 1) all.push_back(x);
        return all;
    };
    const auto m = longer(r.rows), n = longer(r.columns), summed = longer(r.summed);
    if (!longer(r.batch).empty() || m.size() != 1 || n.size() != 1 || summed.size() != 2 || m[0].extent != kSide ||
        n[0].extent != kSide)
        return false;
    for (const int rows : {0, 1}) {
        const product::Axis &i = summed[static_cast<std::size_t>(rows)],
                            &k = summed[static_cast<std::size_t>(1 - rows)];
        if (i.a != kSide * kSide || i.b != kSide * kSide || k.extent != kSide) continue;
        const bool straight = lies(k.a, m[0].a), transposed = lies(m[0].a, k.a);
        const bool right_straight = lies(n[0].b, k.b), right_transposed = lies(k.b, n[0].b);
        if ((!straight && !transposed) || (!right_straight && !right_transposed)) continue;
        g = {i.extent, transposed, right_transposed, a.data, b.data, out.dtype, out.data, m[0].out, n[0].out};
        return true;
    }
    return false;
}

bool takes(const Gpu& gpu, const SquareGradient& g) {
    return is_hopper(gpu) && g.rows >= kMinRows && g.rows <= INT32_MAX / 2 && is_aligned(g.left) && is_aligned(g.right);
}

void run(Gpu& gpu, const SquareGradient& g) {
    const Gpu::Scope scope(gpu);
    const auto kernel = [&](const char* function) -> const Kernel& {
        return gpu.printed(
            text("kronecker gradient ", g.left_transposed, g.right_transposed, " ", name(g.dtype), " ", function),
            [&] { return unit_of(g); }, function);
    };
    const auto parts = gpu.allocate(kParts * kSide * kSide * static_cast<std::int64_t>(sizeof(float)));
    Launch how;
    how.grid = {kParts / kGradientGroups};
    how.block = {128 * kGradientGroups};
    how.shared_bytes = 1024 + kGradientGroups * kGradientStages * (2 * kMatrixBytes + 8);
    how.overlaps_previous = true;
    launch(gpu, kernel("kronecker_gradient"), how, matrices(g.left, g.rows), matrices(g.right, g.rows),
           static_cast<std::int32_t>(g.rows), parts->data());
    Launch sum;
    sum.grid = {static_cast<std::uint32_t>(kSide * kSide / 32)};
    sum.block = {256};
    sum.overlaps_previous = true;
    launch(gpu, kernel("sum_parts"), sum, static_cast<const void*>(parts->data()), g.out, g.row, g.column);
}

}  // namespace tenon::cuda
