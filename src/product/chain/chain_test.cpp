// A chain has the bits of its two products, one after the other: structures, strides, dtypes, instruction sets,
// threads.
#include "product/chain/chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/storage.h"
#include "product/chain/blocks.h"
#include "product/chain/lanes.h"
#include "product/chain/panels.h"
#include "product/chain/rows.h"
#include "product/chain/small.h"
#include "product/chain/testing.h"
#include "product/dense/blocked.h"
#include "product/dense/generated.h"
#include "product/product_testing.h"
#include "product/weights.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using testing::Array;
using testing::describe;
using testing::first_difference;
using testing::message_of;
using testing::Operands;
using testing::Pair;
using testing::Setting;
using testing::settings;
using testing::Storage;
using testing::structure;
using testing::Theta;
using testing::WithSetting;

/// The forms, each even where it would not pay; false where it cannot run the chain.
bool run_in_blocks(const Chain& chain, std::int64_t rows) {
    const chain::Intermediate intermediate = chain::analyse(chain);
    chain::BlocksForm form = chain::blocks_form(chain, intermediate, 1);
    if (form.unsupported) return false;
    const std::int64_t extent = form.intermediate->axes[static_cast<std::size_t>(form.cut)].extent;
    form.block = std::min(rows, extent);
    form.blocks = (extent + form.block - 1) / form.block;
    chain::run_blocks(chain, form);
    return true;
}
bool run_in_lanes(const Chain& chain) {
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::LanesForm form = chain::lanes_form(chain, intermediate);
    if (!form.unsupported) chain::run_lanes(chain, form);
    return !form.unsupported;
}
bool run_in_panels(const Chain& chain) {
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::PanelsForm form = chain::panels_form(chain, chain::lanes_form(chain, intermediate));
    if (!form.unsupported) chain::run_panels(chain, form);
    return !form.unsupported;
}
bool run_in_small(const Chain& chain) {
    const chain::Intermediate intermediate = chain::analyse(chain);
    chain::SmallForm form = chain::small_form(chain, chain::lanes_form(chain, intermediate));
    // The plan of the first serves the second.
    for (int i = 0; i < 2 && !form.unsupported; ++i) chain::run_small(chain, form);
    return !form.unsupported;
}
bool run_in_rows(const Chain& chain) {
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::RowsForm form = chain::rows_form(chain, intermediate);
    if (!form.unsupported) chain::run_rows(chain, form);
    return !form.unsupported;
}

/// With weights that recur. Only the last run is compared: it reads them as they were packed before.
bool run_kept(const Chain& chain) {
    if (chain.finish.beta != 0) return false;
    const auto owner = tenon::Storage::allocate(64);
    Chain again = chain;
    for (View* v : {&again.a, &again.b, &again.c}) v->owner = owner.get();
    const std::int64_t before = weight_statistics().reused;
    for (const bool panels : {false, true})
        for (int i = 0; i < 3; ++i) {
            next_evaluation();
            if (!(panels ? run_in_panels(again) : run_in_lanes(again))) break;
        }
    return weight_statistics().reused > before;
}

struct Way {
    const char* name;
    bool (*run)(const Chain&);
};
const Way kWays[] = {{"run",
                      [](const Chain& chain) {
                          run(chain);
                          return true;
                      }},
                     {"unfused",
                      [](const Chain& chain) {
                          run_unfused(chain);
                          return true;
                      }},
                     {"small", run_in_small},
                     {"panels", run_in_panels},
                     {"lanes", run_in_lanes},
                     {"kept weights", run_kept},
                     {"rows", run_in_rows},
                     {"blocks of 5", [](const Chain& chain) { return run_in_blocks(chain, 5); }},
                     {"blocks of 64", [](const Chain& chain) { return run_in_blocks(chain, 64); }}};

