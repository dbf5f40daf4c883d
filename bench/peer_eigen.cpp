// Eigen, through the module that bench/modules/eigen.cpp makes.
#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"

namespace bench {
namespace {

struct Eigen {
    Library library;
    int threads = 1;

    void use_threads(int n) const { library.find<void(int)>("tenon_eigen_set_threads")(n); }

    template <class T>
    Prepared prepare(const Problem& problem, const Operands& operands) const {
        using Gemm = void(const T* a, const T* b, T* c, std::int64_t m, std::int64_t n, std::int64_t k, int transa,
                          int transb, std::int64_t lda, std::int64_t ldb, std::int64_t ldc);
        using Fixed = void(const T* a, const T* b, T* c);
        const std::string letter = cblas::kLetter<T>;
        const auto& [m, n, k, batch] = problem.shape;
        const T *a = operands.a_as<T>(), *b = operands.b_as<T>();
        T* c = operands.c_as<T>();
        use_threads(batch > 1 ? 1 : threads);
        if (problem.repeated && m == n && n == k)
            if (Fixed* fixed = library.find<Fixed*(int)>("tenon_eigen_fixed_" + letter + "gemm")(static_cast<int>(n)))
                return call_each(problem, [=](std::int64_t) { fixed(a, b, c); });
        Gemm* gemm = library.find<Gemm>("tenon_eigen_" + letter + "gemm");
        const int transa = problem.a_transposed, transb = problem.weights.transposed;
        const cblas::Arguments g(problem);
        return call_each(problem, [=, m = m, n = n, k = k](std::int64_t i) {
            gemm(a + i * g.step_a, b + i * g.step_b, c + i * g.step_c, m, n, k, transa, transb, g.lda, g.ldb, g.ldc);
        });
    }
};

std::string supports(const Problem& problem) {
    if (problem.type == Type::bf16 || problem.type == Type::u8s8)
        return "has no fast kernels but for float32 and float64";
    if (problem.weights.packed) return "packs no weights";
    return "";
}

}  // namespace

Loaded load_eigen() {
    for (const std::string& path : find_libraries({"libtenon_peer_eigen.so"})) {
        const auto library = Library::load(path);
        if (!library || !library->find<void()>("tenon_eigen_sgemm")) continue;
        auto eigen = std::make_shared<Eigen>(Eigen{*library});
        const int version = library->find<int()>("tenon_eigen_version")();
        return {Peer{"eigen",
                     std::to_string(version / 10000) + '.' + std::to_string(version / 100 % 100) + '.' +
                         std::to_string(version % 100),
                     supports,
                     [eigen](const Problem& problem, const Operands& operands) {
                         return problem.type == Type::f32 ? eigen->prepare<float>(problem, operands)
                                                          : eigen->prepare<double>(problem, operands);
                     },
                     [eigen](int threads) { eigen->threads = threads; }},
                ""};
    }
    return {std::nullopt, "eigen: not in this build (Debian's libeigen3-dev, then cmake and build again)"};
}

}  // namespace bench
