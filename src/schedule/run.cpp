#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <unordered_map>

#include "base/text.h"
#include "cuda/graph.h"
#include "primitive/contract.h"
#include "primitive/leaf.h"
#include "profile/recorder.h"
#include "schedule/branches.h"
#include "schedule/chain.h"
#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/grouped.h"
#include "schedule/operands.h"
#include "schedule/place.h"
#include "schedule/plan.h"
#include "schedule/prologue.h"
#include "schedule/replay.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

struct Memory {
    const Executable& executable;
    const Leaves& leaves;
    std::shared_ptr<Storage> arena;
    std::vector<std::shared_ptr<Storage>> own;
    std::vector<std::byte*> buffers;
    std::vector<std::uint32_t> overwritten;  // leaves
    std::int64_t first_overwriting = std::numeric_limits<std::int64_t>::max();  // task

    Storage& overwrite(std::uint32_t leaf, std::int64_t task) {
        overwritten.push_back(leaf);
        first_overwriting = std::min(first_overwriting, task);
        return *leaves.values[leaf]->storage;
    }

    const std::shared_ptr<Storage>& storage(const Location& l) const {
        switch (l.in) {
            case Location::In::leaf:
                return leaves.values[l.index]->storage;
            case Location::In::constant:
                return executable.constants[l.index];
            case Location::In::arena:
                return arena;  // null where that is small: no result is there
            default:
                return own[l.index];
        }
    }
    /// The storage of an operand that outlives this run; otherwise null.
    Storage* owner(const Location& l) const {
        if (leaves.device != Device::cpu()) return nullptr;
        if (l.in == Location::In::leaf) return leaves.dies[l.index] ? nullptr : storage(l).get();
        return l.in == Location::In::constant ? storage(l).get() : nullptr;
    }
    std::byte* base(const Location& l) const {
        if (l.in == Location::In::arena) return buffers[l.index];
        void* base = l.in == Location::In::leaf ? leaves.values[l.index]->view.data : storage(l)->data();
        return static_cast<std::byte*>(base);
    }
    void* address(const Location& l) const { return base(l) + l.offset; }
};

/// Memory for the intermediates of one run, which holds the evaluator's lock. Those of small runs are in one place.
std::byte* arena(Memory& m, Device device, std::int64_t bytes, bool poison) {
    alignas(64) static std::byte small[2048];
    const bool is_small = device == Device::cpu() && bytes <= static_cast<std::int64_t>(sizeof small);
    if (!is_small) m.arena = arena_on(device, bytes);
    if (poison && is_small) std::memset(small, 0xFF, sizeof small);
    if (poison && !is_small) fill_bytes(*m.arena, 0xFF);
    return is_small ? small : static_cast<std::byte*>(m.arena->data());
}

void allocate_arena(Memory& m, const Executable& e, const Leaves& leaves, bool poison) {
    if (e.buffers.empty()) return;  // which may all be empty
    const auto dies = [&](std::uint32_t leaf) { return leaf == kNone || leaves.dies[leaf]; };
    const bool spare = e.spare && std::all_of(e.spare->leaves.begin(), e.spare->leaves.end(), dies);
    std::byte* const base = arena(m, leaves.device, spare ? e.spare->arena_bytes : e.arena_bytes, poison);
    m.buffers.reserve(e.buffers.size());
    for (std::size_t b = 0; b < e.buffers.size(); ++b) {
        const std::uint32_t leaf = spare ? e.spare->leaves[b] : kNone;
        if (leaf == kNone) {
            m.buffers.push_back(base + (spare ? e.spare->offsets[b] : e.buffers[b].offset));
        } else {
            m.buffers.push_back(static_cast<std::byte*>(m.overwrite(leaf, e.buffers[b].first).data()));
        }
    }
}

