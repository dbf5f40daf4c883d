// The output, one block of rows at a time. For each block of keys, packed beforehand (or read in place for few rows),
// the sums of a few rows with all its keys stay in the nearest cache (mr x kKeyBlock, 21 KB in float32) while they
// become weights and are multiplied by the values.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "base/caches.h"
#include "base/parallel.h"
#include "base/storage.h"
#include "product/attention/products.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace attention {
namespace {

/// Panels of rows that a task has, if there are as many, whatever the L2.
constexpr std::int64_t kMinPanels = 18;
/// The number of panels in a task, one of several of a head, that pays for packing the keys for this task alone, just
/// before they are used: they are then read from L2, while keys packed for all tasks are written to the last level and
/// read from there.
constexpr std::int64_t kPanelsToPack = 24;
/// Tasks for each thread, so that a thread that is held up leaves its share to the others.
constexpr std::int64_t kTasksPerThread = 4;
/// Rows of a key head (few queries, many keys) up to which keys and values are read in place once or twice: packing
/// them reads and writes as much again.
constexpr std::int64_t kFewRows = 8;
/// Keys that are multiplied while the next ones are prefetched.
constexpr std::int64_t kSomeKeys = 32;
/// Bytes of packed keys and values at a time.
constexpr std::int64_t kPackedBytes = 64 << 20;

/// What all tasks share. Keys and values of some heads at a time are packed for all rows, a block of keys of every head
/// before the next block, because heads are usually adjacent in memory, on the same pages. A task that has all rows of
/// a head, or many, packs a block of keys itself. Rows are those of a key head: query i of head g of its group is row
/// g * queries + i. Tasks are some rows of every head before the next rows.
template <class T, class In>
struct ForwardPlan {
    const Attention& a;
    const View& out;
    Sum<T>* logsumexp;
    Products<T, In> products;
    std::int64_t blocks, keys_size, values_size;  // of keys; elements of a block
    std::int64_t rows, panels, row_tasks, most_heads;  // panels have up to mr rows and nearly equal sizes
    bool masks;
    bool in_place;  // nothing is packed
    bool packs_own;  // each task packs what it reads
    std::vector<std::int64_t> q_depth, k_depth, v_depth, k_keys, v_keys;
    std::shared_ptr<Storage> storage;
    std::vector<char> finite;  // whether a block's values are finite, where that matters
    Range heads{0, 0};  // the heads, of batch * kv_heads, that are packed now

    ForwardPlan(const Attention& attention, const View& output, void* keep, const Products<T, In>& p)
        : a(attention),
          out(output),
          logsumexp(static_cast<Sum<T>*>(keep)),
          products(p),
          blocks(ceil_div(a.keys(), kKeyBlock)),
          keys_size(p.panels_size(kKeyBlock, a.depth())),
          values_size(p.panels_size(a.value_depth(), kKeyBlock)),
          rows(a.group() * a.queries()),
          panels(ceil_div(rows, p.mr())),
          masks(a.causal || a.left >= 0 || a.right >= 0 || a.mask.data || a.lengths.data),
          in_place(rows <= kFewRows && a.k.layout.strides[3] == 1 && a.v.layout.strides[3] == 1 && p.has_in_place()),
          q_depth(offsets(a.depth(), a.q.layout.strides[3])),
          k_depth(offsets(a.depth(), a.k.layout.strides[3])),
          v_depth(offsets(a.value_depth(), a.v.layout.strides[3])),
          k_keys(offsets(kKeyBlock, a.k.layout.strides[1])),
          v_keys(offsets(kKeyBlock, a.v.layout.strides[1])) {
        const std::int64_t all = a.batch() * a.kv_heads();
        const std::int64_t wanted = num_threads() == 1 ? 1 : ceil_div(kTasksPerThread * num_threads(), all);
        const std::int64_t panel_bytes = p.mr() * (p.line_pitch(a.depth()) * static_cast<std::int64_t>(sizeof(In)) +
                                                   a.value_depth() * static_cast<std::int64_t>(sizeof(Sum<T>)));
        // The queries and sums of a task stay in L2 beside a block of keys.
        const std::int64_t most = std::max(kMinPanels, caches().l2 / 2 / panel_bytes);
        row_tasks = std::max(ceil_div(panels, most), std::min(wanted, ceil_div(panels, 2)));
        packs_own = !in_place && (row_tasks == 1 || panels >= kPanelsToPack * row_tasks);
        const std::int64_t head_bytes = blocks * block_size() * static_cast<std::int64_t>(sizeof(In));
        const bool shares = !in_place && !packs_own;
        most_heads = shares ? std::clamp<std::int64_t>(kPackedBytes / head_bytes, 1, all) : all;
        if (!shares) return;
        storage = Storage::allocate(most_heads * head_bytes);
        finite.resize(static_cast<std::size_t>(most_heads * blocks));
    }
    std::int64_t most_rows() const { return ceil_div(panels, row_tasks) * products.mr(); }
    /// The key head of a task, and its panels.
    std::int64_t head_of(std::int64_t task) const { return heads.begin + task % heads.size(); }
    Range panels_of(std::int64_t task) const { return dense::part(panels, row_tasks, task / heads.size()); }
    /// Rows of panels [some.begin, some.end).
    Range rows_of(const Range& some) const { return {rows * some.begin / panels, rows * some.end / panels}; }

