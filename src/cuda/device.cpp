#include "cuda/device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

constexpr int kMaxDevices = 64;
constexpr int kMinMajor = 8;  // Devices below lack bfloat16 and asynchronous copies.
constexpr std::int64_t kStageBytes = std::int64_t{1} << 20;
constexpr std::size_t kStages = 8;
constexpr std::int64_t kStagedBytes = 4 * kStageBytes;  // Larger copies do not go through stages, and are waited for.
constexpr std::int64_t kIdlePart = 8;  // This part of the device's memory, an eighth, may be kept for later requests.
constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING: does not synchronize with the legacy stream
constexpr unsigned kUntimed = 2;  // CU_EVENT_DISABLE_TIMING

DevicePointer address(const void* p) { return reinterpret_cast<DevicePointer>(p); }

int attribute(DeviceAttribute which, DeviceNumber device) {
    int value = 0;
    check(driver().device_attribute(&value, which, device), "cuDeviceGetAttribute");
    return value;
}

}  // namespace

int Gpu::count() {
    if (!driver_absent().empty()) return 0;
    int n = 0;
    check(driver().device_count(&n), "cuDeviceGetCount");
    return std::min(n, kMaxDevices);
}

Gpu& Gpu::at(int index) {
    // Never destroyed, because storages in other static variables may outlive every static here.
    static auto& mutex = *new std::mutex;
    static std::atomic<Gpu*> opened[kMaxDevices];
    const Driver& d = driver();
    if (index >= 0 && index < kMaxDevices)
        if (Gpu* const gpu = opened[index].load(std::memory_order_acquire)) return *gpu;
    const std::lock_guard lock(mutex);
    int n = 0;
    check(d.device_count(&n), "cuDeviceGetCount");
    if (index < 0 || index >= std::min(n, kMaxDevices))
        throw ValueError(text("cuda: no device ", index, ": there ", n == 1 ? "is " : "are ", n));
    std::atomic<Gpu*>& own = opened[index];
    if (!own.load()) own.store(new Gpu(index), std::memory_order_release);
    return *own.load();
}

Gpu::Gpu(int index) : index_(index) {
    const Driver& d = driver();
    DeviceNumber device = 0;
    check(d.device_get(&device, index), "cuDeviceGet");
    char buffer[256] = {};
    check(d.device_name(buffer, sizeof buffer - 1, device), "cuDeviceGetName");
    name_ = buffer;
    major_ = attribute(DeviceAttribute::capability_major, device);
    minor_ = attribute(DeviceAttribute::capability_minor, device);
    if (major_ < kMinMajor)
        throw ValueError(
            text("cuda: ", name_, " is too old: compute capability ", major_, ".", minor_, ", 8.0 is needed"));
    if (!attribute(DeviceAttribute::memory_pools, device))
        throw ValueError(text("cuda: ", name_, " has no stream-ordered memory pools"));
    if (!compiler_absent().empty()) throw ValueError(text("cuda: ", compiler_absent()));
    architecture_ = architecture_name(major_, minor_);
    multiprocessors_ = attribute(DeviceAttribute::multiprocessors, device);
    shared_bytes_per_block_ = attribute(DeviceAttribute::shared_bytes_per_block_optin, device);
    l2_bytes_ = attribute(DeviceAttribute::l2_bytes, device);
    std::size_t bytes = 0;
    check(d.device_bytes(&bytes, device), "cuDeviceTotalMem");
    memory_bytes_ = static_cast<std::int64_t>(bytes);
    check(d.retain_context(&context_, device), "cuDevicePrimaryCtxRetain");
    const Scope scope(*this);
    check(d.stream_create(&stream_, kNonBlocking), "cuStreamCreate");
    PoolProperties properties;
    properties.location = device;
    check(d.pool_create(&pool_, &properties), "cuMemPoolCreate");
    void* faults = nullptr;  // Such memory has the same address on the host and on the device.
    check(d.host_allocate(&faults, sizeof(IndexFault)), "cuMemAllocHost");
    faults_ = new (faults) IndexFault{};
    std::uint64_t keep = UINT64_MAX;  // The pool keeps freed memory until trim_memory.
    check(d.pool_set(pool_, PoolAttribute::release_threshold, &keep), "cuMemPoolSetAttribute");
}

