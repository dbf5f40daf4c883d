// The part of oneDNN's C API that a matrix product needs, from version 2 or 3, loaded at run time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bench/library.h"

namespace bench::onednn {

// Handles of the library. A memory descriptor is the caller's structure in version 2 and a handle in version 3;
// functions take a pointer in both.
using Engine = void*;
using Stream = void*;
using Memory = void*;
using Descriptor = const void*;
using Primitive = void*;

enum DataType : int { kBf16 = 2, kF32 = 3, kS32 = 4, kS8 = 5, kU8 = 6, kF64 = 7 };

struct Version {
    int major, minor, patch;
    const char* hash;
    unsigned cpu_runtime, gpu_runtime;
};
inline constexpr unsigned kOpenMp = 2, kSycl = 512;

struct Argument {
    int index;
    Memory memory;
};
inline constexpr int kSource = 1, kSource1 = 2, kDestination = 17, kWeights = 33, kBias = 41;
// Arguments that belong to another: its scales, its zero point, the operand of post-operation 0.
inline constexpr int kScales = 4096, kZeroPoints = 8192, kPostOperation = 32768;

enum Eltwise : int { kNoEltwise = 0, kRelu = 0x20, kGeluTanh = 0x2b, kSwish = 0x2c, kGeluErf = 0x31 };

/// What follows a product, in this order; and with which scales and zero points its operands are read.
struct Attributes {
    Eltwise eltwise = kNoEltwise;
    Descriptor added = nullptr;  // a tensor that is added
    struct Mask {
        int argument, mask;
    };
    std::vector<Mask> scales, zero_points;

    int operations() const { return (eltwise != kNoEltwise ? 1 : 0) + (added ? 1 : 0); }
};

/// The version, if this library is a oneDNN.
std::optional<Version> version_of(const Library& library);

/// A oneDNN with an engine for the CPU. If the library refuses a call, its name is in the Unsupported that is thrown.
/// Descriptors and primitives live until the process ends: a benchmark makes few.
class Api {
  public:
    explicit Api(const Library& library);

    /// A descriptor of a dense tensor; strides in elements.
    Descriptor descriptor(const std::vector<std::int64_t>& extents, DataType type,
                          const std::vector<std::int64_t>& strides) const;
    /// A descriptor in whose place the primitive chooses the layout that it prefers.
    Descriptor descriptor(const std::vector<std::int64_t>& extents, DataType type) const;

    struct Matmul {
        Primitive primitive;
        /// The layout that it chose for its right operand.
        Descriptor weights;
    };
    Matmul matmul(Descriptor source, Descriptor weights, Descriptor destination) const;
    /// From version 3 on.
    Matmul matmul(Descriptor source, Descriptor weights, Descriptor bias, Descriptor destination,
                  const Attributes& attributes) const;

    /// A tensor in the caller's memory, or, if that is null, in the library's.
    Memory memory(Descriptor descriptor, void* data) const;
    void destroy(Memory memory) const;
    /// Copies from one layout to another, and waits.
    void reorder(Descriptor from, Memory source, Descriptor to, Memory destination) const;

    void execute(Primitive primitive, int count, const Argument* arguments) const {
        execute_(primitive, stream_, count, arguments);
    }
    void wait() const { wait_(stream_); }

  private:
    Matmul primitive_of(void* descriptor) const;
    template <class... Arguments>
    void call(const char* name, Arguments... arguments) const;

    Library library_;
    int major_;
    Engine engine_ = nullptr;
    Stream stream_ = nullptr;
    int (*execute_)(Primitive, Stream, int, const Argument*);
    int (*wait_)(Stream);
};

}  // namespace bench::onednn
