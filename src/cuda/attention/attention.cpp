#include "cuda/attention/attention.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/text.h"
#include "cuda/attention/graphs.h"
#include "cuda/attention/rows.h"
#include "cuda/loops.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using cudnn::AttentionForm;
using cudnn::Extents4;
using product::Attention;
using product::AttentionGradients;

constexpr std::int64_t kDepths = 256, kUnit = 16;  // bytes of one access
/// The gradients of weights in memory at a time are a sixteenth of the device's: the larger the parts, the less time
/// they take. Where memory is short, less is tried, down to kMinWeightBytes. Those of one head are at most
/// kWeightBytes.
constexpr std::int64_t kPartOfMemory = 16, kMinWeightBytes = std::int64_t{256} << 20,
                       kWeightBytes = std::int64_t{4} << 30;

/// A plan, or why there is none.
struct Entry {
    std::unique_ptr<cudnn::Plan> plan;
    std::string declines;
};

/// Plans of the process.
class Plans {
  public:
    const Entry& find(Gpu& gpu, const AttentionForm& form, bool gradient) {
        const std::lock_guard lock(mutex_);
        const Key key{gpu.index(), gradient, form};
        if (const auto it = all_.find(key); it != all_.end()) return it->second;
        Entry e;
        try {
            e.plan = gradient ? cudnn::gradient_plan(gpu, form) : cudnn::attention_plan(gpu, form);
            if (!e.plan->same_bits() && !form.sums_anywhere)
                e = {nullptr, "cuDNN's engine does not give the same bits each time"};
        } catch (const ValueError& error) {
            e.declines = error.what();
        }
        return all_.emplace(key, std::move(e)).first->second;
    }

  private:
    struct Key {
        int device;
        bool gradient;
        AttentionForm form;
        auto operator<=>(const Key&) const = default;
    };
    std::mutex mutex_;
    std::map<Key, Entry> all_;
};
Plans& plans() {
    static auto& once = *new Plans;
    return once;
}

std::optional<cudnn::Type> type_of(DType t) {
    if (t == DType::bfloat16) return cudnn::Type::bfloat16;
    if (t == DType::float16) return cudnn::Type::float16;
    return std::nullopt;
}

/// Whether cuDNN reads the view in place: depth is contiguous, accesses are whole, and no element is repeated.
bool reads(const View& v) {
    const auto size = static_cast<std::int64_t>(size_of(v.dtype));
    const Layout& l = v.layout;
    if (reinterpret_cast<std::uintptr_t>(v.data) % kUnit != 0 || l.strides[3] != 1) return false;
    for (int d = 0; d < 3; ++d)
        if (l.shape[d] > 1 && (l.strides[d] <= 0 || l.strides[d] * size % kUnit != 0)) return false;
    return true;
}

/// (batch, length, heads, depth) to cuDNN's order of axes.
Extents4 strides_of(const View& v) {
    const auto& s = v.layout.strides;
    return {s[0], s[2], s[1], s[3]};
}
Extents4 row_major(const Extents4& e) { return {e[1] * e[2] * e[3], e[2] * e[3], e[3], 1}; }

/// The extents of a bias that stands for bias and mask: batch and heads of 1 where both repeat.
Extents4 bias_extents(const Attention& a) {
    Extents4 e{a.batch(), a.heads(), a.queries(), a.keys()};
    for (int d = 0; d < 2; ++d) {
        const auto repeats = [&](const View& v) { return !v.data || v.layout.strides[d] == 0; };
        if (repeats(a.bias) && repeats(a.mask)) e[static_cast<std::size_t>(d)] = 1;
    }
    return e;
}

/// What a gradient is computed of and into; queries are counted from `first`.
struct Gradient {
    View out, ct;
    AttentionGradients to;
    std::int64_t first = 0;
};

/// Strides are those that the operands have, or will have once copied.
AttentionForm form_of(const Attention& a, const View& out, const Gradient* g) {
    AttentionForm f;
    f.type = *type_of(a.q.dtype);
    f.batch = a.batch(), f.heads = a.heads(), f.kv_heads = a.kv_heads(), f.queries = a.queries(), f.keys = a.keys();
    f.depth = a.depth(), f.value_depth = a.value_depth();
    const auto strides = [](const View& v) {
        View packed = v;
        if (!reads(v)) packed.layout = Layout::contiguous(v.shape());
        return strides_of(packed);
    };
    f.query = strides(a.q), f.key = strides(a.k), f.value = strides(a.v);
    f.output = strides_of(out);
    f.has_lengths = a.lengths.data != nullptr;
    f.has_bias = a.bias.data || a.mask.data;
    if (f.has_bias) {
        f.bias_extents = bias_extents(a);
        f.bias = row_major(f.bias_extents);
    }
    f.scale = static_cast<float>(a.scale);
    const std::int64_t first = g ? g->first : 0, right = a.causal ? 0 : a.right;
    if (right >= 0 && right + first < f.keys - 1) f.right = right + first;
    if (a.left >= 0 && a.left - first < f.queries - 1) f.left = a.left - first;
    if (!g) return f;
    f.cotangent = strides(g->ct);
    f.query_gradient = strides_of(g->to.dq), f.key_gradient = strides_of(g->to.dk);
    f.value_gradient = strides_of(g->to.dv);
    f.sums_anywhere = a.any_order;
    return f;
}

