// The gradient, one block of keys and one block of rows at a time. Sums and weights are computed transposed,
// [key][row]: so they are the left operands of dv = p^T ct and dk = ds^T q, and only ds is transposed once, for dq = ds
// k.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/caches.h"
#include "base/parallel.h"
#include "product/attention/products.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace attention {
namespace {

constexpr std::int64_t kBlock = kGradientBlock;
/// How many rows ahead rows are prefetched.
constexpr std::int64_t kRowsAhead = 8;

/// Some blocks of keys and of rows of a key head (those of one head, then those of the next head that shares its keys),
/// and the gradients that are computed from them: dk and dv need all blocks of rows, dq all blocks of keys. Usually all
/// at once; with fewer key heads than threads, in two parts, which compute the weights twice.
struct Part {
    std::int64_t head;
    Range keys, rows;
    bool of_keys = true, of_rows = true;
};

/// What all tasks share.
template <class T, class In>
struct BackwardPlan {
    const Attention& a;
    const View &out, &ct;
    const Sum<T>* logsumexp;
    AttentionGradients to;
    Products<T, In> products;
    std::vector<std::int64_t> q_depth, k_depth, v_depth, ct_depth, q_rows, k_rows, v_rows, ct_rows, tile_rows,
        tile_keys;

    BackwardPlan(const Attention& attention, const View& output, const void* keep, const View& cotangent,
                 const AttentionGradients& gradients, const Products<T, In>& p)
        : a(attention),
          out(output),
          ct(cotangent),
          logsumexp(static_cast<const Sum<T>*>(keep)),
          to(gradients),
          products(p),
          q_depth(offsets(a.depth(), a.q.layout.strides[3])),
          k_depth(offsets(a.depth(), a.k.layout.strides[3])),
          v_depth(offsets(a.value_depth(), a.v.layout.strides[3])),
          ct_depth(offsets(a.value_depth(), ct.layout.strides[3])),
          q_rows(offsets(kBlock, a.q.layout.strides[1])),
          k_rows(offsets(kBlock, a.k.layout.strides[1])),
          v_rows(offsets(kBlock, a.v.layout.strides[1])),
          ct_rows(offsets(kBlock, ct.layout.strides[1])),
          tile_rows(offsets(kBlock, 1)),
          tile_keys(offsets(kBlock, (kBlock + kLanes) * p.elements_per_sum())) {}
};

template <class T, class In>
class BackwardTask {
    using Acc = Sum<T>;
    static constexpr Acc kLowest = -std::numeric_limits<Acc>::infinity();
    static constexpr std::int64_t kPitch = kBlock + kLanes;

  public:
    explicit BackwardTask(const BackwardPlan<T, In>& plan)
        : p_(plan), a_(plan.a), products_(plan.products), law_(plan.a), scratch_(layout(nullptr)) {
        layout(&scratch_);
    }

    /// `next`: what runs afterwards, or null.
    void run(const Part& part, const Part* next) {
        part_ = part;
        b_ = part.head / a_.kv_heads(), kv_ = part.head % a_.kv_heads();
        begin();
        want(next);
        for (std::int64_t j = part.keys.begin; j < part.keys.end; ++j) {
            keys_ = {j * kBlock, std::min((j + 1) * kBlock, a_.keys())};
            pack_keys();
            for (std::int64_t i = part.rows.begin; i < part.rows.end; ++i) {
                take_rows(i);
                tile();
            }
            for (std::int64_t k = 0; part.of_keys && k < keys_.size(); ++k) {
                store(p_.to.dk, keys_.begin + k, kv_, dk_ + k * d_pitch(), law_.scale());
                store(p_.to.dv, keys_.begin + k, kv_, dv_ + k * e_pitch(), Acc(1));
            }
        }
        for (std::int64_t i = part.rows.begin; part.of_rows && i < part.rows.end; ++i) {
            take_rows(i);
            for (std::int64_t r = 0; r < rows_.size(); ++r)
                store(p_.to.dq, rows_.begin + r, h_, dq_ + (first_ + r) * d_pitch(), law_.scale());
        }
    }

