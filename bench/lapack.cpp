#include "bench/lapack.h"

#include <algorithm>

#include "bench/blas.h"
#include "tenon/error.h"

namespace bench {
namespace {

/// The form of the (m, n) matrix that a routine reads, which decides its operations.
enum class Form { positive, general, tall, triangular, symmetric };

struct Factorization {
    const char* name;
    Form form;
};
constexpr Factorization kFactorizations[] = {
    {"potrf", Form::positive},   {"getrf", Form::general},   {"geqrf", Form::tall},
    {"trtri", Form::triangular}, {"syevd", Form::symmetric}, {"gesdd", Form::tall},
};

const Factorization& factorization(const std::string& name) {
    for (const Factorization& each : kFactorizations)
        if (name == each.name) return each;
    throw tenon::ValueError("bench lapack: " + name + ": unknown");
}

/// One library's routine on one matrix, which the routine overwrites and which is restored before each call.
template <class T>
class Call {
  public:
    Call(const std::string& name, void* address, const Problem& problem, const Operands& operands)
        : name_(name),
          address_(address),
          m_(static_cast<int>(problem.shape.m)),
          n_(static_cast<int>(problem.shape.k)),
          given_(operands.a_as<T>()),
          x_(operands.b_as<T>()),
          c_(operands.c_as<T>()),
          a_(size(m_, n_)),
          tau_(size(n_, 1)),
          pivots_(size(n_, 1)) {
        if (name_ == "gesdd") {
            u_.resize(size(m_, n_)), vt_.resize(size(n_, n_));
            iwork_.resize(size(8, n_));
        }
        T most = 0;
        int iwork = 0;
        lwork_ = liwork_ = -1;
        if (name_ == "geqrf" || name_ == "syevd" || name_ == "gesdd")
            call(&most, name_ == "gesdd" ? iwork_.data() : &iwork);
        lwork_ = static_cast<int>(static_cast<double>(most) * 1.000001) + 1;
        work_.resize(static_cast<std::size_t>(lwork_));
        if (name_ == "syevd") liwork_ = iwork, iwork_.resize(static_cast<std::size_t>(iwork));
    }

    void renew() { std::copy_n(given_, a_.size(), a_.data()); }
    void run() { call(work_.data(), iwork_.data()); }
    /// A x by the factors, in float64.
    void fetch() {
        if (info_ != 0) throw tenon::ValueError("info = " + std::to_string(info_));
        std::vector<double> y(x_, x_ + n_);
        if (name_ == "potrf") multiply_triangle('U', 'T', y), multiply_triangle('L', 'N', y);
        if (name_ == "trtri") solve(y);
        if (name_ == "getrf") {
            multiply_triangle('U', 'N', y), y.resize(static_cast<std::size_t>(m_)), multiply_unit(y);
            for (int i = n_ - 1; i >= 0; --i) std::swap(y[at(i)], y[at(pivots_[at(i)] - 1)]);
        }
        if (name_ == "geqrf") multiply_triangle('U', 'N', y), y.resize(static_cast<std::size_t>(m_)), reflect(y);
        if (name_ == "syevd") y = scale(product(a_, n_, n_, true, y)), y = product(a_, n_, n_, false, y);
        if (name_ == "gesdd") y = scale(product(vt_, n_, n_, false, y)), y = product(u_, m_, n_, false, y);
        for (int i = 0; i < m_; ++i) c_[i] = static_cast<T>(y[at(i)]);
    }

  private:
    static std::size_t size(int rows, int columns) {
        return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    }
    static std::size_t at(int i) { return static_cast<std::size_t>(i); }
    double a(int i, int j) const { return static_cast<double>(a_[size(j, m_) + at(i)]); }

    template <class... A>
    void fortran(A... arguments) {
        reinterpret_cast<void (*)(A...)>(address_)(arguments...);
    }
    void call(T* work, int* iwork) {
        constexpr std::size_t one = 1;  // the length of an option
        T* a = a_.data();
        if (name_ == "potrf") fortran("L", &n_, a, &n_, &info_, one);
        if (name_ == "trtri") fortran("L", "N", &n_, a, &n_, &info_, one, one);
        if (name_ == "getrf") fortran(&m_, &n_, a, &m_, pivots_.data(), &info_);
        if (name_ == "geqrf") fortran(&m_, &n_, a, &m_, tau_.data(), work, &lwork_, &info_);
        if (name_ == "syevd")
            fortran("V", "L", &n_, a, &n_, tau_.data(), work, &lwork_, iwork, &liwork_, &info_, one, one);
        if (name_ == "gesdd")
            fortran("S", &m_, &n_, a, &m_, tau_.data(), u_.data(), &m_, vt_.data(), &n_, work, &lwork_, iwork, &info_,
                    one);
    }

