#include "cuda/half_rows.h"

#include <array>

#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

// As in half_rows.cu.
constexpr std::int64_t kWarps = 8, kSlots = 2, kColumns = 64, kStep = 64, kEight = 8;

constexpr std::int64_t kMaxRows = 32;
/// With less to sum, tiled_product.cu takes products with a tape, and its sums have another order (product_tape.cpp).
constexpr std::int64_t kMinSummed = 1025;
/// With fewer columns there are too few blocks.
constexpr std::int64_t kMinColumns = 1024;
constexpr std::int64_t kMost = std::int64_t{1} << 30;

struct Arguments {
    std::int32_t m, n, k;
    void* c;
    std::int64_t c_row;
};

/// How many times 8 rows a block's products have: 1, 2 or 4.
std::int64_t eights_of(const HalfRows& p) { return p.m <= kEight ? 1 : p.m <= 2 * kEight ? 2 : 4; }

/// The number of blocks of a cluster, which share what is summed: as many as make 64 blocks in all, but so few that
/// every warp has a part.
std::int64_t parts_of(const HalfRows& p) {
    constexpr std::int64_t kBlocks = 64, kMaxParts = 8;
    const std::int64_t columns = ceil_div(p.n, kColumns), steps = ceil_div(p.k, kStep);
    std::int64_t parts = 1;
    while (parts < kMaxParts && 2 * parts * columns <= kBlocks && 2 * parts * kWarps <= steps) parts *= 2;
    return parts;
}

TensorMap map_of(const HalfRows& p, const void* data, std::int64_t along, std::int64_t lines, std::int64_t line,
                 std::int64_t box) {
    constexpr std::int64_t kSize = 2;
    const std::array<std::uint64_t, 3> extents{static_cast<std::uint64_t>(along), static_cast<std::uint64_t>(lines), 1};
    // The driver wants strides that are multiples of 16 bytes, also of axes with one element.
    const std::array<std::uint64_t, 2> strides{static_cast<std::uint64_t>(lines > 1 ? line * kSize : 16), 16};
    const std::array<std::uint32_t, 3> boxes{kStep, static_cast<std::uint32_t>(box), 1};
    return encode(p.type, const_cast<void*>(data), {extents, strides, boxes, Swizzle::bytes128});
}

bool is_at(const void* data, std::uintptr_t bytes) { return reinterpret_cast<std::uintptr_t>(data) % bytes == 0; }

/// The length and the number of b's lines, along which it is contiguous.
std::int64_t line_of_b(const HalfRows& p) { return p.across ? p.n : p.k; }
std::int64_t lines_of_b(const HalfRows& p) { return p.across ? p.k : p.n; }

/// A matrix as a view of `count` lines of `along` elements.
View lines(const HalfRows& p, const void* data, std::int64_t count, std::int64_t along, std::int64_t stride) {
    return {const_cast<void*>(data), p.type, Layout{Shape{count, along}, Strides{stride, 1}, 0}};
}
/// Copies lines into memory of their own, one after the other.
std::shared_ptr<Storage> apart(Gpu& gpu, const HalfRows& p, std::int64_t count, std::int64_t along) {
    return gpu.allocate(count * along * static_cast<std::int64_t>(size_of(p.type)));
}

}  // namespace

std::optional<HalfRows> half_rows_of(DType type, const Extent& m, const Extent& n, const Extent& k, const void* a,
                                     const void* b, void* c) {
    const bool transposed = n.n < m.n;
    const auto &few = transposed ? n : m, &many = transposed ? m : n;
    const auto in_a = [&](const Extent& e) { return transposed ? e.b : e.a; };
    const auto in_b = [&](const Extent& e) { return transposed ? e.a : e.b; };
    HalfRows p{type, few.n,     many.n, k.n,     transposed ? b : a, transposed ? a : b,
               c,    in_a(few), 0,      few.out, in_b(k) != 1};
    p.b_line = in_b(p.across ? k : many);
    const bool lies = in_a(k) == 1 && many.out == 1 && (!p.across || in_b(many) == 1);
    return lies ? std::optional(p) : std::nullopt;
}

