// Products in one region have the bits of one after the other.
#include <gtest/gtest.h>

#include <memory>

#include "product/contract.h"
#include "product/testing.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::Equation;

using Extents = std::vector<std::pair<char, std::int64_t>>;

/// Products of one equation by one `a`, or each by its own, whose outputs are kept twice.
struct Group {
    Equation equation;
    std::vector<std::unique_ptr<Array>> arrays;
    std::vector<tape::Tape> tapes;
    std::vector<std::vector<View>> inputs;
    std::vector<Epilogue> epilogues;
    std::vector<GroupedProduct> products;
    std::vector<Array*> out;

    explicit Group(const char* text) : equation(text) { tapes.reserve(8), inputs.reserve(8), epilogues.reserve(8); }

    Array& make(DType type, const Shape& shape, testing::Storage storage = testing::Storage::row_major) {
        arrays.push_back(std::make_unique<Array>(type, shape, storage));
        arrays.back()->randomize(static_cast<unsigned>(arrays.size()));
        return *arrays.back();
    }
    /// With `reads`, the epilogue multiplies by what that product gives.
    void add(const View& a, DType type, DType out_type, const Extents& e, int reads = -1,
             testing::Storage storage = testing::Storage::row_major) {
        Array& b = make(type, equation.shape_b(e), storage);
        Array& c = make(out_type, equation.shape_out(e));
        out.push_back(&c);
        const Epilogue* epilogue = nullptr;
        if (reads >= 0) {
            tapes.push_back({{out_type, out_type}, {{tape::Opcode::multiply, out_type, out_type, {0, 1, 0}}}, {2}});
            inputs.push_back({products[static_cast<std::size_t>(reads)].out});
            epilogues.push_back({tapes.back(), inputs.back()});
            epilogue = &epilogues.back();
        }
        products.push_back({a, b.view(), c.view(), equation.labels(), epilogue, reads >= 0});
    }

    void expect_same_bits() {
        for (const int threads : {1, 2, 3}) {
            set_num_threads(threads);
            for (const GroupedProduct& p : products) contract(p.a, p.b, p.out, p.labels, {}, p.epilogue);
            std::vector<std::vector<unsigned char>> apart;
            for (Array* o : out) apart.push_back(o->bytes());
            for (Array* o : out) o->randomize(99);
            contract_grouped(products);
            for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i]->bytes(), apart[i]) << i << ", " << threads;
        }
        set_num_threads(0);
    }
};

TEST(Grouped, SharedRowsOfEveryDtype) {
    for (const auto& [type, to] : {std::pair(DType::float32, DType::float32),
                                   {DType::float64, DType::float64},
                                   {DType::bfloat16, DType::float32},
                                   {DType::float16, DType::float16},
                                   {DType::int8, DType::int32},
                                   {DType::int32, DType::int32}})
        for (const std::int64_t m : {1, 5, 70, 300}) {
            Group g("mk,nk->mn");
            const View a = g.make(type, {m, 500}).view();
            for (const std::int64_t n : {130, 64, 257}) g.add(a, type, to, {{'m', m}, {'n', n}, {'k', 500}});
            g.expect_same_bits();
            EXPECT_EQ(grouped_declines(g.products, false), nullptr) << name(type) << " " << m;
        }
}

TEST(Grouped, OneReadsTheOtherTileByTile) {
    for (const std::int64_t m : {1, 40, 700})
        for (const std::int64_t k : {384, 900}) {
            Group g("mk,kn->mn");
            const View a = g.make(DType::float32, {m, k}).view();
            const Extents e{{'m', m}, {'n', 300}, {'k', k}};
            g.add(a, DType::float32, DType::float32, e);
            g.add(a, DType::float32, DType::float32, e, 0);
            g.add(a, DType::float32, DType::float32, e, 1);
            g.expect_same_bits();
            EXPECT_EQ(grouped_declines(g.products, false), nullptr);
        }
}

TEST(Grouped, SumsOfOtherOperandsAndDepths) {
    Group g("mk,kn->mn");
    for (const std::int64_t k : {96, 400, 1000})
        g.add(g.make(DType::float32, {200, k}).view(), DType::float32, DType::float32,
              {{'m', 200}, {'n', 384}, {'k', k}}, static_cast<int>(g.products.size()) - 1);
    g.expect_same_bits();
}

TEST(Grouped, BatchesAndStrides) {
    Group g("bmk,bnk->bmn");
    const View a = g.make(DType::float32, {3, 90, 70}, testing::Storage::padded).view();
    for (const auto storage : {testing::Storage::row_major, testing::Storage::reversed, testing::Storage::shuffled})
        g.add(a, DType::float32, DType::float32, {{'b', 3}, {'m', 90}, {'n', 80}, {'k', 70}}, -1, storage);
    g.expect_same_bits();
}

TEST(Grouped, DeclinesWithAReason) {
    const auto reason = [](Group& g, bool judged = false) {
        const char* why = grouped_declines(g.products, judged);
        return std::string(why ? why : "");
    };
    set_num_threads(2);
    Group mixed("mk,kn->mn");
    const Extents e{{'m', 60}, {'n', 300}, {'k', 200}};
    mixed.add(mixed.make(DType::float32, {60, 200}).view(), DType::float32, DType::float32, e);
    mixed.add(mixed.make(DType::float64, {60, 200}).view(), DType::float64, DType::float64, e);
    EXPECT_EQ(reason(mixed), "their dtypes are not the same");
    mixed.expect_same_bits();

    Group empty("mk,kn->mn");
    const View none = empty.make(DType::float32, {0, 20}).view();
    for (int i = 0; i < 2; ++i) empty.add(none, DType::float32, DType::float32, {{'m', 0}, {'n', 30}, {'k', 20}});
    EXPECT_EQ(reason(empty), "one of them has no elements");
    empty.expect_same_bits();

    set_num_threads(2);
    Group tiny("mk,kn->mn");
    const View few = tiny.make(DType::float32, {4, 8}).view();
    for (int i = 0; i < 2; ++i) tiny.add(few, DType::float32, DType::float32, {{'m', 4}, {'n', 4}, {'k', 8}});
    EXPECT_EQ(reason(tiny), "one of them runs by a row that has no tiles");
    tiny.expect_same_bits();

    set_num_threads(2);
    Group large("mk,kn->mn");
    const View many = large.make(DType::float32, {600, 500}).view();
    for (int i = 0; i < 2; ++i) large.add(many, DType::float32, DType::float32, {{'m', 600}, {'n', 500}, {'k', 500}});
    EXPECT_EQ(reason(large), "");
    EXPECT_EQ(reason(large, true), "waiting for threads is next to nothing of them");
    set_num_threads(1);
    EXPECT_EQ(reason(large, true), "one thread computes each of them");
    set_num_threads(0);
}

}  // namespace
}  // namespace tenon::product