    /// y = op(triangle of the first n rows) y; of 'U' and 'T' the triangle is what L^T's is: stored below.
    void multiply_triangle(char uplo, char op, std::vector<double>& y) const {
        for (int k = 0; k < n_; ++k) {
            const int i = uplo == 'L' ? n_ - 1 - k : k;
            double sum = 0;
            for (int j = uplo == 'L' ? 0 : i; j <= (uplo == 'L' ? i : n_ - 1); ++j)
                sum += (op == 'T' ? a(j, i) : a(i, j)) * y[at(j)];
            y[at(i)] = sum;
        }
    }
    void multiply_unit(std::vector<double>& y) const {
        for (int j = n_ - 1; j >= 0; --j)
            for (int i = j + 1; i < m_; ++i) y[at(i)] += a(i, j) * y[at(j)];
    }
    void solve(std::vector<double>& y) const {
        for (int j = 0; j < n_; ++j) {
            y[at(j)] /= a(j, j);
            for (int i = j + 1; i < n_; ++i) y[at(i)] -= a(i, j) * y[at(j)];
        }
    }
    void reflect(std::vector<double>& y) const {
        for (int j = n_ - 1; j >= 0; --j) {
            double sum = y[at(j)];
            for (int i = j + 1; i < m_; ++i) sum += a(i, j) * y[at(i)];
            sum *= static_cast<double>(tau_[at(j)]);
            y[at(j)] -= sum;
            for (int i = j + 1; i < m_; ++i) y[at(i)] -= a(i, j) * sum;
        }
    }
    std::vector<double> scale(std::vector<double> y) const {
        for (int i = 0; i < n_; ++i) y[at(i)] *= static_cast<double>(tau_[at(i)]);
        return y;
    }
    static std::vector<double> product(const std::vector<T>& matrix, int rows, int columns, bool transposed,
                                       const std::vector<double>& x) {
        std::vector<double> y(static_cast<std::size_t>(transposed ? columns : rows), 0.0);
        for (int j = 0; j < columns; ++j)
            for (int i = 0; i < rows; ++i) {
                const auto e = static_cast<double>(matrix[size(j, rows) + at(i)]);
                if (transposed)
                    y[at(j)] += e * x[at(i)];
                else
                    y[at(i)] += e * x[at(j)];
            }
        return y;
    }

    std::string name_;
    void* address_;
    int m_, n_, info_ = 0, lwork_ = 0, liwork_ = 0;
    const T *given_, *x_;
    T* c_;
    /// tau, or what a diagonal holds: eigenvalues, singular values.
    std::vector<T> a_, tau_, u_, vt_, work_;
    std::vector<int> pivots_, iwork_;
};

template <class T>
Prepared prepare(void* address, const Problem& problem, const Operands& operands) {
    const auto call = std::make_shared<Call<T>>(*problem.factorization, address, problem, operands);
    return {[call](std::int64_t) { call->run(); }, [call] { call->fetch(); }, [call] { call->renew(); }};
}

std::string symbol_of(const Problem& problem) {
    return (problem.type == Type::f32 ? "s" : "d") + *problem.factorization + "_";
}

Prepared prepared(void* routine, const Problem& problem, const Operands& operands) {
    return problem.type == Type::f32 ? prepare<float>(routine, problem, operands)
                                     : prepare<double>(routine, problem, operands);
}

template <class T>
void settle(const Problem& problem, T* a) {
    const Form form = factorization(*problem.factorization).form;
    const std::int64_t n = problem.shape.m;
    if (form == Form::general || form == Form::tall) return;
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = 0; i <= j; ++i) {
            T &above = a[i + j * n], &below = a[j + i * n];
            if (form == Form::triangular)
                below /= static_cast<T>(4 * n), above = i == j ? T(1) : T(0);
            else
                above = below;
            if (i == j && form == Form::positive) above = static_cast<T>(n);
        }
}

}  // namespace

const std::vector<std::string>& factorization_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const Factorization& each : kFactorizations) all.emplace_back(each.name);
        return all;
    }();
    return names;
}

bool factorization_takes(const std::string& name, const Shape& s) {
    const Form form = factorization(name).form;
    const bool tall = form == Form::general || form == Form::tall;
    return s.batch == 1 && s.n == 1 && (tall ? s.m >= s.k : s.m == s.k);
}

double factorization_operations(const std::string& name, const Shape& s) {
    const auto m = static_cast<double>(s.m), n = static_cast<double>(s.k);
    const double rectangle = n * n * (m - n / 3);
    if (name == "getrf") return rectangle;
    if (name == "geqrf") return 2 * rectangle;
    if (name == "syevd") return 14.0 / 3 * n * n * n;
    if (name == "gesdd") return 4 * rectangle + 2 * m * n * n + 14.0 / 3 * n * n * n;
    return n * n * n / 3;
}

std::int64_t factorization_elements(const std::string& name, const Shape& s) {
    if (name == "potrf" || name == "trtri") return s.m * s.k;
    if (name == "gesdd") return 2 * s.m * s.k + s.k * s.k;
    return 2 * s.m * s.k;
}

void settle_factorization(const Problem& problem, const Operands& operands) {
    if (problem.type == Type::f32)
        settle(problem, static_cast<float*>(operands.a.data()));
    else
        settle(problem, static_cast<double*>(operands.a.data()));
}

std::vector<Peer> factorization_peers(const std::vector<Peer>& others) {
    std::vector<Peer> peers{by_routine(tenon_library("libtenon_lapack.so"), symbol_of, prepared)};
    for (const Peer& other : others)
        if (other.symbol) peers.push_back(by_routine(other, symbol_of, prepared));
    return peers;
}

}  // namespace bench
