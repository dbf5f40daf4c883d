// Structured layers with the gradients of the input and of both weights: a compiled function of Tenon, with chains and
// without, and other libraries' products composed. All in float32.
#include "bench/calls.h"
#include "bench/compose.h"
#include "schedule/options.h"
#include "tenon/compile.h"
#include "tenon/map.h"
#include "tenon/transform.h"

namespace bench {
namespace {

using tenon::Tensor;
using tenon::Tree;

/// Where the parts of a problem's operands begin.
struct Places {
    float *x, *ct, *a, *b, *y, *dx, *da, *db;

    Places(const Problem& p, const Operands& o)
        : x(static_cast<float*>(o.a.data())),
          ct(x + p.shape.m * p.shape.k),
          a(static_cast<float*>(o.b.data())),
          b(a + p.structure->a_elements()),
          y(static_cast<float*>(o.c.data())),
          dx(y + p.shape.m * p.shape.n),
          da(dx + p.shape.m * p.shape.k),
          db(da + p.structure->a_elements()) {}
};

/// The results of the last run, for the check.
struct Results {
    std::vector<Tensor> all;
};

}  // namespace

Prepared prepare_gradients(const Problem& problem, const Operands& operands, bool fused) {
    const Structure& s = *problem.structure;
    const Places at(problem, operands);
    // Not copied: like weights that change with each step, they are never packed beforehand.
    const auto wrap = [](float* data, const tenon::Shape& shape) {
        return Tensor::wrap(data, tenon::DType::float32, tenon::Layout::contiguous(shape), [] {});
    };
    const Tensor x = wrap(at.x, {problem.shape.m, problem.shape.k}),
                 ct = wrap(at.ct, {problem.shape.m, problem.shape.n}),
                 a = wrap(at.a, {s.phi, s.delta, s.rho, s.gamma, s.alpha}),
                 b = wrap(at.b, {s.phi, s.epsilon, s.rho, s.gamma, s.beta});
    const auto results = std::make_shared<Results>();
    tenon::schedule::Options options;
    options.chain = fused;
    const auto step = tenon::compile([](const Tree& arguments, const Tensor& cotangent) {
        const auto layer = [](const Tree& t) {
            return Tree(tenon::map::TwoFactor::from(t["a"].tensor(), t["b"].tensor())(t["x"].tensor()));
        };
        auto [y, pull] = tenon::vjp(layer, arguments);
        return Tree({{"y", y}, {"gradients", pull(Tree(cotangent))}});
    });
    const Tree parameters({{"x", x}, {"a", a}, {"b", b}});
    const auto once = [=] {
        const tenon::schedule::WithOptions scope(options);
        results->all.clear();
        results->all = step(parameters, ct).leaves();
    };
    return {[once, results](std::int64_t calls) {
                for (std::int64_t i = 0; i < calls; ++i) once();
            },
            [once, results, to = at.y] {
                float* next = to;
                for (const Tensor& t : results->all) {
                    const std::vector<float> values = t.to<float>();
                    next = std::copy(values.begin(), values.end(), next);
                }
            }};
}

namespace {

/// The layer as written by hand with a library of products: the intermediate is kept for the gradient of the second
/// weights, its cotangent for that of the first.
class GradientComposer {
  public:
    GradientComposer(const Peer& peer, const Problem& problem, const Operands& operands)
        : peer_(peer), problem_(problem), s_(*problem.structure), at_(problem, operands) {}

    /// Batched products as they come, z and its cotangent transposed between them.
    std::shared_ptr<Composition> transposing() {
        Start c(*this);
        const std::int64_t ldx = problem_.shape.k, ldy = problem_.shape.n;
        // A as (gamma, alpha, phi rho) and (gamma, phi rho, alpha), B as (phi, gamma rho, epsilon) and (phi, epsilon,
        // gamma rho).
        float *a = weights(*c, at_.a, {s_.gamma, s_.alpha, outs_}, {s_.alpha, 1, s_.gamma * s_.alpha}),
              *a_back = weights(*c, at_.a, {s_.gamma, outs_, s_.alpha}, {s_.alpha, s_.gamma * s_.alpha, 1}),
              *b = weights(*c, at_.b, {s_.phi, s_.gamma, s_.rho, s_.epsilon},
                           {s_.epsilon * s_.rho * s_.gamma, 1, s_.gamma, s_.rho * s_.gamma}),
              *b_back = weights(*c, at_.b, {s_.phi, s_.epsilon, s_.gamma, s_.rho},
                                {s_.epsilon * s_.rho * s_.gamma, s_.rho * s_.gamma, 1, s_.gamma});
        const bool moves = s_.phi > 1 || s_.gamma > 1;
        float *z = c.z(), *z_read = moves ? c.z() : z, *dz = c.z(), *dz_read = moves ? c.z() : dz;
        add(c, {n_, outs_, s_.alpha, s_.gamma}, {ldx, s_.alpha, outs_, s_.alpha * outs_, outs_, n_ * outs_}, at_.x, a,
            z);
        if (moves) c->steps.push_back(permute(z, z_read, s_.gamma, s_.phi));
        add(c, {n_, s_.epsilon, k2_, s_.phi}, {k2_, n_ * k2_, s_.epsilon, k2_ * s_.epsilon, ldy, s_.epsilon}, z_read, b,
            at_.y);
        add(c, {n_, k2_, s_.epsilon, s_.phi}, {ldy, s_.epsilon, k2_, k2_ * s_.epsilon, k2_, n_ * k2_}, at_.ct, b_back,
            dz);
        add(c, {k2_, s_.epsilon, n_, s_.phi}, {k2_, n_ * k2_, ldy, s_.epsilon, s_.epsilon, k2_ * s_.epsilon}, z_read,
            at_.ct, c.db, true);
        if (moves) c->steps.push_back(permute(dz, dz_read, s_.phi, s_.gamma));
        add(c, {n_, s_.alpha, outs_, s_.gamma}, {outs_, n_ * outs_, s_.alpha, s_.alpha * outs_, ldx, s_.alpha}, dz_read,
            a_back, at_.dx);
        add(c, {s_.alpha, outs_, n_, s_.gamma}, {ldx, s_.alpha, outs_, n_ * outs_, outs_, s_.alpha * outs_}, at_.x,
            dz_read, c.da, true);
        c.gradients({s_.phi, s_.rho, s_.gamma, s_.alpha}, {s_.rho, 1, s_.alpha * outs_, outs_},
                    {s_.phi, s_.epsilon, s_.rho, s_.gamma}, {k2_ * s_.epsilon, 1, s_.epsilon, s_.rho * s_.epsilon});
        return c.made();
    }

