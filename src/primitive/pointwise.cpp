#include "primitive/pointwise.h"

#include "base/text.h"
#include "primitive/view_of.h"
#include "tenon/error.h"

namespace tenon {
namespace {

tape::Tape tape_of(const Node& n, std::span<const View> in) {
    DType types[3];
    for (std::size_t i = 0; i < in.size(); ++i) types[i] = in[i].dtype;
    return tape::single(n.primitive->opcode, std::span<const DType>(types, in.size()), n.dtype);
}

/// Whether the opcode alone determines the result for operands of this dtype and one shape.
bool has_usual_rule(const Primitive& p, DType dtype) {
    return p.infer == infer_pointwise && !p.device && tape::accepts(p.opcode, dtype);
}

}  // namespace

Signature infer_pointwise(const Primitive& p, std::span<const Tensor> in, const Attributes&) {
    const Tensor& last = in.back();
    if (!tape::accepts(p.opcode, last.dtype()))
        throw TypeError(text(p.name, " of ", described(last), ": not defined for this dtype"));
    for (const Tensor& t : in)
        if (&t != &last && t.node()->shape != last.node()->shape)
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
    check_operands(op, a, b);
    if (a.dtype() != b.dtype()) {
        // Of two numbers an integer takes the dtype of a floating one.
        const auto follows = [](const Tensor& x, const Tensor& other) {
            return is_weak_scalar(x) &&
                   (!is_weak_scalar(other) || (is_integer(x.dtype()) && is_floating(other.dtype())));
        };
        if (follows(a, b)) {
            a = scalar_as(a, b.dtype(), op);
        } else if (follows(b, a)) {
            b = scalar_as(b, a.dtype(), op);
        } else {
            const DType t = promoted(op, a, b);
            if (a.dtype() != t) a = astype(a, t);
            if (b.dtype() != t) b = astype(b, t);
        }
    }
    if (a.shape() != b.shape()) {
        const Shape s = broadcast_of(op, a, b);
        if (a.shape() != s) a = broadcast_known(a, s);
        if (b.shape() != s) b = broadcast_known(b, s);
    }
}

Tensor apply(const Primitive& p, const Tensor& x, const void* site) {
    if (!x.defined() || !has_usual_rule(p, x.node()->dtype)) return record(p, {&x, 1}, {}, site);
    Node* in[1] = {x.node()};
    retain(in[0]);
    return record_known(p, in[0]->shape, tape::result_type(p.opcode, in[0]->dtype), in[0]->device, in, {}, site);
}

Tensor apply(const Primitive& p, Tensor a, Tensor b, const void* site) {
    if (!a.defined() || !b.defined() || a.node()->dtype != b.node()->dtype || !has_usual_rule(p, a.node()->dtype)) {
        Tensor in[2] = {std::move(a), std::move(b)};
        harmonize(p.name, in[0], in[1]);
        return record_moved(p, in, site);
    }
    // The most common case: nothing to promote. The reference of an operand that a broadcast replaces is not counted.
    const Node &x = *a.node(), &y = *b.node();
    check_same_device(p.name, a, b);
    const bool of_x = y.shape.empty() || x.shape == y.shape, of_y = x.shape.empty();
    const Shape s = of_x ? x.shape : of_y ? y.shape : broadcast_of(p.name, a, b);
    if (!of_x && x.shape != s) a = broadcast_known(std::move(a), s);
    if (y.shape != s) b = broadcast_known(std::move(b), s);
    Node* in[2] = {a.detach(), b.detach()};
    return record_known(p, s, tape::result_type(p.opcode, x.dtype), x.device ? x.device : y.device, in, {}, site);
}

Tensor sum_of(const Tensor& a, const Tensor& b) {
    if (!a.defined()) return b;
    if (!b.defined()) return a;
    return add(a, b);
}

}  // namespace tenon
