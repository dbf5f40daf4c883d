// What tests of kernels that work on arrays share.
#pragma once

#include <memory>

#include "base/view.h"
#include "cuda/device.h"
#include "tape/testing.h"

namespace tenon::cuda::testing {

/// An array's copy in the device's memory.
struct OnDevice {
    using Array = tape::testing::Array;

    std::shared_ptr<Storage> storage;
    DType dtype;
    Shape shape;

    explicit OnDevice(const Array& a)
        : storage(Gpu::at(0).allocate(static_cast<std::int64_t>(a.bytes.size()))), dtype(a.dtype), shape(a.shape) {
        Gpu::at(0).to_device(storage->data(), a.bytes.data(), storage->bytes());
    }
    View view() const { return {storage->data(), dtype, Layout::contiguous(shape)}; }
    View view(const Layout& layout) const { return with_layout({storage->data(), dtype, layout}, layout); }
    Array back() const {
        Array a(dtype, shape);
        Gpu::at(0).to_host(a.bytes.data(), storage->data(), storage->bytes());
        return a;
    }
};

}  // namespace tenon::cuda::testing
