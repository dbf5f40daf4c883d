// Printed kernels compile, for every opcode, dtype and form. What they compute is tested where there is a GPU.
#include "cuda/print_tape.h"
#include "cuda/row_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "cuda/compiler.h"
#include "cuda/driver.h"
#include "cuda/embedded.h"
#include "tape/opcode.h"

namespace tenon::cuda {
namespace {

using tape::Opcode;

constexpr DType kAll[] = {DType::boolean,  DType::int8,    DType::int16,  DType::int32,  DType::int64,
                          DType::uint8,    DType::uint16,  DType::uint32, DType::uint64, DType::float16,
                          DType::bfloat16, DType::float32, DType::float64};

class PrintTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!compiler_absent().empty()) GTEST_SKIP() << compiler_absent();
        setenv("TENON_CUBINS", "", 1);
    }
    void TearDown() override { unsetenv("TENON_CUBINS"); }
    static void compiles(const std::string& source, const std::string& what, const char* architecture = "sm_90a") {
        try {
            EXPECT_FALSE(compile({"printed.cu", source}, architecture).cubin.empty());
        } catch (const std::exception& e) {
            FAIL() << what << "\n" << e.what() << "\n" << source;
        }
    }
};

/// A tape with every opcode of a dtype, all of which are stored.
tape::Tape every_opcode(DType type) {
    tape::Tape t;
    t.inputs = {type, type, type, DType::boolean};
    for (int i = 0; i < tape::kOpcodeCount; ++i) {
        const auto op = static_cast<Opcode>(i);
        if (op == Opcode::cast || !tape::accepts(op, type)) continue;
        tape::Instruction c{op, type, tape::result_type(op, type), {0, 1, 2}};
        if (op == Opcode::select) c.operands[0] = 3;
        t.code.push_back(c);
        t.outputs.push_back(static_cast<std::uint8_t>(3 + t.code.size()));
    }
    for (const DType to : kAll) {
        t.code.push_back({Opcode::cast, type, to, {0, 0, 0}});
        t.outputs.push_back(static_cast<std::uint8_t>(3 + t.code.size()));
    }
    return t;
}

TEST_F(PrintTest, EveryOpcodeOfEveryDtype) {
    for (const DType type : kAll) {
        const tape::Tape t = every_opcode(type);
        LoopForm form{1, 1, false, std::vector<Along>(t.outputs.size() + t.inputs.size(), Along::contiguous)};
        compiles(print(t, form), text(name(type)));
    }
}

TEST_F(PrintTest, EveryForm) {
    const tape::Tape t{{DType::bfloat16, DType::float32},
                       {{Opcode::cast, DType::bfloat16, DType::float32, {0, 0, 0}},
                        {Opcode::multiply, DType::float32, DType::float32, {1, 2, 0}}},
                       {3}};
    for (const int rank : {1, 2, 5})
        for (const int width : {1, 2, 4, 8})
            for (const bool wide : {false, true})
                for (const Along out : {Along::contiguous, Along::strided})
                    for (const Along in : {Along::contiguous, Along::repeated, Along::strided})
                        compiles(print(t, LoopForm{rank, width, wide, {out, in, Along::contiguous}}),
                                 text(rank, ' ', width, ' ', wide));
}

TEST_F(PrintTest, Tiles) {
    for (const DType type : {DType::int8, DType::bfloat16, DType::float32, DType::float64}) {
        const tape::Tape t{{type, type}, {{Opcode::add, type, type, {0, 1, 0}}}, {2}};
        for (const int rank : {2, 4})
            for (const int width : {1, 2})
                compiles(
                    print(t,
                          LoopForm{
                              rank, width, false, {Along::contiguous, Along::transposed, Along::repeated}, rank - 2}),
                    text(name(type), ' ', rank, ' ', width));
    }
}

TEST_F(PrintTest, EveryArchitecture) {
    const tape::Tape t = tape::single(Opcode::exp, std::vector<DType>{DType::float32}, DType::float32);
    for (const char* architecture : {"sm_80", "sm_90a", "sm_100", "sm_120"})
        compiles(print(t, LoopForm{1, 4, false, {Along::contiguous, Along::contiguous}}), architecture, architecture);
}

