// Attention: Tenon's one pass, and two products with softmax between, of Tenon and of other libraries, the weights in
// memory. The composition computes what is masked too.
#include <cmath>
#include <cstring>

#include "bench/calls.h"
#include "bench/peer.h"
#include "product/attention/attention.h"
#include "tenon/threads.h"
#include "tenon/version.h"

namespace bench {
namespace {

namespace product = tenon::product;

struct OnePass {
    product::Attention attention;
    tenon::View out;
    std::vector<double> logsumexp;
    Buffer ct, dq, dk, dv;

    static std::int64_t bytes(const tenon::View& v) {
        return v.layout.count() * static_cast<std::int64_t>(tenon::size_of(v.dtype));
    }
    /// (heads, length, depth) as (batch, length, heads, depth).
    static tenon::View view(const void* data, tenon::DType dtype, std::int64_t heads, std::int64_t n, std::int64_t d) {
        tenon::Layout l = tenon::Layout::contiguous({1, n, heads, d});
        l.strides = {0, d, n * d, 1};
        return {const_cast<void*>(data), dtype, l};
    }
    tenon::View like(const Buffer& buffer, const tenon::View& v) const { return {buffer.data(), v.dtype, v.layout}; }

    OnePass(const Problem& problem, const Operands& operands)
        : ct(operands.a.bytes()), dq(operands.a.bytes()), dk(operands.b.bytes() / 2), dv(operands.b.bytes() / 2) {
        const auto& [m, n, k, heads] = problem.shape;
        const tenon::DType t = traits(problem.type).a;
        attention.q = view(operands.a.data(), t, heads, m, k);
        attention.k = view(operands.b.data(), t, heads, n, k);
        attention.v = view(operands.b_as<std::byte>() + operands.b.bytes() / 2, t, heads, n, k);
        attention.scale = 1 / std::sqrt(static_cast<double>(k));
        attention.causal = problem.attention->causal;
        out = view(operands.c.data(), t, heads, m, k);
        logsumexp.resize(static_cast<std::size_t>(heads * m));
        std::memcpy(ct.data(), operands.a.data(), static_cast<std::size_t>(ct.bytes()));
    }
};

Prepared prepare_one_pass(const Problem& problem, const Operands& operands) {
    const auto x = std::make_shared<OnePass>(problem, operands);
    return call_all([x, backward = problem.attention->backward] {
        product::attend(x->attention, x->out, x->logsumexp.data());
        if (backward)
            product::attention_gradient(
                x->attention, x->out, x->logsumexp.data(), x->like(x->ct, x->attention.q),
                {x->like(x->dq, x->attention.q), x->like(x->dk, x->attention.k), x->like(x->dv, x->attention.v)});
    });
}

// --- the composition ---

// Not under the thread sanitizer, which is not there yet when the loader asks which clone to take.
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define BENCH_CLONES \
    [[gnu::target_clones("arch=skylake-avx512", "arch=haswell", "default"), gnu::optimize("O3,fast-math")]]
#else
#define BENCH_CLONES
#endif

/// A row of `n` sums becomes weights of its first `keys`, zero beyond; to bfloat16 where `narrow`. Loops that compilers
/// vectorise; 2^x as an integer power and a polynomial.
BENCH_CLONES void softmax_row(float* __restrict s, std::uint16_t* __restrict narrow, std::int64_t n, std::int64_t keys,
                              float scale) {
    const float by_log2e = scale * 1.44269504F;
    float largest = s[0], sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) largest = s[j] > largest ? s[j] : largest;
    for (std::int64_t j = 0; j < keys; ++j) {
        float x = (s[j] - largest) * by_log2e;
        x = x < -126.0F ? -126.0F : x;
        const auto power = static_cast<std::int32_t>(x - 0.5F);
        const float f = x - static_cast<float>(power);
        float y = 1.5403530e-4F;
        y = y * f + 1.3333558e-3F;
        y = y * f + 9.6181291e-3F;
        y = y * f + 5.5504109e-2F;
        y = y * f + 0.24022651F;
        y = y * f + 0.69314718F;
        y = y * f + 1.0F;
        y *= __builtin_bit_cast(float, (power + 127) << 23);
        s[j] = y;
        sum += y;
    }
    const float by = 1 / sum;
    for (std::int64_t j = 0; j < keys; ++j) s[j] *= by;
    for (std::int64_t j = keys; j < n; ++j) s[j] = 0;
    if (narrow)
        for (std::int64_t j = 0; j < n; ++j) {
            const auto bits = __builtin_bit_cast(std::uint32_t, s[j]);
            narrow[j] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
}

struct Composition {
    Problem first, second;
    Buffer sums, weights;
    std::vector<Operands> operands;
    Prepared one, two;

