#include "tape/strips.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::tape {
namespace {

constexpr auto kFloat = static_cast<int>(DType::float32);
constexpr int kNone = -1;

bool in_registers(const StripTable& t, const Instruction& c) {
    if (c.op == Opcode::cast) return c.type == DType::float32 || c.result == DType::float32;
    if (c.type != DType::float32) return false;
    return c.op == Opcode::select || c.op == Opcode::fma || t.unary[static_cast<int>(c.op)] ||
           t.binary[static_cast<int>(c.op)][0][0];
}

Kernel kernel_of(const KernelTable& table, const Instruction& c) {
    const Kernel k = c.op == Opcode::cast ? table.cast[static_cast<int>(c.type)][static_cast<int>(c.result)]
                                          : table.elementwise[static_cast<int>(c.op)][static_cast<int>(c.type)];
    if (!k) throw TypeError(text("tape: ", name(c.op), " does not take ", name(c.type)));
    return k;
}

/// Goes through the code twice: first to find the registers that must be in memory, then to write the steps.
class Writer {
  public:
    Writer(const KernelTable& table, std::span<const StripRegister> registers, int places)
        : table_(table),
          t_(table.strips),
          registers_(registers),
          places_(places),
          stored_(registers.size()),
          slot_(registers.size(), kNone),
          scaled_(registers.size(), nullptr) {}

    StripProgram write(std::span<const StripInstruction> code, std::span<const StripAhead> ahead) {
        p_.places = places_;
        p_.whole.assign(static_cast<std::size_t>(places_), false);
        p_.result = p_.whole;
        for (const StripRegister& r : registers_)
            if (r.in == StripRegister::In::result) p_.result[static_cast<std::size_t>(r.place)] = true;
        find_scaled(code);
        for (const bool counting : {true, false}) {
            counting_ = counting;
            held_ = kNone;
            for (const StripAhead& a : ahead) {
                add(t_.prefetch, {a.place, kNone, kNone, kNone});
                if (!counting_) p_.steps.back().at[1].step = a.size * t_.width;
            }
            for (const StripInstruction& c : code)
                if (c.reduces || !scaled_[static_cast<std::size_t>(c.out)]) c.reduces ? reduce(c) : apply(c);
            write_late();
            add(t_.end, {kNone, kNone, kNone, kNone});
        }
        return std::move(p_);
    }

  private:
    using At = StripProgram::Operands;

    bool is_product(const StripInstruction& c) const {
        return !c.reduces && c.code.op == Opcode::multiply && c.code.type == DType::float32;
    }
    /// The operand of a product with one value; kNone if it is none.
    int scaled_operand(const StripInstruction& c) const {
        if (!is_product(c)) return kNone;
        const int x = c.code.operands[0], y = c.code.operands[1];
        return at(x).one == at(y).one ? kNone : at(x).one ? y : x;
    }
    /// Finds the products of a register with one value (half of gelu's operand) that another product alone reads,
    /// later: the two are one step, and the first need not be stored meanwhile. Its operand is in a slot, which no
    /// result can overwrite.
    void find_scaled(std::span<const StripInstruction> code) {
        std::vector<int> uses(registers_.size());
        std::vector<const StripInstruction*> reader(registers_.size(), nullptr);
        for (const StripInstruction& c : code)
            for (int o = 0; o < (c.reduces ? 1 : arity(c.code.op)); ++o) {
                const auto r = static_cast<std::size_t>(c.code.operands[o]);
                ++uses[r], reader[r] = &c;
            }
        for (std::size_t i = 0; i + 1 < code.size(); ++i) {
            const StripInstruction& c = code[i];
            const int x = scaled_operand(c);
            if (x == kNone || at(x).in != StripRegister::In::nowhere) continue;
            const auto out = static_cast<std::size_t>(c.out);
            if (at(c.out).in != StripRegister::In::nowhere || uses[out] != 1) continue;
            const StripInstruction& by = *reader[out];
            const int other = by.code.operands[by.code.operands[0] == c.out ? 1 : 0];
            if (&by == &code[i + 1] || !is_product(by) || at(other).one) continue;
            if (scaled_[static_cast<std::size_t>(other)]) continue;
            scaled_[out] = &c;
        }
    }

    void add(StripHandler handler, At at, Kernel kernel = nullptr) {
        if (counting_) return;
        p_.steps.push_back({handler, kernel, {}});
        p_.operands.push_back(at);
    }

