// BLIS, through its CBLAS.
#include <algorithm>
#include <cstdlib>

#include "bench/cblas.h"
#include "bench/library.h"
#include "bench/peer.h"
#include "tenon/machine.h"

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

/// BLIS 0.9 takes plain C on a CPU that is newer than itself (Zen 5: 11 % of the peak instead of 85 %), and AVX2 where
/// it cannot tell how many units for multiply-adds there are. It is compared with the kernels that it has for AVX-512,
/// unless BLIS_ARCH_TYPE says otherwise.
void choose_kernels(const Library& library) {
    constexpr const char* kSkx = "0";  // the number of this configuration in 0.9; later versions choose by themselves
    const std::string version = library.find<const char*()>("bli_info_get_version_str")();
    const std::vector<std::string> features = tenon::machine().features;
    const bool avx512 = std::find(features.begin(), features.end(), "avx512f") != features.end();
    if (avx512 && version.starts_with("0.9.")) setenv("BLIS_ARCH_TYPE", kSkx, 0);
    // Without this it would look for the configuration before it has listed those it holds, and abort.
    library.find<void()>("bli_init")();
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
        choose_kernels(*library);
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
