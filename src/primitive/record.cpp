#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/hash.h"
#include "base/text.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {

TENON_NEAR constinit thread_local std::uint32_t current_region = 0;

Region::Region(std::uint32_t kind) : outer_(current_region) {
    static std::atomic<std::uint32_t> next{1};
    std::uint32_t number = 0;
    while (number == 0) number = next++ & ~(kLibraryRegion | kRecomputedRegion);
    current_region = number | kind;
}

namespace {

std::vector<const Primitive*>& registry() {
    static std::vector<const Primitive*> all;
    return all;
}

// The order of the node that this thread recorded last. It is raised above the orders of operands that other threads
// recorded, so that no lock is needed.
TENON_NEAR constinit thread_local std::uint64_t last_order = 0;

std::optional<Device> device_of(const Primitive& p, std::span<const Tensor> in, const Attributes& attributes) {
    if (p.device) return p.device(attributes);
    const Tensor* first = nullptr;
    for (const Tensor& t : in) {
        if (!t.node()->device) continue;
        if (!first) first = &t;
        check_same_device(p.name, *first, t);
    }
    return first ? first->node()->device : std::nullopt;
}

/// Made in advance: copying it allocates nothing.
const MemoryError no_memory("no memory to record an operation");

/// Takes over one reference to each input, even if it throws.
Tensor make(const Primitive& p, const Shape& shape, DType dtype, const std::optional<Device>& device,
            std::span<Node* const> inputs, std::span<const std::int64_t> attributes, const void* site) {
    Node* n = nullptr;
    try {
        n = new Node(p, dtype, shape, attributes, inputs);
    } catch (const std::bad_alloc&) {
        for (Node* i : inputs) release(i);
        throw;
    }
    n->device = device;
    std::uint64_t order = last_order;
    for (const Node* i : inputs) order = std::max(order, i->order);
    last_order = n->order = order + 1;
    n->region = current_region;
    n->site = site;
    return Tensor::adopt(n);
}

/// Calls body with the nodes of `in`, retained.
template <class F>
Tensor with_retained(std::span<const Tensor> in, F&& body) {
    Node* few[4];
    std::vector<Node*> many;
    Node** nodes = few;
    if (in.size() > 4) {
        many.resize(in.size());
        nodes = many.data();
    }
    for (std::size_t i = 0; i < in.size(); ++i) {
        nodes[i] = in[i].node();
        retain(nodes[i]);
    }
    return body(std::span<Node* const>(nodes, in.size()));
}

void check_all_defined(const Primitive& p, std::span<const Tensor> in) {
    for (const Tensor& t : in) check_defined(p.name, t);
}

}  // namespace

Register::Register(const Primitive& p) { registry().push_back(&p); }

std::vector<const Primitive*> primitives() {
    auto all = registry();
    std::sort(all.begin(), all.end(), [](auto* a, auto* b) { return a->name < b->name; });
    return all;
}

Tensor record(const Primitive& p, std::span<const Tensor> in, Attributes attributes, const void* site) try {
    check_all_defined(p, in);
    const Signature s = p.infer(p, in, attributes);
    checked_count(p.name, s.shape);
    const auto device = device_of(p, in, attributes);
    const std::span<const std::int64_t> words(attributes);
    return with_retained(in, [&](auto nodes) { return make(p, s.shape, s.dtype, device, nodes, words, site); });
} catch (const std::bad_alloc&) {
    throw MemoryError(no_memory);
}

Tensor record_moved(const Primitive& p, std::span<Tensor> in, const void* site) try {
    check_all_defined(p, in);
    const Signature s = p.infer(p, in, {});
    checked_count(p.name, s.shape);
    const auto device = device_of(p, in, {});
    Node* nodes[3];
    for (std::size_t i = 0; i < in.size(); ++i) nodes[i] = in[i].detach();
    return make(p, s.shape, s.dtype, device, {nodes, in.size()}, {}, site);
} catch (const std::bad_alloc&) {
    throw MemoryError(no_memory);
}

Tensor record_known(const Primitive& p, const Shape& shape, DType dtype, const std::optional<Device>& device,
                    std::span<Node* const> in, std::span<const std::int64_t> attributes, const void* site) try {
    return make(p, shape, dtype, device, in, attributes, site);
} catch (const std::bad_alloc&) {
    throw MemoryError(no_memory);
}

Tensor record_again(const Node& node, std::span<const Tensor> in) try {
    const auto device = device_of(*node.primitive, in, node.attributes);
    Tensor t = with_retained(in, [&](auto nodes) {
        return make(*node.primitive, node.shape, node.dtype, device, nodes, node.attributes, node.site);
    });
    t.node()->payload = node.payload;
    t.node()->scalar = node.scalar;
    return t;
} catch (const std::bad_alloc&) {
    throw MemoryError(no_memory);
}

std::uint64_t local_hash(const Node& n) {
    std::uint64_t h = mix(reinterpret_cast<std::uintptr_t>(n.primitive), static_cast<std::uint64_t>(n.dtype));
    for (std::int64_t e : n.shape) h = mix(h, static_cast<std::uint64_t>(e));
    for (std::int64_t a : n.attributes) h = mix(h, static_cast<std::uint64_t>(a));
    return h;
}

Cost cost_of(const Node& node) {
    if (node.primitive->cost) return node.primitive->cost(node);
    const auto bytes = [](const Node& n) {
        return static_cast<double>(count(n.shape)) * static_cast<double>(size_of(n.dtype));
    };
    if (node.primitive->role == Role::view) return {0, 0};
    Cost c{node.primitive->role == Role::leaf ? 0.0 : static_cast<double>(count(node.shape)), bytes(node)};
    for (const Node* in : node.inputs) c.bytes += bytes(*in);
    return c;
}

std::string site_of(const Node& node) {
    Dl_info info;
    if (!dladdr(node.site, &info) || !info.dli_fname) return text(node.site);
    const auto from = [&](const void* base) {
        return static_cast<const char*>(node.site) - static_cast<const char*>(base);
    };
    const std::string_view path = info.dli_fname;
    // The module and the address in it, as addr2line takes them.
    const std::string place = text(path.substr(path.rfind('/') + 1), "+0x", std::hex, from(info.dli_fbase));
    if (!info.dli_sname) return place;
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status),
                                                       std::free);
    return text(plain ? plain.get() : info.dli_sname, "+0x", std::hex, from(info.dli_saddr), ", ", place);
}

}  // namespace tenon
