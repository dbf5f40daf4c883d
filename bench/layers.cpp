// Structured layers: Tenon's chain, its two products one after the other, other libraries' products composed, and the
// dense product.
#include <chrono>
#include <cstring>

#include "base/storage.h"
#include "bench/calls.h"
#include "bench/compose.h"
#include "product/chain/chain.h"
#include "product/weights.h"
#include "tenon/threads.h"
#include "tenon/version.h"

namespace bench {
namespace {

namespace product = tenon::product;

enum : std::uint8_t { kAlpha, kBeta, kGamma, kDelta, kEpsilon, kPhi, kRho, kRow };

/// The labels a chain points at; z has its axes as linear maps have them: in groups the rows last where they stand
/// alone.
struct LayerLabels {
    std::vector<std::uint8_t> x{kRow, kGamma, kBeta, kAlpha}, a{kPhi, kDelta, kRho, kGamma, kAlpha},
        b{kPhi, kEpsilon, kRho, kGamma, kBeta}, y{kRow, kPhi, kEpsilon, kDelta}, z;
};

Prepared prepare_tenon(const Problem& problem, const Operands& operands, bool fused) {
    const Structure& s = *problem.structure;
    const TypeTraits& t = traits(problem.type);
    auto labels = std::make_shared<LayerLabels>();
    const bool in_groups = s.gamma > 1 || s.phi > 1;
    labels->z = s.beta == 1 && s.delta == 1 && in_groups
                    ? std::vector<std::uint8_t>{kPhi, kDelta, kRho, kGamma, kBeta, kRow}
                    : std::vector<std::uint8_t>{kRow, kPhi, kDelta, kRho, kGamma, kBeta};
    const std::int64_t extents[] = {s.alpha, s.beta, s.gamma, s.delta, s.epsilon, s.phi, s.rho, problem.shape.m};
    const auto view = [&](const void* data, tenon::DType dtype, const std::vector<std::uint8_t>& axes) {
        tenon::Shape shape;
        for (const std::uint8_t axis : axes) shape.push_back(extents[axis]);
        return tenon::View{const_cast<void*>(data), dtype, tenon::Layout::contiguous(shape)};
    };
    const auto* weights = operands.b_as<std::byte>();
    product::Chain chain;
    chain.a = view(operands.a.data(), t.a, labels->x);
    chain.b = view(weights, t.b, labels->a);
    chain.c = view(weights + s.a_elements() * static_cast<std::int64_t>(tenon::size_of(t.b)), t.b, labels->b);
    chain.out = view(operands.c.data(), t.c, labels->y);
    chain.product = t.a;
    chain.first = {labels->x, labels->a, labels->z};
    chain.second = {labels->z, labels->b, labels->y};
    if (!fused) return call_all([chain, labels] { product::run_unfused(chain); });
    // Weights of a graph that comes back: they are packed at the second call, which is not timed.
    const auto owner = tenon::Storage::allocate(64);
    chain.b.owner = chain.c.owner = owner.get();
    return call_all([chain, labels, owner] {
        product::next_evaluation();
        product::run(chain);
    });
}

// --- compositions of other libraries' products ---

std::uint16_t round_to_brain(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

class Composer {
  public:
    Composer(const Peer& peer, const Problem& problem, const Operands& operands)
        : peer_(peer), problem_(problem), s_(*problem.structure), t_(traits(problem.type)), operands_(operands) {}

    /// z in the rows' order: two batched products, as they come, and a transpose between.
    std::shared_ptr<Composition> transposing() const {
        const std::int64_t n = problem_.shape.m, outs = s_.phi * s_.rho, k2 = s_.gamma * s_.rho;
        auto parts = std::make_shared<Composition>();
        const bool brain = problem_.type == Type::bf16;
        // The peer rounds to bfloat16 where it can; else the transpose does.
        bool rounds = brain;
        Problem first = part({n, outs, s_.alpha, s_.gamma}, false,
                             {problem_.shape.k, s_.alpha, outs, s_.alpha * outs, outs, n * outs});
        first.narrow = brain;
        if (brain && !peer_.supports(first).empty()) first.narrow = rounds = false;
        const Problem second = part({n, s_.epsilon, k2, s_.phi}, false,
                                    {k2, n * k2, s_.epsilon, k2 * s_.epsilon, problem_.shape.n, s_.epsilon});
        // A as (gamma, alpha, phi rho), B as (phi, gamma rho, epsilon).
        void* a = rearranged(*parts, 0, {s_.gamma, s_.alpha, outs}, {s_.alpha, 1, s_.gamma * s_.alpha});
        void* b = rearranged(*parts, s_.a_elements(), {s_.phi, s_.gamma, s_.rho, s_.epsilon},
                             {s_.epsilon * s_.rho * s_.gamma, 1, s_.gamma, s_.rho * s_.gamma});
        void* z = parts->allocate(n * k2 * s_.phi * (brain && !rounds ? 4 : size(t_.a)));
        // Without blocks the orders are one.
        const bool moves = s_.phi > 1 || s_.gamma > 1 || (brain && !rounds);
        void* read = moves ? parts->allocate(n * k2 * s_.phi * size(t_.a)) : z;
        // (gamma, n, phi, rho) to (phi, n, gamma, rho).
        const auto permute = [=, s = s_]<class From, class To, class Convert>(From*, To*, Convert convert) {
            return [=] {
                const std::function<void(std::int64_t, std::int64_t)> some = [&](std::int64_t from, std::int64_t to) {
                    for (std::int64_t row = from; row < to; ++row)
                        for (std::int64_t r = 0; r < s.rho; ++r) {
                            const From* src = static_cast<const From*>(z) + row * outs + r;
                            To* dst = static_cast<To*>(read) + row * k2 + r;
                            if (s.rho == 1) {
                                transpose(src, dst, s.phi, s.gamma, n * outs, n * k2, convert);
                                continue;
                            }
                            for (std::int64_t f = 0; f < s.phi; ++f)
                                for (std::int64_t g = 0; g < s.gamma; ++g)
                                    dst[f * n * k2 + g * s.rho] = convert(src[g * n * outs + f * s.rho]);
                        }
                };
                share(n, some);
            };
        };
        const auto same = [](auto x) { return x; };
        std::function<void()> between;
        if (brain && !rounds)
            between = permute(static_cast<float*>(nullptr), static_cast<std::uint16_t*>(nullptr), round_to_brain);
        else if (size(t_.a) == 2)
            between = permute(static_cast<std::uint16_t*>(nullptr), static_cast<std::uint16_t*>(nullptr), same);
        else if (size(t_.a) == 4)
            between = permute(static_cast<float*>(nullptr), static_cast<float*>(nullptr), same);
        else
            between = permute(static_cast<double*>(nullptr), static_cast<double*>(nullptr), same);
        parts->add(peer_, first, operands_.a.data(), a, z);
        if (moves) parts->steps.push_back(between);
        parts->add(peer_, second, read, b, operands_.c.data());
        return parts;
    }

    /// z with the rows last: the first product is computed transposed into the order that the second reads transposed.
    std::shared_ptr<Composition> in_place() const {
        const std::int64_t n = problem_.shape.m, outs = s_.phi * s_.rho, k2 = s_.gamma * s_.rho;
        auto parts = std::make_shared<Composition>();
        const bool brain = problem_.type == Type::bf16;
        Problem first = part({outs, n, s_.alpha, s_.gamma}, false,
                             {s_.alpha, outs * s_.alpha, problem_.shape.k, s_.alpha, s_.gamma * n, n});
        first.weights.transposed = true;
        first.narrow = brain;
        if (brain && !peer_.supports(first).empty()) throw Unsupported("no bfloat16 result");
        const Problem second = part({n, s_.epsilon, k2, s_.phi}, true,
                                    {n, k2 * n, s_.epsilon, k2 * s_.epsilon, problem_.shape.n, s_.epsilon});
        // A as (gamma, phi rho, alpha), B as (phi, rho gamma, epsilon).
        void* a = rearranged(*parts, 0, {s_.gamma, outs, s_.alpha}, {s_.alpha, s_.gamma * s_.alpha, 1});
        void* b = rearranged(*parts, s_.a_elements(), {s_.phi, k2, s_.epsilon}, {s_.epsilon * k2, 1, k2});
        void* z = parts->allocate(n * k2 * s_.phi * size(t_.a));
        parts->add(peer_, first, a, operands_.a.data(), z);
        parts->add(peer_, second, z, b, operands_.c.data());
        return parts;
    }

    /// A Kronecker product: one product for all rows, then one for each. Nothing needs a transpose.
    std::shared_ptr<Composition> kronecker() const {
        const std::int64_t n = problem_.shape.m;
        auto parts = std::make_shared<Composition>();
        const bool brain = problem_.type == Type::bf16;
        Problem first = part({n * s_.beta, s_.delta, s_.alpha, 1}, false, {s_.alpha, 0, s_.delta, 0, s_.delta, 0});
        first.narrow = brain;
        if (brain && !peer_.supports(first).empty()) throw Unsupported("no bfloat16 result");
        const Problem second = part({s_.epsilon, s_.delta, s_.beta, n}, false,
                                    {s_.beta, 0, s_.delta, s_.beta * s_.delta, s_.delta, s_.epsilon * s_.delta});
        void* a = rearranged(*parts, 0, {s_.alpha, s_.delta}, {1, s_.alpha});
        void* z = parts->allocate(n * s_.beta * s_.delta * size(t_.a));
        // The weights are A's here, one matrix for all.
        auto* b = const_cast<std::byte*>(weights()) + s_.a_elements() * size(t_.b);
        parts->add(peer_, first, operands_.a.data(), a, z);
        parts->add(peer_, second, b, z, operands_.c.data());
        return parts;
    }

  private:
    const std::byte* weights() const { return operands_.b_as<std::byte>(); }

    Problem part(const Shape& shape, bool a_transposed, const Steps& steps) const {
        Problem part;
        part.type = problem_.type, part.shape = shape, part.a_transposed = a_transposed, part.steps = steps;
        return part;
    }

    /// Weights from an element on, rearranged outside the timing.
    void* rearranged(Composition& parts, std::int64_t first, const std::vector<std::int64_t>& extents,
                     const std::vector<std::int64_t>& steps) const {
        std::int64_t count = 1;
        for (const std::int64_t n : extents) count *= n;
        void* to = parts.allocate(count * size(t_.b));
        rearrange(static_cast<std::byte*>(to), weights() + first * size(t_.b), size(t_.b), extents, steps);
        return to;
    }

    const Peer& peer_;
    const Problem& problem_;
    const Structure& s_;
    const TypeTraits& t_;
    const Operands& operands_;
};

/// The fastest composition of those that the peer has.
Prepared compose(const Peer& peer, const Problem& problem, const Operands& operands) {
    if (problem.backward()) return compose_gradients(peer, problem, operands);
    const Composer composer(peer, problem, operands);
    std::vector<std::function<std::shared_ptr<Composition>()>> ways;
    if (problem.structure->beta > 1 || problem.structure->delta > 1)
        ways = {[&] { return composer.kronecker(); }};
    else
        ways = {[&] { return composer.transposing(); }, [&] { return composer.in_place(); }};
    return {[best = fastest(ways)](std::int64_t calls) { best->run(calls); }, {}};
}

/// The layer as the matrix that it is: what a layer without structure takes, by the fastest of the libraries.
Prepared prepare_dense(const std::vector<Peer>& libraries, const Problem& problem, const Operands& operands) {
    const TypeTraits& t = traits(problem.type);
    const std::int64_t in = problem.shape.k, outs = problem.shape.n, bytes = size(t.a);
    if (problem.backward() || t.c != t.b) throw Unsupported("forward, in float32 and float64");
    Problem dense = problem, unit = problem;
    dense.structure.reset(), dense.weights.packed = true, unit.shape.m = in;
    const Operands units{Buffer(in * in * bytes), Buffer(operands.b.data(), operands.b.bytes()),
                         Buffer(in * outs * bytes)};
    std::memset(units.a.data(), 0, static_cast<std::size_t>(units.a.bytes()));
    for (std::int64_t i = 0; i < in; ++i)
        if (bytes == 4)
            static_cast<float*>(units.a.data())[i * in + i] = 1;
        else
            static_cast<double*>(units.a.data())[i * in + i] = 1;
    prepare_tenon(unit, units, true).run(1);
    struct Kept {
        Operands operands;
        Prepared best;
    };
    const auto kept =
        std::make_shared<Kept>(Kept{{Buffer(operands.a.data(), operands.a.bytes()), Buffer(in * outs * bytes),
                                     Buffer(operands.c.data(), operands.c.bytes())},
                                    {}});
    std::memcpy(kept->operands.b.data(), units.c.data(), static_cast<std::size_t>(units.c.bytes()));
    double least = 0;
    for (const Peer& library : libraries) {
        if (!library.supports(dense).empty()) continue;
        Prepared candidate = library.prepare(dense, kept->operands);
        candidate.run(1);
        const auto start = std::chrono::steady_clock::now();
        candidate.run(3);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (!kept->best.run || seconds < least) kept->best = std::move(candidate), least = seconds;
    }
    return {[kept](std::int64_t calls) { kept->best.run(calls); },
            [kept] {
                if (kept->best.fetch) kept->best.fetch();
            }};
}

}  // namespace

std::vector<Peer> layer_peers(const std::vector<Peer>& others, bool dense) {
    const auto all = [](const Problem&) { return std::string(); };
    const auto threads = [](int n) { tenon::set_num_threads(n); };
    const auto tenon_by = [](bool fused) {
        return [fused](const Problem& p, const Operands& o) {
            return p.backward() ? prepare_gradients(p, o, fused) : prepare_tenon(p, o, fused);
        };
    };
    std::vector<Peer> peers = {{"tenon", TENON_VERSION, all, tenon_by(true), threads},
                               {"unfused", TENON_VERSION, all, tenon_by(false), threads}};
    for (const Peer& other : others) peers.push_back(by_composition(other, compose));
    if (!dense) return peers;
    std::vector<Peer> libraries = others;
    libraries.insert(libraries.begin(), tenon_peer());
    peers.push_back({kDense, TENON_VERSION, all,
                     [libraries](const Problem& p, const Operands& o) { return prepare_dense(libraries, p, o); },
                     threads});
    return peers;
}

}  // namespace bench
