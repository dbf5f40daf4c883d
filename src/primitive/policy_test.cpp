// Policies: what an operation is recorded with stays with it, and a CPU's bits are the same under each.
#include "tenon/policy.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string_view>
#include <thread>

#include "primitive/attention.h"
#include "primitive/contract.h"
#include "primitive/primitive.h"
#include "tenon/attention.h"
#include "tenon/compile.h"
#include "tenon/functions.h"
#include "tenon/transform.h"

namespace tenon {
namespace {

constexpr Policy kTf32{Precision::tf32};

Tensor values(const Shape& shape) {
    std::vector<float> all;
    for (std::int64_t i = 0; i < count(shape); ++i) all.push_back(1 + static_cast<float>(i) / 4099);
    return Tensor::from(all, shape);
}

/// The products of float32 among what a tensor is computed from.
std::vector<bool> policies_of(const Node& n) {
    std::vector<bool> all;
    if (is_contract(n)) all.push_back(allows_tf32(n));
    for (const Node* in : n.inputs)
        for (const bool b : policies_of(*in)) all.push_back(b);
    return all;
}
std::vector<bool> policies_of(const Tensor& t) { return policies_of(*t.node()); }

TEST(PolicyTest, IsOfTheScopeAndTheThread) {
    EXPECT_EQ(policy().lowest_precision, Precision::float32);
    {
        const WithPolicy outer(kTf32);
        EXPECT_EQ(policy(), kTf32);
        std::thread([] { EXPECT_EQ(policy(), Policy{}); }).join();
        {
            const WithPolicy inner(Policy{});
            EXPECT_EQ(policy(), Policy{});
        }
        EXPECT_EQ(policy(), kTf32);
    }
    EXPECT_EQ(policy(), Policy{});
}

TEST(PolicyTest, IsOfWhatIsRecordedUnderIt) {
    const Tensor x = values({3, 5}), w = values({5, 2});
    EXPECT_EQ(policies_of(matmul(x, w)), std::vector<bool>{false});
    Tensor y;
    {
        const WithPolicy less(kTf32);
        y = matmul(x, w);
        EXPECT_EQ(policies_of(matmul(astype(x, DType::float64), astype(w, DType::float64))), std::vector<bool>{false});
        EXPECT_EQ(policies_of(matmul(astype(x, DType::bfloat16), astype(w, DType::bfloat16))),
                  std::vector<bool>{false});
    }
    EXPECT_EQ(policies_of(y), std::vector<bool>{true});
    EXPECT_EQ(y.to<float>(), matmul(x, w).to<float>()) << "a CPU has float32 alone";
}

TEST(PolicyTest, DerivativesHaveTheSame) {
    const Tensor x = values({3, 5}), w = values({5, 2});
    for (const bool tf32 : {false, true}) {
        TreeFunction back;
        {
            const WithPolicy p(tf32 ? kTf32 : Policy{});
            back = vjp([&](const Tree& t) { return Tree(matmul(t.tensor(), w)); }, Tree(x)).second;
        }
        const WithPolicy other(tf32 ? Policy{} : kTf32);
        EXPECT_EQ(policies_of(back(Tree(values({3, 2}))).tensor()), std::vector<bool>{tf32});
        const auto product = [&](const Tree& t) { return Tree(matmul(t.tensor(), w)); };
        EXPECT_EQ(policies_of(jvp(product, Tree(x), Tree(x)).second.tensor()), std::vector<bool>{!tf32});
    }
}

TEST(PolicyTest, AttentionKeepsTheOrderItMayBeSummedIn) {
    const Tensor x = values({1, 5, 1, 8});
    const auto gradients_of = [&](const Policy& p) {
        TreeFunction back;
        {
            const WithPolicy scope(p);
            back = vjp([](const Tree& t) { return Tree(dot_product_attention(t.tensor(), t.tensor(), t.tensor())); },
                       Tree(x))
                       .second;
        }
        return back(Tree(x)).tensor();
    };
    // Of the gradients' nodes, as a device sees them.
    const std::function<void(const Node&, std::set<bool>&)> orders_of = [&](const Node& n, std::set<bool>& all) {
        if (std::string_view(n.primitive->name) == "attention_gradient") {
            std::vector<View> in;
            for (const Node* i : n.inputs) in.push_back({nullptr, i->dtype, Layout::contiguous(i->shape)});
            all.insert(attention_of(n, in, 2).any_order);
        }
        for (const Node* in : n.inputs) orders_of(*in, all);
    };
    const Tensor fixed = gradients_of({}), any = gradients_of({.sum_order = SumOrder::any});
    std::set<bool> of_fixed, of_any;
    orders_of(*fixed.node(), of_fixed), orders_of(*any.node(), of_any);
    EXPECT_EQ(of_fixed, std::set<bool>{false});
    EXPECT_EQ(of_any, std::set<bool>{true});
    EXPECT_EQ(any.to<float>(), fixed.to<float>()) << "a CPU has one order alone";
}

TEST(PolicyTest, ACompiledFunctionIsRecordedForEach) {
    int runs = 0;
    const auto f = compile([&](const Tensor& x) {
        ++runs;
        return matmul(x, x);
    });
    const Tensor x = values({4, 4});
    for (int i = 0; i < 2; ++i) {
        f(x);
        const WithPolicy less(kTf32);
        f(x);
    }
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(f.signatures(), 2u);
}

}  // namespace
}  // namespace tenon
