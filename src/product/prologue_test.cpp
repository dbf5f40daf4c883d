// A product with prologues has the bits of the tapes run over the whole operands and the product then.
#include "product/prologue.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/storage.h"
#include "product/product_testing.h"
#include "tape/tape.h"
#include "tenon/error.h"

namespace tenon::product {
namespace {

using tape::Opcode;
using testing::Array;
using testing::Equation;
using testing::first_difference;
using testing::settings;
using testing::Storage;
using testing::WithSetting;

/// What a tape computes in.
DType wide(DType result) { return result == DType::float64 ? DType::float64 : DType::float32; }

/// x * r1 + r2, its tanh where the result is floating-point, else rounded; from `stored` to `result`.
tape::Tape activation(DType stored, DType result) {
    const DType f = wide(result);
    tape::Tape t;
    t.inputs = {stored, f, f};
    std::uint8_t next = 3;
    const auto add = [&](Opcode op, DType type, DType to, std::uint8_t x, std::uint8_t y = 0) {
        t.code.push_back({op, type, to, {x, y, 0}});
        return next++;
    };
    std::uint8_t x = stored == f ? std::uint8_t{0} : add(Opcode::cast, stored, f, 0);
    x = add(Opcode::multiply, f, f, x, 1);
    x = add(Opcode::add, f, f, x, 2);
    x = add(is_byte(result) ? Opcode::round : Opcode::tanh, f, f, x);
    if (result != f) x = add(Opcode::cast, f, result, x);
    t.outputs = {x};
    return t;
}

tape::Tape add_one_input(DType product) {
    tape::Tape t;
    t.inputs = {product, product};
    t.code = {{Opcode::add, product, product, {0, 1, 0}}};
    t.outputs = {2};
    return t;
}

/// A stored operand, a row broadcast along its other axes, an array of its shape, and the tape of them.
struct Operand {
    DType result;
    Array stored, row, full;
    std::vector<View> inputs;
    tape::Tape tape;

