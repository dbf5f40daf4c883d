// The C interface of BLAS with 32-bit integers, as several libraries have it.
#pragma once

#include "bench/calls.h"
#include "bench/problem.h"

namespace bench::cblas {

inline constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;

template <class T>
using Gemm = void(int order, int transa, int transb, int m, int n, int k, T alpha, const T* a, int lda, const T* b,
                  int ldb, T beta, T* c, int ldc);
template <class T>
using Gemv = void(int order, int trans, int m, int n, T alpha, const T* a, int lda, const T* x, int incx, T beta, T* y,
                  int incy);
template <class T>
using GemmBatchStrided = void(int order, int transa, int transb, int m, int n, int k, T alpha, const T* a, int lda,
                              int stridea, const T* b, int ldb, int strideb, T beta, T* c, int ldc, int stridec,
                              int batch);

/// A problem as the arguments of these functions.
struct Arguments {
    int transa, transb, m, n, k, lda, ldb, ldc;
    std::int64_t step_a, step_b, step_c;

    explicit Arguments(const Problem& p)
        : transa(p.a_transposed ? kTrans : kNoTrans),
          transb(p.weights.transposed ? kTrans : kNoTrans),
          m(static_cast<int>(p.shape.m)),
          n(static_cast<int>(p.shape.n)),
          k(static_cast<int>(p.shape.k)),
          lda(static_cast<int>(p.lda())),
          ldb(static_cast<int>(p.ldb())),
          ldc(static_cast<int>(p.ldc())),
          step_a(p.step_a()),
          step_b(p.step_b()),
          step_c(p.step_c()) {}
};

/// A library's functions; null if it lacks one.
template <class T>
struct Functions {
    Gemm<T>* gemm = nullptr;
    Gemv<T>* gemv = nullptr;
    GemmBatchStrided<T>* batch = nullptr;
};

/// The letter that stands for a type in a routine's name.
template <class T>
inline constexpr const char* kLetter = sizeof(T) == 4 ? "s" : "d";

/// By the library's own batched product, or one by one with one_thread called first; a row times a matrix by gemv, as
/// its users would.
template <class T, class OneThread>
Prepared prepare(const Functions<T>& f, const Problem& problem, const Operands& operands, OneThread one_thread) {
    const Arguments g(problem);
    const T *a = operands.a_as<T>(), *b = operands.b_as<T>();
    T* c = operands.c_as<T>();
    const auto batch = static_cast<int>(problem.shape.batch);
    // Some refuse results that interleave.
    if (batch > 1 && f.batch && !problem.steps)
        return call_all([=] {
            f.batch(kRowMajor, g.transa, g.transb, g.m, g.n, g.k, 1, a, g.lda, static_cast<int>(g.step_a), b, g.ldb,
                    static_cast<int>(g.step_b), 0, c, g.ldc, static_cast<int>(g.step_c), batch);
        });
    if (batch > 1) one_thread();
    if (batch == 1 && g.m == 1 && f.gemv) {
        const bool rows = g.transb == kTrans;
        return call_all([=] {
            f.gemv(kRowMajor, rows ? kNoTrans : kTrans, rows ? g.n : g.k, rows ? g.k : g.n, 1, b, g.ldb, a, 1, 0, c, 1);
        });
    }
    return call_each(problem, [=](std::int64_t i) {
        f.gemm(kRowMajor, g.transa, g.transb, g.m, g.n, g.k, 1, a + i * g.step_a, g.lda, b + i * g.step_b, g.ldb, 0,
               c + i * g.step_c, g.ldc);
    });
}

}  // namespace bench::cblas
