// BLIS, through its CBLAS.
#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"

namespace bench {
namespace {

struct Blis {
    Library library;
    int threads = 1;

    void use_threads(std::int64_t n) const { library.find<void(std::int64_t)>("bli_thread_set_num_threads")(n); }
    template <class T>
    Prepared prepare(const Problem& problem, const Operands& operands) const {
        const std::string name = std::string("cblas_") + cblas::kLetter<T>;
        use_threads(threads);
        return cblas::prepare<T>(
            {library.find<cblas::Gemm<T>>(name + "gemm"), library.find<cblas::Gemv<T>>(name + "gemv"), nullptr},
            problem, operands, [this] { use_threads(1); });
    }
};

std::string supports(const Problem& problem) {
    if (problem.type == Type::bf16 || problem.type == Type::u8s8) return "has float32 and float64 alone";
    if (problem.weights.packed) return "packs no weights";
    return "";
}

std::string version_of(const Library& library) {
    std::string version = library.find<const char*()>("bli_info_get_version_str")();
    auto* query = library.find<int()>("bli_arch_query_id");
    auto* name = library.find<const char*(int)>("bli_arch_string");
    return query && name ? version + ' ' + name(query()) : version;
}

}  // namespace

Loaded load_blis() {
    for (const std::string& path : find_libraries({"blis-pthread/libblis.so.4", "libblis.so.4", "libblis.so"})) {
        const auto library = Library::load(path);
        if (!library || !library->find<void()>("cblas_sgemm")) continue;
        auto blis = std::make_shared<Blis>(Blis{*library});
        return {
            Peer{"blis", version_of(*library), supports,
                 [blis](const Problem& problem, const Operands& operands) {
                     return problem.type == Type::f32 ? blis->prepare<float>(problem, operands)
                                                      : blis->prepare<double>(problem, operands);
                 },
                 [blis](int threads) {
                     blis->threads = threads;
                     blis->use_threads(threads);
                 },
                 [blis](const std::string& name) { return reinterpret_cast<void*>(blis->library.find<void()>(name)); }},
            ""};
    }
    return {std::nullopt, "blis: not found (Debian's libblis4-pthread)"};
}

}  // namespace bench
