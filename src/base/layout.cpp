#include "tenon/layout.h"

#include <algorithm>

#include "base/text.h"
#include "tenon/error.h"

namespace tenon {

Extents::Extents(std::span<const std::int64_t> v) {
    if (v.size() > kMaxRank) throw ShapeError(text(v.size(), " axes: a tensor has at most ", kMaxRank));
    std::copy(v.begin(), v.end(), v_.begin());
    rank_ = static_cast<std::int32_t>(v.size());
}

Extents::Extents(int rank, std::int64_t fill) : rank_(rank) {
    if (rank < 0 || rank > kMaxRank) throw ShapeError(text(rank, " axes: a tensor has 0 to ", kMaxRank));
    std::fill(begin(), end(), fill);
}

void Extents::push_back(std::int64_t value) { insert(rank_, value); }

void Extents::insert(int at, std::int64_t value) {
    if (rank_ == kMaxRank) throw ShapeError(text(rank_ + 1, " axes: a tensor has at most ", kMaxRank));
    if (at < 0 || at > rank_) throw ShapeError(text("insert: axis ", at, " is not within 0 to ", rank_));
    std::copy_backward(begin() + at, end(), end() + 1);
    v_[static_cast<std::size_t>(at)] = value;
    ++rank_;
}

void Extents::erase(int at) {
    if (at < 0 || at >= rank_) throw ShapeError(text("erase: axis ", at, " is not one of ", rank_));
    std::copy(begin() + at + 1, end(), begin() + at);
    --rank_;
    v_[static_cast<std::size_t>(rank_)] = 0;
}

std::string to_string(const Extents& e) {
    std::string out = "(";
    for (int i = 0; i < e.rank(); ++i) out += (i ? ", " : "") + std::to_string(e[i]);
    return out + (e.rank() == 1 ? ",)" : ")");
}

std::int64_t count(const Shape& s) {
    std::int64_t product = 1;
    bool empty = false;
    for (const std::int64_t extent : s) {
        if (extent < 0) throw ShapeError(text("shape ", to_string(s), ": an extent is negative"));
        if (extent == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, extent, &product))
            throw ShapeError(text("shape ", to_string(s), ": the extents' product does not fit 63 bits"));
    }
    return empty ? 0 : product;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op) {
    const Shape& longer = a.rank() >= b.rank() ? a : b;
    const Shape& shorter = a.rank() >= b.rank() ? b : a;
    Shape out = longer;
    const int shift = longer.rank() - shorter.rank();
    for (int i = 0; i < shorter.rank(); ++i) {
        const std::int64_t x = longer[i + shift], y = shorter[i];
        if (x != y && x != 1 && y != 1)
            throw ShapeError(text(op, ": shapes ", to_string(a), " and ", to_string(b),
                                  " do not broadcast (aligned at the last axis, extents must be equal or 1)"));
        out[i + shift] = x == 1 ? y : x;
    }
    return out;
}

Layout Layout::contiguous(const Shape& shape) {
    tenon::count(shape);  // a product that fits makes every stride fit
    Layout out{shape, Strides(shape.rank(), 0), 0};
    std::int64_t stride = 1;
    for (int i = shape.rank() - 1; i >= 0; --i) {
        out.strides[i] = stride;
        stride *= std::max<std::int64_t>(shape[i], 1);
    }
    return out;
}

bool Layout::is_contiguous() const {
    if (count() == 0) return true;
    std::int64_t stride = 1;
    for (int i = rank() - 1; i >= 0; --i) {
        if (shape[i] == 1) continue;
        if (strides[i] != stride) return false;
        stride *= shape[i];
    }
    return true;
}

std::int64_t Layout::at(std::span<const std::int64_t> index) const {
    bool inside = index.size() == static_cast<std::size_t>(rank());
    std::int64_t position = offset;
    for (int i = 0; inside && i < rank(); ++i) {
        const std::int64_t k = index[static_cast<std::size_t>(i)];
        inside = k >= 0 && k < shape[i];
        position += inside ? k * strides[i] : 0;
    }
    if (!inside) {
        const std::string shown = index.size() > kMaxRank ? text(index.size(), " axes") : to_string(Extents(index));
        throw ShapeError(text("at: index ", shown, " is not within shape ", to_string(shape)));
    }
    return position;
}

