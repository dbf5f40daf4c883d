// Maps made of maps: composition, sum, scaling, elementwise product. Parameters "0" and "1" are those of the parts.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"
#include "map/labels.h"
#include "map/structure.h"
#include "tenon/error.h"
#include "tenon/functions.h"

namespace tenon::map {
namespace {

Tree pair_of(const Tree& a, const Tree& b) { return Tree({{"0", a}, {"1", b}}); }

// Two structures, with the places of their parameters.
class Pair : public Structure {
  public:
    Pair(StructurePtr a, StructurePtr b) : a_(std::move(a)), b_(std::move(b)) {}
    std::vector<LinearMap> parts(const Tree& p) const override { return {first(p), second(p)}; }

  protected:
    LinearMap first(const Tree& p) const { return {a_, p["0"]}; }
    LinearMap second(const Tree& p) const { return {b_, p["1"]}; }
    StructurePtr adjoint_a() const { return adjoint_of(a_); }
    StructurePtr adjoint_b() const { return adjoint_of(b_); }
    std::int64_t rank_a() const { return rank_bound_of(*a_); }
    std::int64_t rank_b() const { return rank_bound_of(*b_); }

    // The factors of the parts, as if each core were one of the whole map's cores.
    std::optional<Tree> rates(const Tree& p, RateRule rule) const {
        const std::int64_t cores = static_cast<std::int64_t>(p.leaves().size());
        const auto of = [&](const LinearMap& part) {
            const std::int64_t own = static_cast<std::int64_t>(part.parameters().leaves().size());
            const double factor = learning_rate(rule, shape(), part.shape(), cores).item<double>();
            return part.learning_rates(rule).map(
                [&](const Tensor& t) { return number(t.item<double>() * factor * static_cast<double>(own)); });
        };
        return pair_of(of(first(p)), of(second(p)));
    }

    StructurePtr a_, b_;

  private:
    static std::int64_t rank_bound_of(const Structure& s) {
        const std::int64_t full = std::min(s.shape()[0], s.shape()[1]);
        return std::min(full, s.rank_bound().value_or(full));
    }
};

class Composition final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Composition"; }
    Shape shape() const override { return {a_->shape()[0], b_->shape()[1]}; }
    Tensor apply(const Tree& p, const Tensor& x) const override { return first(p)(second(p)(x)); }
    StructurePtr adjoint() const override;
    Tensor to_dense(const Tree& p) const override { return transposed(first(p)(transposed(second(p).to_dense()))); }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        const Cost a = first(p).cost(rows), b = second(p).cost(rows);
        return Cost{a.multiply_adds + b.multiply_adds, a.parameters + b.parameters, a.bytes + b.bytes};
    }
    std::optional<std::int64_t> rank_bound() const override { return std::min(rank_a(), rank_b()); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }
};

// A composition's adjoint has the parts in the other order, and the parameters in the same.
class ReversedComposition final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Composition^T"; }
    Shape shape() const override { return {b_->shape()[0], a_->shape()[1]}; }
    Tensor apply(const Tree& p, const Tensor& x) const override { return second(p)(first(p)(x)); }
    StructurePtr adjoint() const override { return std::make_shared<Composition>(adjoint_a(), adjoint_b()); }
    Tensor to_dense(const Tree& p) const override { return transposed(second(p)(transposed(first(p).to_dense()))); }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        return Composition(a_, b_).cost(p, rows);
    }
    std::optional<std::int64_t> rank_bound() const override { return std::min(rank_a(), rank_b()); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }
};

StructurePtr Composition::adjoint() const { return std::make_shared<ReversedComposition>(adjoint_a(), adjoint_b()); }

class Sum final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Sum"; }
    Shape shape() const override { return a_->shape(); }
    Tensor apply(const Tree& p, const Tensor& x) const override { return first(p)(x) + second(p)(x); }
    StructurePtr adjoint() const override { return std::make_shared<Sum>(adjoint_a(), adjoint_b()); }
    Tensor to_dense(const Tree& p) const override { return first(p).to_dense() + second(p).to_dense(); }
    Tensor diagonal(const Tree& p) const override { return first(p).diagonal() + second(p).diagonal(); }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        const Cost a = first(p).cost(rows), b = second(p).cost(rows);
        return Cost{a.multiply_adds + b.multiply_adds, a.parameters + b.parameters, a.bytes + b.bytes};
    }
    std::optional<std::int64_t> rank_bound() const override { return rank_a() + rank_b(); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }
};

