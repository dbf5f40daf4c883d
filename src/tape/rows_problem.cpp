#include "tape/rows_problem.h"

#include <cstring>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon::tape::rows {
namespace {

void check(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    const auto fail = [](const auto&... what) { throw ValueError(text("rows: ", what...)); };
    if (inputs.size() != tape.inputs.size() || outputs.size() != tape.outputs.size() || outputs.empty())
        fail(inputs.size(), " inputs and ", outputs.size(), " outputs do not fit the tape");
    if (tape.inputs.size() + tape.code.size() > kMaxRegisters) fail("more than 255 registers");
    for (std::size_t k = 0; k < tape.code.size(); ++k) {
        const RowTape::Code& c = tape.code[k];
        for (int i = 0; i < operands_of(c); ++i) {
            const std::size_t reg = c.instruction.operands[i];
            if (reg >= tape.inputs.size() + k) fail("instruction ", k, " reads register ", reg, " too early");
            const bool rows = c.kind == RowTape::Kind::apply ? c.per_row : c.kind == RowTape::Kind::repeat;
            if (per_row(tape, reg) != rows) fail("instruction ", k, " mixes rows and elements");
            const bool condition = c.kind == RowTape::Kind::apply && c.instruction.op == Opcode::select && i == 0;
            if (type_of(tape, reg) != (condition ? DType::boolean : c.instruction.type))
                throw TypeError(text("rows: instruction ", k, " reads ", name(type_of(tape, reg))));
        }
    }
    for (const std::uint8_t r : tape.outputs)
        if (r < tape.inputs.size() || r >= tape.inputs.size() + tape.code.size()) fail("an output is no result");
}

Place place_of(const View& v, bool rows) {
    Place p{v.as<std::byte>(), v.dtype, rows, v.layout.strides, 0};
    for (std::int64_t& s : p.rows) s *= bytes_of(v.dtype);
    if (rows) return p;
    p.column = p.rows.back();
    p.rows.erase(p.rows.rank() - 1);
    return p;
}

/// Merges axes of the rows that a single stride can walk in every operand.
void join_axes(Problem& p) {
    const auto all = [&](auto&& f) {
        return std::all_of(p.inputs.begin(), p.inputs.end(), f) && std::all_of(p.outputs.begin(), p.outputs.end(), f);
    };
    const auto drop = [&](int d) {
        p.axes.erase(d);
        for (auto* places : {&p.inputs, &p.outputs})
            for (Place& o : *places) o.rows.erase(d);
    };
    for (int d = p.axes.rank() - 1; d >= 0; --d)
        if (p.axes[d] == 1) drop(d);
    for (int d = p.axes.rank() - 2; d >= 0; --d) {
        const std::int64_t inner = p.axes[d + 1];
        if (!all([&](const Place& o) { return o.rows[d] == o.rows[d + 1] * inner; })) continue;
        p.axes[d + 1] *= p.axes[d];
        drop(d);
    }
}

/// Results are written to their memory directly if nothing but this tape reads them there.
void place_results(Problem& p) {
    const RowTape& tape = *p.tape;
    p.direct.assign(tape.code.size(), -1);
    for (std::size_t o = 0; o < tape.outputs.size(); ++o) {
        const std::size_t k = tape.outputs[o] - tape.inputs.size();
        if (p.outputs[o].per_row || tape.code[k].kind != RowTape::Kind::apply) continue;
        p.direct[k] = static_cast<int>(o);
    }
    for (std::size_t r = 0; r < tape.inputs.size() + tape.code.size(); ++r)
        p.kept.push_back(is_kept(tape, p.timing, r));
}

void find_phases(Problem& p) {
    const RowTape& tape = *p.tape;
    p.phases.resize(static_cast<std::size_t>(p.timing.phases));
    std::size_t next = 0;
    for (int number = 0; number < p.timing.phases; ++number) {
        Phase& phase = p.phases[static_cast<std::size_t>(number)];
        phase.first = next;
        std::vector<char> read(tape.inputs.size());
        while (next < p.timing.order.size() && running_phase(p.timing, tape, p.timing.order[next]) == number) {
            const RowTape::Code& c = tape.code[p.timing.order[next++]];
            if (with_rows(c)) {
                phase.elements = next;
                continue;
            }
            for (int o = 0; o < operands_of(c); ++o)
                if (c.instruction.operands[o] < tape.inputs.size()) read[c.instruction.operands[o]] = true;
        }
        phase.elements = std::max(phase.elements, phase.first);
        phase.end = next;
        for (std::size_t i = 0; i < tape.inputs.size(); ++i)
            if (read[i] && !tape.inputs[i].per_row) phase.inputs.push_back(static_cast<int>(i));
        for (std::size_t o = 0; o < p.outputs.size(); ++o)
            if (!p.outputs[o].per_row && p.timing.phase[tape.outputs[o]] == number)
                phase.outputs.push_back(static_cast<int>(o));
    }
}

template <class U>
void move(std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride, std::int64_t n) {
    if (from_stride == 0 && to_stride == std::int64_t{sizeof(U)}) {  // a loop that is vectorised
        std::fill_n(reinterpret_cast<U*>(to), n, *reinterpret_cast<const U*>(from));
        return;
    }
    for (std::int64_t i = 0; i < n; ++i)
        *reinterpret_cast<U*>(to + i * to_stride) = *reinterpret_cast<const U*>(from + i * from_stride);
}

}  // namespace

