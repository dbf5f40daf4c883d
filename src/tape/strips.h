// Strips: how a fused tape of mostly float32 work runs fast. A strip is as many elements as eight vector registers
// hold. The steps of a program are functions that pass the strip on in those registers, each calling the next as its
// last action; everything else that a step reads or writes is in memory. So a sequence of instructions loads and stores
// no more than a loop written for it, and each element's arithmetic is that of the kernels (operations.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tape/kernels.h"

namespace tenon::tape {

/// Where element i of a run is: base + i step. With step 0 every strip uses the same memory.
struct StripPlace {
    std::byte* base = nullptr;
    std::int64_t step = 0;
};

/// What a step reads besides the strip in registers: at[0] to at[2]; what it writes: at[3]. A prefetch takes at[1].step
/// bytes of at[0].
struct StripStep {
    StripHandler handler = nullptr;
    Kernel kernel = nullptr;  // for `any`
    StripPlace at[4];
};

/// A register of a strip program: where its value is, or will be. Registers of `nowhere` stay in vector registers, or
/// in a slot of the strip if that is not possible.
struct StripRegister {
    enum class In : std::uint8_t {
        nowhere,
        memory,  // an operand, a repeated value, or the result of an earlier program
        result,
    };
    DType type{};
    In in = In::nowhere;
    int place = -1;  // the caller's number of the place, for memory and result
    bool one = false;  // memory: one value that all elements of a run share
    bool late = false;  // a result that is written after everything has been read
    bool stream = false;  // a result that is stored past the caches
};

/// An instruction, or a reduction of operand 0.
struct StripInstruction {
    bool reduces = false;
    Reduction reduction{};
    Instruction code{};
    int out = 0;  // the register written; for a reduction, the place of its lanes
};

/// A program that is not yet bound to memory.
struct StripProgram {
    /// The places of each step, by number: below `places` the caller's, then the strip's slots; -1 for none.
    struct Operands {
        int at[4] = {-1, -1, -1, -1};
    };
    std::vector<StripStep> steps;
    std::vector<Operands> operands;
    int places = 0, slots = 0;
    std::vector<char> whole;  // for each place that is one value: whether a whole strip of it is read anyway
    std::vector<char> result;  // for each place: whether it is written
    /// Where places and slots are read and written, as bytes from the first step: those of place i from first_use[i].
    std::vector<std::uint32_t> uses, first_use;
};

/// Bytes of a strip's slot, for any dtype.
inline constexpr std::int64_t kSlotBytes = kMaxStrip * 8;

/// A program bound to memory, for one thread. If n is not a multiple of a strip, the last elements run on copies.
class StripRun {
  public:
    /// Bytes of scratch that it takes, aligned to a cache line.
    static std::size_t bytes(const StripProgram& program);

    StripRun(const StripTable& table, const StripProgram& program, std::byte* scratch);
    StripRun(StripRun&&) = default;
    StripRun(const StripRun&) = delete;

    /// What a place is in the next runs. `copied` is the bytes of an element if the last part of a run must be copied,
    /// because other data follows it in memory; 0 if a whole strip may be read or written.
    void bind(int place, StripPlace at, std::int64_t copied = 0);
    /// The same place at another address.
    void move_to(int place, std::byte* base) {
        const auto i = static_cast<std::size_t>(place);
        places_[i].base = base;
        for (std::uint32_t u = program_.first_use[i]; u < program_.first_use[i + 1]; ++u) use(u).base = base;
    }

    const StripPlace& place(int number) const { return places_[static_cast<std::size_t>(number)]; }

    /// Elements [begin, begin + n); begin is a multiple of the width.
    void run(std::int64_t begin, std::int64_t n);

  private:
    void run_part(std::int64_t begin, std::int64_t n);
    StripPlace& use(std::uint32_t u) const {
        return *reinterpret_cast<StripPlace*>(reinterpret_cast<std::byte*>(steps_) + program_.uses[u]);
    }

    const StripTable& table_;
    const StripProgram& program_;
    std::byte* scratch_;
    StripPlace* places_;  // these three in scratch: a run is made for each piece of work
    StripStep* steps_;
    std::int64_t* copied_;
    std::vector<StripStep> last_;
    std::vector<StripPlace> part_;
};

/// Sets the address of an operand of a kept plan. It writes only if the address has changed: a written line leaves the
/// other threads' caches.
inline void set_address(std::byte*& at, const View& operand) {
    if (auto* const now = operand.as<std::byte>(); at != now) at = now;
}

/// The operands for which something was planned.
class PlannedFor {
  public:
    PlannedFor(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs);
    /// Whether these have the same dtypes and layouts, and inputs share memory with outputs only where they did then.
    /// `any_rows`: whatever their first extent is.
    bool fits(const KernelTable& table, std::span<const View> inputs, std::span<const View> outputs,
              bool any_rows = false) const;

  private:
    const KernelTable* table_;
    std::vector<View> inputs_, outputs_;
};

/// Whether strips pay: most instructions run in registers, and reductions are of float32.
bool suits_strips(const StripTable& table, std::span<const StripInstruction> code);

/// A place whose strips are prefetched, and the bytes of an element.
struct StripAhead {
    int place;
    std::int64_t size;
};

/// Steps for `code`, in order. Places [0, places) are the caller's, of which `ahead` are prefetched.
StripProgram make_strips(const KernelTable& table, std::span<const StripRegister> registers,
                         std::span<const StripInstruction> code, int places, std::span<const StripAhead> ahead = {});

}  // namespace tenon::tape
