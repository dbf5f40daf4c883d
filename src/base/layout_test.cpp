// Shapes and layouts: counting, broadcasting, printing, and every view operation against enumeration of all indices,
// alone and in random compositions.
#include "tenon/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "tenon/error.h"

namespace tenon {
namespace {

using Positions = std::vector<std::int64_t>;

// Calls f for every index of a shape, the last axis fastest.
template <class F>
void for_each_index(const Shape& shape, F f) {
    if (count(shape) == 0) return;
    Extents index(shape.rank(), 0);
    while (true) {
        f(index);
        int axis = shape.rank() - 1;
        while (axis >= 0 && ++index[axis] == shape[axis]) index[axis--] = 0;
        if (axis < 0) return;
    }
}

// Where each element lives, in row-major order: what a layout means.
Positions positions(const Layout& l) {
    Positions out;
    for_each_index(l.shape, [&](const Extents& i) { out.push_back(l.at(i)); });
    return out;
}

TEST(Extents, EditsAndBounds) {
    Extents e{2, 3};
    e.push_back(5);
    e.insert(1, 4);
    EXPECT_EQ(e, (Extents{2, 4, 3, 5}));
    e.erase(0);
    EXPECT_EQ(e, (Extents{4, 3, 5}));
    EXPECT_EQ(Extents(2, 7), (Extents{7, 7}));
    EXPECT_THROW(e.insert(4, 1), ShapeError);
    EXPECT_THROW(e.insert(-1, 1), ShapeError);
    EXPECT_THROW(e.erase(3), ShapeError);
    EXPECT_THROW(Extents(kMaxRank + 1, 0), ShapeError);
    EXPECT_THROW(Extents(-1, 0), ShapeError);
    EXPECT_THROW(Extents(std::vector<std::int64_t>(kMaxRank + 1)), ShapeError);
    Extents full(kMaxRank, 1);
    EXPECT_THROW(full.push_back(1), ShapeError);
    EXPECT_EQ(full, Extents(kMaxRank, 1));
}

TEST(Extents, PrintLikeTuples) {
    EXPECT_EQ(to_string(Extents{}), "()");
    EXPECT_EQ(to_string(Extents{4}), "(4,)");
    EXPECT_EQ(to_string(Extents{2, -3}), "(2, -3)");
    EXPECT_EQ(to_string(Layout::contiguous({2, 3})), "shape (2, 3) strides (3, 1) offset 0");
}

TEST(Count, ChecksItsInput) {
    EXPECT_EQ(count({}), 1);
    EXPECT_EQ(count({2, 3, 4}), 24);
    EXPECT_EQ(count({2, 0, 4}), 0);
    EXPECT_EQ(count({std::int64_t{1} << 31, std::int64_t{1} << 31}), std::int64_t{1} << 62);
    EXPECT_THROW(count({std::int64_t{1} << 32, std::int64_t{1} << 31}), ShapeError);
    EXPECT_THROW(count({std::int64_t{1} << 40, 0, std::int64_t{1} << 40}), ShapeError);
    EXPECT_THROW(count({2, -1}), ShapeError);
    EXPECT_THROW(Layout::contiguous({0, -1}), ShapeError);
}

TEST(Broadcast, Shapes) {
    EXPECT_EQ(broadcast_shapes({2, 3}, {3}, "add"), (Shape{2, 3}));
    EXPECT_EQ(broadcast_shapes({3}, {2, 3}, "add"), (Shape{2, 3}));
    EXPECT_EQ(broadcast_shapes({2, 1}, {1, 5}, "add"), (Shape{2, 5}));
    EXPECT_EQ(broadcast_shapes({}, {4}, "add"), (Shape{4}));
    EXPECT_EQ(broadcast_shapes({1}, {0}, "add"), (Shape{0}));
    EXPECT_THROW(broadcast_shapes({0}, {2}, "add"), ShapeError);
    try {
        broadcast_shapes({2, 3}, {2}, "multiply");
        FAIL() << "(2, 3) and (2,) do not broadcast";
    } catch (const ShapeError& e) {
        const std::string message = e.what();
        EXPECT_NE(message.find("multiply: "), std::string::npos);
        EXPECT_NE(message.find("(2, 3)"), std::string::npos);
        EXPECT_NE(message.find("(2,)"), std::string::npos);
    }
}

TEST(Layout, ContiguousIsRowMajor) {
    const Layout l = Layout::contiguous({2, 3, 4});
    EXPECT_EQ(l.strides, (Strides{12, 4, 1}));
    Positions expected(24);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(positions(l), expected);
    EXPECT_TRUE(l.is_contiguous());
    EXPECT_TRUE(Layout::contiguous({}).is_contiguous());
    EXPECT_EQ(Layout::contiguous({}).at({}), 0);
    EXPECT_TRUE(Layout::contiguous({0, 3}).is_contiguous());
    EXPECT_FALSE(l.transpose({1, 0, 2}).is_contiguous());
    EXPECT_FALSE(Layout::contiguous({3}).broadcast({2, 3}).is_contiguous());
    EXPECT_TRUE((Layout{{1, 3}, {99, 1}, 5}).is_contiguous());
}

TEST(Layout, AtRefusesWhatIsOutside) {
    const Layout l = Layout::contiguous({2, 3});
    EXPECT_THROW(l.at(Extents{2, 0}), ShapeError);
    EXPECT_THROW(l.at(Extents{0, -1}), ShapeError);
    EXPECT_THROW(l.at(Extents{0}), ShapeError);
    EXPECT_THROW(l.at(std::vector<std::int64_t>(20)), ShapeError);
}

TEST(Layout, ViewsRefuseBadArguments) {
    const Layout l = Layout::contiguous({2, 3});
    EXPECT_THROW(l.transpose({0}), ShapeError);
    EXPECT_THROW(l.transpose({0, 0}), ShapeError);
    EXPECT_THROW(l.transpose({0, 2}), ShapeError);
    EXPECT_THROW(l.transpose({-1, 0}), ShapeError);
    EXPECT_THROW(l.broadcast({3}), ShapeError);
    EXPECT_THROW(l.broadcast({4, 3}), ShapeError);
    EXPECT_THROW(l.broadcast({-1, 2, 3}), ShapeError);
    EXPECT_THROW(l.slice({0, 0}, {2, 4}, {1, 1}), ShapeError);
    EXPECT_THROW(l.slice({2, 0}, {1, 3}, {1, 1}), ShapeError);
    EXPECT_THROW(l.slice({0, -1}, {2, 1}, {1, 1}), ShapeError);
    EXPECT_THROW(l.slice({0, 0}, {2, 2}, {1, -1}), ShapeError);
    EXPECT_THROW(l.slice({0, 0}, {2, -1}, {1, 1}), ShapeError);
    EXPECT_THROW(l.slice({0, 0}, {1, 1}, {1, 0}), ShapeError);
    EXPECT_THROW(l.slice({0, 0}, {2, 3}, {1, INT64_MAX}), ShapeError);
    EXPECT_THROW(l.slice({0}, {2}, {1}), ShapeError);
    Layout out;
    EXPECT_THROW(l.reshape({4}, out), ShapeError);
}

TEST(Layout, SliceOfOneElementTakesAnyStep) {
    const Layout l = Layout::contiguous({4, 5}).slice({1, 2}, {1, 1}, {INT64_MAX, INT64_MIN});
    EXPECT_EQ(positions(l), (Positions{7}));
}

TEST(Layout, EmptySliceTakesAnyStart) {
    const Layout l = Layout::contiguous({4}).slice({9}, {0}, {1});
    EXPECT_EQ(l.shape, (Shape{0}));
    EXPECT_EQ(l.offset, 0);
}

TEST(Layout, ReshapeOfAViewWhereItCan) {
    Layout out;
    // Rows 0 and 2 of a (4, 6): the rows stay runs, so splitting a row works and merging rows does not.
    const Layout rows = Layout::contiguous({4, 6}).slice({0, 0}, {2, 6}, {2, 1});
    ASSERT_TRUE(rows.reshape({2, 2, 3}, out));
    EXPECT_EQ(positions(out), positions(rows));
    EXPECT_FALSE(rows.reshape({12}, out));
    EXPECT_FALSE(rows.reshape({3, 4}, out));
    const Layout transposed = Layout::contiguous({2, 3}).transpose({1, 0});
    EXPECT_FALSE(transposed.reshape({6}, out));
    ASSERT_TRUE(transposed.reshape({3, 1, 2, 1}, out));
    EXPECT_EQ(positions(out), positions(transposed));
    ASSERT_TRUE(Layout::contiguous({}).reshape({1, 1}, out));
    EXPECT_EQ(out, Layout::contiguous({1, 1}));
    ASSERT_TRUE(Layout::contiguous({0, 3}).reshape({5, 0}, out));
    EXPECT_EQ(out.shape, (Shape{5, 0}));
    ASSERT_TRUE(Layout::contiguous({2, 3, 4}).reshape({6, 1, 4}, out));
    EXPECT_EQ(out, Layout::contiguous({6, 1, 4}));
}

TEST(Layout, CoalesceMergesRuns) {
    EXPECT_EQ(Layout::contiguous({2, 3, 4}).coalesce(), (Layout{{24}, {1}, 0}));
    EXPECT_EQ(Layout::contiguous({2, 1, 3}).transpose({2, 1, 0}).coalesce(), (Layout{{3, 2}, {1, 3}, 0}));
    EXPECT_EQ(Layout::contiguous({1}).broadcast({4, 5}).coalesce(), (Layout{{20}, {0}, 0}));
    EXPECT_EQ(Layout::contiguous({1, 1}).coalesce(), (Layout{{}, {}, 0}));
    EXPECT_EQ(Layout::contiguous({3, 0}).coalesce().shape, (Shape{0}));
}

// Random views.
// A view is kept as a layout and, beside it, as the plain list of positions that its definition gives.
// The two must agree after every operation.

struct Sample {
    Layout layout;
    Positions expected;
};

class RandomViews {
  public:
    explicit RandomViews(unsigned seed) : random_(seed) {}

    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
    }