/// Lets results take the memory of leaves that die.
void take_leaves(Memory& m, const Executable& e, const Leaves& leaves) {
    if (std::none_of(e.ends.begin(), e.ends.end(), [&](const LeafEnd& end) { return leaves.dies[end.leaf]; })) return;
    std::unordered_map<std::int64_t, std::vector<std::uint32_t>> free;  // by bytes
    std::vector<bool> taken(leaves.dies.size());
    for (const std::uint32_t leaf : m.overwritten) taken[leaf] = true;
    const auto take = [&](const Receiver& r, std::uint32_t leaf) {
        taken[leaf] = true;
        m.overwrite(leaf, r.task);
        m.own[r.own] = leaves.values[leaf]->storage;
    };
    auto end = e.ends.begin();
    for (const Receiver& r : e.code().receivers) {
        for (; end != e.ends.end() && end->last < r.task; ++end)
            if (leaves.dies[end->leaf] && !taken[end->leaf]) free[end->bytes].push_back(end->leaf);
        const auto in_place = std::find_if(r.in_place.begin(), r.in_place.end(),
                                           [&](std::uint32_t leaf) { return leaves.dies[leaf] && !taken[leaf]; });
        if (in_place != r.in_place.end()) {
            take(r, *in_place);
        } else if (const auto at = free.find(e.own[r.own]); at != free.end() && !at->second.empty()) {
            take(r, at->second.back());
            at->second.pop_back();
        }
    }
}

Memory allocate(const Executable& e, const Leaves& leaves, bool poison) {
    Memory m{e,
             leaves,
             nullptr,
             std::vector<std::shared_ptr<Storage>>(e.own.size()),
             {},
             {},
             std::numeric_limits<std::int64_t>::max()};
    allocate_arena(m, e, leaves, poison);
    take_leaves(m, e, leaves);
    for (std::size_t i = 0; i < e.own.size(); ++i) {
        if (m.own[i]) continue;
        m.own[i] = schedule::allocate(leaves.device, e.own[i]);
        if (poison) fill_bytes(*m.own[i], 0xFF);
    }
    for (const std::uint32_t leaf : m.overwritten) leaves.values[leaf]->storage->overwrite();
    return m;
}

/// Fetches memory that is in no near cache, since kernels have run. What is asked for together is waited for once.
void fetch(const void* from, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(from) + at);
}

/// Of the run under way, guarded by the evaluator's lock. Never destroyed: destructors of static variables may compute.
struct Bound {
    struct Place {
        std::byte* base;
        Storage* owner;
    };
    std::vector<Place> places;  // of all operands, found before the first kernel runs
    std::vector<View> views;  // of the task that runs
    Layout reading;  // of a chain
};
Bound& bound() {
    static auto& now = *new Bound;
    return now;
}

/// Views of operands, then of results. One lives at a time.
class Binding {
  public:
    Binding(const Executable& e, const Memory& m) : e_(e), operands_(operands_of(e.code())) {
        const std::vector<Location>& all = e.code().operands.locations;
        std::vector<Bound::Place>& places = bound().places;
        places.clear();
        places.reserve(all.size());
        for (const Location& l : all) places.push_back({m.base(l), m.owner(l)});
        place_ = places.data();
    }

    /// Binds the views of a task; called for one task after the other, without numbers.
    void bind(std::uint32_t at) {
        const Task& t = e_.code().tasks[at];
        const bool with_owner = t.kind == Task::Kind::product || t.kind == Task::Kind::kernel ||
                                t.kind == Task::Kind::grouped || t.kind == Task::Kind::chain;
        views.resize(t.in.size() + t.out.size());
        for (std::size_t i = 0; i < views.size(); ++i) {
            View& v = views[i];
            std::int64_t offset = operands_.next(v);
            set_numbers(at, static_cast<std::uint16_t>(i), offset, v.layout);
            v.data = place_->base + offset;
            v.owner = with_owner ? place_->owner : nullptr;
            ++place_;
        }
        if (!t.chain) return;
        std::int64_t none = 0;
        reading = t.chain->reading;
        set_numbers(at, Place::kReading, none, reading);
    }

    /// Fetches what the next task is bound from.
    void fetch_next() const { operands_.fetch(); }

    std::vector<View>& views = bound().views;
    Layout& reading = bound().reading;

  private:
    static OperandReader operands_of(const Executable& code) {
        if (code.operands.locations.empty()) code.operands = packed_operands(code.tasks);
        return OperandReader(code.operands);
    }
    void set_numbers(std::uint32_t task, std::uint16_t operand, std::int64_t& offset, Layout& layout) {
        for (; next_ < e_.numbers.size(); ++next_) {
            const Place& place = (*e_.places)[next_];
            if (place.task != task || place.operand != operand) return;
            place.in(offset, layout) = e_.numbers[next_];
        }
    }

    const Executable& e_;
    OperandReader operands_;
    const Bound::Place* place_;
    std::size_t next_ = 0;
};

