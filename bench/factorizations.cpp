#include "bench/factorizations.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>

#include "bench/peer.h"
#include "bench/rows.h"
#include "bench/team.h"
#include "bench/ways.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/text.h"
#include "tenon/functions.h"
#include "tenon/linalg.h"
#include "tenon/random.h"

namespace bench {
namespace {

using tenon::Tensor;
namespace linalg = tenon::linalg;

constexpr std::int64_t kBatch = 1024, kOrders[] = {8, 16, 32};

/// A library's routine on one matrix, which it overwrites; by columns, as in LAPACK.
template <class T>
struct Lapack {
    const Peer& peer;
    int n;

    template <class... A>
    void call(const char* routine, A... arguments) const {
        reinterpret_cast<void (*)(A...)>(peer.symbol(std::string(sizeof(T) == 4 ? "s" : "d") + routine + '_'))(
            arguments...);
    }
};

/// Results of a batch.
template <class T>
struct Results {
    std::vector<T> a, left, right, values;
    std::vector<int> pivots;

    explicit Results(std::int64_t n)
        : a(static_cast<std::size_t>(kBatch * n * n)),
          left(a),
          right(a),
          values(static_cast<std::size_t>(kBatch * n)),
          pivots(values.size()) {}
};

/// Memory of one thread, and where a matrix's results go.
template <class T>
struct Work {
    std::vector<T> memory, tau;
    std::vector<int> integers;
    T *left = nullptr, *right = nullptr, *values = nullptr;
    int* pivots = nullptr;

