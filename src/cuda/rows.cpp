#include <algorithm>
#include <optional>

#include "base/text.h"
#include "cuda/axes.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/print_tape.h"
#include "cuda/row_plan.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using tape::RowTape;

constexpr std::int64_t kBlockElements = 4096;  // the most elements of the rows that a block takes together
constexpr std::int64_t kPiece = 8192;  // elements of a chunk that a block of spread rows computes at a time
static_assert(tape::kReduceChunk % kPiece == 0);
constexpr std::int64_t kStaticBytes = 8 << 10;  // reserved for the kernels' static shared memory

struct Place {
    std::byte* data;
    std::int64_t size;
    bool per_row;
    std::vector<std::int64_t> rows;
    std::int64_t column;
};

struct Problem {
    std::vector<Place> operands;  // outputs, then inputs
    std::vector<std::int64_t> axes;
    std::int64_t rows = 1, columns = 1;
};

/// Removes axes of extent 1 and joins the others where possible.
void simplify_axes(Problem& p) {
    for (std::size_t d = p.axes.size(); d-- > 0;) {
        if (p.axes[d] != 1) continue;
        p.axes.erase(p.axes.begin() + static_cast<std::ptrdiff_t>(d));
        for (Place& o : p.operands) o.rows.erase(o.rows.begin() + static_cast<std::ptrdiff_t>(d));
    }
    join_axes(p.axes, p.operands, &Place::rows);
}

Problem problem_of(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    Problem p;
    const View* elements = nullptr;
    const auto add = [&](const View& v, bool per_row) {
        Place o{v.as<std::byte>(), static_cast<std::int64_t>(size_of(v.dtype)), per_row, {}, 0};
        o.rows.assign(v.layout.strides.begin(), v.layout.strides.end());
        if (!per_row) {
            elements = &v;
            o.column = o.rows.back();
            o.rows.pop_back();
        }
        p.operands.push_back(std::move(o));
    };
    for (std::size_t o = 0; o < outputs.size(); ++o) add(outputs[o], tape::per_row(tape, tape.outputs[o]));
    for (std::size_t i = 0; i < inputs.size(); ++i) add(inputs[i], tape.inputs[i].per_row);
    const Shape& shape = elements->shape();
    p.axes.assign(shape.begin(), shape.end());
    p.columns = p.axes.back();
    p.axes.pop_back();
    for (const std::int64_t n : p.axes) p.rows *= n;
    simplify_axes(p);
    return p;
}

int width_of(const Problem& p) {
    std::int64_t narrowest = 16;
    for (const Place& o : p.operands)
        if (!o.per_row && o.column == 1) narrowest = std::min(narrowest, o.size);
    int width = static_cast<int>(std::min<std::int64_t>(16 / narrowest, 8));
    const auto fits = [&](int candidate) {
        if (p.columns % candidate != 0) return false;
        return std::all_of(p.operands.begin(), p.operands.end(), [&](const Place& o) {
            if (o.per_row || o.column != 1) return true;
            const std::int64_t piece = std::min<std::int64_t>(16, candidate * o.size);
            return reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(piece) == 0 &&
                   std::all_of(o.rows.begin(), o.rows.end(), [&](std::int64_t s) { return s * o.size % piece == 0; });
        });
    };
    while (width > 1 && !fits(width)) width /= 2;
    return width;
}

std::vector<Along> alongs_of(const Problem& p) {
    std::vector<Along> all;
    for (const Place& o : p.operands)
        all.push_back(o.per_row || o.column == 0 ? Along::repeated
                      : o.column == 1            ? Along::contiguous
                                                 : Along::strided);
    return all;
}

/// How a tape runs in shared memory: the kernel's form, the rows of a block, the elements of a piece, and the block's
/// dynamic shared memory in bytes.
struct Choice {
    RowForm form;
    std::int64_t block_rows, piece, shared;
};

