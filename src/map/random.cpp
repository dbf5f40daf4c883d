// Random maps, and the two-factor maps that have names.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "map/structure.h"
#include "primitive/leaf.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon::map {
namespace {

enum Field : unsigned { kRank = 1, kBlocks = 2, kFactors = 4 };

// Throws if a field is set that `what` does not take.
void check_fields(const char* what, const Options& o, unsigned taken) {
    if (o.rank && !(taken & kRank)) throw ValueError(text(what, " has no rank to choose"));
    if (o.blocks && !(taken & kBlocks)) throw ValueError(text(what, " has no number of blocks to choose"));
    if ((o.in_factors || o.out_factors) && !(taken & kFactors))
        throw ValueError(text(what, " has no factors to choose"));
    if (o.rank && *o.rank < 1) throw ValueError(text(what, ": rank ", *o.rank, " is below 1"));
}

// Throws if the rank is above `most`, the largest that the matrices can have.
void check_rank_within(const char* what, const Options& o, std::int64_t most) {
    if (o.rank && *o.rank > most)
        throw ValueError(text(what, ": rank ", *o.rank, " is above ", most, ", the most that these sizes have"));
}

Tensor random_core(const random::Key& key, const Shape& shape, std::int64_t core_out, std::int64_t core_in,
                   DType dtype) {
    return random::normal(key, shape, 0, initial_deviation(core_out, core_in), dtype);
}

LinearMap random_two_factor(const char* name, const random::Key& key, const Theta& t, std::int64_t out, std::int64_t in,
                            const Options& o) {
    auto structure = std::make_shared<TwoFactor>(name, t, out, in);
    const std::vector<random::Key> keys = key.split(2);
    const Shape a{t.phi, t.delta, t.rho, t.gamma, t.alpha}, b{t.phi, t.epsilon, t.rho, t.gamma, t.beta};
    const Tensor first = random_core(keys[0], a, t.delta * t.phi * t.rho, t.alpha, o.dtype);
    const Tensor last =
        o.zero_last ? zeros_of(b, o.dtype) : random_core(keys[1], b, t.epsilon, t.beta * t.gamma * t.rho, o.dtype);
    return {std::move(structure), Tree({{"A", first}, {"B", last}})};
}

struct Widths {
    std::array<std::int64_t, 2> in, out;
};

Widths factors_of(const char* what, std::int64_t out, std::int64_t in, const Options& o) {
    check_sizes(what, out, in);
    try {
        return {o.in_factors ? *o.in_factors : factorize(in), o.out_factors ? *o.out_factors : factorize(out)};
    } catch (const ShapeError& e) {
        throw ShapeError(text(what, " of ", in, " inputs and ", out, " outputs: ", e.what()));
    }
}

// Kronecker products: the axes of two factors, `rho` of them.
Theta train_theta(const char* what, std::int64_t out, std::int64_t in, std::int64_t rank, const Options& o) {
    const Widths w = factors_of(what, out, in, o);
    return {.alpha = w.in[0], .beta = w.in[1], .delta = w.out[0], .epsilon = w.out[1], .rho = rank};
}

// A factor as the caller gives it, and the names of its axes, for errors.
struct Factor {
    const Tensor& tensor;
    const char* axes;
};

// Throws unless both factors have `rank` axes, and axis i of a has the extent of axis j of b for each pair (i, j).
void check_factors(const char* what, int rank, const Factor& a, const Factor& b,
                   std::initializer_list<std::pair<int, int>> equal = {}) {
    const Shape &s = a.tensor.shape(), &t = b.tensor.shape();
    const bool fit = s.rank() == rank && t.rank() == rank &&
                     std::all_of(equal.begin(), equal.end(), [&](const auto& e) { return s[e.first] == t[e.second]; });
    if (!fit)
        throw ShapeError(text(what, ": factors of shapes ", to_string(s), " and ", to_string(t), " are not ", a.axes,
                              " and ", b.axes));
}

}  // namespace

double initial_deviation(std::int64_t core_out, std::int64_t core_in) {
    return std::sqrt(static_cast<double>(std::min(core_out, core_in))) / static_cast<double>(core_in);
}

LinearMap Dense::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    check_fields("Dense", o, 0);
    check_sizes("Dense", out, in);
    return from(o.zero_last ? zeros_of({out, in}, o.dtype) : random_core(key, {out, in}, out, in, o.dtype));
}

LinearMap Diagonal::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    check_fields("Diagonal", o, 0);
    check_sizes("Diagonal", out, in);
    if (out != in) throw ShapeError(text("Diagonal: ", in, " inputs and ", out, " outputs are not equal"));
    return from(o.zero_last ? zeros_of({out}, o.dtype) : random_core(key, {out}, 1, 1, o.dtype));
}

LinearMap TwoFactor::random(const random::Key& key, const Theta& theta, std::int64_t out, std::int64_t in,
                            const Options& o) {
    check_fields("TwoFactor", o, 0);
    return random_two_factor("TwoFactor", key, theta, out, in, o);
}

LinearMap LowRank::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    check_fields("LowRank", o, kRank);
    check_sizes("LowRank", out, in);
    check_rank_within("LowRank", o, std::min(out, in));
    std::int64_t rank = 1;
    while (rank * rank < std::min(out, in)) ++rank;
    return random_two_factor("LowRank", key, {.alpha = in, .epsilon = out, .rho = o.rank.value_or(rank)}, out, in, o);
}