    /// Elements of a packed block: the keys, then the values.
    std::int64_t block_size() const { return keys_size + values_size; }
    /// A block of keys and values of a head that is packed for all tasks.
    In* packed(std::int64_t head, std::int64_t block) const {
        return reinterpret_cast<In*>(storage->data()) + ((head - heads.begin) * blocks + block) * block_size();
    }
    char& values_finite(std::int64_t head, std::int64_t block) {
        return finite[static_cast<std::size_t>((head - heads.begin) * blocks + block)];
    }

    /// Packs a block; returns whether the values are finite, where that matters.
    bool pack(In* to, std::int64_t head, std::int64_t block) const {
        const std::int64_t b = head / a.kv_heads(), first = block * kKeyBlock, h = head % a.kv_heads();
        const std::int64_t n = std::min(kKeyBlock, a.keys() - first);
        products.across(to, Law<T>::row(a.k, b, first, h), k_keys.data(), k_depth.data(), n, a.depth());
        const Panels<In> values = products.across(to + keys_size, Law<T>::row(a.v, b, first, h), v_depth.data(),
                                                  v_keys.data(), a.value_depth(), n);
        return !masks || products.all_finite(values, a.value_depth(), n);
    }
};

template <class T, class In>
class ForwardTask {
    using Acc = Sum<T>;
    static constexpr Acc kLowest = -std::numeric_limits<Acc>::infinity();
    static constexpr std::int64_t kPitch = kKeyBlock + kLanes;

  public:
    explicit ForwardTask(ForwardPlan<T, In>& plan)
        : p_(plan),
          a_(plan.a),
          products_(plan.products),
          law_(plan.a),
          q_pitch_(products_.line_pitch(a_.depth())),
          o_pitch_(round_up(a_.value_depth(), products_.nr())),
          scratch_(bytes(plan)) {
        const std::int64_t rows = p_.most_rows();
        q_ = scratch_.take<In>(rows * q_pitch_);
        tile_ = scratch_.take<Acc>(products_.mr() * kPitch);
        chain_ = scratch_.take<Acc>(products_.mr() * o_pitch_);
        std::fill_n(chain_, products_.mr() * o_pitch_, Acc(0));
        o_ = scratch_.take<Acc>(rows * o_pitch_);
        if (p_.packs_own) own_ = scratch_.take<In>(p_.block_size());
        bias_ = scratch_.take<Acc>(kPitch);
        largest_ = scratch_.take<Acc>(rows);
        sums_ = scratch_.take<Acc>(rows);
        logsumexp_ = scratch_.take<Acc>(rows);
        factors_ = scratch_.take<Acc>(products_.mr());
        rows_ = scratch_.take<Row>(rows);
        row_offsets_ = scratch_.take<std::int64_t>(rows);
        panels_ = scratch_.take<Panel>(ceil_div(p_.panels, p_.row_tasks));
    }

    /// `next`: the task that runs afterwards, or -1.
    void run(std::int64_t task, std::int64_t next) {
        head_ = p_.head_of(task);
        b_ = head_ / a_.kv_heads();
        const Range panels = p_.panels_of(task), rows = p_.rows_of(panels);
        const Range all = begin(rows);
        for (std::int64_t i = panels.begin; i < panels.end; ++i) {
            Panel& panel = panels_[i - panels.begin];
            panel.begun = false;
            if (p_.masks) take_keys(panel, rows_in_task(i, rows));
        }
        for (std::int64_t block = all.begin / kKeyBlock; block * kKeyBlock < all.end; ++block) {
            take_block(block);
            want(block, all, rows, next);
            for (std::int64_t i = panels.begin; i < panels.end; ++i)
                some_rows(block, rows_in_task(i, rows), panels_[i - panels.begin]);
        }
        for (std::int64_t i = panels.begin; i < panels.end; ++i)
            if (!panels_[i - panels.begin].begun) clear(rows_in_task(i, rows));
        finish({0, rows.size()});
    }

