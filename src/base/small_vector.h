// A vector of a trivially copyable type with room for N elements in place. Nodes hold their inputs and attributes in
// one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace tenon {

template <class T, std::size_t N>
class SmallVector {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    SmallVector() = default;
    SmallVector(std::initializer_list<T> v) : SmallVector(std::span<const T>(v.begin(), v.size())) {}
    explicit SmallVector(std::span<const T> v) : size_(v.size()) {
        if (size_ > N) {
            heap_ = std::make_unique_for_overwrite<T[]>(size_);
            std::copy(v.begin(), v.end(), heap_.get());
        } else {
            put(v.data());
        }
    }
    SmallVector(const SmallVector& o) : SmallVector(std::span<const T>(o.data(), o.size_)) {}
    SmallVector(SmallVector&& o) noexcept : size_(std::exchange(o.size_, 0)), heap_(std::move(o.heap_)) {
        if (!heap_) put(o.inline_);
    }
    SmallVector& operator=(const SmallVector& o) { return *this = SmallVector(o); }
    SmallVector& operator=(SmallVector&& o) noexcept {
        size_ = std::exchange(o.size_, 0);
        heap_ = std::move(o.heap_);
        if (!heap_) put(o.inline_);
        return *this;
    }
    ~SmallVector() = default;

    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T* data() { return heap_ ? heap_.get() : inline_; }
    const T* data() const { return heap_ ? heap_.get() : inline_; }
    T& operator[](std::size_t i) { return data()[i]; }
    const T& operator[](std::size_t i) const { return data()[i]; }
    T* begin() { return data(); }
    T* end() { return data() + size_; }
    const T* begin() const { return data(); }
    const T* end() const { return data() + size_; }
    operator std::span<const T>() const { return {data(), size_}; }
    void clear() { size_ = 0, heap_.reset(); }

    friend bool operator==(const SmallVector& a, const SmallVector& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }

  private:
    /// Copies the elements that are in place: so few that a call of memmove would take longer.
    void put(const T* from) {
#pragma GCC unroll 1
        for (std::size_t i = 0; i < N; ++i) {
            if (i >= size_) break;
            inline_[i] = from[i];
        }
    }

    std::size_t size_ = 0;
    std::unique_ptr<T[]> heap_;
    T inline_[N];
};

}  // namespace tenon
