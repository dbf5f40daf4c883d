// Batch invariance: what a row gives depends on the row alone, whatever shares the batch. Rows of 1 to 256 elements,
// alone and in batches of 1 to 256: norms, softmax, their gradients, cross-entropy, attention and products, node by
// node and compiled, for each instruction set, on one and two threads. Each length meets five batch sizes, and each
// batch size at least one length; TENON_ALL_BATCHES=1 takes every pair.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/text.h"
#include "schedule/compile_testing.h"
#include "schedule/options.h"
#include "tenon/attention.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/primitives.h"
#include "tenon/threads.h"
#include "tenon/transform.h"

namespace tenon::schedule {
namespace {

constexpr std::int64_t kMost = 256;
constexpr DType kTypes[] = {DType::float32, DType::bfloat16};

/// How results are computed: instruction set, threads, and whether the function is compiled.
struct Way {
    Isa isa;
    int threads;
    bool compiled;
    std::int64_t number;

    bool takes(std::int64_t length) const { return all_pairs() || length <= 64 || length % 4 == number % 4; }
    static bool all_pairs() { return std::getenv("TENON_ALL_BATCHES") != nullptr; }
};

std::vector<Way> ways() {
    std::vector<Way> all;
    for (const Isa set : {Isa::avx2, Isa::avx512, Isa::neon})
        if (supported(set))
            for (const int threads : {1, 2})
                for (const bool compiled : {false, true})
                    all.push_back({set, threads, compiled, static_cast<std::int64_t>(all.size())});
    return all;
}

struct InForce {
    explicit InForce(const Way& w) : before(isa()), scope(options_for(w)) {
        force_isa(w.isa);
        set_num_threads(w.threads);
    }
    ~InForce() {
        force_isa(before);
        set_num_threads(0);
    }
    InForce(const InForce&) = delete;
    InForce& operator=(const InForce&) = delete;