/// `change` edits the chain (a tape, an epilogue). One reference, then every setting, strips and blocks.
template <class Change>
void expect_equal(const Pair& pair, const std::vector<int>& threads, Change change) {
    Operands operands(pair);
    Chain chain = operands.chain();
    change(chain, operands);
    Array expected(pair.out, operands.out().layout().shape);
    Array product(chain.product, intermediate_shape(chain)),
        intermediate(chain::intermediate_dtype(chain), intermediate_shape(chain));
    const View product_view = product.view(), intermediate_view = intermediate.view();
    Chain reference = chain;
    reference.out = expected.view();
    reference.kept_product = &product_view, reference.kept_intermediate = &intermediate_view;
    if (chain.finish.beta != 0)
        for (std::int64_t i = 0; i < expected.count(); ++i)
            std::memcpy(expected.at(i), operands.out().at(i), size_of(pair.out));
    testing::run_reference(reference);
    int runs = 0;
    for (const Setting& s : settings())
        for (const int n : threads) {
            const WithSetting with(s, n);
            for (const Way& way : kWays) {
                Operands fresh(pair);
                Chain again = chain;
                again.out = fresh.out().view();
                if (chain.finish.beta != 0)
                    for (std::int64_t i = 0; i < expected.count(); ++i)
                        std::memcpy(fresh.out().at(i), operands.out().at(i), size_of(pair.out));
                // What others read is kept in every other run, as it lies or in another order.
                const Storage storage = ++runs % 4 == 0 ? Storage::shuffled : Storage::row_major;
                Array kept_product(product.view().dtype, intermediate_shape(chain), storage, 5),
                    kept_intermediate(intermediate.view().dtype, intermediate_shape(chain), storage, 6);
                const View kept[] = {kept_product.view(), kept_intermediate.view()};
                if (runs % 2 == 0) again.kept_product = &kept[0];
                if (runs % 2 == 0 && runs % 3 != 0) again.kept_intermediate = &kept[1];
                if (!way.run(again)) continue;
                ASSERT_EQ(again.kept_product ? first_difference(kept_product, product, chain.product) : -1, -1)
                    << name(s.isa) << " threads " << n << ", the product kept by " << way.name << ": "
                    << describe(pair);
                ASSERT_EQ(
                    again.kept_intermediate ? first_difference(kept_intermediate, intermediate, kept[1].dtype) : -1, -1)
                    << name(s.isa) << " threads " << n << ", the middle kept by " << way.name << ": " << describe(pair);
                ASSERT_EQ(first_difference(fresh.out(), expected, pair.out), -1)
                    << name(s.isa) << (s.dot == dense::Dot::never ? "" : " dot") << " threads " << n << ", " << way.name
                    << ": " << describe(pair);
            }
        }
}
void expect_equal(const Pair& pair, const std::vector<int>& threads) {
    expect_equal(pair, threads, [](Chain&, Operands&) {});
}

/// That a form can run it, in every setting that has kernels for its dtype.
void expect_lanes(const Pair& pair) {
    Operands operands(pair);
    const Chain chain = operands.chain();
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::LanesForm form = chain::lanes_form(chain, intermediate);
    EXPECT_EQ(form.unsupported, nullptr) << (form.unsupported ? form.unsupported : "") << describe(pair);
}
void expect_panels(const Pair& pair) {
    Operands operands(pair);
    const Chain chain = operands.chain();
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::PanelsForm form = chain::panels_form(chain, chain::lanes_form(chain, intermediate));
    EXPECT_EQ(form.unsupported, nullptr) << (form.unsupported ? form.unsupported : "") << describe(pair);
}
void expect_rows(const Pair& pair) {
    Operands operands(pair);
    const Chain chain = operands.chain();
    const chain::Intermediate intermediate = chain::analyse(chain);
    const chain::RowsForm form = chain::rows_form(chain, intermediate);
    EXPECT_EQ(form.unsupported, nullptr) << (form.unsupported ? form.unsupported : "") << describe(pair);
}

