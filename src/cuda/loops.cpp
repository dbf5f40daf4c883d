#include "cuda/loops.h"

#include <algorithm>

#include "base/text.h"
#include "cuda/axes.h"
#include "cuda/launch.h"
#include "cuda/print_tape.h"
#include "cuda/table_loop.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using Shape64 = std::vector<std::int64_t>;

struct Operand {
    std::byte* data;
    std::int64_t size;
    Shape64 strides;
};

/// The axes of a loop. Those of extent 1 are removed, and those that run together in every operand are joined. The axis
/// along which the outputs are adjacent in memory is the last. At least one axis is left.
struct Walk {
    Shape64 extents;
    std::vector<Operand> operands;
};

Walk walk_of(std::span<const View> outputs, std::span<const View> inputs) {
    Walk w;
    const Shape& shape = outputs[0].shape();
    std::vector<int> order;
    for (int d = 0; d < shape.rank(); ++d)
        if (shape[d] != 1) order.push_back(d);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        return std::abs(outputs[0].layout.strides[a]) > std::abs(outputs[0].layout.strides[b]);
    });
    const auto add = [&](const View& v) {
        Operand o{v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), {}};
        for (const int d : order) o.strides.push_back(v.layout.strides[d]);
        w.operands.push_back(std::move(o));
    };
    for (const View& v : outputs) add(v);
    for (const View& v : inputs) add(v);
    for (const int d : order) w.extents.push_back(shape[d]);
    join_axes(w.extents, w.operands, &Operand::strides);
    if (w.extents.empty()) {
        w.extents = {1};
        for (Operand& o : w.operands) o.strides = {0};
    }
    return w;
}

Along along_of(const Operand& o) {
    const std::int64_t s = o.strides.back();
    return s == 1 ? Along::contiguous : s == 0 ? Along::repeated : Along::strided;
}

/// The axis along which transposed inputs are adjacent in memory, and marks these inputs in `alongs`. -1 where there
/// are none, or where going through squares of the two axes does not pay.
int tile_axis(const Walk& w, std::size_t outputs, std::vector<Along>& alongs) {
    constexpr std::int64_t kFewest = 16;  // elements along each of the two axes
    constexpr std::int64_t kMaxBytes = 2 * (kTile + 4) * kTile * 4;  // shared memory of a block
    const std::size_t last = w.extents.size() - 1;
    if (w.extents[last] < kFewest || alongs[0] != Along::contiguous) return -1;
    int axis = -1;
    std::int64_t bytes = 0;
    for (std::size_t i = outputs; i < w.operands.size(); ++i) {
        const Operand& o = w.operands[i];
        if (alongs[i] != Along::strided) continue;
        for (std::size_t d = 0; d < last; ++d)
            if (o.strides[d] == 1 && w.extents[d] >= kFewest && (axis < 0 || axis == static_cast<int>(d)) &&
                bytes + (kTile + 4) * kTile * o.size <= kMaxBytes) {
                axis = static_cast<int>(d);
                alongs[i] = Along::transposed;
                bytes += (kTile + 4) * kTile * o.size;
                break;
            }
    }
    return axis;
}

/// The number of elements of the widest operand in 4 bytes, if every operand that is contiguous along either axis can
/// be accessed so many at a time; else 1.
int tile_width(const Walk& w, const std::vector<Along>& alongs, int axis) {
    std::int64_t widest = 1;
    for (std::size_t i = 0; i < w.operands.size(); ++i)
        if (alongs[i] == Along::transposed || alongs[i] == Along::contiguous)
            widest = std::max(widest, w.operands[i].size);
    const auto width = std::max<std::int64_t>(1, 4 / widest);
    for (std::size_t i = 0; i < w.operands.size(); ++i) {
        const Operand& o = w.operands[i];
        const bool transposed = alongs[i] == Along::transposed;
        if (!transposed && alongs[i] != Along::contiguous) continue;
        const std::int64_t bytes = width * o.size;
        if (reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(bytes) != 0) return 1;
        for (std::size_t d = 0; d < o.strides.size(); ++d) {
            const bool side = transposed ? static_cast<int>(d) == axis : d + 1 == o.strides.size();
            if (!side && o.strides[d] * o.size % bytes != 0) return 1;
        }
    }
    return static_cast<int>(width);
}

