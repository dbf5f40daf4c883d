// From matrices in memory to vector lanes, the factorizations, and back: compiled for each instruction set, and with
// one lane for the reference.
#pragma once

#include "factorization/small.h"
#include "factorization/solve.h"
#include "factorization/svd.h"
#include "factorization/triangles.h"

namespace tenon::factorization {
namespace {

/// Loads the matrices (rows, columns) of `count` lanes: element (i, j) of all of them goes to `to` + i down + j right;
/// lanes without a matrix get the first one. `offset`: where to begin in each.
template <class L>
void load_matrices(const typename L::Element* const* a, std::int64_t count, const Steps& steps, std::int64_t rows,
                   std::int64_t columns, typename L::Element* to, std::int64_t down, std::int64_t right,
                   std::int64_t offset = 0) {
    const typename L::Element* from[L::kLanes];
    for (std::int64_t lane = 0; lane < L::kLanes; ++lane) from[lane] = a[lane < count ? lane : 0] + offset;
    if (steps.column == 1) {
        for (std::int64_t i = 0; i < rows; ++i) load_runs<L>(from, i * steps.row, columns, to + i * down, right);
    } else if (steps.row == 1) {
        for (std::int64_t j = 0; j < columns; ++j) load_runs<L>(from, j * steps.column, rows, to + j * right, down);
    } else {
        for (std::int64_t lane = 0; lane < L::kLanes; ++lane)
            for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = 0; j < columns; ++j)
                    to[i * down + j * right + lane] = from[lane][i * steps.row + j * steps.column];
    }
}

/// Rows begin, ..., end - 1 of square matrices whose lower triangle is read: nothing to the right of the vector with a
/// row's diagonal is needed.
template <class L>
void load_lower(const Group<typename L::Element>& g, const Matrices<L>& to, std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t N = L::kLanes;
    for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t whole = g.column_stride == 1 ? i / N * N + N : i + 1;
        load_matrices<L>(g.a, g.count, {0, g.column_stride}, 1, whole < g.columns ? whole : g.columns, to.at(i, 0), 0,
                         N, i * g.row_stride);
    }
}

/// Whole matrices, or their lower triangles.
template <class L>
void load_lanes(const Group<typename L::Element>& g, const Matrices<L>& to, bool transposed, bool lower = false) {
    if (lower && g.column_stride == 1) return load_lower(g, to, 0, g.rows);
    const Steps steps = transposed ? Steps{g.column_stride, g.row_stride} : Steps{g.row_stride, g.column_stride};
    load_matrices<L>(g.a, g.count, steps, transposed ? g.columns : g.rows, transposed ? g.rows : g.columns, to.data,
                     to.step * L::kLanes, L::kLanes);
}

/// A result (rows, columns) by rows, `offset` elements from the beginning of a matrix's results; or its transpose.
template <class L>
void store_lanes(const Group<typename L::Element>& g, std::int64_t offset, const Matrices<L>& m, std::int64_t rows,
                 std::int64_t columns, bool transposed = false) {
    for (std::int64_t i = 0; i < (transposed ? columns : rows); ++i) {
        const std::int64_t count = transposed ? rows : columns, step = transposed ? m.step * L::kLanes : L::kLanes;
        store_runs<L>(g.out, g.count, offset + i * count, count, transposed ? m.at(0, i) : m.at(i, 0), step, g.stream);
    }
}

/// After the last stores of a group: other threads then see them.
template <class L>
TENON_INLINE void finish_stores(const Group<typename L::Element>& g) {
    if constexpr (L::kLanes > 1)
        if (g.stream) L::fence();
}

/// Prefetches rows begin, ..., end - 1 of the lower triangles that come next.
template <class L>
TENON_INLINE void fetch_rows(const Group<typename L::Element>& g, std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kLine = 64 / std::int64_t{sizeof(typename L::Element)};
    if (g.column_stride != 1) return;
    for (std::int64_t lane = 0; lane < g.count; ++lane)
        for (std::int64_t i = begin; i < end; ++i)
            for (std::int64_t j = 0; j <= i; j += kLine) __builtin_prefetch(g.next[lane] + i * g.row_stride + j, 0, 2);
}

