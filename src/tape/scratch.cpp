#include "tape/scratch.h"

#include <cstdint>
#include <memory>

namespace tenon::tape {

std::byte* scratch(std::size_t bytes) {
    constexpr std::size_t kLine = 64;
    struct Memory {
        std::unique_ptr<std::byte[]> data;
        std::size_t bytes = 0;
    };
    thread_local Memory memory;
    if (memory.bytes < bytes) {
        memory.data = std::make_unique_for_overwrite<std::byte[]>(bytes + kLine);
        memory.bytes = bytes;
    }
    const auto at = reinterpret_cast<std::uintptr_t>(memory.data.get());
    return memory.data.get() + ((at + kLine - 1) / kLine * kLine - at);
}

}  // namespace tenon::tape
