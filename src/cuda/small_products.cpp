#include "cuda/small_products.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kMost = 128;  // of m, n and k
constexpr int kThreads = 128;

// As declared in small_products.cu.
struct Arguments {
    const void *a, *b;
    void* c;
    std::int64_t m, n, k, a_leading, b_leading, c_leading, inner;
    std::int64_t a_outer, b_outer, c_outer, a_inner, b_inner, c_inner, items, column_blocks;
};

/// Whether 16-byte accesses fit a matrix whose lines are contiguous and `line` elements apart.
bool in_eights(const void* data, std::int64_t length, std::int64_t line, std::int64_t outer, std::int64_t inner,
               std::int64_t size = 2) {
    const auto whole = [&](std::int64_t stride) { return stride * size % 16 == 0; };
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && length % 8 == 0 && whole(line) && whole(outer) &&
           whole(inner);
}

std::int64_t columns_of(const SmallProducts& p) { return p.n <= 32 || p.k > 64 ? 32 : 64; }

}  // namespace

std::string declines(const Gpu& gpu, const SmallProducts& p) {
    if (p.in != DType::bfloat16 && p.in != DType::float16) return text("takes bfloat16 and float16, not ", name(p.in));
    if (p.out != p.in && p.out != DType::float32) return text("gives ", name(p.in), " or float32, not ", name(p.out));
    if (gpu.major() < 8) return "asks for compute capability 8";
    if (std::max({p.m, p.n, p.k}) > kMost) return text("takes products of up to ", kMost, " a side");
    if (std::min({p.m, p.n, p.k}) < 8) return "takes products of at least 8 a side";
    if (p.n > 64 && p.k > 64) return "would read the left operand for every 32 columns";
    const bool a_transposed = p.a_column != 1, b_transposed = p.b_column != 1;
    if ((a_transposed && p.a_row != 1) || (b_transposed && p.b_row != 1)) return "an operand has no axis side by side";
    const std::int64_t out_size = p.out == DType::float32 ? 4 : 2;
    if (!in_eights(p.a, a_transposed ? p.m : p.k, a_transposed ? p.a_column : p.a_row, p.outer.a, p.inner.a) ||
        !in_eights(p.b, b_transposed ? p.k : p.n, b_transposed ? p.b_column : p.b_row, p.outer.b, p.inner.b) ||
        !in_eights(p.c, p.n, p.c_row, p.outer.c, p.inner.c, out_size))
        return "takes lines of eights at multiples of 16 bytes";
    const std::int64_t warps = p.outer.count * p.inner.count * ceil_div(p.n, columns_of(p));
    if (warps < 4 * gpu.multiprocessors()) return text("has work for ", warps, " warps only");
    return {};
}

void run(Gpu& gpu, const SmallProducts& p) {
    const bool a_transposed = p.a_column != 1, b_transposed = p.b_column != 1;
    const std::int64_t columns = columns_of(p), k = ceil_div(p.k, 32) * 32, blocks = ceil_div(p.n, columns);
    const auto suffix = [](DType t) { return type_name(t).substr(sizeof "DType::" - 1); };
    const std::vector<std::string> options{text("-DTENON_K=", k),
                                           text("-DTENON_COLUMNS=", columns),
                                           text("-DTENON_A_TRANSPOSED=", a_transposed),
                                           text("-DTENON_B_TRANSPOSED=", b_transposed),
                                           "-DTENON_TYPE=" + suffix(p.in),
                                           "-DTENON_OUT=" + suffix(p.out)};
    std::string key = "small products";
    for (const std::string& o : options) key += o;
    const Kernel& kernel = gpu.printed(
        key, [&] { return unit("cuda/small_products.cu", options); }, "small_products");
    const std::int64_t items = p.outer.count * p.inner.count * blocks;
    const Arguments arguments{p.a,
                              p.b,
                              p.c,
                              p.m,
                              p.n,
                              p.k,
                              a_transposed ? p.a_column : p.a_row,
                              b_transposed ? p.b_column : p.b_row,
                              p.c_row,
                              p.inner.count,
                              p.outer.a,
                              p.outer.b,
                              p.outer.c,
                              p.inner.a,
                              p.inner.b,
                              p.inner.c,
                              items,
                              blocks};
    launch(gpu, kernel,
           {.grid = {static_cast<std::uint32_t>(ceil_div(items, kThreads / 32))},
            .block = {kThreads},
            .overlaps_previous = true},
           arguments);
}

}  // namespace tenon::cuda