/// A problem's operands as they are passed to cuDNN, some of them copied.
struct Prepared {
    View q, k, v, ct;
    View bias;  // float32, (batch, heads, queries, keys), or without data
    rows::Lengths lengths;
    std::vector<std::shared_ptr<Storage>> copies;
};

View read(Gpu& gpu, const View& v, Prepared& p) {
    if (reads(v)) return v;
    p.copies.push_back(gpu.allocate(v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype))));
    const View packed{p.copies.back()->data(), v.dtype, Layout::contiguous(v.shape())};
    copy(gpu, v, packed);
    return packed;
}

Prepared prepare(Gpu& gpu, const Attention& a, const AttentionForm& form, const Gradient* g) {
    Prepared p;
    p.q = read(gpu, a.q, p), p.k = read(gpu, a.k, p), p.v = read(gpu, a.v, p);
    if (g) p.ct = read(gpu, g->ct, p);
    if (form.has_bias) {
        const Extents4& e = form.bias_extents;
        const std::int64_t extents[4] = {e[0], e[1], e[2], e[3]};
        p.copies.push_back(rows::additive(gpu, a, extents));
        const View packed{p.copies.back()->data(), DType::float32, Layout::contiguous({e[0], e[1], e[2], e[3]})};
        p.bias = with_layout(packed, packed.layout.broadcast({a.batch(), a.heads(), a.queries(), a.keys()}));
    }
    p.lengths = rows::lengths_of(gpu, a);
    return p;
}

using Memory = std::vector<std::pair<std::int64_t, void*>>;

Memory memory_of(const Prepared& p, const View& out, const void* statistics) {
    Memory m{{cudnn::kQuery, p.q.data},
             {cudnn::kKey, p.k.data},
             {cudnn::kValue, p.v.data},
             {cudnn::kOutput, out.data},
             {cudnn::kStatistics, const_cast<void*>(statistics)}};
    if (p.bias.data) m.emplace_back(cudnn::kBias, p.bias.data);
    if (p.lengths.of_keys) {
        m.emplace_back(cudnn::kQueryLengths, p.lengths.of_queries);
        m.emplace_back(cudnn::kKeyLengths, p.lengths.of_keys);
    }
    return m;
}

/// Whether there may be rows without keys.
bool may_be_empty(const Attention& a) {
    if (a.lengths.data || a.bias.data || a.mask.data) return true;
    return a.left >= 0 && a.queries() - 1 - a.left >= a.keys();
}

std::string problem_declines(Gpu& gpu, const Attention& a) {
    if (!type_of(a.q.dtype)) return text("takes bfloat16 and float16, not ", name(a.q.dtype));
    if (!cudnn::absent().empty()) return cudnn::absent();
    if (gpu.major() < 8) return "asks for compute capability 8";
    if (a.depth() % 8 != 0 || a.value_depth() % 8 != 0) return "takes depths in eights";
    if (a.depth() > kDepths || a.value_depth() > kDepths) return text("takes depths of up to ", kDepths);
    if (a.batch() == 0 || a.heads() == 0 || a.queries() == 0 || a.keys() == 0 || a.depth() == 0 || a.value_depth() == 0)
        return "takes no empty arrays";
    if (a.queries() > INT32_MAX || a.keys() > INT32_MAX) return "counts in 32 bits";
    return {};
}

/// Elements [begin, begin + n) of an axis.
View cut(const View& v, int axis, std::int64_t begin, std::int64_t n) {
    if (!v.data) return v;
    Layout l = v.layout;
    l.offset = begin * l.strides[axis];
    l.shape[axis] = n;
    return with_layout(v, l);
}

/// A part of a problem; heads are those of keys.
struct Part {
    std::int64_t batch = 0, batches = 0, head = 0, heads = 0, query = 0, queries = 0;
};

class Cutter {
  public:
    Cutter(const Attention& a, const Part& p) : a_(a), p_(p) {}