    /// The rows last in z and its cotangent: nothing is moved, some operands are read transposed.
    std::shared_ptr<Composition> in_place() {
        Start c(*this);
        const std::int64_t ldx = problem_.shape.k, ldy = problem_.shape.n, row = s_.gamma * n_;
        // A as (gamma, phi rho, alpha), B as (phi, rho gamma, epsilon).
        float *a = weights(*c, at_.a, {s_.gamma, outs_, s_.alpha}, {s_.alpha, s_.gamma * s_.alpha, 1}),
              *b = weights(*c, at_.b, {s_.phi, k2_, s_.epsilon}, {s_.epsilon * k2_, 1, k2_});
        float *z = c.z(), *dz = c.z();
        add(c, {outs_, n_, s_.alpha, s_.gamma}, {s_.alpha, outs_ * s_.alpha, ldx, s_.alpha, row, n_}, a, at_.x, z,
            false, true);
        add(c, {n_, s_.epsilon, k2_, s_.phi}, {n_, k2_ * n_, s_.epsilon, k2_ * s_.epsilon, ldy, s_.epsilon}, z, b,
            at_.y, true);
        add(c, {k2_, n_, s_.epsilon, s_.phi}, {s_.epsilon, k2_ * s_.epsilon, ldy, s_.epsilon, n_, k2_ * n_}, b, at_.ct,
            dz, false, true);
        add(c, {k2_, s_.epsilon, n_, s_.phi}, {n_, k2_ * n_, ldy, s_.epsilon, s_.epsilon, k2_ * s_.epsilon}, z, at_.ct,
            c.db);
        add(c, {n_, s_.alpha, outs_, s_.gamma}, {row, n_, s_.alpha, outs_ * s_.alpha, ldx, s_.alpha}, dz, a, at_.dx,
            true);
        add(c, {outs_, s_.alpha, n_, s_.gamma}, {row, n_, ldx, s_.alpha, s_.alpha, outs_ * s_.alpha}, dz, at_.x, c.da);
        c.gradients({s_.phi, s_.rho, s_.gamma, s_.alpha}, {s_.rho * s_.alpha, s_.alpha, outs_ * s_.alpha, 1},
                    {s_.phi, s_.epsilon, k2_}, {k2_ * s_.epsilon, 1, s_.epsilon});
        return c.made();
    }

