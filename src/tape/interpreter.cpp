#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "base/text.h"
#include "tape/kernels.h"
#include "tape/run_strips.h"
#include "tape/scratch.h"
#include "tape/walk.h"
#include "tenon/error.h"
#include "tenon/export.h"

namespace tenon::tape {
namespace {

constexpr std::int64_t kGrain = 32 * kBlock;
constexpr std::size_t kMaxRegisters = 255;
constexpr int kNowhere = -1;

struct Step {
    Kernel kernel;
    int arity;
    std::array<std::uint8_t, 3> operands;
    int slot;  // index of a scratch slot
    int output;  // written in place where its block is contiguous, or kNowhere
};

struct Plan {
    Walk walk;
    std::vector<Operand> operands;  // outputs, then inputs
    std::vector<Step> steps;
    std::vector<int> input_slots;
    std::vector<std::uint8_t> outputs;  // registers
    std::vector<int> streams;  // operands that are contiguous throughout
    int slots;
    std::int64_t slot_bytes;
};

Kernel kernel_of(const KernelTable& table, const Instruction& code) {
    const Kernel k = code.op == Opcode::cast
                         ? table.cast[static_cast<int>(code.type)][static_cast<int>(code.result)]
                         : table.elementwise[static_cast<int>(code.op)][static_cast<int>(code.type)];
    if (!k) throw TypeError(text("tape: ", name(code.op), " does not take ", name(code.type)));
    return k;
}

void check_code(const Tape& tape) {
    const std::size_t inputs = tape.inputs.size();
    if (inputs + tape.code.size() > kMaxRegisters) throw ValueError("tape: more than 255 registers");
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        const Instruction& code = tape.code[k];
        if (code.op != Opcode::cast && code.result != result_type(code.op, code.type))
            throw TypeError(
                text("tape: ", name(code.op), " of ", name(code.type), " does not give ", name(code.result)));
        for (int i = 0; i < arity(code.op); ++i) {
            const std::size_t reg = code.operands[i];
            if (reg >= inputs + k)
                throw ValueError(text("tape: instruction ", k, " reads register ", reg, " too early"));
            const DType wanted = code.op == Opcode::select && i == 0 ? DType::boolean : code.type;
            if (type_of(tape, reg) != wanted)
                throw TypeError(
                    text("tape: ", name(code.op), " of ", name(wanted), " reads ", name(type_of(tape, reg))));
        }
    }
}

void check(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    if (inputs.size() != tape.inputs.size() || outputs.size() != tape.outputs.size())
        throw ValueError(text("tape: ", tape.inputs.size(), " inputs and ", tape.outputs.size(),
                              " outputs expected, not ", inputs.size(), " and ", outputs.size()));
    check_code(tape);
    const auto check_view = [&](const View& v, DType type, const char* what) {
        if (v.dtype != type) throw TypeError(text("tape: ", what, " of ", name(v.dtype), ", not ", name(type)));
        if (!(v.shape() == outputs[0].shape()))
            throw ShapeError(
                text("tape: ", what, " of shape ", to_string(v.shape()), ", not ", to_string(outputs[0].shape())));
    };
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (tape.outputs[i] >= tape.inputs.size() + tape.code.size())
            throw ValueError(
                text("tape: output ", i, " names register ", int{tape.outputs[i]}, ", which does not exist"));
        check_view(outputs[i], type_of(tape, tape.outputs[i]), "an output");
    }
    for (std::size_t i = 0; i < inputs.size() && !outputs.empty(); ++i)
        check_view(inputs[i], tape.inputs[i], "an input");
}