    Attention attention() const {
        Attention x = a_;
        x.q = of_queries(a_.q), x.k = of_keys(a_.k), x.v = of_keys(a_.v);
        x.bias = of_weights(a_.bias), x.mask = of_weights(a_.mask),
        x.lengths = cut(a_.lengths, 0, p_.batch, p_.batches);
        return x;
    }
    Gradient gradient(const Gradient& g) const {
        return {
            of_queries(g.out), of_queries(g.ct), {of_queries(g.to.dq), of_keys(g.to.dk), of_keys(g.to.dv)}, p_.query};
    }

  private:
    View of_queries(const View& v) const {
        return cut(cut(cut(v, 0, p_.batch, p_.batches), 1, p_.query, p_.queries), 2, p_.head * a_.group(),
                   p_.heads * a_.group());
    }
    View of_keys(const View& v) const { return cut(cut(v, 0, p_.batch, p_.batches), 2, p_.head, p_.heads); }
    View of_weights(const View& v) const {
        return cut(cut(cut(v, 0, p_.batch, p_.batches), 1, p_.head * a_.group(), p_.heads * a_.group()), 2, p_.query,
                   p_.queries);
    }

    const Attention& a_;
    const Part& p_;
};

/// The largest parts whose weights are within `bytes`: elements of the batch, else heads of one, else queries of one
/// head of keys. Queries are cut by kWeightBytes alone: the bits of dk and dv follow from where.
Part largest_part(const Attention& a, std::int64_t bytes) {
    const std::int64_t of_query = 2 * a.group() * a.keys();
    Part p{0, a.batch(), 0, a.kv_heads(), 0, a.queries()};
    if (a.any_order) return p;
    if (of_query * p.queries > kWeightBytes) p.batches = p.heads = 1;
    const auto halve = [of_query](std::int64_t& n, std::int64_t others, std::int64_t most) {
        while (n > 1 && of_query * others * n > most) n = (n + 1) / 2;
    };
    halve(p.batches, p.heads * p.queries, bytes);
    if (p.batches == 1) halve(p.heads, p.queries, bytes);
    if (p.batches * p.heads == 1) halve(p.queries, 1, kWeightBytes);
    return p;
}

const Entry& gradient_entry(Gpu& gpu, const Attention& a, const Gradient& g) {
    return plans().find(gpu, form_of(a, g.out, &g), true);
}

void run_gradient(Gpu& gpu, const Attention& a, const Gradient& g, const void* logsumexp) {
    const Entry& entry = gradient_entry(gpu, a, g);
    if (!entry.plan) throw ValueError(text("cuda: the gradient of a part of attention: ", entry.declines));
    const Prepared p = prepare(gpu, a, form_of(a, g.out, &g), &g);
    const auto products = gpu.allocate(a.batch() * a.heads() * a.queries() * 4);
    Memory m = memory_of(p, g.out, logsumexp);
    m.emplace_back(cudnn::kCotangent, p.ct.data);
    m.emplace_back(cudnn::kQueryGradient, g.to.dq.data);
    m.emplace_back(cudnn::kKeyGradient, g.to.dk.data);
    m.emplace_back(cudnn::kValueGradient, g.to.dv.data);
    m.emplace_back(cudnn::kProducts, products->data());
    std::shared_ptr<Storage> sums;
    if (a.any_order) {
        sums = gpu.allocate(a.q.layout.count() * 4);
        m.emplace_back(cudnn::kSums, sums->data());
    }
    entry.plan->run(gpu, m);
}

/// dk or dv of several parts of the queries: each rounded, added in float32 in their order.
class PartSum {
  public:
    PartSum(Gpu& gpu, const View& to) : gpu_(gpu), to_(to) {
        const std::int64_t n = to.layout.count();
        storage_ = {gpu.allocate(4 * n), gpu.allocate(2 * n)};
        sum_ = {storage_[0]->data(), DType::float32, Layout::contiguous(to.shape())};
        part = {storage_[1]->data(), to.dtype, Layout::contiguous(to.shape())};
        fill(gpu, 0, sum_);
    }
    View part;
    void add() {
        const DType wide = DType::float32, narrow = to_.dtype;
        const tape::Tape t{{wide, narrow},
                           {{tape::Opcode::cast, narrow, wide, {1, 0, 0}}, {tape::Opcode::add, wide, wide, {0, 2, 0}}},
                           {3}};
        const View in[] = {sum_, part};
        cuda::run(gpu_, t, in, {&sum_, 1});
    }
    void store() {
        const DType wide = DType::float32;
        cuda::run(gpu_, tape::single(tape::Opcode::cast, {&wide, 1}, to_.dtype), {&sum_, 1}, {&to_, 1});
    }

  private:
    Gpu& gpu_;
    View to_, sum_;
    std::array<std::shared_ptr<Storage>, 2> storage_;
};