Layout Layout::transpose(const Axes& perm) const {
    bool seen[kMaxRank] = {};
    bool valid = perm.rank() == rank();
    for (int i = 0; valid && i < rank(); ++i) {
        valid = perm[i] >= 0 && perm[i] < rank() && !seen[perm[i]];
        if (valid) seen[perm[i]] = true;
    }
    if (!valid)
        throw ShapeError(text("transpose: axes ", to_string(perm), " are not a permutation of the axes of shape ",
                              to_string(shape)));
    Layout out = *this;
    for (int i = 0; i < rank(); ++i) {
        out.shape[i] = shape[static_cast<int>(perm[i])];
        out.strides[i] = strides[static_cast<int>(perm[i])];
    }
    return out;
}

Layout Layout::broadcast(const Shape& to) const {
    tenon::count(to);
    const int added = to.rank() - rank();
    bool valid = added >= 0;
    Layout out{to, Strides(to.rank(), 0), offset};
    for (int i = 0; valid && i < rank(); ++i) {
        valid = shape[i] == to[i + added] || shape[i] == 1;
        if (valid && shape[i] == to[i + added]) out.strides[i + added] = strides[i];
    }
    if (!valid) throw ShapeError(text("broadcast: shape ", to_string(shape), " does not broadcast to ", to_string(to)));
    return out;
}

Layout Layout::slice(const Extents& start, const Extents& extent, const Extents& step) const {
    const auto fail = [&](const char* rule) {
        throw ShapeError(text("slice: start ", to_string(start), " extent ", to_string(extent), " step ",
                              to_string(step), " of shape ", to_string(shape), ": ", rule));
    };
    if (start.rank() != rank() || extent.rank() != rank() || step.rank() != rank()) fail("one entry an axis is needed");
    Layout out{extent, strides, offset};
    for (int i = 0; i < rank(); ++i) {
        if (extent[i] < 0) fail("an extent is negative");
        if (step[i] == 0) fail("a step is zero");
        if (extent[i] == 0) continue;  // selects nothing: no start is outside
        std::int64_t last;
        const bool overflow =
            __builtin_mul_overflow(extent[i] - 1, step[i], &last) || __builtin_add_overflow(last, start[i], &last);
        if (overflow || start[i] < 0 || start[i] >= shape[i] || last < 0 || last >= shape[i])
            fail("an element is outside");
        out.offset += start[i] * strides[i];
        // One element needs no stride, and its step may be too large to multiply by.
        if (extent[i] > 1) out.strides[i] = strides[i] * step[i];
    }
    return out;
}

bool Layout::reshape(const Shape& to, Layout& out) const {
    const std::int64_t elements = count();
    if (tenon::count(to) != elements)
        throw ShapeError(text("reshape: shape ", to_string(shape), " has ", elements, " elements, ", to_string(to),
                              " has ", tenon::count(to)));
    Layout result = contiguous(to);
    result.offset = offset;
    if (elements == 0) {
        out = result;
        return true;
    }
    // Coalesced axes are the longest runs of constant stride, so a target axis must lie within one of them.
    const Layout runs = coalesce();
    int run = runs.rank() - 1;
    std::int64_t left = run >= 0 ? runs.shape[run] : 1;
    std::int64_t stride = run >= 0 ? runs.strides[run] : 1;
    for (int i = to.rank() - 1; i >= 0; --i) {
        if (left == 1 && run > 0) {
            --run;
            left = runs.shape[run];
            stride = runs.strides[run];
        }
        if (left % to[i] != 0) return false;
        result.strides[i] = stride;
        stride *= to[i];
        left /= to[i];
    }
    out = result;
    return true;
}

Layout Layout::coalesce() const {
    Layout out;
    out.offset = offset;
    if (count() == 0) {
        out.shape = {0};
        out.strides = {1};
        return out;
    }
    for (int i = 0; i < rank(); ++i) {
        if (shape[i] == 1) continue;
        const int last = out.rank() - 1;
        if (last >= 0 && out.strides[last] == strides[i] * shape[i]) {
            out.shape[last] *= shape[i];
            out.strides[last] = strides[i];
        } else {
            out.shape.push_back(shape[i]);
            out.strides.push_back(strides[i]);
        }
    }
    return out;
}

std::string to_string(const Layout& l) {
    return text("shape ", to_string(l.shape), " strides ", to_string(l.strides), " offset ", l.offset);
}

}  // namespace tenon