std::string declines(const HalfRows& p) {
    if (p.type != DType::bfloat16 && p.type != DType::float16) return "takes bfloat16 and float16";
    if (p.m < 1 || p.m > kMaxRows) return text("takes up to ", kMaxRows, " rows");
    if (p.k < kMinSummed || p.n < kMinColumns || p.n > kMost || p.k > kMost) return "too little work for our kernel";
    if ((p.m > 1 && p.k % 8 != 0) || line_of_b(p) % 8 != 0) return "lines that are no multiples of 16 bytes";
    if (p.n % 4 != 0) return "a result that does not lie in fours";
    if (p.b_line < 0 || (p.m > 1 && (p.a_row < 0 || p.c_row < 0))) return "lines that lie the other way";
    return {};
}

std::string declines(const Gpu& gpu, const HalfRows& p) {
    if (gpu.major() != 9 || gpu.minor() != 0) return "the kernel is of compute capability 9.0 alone";
    return declines(p);
}

Unit unit_of(const HalfRows& p) {
    return unit("cuda/half_rows.cu", {text("-DTYPE=", p.type == DType::float16 ? "f16" : "bf16"),
                                      text("-DEIGHTS=", eights_of(p)), text("-DACROSS=", int{p.across})});
}

namespace {

/// Launches the kernel on operands and a result that are aligned as it requires.
void launch_aligned(Gpu& gpu, const HalfRows& p) {
    const Gpu::Scope scope(gpu);  // tensor maps are encoded in the device's context
    const std::int64_t eights = eights_of(p), parts = parts_of(p);
    const Kernel& kernel = gpu.printed(
        text("half rows ", static_cast<int>(p.type), " ", eights, " ", p.across), [&] { return unit_of(p); },
        "half_rows");
    Launch how;
    how.grid = {static_cast<std::uint32_t>(ceil_div(p.n, kColumns)), static_cast<std::uint32_t>(parts)};
    how.cluster = {1, static_cast<std::uint32_t>(parts)};
    how.block = {static_cast<std::uint32_t>(32 * kWarps)};
    how.shared_bytes = static_cast<std::uint32_t>(1024 + kWarps * kSlots * (kColumns + eights * kEight) * kStep * 2);
    how.overlaps_previous = true;
    const TensorMap a = map_of(p, p.a, p.k, p.m, p.a_row, eights * kEight),
                    b = p.across ? map_of(p, p.b, p.n, p.k, p.b_line, kStep)
                                 : map_of(p, p.b, p.k, p.n, p.b_line, kColumns);
    launch(gpu, kernel, how, a, b,
           Arguments{static_cast<std::int32_t>(p.m), static_cast<std::int32_t>(p.n), static_cast<std::int32_t>(p.k),
                     p.c, p.c_row});
}

}  // namespace

void run(Gpu& gpu, const HalfRows& p) {
    if (const std::string why = declines(gpu, p); !why.empty()) throw ValueError("cuda: a few rows: " + why);
    HalfRows q = p;
    std::shared_ptr<Storage> a, b, c;
    const auto lies = [](const void* data, std::int64_t count, std::int64_t stride) {
        return is_at(data, 16) && (count == 1 || stride % 8 == 0);
    };
    if (!lies(p.a, p.m, p.a_row)) {
        a = apart(gpu, p, p.m, p.k);
        q.a = a->data(), q.a_row = p.k;
        copy(gpu, lines(p, p.a, p.m, p.k, p.a_row), lines(q, q.a, p.m, p.k, q.a_row));
    }
    if (const std::int64_t along = line_of_b(p), count = lines_of_b(p); !lies(p.b, count, p.b_line)) {
        b = apart(gpu, p, count, along);
        q.b = b->data(), q.b_line = along;
        copy(gpu, lines(p, p.b, count, along, p.b_line), lines(q, q.b, count, along, q.b_line));
    }
    if (!is_at(p.c, 8) || (p.m > 1 && p.c_row % 4 != 0)) {
        c = apart(gpu, p, p.m, p.n);
        q.c = c->data(), q.c_row = p.n;
    }
    launch_aligned(gpu, q);
    if (c) copy(gpu, lines(q, q.c, p.m, p.n, q.c_row), lines(p, p.c, p.m, p.n, p.c_row));
}

}  // namespace tenon::cuda
