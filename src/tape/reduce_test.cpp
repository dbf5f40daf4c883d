// Reductions, arguments of extremes and running results: against the reference and the definition, over layouts,
// instruction sets and thread counts.
#include "tape/testing.h"
#include "tenon/error.h"
#include "tenon/threads.h"

namespace tenon::tape {
namespace {

using namespace testing;

constexpr Reduction kAll[] = {Reduction::sum, Reduction::prod, Reduction::max, Reduction::min};

bool takes(Reduction op, DType type) { return type != DType::boolean || op == Reduction::max || op == Reduction::min; }

Shape without(const Shape& shape, const Axes& axes) {
    Shape left;
    for (int d = 0; d < shape.rank(); ++d)
        if (std::find(axes.begin(), axes.end(), d) == axes.end()) left.push_back(shape[d]);
    return left;
}

/// Calls body for every instruction set and some thread counts.
template <class F>
void everywhere(F&& body) {
    for (const Isa set : supported_isas()) {
        const WithIsa forced(set);
        for (const int threads : {1, 3}) {
            SCOPED_TRACE(std::string(name(set)) + ", " + std::to_string(threads) + " threads");
            set_num_threads(threads);
            body();
        }
    }
    set_num_threads(0);
}

void expect_reference(Reduction op, const View& in, const Axes& axes) {
    Array want(in.dtype, without(in.shape(), axes));
    reduce_reference(op, in, axes, want.view());
    everywhere([&] {
        Array got(in.dtype, want.shape);
        reduce(op, in, axes, got.view());
        EXPECT_TRUE(same_bits(got, want)) << "reduction " << int(op) << " of " << name(in.dtype) << to_string(in.layout)
                                          << " over " << to_string(axes);
    });
}

TEST(Reduce, EveryDTypeAlongEachAxis) {
    const Shape shape{65, 3, 70};
    for (const DType type : kDTypes) {
        Array a = random_array(type, shape, 1), special = filled(type, shape, 0);
        for (const Reduction op : kAll) {
            if (!takes(op, type)) continue;
            for (const Axes& axes : {Axes{0}, Axes{1}, Axes{2}, Axes{0, 1}, Axes{0, 2}, Axes{0, 1, 2}, Axes{}})
                for (Array* x : {&a, &special}) expect_reference(op, x->view(), axes);
        }
    }
}

TEST(Reduce, AllLayoutsGiveTheSameBits) {
    const Shape shape{37, 41, 29};
    Array a = random_array(DType::float32, shape, 3);
    for (const Axes& axes : {Axes{0}, Axes{1}, Axes{2}, Axes{0, 2}, Axes{1, 2}}) {
        Array want(DType::float32, without(shape, axes));
        reduce(Reduction::sum, a.view(), axes, want.view());
        for (const Axes& order : {Axes{1, 2, 0}, Axes{2, 1, 0}, Axes{0, 2, 1}}) {
            // The same values stored in another order, and seen in the old one.
            const Layout stored = Layout::contiguous(shape).transpose(order);
            Array other(DType::float32, stored.shape);
            const DType types[] = {DType::float32};
            Array zero(DType::float32, {});
            Tape copy{{types[0]}, {}, {0}};
            run(copy, std::vector{a.view(stored)}, std::vector{other.view()});
            Axes inverse(3, 0);
            for (int d = 0; d < 3; ++d) inverse[static_cast<int>(order[d])] = d;
            everywhere([&] {
                Array got(DType::float32, want.shape);
                reduce(Reduction::sum, other.view(Layout::contiguous(other.shape).transpose(inverse)), axes,
                       got.view());
                EXPECT_TRUE(same_bits(got, want));
            });
        }
        // Reversed and spread out.
        Array wide(DType::float32, {74, 82, 58});
        const Layout every = Layout::contiguous(wide.shape).slice({73, 1, 56}, shape, {-2, 2, -2});
        Tape copy{{DType::float32}, {}, {0}};
        run(copy, std::vector{a.view()}, std::vector{wide.view(every)});
        Array got(DType::float32, want.shape);
        reduce(Reduction::sum, wide.view(every), axes, got.view());
        EXPECT_TRUE(same_bits(got, want));
    }
}

TEST(Reduce, LongOnesAreCutIntoChunks) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float64, DType::int16})
        for (const std::int64_t n : {kReduceChunk - 1, kReduceChunk, kReduceChunk + 1, 3 * kReduceChunk + 77}) {
            Array a = random_array(type, {n, 2}, 8);
            expect_reference(Reduction::sum, a.view(), {0});
            expect_reference(Reduction::sum, a.view(), {0, 1});
            expect_reference(Reduction::max, a.view(Layout::contiguous({n, 2}).transpose({1, 0})), {1});
            Array row = random_array(type, {n}, 8);
            expect_reference(Reduction::prod, row.view(), {0});
        }
}