/// One instruction on arrays without gaps: nothing to plan.
bool run_flat(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs, std::int64_t n) {
    if (tape.code.size() != 1 || outputs.size() != 1 || tape.outputs[0] != inputs.size()) return false;
    if (!outputs[0].layout.is_contiguous()) return false;
    for (const View& v : inputs)
        if (!v.layout.is_contiguous()) return false;
    const Instruction& code = tape.code[0];
    const Kernel kernel = kernel_of(kernels(), code);
    const int operands = arity(code.op);
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
        const void* in[3];
        for (int i = 0; i < operands; ++i) {
            const View& v = inputs[code.operands[i]];
            in[i] = v.as<std::byte>() + begin * static_cast<std::int64_t>(size_of(v.dtype));
        }
        kernel(outputs[0].as<std::byte>() + begin * static_cast<std::int64_t>(size_of(outputs[0].dtype)), in,
               end - begin);
    });
    return true;
}

Operand operand_of(const View& v) {
    Operand o{v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), v.layout.strides};
    for (std::int64_t& s : o.strides) s *= o.size;
    return o;
}

/// Scratch slots of registers: one for each input that may need it; then slots shared by results that are not alive at
/// the same time.
class Slots {
  public:
    Slots(const Tape& tape, Plan& plan) : tape_(tape), plan_(plan), last_(tape.inputs.size() + tape.code.size(), -1) {
        for (std::size_t k = 0; k < tape.code.size(); ++k)
            for (int i = 0; i < arity(tape.code[k].op); ++i) last_[tape.code[k].operands[i]] = static_cast<int>(k);
        for (const std::uint8_t r : tape.outputs) last_[r] = static_cast<int>(tape.code.size());
    }

    void assign() {
        const std::size_t inputs = tape_.inputs.size(), outputs = tape_.outputs.size();
        plan_.input_slots.assign(inputs, kNowhere);
        for (std::size_t i = 0; i < inputs; ++i) {
            // An input that is also an output may be in memory where another output goes, so it is copied first.
            const bool stored = last_[i] == static_cast<int>(tape_.code.size());
            if (stored || !always_contiguous(plan_.walk, plan_.operands[outputs + i]))
                plan_.input_slots[i] = plan_.slots++;
        }
        for (std::size_t k = 0; k < tape_.code.size(); ++k) {
            Step& step = plan_.steps[k];
            step.output = direct_output(k);
            const std::size_t reg = inputs + k;
            if (step.output != kNowhere && always_contiguous(plan_.walk, plan_.operands[step.output])) {
                step.slot = kNowhere;
            } else {
                release(k, true);
                step.slot = take();
            }
            owner_.resize(std::max(owner_.size(), static_cast<std::size_t>(plan_.slots)), kNowhere);
            if (step.slot != kNowhere) owner_[step.slot] = static_cast<int>(reg);
            release(k, false);
        }
    }

  private:
    /// The output that instruction k may write directly: nothing that is read later is in its memory.
    int direct_output(std::size_t k) const {
        const std::size_t reg = tape_.inputs.size() + k, outputs = tape_.outputs.size();
        for (std::size_t o = 0; o < outputs; ++o) {
            if (tape_.outputs[o] != reg) continue;
            for (std::size_t i = 0; i < tape_.inputs.size(); ++i) {
                if (plan_.operands[outputs + i].data != plan_.operands[o].data) continue;
                const int last = plan_.input_slots[i] == kNowhere ? last_[i] : -1;
                if (last > static_cast<int>(k)) return kNowhere;
                if (last == static_cast<int>(k) && tape_.inputs[i] != tape_.code[k].result) return kNowhere;
            }
            return static_cast<int>(o);
        }
        return kNowhere;
    }

    /// Frees the slots of results last read by instruction k; before it takes its own slot, only those that it may
    /// overwrite.
    void release(std::size_t k, bool same_type) {
        const Instruction& code = tape_.code[k];
        for (int i = 0; i < arity(code.op); ++i) {
            const int reg = code.operands[i];
            if (last_[reg] != static_cast<int>(k) || (same_type && type_of(tape_, reg) != code.result)) continue;
            for (std::size_t s = 0; s < owner_.size(); ++s)
                if (owner_[s] == reg) {
                    owner_[s] = kNowhere;
                    free_.push_back(static_cast<int>(s));
                }
        }
    }