/// Rows begin, ..., end - 1 of a lower or upper triangle (n, n) with zeros in the other.
template <class L>
void store_triangle(const Group<typename L::Element>& g, std::int64_t offset, const Matrices<L>& m, std::int64_t n,
                    bool lower, std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t N = L::kLanes;
    for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t square = i / N * N, after = square + N < n ? square + N : n;
        for (std::int64_t j = lower ? i + 1 : square; j < (lower ? after : i); ++j) m.set(i, j, L::set(0));
        store_runs<L>(g.out, g.count, offset + i * n, n, m.at(i, 0), N, g.stream,
                      lower ? Zeros{after, n} : Zeros{0, square});
    }
}

/// The iterations never see values that are not finite: such matrices become zeros, and their mask is returned. The
/// others are multiplied by the power of two that brings their largest element to 1; its inverse goes to `scale`.
template <class L>
typename L::Mask normalize(const Matrices<L>& a, std::int64_t rows, std::int64_t columns, typename L::Reg& scale,
                           bool lower) {
    using T = typename L::Element;
    using Reg = typename L::Reg;
    const Reg zero = L::set(T(0));
    Reg largest = zero, poison = zero;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < (lower ? i + 1 : columns); ++j) {
            const Reg x = a.get(i, j);
            largest = larger<L>(L::abs(x), largest);
            poison = L::fma(x, zero, poison);  // NaN if an x is not finite
        }
    const auto bad = L::negated(poison == zero);
    scale = larger<L>(L::power(largest), L::set(Limits<T>::kNormal));
    scale = L::select(bad, L::set(T(1)), scale);
    const Reg down = L::set(T(1)) / scale;
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < (lower ? i + 1 : columns); ++j)
            a.set(i, j, L::select(bad, zero, a.get(i, j) * down));
    return bad;
}

/// For results: NaN if the matrix was not finite, or an iteration did not converge. Adding 0 makes every zero +0, since
/// its sign would depend on how long a lane was idle.
template <class L>
TENON_INLINE typename L::Reg finished(typename L::Mask bad, typename L::Reg x) {
    using T = typename L::Element;
    return L::select(bad, L::set(Limits<T>::kNaN), x + L::set(T(0)));
}

/// Rows are loaded and stored as they are needed, so that memory accesses overlap with the computation of other rows.
template <class L>
void cholesky(const Group<typename L::Element>& g) {
    const std::int64_t n = g.rows;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(n, n);
    const bool by_rows = g.column_stride == 1;
    if (!by_rows) load_lanes(g, a, false, true);
    const auto before = [&](std::int64_t begin, std::int64_t end) {
        if (by_rows) load_lower(g, a, begin, end);
        if (g.next) fetch_rows<L>(g, begin, end);
    };
    const auto after = [&](std::int64_t begin, std::int64_t end) { store_triangle(g, 0, a, n, true, begin, end); };
    if (factor_cholesky(a, n, memory.vector(n), before, after)) store_triangle(g, 0, a, n, true, 0, n);
    finish_stores<L>(g);
}

template <class L>
void lu(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    constexpr std::int64_t N = L::kLanes;
    const std::int64_t m = g.rows, n = g.columns, k = m < n ? m : n;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n);
    T* const pivots = memory.vector(k);
    // If a row's elements are contiguous, columns are loaded when they are needed, from rows that were already
    // exchanged. With narrower vectors, whose squares are small, that costs as much as it saves.
    const bool parts = L::kTile == 4 && g.column_stride == 1;
    const T** const rows =
        reinterpret_cast<const T**>(memory.vector(m * (std::int64_t{sizeof(T*)} / std::int64_t{sizeof(T)})));
    for (std::int64_t i = 0; i < m && parts; ++i)
        for (std::int64_t lane = 0; lane < N; ++lane)
            rows[i * N + lane] = g.a[lane < g.count ? lane : 0] + i * g.row_stride;
    const auto load = [&](std::int64_t begin, std::int64_t end) {
        if (!parts) return load_lanes(g, a, false);
        for (std::int64_t i = 0; i < m; ++i) load_runs<L>(rows + i * N, begin, end - begin, a.at(i, begin), N);
    };
    const auto exchanged = [&](std::int64_t i) {
        for (std::int64_t lane = 0; lane < N && parts; ++lane) {
            const auto p = static_cast<std::int64_t>(pivots[i * N + lane]);
            const T* const t = rows[i * N + lane];
            rows[i * N + lane] = rows[p * N + lane];
            rows[p * N + lane] = t;
        }
    };
    factor_lu(a, m, n, parts ? N : n, pivots, load, exchanged);
    store_lanes(g, 0, a, m, n);
    finish_stores<L>(g);
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T* const permutation = g.out[lane] + m * n;
        for (std::int64_t i = 0; i < m; ++i) permutation[i] = static_cast<T>(i);
        for (std::int64_t i = 0; i < k; ++i) {
            const auto p = static_cast<std::int64_t>(pivots[i * N + lane]);
            const T t = permutation[i];
            permutation[i] = permutation[p];
            permutation[p] = t;
        }
    }
}

