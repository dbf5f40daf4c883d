// How a row tape runs as strips: what its phases do, and where its registers are in scratch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tape/rows_problem.h"
#include "tape/strips.h"

namespace tenon::tape::row_strips {

/// Places are numbered: one for each register (except those of rows), then the lanes of each code, then for each input
/// what is prefetched of it.
struct Numbers {
    std::size_t inputs, registers, codes;
    explicit Numbers(const RowTape& t)
        : inputs(t.inputs.size()), registers(inputs + t.code.size()), codes(t.code.size()) {}
    int lanes(std::size_t k) const { return static_cast<int>(registers + k); }
    int ahead(std::size_t i) const { return static_cast<int>(registers + codes + i); }
    int count() const { return ahead(inputs); }
};

/// What a loop over whole rows does, if it does all of a phase: a reduction of values in memory, or the sum of f(x -
/// less).
struct RowLoop {
    enum class Kind : std::uint8_t { none, reduction, sum } kind = Kind::none;
    RowFunction function{};
    std::size_t x = 0;  // the register read
    std::optional<std::size_t> less;  // a repeated value; none: 0
    std::optional<std::size_t> keep;  // the result that receives f(x - less)
};

/// A reduction of a row that the strips have stored, or that was in memory before.
struct AfterStrips {
    std::size_t code, x;  // x: the register read
};

struct PhasePlan {
    StripProgram program;
    std::vector<std::size_t> rows;  // codes of rows, which come first
    std::vector<std::size_t> repeats, reductions;  // codes
    std::vector<AfterStrips> after;
    std::vector<std::size_t> inputs, results;  // registers of elements that are read from, and written to, memory
    std::vector<std::size_t> ahead;  // inputs
    bool elements = false;
    RowLoop loop;
};

struct Plan {
    const rows::Problem* p;
    const KernelTable* table;
    Numbers at;
    std::vector<PhasePlan> phases;
    std::vector<int> output;  // of each register, or -1
    std::int64_t block_rows;
    bool streams = false;
    std::int64_t bytes = 0;  // of scratch
    std::vector<std::int64_t> buffer;  // offset in scratch of each register's row, strip or values of rows; -1
    std::int64_t lanes = 0, program = 0;  // offsets
};

inline const RowTape::Code& code_of(const Plan& plan, std::size_t k) { return plan.p->tape->code[k]; }
inline DType type_of(const Plan& plan, std::size_t r) { return tape::type_of(*plan.p->tape, r); }

/// Whether the elements of each row are contiguous.
inline bool is_dense(const rows::Place& o) { return o.column == rows::bytes_of(o.type); }
inline bool is_one_value(const rows::Place& o) { return o.column == 0; }

/// None if the problem does not suit strips. The plan refers to the problem.
std::optional<Plan> make_plan(const KernelTable& table, const rows::Problem& problem);

}  // namespace tenon::tape::row_strips
