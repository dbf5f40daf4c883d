// Compiled functions (tenon/compile.h).
#include <algorithm>
#include <list>
#include <unordered_set>

#include "base/hash.h"
#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/options.h"
#include "schedule/place.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/policy.h"

namespace tenon {
namespace schedule {
namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

/// A leaf's part of a signature.
struct Kind {
    bool is_number;
    DType dtype;
    Layout layout;
    std::optional<Device> device;  // none on the host
    friend bool operator==(const Kind&, const Kind&) = default;
};

Kind kind_of(const Tensor& t) {
    if (is_weak_scalar(t)) return {true, t.dtype(), {}, {}};
    Layout l = t.node()->value()->view.layout;
    if (l.is_contiguous()) l = Layout::contiguous(l.shape);  // axes of one element have any stride
    const std::optional<Device>& device = t.node()->device;
    return {false, t.dtype(), l, device == Device::cpu() ? std::nullopt : device};
}

std::uint64_t hash_of(const Kind& k, std::uint64_t h) {
    h = mix(h, static_cast<std::uint64_t>(k.dtype) * 2 + k.is_number);
    if (k.device) h = mix(h, 1u + k.device->index);
    for (const std::int64_t e : k.layout.shape) h = mix(h, static_cast<std::uint64_t>(e));
    for (const std::int64_t s : k.layout.strides) h = mix(h, static_cast<std::uint64_t>(s));
    return h;
}

bool same_names(const Tree& a, const Tree& b) {
    if (a.is_leaf() != b.is_leaf() || a.children().size() != b.children().size()) return false;
    for (std::size_t i = 0; i < a.children().size(); ++i)
        if (a.children()[i].first != b.children()[i].first ||
            !same_names(a.children()[i].second, b.children()[i].second))
            return false;
    return true;
}

/// A function recorded for one signature. Only we refer to its nodes: no value is published on them.
struct Recording {
    RecordedFunctionPtr function = std::make_shared<const RecordedFunction>();
    std::uint64_t hash;
    Policy policy;
    std::vector<Kind> kinds;
    Tree arguments, result;  // as they were recorded
    Graph graph;
    std::vector<std::uint32_t> at;  // the node of each argument's leaf, kNone where nothing reads it
    std::vector<std::uint32_t> captured;  // nodes that have a value
    std::vector<std::uint32_t> numbers;  // nodes that a number argument gives
    std::shared_ptr<const Executable> executable;  // null where it could not be compiled
    std::vector<std::uint32_t> results;  // of each leaf of `result` the executable's, kNone: it is none of those
    std::vector<std::uint32_t> derived;  // leaves of `result` that are numbers made by the host
    bool is_of_one_device = true;  // else it runs as it comes

