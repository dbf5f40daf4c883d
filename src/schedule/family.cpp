#include "schedule/family.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/hash.h"
#include "primitive/primitive.h"
#include "schedule/alike.h"
#include "schedule/evaluate.h"
#include "schedule/memory.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};
constexpr std::size_t kMembers = 3;
constexpr int kMaxTries = 16;
/// How many times as large, or as small, a graph may be without being far.
constexpr std::int64_t kNear = 4;

bool is_constant(const Step& s) { return s.primitive && s.primitive->name == "constant"; }

/// Whether an axis may have a stride and an extent that vary together: in the columns of a matrix.
bool is_diagonal(const Step& s) { return s.primitive && s.primitive->name == "diagonal"; }

bool same_structure(const Step& a, const Step& b) {
    return a.primitive == b.primitive && a.dtype == b.dtype && a.held == b.held && a.region == b.region &&
           a.shape.rank() == b.shape.rank() && a.attributes.size() == b.attributes.size() && a.inputs == b.inputs;
}

// The numbers of an executable that follow from extents, in one order. Offsets of buffers are planned, not found.
template <class L, class F>
void for_numbers_of_layout(L& l, Place at, F&& f) {
    at.of = Place::Of::extent, at.axis = 0;
    for (auto& e : l.shape) f(at, e), ++at.axis;
    at.of = Place::Of::stride, at.axis = 0;
    for (auto& s : l.strides) f(at, s), ++at.axis;
}
/// Calls f(Place, number).
template <class E, class F>
void for_numbers_of_tasks(E& e, F&& f) {
    for (std::uint32_t t = 0; t < e.tasks.size(); ++t) {
        Place at{t, 0, Place::Of::offset, 0};
        for (auto* list : {&e.tasks[t].in, &e.tasks[t].out})
            for (auto& o : *list) {
                at.of = Place::Of::offset, at.axis = 0;
                f(at, o.at.offset);
                for_numbers_of_layout(o.view.layout, at, f);
                ++at.operand;
            }
        at.operand = Place::kReading;
        if (e.tasks[t].chain) for_numbers_of_layout(e.tasks[t].chain->reading, at, f);
    }
}
template <class E, class F>
void for_other_numbers(E& e, F&& f) {
    for (auto& r : e.results) {
        f(r.at.offset);
        for_numbers_of_layout(r.layout, {}, [&](const Place&, auto& n) { f(n); });
    }
    for (auto& bytes : e.own) f(bytes);
    for (auto& b : e.buffers) f(b.bytes);
    for (auto& end : e.ends) f(end.bytes);
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

/// Finds where the third of three numbers lies on the line through the other two; false if `at` is already another
/// point.
bool lies_on_line(std::int64_t x, std::int64_t y, std::int64_t z, std::optional<Point>& at) {
    std::int64_t numerator, denominator;
    if (__builtin_sub_overflow(z, x, &numerator) || __builtin_sub_overflow(y, x, &denominator)) return false;
    if (!at) at = Point{numerator, denominator};
    return at->between(x, y) == z;
}

/// Finds what differs between the steps of two graphs of one structure. False if no plan may vary so: a varying extent
/// is below 2.
bool find_varying(const std::vector<Step>& a, const std::vector<Step>& b, std::vector<Family::Varying>& all) {
    for (std::uint32_t i = 0; i < a.size(); ++i) {
        if (is_constant(a[i])) {
            if (!(a[i].attributes == b[i].attributes)) all.push_back({i, Family::Varying::kConstant, 0, 0});
            continue;
        }
        for (int d = 0; d < a[i].shape.rank(); ++d) {
            const std::int64_t x = a[i].shape[d], y = b[i].shape[d];
            if (x == y) continue;
            if (x < 2 || y < 2) return false;
            all.push_back({i, d, x, y});
        }
        for (std::size_t k = 0; k < a[i].attributes.size(); ++k) {
            const std::int64_t x = a[i].attributes[k], y = b[i].attributes[k];
            if (x == y) continue;
            if (!may_vary(a[i].primitive)) return false;
            all.push_back({i, kMaxRank + static_cast<int>(k), x, y});
        }
    }
    return true;
}

/// Where steps lie on the line from `a` along what varies. Empty where they do not, or a varying extent is below 2. A
/// constant that varies has any value: the number of rows in a mean.
std::optional<Point> point_of(const std::vector<Step>& a, const std::vector<Family::Varying>& varying,
                              const std::vector<Step>& c) {
    std::optional<Point> at;
    auto next = varying.begin();
    for (std::uint32_t i = 0; i < a.size(); ++i) {
        if (next == varying.end() || next->step != i) {
            if (!(a[i].shape == c[i].shape) || !(a[i].attributes == c[i].attributes)) return {};
            continue;
        }
        if (next->number == Family::Varying::kConstant) {
            ++next;
            continue;
        }
        const auto fits = [&](int number, std::int64_t x, std::int64_t z, bool extent) {
            if (next == varying.end() || next->step != i || next->number != number) return z == x;
            return (!extent || z >= 2) && lies_on_line(x, (next++)->to, z, at);
        };
        for (int d = 0; d < a[i].shape.rank(); ++d)
            if (!fits(d, a[i].shape[d], c[i].shape[d], true)) return {};
        for (std::size_t k = 0; k < a[i].attributes.size(); ++k)
            if (!fits(kMaxRank + static_cast<int>(k), a[i].attributes[k], c[i].attributes[k], false)) return {};
    }
    return at;
}

/// Whether no array has two axes that vary, no diagonal varies, and no view starts at an element that does: all numbers
/// are then on the line through two graphs. An attribute that varies is the end of a slice, an axis of a new shape, or
/// another axis's stride of a leaf.
bool is_linear(const std::vector<Step>& a, const std::vector<Family::Varying>& varying) {
    const Family::Varying* extent = nullptr;  // of the step
    for (const Family::Varying& v : varying) {
        if (v.number == Family::Varying::kConstant) continue;
        if (v.number < kMaxRank) {
            if ((extent && extent->step == v.step) || is_diagonal(a[v.step])) return false;
            extent = &v;
            continue;
        }
        if (!extent || extent->step != v.step || extent->from != v.from || extent->to != v.to) return false;
        if (!a[v.step].primitive && extent->number == v.number - kMaxRank) return false;
    }
    return true;
}

/// Whether constants that vary among these graphs decided nothing. (Each of them is a fold, or not needed.)
template <class Members>
bool constants_may_vary(const Members& all) {
    const std::vector<Step>& a = *all[0].steps;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!is_constant(a[i])) continue;
        const auto differs = [&](const auto& m) { return !(a[i].attributes == (*m.steps)[i].attributes); };
        if (std::none_of(all.begin(), all.end(), differs)) continue;
        if (!differs(all[1])) return false;
        for (const auto& m : all)
            if (std::ranges::find(m.executable->pinned, i) != m.executable->pinned.end()) return false;
    }
    return true;
}

