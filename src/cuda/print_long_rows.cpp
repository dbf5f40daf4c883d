#include <algorithm>

#include "base/text.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {
namespace {

using tape::RowTape;
using Kind = RowTape::Kind;

constexpr int kBatch = 8;  // steps of a part that are computed before it is checked whether their operands were usual
constexpr const char* kLeave = "barrier_arrive(empty + 8 * slot);";  // said by each thread that has read its part

/// Prints the kernel of long rows. Blocks are persistent and take row after row. The copy engine loads a row into
/// shared memory, piece by piece, and a piece of the next row as soon as a piece of this row has been read for the last
/// time. Every phase reads the row there, and computes again what earlier phases computed. A piece has two parts, and a
/// warp takes a part. Where a reduction is in order, the 64 lanes of a chunk are passed from the warp that has a part
/// of it to the warp that has the next part, which computes its values before it waits for them.
///
/// Barriers, by their names in the kernel: `full` and `empty` of a slot say that a piece has arrived, and that it has
/// been read for the last time; `passed` of a part says that its lanes may go on; `ended` says that all warps have
/// given their parts of the last reductions.
class LongPrinter : RowPrinter {
  public:
    LongPrinter(const RowTape& tape, const LongForm& form) : RowPrinter(tape, {}), form_(form) {
        for (std::size_t p = 0; p < plan_.phases.size(); ++p)
            if (plan_.phases[p].visits_columns()) last_ = p;
        early_.resize(inputs_ + tape_.code.size());
        for (std::size_t k = tape_.code.size(); k-- > 0;) {
            const RowTape::Code& c = tape_.code[k];
            const bool reads = c.kind == Kind::repeat || (c.kind == Kind::apply && c.per_row && early_[inputs_ + k]);
            for (int i = 0; reads && i < tape::operands_of(c); ++i) early_[c.instruction.operands[i]] = true;
        }
    }

    std::string print() {
        leaves_early_ = leaves_early();
        head();
        for (std::size_t p = 0; p <= last_; ++p) phase(plan_.phases[p], p == last_);
        // Values of rows remain. One warp computes them, one of those with the fewest pieces.
        if (leaves_early_)
            line(
                "        barrier_arrive(ended);\n        if (warp == kWarps - 1) {\n            barrier_wait(ended, "
                "place);");
        else
            line("        if (warp == kWarps - 1) {");
        if (leaves_early_) collect(plan_.phases[last_]);
        row_inputs(false);
        for (std::size_t p = 0; p < plan_.phases.size(); ++p) row_values(plan_.phases[p], p <= last_, false);
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o)
            if (const std::size_t r = tape_.outputs[o]; rows(r))
                line("            if (thread == 0) *y", o, " = narrow<", type(r), ">(r", r, ");");
        line("        }");
        // The next row overwrites the results of this row's reductions in shared memory. With two barriers a row,
        // another one lies in between.
        if (joins_ < 2 && !leaves_early_) line("        together();");
        if (leaves_early_) line("        place ^= 1;");
        line("        if ((first += kPieces) >= kSlots) first -= kSlots, round ^= 1;\n    }\n}");
        return std::move(out_).str();
    }

  private:
    /// Whether all warps but the last go on to the next row once they have given their parts of the last reductions.
    /// The results of these are overwritten only after the next row's first barrier, at which the last warp arrives,
    /// too. The results of earlier reductions have two places, which rows use in turn, as a warp may still read those
    /// of this row.
    bool leaves_early() const {
        int joins = 0;
        bool passes = false;
        for (std::size_t p = 0; p < last_; ++p) {
            joins += plan_.phases[p].visits_columns() && !plan_.phases[p].reductions.empty();
            passes = passes || by_lanes(plan_.phases[p]);
        }
        return joins > 0 && !passes && !plan_.phases[last_].reductions.empty();
    }
    bool has_two_places(std::size_t k) const {
        const auto& last = plan_.phases[last_].reductions;
        return leaves_early_ && std::find(last.begin(), last.end(), k) == last.end();
    }
    std::string place_of(std::size_t k) const { return text("w", k, has_two_places(k) ? "[place]" : ""); }

    bool by_lanes(const RowPhase& plan) const {
        return std::any_of(plan.reductions.begin(), plan.reductions.end(), [&](std::size_t k) { return in_order(k); });
    }

