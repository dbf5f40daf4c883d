// LAPACK inside the library: the reference LAPACK under other names, over our own BLAS (docs/decisions/lapack.md), for
// float and double. Arguments are in Fortran's order and mean what LAPACK's documentation says: matrices by columns,
// pivots counted from 1. Each function returns `info`: 0, or i > 0 if the matrix is the obstacle. A wrong argument
// throws Error, as does every call if the library was built without LAPACK. All may be called by many threads at once;
// bits depend only on the arguments.
#pragma once

#include <vector>

namespace tenon::lapack {

/// Whether the library was built with LAPACK. If not, every function below throws an Error that says so.
bool available();

/// Memory for routines that return the size they need if lwork is -1:
///     Workspace<T> work;  // kept for further calls
///     int info = work.run([&](T* w, int lwork) { return geqrf(m, n, a, lda, tau, w, lwork); });
template <class T>
class Workspace {
  public:
    template <class Call>
    int run(Call&& call) {
        T best = 0;
        if (const int info = call(&best, -1); info != 0) return info;
        // A float does not hold every size: adding one part in 2^20 never gives less than was needed.
        const auto size = static_cast<std::size_t>(static_cast<double>(best) * (1 + 1e-6)) + 1;
        if (size > memory_.size()) memory_.resize(size);
        return call(memory_.data(), static_cast<int>(size));
    }

  private:
    std::vector<T> memory_;
};

// Symmetric positive definite: A = U^T U or L L^T. info = i: the leading minor of order i is not positive.
template <class T>
int potrf(char uplo, int n, T* a, int lda);
template <class T>
int potrs(char uplo, int n, int nrhs, const T* a, int lda, T* b, int ldb);
template <class T>
int potri(char uplo, int n, T* a, int lda);
/// 1 / (|A|_1 |A^-1|_1) from the factor and anorm = |A|_1; work 3n, iwork n.
template <class T>
int pocon(char uplo, int n, const T* a, int lda, T anorm, T* rcond, T* work, int* iwork);

// Triangular. info = i: the i-th element of the diagonal is zero, and nothing was done.
template <class T>
int trtri(char uplo, char diag, int n, T* a, int lda);
template <class T>
int trtrs(char uplo, char trans, char diag, int n, int nrhs, const T* a, int lda, T* b, int ldb);
/// work 3n, iwork n.
template <class T>
int trcon(char norm, char uplo, char diag, int n, const T* a, int lda, T* rcond, T* work, int* iwork);

// General: A = P L U, ipiv of min(m, n). info = i: U(i, i) is exactly zero; the factorization is complete.
template <class T>
int getrf(int m, int n, T* a, int lda, int* ipiv);
template <class T>
int getrs(char trans, int n, int nrhs, const T* a, int lda, const int* ipiv, T* b, int ldb);
template <class T>
int getri(int n, T* a, int lda, const int* ipiv, T* work, int lwork);
/// work 4n, iwork n.
template <class T>
int gecon(char norm, int n, const T* a, int lda, T anorm, T* rcond, T* work, int* iwork);
/// Exchanges rows k1 to k2 with those in ipiv, in the n columns of A.
template <class T>
void laswp(int n, T* a, int lda, int k1, int k2, const int* ipiv, int incx);

// Symmetric, not definite: A = U D U^T or L D L^T (Bunch and Kaufman).
template <class T>
int sytrf(char uplo, int n, T* a, int lda, int* ipiv, T* work, int lwork);
template <class T>
int sytrs(char uplo, int n, int nrhs, const T* a, int lda, const int* ipiv, T* b, int ldb);

// Orthogonal factors as reflectors below R (or L's right), tau of min(m, n).
template <class T>
int geqrf(int m, int n, T* a, int lda, T* tau, T* work, int lwork);
template <class T>
int orgqr(int m, int n, int k, T* a, int lda, const T* tau, T* work, int lwork);
template <class T>
int ormqr(char side, char trans, int m, int n, int k, const T* a, int lda, const T* tau, T* c, int ldc, T* work,
          int lwork);
template <class T>
int gelqf(int m, int n, T* a, int lda, T* tau, T* work, int lwork);
template <class T>
int orglq(int m, int n, int k, T* a, int lda, const T* tau, T* work, int lwork);
template <class T>
int ormlq(char side, char trans, int m, int n, int k, const T* a, int lda, const T* tau, T* c, int ldc, T* work,
          int lwork);
/// With columns exchanged: A P = Q R; jpvt of n, 0 for a free column.
template <class T>
int geqp3(int m, int n, T* a, int lda, int* jpvt, T* tau, T* work, int lwork);

// Least squares; b holds max(m, n) rows.
template <class T>
int gels(char trans, int m, int n, int nrhs, T* a, int lda, T* b, int ldb, T* work, int lwork);
/// By the complete orthogonal factorization, of rank `rank` for rcond.
template <class T>
int gelsy(int m, int n, int nrhs, T* a, int lda, T* b, int ldb, int* jpvt, T rcond, int* rank, T* work, int lwork);
/// By the SVD. If lwork is -1, iwork[0] receives the size that iwork needs.
template <class T>
int gelsd(int m, int n, int nrhs, T* a, int lda, T* b, int ldb, T* s, T rcond, int* rank, T* work, int lwork,
          int* iwork);

// Symmetric eigenproblem, eigenvalues ascending.
template <class T>
int sytrd(char uplo, int n, T* a, int lda, T* d, T* e, T* tau, T* work, int lwork);
template <class T>
int orgtr(char uplo, int n, T* a, int lda, const T* tau, T* work, int lwork);
/// jobz 'N', or 'V': the vectors replace A. If lwork or liwork is -1, both sizes are returned.
template <class T>
int syevd(char jobz, char uplo, int n, T* a, int lda, T* w, T* work, int lwork, int* iwork, int liwork);
template <class T>
int syevr(char jobz, char range, char uplo, int n, T* a, int lda, T vl, T vu, int il, int iu, T abstol, int* m, T* w,
          T* z, int ldz, int* isuppz, T* work, int lwork, int* iwork, int liwork);

// Singular values, descending.
template <class T>
int gebrd(int m, int n, T* a, int lda, T* d, T* e, T* tauq, T* taup, T* work, int lwork);
/// iwork of 8 min(m, n).
template <class T>
int gesdd(char jobz, int m, int n, T* a, int lda, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork, int* iwork);
template <class T>
int gesvd(char jobu, char jobvt, int m, int n, T* a, int lda, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork);

// General eigenproblem.
template <class T>
int gehrd(int n, int ilo, int ihi, T* a, int lda, T* tau, T* work, int lwork);
template <class T>
int orghr(int n, int ilo, int ihi, T* a, int lda, const T* tau, T* work, int lwork);
template <class T>
int hseqr(char job, char compz, int n, int ilo, int ihi, T* h, int ldh, T* wr, T* wi, T* z, int ldz, T* work,
          int lwork);
template <class T>
int geev(char jobvl, char jobvr, int n, T* a, int lda, T* wr, T* wi, T* vl, int ldvl, T* vr, int ldvr, T* work,
         int lwork);
/// Schur form, not sorted; bwork is not read.
template <class T>
int gees(char jobvs, int n, T* a, int lda, T* wr, T* wi, T* vs, int ldvs, T* work, int lwork);
/// op(A) X + isgn X op(B) = scale C for Schur forms A and B.
template <class T>
int trsyl(char trana, char tranb, int isgn, int m, int n, const T* a, int lda, const T* b, int ldb, T* c, int ldc,
          T* scale);

}  // namespace tenon::lapack
