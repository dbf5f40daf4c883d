
#include "base/text.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/print_tape.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr std::int64_t kThreads = 256;
/// The kernel compares all pairs of indices. With more updates than this, that takes longer than one pass on the host.
constexpr std::int64_t kMaxUpdates = 1 << 17;

std::string macro_of(DType type) { return "-DTENON_TYPE=" + type_name(type).substr(sizeof "DType::" - 1); }

const Kernel& kernel_of(Gpu& gpu, const char* source, const char* function, DType type) {
    return gpu.printed(
        text(source, ' ', function, ' ', static_cast<int>(type)), [&] { return unit(source, {macro_of(type)}); },
        function);
}

Launch over(std::int64_t n, std::int64_t per_block) {
    const std::int64_t blocks = ceil_div(n, per_block);
    if (blocks > INT32_MAX) throw ValueError(text("cuda: ", n, " elements are too many for one kernel"));
    return {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {kThreads}, .overlaps_previous = true};
}

/// A view's elements in row-major order: in its own memory where it is contiguous, else in a copy.
struct Rows {
    std::shared_ptr<Storage> storage;
    View view;
};
Rows packed(Gpu& gpu, const View& v) {
    if (v.layout.is_contiguous()) return {nullptr, v};
    Rows r{gpu.allocate(v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype))), v};
    r.view = {r.storage->data(), v.dtype, Layout::contiguous(v.shape())};
    copy(gpu, v, r.view);
    return r;
}

Rows indices_of(Gpu& gpu, const View& indices) {
    if (indices.dtype == DType::int64) return packed(gpu, indices);
    Rows r{gpu.allocate(indices.layout.count() * 8), {}};
    r.view = {r.storage->data(), DType::int64, Layout::contiguous(indices.shape())};
    run(gpu, tape::single(tape::Opcode::cast, {&indices.dtype, 1}, DType::int64), {&indices, 1}, {&r.view, 1});
    return r;
}

std::int64_t columns_of(const View& x) {
    std::int64_t n = 1;
    for (int d = 1; d < x.layout.rank(); ++d) n *= x.shape()[d];
    return n;
}

}  // namespace

void iota(Gpu& gpu, const View& out) {
    const std::int64_t n = out.layout.count();
    if (n > 0) launch(gpu, kernel_of(gpu, "cuda/leaves.cu", "iota", out.dtype), over(n, kThreads), out.data, n);
}

void random_bits(Gpu& gpu, const View& key, std::uint64_t domain, const View& out) {
    const std::int64_t words = out.layout.count() * static_cast<std::int64_t>(size_of(out.dtype) / 4);
    if (words > 0)
        launch(gpu, kernel_of(gpu, "cuda/leaves.cu", "random_bits", DType::float32), over((words + 3) / 4, kThreads),
               out.data, words, key.data, domain);
}

void gather(Gpu& gpu, const View& x, const View& indices, const View& out) {
    const Rows at = indices_of(gpu, indices);
    Layout row = x.layout;
    row.shape.erase(0);
    row.strides.erase(0);
    const Rows from = row.is_contiguous() ? Rows{nullptr, x} : packed(gpu, x);
    const std::int64_t n = indices.layout.count(), columns = columns_of(x);
    if (n * columns > 0)
        launch(gpu, kernel_of(gpu, "cuda/indexing.cu", "gather", x.dtype), over(n * columns, kThreads), out.data,
               from.view.data, at.view.data, n, x.shape()[0], columns, from.view.layout.strides[0], gpu.faults());
}

bool scatter(Gpu& gpu, bool add, const View& x, const View& indices, const View& updates, const View& out) {
    const std::int64_t n = indices.layout.count();
    if (n > kMaxUpdates) return false;
    const Rows at = indices_of(gpu, indices), from = packed(gpu, updates);
    copy(gpu, x, out);
    if (n > 0 && out.layout.count() > 0)
        launch(gpu, kernel_of(gpu, "cuda/indexing.cu", add ? "scatter_add" : "scatter", x.dtype),
               over(n, kThreads / 32), out.data, from.view.data, at.view.data, n, x.shape()[0], columns_of(x),
               gpu.faults());
    return true;
}

}  // namespace tenon::cuda
