#include "base/storage.h"

#include <pthread.h>
#if defined(__linux__)
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::int64_t kLargestRequest = std::int64_t{1}
                                         << 46;  // beyond any address space; keeps sizes far from overflow

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kFill = true;
void poison(void* p, std::size_t bytes) { ASAN_POISON_MEMORY_REGION(p, bytes); }
void unpoison(void* p, std::size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); }
#else
#if defined(NDEBUG)
constexpr bool kFill = false;
#else
constexpr bool kFill = true;
#endif
void poison(void*, std::size_t) {}
void unpoison(void*, std::size_t) {}
#endif

// Four sizes in each doubling, all multiples of 64 bytes.
constexpr std::size_t block_size(std::size_t bytes) {
    if (bytes <= 4 * kAlignment) return std::max((bytes + kAlignment - 1) / kAlignment, std::size_t{1}) * kAlignment;
    const std::size_t step = std::bit_floor(bytes - 1) / 4;
    return (bytes + step - 1) / step * step;
}

// A separate number for each block size.
constexpr std::size_t class_of(std::size_t block) {
    const auto exponent = static_cast<std::size_t>(std::bit_width(block - 1));
    return exponent * 4 + ((block - 1) >> (exponent - 3)) % 4;
}

static_assert(block_size(0) == 64 && block_size(65) == 128 && block_size(257) == 320 && block_size(513) == 640);
static_assert(block_size(1024) == 1024 && block_size(1025) == 1280);

void* from_system(std::size_t block) {
    // Large blocks are whole huge pages if the system has them: 512 times fewer page faults, and fewer TLB misses.
    if (block < 2 * kHugePage) return std::aligned_alloc(kAlignment, block);
    void* p = std::aligned_alloc(kHugePage, (block + kHugePage - 1) / kHugePage * kHugePage);
    if (p) madvise(p, block, MADV_HUGEPAGE);
    return p;
}

std::int64_t default_limit() {
    const std::int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return std::min(std::int64_t{2} << 30, std::max<std::int64_t>(pages, 0) * page / 4);
}

class Allocator {
  public:
    void* allocate(std::int64_t bytes);
    void release(void* p, std::size_t block) noexcept;
    void trim();
    void set_limit(std::int64_t bytes);
    void reset_peak();
    void fail(std::int64_t n);
    MemoryStatistics statistics();

    std::mutex mutex;

  private:
    struct SizeClass {
        std::vector<void*> free;
        std::size_t block = 0;
        std::uint64_t last_used = 0;
    };

    void drop_one(SizeClass& of);
    void shrink_to(std::int64_t bytes);

    std::array<SizeClass, 256> classes_;
    std::uint64_t clock_ = 0;
    std::int64_t in_use_ = 0, peak_ = 0, cached_ = 0;
    std::int64_t limit_ = default_limit();
    std::int64_t fail_in_ = 0;
};

// Never destroyed: tensors in static variables outlive every static here.
Allocator& allocator() {
    static Allocator& instance = *new Allocator;
    return instance;
}

// A child must not find the mutex held by a thread that it does not have.
const int registered = pthread_atfork([] { allocator().mutex.lock(); }, [] { allocator().mutex.unlock(); },
                                      [] { allocator().mutex.unlock(); });

void* Allocator::allocate(std::int64_t bytes) {
    const std::lock_guard lock(mutex);
    const bool fails = fail_in_ > 0 && --fail_in_ == 0;
    void* p = nullptr;
    std::size_t block = 0;
    if (!fails && bytes <= kLargestRequest) {
        block = block_size(static_cast<std::size_t>(bytes));
        SizeClass& of = classes_[class_of(block)];
        of.block = block;
        of.last_used = ++clock_;
        if (!of.free.empty()) {
            p = of.free.back();
            of.free.pop_back();
            cached_ -= static_cast<std::int64_t>(block);
        } else {
            // A large block replaces as many cached bytes of other sizes, which would add up otherwise.
            if (block >= 2 * kHugePage)
                shrink_to(std::max<std::int64_t>(0, cached_ - static_cast<std::int64_t>(block)));
            p = from_system(block);
            if (!p) {
                shrink_to(0);
                p = from_system(block);
            }
        }
    }
    if (!p) throw MemoryError(text("allocate: no memory for ", bytes, " bytes (", in_use_, " bytes are in use)"));
    in_use_ += static_cast<std::int64_t>(block);
    peak_ = std::max(peak_, in_use_);
    return p;
}