/// layer_norm of a sum: two reductions one after the other, operands of every kind, and an output with a value for each
/// row.
tape::RowTape rows_tape(DType f) {
    using Kind = tape::RowTape::Kind;
    tape::RowTape t;
    t.inputs = {{f, false}, {f, false}, {f, true}};
    const auto apply = [&](Opcode op, std::uint8_t a, std::uint8_t b = 0) {
        t.code.push_back({Kind::apply, false, {}, {op, f, f, {a, b, 0}}});
    };
    const auto row = [&](Kind kind, tape::Reduction r, std::uint8_t a) {
        t.code.push_back({kind, kind == Kind::reduce, r, {{}, f, f, {a, 0, 0}}});
    };
    apply(Opcode::add, 0, 1);  // r3
    row(Kind::reduce, tape::Reduction::max, 3);  // r4
    row(Kind::repeat, {}, 4);  // r5
    apply(Opcode::subtract, 3, 5);  // r6
    row(Kind::reduce, tape::Reduction::sum, 6);  // r7
    t.code.push_back({Kind::apply, true, {}, {Opcode::divide, f, f, {2, 7, 0}}});  // r8
    row(Kind::repeat, {}, 8);  // r9
    apply(Opcode::multiply, 6, 9);  // r10
    apply(Opcode::multiply, 10, 1);  // r11
    t.outputs = {11, 7};
    return t;
}

TEST_F(PrintTest, Rows) {
    for (const DType type : {DType::float32, DType::bfloat16})
        for (const int axes : {0, 3})
            for (const bool one_row : {false, true})
                for (const bool spread : {false, true}) {
                    if (!one_row && spread) continue;
                    const RowForm form{
                        spread ? 1 : 4,
                        256,
                        axes,
                        one_row,
                        spread,
                        {Along::contiguous, Along::repeated, Along::contiguous, Along::strided, Along::repeated}};
                    compiles(print(rows_tape(type), form), text(name(type), axes, one_row, spread));
                }
}

TEST_F(PrintTest, RegisterRows) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
        for (const int team : {8, 16, 32, 64, 256, 512})
            for (const bool all : {true, false}) {
                const RegisterForm form{
                    team,
                    all ? 64 / std::min(team, 32) : 1,
                    6,
                    all,
                    std::max(256, team),
                    all ? 0 : 2,
                    {Along::contiguous, Along::repeated, Along::contiguous, Along::strided, Along::repeated},
                    team == 256 ? 2 : 0};
                compiles(print(rows_tape(type), form), text(name(type), ' ', team, ' ', all));
            }
}

TEST_F(PrintTest, QuotientsThatRoundToHalvesAreCorrectedBeforeTheyAreDivided) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32, h = DType::bfloat16;
    tape::RowTape softmax;
    softmax.inputs = {{h, false}};
    softmax.code = {{Kind::apply, false, {}, {Opcode::cast, h, f, {0, 0, 0}}},
                    {Kind::reduce, true, tape::Reduction::max, {{}, f, f, {1, 0, 0}}},
                    {Kind::repeat, false, {}, {{}, f, f, {2, 0, 0}}},
                    {Kind::apply, false, {}, {Opcode::subtract, f, f, {1, 3, 0}}},
                    {Kind::apply, false, {}, {Opcode::exp, f, f, {4, 0, 0}}},
                    {Kind::reduce, true, tape::Reduction::sum, {{}, f, f, {5, 0, 0}}},
                    {Kind::repeat, false, {}, {{}, f, f, {6, 0, 0}}},
                    {Kind::apply, false, {}, {Opcode::divide, f, f, {5, 7, 0}}},
                    {Kind::apply, false, {}, {Opcode::cast, f, h, {8, 0, 0}}}};
    softmax.outputs = {9};
    const RegisterForm form{128, 2, 16, true, 256, 1, {Along::contiguous, Along::contiguous}, 0};
    const std::string half = print(softmax, form);
    EXPECT_NE(half.find("any_quotient<"), std::string::npos);
    compiles(half, "to bfloat16");
    // A quotient in float32 is corrected already.
    softmax.code.pop_back();
    softmax.outputs = {8};
    EXPECT_EQ(print(softmax, form).find("any_quotient<"), std::string::npos);
}

