// The floating-point environment that a product runs in: round to nearest, traps off, subnormals as asked. The caller's
// environment is restored on every exit, flags included. The arithmetic has to be in a function that is not inlined
// here.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tenon::product {

enum class Subnormals : std::uint8_t {
    keep,
    flush,  // MXCSR's flush-to-zero and denormals-are-zero; on other CPUs the kernels flush
};

class FloatEnvironment {
  public:
    FloatEnvironment(const FloatEnvironment&) = delete;
    FloatEnvironment& operator=(const FloatEnvironment&) = delete;

#if defined(__x86_64__)
    explicit FloatEnvironment(Subnormals subnormals) : saved_(_mm_getcsr()) {
        constexpr unsigned kMaskTraps = 0x1f80, kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
        _mm_setcsr(subnormals == Subnormals::flush ? kMaskTraps | kFlushToZero | kDenormalsAreZero : kMaskTraps);
    }
    ~FloatEnvironment() { _mm_setcsr(saved_); }

  private:
    unsigned saved_;
#elif defined(__aarch64__)
    explicit FloatEnvironment(Subnormals) {
        asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control_), "=r"(status_));
        asm volatile("msr fpcr, xzr" ::: "memory");
    }
    ~FloatEnvironment() { asm volatile("msr fpsr, %1\n\tmsr fpcr, %0" ::"r"(control_), "r"(status_) : "memory"); }

  private:
    std::uint64_t control_, status_;
#else
    explicit FloatEnvironment(Subnormals) {}
    ~FloatEnvironment() {}
#endif
};

}  // namespace tenon::product