void run_task(const Task& t, const Node& n, Device device, const Binding& binding, tape::CachedPlan* kept) {
    const std::span<const View> views = binding.views;
    const auto in = views.first(t.in.size()), out = views.subspan(t.in.size());
    if (device != Device::cpu()) return run_on_device(device, t, n, in, out);
    switch (t.kind) {
        case Task::Kind::kernel:
            return (n.primitive->run ? n.primitive->run : n.primitive->reference)(n, in, out[0]);
        case Task::Kind::tape:
            return tape::run(t.tape, in, out, kept);
        case Task::Kind::rows:
            return tape::run_rows(t.rows, in, out, kept);
        case Task::Kind::product:
            if (t.prologues) return run_with_prologues(t, in, out[0]);
            return n.primitive->run_with_epilogue(n, in.first(t.product_operands), t.tape,
                                                  in.subspan(t.product_operands), out[0]);
        case Task::Kind::chain:
            if (!t.chain->rows.outputs.empty())
                return with_row_chain(t, in, out[0], [](const product::RowChain& c) { product::run(c); });
            return with_chain(t, binding.reading, in, out, [](const product::Chain& c) { product::run(c); });
        case Task::Kind::grouped:
            return with_grouped(t, in, out, [](auto group) { product::contract_grouped(group); });
        case Task::Kind::core_gradients:
        case Task::Kind::hidden:
        case Task::Kind::hidden_gradients:
        case Task::Kind::column_sums:
            throw std::logic_error("what computes an intermediate again runs on a device alone");
    }
}

/// Writes a number to the arena, on the host.
void write_number(const Task& t, const Node& n, const Memory& m) {
    const View out{m.address(t.out[0].at), n.dtype, {}};
    with_site(n, [&] { n.primitive->reference(n, {}, out); });
}

/// On a device, numbers given at run time are where `put_numbers` copied them.
void place_numbers(Memory& m, const Numbers& numbers) {
    for (const Numbers::Place& p : numbers.all)
        m.buffers[p.buffer] = static_cast<std::byte*>(numbers.storage->data()) + p.offset;
}

/// Everything that tasks read and write, except constants, which are always the same.
std::vector<const void*> addresses_of(const Memory& m) {
    std::vector<const void*> all(m.buffers.begin(), m.buffers.end());
    for (const Array* a : m.leaves.values) all.push_back(a ? a->view.data : nullptr);
    for (const auto& s : m.own) all.push_back(s->data());
    return all;
}

/// Made once: a profile that read all nodes at each run would take as long as what it measures beside the kernels.
const std::string& name_of(const Executable& code, std::uint32_t task, std::span<Node* const> all) {
    if (code.names.empty())
        for (const Task& t : code.tasks) {
            std::vector<const Node*> nodes;
            for (const std::uint32_t i : t.nodes) nodes.push_back(all[i]);
            code.names.push_back(profile::name_of(nodes));
        }
    return code.names[task];
}

void run_and_time(const Executable& code, std::uint32_t task, std::span<Node* const> all, Device device,
                  const Binding& binding, tape::CachedPlan* kept) {
    const Task& t = code.tasks[task];
    const Node& n = *all[t.node];
    if (!profile::active.load(std::memory_order_relaxed)) return run_task(t, n, device, binding, kept);
    const auto start = std::chrono::steady_clock::now();
    run_task(t, n, device, binding, kept);
    wait_for(device);
    const auto time = std::chrono::steady_clock::now() - start;
    profile::add(name_of(code, task, all), t.cost, time);
}

constexpr double kFlopsOfSecond = 5e14, kBytesOfSecond = 2e12;

/// Some kernels more or less, and what its bytes take.
double seconds_of(const Task& t) {
    constexpr double kLaunch = 2e-6;
    return kLaunch + std::max(t.cost.flops / kFlopsOfSecond, t.cost.bytes / kBytesOfSecond);
}

Bytes bytes_of(const View& v) {
    std::int64_t low = 0, high = 0;
    if (v.layout.count() == 0) return {};
    for (int i = 0; i < v.layout.rank(); ++i) {
        const std::int64_t way = (v.layout.shape[i] - 1) * v.layout.strides[i];
        (way < 0 ? low : high) += way;
    }
    const auto size = static_cast<std::int64_t>(size_of(v.dtype));
    const auto data = reinterpret_cast<std::intptr_t>(v.data) + v.layout.offset * size;
    return {static_cast<std::uintptr_t>(data + low * size), static_cast<std::uintptr_t>(data + (high + 1) * size)};
}