/// Rows spread over blocks, with a block for each chunk: for a few long rows, and for rows that are too long for shared
/// memory.
Choice choose_spread(std::int64_t most, const RowTape& tape, Choice c) {
    c.form.one_row = c.form.spread = true;
    c.form.threads = 512;
    c.block_rows = 1, c.piece = kPiece;
    while ((c.shared = shared_bytes(tape, c.form, c.piece, 1)) > most && c.piece > 1024) c.piece /= 2;
    return c;
}

Choice choose(const Gpu& gpu, const RowTape& tape, const Problem& p) {
    Choice c{{width_of(p), 256, static_cast<int>(p.axes.size()), true, false, alongs_of(p)}, 1, 0, 0};
    const std::int64_t most = gpu.shared_bytes_per_block() - kStaticBytes;
    const auto shared = [&] { return c.shared = shared_bytes(tape, c.form, c.block_rows * p.columns, c.block_rows); };
    if (p.columns <= kBlockElements / 2) {
        c.form.one_row = false;
        // A block takes several short rows, but not so many that multiprocessors have no block.
        const std::int64_t even = (p.rows + 4 * gpu.multiprocessors() - 1) / (4 * gpu.multiprocessors());
        c.block_rows = std::clamp<std::int64_t>(std::min(kBlockElements / p.columns, even), 1, kBlockElements);
        while (c.block_rows > 1 && shared() > most / 4) c.block_rows /= 2;
        if (shared() <= most) return c;
        c.form.one_row = true, c.block_rows = 1;
    }
    const bool few = p.columns > tape::kReduceChunk && p.rows < gpu.multiprocessors();
    if (few || shared() > most) return choose_spread(most, tape, c);
    // As many threads a block as fill a multiprocessor, given how many blocks its shared memory holds.
    constexpr std::int64_t kThreadsPerMultiprocessor = 2048;
    while (c.form.threads > 128 && kThreadsPerMultiprocessor * c.shared / most <= c.form.threads / 2)
        c.form.threads /= 2;
    while (c.form.threads < 1024 && kThreadsPerMultiprocessor * c.shared / most >= 2 * c.form.threads)
        c.form.threads *= 2;
    return c;
}

/// The threads of a row of so many steps.
int team_of(int steps) {
    constexpr int kElements = 32;  // the most elements of a thread
    int team = 8;
    while (team < 512 && steps * 64 / team > kElements) team *= 2;
    return team;
}
int warps_of(int team) { return std::max(1, team / 32); }

/// The steps of a row in registers: its own number where each warp has as many of them, so that no access is checked.
/// Otherwise the number is rounded up to one of a few values, so that few kernels are compiled.
int steps_of(std::int64_t columns) {
    const auto whole = static_cast<int>(columns / 64);
    if (columns % 64 == 0 && whole % warps_of(team_of(whole)) == 0) return whole;
    int steps = 1;
    for (const int n : {1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256}) {
        steps = n;
        if (64 * n >= columns) break;
    }
    return steps;
}

/// The form for rows in registers, or nothing. With fewer than 32 columns most of a team would be idle; long rows must
/// fit.
std::optional<RegisterForm> choose_registers(const RowTape& tape, const Problem& p) {
    constexpr std::int64_t kMinColumns = 32, kMaxColumns = tape::kReduceChunk;
    constexpr int kMaxWords = 96;  // the most registers for what a thread keeps
    if (p.columns < kMinColumns || p.columns > kMaxColumns) return std::nullopt;
    int steps = steps_of(p.columns);
    const int team = team_of(steps), elements = steps * 64 / team;
    const int words = std::max(1, kept_words(tape, team > 32)) * elements;
    if (words > kMaxWords) return std::nullopt;
    // Small blocks make room for the next ones sooner. Where warps wait for each other, two rows a block are better.
    const int threads = team > 32 ? std::max(256, team) : 128;
    // With more than 64 registers a thread, a multiprocessor has one block of the largest teams. Two, with a few
    // registers spilled, are faster, but not where more is kept. With less than this, two fit anyway.
    int blocks = team == 512 && words > 48 && words <= 64 ? 2 : 0;
    // Rows of bfloat16 that stay packed and are several warps' need few registers, and wait for each other: more blocks
    // help, also with a few registers spilled.
    const bool all = p.columns == 64 * steps && steps % warps_of(team) == 0;
    const bool packed = kept_packed(tape) != kept_registers(tape) &&
                        std::ranges::none_of(tape.inputs, [](auto& in) { return in.type == DType::float16; });
    if (all && packed && team > 32 && team < 512) blocks = elements <= 24 ? 6 : 5;
    const int warps = warps_of(team), width = 64 / std::min(team, 32);
    steps = static_cast<int>(ceil_div(steps, warps));
    return RegisterForm{team,    std::min(width_of(p), width),    steps,        all,
                        threads, static_cast<int>(p.axes.size()), alongs_of(p), blocks};
}

