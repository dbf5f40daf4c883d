// OpenBLAS: the wheels of scipy-openblas32, which prefix every name, and Debian's.
#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"

namespace bench {
namespace {

struct OpenBlas {
    Library library;
    std::string prefix;
    int threads = 1;

    template <class Function>
    Function* find(const std::string& name) const {
        return library.find<Function>(prefix + name);
    }
    void use_threads(int n) const { find<void(int)>("openblas_set_num_threads")(n); }
    template <class T>
    Prepared prepare(const Problem& problem, const Operands& operands) const {
        const std::string name = std::string("cblas_") + cblas::kLetter<T>;
        use_threads(threads);
        return cblas::prepare<T>({find<cblas::Gemm<T>>(name + "gemm"), find<cblas::Gemv<T>>(name + "gemv"),
                                  find<cblas::GemmBatchStrided<T>>(name + "gemm_batch_strided")},
                                 problem, operands, [this] { use_threads(1); });
    }
};

std::string supports(const Problem& problem) {
    if (problem.type == Type::bf16 || problem.type == Type::u8s8) return "has float32 and float64 alone";
    if (problem.weights.packed) return "packs no weights";
    return "";
}

Peer peer_of(const OpenBlas& found) {
    auto blas = std::make_shared<OpenBlas>(found);
    // "OpenBLAS 0.3.21 NO_AFFINITY ...".
    std::string version = blas->find<char*()>("openblas_get_config")();
    if (version.starts_with("OpenBLAS ")) version.erase(0, 9);
    version = version.substr(0, version.find(' '));
    if (auto* kernels = blas->find<char*()>("openblas_get_corename")) version += std::string(" ") + kernels();
    return {"openblas",
            version,
            supports,
            [blas](const Problem& problem, const Operands& operands) {
                return problem.type == Type::f32 ? blas->prepare<float>(problem, operands)
                                                 : blas->prepare<double>(problem, operands);
            },
            [blas](int threads) {
                blas->threads = threads;
                blas->use_threads(threads);
            },
            [blas](const std::string& name) { return reinterpret_cast<void*>(blas->find<void()>(name)); }};
}

}  // namespace

Loaded load_openblas() {
    for (const std::string& path :
         find_libraries({"scipy_openblas32/lib/libscipy_openblas.so", "libscipy_openblas.so",
                         "openblas-pthread/libopenblas.so.0", "libopenblas.so.0", "libopenblas.so"})) {
        const auto library = Library::load(path);
        if (!library) continue;
        for (const char* prefix : {"scipy_", ""})
            if (library->find<void()>(std::string(prefix) + "cblas_sgemm")) return {peer_of({*library, prefix}), ""};
    }
    return {std::nullopt, "openblas: not found (scipy-openblas32 from PyPI, or Debian's libopenblas0-pthread)"};
}

}  // namespace bench
