#include "product/chain/rows.h"

#include <algorithm>

#include "base/parallel.h"
#include "product/dense/blocked.h"
#include "product/dense/plan.h"
#include "product/dense/scratch.h"
#include "product/dense/tile_store.h"
#include "product/float_environment.h"
#include "tenon/threads.h"

namespace tenon::product::chain {
namespace {

using dense::ceil_div;

/// Of z of a block: its part of x and of the output lie beside it in L2.
constexpr std::int64_t kRowsBytes = 128 << 10;
constexpr std::int64_t kTasksAThread = 4;
/// Multiply-adds of each weight from which packing it pays.
constexpr std::int64_t kFewestUses = 48;

const char* fill(RowsForm& form, const Chain& chain) {
    const Middle& m = *form.middle;
    if (m.declines) return m.declines;
    const DType t = chain.a.dtype;
    if (t != DType::float32 && t != DType::float64) return "no kernels for this dtype";
    if (chain.between || chain.epilogue || chain.finish.scales()) return "there is more than the two products";
    if (chain.product != t || chain.c.dtype != t) return "the intermediate has another dtype than the operands";
    if (m.columns.size() != 1) return "the second product's weights have no columns, or several axes of them";
    form.column = m.columns[0];
    const MiddleAxis* token = nullptr;
    for (const MiddleAxis& axis : m.axes) {
        if (axis.in_a && axis.in_b) return "the first product is a batch";
        if (!axis.summed() && axis.in_c) return "the second product is a batch";
        // The slowest axis of both: the rows.
        if (!axis.summed() && (!token || axis.out > token->out)) token = &axis;
    }
    if (!token) return "no axis is a row of both products";
    form.token = *token;
    form.x_is_a = token->in_a;
    std::vector<const MiddleAxis*> others;
    for (const MiddleAxis& axis : m.axes)
        if (&axis != token) others.push_back(&axis);
    if (others.empty() || others.size() > 2) return "the intermediate has more axes than rows, lanes and another";
    // The lanes: those of the output if it lies along an axis of z, else what the second product sums, the last axis.
    const auto along_output =
        std::find_if(others.begin(), others.end(), [](const auto* axis) { return !axis->summed() && axis->out == 1; });
    form.second_by_token = along_output != others.end();
    if (!form.second_by_token && form.column.out != 1) return "the output runs along none of its axes";
    const auto lane = form.second_by_token
                          ? along_output
                          : std::find_if(others.begin(), others.end(), [&](auto* axis) { return axis->summed(); });
    if (lane == others.end()) return "the second product sums nothing";
    form.lane = **lane;
    others.erase(lane);
    if (!others.empty()) form.other = *others[0];
    if (form.other.extent > 1 && form.other.summed() == form.lane.summed())
        return "both products would have the same axes";
    const AxisList& k1 = m.summed;
    if (k1.size != 1 || k1.axes[0].extent > kBlockK || m.summed_count() > kBlockK) return "a sum is not one block";
    const bool lane_in_x = form.x_is_a ? form.lane.in_a : form.lane.in_b;
    const bool other_in_x = form.x_is_a ? form.other.in_a : form.other.in_b;
    if (form.other.extent > 1 && lane_in_x == other_in_x) return "an operand of the first product has no columns";
    form.first_by_token = lane_in_x;
    const std::int64_t k1_x = form.x_is_a ? k1.axes[0].a : k1.axes[0].b;
    if (form.first_by_token ? form.x(form.lane) != 1 : k1_x != 1) return "x lies neither along k nor along the lanes";
    // All tokens at once need one step from row to row.
    const std::int64_t n = form.other.extent;
    if (!form.first_by_token && n > 1 && form.x(form.token) != form.x(form.other) * n) return "x's rows have gaps";
    if (!form.second_by_token && n > 1 && form.token.out != form.other.out * n) return "the output's rows have gaps";
    const std::int64_t pitch =
        (n > 1 ? form.x(form.other) : form.x(form.token)) * static_cast<std::int64_t>(size_of(t));
    if (!form.first_by_token && pitch % 4096 == 0) return "x's rows fall on few sets of the nearest cache";
    return nullptr;
}

/// Lines that are wanted soon, asked for a few at a time between kernels. Each token's lie side by side.
struct Fetch {
    const char* token = nullptr;
    std::int64_t step = 0, lines = 0, line = 0, tokens = 0, each = 0;

