// Random tapes, run as strips, against one element at a time; random row tapes against their parts apart.
#include "tape/strips.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cfenv>

#include "tape/rows.h"
#include "tape/testing.h"
#include "tenon/threads.h"

namespace tenon::tape {
namespace {

using namespace testing;

constexpr DType kF = DType::float32, kB = DType::boolean;

/// Makes one instruction after the other from the registers there are.
class Maker {
  public:
    explicit Maker(unsigned seed) : random_(seed) {}

    std::size_t below(std::size_t n) { return random_() % n; }

    /// A register of the dtype, the last of them more often than others; -1 where there is none.
    int pick(const std::vector<DType>& registers, DType type) {
        std::vector<int> all;
        for (std::size_t r = 0; r < registers.size(); ++r)
            if (registers[r] == type) all.push_back(static_cast<int>(r));
        if (all.empty()) return -1;
        return below(2) ? all.back() : all[below(all.size())];
    }

    /// Mostly of float32; casts, booleans, and what strips leave to kernels, between.
    Instruction instruction(const std::vector<DType>& registers) {
        static constexpr Opcode kFloats[] = {
            Opcode::negative, Opcode::abs,      Opcode::square,      Opcode::exp,      Opcode::tanh,
            Opcode::erf,      Opcode::sin,      Opcode::sqrt,        Opcode::isnan,    Opcode::add,
            Opcode::add,      Opcode::subtract, Opcode::subtract,    Opcode::multiply, Opcode::multiply,
            Opcode::divide,   Opcode::maximum,  Opcode::minimum,     Opcode::less,     Opcode::equal,
            Opcode::select,   Opcode::select,   Opcode::fma,         Opcode::copysign, Opcode::cast,
            Opcode::log,      Opcode::logistic, Opcode::floor_divide};
        static constexpr DType kCasts[] = {kF,           kB,          DType::bfloat16, DType::float16,
                                           DType::int32, DType::int8, DType::uint8,    DType::float64};
        Instruction c{};
        for (;;) {
            c.op = kFloats[below(std::size(kFloats))];
            c.type = c.op == Opcode::cast ? registers[below(registers.size())] : kF;
            c.result = c.op == Opcode::cast ? kCasts[below(std::size(kCasts))] : result_type(c.op, c.type);
            bool found = true;
            for (int o = 0; o < arity(c.op); ++o) {
                const int r = pick(registers, c.op == Opcode::select && o == 0 ? kB : c.type);
                found = found && r >= 0;
                c.operands[o] = static_cast<std::uint8_t>(std::max(r, 0));
            }
            if (found) return c;
        }
    }

