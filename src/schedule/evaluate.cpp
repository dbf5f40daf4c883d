#include "schedule/evaluate.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/text.h"
#include "primitive/leaf.h"
#include "primitive/primitive.h"
#include "product/weights.h"
#include "profile/recorder.h"
#include "schedule/device_chain.h"
#include "schedule/executable.h"
#include "schedule/family.h"
#include "schedule/options.h"
#include "schedule/place.h"
#include "schedule/replay.h"
#include "tenon/error.h"

namespace tenon::schedule {
namespace {

constexpr std::size_t kPlanBytes = std::size_t{64} << 20;

// One evaluation at a time: a node that two threads need is computed once, and the kernels use every core anyway. A
// fork waits for the evaluation under way, so that the child does not inherit a locked lock.
struct Evaluator {
    std::mutex mutex;
    PlanCache plans{kPlanBytes};
    std::int64_t compiled = 0, compiled_runs = 0, chains = 0, repeated = 0, planned_again = 0;
    std::int64_t faults = 0;
};

Evaluator& evaluator() {
    static auto* e = [] {
        auto* made = new Evaluator;
        pthread_atfork([] { evaluator().mutex.lock(); }, [] { evaluator().mutex.unlock(); },
                       [] { evaluator().mutex.unlock(); });
        return made;
    }();
    return *e;
}

View contiguous_view(const std::shared_ptr<Storage>& storage, const Node& n) {
    return {storage->data(), n.dtype, Layout::contiguous(n.shape)};
}

// The bytes of a shape may overflow though its elements can be counted.
std::int64_t bytes_of(const Node& n) {
    std::int64_t bytes;
    if (__builtin_mul_overflow(count(n.shape), static_cast<std::int64_t>(size_of(n.dtype)), &bytes))
        throw MemoryError(text("eval: ", to_string(n.shape), " ", name(n.dtype), " has more than 2^63 bytes"));
    return bytes;
}

// The memory of an operand that nothing else will read, which a pointwise result may take.
std::shared_ptr<Storage> reusable(const Node& n, bool consume, Device device) {
    if (!consume || n.primitive->role != Role::pointwise) return nullptr;
    for (const Node* in : n.inputs) {
        const Array& a = *in->value();
        if (a.storage->device() == device && in->references.load(std::memory_order_acquire) == 1 &&
            a.storage.use_count() == 1 && in->dtype == n.dtype && in->shape == n.shape &&
            a.view.layout.is_contiguous() && a.view.data == a.storage->data() && a.storage->ours())
            return a.storage;
    }
    return nullptr;
}

Array compute_node(const Node& n, bool reference, bool consume, Device device = {}) {
    const Primitive& p = *n.primitive;
    View views[8];
    std::vector<View> many;
    View* in = views;
    if (n.inputs.size() > 8) {
        many.resize(n.inputs.size());
        in = many.data();
    }
    for (std::size_t i = 0; i < n.inputs.size(); ++i) in[i] = value_on(*n.inputs[i], device).view;
    if (p.role == Role::product && !reference)
        for (std::size_t i = 0; i < n.inputs.size(); ++i) in[i].owner = n.inputs[i]->value()->storage.get();
    const std::span<const View> operands(in, n.inputs.size());
    Layout layout;
    if (p.view && !reference && p.view(n, in[0].layout, layout))
        return {value_on(*n.inputs[0], device).storage, with_layout(in[0], layout)};
    auto storage = reusable(n, consume, device);
    if (storage)
        storage->overwrite();
    else
        storage = allocate(device, bytes_of(n));
    const View out = contiguous_view(storage, n);
    if (device != Device::cpu())
        run_node(device, n, operands, out);
    else
        (reference || !p.run ? p.reference : p.run)(n, operands, out);
    return {std::move(storage), out};
}

void compute_and_publish(Node& n, bool keep, Device device) {
    const bool timed = profile::active.load(std::memory_order_relaxed);
    const auto start = timed ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    with_site(n, [&] { n.publish(compute_node(n, false, !keep, device)); });
    if (timed) wait_for(device);
    if (timed) profile::add(n, std::chrono::steady_clock::now() - start);
    if (!keep) drop_inputs(n);
}

/// The largest of the tensors that nodes from here on still read and of the results that have been computed. (Other
/// computed nodes may be gone already.)
std::string largest_alive(const Graph& graph, std::span<Node* const> roots, std::size_t from) {
    constexpr std::size_t kMost = 5;
    struct Alive {
        const Node* node;
        std::int64_t bytes;
    };
    std::vector<Alive> all;
    std::set<const Storage*> seen;  // views share their memory
    double total = 0;
    const auto add = [&](const Node* n) {
        if (!n->value() || !seen.insert(n->value()->storage.get()).second) return;
        all.push_back({n, n->value()->storage->bytes()});
        total += static_cast<double>(all.back().bytes);
    };
    for (std::size_t i = from; i < graph.nodes.size(); ++i)
        for (const Node* n : graph.nodes[i]->inputs) add(n);
    for (const Node* n : roots) add(n);
    std::stable_sort(all.begin(), all.end(), [](const Alive& a, const Alive& b) { return a.bytes > b.bytes; });
    std::string s = text("; alive, to be read or as results: ", static_cast<std::int64_t>(total), " bytes");
    for (std::size_t i = 0; i < all.size() && i < kMost; ++i)
        s += text(i ? ", " : ", the largest ", all[i].node->primitive->name, " ", to_string(all[i].node->shape), " ",
                  name(all[i].node->dtype), " ", all[i].bytes);
    return s;
}

void run_by_node(const Graph& graph, std::span<Node* const> roots, bool keep) {
    std::size_t at = 0;
    try {
        for (; at < graph.nodes.size(); ++at)
            if (!graph.nodes[at]->value()) compute_and_publish(*graph.nodes[at], keep, graph.device);
    } catch (const MemoryError& e) {
        throw MemoryError(text(e.what(), largest_alive(graph, roots, at)));
    }
}

/// Whether a new graph is compiled immediately: node by node, which keeps everything that a gradient reads, it would
/// take much memory, and much longer than compiling does. (On a device waiting for its compiler takes far longer than
/// the work. There memory is the reason, and the graph has to be larger.)
bool is_large(const Graph& graph) {
    struct Least {
        double bytes, of_each_node;
    };
    constexpr Least kOnCpu{64 << 20, 256 << 10};  // The second is 3 us, in which a node is compiled.
    constexpr Least kOnDevice{1 << 30, 1 << 20};
    double bytes = 0;
    for (const Node* n : graph.nodes)
        if (!n->value() && !n->primitive->view)
            bytes += static_cast<double>(count(n->shape)) * static_cast<double>(size_of(n->dtype));
    const Least least = graph.device == Device::cpu() ? kOnCpu : kOnDevice;
    return bytes >= least.bytes && bytes >= least.of_each_node * static_cast<double>(graph.nodes.size());
}

void note_dying_leaves(Graph& graph) {
    graph.dies.resize(graph.nodes.size());
    for (std::size_t i = 0; i < graph.nodes.size(); ++i)
        graph.dies[i] = graph.nodes[i]->value() && may_be_donated(*graph.nodes[i], graph.nodes[i]->visit_uses);
}

/// A graph's executable from its family's plan, if that is general, or with the groups of a graph of the family. Null
/// if that fails. (What a device's kernels keep in a form of their own follows from the rows.)
std::shared_ptr<const Executable> planned_again(const Plan& plan, const Graph& graph, const Options& options) {
    if (graph.device != Device::cpu()) return nullptr;
    if (auto made = plan.family->instance(*plan.steps, graph)) return made;
    const KeptGroups* const kept = plan.family->kept();
    return kept ? compile_again(graph, options, *kept) : nullptr;
}

/// Makes a graph's executable; null if that fails.
std::shared_ptr<const Executable> made_of(Evaluator& e, Plan& plan, const Graph& graph, const Options& options) {
    try {
        if (options.faulty) throw std::logic_error("compile: a fault, as asked for");
        if (std::shared_ptr<const Executable> made = planned_again(plan, graph, options)) {
            if (options.verify) verify(*made, graph);
            ++e.planned_again;
            return made;
        }
        std::shared_ptr<const KeptGroups> kept;
        std::unique_ptr<Executable> compiled = compile(graph, options, &kept);
        const std::size_t before = plan.family->bytes();
        plan.family->keep(std::move(kept));
        e.plans.grow_family(plan, before);
        place_constants(*compiled, graph.device);
        if (graph.device != Device::cpu()) {
            pack_intermediates(*compiled, graph);
            match_chains(*compiled);
        }
        const std::shared_ptr<const Executable> made = std::move(compiled);
        if (options.verify) verify(*made, graph);
        ++e.compiled;
        e.repeated += static_cast<std::int64_t>(made->tasks.size() - made->regions);
        for (const Task& t : made->tasks) e.chains += t.kind == Task::Kind::chain;
        return made;
    } catch (const Error&) {
    } catch (const std::bad_alloc&) {
    } catch (const std::logic_error&) {  // a fault of the compiler; tests have to see it
        ++e.faults;
        if (options.verify) throw;
    }
    return nullptr;
}

void evaluate_on(Evaluator& e, Device device, std::span<Node* const> roots);

/// Gives a transfer its value: that of its operand, moved.
void transfer(Evaluator& e, Node& n) {
    Node* from = n.inputs[0];
    if (!from->value()) evaluate_on(e, from->place(), {&from, 1});
    with_site(n, [&] { n.publish(move_to(*from->value(), n.place())); });
    if (!Tracing::active()) drop_inputs(n);
}

void evaluate_on(Evaluator& e, Device device, std::span<Node* const> roots) {
    const Options o = options_on(device, options());
    Graph graph = collect(roots, word(o), device);
    if (!graph.transfers.empty()) {
        for (Node* n : graph.transfers)
            if (!n->value()) transfer(e, *n);
        graph = collect(roots, word(o), device);
    }
    if (graph.nodes.empty()) return;
    product::next_evaluation();
    const bool keep = Tracing::active();
    Plan* plan = e.plans.find(graph);
    if (plan) ++plan->seen;
    const bool wanted = plan && (plan->executable || plan->seen > 1 || plan->family->is_general() ||
                                 plan->family->is_young() || is_large(graph));
    // What depends on an argument of a compiled function, outside it, is refused where it is computed by itself.
    if (wanted && o.compile && !keep && !graph.is_open) {
        if (!plan->executable && !plan->refused) note_dying_leaves(graph);
        if (const auto executable = executable_of(*plan, graph, o)) {
            bool spoiled = false;
            try {
                run(*executable, graph, o.poison, spoiled);
                ++e.compiled_runs;
                return;
            } catch (const MemoryError&) {  // node by node needs less at a time, and says what does not fit
                if (spoiled) throw;
            } catch (const std::bad_alloc&) {
                if (spoiled) throw;
            }
        }
    }
    run_by_node(graph, roots, keep);
}

void evaluate(std::span<Node* const> roots) {
    const auto lock = lock_evaluator();
    auto& e = evaluator();
    if (roots.size() == 1) return evaluate_on(e, roots[0]->place(), roots);
    std::vector<Node*> left(roots.begin(), roots.end()), here;
    while (!left.empty()) {  // a graph for each device
        const Device device = left.front()->place();
        here.clear();
        std::erase_if(left, [&](Node* n) {
            if (n->place() != device) return false;
            here.push_back(n);
            return true;
        });
        evaluate_on(e, device, here);
    }
}

View keep_host_copy(const Node& n) {
    const auto lock = lock_evaluator();
    return value_on(n, Device::cpu()).view;
}

const bool installed = (
    evaluate_nodes = evaluate, copy_to_host = [](const Array& a) { return move_to(a, Device::cpu()); },
    host_copy = keep_host_copy, true);

}  // namespace

EvaluatorLock::EvaluatorLock() : lock_(evaluator().mutex) {}

Remembered remembered() {
    Remembered r{nullptr, {}};
    const PlanCache& plans = evaluator().plans;
    for (const Plan& p : plans.plans())
        if (p.key == plans.newest())
            r.newest = &p;
        else
            r.others.push_back(&p);
    return r;
}

std::shared_ptr<const Executable> executable_of(Plan& plan, const Graph& graph, const Options& options) {
    if (plan.executable || plan.refused) return plan.executable;
    Evaluator& e = evaluator();
    const std::shared_ptr<const Executable> made = made_of(e, plan, graph, options);
    plan.refused = !made;
    if (!made) return nullptr;
    plan.executable = made;
    if (const std::size_t before = plan.family->bytes(); !made->like) {
        plan.family->add(plan.steps, made);
        e.plans.grow_family(plan, before);
    }
    e.plans.grow(plan, made->bytes);
    return made;
}

std::shared_ptr<const Executable> executable_of(const Graph& graph, const Options& options) {
    Plan* const plan = evaluator().plans.find(graph);
    return plan ? executable_of(*plan, graph, options) : nullptr;
}

std::vector<Array> run_compiled(const Executable& executable, std::span<Node* const> nodes, const Leaves& leaves,
                                bool& spoiled) {
    product::next_evaluation();
    std::vector<Array> values = run(executable, nodes, leaves, options().poison, spoiled);
    ++evaluator().compiled_runs;
    return values;
}

Array compute(const Node& node, bool reference) { return compute_node(node, reference, false); }

Statistics statistics() {
    auto& e = evaluator();
    std::lock_guard lock(e.mutex);
    const ReplayStatistics r = replay_statistics();
    return {e.plans.hits(), e.plans.misses(), e.plans.size(),  e.plans.bytes(), e.compiled, e.compiled_runs,
            e.chains,       e.repeated,       e.planned_again, e.faults,        r.graphs,   r.launches};
}

}  // namespace tenon::schedule
