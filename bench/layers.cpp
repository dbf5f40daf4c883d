// Structured layers: Tenon's chain, its two products one after the other, and other libraries' products composed.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "bench/calls.h"
#include "bench/peer.h"
#include "product/chain/chain.h"
#include "tenon/threads.h"

namespace bench {
namespace {

namespace product = tenon::product;

enum : std::uint8_t { kAlpha, kBeta, kGamma, kDelta, kEpsilon, kPhi, kRho, kRow };

/// The labels a chain points at; z has its axes as linear maps have them: the rows last where they stand alone.
struct LayerLabels {
    std::vector<std::uint8_t> x{kRow, kGamma, kBeta, kAlpha}, a{kPhi, kDelta, kRho, kGamma, kAlpha},
        b{kPhi, kEpsilon, kRho, kGamma, kBeta}, y{kRow, kPhi, kEpsilon, kDelta}, z;
};

Prepared prepare_tenon(const Problem& problem, const Operands& operands, bool fused) {
    const Structure& s = *problem.structure;
    const TypeTraits& t = traits(problem.type);
    auto labels = std::make_shared<LayerLabels>();
    labels->z = s.beta == 1 && s.delta == 1 ? std::vector<std::uint8_t>{kPhi, kDelta, kRho, kGamma, kBeta, kRow}
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
    return call_all([chain, labels, fused] { fused ? product::run(chain) : product::run_unfused(chain); });
}

// --- compositions of other libraries' products ---

/// dst[i][j] = src[j][i], for a batch: sizes and steps of both, in elements.
template <class From, class To, class Convert>
void transpose(const From* src, To* dst, std::int64_t rows, std::int64_t columns, std::int64_t src_step,
               std::int64_t dst_step, Convert convert) {
    constexpr std::int64_t kTile = 16;
    for (std::int64_t i = 0; i < rows; i += kTile)
        for (std::int64_t j = 0; j < columns; j += kTile)
            for (std::int64_t r = i; r < std::min(i + kTile, rows); ++r)
                for (std::int64_t c = j; c < std::min(j + kTile, columns); ++c)
                    dst[r * dst_step + c] = convert(src[c * src_step + r]);
}

std::uint16_t round_to_brain(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

std::int64_t size(tenon::DType t) { return static_cast<std::int64_t>(tenon::size_of(t)); }

/// What a composition keeps: weights in the order it likes, z, and the two products.
struct Parts {
    Problem first, second;
    std::vector<Buffer> memory;
    std::vector<Operands> operands;
    Prepared one, two;
    std::function<void()> between;

    void run(std::int64_t calls) const {
        for (std::int64_t i = 0; i < calls; ++i) {
            one.run(1);
            if (between) between();
            two.run(1);
        }
    }
};

/// Weights rearranged, outside the timing: for each axis of the result the step in the source.
Buffer rearranged(const std::byte* from, std::int64_t element, const std::vector<std::int64_t>& extents,
                  const std::vector<std::int64_t>& steps) {
    std::int64_t count = 1;
    for (const std::int64_t n : extents) count *= n;
    Buffer to(count * element);
    for (std::int64_t i = 0; i < count; ++i) {
        std::int64_t rest = i, at = 0;
        for (std::size_t axis = extents.size(); axis-- > 0; rest /= extents[axis])
            at += rest % extents[axis] * steps[axis];
        std::memcpy(static_cast<std::byte*>(to.data()) + i * element, from + at * element,
                    static_cast<std::size_t>(element));
    }
    return to;
}

class Composer {
  public:
    Composer(const Peer& peer, const Problem& problem, const Operands& operands)
        : peer_(peer), problem_(problem), s_(*problem.structure), t_(traits(problem.type)), operands_(operands) {}

    /// z in the rows' order: two batched products, as they come, and a transpose between.
    std::shared_ptr<Parts> transposing() const {
        const std::int64_t n = problem_.shape.m, outs = s_.phi * s_.rho, k2 = s_.gamma * s_.rho;
        auto parts = std::make_shared<Parts>();
        const bool brain = problem_.type == Type::bf16;
        // The peer rounds to bfloat16 where it can; else the transpose does.
        bool rounds = brain;
        parts->first = part({n, outs, s_.alpha, s_.gamma}, false,
                            {problem_.shape.k, s_.alpha, outs, s_.alpha * outs, outs, n * outs});
        parts->first.narrow = brain;
        if (brain && !peer_.supports(parts->first).empty()) parts->first.narrow = rounds = false;
        parts->second = part({n, s_.epsilon, k2, s_.phi}, false,
                             {k2, n * k2, s_.epsilon, k2 * s_.epsilon, problem_.shape.n, s_.epsilon});
        // A as (gamma, alpha, phi rho), B as (phi, gamma rho, epsilon).
        parts->memory.push_back(
            rearranged(weights(), size(t_.b), {s_.gamma, s_.alpha, outs}, {s_.alpha, 1, s_.gamma * s_.alpha}));
        parts->memory.push_back(rearranged(weights() + s_.a_elements() * size(t_.b), size(t_.b),
                                           {s_.phi, s_.gamma, s_.rho, s_.epsilon},
                                           {s_.epsilon * s_.rho * s_.gamma, 1, s_.gamma, s_.rho * s_.gamma}));
        const std::int64_t z_size = brain && !rounds ? 4 : size(t_.a);
        parts->memory.emplace_back(n * k2 * s_.phi * z_size);
        parts->memory.emplace_back(n * k2 * s_.phi * size(t_.a));
        void *z = parts->memory[2].data(), *read = parts->memory[3].data();
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
        if (brain && !rounds)
            parts->between =
                permute(static_cast<float*>(nullptr), static_cast<std::uint16_t*>(nullptr), round_to_brain);
        else if (size(t_.a) == 2)
            parts->between = permute(static_cast<std::uint16_t*>(nullptr), static_cast<std::uint16_t*>(nullptr), same);
        else if (size(t_.a) == 4)
            parts->between = permute(static_cast<float*>(nullptr), static_cast<float*>(nullptr), same);
        else
            parts->between = permute(static_cast<double*>(nullptr), static_cast<double*>(nullptr), same);
        finish(*parts, operands_.a.data(), parts->memory[0].data(), z, read, parts->memory[1].data());
        return parts;
    }

    /// z with the rows last: the first product is computed transposed into the order that the second reads transposed.
    std::shared_ptr<Parts> in_place() const {
        const std::int64_t n = problem_.shape.m, outs = s_.phi * s_.rho, k2 = s_.gamma * s_.rho;
        auto parts = std::make_shared<Parts>();
        const bool brain = problem_.type == Type::bf16;
        parts->first = part({outs, n, s_.alpha, s_.gamma}, false,
                            {s_.alpha, outs * s_.alpha, problem_.shape.k, s_.alpha, s_.gamma * n, n});
        parts->first.weights.transposed = true;
        parts->first.narrow = brain;
        if (brain && !peer_.supports(parts->first).empty()) throw Unsupported("no bfloat16 result");
        parts->second = part({n, s_.epsilon, k2, s_.phi}, true,
                             {n, k2 * n, s_.epsilon, k2 * s_.epsilon, problem_.shape.n, s_.epsilon});
        // A as (gamma, phi rho, alpha), B as (phi, rho gamma, epsilon).
        parts->memory.push_back(
            rearranged(weights(), size(t_.b), {s_.gamma, outs, s_.alpha}, {s_.alpha, s_.gamma * s_.alpha, 1}));
        parts->memory.push_back(rearranged(weights() + s_.a_elements() * size(t_.b), size(t_.b),
                                           {s_.phi, k2, s_.epsilon}, {s_.epsilon * k2, 1, k2}));
        parts->memory.emplace_back(n * k2 * s_.phi * size(t_.a));
        void* z = parts->memory[2].data();
        finish(*parts, parts->memory[0].data(), operands_.a.data(), z, z, parts->memory[1].data());
        return parts;
    }

    /// A Kronecker product: one product for all rows, then one for each. Nothing needs a transpose.
    std::shared_ptr<Parts> kronecker() const {
        const std::int64_t n = problem_.shape.m;
        auto parts = std::make_shared<Parts>();
        const bool brain = problem_.type == Type::bf16;
        parts->first = part({n * s_.beta, s_.delta, s_.alpha, 1}, false, {s_.alpha, 0, s_.delta, 0, s_.delta, 0});
        parts->first.narrow = brain;
        if (brain && !peer_.supports(parts->first).empty()) throw Unsupported("no bfloat16 result");
        parts->second = part({s_.epsilon, s_.delta, s_.beta, n}, false,
                             {s_.beta, 0, s_.delta, s_.beta * s_.delta, s_.delta, s_.epsilon * s_.delta});
        parts->memory.push_back(rearranged(weights(), size(t_.b), {s_.alpha, s_.delta}, {1, s_.alpha}));
        parts->memory.emplace_back(n * s_.beta * s_.delta * size(t_.a));
        void* z = parts->memory[1].data();
        // The weights are A's here, one matrix for all.
        auto* b = const_cast<std::byte*>(weights()) + s_.a_elements() * size(t_.b);
        finish(*parts, operands_.a.data(), parts->memory[0].data(), z, b, z);
        return parts;
    }

  private:
    const std::byte* weights() const { return operands_.b_as<std::byte>(); }

    Problem part(const Shape& shape, bool a_transposed, const Steps& steps) const {
        Problem part;
        part.type = problem_.type, part.shape = shape, part.a_transposed = a_transposed, part.steps = steps;
        return part;
    }

    void finish(Parts& parts, void* a1, void* b1, void* z, void* a2, void* b2) const {
        for (const Problem* p : {&parts.first, &parts.second})
            if (const std::string why = peer_.supports(*p); !why.empty()) throw Unsupported(why);
        parts.operands.reserve(2);
        parts.operands.push_back({Buffer(a1, 0), Buffer(b1, 0), Buffer(z, 0)});
        parts.operands.push_back({Buffer(a2, 0), Buffer(b2, 0), Buffer(operands_.c.data(), 0)});
        parts.one = peer_.prepare(parts.first, parts.operands[0]);
        parts.two = peer_.prepare(parts.second, parts.operands[1]);
        if (parts.one.fetch || parts.two.fetch) throw Unsupported("keeps operands of its own");
    }

    const Peer& peer_;
    const Problem& problem_;
    const Structure& s_;
    const TypeTraits& t_;
    const Operands& operands_;
};

double seconds(const Parts& parts) {
    using Clock = std::chrono::steady_clock;
    double best = 0;
    for (int i = 0; i < 4; ++i) {
        const auto start = Clock::now();
        parts.run(1);
        const double time = std::chrono::duration<double>(Clock::now() - start).count();
        if (i == 1 || (i > 1 && time < best)) best = time;  // the first warms up
    }
    return best;
}

/// The fastest composition of those that the peer has.
Prepared compose(const Peer& peer, const Problem& problem, const Operands& operands) {
    const Composer composer(peer, problem, operands);
    std::shared_ptr<Parts> best;
    double time = 0;
    std::string why = "no composition";
    using Make = std::shared_ptr<Parts> (Composer::*)() const;
    const std::vector<Make> ways = problem.structure->gamma == 1
                                       ? std::vector<Make>{&Composer::kronecker}
                                       : std::vector<Make>{&Composer::transposing, &Composer::in_place};
    for (const Make make : ways) try {
            const std::shared_ptr<Parts> parts = (composer.*make)();
            const double t = seconds(*parts);
            if (!best || t < time) best = parts, time = t;
        } catch (const Unsupported& e) {
            why = e.what();
        }
    if (!best) throw Unsupported(why);
    return {[best](std::int64_t calls) { best->run(calls); }, {}};
}

}  // namespace

std::vector<Peer> layer_peers(const std::vector<Peer>& others) {
    const auto all = [](const Problem&) { return std::string(); };
    const auto threads = [](int n) { tenon::set_num_threads(n); };
    const auto tenon_by = [](bool fused) {
        return [fused](const Problem& p, const Operands& o) { return prepare_tenon(p, o, fused); };
    };
    std::vector<Peer> peers = {{"tenon", TENON_VERSION, all, tenon_by(true), threads},
                               {"unfused", TENON_VERSION, all, tenon_by(false), threads}};
    for (const Peer& other : others)
        peers.push_back({other.name, other.version, all,
                         [other](const Problem& p, const Operands& o) { return compose(other, p, o); },
                         other.set_threads});
    return peers;
}

}  // namespace bench
