#include "tenon/io.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "base/text.h"
#include "io/safetensors.h"
#include "io/safetensors_text.h"
#include "primitive/operands.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon {
namespace {

/// A row-major copy of a tensor's elements.
std::vector<std::byte> gather(const HostView& v) {
    const auto size = size_of(v.dtype);
    const Layout layout{v.shape, v.strides, 0};
    std::vector<std::byte> out(static_cast<std::size_t>(layout.count()) * size);
    Extents index(v.shape.rank(), 0);
    for (std::size_t at = 0; at < out.size(); at += size) {
        const auto* element =
            static_cast<const std::byte*>(v.data) + layout.at(index) * static_cast<std::int64_t>(size);
        std::memcpy(out.data() + at, element, size);
        for (int axis = v.shape.rank() - 1; axis >= 0 && ++index[axis] == v.shape[axis]; --axis) index[axis] = 0;
    }
    return out;
}

using Entries = std::vector<std::pair<std::string_view, Tensor>>;

/// Names with more parts than this stay names with dots, so that no file makes a tree that is too deep to walk.
constexpr int kMaxDepth = 64;

bool has_empty_part(std::string_view path) {
    return path.starts_with('.') || path.ends_with('.') || path.find("..") != std::string_view::npos;
}

/// The tree of `entries`, sorted by path, each path without its first `skip` characters. A part of a path becomes a
/// child, unless that child is a tensor itself, or a part is empty: then the rest of the path is one name.
Tree nest(std::span<const Entries::value_type> entries, std::size_t skip, int depth) {
    std::vector<Tree::Child> children;
    for (std::size_t i = 0; i < entries.size();) {
        const auto path = entries[i].first.substr(skip);
        const auto dot = path.find('.');
        const auto head = path.substr(0, dot);
        const auto before = entries.first(i);
        const auto leaf = std::lower_bound(before.begin(), before.end(), head,
                                           [&](const auto& e, std::string_view h) { return e.first.substr(skip) < h; });
        const bool head_is_leaf = leaf != before.end() && leaf->first.substr(skip) == head;
        const bool whole = dot == std::string_view::npos || depth == kMaxDepth || has_empty_part(path) || head_is_leaf;
        if (whole) {
            children.emplace_back(path, entries[i++].second);
            continue;
        }
        const auto prefix = path.substr(0, dot + 1);
        std::size_t end = i;
        while (end < entries.size() && entries[end].first.substr(skip).starts_with(prefix)) ++end;
        children.emplace_back(head, nest(entries.subspan(i, end - i), skip + prefix.size(), depth + 1));
        i = end;
    }
    return children;
}

Tensor read_tensor(const SafetensorsFile& file, const SafetensorsEntry& e) {
    constexpr std::align_val_t kAlignment{64};
    const auto size = static_cast<std::size_t>(e.end - e.begin);
    const std::shared_ptr<std::byte> memory(static_cast<std::byte*>(::operator new(size + 1, kAlignment)),
                                            [](std::byte* p) { ::operator delete(p, kAlignment); });
    file.read(e, {memory.get(), size});
    return Tensor::wrap(memory.get(), e.dtype, Layout::contiguous(e.shape), [memory] {});
}

}  // namespace

void save(const std::string& path, const Checkpoint& checkpoint) {
    const auto leaves = checkpoint.tensors.flatten();
    eval(checkpoint.tensors);
    std::vector<std::vector<std::byte>> copies;
    std::vector<SafetensorsTensor> tensors;
    std::vector<Tensor> on_cpu;  // until they are written
    for (const auto& [name, tensor] : leaves) {
        const auto host = on_cpu.emplace_back(to_device(tensor, Device::cpu())).host();
        const auto size = static_cast<std::size_t>(tensor.size()) * size_of(host.dtype);
        std::span bytes(static_cast<const std::byte*>(host.data), size);
        if (!Layout{host.shape, host.strides, 0}.is_contiguous()) bytes = copies.emplace_back(gather(host));
        tensors.push_back({name, host.dtype, host.shape, bytes});
    }
    write_safetensors(path, std::move(tensors), checkpoint.metadata);
}

Checkpoint load(const std::string& path) {
    try {
        const SafetensorsFile file(path);
        const auto& header = file.header();
        Checkpoint checkpoint;
        Entries entries;
        for (std::size_t i = 0; i < header.size(); ++i) {
            const auto e = header[i];
            entries.emplace_back(e.name, read_tensor(file, e));
        }
        const bool lone = entries.size() == 1 && entries[0].first.empty();
        checkpoint.tensors = lone ? Tree(entries[0].second) : nest(entries, 0, 1);
        for (std::size_t i = 0; i < header.metadata_size(); ++i) {
            const auto [key, value] = header.metadata(i);
            if (key != kHeaderChecksum && !key.starts_with(kTensorChecksum))
                checkpoint.metadata.emplace(std::string(key), std::string(value));
        }
        return checkpoint;
    } catch (const std::bad_alloc&) {
        throw MemoryError(text(path, ": no memory for its tensors"));
    }
}

Tree restore(const Tree& like, const Tree& saved) {
    std::map<std::string, Tensor> found;
    for (auto& [name, tensor] : saved.flatten()) found.emplace(name, tensor);
    std::vector<Tensor> leaves;
    for (const auto& [name, expected] : like.flatten()) {
        const auto at = found.find(name);
        if (at == found.end()) throw ValueError(text("restore: there is no tensor ", in_quotes(name)));
        const auto& tensor = at->second;
        const bool same_shape = tensor.shape() == expected.shape(), same_dtype = tensor.dtype() == expected.dtype();
        if (!same_shape || !same_dtype) {
            const auto message =
                text("restore: tensor ", in_quotes(name), " is ", described(tensor), ", not ", described(expected));
            if (!same_shape) throw ShapeError(message);
            throw TypeError(message);
        }
        leaves.push_back(tensor);
        found.erase(at);
    }
    if (!found.empty()) throw ValueError(text("restore: nothing takes the tensor ", in_quotes(found.begin()->first)));
    return like.with_leaves(leaves);
}

}  // namespace tenon
