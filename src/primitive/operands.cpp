#include "primitive/operands.h"

#include "base/text.h"
#include "primitive/primitive.h"
#include "tenon/error.h"

namespace tenon {

std::string described(const Tensor& x) { return text(to_string(x.shape()), " ", name(x.dtype())); }

void check_defined(std::string_view op, const Tensor& x) {
    if (!x.defined()) throw ValueError(text(op, ": an operand is not defined"));
}

void check_same_device(std::string_view op, const Tensor& a, const Tensor& b) {
    const auto &of_a = a.node()->device, &of_b = b.node()->device;
    if (!of_a || !of_b || *of_a == *of_b) return;  // a number has no device
    throw ValueError(text(op, " of ", described(a), " on ", to_string(*of_a), " and ", described(b), " on ",
                          to_string(*of_b), ": operands are on one device; to_device moves a tensor"));
}

void check_operands(std::string_view op, const Tensor& a, const Tensor& b) {
    check_defined(op, a);
    check_defined(op, b);
    check_same_device(op, a, b);
}

DType promoted(std::string_view op, const Tensor& a, const Tensor& b) {
    check_operands(op, a, b);
    if (a.dtype() == b.dtype()) return a.dtype();
    try {
        return promote(a.dtype(), b.dtype());
    } catch (const TypeError& e) {
        throw TypeError(text(op, " of ", described(a), " and ", described(b), ": ", e.what()));
    }
}

Shape broadcast_of(std::string_view op, const Tensor& a, const Tensor& b) {
    try {
        const Shape s = broadcast_shapes(a.shape(), b.shape(), "broadcast");
        checked_count("broadcast", s);
        return s;
    } catch (const ShapeError& e) {
        throw ShapeError(text(op, " of ", described(a), " and ", described(b), ": ", e.what()));
    }
}

std::int64_t checked_count(std::string_view op, const Shape& shape) {
    try {
        return count(shape);
    } catch (const ShapeError& e) {
        throw ShapeError(text(op, ": ", e.what()));
    }
}

}  // namespace tenon
