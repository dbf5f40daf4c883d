// What view primitives share: common rules, and the copy that is made if strides cannot express the view.
#pragma once

#include "primitive/primitive.h"

namespace tenon {

/// Copies elements between views of one shape and dtype.
inline void copy(const View& in, const View& out) { tape::run(tape::Tape{{in.dtype}, {}, {0}}, {&in, 1}, {&out, 1}); }

/// The reference of a primitive whose `view` always succeeds.
inline void copy_view(const Node& n, std::span<const View> in, const View& out) {
    Layout l;
    n.primitive->view(n, in[0].layout, l);
    copy(with_layout(in[0], l), out);
}

/// The rule of a primitive whose result has its operand's shape and dtype.
inline Signature infer_alike(const Primitive&, std::span<const Tensor> in, const Attributes&) {
    return {in[0].shape(), in[0].dtype()};
}

/// The view of a primitive whose result is its operand.
inline bool view_whole(const Node&, const Layout& in, Layout& out) {
    out = in;
    return true;
}

/// A node of x alone, of its dtype and a shape that the caller knows.
inline Tensor record_of(const Primitive& p, Tensor x, const Shape& shape, std::span<const std::int64_t> attributes,
                        const void* site) {
    Node* in[1] = {x.detach()};
    return record_known(p, shape, in[0]->dtype, in[0]->device, in, attributes, site);
}
/// broadcast_to and reshape, to another shape that the caller knows to fit.
Tensor broadcast_known(Tensor x, const Shape& shape, const void* site = __builtin_return_address(0));
Tensor reshape_known(Tensor x, const Shape& shape, const void* site = __builtin_return_address(0));

inline std::span<const std::int64_t> span_of(const Extents& e) { return {e.begin(), e.end()}; }

inline Attributes attributes_of(std::initializer_list<const Extents*> parts) {
    std::int64_t words[4 * kMaxRank];
    std::size_t n = 0;
    for (const Extents* e : parts)
        for (std::int64_t v : *e) words[n++] = v;
    return Attributes(std::span<const std::int64_t>(words, n));
}

/// The i-th of `parts` equal pieces of the attributes.
inline Extents part(const Attributes& a, std::size_t i, std::size_t parts) {
    const std::size_t n = a.size() / parts;
    return Extents(std::span<const std::int64_t>(a).subspan(i * n, n));
}

}  // namespace tenon
