// What kernels read and write: untyped memory, an element type and a layout. Kernels know views and nothing of graphs.
#pragma once

#include "tenon/dtype.h"
#include "tenon/layout.h"

namespace tenon {

class Storage;

/// `data` points at the element whose indices are all zero: a view's layout has offset 0.
struct View {
    void* data = nullptr;
    DType dtype = DType::float32;
    Layout layout;
    /// The storage of an operand that may recur, with which its packed form can be kept (product/weights.h); otherwise
    /// null.
    Storage* owner = nullptr;

    const Shape& shape() const { return layout.shape; }
    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
};

/// The same memory through another layout, whose offset is added to the pointer.
inline View with_layout(const View& v, Layout layout) {
    auto* bytes = static_cast<std::byte*>(v.data) + layout.offset * static_cast<std::int64_t>(size_of(v.dtype));
    layout.offset = 0;
    return {bytes, v.dtype, layout, v.owner};
}

}  // namespace tenon
