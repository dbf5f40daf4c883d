// Compiled functions (tenon/compile.h).
#include <algorithm>
#include <list>
#include <unordered_set>

#include "primitive/leaf.h"
#include "primitive/operands.h"
#include "schedule/evaluate.h"
#include "schedule/executable.h"
#include "schedule/options.h"
#include "schedule/place.h"
#include "tenon/compile.h"
#include "tenon/error.h"
#include "tenon/policy.h"
#include "tensor/same_names.h"

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
};

std::optional<Device> off_host(const Node& n) { return n.device == Device::cpu() ? std::nullopt : n.device; }

Kind kind_of(const Node& n) {
    if (is_weak_scalar(n)) return {true, n.dtype, {}, {}};
    const Layout& l = n.value()->view.layout;
    return {false, n.dtype, l.is_contiguous() ? Layout::contiguous(l.shape) : l, off_host(n)};
}

/// Whether kind_of(n) is k.
bool is_of(const Kind& k, const Node& n) {
    if (n.dtype != k.dtype || is_weak_scalar(n) != k.is_number) return false;
    if (k.is_number) return true;
    const Layout& l = n.value()->view.layout;
    if (l.shape != k.layout.shape || off_host(n) != k.device) return false;
    return l.strides == k.layout.strides || (l.is_contiguous() && k.layout.is_contiguous());
}

void add_leaves(std::vector<Node*>& all, const Tree& t) {
    if (t.is_leaf()) all.push_back(t.tensor().node());
    for (const Tree::Child& c : t.children()) add_leaves(all, c.second);
}

/// The nodes of a tree's leaves, which the tree keeps.
std::vector<Node*> leaves_of(const Tree& t) {
    constexpr std::size_t kUsual = 16;
    std::vector<Node*> all;
    all.reserve(kUsual);
    add_leaves(all, t);
    return all;
}

/// What a leaf of a function's result is.
struct ResultLeaf {
    enum class Is : std::uint8_t {
        kept,  // the same in each call
        computed,  // a result of the executable
        repeated,  // what another leaf is, before this one
        derived,  // a number made by the host
    } is;
    std::uint32_t index;  // of that result, leaf or number
};

/// A function recorded for one signature. Only we refer to its nodes: no value is published on them.
struct Recording {
    RecordedFunctionPtr function = std::make_shared<const RecordedFunction>();
    std::uint64_t options;
    Policy policy;
    std::vector<Kind> kinds;
    Tree arguments, result;  // as they were recorded
    Graph graph;
    std::vector<std::uint32_t> at;  // the node of each argument's leaf, kNone where nothing reads it
    std::vector<std::uint32_t> numbers;  // nodes that a number argument gives
    std::shared_ptr<const Executable> executable;  // null where it could not be compiled
    Leaves leaves;  // what a run reads: each call sets the arguments among them, under the evaluator's lock
    std::vector<Tensor> result_tensors;  // the leaves of `result`
    std::vector<ResultLeaf> results;  // what they are
    std::vector<std::uint32_t> derived;  // those that are numbers made by the host
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

std::vector<ResultLeaf> result_leaves(const Recording& r) {
    std::vector<ResultLeaf> all;
    std::uint32_t derived = 0;
    std::vector<std::uint32_t> first;  // of each result of the executable the leaf that it is
    if (r.executable) first.assign(r.executable->results.size(), kNone);
    for (const Tensor& t : r.result_tensors) {
        const Node& n = *t.node();
        if (is_derived_number(n)) {
            all.push_back({ResultLeaf::Is::derived, derived++});
            continue;
        }
        std::uint32_t at = 0;
        while (at < first.size() && (n.value() || r.executable->results[at].node != n.visit_index)) ++at;
        if (at == first.size()) {
            all.push_back({ResultLeaf::Is::kept, 0});
        } else if (first[at] != kNone) {
            all.push_back({ResultLeaf::Is::repeated, first[at]});
        } else {
            first[at] = static_cast<std::uint32_t>(all.size());
            all.push_back({ResultLeaf::Is::computed, at});
        }
    }
    return all;
}

std::shared_ptr<Recording> recorded(const TreeFunction& f, const Tree& structure, std::span<Node* const> leaves,
                                    Device device) {
    auto r = std::make_shared<Recording>();
    r->options = word(options());
    r->policy = policy();
    std::vector<Tensor> arguments;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
        const Kind& k = r->kinds.emplace_back(kind_of(*leaves[i]));
        // An argument without a device of its own is copied to the device, row-major.
        const bool moves = device != Device::cpu() && !k.device;
        arguments.push_back(k.is_number
                                ? number_argument(number_of(*leaves[i]), static_cast<std::int64_t>(i), r->function)
                                : argument(k.dtype, moves ? Layout::contiguous(k.layout.shape) : k.layout, k.device,
                                           static_cast<std::int64_t>(i), r->function));
    }
    r->arguments = structure.with_leaves(arguments);
    {
        const Tracing tracing;
        r->result = f(r->arguments);
    }
    r->result_tensors = r->result.leaves();
    std::vector<Tensor> roots;  // less the derived numbers, which the host makes at each call
    for (std::uint32_t i = 0; i < r->result_tensors.size(); ++i) {
        check_is_own(*r, *r->result_tensors[i].node());
        if (is_derived_number(*r->result_tensors[i].node()))
            r->derived.push_back(i);
        else
            roots.push_back(r->result_tensors[i]);
    }
    compute_captured(roots, device);