    Operand(DType from, DType to, const Shape& shape, Storage storage, unsigned seed)
        : result(to),
          stored(from, shape, storage, seed),
          row(wide(to), {shape.back()}),
          full(wide(to), shape, seed % 2 == 0 ? storage : Storage::padded, seed),
          tape(activation(from, to)) {
        stored.randomize(seed), row.randomize(seed + 1), full.randomize(seed + 2);
        if (is_byte(to))
            for (Array* x : {&row, &full})
                for (std::int64_t i = 0; i < x->count(); ++i) x->set(i, 100 * x->get(i));
        View v = row.view();
        v.layout.shape = shape;
        v.layout.strides = Strides(shape.rank(), 0);
        v.layout.strides[shape.rank() - 1] = 1;
        inputs = {v, full.view()};
    }
    Prologue prologue() const { return {tape, inputs}; }
    Array whole() {
        Array all(result, stored.layout().shape);
        const View from[] = {stored.view(), inputs[0], inputs[1]}, to = all.view();
        tape::run(tape, from, {&to, 1});
        return all;
    }
};

struct Types {
    DType stored_a, a, stored_b, b, out;
};
constexpr Types kTypes[] = {{DType::float32, DType::float32, DType::float32, DType::float32, DType::float32},
                            {DType::int8, DType::float32, DType::bfloat16, DType::float32, DType::float32},
                            {DType::float64, DType::float64, DType::float32, DType::float64, DType::float64},
                            {DType::float32, DType::bfloat16, DType::bfloat16, DType::bfloat16, DType::bfloat16},
                            {DType::uint8, DType::bfloat16, DType::float32, DType::bfloat16, DType::float32},
                            {DType::float16, DType::float16, DType::int8, DType::float16, DType::float32},
                            {DType::float32, DType::uint8, DType::int8, DType::int8, DType::int32},
                            {DType::int8, DType::int8, DType::float16, DType::int8, DType::int32},
                            {DType::int8, DType::uint8, DType::uint8, DType::uint8, DType::int32}};

std::string describe(const Types& t) {
    return text(name(t.stored_a), ">", name(t.a), " ", name(t.stored_b), ">", name(t.b), " ", name(t.out));
}

using Extents = std::vector<std::pair<char, std::int64_t>>;

/// which: 1 for a tape of a, 2 for one of b, 3 for both.
void expect_fused(const Types& t, const char* letters, const Extents& extents, Storage storage, int which,
                  bool with_epilogue, const Finish& finish, unsigned seed, const std::string& what) {
    const Equation equation(letters);
    Operand a(t.stored_a, t.a, equation.shape_a(extents), storage, seed),
        b(t.stored_b, t.b, equation.shape_b(extents), storage, seed + 10);
    Array whole_a = a.whole(), whole_b = b.whole();
    const Shape shape = equation.shape_out(extents);
    Array out(t.out, shape, storage, seed + 20), expected(t.out, shape, storage, seed + 20), residual(t.out, shape);
    out.randomize(seed + 21), expected.randomize(seed + 21), residual.randomize(seed + 22);
    const tape::Tape last = add_one_input(t.out);
    const View more[] = {residual.view()};
    const Epilogue epilogue{last, more};
    const Prologue pa = a.prologue(), pb = b.prologue();
    const bool of_a = (which & 1) != 0, of_b = (which & 2) != 0;
    contract(of_a ? a.stored.view() : whole_a.view(), of_b ? b.stored.view() : whole_b.view(), out.view(),
             equation.labels(), finish, with_epilogue ? &epilogue : nullptr,
             {of_a ? &pa : nullptr, of_b ? &pb : nullptr});
    contract(whole_a.view(), whole_b.view(), expected.view(), equation.labels(), finish,
             with_epilogue ? &epilogue : nullptr);
    ASSERT_EQ(first_difference(out, expected, t.out), -1)
        << what << " " << describe(t) << " tapes " << which << (with_epilogue ? " and an epilogue" : "") << " seed "
        << seed;
}

TEST(Prologue, HasTheBitsOfTheTapeAndTheProductApart) {
    const char* const equations[] = {"mk,kn->mn",    "km,nk->mn",   "mk,nk->mn",    "bmk,bkn->bmn",
                                     "mbk,bkn->mbn", "apk,kq->paq", "apk,kq->apq",  "mk,kn->nm",
                                     "mjk,jkn->mn",  "mkj,jkn->mn", "bkm,bkn->bnm", "k,kn->n"};
    const Storage storages[] = {Storage::row_major, Storage::column_major, Storage::padded, Storage::reversed,
                                Storage::shuffled};
    const auto sets = settings();
    unsigned seed = 0;
    for (const char* equation : equations)
        for (const Types& t : kTypes)
            for (const std::int64_t k : {5, 1001, 7003})
                for (int which = 1; which <= 3; ++which) {
                    ++seed;
                    const testing::Setting& set = sets[seed % sets.size()];
                    // Its multiply-adds are calls, so it takes more time than the others together.
                    if (set.isa == Isa::baseline && k > kSplitK && seed / sets.size() % 4 != 0) continue;
                    const WithSetting with(set, 1 + static_cast<int>(seed % 4));
                    const bool epilogue = seed % 3 == 0;
                    Finish finish;
                    if (!epilogue && is_floating(t.a) && seed % 2 == 0) finish = {.alpha = 0.5, .beta = 2};
                    if (is_byte(t.a) && seed % 4 == 0) finish.zero_a = 3, finish.zero_b = seed % 8 == 0 ? -5 : 0;
                    const dense::ForcedChoice forced({static_cast<int>(seed / 5 % (dense::kWayCount + 1)) - 1,
                                                      seed % 2 == 0 ? 0 : 512, static_cast<int>(seed % 3)});
                    expect_fused(t, equation,
                                 {{'a', 3}, {'p', 13}, {'q', 37}, {'b', 2}, {'m', 37}, {'n', 70}, {'j', 2}, {'k', k}},
                                 storages[seed / 7 % std::size(storages)], which, epilogue, finish, seed,
                                 text(equation, " k ", k, " ", name(set.isa),
                                      set.dot == dense::Dot::never ? " without dot" : ""));
                }
}

TEST(Prologue, EverySmallExtent) {
    const auto sets = settings();
    unsigned seed = 0;
    for (const std::int64_t m : {0, 1, 4, 5, 15})
        for (const std::int64_t n : {0, 1, 3, 16, 33})
            for (const std::int64_t k : {0, 1, 2, 3, 17})
                for (const Types& t : kTypes) {
                    ++seed;
                    const WithSetting with(sets[seed % sets.size()]);
                    expect_fused(t, "mk,kn->mn", {{'m', m}, {'n', n}, {'k', k}}, Storage::row_major,
                                 1 + static_cast<int>(seed % 3), false, {}, seed, text(m, "x", n, "x", k));
                }
}

TEST(Prologue, ATapeKeepsSubnormalsWhereTheProductFlushesThem) {
    const std::int64_t m = 40, n = 700, k = 800;
    for (const testing::Setting& set : settings()) {
        const WithSetting with(set, 1);
        Operand a(DType::float32, DType::bfloat16, {m, k}, Storage::row_major, 1),
            b(DType::float32, DType::bfloat16, {k, n}, Storage::row_major, 2);
        for (Operand* x : {&a, &b}) {
            for (std::int64_t i = 0; i < x->stored.count(); ++i) x->stored.set(i, x->stored.get(i) * 0x1p-130);
            for (std::int64_t i = 0; i < x->row.count(); ++i) x->row.set(i, 0x1p126);
            for (std::int64_t i = 0; i < x->full.count(); ++i) x->full.set(i, 0);
        }
        Array whole_a = a.whole(), whole_b = b.whole(), out(DType::float32, {m, n}), expected(DType::float32, {m, n});
        const Prologue pa = a.prologue(), pb = b.prologue();
        contract(a.stored.view(), b.stored.view(), out.view(), Equation("mk,kn->mn").labels(), {}, nullptr, {&pa, &pb});
        contract(whole_a.view(), whole_b.view(), expected.view(), Equation("mk,kn->mn").labels());
        ASSERT_NE(expected.get(0), 0);
        ASSERT_EQ(first_difference(out, expected, DType::float32), -1) << name(set.isa);
    }
}

TEST(Prologue, ANaNStaysInItsRow) {
    const std::int64_t m = 100, n = 700, k = 1001;  // the last block of k ends in half a pair
    for (const testing::Setting& set : settings()) {
        const WithSetting with(set, 1);
        Operand a(DType::float32, DType::bfloat16, {m, k}, Storage::row_major, 1);
        Array b(DType::bfloat16, {k, n}), out(DType::float32, {m, n}), expected(DType::float32, {m, n});
        b.randomize(2);
        for (std::int64_t i = m / 2; i < m; ++i)
            a.stored.set(i * k + kBlockK + k % kBlockK, std::numeric_limits<double>::quiet_NaN());
        Array whole = a.whole();
        const Prologue p = a.prologue();
        contract(a.stored.view(), b.view(), out.view(), Equation("mk,kn->mn").labels(), {}, nullptr, {&p, nullptr});
        contract(whole.view(), b.view(), expected.view(), Equation("mk,kn->mn").labels());
        ASSERT_FALSE(std::isnan(expected.get(0)));
        ASSERT_EQ(first_difference(out, expected, DType::float32), -1) << name(set.isa);
    }
}

TEST(Prologue, LargeProductsStoreNoIntermediate) {
    const auto peak_of = [](std::int64_t m, std::int64_t n, std::int64_t k, int which, const Types& t = kTypes[0]) {
        Operand a(t.stored_a, t.a, {m, k}, Storage::row_major, 1), b(t.stored_b, t.b, {k, n}, Storage::row_major, 2);
        Array whole_a = a.whole(), whole_b = b.whole(), out(t.out, {m, n});
        const Prologue pa = a.prologue(), pb = b.prologue();
        reset_peak_memory();
        const std::int64_t before = memory_statistics().peak_in_use;
        contract((which & 1) != 0 ? a.stored.view() : whole_a.view(),
                 (which & 2) != 0 ? b.stored.view() : whole_b.view(), out.view(), Equation("mk,kn->mn").labels(), {},
                 nullptr, {(which & 1) != 0 ? &pa : nullptr, (which & 2) != 0 ? &pb : nullptr});
        return memory_statistics().peak_in_use - before;
    };
    set_num_threads(1);
    for (const int which : {1, 2, 3}) EXPECT_EQ(peak_of(300, 300, 500, which), 0) << which;
    set_num_threads(2);
    EXPECT_EQ(peak_of(1200, 200, 500, 1), 0);
    EXPECT_EQ(peak_of(300, 300, 500, 2), 0);
    set_num_threads(1);
    // Few rows: the tape of a runs first.
    EXPECT_GE(peak_of(3, 300, 500, 1), 3 * 500 * 4);
    EXPECT_EQ(peak_of(30, 9000, 400, 1), 0);
    EXPECT_EQ(peak_of(30, 9000, 400, 2), 0);
    // So it does where b is packed in many chunks of columns.
    EXPECT_GE(peak_of(30, 9000, 400, 1, kTypes[3]), 30 * 400 * 2);
    set_num_threads(0);
}

TEST(Prologue, ReasonsAreGiven) {
    Array x(DType::float32, {64, 64}), out(DType::float32, {64, 64});
    const tape::Tape t = activation(DType::float32, DType::float32);
    const auto reason_of = [&](std::int64_t m, std::int64_t n, DType a, DType b, DType c, bool of_a, const char* row) {
        LoweredPrologue p;
        p.tape = &t, p.count = 1;
        p.inputs[0] = {x.view().data, a, 0, 64, 1};
        View va = x.view(), vb = x.view(), vc = out.view();
        va.dtype = a, vb.dtype = b, vc.dtype = c;
        AxisRoles roles;
        roles.rows.push_back({m, 64, 0, n}), roles.columns.push_back({n, 0, 1, 1}),
            roles.summed.push_back({640, 1, 64, 0});
        for (const dense::Candidate& candidate :
             dense::candidates(roles, va, vb, vc, {.zero_a = is_byte(a) ? 1 : 0, .zero_b = is_byte(a) ? 1 : 0},
                               {nullptr, nullptr, of_a ? &p : nullptr, of_a ? nullptr : &p}))
            if (std::string(candidate.name) == row) return std::string(candidate.declines ? candidate.declines : "");
        return std::string("no such row");
    };
    const WithSetting one(settings()[0], 1);
    constexpr DType f = DType::float32;
    EXPECT_EQ(reason_of(40, 64, f, f, f, true, "direct"), "an operand comes through a tape");
    EXPECT_EQ(reason_of(3, 640, f, f, f, true, "sweep"), "an operand comes through a tape");
    EXPECT_EQ(reason_of(40, 64, f, f, f, true, "blocked"), "");
    EXPECT_EQ(reason_of(40, 64, f, f, f, false, "blocked"), "");
    EXPECT_NE(reason_of(4, 64, f, f, f, true, "blocked").find("a is small"), std::string::npos);
    EXPECT_NE(reason_of(64, 12, f, f, f, false, "blocked").find("b is small"), std::string::npos);
    EXPECT_NE(reason_of(400, 20000, DType::bfloat16, DType::bfloat16, f, true, "blocked").find("each chunk of columns"),
              std::string::npos);
    for (const bool of_a : {true, false})
        EXPECT_NE(reason_of(40, 64, DType::uint8, DType::int8, DType::int32, of_a, "blocked").find("zero points"),
                  std::string::npos);
}

TEST(Prologue, AlphaZeroReadsNeitherOperand) {
    const Types& t = kTypes[0];
    Operand a(t.stored_a, t.a, {9, 12}, Storage::row_major, 1), b(t.stored_b, t.b, {12, 10}, Storage::row_major, 2);
    for (std::int64_t i = 0; i < a.stored.count(); ++i) a.stored.set(i, std::numeric_limits<double>::quiet_NaN());
    Array out(t.out, {9, 10});
    const Prologue pa = a.prologue(), pb = b.prologue();
    contract(a.stored.view(), b.stored.view(), out.view(), Equation("mk,kn->mn").labels(), {.alpha = 0}, nullptr,
             {&pa, &pb});
    for (std::int64_t i = 0; i < out.count(); ++i) EXPECT_EQ(out.get(i), 0);
}

TEST(Prologue, BadOnesAreRefusedByName) {
    Operand a(DType::float32, DType::float32, {2, 3}, Storage::row_major, 1);
    Array b(DType::float32, {3, 4}), out(DType::float32, {2, 4});
    const auto refuses = [&](const Prologue& p, const char* part) {
        const std::string message = testing::message_of<ValueError>([&] {
            contract(a.stored.view(), b.view(), out.view(), Equation("mk,kn->mn").labels(), {}, nullptr, {&p, nullptr});
        });
        EXPECT_NE(message.find(part), std::string::npos) << message;
    };
    const View few[] = {a.full.view()}, shapes[] = {a.full.view(), b.view()};
    refuses({a.tape, few}, "takes the operand and its inputs");
    refuses({a.tape, shapes}, "have the operand's shape");
    const tape::Tape other = activation(DType::int8, DType::float32);
    refuses({other, a.inputs}, "takes the operand's dtype");
    std::vector<View> dtypes = a.inputs;
    dtypes[0].dtype = DType::int32;
    refuses({a.tape, dtypes}, "the dtypes its tape says");
    const tape::Tape integers = activation(DType::float32, DType::int8);
    const Prologue p{integers, a.inputs};
    EXPECT_THROW(
        contract(a.stored.view(), b.view(), out.view(), Equation("mk,kn->mn").labels(), {}, nullptr, {&p, nullptr}),
        TypeError);
}

}  // namespace
}  // namespace tenon::product
