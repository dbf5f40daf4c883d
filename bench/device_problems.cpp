// What the suites on a GPU hold.

#include "bench/device_suites.h"
#include "bench/problem.h"
#include "cli/text.h"
#include "product/attention/attention.h"
#include "tenon/attention.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/policy.h"
#include "tenon/transform.h"

namespace bench {
namespace {

using tenon::Tensor;
using tenon::Tree;
using Tensors = std::vector<Tensor>;

double size_of(const std::string& dtype) { return dtype == "f32" || dtype == "tf32" ? 4 : dtype == "s8" ? 1 : 2; }

/// The gradients of layer_norm(x + r) with respect to all.
Tensors layer_norm_gradients(const Tensors& x) {
    const Tree at({{"x", x[0]}, {"w", x[1]}, {"b", x[2]}});
    const auto [y, back] = tenon::vjp(
        [](const Tree& t) { return Tree(tenon::layer_norm(t["x"].tensor(), t["w"].tensor(), t["b"].tensor())); }, at);
    return back(Tree(x[3])).leaves();
}

struct LoopOf {
    const char* name;
    std::int64_t rows, columns;
    double reads, writes;  // of all elements
    std::vector<int> operands;  // 2: of all elements, 1: a row, 0: labels
    Tensors (*run)(const Tensors&);
    const char* python;
};

// clang-format off
const LoopOf kLoops[] = {
    {"add", 65536, 4096, 2, 1, {2, 2}, [](const Tensors& x) { return Tensors{x[0] + x[1]}; }, "x[0] + x[1]"},
    {"softmax", 65536, 1024, 1, 1, {2}, [](const Tensors& x) { return Tensors{tenon::softmax(x[0])}; },
     "F.softmax(x[0], -1)"},
    {"softmax", 16384, 4096, 1, 1, {2}, [](const Tensors& x) { return Tensors{tenon::softmax(x[0])}; },
     "F.softmax(x[0], -1)"},
    {"layer_norm-residual", 65536, 1024, 2, 1, {2, 2, 1, 1},
     [](const Tensors& x) { return Tensors{tenon::layer_norm(x[0] + x[1], x[2], x[3])}; },
     "F.layer_norm(x[0] + x[1], x[2].shape, x[2], x[3])"},
    {"layer_norm-residual", 16384, 4096, 2, 1, {2, 2, 1, 1},
     [](const Tensors& x) { return Tensors{tenon::layer_norm(x[0] + x[1], x[2], x[3])}; },
     "F.layer_norm(x[0] + x[1], x[2].shape, x[2], x[3])"},
    {"layer_norm-backward", 65536, 1024, 2, 1, {2, 1, 1, 2}, layer_norm_gradients,
     "gradients(lambda t, w, b: F.layer_norm(t, w.shape, w, b), x[:3], x[3])"},
    {"cross-entropy", 4096, 50000, 1, 0, {2, 0},
     [](const Tensors& x) { return Tensors{tenon::cross_entropy(x[0], x[1])}; }, "F.cross_entropy(x[0], x[1])"},
    {"column-sum", 65536, 4096, 1, 0, {2}, [](const Tensors& x) { return Tensors{tenon::sum(x[0], {0})}; },
     "x[0].sum(0)"},
    {"column-sum", 16384, 1024, 1, 0, {2}, [](const Tensors& x) { return Tensors{tenon::sum(x[0], {0})}; },
     "x[0].sum(0)"},
    {"transpose", 16384, 16384, 1, 1, {2},
     [](const Tensors& x) { return Tensors{tenon::matrix_transpose(x[0]) + 1}; }, "x[0].T.contiguous() + 1"},
};
// clang-format on

DeviceProblem problem_of(const LoopOf& l, const std::string& dtype) {
    const double elements = static_cast<double>(l.rows * l.columns);
    DeviceProblem p{"loop",
                    std::string(l.name) + ' ' + std::to_string(l.rows) + 'x' + std::to_string(l.columns),
                    dtype,
                    0,
                    (l.reads + l.writes) * elements * size_of(dtype),
                    {},
                    l.run,
                    l.python};
    for (const int o : l.operands) {
        p.inputs.push_back(o == 2   ? tenon::Shape{l.rows, l.columns}
                           : o == 1 ? tenon::Shape{l.columns}
                                    : tenon::Shape{l.rows});
        if (o == 0) p.classes = l.columns;
    }
    return p;
}

DeviceProblem product_of(const std::string& suite, const std::string& text, const std::string& dtype) {
    const Shape s = parse_shape(text);
    const double m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k),
                 batch = static_cast<double>(s.batch);
    DeviceProblem p{suite,
                    text,
                    dtype,
                    2 * m * n * k * batch,
                    batch * (m * k + k * n + m * n) * size_of(dtype),
                    {{s.m, s.k}, {s.k, s.n}},
                    [](const Tensors& x) { return Tensors{tenon::matmul(x[0], x[1])}; },
                    "torch.matmul(x[0], x[1])"};
    if (s.batch > 1) p.inputs = {{s.batch, s.m, s.k}, {s.batch, s.k, s.n}};
    if (dtype == "tf32")
        p.run = [](const Tensors& x) {
            const tenon::WithPolicy less_precise({tenon::Precision::tf32});
            return Tensors{tenon::matmul(x[0], x[1])};
        };
    if (dtype != "s8") return p;
    // Weights are stored as (n, k), as PyTorch's library wants them; the result is of int32.
    p.bytes += 3 * m * n * batch;
    p.inputs.back() = s.batch > 1 ? tenon::Shape{s.batch, s.n, s.k} : tenon::Shape{s.n, s.k};
    p.run = [](const Tensors& x) {
        return Tensors{tenon::matmul(astype(x[0], tenon::DType::int32),
                                     tenon::matrix_transpose(astype(x[1], tenon::DType::int32)))};
    };
    p.python = "torch._int_mm(x[0], x[1].mT)";
    return p;
}

/// (batch, length, heads, depth), as both sides have it in memory.
struct AttentionOf {
    std::int64_t batch, length, heads, kv_heads, depth;
    bool causal, gradients;
};
// clang-format off
const AttentionOf kAttentions[] = {
    {16, 1024, 16, 16, 64, false, false}, {16, 1024, 16, 16, 64, false, true},
    {4, 4096, 16, 16, 64, true, false},   {4, 4096, 16, 16, 64, true, true},
    {4, 4096, 16, 16, 128, true, false},  {4, 4096, 16, 16, 128, true, true},
    {4, 4096, 16, 4, 128, true, false},   {4, 4096, 16, 4, 128, true, true},
    {2, 8192, 16, 16, 128, false, false}, {2, 8192, 16, 16, 128, false, true},
    {1, 32768, 16, 16, 128, true, false}, {1, 32768, 16, 16, 128, true, true},
};
// clang-format on

DeviceProblem problem_of(const AttentionOf& a, const std::string& dtype) {
    const double pairs = tenon::product::attention_pairs(a.length, a.length, a.causal, -1, -1),
                 forward = 4 * pairs * static_cast<double>(a.batch * a.heads * a.depth),
                 elements = static_cast<double>(a.batch * a.length * a.depth * 2 * (a.heads + a.kv_heads));
    const tenon::Shape q{a.batch, a.length, a.heads, a.depth}, k{a.batch, a.length, a.kv_heads, a.depth};
    const auto attend = [causal = a.causal](const Tensor& x, const Tensor& y, const Tensor& z) {
        return tenon::dot_product_attention(x, y, z, {.is_causal = causal});
    };
    DeviceProblem p{"attention",
                    std::string(a.causal ? "causal " : "") + std::to_string(a.batch) + 'x' + std::to_string(a.length) +
                        'x' + std::to_string(a.heads) +
                        (a.heads == a.kv_heads ? "" : "/" + std::to_string(a.kv_heads)) + 'x' +
                        std::to_string(a.depth) + (a.gradients ? ", gradients" : ""),
                    dtype,
                    forward * (a.gradients ? 3.5 : 1),
                    elements * size_of(dtype) * (a.gradients ? 3 : 1),
                    {q, k, k},
                    [attend](const Tensors& x) { return Tensors{attend(x[0], x[1], x[2])}; },
                    std::string("attention(x, way, ") + (a.causal ? "True" : "False") + ")"};
    if (!a.gradients) return p;
    p.inputs.push_back(q);
    p.run = [attend](const Tensors& x) {
        const auto [y, back] =
            tenon::vjp([&](const Tree& t) { return Tree(attend(t["q"].tensor(), t["k"].tensor(), t["v"].tensor())); },
                       Tree({{"q", x[0]}, {"k", x[1]}, {"v", x[2]}}));
        Tensors all = back(Tree(x[3])).leaves();
        all.push_back(y.tensor());
        return all;
    };
    p.python = "gradients(lambda q, k, v: " + std::string("attention([q, k, v], way, ") +
               (a.causal ? "True" : "False") + "), x[:3], x[3])";
    return p;
}

constexpr const char* kBatched =
    "4096@64x64x64,16384@32x32x32,65536@32x32x32,16384@64x64x64,4096@128x128x128,4096@64x32x128,8192@48x64x96,2048@"
    "100x50x72";
constexpr const char* kProducts =
    "1024x1024x1024,2048x2048x2048,4096x4096x4096,8192x8192x8192,16384x4096x4096,256x4096x4096,16x4096x4096";

}  // namespace