    void head() {
        constants();
        begin();
        load_pieces();
        shared_results();
        line("    int first = 0;  // slot of the row's first piece\n    uint32_t round = 0, parity = 0",
             leaves_early_ ? ", place = 0;" : ";");
        line("    for (long long row = blockIdx.x; row < p.rows; row += gridDim.x) {");
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) pointer("y", o, tape_.outputs[o], o);
        row_inputs(true);
    }

    void constants() {
        line(
            "#include \"cuda/hopper.cuh\"\n#include \"cuda/register_rows.cuh\"\nusing namespace tenon;\nusing "
            "namespace tenon::cuda;\n");
        line(
            "constexpr int kAxes = ", form_.axes, ", kAccess = ", form_.access, ", kPieces = ", form_.pieces,
            ", kSlots = ", form_.slots, ", kWarps = ", form_.warps, ", kBlocks = ", form_.blocks,
            ", kKept = ", form_.kept, ", kOperands = ", tape_.outputs.size() + inputs_, ", kPiece = ", kLongPiece,
            ", kPart = kPiece / 2, kSteps = kPart / kLanes, kPiecesOfChunk = kChunk / kPiece, kPartsOfChunk = kChunk / "
            "kPart, kWhole = kPieces / kPiecesOfChunk, kRest = kPieces % kPiecesOfChunk, kChunks = kWhole + (kRest > "
            "0);");
        out_ << "constexpr int kSlotBytes = 0";
        for (std::size_t i = 0; i < inputs_; ++i)
            if (!rows(i)) out_ << " + kPiece * static_cast<int>(sizeof(Stored<" << type(i) << ">))";
        out_ << R"(;
using Team = RowTeam<32, 2>;
template <int v>
struct Own {
    static constexpr int value = v;
};
)" << kRowParameters
             << R"(
