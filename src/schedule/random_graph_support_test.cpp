#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

#include "schedule/random_graph_testing.h"
#include "tenon/error.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"

namespace tenon::schedule::testing {
namespace {

using Numbers = std::vector<std::int64_t>;
using Operands = std::vector<Tensor>;

std::int64_t below(Random& r, std::int64_t n) { return n <= 1 ? 0 : static_cast<std::int64_t>(r() % n); }
bool chance(Random& r, int percent) { return below(r, 100) < percent; }

struct Operation {
    int operands;
    int weight;
    /// The numbers of a call on these operands.
    std::function<Numbers(Random&, const Operands&)> choose;
    std::function<Tensor(const Operands&, const Numbers&)> apply;
};

Numbers nothing(Random&, const Operands&) { return {}; }

Numbers some_axes(Random& r, const Operands& x) {
    Numbers axes;
    const int rank = x[0].rank();
    if (chance(r, 60) && rank > 0) {
        for (int d = static_cast<int>(below(r, rank)); d < rank; ++d) axes.push_back(d);  // the last ones
        return axes;
    }
    for (int d = 0; d < rank; ++d)
        if (chance(r, 50)) axes.push_back(d);
    return axes;
}

Axes axes_of(const Numbers& n) { return Axes(std::span<const std::int64_t>(n)); }

Numbers permutation(Random& r, const Operands& x) {
    Numbers axes;
    for (int d = 0; d < x[0].rank(); ++d) axes.push_back(d);
    std::shuffle(axes.begin(), axes.end(), r);
    return axes;
}

/// Two neighbouring axes joined, or one split, or an axis of one element.
Numbers other_shape(Random& r, const Operands& x) {
    Numbers s(x[0].shape().begin(), x[0].shape().end());
    if (s.size() >= 2 && chance(r, 50)) {
        const auto at = below(r, static_cast<std::int64_t>(s.size()) - 1);
        s[at] *= s[at + 1];
        s.erase(s.begin() + at + 1);
    } else if (!s.empty() && chance(r, 60)) {
        const auto at = below(r, static_cast<std::int64_t>(s.size()));
        for (const std::int64_t f : {2, 3, 5, 11})
            if (s[at] % f == 0 && s[at] > 0) {
                s[at] /= f;
                s.insert(s.begin() + at, f);
                break;
            }
    } else if (s.size() < 5) {
        s.insert(s.begin() + below(r, static_cast<std::int64_t>(s.size()) + 1), 1);
    }
    return s;
}

Numbers broader_shape(Random& r, const Operands& x) {
    Numbers s(x[0].shape().begin(), x[0].shape().end());
    for (std::int64_t& e : s)
        if (e == 1 && chance(r, 70)) e = 1 + below(r, 9);
    if (s.size() < 4 && chance(r, 70)) s.insert(s.begin(), 1 + below(r, 5));
    return s;
}

/// start, stop and step of each axis.
Numbers range(Random& r, const Operands& x) {
    Numbers n;
    for (const std::int64_t e : x[0].shape()) {
        const std::int64_t start = below(r, e), stop = start + below(r, e - start + 1);
        n.insert(n.end(), {start, chance(r, 70) ? e : stop, 1 + below(r, 3)});
    }
    return n;
}

Tensor sliced(const Tensor& x, const Numbers& n) {
    Extents start = x.shape(), stop = x.shape(), step = x.shape();
    for (int d = 0; d < x.rank(); ++d)
        start[d] = n[static_cast<std::size_t>(3 * d)], stop[d] = n[static_cast<std::size_t>(3 * d + 1)],
        step[d] = n[static_cast<std::size_t>(3 * d + 2)];
    return slice(x, start, stop, step);
}

Tensor floating(const Tensor& x) { return is_floating(x.dtype()) ? x : astype(x, DType::float32); }

/// x (..., k) times y, cut or repeated to (k, n).
Tensor product(const Tensor& a, const Tensor& b) {
    Tensor x = floating(a), y = astype(floating(b), x.dtype());
    if (x.rank() == 0) x = reshape(x, {1});
    const std::int64_t k = x.shape().back(), n = y.size() == 0 ? 3 : std::min<std::int64_t>(40, 1 + y.size() / 7);
    Tensor flat = reshape(y, {-1});
    if (y.size() == 0) flat = zeros({1}, x.dtype());
    while (flat.size() < k * n) flat = concat(std::vector<Tensor>{flat, flat}, 0);
    return matmul(x, reshape(slice(flat, {0}, {k * n}, {1}), {k, n}));
}

/// The elements of x, repeated or cut, as floating `shape`.
Tensor filled(const Tensor& x, const Shape& shape, DType dtype) {
    Tensor flat = reshape(astype(x, dtype), {-1});
    if (flat.size() == 0) flat = zeros({1}, dtype);
    while (flat.size() < count(shape)) flat = concat(std::vector<Tensor>{flat, flat}, 0);
    return reshape(slice(flat, {0}, {count(shape)}, {1}), shape);
}

enum Glue : std::int64_t { kNone, kTanh, kBias, kResidual, kCopy, kNarrow, kTwice, kGlues };

/// Extents t, g, b, r and e, the order of the intermediate's axes, what is between, the second product's form, and the
/// operand and axis along which one element is repeated (at 9 and more, none).
Numbers joined_pair(Random& r, const Operands&) {
    constexpr std::int64_t few[] = {1, 2, 3, 5, 8};
    const auto some = [&] { return few[below(r, 5)]; };
    return {chance(r, 30) ? some() : 9 + below(r, 60),
            some(),
            some() + 1,
            some(),
            some() + 2,
            below(r, 6),
            below(r, kGlues),
            below(r, 4),
            below(r, 30)};
}

/// x[t g b] w[g b r] -> z[t g r] in some order -> pointwise work and views -> times v.
Tensor two_joined(const Operands& x, const Numbers& n) {
    using Labels = std::vector<std::uint8_t>;
    enum : std::uint8_t { t, g, r, b, e };
    const std::int64_t extent[] = {n[0], n[1], n[3], n[2], n[4]};
    const DType dtype = floating(x[0]).dtype();
    const auto of = [&](const Labels& labels, const Tensor& from, std::int64_t repeated = -1) {
        Shape s;
        for (const std::uint8_t l : labels) s.push_back(extent[l]);
        Shape stored = s;
        if (repeated >= 0 && repeated < s.rank()) stored[static_cast<int>(repeated)] = 1;
        return broadcast_to(filled(from, stored, dtype), s);
    };
    Labels order{t, g, r};
    for (std::int64_t i = 0; i < n[5]; ++i) std::next_permutation(order.begin(), order.end());
    const Labels lx{t, g, b}, lw{g, b, r}, lv{g, r, e};
    Tensor z = contract(of(lx, x[0], n[8]), lx, of(lw, x[1], n[8] - 3), lw, order);
    if (n[6] == kTanh) z = tanh(z);
    if (n[6] == kBias) z = relu(z + of({order[2]}, x[2]));
    if (n[6] == kResidual) z = tanh(z) * of(order, x[2]) + 0.5;
    if (n[6] == kNarrow && dtype == DType::float32) z = astype(astype(z, DType::bfloat16), dtype);
    if (n[6] == kTwice) z = z * logistic(z);
    if (n[6] == kCopy) {  // the axes in another order, which a reshape then merges
        z = tanh(transpose(z, {1, 0, 2}));
        std::swap(order[0], order[1]);
    }
    if (n[7] == 0) {  // all but the first axis summed as one
        z = reshape(n[6] == kCopy ? transpose(z, {0, 2, 1}) : z, {z.shape()[0], z.size() / z.shape()[0]});
        return matmul(z, filled(x[2], {z.shape()[1], extent[e]}, dtype));
    }
    const Labels both{t, e}, batch{g, t, e};
    const Tensor v = of(lv, x[2], n[8] - 6);
    if (n[7] == 1) return contract(z, order, v, lv, both);
    if (n[7] == 2) return contract(v, lv, z, order, batch);
    return contract(z, order, v, lv, batch);
}

enum View : std::int64_t { kColumn, kRow, kInterleaved, kReversed, kSquare, kManyRows, kViews };

/// What operands are views of, and the extents g, m, n and k.
Numbers viewed_product(Random& r, const Operands&) {
    constexpr std::int64_t few[] = {1, 2, 3, 8, 17}, some[] = {1, 4, 16, 33, 64}, summed[] = {2, 5, 48, 64, 130};
    return {below(r, kViews), few[below(r, 5)], some[below(r, 5)], some[below(r, 5)], summed[below(r, 5)]};
}

/// Products of operands of which a row or a column is repeated, or that lie interleaved, run backwards or are each
/// other's transposes; or of many rows, with what follows.
Tensor product_of_views(const Operands& x, const Numbers& e) {
    const DType dtype = floating(x[0]).dtype();
    const auto of = [dtype](const Tensor& from, const Shape& s) { return filled(from, s, dtype); };
    const std::int64_t g = e[1], m = e[2], n = e[3], k = e[4];
    switch (e[0]) {
        case kColumn:
            return matmul(broadcast_to(of(x[0], {m, 1}), {m, k}), of(x[1], {k, n}));
        case kRow:
            return matmul(of(x[0], {m, k}), broadcast_to(of(x[1], {1, n}), {k, n}));
        case kInterleaved:
            return matmul(broadcast_to(of(x[0], {g, m, k % 3 == 0 ? k : 1}), {g, m, k}),
                          transpose(of(x[1], {k, g, n}), {1, 0, 2}));
        case kReversed:
            return matmul(flip(of(x[0], {g, m, k}), {1, 2}), flip(of(x[1], {k, n}), {0}));
        case kSquare: {
            const Tensor a = of(x[0], {m, k});
            return matmul(a, transpose(a, {1, 0}));
        }
        default:
            return gelu(matmul(of(x[0], {520, k}), of(x[1], {k, n})) + of(x[1], {n})) * 0.5;
    }
}

Operation unary(int weight, Tensor (*f)(const Tensor&)) {
    return {1, weight, nothing, [f](const Operands& x, const Numbers&) { return f(floating(x[0])); }};
}
Operation binary(int weight, Tensor (*f)(const Tensor&, const Tensor&)) {
    return {2, weight, nothing, [f](const Operands& x, const Numbers&) {
                return x[0].dtype() == DType::boolean || x[1].dtype() == DType::boolean
                           ? f(astype(x[0], DType::int32), astype(x[1], DType::int32))
                           : f(x[0], x[1]);
            }};
}
Operation reduction(int weight, Tensor (*f)(const Tensor&, const Axes&)) {
    return {1, weight, some_axes, [f](const Operands& x, const Numbers& n) {
                const Tensor v = x[0].dtype() == DType::boolean ? astype(x[0], DType::int32) : x[0];
                return f(v, axes_of(n));
            }};
}
/// The result keeps the axes, as ones, and is put beside the operand.
Operation centered(int weight, Tensor (*f)(const Tensor&, const Axes&)) {
    return {1, weight, some_axes, [f](const Operands& x, const Numbers& n) {
                const Tensor v = floating(x[0]);
                Shape ones = v.shape();
                for (const std::int64_t a : n) ones[static_cast<int>(a)] = 1;
                return v - reshape(f(v, axes_of(n)), ones);
            }};
}
template <class F>
Operation with_rows(int weight, F f) {
    return {1, weight, nothing, [f](const Operands& x, const Numbers&) {
                const Tensor v = floating(x[0]);
                return f(v.rank() == 0 ? reshape(v, {1}) : v);
            }};
}

Tensor halved(const Tensor& x) { return x * 0.5 + 0.25; }
Tensor twice(const Tensor& x) { return x + x; }
Tensor one_times(const Tensor& x) { return x * ones_like(x); }

const std::map<std::string, Operation>& operations() {
    static const std::map<std::string, Operation> all{
        {"negative", unary(3, negative)},
        {"abs", unary(2, abs)},
        {"exp", unary(3, exp)},
        {"tanh", unary(4, tanh)},
        {"sqrt", unary(2, sqrt)},
        {"log", unary(1, log)},
        {"erf", unary(2, erf)},
        {"logistic", unary(2, logistic)},
        {"floor", unary(1, floor)},
        {"sin", unary(1, sin)},
        {"square", unary(3, square)},
        {"relu", unary(3, relu)},
        {"gelu", unary(3, gelu)},
        {"halved", unary(3, halved)},
        {"twice", unary(2, twice)},
        {"one_times", unary(2, one_times)},
        {"stop_gradient", unary(1, stop_gradient)},
        {"add", binary(10, add)},
        {"subtract", binary(6, subtract)},
        {"multiply", binary(8, multiply)},
        {"divide", {2, 3, nothing, [](const Operands& x, const Numbers&) { return floating(x[0]) / floating(x[1]); }}},
        {"maximum", binary(3, maximum)},
        {"minimum", binary(2, minimum)},
        {"less", binary(2, less)},
        {"where",
         {3, 4, nothing, [](const Operands& x, const Numbers&) { return where(less(x[0], x[1]), x[1], x[2]); }}},
        {"astype",
         {1, 6,
          [](Random& r, const Operands&) {
              constexpr DType types[] = {DType::float32, DType::float32, DType::float16, DType::bfloat16,
                                         DType::float64, DType::int32,   DType::boolean};
              return Numbers{static_cast<std::int64_t>(types[below(r, 7)])};
          },
          [](const Operands& x, const Numbers& n) { return astype(x[0], static_cast<DType>(n[0])); }}},
        {"sum", reduction(5, reduce_sum)},
        {"max", reduction(3, reduce_max)},
        {"min", reduction(2, reduce_min)},
        {"prod", reduction(1, reduce_prod)},
        {"less_sum", centered(5, reduce_sum)},
        {"less_max", centered(4, reduce_max)},
        {"softmax", with_rows(5, [](const Tensor& x) { return softmax(x); })},
        {"log_softmax", with_rows(3, [](const Tensor& x) { return log_softmax(x); })},
        {"layer_norm", with_rows(4, [](const Tensor& x) { return layer_norm(x); })},
        {"rms_norm", with_rows(3, [](const Tensor& x) { return rms_norm(x); })},
        {"scaled_norm",
         {2, 3, nothing,
          [](const Operands& x, const Numbers&) {
              const Tensor v = floating(x[0]), w = reduce_sum(floating(x[1]), {});
              const Tensor rows = v.rank() == 0 ? reshape(v, {1}) : v;
              return layer_norm(rows, reshape(sum(w), {1}), std::nullopt);
          }}},
        {"cumulative_sum",
         {1, 1, nothing,
          [](const Operands& x, const Numbers&) { return cumulative_sum_along(floating(reshape(x[0], {-1})), 0); }}},
        {"argmax",
         {1, 1, nothing,
          [](const Operands& x, const Numbers&) {
              return argmax_along(x[0].dtype() == DType::boolean ? astype(x[0], DType::int32) : x[0], x[0].rank() - 1);
          }}},
        {"transpose",
         {1, 7, permutation, [](const Operands& x, const Numbers& n) { return transpose(x[0], axes_of(n)); }}},
        {"reshape", {1, 8, other_shape, [](const Operands& x, const Numbers& n) { return reshape(x[0], axes_of(n)); }}},
        {"broadcast_to",
         {1, 5, broader_shape, [](const Operands& x, const Numbers& n) { return broadcast_to(x[0], axes_of(n)); }}},
        {"slice", {1, 5, range, [](const Operands& x, const Numbers& n) { return sliced(x[0], n); }}},
        {"flip", {1, 3, some_axes, [](const Operands& x, const Numbers& n) { return flip(x[0], axes_of(n)); }}},
        {"concat",
         {2, 3, nothing,
          [](const Operands& x, const Numbers&) {
              return concat(std::vector<Tensor>{reshape(floating(x[0]), {-1}), reshape(floating(x[1]), {-1})}, 0);
          }}},
        {"pad",
         {1, 2, nothing,
          [](const Operands& x, const Numbers&) {
              return pad(x[0], Extents(x[0].rank(), 1), Extents(x[0].rank(), 0));
          }}},
        {"gather",
         {1, 2, nothing,
          [](const Operands& x, const Numbers&) {
              if (x[0].shape()[0] == 0) throw ShapeError("gather from no rows");
              return gather(x[0], Tensor::from<std::int64_t>({0, x[0].shape()[0] - 1, 0}));
          }}},
        {"matmul", {2, 5, nothing, [](const Operands& x, const Numbers&) { return product(x[0], x[1]); }}},
        {"linear",
         {2, 6, nothing,
          [](const Operands& x, const Numbers&) {
              const Tensor y = product(x[0], x[1]);
              return gelu(y + Tensor(0.5) * reduce_max(y, {}));
          }}},
        {"two_products",
         {3, 10, nothing,
          [](const Operands& x, const Numbers&) {
              const Tensor z = tanh(product(x[0], x[1]) + 0.125);
              return product(z, x[2]) * 0.5;
          }}},
        {"two_joined", {3, 10, joined_pair, two_joined}},
        {"product_of_views", {2, 6, viewed_product, product_of_views}},
        {"diagonal",
         {1, 3, [](Random& r, const Operands&) { return Numbers{below(r, 5) - 2}; },
          [](const Operands& x, const Numbers& n) { return diagonal(x[0], n[0]); }}},
        {"trace", {1, 1, nothing, [](const Operands& x, const Numbers&) { return tenon::trace(floating(x[0])); }}},
        // The first axis and the last are one.
        {"diagonal_product",
         {2, 3, nothing,
          [](const Operands& x, const Numbers&) {
              if (x[0].rank() < 2) throw ShapeError("a diagonal of one axis");
              return product(diagonal(moveaxis(x[0], {0}, {-2})), x[1]);
          }}},
        {"attention",
         {2, 5, nothing,
          [](const Operands& x, const Numbers&) {
              const Tensor s = softmax(product(x[0], x[1]));
              return product(s, x[1]);
          }}},
    };
    return all;
}

constexpr std::int64_t kMaxElements = 20000;

Shape random_shape(Random& r) {
    if (chance(r, 4)) return below(r, 2) ? Shape{20, 1500} : Shape{1, 17001};
    constexpr std::int64_t extents[] = {0, 1, 1, 2, 3, 3, 4, 5, 8, 8, 17, 33, 64, 130};
    Shape s;
    const std::int64_t rank = chance(r, 10) ? 0 : 1 + below(r, 4);
    for (std::int64_t d = 0; d < rank; ++d) {
        const std::int64_t e = extents[chance(r, 4) ? 0 : 1 + below(r, 13)];
        if (count(s) * e > kMaxElements) break;
        s.push_back(e);
    }
    return s;
}

DType random_dtype(Random& r) {
    constexpr DType types[] = {DType::float32, DType::float32,  DType::float32, DType::float32,
                               DType::float16, DType::bfloat16, DType::float64, DType::int32};
    return types[below(r, 8)];
}

Tensor leaf_value(const RandomLeaf& leaf, Random& r) {
    std::vector<double> v(static_cast<std::size_t>(count(leaf.shape)));
    for (double& x : v) x = static_cast<double>(below(r, 4001) - 2000) / 500;
    constexpr double inf = std::numeric_limits<double>::infinity();
    constexpr double specials[] = {std::numeric_limits<double>::quiet_NaN(), inf, -inf, -0.0, 1e-42, 3e38};
    if (leaf.special)
        for (double& x : v)
            if (chance(r, 3)) x = specials[below(r, 6)];
    Shape lies = leaf.shape;
    if (leaf.strided) std::reverse(lies.begin(), lies.end());
    Tensor t = astype(Tensor::from(v, lies), leaf.dtype);
    if (leaf.strided && lies.rank() > 0) {
        Axes back;
        for (int d = lies.rank() - 1; d >= 0; --d) back.push_back(d);
        t = flip(transpose(t, back), {0});
    }
    return t.eval();
}

}  // namespace

Tensor apply(const std::string& op, const Operands& operands, const Numbers& numbers) {
    return operations().at(op).apply(operands, numbers);
}

std::vector<Tensor> RandomGraph::values(std::uint64_t seed) const {
    Random r(seed);
    std::vector<Tensor> all;
    for (const RandomLeaf& l : leaves) all.push_back(leaf_value(l, r));
    return all;
}

std::vector<Tensor> RandomGraph::record(const std::vector<Tensor>& from) const {
    std::vector<Tensor> all = from;
    for (const RandomNode& n : nodes) {
        Operands operands;
        for (const std::size_t o : n.operands) operands.push_back(all[o]);
        all.push_back(apply(n.op, operands, n.numbers));
    }
    return all;
}

RandomGraph random_graph(std::uint64_t seed) {
    Random r(seed);
    RandomGraph g;
    for (std::int64_t i = 1 + below(r, 4); i > 0; --i)
        g.leaves.push_back({random_shape(r), random_dtype(r), chance(r, 30), chance(r, 20)});
    std::vector<Tensor> all = g.values(seed);
    int total = 0;
    for (const auto& [name, op] : operations()) total += op.weight;
    const bool chained = chance(r, 50);
    const std::int64_t length = 2 + below(r, 28);
    for (int tries = 0; static_cast<std::int64_t>(g.nodes.size()) < length && tries < 200; ++tries) {
        std::int64_t at = below(r, total);
        auto chosen = operations().begin();
        for (; at >= chosen->second.weight; ++chosen) at -= chosen->second.weight;
        if (chained && tries < 8 && g.nodes.empty())
            chosen = operations().find(chance(r, 30) ? "two_products" : "two_joined");
        RandomNode n{chosen->first, {}, {}};
        Operands operands;
        for (int i = 0; i < chosen->second.operands; ++i) {
            const auto size = static_cast<std::int64_t>(all.size());
            const std::int64_t o =
                chance(r, 60) ? size - 1 - below(r, std::min<std::int64_t>(size, 4)) : below(r, size);
            n.operands.push_back(static_cast<std::size_t>(o));
            operands.push_back(all[static_cast<std::size_t>(o)]);
        }
        try {
            n.numbers = chosen->second.choose(r, operands);
            const Tensor t = chosen->second.apply(operands, n.numbers);
            if (t.size() > 4 * kMaxElements) continue;
            all.push_back(t);
            g.nodes.push_back(std::move(n));
        } catch (const Error&) {  // the shapes or dtypes do not fit: another try
        }
    }
    for (std::size_t v = g.leaves.size(); v < all.size(); ++v)
        if (v + 1 == all.size() || chance(r, 15)) g.outputs.push_back(v);
    return g;
}

namespace {

/// The graph without what no output needs.
RandomGraph trimmed(const RandomGraph& g) {
    const std::size_t leaves = g.leaves.size();
    std::vector<bool> used(leaves + g.nodes.size());
    for (const std::size_t o : g.outputs) used[o] = true;
    for (std::size_t n = g.nodes.size(); n-- > 0;)
        if (used[leaves + n])
            for (const std::size_t o : g.nodes[n].operands) used[o] = true;
    RandomGraph t;
    std::vector<std::size_t> now(used.size());
    for (std::size_t v = 0; v < used.size(); ++v) {
        if (!used[v]) continue;
        now[v] = t.leaves.size() + t.nodes.size();
        if (v < leaves) {
            t.leaves.push_back(g.leaves[v]);
            continue;
        }
        t.nodes.push_back(g.nodes[v - leaves]);
        for (std::size_t& o : t.nodes.back().operands) o = now[o];
    }
    for (const std::size_t o : g.outputs) t.outputs.push_back(now[o]);
    return t;
}

RandomGraph with_leaf_for(const RandomGraph& g, std::size_t node, const Tensor& value) {
    const std::size_t leaves = g.leaves.size(), old = leaves + node;
    RandomGraph c = g;
    c.leaves.push_back({value.shape(), value.dtype(), false, false});
    c.nodes.erase(c.nodes.begin() + static_cast<std::ptrdiff_t>(node));
    const auto renumber = [&](std::size_t& v) {
        if (v == old)
            v = leaves;
        else if (v >= leaves && v < old)
            ++v;
    };
    for (RandomNode& n : c.nodes)
        for (std::size_t& o : n.operands) renumber(o);
    for (std::size_t& o : c.outputs) renumber(o);
    std::erase(c.outputs, leaves);
    return c;
}

/// With what an output was computed from in its place.
RandomGraph with_operands_of_output(const RandomGraph& g, std::size_t output) {
    const std::size_t leaves = g.leaves.size(), node = g.outputs[output] - leaves;
    RandomGraph c = g;
    c.outputs.erase(c.outputs.begin() + static_cast<std::ptrdiff_t>(output));
    for (const std::size_t o : g.nodes[node].operands)
        if (o >= leaves && std::find(c.outputs.begin(), c.outputs.end(), o) == c.outputs.end()) c.outputs.push_back(o);
    return c;
}

}  // namespace

std::vector<RandomGraph> cuts(const RandomGraph& g) {
    std::vector<RandomGraph> all;
    for (std::size_t o = 0; o < g.outputs.size() && g.outputs.size() > 1; ++o) {
        RandomGraph c = g;
        c.outputs.erase(c.outputs.begin() + static_cast<std::ptrdiff_t>(o));
        all.push_back(trimmed(c));
    }
    const std::vector<Tensor> values = g.record(g.values(1));
    for (std::size_t n = g.nodes.size(); n-- > 0;) {
        RandomGraph c = trimmed(with_leaf_for(g, n, values[g.leaves.size() + n]));
        if (!c.outputs.empty()) all.push_back(std::move(c));
    }
    for (std::size_t o = 0; o < g.outputs.size(); ++o) {
        RandomGraph c = trimmed(with_operands_of_output(g, o));
        if (!c.outputs.empty() && c.nodes.size() < g.nodes.size()) all.push_back(std::move(c));
    }
    for (std::size_t l = 0; l < g.leaves.size(); ++l) {
        if (!g.leaves[l].strided && !g.leaves[l].special) continue;
        RandomGraph c = g;
        c.leaves[l].strided = c.leaves[l].special = false;
        all.push_back(std::move(c));
    }
    return all;
}

std::string to_string(const RandomGraph& g, std::uint64_t seed) {
    std::ostringstream out;
    out << std::boolalpha << "const RandomGraph leaves{{";
    for (std::size_t l = 0; l < g.leaves.size(); ++l) {
        const RandomLeaf& leaf = g.leaves[l];
        out << (l ? ", {{" : "{{");
        for (int axis = 0; axis < leaf.shape.rank(); ++axis) out << (axis ? ", " : "") << leaf.shape[axis];
        out << "}, DType::" << (leaf.dtype == DType::boolean ? "boolean" : name(leaf.dtype)) << ", " << leaf.strided
            << ", " << leaf.special << "}";
    }
    out << "}, {}, {}};\nconst std::vector<Tensor> values = leaves.values(" << seed << ");\n";
    std::size_t v = 0;
    for (; v < g.leaves.size(); ++v) out << "Tensor v" << v << " = values[" << v << "];\n";
    for (const RandomNode& n : g.nodes) {
        out << "Tensor v" << v++ << " = apply(\"" << n.op << "\", {";
        for (std::size_t i = 0; i < n.operands.size(); ++i) out << (i ? ", v" : "v") << n.operands[i];
        out << "}, {";
        for (std::size_t i = 0; i < n.numbers.size(); ++i) out << (i ? ", " : "") << n.numbers[i];
        out << "});\n";
    }
    out << "eval({";
    for (std::size_t i = 0; i < g.outputs.size(); ++i) out << (i ? ", v" : "v") << g.outputs[i];
    out << "});\n";
    return std::move(out).str();
}

bool same_bits(const Tensor& a, const Tensor& b) {
    if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
    if (is_floating(a.dtype())) {
        const auto x = a.to<double>(), y = b.to<double>();
        for (std::size_t i = 0; i < x.size(); ++i)
            if (!(std::isnan(x[i]) && std::isnan(y[i])) && std::memcmp(&x[i], &y[i], sizeof(double)) != 0) return false;
        return true;
    }
    return a.to<std::int64_t>() == b.to<std::int64_t>();
}

}  // namespace tenon::schedule::testing