LinearMap LowRank::from(const Tensor& u, const Tensor& v) {
    check_factors("LowRank", 2, {u, "(out, k)"}, {v, "(k, in)"}, {{1, 0}});
    const std::int64_t out = u.shape()[0], in = v.shape()[1];
    return TwoFactor::from(reshape(v, {1, 1, v.shape()[0], 1, in}), reshape(u, {1, out, u.shape()[1], 1, 1}), out, in,
                           "LowRank");
}

LinearMap Kronecker::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    check_fields("Kronecker", o, kFactors);
    return random_two_factor("Kronecker", key, train_theta("Kronecker", out, in, 1, o), out, in, o);
}

LinearMap Kronecker::from(const Tensor& left, const Tensor& right) {
    check_factors("Kronecker", 2, {left, "(m1, n1)"}, {right, "(m2, n2)"});
    const Shape &l = left.shape(), &r = right.shape();
    return TwoFactor::from(reshape(right, {1, r[0], 1, 1, r[1]}), reshape(left, {1, l[0], 1, 1, l[1]}), l[0] * r[0],
                           l[1] * r[1], "Kronecker");
}

LinearMap TensorTrain::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    constexpr std::int64_t kDefaultRank = 16;
    check_fields("TensorTrain", o, kRank | kFactors);
    Theta theta = train_theta("TensorTrain", out, in, 1, o);
    const std::int64_t most = std::min(theta.alpha * theta.delta, theta.beta * theta.epsilon);
    check_rank_within("TensorTrain", o, most);
    theta.rho = o.rank.value_or(std::min(kDefaultRank, most));
    return random_two_factor("TensorTrain", key, theta, out, in, o);
}

LinearMap TensorTrain::from(const Tensor& a, const Tensor& b) {
    check_factors("TensorTrain", 3, {a, "(delta, rho, alpha)"}, {b, "(epsilon, rho, beta)"}, {{1, 1}});
    const Shape &s = a.shape(), &t = b.shape();
    return TwoFactor::from(reshape(a, {1, s[0], s[1], 1, s[2]}), reshape(b, {1, t[0], t[1], 1, t[2]}), s[0] * t[0],
                           s[2] * t[2], "TensorTrain");
}

LinearMap Monarch::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    constexpr std::int64_t kDefaultBlocks = 4;
    check_fields("Monarch", o, kBlocks);
    check_sizes("Monarch", out, in);
    const std::int64_t n = o.blocks.value_or(kDefaultBlocks);
    if (n < 1) throw ValueError(text("Monarch: ", n, " blocks; at least 1"));
    if (n > std::min(out, in))
        throw ShapeError(text("Monarch: ", n, " blocks are more than ", std::min(out, in), " inputs or outputs"));
    const std::int64_t alpha = (in + n - 1) / n, epsilon = (out + n - 1) / n;
    const Theta theta{
        .alpha = alpha, .gamma = n, .epsilon = epsilon, .phi = n, .rho = (std::min(alpha, epsilon) + n - 1) / n};
    return random_two_factor("Monarch", key, theta, out, in, o);
}

LinearMap BlockTensorTrain::random(const random::Key& key, std::int64_t out, std::int64_t in, const Options& o) {
    check_fields("BlockTensorTrain", o, kRank | kFactors);
    const Widths w = factors_of("BlockTensorTrain", out, in, o);
    const Theta theta{
        .alpha = w.in[0], .gamma = w.in[1], .epsilon = w.out[1], .phi = w.out[0], .rho = o.rank.value_or(1)};
    check_rank_within("BlockTensorTrain", o, std::min(theta.alpha, theta.epsilon));
    return random_two_factor("BlockTensorTrain", key, theta, out, in, o);
}

namespace {

LinearMap block_tensor_train(const char* name, const Tensor& a, const Tensor& b) {
    check_factors(name, 4, {a, "(phi, rho, gamma, alpha)"}, {b, "(phi, epsilon, rho, gamma)"},
                  {{0, 0}, {1, 2}, {2, 3}});
    const Shape &s = a.shape(), &t = b.shape();
    return TwoFactor::from(reshape(a, {s[0], 1, s[1], s[2], s[3]}), reshape(b, {t[0], t[1], t[2], t[3], 1}),
                           t[0] * t[1], s[2] * s[3], name);
}

struct Named {
    std::string_view name;
    LinearMap (*random)(const random::Key&, std::int64_t, std::int64_t, const Options&);
    unsigned fields;  // the options that it takes, without kFactors
};

constexpr Named kStructures[] = {{"dense", Dense::random, 0},           {"low-rank", LowRank::random, kRank},
                                 {"kronecker", Kronecker::random, 0},   {"tensor-train", TensorTrain::random, kRank},
                                 {"monarch", Monarch::random, kBlocks}, {"btt", BlockTensorTrain::random, kRank}};

}  // namespace

LinearMap BlockTensorTrain::from(const Tensor& a, const Tensor& b) {
    return block_tensor_train("BlockTensorTrain", a, b);
}

LinearMap Monarch::from(const Tensor& a, const Tensor& b) { return block_tensor_train("Monarch", a, b); }

std::vector<NamedStructure> structures() {
    std::vector<NamedStructure> all;
    for (const Named& s : kStructures) all.push_back({s.name, (s.fields & kRank) != 0, (s.fields & kBlocks) != 0});
    return all;
}

LinearMap random(std::string_view structure, const random::Key& key, std::int64_t out, std::int64_t in,
                 const Options& options) {
    std::string names;
    for (const Named& s : kStructures) {
        if (s.name == structure) return s.random(key, out, in, options);
        names += text(names.empty() ? "" : ", ", s.name);
    }
    throw ValueError(text("map: there is no structure \"", structure, "\"; there are ", names));
}

}  // namespace tenon::map
