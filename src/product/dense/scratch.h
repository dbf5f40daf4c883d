// Scratch memory that outlives calls: each thread keeps its own, so that a steady state allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tenon::product::dense {

/// At least `bytes` bytes, page-aligned and uninitialised; returned to the thread's store at the end of the scope.
class Scratch {
  public:
    /// Throws MemoryError.
    explicit Scratch(std::size_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    std::byte* data() const { return data_; }

    /// Takes the next `count` elements from the front, aligned to a cache line.
    template <class T>
    T* take(std::int64_t count) {
        std::byte* p = data_ + used_;
        used_ += aligned(static_cast<std::size_t>(count) * sizeof(T));
        return reinterpret_cast<T*>(p);
    }
    static constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

  private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0, used_ = 0;
};

}  // namespace tenon::product::dense
