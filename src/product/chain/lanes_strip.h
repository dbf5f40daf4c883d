// One strip of tokens, through both products.
#pragma once

#include <cstring>
#include <type_traits>

#include "product/chain/lanes_plan.h"
#include "product/dense/nontemporal.h"
#include "product/dense/tile_store.h"
#include "product/float_environment.h"

namespace tenon::product::chain {

template <class In, class Acc>
class LanesStrip {
    using Write = dense::Write;

  public:
    explicit LanesStrip(const LanesPlan<In, Acc>& plan)
        : p_(plan),
          form_(*plan.form),
          out_size_(static_cast<std::int64_t>(size_of(plan.chain->out.dtype))),
          rounds_(out_size_ != static_cast<std::int64_t>(sizeof(Acc))),
          in_tile_(rounds_ && plan.k2 > kBlockK),
          stored_(plan.stores_sums()),
          scratch_(bytes(plan)) {
        for (In*& x : x_) x = scratch_.take<In>(x_elements(plan));
        z_ = scratch_.take<std::byte>(z_bytes(plan));
        if (!stored_) a_ = scratch_.take<In>(p_.groups(p_.k2) * p_.pitch);
        tile_ = scratch_.take<Acc>(tile_elements(plan));
        lines_ = scratch_.take<std::int64_t>(kMaxTokens);
        w_panels_ = scratch_.take<Panel>(p_.rows);
        token_panels_ = scratch_.take<Panel>(kMaxTokens);
        k2_z_ = scratch_.take<std::int64_t>(p_.k2);
        for (std::int64_t i = 0; i < kMaxTokens; ++i) lines_[i] = i;
        for (std::int64_t i = 0; i < p_.k2; ++i) k2_z_[i] = i * p_.pitch;
        order_pairs(k2_z_, p_.k2, p_.kernels.rows_per_word);
    }

    void run(std::int64_t task) {
        const std::int64_t piece = task % p_.cut.pieces;
        token_ = task / p_.cut.pieces * p_.cut.tokens;
        tokens_ = std::min(p_.cut.tokens, form_.token.extent - token_);
        f_begin_ = piece * p_.cut.f;
        f_end_ = std::min(f_begin_ + p_.cut.f, form_.f[0].extent);
        const View& x = form_.x_is_a ? p_.chain->a : p_.chain->b;
        x_data_ = static_cast<const std::byte*>(x.data) + token_ * form_.x(form_.token) * p_.size;
        out_ = static_cast<std::byte*>(p_.chain->out.data) + token_ * form_.token.out * out_size_;
        const bool cut = form_.rows_per_f > 0;
        const std::int64_t mr = p_.kernels.cross.mr, row_bytes = p_.row_z * p_.size;
        w_panel_count_ = panels_of(w_panels_, cut ? f_begin_ * form_.rows_per_f : 0,
                                   cut ? f_end_ * form_.rows_per_f : p_.rows, most_rows(row_bytes));
        token_panel_count_ =
            panels_of(token_panels_, 0, tokens_, in_tile_ ? mr : most_rows(form_.token.out * out_size_));
        first_product();
        const std::int64_t begin = f_begin_ * p_.f_inner, end = f_end_ * p_.f_inner;
        // Without a tape, what is kept is copied when the second product reads it.
        if (p_.chain->between) {
            for (std::int64_t f = begin; f < end; ++f) {
                begin_keeping(keeping_, f, true);
                keep_rows(keeping_.left);
            }
            run_between();
        }
        second_product(begin, end);
        if (p_.chain->kept_product || p_.chain->kept_intermediate) dense::store_fence();
    }

  private:
    /// Rows cut into nearly equal panels. They are laid out before the loops: a kernel is called through a pointer,
    /// which should be known well before the previous kernel's arithmetic ends.
    struct Panel {
        std::int64_t row;
        int rows;
    };
    static std::int64_t panels_of(Panel* panels, std::int64_t begin, std::int64_t end, std::int64_t most) {
        const std::int64_t n = dense::ceil_div(end - begin, most);
        for (std::int64_t i = 0; i < n; ++i) {
            const dense::Range part = dense::part(end - begin, n, i);
            panels[i] = {begin + part.begin, static_cast<int>(part.size())};
        }
        return n;
    }