    static Options options_for(const Way& w) {
        Options o = options();
        o.compile = w.compiled;
        return o;
    }
    Isa before;
    WithOptions scope;
};

std::string described(const Way& w, DType t) {
    return text(name(w.isa), ", ", w.threads, " threads, ", w.compiled ? "compiled" : "node by node", ", ", name(t));
}

Tensor values(const Shape& s, unsigned seed, DType t) { return astype(testing::values(s, seed), t).eval(); }

Tensor rows(const Tensor& x, std::int64_t first, std::int64_t n) {
    Extents start(x.shape().rank(), 0), limit = x.shape(), step(x.shape().rank(), 1);
    start[0] = first, limit[0] = first + n;
    return slice(x, start, limit, step).eval();
}

/// The batch sizes that rows of a length meet.
std::vector<std::int64_t> batches(std::int64_t length, std::int64_t most = kMost) {
    std::vector<std::int64_t> all;
    if (Way::all_pairs())
        for (std::int64_t m = 1; m <= most; ++m) all.push_back(m);
    else
        for (const std::int64_t m : {length, kMost + 1 - length, 37 * length % kMost + 1})
            if (m >= 1 && m <= most) all.push_back(m);
    return all;
}

/// f gives a row of results for each row of its operands.
using Function = std::function<Tensor(const Tensor&, const Tensor&)>;

/// f compiled, where that is in force, or run node by node.
Function runner(const Function& f) {
    if (!options().compile) return [f](const Tensor& a, const Tensor& b) { return f(a, b).eval(); };
    return tenon::compile([f](const Tensor& a, const Tensor& b) { return f(a, b); });
}

/// Compares what f makes of batches of the rows of x and ct, and of rows alone, with what it makes of all of them.
void check(const Function& f, const Tensor& x, const Tensor& ct, const std::vector<std::int64_t>& sizes,
           const std::string& what) {
    const Function run = runner(f);
    const std::int64_t most = x.extent(0);
    const Tensor all = run(x, ct);
    const auto compare = [&](std::int64_t first, std::int64_t n) {
        const Tensor some = run(rows(x, first, n), rows(ct, first, n));
        ASSERT_TRUE(testing::same_bits(some, rows(all, first, n)))
            << what << ": rows " << first << " to " << first + n << " of " << to_string(x.shape());
    };
    for (const std::int64_t n : sizes) compare(most - n, n);
    for (const std::int64_t at : {std::int64_t{0}, most / 3, most - 1}) compare(at, 1);
}

Tensor pulled(const std::function<Tensor(const Tensor&)>& f, const Tensor& x, const Tensor& ct) {
    return vjp([&](const Tree& t) { return Tree(f(t.tensor())); }, Tree(x)).second(Tree(ct)).tensor();
}

struct Named {
    const char* name;
    std::function<Tensor(const Tensor& x, const Tensor& w, const Tensor& b)> f;
};
const Named kOfRows[] = {
    {"softmax", [](const Tensor& x, const Tensor&, const Tensor&) { return softmax(x); }},
    {"log_softmax", [](const Tensor& x, const Tensor&, const Tensor&) { return log_softmax(x); }},
    {"layer_norm", [](const Tensor& x, const Tensor& w, const Tensor& b) { return layer_norm(x, w, b); }},
    {"rms_norm", [](const Tensor& x, const Tensor& w, const Tensor&) { return rms_norm(x, w); }},
};

/// Calls body for each way, dtype and length of rows: those of up to kMost, kMost rows, and `longer` ones, seven.
using Body = std::function<void(const Way&, DType, std::int64_t length, std::int64_t rows)>;
void for_each(const std::vector<std::int64_t>& longer, const Body& body) {
    for (const Way& w : ways()) {
        const InForce in_force(w);
        for (const DType t : kTypes) {
            for (std::int64_t n = 1; n <= kMost && !::testing::Test::HasFatalFailure(); ++n)
                if (w.takes(n)) body(w, t, n, kMost);
            for (const std::int64_t n : longer)
                if (!::testing::Test::HasFatalFailure()) body(w, t, n, 7);
        }
    }
}
const std::vector<std::int64_t> kLonger = {1000, 4099, 40000};

TEST(BatchInvariance, OfNormsAndSoftmax) {
    for_each(kLonger, [](const Way& way, DType t, std::int64_t n, std::int64_t most) {
        const Tensor x = values({most, n}, 1, t), w = values({n}, 2, t), b = values({n}, 3, t);
        for (const Named& each : kOfRows)
            check([&](const Tensor& in, const Tensor&) { return each.f(in, w, b); }, x, x,
                  n <= kMost ? batches(n) : std::vector<std::int64_t>{2, 3, 5},
                  text(each.name, ", ", described(way, t)));
    });
}

TEST(BatchInvariance, OfTheirGradients) {
    for_each(kLonger, [](const Way& way, DType t, std::int64_t n, std::int64_t most) {
        const Tensor x = values({most, n}, 1, t), ct = values({most, n}, 4, t), w = values({n}, 2, t),
                     b = values({n}, 3, t);
        for (const Named& each : kOfRows)
            check(
                [&](const Tensor& in, const Tensor& cotangent) {
                    return pulled([&](const Tensor& v) { return each.f(v, w, b); }, in, cotangent);
                },
                x, ct, n <= kMost ? batches(n) : std::vector<std::int64_t>{2, 3, 5},
                text("the gradient of ", each.name, ", ", described(way, t)));
    });
}

Tensor labels(std::int64_t rows, std::int64_t classes) {
    std::vector<std::int64_t> v;
    for (std::int64_t i = 0; i < rows; ++i) v.push_back(i * 7919 % classes);
    return Tensor::from(v, {rows});
}

/// The loss of a batch is the mean of those of its rows alone; the gradient of a row is that of the row alone, by the
/// number of rows, which is exact where that is a power of two.
TEST(BatchInvariance, OfCrossEntropy) {
    const auto loss = [](const Tensor& x, const Tensor& at) { return cross_entropy(x, at); };
    const auto gradient = [&](const Tensor& x, const Tensor& at) {
        return pulled([&](const Tensor& v) { return loss(v, at); }, x, ones({}, x.dtype())) *
               Tensor(static_cast<double>(x.extent(0)));
    };
    for_each(kLonger, [&](const Way& way, DType t, std::int64_t n, std::int64_t most) {
        const Tensor x = values({most, n}, 1, t), at = labels(most, n);
        const std::string what = text("cross_entropy, ", described(way, t));
        std::vector<std::int64_t> powers;
        for (std::int64_t m = 1; m <= most; m *= 2) powers.push_back(m);
        const std::int64_t whole = powers.back();
        check(gradient, rows(x, 0, whole), rows(at, 0, whole), powers, "the gradient of " + what);
        if (t != DType::float32 || n % 8 != 0) return;  // the loss itself is rounded
        const Function run = runner(loss);
        std::vector<Tensor> alone;
        for (std::int64_t i = 0; i < most; ++i) alone.push_back(reshape(run(rows(x, i, 1), rows(at, i, 1)), {1}));
        const Tensor each = concat(alone, 0).eval();
        for (const std::int64_t m : n <= kMost ? batches(n) : std::vector<std::int64_t>{2, 3, 5})
            ASSERT_TRUE(testing::same_bits(run(rows(x, 0, m), rows(at, 0, m)), mean(rows(each, 0, m)).eval()))
                << what << ": " << m << " rows of " << n;
    });
}

constexpr std::int64_t kDepth = 8;

/// Queries of a length share the keys of a length.
TEST(BatchInvariance, OfAttentionsQueries) {
    for_each({}, [](const Way& way, DType t, std::int64_t n, std::int64_t most) {
        const Tensor q = values({most, 2 * kDepth}, 1, t), k = values({1, n, 1, kDepth}, 2, t),
                     v = values({1, n, 1, kDepth}, 3, t);
        for (const bool causal : {false, true}) {
            const Function attend = [&](const Tensor& rows_of_q, const Tensor&) {
                const std::int64_t m = rows_of_q.extent(0);
                const Tensor y =
                    dot_product_attention(reshape(rows_of_q, {1, m, 2, kDepth}), k, v, {.is_causal = causal});
                return reshape(y, {m, 2 * kDepth});
            };
            const std::string what = text("attention", causal ? ", causal, " : ", ", described(way, t));
            if (!causal) {
                check(attend, q, q, batches(n), what);
                continue;
            }
            // A query's place says what it takes: the first ones.
            const Function run = runner(attend);
            const Tensor all = run(q, q);
            for (const std::int64_t m : batches(n))
                ASSERT_TRUE(testing::same_bits(run(rows(q, 0, m), q), rows(all, 0, m)))
                    << what << ": " << m << " queries, " << n << " keys";
        }
    });
}

/// Sequences of a batch, each with queries, keys and values of its own.
TEST(BatchInvariance, OfAttentionsSequences) {
    for_each({}, [](const Way& way, DType t, std::int64_t n, std::int64_t) {
        const std::int64_t most = n == kMost ? kMost : std::clamp<std::int64_t>(2048 / n, 4, kMost);
        const Tensor x = values({most, n, 2, kDepth}, 1, t), kv = values({most, n, 1, 2 * kDepth}, 2, t);
        std::vector<std::int64_t> sizes = n == kMost ? std::vector<std::int64_t>{5} : batches(n, most);
        sizes.push_back(most / 2 + 1);
        for (const bool causal : {false, true})
            check(
                [causal](const Tensor& q, const Tensor& both) {
                    const std::vector<Tensor> k_v = split(both, 2, -1);
                    return dot_product_attention(q, k_v[0], k_v[1], {.is_causal = causal});
                },
                x, kv, sizes, text("attention", causal ? ", causal, " : ", ", described(way, t)));
    });
}

TEST(BatchInvariance, OfProducts) {
    for_each({}, [](const Way& way, DType t, std::int64_t n, std::int64_t most) {
        const Tensor x = values({most, n}, 1, t), w = values({most + 1 - n, n}, 2, t), bias = values({}, 3, t);
        check([&](const Tensor& a, const Tensor&) { return matmul(a, matrix_transpose(w)) + bias; }, x, x, batches(n),
              text("a product, ", described(way, t)));
    });
}

}  // namespace
}  // namespace tenon::schedule