const Theta kBlockTensorTrains[] = {
    {8, 1, 8, 1, 8, 8, 1},  // Monarch
    {8, 1, 8, 1, 8, 8, 2},  // rank 2
    {5, 1, 7, 1, 9, 3, 3},  // ragged
    {33, 1, 2, 1, 17, 5, 1},  // more than two vectors
    {16, 1, 30, 1, 40, 15, 1}, {3, 1, 1, 1, 35, 2, 4},  // one slice
};

TEST(Chain, StructuresWithATransposeEqualTwoProducts) {
    for (const Theta& theta : kBlockTensorTrains)
        for (const bool adjoint : {false, true})
            for (const std::int64_t rows : {3, 16, 31, 33, 70}) {
                const Pair pair = structure(theta, rows, adjoint);
                if (!adjoint || theta.gamma > 1) expect_lanes(pair);
                ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, rows == 33 ? 3 : 2}));
            }
}

TEST(Chain, StructuresWithoutATransposeEqualTwoProducts) {
    for (const Theta& theta : {Theta{8, 7, 1, 9, 10, 1, 1}, Theta{33, 16, 1, 40, 17, 1, 1}, Theta{64, 3, 1, 2, 5, 1, 1},
                               Theta{5, 1, 1, 1, 7, 1, 30}, Theta{5, 50, 1, 64, 33, 1, 1}})
        for (const bool adjoint : {false, true})
            for (const std::int64_t rows : {1, 2, 17, 100})
                for (const DType dtype : {DType::float32, DType::float64}) {
                    Pair pair = structure(theta, rows, adjoint);
                    pair.dtype = pair.out = dtype;
                    if (rows > 1) expect_rows(pair);
                    ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 3}));
                }
}

TEST(Chain, RowsOfAnIntermediateInRowsEqualTwoProducts) {
    for (const Theta& theta : {Theta{8, 6, 1, 9, 10, 1, 1}, Theta{32, 16, 1, 40, 17, 1, 1}, Theta{64, 2, 1, 2, 5, 1, 1},
                               Theta{6, 50, 1, 64, 33, 1, 1}})
        for (const std::int64_t rows : {1, 2, 17, 100})
            for (const auto& [dtype, out] : {std::pair{DType::bfloat16, DType::float32},
                                             {DType::bfloat16, DType::bfloat16},
                                             {DType::float32, DType::float32}}) {
                Pair pair = structure(theta, rows);
                pair.first = "tgba,fdrga->tfdrgb", pair.second = "tfdrgb,fergb->tfed";
                pair.dtype = dtype, pair.out = out;
                if (rows > 1 && dense::uses_dot_instructions()) expect_rows(pair);
                ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 3}));
            }
}

/// A panel has 14 rows, of which a kernel of the first product takes half; two slices at a time. With 400 slices, 113
/// rows are many strips, which one thread cuts into whole panels. From 65 groups of the second product's k on, in
/// parts.
TEST(Chain, PanelsEqualTwoProducts) {
    for (const Theta& theta :
         {Theta{32, 1, 8, 1, 32, 32, 2}, Theta{6, 1, 2, 1, 3, 16, 1}, Theta{64, 1, 6, 1, 50, 40, 1},
          Theta{4, 1, 400, 1, 20, 17, 1}, Theta{10, 1, 4, 1, 7, 25, 3}, Theta{10, 1, 66, 1, 7, 25, 2},
          Theta{6, 1, 140, 1, 40, 18, 1}})
        for (const std::int64_t rows : {1, 7, 15, 113})
            for (const auto& [dtype, out] : {std::pair{DType::float32, DType::float32},
                                             {DType::float64, DType::float64},
                                             {DType::bfloat16, DType::float32},
                                             {DType::bfloat16, DType::bfloat16}}) {
                Pair pair = structure(theta, rows);
                pair.dtype = dtype, pair.out = out;
                if (rows > 1 && dense::uses_dot_instructions() && theta.gamma * theta.rho <= kBlockK)
                    expect_panels(pair);
                ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {rows == 113 ? 1 : 2}));
            }
}