TEST_F(PrintTest, LongRows) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
        for (const int axes : {0, 2}) {
            EXPECT_TRUE(prints_long(rows_tape(type)));
            const bool half = size_of(type) == 2;
            const LongForm form{
                16 / static_cast<int>(size_of(type)),
                25,
                27,
                half ? 8 : 16,
                half ? 2 : 1,
                axes,
                {Along::contiguous, Along::repeated, Along::contiguous, Along::contiguous, Along::repeated}};
            compiles(print(rows_tape(type), form), text(name(type), ' ', axes));
        }
}

TEST_F(PrintTest, LongRowsThatStay) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32;
    for (const DType type : {f, DType::bfloat16, DType::float16}) {
        tape::RowTape t;
        t.inputs = {{type, false}};
        t.code = {{Kind::apply, false, {}, {Opcode::cast, type, f, {0, 0, 0}}},
                  {Kind::reduce, true, tape::Reduction::max, {{}, f, f, {1, 0, 0}}},
                  {Kind::repeat, false, {}, {{}, f, f, {2, 0, 0}}},
                  {Kind::apply, false, {}, {Opcode::subtract, f, f, {1, 3, 0}}},
                  {Kind::apply, false, {}, {Opcode::exp, f, f, {4, 0, 0}}},
                  {Kind::reduce, true, tape::Reduction::sum, {{}, f, f, {5, 0, 0}}}};
        t.outputs = {2, 6};
        EXPECT_TRUE(keeps_parts(t));
        EXPECT_FALSE(keeps_parts(rows_tape(type)));
        const bool half = type != f;
        for (const int kept : {0, 1, 2}) {
            const LongForm form{half ? 8 : 4,
                                25,
                                27,
                                half ? 12 : 15,
                                half ? 2 : 1,
                                0,
                                {Along::repeated, Along::repeated, Along::contiguous},
                                kept};
            compiles(print(t, form), text(name(type), ' ', kept));
        }
    }
}

TEST_F(PrintTest, RowsAhead) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32;
    for (const DType type : {f, DType::bfloat16, DType::float16}) {
        tape::RowTape t;
        t.inputs = {{type, false}, {f, true}};
        t.code = {{Kind::apply, false, {}, {Opcode::cast, type, f, {0, 0, 0}}},
                  {Kind::reduce, true, tape::Reduction::max, {{}, f, f, {2, 0, 0}}},
                  {Kind::repeat, false, {}, {{}, f, f, {3, 0, 0}}},
                  {Kind::apply, false, {}, {Opcode::subtract, f, f, {2, 4, 0}}},
                  {Kind::apply, false, {}, {Opcode::exp, f, f, {5, 0, 0}}},
                  {Kind::reduce, true, tape::Reduction::sum, {{}, f, f, {6, 0, 0}}},
                  {Kind::apply, true, {}, {Opcode::log, f, f, {7, 0, 0}}},
                  {Kind::apply, true, {}, {Opcode::subtract, f, f, {8, 1, 0}}}};
        t.outputs = {3, 9};
        EXPECT_EQ(runs_ahead(t), type == DType::bfloat16);
        EXPECT_FALSE(runs_ahead(rows_tape(type)));
        if (!runs_ahead(t)) continue;
        for (const int parts : {9, 17, 25, 34})
            compiles(print(t, AheadForm{parts, std::min(7 * parts, 54), 16, 5, parts == 9 ? 2 : 1}), text(parts));
        // A sum that needs another value of the row is not for this kernel.
        tape::RowTape other = t;
        other.code.insert(other.code.begin() + 5, {{Kind::repeat, false, {}, {{}, f, f, {1, 0, 0}}},
                                                   {Kind::apply, false, {}, {Opcode::add, f, f, {6, 7, 0}}}});
        other.code.resize(8);
        other.code[7] = {Kind::reduce, true, tape::Reduction::sum, {{}, f, f, {8, 0, 0}}};
        other.outputs = {9};
        EXPECT_FALSE(runs_ahead(other));
        // Nor is one that stores the exponentials, too.
        other = t;
        other.outputs = {6, 9};
        EXPECT_FALSE(runs_ahead(other));
    }
}

