#include "tensor/node.h"

#include <pthread.h>

#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

namespace tenon {

TENON_NEAR thread_local int Tracing::depth_ = 0;
void (*evaluate_nodes)(std::span<Node* const> nodes) = nullptr;
Array (*copy_to_host)(const Array& array) = nullptr;
View (*host_copy)(const Node& node) = nullptr;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kPooled = false;  // let the sanitizer see every allocation
#else
constexpr bool kPooled = true;
#endif

// Free nodes of one thread, or nodes that pass from one thread to another. The first node of a batch points to the next
// batch.
struct Free {
    Free* next;
    Free* next_batch;
    std::size_t count;  // of the batch, valid in its first node
};
static_assert(sizeof(Free) <= sizeof(Node));

constexpr std::size_t kBatch = 64;

struct Shared {
    std::mutex mutex;
    Free* batches = nullptr;
};

static_assert(std::is_trivially_destructible_v<Shared>, "threads may end after the statics are gone");
constinit Shared shared;

// A forked child must not find the mutex held by a thread that it does not have.
const int registered =
    pthread_atfork([] { shared.mutex.lock(); }, [] { shared.mutex.unlock(); }, [] { shared.mutex.unlock(); });

struct Batch {
    Free* list = nullptr;
    std::size_t count = 0;
};

void give(Batch& batch) {
    if (!batch.list) return;
    batch.list->count = batch.count;
    const std::lock_guard lock(shared.mutex);
    batch.list->next_batch = shared.batches;
    shared.batches = std::exchange(batch, {}).list;
}

Batch take() {
    const std::lock_guard lock(shared.mutex);
    Free* first = shared.batches;
    if (!first) return {};
    shared.batches = first->next_batch;
    return {first, first->count};
}

Batch fresh() {
    auto* slab = static_cast<std::byte*>(::operator new(kBatch * sizeof(Node), std::align_val_t(alignof(Node))));
    Batch batch{nullptr, kBatch};
    for (std::size_t i = 0; i < kBatch; ++i) batch.list = new (slab + i * sizeof(Node)) Free{batch.list, nullptr, 0};
    return batch;
}

// A thread's free nodes: the list in use, and at most one full batch. A thread that releases nodes that others record
// passes on full batches; with a batch in reserve, a thread that alternately records and releases does not lock for
// each node. These are the magazines of Bonwick and Adams (USENIX 2001). Memory never returns to the system.
struct Pool {
    Batch now, full;

    void refill() {
        now = std::exchange(full, {});
        if (!now.list) now = take();
        if (!now.list) now = fresh();
    }
    void spill() {
        give(full);
        full = std::exchange(now, {});
    }
};

static_assert(std::is_trivially_destructible_v<Pool>, "destructors that run as a thread ends may record and release");
TENON_NEAR constinit thread_local Pool pool;

/// When the thread ends, returns its pool's nodes. Nodes that later destructors release are lost with the thread.
void give_back_at_exit() {
    struct End {
        ~End() {
            give(pool.now);
            give(pool.full);
        }
    };
    thread_local End end;
}

/// A list of nodes without references, linked by their `visit_epoch`, which no walk reads any more.
class Dead {
  public:
    void add_unreferenced(Node& of) {
        for (Node* input : of.inputs)
            if (unreferenced(input)) add(input);
        of.inputs.clear();
    }
    void add(Node* node) {
        node->visit_epoch = reinterpret_cast<std::uintptr_t>(top_);
        top_ = node;
    }
    void destroy() {
        while (Node* n = top_) {
            top_ = reinterpret_cast<Node*>(static_cast<std::uintptr_t>(n->visit_epoch));
            add_unreferenced(*n);
            delete n;
        }
    }

  private:
    Node* top_ = nullptr;
};

}  // namespace

void* Node::operator new(std::size_t bytes) {
    if (!kPooled) return ::operator new(bytes, std::align_val_t(alignof(Node)));
    Batch& now = pool.now;
    if (!now.list) {
        give_back_at_exit();
        pool.refill();
    }
    --now.count;
    Free* const taken = std::exchange(now.list, now.list->next);
    // Free nodes may be in no near cache, since kernels have run. The next one has been asked for before.
    if (const auto* after = reinterpret_cast<const char*>(now.list ? now.list->next : nullptr))
        for (std::size_t at = 0; at < sizeof(Node); at += 64) __builtin_prefetch(after + at, 1);
    return taken;
}

void Node::operator delete(void* p) noexcept {
    if (!kPooled) return ::operator delete(p, std::align_val_t(alignof(Node)));
    Batch& now = pool.now;
    if (now.count == kBatch) pool.spill();
    if (!now.list) give_back_at_exit();
    now.list = new (p) Free{now.list, nullptr, 0};
    ++now.count;
}

void destroy(Node* node) noexcept {
    if (node->inputs.empty()) {
        delete node;
        return;
    }
    Dead dead;
    dead.add(node);
    dead.destroy();
}

void drop_inputs(Node& node) noexcept {
    Dead dead;
    dead.add_unreferenced(node);
    dead.destroy();
}

}  // namespace tenon
