#include "schedule/device_chain.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "cuda/chain/match.h"
#include "primitive/contract.h"
#include "schedule/chain.h"
#include "schedule/device_operands.h"
#include "schedule/plan.h"
#include "tenon/device.h"

namespace tenon::schedule {

struct MatchedChain {
    cuda::MatchedPass pass;  // without addresses
    std::optional<cuda::KroneckerPass> kronecker;  // then it is this one
};

struct PackedIntermediate {
    cuda::ChainShape shape;
    cuda::IntermediateStrides strides;
    bool is_a = false;  // of a product that reads it
    cuda::CoreGradient gradient{};  // which that product is, without addresses
};

struct CoreGradientsTask {
    cuda::CoreGradients gradients;  // without addresses
};

namespace {

constexpr int kPackedBlock = 128;  // for other blocks the gradients compute the intermediate again
constexpr std::int64_t kWholeTiles = 64;  // rows: then the packed form is as large as the tensor

std::vector<View> views_of(const std::vector<Operand>& operands) {
    std::vector<View> views;
    for (const Operand& o : operands) views.push_back(o.view);
    return views;
}

struct OfContract {
    product::Labels labels;
    ContractLabels own;
    explicit OfContract(const Node& n) : own(contract_labels(n)) { labels = {own.a, own.b, own.out}; }
    OfContract(const OfContract&) = delete;
    OfContract& operator=(const OfContract&) = delete;
};

bool is_gradient(const Task& t, const Node& n, const PackedIntermediate& z, std::span<const View> in, const View& out,
                 cuda::CoreGradient& gradient) {
    const bool alone =
        t.kind == Task::Kind::kernel || (t.kind == Task::Kind::product && t.tape.outputs.empty() && !t.prologues);
    if (!alone || !is_contract(n) || in.size() != 2) return false;
    const OfContract c(n);
    return cuda::match(in[0], in[1], out, c.labels, z.is_a, z.shape, z.strides, gradient);
}

std::vector<View> views_of(const Program& p, const std::vector<Source>& sources) {
    std::vector<View> views;
    for (const Source& s : sources) {
        views.push_back({nullptr, p.dtype(s.base), s.layout});
        views.back().layout.offset = 0;
    }
    return views;
}
std::vector<View> results_of(const Program& p, const Draft& d) {
    std::vector<View> views;
    for (std::size_t i = 0; i < d.out.size(); ++i) views.push_back({nullptr, p.dtype(d.out[i]), d.out_layouts[i]});
    return views;
}

/// The number of the operand through which a draft reads a base, or -1.
std::ptrdiff_t operand_of(const Draft& d, Index base) {
    const auto at = std::find_if(d.in.begin(), d.in.end(), [&](const Source& s) { return s.base == base; });
    return at == d.in.end() ? -1 : at - d.in.begin();
}

/// Whether a draft is a gradient of a core, computed from the intermediate that the chain keeps and another operand;
/// and which.
bool is_gradient_of(const Program& p, const Draft& d, const Draft& chain, const cuda::MatchedPass& m,
                    cuda::CoreGradient& g, Source& other) {
    const std::ptrdiff_t z = operand_of(d, chain.out[1]);
    if (z < 0 || z > 1 || d.in.size() != 2 || d.out.size() != 1 || d.in[static_cast<std::size_t>(z)].layout.offset != 0)
        return false;
    const auto operands = views_of(p, d.in);
    const PackedIntermediate intermediate{m.pass.shape, m.kept, z == 0};
    other = d.in[static_cast<std::size_t>(1 - z)];
    return is_gradient(d.task, p.node(d.task.node), intermediate, operands, results_of(p, d)[0], g);
}

/// The pass that a draft is, if its intermediate is kept and gets no value.
bool keeps(const Program& p, const Draft& chain, cuda::MatchedPass& m) {
    if (chain.task.kind != Task::Kind::chain || !chain.task.chain->keeps_product ||
        chain.task.chain->keeps_intermediate || p.bases[chain.out[1]].escapes)
        return false;
    const auto in = views_of(p, chain.in), out = results_of(p, chain);
    return !with_chain(chain.task, in, out, [&](const product::Chain& c) { return cuda::match(c, m); });
}

void keep_no_product(Draft& chain) {
    const auto keepless = std::make_shared<ChainTask>(*chain.task.chain);
    keepless->keeps_product = false;
    chain.task.chain = keepless;
    chain.out.pop_back(), chain.out_layouts.pop_back();
}

/// The tasks that the readers of what the chain keeps become; empty where one of them is no such gradient.
std::vector<std::pair<Draft*, Draft>> gradients_of(const Program& p, std::span<Draft> drafts, const Draft& chain,
                                                   const cuda::MatchedPass& m) {
    std::vector<std::pair<Draft*, Draft>> all;
    for (Draft& d : drafts) {
        if (operand_of(d, chain.out[1]) < 0) continue;
        cuda::CoreGradient g;
        Source other;
        if (!is_gradient_of(p, d, chain, m, g, other)) return {};
        const cuda::CoreGradients gradients{
            m.pass.shape, g.dtype, {{{nullptr, {nullptr, m.pass.first.strides}, nullptr, nullptr, g.strides}, {}}}, 1};
        if (cuda::declines(gradients)) return {};
        Draft becomes = d;
        becomes.task.kind = Task::Kind::core_gradients;
        becomes.task.gradients = std::make_shared<CoreGradientsTask>(CoreGradientsTask{gradients});
        becomes.in = {chain.in[m.x_is_a ? 0 : 1], chain.in[m.x_is_a ? 1 : 0], other};
        all.emplace_back(&d, std::move(becomes));
    }
    return all;
}

/// If the only reader of what the chain keeps is a core's gradient whose other operand was read by an earlier pass (x,
/// in a backward pass), the gradient is computed in the pass, beside its result. Returns whether it is.
bool join_beside(const Program& p, std::vector<Draft>& drafts, std::size_t at, const cuda::MatchedPass& m) {
    Draft& chain = drafts[at];
    if (!cuda::takes_gradient_beside(m.pass.shape)) return false;
    std::size_t reader = drafts.size();
    for (std::size_t i = 0; i < drafts.size(); ++i) {
        if (operand_of(drafts[i], chain.out[1]) < 0) continue;
        if (reader != drafts.size()) return false;
        reader = i;
    }
    cuda::CoreGradient g;
    Source other;
    if (reader == drafts.size() || !is_gradient_of(p, drafts[reader], chain, m, g, other)) return false;
    const auto reads_other = [&](const Draft& d) {
        return d.task.kind == Task::Kind::chain && operand_of(d, other.base) >= 0;
    };
    if (std::none_of(drafts.begin(), drafts.begin() + static_cast<std::ptrdiff_t>(at), reads_other)) return false;
    Draft& gradient = drafts[reader];
    keep_no_product(chain);
    chain.in.push_back(other);
    chain.out.push_back(gradient.out[0]), chain.out_layouts.push_back(gradient.out_layouts[0]);
    chain.task.gradients = std::make_shared<CoreGradientsTask>(
        CoreGradientsTask{{m.pass.shape, g.dtype, {{{nullptr, {}, nullptr, nullptr, g.strides}, {}}}, 1}});
    chain.task.nodes.insert(chain.task.nodes.end(), gradient.task.nodes.begin(), gradient.task.nodes.end());
    std::sort(chain.task.nodes.begin(), chain.task.nodes.end());
    chain.task.cost.flops += gradient.task.cost.flops, chain.task.cost.bytes += gradient.task.cost.bytes;
    drafts.erase(drafts.begin() + static_cast<std::ptrdiff_t>(reader));
    return true;
}

bool is_same(const Source& a, const Source& b) { return a.base == b.base && a.layout.offset == b.layout.offset; }

/// The gradients of both cores of a layer as one task; empty if they are not gradients, or no kernel gives both.
std::optional<Draft> joined(const Draft& one, const Draft& two) {
    for (const Draft* d : {&one, &two})
        if (d->task.kind != Task::Kind::core_gradients || d->out.size() != 1) return {};
    cuda::CoreGradients g = one.task.gradients->gradients;
    const cuda::CoreGradients& other = two.task.gradients->gradients;
    if (!is_same(one.in[0], two.in[2]) || !is_same(one.in[2], two.in[0]) || g.shape != other.shape ||
        g.dtype != other.dtype)
        return {};
    g.of[1] = other.of[0], g.count = 2;
    if (cuda::declines(g)) return {};
    Draft both = two;
    both.task.gradients = std::make_shared<CoreGradientsTask>(CoreGradientsTask{g});
    both.task.nodes.insert(both.task.nodes.end(), one.task.nodes.begin(), one.task.nodes.end());
    std::sort(both.task.nodes.begin(), both.task.nodes.end());
    both.task.cost.flops += one.task.cost.flops, both.task.cost.bytes += one.task.cost.bytes;
    both.in.insert(both.in.begin(), one.in.begin(), one.in.end());
    both.out.insert(both.out.begin(), one.out[0]);
    both.out_layouts.insert(both.out_layouts.begin(), one.out_layouts[0]);
    return both;
}

/// Puts the gradients of both cores together: where the second was, if nobody reads the first before; else where the
/// first was, if the second's core is there by then.
void join_gradients(std::vector<Draft>& drafts) {
    const auto reads = [&](std::size_t from, std::size_t to, Index base) {
        return std::any_of(drafts.begin() + static_cast<std::ptrdiff_t>(from),
                           drafts.begin() + static_cast<std::ptrdiff_t>(to),
                           [&](const Draft& d) { return operand_of(d, base) >= 0; });
    };
    const auto gives = [&](std::size_t from, std::size_t to, Index base) {
        return std::any_of(drafts.begin() + static_cast<std::ptrdiff_t>(from),
                           drafts.begin() + static_cast<std::ptrdiff_t>(to),
                           [&](const Draft& d) { return std::find(d.out.begin(), d.out.end(), base) != d.out.end(); });
    };
    for (std::size_t i = 0; i < drafts.size(); ++i)
        for (std::size_t j = i + 1; j < drafts.size(); ++j) {
            std::optional<Draft> both = joined(drafts[i], drafts[j]);
            if (!both) continue;
            const bool late = !reads(i + 1, j, drafts[i].out[0]);
            if (!late && gives(i, j, drafts[j].in[1].base)) continue;
            drafts[late ? j : i] = std::move(*both);
            drafts.erase(drafts.begin() + static_cast<std::ptrdiff_t>(late ? i : j));
            if (late) --i;
            break;
        }
}

bool is_at(const Operand& o, const Location& l) {
    return o.at.in == l.in && o.at.index == l.index && o.at.offset == l.offset;
}

}  // namespace

const char* chain_declines(Device device, const product::Chain& chain) {
    if (device == Device::cpu()) return product::declines(chain);
    if (chain.kept_intermediate) return "something else reads what is between the products";
    // Without such a GPU, as in tests of the compiler alone, its kernels count as available.
    const bool is_there = device.index < cuda_device_count();
    cuda::MatchedPass m;
    if (const char* why = cuda::match(chain, m)) {
        cuda::KroneckerPass k;
        if (cuda::match(chain, k, m.x_is_a)) return why;
        return is_there ? cuda::declines(cuda::Gpu::at(device.index), k) : nullptr;
    }
    if (const char* why = cuda::does_not_pay(m.pass.shape)) return why;
    std::byte somewhere;
    if (chain.kept_product) m.pass.kept = &somewhere;  // whether, not where
    return is_there ? cuda::declines(cuda::Gpu::at(device.index), m.pass) : cuda::declines(m.pass);
}

void recompute_intermediates(const Program& p, std::vector<Draft>& drafts) {
    for (std::size_t at = 0; at < drafts.size(); ++at) {
        cuda::MatchedPass m;
        if (!keeps(p, drafts[at], m)) continue;
        if (join_beside(p, drafts, at, m)) continue;
        std::vector<std::pair<Draft*, Draft>> gradients = gradients_of(p, drafts, drafts[at], m);
        if (gradients.empty()) continue;
        for (auto& [from, to] : gradients) *from = std::move(to);
        keep_no_product(drafts[at]);
    }
    join_gradients(drafts);
}

void pack_intermediates(Executable& e, const Graph& graph) {
    for (std::size_t i = 0; i < e.tasks.size(); ++i) {
        Task& chain = e.tasks[i];
        if (chain.kind != Task::Kind::chain || !chain.chain->keeps_product) continue;
        const Location at = chain.out[1].at;
        const auto in = views_of(chain.in), out = views_of(chain.out);
        cuda::MatchedPass m;
        if (with_chain(chain, in, out, [&](const product::Chain& c) { return cuda::match(c, m); })) continue;
        if (at.in != Location::In::arena || m.pass.shape.block != kPackedBlock || m.pass.shape.rows % kWholeTiles != 0)
            continue;
        std::vector<std::pair<Task*, PackedIntermediate>> readers;
        bool all = true, overwritten = false;
        for (std::size_t j = i + 1; j < e.tasks.size() && !overwritten; ++j) {
            Task& t = e.tasks[j];
            for (std::size_t o = 0; o < t.in.size(); ++o) {
                if (!is_at(t.in[o], at)) continue;
                PackedIntermediate z{m.pass.shape, m.kept, o == 0};
                const auto operands = views_of(t.in);
                all = all && o < 2 && is_gradient(t, *graph.nodes[t.node], z, operands, t.out[0].view, z.gradient);
                readers.emplace_back(&t, z);
            }
            for (const Operand& o : t.out) overwritten = overwritten || is_at(o, at);
        }
        if (!all || readers.empty()) continue;
        chain.packed = std::make_shared<PackedIntermediate>(PackedIntermediate{m.pass.shape, m.kept});
        for (const auto& [reader, z] : readers) reader->packed = std::make_shared<PackedIntermediate>(z);
    }
}

void match_chains(Executable& e) {
    for (Task& t : e.tasks) {
        if (t.kind != Task::Kind::chain) continue;
        const auto in = views_of(t.in), out = views_of(t.out);
        MatchedChain m;
        const char* why = with_chain(t, in, out, [&](const product::Chain& c) {
            const char* none = cuda::match(c, m.pass);
            return none && !cuda::match(c, m.kronecker.emplace(), m.pass.x_is_a) ? nullptr : none;
        });
        if (why) throw std::logic_error(why);
        t.matched = std::make_shared<MatchedChain>(m);
    }
}

void run_chain(cuda::Gpu& gpu, const Task& t, std::span<const View> in, std::span<const View> out) {
    if (!t.matched) throw std::logic_error("a chain on a device was not matched");
    const cuda::MatchedPass& m = t.matched->pass;
    Aligned at(gpu);
    if (t.matched->kronecker) {
        cuda::KroneckerPass pass = *t.matched->kronecker;
        pass.x = at.operand(in[m.x_is_a ? 0 : 1]);
        pass.first.data = in[m.x_is_a ? 1 : 0].data, pass.second.data = in[2].data;
        pass.y = at.result(out[0]);
        if (pass.keeps) pass.kept = at.result(out[1]);
        cuda::run(gpu, pass);
        return at.finish();
    }
    cuda::Pass pass = m.pass;
    pass.x = at.operand(in[m.x_is_a ? 0 : 1]);
    pass.first.data = at.operand(in[m.x_is_a ? 1 : 0]);
    pass.second.data = at.operand(in[2]);
    pass.y = at.result(out[0]);
    std::shared_ptr<Storage> scratch;
    if (t.packed) {
        pass.kept = out[1].data;
    } else if (t.chain->keeps_product) {
        scratch = gpu.allocate(cuda::kept_bytes(pass.shape));
        pass.kept = scratch->data();
    }
    if (t.gradients) {
        const cuda::CoreGradients& g = t.gradients->gradients;
        pass.beside = {at.operand(in.back()), g.dtype, at.result(out[1]), g.of[0].strides};
    }
    cuda::run(gpu, pass);
    if (scratch) cuda::unpack(gpu, pass.shape, scratch->data(), out[1].data, m.kept.row, m.kept.z);
    at.finish();
}

void run_core_gradients(cuda::Gpu& gpu, const Task& t, std::span<const View> in, std::span<const View> out) {
    cuda::CoreGradients g = t.gradients->gradients;
    Aligned at(gpu);
    for (std::size_t i = 0; i < out.size(); ++i) {
        cuda::RecomputedGradient& one = g.of[i];
        one.x = at.operand(in[3 * i]), one.core.data = at.operand(in[3 * i + 1]), one.other = at.operand(in[3 * i + 2]);
        one.gradient = at.result(out[i]);
    }
    cuda::run(gpu, g);
    at.finish();
}

void run_core_gradient(cuda::Gpu& gpu, const Task& t, std::span<const View> in, const View& out) {
    const PackedIntermediate& z = *t.packed;
    Aligned at(gpu);
    cuda::CoreGradient gradient = z.gradient;
    gradient.x = at.operand(in[z.is_a ? 1 : 0]), gradient.kept = in[z.is_a ? 0 : 1].data;
    gradient.gradient = at.result(out);
    cuda::run(gpu, gradient);
    at.finish();
}

}  // namespace tenon::schedule
