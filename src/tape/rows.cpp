#include "tape/rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/parallel.h"
#include "base/text.h"
#include "tape/rows_problem.h"
#include "tape/rows_strips.h"
#include "tape/scratch.h"
#include "tenon/error.h"

namespace tenon::tape {
namespace {

using namespace rows;

/// Where registers are while a block of rows is visited: a block of elements, or all columns if they are kept.
struct Slots {
    std::vector<std::int64_t> at;  // offset in scratch, or -1
    std::int64_t bytes = 0;
};

/// A block's slot is reused by later registers of the same phase; registers that cross phases have their own.
Slots make_slots(const Problem& p) {
    const RowTape& tape = *p.tape;
    const std::size_t inputs = tape.inputs.size();
    const std::int64_t block = p.block_rows * p.block_columns;
    Slots s;
    s.at.assign(inputs + tape.code.size(), -1);
    const auto fresh = [&](std::int64_t bytes) {
        const std::int64_t at = s.bytes;
        s.bytes += (bytes + 63) / 64 * 64;
        return at;
    };
    for (std::size_t r = 0; r < s.at.size(); ++r) {
        if (per_row(tape, r))
            s.at[r] = fresh(p.block_rows * kWide);
        else if (r < inputs || tape.code[r - inputs].kind == RowTape::Kind::repeat)
            s.at[r] = fresh(block * bytes_of(type_of(tape, r)));
        else if (p.kept[r])
            s.at[r] = fresh(p.block_rows * p.columns * bytes_of(type_of(tape, r)));
    }
    std::vector<std::size_t> last(s.at.size(), 0);  // position in the order after which a register is not read
    for (std::size_t i = 0; i < p.timing.order.size(); ++i) {
        const RowTape::Code& c = tape.code[p.timing.order[i]];
        for (int o = 0; o < operands_of(c); ++o) last[c.instruction.operands[o]] = i;
        last[inputs + p.timing.order[i]] = i;
    }
    for (const std::uint8_t r : tape.outputs) last[r] = tape.code.size();
    std::vector<std::int64_t> free;
    std::vector<std::size_t> live;
    for (std::size_t i = 0; i < p.timing.order.size(); ++i) {
        const std::size_t r = inputs + p.timing.order[i];
        if (s.at[r] < 0) {
            std::erase_if(live, [&](std::size_t l) {
                if (last[l] >= i) return false;
                free.push_back(s.at[l]);
                return true;
            });
            if (free.empty()) {
                s.at[r] = fresh(block * kWide);
            } else {
                s.at[r] = free.back();
                free.pop_back();
            }
            live.push_back(r);
        }
    }
    return s;
}

/// Visits blocks of rows, on one thread.
class Runner {
  public:
    Runner(const Problem& p, const KernelTable& table, const Slots& slots)
        : p_(p), tape_(*p.tape), table_(table), slots_(slots), inputs_(tape_.inputs.size()) {
        lanes_at_ = slots.bytes;
        accumulators_at_ = lanes_at_ + static_cast<std::int64_t>(tape_.code.size()) * kLanes * kWide;
        scratch_ =
            scratch(static_cast<std::size_t>(accumulators_at_ + static_cast<std::int64_t>(tape_.code.size()) * kWide));
        std::fill_n(loaded_.begin(), inputs_, 0);
    }

    void run(std::int64_t block) {
        row_ = block * p_.block_rows;
        rows_ = std::min(p_.block_rows, p_.rows - row_);
        for (std::size_t i = 0; i < inputs_; ++i)
            if (tape_.inputs[i].per_row) {
                gather_rows(p_, p_.inputs[i], row_, rows_, slot(i));
                at_[i] = slot(i);
            }
        for (const Phase& phase : p_.phases) visit(phase);
        for (std::size_t o = 0; o < p_.outputs.size(); ++o)
            if (p_.outputs[o].per_row) scatter_rows(p_, p_.outputs[o], row_, rows_, slot(tape_.outputs[o]));
    }

  private:
    void visit(const Phase& phase) {
        for (std::size_t i = phase.first; i < phase.elements; ++i) apply_rows(p_.timing.order[i]);
        if (phase.elements == phase.end) return;
        for (std::size_t i = phase.elements; i < phase.end; ++i)
            if (tape_.code[p_.timing.order[i]].kind == RowTape::Kind::repeat) repeat(p_.timing.order[i]);
        for (column_ = 0; column_ < p_.columns; column_ += p_.block_columns) {
            columns_ = std::min(p_.block_columns, p_.columns - column_);
            for (const int i : phase.inputs) load(static_cast<std::size_t>(i));
            for (std::size_t i = phase.elements; i < phase.end; ++i) run_code(p_.timing.order[i]);
            for (const int o : phase.outputs) store(static_cast<std::size_t>(o));
        }
    }

    void run_code(std::size_t k) {
        const RowTape::Code& c = tape_.code[k];
        if (c.kind == RowTape::Kind::apply) return apply_elements(k);
        if (c.kind == RowTape::Kind::reduce) reduce(k);
    }

