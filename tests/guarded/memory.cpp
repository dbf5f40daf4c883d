// Memory for tests, by LD_PRELOAD: each block of kLeast bytes or more ends at a page that cannot be touched, and a
// freed block is never used again. A kernel that reads or writes past an operand's end stops the program at that
// instruction, at full speed and under every instruction set; valgrind knows no AVX-512, and a build with
// AddressSanitizer takes an hour of kernels.
//
// A block whose size is not a multiple of its alignment ends that much before the page. Smaller blocks, and those that
// tests of 2^31 elements ask for, come from the C library.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
std::size_t malloc_usable_size(void*);
}

namespace {

constexpr std::size_t kPage = 4096, kLeast = 512, kMost = std::size_t{1} << 31, kMinAlignment = 16;
constexpr std::size_t kAddresses = std::size_t{1} << 42;  // reserved; given out once each

struct Block {
    std::byte* begin;  // of its pages
    std::size_t mapped, bytes;
};

struct Region {
    std::byte* addresses = static_cast<std::byte*>(reserved(kAddresses, PROT_NONE));
    /// Of the block whose first byte lies in a page: blocks share no page.
    Block* blocks = static_cast<Block*>(reserved(kAddresses / kPage * sizeof(Block), PROT_READ | PROT_WRITE));
    std::atomic<std::size_t> used = 0;

    static void* reserved(std::size_t bytes, int access) {
        void* const p = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) stop("guarded memory: skipped: the system does not reserve that many addresses\n", 77);
        return p;
    }
    [[noreturn]] static void stop(const char* why, int status) {
        if (write(STDERR_FILENO, why, std::strlen(why)) < 0) status = 1;
        _exit(status);
    }
    bool has(const void* p) const { return p >= addresses && p < addresses + kAddresses; }
    Block& block_of(const void* p) const {
        return blocks[static_cast<std::size_t>(static_cast<const std::byte*>(p) - addresses) / kPage];
    }
};

Region& region() {
    static Region instance;
    return instance;
}

void* guarded(std::size_t alignment, std::size_t bytes) {
    Region& r = region();
    const std::size_t mapped = (bytes + alignment - 1 + kPage - 1) / kPage * kPage;
    const std::size_t at = r.used.fetch_add(mapped + kPage, std::memory_order_relaxed);
    if (at + mapped + kPage > kAddresses) Region::stop("guarded memory: all addresses are used\n", 1);
    std::byte* const begin = r.addresses + at;
    if (mprotect(begin, mapped, PROT_READ | PROT_WRITE) != 0) return nullptr;
    const auto last = reinterpret_cast<std::uintptr_t>(begin + mapped - bytes);
    void* const p = reinterpret_cast<void*>(last / alignment * alignment);
    r.block_of(p) = {begin, mapped, bytes};
    return p;
}

bool is_guarded(std::size_t bytes) { return bytes >= kLeast && bytes < kMost; }

}  // namespace

extern "C" {

void* malloc(std::size_t bytes) { return is_guarded(bytes) ? guarded(kMinAlignment, bytes) : __libc_malloc(bytes); }

void free(void* p) {
    if (!region().has(p)) return __libc_free(p);
    const Block& block = region().block_of(p);
    madvise(block.begin, block.mapped, MADV_DONTNEED);
    mprotect(block.begin, block.mapped, PROT_NONE);
}

void* calloc(std::size_t count, std::size_t size) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || !is_guarded(bytes)) return __libc_calloc(count, size);
    return guarded(kMinAlignment, bytes);  // new pages are zero
}

void* realloc(void* p, std::size_t bytes) {
    const bool was_guarded = region().has(p);
    if (!was_guarded && !is_guarded(bytes)) return __libc_realloc(p, bytes);
    void* const moved = malloc(bytes);
    if (!moved || !p) return moved;
    const std::size_t had = was_guarded ? region().block_of(p).bytes : malloc_usable_size(p);
    std::memcpy(moved, p, had < bytes ? had : bytes);
    free(p);
    return moved;
}

void* memalign(std::size_t alignment, std::size_t bytes) {
    if (!is_guarded(bytes)) return __libc_memalign(alignment, bytes);
    return guarded(alignment < kMinAlignment ? kMinAlignment : alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** p, std::size_t alignment, std::size_t bytes) {
    void* const block = memalign(alignment, bytes);
    if (!block) return ENOMEM;
    *p = block;
    return 0;
}

}  // extern "C"