    int take() {
        if (free_.empty()) return plan_.slots++;
        const int slot = free_.back();
        free_.pop_back();
        return slot;
    }

    const Tape& tape_;
    Plan& plan_;
    std::vector<int> last_;  // the instruction that reads a register last; the number of instructions for an output
    std::vector<int> owner_;  // the register in a slot
    std::vector<int> free_;
};

/// The number of elements for which a block of each input, output and intermediate stays in L1.
std::int64_t block_elements(const Tape& tape, std::size_t widest) {
    constexpr std::size_t kCache = 24 << 10, kTemporaries = 3;
    const std::size_t registers = tape.inputs.size() + tape.outputs.size() + (tape.code.size() > 1 ? kTemporaries : 0);
    const auto fits = static_cast<std::int64_t>(std::bit_floor(kCache / (registers * widest)));
    return std::clamp(fits, kSmallBlock, kBlock);
}

Plan make_plan(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    Plan plan{};
    for (const View& v : outputs) plan.operands.push_back(operand_of(v));
    for (const View& v : inputs) plan.operands.push_back(operand_of(v));
    plan.outputs = tape.outputs;
    const KernelTable& table = kernels();
    std::size_t widest = 1;
    for (const DType type : tape.inputs) widest = std::max(widest, size_of(type));
    for (const Instruction& code : tape.code) {
        const auto& r = code.operands;
        plan.steps.push_back({kernel_of(table, code), arity(code.op), {r[0], r[1], r[2]}, kNowhere, kNowhere});
        widest = std::max(widest, size_of(code.result));
    }
    plan.walk = plan_walk(outputs[0].shape(), plan.operands, block_elements(tape, widest));
    plan.slot_bytes = plan.walk.block * static_cast<std::int64_t>(widest);
    for (std::size_t i = outputs.size(); i < plan.operands.size(); ++i)
        if (plan.walk.tile_rows == 1 && always_contiguous(plan.walk, plan.operands[i]))
            plan.streams.push_back(static_cast<int>(i));
    Slots(tape, plan).assign();
    return plan;
}

/// Runs blocks one after the other, on one thread.
class Runner {
  public:
    explicit Runner(const Plan& plan)
        : plan_(plan), scratch_(scratch(static_cast<std::size_t>(plan.slots * plan.slot_bytes))) {
        std::fill_n(gathered_.begin(), plan.input_slots.size(), Gathered{});
    }

    void run(const Block& block) {
        const std::size_t outputs = plan_.outputs.size(), inputs = plan_.input_slots.size();
        for (std::size_t i = 0; i < inputs; ++i) registers_[i] = input(i, plan_.operands[outputs + i], block);
        for (std::size_t k = 0; k < plan_.steps.size(); ++k) {
            fetch_ahead(k, block);
            const Step& step = plan_.steps[k];
            const void* in[3];
            for (int i = 0; i < step.arity; ++i) in[i] = registers_[step.operands[i]];
            void* out = result(step, block);
            registers_[inputs + k] = out;
            step.kernel(out, in, block.n);
        }
        for (std::size_t o = 0; o < outputs; ++o) {
            const void* from = registers_[plan_.outputs[o]];
            const Operand& operand = plan_.operands[o];
            if (from == address(operand, block) && contiguous(plan_.walk, operand, block)) continue;
            scatter(plan_.walk, operand, block, from);
        }
    }

  private:
    /// The contents of an input's slot, remembered so that a value or row that is broadcast over many blocks is
    /// expanded once.
    struct Gathered {
        const std::byte* from;
        std::int64_t rows, columns;
    };

    std::byte* slot(int i) const { return scratch_ + i * plan_.slot_bytes; }

