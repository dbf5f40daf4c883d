#include "cuda/chain/match.h"

#include <algorithm>
#include <vector>

#include "product/axes.h"

namespace tenon::cuda {
namespace {

using product::Axis;
using product::AxisList;

/// An axis's extent, and its strides in x (or y), in the core and in z; 0 where a tensor does not have the axis.
struct Sides {
    std::int64_t extent = 1, x = 0, core = 0, z = 0;
};

/// The axes of a product by their role in a layer. Those of extent 1 are left out.
struct Roles {
    std::vector<Sides> batch, rows, columns, summed;  // rows are axes of x (or z) alone, columns of the core alone
};

/// `own` gives an axis's Sides. `is_a` tells whether the product's a is the operand with the rows (x or z).
template <class F>
Roles roles_of(const product::AxisRoles& r, bool is_a, F own) {
    const auto sides = [&](const AxisList& axes) {
        std::vector<Sides> all;
        for (const Axis& axis : axes)
            if (axis.extent != 1) all.push_back(own(axis));
        return all;
    };
    return {sides(r.batch), sides(is_a ? r.rows : r.columns), sides(is_a ? r.columns : r.rows), sides(r.summed)};
}

/// The roles in the first product, of x and a core to z.
Roles roles_of_first(const product::AxisRoles& r, bool x_is_a) {
    return roles_of(r, x_is_a, [&](const Axis& axis) {
        return Sides{axis.extent, x_is_a ? axis.a : axis.b, x_is_a ? axis.b : axis.a, axis.out};
    });
}

/// The roles in the second product, of z and a core to y. Rows are axes of z alone.
Roles roles_of_second(const product::AxisRoles& r, bool z_is_a) {
    return roles_of(r, z_is_a, [&](const Axis& axis) {
        return Sides{axis.extent, axis.out, z_is_a ? axis.b : axis.a, z_is_a ? axis.a : axis.b};
    });
}

const Sides* by_z(const std::vector<Sides>& axes, std::int64_t stride) {
    const auto at = std::find_if(axes.begin(), axes.end(), [&](const Sides& s) { return s.z == stride; });
    return at == axes.end() ? nullptr : &*at;
}

/// Why no pass on the device can take the chain; null where one may.
const char* has_more(const product::Chain& c) {
    for (const DType t : {c.a.dtype, c.b.dtype, c.c.dtype, c.product, c.out.dtype})
        if (t != DType::bfloat16) return "the device's chains are of bfloat16";
    if (c.between || c.epilogue) return "there is work between the products, or after them";
    if (c.finish.alpha != 1 || c.finish.beta != 0) return "the result is scaled or added to";
    return nullptr;
}

/// The roles of both products' axes, with the intermediate stored row-major.
struct Pair {
    Layout stored;
    product::AxisRoles first, second;
    explicit Pair(const product::Chain& c) : stored(Layout::contiguous(product::intermediate_shape(c))) {
        const View z{nullptr, c.product, stored}, read{nullptr, c.product, c.reading.rank() ? c.reading : stored};
        first = product::assign_roles(c.a, c.b, z, c.first);
        second = product::assign_roles(c.z_is_a ? read : c.c, c.z_is_a ? c.c : read, c.out, c.second);
    }
    /// The stride of z's axis in the tensor that keeps the intermediate.
    std::int64_t kept(const product::Chain& c, const Sides& axis) const {
        for (int i = 0; i < stored.rank(); ++i)
            if (stored.shape[i] == axis.extent && stored.strides[i] == axis.z) return c.kept_product->layout.strides[i];
        return 0;
    }
};

}  // namespace

const char* match(const product::Chain& c, MatchedPass& m) {
    constexpr const char* kOther = "the pair is no two-factor layer";
    if (const char* why = has_more(c)) return why;
    if (c.reading.offset != 0) return kOther;
    const Pair pair(c);
    for (const bool x_is_a : {true, false}) {
        const Roles one = roles_of_first(pair.first, x_is_a), two = roles_of_second(pair.second, c.z_is_a);
        if (one.batch.size() != 1 || one.rows.size() > 1 || one.summed.size() != 1 || one.columns.empty() ||
            one.columns.size() > 2 || two.batch.size() != 1 || two.rows.size() != one.rows.size() ||
            two.columns.size() != 1 || two.summed.size() != one.columns.size())
            continue;
        const bool one_row = one.rows.empty();  // Axes of extent 1 are left out.
        const Sides rows = one_row ? Sides{} : one.rows[0], rows_of_y = one_row ? Sides{} : two.rows[0];
        const Sides &group = one.batch[0], &inner = one.summed[0];
        const Sides* other = by_z(one.columns, two.batch[0].z);
        if (!other || rows_of_y.z != rows.z || !by_z(two.summed, group.z)) continue;
        const Sides* rank = one.columns.size() == 2 ? &one.columns[other == &one.columns[0]] : nullptr;
        const Sides* rank_summed = rank ? by_z(two.summed, rank->z) : nullptr;
        if (rank && !rank_summed) continue;
        const auto extent = [](const Sides& axis) {
            return static_cast<int>(std::min<std::int64_t>(axis.extent, 1 << 20));
        };
        const BlockSizes n{extent(group), extent(inner), extent(*other), extent(two.columns[0])};
        const bool equal = n.groups == n.inner && n.groups == n.others && n.groups == n.outer;
        const ChainShape s{rows.extent, equal ? n.groups : 0, rank ? extent(*rank) : 1, equal ? BlockSizes{} : n};
        if ((!one_row &&
             (rows.x != group.extent * inner.extent || rows_of_y.x != other->extent * two.columns[0].extent)) ||
            group.x != inner.extent || inner.x != 1 || two.batch[0].x != two.columns[0].extent || two.columns[0].x != 1)
            return "the layer's input or output has gaps";
        const View &x = x_is_a ? c.a : c.b, &core = x_is_a ? c.b : c.a;
        m.pass.shape = s;
        m.x_is_a = x_is_a;
        m.pass.x = x.data;
        m.pass.first = {core.data, {group.core, other->core, rank ? rank->core : 0, inner.core}};
        m.pass.second = {
            c.c.data,
            {two.batch[0].core, by_z(two.summed, group.z)->core, rank ? rank_summed->core : 0, two.columns[0].core}};
        m.pass.y = c.out.data;
        if (!c.kept_product) return nullptr;
        const auto kept = [&](const Sides& axis) { return pair.kept(c, axis); };
        m.kept = {kept(rows), {kept(*other), kept(group), rank ? kept(*rank) : 0, 0}};
        return nullptr;
    }
    return kOther;
}

const char* match(const product::Chain& c, KroneckerPass& p, bool& is_a) {
    constexpr const char* kOther = "the pair is no two-factor layer";
    constexpr std::int64_t kSide = 64;
    if (const char* why = has_more(c)) return why;
    if (c.reading.offset != 0) return kOther;
    const Pair pair(c);
    /// Whether a row's two axes form a contiguous matrix in which the first one is innermost.
    const auto lies = [](std::int64_t inner, std::int64_t outer) { return inner == 1 && outer == kSide; };
    for (const bool x_is_a : {true, false}) {
        const Roles one = roles_of_first(pair.first, x_is_a), two = roles_of_second(pair.second, c.z_is_a);
        if (!one.batch.empty() || one.rows.empty() || one.rows.size() > 2 || one.columns.size() != 1 ||
            one.summed.size() != 1 || !two.batch.empty() || two.rows.size() != one.rows.size() ||
            two.columns.size() != 1 || two.summed.size() != 1)
            continue;
        const bool one_row = one.rows.size() == 1;  // Axes of extent 1 are left out.
        const Sides only{1, kSide * kSide, 0, 0};
        const Sides &k = one.summed[0], &m = one.columns[0], &l = two.columns[0];
        const Sides* n = by_z(one.rows, two.summed[0].z);
        if (!n || !by_z(two.rows, m.z)) continue;
        const Sides& rows = one_row ? only : one.rows[n == &one.rows[0] ? 1 : 0];
        const Sides *rows_of_y = one_row ? &only : by_z(two.rows, rows.z), *m_of_y = by_z(two.rows, m.z);
        if (!rows_of_y || n->extent != kSide || k.extent != kSide || m.extent != kSide || l.extent != kSide) continue;
        const bool x_last = lies(k.x, n->x), x_first = lies(n->x, k.x), y_straight = lies(l.x, m_of_y->x),
                   y_transposed = lies(m_of_y->x, l.x);
        if (rows.x != kSide * kSide || rows_of_y->x != kSide * kSide || (!x_last && !x_first) ||
            (!y_straight && !y_transposed))
            return "the layer's input or output has gaps";
        p = {};
        p.rows = rows.extent;
        p.sums_first = x_first, p.y_transposed = y_transposed;
        p.x = (x_is_a ? c.a : c.b).data;
        p.first = {(x_is_a ? c.b : c.a).data, m.core, k.core};
        p.second = {c.c.data, l.core, two.summed[0].core};
        p.y = c.out.data;
        is_a = x_is_a;
        if (!c.kept_product) return nullptr;
        p.keeps = true, p.kept = c.kept_product->data;
        p.kept_transposed = lies(pair.kept(c, m), pair.kept(c, *n));
        if ((!p.kept_transposed && !lies(pair.kept(c, *n), pair.kept(c, m))) ||
            (!one_row && pair.kept(c, rows) != kSide * kSide))
            return "what is kept of the intermediate has other axes";
        return nullptr;
    }
    return kOther;
}

bool match(const View& a, const View& b, const View& out, const product::Labels& labels, bool z_is_a,
           const ChainShape& shape, const IntermediateStrides& intermediate, CoreGradient& m) {
    const DType core = out.dtype;
    if (a.dtype != DType::bfloat16 || b.dtype != DType::bfloat16 || (core != DType::bfloat16 && core != DType::float32))
        return false;
    // In roles_of_second's terms, the product's rows are axes of z, its columns are axes of x, and it sums over the
    // layer's rows.
    const Roles r = roles_of_second(product::assign_roles(a, b, out, labels), z_is_a);
    if (r.batch.size() != 1 || r.columns.size() != 1 || r.summed.size() != 1 ||
        r.rows.size() != (shape.rank > 1 ? 2u : 1u))
        return false;
    const std::int64_t n = shape.block;
    const Sides *other = by_z(r.rows, intermediate.z.other),
                *rank = shape.rank > 1 ? by_z(r.rows, intermediate.z.rank) : nullptr;
    if (!other || (shape.rank > 1 && (!rank || rank->extent != shape.rank))) return false;
    // Here Sides::x is the stride in the output, and Sides::core that in the other operand.
    const Sides &group = r.batch[0], &inner = r.columns[0], &rows = r.summed[0];
    if (group.extent != n || inner.extent != n || other->extent != n || rows.extent != shape.rows ||
        group.z != intermediate.z.group || rows.z != intermediate.row)
        return false;
    if (group.core != n || inner.core != 1 || rows.core != shape.width()) return false;
    m = {shape,
         (z_is_a ? b : a).data,
         (z_is_a ? a : b).data,
         core,
         out.data,
         {group.x, other->x, rank ? rank->x : 0, inner.x}};
    return out.layout.is_contiguous();
}

}  // namespace tenon::cuda
