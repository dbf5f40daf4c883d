// Blocks of reflectors as LAPACK stores them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tenon::lapack {

/// How k reflectors of `order` elements lie: 'F'orward, where the ones of V stand on the diagonal from its first row
/// on, or 'B'ackward, where they end in the last; 'C'olumnwise, or 'R'owwise, where V's transpose is stored.
struct Stored {
    char direct, storev;

    bool forward() const { return direct == 'F'; }
};

/// V (order, k) whole, by columns, with the ones and zeros that are not stored.
template <class T>
void copy_whole(Stored how, int order, int k, const T* v, std::int64_t ldv, T* to, std::int64_t ld) {
    for (int j = 0; j < k; ++j) {
        const int one = how.forward() ? j : order - k + j;
        const int begin = how.forward() ? one + 1 : 0, end = how.forward() ? order : one;
        T* const column = to + j * ld;
        std::fill_n(column, order, T(0));
        if (one >= 0 && one < order) column[one] = T(1);
        if (how.storev == 'C') std::copy_n(v + j * ldv + begin, end - begin, column + begin);
    }
    if (how.storev == 'C') return;
    for (int i = 0; i < order; ++i) {
        // Of row i of V, which is a column as stored, the reflectors that begin before it or end after.
        const int begin = how.forward() ? 0 : std::max(0, i - (order - k) + 1),
                  end = how.forward() ? std::min(i, k) : k;
        for (int j = begin; j < end; ++j) to[i + j * ld] = v[j + i * ldv];
    }
}

}  // namespace tenon::lapack
