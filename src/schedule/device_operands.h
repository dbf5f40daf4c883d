// Operands and results of device kernels that require addresses at multiples of 16 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/storage.h"
#include "base/view.h"
#include "cuda/device.h"

namespace tenon::schedule {

/// Operands and results as the kernels need them: in place, or in copies that live as long as this object.
class Aligned {
  public:
    explicit Aligned(cuda::Gpu& gpu) : gpu_(gpu) {}

    const void* operand(const View& v) {
        if (is_aligned(v.data)) return v.data;
        const Extent e = extent_of(v);
        auto* const copy = allocate(e.bytes);
        gpu_.copy(copy, static_cast<const std::byte*>(v.data) - e.before, e.bytes);
        return copy + e.before;
    }
    void* result(const View& v) {
        if (is_aligned(v.data)) return v.data;
        const Extent e = extent_of(v);
        auto* const copy = allocate(e.bytes);
        results_.push_back({v.data, copy, e.bytes});
        return copy;
    }
    /// To be called once the kernels are enqueued. Results have no gaps.
    void finish() {
        for (const Result& r : results_) gpu_.copy(r.to, r.from, r.bytes);
    }

  private:
    struct Extent {
        std::int64_t before, bytes;  // before: bytes below the first element; bytes: in all
    };
    struct Result {
        void* to;
        const std::byte* from;
        std::int64_t bytes;
    };

    static bool is_aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }
    static Extent extent_of(const View& v) {
        std::int64_t low = 0, high = 0;
        for (int i = 0; i < v.layout.rank(); ++i) {
            const std::int64_t way = (v.layout.shape[i] - 1) * v.layout.strides[i];
            (way < 0 ? low : high) += way;
        }
        const auto size = static_cast<std::int64_t>(size_of(v.dtype));
        return {-low * size, v.layout.count() == 0 ? 0 : (high - low + 1) * size};
    }
    std::byte* allocate(std::int64_t bytes) {
        return static_cast<std::byte*>(copies_.emplace_back(gpu_.allocate(bytes))->data());
    }

    cuda::Gpu& gpu_;
    std::vector<std::shared_ptr<Storage>> copies_;
    std::vector<Result> results_;
};

}  // namespace tenon::schedule
