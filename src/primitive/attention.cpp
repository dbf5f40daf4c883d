// attention: softmax(scale q k^T + bias) v in one pass, in the order that src/product/attention/attention.h lays down.
//
// A node has one result, but attention has two: the output, and what the gradient needs of each row. `attention`
// computes both into one vector. `attention_output` is a view of the output, and has the derivative: its tangent is the
// linear `attention_tangent`, whose transpose is `attention_gradient`, with all three gradients in one vector.
#include "tenon/attention.h"

#include <pthread.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/text.h"
#include "primitive/attention.h"
#include "primitive/attention_terms.h"
#include "primitive/pointwise.h"
#include "product/attention/attention.h"
#include "tenon/error.h"
#include "tenon/policy.h"

namespace tenon {
namespace {

constexpr std::int64_t kCausal = 1, kBias = 2, kMask = 4, kLengths = 8;
/// An option of the gradients: they are interleaved as (batch, length, 3, heads, depth), not one after the other.
constexpr std::int64_t kJoined = 16;
constexpr std::int64_t kAnyOrder = 32;  // SumOrder::any

DType wide_of(DType t) { return t == DType::float64 ? DType::float64 : DType::float32; }

/// The attributes of a node: which operands it has, and its options.
struct Options : AttentionAttributes {
    std::int64_t flags = 0;

    explicit Options(const Attributes& a)
        : AttentionAttributes{std::bit_cast<double>(a[1]), (a[0] & kCausal) != 0, a[2], a[3]}, flags(a[0]) {}
};

/// The operands q, k, v, [bias], [mask], [lengths], which are the last ones of each of these nodes.
template <class T>
struct Operands {
    T q, k, v, bias, mask, lengths;