    int slot(int reg) {
        if (counting_) return kNone;
        int& s = slot_[static_cast<std::size_t>(reg)];
        if (s == kNone) s = places_ + p_.slots++;
        return s;
    }
    const StripRegister& at(int reg) const { return registers_[static_cast<std::size_t>(reg)]; }
    bool has_slot(int reg) const {
        const StripRegister& r = at(reg);
        return r.in == StripRegister::In::nowhere || r.late || r.stream;
    }

    /// The place from which an operand is read: whole strips, or the one value that all elements share.
    int read_one(int reg) { return at(reg).one ? at(reg).place : read(reg); }
    int read(int reg) {
        if (at(reg).one) p_.whole[static_cast<std::size_t>(at(reg).place)] = true;
        if (!has_slot(reg)) return at(reg).place;
        stored_[static_cast<std::size_t>(reg)] = true;
        return slot(reg);
    }
    /// The place to which a result is written that does not pass through registers.
    int written(int reg) { return has_slot(reg) ? slot(reg) : at(reg).place; }

    void load(int reg) {
        if (held_ == reg) return;
        add(t_.load[kFloat], {read(reg), kNone, kNone, kNone});
        held_ = reg;
    }

    /// The registers hold `reg` now.
    void define(int reg) {
        held_ = reg;
        const StripRegister& r = at(reg);
        const bool result = r.in == StripRegister::In::result && !r.late;
        if (result) add(r.stream ? t_.stream : t_.store[kFloat], {kNone, kNone, kNone, r.place});
        if (has_slot(reg) && (r.late || stored_[static_cast<std::size_t>(reg)]))
            add(t_.store[kFloat], {kNone, kNone, kNone, slot(reg)});
    }

    void reduce(const StripInstruction& c) {
        load(c.code.operands[0]);
        add(t_.reduce[static_cast<int>(c.reduction)], {kNone, kNone, kNone, c.out});
    }

    void apply(const StripInstruction& c) {
        const Instruction& i = c.code;
        if (!in_registers(t_, i)) return any(c);
        if (i.op == Opcode::cast) return cast(c);
        if (i.op == Opcode::select) return select(c);
        if (i.op == Opcode::fma) return multiply_add(c);
        arity(i.op) == 1 ? unary(c) : binary(c);
    }

    void finish(const StripInstruction& c, StripHandler handler, At at) {
        if (c.code.result == DType::float32) {
            add(handler, at);
            return define(c.out);
        }
        at.at[3] = written(c.out);
        add(handler, at);
    }

    void any(const StripInstruction& c) {
        At at;
        for (int o = 0; o < arity(c.code.op); ++o) at.at[o] = read(c.code.operands[o]);
        at.at[3] = written(c.out);
        add(t_.any, at, kernel_of(table_, c.code));
        if (held_ == c.out) held_ = kNone;
        if (c.code.result == DType::float32) copy_result(c.out);
    }
    /// Moves a result that is stored past the caches out of the slot where the step `any` left it.
    void copy_result(int reg) {
        const StripRegister& r = at(reg);
        if (!r.stream || r.late || r.in != StripRegister::In::result) return;
        load(reg);
        add(t_.stream, {kNone, kNone, kNone, r.place});
    }

    void cast(const StripInstruction& c) {
        const int from = c.code.operands[0];
        if (c.code.type != DType::float32) {
            add(t_.load[static_cast<int>(c.code.type)], {read(from), kNone, kNone, kNone});
            return define(c.out);
        }
        load(from);
        if (c.code.result == DType::float32) return define(c.out);
        add(t_.store[static_cast<int>(c.code.result)], {kNone, kNone, kNone, written(c.out)});
    }

    void unary(const StripInstruction& c) {
        load(c.code.operands[0]);
        finish(c, t_.unary[static_cast<int>(c.code.op)], {});
    }

    void binary(const StripInstruction& c) {
        const int x = c.code.operands[0], y = c.code.operands[1];
        for (const bool first : {true, false})
            if (const StripInstruction* const scaled = scaled_[static_cast<std::size_t>(first ? x : y)])
                return times_scaled(c, *scaled, first);
        if (held_ != x && held_ != y && (x == y || (at(x).one && at(y).one))) load(x);
        At where;
        int side[2], next = 0;
        for (int o = 0; o < 2; ++o) {
            const int reg = o == 0 ? x : y;
            side[o] = held_ == reg ? 0 : at(reg).one ? 2 : 1;
            if (held_ != reg) where.at[next++] = read_one(reg);
        }
        finish(c, t_.binary[static_cast<int>(c.code.op)][side[0]][side[1]], where);
    }

