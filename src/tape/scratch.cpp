#include "tape/scratch.h"

#include <cstdint>
#include <type_traits>
#include <utility>

namespace tenon::tape {
namespace {

struct Memory {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
};

static_assert(std::is_trivially_destructible_v<Memory>, "destructors that run as a thread ends may compute");
constinit thread_local Memory memory;

}  // namespace

std::byte* scratch(std::size_t bytes) {
    constexpr std::size_t kLine = 64;
    if (memory.bytes < bytes) {
        // What a later destructor of the thread asks for, one block at most, is never freed.
        struct End {
            ~End() { delete[] std::exchange(memory, {}).data; }
        };
        thread_local End end;
        auto* const more = new std::byte[bytes + kLine];
        delete[] std::exchange(memory, {more, bytes}).data;
    }
    const auto at = reinterpret_cast<std::uintptr_t>(memory.data);
    return memory.data + ((at + kLine - 1) / kLine * kLine - at);
}

}  // namespace tenon::tape