    static std::int64_t x_elements(const LanesPlan<In, Acc>& p) { return p.groups(std::min(p.k1, kBlockK)) * p.pitch; }
    static std::int64_t z_bytes(const LanesPlan<In, Acc>& p) {
        return static_cast<std::int64_t>(p.f_z.size()) * (p.k2 + 1) * p.pitch * p.size;
    }
    /// Sums of a panel of the second product's tokens, before they are rounded.
    static std::int64_t tile_elements(const LanesPlan<In, Acc>& p) {
        return p.kernels.cross.mr * round_up(p.columns, p.nr());
    }
    static std::size_t bytes(const LanesPlan<In, Acc>& p) {
        const auto size = [](std::int64_t n, std::size_t element) {
            return dense::Scratch::aligned(static_cast<std::size_t>(n) * element);
        };
        return 2 * size(x_elements(p), sizeof(In)) + size(z_bytes(p), 1) + size(p.groups(p.k2) * p.pitch, sizeof(In)) +
               size(tile_elements(p), sizeof(Acc)) + size(kMaxTokens + p.k2 + 8, 8) +
               size(kMaxTokens + p.rows + 8, sizeof(Panel)) + 256;
    }

    /// The most rows of a kernel whose sums go to rows `step` bytes apart: no more than a set of the nearest cache has
    /// lines.
    std::int64_t most_rows(std::int64_t step) const {
        constexpr std::int64_t kWay = 4096;
        return step % kWay == 0
                   ? std::min<std::int64_t>(p_.kernels.cross.mr, std::max<std::int64_t>(caches().l1 / kWay, 1))
                   : p_.kernels.cross.mr;
    }

    static PrefetchLines lines_of(const std::byte* first, std::int64_t step, std::int64_t rows,
                                  std::int64_t row_bytes) {
        const std::int64_t columns = dense::ceil_div(row_bytes, 64);
        return {reinterpret_cast<const char*>(first), step, 64 - rows * step, rows, rows, rows * columns};
    }
    /// Whether a token's part of a slice of x is contiguous along k.
    bool along() const {
        const AxisList& k = form_.intermediate->summed;
        return k.size == 1 && k.axes[0].*form_.x_stride() == 1;
    }
    PrefetchLines lines_of_slice(std::size_t slice) const {
        if (!along() || p_.k1 > kBlockK) return {};
        return lines_of(x_data_ + p_.slice_x[slice] * p_.size, form_.x(form_.token) * p_.size, tokens_,
                        p_.k1 * p_.size);
    }
    /// The lines of a slice of the packed weights.
    static PrefetchLines lines_of_weights(const In* weights, std::int64_t slice, std::int64_t size) {
        const std::int64_t n = size * std::int64_t{sizeof(In)} / 64;
        return {reinterpret_cast<const char*>(weights + slice * size), 64, 0, n + 1, n + 1, n};
    }
    PrefetchLines lines_of_output(std::int64_t f) const {
        return lines_of(out_ + p_.f_out[static_cast<std::size_t>(f)] * out_size_, form_.token.out * out_size_, tokens_,
                        p_.columns * out_size_);
    }

