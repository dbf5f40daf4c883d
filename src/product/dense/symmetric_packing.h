// Packs columns of a symmetric matrix of which one triangle is given; missing elements are read from their mirror
// images.
#pragma once

#include <algorithm>
#include <cstdint>

#include "product/dense/plan.h"

namespace tenon::product::dense {

/// Packs rows `k` and columns `columns` of `b`, no wider than a panel, into rows `nr` apart. `given` says which
/// triangle is stored: Part::lower has the rows from each column down. `packing` is the function that packs columns.
template <class In>
class SymmetricPanel {
  public:
    SymmetricPanel(const In* b, const Axis& along_k, const Axis& across, Part given, PackAcross<In> packing)
        : b_(b), along_(along_k.b), across_(across.b), given_(given), pack_(packing) {}

    void operator()(In* to, std::int64_t nr, Range k, Range columns) const {
        const bool lower = given_ == Part::lower;
        const Range before{k.begin, std::clamp(columns.begin, k.begin, k.end)},
            after{std::clamp(columns.end, k.begin, k.end), k.end};
        const auto row = [&](std::int64_t at) { return to + (at - k.begin) * nr; };
        rectangle(row(before.begin), nr, before, columns, !lower);
        rectangle(row(after.begin), nr, after, columns, lower);
        // A few rows of the diagonal's square at a time: only so many columns are read element by element.
        for (std::int64_t i = before.end; i < after.begin;) {
            const std::int64_t first = columns.begin + (i - columns.begin) / kFew * kFew;
            const Range rows{i, std::min(first + kFew, after.begin)}, few{first, std::min(first + kFew, columns.end)};
            rectangle(row(i), nr, rows, {columns.begin, first}, lower);
            for (std::int64_t r = rows.begin; r < rows.end; ++r)
                for (std::int64_t j = few.begin; j < few.end; ++j)
                    row(r)[j - columns.begin] = (lower ? r >= j : r <= j) ? at(r, j) : at(j, r);
            rectangle(row(i) + (few.end - columns.begin), nr, rows, {few.end, columns.end}, !lower);
            i = rows.end;
        }
    }

  private:
    /// Whole vectors of any instruction set: packing pads the last one of a row with zeros.
    static constexpr std::int64_t kFew = 16, kMaxColumns = 128;

    In at(std::int64_t i, std::int64_t j) const { return b_[i * along_ + j * across_]; }

    /// A rectangle on one side of the diagonal.
    void rectangle(In* to, std::int64_t nr, Range k, Range columns, bool stored) const {
        if (k.size() <= 0 || columns.size() <= 0) return;
        std::int64_t lines[kMaxColumns], steps[kBlockK];
        for (std::int64_t j = 0; j < columns.size(); ++j) lines[j] = (columns.begin + j) * (stored ? across_ : along_);
        for (std::int64_t i = 0; i < k.size(); ++i) steps[i] = (k.begin + i) * (stored ? along_ : across_);
        pack_(to, nr, {b_, lines, steps, columns.size(), k.size()});
    }

    const In* b_;
    std::int64_t along_, across_;
    Part given_;
    PackAcross<In> pack_;
};

}  // namespace tenon::product::dense