/// Strips are whole vectors of rows; tiles of one to four vectors of columns, masked and not.
TEST(Chain, SmallFactorsEqualTwoProducts) {
    const WithSetting best(settings().back(), 1);
    for (const Theta& theta :
         {Theta{16, 1, 16, 1, 16, 16, 1}, Theta{16, 1, 16, 1, 16, 16, 2}, Theta{7, 1, 5, 1, 33, 9, 1},
          Theta{64, 1, 3, 1, 50, 20, 1}, Theta{1, 1, 60, 1, 64, 4, 1}})
        for (const std::int64_t rows : {1, 17, 64, 101})
            for (const DType dtype : {DType::float32, DType::float64}) {
                Pair pair = structure(theta, rows);
                pair.dtype = pair.out = dtype;
                Operands operands(pair);
                const Chain chain = operands.chain();
                const chain::Intermediate intermediate = chain::analyse(chain);
                if (dense::generates_kernels() && rows > 1) {
                    EXPECT_EQ(chain::small_form(chain, chain::lanes_form(chain, intermediate)).unsupported, nullptr)
                        << describe(pair);
                }
                ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 3}));
            }
}

// A chain of the same shapes whose strides, labels or dtype are others has a plan of its own.
TEST(Chain, PlansOfChainsThatComeBackAreTheirOwn) {
    const WithSetting with(settings().back(), 1);
    for (int round = 0; round < 2; ++round)
        for (const DType dtype : {DType::float32, DType::float64})
            for (const Storage storage : {Storage::row_major, Storage::shuffled})
                for (const bool adjoint : {false, true})
                    for (const std::int64_t rows : {64, 65}) {
                        Pair pair = structure({16, 1, 16, 1, 16, 16, 1}, rows, adjoint);
                        pair.dtype = pair.out = dtype, pair.y = storage, pair.seed = 1 + static_cast<unsigned>(round);
                        Operands operands(pair), expected(pair);
                        run_unfused(expected.chain());
                        run(operands.chain());
                        ASSERT_EQ(first_difference(operands.out(), expected.out(), dtype), -1) << describe(pair);
                    }
}

TEST(Chain, LargeOutputsGoPastTheCaches) {
    const Pair pair = structure({16, 1, 32, 1, 32, 32, 1}, 3100);
    Operands operands(pair), expected(pair);
    const WithSetting with(settings().back(), 2);
    run_unfused(expected.chain());
    run(operands.chain());
    EXPECT_EQ(first_difference(operands.out(), expected.out(), DType::float32), -1);
}

// Beyond the caches it is fetched, and stored as the second product is computed.
TEST(Chain, LargeKeptIntermediatesEqualTwoProducts) {
    for (const Theta& theta : {Theta{64, 64, 1, 64, 64, 1, 1}, Theta{32, 1, 64, 1, 32, 64, 1}})
        for (const char* first : {"tgba,fdrga->tfdrgb", "tgba,fdrga->fdrgbt"}) {
            Pair pair = structure(theta, 280);
            pair.first = first, pair.second = std::string(first + 12) + ",fergb->tfed";
            for (const int threads : {1, 2}) {
                const WithSetting with(settings().back(), threads);
                Operands operands(pair), expected(pair);
                Chain chain = operands.chain(), reference = expected.chain();
                Array kept(DType::float32, intermediate_shape(chain)),
                    expected_kept(DType::float32, intermediate_shape(chain));
                const View view = kept.view(), expected_view = expected_kept.view();
                chain.kept_product = &view, reference.kept_product = &expected_view;
                chain.always = true;
                run_unfused(reference);
                run(chain);
                EXPECT_EQ(first_difference(operands.out(), expected.out(), DType::float32), -1) << describe(pair);
                EXPECT_EQ(first_difference(kept, expected_kept, DType::float32), -1) << describe(pair);
            }
        }
}

