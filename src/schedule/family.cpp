#include "schedule/family.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/hash.h"
#include "primitive/primitive.h"
#include "schedule/evaluate.h"
#include "schedule/memory.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};
constexpr std::size_t kMembers = 3;
constexpr int kMostTries = 16;

bool is_constant(const Step& s) { return s.primitive && s.primitive->name == "constant"; }

bool same_structure(const Step& a, const Step& b) {
    return a.primitive == b.primitive && a.dtype == b.dtype && a.held == b.held && a.region == b.region &&
           a.shape.rank() == b.shape.rank() && a.attributes.size() == b.attributes.size() && a.inputs == b.inputs;
}

// The numbers of an executable that follow from extents, in one order. Offsets of buffers are planned, not found.
template <class L, class F>
void for_numbers_of_layout(L& l, F&& f) {
    for (auto& e : l.shape) f(e);
    for (auto& s : l.strides) f(s);
}
template <class E, class F>
void for_numbers(E& e, F&& f) {
    for (auto& t : e.tasks) {
        for (auto* list : {&t.in, &t.out})
            for (auto& o : *list) {
                f(o.at.offset);
                for_numbers_of_layout(o.view.layout, f);
            }
        if (t.chain) for_numbers_of_layout(t.chain->reading, f);
    }
    for (auto& r : e.results) {
        f(r.at.offset);
        for_numbers_of_layout(r.layout, f);
    }
    for (auto& bytes : e.own) f(bytes);
    for (auto& b : e.buffers) f(b.bytes);
    for (auto& end : e.ends) f(end.bytes);
}

bool same(const Location& a, const Location& b) { return a.in == b.in && a.index == b.index; }

bool same(const tape::Instruction& a, const tape::Instruction& b) {
    return a.op == b.op && a.type == b.type && a.result == b.result &&
           std::equal(a.operands, a.operands + 3, b.operands);
}
bool same(const tape::Tape& a, const tape::Tape& b) {
    return a.inputs == b.inputs && a.outputs == b.outputs &&
           std::equal(a.code.begin(), a.code.end(), b.code.begin(), b.code.end(),
                      [](const auto& x, const auto& y) { return same(x, y); });
}
bool same(const tape::RowTape& a, const tape::RowTape& b) {
    return a.outputs == b.outputs &&
           std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(), b.inputs.end(),
                      [](const auto& x, const auto& y) { return x.type == y.type && x.per_row == y.per_row; }) &&
           std::equal(a.code.begin(), a.code.end(), b.code.begin(), b.code.end(), [](const auto& x, const auto& y) {
               return x.kind == y.kind && x.per_row == y.per_row && x.reduction == y.reduction &&
                      same(x.instruction, y.instruction);
           });
}
bool same(const TaskLabels& a, const TaskLabels& b) { return a.a == b.a && a.b == b.b && a.out == b.out; }
bool same(const std::vector<Operand>& a, const std::vector<Operand>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Operand& x, const Operand& y) {
        return same(x.at, y.at) && x.view.dtype == y.view.dtype && x.view.layout.rank() == y.view.layout.rank();
    });
}
bool same(const ChainTask* a, const ChainTask* b) {
    if (!a || !b) return a == b;
    return same(a->first, b->first) && same(a->second, b->second) && a->product == b->product &&
           same(a->between, b->between) && a->between_inputs == b->between_inputs && a->z_is_a == b->z_is_a &&
           a->reading.rank() == b->reading.rank() && a->always == b->always;
}
bool same(const PrologueTask* a, const PrologueTask* b) {
    if (!a || !b) return a == b;
    return same(a->labels, b->labels) && same(a->a, b->a) && same(a->b, b->b) && a->a_inputs == b->a_inputs &&
           a->b_inputs == b->b_inputs;
}
bool same(const std::vector<GroupedTask>* a, const std::vector<GroupedTask>* b) {
    if (!a || !b) return a == b;
    return std::equal(a->begin(), a->end(), b->begin(), b->end(), [](const GroupedTask& x, const GroupedTask& y) {
        return x.node == y.node && same(x.labels, y.labels) && same(x.tape, y.tape) && x.inputs == y.inputs &&
               x.reads_earlier == y.reads_earlier;
    });
}
bool same(const Task& a, const Task& b) {
    return a.kind == b.kind && a.node == b.node && a.nodes == b.nodes && same(a.in, b.in) && same(a.out, b.out) &&
           a.product_operands == b.product_operands && same(a.tape, b.tape) && same(a.rows, b.rows) &&
           same(a.chain.get(), b.chain.get()) && same(a.prologues.get(), b.prologues.get()) &&
           same(a.grouped.get(), b.grouped.get());
}