Gpu::Scope::Scope(const Gpu& gpu) : outer_(in_scope_), own_(&gpu) {
    const Driver& d = driver();
    if (outer_ != own_) check(d.push_context(gpu.context_), "cuCtxPushCurrent");
    in_scope_ = own_;
}

Gpu::Scope::~Scope() {
    in_scope_ = outer_;
    ContextHandle popped;
    if (outer_ != own_) driver().pop_context(&popped);
}

DevicePointer Gpu::try_allocate(std::int64_t bytes) {
    int left = fail_in_.load();
    while (left > 0 && !fail_in_.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 1) {
        if (fail_twice_.exchange(false)) fail_in_ = 1;
        return 0;
    }
    DevicePointer p = 0;
    const Result r = driver().allocate_from_pool(&p, static_cast<std::size_t>(bytes), pool_, stream_);
    if (r == kOutOfMemory) return 0;
    check(r, "cuMemAllocFromPoolAsync");
    return p;
}

std::shared_ptr<Storage> Gpu::allocate(std::int64_t bytes) {
    if (bytes < 0) throw ValueError(text("cuda: allocate: ", bytes, " bytes"));
    return recorder_ && recorder_->gpu == this ? allocate_recorded(bytes) : allocate_now(bytes);
}

DevicePointer Gpu::take_idle(std::int64_t bytes) {
    if (fail_in_.load(std::memory_order_relaxed) > 0) return 0;
    const std::lock_guard lock(idle_mutex_);
    const auto at = idle_.find(bytes);
    if (at == idle_.end() || at->second.empty()) return 0;
    const DevicePointer p = at->second.back();
    at->second.pop_back();
    idle_bytes_ -= bytes;
    return p;
}

bool Gpu::keep_idle(DevicePointer p, std::int64_t bytes) noexcept {
    const std::int64_t most = memory_bytes_ / kIdlePart;
    if (bytes > most) return false;
    if (idle_bytes() + bytes > most) free_idle();  // That also frees blocks of sizes that are not asked for again.
    const std::lock_guard lock(idle_mutex_);
    try {
        idle_[bytes].push_back(p);
    } catch (const std::bad_alloc&) {
        return false;
    }
    idle_bytes_ += bytes;
    return true;
}

void Gpu::free_idle() noexcept {
    ContextHandle popped;
    if (driver().push_context(context_) != 0) return;  // the driver is shutting down
    const std::lock_guard lock(idle_mutex_);
    for (const auto& [bytes, all] : idle_)
        for (const DevicePointer p : all) driver().free_async(p, stream_);
    idle_.clear();
    idle_bytes_ = 0;
    driver().pop_context(&popped);
}

std::shared_ptr<Storage> Gpu::allocate_now(std::int64_t bytes) {
    const std::int64_t asked = std::max<std::int64_t>(bytes, 1);  // Empty storage has an address, too.
    DevicePointer p = take_idle(asked);
    const Scope scope(*this);
    if (!p) p = try_allocate(asked);
    if (!p) {
        trim_memory();  // It synchronizes, so that memory freed in stream order is really free.
        p = try_allocate(asked);
    }
    if (!p)
        throw MemoryError(text("cuda: no memory for ", bytes, " bytes on cuda:", index_, " (", in_use_.load(),
                               " bytes are in use, the device has ", memory_bytes_, ")"));
    const std::int64_t now = in_use_ += asked;
    std::int64_t peak = peak_.load();
    while (peak < now && !peak_.compare_exchange_weak(peak, now)) {
    }
    try {
        return Storage::of_device(Device::cuda(index_), reinterpret_cast<void*>(p), bytes,
                                  [this, p, asked] { release(p, asked); });
    } catch (...) {
        release(p, asked);
        throw;
    }
}