/// The piece that is loaded in a turn. Warps take pieces in the same order. Neighbouring turns have pieces of different
/// chunks, so that few warps wait for lanes of the same chunk.
__forceinline__ int piece_of(int turn) {
    if (turn < kRest * kChunks) return turn % kChunks * kPiecesOfChunk + turn / kChunks;
    turn -= kRest * kChunks;
    return turn % kWhole * kPiecesOfChunk + kRest + turn / kWhole;
}
/// Synchronizes the warps that compute.
__forceinline__ void together() { asm volatile("bar.sync 1, %0;" ::"n"(32 * kWarps) : "memory"); }

)";
    }

    /// Prints the beginning of the kernel: shared memory and its barriers.
    void begin() {
        out_
            << R"(extern "C" __global__ void __launch_bounds__(32 * (kWarps + 1), kBlocks) long_rows(const __grid_constant__ Parameters p) {
    extern __shared__ __align__(128) unsigned char memory[];
    __shared__ __align__(8) uint64_t barriers[2 * kSlots + 2 * kPieces + 1];
    __shared__ unsigned char order[kPieces];
    const uint32_t full = pinned(shared_address(barriers)), empty = full + 8 * kSlots, passed = empty + 8 * kSlots,
                   ended = passed + 16 * kPieces, orders = pinned(shared_address(order)), slots = pinned(shared_address(memory));
    const int thread = threadIdx.x % 32, warp = threadIdx.x / 32, columns = static_cast<int>(p.columns);
    for (int i = threadIdx.x; i < 2 * kSlots + 2 * kPieces; i += blockDim.x)
        barrier_init(full + 8 * i, i < kSlots ? 1 : i < 2 * kSlots ? 64 : 32);
    if (threadIdx.x == 0) barrier_init(ended, 32 * kWarps);
    for (int i = threadIdx.x; i < kPieces; i += blockDim.x) order[i] = static_cast<unsigned char>(piece_of(i));
    barriers_ready();
    __syncthreads();
    wait_for_turn();
)";
    }

    /// Prints the warp that asks for the pieces of all rows. All of its threads follow the pieces, so that addresses
    /// and counts are the warp's own; one of them asks.
    void load_pieces() {
        out_ << R"(    if (warp == kWarps) {
        const bool asks = elected();
        Turn at{0, 1};
        for (long long row = blockIdx.x; row < p.rows; row += gridDim.x) {
)";
        for (std::size_t i = 0; i < inputs_; ++i)
            if (!rows(i))
                line("            const Stored<", type(i), ">* const x", i, " = pinned(static_cast<const Stored<",
                     type(i), ">*>(p.operands[", tape_.outputs.size() + i, "].data) + offset_of(p, p.operands[",
                     tape_.outputs.size() + i, "], row));");
        line(
            "            for (int turn = 0; turn < kPieces; ++turn, at.next(kSlots)) {\n                const int "
            "begin = "
            "load_shared<unsigned char, 1>(orders + turn).at[0] * kPiece, n = min(kPiece, columns - begin);\n          "
            "      barrier_wait(empty + 8 * "
            "at.slot, "
            "at.parity);\n                if (!asks) continue;\n                barrier_expect(full + 8 * at.slot, n * "
            "(kSlotBytes / kPiece));\n                uint32_t to = slots + at.slot * kSlotBytes;");
        for (std::size_t i = 0; i < inputs_; ++i)
            if (!rows(i)) {
                const std::string size = text("static_cast<int>(sizeof(Stored<", type(i), ">))");
                line("                load_bytes(to, x", i, " + begin, n * ", size,
                     ", full + 8 * at.slot);\n                to += kPiece * ", size, ";");
            }
        line("            }\n        }\n        return;\n    }");
    }

    /// Prints shared memory for the results of reductions, and for the lanes of those in order.
    void shared_results() {
        for (std::size_t k = 0; k < tape_.code.size(); ++k) {
            if (tape_.code[k].kind != Kind::reduce) continue;
            line("    __shared__ __align__(16) ", accumulator(k), " w", k, has_two_places(k) ? "[2]" : "",
                 in_order(k) ? "[kChunks]" : "[kWarps]", ";");
            if (in_order(k))
                line("    __shared__ __align__(16) Pack<", accumulator(k), ", 2> c", k,
                     "[kChunks][32];\n    const uint32_t d", k, " = pinned(shared_address(c", k, "));");
        }
    }

    /// Prints loads of the row inputs that elements read (`early`), or of all others. One warp needs the others at the
    /// end; if every warp loaded them, all would wait for memory. row_values divides values of rows in the same way.
    void row_inputs(bool early) {
        for (std::size_t i = 0; i < inputs_; ++i) {
            if (!rows(i) || early_[i] != early) continue;
            pointer("x", i, i, tape_.outputs.size() + i);
            line("    const Wide<", type(i), "> r", i, " = widen<", type(i), ">(*x", i, ");");
        }
    }
    void row_values(const RowPhase& plan, bool visits, bool early) {
        RowPhase some;
        for (const std::size_t k : plan.rows)
            if ((visits && early_[inputs_ + k]) == early) some.rows.push_back(k);
        RowPrinter::row_values(some);
    }

    void neutrals(const RowPhase& plan) {
        for (const std::size_t k : plan.reductions) {
            if (in_order(k)) continue;
            line("        ", accumulator(k), " a", k, " = neutral<", operation(k), ", ", accumulator(k), ">();");
            if (in_pairs(plan))
                line("        unsigned h", k, "[kAccess / 2];\n        for (unsigned& h : h", k,
                     ") h = 0x10001u * narrow<", type(*pairs_of(k)), ">(neutral<", operation(k), ", float>());");
        }
    }

    /// Prints the beginning of a turn, in which a warp takes a part or a whole piece.
    void begin_turn(bool pieces) {
        const std::string order = text("load_shared<unsigned char, 1>(orders + turn", pieces ? "" : " / 2", ").at[0]");
        if (pieces)
            line("            const int begin = ", order,
                 " * kPiece, n = min(kPiece, columns - begin), at_slot = first + turn");
        else
            line("            const int part = 2 * ", order,
                 " + turn % 2, begin = part * kPart, n = min(kPart, columns - begin), at_slot = first + turn / 2");
        line("                      , wraps = at_slot >= kSlots, slot = at_slot - (wraps ? kSlots : 0);");
        if (!visible_) line("            barrier_wait(full + 8 * slot, round ^ wraps);");
        line("            uint32_t at = slots + slot * kSlotBytes;");
        for (std::size_t i = 0; i < inputs_; ++i)
            if (!rows(i))
                line("            const uint32_t s", i, " = at",
                     pieces ? "" : text(" + turn % 2 * kPart * sizeof(Stored<", type(i), ">)"),
                     ";\n            at += kPiece * sizeof(Stored<", type(i), ">);");
    }

    void phase(const RowPhase& plan, bool last) {
        row_values(plan, true, true);
        if (!plan.visits_columns()) return;
        neutrals(plan);
        usual_ = has_usual_forms(plan);
        if (usual_) divisors(plan);
        // Phases that pass lanes on count the warps from the first, the others from the last, so that no warp has an
        // extra part in both.
        const bool lanes = by_lanes(plan), pieces = !lanes && in_pairs(plan);
        if (form_.kept > 0 && lanes) {
            kept_parts(plan);
        } else {
            if (form_.kept > 0) keep_parts(plan);
            line("        for (int turn = ",
                 lanes             ? "warp"
                 : form_.kept == 0 ? "kWarps - 1 - warp"
                 : pieces          ? "kKept * kWarps / 2 + kWarps - 1 - warp"
                                   : "warp + kKept * kWarps",
                 "; turn < ", pieces ? "" : "2 * ", "kPieces; turn += kWarps) {");
            begin_turn(pieces);
            lanes ? part_by_lanes(plan, last) : pieces ? piece_of_pairs(plan, last) : part_of_elements(plan, last);
            line("        }");
        }
        if (lanes) line("        parity ^= 1;");
        if (plan.reductions.empty()) return;
        contribute(plan);
        if (last && leaves_early_) return;
        line("        together();");
        ++joins_;
        visible_ = true;
        collect(plan);
    }

    /// Prints the first phase for parts that stay in registers until the last phase. Their slots are free before this
    /// row's maximum is known, so that the next row can be loaded into them.
    void keep_parts(const RowPhase& plan) {
        const std::size_t r = plan.loads[0];
        line("        Twins<", type(r),
             "> kept[kKept][kSteps];\n#pragma unroll\n        for (int own = 0; own < kKept; ++own) {\n            "
             "const int turn = "
             "warp + own * kWarps;");
        begin_turn(false);
        line("            const auto steps = [&](auto whole) {\n                const uint32_t m", r, " = pinned(s", r,
             " + 2 * thread * sizeof(Stored<", type(r),
             ">));\n#pragma unroll\n                for (int i = 0; i < kSteps; ++i)\n                    if (whole || "
             "i * kLanes + 2 "
             "* thread < n) kept[own][i].load(m",
             r, " + i * kLanes * sizeof(Stored<", type(r), ">));\n                ", kLeave,
             "\n#pragma unroll\n                for (int i = 0; i < kSteps; ++i) {\n                    if (!whole && "
             "i * "
             "kLanes + 2 * thread >= n) continue;");
        in_pairs(plan) ? reduce_kept_pairs(plan) : reduce_kept(plan);
        line(
            "                }\n            };\n            if (n == kPart)\n                "
            "steps(Constant<true>());\n            "
            "else if (n > 0)\n                steps(Constant<false>());\n            else\n                "
            "barrier_arrive(empty + 8 * "
            "slot);\n        }");
    }
    void reduce_kept_pairs(const RowPhase& plan) {
        for (const std::size_t k : plan.reductions)
            line("                    h", k, "[i % (kAccess / 2)] = extremes<", operation(k), ", ", type(plan.loads[0]),
                 ">(h", k, "[i % (kAccess / 2)], kept[own][i].both);");
    }
    void reduce_kept(const RowPhase& plan) {
        const std::size_t r = plan.loads[0];
        line("#pragma unroll\n                    for (int j = 0; j < 2; ++j) {\n                        const Wide<",
             type(r), "> r", r, " = kept[own][i].at(j);");
        elements(plan, false);
        reduce(plan);
        line("                    }");
    }
    /// Prints the last phase, for those parts and then for the others.
    void kept_parts(const RowPhase& plan) {
        line(
            "        const auto one = [&](int turn, auto which) {\n            constexpr int own = "
            "decltype(which)::value;");
        begin_turn(false);
        part_by_lanes(plan, true);
        line("        };");
        for (int k = 0; k < form_.kept; ++k) line("        one(warp + ", k, " * kWarps, Own<", k, ">());");
        line(
            "        for (int turn = warp + kKept * kWarps; turn < 2 * kPieces; turn += kWarps) one(turn, Own<-1>());");
    }

    bool in_pairs(const RowPhase& plan) const {
        return form_.access % 2 == 0 && plan.outputs.empty() &&
               std::all_of(plan.reductions.begin(), plan.reductions.end(),
                           [&](std::size_t k) { return pairs_of(k).has_value(); });
    }

    /// Prints a turn of which only extremes are needed, two elements to an instruction.
    void piece_of_pairs(const RowPhase& plan, bool last) {
        line("            const auto some = [&](int e) {");
        for (const std::size_t k : plan.reductions) {
            const std::size_t r = *pairs_of(k);
            line("                const auto l", k, " = load_shared<unsigned, kAccess / 2>(s", r,
                 " + 2 * e);\n#pragma unroll\n                for (int i = 0; i < kAccess / 2; ++i) h", k,
                 "[i] = extremes<", operation(k), ", ", type(r), ">(h", k, "[i], l", k, ".at[i]);");
        }
        line("            };");
        over("kPiece", 8);
        if (last) line("            ", kLeave, "\n            ", kLeave);  // one arrival for each part
    }

    /// Prints a loop that calls `some` for all elements of a part or piece.
    void over(const char* size, int unrolled) {
        line("            if (n == ", size, ") {\n#pragma unroll ", unrolled, "\n                for (int e = 0; e < ",
             size,
             "; e += 32 * kAccess) some(e + thread * kAccess);\n            "
             "} "
             "else {\n#pragma unroll 1\n                for (int e = thread * kAccess; e < n; e += 32 * kAccess) "
             "some(e);\n            }");
    }

    /// Prints a turn in which nothing is summed in order; a thread has kAccess contiguous elements at a time.
    void part_of_elements(const RowPhase& plan, bool last) {
        line("            const auto some = [&](int e) {");
        for (const std::size_t r : plan.loads)
            line("                const auto l", r, " = load_shared<Stored<", type(r), ">, kAccess>(s", r,
                 " + e * sizeof(Stored<", type(r), ">));");
        for (const std::size_t o : plan.outputs)
            line("                Pack<Stored<", type(tape_.outputs[o]), ">, kAccess> o", o, ";");
        twice(plan, [&](bool usual) {
            line("#pragma unroll\n                for (int i = 0; i < kAccess; ++i) {");
            for (const std::size_t r : plan.loads)
                line("                    const Wide<", type(r), "> r", r, " = widen<", type(r), ">(l", r, ".at[i]);");
            elements(plan, usual);
            reduce(plan);
            for (const std::size_t o : plan.outputs)
                line("                    o", o, ".at[i] = narrow<", type(tape_.outputs[o]), ">(r",
                     int{tape_.outputs[o]}, ");");
            line("                }");
        });
        for (const std::size_t o : plan.outputs) line("                store_pack(y", o, " + begin + e, o", o, ");");
        line("            };");
        over("kPart", usual_ ? 1 : 8);
        if (last) line("            ", kLeave);
    }

    /// Prints a turn for a part of a chunk whose lanes are passed on; a thread has two of the lanes, for 16 steps.
    void part_by_lanes(const RowPhase& plan, bool last) {
        line("            const int chunk = part / kPartsOfChunk;\n            const auto steps = [&](auto whole) {");
        for (const std::size_t r : plan.loads)
            line("            const uint32_t m", r, " = pinned(s", r, " + 2 * thread * sizeof(Stored<", type(r),
                 ">));\n            Twins<", type(r), "> l", r, "[kSteps];");
        for (const std::size_t k : plan.reductions)
            if (in_order(k))
                line("            Pack<", accumulator(k), ", 2> a", k, "{neutral<", operation(k), ", ", accumulator(k),
                     ">(), neutral<", operation(k), ", ", accumulator(k), ">()};\n            Wide<",
                     type(tape_.code[k].instruction.operands[0]), "> v", k, "[kSteps][2];");
        if (form_.kept > 0)
            line(
                "            if constexpr (own >= 0) {\n#pragma unroll\n                for (int i = 0; i < kSteps; "
                "++i) l",
                plan.loads[0], "[i] = kept[own][i];\n            } else {");
        line("#pragma unroll\n            for (int i = 0; i < kSteps; ++i) {");
        for (const std::size_t r : plan.loads)
            line("                if (whole || i * kLanes + 2 * thread < n) l", r, "[i].load(m", r,
                 " + i * kLanes * sizeof(Stored<", type(r), ">));");
        line("            }");
        if (last) line("            ", kLeave);
        if (form_.kept > 0) line("            }");
        values_of_part(plan);
        pass_lanes(plan);
        line(
            "            };\n            if (n == kPart)\n                steps(Constant<true>());\n            else "
            "if "
            "(n > 0)\n                steps(Constant<false>());");
        if (last)
            line("            else", form_.kept > 0 ? " if (own < 0)" : "",
                 "\n                barrier_arrive(empty + 8 * slot);");
    }

    /// Prints the values of such a part, before its turn to add them comes.
    void values_of_part(const RowPhase& plan) {
        if (const std::optional<Below> d = below_maximum(plan)) {
            line("            if (is_usual_below(l", d->input, ", r", d->maximum,
                 ")) {\n                bool unusual = false;");
            steps_of(plan, "0", "kSteps", true);
            line("            } else {");
            exactly_ = true;
            steps_of(plan, "0", "kSteps", false);
            exactly_ = false;
        } else {
            line("#pragma unroll\n            for (int b = 0; b < kSteps; b += ", kBatch, ") {");
            twice(plan, [&](bool usual) { steps_of(plan, "b", text("b + ", kBatch), usual); });
        }
        line("            }");
    }

    /// Prints how a warp receives the lanes of its chunk, adds its values and passes the lanes on, or joins them.
    void pass_lanes(const RowPhase& plan) {
        line(
            "            if (part % kPartsOfChunk > 0) {\n                barrier_wait(passed + 8 * "
            "part, "
            "parity);");
        for (const std::size_t k : plan.reductions)
            if (in_order(k))
                line("                a", k, " = load_shared<", accumulator(k), ", 2>(", lanes_of(k), ");");
        line("            }");
        for (const std::size_t k : plan.reductions)
            if (in_order(k))
                line(
                    "#pragma unroll\n            for (int i = 0; i < kSteps; ++i)\n#pragma unroll\n                "
                    "for (int j = 0; j < 2; ++j)\n                    if (whole || i * kLanes + 2 * thread < n) a",
                    k, ".at[j] = combine<", operation(k), ">(a", k, ".at[j], accumulable<",
                    type(tape_.code[k].instruction.operands[0]), ">(v", k, "[i][j]));");
        line("            if (part % kPartsOfChunk == kPartsOfChunk - 1 || begin + kPart >= columns) {");
        for (const std::size_t k : plan.reductions)
            if (in_order(k))
                line("                const ", accumulator(k), " t", k, " = Team::join<", operation(k), ">(a", k,
                     ".at);\n                if (thread == 0) ", place_of(k), "[chunk] = t", k, ";");
        line("            } else {");
        for (const std::size_t k : plan.reductions)
            if (in_order(k)) line("                store_shared(", lanes_of(k), ", a", k, ");");
        line("                barrier_arrive(passed + 8 * (part + 1));\n            }");
    }

    /// The address in shared memory through which a thread's lanes of a chunk are passed on.
    std::string lanes_of(std::size_t k) const { return text("d", k, " + (chunk * 32 + thread) * sizeof(a", k, ")"); }

    /// Prints the values of some steps of such a part.
    void steps_of(const RowPhase& plan, const char* begin, const std::string& end, bool usual) {
        line("#pragma unroll\n                for (int i = ", begin, "; i < ", end,
             "; ++i) {\n#pragma unroll\n                    for (int j = 0; j < 2; ++j) {");
        for (const std::size_t r : plan.loads)
            line("                        const Wide<", type(r), "> r", r, " = l", r, "[i].at(j);");
        elements(plan, usual);
        for (const std::size_t k : plan.reductions)
            if (in_order(k))
                line("                        v", k, "[i][j] = r", int{tape_.code[k].instruction.operands[0]}, ";");
        line("                        if (!whole && i * kLanes + 2 * thread >= n) continue;");
        reduce(plan);
        line("                    }\n                }");
    }

    /// Prints elements in the forms for usual operands, and again in the exact forms for where an operand was not
    /// usual.
    template <class F>
    void twice(const RowPhase& plan, F print) {
        if (!usual_) return print(false);
        line("                bool unusual = unusual", number_, ";");
        for (const std::size_t k : plan.reductions)
            if (!in_order(k)) line("                const ", accumulator(k), " b", k, " = a", k, ";");
        print(true);
        line("                if (unusual) {");
        for (const std::size_t k : plan.reductions)
            if (!in_order(k)) line("                a", k, " = b", k, ";");
        exactly_ = true;
        print(false);
        exactly_ = false;
        line("                }");
    }

    void elements(const RowPhase& plan, bool usual) {
        const std::vector<std::string> names = this->names();
        for (const std::size_t r : plan.computes) {
            const RowTape::Code& c = tape_.code[r - inputs_];
            line("                        const Wide<", type(r), "> r", r, " = ",
                 c.kind == Kind::repeat ? names[c.instruction.operands[0]] : value(c, names, usual), ";");
        }
    }
    /// Prints how elements enter the reductions whose order is free.
    void reduce(const RowPhase& plan) {
        for (const std::size_t k : plan.reductions) {
            const std::size_t from = tape_.code[k].instruction.operands[0];
            if (!in_order(k))
                line("                        a", k, " = combine<", operation(k), ">(a", k, ", accumulable<",
                     type(from), ">(r", from, "));");
        }
    }

    /// Prints how a warp joins its part of the reductions whose order is free, and stores it in shared memory.
    void contribute(const RowPhase& plan) {
        for (const std::size_t k : plan.reductions) {
            if (in_order(k)) continue;
            if (in_pairs(plan)) {
                const std::string half = type(*pairs_of(k));
                line("#pragma unroll\n        for (int i = 1; i < kAccess / 2; ++i) h", k, "[0] = extremes<",
                     operation(k), ", ", half, ">(h", k, "[0], h", k, "[i]);\n        a", k, " = combine<",
                     operation(k), ">(widen<", half, ">(h", k, "[0] & 0xffff), widen<", half, ">(h", k, "[0] >> 16));");
            }
            line("#pragma unroll\n        for (int half = 16; half > 0; half /= 2) a", k, " = combine<", operation(k),
                 ">(a", k, ", shuffle_xor(a", k, ", half));\n        if (thread == 0) ", place_of(k), "[warp] = a", k,
                 ";");
        }
    }
    /// Prints how the parts of all warps or chunks are joined, after a barrier.
    void collect(const RowPhase& plan) {
        for (const std::size_t k : plan.reductions)
            line("        ", accumulator(k), " t", k, " = ", place_of(k),
                 "[0];\n#pragma unroll\n        for (int i = 1; i < ", in_order(k) ? "kChunks" : "kWarps", "; ++i) t",
                 k, " = combine<", operation(k), ">(t", k, ", ", place_of(k), "[i]);\n        const Wide<",
                 type(inputs_ + k), "> r", inputs_ + k, " = reduced<", type(inputs_ + k), ">(t", k, ");");
    }

    const LongForm& form_;
    std::size_t last_ = 0;  // the last phase that visits the columns
    int joins_ = 0;  // barriers of all computing threads in a row, so far
    bool leaves_early_ = false;
    std::vector<bool> early_;  // registers of rows that elements read, directly or not
    // Whether the phase has forms for usual operands; whether all threads know that the whole row has arrived.
    bool usual_ = false, visible_ = false;
};

}  // namespace

