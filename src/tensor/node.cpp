#include "tensor/node.h"

#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace tenon {

thread_local int Tracing::depth_ = 0;
void (*evaluate_nodes)(std::span<Node* const> nodes) = nullptr;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kPooled = false;  // let the sanitizer see every allocation
#else
constexpr bool kPooled = true;
#endif

struct Free {
    Free* next;
};

struct Shared {
    std::mutex mutex;
    Free* list = nullptr;
};

// Never destroyed: threads may end after the statics are gone.
Shared& shared() {
    static auto* s = new Shared;
    return *s;
}

constexpr std::size_t kSlab = 64;

// A thread's free nodes. What a thread leaves behind goes to the shared list; memory never returns to the system.
struct Pool {
    Free* list = nullptr;

    void refill() {
        {
            std::lock_guard lock(shared().mutex);
            std::swap(list, shared().list);
        }
        if (list) return;
        auto* slab = static_cast<std::byte*>(::operator new(kSlab * sizeof(Node), std::align_val_t(alignof(Node))));
        for (std::size_t i = 0; i < kSlab; ++i) {
            auto* f = reinterpret_cast<Free*>(slab + i * sizeof(Node));
            f->next = list;
            list = f;
        }
    }
    Pool() = default;
    ~Pool() {
        if (!list) return;
        Free* last = list;
        while (last->next) last = last->next;
        std::lock_guard lock(shared().mutex);
        last->next = shared().list;
        shared().list = std::exchange(list, nullptr);
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
};

thread_local Pool pool;

bool unreferenced(Node* node) { return node->references.fetch_sub(1, std::memory_order_acq_rel) == 1; }

void destroy(std::vector<Node*>& dead) {
    while (!dead.empty()) {
        Node* n = dead.back();
        dead.pop_back();
        for (Node* input : n->inputs)
            if (unreferenced(input)) dead.push_back(input);
        n->inputs.clear();
        delete n;
    }
}

}  // namespace

void* Node::operator new(std::size_t bytes) {
    if (!kPooled) return ::operator new(bytes);
    if (!pool.list) pool.refill();
    return std::exchange(pool.list, pool.list->next);
}

void Node::operator delete(void* p) noexcept {
    if (!kPooled) return ::operator delete(p);
    auto* f = static_cast<Free*>(p);
    f->next = pool.list;
    pool.list = f;
}

void retain(Node* node) noexcept { node->references.fetch_add(1, std::memory_order_relaxed); }

void release(Node* node) noexcept {
    if (!node || !unreferenced(node)) return;
    if (node->inputs.empty()) {
        delete node;
        return;
    }
    std::vector<Node*> dead{node};
    destroy(dead);
}

void drop_inputs(Node& node) noexcept {
    std::vector<Node*> dead;
    for (Node* input : node.inputs)
        if (unreferenced(input)) dead.push_back(input);
    node.inputs.clear();
    destroy(dead);
}

}  // namespace tenon