TEST(Chain, DtypesEqualTwoProducts) {
    for (const auto& [dtype, out] : {std::pair{DType::float64, DType::float64},
                                     {DType::bfloat16, DType::bfloat16},
                                     {DType::bfloat16, DType::float32},
                                     {DType::float16, DType::float16},
                                     {DType::int32, DType::int32}})
        for (const Theta& theta : kBlockTensorTrains)
            for (const bool adjoint : {false, true})
                for (const std::int64_t rows : {13, 64, 100}) {
                    Pair pair = structure(theta, rows, adjoint);
                    pair.dtype = dtype, pair.out = out;
                    ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
                }
}

TEST(Chain, AnyThetaEqualsTwoProducts) {
    std::mt19937 random(5);
    const auto draw = [&](std::int64_t most) { return 1 + static_cast<std::int64_t>(random() % most); };
    for (int i = 0; i < 60; ++i) {
        const Theta theta{draw(20), draw(5), draw(6), draw(5), draw(20), draw(6), draw(3)};
        Pair pair = structure(theta, draw(60), i % 2 != 0);
        const DType dtypes[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};
        pair.dtype = pair.out = dtypes[i % 4];
        if (i % 8 == 2) pair.out = DType::float32;
        const auto storage = [&] { return static_cast<Storage>(random() % 5); };
        pair.a = storage(), pair.b = storage(), pair.c = storage(), pair.y = storage();
        pair.seed = static_cast<unsigned>(i + 1);
        ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 4}));
    }
}

TEST(Chain, OtherOrdersOfOperandsAndAxesEqualTwoProducts) {
    const Theta t{8, 1, 9, 1, 20, 7, 2};
    for (const char* first : {"tga,frga->tfrg", "frga,tga->gfrt", "tga,gafr->rtgf"})
        for (const char* second : {"tfrg,ferg->tfe", "grft,ferg->etf", "tgfr,rgfe->tfe"}) {
            Pair pair = structure(t, 37);
            pair.first = first, pair.second = second;
            ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
        }
    for (const char* second : {"ferg,tfrg->tfe", "fgre,gtrf->tfe"}) {
        Pair pair = structure(t, 37);
        pair.first = "tga,frga->tfrg", pair.second = second, pair.z_is_a = false;
        ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
    }
}

TEST(Chain, StridesEqualTwoProducts) {
    for (const Storage storage : {Storage::column_major, Storage::padded, Storage::reversed, Storage::shuffled})
        for (const int which : {0, 1, 2, 3}) {
            Pair pair = structure({8, 1, 8, 1, 24, 8, 2}, 35);
            (which == 0 ? pair.a : which == 1 ? pair.b : which == 2 ? pair.c : pair.y) = storage;
            ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
            pair.dtype = pair.out = DType::bfloat16;
            ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
        }
}

TEST(Chain, BlocksOfKEqualTwoProducts) {
    for (const std::int64_t k : {383, 384, 385, 800}) {
        ASSERT_NO_FATAL_FAILURE(expect_equal(structure({k, 1, 2, 1, 5, 3, 1}, 20), {1}));
        ASSERT_NO_FATAL_FAILURE(expect_equal(structure({4, 1, k, 1, 5, 3, 1}, 20), {1}));
        Pair narrow = structure({4, 1, k, 1, 5, 3, 1}, 20);
        narrow.dtype = narrow.out = DType::bfloat16;
        ASSERT_NO_FATAL_FAILURE(expect_equal(narrow, {1}));
    }
}

TEST(Chain, TwoLayersEqualTwoProducts) {
    for (const auto& [n, k, m] : {std::array<std::int64_t, 3>{40, 30, 20}, {7, 400, 33}, {1, 1, 1}, {65, 3, 390}}) {
        Pair pair;
        pair.first = "tk,hk->th", pair.second = "th,oh->to";
        pair.extents = {{'t', n}, {'k', k}, {'h', m}, {'o', 50}};
        ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}));
    }
}