template <class L>
void qr(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    const std::int64_t m = g.rows, n = g.columns, columns = g.full ? m : n;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n), q = memory.matrices(m, columns);
    T* const taus = memory.vector(n);
    load_lanes(g, a, false);
    factor_qr(a, m, n, taus);
    form_q(a, 0, n, taus, q, m, columns);
    store_lanes(g, 0, q, m, columns);
    store_triangle(g, m * columns, a, n, false, 0, n);
    finish_stores<L>(g);
}

/// The permutation that sorts `count` values of a lane, stable; returns false if they are already sorted.
template <class L>
bool sort_positions(const typename L::Element* values, std::int64_t lane, std::int64_t count, bool descending,
                    typename L::Element* order) {
    using T = typename L::Element;
    bool moved = false;
    for (std::int64_t i = 0; i < count; ++i) {
        const T x = values[i * L::kLanes + lane];
        std::int64_t k = i;
        for (; k > 0; --k) {
            const T before = values[static_cast<std::int64_t>(order[k - 1]) * L::kLanes + lane];
            if (descending ? !(before < x) : !(before > x)) break;
            order[k] = order[k - 1];
            moved = true;
        }
        order[k] = static_cast<T>(i);
    }
    return moved;
}

/// Permutes the first `count` of a matrix's columns (`step` 1, rows `other` elements apart) or rows (the other way
/// round) by `order`; `line` is scratch of `count`.
template <class T>
void reorder(T* matrix, std::int64_t count, std::int64_t step, std::int64_t others, std::int64_t other, const T* order,
             T* line) {
    for (std::int64_t i = 0; i < others; ++i) {
        T* const x = matrix + i * other;
        for (std::int64_t j = 0; j < count; ++j) line[j] = x[static_cast<std::int64_t>(order[j]) * step];
        for (std::int64_t j = 0; j < count; ++j) x[j * step] = line[j];
    }
}

template <class L>
void eigh(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    constexpr std::int64_t S = L::kLanes;
    const std::int64_t n = g.rows;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(n, n), z = memory.matrices(n, n);
    const EighMemory<L> work(memory, n);
    T *const order = memory.vector(n), *const line = memory.vector(n);
    load_lanes(g, a, false, true);
    typename L::Reg scale;
    auto bad = normalize(a, n, n, scale, true);
    bad = L::either(bad, solve_symmetric(a, n, z, g.vectors, work));
    for (std::int64_t i = 0; i < n; ++i) {
        L::store(work.d + i * S, finished<L>(bad, L::load(work.d + i * S) * scale));
        for (std::int64_t j = 0; g.vectors && j < n; ++j) z.set(i, j, finished<L>(bad, z.get(i, j)));
    }
    if (g.vectors) store_lanes(g, n, z, n, n);
    finish_stores<L>(g);
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T* const values = g.out[lane];
        const bool moved = sort_positions<L>(work.d, lane, n, false, order);
        for (std::int64_t j = 0; j < n; ++j) values[j] = work.d[static_cast<std::int64_t>(order[j]) * S + lane];
        if (g.vectors && moved) reorder(values + n, n, 1, n, n, order, line);
    }
}

