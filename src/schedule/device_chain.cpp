#include "schedule/device_chain.h"

#include <stdexcept>

#include "cuda/chain/match.h"
#include "primitive/contract.h"
#include "schedule/chain.h"
#include "schedule/plan.h"

namespace tenon::schedule {

struct PackedMiddle {
    cuda::ChainShape shape;
    cuda::MiddleStrides strides;
    bool is_a = false;  // of a product that reads it
};

namespace {

constexpr std::int64_t kWholeTiles = 128;  // rows: then the packed form is as large as the tensor

std::vector<View> views_of(const std::vector<Operand>& operands) {
    std::vector<View> views;
    for (const Operand& o : operands) views.push_back(o.view);
    return views;
}

cuda::MatchedPass matched(const Task& t, std::span<const View> in, std::span<const View> out) {
    cuda::MatchedPass m;
    const char* why = with_chain(t, in, out, [&](const product::Chain& c) { return cuda::match(c, m); });
    if (why) throw std::logic_error(why);
    return m;
}

struct OfContract {
    product::Labels labels;
    ContractLabels own;
    explicit OfContract(const Node& n) : own(contract_labels(n)) { labels = {own.a, own.b, own.out}; }
    OfContract(const OfContract&) = delete;
    OfContract& operator=(const OfContract&) = delete;
};

bool is_gradient(const Task& t, const Node& n, const PackedMiddle& z, std::span<const View> in, const View& out,
                 cuda::CoreGradient& gradient) {
    const bool alone =
        t.kind == Task::Kind::kernel || (t.kind == Task::Kind::product && t.tape.outputs.empty() && !t.prologues);
    if (!alone || !is_contract(n) || in.size() != 2) return false;
    const OfContract c(n);
    return cuda::match(in[0], in[1], out, c.labels, z.is_a, z.shape, z.strides, gradient);
}

bool is_at(const Operand& o, const Location& l) {
    return o.at.in == l.in && o.at.index == l.index && o.at.offset == l.offset;
}

}  // namespace

const char* chain_declines(Device device, const product::Chain& chain) {
    if (device == Device::cpu()) return product::declines(chain);
    if (chain.kept_middle) return "something else reads what is between the products";
    cuda::MatchedPass m;
    if (const char* why = cuda::match(chain, m)) return why;
    return cuda::declines(cuda::Gpu::at(device.index), m.pass);
}

void pack_intermediates(Executable& e, const Graph& graph) {
    for (std::size_t i = 0; i < e.tasks.size(); ++i) {
        Task& chain = e.tasks[i];
        if (chain.kind != Task::Kind::chain || !chain.chain->keeps_product) continue;
        const Location at = chain.out[1].at;
        const auto in = views_of(chain.in), out = views_of(chain.out);
        cuda::MatchedPass m;
        if (with_chain(chain, in, out, [&](const product::Chain& c) { return cuda::match(c, m); })) continue;
        if (at.in != Location::In::arena || m.pass.shape.rows % kWholeTiles != 0) continue;
        std::vector<std::pair<Task*, bool>> readers;
        bool all = true, overwritten = false;
        for (std::size_t j = i + 1; j < e.tasks.size() && !overwritten; ++j) {
            Task& t = e.tasks[j];
            for (std::size_t o = 0; o < t.in.size(); ++o) {
                if (!is_at(t.in[o], at)) continue;
                const PackedMiddle z{m.pass.shape, m.kept, o == 0};
                cuda::CoreGradient gradient;
                const auto operands = views_of(t.in);
                all = all && o < 2 && is_gradient(t, *graph.nodes[t.node], z, operands, t.out[0].view, gradient);
                readers.emplace_back(&t, o == 0);
            }
            for (const Operand& o : t.out) overwritten = overwritten || is_at(o, at);
        }
        if (!all || readers.empty()) continue;
        chain.packed = std::make_shared<PackedMiddle>(PackedMiddle{m.pass.shape, m.kept});
        for (const auto& [reader, is_a] : readers)
            reader->packed = std::make_shared<PackedMiddle>(PackedMiddle{m.pass.shape, m.kept, is_a});
    }
}

void run_chain(cuda::Gpu& gpu, const Task& t, std::span<const View> in, std::span<const View> out) {
    cuda::MatchedPass m = matched(t, in, out);
    std::shared_ptr<Storage> scratch;
    if (t.packed) {
        m.pass.kept = out[1].data;
    } else if (t.chain->keeps_product) {
        scratch = gpu.allocate(cuda::kept_bytes(m.pass.shape));
        m.pass.kept = scratch->data();
    }
    cuda::run(gpu, m.pass);
    if (scratch) cuda::unpack(gpu, m.pass.shape, scratch->data(), out[1].data, m.kept.row, m.kept.z);
}

void run_core_gradient(cuda::Gpu& gpu, const Task& t, const Node& n, std::span<const View> in, const View& out) {
    cuda::CoreGradient gradient;
    if (!is_gradient(t, n, *t.packed, in, out, gradient))
        throw std::logic_error("a packed intermediate's reader is no gradient");
    cuda::run(gpu, gradient);
}

}  // namespace tenon::schedule
