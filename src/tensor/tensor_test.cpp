// Tensors: values in and out, deferral, host access, indexing, printing, trees, errors that leave nothing behind.
#include "tenon/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>
#include <thread>

#include "schedule/evaluate.h"
#include "tenon/error.h"
#include "tenon/primitives.h"
#include "tenon/tree.h"
#include "tensor/node.h"

namespace tenon {
namespace {

Tensor counting(const Shape& s) { return reshape(iota(count(s), DType::float32), s).eval(); }

TEST(Tensor, RoundTripsValues) {
    const Tensor t = Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3});
    EXPECT_EQ(t.shape(), Shape({2, 3}));
    EXPECT_EQ(t.dtype(), DType::float32);
    EXPECT_EQ(t.to<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(t.to<std::int32_t>(), (std::vector<std::int32_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_THROW(Tensor::from<float>({1, 2}, {3}), ShapeError);
}

TEST(Tensor, NothingRunsUntilRead) {
    const Tensor a = Tensor::from<float>({1, 2}), b = a + a;
    EXPECT_EQ(b.node()->value(), nullptr);
    EXPECT_EQ(b.to<float>(), (std::vector<float>{2, 4}));
    EXPECT_NE(b.node()->value(), nullptr);
    EXPECT_TRUE(b.node()->inputs.empty()) << "a computed node keeps its operands alive";
}

TEST(Tensor, HostAccessWithoutACopy) {
    const Tensor t = counting({2, 3});
    EXPECT_EQ(t.data<float>().data(), t.host().data);
    const Tensor turned = transpose(t, {1, 0});
    const HostView v = turned.host();
    EXPECT_EQ(v.data, t.host().data);
    EXPECT_EQ(v.strides, Strides({1, 3}));
    EXPECT_THROW(turned.data<float>(), ShapeError);
    EXPECT_THROW(t.data<double>(), TypeError);
    EXPECT_EQ(turned.to<float>(), (std::vector<float>{0, 3, 1, 4, 2, 5}));
}

TEST(Tensor, WrapsMemoryOfTheCaller) {
    std::vector<double> memory{1, 2, 3, 4};
    bool released = false;
    {
        const Tensor t = Tensor::wrap(memory.data() + 3, DType::float64, {{4}, {-1}, 0}, [&] { released = true; });
        EXPECT_EQ((t + 1).to<double>(), (std::vector<double>{5, 4, 3, 2}));
        EXPECT_FALSE(released);
    }
    EXPECT_TRUE(released);
    EXPECT_EQ(memory, (std::vector<double>{1, 2, 3, 4})) << "an operation wrote into memory that is not ours";
}

TEST(Tensor, WrapsNothingThatIsNoMemory) {
    float value = 1;
    bool released = false;
    const auto release = [&] { released = true; };
    EXPECT_THROW(Tensor::wrap(nullptr, DType::float32, Layout::contiguous({2}), release), ValueError);
    EXPECT_THROW(Tensor::wrap(&value, DType::float32, {{1}, {1, 1}, 0}, release), ShapeError);
    EXPECT_THROW(Tensor::wrap(&value, DType::float32, {{-1}, {1}, 0}, release), ShapeError);
    EXPECT_FALSE(released);
    EXPECT_EQ(Tensor::wrap(nullptr, DType::float32, Layout::contiguous({0}), release).to<float>().size(), 0U);
    EXPECT_TRUE(released);
}

TEST(Tensor, NeverOverwritesAWrappedOperand) {
    std::vector<float> memory{1, 2};
    Tensor t = Tensor::wrap(memory.data(), DType::float32, Layout::contiguous({2}), [] {});
    Tensor u = t * 2;
    t = Tensor();
    EXPECT_EQ(u.to<float>(), (std::vector<float>{2, 4}));
    EXPECT_EQ(memory, (std::vector<float>{1, 2}));
}

TEST(Tensor, ReuseOfDyingOperandsNeverShows) {
    const Tensor a = Tensor::from<float>({1, 2, 3});
    const Tensor b = exp(a), c = b + b, d = c * b;
    EXPECT_EQ(d.to<float>(), (c * b).to<float>());
    EXPECT_EQ(a.to<float>(), (std::vector<float>{1, 2, 3}));
}

TEST(Tensor, IndexesLikeNumPy) {
    const Tensor t = counting({3, 4});
    EXPECT_EQ(t[1].to<float>(), (std::vector<float>{4, 5, 6, 7}));
    EXPECT_EQ(t[-1].to<float>(), (std::vector<float>{8, 9, 10, 11}));
    EXPECT_EQ(t.at({Slice{}, 2}).to<float>(), (std::vector<float>{2, 6, 10}));
    EXPECT_EQ(t.at({Slice{1, {}}, Slice{0, 4, 2}}).to<float>(), (std::vector<float>{4, 6, 8, 10}));
    EXPECT_EQ(t.at({Slice{{}, {}, -1}, 0}).to<float>(), (std::vector<float>{8, 4, 0}));
    EXPECT_EQ(t.at({0, Slice{-1, 0, -2}}).to<float>(), (std::vector<float>{3, 1}));
    EXPECT_EQ(t.at({Slice{5, 9}}).shape(), Shape({0, 4}));
    EXPECT_EQ(t.at({1, 2}).item<float>(), 6);
    EXPECT_EQ(t.at({Slice{0, 3, INT64_MAX}, 1}).to<float>(), (std::vector<float>{1}));
    EXPECT_EQ(t.at({Slice{{}, {}, INT64_MIN}, 1}).to<float>(), (std::vector<float>{9}));
    EXPECT_EQ(t.at({Slice{INT64_MIN, INT64_MAX, 2}, 0}).to<float>(), (std::vector<float>{0, 8}));
    EXPECT_EQ(slice(t, {0, 0}, {3, 4}, {INT64_MAX, 1}).shape(), Shape({1, 4}));
    EXPECT_THROW(t[3], ShapeError);
    EXPECT_THROW(t.at({0, 0, 0}), ShapeError);
}

TEST(Tensor, NumbersTakeTheDtypeOfTheTensor) {
    EXPECT_EQ((Tensor::from<double>({1}) * 2.5).dtype(), DType::float64);
    EXPECT_EQ((astype(Tensor::from<float>({1}), DType::bfloat16) * 2.5).dtype(), DType::bfloat16);
    EXPECT_EQ((Tensor::from<std::int8_t>({1}) + 2).dtype(), DType::int8);
    EXPECT_THROW(Tensor::from<std::int32_t>({1}) * 0.5, TypeError);
    EXPECT_THROW(Tensor::from<std::uint8_t>({1}) + 300, ValueError);
    EXPECT_THROW(Tensor::from<std::uint8_t>({1}) + -1, ValueError);
    EXPECT_THROW(Tensor::from<std::int8_t>({1}) + 128, ValueError);
    EXPECT_THROW(Tensor::from<std::int32_t>({1}) + (std::int64_t{1} << 40), ValueError);
    EXPECT_THROW(Tensor::from<std::int64_t>({1}) + (std::uint64_t{1} << 63), ValueError);
    EXPECT_EQ((Tensor::from<std::int8_t>({0}) + -128).to<int>()[0], -128);
    EXPECT_EQ((Tensor::from<std::uint8_t>({0}) + 255).to<int>()[0], 255);
    EXPECT_EQ((Tensor::from<std::int64_t>({0}) + INT64_MIN).to<std::int64_t>()[0], INT64_MIN);
    const Tensor large(std::uint64_t{1} << 63);
    EXPECT_EQ(large.dtype(), DType::uint64);
    EXPECT_EQ(large.item<std::uint64_t>(), std::uint64_t{1} << 63);
    EXPECT_EQ((Tensor::from<std::uint64_t>({1}) + (std::uint64_t{1} << 63)).item<std::uint64_t>(),
              (std::uint64_t{1} << 63) + 1);
    EXPECT_EQ((Tensor::from<float>({0}) + (std::uint64_t{1} << 63)).item<float>(), 0x1p63f);
    EXPECT_THROW(Tensor::from<std::int32_t>({1}) + Tensor::from<float>({1}), TypeError);
}

TEST(Tensor, ErrorsNameTheOperationAndBothShapes) {
    try {
        add(Tensor::from<float>({1, 2}), Tensor::from<float>({1, 2, 3}));
        FAIL();
    } catch (const ShapeError& e) {
        const std::string what = e.what();
        EXPECT_NE(what.find("add"), std::string::npos) << what;
        EXPECT_NE(what.find("(2,)"), std::string::npos) << what;
        EXPECT_NE(what.find("(3,)"), std::string::npos) << what;
    }
    EXPECT_THROW(exp(Tensor()), ValueError);
    EXPECT_THROW(exp(Tensor::from<std::int32_t>({1})), TypeError);
}

TEST(Tensor, AFailedEvaluationCanBeRepairedAndNamesItsPlace) {
    const Tensor x = counting({4}), bad = gather(x, Tensor::from<std::int64_t>({1, 9}));
    const Tensor after = bad + 1;
    for (int i = 0; i < 2; ++i) {
        try {
            after.eval();
            FAIL();
        } catch (const ValueError& e) {
            const std::string what = e.what();
            EXPECT_NE(what.find("index 9"), std::string::npos) << what;
            EXPECT_NE(what.find("recorded at"), std::string::npos) << what;
            // The place in the program that called: what addr2line takes.
            EXPECT_NE(what.find("tenon_tensor_test+0x"), std::string::npos) << what;
        }
    }
    EXPECT_EQ(x.to<float>(), (std::vector<float>{0, 1, 2, 3}));
}

TEST(Tensor, PrintsLikeNumPy) {
    const auto shown = [](const Tensor& t) {
        std::ostringstream s;
        s << t;
        return s.str();
    };
    const auto f32 = [](std::vector<float> v) { return Tensor::from(v, {static_cast<std::int64_t>(v.size())}); };
    const auto f64 = [](std::vector<double> v) { return Tensor::from(v, {static_cast<std::int64_t>(v.size())}); };
    constexpr double kInf = INFINITY, kNaN = NAN;
    EXPECT_EQ(shown(f32({1, 2.5, -3})), "[ 1.   2.5 -3. ]");
    EXPECT_EQ(shown(f32({0.1f, 0.2f, 0.3f})), "[0.1 0.2 0.3]");
    EXPECT_EQ(shown(f32({1.0f / 3, 2.0f / 3, 1e-3f})), "[0.33333334 0.6666667  0.001     ]");
    EXPECT_EQ(shown(f64({1.0 / 3, 100})), "[  0.33333333 100.        ]");
    EXPECT_EQ(shown(f32({1e-5f, 1})), "[1.e-05 1.e+00]");
    EXPECT_EQ(shown(f32({1e8f, 1})), "[1.e+08 1.e+00]");
    EXPECT_EQ(shown(f32({1000, 0.5f})), "[1.e+03 5.e-01]");
    EXPECT_EQ(shown(f32({16777216, 0.1f})), "[1.6777216e+07 1.0000000e-01]");
    EXPECT_EQ(shown(f32({5.405251e-4f, 1.9350881e-3f, 7.664036f})), "[5.4052513e-04 1.9350881e-03 7.6640358e+00]");
    EXPECT_EQ(shown(f64({1e300, 1e-300})), "[1.e+300 1.e-300]");
    EXPECT_EQ(shown(f64({1e-320})), "[1.e-320]");
    EXPECT_EQ(shown(f64({1.123456789e10})), "[1.12345679e+10]");
    EXPECT_EQ(shown(f64({99999999.5})), "[99999999.5]");
    EXPECT_EQ(shown(f32({0, -0.0f})), "[ 0. -0.]");
    EXPECT_EQ(shown(f64({kNaN, 1.5, -kInf})), "[ nan  1.5 -inf]");
    EXPECT_EQ(shown(f64({kNaN, kInf})), "[nan inf]");
    EXPECT_EQ(shown(f64({-kInf})), "[-inf]");
    EXPECT_EQ(shown(astype(f64({0.1, 3}), DType::float16)), "[0.1 3. ]");
    EXPECT_EQ(shown(Tensor::from<std::int64_t>({1, 20, 300, 4}, {2, 2})), "[[  1  20]\n [300   4]]");
    EXPECT_EQ(shown(Tensor::from<bool>({true, false})), "[ True False]");
    EXPECT_EQ(shown(Tensor::from<bool>({true})), "[ True]");
    EXPECT_EQ(shown(Tensor(true)), "True");
    EXPECT_EQ(shown(iota(2000, DType::int32)), "[   0    1    2 ... 1997 1998 1999]");
    EXPECT_EQ(shown(Tensor::from<std::int64_t>({9007199254740993})), "[9007199254740993]");
    EXPECT_EQ(shown(Tensor(2.0)), "2.0");
    EXPECT_EQ(shown(Tensor(0.1)), "0.1");
    EXPECT_EQ(shown(Tensor(1e16)), "1e+16");
    EXPECT_EQ(shown(Tensor(1e-5)), "1e-05");
    EXPECT_EQ(shown(Tensor::from<double>({1.0 / 3}, {})), "0.3333333333333333");
    EXPECT_EQ(shown(Tensor::from<float>({}, {0})), "[]");
    EXPECT_EQ(shown(Tensor::from<float>({}, {2, 0})), "[]");
    EXPECT_EQ(shown(Tensor::from<float>({}, {0, 3})), "[]");
    EXPECT_EQ(shown(Tensor::from<float>({1.5, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2})),
              "[[[1.5 2. ]\n  [3.  4. ]]\n\n [[5.  6. ]\n  [7.  8. ]]]");
    EXPECT_EQ(shown(reshape(iota(30, DType::float32), {1, 30})),
              "[[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.\n"
              "  18. 19. 20. 21. 22. 23. 24. 25. 26. 27. 28. 29.]]");
    EXPECT_EQ(shown(reshape(iota(1200, DType::int32), {40, 30})),
              "[[   0    1    2 ...   27   28   29]\n [  30   31   32 ...   57   58   59]\n"
              " [  60   61   62 ...   87   88   89]\n ...\n [1110 1111 1112 ... 1137 1138 1139]\n"
              " [1140 1141 1142 ... 1167 1168 1169]\n [1170 1171 1172 ... 1197 1198 1199]]");
}

TEST(Tensor, AGraphAMillionNodesDeepIsComputedAndFreed) {
    Tensor t = Tensor::from<float>({0});
    for (int i = 0; i < 1'000'000; ++i) t = t + 1;
    const Tensor copy = t;
    t = Tensor();
    EXPECT_EQ(copy.item<float>(), 1'000'000);
    Tensor unread = Tensor::from<float>({0});
    for (int i = 0; i < 1'000'000; ++i) unread = unread + 1;
}

TEST(Tensor, ManyThreadsMayReadOnePendingGraph) {
    Tensor t = counting({64, 64});
    for (int i = 0; i < 50; ++i) t = t * 0.5 + 1;
    std::vector<std::thread> threads;
    std::vector<std::vector<float>> results(8);
    for (auto& r : results) threads.emplace_back([&, t] { r = (t + 1).to<float>(); });
    for (auto& th : threads) th.join();
    for (const auto& r : results) EXPECT_EQ(r, results[0]);
}

TEST(Tree, FlattensRebuildsAndFindsByPath) {
    Tree block;
    block.set("up", Tree(Tensor::from<float>({1})));
    block.set("down", Tree(Tensor::from<float>({2})));
    Tree t;
    t.set("block0", block);
    t.set("head", Tree(Tensor::from<float>({3})));
    const auto flat = t.flatten();
    ASSERT_EQ(flat.size(), 3u);
    EXPECT_EQ(flat[1].first, "block0.down");
    EXPECT_EQ(t["block0.up"].tensor().item<float>(), 1);
    EXPECT_THROW(t["block1"], ValueError);
    const Tree doubled = t.map([](const Tensor& x) { return x * 2; });
    EXPECT_EQ(doubled["head"].tensor().item<float>(), 6);
    const Tree sum = tree_map([](const Tensor& a, const Tensor& b) { return a + b; }, t, doubled);
    EXPECT_EQ(sum["block0.down"].tensor().item<float>(), 6);
    const auto tree_map_error = [&](const Tree& other) -> std::string {
        try {
            tree_map([](const Tensor& a, const Tensor&) { return a; }, t, other);
        } catch (const ValueError& e) {
            return e.what();
        }
        return "none";
    };
    EXPECT_EQ(tree_map_error(block), "tree_map: one tree has 3 leaves, the other 2");
    Tree renamed = t;
    renamed.set("block0", Tree({{"up", Tensor(1.0)}, {"low", Tensor(1.0)}}));
    EXPECT_EQ(tree_map_error(renamed), "tree_map: leaf \"block0.low\" where \"block0.down\" belongs");
    EXPECT_THROW(t.with_leaves(std::vector<Tensor>{Tensor(1.0)}), ValueError);
}

TEST(Tree, WhatIsGivenUpIsMoved) {
    const Tensor one(1.0), two(2.0);
    const auto handles = [](const Tensor& t) { return t.node()->references.load(); };
    std::vector<Tree> all{one, two};
    Tree t = Tree::list(std::move(all));
    EXPECT_EQ(handles(one), 2u);
    EXPECT_EQ(t["1"].tensor().node(), two.node());
    std::vector<Tensor> leaves{two, one};
    t = t.with_leaves(std::move(leaves));
    EXPECT_EQ(handles(one), 2u);
    EXPECT_EQ(t["1"].tensor().node(), one.node());
    std::vector<Tree::Child> children = std::move(t).children();
    const Tensor taken = std::move(children[1].second).tensor();
    EXPECT_EQ(taken.node(), one.node());
    EXPECT_EQ(handles(one), 2u);
    EXPECT_THROW(Tree().tensor(), ValueError);
}

TEST(Tree, ALeafHasNoChildrenAndNamesAreDistinct) {
    Tree leaf(Tensor(1.0));
    EXPECT_THROW(leaf.set("a", Tree(Tensor(2.0))), ValueError);
    EXPECT_EQ(leaf.leaves().size(), 1u);
    EXPECT_THROW(Tree({{"a", Tensor(1.0)}, {"b", Tensor(2.0)}, {"a", Tensor(3.0)}}), ValueError);
}

}  // namespace
}  // namespace tenon
