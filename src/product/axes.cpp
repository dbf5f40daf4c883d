#include "product/axes.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using LabelList = std::span<const std::uint8_t>;

std::string describe(const View& v, LabelList labels) {
    std::string s = text(name(v.dtype), " ", to_string(v.shape()), " labelled [");
    for (std::size_t i = 0; i < labels.size(); ++i) s += text(i ? " " : "", int{labels[i]});
    return s + "]";
}

struct Call {
    const View &a, &b, &out;
    const Labels& labels;

    template <class E, class... T>
    [[noreturn]] void fail(const T&... rule) const {
        throw E(text("contract: ", rule..., "; a is ", describe(a, labels.a), ", b is ", describe(b, labels.b),
                     ", out is ", describe(out, labels.out)));
    }
};

int find(LabelList labels, std::uint8_t label) {
    const auto it = std::find(labels.begin(), labels.end(), label);
    return it == labels.end() ? -1 : static_cast<int>(it - labels.begin());
}

void check_view(const Call& call, const char* which, const View& v, LabelList labels) {
    if (static_cast<int>(labels.size()) != v.layout.rank())
        call.fail<ShapeError>("view ", which, " must have one label for each axis");
    for (std::size_t i = 0; i < labels.size(); ++i)
        if (find(labels.first(i), labels[i]) >= 0)
            call.fail<ShapeError>("label ", int{labels[i]}, " repeats within ", which);
}

bool accepts_output(DType operand, DType out) {
    if (operand == out) return true;
    if (operand == DType::float16 || operand == DType::bfloat16) return out == DType::float32;
    return is_byte(operand) && out == DType::int32;
}

void check_types(const Call& call) {
    const DType t = call.a.dtype;
    if (!is_integer(t) && !is_floating(t))
        call.fail<TypeError>("operands must be integer or real floating-point, not ", name(t));
    if (is_byte(t) && is_byte(call.b.dtype) && call.out.dtype == DType::int32) return;
    if (t != call.b.dtype) call.fail<TypeError>("operands must share a dtype");
    if (!accepts_output(t, call.out.dtype))
        call.fail<TypeError>(
            "the output must have the operands' dtype (or float32 for float16 and bfloat16, int32 for 8-bit integers)");
}

/// The axis of `label` in all three views, whose extents have to agree.
Axis axis_of(const Call& call, std::uint8_t label) {
    Axis axis(1, 0, 0, 0);
    bool seen = false;
    const auto look = [&](const View& v, LabelList labels, std::int64_t& stride) {
        const int i = find(labels, label);
        if (i < 0) return;
        if (seen && v.shape()[i] != axis.extent)
            call.fail<ShapeError>("the extents of label ", int{label}, " must agree: ", axis.extent, " and ",
                                  v.shape()[i]);
        axis.extent = v.shape()[i];
        stride = v.layout.strides[i];
        seen = true;
    };
    look(call.a, call.labels.a, axis.a);
    look(call.b, call.labels.b, axis.b);
    look(call.out, call.labels.out, axis.out);
    const auto position = [&](LabelList labels) { return static_cast<std::int8_t>(std::max(find(labels, label), 0)); };
    axis.position = position(call.labels.out);
    axis.position_a = position(call.labels.a);
    axis.position_b = position(call.labels.b);
    return axis;
}

}  // namespace

AxisList in_output_order(AxisList axes) {
    for (int i = 1; i < axes.size; ++i)
        for (Axis* at = axes.begin() + i; at > axes.begin() && std::llabs(at[-1].out) < std::llabs(at->out); --at)
            std::swap(at[-1], *at);
    return axes;
}

AxisRoles assign_roles(const View& a, const View& b, const View& out, const Labels& labels) {
    const Call call{a, b, out, labels};
    check_types(call);
    check_view(call, "a", a, labels.a);
    check_view(call, "b", b, labels.b);
    check_view(call, "out", out, labels.out);

    AxisRoles roles;
    for (const std::uint8_t label : labels.a) {
        const bool in_b = find(labels.b, label) >= 0, in_out = find(labels.out, label) >= 0;
        if (!in_b && !in_out) call.fail<ShapeError>("label ", int{label}, " stands in a alone");
        (in_b ? (in_out ? roles.batch : roles.summed) : roles.rows).push_back(axis_of(call, label));
    }
    for (const std::uint8_t label : labels.b) {
        if (find(labels.a, label) >= 0) continue;
        if (find(labels.out, label) < 0) call.fail<ShapeError>("label ", int{label}, " stands in b alone");
        roles.columns.push_back(axis_of(call, label));
    }
    for (const std::uint8_t label : labels.out)
        if (find(labels.a, label) < 0 && find(labels.b, label) < 0)
            call.fail<ShapeError>("label ", int{label}, " stands in out alone");
    return roles;
}

}  // namespace tenon::product
