#include <algorithm>

#include "base/text.h"
#include "cuda/row_printer.h"

namespace tenon::cuda {
namespace {

std::int64_t two_pieces(const LongForm& form, DType type) {
    return std::int64_t{2} * form.steps * form.warps * 64 * (size_of(type) == 8 ? 8 : 4);
}

/// A cluster takes a row, a block of it a chunk of the reductions. The chunk goes by in pieces of kPiece steps: the
/// first kCompute warps compute, and leave what is summed in shared memory, where the last warp adds it up in order
/// while they compute the next piece. What several phases read of memory stays in shared memory between them; a thread
/// reads what it wrote itself.
class LongPrinter : RowPrinter {
  public:
    LongPrinter(const RowTape& tape, const LongForm& form) : RowPrinter(tape, inputs_wanted_again(tape)), form_(form) {}

    std::string print() {
        head();
        for (const RowPhase& p : plan_.phases) phase(p);
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) {
            const std::size_t r = tape_.outputs[o];
            if (rows(r)) line("    if (chunk == 0 && threadIdx.x == 0) *y", o, " = narrow<", type(r), ">(r", r, ");");
        }
        line("}");
        return std::move(out_).str();
    }

  private:
    void head() {
        line(
            "#include \"cuda/register_rows.cuh\"\n#include \"cuda/hopper.cuh\"\nusing namespace tenon;\nusing "
            "namespace "
            "tenon::cuda;\n");
        line("constexpr int kAxes = ", form_.axes, ", kAccess = ", form_.access, ", kSteps = ", form_.steps,
             ", kCompute = ", form_.warps, ", kChunks = ", form_.chunks,
             ", kOperands = ", tape_.outputs.size() + inputs_,
             ", kPiece = kSteps * kCompute, kThreads = 32 * (kCompute + 1);");
        out_ << R"(using Team = RowTeam<32, kAccess>;
constexpr int kWidth = Team::kWidth;
template <DType D>
using Packs = Pack<Stored<D>, kAccess>[kWidth / kAccess];
)" << kRowParameters
             << R"(
/// A value of the cluster's block `rank`, from the same place of its shared memory.
template <class T>
__forceinline__ T of_peer(const T* at, int rank) {
    T value;
    const uint32_t there = at_peer(shared_address(at), rank);
    if constexpr (sizeof(T) == 8) {
        unsigned long long bits;
        asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(bits) : "r"(there));
        value = __builtin_bit_cast(T, bits);
    } else if constexpr (sizeof(T) == 4) {
        unsigned bits;
        asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(bits) : "r"(there));
        value = __builtin_bit_cast(T, bits);
    } else if constexpr (sizeof(T) == 2) {
        unsigned short bits;
        asm volatile("ld.shared::cluster.u16 %0, [%1];" : "=h"(bits) : "r"(there));
        value = __builtin_bit_cast(T, bits);
    } else {
        unsigned bits;
        asm volatile("ld.shared::cluster.u8 %0, [%1];" : "=r"(bits) : "r"(there));
        value = static_cast<T>(bits);
    }
    return value;
}

