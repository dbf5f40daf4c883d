// Memory of tensors: reference-counted blocks from a caching allocator. A training loop, which asks for the same sizes
// in each step, has no page faults after the first step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "tenon/device.h"
#include "tenon/export.h"

namespace tenon {

/// A block of bytes, 64-byte aligned if allocated here; freed when its last owner is destroyed. Uninitialised: in debug
/// and AddressSanitizer builds every byte is 0xFF, which reads as NaN in each floating dtype.
class Storage {
    struct Token {};  // make_shared needs a public constructor, which only the two functions can call

  public:
    /// `bytes` >= 0 of memory; 0 gives a valid pointer to nothing. Thread-safe. Throws ValueError below 0, and
    /// MemoryError if the system has no more even after the cache was emptied.
    static TENON_API std::shared_ptr<Storage> allocate(std::int64_t bytes);

    /// Memory that belongs to somebody else. `release` (may be empty, must not throw) is called when the last owner is
    /// destroyed.
    static std::shared_ptr<Storage> adopt(void* data, std::int64_t bytes, std::function<void()> release,
                                          Device device = {});

    /// Memory of a device, allocated by its back end; `release` as above. The host cannot access `data`.
    static std::shared_ptr<Storage> of_device(Device device, void* data, std::int64_t bytes,
                                              std::function<void()> release);

    Storage(Token, Device device, void* data, std::int64_t bytes, bool ours, std::function<void()> release);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    Device device() const { return device_; }
    void* data() const { return data_; }
    std::int64_t bytes() const { return bytes_; }
    /// Allocated here: an operation may overwrite it once nobody else refers to it. Adopted memory is never written.
    bool ours() const { return ours_; }

    /// Data derived from the contents, valid as long as these: a packed weight. Only for the evaluator, under its lock.
    const std::shared_ptr<void>& made() const { return made_; }
    void keep(std::shared_ptr<void> made) { made_ = std::move(made); }
    /// The contents are about to change.
    void overwrite() { made_.reset(); }

  private:
    void* data_;
    std::int64_t bytes_;
    bool ours_;
    Device device_;
    std::function<void()> release_;
    std::shared_ptr<void> made_;
};

/// What allocate() holds, in bytes of whole blocks (a request is rounded up by less than a quarter). Adopted memory is
/// not counted.
struct MemoryStatistics {
    std::int64_t in_use;
    std::int64_t peak_in_use;  // since the start or reset_peak_memory()
    std::int64_t cached;  // free, kept for reuse
};

MemoryStatistics memory_statistics();
void reset_peak_memory();

/// Returns all cached memory to the system.
void trim_memory();

/// The most bytes kept for reuse; anything above is returned at once. Initially the smaller of 2 GiB and a quarter of
/// the machine's memory. Throws ValueError below 0.
void set_memory_cache_limit(std::int64_t bytes);

/// For tests: the n-th allocate() from now (1 is the next) throws MemoryError; 0 cancels this.
void fail_allocation(std::int64_t n);

}  // namespace tenon