  private:
    struct Row {
        std::int64_t head, query;
        Range keys;  // that the row takes, ignoring `mask`
    };

    /// Of a panel of rows: from the first to the last key that any takes, and those that all take, where there are
    /// masks; and whether its sums are defined.
    struct Panel {
        Range any, all;
        bool begun;
    };

    static std::size_t bytes(const ForwardPlan<T, In>& p) {
        const auto size = [](std::int64_t n, std::size_t element) {
            return dense::Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        const std::int64_t rows = p.most_rows(), mr = p.products.mr();
        const std::int64_t o_pitch = round_up(p.a.value_depth(), p.products.nr());
        return size(p.packs_own ? p.block_size() : 0, sizeof(In)) +
               size(rows * p.products.line_pitch(p.a.depth()), sizeof(In)) + size(mr * kPitch, sizeof(Acc)) +
               size(mr * o_pitch, sizeof(Acc)) + size(rows * o_pitch, sizeof(Acc)) + size(kPitch, sizeof(Acc)) +
               3 * size(rows, sizeof(Acc)) + size(mr, sizeof(Acc)) + size(rows, sizeof(Row)) +
               size(rows, sizeof(std::int64_t)) + size(ceil_div(p.panels, p.row_tasks), sizeof(Panel));
    }

    /// Packs the queries; returns the keys that any row takes.
    Range begin(const Range& rows) {
        const Strides& s = a_.q.layout.strides;
        const std::int64_t length = length_of(a_, b_);
        Range all{a_.keys(), 0};
        std::int64_t head = head_ % a_.kv_heads() * a_.group() + rows.begin / a_.queries(),
                     query = rows.begin % a_.queries();
        for (std::int64_t r = 0; r < rows.size(); ++r) {
            Row& to = rows_[r];
            to = {head, query, keys_of(a_, length, query)};
            if (++query == a_.queries()) query = 0, ++head;
            row_offsets_[r] = to.head * s[2] + to.query * s[1];
            if (to.keys.size() > 0) all = {std::min(all.begin, to.keys.begin), std::max(all.end, to.keys.end)};
            largest_[r] = kLowest, sums_[r] = 0;
        }
        products_.lines(q_, a_.q.as<const T>() + b_ * s[0], row_offsets_, p_.q_depth.data(), rows.size(), a_.depth());
        return all;
    }

    /// Asks the kernels of a block for what is read or written after it, from a last level that is far: the keys and
    /// values of the next one, and a share of the output and of the queries of the next task, whose keys come last.
    /// Where masks leave the last blocks little to multiply, those before have all the shares.
    void want(std::int64_t block, const Range& keys, const Range& rows, std::int64_t next) {
        wanted_.clear();
        if (!p_.packs_own) return;
        const std::int64_t first = keys.begin / kKeyBlock, last = (keys.end - 1) / kKeyBlock;
        if (block < last)
            want_keys(head_, block + 1);
        else if (next >= 0)
            want_keys(p_.head_of(next), 0);
        const std::int64_t shares = std::max<std::int64_t>(1, last - first + (p_.masks ? 0 : 1));
        if (block - first >= shares) return;
        const Range own = dense::part(rows.size(), shares, block - first);
        want_rows(p_.out, head_, {rows.begin + own.begin, rows.begin + own.end});
        if (next < 0) return;
        const Range others = p_.rows_of(p_.panels_of(next)), some = dense::part(others.size(), shares, block - first);
        want_rows(a_.q, p_.head_of(next), {others.begin + some.begin, others.begin + some.end});
    }
    void want_keys(std::int64_t head, std::int64_t block) {
        const std::int64_t first = block * kKeyBlock, n = std::min(kKeyBlock, a_.keys() - first);
        for (const View* x : {&a_.k, &a_.v}) want_lines(*x, head / a_.kv_heads(), first, n, head % a_.kv_heads());
    }
    /// For the first of the rows' heads.
    void want_rows(const View& x, std::int64_t head, const Range& rows) {
        const std::int64_t query = rows.begin % a_.queries();
        want_lines(x, head / a_.kv_heads(), query, std::min(rows.size(), a_.queries() - query),
                   head % a_.kv_heads() * a_.group() + rows.begin / a_.queries());
    }
    void want_lines(const View& x, std::int64_t b, std::int64_t i, std::int64_t n, std::int64_t h) {
        const auto size = static_cast<std::int64_t>(sizeof(T));
        const Layout& l = x.layout;
        if (l.strides[3] == 1) wanted_.add(Law<T>::row(x, b, i, h), n, l.shape[3] * size, l.strides[1] * size);
    }

    /// Finds or packs a block's keys and values.
    void take_block(std::int64_t block) {
        if (p_.in_place) return;
        keys_ = p_.packs_own ? own_ : p_.packed(head_, block);
        finite_ = p_.packs_own ? p_.pack(own_, head_, block) : p_.values_finite(head_, block) != 0;
    }

    /// Of a panel, counted from the task's first row.
    Range rows_in_task(std::int64_t panel, const Range& rows) const {
        const Range some = p_.rows_of({panel, panel + 1});
        return {some.begin - rows.begin, some.end - rows.begin};
    }

    void take_keys(Panel& of, const Range& some) const {
        of.any = {a_.keys(), 0}, of.all = {0, a_.keys()};
        for (std::int64_t r = some.begin; r < some.end; ++r) {
            const Range& own = rows_[r].keys;
            if (own.size() > 0) of.any = {std::min(of.any.begin, own.begin), std::max(of.any.end, own.end)};
            of.all = {std::max(of.all.begin, own.begin), std::min(of.all.end, own.end)};
        }
    }

    void clear(const Range& some) { std::fill_n(o_ + some.begin * o_pitch_, some.size() * o_pitch_, Acc(0)); }

    /// Rows [some.begin, some.end) of the task, a panel.
    void some_rows(std::int64_t block, const Range& some, Panel& panel) {
        const Range keys{block * kKeyBlock, std::min((block + 1) * kKeyBlock, a_.keys())};
        const bool whole = !p_.masks || (panel.all.begin <= keys.begin && keys.end <= panel.all.end);
        const bool masked = a_.mask.data || !whole;
        Range columns{0, keys.size()};  // of the block, that any of the rows takes
        if (!whole) {
            if (panel.any.begin >= keys.end || panel.any.end <= keys.begin) return;
            columns = {kKeyBlock, 0};
            for (std::int64_t r = some.begin; r < some.end; ++r) {
                const Range own = columns_of(keys, r);
                if (own.size() > 0) columns = {std::min(columns.begin, own.begin), std::max(columns.end, own.end)};
            }
        }
        if (columns.size() <= 0) return;
        // What the first block gives is the sum, where whole vectors are; what lies beside the columns is summed too.
        const bool stores = !panel.begun && o_pitch_ == a_.value_depth();
        const bool lawful = masked && !values_finite(keys);
        if (!panel.begun && (lawful || !stores)) clear(some);
        panel.begun = true;
        if (lawful) return by_law(keys, some);
        if (columns.begin > 0) columns.begin = columns.begin / products_.nr() * products_.nr();
        const std::int64_t width = round_up(columns.size(), kLanes);
        multiply_keys(keys, some, columns);
        const Acc scale = to_logits(keys, some, columns, width, masked);
        // Factors are stored from the first column, in place of the sums that they come from.
        products_.passes().softmax(tile_ + columns.begin, kPitch, some.size(), width, scale, largest_ + some.begin,
                                   sums_ + some.begin, factors_);
        Acc* const o = o_ + some.begin * o_pitch_;
        multiply_values(keys, some, columns, stores ? o : chain_);
        if (!stores) products_.passes().merge(o, chain_, some.size(), o_pitch_, factors_);
    }

    static void fetch(const T* first, std::int64_t step, std::int64_t rows, std::int64_t elements) {
        for (std::int64_t i = 0; i < rows; ++i, first += step)
            for (std::int64_t e = 0; e < elements; e += 64 / std::int64_t{sizeof(T)})
                __builtin_prefetch(first + e, 0, 2);
    }

    void multiply_keys(const Range& keys, const Range& some, const Range& columns) {
        const In* q = q_ + some.begin * q_pitch_;
        Acc* const to = tile_ + columns.begin;
        if (p_.in_place) {
            const T* k = Law<T>::row(a_.k, b_, keys.begin + columns.begin, head_ % a_.kv_heads());
            const T* v = Law<T>::row(a_.v, b_, keys.begin + columns.begin, head_ % a_.kv_heads());
            // The values of these keys are needed next, then the following keys: the product waits for memory.
            for (std::int64_t j = 0; j < columns.size(); j += kSomeKeys) {
                const std::int64_t n = std::min(kSomeKeys, columns.size() - j);
                fetch(v + p_.v_keys[static_cast<std::size_t>(j)], a_.v.layout.strides[1], n, a_.value_depth());
                fetch(k + (j + kSomeKeys) * a_.k.layout.strides[1], a_.k.layout.strides[1],
                      std::min(kSomeKeys, a_.keys() - keys.begin - columns.begin - j - kSomeKeys), a_.depth());
                products_.multiply_along(q, q_pitch_, some.size(), k + p_.k_keys[static_cast<std::size_t>(j)],
                                         p_.k_keys.data(), n, a_.depth(), to + j, kPitch);
            }
            return;
        }
        const std::int64_t stride = products_.panel_stride(a_.depth());
        const std::int64_t first = columns.begin == 0 ? 0 : columns.begin / products_.nr();
        const Panels<In> packed{keys_ + first * stride, stride};
        products_.multiply(q, q_pitch_, some.size(), packed, columns.size(), products_.groups(a_.depth()), to, kPitch,
                           Write::store, wanted_);
    }

    void multiply_values(const Range& keys, const Range& some, const Range& columns, Acc* to) {
        const In* p = reinterpret_cast<const In*>(tile_ + columns.begin);
        if (p_.in_place) {
            const T* v = Law<T>::row(a_.v, b_, keys.begin + columns.begin, head_ % a_.kv_heads());
            return products_.multiply_across(p, kPitch, some.size(), v, p_.v_keys.data(), a_.value_depth(),
                                             columns.size(), to, o_pitch_);
        }
        const Panels<In> values{keys_ + p_.keys_size + products_.groups(columns.begin) * products_.nr(),
                                products_.panel_stride(keys.size())};
        products_.multiply(p, kPitch, some.size(), values, a_.value_depth(), products_.groups(columns.size()), to,
                           o_pitch_, Write::store, wanted_);
    }

    /// Whether the values of a block are finite, masked ones included: these meet a weight of zero.
    bool values_finite(const Range& keys) const {
        if (!p_.in_place) return finite_;
        bool all = true;
        for (std::int64_t j = keys.begin; j < keys.end; ++j) {
            const T* v = Law<T>::row(a_.v, b_, j, head_ % a_.kv_heads());
            for (std::int64_t e = 0; e < a_.value_depth(); ++e)
                all = all && std::abs(widened(v[e])) <= std::numeric_limits<Acc>::max();
        }
        return all;
    }

    /// The keys of the block that a row takes, counted from the block's first.
    Range columns_of(const Range& keys, std::int64_t r) const {
        const Range own{std::max(keys.begin, rows_[r].keys.begin), std::min(keys.end, rows_[r].keys.end)};
        return own.size() <= 0 ? Range{0, 0} : Range{own.begin - keys.begin, own.end - keys.begin};
    }

    /// Masks the sums, turns them into logits if that needs a pass of its own, and returns the factor that is still to
    /// be applied.
    Acc to_logits(const Range& keys, const Range& some, const Range& columns, std::int64_t width, bool masked) {
        const Acc scale = law_.scale2();
        const bool now = a_.bias.data || !(scale > 0);  // -inf times a scale that is not positive is not -inf
        if (!now && !masked && width == columns.size()) return scale;
        for (std::int64_t r = some.begin; r < some.end; ++r) {
            Acc* s = tile_ + (r - some.begin) * kPitch;
            const std::int64_t h = rows_[r].head, i = rows_[r].query;
            const Range own = columns_of(keys, r);
            if (now) {
                if (a_.bias.data)
                    for (std::int64_t j = columns.begin; j < columns.end; ++j)
                        bias_[j] = Law<T>::template element<Acc>(a_.bias, b_, h, i, keys.begin + j);
                products_.passes().logits(s + columns.begin, a_.bias.data ? bias_ + columns.begin : nullptr, width,
                                          scale);
            }
            const std::int64_t begin = own.size() == 0 ? columns.end : own.begin;
            const std::int64_t end = own.size() == 0 ? columns.end : own.end;
            for (std::int64_t j = columns.begin; j < begin; ++j) s[j] = kLowest;
            for (std::int64_t j = end; j < columns.begin + width; ++j) s[j] = kLowest;
            if (a_.mask.data)
                for (std::int64_t j = begin; j < end; ++j)
                    if (!law_.takes_part(b_, h, i, keys.begin + j)) s[j] = kLowest;
        }
        return now ? Acc(1) : scale;
    }

    void by_law(const Range& keys, const Range& some) {
        for (std::int64_t r = some.begin; r < some.end; ++r) {
            const Range own = columns_of(keys, r);
            if (own.size() == 0) continue;
            RowState<Acc> state{largest_[r], sums_[r]};
            law_.block(b_, rows_[r].head, rows_[r].query, {keys.begin + own.begin, keys.begin + own.end}, keys.begin,
                       state, o_ + r * o_pitch_);
            largest_[r] = state.largest, sums_[r] = state.sum;
        }
    }

    void finish(const Range& some) {
        products_.passes().keep(largest_ + some.begin, sums_ + some.begin, logsumexp_ + some.begin, some.size());
        for (std::int64_t r = some.begin; r < some.end; ++r) {
            const std::int64_t h = rows_[r].head, i = rows_[r].query;
            Acc* o = o_ + r * o_pitch_;
            products_.passes().divide(o, o_pitch_, sums_[r]);
            store_row(Law<T>::row(p_.out, b_, i, h), p_.out.layout.strides[3], o, a_.value_depth());
            p_.logsumexp[(b_ * a_.queries() + i) * a_.heads() + h] = logsumexp_[r];
        }
    }

    ForwardPlan<T, In>& p_;
    const Attention& a_;
    const Products<T, In>& products_;
    const Law<T> law_;
    const std::int64_t q_pitch_, o_pitch_;
    dense::Scratch scratch_;
    PrefetchQueue wanted_;
    In *q_, *own_ = nullptr;
    In* keys_ = nullptr;  // of the block, packed; its values follow
    bool finite_ = true;  // whether the block's values are
    Acc *tile_, *chain_, *o_, *bias_;
    Acc *largest_, *sums_, *logsumexp_, *factors_;
    Row* rows_;
    std::int64_t* row_offsets_;
    Panel* panels_;
    std::int64_t head_ = 0, b_ = 0;
};

}  // namespace
}  // namespace attention

