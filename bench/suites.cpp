#include "bench/suites.h"

#include <algorithm>

#include "bench/blas.h"
#include "bench/lapack.h"
#include "cli/text.h"
#include "tenon/error.h"

namespace bench {
namespace {

constexpr unsigned bit(Type type) { return 1U << static_cast<unsigned>(type); }

constexpr unsigned kFloats = bit(Type::f32) | bit(Type::f64);
constexpr unsigned kLayers = bit(Type::f32) | bit(Type::bf16) | bit(Type::u8s8);
constexpr unsigned kTall = bit(Type::f32) | bit(Type::bf16) | bit(Type::f64);
constexpr unsigned kAll = kLayers | kFloats;

constexpr Weights kPlain{false, false}, kPacked{true, false}, kPlainWt{false, true}, kPackedWt{true, true};

/// Shapes that are timed in the same types and with the same kinds of weights.
struct Group {
    const char* suite;
    std::vector<Shape> shapes;
    unsigned types;
    std::vector<Weights> weights;
    bool a_transposed = false;
    std::vector<const char*> structures = {}, attentions = {};
    bool routines = false, factorizations = false;
    std::vector<const char*> linears = {};
};

std::vector<Shape> cubes(std::initializer_list<std::int64_t> sizes) {
    std::vector<Shape> shapes;
    for (const std::int64_t n : sizes) shapes.push_back({n, n, n});
    return shapes;
}

/// Matrices and a vector that they are applied to.
std::vector<Shape> squares(std::initializer_list<std::int64_t> sizes) {
    std::vector<Shape> shapes;
    for (const std::int64_t n : sizes) shapes.push_back({n, 1, n});
    return shapes;
}

/// The products of a transformer's layers, and square ones.
std::vector<Shape> linear_shapes(std::initializer_list<std::int64_t> rows) {
    std::vector<Shape> shapes;
    for (const auto& [n, k] :
         {std::pair{3072, 768}, std::pair{768, 3072}, std::pair{1024, 1024}, std::pair{4096, 4096}})
        for (const std::int64_t m : rows) shapes.push_back({m, n, k});
    return shapes;
}

/// Square layers.
std::vector<Shape> layers(std::initializer_list<std::int64_t> rows, std::initializer_list<std::int64_t> widths) {
    std::vector<Shape> shapes;
    for (const std::int64_t width : widths)
        for (const std::int64_t n : rows) shapes.push_back({n, width, width});
    return shapes;
}

const std::vector<Group>& groups() {
    // In this order: layers of networks (tokens x outputs x inputs), products of one token and of few, tall and narrow
    // products, gradients of weights (k = tokens); blocks of structured layers, heads of attention; small sizes as in
    // finite elements and rigid bodies; linear layers with what follows them; whole structured layers, which are pairs
    // of products, also with gradients; attention (heads, queries x keys x depth).
    static const std::vector<Group> all = {
        {"product", cubes({256, 512, 1024, 2048, 4096}), kAll, {kPlain, kPacked}},
        {"product", {{128, 768, 3072}, {512, 768, 768}, {2048, 1024, 4096}}, kAll, {kPlain, kPacked}},
        {"skinny", {{16, 4096, 4096}, {1, 4096, 4096}}, kLayers, {kPlain, kPacked, kPlainWt, kPackedWt}},
        {"skinny", {{8192, 256, 64}, {4096, 64, 4096}}, kTall, {kPlain, kPlainWt}},
        {"skinny", {{64, 64, 60000}}, kTall, {kPlain, kPlainWt}, true},
        {"batched",
         {{32, 32, 32, 512},
          {64, 64, 64, 1024},
          {128, 128, 64, 64},
          {16, 16, 16, 4096},
          {7, 11, 13, 1000},
          {3, 3, 3, 100000}},
         kAll,
         {kPlain}},
        {.suite = "linear",
         .shapes = linear_shapes({1, 16, 128, 512, 2048}),
         .types = kLayers,
         .weights = {kPlain, kPacked},
         .linears = {"gelu"}},
        {.suite = "linear",
         .shapes = {{512, 3072, 768}},
         .types = kLayers,
         .weights = {kPlain, kPacked},
         .linears = {"bias", "relu", "gelu-tanh", "silu"}},
        {"chain", layers({64, 512, 4096}, {1024, 4096}), kTall, {kPlain}, false, {"monarch", "btt-r2", "kronecker"}},
        {"chain", layers({512}, {1152, 11008}), kTall, {kPlain}, false, {"monarch", "kronecker"}},
        {"chain",
         layers({64, 512, 4096}, {1024, 4096}),
         bit(Type::f32),
         {kPlain},
         false,
         {"monarch-backward", "btt-r2-backward", "kronecker-backward", "low-rank-64-backward"}},
        {"attention",
         {{1024, 1024, 64, 12}, {4096, 4096, 64, 12}},
         kTall,
         {kPlain},
         false,
         {},
         {"attention", "causal", "backward", "causal-backward"}},
        {"blas", cubes({128, 256, 512, 1024, 2048, 4096}), kFloats, {kPlain}, false, {}, {}, true},
        {"blas",
         {{1024, 1, 1024}, {2048, 1, 2048}, {4096, 1, 4096}, {1024, 1024, 1}, {2048, 2048, 1}, {4096, 4096, 1}},
         kFloats,
         {kPlain},
         false,
         {},
         {},
         true},
        {"lapack", squares({128, 256, 512, 1024, 2048, 4096}), kFloats, {kPlain}, true, {}, {}, false, true},
        {"small", cubes({2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 16, 23, 24, 32, 48, 64}), kFloats, {kPlain}},
    };
    return all;
}

bool same(const Weights& a, const Weights& b) { return a.packed == b.packed && a.transposed == b.transposed; }

template <class T, class Same>
bool chosen(const std::vector<T>& choice, const T& value, Same equal) {
    return choice.empty() ||
           std::any_of(choice.begin(), choice.end(), [&](const T& each) { return equal(each, value); });
}

void add(std::vector<Problem>& problems, const Group& group, const Selection& selection) {
    const std::string suite = group.suite;
    const auto wanted = [&](const std::string& name) { return chosen(selection.routines, name, std::equal_to<>()); };
    const bool layers = suite == "product" || suite == "skinny" || suite == "linear";
    for (const Shape& shape : selection.shapes.empty() ? group.shapes : selection.shapes)
        for (int t = 0; t < kTypes; ++t)
            for (const Weights& weights : group.weights) {
                const Type type = static_cast<Type>(t);
                if ((group.types & bit(type)) == 0 || !chosen(selection.types, type, std::equal_to<>())) continue;
                if (!chosen(selection.weights, weights, same)) continue;
                Problem problem{suite, type, shape, weights, group.a_transposed, layers, suite == "small", {}, {},
                                {},    {},   {},    {}};
                const bool has_names = !group.structures.empty() || !group.attentions.empty() ||
                                       !group.linears.empty() || group.routines || group.factorizations;
                if (!has_names && selection.routines.empty()) problems.push_back(problem);
                if (group.factorizations)
                    for (const std::string& name : factorization_names()) {
                        if (!factorization_takes(name, shape) || !wanted(name)) continue;
                        problem.factorization = name;
                        problems.push_back(problem);
                    }
                if (group.routines)
                    for (const std::string& name : routine_names()) {
                        if (!routine_takes(name, shape) || !wanted(name)) continue;
                        problem.routine = name;
                        problems.push_back(problem);
                    }
                for (const char* name : group.linears) {
                    if (!wanted(name)) continue;
                    problem.linear = linear_named(name);
                    problems.push_back(problem);
                }
                for (const char* name : group.attentions) {
                    if (!wanted(name)) continue;
                    problem.attention = attention_named(name);
                    problems.push_back(problem);
                }
                for (const char* name : group.structures) {
                    if (!wanted(name)) continue;
                    problem.structure = structure_named(name, shape.n, shape.k);
                    if (problem.backward() && type != Type::f32) continue;
                    problems.push_back(problem);
                }
            }
}

/// Shapes that the user gives are timed in all the suite's types and kinds of weights.
Group widest(const std::string& suite) {
    Group all{suite.c_str(), {}, 0, {}};
    for (const Group& group : groups()) {
        if (group.suite != suite) continue;
        all.types |= group.types;
        if (group.weights.size() > all.weights.size()) all.weights = group.weights;
        const auto join = [](std::vector<const char*>& to, const std::vector<const char*>& from) {
            for (const char* name : from)
                if (std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
        };
        join(all.structures, group.structures), join(all.linears, group.linears);
        if (group.attentions.size() > all.attentions.size()) all.attentions = group.attentions;
        all.routines |= group.routines, all.factorizations |= group.factorizations;
        all.a_transposed |= group.factorizations;
    }
    return all;
}

}  // namespace

std::vector<std::string> suite_names() {
    std::vector<std::string> names;
    for (const Group& group : groups())
        if (std::find(names.begin(), names.end(), group.suite) == names.end()) names.emplace_back(group.suite);
    return names;
}

std::vector<Problem> problems_of(const std::string& suite, const Selection& selection) {
    const std::vector<std::string> names = suite_names();
    if (std::find(names.begin(), names.end(), suite) == names.end())
        throw tenon::ValueError("bench " + suite + ": unknown; there are " + cli::join(names, ", ") +
                                ", loop, train, small-factorizations, three-way");
    std::vector<Problem> problems;
    if (!selection.shapes.empty()) {
        add(problems, widest(suite), selection);
    } else {
        for (const Group& group : groups())
            if (group.suite == suite) add(problems, group, selection);
    }
    if (problems.empty())
        throw tenon::ValueError("bench " + suite + ": has none of these types, weights, routines and shapes");
    return problems;
}

}  // namespace bench