TEST_F(PrintTest, ColumnSums) {
    for (const DType type : {DType::float32, DType::bfloat16, DType::float64, DType::int8})
        for (const int width : {1, 4})
            for (const int axes : {0, 1, 3}) {
                const tape::Tape t{
                    {type, type, type},
                    {{Opcode::subtract, type, type, {0, 1, 0}}, {Opcode::multiply, type, type, {3, 2, 0}}},
                    {4, 0}};
                const ColumnForm form{width, 4, axes, {Along::contiguous, Along::repeated, Along::strided}};
                compiles(print(t, form), text(name(type), ' ', width, ' ', axes));
            }
}

TEST_F(PrintTest, RowsAndSums) {
    using From = RowSumsForm::Input::From;
    for (const DType type : {DType::float32, DType::bfloat16, DType::float16, DType::float64})
        for (const int steps : {4, 12, 16})
            for (const int axes : {0, 2}) {
                const tape::Tape sums{
                    {type, type, type, type},
                    {{Opcode::subtract, type, type, {0, 1, 0}}, {Opcode::multiply, type, type, {4, 2, 0}}},
                    {5, 3}};
                const bool many = axes > 0;
                RowSumsForm form{{32, 2, steps, true, 0, axes, {}},
                                 {},
                                 {},
                                 many ? 16 : 8,
                                 2 + axes / 2,
                                 many ? 104 : 208,
                                 many ? 48 : 88};
                form.rows.operands = {Along::contiguous, Along::repeated, Along::contiguous, Along::contiguous,
                                      Along::repeated};
                form.brought = {true, true, false};
                form.inputs = {{From::brought, 1}, {From::row, 7}, {From::columns, 0}, {From::brought, 0}};
                compiles(print(rows_tape(type), sums, form), text(name(type), ' ', steps, ' ', axes));
            }
}

TEST_F(PrintTest, SharedMemoryHoldsWhatIsKept) {
    const tape::RowTape t = rows_tape(DType::float32);
    EXPECT_EQ(kept_registers(t), (std::vector<std::size_t>{1, 3, 6}));
    RowForm form{1, 256, 1, true, false, {}};
    // r1 has a slot throughout. r6 takes the slot of r3, which is read for the last time where r6 is written. The sum
    // of r6 reads it there; the maximum is computed in registers. r2, r4, r7 and r8 have a value for each row.
    EXPECT_EQ(shared_bytes(t, form, 1000, 1), 2 * 4000 + 4 * 16);
    // Spread rows keep nothing; there is a piece of r6, which is summed.
    form.spread = true;
    EXPECT_EQ(shared_bytes(t, form, 512, 1), 2048);
    form = {1, 256, 1, false, false, {}};
    // Here the maximum of r3 reads shared memory, too, so r6 cannot take r3's slot.
    EXPECT_EQ(shared_bytes(t, form, 2000, 2), 2 * 8000 + 4 * 16);
}

TEST_F(PrintTest, WhatIsReadLateKeepsItsPlace) {
    using Kind = tape::RowTape::Kind;
    constexpr DType f = DType::float32;
    tape::RowTape t;
    t.inputs = {{f, false}};
    const auto apply = [&](Opcode op, std::uint8_t a, std::uint8_t b = 0) {
        t.code.push_back({Kind::apply, false, {}, {op, f, f, {a, b, 0}}});
    };
    const auto sum = [&](std::uint8_t a) {
        t.code.push_back({Kind::reduce, true, tape::Reduction::sum, {{}, f, f, {a, 0, 0}}});
    };
    const auto repeat = [&](std::uint8_t a) { t.code.push_back({Kind::repeat, false, {}, {{}, f, f, {a, 0, 0}}}); };
    apply(Opcode::exp, 0);  // r1, which the last phase reads, through r7
    sum(1);  // r2
    repeat(2);  // r3
    apply(Opcode::subtract, 0, 3);  // r4, kept from the second phase on
    sum(4);  // r5
    repeat(5);  // r6
    apply(Opcode::multiply, 1, 3);  // r7, which could be computed in the second phase
    apply(Opcode::multiply, 7, 6);  // r8
    apply(Opcode::multiply, 0, 3);  // r9, as r4
    sum(9);  // r10
    repeat(10);  // r11
    apply(Opcode::add, 8, 4);  // r12
    apply(Opcode::add, 12, 9);  // r13
    apply(Opcode::add, 13, 11);  // r14
    t.outputs = {14};
    EXPECT_EQ(kept_registers(t), (std::vector<std::size_t>{0, 1, 4, 9}));
    const RowForm form{1, 256, 1, true, false, {}};
    // Of r0, r1, r4 and r9 only r4 or r9 can take r0's slot. r2, r5 and r10 have a value for each row.
    EXPECT_EQ(shared_bytes(t, form, 1000, 1), 3 * 4000 + 3 * 16);
}