  private:
    std::int64_t d_pitch() const { return round_up(a_.depth(), products_.nr()); }
    std::int64_t e_pitch() const { return round_up(a_.value_depth(), products_.nr()); }
    void take_rows(std::int64_t block) {
        const std::int64_t blocks = ceil_div(a_.queries(), kBlock), first = block % blocks * kBlock;
        rows_ = {first, std::min(first + kBlock, a_.queries())};
        h_ = kv_ * a_.group() + block / blocks;
        first_ = block / blocks * row_pitch() + first;
    }
    /// Rows of a head, rounded up, since whole vectors of them are read.
    std::int64_t row_pitch() const { return round_up(a_.queries(), kBlock); }

    /// Lays out the scratch memory, or returns its size.
    std::size_t layout(dense::Scratch* scratch) {
        std::size_t bytes = 0;
        const auto take = [&]<class E>(E*& p, std::int64_t n) {
            if (scratch) p = scratch->take<E>(n);
            bytes += dense::Scratch::aligned(static_cast<std::size_t>(n) * sizeof(E));
        };
        const std::int64_t d = a_.depth(), e = a_.value_depth(), rows = a_.group() * row_pitch();
        const Products<T, In>& p = products_;
        take(dq_, rows * d_pitch()), take(logsumexp_, rows), take(d_, rows);
        take(dk_, kBlock * d_pitch()), take(dv_, kBlock * e_pitch());
        take(s_, kBlock * kPitch), take(dp_, kBlock * kPitch);
        take(k_lines_, kBlock * p.line_pitch(d)), take(v_lines_, kBlock * p.line_pitch(e));
        take(ds_lines_, kBlock * p.line_pitch(kBlock));
        take(k_across_, p.panels_size(d, kBlock));
        // Room for all rows of the key head, if they stay in L2 until the next block of keys; otherwise for one block.
        const std::int64_t size =
            p.panels_size(d, kBlock) + p.panels_size(e, kBlock) + p.panels_size(kBlock, d) + p.panels_size(kBlock, e);
        const bool keeps = rows / kBlock * size * static_cast<std::int64_t>(sizeof(In)) <= caches().l2 / 2;
        take(blocks_, keeps ? rows / kBlock * size : size);
        if (scratch) block_size_ = size, keeps_blocks_ = keeps;
        return bytes;
    }

    /// Lets the kernels of this part prefetch what it will write and what the next one will read first: only for a head
    /// that stays in L2 meanwhile. Longer heads have more arithmetic for each line.
    void want(const Part* next) {
        wanted_.clear();
        const auto bytes_of = [](const View& x) { return x.shape()[3] * static_cast<std::int64_t>(sizeof(T)); };
        const std::int64_t bytes = a_.group() * a_.queries() * 2 * (bytes_of(a_.q) + bytes_of(a_.v)) +
                                   a_.keys() * 2 * (bytes_of(a_.k) + bytes_of(a_.v));
        if (bytes > caches().l2 / 2) return;
        const auto add = [&](const View& x, std::int64_t head) {
            const std::int64_t heads = x.shape()[2], kv = a_.kv_heads(), own = heads / kv;
            if (x.layout.strides[3] != 1) return;
            for (std::int64_t h = head % kv * own; h < (head % kv + 1) * own; ++h)
                wanted_.add(Law<T>::row(x, head / kv, 0, h), x.shape()[1], bytes_of(x),
                            x.layout.strides[1] * static_cast<std::int64_t>(sizeof(T)));
        };
        if (part_.of_keys) add(p_.to.dk, part_.head), add(p_.to.dv, part_.head);
        if (part_.of_rows) add(p_.to.dq, part_.head);
        if (!next) return;
        for (const View* x : {&p_.ct, &p_.out, &a_.k, &a_.v, &a_.q}) add(*x, next->head);
    }