    void first_product() {
        const std::size_t slices = p_.slice_x.size();
        const bool whole = along() && p_.k1 <= kBlockK && p_.k1 % p_.kernels.pair() == 0;
        if (whole) {
            if (slices > 1) fetch(lines_of_slice(1));
            begin_squares(0);
            transpose_squares(squares_.left);
        }
        for (std::size_t s = 0; s < slices; ++s) {
            PrefetchLines ahead = s + 2 < slices                   ? lines_of_slice(s + 2)
                                  : s + 2 == slices || slices == 1 ? lines_of_output(f_begin_ * p_.f_inner)
                                                                   : PrefetchLines{};
            PrefetchLines weights =
                s + 1 < slices
                    ? lines_of_weights(p_.w, p_.slice_w[s + 1], p_.w_slice)
                    : lines_of_weights(p_.c, p_.f_c[static_cast<std::size_t>(f_begin_ * p_.f_inner)], p_.c_slice);
            if (whole && s + 1 < slices) begin_squares(s + 1);
            for (std::int64_t k = 0; k < p_.k1; k += kBlockK) {
                const std::int64_t kc = std::min(kBlockK, p_.k1 - k);
                if (!whole) transpose_x(s, k, kc);
                const In* w = p_.w + p_.slice_w[s] * p_.w_slice + k / p_.kernels.group * p_.w_pitch;
                CrossBlock<In, Acc> block{
                    p_.groups(kc), p_.w_pitch, p_.pitch, p_.row_z, 0, k == 0 ? Write::store : Write::add, &ahead};
                for (const std::int64_t outer : p_.outer_z) {
                    multiply_rows(block, w, x_[s % 2], p_.slice_z[s] + outer, ahead, weights);
                    w += p_.rows;
                }
            }
            transpose_squares(squares_.left);
        }
    }

    /// The remaining transposition of the next slice of x, one vector of tokens by one vector of k at a time. It is
    /// done between kernels, so that the shuffles overlap with the rest of their arithmetic.
    struct Squares {
        const std::byte* from = nullptr;
        In* to = nullptr;
        std::int64_t step = 0, token = 0, k = 0, left = 0;
        std::int64_t credit = 0, all = 0;  // squares for each kernel, as a fraction
    };
    void begin_squares(std::size_t slice) {
        const std::int64_t lanes = p_.kernels.cross.lanes;
        Squares& q = squares_;
        q.from = x_data_ + p_.slice_x[slice] * p_.size, q.to = x_[slice % 2], q.step = form_.x(form_.token) * p_.size;
        q.token = q.k = q.credit = 0;
        q.left = q.all = dense::ceil_div(tokens_, lanes) * dense::ceil_div(words(), lanes);
    }
    /// The length of a token's part of a slice of x, in the words that `transpose` takes.
    std::int64_t words() const { return p_.groups(p_.k1) / p_.kernels.rows_per_word; }
    void transpose_squares(std::int64_t n) {
        const std::int64_t lanes = p_.kernels.cross.lanes, all = words(), rows = p_.kernels.rows_per_word;
        Squares& q = squares_;
        for (; n > 0; --n, --q.left) {
            p_.kernels.cross.transpose(q.to + q.k * rows * p_.pitch + q.token, p_.pitch,
                                       q.from + q.token * q.step + q.k * std::int64_t{sizeof(In)}, q.step,
                                       std::min(lanes, tokens_ - q.token), std::min(lanes, all - q.k));
            q.k += lanes;
            if (q.k >= all) q.k = 0, q.token += lanes;
        }
    }
    /// Transposes the share of the squares that belongs to one of `kernels`.
    void transpose_part(std::int64_t kernels) {
        for (squares_.credit += squares_.all; squares_.credit >= kernels; squares_.credit -= kernels)
            if (squares_.left > 0) transpose_squares(1);
    }
    static void fetch(const PrefetchLines& lines) {
        const char* at = lines.at;
        for (std::int64_t left = lines.left, run = lines.run; left > 0; --left) {
            __builtin_prefetch(at, 0, 2);
            at += lines.step;
            if (--run == 0) at += lines.jump, run = lines.run;
        }
    }

    /// Transposes a block of a slice of x, with any strides.
    void transpose_x(std::size_t slice, std::int64_t k, std::int64_t kc) {
        const std::int64_t token = form_.x(form_.token);
        const std::byte* from = x_data_ + p_.slice_x[slice] * p_.size;
        In* const to = x_[slice % 2];
        if (along() && kc % p_.kernels.pair() == 0)
            return p_.kernels.cross.transpose(to, p_.pitch, from + k * p_.size, token * p_.size, tokens_,
                                              kc / p_.kernels.pair());
        for (std::int64_t i = 0; i < tokens_; ++i) lines_[i] = i * token;
        std::vector<std::int64_t> offsets(p_.k1_x.begin() + k, p_.k1_x.begin() + k + kc);
        order_pairs(offsets.data(), kc, p_.kernels.rows_per_word);
        pack_across(p_, to, p_.pitch, {from, lines_, offsets.data(), tokens_, kc});
        for (std::int64_t i = 0; i < tokens_; ++i) lines_[i] = i;
    }