    explicit Composition(const Problem& p)
        : sums(p.shape.batch * p.shape.m * p.shape.n * 4), weights(p.type == Type::bf16 ? sums.bytes() / 2 : 64) {}

    void softmax(const Problem& p) const {
        const std::int64_t m = p.shape.m, n = p.shape.n, heads = p.shape.batch;
        const float scale = 1 / std::sqrt(static_cast<float>(p.shape.k));
        const std::function<void(std::int64_t, std::int64_t)> some = [&](std::int64_t from, std::int64_t to) {
            for (std::int64_t row = from; row < to; ++row)
                softmax_row(static_cast<float*>(sums.data()) + row * n,
                            p.type == Type::bf16 ? static_cast<std::uint16_t*>(weights.data()) + row * n : nullptr, n,
                            p.attention->causal ? std::min(row % m + 1, n) : n, scale);
        };
        share(heads * m, some);
    }
};

/// Forward, in float32 and bfloat16.
Prepared compose(const Peer& peer, const Problem& problem, const Operands& operands) {
    if (problem.attention->backward) throw Unsupported("the composition is forward alone");
    if (problem.type == Type::f64) throw Unsupported("the composition has no softmax in float64");
    const auto& [m, n, k, heads] = problem.shape;
    const bool brain = problem.type == Type::bf16;
    auto c = std::make_shared<Composition>(problem);
    c->first.type = c->second.type = problem.type;
    c->first.shape = {m, n, k, heads}, c->first.weights.transposed = true;
    c->second.shape = {m, k, n, heads}, c->second.narrow = brain;
    for (const Problem* p : {&c->first, &c->second})
        if (const std::string why = peer.supports(*p); !why.empty()) throw Unsupported(why);
    auto* b = const_cast<std::byte*>(operands.b_as<std::byte>());
    c->operands.reserve(2);
    c->operands.push_back({Buffer(operands.a.data(), 0), Buffer(b, 0), Buffer(c->sums.data(), 0)});
    c->operands.push_back({Buffer(brain ? c->weights.data() : c->sums.data(), 0), Buffer(b + operands.b.bytes() / 2, 0),
                           Buffer(operands.c.data(), 0)});
    c->one = peer.prepare(c->first, c->operands[0]);
    c->two = peer.prepare(c->second, c->operands[1]);
    if (c->one.fetch || c->two.fetch) throw Unsupported("keeps operands of its own");
    return call_all([c, problem] {
        c->one.run(1);
        c->softmax(problem);
        c->two.run(1);
    });
}

}  // namespace

std::vector<Peer> attention_peers(const std::vector<Peer>& others) {
    const auto all = [](const Problem&) { return std::string(); };
    std::vector<Peer> peers = {
        {"tenon", TENON_VERSION, all, prepare_one_pass, [](int n) { tenon::set_num_threads(n); }}};
    std::vector<Peer> composed{tenon_peer()};
    composed.front().name = "unfused";
    composed.insert(composed.end(), others.begin(), others.end());
    for (const Peer& other : composed) peers.push_back(by_composition(other, compose));
    return peers;
}

}  // namespace bench