    Sample fresh() {
        Shape shape;
        for (std::int64_t rank = between(0, 4); rank > 0; --rank) shape.push_back(between(0, 20) ? between(1, 4) : 0);
        Sample s{Layout::contiguous(shape), Positions(static_cast<std::size_t>(count(shape)))};
        std::iota(s.expected.begin(), s.expected.end(), 0);
        return s;
    }

    Axes permutation(int rank) {
        Axes perm(rank, 0);
        std::iota(perm.begin(), perm.end(), 0);
        std::shuffle(perm.begin(), perm.end(), random_);
        return perm;
    }

    Shape wider(const Shape& shape) {
        Shape to = shape;
        for (auto& extent : to)
            if (extent == 1) extent = between(1, 3);
        if (to.rank() < 5) to.insert(0, between(1, 2));
        return to;
    }

    // start, extent, step of a valid slice
    void slice(const Shape& shape, Extents& start, Extents& extent, Extents& step) {
        start = extent = step = Extents(shape.rank(), 0);
        for (int i = 0; i < shape.rank(); ++i) {
            step[i] = between(1, 2) * (between(0, 1) ? 1 : -1);
            if (shape[i] == 0) continue;
            start[i] = between(0, shape[i] - 1);
            const std::int64_t room = step[i] > 0 ? (shape[i] - 1 - start[i]) / step[i] : start[i] / -step[i];
            extent[i] = between(0, 9) ? room + 1 : between(0, room + 1);
        }
    }