    void times_scaled(const StripInstruction& c, const StripInstruction& scaled, bool first) {
        load(c.code.operands[first ? 1 : 0]);
        const int x = scaled_operand(scaled), one = scaled.code.operands[scaled.code.operands[0] == x ? 1 : 0];
        finish(c, t_.times_scaled[first], {read(x), at(one).place, kNone, kNone});
    }

    void select(const StripInstruction& c) {
        const int when = c.code.operands[0], x = c.code.operands[1], y = c.code.operands[2];
        if (held_ != x && held_ != y) load(at(x).one && !at(y).one ? y : x);
        const bool first = held_ == x;
        const int other = first ? y : x, condition = read(when);
        finish(c, t_.select[first ? 0 : 1][at(other).one], {condition, read_one(other), kNone, kNone});
    }

    void multiply_add(const StripInstruction& c) {
        int x = c.code.operands[0], y = c.code.operands[1];
        if (held_ == y) std::swap(x, y);
        load(x);
        const int factor = read(y);
        finish(c, t_.fma, {factor, read(c.code.operands[2]), kNone, kNone});
    }

    void write_late() {
        for (int r = 0; r < static_cast<int>(registers_.size()); ++r) {
            const StripRegister& reg = at(r);
            if (!reg.late) continue;
            if (reg.type == DType::float32) {
                load(r);
                add(reg.stream ? t_.stream : t_.store[kFloat], {kNone, kNone, kNone, reg.place});
            } else {
                const auto type = static_cast<int>(reg.type);
                add(t_.any, {read(r), kNone, kNone, reg.place}, table_.cast[type][type]);
            }
        }
    }

    const KernelTable& table_;
    const StripTable& t_;
    std::span<const StripRegister> registers_;
    int places_;
    std::vector<char> stored_;  // whether a register is read from its slot
    std::vector<int> slot_;
    std::vector<const StripInstruction*> scaled_;  // by register: the product that the product reading it also makes
    bool counting_ = false;
    int held_ = kNone;  // what the vector registers hold
    StripProgram p_;
};

}  // namespace

bool suits_strips(const StripTable& table, std::span<const StripInstruction> code) {
    if (table.width == 0 || code.empty()) return false;
    std::size_t inside = 0;
    for (const StripInstruction& c : code) {
        if (c.reduces && c.code.type != DType::float32) return false;
        inside += c.reduces || in_registers(table, c.code);
    }
    return 4 * inside >= 3 * code.size();
}

StripProgram make_strips(const KernelTable& table, std::span<const StripRegister> registers,
                         std::span<const StripInstruction> code, int places, std::span<const StripAhead> ahead) {
    StripProgram p = Writer(table, registers, places).write(code, ahead);
    const int all = places + p.slots;
    for (int place = 0; place < all; ++place) {
        p.first_use.push_back(static_cast<std::uint32_t>(p.uses.size()));
        for (std::size_t s = 0; s < p.operands.size(); ++s)
            for (std::size_t j = 0; j < 4; ++j)
                if (p.operands[s].at[j] == place)
                    p.uses.push_back(static_cast<std::uint32_t>(s * sizeof(StripStep) + offsetof(StripStep, at) +
                                                                j * sizeof(StripPlace)));
    }
    p.first_use.push_back(static_cast<std::uint32_t>(p.uses.size()));
    return p;
}

std::size_t StripRun::bytes(const StripProgram& program) {
    const auto places = static_cast<std::size_t>(program.places);
    const std::size_t slots = (static_cast<std::size_t>(program.slots) + places) * kSlotBytes;
    const std::size_t lists =
        places * (sizeof(StripPlace) + sizeof(std::int64_t)) + program.steps.size() * sizeof(StripStep);
    return slots + (lists + 63) / 64 * 64;
}

