#include "schedule/place.h"

#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "cuda/column_sums.h"
#include "cuda/device.h"
#include "cuda/loops.h"
#include "cuda/row_sums.h"
#include "primitive/primitive.h"
#include "primitive/view_of.h"
#include "schedule/device_chain.h"
#include "schedule/device_primitives.h"
#include "schedule/hidden.h"

namespace tenon::schedule {
namespace {

cuda::Gpu& gpu_of(Device device) { return cuda::Gpu::at(device.index); }

std::int64_t bytes_of(const View& v) { return v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype)); }

/// A view's elements, copied to separate row-major memory.
struct Packed {
    std::shared_ptr<Storage> storage;
    View view;
    explicit Packed(const View& like)
        : storage(Storage::allocate(bytes_of(like))),
          view{storage->data(), like.dtype, Layout::contiguous(like.shape())} {}
};

/// The primitives for which a warning has been given.
struct Warned {
    std::mutex mutex;
    std::set<std::string> names;
};
Warned& warned() {
    static auto& all = *new Warned;
    return all;
}

void warn_once(std::string_view what) {
    const std::lock_guard lock(warned().mutex);
    if (!warned().names.insert(std::string(what)).second) return;
    std::fprintf(stderr, "tenon: %.*s has no device code: it runs on the host, from copies and back (said once)\n",
                 static_cast<int>(what.size()), what.data());
}

/// Calls f(in, out) with copies of the operands in host memory, and copies its result back.
template <class F>
void on_host(cuda::Gpu& gpu, std::string_view what, std::span<const View> in, std::span<const View> out, F&& f) {
    std::vector<Packed> kept;
    std::vector<View> host_in, host_out;
    for (const View& v : in) {
        kept.emplace_back(v);
        cuda::copy_to_host(gpu, v, kept.back().view.data);
        host_in.push_back(kept.back().view);
    }
    for (const View& v : out) host_out.push_back(kept.emplace_back(v).view);
    f(std::span<const View>(host_in), std::span<const View>(host_out));
    warn_once(what);  // not before: what has no value at all throws
    for (std::size_t i = 0; i < out.size(); ++i) cuda::copy_to_device(gpu, host_out[i].data, out[i]);
}

}  // namespace

std::shared_ptr<Storage> allocate(Device device, std::int64_t bytes) {
    return device == Device::cpu() ? Storage::allocate(bytes) : gpu_of(device).allocate(bytes);
}

std::shared_ptr<Storage> arena_on(Device device, std::int64_t bytes) {
    return device == Device::cpu() ? Storage::allocate(bytes) : gpu_of(device).shared_arena(bytes);
}

void fill_bytes(Storage& storage, unsigned char value) {
    if (storage.device() == Device::cpu())
        std::memset(storage.data(), value, static_cast<std::size_t>(storage.bytes()));
    else
        gpu_of(storage.device()).fill_bytes(storage.data(), value, storage.bytes());
}

Array move_to(const Array& array, Device device) {
    const Device from = array.storage->device();
    if (from == device) return {array.storage, array.view};
    const View& v = array.view;
    const View packed{nullptr, v.dtype, Layout::contiguous(v.shape())};
    if (from == Device::cpu()) {
        cuda::Gpu& gpu = gpu_of(device);
        auto storage = gpu.allocate(bytes_of(v));
        if (v.layout.is_contiguous()) {
            gpu.to_device(storage->data(), v.data, bytes_of(v));
        } else {
            const Packed host(v);
            copy(v, host.view);
            gpu.to_device(storage->data(), host.view.data, bytes_of(v));
        }
        void* data = storage->data();
        return {std::move(storage), {data, packed.dtype, packed.layout}};
    }
    if (device == Device::cpu()) {
        auto storage = Storage::allocate(bytes_of(v));
        cuda::copy_to_host(gpu_of(from), v, storage->data());
        void* data = storage->data();
        return {std::move(storage), {data, packed.dtype, packed.layout}};
    }
    return move_to(move_to(array, Device::cpu()), device);
}

const Array& value_on(const Node& node, Device device) {
    const Array* head = node.value();
    for (const Array* a = head; a; a = a->elsewhere.get())
        if (a->storage->device() == device) return *a;
    auto brought = std::make_shared<Array>(move_to(*head, device));
    brought->elsewhere = head->elsewhere;
    head->elsewhere = std::move(brought);
    return *head->elsewhere;
}