    // A random shape with the same number of elements.
    Shape refactor(std::int64_t n) {
        Shape to;
        while (n > 1 && to.rank() < 5) {
            std::int64_t d = between(2, n);
            while (n % d) d = d == 2 ? n : d - 1;
            to.insert(static_cast<int>(between(0, to.rank())), d);
            n /= d;
        }
        if (n != 1 || between(0, 3) == 0) to.push_back(n);
        return to;
    }

  private:
    std::mt19937 random_;
};

// The positions of a view of `from`, by the map from its indices to the indices of `from`.
template <class F>
Positions pull_back(const Sample& from, const Shape& shape, F map) {
    const Layout rows = Layout::contiguous(from.layout.shape);
    Positions out;
    for_each_index(shape,
                   [&](const Extents& i) { out.push_back(from.expected[static_cast<std::size_t>(rows.at(map(i)))]); });
    return out;
}

Sample apply_random(RandomViews& r, const Sample& s) {
    const Layout& l = s.layout;
    const int rank = l.rank();
    switch (r.between(0, 3)) {
        case 0: {
            const Axes perm = r.permutation(rank);
            const Layout t = l.transpose(perm);
            return {t, pull_back(s, t.shape, [&](const Extents& i) {
                        Extents from(rank, 0);
                        for (int a = 0; a < rank; ++a) from[static_cast<int>(perm[a])] = i[a];
                        return from;
                    })};
        }
        case 1: {
            const Layout b = l.broadcast(r.wider(l.shape));
            return {b, pull_back(s, b.shape, [&](const Extents& i) {
                        Extents from(rank, 0);
                        for (int a = 0; a < rank; ++a) from[a] = l.shape[a] == 1 ? 0 : i[a + b.rank() - rank];
                        return from;
                    })};
        }
        case 2: {
            Extents start, extent, step;
            r.slice(l.shape, start, extent, step);
            return {l.slice(start, extent, step), pull_back(s, extent, [&](const Extents& i) {
                        Extents from(rank, 0);
                        for (int a = 0; a < rank; ++a) from[a] = start[a] + i[a] * step[a];
                        return from;
                    })};
        }
        default: {
            Layout out;
            if (!l.reshape(r.refactor(l.count()), out)) return s;
            return {out, s.expected};
        }
    }
}

TEST(RandomViews, EveryCompositionMeansWhatEnumerationSays) {
    RandomViews r(1);
    for (int trial = 0; trial < 4000; ++trial) {
        Sample s = r.fresh();
        for (int depth = 0; depth < 5 && s.expected.size() < 500; ++depth) {
            s = apply_random(r, s);
            ASSERT_EQ(positions(s.layout), s.expected) << to_string(s.layout);
            const Layout c = s.layout.coalesce();
            ASSERT_EQ(positions(c), s.expected) << to_string(s.layout);
            Positions in_order(s.expected.size());
            std::iota(in_order.begin(), in_order.end(), s.layout.offset);
            ASSERT_EQ(s.layout.is_contiguous(), s.expected == in_order) << to_string(s.layout);
        }
    }
}

// Whether some strides address `expected` under shape `to`, from first principles: each stride is forced by the element
// one step along its axis.
bool addressable(const Positions& expected, const Shape& to) {
    if (expected.empty()) return true;
    const Layout rows = Layout::contiguous(to);
    Layout guess{to, Strides(to.rank(), 0), expected[0]};
    for (int a = 0; a < to.rank(); ++a)
        if (to[a] > 1) guess.strides[a] = expected[static_cast<std::size_t>(rows.strides[a])] - expected[0];
    return positions(guess) == expected;
}

TEST(RandomViews, ReshapeSucceedsExactlyWhereStridesExist) {
    RandomViews r(2);
    int yes = 0, no = 0;
    for (int trial = 0; trial < 4000; ++trial) {
        Sample s = r.fresh();
        for (int depth = 0; depth < 3 && s.expected.size() < 500; ++depth) s = apply_random(r, s);
        const Shape to = r.refactor(s.layout.count());
        Layout out;
        const bool done = s.layout.reshape(to, out);
        ASSERT_EQ(done, addressable(s.expected, to)) << to_string(s.layout) << " to " << to_string(to);
        if (done) {
            ASSERT_EQ(positions(out), s.expected);
        }
        (done ? yes : no)++;
    }
    EXPECT_GT(yes, 100);
    EXPECT_GT(no, 100);
}

TEST(Laws, Composition) {
    RandomViews r(3);
    for (int trial = 0; trial < 1000; ++trial) {
        const Layout l = r.fresh().layout;
        const int rank = l.rank();
        const Axes p = r.permutation(rank), q = r.permutation(rank);
        Axes pq(rank, 0), inverse(rank, 0);
        for (int i = 0; i < rank; ++i) {
            pq[i] = p[static_cast<int>(q[i])];
            inverse[static_cast<int>(p[i])] = i;
        }
        EXPECT_EQ(l.transpose(p).transpose(q), l.transpose(pq));
        EXPECT_EQ(l.transpose(p).transpose(inverse), l);
        const Shape wide = r.wider(l.shape), wider = r.wider(wide);
        EXPECT_EQ(l.broadcast(wide).broadcast(wider), l.broadcast(wider));
        EXPECT_EQ(l.broadcast(l.shape), l);
        Layout there, back;
        ASSERT_TRUE(l.reshape(r.refactor(l.count()), there));
        ASSERT_TRUE(there.reshape(l.shape, back));
        EXPECT_EQ(back, l);
        EXPECT_EQ(l.slice(Extents(rank, 0), l.shape, Extents(rank, 1)), l);
        // Reversing twice is the identity.
        Extents last = l.shape;
        for (auto& x : last) x = std::max<std::int64_t>(x - 1, 0);
        const Extents minus(rank, -1);
        EXPECT_EQ(positions(l.slice(last, l.shape, minus).slice(last, l.shape, minus)), positions(l));
    }
}

}  // namespace
}  // namespace tenon
