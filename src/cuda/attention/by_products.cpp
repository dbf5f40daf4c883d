// Attention composed of products, with the weights of a chunk of queries in memory.
#include <algorithm>

#include "base/text.h"
#include "cuda/attention/attention.h"
#include "cuda/attention/rows.h"
#include "cuda/blas.h"
#include "cuda/launch.h"
#include "cuda/loops.h"
#include "cuda/plain.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

using product::Attention;

constexpr std::int64_t kChunkBytes = std::int64_t{256} << 20;  // the most bytes of an array of weights

enum : std::uint8_t { kQuery, kHead, kGroup, kKey, kDepth };
constexpr std::uint8_t kOfQuery[] = {kQuery, kHead, kGroup, kDepth}, kOfKey[] = {kKey, kHead, kDepth},
                       kOfWeights[] = {kHead, kGroup, kQuery, kKey};

DType wide_of(DType t) { return t == DType::float64 ? DType::float64 : DType::float32; }
std::int64_t bytes_of(const Shape& s, DType t) { return count(s) * static_cast<std::int64_t>(size_of(t)); }

struct Block {
    std::shared_ptr<Storage> storage;
    View view;
};
Block block(Gpu& gpu, const Shape& shape, DType dtype) {
    Block b{gpu.allocate(bytes_of(shape, dtype)), {}};
    b.view = {b.storage->data(), dtype, Layout::contiguous(shape)};
    return b;
}

View cast(Gpu& gpu, const View& v, DType to, std::vector<Block>& keep) {
    if (v.dtype == to) return v;
    keep.push_back(block(gpu, v.shape(), to));
    run(gpu, tape::single(tape::Opcode::cast, {&v.dtype, 1}, to), {&v, 1}, {&keep.back().view, 1});
    return keep.back().view;
}

void multiply(Gpu& gpu, const View& a, std::span<const std::uint8_t> of_a, const View& b,
              std::span<const std::uint8_t> of_b, const View& out, std::span<const std::uint8_t> of_out) {
    if (contract(gpu, a, b, out, {of_a, of_b, of_out})) return;
    std::vector<Block> keep;
    const DType wide = wide_of(a.dtype);
    const View x = cast(gpu, a, wide, keep), y = cast(gpu, b, wide, keep);
    if (out.dtype == wide) return contract_plainly(gpu, x, y, out, {of_a, of_b, of_out});
    const Block z = block(gpu, out.shape(), wide);
    contract_plainly(gpu, x, y, z.view, {of_a, of_b, of_out});
    run(gpu, tape::single(tape::Opcode::cast, {&wide, 1}, out.dtype), {&z.view, 1}, {&out, 1});
}

/// A view of element `b` of the batch and queries [first, first + n) of v (batch, length, heads, depth). Where `groups`
/// > 0, the heads' axis is split into so many groups.
View part(const View& v, std::int64_t b, std::int64_t first, std::int64_t n, std::int64_t groups) {
    const Layout& l = v.layout;
    Layout p;
    p.offset = b * l.strides[0] + first * l.strides[1];
    if (groups > 0) {
        p.shape = {n, groups, l.shape[2] / groups, l.shape[3]};
        p.strides = {l.strides[1], l.strides[2] * (l.shape[2] / groups), l.strides[2], l.strides[3]};
    } else {
        p.shape = {n, l.shape[2], l.shape[3]};
        p.strides = {l.strides[1], l.strides[2], l.strides[3]};
    }
    return with_layout(v, p);
}

/// A chunk of queries of one element of the batch, and memory for its weights.
class Chunks {
  public:
    Chunks(Gpu& gpu, const Attention& a) : gpu_(gpu), a_(a), wide_(wide_of(a.q.dtype)) {
        const std::int64_t a_query =
            std::max<std::int64_t>(1, a.heads() * a.keys() * static_cast<std::int64_t>(size_of(wide_)));
        most_ = std::clamp<std::int64_t>(kChunkBytes / a_query, 1, std::max<std::int64_t>(1, a.queries()));
    }

    template <class F>
    void for_each(F f) {
        for (std::int64_t b = 0; b < a_.batch(); ++b)
            for (std::int64_t first = 0; first < a_.queries(); first += most_)
                f(b, first, std::min(most_, a_.queries() - first));
    }
    bool is_whole() const { return most_ >= a_.queries(); }