std::int64_t tiles_of(const Walk& w, int axis) {
    std::int64_t n = 1;
    for (std::size_t d = 0; d < w.extents.size(); ++d)
        n *= static_cast<int>(d) == axis || d + 1 == w.extents.size() ? (w.extents[d] + kTile - 1) / kTile
                                                                      : w.extents[d];
    return n;
}

/// The most elements, up to 16 bytes of the narrowest operand, that one access of every contiguous operand can take at
/// the operand's alignment.
int width_of(const Walk& w, std::int64_t n) {
    std::int64_t narrowest = 16;
    for (const Operand& o : w.operands)
        if (along_of(o) == Along::contiguous) narrowest = std::min(narrowest, o.size);
    int width = static_cast<int>(std::min<std::int64_t>(16 / narrowest, 8));
    const auto fits = [&](int candidate) {
        if (w.extents.size() > 1 && w.extents.back() % candidate != 0) return false;
        return std::all_of(w.operands.begin(), w.operands.end(), [&](const Operand& o) {
            if (along_of(o) != Along::contiguous) return true;
            const std::int64_t piece = std::min<std::int64_t>(16, candidate * o.size);
            if (reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(piece) != 0) return false;
            for (std::size_t d = 0; d + 1 < o.strides.size(); ++d)
                if (o.strides[d] * o.size % piece != 0) return false;
            return true;
        });
    };
    constexpr std::int64_t kEnough = 1 << 16;  // threads; with fewer, more threads gain more than wide accesses
    while (width > 1 && (!fits(width) || n / width < kEnough)) width /= 2;
    return width;
}

/// The number of groups of `width` elements. With a single axis the last group may be short.
std::int64_t groups_of(const Walk& w, int width) {
    std::int64_t n = (w.extents.back() + width - 1) / width;
    for (std::size_t d = 0; d + 1 < w.extents.size(); ++d) n *= w.extents[d];
    return n;
}

std::string key_of(const tape::Tape& tape, const LoopForm& form) {
    std::string key = text("tape ", form.rank, ' ', form.width, ' ', form.wide_index, ' ', form.tile_axis, ' ');
    for (const Along a : form.operands) key += static_cast<char>(a);
    return key + words_of(tape);
}

constexpr std::size_t kMaxArgumentBytes = 4000;  // below the 4,096 bytes of parameters that every device takes

std::vector<std::int64_t> arguments_of(const Walk& w, int width, std::int64_t groups) {
    std::vector<std::int64_t> a(w.extents);
    a.push_back((w.extents.back() + width - 1) / width);
    a.push_back(groups);
    for (const Operand& o : w.operands) {
        a.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(o.data)));
        a.insert(a.end(), o.strides.begin(), o.strides.end());
    }
    return a;
}

/// Runs a loop by a table where that pays; false, with nothing done, where it does not.
bool run_by_table(Gpu& gpu, const tape::Tape& tape, const Walk& w, const LoopForm& form, std::int64_t n,
                  std::size_t outputs) {
    if (form.rank != 1 || form.width != kTableWidth || form.wide_index || n < kTableElements || n % kTableWidth != 0)
        return false;
    std::vector<bool> scalar;
    for (std::size_t i = 0; i < form.operands.size(); ++i) {
        if (form.operands[i] != Along::contiguous && (i < outputs || form.operands[i] != Along::repeated)) return false;
        if (i >= outputs) scalar.push_back(form.operands[i] == Along::repeated);
    }
    if (!has_table(tape, scalar)) return false;
    const std::int64_t groups = n / kTableWidth;
    std::vector<std::int64_t> arguments = arguments_of(w, kTableWidth, groups);
    const Kernel& kernel = gpu.printed("table " + key_of(tape, form), [&] {
        return Unit{"table_loop.cu", print_table_loop(tape, scalar)};
    });
    const auto blocks = std::min<std::int64_t>((groups + kTableThreads - 1) / kTableThreads, gpu.multiprocessors());
    void* parameters[] = {arguments.data()};
    detail::launch(gpu, kernel, {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {kTableThreads}}, parameters);
    return true;
}

}  // namespace