/// The constants of another graph.
void fold_again(Executable& e, const Graph& g) {
    std::vector<Array> values;
    const Executable& code = e.code();
    for (const Fold& f : code.folds) {
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
        if (code.fold_of[i] != kNone) e.constants[i] = values[code.fold_of[i]].storage;
}

std::vector<std::int64_t> numbers_of(const Executable& e) {
    std::vector<std::int64_t> all;
    for_numbers_of_tasks(e, [&](const Place&, const std::int64_t& n) { all.push_back(n); });
    for_other_numbers(e, [&](const std::int64_t& n) { all.push_back(n); });
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
    if (general_ && same_code(*all_[0].executable, *executable)) ask(*steps);
    if (general_ || tries_ >= kMaxTries) return;
    if (all_.size() == kMembers) all_.erase(all_.begin());
    all_.push_back({std::move(steps), std::move(executable)});
    if (all_.size() > 1) {
        ++tries_;
        general_ = find_line();
    }
    if (general_)
        for (const Member& m : all_) ask(*m.steps);
    if (general_) all_.resize(1);  // what the others differ in is known
    bytes_ = varying_.size() * sizeof(Varying) + changes_.size() * (sizeof(Change) + sizeof(Place)) +
             other_changes_.size() * sizeof(OtherChange) + bytes_of_kept();
    for (const Member& m : all_) bytes_ += m.steps->size() * sizeof(Step) + m.executable->bytes;
}

namespace {

/// The first extent that varies; 0 if only attributes do.
std::int64_t size_of(const std::vector<Step>& steps, const std::vector<Family::Varying>& varying) {
    for (const Family::Varying& v : varying)
        if (v.number >= 0 && v.number < kMaxRank) return steps[v.step].shape[v.number];
    return 0;
}

}  // namespace

bool Family::is_far(const std::vector<Step>& steps) const {
    const std::int64_t size = size_of(steps, varying_);
    return size / kNear > most_ || size < least_ / kNear;
}

void Family::ask(const std::vector<Step>& steps) {
    const std::int64_t size = size_of(steps, varying_);
    least_ = most_ == 0 ? size : std::min(least_, size);
    most_ = std::max(most_, size);
}

bool Family::find_line() {
    const Member& a = all_[0];
    for (const Member& m : all_) {
        if (&m == &a) continue;
        for (std::size_t i = 0; i < a.steps->size(); ++i)
            if (!same_structure((*a.steps)[i], (*m.steps)[i])) return false;
        if (!same_code(*a.executable, *m.executable)) return false;
    }
    if (!constants_may_vary(all_)) return false;
    varying_.clear();
    if (!find_varying(*a.steps, *all_[1].steps, varying_)) return false;
    const std::vector<std::int64_t> x = numbers_of(*a.executable), y = numbers_of(*all_[1].executable);
    if (x.size() != y.size()) return false;
    if (all_.size() < kMembers) {
        if (!is_linear(*a.steps, varying_)) return false;
    } else {
        const auto at = point_of(*a.steps, varying_, *all_[2].steps);
        if (!at || at->numerator == 0 || at->numerator == at->denominator) return false;
        const std::vector<std::int64_t> z = numbers_of(*all_[2].executable);
        if (x.size() != z.size()) return false;
        for (std::size_t i = 0; i < x.size(); ++i)
            if (at->between(x[i], y[i]) != z[i]) return false;
    }
    note_changes(x, y);
    return true;
}

void Family::note_changes(const std::vector<std::int64_t>& x, const std::vector<std::int64_t>& y) {
    auto places = std::make_shared<std::vector<Place>>();
    changes_.clear(), other_changes_.clear();
    std::size_t i = 0;
    const Executable& code = *all_[0].executable;
    for_numbers_of_tasks(code, [&](const Place& place, std::int64_t) {
        if (x[i] != y[i]) places->push_back(place), changes_.push_back({x[i], y[i]});
        ++i;
    });
    for (std::size_t other = i; other < x.size(); ++other)
        if (x[other] != y[other]) other_changes_.push_back({other - i, y[other]});
    places_ = std::move(places);
    arrangements_.emplace(code);
}

std::unique_ptr<Executable> Family::instance(const std::vector<Step>& steps, const Graph& graph) const {
    if (!general_) return nullptr;
    const Member& like = all_[0];
    for (std::size_t i = 0; i < steps.size(); ++i)
        if (!same_structure(steps[i], (*like.steps)[i])) return nullptr;
    const auto at = point_of(*like.steps, varying_, steps);
    if (!at || is_far(steps)) return nullptr;
    auto e = std::make_unique<Executable>();
    const Executable& code = *like.executable;
    e->like = like.executable;
    e->places = places_;
    e->numbers.reserve(changes_.size());
    for (const Change& c : changes_) {
        const auto now = at->between(c.from, c.to);
        if (!now) return nullptr;
        e->numbers.push_back(*now);
    }
    e->results = code.results, e->own = code.own, e->constants = code.constants;
    e->buffers = code.buffers, e->ends = code.ends, e->spare = code.spare;
    e->by_memory = code.by_memory;
    std::size_t position = 0;
    auto next = other_changes_.begin();
    bool whole = true;
    for_other_numbers(*e, [&](std::int64_t& n) {
        if (next == other_changes_.end() || next->at != position++) return;
        const auto now = at->between(n, (next++)->to);
        whole = whole && now;
        if (now) n = *now;
    });
    if (!whole) return nullptr;
    fold_again(*e, graph);
    place_again(*e, *arrangements_);
    e->kept.resize(code.tasks.size());
    e->bytes = sizeof(Executable) + e->numbers.size() * sizeof(std::int64_t) + e->results.size() * sizeof(Result) +
               e->buffers.size() * sizeof(Buffer) + e->ends.size() * sizeof(LeafEnd) +
               e->kept.size() * sizeof(tape::CachedPlan);
    for (const auto& c : e->constants) e->bytes += static_cast<std::size_t>(c->bytes());
    return e;
}

Executable expanded(const Executable& e) {
    if (!e.like) return e;
    Executable all = *e.like;
    all.operands = {};
    all.results = e.results, all.own = e.own, all.constants = e.constants;
    all.buffers = e.buffers, all.ends = e.ends, all.spare = e.spare;
    all.arena_bytes = e.arena_bytes, all.least_bytes = e.least_bytes;
    for (std::size_t i = 0; i < e.numbers.size(); ++i) {
        const Place& place = (*e.places)[i];
        Task& t = all.tasks[place.task];
        std::int64_t none = 0;
        if (place.operand == Place::kReading) {
            auto own = std::make_shared<ChainTask>(*t.chain);
            place.in(none, own->reading) = e.numbers[i];
            t.chain = std::move(own);
        } else {
            Operand& o = place.operand < t.in.size() ? t.in[place.operand] : t.out[place.operand - t.in.size()];
            place.in(o.at.offset, o.view.layout) = e.numbers[i];
        }
    }
    return all;
}

}  // namespace tenon::schedule