    Block weights(std::int64_t n, DType dtype) const {
        return block(gpu_, {a_.kv_heads(), a_.group(), n, a_.keys()}, dtype);
    }
    DType wide() const { return wide_; }
    View of_queries(const View& v, std::int64_t b, std::int64_t first, std::int64_t n) const {
        return part(v, b, first, n, a_.kv_heads());
    }
    View of_keys(const View& v, std::int64_t b) const { return part(v, b, 0, a_.keys(), 0); }

    /// The scores q k^T.
    void products(const View& q, const View& k, const Block& out) const {
        multiply(gpu_, q, kOfQuery, k, kOfKey, out.view, kOfWeights);
    }
    /// Weights times values, for each query.
    void by_query(const Block& weights, const View& v, const View& out) const {
        multiply(gpu_, weights.view, kOfWeights, v, kOfKey, out, kOfQuery);
    }
    /// Transposed weights times rows, for each key.
    void by_key(const Block& weights, const View& rows, const View& out) const {
        multiply(gpu_, weights.view, kOfWeights, rows, kOfQuery, out, kOfKey);
    }

    rows::Problem problem(std::int64_t b, std::int64_t first, std::int64_t n) const {
        return rows::problem_of(a_, b, first, n);
    }
    void* logsumexp_of(const void* logsumexp, std::int64_t b) const {
        return static_cast<std::byte*>(const_cast<void*>(logsumexp)) +
               b * a_.heads() * a_.queries() * static_cast<std::int64_t>(size_of(wide_));
    }
    Launch rows(std::int64_t n) const {
        const std::int64_t all = a_.heads() * n;
        if (all > INT32_MAX) throw ValueError(text("cuda: attention of ", all, " rows is too long"));
        return {.grid = {static_cast<std::uint32_t>(all)}, .block = {rows::kThreads}};
    }
    const Kernel& kernel(const char* name) const { return rows::kernel(gpu_, name, a_.q.dtype); }

  private:
    Gpu& gpu_;
    const Attention& a_;
    DType wide_;
    std::int64_t most_ = 1;
};

void clear(Gpu& gpu, const View& v) { fill(gpu, 0, v); }

/// dk or dv. Over several chunks of queries they are added up, in order, in the dtype in which they are computed.
class KeySum {
  public:
    KeySum(Gpu& gpu, const Chunks& chunks, const View& out) : gpu_(gpu), chunks_(chunks), out_(out) {}

    void add(const Block& weights, const View& rows, std::int64_t b, bool first) {
        const View to = chunks_.of_keys(out_, b);
        if (chunks_.is_whole()) return chunks_.by_key(weights, rows, to);
        if (!sum_.storage) {
            sum_ = block(gpu_, to.shape(), chunks_.wide());
            next_ = block(gpu_, to.shape(), chunks_.wide());
        }
        chunks_.by_key(weights, rows, first ? sum_.view : next_.view);
        const DType w = chunks_.wide(), both[] = {w, w};
        const View in[] = {sum_.view, next_.view};
        if (!first) run(gpu_, tape::single(tape::Opcode::add, both, w), in, {&sum_.view, 1});
        if (w == to.dtype)
            copy(gpu_, sum_.view, to);
        else
            run(gpu_, tape::single(tape::Opcode::cast, {&w, 1}, to.dtype), {&sum_.view, 1}, {&to, 1});
    }

  private:
    Gpu& gpu_;
    const Chunks& chunks_;
    const View& out_;
    Block sum_, next_;
};

bool is_empty(const Attention& a) { return a.batch() == 0 || a.heads() == 0 || a.queries() == 0; }

}  // namespace

