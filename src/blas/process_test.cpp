// What the library promises of bits, threads, forks and company in a process.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <thread>

#include "base/fork_testing.h"
#include "blas/blas_testing.h"
#include "tenon/product.h"

namespace tenon::blas::testing {
namespace {

/// FNV-1a.
class Hash {
  public:
    template <class T>
    void add(const std::vector<T>& data) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
        for (std::size_t i = 0; i < data.size() * sizeof(T); ++i) value_ = (value_ ^ bytes[i]) * 1099511628211u;
    }
    std::uint64_t value() const { return value_; }

  private:
    std::uint64_t value_ = 14695981039346656037u;
};

template <class T>
std::vector<T> numbers(std::int64_t count, unsigned seed) {
    Random random(seed);
    std::vector<T> out(static_cast<std::size_t>(count));
    for (T& x : out) x = random.number<T>();
    return out;
}

/// Results of one type: large enough for several threads, ragged.
template <class T>
void add_results(Hash& hash) {
    using R = Real<T>;
    constexpr std::int64_t n = 301, k = 417, rows = 700;
    const Way way;
    const Number<T> alpha{T(0.75)}, beta{T(0.5)};
    const auto a = numbers<T>(rows * rows, 1), b = numbers<T>(rows * rows, 2), c0 = numbers<T>(rows * rows, 3);
    // Triangles whose systems have solutions of the operands' size.
    std::vector<T> small = a;
    for (T& x : small) x *= static_cast<R>(1.0 / 64);
    const T *pa = a.data(), *pb = b.data(), *pt = small.data();
    const auto with = [&](const std::function<void(T*)>& run) {
        std::vector<T> c = c0;
        run(c.data());
        hash.add(c);
    };
    for (const char op : {'N', 'T', 'C'}) {
        with([&](T* c) {
            invoke<T>(way, "gemm", Option{op}, Option{'N'}, Int{n}, Int{n + 5}, Int{k}, alpha, pa, Int{rows}, pb,
                      Int{rows}, beta, c, Int{rows});
        });
        with([&](T* c) {
            invoke<T>(way, "gemv", Option{op}, Int{rows}, Int{n}, alpha, pa, Int{rows}, pb, Int{1}, beta, c, Int{2});
        });
        for (const char ul : {'U', 'L'}) {
            for (const char* name : {"trmm", "trsm"})
                with([&](T* c) {
                    invoke<T>(way, name, SideOption{'L'}, Option{ul}, Option{op}, DiagonalOption{'U'}, Int{n}, Int{k},
                              Number<T>{T(0.125)}, pt, Int{rows}, c, Int{rows});
                });
            for (const char* name : {"trmv", "trsv"})
                with([&](T* c) {
                    invoke<T>(way, name, Option{ul}, Option{op}, DiagonalOption{'U'}, Int{n}, pt, Int{rows}, c, Int{1});
                });
        }
    }
    for (const char ul : {'U', 'L'}) {
        with([&](T* c) {
            invoke<T>(way, "symm", SideOption{'R'}, Option{ul}, Int{k}, Int{n}, alpha, pa, Int{rows}, pb, Int{rows},
                      beta, c, Int{rows});
        });
        with([&](T* c) {
            invoke<T>(way, "syrk", Option{ul}, Option{'N'}, Int{n}, Int{k}, alpha, pa, Int{rows}, beta, c, Int{rows});
        });
        with([&](T* c) {
            invoke<T>(way, "syr2k", Option{ul}, Option{'T'}, Int{n}, Int{k}, alpha, pa, Int{rows}, pb, Int{rows}, beta,
                      c, Int{rows});
        });
        with([&](T* c) {
            invoke<T>(way, kComplex<T> ? "hemv" : "symv", Option{ul}, Int{rows}, alpha, pa, Int{rows}, pb, Int{1}, beta,
                      c, Int{1});
        });
        with([&](T* c) {
            invoke<T>(way, kComplex<T> ? "her2" : "syr2", Option{ul}, Int{rows}, alpha, pb, Int{1}, pa, Int{3}, c,
                      Int{rows});
        });
    }
    with([&](T* c) {
        invoke<T>(way, kComplex<T> ? "geru" : "ger", Int{rows}, Int{n}, alpha, pa, Int{1}, pb, Int{1}, c, Int{rows});
    });
    with([&](T* c) {
        invoke<T>(way, "gbmv", Option{'T'}, Int{rows}, Int{rows}, Int{70}, Int{80}, alpha, pa, Int{rows}, pb, Int{1},
                  beta, c, Int{1});
    });
    const std::string l(1, kLetter<T>), real(1, sizeof(R) == 4 ? 's' : 'd');
    for (const int inc : {1, 3}) {
        std::vector<R> sums;
        for (const char* name : {"nrm2", "asum"})
            sums.push_back(
                function<R(int, const T*, int)>("cblas_" + (kComplex<T> ? real + l : l) + name)(10001, pa, inc));
        hash.add(sums);
    }
}

std::uint64_t all_results() {
    Hash hash;
    add_results<float>(hash);
    add_results<double>(hash);
    add_results<std::complex<float>>(hash);
    add_results<std::complex<double>>(hash);
    return hash.value();
}

/// Not a test: what another process prints for the next one.
TEST(Bits, DISABLED_Print) { std::printf("hash %llx\n", static_cast<unsigned long long>(all_results())); }

std::string hash_with(const std::string& environment) {
    // Whatever this process's part of the tests is, the other one prints.
    const std::string command = "env -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX " + environment + " \"" +
                                std::string(program_invocation_name) +
                                "\" --gtest_filter=Bits.DISABLED_Print --gtest_also_run_disabled_tests";
    FILE* const pipe = popen(command.c_str(), "r");
    std::string found;
    for (std::array<char, 256> line{}; std::fgets(line.data(), line.size(), pipe);)
        if (std::strncmp(line.data(), "hash ", 5) == 0) found = line.data();
    pclose(pipe);
    return found;
}

TEST(Bits, DoNotDependOnThreadsOrInstructionSet) {
    const std::string expected = hash_with("TENON_NUM_THREADS=1");
    ASSERT_FALSE(expected.empty());
    for (const char* threads : {"2", "3", "8", "16"})
        EXPECT_EQ(hash_with("TENON_NUM_THREADS=" + std::string(threads)), expected) << threads;
    if (__builtin_cpu_supports("avx2")) {
        EXPECT_EQ(hash_with("TENON_ISA=avx2 TENON_NUM_THREADS=2"), expected);
    }
    EXPECT_EQ(hash_with("TENON_ISA=baseline TENON_NUM_THREADS=2"), expected);
}

void set_threads(int n) { function<void(int)>("tenon_blas_set_num_threads")(n); }

TEST(Process, TheNumberOfThreadsIsSetByACall) {
    set_threads(3);
    EXPECT_EQ(function<int()>("tenon_blas_get_num_threads")(), 3);
    set_threads(0);
    EXPECT_GE(function<int()>("tenon_blas_get_num_threads")(), 1);
}

/// A product and its sum of elements, for callers that watch each other.
double product_of(const std::vector<double>& a, std::int64_t n) {
    std::vector<double> c(static_cast<std::size_t>(n * n));
    invoke<double>({}, "gemm", Option{'N'}, Option{'T'}, Int{n}, Int{n}, Int{n}, Number<double>{1}, a.data(), Int{n},
                   a.data(), Int{n}, Number<double>{0}, c.data(), Int{n});
    invoke<double>({}, "symv", Option{'U'}, Int{n}, Number<double>{1}, c.data(), Int{n}, a.data(), Int{1},
                   Number<double>{0}, c.data() + n, Int{1});
    double sum = 0;
    for (const double x : c) sum += x;
    return sum;
}

TEST(Process, ManyThreadsMayCallAtOnce) {
    constexpr std::int64_t n = 150;
    const auto a = numbers<double>(n * n, 5);
    set_threads(4);
    const double expected = product_of(a, n);
    Hash all;
    add_results<float>(all);
    std::vector<std::thread> callers;
    std::array<int, 8> wrong{};
    for (int& each : wrong)
        callers.emplace_back([&a, &all, &each, expected] {
            for (int i = 0; i < 20; ++i) each += product_of(a, n) != expected;
            // Every routine, with work for several threads.
            Hash again;
            add_results<float>(again);
            each += again.value() != all.value();
        });
    for (std::thread& caller : callers) caller.join();
    for (const int each : wrong) EXPECT_EQ(each, 0);
    set_threads(0);
}

TEST(Process, ForksBeforeDuringAndAfterCallsFinish) {
    constexpr std::int64_t n = 150;
    const auto a = numbers<double>(n * n, 6);
    set_threads(4);
    const double expected = product_of(a, n);
    std::thread busy([&] {
        for (int i = 0; i < kForks; ++i) product_of(a, n);
    });
    int right = 0;
    for (int i = 0; i < kForks; ++i) {
        const pid_t child = fork();
        if (child == 0) _exit(product_of(a, n) == expected ? 0 : 1);
        right += wait_for(child) == 0;
        if (i % 10 == 0) {
            EXPECT_EQ(product_of(a, n), expected);
        }
    }
    busy.join();
    EXPECT_EQ(right, kForks);
    set_threads(0);
}

TEST(Process, LivesBesideTheEngineAndTheReference) {
    constexpr std::int64_t n = 40;
    const auto a = numbers<double>(n * n, 7);
    std::vector<double> ours(n * n), engine(n * n), reference(n * n);
    invoke<double>({}, "gemm", Option{'N'}, Option{'N'}, Int{n}, Int{n}, Int{n}, Number<double>{1}, a.data(), Int{n},
                   a.data(), Int{n}, Number<double>{0}, ours.data(), Int{n});
    // By rows C^T = B^T A^T.
    const product::Matrix m = product::row_major(a.data(), DType::float64, n, n);
    product::gemm(m, m, product::row_major(engine.data(), DType::float64, n, n));
    EXPECT_EQ(ours, engine);
    void* other = dlopen("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!other) GTEST_SKIP() << "the reference BLAS (Debian's libblas3) is not installed";
    using Gemm =
        void(int, int, int, int, int, int, double, const double*, int, const double*, int, double, double*, int);
    reinterpret_cast<Gemm*>(dlsym(other, "cblas_dgemm"))(102, 111, 111, n, n, n, 1, a.data(), n, a.data(), n, 0,
                                                         reference.data(), n);
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], reference[i], 1e-13);
}

/// Exports nothing but the symbols of BLAS: no name of C++.
TEST(Process, ShowsNoOtherSymbols) {
    EXPECT_EQ(dlsym(library(), "_ZN5tenon11num_threadsEv"), nullptr);
    EXPECT_NE(dlsym(library(), "lsame_"), nullptr);
}

}  // namespace
}  // namespace tenon::blas::testing
