// libxsmm: kernels generated for small products, called through their pointers.
#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"

namespace bench {
namespace {

// Its products are of columns one after the other: C' = B' A', with m and n exchanged.
template <class T>
using Dispatch = void (*(int m, int n, int k, const int* lda, const int* ldb, const int* ldc, const T* alpha,
                         const T* beta, const int* flags, const int* prefetch))(const T* a, const T* b, T* c);

template <class T>
Prepared prepare(const Library& library, const Problem& problem, const Operands& operands) {
    const cblas::Arguments g(problem);
    const T one = 1, zero = 0;
    auto* dispatch = library.find<Dispatch<T>>(std::string("libxsmm_") + cblas::kLetter<T> + "mmdispatch");
    auto* kernel = dispatch(g.n, g.m, g.k, &g.ldb, &g.lda, &g.ldc, &one, &zero, nullptr, nullptr);
    if (!kernel) throw Unsupported("libxsmm has no kernel for it");
    const T *a = operands.a_as<T>(), *b = operands.b_as<T>();
    T* c = operands.c_as<T>();
    return call_each(problem, [=](std::int64_t i) { kernel(b + i * g.step_b, a + i * g.step_a, c + i * g.step_c); });
}

std::string supports(const Problem& problem) {
    // Beyond this the kernel, which neither packs nor blocks, is not what its users would call.
    constexpr std::int64_t kLargest = 64 * 64 * 64 * 4;
    const Shape& s = problem.shape;
    if (problem.type == Type::bf16 || problem.type == Type::u8s8) return "wants such weights in a layout of its own";
    if (problem.weights.packed) return "packs no weights";
    if (problem.weights.transposed || problem.a_transposed) return "takes no transposed operand";
    if (!problem.steps && s.m * s.n * s.k > kLargest) return "is for small products";
    return "";
}

}  // namespace

Loaded load_libxsmm() {
    for (const std::string& path : find_libraries({"libtenon_peer_libxsmm.so", "libxsmm.so"})) {
        const auto library = Library::load(path);
        if (!library || !library->find<void()>("libxsmm_smmdispatch")) continue;
        library->find<void()>("libxsmm_init")();
        std::string version = "1.17";
        if (auto* target = library->find<const char*()>("libxsmm_get_target_arch"))
            version += std::string(" ") + target();
        return {Peer{"libxsmm", version, supports,
                     [library](const Problem& problem, const Operands& operands) {
                         return problem.type == Type::f32 ? prepare<float>(*library, problem, operands)
                                                          : prepare<double>(*library, problem, operands);
                     },
                     // It has no threads; batches are shared out among ours.
                     [](int) {}},
                ""};
    }
    return {std::nullopt, "libxsmm: not in this build (Debian's libxsmm-dev, then cmake and build again)"};
}

}  // namespace bench
