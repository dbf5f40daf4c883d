#include "cuda/chain/match.h"

#include <algorithm>
#include <vector>

#include "product/axes.h"

namespace tenon::cuda {
namespace {

using product::Axis;
using product::AxisList;

/// An axis seen from three sides: its strides in x (or y), in the core, and in z. 0 where they lack it.
struct Sides {
    std::int64_t extent = 1, x = 0, core = 0, z = 0;
};

/// The axes of a product by what they are to a layer. Those of extent 1 are left out.
struct Roles {
    std::vector<Sides> batch, rows, columns, summed;  // rows are x's alone, columns the core's
};

/// `own` says of an axis what it is from the three sides; rows are those of the operand x or z, which is a or b.
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

/// The first product reads x and a core and gives z.
Roles roles_of_first(const product::AxisRoles& r, bool x_is_a) {
    return roles_of(r, x_is_a, [&](const Axis& axis) {
        return Sides{axis.extent, x_is_a ? axis.a : axis.b, x_is_a ? axis.b : axis.a, axis.out};
    });
}

/// The second reads z and a core and gives y: rows are z's alone.
Roles roles_of_second(const product::AxisRoles& r, bool z_is_a) {
    return roles_of(r, z_is_a, [&](const Axis& axis) {
        return Sides{axis.extent, axis.out, z_is_a ? axis.b : axis.a, z_is_a ? axis.a : axis.b};
    });
}

const Sides* by_z(const std::vector<Sides>& axes, std::int64_t stride) {
    const auto at = std::find_if(axes.begin(), axes.end(), [&](const Sides& s) { return s.z == stride; });
    return at == axes.end() ? nullptr : &*at;
}

}  // namespace

const char* match(const product::Chain& c, MatchedPass& m) {
    constexpr const char* kOther = "the pair is no two-factor layer of equal blocks";
    for (const DType t : {c.a.dtype, c.b.dtype, c.c.dtype, c.product, c.out.dtype})
        if (t != DType::bfloat16) return "the device's chains are of bfloat16";
    if (c.between || c.epilogue) return "there is work between the products, or after them";
    if (c.finish.alpha != 1 || c.finish.beta != 0) return "the result is scaled or added to";
    const Layout stored = Layout::contiguous(product::middle_shape(c));
    const View z{nullptr, c.product, stored}, read{nullptr, c.product, c.reading.rank() ? c.reading : stored};
    if (read.layout.offset != 0) return kOther;
    const product::AxisRoles first = product::assign_roles(c.a, c.b, z, c.first);
    const product::AxisRoles second =
        product::assign_roles(c.z_is_a ? read : c.c, c.z_is_a ? c.c : read, c.out, c.second);
    for (const bool x_is_a : {true, false}) {
        const Roles one = roles_of_first(first, x_is_a), two = roles_of_second(second, c.z_is_a);
        if (one.batch.size() != 1 || one.rows.size() != 1 || one.summed.size() != 1 || one.columns.empty() ||
            one.columns.size() > 2 || two.batch.size() != 1 || two.rows.size() != 1 || two.columns.size() != 1 ||
            two.summed.size() != one.columns.size())
            continue;
        const Sides &rows = one.rows[0], &group = one.batch[0], &inner = one.summed[0];
        const Sides* other = by_z(one.columns, two.batch[0].z);
        if (!other || two.rows[0].z != rows.z || !by_z(two.summed, group.z)) continue;
        const Sides* rank = one.columns.size() == 2 ? &one.columns[other == &one.columns[0]] : nullptr;
        const Sides* rank_summed = rank ? by_z(two.summed, rank->z) : nullptr;
        if (rank && !rank_summed) continue;
        ChainShape s{rows.extent, static_cast<int>(std::min<std::int64_t>(inner.extent, 4096)),
                     rank ? static_cast<int>(std::min<std::int64_t>(rank->extent, 4096)) : 1};
        const std::int64_t n = s.block, width = s.width();
        if (group.extent != n || other->extent != n || two.columns[0].extent != n) continue;
        if (rows.x != width || group.x != n || inner.x != 1 || two.rows[0].x != width || two.batch[0].x != n ||
            two.columns[0].x != 1)
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
        // Where the kept tensor has the axes of z.
        const auto kept = [&](const Sides& axis) {
            for (int i = 0; i < stored.rank(); ++i)
                if (stored.shape[i] == axis.extent && stored.strides[i] == axis.z)
                    return c.kept_product->layout.strides[i];
            return std::int64_t{0};
        };
        m.kept = {kept(rows), {kept(*other), kept(group), rank ? kept(*rank) : 0, 0}};
        return nullptr;
    }
    return kOther;
}

bool match(const View& a, const View& b, const View& out, const product::Labels& labels, bool z_is_a,
           const ChainShape& shape, const MiddleStrides& middle, CoreGradient& m) {
    const DType core = out.dtype;
    if (a.dtype != DType::bfloat16 || b.dtype != DType::bfloat16 || (core != DType::bfloat16 && core != DType::float32))
        return false;
    // To z the gradient is a product whose rows are z's alone and whose columns x's; what is summed are the layer's
    // rows.
    const Roles r = roles_of_second(product::assign_roles(a, b, out, labels), z_is_a);
    if (r.batch.size() != 1 || r.columns.size() != 1 || r.summed.size() != 1 ||
        r.rows.size() != (shape.rank > 1 ? 2u : 1u))
        return false;
    const std::int64_t n = shape.block;
    const Sides *other = by_z(r.rows, middle.z.other), *rank = shape.rank > 1 ? by_z(r.rows, middle.z.rank) : nullptr;
    if (!other || (shape.rank > 1 && (!rank || rank->extent != shape.rank))) return false;
    // `x` is the output's stride here, `core` the other operand's.
    const Sides &group = r.batch[0], &inner = r.columns[0], &rows = r.summed[0];
    if (group.extent != n || inner.extent != n || other->extent != n || rows.extent != shape.rows ||
        group.z != middle.z.group || rows.z != middle.row)
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
