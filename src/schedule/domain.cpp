#include "schedule/domain.h"

#include <algorithm>

#include "primitive/primitive.h"
#include "tenon/threads.h"

namespace tenon::schedule {
namespace {

// On the host a reduction of a long row is cut among the threads when it runs alone. On a device the kernels of rows
// cut long rows themselves.
constexpr std::int64_t kLongRow = std::int64_t{1} << 17, kMuchWork = std::int64_t{1} << 15;

/// How many rows give each thread two: with fewer, each row is better shared among the threads.
std::int64_t enough_rows() { return num_threads() == 1 ? 1 : 2 * num_threads(); }

bool inside(std::span<const Index> members, Index base) {
    return std::binary_search(members.begin(), members.end(), base);
}

Shape rows_of(const Domain& d) {
    Shape s = d.shape;
    s.erase(s.rank() - 1);
    return s;
}

/// The rows and columns of a reduction over the last axes.
struct Extent {
    Shape kept;
    std::int64_t rows, columns;
};
std::optional<Extent> extent_of(const Program& p, Index reduction) {
    const Shape& in = p.bases[reduction].operands[0].layout.shape;
    const Attributes& axes = p.node(reduction).attributes;
    const int first = in.rank() - static_cast<int>(axes.size());
    if (axes.empty() || axes[0] != first) return {};
    Extent e{{}, 1, 1};
    for (int d = 0; d < in.rank(); ++d) {
        (d < first ? e.rows : e.columns) *= in[d];
        if (d < first) e.kept.push_back(in[d]);
    }
    return e;
}

bool is_in_parts(const Program& p, const Extent& e) {
    return p.graph->device == Device::cpu() &&
           (e.columns > kLongRow || (e.rows < enough_rows() && e.rows * e.columns > kMuchWork));
}

class Finder {
  public:
    Finder(const Program& p, std::span<const Index> members, std::string_view* why)
        : p_(p), members_(members), why_(why) {}

    std::optional<Domain> alike() {
        const std::int64_t n = count(p_.bases[members_[0]].shape);
        std::vector<Shape> shapes;
        for (const Index m : members_) {
            if (count(p_.bases[m].shape) != n) return refuse("the numbers of elements differ");
            add(shapes, p_.bases[m].shape);
            for (const Source& s : p_.bases[m].operands)
                if (inside(members_, s.base) && !is_whole(p_, s))
                    return refuse("an operand is a view that the region cannot follow");
        }
        return first_that_fits(false, shapes);
    }

    std::optional<Domain> by_rows() {
        std::optional<Extent> e;
        std::vector<Shape> shapes;
        for (const Index m : members_) {
            if (p_.bases[m].kind != Kind::reduction) continue;
            const auto its = extent_of(p_, m);
            if (!its) return refuse("a reduction is not over the last axes");
            if (e && (its->rows != e->rows || its->columns != e->columns))
                return refuse("rows of other lengths are reduced");
            e = its;
            add(shapes, with_columns(its->kept, its->columns));
        }
        rows_ = e->rows, columns_ = e->columns;
        if (columns_ < 2 || rows_ < 1) return refuse("there is no row to reduce");
        if (is_in_parts(p_, *e)) return refuse("few long rows are reduced in parts");
        for (const Index m : members_)
            if (!row_member_fits(m)) return refuse("an operand is a view that rows cannot follow");
        if (std::ranges::none_of(members_, [&](Index m) { return reads_elements(m); }))
            return refuse("nothing that is read has the elements of a row");
        return first_that_fits(true, shapes);
    }

  private:
    static void add(std::vector<Shape>& shapes, const Shape& s) {
        if (std::find(shapes.begin(), shapes.end(), s) == shapes.end()) shapes.push_back(s);
    }
    static Shape with_columns(Shape s, std::int64_t columns) {
        if (s.rank() == kMaxRank) s = {count(s)};
        s.push_back(columns);
        return s;
    }

    bool per_row(Index m) const { return p_.bases[m].kind == Kind::reduction || count(p_.bases[m].shape) == rows_; }

    /// Operands computed inside: element by element, row by row, or a row's value repeated along it.
    bool row_member_fits(Index m) const {
        const Base& b = p_.bases[m];
        const bool reduction = b.kind == Kind::reduction, rows = !reduction && per_row(m);
        if (!per_row(m) && count(b.shape) != rows_ * columns_) return false;
        for (const Source& s : b.operands) {
            if (!inside(members_, s.base)) {
                if (b.kind == Kind::copy) return false;  // a result of its own is no input of the tape
                continue;
            }
            if (per_row(s.base)) {
                if (rows ? !is_whole(p_, s) : reduction || !repeats(s.layout)) return false;
            } else if (rows || !is_whole(p_, s)) {
                return false;
            }
        }
        return true;
    }

    /// Whether it reads elements from memory. Rows have their length from what is read: values computed for each row
    /// and then repeated along it have none.
    bool reads_elements(Index m) const {
        if (per_row(m) && p_.bases[m].kind != Kind::reduction) return false;
        return std::ranges::any_of(p_.bases[m].operands, [&](const Source& s) { return !inside(members_, s.base); });
    }

    bool repeats(const Layout& l) const {
        Layout flat;
        if (l.offset != 0 || l.count() != rows_ * columns_ || !l.reshape({rows_, columns_}, flat)) return false;
        return (rows_ == 1 || flat.strides[0] == 1) && flat.strides[1] == 0;
    }

    std::optional<Domain> first_that_fits(bool by_rows, const std::vector<Shape>& shapes) {
        for (const Shape& s : shapes) {
            const Domain d{by_rows, s};
            if (std::all_of(members_.begin(), members_.end(), [&](Index m) { return reads_fit(d, m); })) return d;
        }
        return refuse("strides cannot express what is read under one shape");
    }

    bool reads_fit(const Domain& d, Index m) const {
        const Base& b = p_.bases[m];
        const bool rows = d.by_rows && b.kind != Kind::reduction && per_row(m);
        return std::all_of(b.operands.begin(), b.operands.end(),
                           [&](const Source& s) { return inside(members_, s.base) || in_domain(d, s.layout, rows); });
    }

    std::optional<Domain> refuse(const char* why) {
        if (why_) *why_ = why;
        return {};
    }

    const Program& p_;
    std::span<const Index> members_;
    std::string_view* why_;
    std::int64_t rows_ = 0, columns_ = 0;
};

}  // namespace

std::optional<Domain> domain_of(const Program& p, std::span<const Index> members, std::string_view* why) {
    bool rows = false;
    for (const Index m : members) {
        if (!is_elementwise(p.bases[m].kind) && p.bases[m].kind != Kind::reduction) return {};
        rows = rows || p.bases[m].kind == Kind::reduction;
    }
    Finder finder(p, members, why);
    return rows ? finder.by_rows() : finder.alike();
}

bool is_reduced_in_parts(const Program& p, Index reduction) {
    const auto e = extent_of(p, reduction);
    return e && is_in_parts(p, *e);
}

std::optional<Layout> in_domain(const Domain& d, const Layout& layout, bool per_row) {
    const Shape shape = per_row ? rows_of(d) : d.shape;
    if (layout.shape == shape) return layout;
    Layout out;
    if (layout.count() != count(shape) || !layout.reshape(shape, out)) return {};
    return out;
}

bool is_per_row(const Program& p, const Domain& d, Index m) {
    return d.by_rows && (p.bases[m].kind == Kind::reduction || count(p.bases[m].shape) != count(d.shape));
}

}  // namespace tenon::schedule
