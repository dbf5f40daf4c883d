// Tensors to and from DLPack (tenon/dlpack.h).
#include "tenon/dlpack.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>

#include "base/text.h"
#include "cuda/device.h"
#include "cuda/loops.h"
#include "primitive/leaf.h"
#include "schedule/dlpack_abi.h"
#include "schedule/place.h"
#include "tape/tape.h"
#include "tenon/error.h"

namespace tenon {
namespace {

using cuda::Gpu;

DLDataType type_of(DType t) {
    const auto bits = static_cast<std::uint8_t>(8 * size_of(t));
    std::uint8_t code = dlpack::kFloat;
    if (t == DType::boolean) code = dlpack::kBool;
    if (t == DType::bfloat16) code = dlpack::kBfloat;
    if (is_signed_integer(t)) code = dlpack::kInt;
    if (is_unsigned_integer(t)) code = dlpack::kUint;
    if (t == DType::complex64 || t == DType::complex128) throw TypeError(text("to_dlpack: ", name(t)));
    return {code, bits, 1};
}

DType dtype_of(const DLDataType& t) {
    for (int i = 0; i < static_cast<int>(DType::complex64); ++i) {
        const auto candidate = static_cast<DType>(i);
        const DLDataType own = type_of(candidate);
        if (own.code == t.code && own.bits == t.bits && t.lanes == 1) return candidate;
    }
    throw TypeError(text("from_dlpack: no dtype of type code ", int{t.code}, ", ", int{t.bits}, " bits and ",
                         int{t.lanes}, " lanes"));
}

// --- to ---

cuda::StreamHandle handle_of(std::int64_t stream) {
    return reinterpret_cast<cuda::StreamHandle>(static_cast<std::uintptr_t>(stream));  // 1 and 2 are the driver's own
}

constexpr std::int64_t kLegacy = 1, kOfThread = 2, kNobodyWaits = -1;

/// An exported tensor: what the consumer sees, and what it keeps alive.
template <class Managed>
struct Exported {
    Managed managed{};
    std::shared_ptr<Storage> storage;
    Extents shape, strides;
    std::int64_t stream = kNobodyWaits;
};

/// Work that the consumer has enqueued may still read the memory, which goes back to a stream that waits for that work.
void wait_for_consumer(const Storage& storage, std::int64_t stream) noexcept {
    if (storage.device() == Device::cpu() || !cuda::driver_absent().empty()) return;
    try {
        Gpu& gpu = Gpu::at(storage.device().index);
        if (stream != kLegacy && stream != kOfThread) return gpu.synchronize_context();  // it may be gone
        gpu.order_after(handle_of(kLegacy));
        gpu.order_after(handle_of(kOfThread));
    } catch (const Error&) {  // the driver is shutting down
    }
}

template <class Managed>
void delete_exported(Managed* self) {
    const std::unique_ptr<Exported<Managed>> all(static_cast<Exported<Managed>*>(self->manager_ctx));
    wait_for_consumer(*all->storage, all->stream);
}

Array copied(const Array& a, Device device) {
    const View packed{nullptr, a.view.dtype, Layout::contiguous(a.view.shape())};
    auto storage = schedule::allocate(device, packed.layout.count() * static_cast<std::int64_t>(size_of(packed.dtype)));
    const View to{storage->data(), packed.dtype, packed.layout};
    if (device == Device::cpu())
        tape::run(tape::Tape{{to.dtype}, {}, {0}}, {&a.view, 1}, {&to, 1});
    else
        cuda::copy(Gpu::at(device.index), a.view, to);
    return {std::move(storage), to};
}

/// Lets the consumer wait for what is enqueued. The stream it named, or none.
std::int64_t let_wait(Device device, const DlpackOptions& options) {
    if (device == Device::cpu()) {
        if (options.stream && *options.stream != kNobodyWaits)
            throw ValueError(text("to_dlpack: stream ", *options.stream, " of a tensor on the CPU"));
        return kNobodyWaits;
    }
    const std::int64_t stream = options.stream.value_or(kLegacy);
    if (stream < kNobodyWaits || stream == 0)
        throw ValueError(text("to_dlpack: stream ", stream, ": -1, 1, 2, or a cudaStream_t"));
    if (stream != kNobodyWaits) Gpu::at(device.index).order_before(handle_of(stream));
    return stream;
}

template <class Managed>
std::unique_ptr<Exported<Managed>> exported(const Tensor& x, const DlpackOptions& options) {
    if (!x.defined()) throw ValueError("to_dlpack: an empty handle");
    const DLDataType type = type_of(x.dtype());
    x.eval();
    const Array& value = *x.node()->value();
    const Device device = value.storage->device();
    const Array a = options.copy ? copied(value, device) : Array{value.storage, value.view};
    auto e = std::make_unique<Exported<Managed>>();
    e->stream = let_wait(device, options);
    e->storage = a.storage;
    e->shape = a.view.layout.shape, e->strides = a.view.layout.strides;
    e->managed.manager_ctx = e.get();
    e->managed.deleter = delete_exported<Managed>;
    e->managed.dl_tensor = {a.view.data,
                            {device == Device::cpu() ? dlpack::kCpu : dlpack::kCuda, device.index},
                            e->shape.rank(),
                            type,
                            e->shape.begin(),
                            e->strides.begin(),
                            0};
    return e;
}

// --- from ---

Device device_of(const DLDevice& d) {
    if (d.device_type == dlpack::kCpu || d.device_type == dlpack::kCudaHost) return Device::cpu();
    if (d.device_type != dlpack::kCuda && d.device_type != dlpack::kCudaManaged)
        throw ValueError(text("from_dlpack: device type ", d.device_type, ": memory of the CPU or of CUDA is taken"));
    if (d.device_id < 0) throw ValueError(text("from_dlpack: CUDA device ", d.device_id));
    return Device::cuda(Gpu::at(d.device_id).index());
}

Layout layout_of(const DLTensor& t, DType dtype) {
    if (t.ndim < 0) throw ShapeError(text("from_dlpack: ", t.ndim, " axes"));
    const auto rank = static_cast<std::size_t>(t.ndim);
    if (rank > 0 && !t.shape) throw ShapeError("from_dlpack: no extents");
    const Shape shape{std::span<const std::int64_t>(t.shape, rank)};
    Layout layout = Layout::contiguous(shape);  // throws
    if (t.strides && rank > 0) layout.strides = Strides(std::span<const std::int64_t>(t.strides, rank));
    // Positions and sizes are computed in bytes.
    const auto size = static_cast<std::int64_t>(size_of(dtype));
    std::int64_t bytes = 0, last = 0;
    bool overflow = __builtin_mul_overflow(layout.count(), size, &bytes);
    for (int i = 0; bytes > 0 && i < layout.rank(); ++i) {
        std::int64_t step = 0, way = 0;
        overflow = overflow || layout.strides[i] == std::numeric_limits<std::int64_t>::min() ||
                   __builtin_mul_overflow(std::abs(layout.strides[i]), size, &step) ||
                   __builtin_mul_overflow(layout.shape[i] - 1, step, &way) || __builtin_add_overflow(last, way, &last);
    }
    if (overflow)
        throw ShapeError(text("from_dlpack: shape ", to_string(shape), ", strides ", to_string(layout.strides), " of ",
                              name(dtype), ": the bytes between its elements do not fit 63 bits"));
    return layout;
}

/// The owner of the producer's memory; its deleter waits for what reads it here.
template <class Managed>
Tensor imported(Managed* managed) {
    const DLTensor& t = managed->dl_tensor;
    const DType dtype = dtype_of(t.dtype);
    const Layout layout = layout_of(t, dtype);
    const Device device = device_of(t.device);
    const std::int64_t n = layout.count();
    if (!t.data && n > 0) throw ValueError("from_dlpack: no memory");
    static std::byte nothing[16];  // an address even for nothing
    void* const data = t.data ? static_cast<std::byte*>(t.data) + t.byte_offset : nothing;
    // Nothing is owned before everything that may throw is done.
    const auto owner = std::make_shared<Managed*>(nullptr);
    auto storage = Storage::adopt(
        data, n * static_cast<std::int64_t>(size_of(dtype)),
        [owner, device] {
            if (!*owner) return;
            if (device != Device::cpu() && cuda::driver_absent().empty()) {
                try {
                    Gpu::at(device.index).wait_for_work();
                } catch (const Error&) {  // the driver is shutting down
                }
            }
            if ((*owner)->deleter) (*owner)->deleter(*owner);
        },
        device);
    Tensor tensor = input({std::move(storage), {data, dtype, layout}});
    *owner = managed;
    return tensor;
}

}  // namespace

DLManagedTensorVersioned* to_dlpack(const Tensor& x, const DlpackOptions& options) {
    auto e = exported<DLManagedTensorVersioned>(x, options);
    e->managed.version = {1, 0};
    e->managed.flags = options.copy ? dlpack::kIsCopied : dlpack::kReadOnly;
    return &e.release()->managed;
}

DLManagedTensor* to_dlpack_unversioned(const Tensor& x, const DlpackOptions& options) {
    return &exported<DLManagedTensor>(x, options).release()->managed;
}

Tensor from_dlpack(DLManagedTensorVersioned* managed) {
    if (!managed) throw ValueError("from_dlpack: null");
    if (managed->version.major != 1)
        throw ValueError(text("from_dlpack: DLPack ", managed->version.major, ".", managed->version.minor,
                              ", where 1 is understood"));
    return imported(managed);
}

Tensor from_dlpack(DLManagedTensor* managed) {
    if (!managed) throw ValueError("from_dlpack: null");
    return imported(managed);
}

std::optional<std::int64_t> dlpack_stream(Device device) {
    if (device == Device::cpu()) return {};
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(Gpu::at(device.index).stream()));
}

DlpackDevice dlpack_device(const Tensor& x) {
    const Device d = x.eval().node()->value()->storage->device();
    return {d == Device::cpu() ? dlpack::kCpu : dlpack::kCuda, d.index};
}

}  // namespace tenon