    /// Prefetches row i of head h. Rows of a head are far apart, so the hardware prefetcher does not follow them.
    void fetch_rows(std::int64_t i, std::int64_t h) const {
        for (const View* x : {&p_.ct, &p_.out})
            for (std::int64_t e = 0; e < a_.value_depth(); e += 64 / std::int64_t{sizeof(T)})
                __builtin_prefetch(Law<T>::row(*x, b_, i, h) + e * x->layout.strides[3]);
    }

    /// Computes the values that the gradient needs for each row.
    void begin() {
        const bool adjacent = p_.ct.layout.strides[3] == 1 && p_.out.layout.strides[3] == 1;
        for (std::int64_t g = 0; g < a_.group(); ++g)
            for (std::int64_t i = 0; i < row_pitch(); ++i) {
                const std::int64_t h = kv_ * a_.group() + g, at = g * row_pitch() + i;
                const bool there = i < a_.queries();
                if (i + kRowsAhead < a_.queries()) fetch_rows(i + kRowsAhead, h);
                logsumexp_[at] = there ? p_.logsumexp[(b_ * a_.queries() + i) * a_.heads() + h] : -kLowest;
                if (!there)
                    d_[at] = 0;
                else if (adjacent)
                    d_[at] = products_.passes().dot(Law<T>::row(p_.ct, b_, i, h), Law<T>::row(p_.out, b_, i, h),
                                                    a_.value_depth());
                else
                    d_[at] = law_.row_dot(p_.ct, p_.out, b_, i, h);
            }
        std::fill_n(dq_, a_.group() * row_pitch() * d_pitch(), Acc(0));
        packed_.assign(static_cast<std::size_t>(a_.group() * row_pitch() / kBlock), false);
    }

    void pack_keys() {
        const std::int64_t n = keys_.size(), d = a_.depth(), e = a_.value_depth();
        const T *k = Law<T>::row(a_.k, b_, keys_.begin, kv_), *v = Law<T>::row(a_.v, b_, keys_.begin, kv_);
        products_.lines(k_lines_, k, p_.k_rows.data(), p_.k_depth.data(), n, d);
        products_.lines(v_lines_, v, p_.v_rows.data(), p_.v_depth.data(), n, e);
        k_panels_ = products_.across(k_across_, k, p_.k_depth.data(), p_.k_rows.data(), d, n);
        std::fill_n(dk_, kBlock * d_pitch(), Acc(0));
        std::fill_n(dv_, kBlock * e_pitch(), Acc(0));
        keys_finite_ = products_.all_finite(k_panels_, d, n);
    }

    enum class Taken { none, some, all };
    /// Whether the rows take all the keys, some or none.
    Taken taken() const {
        const std::int64_t length = length_of(a_, b_);
        bool any = false, all = !a_.mask.data;
        for (std::int64_t i = rows_.begin; i < rows_.end; ++i) {
            const Range own = keys_of(a_, length, i);
            any = any || (own.begin < keys_.end && own.end > keys_.begin && own.size() > 0);
            all = all && own.begin <= keys_.begin && own.end >= keys_.end;
        }
        return all ? Taken::all : any ? Taken::some : Taken::none;
    }

    /// The rows and their cotangents as right operands, of sums over rows and of sums over the depth.
    struct PackedRows {
        Panels<In> q, ct, q_rows, ct_rows;
    };
    PackedRows pack_rows() {
        const std::int64_t m = rows_.size(), d = a_.depth(), e = a_.value_depth();
        const Products<T, In>& p = products_;
        const std::int64_t block = first_ / kBlock;
        In* const q = blocks_ + (keeps_blocks_ ? block : 0) * block_size_;
        In *const ct = q + p.panels_size(d, kBlock), *const q_rows = ct + p.panels_size(e, kBlock),
                  *const ct_rows = q_rows + p.panels_size(kBlock, d);
        if (packed_[static_cast<std::size_t>(block)])
            return {{q, p.panel_stride(m)},
                    {ct, p.panel_stride(m)},
                    {q_rows, p.panel_stride(d)},
                    {ct_rows, p.panel_stride(e)}};
        packed_[static_cast<std::size_t>(block)] = keeps_blocks_;
        const T *from_q = Law<T>::row(a_.q, b_, rows_.begin, h_), *from_ct = Law<T>::row(p_.ct, b_, rows_.begin, h_);
        return {p.across(q, from_q, p_.q_depth.data(), p_.q_rows.data(), d, m),
                p.across(ct, from_ct, p_.ct_depth.data(), p_.ct_rows.data(), e, m),
                p.across(q_rows, from_q, p_.q_rows.data(), p_.q_depth.data(), m, d),
                p.across(ct_rows, from_ct, p_.ct_rows.data(), p_.ct_depth.data(), m, e)};
    }