StripRun::StripRun(const StripTable& table, const StripProgram& program, std::byte* scratch)
    : table_(table), program_(program), scratch_(scratch) {
    const auto places = static_cast<std::size_t>(program.places);
    std::byte* at = scratch + (static_cast<std::size_t>(program.slots) + places) * kSlotBytes;
    static_assert(std::is_trivially_copyable_v<StripPlace> && std::is_trivially_copyable_v<StripStep>);
    std::memset(at, 0, places * (sizeof(StripPlace) + sizeof(std::int64_t)));  // faster than a loop over so few
    places_ = reinterpret_cast<StripPlace*>(at);
    at += places * sizeof(StripPlace);
    copied_ = reinterpret_cast<std::int64_t*>(at);
    at += places * sizeof(std::int64_t);
    steps_ = reinterpret_cast<StripStep*>(at);
    std::copy(program.steps.begin(), program.steps.end(), steps_);
    for (std::size_t s = 0; s < static_cast<std::size_t>(program.slots); ++s)
        for (std::uint32_t u = program.first_use[places + s]; u < program.first_use[places + s + 1]; ++u)
            use(u) = {scratch + static_cast<std::int64_t>(s) * kSlotBytes, 0};
}

void StripRun::bind(int place, StripPlace at, std::int64_t copied) {
    const auto i = static_cast<std::size_t>(place);
    places_[i] = at;
    copied_[i] = copied;
    for (std::uint32_t u = program_.first_use[i]; u < program_.first_use[i + 1]; ++u) use(u) = at;
}

void StripRun::run(std::int64_t begin, std::int64_t n) {
    const std::int64_t whole = n / table_.width * table_.width;
    if (whole > 0) table_.run(steps_, begin, begin + whole);
    if (whole < n) run_part(begin + whole, n - whole);
}

void StripRun::run_part(std::int64_t begin, std::int64_t n) {
    const auto places = static_cast<std::size_t>(program_.places);
    part_.assign(places_, places_ + places);
    const auto bytes = [&](std::size_t i) { return static_cast<std::size_t>(n * copied_[i]); };
    const auto address = [&](std::size_t i) { return places_[i].base + begin * places_[i].step; };
    for (std::size_t i = 0; i < places; ++i) {
        if (!copied_[i]) continue;
        part_[i] = {scratch_ + (program_.slots + static_cast<int>(i)) * kSlotBytes, 0};
        if (!program_.result[i]) std::memcpy(part_[i].base, address(i), bytes(i));
    }
    last_.assign(steps_, steps_ + program_.steps.size());
    for (std::size_t s = 0; s < last_.size(); ++s) {
        StripStep& step = last_[s];
        for (int j = 0; j < 4; ++j)
            if (const int at = program_.operands[s].at[j]; at >= 0 && at < program_.places)
                step.at[j] = part_[static_cast<std::size_t>(at)];
        if (step.handler == table_.stream) step.handler = table_.store[kFloat];
        if (step.handler == table_.prefetch) step.at[1].step = 0;
        for (int r = 0; r < 4; ++r)
            if (step.handler == table_.reduce[r]) {
                step.handler = table_.reduce_part[r];
                step.at[0].step = n;
                break;
            }
    }
    table_.run(last_.data(), begin, begin + table_.width);
    for (std::size_t i = 0; i < places; ++i)
        if (copied_[i] && program_.result[i]) std::memcpy(address(i), part_[i].base, bytes(i));
}

PlannedFor::PlannedFor(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs)
    : table_(&table), inputs_(inputs.begin(), inputs.end()), outputs_(outputs.begin(), outputs.end()) {}

bool PlannedFor::fits(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                      bool any_rows) const {
    const auto alike = [&](const View& a, const View& b) {
        const Shape &x = a.shape(), &y = b.shape();
        const bool shapes =
            any_rows ? x.rank() == y.rank() && std::equal(x.begin() + 1, x.end(), y.begin() + 1) : x == y;
        return a.dtype == b.dtype && shapes && a.layout.strides == b.layout.strides;
    };
    if (&table != table_ || !std::equal(inputs.begin(), inputs.end(), inputs_.begin(), inputs_.end(), alike) ||
        !std::equal(outputs.begin(), outputs.end(), outputs_.begin(), outputs_.end(), alike))
        return false;
    for (std::size_t i = 0; i < inputs.size(); ++i)
        for (std::size_t o = 0; o < outputs.size(); ++o)
            if ((inputs[i].data == outputs[o].data) != (inputs_[i].data == outputs_[o].data)) return false;
    return true;
}

}  // namespace tenon::tape