    /// A Kronecker product. The sum over rows and columns of B's gradient is one product once both are transposed.
    std::shared_ptr<Composition> kronecker() {
        Start c(*this);
        const std::int64_t zs = s_.beta * s_.delta, ys = s_.epsilon * s_.delta;
        float *a = weights(*c, at_.a, {s_.alpha, s_.delta}, {1, s_.alpha}), *z = c.z(), *dz = c.z();
        auto* z_read = static_cast<float*>(c->allocate(n_ * zs * 4));
        auto* ct_read = static_cast<float*>(c->allocate(n_ * ys * 4));
        add(c, {n_ * s_.beta, s_.delta, s_.alpha, 1}, {s_.alpha, 0, s_.delta, 0, s_.delta, 0}, at_.x, a, z);
        add(c, {s_.epsilon, s_.delta, s_.beta, n_}, {s_.beta, 0, s_.delta, zs, s_.delta, ys}, at_.b, z, at_.y);
        add(c, {s_.beta, s_.delta, s_.epsilon, n_}, {s_.beta, 0, s_.delta, ys, s_.delta, zs}, at_.b, at_.ct, dz, true);
        c->steps.push_back([=, this, s = s_, n = n_] {
            const std::function<void(std::int64_t, std::int64_t)> some = [&](std::int64_t from, std::int64_t to) {
                const auto same = [](float v) { return v; };
                for (std::int64_t i = from; i < to; ++i) {
                    transpose(z + i * zs, z_read + i * zs, s.delta, s.beta, s.delta, s.beta, same);
                    transpose(at_.ct + i * ys, ct_read + i * ys, s.delta, s.epsilon, s.delta, s.epsilon, same);
                }
            };
            share(n, some);
        });
        add(c, {s_.epsilon, s_.beta, n_ * s_.delta, 1}, {s_.epsilon, 0, s_.beta, 0, s_.beta, 0}, ct_read, z_read, c.db,
            true);
        add(c, {n_ * s_.beta, s_.alpha, s_.delta, 1}, {s_.delta, 0, s_.alpha, 0, s_.alpha, 0}, dz, at_.a, at_.dx);
        add(c, {s_.delta, s_.alpha, n_ * s_.beta, 1}, {s_.delta, 0, s_.alpha, 0, s_.alpha, 0}, dz, at_.x, c.da, true);
        c.gradients({s_.delta, s_.alpha}, {s_.alpha, 1}, {s_.epsilon, s_.beta}, {s_.beta, 1});
        return c.made();
    }

  private:
    /// A composition and the gradients of the weights in its own order.
    struct Start {
        const GradientComposer& composer;
        std::shared_ptr<Composition> parts = std::make_shared<Composition>();
        float *da, *db;

        explicit Start(const GradientComposer& of)
            : composer(of),
              da(static_cast<float*>(parts->allocate(4 * of.s_.a_elements()))),
              db(static_cast<float*>(parts->allocate(4 * of.s_.b_elements()))) {}
        Composition* operator->() const { return parts.get(); }
        Composition& operator*() const { return *parts; }
        float* z() const { return static_cast<float*>(parts->allocate(4 * composer.n_ * composer.s_.z_elements())); }
        /// How the caller's order reads them.
        void gradients(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& a_steps,
                       const std::vector<std::int64_t>& b, const std::vector<std::int64_t>& b_steps) const {
            parts->fetch = [=, to = composer.at_, from_a = da, from_b = db] {
                rearrange(reinterpret_cast<std::byte*>(to.da), reinterpret_cast<const std::byte*>(from_a), 4, a,
                          a_steps);
                rearrange(reinterpret_cast<std::byte*>(to.db), reinterpret_cast<const std::byte*>(from_b), 4, b,
                          b_steps);
            };
        }
        std::shared_ptr<Composition> made() const { return parts; }
    };

    float* weights(Composition& c, const float* from, const std::vector<std::int64_t>& extents,
                   const std::vector<std::int64_t>& steps) const {
        std::int64_t count = 1;
        for (const std::int64_t n : extents) count *= n;
        auto* to = static_cast<float*>(c.allocate(count * 4));
        rearrange(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from), 4, extents, steps);
        return to;
    }

    void add(const Start& c, const Shape& shape, const Steps& steps, float* a, float* b, float* to,
             bool a_transposed = false, bool b_transposed = false) const {
        Problem part;
        part.type = Type::f32, part.shape = shape, part.steps = steps;
        part.a_transposed = a_transposed, part.weights.transposed = b_transposed;
        c->add(peer_, part, a, b, to);
    }

    /// (from, n, to, rho) to (to, n, from, rho).
    std::function<void()> permute(const float* z, float* read, std::int64_t from, std::int64_t to) const {
        const std::int64_t rho = s_.rho, n = n_;
        return [=] {
            const std::function<void(std::int64_t, std::int64_t)> some = [&](std::int64_t first, std::int64_t last) {
                for (std::int64_t row = first; row < last; ++row) {
                    const float* src = z + row * to * rho;
                    float* dst = read + row * from * rho;
                    if (rho == 1) {
                        transpose(src, dst, to, from, n * to, n * from, [](float v) { return v; });
                        continue;
                    }
                    for (std::int64_t t = 0; t < to; ++t)
                        for (std::int64_t f = 0; f < from; ++f)
                            std::copy_n(src + (f * n * to + t) * rho, rho, dst + (t * n * from + f) * rho);
                }
            };
            share(n, some);
        };
    }

    const Peer& peer_;
    const Problem& problem_;
    const Structure& s_;
    const Places at_;
    const std::int64_t n_ = problem_.shape.m, outs_ = s_.phi * s_.rho, k2_ = s_.gamma * s_.rho;
};

}  // namespace

Prepared compose_gradients(const Peer& peer, const Problem& problem, const Operands& operands) {
    const auto composer = std::make_shared<GradientComposer>(peer, problem, operands);
    std::vector<std::function<std::shared_ptr<Composition>()>> ways;
    if (problem.structure->beta > 1 || problem.structure->delta > 1)
        ways = {[&] { return composer->kronecker(); }};
    else
        ways = {[&] { return composer->transposing(); }, [&] { return composer->in_place(); }};
    const auto best = fastest(ways);
    return {[best, composer](std::int64_t calls) { best->run(calls); }, best->fetch};
}

}  // namespace bench