void Gpu::release(DevicePointer p, std::int64_t bytes) noexcept {
    in_use_ -= bytes;
    if (!driver_absent().empty()) return;  // A forked child does not own the parent's memory.
    if (keep_idle(p, bytes)) return;
    const Driver& d = driver();
    ContextHandle popped;
    if (d.push_context(context_) != 0) return;  // the driver is shutting down
    d.free_async(p, stream_);
    d.pop_context(&popped);
}

/// Takes the smallest block that is large enough, unless it is much larger than needed.
std::shared_ptr<Storage> Gpu::take_block(Blocks& blocks, std::int64_t bytes) {
    auto best = blocks.end();
    for (auto b = blocks.begin(); b != blocks.end(); ++b)
        if ((*b)->bytes() >= bytes && (*b)->bytes() <= 2 * bytes + kStageBytes &&
            (best == blocks.end() || (*b)->bytes() < (*best)->bytes()))
            best = b;
    if (best == blocks.end()) return nullptr;
    std::shared_ptr<Storage> block = std::move(*best);
    blocks.erase(best);
    return block;
}

std::shared_ptr<Storage> Gpu::allocate_recorded(std::int64_t bytes) {
    Recorder& r = *recorder_;
    std::shared_ptr<Storage> block = take_block(r.free[r.branch], bytes);
    if (!block) block = take_block(r.fresh, bytes);
    if (!block) {
        block = allocate_now(bytes);
        const std::lock_guard lock(held_mutex_);
        blocks_.push_back(block);
    }
    r.used.push_back(block);
    void* const data = block->data();
    return Storage::of_device(Device::cuda(index_), data, bytes,
                              [this, branch = r.branch, block = std::move(block)]() mutable {
                                  if (recorder_ && recorder_->gpu == this)
                                      recorder_->free[branch].push_back(std::move(block));
                              });
}

void Gpu::refuse_recorded(const char* what) const {
    if (recorder_ && recorder_->gpu == this) throw ValueError(text("cuda: a graph cannot hold ", what));
}

std::shared_ptr<Storage> Gpu::shared_arena(std::int64_t bytes) {
    {
        const std::lock_guard lock(held_mutex_);
        if (arena_ && arena_->bytes() >= bytes) return arena_;
        arena_.reset();
    }
    std::shared_ptr<Storage> made = allocate_now(bytes);
    const std::lock_guard lock(held_mutex_);
    return arena_ = std::move(made);
}

std::int64_t Gpu::held_bytes() const {
    const std::lock_guard lock(held_mutex_);
    std::int64_t bytes = arena_ ? std::max<std::int64_t>(arena_->bytes(), 1) : 0;
    for (const auto& b : blocks_) bytes += std::max<std::int64_t>(b->bytes(), 1);
    return bytes;
}

std::int64_t Gpu::idle_bytes() const {
    const std::lock_guard lock(idle_mutex_);
    return idle_bytes_;
}

PoolStatistics Gpu::memory_statistics() const {
    const Scope scope(*this);
    std::uint64_t reserved = 0, used = 0;
    check(driver().pool_get(pool_, PoolAttribute::reserved_now, &reserved), "cuMemPoolGetAttribute");
    check(driver().pool_get(pool_, PoolAttribute::used_now, &used), "cuMemPoolGetAttribute");
    const std::int64_t held = held_bytes();
    return {in_use_.load() - held, peak_.load(), static_cast<std::int64_t>(reserved - used) + held + idle_bytes()};
}

void Gpu::reset_peak_memory() { peak_ = in_use_.load(); }

void Gpu::trim_memory() {
    const Scope scope(*this);
    {
        const std::lock_guard lock(held_mutex_);
        arena_.reset();
        blocks_.clear();
    }
    free_idle();
    wait_for_work();
    check(driver().pool_trim(pool_, 0), "cuMemPoolTrimTo");
}

void Gpu::fail_allocation(int n, bool twice) {
    fail_twice_ = twice;
    fail_in_ = n;
}

void Gpu::wait_for_work() const {
    const Scope scope(*this);
    check(driver().stream_synchronize(stream_), "waiting for the device");
}

