// What the suites on a GPU hold.
#include <algorithm>

#include "bench/device_suites.h"
#include "bench/problem.h"
#include "cli/text.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/transform.h"

namespace bench {
namespace {

using tenon::Tensor;
using tenon::Tree;
using Tensors = std::vector<Tensor>;

double size_of(const std::string& dtype) { return dtype == "f32" ? 4 : 2; }

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
    return p;
}

constexpr const char* kBatched =
    "4096@64x64x64,16384@32x32x32,65536@32x32x32,16384@64x64x64,4096@128x128x128,4096@64x32x128,8192@48x64x96,2048@"
    "100x50x72";
constexpr const char* kProducts =
    "1024x1024x1024,2048x2048x2048,4096x4096x4096,8192x8192x8192,16384x4096x4096,256x4096x4096,16x4096x4096";

}  // namespace

bool has_device_suite(const std::string& suite) { return suite == "loop" || suite == "batched" || suite == "product"; }

std::vector<DeviceProblem> device_problems(const std::string& suite, const std::string& shapes,
                                           const std::string& types) {
    const std::vector<std::string> asked =
        types.empty() ? std::vector<std::string>{"f32", "bf16"} : cli::split(types, ',');
    for (const std::string& t : asked)
        if (t != "f32" && t != "bf16") throw tenon::ValueError("bench --device cuda: --dtype " + t + ": f32, bf16");
    std::vector<DeviceProblem> all;
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