bool has_device_suite(const std::string& suite) {
    return suite == "loop" || suite == "batched" || suite == "product" || suite == "attention";
}

std::vector<DeviceProblem> device_problems(const std::string& suite, const std::string& shapes,
                                           const std::string& types) {
    const std::string wide = suite == "attention" ? "f16" : "f32";
    std::vector<std::string> asked{"bf16"};
    if (!types.empty())
        asked = cli::split(types, ',');
    else if (suite != "attention")
        asked.insert(asked.begin(), wide);
    for (const std::string& t : asked)
        if (t != wide && t != "bf16" && !((t == "s8" || t == "tf32") && suite == "product"))
            throw tenon::ValueError("bench --device cuda: --dtype " + t + ": " + wide + ", bf16; of product tf32, s8");
    std::vector<DeviceProblem> all;
    if (suite == "attention") {
        if (!shapes.empty()) throw tenon::ValueError("bench attention --device cuda: takes no --shapes");
        for (const AttentionOf& a : kAttentions)
            for (const std::string& dtype : asked) all.push_back(problem_of(a, dtype));
        return all;
    }
    if (suite == "loop") {
        if (!shapes.empty()) throw tenon::ValueError("bench loop: takes no --shapes");
        for (const LoopOf& l : kLoops)
            for (const std::string& dtype : asked) all.push_back(problem_of(l, dtype));
        return all;
    }
    const std::string items = !shapes.empty() ? shapes : suite == "batched" ? kBatched : kProducts;
    for (const std::string& item : cli::split(items, ','))
        for (const std::string& dtype : asked) all.push_back(product_of(suite, item, dtype));
    return all;
}

}  // namespace bench