void Gpu::synchronize() {
    refuse_recorded("waiting for the device");
    wait_for_work();
    const volatile IndexFault& fault = *faults_;
    if (fault.set == 0) return;
    constexpr const char* kNames[] = {"gather: index ", "scatter: index ", "scatter_add: index ",
                                      "dot_product_attention: length "};
    const std::string message = text("cuda: ", kNames[fault.operation], std::int64_t{fault.index}, " is outside [0, ",
                                     std::int64_t{fault.rows}, ")");
    faults_->set = 0;
    throw ValueError(message);
}

namespace {

void order(StreamHandle first, StreamHandle then) {
    const Driver& d = driver();
    EventHandle point = nullptr;
    check(d.event_create(&point, kUntimed), "cuEventCreate");
    Result r = d.event_record(point, first);
    if (r == 0) r = d.stream_wait(then, point, 0);
    d.event_destroy(point);  // The driver destroys it once it has been reached.
    check(r, "cuStreamWaitEvent");
}

}  // namespace

void Gpu::order_before(StreamHandle other) const {
    const Scope scope(*this);
    order(stream_, other);
}

void Gpu::order_after(StreamHandle other) const {
    const Scope scope(*this);
    order(other, stream_);
}

void Gpu::synchronize_context() const {
    const Scope scope(*this);
    check(driver().context_synchronize(), "cuCtxSynchronize");
}

void Gpu::stage(void* to, const void* from, std::int64_t bytes) {
    const Driver& d = driver();
    const std::lock_guard lock(staging_mutex_);
    if (staged_ == nullptr)
        check(d.host_allocate(&staged_, kStages * static_cast<std::size_t>(kStageBytes)), "cuMemAllocHost");
    while (stages_.size() < kStages) {  // After an error, the next call makes those that are missing.
        Stage made{static_cast<std::byte*>(staged_) + stages_.size() * static_cast<std::size_t>(kStageBytes)};
        check(d.event_create(&made.done, kUntimed), "cuEventCreate");
        stages_.push_back(made);
    }
    // Copies fill a stage one after the other. The stage's event says when the last of them is done.
    if (stages_[stage_].used + bytes > kStageBytes) {
        check(d.event_record(stages_[stage_].done, stream_), "cuEventRecord");
        stage_ = (stage_ + 1) % kStages;
        check(d.event_synchronize(stages_[stage_].done), "cuEventSynchronize");
        stages_[stage_].used = 0;
    }
    Stage& s = stages_[stage_];
    std::byte* at = s.memory + s.used;
    s.used += (bytes + 63) / 64 * 64;
    std::memcpy(at, from, static_cast<std::size_t>(bytes));
    check(d.copy_to_device(address(to), at, static_cast<std::size_t>(bytes), stream_), "cuMemcpyHtoDAsync");
}

void Gpu::to_device(void* to, const void* from, std::int64_t bytes) {
    if (bytes == 0) return;
    refuse_recorded("a copy of the host's memory");
    const Scope scope(*this);
    if (bytes <= kStagedBytes) {
        for (std::int64_t at = 0; at < bytes; at += kStageBytes)
            stage(static_cast<std::byte*>(to) + at, static_cast<const std::byte*>(from) + at,
                  std::min(kStageBytes, bytes - at));
        return;
    }
    check(driver().copy_to_device(address(to), from, static_cast<std::size_t>(bytes), stream_), "cuMemcpyHtoDAsync");
    synchronize();
}

void Gpu::to_host(void* to, const void* from, std::int64_t bytes) {
    refuse_recorded("a copy to the host");
    const Scope scope(*this);
    if (bytes > 0)
        check(driver().copy_to_host(to, address(from), static_cast<std::size_t>(bytes), stream_), "cuMemcpyDtoHAsync");
    synchronize();
}

void Gpu::copy(void* to, const void* from, std::int64_t bytes) {
    if (bytes == 0) return;
    const Scope scope(*this);
    check(driver().copy_on_device(address(to), address(from), static_cast<std::size_t>(bytes), stream()),
          "cuMemcpyDtoDAsync");
}