  private:
    std::mt19937 random_;
};

/// Fills with normal values, and a few special ones where `specials`.
Array values(DType type, const Shape& shape, unsigned seed, bool specials) {
    Array a = random_array(type, shape, seed);
    if (!specials || type != kF || a.size() < 100) return a;
    const auto rare = special_values<float>();
    for (std::size_t i = 0; i < rare.size(); ++i)
        a.at<float>(static_cast<std::int64_t>(i * 7919 + seed) % a.size()) = rare[i];
    return a;
}

std::vector<View> views_of(std::vector<Array>& arrays) {
    std::vector<View> v;
    for (Array& a : arrays) v.push_back(a.view());
    return v;
}

TEST(Strips, RandomTapesHaveTheBitsOfTheReference) {
    for (unsigned seed = 0; seed < (kSlowBuild ? 12 : 60); ++seed) {
        Maker make(seed);
        const Shape shape = seed % 3 == 0   ? Shape{static_cast<std::int64_t>(513 + make.below(3000))}
                            : seed % 3 == 1 ? Shape{5, static_cast<std::int64_t>(200 + make.below(1500))}
                                            : Shape{60, static_cast<std::int64_t>(3 + make.below(90))};
        const std::int64_t n = shape.back();
        const bool specials = make.below(3) == 0;
        Array whole = values(kF, shape, seed, specials), other = values(kF, shape, seed + 100, specials),
              row = values(kF, {n}, seed + 200, false), one = values(kF, {}, seed + 300, false),
              flags = values(kB, shape, seed + 400, false);
        const Layout across = Layout::contiguous({n}).broadcast(shape), same = Layout::contiguous({}).broadcast(shape);
        Tape t;
        t.inputs = {kF, kF, kF, kF, kB};
        std::vector<DType> registers = t.inputs;
        for (std::size_t k = 0, count = 3 + make.below(25); k < count; ++k) {
            t.code.push_back(make.instruction(registers));
            registers.push_back(t.code.back().result);
        }
        t.outputs = {static_cast<std::uint8_t>(registers.size() - 1)};
        const auto more = static_cast<std::uint8_t>(t.inputs.size() + make.below(t.code.size()));
        if (more != t.outputs[0]) t.outputs.push_back(more);
        std::vector<Array> want;
        for (const std::uint8_t r : t.outputs) want.emplace_back(registers[r], shape);
        const std::vector<View> in{whole.view(), other.view(), row.view(across), one.view(same), flags.view()};
        run_reference(t, in, views_of(want));
        for (const Isa set : supported_isas()) {
            const WithIsa forced(set);
            set_num_threads(seed % 2 ? 1 : 3);
            std::vector<Array> got;
            for (const Array& w : want) got.emplace_back(w.dtype, w.shape);
            CachedPlan kept;
            run(t, in, views_of(got), &kept);
            for (std::size_t o = 0; o < got.size(); ++o)
                ASSERT_TRUE(same_bits(got[o], want[o])) << seed << " " << name(set) << "\n" << to_string(t);
            // As planned before, and in the place of an operand: also of what is read again later.
            Array first = whole;
            if (registers[t.outputs[0]] != kF) continue;
            std::vector<View> again = in, to = views_of(got);
            again[0] = to[0] = first.view();
            run(t, again, to, &kept);
            EXPECT_TRUE(same_bits(first, want[0])) << seed << " in place, " << name(set) << "\n" << to_string(t);
        }
    }
    set_num_threads(0);
}

/// As in gelu: a value is scaled by one number, other work follows, and a product reads what was scaled as its first or
/// its second factor; or as both, or a second time, where it has to be kept.
TEST(Strips, WhatIsScaledForALaterProductHasTheBitsOfTheReference) {
    for (const auto& [x, y, again] :
         std::vector<std::array<std::uint8_t, 3>>{{4, 6, 0}, {6, 4, 0}, {4, 4, 0}, {4, 6, 4}, {3, 6, 0}}) {
        const Tape t{{kF, kF, kF},
                     {{Opcode::add, kF, kF, {0, 1, 0}},
                      {Opcode::multiply, kF, kF, {2, 3, 0}},
                      {Opcode::multiply, kF, kF, {3, 2, 0}},
                      {Opcode::erf, kF, kF, {5, 0, 0}},
                      {Opcode::multiply, kF, kF, {x, y, 0}},
                      {Opcode::add, kF, kF, {7, again, 0}}},
                     {8}};
        const Shape shape{3, 1037};
        Array a = values(kF, shape, 1, true), b = values(kF, shape, 2, true), one = values(kF, {}, 3, false);
        const std::vector<View> in{a.view(), b.view(), one.view(Layout::contiguous({}).broadcast(shape))};
        Array want(kF, shape), got(kF, shape);
        run_reference(t, in, std::vector{want.view()});
        for (const Isa set : supported_isas()) {
            const WithIsa forced(set);
            run(t, in, std::vector{got.view()});
            EXPECT_TRUE(same_bits(got, want)) << name(set) << "\n" << to_string(t);
            Array first = a;
            std::vector<View> from = in;
            from[0] = first.view();
            run(t, from, std::vector{first.view()});
            EXPECT_TRUE(same_bits(first, want)) << "in place, " << name(set) << "\n" << to_string(t);
        }
    }
}

/// Rows of five tiles, which threads share so that some begin within a row: with gaps between rows, and with operands
/// that have a value for each row or for each column.
TEST(Strips, RowsOfSeveralTilesHaveTheBitsOfTheReference) {
    constexpr std::int64_t kRows = 13, kColumns = 4500, kGap = 37;
    const Shape shape{kRows, kColumns};
    const Layout with_gaps{shape, {kColumns + kGap, 1}, 0};
    Array wide = values(kF, {kRows, kColumns + kGap}, 1, true), each = values(kF, {kRows, 1}, 2, false),
          bias = values(kF, {kColumns}, 3, false), flags = values(kB, {kRows, 1}, 4, false);
    const std::vector<View> in{wide.view(with_gaps), each.view(Layout::contiguous({kRows, 1}).broadcast(shape)),
                               bias.view(Layout::contiguous({kColumns}).broadcast(shape)),
                               flags.view(Layout::contiguous({kRows, 1}).broadcast(shape))};
    const Tape t{{kF, kF, kF, kB},
                 {{Opcode::multiply, kF, kF, {0, 1, 0}},
                  {Opcode::add, kF, kF, {4, 2, 0}},
                  {Opcode::erf, kF, kF, {5, 0, 0}},
                  {Opcode::select, kF, kF, {3, 6, 1}},
                  {Opcode::less, kF, kB, {7, 2, 0}}},
                 {7, 8}};
    Array want(kF, shape), less(kB, shape);
    run_reference(t, in, std::vector{want.view(), less.view()});
    for (const Isa set : supported_isas())
        for (const int threads : {1, 3}) {
            const WithIsa forced(set);
            set_num_threads(threads);
            Array out(kF, {kRows, kColumns + kGap}), got_less(kB, shape), got(kF, shape);
            run(t, in, std::vector{out.view(with_gaps), got_less.view()});
            for (std::int64_t r = 0; r < kRows; ++r)
                for (std::int64_t c = 0; c < kColumns; ++c)
                    got.at<float>(r * kColumns + c) = out.at<float>(r * (kColumns + kGap) + c);
            EXPECT_TRUE(same_bits(got, want)) << name(set) << ", " << threads << " threads";
            EXPECT_TRUE(same_bits(got_less, less)) << name(set) << ", " << threads << " threads";
        }
    set_num_threads(0);
}

/// Some columns of longer rows, as a product's tape takes them: whole strips of them, and not; rows any distance apart;
/// one kept plan for several numbers of rows.
TEST(Strips, PartsOfRowsHaveTheBitsOfTheReference) {
    constexpr DType kHalf = DType::bfloat16;
    const Tape t{{kF, kF, kHalf, kF},
                 {{Opcode::add, kF, kF, {0, 1, 0}},
                  {Opcode::erf, kF, kF, {4, 0, 0}},
                  {Opcode::multiply, kF, kF, {5, 3, 0}},
                  {Opcode::cast, kHalf, kF, {2, 0, 0}},
                  {Opcode::add, kF, kF, {6, 7, 0}},
                  {Opcode::cast, kF, kHalf, {8, 0, 0}}},
                 {9}};
    constexpr std::int64_t kMost = 40;
    for (const std::int64_t columns : {128, 256, 320, 128 * 5})
        for (const std::int64_t pitch : {columns + 64, columns + 128, columns + 3, 3 * columns}) {
            const Shape all{kMost, pitch};
            Array sums = values(kF, {kMost, columns}, 1, true), bias = values(kF, {columns}, 2, false),
                  residual = values(kHalf, all, 3, false), one = values(kF, {}, 4, false);
            for (const Isa set : supported_isas())
                for (const int threads : {1, 3}) {
                    const WithIsa forced(set);
                    set_num_threads(threads);
                    CachedPlan kept;
                    for (const std::int64_t rows : {17, 40, 2, 1, 18}) {
                        const Shape shape{rows, columns};
                        const Layout part{shape, {pitch, 1}, 1};
                        const std::vector<View> in{sums.view(Layout::contiguous(shape)),
                                                   bias.view(Layout::contiguous({columns}).broadcast(shape)),
                                                   residual.view(part),
                                                   one.view(Layout::contiguous({}).broadcast(shape))};
                        Array want(kHalf, all), got(kHalf, all);  // zeros around the part
                        run_reference(t, in, std::vector{want.view(part)});
                        const std::vector<View> out{got.view(part)};
                        run(t, in, out, &kept);
                        EXPECT_TRUE(same_bits(got, want)) << name(set) << ", " << rows << " rows of " << columns
                                                          << " of " << pitch << ", " << threads << " threads";
                    }
                }
        }
    set_num_threads(0);
}

/// Every register as an array of its own.
std::vector<Array> apart(const RowTape& t, std::vector<Array> registers, std::int64_t rows, std::int64_t columns) {
    const Shape s{rows, columns};
    for (const RowTape::Code& c : t.code) {
        Array out(c.instruction.result, c.per_row ? Shape{rows} : s);
        const auto operand = [&](int o) -> Array& { return registers[c.instruction.operands[o]]; };
        if (c.kind == RowTape::Kind::reduce) {
            reduce(c.reduction, operand(0).view(), {1}, out.view());
        } else if (c.kind == RowTape::Kind::repeat) {
            Layout along = Layout::contiguous({rows, 1});
            const View from = operand(0).view(along.broadcast(s)), to = out.view();
            run(Tape{{from.dtype}, {}, {0}}, {&from, 1}, {&to, 1});
        } else {
            Tape one;
            std::vector<View> in;
            for (int o = 0; o < arity(c.instruction.op); ++o) {
                in.push_back(operand(o).view());
                one.inputs.push_back(in.back().dtype);
            }
            one.code.push_back(c.instruction);
            for (std::uint8_t o = 0; o < in.size(); ++o) one.code[0].operands[o] = o;
            one.outputs = {static_cast<std::uint8_t>(in.size())};
            run(one, in, std::vector{out.view()});
        }
        registers.push_back(std::move(out));
    }
    return registers;
}

TEST(Strips, RandomRowTapesHaveTheBitsOfTheirPartsApart) {
    using Kind = RowTape::Kind;
    for (unsigned seed = 0; seed < (kSlowBuild ? 15 : 80); ++seed) {
        Maker make(seed + 5000);
        const std::int64_t rows = 1 + static_cast<std::int64_t>(make.below(9));
        const std::int64_t columns =
            seed % 8 == 0 ? 20000 + static_cast<std::int64_t>(seed) : 128 + static_cast<std::int64_t>(make.below(1200));
        const bool specials = make.below(3) == 0;
        RowTape t;
        t.inputs = {{kF, false}, {kF, false}, {kF, true}, {kB, false}};
        std::vector<Array> inputs{values(kF, {rows, columns}, seed, specials),
                                  values(kF, {rows, columns}, seed + 1, false), values(kF, {rows}, seed + 2, false),
                                  values(kB, {rows, columns}, seed + 3, false)};
        // Of what dtype each register is for instructions on elements, and for those on rows; other ones are hidden.
        std::vector<DType> elements{kF, kF, DType::uint8, kB}, per_row{DType::uint8, DType::uint8, kF, DType::uint8};
        const auto add = [&](const RowTape::Code& c) {
            t.code.push_back(c);
            elements.push_back(c.per_row ? DType::uint8 : c.instruction.result);
            per_row.push_back(c.per_row ? c.instruction.result : DType::uint8);
        };
        for (std::size_t k = 0, count = 6 + make.below(20); k < count; ++k) {
            const std::size_t what = make.below(8);
            if (what == 0 || k == 2) {
                const auto x = static_cast<std::uint8_t>(make.pick(elements, kF));
                add({Kind::reduce, true, static_cast<Reduction>(make.below(4)), {{}, kF, kF, {x, 0, 0}}});
            } else if (what == 1) {
                const auto x = static_cast<std::uint8_t>(make.pick(per_row, kF));
                add({Kind::repeat, false, {}, {{}, kF, kF, {x, 0, 0}}});
            } else {
                const bool on_rows = what == 2;
                Instruction c = make.instruction(on_rows ? per_row : elements);
                while (c.type == DType::uint8) c = make.instruction(on_rows ? per_row : elements);
                add({Kind::apply, on_rows, {}, c});
            }
        }
        const std::size_t first = t.inputs.size(), last = first + t.code.size() - 1;
        for (std::size_t r = first; r <= last; ++r)
            if (r == last || make.below(6) == 0) t.outputs.push_back(static_cast<std::uint8_t>(r));
        std::vector<Array> want = apart(t, inputs, rows, columns);
        for (const Isa set : supported_isas()) {
            const WithIsa forced(set);
            set_num_threads(seed % 2 ? 1 : 3);
            CachedPlan kept;
            for (const bool again : {false, true}) {
                std::vector<Array> got;
                for (const std::uint8_t r : t.outputs) got.emplace_back(want[r].dtype, want[r].shape);
                run_rows(t, views_of(inputs), views_of(got), &kept);
                for (std::size_t o = 0; o < got.size(); ++o)
                    ASSERT_TRUE(same_bits(got[o], want[t.outputs[o]]))
                        << seed << " " << name(set) << ", " << rows << " x " << columns << ", output " << o
                        << (again ? " as planned\n" : "\n") << to_string(t);
            }
            for (std::size_t o = 0; o < t.outputs.size(); ++o) {
                if (elements[t.outputs[o]] != kF || !may_overwrite(t, 0, o)) continue;
                std::vector<Array> in = inputs, got;
                for (const std::uint8_t r : t.outputs) got.emplace_back(want[r].dtype, want[r].shape);
                std::vector<View> to = views_of(got);
                to[o] = in[0].view();
                run_rows(t, views_of(in), to);
                ASSERT_TRUE(same_bits(in[0], want[t.outputs[o]]))
                    << seed << " " << name(set) << ", output " << o << " in place\n"
                    << to_string(t);
            }
        }
    }
    set_num_threads(0);
}

TEST(Strips, ARowIsSummedBeforeAResultTakesItsPlace) {
    using Kind = RowTape::Kind;
    constexpr std::int64_t kRows = 3, kColumns = 700;
    RowTape t;
    t.inputs = {{kF, false}};
    t.code = {{Kind::reduce, true, Reduction::sum, {{}, kF, kF, {0, 0, 0}}},
              {Kind::apply, false, {}, {Opcode::negative, kF, kF, {0, 0, 0}}},
              {Kind::repeat, false, {}, {{}, kF, kF, {1, 0, 0}}},
              {Kind::apply, false, {}, {Opcode::add, kF, kF, {2, 3, 0}}}};
    t.outputs = {2, 4};
    ASSERT_TRUE(may_overwrite(t, 0, 0));
    const std::vector<Array> inputs{values(kF, {kRows, kColumns}, 1, false)};
    const std::vector<Array> want = apart(t, inputs, kRows, kColumns);
    for (const Isa set : supported_isas()) {
        const WithIsa forced(set);
        Array x = inputs[0], sums(kF, {kRows, kColumns});
        run_rows(t, std::vector{x.view()}, std::vector{x.view(), sums.view()});
        EXPECT_TRUE(same_bits(x, want[2])) << name(set);
        EXPECT_TRUE(same_bits(sums, want[4])) << name(set);
    }
}

/// A dividend whose quotient by `divisor`, a whole number of 24 bits, is as near as can be to the middle of two floats;
/// 0 where there is none that differs from the middle by `off`.
float hard_dividend(std::uint32_t divisor, int off, int shift) {
    const int twos = std::countr_zero(divisor);
    if (off % (1 << twos) != 0) return 0;
    const std::uint32_t odd = divisor >> twos;
    std::uint32_t inverse = odd;
    for (int i = 0; i < 5; ++i) inverse *= 2 - odd * inverse;  // modulo 2^32, doubling the bits
    const std::uint32_t mask = (1u << (shift - twos)) - 1;
    const auto offset = static_cast<std::uint32_t>(-(off / (1 << twos)));
    std::uint64_t middle = offset * inverse & mask;
    while (middle < (1u << 24)) middle += mask + 1;
    const auto dividend =
        static_cast<double>(middle * divisor + static_cast<std::uint64_t>(std::int64_t{off})) * std::ldexp(1, -shift);
    return middle % 2 == 1 && dividend == std::floor(dividend) && dividend < 0x1p24 ? static_cast<float>(dividend) : 0;
}

Array dividends(std::mt19937& random, float divisor, bool specials) {
    Array x = values(kF, {1000}, static_cast<unsigned>(random()), specials);
    const float scale = std::ldexp(1.0f, static_cast<int>(random() % 40) - 20);
    int at = 0;
    const auto whole = static_cast<std::uint32_t>(std::ldexp(std::frexp(std::fabs(divisor), &at), 24));
    for (int off = -16; off <= 16 && std::isfinite(divisor) && divisor != 0; ++off)
        for (const int shift : {24, 25})
            if (off != 0) x.at<float>(400 + off * 2 + shift % 2) = scale * hard_dividend(whole, off, shift);
    return x;
}

TEST(Strips, DividingByOneNumberHasTheBitsOfTheDivision) {
    std::mt19937 random(1);
    for (int round = 0; round < (kSlowBuild ? 100 : 2000); ++round) {
        Array by(kF, {});
        by.at<float>(0) = std::ldexp(1 + static_cast<float>(random() % (1 << 23)) * 0x1p-23f,
                                     static_cast<int>(random() % (round % 4 ? 16 : 250)) - (round % 4 ? 8 : 125));
        if (round % 16 == 0) {
            const auto rare = special_values<float>();
            by.at<float>(0) = rare[random() % rare.size()];
        }
        if (round % 3 == 0) by.at<float>(0) = -by.at<float>(0);
        Array x = dividends(random, by.at<float>(0), round % 5 == 0);
        const std::vector<View> in{x.view(), by.view(Layout::contiguous({}).broadcast({1000}))};
        constexpr int kDirected[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
        const int rounding = round % 7 == 0 ? kDirected[round / 7 % 3] : FE_TONEAREST;
        for (const bool of_registers : {false, true}) {
            Tape t{{kF, kF}, {{Opcode::divide, kF, kF, {0, 1, 0}}, {Opcode::negative, kF, kF, {2, 0, 0}}}, {3}};
            if (of_registers) t.code = {{Opcode::negative, kF, kF, {0, 0, 0}}, {Opcode::divide, kF, kF, {2, 1, 0}}};
            Array want(kF, {1000});
            std::fesetround(rounding);
            run_reference(t, in, std::vector{want.view()});
            std::vector<Array> got;
            for (const Isa set : supported_isas()) {
                const WithIsa forced(set);
                run(t, in, std::vector{got.emplace_back(kF, Shape{1000}).view()});
            }
            std::fesetround(FE_TONEAREST);
            for (const Array& g : got) ASSERT_TRUE(same_bits(g, want)) << by.at<float>(0) << ", round " << round;
        }
    }
}

}  // namespace
}  // namespace tenon::tape
