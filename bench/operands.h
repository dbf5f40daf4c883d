// The matrices of a problem, and whether a result of theirs is right.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bench/problem.h"

namespace bench {

/// Memory that is aligned to 64 bytes.
class Buffer {
  public:
    explicit Buffer(std::int64_t bytes);
    /// So many bytes, less than a page, after the start of a page.
    Buffer(std::int64_t bytes, std::int64_t after);
    /// Memory that another object owns.
    Buffer(void* memory, std::int64_t bytes) : data_(memory, Free{nullptr}), bytes_(bytes) {}
    void* data() const { return data_.get(); }
    std::int64_t bytes() const { return bytes_; }

  private:
    struct Free {
        void* owned;
        void operator()(void*) const;
    };
    void own(std::int64_t alignment, std::int64_t after);

    std::unique_ptr<void, Free> data_;
    std::int64_t bytes_;
};

struct Operands {
    Buffer a, b, c;

    template <class T>
    const T* a_as() const {
        return static_cast<const T*>(a.data());
    }
    template <class T>
    const T* b_as() const {
        return static_cast<const T*>(b.data());
    }
    template <class T>
    T* c_as() const {
        return static_cast<T*>(c.data());
    }
};

/// Random numbers, uniform from -1 to 1. uint8 is from 0 to 127, so that the sum of two products fits 16 bits: on CPUs
/// without dot-product instructions some libraries saturate it, and would compute another product.
Operands make_operands(const Problem& problem);

/// How C differs from A B, by a sample of elements that are computed in float64 (exact for integers); empty if it does
/// not.
std::string compare_with_float64(const Problem& problem, const Operands& operands);
/// How C differs from `expected` by more than rounding; empty if it does not.
std::string compare(const Problem& problem, const Operands& operands, const Buffer& expected);

}  // namespace bench