    /// Multiplies the rows of the weights that belong to this piece with all tokens.
    void multiply_rows(CrossBlock<In, Acc>& block, const In* w, const In* x, std::int64_t z, PrefetchLines& ahead,
                       PrefetchLines& weights) {
        const CrossKernels<In, Acc>& cross = p_.kernels.cross;
        const auto* const* kernels = stored_ ? cross.whole : cross.narrow;
        const std::int64_t all =
            w_panel_count_ * dense::ceil_div(tokens_, p_.nr()) * static_cast<std::int64_t>(p_.outer_z.size());
        for (std::int64_t i = 0; i < w_panel_count_; ++i) {
            const Panel panel = w_panels_[i];
            for (std::int64_t t = 0; t < tokens_; t += p_.nr()) {
                const auto kernel = kernels[tokens_ - t > cross.lanes ? 1 : 0][panel.rows - 1];
                std::byte* to = z_ + (z + panel.row * p_.row_z + t) * p_.size;
                block.ahead = ahead.left > 0 ? &ahead : &weights;
                kernel(block, w + panel.row, x + t, reinterpret_cast<Acc*>(to));
                if (squares_.left > 0) transpose_part(all);
            }
        }
    }

    /// Rounds rows of `tile_` to another dtype.
    void round_rows(std::int64_t rows, std::int64_t ld, std::byte* to, std::int64_t step, DType type,
                    std::int64_t columns) {
        const tape::Kernel cast =
            tape::kernels().cast[static_cast<int>(dense::sum_type<Acc>())][static_cast<int>(type)];
        for (std::int64_t i = 0; i < rows; ++i) {
            const void* in[] = {tile_ + i * ld};
            cast(to + i * step, in, columns);
        }
    }

    /// The remaining stores of what others read of an f of z, k after k, one view after the other. They are done
    /// between kernels, so that the stores overlap with the rest of their arithmetic.
    struct Keeping {
        Kept which[2] = {};
        std::int64_t f = 0, k = 0, view = 0, left = 0;
        std::int64_t credit = 0, all = 0;  // rows for each kernel, as a fraction
    };
    /// Written in place: returning a copy would wait for all earlier stores, the kernels' too.
    void begin_keeping(Keeping& q, std::int64_t f, bool before_tape) const {
        q.f = f, q.k = q.view = q.credit = q.all = 0;
        for (const Kept which : {Kept::product, Kept::intermediate}) {
            // With a tape between, the product is stored before the tape runs.
            const bool now = !p_.chain->between || (which == Kept::product) == before_tape;
            if (now && kept_view(*p_.chain, which)) q.which[q.all++] = which;
        }
        q.left = q.all *= p_.k2;
    }
    bool stores_nontemporal() const { return form_.intermediate->elements * p_.size >= dense::nontemporal_bytes(); }
    std::byte* kept_rows(Kept which, std::int64_t f) const {
        const auto at = static_cast<std::size_t>(which);
        return static_cast<std::byte*>(kept_view(*p_.chain, which)->data) +
               (token_ * form_.token.kept[at] + p_.f_kept[at][static_cast<std::size_t>(f)]) * p_.size;
    }
    /// Stored past the caches if it would not stay there.
    void keep_rows(std::int64_t n) {
        Keeping& q = keeping_;
        for (q.left -= n; n > 0;) {
            const Kept which = q.which[q.view];
            const auto at = static_cast<std::size_t>(which);
            const std::int64_t rows = std::min(n, p_.k2 - q.k), token = form_.token.kept[at];
            const std::int64_t* const k = p_.k2_kept[at].data() + q.k;
            const std::byte* z = z_ + (p_.f_z[static_cast<std::size_t>(q.f)] + q.k * p_.pitch) * p_.size;
            std::byte* const to = kept_rows(which, q.f);
            if (token == 1 && !stores_nontemporal())
                p_.kernels.cross.copy(reinterpret_cast<char*>(to), k, p_.size, reinterpret_cast<const char*>(z),
                                      p_.pitch * p_.size, rows, tokens_ * p_.size);
            else
                for (std::int64_t i = 0; i < rows; ++i, z += p_.pitch * p_.size)
                    if (token == 1)
                        dense::store_nontemporal(to + k[i] * p_.size, z, tokens_ * p_.size);
                    else
                        scatter(to + k[i] * p_.size, z, token);
            n -= rows, q.k += rows;
            if (q.k == p_.k2) q.k = 0, ++q.view;
        }
    }
    /// Stores the share of the rows that belongs to one of `kernels`.
    void keep_part(std::int64_t kernels) {
        keeping_.credit += keeping_.all;
        const std::int64_t n = std::min(keeping_.credit / kernels, keeping_.left);
        keeping_.credit -= n * kernels;
        keep_rows(n);
    }
    /// The lines of the first view that receive the next f of z.
    PrefetchLines lines_of_kept(std::int64_t f) const {
        Keeping q;
        begin_keeping(q, f, false);
        if (q.left == 0 || stores_nontemporal()) return {};
        const auto at = static_cast<std::size_t>(q.which[0]);
        const std::vector<std::int64_t>& k = p_.k2_kept[at];
        const std::int64_t step = k.size() > 1 ? k[1] - k[0] : 0;
        if (form_.token.kept[at] != 1 || !dense::is_affine(k.data(), p_.k2, step)) return {};
        return lines_of(kept_rows(q.which[0], f), step * p_.size, p_.k2, tokens_ * p_.size);
    }
    void scatter(std::byte* to, const std::byte* z, std::int64_t step) const {
        for (std::int64_t i = 0; i < tokens_; ++i)
            std::memcpy(to + i * step * p_.size, z + i * p_.size, static_cast<std::size_t>(p_.size));
    }

