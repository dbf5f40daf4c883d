#include "schedule/device_primitives.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string_view>
#include <vector>

#include "cuda/attention/attention.h"
#include "cuda/blas.h"
#include "cuda/loops.h"
#include "cuda/plain.h"
#include "cuda/product_tape.h"
#include "primitive/attention.h"
#include "primitive/contract.h"
#include "primitive/primitive.h"
#include "primitive/view_of.h"
#include "tenon/device.h"

namespace tenon::schedule {
namespace {

using cuda::Gpu;
using In = std::span<const View>;
using Run = bool (*)(Gpu&, const Node&, In, const View&);

/// A number's bits in a dtype, by the host's cast.
std::uint64_t bits_of(double value, DType dtype) {
    std::uint64_t bits = 0;
    const View from{&value, DType::float64, {}}, to{&bits, dtype, {}};
    const DType type = from.dtype;
    tape::run(dtype == type ? tape::Tape{{type}, {}, {0}} : tape::single(tape::Opcode::cast, {&type, 1}, dtype),
              {&from, 1}, {&to, 1});
    return bits;
}

/// Numbers: computed on the host and enqueued as a copy.
bool number(Gpu& gpu, const Node& n, In, const View& out) {
    std::uint64_t bits = 0;
    n.primitive->reference(n, {}, {&bits, out.dtype, {}});
    gpu.to_device(out.data, &bits, static_cast<std::int64_t>(size_of(out.dtype)));
    return true;
}

bool iota(Gpu& gpu, const Node&, In, const View& out) {
    cuda::iota(gpu, out);
    return true;
}

bool random_bits(Gpu& gpu, const Node&, In in, const View& out) {
    cuda::random_bits(gpu, in[0], 0, out);
    return true;
}

bool concatenate(Gpu& gpu, const Node& n, In in, const View& out) {
    const int axis = static_cast<int>(n.attributes[0]);
    Extents start(out.shape().rank(), 0);
    const Extents step(out.shape().rank(), 1);
    for (const View& v : in) {
        cuda::copy(gpu, v, with_layout(out, out.layout.slice(start, v.shape(), step)));
        start[axis] += v.shape()[axis];
    }
    return true;
}

bool pad(Gpu& gpu, const Node& n, In in, const View& out) {
    const std::size_t rank = (n.attributes.size() - 1) / 3;
    const std::span<const std::int64_t> all(n.attributes);
    Extents step(all.subspan(2 * rank, rank));
    for (std::int64_t& s : step) ++s;
    cuda::fill(gpu, bits_of(std::bit_cast<double>(n.attributes[3 * rank]), out.dtype), out);
    cuda::copy(gpu, in[0], with_layout(out, out.layout.slice(Extents(all.first(rank)), in[0].shape(), step)));
    return true;
}

template <tape::Reduction op>
bool argreduce(Gpu& gpu, const Node& n, In in, const View& out) {
    cuda::argreduce(gpu, op, in[0], {n.attributes[0]}, out);
    return true;
}

template <tape::Reduction op>
bool cumulative(Gpu& gpu, const Node& n, In in, const View& out) {
    cuda::cumulative(gpu, op, in[0], static_cast<int>(n.attributes[0]), out);
    return true;
}

/// The operand may have the dtype from before a cast, which is then part of the gather (simplify.cpp).
bool gather(Gpu& gpu, const Node&, In in, const View& out) {
    const DType type = in[0].dtype;
    if (type == out.dtype) {
        cuda::gather(gpu, in[0], in[1], out);
        return true;
    }
    const auto picked = gpu.allocate(out.layout.count() * static_cast<std::int64_t>(size_of(type)));
    const View rows{picked->data(), type, Layout::contiguous(out.shape())};
    cuda::gather(gpu, in[0], in[1], rows);
    cuda::run(gpu, tape::single(tape::Opcode::cast, {&type, 1}, out.dtype), {&rows, 1}, {&out, 1});
    return true;
}

template <bool add>
bool scatter(Gpu& gpu, const Node&, In in, const View& out) {
    return cuda::scatter(gpu, add, in[0], in[1], in[2], out);
}

/// Operands may be bytes from before casts, which are then part of the product (simplify.cpp).
bool contract(Gpu& gpu, const Node& n, In in, const View& out) {
    const ContractLabels l = contract_labels(n);
    if (cuda::contract(gpu, in[0], in[1], out, {l.a, l.b, l.out}, allows_tf32(n))) return true;
    std::vector<std::shared_ptr<Storage>> kept;
    std::vector<View> operands(in.begin(), in.end());
    for (View& v : operands) {
        const DType from = v.dtype;
        if (from == out.dtype) continue;
        kept.push_back(gpu.allocate(v.layout.count() * static_cast<std::int64_t>(size_of(out.dtype))));
        const View cast{kept.back()->data(), out.dtype, Layout::contiguous(v.shape())};
        cuda::run(gpu, tape::single(tape::Opcode::cast, {&from, 1}, out.dtype), {&v, 1}, {&cast, 1});
        v = cast;
    }
    cuda::contract_plainly(gpu, operands[0], operands[1], out, {l.a, l.b, l.out});
    return true;
}

/// The gaps between the parts of a vector are part of its value.
void clear_gap(Gpu& gpu, const View& vector, std::int64_t begin, std::int64_t end) {
    const auto size = static_cast<std::int64_t>(size_of(vector.dtype));
    if (end > begin) gpu.fill_bytes(vector.as<std::byte>() + begin * size, 0, (end - begin) * size);
}
std::int64_t place_in(const View& vector, const View& part) {
    return (part.as<std::byte>() - vector.as<std::byte>()) / static_cast<std::int64_t>(size_of(vector.dtype));
}

bool attention(Gpu& gpu, const Node& n, In in, const View& out) {
    const product::Attention a = attention_of(n, in, 0);
    const AttentionVector parts = attention_vector(a, out);
    const auto size = static_cast<std::int64_t>(size_of(out.dtype)), wide = out.dtype == DType::float64 ? 8l : 4l;
    clear_gap(gpu, out, a.batch() * a.heads() * a.queries() * wide / size, parts.kept.layout.count());
    cuda::attend(gpu, a, parts.out, out.data);
    return true;
}

bool attention_gradient(Gpu& gpu, const Node& n, In in, const View& out) {
    const product::Attention a = attention_of(n, in, 2);
    const product::AttentionGradients g = attention_gradients(n, a, out);
    const std::int64_t ends[] = {place_in(out, g.dk), place_in(out, g.dv), out.layout.count()};
    const View* parts[] = {&g.dq, &g.dk, &g.dv};
    for (std::size_t i = 0; i < 3; ++i)
        clear_gap(gpu, out, place_in(out, *parts[i]) + parts[i]->layout.count(), ends[i]);
    cuda::attention_gradient(gpu, a, attention_vector(a, in[0]).out, in[0].data, in[1], g);
    return true;
}

bool attention_tangent(Gpu& gpu, const Node& n, In in, const View& out) {
    const product::Attention a = attention_of(n, in, 5);
    cuda::attention_tangent(gpu, a, in[4].data, attention_tangents(a, n, in), out);
    return true;
}

Run code_of(std::string_view name) {
    using tape::Reduction;
    static const std::map<std::string_view, Run> all{
        {"scalar", number},
        {"constant", number},
        {"iota", iota},
        {"random_bits", random_bits},
        {"concatenate", concatenate},
        {"pad", pad},
        {"argmax", argreduce<Reduction::max>},
        {"argmin", argreduce<Reduction::min>},
        {"cumulative_sum", cumulative<Reduction::sum>},
        {"cumulative_prod", cumulative<Reduction::prod>},
        {"cumulative_max", cumulative<Reduction::max>},
        {"cumulative_min", cumulative<Reduction::min>},
        {"gather", gather},
        {"scatter", scatter<false>},
        {"scatter_add", scatter<true>},
        {"contract", contract},
        {"attention", attention},
        {"attention_gradient", attention_gradient},
        {"attention_tangent", attention_tangent},
    };
    const auto found = all.find(name);
    return found == all.end() ? nullptr : found->second;
}

}  // namespace

bool run_by_device_code(Gpu& gpu, const Node& n, In in, const View& out) {
    const Primitive& p = *n.primitive;
    if (p.role == Role::pointwise) {
        DType types[3];
        for (std::size_t i = 0; i < in.size(); ++i) types[i] = in[i].dtype;
        cuda::run(gpu, tape::single(p.opcode, std::span<const DType>(types, in.size()), n.dtype), in, {&out, 1});
        return true;
    }
    if (p.role == Role::view) {  // a reshape that strides cannot express
        cuda::copy(gpu, in[0], with_layout(out, Layout::contiguous(in[0].shape())));
        return true;
    }
    if (p.reduction) {
        cuda::reduce(gpu, *p.reduction, in[0], part(n.attributes, 0, 1), out);
        return true;
    }
    const Run code = code_of(p.name);
    return code && code(gpu, n, in, out);
}

void mark_zeros(Executable& e) {
    for (Task& t : e.tasks) {
        if (t.kind != Task::Kind::product || t.tape.code.empty()) continue;
        for (std::size_t i = t.product_operands; i < t.in.size() && i - t.product_operands < 32; ++i) {
            const Location& at = t.in[i].at;
            const View& v = t.in[i].view;
            if (at.in != Location::In::constant) continue;
            bool same = true;
            for (int d = 0; d < v.layout.rank(); ++d) same = same && (v.layout.strides[d] == 0 || v.shape()[d] == 1);
            const std::uint32_t fold = e.fold_of[at.index];
            if (!same || fold == ~std::uint32_t{0} || !e.folds[fold].from.empty()) continue;
            const auto* bytes = static_cast<const std::byte*>(e.constants[at.index]->data()) + at.offset;
            if (std::any_of(bytes, bytes + size_of(v.dtype), [](std::byte b) { return b != std::byte{}; })) continue;
            t.zeros |= 1U << (i - t.product_operands);
            const std::uint32_t node = e.folds[fold].node;
            if (std::find(e.pinned.begin(), e.pinned.end(), node) == e.pinned.end()) e.pinned.push_back(node);
        }
    }
}

namespace {

template <class F>
auto with_product_tape(const Node& n, In in, const tape::Tape& tape, In more, const View& out, std::uint32_t zeros,
                       F&& f) {
    const ContractLabels l = contract_labels(n);
    const product::Labels labels{l.a, l.b, l.out};
    return f(cuda::ProductTape{in[0], in[1], out, labels, n.dtype, tape, more, zeros, allows_tf32(n)});
}

}  // namespace

std::string tape_declines(const Node& n, In in, const tape::Tape& tape, In more, const View& out, std::uint32_t zeros) {
    if (!is_contract(n)) return "it is no contraction";
    if (out.shape() != n.shape) return "the epilogue sees the product under another shape";
    return with_product_tape(n, in, tape, more, out, zeros,
                             [](const cuda::ProductTape& p) { return cuda::declines(p); });
}

bool is_in_tiles(const Node& n, In in, const tape::Tape& tape, In more, const View& out, std::uint32_t zeros) {
    return with_product_tape(n, in, tape, more, out, zeros,
                             [](const cuda::ProductTape& p) { return cuda::is_ours(p); });
}

bool run_with_tape(Gpu& gpu, const Node& n, In in, const tape::Tape& tape, In more, const View& out,
                   std::uint32_t zeros) {
    return tape_declines(n, in, tape, more, out, zeros).empty() &&
           with_product_tape(n, in, tape, more, out, zeros,
                             [&](const cuda::ProductTape& p) { return cuda::run(gpu, p); });
}

std::string way_of_device_code(Device device, const Node& n, In in) {
    const std::string_view name = n.primitive->name;
    if (name != "attention" && name != "attention_gradient") return {};
    if (device.index >= cuda_device_count()) return {};
    std::vector<View> somewhere(in.begin(), in.end());
    for (View& v : somewhere) v.data = reinterpret_cast<void*>(std::uintptr_t{256});
    const product::Attention a = attention_of(n, somewhere, name == "attention" ? 0 : 2);
    const std::string reason = cuda::cudnn_declines(cuda::Gpu::at(device.index), a);
    return reason.empty() ? "by cuDNN" : "by products; cuDNN: " + reason;
}

}  // namespace tenon::schedule
