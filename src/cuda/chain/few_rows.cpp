#include "cuda/chain/few_rows.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/launch.h"

namespace tenon::cuda::few_rows {
namespace {

constexpr std::int64_t kRowsOfBlock = 16;  // rows of a thread block
// The most rows, in general and where x has at most kNarrow columns. For more rows it pays to keep the cores on the
// chip.
constexpr std::int64_t kMost = 16, kMaxOfNarrow = 64;
constexpr int kNarrow = 1024;
// A block has at most 32 warps. What is summed in the second product fills registers and shared memory.
constexpr int kMaxOuter = 256, kMaxSummed = 1024;

bool is_k_contiguous(const Pass& p) { return p.first.strides.inner == 1 && p.second.strides.other == 1; }

/// The number of warps of a block: one for each of its tiles of the second product at least, and enough that a warp has
/// few groups of the first one.
int warps_of(const BlockSizes& n, int split) {
    return std::max((n.outer / 8 + split - 1) / split, std::min(n.groups / 4, 16));
}

/// The bytes of shared memory that a block's part of its rows of x takes.
std::int64_t staged_bytes(const BlockSizes& n, int split) {
    return kRowsOfBlock * (n.groups / split * n.inner + 8) * 2;
}

/// Two blocks share a group where the device has clusters. Rows of x go through shared memory where they fit, if x
/// starts at a multiple of 16 bytes.
Form form_of(const Gpu& gpu, const Pass& p) {
    const BlockSizes n = p.shape.sizes();
    const int split = gpu.major() >= 9 ? 2 : 1;
    const std::int64_t middle = kRowsOfBlock * (p.shape.rank * n.groups + 8) * 2;
    return {split, reinterpret_cast<std::uintptr_t>(p.x) % 16 == 0 &&
                       staged_bytes(n, split) + middle <= gpu.shared_bytes_per_block()};
}

/// Whether all pairs of adjacent elements start at multiples of 4 bytes, since the kernel reads a pair at once.
bool is_in_twos(const Core& c) {
    const CoreStrides& s = c.strides;
    return reinterpret_cast<std::uintptr_t>(c.data) % 4 == 0 && s.group % 2 == 0 && s.rank % 2 == 0 &&
           (s.inner == 1 ? s.other : s.inner) % 2 == 0;
}

}  // namespace

Unit pass_unit(const ChainShape& s, bool k_contiguous, const Form& form) {
    const BlockSizes n = s.sizes();
    return unit(
        "cuda/chain/few_rows.cu",
        {text("-DGROUPS=", n.groups), text("-DINNER=", n.inner), text("-DOTHERS=", n.others), text("-DOUTER=", n.outer),
         text("-DRANK=", s.rank), text("-DWARPS=", warps_of(n, form.split)), text("-DSPLIT=", form.split),
         text("-DSTAGED=", form.staged ? 1 : 0), text("-DCONTIGUOUS=", k_contiguous ? 1 : 0)});
}

bool takes(const Pass& p) {
    const ChainShape& s = p.shape;
    const BlockSizes n = s.sizes();
    if (s.rows > (n.groups * n.inner <= kNarrow ? kMaxOfNarrow : kMost) || p.kept || p.beside.gradient ||
        n.groups % 16 != 0 || n.inner % 16 != 0 || n.outer % 8 != 0 || n.outer > kMaxOuter ||
        s.rank * n.groups > kMaxSummed)
        return false;
    const auto in_twos = [](const void* x) { return reinterpret_cast<std::uintptr_t>(x) % 4 == 0; };
    return in_twos(p.x) && in_twos(p.y) && (!is_k_contiguous(p) || (is_in_twos(p.first) && is_in_twos(p.second)));
}

void run(Gpu& gpu, const Pass& p) {
    struct Arguments {
        const void* x;
        void* y;
        std::int64_t rows;
        Core first, second;
    };
    const ChainShape& s = p.shape;
    const bool k_contiguous = is_k_contiguous(p);
    const BlockSizes n = s.sizes();
    const Form form = form_of(gpu, p);
    // The key is the bytes of the numbers. Printing them as text would take a tenth of the host's time for a call.
    const int parts[] = {n.groups, n.inner, n.others, n.outer, s.rank, k_contiguous, form.split, form.staged};
    const std::string key = "few " + std::string(reinterpret_cast<const char*>(parts), sizeof parts);
    const Kernel& kernel = gpu.printed(
        key, [&] { return pass_unit(s, k_contiguous, form); }, "few_rows");
    Launch how;
    how.block = {static_cast<std::uint32_t>(32 * warps_of(n, form.split))};
    how.cluster = {static_cast<std::uint32_t>(form.split)};
    how.grid = {static_cast<std::uint32_t>(n.others * form.split),
                static_cast<std::uint32_t>((s.rows + kRowsOfBlock - 1) / kRowsOfBlock)};
    if (form.staged) how.shared_bytes = static_cast<std::uint32_t>(staged_bytes(n, form.split));
    how.overlaps_previous = true;
    launch(gpu, kernel, how, Arguments{p.x, p.y, s.rows, p.first, p.second});
}

}  // namespace tenon::cuda::few_rows