    std::byte* slot(std::size_t reg) const { return scratch_ + slots_.at[reg]; }

    /// Whether the block's elements are contiguous.
    bool together(const Place& o) const {
        const std::int64_t size = bytes_of(o.type);
        if (o.column != size && columns_ > 1) return false;
        return rows_ == 1 || (p_.axes.rank() == 1 && columns_ == p_.columns && o.rows[0] == size * columns_);
    }
    std::byte* address(const Place& o) const { return o.data + offset_of(p_, o, row_) + column_ * o.column; }

    void load(std::size_t i) {
        const Place& o = p_.inputs[i];
        if (together(o)) {
            at_[i] = address(o);
            return;
        }
        at_[i] = slot(i);
        const std::int64_t size = bytes_of(o.type);
        // A row that is the same in every block, such as a bias, is copied once.
        const bool fixed =
            columns_ == p_.columns && std::all_of(o.rows.begin(), o.rows.end(), [](auto s) { return s == 0; });
        if (fixed && loaded_[i] >= rows_) return;
        for (std::int64_t r = 0; r < rows_; ++r)
            move(size, slot(i) + r * columns_ * size, size, o.data + offset_of(p_, o, row_ + r) + column_ * o.column,
                 o.column, columns_);
        loaded_[i] = fixed ? rows_ : 0;
    }

    void store(std::size_t o) {
        const Place& to = p_.outputs[o];
        const std::size_t reg = tape_.outputs[o];
        const std::byte* from = static_cast<const std::byte*>(at_[reg]);
        if (from == address(to) && together(to)) return;
        const std::int64_t size = bytes_of(to.type);
        for (std::int64_t r = 0; r < rows_; ++r)
            move(size, to.data + offset_of(p_, to, row_ + r) + column_ * to.column, to.column,
                 from + r * columns_ * size, size, columns_);
    }

    void apply(std::size_t k, void* out, std::int64_t n) {
        const Instruction& code = tape_.code[k].instruction;
        const void* in[3];
        for (int i = 0; i < arity(code.op); ++i) in[i] = operand(code.operands[i]);
        kernel_of(table_, code)(out, in, n);
        at_[inputs_ + k] = out;
    }
    void apply_rows(std::size_t k) { apply(k, slot(inputs_ + k), rows_); }
    void apply_elements(std::size_t k) {
        const std::size_t reg = inputs_ + k;
        std::byte* out = slot(reg);
        if (p_.kept[reg]) out += column_ * bytes_of(type_of(tape_, reg));
        if (p_.direct[k] >= 0) {
            const Place& to = p_.outputs[static_cast<std::size_t>(p_.direct[k])];
            if (together(to)) out = address(to);
        }
        apply(k, out, rows_ * columns_);
    }

    /// The operand of an instruction; for a register that is kept, this block's part.
    const void* operand(std::size_t reg) const {
        if (!p_.kept[reg]) return at_[reg];
        if (const int o = p_.direct[reg - inputs_]; o >= 0 && together(p_.outputs[static_cast<std::size_t>(o)]))
            return address(p_.outputs[static_cast<std::size_t>(o)]);
        return slot(reg) + column_ * bytes_of(type_of(tape_, reg));
    }

    void repeat(std::size_t k) {
        const RowTape::Code& c = tape_.code[k];
        const std::size_t reg = inputs_ + k;
        const std::int64_t size = bytes_of(c.instruction.result), n = p_.block_columns;
        const std::byte* from = slot(c.instruction.operands[0]);
        for (std::int64_t r = 0; r < rows_; ++r) move(size, slot(reg) + r * n * size, size, from + r * size, 0, n);
        at_[reg] = slot(reg);
    }

    void reduce(std::size_t k) {
        const RowTape::Code& c = tape_.code[k];
        const DType type = c.instruction.type;
        const ReduceKernels& kernels = table_.reduce[static_cast<int>(c.reduction)][static_cast<int>(type)];
        const auto* x = static_cast<const std::byte*>(operand(c.instruction.operands[0]));
        std::byte* lanes = scratch_ + lanes_at_ + static_cast<std::int64_t>(k) * kLanes * kWide;
        std::byte* total = scratch_ + accumulators_at_ + static_cast<std::int64_t>(k) * kWide;
        const std::int64_t accumulator = std::max<std::int64_t>(bytes_of(type), is_floating(type) ? 4 : 1);
        const auto by_row = type == DType::float32 && columns_ == p_.columns && columns_ <= kReduceChunk
                                ? table_.row_kernels.reduce[static_cast<int>(c.reduction)]
                                : nullptr;
        if (by_row) {
            for (std::int64_t r = 0; r < rows_; ++r) {
                const float value = by_row(reinterpret_cast<const float*>(x) + r * columns_, columns_);
                std::memcpy(slot(inputs_ + k) + r * 4, &value, 4);
            }
            at_[inputs_ + k] = slot(inputs_ + k);
            return;
        }
        const std::int64_t in_chunk = column_ % kReduceChunk;
        const std::int64_t chunk = std::min(kReduceChunk, p_.columns - (column_ - in_chunk));
        for (std::int64_t r = 0; r < rows_; ++r) {
            std::int64_t width =
                std::min(kLanes, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(chunk))));
            if (in_chunk == 0) kernels.fill(lanes, width);
            kernels.accumulate(lanes, 1, x + r * columns_ * bytes_of(type), 1, columns_, 0);
            if (in_chunk + columns_ < chunk) continue;
            while ((width /= 2) > 0) kernels.join(lanes, lanes + width * accumulator, width);
            if (column_ < kReduceChunk)
                std::memcpy(total, lanes, static_cast<std::size_t>(accumulator));
            else
                kernels.join(total, lanes, 1);
            if (column_ + columns_ == p_.columns) kernels.store(slot(inputs_ + k) + r * bytes_of(type), total, 1);
        }
        at_[inputs_ + k] = slot(inputs_ + k);
    }

