#include "cuda/blas.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/text.h"
#include "cuda/blaslt.h"
#include "cuda/chain/kronecker.h"
#include "cuda/half_rows.h"
#include "cuda/loops.h"
#include "cuda/matrices.h"
#include "cuda/product_tape.h"
#include "cuda/small_products.h"
#include "product/axes.h"
#include "tenon/error.h"

namespace tenon::cuda {
namespace {

/// Computes a problem whose matrices all have the library's form. It takes one batch axis; the others are a loop here.
void run(Gpu& gpu, const Problem& p, const View& a, const View& b, const View& out, bool tf32) {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype)),
               out_size = static_cast<std::int64_t>(size_of(out.dtype));
    // The library takes the largest batch axis.
    std::vector<Extent> outer = p.batch;
    Extent inner;
    if (!outer.empty()) {
        const auto largest = std::ranges::max_element(outer, {}, &Extent::n);
        inner = *largest;
        outer.erase(largest);
    }
    std::int64_t calls = 1;
    for (const Extent& e : outer) calls *= e.n;
    // The library stores its result column by column: if ours is stored row by row, rows and columns are exchanged.
    const bool swapped = p.n.n == 1 ? p.m.out != 1 : p.n.out == 1;
    for (std::int64_t i = 0; i < calls; ++i) {
        std::int64_t rest = i, at_a = 0, at_b = 0, at_out = 0;
        for (const Extent& e : outer) {
            const std::int64_t at = rest % e.n;
            rest /= e.n;
            at_a += at * e.a, at_b += at * e.b, at_out += at * e.out;
        }
        const auto *pa = a.as<std::byte>() + at_a * size, *pb = b.as<std::byte>() + at_b * size;
        auto* pd = out.as<std::byte>() + at_out * out_size;
        if (swapped) {
            const LtMatrix x = matrix_of(p.n.n, p.n.b, p.k.n, p.k.b, inner.b, pb);
            const LtMatrix y = matrix_of(p.k.n, p.k.a, p.m.n, p.m.a, inner.a, pa);
            const LtMatrix d{p.n.n, p.m.n, p.m.n == 1 ? p.n.n : std::max(p.m.out, p.n.n), 0, inner.out, pd};
            multiply(gpu, x, y, d, a.dtype, out.dtype, inner.n, tf32);
        } else {
            const LtMatrix x = matrix_of(p.m.n, p.m.a, p.k.n, p.k.a, inner.a, pa);
            const LtMatrix y = matrix_of(p.k.n, p.k.b, p.n.n, p.n.b, inner.b, pb);
            const LtMatrix d{p.m.n, p.n.n, p.n.n == 1 ? p.m.n : std::max(p.n.out, p.m.n), 0, inner.out, pd};
            multiply(gpu, x, y, d, a.dtype, out.dtype, inner.n, tf32);
        }
    }
}

/// The problem as small products; nullopt if its axes do not allow that.
std::optional<SmallProducts> small_of(const Problem& p, const View& a, const View& b, const View& out) {
    if (p.batch.empty() || p.batch.size() > 2) return std::nullopt;
    const auto batch = [](const Extent& e, bool swapped) {
        return SmallProducts::Batch{e.n, swapped ? e.b : e.a, swapped ? e.a : e.b, e.out};
    };
    // The contiguous axis of the result must be its columns.
    const bool swapped = p.n.out != 1;
    if (swapped && p.m.out != 1) return std::nullopt;
    SmallProducts s{a.dtype,
                    out.dtype,
                    p.m.n,
                    p.n.n,
                    p.k.n,
                    a.as<std::byte>(),
                    b.as<std::byte>(),
                    out.as<std::byte>(),
                    p.m.a,
                    p.k.a,
                    p.k.b,
                    p.n.b,
                    p.m.out,
                    {},
                    {}};
    if (swapped)
        s = {a.dtype,
             out.dtype,
             p.n.n,
             p.m.n,
             p.k.n,
             b.as<std::byte>(),
             a.as<std::byte>(),
             out.as<std::byte>(),
             p.n.b,
             p.k.b,
             p.k.a,
             p.m.a,
             p.n.out,
             {},
             {}};
    s.inner = batch(p.batch.back(), swapped);
    if (p.batch.size() == 2) s.outer = batch(p.batch.front(), swapped);
    return s;
}

constexpr std::int64_t kMaxCalls = 16;  // of the host, for one contraction

/// A copy of an operand with its axes in the order of the labels in `order`.
struct Copied {
    std::shared_ptr<Storage> storage;
    View view;
};
Copied copied(Gpu& gpu, const View& v, const std::vector<int>& order) {
    Layout from = v.layout;
    for (std::size_t i = 0; i < order.size(); ++i) {
        from.shape[static_cast<int>(i)] = v.layout.shape[order[i]];
        from.strides[static_cast<int>(i)] = v.layout.strides[order[i]];
    }
    Copied c{gpu.allocate(v.layout.count() * static_cast<std::int64_t>(size_of(v.dtype))), {}};
    const Layout packed = Layout::contiguous(from.shape);
    View source = v, target{c.storage->data(), v.dtype, packed};
    source.layout = from;
    copy(gpu, source, target);
    c.view = v;
    c.view.data = c.storage->data();
    for (std::size_t i = 0; i < order.size(); ++i)
        c.view.layout.strides[order[i]] = packed.strides[static_cast<int>(i)];
    return c;
}