void place_constants(Executable& executable, Device device) {
    if (device == Device::cpu()) return;
    for (std::shared_ptr<Storage>& c : executable.constants) {
        const auto moved = allocate(device, c->bytes());
        gpu_of(device).to_device(moved->data(), c->data(), c->bytes());
        c = moved;
    }
}

void wait_for(Device device) {
    if (device != Device::cpu()) gpu_of(device).synchronize();
}

Options options_on(Device device, Options options) {
    if (device != Device::cpu()) {
        options.column_sums = options.rows;
        options.prologue = options.grouped = options.ignore_cost = false;
        options.recompute = options.chain;
    }
    return options;
}

std::vector<std::string> computed_on_host() {
    const std::lock_guard lock(warned().mutex);
    return {warned().names.begin(), warned().names.end()};
}

void run_node(Device device, const Node& node, std::span<const View> in, const View& out) {
    cuda::Gpu& gpu = gpu_of(device);
    if (run_by_device_code(gpu, node, in, out)) return;
    const Primitive& p = *node.primitive;
    on_host(gpu, p.name, in, {&out, 1}, [&](std::span<const View> host_in, std::span<const View> host_out) {
        (p.run ? p.run : p.reference)(node, host_in, host_out[0]);
    });
}

namespace {

void run_rows_and_sums(cuda::Gpu& gpu, const Task& t, std::span<const View> in, std::span<const View> out) {
    const std::size_t rows = t.rows.outputs.size();
    std::int64_t columns = 1;
    for (std::size_t i = 0; i < t.product_operands; ++i)
        if (!t.rows.inputs[i].per_row) columns = in[i].shape().back();
    std::vector<View> read;
    for (const std::uint32_t o : t.sum_operands) {
        read.push_back(o < in.size() ? in[o] : out[o - in.size()]);
        if (o < in.size()) continue;
        Layout& l = read.back().layout;
        l.shape.push_back(columns);
        l.strides.push_back(0);
    }
    cuda::run_rows_and_sums(gpu, t.rows, t.tape, in.first(t.product_operands), read, out.first(rows),
                            out.subspan(rows));
}

}  // namespace

void run_on_device(Device device, const Task& t, const Node& n, std::span<const View> in, std::span<const View> out) {
    cuda::Gpu& gpu = gpu_of(device);
    switch (t.kind) {
        case Task::Kind::kernel:
            if (t.packed) return run_core_gradient(gpu, t, in, out[0]);
            return run_node(device, n, in, out[0]);
        case Task::Kind::tape:
            return cuda::run(gpu, t.tape, in, out);
        case Task::Kind::rows:
            return cuda::run_rows(gpu, t.rows, in, out);
        case Task::Kind::chain:
            return run_chain(gpu, t, in, out);
        case Task::Kind::column_sums:
            if (!t.rows.code.empty()) return run_rows_and_sums(gpu, t, in, out);
            return cuda::sum_columns(gpu, t.tape, in, out);
        case Task::Kind::core_gradients:
            return run_core_gradients(gpu, t, in, out);
        case Task::Kind::hidden:
        case Task::Kind::hidden_gradients:
            return run_hidden(gpu, t, in, out);
        default: {
            if (t.packed) return run_core_gradient(gpu, t, in, out[0]);
            const auto more = in.subspan(t.product_operands);
            if (run_with_tape(gpu, n, in.first(t.product_operands), t.tape, more, out[0], t.zeros)) return;
            // The product, rounded to its dtype, and then the tape over it.
            const View product{nullptr, n.dtype, Layout::contiguous(n.shape)};
            const auto storage = gpu.allocate(bytes_of(product));
            std::vector<View> operands{{storage->data(), n.dtype, product.layout}};
            run_node(device, n, in.first(t.product_operands), operands[0]);
            for (const View& v : more) operands.push_back(v);
            // The epilogue's domain may be another shape of the same elements.
            operands[0].layout = Layout::contiguous(out[0].shape());
            return cuda::run(gpu, t.tape, operands, out);
        }
    }
}

}  // namespace tenon::schedule
