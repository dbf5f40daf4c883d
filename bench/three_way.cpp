#include "bench/three_way.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>

#include "bench/rows.h"
#include "cli/page.h"
#include "cli/table.h"
#include "cli/text.h"
#include "schedule/naive.h"
#include "tenon/device.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/map.h"
#include "tenon/version.h"

namespace bench {
namespace {

using tenon::DType;
using tenon::Tensor;

constexpr const char *kNaive = "gpu naive", *kFused = "gpu fused", *kCpu = "cpu ";
const tenon::Device kGpu = tenon::Device::cuda(0);

// --- a GPU's ways ---

/// Elements of a buffer of the host's, on the device.
Tensor on_gpu(const void* data, DType dtype, const tenon::Shape& shape) {
    const Tensor here = Tensor::wrap(const_cast<void*>(data), dtype, tenon::Layout::contiguous(shape), [] {});
    return tenon::to_device(here, kGpu).eval();
}

/// A problem's operands and its result as tensors.
struct OnGpu {
    Tensor x, w, a, b;  // a product's operands, or a layer's input and cores
    Tensor y;  // (batch, m, n), or (rows, outputs)
};

/// Calls f(operands), which gives y, and waits for all.
Prepared prepared(const Problem& problem, const Operands& operands, OnGpu first,
                  std::function<Tensor(const OnGpu&)> f) {
    auto o = std::make_shared<OnGpu>(std::move(first));
    void* const c = operands.c.data();
    const std::int64_t bytes = problem.c_elements() * static_cast<std::int64_t>(sizeof(float));
    return {[o, f = std::move(f)](std::int64_t calls) {
                for (std::int64_t i = 0; i < calls; ++i) o->y = f(*o);
                tenon::synchronize(kGpu);
            },
            [o, c, bytes] {
                const std::vector<float> y = o->y.to<float>();
                std::memcpy(c, y.data(), static_cast<std::size_t>(bytes));
            }};
}

Prepared of_product(const Problem& problem, const Operands& operands, bool fused) {
    const auto& [m, n, k, batch] = problem.shape;
    const TypeTraits& t = traits(problem.type);
    OnGpu o;
    o.x = on_gpu(operands.a.data(), t.a, {batch, m, k}), o.w = on_gpu(operands.b.data(), t.b, {batch, k, n});
    if (fused) return prepared(problem, operands, o, [](const OnGpu& at) { return tenon::matmul(at.x, at.w).eval(); });
    return prepared(problem, operands, o, [](const OnGpu& at) {
        return tenon::schedule::contract_naively(at.x, {0, 1, 3}, at.w, {0, 3, 2}, {0, 1, 2});
    });
}

enum : std::uint8_t { kRow, kAlpha, kGamma, kEpsilon, kPhi, kRho };

/// A block tensor train with a kernel for each step: two products, and what is between and behind them put in order.
Tensor layer_naively(const OnGpu& o) {
    using tenon::schedule::contract_naively, tenon::schedule::copy_naively;
    const Tensor z =
        contract_naively(o.x, {kRow, kGamma, kAlpha}, o.a, {kPhi, kRho, kGamma, kAlpha}, {kGamma, kRow, kPhi, kRho});
    const Tensor ordered = copy_naively(tenon::transpose(z, {2, 1, 3, 0}));  // phi, row, rho, gamma
    const Tensor y = contract_naively(ordered, {kPhi, kRow, kRho, kGamma}, o.b, {kPhi, kEpsilon, kRho, kGamma},
                                      {kPhi, kRow, kEpsilon});
    return copy_naively(tenon::transpose(y, {1, 0, 2}));
}

Prepared of_layer(const Problem& problem, const Operands& operands, bool fused) {
    const Structure& s = *problem.structure;
    const TypeTraits& t = traits(problem.type);
    const std::int64_t rows = problem.shape.m;
    const auto* weights = operands.b_as<std::byte>();
    const void* second = weights + s.a_elements() * static_cast<std::int64_t>(tenon::size_of(t.b));
    OnGpu o;
    if (!fused) {
        o.x = on_gpu(operands.a.data(), t.a, {rows, s.gamma, s.alpha});
        o.a = on_gpu(weights, t.b, {s.phi, s.rho, s.gamma, s.alpha});
        o.b = on_gpu(second, t.b, {s.phi, s.epsilon, s.rho, s.gamma});
        return prepared(problem, operands, o, layer_naively);
    }
    const tenon::LinearMap like =
        tenon::map::BlockTensorTrain::random(tenon::random::Key(1), problem.shape.n, problem.shape.k, {.rank = s.rho});
    const std::vector<Tensor> cores = like.parameters().leaves();
    const tenon::Shape a{s.phi, s.delta, s.rho, s.gamma, s.alpha}, b{s.phi, s.epsilon, s.rho, s.gamma, s.beta};
    if (cores.size() != 2 || cores[0].shape() != a || cores[1].shape() != b)
        throw Unsupported("the layer has other blocks");
    o.x = on_gpu(operands.a.data(), t.a, {rows, problem.shape.k});
    const std::vector<Tensor> own{on_gpu(weights, t.b, a), on_gpu(second, t.b, b)};
    const tenon::LinearMap map = like.with_parameters(like.parameters().with_leaves(own));
    return prepared(problem, operands, o, [map](const OnGpu& at) { return map(at.x).eval(); });
}

Peer of_gpu(const char* name, bool fused) {
    return {name,
            TENON_VERSION,
            [](const Problem&) { return std::string(); },
            [fused](const Problem& p, const Operands& o) {
                return p.structure ? of_layer(p, o, fused) : of_product(p, o, fused);
            },
            [](int) {},
            {},
            true};
}

// --- tables ---

const Row* row_of(const std::vector<Row>& rows, const std::function<bool(const std::string&)>& is) {
    for (const Row& row : rows)
        if (is(row.library)) return &row;
    return nullptr;
}

/// The three times of a problem; null where a way has none.
struct Three {
    const Row *cpu, *naive, *fused;
    explicit Three(const std::vector<Row>& rows)
        : cpu(row_of(rows, [](const std::string& name) { return name.starts_with(kCpu); })),
          naive(row_of(rows, [](const std::string& name) { return name == kNaive; })),
          fused(row_of(rows, [](const std::string& name) { return name == kFused; })) {}
};

std::string time_of(const Row* row) { return !row ? "-" : row->error.empty() ? time_text(row->seconds) : "not timed"; }

/// How many times as fast the fused way is.
std::string ratio(const Row* slow, const Row* fused) {
    if (!slow || !fused || !slow->error.empty() || !fused->error.empty()) return "-";
    return cli::fixed(slow->seconds / fused->seconds, 1);
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"problem", 26, true}, {"dtype", 5, true}, {"CPU BLAS", 10},
                                                 {"naive GPU", 10},     {"fused GPU", 10},  {"CPU to fused", 12},
                                                 {"naive to fused", 14}};
    return all;
}