template <class L>
void svd(const Group<typename L::Element>& g) {
    using T = typename L::Element;
    constexpr std::int64_t S = L::kLanes;
    // For a wide matrix, that of its transpose: U and V are then exchanged.
    const bool wide = g.rows < g.columns;
    const std::int64_t m = wide ? g.columns : g.rows, n = wide ? g.rows : g.columns;
    const std::int64_t left = g.full ? m : n;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(m, n), x = memory.matrices(n, n), v = memory.matrices(n, n),
                      u = memory.matrices(m, left), square = memory.matrices(n, n);
    const EighMemory<L> work(memory, n);
    T *const taus = memory.vector(n), *const values = memory.vector(n), *const order = memory.vector(n),
             *const line = memory.vector(m);
    load_lanes(g, a, wide);
    typename L::Reg scale;
    auto bad = normalize(a, m, n, scale, false);
    const typename L::Reg zero = L::set(T(0));
    if (m > n) factor_qr(a, m, n, taus);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) x.set(i, j, m > n && j < i ? zero : a.get(i, j));
    bad = L::either(bad, solve_square(x, n, square, u, v, g.vectors, values, work));
    for (std::int64_t j = 0; j < n; ++j) L::store(values + j * S, finished<L>(bad, L::load(values + j * S) * scale));
    if (g.vectors) {
        if (m > n) {
            for (std::int64_t i = 0; i < m; ++i)
                for (std::int64_t j = 0; j < left; ++j)
                    if (i >= n || j >= n) u.set(i, j, L::set(i == j ? T(1) : T(0)));
            apply_q(a, 0, n, taus, u, m, left, false);
        }
        for (std::int64_t j = 0; j < left; ++j) {
            for (std::int64_t i = 0; i < m; ++i) u.set(i, j, finished<L>(bad, u.get(i, j)));
            for (std::int64_t i = 0; j < n && i < n; ++i) v.set(i, j, finished<L>(bad, v.get(i, j)));
        }
        // U (rows, .), then V^T.
        store_lanes(g, wide ? n + n * n : n, u, m, left, wide);
        store_lanes(g, wide ? n : n + m * left, v, n, n, wide);
        finish_stores<L>(g);
    }
    for (std::int64_t lane = 0; lane < g.count; ++lane) {
        T* const out = g.out[lane];
        const bool moved = sort_positions<L>(values, lane, n, true, order);
        for (std::int64_t j = 0; j < n; ++j) out[j] = values[static_cast<std::int64_t>(order[j]) * S + lane];
        if (!g.vectors || !moved) continue;
        T *const us = out + (wide ? n + n * n : n), *const vs = out + (wide ? n : n + m * left);
        reorder(us, n, wide ? m : 1, m, wide ? 1 : left, order, line);
        reorder(vs, n, wide ? 1 : n, n, wide ? n : 1, order, line);
    }
}

template <class L>
void solve(const Systems<typename L::Element>& g) {
    const std::int64_t n = g.n, m = g.m;
    Memory<L> memory(g.scratch);
    const Matrices<L> a = memory.matrices(n, n), b = memory.matrices(n, m);
    const std::int64_t right = L::kLanes, a_down = a.step * right, b_down = b.step * right;
    // With rows and columns reversed, an upper triangle is a lower one.
    if (g.upper) {
        load_matrices<L>(g.a, g.count, g.a_steps, n, n, a.at(n - 1, n - 1), -a_down, -right);
        load_matrices<L>(g.b, g.count, g.b_steps, n, m, b.at(n - 1, 0), -b_down, right);
    } else {
        load_matrices<L>(g.a, g.count, g.a_steps, n, n, a.data, a_down, right);
        load_matrices<L>(g.b, g.count, g.b_steps, n, m, b.data, b_down, right);
    }
    solve_lower(a, b, n, m, g.unit);
    if (g.x_steps.column == 1) {
        for (std::int64_t i = 0; i < n; ++i)
            store_runs<L>(g.x, g.count, i * g.x_steps.row, m, b.at(g.upper ? n - 1 - i : i, 0), right, false);
    } else {
        for (std::int64_t j = 0; j < m; ++j)
            store_runs<L>(g.x, g.count, j * g.x_steps.column, n, b.at(g.upper ? n - 1 : 0, j),
                          g.upper ? -b_down : b_down, false);
    }
}

template <class L>
constexpr Kernels<typename L::Element> kernels() {
    return {L::kLanes, cholesky<L>, lu<L>, qr<L>, eigh<L>, svd<L>, solve<L>};
}

constexpr IsaKernels kAll = {kernels<Many<float>>(), kernels<One<float>>(), kernels<Many<double>>(),
                             kernels<One<double>>()};

}  // namespace
}  // namespace tenon::factorization