    std::size_t bytes() const {
        return graph.nodes.size() * sizeof(Node) + (executable ? executable->bytes : 0) + sizeof(Recording);
    }
};

/// Whether a node depends on an argument, or otherwise on a captured value.
enum class Depends : std::uint8_t { on_nothing, on_values, on_arguments };

/// Whether what is moved to another device, where the walk of a graph ends, comes from an argument.
bool comes_from_argument(const Node& transfer) {
    std::vector<const Node*> stack{&transfer};
    std::unordered_set<const Node*> seen;
    while (!stack.empty()) {
        const Node* n = stack.back();
        stack.pop_back();
        if (n->value() || !seen.insert(n).second) continue;
        if (is_symbolic(*n)) return true;
        stack.insert(stack.end(), n->inputs.begin(), n->inputs.end());
    }
    return false;
}

std::vector<Depends> dependence(const Graph& g) {
    std::vector<Depends> all(g.nodes.size());
    for (std::size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& n = *g.nodes[i];
        if (n.value()) {
            all[i] = Depends::on_values;
            continue;
        }
        if (n.primitive->device) {
            all[i] = comes_from_argument(n) ? Depends::on_arguments : Depends::on_values;
            continue;
        }
        if (is_symbolic(n)) all[i] = Depends::on_arguments;
        for (const Node* in : n.inputs) all[i] = std::max(all[i], all[in->visit_index]);
    }
    return all;
}

std::vector<Node*> nodes_of(const std::vector<Tensor>& tensors) {
    std::vector<Node*> all;
    for (const Tensor& t : tensors) all.push_back(t.node());
    return all;
}

/// The operand, of fewer bytes, of a cast that a node is, or is a view of; null if it is none.
Node* narrower(const Node& n) {
    const Node* from = &n;
    while (!from->value() && from->primitive->view && from->inputs.size() == 1) from = from->inputs[0];
    const bool is_cast =
        !from->value() && from->primitive->role == Role::pointwise && from->primitive->opcode == tape::Opcode::cast;
    return is_cast && size_of(from->inputs[0]->dtype) < size_of(from->dtype) ? from->inputs[0] : nullptr;
}

/// Whether a pass of elements or rows reads the operand: there a cast takes no time, where a product would repeat it.
bool casts_as_it_reads(const Node& n) { return n.primitive->role == Role::pointwise || n.primitive->reduction; }

/// Computes what is read beside values that depend on arguments: it does not change from call to call. Sums of
/// constants only are left to be simplified, and casts to a wider dtype to their readers: to keep the result would
/// take more bytes to store and to read again.
void compute_captured(const std::vector<Tensor>& roots, Device device) {
    std::vector<Tensor> captured;
    {
        const auto lock = lock_evaluator();
        const Graph g = collect(nodes_of(roots), 0, device);
        const std::vector<Depends> on = dependence(g);
        std::vector<bool> wanted(g.nodes.size());
        for (std::size_t i = 0; i < g.nodes.size(); ++i)
            if (on[i] == Depends::on_arguments && !g.nodes[i]->primitive->device)
                for (const Node* in : g.nodes[i]->inputs) {
                    const Node* const narrow = casts_as_it_reads(*g.nodes[i]) ? narrower(*in) : nullptr;
                    const std::uint32_t kept = (narrow ? narrow : in)->visit_index;
                    if (on[kept] == Depends::on_values) wanted[kept] = true;
                }
        for (const Tensor& t : roots)
            if (!t.node()->value() && on[t.node()->visit_index] != Depends::on_arguments)
                wanted[t.node()->visit_index] = true;
        for (std::size_t i = 0; i < g.nodes.size(); ++i)
            if (wanted[i] && !g.nodes[i]->value()) captured.push_back(tensor_of(g.nodes[i]));
    }
    eval(captured);
}

/// Throws ValueError for a node that is, or follows on the host from, an argument of another compiled function.
void check_is_own(const Recording& r, const Node& n) {
    if (is_symbolic(n) && function_of(n) != r.function)
        throw ValueError(
            "compile: a function uses an argument of another compiled function, which has no value outside that one");
}

std::shared_ptr<Recording> recorded(const TreeFunction& f, const Tree& structure, std::vector<Kind> kinds,
                                    const std::vector<Tensor>& leaves, Device device) {
    auto r = std::make_shared<Recording>();
    std::vector<Tensor> arguments;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const Kind& k = kinds[i];
        // An argument without a device of its own is copied to the device, row-major.
        const bool moves = device != Device::cpu() && !k.device;
        arguments.push_back(
            k.is_number ? number_argument(number_of(*leaves[i].node()), static_cast<std::int64_t>(i), r->function)
                        : argument(k.dtype, moves ? Layout::contiguous(k.layout.shape) : k.layout, k.device,
                                   static_cast<std::int64_t>(i), r->function));
    }
    r->kinds = std::move(kinds);
    r->arguments = structure.with_leaves(arguments);
    {
        const Tracing tracing;
        r->result = f(r->arguments);
    }
    const std::vector<Tensor> all_roots = r->result.leaves();
    std::vector<Tensor> roots;  // less the derived numbers, which the host makes at each call
    for (std::uint32_t i = 0; i < all_roots.size(); ++i) {
        check_is_own(*r, *all_roots[i].node());
        if (is_derived_number(*all_roots[i].node()))
            r->derived.push_back(i);
        else
            roots.push_back(all_roots[i]);
    }
    compute_captured(roots, device);