std::vector<std::string> cells(const std::vector<Row>& rows) {
    const Three t(rows);
    const Problem& p = rows.front().problem;
    return {p.name(),         traits(p.type).name,   time_of(t.cpu),         time_of(t.naive),
            time_of(t.fused), ratio(t.cpu, t.fused), ratio(t.naive, t.fused)};
}

bool is_square(std::int64_t n) {
    const auto root = std::llround(std::sqrt(static_cast<double>(n)));
    return root > 1 && root * root == n;
}

}  // namespace

std::vector<Problem> three_way_problems(const Selection& selection) {
    const std::vector<Shape> usual = {{512, 768, 3072}, {4096, 4096, 4096}, {16384, 1024, 1024}, {16384, 4096, 4096}};
    const auto wants = [&](Type type) {
        return selection.types.empty() ||
               std::find(selection.types.begin(), selection.types.end(), type) != selection.types.end();
    };
    std::vector<Problem> problems;
    for (const Shape& shape : selection.shapes.empty() ? usual : selection.shapes) {
        Problem p;
        p.suite = kThreeWaySuite, p.shape = shape;
        if (wants(Type::f32)) problems.push_back(p);
        if (shape.batch != 1 || !is_square(shape.n) || !is_square(shape.k)) continue;
        for (const Type type : {Type::f32, Type::bf16})
            for (const char* structure : {"btt-r1", "btt-r2"}) {
                if (!wants(type)) continue;
                p.type = type, p.structure = structure_named(structure, shape.n, shape.k);
                problems.push_back(p);
            }
    }
    if (problems.empty()) throw tenon::ValueError("bench three-way: has none of these types and shapes");
    return problems;
}

std::vector<Peer> three_ways(const std::vector<Peer>& libraries) {
    if (tenon::cuda_device_count() == 0) throw tenon::ValueError("bench three-way: " + tenon::cuda_absent());
    const Peer products = libraries.empty() ? tenon_peer() : libraries.front();
    // A layer as products one after the other: of the library, or of Tenon.
    const std::vector<Peer> layers = layer_peers(libraries.empty() ? std::vector<Peer>{} : std::vector<Peer>{products});
    const Peer layer = libraries.empty() ? layers.at(1) : layers.at(2);
    const Peer cpu{
        kCpu + products.name, products.version,
        [=](const Problem& p) { return p.structure ? layer.supports(p) : products.supports(p); },
        [=](const Problem& p, const Operands& o) { return p.structure ? layer.prepare(p, o) : products.prepare(p, o); },
        products.set_threads};
    return {cpu, of_gpu(kNaive, false), of_gpu(kFused, true)};
}

std::string three_way_header(const std::vector<Peer>& ways) {
    return "CPU: " + ways.front().name.substr(std::strlen(kCpu)) + ' ' + ways.front().version +
           "; GPU: " + tenon::device_properties(kGpu).name + "\n\n" + cli::header(columns());
}

std::string three_way_line(const std::vector<Row>& rows) {
    std::string line = cli::row(columns(), cells(rows)) + '\n';
    for (const Row& row : rows)
        if (!row.error.empty()) line += "  " + row.library + ": " + row.error + '\n';
    return line;
}

std::string three_way_html(const Results& results) {
    std::string body =
        "<p class='quiet'>Medians of samples taken in turn. CPU BLAS: a library's products, for a layer one after the "
        "other with what is between put in order; naive GPU: a kernel of a thread an element for each step; fused GPU: "
        "Tenon's graph. Ratios say how many times as fast the last one is.</p>\n<table><thead><tr>";
    for (const cli::Column& column : columns()) body += "<th>" + cli::escape_html(column.title) + "</th>";
    body += "</tr></thead><tbody>\n";
    for (auto at = results.rows.begin(); at != results.rows.end();) {
        const auto same = [&](const Row& row) {
            return row.problem.name() == at->problem.name() && row.problem.type == at->problem.type &&
                   row.threads == at->threads;
        };
        const auto end = std::find_if_not(at, results.rows.end(), same);
        body += "<tr>";
        for (const std::string& cell : cells({at, end})) body += "<td>" + cli::escape_html(cell) + "</td>";
        body += "</tr>\n";
        at = end;
    }
    body += "</tbody></table>\n";
    return cli::page("Three ways", body + about(results));
}

}  // namespace bench
