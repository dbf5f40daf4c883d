#include "tape/rows_strips.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/parallel.h"
#include "tape/run_strips.h"
#include "tape/scratch.h"
#include "tape/strips.h"

namespace tenon::tape {
namespace {

using namespace rows;

constexpr std::int64_t kFewest = 2;  // strips in a row
constexpr std::int64_t kFirstLevel = 24 << 10;  // bytes of rows that phases share
constexpr std::int64_t kBeyondCaches = 4 << 20;  // bytes of an input that is prefetched

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
    const Problem* p;
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

const RowTape::Code& code_of(const Plan& plan, std::size_t k) { return plan.p->tape->code[k]; }
DType type_of(const Plan& plan, std::size_t r) { return tape::type_of(*plan.p->tape, r); }

/// Whether the elements of each row are contiguous.
bool is_dense(const rows::Place& o) { return o.column == bytes_of(o.type); }
bool is_one_value(const rows::Place& o) { return o.column == 0; }

StripInstruction instruction_of(const Plan& plan, std::size_t k) {
    const RowTape::Code& c = code_of(plan, k);
    if (c.kind == RowTape::Kind::reduce) return {true, c.reduction, c.instruction, plan.at.lanes(k)};
    return {false, {}, c.instruction, static_cast<int>(plan.at.inputs + k)};
}

std::vector<StripInstruction> all_instructions(const Plan& plan) {
    std::vector<StripInstruction> all;
    for (std::size_t k = 0; k < plan.at.codes; ++k)
        if (const RowTape::Code& c = code_of(plan, k); c.kind != RowTape::Kind::repeat && !with_rows(c))
            all.push_back(instruction_of(plan, k));
    return all;
}

class Planner {
  public:
    Planner(const KernelTable& table, const Problem& p)
        : p_(p), plan_{&p, &table, Numbers(*p.tape), {}, {}, 1, false, 0, {}, 0, 0} {}

    bool suits() {
        const std::int64_t width = plan_.table->strips.width;
        if (width == 0 || p_.columns < kFewest * width) return false;
        plan_.output.assign(plan_.at.registers, -1);
        for (std::size_t o = 0; o < p_.outputs.size(); ++o) {
            int& of = plan_.output[p_.tape->outputs[o]];
            if (of >= 0 || is_repeat(p_.tape->outputs[o])) return false;
            of = static_cast<int>(o);
        }
        return suits_strips(plan_.table->strips, all_instructions(plan_));
    }

    Plan plan() {
        find_again();
        std::int64_t row_bytes = 0;
        for (std::size_t r = 0; r < plan_.at.registers; ++r)
            if (!per_row(*p_.tape, r) && (r < plan_.at.inputs ? !is_shared(p_.inputs[r]) : p_.kept[r] && !again_[r]))
                row_bytes += p_.columns * bytes_of(type_of(plan_, r));
        plan_.block_rows = std::clamp<std::int64_t>(kFirstLevel / std::max<std::int64_t>(row_bytes, 1), 1,
                                                    std::min<std::int64_t>(p_.rows, 16));
        place();
        for (std::size_t i = 0; i < p_.phases.size(); ++i) plan_.phases.push_back(phase(i));
        std::size_t bytes = 0;
        for (const PhasePlan& f : plan_.phases) bytes += StripRun::bytes(f.program);
        plan_.program = take(static_cast<std::int64_t>(bytes));
        return std::move(plan_);
    }

  private:
    std::int64_t take(std::int64_t bytes) {
        const std::int64_t at = plan_.bytes;
        plan_.bytes += (bytes + 63) / 64 * 64;
        return at;
    }