TEST(Reduce, ColumnTilesAndBroadcasts) {
    for (const Shape& shape : {Shape{200, 513}, Shape{2, 5000}, Shape{10, 1000}, Shape{70, 2, 130}}) {
        Array a = random_array(DType::float32, shape, 2);
        expect_reference(Reduction::sum, a.view(), {0});
        expect_reference(Reduction::min, a.view(), {shape.rank() - 1});
    }
    Array row = random_array(DType::float32, {300}, 2);
    expect_reference(Reduction::sum, row.view(Layout::contiguous({300}).broadcast({1000, 300})), {0});
    expect_reference(Reduction::sum, row.view(Layout::contiguous({300}).broadcast({100, 300})), {1});
}

TEST(Reduce, StridedOutput) {
    Array a = random_array(DType::float32, {50, 60}, 2), want(DType::float32, {60}), got(DType::float32, {180});
    reduce(Reduction::sum, a.view(), {0}, want.view());
    reduce(Reduction::sum, a.view(), {0}, got.view(Layout::contiguous({180}).slice({179}, {60}, {-3})));
    for (int i = 0; i < 60; ++i) EXPECT_EQ(got.at<float>(179 - 3 * i), want.at<float>(i));
}

TEST(Reduce, OrderIsTheLawWrittenOut) {
    const std::int64_t n = kReduceChunk + 1000;
    Array a(DType::float32, {n}), out(DType::float32, {});
    std::mt19937 random(4);
    for (std::int64_t i = 0; i < n; ++i) a.at<float>(i) = std::normal_distribution<float>()(random);
    float total = 0;
    for (std::int64_t begin = 0; begin < n; begin += kReduceChunk) {
        float lanes[64] = {};
        for (std::int64_t i = begin; i < std::min(n, begin + kReduceChunk); ++i) lanes[i % 64] += a.at<float>(i);
        for (int half = 32; half > 0; half /= 2)
            for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
        total += lanes[0];
    }
    everywhere([&] {
        reduce(Reduction::sum, a.view(), {0}, out.view());
        EXPECT_EQ(out.at<float>(0), total);
    });
}

TEST(Reduce, NothingZerosAndNaN) {
    const float inf = HUGE_VALF;
    Array nothing(DType::float32, {0, 2}), out(DType::float32, {2});
    const float expected[] = {0, 1, -inf, inf};
    for (const Reduction op : kAll) {
        reduce(op, nothing.view(), {0}, out.view());
        EXPECT_EQ(out.at<float>(0), expected[int(op)]);
        EXPECT_FALSE(op == Reduction::sum && std::signbit(out.at<float>(1)));
    }
    Array bytes(DType::int8, {0}), byte(DType::int8, {});
    reduce(Reduction::max, bytes.view(), {0}, byte.view());
    EXPECT_EQ(byte.at<std::int8_t>(0), -128);
    Array zeros(DType::float32, {100}), one(DType::float32, {});
    for (int i = 0; i < 100; ++i) zeros.at<float>(i) = -0.0f;
    reduce(Reduction::sum, zeros.view(), {0}, one.view());
    EXPECT_TRUE(one.at<float>(0) == 0 && std::signbit(one.at<float>(0)));
    zeros.at<float>(70) = 0.0f;
    reduce(Reduction::max, zeros.view(), {0}, one.view());
    EXPECT_FALSE(std::signbit(one.at<float>(0)));
    zeros.at<float>(71) = std::nanf("");
    for (const Reduction op : kAll) {
        reduce(op, zeros.view(), {0}, one.view());
        EXPECT_TRUE(std::isnan(one.at<float>(0)));
    }
    Array infinities(DType::float32, {3});
    for (int i = 0; i < 3; ++i) infinities.at<float>(i) = -inf;
    reduce(Reduction::max, infinities.view(), {0}, one.view());
    EXPECT_EQ(one.at<float>(0), -inf);
}

TEST(Reduce, RefusesWhatDoesNotFit) {
    Array a(DType::float32, {2, 3}), out(DType::float32, {2}), wide(DType::float64, {2}), flags(DType::boolean, {2, 3});
    EXPECT_THROW(reduce(Reduction::sum, a.view(), {0}, out.view()), ShapeError);
    EXPECT_THROW(reduce(Reduction::sum, a.view(), {2}, out.view()), ShapeError);
    EXPECT_THROW(reduce(Reduction::sum, a.view(), {1, 1}, out.view()), ShapeError);
    EXPECT_THROW(reduce(Reduction::sum, a.view(), {1}, wide.view()), TypeError);
    Array flag(DType::boolean, {2});
    EXPECT_THROW(reduce(Reduction::sum, flags.view(), {1}, flag.view()), TypeError);
    EXPECT_THROW(argreduce(Reduction::max, a.view(), {1}, out.view()), TypeError);
    EXPECT_THROW(argreduce(Reduction::sum, a.view(), {1}, out.view()), ValueError);
    EXPECT_THROW(cumulative(Reduction::sum, a.view(), 2, a.view()), ShapeError);
}

