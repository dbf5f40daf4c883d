#include <random>

#include "base/text.h"
#include "hashes.h"
#include "product/attention/testing.h"
#include "tenon/threads.h"

namespace tenon::hashes {
namespace {

using namespace product;
using product::testing::Array;
using product::testing::AttentionCase;
using product::testing::AttentionOperands;
using product::testing::AttentionResult;
using product::testing::Storage;

/// A case of random extents and masks, forward and backward.
void hash_attention(unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
    constexpr DType types[] = {DType::float32, DType::bfloat16, DType::float64};
    AttentionCase c;
    c.dtype = types[seed % 3], c.storage = seed % 4 == 0 ? Storage::shuffled : Storage::row_major, c.seed = seed;
    c.batch = 1 + below(2), c.kv_heads = 1 + below(2), c.heads = c.kv_heads * (1 + below(3));
    c.queries = 1 + below(seed % 5 == 0 ? 150 : 20), c.keys = 1 + below(seed % 5 == 1 ? 500 : 60);
    c.depth = 1 + below(66), c.value_depth = 1 + below(66);
    c.causal = below(3) == 0, c.left = below(3) == 0 ? below(30) : -1, c.right = below(3) == 0 ? below(30) : -1;
    c.bias = below(4) == 0, c.mask = below(4) == 0, c.lengths = below(3) == 0;
    set_num_threads(1 + static_cast<int>(seed % 3));
    AttentionOperands x(c);
    AttentionResult r(c);
    const Attention a = x.attention();
    const View logsumexp = r.logsumexp.view();
    attend(a, r.out.view(), logsumexp.data);
    attention_gradient(a, r.out.view(), logsumexp.data, x.ct.view(), r.gradients());
    const auto tell = [&](const char* part, Array& of, DType type) {
        report(text("attention ", seed, " ", part, " ", c.describe()), type, elements(of, type));
    };
    tell("out", r.out, c.dtype), tell("kept", r.logsumexp, x.wide());
    tell("dq", r.dq, c.dtype), tell("dk", r.dk, c.dtype), tell("dv", r.dv, c.dtype);
}

}  // namespace

void attention_hashes() {
    for (unsigned seed = 1; seed <= 60; ++seed) hash_attention(seed);
    set_num_threads(0);
}

}  // namespace tenon::hashes