    Operands(const Options& o, std::span<const T> in) {
        std::size_t i = 3;
        q = in[0], k = in[1], v = in[2];
        if (o.flags & kBias) bias = in[i++];
        if (o.flags & kMask) mask = in[i++];
        if (o.flags & kLengths) lengths = in[i++];
    }
};

// --- one vector of several parts, each on a cache line ---

std::int64_t padded(std::int64_t bytes, DType t) {
    return (bytes + 63) / 64 * 64 / static_cast<std::int64_t>(size_of(t));
}

Shape output_shape(const Shape& q, const Shape& v) { return {q[0], q[1], q[2], v[3]}; }

/// How many elements of the vector hold what is kept of the rows.
std::int64_t kept_size(const Shape& q, DType t) {
    return padded(q[0] * q[1] * q[2] * static_cast<std::int64_t>(size_of(wide_of(t))), t);
}

/// The offsets at which the gradients begin, and the end of the last.
std::array<std::int64_t, 4> gradient_parts(const Shape& q, const Shape& k, const Shape& v, DType t) {
    std::array<std::int64_t, 4> at{};
    std::size_t i = 0;
    for (const Shape* s : {&q, &k, &v}) {
        at[i + 1] = at[i] + padded(count(*s) * static_cast<std::int64_t>(size_of(t)), t);
        ++i;
    }
    return at;
}

View part_of(const View& vector, std::int64_t begin, const Shape& shape) {
    Layout l = Layout::contiguous(shape);
    l.offset = begin;
    return with_layout(vector, l);
}

void clear(const View& vector, std::int64_t begin, std::int64_t end) {
    const auto size = static_cast<std::int64_t>(size_of(vector.dtype));
    std::memset(static_cast<std::byte*>(vector.data) + begin * size, 0, static_cast<std::size_t>((end - begin) * size));
}
void clear(const View& vector) { clear(vector, 0, vector.layout.count()); }

bool is_joined(const Node& gradients) { return (gradients.attributes[0] & kJoined) != 0; }
Shape joined_shape(const Shape& q, std::int64_t parts) { return {q[0], q[1], parts, q[2], q[3]}; }

}  // namespace

product::Attention attention_of(const Node& n, std::span<const View> in, std::size_t begin) {
    const Options o(n.attributes);
    const Operands<View> x(o, in.subspan(begin));
    product::Attention a;
    a.q = x.q, a.k = x.k, a.v = x.v, a.lengths = x.lengths;
    a.scale = o.scale, a.causal = o.is_causal, a.left = o.left, a.right = o.right;
    a.any_order = (o.flags & kAnyOrder) != 0;
    const Shape all{a.batch(), a.heads(), a.queries(), a.keys()};
    const auto repeated = [&](const View& v) { return with_layout(v, v.layout.broadcast(all)); };
    if (o.flags & kBias) a.bias = repeated(x.bias);
    if (o.flags & kMask) a.mask = repeated(x.mask);
    return a;
}

AttentionVector attention_vector(const product::Attention& a, const View& vector) {
    const std::int64_t begin = kept_size(a.q.shape(), a.q.dtype);
    return {part_of(vector, 0, {begin}), part_of(vector, begin, output_shape(a.q.shape(), a.v.shape()))};
}

product::AttentionGradients attention_gradients(const Node& n, const product::Attention& a, const View& vector) {
    const Shape &q = a.q.shape(), &k = a.k.shape(), &v = a.v.shape();
    if (is_joined(n)) {
        const auto part = [&](std::int64_t i) {
            const std::int64_t row = q[2] * q[3];
            Layout l = Layout::contiguous(q);
            l.offset = i * row, l.strides[1] = 3 * row, l.strides[0] = 3 * row * q[1];
            return with_layout(vector, l);
        };
        return {part(0), part(1), part(2)};
    }
    const auto at = gradient_parts(q, k, v, a.q.dtype);
    return {part_of(vector, at[0], q), part_of(vector, at[1], k), part_of(vector, at[2], v)};
}

product::AttentionTangents attention_tangents(const product::Attention& a, const Node& n, std::span<const View> in) {
    product::AttentionTangents d{in[0], in[1], in[2], {}};
    if (Options(n.attributes).flags & kBias)
        d.dbias = with_layout(in[3], in[3].layout.broadcast({a.batch(), a.heads(), a.queries(), a.keys()}));
    return d;
}

namespace {

// --- attention ---

Signature infer_attention(const Primitive&, std::span<const Tensor> in, const Attributes&) {
    const Shape &q = in[0].shape(), &v = in[2].shape();
    return {{kept_size(q, in[0].dtype()) + count(output_shape(q, v))}, in[0].dtype()};
}

template <auto attend>
void evaluate(const Node& n, std::span<const View> in, const View& out) {
    const product::Attention a = attention_of(n, in, 0);
    const AttentionVector parts = attention_vector(a, out);
    // The gaps between the parts belong to the value, so they are cleared.
    if (parts.kept.layout.count() > 0) clear(parts.kept);
    attend(a, parts.out, out.data);
}

Cost attention_cost(const Options& o, const Node& q, const Node& k, const Node& v, double factor) {
    const double pairs = product::attention_pairs(q.shape[1], k.shape[1], o.is_causal, o.left, o.right) *
                         static_cast<double>(q.shape[0] * q.shape[2]);
    const double elements = static_cast<double>(2 * count(q.shape) + count(k.shape) + count(v.shape));
    return {factor * 2 * pairs * static_cast<double>(q.shape[3] + v.shape[3]),
            factor * elements * static_cast<double>(size_of(q.dtype))};
}

Tensor plain_sample(std::span<const Tensor> in) { return dot_product_attention(in[0], in[1], in[2]); }
Tensor causal_sample(std::span<const Tensor> in) {
    return dot_product_attention(in[0], in[1], in[2], {.is_causal = true});
}
Tensor window_sample(std::span<const Tensor> in) {
    const Tensor lengths = Tensor::from<std::int64_t>({4, 2});
    return dot_product_attention(in[0], in[1], in[2],
                                 {.bias = in[3],
                                  .scale = 0.7,
                                  .key_value_seq_lengths = lengths,
                                  .local_window_size = std::pair<std::int64_t, std::int64_t>{2, 1}});
}
Tensor mask_sample(std::span<const Tensor> in) {
    const Tensor mask = less(reshape(iota(4, DType::int64), {1, 4}), reshape(iota(3, DType::int64), {3, 1}));
    return dot_product_attention(in[0], in[1], in[2], {.mask = mask});
}
std::vector<Sample> samples() {
    return {Sample{{{2, 3, 4, 5}, {2, 4, 2, 5}, {2, 4, 2, 3}}, -2, 2, plain_sample},
            Sample{{{1, 6, 2, 4}, {1, 5, 1, 4}, {1, 5, 1, 4}}, -2, 2, causal_sample},
            Sample{{{2, 5, 2, 3}, {2, 5, 2, 3}, {2, 5, 2, 3}, {2, 1, 5}}, -2, 2, window_sample},
            Sample{{{1, 3, 2, 4}, {1, 4, 1, 4}, {1, 4, 1, 4}}, -2, 2, mask_sample}};
}

constexpr Primitive kAttention{
    .name = "attention",
    .doc = "Attention's output, and the logarithm of each row's sum, in one vector.",
    .infer = infer_attention,
    .derivative = Derivative::none,
    .cost =
        [](const Node& n) {
            return attention_cost(Options(n.attributes), *n.inputs[0], *n.inputs[1], *n.inputs[2], 1);
        },
    .reference = evaluate<product::attend_reference>,
    .run = evaluate<product::attend>,
    .samples = samples,
};
const Register registered(kAttention);

// --- its gradient ---

// Operands: saved, ct, then the operands of attention.
void evaluate_gradient(const Node& n, std::span<const View> in, const View& out,
                       void (*gradient)(const product::Attention&, const View&, const void*, const View&,
                                        const product::AttentionGradients&)) {
    const product::Attention a = attention_of(n, in, 2);
    if (product::attention_declines(a)) {
        clear(out);
    } else if (!is_joined(n)) {
        // The gaps between the parts belong to the value, so they are cleared.
        const View* const parts[] = {&a.q, &a.k, &a.v};
        const auto at = gradient_parts(a.q.shape(), a.k.shape(), a.v.shape(), out.dtype);
        for (std::size_t i = 0; i < 3; ++i) clear(out, at[i] + parts[i]->layout.count(), at[i + 1]);
    }
    gradient(a, attention_vector(a, in[0]).out, in[0].data, in[1], attention_gradients(n, a, out));
}

AttentionOperands widened(const Options& o, std::span<const Tensor> in) {
    const Operands<Tensor> x(o, in);
    const auto wide = [](const Tensor& t) { return t.defined() ? astype(t, wide_of(t.dtype())) : t; };
    return {wide(x.q), wide(x.k), wide(x.v), x.bias};
}

AttentionTerms terms_of(const Options& o, std::span<const Tensor> in) {
    const Operands<Tensor> x(o, in);
    return {o, widened(o, in), x.mask, x.lengths};
}

Tensor gradient_tangent(const TangentContext& c) {
    const Options o(c.node.attributes);
    const auto wide = [](const Tensor& t) { return t.defined() ? astype(t, wide_of(t.dtype())) : t; };
    // What was saved is a function of the other operands, so its tangent is included in theirs.
    const AttentionOperands d =
        terms_of(o, c.in.subspan(2)).gradient_tangent(wide(c.in[1]), widened(o, c.d.subspan(2)), wide(c.d[1]));
    const DType t = c.node.dtype;
    const Shape &q = c.in[2].shape(), &k = c.in[3].shape(), &v = c.in[4].shape();
    if (is_joined(c.node)) {
        std::vector<Tensor> parts;
        for (const Tensor* x : {&d.q, &d.k, &d.v})
            parts.push_back(x->defined() ? reshape(astype(*x, t), joined_shape(q, 1))
                                         : zeros_of(joined_shape(q, 1), t));
        return reshape(concat(parts, 2), {3 * count(q)});
    }
    const auto at = gradient_parts(q, k, v, t);
    std::vector<Tensor> parts;
    std::size_t i = 0;
    for (const auto& [x, shape] : {std::pair{&d.q, &q}, std::pair{&d.k, &k}, std::pair{&d.v, &v}}) {
        const std::int64_t n = count(*shape);
        parts.push_back(x->defined() ? reshape(astype(*x, t), {n}) : zeros_of({n}, t));
        parts.push_back(zeros_of({at[i + 1] - at[i] - n}, t));
        ++i;
    }
    return concat(parts, 0);
}

constexpr Primitive kGradient{
    .name = "attention_gradient",
    .doc = "The cotangents of attention's query, key and value, in one vector.",
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes& a) {
            if (a[0] & kJoined) return Signature{{3 * count(in[2].shape())}, in[2].dtype()};
            const auto at = gradient_parts(in[2].shape(), in[3].shape(), in[4].shape(), in[2].dtype());
            return Signature{{at[3]}, in[2].dtype()};
        },
    .derivative = Derivative::rule,
    .tangent = gradient_tangent,
    .cost =
        [](const Node& n) {
            return attention_cost(Options(n.attributes), *n.inputs[2], *n.inputs[3], *n.inputs[4], 2.5);
        },
    .reference = [](const Node& n, std::span<const View> in,
                    const View& out) { evaluate_gradient(n, in, out, product::attention_gradient_reference); },
    .run = [](const Node& n, std::span<const View> in,
              const View& out) { evaluate_gradient(n, in, out, product::attention_gradient); },
    .refuses_nothing = true,  // the lengths were checked by the attention whose rows it reads
    .samples =
        [] {
            // The gradient of the sum of squares of attention's output.
            const auto sum_of_gradients = [](std::span<const Tensor> in) {
                return dot_product_attention(in[0], in[1], in[2], {.is_causal = true}) * in[3];
            };
            return std::vector{
                Sample{{{1, 5, 2, 4}, {1, 5, 1, 4}, {1, 5, 1, 3}, {1, 5, 2, 3}}, -2, 2, sum_of_gradients}};
        },
};
const Register registered_gradient(kGradient);

// --- its tangent map ---

// Operands: dq, dk, dv, dbias (a scalar if there is no bias), saved, then the operands of attention. The three
// gradients are one node, which is remembered together with its cotangent.
struct Pulled {
    Tensor ct, saved, gradients;
};
struct Memory {
    mutable std::shared_ptr<const Pulled> last;
};
std::mutex mutex;  // guards every Memory; a child must not find it held
const int at_fork = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

/// The tensor of which x is a reshaped slice; null if it is not one.
const Node* sliced(const Node* n) {
    const auto is = [&](std::string_view name) { return n->primitive->name == name && n->inputs.size() == 1; };
    while (is("reshape")) n = n->inputs[0];
    return is("slice") ? n->inputs[0] : nullptr;
}
/// Whether queries, keys and values are parts of one tensor on a CPU. Gradients laid out like them need no
/// concatenation.
bool may_join(const Tensor& q, const Tensor& k, const Tensor& v) {
    const Node* const all = sliced(q.node());
    return all && q.node()->place() == Device::cpu() && q.shape() == k.shape() && q.shape() == v.shape() &&
           sliced(k.node()) == all && sliced(v.node()) == all;
}

Tensor gradients_of(const AdjointContext& c) {
    const auto& memory = *static_cast<const Memory*>(c.node.payload.get());
    {
        const std::lock_guard lock(mutex);
        if (memory.last && memory.last->ct.node() == c.ct.node() && memory.last->saved.node() == c.in[4].node())
            return memory.last->gradients;
    }
    std::vector<Tensor> in{c.in[4], c.ct};
    in.insert(in.end(), c.in.begin() + 5, c.in.end());
    Attributes attributes = c.node.attributes;
    if (may_join(c.in[5], c.in[6], c.in[7])) attributes[0] |= kJoined;
    auto pulled = std::make_shared<const Pulled>(Pulled{c.ct, c.in[4], record(kGradient, in, attributes)});
    const Tensor gradients = pulled->gradients;
    const std::lock_guard lock(mutex);
    memory.last.swap(pulled);
    return gradients;
}

Tensor tangent_adjoint(const AdjointContext& c) {
    const Options o(c.node.attributes);
    if (c.operand == 3) {
        const auto terms = terms_of(o, c.in.subspan(5));
        return terms.bias_gradient(astype(c.ct, wide_of(c.ct.dtype())));
    }
    const Shape &q = c.in[5].shape(), &k = c.in[6].shape(), &v = c.in[7].shape();
    const Shape& own = c.operand == 0 ? q : c.operand == 1 ? k : v;
    const Tensor gradients = gradients_of(c);
    if (is_joined(*gradients.node())) {
        const std::int64_t i = c.operand;
        const Tensor all = reshape(gradients, joined_shape(q, 3));
        return reshape(slice(all, {0, 0, i, 0, 0}, {q[0], q[1], i + 1, q[2], q[3]}, {1, 1, 1, 1, 1}), own);
    }
    const std::int64_t begin = gradient_parts(q, k, v, c.in[5].dtype())[static_cast<std::size_t>(c.operand)];
    return reshape(slice(gradients, {begin}, {begin + count(own)}, {1}), own);
}

extern const Primitive kTangent;

Tensor record_tangent(std::span<const Tensor> in, const Attributes& attributes) {
    Tensor t = record(kTangent, in, attributes);
    t.node()->payload = std::make_shared<Memory>();
    return t;
}

Tensor tangent_of_tangent(const TangentContext& c) {
    const Options o(c.node.attributes);
    Tensor sum;
    std::vector<Tensor> in(c.in.begin(), c.in.end());
    bool linear = false;
    for (std::size_t i = 0; i < 4; ++i) {
        linear = linear || c.d[i].defined();
        in[i] = c.d[i].defined() ? c.d[i] : zeros_of(in[i].shape(), in[i].dtype());
    }
    if (linear) sum = record_tangent(in, c.node.attributes);
    const AttentionOperands second = widened(o, c.d.subspan(5));
    if (!second.q.defined() && !second.k.defined() && !second.v.defined() && !second.bias.defined()) return sum;
    const auto wide = [](const Tensor& t) { return astype(t, wide_of(t.dtype())); };
    const AttentionOperands first{wide(c.in[0]), wide(c.in[1]), wide(c.in[2]), o.flags & kBias ? c.in[3] : Tensor()};
    return sum_of(sum, astype(terms_of(o, c.in.subspan(5)).second_tangent(first, second), c.node.dtype));
}

const Primitive kTangent{
    .name = "attention_tangent",
    .doc = "The derivative of attention's output along its operands' tangents.",
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            return Signature{output_shape(in[5].shape(), in[7].shape()), in[5].dtype()};
        },
    .derivative = Derivative::rule,
    .linear = 15,
    .tangent = tangent_of_tangent,
    .adjoint = tangent_adjoint,
    .cost =
        [](const Node& n) {
            return attention_cost(Options(n.attributes), *n.inputs[5], *n.inputs[6], *n.inputs[7], 3);
        },
    .reference =
        [](const Node& n, std::span<const View> in, const View& out) {
            const product::Attention a = attention_of(n, in, 5);
            product::attention_tangent(a, in[4].data, attention_tangents(a, n, in), out);
        },
    .refuses_nothing = true,
    .samples = samples,
};
const Register registered_tangent(kTangent);