    void some() {
        for (std::int64_t n = each; n > 0 && tokens > 0; --n) {
            __builtin_prefetch(token + 64 * line, 0, 2);
            if (++line == lines) line = 0, token += step, --tokens;
        }
    }
};

template <class T>
struct RowsPlan {
    const Chain* chain;
    const RowsForm* form;
    const dense::KernelSet<T, T>* kernels;
    std::int64_t block, blocks;  // tokens
    std::int64_t k1, k2, other, lanes, z_row;  // z_row: from one row of z to the next
    std::int64_t w_pitch, c_pitch;
    T *w, *c;  // [k][column], or [row][k] where the weights are A
};

/// Sums of some rows of A with all columns of B.
template <class T>
struct Gemm {
    const dense::KernelSet<T, T>& kernels;
    std::int64_t rows, columns, k, a_row, ldb, ldc;  // a_row: bytes

    std::int64_t panels() const { return ceil_div(rows, kernels.standard.mr); }
    std::int64_t calls() const { return panels() * ceil_div(columns, kernels.standard.nr); }

    void operator()(const T* a, const T* b, T* c, Fetch& fetch) const {
        const auto &standard = kernels.standard, &narrow = kernels.narrow;
        const std::int64_t n = panels(), less = rows / n, more = rows - less * n;
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t here = less + (i < more ? 1 : 0);
            for (std::int64_t j = 0; j < columns; j += standard.nr) {
                fetch.some();
                const std::int64_t left = columns - j;
                const auto& family = left <= narrow.nr && here <= narrow.mr ? narrow : standard;
                const auto kernel = (left >= family.nr ? family.whole : family.tail)[here - 1];
                kernel({k, a_row, ldb, ldc, left, dense::Write::store, 0}, a, b + j, c + j);
            }
            a = reinterpret_cast<const T*>(reinterpret_cast<const char*>(a) + here * a_row);
            c += here * ldc;
        }
    }
};

template <class T>
class RowsBlock {
  public:
    explicit RowsBlock(const RowsPlan<T>& plan)
        : p_(plan),
          form_(*plan.form),
          scratch_(static_cast<std::size_t>(plan.block * plan.other * plan.z_row + 64) * sizeof(T)),
          z_(reinterpret_cast<T*>(scratch_.data())) {}

    void run(std::int64_t index) {
        const std::int64_t begin = index * p_.block, tokens = std::min(p_.block, form_.token.extent - begin);
        const T* x =
            static_cast<const T*>((form_.x_is_a ? p_.chain->a : p_.chain->b).data) + begin * form_.x(form_.token);
        T* out = static_cast<T*>(p_.chain->out.data) + begin * form_.token.out;
        const std::int64_t left = form_.token.extent - begin - tokens;
        Fetch of_out = fetch_of(out, form_.token.out, tokens, out_span());
        Fetch of_x = fetch_of(x + tokens * form_.x(form_.token), form_.x(form_.token),
                              index + 1 < p_.blocks ? std::min(tokens, left) : 0, x_span());
        first(x, tokens, of_out);
        keep(begin, tokens);
        second(out, tokens, of_x);
    }

  private:
    static constexpr std::int64_t kSize = sizeof(T);