TEST_F(PrintTest, Reductions) {
    for (const DType type : {DType::boolean, DType::int8, DType::int64, DType::bfloat16, DType::float64})
        for (const char* op : {"sum", "max"}) {
            if (type == DType::boolean && op[0] == 's') continue;
            const auto compiles_with = [&](const char* source, std::vector<std::string> options) {
                options.push_back(text("-DTENON_REDUCTION=", op));
                options.push_back("-DTENON_TYPE=" + type_name(type).substr(sizeof "DType::" - 1));
                EXPECT_FALSE(compile(unit(source, options), "sm_90a").cubin.empty())
                    << source << ' ' << op << ' ' << name(type);
            };
            compiles_with("cuda/reduce.cu", {"-DTENON_REDUCE_ALONG", "-DTENON_REDUCE_ACROSS", "-DTENON_REDUCE_COLUMNS",
                                             "-DTENON_WIDE=2", "-DTENON_ACROSS=4", "-DTENON_JOIN_COLUMNS",
                                             "-DTENON_JOINS=8", "-DTENON_JOIN_CHUNKS", "-DTENON_JOIN_LONG"});
            compiles_with("cuda/reduce.cu", {"-DTENON_REDUCE_LANES", "-DTENON_TILES=64", "-DTENON_WIDE=2"});
            compiles_with("cuda/arguments.cu", {"-DTENON_ARG_EXTREME", "-DTENON_JOIN_EXTREMES"});
            compiles_with("cuda/running.cu", {"-DTENON_CUMULATE"});
            compiles_with("cuda/running.cu", {"-DTENON_TOTALS", "-DTENON_RUN_TOTALS", "-DTENON_CUMULATE_PIECES"});
        }
}

TEST_F(PrintTest, SmallProducts) {
    for (const int k : {32, 64, 96, 128})
        for (const int transposed : {0, 1, 2, 3})
            for (const char* out : {"bfloat16", "float32"}) {
                const std::vector<std::string> options{text("-DTENON_K=", k),
                                                       text("-DTENON_COLUMNS=", k > 64 ? 32 : 64),
                                                       text("-DTENON_A_TRANSPOSED=", transposed % 2),
                                                       text("-DTENON_B_TRANSPOSED=", transposed / 2),
                                                       "-DTENON_TYPE=bfloat16",
                                                       text("-DTENON_OUT=", out)};
                EXPECT_FALSE(compile(unit("cuda/small_products.cu", options), "sm_80").cubin.empty())
                    << k << transposed;
            }
}

TEST_F(PrintTest, LeavesAndIndexing) {
    for (const DType type : {DType::boolean, DType::int64, DType::bfloat16, DType::float32}) {
        const std::string macro = "-DTENON_TYPE=" + type_name(type).substr(sizeof "DType::" - 1);
        EXPECT_FALSE(compile(unit("cuda/indexing.cu", {macro}), "sm_90a").cubin.empty()) << name(type);
        EXPECT_FALSE(compile(unit("cuda/leaves.cu", {macro}), "sm_80").cubin.empty()) << name(type);
        if (type != DType::boolean) {
            EXPECT_FALSE(compile(unit("cuda/plain.cu", {macro}), "sm_120").cubin.empty()) << name(type);
        }
    }
}

}  // namespace
}  // namespace tenon::cuda
