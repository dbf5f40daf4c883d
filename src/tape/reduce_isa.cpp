// The loops of reductions, running results, and arguments of extremes.
#include "tape/combine.h"
#include "tape/loops_isa.h"

namespace tenon::tape::TENON_ISA {
namespace {

template <Reduction op, DType D>
struct Loops {
    using A = Accumulator<D>;
    using S = Stored<D>;

    static void fill(void* lanes, std::int64_t n) {
        auto* a = static_cast<A*>(lanes);
        for (std::int64_t i = 0; i < n; ++i) a[i] = neutral<op, A>();
    }

    TENON_INLINE static void row(A* __restrict a, const S* __restrict x, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) a[i] = combine<op>(a[i], load<D>(x[i]));
    }

    /// The lanes of one column, from lane 0, in registers.
    static void one_column(A* lanes, const S* x, std::int64_t rows) {
        if (rows < kLanes) return row(lanes, x, rows);
        if constexpr (kHasQuick<op, A>)
            if (one_column_quickly(lanes, x, rows)) return;
        A a[kLanes];
        for (std::int64_t l = 0; l < kLanes; ++l) a[l] = lanes[l];
        std::int64_t i = 0;
        for (; i + kLanes <= rows; i += kLanes)
            for (std::int64_t l = 0; l < kLanes; ++l) a[l] = combine<op>(a[l], load<D>(x[i + l]));
        for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = a[l];
        row(lanes, x + i, rows - i);
    }

    /// Returns false, having done nothing, if an operand is NaN or a result is zero.
    static bool one_column_quickly(A* lanes, const S* x, std::int64_t rows) {
        A a[kLanes];
        for (std::int64_t l = 0; l < kLanes; ++l) a[l] = lanes[l];
        int unusual = 0;
        const std::int64_t whole = rows / kLanes * kLanes;
        for (std::int64_t i = 0; i < whole; i += kLanes)
            for (std::int64_t l = 0; l < kLanes; ++l) {
                const A v = load<D>(x[i + l]);
                unusual |= v != v;
                a[l] = quick_extreme<op>(a[l], v);
            }
        for (std::int64_t l = 0; l < kLanes; ++l) unusual |= a[l] == 0 || lanes[l] != lanes[l];
        if (unusual) return false;
        for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = a[l];
        row(lanes, x + whole, rows - whole);
        return true;
    }

    static void accumulate(void* lanes, std::int64_t columns, const void* data, std::int64_t stride, std::int64_t rows,
                           std::int64_t first) {
        auto* a = static_cast<A*>(lanes);
        const auto* x = static_cast<const S*>(data);
        const bool whole = stride == columns && first % kLanes == 0;
        if (whole && columns == 1) return one_column(a, x, rows);
        // Without gaps, kLanes rows are like one.
        const std::int64_t step = whole ? kLanes : 1;
        std::int64_t i = 0;
        for (; i + step <= rows; i += step) row(a + (first + i) % kLanes * columns, x + i * stride, step * columns);
        if (i < rows) row(a, x + i * stride, (rows - i) * columns);
    }

    static void join(void* to, const void* from, std::int64_t n) {
        auto* a = static_cast<A*>(to);
        const auto* b = static_cast<const A*>(from);
        TENON_INDEPENDENT
        for (std::int64_t i = 0; i < n; ++i) a[i] = combine<op>(a[i], b[i]);
    }

    static void store_all(void* out, const void* from, std::int64_t n) {
        auto* y = static_cast<S*>(out);
        const auto* a = static_cast<const A*>(from);
        for (std::int64_t i = 0; i < n; ++i) y[i] = store<D>(a[i]);
    }

    static void cumulate(void* from, std::int64_t columns, const void* in, std::int64_t x_stride, void* out,
                         std::int64_t y_stride, std::int64_t rows) {
        const auto* x = static_cast<const S*>(in);
        auto* y = static_cast<S*>(out);
        auto* a = static_cast<A*>(from);
        if (columns == 1) {
            A running = a[0];
            for (std::int64_t i = 0; i < rows; ++i)
                y[i * y_stride] = store<D>(running = combine<op>(running, load<D>(x[i * x_stride])));
            a[0] = running;
            return;
        }
        for (std::int64_t i = 0; i < rows; ++i, x += x_stride, y += y_stride) {
            TENON_INDEPENDENT
            for (std::int64_t c = 0; c < columns; ++c) y[c] = store<D>(a[c] = combine<op>(a[c], load<D>(x[c])));
        }
    }
};

template <bool max, DType D>
void arg_loop(void* accumulators, std::int64_t* index, std::int64_t columns, const void* data, std::int64_t stride,
              std::int64_t rows, std::int64_t first) {
    using A = Accumulator<D>;
    auto* best = static_cast<A*>(accumulators);
    const auto* x = static_cast<const Stored<D>*>(data);
    const auto beats = [](A v, A b) { return (max ? v > b : v < b) || (v != v && b == b); };
    if (columns == 1) {
        A b = first == 0 ? load<D>(x[0]) : best[0];
        std::int64_t found = first == 0 ? 0 : index[0];
        for (std::int64_t i = 0; i < rows; ++i) {
            const A v = load<D>(x[i * stride]);
            if (beats(v, b)) b = v, found = first + i;
        }
        best[0] = b;
        index[0] = found;
        return;
    }
    for (std::int64_t i = 0; i < rows; ++i, x += stride) {
        const std::int64_t at = first + i;
        TENON_INDEPENDENT
        for (std::int64_t c = 0; c < columns; ++c) {
            const A v = load<D>(x[c]), b = best[c];
            const bool better = at == 0 || beats(v, b);
            best[c] = better ? v : b;
            index[c] = better ? at : index[c];
        }
    }
}

template <Reduction op, DType... D>
void fill(KernelTable& t, Types<D...>) {
    ((t.reduce[static_cast<int>(op)][static_cast<int>(D)] =
          ReduceKernels{&Loops<op, D>::fill, &Loops<op, D>::accumulate, &Loops<op, D>::join, &Loops<op, D>::store_all,
                        &Loops<op, D>::cumulate}),
     ...);
}
template <bool max, DType... D>
void fill_arg(KernelTable& t, Types<D...>) {
    ((t.arg[max ? 0 : 1][static_cast<int>(D)] = &arg_loop<max, D>), ...);
}

}  // namespace

void fill_reduce(KernelTable& t) {
    fill<Reduction::sum>(t, TypesN{});
    fill<Reduction::prod>(t, TypesN{});
    fill<Reduction::max>(t, TypesA{});
    fill<Reduction::min>(t, TypesA{});
    fill_arg<true>(t, TypesA{});
    fill_arg<false>(t, TypesA{});
}

}  // namespace tenon::tape::TENON_ISA