    /// Rows that are kept, and copies of rows that are not contiguous, end with room for a whole strip.
    void place() {
        const std::int64_t row = p_.columns + kMaxStrip;
        plan_.buffer.assign(plan_.at.registers, -1);
        for (std::size_t r = 0; r < plan_.at.registers; ++r) {
            const std::int64_t size = bytes_of(type_of(plan_, r));
            if (per_row(*p_.tape, r)) {
                plan_.buffer[r] = take(plan_.block_rows * kWide);
            } else if (r < plan_.at.inputs) {
                if (is_one_value(p_.inputs[r]))
                    plan_.buffer[r] = take(kSlotBytes);
                else if (!is_dense(p_.inputs[r]))
                    plan_.buffer[r] = take(plan_.block_rows * row * size);
            } else if (is_repeat(r)) {
                plan_.buffer[r] = take(kSlotBytes);
            } else if (const int o = plan_.output[r];
                       o >= 0 ? !is_dense(p_.outputs[static_cast<std::size_t>(o)]) : p_.kept[r] && !again_[r]) {
                plan_.buffer[r] = take(plan_.block_rows * row * size);
            }
        }
        plan_.lanes = take(static_cast<std::int64_t>(plan_.at.codes) * kLanes * 4);
    }

    bool in_phase(const Phase& f, std::size_t r) const {
        for (std::size_t i = f.elements; i < f.end; ++i)
            if (plan_.at.inputs + p_.timing.order[i] == r) return true;
        return false;
    }

    bool is_repeat(std::size_t r) const {
        return r >= plan_.at.inputs && code_of(plan_, r - plan_.at.inputs).kind == RowTape::Kind::repeat;
    }

    StripRegister register_of(const Phase& f, std::size_t r) {
        StripRegister reg{type_of(plan_, r), StripRegister::In::memory, static_cast<int>(r), false, false, false};
        if (per_row(*p_.tape, r)) return reg;
        reg.one = r < plan_.at.inputs ? is_one_value(p_.inputs[r]) : is_repeat(r);
        if (r < plan_.at.inputs || is_repeat(r)) return reg;
        if (again_[r]) return {reg.type, StripRegister::In::nowhere, -1, false, false, false};
        if (!in_phase(f, r)) return reg;
        const int o = plan_.output[r];
        if (o < 0 && !p_.kept[r]) return {reg.type, StripRegister::In::nowhere, -1, false, false, false};
        reg.in = StripRegister::In::result;
        if (o < 0 || p_.kept[r] || reg.type != DType::float32) return reg;
        reg.stream = is_dense(p_.outputs[static_cast<std::size_t>(o)]) && p_.rows * p_.columns * 4 >= kStreamBytes;
        plan_.streams = plan_.streams || reg.stream;
        return reg;
    }

    /// Finds what is cheaper to compute again in a later phase than to keep: sums, differences and products whose
    /// operands are in memory or are repeated values.
    void find_again() {
        again_.assign(plan_.at.registers, false);
        for (std::size_t k = 0; k < plan_.at.codes; ++k) {
            const RowTape::Code& c = code_of(plan_, k);
            const std::size_t r = plan_.at.inputs + k;
            const Opcode op = c.instruction.op;
            const bool cheap = op == Opcode::add || op == Opcode::subtract || op == Opcode::multiply;
            if (!p_.kept[r] || plan_.output[r] >= 0 || !cheap || c.instruction.type != DType::float32) continue;
            again_[r] = std::all_of(c.instruction.operands, c.instruction.operands + 2, [&](std::size_t o) {
                return is_repeat(o) || (o < plan_.at.inputs && is_left_alone(p_.inputs[o]));
            });
        }
    }
    /// Whether the operand is the same for all rows.
    static bool is_shared(const rows::Place& o) {
        return is_one_value(o) || std::all_of(o.rows.begin(), o.rows.end(), [](auto s) { return s == 0; });
    }
    bool is_left_alone(const rows::Place& input) const {
        return (is_dense(input) || is_one_value(input)) &&
               std::none_of(p_.outputs.begin(), p_.outputs.end(),
                            [&](const rows::Place& o) { return o.data == input.data; });
    }

