// Contractions of a tensor's last axes with a parameter.
#pragma once

#include <initializer_list>

#include "base/text.h"
#include "tenon/error.h"
#include "tenon/primitives.h"

namespace tenon::map {

/// Labels of some axes, all smaller than the labels of row axes.
struct Labels {
    std::uint8_t label[kMaxRank] = {};
    std::size_t size = 0;

    constexpr Labels() = default;
    constexpr Labels(std::initializer_list<std::uint8_t> labels) {
        for (const std::uint8_t l : labels) push_back(l);
    }
    constexpr void push_back(std::uint8_t l) {
        if (size < kMaxRank) label[size++] = l;
    }
    operator std::span<const std::uint8_t>() const { return {label, size}; }
};

/// Whether a tensor's row axes come before or after the labelled ones.
enum class Rows : std::uint8_t { first, last };

inline Labels with_rows(const Labels& labels, std::size_t rows, Rows where) {
    constexpr std::uint8_t kFirstRow = 16;
    Labels all = where == Rows::first ? Labels() : labels;
    for (std::size_t i = 0; i < rows; ++i) all.push_back(static_cast<std::uint8_t>(kFirstRow + i));
    if (where == Rows::first)
        for (std::size_t i = 0; i < labels.size; ++i) all.push_back(labels.label[i]);
    return all;
}

/// contract for an `x` that has row axes beside the labelled ones; the result has them too.
inline Tensor contract_rows(const Tensor& x, const Labels& x_labels, Rows x_rows, const Tensor& w,
                            const Labels& w_labels, const Labels& out_labels, Rows out_rows) {
    const std::size_t rows = static_cast<std::size_t>(x.rank()) - x_labels.size;
    if (rows + out_labels.size > kMaxRank)
        throw ShapeError(text("linear map of ", to_string(x.shape()), ": too many axes; the result would have ",
                              rows + out_labels.size, ", and ", kMaxRank, " is the most"));
    return contract(x, with_rows(x_labels, rows, x_rows), w, w_labels, with_rows(out_labels, rows, out_rows));
}

}  // namespace tenon::map