    void tile() {
        const Taken taken = this->taken();
        if (taken == Taken::none) return;
        const std::int64_t m = rows_.size(), n = keys_.size(), d = a_.depth(), e = a_.value_depth();
        const auto [q_panels, ct_panels, q_rows, ct_rows] = pack_rows();
        const Acc* logsumexp = logsumexp_ + first_;
        if (taken == Taken::some &&
            !(keys_finite_ && products_.all_finite(q_panels, d, m) && products_.all_finite(ct_panels, e, m) &&
              std::none_of(logsumexp, logsumexp + m, [](Acc x) { return x != x; }))) {
            law_.gradient(b_, h_, rows_, keys_, logsumexp, d_ + first_, p_.ct, {dq_ + first_ * d_pitch(), d_pitch()},
                          {dk_, d_pitch()}, {dv_, e_pitch()});
            return;
        }
        find_bands(taken);
        products_.multiply(k_lines_, products_.line_pitch(d), of_depth(d), q_rows, s_, kPitch, Write::store, wanted_);
        products_.multiply(v_lines_, products_.line_pitch(e), of_depth(e), ct_rows, dp_, kPitch, Write::store, wanted_);
        const Acc scale = to_logits(taken);
        for (const Taker& t : takers_)
            for (std::int64_t j = t.keys.begin; j < t.keys.end; ++j)
                products_.passes().slopes(s_ + j * kPitch, dp_ + j * kPitch, logsumexp, d_ + first_, t.rows.begin,
                                          round_up(t.rows.end, kLanes), scale);
        const auto *p = reinterpret_cast<const In*>(s_), *ds = reinterpret_cast<const In*>(dp_);
        if (part_.of_keys) {
            products_.multiply(p, kPitch, of_rows(e), ct_panels, dv_, e_pitch(), Write::add, wanted_);
            products_.multiply(ds, kPitch, of_rows(d), q_panels, dk_, d_pitch(), Write::add, wanted_);
        }
        if (!part_.of_rows) return;
        if (taken == Taken::some) clear_outside();
        products_.tile_lines(ds_lines_, dp_, p_.tile_rows.data(), p_.tile_keys.data(), m, n);
        products_.multiply(ds_lines_, products_.line_pitch(n), of_keys(), k_panels_, dq_ + first_ * d_pitch(),
                           d_pitch(), Write::add, wanted_);
    }

    /// Finds, for a tile, the panels of keys and the rows that may take one of their keys: only these are computed. The
    /// others would add zeros, which do not change sums that begin with +0.
    void find_bands(Taken taken) {
        const std::int64_t m = rows_.size(), n = keys_.size(), length = length_of(a_, b_);
        rows_of_key_.assign(static_cast<std::size_t>(n), {0, m});
        // Both ends of keys_of grow with the row, so the rows that take a key are contiguous.
        Range own{0, 0};
        for (std::int64_t j = keys_.begin; taken == Taken::some && j < keys_.end; ++j) {
            while (own.end < m && keys_of(a_, length, rows_.begin + own.end).begin <= j) ++own.end;
            while (own.begin < m && keys_of(a_, length, rows_.begin + own.begin).end <= j) ++own.begin;
            rows_of_key_[static_cast<std::size_t>(j - keys_.begin)] = {std::min(own.begin, own.end), own.end};
        }
        takers_.clear();
        const std::int64_t panels = ceil_div(n, products_.mr());
        for (std::int64_t i = 0; i < panels; ++i) {
            const Range keys = dense::part(n, panels, i);
            const Range rows{rows_of_key_[static_cast<std::size_t>(keys.begin)].begin,
                             rows_of_key_[static_cast<std::size_t>(keys.end - 1)].end};
            if (rows.size() > 0) takers_.push_back({keys, in_panels(rows, m)});
        }
    }
    /// Rounded out to whole panels and vectors, within `all`.
    Range in_panels(const Range& some, std::int64_t all) const {
        const std::int64_t unit = std::max<std::int64_t>(products_.nr(), kLanes);
        return {some.begin / unit * unit, std::min(round_up(some.end, unit), all)};
    }
    Range groups_of(const Range& k) const { return {products_.groups(k.begin), products_.groups(k.end)}; }

