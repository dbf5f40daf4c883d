// What LAPACK promises of threads and forks, in libtenon_lapack.so and inside libtenon.
#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/fork_testing.h"
#include "lapack/lapack_testing.h"
#include "tenon/threads.h"

extern "C" {
using Potrf = void(const char*, const int*, double*, const int*, int*, std::size_t);
using Getrf = void(const int*, const int*, double*, const int*, int*, int*);
using Geqrf = void(const int*, const int*, double*, const int*, double*, double*, const int*, int*);
using Syevd = void(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*,
                   const int*, int*, std::size_t, std::size_t);
using Gesdd = void(const char*, const int*, const int*, double*, const int*, double*, double*, const int*, double*,
                   const int*, double*, const int*, int*, int*, std::size_t);
Potrf tenon_dpotrf_;
Getrf tenon_dgetrf_;
Geqrf tenon_dgeqrf_;
Syevd tenon_dsyevd_;
Gesdd tenon_dgesdd_;
}

namespace tenon::lapack::testing {
namespace {

void* loaded(const char* file) {
    void* handle = dlopen((std::string(TENON_BINARY_DIR "/") + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw std::runtime_error(dlerror());
    return handle;
}

/// LAPACK's routines that decide speed, by Fortran's interface.
struct Routines {
    Potrf* potrf;
    Getrf* getrf;
    Geqrf* geqrf;
    Syevd* syevd;
    Gesdd* gesdd;
    std::function<void(int)> set_threads;
};

Routines of_engine() {
    return {tenon_dpotrf_, tenon_dgetrf_, tenon_dgeqrf_,
            tenon_dsyevd_, tenon_dgesdd_, [](int n) { set_num_threads(n); }};
}
Routines of_library() {
    // It wants libblas.so.3, whose name the library of BLAS has.
    void* const blas = loaded("libtenon_blas.so");
    void* const lapack = loaded("libtenon_lapack.so");
    const auto find = [&]<class F>(const char* name, F*) { return reinterpret_cast<F*>(dlsym(lapack, name)); };
    return {find("dpotrf_", tenon_dpotrf_), find("dgetrf_", tenon_dgetrf_),
            find("dgeqrf_", tenon_dgeqrf_), find("dsyevd_", tenon_dsyevd_),
            find("dgesdd_", tenon_dgesdd_), reinterpret_cast<void (*)(int)>(dlsym(blas, "tenon_blas_set_num_threads"))};
}

/// All factors of one matrix, one after the other.
std::vector<double> factors(const Routines& r, int n) {
    const Matrix<double> a = random<double>(n, n, 3);
    Matrix<double> positive = a;
    for (int j = 0; j < n; ++j) {
        for (int i = 0; i < j; ++i) positive(i, j) = positive(j, i);
        positive(j, j) = n + 1;
    }
    std::vector<double> all, values(static_cast<std::size_t>(n)), work(static_cast<std::size_t>(10 * n * n + 100 * n));
    std::vector<int> integers(static_cast<std::size_t>(10 * n));
    const int lwork = static_cast<int>(work.size()), liwork = static_cast<int>(integers.size());
    int info = 0;
    const auto keep = [&](const std::vector<double>& x) { all.insert(all.end(), x.begin(), x.end()); };
    const auto factor = [&](const Matrix<double>& given, const std::function<void(double*)>& run) {
        Matrix<double> x = given;
        run(x.data.data());
        keep(x.data);
        all.push_back(info);
    };
    factor(positive, [&](double* x) { r.potrf("L", &n, x, &n, &info, 1); });
    factor(a, [&](double* x) { r.getrf(&n, &n, x, &n, integers.data(), &info); });
    factor(a, [&](double* x) { r.geqrf(&n, &n, x, &n, values.data(), work.data(), &lwork, &info); });
    factor(positive, [&](double* x) {
        r.syevd("V", "L", &n, x, &n, values.data(), work.data(), &lwork, integers.data(), &liwork, &info, 1, 1);
    });
    keep(values);
    Matrix<double> u(n, n), vt(n, n);
    factor(a, [&](double* x) {
        r.gesdd("S", &n, &n, x, &n, values.data(), u.data.data(), &n, vt.data.data(), &n, work.data(), &lwork,
                integers.data(), &info, 1);
    });
    keep(values), keep(u.data), keep(vt.data);
    return all;
}

class LapackProcess : public ::testing::TestWithParam<bool> {
  protected:
    const Routines routines_ = GetParam() ? of_library() : of_engine();
    void TearDown() override { routines_.set_threads(0); }
};

TEST_P(LapackProcess, ManyThreadsMayCallAtOnce) {
    constexpr int n = 170;
    routines_.set_threads(4);
    const std::vector<double> expected = factors(routines_, n);
    std::array<int, 8> wrong{};
    std::vector<std::thread> callers;
    for (int& each : wrong)
        callers.emplace_back([&] {
            for (int i = 0; i < 5; ++i) each += factors(routines_, n) != expected;
        });
    for (std::thread& caller : callers) caller.join();
    for (const int each : wrong) EXPECT_EQ(each, 0);
}

/// Threads of two pools would take CPUs from each other.
TEST_P(LapackProcess, LapackAndBlasShareOnePoolOfThreads) {
    constexpr int n = 600, kThreads = 4;
#if defined(__SANITIZE_THREAD__)
    constexpr int kSanitizers = 1;  // started with a process's first thread
#else
    constexpr int kSanitizers = 0;
#endif
    const auto exit_code = in_child([&] {
        const auto threads = [] {
            const std::filesystem::directory_iterator tasks("/proc/self/task");
            return std::distance(begin(tasks), end(tasks));
        };
        const auto before = threads();
        routines_.set_threads(kThreads);
        factors(routines_, n);
        return static_cast<int>(threads() - before);
    });
    EXPECT_EQ(exit_code, kThreads - 1 + kSanitizers);
}

TEST_P(LapackProcess, ForksBeforeDuringAndAfterCallsFinish) {
    constexpr int n = 70;
    routines_.set_threads(4);
    const std::vector<double> expected = factors(of_engine(), n);
    // The first calls of these routines with several threads are the children's.
    int right = in_child([&] { return factors(routines_, n) == expected ? 0 : 1; }) == 0;
    std::thread busy([&] {
        for (int i = 0; i < kForks; ++i) factors(routines_, n);
    });
    for (int i = 1; i < kForks; ++i) {
        right += in_child([&] { return factors(routines_, n) == expected ? 0 : 1; }) == 0;
        if (i % 10 == 0) {
            EXPECT_TRUE(factors(routines_, n) == expected);
        }
    }
    busy.join();
    EXPECT_EQ(right, kForks);
}

INSTANTIATE_TEST_SUITE_P(Each, LapackProcess, ::testing::Values(false, true),
                         [](const auto& each) { return each.param ? "Library" : "Engine"; });

TEST(LapackLibrary, StandsOnTenonsBlas) {
    of_library();
    Dl_info where{};
    void* const gemm = dlsym(loaded("libtenon_lapack.so"), "dgemm_");
    ASSERT_NE(gemm, nullptr);
    ASSERT_NE(dladdr(gemm, &where), 0);
    EXPECT_NE(std::strstr(where.dli_fname, "libtenon_blas.so"), nullptr) << where.dli_fname;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(LapackLibraryDeathTest, WhereThereIsNoMemoryTheProgramEndsAndSaysWhy) {
    constexpr int n = 1700;
    const Routines routines = of_library();
    std::vector<double> a(static_cast<std::size_t>(n) * n), tau(n), work(static_cast<std::size_t>(n) * 64);
    std::vector<int> pivots(n);
    int info = 0;
    const auto without_memory = [&](const auto& call) {
        routines.set_threads(1);
        // Of what is there already a little stays free.
        const rlimit none = {1, 1};
        if (setrlimit(RLIMIT_AS, &none) != 0) _exit(2);
        call();
        _exit(3);
    };
    const auto ends = ::testing::KilledBySignal(SIGABRT);
    EXPECT_EXIT(without_memory([&] { routines.getrf(&n, &n, a.data(), &n, pivots.data(), &info); }), ends,
                "libtenon_lapack: dgetrf: .*no memory for [0-9]{7,8} bytes");
    EXPECT_EXIT(without_memory([&] { routines.potrf("L", &n, a.data(), &n, &info, 1); }), ends,
                "libtenon_lapack: dpotrf: .*no memory for [0-9]{7,8} bytes");
    const int lwork = n * 64;
    EXPECT_EXIT(without_memory([&] { routines.geqrf(&n, &n, a.data(), &n, tau.data(), work.data(), &lwork, &info); }),
                ends, "libtenon_lapack: dgeqrf: .*no memory for [0-9]{7,8} bytes");
}
#endif

}  // namespace
}  // namespace tenon::lapack::testing