    const auto lock = lock_evaluator();
    const Options own = options_on(device, options());
    r->graph = collect(nodes_of(roots), word(own), device);
    const Graph& g = r->graph;
    r->graph.held.assign(g.nodes.size(), false);
    r->leaves = {std::vector<const Array*>(g.nodes.size()), std::vector<bool>(g.nodes.size()), device};
    r->at.assign(arguments.size(), kNone);
    for (std::uint32_t i = 0; i < g.nodes.size(); ++i) {
        check_is_own(*r, *g.nodes[i]);
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
    if (!r->is_of_one_device) return r;
    r->graph.dies.assign(g.nodes.size(), false);
    for (std::size_t a = 0; a < leaves.size(); ++a)
        if (r->at[a] != kNone) r->graph.dies[r->at[a]] = may_be_donated(*leaves[a], 1);
    if (!g.nodes.empty()) r->executable = executable_of(g, own);
    for (std::size_t i = 0; i < g.nodes.size(); ++i)
        if (g.nodes[i]->value()) r->leaves.values[i] = &value_on(*g.nodes[i], device);
    r->results = result_leaves(*r);
    return r;
}

/// The number that an argument of one element is. The evaluator is locked.
Scalar number_in(const Node& leaf) {
    if (is_weak_scalar(leaf)) return number_of(leaf);
    const View& from = value_on(leaf, Device::cpu()).view;
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
    BoundNumbers(const Recording& r, std::span<Node* const> leaves) : r_(r) {
        for (const std::uint32_t n : r.numbers) {
            Node& node = *r.graph.nodes[n];
            bind_number(node, number_in(*leaves[static_cast<std::size_t>(place_of_number(node))]));
        }
        r.function->is_bound = true;
    }
    ~BoundNumbers() { r_.function->is_bound = false; }
    BoundNumbers(const BoundNumbers&) = delete;
    BoundNumbers& operator=(const BoundNumbers&) = delete;

  private:
    const Recording& r_;
};

/// Computes the results of a call; false where memory ran out before anything was overwritten.
bool compute_results(Recording& r, std::span<Node* const> leaves, std::vector<Array>& results) {
    const Graph& g = r.graph;
    for (std::size_t a = 0; a < leaves.size(); ++a) {
        if (r.at[a] == kNone) continue;
        const Array& value = value_on(*leaves[a], g.device);
        r.leaves.values[r.at[a]] = &value;
        r.leaves.dies[r.at[a]] = &value == leaves[a]->value() && may_be_donated(*leaves[a], 1);
    }
    const BoundNumbers numbers(r, leaves);  // throws before anything is overwritten
    bool spoiled = false;
    try {
        results = run_compiled(*r.executable, g.nodes, r.leaves, spoiled);
        return true;
    } catch (const MemoryError&) {
        if (spoiled) throw;
    } catch (const std::bad_alloc&) {
        if (spoiled) throw;
    }
    return false;
}

/// The numbers among the results that follow from arguments.
std::vector<Scalar> derived_numbers(const Recording& r, std::span<Node* const> leaves) {
    std::vector<Scalar> all;
    for (const std::uint32_t i : r.derived) {
        const Node& n = *r.result_tensors[i].node();
        all.push_back(derived_value(n, number_in(*leaves[static_cast<std::size_t>(place_of_number(n))])));
    }
    return all;
}

Tensor computed_number(Scalar value, DType dtype) {
    if (dtype == DType::int64) return Tensor::from<std::int64_t>({value.as_integer()}, {});
    return scalar(value, dtype).eval();
}

/// The result of a call.
Tree result_of(const Recording& r, std::vector<Array> computed, const std::vector<Scalar>& derived) {
    std::vector<Tensor> all;
    all.reserve(r.results.size());
    for (std::size_t i = 0; i < r.results.size(); ++i) {
        const ResultLeaf& leaf = r.results[i];
        switch (leaf.is) {
            case ResultLeaf::Is::kept:
                all.push_back(r.result_tensors[i]);
                break;
            case ResultLeaf::Is::computed:
                all.push_back(input(std::move(computed[leaf.index])));
                break;
            case ResultLeaf::Is::repeated:
                all.push_back(all[leaf.index]);
                break;
            case ResultLeaf::Is::derived:
                all.push_back(computed_number(derived[leaf.index], r.result_tensors[i].dtype()));
        }
    }
    return r.result.with_leaves(std::move(all));
}

/// Computes the arguments that have no value yet.
void compute_pending(std::span<Node* const> leaves) {
    std::vector<Tensor> pending;
    for (Node* const n : leaves)  // an argument of another function throws where it is evaluated
        if (is_symbolic(*n) || (!is_weak_scalar(*n) && !n->value())) pending.push_back(tensor_of(n));
    if (!pending.empty()) eval(pending);
}

/// Where the arguments are: where the first of them is that is anywhere, or on the host. None where others are
/// elsewhere.
std::optional<Device> common_device(std::span<Node* const> leaves) {
    std::optional<Device> common;
    for (const Node* n : leaves) {
        if (!n->device || n->device == common) continue;
        if (common) return std::nullopt;
        common = n->device;
    }
    return common.value_or(Device::cpu());
}

/// Whether a leaf is given up, and is one element for all, as the moments of a new state are.
bool is_given_up_unwritten(const Node& n) {
    if (n.references.load(std::memory_order_acquire) != 1 || is_weak_scalar(n) || n.place() != Device::cpu())
        return false;
    const Layout& l = n.value()->view.layout;
    return l.count() > 1 && std::all_of(l.strides.begin(), l.strides.end(), [](auto s) { return s == 0; });
}

Tensor written_out(const Node& n) {
    const View& from = n.value()->view;
    Array to{Storage::allocate(from.layout.count() * static_cast<std::int64_t>(size_of(from.dtype))), {}};
    to.view = {to.storage->data(), from.dtype, Layout::contiguous(from.shape())};
    tape::run(tape::Tape{{from.dtype}, {}, {0}}, {&from, 1}, {&to.view, 1});
    return input(std::move(to));
}

/// Writes out such leaves: what comes in their place at the next call is of the same signature then, and has their
/// memory.
void write_out(Tree& arguments, std::vector<Node*>& leaves) {
    const auto is_unwritten = [](const Node* n) { return is_given_up_unwritten(*n); };
    if (std::none_of(leaves.begin(), leaves.end(), is_unwritten)) return;
    std::vector<Tensor> all;
    for (Node* const n : leaves) all.push_back(is_unwritten(n) ? written_out(*n) : tensor_of(n));
    arguments = arguments.with_leaves(std::move(all));
    leaves = leaves_of(arguments);
}

}  // namespace
}  // namespace schedule

