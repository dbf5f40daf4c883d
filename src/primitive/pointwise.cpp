#include "primitive/pointwise.h"

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {
namespace {

tape::Tape tape_of(const Node& n, std::span<const View> in) {
    DType types[3];
    for (std::size_t i = 0; i < in.size(); ++i) types[i] = in[i].dtype;
    return tape::single(n.primitive->opcode, std::span<const DType>(types, in.size()), n.dtype);
}

}  // namespace

Signature infer_pointwise(const Primitive& p, std::span<const Tensor> in, const Attributes&) {
    const Tensor& last = in.back();
    if (!tape::accepts(p.opcode, last.dtype()))
        throw TypeError(text(p.name, " of ", described(last), ": not defined for this dtype"));
    for (const Tensor& t : in)
        if (t.shape() != last.shape())
            throw ShapeError(
                text(p.name, ": shapes ", to_string(in[0].shape()), " and ", to_string(last.shape()), " differ"));
    return {last.shape(), tape::result_type(p.opcode, last.dtype())};
}

void run_pointwise(const Node& n, std::span<const View> in, const View& out) {
    tape::run(tape_of(n, in), in, {&out, 1});
}

void reference_pointwise(const Node& n, std::span<const View> in, const View& out) {
    tape::run_reference(tape_of(n, in), in, {&out, 1});
}

void harmonize(std::string_view op, Tensor& a, Tensor& b) {
    check_defined(op, a, b);
    if (a.dtype() != b.dtype()) {
        if (is_weak_scalar(a) && !is_weak_scalar(b)) {
            a = scalar_as(a, b.dtype(), op);
        } else if (is_weak_scalar(b) && !is_weak_scalar(a)) {
            b = scalar_as(b, a.dtype(), op);
        } else {
            const DType t = promoted(op, a, b);
            if (a.dtype() != t) a = astype(a, t);
            if (b.dtype() != t) b = astype(b, t);
        }
    }
    if (a.shape() != b.shape()) {
        const Shape s = broadcast_of(op, a, b);
        if (a.shape() != s) a = broadcast_to(a, s);
        if (b.shape() != s) b = broadcast_to(b, s);
    }
}

Tensor apply(const Primitive& p, const Tensor& x, const void* site) { return record(p, {&x, 1}, {}, site); }

Tensor apply(const Primitive& p, const Tensor& a, const Tensor& b, const void* site) {
    if (a.defined() && b.defined() && a.dtype() == b.dtype() && a.shape() != b.shape()) {
        // No reference is counted for what a broadcast takes the place of.
        const Shape s = broadcast_of(p.name, a, b);
        Tensor wide[2] = {a.shape() == s ? a : broadcast_to(a, s), b.shape() == s ? b : broadcast_to(b, s)};
        return record_moved(p, wide, site);
    }
    Tensor in[2] = {a, b};
    harmonize(p.name, in[0], in[1]);
    return record_moved(p, in, site);
}

Tensor sum_of(const Tensor& a, const Tensor& b) {
    if (!a.defined()) return b;
    if (!b.defined()) return a;
    return add(a, b);
}

}  // namespace tenon