Problem make_problem(const RowTape& tape, std::span<const View> inputs, std::span<const View> outputs) {
    check(tape, inputs, outputs);
    Problem p{&tape, timing_of(tape), {}, {}, {}, {}, 1, 1, 1, 1, {}, {}};
    const View* elements = nullptr;
    const auto add = [&](std::vector<Place>& to, const View& v, std::size_t reg) {
        if (v.dtype != type_of(tape, reg)) throw TypeError(text("rows: a view of ", name(v.dtype)));
        const bool rows = per_row(tape, reg);
        if (!rows) {
            if (v.layout.rank() == 0 || (elements && elements->shape() != v.shape()))
                throw ShapeError(text("rows: a view of ", to_string(v.shape())));
            elements = &v;
        }
        to.push_back(place_of(v, rows));
    };
    for (std::size_t i = 0; i < inputs.size(); ++i) add(p.inputs, inputs[i], i);
    for (std::size_t i = 0; i < outputs.size(); ++i) add(p.outputs, outputs[i], tape.outputs[i]);
    if (!elements) throw ValueError("rows: nothing has elements");
    p.axes = elements->shape();
    p.columns = p.axes.back();
    p.axes.erase(p.axes.rank() - 1);
    for (const auto* places : {&p.inputs, &p.outputs})
        for (const Place& o : *places)
            if (o.rows.rank() != p.axes.rank()) throw ShapeError("rows: a view of other rows");
    p.rows = count(p.axes);
    p.block_columns = std::min(p.columns, kBlock);
    if (p.columns > 0) p.block_rows = std::max<std::int64_t>(1, std::min(p.rows, kBlock / p.columns));
    join_axes(p);
    place_results(p);
    find_phases(p);
    return p;
}

std::int64_t offset_of(const Problem& p, const Place& o, std::int64_t row) {
    std::int64_t at = 0;
    for (int d = p.axes.rank() - 1; d >= 0; --d) {
        at += row % p.axes[d] * o.rows[d];
        row /= p.axes[d];
    }
    return at;
}

void move(std::int64_t size, std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
          std::int64_t n) {
    if (to_stride == size && from_stride == size) {
        std::memcpy(to, from, static_cast<std::size_t>(n * size));
        return;
    }
    switch (size) {
        case 1:
            return move<std::uint8_t>(to, to_stride, from, from_stride, n);
        case 2:
            return move<std::uint16_t>(to, to_stride, from, from_stride, n);
        case 4:
            return move<std::uint32_t>(to, to_stride, from, from_stride, n);
        default:
            return move<std::uint64_t>(to, to_stride, from, from_stride, n);
    }
}

void gather_rows(const Problem& p, const Place& from, std::int64_t row, std::int64_t n, std::byte* to) {
    const std::int64_t size = bytes_of(from.type);
    for (std::int64_t r = 0; r < n; ++r)
        move(size, to + r * size, size, from.data + offset_of(p, from, row + r), size, 1);
}

void scatter_rows(const Problem& p, const Place& to, std::int64_t row, std::int64_t n, const std::byte* from) {
    const std::int64_t size = bytes_of(to.type);
    for (std::int64_t r = 0; r < n; ++r)
        move(size, to.data + offset_of(p, to, row + r), size, from + r * size, size, 1);
}

}  // namespace tenon::tape::rows
