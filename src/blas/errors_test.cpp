// Wrong arguments: which is told, to whom, and that nothing is computed. The handlers of this program take the place of
// the library's. And what BLAS cannot report.
#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "blas/blas_testing.h"

namespace {

struct Told {
    std::string routine;
    long long position = 0;
    int calls = 0;
    bool from_c = false, by_rows = false;
} told;

void tell(const std::string& routine, long long position) {
    using tenon::blas::testing::symbol;
    told = {routine, position, told.calls + 1, *static_cast<int*>(symbol("CBLAS_CallFromC")) != 0,
            *static_cast<int*>(symbol("RowMajorStrg")) != 0};
}

}  // namespace

extern "C" {
[[gnu::visibility("default")]] void xerbla_(const char* routine, const int* position, std::size_t length) {
    tell({routine, length}, *position);
}
[[gnu::visibility("default")]] void xerbla_64_(const char* routine, const std::int64_t* position, std::size_t length) {
    tell({routine, length}, *position);
}
[[gnu::visibility("default")]] void cblas_xerbla(int position, const char* routine, const char*, ...) {
    tell(routine, position);
}
[[gnu::visibility("default")]] void cblas_xerbla_64(std::int64_t position, const char* routine, const char*, ...) {
    tell(routine, position);
}
}