bool is_product(const Task& t, const Node& n) {
    return (t.kind == Task::Kind::kernel || t.kind == Task::Kind::product) && is_contract(n);
}

/// Loops, products and sums of columns keep to their operands and to what they allocate; others are not looked at.
AccessSet reach_of(const Task& t, const Node& n, const Binding& binding) {
    AccessSet r;
    for (std::size_t i = 0; i < binding.views.size(); ++i)
        (i < t.in.size() ? r.reads : r.writes).push_back(bytes_of(binding.views[i]));
    r.seconds = seconds_of(t);
    // More than this would displace from the cache what runs at the same time.
    constexpr double kMaxSumsBytes = 32e6;
    const bool is_sums = t.kind == Task::Kind::column_sums && t.rows.code.empty() && t.cost.bytes <= kMaxSumsBytes;
    r.fixed = t.packed || !(t.kind == Task::Kind::tape || is_product(t, n) || is_sums);
    return r;
}

/// Runs all tasks but the numbers, one after the other, and, where a graph is recorded of them, beside each other.
template <class F>
void run_in_branches(const Executable& e, std::span<Node* const> nodes, const Memory& m, const Numbers& numbers,
                     Device device, F&& run) {
    constexpr std::size_t kMaxTasks = 2048;  // the plan looks at all pairs
    cuda::Gpu& gpu = cuda::Gpu::at(device.index);
    const std::vector<Task>& tasks = e.code().tasks;
    const auto each = [&](auto&& f) {
        Binding binding(e, m);
        auto number = numbers.all.begin();
        for (std::uint32_t t = 0; t < tasks.size(); ++t) {
            if (number != numbers.all.end() && number->task == t) {
                ++number;
                continue;
            }
            binding.bind(t);
            f(t, binding);
        }
    };
    const std::size_t most = options().branches;
    if (!gpu.is_recording() || most < 2 || tasks.size() > kMaxTasks) return each(run);
    std::vector<AccessSet> reaches;
    bool products = true;
    each([&](std::uint32_t t, const Binding& b) {
        const Node& n = *nodes[tasks[t].node];
        reaches.push_back(reach_of(tasks[t], n, b));
        const Cost& cost = tasks[t].cost;
        products = products && is_product(tasks[t], n) && cost.flops * kBytesOfSecond > cost.bytes * kFlopsOfSecond;
    });
    // Products that their operations bound fill the device: beside each other they take longer than one by one. Those
    // that memory or their own way bound gain.
    if (products) return each(run);
    // Long tasks fill the device, and what runs beside them takes the cache from them.
    constexpr double kMaxSeconds = 5e-5;
    double seconds = 0;
    for (const AccessSet& r : reaches) seconds += r.seconds;
    if (seconds > kMaxSeconds * static_cast<double>(reaches.size())) return each(run);
    const BranchPlan plan = plan_branches(reaches, most);
    std::vector<bool> is_waited_for(reaches.size());
    for (const auto& after : plan.after)
        for (const std::uint32_t i : after) is_waited_for[i] = true;
    cuda::Branches branches(gpu, most);
    std::vector<std::size_t> marks(reaches.size());
    std::uint32_t at = 0;
    each([&](std::uint32_t t, const Binding& b) {
        branches.enter(plan.branch[at]);
        for (const std::uint32_t i : plan.after[at]) branches.wait(marks[i]);
        run(t, b);
        if (is_waited_for[at]) marks[at] = branches.mark();
        ++at;
    });
    branches.join();
}

/// Gives up the inputs of nodes that have been computed, and with them the nodes that nothing else refers to. A node's
/// readers come after it, so from the last one on, each node is looked at once; it is fetched some nodes earlier.
void drop_computed(const Graph& graph) {
    constexpr std::size_t kAhead = 16, kInputsAhead = 8;
    constexpr std::uint64_t kDead = ~std::uint64_t{0};
    Node* leaves = nullptr;  // dead ones, whose inputs may stand anywhere: they go at the end
    for (std::size_t i = graph.nodes.size(); i-- > 0;) {
        if (i >= kAhead) fetch(graph.nodes[i - kAhead], Node::kReleased);
        if (i >= kInputsAhead)
            for (const Node* in : graph.nodes[i - kInputsAhead]->inputs) fetch(in, sizeof in->references);
        Node& n = *graph.nodes[i];
        const bool is_dead = n.visit_epoch == kDead;
        if (is_dead && n.value()) {
            n.visit_epoch = reinterpret_cast<std::uintptr_t>(leaves);
            leaves = &n;
        } else if (is_dead || graph.held[i]) {
            for (Node* in : n.inputs)
                if (unreferenced(in)) in->visit_epoch = kDead;
            n.inputs.clear();
            if (is_dead) delete &n;
        }
    }
    while (Node* n = leaves) {
        leaves = reinterpret_cast<Node*>(static_cast<std::uintptr_t>(n->visit_epoch));
        destroy(n);
    }
}