void Gpu::fill_bytes(void* to, unsigned char value, std::int64_t bytes) {
    if (bytes == 0) return;
    const Scope scope(*this);
    check(driver().fill_bytes(address(to), value, static_cast<std::size_t>(bytes), stream()), "cuMemsetD8Async");
}

void Gpu::fill_words(void* to, std::uint32_t value, std::int64_t words) {
    if (words == 0) return;
    const Scope scope(*this);
    check(driver().fill_words(address(to), value, static_cast<std::size_t>(words), stream()), "cuMemsetD32Async");
}

const Kernel& Gpu::kernel(const Unit& u, const std::string& function) {
    const Driver& d = driver();
    std::string module_key = text(u.name, '\n');
    for (const std::string& option : u.options) module_key += option + '\n';
    module_key += u.text;
    const std::string key = text(function, '\n', module_key);
    const Scope scope(*this);
    std::unique_lock lock(kernels_mutex_);
    if (const auto found = kernels_.find(key); found != kernels_.end()) return found->second;
    if (!modules_.contains(module_key)) {
        lock.unlock();  // Other threads need not wait for the compiler.
        const Compiled code = compile(u, architecture_);
        lock.lock();
        if (!modules_.contains(module_key)) {
            ModuleHandle loaded = nullptr;
            check(d.module_load(&loaded, code.cubin.data()), "cuModuleLoadData");
            modules_.emplace(module_key, loaded);
        }
    }
    Kernel k;
    check(d.module_function(&k.function, modules_.at(module_key), function.c_str()),
          text("cuModuleGetFunction of ", function).c_str());
    const std::pair<FunctionAttribute, int*> wanted[] = {{FunctionAttribute::registers, &k.registers},
                                                         {FunctionAttribute::local_bytes, &k.local_bytes},
                                                         {FunctionAttribute::shared_bytes, &k.shared_bytes},
                                                         {FunctionAttribute::threads_per_block, &k.threads_per_block}};
    for (const auto& [which, value] : wanted) check(d.function_get(value, which, k.function), "cuFuncGetAttribute");
    // Launches may then use all of a block's shared memory; without this, the limit is 48 KiB.
    check(d.function_set(k.function, FunctionAttribute::dynamic_shared_bytes, shared_bytes_per_block_ - k.shared_bytes),
          "cuFuncSetAttribute");
    if (major_ >= 9) check(d.function_set(k.function, FunctionAttribute::nonportable_cluster, 1), "cuFuncSetAttribute");
    return kernels_.emplace(key, k).first->second;
}

const Kernel& Gpu::printed(const std::string& key, const std::function<Unit()>& make, const char* function) {
    std::unique_lock lock(printed_mutex_);
    if (const auto found = printed_.find(key); found != printed_.end()) return *found->second;
    lock.unlock();
    const Kernel& made = kernel(make(), function);
    lock.lock();
    printed_.emplace(key, &made);
    return made;
}

Event::Event(Gpu& gpu, bool timed) : gpu_(gpu) {
    const Gpu::Scope scope(gpu_);
    check(driver().event_create(&handle_, timed ? 0 : kUntimed), "cuEventCreate");
}

Event::~Event() {
    ContextHandle popped;
    if (driver().push_context(gpu_.context()) != 0) return;
    driver().event_destroy(handle_);
    driver().pop_context(&popped);
}

void Event::record() {
    const Gpu::Scope scope(gpu_);
    check(driver().event_record(handle_, gpu_.stream()), "cuEventRecord");
}

bool Event::done() const {
    const Gpu::Scope scope(gpu_);
    const Result r = driver().event_query(handle_);
    if (r == kNotReady) return false;
    check(r, "cuEventQuery");
    return true;
}

void Event::wait() const {
    const Gpu::Scope scope(gpu_);
    check(driver().event_synchronize(handle_), "cuEventSynchronize");
}

float Event::since(const Event& start) const {
    const Gpu::Scope scope(gpu_);
    float ms = 0;
    check(driver().event_elapsed(&ms, start.handle_, handle_), "cuEventElapsedTime");
    return ms;
}

}  // namespace tenon::cuda