const char* attention_declines(const Attention& a) {
    if (a.q.dtype != DType::float32 && a.q.dtype != DType::float64 && a.q.dtype != DType::bfloat16)
        return "no kernels for this dtype";
    if (a.q.layout.count() == 0 || a.k.layout.count() == 0 || a.v.layout.count() == 0) return "nothing to multiply";
    return nullptr;
}

void attend(const Attention& a, const View& out, void* logsumexp) {
    if (attention_declines(a)) return attend_reference(a, out, logsumexp);
    attention::check_lengths(a);
    const bool few = a.group() * a.queries() <= attention::kFewRows;
    attention::with_products(a.q.dtype, few, [&]<class T, class In>(const attention::Products<T, In>& products) {
        attention::ForwardPlan<T, In> plan(a, out, logsumexp, products);
        const std::int64_t all = a.batch() * a.kv_heads();
        for (std::int64_t first = 0; first < all; first += plan.most_heads) {
            plan.heads = {first, std::min(first + plan.most_heads, all)};
            const std::int64_t heads = plan.heads.size();
            // A task is a block of keys for one thread's share of the heads: blocks alone are too few.
            const std::int64_t shares = std::min<std::int64_t>(heads, num_threads());
            if (!plan.in_place && !plan.packs_own)
                parallel_for(plan.blocks * shares, 1, [&](std::int64_t begin, std::int64_t end) {
                    const FloatEnvironment environment(Subnormals::keep);
                    for (std::int64_t i = begin; i < end; ++i) {
                        const dense::Range some = dense::part(heads, shares, i % shares);
                        for (std::int64_t h = first + some.begin; h < first + some.end; ++h)
                            plan.values_finite(h, i / shares) = plan.pack(plan.packed(h, i / shares), h, i / shares);
                    }
                });
            const auto some = [&](std::int64_t begin, std::int64_t end) {
                const FloatEnvironment environment(Subnormals::keep);
                attention::ForwardTask<T, In> task(plan);
                for (std::int64_t i = begin; i < end; ++i) task.run(i, i + 1 < end ? i + 1 : -1);
            };
            parallel_for(plan.row_tasks * heads, 1, some, Pieces::unlike);
        }
    });
}

}  // namespace tenon::product