namespace detail {

void attend_by_products(Gpu& gpu, const Attention& a, const View& out, void* logsumexp) {
    if (is_empty(a)) return;
    rows::check_lengths(gpu, a);
    Chunks chunks(gpu, a);
    chunks.for_each([&](std::int64_t b, std::int64_t first, std::int64_t n) {
        const Block s = chunks.weights(n, chunks.wide()), p = chunks.weights(n, a.q.dtype);
        chunks.products(chunks.of_queries(a.q, b, first, n), chunks.of_keys(a.k, b), s);
        launch(gpu, chunks.kernel("weights"), chunks.rows(n), s.view.data, p.view.data,
               chunks.logsumexp_of(logsumexp, b), chunks.problem(b, first, n));
        chunks.by_query(p, chunks.of_keys(a.v, b), chunks.of_queries(out, b, first, n));
    });
}

void gradient_by_products(Gpu& gpu, const Attention& a, const View& out, const void* logsumexp, const View& ct,
                          const product::AttentionGradients& g) {
    if (is_empty(a) || a.keys() == 0) {
        for (const View* v : {&g.dq, &g.dk, &g.dv}) clear(gpu, *v);
        return;
    }
    Chunks chunks(gpu, a);
    KeySum dk(gpu, chunks, g.dk), dv(gpu, chunks, g.dv);
    chunks.for_each([&](std::int64_t b, std::int64_t first, std::int64_t n) {
        const Block s = chunks.weights(n, chunks.wide()), dp = chunks.weights(n, chunks.wide()),
                    p = chunks.weights(n, a.q.dtype), ds = chunks.weights(n, a.q.dtype);
        const View q = chunks.of_queries(a.q, b, first, n), of_ct = chunks.of_queries(ct, b, first, n),
                   k = chunks.of_keys(a.k, b);
        chunks.products(q, k, s);
        chunks.products(of_ct, chunks.of_keys(a.v, b), dp);
        const View o = part(out, b, 0, a.queries(), 0), c = part(ct, b, 0, a.queries(), 0);
        launch(gpu, chunks.kernel("gradients"), chunks.rows(n), s.view.data, dp.view.data, p.view.data, ds.view.data,
               chunks.logsumexp_of(logsumexp, b), o.data, c.data, o.layout.strides[1], o.layout.strides[0],
               c.layout.strides[1], c.layout.strides[0], c.layout.strides[2], a.value_depth(),
               chunks.problem(b, first, n));
        chunks.by_query(ds, k, chunks.of_queries(g.dq, b, first, n));
        dk.add(ds, q, b, first == 0);
        dv.add(p, of_ct, b, first == 0);
    });
}

}  // namespace detail

void attention_tangent(Gpu& gpu, const Attention& a, const void* logsumexp, const product::AttentionTangents& d,
                       const View& tangent) {
    if (is_empty(a)) return;
    if (a.keys() == 0) return clear(gpu, tangent);
    Chunks chunks(gpu, a);
    const DType t = a.q.dtype, wide = chunks.wide();
    const auto sum = [&](const View& x, const View& y, DType dtype, const View& to) {
        const DType both[] = {dtype, dtype};
        const View in[] = {x, y};
        run(gpu, tape::single(tape::Opcode::add, both, dtype), in, {&to, 1});
    };
    chunks.for_each([&](std::int64_t b, std::int64_t first, std::int64_t n) {
        const Block s = chunks.weights(n, wide), ds = chunks.weights(n, wide), more = chunks.weights(n, wide),
                    p = chunks.weights(n, t), dp = chunks.weights(n, t);
        const View q = chunks.of_queries(a.q, b, first, n), k = chunks.of_keys(a.k, b),
                   to = chunks.of_queries(tangent, b, first, n);
        chunks.products(q, k, s);
        chunks.products(chunks.of_queries(d.dq, b, first, n), k, ds);
        chunks.products(q, chunks.of_keys(d.dk, b), more);
        sum(ds.view, more.view, wide, ds.view);
        rows::View3 bias{};
        if (d.dbias.data) bias = rows::of_batch(d.dbias, b);
        launch(gpu, chunks.kernel("tangents"), chunks.rows(n), s.view.data, ds.view.data, bias, p.view.data,
               dp.view.data, chunks.logsumexp_of(logsumexp, b), chunks.problem(b, first, n));
        const Block other = block(gpu, to.shape(), t);
        chunks.by_query(dp, chunks.of_keys(a.v, b), to);
        chunks.by_query(p, chunks.of_keys(d.dv, b), other.view);
        sum(to, other.view, t, to);
    });
}

}  // namespace tenon::cuda