    const auto lock = lock_evaluator();
    const Options own = options_on(device, options());
    r->graph = collect(nodes_of(roots), word(own), device);
    const Graph& g = r->graph;
    r->graph.held.assign(g.nodes.size(), false);
    r->at.assign(arguments.size(), kNone);
    for (std::uint32_t i = 0; i < g.nodes.size(); ++i) {
        check_is_own(*r, *g.nodes[i]);
        if (g.nodes[i]->value()) r->captured.push_back(i);
        if (place_of_number(*g.nodes[i]) >= 0) r->numbers.push_back(i);
        for (std::size_t a = 0; a < arguments.size() && is_argument(*g.nodes[i]); ++a)
            if (arguments[a].node() == g.nodes[i]) r->at[a] = i;
    }
    for (const Tensor& t : roots)
        if (!t.node()->value()) r->graph.held[t.node()->visit_index] = true;
    // A graph is of one device: what moves between devices, or is computed on two, runs as it comes.
    const auto is_elsewhere = [&](const Node* n) { return n->device && *n->device != device; };
    const auto is_placed = [&](const Tensor& t) { return t.node()->value() || t.node()->place() == device; };
    r->is_of_one_device = g.transfers.empty() && std::none_of(g.nodes.begin(), g.nodes.end(), is_elsewhere) &&
                          std::all_of(roots.begin(), roots.end(), is_placed);
    if (g.nodes.empty() || !r->is_of_one_device) return r;
    r->graph.dies.assign(g.nodes.size(), false);
    for (std::size_t a = 0; a < leaves.size(); ++a)  // our handles: the caller's tree, and the list of its leaves
        if (r->at[a] != kNone) r->graph.dies[r->at[a]] = may_be_donated(*leaves[a].node(), 2);
    r->executable = executable_of(g, own);
    if (!r->executable) return r;
    for (const Tensor& t : all_roots) {
        const auto& all = r->executable->results;
        const auto at = std::find_if(all.begin(), all.end(), [&](const Result& x) {
            return !t.node()->value() && !is_derived_number(*t.node()) && x.node == t.node()->visit_index;
        });
        r->results.push_back(at == all.end() ? kNone : static_cast<std::uint32_t>(at - all.begin()));
    }
    return r;
}

/// The number that an argument of one element is. The evaluator is locked.
Scalar number_in(const Tensor& leaf) {
    if (is_weak_scalar(leaf)) return number_of(*leaf.node());
    const View from = value_on(*leaf.node(), Device::cpu()).view;
    double f = 0;
    std::uint64_t u = 0;
    const bool is_floating_number = is_floating(from.dtype);
    const View to = is_floating_number ? View{&f, DType::float64, from.layout}
                                       : View{&u, from.dtype == DType::uint64 ? from.dtype : DType::int64, from.layout};
    tape::run(tape::single(tape::Opcode::cast, {&from.dtype, 1}, to.dtype), {&from, 1}, {&to, 1});
    if (is_floating_number) return f;
    if (from.dtype == DType::uint64) return u;
    return static_cast<std::int64_t>(u);
}

/// The numbers of a call in the nodes that they give, while it lives.
class BoundNumbers {
  public:
    BoundNumbers(const Recording& r, const std::vector<Tensor>& leaves) : r_(r) {
        for (const std::uint32_t n : r.numbers) {
            Node& node = *r.graph.nodes[n];
            bind_number(node, number_in(leaves[static_cast<std::size_t>(place_of_number(node))]));
        }
        r.function->is_bound = true;
    }
    ~BoundNumbers() { r_.function->is_bound = false; }
    BoundNumbers(const BoundNumbers&) = delete;
    BoundNumbers& operator=(const BoundNumbers&) = delete;

  private:
    const Recording& r_;
};

/// The results of a call; empty where memory ran out before anything was overwritten.
std::vector<Array> computed(const Recording& r, const std::vector<Tensor>& leaves, bool& ran) {
    const Graph& g = r.graph;
    Leaves values{std::vector<const Array*>(g.nodes.size()), std::vector<bool>(g.nodes.size()), g.device};
    for (const std::uint32_t i : r.captured) values.values[i] = &value_on(*g.nodes[i], g.device);
    for (std::size_t a = 0; a < leaves.size(); ++a) {
        if (r.at[a] == kNone) continue;
        const Node& leaf = *leaves[a].node();
        values.values[r.at[a]] = &value_on(leaf, g.device);
        values.dies[r.at[a]] = values.values[r.at[a]] == leaf.value() && may_be_donated(leaf, 1);
    }
    const BoundNumbers numbers(r, leaves);  // throws before anything is overwritten
    bool spoiled = false;
    try {
        std::vector<Array> all = run_compiled(*r.executable, g.nodes, values, spoiled);
        ran = true;
        return all;
    } catch (const MemoryError&) {
        if (spoiled) throw;
    } catch (const std::bad_alloc&) {
        if (spoiled) throw;
    }
    return {};
}

/// What is given up and is one element for all, as the moments of a new state are, is written out: what comes in its
/// place at the next call is of the same signature then, and has its memory. Whether there was any.
bool write_out(std::vector<Tensor>& leaves) {
    bool any = false;
    for (Tensor& t : leaves) {
        const Node& n = *t.node();
        if (is_weak_scalar(t) || n.place() != Device::cpu()) continue;
        if (n.references.load(std::memory_order_acquire) != 2) continue;  // the caller's tree and our list
        const View from = n.value()->view;
        const Strides& strides = from.layout.strides;
        if (from.layout.count() < 2 || std::any_of(strides.begin(), strides.end(), [](auto s) { return s != 0; }))
            continue;
        Array to{Storage::allocate(from.layout.count() * static_cast<std::int64_t>(size_of(from.dtype))), {}};
        to.view = {to.storage->data(), from.dtype, Layout::contiguous(from.shape())};
        tape::run(tape::Tape{{from.dtype}, {}, {0}}, {&from, 1}, {&to.view, 1});
        t = input(std::move(to));
        any = true;
    }
    return any;
}

Tensor computed_number(Scalar value, DType dtype) {
    if (dtype == DType::int64) return Tensor::from<std::int64_t>({value.as_integer()}, {});
    return scalar(value, dtype).eval();
}

/// Replaces the leaves of a result that follow from arguments, on the host.
void derive_results(const Recording& r, const std::vector<Tensor>& leaves, std::vector<Tensor>& out) {
    for (const std::uint32_t i : r.derived) {
        const Node& n = *out[i].node();
        const Tensor& from = leaves[static_cast<std::size_t>(place_of_number(n))];
        Scalar argument(0);
        {
            const auto lock = lock_evaluator();
            argument = number_in(from);
        }
        out[i] = computed_number(derived_value(n, argument), n.dtype);
    }
}

}  // namespace
}  // namespace schedule