// --- the output ---

// Operands: saved, then the operands of attention.
Tensor output_tangent(const TangentContext& c) {
    const Options o(c.node.attributes);
    std::vector<Tensor> in;
    const auto d = [&](std::size_t i) {
        return c.d[i].defined() ? c.d[i] : zeros_of(c.in[i].shape(), c.in[i].dtype());
    };
    for (std::size_t i = 1; i < 4; ++i) in.push_back(d(i));
    in.push_back(o.flags & kBias ? d(4) : zeros_of({}, wide_of(c.node.dtype)));
    in.insert(in.end(), c.in.begin(), c.in.end());
    return record_tangent(in, c.node.attributes);
}

constexpr Primitive kOutput{
    .name = "attention_output",
    .doc = "softmax(scale query key^T + bias) value, over the keys that take part.",
    .role = Role::view,
    .infer =
        [](const Primitive&, std::span<const Tensor> in, const Attributes&) {
            return Signature{output_shape(in[1].shape(), in[3].shape()), in[1].dtype()};
        },
    .derivative = Derivative::rule,
    .tangent = output_tangent,
    .view =
        [](const Node& n, const Layout& in, Layout& out) {
            if (!in.is_contiguous()) return false;
            out = Layout::contiguous(n.shape);
            out.offset = in.offset + in.shape[0] - count(n.shape);
            return true;
        },
    .reference =
        [](const Node&, std::span<const View> in, const View& out) {
            const std::int64_t n = out.layout.count(), size = static_cast<std::int64_t>(size_of(out.dtype));
            std::memcpy(out.data, static_cast<const std::byte*>(in[0].data) + (in[0].shape()[0] - n) * size,
                        static_cast<std::size_t>(n * size));
        },
    .samples = samples,
};
const Register registered_output(kOutput);

