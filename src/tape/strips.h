// Strips: how a fused tape of mostly float32 work runs at speed. A strip is as many elements as eight vector registers
// hold. The steps of a program are functions that hand the strip on in those registers, each calling the next as its
// last act; what else a step reads or writes is in memory. So a chain of instructions loads and stores no more than a
// loop written for it, and every element's arithmetic is that of the kernels (operations.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tape/kernels.h"

namespace tenon::tape {

/// Where element i of a run stands: base + i step. A step of 0 is memory that every strip uses again.
struct StripPlace {
    std::byte* base = nullptr;
    std::int64_t step = 0;
};

/// What a step reads besides the strip in registers: at[0] to at[2]; what it writes: at[3].
struct StripStep {
    StripHandler handler = nullptr;
    Kernel kernel = nullptr;  // of `any`
    StripPlace at[4];
};

/// A register of a strip program: where its value is, or is to be put. Registers of `nowhere` stay in the vector
/// registers, or in a slot of the strip where that does not do.
struct StripRegister {
    enum class In : std::uint8_t {
        nowhere,
        memory,  // an operand, a repeated value, or what an earlier program left
        result,
    };
    DType type{};
    In in = In::nowhere;
    int place = -1;  // the caller's number of the place, for memory and result
    bool one = false;  // memory: a value that all elements of a run repeat
    bool late = false;  // a result that is written when all has been read
    bool stream = false;  // a result that the caches should not take in
};

/// An instruction, or a reduction of operand 0.
struct StripInstruction {
    bool reduces = false;
    Reduction reduction{};
    Instruction code{};
    int out = 0;  // the register written; of a reduction, the place of its lanes
};

/// A program that is not bound to memory yet.
struct StripProgram {
    /// For each step, by number, its places: below `places` the caller's, then the strip's slots; -1 for none.
    struct Operands {
        int at[4] = {-1, -1, -1, -1};
    };
    std::vector<StripStep> steps;
    std::vector<Operands> operands;
    int places = 0, slots = 0;
    std::vector<char> whole;  // of each place that is one value: whether a whole strip of it is read all the same
    std::vector<char> result;  // of each place: whether it is written
    /// Where places and slots are read and written, 4 step + operand: those of each together, from its `first_use` on.
    std::vector<std::uint32_t> uses, first_use;
};

/// Bytes of a strip's slot, of any dtype.
inline constexpr std::int64_t kSlotBytes = kMaxStrip * 8;

/// A program bound to memory, for one thread. Of n elements the last that are no whole strip run on copies.
class StripRun {
  public:
    /// Scratch that it takes, aligned to a cache line.
    static std::size_t bytes(const StripProgram& program);

    StripRun(const StripTable& table, const StripProgram& program, std::byte* scratch);
    StripRun(StripRun&&) = default;
    StripRun(const StripRun&) = delete;

    /// What a place is for the next runs. `copied` is the bytes of an element where the last part of a run must be
    /// copied from it, or to it, as beyond it is memory of others; else 0, and a whole strip can be read, or written.
    void bind(int place, StripPlace at, std::int64_t copied = 0);
    /// The same, elsewhere.
    void move_to(int place, std::byte* base) {
        const auto i = static_cast<std::size_t>(place);
        places_[i].base = base;
        for (std::uint32_t u = program_.first_use[i]; u < program_.first_use[i + 1]; ++u) use(u).base = base;
    }

    const StripPlace& place(int number) const { return places_[static_cast<std::size_t>(number)]; }

    /// Elements [begin, begin + n), begin a multiple of the width.
    void run(std::int64_t begin, std::int64_t n);

  private:
    void run_part(std::int64_t begin, std::int64_t n);
    StripPlace& use(std::uint32_t u) const { return steps_[program_.uses[u] / 4].at[program_.uses[u] % 4]; }

    const StripTable& table_;
    const StripProgram& program_;
    std::byte* scratch_;
    StripPlace* places_;  // these three in scratch: a run is made for each piece of work
    StripStep* steps_;
    std::int64_t* copied_;
    std::vector<StripStep> last_;
    std::vector<StripPlace> part_;
};

/// Where an operand of a kept plan is now, mostly where it was: a line that is written leaves the other threads'
/// caches.
inline void set_address(std::byte*& at, const View& operand) {
    if (auto* const now = operand.as<std::byte>(); at != now) at = now;
}

/// The operands that something was planned for.
class PlannedFor {
  public:
    PlannedFor(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs);
    /// Whether these have the same dtypes and layouts, and an input is where an output is only where it was then.
    bool fits(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs) const;

  private:
    const KernelTable* table_;
    std::vector<View> inputs_, outputs_;
};

/// Whether strips pay: most instructions run in registers, and reductions are of float32.
bool suits_strips(const StripTable& table, std::span<const StripInstruction> code);

/// Steps for `code`, in order; places [0, places) are the caller's, of which `ahead` are prefetched.
StripProgram make_strips(const KernelTable& table, std::span<const StripRegister> registers,
                         std::span<const StripInstruction> code, int places, std::span<const int> ahead = {});

}  // namespace tenon::tape
