#include "bench/onednn.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <string>

#include "bench/peer.h"

namespace bench::onednn {
namespace {

constexpr int kCpu = 1, kAnyLayout = 1, kQueryWeights = 131, kBinaryAdd = 0x1fff0;
constexpr unsigned kInOrder = 1;

// Version 2's structures are smaller than this.
using Structure = std::array<std::max_align_t, 512>;

/// Leaked, as said above.
void* new_structure() { return std::make_unique<Structure>().release(); }

/// The library keeps room for twelve.
std::array<std::int64_t, 12> dimensions(const std::vector<std::int64_t>& values) {
    std::array<std::int64_t, 12> all{};
    std::copy(values.begin(), values.end(), all.begin());
    return all;
}

}  // namespace

std::optional<Version> version_of(const Library& library) {
    auto* version = library.find<const Version*()>("dnnl_version");
    return version ? std::optional<Version>(*version()) : std::nullopt;
}

template <class... Arguments>
void Api::call(const char* name, Arguments... arguments) const {
    auto* function = library_.find<int(Arguments...)>(name);
    if (!function) throw Unsupported(std::string(name) + ": this oneDNN has no such function");
    if (const int status = function(arguments...); status != 0)
        throw Unsupported(std::string(name) + " returns " + std::to_string(status));
}

Api::Api(const Library& library)
    : library_(library),
      major_(version_of(library).value().major),
      execute_(library.find<int(Primitive, Stream, int, const Argument*)>("dnnl_primitive_execute")),
      wait_(library.find<int(Stream)>("dnnl_stream_wait")) {
    call("dnnl_engine_create", &engine_, kCpu, std::size_t{0});
    call("dnnl_stream_create", &stream_, engine_, kInOrder);
}

Descriptor Api::descriptor(const std::vector<std::int64_t>& extents, DataType type,
                           const std::vector<std::int64_t>& strides) const {
    const auto n = static_cast<int>(extents.size());
    const auto sizes = dimensions(extents), steps = dimensions(strides);
    if (major_ < 3) {
        void* structure = new_structure();
        call("dnnl_memory_desc_init_by_strides", structure, n, sizes.data(), static_cast<int>(type), steps.data());
        return structure;
    }
    void* handle = nullptr;
    call("dnnl_memory_desc_create_with_strides", &handle, n, sizes.data(), static_cast<int>(type), steps.data());
    return handle;
}

Descriptor Api::descriptor(const std::vector<std::int64_t>& extents, DataType type) const {
    const auto n = static_cast<int>(extents.size());
    const auto sizes = dimensions(extents);
    if (major_ < 3) {
        void* structure = new_structure();
        call("dnnl_memory_desc_init_by_tag", structure, n, sizes.data(), static_cast<int>(type), kAnyLayout);
        return structure;
    }
    void* handle = nullptr;
    call("dnnl_memory_desc_create_with_tag", &handle, n, sizes.data(), static_cast<int>(type), kAnyLayout);
    return handle;
}

Api::Matmul Api::matmul(Descriptor source, Descriptor weights, Descriptor destination) const {
    const Descriptor no_bias = nullptr;
    const void *no_attributes = nullptr, *no_hint = nullptr;
    void* descriptor = nullptr;
    if (major_ < 3) {
        void* operation = new_structure();
        call("dnnl_matmul_desc_init", operation, source, weights, no_bias, destination);
        call("dnnl_primitive_desc_create", &descriptor, static_cast<const void*>(operation), no_attributes, engine_,
             no_hint);
    } else {
        call("dnnl_matmul_primitive_desc_create", &descriptor, engine_, source, weights, no_bias, destination,
             no_attributes);
    }
    return primitive_of(descriptor);
}

Api::Matmul Api::matmul(Descriptor source, Descriptor weights, Descriptor bias, Descriptor destination,
                        const Attributes& attributes) const {
    if (major_ < 3) throw Unsupported("attributes are those of version 3");
    void *descriptor = nullptr, *set = nullptr, *operations = nullptr;
    call("dnnl_primitive_attr_create", &set);
    call("dnnl_post_ops_create", &operations);
    // Swish takes a factor, relu the slope below zero.
    const float alpha = attributes.eltwise == kSwish ? 1.0F : 0.0F;
    if (attributes.eltwise != kNoEltwise)
        call("dnnl_post_ops_append_eltwise", operations, static_cast<int>(attributes.eltwise), alpha, 0.0F);
    if (attributes.added) call("dnnl_post_ops_append_binary", operations, kBinaryAdd, attributes.added);
    call("dnnl_primitive_attr_set_post_ops", set, static_cast<const void*>(operations));
    for (const auto& [argument, mask] : attributes.scales)
        call("dnnl_primitive_attr_set_scales_mask", set, argument, mask);
    for (const auto& [argument, mask] : attributes.zero_points)
        call("dnnl_primitive_attr_set_zero_points_mask", set, argument, mask);
    call("dnnl_matmul_primitive_desc_create", &descriptor, engine_, source, weights, bias, destination,
         static_cast<const void*>(set));
    return primitive_of(descriptor);
}

Api::Matmul Api::primitive_of(void* descriptor) const {
    void* primitive = nullptr;
    call("dnnl_primitive_create", &primitive, static_cast<const void*>(descriptor));
    auto* query = library_.find<Descriptor(const void*, int, int)>("dnnl_primitive_desc_query_md");
    return {primitive, query(descriptor, kQueryWeights, 0)};
}

Memory Api::memory(Descriptor descriptor, void* data) const {
    // All bits set: the library allocates.
    if (!data) data = std::bit_cast<void*>(~std::uintptr_t{0});
    Memory memory = nullptr;
    call("dnnl_memory_create", &memory, descriptor, engine_, data);
    return memory;
}

void Api::destroy(Memory memory) const { call("dnnl_memory_destroy", memory); }

void Api::reorder(Descriptor from, Memory source, Descriptor to, Memory destination) const {
    const void* no_attributes = nullptr;
    void *descriptor = nullptr, *primitive = nullptr;
    call("dnnl_reorder_primitive_desc_create", &descriptor, from, engine_, to, engine_, no_attributes);
    call("dnnl_primitive_create", &primitive, static_cast<const void*>(descriptor));
    const std::array<Argument, 2> arguments = {{{kSource, source}, {kDestination, destination}}};
    execute(primitive, 2, arguments.data());
    wait();
    call("dnnl_primitive_destroy", primitive);
}

}  // namespace bench::onednn