void run(Gpu& gpu, const tape::Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    if (outputs.empty() || outputs[0].layout.count() == 0) return;
    const std::int64_t n = outputs[0].layout.count();
    const Walk w = walk_of(outputs, inputs);
    LoopForm form{static_cast<int>(w.extents.size()), 1, n >= std::int64_t{1} << 31, {}};
    for (const Operand& o : w.operands) form.operands.push_back(along_of(o));
    form.tile_axis = tile_axis(w, outputs.size(), form.operands);
    form.width = form.tile_axis < 0 ? width_of(w, n) : tile_width(w, form.operands, form.tile_axis);
    if (run_by_table(gpu, tape, w, form, n, outputs.size())) return;
    const std::int64_t groups = groups_of(w, form.width);
    std::vector<std::int64_t> arguments = arguments_of(w, form.width, groups);
    if (arguments.size() * 8 > kMaxArgumentBytes)
        throw ValueError(text("cuda: a loop over ", w.operands.size(), " operands has too many arguments"));
    const Kernel& kernel = gpu.printed(key_of(tape, form), [&] { return Unit{"loop.cu", print(tape, form)}; });
    const std::int64_t blocks =
        form.tile_axis < 0 ? (groups + kLoopThreads - 1) / kLoopThreads : tiles_of(w, form.tile_axis);
    if (blocks > INT32_MAX) throw ValueError(text("cuda: a loop over ", n, " elements is too long"));
    void* parameters[] = {arguments.data()};
    detail::launch(gpu, kernel,
                   {.grid = {static_cast<std::uint32_t>(blocks)}, .block = {kLoopThreads}, .overlaps_previous = true},
                   parameters);
}

void copy(Gpu& gpu, const View& in, const View& out) { run(gpu, tape::Tape{{in.dtype}, {}, {0}}, {&in, 1}, {&out, 1}); }

void fill(Gpu& gpu, std::uint64_t bits, const View& out) {
    const std::span<const unsigned char> value_bytes(reinterpret_cast<const unsigned char*>(&bits), size_of(out.dtype));
    const bool alike = std::ranges::all_of(value_bytes, [&](unsigned char b) { return b == value_bytes[0]; });
    const bool whole = out.layout.is_contiguous() && out.layout.count() > 0;
    const auto low = static_cast<std::uint32_t>(bits), high = static_cast<std::uint32_t>(bits >> 32);
    // The driver's fills can be recorded in a graph; a copy from the host's memory cannot.
    if (whole && alike)
        return gpu.fill_bytes(out.data, value_bytes[0],
                              out.layout.count() * static_cast<std::int64_t>(value_bytes.size()));
    if (whole && size_of(out.dtype) == sizeof low) return gpu.fill_words(out.data, low, out.layout.count());
    const auto value = gpu.allocate(sizeof bits);
    gpu.fill_words(value->data(), low, 1);
    gpu.fill_words(static_cast<std::byte*>(value->data()) + sizeof low, high, 1);
    copy(gpu, {value->data(), out.dtype, Layout{}.broadcast(out.shape())}, out);
}

namespace {

std::int64_t bytes_of(const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); }

}  // namespace

void copy_to_host(Gpu& gpu, const View& in, void* to) {
    if (in.layout.is_contiguous()) return gpu.to_host(to, in.data, bytes_of(in));
    const auto packed = gpu.allocate(bytes_of(in));
    copy(gpu, in, {packed->data(), in.dtype, Layout::contiguous(in.shape())});
    gpu.to_host(to, packed->data(), bytes_of(in));
}

void copy_to_device(Gpu& gpu, const void* from, const View& out) {
    if (out.layout.is_contiguous()) return gpu.to_device(out.data, from, bytes_of(out));
    const auto packed = gpu.allocate(bytes_of(out));
    gpu.to_device(packed->data(), from, bytes_of(out));
    copy(gpu, {packed->data(), out.dtype, Layout::contiguous(out.shape())}, out);
}

}  // namespace tenon::cuda