class Scaled final : public Structure {
  public:
    Scaled(double s, StructurePtr a) : s_(s), a_(std::move(a)) {}
    std::string name() const override { return text(s_, " ", a_->name()); }
    Shape shape() const override { return a_->shape(); }
    Tensor apply(const Tree& p, const Tensor& x) const override { return LinearMap(a_, p)(x) * s_; }
    StructurePtr adjoint() const override { return std::make_shared<Scaled>(s_, adjoint_of(a_)); }
    Tensor to_dense(const Tree& p) const override { return LinearMap(a_, p).to_dense() * s_; }
    Tensor diagonal(const Tree& p) const override { return LinearMap(a_, p).diagonal() * s_; }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        Cost c = LinearMap(a_, p).cost(rows);
        c.multiply_adds += rows * shape()[0];
        return c;
    }
    std::optional<std::int64_t> rank_bound() const override { return a_->rank_bound(); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override {
        const double each = s_ == 0 ? 1 : rule == RateRule::adam ? std::abs(s_) : s_ * s_;
        return LinearMap(a_, p).learning_rates(rule).map(
            [&](const Tensor& t) { return number(t.item<double>() / each); });
    }
    std::vector<LinearMap> parts(const Tree& p) const override { return {{a_, p}}; }

  private:
    double s_;
    StructurePtr a_;
};

// The elementwise product of any two maps: both matrices are formed, multiplied and applied.
class Hadamard final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Hadamard"; }
    Shape shape() const override { return a_->shape(); }
    Tensor apply(const Tree& p, const Tensor& x) const override { return Dense::from(to_dense(p))(x); }
    StructurePtr adjoint() const override { return std::make_shared<Hadamard>(adjoint_a(), adjoint_b()); }
    Tensor to_dense(const Tree& p) const override { return first(p).to_dense() * second(p).to_dense(); }
    Tensor diagonal(const Tree& p) const override { return first(p).diagonal() * second(p).diagonal(); }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        const Shape s = shape();
        const std::int64_t elements = product_of({s[0], s[1]});
        Cost c = make_cost(p, rows, s[1], s[0], elements);
        for (const LinearMap& part : parts(p)) {
            const bool formed = !is_dense(part.structure());
            const Cost forming = formed ? part.cost(s[1]) : Cost{};
            c.multiply_adds += forming.multiply_adds;
            c.bytes += forming.bytes;
        }
        c.multiply_adds += elements;
        return c;
    }
    std::optional<std::int64_t> rank_bound() const override { return rank_a() * rank_b(); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }
};

// The elementwise product of a diagonal map (the first) and any other: diag(a) diag(b).
class DiagonalHadamard final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Hadamard with Diagonal"; }
    Shape shape() const override { return a_->shape(); }
    Tensor apply(const Tree& p, const Tensor& x) const override { return x * diagonal(p); }
    StructurePtr adjoint() const override { return std::make_shared<DiagonalHadamard>(a_, b_); }
    Tensor to_dense(const Tree& p) const override { return Diagonal::from(diagonal(p)).to_dense(); }
    Tensor diagonal(const Tree& p) const override { return first(p).diagonal() * second(p).diagonal(); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }
};

// The elementwise product of a map of low rank (the first), W = sum_i u_i v_i^T, and any M: sum_i diag(u_i) M
// diag(v_i), which applies M to k times the rows.
class LowRankHadamard final : public Pair {
  public:
    using Pair::Pair;
    std::string name() const override { return "Hadamard with LowRank"; }
    Shape shape() const override { return b_->shape(); }