    /// Runs the tape between on the strip's z.
    void run_between() {
        const FloatEnvironment environment(Subnormals::keep);
        const Epilogue& tape = *p_.chain->between;
        std::vector<View> views(tape.inputs.size() + 1);
        const auto add = [&](const IntermediateAxis& axis, std::int64_t extent, std::int64_t z) {
            views[0].layout.shape.push_back(extent), views[0].layout.strides.push_back(z);
            for (std::size_t i = 0; i < tape.inputs.size(); ++i)
                views[i + 1].layout.shape.push_back(extent), views[i + 1].layout.strides.push_back(axis.inputs[i]);
        };
        for (const IntermediateAxis& axis : form_.f)
            add(axis, &axis == form_.f.data() ? f_end_ - f_begin_ : axis.extent, axis.z * p_.pitch);
        for (const IntermediateAxis& axis : form_.k2) add(axis, axis.extent, axis.z * p_.pitch);
        add(form_.token, tokens_, 1);
        views[0].dtype = p_.chain->product;
        views[0].data = z_ + f_begin_ * form_.f[0].z * p_.pitch * p_.size;
        for (std::size_t i = 0; i < tape.inputs.size(); ++i) {
            const View& input = tape.inputs[i];
            const std::int64_t first = f_begin_ * form_.f[0].inputs[i] + token_ * form_.token.inputs[i];
            views[i + 1].dtype = input.dtype;
            views[i + 1].data =
                static_cast<std::byte*>(input.data) + first * static_cast<std::int64_t>(size_of(input.dtype));
        }
        const View to = views[0];
        tape::run(tape.tape, views, {&to, 1});
    }

    void second_product(std::int64_t begin, std::int64_t end) {
        for (std::int64_t f = begin; f < end; ++f) {
            const auto i = static_cast<std::size_t>(f);
            PrefetchLines ahead = f + 1 < end ? lines_of_output(f + 1) : PrefetchLines{};
            PrefetchLines kept = f + 1 < end ? lines_of_kept(f + 1) : PrefetchLines{};
            PrefetchLines weights = f + 1 < end ? lines_of_weights(p_.c, p_.f_c[i + 1], p_.c_slice) : PrefetchLines{};
            begin_keeping(keeping_, f, false);
            const std::byte* z = z_ + p_.f_z[i] * p_.size;
            const In* a = reinterpret_cast<const In*>(z);
            if (!stored_) {
                pack_across(p_, a_, p_.pitch, {z, lines_, k2_z_, tokens_, p_.k2});
                a = a_;
            }
            multiply_columns(a, p_.c + p_.f_c[i] * p_.c_slice, out_ + p_.f_out[i] * out_size_, ahead, kept, weights);
            keep_rows(keeping_.left);
        }
    }

