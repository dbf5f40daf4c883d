#include "product/dense/scratch.h"

#include <sys/mman.h>

#include <array>
#include <new>
#include <type_traits>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::product::dense {
namespace {

/// Buffers of at least this size are on large pages, if the system has them: packed panels are streamed.
constexpr std::size_t kLarge = 512 << 10;
constexpr std::align_val_t kAlignment{2 << 20};

struct Buffer {
    std::byte* data = nullptr;
    std::size_t size = 0;
};

/// The largest buffers that this thread returned. In a factorization, a triangular product inside it, the transposed
/// triangle, a share of that, and a product inside it have one each; strips of a triangle have three.
struct Store {
    std::array<Buffer, 7> buffers;
    bool ended = false;  // nothing frees what is kept any more
};

static_assert(std::is_trivially_destructible_v<Store>, "destructors that run as a thread ends may compute");
constinit thread_local Store store;

void free_at_exit() {
    struct End {
        ~End() {
            store.ended = true;
            for (Buffer& b : store.buffers) ::operator delete(std::exchange(b, {}).data, kAlignment);
        }
    };
    thread_local End end;
}

}  // namespace

Scratch::Scratch(std::size_t bytes) {
    // The smallest that is large enough: a larger one may be needed next, and new pages would have to be cleared.
    Buffer* fits = nullptr;
    for (Buffer& b : store.buffers)
        if (b.size >= bytes && b.size > 0 && (!fits || b.size < fits->size)) fits = &b;
    if (fits) {
        data_ = std::exchange(fits->data, nullptr);
        size_ = std::exchange(fits->size, 0);
        return;
    }
    size_ = bytes + bytes / 4;
    if (size_ >= kLarge)
        size_ = (size_ + static_cast<std::size_t>(kAlignment) - 1) / static_cast<std::size_t>(kAlignment) *
                static_cast<std::size_t>(kAlignment);
    data_ = static_cast<std::byte*>(::operator new(size_, kAlignment, std::nothrow));
#if defined(MADV_HUGEPAGE)
    if (data_ && size_ >= kLarge) ::madvise(data_, size_, MADV_HUGEPAGE);
#endif
    if (data_ == nullptr) throw MemoryError(text("contract: no memory for ", size_, " bytes of working space"));
}

Scratch::~Scratch() {
    free_at_exit();
    Buffer mine{data_, size_};
    if (!store.ended)
        for (Buffer& b : store.buffers)
            if (mine.size > b.size) std::swap(mine, b);
    ::operator delete(mine.data, kAlignment);
}

}  // namespace tenon::product::dense
