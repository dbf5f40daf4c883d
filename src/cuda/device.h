// A CUDA device as Tenon uses it: the primary context, which other libraries of the process share; one stream, in which
// all work of the device runs in order; a memory pool that allocates and frees in stream order; events; and the kernels
// loaded so far. The host runs ahead of the stream: only a copy to the host waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/storage.h"
#include "cuda/compiler.h"
#include "cuda/driver.h"
#include "tenon/device.h"

namespace tenon::cuda {

/// The memory of a device in bytes; `cached` is unused memory that the pool holds.
struct PoolStatistics {
    std::int64_t in_use, peak_in_use, cached;
};

/// An index that was out of bounds, and the operation that had it.
struct IndexFault {
    enum Operation : std::int64_t { gather, scatter, scatter_add, attention };
    std::int64_t set, index, rows;
    Operation operation;
};

/// A loaded function, and properties reported by its compilation.
struct Kernel {
    FunctionHandle function = nullptr;
    int registers = 0;
    int local_bytes = 0;  // of each thread, for spilled registers
    int shared_bytes = 0;  // static
    int threads_per_block = 0;  // the most that a launch may have
    explicit operator bool() const { return function != nullptr; }
};

class Gpu {
  public:
    /// The device of that index, opened at first use. Throws ValueError with the reason if there is none.
    static Gpu& at(int index);
    /// The number of devices; 0 without a driver.
    static int count();

    int index() const { return index_; }
    const std::string& name() const { return name_; }
    int major() const { return major_; }
    int minor() const { return minor_; }
    /// The architecture for which device code is compiled.
    const std::string& architecture() const { return architecture_; }
    int multiprocessors() const { return multiprocessors_; }
    /// The most dynamic shared memory of a block.
    int shared_bytes_per_block() const { return shared_bytes_per_block_; }
    std::int64_t l2_bytes() const { return l2_bytes_; }
    std::int64_t memory_bytes() const { return memory_bytes_; }

    /// Where this thread's work goes: the device's stream, or the graph that the thread records.
    StreamHandle stream() const { return is_recording() ? recorder_->streams[recorder_->branch] : stream_; }
    bool is_recording() const { return recorder_ && recorder_->gpu == this; }
    /// The branch of the graph that the thread records to which its work goes (Branches); 0 if it records none.
    std::size_t branch() const { return is_recording() ? recorder_->branch : 0; }
    /// Clears the mark that the work enqueued next also follows work of other branches, and returns whether it was set:
    /// then a kernel cannot begin early.
    bool take_join() {
        if (!is_recording()) return false;
        const bool joins = recorder_->joins[recorder_->branch];
        recorder_->joins[recorder_->branch] = false;
        return joins;
    }
    ContextHandle context() const { return context_; }

    /// `bytes` >= 0 of device memory, in stream order: work that is enqueued from now on may use it, and when its last
    /// owner goes it returns to the pool after all work enqueued by then. If the device has no memory left, the pool's
    /// unused memory is given back and the allocation repeated once all work is done; if it fails again, MemoryError.
    std::shared_ptr<Storage> allocate(std::int64_t bytes);
    /// Memory held by `shared_arena` and graphs counts as cached.
    PoolStatistics memory_statistics() const;
    void reset_peak_memory();
    /// Returns the pool's unused memory to the driver, including that of `shared_arena` and graphs.
    void trim_memory();
    /// At least `bytes` of memory that keeps its address from call to call, unless it has to grow or memory is short.
    /// All callers share it, one after the other: its contents are lost once another caller has enqueued work.
    std::shared_ptr<Storage> shared_arena(std::int64_t bytes);
    /// For tests: the n-th allocation from now (1 is the next) fails as if the device had no more memory; with `twice`,
    /// the next one too.
    void fail_allocation(int n, bool twice);

    /// Waits for everything enqueued. Throws errors of the device, and what kernels have reported in faults().
    void synchronize();
    /// In the host's memory, for kernels to write (cuda/indexing.cu).
    IndexFault* faults() const { return faults_; }

    /// Makes another stream of the device's context wait for the work enqueued here, or this one for that: work
    /// enqueued afterwards follows it. The host does not wait.
    void order_before(StreamHandle other) const;
    void order_after(StreamHandle other) const;
    /// Returns once this stream, or all streams of the device's context, are done. Faults that kernels have reported
    /// stay in faults().
    void wait_for_work() const;
    void synchronize_context() const;

    /// Copies in stream order. `to_device` may return before the copy is done, but `from` may be changed then: a small
    /// copy goes through a ring of pinned memory, and a large one is waited for. `to_host` waits.
    void to_device(void* to, const void* from, std::int64_t bytes);
    void to_host(void* to, const void* from, std::int64_t bytes);
    void copy(void* to, const void* from, std::int64_t bytes);
    void fill_bytes(void* to, unsigned char value, std::int64_t bytes);
    void fill_words(void* to, std::uint32_t value, std::int64_t words);