void Allocator::release(void* p, std::size_t block) noexcept {
    const std::lock_guard lock(mutex);
    const auto size = static_cast<std::int64_t>(block);
    in_use_ -= size;
    SizeClass& of = classes_[class_of(block)];
    of.last_used = ++clock_;
    if (size <= limit_) {
        try {
            of.free.push_back(p);
            cached_ += size;
            poison(p, block);
            return shrink_to(limit_);
        } catch (const std::bad_alloc&) {
        }
    }
    unpoison(p, block);
    std::free(p);
}

void Allocator::drop_one(SizeClass& of) {
    void* p = of.free.back();
    of.free.pop_back();
    cached_ -= static_cast<std::int64_t>(of.block);
    unpoison(p, of.block);
    std::free(p);
}

// Drops cached blocks, beginning with the sizes that were requested longest ago.
void Allocator::shrink_to(std::int64_t bytes) {
    while (cached_ > bytes) {
        SizeClass* oldest = nullptr;
        for (SizeClass& of : classes_)
            if (!of.free.empty() && (!oldest || of.last_used < oldest->last_used)) oldest = &of;
        drop_one(*oldest);
    }
}

void Allocator::trim() {
    const std::lock_guard lock(mutex);
    shrink_to(0);
#if defined(__GLIBC__)
    malloc_trim(0);  // memory between blocks that are in use
#endif
}

void Allocator::set_limit(std::int64_t bytes) {
    const std::lock_guard lock(mutex);
    limit_ = bytes;
    shrink_to(bytes);
}

void Allocator::reset_peak() {
    const std::lock_guard lock(mutex);
    peak_ = in_use_;
}

void Allocator::fail(std::int64_t n) {
    const std::lock_guard lock(mutex);
    fail_in_ = n;
}

MemoryStatistics Allocator::statistics() {
    const std::lock_guard lock(mutex);
    return {in_use_, peak_, cached_};
}

}  // namespace

Storage::Storage(Token, Device device, void* data, std::int64_t bytes, bool ours, std::function<void()> release)
    : data_(data), bytes_(bytes), ours_(ours), device_(device), release_(std::move(release)) {}

Storage::~Storage() {
    if (release_) release_();
}

std::shared_ptr<Storage> Storage::allocate(std::int64_t bytes) {
    if (bytes < 0) throw ValueError(text("allocate: ", bytes, " bytes"));
    void* data = allocator().allocate(bytes);
    const std::size_t block = block_size(static_cast<std::size_t>(bytes));
    unpoison(data, block);
    if constexpr (kFill) std::memset(data, 0xFF, block);
    poison(static_cast<char*>(data) + bytes, block - static_cast<std::size_t>(bytes));
    try {
        return std::make_shared<Storage>(Token{}, Device::cpu(), data, bytes, true,
                                         [data, block] { allocator().release(data, block); });
    } catch (...) {
        allocator().release(data, block);
        throw;
    }
}

std::shared_ptr<Storage> Storage::adopt(void* data, std::int64_t bytes, std::function<void()> release, Device device) {
    if (bytes < 0) throw ValueError(text("adopt: ", bytes, " bytes"));
    return std::make_shared<Storage>(Token{}, device, data, bytes, false, std::move(release));
}

std::shared_ptr<Storage> Storage::of_device(Device device, void* data, std::int64_t bytes,
                                            std::function<void()> release) {
    return std::make_shared<Storage>(Token{}, device, data, bytes, true, std::move(release));
}

MemoryStatistics memory_statistics() { return allocator().statistics(); }
void reset_peak_memory() { allocator().reset_peak(); }
void trim_memory() { allocator().trim(); }
void fail_allocation(std::int64_t n) { allocator().fail(n); }

void set_memory_cache_limit(std::int64_t bytes) {
    if (bytes < 0) throw ValueError(text("set_memory_cache_limit: ", bytes, " bytes"));
    allocator().set_limit(bytes);
}

}  // namespace tenon