    /// Elements from the first of a token to its last.
    std::int64_t x_span() const {
        const Axis& k = form_.middle->summed.axes[0];
        std::int64_t span = 1 + (k.extent - 1) * std::abs(form_.x_is_a ? k.a : k.b);
        for (const MiddleAxis* axis : {&form_.other, &form_.lane})
            span += (axis->extent - 1) * std::abs(form_.x(*axis));
        return span;
    }
    std::int64_t out_span() const {
        std::int64_t span = 1 + (form_.column.extent - 1) * std::abs(form_.column.out);
        for (const MiddleAxis* axis : {&form_.other, &form_.lane}) span += (axis->extent - 1) * std::abs(axis->out);
        return span;
    }
    static Fetch fetch_of(const T* first, std::int64_t step, std::int64_t tokens, std::int64_t span) {
        return {reinterpret_cast<const char*>(first), step * kSize, ceil_div(span * kSize, 64), 0, tokens, 0};
    }
    static void spread(Fetch& fetch, std::int64_t calls) {
        fetch.each = ceil_div(fetch.tokens * fetch.lines, std::max<std::int64_t>(calls, 1));
    }

    void first(const T* x, std::int64_t tokens, Fetch& fetch) const {
        const Axis& k = form_.middle->summed.axes[0];
        if (form_.first_by_token) {
            const Gemm<T> gemm{*p_.kernels, p_.other, p_.lanes, p_.k1, p_.w_pitch * kSize, form_.x_is_a ? k.a : k.b,
                               p_.z_row};
            spread(fetch, tokens * gemm.calls());
            for (std::int64_t t = 0; t < tokens; ++t)
                gemm(p_.w, x + t * form_.x(form_.token), z_ + t * p_.other * p_.z_row, fetch);
            return;
        }
        const std::int64_t step = p_.other > 1 ? form_.x(form_.other) : form_.x(form_.token);
        const Gemm<T> gemm{*p_.kernels, tokens * p_.other, p_.lanes, p_.k1, step * kSize, p_.w_pitch, p_.z_row};
        spread(fetch, gemm.calls());
        gemm(x, p_.w, z_, fetch);
    }

    void keep(std::int64_t begin, std::int64_t tokens) const {
        for (const Kept which : {Kept::product, Kept::middle}) {
            const View* kept = kept_view(*p_.chain, which);
            if (!kept) continue;
            KeptPart part;
            part.add(tokens, p_.other * p_.z_row, form_.token, which);
            part.add(p_.other, p_.z_row, form_.other, which);
            part.add(p_.lanes, 1, form_.lane, which);
            part.copy(*kept, begin * form_.token.kept[static_cast<std::size_t>(which)], z_);
        }
    }

    void second(T* out, std::int64_t tokens, Fetch& fetch) const {
        if (form_.second_by_token) {
            const Gemm<T> gemm{*p_.kernels, form_.column.extent, p_.lanes, p_.k2, p_.c_pitch * kSize,
                               p_.z_row,    form_.column.out};
            spread(fetch, tokens * gemm.calls());
            for (std::int64_t t = 0; t < tokens; ++t)
                gemm(p_.c, z_ + t * p_.other * p_.z_row, out + t * form_.token.out, fetch);
            return;
        }
        const std::int64_t step = p_.other > 1 ? form_.other.out : form_.token.out;
        const Gemm<T> gemm{*p_.kernels, tokens * p_.other, form_.column.extent, p_.k2, p_.z_row * kSize, p_.c_pitch,
                           step};
        spread(fetch, gemm.calls());
        gemm(z_, p_.c, out, fetch);
    }