struct CompiledCalls::State {
    /// The most recently used first; by the evaluator's lock.
    std::list<std::shared_ptr<schedule::Recording>> recordings;
    std::size_t bytes = 0;

    /// The recording of such a call, null if there is none.
    std::shared_ptr<schedule::Recording> find(const Tree& structure, std::span<Node* const> leaves) {
        const Policy& now = policy();
        const std::uint64_t word = schedule::word(schedule::options());
        const auto is_of = [](const schedule::Kind& k, const Node* n) { return schedule::is_of(k, *n); };
        for (auto at = recordings.begin(); at != recordings.end(); ++at) {
            schedule::Recording& r = **at;
            if (r.options != word || r.policy != now || !same_names(r.arguments, structure) ||
                !std::equal(r.kinds.begin(), r.kinds.end(), leaves.begin(), leaves.end(), is_of))
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

    /// Calls what f is compiled to for such arguments; false if it is to run as it comes.
    bool run(const TreeFunction& f, const Tree& arguments, std::span<Node* const> leaves, Device device, Tree& result) {
        std::optional<schedule::EvaluatorLock> lock(std::in_place);
        std::shared_ptr<schedule::Recording> r = find(arguments, leaves);
        if (!r) {
            lock.reset();
            r = schedule::recorded(f, arguments, leaves, device);
            lock.emplace();
            add(r);
        }
        if (!r->is_of_one_device) return false;
        const std::vector<Scalar> derived = schedule::derived_numbers(*r, leaves);
        std::vector<Array> computed;
        if (!r->graph.nodes.empty() && !(r->executable && schedule::compute_results(*r, leaves, computed)))
            return false;
        lock.reset();
        result = schedule::result_of(*r, std::move(computed), derived);
        return true;
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
    std::vector<Node*> leaves = leaves_of(args);
    compute_pending(leaves);
    const std::optional<Device> device = common_device(leaves);
    Tree result;
    if (device && options().compile) {  // where arguments are on several devices, f says what is wrong
        if (*device == Device::cpu()) write_out(args, leaves);
        if (state_->run(f, args, leaves, *device, result)) return result;
    }
    result = f(args);
    eval(result);
    return result;
}

}  // namespace tenon
