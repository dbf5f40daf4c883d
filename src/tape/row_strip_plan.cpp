#include "tape/row_strip_plan.h"

#include <algorithm>

#include "tape/run_strips.h"

namespace tenon::tape::row_strips {
namespace {

using namespace rows;

constexpr std::int64_t kFewest = 2;  // strips in a row
constexpr std::int64_t kFirstLevel = 24 << 10;  // bytes of rows that phases share
constexpr std::int64_t kBeyondCaches = 4 << 20;  // bytes of an input that is prefetched

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
        std::vector<StripAhead> ahead;
        for (const std::size_t i : out.ahead)
            ahead.push_back({plan_.at.ahead(i), static_cast<std::int64_t>(size_of(registers[i].type))});
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

}  // namespace

std::optional<Plan> make_plan(const KernelTable& table, const Problem& problem) {
    Planner planner(table, problem);
    if (!planner.suits()) return std::nullopt;
    return planner.plan();
}

}  // namespace tenon::tape::row_strips
