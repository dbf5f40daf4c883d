// The output, a block of rows at a time: for each block of keys, packed once for the rows, a few rows' sums with all its
// keys stay in the nearest cache (mr x kKeyBlock, 21 KB in float32) while they become weights and meet the values.
#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "product/attention/products.h"
#include "tenon/threads.h"

namespace tenon::product {
namespace attention {
namespace {

/// Bytes of a block's queries and sums, which stay in L2 beside a block of keys.
constexpr std::int64_t kRowBytes = 512 << 10;
/// Tasks for each thread, so that one that is held up leaves its share to the others.
constexpr std::int64_t kTasksAThread = 4;

/// What all tasks share. Rows are those of a key head: query i of head g of its group is row g * queries + i.
template <class T, class In>
struct ForwardPlan {
    const Attention& a;
    const View& out;
    Sum<T>* kept;
    Products<T, In> products;
    std::int64_t rows, row_tasks;
    std::vector<std::int64_t> q_depth, k_depth, v_depth, k_keys, v_keys;

    ForwardPlan(const Attention& attention, const View& output, void* keep, const Products<T, In>& p)
        : a(attention),
          out(output),
          kept(static_cast<Sum<T>*>(keep)),
          products(p),
          rows(a.group() * a.queries()),
          q_depth(offsets(a.depth(), a.q.layout.strides[3])),
          k_depth(offsets(a.depth(), a.k.layout.strides[3])),
          v_depth(offsets(a.value_depth(), a.v.layout.strides[3])),
          k_keys(offsets(kKeyBlock, a.k.layout.strides[1])),
          v_keys(offsets(kKeyBlock, a.v.layout.strides[1])) {
        const std::int64_t row_bytes = (a.depth() + a.value_depth()) * static_cast<std::int64_t>(sizeof(Sum<T>));
        const std::int64_t most = std::max<std::int64_t>(p.mr(), kRowBytes / row_bytes);
        const std::int64_t heads = a.batch() * a.kv_heads();
        const std::int64_t wanted = num_threads() == 1 ? 1 : ceil_div(kTasksAThread * num_threads(), heads);
        row_tasks = std::max(ceil_div(rows, most), std::min(wanted, ceil_div(rows, 2 * p.mr())));
    }
    std::int64_t tasks() const { return a.batch() * a.kv_heads() * row_tasks; }
    std::int64_t most_rows() const { return ceil_div(rows, row_tasks); }
};

/// Keys and values that will be packed next, asked for a share at a time: their rows lie too far apart for the hardware
/// to follow.
class Ahead {
  public:
    Ahead(const Attention& a, std::int64_t b, std::int64_t kv, const Range& keys, std::int64_t shares) : left_(keys) {
        const auto size = static_cast<std::int64_t>(size_of(a.k.dtype));
        const auto of = [&](const View& x) {
            const Strides& s = x.layout.strides;
            const std::int64_t bytes = s[3] == 1 ? x.shape()[3] * size : 0;
            return Operand{x.as<const char>() + (b * s[0] + kv * s[2]) * size, s[1] * size, bytes};
        };
        operands_[0] = of(a.k), operands_[1] = of(a.v);
        share_ = ceil_div(std::max<std::int64_t>(0, keys.size()), shares);
    }

    void fetch() {
        const std::int64_t end = std::min(left_.begin + share_, left_.end);
        for (const Operand& x : operands_)
            for (std::int64_t j = left_.begin; j < end; ++j)
                for (std::int64_t at = 0; at < x.bytes; at += 64) __builtin_prefetch(x.data + j * x.step + at, 0, 2);
        left_.begin = std::max(left_.begin, end);
    }

  private:
    struct Operand {
        const char* data;
        std::int64_t step, bytes;
    };
    Operand operands_[2];
    Range left_;
    std::int64_t share_ = 0;
};

template <class T, class In>
class ForwardTask {
    using Acc = Sum<T>;
    static constexpr Acc kLowest = -std::numeric_limits<Acc>::infinity();
    static constexpr std::int64_t kPitch = kKeyBlock + kLanes;

  public:
    explicit ForwardTask(const ForwardPlan<T, In>& plan)
        : p_(plan), a_(plan.a), products_(plan.products), law_(plan.a), scratch_(bytes(plan)) {
        const std::int64_t rows = p_.most_rows();
        q_ = scratch_.take<In>(rows * q_pitch());
        keys_ = scratch_.take<In>(keys_size(p_));
        values_ = scratch_.take<In>(values_size(p_));
        tile_ = scratch_.take<Acc>(products_.mr() * kPitch);
        chain_ = scratch_.take<Acc>(products_.mr() * o_pitch());
        o_ = scratch_.take<Acc>(rows * o_pitch());
        bias_ = scratch_.take<Acc>(kPitch);
        largest_ = scratch_.take<Acc>(rows);
        sums_ = scratch_.take<Acc>(rows);
        factors_ = scratch_.take<Acc>(products_.mr());
        rows_ = scratch_.take<Row>(rows);
        row_offsets_ = scratch_.take<std::int64_t>(rows);
    }