/// Whether the constants that are no folds are equal.
bool same_tables(const Executable& a, const Executable& b) {
    for (std::size_t i = 0; i < a.constants.size(); ++i) {
        if (a.fold_of[i] != kNone) continue;
        const Storage &x = *a.constants[i], &y = *b.constants[i];
        if (x.bytes() != y.bytes() || std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.bytes())) != 0)
            return false;
    }
    return true;
}

/// Whether two executables differ in numbers, and in constants that graphs give, alone.
bool same_code(const Executable& a, const Executable& b) {
    const auto equal = [](const auto& x, const auto& y, auto f) {
        return std::equal(x.begin(), x.end(), y.begin(), y.end(), f);
    };
    return equal(a.tasks, b.tasks, [](const Task& x, const Task& y) { return same(x, y); }) &&
           equal(a.results, b.results,
                 [](const Result& x, const Result& y) {
                     return x.node == y.node && same(x.at, y.at) && x.layout.rank() == y.layout.rank();
                 }) &&
           a.own.size() == b.own.size() &&
           equal(a.buffers, b.buffers,
                 [](const Buffer& x, const Buffer& y) {
                     return x.node == y.node && x.first == y.first && x.last == y.last;
                 }) &&
           equal(a.ends, b.ends,
                 [](const LeafEnd& x, const LeafEnd& y) { return x.leaf == y.leaf && x.last == y.last; }) &&
           equal(a.receivers, b.receivers,
                 [](const Receiver& x, const Receiver& y) {
                     return x.own == y.own && x.task == y.task && x.in_place == y.in_place;
                 }) &&
           a.constants.size() == b.constants.size() && a.folds == b.folds && a.fold_of == b.fold_of &&
           same_tables(a, b);
}

/// A point on the line from 0 to 1 as a fraction, and what a number that goes from a to b is there.
struct Point {
    std::int64_t numerator, denominator;

    std::optional<std::int64_t> between(std::int64_t a, std::int64_t b) const {
        if (a == b) return a;
        std::int64_t difference, product, value;
        if (__builtin_sub_overflow(b, a, &difference) || __builtin_mul_overflow(difference, numerator, &product) ||
            product % denominator != 0 || __builtin_add_overflow(a, product / denominator, &value))
            return {};
        return value;
    }
};

/// Whether the compiler makes nothing of a primitive's attributes but layouts: others than these are read by its
/// kernel, from the node. Axes of reductions, labels of products and constants are part of the code.
bool may_vary(const Primitive* p) {
    return !p || (p->role != Role::reduction && p->role != Role::product && p->role != Role::pointwise &&
                  !(p->role == Role::leaf && p->name == "constant"));
}

/// Where the steps lie on the line through two others. Empty where they do not, or a varying extent is below 2. A
/// constant that varies has any value: the number of rows in a mean.
std::optional<Point> point_of(const std::vector<Step>& a, const std::vector<Step>& b, const std::vector<Step>& c) {
    std::optional<Point> at;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (is_constant(a[i])) {
            if (a[i].attributes == b[i].attributes && !(a[i].attributes == c[i].attributes)) return {};
            continue;
        }
        const auto fits = [&](std::int64_t x, std::int64_t y, std::int64_t z, bool extent) {
            if (x == y) return z == x;
            if (extent ? x < 2 || y < 2 || z < 2 : !may_vary(a[i].primitive)) return false;
            std::int64_t numerator, denominator;
            if (__builtin_sub_overflow(z, x, &numerator) || __builtin_sub_overflow(y, x, &denominator)) return false;
            if (!at) at = Point{numerator, denominator};
            return at->between(x, y) == z;
        };
        for (int d = 0; d < a[i].shape.rank(); ++d)
            if (!fits(a[i].shape[d], b[i].shape[d], c[i].shape[d], true)) return {};
        for (std::size_t k = 0; k < a[i].attributes.size(); ++k)
            if (!fits(a[i].attributes[k], b[i].attributes[k], c[i].attributes[k], false)) return {};
    }
    return at;
}

/// Whether a constant that varies decided nothing in any of three executables. (Each of them is a fold, or not needed.)
bool constants_may_vary(const std::vector<Step>& a, const std::vector<Step>& b, const std::vector<Step>& c,
                        std::initializer_list<const Executable*> made) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!is_constant(a[i]) || (a[i].attributes == b[i].attributes && a[i].attributes == c[i].attributes)) continue;
        if (a[i].attributes == b[i].attributes) return false;
        for (const Executable* e : made)
            if (std::find(e->pinned.begin(), e->pinned.end(), i) != e->pinned.end()) return false;
    }
    return true;
}