    /// The function `name` (declared extern "C") of the unit, compiled for this device or found in the cache on disk,
    /// and loaded; kept for the process. The same (name, text, options) gives the same kernel at the cost of a look-up.
    const Kernel& kernel(const Unit& unit, const std::string& function);
    /// The same by a short key, which must determine the unit; `make` is called if the key is new.
    const Kernel& printed(const std::string& key, const std::function<Unit()>& make, const char* function = "run");

    /// The device's context for the calls of this scope, as the driver wants it; within a scope of the same device it
    /// costs nothing.
    class Scope {
      public:
        explicit Scope(const Gpu& gpu);
        ~Scope();
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

      private:
        const Gpu* outer_;
        const Gpu* own_;
    };

  private:
    friend class Graph;
    friend class Branches;
    using Blocks = std::vector<std::shared_ptr<Storage>>;
    /// The state of a thread that records a graph; vectors are indexed by branch.
    struct Recorder {
        const Gpu* gpu;
        std::vector<StreamHandle> streams;
        Blocks fresh;  // blocks that no recorded work uses yet
        std::vector<Blocks> free;  // blocks that what is recorded from now on in that branch may use again
        std::vector<bool> joins;
        std::vector<std::weak_ptr<Storage>> used;
        std::size_t branch = 0;
    };
    static std::shared_ptr<Storage> take_block(Blocks& blocks, std::int64_t bytes);
    static inline thread_local Recorder* recorder_ = nullptr;
    static inline thread_local const Gpu* in_scope_ = nullptr;

    explicit Gpu(int index);
    std::shared_ptr<Storage> allocate_now(std::int64_t bytes);
    std::shared_ptr<Storage> allocate_recorded(std::int64_t bytes);
    void refuse_recorded(const char* what) const;
    std::int64_t held_bytes() const;
    DevicePointer try_allocate(std::int64_t bytes);
    DevicePointer take_idle(std::int64_t bytes);
    bool keep_idle(DevicePointer address, std::int64_t bytes) noexcept;
    void free_idle() noexcept;
    std::int64_t idle_bytes() const;
    void release(DevicePointer address, std::int64_t bytes) noexcept;
    void stage(void* to, const void* from, std::int64_t bytes);

    int index_, major_ = 0, minor_ = 0, multiprocessors_ = 0, shared_bytes_per_block_ = 0;
    std::int64_t l2_bytes_ = 0, memory_bytes_ = 0;
    std::string name_, architecture_;
    ContextHandle context_ = nullptr;
    StreamHandle stream_ = nullptr;
    PoolHandle pool_ = nullptr;
    IndexFault* faults_ = nullptr;
    std::atomic<std::int64_t> in_use_{0}, peak_{0};
    std::atomic<int> fail_in_{0};
    std::atomic<bool> fail_twice_{false};

    // Memory that is kept for later calls: the shared arena, and the blocks that graphs use between their nodes. Graphs
    // are launched one after the other, so they may all use the same blocks.
    mutable std::mutex held_mutex_;
    std::shared_ptr<Storage> arena_;
    std::vector<std::shared_ptr<Storage>> blocks_;
    std::vector<StreamHandle> recording_streams_;  // of the branches

    // Freed blocks by size; an allocation takes the one that was freed last. That needs no call of the driver, and
    // programs that allocate and free in the same order get the same addresses, which graphs need. As with the driver's
    // pool, work enqueued after the free may use a block.
    mutable std::mutex idle_mutex_;
    std::unordered_map<std::int64_t, std::vector<DevicePointer>> idle_;
    std::int64_t idle_bytes_ = 0;

    std::mutex staging_mutex_;
    struct Stage {
        std::byte* memory = nullptr;
        std::int64_t used = 0;
        EventHandle done = nullptr;
    };
    void* staged_ = nullptr;  // pinned memory of all stages
    std::vector<Stage> stages_;
    std::size_t stage_ = 0;

    std::mutex kernels_mutex_;
    std::map<std::string, ModuleHandle> modules_;
    std::map<std::string, Kernel> kernels_;
    std::mutex printed_mutex_;
    std::unordered_map<std::string, const Kernel*> printed_;
};

/// A point in the device's stream.
class Event {
  public:
    explicit Event(Gpu& gpu, bool timed = false);
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void record();
    bool done() const;
    void wait() const;
    /// Milliseconds from `start` to this one, both timed and done.
    float since(const Event& start) const;

  private:
    Gpu& gpu_;
    EventHandle handle_ = nullptr;
};

}  // namespace tenon::cuda