    PhasePlan phase(std::size_t number) {
        const Phase& f = p_.phases[number];
        PhasePlan out;
        for (std::size_t i = f.first; i < f.elements; ++i) out.rows.push_back(p_.timing.order[i]);
        std::vector<StripInstruction> code;
        std::vector<char> read(plan_.at.registers);
        for (std::size_t i = f.elements; i < f.end; ++i) {
            const std::size_t k = p_.timing.order[i];
            const RowTape::Code& c = code_of(plan_, k);
            if (c.kind == RowTape::Kind::repeat) continue;
            add(code, k, f, read);
            if (c.kind == RowTape::Kind::reduce) out.reductions.push_back(k);
        }
        out.elements = !code.empty();
        std::vector<StripRegister> registers;
        for (std::size_t r = 0; r < plan_.at.registers; ++r) {
            registers.push_back(register_of(f, r));
            const bool memory = registers[r].in == StripRegister::In::memory;
            if (registers[r].in == StripRegister::In::result) out.results.push_back(r);
            if (!read[r] || !memory) continue;
            if (is_repeat(r))
                out.repeats.push_back(r - plan_.at.inputs);
            else
                out.inputs.push_back(r);
        }
        if (number == 1)
            for (std::size_t i = 0; i < plan_.at.inputs; ++i)
                if (is_fetched_ahead(i)) out.ahead.push_back(i);
        std::vector<int> ahead;
        for (const std::size_t i : out.ahead) ahead.push_back(plan_.at.ahead(i));
        out.loop = loop_of(code, registers, out.ahead);
        if (out.loop.kind == RowLoop::Kind::none) take_from_strips(code, registers, out);
        out.program = make_strips(*plan_.table, registers, code, plan_.at.count(), ahead);
        return out;
    }

    /// Reductions of rows in memory become loops: strips would load and store their lanes for each strip.
    void take_from_strips(std::vector<StripInstruction>& code, std::span<const StripRegister> registers,
                          PhasePlan& out) const {
        using In = StripRegister::In;
        std::erase_if(code, [&](const StripInstruction& c) {
            const std::size_t x = c.code.operands[0];
            const StripRegister& from = registers[x];
            // An input that the strips may overwrite has to be read before.
            const bool stays = x >= plan_.at.inputs || is_left_alone(p_.inputs[x]);
            const bool row = from.type == DType::float32 && !from.one && stays &&
                             (from.in == In::memory || (from.in == In::result && !from.late && !from.stream));
            if (!c.reduces || !row) return false;
            const auto k = static_cast<std::size_t>(c.out - plan_.at.lanes(0));
            std::erase(out.reductions, k);
            out.after.push_back({k, x});
            return true;
        });
    }

    RowLoop loop_of(std::span<const StripInstruction> code, std::span<const StripRegister> registers,
                    std::span<const std::size_t> ahead) const {
        using In = StripRegister::In;
        if (code.empty() || code.size() > 3 || !code.back().reduces) return {};
        const auto operand = [](const StripInstruction& c, int i) { return std::size_t{c.code.operands[i]}; };
        const auto is_row = [&](std::size_t r) { return registers[r].in == In::memory && !registers[r].one; };
        RowLoop loop;
        loop.x = operand(code.back(), 0);
        if (code.size() == 1) {
            if (is_row(loop.x)) loop.kind = RowLoop::Kind::reduction;
            return loop;
        }
        const StripInstruction& f = code[code.size() - 2];
        const Opcode op = f.code.op;
        const bool square = op == Opcode::square || (op == Opcode::multiply && operand(f, 0) == operand(f, 1));
        if ((!square && op != Opcode::exp) || static_cast<std::size_t>(f.out) != loop.x ||
            code.back().reduction != Reduction::sum)
            return {};
        if (registers[loop.x].in == In::result) {
            if (registers[loop.x].late || registers[loop.x].stream) return {};
            loop.keep = loop.x;
        }
        loop.function = square ? RowFunction::square : RowFunction::exp;
        loop.x = operand(f, 0);
        if (code.size() == 3) {
            const StripInstruction& less = code[0];
            if (less.reduces || less.code.op != Opcode::subtract || static_cast<std::size_t>(less.out) != loop.x ||
                registers[loop.x].in != In::nowhere || !is_repeat(operand(less, 1)))
                return {};
            loop.x = operand(less, 0);
            loop.less = operand(less, 1);
        }
        const bool fetched = ahead.empty() || (ahead.size() == 1 && ahead[0] == loop.x);
        if (is_row(loop.x) && type_of(plan_, loop.x) == DType::float32 && fetched) loop.kind = RowLoop::Kind::sum;
        return loop;
    }

