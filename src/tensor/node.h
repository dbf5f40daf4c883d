// A node of the deferred graph: a primitive, its inputs and attributes, and, once computed, its value. Nodes are
// reference counted, immutable but for the value, and come from a per-thread free list. A program that is not compiled
// records its nodes anew in every step, so everything here is kept small and cheap.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>

#include "base/small_vector.h"
#include "base/storage.h"
#include "base/thread_local.h"
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
    /// The same value on another device, where the evaluator copied it. Only the evaluator uses it, under its lock.
    mutable std::shared_ptr<const Array> elsewhere = nullptr;
};

/// It begins with what walks of a graph and the release of a node read: where kernels have run in between, each line of
/// it comes from memory.
struct alignas(64) Node {
    std::atomic<std::uint32_t> references{1};
    DType dtype;
    /// Where it is computed. None where no operand determines it: scalars, constants and nodes made of them alone are
    /// computed wherever they are read.
    std::optional<Device> device;
    const Primitive* primitive;

  private:
    std::atomic<const Array*> value_{nullptr};

  public:
    // Owned by the evaluator, under its lock.
    std::uint64_t visit_epoch = 0;
    std::uint32_t visit_index = 0;
    std::uint32_t visit_uses = 0;  // edges of the walk that lead here

    /// Larger than the order of every node that this one depends on, and of every node that the thread recorded before.
    /// So a search for the nodes that depend on a given one can skip all older ones.
    std::uint64_t order = 0;
    SmallVector<Node*, 3> inputs;  // owned; dropped once the value is there
    std::uint32_t region = 0;  // the checkpoint the node was recorded in, 0 for none
    std::shared_ptr<const void> payload;  // data that attributes cannot hold (a custom derivative); null for most
    Attributes attributes;
    static constexpr std::size_t kReleased = 128;  // bytes up to the elements of `attributes`: what its release reads
    Shape shape;
    std::uint64_t scalar = 0;  // a run-time scalar's bits; never part of the key
    const void* site = nullptr;  // return address of the call that recorded it, symbolised on error

    /// Null until computed; published with release order, so that a reader that sees it sees the elements.
    const Array* value() const { return value_.load(std::memory_order_acquire); }
    void publish(Array array) { value_.store(new Array(std::move(array)), std::memory_order_release); }

    Device place() const { return device.value_or(Device::cpu()); }
    /// Removes the value. The caller guarantees that nobody reads it.
    void withdraw() { delete value_.exchange(nullptr, std::memory_order_acq_rel); }

    Node(const Primitive& p, DType t, const Shape& s, std::span<const std::int64_t> a, std::span<Node* const> in)
        : dtype(t), primitive(&p), inputs(in), attributes(a), shape(s) {}
    ~Node() { delete value_.load(std::memory_order_relaxed); }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    static void* operator new(std::size_t bytes);
    static void operator delete(void* p) noexcept;
};

inline void retain(Node* node) noexcept { node->references.fetch_add(1, std::memory_order_relaxed); }
/// Gives up one reference and returns whether it was the last. The only holder skips the atomic decrement, because a
/// locked instruction takes 20 cycles.
inline bool unreferenced(Node* node) noexcept {
    return node->references.load(std::memory_order_acquire) == 1 ||
           node->references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}
/// Destroys a node without references, and then its inputs that have none left. It does not recurse: graphs may be a
/// million nodes deep.
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

/// While one lives on a thread, evaluation on that thread keeps the inputs of the nodes that it computes: a transform
/// that has yet to walk the graph needs them.
class Tracing {
  public:
    Tracing() { ++depth_; }
    ~Tracing() { --depth_; }
    Tracing(const Tracing&) = delete;
    Tracing& operator=(const Tracing&) = delete;
    static bool active() { return depth_ > 0; }

  private:
    TENON_NEAR static thread_local int depth_;
};

// The schedule unit, which is above this one, sets these three functions.

/// Computes the nodes' values.
extern void (*evaluate_nodes)(std::span<Node* const> nodes);
/// A copy in host memory of a value that is on another device.
extern Array (*copy_to_host)(const Array& array);
/// The same for a computed node, which keeps the copy.
extern View (*host_copy)(const Node& node);

/// The tensor's value in host memory: computed if it is not yet, and copied if it is on a device. `op` is the caller's
/// name, for errors.
Array host_value(const Tensor& t, const char* op);

}  // namespace tenon