std::string print(const RowTape& tape, const LongForm& form) { return LongPrinter(tape, form).print(); }

bool prints_long(const RowTape& tape) {
    const RowPlan plan = plan_of(tape, {});
    bool visits = false;
    for (const RowPhase& phase : plan.phases) {
        visits = visits || phase.visits_columns();
        const bool ordered = std::any_of(phase.reductions.begin(), phase.reductions.end(), [&](std::size_t k) {
            const RowTape::Code& c = tape.code[k];
            return is_floating(c.instruction.type) &&
                   (c.reduction == tape::Reduction::sum || c.reduction == tape::Reduction::prod);
        });
        if (ordered && !phase.outputs.empty()) return false;
    }
    return visits;
}

bool keeps_parts(const RowTape& tape) {
    std::vector<RowPhase> visits;
    for (RowPhase& phase : plan_of(tape, {}).phases)
        if (phase.visits_columns()) visits.push_back(std::move(phase));
    const auto ordered = [&](const RowPhase& phase) {
        return std::any_of(phase.reductions.begin(), phase.reductions.end(), [&](std::size_t k) {
            const RowTape::Code& c = tape.code[k];
            return is_floating(c.instruction.type) &&
                   (c.reduction == tape::Reduction::sum || c.reduction == tape::Reduction::prod);
        });
    };
    return visits.size() == 2 && visits[0].loads.size() == 1 && visits[0].loads == visits[1].loads &&
           visits[0].loads[0] < tape.inputs.size() && visits[0].outputs.empty() && !ordered(visits[0]) &&
           ordered(visits[1]);
}

}  // namespace tenon::cuda
