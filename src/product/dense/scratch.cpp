#include "product/dense/scratch.h"

#include <array>
#include <new>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::product::dense {
namespace {

constexpr std::align_val_t kAlignment{4096};

struct Buffer {
    std::byte* data = nullptr;
    std::size_t size = 0;
};

/// The largest buffers this thread gave back; two serve a call inside a call.
struct Store {
    std::array<Buffer, 2> buffers;
    ~Store() {
        for (const Buffer& b : buffers) ::operator delete(b.data, kAlignment);
    }
};

thread_local Store store;

}  // namespace

Scratch::Scratch(std::size_t bytes) {
    for (Buffer& b : store.buffers)
        if (b.size >= bytes && b.size > 0) {
            data_ = std::exchange(b.data, nullptr);
            size_ = std::exchange(b.size, 0);
            return;
        }
    size_ = bytes + bytes / 4;
    data_ = static_cast<std::byte*>(::operator new(size_, kAlignment, std::nothrow));
    if (data_ == nullptr) throw MemoryError(text("contract: no memory for ", size_, " bytes of working space"));
}

Scratch::~Scratch() {
    Buffer mine{data_, size_};
    for (Buffer& b : store.buffers)
        if (mine.size > b.size) std::swap(mine, b);
    ::operator delete(mine.data, kAlignment);
}

}  // namespace tenon::product::dense
