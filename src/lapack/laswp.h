// The exchange of rows.
#pragma once

#include <cstdint>

namespace tenon::lapack {

/// Exchanges rows first, ..., last - 1 of n columns with rows pivots[i], counted from 1, one after the other.
template <class T>
void exchange_rows(int n, T* a, std::int64_t lda, int first, int last, const int* pivots);

}  // namespace tenon::lapack