    void run(std::int64_t task) {
        const std::int64_t head = task / p_.row_tasks;
        b_ = head / a_.kv_heads(), kv_ = head % a_.kv_heads();
        const Range rows = dense::part(p_.rows, p_.row_tasks, task % p_.row_tasks);
        const Range all = begin(rows);
        for (std::int64_t first = all.begin / kKeyBlock * kKeyBlock; first < all.end; first += kKeyBlock)
            key_block({first, std::min(first + kKeyBlock, a_.keys())}, rows, all.end);
        finish(rows);
    }

  private:
    struct Row {
        std::int64_t head, query;
        Range keys;  // that it takes, but for `mask`
    };

    static std::int64_t keys_size(const ForwardPlan<T, In>& p) {
        return p.products.panels_size(kKeyBlock, p.a.depth());
    }
    static std::int64_t values_size(const ForwardPlan<T, In>& p) {
        return p.products.panels_size(p.a.value_depth(), kKeyBlock);
    }
    static std::size_t bytes(const ForwardPlan<T, In>& p) {
        const auto size = [](std::int64_t n, std::size_t element) {
            return dense::Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        const std::int64_t rows = p.most_rows(), mr = p.products.mr();
        const std::int64_t o_pitch = round_up(p.a.value_depth(), p.products.nr());
        return size(rows * p.products.line_pitch(p.a.depth()), sizeof(In)) + size(keys_size(p), sizeof(In)) +
               size(values_size(p), sizeof(In)) + size(mr * kPitch, sizeof(Acc)) + size(mr * o_pitch, sizeof(Acc)) +
               size(rows * o_pitch, sizeof(Acc)) + size(kPitch, sizeof(Acc)) +
               2 * size(rows, sizeof(Acc)) + size(mr, sizeof(Acc)) + size(rows, sizeof(Row)) +
               size(rows, sizeof(std::int64_t));
    }
    std::int64_t q_pitch() const { return products_.line_pitch(a_.depth()); }
    std::int64_t o_pitch() const { return round_up(a_.value_depth(), products_.nr()); }

    /// Packs the queries and clears the sums; returns the keys that any row takes.
    Range begin(const Range& rows) {
        const Strides& s = a_.q.layout.strides;
        const std::int64_t length = length_of(a_, b_);
        Range all{a_.keys(), 0};
        for (std::int64_t r = 0; r < rows.size(); ++r) {
            const std::int64_t row = rows.begin + r, query = row % a_.queries();
            Row& to = rows_[r];
            to = {kv_ * a_.group() + row / a_.queries(), query, keys_of(a_, length, query)};
            row_offsets_[r] = to.head * s[2] + query * s[1];
            if (to.keys.size() > 0) all = {std::min(all.begin, to.keys.begin), std::max(all.end, to.keys.end)};
            largest_[r] = kLowest, sums_[r] = 0;
        }
        products_.lines(q_, a_.q.as<const T>() + b_ * s[0], row_offsets_, p_.q_depth.data(), rows.size(), a_.depth());
        std::fill_n(o_, rows.size() * o_pitch(), Acc(0));
        return all;
    }

    void key_block(const Range& keys, const Range& rows, std::int64_t last) {
        const std::int64_t n = keys.size();
        packed_keys_ = products_.across(keys_, law_.key(b_, keys.begin, kv_ * a_.group()), p_.k_keys.data(),
                                        p_.k_depth.data(), n, a_.depth());
        packed_values_ = products_.across(values_, law_.value(b_, keys.begin, kv_ * a_.group()), p_.v_depth.data(),
                                          p_.v_keys.data(), a_.value_depth(), n);
        finite_known_ = false;
        const std::int64_t parts = ceil_div(rows.size(), products_.mr());
        Ahead ahead(a_, b_, kv_, {keys.end, std::min(keys.end + kKeyBlock, last)}, parts);
        for (std::int64_t i = 0; i < parts; ++i) {
            ahead.fetch();
            some_rows(keys, dense::part(rows.size(), parts, i));
        }
    }

    bool values_finite(std::int64_t keys) {
        if (!finite_known_) {
            finite_ = true;
            // Columns beyond the last are not defined.
            const std::int64_t step = products_.nr(), groups = products_.groups(keys);
            for (std::int64_t j = 0; j < a_.value_depth(); j += step)
                for (std::int64_t g = 0; g < groups && finite_; ++g)
                    finite_ = all_finite(packed_values_.data + j / step * packed_values_.stride + g * step,
                                            std::min(step, a_.value_depth() - j));
            finite_known_ = true;
        }
        return finite_;
    }

    /// Rows [some.begin, some.end) of the task.
    void some_rows(const Range& keys, const Range& some) {
        Range columns{kKeyBlock, 0};  // of the block, that any of the rows takes
        bool masked = a_.mask.data != nullptr;
        for (std::int64_t r = some.begin; r < some.end; ++r) {
            const Range own = columns_of(keys, r);
            masked = masked || own != Range{0, keys.size()};
            if (own.size() > 0) columns = {std::min(columns.begin, own.begin), std::max(columns.end, own.end)};
        }
        if (columns.size() <= 0) return;
        if (masked && !values_finite(keys.size())) return by_law(keys, some);
        columns.begin = columns.begin / products_.nr() * products_.nr();
        const std::int64_t width = round_up(columns.size(), kLanes);
        const In* q = q_ + some.begin * q_pitch();
        products_.multiply(q, q_pitch(), some.size(), moved(packed_keys_, columns.begin), columns.size(),
                           products_.groups(a_.depth()), tile_ + columns.begin, kPitch, Write::store);
        const Acc scale = to_logits(keys, some, columns, width, masked);
        // Factors are stored from the first column on, in place of the sums that they come from.
        products_.passes().softmax(tile_ + columns.begin, kPitch, some.size(), width, scale, largest_ + some.begin,
                                   sums_ + some.begin, factors_);
        const std::int64_t group = kKeyBlock / products_.groups(kKeyBlock);
        const Panels<In> values{packed_values_.data + columns.begin / group * products_.nr(), packed_values_.stride};
        products_.multiply(reinterpret_cast<const In*>(tile_ + columns.begin), kPitch, some.size(), values,
                           a_.value_depth(), products_.groups(columns.size()), chain_, o_pitch(), Write::store);
        for (std::int64_t r = some.begin; r < some.end; ++r)
            products_.passes().merge(o_ + r * o_pitch(), chain_ + (r - some.begin) * o_pitch(), o_pitch(),
                                     factors_[r - some.begin]);
    }

    /// The keys of the block that a row takes, counted from its first.
    Range columns_of(const Range& keys, std::int64_t r) const {
        const Range own{std::max(keys.begin, rows_[r].keys.begin), std::min(keys.end, rows_[r].keys.end)};
        return own.size() <= 0 ? Range{0, 0} : Range{own.begin - keys.begin, own.end - keys.begin};
    }

    Panels<In> moved(const Panels<In>& panels, std::int64_t column) const {
        return {panels.data + column / products_.nr() * panels.stride, panels.stride};
    }

    /// Masks the sums, and makes logits of them where a pass of its own must; returns by what they are still to be
    /// multiplied.
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
            std::fill(s + columns.begin, s + begin, kLowest);
            std::fill(s + end, s + columns.begin + width, kLowest);
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
                       state, o_ + r * o_pitch());
            largest_[r] = state.largest, sums_[r] = state.sum;
        }
    }

