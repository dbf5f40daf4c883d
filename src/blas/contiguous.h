// Vectors in the form that kernels need: contiguous, and conjugated where that replaces conjugating a matrix: conj(A) x
// is the conjugate of A conj(x).
#pragma once

#include <cstdlib>
#include <functional>
#include <optional>

#include "blas/caller.h"
#include "blas/scalar.h"
#include "product/dense/scratch.h"

namespace tenon::blas {

/// beta y; y is not read if beta is 0.
template <class T>
T scaled(T beta, const T& y) {
    return beta == of<T>(0) ? of<T>(0) : beta == of<T>(1) ? y : beta * y;
}

/// From the first element to past the last one.
struct Memory {
    const void *begin = nullptr, *end = nullptr;

    friend bool meet(const Memory& a, const Memory& b) {
        const std::less<> before;
        return before(a.begin, b.end) && before(b.begin, a.end);
    }
};
template <class T>
Memory memory_of(const T* x, std::int64_t n, std::int64_t inc) {
    return {x, n > 0 ? x + (n - 1) * std::abs(inc) + 1 : x};
}
template <class T>
Memory memory_of(const T* a, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
    return {a, rows > 0 && columns > 0 ? a + (columns - 1) * ld + rows : a};
}

/// Read only; its values from before `result` changes.
template <class T>
class Input {
  public:
    Input(const T* x, std::int64_t n, std::int64_t inc, bool conjugate, const Memory& result) : data_(x) {
        if (inc == 1 && !conjugate && !meet(memory_of(x, n, inc), result)) return;
        room_.emplace(static_cast<std::size_t>(n) * sizeof(T));
        T* to = room_->take<T>(n);
        const T* from = start(x, n, inc);
        for (std::int64_t i = 0; i < n; ++i) to[i] = conj_if(conjugate, from[i * inc]);
        data_ = to;
    }
    const T* data() const { return data_; }

  private:
    const T* data_;
    std::optional<product::dense::Scratch> room_;
};

/// Multiplied by beta at first, and written back at the end of the scope; until then `matrix` is read.
template <class T>
class Updated {
  public:
    Updated(T beta, T* y, std::int64_t n, std::int64_t inc, bool conjugate, const Memory& matrix)
        : y_(start(y, n, inc)),
          data_(y),
          n_(n),
          inc_(inc),
          conjugate_(conjugate),
          copies_(inc != 1 || conjugate || meet(memory_of(y, n, inc), matrix)) {
        if (copies_) {
            room_.emplace(static_cast<std::size_t>(n) * sizeof(T));
            data_ = room_->take<T>(n);
        }
        if (!copies_ && beta == of<T>(1)) return;
        for (std::int64_t i = 0; i < n; ++i) data_[i] = scaled(beta, conj_if(conjugate, y_[i * inc]));
    }
    ~Updated() {
        if (!copies_) return;
        for (std::int64_t i = 0; i < n_; ++i) y_[i * inc_] = conj_if(conjugate_, data_[i]);
    }
    Updated(const Updated&) = delete;
    Updated& operator=(const Updated&) = delete;
    T* data() const { return data_; }

  private:
    T *y_, *data_;
    std::int64_t n_, inc_;
    bool conjugate_, copies_;
    std::optional<product::dense::Scratch> room_;
};

}  // namespace tenon::blas
