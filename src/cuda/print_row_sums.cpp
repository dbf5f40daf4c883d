#include "cuda/register_printer.h"

namespace tenon::cuda {
namespace {

using tape::Tape;
using From = RowSumsForm::Input::From;

class RowSumsPrinter : RegisterPrinter {
  public:
    RowSumsPrinter(const tape::RowTape& rows, const Tape& sums, const RowSumsForm& form)
        : RegisterPrinter(rows, form.rows), sums_(sums), row_sums_(form), partials_(rows.outputs.size() + inputs_) {}

    std::string print() {
        constants();
        begin();
        out_ << R"(    if (team < kTeams) {
        take_registers<kRowRegisters>();
)";
        bring();
        out_ << R"(        for (int k = 0; k < kSlots; ++k) ask(k);
        Turn at{0, 0}, before{0, 0};
        int buffer = 0;
        bool is_first = true;
        for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
        const long long begin = begin_of(unit);
        const int n = rows_of(p, unit);
        for (int first = 0; first < n; first += kTeams, before = at, at.next(kSlots), buffer ^= 1) {
            const unsigned char* const here = memory + at.slot * (kTeams * kRowBytes);
            barrier_wait(full + 8 * at.slot, at.parity);
            if (team < n - first) {
            const long long row = begin + static_cast<long long>(kLanes) * (first + team);
)";
        own_row();
        // By now the columns of the previous turn may have been added up, so its slot can be filled again. A warp
        // without a row waits, too. Otherwise it could get two turns ahead, where the buffers of row values, of which
        // there are two, are still in use.
        out_ << R"(            }
            barrier_arrive(ready + 8 * buffer);
            if (!is_first && thread == 0) {
                barrier_wait(empty + 8 * before.slot, before.parity);
                ask(before.slot);
            }
            __syncwarp();
            is_first = false;
        }
        }
        return;
    }
    give_registers<kColumnRegisters>();
)";
        column_values();
        out_ << R"(    Turn at{0, 0}, values{0, 0};
    for (long long unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int n = rows_of(p, unit);
)";
        accumulators();
        out_ << R"(    for (int first = 0; first < n; first += kTeams, at.next(kSlots), values.next(2)) {
        const int many = min(kTeams, n - first), buffer = values.slot;
        const unsigned char* const here = memory + at.slot * (kTeams * kRowBytes);
        barrier_wait(full + 8 * at.slot, at.parity);
        barrier_wait(ready + 8 * buffer, values.parity);
)";
        columns();
        line(
            "        barrier_arrive(empty + 8 * at.slot);\n    }\n#pragma unroll\n    for (int g = 0; g < kGroups; "
            "++g)\n#pragma unroll\n        for (int j = 0; j < kWide; ++j) {\n            const long long to = unit * "
            "kColumns + column_of(g) + j;");
        for (std::size_t s = 0; s < sums_.outputs.size(); ++s)
            line("            static_cast<Accumulator<", sum_type(s), ">*>(p.operands[", partials_ + s,
                 "].data)[to] = b", s, "[g][j];");
        line("        }\n    }\n}");
        return std::move(out_).str();
    }

  private:
    std::string sum_type(std::size_t s) const { return type_name(tape::type_of(sums_, sums_.outputs[s])); }
    std::string stored(std::size_t r) const { return text("Stored<", type(r), ">"); }
    std::size_t operand_of(std::size_t column_values) const { return partials_ + sums_.outputs.size() + column_values; }

    void constants() {
        const RegisterForm& f = row_sums_.rows;
        std::size_t column_values = 0;
        for (const RowSumsForm::Input& i : row_sums_.inputs)
            if (i.from == From::columns) column_values = std::max(column_values, i.at + 1);
        line(
            "#include \"cuda/hopper.cuh\"\n#include \"cuda/register_rows.cuh\"\nusing namespace tenon;\nusing "
            "namespace "
            "tenon::cuda;\n");
        line("constexpr int kAxes = ", f.axes, ", kTeam = 32, kAccess = ", f.access, ", kSteps = ", f.steps,
             ", kColumns = 64 * kSteps, kTeams = ", row_sums_.teams, ", kThreads = ", 32 * kRowSumsColumnWarps,
             ", kRowRegisters = ", row_sums_.row_registers, ", kColumnRegisters = ", row_sums_.column_registers,
             ", kSlots = ", row_sums_.slots, ", kOperands = ", operand_of(column_values),
             ",\n              kWide = kColumns % (4 * kThreads) == 0 ? 4 : kColumns % (2 * kThreads) == 0 ? 2 : 1, "
             "kGroups = kColumns / kThreads / kWide;\nstatic_assert(kColumns % kThreads == 0);\nconstexpr bool kAll = "
             "true;");
        out_ << "constexpr int kRowBytes = 0";
        for (std::size_t i = 0; i < inputs_; ++i)
            if (row_sums_.brought[i]) out_ << " + kColumns * static_cast<int>(sizeof(" << stored(i) << "))";
        out_
            << R"(;
using Team = RowTeam<kTeam, kAccess>;
constexpr int kWidth = Team::kWidth;
template <DType D>
using Packs = Pack<Stored<D>, kAccess>[kWidth / kAccess];
)" << kRowParameters
            << R"(/// A unit is a lane of a chunk of rows. Blocks take unit after unit; the first rows of the next one are asked for before
