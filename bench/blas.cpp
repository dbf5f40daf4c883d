#include "bench/blas.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "bench/calls.h"
#include "bench/library.h"
#include "tenon/error.h"
#include "tenon/version.h"

namespace bench {
namespace {

constexpr const char* kBlas = "libtenon_blas.so";
constexpr int kColumns = 102, kNoTrans = 111, kTrans = 112, kUpper = 121, kLower = 122, kStored = 131, kLeft = 141,
              kRight = 142;

/// The form of a routine's operands.
enum class Form { product, square_a, square_c, vector, outer };

struct Routine {
    const char *name, *symbol;
    Form form;
    bool triangular = false, transposed = false, right = false, upper = false;
};
constexpr Routine kRoutines[] = {
    {"gemm", "gemm", Form::product},
    {"gemmt", "gemmt", Form::square_c},
    {"symm", "symm", Form::square_a},
    {"syrk", "syrk", Form::square_c},
    {"syr2k", "syr2k", Form::square_c},
    {"trmm", "trmm", Form::square_a, true},
    {"trmm-rt", "trmm", Form::square_a, true, true, true},
    {"trsm", "trsm", Form::square_a, true},
    {"trsm-rt", "trsm", Form::square_a, true, true, true},
    {"gemv", "gemv", Form::vector},
    {"gemv-t", "gemv", Form::vector, false, true},
    {"symv", "symv", Form::vector},
    {"symv-u", "symv", Form::vector, false, false, false, true},
    {"ger", "ger", Form::outer},
};

const Routine& routine(const std::string& name) {
    for (const Routine& each : kRoutines)
        if (name == each.name) return each;
    throw tenon::ValueError("bench blas: " + name + ": unknown");
}
bool is(const Routine& r, const char* symbol) { return std::strcmp(r.symbol, symbol) == 0; }

template <class T>
struct Call {
    const Routine& r;
    void* address;
    int m, n, k;
    const T *a, *b;
    T* c;

    template <class... A>
    void operator()(A... arguments) const {
        reinterpret_cast<void (*)(int, A...)>(address)(kColumns, arguments...);
    }
    void run() const {
        const T one = 1, zero = 0;
        const int op = r.transposed ? kTrans : kNoTrans, side = r.right ? kRight : kLeft;
        if (is(r, "gemm")) return (*this)(kNoTrans, kNoTrans, m, n, k, one, a, m, b, k, zero, c, m);
        if (is(r, "gemmt")) return (*this)(kLower, kNoTrans, kNoTrans, n, k, one, a, n, b, k, zero, c, n);
        if (is(r, "symm")) return (*this)(kLeft, kLower, m, n, one, a, m, b, m, zero, c, m);
        if (is(r, "syrk")) return (*this)(kLower, kNoTrans, n, k, one, a, n, zero, c, n);
        // B is (k, n) like the others', and a whole transpose of what the routine wants where k = n.
        if (is(r, "syr2k")) return (*this)(kLower, kNoTrans, n, k, one, a, n, b, n, zero, c, n);
        if (r.triangular) return (*this)(side, kLower, op, kStored, m, n, one, a, m, c, m);
        if (is(r, "gemv")) return (*this)(op, m, k, one, a, m, b, 1, zero, c, 1);
        if (is(r, "symv")) return (*this)(r.upper ? kUpper : kLower, m, one, a, m, b, 1, zero, c, 1);
        return (*this)(m, n, one, a, 1, b, 1, c, m);
    }
};

/// Routines that work in place: C is set to B, or to zeros, if its memory holds NaN. Otherwise the call before has left
/// there what serves as well.
template <class T>
Prepared prepare(void* address, const Problem& problem, const Operands& operands) {
    const Routine& r = routine(*problem.routine);
    const auto& [m, n, k, batch] = problem.shape;
    const Call<T> call{r,
                       address,
                       static_cast<int>(m),
                       static_cast<int>(n),
                       static_cast<int>(k),
                       operands.a_as<T>(),
                       operands.b_as<T>(),
                       operands.c_as<T>()};
    const std::int64_t bytes = operands.c.bytes();
    return {[call, bytes](std::int64_t calls) {
                if (std::isnan(call.c[0])) {
                    if (call.r.triangular) std::memcpy(call.c, call.b, static_cast<std::size_t>(bytes));
                    if (call.r.form == Form::outer) std::memset(call.c, 0, static_cast<std::size_t>(bytes));
                }
                for (std::int64_t i = 0; i < calls; ++i) call.run();
            },
            {}};
}

std::string symbol_of(const Problem& problem) {
    return std::string("cblas_") + (problem.type == Type::f32 ? 's' : 'd') + routine(*problem.routine).symbol;
}

Prepared prepared(void* routine, const Problem& problem, const Operands& operands) {
    return problem.type == Type::f32 ? prepare<float>(routine, problem, operands)
                                     : prepare<double>(routine, problem, operands);
}

/// How many elements an operand has in memory.
template <class T>
struct Values {
    const T *a, *b, *c;
    std::int64_t m, n, k;