bool fits(const Problem& p, const std::vector<Extent>& summed) {
    if (summed.size() > 1) return false;
    if (!is_matrix(p.m.n, p.m.a, p.k.n, p.k.a) || !is_matrix(p.k.n, p.k.b, p.n.n, p.n.b) ||
        !is_matrix(p.m.n, p.m.out, p.n.n, p.n.out))
        return false;
    std::int64_t calls = 1, largest = 1;
    for (const Extent& e : p.batch) {
        if (e.a < 0 || e.b < 0 || e.out < 0) return false;
        calls *= e.n;
        largest = std::max(largest, e.n);
    }
    return calls / largest <= kMaxCalls;
}

/// The positions of an operand's axes: batch, then rows or columns, then summed axes, each in the order of `like`.
std::vector<int> order_of(std::span<const std::uint8_t> labels, std::span<const std::uint8_t> first,
                          std::span<const std::uint8_t> second, std::span<const std::uint8_t> third) {
    std::vector<int> order;
    for (const auto list : {first, second, third})
        for (const std::uint8_t l : list)
            for (std::size_t i = 0; i < labels.size(); ++i)
                if (labels[i] == l) order.push_back(static_cast<int>(i));
    return order;
}

/// Copies operands (and gives the result memory of its own) so that every role is one axis.
void run_on_copies(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels, bool tf32) {
    const auto has = [](std::span<const std::uint8_t> list, std::uint8_t l) {
        return std::find(list.begin(), list.end(), l) != list.end();
    };
    std::vector<std::uint8_t> batch, rows, columns, summed;
    for (const std::uint8_t l : labels.out)
        (has(labels.a, l) ? (has(labels.b, l) ? batch : rows) : columns).push_back(l);
    for (const std::uint8_t l : labels.a)
        if (!has(labels.out, l)) summed.push_back(l);
    const Copied ca = copied(gpu, a, order_of(labels.a, batch, rows, summed)),
                 cb = copied(gpu, b, order_of(labels.b, batch, columns, summed));
    View result = out;
    std::shared_ptr<Storage> apart;
    const std::vector<int> order = order_of(labels.out, batch, rows, columns);
    apart = gpu.allocate(out.layout.count() * static_cast<std::int64_t>(size_of(out.dtype)));
    result.data = apart->data();
    std::int64_t stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
        result.layout.strides[order[i]] = stride;
        stride *= out.layout.shape[order[i]];
    }
    std::vector<Extent> k;
    const Problem p = problem_of(product::assign_roles(ca.view, cb.view, result, labels), k);
    if (!fits(p, k))
        throw ValueError(text("contract of ", to_string(a.shape()), " and ", to_string(b.shape()), " to ",
                              to_string(out.shape()), " on a GPU: more than ", kMaxCalls, " calls of cuBLASLt"));
    run(gpu, p, ca.view, cb.view, result, tf32);
    copy(gpu, result, out);
}

}  // namespace

bool contract(Gpu& gpu, const View& a, const View& b, const View& out, const product::Labels& labels, bool tf32) {
    if (product::is_byte(a.dtype) && product::is_byte(b.dtype) && out.layout.count() > 0 && a.layout.count() > 0 &&
        b.layout.count() > 0)
        return contract_bytes(gpu, a, b, out, labels);
    if (!is_lt_type(a.dtype) || a.dtype != b.dtype || !is_lt_type(out.dtype) || !blas_absent().empty()) return false;
    const product::AxisRoles roles = product::assign_roles(a, b, out, labels);
    if (out.layout.count() == 0) return true;
    if (roles.summed.count() == 0) {
        fill(gpu, 0, out);
        return true;
    }
    if (SquareGradient g; match(a, b, out, labels, g) && takes(gpu, g)) {
        run(gpu, g);
        return true;
    }
    std::vector<Extent> summed;
    const Problem p = problem_of(roles, summed);
    if (summed.size() <= 1)
        if (const auto small = small_of(p, a, b, out); small && declines(gpu, *small).empty()) {
            run(gpu, *small);
            return true;
        }
    if (summed.size() <= 1 && p.batch.empty() && out.dtype == a.dtype) {
        const auto few = half_rows_of(a.dtype, p.m, p.n, p.k, a.data, b.data, out.data);
        if (few && declines(gpu, *few).empty()) {
            run(gpu, *few);
            return true;
        }
    }
    if (fits(p, summed))
        run(gpu, p, a, b, out, tf32);
    else
        run_on_copies(gpu, a, b, out, labels, tf32);
    return true;
}

}  // namespace tenon::cuda