// --- the function ---

constexpr const char* kName = "dot_product_attention";

void check_broadcasts(const char* what, const Tensor& x, const Shape& all) {
    bool fits = x.rank() <= all.rank();
    for (int i = 0; fits && i < x.rank(); ++i) {
        const std::int64_t n = x.shape()[i], to = all[all.rank() - x.rank() + i];
        fits = n == 1 || n == to;
    }
    if (!fits)
        throw ShapeError(text(kName, ": ", what, " ", to_string(x.shape()), " does not broadcast to ", to_string(all),
                              ", (batch, heads, queries, keys)"));
}

void check_shapes(const Tensor& q, const Tensor& k, const Tensor& v) {
    const auto fail = [&](const char* rule) {
        throw ShapeError(text(kName, " of ", to_string(q.shape()), ", ", to_string(k.shape()), " and ",
                              to_string(v.shape()), ": ", rule));
    };
    if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4)
        fail("query, key and value have axes (batch, length, heads, depth)");
    const Shape &a = q.shape(), &b = k.shape(), &c = v.shape();
    if (a[0] != b[0] || a[0] != c[0]) fail("the batches differ");
    if (b[1] != c[1]) fail("key and value have different lengths");
    if (b[2] != c[2]) fail("key and value have different numbers of heads");
    if (a[3] != b[3]) fail("query and key have different depths");
    if (b[2] == 0 ? a[2] != 0 : a[2] % b[2] != 0) fail("the query's heads are not a multiple of the key's");
    if (a[3] > product::kMaxHeadDepth) fail("the depth is above 6144");
}

}  // namespace

