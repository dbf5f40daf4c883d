#include "factorization/factorization.h"

#include <algorithm>
#include <vector>

#include "base/by_isa.h"
#include "base/caches.h"
#include "base/parallel.h"
#include "factorization/large.h"
#include "factorization/small.h"
#include "lapack/lapack.h"
#include "product/dense/scratch.h"
#include "product/float_environment.h"
#include "tenon/threads.h"

namespace tenon::factorization {
namespace {

/// Work, rows times rows times columns, below which a group is not worth another thread.
constexpr std::int64_t kTaskWork = 1 << 15;

/// Results of this many bytes are written by nontemporal stores: in the caches they would only evict other data.
constexpr std::int64_t kStreamed = 16 << 20;

struct Options {
    bool vectors = true, full = false, reference = false;
};

const IsaKernels& kernels_of(Isa isa) { return TENON_BY_ISA(isa, kFactorization); }

template <class T>
const Kernels<T>& choose(const IsaKernels& all, bool one) {
    if constexpr (sizeof(T) == 4)
        return one ? all.f32_one : all.f32;
    else
        return one ? all.f64_one : all.f64;
}

template <class T>
const Kernels<T>& large_kernels() {
    if constexpr (sizeof(T) == 4)
        return kLargeFloat;
    else
        return kLargeDouble;
}

/// Where matrix `index` of a batch begins.
std::int64_t offset_of(const Layout& a, std::int64_t index) {
    std::int64_t offset = 0;
    for (int axis = a.rank() - 3; axis >= 0; --axis) {
        offset += index % a.shape[axis] * a.strides[axis];
        index /= a.shape[axis];
    }
    return offset;
}

template <class T>
void run(void (*Kernels<T>::*kernel)(const Group<T>&), const View& a, const View& out, const Options& options) {
    const int rank = a.layout.rank();
    const std::int64_t m = a.shape()[rank - 2], n = a.shape()[rank - 1], size = out.shape().back();
    const std::int64_t batch = size > 0 ? out.layout.count() / size : 0;
    if (batch == 0) return;
    const bool small = (m <= kSmall && n <= kSmall) || m == 0 || n == 0, large = !small && lapack::available();
    const Kernels<T>& kernels = large               ? large_kernels<T>()
                                : options.reference ? choose<T>(baseline::kFactorization, true)
                                                    : choose<T>(kernels_of(isa()), !small);
    const std::int64_t lanes = kernels.lanes, groups = (batch + lanes - 1) / lanes;
    const std::int64_t scratch = large || m == 0 || n == 0 ? 0 : scratch_elements(m, n) * lanes;
    const std::int64_t grain =
        std::max<std::int64_t>(1, kTaskWork / std::max<std::int64_t>(1, lanes * std::max(m, n) * m * n));
    const bool stream = !large && out.layout.count() * std::int64_t{sizeof(T)} >= kStreamed;
    // Prefetches the next group. From memory this gains on a Zen 4. Elsewhere the prefetched data evicts what is being
    // used, and on an Emerald Rapids it loses.
    const bool fetches = stream && !caches().large_l2();
    const auto some = [&](std::int64_t begin, std::int64_t end) {
        const product::FloatEnvironment environment(product::Subnormals::keep);
        const product::dense::Scratch memory(static_cast<std::size_t>(scratch) * sizeof(T));
        std::vector<const T*> in(static_cast<std::size_t>(lanes)), next(in);
        std::vector<T*> to(static_cast<std::size_t>(lanes));
        const auto find = [&](std::int64_t group) {
            for (std::int64_t i = 0; i < std::min(lanes, batch - group * lanes); ++i)
                next[static_cast<std::size_t>(i)] = a.as<const T>() + offset_of(a.layout, group * lanes + i);
        };
        if (begin < end) find(begin);
        for (std::int64_t group = begin; group < end; ++group) {
            const std::int64_t first = group * lanes, left = batch - first, count = std::min(lanes, left);
            std::swap(in, next);
            if (group + 1 < end) find(group + 1);
            for (std::int64_t i = 0; i < count; ++i) to[static_cast<std::size_t>(i)] = out.as<T>() + (first + i) * size;
            const bool another = fetches && group + 1 < end && count <= left - lanes;
            (kernels.*kernel)({in.data(), to.data(), count, m, n, a.layout.strides[rank - 2],
                               a.layout.strides[rank - 1], options.vectors, options.full, stream,
                               reinterpret_cast<T*>(memory.data()), another ? next.data() : nullptr});
        }
    };
    // A few large matrices: the threads work together on each.
    if (large && batch < num_threads()) return some(0, batch);
    parallel_for(groups, grain, some);
}

void run(void (*Kernels<float>::*f32)(const Group<float>&), void (*Kernels<double>::*f64)(const Group<double>&),
         const View& a, const View& out, const Options& options) {
    if (a.dtype == DType::float32) return run(f32, a, out, options);
    run(f64, a, out, options);
}

template <class T>
void run_systems(const View& a, const View& b, const View& out, const TriangularSystems& systems) {
    const int rank = a.layout.rank();
    const auto steps = [&](const View& v, bool exchanged) {
        const std::int64_t row = v.layout.strides[rank - 2], column = v.layout.strides[rank - 1];
        return exchanged ? Steps{column, row} : Steps{row, column};
    };
    // From the right: the transpose of everything, on the left.
    const bool right = systems.right, exchanged = systems.transpose != right;
    const std::int64_t n = a.shape().back(), m = out.shape()[right ? rank - 2 : rank - 1], size = n * m;
    if (out.layout.count() == 0) return;
    const Kernels<T>& kernels = choose<T>(kernels_of(isa()), false);
    const std::int64_t batch = out.layout.count() / size, lanes = kernels.lanes;
    const std::int64_t grain = std::max<std::int64_t>(1, kTaskWork / (lanes * n * (n + m)));
    parallel_for((batch + lanes - 1) / lanes, grain, [&](std::int64_t begin, std::int64_t end) {
        const product::FloatEnvironment environment(product::Subnormals::keep);
        const product::dense::Scratch memory(static_cast<std::size_t>(scratch_elements(n, m) * lanes) * sizeof(T));
        std::vector<const T*> as(static_cast<std::size_t>(lanes)), bs(as);
        std::vector<T*> xs(static_cast<std::size_t>(lanes));
        for (std::int64_t group = begin; group < end; ++group) {
            const std::int64_t first = group * lanes, count = std::min(lanes, batch - first);
            for (std::int64_t i = 0; i < count; ++i) {
                const auto lane = static_cast<std::size_t>(i);
                as[lane] = a.as<const T>() + offset_of(a.layout, first + i);
                bs[lane] = b.as<const T>() + offset_of(b.layout, first + i);
                xs[lane] = out.as<T>() + (first + i) * size;
            }
            kernels.solve({as.data(), bs.data(), xs.data(), count, n, m, steps(a, exchanged), steps(b, right),
                           steps(out, right), systems.lower == exchanged, systems.unit,
                           reinterpret_cast<T*>(memory.data())});
        }
    });
}

}  // namespace

void solve(const View& a, const View& b, const View& out, const TriangularSystems& systems) {
    if (a.dtype == DType::float32) return run_systems<float>(a, b, out, systems);
    run_systems<double>(a, b, out, systems);
}

void cholesky(const View& a, const View& out, bool reference) {
    View rows = out;  // (..., n, n) as (..., n n)
    Shape flat = out.shape();
    const std::int64_t n = flat.back();
    flat.erase(flat.rank() - 1);
    flat[flat.rank() - 1] = n * n;
    rows.layout = Layout::contiguous(flat);
    run(&Kernels<float>::cholesky, &Kernels<double>::cholesky, a, rows, {.reference = reference});
}

void lu(const View& a, const View& out, bool reference) {
    run(&Kernels<float>::lu, &Kernels<double>::lu, a, out, {.reference = reference});
}

void qr(const View& a, const View& out, bool full, bool reference) {
    run(&Kernels<float>::qr, &Kernels<double>::qr, a, out, {.full = full, .reference = reference});
}

void eigh(const View& a, const View& out, bool vectors, bool reference) {
    run(&Kernels<float>::eigh, &Kernels<double>::eigh, a, out, {.vectors = vectors, .reference = reference});
}

void svd(const View& a, const View& out, bool vectors, bool full, bool reference) {
    run(&Kernels<float>::svd, &Kernels<double>::svd, a, out,
        {.vectors = vectors, .full = full, .reference = reference});
}

}  // namespace tenon::factorization