    const RowsPlan<T>& p_;
    const RowsForm& form_;
    dense::Scratch scratch_;
    T* z_;
};

/// An operand of one product with `lines` columns: as A [line][k], or as B [k][line].
template <class T>
void pack(const RowsPlan<T>& p, T* to, std::int64_t pitch, const void* from, std::int64_t lines, std::int64_t line,
          std::int64_t k, std::int64_t k_step, bool as_a) {
    std::vector<std::int64_t> line_offsets(static_cast<std::size_t>(lines)), k_offsets(static_cast<std::size_t>(k));
    for (std::int64_t i = 0; i < lines; ++i) line_offsets[static_cast<std::size_t>(i)] = i * line;
    for (std::int64_t i = 0; i < k; ++i) k_offsets[static_cast<std::size_t>(i)] = i * k_step;
    const auto source = static_cast<int>(dense::Source::same);
    const dense::PackSource s{from, line_offsets.data(), k_offsets.data(), lines, k};
    as_a ? p.kernels->lines[source](to, pitch, s) : p.kernels->across[source](to, pitch, s);
}

template <class T>
void run_with(const Chain& chain, const RowsForm& form, const dense::KernelSet<T, T>& kernels) {
    RowsPlan<T> p{};
    p.chain = &chain, p.form = &form, p.kernels = &kernels;
    const std::int64_t vector = kernels.narrow.nr;
    p.k1 = form.middle->summed.count(), p.k2 = form.middle->summed_count();
    p.other = form.other.extent, p.lanes = form.lane.extent;
    // Rows of z that are B want no gap; as A they should not fall on few sets.
    p.z_row = p.lanes % 1024 == 0 ? p.lanes + vector : p.lanes;
    const std::int64_t token_bytes = p.other * p.z_row * std::int64_t{sizeof(T)};
    p.block = std::clamp<std::int64_t>(kRowsBytes / token_bytes, 1, form.token.extent);
    const int threads = num_threads();
    while (threads > 1 && p.block > 1 && ceil_div(form.token.extent, p.block) < kTasksAThread * threads)
        p.block = ceil_div(p.block, 2);
    p.blocks = ceil_div(form.token.extent, p.block);

    const auto up = [&](std::int64_t n) { return ceil_div(n, vector) * vector; };
    const std::int64_t w_lines = form.first_by_token ? p.other : p.lanes, columns = form.column.extent;
    p.w_pitch = up(form.first_by_token ? p.k1 : w_lines), p.c_pitch = up(form.second_by_token ? p.k2 : columns);
    const std::int64_t w_rows = form.first_by_token ? w_lines : p.k1, c_rows = form.second_by_token ? columns : p.k2;
    dense::Scratch weights(static_cast<std::size_t>(p.w_pitch * w_rows + p.c_pitch * c_rows) * sizeof(T) + 256);
    p.w = weights.take<T>(p.w_pitch * w_rows), p.c = weights.take<T>(p.c_pitch * c_rows);
    const Axis& k1 = form.middle->summed.axes[0];
    const MiddleAxis& summed = form.second_by_token ? form.other : form.lane;
    pack(p, p.w, p.w_pitch, (form.x_is_a ? chain.b : chain.a).data, w_lines,
         form.w(form.first_by_token ? form.other : form.lane), p.k1, form.x_is_a ? k1.b : k1.a, form.first_by_token);
    pack(p, p.c, p.c_pitch, chain.c.data, columns, form.column.c, p.k2, summed.c, form.second_by_token);
    parallel_for(p.blocks, 1, [&](std::int64_t begin, std::int64_t end) {
        const FloatEnvironment environment(Subnormals::keep);
        RowsBlock<T> block(p);
        for (std::int64_t i = begin; i < end; ++i) block.run(i);
    });
}

}  // namespace

RowsForm rows_form(const Chain& chain, const Middle& middle) {
    RowsForm form;
    form.middle = &middle;
    form.cannot = fill(form, chain);
    if (form.cannot) return form;
    // A weight of the first product meets each token and the other axis of x; of the second likewise.
    const std::int64_t first = form.token.extent * (form.first_by_token ? form.lane : form.other).extent,
                       second = form.token.extent * (form.second_by_token ? form.lane : form.other).extent;
    if (std::min(first, second) < kFewestUses) form.need_not = "too few rows to pay for packing the weights";
    return form;
}

void run_rows(const Chain& chain, const RowsForm& form) {
    if (chain.a.dtype == DType::float64) return run_with(chain, form, dense::kernels_of(isa()).f64);
    run_with(chain, form, dense::kernels_of(isa()).f32);
}

}  // namespace tenon::product::chain
