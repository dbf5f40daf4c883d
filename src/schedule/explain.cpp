#include "tenon/explain.h"

#include <algorithm>
#include <iomanip>
#include <vector>

#include "base/text.h"
#include "primitive/contract.h"
#include "primitive/primitive.h"
#include "product/axes.h"
#include "product/contract.h"
#include "schedule/arena.h"
#include "schedule/chain.h"
#include "schedule/device_primitives.h"
#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/grouped.h"
#include "schedule/options.h"
#include "schedule/place.h"
#include "schedule/prologue.h"

namespace tenon {
namespace schedule {
namespace {

constexpr const char* kKinds[] = {"kernel",           "tape",           "rows",   "product",          "chain",
                                  "grouped products", "core gradients", "hidden", "hidden gradients", "column sums"};
constexpr std::size_t kMaxNames = 12, kMaxBuffers = 5;

std::string quantity(double n, const char* unit) {
    constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
    int p = 0;
    for (; n >= 1000 && p < 4; ++p) n /= 1000;
    std::ostringstream out = classic_stream();
    out << std::setprecision(3) << n << " " << kPrefixes[p] << unit;
    return std::move(out).str();
}

std::string names_of(const Task& t, const Graph& g) {
    std::string all;
    for (std::size_t i = 0; i < t.nodes.size() && i < kMaxNames; ++i)
        all.append(i ? " " : "").append(g.nodes[t.nodes[i]]->primitive->name);
    return t.nodes.size() > kMaxNames ? text(all, " ... (", t.nodes.size(), " in all)") : all;
}

std::string described(const View& v) { return text(to_string(v.shape()), " ", name(v.dtype)); }

std::string pieces(const tape::Tape& t) {
    std::string names;
    for (const tape::Instruction& code : t.code) names.append(names.empty() ? "" : " ").append(tape::name(code.op));
    return names;
}

std::string_view piece(const tape::RowTape::Code& code) {
    constexpr const char* kReductions[] = {"sum", "prod", "max", "min"};
    if (code.kind == tape::RowTape::Kind::repeat) return "repeat";
    return code.kind == tape::RowTape::Kind::reduce ? kReductions[static_cast<int>(code.reduction)]
                                                    : std::string_view(tape::name(code.instruction.op));
}

/// Says how a device computes a contraction, and whether its epilogue runs in the same kernel.
void describe_device_product(std::ostream& out, const Task& t, const Node& n, std::span<const View> in) {
    const bool bytes = product::is_byte(in[0].dtype) && product::is_byte(in[1].dtype);
    const auto describe = [&](bool tiles) {
        out << "       by " << (tiles ? "tiles on compute capability 9.0" : "cuBLASLt")
            << (allows_tf32(n) ? ", as TF32" : "");
    };
    if (t.tape.code.empty()) {
        describe(bytes);
        out << "\n";
        return;
    }
    const auto operands = in.first(t.product_operands), more = in.subspan(t.product_operands);
    const View& result = t.out[0].view;
    const std::string why = tape_declines(n, operands, t.tape, more, result, t.zeros);
    describe(bytes || (why.empty() && is_in_tiles(n, operands, t.tape, more, result, t.zeros)));
    out << (why.empty() ? "; epilogue: " : ", then a loop: ") << pieces(t.tape);
    if (!why.empty()) out << "; no epilogue: " << why;
    out << "\n";
}

std::vector<View> views_of(const std::vector<Operand>& operands) {
    std::vector<View> all;
    for (const Operand& o : operands) all.push_back(o.view);
    return all;
}

/// The form of a chain, and the bytes that it does not move.
void describe_chain(std::ostream& out, const Task& t, std::span<const View> in) {
    if (!t.chain->rows.outputs.empty()) {
        const double bytes = with_row_chain(t, in, t.out[0].view, product::intermediate_bytes);
        out << "       by blocks of rows; intermediate: " << quantity(bytes, "B") << " not written and read; between: ";
        for (std::size_t i = 0; i < t.chain->rows.code.size(); ++i)
            out << (i ? " " : "") << piece(t.chain->rows.code[i]);
    } else {
        const auto [form, bytes] = with_chain(t, in, views_of(t.out), [](const product::Chain& c) {
            return std::pair(product::form_of(c), product::cost(c).intermediate_bytes);
        });
        const ChainTask& c = *t.chain;
        const bool kept = c.keeps_product || c.keeps_intermediate;
        out << "       by " << form << "; intermediate: " << quantity(bytes, "B")
            << (kept ? " not read again" : " not written and read");
        if (kept)
            out << "; kept for others: " << (c.keeps_product ? "the first product" : "")
                << (c.keeps_product && c.keeps_intermediate ? " and " : "")
                << (c.keeps_intermediate ? "what the second reads" : "");
        if (t.gradients) out << "; beside it the gradient of a core";
        if (!t.chain->between.code.empty()) out << "; between: " << pieces(t.chain->between);
    }
}

void describe_grouped(std::ostream& out, const Task& t, std::span<const View> in) {
    with_grouped(t, in, views_of(t.out), [&](auto group) {
        for (std::size_t i = 0; i < group.size(); ++i) {
            const product::GroupedProduct& p = group[i];
            out << "       " << described(p.a) << " by " << described(p.b) << ": "
                << product::way_of(p.a, p.b, p.out, p.labels, p.epilogue, {}).name;
            if (p.epilogue && !p.epilogue->tape.code.empty()) out << "; epilogue: " << pieces(p.epilogue->tape);
            out << (p.reads_earlier ? ", which reads the one before tile by tile\n" : "\n");
        }
    });
}

/// The row of one product on the CPU, and what runs before it.
void describe_row(std::ostream& out, const Task& t, const Node& n, std::span<const View> in) {
    const View& result = t.out[0].view;
    product::WayName row{};
    if (t.prologues) {
        row = way_with_prologues(t, in, result);
    } else {
        const ContractLabels labels = contract_labels(n);
        const product::Epilogue epilogue{t.tape, in.subspan(2)};
        row = product::way_of(in[0], in[1], result, {labels.a, labels.b, labels.out},
                              t.tape.outputs.empty() ? nullptr : &epilogue, {});
    }
    out << "       by " << row.name << ": " << row.what;
    if (t.prologues && !t.prologues->a.code.empty()) out << "; prologue of a: " << pieces(t.prologues->a);
    if (t.prologues && !t.prologues->b.code.empty()) out << "; prologue of b: " << pieces(t.prologues->b);
}

/// How a task that holds a product runs.
void describe_product(std::ostream& out, const Task& t, const Graph& g) {
    const std::vector<View> in = views_of(t.in);
    if (t.chain) {
        describe_chain(out, t, in);
    } else if (t.grouped) {
        return describe_grouped(out, t, in);
    } else if (t.kind == Task::Kind::core_gradients) {
        out << "       by the products of a chain, whose intermediate is computed again\n";
        return;
    } else if (t.hidden) {
        out << (t.kind == Task::Kind::hidden
                    ? "       of both layers' products beside a function of hidden values, which is not stored\n"
                    : "       of what is beside hidden values, whose function is computed again\n");
        return;
    } else if (t.kind == Task::Kind::column_sums) {
        out << "       of what is computed again: " << pieces(t.tape)
            << (t.rows.code.empty() ? "\n" : ", in the pass over the rows where one takes both\n");
        return;
    } else {
        const Node& n = *g.nodes[t.node];
        if (!is_contract(n)) {
            if (g.device == Device::cpu()) return;
            if (const std::string way = way_of_device_code(g.device, n, in); !way.empty())
                out << "       " << way << "\n";
            return;
        }
        if (g.device != Device::cpu()) return describe_device_product(out, t, n, in);
        describe_row(out, t, n, in);
    }
    if (!t.tape.code.empty()) out << "; epilogue: " << pieces(t.tape);
    out << "\n";
}

void describe(std::ostream& out, const Task& t, const Graph& g, std::size_t number) {
    out << std::setw(4) << number << " " << kKinds[static_cast<int>(t.kind)] << ": " << names_of(t, g) << " ->";
    for (const Operand& o : t.out) out << " " << described(o.view);
    out << "; " << quantity(t.cost.flops, "FLOP") << ", " << quantity(t.cost.bytes, "B") << "\n";
    describe_product(out, t, g);
    if (!t.before.empty()) out << "       no prologue: " << t.before << "\n";
    if (!t.ungrouped.empty())
        out << "       not grouped with the product that shares an operand: " << t.ungrouped << "\n";
    if (!t.apart.empty()) out << "       no chain with the product that it reads: " << t.apart << "\n";
    if (!t.alone.empty()) out << "       not joined with what it reads: " << t.alone << "\n";
}

/// Bytes of the values that the tasks read and nobody computes.
std::int64_t leaf_bytes(const Executable& e, const Graph& g) {
    std::vector<bool> seen(g.nodes.size());
    std::int64_t bytes = 0;
    for (const Task& t : e.tasks)
        for (const Operand& o : t.in) {
            if (o.at.in != Location::In::leaf || seen[o.at.index]) continue;
            seen[o.at.index] = true;
            const Node& n = *g.nodes[o.at.index];
            bytes += count(n.shape) * static_cast<std::int64_t>(size_of(n.dtype));
        }
    return bytes;
}

void describe_memory(std::ostream& out, const Executable& e, const Graph& g) {
    std::int64_t results = 0;
    for (const std::int64_t bytes : e.own) results += bytes;
    const auto bytes_of = [](std::int64_t n) { return quantity(static_cast<double>(n), "B"); };
    out << "memory: peak " << bytes_of(e.arena_bytes + results) << " beside inputs of " << bytes_of(leaf_bytes(e, g))
        << "; arena " << bytes_of(e.arena_bytes) << ", least possible " << bytes_of(e.least_bytes);
    if (e.least_bytes > 0)
        out << " (" << std::setprecision(3) << static_cast<double>(e.arena_bytes) / static_cast<double>(e.least_bytes)
            << " of it)";
    out << "; results " << bytes_of(results) << "\n";
    if (!e.receivers.empty())
        out << "donation: " << e.receivers.size() << " of " << e.own.size()
            << " results may take the memory of inputs that die\n";
    std::vector<Lifetime> lives;
    for (const Buffer& b : e.buffers) lives.push_back({b.bytes, b.first, b.last});
    std::int64_t peak = 0;
    if (least_bytes(lives, &peak) == 0) return;
    std::vector<Buffer> alive;
    for (const Buffer& b : e.buffers)
        if (b.first <= peak && peak <= b.last) alive.push_back(b);
    std::stable_sort(alive.begin(), alive.end(), [](const Buffer& a, const Buffer& b) { return a.bytes > b.bytes; });
    out << "peak at task " << peak << ":";
    for (std::size_t i = 0; i < alive.size() && i < kMaxBuffers; ++i) {
        const Node& n = *g.nodes[alive[i].node];
        out << (i ? ", " : " ") << n.primitive->name << " " << to_string(n.shape) << " "
            << quantity(static_cast<double>(alive[i].bytes), "B") << " (tasks " << alive[i].first << " to "
            << alive[i].last << ")";
    }
    if (alive.size() > kMaxBuffers) out << ", " << alive.size() - kMaxBuffers << " smaller";
    out << "\n";
}

std::string explained(std::span<Node* const> roots) {
    const auto lock = lock_evaluator();
    const Device device = roots.empty() ? Device::cpu() : roots[0]->place();
    const Options o = options_on(device, options());
    const Graph graph = collect(roots, 0, device);
    if (graph.nodes.empty()) return "everything is computed\n";
    const auto e = compile(graph, o);
    std::ostringstream out = classic_stream();
    const auto leaves = std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node* n) { return n->value(); });
    out << graph.nodes.size() << " nodes, " << leaves << " of them computed; " << e->tasks.size() << " tasks"
        << (device == Device::cpu() ? "" : " on " + to_string(device))
        << (e->regions == e->tasks.size()
                ? ""
                : text(", ", e->tasks.size() - e->regions, " of them of layers that are compiled once"))
        << (e->by_memory ? ", in an order that takes less memory than that of recording\n" : "\n");
    std::size_t scalars = 0, number = 0;
    for (const Task& t : e->tasks) {
        if (t.kind == Task::Kind::kernel && t.in.empty() && t.out[0].view.layout.rank() == 0)
            ++scalars;
        else
            describe(out, t, graph, number);
        ++number;
    }
    if (scalars) out << "     and " << scalars << " numbers given at run time\n";
    describe_memory(out, *e, graph);
    return std::move(out).str();
}

std::string difference(const Step& now, const Step& before) {
    const auto named = [](const Step& s) {
        return s.primitive ? std::string(s.primitive->name) : std::string("input");
    };
    if (now.primitive != before.primitive) return text("is ", named(now), ", not ", named(before));
    const std::string it = text("(", named(now), ") ");
    if (now.shape != before.shape)
        return text(it, "has shape ", to_string(now.shape), ", not ", to_string(before.shape));
    if (now.dtype != before.dtype) return text(it, "is ", name(now.dtype), ", not ", name(before.dtype));
    if (!(now.inputs == before.inputs)) return it + "reads other nodes";
    if (!(now.attributes == before.attributes))
        return it + (now.primitive ? "has other attributes" : "has other strides");
    if (now.held != before.held)
        return it + (now.held ? "is held by somebody, and was not" : "is held by nobody, and was");
    if (now.region != before.region) return it + "is in another checkpoint";
    return {};
}

/// How many nodes are of the same primitive on the same operands, an equal one counting twice.
std::size_t likeness(const Plan& now, const Plan& before) {
    std::size_t alike = 0;
    for (std::size_t i = 0; i < std::min(now.steps->size(), before.steps->size()); ++i) {
        const Step &a = (*now.steps)[i], &b = (*before.steps)[i];
        if (!a.primitive || a.primitive != b.primitive || !(a.inputs == b.inputs)) continue;
        alike += 1 + difference(a, b).empty();
    }
    return alike;
}

std::string first_difference(const Plan& now, const Plan& before) {
    for (std::size_t i = 0; i < std::min(now.steps->size(), before.steps->size()); ++i)
        if (const std::string d = difference((*now.steps)[i], (*before.steps)[i]); !d.empty())
            return text("node ", i, " of ", now.steps->size(), " ", d);
    if (now.steps->size() != before.steps->size())
        return text("it has ", now.steps->size(), " nodes, not ", before.steps->size());
    return "it is compiled with other options";
}

std::string newest_difference() {
    const auto lock = lock_evaluator();
    const auto [newest, others] = remembered();
    if (!newest) return {};
    const Plan* nearest = nullptr;
    std::size_t most = 0;
    for (const Plan* p : others)
        if (const std::size_t alike = likeness(*newest, *p); alike > most) most = alike, nearest = p;
    if (nearest) return first_difference(*newest, *nearest);
    return text("no graph like it is remembered (", newest->steps->size(), " nodes)");
}

}  // namespace
}  // namespace schedule

std::string explain(std::span<const Tensor> tensors) {
    std::vector<Node*> roots;
    for (const Tensor& t : tensors) {
        t.shape();  // throws where it is not defined
        roots.push_back(t.node());
    }
    return schedule::explained(roots);
}

std::string explain(const Tensor& t) { return explain({&t, 1}); }

std::string why_recompiled() { return schedule::newest_difference(); }

std::int64_t compiler_faults() { return schedule::statistics().faults; }

}  // namespace tenon