/// Gives the held nodes their values. They are kept while the inputs of others go, which may be the last to refer to
/// them.
void publish(const Executable& e, const Graph& graph, std::vector<Array> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        Node& n = *graph.nodes[e.results[i].node];
        retain(&n);
        n.publish(std::move(values[i]));
    }
    drop_computed(graph);
    for (const Result& r : e.results) release(graph.nodes[r.node]);
}

}  // namespace

bool may_be_donated(const Node& n, std::uint32_t uses) {
    const Array& a = *n.value();
    return n.references.load(std::memory_order_acquire) == uses && a.storage.use_count() == 1 && a.storage->ours() &&
           a.view.data == a.storage->data() && a.view.layout.is_contiguous() &&
           a.view.layout.count() * static_cast<std::int64_t>(size_of(a.view.dtype)) == a.storage->bytes();
}

std::vector<Array> run(const Executable& e, std::span<Node* const> nodes, const Leaves& leaves, bool poison,
                       bool& spoiled) {
    spoiled = false;
    Memory m = allocate(e, leaves, poison);
    static const Numbers none;
    const Numbers* numbers = &none;
    const bool on_host = leaves.device == Device::cpu();
    if (!on_host) {
        if (!e.replay) e.replay = make_replay(e, nodes, leaves.device);
        numbers = &put_numbers(*e.replay, e, nodes, leaves.device);
        place_numbers(m, *numbers);
    }
    const auto all_tasks = [&] {
        spoiled = false;
        const Executable& code = e.code();
        const auto run = [&](std::uint32_t t, const Binding& binding) {
            if (static_cast<std::int64_t>(t) >= m.first_overwriting) spoiled = true;
            with_site(*nodes[code.tasks[t].node],
                      [&] { run_and_time(code, t, nodes, leaves.device, binding, &e.kept[code.alike[t]]); });
        };
        if (!on_host) return run_in_branches(e, nodes, m, *numbers, leaves.device, run);
        Binding binding(e, m);
        for (std::uint32_t t = 0; t < code.tasks.size(); ++t) {
            if (code.tasks[t].is_number) {
                write_number(code.tasks[t], *nodes[code.tasks[t].node], m);
                continue;
            }
            binding.bind(t);
            // The kernel would otherwise leave them in memory alone.
            if (t + 1 < code.tasks.size()) fetch(&code.tasks[t + 1], sizeof(Task)), binding.fetch_next();
            run(t, binding);
        }
    };
    if (on_host || !options().graphs || profile::active.load(std::memory_order_relaxed))
        all_tasks();
    else
        run_again(*e.replay, leaves.device, addresses_of(m), all_tasks);
    std::vector<Array> values;
    values.reserve(e.results.size());
    for (const Result& r : e.results)
        values.push_back({m.storage(r.at), {m.address(r.at), nodes[r.node]->dtype, r.layout}});
    return values;
}

void run(const Executable& e, const Graph& graph, bool poison, bool& spoiled) {
    Leaves leaves{std::vector<const Array*>(graph.nodes.size()), std::vector<bool>(graph.nodes.size()), graph.device};
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        if (!graph.nodes[i]->value()) continue;
        leaves.values[i] = &value_on(*graph.nodes[i], graph.device);
        leaves.dies[i] =
            leaves.values[i] == graph.nodes[i]->value() && may_be_donated(*graph.nodes[i], graph.nodes[i]->visit_uses);
    }
    spoiled = false;
    try {
        publish(e, graph, run(e, graph.nodes, leaves, poison, spoiled));
    } catch (...) {
        // Leaves that died and were not overwritten are given up too: their readers cannot be computed any more.
        for (const LeafEnd& end : e.ends)
            if (spoiled && leaves.dies[end.leaf]) give_up(*graph.nodes[end.leaf]);
        throw;
    }
}

}  // namespace tenon::schedule