    /// The products of a tile: of keys with rows over the depth, of keys over rows, of rows over keys.
    std::span<const Band> of_depth(std::int64_t depth) {
        bands_.clear();
        for (const Taker& t : takers_) bands_.push_back({t.keys, t.rows, {0, products_.groups(depth)}});
        return bands_;
    }
    std::span<const Band> of_rows(std::int64_t columns) {
        bands_.clear();
        for (const Taker& t : takers_) bands_.push_back({t.keys, {0, columns}, groups_of(t.rows)});
        return bands_;
    }
    std::span<const Band> of_keys() {
        bands_.clear();
        const std::int64_t m = rows_.size(), panels = ceil_div(m, products_.mr()), length = length_of(a_, b_);
        for (std::int64_t i = 0; i < panels; ++i) {
            const Range rows = dense::part(m, panels, i);
            const Range first = keys_of(a_, length, rows_.begin + rows.begin),
                        last = keys_of(a_, length, rows_.begin + rows.end - 1);
            const Range keys{std::max(first.begin - keys_.begin, std::int64_t{0}),
                             std::min(last.end - keys_.begin, keys_.size())};
            if (keys.size() > 0) bands_.push_back({rows, {0, a_.depth()}, groups_of(in_panels(keys, keys_.size()))});
        }
        return bands_;
    }

    /// Sets to zero where slopes were not computed.
    void clear_outside() {
        const std::size_t size = sizeof(Acc) / static_cast<std::size_t>(products_.elements_per_sum());
        const auto clear = [&](std::int64_t key, std::int64_t begin, std::int64_t end) {
            auto* const row = reinterpret_cast<std::byte*>(dp_ + key * kPitch);
            std::memset(row + static_cast<std::size_t>(begin) * size, 0, static_cast<std::size_t>(end - begin) * size);
        };
        std::int64_t next = 0;
        for (const Taker& t : takers_) {
            for (; next < t.keys.begin; ++next) clear(next, 0, rows_.size());
            for (; next < t.keys.end; ++next) {
                clear(next, 0, t.rows.begin);
                clear(next, t.rows.end, rows_.size());
            }
        }
        for (; next < keys_.size(); ++next) clear(next, 0, rows_.size());
    }

    /// Masks the sums, turns them into logits if there is a bias, and returns the factor that is still to be applied.
    Acc to_logits(Taken taken) {
        const Acc scale = law_.scale2();
        const bool now = a_.bias.data || (taken != Taken::all && !(scale > 0));
        for (const Taker& t : takers_)
            for (std::int64_t j = t.keys.begin; j < t.keys.end; ++j) {
                Acc* const s = s_ + j * kPitch;
                const std::int64_t begin = t.rows.begin, end = t.rows.end, width = round_up(end, kLanes);
                std::fill(s + end, s + width, Acc(0));
                if (now) {
                    Acc bias[kBlock] = {};
                    if (a_.bias.data)
                        for (std::int64_t i = begin; i < end; ++i)
                            bias[i] = Law<T>::template element<Acc>(a_.bias, b_, h_, rows_.begin + i, keys_.begin + j);
                    products_.passes().logits(s + begin, a_.bias.data ? bias + begin : nullptr, width - begin, scale);
                }
                if (taken == Taken::all) continue;
                const Range own = rows_of_key_[static_cast<std::size_t>(j)];
                std::fill(s + begin, s + own.begin, kLowest);
                std::fill(s + own.end, s + end, kLowest);
                for (std::int64_t i = own.begin; a_.mask.data && i < own.end; ++i)
                    if (!law_.takes_part(b_, h_, rows_.begin + i, keys_.begin + j)) s[i] = kLowest;
            }
        return now ? Acc(1) : scale;
    }