    Tensor apply(const Tree& p, const Tensor& x) const override {
        const auto [u, v] = factors(p);
        Shape s = x.shape();
        s.insert(s.rank() - 1, 1);
        const Tensor y = second(p)(reshape(x, s) * v);
        return sum(y * u, -2);
    }
    StructurePtr adjoint() const override { return std::make_shared<LowRankHadamard>(adjoint_a(), adjoint_b()); }
    Tensor to_dense(const Tree& p) const override { return first(p).to_dense() * second(p).to_dense(); }
    Tensor diagonal(const Tree& p) const override { return first(p).diagonal() * second(p).diagonal(); }
    std::optional<Cost> cost(const Tree& p, std::int64_t rows) const override {
        const std::int64_t k = low_rank().theta().rho, in = shape()[1], out = shape()[0];
        Cost c = make_cost(p, rows, in, out, k * (in + out), k * (in + out));
        c.multiply_adds += second(p).cost(rows * k).multiply_adds;
        return c;
    }
    std::optional<std::int64_t> rank_bound() const override { return rank_a() * rank_b(); }
    std::optional<Tree> learning_rates(const Tree& p, RateRule rule) const override { return rates(p, rule); }

  private:
    const TwoFactor& low_rank() const { return static_cast<const TwoFactor&>(*a_); }

    // u (k, out) and v (k, in).
    std::array<Tensor, 2> factors(const Tree& p) const {
        const Theta& t = low_rank().theta();
        const Tensor v = reshape(p["0"]["A"].tensor(), {t.rho, t.alpha});
        const Tensor u = transposed(reshape(p["0"]["B"].tensor(), {t.epsilon, t.rho}));
        if (low_rank().transposed()) return {v, u};
        return {u, v};
    }
};

// The rank k of a two-factor map that is a product U V, else 0.
std::int64_t low_rank(const Structure& s) {
    const auto* two = dynamic_cast<const TwoFactor*>(&s);
    if (!two) return 0;
    const Theta& t = two->theta();
    const std::int64_t width = two->shape()[two->transposed() ? 0 : 1],
                       height = two->shape()[two->transposed() ? 1 : 0];
    const Theta plain{.alpha = width, .epsilon = height, .rho = t.rho};
    return t == plain ? t.rho : 0;
}

}  // namespace

bool forms_matrices(const Structure& s) { return dynamic_cast<const Hadamard*>(&s) != nullptr; }

namespace {

void check_equal(const char* what, const LinearMap& a, const LinearMap& b) {
    if (a.shape() != b.shape())
        throw ShapeError(text(what, " of linear maps (", a.out(), " x ", a.in(), ") and (", b.out(), " x ", b.in(),
                              "): the shapes differ"));
}

template <class T>
LinearMap paired(const LinearMap& a, const LinearMap& b) {
    return {std::make_shared<T>(a.structure_ptr(), b.structure_ptr()), pair_of(a.parameters(), b.parameters())};
}

}  // namespace

LinearMap hadamard_of(const LinearMap& a, const LinearMap& b) {
    check_equal("hadamard", a, b);
    if (is_diagonal(a.structure())) return paired<DiagonalHadamard>(a, b);
    if (is_diagonal(b.structure())) return paired<DiagonalHadamard>(b, a);
    const std::int64_t ka = low_rank(a.structure()), kb = low_rank(b.structure());
    if (ka && (!kb || ka <= kb)) return paired<LowRankHadamard>(a, b);
    if (kb) return paired<LowRankHadamard>(b, a);
    return paired<Hadamard>(a, b);
}

LinearMap composition_of(const LinearMap& a, const LinearMap& b) {
    if (a.in() != b.out())
        throw ShapeError(text("composition of linear maps (", a.out(), " x ", a.in(), ") and (", b.out(), " x ", b.in(),
                              "): ", a.in(), " is not ", b.out()));
    return paired<Composition>(a, b);
}

LinearMap sum_of(const LinearMap& a, const LinearMap& b) {
    check_equal("sum", a, b);
    return paired<Sum>(a, b);
}

LinearMap scaled(double s, const LinearMap& a) {
    return {std::make_shared<Scaled>(s, a.structure_ptr()), a.parameters()};
}

}  // namespace tenon::map

namespace tenon {

LinearMap operator*(const LinearMap& a, const LinearMap& b) { return map::composition_of(a, b); }
LinearMap operator+(const LinearMap& a, const LinearMap& b) { return map::sum_of(a, b); }
LinearMap operator*(double s, const LinearMap& a) { return map::scaled(s, a); }
LinearMap hadamard(const LinearMap& a, const LinearMap& b) { return map::hadamard_of(a, b); }

}  // namespace tenon