/// The constants of another graph.
void fold_again(Executable& e, const Graph& g) {
    std::vector<Array> values;
    for (const Fold& f : e.folds) {
        const Node& n = *g.nodes[f.node];
        if (f.from.empty()) {
            values.push_back(compute(n));
            continue;
        }
        const Layout layout = Layout::contiguous(f.shape);
        auto storage = Storage::allocate(layout.count() * static_cast<std::int64_t>(size_of(n.dtype)));
        std::vector<View> in;
        for (const Fold::Part& p : f.from) in.push_back(with_layout(values[p.fold].view, p.layout));
        const View out{storage->data(), n.dtype, layout};
        n.primitive->run(n, in, out);
        values.push_back({std::move(storage), out});
    }
    for (std::size_t i = 0; i < e.constants.size(); ++i)
        if (e.fold_of[i] != kNone) e.constants[i] = values[e.fold_of[i]].storage;
}

std::vector<std::int64_t> numbers_of(const Executable& e) {
    std::vector<std::int64_t> all;
    for_numbers(e, [&](const std::int64_t& n) { all.push_back(n); });
    return all;
}

}  // namespace

std::uint64_t key_of_structure(const Graph& g) {
    std::uint64_t h = g.variant;
    for (std::size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& n = *g.nodes[i];
        const Primitive* p = n.value() ? nullptr : n.primitive;
        h = mix(h, reinterpret_cast<std::uintptr_t>(p));
        h = mix(h,
                static_cast<std::uint64_t>(n.dtype) << 8 | static_cast<std::uint64_t>(n.shape.rank()) << 1 | g.held[i]);
        if (p)
            for (const Node* in : n.inputs) h = mix(h, in->visit_index);
    }
    return h;
}

bool Family::holds(const Graph& g) const {
    const std::vector<Step>& steps = *first_;
    if (steps.size() != g.nodes.size()) return false;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const Step& s = steps[i];
        const Node& n = *g.nodes[i];
        if (s.primitive != (n.value() ? nullptr : n.primitive) || s.dtype != n.dtype ||
            s.shape.rank() != n.shape.rank() || s.held != g.held[i])
            return false;
        if (!s.primitive) continue;
        if (s.inputs.size() != n.inputs.size() || s.attributes.size() != n.attributes.size()) return false;
        for (std::size_t k = 0; k < n.inputs.size(); ++k)
            if (s.inputs[k] != n.inputs[k]->visit_index) return false;
    }
    return true;
}

void Family::add(std::shared_ptr<const std::vector<Step>> steps, std::shared_ptr<const Executable> executable) {
    ++compilations_;
    if (general_ || tries_ >= kMostTries) return;
    if (all_.size() == kMembers) all_.erase(all_.begin());
    all_.push_back({std::move(steps), std::move(executable)});
    bytes_ = 0;
    for (const Member& m : all_) bytes_ += m.steps->size() * sizeof(Step) + m.executable->bytes;
    if (all_.size() == kMembers) {
        ++tries_;
        general_ = find_line();
    }
}

bool Family::find_line() {
    const Member &a = all_[0], &b = all_[1], &c = all_[2];
    for (std::size_t i = 0; i < a.steps->size(); ++i)
        if (!same_structure((*a.steps)[i], (*b.steps)[i]) || !same_structure((*a.steps)[i], (*c.steps)[i]))
            return false;
    if (!same_code(*a.executable, *b.executable) || !same_code(*a.executable, *c.executable)) return false;
    if (!constants_may_vary(*a.steps, *b.steps, *c.steps, {a.executable.get(), b.executable.get(), c.executable.get()}))
        return false;
    const auto at = point_of(*a.steps, *b.steps, *c.steps);
    if (!at || at->numerator == 0 || at->numerator == at->denominator) return false;
    const std::vector<std::int64_t> x = numbers_of(*a.executable), y = numbers_of(*b.executable),
                                    z = numbers_of(*c.executable);
    if (x.size() != y.size() || x.size() != z.size()) return false;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (at->between(x[i], y[i]) != z[i]) return false;
    changes_.clear();
    for (std::size_t i = 0; i < x.size(); ++i)
        if (x[i] != y[i]) changes_.push_back({i, y[i] - x[i]});
    return true;
}

std::unique_ptr<Executable> Family::instance(const std::vector<Step>& steps, const Graph& graph) const {
    if (!general_) return nullptr;
    for (std::size_t i = 0; i < steps.size(); ++i)
        if (!same_structure(steps[i], (*all_[0].steps)[i])) return nullptr;
    const auto at = point_of(*all_[0].steps, *all_[1].steps, steps);
    if (!at) return nullptr;
    auto e = std::make_unique<Executable>(*all_[0].executable);
    for (Task& t : e->tasks)
        if (t.chain) t.chain = std::make_shared<ChainTask>(*t.chain);
    std::size_t position = 0;
    auto next = changes_.begin();
    bool whole = true;
    for_numbers(*e, [&](std::int64_t& n) {
        if (next == changes_.end() || next->at != position++) return;
        const auto now = at->between(n, n + next->by);
        whole = whole && now;
        if (now) n = *now;
        ++next;
    });
    if (!whole) return nullptr;
    fold_again(*e, graph);
    e->compiled = false;
    place_again(*e);
    return e;
}

}  // namespace tenon::schedule
