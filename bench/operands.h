// The matrices of a problem, and whether a result of theirs is right.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bench/problem.h"

namespace bench {

/// Memory at a boundary of 64 bytes.
class Buffer {
  public:
    explicit Buffer(std::int64_t bytes);
    /// Another's memory.
    Buffer(void* memory, std::int64_t bytes) : data_(memory, Free{false}), bytes_(bytes) {}
    void* data() const { return data_.get(); }
    std::int64_t bytes() const { return bytes_; }

  private:
    struct Free {
        bool owns;
        void operator()(void* memory) const;
    };
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

/// Numbers uniform from -1 to 1; uint8 from 0 to 127, so that pairs of products fit 16 bits: some libraries saturate
/// there on CPUs without dot-product instructions, which would be another product.
Operands make_operands(const Problem& problem);

/// Why C is not A B by a sample of elements in float64 (exact for integers); empty where it is.
std::string compare_with_float64(const Problem& problem, const Operands& operands);
/// Why C is not `expected` to rounding; empty where it is.
std::string compare(const Problem& problem, const Operands& operands, const Buffer& expected);

}  // namespace bench