    explicit Work(int n)
        : memory(static_cast<std::size_t>(64 * n * n + 1024)),
          tau(static_cast<std::size_t>(n)),
          integers(static_cast<std::size_t>(16 * n + 64)) {}
};

/// A factorization: what Tenon's user writes, what LAPACK's does, and numbers of both that must agree.
template <class T>
struct Problem {
    const char* name;
    double operations;  // times n^3
    bool exchanges;  // rows, which the operand asks for
    std::vector<Tensor> (*tenon)(const Tensor&);
    void (*lapack)(const Lapack<T>&, T* a, Work<T>&);
    /// Takes from a matrix's results n numbers that do not depend on the choice of signs.
    void (*of_tenon)(const std::vector<std::vector<T>>& results, std::int64_t matrix, int n, T* out);
    void (*of_lapack)(const T* a, const Work<T>&, int n, T* out);
};

template <class T>
void diagonal(const T* a, int n, T* out) {
    for (int i = 0; i < n; ++i) out[i] = std::fabs(a[i * (n + 1)]);
}
template <class T, int kWhich>
void diagonal_of_result(const std::vector<std::vector<T>>& results, std::int64_t matrix, int n, T* out) {
    diagonal(results[kWhich].data() + matrix * n * n, n, out);
}
template <class T, int kWhich>
void values_of_result(const std::vector<std::vector<T>>& results, std::int64_t matrix, int n, T* out) {
    std::copy_n(results[kWhich].data() + matrix * n, n, out);
}
template <class T>
void diagonal_of_lapack(const T* a, const Work<T>&, int n, T* out) {
    diagonal(a, n, out);
}
template <class T>
void values_of_lapack(const T*, const Work<T>& work, int n, T* out) {
    std::copy_n(work.values, n, out);
}
/// R's diagonal, which a thread keeps before Q takes its place.
template <class T>
void kept_of_lapack(const T*, const Work<T>& work, int n, T* out) {
    diagonal(work.right, n, out);
}

template <class T>
void call_cholesky(const Lapack<T>& l, T* a, Work<T>&) {
    int info = 0;
    l.call("potrf", "L", &l.n, a, &l.n, &info);
}
template <class T>
void call_lu(const Lapack<T>& l, T* a, Work<T>& work) {
    int info = 0;
    l.call("getrf", &l.n, &l.n, a, &l.n, work.pivots, &info);
}
template <class T>
void call_qr(const Lapack<T>& l, T* a, Work<T>& work) {
    int info = 0, size = static_cast<int>(work.memory.size());
    l.call("geqrf", &l.n, &l.n, a, &l.n, work.tau.data(), work.memory.data(), &size, &info);
    std::memcpy(work.right, a, static_cast<std::size_t>(l.n * l.n) * sizeof(T));
    l.call("orgqr", &l.n, &l.n, &l.n, a, &l.n, work.tau.data(), work.memory.data(), &size, &info);
}
template <class T>
void call_eigh(const Lapack<T>& l, T* a, Work<T>& work) {
    int info = 0, size = static_cast<int>(work.memory.size()), integers = static_cast<int>(work.integers.size());
    l.call("syevd", "V", "L", &l.n, a, &l.n, work.values, work.memory.data(), &size, work.integers.data(), &integers,
           &info);
}
template <class T>
void call_svd(const Lapack<T>& l, T* a, Work<T>& work) {
    int info = 0, size = static_cast<int>(work.memory.size());
    l.call("gesdd", "S", &l.n, &l.n, a, &l.n, work.values, work.left, &l.n, work.right, &l.n, work.memory.data(), &size,
           work.integers.data(), &info);
}

template <class T>
const Problem<T> kProblems[] = {
    {"cholesky", 1.0 / 3, false, [](const Tensor& x) { return std::vector{linalg::cholesky(x)}; }, call_cholesky<T>,
     diagonal_of_result<T, 0>, diagonal_of_lapack<T>},
    {"lu", 2.0 / 3, true,
     [](const Tensor& x) {
         const auto f = linalg::lu_factor(x);
         return std::vector{f.lu, f.permutation};
     },
     call_lu<T>, diagonal_of_result<T, 0>, diagonal_of_lapack<T>},
    {"qr", 8.0 / 3, false,
     [](const Tensor& x) {
         const auto f = linalg::qr(x);
         return std::vector{f.r, f.q};
     },
     call_qr<T>, diagonal_of_result<T, 0>, kept_of_lapack<T>},
    {"eigh", 9, false,
     [](const Tensor& x) {
         const auto f = linalg::eigh(x);
         return std::vector{f.eigenvalues, f.eigenvectors};
     },
     call_eigh<T>, values_of_result<T, 0>, values_of_lapack<T>},
    {"svd", 20, false,
     [](const Tensor& x) {
         const auto f = linalg::svd(x);
         return std::vector{f.s, f.u, f.vh};
     },
     call_svd<T>, values_of_result<T, 0>, values_of_lapack<T>},
};

/// Symmetric positive definite with spread eigenvalues: an operand that all take. Where rows are to be exchanged, they
/// stand in an order that differs from matrix to matrix.
Tensor operand(std::int64_t n, tenon::DType t, bool exchanges) {
    const Tensor x = astype(tenon::random::normal(tenon::random::Key(7), {kBatch, n, n}), tenon::DType::float64);
    const Tensor a = matmul(x, tenon::matrix_transpose(x)) / static_cast<double>(n) +
                     0.5 * tenon::eye(n, {}, 0, tenon::DType::float64);
    if (!exchanges) return astype(a, t).eval();
    const Tensor keys = tenon::random::uniform(tenon::random::Key(8), {kBatch, n});
    return astype(take_along_axis(a, expand_dims(argsort(keys, -1), -1), 1), t).eval();
}

/// The matrices, one after the other, copied to where LAPACK overwrites them.
template <class T>
void loop(const Problem<T>& problem, const Lapack<T>& lapack, const T* a, Results<T>& results,
          const std::function<void(std::int64_t, const T*, const Work<T>&)>& seen = {}) {
    share(kBatch, [&](std::int64_t from, std::int64_t to) {
        Work<T> work(lapack.n);
        const std::int64_t n = lapack.n, size = n * n;
        for (std::int64_t i = from; i < to; ++i) {
            T* const matrix = results.a.data() + i * size;
            work.left = results.left.data() + i * size, work.right = results.right.data() + i * size;
            work.values = results.values.data() + i * n, work.pivots = results.pivots.data() + i * n;
            std::memcpy(matrix, a + i * size, static_cast<std::size_t>(size) * sizeof(T));
            problem.lapack(lapack, matrix, work);
            if (seen) seen(i, matrix, work);
        }
    });
}

template <class T>
std::string difference(const Problem<T>& problem, const Lapack<T>& lapack, const std::vector<T>& columns,
                       const std::vector<std::vector<T>>& results) {
    const int n = lapack.n;
    std::vector<T> expected(static_cast<std::size_t>(kBatch * n)), got(static_cast<std::size_t>(n));
    Results<T> memory(n);
    loop<T>(problem, lapack, columns.data(), memory, [&](std::int64_t i, const T* a, const Work<T>& work) {
        problem.of_lapack(a, work, n, expected.data() + i * n);
    });
    const double tolerance = (sizeof(T) == 4 ? 1e-5 : 1e-13) * n;
    for (std::int64_t i = 0; i < kBatch; ++i) {
        problem.of_tenon(results, i, n, got.data());
        for (int j = 0; j < n; ++j) {
            const T e = expected[static_cast<std::size_t>(i * n + j)];
            if (!(std::fabs(got[static_cast<std::size_t>(j)] - e) <= static_cast<T>(tolerance) * (1 + std::fabs(e))))
                return "wrong result: number " + std::to_string(j) + " of matrix " + std::to_string(i) + " is " +
                       std::to_string(e) + ", Tenon's " + std::to_string(got[static_cast<std::size_t>(j)]);
        }
    }
    return {};
}

template <class T>
void run_problem(const Problem<T>& problem, std::int64_t n, const std::vector<Peer>& peers, int threads,
                 const Settings& settings, const FactorizationSink& sink) {
    const Tensor x = operand(n, sizeof(T) == 4 ? tenon::DType::float32 : tenon::DType::float64, problem.exchanges);
    // The same matrices by columns.
    const std::vector<T> columns = tenon::matrix_transpose(x).to<T>();
    FactorizationRow common;
    common.problem = std::string(problem.name) + ' ' + std::to_string(kBatch) + "x(" + std::to_string(n) + 'x' +
                     std::to_string(n) + ')';
    common.dtype = sizeof(T) == 4 ? "f32" : "f64";
    common.threads = threads, common.batch = kBatch, common.order = n;
    common.operations = problem.operations * static_cast<double>(kBatch * n * n * n);
    std::vector<std::vector<T>> results;
    for (const Tensor& t : problem.tenon(x)) results.push_back(t.to<T>());
    std::vector<Way<FactorizationRow>> ways(1, {common, {}, {}});
    ways[0].row.library = "tenon";
    ways[0].run = [&] { tenon::eval(problem.tenon(x)); };
    Results<T> memory(n);
    std::vector<FactorizationRow> wrong;
    for (const Peer& peer : peers) {
        const Lapack<T> lapack{peer, static_cast<int>(n)};
        FactorizationRow row = common;
        row.library = peer.name, row.version = peer.version;
        row.error = difference(problem, lapack, columns, results);
        if (!row.error.empty()) {
            wrong.push_back(row);
            continue;
        }
        ways.push_back(
            {row, [&problem, &columns, &memory, lapack] { loop<T>(problem, lapack, columns.data(), memory); }, {}});
    }
    measure(ways, settings);
    std::vector<FactorizationRow> rows;
    for (const auto& way : ways) rows.push_back(way.row);
    rows.insert(rows.end(), wrong.begin(), wrong.end());
    sink(rows);
}

const std::vector<cli::Column>& columns() {
    static const std::vector<cli::Column> all = {{"problem", 24, true}, {"dtype", 5, true}, {"threads", 7},
                                                 {"library", 8, true},  {"median", 9},      {"spread", 7},
                                                 {"us a matrix", 11},   {"GFLOP/s", 8},     {"of tenon", 8}};
    return all;
}

}  // namespace

void run_factorizations(const std::string& names, int threads, const Settings& settings,
                        const FactorizationSink& sink) {
    set_team(threads);
    std::vector<std::string> missing;
    std::vector<Peer> peers;
    for (Peer& peer : load_peers(names, missing)) {
        if (!peer.symbol || !peer.symbol("dgesdd_")) continue;
        peer.set_threads(1);
        peers.push_back(std::move(peer));
    }
    for (const std::string& line : missing) std::fprintf(stderr, "tenon: %s\n", line.c_str());
    for (const std::int64_t n : kOrders) {
        for (const auto& problem : kProblems<float>) run_problem(problem, n, peers, threads, settings, sink);
        for (const auto& problem : kProblems<double>) run_problem(problem, n, peers, threads, settings, sink);
    }
}

std::string factorization_header() { return cli::header(columns()); }

std::string factorization_lines(const std::vector<FactorizationRow>& rows) {
    std::string out;
    for (const FactorizationRow& row : rows) {
        const std::vector<std::string> head{row.problem, row.dtype, std::to_string(row.threads), row.library};
        if (!row.error.empty()) {
            out += cli::row({columns().begin(), columns().begin() + 4}, head) + "  NOT TIMED: " + row.error + '\n';
            continue;
        }
        std::vector<std::string> cells = head;
        cells.insert(cells.end(), {time_text(row.seconds), cli::fixed(100 * row.spread(), 1) + " %",
                                   cli::fixed(row.seconds / static_cast<double>(row.batch) * 1e6, 3),
                                   cli::fixed(row.operations / row.seconds * 1e-9, 2),
                                   cli::fixed(row.seconds / rows.front().seconds, 2)});
        out += cli::row(columns(), cells) + '\n';
    }
    return out;
}

std::string json_object(const FactorizationRow& row) {
    const auto number = [&](double x) { return row.error.empty() ? x : std::nan(""); };
    cli::JsonObject o;
    o.add("suite", kFactorizationSuite).add("problem", row.problem).add("dtype", row.dtype);
    o.add("threads", row.threads).add("library", row.library).add("seconds_median", number(row.seconds));
    o.add("gflops", number(row.operations / row.seconds * 1e-9));
    o.add("percent_of_peak", std::nan("")).add("percent_of_roofline", std::nan(""));
    o.add("batch", row.batch).add("order", row.order).add("samples", row.samples);
    o.add("calls_per_sample", row.calls).add("spread_percent", number(100 * row.spread()));
    if (!row.version.empty()) o.add("version", row.version);
    if (!row.error.empty()) o.add("error", row.error);
    return o.text();
}

}  // namespace bench