/// The form for rows of several chunks that fit in shared memory as a whole (print_long_rows.cpp), or nothing.
struct LongChoice {
    LongForm form;
    std::int64_t shared, blocks;
};
std::optional<LongChoice> choose_long(const Gpu& gpu, const RowTape& tape, const Problem& p) {
    constexpr std::int64_t kMaxPieces = 64;  // pieces of a row
    if (gpu.major() != 9 || p.columns <= tape::kReduceChunk || !prints_long(tape)) return std::nullopt;
    const std::int64_t pieces = (p.columns + kLongPiece - 1) / kLongPiece;
    std::int64_t access = 16, slot = 0;
    for (std::size_t i = 0; i < p.operands.size(); ++i) {
        const Place& o = p.operands[i];
        if (o.per_row) continue;
        const auto whole = [&](std::int64_t elements) { return elements * o.size % 16 == 0; };
        if (o.column != 1 || reinterpret_cast<std::uintptr_t>(o.data) % 16 != 0 || !whole(p.columns) ||
            !std::all_of(o.rows.begin(), o.rows.end(), whole))
            return std::nullopt;
        access = std::min(access, 16 / o.size);
        if (i >= tape.outputs.size()) slot += kLongPiece * o.size;
    }
    if (slot == 0 || pieces > kMaxPieces) return std::nullopt;
    // Shared memory also holds the results of reductions of each chunk or warp, and two barriers for each slot and for
    // each piece.
    std::int64_t own = 256 + 17 * pieces;
    for (const RowTape::Code& c : tape.code)
        if (c.kind == RowTape::Kind::reduce)
            own += std::max<std::int64_t>(4, static_cast<std::int64_t>(size_of(c.instruction.type))) *
                   std::max<std::int64_t>(16, 65 * ((p.columns + tape::kReduceChunk - 1) / tape::kReduceChunk));
    const auto slots_of = [&](std::int64_t memory) { return (memory - own) / (slot + 16); };
    // A multiprocessor has two blocks, one of which computes while the other waits, if each has room for a row and some
    // pieces of the next one.
    constexpr std::int64_t kAhead = 2, kReserved = 1 << 10;
    const std::int64_t most = gpu.shared_bytes_per_block(), half = (most + kReserved) / 2 - kReserved;
    const bool two = slots_of(half) >= pieces + kAhead;
    const std::int64_t slots = slots_of(two ? half : most);
    if (slots < pieces) return std::nullopt;
    // As many warps as have registers for a part's elements and values; for 16-bit numbers a thread needs 16 registers
    // for the elements and 32 for the values. With 2 * 13 warps a thread has 72 registers, with 2 * 9 or 17 it has 96.
    // Of one input of at most 4 bytes, a part of each warp stays in registers, or two parts with one block, so that
    // meanwhile as much of the next row can be loaded into their slots.
    constexpr int kWarps = 15;
    const bool keeps = keeps_parts(tape) && slot % (2 * kLongPiece) == 0 && slot <= 4 * kLongPiece;
    const int kept = !keeps ? 0 : two ? slot == 2 * kLongPiece : pieces >= kWarps ? 2 : 0;
    const int blocks = two ? 2 : 1, warps = two ? (slot <= 2 * kLongPiece ? 12 : 8) : kept > 0 ? kWarps : 16;
    return LongChoice{{static_cast<int>(access), static_cast<int>(pieces), static_cast<int>(slots), warps, blocks,
                       static_cast<int>(p.axes.size()), alongs_of(p), kept},
                      slots * slot,
                      std::min<std::int64_t>(p.rows, blocks * gpu.multiprocessors())};
}

