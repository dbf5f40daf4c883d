#include <algorithm>

#include "base/text.h"
#include "map/structure.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "primitive/primitive.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "tenon/transform.h"
#include "transform/linear_graph.h"

namespace tenon {
namespace map {

Structure::~Structure() = default;
StructurePtr Structure::adjoint() const { return nullptr; }
Tensor Structure::to_dense(const Tree&) const { return {}; }
Tensor Structure::diagonal(const Tree&) const { return {}; }
std::optional<Cost> Structure::cost(const Tree&, std::int64_t) const { return {}; }
std::optional<std::int64_t> Structure::rank_bound() const { return {}; }
std::optional<Tree> Structure::learning_rates(const Tree&, RateRule) const { return {}; }
std::vector<LinearMap> Structure::parts(const Tree&) const { return {}; }

namespace {

// The default adjoint: the transpose of the derivative. The map is linear, so its derivative is the same at every
// point; it is taken at zeros, which are never computed.
class Adjoint final : public Structure {
  public:
    explicit Adjoint(StructurePtr of) : of_(std::move(of)) {}
    std::string name() const override { return "adjoint of " + of_->name(); }
    Shape shape() const override { return {of_->shape()[1], of_->shape()[0]}; }
    StructurePtr adjoint() const override { return of_; }

    Tensor apply(const Tree& parameters, const Tensor& y) const override {
        Shape s = y.shape();
        s[s.rank() - 1] = of_->shape()[1];
        const auto [value, pullback] =
            vjp([&](const Tree& x) { return Tree(of_->apply(parameters, x.tensor())); }, zeros_of(s, y.dtype()));
        return pullback(astype(y, value.tensor().dtype())).tensor();
    }

    Tensor to_dense(const Tree& parameters) const override { return transposed(LinearMap(of_, parameters).to_dense()); }
    Tensor diagonal(const Tree& parameters) const override { return LinearMap(of_, parameters).diagonal(); }
    std::optional<std::int64_t> rank_bound() const override { return of_->rank_bound(); }
    std::vector<LinearMap> parts(const Tree& parameters) const override { return {{of_, parameters}}; }