Tensor dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                             const AttentionOptions& options) {
    check_operands(kName, query, key);
    check_operands(kName, query, value);
    check_shapes(query, key, value);
    const DType given = promote(promoted(kName, query, key), value.dtype());
    if (!is_floating(given)) throw TypeError(text(kName, " of ", name(given), ": defined for floating dtypes"));
    // The host has no kernels of float16.
    const bool widens = given == DType::float16 && query.node()->place() == Device::cpu();
    const DType t = widens ? DType::float32 : given;
    const Shape all{query.shape()[0], query.shape()[2], query.shape()[1], key.shape()[1]};

    std::vector<Tensor> in{astype(query, t), astype(key, t), astype(value, t)};
    std::int64_t flags = options.is_causal ? kCausal : 0;
    if (policy().sum_order == SumOrder::any) flags |= kAnyOrder;
    if (options.bias) {
        check_operands(kName, query, *options.bias);
        check_broadcasts("bias", *options.bias, all);
        in.push_back(astype(*options.bias, wide_of(t)));
        flags |= kBias;
    }
    if (options.mask) {
        check_operands(kName, query, *options.mask);
        check_broadcasts("mask", *options.mask, all);
        if (options.mask->dtype() != DType::boolean)
            throw TypeError(text(kName, ": mask is ", name(options.mask->dtype()), ", not bool; bias is added"));
        in.push_back(*options.mask);
        flags |= kMask;
    }
    if (options.key_value_seq_lengths) {
        const Tensor& lengths = *options.key_value_seq_lengths;
        check_operands(kName, query, lengths);
        if (lengths.shape() != Shape{all[0]})
            throw ShapeError(text(kName, ": key_value_seq_lengths ", to_string(lengths.shape()), " is not (", all[0],
                                  ",), the batch"));
        if (!is_integer(lengths.dtype()))
            throw TypeError(text(kName, ": key_value_seq_lengths are integers, not ", name(lengths.dtype())));
        in.push_back(astype(lengths, DType::int64));
        flags |= kLengths;
    }
    const auto window = options.local_window_size;
    if (window && (window->first < 0 || window->second < 0))
        throw ValueError(text(kName, ": local_window_size (", window->first, ", ", window->second, ") is negative"));
    const std::int64_t depth = query.shape()[3];
    const double scale = options.scale.value_or(depth == 0 ? 1 : 1 / std::sqrt(static_cast<double>(depth)));
    const Attributes attributes{flags, std::bit_cast<std::int64_t>(scale), window ? window->first : -1,
                                window ? window->second : -1};

    const void* site = __builtin_return_address(0);
    const Tensor saved = record(kAttention, in, attributes, site);
    in.insert(in.begin(), saved);
    return astype(record(kOutput, in, attributes, site), given);
}

}  // namespace tenon