/// The form for rows whose maximum is found ahead (rows_ahead.cuh), or nothing.
struct AheadChoice {
    AheadForm form;
    std::int64_t shared, blocks;
};
std::optional<AheadChoice> choose_ahead(const Gpu& gpu, const RowTape& tape, const Problem& p) {
    // Registers are those of one of the four schedulers: 16 warps and the two others leave a thread 96, which hold the
    // 64 values of a part.
    constexpr std::int64_t kWarps = 16, kMargin = 5, kInFlight = 16;
    if (gpu.major() != 9 || p.columns <= tape::kReduceChunk || !runs_ahead(tape)) return std::nullopt;
    const std::int64_t parts = ceil_div(p.columns, kLongPiece), chunks = ceil_div(p.columns, tape::kReduceChunk);
    for (const Place& o : p.operands) {
        const auto whole = [&](std::int64_t elements) { return elements * o.size % 16 == 0; };
        if (!o.per_row && (o.column != 1 || reinterpret_cast<std::uintptr_t>(o.data) % 16 != 0 || !whole(p.columns) ||
                           !std::all_of(o.rows.begin(), o.rows.end(), whole)))
            return std::nullopt;
    }
    // Static shared memory, for the rows under way: barriers, extremes, lanes. Then as many slots as there is room for;
    // the kernel may have up to seven rows' of them.
    constexpr std::int64_t kSlot = 2 * kLongPiece, kRows = 8;
    const std::int64_t own = 256 + kRows * (16 * parts + 24 + 264 * chunks) + 24 * parts,
                       slots = std::min((gpu.shared_bytes_per_block() - own) / (kSlot + 16), (kRows - 1) * parts);
    if (slots < parts + kMargin + kInFlight) return std::nullopt;
    return AheadChoice{
        {static_cast<int>(parts), static_cast<int>(slots), kWarps, kMargin, static_cast<int>(p.axes.size())},
        slots * kSlot,
        std::min<std::int64_t>(p.rows, gpu.multiprocessors())};
}

std::string key_of(const AheadForm& form) {
    return text("rows ahead ", form.parts, ' ', form.slots, ' ', form.warps, ' ', form.margin, ' ', form.axes, ' ');
}
std::string key_of(const LongForm& form) {
    return text("long rows ", form.access, ' ', form.pieces, ' ', form.slots, ' ', form.warps, ' ', form.kept, ' ',
                form.axes, ' ');
}
std::string key_of(const RowForm& form) {
    return text("rows ", form.width, ' ', form.threads, ' ', form.axes, ' ', form.one_row, form.spread, ' ');
}
std::string key_of(const RegisterForm& form) {
    return text("register rows ", form.team, ' ', form.access, ' ', form.steps, ' ', form.all, ' ', form.threads, ' ',
                form.blocks, ' ', form.axes, ' ');
}

template <class Form>
std::string key_of(const RowTape& tape, const Form& form) {
    std::string key = key_of(form);
    if constexpr (requires { form.operands; })
        for (const Along a : form.operands) key += static_cast<char>(a);
    return key + words_of(tape);
}

std::vector<std::int64_t> arguments_of(const Problem& p, std::int64_t block_rows, std::int64_t piece) {
    std::vector<std::int64_t> a(p.axes);
    a.insert(a.end(), {1, p.rows, p.columns, block_rows, piece});
    for (const Place& o : p.operands) {
        a.push_back(static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(o.data)));
        a.push_back(o.column);
        a.insert(a.end(), o.rows.begin(), o.rows.end());
        a.push_back(0);
    }
    return a;
}

