#include "schedule/build.h"

#include <algorithm>
#include <unordered_map>

namespace tenon::schedule {
namespace {

/// The registers of a group: first what is read from memory, then the members' results.
class Registers {
  public:
    Registers(const Group& g, const std::vector<Index>& members) : g_(g), members_(members) {}

    bool inside(Index base) const { return std::binary_search(members_.begin(), members_.end(), base); }

    std::uint8_t input(Draft& d, const Source& s, bool per_row) {
        Source under{s.base, *in_domain(g_.domain, s.layout, per_row)};
        for (std::size_t i = first_input; i < d.in.size(); ++i)
            if (d.in[i] == under) return static_cast<std::uint8_t>(i - first_input + reserved);
        d.in.push_back(std::move(under));
        return static_cast<std::uint8_t>(d.in.size() - 1 - first_input + reserved);
    }

    std::size_t first_input = 0;  // of d.in: a product's own operands precede them
    std::uint8_t reserved = 0;  // registers before the inputs

  private:
    const Group& g_;
    const std::vector<Index>& members_;
};

/// Inputs are collected before registers are numbered, so that they come first.
void collect_inputs(const Program& p, const Group& g, const std::vector<Index>& members, Registers& registers,
                    Draft& d) {
    for (const Index m : members) {
        const bool rows = is_per_row(p, g.domain, m) && p.bases[m].kind != Kind::reduction;
        for (const Source& s : p.bases[m].operands)
            if (!registers.inside(s.base) && !(g.has_product && s.base == g.product)) registers.input(d, s, rows);
    }
}

void build_tape(const Program& p, const Group& g, const std::vector<Index>& members, Draft& d) {
    Registers registers(g, members);
    tape::Tape& t = d.task.tape;
    if (g.has_product) {
        registers.first_input = d.in.size();
        registers.reserved = 1;
        t.inputs.push_back(p.dtype(g.product));
    }
    collect_inputs(p, g, members, registers, d);
    for (std::size_t i = registers.first_input; i < d.in.size(); ++i) t.inputs.push_back(p.dtype(d.in[i].base));
    std::unordered_map<Index, std::uint8_t> at;
    if (g.has_product) at[g.product] = 0;
    for (const Index m : members) {
        std::uint8_t operands[3]{};
        std::size_t n = 0;
        for (const Source& s : p.bases[m].operands) {
            const auto found = at.find(s.base);
            operands[n++] = found != at.end() ? found->second : registers.input(d, s, false);
        }
        if (p.bases[m].kind == Kind::copy) {
            at[m] = operands[0];
            continue;
        }
        t.code.push_back(instruction_of(p, m, operands, n));
        at[m] = static_cast<std::uint8_t>(t.inputs.size() + t.code.size() - 1);
    }
    for (const Index m : d.out) t.outputs.push_back(at.at(m));
}

void build_rows(const Program& p, const Group& g, Draft& d) {
    using Kind = tape::RowTape::Kind;
    Registers registers(g, g.members);
    tape::RowTape& t = d.task.rows;
    const auto note_input = [&](const Source& s, bool rows) {
        const std::size_t before = d.in.size();
        const std::uint8_t r = registers.input(d, s, rows);
        if (d.in.size() > before) t.inputs.push_back({p.dtype(s.base), rows});
        return r;
    };
    for (const Index m : g.members)
        for (const Source& s : p.bases[m].operands)
            if (!registers.inside(s.base))
                note_input(s, is_per_row(p, g.domain, m) && p.bases[m].kind != schedule::Kind::reduction);
    std::unordered_map<Index, std::uint8_t> at, repeated;
    const auto add = [&](const tape::RowTape::Code& c) {
        t.code.push_back(c);
        return static_cast<std::uint8_t>(t.inputs.size() + t.code.size() - 1);
    };
    const auto repeat = [&](Index base) {
        const auto found = repeated.find(base);
        if (found != repeated.end()) return found->second;
        const DType type = p.dtype(base);
        return repeated[base] = add({Kind::repeat, false, {}, {{}, type, type, {at.at(base), 0, 0}}});
    };
    for (const Index m : g.members) {
        const Base& b = p.bases[m];
        const bool reduction = b.kind == schedule::Kind::reduction, rows = is_per_row(p, g.domain, m);
        std::uint8_t operands[3]{};
        std::size_t n = 0;
        for (const Source& s : b.operands) {
            std::uint8_t r;
            if (!registers.inside(s.base))
                r = note_input(s, rows && !reduction);
            else if (!rows && is_per_row(p, g.domain, s.base))
                r = repeat(s.base);
            else
                r = at.at(s.base);
            operands[n++] = r;
        }
        if (b.kind == schedule::Kind::copy) {
            at[m] = operands[0];
        } else if (reduction) {
            const DType type = p.dtype(m);
            at[m] = add({Kind::reduce, true, *p.node(m).primitive->reduction, {{}, type, type, {operands[0], 0, 0}}});
        } else {
            at[m] = add({Kind::apply, rows, {}, instruction_of(p, m, operands, n)});
        }
    }
    for (const Index m : d.out) t.outputs.push_back(at.at(m));
}

/// The draft of a reduction that runs alone, or of a primitive that has only its own kernel.
void build_kernel(const Program& p, Index m, Draft& d) {
    d.task.kind = Task::Kind::kernel;
    for (const Source& s : p.bases[m].operands) d.in.push_back(s);
    d.out = {m};
    d.out_layouts = {Layout::contiguous(p.bases[m].shape)};
}

}  // namespace

tape::Instruction instruction_of(const Program& p, Index m, const std::uint8_t* operands, std::size_t n) {
    const Node& node = p.node(m);
    const DType type = node.inputs[node.primitive->opcode == tape::Opcode::select ? 1 : 0]->dtype;
    tape::Instruction code{node.primitive->opcode, type, node.dtype, {}};
    std::copy(operands, operands + n, code.operands);
    return code;
}

Cost cost_of(const Program& p, const std::vector<Index>& members, const Draft& d) {
    Cost c{0, 0};
    for (const Index m : members) {
        const Cost own = tenon::cost_of(p.node(m));
        c.flops += own.flops;
        if (members.size() == 1) c.bytes = own.bytes;
    }
    if (members.size() == 1) return c;
    const auto bytes = [&](Index base, std::int64_t elements) {
        return static_cast<double>(elements) * static_cast<double>(size_of(p.dtype(base)));
    };
    for (const Source& s : d.in) c.bytes += bytes(s.base, std::min(count(p.bases[s.base].shape), s.layout.count()));
    for (const Index o : d.out) c.bytes += bytes(o, count(p.bases[o].shape));
    return c;
}

Draft draft(const Program& p, const Group& g, const std::vector<bool>& is_result) {
    if (g.ready) return *g.ready;
    Draft d;
    d.task.node = g.members.back();
    d.task.nodes = g.members;
    d.task.alone = g.alone;
    d.task.apart = g.apart;
    d.task.before = g.before;
    d.task.ungrouped = g.ungrouped;
    if (g.has_product) {
        d.task.kind = Task::Kind::product;
        d.task.node = g.product;
        d.in = p.bases[g.product].operands;
        d.task.product_operands = d.in.size();
    } else if (g.members.size() == 1 && !is_elementwise(p.bases[g.members[0]].kind)) {
        build_kernel(p, g.members[0], d);
        d.task.cost = cost_of(p, g.members, d);
        return d;
    }
    std::vector<Index> members = g.members;
    if (g.has_product) std::erase(members, g.product);
    for (const Index m : members)
        if (is_result[m]) d.out.push_back(m);
    if (g.domain.by_rows) {
        d.task.kind = Task::Kind::rows;
        build_rows(p, g, d);
    } else {
        if (!g.has_product) d.task.kind = Task::Kind::tape;
        build_tape(p, g, members, d);
    }
    for (const Index m : d.out) {
        Shape shape = g.domain.shape;
        if (is_per_row(p, g.domain, m)) shape.erase(shape.rank() - 1);
        d.out_layouts.push_back(Layout::contiguous(shape));
    }
    d.task.cost = cost_of(p, g.members, d);
    return d;
}

}  // namespace tenon::schedule