    /// Adds an instruction, after those of an earlier phase that it needs again.
    void add(std::vector<StripInstruction>& code, std::size_t k, const Phase& f, std::vector<char>& read) {
        const RowTape::Code& c = code_of(plan_, k);
        for (int o = 0; o < operands_of(c); ++o) {
            const std::size_t r = c.instruction.operands[o];
            if (again_[r] && !in_phase(f, r) && !read[r]) add(code, r - plan_.at.inputs, f, read);
            read[r] = true;
        }
        code.push_back(instruction_of(plan_, k));
    }

    /// What the first phase reads while nothing is computed: the next rows are prefetched while these are processed.
    bool is_fetched_ahead(std::size_t i) const {
        const auto& first = p_.phases[0].inputs;
        const rows::Place& o = p_.inputs[i];
        return !o.per_row && is_dense(o) && std::find(first.begin(), first.end(), static_cast<int>(i)) != first.end() &&
               p_.rows * p_.columns * bytes_of(o.type) >= kBeyondCaches &&
               std::any_of(o.rows.begin(), o.rows.end(), [](auto s) { return s != 0; });
    }

    const Problem& p_;
    Plan plan_;
    std::vector<char> again_;  // registers that later phases compute once more
};

/// Visits blocks of rows, on one thread.
class Runner {
  public:
    explicit Runner(const Plan& plan)
        : plan_(plan), p_(*plan.p), table_(*plan.table), scratch_(scratch(static_cast<std::size_t>(plan.bytes))) {
        std::byte* at = scratch_ + plan.program;
        phases_.reserve(plan.phases.size());
        for (const PhasePlan& f : plan.phases) {
            phases_.push_back({&f, StripRun(table_.strips, f.program, at), {}});
            at += StripRun::bytes(f.program);
        }
        for (Bound& b : phases_) bind(b);
        for (std::size_t i = 0; i < plan_.at.inputs; ++i) {
            if (!p_.inputs[i].per_row) continue;
            if (stands_still(p_.inputs[i]))
                gather_rows(p_, p_.inputs[i], 0, plan_.block_rows, values(i));
            else
                row_inputs_.push_back(i);
        }
    }
    ~Runner() {
        if (plan_.streams) table_.strips.fence();
    }

    /// Rows [begin, end), in blocks of about equal size.
    void run(std::int64_t begin, std::int64_t end) {
        const std::int64_t blocks = (end - begin + plan_.block_rows - 1) / plan_.block_rows;
        for (std::int64_t b = 0; b < blocks; ++b) {
            const std::int64_t row = begin + (end - begin) * b / blocks;
            run_block(row, begin + (end - begin) * (b + 1) / blocks - row);
        }
    }

  private:
    void run_block(std::int64_t row, std::int64_t rows) {
        row_ = row, rows_ = rows;
        for (const std::size_t i : row_inputs_) gather_rows(p_, p_.inputs[i], row_, rows_, values(i));
        for (Bound& b : phases_) visit(b);
        for (std::size_t o = 0; o < p_.outputs.size(); ++o)
            if (p_.outputs[o].per_row) scatter_rows(p_, p_.outputs[o], row_, rows_, values(p_.tape->outputs[o]));
    }