    /// Prefetches the next block's inputs while this one is processed: a single instruction accesses few of them, and a
    /// block ends where the hardware prefetcher would have continued.
    void fetch_ahead(std::size_t k, const Block& block) const {
        if (plan_.steps.size() < 2) return;
        const std::size_t steps = plan_.steps.size();
        for (const int i : plan_.streams) {
            const Operand& o = plan_.operands[static_cast<std::size_t>(i)];
            const auto bytes = static_cast<std::size_t>(block.n * o.size);
            const std::byte* next = address(o, block) + bytes;
            const std::size_t lines = bytes / 64;
            for (std::size_t l = lines * k / steps; l < lines * (k + 1) / steps; ++l) __builtin_prefetch(next + l * 64);
        }
    }

    void* input(std::size_t i, const Operand& operand, const Block& block) {
        std::byte* from = address(operand, block);
        const int s = plan_.input_slots[i];
        if (s == kNowhere) return from;
        Gathered& held = gathered_[i];
        // A value that all elements share fills any block that is no larger.
        const bool one = std::all_of(operand.strides.begin(), operand.strides.end(), [](auto st) { return st == 0; });
        const bool same =
            held.from == from && (one ? held.rows * held.columns >= block.n
                                      : plan_.walk.tiles && held.columns == block.columns && held.rows >= block.rows);
        if (!same) {
            gather(plan_.walk, operand, block, slot(s));
            held = {from, block.rows, block.columns};
        }
        return slot(s);
    }

    void* result(const Step& step, const Block& block) const {
        if (step.output != kNowhere) {
            const Operand& operand = plan_.operands[step.output];
            if (step.slot == kNowhere || contiguous(plan_.walk, operand, block)) return address(operand, block);
        }
        return slot(step.slot);
    }

    const Plan& plan_;
    std::byte* scratch_;
    std::array<void*, kMaxRegisters> registers_;
    std::array<Gathered, kMaxRegisters> gathered_;
};

}  // namespace

// Exported, as contract is, for `tenon bench`.
TENON_API void run(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs, CachedPlan* kept) {
    if (run_cached_strips(kernels(), inputs, outputs, kept)) return;
    check(tape, inputs, outputs);
    if (outputs.empty()) return;
    const std::int64_t n = outputs[0].layout.count();
    if (n == 0 || run_flat(tape, inputs, outputs, n) || run_strips(kernels(), tape, inputs, outputs, kept)) return;
    const Plan plan = make_plan(tape, inputs, outputs);
    const std::int64_t block_size = std::max<std::int64_t>(1, n / plan.walk.blocks);
    parallel_for(plan.walk.blocks, std::max<std::int64_t>(1, kGrain / block_size),
                 [&](std::int64_t begin, std::int64_t end) {
                     Runner runner(plan);
                     for (std::int64_t i = begin; i < end; ++i) runner.run(block_at(plan.walk, i));
                 });
}

void run_reference(const Tape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    check(tape, inputs, outputs);
    if (outputs.empty()) return;
    const Shape& shape = outputs[0].shape();
    const std::int64_t n = count(shape);
    const KernelTable& table = kernels(Isa::baseline);
    std::vector<std::uint64_t> registers(tape.inputs.size() + tape.code.size());
    Extents index(shape.rank(), 0);
    const auto element = [&](const View& v) {
        return v.as<std::byte>() + v.layout.at(index) * static_cast<std::int64_t>(size_of(v.dtype));
    };
    for (std::int64_t e = 0; e < n; ++e) {
        for (std::size_t i = 0; i < inputs.size(); ++i)
            std::memcpy(&registers[i], element(inputs[i]), size_of(inputs[i].dtype));
        for (std::size_t k = 0; k < tape.code.size(); ++k) {
            const Instruction& code = tape.code[k];
            const void* in[3];
            for (int i = 0; i < arity(code.op); ++i) in[i] = &registers[code.operands[i]];
            kernel_of(table, code)(&registers[inputs.size() + k], in, 1);
        }
        for (std::size_t o = 0; o < outputs.size(); ++o)
            std::memcpy(element(outputs[o]), &registers[tape.outputs[o]], size_of(outputs[o].dtype));
        for (int d = shape.rank() - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
    }
}

}  // namespace tenon::tape