  private:
    StructurePtr of_;
};

// The sum of the costs of the operations that apply records for `rows` rows.
Cost recorded_cost(const Structure& s, const Tree& parameters, std::int64_t rows) {
    const Tensor x = placeholder({rows, s.shape()[1]}, dtype_of(parameters));
    const Tensor y = s.apply(parameters, x);
    double flops = 0, bytes = 0;
    for (const Node* n : transform::between({&x, 1}, {&y, 1})) {
        const tenon::Cost c = cost_of(*n);
        flops += n->primitive->role == Role::product ? c.flops / 2 : c.flops;
        bytes += c.bytes;
    }
    return {static_cast<std::int64_t>(flops), count_of(parameters), static_cast<std::int64_t>(bytes)};
}

}  // namespace

bool has_default_adjoint(const Structure& s) { return s.adjoint() == nullptr; }

StructurePtr adjoint_of(const StructurePtr& s) {
    if (StructurePtr own = s->adjoint()) return own;
    return std::make_shared<Adjoint>(s);
}

DType dtype_of(const Tree& parameters) {
    const auto leaves = parameters.leaves();
    return leaves.empty() ? DType::float32 : leaves.front().dtype();
}

std::int64_t count_of(const Tree& parameters) {
    std::int64_t n = 0;
    for (const Tensor& t : parameters.leaves()) n += t.size();
    return n;
}

std::int64_t product_of(std::initializer_list<std::int64_t> factors) {
    std::int64_t product = 1;
    for (const std::int64_t f : factors)
        if (__builtin_mul_overflow(product, f, &product)) throw ValueError("cost: a number that does not fit 63 bits");
    return product;
}

Cost make_cost(const Tree& parameters, std::int64_t rows, std::int64_t in, std::int64_t out,
               std::int64_t multiply_adds_per_row, std::int64_t intermediate) {
    const std::int64_t n = count_of(parameters), size = static_cast<std::int64_t>(size_of(dtype_of(parameters)));
    std::int64_t elements = n;
    for (const std::int64_t each : {in, out, intermediate, intermediate})
        if (__builtin_add_overflow(elements, product_of({rows, each}), &elements))
            throw ValueError("cost: a number that does not fit 63 bits");
    return {product_of({rows, multiply_adds_per_row}), n, product_of({size, elements})};
}

void check_sizes(std::string_view what, std::int64_t out, std::int64_t in) {
    if (out < 1 || in < 1)
        throw ShapeError(text(what, ": a map of ", in, " inputs and ", out, " outputs; both are at least 1"));
}

Tensor fit_last(const Tensor& x, std::int64_t width) {
    const int last = x.rank() - 1;
    const std::int64_t now = x.shape()[last];
    if (now == width) return x;
    if (now > width) {
        Extents stop = x.shape();
        stop[last] = width;
        return slice(x, Extents(x.rank(), 0), stop, Extents(x.rank(), 1));
    }
    Extents high(x.rank(), 0);
    high[last] = width - now;
    return pad(x, Extents(x.rank(), 0), high);
}

Tensor identity(std::int64_t n, DType dtype) {
    const Tensor i = iota(n, DType::int64);
    return astype(equal(reshape(i, {n, 1}), i), dtype);
}

Tensor transposed(const Tensor& a) { return transpose(a, {1, 0}); }

Tensor number(double value) { return Tensor::from<double>({value}, {}); }

Tensor learning_rate(RateRule rule, const Shape& map, const Shape& core, std::int64_t cores) {
    const auto of = [](const Shape& s, int i) { return static_cast<double>(s[i]); };
    const double adam = of(map, 1) / of(core, 1) / static_cast<double>(cores);
    return number(rule == RateRule::adam ? adam : adam * of(core, 0) / of(map, 0));
}

}  // namespace map

LinearMap::LinearMap(map::StructurePtr structure, Tree parameters)
    : structure_(std::move(structure)), parameters_(std::move(parameters)) {
    if (!structure_) throw ValueError("LinearMap: there is no structure");
    map::check_sizes(structure_->name(), out(), in());
}

const map::StructurePtr& LinearMap::structure_ptr() const {
    if (!structure_) throw ValueError("LinearMap: the map is not defined");
    return structure_;
}

Tensor LinearMap::operator()(const Tensor& x) const {
    const map::Structure& s = structure();
    if (!x.defined()) throw ValueError(text(s.name(), ": the input is not defined"));
    if (x.rank() < 1 || x.shape().back() != in())
        throw ShapeError(
            text(s.name(), " of ", in(), " inputs: the last axis of ", to_string(x.shape()), " is not ", in()));
    try {
        return s.apply(parameters_, x);
    } catch (const TypeError& e) {
        throw TypeError(text(s.name(), " of ", in(), " inputs, applied to ", described(x), ": ", e.what()));
    } catch (const ValueError& e) {
        throw ValueError(text(s.name(), " of ", in(), " inputs, applied to ", described(x), ": ", e.what()));
    }
}

LinearMap LinearMap::adjoint() const { return {map::adjoint_of(structure_ptr()), parameters_}; }

LinearMap LinearMap::with_parameters(const Tree& parameters) const {
    const map::Structure& s = structure();
    const auto now = parameters_.flatten(), then = parameters.flatten();
    const auto fail = [&](const std::string& what) { throw ShapeError(text(s.name(), ": ", what)); };
    // A lone parameter has no name.
    const auto named = [](const std::string& path) {
        return path.empty() ? std::string("the parameter") : text("parameter \"", path, "\"");
    };
    if (now.size() != then.size()) fail(text(then.size(), " parameters, not ", now.size()));
    for (std::size_t i = 0; i < now.size(); ++i) {
        if (now[i].first != then[i].first)
            fail(text(named(then[i].first), " is given where ", named(now[i].first), " belongs"));
        if (now[i].second.shape() != then[i].second.shape())
            fail(text(named(now[i].first), " is ", to_string(then[i].second.shape()), ", not ",
                      to_string(now[i].second.shape())));
        if (is_floating(now[i].second.dtype()) != is_floating(then[i].second.dtype()))
            throw TypeError(text(s.name(), ": ", named(now[i].first), " is ", described(then[i].second), ", not ",
                                 described(now[i].second)));
    }
    LinearMap m = *this;
    m.parameters_ = parameters;
    return m;
}

map::Cost LinearMap::cost(std::int64_t rows) const {
    if (rows < 0) throw ValueError(text("cost: ", rows, " rows"));
    if (auto c = structure().cost(parameters_, rows)) return *c;
    return map::recorded_cost(structure(), parameters_, rows);
}

std::int64_t LinearMap::rank_bound() const {
    const std::int64_t full = std::min(out(), in());
    return std::min(full, structure().rank_bound().value_or(full));
}

Tensor LinearMap::to_dense() const {
    if (Tensor w = structure().to_dense(parameters_); w.defined()) return w;
    return map::transposed((*this)(map::identity(in(), map::dtype_of(parameters_))));
}

Tensor LinearMap::diagonal() const {
    if (Tensor d = structure().diagonal(parameters_); d.defined()) return d;
    const std::int64_t n = std::min(out(), in());
    // If the elements are taken as rows of n + 1, the diagonal is the first column.
    const Tensor square = slice(to_dense(), {0, 0}, {n, n}, {1, 1});
    const Tensor flat = pad(reshape(square, {n * n}), {0}, {n});
    return reshape(slice(reshape(flat, {n, n + 1}), {0, 0}, {n, 1}, {1, 1}), {n});
}

Tree LinearMap::learning_rates(RateRule rule) const {
    if (auto rates = structure().learning_rates(parameters_, rule)) return *rates;
    return parameters_.map([](const Tensor&) { return map::number(1); });
}

std::string LinearMap::describe() const {
    const map::Cost c = cost();
    std::string all = text(structure().name(), " (", out(), " x ", in(), "): ", c.parameters, " parameters, ",
                           c.multiply_adds, " multiply-adds a row, rank at most ", rank_bound());
    if (map::has_default_adjoint(structure()))
        all += "\n  adjoint: by default the transposed derivative; each use records the product twice";
    if (!structure().to_dense(parameters_).defined())
        all += text("\n  to_dense: by default ", in(), " products, of the identity's rows");
    if (!structure().diagonal(parameters_).defined()) all += "\n  diagonal: by default from to_dense";
    if (map::forms_matrices(structure())) all += "\n  product: by default both matrices are formed in each application";
    if (!structure().cost(parameters_, 1)) all += "\n  cost: by default counted over what the product records";
    for (const LinearMap& part : structure().parts(parameters_)) {
        all += "\n  ";
        for (const char letter : part.describe()) all += letter == '\n' ? std::string("\n  ") : std::string(1, letter);
    }
    return all;
}

}  // namespace tenon
