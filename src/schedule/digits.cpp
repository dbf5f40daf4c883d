#include "schedule/digits.h"

#include <algorithm>

namespace tenon::schedule {
namespace {

/// Splits a digit so that one begins at a step of `step` elements; false if the parts would not be whole numbers.
bool split(Digits& digits, std::int64_t step) {
    std::int64_t at = 1;
    for (std::size_t i = digits.size(); i-- > 0;) {
        if (at == step) return true;
        Digit& d = digits[i];
        if (step < at * d.extent) {
            const std::int64_t inner = step / at;
            if (step % at != 0 || d.extent % inner != 0) return false;
            const Digit fast{inner, d.z};
            d = {d.extent / inner, d.z * inner};
            digits.insert(digits.begin() + static_cast<std::ptrdiff_t>(i) + 1, fast);
            return true;
        }
        at *= d.extent;
    }
    return at == step;
}

}  // namespace

Digits digits_of(const Shape& shape) {
    const Layout stored = Layout::contiguous(shape);
    Digits digits;
    for (int i = 0; i < stored.rank(); ++i)
        if (stored.shape[i] != 1) digits.push_back({stored.shape[i], stored.strides[i]});
    return digits;
}

std::optional<std::vector<Digits>> read(Digits buffer, const Layout& layout) {
    if (layout.offset != 0) return {};
    for (int i = 0; i < layout.rank(); ++i) {
        if (layout.shape[i] == 1) continue;
        if (layout.strides[i] <= 0 || !split(buffer, layout.strides[i]) ||
            !split(buffer, layout.strides[i] * layout.shape[i]))
            return {};
    }
    std::vector<Digits> axes(static_cast<std::size_t>(layout.rank()));
    std::size_t used = 0;
    for (int i = 0; i < layout.rank(); ++i) {
        if (layout.shape[i] == 1) continue;
        std::int64_t at = 1;
        for (std::size_t d = buffer.size(); d-- > 0; at *= buffer[d].extent) {
            if (at < layout.strides[i] || at >= layout.strides[i] * layout.shape[i]) continue;
            Digits& axis = axes[static_cast<std::size_t>(i)];
            axis.insert(axis.begin(), buffer[d]);
            ++used;
        }
    }
    std::int64_t elements = 1;
    for (const Digit& d : buffer) elements *= d.extent;
    if (used != buffer.size() || layout.count() != elements) return {};
    return axes;
}

Digits joined(const std::vector<Digits>& axes) {
    Digits all;
    for (const Digits& axis : axes) all.insert(all.end(), axis.begin(), axis.end());
    return all;
}

Side::Side(const Source& s, const std::vector<Digits>& axes) : source_(s) {
    for (std::size_t i = 0; i < axes.size(); ++i) {
        std::int64_t stride = s.layout.strides[static_cast<int>(i)];
        for (std::size_t d = axes[i].size(); d-- > 0; stride *= axes[i][d].extent)
            parts_.push_back({axes[i][d], stride});
    }
}

Source Side::under(const Digits& digits) const {
    Source s{source_.base, {{}, {}, source_.layout.offset}};
    for (const Digit& d : digits)
        for (const Part& p : parts_)
            if (p.digit.z <= d.z && d.z < p.digit.z * p.digit.extent) {
                s.layout.shape.push_back(d.extent);
                s.layout.strides.push_back(p.stride * (d.z / p.digit.z));
            }
    return s;
}

bool Relabelled::add(std::uint8_t old, const Digits& digits) {
    std::vector<Part>& parts = parts_[old];
    if (parts.empty())
        for (const Digit& d : digits) add(old, d.extent);
    return parts.size() == digits.size() &&
           std::equal(parts.begin(), parts.end(), digits.begin(),
                      [](const Part& p, const Digit& d) { return p.extent == d.extent; });
}

void Relabelled::add_others(const AxisLabels& labels, const Shape& shape) {
    for (std::size_t i = 0; i < labels.rank; ++i)
        if (parts_[labels.label[i]].empty()) add(labels.label[i], shape[static_cast<int>(i)]);
}

bool Relabelled::fits(const AxisLabels& labels) const {
    std::size_t rank = 0;
    for (std::size_t i = 0; i < labels.rank; ++i) rank += parts_[labels.label[i]].size();
    return rank <= static_cast<std::size_t>(kMaxRank);
}

std::vector<std::uint8_t> Relabelled::labels(const AxisLabels& old) const {
    std::vector<std::uint8_t> now;
    for (std::size_t i = 0; i < old.rank; ++i)
        for (const Part& p : parts_[old.label[i]]) now.push_back(p.label);
    return now;
}

Layout Relabelled::layout(const AxisLabels& old, const Layout& l) const {
    Layout now{{}, {}, l.offset};
    for (std::size_t i = 0; i < old.rank; ++i) {
        const std::vector<Part>& parts = parts_[old.label[i]];
        std::int64_t inner = 1;
        for (const Part& p : parts) inner *= p.extent;
        for (const Part& p : parts) {
            inner /= p.extent;
            now.shape.push_back(p.extent);
            now.strides.push_back(l.strides[static_cast<int>(i)] * inner);
        }
    }
    return now;
}

}  // namespace tenon::schedule