/// a unit ends.
__forceinline__ long long begin_of(long long unit) { return unit / kLanes * kChunk + unit % kLanes; }
__forceinline__ int rows_of(const Parameters& p, long long unit) {
    const long long begin = begin_of(unit), end = min(p.rows, (unit / kLanes + 1) * kChunk);
    return begin < end ? static_cast<int>((end - begin + kLanes - 1) / kLanes) : 0;
}
/// The first of the columns that a thread adds up.
__forceinline__ int column_of(int group) {
    return (group * kThreads + static_cast<int>(threadIdx.x) - 32 * kTeams) * kWide;
}

)";
    }

    void begin() {
        out_
            << R"(extern "C" __global__ void __launch_bounds__(32 * kTeams + kThreads, 1) run(const __grid_constant__ Parameters p) {
    extern __shared__ __align__(128) unsigned char memory[];
    __shared__ __align__(8) uint64_t barriers[2 * kSlots + 2];
    // Barriers: `full` and `empty` of a slot say that its rows have arrived, and that their columns have been added up;
    // `ready` of a buffer says that it holds the rows' values that the sums read.
    const uint32_t full = shared_address(barriers), empty = full + 8 * kSlots, ready = empty + 8 * kSlots;
    constexpr int warp = 0, first_step = 0;  // of a row's team
    const int thread = threadIdx.x % 32, team = threadIdx.x / 32;
    constexpr long long columns = kColumns;
    const long long units = p.block_rows * kLanes;
    if (threadIdx.x < 2 * kSlots + 2)
        barrier_init(full + 8 * threadIdx.x, threadIdx.x < kSlots ? kTeams : threadIdx.x < 2 * kSlots ? kThreads : 32 * kTeams);
    barriers_ready();
    __syncthreads();
    wait_for_turn();
)";
        for (std::size_t i = 0; i < sums_.inputs.size(); ++i)
            if (row_sums_.inputs[i].from == From::row)
                line("    __shared__ Stored<", type_name(sums_.inputs[i]), "> q", i, "[2][kTeams];");
    }

    /// Prints `ask`, by which a warp starts the copy of its own row of the next turn whose rows are not loaded yet.
    void bring() {
        out_ << R"(    long long asked_unit = blockIdx.x;
    int asked = 0;
    const auto ask = [&](int slot) {
        if (thread > 0) return;
        while (asked_unit < units && rows_of(p, asked_unit) == 0) asked_unit += gridDim.x;
        if (asked_unit >= units) return;
        const uint32_t barrier = full + 8 * slot;
        const int n = rows_of(p, asked_unit), own = asked + team;
        const long long row = begin_of(asked_unit) + static_cast<long long>(kLanes) * own;
        if ((asked += kTeams) >= n) asked = 0, asked_unit += gridDim.x;
        if (own >= n) return barrier_arrive(barrier);
        barrier_expect(barrier, kRowBytes);
        uint32_t to = shared_address(memory) + (slot * kTeams + team) * kRowBytes;
)";
        for (std::size_t i = 0; i < inputs_; ++i) {
            if (!row_sums_.brought[i]) continue;
            const std::size_t operand = tape_.outputs.size() + i;
            const std::string bytes = text("kColumns * static_cast<int>(sizeof(", stored(i), "))");
            line("        load_bytes(to, static_cast<const ", stored(i), "*>(p.operands[", operand,
                 "].data) + offset_of(p, p.operands[", operand, "], row), ", bytes,
                 ", barrier);\n        to += ", bytes, ";");
        }
        line("    };");
    }

    void accumulators() {
        for (std::size_t s = 0; s < sums_.outputs.size(); ++s)
            line("    Accumulator<", sum_type(s), "> b", s, "[kGroups][kWide];\n#pragma unroll\n    for (auto& g : b",
                 s, ")\n#pragma unroll\n        for (auto& a : g) a = neutral<Reduction::sum, Accumulator<",
                 sum_type(s), ">>();");
    }
    void column_values() {
        for (std::size_t i = 0; i < sums_.inputs.size(); ++i) {
            const std::string t = text("Stored<", type_name(sums_.inputs[i]), ">");
            if (row_sums_.inputs[i].from == From::columns)
                line("    Pack<", t, ", kWide> c", i,
                     "[kGroups];\n#pragma unroll\n    for (int g = 0; g < kGroups; ++g)\n        c", i,
                     "[g] = load_pack<", t, ", kWide>(static_cast<const ", t, "*>(p.operands[",
                     operand_of(row_sums_.inputs[i].at), "].data) + column_of(g));");
        }
    }

    /// Prints what a warp does with its row.
    void own_row() {
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) pointer("y", o, tape_.outputs[o], o);
        std::string offset = "team * kRowBytes";
        for (std::size_t i = 0; i < inputs_; ++i) {
            if (!row_sums_.brought[i]) {
                pointer("x", i, i, tape_.outputs.size() + i);
                continue;
            }
            line("    const ", stored(i), "* const x", i, " = reinterpret_cast<const ", stored(i), "*>(here + ", offset,
                 ");");
            offset += text(" + kColumns * sizeof(", stored(i), ")");
        }
        row_inputs();
        keep();
        for (const RowPhase& plan : plan_.phases) phase(plan);
        line("        if (thread == 0) {");
        for (std::size_t o = 0; o < tape_.outputs.size(); ++o) {
            const std::size_t r = tape_.outputs[o];
            if (rows(r)) line("            *y", o, " = narrow<", type(r), ">(r", r, ");");
        }
        for (std::size_t i = 0; i < sums_.inputs.size(); ++i)
            if (const RowSumsForm::Input& in = row_sums_.inputs[i]; in.from == From::row)
                line("            q", i, "[buffer][team] = narrow<", type(in.at), ">(r", in.at, ");");
        line("        }");
    }

    /// Prints how a thread adds up its columns over the rows of a turn.
    void columns() {
        line("#pragma unroll 2\n        for (int i = 0; i < many; ++i) {");
        for (std::size_t k = 0; k < sums_.inputs.size(); ++k) {
            const std::string t = type_name(sums_.inputs[k]);
            if (row_sums_.inputs[k].from == From::row)
                line("            const Wide<", t, "> v", k, " = widen<", t, ">(q", k, "[buffer][i]);");
        }
        line("#pragma unroll\n            for (int g = 0; g < kGroups; ++g) {");
        std::vector<std::string> registers;
        for (std::size_t k = 0; k < sums_.inputs.size(); ++k) {
            const RowSumsForm::Input& in = row_sums_.inputs[k];
            const std::string t = type_name(sums_.inputs[k]);
            if (in.from == From::row) {
                registers.push_back(text("v", k));
                continue;
            }
            registers.push_back(
                text("widen_at<", t, ">(", in.from == From::columns ? text("c", k, "[g]") : text("l", k), ", j)"));
            if (in.from == From::columns) continue;
            std::string offset = "i * kRowBytes";
            for (std::size_t i = 0; i < in.at; ++i)
                if (row_sums_.brought[i]) offset += text(" + kColumns * sizeof(", stored(i), ")");
            line("                const auto l", k, " = load_pack<Stored<", t,
                 ">, kWide>(reinterpret_cast<const Stored<", t, ">*>(here + ", offset, ") + column_of(g));");
        }
        line("#pragma unroll\n                for (int j = 0; j < kWide; ++j) {");
        for (std::size_t k = 0; k < sums_.code.size(); ++k) {
            // The names differ from those of the row tape's registers.
            const std::string name = text("u", k);
            line("                    const Wide<", type_name(sums_.code[k].result), "> ", name, " = ",
                 expression(sums_.code[k], registers, true), ";");
            registers.push_back(name);
        }
        for (std::size_t s = 0; s < sums_.outputs.size(); ++s)
            line("                    b", s, "[g][j] = combine<Reduction::sum>(b", s, "[g][j], accumulable<",
                 sum_type(s), ">(", registers[sums_.outputs[s]], "));");
        line("                }\n            }\n        }");
    }

    const Tape& sums_;
    const RowSumsForm& row_sums_;
    std::size_t partials_;  // index of the operand to which the first sum's lanes go
};

}  // namespace

std::string print(const tape::RowTape& rows, const Tape& sums, const RowSumsForm& form) {
    return RowSumsPrinter(rows, sums, form).print();
}

}  // namespace tenon::cuda