tape::Tape tanh_of_sum(DType type) {
    tape::Tape t;
    t.inputs = {type, type, type};
    t.code = {{tape::Opcode::add, type, type, {0, 1, 0}},
              {tape::Opcode::tanh, type, type, {3, 0, 0}},
              {tape::Opcode::multiply, type, type, {4, 2, 0}}};
    t.outputs = {5};
    return t;
}

TEST(Chain, ATapeBetweenIsRunOnTheIntermediate) {
    for (const DType type : {DType::float32, DType::float64, DType::bfloat16})
        for (const bool adjoint : {false, true}) {
            Pair pair = structure({8, 1, 9, 1, 20, 7, 2}, 37, adjoint);
            pair.dtype = pair.out = type;
            const tape::Tape tape = tanh_of_sum(type);
            // A bias for each f and r, and a mask of everything.
            Array bias(type, {7, 1, 2, 1, 1, 1}), mask(type, {7, 1, 2, 9, 1, 37}, Storage::shuffled, 3);
            bias.randomize(7), mask.randomize(8);
            View wide = bias.view();
            wide.layout = wide.layout.broadcast({7, 1, 2, 9, 1, 37});
            const View inputs[] = {wide, mask.view()};
            const Epilogue between{tape, inputs};
            ASSERT_NO_FATAL_FAILURE(
                expect_equal(pair, {1, 3}, [&](Chain& chain, Operands&) { chain.between = &between; }));
        }
}

TEST(Chain, ATapeMayChangeTheDtype) {
    Pair pair = structure({8, 1, 9, 1, 20, 7, 2}, 37);
    pair.dtype = pair.out = DType::bfloat16;
    tape::Tape tape;
    tape.inputs = {DType::float32};
    tape.code = {{tape::Opcode::exp, DType::float32, DType::float32, {0, 0, 0}},
                 {tape::Opcode::cast, DType::float32, DType::bfloat16, {1, 0, 0}}};
    tape.outputs = {2};
    const Epilogue between{tape, {}};
    ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}, [&](Chain& chain, Operands&) {
        chain.product = DType::float32;
        chain.between = &between;
    }));
}

TEST(Chain, FinishAndEpilogueAreTheSecondProducts) {
    Pair pair = structure({8, 1, 9, 1, 20, 7, 2}, 37);
    ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}, [&](Chain& chain, Operands& operands) {
        operands.out().randomize(11);
        chain.finish = {0.5, 2.0};
    }));
    const tape::Tape tape = tanh_of_sum(DType::float32);
    Array bias(DType::float32, {1, 7, 20, 1}), residual(DType::float32, {37, 7, 20, 1}, Storage::padded);
    bias.randomize(7), residual.randomize(8);
    View wide = bias.view();
    wide.layout = wide.layout.broadcast({37, 7, 20, 1});
    const View inputs[] = {wide, residual.view()};
    const Epilogue epilogue{tape, inputs};
    ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1, 2}, [&](Chain& chain, Operands&) { chain.epilogue = &epilogue; }));
}