/// The definition: the first of the greatest (least), a NaN above all.
template <class T>
std::int64_t first_extreme(const std::vector<T>& v, bool max) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < v.size(); ++i) {
        if (v[best] != v[best]) break;
        if (v[i] != v[i] || (max ? v[i] > v[best] : v[i] < v[best])) best = i;
    }
    return static_cast<std::int64_t>(best);
}

TEST(ArgReduce, FirstOfTheExtremes) {
    for (const DType type : kDTypes)
        for (const bool nan : {false, true})
            visit(type, [&](auto tag) {
                using T = decltype(tag);
                Array a = nan ? filled(type, {40, 33}, 0) : random_array(type, {40, 33}, 6);
                for (const Reduction op : {Reduction::max, Reduction::min})
                    for (const int axis : {0, 1}) {
                        Array got(DType::int64, {axis == 0 ? 33 : 40});
                        everywhere([&] {
                            argreduce(op, a.view(), {axis}, got.view());
                            for (std::int64_t i = 0; i < got.size(); ++i) {
                                std::vector<decltype(widen(tag))> line;
                                for (std::int64_t k = 0; k < (axis == 0 ? 40 : 33); ++k)
                                    line.push_back(widen(a.at<T>(axis == 0 ? k * 33 + i : i * 33 + k)));
                                EXPECT_EQ(got.at<std::int64_t>(i), first_extreme(line, op == Reduction::max))
                                    << name(type) << " axis " << axis << " line " << i;
                            }
                        });
                    }
            });
    Array a = random_array(DType::float32, {4, 5, 6}, 9), one(DType::int64, {});
    argreduce(Reduction::min, a.view(), {0, 1, 2}, one.view());
    std::vector<float> all;
    for (std::int64_t i = 0; i < a.size(); ++i) all.push_back(a.at<float>(i));
    EXPECT_EQ(one.at<std::int64_t>(0), first_extreme(all, false));
    Array none(DType::float32, {0});
    EXPECT_THROW(argreduce(Reduction::max, none.view(), {0}, one.view()), ValueError);
}

/// op by its definition, in the type the tape computes with.
template <class T>
T combine(Reduction op, T a, T b) {
    if (op == Reduction::sum) return static_cast<T>(a + b);
    if (op == Reduction::prod) return static_cast<T>(a * b);
    if (a != a || b != b) return a != a ? a : b;
    if constexpr (std::is_floating_point_v<T>)
        if (a == b) return std::signbit(a) == (op == Reduction::max) ? b : a;
    return (op == Reduction::max) == (a > b) ? a : b;
}

TEST(Cumulative, RunsInOrder) {
    const Shape shape{30, 21, 11};
    for (const DType type :
         {DType::int32, DType::uint8, DType::float16, DType::bfloat16, DType::float32, DType::float64})
        visit(type, [&](auto tag) {
            using T = decltype(tag);
            Array a = random_array(type, shape, 6);
            if constexpr (std::is_integral_v<T>)
                for (std::int64_t i = 0; i < a.size(); ++i) a.at<T>(i) = static_cast<T>(i % 3 == 0 ? 2 : 1);
            for (const Reduction op : kAll)
                for (const int axis : {0, 1, 2}) {
                    if (std::is_integral_v<T> && op == Reduction::prod) continue;  // leaves the type's range
                    Array want(type, shape);
                    const std::int64_t stride = Layout::contiguous(shape).strides[axis];
                    for (std::int64_t i = 0; i < a.size(); ++i) {
                        if (i / stride % shape[axis] != 0) continue;
                        auto running = widen(a.at<T>(i));
                        for (std::int64_t k = 0; k < shape[axis]; ++k) {
                            if (k > 0) running = combine(op, running, widen(a.at<T>(i + k * stride)));
                            want.at<T>(i + k * stride) = narrow<T>(running);
                        }
                    }
                    everywhere([&] {
                        Array got(type, shape), transposed(type, {11, 21, 30}), in_place = a;
                        cumulative(op, a.view(), axis, got.view());
                        EXPECT_TRUE(same_bits(got, want)) << name(type) << " op " << int(op) << " axis " << axis;
                        cumulative(op, in_place.view(), axis, in_place.view());
                        EXPECT_TRUE(same_bits(in_place, want));
                        const Layout back = Layout::contiguous(transposed.shape).transpose({2, 1, 0});
                        cumulative(op, a.view(), axis, transposed.view(back));
                        run(Tape{{type}, {}, {0}}, std::vector{transposed.view(back)}, std::vector{got.view()});
                        EXPECT_TRUE(same_bits(got, want));
                    });
                }
        });
}

}  // namespace
}  // namespace tenon::tape