    double at(const T* x, std::int64_t ld, std::int64_t i, std::int64_t j) const {
        return static_cast<double>(x[i + j * ld]);
    }
    double symmetric(const Routine& r, std::int64_t i, std::int64_t j) const {
        return (i >= j) != r.upper ? at(a, m, i, j) : at(a, m, j, i);
    }
    template <class F>
    static double sum(std::int64_t begin, std::int64_t end, F f) {
        double total = 0;
        for (std::int64_t p = begin; p < end; ++p) total += f(p);
        return total;
    }

    double element(const Routine& r, std::int64_t i, std::int64_t j) const {
        if (is(r, "symm")) return sum(0, m, [&](auto p) { return symmetric(r, i, p) * at(b, m, p, j); });
        if (is(r, "syrk")) return sum(0, k, [&](auto p) { return at(a, n, i, p) * at(a, n, j, p); });
        if (is(r, "syr2k"))
            return sum(0, k, [&](auto p) { return at(a, n, i, p) * at(b, n, j, p) + at(b, n, i, p) * at(a, n, j, p); });
        if (is(r, "gemv"))
            return sum(0, k, [&](auto p) { return (r.transposed ? at(a, m, p, i) : at(a, m, i, p)) * at(b, k, p, 0); });
        if (is(r, "symv")) return sum(0, k, [&](auto p) { return symmetric(r, i, p) * at(b, k, p, 0); });
        if (is(r, "trmm"))
            return r.right ? sum(0, j + 1, [&](auto p) { return at(b, m, i, p) * at(a, m, j, p); })
                           : sum(0, i + 1, [&](auto p) { return at(a, m, i, p) * at(b, m, p, j); });
        if (is(r, "trsm")) {
            const double known = r.right ? sum(0, j, [&](auto p) { return at(c, m, i, p) * at(a, m, j, p); })
                                         : sum(0, i, [&](auto p) { return at(a, m, i, p) * at(c, m, p, j); });
            const std::int64_t d = r.right ? j : i;
            return (at(b, m, i, j) - known) / at(a, m, d, d);
        }
        return sum(0, k, [&](auto p) { return at(a, m, i, p) * at(b, k, p, j); });  // gemm, and ger with k = 1
    }
};

/// The norms of the rows or the columns of a matrix.
template <class T>
std::vector<double> norms(const T* x, std::int64_t rows, std::int64_t columns, bool of_rows) {
    std::vector<double> sums(static_cast<std::size_t>(of_rows ? rows : columns));
    for (std::int64_t j = 0; j < columns; ++j)
        for (std::int64_t i = 0; i < rows; ++i) {
            const double e = static_cast<double>(x[i + j * rows]);
            sums[static_cast<std::size_t>(of_rows ? i : j)] += e * e;
        }
    for (double& sum : sums) sum = std::sqrt(sum);
    return sums;
}

/// The norms of the rows of a symmetric matrix of which one triangle is given.
template <class T>
std::vector<double> symmetric_norms(const T* x, std::int64_t n, bool upper) {
    std::vector<double> sums(static_cast<std::size_t>(n));
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = upper ? 0 : j; i < (upper ? j + 1 : n); ++i) {
            const double e = static_cast<double>(x[i + j * n]);
            sums[static_cast<std::size_t>(i)] += e * e;
            if (i != j) sums[static_cast<std::size_t>(j)] += e * e;
        }
    for (double& sum : sums) sum = std::sqrt(sum);
    return sums;
}

template <class T>
void settle(const Problem& problem, const Operands& operands) {
    const std::int64_t n = problem.shape.m;
    T* a = static_cast<T*>(operands.a.data());
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = 0; i < n; ++i) {
            T& x = a[i + j * n];
            x = i == j ? T(1) : x / static_cast<T>(4 * n);
        }
}

}  // namespace

const std::vector<std::string>& routine_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const Routine& r : kRoutines) all.emplace_back(r.name);
        return all;
    }();
    return names;
}

bool routine_takes(const std::string& name, const Shape& s) {
    if (s.batch != 1) return false;
    switch (routine(name).form) {
        case Form::product:
            return s.n > 1 && s.k > 1;
        case Form::square_a:
            return s.n > 1 && s.m == s.k && (!routine(name).right || s.m == s.n);
        case Form::square_c:
            return s.k > 1 && s.m == s.n && (name != "syr2k" || s.k == s.n);
        case Form::vector:
            return s.n == 1 && s.m == s.k;
        default:
            return s.k == 1;
    }
}

