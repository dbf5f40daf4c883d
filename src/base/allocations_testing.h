// Counts allocations of the thread: for one file of a test program, whose operator new it replaces. Sanitizers bring
// their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace tenon {

inline thread_local std::int64_t allocations = 0;

inline void* counted(std::size_t n, std::size_t alignment) noexcept {
    ++allocations;
    return std::aligned_alloc(alignment, (n + alignment) / alignment * alignment);
}

inline constexpr std::size_t kUsualAlignment = alignof(std::max_align_t);

}  // namespace tenon

void* operator new(std::size_t n) {
    if (void* p = tenon::counted(n, tenon::kUsualAlignment)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, std::align_val_t a) {
    if (void* p = tenon::counted(n, static_cast<std::size_t>(a))) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return tenon::counted(n, tenon::kUsualAlignment); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return tenon::counted(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
