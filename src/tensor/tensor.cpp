#include "tenon/tensor.h"

#include "base/text.h"
#include "product/float_environment.h"
#include "tape/tape.h"
#include "tenon/error.h"
#include "tensor/node.h"

namespace tenon {
namespace {

const Node& node_of(const Tensor& t, const char* op) {
    if (!t.defined()) throw ValueError(text(op, ": the tensor is not defined"));
    return *t.node();
}

const Array& value_of(const Tensor& t, const char* op) {
    const Node& n = node_of(t, op);
    if (!n.value()) {
        Node* root = t.node();
        evaluate_nodes({&root, 1});
    }
    return *n.value();
}

bool on_host(const Array& a) { return a.storage->device() == Device::cpu(); }

/// The elements in place. Throws for a tensor on a device. A tensor without a device of its own may have been computed
/// on one, and is then copied.
View view_of(const Tensor& t, const char* op) {
    const Array& a = value_of(t, op);
    if (on_host(a)) return a.view;
    if (t.node()->device)
        throw ValueError(text(op, ": ", to_string(t.shape()), " ", name(t.dtype()), " is on ", to_string(t.device()),
                              ", whose memory the host does not read in place; to<T>() copies, to_device moves"));
    return host_copy(*t.node());
}

void convert(const View& in, void* out, DType dtype) {
    const View to{out, dtype, Layout::contiguous(in.shape())};
    const tape::Tape cast =
        in.dtype == dtype ? tape::Tape{{dtype}, {}, {0}} : tape::single(tape::Opcode::cast, {&in.dtype, 1}, dtype);
    const product::FloatEnvironment environment(product::Subnormals::keep);  // as where results are computed
    tape::run(cast, {&in, 1}, {&to, 1});
}

}  // namespace

Array host_value(const Tensor& t, const char* op) {
    const Array& a = value_of(t, op);
    return on_host(a) ? a : copy_to_host(a);
}

Tensor::Tensor(const Tensor& o) noexcept : node_(o.node_) {
    if (node_) retain(node_);
}

void Tensor::give_up(Node* node) noexcept { release(node); }

const Shape& Tensor::shape() const { return node_of(*this, "shape").shape; }

Device Tensor::device() const { return node_of(*this, "device").place(); }

DType Tensor::dtype() const { return node_of(*this, "dtype").dtype; }

std::int64_t Tensor::extent(int axis) const {
    const Shape& s = shape();
    const int a = axis < 0 ? axis + s.rank() : axis;
    if (a < 0 || a >= s.rank())
        throw ShapeError(text("extent: axis ", axis, " is out of bounds for shape ", to_string(s)));
    return s[a];
}

const Tensor& Tensor::eval() const {
    value_of(*this, "eval");
    return *this;
}

void eval(std::span<const Tensor> tensors) {
    std::vector<Node*> roots;
    for (const Tensor& t : tensors) {
        node_of(t, "eval");
        if (!t.node()->value()) roots.push_back(t.node());
    }
    if (!roots.empty()) evaluate_nodes(roots);
}

void Tensor::copy_to(void* out, DType dtype) const { convert(host_value(*this, "to").view, out, dtype); }

void Tensor::copy_item(void* out, DType dtype) const {
    if (size() != 1)
        throw ShapeError(text("item: a tensor of shape ", to_string(shape()), " has ", size(), " elements, not one"));
    convert(host_value(*this, "item").view, out, dtype);
}

const void* Tensor::contiguous_data(DType dtype) const {
    const View v = view_of(*this, "data");
    if (v.dtype != dtype) throw TypeError(text("data: the tensor is ", name(v.dtype), ", not ", name(dtype)));
    if (!v.layout.is_contiguous())
        throw ShapeError(text("data: the elements do not lie row-major: ", to_string(v.layout)));
    return v.data;
}

HostView Tensor::host() const {
    const View v = view_of(*this, "host");
    return {v.data, v.dtype, v.layout.shape, v.layout.strides};
}

}  // namespace tenon