/// The values kept for a part's queries, contiguous as cuDNN reads them.
std::shared_ptr<Storage> logsumexp_of(Gpu& gpu, const Attention& a, const void* logsumexp, const Part& p) {
    const std::int64_t heads = p.heads * a.group();
    const View all{const_cast<void*>(logsumexp), DType::float32,
                   Layout::contiguous({a.batch(), a.heads(), a.queries()})};
    const View from = cut(cut(cut(all, 0, p.batch, p.batches), 1, p.head * a.group(), heads), 2, p.query, p.queries);
    auto storage = gpu.allocate(p.batches * heads * p.queries * 4);
    copy(gpu, from, {storage->data(), DType::float32, Layout::contiguous(from.shape())});
    return storage;
}

/// The gradients in parts of these sizes. If cuDNN declines, returns the reason and does nothing.
std::string gradient_in(Gpu& gpu, const Attention& a, const Gradient& g, const void* logsumexp, const Part& most) {
    if (most.batches == a.batch() && most.heads == a.kv_heads() && most.queries == a.queries()) {
        const Entry& e = gradient_entry(gpu, a, g);
        if (!e.plan) return e.declines;
        run_gradient(gpu, a, g, logsumexp);
        return {};
    }
    std::vector<Part> parts;
    for (std::int64_t b = 0; b < a.batch(); b += most.batches)
        for (std::int64_t h = 0; h < a.kv_heads(); h += most.heads)
            for (std::int64_t i = 0; i < a.queries(); i += most.queries)
                parts.push_back({b, std::min(most.batches, a.batch() - b), h, std::min(most.heads, a.kv_heads() - h), i,
                                 std::min(most.queries, a.queries() - i)});
    for (const Part& p : parts) {
        const Attention part = Cutter(a, p).attention();
        const Gradient part_gradient = Cutter(a, p).gradient(g);
        const Entry& e = gradient_entry(gpu, part, part_gradient);
        if (!e.plan) return e.declines;
    }
    std::optional<PartSum> dk, dv;
    for (const Part& p : parts) {
        Gradient part = Cutter(a, p).gradient(g);
        if (most.queries < a.queries()) {
            if (p.query == 0) dk.emplace(gpu, part.to.dk), dv.emplace(gpu, part.to.dv);
            part.to.dk = dk->part, part.to.dv = dv->part;
        }
        const auto own = logsumexp_of(gpu, a, logsumexp, p);
        run_gradient(gpu, Cutter(a, p).attention(), part, own->data());
        if (!dk) continue;
        dk->add(), dv->add();
        if (p.query + p.queries == a.queries()) dk->store(), dv->store();
    }
    return {};
}

}  // namespace

std::string cudnn_declines(Gpu& gpu, const Attention& a) {
    std::string reason = problem_declines(gpu, a);
    if (!reason.empty()) return reason;
    const View out{nullptr, a.q.dtype, Layout::contiguous({a.batch(), a.queries(), a.heads(), a.value_depth()})};
    return plans().find(gpu, form_of(a, out, nullptr), false).declines;
}

void attend(Gpu& gpu, const Attention& a, const View& out, void* logsumexp) {
    if (!problem_declines(gpu, a).empty()) return detail::attend_by_products(gpu, a, out, logsumexp);
    const AttentionForm form = form_of(a, out, nullptr);
    const Entry& entry = plans().find(gpu, form, false);
    if (!entry.plan) return detail::attend_by_products(gpu, a, out, logsumexp);
    const Prepared p = prepare(gpu, a, form, nullptr);
    entry.plan->run(gpu, memory_of(p, out, logsumexp));
    if (may_be_empty(a)) rows::clear_empty(gpu, a, out, logsumexp, p.lengths, p.bias);
}

namespace detail {

std::string gradient_in_parts(Gpu& gpu, const Attention& a, const View& out, const void* logsumexp, const View& ct,
                              const AttentionGradients& to, std::int64_t heads, std::int64_t queries) {
    const Gradient g{out, ct, to};
    if (std::string reason = problem_declines(gpu, a); !reason.empty()) return reason;
    if (heads > 0) return gradient_in(gpu, a, g, logsumexp, {0, 1, 0, heads, 0, queries});
    std::int64_t bytes = gpu.memory_bytes() / kPartOfMemory;
    for (;; bytes /= 2) try {
            return gradient_in(gpu, a, g, logsumexp, largest_part(a, bytes));
        } catch (const MemoryError&) {  // of the first part, before anything is enqueued, or all is computed again
            if (bytes <= kMinWeightBytes) throw;
        }
}

}  // namespace detail

void attention_gradient(Gpu& gpu, const Attention& a, const View& out, const void* logsumexp, const View& ct,
                        const AttentionGradients& to) {
    if (!detail::gradient_in_parts(gpu, a, out, logsumexp, ct, to, 0, 0).empty())
        detail::gradient_by_products(gpu, a, out, logsumexp, ct, to);
}

}  // namespace tenon::cuda