namespace tenon::blas::testing {
namespace {

double x[4];

/// Calls dgemm with argument `position` of Fortran's wrong.
void wrong_gemm(Way way, int position) {
    const auto at = [&](int p, std::int64_t right, std::int64_t wrong) { return Int{p == position ? wrong : right}; };
    const char bad = way.interface == Interface::fortran ? 'R' : '?';
    invoke<double>(way, "gemm", Option{position == 1 ? bad : 'N'}, Option{position == 2 ? bad : 'N'}, at(3, 2, -1),
                   at(4, 2, -1), at(5, 2, -1), Number<double>{1}, x, at(8, 2, 1), x, at(10, 2, 1), Number<double>{0}, x,
                   at(13, 2, 1));
}

TEST(Errors, FortranIsToldTheFirstWrongArgument) {
    for (const bool wide : {false, true})
        for (const int position : {1, 2, 3, 4, 5, 8, 10, 13}) {
            told = {};
            wrong_gemm({Interface::fortran, wide}, position);
            EXPECT_EQ(told.calls, 1);
            EXPECT_EQ(told.position, position);
            EXPECT_EQ(told.routine, "DGEMM ");
            EXPECT_FALSE(told.from_c);
        }
}

TEST(Errors, WhatFortranFindsWrongOfCIsToldByItsHandlerWithTheOrderKnown) {
    for (const Interface interface : {Interface::c_columns, Interface::c_rows})
        for (const int position : {3, 4, 5, 8, 10, 13}) {
            told = {};
            wrong_gemm({interface, false}, position);
            const bool rows = interface == Interface::c_rows;
            EXPECT_EQ(told.calls, 1);
            // Of rows the operands have changed places.
            const int moved = position == 3    ? 4
                              : position == 4  ? 3
                              : position == 8  ? 10
                              : position == 10 ? 8
                                               : position;
            EXPECT_EQ(told.position, rows ? moved : position);
            EXPECT_EQ(told.routine, "DGEMM ");
            EXPECT_TRUE(told.from_c);
            EXPECT_EQ(told.by_rows, rows);
        }
    EXPECT_EQ(*static_cast<int*>(symbol("CBLAS_CallFromC")), 0);
    EXPECT_EQ(*static_cast<int*>(symbol("RowMajorStrg")), 0);
}

TEST(Errors, ConstantsThatAreNoneAreToldByTheirPlaceInC) {
    told = {};
    wrong_gemm({Interface::c_columns, false}, 1);
    EXPECT_EQ(told.position, 2);
    EXPECT_EQ(told.routine, "cblas_dgemm");
    wrong_gemm({Interface::c_rows, true}, 2);
    EXPECT_EQ(told.position, 3);
    invoke_as<int, true>("cblas_dgemm", 100, Option{'N'}, Option{'N'}, Int{1}, Int{1}, Int{1}, Number<double>{1}, x,
                         Int{1}, x, Int{1}, Number<double>{0}, x, Int{1});
    EXPECT_EQ(told.position, 1);
    EXPECT_EQ(told.calls, 3);
}

/// Of routines that Netlib's programs do not know.
TEST(Errors, ExtensionsTellTheirArgumentsToo) {
    for (const Interface interface : {Interface::fortran, Interface::c_columns, Interface::c_rows})
        for (const bool wide : {false, true}) {
            const Way way{interface, wide};
            const bool rows = way.by_rows();
            for (const char* name : {"gemmt", "gemmtr"})
                for (const int position : {4, 5, 8, 10, 13}) {
                    const auto at = [&](int p, std::int64_t right, std::int64_t wrong) {
                        return Int{p == position ? wrong : right};
                    };
                    told = {};
                    invoke<double>(way, name, Option{'U'}, Option{'N'}, Option{'N'}, at(4, 2, -1), at(5, 2, -1),
                                   Number<double>{1}, x, at(8, 2, 1), x, at(10, 2, 1), Number<double>{0}, x,
                                   at(13, 2, 1));
                    EXPECT_EQ(told.calls, 1) << name << position;
                    EXPECT_EQ(told.position, !rows ? position : position == 8 ? 10 : position == 10 ? 8 : position);
                }
            for (const int position : {3, 4, 5, 8, 11, 15, 17}) {
                const auto at = [&](int p, std::int64_t right, std::int64_t wrong) {
                    return Int{p == position ? wrong : right};
                };
                told = {};
                invoke<double>(way, "gemm_batch_strided", Option{'N'}, Option{'N'}, at(3, 2, -1), at(4, 2, -1),
                               at(5, 2, -1), Number<double>{1}, x, at(8, 2, 1), Int{0}, x, at(11, 2, 1), Int{0},
                               Number<double>{0}, x, at(15, 2, 1), Int{4}, at(17, 1, -1));
                const int moved = position == 3    ? 4
                                  : position == 4  ? 3
                                  : position == 8  ? 11
                                  : position == 11 ? 8
                                                   : position;
                EXPECT_EQ(told.calls, 1) << position;
                EXPECT_EQ(told.position, rows ? moved : position);
            }
        }
}

/// The library's own handler, in a process of its own: it says the place of what C was given, and ends the program.
TEST(ErrorsDeathTest, TheLibrarysHandlerCountsArgumentsAsCGivesThem) {
    const auto told_to = [](const char* routine, int position, bool by_rows) {
        // This program's handlers take the place of the library's, so the library's own is asked for.
        void* const own = dlsym(library(), "cblas_xerbla");
        *static_cast<int*>(symbol("RowMajorStrg")) = by_rows;
        reinterpret_cast<void (*)(int, const char*, const char*, ...)>(own)(position, routine, "");
    };
    EXPECT_EXIT(told_to("cblas_dgemmt", 9, true), ::testing::ExitedWithCode(1), "Parameter 11 to routine cblas_dgemmt");
    EXPECT_EXIT(told_to("cblas_dgemmt", 5, true), ::testing::ExitedWithCode(1), "Parameter 5 to routine");
    EXPECT_EXIT(told_to("cblas_dgemmtr", 11, true), ::testing::ExitedWithCode(1), "Parameter 9 to routine");
    EXPECT_EXIT(told_to("cblas_dgemm", 4, true), ::testing::ExitedWithCode(1), "Parameter 5 to routine");
    EXPECT_EXIT(told_to("cblas_dgemm_batch_strided", 12, true), ::testing::ExitedWithCode(1), "Parameter 9 to routine");
    EXPECT_EXIT(told_to("cblas_dgemm_batch_strided", 12, false), ::testing::ExitedWithCode(1), "Parameter 12 to");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ErrorsDeathTest, WhereThereIsNoMemoryTheProgramEndsAndSaysWhy) {
    constexpr std::int64_t n = 1200;
    const auto without_memory = [](const auto& call) {
        function<void(int)>("tenon_blas_set_num_threads")(1);
        // Of what is there already a little stays free.
        const rlimit none = {1, 1};
        if (setrlimit(RLIMIT_AS, &none) != 0) _exit(2);
        call();
        _exit(3);
    };
    std::vector<std::complex<double>> memory(n * n), other(n * n);
    auto *const z = memory.data(), *const y = other.data();
    double *const a = reinterpret_cast<double*>(z), *const b = reinterpret_cast<double*>(y);
    const Number<double> one{1};
    // C is A, which is copied.
    const auto gemm = [&](Way way) {
        without_memory([&] {
            invoke<double>(way, "gemm", Option{'N'}, Option{'N'}, Int{n}, Int{n}, Int{n}, one, a, Int{n}, b, Int{n},
                           one, a, Int{n});
        });
    };
    const auto ends = ::testing::KilledBySignal(SIGABRT);
    EXPECT_EXIT(gemm({Interface::fortran, false}), ends, "libtenon_blas: dgemm: .*no memory for [0-9]{8} bytes");
    EXPECT_EXIT(gemm({Interface::c_rows, true}), ends, "libtenon_blas: cblas_dgemm_64: .*no memory for [0-9]{8} bytes");
    EXPECT_EXIT(without_memory([&] {
                    invoke<std::complex<double>>({}, "hemm", SideOption{'L'}, Option{'U'}, Int{n}, Int{n},
                                                 Number<std::complex<double>>{1}, z, Int{n}, y, Int{n},
                                                 Number<std::complex<double>>{0}, y, Int{n});
                }),
                ends, "zhemm: .*no memory for");
    EXPECT_EXIT(without_memory([&] {
                    invoke<double>({}, "gemv", Option{'N'}, Int{n * n}, Int{1}, one, a, Int{n * n}, b, Int{1}, one, a,
                                   Int{2});
                }),
                ends, "dgemv: .*no memory for");
}
#endif

TEST(Errors, NothingIsComputed) {
    double c[4] = {1, 2, 3, 4};
    told = {};
    invoke<double>({}, "gemm", Option{'N'}, Option{'N'}, Int{2}, Int{2}, Int{2}, Number<double>{1}, x, Int{1}, x,
                   Int{2}, Number<double>{0}, c, Int{2});
    EXPECT_EQ(told.calls, 1);
    EXPECT_EQ(c[0], 1);
    EXPECT_EQ(c[3], 4);
}

TEST(Errors, TheOrderOfChecksIsTheReferences) {
    // Every argument is wrong: the first is reported. Options that only C has are wrong in Fortran.
    std::complex<double> z[4];
    told = {};
    invoke<std::complex<double>>({}, "trsv", Option{'X'}, Option{'X'}, DiagonalOption{'X'}, Int{-1}, z, Int{0}, z,
                                 Int{0});
    EXPECT_EQ(told.position, 1);
    invoke<std::complex<double>>({}, "trsv", Option{'u'}, Option{'R'}, DiagonalOption{'X'}, Int{-1}, z, Int{0}, z,
                                 Int{0});
    EXPECT_EQ(told.position, 2);
    EXPECT_EQ(told.routine, "ZTRSV ");
    // herk takes no transpose that is not conjugated, syrk none that is.
    invoke<std::complex<double>>({}, "herk", Option{'U'}, Option{'T'}, Int{1}, Int{1}, Number<double>{1}, z, Int{1},
                                 Number<double>{1}, z, Int{1});
    EXPECT_EQ(told.position, 2);
    invoke<std::complex<double>>({}, "syrk", Option{'U'}, Option{'C'}, Int{1}, Int{1}, Number<std::complex<double>>{1},
                                 z, Int{1}, Number<std::complex<double>>{1}, z, Int{1});
    EXPECT_EQ(told.position, 2);
    EXPECT_EQ(told.calls, 4);
}

/// The system's reference BLAS, if installed, reports the same.
TEST(Errors, AreThoseOfTheReference) {
    void* reference = dlopen("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!reference) GTEST_SKIP() << "the reference BLAS (Debian's libblas3) is not installed";
    using Symv = void(const char*, const int*, const double*, const double*, const int*, const double*, const int*,
                      const double*, double*, const int*);
    const double one = 1;
    const auto run = [&](void* from, const char* name, unsigned wrong) {
        const int n = wrong & 1 ? -1 : 2, ld = wrong & 2 ? 1 : 2, incx = wrong & 4 ? 0 : 1, incy = wrong & 8 ? 0 : 1;
        told = {};
        reinterpret_cast<Symv*>(dlsym(from, name))(wrong & 16 ? "?" : "u", &n, &one, x, &ld, x, &incx, &one, x, &incy);
        return told;
    };
    for (unsigned wrong = 1; wrong < 32; ++wrong) {
        const Told ours = run(library(), "dsymv_", wrong), theirs = run(reference, "dsymv_", wrong);
        EXPECT_EQ(ours.position, theirs.position) << wrong;
        EXPECT_EQ(ours.routine, theirs.routine);
        EXPECT_EQ(ours.calls, theirs.calls) << wrong;
    }
}

}  // namespace
}  // namespace tenon::blas::testing