    void store(const View& to, std::int64_t i, std::int64_t h, Acc* from, Acc scale) const {
        products_.passes().multiply(from, round_up(to.shape()[3], products_.nr()), scale);
        store_row(Law<T>::row(to, b_, i, h), to.layout.strides[3], from, to.shape()[3]);
    }

    const BackwardPlan<T, In>& p_;
    const Attention& a_;
    const Products<T, In>& products_;
    const Law<T> law_;
    dense::Scratch scratch_;
    Acc *dq_, *dk_, *dv_, *logsumexp_, *d_, *s_, *dp_;
    In *k_lines_, *v_lines_, *ds_lines_, *k_across_, *blocks_;
    std::int64_t block_size_ = 0;  // of blocks_, elements
    bool keeps_blocks_ = false;
    std::vector<bool> packed_;
    Panels<In> k_panels_{};
    /// Keys of the current tile, no more than a kernel takes as rows, and the rows that may take one of them.
    struct Taker {
        Range keys, rows;
    };
    PrefetchQueue wanted_;
    std::vector<Taker> takers_;
    std::vector<Range> rows_of_key_;
    std::vector<Band> bands_;
    std::int64_t b_ = 0, kv_ = 0, h_ = 0, first_ = 0;
    Part part_{};
    Range keys_{0, 0}, rows_{0, 0};
    bool keys_finite_ = false;
};

/// Whole key heads if there is one for each thread, or if parts would be too few to gain anything: computing the
/// weights twice makes seven products of five.
std::vector<Part> parts_of(const Attention& a, int threads) {
    const std::int64_t heads = a.batch() * a.kv_heads(), keys = ceil_div(a.keys(), kBlock),
                       rows = a.group() * ceil_div(a.queries(), kBlock);
    const std::int64_t wanted = ceil_div(2 * threads, heads), cuts = std::min({wanted, keys, rows});
    std::vector<Part> parts;
    for (std::int64_t head = 0; head < heads; ++head) {
        if (heads >= threads || cuts < 2) {
            parts.push_back({head, {0, keys}, {0, rows}});
            continue;
        }
        for (std::int64_t i = 0; i < cuts; ++i) {
            parts.push_back({head, dense::part(keys, cuts, i), {0, rows}, true, false});
            parts.push_back({head, {0, keys}, dense::part(rows, cuts, i), false, true});
        }
    }
    return parts;
}

}  // namespace
}  // namespace attention

void attention_gradient(const Attention& a, const View& out, const void* logsumexp, const View& ct,
                        const AttentionGradients& gradients) {
    if (attention_declines(a)) return attention_gradient_reference(a, out, logsumexp, ct, gradients);
    attention::check_lengths(a);
    attention::with_products(a.q.dtype, false, [&]<class T, class In>(const attention::Products<T, In>& products) {
        const attention::BackwardPlan<T, In> plan(a, out, logsumexp, ct, gradients, products);
        const std::vector<attention::Part> parts = attention::parts_of(a, num_threads());
        const auto some = [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(Subnormals::keep);
            attention::BackwardTask<T, In> task(plan);
            for (std::int64_t i = begin; i < end; ++i)
                task.run(parts[static_cast<std::size_t>(i)],
                         i + 1 < end ? &parts[static_cast<std::size_t>(i + 1)] : nullptr);
        };
        parallel_for(static_cast<std::int64_t>(parts.size()), 1, some, Pieces::unlike);
    });
}

}  // namespace tenon::product