TEST(Chain, AReshapeBetweenSplitsAxes) {
    // z (t, 24), read as (4 of t, t', 6, 4) in another order.
    Array x(DType::float32, {48, 10}), w(DType::float32, {24, 10}), c(DType::float32, {6, 5});
    x.randomize(1), w.randomize(2), c.randomize(3);
    const std::uint8_t xs[] = {0, 1}, ws[] = {2, 1}, zs[] = {0, 2}, reading[] = {5, 3, 4, 6}, cs[] = {5, 7},
                       ys[] = {3, 4, 7, 6};
    Chain chain;
    chain.a = x.view(), chain.b = w.view(), chain.c = c.view();
    chain.first = {xs, ws, zs};
    chain.second = {reading, cs, ys};
    chain.reading = {{6, 4, 12, 4}, {4, 288, 24, 1}, 0};
    Array y(DType::float32, {4, 12, 5, 4}), expected(DType::float32, {4, 12, 5, 4});
    chain.out = expected.view();
    testing::run_reference(chain);
    chain.out = y.view();
    run(chain);
    EXPECT_EQ(first_difference(y, expected, DType::float32), -1);
    Array blocks(DType::float32, {4, 12, 5, 4});
    chain.out = blocks.view();
    run_in_blocks(chain, 7);
    EXPECT_EQ(first_difference(blocks, expected, DType::float32), -1);
}

TEST(Chain, NotANumberAndInfinityGoThrough) {
    for (const DType type : {DType::float32, DType::bfloat16}) {
        Pair pair = structure({8, 1, 8, 1, 16, 8, 1}, 40);
        pair.dtype = pair.out = type;
        ASSERT_NO_FATAL_FAILURE(expect_equal(pair, {1}, [](Chain&, Operands& operands) {
            operands.a().set(5, std::numeric_limits<double>::quiet_NaN());
            operands.a().set(333, std::numeric_limits<double>::infinity());
            operands.b().set(17, -std::numeric_limits<double>::infinity());
            operands.c().set(9, 0x1p-130);
        }));
    }
}

TEST(Chain, PiecesOfTheBatchEqualTwoProducts) {
    // z of 16 rows takes twice a strip's share of cache, and few rows are shared out among threads.
    const std::int64_t phi = 2 * chain::strip_bytes() / (16 * 160 * 4);
    for (const int threads : {1, 2, 4}) {
        const Pair pair = structure({16, 1, 160, 1, 24, phi, 1}, 20);
        Operands operands(pair), expected(pair);
        const WithSetting with(settings().back(), threads);
        run_unfused(expected.chain());
        const Chain chain = operands.chain();
        const chain::Intermediate intermediate = chain::analyse(chain);
        const chain::LanesForm form = chain::lanes_form(chain, intermediate);
        ASSERT_EQ(form.unsupported, nullptr);
        EXPECT_GT(chain::cut_lanes(form, 4, 16, threads).pieces, 1);
        ASSERT_TRUE(run_in_lanes(chain));
        EXPECT_EQ(first_difference(operands.out(), expected.out(), DType::float32), -1);
    }
}

TEST(Chain, EmptyAxesGiveWhatTwoProductsGive) {
    for (const std::int64_t rows : {0, 5})
        for (const std::int64_t gamma : {0, 4}) {
            const Pair pair = structure({3, 1, gamma, 1, 5, 2, 1}, rows);
            Operands operands(pair), expected(pair);
            run(operands.chain());
            testing::run_reference(expected.chain());
            EXPECT_EQ(first_difference(operands.out(), expected.out(), DType::float32), -1);
        }
}

TEST(Chain, BadInputIsRefusedAndLeavesTheOutput) {
    const Pair pair = structure({8, 1, 9, 1, 20, 7, 2}, 37);
    Operands operands(pair);
    const std::vector<unsigned char> before = operands.out().bytes();
    Chain chain = operands.chain();
    chain.c.layout.shape[1] = 3;
    EXPECT_NE(message_of<ShapeError>([&] { run(chain); }).find("must agree"), std::string::npos);
    chain = operands.chain();
    chain.c.dtype = DType::float64;
    EXPECT_NE(message_of<TypeError>([&] { run(chain); }).find("share a dtype"), std::string::npos);
    chain = operands.chain();
    chain.reading.shape[0] = 3;
    EXPECT_NE(message_of<ShapeError>([&] { run(chain); }).find("reads"), std::string::npos);
    EXPECT_EQ(operands.out().bytes(), before);
}

}  // namespace
}  // namespace tenon::product