    const Problem& p_;
    const RowTape& tape_;
    const KernelTable& table_;
    const Slots& slots_;
    std::size_t inputs_;
    std::int64_t lanes_at_, accumulators_at_;
    std::byte* scratch_;
    std::int64_t row_ = 0, rows_ = 0, column_ = 0, columns_ = 0;
    // Only those that the tape has are set: to clear all of them would take as long as a short row.
    std::array<const void*, kMaxRegisters> at_;
    std::array<std::int64_t, kMaxRegisters> loaded_;
};

bool comes_before(const RowTape& tape, const Timing& t, std::size_t input, std::size_t output) {
    const std::size_t writes = tape.outputs[output] - tape.inputs.size();
    for (auto at = t.order.rbegin(); at != t.order.rend(); ++at) {
        const RowTape::Code& c = tape.code[*at];
        bool reads = false;
        for (int o = 0; o < operands_of(c); ++o) reads = reads || c.instruction.operands[o] == input;
        if (*at == writes) return !reads || type_of(tape, input) == c.instruction.result;
        if (reads) return false;
    }
    return false;
}

void run_problem(const Problem& p, const KernelTable& table, const Slots& slots) {
    const std::int64_t blocks = (p.rows + p.block_rows - 1) / p.block_rows;
    parallel_for(blocks, std::max<std::int64_t>(1, kGrainElements / (p.block_rows * p.columns)),
                 [&](std::int64_t begin, std::int64_t end) {
                     Runner runner(p, table, slots);
                     for (std::int64_t i = begin; i < end; ++i) runner.run(i);
                 });
}

struct CachedSlotPlan : CachedRowPlan {
    CachedSlotPlan(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
                   const Problem& p, Slots made)
        : CachedRowPlan(table, inputs, outputs, p), kernels(&table), slots(std::move(made)) {}
    void run() const override { run_problem(problem, *kernels, slots); }

    const KernelTable* kernels;
    Slots slots;
};

}  // namespace

void run_rows(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs, CachedPlan* kept) {
    const KernelTable& table = kernels();
    if (run_cached_rows(table, inputs, outputs, kept)) return;
    const Problem p = make_problem(tape, inputs, outputs);
    if (p.rows == 0) return;
    if (p.columns == 0) throw ShapeError("rows: a row has no columns");
    if (run_row_strips(table, p, inputs, outputs, kept)) return;
    Slots slots = make_slots(p);
    run_problem(p, table, slots);
    if (!kept) return;
    const std::shared_ptr<CachedRowPlan> made =
        std::make_shared<CachedSlotPlan>(table, inputs, outputs, p, std::move(slots));
    *kept = made;
}

bool may_overwrite(const RowTape& tape, std::size_t input, std::size_t output) {
    if (tape.inputs[input].per_row || per_row(tape, tape.outputs[output])) return false;
    const std::size_t reg = tape.outputs[output];
    if (tape.code[reg - tape.inputs.size()].kind != RowTape::Kind::apply) return false;
    return comes_before(tape, timing_of(tape), input, output);
}

std::string to_string(const RowTape& tape) {
    std::ostringstream out = classic_stream();
    std::size_t r = 0;
    const auto head = [&](DType type, bool rows) {
        out << "r" << r++ << ":" << name(type) << (rows ? " row" : "") << " = ";
    };
    for (const RowTape::Input& i : tape.inputs) {
        head(i.type, i.per_row);
        out << "input\n";
    }
    constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};
    for (const RowTape::Code& c : tape.code) {
        head(c.instruction.result, c.per_row);
        if (c.kind == RowTape::Kind::apply)
            out << name(c.instruction.op);
        else
            out << (c.kind == RowTape::Kind::repeat ? "repeat" : kReductions[static_cast<int>(c.reduction)]);
        for (int i = 0; i < operands_of(c); ++i) out << " r" << int{c.instruction.operands[i]};
        out << "\n";
    }
    for (const std::uint8_t output : tape.outputs) out << "output r" << int{output} << "\n";
    return std::move(out).str();
}

}  // namespace tenon::tape