    /// Prefetches the lines of `ahead`, then those of `more`.
    void multiply_columns(const In* a, const In* c, std::byte* out, PrefetchLines& ahead, PrefetchLines& more,
                          PrefetchLines& weights) {
        const CrossKernels<In, Acc>& cross = p_.kernels.cross;
        const std::int64_t step = form_.token.out;
        const std::int64_t ldc = in_tile_ ? round_up(p_.columns, p_.nr()) : step;
        const bool narrow = rounds_ && !in_tile_;
        const auto *const *whole = narrow ? cross.narrow : cross.whole, *const *tail =
                                                                            narrow ? cross.narrow_tail : cross.tail;
        const std::int64_t size = in_tile_ ? static_cast<std::int64_t>(sizeof(Acc)) : out_size_;
        const std::int64_t all =
            token_panel_count_ * dense::ceil_div(p_.k2, kBlockK) * dense::ceil_div(p_.columns, p_.nr());
        for (std::int64_t i = 0; i < token_panel_count_; ++i) {
            const Panel panel = token_panels_[i];
            std::byte* const rows = out + panel.row * step * out_size_;
            std::byte* const to = in_tile_ ? reinterpret_cast<std::byte*>(tile_) : rows;
            for (std::int64_t k = 0; k < p_.k2; k += kBlockK) {
                const std::int64_t at = k / p_.kernels.group;
                CrossBlock<In, Acc> block{p_.groups(std::min(kBlockK, p_.k2 - k)), p_.pitch, p_.c_pitch, ldc, 0,
                                          k == 0 ? Write::store : Write::add,      &ahead};
                for (std::int64_t j = 0; j < p_.columns; j += p_.nr()) {
                    block.columns = p_.columns - j;
                    block.ahead = ahead.left > 0 ? &ahead : more.left > 0 ? &more : &weights;
                    const int vectors = block.columns > cross.lanes ? 2 : 1;
                    const bool half = cross.half && !narrow && 2 * block.columns <= cross.lanes;
                    const auto kernel =
                        half ? cross.half[panel.rows - 1]
                             : (block.columns >= vectors * cross.lanes ? whole : tail)[vectors - 1][panel.rows - 1];
                    kernel(block, a + at * p_.pitch + panel.row, c + at * p_.c_pitch + j,
                           reinterpret_cast<Acc*>(to + j * size));
                    if (keeping_.left > 0) keep_part(all);
                }
            }
            if (in_tile_) round_rows(panel.rows, ldc, rows, step * out_size_, p_.chain->out.dtype, p_.columns);
        }
    }

    const LanesPlan<In, Acc>& p_;
    const LanesForm& form_;
    const std::int64_t out_size_;
    const bool rounds_;  // sums are rounded to the output's dtype
    const bool in_tile_;  // and wait in the tile until several blocks are summed
    const bool stored_;  // z is stored in the type of its sums; otherwise In holds more than one stored element
    dense::Scratch scratch_;
    In *x_[2], *a_ = nullptr;  // the strip's part of two slices of x, transposed; one f of z in groups
    std::byte* z_;
    Acc* tile_;
    std::int64_t *lines_, *k2_z_;
    Panel *w_panels_, *token_panels_;
    std::int64_t w_panel_count_ = 0, token_panel_count_ = 0;
    Squares squares_;
    Keeping keeping_;
    std::int64_t token_ = 0, tokens_ = 0, f_begin_ = 0, f_end_ = 0;
    const std::byte* x_data_ = nullptr;
    std::byte* out_ = nullptr;
};

}  // namespace tenon::product::chain