    /// A place that differs from row to row.
    struct Moving {
        enum class What : std::uint8_t {
            direct,  // the operand's own row
            ahead,  // that of the next block
            buffer,  // a row that is kept, or that is stored afterwards
            strided,  // an operand's row, copied to a buffer
            one,  // an operand's value for the row
            repeat,  // a result's value for the row
        } what;
        bool whole;  // one value, with which a strip is filled
        std::size_t reg;
        int place;
        const rows::Place* operand;
        std::int64_t size;  // of an element
    };
    struct Bound {
        const PhasePlan* plan;
        StripRun run;
        std::vector<Moving> moving;
        const Moving *x = nullptr, *keep = nullptr, *ahead = nullptr;  // of the loop; null if it does not move
    };

    static bool stands_still(const rows::Place& o) {
        return std::all_of(o.rows.begin(), o.rows.end(), [](auto s) { return s == 0; });
    }
    std::byte* values(std::size_t reg) const { return scratch_ + plan_.buffer[reg]; }
    std::byte* lanes(std::size_t k) const { return scratch_ + plan_.lanes + static_cast<std::int64_t>(k) * kLanes * 4; }
    /// The rows' values that a register repeats.
    std::byte* repeated(std::size_t reg) const {
        return values(code_of(plan_, reg - plan_.at.inputs).instruction.operands[0]);
    }
    std::int64_t size_of_register(std::size_t reg) const { return bytes_of(type_of(plan_, reg)); }
    /// Row r of a buffer.
    std::byte* buffered(std::size_t reg, std::int64_t r) const {
        return values(reg) + r * (p_.columns + kMaxStrip) * size_of_register(reg);
    }
    std::byte* address(const rows::Place& o, std::int64_t row) const {
        if (p_.axes.rank() == 1) return o.data + row * o.rows[0];
        return o.data + offset_of(p_, o, row);
    }

    void bind(Bound& b) {
        const PhasePlan& f = *b.plan;
        b.moving.reserve(f.repeats.size() + f.inputs.size() + f.results.size() + f.ahead.size());
        for (const std::size_t k : f.reductions) b.run.bind(plan_.at.lanes(k), {lanes(k), 0});
        for (const std::size_t k : f.repeats) add(b, Moving::What::repeat, plan_.at.inputs + k, nullptr, 0);
        for (const std::size_t reg : f.inputs) {
            if (reg >= plan_.at.inputs) {
                bind_result(b, reg);
                continue;
            }
            const rows::Place& o = p_.inputs[reg];
            const auto what = plan_.buffer[reg] < 0 ? Moving::What::direct
                              : is_one_value(o)     ? Moving::What::one
                                                    : Moving::What::strided;
            add(b, what, reg, &o, what == Moving::What::one ? 0 : size_of_register(reg));
        }
        for (const std::size_t reg : f.results) bind_result(b, reg);
        for (const std::size_t i : f.ahead) {
            b.run.bind(plan_.at.ahead(i), {nullptr, size_of_register(i)});
            b.moving.push_back({Moving::What::ahead, false, i, plan_.at.ahead(i), &p_.inputs[i], size_of_register(i)});
        }
        if (f.loop.kind == RowLoop::Kind::none) return;
        for (const Moving& m : b.moving)
            if (m.what == Moving::What::ahead)
                b.ahead = &m;
            else if (m.reg == f.loop.x)
                b.x = &m;
            else if (m.reg == f.loop.keep)
                b.keep = &m;
    }
    void bind_result(Bound& b, std::size_t reg) {
        if (plan_.buffer[reg] >= 0) return add(b, Moving::What::buffer, reg, nullptr, size_of_register(reg));
        add(b, Moving::What::direct, reg, &p_.outputs[static_cast<std::size_t>(plan_.output[reg])],
            size_of_register(reg));
    }
    void add(Bound& b, Moving::What what, std::size_t reg, const rows::Place* operand, std::int64_t step) {
        const auto place = static_cast<int>(reg);
        const bool direct = what == Moving::What::direct;
        b.run.bind(place, {plan_.buffer[reg] < 0 ? scratch_ : values(reg), step}, direct ? step : 0);
        const Moving m{what, b.plan->program.whole[reg] != 0, reg, place, operand, size_of_register(reg)};
        if (operand && stands_still(*operand))
            move(b.run, m, 0);
        else
            b.moving.push_back(m);
    }

