// A node of the deferred graph: a primitive, its inputs and attributes, and, once computed, its value. Nodes are
// reference counted, immutable but for the value, and come from a per-thread free list. Recording is a tax paid for
// ever: everything here is sized for it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>

#include "base/small_vector.h"
#include "base/storage.h"
#include "base/view.h"
#include "tenon/device.h"
#include "tenon/tensor.h"

namespace tenon {

struct Primitive;

using Attributes = SmallVector<std::int64_t, 6>;

/// A computed value: a view, and the storage that keeps it alive.
struct Array {
    std::shared_ptr<Storage> storage;
    View view;
    /// The same value on another device, where the evaluator brought it. Its alone, under its lock.
    mutable std::shared_ptr<const Array> elsewhere = nullptr;
};

struct Node {
    std::atomic<std::uint32_t> references{1};
    DType dtype;
    /// Where it is computed. None where no operand says: scalars, constants and what is made of them alone follow
    /// whatever reads them.
    std::optional<Device> device;
    const Primitive* primitive;
    Shape shape;
    Attributes attributes;
    SmallVector<Node*, 3> inputs;  // owned; dropped once the value is there
    /// The local part of the structural key: primitive, attributes, dtype, shape. The walk at evaluation adds the edges
    /// (a hash of the whole subtree would change from step to step as values turn nodes into leaves).
    std::uint64_t hash = 0;
    std::uint64_t scalar = 0;  // a run-time scalar's bits; never part of the key
    std::shared_ptr<const void> payload;  // what attributes cannot hold (a custom derivative); null for most
    /// Above that of every node it depends on, and of what the thread recorded before: a walk that looks for what
    /// depends on a node need not enter older ones.
    std::uint64_t order = 0;
    std::uint32_t region = 0;  // the checkpoint the node was recorded in, 0 for none
    const void* site = nullptr;  // return address of the call that recorded it, symbolised on error

    // Owned by the evaluator, under its lock.
    std::uint32_t visit_index = 0;
    std::uint32_t visit_uses = 0;  // edges of the walk that lead here
    std::uint64_t visit_epoch = 0;

    /// Null until computed; published with release order, so that a reader that sees it sees the elements.
    const Array* value() const { return value_.load(std::memory_order_acquire); }
    void publish(Array array) { value_.store(new Array(std::move(array)), std::memory_order_release); }

    Device place() const { return device.value_or(Device::cpu()); }
    /// Takes the value back; whoever calls knows that nobody reads it.
    void withdraw() { delete value_.exchange(nullptr, std::memory_order_acq_rel); }

    Node(const Primitive& p, DType t, const Shape& s, Attributes a, std::span<Node* const> in)
        : dtype(t), primitive(&p), shape(s), attributes(std::move(a)), inputs(in) {}
    ~Node() { delete value_.load(std::memory_order_relaxed); }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    static void* operator new(std::size_t bytes);
    static void operator delete(void* p) noexcept;

  private:
    std::atomic<const Array*> value_{nullptr};
};

inline void retain(Node* node) noexcept { node->references.fetch_add(1, std::memory_order_relaxed); }
/// Gives one reference up. Whoever holds the only one need not say so: a locked instruction takes 20 cycles.
inline bool unreferenced(Node* node) noexcept {
    return node->references.load(std::memory_order_acquire) == 1 ||
           node->references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}
/// Destroys what nothing refers to any more, without recursion: graphs may be a million nodes deep.
void destroy(Node* node) noexcept;
inline void release(Node* node) noexcept {
    if (node && unreferenced(node)) destroy(node);
}
/// Gives up a computed node's inputs.
void drop_inputs(Node& node) noexcept;

inline Tensor tensor_of(Node* node) {
    retain(node);
    return Tensor::adopt(node);
}

/// While one lives on a thread, evaluation on that thread keeps the inputs of what it computes: a transform that is
/// still going to walk the graph needs them.
class Tracing {
  public:
    Tracing() { ++depth_; }
    ~Tracing() { --depth_; }
    Tracing(const Tracing&) = delete;
    Tracing& operator=(const Tracing&) = delete;
    static bool active() { return depth_ > 0; }

  private:
    static thread_local int depth_;
};

/// The calls upward, which the schedule unit implements: a tensor that is read asks for its value,
extern void (*evaluate_nodes)(std::span<Node* const> nodes);
/// for a copy in host memory of a value that is on another device,
extern Array (*copy_to_host)(const Array& array);
/// and for such a copy that the computed node keeps.
extern View (*host_copy)(const Node& node);

/// The tensor's value where the host can read it: computed, and copied where it is not there. `op` names who asks.
Array host_value(const Tensor& t, const char* op);

}  // namespace tenon
