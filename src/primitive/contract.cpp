// contract: any two-operand einsum, in the order that src/product/contract.h lays down.
#include <algorithm>

#include "base/text.h"
#include "primitive/contract.h"
#include "primitive/pointwise.h"
#include "product/contract.h"
#include "tenon/error.h"
#include "tenon/policy.h"

namespace tenon {
namespace {

// An operand's labels, five bits each, in one attribute.
constexpr int kLabelBits = 5;

std::int64_t packed(std::span<const std::uint8_t> labels) {
    std::int64_t word = 0;
    for (std::size_t i = 0; i < labels.size(); ++i)
        word |= static_cast<std::int64_t>(labels[i]) << (kLabelBits * static_cast<int>(i));
    return word;
}

AxisLabels unpacked(std::int64_t word, int rank) {
    AxisLabels u{{}, static_cast<std::size_t>(rank)};
    for (int i = 0; i < rank; ++i) u.label[i] = static_cast<std::uint8_t>((word >> (kLabelBits * i)) & 31);
    return u;
}

/// The positions of labels among an operand's; -1 for labels that it lacks. (Every call pays for recording.)
struct Places {
    std::int8_t of[1 << kLabelBits];
    bool repeated = false;

    explicit Places(const AxisLabels& l) {
        std::fill(std::begin(of), std::end(of), std::int8_t{-1});
        for (std::size_t i = 0; i < l.rank; ++i) {
            std::int8_t& place = of[l.label[i]];
            repeated = repeated || place >= 0;
            place = static_cast<std::int8_t>(i);
        }
    }
};

Signature infer(const Primitive&, std::span<const Tensor> in, const Attributes& attributes) {
    const Shape &x = in[0].shape(), &y = in[1].shape();
    const AxisLabels a = unpacked(attributes[0], x.rank()), b = unpacked(attributes[1], y.rank());
    const AxisLabels out = unpacked(attributes[2], static_cast<int>(attributes[3]));
    const auto fail = [&](const char* rule) {
        throw ShapeError(text("contract of ", to_string(x), " and ", to_string(y), ": ", rule));
    };
    const DType dtype = in[0].dtype();
    if (dtype != in[1].dtype() || dtype == DType::boolean)
        throw TypeError(
            text("contract of ", described(in[0]), " and ", described(in[1]), ": not defined for these dtypes"));
    const Places in_a(a), in_b(b), in_out(out);
    if (in_a.repeated) fail("a label stands twice in the first operand");
    for (int i = 0; i < x.rank(); ++i) {
        const int j = in_b.of[a.label[i]];
        if (j < 0 && in_out.of[a.label[i]] < 0) fail("a label stands in the first operand alone");
        if (j >= 0 && y[j] != x[i]) fail("the extents of a shared axis differ");
    }
    if (in_b.repeated) fail("a label stands twice in the second operand");
    for (int j = 0; j < y.rank(); ++j)
        if (in_a.of[b.label[j]] < 0 && in_out.of[b.label[j]] < 0) fail("a label stands in the second operand alone");
    if (in_out.repeated) fail("an output label stands twice");
    Shape s;
    for (std::size_t k = 0; k < out.rank; ++k) {
        const int i = in_a.of[out.label[k]], j = in_b.of[out.label[k]];
        if (i < 0 && j < 0) fail("an output label stands in neither operand");
        s.push_back(i >= 0 ? x[i] : y[j]);
    }
    return {s, dtype};
}

template <auto contract_views>
void evaluate(const Node& n, std::span<const View> in, const View& out) {
    const AxisLabels a = unpacked(n.attributes[0], in[0].shape().rank()),
                     b = unpacked(n.attributes[1], in[1].shape().rank());
    const AxisLabels c = unpacked(n.attributes[2], out.shape().rank());
    contract_views(in[0], in[1], out, {a, b, c});
}

void run_with_epilogue(const Node& n, std::span<const View> in, const tape::Tape& tape, std::span<const View> more,
                       const View& out) {
    const AxisLabels a = unpacked(n.attributes[0], in[0].shape().rank()),
                     b = unpacked(n.attributes[1], in[1].shape().rank());
    const AxisLabels c = unpacked(n.attributes[2], out.shape().rank());
    const product::Epilogue epilogue{tape, more};
    product::contract(in[0], in[1], out, {a, b, c}, {}, &epilogue);
}

// The cotangent of one operand is the contraction of the output's with the other operand.
Tensor adjoint(const AdjointContext& c) {
    const Attributes& w = c.node.attributes;
    Policy own = policy();
    own.lowest_precision = allows_tf32(c.node) ? Precision::tf32 : Precision::float32;
    const WithPolicy same(own);
    const AxisLabels a = unpacked(w[0], c.in[0].rank()), b = unpacked(w[1], c.in[1].rank()),
                     out = unpacked(w[2], c.ct.rank());
    return c.operand == 0 ? contract(c.ct, out, c.in[1], b, a) : contract(c.in[0], a, c.ct, out, b);
}

Cost cost(const Node& n) {
    const Node &x = *n.inputs[0], &y = *n.inputs[1];
    const AxisLabels b = unpacked(n.attributes[1], y.shape.rank()), out = unpacked(n.attributes[2], n.shape.rank());
    double macs = static_cast<double>(count(n.shape));
    for (int j = 0; j < y.shape.rank(); ++j)
        if (out.find(b.label[j]) < 0) macs *= static_cast<double>(y.shape[j]);
    const double elements =
        static_cast<double>(count(x.shape)) + static_cast<double>(count(y.shape)) + static_cast<double>(count(n.shape));
    return {2 * macs, elements * static_cast<double>(size_of(n.dtype))};
}

Tensor matrix_sample(std::span<const Tensor> in) {
    const std::uint8_t a[] = {0, 1}, b[] = {2, 1}, out[] = {0, 2};
    return contract(in[0], a, in[1], b, out);
}

Tensor batched_sample(std::span<const Tensor> in) {
    const std::uint8_t a[] = {3, 0, 1, 4}, b[] = {4, 1, 3, 2}, out[] = {2, 3, 0};
    return contract(in[0], a, in[1], b, out);
}

constexpr Primitive kContract{
    .name = "contract",
    .doc = "Any two-operand einsum: a product of tensors summed over shared axes.",
    .role = Role::product,
    .infer = infer,
    .derivative = Derivative::multilinear,
    .linear = 3,
    .adjoint = adjoint,
    .cost = cost,
    .reference = evaluate<[](const View& a, const View& b, const View& out, const product::Labels& labels) {
        product::contract_reference(a, b, out, labels);
    }>,
    .run = evaluate<[](const View& a, const View& b, const View& out, const product::Labels& labels) {
        product::contract(a, b, out, labels);
    }>,
    .run_with_epilogue = run_with_epilogue,
    .samples =
        [] {
            return std::vector{Sample{{{3, 7}, {5, 7}}, -1, 1, matrix_sample},
                               Sample{{{2, 3, 4, 5}, {5, 4, 2, 3}}, -1, 1, batched_sample}};
        },
};
const Register registered(kContract);

}  // namespace

bool is_contract(const Node& n) { return n.primitive == &kContract; }

bool allows_tf32(const Node& n) { return n.attributes[4] != 0; }

ContractLabels contract_labels(const Node& n) {
    return {unpacked(n.attributes[0], n.inputs[0]->shape.rank()), unpacked(n.attributes[1], n.inputs[1]->shape.rank()),
            unpacked(n.attributes[2], n.shape.rank())};
}

Tensor contract(const Tensor& a, std::span<const std::uint8_t> a_labels, const Tensor& b,
                std::span<const std::uint8_t> b_labels, std::span<const std::uint8_t> out_labels) {
    check_operands("contract", a, b);
    if (a_labels.size() != static_cast<std::size_t>(a.rank()) ||
        b_labels.size() != static_cast<std::size_t>(b.rank()) || out_labels.size() > kMaxRank)
        throw ShapeError(
            text("contract of ", to_string(a.shape()), " and ", to_string(b.shape()), ": one label for each axis"));
    for (auto labels : {a_labels, b_labels, out_labels})
        if (std::any_of(labels.begin(), labels.end(), [](auto l) { return l >= 1 << kLabelBits; }))
            throw ShapeError("contract: labels are below 32");
    Tensor in[2] = {a, b};
    const DType t = promoted("contract", a, b);
    for (Tensor& x : in) x = astype(x, t);
    return record(kContract, in,
                  {packed(a_labels), packed(b_labels), packed(out_labels), static_cast<std::int64_t>(out_labels.size()),
                   t == DType::float32 && policy().lowest_precision == Precision::tf32});
}

}  // namespace tenon