double routine_operations(const std::string& name, const Shape& s) {
    const Routine& r = routine(name);
    const double all = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
    if (r.triangular || name == "syrk" || name == "gemmt") return all / 2;
    return all;  // of syr2k, half of two products
}

std::int64_t routine_elements(const std::string& name, const Shape& s) {
    const Routine& r = routine(name);
    const std::int64_t a = s.m * s.k, b = s.k * s.n, c = s.m * s.n;
    if (r.triangular) return a / 2 + 2 * c;
    if (is(r, "symv") || name == "symm") return a / 2 + b + c;
    if (name == "syrk") return a + c / 2;
    if (name == "syr2k" || name == "gemmt") return a + b + c / 2;
    if (r.form == Form::outer) return a + b + 2 * c;
    return a + b + c;
}

void settle_routine(const Problem& problem, const Operands& operands) {
    if (!routine(*problem.routine).triangular) return;
    if (problem.type == Type::f32)
        settle<float>(problem, operands);
    else
        settle<double>(problem, operands);
}

std::optional<double> routine_element(const Problem& problem, const Operands& operands, std::int64_t index) {
    const Routine& r = routine(*problem.routine);
    const auto& [m, n, k, batch] = problem.shape;
    const std::int64_t i = index % m, j = index / m;
    if (r.form == Form::square_c && i < j) return std::nullopt;
    const auto of = [&, m = m, n = n, k = k]<class T>(T) {
        return Values<T>{operands.a_as<T>(), operands.b_as<T>(), operands.c_as<T>(), m, n, k}.element(r, i, j);
    };
    return problem.type == Type::f32 ? of(0.0F) : of(0.0);
}

RoutineBound::RoutineBound(const Problem& problem, const Operands& operands) : m_(problem.shape.m) {
    if (problem.type == Type::f32)
        fill<float>(problem, operands);
    else
        fill<double>(problem, operands);
}

template <class T>
void RoutineBound::fill(const Problem& problem, const Operands& operands) {
    const Routine& r = routine(*problem.routine);
    const auto& [m, n, k, batch] = problem.shape;
    const T *a = operands.a_as<T>(), *b = operands.b_as<T>();
    const bool symmetric = is(r, "symm") || is(r, "symv");
    twice_ = is(r, "syr2k");
    auto terms = static_cast<double>(symmetric ? m : twice_ ? 2 * k : k) + 2;
    if (r.triangular) {
        // Halves add to what is there, level after level.
        terms = static_cast<double>(m) + 2 * std::log2(static_cast<double>(m)) + 2;
        rows_.assign(static_cast<std::size_t>(m), is(r, "trmm") ? 5.0 / 4 : 20.0 / 9);
        columns_.assign(static_cast<std::size_t>(n), 1);
    } else {
        rows_ = symmetric ? symmetric_norms(a, m, r.upper) : norms(a, m, k, !r.transposed);
        columns_ = is(r, "syrk") ? rows_ : twice_ ? norms(b, n, k, true) : norms(b, symmetric ? m : k, n, false);
    }
    scale_ = terms * static_cast<double>(std::numeric_limits<T>::epsilon());  // twice u
}

double RoutineBound::operator()(std::int64_t i) const {
    const auto row = static_cast<std::size_t>(i % m_), column = static_cast<std::size_t>(i / m_);
    const double sums = rows_[row] * columns_[column];
    return scale_ * (twice_ ? sums + columns_[row] * rows_[column] : sums);
}

Peer tenon_library(const std::string& name) {
    std::error_code error;
    const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    std::vector<std::filesystem::path> folders = {folder, folder.parent_path() / "lib"};
    for (const auto& each : std::filesystem::directory_iterator(folder.parent_path() / "lib", error))
        folders.push_back(each.path());
    for (const std::filesystem::path& each : folders) {
        // First, so that a library on it finds it by its soname.
        const auto blas = Library::load(each / kBlas);
        if (!blas) continue;
        auto* set = blas->find<void(int)>("tenon_blas_set_num_threads");
        const auto library = name == kBlas ? blas : Library::load(each / name);
        if (!set || !library) continue;
        return {"tenon",
                TENON_VERSION,
                {},
                {},
                set,
                [found = *library](const std::string& symbol) {
                    return reinterpret_cast<void*>(found.find<void()>(symbol)); }};
    }
    throw tenon::ValueError("bench: " + name + " was not found beside the command, nor where it is installed");
}

std::vector<Peer> routine_peers(const std::vector<Peer>& others) {
    std::vector<Peer> peers{by_routine(tenon_library(kBlas), symbol_of, prepared)};
    for (const Peer& other : others)
        if (other.symbol) peers.push_back(by_routine(other, symbol_of, prepared));
    return peers;
}

}  // namespace bench