struct CompiledCalls::State {
    std::list<std::shared_ptr<schedule::Recording>>
        recordings;  // the most recently used first; by the evaluator's lock
    std::size_t bytes = 0;

    std::shared_ptr<schedule::Recording> find(std::uint64_t hash, const std::vector<schedule::Kind>& kinds,
                                              const Tree& structure) {
        const Policy& now = policy();
        for (auto at = recordings.begin(); at != recordings.end(); ++at) {
            schedule::Recording& r = **at;
            if (r.hash != hash || r.policy != now || r.kinds != kinds || !schedule::same_names(r.arguments, structure))
                continue;
            recordings.splice(recordings.begin(), recordings, at);
            return *recordings.begin();
        }
        return nullptr;
    }

    void add(std::shared_ptr<schedule::Recording> r) {
        bytes += r->bytes();
        recordings.push_front(std::move(r));
        while (bytes > schedule::kMaxBytes && recordings.size() > 1) {
            bytes -= recordings.back()->bytes();
            recordings.pop_back();
        }
    }
};

CompiledCalls::CompiledCalls() : state_(std::make_shared<State>()) {}

std::size_t CompiledCalls::signatures() const {
    const auto lock = schedule::lock_evaluator();
    return state_->recordings.size();
}

Tree CompiledCalls::call(const TreeFunction& f, Tree args) const {
    using namespace schedule;
    detail::check_callable("CompiledCalls", f);
    if (Tracing::active()) return f(args);
    std::vector<Tensor> leaves = args.leaves(), pending;
    for (const Tensor& t : leaves)  // an argument of another function throws where it is evaluated
        if (is_symbolic(t) || (!is_weak_scalar(t) && !t.node()->value())) pending.push_back(t);
    eval(pending);
    pending.clear();
    const auto uncompiled = [&] {
        Tree out = f(args);
        eval(out);
        return out;
    };
    // Where the first of them is that is anywhere; f says what is wrong where others are elsewhere.
    const auto is_placed = [](const Tensor& t) { return t.node()->device.has_value(); };
    const auto placed = std::find_if(leaves.begin(), leaves.end(), is_placed);
    const Device device = placed == leaves.end() ? Device::cpu() : placed->device();
    if (std::any_of(placed, leaves.end(), [&](const Tensor& t) { return is_placed(t) && t.device() != device; }))
        return uncompiled();
    if (!options().compile) return uncompiled();
    if (device == Device::cpu() && write_out(leaves)) args = args.with_leaves(leaves);
    std::vector<Kind> kinds;
    std::uint64_t hash = word(options());
    for (const Tensor& t : leaves) {
        kinds.push_back(kind_of(t));
        hash = hash_of(kinds.back(), hash);
    }
    std::shared_ptr<Recording> r;
    {
        const auto lock = lock_evaluator();
        r = state_->find(hash, kinds, args);
    }
    if (!r) {
        r = recorded(f, args, kinds, leaves, device);
        r->hash = hash;
        r->policy = policy();
        const auto lock = lock_evaluator();
        state_->add(r);
    }
    if (!r->is_of_one_device) return uncompiled();
    std::vector<Tensor> out = r->result.leaves();
    derive_results(*r, leaves, out);
    if (r->graph.nodes.empty()) return r->result.with_leaves(out);
    if (r->executable) {
        args = {};  // what the caller gave up has our handle alone
        std::vector<Array> values;
        bool ran = false;
        {
            const auto lock = lock_evaluator();
            values = computed(*r, leaves, ran);
        }
        if (ran) {
            std::vector<Tensor> made;
            for (Array& a : values) made.push_back(input(std::move(a)));
            for (std::size_t i = 0; i < out.size(); ++i)
                if (r->results[i] != kNone) out[i] = made[r->results[i]];
            return r->result.with_leaves(out);
        }
        args = r->arguments.with_leaves(leaves);
    }
    return uncompiled();
}

}  // namespace tenon