    void finish(const Range& rows) {
        for (std::int64_t r = 0; r < rows.size(); ++r) {
            const std::int64_t h = rows_[r].head, i = rows_[r].query;
            Acc* o = o_ + r * o_pitch();
            products_.passes().divide(o, o_pitch(), sums_[r]);
            store_row(Law<T>::row(p_.out, b_, i, h), p_.out.layout.strides[3], o, a_.value_depth());
            p_.kept[(b_ * a_.queries() + i) * a_.heads() + h] = kept_of(RowState<Acc>{largest_[r], sums_[r]});
        }
    }

    const ForwardPlan<T, In>& p_;
    const Attention& a_;
    const Products<T, In>& products_;
    const Law<T> law_;
    dense::Scratch scratch_;
    In *q_, *keys_, *values_;
    Acc *tile_, *chain_, *o_, *bias_;
    Acc *largest_, *sums_, *factors_;
    Row* rows_;
    std::int64_t* row_offsets_;
    Panels<In> packed_keys_{}, packed_values_{};
    std::int64_t b_ = 0, kv_ = 0;
    bool finite_known_ = false, finite_ = false;
};

}  // namespace
}  // namespace attention

const char* attention_declines(const Attention& a) {
    if (a.q.dtype != DType::float32 && a.q.dtype != DType::float64 && a.q.dtype != DType::bfloat16)
        return "no kernels for this dtype";
    if (a.q.layout.count() == 0 || a.k.layout.count() == 0 || a.v.layout.count() == 0) return "nothing to multiply";
    return nullptr;
}

void attend(const Attention& a, const View& out, void* kept) {
    if (attention_declines(a)) return attend_reference(a, out, kept);
    attention::check_lengths(a);
    attention::with_products(a.q.dtype, [&]<class T, class In>(const attention::Products<T, In>& products) {
        const attention::ForwardPlan<T, In> plan(a, out, kept, products);
        parallel_for(plan.tasks(), 1, [&](std::int64_t begin, std::int64_t end) {
            const FloatEnvironment environment(Subnormals::keep);
            attention::ForwardTask<T, In> task(plan);
            for (std::int64_t i = begin; i < end; ++i) task.run(i);
        });
    });
}

}  // namespace tenon::product