extern "C" __global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Parameters p) {
    extern __shared__ __align__(16) unsigned char memory[];
    const int thread = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int chunk = static_cast<int>(blockIdx.x % kChunks);
    const long long row = blockIdx.x / kChunks, first_column = chunk * static_cast<long long>(kChunk);
    const int columns = static_cast<int>(min(p.columns - first_column, static_cast<long long>(kChunk)));
    const int pieces = (columns + 64 * kPiece - 1) / (64 * kPiece);
)";
        pointers("first_column");
        line("    unsigned char* next = memory;");
        for (const std::size_t r : plan_.kept)
            line("    Stored<", type(r), ">* const k", r, " = reinterpret_cast<Stored<", type(r),
                 ">*>(next);\n    next += kChunk * sizeof(Stored<", type(r), ">);");
        // A piece's values twice, two pieces in turn; phases follow each other, and share the place.
        for (const RowPhase& phase : plan_.phases) {
            std::int64_t at = 0;
            for (const std::size_t k : phase.reductions) {
                const DType of = tape::type_of(tape_, tape_.code[k].instruction.operands[0]);
                if (in_order(k)) {
                    line("    auto* const v", k, " = reinterpret_cast<Wide<", type_name(of), ">*>(next + ", at, ");");
                    at += two_pieces(form_, of);
                }
                line("    __shared__ ", accumulator(k), " c", k, "[kCompute + 1];");
            }
        }
    }

    bool sums(const RowPhase& plan) const {
        return std::any_of(plan.reductions.begin(), plan.reductions.end(), [&](std::size_t k) { return in_order(k); });
    }

    void phase(const RowPhase& plan) {
        row_values(plan);
        if (!plan.visits_columns()) return;
        for (const std::size_t k : plan.reductions)
            line("    ", accumulator(k), " a", k, "[kWidth];\n    for (auto& a : a", k, ") a = neutral<", operation(k),
                 ", ", accumulator(k), ">();");
        const bool usual = has_usual_forms(plan);
        if (usual) divisors(plan);
        line("    for (int piece = 0; piece < pieces; ++piece) {");
        line("        const int first_step = piece * kPiece + warp * kSteps;");
        line("        if (warp < kCompute && first_step * 64 < columns) {");
        loads(plan);
        for (const std::size_t o : plan.outputs) line("        Packs<", type(tape_.outputs[o]), "> o", o, "[kSteps];");
        if (usual) {
            line("        bool unusual = unusual", number_, ";");
            for (const std::size_t k : plan.reductions)
                if (!in_order(k))
                    line("        ", accumulator(k), " b", k,
                         "[kWidth];\n#pragma unroll\n        for (int j = 0; j < kWidth; ++j) b", k, "[j] = a", k,
                         "[j];");
        }
        elements(plan, usual);
        if (usual) {
            line("        if (unusual) {");
            for (const std::size_t k : plan.reductions)
                if (!in_order(k))
                    line("#pragma unroll\n        for (int j = 0; j < kWidth; ++j) a", k, "[j] = b", k, "[j];");
            exactly_ = true;
            elements(plan, false);
            exactly_ = false;
            line("        }");
        }
        for (const std::size_t o : plan.outputs)
            line("#pragma unroll\n        for (int i = 0; i < kSteps; ++i)\n            Team::store<false>(o", o,
                 "[i], y", o, ", first_step + i, thread, columns",
                 form_.operands[o] == Along::contiguous ? ");" : text(", p.operands[", o, "].column);"));
        line("        }");
        if (sums(plan)) {
            line("        __syncthreads();");
            add(plan);
        }
        line("    }");
        finish(plan);
    }

    void loads(const RowPhase& plan) {
        for (const std::size_t r : plan.loads) line("        Packs<", type(r), "> l", r, "[kSteps];");
        line("#pragma unroll\n        for (int i = 0; i < kSteps; ++i) {");
        for (const std::size_t r : plan.loads) {
            const std::size_t operand = tape_.outputs.size() + r;
            if (before(r, plan))
                line("            Team::load<false>(l", r, "[i], k", r, ", first_step + i, thread, columns);");
            else
                line(
                    "            Team::load<false>(l", r, "[i], x", r, ", first_step + i, thread, columns",
                    form_.operands[operand] == Along::contiguous ? ");" : text(", p.operands[", operand, "].column);"));
        }
        line("        }");
        for (const std::size_t r : plan.keeps)
            line("#pragma unroll\n        for (int i = 0; i < kSteps; ++i)\n            Team::store<false>(l", r,
                 "[i], k", r, ", first_step + i, thread, columns);");
    }

    void elements(const RowPhase& plan, bool usual) {
        const std::vector<std::string> names = this->names();
        line(
            "#pragma unroll\n        for (int i = 0; i < kSteps; ++i) {\n#pragma unroll\n            for (int j = 0; j "
            "< kWidth; "
            "++j) {");
        line("                const int e = (first_step + i) * 64 + Team::at(thread, j);");
        for (const std::size_t r : plan.loads)
            line("                const Wide<", type(r), "> r", r, " = widen<", type(r), ">(l", r,
                 "[i][j / kAccess].at[j % kAccess]);");
        for (const std::size_t r : plan.computes) {
            const RowTape::Code& c = tape_.code[r - inputs_];
            line("                const Wide<", type(r), "> r", r, " = ",
                 c.kind == Kind::repeat ? names[c.instruction.operands[0]] : value(c, names, usual), ";");
        }
        for (const std::size_t o : plan.outputs)
            line("                o", o, "[i][j / kAccess].at[j % kAccess] = narrow<", type(tape_.outputs[o]), ">(r",
                 int{tape_.outputs[o]}, ");");
        for (const std::size_t k : plan.reductions) {
            const std::size_t from = tape_.code[k].instruction.operands[0];
            if (in_order(k))
                line("                v", k,
                     "[(piece % 2 * kPiece + warp * kSteps + i) * 64 + Team::at(thread, j)] = r", from, ";");
            else
                line("                if (e < columns) a", k, "[j] = combine<", operation(k), ">(a", k,
                     "[j], accumulable<", type(from), ">(r", from, "));");
        }
        line("            }\n        }");
    }

    /// A piece's values into the lanes, by the last warp.
    void add(const RowPhase& plan) {
        line("        if (warp == kCompute) {\n            const int left = columns - piece * kPiece * 64;");
        for (const std::size_t k : plan.reductions) {
            if (!in_order(k)) continue;
            const std::string from = type(tape_.code[k].instruction.operands[0]);
            const auto step = [&](const char* condition) {
                line("                for (int j = 0; j < kWidth; ++j) ", condition, "a", k, "[j] = combine<",
                     operation(k), ">(a", k, "[j], accumulable<", from, ">(v", k,
                     "[(piece % 2 * kPiece + i) * 64 + Team::at(thread, j)]));");
            };
            line(
                "            if (left >= kPiece * 64) {\n#pragma unroll 16\n                for (int i = 0; i < "
                "kPiece; ++i)\n#pragma "
                "unroll");
            step("");
            line("            } else {\n                for (int i = 0; i * 64 < left; ++i)\n#pragma unroll");
            step("if (i * 64 + Team::at(thread, j) < left) ");
            line("            }");
        }
        line("        }");
    }

    /// The lanes join in each block, and the blocks' results in order.
    void finish(const RowPhase& plan) {
        if (plan.reductions.empty()) return;
        for (const std::size_t k : plan.reductions) {
            line("    {\n        const auto joined = Team::join<", operation(k), ">(a", k, ");");
            if (in_order(k))
                line("        if (threadIdx.x == 32 * kCompute) c", k, "[0] = joined;\n    }");
            else
                line("        if (thread == 0) c", k, "[warp] = joined;\n    }");
        }
        line("    __syncthreads();");
        for (const std::size_t k : plan.reductions)
            if (!in_order(k))
                line("    if (threadIdx.x == 0)\n        for (int w = 1; w < kCompute; ++w) c", k, "[0] = combine<",
                     operation(k), ">(c", k, "[0], c", k, "[w]);");
        line("    cluster_sync();");
        for (const std::size_t k : plan.reductions)
            line("    ", accumulator(k), " t", k, " = of_peer(c", k,
                 ", 0);\n#pragma unroll\n    for (int c = 1; c < kChunks; ++c) t", k, " = combine<", operation(k),
                 ">(t", k, ", of_peer(c", k, ", c));\n    const Wide<", type(inputs_ + k), "> r", inputs_ + k,
                 " = reduced<", type(inputs_ + k), ">(t", k, ");");
        // No block ends, nor writes there again, while another reads.
        line("    cluster_sync();");
    }

    const LongForm& form_;
};

}  // namespace

std::string print(const tape::RowTape& tape, const LongForm& form) { return LongPrinter(tape, form).print(); }

std::int64_t shared_bytes(const tape::RowTape& tape, const LongForm& form) {
    std::int64_t kept = 0, most = 0;
    const RowPlan plan = plan_of(tape, inputs_wanted_again(tape));
    for (const std::size_t r : plan.kept)
        kept += tape::kReduceChunk * static_cast<std::int64_t>(size_of(tape::type_of(tape, r)));
    for (const RowPhase& phase : plan.phases) {
        std::int64_t values = 0;
        for (const std::size_t k : phase.reductions)
            if (in_order(tape.code[k]))
                values += two_pieces(form, tape::type_of(tape, tape.code[k].instruction.operands[0]));
        most = std::max(most, values);
    }
    return kept + most;
}

}  // namespace tenon::cuda