    /// The elements of row r of a place that is not one repeated value.
    std::byte* row_of(const Moving& m, std::int64_t r) {
        switch (m.what) {
            case Moving::What::direct:
                return address(*m.operand, row_ + r);
            case Moving::What::ahead:  // beyond the last row it would do no harm
                return address(*m.operand, std::min(row_ + r + plan_.block_rows, p_.rows - 1));
            case Moving::What::strided:
                rows::move(m.size, buffered(m.reg, r), m.size, address(*m.operand, row_ + r), m.operand->column,
                           p_.columns);
                [[fallthrough]];
            default:
                return buffered(m.reg, r);
        }
    }

    void move(StripRun& run, const Moving& m, std::int64_t r) {
        const std::int64_t size = m.size;
        const auto fill = [&](const std::byte* value) {
            if (!m.whole && size == 4)
                std::memcpy(values(m.reg), value, 4);
            else
                rows::move(size, values(m.reg), size, value, 0, m.whole ? table_.strips.width : 1);
        };
        if (m.what == Moving::What::one) return fill(address(*m.operand, row_ + r));
        if (m.what == Moving::What::repeat) return fill(repeated(m.reg) + r * size);
        run.move_to(m.place, row_of(m, r));
    }

    void visit(Bound& b) {
        const PhasePlan& f = *b.plan;
        for (const std::size_t k : f.rows) apply_rows(k);
        if (!f.elements) return;
        if (f.loop.kind != RowLoop::Kind::none) return loop(b);
        for (std::int64_t r = 0; r < rows_; ++r) {
            for (const Moving& m : b.moving) move(b.run, m, r);
            if (f.reductions.empty() && f.after.empty())
                b.run.run(0, p_.columns);
            else
                reduce_strips(b, r);
            for (const std::size_t reg : f.results) store(reg, r);
        }
    }

    void apply_rows(std::size_t k) {
        const Instruction& code = code_of(plan_, k).instruction;
        const void* in[3];
        for (int i = 0; i < arity(code.op); ++i) in[i] = values(code.operands[i]);
        kernel_of(table_, code)(values(plan_.at.inputs + k), in, rows_);
    }

    void store(std::size_t reg, std::int64_t r) const {
        if (plan_.output[reg] < 0 || plan_.buffer[reg] < 0) return;
        const rows::Place& o = p_.outputs[static_cast<std::size_t>(plan_.output[reg])];
        const std::int64_t size = bytes_of(o.type);
        rows::move(size, address(o, row_ + r), o.column, buffered(reg, r), size, p_.columns);
    }