template <class Form>
void start(Gpu& gpu, const RowTape& tape, const Form& form, int threads, std::vector<std::int64_t> arguments,
           std::int64_t blocks, std::int64_t shared, const std::string& function = "run") {
    const auto make = [&] { return Unit{"rows.cu", print(tape, form)}; };
    const Kernel& kernel = gpu.printed(function + ' ' + key_of(tape, form), make, function.c_str());
    if (blocks > INT32_MAX || arguments.size() * 8 > 4000)
        throw ValueError(text("cuda: rows: ", blocks, " blocks of ", tape.outputs.size() + tape.inputs.size(),
                              " operands are too many"));
    void* parameters[] = {arguments.data()};
    detail::launch(gpu, kernel,
                   {.grid = {static_cast<std::uint32_t>(blocks)},
                    .block = {static_cast<std::uint32_t>(threads)},
                    .shared_bytes = static_cast<std::uint32_t>(shared),
                    .overlaps_previous = true},
                   parameters);
}

/// Launches the kernels of spread rows one after the other.
void run_spread(Gpu& gpu, const RowTape& tape, const Choice& c, Problem p) {
    const std::int64_t chunks = ceil_div(p.columns, tape::kReduceChunk);
    const auto left = gpu.allocate(std::max<std::int64_t>(1, 8 * spread_words(tape, p.rows, chunks)));
    p.operands.push_back({static_cast<std::byte*>(left->data()), 8, true, std::vector<std::int64_t>(p.axes.size()), 0});
    for (const SpreadStep& step : spread_steps(tape, c.form))
        start(gpu, tape, c.form, c.form.threads, arguments_of(p, chunks, c.piece),
              step.of_rows ? p.rows : p.rows * chunks, step.of_rows ? 0 : c.shared, step.kernel);
}

/// An output that has the memory of an input, or nothing. A later kernel of spread rows may read that input again.
std::optional<std::size_t> in_place(std::span<const View> inputs, std::span<const View> outputs) {
    for (std::size_t o = 0; o < outputs.size(); ++o)
        if (std::ranges::any_of(inputs, [&](const View& in) { return in.data == outputs[o].data; })) return o;
    return std::nullopt;
}

}  // namespace

void run_rows(Gpu& gpu, const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    const Problem p = problem_of(tape, inputs, outputs);
    if (p.rows == 0) return;
    if (p.columns == 0) throw ShapeError("rows: a row has no columns");
    const auto blocks_of = [&](std::int64_t rows) { return ceil_div(p.rows, rows); };
    if (const std::optional<RegisterForm> form = choose_registers(tape, p)) {
        const std::int64_t rows = form->threads / form->team;
        return start(gpu, tape, *form, form->threads, arguments_of(p, rows, 0), blocks_of(rows), 0);
    }
    if (const std::optional<AheadChoice> c = choose_ahead(gpu, tape, p))
        return start(gpu, tape, c->form, 32 * (c->form.warps + 2), arguments_of(p, 1, 0), c->blocks, c->shared,
                     "rows_ahead");
    if (const std::optional<LongChoice> c = choose_long(gpu, tape, p))
        return start(gpu, tape, c->form, 32 * (c->form.warps + 1), arguments_of(p, 1, 0), c->blocks, c->shared,
                     "long_rows");
    const Choice c = choose(gpu, tape, p);
    if (!c.form.spread)
        return start(gpu, tape, c.form, c.form.threads, arguments_of(p, c.block_rows, 0), blocks_of(c.block_rows),
                     c.shared);
    if (const std::optional<std::size_t> o = in_place(inputs, outputs)) {
        const View& out = outputs[*o];
        const auto apart = gpu.allocate(out.layout.count() * static_cast<std::int64_t>(size_of(out.dtype)));
        std::vector<View> moved(outputs.begin(), outputs.end());
        moved[*o] = {apart->data(), out.dtype, Layout::contiguous(out.shape())};
        run_rows(gpu, tape, inputs, moved);
        return copy(gpu, moved[*o], out);
    }
    run_spread(gpu, tape, c, p);
}

}  // namespace tenon::cuda