    void reduce_strips(Bound& b, std::int64_t r) {
        const PhasePlan& f = *b.plan;
        for (std::int64_t begin = 0; begin < p_.columns; begin += kReduceChunk) {
            const std::int64_t n = std::min(kReduceChunk, p_.columns - begin);
            for (const std::size_t k : f.reductions) kernels(k).fill(lanes(k), kLanes);
            b.run.run(begin, n);
            for (const std::size_t k : f.reductions) {
                const float value = table_.strips.join[static_cast<int>(code_of(plan_, k).reduction)](
                    reinterpret_cast<const float*>(lanes(k)));
                enter_chunk(k, r, begin == 0, value);
            }
            for (const AfterStrips& a : f.after) {
                const auto* x = reinterpret_cast<const float*>(b.run.place(static_cast<int>(a.x)).base) + begin;
                const auto reduction = static_cast<int>(code_of(plan_, a.code).reduction);
                enter_chunk(a.code, r, begin == 0, table_.row_kernels.reduce[reduction](x, n));
            }
        }
    }
    /// Combines a chunk's result with the row's.
    void enter_chunk(std::size_t k, std::int64_t r, bool first, float value) const {
        std::byte* total = values(plan_.at.inputs + k) + r * 4;
        if (first)
            std::memcpy(total, &value, 4);
        else
            kernels(k).join(total, &value, 1);
    }
    void loop(const Bound& b) {
        const PhasePlan& f = *b.plan;
        const std::size_t k = f.reductions[0];
        for (std::int64_t r = 0; r < rows_; ++r) {
            const std::byte* x = b.x ? row_of(*b.x, r) : b.run.place(static_cast<int>(f.loop.x)).base;
            std::byte* keep = nullptr;
            if (f.loop.keep) keep = b.keep ? row_of(*b.keep, r) : b.run.place(static_cast<int>(*f.loop.keep)).base;
            const std::byte* ahead = b.ahead ? row_of(*b.ahead, r) : nullptr;
            float less = 0;
            if (f.loop.less) std::memcpy(&less, repeated(*f.loop.less) + r * 4, 4);
            for (std::int64_t begin = 0; begin < p_.columns; begin += kReduceChunk)
                enter_chunk(k, r, begin == 0, loop_of_chunk(f, k, begin, x, less, keep, ahead));
            for (const std::size_t reg : f.results) store(reg, r);
        }
    }
    float loop_of_chunk(const PhasePlan& f, std::size_t k, std::int64_t begin, const std::byte* x, float less,
                        std::byte* keep, const std::byte* ahead) const {
        const std::int64_t n = std::min(kReduceChunk, p_.columns - begin);
        const auto at = [begin](auto* row) { return row ? row + begin * 4 : nullptr; };
        const RowKernels& kernels = table_.row_kernels;
        const auto* from = reinterpret_cast<const float*>(at(x));
        if (f.loop.kind == RowLoop::Kind::reduction)
            return kernels.reduce[static_cast<int>(code_of(plan_, k).reduction)](from, n);
        return kernels.sum_of[static_cast<int>(f.loop.function)](from, less, n, reinterpret_cast<float*>(at(keep)),
                                                                 reinterpret_cast<const char*>(at(ahead)));
    }
    const ReduceKernels& kernels(std::size_t k) const {
        return table_.reduce[static_cast<int>(code_of(plan_, k).reduction)][static_cast<int>(DType::float32)];
    }

    const Plan& plan_;
    const Problem& p_;
    const KernelTable& table_;
    std::byte* scratch_;
    std::vector<Bound> phases_;
    std::vector<std::size_t> row_inputs_;
    std::int64_t row_ = 0, rows_ = 0;
};

void run_plan(const Plan& plan) {
    const Problem& p = *plan.p;
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / p.columns);
    parallel_for(p.rows, even_grain(p.rows, grain),
                 [&](std::int64_t begin, std::int64_t end) { Runner(plan).run(begin, end); });
}

struct CachedStripPlan : CachedRowPlan {
    CachedStripPlan(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                    const Problem& p, Plan made)
        : CachedRowPlan(table, inputs, outputs, p), plan(std::move(made)) {
        plan.p = &problem;
    }
    void run() const override { run_plan(plan); }

    Plan plan;
};

}  // namespace

bool run_row_strips(const KernelTable& table, const Problem& p, std::span<const View> inputs,
                    std::span<const View> outputs, CachedPlan* kept) {
    Planner planner(table, p);
    if (!planner.suits()) return false;
    Plan plan = planner.plan();
    run_plan(plan);
    if (!kept) return true;
    const std::shared_ptr<CachedRowPlan> made =
        std::make_shared<CachedStripPlan>(table, inputs, outputs, p, std::move(plan));
    *kept = made;
    return true;
}

bool run_cached_rows(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                     const CachedPlan* kept) {
    if (!kept || !*kept) return false;
    CachedRowPlan& k = *static_cast<CachedRowPlan*>(kept->get());
    if (!k.operands.fits(table, inputs, outputs)) return false;
    for (std::size_t i = 0; i < inputs.size(); ++i) set_address(k.problem.inputs[i].data, inputs[i]);
    for (std::size_t o = 0; o < outputs.size(); ++o) set_address(k.problem.outputs[o].data, outputs[o]);
    k.run();
    return true;
}

}  // namespace tenon::tape
